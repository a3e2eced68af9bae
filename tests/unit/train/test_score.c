/* Scores of rows on the tiny chat model: against transformers' (tests/peers/score_parity.py --write), the same in
 * batches of any size, rows without a score, rows that are cut, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "format/json.h"
#include "hone/hone.h"

#define MODEL HONE_TEST_DIR "/golden/tiny_chat"
#define MAX_ROWS 16
#define N 4

static const char *const names[N] = {"perplexity", "perplexity_alone", "ifd", "unscored"};

typedef struct note_list {
    int n;
    char last[1200];
} note_list;

static void on_note(void *ud, const char *line)
{
    note_list *s = ud;

    s->n++;
    snprintf(s->last, sizeof s->last, "%s", line);
}

static hone_device *device(void)
{
    hone_device_params p = hone_device_default();
    hone_device *dev;

    p.threads = 2;
    assert_int_equal(hone_device_open(&dev, &p, NULL), 0);
    return dev;
}

/* Scores text[0..n) into out. */
static void score(const char *const *text, size_t n, int32_t max_length, int32_t batch, note_list *notes,
                  double *out)
{
    hone_scorer_params p = {.model = MODEL,
                            .open.precision = HONE_PRECISION_F32,
                            .max_length = max_length,
                            .batch_tokens = batch,
                            .name = names,
                            .n = N,
                            .note = on_note,
                            .ud = notes};
    hone_error err = HONE_ERROR_INIT;
    hone_device *dev = device();
    size_t len[MAX_ROWS], i;
    hone_scorer s;

    for (i = 0; i < n; i++)
        len[i] = strlen(text[i]);
    if (hone_scorer_open(&s, dev, &p, &err) || s.score(s.ud, text, len, n, out, &err))
        fail_msg("%s", err.message);
    assert_int_equal(s.n, N);
    assert_string_equal(s.name[2], "ifd");
    hone_scorer_close(&s);
    hone_device_close(dev);
}

static char *golden;
static const char *row[MAX_ROWS];
static double want[MAX_ROWS * N];
static size_t n_rows;

static int read_golden(void **state)
{
    char *line, *rest;
    size_t len, k;

    (void)state;
    assert_int_equal(
        hone_file_read(&golden, &len, HONE_TEST_DIR "/golden/score_golden.jsonl", (size_t)1 << 20, NULL), 0);
    for (line = strtok_r(golden, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *root = json_loads(line, 0, NULL);

        assert_non_null(root);
        for (k = 0; k < N; k++)
            want[n_rows * N + k] =
                json_number_value(json_object_get(json_object_get(root, "scores"), names[k]));
        json_decref(root);
        row[n_rows++] = line; /* other fields of a conversation are no concern of the scorer */
    }
    assert_int_equal(n_rows, 8);
    return 0;
}

static int drop_golden(void **state)
{
    (void)state;
    hone_free(golden);
    return 0;
}

static void test_golden(void **state)
{
    static const int32_t batch[] = {0, 64, 8};
    double out[MAX_ROWS * N];
    note_list notes = {0};
    size_t i, b;

    (void)state;
    for (b = 0; b < HONE_COUNT(batch); b++) {
        score(row, n_rows, 0, batch[b], &notes, out);
        for (i = 0; i < n_rows * N; i++)
            assert_true(fabs(out[i] - want[i]) <= 1e-4 * fabs(want[i]));
    }
    assert_int_equal(notes.n, 0);
}

static void test_cut(void **state)
{
    double whole[N], cut[N];
    note_list notes = {0};

    (void)state;
    score(row + 5, 1, 0, 0, &notes, whole);
    assert_int_equal(notes.n, 0);
    assert_true(whole[3] == 0);
    score(row + 5, 1, 40, 0, &notes, cut);
    assert_int_equal(notes.n, 1);
    assert_non_null(strstr(notes.last, "longer than max_length"));
    assert_true(cut[3] > 0 && cut[0] != whole[0] && isfinite(cut[2]));
}

static void test_rows_without_score(void **state)
{
    static const char *const rows[] = {
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
        "{\"text\":\"The quick brown fox.\"}",
        "no json",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"\"}]}",
    };
    double out[HONE_COUNT(rows) * N];
    note_list notes = {0};

    (void)state;
    score(rows, HONE_COUNT(rows), 0, 0, &notes, out);
    assert_int_equal(notes.n, 1); /* once, of the first such row */
    assert_true(isnan(out[0]) && isnan(out[1]) && isnan(out[2]));
    assert_true(out[N] > 1 && isnan(out[N + 1]) && isnan(out[N + 2])); /* a plain text has no question */
    assert_true(isnan(out[2 * N]));
    score(rows, 0, 0, 0, &notes, out); /* none at all is fine */
}

static void test_refused(void **state)
{
    static const char *const wrong[] = {"ifd", "beauty"};
    hone_scorer_params p = {.model = MODEL, .name = wrong, .n = 2};
    hone_error err = HONE_ERROR_INIT;
    hone_device *dev = device();
    hone_scorer s;

    (void)state;
    assert_int_equal(hone_scorer_open(&s, dev, &p, &err), HONE_EINVAL);
    assert_non_null(strstr(err.message, "unknown score 'beauty'"));
    hone_scorer_close(&s);
    p.n = 0;
    assert_int_equal(hone_scorer_open(&s, dev, &p, NULL), HONE_EINVAL);
    p.n = 1;
    p.max_length = 1;
    assert_int_equal(hone_scorer_open(&s, dev, &p, NULL), HONE_EINVAL);
    p.model = "nowhere";
    assert_int_not_equal(hone_scorer_open(&s, dev, &p, NULL), 0);
    hone_device_close(dev);
}

static size_t until;

static bool fails_later(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return until ? until-- : false;
}

/* Whichever allocation fails while rows are scored, the error is ENOMEM and nothing leaks. */
static void test_out_of_memory(void **state)
{
    hone_scorer_params p = {
        .model = MODEL, .open.precision = HONE_PRECISION_F32, .batch_tokens = 8, .name = names, .n = N};
    double out[2 * N];
    const size_t len[] = {strlen(row[0]), strlen(row[2])};
    const char *const two[] = {row[0], row[2]};
    hone_device *dev = device();
    hone_scorer s;
    size_t i;
    int rc = HONE_ENOMEM;

    (void)state;
    assert_int_equal(hone_scorer_open(&s, dev, &p, NULL), 0);
    for (i = 0; rc && i < 10000; i++) {
        until = i;
        hone_mem_hook(fails_later, NULL);
        rc = s.score(s.ud, two, len, 2, out, NULL);
        hone_mem_hook(NULL, NULL);
        assert_true(rc == 0 || rc == HONE_ENOMEM);
    }
    assert_int_equal(rc, 0);
    assert_true(i > 10 && isfinite(out[2]));
    hone_scorer_close(&s);
    hone_device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_cut),
                                       cmocka_unit_test(test_rows_without_score),
                                       cmocka_unit_test(test_refused), cmocka_unit_test(test_out_of_memory)};

    return cmocka_run_group_tests(tests, read_golden, drop_golden);
}
