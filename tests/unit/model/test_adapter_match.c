/* Which modules are adapted, against PEFT's own decisions (tests/golden/make_targets_golden.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "format/json.h"
#include "model/adapter_match.h"

/* A text or a list of texts, borrowed; absent: none. */
static bool strings_of(hone_strings *out, json_t *v)
{
    size_t i;

    *out = (hone_strings){0};
    if (!v)
        return false;
    out->n = json_is_array(v) ? json_array_size(v) : 1;
    if (!out->n)
        return true;
    out->item = hone_calloc(out->n, sizeof *out->item);
    assert_non_null(out->item);
    for (i = 0; i < out->n; i++)
        out->item[i] = (char *)(uintptr_t)json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
    return json_is_array(v);
}

static void numbers_of(hone_numbers *out, json_t *v)
{
    size_t i;

    *out = (hone_numbers){0};
    if (!v || (json_is_array(v) && !json_array_size(v)))
        return;
    out->n = json_is_array(v) ? json_array_size(v) : 1;
    out->item = hone_calloc(out->n, sizeof *out->item);
    assert_non_null(out->item);
    for (i = 0; i < out->n; i++)
        out->item[i] = json_number_value(json_is_array(v) ? json_array_get(v, i) : v);
}

static void decisions_are_those_of_peft(void **state)
{
    json_t *golden, *test, *path;
    size_t i, k, decisions = 0, refusals = 0;

    (void)state;
    assert_int_equal(hone_json_load(&golden, HONE_TEST_DIR "/golden/targets.json", 1 << 20, NULL), 0);
    json_array_foreach(json_object_get(golden, "cases"), i, test)
    {
        json_t *adapted = json_object_get(test, "adapted");
        hone_error err = HONE_ERROR_INIT;
        hone_target_limits limits;
        hone_strings targets;
        hone_targets t;
        const bool is_list = strings_of(&targets, json_object_get(test, "target_modules"));
        int rc;

        limits.exclude_is_list = strings_of(&limits.exclude, json_object_get(test, "exclude_modules"));
        strings_of(&limits.layers_pattern, json_object_get(test, "layers_pattern"));
        numbers_of(&limits.layers, json_object_get(test, "layers_to_transform"));
        rc = hone_targets_init(&t, &targets, is_list, &limits, "here", &err);
        if (json_is_null(adapted)) {
            assert_int_equal(rc, HONE_EINVAL);
            assert_non_null(strstr(err.message, "layers_to_transform"));
            refusals++;
        } else {
            assert_int_equal(rc, 0);
            json_array_foreach(json_object_get(golden, "paths"), k, path)
            {
                const int want = (int)json_integer_value(json_array_get(adapted, k));

                rc = hone_targets_match(&t, json_string_value(path), "here", &err);
                if (rc != want)
                    fail_msg("case %zu, %s: %d, PEFT says %d", i, json_string_value(path), rc, want);
                decisions++;
            }
            hone_targets_clear(&t);
        }
        hone_free(targets.item);
        hone_free(limits.exclude.item);
        hone_free(limits.layers_pattern.item);
        hone_free(limits.layers.item);
    }
    print_message("%zu decisions, %zu refusals\n", decisions, refusals);
    assert_true(decisions > 700 && refusals == 3);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decisions_are_those_of_peft),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
