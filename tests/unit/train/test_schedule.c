/* Schedules against the frozen values of transformers and PyTorch (tests/golden/make_schedule_golden.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "format/json.h"
#include "train/schedule.h"

static json_t *golden;

static int load_golden(void **state)
{
    (void)state;
    return hone_json_load(&golden, HONE_TEST_DIR "/golden/schedules.json", 1 << 20, NULL);
}

static int free_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

/* Sets training.<prefix><key> for every key of the object. */
static hone_config *config_of(const char *prefix, json_t *keys)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c;
    const char *key;
    json_t *value;

    assert_int_equal(hone_config_new(&c, &err), 0);
    json_object_foreach(keys, key, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)), line[200];

        snprintf(line, sizeof line, "training.%s%s=%s", prefix, key, text);
        if (hone_config_set(c, line, &err))
            fail_msg("%s", err.message);
        free(text);
    }
    return c;
}

static void factors_are_those_of_transformers(void **state)
{
    json_t *test, *value;
    double worst = 0;
    size_t i, s, n = 0;

    (void)state;
    json_array_foreach(json_object_get(golden, "cases"), i, test)
    {
        hone_config *c = config_of("", json_object_get(test, "set"));
        const int64_t warmup = json_integer_value(json_object_get(test, "warmup")),
                      total = json_integer_value(json_object_get(test, "total"));

        json_array_foreach(json_object_get(test, "factor"), s, value)
        {
            const double want = json_number_value(value),
                         got = hone_schedule_factor(c, (int64_t)s, warmup, total);

            worst = fmax(worst, fabs(got - want));
            if (!(fabs(got - want) <= 1e-12))
                fail_msg("case %zu, step %zu: %.17g, wanted %.17g", i, s, got, want);
            n++;
        }
        hone_config_free(c);
    }
    print_message("%zu values, worst difference %.1e\n", n, worst);
    assert_true(n > 1000);
}

static void reacting_schedules_are_those_of_pytorch_and_transformers(void **state)
{
    const double lr = json_number_value(json_object_get(golden, "lr"));
    json_t *test, *loss;
    size_t i, s, changed;

    (void)state;
    json_array_foreach(json_object_get(golden, "plateau"), i, test)
    {
        hone_config *c = config_of("lr_scheduler_kwargs.", json_object_get(test, "kwargs"));
        char line[100];
        hone_plateau p = {0};

        snprintf(line, sizeof line, "training.lr_scheduler_type=%s",
                 json_string_value(json_object_get(test, "type")));
        assert_int_equal(hone_config_set(c, line, NULL), 0);
        c->training.learning_rate = lr;
        changed = 0;
        json_array_foreach(json_object_get(test, "losses"), s, loss)
        {
            const double before = p.rate,
                         want = json_number_value(json_array_get(json_object_get(test, "lr"), s));

            hone_plateau_step(&p, c, json_number_value(loss));
            changed += s > 0 && p.rate != before;
            if (p.rate != want)
                fail_msg("case %zu, evaluation %zu: %.17g, wanted %.17g", i, s, p.rate, want);
        }
        print_message("case %zu: %zu changes\n", i, changed);
        assert_true(changed > 0);
        hone_config_free(c);
    }
}

static void warmup_from_steps_or_ratio(void **state)
{
    (void)state;
    assert_int_equal(hone_warmup_steps(100, 7, 0.5), 7);
    assert_int_equal(hone_warmup_steps(100, 0, 0.03), 3);
    assert_int_equal(hone_warmup_steps(34, 0, 0.03), 2); /* rounded up */
    assert_int_equal(hone_warmup_steps(34, 0, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(factors_are_those_of_transformers),
        cmocka_unit_test(reacting_schedules_are_those_of_pytorch_and_transformers),
        cmocka_unit_test(warmup_from_steps_or_ratio),
    };

    return cmocka_run_group_tests(tests, load_golden, free_golden);
}
