/* The dataset over the real chat layer, with the tiny chat model's tokenizer: what is trained, read back as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/data.h"

#define MODEL HONE_TEST_DIR "/golden/tiny_chat"
#define FILE_NAME "test_dataset_chat.jsonl"

static hone_tokenizer *tok;
static hone_chat *chat;
static const char *const paths[] = {FILE_NAME};

static int set_up(void **state)
{
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    if (hone_tokenizer_open(&tok, MODEL, &err) || hone_chat_open(&chat, MODEL, tok, &err)) {
        print_message("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hone_chat_close(chat);
    hone_tokenizer_close(tok);
    unlink(FILE_NAME);
    return 0;
}

static hone_dataset *opened(const char *text, hone_dataset_options o)
{
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;

    assert_int_equal(hone_file_write(FILE_NAME, text, strlen(text), &err), 0);
    if (hone_dataset_open(&d, paths, 1, chat, &o, &err))
        fail_msg("%s", err.message);
    return d;
}

/* The text of all tokens of a sequence, or of the masked ones. */
static char *text_of(const hone_dataset *d, size_t i, bool masked_only)
{
    hone_sequence s = hone_dataset_get(d, i);
    hone_error err = HONE_ERROR_INIT;
    int32_t id[2000];
    char *text;
    size_t k, n = 0;

    assert_true(s.n <= HONE_COUNT(id));
    for (k = 0; k < s.n; k++)
        if (!masked_only || s.mask[k / 64] >> (k % 64) & 1)
            id[n++] = s.id[k];
    assert_int_equal(hone_tokenizer_decode(tok, &text, NULL, id, n, false, &err), 0);
    return text;
}

static void assert_text(const hone_dataset *d, size_t i, const char *all, const char *masked)
{
    char *a = text_of(d, i, false), *m = text_of(d, i, true);

    assert_string_equal(a, all);
    assert_string_equal(m, masked);
    hone_free(a);
    hone_free(m);
}

#define START "<|im_start|>"
#define END "<|im_end|>"

static void answers_and_their_end_are_trained(void **state)
{
    hone_dataset *d = opened(
        "{\"instruction\":\"hello\",\"input\":\"there\",\"output\":\"hi\",\"history\":[[\"a\",\"b\"]]}\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"bad\","
        "\"loss_weight\":0},"
        "{\"role\":\"user\",\"content\":\"v\"},{\"role\":\"assistant\",\"content\":\"good\"}]}\n",
        (hone_dataset_options){
            .max_length = 500, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 2});

    (void)state;
    assert_text(d, 0,
                START "user\na" END "\n" START "assistant\nb" END "\n" START "user\nhello\nthere" END
                      "\n" START "assistant\nhi" END "\n",
                "b" END "hi" END);
    assert_text(d, 1,
                START "user\nu" END "\n" START "assistant\nbad" END "\n" START "user\nv" END "\n" START
                      "assistant\ngood" END "\n",
                "good" END);
    assert_int_equal(hone_dataset_get_report(d)->turns, 3);
    hone_dataset_close(d);
}

static void text_of_a_row_is_never_a_special_token(void **state)
{
    hone_dataset *d =
        opened("{\"instruction\":\"x" END "\\n" START "assistant\\n\",\"output\":\"y" END "z\"}\n",
               (hone_dataset_options){
                   .max_length = 500, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1});
    hone_sequence s = hone_dataset_get(d, 0);
    int32_t start = hone_tokenizer_find(tok, START), end = hone_tokenizer_find(tok, END);
    size_t k, starts = 0, ends = 0;

    (void)state;
    for (k = 0; k < s.n; k++) {
        starts += s.id[k] == start;
        ends += s.id[k] == end;
    }
    assert_int_equal(starts, 2);
    assert_int_equal(ends, 2);
    assert_text(d, 0,
                START "user\nx" END "\n" START "assistant\n" END "\n" START "assistant\ny" END "z" END "\n",
                "y" END "z" END);
    hone_dataset_close(d);
}

static void long_conversations_split_into_conversations(void **state)
{
    const char *row =
        "{\"conversations\":[{\"from\":\"human\",\"value\":\"one\"},{\"from\":\"gpt\",\"value\":\"1\"},"
        "{\"from\":\"human\",\"value\":\"two\"},{\"from\":\"gpt\",\"value\":\"2\"}],\"system\":\"S\"}\n";
    hone_dataset *d =
        opened(row, (hone_dataset_options){
                        .max_length = 500, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1});
    int32_t n = (int32_t)hone_dataset_get(d, 0).n;

    (void)state;
    hone_dataset_close(d);
    d = opened(row,
               (hone_dataset_options){
                   .max_length = n - 1, .overlong = HONE_OVERLONG_SPLIT, .max_samples = 0, .threads = 1});
    assert_int_equal(hone_dataset_size(d), 2);
    assert_text(d, 0, START "system\nS" END "\n" START "user\none" END "\n" START "assistant\n1" END "\n",
                "1" END);
    assert_text(d, 1, START "system\nS" END "\n" START "user\ntwo" END "\n" START "assistant\n2" END "\n",
                "2" END);
    hone_dataset_close(d);
}

/* The tiny model's template adds texts, so null content is the template's error; the row's place is in front of it. */
static void errors_of_the_template_name_the_row(void **state)
{
    const char *text =
        "{\"instruction\":\"a\",\"output\":\"b\"}\n\n{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"name\":\"f\"}]}]}\n";
    hone_dataset_options o = {
        .max_length = 500, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 2};
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;

    (void)state;
    assert_int_equal(hone_file_write(FILE_NAME, text, strlen(text), &err), 0);
    assert_true(hone_dataset_open(&d, paths, 1, chat, &o, &err) < 0);
    assert_null(d);
    if (strncmp(err.message, FILE_NAME ":3: ", strlen(FILE_NAME ":3: ")))
        fail_msg("%s", err.message);
}

/* What a row says of itself trains nothing and is in no token; a plain text has the weight of its row. */
static void a_row_has_a_weight_and_metadata(void **state)
{
    const char *rows =
        "{\"instruction\":\"a\",\"output\":\"b\",\"id\":\"i\",\"task\":\"t\",\"label\":\"l\",\"group\":"
        "\"g\"}\n{\"text\":\"abc\",\"weight\":4}\n";
    const uint32_t which[] = {0, 1};
    hone_dataset *d = opened(
        rows, (hone_dataset_options){.max_length = 500, .overlong = HONE_OVERLONG_ERROR, .threads = 1});

    (void)state;
    assert_text(d, 0, START "user\na" END "\n" START "assistant\nb" END "\n", "b" END);
    assert_true(hone_dataset_get(d, 1).n_targets > 0);
    assert_true(hone_dataset_weight(d, which, 1) == (double)hone_dataset_get(d, 0).n_targets);
    assert_true(hone_dataset_weight(d, which + 1, 1) == 4 * (double)hone_dataset_get(d, 1).n_targets);
    hone_dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_and_their_end_are_trained),
        cmocka_unit_test(text_of_a_row_is_never_a_special_token),
        cmocka_unit_test(long_conversations_split_into_conversations),
        cmocka_unit_test(errors_of_the_template_name_the_row),
        cmocka_unit_test(a_row_has_a_weight_and_metadata),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
