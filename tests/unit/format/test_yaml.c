/* YAML as JSON values: types, lines, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "format/yaml.h"

static hone_yaml *parse(const char *text)
{
    hone_error err = HONE_ERROR_INIT;
    hone_yaml *y;

    if (hone_yaml_parse(&y, text, strlen(text), "a.yaml", &err))
        fail_msg("%s", err.message);
    return y;
}

static void types_are_those_of_the_core_schema(void **state)
{
    static const struct {
        const char *yaml, *json;
    } table[] = {
        {"a: 1", "{\"a\":1}"},
        {"a: -1.5e3", "{\"a\":-1500.0}"},
        {"a: 1e-4", "{\"a\":0.0001}"},
        {"a: '1'", "{\"a\":\"1\"}"},
        {"a: yes", "{\"a\":\"yes\"}"},
        {"a: 0x10", "{\"a\":\"0x10\"}"},
        {"a: .", "{\"a\":\".\"}"},
        {"a: 1.2.3", "{\"a\":\"1.2.3\"}"},
        {"a: true", "{\"a\":true}"},
        {"a: \"true\"", "{\"a\":\"true\"}"},
        {"a:", "{\"a\":null}"},
        {"a: ~", "{\"a\":null}"},
        {"", "null"},
        {"[1, [2, {x: 黄芪}], 'it''s']", "[1,[2,{\"x\":\"黄芪\"}],\"it's\"]"},
        {"b: 1\na: 2", "{\"b\":1,\"a\":2}"},
        {"x: &n [1, 2]\ny: *n", "{\"x\":[1,2],\"y\":[1,2]}"},
        {"a: |\n  two\n  lines\n", "{\"a\":\"two\\nlines\\n\"}"},
        {"a: 99999999999999999999", "{\"a\":1e20}"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(table); i++) {
        hone_yaml *y = parse(table[i].yaml);
        char *text = json_dumps(hone_yaml_root(y), JSON_COMPACT | JSON_ENCODE_ANY);

        assert_string_equal(text, table[i].json);
        free(text);
        hone_yaml_free(y);
    }
}

static void lines_are_those_of_the_file(void **state)
{
    hone_yaml *y = parse("# a comment\nfirst: 1\nsecond:\n  - x\n  -\n    deep: true\n\nlast: z\n");
    const json_t *root = hone_yaml_root(y), *list = json_object_get(root, "second");

    (void)state;
    assert_int_equal(hone_yaml_key_line(y, root, "first"), 2);
    assert_int_equal(hone_yaml_key_line(y, root, "second"), 3);
    assert_int_equal(hone_yaml_key_line(y, root, "last"), 8);
    assert_int_equal(hone_yaml_key_line(y, root, "none"), 0);
    assert_int_equal(hone_yaml_item_line(y, list, 0), 4);
    assert_int_equal(hone_yaml_item_line(y, list, 1), 6); /* where its value begins */
    assert_int_equal(hone_yaml_key_line(y, json_array_get(list, 1), "deep"), 6);
    assert_int_equal(hone_yaml_item_line(y, list, 2), 0);
    hone_yaml_free(y);
}

static void what_is_refused_names_its_line(void **state)
{
    static const struct {
        const char *yaml;
        int code;
        const char *message;
    } table[] = {
        {"a: 1\nb: 2\na: 3", HONE_EFORMAT, "a.yaml:3: `a` is given twice"},
        {"a: !!int 3", HONE_EUNSUPPORTED, "a.yaml:1: tags"},
        {"a: 1\n<<: {b: 2}", HONE_EUNSUPPORTED, "a.yaml:2: merge keys"},
        {"? [1]\n: 2", HONE_EUNSUPPORTED, "a.yaml:1: a key that is a list"},
        {"a: 1\n---\nb: 2", HONE_EUNSUPPORTED, "a second YAML document"},
        {"a: [1, 2", HONE_EFORMAT, "broken YAML"},
        {"a: 1\n\tb: 2", HONE_EFORMAT, "a.yaml:2: broken YAML"},
        {"a: \"x\\0y\"", HONE_EFORMAT, "NUL"},
        {"a: \xff", HONE_EFORMAT, "broken YAML"},
        {"a: 1e999", HONE_EFORMAT, "a.yaml:1: a number that is too large"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(table); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_yaml *y;

        assert_int_equal(hone_yaml_parse(&y, table[i].yaml, strlen(table[i].yaml), "a.yaml", &err),
                         table[i].code);
        assert_null(y);
        if (!strstr(err.message, table[i].message))
            fail_msg("`%s` is not in `%s`", table[i].message, err.message);
    }
}

/* Nine aliases of nine values, ten levels deep, would be 3.5e9 values. */
static void aliases_do_not_multiply_without_end(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf b = {0};
    hone_yaml *y;
    int i, k;

    (void)state;
    hone_buf_puts(&b, "a0: &a0 [1,1,1,1,1,1,1,1,1]\n");
    for (i = 1; i < 10; i++) {
        hone_buf_printf(&b, "a%d: &a%d [", i, i);
        for (k = 0; k < 9; k++)
            hone_buf_printf(&b, "%s*a%d", k ? "," : "", i - 1);
        hone_buf_puts(&b, "]\n");
    }
    assert_int_equal(hone_yaml_parse(&y, b.data, b.len, "bomb", &err), HONE_ELIMIT);
    hone_buf_clear(&b);
    for (i = 0; i < 500; i++)
        hone_buf_putc(&b, '[');
    assert_int_equal(hone_yaml_parse(&y, b.data, b.len, "deep", &err) < 0, 1);
    for (i = 0; i < 500; i++)
        hone_buf_putc(&b, ']');
    assert_int_equal(hone_yaml_parse(&y, b.data, b.len, "deep", &err), HONE_ELIMIT);
    hone_buf_clear(&b);
}

static bool fail_at(void *ud, size_t size)
{
    long *left = ud;

    (void)size;
    return (*left)-- != 0;
}

static void every_allocation_may_fail(void **state)
{
    static const char text[] = "a: [1, {b: c}]\nd: &x {e: f}\ng: *x\n";
    long n;
    int rc = HONE_ENOMEM;

    (void)state;
    for (n = 0; rc && n < 100; n++) {
        hone_error err = HONE_ERROR_INIT;
        long left = n;
        hone_yaml *y;

        hone_mem_hook(fail_at, &left);
        rc = hone_yaml_parse(&y, text, strlen(text), "a.yaml", &err);
        hone_mem_hook(NULL, NULL);
        assert_true(!rc || rc == HONE_ENOMEM);
        hone_yaml_free(y);
    }
    assert_int_equal(rc, 0);
    assert_true(n > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_those_of_the_core_schema),
        cmocka_unit_test(lines_are_those_of_the_file),
        cmocka_unit_test(what_is_refused_names_its_line),
        cmocka_unit_test(aliases_do_not_multiply_without_end),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
