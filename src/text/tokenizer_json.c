/* tokenizer.json of the `tokenizers` library.
 *
 * The file may have 30 MB, nearly all of it vocabulary and merges: those two are read as a stream, straight into their
 * tables; the components are small, and jansson reads each from its bytes. Every component and every field that decides
 * ids is either carried out or refused by name. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_stream.h"
#include "text/base64.h"
#include "text/tokenizer_impl.h"

#define FILE_MAX ((size_t)1 << 30)

/* Bytes of a value, found while the file is walked and read afterwards, because its order is free. */
typedef struct extent {
    const char *text; /* NULL: absent */
    size_t len;
} extent;

typedef struct loader {
    hone_tokenizer *t;
    const char *path;
    hone_error *err;
    hone_json json;
    extent model, added, normalizer, pre_tokenizer, post_processor, decoder; /* top level */
    extent vocab, merges, unk_token;                                         /* of the model */
    size_t n_merges;
    bool unigram, byte_fallback;
    int64_t unk_id; /* of a Unigram model, -1 none */
    bool
        byte_level; /* the last pre-tokenizer so far is ByteLevel: the model may work on bytes instead of characters */
    bool text; /* it can not, for that the texts must be spelled */
} loader;

static int unsupported(loader *l, const char *what, const char *name, const char *supported)
{
    return hone_error_set(l->err, HONE_EUNSUPPORTED, "%s: %s '%s' is not supported (supported: %s)", l->path,
                          what, name, supported);
}

static int no_memory(loader *l)
{
    return hone_error_set(l->err, HONE_ENOMEM, "%s: out of memory", l->path);
}

/* Prefixes the message of a part that does not know the file. */
static int with_path(loader *l, int code, const hone_error *inner, const char *where)
{
    return code ? hone_error_set(l->err, code, "%s: %s%s", l->path, where, inner->message) : 0;
}

/* ---- walking ------------------------------------------------------------------------------------------------------------------ */

/* Places a reader on an extent such that its messages count lines from the start of the file. */
static void enter_extent(loader *l, const extent *e)
{
    l->json.at = e->text;
    l->json.depth = 0;
    l->json.first = false;
}

static int walk_top(loader *l)
{
    static const char *const known[] = {"version",        "truncation", "padding",
                                        "added_tokens",   "normalizer", "pre_tokenizer",
                                        "post_processor", "decoder",    "model"};
    extent unused = {0};
    extent *const place[] = {
        &unused,     &unused,  &unused, &l->added, &l->normalizer, &l->pre_tokenizer, &l->post_processor,
        &l->decoder, &l->model};
    bool seen[HONE_COUNT(known)] = {false};
    hone_json *j = &l->json;
    const char *key;
    size_t len, i;

    if (!hone_json_object(j))
        return j->code;
    while (hone_json_key(j, &key, &len)) {
        for (i = 0; i < HONE_COUNT(known) && !hone_json_is(key, len, known[i]); i++)
            ;
        if (i == HONE_COUNT(known))
            return hone_json_fail(j, HONE_EFORMAT, "'%.*s' is no key of a tokenizer.json",
                                  (int)HONE_MIN(len, (size_t)80), key);
        if (seen[i])
            return hone_json_fail(j, HONE_EFORMAT, "'%s' stands twice", known[i]);
        seen[i] = true;
        if (!hone_json_value(j, &place[i]->text, &place[i]->len))
            return j->code;
        if (i == 0 && !hone_json_is(unused.text, unused.len, "\"1.0\""))
            return hone_json_fail(j, HONE_EUNSUPPORTED, "tokenizer.json version %.*s; supported: \"1.0\"",
                                  (int)HONE_MIN(unused.len, (size_t)40), unused.text);
    }
    if (!hone_json_end(j))
        return j->code;
    if (!l->model.text)
        return hone_error_set(l->err, HONE_EFORMAT, "%s: there is no 'model'", l->path);
    return 0;
}

/* Counts the merges on the way. */
static bool walk_merges(loader *l)
{
    hone_json *j = &l->json;

    hone_json_peek(j);
    l->merges.text = j->at;
    if (!hone_json_array(j))
        return false;
    while (hone_json_item(j)) {
        if (!hone_json_value(j, NULL, NULL))
            return false;
        l->n_merges++;
    }
    l->merges.len = (size_t)(j->at - l->merges.text);
    return !j->code;
}

static bool is_null(const extent *e)
{
    return !e->text || hone_json_is(e->text, e->len, "null");
}

static int walk_model(loader *l)
{
    hone_json *j = &l->json;
    hone_bpe *b = &l->t->bpe;
    bool ignore_merges = false, fuse_unk = false;
    const char *key;
    size_t len;
    extent type = {0}, value = {0};

    enter_extent(l, &l->model);
    if (!hone_json_object(j))
        return j->code;
    while (hone_json_key(j, &key, &len)) {
        bool good;

        if (hone_json_is(key, len, "type"))
            good = hone_json_value(j, &type.text, &type.len);
        else if (hone_json_is(key, len, "vocab"))
            good = hone_json_value(j, &l->vocab.text, &l->vocab.len);
        else if (hone_json_is(key, len, "merges"))
            good = hone_json_peek(j) == '[' ? walk_merges(l)
                                            : hone_json_value(j, &l->merges.text, &l->merges.len);
        else if (hone_json_is(key, len, "unk_token"))
            good = hone_json_value(j, &l->unk_token.text, &l->unk_token.len);
        else if (hone_json_is(key, len, "ignore_merges"))
            good = hone_json_bool(j, &ignore_merges);
        else if (hone_json_is(key, len, "fuse_unk"))
            good = hone_json_bool(j, &fuse_unk);
        else if (hone_json_is(key, len, "byte_fallback"))
            good = hone_json_bool(j, &l->byte_fallback);
        else if (hone_json_is(key, len, "unk_id"))
            good = hone_json_peek(j) == 'n' ? hone_json_value(j, NULL, NULL) : hone_json_int(j, &l->unk_id);
        else if (hone_json_is(key, len, "dropout") || hone_json_is(key, len, "continuing_subword_prefix") ||
                 hone_json_is(key, len, "end_of_word_suffix")) {
            char name[32];

            memcpy(name, key, len);
            name[len] = 0;
            good = hone_json_value(j, &value.text, &value.len);
            if (good && !is_null(&value) && !hone_json_is(value.text, value.len, "\"\"") &&
                !hone_json_is(value.text, value.len, "0.0") && !hone_json_is(value.text, value.len, "0"))
                return hone_json_fail(j, HONE_EUNSUPPORTED, "a BPE model with '%s' is not supported", name);
        } else {
            good = hone_json_value(j, NULL, NULL); /* the library passes over it as well */
        }
        if (!good)
            return j->code;
    }
    if (j->code)
        return j->code;
    l->unigram = type.text ? hone_json_is(type.text, type.len, "\"Unigram\"")
                           : !l->merges.text && l->vocab.text && l->vocab.text[0] == '[';
    if (!l->unigram && (type.text ? !hone_json_is(type.text, type.len, "\"BPE\"") : !l->merges.text))
        return hone_error_set(l->err, HONE_EUNSUPPORTED,
                              "%s: model type %.*s is not supported (supported: \"BPE\", \"Unigram\")",
                              l->path, type.text ? (int)HONE_MIN(type.len, (size_t)40) : 7,
                              type.text ? type.text : "missing");
    if (!l->vocab.text || (!l->merges.text && !l->unigram))
        return hone_error_set(l->err, HONE_EFORMAT, "%s: the model has no '%s'", l->path,
                              l->vocab.text ? "merges" : "vocab");
    b->ignore_merges = ignore_merges;
    b->fuse_unk = fuse_unk;
    return 0;
}

/* ---- vocabulary and merges -------------------------------------------------------------------------------------------------------- */

/* A JSON number as the library reads it: the digits as far as 64 bits hold them, rounded, then multiplied or divided by a
 * power of ten. That is a last bit away from the nearest number for some with 17 digits, and a last bit decides between two
 * ways to cut a text whose scores are equal but for the order of their sums. False: out of range. */
static bool score_of(const char *s, size_t len, double *score)
{
    uint64_t digits = 0;
    int exponent = 0, given = 0, i = *s == '-', n = (int)len;
    bool full = false, fraction = false, negative = false;
    char power[16];
    double f;

    for (; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        uint64_t digit = (uint64_t)(s[i] - '0');

        if (s[i] == '.') {
            fraction = true;
            continue;
        }
        full |= digits > (UINT64_MAX - digit) / 10;
        if (!full)
            digits = 10 * digits + digit;
        exponent += full ? !fraction : -(int)fraction;
    }
    for (i++; i < n; i++)
        if (s[i] == '-')
            negative = true;
        else if (s[i] != '+')
            given = HONE_MIN(10 * given + (s[i] - '0'), 100000);
    exponent += negative ? -given : given;
    for (f = (double)digits; exponent < -308 && f != 0; exponent += 308)
        f /= 1e308;
    if (f != 0) {
        snprintf(power, sizeof power, "1e%d", HONE_MIN(abs(exponent), 309));
        f = exponent < 0 ? f / strtod(power, NULL) : f * strtod(power, NULL);
    }
    *score = *s == '-' ? -f : f;
    return isfinite(f);
}

/* One entry of a Unigram vocabulary: ["piece", score]. */
static int load_scored(loader *l, double *score)
{
    hone_json *j = &l->json;
    hone_error inner = HONE_ERROR_INIT;
    const char *s;
    size_t len;
    int code;

    if (!hone_json_array(j) || !hone_json_item(j) || !hone_json_string(j, &s, &len))
        return hone_json_fail(j, HONE_EFORMAT,
                              "an entry of the vocabulary is a pair of a string and a score");
    code = hone_vocab_add(&l->t->vocab, l->t->vocab.n, s, len, &inner);
    if (code)
        return hone_json_fail(j, code, "%s", inner.message);
    if (!hone_json_item(j) ||
        !(hone_json_peek(j) == '-' || (hone_json_peek(j) >= '0' && hone_json_peek(j) <= '9')) ||
        !hone_json_value(j, &s, &len) || len > 64 || !score_of(s, len, score) || hone_json_item(j) || j->code)
        return hone_json_fail(j, HONE_EFORMAT,
                              "an entry of the vocabulary is a pair of a string and a score");
    return 0;
}

static int load_unigram(loader *l)
{
    hone_json *j = &l->json;
    hone_unigram *u = &l->t->unigram;
    hone_error inner = HONE_ERROR_INIT;
    size_t capacity = 0;
    int code = 0;

    enter_extent(l, &l->vocab);
    if (!hone_json_array(j))
        return j->code;
    while (!code && hone_json_item(j)) {
        u->score = hone_grow(u->score, &capacity, u->n + 1, sizeof *u->score);
        if (u->n == capacity)
            return no_memory(l);
        code = load_scored(l, &u->score[u->n]);
        u->n += !code;
    }
    if (code || j->code)
        return code ? code : j->code;
    if (l->unk_id < 0 || l->unk_id >= u->n)
        return hone_error_set(l->err, l->unk_id < 0 ? HONE_EUNSUPPORTED : HONE_EFORMAT,
                              "%s: a Unigram model needs an 'unk_id' within its vocabulary", l->path);
    u->use = hone_calloc(u->n, sizeof *u->use);
    if (!u->use)
        return no_memory(l);
    u->vocab = &l->t->vocab;
    u->unk = (int32_t)l->unk_id;
    u->byte_fallback = l->byte_fallback;
    l->t->model = &hone_model_unigram;
    code = hone_vocab_index(&l->t->vocab, false, &inner);
    if (!code)
        code = hone_unigram_build(u, &inner);
    return with_path(l, code, &inner, "vocab: ");
}

static int load_vocab(loader *l)
{
    hone_error inner = HONE_ERROR_INIT;
    hone_json *j = &l->json;
    const char *key;
    size_t len;
    int64_t id;
    int code;

    enter_extent(l, &l->vocab);
    if (!hone_json_object(j))
        return j->code;
    while (hone_json_key(j, &key, &len)) {
        if (hone_json_peek(j) == '"' || !hone_json_int(j, &id)) /* a second string would overwrite the key */
            return hone_json_fail(j, HONE_EFORMAT, "a token's id must be a whole number");
        code = hone_vocab_add(&l->t->vocab, id, key, len, &inner);
        if (code)
            return hone_json_fail(j, code, "%s", inner.message);
    }
    if (j->code)
        return j->code;
    code = hone_vocab_index(&l->t->vocab, true, &inner);
    return with_path(l, code, &inner, "vocab: ");
}

/* One merge: "a b" with exactly one space, or ["a", "b"]. The parts are copied, since one string overwrites the last. */
static int load_merge(loader *l, hone_buf *left)
{
    hone_json *j = &l->json;
    hone_error inner = HONE_ERROR_INIT;
    const char *s, *space;
    size_t len;
    int code;

    if (hone_json_peek(j) == '[') {
        hone_json_array(j);
        if (!hone_json_item(j) || !hone_json_string(j, &s, &len))
            return hone_json_fail(j, HONE_EFORMAT, "a merge is a pair of strings");
        left->len = 0;
        hone_buf_add(left, s, len);
        if (left->failed)
            return no_memory(l);
        if (!hone_json_item(j) || !hone_json_string(j, &s, &len) || hone_json_item(j) || j->code)
            return hone_json_fail(j, HONE_EFORMAT, "a merge is a pair of strings");
        code = hone_bpe_add_merge(&l->t->bpe, left->data, left->len, s, len, &inner);
    } else {
        if (!hone_json_string(j, &s, &len))
            return j->code;
        space = memchr(s, ' ', len);
        if (!space || memchr(space + 1, ' ', len - (size_t)(space + 1 - s)))
            return hone_json_fail(j, HONE_EFORMAT, "a merge must hold exactly one space");
        code = hone_bpe_add_merge(&l->t->bpe, s, (size_t)(space - s), space + 1,
                                  len - (size_t)(space + 1 - s), &inner);
    }
    return code ? hone_json_fail(j, code, "%s", inner.message) : 0;
}

static int load_merges(loader *l)
{
    hone_json *j = &l->json;
    hone_bpe *b = &l->t->bpe;
    bool ignore_merges = b->ignore_merges, fuse_unk = b->fuse_unk;
    hone_buf left = {0};
    int code = hone_bpe_init(b, &l->t->vocab, l->n_merges, l->err);

    if (code)
        return code;
    b->ignore_merges = ignore_merges;
    b->fuse_unk = fuse_unk;
    l->t->model = l->t->vocab.verbatim ? &hone_model_text : &hone_model_bytes;
    if (l->t->vocab.verbatim && (code = hone_bpe_text_init(b, l->byte_fallback, l->err)))
        return code;
    enter_extent(l, &l->merges);
    if (!hone_json_array(j))
        return j->code;
    while (!code && hone_json_item(j))
        code = load_merge(l, &left);
    hone_buf_clear(&left);
    return code ? code : j->code;
}

static int load_unknown(loader *l)
{
    hone_json *j = &l->json;
    const char *s;
    size_t len, i;

    if (is_null(&l->unk_token))
        return 0;
    enter_extent(l, &l->unk_token);
    if (!hone_json_string(j, &s, &len))
        return j->code;
    l->t->bpe.unk = hone_vocab_find_spelling(&l->t->vocab, s, len);
    if (l->t->bpe.unk == -2)
        return no_memory(l);
    for (i = 0; i < 256 && l->t->bpe.unk < 0;
         i++) /* without it an unknown byte would be an error in the library */
        if (l->t->bpe.byte_id[i] < 0)
            return hone_error_set(l->err, HONE_EFORMAT, "%s: unk_token '%.*s' is no token of the vocabulary",
                                  l->path, (int)HONE_MIN(len, (size_t)80), s);
    return 0;
}

/* ---- added tokens --------------------------------------------------------------------------------------------------------------------- */

/* Gives an added token that the model does not know its place in the vocabulary, where the decoder finds it by the text
 * it is looked for. It is not indexed: the model must not meet it. */
static int append_token(loader *l, const hone_added_token *token, int64_t id)
{
    hone_error inner = HONE_ERROR_INIT;
    char *text;
    size_t len;
    int code = hone_tokenizer_search_text(l->t, token, &text, &len, l->err);

    if (code)
        return code;
    code = hone_vocab_add(&l->t->vocab, id, text, len, &inner);
    hone_free(text);
    return code ? hone_json_fail(&l->json, code, "added token '%.80s': %s", token->text, inner.message) : 0;
}

/* The library does not trust the file's ids: a token that the model lacks gets the id behind all others. A file that says
 * otherwise is refused. */
static int add_token(loader *l, const hone_added_token *token, int64_t id, size_t n_model, int64_t *largest)
{
    int64_t own = hone_vocab_find_spelling(&l->t->vocab, token->text, token->len);
    bool known = own >= 0;
    int code = 0;

    if (own == -2)
        return no_memory(l);
    if (!known)
        own = HONE_MAX((int64_t)n_model, *largest + 1);
    if (own != id)
        return hone_json_fail(
            &l->json, HONE_EFORMAT,
            "added token '%.80s' claims id %lld, but the vocabulary and the order of the list give it %lld",
            token->text, (long long)id, (long long)own);
    if (!known)
        code = append_token(l, token, id);
    *largest = HONE_MAX(*largest, id);
    return code ? code : hone_tokenizer_add(l->t, token, l->err);
}

static int same_text(const void *a, const void *b)
{
    const hone_added_token *x = a, *y = b;
    int order = memcmp(x->text, y->text, HONE_MIN(x->len, y->len));

    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static int refuse_repeated(loader *l)
{
    hone_tokenizer *t = l->t;
    size_t i;

    if (t->n_added)
        qsort(t->added, t->n_added, sizeof *t->added, same_text); /* hone_tokenizer_finish sorts by id */
    for (i = 1; i < t->n_added; i++)
        if (!same_text(&t->added[i - 1], &t->added[i]))
            return hone_error_set(l->err, HONE_EFORMAT, "%s: added token '%.80s' stands twice", l->path,
                                  t->added[i].text);
    return 0;
}

static int load_added(loader *l)
{
    hone_json *j = &l->json;
    size_t n_model = l->t->vocab.n_used;
    int64_t largest = -1;
    hone_buf content = {0};
    int code = 0;

    if (is_null(&l->added))
        return 0;
    enter_extent(l, &l->added);
    if (!hone_json_array(j))
        return j->code;
    while (!code && hone_json_item(j)) {
        hone_added_token token = {.normalized = true};
        const char *key, *s;
        size_t len;
        int64_t id = -1;
        bool has_content = false, good = hone_json_object(j);

        while (good && hone_json_key(j, &key, &len)) {
            bool *flag = hone_json_is(key, len, "special")       ? &token.special
                         : hone_json_is(key, len, "single_word") ? &token.single_word
                         : hone_json_is(key, len, "lstrip")      ? &token.lstrip
                         : hone_json_is(key, len, "rstrip")      ? &token.rstrip
                         : hone_json_is(key, len, "normalized")  ? &token.normalized
                                                                 : NULL;

            if (flag) {
                good = hone_json_bool(j, flag);
            } else if (hone_json_is(key, len, "id")) {
                good = hone_json_int(j, &id);
            } else if (hone_json_is(key, len, "content")) {
                good = hone_json_string(j, &s, &len);
                content.len = 0;
                if (good)
                    hone_buf_add(&content, s, len);
                has_content = true;
            } else {
                good = hone_json_value(j, NULL, NULL);
            }
        }
        if (content.failed)
            code = no_memory(l);
        else if (j->code)
            code = j->code;
        else if (!has_content || id < 0 || id >= HONE_VOCAB_MAX)
            code =
                hone_json_fail(j, HONE_EFORMAT, "an added token needs an 'id' within 0..%u and a 'content'",
                               HONE_VOCAB_MAX - 1);
        if (code)
            break;
        token.text = content.data;
        token.len = content.len;
        token.id = (int32_t)id;
        code = add_token(l, &token, id, n_model, &largest);
    }
    hone_buf_clear(&content);
    if (!code)
        code = j->code;
    return code ? code : refuse_repeated(l);
}

/* ---- components ------------------------------------------------------------------------------------------------------------------------- */

static const char *type_of(const json_t *c)
{
    const char *type = json_string_value(json_object_get(c, "type"));

    return type ? type : "";
}

static bool flag_of(const json_t *c, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(c, key);

    return json_is_boolean(v) ? json_boolean_value(v) : otherwise;
}

static bool is_char(const json_t *v)
{
    int32_t c;

    return json_is_string(v) && json_string_length(v) &&
           hone_utf8_get(json_string_value(v), json_string_length(v), &c) == json_string_length(v);
}

static int bad_field(loader *l, const char *where, const char *type, const char *field, const char *what)
{
    return hone_error_set(l->err, HONE_EFORMAT, "%s: %s: '%s' of %s must be %s", l->path, where, field, type,
                          what);
}

/* The pattern of a Replace or a Split: {"String": s} or {"Regex": s}; NULL when it is neither. */
static const json_t *pattern_of(const json_t *c, bool *regex)
{
    const json_t *pattern = json_object_get(c, "pattern"), *r = json_object_get(pattern, "Regex");
    const json_t *s = json_object_get(pattern, "String");

    *regex = json_is_string(r);
    return *regex ? r : json_is_string(s) ? s : NULL;
}

static int load_replace(loader *l, const json_t *c, hone_error *inner)
{
    bool regex;
    const json_t *from = pattern_of(c, &regex), *to = json_object_get(c, "content");

    if (!from)
        return bad_field(l, "normalizer", "Replace", "pattern", "{\"String\"} or {\"Regex\"}");
    if (!json_is_string(to))
        return bad_field(l, "normalizer", "Replace", "content", "a string");
    return hone_normalizer_add(&l->t->normalizer, regex ? HONE_NORMALIZE_REGEX : HONE_NORMALIZE_STRING, 0,
                               json_string_value(from), json_string_length(from), json_string_value(to),
                               json_string_length(to), inner);
}

static int load_precompiled(loader *l, const json_t *c, hone_error *inner)
{
    const json_t *v = json_object_get(c, "precompiled_charsmap");
    hone_buf blob = {0};
    int code;

    if (!json_is_string(v))
        return bad_field(l, "normalizer", "Precompiled", "precompiled_charsmap", "a string");
    code = hone_base64_decode(&blob, json_string_value(v), json_string_length(v), inner);
    if (!code)
        code = hone_normalizer_add(&l->t->normalizer, HONE_NORMALIZE_CHARSMAP, 1, blob.data ? blob.data : "",
                                   blob.len, NULL, 0, inner);
    hone_buf_clear(&blob);
    return code;
}

static int load_normalizer(loader *l, const json_t *c)
{
    static const struct {
        const char *type;
        enum hone_normalizer_kind kind;
        unsigned flags;
    } simple[] = {
        {"NFC", HONE_NORMALIZE_FORM, HONE_NFC},
        {"NFD", HONE_NORMALIZE_FORM, HONE_NFD},
        {"NFKC", HONE_NORMALIZE_FORM, HONE_NFKC},
        {"NFKD", HONE_NORMALIZE_FORM, HONE_NFKD},
        {"Lowercase", HONE_NORMALIZE_LOWERCASE, 0},
        {"StripAccents", HONE_NORMALIZE_STRIP_ACCENTS, 0},
        {"Nmt", HONE_NORMALIZE_NMT, 0},
        {"ByteLevel", HONE_NORMALIZE_BYTE_LEVEL, 0},
    };
    hone_normalizer *n = &l->t->normalizer;
    const char *type = type_of(c);
    const json_t *list = json_object_get(c, "normalizers");
    hone_error inner = HONE_ERROR_INIT;
    size_t i;
    int code = 0;

    if (!strcmp(type, "Sequence")) {
        for (i = 0; i < json_array_size(list) && !code; i++)
            code = load_normalizer(l, json_array_get(list, i));
        return code;
    }
    for (i = 0; i < HONE_COUNT(simple) && strcmp(type, simple[i].type); i++)
        ;
    if (i < HONE_COUNT(simple)) {
        code = hone_normalizer_add(n, simple[i].kind, simple[i].flags, NULL, 0, NULL, 0, &inner);
    } else if (!strcmp(type, "Strip")) {
        code = hone_normalizer_add(n, HONE_NORMALIZE_STRIP,
                                   (flag_of(c, "strip_left", false) ? 1u : 0u) |
                                       (flag_of(c, "strip_right", false) ? 2u : 0u),
                                   NULL, 0, NULL, 0, &inner);
    } else if (!strcmp(type, "Prepend")) {
        const json_t *what = json_object_get(c, "prepend");

        if (!json_is_string(what))
            return bad_field(l, "normalizer", type, "prepend", "a string");
        code = hone_normalizer_add(n, HONE_NORMALIZE_PREPEND, 0, NULL, 0, json_string_value(what),
                                   json_string_length(what), &inner);
    } else if (!strcmp(type, "Replace")) {
        code = load_replace(l, c, &inner);
    } else if (!strcmp(type, "Precompiled")) {
        code = load_precompiled(l, c, &inner);
    } else {
        return unsupported(
            l, "normalizer", type,
            "ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, Prepend, Replace, Sequence, "
            "Strip, StripAccents");
    }
    return with_path(l, code, &inner, "normalizer: ");
}

static int split_behavior(loader *l, const json_t *c, enum hone_behavior *behavior)
{
    static const char *const name[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                       "Contiguous"};
    const char *given = json_string_value(json_object_get(c, "behavior"));
    size_t i;

    for (i = 0; i < HONE_COUNT(name); i++)
        if (given && !strcmp(given, name[i])) {
            *behavior = (enum hone_behavior)i;
            return 0;
        }
    return unsupported(l, "Split behavior", given ? given : "",
                       "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
}

static int load_split(loader *l, const json_t *c, hone_error *inner)
{
    bool invert = flag_of(c, "invert", false), regex;
    const json_t *pattern = pattern_of(c, &regex);
    enum hone_behavior behavior = HONE_SPLIT_ISOLATED;
    int code = split_behavior(l, c, &behavior);

    if (code)
        return code;
    if (!pattern)
        return bad_field(l, "pre_tokenizer", "Split", "pattern", "{\"String\"} or {\"Regex\"}");
    return (regex ? hone_pretoken_add_pattern : hone_pretoken_add_string)(
        &l->t->pretoken, json_string_value(pattern), json_string_length(pattern), behavior, invert, inner);
}

/* How a Metaspace (pre-tokenizer or decoder) prepends. */
static int prepend_scheme(loader *l, const json_t *c, const char *where, enum hone_prepend *prepend)
{
    static const char *const name[] = {"always", "first", "never"};
    const char *given = json_string_value(json_object_get(c, "prepend_scheme"));
    size_t i;

    *prepend = HONE_PREPEND_ALWAYS;
    for (i = 0; given && i < HONE_COUNT(name) && strcmp(given, name[i]); i++)
        ;
    if (given && i == HONE_COUNT(name))
        return unsupported(l, where, given, "the Metaspace prepend_scheme always, first, never");
    if (given)
        *prepend = (enum hone_prepend)i;
    if (!flag_of(c, "add_prefix_space", true)) {
        if (given && *prepend != HONE_PREPEND_NEVER)
            return bad_field(l, where, "Metaspace", "add_prefix_space", "in accord with prepend_scheme");
        *prepend = HONE_PREPEND_NEVER;
    }
    return is_char(json_object_get(c, "replacement"))
               ? 0
               : bad_field(l, where, "Metaspace", "replacement", "a character");
}

static int load_metaspace(loader *l, const json_t *c, hone_error *inner)
{
    const json_t *by = json_object_get(c, "replacement");
    enum hone_prepend prepend;
    int code = prepend_scheme(l, c, "pre_tokenizer", &prepend);

    if (code)
        return code;
    code = hone_pretoken_add_metaspace(&l->t->pretoken, json_string_value(by), json_string_length(by),
                                       prepend, inner);
    if (!code && flag_of(c, "split", true))
        code = hone_pretoken_add_string(&l->t->pretoken, json_string_value(by), json_string_length(by),
                                        HONE_SPLIT_WITH_NEXT, false, inner);
    return code;
}

static int load_pre_tokenizer(loader *l, const json_t *c)
{
    hone_pretoken *p = &l->t->pretoken;
    const char *type = type_of(c);
    hone_error inner = HONE_ERROR_INIT;
    const json_t *list = json_object_get(c, "pretokenizers");
    size_t i;
    int code = 0;

    if (!strcmp(type, "Sequence")) {
        for (i = 0; i < json_array_size(list) && !code; i++)
            code = load_pre_tokenizer(l, json_array_get(list, i));
        return code;
    }
    if (l->byte_level) { /* it is not the last one: what follows sees the spelled bytes */
        l->byte_level = false;
        l->text = true;
        code = hone_pretoken_add_byte_level(p, &inner);
        if (code)
            return with_path(l, code, &inner, "pre_tokenizer: ");
    }
    if (!strcmp(type, "ByteLevel")) {
        l->byte_level = true;
        if (flag_of(c, "add_prefix_space", true))
            code = hone_pretoken_add_prefix_space(p, &inner);
        if (!code && flag_of(c, "use_regex", true))
            code = hone_pretoken_add_scanner(p, "gpt2", HONE_SPLIT_ISOLATED, false, &inner);
    } else if (!strcmp(type, "Digits")) {
        code = hone_pretoken_add_scanner(
            p, "digit", flag_of(c, "individual_digits", false) ? HONE_SPLIT_ISOLATED : HONE_SPLIT_CONTIGUOUS,
            false, &inner);
    } else if (!strcmp(type, "Split")) {
        code = load_split(l, c, &inner);
    } else if (!strcmp(type, "Metaspace")) {
        code = load_metaspace(l, c, &inner);
    } else if (!strcmp(type, "Punctuation")) {
        enum hone_behavior behavior = HONE_SPLIT_ISOLATED;

        if (json_object_get(c, "behavior") && (code = split_behavior(l, c, &behavior)))
            return code;
        code = hone_pretoken_add_scanner(p, "punctuation", behavior, false, &inner);
    } else if (!strcmp(type, "Whitespace")) {
        code = hone_pretoken_add_scanner(p, "words", HONE_SPLIT_REMOVED, true, &inner);
    } else if (!strcmp(type, "WhitespaceSplit") || !strcmp(type, "BertPreTokenizer")) {
        code = hone_pretoken_add_scanner(p, "space", HONE_SPLIT_REMOVED, false, &inner);
        if (!code && type[0] == 'B')
            code = hone_pretoken_add_scanner(p, "punctuation", HONE_SPLIT_ISOLATED, false, &inner);
    } else if (!strcmp(type, "CharDelimiterSplit")) {
        const json_t *delimiter = json_object_get(c, "delimiter");

        if (!is_char(delimiter))
            return bad_field(l, "pre_tokenizer", type, "delimiter", "a character");
        code = hone_pretoken_add_string(p, json_string_value(delimiter), json_string_length(delimiter),
                                        HONE_SPLIT_REMOVED, false, &inner);
    } else {
        return unsupported(
            l, "pre_tokenizer", type,
            "BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, Sequence, "
            "Split, Whitespace, WhitespaceSplit");
    }
    return with_path(l, code, &inner, "pre_tokenizer: ");
}

/* Puts the ids of a special token of a TemplateProcessing where it stands. */
static int template_token(loader *l, const json_t *c, const char *name, int32_t **list, size_t *n)
{
    const json_t *ids = json_object_get(json_object_get(json_object_get(c, "special_tokens"), name), "ids");
    size_t i;
    int code = 0;

    if (!json_is_array(ids))
        return hone_error_set(l->err, HONE_EFORMAT,
                              "%s: post_processor: '%s' is not among its special_tokens", l->path, name);
    for (i = 0; i < json_array_size(ids) && !code; i++) {
        json_int_t id = json_integer_value(json_array_get(ids, i));

        if (id < 0 || id >= l->t->vocab.n)
            return hone_error_set(l->err, HONE_EFORMAT,
                                  "%s: post_processor: id %lld of '%s' is not in the vocabulary", l->path,
                                  (long long)id, name);
        code = hone_tokenizer_push_id(list, n, (int32_t)id, l->err);
    }
    return code;
}

static int load_template(loader *l, const json_t *c)
{
    hone_tokenizer *t = l->t;
    const json_t *single = json_object_get(c, "single");
    size_t i, texts = 0;
    int32_t *before = NULL;
    size_t n_before = 0;
    int code = 0;

    for (i = 0; i < json_array_size(single) && !code; i++) {
        const json_t *item = json_array_get(single, i);
        const char *special = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
        const char *text = json_string_value(json_object_get(json_object_get(item, "Sequence"), "id"));

        if (special)
            code = texts ? template_token(l, c, special, &t->suffix, &t->n_suffix)
                         : template_token(l, c, special, &before, &n_before);
        else if (text && !strcmp(text, "A") && !texts)
            texts++;
        else
            code = hone_error_set(
                l->err, HONE_EUNSUPPORTED,
                "%s: post_processor: a template 'single' must hold special tokens and the text A once",
                l->path);
    }
    if (!code && !texts)
        code = hone_error_set(l->err, HONE_EUNSUPPORTED,
                              "%s: post_processor: the template 'single' lacks the text A", l->path);
    if (code) {
        hone_free(before);
        return code;
    }
    hone_free(t->prefix);
    t->prefix = before;
    t->n_prefix = n_before;
    return 0;
}

/* BertProcessing and RobertaProcessing: cls, text, sep; each [token, id]. */
static int load_cls_sep(loader *l, const json_t *c)
{
    hone_tokenizer *t = l->t;
    json_int_t cls = json_integer_value(json_array_get(json_object_get(c, "cls"), 1));
    json_int_t sep = json_integer_value(json_array_get(json_object_get(c, "sep"), 1));
    int code;

    if (!json_is_array(json_object_get(c, "cls")) || !json_is_array(json_object_get(c, "sep")) || cls < 0 ||
        sep < 0 || cls >= t->vocab.n || sep >= t->vocab.n)
        return hone_error_set(l->err, HONE_EFORMAT, "%s: post_processor: 'cls' and 'sep' must be [token, id]",
                              l->path);
    if (t->n_prefix || t->n_suffix)
        return unsupported(l, "post_processor", type_of(c), "it alone");
    code = hone_tokenizer_push_id(&t->prefix, &t->n_prefix, (int32_t)cls, l->err);
    return code ? code : hone_tokenizer_push_id(&t->suffix, &t->n_suffix, (int32_t)sep, l->err);
}

static int load_post_processor(loader *l, const json_t *c)
{
    const char *type = type_of(c);
    const json_t *list = json_object_get(c, "processors");
    size_t i;
    int code = 0;

    if (!strcmp(type, "ByteLevel")) /* touches offsets alone */
        return 0;
    if (!strcmp(type, "TemplateProcessing"))
        return l->t->n_prefix || l->t->n_suffix ? unsupported(l, "post_processor", type, "it alone")
                                                : load_template(l, c);
    if (!strcmp(type, "BertProcessing") || !strcmp(type, "RobertaProcessing"))
        return load_cls_sep(l, c);
    if (strcmp(type, "Sequence"))
        return unsupported(l, "post_processor", type,
                           "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing");
    for (i = 0; i < json_array_size(list) && !code; i++)
        code = load_post_processor(l, json_array_get(list, i));
    return code;
}

static int load_decoder_replace(loader *l, const json_t *c, hone_error *inner)
{
    bool regex;
    const json_t *from = pattern_of(c, &regex), *to = json_object_get(c, "content");

    if (!from || !json_is_string(to))
        return bad_field(l, "decoder", "Replace", "pattern", "{\"String\"} or {\"Regex\"}, with a content");
    return hone_decoder_add(&l->t->decoder, regex ? HONE_DECODE_REGEX : HONE_DECODE_STRING,
                            json_string_value(from), json_string_length(from), json_string_value(to),
                            json_string_length(to), 0, 0, inner);
}

static int load_decoder(loader *l, const json_t *c)
{
    hone_decoder *d = &l->t->decoder;
    const char *type = type_of(c);
    const json_t *list = json_object_get(c, "decoders"), *v;
    hone_error inner = HONE_ERROR_INIT;
    enum hone_prepend prepend;
    size_t i;
    int code = 0;

    if (!strcmp(type, "Sequence")) {
        for (i = 0; i < json_array_size(list) && !code; i++)
            code = load_decoder(l, json_array_get(list, i));
        return code;
    }
    if (!strcmp(type, "ByteLevel")) {
        code = hone_decoder_add(d, HONE_DECODE_BYTE_LEVEL, "", 0, "", 0, 0, 0, &inner);
    } else if (!strcmp(type, "ByteFallback")) {
        code = hone_decoder_add(d, HONE_DECODE_BYTE_FALLBACK, "", 0, "", 0, 0, 0, &inner);
    } else if (!strcmp(type, "Fuse")) {
        code = hone_decoder_add(d, HONE_DECODE_FUSE, "", 0, "", 0, 0, 0, &inner);
    } else if (!strcmp(type, "Replace")) {
        code = load_decoder_replace(l, c, &inner);
    } else if (!strcmp(type, "Strip")) {
        const json_t *start = json_object_get(c, "start"), *stop = json_object_get(c, "stop");

        v = json_object_get(c, "content");
        if (!is_char(v) || !json_is_integer(start) || !json_is_integer(stop) ||
            json_integer_value(start) < 0 || json_integer_value(stop) < 0)
            return bad_field(l, "decoder", type, "content", "a character, with counts 'start' and 'stop'");
        code = hone_decoder_add(d, HONE_DECODE_STRIP, json_string_value(v), json_string_length(v), "", 0,
                                (size_t)json_integer_value(start), (size_t)json_integer_value(stop), &inner);
    } else if (!strcmp(type, "Metaspace")) {
        code = prepend_scheme(l, c, "decoder", &prepend);
        if (code)
            return code;
        v = json_object_get(c, "replacement");
        code = hone_decoder_add(d, HONE_DECODE_METASPACE, json_string_value(v), json_string_length(v), "", 0,
                                prepend != HONE_PREPEND_NEVER, 0, &inner);
    } else {
        return unsupported(l, "decoder", type,
                           "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip");
    }
    return with_path(l, code, &inner, "decoder: ");
}

static int load_component(loader *l, const extent *e, const char *name,
                          int (*load)(loader *l, const json_t *c))
{
    json_error_t reason;
    json_t *root;
    int code;

    if (is_null(e))
        return 0;
    root = json_loadb(e->text, e->len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &reason);
    if (!root)
        return hone_error_set(
            l->err, json_error_code(&reason) == json_error_out_of_memory ? HONE_ENOMEM : HONE_EFORMAT,
            "%s: %s: %s", l->path, name, reason.text);
    code = json_is_object(root)
               ? load(l, root)
               : hone_error_set(l->err, HONE_EFORMAT, "%s: '%s' must be an object or null", l->path, name);
    json_decref(root);
    return code;
}

/* Joining the tokens' bytes is all that is to be done. */
static bool is_plain(const hone_decoder *d)
{
    size_t i;

    for (i = 1; i < d->n_steps && d->step[i].kind == HONE_DECODE_FUSE; i++)
        ;
    return d->n_steps && i == d->n_steps && d->step[0].kind == HONE_DECODE_BYTE_LEVEL;
}

int hone_tokenizer_load_json(hone_tokenizer *t, const char *path, hone_error *err)
{
    loader l = {.t = t, .path = path, .err = err, .unk_id = -1};
    hone_map map;
    int code = hone_map_open(&map, path, err);

    if (code)
        return code;
    if (map.size > FILE_MAX) {
        code = hone_error_set(err, HONE_ELIMIT, "%s: larger than 1 GiB", path);
        goto out;
    }
    hone_json_open(&l.json, path, (const char *)map.data, map.size, err);
    if ((code = walk_top(&l)) || (code = walk_model(&l)) ||
        (code = load_component(&l, &l.normalizer, "normalizer", load_normalizer)) ||
        (code = load_component(&l, &l.pre_tokenizer, "pre_tokenizer", load_pre_tokenizer)))
        goto out;
    /* A model over bytes is the same as one over the characters that spell them, but faster. */
    t->vocab.verbatim = l.unigram || !l.byte_level || l.text || l.byte_fallback;
    if (l.byte_level && t->vocab.verbatim && (code = hone_pretoken_add_byte_level(&t->pretoken, err)))
        goto out;
    if ((code = load_component(&l, &l.decoder, "decoder", load_decoder)))
        goto out;
    if (!is_null(&l.decoder) && !t->decoder.n_steps && /* an empty Sequence joins without spaces */
        (code = hone_decoder_add(&t->decoder, HONE_DECODE_FUSE, "", 0, "", 0, 0, 0, err)))
        goto out;
    t->decoder.plain_bytes = !t->vocab.verbatim && is_plain(&t->decoder);
    if (l.unigram)
        code = load_unigram(&l);
    else if (!(code = load_vocab(&l)) && !(code = load_merges(&l)))
        code = load_unknown(&l);
    if (code || (code = load_added(&l)))
        goto out;
    if (t->model == &hone_model_text)
        hone_bpe_text_finish(&t->bpe);
    else if (t->model == &hone_model_bytes && (code = hone_bpe_bytes_finish(&t->bpe, err)))
        goto out;
    code = load_component(&l, &l.post_processor, "post_processor", load_post_processor);
out:
    hone_json_close(&l.json);
    hone_map_close(&map);
    return code;
}
