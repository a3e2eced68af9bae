/* The vocabulary of a GGUF file.
 *
 * The file names its pre-tokenizer (`tokenizer.ggml.pre`); what the name stands for is the table below, as the original
 * tokenizers of those families have it, so that ids equal theirs. A name that is not in it is refused: a near miss would
 * change ids in silence. Tokens of type CONTROL and UNKNOWN become special added tokens, USER_DEFINED ones plain added
 * tokens, all matched in the given text. */
#include <string.h>

#include "text/tokenizer_gguf.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

static const hone_gguf_family families[] = {
    {"llama-bpe", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"llama3", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"llama-v3", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"falcon3", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"falcon-h1", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"pixtral", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"midm-2.0", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"lfm2", {"llama3"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"qwen2", {"qwen2"}, HONE_GGUF_NFC},
    {"deepseek-r1-qwen", {"qwen2"}, HONE_GGUF_NFC},
    {"kormo", {"qwen2"}, 0},
    {"f2llmv2", {"qwen2"}, 0},
    {"hunyuan", {"qwen2"}, 0},
    {"solar-open", {"qwen2"}, 0},
    {"grok-2", {"qwen2"}, 0},
    {"megrez", {"qwen2"}, 0},
    {"stablelm2", {"qwen2"}, 0},
    {"qwen35", {"qwen35"}, HONE_GGUF_NFC},
    {"smollm", {"digit", "gpt2"}, 0},
    {"command-r", {"digit", "gpt2"}, 0},
    {"starcoder", {"digit", "gpt2"}, 0},
    {"refact", {"digit", "gpt2"}, 0},
    {"codeshell", {"digit", "gpt2"}, 0},
    {"exaone", {"digit", "gpt2"}, 0},
    {"minerva-7b", {"digit", "gpt2"}, 0},
    {"mellum2", {"digit", "gpt2"}, 0},
    {"gpt-2", {"gpt2"}, 0},
    {"phi-2", {"gpt2"}, 0},
    {"mpt", {"gpt2"}, 0},
    {"olmo", {"gpt2"}, 0},
    {"jais", {"gpt2"}, 0},
    {"gigachat", {"gpt2"}, 0},
    {"a.x-4.0", {"gpt2"}, 0},
    {"mellum", {"gpt2"}, 0},
    {"exaone4", {"gpt2"}, 0},
    {"trillion", {"gpt2"}, 0},
    {"granite-docling", {"gpt2"}, 0},
    {"deepseek-v3", {"numbers3", "cjk", "deepseek3"}, 0},
    {"hunyuan-dense", {"numbers3", "cjk", "deepseek3"}, 0},
    {"joyai-llm", {"numbers3", "cjk", "deepseek3"}, 0},
    {"hy_v4", {"numbers3", "cjk", "deepseek3"}, 0},
    {"tekken", {"tekken"}, HONE_GGUF_IGNORE_MERGES | HONE_GGUF_ADD_BOS},
    {"gpt-4o", {"o200k"}, 0},
    {"llama4", {"o200k"}, 0},
    {"kanana2", {"o200k"}, 0},
    {"talkie", {"o200k"}, 0},
    {"minimax-m2", {"o200k"}, 0},
    {"chatglm-bpe", {"llama3"}, 0},
    {"glm4", {"llama3"}, HONE_GGUF_IGNORE_MERGES},
    {"glm5", {"llama3"}, HONE_GGUF_IGNORE_MERGES},
    {"dbrx", {"llama3"}, 0},
    {"smaug-bpe", {"llama3"}, 0},
};

/* Models over characters, by tokenizer.ggml.model: merges by score, or by rank with lines as pieces. */
static const hone_gguf_family text_models[] = {
    {"llama", {NULL}, HONE_GGUF_TEXT | HONE_GGUF_SCORES | HONE_GGUF_ADD_BOS},
    {"gemma4", {"lines"}, HONE_GGUF_TEXT | HONE_GGUF_ADD_BOS},
};

/* Ids of the file by key, and the role each plays. */
static const struct {
    const char *key, *role;
} roles[] = {
    {"tokenizer.ggml.bos_token_id", "bos_token"},       {"tokenizer.ggml.eos_token_id", "eos_token"},
    {"tokenizer.ggml.eot_token_id", "eot_token"},       {"tokenizer.ggml.eom_token_id", "eom_token"},
    {"tokenizer.ggml.unknown_token_id", "unk_token"},   {"tokenizer.ggml.padding_token_id", "pad_token"},
    {"tokenizer.ggml.seperator_token_id", "sep_token"}, {"tokenizer.ggml.cls_token_id", "cls_token"},
    {"tokenizer.ggml.mask_token_id", "mask_token"},
};

static bool string_is(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && !memcmp(s, word, len);
}

int hone_gguf_family_of(const hone_gguf_family **out, const hone_gguf *g, const char *path, hone_error *err)
{
    const char *s;
    size_t len, i;

    if (!hone_gguf_string(g, "tokenizer.ggml.model", &s, &len))
        return hone_error_set(err, HONE_ENOENT, "%s: it has no vocabulary (tokenizer.ggml.model)", path);
    for (i = 0; i < HONE_COUNT(text_models); i++)
        if (string_is(s, len, text_models[i].pre)) {
            *out = &text_models[i];
            return 0;
        }
    if (!string_is(s, len, "gpt2"))
        return hone_error_set(
            err, HONE_EUNSUPPORTED,
            "%s: tokenizer.ggml.model '%.*s' is not supported (supported: gemma4, gpt2, llama)", path,
            (int)HONE_MIN(len, (size_t)80), s);
    if (!hone_gguf_string(g, "tokenizer.ggml.pre", &s, &len))
        return hone_error_set(err, HONE_EUNSUPPORTED,
                              "%s: it does not name its pre-tokenizer (tokenizer.ggml.pre)", path);
    for (i = 0; i < HONE_COUNT(families); i++)
        if (string_is(s, len, families[i].pre)) {
            *out = &families[i];
            return 0;
        }
    return hone_error_set(
        err, HONE_EUNSUPPORTED,
        "%s: tokenizer.ggml.pre '%.*s' is not supported (supported: llama-bpe, qwen2, qwen35, smollm, "
        "gpt-2, tekken, gpt-4o, deepseek-v3, glm4 and their kin)",
        path, (int)HONE_MIN(len, (size_t)80), s);
}

static int load_tokens(hone_tokenizer *t, const hone_gguf *g, const char *path, hone_error *err)
{
    static const char key[] = "tokenizer.ggml.tokens";
    hone_error inner = HONE_ERROR_INIT;
    size_t n, cursor = 0, len, i = 0;
    const char *s;
    int type, code = 0;

    if (!hone_gguf_array(g, key, &n, &type) || type != HONE_GGUF_STRING)
        return hone_error_set(err, HONE_EFORMAT, "%s: %s must be an array of strings", path, key);
    while (!code && hone_gguf_array_next_string(g, key, &cursor, &s, &len))
        code = hone_vocab_add(&t->vocab, (int64_t)i++, s, len, &inner);
    if (!code && i != n)
        code = hone_error_set(&inner, HONE_EFORMAT, "%zu of %zu tokens are there", i, n);
    if (!code)
        code = hone_vocab_index(&t->vocab, false, &inner);
    return code ? hone_error_set(err, code, "%s: %s: %s", path, key, inner.message) : 0;
}

static int load_merges(hone_tokenizer *t, const hone_gguf *g, const char *path, hone_error *err)
{
    static const char key[] = "tokenizer.ggml.merges";
    hone_error inner = HONE_ERROR_INIT;
    size_t n, cursor = 0, len;
    const char *s;
    int type, code;

    if (!hone_gguf_array(g, key, &n, &type) || type != HONE_GGUF_STRING)
        return hone_error_set(err, HONE_EFORMAT, "%s: %s must be an array of strings", path, key);
    code = hone_bpe_init(&t->bpe, &t->vocab, n, &inner);
    if (!code && t->vocab.verbatim)
        code = hone_bpe_text_init(&t->bpe, true, &inner);
    while (!code && hone_gguf_array_next_string(g, key, &cursor, &s, &len)) {
        const char *space = len ? memchr(s + 1, ' ', len - 1) : NULL; /* a part is never empty */

        if (space)
            code = hone_bpe_add_merge(&t->bpe, s, (size_t)(space - s), space + 1,
                                      len - (size_t)(space + 1 - s), &inner);
        else
            code = hone_error_set(&inner, HONE_EFORMAT, "merge %u '%.*s' holds no space", t->bpe.n_merges,
                                  (int)HONE_MIN(len, (size_t)80), s);
    }
    if (!code && t->bpe.n_merges != n)
        code = hone_error_set(&inner, HONE_EFORMAT, "%u of %zu merges are there", t->bpe.n_merges, n);
    return code ? hone_error_set(err, code, "%s: %s: %s", path, key, inner.message) : 0;
}

/* Merges by score, of the tokens that are text. */
static int load_scores(hone_tokenizer *t, const hone_gguf *g, const char *path, hone_error *err)
{
    static const char key[] = "tokenizer.ggml.scores", types[] = "tokenizer.ggml.token_type";
    hone_error inner = HONE_ERROR_INIT;
    uint32_t n = t->vocab.n, i;
    float *score = hone_alloc(n * sizeof *score);
    uint8_t *part = hone_alloc(n);
    size_t count;
    int64_t kind, unk = -1;
    double value;
    int type, code = 0;

    if (!score || !part)
        code = hone_error_set(&inner, HONE_ENOMEM, "out of memory");
    else if (!hone_gguf_array(g, key, &count, &type) || count != n)
        code = hone_error_set(&inner, HONE_EFORMAT, "%s must hold a number for each token", key);
    for (i = 0; i < n && !code; i++) {
        part[i] =
            !hone_gguf_array_int(g, types, i, &kind) || kind == TYPE_NORMAL || kind == TYPE_USER_DEFINED;
        if (!hone_gguf_array_double(g, key, i, &value))
            code = hone_error_set(&inner, HONE_EFORMAT, "%s must hold a number for each token", key);
        else
            score[i] = (float)value;
    }
    if (!code && hone_gguf_int(g, "tokenizer.ggml.unknown_token_id", &unk) && unk >= 0 && unk < n)
        t->bpe.unk = (int32_t)unk;
    else
        t->bpe.unk = -1;
    if (!code)
        code = hone_tokenizer_bpe_by_score(t, score, part, true, &inner);
    hone_free(score);
    hone_free(part);
    return code ? hone_error_set(err, code, "%s: %s", path, inner.message) : 0;
}

/* What SentencePiece's kind does around the model. */
static int load_blanks(hone_tokenizer *t, const hone_gguf *g, const hone_gguf_family *f, const char *path,
                       hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    bool prefix = (f->flags & HONE_GGUF_SCORES) != 0;
    int code = 0;

    if (f->flags & HONE_GGUF_SCORES)
        hone_gguf_bool(g, "tokenizer.ggml.add_space_prefix", &prefix);
    if (prefix)
        code = hone_normalizer_add(&t->normalizer, HONE_NORMALIZE_PREPEND, 0, NULL, 0, " ", 1, &inner);
    if (!code)
        code =
            hone_normalizer_add(&t->normalizer, HONE_NORMALIZE_STRING, 0, " ", 1, "\xe2\x96\x81", 3, &inner);
    if (!code)
        code = hone_tokenizer_sentencepiece_decoder(t, prefix, &inner);
    return code ? hone_error_set(err, code, "%s: %s", path, inner.message) : 0;
}

/* The spelling of a token, NUL-terminated; NULL: out of memory. */
static char *spelling(const hone_tokenizer *t, int32_t id, size_t *len)
{
    hone_buf b = {0};

    hone_vocab_spell(&t->vocab, id, &b);
    *len = b.len;
    return hone_buf_take(&b);
}

static int load_types(hone_tokenizer *t, const hone_gguf *g, const char *path, hone_error *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    size_t n, i;
    int64_t type;
    int element, code = 0;

    if (!hone_gguf_array(g, key, &n, &element)) /* old files: no token is marked */
        return 0;
    if (n != t->vocab.n)
        return hone_error_set(err, HONE_EFORMAT, "%s: %s has %zu entries for %u tokens", path, key, n,
                              t->vocab.n);
    for (i = 0; i < n && !code; i++) {
        hone_added_token token = {.id = (int32_t)i};

        if (!hone_gguf_array_int(g, key, i, &type))
            return hone_error_set(err, HONE_EFORMAT, "%s: %s must be an array of integers", path, key);
        if (type != TYPE_UNKNOWN && type != TYPE_CONTROL && type != TYPE_USER_DEFINED)
            continue;
        token.special = type != TYPE_USER_DEFINED;
        token.text = spelling(t, token.id, &token.len);
        code = token.text ? hone_tokenizer_add(t, &token, err)
                          : hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
        hone_free((char *)token.text);
    }
    return code;
}

static int load_roles(hone_tokenizer *t, const hone_gguf *g, const char *path, hone_error *err)
{
    size_t i, len;
    int64_t id;
    int code = 0;

    for (i = 0; i < HONE_COUNT(roles) && !code; i++) {
        char *text;

        if (!hone_gguf_int(g, roles[i].key, &id))
            continue;
        if (id < 0 || id >= t->vocab.n) {
            if (id == -1 || id == UINT32_MAX) /* how some writers say "none" */
                continue;
            return hone_error_set(err, HONE_EFORMAT, "%s: %s is %lld, the vocabulary has %u tokens", path,
                                  roles[i].key, (long long)id, t->vocab.n);
        }
        text = spelling(t, (int32_t)id, &len);
        code = text ? hone_tokenizer_set_role(t, roles[i].role, text, len, err)
                    : hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
        hone_free(text);
        if (i == 0)
            t->bos = (int32_t)id;
        if (i == 1)
            t->eos = (int32_t)id;
        if (!code && i >= 1 && i <= 3)
            code = hone_tokenizer_push_eos(t, (int32_t)id, err);
    }
    return code;
}

/* What HONE_ENCODE_SPECIAL adds. */
static int load_frame(hone_tokenizer *t, const hone_gguf *g, const hone_gguf_family *f, const char *path,
                      hone_error *err)
{
    bool add_bos = (f->flags & HONE_GGUF_ADD_BOS) != 0, add_eos = false;
    int code = 0;

    hone_gguf_bool(g, "tokenizer.ggml.add_bos_token", &add_bos);
    hone_gguf_bool(g, "tokenizer.ggml.add_eos_token", &add_eos);
    if ((add_bos && t->bos < 0) || (add_eos && t->eos < 0))
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: tokenizer.ggml.%s_token_id is missing, but the token is to be added", path,
                              add_bos && t->bos < 0 ? "bos" : "eos");
    if (add_bos)
        code = hone_tokenizer_push_id(&t->prefix, &t->n_prefix, t->bos, err);
    if (!code && add_eos)
        code = hone_tokenizer_push_id(&t->suffix, &t->n_suffix, t->eos, err);
    return code;
}

int hone_tokenizer_load_gguf(hone_tokenizer *t, const char *path, hone_error *err)
{
    hone_gguf *g = NULL;
    const hone_gguf_family *f = NULL;
    size_t i;
    int code = hone_gguf_open(&g, path, err);

    if (code)
        return code;
    if ((code = hone_gguf_family_of(&f, g, path, err)))
        goto out;
    t->vocab.verbatim = (f->flags & HONE_GGUF_TEXT) != 0;
    t->model = f->flags & HONE_GGUF_TEXT ? &hone_model_text : &hone_model_bytes;
    if ((code = load_tokens(t, g, path, err)) ||
        (code = f->flags & HONE_GGUF_SCORES ? load_scores(t, g, path, err) : load_merges(t, g, path, err)) ||
        (code = load_types(t, g, path, err)) || (code = load_roles(t, g, path, err)) ||
        (code = load_frame(t, g, f, path, err)))
        goto out;
    if (f->flags & HONE_GGUF_TEXT) {
        code = load_blanks(t, g, f, path, err);
        if (!code && !(f->flags & HONE_GGUF_SCORES)) {
            t->bpe.unk = hone_tokenizer_role_id(t, "unk_token");
            hone_bpe_text_finish(&t->bpe);
        }
    } else {
        code = hone_bpe_bytes_finish(&t->bpe, err);
        if (!code)
            code = hone_decoder_add(&t->decoder, HONE_DECODE_BYTE_LEVEL, "", 0, "", 0, 0, 0, err);
        t->decoder.plain_bytes = true;
    }
    t->bpe.ignore_merges = (f->flags & HONE_GGUF_IGNORE_MERGES) != 0;
    if (!code && f->flags & HONE_GGUF_NFC)
        code = hone_normalizer_add(&t->normalizer, HONE_NORMALIZE_FORM, HONE_NFC, NULL, 0, NULL, 0, err);
    for (i = 0; i < HONE_COUNT(f->scanner) && f->scanner[i] && !code; i++)
        code = hone_pretoken_add_scanner(&t->pretoken, f->scanner[i], HONE_SPLIT_ISOLATED, false, err);
out:
    hone_gguf_close(g);
    return code;
}
