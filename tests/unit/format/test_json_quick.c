/* The quick reader and writer of JSON agree with jansson: on documents of every kind, on mutated ones, and when memory runs
 * out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_quick.h"

/* Same value, same order of keys: jansson's text of both. */
static void same_value(const json_t *a, const json_t *b)
{
    char *x = json_dumps(a, JSON_COMPACT | JSON_ENCODE_ANY),
         *y = json_dumps(b, JSON_COMPACT | JSON_ENCODE_ANY);
    hone_buf w = {0};

    assert_string_equal(x, y);
    hone_json_write(&w, b);
    assert_false(w.failed);
    assert_string_equal(w.data, x);
    hone_buf_clear(&w);
    free(x);
    free(y);
}

/* Whether the quick reader took it; what it takes is what jansson reads. */
static bool agrees(const char *text, size_t n)
{
    json_t *quick, *full;
    int rc = hone_json_quick(&quick, text, n);

    assert_true(rc == 0 || rc == HONE_EUNSUPPORTED);
    assert_true(!rc == !!quick);
    full = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (!rc) {
        if (!full)
            fail_msg("jansson refuses %.*s", (int)n, text);
        same_value(full, quick);
    } else if (full) {
        hone_buf w = {0};
        char *x = json_dumps(full, JSON_COMPACT | JSON_ENCODE_ANY);

        hone_json_write(&w, full);
        assert_string_equal(w.data, x);
        hone_buf_clear(&w);
        free(x);
    }
    json_decref(quick);
    json_decref(full);
    return !rc;
}

static const char *const plain[] = {
    "{\"messages\": [{\"role\": \"user\", \"content\": \"\xe4\xbd\xa0\xe5\xa5\xbd\xef\xbc\x9f\"}, {\"role\": "
    "\"assistant\", \"content\": \"a\\n\\\"b\\\" \\\\ \\/ \\t\\r\\b\\f\"}], \"n\": [1, -2, 0, "
    "123456789012345678]}",
    "{}",
    " [ ] ",
    "[true,false,null,\"\",[[]],{\"a\":{}}]",
    "\"\\u4f60\\u597d \\ud83d\\ude00 \\u0041 \\u001f \x7f\"",
    "12",
    "-7",
    "{\"\":\"\",\"k\\u00e9y\":1}",
};
static const char *const rare[] = {"1.5",
                                   "[1e3]",
                                   "-0",
                                   "01",
                                   "{\"a\":1,\"a\":2}",
                                   "\"\\u0000\"",
                                   "\"\\ud800\"",
                                   "\"\\udc00x\"",
                                   "\"\\u12\"",
                                   "\"\x80\"",
                                   "\"a\nb\"",
                                   "[1,]",
                                   "{\"a\"}",
                                   "{\"a\":}",
                                   "{\"a\":1,}",
                                   "[1 2]",
                                   "[1] 2",
                                   "nul",
                                   "tru",
                                   "\"open",
                                   "{\"a\":[{\"b\":\"c",
                                   "1234567890123456789012",
                                   "9999999999999999999",
                                   "",
                                   " ",
                                   "\"\\x\"",
                                   "-",
                                   "'a'"};

static void it_reads_what_jansson_reads(void **state)
{
    hone_buf deep = {0};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(plain); i++)
        assert_true(agrees(plain[i], strlen(plain[i])));
    for (i = 0; i < HONE_COUNT(rare); i++)
        if (agrees(rare[i], strlen(rare[i])))
            fail_msg("%s is not plain", rare[i]);
    for (i = 0; i < 100000; i++)
        hone_buf_putc(&deep, '[');
    assert_false(agrees(deep.data, deep.len));
    hone_buf_clear(&deep);
}

static void mutations_agree(void **state)
{
    hone_rng r = hone_rng_make(3, 3);
    char text[512];
    size_t i, taken = 0;

    (void)state;
    for (i = 0; i < 40000; i++) {
        const char *from = plain[hone_rng_below(&r, HONE_COUNT(plain))];
        size_t n = strlen(from), k, changes = 1 + hone_rng_below(&r, 3);

        memcpy(text, from, n);
        for (k = 0; k < changes && n; k++) {
            static const char marks[] = "\"\\{}[]:,0-1.eu \n\xe4\x80";
            size_t at = hone_rng_below(&r, (uint32_t)n);

            if (hone_rng_below(&r, 4) == 0)
                n = at;
            else
                text[at] = marks[hone_rng_below(&r, sizeof marks)];
        }
        taken += agrees(text, n);
    }
    assert_true(taken > 1000 && taken < 39000);
}

static void memory_may_run_out(void **state)
{
    hone_buf w = {.limit = 8};
    json_t *v = json_loads(plain[0], 0, NULL);

    (void)state;
    hone_json_write(&w, v);
    assert_true(w.failed);
    hone_buf_clear(&w);
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_reads_what_jansson_reads),
                                       cmocka_unit_test(mutations_agree),
                                       cmocka_unit_test(memory_may_run_out)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
