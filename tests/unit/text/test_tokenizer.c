/* The tokenizer against frozen ids of the `tokenizers` library (tests/golden/make_tokenizer_golden.py), its own promises
 * (origins, plain ranges, threads), and input that lies. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base.h"
#include "text/tokenizer.h"

#define FOLDER HONE_TEST_DIR "/golden/tokenizer/"

static hone_tokenizer *open_golden(const char *name)
{
    hone_error err = HONE_ERROR_INIT;
    hone_tokenizer *t = NULL;
    char path[512];

    snprintf(path, sizeof path, FOLDER "%s", name);
    if (hone_tokenizer_open(&t, path, &err))
        fail_msg("%s", err.message);
    return t;
}

/* Lines of a file of JSON values, one each. */
static json_t *read_lines(const char *name)
{
    json_t *list = json_array();
    char path[512], *text, *line, *end;
    size_t len;

    snprintf(path, sizeof path, FOLDER "%s", name);
    assert_int_equal(hone_file_read(&text, &len, path, 1 << 26, NULL), 0);
    for (line = text; (end = strchr(line, '\n')); line = end + 1) {
        json_t *v = json_loadb(line, (size_t)(end - line), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

        assert_non_null(v);
        json_array_append_new(list, v);
    }
    hone_free(text);
    return list;
}

static void encode(const hone_tokenizer *t, hone_tokens *out, const char *text, size_t len, unsigned flags)
{
    hone_error err = HONE_ERROR_INIT;

    out->n = 0;
    if (hone_tokenizer_encode(t, out, text, len, NULL, 0, flags, &err))
        fail_msg("%s", err.message);
}

static void assert_ids(const hone_tokens *got, const json_t *want, const char *name, size_t line)
{
    size_t i;

    if (got->n != json_array_size(want))
        fail_msg("%s line %zu: %zu tokens, expected %zu", name, line, got->n, json_array_size(want));
    for (i = 0; i < got->n; i++)
        if (got->id[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("%s line %zu token %zu: %d, expected %d", name, line, i, got->id[i],
                     (int)json_integer_value(json_array_get(want, i)));
}

/* Ranges lie in the text and never decrease; the pieces of the tokens, one behind the other, are the decoded text. */
static void assert_ranges_and_text(const hone_tokenizer *t, const hone_tokens *got, const char *want,
                                   size_t want_len, size_t len)
{
    hone_buf pieces = {0};
    char *text;
    size_t i, n;

    for (i = 0; i < got->n; i++) {
        const char *piece = hone_tokenizer_piece(t, got->id[i], &n);

        assert_non_null(piece);
        hone_buf_add(&pieces, piece, n);
        assert_true(got->begin[i] <= got->end[i] && got->end[i] <= len);
        assert_true(i == 0 || (got->begin[i] >= got->begin[i - 1] && got->end[i] >= got->end[i - 1]));
    }
    assert_int_equal(hone_tokenizer_decode(t, &text, &n, got->id, got->n, false, NULL), 0);
    assert_int_equal(n, want_len);
    assert_memory_equal(text, want, n);
    if (!memmem(text, n, "\xef\xbf\xbd",
                3)) { /* a stream keeps the blank in front that the whole text may lose */
        size_t blank = pieces.len == n + 1 && pieces.data[0] == ' ';

        assert_int_equal(pieces.len, n + blank);
        assert_memory_equal(n ? pieces.data + blank : "", text, n);
    }
    hone_buf_clear(&pieces);
    hone_free(text);
}

static void check_lines(const hone_tokenizer *t, const char *file, const char *ids)
{
    json_t *lines = read_lines("lines.jsonl"), *rows = read_lines(ids);
    hone_tokens got = {0};
    int round;
    size_t i;

    assert_int_equal(json_array_size(lines), json_array_size(rows));
    for (round = 0; round < 2; round++) /* the second time the caches answer */
        for (i = 0; i < json_array_size(lines); i++) {
            const json_t *line = json_array_get(lines, i), *row = json_array_get(rows, i);
            const json_t *special = json_object_get(row, "s"), *decoded = json_object_get(row, "d");
            const char *text = json_string_value(line);
            size_t len = json_string_length(line);

            encode(t, &got, text, len, 0);
            assert_ids(&got, json_object_get(row, "i"), file, i + 1);
            decoded = decoded ? decoded : line;
            assert_ranges_and_text(t, &got, json_string_value(decoded), json_string_length(decoded), len);
            encode(t, &got, text, len, HONE_ENCODE_SPECIAL);
            assert_ids(&got, special ? special : json_object_get(row, "i"), file, i + 1);
        }
    hone_tokens_clear(&got);
    json_decref(lines);
    json_decref(rows);
}

static void check_family(const char *file, const char *ids)
{
    hone_tokenizer *t = open_golden(file);

    check_lines(t, file, ids);
    hone_tokenizer_close(t);
}

static void golden(void **state)
{
    static const char *const family[] = {"qwen2",    "llama3", "smollm", "gpt2",   "tekken", "o200k",
                                         "deepseek", "odd",    "llama",  "legacy", "folded", "unigram"};
    static const char *const whole[] = {"qwen2.gguf",    "smollm.gguf",       "spm.gguf",
                                        "spm_bpe.model", "spm_unigram.model", "cl100k.tiktoken"};
    char file[64], ids[64];
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(family); i++) {
        snprintf(file, sizeof file, "%s.json", family[i]);
        snprintf(ids, sizeof ids, "%s.ids.jsonl", family[i]);
        check_family(file, ids);
    }
    for (i = 0; i < HONE_COUNT(whole); i++) {
        snprintf(ids, sizeof ids, "%s.ids.jsonl", whole[i]);
        check_family(whole[i], ids);
    }
}

/* The files that a GGUF vocabulary is written as encode as the vocabulary does, with its special tokens, and are all removed
 * again; a folder's are copied. */
static void exported(void **state)
{
    static const char *const file[] = {"qwen2.gguf", "smollm.gguf", "spm.gguf"};
    static const char dir[] = "test_tokenizer.export", again[] = "test_tokenizer.export.again";
    hone_error err = HONE_ERROR_INIT;
    char path[512], ids[64];
    size_t f, i, n, m;

    (void)state;
    for (f = 0; f < HONE_COUNT(file); f++) {
        hone_tokenizer *t = open_golden(file[f]), *copy = NULL;
        const hone_added_token *a = hone_tokenizer_added(t, &n), *b;
        const char *name, *text;

        snprintf(path, sizeof path, FOLDER "%s", file[f]);
        if (hone_tokenizer_export(path, dir, &err) || hone_tokenizer_export(dir, again, &err) ||
            hone_tokenizer_open(&copy, again, &err))
            fail_msg("%s", err.message);
        snprintf(ids, sizeof ids, "%s.ids.jsonl", file[f]);
        check_lines(copy, file[f], ids);
        b = hone_tokenizer_added(copy, &m);
        assert_int_equal(m, n);
        for (i = 0; i < n; i++) {
            assert_int_equal(b[i].id, a[i].id);
            assert_string_equal(b[i].text, a[i].text);
            assert_int_equal(b[i].special, a[i].special);
        }
        for (i = 0; (name = hone_tokenizer_special_name(t, i, &text)); i++)
            assert_string_equal(hone_tokenizer_special_text(copy, name), text);
        assert_int_equal(hone_tokenizer_eos(copy), hone_tokenizer_eos(t));
        hone_tokenizer_close(copy);
        hone_tokenizer_close(t);
        hone_tokenizer_remove_files(dir);
        hone_tokenizer_remove_files(again);
        assert_int_equal(rmdir(dir), 0);
        assert_int_equal(rmdir(again), 0);
    }
}

static void roles_of_gguf(void **state)
{
    hone_tokenizer *t = open_golden("qwen2.gguf");
    const int32_t *eos;
    size_t n, i;
    const hone_added_token *added = hone_tokenizer_added(t, &n);
    const char *name, *text;

    (void)state;
    assert_int_equal(n, 12);
    for (i = 1; i < n; i++)
        assert_true(added[i - 1].id < added[i].id);
    assert_string_equal(hone_tokenizer_special_text(t, "bos_token"), "<|begin|>");
    assert_string_equal(hone_tokenizer_special_text(t, "eos_token"), "<|im_end|>");
    assert_null(hone_tokenizer_special_text(t, "pad_token"));
    for (i = 0; (name = hone_tokenizer_special_name(t, i, &text)); i++)
        assert_string_equal(hone_tokenizer_special_text(t, name), text);
    assert_int_equal(i, 3);
    eos = hone_tokenizer_eos_ids(t, &n);
    assert_int_equal(n, 2);
    assert_int_equal(eos[0], hone_tokenizer_eos(t));
    assert_int_equal(eos[0], hone_tokenizer_find(t, "<|im_end|>"));
    assert_int_equal(eos[1], hone_tokenizer_find(t, "<|im_start|>"));
    assert_true(hone_tokenizer_is_special(t, eos[0]));
    assert_false(hone_tokenizer_is_special(t, hone_tokenizer_find(t, "<tool>")));
    assert_false(hone_tokenizer_is_special(t, -1));
    assert_false(hone_tokenizer_is_special(t, hone_tokenizer_vocab_size(t)));
    assert_null(hone_tokenizer_piece(t, hone_tokenizer_vocab_size(t), &n));
    assert_int_equal(n, 0);
    assert_true(hone_tokenizer_find(t, "\xc4\xa0"
                                       "the") >= 0); /* the vocabulary's spelling of " the" */
    assert_int_equal(hone_tokenizer_find(t, "no such token"), -1);
    hone_tokenizer_close(t);
}

/* A special token in a message is text; it is a token when no byte of it is the message's; others match anywhere. */
static void plain_ranges(void **state)
{
    static const char text[] = "<|im_start|>a<|im_end|>b<|im_end|>x<tool>";
    hone_tokenizer *t = open_golden("qwen2.json");
    int32_t end = hone_tokenizer_find(t, "<|im_end|>"), end_x = hone_tokenizer_find(t, "<|im_end|>x");
    int32_t tool = hone_tokenizer_find(t, "<tool>");
    hone_span message = {12, 23}, last_byte = {34, 35}, all = {0, sizeof text - 1};
    hone_span two[] = {{3, 3}, {5, 6}};
    hone_tokens got = {0};
    size_t i, ends = 0;

    (void)state;
    encode(t, &got, text, strlen(text), 0);
    assert_int_equal(got.id[got.n - 2], end_x);
    got.n = 0;
    assert_int_equal(hone_tokenizer_encode(t, &got, text, strlen(text), &message, 1, 0, NULL), 0);
    for (i = 0; i < got.n; i++)
        ends += got.id[i] == end;
    assert_int_equal(ends, 0);
    assert_int_equal(got.id[got.n - 2], end_x);
    assert_int_equal(got.begin[got.n - 2], 24);
    assert_int_equal(got.end[got.n - 2], 35);
    got.n = 0; /* the longest allowed one wins */
    assert_int_equal(hone_tokenizer_encode(t, &got, text, strlen(text), &last_byte, 1, 0, NULL), 0);
    assert_int_equal(got.id[got.n - 3], end);
    got.n = 0;
    assert_int_equal(hone_tokenizer_encode(t, &got, text, strlen(text), &all, 1, 0, NULL), 0);
    for (i = 0; i < got.n; i++)
        assert_false(hone_tokenizer_is_special(t, got.id[i]));
    assert_int_equal(got.id[got.n - 1], tool);
    got.n = 0; /* an empty range is no byte */
    assert_int_equal(hone_tokenizer_encode(t, &got, text, strlen(text), two, 1, 0, NULL), 0);
    assert_int_equal(got.id[0], hone_tokenizer_find(t, "<|im_start|>"));
    got.n = 0;
    assert_int_equal(hone_tokenizer_encode(t, &got, text, strlen(text), two, 2, 0, NULL), 0);
    assert_int_not_equal(got.id[0], hone_tokenizer_find(t, "<|im_start|>"));
    hone_tokens_clear(&got);
    hone_tokenizer_close(t);
}

static void origins(void **state)
{
    hone_tokenizer *t = open_golden("qwen2.json");
    static const char composed[] = "ae\xcc\x81z", broken[] = "a\xff\xe4\xb8z";
    hone_tokens got = {0};
    char *text;
    size_t i, n;

    (void)state;
    encode(t, &got, composed, strlen(composed), 0); /* a, U+00E9 from bytes 1..4, z */
    assert_int_equal(got.begin[0], 0);
    assert_int_equal(got.end[got.n - 1], 5);
    for (i = 0; i < got.n; i++)
        assert_true(got.begin[i] != 2 && got.begin[i] != 3 && got.end[i] != 2 && got.end[i] != 3);
    encode(t, &got, broken, strlen(broken), 0); /* one U+FFFD for 0xff, one for the cut character */
    assert_int_equal(hone_tokenizer_decode(t, &text, &n, got.id, got.n, false, NULL), 0);
    assert_string_equal(text, "a\xef\xbf\xbd\xef\xbf\xbdz");
    hone_free(text);
    assert_int_equal(got.begin[got.n - 1], 4);
    assert_int_equal(got.end[got.n - 1], 5);
    for (i = 0; i < got.n; i++)
        assert_true(got.begin[i] != 3 && got.end[i] != 3);
    hone_tokens_clear(&got);
    hone_tokenizer_close(t);
}

/* A long run takes the heap, a short one the array: the ids of a piece may not depend on which. The golden lines hold
 * the reference; here a run is long enough that a quadratic method would be noticed by the time limit. */
static void long_runs(void **state)
{
    hone_tokenizer *t = open_golden("llama3.json");
    size_t n = (size_t)1 << 20;
    char *text = hone_alloc(n);
    hone_tokens got = {0};

    (void)state;
    assert_non_null(text);
    memset(text, 'e', n);
    encode(t, &got, text, n, 0);
    assert_true(got.n > 0 && got.end[got.n - 1] == n);
    memset(text, ' ', n);
    encode(t, &got, text, n, 0);
    assert_int_equal(got.end[got.n - 1], n);
    hone_tokens_clear(&got);
    hone_free(text);
    hone_tokenizer_close(t);
}

struct job {
    const hone_tokenizer *t;
    const json_t *lines, *rows;
    bool good;
};

static void *encode_all(void *arg)
{
    struct job *job = arg;
    hone_tokens got = {0};
    size_t i, k;

    job->good = true;
    for (i = 0; i < json_array_size(job->lines); i++) {
        const json_t *line = json_array_get(job->lines, i),
                     *want = json_object_get(json_array_get(job->rows, i), "i");

        got.n = 0;
        job->good &= !hone_tokenizer_encode(job->t, &got, json_string_value(line), json_string_length(line),
                                            NULL, 0, 0, NULL);
        job->good &= got.n == json_array_size(want);
        for (k = 0; k < got.n && job->good; k++)
            job->good = got.id[k] == json_integer_value(json_array_get(want, k));
    }
    hone_tokens_clear(&got);
    return NULL;
}

static void threads(void **state)
{
    hone_tokenizer *t = open_golden("qwen2.json");
    json_t *lines = read_lines("lines.jsonl"), *rows = read_lines("qwen2.ids.jsonl");
    struct job job[4];
    pthread_t thread[4];
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        job[i] = (struct job){t, lines, rows, false};
        assert_int_equal(pthread_create(&thread[i], NULL, encode_all, &job[i]), 0);
    }
    for (i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        assert_true(job[i].good);
    }
    hone_tokenizer_close(t);
    json_decref(lines);
    json_decref(rows);
}

static void hashes(void **state)
{
    hone_tokenizer *a = open_golden("qwen2.json"), *b = open_golden("qwen2.json"),
                   *c = open_golden("llama3.json");

    (void)state;
    assert_true(hone_tokenizer_hash(a) == hone_tokenizer_hash(b));
    assert_true(hone_tokenizer_hash(a) != hone_tokenizer_hash(c));
    hone_tokenizer_close(a);
    hone_tokenizer_close(b);
    hone_tokenizer_close(c);
}

/* The blank in front: of the text alone, of each part, of each section; and the place that its token stems from. */
static void blank_in_front(void **state)
{
    static const char text[] = "the<tool>the<|im_end|>the";
    static const struct {
        const char *file;
        size_t blanks; /* of the three words, how many get one */
        const char *decoded;
    } want[] = {
        {"llama.json", 1, "the<tool>the<|im_end|>the"},
        {"legacy.json", 3, "the<tool> the<|im_end|> the"},
    };
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(want); i++) {
        hone_tokenizer *t = open_golden(want[i].file);
        int32_t the = hone_tokenizer_find(t, "\xe2\x96\x81the");
        hone_tokens got = {0};
        size_t blanks = 0;
        char *back;

        assert_true(the >= 0);
        encode(t, &got, text, strlen(text), 0);
        for (k = 0; k < got.n; k++)
            if (got.id[k] == the) {
                blanks++;
                assert_int_equal(got.end[k] - got.begin[k], 3);
            }
        assert_int_equal(blanks, want[i].blanks);
        assert_int_equal(got.begin[0], 0);
        assert_int_equal(got.end[got.n - 1], strlen(text));
        assert_int_equal(hone_tokenizer_decode(t, &back, NULL, got.id, got.n, false, NULL), 0);
        assert_string_equal(back, want[i].decoded);
        hone_free(back);
        hone_tokens_clear(&got);
        hone_tokenizer_close(t);
    }
}

/* A SentencePiece model: control pieces are special, and text where a message holds them. */
static void control_pieces(void **state)
{
    hone_tokenizer *t = open_golden("spm_bpe.model");
    static const char text[] = "a</s>";
    hone_span all = {0, sizeof text - 1};
    hone_tokens got = {0};

    (void)state;
    assert_string_equal(hone_tokenizer_special_text(t, "bos_token"), "<s>");
    assert_int_equal(hone_tokenizer_eos(t), hone_tokenizer_find(t, "</s>"));
    assert_true(hone_tokenizer_is_special(t, hone_tokenizer_eos(t)));
    assert_false(hone_tokenizer_is_special(t, hone_tokenizer_find(t, "<tool>")));
    encode(t, &got, text, sizeof text - 1, 0);
    assert_int_equal(got.id[got.n - 1], hone_tokenizer_eos(t));
    got.n = 0;
    assert_int_equal(hone_tokenizer_encode(t, &got, text, sizeof text - 1, &all, 1, 0, NULL), 0);
    assert_int_not_equal(got.id[got.n - 1], hone_tokenizer_eos(t));
    hone_tokens_clear(&got);
    hone_tokenizer_close(t);
}

/* Every member that decides ids changes the hash. */
static void hash_of_parts(void **state)
{
    static const char *const file[] = {"llama.json",   "legacy.json",    "folded.json",
                                       "unigram.json", "spm_bpe.model",  "spm_unigram.model",
                                       "spm.gguf",     "cl100k.tiktoken"};
    uint64_t hash[HONE_COUNT(file)];
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(file); i++) {
        hone_tokenizer *t = open_golden(file[i]);

        hash[i] = hone_tokenizer_hash(t);
        for (k = 0; k < i; k++)
            assert_true(hash[k] != hash[i]);
        hone_tokenizer_close(t);
    }
}

/* ---- input that lies --------------------------------------------------------------------------------------------------------- */

static void assert_refused(const char *text, size_t len, const char *name, int code, const char *part)
{
    hone_error err = HONE_ERROR_INIT;
    hone_tokenizer *t = NULL;
    char path[64];
    int got;

    snprintf(path, sizeof path, "test_tokenizer.%d.%s", (int)getpid(), name);
    assert_int_equal(hone_file_write(path, text, len, NULL), 0);
    got = hone_tokenizer_open(&t, path, &err);
    unlink(path);
    assert_null(t);
    if (got != code || !strstr(err.message, part) || !strstr(err.message, path))
        fail_msg("expected %s '%s', got %s: %s", hone_error_name(code), part, hone_error_name(got),
                 err.message);
}

#define HEAD "{\"version\":\"1.0\","
#define BYTES "\"pre_tokenizer\":{\"type\":\"ByteLevel\"},"
#define MODEL(vocab, merges) "\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}}"
#define GOOD MODEL("{\"a\":0,\"b\":1,\"ab\":2}", "[\"a b\"]")

static void bad_json(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *part;
    } bad[] = {
        {"", HONE_EFORMAT, ":1:1: the text ends"},
        {"[]", HONE_EFORMAT, "an object"},
        {"{}", HONE_EFORMAT, "no 'model'"},
        {"{\"version\":\"2.0\"," BYTES GOOD, HONE_EUNSUPPORTED, "version \"2.0\""},
        {HEAD "\"extra\":1," BYTES GOOD, HONE_EFORMAT, "'extra'"},
        {HEAD BYTES BYTES GOOD, HONE_EFORMAT, "twice"},
        {HEAD BYTES GOOD "x", HONE_EFORMAT, "follows"},
        {HEAD BYTES "\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", HONE_EUNSUPPORTED, "\"WordPiece\""},
        {HEAD "\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", HONE_EUNSUPPORTED, "'unk_id'"},
        {HEAD "\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",-1]]}}", HONE_EFORMAT,
         "'unk_id'"},
        {HEAD "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",\"b\"]]}}", HONE_EFORMAT,
         "a score"},
        {HEAD "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\"]]}}", HONE_EFORMAT, "a score"},
        {HEAD "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",1,2]]}}", HONE_EFORMAT,
         "a score"},
        {HEAD BYTES "\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", HONE_EFORMAT, "no 'merges'"},
        {HEAD BYTES "\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}",
         HONE_EUNSUPPORTED, "dropout"},
        {HEAD BYTES MODEL("{}", "[]"), HONE_EFORMAT, "empty"},
        {HEAD BYTES MODEL("{\"a\":0,\"b\":0}", "[]"), HONE_EFORMAT, "two tokens have the id 0"},
        {HEAD BYTES MODEL("{\"a\":0,\"a\":1}", "[]"), HONE_EFORMAT, "the same"},
        {HEAD BYTES MODEL("{\"a\":-1}", "[]"), HONE_ELIMIT, "-1"},
        {HEAD BYTES MODEL("{\"a\":99999999999}", "[]"), HONE_ELIMIT, "99999999999"},
        {HEAD BYTES MODEL("{\"a\":1.5}", "[]"), HONE_EFORMAT, "whole number"},
        {HEAD BYTES MODEL("{\"a\":\"b\"}", "[]"), HONE_EFORMAT, "whole number"},
        {HEAD BYTES MODEL("{\"a\":0,\"b\":1}", "[\"a b\"]"), HONE_EFORMAT, "the whole is no token"},
        {HEAD BYTES MODEL("{\"a\":0,\"b\":1}", "[\"a c\"]"), HONE_EFORMAT, "the right part"},
        {HEAD BYTES MODEL("{\"a\":0,\"b\":1}", "[\"ab\"]"), HONE_EFORMAT, "one space"},
        {HEAD BYTES MODEL("{\"a\":0,\"b\":1}", "[[\"a\"]]"), HONE_EFORMAT, "pair"},
        {HEAD BYTES MODEL("{\"a\":0,\"b\":1}", "[[\"a\",\"b\",\"c\"]]"), HONE_EFORMAT, "pair"},
        {HEAD BYTES MODEL("{\"a\":0,\"b\":1}", "{}"), HONE_EFORMAT, "an array"},
        {HEAD BYTES MODEL("{\"\\ud800\":0}", "[]"), HONE_EFORMAT, "surrogate"},
        {HEAD BYTES MODEL("{\"\xff\":0}", "[]"), HONE_EFORMAT, "UTF-8"},
        {HEAD "\"normalizer\":{\"type\":\"BertNormalizer\"}," BYTES GOOD, HONE_EUNSUPPORTED,
         "'BertNormalizer'"},
        {HEAD "\"normalizer\":{\"type\":\"Prepend\"}," BYTES GOOD, HONE_EFORMAT, "'prepend'"},
        {HEAD
         "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}," BYTES GOOD,
         HONE_EUNSUPPORTED, "empty string"},
        {HEAD "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA\"}," BYTES GOOD,
         HONE_EFORMAT, "base64"},
        {HEAD "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}," BYTES GOOD,
         HONE_EFORMAT, "claims"},
        {HEAD "\"normalizer\":[]," BYTES GOOD, HONE_EFORMAT, "'normalizer'"},
        {HEAD "\"decoder\":{\"type\":\"WordPiece\"}," BYTES GOOD, HONE_EUNSUPPORTED, "'WordPiece'"},
        {HEAD
         "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"x\"}}],"
         "\"special_tokens\":{\"x\":{\"ids\":[77]}}}," BYTES GOOD,
         HONE_EFORMAT, "id 77"},
        {HEAD "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{"
              "\"type\":\"UnicodeScripts\"}]}," GOOD,
         HONE_EUNSUPPORTED, "'UnicodeScripts'"},
        {HEAD "\"pre_tokenizer\":{\"type\":\"Metaspace\"}," GOOD, HONE_EFORMAT, "'replacement'"},
        {HEAD
         "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}," GOOD,
         HONE_EUNSUPPORTED, "'last'"},
        {HEAD "\"decoder\":{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}," BYTES GOOD,
         HONE_EFORMAT, "a character"},
        {HEAD "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[a&&b]\"},\"behavior\":"
              "\"Isolated\"}," GOOD,
         HONE_EUNSUPPORTED, "[a&&b]"},
        {HEAD "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":"
              "\"Isolated\"}," GOOD,
         HONE_EFORMAT, "(a"},
        {HEAD "\"added_tokens\":[{\"id\":9,\"content\":\"<x>\"}]," BYTES GOOD, HONE_EFORMAT, "claims id 9"},
        {HEAD "\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]," BYTES GOOD, HONE_EFORMAT, "claims id 1"},
        {HEAD "\"added_tokens\":[{\"id\":0,\"content\":\"a\"},{\"id\":0,\"content\":\"a\"}]," BYTES GOOD,
         HONE_EFORMAT, "twice"},
        {HEAD "\"added_tokens\":[{\"id\":3}]," BYTES GOOD, HONE_EFORMAT, "content"},
    };
    hone_buf deep = {0};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(bad); i++)
        assert_refused(bad[i].text, strlen(bad[i].text), "json", bad[i].code, bad[i].part);
    hone_buf_puts(&deep, "{\"normalizer\":");
    for (i = 0; i < 100000; i++)
        hone_buf_putc(&deep, '[');
    assert_refused(deep.data, deep.len, "json", HONE_ELIMIT, "nested");
    hone_buf_clear(&deep);
}

/* Every start of a good file is refused. */
static void truncated(void **state)
{
    char *text;
    size_t len, i;

    (void)state;
    assert_int_equal(hone_file_read(&text, &len, FOLDER "odd.json", 1 << 20, NULL), 0);
    while (text[len - 1] != '}')
        len--;
    for (i = 0; i < len; i += i < 300 ? 7 : 211)
        assert_refused(text, i, "json", HONE_EFORMAT, ":1:");
    hone_free(text);
    assert_int_equal(hone_file_read(&text, &len, FOLDER "smollm.gguf", 1 << 20, NULL), 0);
    for (i = 4; i < len - 64; i += 509) /* the last bytes are padding */
        assert_refused(text, i, "gguf", HONE_EFORMAT, "");
    hone_free(text);
}

/* Damaged files: any answer but a crash or a leak; the sanitizers watch. */
static void garbled(void **state)
{
    static const char *const name[] = {"odd.json",    "qwen2.gguf",      "unigram.json",
                                       "folded.json", "spm_bpe.model",   "spm_unigram.model",
                                       "spm.gguf",    "cl100k.tiktoken", "llama.json"};
    hone_rng rng = hone_rng_make(1, 2);
    size_t k, len;
    int i, j;

    (void)state;
    for (k = 0; k < HONE_COUNT(name); k++) {
        char path[512], *text, *copy;

        snprintf(path, sizeof path, FOLDER "%s", name[k]);
        assert_int_equal(hone_file_read(&text, &len, path, 1 << 20, NULL), 0);
        snprintf(path, sizeof path, "test_tokenizer.%d.cl100k", (int)getpid());
        for (i = 0; i < 150; i++) {
            hone_tokenizer *t = NULL;
            hone_tokens got = {0};

            copy = hone_strndup(text, len);
            assert_non_null(copy);
            for (j = 0; j < 1 + i % 4; j++)
                copy[hone_rng_below(&rng, (uint32_t)len)] = (char)hone_rng_u32(&rng);
            assert_int_equal(hone_file_write(path, copy, len, NULL), 0);
            if (!hone_tokenizer_open(&t, path, NULL))
                assert_int_equal(hone_tokenizer_encode(t, &got, "a b <mask> 12 \xe4\xbd\xa0", 16, NULL, 0,
                                                       HONE_ENCODE_SPECIAL, NULL),
                                 0);
            hone_tokens_clear(&got);
            hone_tokenizer_close(t);
            hone_free(copy);
        }
        unlink(path);
        hone_free(text);
    }
}

static void bad_spm_and_tiktoken(void **state)
{
    static const struct {
        const char *text;
        size_t len; /* 0: as far as the first NUL */
        const char *name;
        int code;
        const char *part;
    } bad[] = {
        {"\x0a\x7f", 2, "model", HONE_EFORMAT, "damaged"},
        {"\x0a\x02\x10\x01", 4, "model", HONE_EFORMAT, "piece 0"},
        {"\x0a\x03\x0a\x01\xff", 5, "model", HONE_EFORMAT, "UTF-8"},
        {"\x0a\x03\x0a\x01"
         "a\x12\x02\x18\x03",
         9, "model", HONE_EUNSUPPORTED, "type 3"},
        {"\x0a\x03\x0a\x01"
         "a\x12\x03\xc0\x01\x01",
         10, "model", HONE_EUNSUPPORTED, "treat_whitespace_as_suffix"},
        {"\x0a\x03\x0a\x01"
         "a\x12\x03\xc0\x02\x07",
         10, "model", HONE_EFORMAT, "unknown piece"},
        {"YQ== 0\nYg==\n", 0, "cl100k", HONE_EFORMAT, "line 2"},
        {"YQ== 0\nYg== 0\n", 0, "cl100k", HONE_EFORMAT, "two tokens"},
        {"YQ= 0\n", 0, "cl100k", HONE_EFORMAT, "base64"},
        {"Y*== 0\n", 0, "cl100k", HONE_EFORMAT, "base64"},
        {"YQ== 0\nYg== 1\n", 0, "cl100k", HONE_EFORMAT, "byte 0"},
        {"YQ== 0\nYg== 99999999999\n", 0, "cl100k", HONE_EFORMAT, "line 2"},
        {"YQ== 0\n", 0, "odd", HONE_EUNSUPPORTED, "pat_str"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(bad); i++)
        assert_refused(bad[i].text, bad[i].len ? bad[i].len : strlen(bad[i].text), bad[i].name, bad[i].code,
                       bad[i].part);
}

static void gguf_by_name(void **state)
{
    char *text, *at;
    size_t len;

    (void)state;
    assert_int_equal(hone_file_read(&text, &len, FOLDER "smollm.gguf", 1 << 20, NULL), 0);
    at = memmem(text, len, "smollm", 6);
    assert_non_null(at);
    memcpy(at, "smellm", 6);
    assert_refused(text, len, "gguf", HONE_EUNSUPPORTED, "'smellm'");
    memcpy(at, "smollm", 6);
    at = memmem(text, len, "gpt2", 4);
    memcpy(at, "bert", 4);
    assert_refused(text, len, "gguf", HONE_EUNSUPPORTED, "'bert'");
    memcpy(at, "gpt2", 4);
    at = memmem(text, len, "eos_token_id", 12);
    memcpy(at + 16, "\xff\xff\x00\x00", 4);
    assert_refused(text, len, "gguf", HONE_EFORMAT, "eos_token_id is 65535");
    hone_free(text);
}

/* ---- memory that runs out ------------------------------------------------------------------------------------------------------ */

static long allocations_left;

static bool allow(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return allocations_left-- > 0;
}

/* Opens, encodes and decodes with the n-th allocation failing; true when all went well. */
static bool work_with(const char *path, long n)
{
    static const char text[] = "Hello <mask> cafe\xcc\x81 123 \xff <|im_end|> \xe4\xb8\xad\xe5\x8c\xbb words";
    hone_error err = HONE_ERROR_INIT;
    hone_tokenizer *t = NULL;
    hone_tokens got = {0};
    char *decoded = NULL;
    int code;

    allocations_left = n;
    hone_mem_hook(allow, NULL);
    code = hone_tokenizer_open(&t, path, &err);
    if (!code)
        code = hone_tokenizer_encode(t, &got, text, sizeof text - 1, NULL, 0, HONE_ENCODE_SPECIAL, &err);
    if (!code)
        code = hone_tokenizer_decode(t, &decoded, NULL, got.id, got.n, false, &err);
    hone_mem_hook(NULL, NULL);
    if (code) {
        if (code != HONE_ENOMEM)
            fail_msg("allocation %ld: %s: %s", n, hone_error_name(code), err.message);
        assert_int_equal(err.code, code);
        assert_int_equal(got.n, decoded ? 0 : got.n);
    }
    hone_free(decoded);
    hone_tokens_clear(&got);
    hone_tokenizer_close(t);
    return !code;
}

static void no_memory(void **state)
{
    static const char *const name[] = {"odd.json",     "o200k.json",      "qwen2.gguf",
                                       "unigram.json", "folded.json",     "spm_unigram.model",
                                       "spm.gguf",     "cl100k.tiktoken", "llama.json"};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(name); i++) {
        char path[512];
        long n = 0;

        snprintf(path, sizeof path, FOLDER "%s", name[i]);
        while (!work_with(path, n)) /* each of the first ones; then there are several for every token */
            n += n < 400 ? 1 : 61;
        assert_true(n > 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),         cmocka_unit_test(exported),
        cmocka_unit_test(roles_of_gguf),  cmocka_unit_test(plain_ranges),
        cmocka_unit_test(origins),        cmocka_unit_test(long_runs),
        cmocka_unit_test(threads),        cmocka_unit_test(hashes),
        cmocka_unit_test(bad_json),       cmocka_unit_test(truncated),
        cmocka_unit_test(blank_in_front), cmocka_unit_test(control_pieces),
        cmocka_unit_test(hash_of_parts),  cmocka_unit_test(bad_spm_and_tiktoken),
        cmocka_unit_test(garbled),        cmocka_unit_test(gguf_by_name),
        cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
