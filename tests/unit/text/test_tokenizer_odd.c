/* Tokenizers with one odd trait each, against what `tokenizers` makes of them (tests/golden/make_tokenizer_odd_golden.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/tokenizer.h"

#define FILE_NAME "test_tokenizer_odd.json"

static hone_tokenizer *opened(const char *text)
{
    hone_error err = HONE_ERROR_INIT;
    hone_tokenizer *t;

    assert_int_equal(hone_file_write(FILE_NAME, text, strlen(text), &err), 0);
    if (hone_tokenizer_open(&t, FILE_NAME, &err))
        fail_msg("%s", err.message);
    unlink(FILE_NAME);
    return t;
}

static void check_decoded(const hone_tokenizer *t, const hone_tokens *tokens, bool skip, const char *want,
                          const char *name)
{
    hone_error err = HONE_ERROR_INIT;
    char *text;

    assert_int_equal(hone_tokenizer_decode(t, &text, NULL, tokens->id, tokens->n, skip, &err), 0);
    if (strcmp(text, want))
        fail_msg("%s: decoded `%s`, not `%s`", name, text, want);
    hone_free(text);
}

static void check_line(const hone_tokenizer *t, const json_t *line, const char *name)
{
    const char *text = json_string_value(json_object_get(line, "text"));
    const json_t *ids = json_object_get(line, "ids");
    hone_error err = HONE_ERROR_INIT;
    hone_tokens tokens = {0};
    size_t i;

    assert_int_equal(hone_tokenizer_encode(t, &tokens, text, strlen(text), NULL, 0, 0, &err), 0);
    if (tokens.n != json_array_size(ids))
        fail_msg("%s: `%s` has %zu tokens, not %zu", name, text, tokens.n, json_array_size(ids));
    for (i = 0; i < tokens.n; i++) {
        if (tokens.id[i] != json_integer_value(json_array_get(ids, i)))
            fail_msg("%s: token %zu of `%s` is %d", name, i, text, (int)tokens.id[i]);
        assert_true(tokens.begin[i] <= tokens.end[i] && tokens.end[i] <= strlen(text));
        assert_true(!i || (tokens.begin[i - 1] <= tokens.begin[i] && tokens.end[i - 1] <= tokens.end[i]));
    }
    check_decoded(t, &tokens, false, json_string_value(json_object_get(line, "decoded")), name);
    check_decoded(t, &tokens, true, json_string_value(json_object_get(line, "skipped")), name);
    hone_tokens_clear(&tokens);
}

static void odd_tokenizers(void **state)
{
    json_t *all = json_load_file(HONE_TEST_DIR "/golden/tokenizer_odd.json", 0, NULL), *one, *line;
    size_t i, k;

    (void)state;
    assert_true(json_array_size(all) > 5);
    json_array_foreach(all, i, one)
    {
        hone_tokenizer *t = opened(json_string_value(json_object_get(one, "tokenizer")));

        json_array_foreach(json_object_get(one, "lines"), k, line)
            check_line(t, line, json_string_value(json_object_get(one, "name")));
        hone_tokenizer_close(t);
    }
    json_decref(all);
}

/* What the library itself makes nonsense of is refused by its name. */
static void refused_by_name(void **state)
{
    static const char template[] =
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\",\"type_id\":0}},"
        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"a\":{\"id\":\"a\","
        "\"ids\":[0],\"tokens\":[\"a\"]}}}";
    hone_error err = HONE_ERROR_INIT;
    hone_buf text = {0};
    hone_tokenizer *t;

    (void)state;
    hone_buf_printf(
        &text,
        "{\"post_processor\":{\"type\":\"Sequence\",\"processors\":[%s,%s]},\"model\":{\"type\":\"BPE\","
        "\"vocab\":{\"a\":0},\"merges\":[]}}",
        template, template);
    assert_int_equal(hone_file_write(FILE_NAME, text.data, text.len, &err), 0);
    assert_int_equal(hone_tokenizer_open(&t, FILE_NAME, &err), HONE_EUNSUPPORTED);
    assert_non_null(
        strstr(err.message, "post_processor 'TemplateProcessing' is not supported (supported: it alone)"));
    hone_buf_clear(&text);
    unlink(FILE_NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(odd_tokenizers), cmocka_unit_test(refused_by_name)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
