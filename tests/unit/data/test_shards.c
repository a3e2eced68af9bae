/* Token shards and their cache: the same bytes for every number of threads, what a cache gives back, its key, and damage of
 * every kind. The real chat layer encodes; the rows are few, so a cache is one shard, but for the test that makes many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/dataset.h"
#include "data/pack.h"

#define MODEL HONE_TEST_DIR "/golden/tiny_chat"

static char folder[] = "shards_test_XXXXXX";
static hone_tokenizer *tok;
static hone_chat *chat;
static char rows_path[64], first_cache[64], second_cache[64];
static const char *cache = first_cache; /* the one that is looked at */
static char note_text[2000];

static void on_note(void *ud, const char *line)
{
    (void)ud;
    snprintf(note_text, sizeof note_text, "%s", line);
}

static const hone_dataset_options options = {
    .max_length = 60, .overlong = HONE_OVERLONG_SPLIT, .threads = 2, .note = on_note};

/* n conversations, some with weights, some too long for one sequence, some too long at all. */
static void put_rows(int n)
{
    hone_buf b = {0};
    int i, k;

    for (i = 0; i < n; i++) {
        hone_buf_puts(&b, "{\"messages\": [");
        for (k = 0; k < 1 + i % 4; k++)
            hone_buf_printf(
                &b,
                "%s{\"role\": \"user\", \"content\": \"question %d of %d\"}, {\"role\": \"assistant\", "
                "\"content\": \"answer 今天 %d\", \"weight\": %g}",
                k ? ", " : "", k, i, i * 7 + k, i % 3 ? 1.0 : 0.25 + k);
        if (i % 11 == 10)
            for (k = 0; k < 40; k++)
                hone_buf_printf(&b, "%s",
                                k ? ""
                                  : ", {\"role\": \"user\", \"content\": \"a very long question that "
                                    "no part of sixty tokens holds, whatever one may cut from it, "
                                    "since it goes on and on and on and on and on and on and on and "
                                    "on and on and on and on and on\"}, {\"role\": \"assistant\", "
                                    "\"content\": \"no\"}");
        hone_buf_puts(&b, "]}\n");
    }
    assert_false(b.failed);
    assert_int_equal(hone_file_write(rows_path, b.data, b.len, NULL), 0);
    hone_buf_clear(&b);
}

static int set_up(void **state)
{
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(rows_path, sizeof rows_path, "%s/rows.jsonl", folder);
    snprintf(first_cache, sizeof first_cache, "%s/cache", folder);
    snprintf(second_cache, sizeof second_cache, "%s/other", folder);
    if (hone_tokenizer_open(&tok, MODEL, &err) || hone_chat_open(&chat, MODEL, tok, &err))
        fail_msg("%s", err.message);
    put_rows(40);
    return 0;
}

static void remove_cache(void)
{
    char command[200];

    snprintf(command, sizeof command, "rm -rf '%s'", cache);
    assert_int_equal(system(command), 0);
}

static int tear_down(void **state)
{
    char command[200];

    (void)state;
    hone_chat_close(chat);
    hone_tokenizer_close(tok);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static hone_dataset *opened(hone_dataset_options o, const char *cache_dir)
{
    const char *const paths[] = {rows_path};
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;

    o.cache_dir = cache_dir;
    note_text[0] = 0;
    if (hone_dataset_open(&d, paths, 1, chat, &o, &err))
        fail_msg("%s", err.message);
    return d;
}

/* The only folder in the cache, as a path. */
static void only_folder(char out[200])
{
    DIR *dir = opendir(cache);
    const struct dirent *e;
    int n = 0;

    assert_non_null(dir);
    while ((e = readdir(dir)))
        if (e->d_name[0] != '.') {
            snprintf(out, 200, "%s/%.64s", cache, e->d_name);
            n++;
        }
    closedir(dir);
    assert_int_equal(n, 1);
}

static char *file_of_cache(const char *name, size_t *n)
{
    char path[300], where[200], *text;
    hone_error err = HONE_ERROR_INIT;

    only_folder(where);
    snprintf(path, sizeof path, "%s/%s", where, name);
    if (hone_file_read(&text, n, path, (size_t)1 << 30, &err))
        fail_msg("%s", err.message);
    return text;
}

static void put_file_of_cache(const char *name, const char *text, size_t n)
{
    char path[300], where[200];

    only_folder(where);
    snprintf(path, sizeof path, "%s/%s", where, name);
    assert_int_equal(hone_file_write(path, text, n, NULL), 0);
}

static void assert_same(const hone_dataset *a, const hone_dataset *b)
{
    hone_dataset_report x = *hone_dataset_get_report(a), y = *hone_dataset_get_report(b);
    size_t i;

    x.bytes = y.bytes = x.mapped_bytes = y.mapped_bytes = 0;
    assert_memory_equal(&x, &y, sizeof x);
    assert_int_equal(hone_dataset_size(a), hone_dataset_size(b));
    assert_true(hone_dataset_hash(a) == hone_dataset_hash(b));
    for (i = 0; i < hone_dataset_size(a); i++) {
        hone_sequence s = hone_dataset_get(a, i), t = hone_dataset_get(b, i);

        assert_int_equal(s.n_targets, t.n_targets);
        assert_true(s.line == t.line && s.row == t.row);
        assert_string_equal(s.file, t.file);
    }
}

static void a_cache_gives_back_what_was_made(void **state)
{
    hone_dataset *memory = opened(options, NULL), *made, *found;
    size_t n, m;
    char *a, *b, ledger[2][80], *text[2];
    int k;

    (void)state;
    remove_cache();
    made = opened(options, cache);
    assert_string_equal(note_text, "");
    assert_same(memory, made);
    a = file_of_cache("shard-00000.bin", &n);
    found = opened(options, cache);
    assert_string_equal(note_text, "");
    assert_same(memory, found);
    assert_true(hone_dataset_get_report(found)->mapped_bytes == n);
    assert_true(hone_dataset_get_report(memory)->mapped_bytes == 0);
    for (k = 0; k < 2; k++) {
        snprintf(ledger[k], sizeof ledger[k], "%s/ledger%d.jsonl", folder, k);
        assert_int_equal(hone_dataset_write_ledger(k ? found : memory, ledger[k], NULL), 0);
        assert_int_equal(hone_file_read(&text[k], &m, ledger[k], 1 << 20, NULL), 0);
    }
    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "\"reason\":\"overlong\""));
    hone_free(text[0]);
    hone_free(text[1]);
    hone_dataset_close(memory);
    hone_dataset_close(made);
    hone_dataset_close(found);
    /* another number of threads, from nothing: the same bytes */
    for (k = 1; k < 6; k += 2) {
        hone_dataset_options o = options;

        remove_cache();
        o.threads = k;
        hone_dataset_close(opened(o, cache));
        b = file_of_cache("shard-00000.bin", &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n);
        hone_free(b);
    }
    hone_free(a);
}

static size_t caches(void)
{
    DIR *dir = opendir(cache);
    const struct dirent *e;
    size_t n = 0;

    while (dir && (e = readdir(dir)))
        n += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

static void the_key_is_the_content(void **state)
{
    static char dialog[] = "messages";
    static char *who[] = {(char *)"doctor"};
    const hone_row_fields fields = {.messages = dialog};
    const hone_row_roles roles = {.assistant = {who, 1}};
    hone_dataset_options o = options;
    char other[80], command[200];
    size_t n = 1;

    (void)state;
    remove_cache();
    hone_dataset_close(opened(o, cache));
    o.threads = 1; /* not part of it */
    hone_dataset_close(opened(o, cache));
    /* the same bytes under another name */
    snprintf(other, sizeof other, "%s/moved.jsonl", folder);
    snprintf(command, sizeof command, "cp '%s' '%s'", rows_path, other);
    assert_int_equal(system(command), 0);
    memcpy(rows_path, other, sizeof rows_path < sizeof other ? sizeof rows_path : sizeof other);
    hone_dataset_close(opened(o, cache));
    assert_int_equal(caches(), n);
#define CHANGED(change)                                                                                      \
    do {                                                                                                     \
        o = options;                                                                                         \
        change;                                                                                              \
        hone_dataset_close(opened(o, cache));                                                                \
        assert_int_equal(caches(), ++n);                                                                     \
    } while (0)
    CHANGED(o.max_length = 61);
    CHANGED(o.overlong = HONE_OVERLONG_DROP);
    CHANGED(o.max_samples = 39);
    CHANGED(o.train_on_prompt = true);
    CHANGED(o.rows.mask_history = true);
    CHANGED(o.rows.text_rows = HONE_TEXT_LINE);
    CHANGED(o.rows.fields = &fields);
    CHANGED(o.rows.roles = &roles);
    CHANGED(put_rows(41));
    put_rows(40);
    CHANGED((snprintf(rows_path, sizeof rows_path, "%s/rows.json", folder), put_rows(40)));
#undef CHANGED
    snprintf(rows_path, sizeof rows_path, "%s/rows.jsonl", folder);
    put_rows(40);
    remove_cache();
}

static void standard_input_is_not_cached(void **state)
{
    const char *const paths[] = {"-"};
    hone_dataset_options o = options;
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;

    (void)state;
    o.cache_dir = cache;
    assert_int_equal(hone_dataset_open(&d, paths, 1, chat, &o, &err), HONE_EINVAL);
    assert_non_null(strstr(err.message, "data.cache: false"));
}

/* Every cut and every flipped bit of the shard is found by the check itself. */
static void damage_is_found(void **state)
{
    hone_dataset *d;
    size_t n, i;
    char *text;
    uint8_t *copy;
    shard s;
    int bit;

    (void)state;
    remove_cache();
    put_rows(6);
    d = opened(options, cache);
    text = file_of_cache("shard-00000.bin", &n);
    copy = hone_alloc(n + 64);
    memcpy(copy, text, n);
    assert_int_equal(shard_check(&s, NULL, copy, n, "s", NULL), 0);
    assert_int_equal(s.n[SHARD_SEQUENCES], hone_dataset_size(d));
    for (i = 0; i < n; i++)
        assert_int_equal(shard_check(&s, NULL, copy, i, "s", NULL), HONE_EFORMAT);
    memset(copy + n, 0, 64);
    assert_int_equal(shard_check(&s, NULL, copy, n + 64, "s", NULL), HONE_EFORMAT);
    for (i = 0; i < n; i++)
        for (bit = 0; bit < 8; bit++) {
            copy[i] ^= (uint8_t)(1 << bit);
            assert_int_equal(shard_check(&s, NULL, copy, n, "s", NULL), HONE_EFORMAT);
            copy[i] ^= (uint8_t)(1 << bit);
        }
    hone_free(copy);
    hone_free(text);
    hone_dataset_close(d);
    put_rows(40);
}

static void assert_made_anew(const hone_dataset *memory, const char *reason)
{
    hone_dataset *d = opened(options, cache);

    assert_same(memory, d);
    if (!strstr(note_text, reason))
        fail_msg("`%s` in `%s`", reason, note_text);
    hone_dataset_close(d);
    d = opened(options, cache);
    assert_string_equal(note_text, "");
    hone_dataset_close(d);
}

/* What a run leaves that is killed while it makes a cache: whole shards, a half-written one, no manifest. */
static void an_interrupted_cache_is_made_anew(void **state)
{
    hone_dataset *memory = opened(options, NULL), *d;
    char *text, *again, path[300], where[200];
    size_t n, m;

    (void)state;
    remove_cache();
    hone_dataset_close(opened(options, cache));
    text = file_of_cache("shard-00000.bin", &n);
    only_folder(where);
    snprintf(path, sizeof path, "%s/manifest.json", where);
    assert_int_equal(unlink(path), 0);
    put_file_of_cache("shard-00000.bin.tmp.1", text, n / 3);
    put_file_of_cache("shard-00000.bin", text, n / 2);
    d = opened(options, cache);
    assert_string_equal(note_text, "");
    assert_same(memory, d);
    again = file_of_cache("shard-00000.bin", &m);
    assert_int_equal(n, m);
    assert_memory_equal(text, again, n);
    hone_free(text);
    hone_free(again);
    hone_dataset_close(d);
    hone_dataset_close(memory);
}

static void a_damaged_cache_is_named_and_made_anew(void **state)
{
    hone_dataset *memory = opened(options, NULL);
    hone_dataset_options o = options;
    char *shard_text, *manifest, path[300], where[200], *other;
    size_t n, m, k;

    (void)state;
    remove_cache();
    hone_dataset_close(opened(options, cache));
    shard_text = file_of_cache("shard-00000.bin", &n);
    manifest = file_of_cache("manifest.json", &m);
    only_folder(where);

    shard_text[n - 70] ^= 4;
    put_file_of_cache("shard-00000.bin", shard_text, n);
    assert_made_anew(memory, "shard-00000.bin: the ids do not match their checksum");
    shard_text[n - 70] ^= 4;
    put_file_of_cache("shard-00000.bin", shard_text, n - 64);
    assert_made_anew(memory, "shard-00000.bin: the shard is cut");
    put_file_of_cache("shard-00000.bin", "", 0);
    assert_made_anew(memory, "shard-00000.bin: the file is too short for a shard");
    put_file_of_cache("shard-00000.bin", manifest, m);
    assert_made_anew(memory, "shard-00000.bin: this is no token shard");
    snprintf(path, sizeof path, "%s/shard-00000.bin", where);
    unlink(path);
    assert_made_anew(memory, "shard-00000.bin");
    for (k = 0; k < m - 1; k += 7) { /* the manifest, anywhere */
        manifest[k] ^= 1;
        put_file_of_cache("manifest.json", manifest, m);
        manifest[k] ^= 1;
        assert_made_anew(memory, "manifest.json: the manifest is ");
    }
    put_file_of_cache("manifest.json", manifest, m / 2);
    assert_made_anew(memory, "manifest.json: the manifest is damaged");
    /* the shard and the manifest of another cache */
    o.max_length = 200;
    cache = second_cache;
    hone_dataset_close(opened(o, cache));
    other = file_of_cache("shard-00000.bin", &k);
    hone_free(manifest);
    manifest = file_of_cache("manifest.json", &m);
    cache = first_cache;
    put_file_of_cache("shard-00000.bin", other, k);
    assert_made_anew(memory, "shard-00000.bin: a shard of another cache");
    put_file_of_cache("manifest.json", manifest, m);
    assert_made_anew(memory, "manifest.json: the manifest is of another cache");
    hone_free(other);
    hone_free(manifest);
    hone_free(shard_text);
    hone_dataset_close(memory);
}

/* Packing against the rule itself, tried naively, and what every packing must hold. */
static void packing_is_best_fit_decreasing(void **state)
{
    enum { N = 700, CAPACITY = 97 };
    uint32_t length[N], pack[N], order[N], room[N], of[N], i, k, best, bins;
    hone_rng rng = hone_rng_make(3, 3);
    size_t n_packs;
    int round;

    (void)state;
    for (round = 0; round < 20; round++) {
        uint32_t used[N] = {0}, sum = 0, last = 0;

        for (i = 0; i < N; i++) {
            length[i] = 1 + hone_rng_below(&rng, round % 2 ? CAPACITY : 40);
            order[i] = i;
            sum += length[i];
        }
        assert_int_equal(pack_best_fit(pack, &n_packs, length, N, CAPACITY, NULL), 0);
        for (i = 0; i < N; i++) { /* numbered as they come, none too full, nothing lost */
            assert_true(pack[i] <= last);
            last += pack[i] == last;
            used[pack[i]] += length[i];
        }
        for (i = 0; i < n_packs; i++) {
            assert_true(used[i] <= CAPACITY);
            sum -= used[i];
        }
        assert_int_equal(sum, 0);
        for (i = 1; i < N; i++) /* the naive one */
            for (k = i; k > 0 && length[order[k]] > length[order[k - 1]]; k--) {
                uint32_t t = order[k];

                order[k] = order[k - 1];
                order[k - 1] = t;
            }
        for (i = bins = 0; i < N; i++) {
            for (k = 0, best = N; k < bins; k++)
                if (room[k] >= length[order[i]] && (best == N || room[k] < room[best]))
                    best = k;
            if (best == N) {
                best = bins++;
                room[best] = CAPACITY;
            }
            room[best] -= length[order[i]];
            of[order[i]] = best;
        }
        assert_int_equal(bins, n_packs);
        for (i = best = 0; i < N; i++)
            best += of[i] < bins;
        assert_int_equal(best, N);
    }
    length[3] = CAPACITY + 1;
    assert_int_equal(pack_best_fit(pack, &n_packs, length, N, CAPACITY, NULL), HONE_EINVAL);
    length[3] = 0;
    assert_int_equal(pack_best_fit(pack, &n_packs, length, N, CAPACITY, NULL), HONE_EINVAL);
    assert_int_equal(pack_best_fit(pack, &n_packs, length, 0, CAPACITY, NULL), 0);
    assert_int_equal(n_packs, 0);
}

static void packs_hold_every_sequence_once(void **state)
{
    hone_dataset *d = opened(options, NULL);
    size_t n = hone_dataset_size(d), n_packs, p, i, seen = 0;
    uint32_t *which = hone_calloc(n, sizeof *which), *start;
    uint8_t *once = hone_calloc(n, 1);
    uint64_t counted;
    hone_dataset_options o = options;
    hone_dataset_report report;
    const char *const paths[] = {rows_path};

    (void)state;
    for (i = 0; i < n; i++)
        which[i] = (uint32_t)i;
    assert_int_equal(hone_dataset_bin(d, which, n, 60, &start, &n_packs, NULL), 0);
    assert_int_equal(start[0], 0);
    assert_int_equal(start[n_packs], n);
    for (p = 0; p < n_packs; p++) {
        size_t tokens = hone_dataset_tokens(d, which + start[p], start[p + 1] - start[p]);

        assert_true(tokens > 0 && tokens <= 60);
        assert_true(p == 0 || which[start[p]] > which[start[p - 1]]);
        for (i = start[p]; i < start[p + 1]; i++) {
            assert_true(i == start[p] || which[i] > which[i - 1]);
            seen += !once[which[i]]++;
        }
    }
    assert_int_equal(seen, n);
    o.cache_dir = cache;
    assert_int_equal(hone_dataset_build_cache(paths, 1, chat, &o, &report, &counted, NULL), 0);
    assert_int_equal(counted, n_packs);
    assert_int_equal(report.sequences, n);
    hone_free(start);
    hone_free(which);
    hone_free(once);
    hone_dataset_close(d);
}

static bool countdown(void *ud, size_t size)
{
    int *left = ud;

    (void)size;
    return (*left)-- > 0;
}

/* Making and finding a cache with the n-th allocation failing. */
static void every_allocation_may_fail(void **state)
{
    const char *const paths[] = {rows_path};
    hone_dataset_options o = options;
    hone_dataset *d = NULL;
    int round, n, left, rc;

    (void)state;
    o.threads = 1;
    o.cache_dir = cache;
    o.note = NULL;
    put_rows(12);
    for (round = 0; round < 2; round++) {
        if (!round)
            remove_cache();
        for (n = 0, rc = HONE_ENOMEM; rc; n++) {
            hone_error err = HONE_ERROR_INIT;

            left = n;
            hone_mem_hook(countdown, &left);
            rc = hone_dataset_open(&d, paths, 1, chat, &o, &err);
            hone_mem_hook(NULL, NULL);
            if (rc && rc != HONE_ENOMEM)
                fail_msg("allocation %d: %d %s", n, rc, err.message);
        }
        print_message("%s: %d allocations\n", round ? "finding" : "making", n - 1);
        hone_dataset_close(d);
    }
    put_rows(40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_gives_back_what_was_made),
        cmocka_unit_test(the_key_is_the_content),
        cmocka_unit_test(standard_input_is_not_cached),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(an_interrupted_cache_is_made_anew),
        cmocka_unit_test(a_damaged_cache_is_named_and_made_anew),
        cmocka_unit_test(packing_is_best_fit_decreasing),
        cmocka_unit_test(packs_hold_every_sequence_once),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
