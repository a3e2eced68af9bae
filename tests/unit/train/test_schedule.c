/* Schedules against transformers' values for W = 3, T = 10 (training-semantics.md 5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "train/schedule.h"

static void transformers_values(void **state)
{
    static const double linear[] = {0, .3333, .6667, 1, .8571, .7143, .5714, .4286, .2857, .1429, 0};
    static const double cosine[] = {0, .3333, .6667, 1, .9505, .8117, .6113, .3887, .1883, .0495, 0};
    int s;

    (void)state;
    for (s = 0; s <= 10; s++) {
        assert_float_equal(hone_schedule_factor(HONE_SCHEDULE_LINEAR, s, 3, 10), linear[s], 6e-5);
        assert_float_equal(hone_schedule_factor(HONE_SCHEDULE_COSINE, s, 3, 10), cosine[s], 6e-5);
        assert_float_equal(hone_schedule_factor(HONE_SCHEDULE_CONSTANT, s, 3, 10), 1, 0);
        assert_float_equal(hone_schedule_factor(HONE_SCHEDULE_CONSTANT_WITH_WARMUP, s, 3, 10),
                           s < 3 ? linear[s] : 1, 6e-5);
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
        cmocka_unit_test(transformers_values),
        cmocka_unit_test(warmup_from_steps_or_ratio),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
