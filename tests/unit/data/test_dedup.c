/* Near-duplicates against brute force, n-grams, groups and who is kept; contamination; and the whole pass: one fate for
 * every row, the same for every number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/dedup.h"

#define ROWS 2000
#define NGRAM 5

static void ngrams_of(ngrams *g, const char *text, int n)
{
    hone_error err = HONE_ERROR_INIT;

    g->n = 0;
    assert_int_equal(ngrams_add(g, text, strlen(text), n, &err), 0);
    ngrams_sort(g);
}

static double jaccard(const char *a, const char *b, int n)
{
    ngrams x = {0}, y = {0};
    double j;

    ngrams_of(&x, a, n);
    ngrams_of(&y, b, n);
    j = ngrams_jaccard(&x, &y);
    hone_free(x.value);
    hone_free(y.value);
    return j;
}

/* A squeezed text, as preparing hands it over. */
static void add(dedup *d, const hone_buf *text, float score)
{
    uint32_t key[192];
    dedup_digest digest = {text->data ? text->data : "", (uint32_t)text->len, score, 0, key};
    hone_error err = HONE_ERROR_INIT;
    ngrams g = {0};

    assert_true(dedup_keys(d) <= HONE_COUNT(key));
    assert_int_equal(dedup_make(d, &digest, &g, &err), 0);
    assert_int_equal(dedup_add(d, &digest, &err), 0);
    hone_free(g.value);
}

static void ngrams_are_characters(void **state)
{
    ngrams g = {0};
    hone_buf b = {0};

    (void)state;
    ngrams_of(&g, "abcabc", 3); /* abc bca cab */
    assert_int_equal(g.n, 3);
    ngrams_of(&g, "ab", 3);
    assert_int_equal(g.n, 1);
    ngrams_of(&g, "", 3);
    assert_int_equal(g.n, 0);
    ngrams_of(&g, "\xe4\xb8\xad\xe6\x96\x87\xe5\xad\x97", 2);
    assert_int_equal(g.n, 2);
    assert_true(jaccard("abcdef", "abcdeg", 2) == 4.0 / 6);
    assert_true(jaccard("aaaa", "aa", 2) == 1);
    assert_true(jaccard("abc", "xyz", 2) == 0);
    assert_true(jaccard("ab", "ba", 5) == 0);
    text_squeeze(&b, " \n a  b\t\r\nc ", 12);
    assert_string_equal(b.data, "a b c");
    hone_buf_clear(&b);
    hone_free(g.value);
}

/* Text of n characters, half of them Chinese. */
static void put_noise(hone_buf *b, hone_rng *r, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        char c[4];

        hone_buf_add(b, c,
                     hone_utf8_put(c, (int32_t)(hone_rng_below(r, 2) ? 0x4e00 + hone_rng_below(r, 400)
                                                                     : 'a' + hone_rng_below(r, 26))));
    }
}

/* Rows of which every second one is its predecessor with a part replaced, so that similarities spread over 0.5 .. 1. */
static void plant(hone_buf *text)
{
    hone_rng r = hone_rng_make(7, 1);
    size_t i;

    for (i = 0; i < ROWS; i++) {
        if (i % 2 == 0) {
            put_noise(&text[i], &r, 100 + hone_rng_below(&r, 200));
        } else {
            size_t from = text[i - 1].len / 2, cut = 1 + hone_rng_below(&r, (uint32_t)text[i - 1].len / 3);

            while (((uint8_t)text[i - 1].data[from] & 0xc0) == 0x80)
                from++;
            while (from + cut < text[i - 1].len && ((uint8_t)text[i - 1].data[from + cut] & 0xc0) == 0x80)
                cut++;
            cut = HONE_MIN(cut, text[i - 1].len - from);
            hone_buf_add(&text[i], text[i - 1].data, from);
            put_noise(&text[i], &r, 1 + cut / 8);
            hone_buf_add(&text[i], text[i - 1].data + from + cut, text[i - 1].len - from - cut);
        }
    }
}

static dedup *grouped(const hone_buf *text, size_t n, size_t threads, double threshold)
{
    dedup_options o = {true, threshold, NGRAM, threads};
    hone_error err = HONE_ERROR_INIT;
    dedup *d;
    size_t i;

    assert_int_equal(dedup_open(&d, &o, &err), 0);
    for (i = 0; i < n; i++)
        add(d, &text[i], 0);
    assert_int_equal(dedup_run(d, &err), 0);
    return d;
}

static void near_duplicates_are_those_of_brute_force(void **state)
{
    static hone_buf text[ROWS];
    static ngrams set[ROWS];
    static uint32_t group[ROWS]; /* brute force: smallest row of the connected part */
    size_t i, j, pairs = 0, found = 0, wrong = 0, taken = 0;
    hone_error err = HONE_ERROR_INIT;
    double similarity;
    dedup *d, *e;

    (void)state;
    plant(text);
    for (i = 0; i < ROWS; i++) {
        assert_int_equal(ngrams_add(&set[i], text[i].data, text[i].len, NGRAM, &err), 0);
        ngrams_sort(&set[i]);
        group[i] = (uint32_t)i;
    }
    d = grouped(text, ROWS, 1, 0.8);
    for (i = 0; i < ROWS; i++)
        for (j = 0; j < i; j++)
            if (ngrams_jaccard(&set[i], &set[j]) >= 0.8) {
                pairs++;
                found += dedup_kept(d, i, &similarity) == dedup_kept(d, j, &similarity);
                group[i] = group[j];
            }
    for (i = 0; i < ROWS; i++) {
        size_t kept = dedup_kept(d, i, &similarity);

        taken += kept != i;
        wrong += kept != i && group[i] != kept;
        if (kept != i)
            assert_true((float)ngrams_jaccard(&set[i], &set[kept]) == (float)similarity);
    }
    print_message("%zu pairs at 0.8 and above, %zu found, %zu rows taken, %zu of them wrongly\n", pairs,
                  found, taken, wrong);
    assert_true(pairs > 200);
    assert_true((double)found >= 0.97 * (double)pairs);
    assert_true((double)wrong <= 0.01 * (double)taken);
    e = grouped(text, ROWS, 7, 0.8);
    for (i = 0; i < ROWS; i++)
        assert_int_equal(dedup_kept(d, i, &similarity), dedup_kept(e, i, &similarity));
    dedup_close(d);
    dedup_close(e);
    for (i = 0; i < ROWS; i++) {
        hone_buf_clear(&text[i]);
        hone_free(set[i].value);
    }
}

static void the_best_of_a_group_is_kept(void **state)
{
    static const char *const text[] = {"the quick brown fox jumps",
                                       "alone in the world, quite",
                                       "the quick brown fox jumps",
                                       "the  quick brown\nfox jumps",
                                       "",
                                       ""};
    static const float score[] = {1, 5, 3, 3, 0, 0};
    static const size_t kept[] = {2, 1, 2, 2, 4, 4};
    hone_buf squeezed[HONE_COUNT(text)] = {0};
    dedup_options o = {false, 0.8, NGRAM, 2};
    hone_error err = HONE_ERROR_INIT;
    double similarity;
    dedup *d;
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(text); i++)
        text_squeeze(&squeezed[i], text[i], strlen(text[i]));
    for (o.near = false;; o.near = true) {
        assert_int_equal(dedup_open(&d, &o, &err), 0);
        for (i = 0; i < HONE_COUNT(text); i++)
            add(d, &squeezed[i], score[i]);
        assert_int_equal(dedup_run(d, &err), 0);
        for (i = 0; i < HONE_COUNT(text); i++) {
            assert_int_equal(dedup_kept(d, i, &similarity), kept[i]);
            assert_true(similarity == 1);
        }
        dedup_close(d);
        if (o.near)
            break;
    }
    assert_int_equal(dedup_open(&d, &o, &err), 0); /* no text at all */
    assert_int_equal(dedup_run(d, &err), 0);
    dedup_close(d);
    for (i = 0; i < HONE_COUNT(text); i++)
        hone_buf_clear(&squeezed[i]);
}

/* ---- the whole pass ---------------------------------------------------------------------------------------------------- */

#define QA(q, a) "{\"question\":\"" q "\",\"answer\":\"" a "\"}\n"

static void put(const char *path, const char *text)
{
    hone_error err = HONE_ERROR_INIT;

    assert_int_equal(hone_file_write(path, text, strlen(text), &err), 0);
}

static void assert_file(const char *path, const char *want)
{
    hone_error err = HONE_ERROR_INIT;
    char *text;
    size_t len;

    if (hone_file_read(&text, &len, path, 1 << 20, &err))
        fail_msg("%s", err.message);
    assert_string_equal(text, want);
    hone_free(text);
    unlink(path);
}

static hone_prepare_options options(void)
{
    return (hone_prepare_options){.rows = {.keep_going = true},
                                  .exact = true,
                                  .near = true,
                                  .threshold = 0.8,
                                  .ngram = 5,
                                  .share = 0.6,
                                  .contamination_ngram = 8,
                                  .threads = 2,
                                  .output = "test_dedup_out.jsonl",
                                  .ledger = "test_dedup_ledger.jsonl"};
}

static void every_row_has_one_fate(void **state)
{
    const char *paths[] = {"test_dedup_a.jsonl", "test_dedup_b.csv"}, *against[] = {"test_dedup_eval.jsonl"};
    hone_prepare_options o = options();
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts n;

    (void)state;
    put(paths[0], QA("What is the capital of France?",
                     "Paris.") "{broken\n" QA("What is the capital of France?", "Paris.")
                      QA("Please tell me: which river flows through Cologne?", "The Rhine does."));
    put(paths[1], "question,answer\nWhat is the capital of France?,Paris is.\nHow far is the moon?,Far.\n");
    put(against[0], QA("Short?", "x") QA("Which river flows through Cologne?", "Rhine."));
    o.against = against;
    o.n_against = 1;
    if (hone_data_prepare(paths, 2, &o, &n, &err))
        fail_msg("%s", err.message);
    assert_true(n.rows == 6 && n.used == 2 && n.dropped == 1 && n.duplicate == 2 && n.contaminated == 1);
    assert_file(o.output, "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of France?\"},"
                          "{\"role\":\"assistant\",\"content\":\"Paris is.\"}]}\n"
                          "{\"messages\":[{\"role\":\"user\",\"content\":\"How far is the moon?\"},"
                          "{\"role\":\"assistant\",\"content\":\"Far.\"}]}\n");
    assert_file(o.ledger,
                "{\"row\":0,\"file\":\"test_dedup_a.jsonl\",\"line\":1,\"fate\":\"duplicate\",\"of\":{"
                "\"row\":4,\"file\":"
                "\"test_dedup_b.csv\",\"line\":2},\"similarity\":0.8649}\n"
                "{\"row\":1,\"file\":\"test_dedup_a.jsonl\",\"line\":2,\"fate\":\"dropped\",\"reason\":"
                "\"invalid\",\"detail\":"
                "\"test_dedup_a.jsonl:2: broken JSON: string or '}' expected near 'broken'\"}\n"
                "{\"row\":2,\"file\":\"test_dedup_a.jsonl\",\"line\":3,\"fate\":\"duplicate\",\"of\":{"
                "\"row\":4,\"file\":"
                "\"test_dedup_b.csv\",\"line\":2},\"similarity\":0.8649}\n"
                "{\"row\":3,\"file\":\"test_dedup_a.jsonl\",\"line\":4,\"fate\":\"contaminated\",\"by\":{"
                "\"row\":1,\"file\":"
                "\"test_dedup_eval.jsonl\",\"line\":2},\"share\":0.9630}\n"
                "{\"row\":4,\"file\":\"test_dedup_b.csv\",\"line\":2,\"fate\":\"used\"}\n"
                "{\"row\":5,\"file\":\"test_dedup_b.csv\",\"line\":3,\"fate\":\"used\"}\n"
                "{\"totals\":{\"rows\":6,\"used\":2,\"cut\":0,\"split\":0,\"dropped\":1,\"duplicate\":2,"
                "\"contaminated\":1}}\n");
    o.rows.keep_going = false;
    assert_int_equal(hone_data_prepare(paths, 2, &o, &n, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "test_dedup_a.jsonl:2: broken JSON"));
    assert_false(hone_path_exists(o.output) || hone_path_exists(o.ledger));
    unlink(paths[0]);
    unlink(paths[1]);
    unlink(against[0]);
}

static void weights_survive(void **state)
{
    const char *paths[] = {"test_dedup_w.jsonl"};
    const char *row =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\","
        "\"loss_weight\":0.5},"
        "{\"role\":\"user\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"b\",\"loss_weight\":0},"
        "{\"role\":\"assistant\",\"content\":\"c\"}]}\n{\"text\":\"plain\"}\n";
    hone_prepare_options o = options();
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts n;

    (void)state;
    put(paths[0], row);
    o.ledger = NULL;
    assert_int_equal(hone_data_prepare(paths, 1, &o, &n, &err), 0);
    assert_file(o.output, row);
    unlink(paths[0]);
}

static void a_ledger_accepts_no_gap_and_no_wrong_total(void **state)
{
    hone_ledger_entry e = {.file = "f", .line = 1};
    hone_error err = HONE_ERROR_INIT;
    hone_ledger *l;

    (void)state;
    assert_int_equal(hone_ledger_open(&l, "test_dedup_l.jsonl", &err), 0);
    assert_int_equal(hone_ledger_add(l, &e, &err), 0);
    assert_int_equal(hone_ledger_add(l, &e, &err), HONE_EINTERNAL); /* row 0 twice */
    e.row = 2;
    assert_int_equal(hone_ledger_add(l, &e, &err), HONE_EINTERNAL); /* row 1 left out */
    assert_int_equal(hone_ledger_get_counts(l).rows, 1);
    assert_int_equal(hone_ledger_commit(l, 2, &err), HONE_EINTERNAL);
    assert_false(hone_path_exists("test_dedup_l.jsonl"));
}

/* ---- without memory ------------------------------------------------------------------------------------------------------ */

static bool fail_nth(void *ud, size_t size)
{
    size_t *left = ud;

    (void)size;
    return (*left)-- > 1;
}

static void every_allocation_may_fail(void **state)
{
    const char *paths[] = {"test_dedup_m.jsonl"};
    hone_prepare_options o = options();
    size_t n, before = hone_mem_used();
    int rc = -1;

    (void)state;
    put(paths[0],
        QA("What is the capital of France?", "Paris.") QA("What is the capital of France?", "Paris!") "{\n");
    o.against = paths;
    o.n_against = 1;
    o.threads = 1;
    o.output = NULL;
    put("test_dedup_e.jsonl", QA("Something else that stands alone", "yes"));
    o.against = (const char *const[]){"test_dedup_e.jsonl"};
    for (n = 1; rc; n++) {
        hone_error err = HONE_ERROR_INIT;
        hone_ledger_counts counts;
        size_t left = n;

        hone_mem_hook(fail_nth, &left);
        rc = hone_data_prepare(paths, 1, &o, &counts, &err);
        hone_mem_hook(NULL, NULL);
        assert_true(rc == 0 || rc == HONE_ENOMEM || rc == HONE_EIO);
        assert_int_equal(hone_mem_used(), before);
        assert_true(n < 2000);
    }
    unlink(paths[0]);
    unlink("test_dedup_e.jsonl");
    unlink(o.ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ngrams_are_characters),
                                       cmocka_unit_test(near_duplicates_are_those_of_brute_force),
                                       cmocka_unit_test(the_best_of_a_group_is_kept),
                                       cmocka_unit_test(every_row_has_one_fate),
                                       cmocka_unit_test(weights_survive),
                                       cmocka_unit_test(a_ledger_accepts_no_gap_and_no_wrong_total),
                                       cmocka_unit_test(every_allocation_may_fail)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
