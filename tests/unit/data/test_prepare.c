/* The pass of preparing: the same files for every number of threads, rules and scores that drop, filters, weights, choosing,
 * what callbacks see, the summary, and options that do not go together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/store.h"

#define ROWS 3000 /* some batches for every thread */
#define FOLDER "test_prepare_out/"

static const char *const rows_path[] = {"test_prepare_rows.jsonl"};

/* Rows of two tasks, some broken, some equal, some nearly equal, some that a rule finds. */
static void write_rows(size_t n)
{
    hone_rng r = hone_rng_make(11, 1);
    hone_error err = HONE_ERROR_INIT;
    hone_buf b = {0};
    size_t i, k;

    for (i = 0; i < n; i++) {
        if (i % 97 == 50) {
            hone_buf_puts(&b, "{broken\n");
            continue;
        }
        hone_buf_printf(&b, "{\"id\":%zu,\"task\":\"%s\",\"group\":\"g%zu\",\"instruction\":\"Question %u", i,
                        i % 5 ? "talk" : "code", i / 7, hone_rng_below(&r, 400));
        for (k = 0; k < 12; k++)
            hone_buf_printf(&b, " %c%u", 'a' + (char)hone_rng_below(&r, 26), hone_rng_below(&r, 10000));
        hone_buf_puts(&b, "?\",\"output\":\"");
        if (i % 31 == 7)
            for (k = 0; k < 40; k++)
                hone_buf_puts(&b, "again and ");
        for (k = 0; k < 5 + i % 20; k++)
            hone_buf_printf(&b, "word%u ", hone_rng_below(&r, 5000));
        hone_buf_puts(&b, "done.\"");
        if (i % 13 == 3)
            hone_buf_puts(&b, ",\"weight\":0.5");
        hone_buf_puts(&b, "}\n");
        if (i % 41 == 9) /* the same again */
            hone_buf_puts(
                &b, "{\"instruction\":\"How far is the moon from the earth today?\",\"output\":\"Far.\"}\n");
    }
    assert_false(b.failed);
    assert_int_equal(hone_file_write(rows_path[0], b.data, b.len, &err), 0);
    hone_buf_clear(&b);
}

/* A figure that any machine computes alike: bytes of the conversation modulo 100. */
static int score(void *ud, const char *const *text, const size_t *len, size_t rows, double *out,
                 hone_error *err)
{
    size_t i;

    (void)err;
    for (i = 0; i < rows; i++) {
        assert_true(text[i][len[i] - 1] == '}');
        out[2 * i] = (double)(len[i] % 100);
        out[2 * i + 1] = len[i] % 10 == 0 ? NAN : 2;
    }
    *(size_t *)ud += rows;
    return 0;
}

typedef struct seen {
    uint64_t next, findings, used, places, validation, dropped_by_rule;
    bool clash;
} seen;

static void on_row(void *ud, const hone_row_result *r)
{
    seen *s = ud;

    s->clash |= r->entry.row != s->next++;
    s->findings += r->n_findings;
    s->clash |= r->n_findings && (!r->finding[0].rule || !r->finding[0].title[0] || !r->finding[0].title[1]);
    s->used += r->entry.fate == HONE_FATE_USED;
    s->clash |= (r->entry.fate == HONE_FATE_USED) != (r->copies > 0);
    s->places += r->validation ? 0 : r->copies;
    s->validation += r->validation;
    s->clash |=
        !r->conversation && (r->entry.fate != HONE_FATE_DROPPED || strcmp(r->entry.reason, "invalid"));
    s->dropped_by_rule += r->entry.reason && !strcmp(r->entry.reason, "repeated_text");
}

typedef struct setting {
    hone_choose_options choose;
    hone_prepare_options o;
    hone_scorer scorer;
    size_t scored;
    const char *set[1];
} setting;

static const char *const score_names[] = {"ifd", "perplexity"};

static void set_up(setting *s, int threads)
{
    static const char *const filter[] = {"ifd >= 10", "perplexity<=3"};

    *s = (setting){.scorer = {score_names, 2, score, NULL}, .set = {"repeated_text.action=drop"}};
    s->scorer.ud = &s->scored;
    s->choose = (hone_choose_options){.balance = HONE_BALANCE_TASK,
                                      .method = HONE_BALANCE_UP,
                                      .order = HONE_ORDER_STAGED,
                                      .curriculum = "ifd",
                                      .stage = {0.5, 0.3, 0.2},
                                      .split_by = HONE_SPLIT_GROUP,
                                      .val_size = 0.1,
                                      .seed = 5};
    s->o = (hone_prepare_options){.rows = {.keep_going = true},
                                  .exact = true,
                                  .near = true,
                                  .threshold = 0.8,
                                  .ngram = 5,
                                  .quality = {.enabled = true, .set = s->set, .n_set = 1},
                                  .scorer = &s->scorer,
                                  .filter = filter,
                                  .n_filter = 2,
                                  .weight = "1/perplexity",
                                  .choose = &s->choose,
                                  .threads = threads,
                                  .output = FOLDER "train.jsonl",
                                  .validation = FOLDER "validation.jsonl",
                                  .ledger = FOLDER "ledger.jsonl",
                                  .summary = FOLDER "summary.json"};
}

static const char *const files[] = {"train.jsonl", "validation.jsonl", "ledger.jsonl", "summary.json"};

static void read_files(char *text[4])
{
    hone_error err = HONE_ERROR_INIT;
    char path[64];
    size_t i, len;

    for (i = 0; i < 4; i++) {
        snprintf(path, sizeof path, FOLDER "%s", files[i]);
        if (hone_file_read(&text[i], &len, path, 1 << 28, &err))
            fail_msg("%s", err.message);
    }
}

static void remove_files(void)
{
    char path[64];
    size_t i;

    for (i = 0; i < 4; i++) {
        snprintf(path, sizeof path, FOLDER "%s", files[i]);
        unlink(path);
    }
    rmdir("test_prepare_out");
    unlink(rows_path[0]);
}

static size_t lines_of(const char *text)
{
    size_t n = 0;

    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

static size_t times(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

static void threads_change_nothing(void **state)
{
    static const int threads[] = {1, 2, 3, 7};
    char *first[4], *text[4];
    hone_ledger_counts n;
    size_t t, i;

    (void)state;
    write_rows(ROWS);
    for (t = 0; t < HONE_COUNT(threads); t++) {
        hone_error err = HONE_ERROR_INIT;
        seen s = {0};
        setting g;

        set_up(&g, threads[t]);
        g.o.row = on_row;
        g.o.ud = &s;
        if (hone_data_prepare(rows_path, 1, &g.o, &n, &err))
            fail_msg("%s", err.message);
        read_files(text);
        assert_false(s.clash);
        assert_int_equal(s.next, n.rows);
        assert_int_equal(s.used, n.used);
        assert_int_equal(s.places, lines_of(text[0]));
        assert_int_equal(s.validation, lines_of(text[1]));
        assert_int_equal(n.rows + 1, lines_of(text[2]));
        assert_true(s.dropped_by_rule > 50 && n.duplicate > 50 && s.findings > 50 && s.validation > 50);
        for (i = 0; i < 4; i++) {
            if (t)
                assert_string_equal(text[i], first[i]);
            else
                first[i] = text[i];
            if (t)
                hone_free(text[i]);
        }
    }
    /* what the ledger, the rows and the summary say fits together */
    assert_int_equal(times(first[2], "\"reason\":\"invalid\""), (ROWS - 51) / 97 + 1);
    assert_int_equal(times(first[2], "\"validation\":true"), lines_of(first[1]));
    assert_int_equal(times(first[0], "\"task\":\"talk\""), times(first[0], "\"task\":\"code\""));
    assert_true(times(first[2], "\"copies\":") > 50 && times(first[2], "\"stage\":3") > 50);
    assert_true(times(first[2], "\"fate\":\"dropped\",\"reason\":\"score\",\"detail\":\"ifd >= 10\"") > 50);
    assert_true(times(first[0], "\"weight\":0.5") > 10);
    {
        json_t *summary = json_loads(first[3], 0, NULL), *tasks = json_object_get(summary, "tasks");

        assert_non_null(summary);
        assert_int_equal(json_integer_value(json_object_get(summary, "rows")), n.rows);
        assert_int_equal(json_integer_value(json_object_get(summary, "train")), lines_of(first[0]));
        assert_int_equal(json_integer_value(json_object_get(
                             json_object_get(json_object_get(summary, "rules"), "repeated_text"), "dropped")),
                         times(first[2], "\"reason\":\"repeated_text\""));
        assert_int_equal(json_integer_value(json_object_get(json_object_get(tasks, "code"), "places")),
                         times(first[0], "\"task\":\"code\"") + times(first[1], "\"task\":\"code\""));
        json_decref(summary);
    }
    for (i = 0; i < 4; i++)
        hone_free(first[i]);
    remove_files();
}

/* What is written is read back as what was prepared: nothing more to drop, the same weights. */
static void what_is_written_is_good(void **state)
{
    const char *ready[] = {FOLDER "train.jsonl"};
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts n;
    hone_rows *rows;
    hone_row row;
    setting g;
    size_t light = 0, count = 0;
    char *text[4];
    size_t i;

    (void)state;
    write_rows(400);
    set_up(&g, 2);
    g.o.choose = NULL;
    g.o.weight = NULL;
    g.o.validation = NULL;
    g.o.filter = NULL;
    g.o.n_filter = 0;
    assert_int_equal(hone_data_prepare(rows_path, 1, &g.o, &n, &err), 0);
    assert_int_equal(hone_rows_open(&rows, ready, 1, NULL, &err), 0);
    while (hone_rows_next(rows, &row, &err) == 1) {
        count++;
        light += row.row_weight == 0.5f && row.weight[1] == 0.5f;
        assert_true(!row.id == !row.task);
    }
    hone_rows_close(rows);
    assert_int_equal(count, n.used);
    assert_true(light > 10);
    assert_int_equal(hone_file_write(FOLDER "validation.jsonl", "old\n", 4, &err), 0);
    g.o.output = FOLDER "again.jsonl";
    g.o.validation = FOLDER "validation.jsonl";
    assert_int_equal(hone_data_prepare(ready, 1, &g.o, &n, &err), 0);
    assert_int_equal(n.used, count);
    assert_false(hone_path_exists(FOLDER "validation.jsonl")); /* of an earlier run */
    assert_int_equal(hone_file_write(FOLDER "validation.jsonl", "", 0, &err), 0);
    read_files(text);
    for (i = 0; i < 4; i++)
        hone_free(text[i]);
    unlink(FOLDER "again.jsonl");
    remove_files();
}

static void options_must_fit(void **state)
{
    static const struct {
        const char *filter, *weight, *curriculum, *message;
        bool no_validation;
    } bad[] = {
        {"ifd", NULL, NULL, "data.scores.filter: `ifd`", false},
        {"<3", NULL, NULL, "data.scores.filter: `<3`", false},
        {"ifd<x", NULL, NULL, "data.scores.filter: `ifd<x`", false},
        {"ifd=1", NULL, NULL, "data.scores.filter: `ifd=1`", false},
        {"loss<1", NULL, NULL,
         "data.scores.filter: the score `loss` is not computed; data.scores.compute has ifd, perplexity",
         false},
        {NULL, "loss", NULL, "data.scores.weight: the score `loss`", false},
        {NULL, NULL, "loss", "data.mix.curriculum: the score `loss`", false},
        {NULL, NULL, NULL, "rows are held out", true},
    };
    size_t i;

    (void)state;
    write_rows(50);
    for (i = 0; i < HONE_COUNT(bad); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_ledger_counts n;
        setting g;

        set_up(&g, 1);
        if (bad[i].filter) {
            g.o.filter = &bad[i].filter;
            g.o.n_filter = 1;
        }
        if (bad[i].weight)
            g.o.weight = bad[i].weight;
        if (bad[i].curriculum)
            g.choose.curriculum = bad[i].curriculum;
        if (bad[i].no_validation)
            g.o.validation = NULL;
        if (hone_data_prepare(rows_path, 1, &g.o, &n, &err) != HONE_EINVAL ||
            strncmp(err.message, bad[i].message, strlen(bad[i].message)))
            fail_msg("case %zu: %s", i, err.message);
        assert_false(hone_path_exists(g.o.output));
    }
    remove_files();
}

/* The first bad row is the one that is named, however many threads there are. */
static void the_first_error_is_reported(void **state)
{
    int threads;

    (void)state;
    write_rows(ROWS);
    for (threads = 1; threads < 5; threads++) {
        hone_error err = HONE_ERROR_INIT;
        hone_ledger_counts n;
        setting g;

        set_up(&g, threads);
        g.o.rows.keep_going = false;
        assert_int_equal(hone_data_prepare(rows_path, 1, &g.o, &n, &err), HONE_EFORMAT);
        assert_non_null(strstr(err.message, "test_prepare_rows.jsonl:52: broken JSON"));
    }
    remove_files();
}

static void names_are_numbered_as_they_come(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    names list = {0};
    uint32_t number, k;
    char text[16];

    (void)state;
    for (k = 0; k < 6000; k++) {
        snprintf(text, sizeof text, "n%u", k % 3000);
        assert_int_equal(names_number(&list, &number, text, &err), 0);
        assert_int_equal(number, k % 3000 + 1);
    }
    assert_int_equal(names_number(&list, &number, NULL, &err), 0);
    assert_int_equal(number, 0);
    assert_int_equal(list.n, 3000);
    assert_string_equal(list.name[1234], "n1234");
    names_clear(&list);
}

/* ---- failed allocations ---------------------------------------------------------------------------------------------- */

static bool one_fails(void *ud, size_t size)
{
    (void)size;
    return (*(long *)ud)-- != 0;
}

static void every_allocation_may_fail(void **state)
{
    long k, left, step = 1;
    int rc = HONE_ENOMEM;

    (void)state;
    write_rows(60);
    for (k = 0; rc == HONE_ENOMEM; k += step) {
        hone_error err = HONE_ERROR_INIT;
        hone_ledger_counts n;
        setting g;

        set_up(&g, 1);
        left = k;
        hone_mem_hook(one_fails, &left);
        rc = hone_data_prepare(rows_path, 1, &g.o, &n, &err);
        hone_mem_hook(NULL, NULL);
        if (k == 400)
            step = 7; /* the rest are rows like those before */
    }
    assert_int_equal(rc, 0);
    remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_change_nothing),
                                       cmocka_unit_test(what_is_written_is_good),
                                       cmocka_unit_test(options_must_fit),
                                       cmocka_unit_test(the_first_error_is_reported),
                                       cmocka_unit_test(names_are_numbered_as_they_come),
                                       cmocka_unit_test(every_allocation_may_fail)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
