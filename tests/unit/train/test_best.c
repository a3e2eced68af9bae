/* The best evaluation and early stopping against what transformers decided (tests/golden/make_early_stopping_golden.py), and
 * the guard against jumps of loss and gradient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "train/best.h"
#include "train/guard.h"

static void set(hone_config *c, const char *key, const char *value)
{
    char line[100];
    hone_error err = HONE_ERROR_INIT;

    snprintf(line, sizeof line, "training.%s=%s", key, value);
    if (hone_config_set(c, line, &err))
        fail_msg("%s", err.message);
}

static void decides_as_transformers(void **state)
{
    char *text, *line, *save, *word, *at;
    int cases = 0, evaluations = 0;
    hone_config *c;
    size_t n;

    (void)state;
    assert_int_equal(hone_file_read(&text, &n, HONE_TEST_DIR "/golden/early_stopping.txt", 1 << 20, NULL), 0);
    assert_int_equal(hone_config_new(&c, NULL), 0);
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), cases++) {
        hone_best b = HONE_BEST_NONE;
        int64_t step = 0;

        word = strtok_r(line, " ", &at);
        set(c, "greater_is_better", *word == '1' ? "true" : "false");
        set(c, "early_stopping_patience", strtok_r(NULL, " ", &at));
        set(c, "early_stopping_threshold", strtok_r(NULL, " ", &at));
        assert_string_equal(strtok_r(NULL, " ", &at), ":");
        while ((word = strtok_r(NULL, " ", &at))) {
            const hone_eval_result e = {.loss = strtod(word, NULL)};
            const int64_t before = b.step;
            bool best = hone_best_update(&b, c, ++step, &e);

            assert_int_equal(b.step, strtol(strtok_r(NULL, " ", &at), NULL, 10));
            assert_int_equal(best, b.step != before);
            assert_int_equal(b.bad, strtol(strtok_r(NULL, " ", &at), NULL, 10));
            assert_int_equal(hone_best_stops(&b, c), strtol(strtok_r(NULL, " ", &at), NULL, 10));
            evaluations++;
        }
    }
    assert_int_equal(cases, 60);
    assert_true(evaluations > 200);
    hone_config_free(c);
    hone_free(text);
}

static void knows_the_way_of_each_metric(void **state)
{
    const hone_eval_result a = {.loss = 1, .perplexity = 2, .accuracy = 0.5},
                           b = {.loss = 2, .perplexity = 1, .accuracy = 0.6};
    static const char *const metric[] = {"eval_loss", "eval_perplexity", "eval_accuracy"};
    static const bool second_wins[] = {false, true, true};
    hone_config *c;
    size_t i;

    (void)state;
    assert_int_equal(hone_config_new(&c, NULL), 0);
    for (i = 0; i < HONE_COUNT(metric); i++) {
        hone_best best = HONE_BEST_NONE;

        set(c, "metric_for_best_model", metric[i]);
        assert_true(hone_best_update(&best, c, 1, &a));
        assert_int_equal(hone_best_update(&best, c, 2, &b), second_wins[i]);
        assert_false(hone_best_stops(&best, c));
    }
    hone_config_free(c);
}

static void sees_jumps(void **state)
{
    hone_guard g = {0};
    hone_config *c;
    double median = 0;
    int i;

    (void)state;
    assert_int_equal(hone_config_new(&c, NULL), 0);
    for (i = 0; i < 40; i++) {
        assert_int_equal(hone_guard_check(&g, c, 2 + 0.01 * i, 1, &median), HONE_SPIKE_NONE);
        if (i < 16)
            assert_int_equal(hone_guard_check(&g, c, 1e9, 1e9, &median), HONE_SPIKE_NONE);
        hone_guard_add(&g, 2 + 0.01 * i, 1);
    }
    /* the last 32 are 2.08 .. 2.39 */
    assert_int_equal(hone_guard_check(&g, c, 6.8, 1, &median), HONE_SPIKE_LOSS);
    assert_float_equal(median, 2.23, 1e-12);
    assert_int_equal(hone_guard_check(&g, c, 6.6, 1, &median), HONE_SPIKE_NONE);
    assert_int_equal(hone_guard_check(&g, c, 2, 10.1, &median), HONE_SPIKE_GRADIENT);
    assert_int_equal(hone_guard_check(&g, c, 2, 9.9, &median), HONE_SPIKE_NONE);
    for (i = 0; i < 17; i++) /* a new level is one after half a window */
        hone_guard_add(&g, 9, 30);
    assert_int_equal(hone_guard_check(&g, c, 9, 30, &median), HONE_SPIKE_NONE);
    set(c, "loss_spike_factor", "0");
    set(c, "grad_spike_factor", "0");
    assert_int_equal(hone_guard_check(&g, c, 1e9, 1e9, &median), HONE_SPIKE_NONE);
    hone_config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(decides_as_transformers),
                                       cmocka_unit_test(knows_the_way_of_each_metric),
                                       cmocka_unit_test(sees_jumps)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
