/* The order of a run: epochs, micro-batches and packs hold every sequence once; a place gives the same following batches
 * however it was reached; streaming gives the same order as shards that are ready, and does not depend on when they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "text/chat_json.h"
#include "train/batch.h"
#include "train/feed.h"

#define LENGTH 60000

/* Stands in for the chat layer: an answer that says n becomes n tokens, so that a few hundred rows fill several shards. */
struct hone_chat {
    int unused;
};
static const hone_chat chat;

int hone_chat_encode_json(const hone_chat *c, hone_encoding *out, json_t *conversation, unsigned flags,
                          hone_error *err)
{
    const json_t *list = json_object_get(conversation, "messages");
    const char *answer = json_string_value(json_object_get(json_array_get(list, 1), "content"));
    size_t n = !strncmp(answer, "n=", 2) ? (size_t)strtoul(answer + 2, NULL, 10) : 8, i;

    (void)c;
    (void)flags;
    out->tokens.id = hone_alloc(n * sizeof *out->tokens.id);
    out->mask = hone_alloc(n);
    out->turn = hone_alloc(n * sizeof *out->turn);
    if (!out->tokens.id || !out->mask || !out->turn)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < n; i++) {
        out->tokens.id[i] = (int32_t)(n + i);
        out->mask[i] = 1;
        out->turn[i] = 1;
    }
    out->tokens.n = n;
    out->eot_trained = true;
    return 0;
}

const hone_tokenizer *hone_chat_tokenizer(const hone_chat *c)
{
    (void)c;
    return NULL;
}

uint64_t hone_chat_hash(const hone_chat *c)
{
    (void)c;
    return 1;
}

void hone_encoding_clear(hone_encoding *e)
{
    hone_free(e->tokens.id);
    hone_free(e->mask);
    hone_free(e->turn);
    *e = (hone_encoding){0};
}

static char folder[] = "feed_test_XXXXXX";
static char small_rows[64], many_rows[64], cache[64];

static void put_rows(const char *path, int n, int longest)
{
    hone_buf b = {0};
    int i;

    for (i = 0; i < n; i++)
        hone_buf_printf(&b, "{\"instruction\": \"question %d\", \"output\": \"n=%d\"}\n", i,
                        2 + i * 7919 % longest);
    assert_int_equal(hone_file_write(path, b.data, b.len, NULL), 0);
    hone_buf_clear(&b);
}

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(small_rows, sizeof small_rows, "%s/small.jsonl", folder);
    snprintf(many_rows, sizeof many_rows, "%s/many.jsonl", folder);
    snprintf(cache, sizeof cache, "%s/cache", folder);
    put_rows(small_rows, 37, LENGTH / 3);
    return 0;
}

static int tear_down(void **state)
{
    char command[200];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static hone_dataset *opened(const char *path, bool streaming, const char *cache_dir)
{
    const hone_dataset_options o = {.max_length = LENGTH,
                                    .overlong = HONE_OVERLONG_DROP,
                                    .threads = 2,
                                    .streaming = streaming,
                                    .cache_dir = cache_dir};
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;

    if (hone_dataset_open(&d, &path, 1, &chat, &o, &err))
        fail_msg("%s", err.message);
    return d;
}

static uint32_t *all(const hone_dataset *d)
{
    uint32_t *which = hone_alloc(hone_dataset_size(d) * sizeof *which), i;

    for (i = 0; i < hone_dataset_size(d); i++)
        which[i] = i;
    return which;
}

/* Everything about a step, as one number. */
static uint64_t hash_step(const hone_feed *f)
{
    const uint32_t *which;
    uint64_t h = 0;
    int64_t m;
    size_t n;

    for (m = 0; (which = hone_feed_micro(f, m, &n)); m++)
        h = hone_hash64(h + n, which, n * sizeof *which);
    return h;
}

static void load(hone_feed *f, hone_position at)
{
    hone_error err = HONE_ERROR_INIT;

    if (hone_feed_load(f, at, &err))
        fail_msg("%s", err.message);
}

/* The steps of two epochs for one choice of parameters, against what an epoch must be. */
static void check_epochs(const hone_feed_params *p)
{
    size_t n = p->n, n_packs = n, i;
    uint32_t *seen = hone_calloc(n, sizeof *seen), *copy = hone_alloc(n * sizeof *copy), *start = NULL;
    int64_t per_epoch, step, steps, m, largest = 0, most = 0, most_targets = 0;
    hone_position at = {0}, place[200];
    hone_feed_epoch epoch;
    hone_batch_size size;
    uint64_t hash[200];
    hone_feed f;

    memcpy(copy, p->which, n * sizeof *copy);
    if (p->pack)
        assert_int_equal(hone_dataset_bin(p->data, copy, n, p->pack, &start, &n_packs, NULL), 0);
    assert_int_equal(hone_feed_init(&f, p, NULL), 0);
    assert_int_equal(hone_feed_count(&f, 0, &epoch, NULL), 0);
    assert_int_equal(epoch.units, n_packs);
    assert_int_equal(epoch.rows, p->n);
    assert_int_equal(epoch.tokens, hone_dataset_tokens(p->data, p->which, p->n));
    assert_int_equal(epoch.targets, hone_count_targets(p->data, p->which, p->n));
    per_epoch = hone_feed_steps(&f, epoch.units);
    assert_int_equal(hone_feed_steps_of(&f, 1.5, &steps, NULL), 0);
    assert_int_equal(steps, (3 * per_epoch + 1) / 2);
    assert_true(2 * per_epoch <= 200);
    for (step = 0; step < 2 * per_epoch; step++) {
        const uint32_t *which;
        int64_t taken = 0;

        place[step] = at;
        load(&f, at);
        for (m = 0; (which = hone_feed_micro(&f, m, &n)); m++) {
            size_t tokens = hone_dataset_tokens(p->data, which, n);

            assert_true(p->pack ? tokens <= p->pack * (size_t)p->batch_rows : n <= (size_t)p->batch_rows);
            largest = HONE_MAX(largest, (int64_t)tokens);
            most = HONE_MAX(most, (int64_t)n);
            most_targets = HONE_MAX(most_targets, hone_count_targets(p->data, which, n));
            for (i = 0; i < n; i++)
                seen[which[i]]++;
            taken++;
        }
        assert_true(taken == p->accumulation || ((step + 1) % per_epoch == 0 && taken > 0));
        assert_true(hone_feed_epochs(&f, f.next) > hone_feed_epochs(&f, at));
        hash[step] = hash_step(&f);
        at = f.next;
        if ((step + 1) % per_epoch == 0) { /* every sequence once an epoch */
            assert_true(hone_feed_epochs(&f, at) == (double)((step + 1) / per_epoch));
            for (i = 0; i < p->n; i++)
                assert_int_equal(seen[i], (step + 1) / per_epoch);
        }
    }
    assert_int_equal(hone_feed_largest(&f, 2 * per_epoch, &size, NULL), 0);
    assert_int_equal(size.positions, largest);
    assert_int_equal(size.sequences, most);
    assert_int_equal(size.targets, most_targets);
    for (step = 2 * per_epoch; step-- > 0;) { /* any step by itself, backwards */
        load(&f, place[step]);
        assert_true(hash_step(&f) == hash[step]);
    }
    hone_feed_clear(&f);
    hone_free(seen);
    hone_free(copy);
    hone_free(start);
}

static void epochs_hold_every_sequence_once(void **state)
{
    hone_dataset *d = opened(small_rows, false, NULL);
    uint32_t *which = all(d);
    hone_feed_params p = {.data = d, .which = which, .n = hone_dataset_size(d), .seed = 7};
    int64_t rows, accumulation;

    (void)state;
    for (rows = 1; rows <= 5; rows += 2)
        for (accumulation = 1; accumulation <= 3; accumulation++) {
            p.batch_rows = rows;
            p.accumulation = accumulation;
            p.shuffle = rows != 3;
            p.pack = 0;
            check_epochs(&p);
            p.pack = LENGTH;
            check_epochs(&p);
        }
    hone_free(which);
    hone_dataset_close(d);
}

/* `steps` hashes from the beginning, going on from the place that the step before left. */
static void walk(hone_dataset *d, uint64_t *hash, hone_position *place, size_t steps, size_t pack)
{
    const hone_feed_params p = {
        .data = d, .batch_rows = 16, .accumulation = 2, .pack = pack, .shuffle = true, .seed = 3};
    hone_position at = {0};
    hone_feed f;
    size_t i;

    assert_int_equal(hone_feed_init(&f, &p, NULL), 0);
    for (i = 0; i < steps; i++) {
        load(&f, at);
        hash[i] = hash_step(&f);
        place[i] = at;
        at = f.next;
    }
    hone_feed_clear(&f);
}

/* Enough tokens for several shards. */
static void streaming_is_the_order_of_shards(void **state)
{
    enum { STEPS = 120, ROWS = 1300 };
    static uint64_t first[STEPS], again[STEPS];
    static hone_position place[STEPS], other[STEPS];
    hone_feed_params p = {.batch_rows = 16, .accumulation = 2, .shuffle = true, .seed = 3};
    size_t i, windows, pack;

    (void)state;
    put_rows(many_rows, ROWS, LENGTH);
    for (pack = 0; pack <= LENGTH; pack += LENGTH) {
        hone_dataset *d = opened(many_rows, true, pack ? cache : NULL);

        walk(d, first, place, STEPS, pack); /* while the shards are made */
        assert_int_equal(hone_dataset_finish(d, NULL), 0);
        walk(d, again, other, STEPS, pack); /* when all are there */
        assert_memory_equal(first, again, sizeof first);
        assert_memory_equal(place, other, sizeof place);
        for (i = windows = 0; i < STEPS; i++)
            windows = HONE_MAX(windows, place[i].window);
        assert_true(windows >= 2 && place[STEPS - 1].epoch >= 1);
        /* from any place, on a dataset that was just opened, whose shards are not there yet or mapped from the cache */
        for (i = 1; i < STEPS; i += 39) {
            hone_dataset *e = opened(many_rows, true, pack ? cache : NULL);
            hone_feed f;

            p.data = e;
            p.pack = pack;
            assert_int_equal(hone_feed_init(&f, &p, NULL), 0);
            load(&f, place[i]);
            assert_true(hash_step(&f) == first[i]);
            load(&f, f.next);
            assert_true(hash_step(&f) == first[i + 1]);
            hone_feed_clear(&f);
            hone_dataset_close(e); /* ends what still runs */
        }
        assert_int_equal(hone_dataset_get_report(d)->sequences, ROWS);
        hone_dataset_close(d);
    }
}

/* A row that is wrong ends the stream where it comes, with its place; what was made before stays good. */
static void a_wrong_row_ends_the_stream(void **state)
{
    const char *path = small_rows;
    const hone_feed_params p = {.batch_rows = 1, .accumulation = 1};
    hone_feed_params with = p;
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;
    hone_buf b = {0};
    hone_feed f;

    (void)state;
    hone_buf_puts(&b, "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"a\"}\n");
    assert_int_equal(hone_file_write(path, b.data, b.len, NULL), 0);
    hone_buf_clear(&b);
    d = opened(path, true, NULL);
    with.data = d;
    assert_int_equal(hone_feed_init(&f, &with, NULL), 0);
    assert_int_equal(hone_feed_load(&f, (hone_position){0}, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "small.jsonl:2"));
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(hone_dataset_finish(d, &err), HONE_EFORMAT);
    hone_feed_clear(&f);
    hone_dataset_close(d);
    put_rows(small_rows, 37, LENGTH / 3);
}

static atomic_int left;

static bool countdown(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return atomic_fetch_sub(&left, 1) > 0;
}

/* Opening, ordering, packing and loading with the n-th allocation failing, on either thread. */
static void every_allocation_may_fail(void **state)
{
    const char *path = small_rows;
    hone_dataset_options o = {.max_length = LENGTH, .overlong = HONE_OVERLONG_DROP, .threads = 1};
    int n, rc;

    (void)state;
    put_rows(small_rows, 9, 50);
    for (o.streaming = false;; o.streaming = true) {
        for (n = 0, rc = HONE_ENOMEM; rc; n++) {
            hone_feed_params p = {.batch_rows = 2, .accumulation = 2, .pack = LENGTH, .shuffle = true};
            hone_error err = HONE_ERROR_INIT;
            hone_dataset *d = NULL;
            uint32_t *which = NULL;
            hone_feed f = {0};

            atomic_store(&left, n);
            hone_mem_hook(countdown, NULL);
            rc = hone_dataset_open(&d, &path, 1, &chat, &o, &err);
            if (!rc && !o.streaming) {
                which = hone_calloc(hone_dataset_size(d), sizeof *which);
                rc = which ? 0 : hone_error_set(&err, HONE_ENOMEM, "out of memory");
            }
            p.data = d;
            p.which = which;
            p.n = rc || o.streaming ? 0 : hone_dataset_size(d);
            if (!rc)
                rc = hone_feed_init(&f, &p, &err);
            if (!rc)
                rc = hone_feed_load(&f, (hone_position){.epoch = 3}, &err);
            if (!rc)
                rc = hone_dataset_finish(d, &err);
            hone_feed_clear(&f);
            hone_free(which);
            hone_dataset_close(d); /* the other thread has ended before the hook goes */
            hone_mem_hook(NULL, NULL);
            if (rc && (rc != HONE_ENOMEM || err.code != HONE_ENOMEM))
                fail_msg("allocation %d: %d %s", n, rc, err.message);
        }
        print_message("%s: %d allocations\n", o.streaming ? "streaming" : "at once", n - 1);
        assert_true(n > 30);
        if (o.streaming)
            break;
    }
    put_rows(small_rows, 37, LENGTH / 3);
}

/* Rows change places among the micro-batches of their step, never between steps, and only to make the largest smaller. */
static void a_step_is_cut_evenly(void **state)
{
    hone_dataset *d = opened(small_rows, false, NULL);
    uint32_t *which = all(d);
    hone_feed_params p = {.data = d,
                          .which = which,
                          .n = hone_dataset_size(d),
                          .batch_rows = 4,
                          .accumulation = 3,
                          .shuffle = true,
                          .seed = 5};
    size_t plain_largest = 0, largest = 0, k, m, n, i;
    hone_position at = {0};
    hone_feed f;

    (void)state;
    assert_int_equal(hone_feed_init(&f, &p, NULL), 0);
    for (k = 0; k < 8; k++) {
        uint32_t order[64], want = 0, got = 0;
        size_t first = k % 4 * 12, rows = 0;

        for (i = 0; i < p.n; i++)
            order[i] = (uint32_t)i;
        hone_dataset_shuffle(order, p.n, p.seed, k / 4);
        load(&f, at);
        at = f.next;
        for (m = 0; m < 3; m++) {
            const uint32_t *step = hone_feed_micro(&f, (int64_t)m, &n);
            size_t begin = first + 4 * m, count = begin < p.n ? HONE_MIN((size_t)4, p.n - begin) : 0;

            assert_int_equal(step != NULL, count > 0);
            plain_largest = HONE_MAX(plain_largest, hone_dataset_tokens(d, order + begin, count));
            largest = HONE_MAX(largest, step ? hone_dataset_tokens(d, step, n) : 0);
            rows += n;
            for (i = 0; i < count; i++)
                want += order[begin + i] * order[begin + i];
            for (i = 0; i < n; i++)
                got += step[i] * step[i];
        }
        assert_int_equal(rows, HONE_MIN((size_t)12, p.n - first));
        assert_int_equal(got, want);
    }
    print_message("largest micro-batch: %zu positions, %zu as they come\n", largest, plain_largest);
    assert_true(largest < plain_largest);
    hone_feed_clear(&f);
    hone_free(which);
    hone_dataset_close(d);
}

/* Against transformers (tests/golden/make_length_groups_golden.py). */
static void groups_as_transformers(void **state)
{
    char *text, *line, *save, *word, *at;
    size_t n, i, cases = 0;

    (void)state;
    assert_int_equal(hone_file_read(&text, &n, HONE_TEST_DIR "/golden/length_groups.txt", 1 << 20, NULL), 0);
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), cases++) {
        uint32_t length[700], order[700];
        size_t batch = strtoul(strtok_r(line, " ", &at), NULL, 10);
        hone_error err = HONE_ERROR_INIT;

        assert_string_equal(strtok_r(NULL, " ", &at), ":");
        for (n = 0; (word = strtok_r(NULL, " ", &at)); n++) {
            length[n] = (uint32_t)strtoul(word, NULL, 10);
            order[n] = (uint32_t)n;
        }
        assert_int_equal(hone_feed_group(order, length, n, batch, &err), 0);
        line = strtok_r(NULL, "\n", &save);
        for (i = 0, word = strtok_r(line, " ", &at); i < n; i++, word = strtok_r(NULL, " ", &at))
            assert_int_equal(order[i], strtoul(word, NULL, 10));
        assert_null(word);
    }
    assert_int_equal(cases, 8);
    hone_free(text);
}

/* Steps of a grouped epoch hold every row once, rows of a step are of like length, epochs differ. */
static void groups_every_row_once(void **state)
{
    hone_dataset *d = opened(small_rows, false, NULL);
    uint32_t *which = all(d);
    hone_feed_params p = {.data = d,
                          .which = which,
                          .n = hone_dataset_size(d),
                          .batch_rows = 2,
                          .accumulation = 2,
                          .shuffle = true,
                          .group = true,
                          .seed = 7};
    size_t spread[2] = {0, 0}, k;

    (void)state;
    for (k = 0; k < 2; k++) {
        hone_error err = HONE_ERROR_INIT;
        hone_feed f;

        p.group = k;
        assert_int_equal(hone_feed_init(&f, &p, &err), 0);
        check_epochs(&p);
        for (hone_position at = {0}; at.epoch == 0; at = f.next) {
            size_t low = SIZE_MAX, high = 0, i;

            load(&f, at);
            for (i = 0; i < f.n_step; i++) {
                low = HONE_MIN(low, hone_dataset_get(d, f.step[i]).n);
                high = HONE_MAX(high, hone_dataset_get(d, f.step[i]).n);
            }
            spread[k] += high - low;
        }
        hone_feed_clear(&f);
    }
    assert_true(3 * spread[1] < 2 * spread[0]);
    hone_free(which);
    hone_dataset_close(d);
}

/* ---- rows of earlier data ---------------------------------------------------------------------------------------- */

enum { NEW_ROWS = 37, OLD_ROWS = 13, EPOCHS = 6 };

/* What the steps of a run with replay hold. */
typedef struct replayed {
    uint32_t count[NEW_ROWS + OLD_ROWS],
        epoch[EPOCHS][OLD_ROWS]; /* how often a sequence came; of the old by epoch */
    hone_position place[600];
    uint64_t hash[600];
    int64_t steps;
} replayed;

static void walk_epochs(replayed *out, const hone_feed_params *p)
{
    hone_position at = {0};
    hone_feed f;
    size_t i;

    memset(out, 0, sizeof *out);
    assert_int_equal(hone_feed_init(&f, p, NULL), 0);
    for (; at.epoch < EPOCHS; at = f.next) {
        load(&f, at);
        assert_true(out->steps < 600);
        out->place[out->steps] = at;
        out->hash[out->steps++] = hash_step(&f);
        for (i = 0; i < f.n_step; i++) {
            out->count[f.step[i]]++;
            if (f.step[i] >= NEW_ROWS)
                out->epoch[at.epoch][f.step[i] - NEW_ROWS]++;
        }
    }
    hone_feed_clear(&f);
}

static void check_replay(const hone_feed_params *p)
{
    static replayed run;
    uint32_t low = UINT32_MAX, high = 0, i, e;
    int64_t steps;
    hone_feed_epoch count;
    hone_feed f;

    walk_epochs(&run, p);
    for (i = 0; i < NEW_ROWS; i++) /* every new row once an epoch */
        assert_int_equal(run.count[i], EPOCHS);
    for (e = 0; e < EPOCHS;
         e++) { /* the share is exact in each, and within one no row comes twice more than another */
        uint32_t rows = 0, least = UINT32_MAX, most = 0;

        for (i = 0; i < OLD_ROWS; i++) {
            rows += run.epoch[e][i];
            least = HONE_MIN(least, run.epoch[e][i]);
            most = HONE_MAX(most, run.epoch[e][i]);
        }
        assert_int_equal(rows, p->replay.draw);
        assert_true(most - least <= 1 + (e > 0)); /* a permutation may end and another begin in an epoch */
        if (e && p->replay.draw % OLD_ROWS)
            assert_memory_not_equal(run.epoch[e], run.epoch[e - 1], sizeof run.epoch[e]);
    }
    for (i = NEW_ROWS; i < NEW_ROWS + OLD_ROWS; i++) {
        low = HONE_MIN(low, run.count[i]);
        high = HONE_MAX(high, run.count[i]);
    }
    assert_true(high - low <= 1);

    assert_int_equal(hone_feed_init(&f, p, NULL), 0);
    assert_int_equal(hone_feed_steps_of(&f, EPOCHS, &steps, NULL), 0);
    assert_int_equal(steps, run.steps);
    for (steps = run.steps;
         steps-- > 0;) { /* any step by itself, backwards, as a run that goes on finds it */
        load(&f, run.place[steps]);
        assert_true(hash_step(&f) == run.hash[steps]);
    }
    for (e = 0; e < EPOCHS; e++) {
        assert_int_equal(hone_feed_count(&f, e, &count, NULL), 0);
        assert_int_equal(count.rows, NEW_ROWS + p->replay.draw);
    }
    hone_feed_clear(&f);
}

static void replay_keeps_its_share(void **state)
{
    static const size_t draw[] = {1, 4, 12, 13, 14, 30, 74}; /* of 13: less than all, all, more than once */
    char old_rows[80];
    hone_dataset *d = opened(small_rows, false, NULL), *old;
    uint32_t *which = all(d);
    hone_feed_params p = {
        .data = d, .which = which, .n = NEW_ROWS, .batch_rows = 3, .accumulation = 2, .seed = 11};
    hone_error err = HONE_ERROR_INIT;
    size_t i, k;

    (void)state;
    assert_int_equal(hone_dataset_size(d), NEW_ROWS);
    snprintf(old_rows, sizeof old_rows, "%s/old.jsonl", folder);
    put_rows(old_rows, OLD_ROWS, LENGTH / 4);
    old = opened(old_rows, false, NULL);
    assert_int_equal(hone_dataset_join(d, old, &err), 0);
    hone_dataset_close(old);
    assert_int_equal(hone_dataset_size(d), NEW_ROWS + OLD_ROWS);
    assert_string_equal(hone_dataset_get(d, NEW_ROWS - 1).file, small_rows);
    assert_string_equal(hone_dataset_get(d, NEW_ROWS).file, old_rows);
    assert_int_equal(hone_dataset_get(d, NEW_ROWS).row, NEW_ROWS);
    assert_int_equal(hone_dataset_get(d, NEW_ROWS).line, 1);
    assert_int_equal(hone_dataset_get_report(d)->rows_read, NEW_ROWS);
    for (i = 0; i < HONE_COUNT(draw); i++)
        for (k = 0; k < 5; k++) {
            p.replay = (hone_replay){.first = NEW_ROWS, .n = OLD_ROWS, .draw = draw[i]};
            p.shuffle = k != 1;
            p.group = k == 2;
            p.pack = k >= 3 ? LENGTH : 0;
            p.batch_rows = k == 4 ? 1 : 3;
            check_replay(&p);
        }
    hone_free(which);
    hone_dataset_close(d);
}

/* Without a shuffle the old rows stand evenly among the new ones, which keep their order. */
static void replay_is_spread_evenly(void **state)
{
    char old_rows[80];
    hone_dataset *d = opened(small_rows, false, NULL), *old;
    uint32_t *which = all(d), next = 0, since = 0;
    hone_feed_params p = {.data = d,
                          .which = which,
                          .n = NEW_ROWS,
                          .replay = {.first = NEW_ROWS, .n = OLD_ROWS, .draw = 9},
                          .batch_rows = 1,
                          .accumulation = 1,
                          .seed = 11};
    hone_position at = {0};
    hone_feed f;

    (void)state;
    snprintf(old_rows, sizeof old_rows, "%s/old.jsonl", folder);
    put_rows(old_rows, OLD_ROWS, LENGTH / 4);
    old = opened(old_rows, false, NULL);
    assert_int_equal(hone_dataset_join(d, old, NULL), 0);
    hone_dataset_close(old);
    assert_int_equal(hone_feed_init(&f, &p, NULL), 0);
    for (; at.epoch == 0; at = f.next) {
        load(&f, at);
        if (f.step[0] >= NEW_ROWS) {
            assert_in_range(since, 4, 5); /* 37 / 9 */
            since = 0;
        } else {
            assert_int_equal(f.step[0], next++);
            since++;
        }
    }
    assert_int_equal(next, NEW_ROWS);
    hone_feed_clear(&f);
    hone_free(which);
    hone_dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_as_transformers),
        cmocka_unit_test(replay_keeps_its_share),
        cmocka_unit_test(replay_is_spread_evenly),
        cmocka_unit_test(groups_every_row_once),
        cmocka_unit_test(epochs_hold_every_sequence_once),
        cmocka_unit_test(streaming_is_the_order_of_shards),
        cmocka_unit_test(a_step_is_cut_evenly),
        cmocka_unit_test(a_wrong_row_ends_the_stream),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
