/* Sessions over the tiny model: the cache is reused and never changes what is said, limits hold, a seed decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "hone/generate.h"

#define TINY HONE_TEST_DIR "/golden/tiny_chat"

static struct {
    hone_device *dev;
    hone_tokenizer *tok;
    hone_chat *chat;
    hone_model *model;
    hone_adapter *adapter;
} g;

static const hone_sampling greedy = {0, 0, 1, 0, 1, 0};
static const char conversation[] = "[{\"role\":\"user\",\"content\":\"hello, how are you\"}]";

static int open_all(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    hone_model_params p = {.precision = HONE_PRECISION_F32};

    (void)state;
    if (hone_device_open(&g.dev, NULL, &err) || hone_tokenizer_open(&g.tok, TINY, &err) ||
        hone_chat_open(&g.chat, TINY, g.tok, &err) || hone_model_open(&g.model, g.dev, TINY, &p, &err) ||
        hone_adapter_open(&g.adapter, g.model, TINY "_adapter", &err))
        fail_msg("%s", err.message);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    hone_adapter_close(g.adapter);
    hone_model_close(g.model);
    hone_chat_close(g.chat);
    hone_tokenizer_close(g.tok);
    hone_device_close(g.dev);
    return 0;
}

static hone_session *open_session(int32_t capacity)
{
    hone_session *s = NULL;
    hone_error err = HONE_ERROR_INIT;

    if (hone_session_open(&s, g.model, g.tok, g.chat, capacity, &err))
        fail_msg("%s", err.message);
    return s;
}

static hone_generation run(hone_session *s, const hone_adapter *a, const int32_t *ids, size_t n, int32_t max)
{
    hone_generation out = {0};
    hone_error err = HONE_ERROR_INIT;

    if (hone_session_generate(s, a, ids, n, &greedy, max, NULL, NULL, &out, &err))
        fail_msg("%s", err.message);
    return out;
}

static void same_ids(const hone_generation *a, const hone_generation *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->id, b->id, a->n * sizeof *a->id);
    assert_string_equal(a->text, b->text);
}

/* A prompt that grows by the answer and a turn computes only what is new, and says what a fresh session says. */
static void prefix_is_reused(void **state)
{
    hone_session *s = open_session(0), *fresh = open_session(0);
    int32_t ids[300];
    hone_generation a, b, c;
    size_t n = 40, i;

    (void)state;
    for (i = 0; i < 300; i++)
        ids[i] = (int32_t)(i * 37 % 390);
    a = run(s, NULL, ids, n, 12);
    assert_int_equal(a.prompt_tokens, 40);
    assert_int_equal(a.reused_tokens, 0);
    memcpy(ids + n, a.id, a.n * sizeof *ids);
    n += a.n;
    ids[n++] = 17;
    b = run(s, NULL, ids, n, 12);
    assert_int_equal(b.reused_tokens,
                     n - 2); /* the last answered id was never put in, the last prompt id never is reused */
    c = run(fresh, NULL, ids, n, 12);
    assert_int_equal(c.reused_tokens, 0);
    same_ids(&b, &c);
    hone_generation_clear(&c);
    c = run(s, NULL, ids, n, 12); /* the very same prompt: all but its last id */
    assert_int_equal(c.reused_tokens, n - 1);
    same_ids(&b, &c);
    hone_generation_clear(&c);
    ids[3] = 5; /* another beginning */
    c = run(s, NULL, ids, n, 1);
    assert_int_equal(c.reused_tokens, 3);
    hone_generation_clear(&a);
    hone_generation_clear(&b);
    hone_generation_clear(&c);
    hone_session_close(s);
    hone_session_close(fresh);
}

/* Keys and values of the base are no good for the adapter: switching computes the prompt again, and back. */
static void adapters_do_not_mix(void **state)
{
    hone_session *s = open_session(128), *fresh = open_session(128);
    int32_t ids[30];
    hone_generation base, tuned, again, alone;
    size_t i;

    (void)state;
    for (i = 0; i < 30; i++)
        ids[i] = (int32_t)(i * 11 % 390);
    base = run(s, NULL, ids, 30, 16);
    tuned = run(s, g.adapter, ids, 30, 16);
    assert_int_equal(tuned.reused_tokens, 0);
    alone = run(fresh, g.adapter, ids, 30, 16);
    same_ids(&tuned, &alone);
    assert_true(base.n != tuned.n || memcmp(base.id, tuned.id, base.n * sizeof *base.id));
    again = run(s, NULL, ids, 30, 16);
    assert_int_equal(again.reused_tokens, 0);
    same_ids(&base, &again);
    hone_generation_clear(&base);
    hone_generation_clear(&tuned);
    hone_generation_clear(&again);
    hone_generation_clear(&alone);
    hone_session_close(s);
    hone_session_close(fresh);
}

/* 300 prompt ids take two passes; one id after the other through the cache must lead to the same answer. */
static void chunks_equal_single_steps(void **state)
{
    hone_session *s = open_session(0), *single = open_session(0);
    int32_t ids[300];
    hone_generation a, b;
    size_t i;

    (void)state;
    for (i = 0; i < 300; i++)
        ids[i] = (int32_t)(i * 53 % 390);
    a = run(s, NULL, ids, 300, 20);
    for (i = 1; i < 300; i++) {
        b = run(single, NULL, ids, i, 1);
        assert_int_equal(b.reused_tokens, i - 1);
        hone_generation_clear(&b);
    }
    b = run(single, NULL, ids, 300, 20);
    same_ids(&a, &b);
    hone_generation_clear(&a);
    hone_generation_clear(&b);
    hone_session_close(s);
    hone_session_close(single);
}

static void a_session_ends_at_its_capacity(void **state)
{
    hone_session *s = open_session(32);
    int32_t ids[33] = {1, 2, 3};
    hone_generation out = {0};
    hone_error err = HONE_ERROR_INIT;
    hone_sampling never_mind = {1, 0, 1, 0, 1, 1};

    (void)state;
    assert_int_equal(hone_session_generate(s, NULL, ids, 33, &greedy, 1, NULL, NULL, &out, &err),
                     HONE_ELIMIT);
    assert_non_null(strstr(err.message, "33"));
    assert_int_equal(hone_session_generate(s, NULL, ids, 0, &greedy, 1, NULL, NULL, &out, NULL), HONE_EINVAL);
    ids[0] = 600;
    assert_int_equal(hone_session_generate(s, NULL, ids, 3, &greedy, 1, NULL, NULL, &out, NULL), HONE_ERANGE);
    ids[0] = 1;
    never_mind.top_p = 2;
    assert_int_equal(hone_session_generate(s, NULL, ids, 3, &never_mind, 1, NULL, NULL, &out, NULL),
                     HONE_EINVAL);
    assert_null(out.id);
    out = run(s, NULL, ids, 32, 0); /* full: the logits of the last place give one more id */
    assert_int_equal(out.n, 1);
    hone_generation_clear(&out);
    out = run(s, NULL, ids, 30, 0);
    assert_true(out.n <= 3);
    assert_true(out.n == 3 ? out.finish == HONE_FINISH_LENGTH || out.finish == HONE_FINISH_STOP
                           : out.finish == HONE_FINISH_STOP);
    hone_generation_clear(&out);
    assert_true(hone_session_size(s) > 0 && hone_session_size(s) == hone_session_bytes(g.model, NULL, 32));
    hone_session_close(s);
    memset(&err, 0, sizeof err);
    assert_int_equal(hone_session_open(&s, g.model, g.tok, g.chat, 100000, &err), HONE_EINVAL);
    assert_non_null(strstr(err.message, "512"));
}

typedef struct heard {
    hone_buf text;
    int calls, stop_after;
} heard;

static bool listen_to(void *ud, const char *text, size_t len)
{
    heard *h = ud;

    hone_buf_add(&h->text, text, len);
    return ++h->calls != h->stop_after;
}

static void the_stream_is_the_text_and_can_stop(void **state)
{
    hone_session *s = open_session(0);
    hone_sampling p = {1, 0, 1, 0, 1, 9};
    hone_generation a = {0}, b = {0};
    heard h = {.stop_after = -1};

    (void)state;
    assert_int_equal(
        hone_session_chat(s, NULL, conversation, strlen(conversation), &p, 40, listen_to, &h, &a, NULL), 0);
    assert_int_equal(h.text.len, strlen(a.text));
    assert_memory_equal(h.text.len ? h.text.data : "", a.text, h.text.len);
    h.calls = 0;
    h.stop_after = 3;
    h.text.len = 0;
    assert_int_equal(
        hone_session_chat(s, NULL, conversation, strlen(conversation), &p, 40, listen_to, &h, &b, NULL), 0);
    assert_int_equal(b.finish, HONE_FINISH_CANCELLED);
    assert_int_equal(b.n, 3);
    assert_memory_equal(a.id, b.id, 3 * sizeof *a.id); /* the same seed */
    assert_int_equal(h.text.len, strlen(b.text));
    hone_generation_clear(&a);
    hone_generation_clear(&b);
    hone_buf_clear(&h.text);
    hone_session_close(s);
}

/* A request's draws come from its seed alone, whatever was answered before. */
static void a_seed_decides(void **state)
{
    hone_session *s = open_session(0);
    hone_sampling p = {1.5, 0, 1, 0, 1.1, 4};
    hone_generation first = {0}, other = {0}, again = {0};
    size_t len = strlen(conversation);

    (void)state;
    assert_int_equal(hone_session_chat(s, NULL, conversation, len, &p, 24, NULL, NULL, &first, NULL), 0);
    p.seed = 5;
    assert_int_equal(hone_session_chat(s, NULL, conversation, len, &p, 24, NULL, NULL, &other, NULL), 0);
    p.seed = 4;
    assert_int_equal(hone_session_chat(s, NULL, conversation, len, &p, 24, NULL, NULL, &again, NULL), 0);
    same_ids(&first, &again);
    assert_true(first.n != other.n || memcmp(first.id, other.id, first.n * sizeof *first.id));
    hone_generation_clear(&first);
    hone_generation_clear(&other);
    hone_generation_clear(&again);
    hone_session_close(s);
}

/* Any of the model's end ids ends an answer; it is listed, and its text is not shown. */
static void stop_ids_end_the_answer(void **state)
{
    hone_session *s = open_session(0);
    hone_sampling p = {3, 0, 1, 0, 1, 0};
    size_t n, i;
    const int32_t *stop = hone_chat_stop_ids(g.chat, &n);
    int stopped = 0;

    (void)state;
    assert_true(n >= 1);
    for (p.seed = 0; p.seed < 40; p.seed++) {
        hone_generation out = {0};
        bool is_stop = false;

        assert_int_equal(
            hone_session_chat(s, NULL, conversation, strlen(conversation), &p, 200, NULL, NULL, &out, NULL),
            0);
        for (i = 0; i < n; i++)
            is_stop = is_stop || out.id[out.n - 1] == stop[i];
        assert_int_equal(is_stop, out.finish == HONE_FINISH_STOP);
        assert_null(strstr(out.text, "<|im_end|>"));
        stopped += is_stop;
        hone_generation_clear(&out);
    }
    assert_true(stopped > 0);
    hone_session_close(s);
}

static int allowed;

static bool fail_after(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return allowed-- > 0;
}

/* Opening a session and answering, with the n-th allocation failing for every n: an error, never a crash or a leak. */
static void every_failed_allocation_is_survived(void **state)
{
    int n, rc = -1;

    (void)state;
    for (n = 0; rc; n++) {
        hone_session *s = NULL;
        hone_generation out = {0};
        hone_error err = HONE_ERROR_INIT;

        assert_true(n < 5000);
        allowed = n;
        hone_mem_hook(fail_after, NULL);
        rc = hone_session_open(&s, g.model, g.tok, g.chat, 64, &err);
        if (!rc)
            rc = hone_session_chat(s, g.adapter, conversation, strlen(conversation), &greedy, 4, NULL, NULL,
                                   &out, &err);
        hone_mem_hook(NULL, NULL);
        if (rc)
            assert_true(err.code == rc && err.message[0]);
        hone_generation_clear(&out);
        hone_session_close(s);
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefix_is_reused),
        cmocka_unit_test(adapters_do_not_mix),
        cmocka_unit_test(chunks_equal_single_steps),
        cmocka_unit_test(a_session_ends_at_its_capacity),
        cmocka_unit_test(the_stream_is_the_text_and_can_stop),
        cmocka_unit_test(a_seed_decides),
        cmocka_unit_test(stop_ids_end_the_answer),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };

    return cmocka_run_group_tests(tests, open_all, close_all);
}
