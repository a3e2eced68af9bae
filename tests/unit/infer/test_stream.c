/* Streaming: never half a character, and the parts joined are the text, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/base.h"
#include "infer/stream.h"

static hone_tokenizer *tok;

static int open_tokenizer(void **state)
{
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    if (hone_tokenizer_open(&tok, HONE_TEST_DIR "/golden/tiny_chat", &err))
        fail_msg("%s", err.message);
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    hone_tokenizer_close(tok);
    return 0;
}

static void check_whole_characters(const char *text, size_t len)
{
    while (len) {
        int32_t cp;
        size_t n = hone_utf8_get(text, len, &cp);

        assert_true(cp >= 0);
        text += n;
        len -= n;
    }
}

/* Streams ids; the parts must be whole characters and join to what decoding all ids at once gives. */
static size_t check_stream(const int32_t *ids, size_t n)
{
    hone_stream s = {.tok = tok};
    hone_buf joined = {0};
    const char *part;
    char *whole;
    size_t len, i, parts = 0;

    for (i = 0; i <= n; i++) {
        if (i < n)
            assert_int_equal(hone_stream_push(&s, ids[i], &part, &len, NULL), 0);
        else
            assert_int_equal(hone_stream_finish(&s, &part, &len, NULL), 0);
        check_whole_characters(part, len);
        hone_buf_add(&joined, part, len);
        parts += len > 0;
    }
    assert_int_equal(hone_tokenizer_decode(tok, &whole, &len, ids, n, true, NULL), 0);
    assert_int_equal(joined.len, len);
    assert_memory_equal(len ? joined.data : "", whole, len);
    assert_int_equal(s.text.len, len);
    hone_free(whole);
    hone_buf_clear(&joined);
    hone_stream_clear(&s);
    return parts;
}

static void texts_of_many_bytes(void **state)
{
    static const char *const text[] = {
        "plain words, one after the other",
        "你好,今天天气很好。",
        "emoji \xf0\x9f\x9a\xb2\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac between",
        "\xf0\x9f\x98\x80",
        "z\xef\xbf\xbdz \xef\xbf\xbd",
        "",
        "\n\n \t"};
    size_t i, parts;

    (void)state;
    for (i = 0; i < HONE_COUNT(text); i++) {
        hone_tokens t = {0};

        assert_int_equal(hone_tokenizer_encode(tok, &t, text[i], strlen(text[i]), NULL, 0, 0, NULL), 0);
        parts = check_stream(t.id, t.n);
        if (i < 2)
            assert_true(parts > 3); /* it does stream */
        hone_tokens_clear(&t);
    }
}

static void an_answer_cut_inside_a_character(void **state)
{
    hone_tokens t = {0};
    size_t n;

    (void)state;
    assert_int_equal(hone_tokenizer_encode(tok, &t, "x\xf0\x9f\x9a\xb2", 5, NULL, 0, 0, NULL), 0);
    assert_true(t.n == 5); /* the emoji is four tokens of a byte each */
    for (n = 0; n <= t.n; n++)
        check_stream(t.id, n);
    hone_tokens_clear(&t);
}

static void random_ids_special_ones_among_them(void **state)
{
    hone_rng rng = hone_rng_make(3, 0);
    int32_t ids[60];
    int round, i;

    (void)state;
    for (round = 0; round < 300; round++) {
        for (i = 0; i < 60; i++)
            ids[i] = (int32_t)hone_rng_below(&rng, (uint32_t)hone_tokenizer_vocab_size(tok));
        check_stream(ids, 60);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_many_bytes),
        cmocka_unit_test(an_answer_cut_inside_a_character),
        cmocka_unit_test(random_ids_special_ones_among_them),
    };

    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
