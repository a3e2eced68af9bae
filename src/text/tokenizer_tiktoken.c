/* `.tiktoken` files: lines of a token's bytes in base64, a space, and its rank, which is its id.
 *
 * Joining is by the rank of what comes out, leftmost of equals, and a piece that is a token is that token: BPE over bytes
 * with one merge for each way to cut a token. The file does not say how text is split nor what its special tokens are: that
 * is known by the name of the file, by the class or the pattern that the tokenizer_config.json beside it names, or by the
 * number of ranks where files of that number are all called tokenizer.model. Anything else is refused. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "text/base64.h"
#include "text/tokenizer_impl.h"

#define FILE_MAX ((size_t)1 << 30)

enum { CL100K = 100256, P50K = 50280, R50K = 50256, O200K = 199998, QWEN = 151643, LLAMA3 = 128000 };

/* What is known of a vocabulary. */
typedef struct known {
    const char *word;            /* in the name of the file, or NULL */
    const char *tokenizer_class; /* or NULL */
    const char *scanner;
    bool nfc;
    uint32_t ranks; /* of the original, whose special tokens are known; files of another size get none */
} known;

static const known family[] = {
    {"cl100k", NULL, "tiktoken_cl100k", false, CL100K},
    {"o200k", NULL, "o200k", false, O200K},
    {"p50k", NULL, "gpt2", false, P50K},
    {"r50k", NULL, "gpt2", false, R50K},
    {"gpt2", NULL, "gpt2", false, R50K},
    {"qwen", "QWenTokenizer", "qwen2", true, QWEN},
    {"llama3", "LlamaTokenizer", "llama3", false, LLAMA3},
    {"llama-3", NULL, "llama3", false, LLAMA3},
    {"glm", "ChatGLM4Tokenizer", "llama3", false, 0},
};

static const struct {
    uint32_t ranks;
    const char *text;
    int32_t id;
    bool eos;
} special[] = {
    {CL100K, "<|endoftext|>", 100257, true},        {CL100K, "<|fim_prefix|>", 100258, false},
    {CL100K, "<|fim_middle|>", 100259, false},      {CL100K, "<|fim_suffix|>", 100260, false},
    {CL100K, "<|endofprompt|>", 100276, false},     {O200K, "<|endoftext|>", 199999, true},
    {O200K, "<|endofprompt|>", 200018, false},      {P50K, "<|endoftext|>", 50256, true},
    {R50K, "<|endoftext|>", 50256, true},           {QWEN, "<|endoftext|>", 151643, true},
    {QWEN, "<|im_start|>", 151644, false},          {QWEN, "<|im_end|>", 151645, false},
    {LLAMA3, "<|begin_of_text|>", 128000, false},   {LLAMA3, "<|end_of_text|>", 128001, true},
    {LLAMA3, "<|start_header_id|>", 128006, false}, {LLAMA3, "<|end_header_id|>", 128007, false},
    {LLAMA3, "<|eot_id|>", 128009, false},
};

int hone_tokenizer_find_tiktoken(char **file, const char *folder, hone_error *err)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    char *found = NULL;
    size_t n = 0;

    *file = NULL;
    if (!dir)
        return hone_error_set(err, errno == ENOENT ? HONE_ENOENT : HONE_EIO, "%s: can not read the folder",
                              folder);
    while ((entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);

        if (len > 9 && !strcmp(entry->d_name + len - 9, ".tiktoken") && !n++)
            found = hone_path_join(folder, entry->d_name);
    }
    closedir(dir);
    if (n == 1 && !found)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the tokenizer");
    if (n > 1)
        hone_free(found);
    else
        *file = found;
    return n > 1 ? hone_error_set(err, HONE_EFORMAT, "%s: there is more than one .tiktoken file", folder) : 0;
}

/* Reads the lines into the vocabulary. */
static int read_ranks(hone_tokenizer *t, const char *s, size_t n, hone_error *err)
{
    const char *end = s + n;
    hone_buf bytes = {0};
    size_t line = 1;
    int code = 0;

    for (; s < end && !code; line++) {
        const char *stop = memchr(s, '\n', (size_t)(end - s)), *space, *p;
        hone_error inner = HONE_ERROR_INIT;
        int64_t rank = 0;

        stop = stop ? stop : end;
        if (s == stop) {
            s++;
            continue;
        }
        space = memchr(s, ' ', (size_t)(stop - s));
        bytes.len = 0;
        if (space)
            code = hone_base64_decode(&bytes, s, (size_t)(space - s), &inner);
        for (p = space ? space + 1 : stop; p < stop && *p >= '0' && *p <= '9' && rank < HONE_VOCAB_MAX; p++)
            rank = rank * 10 + (*p - '0');
        if (!code && (!space || p == space + 1 || (p < stop && !(*p == '\r' && p + 1 == stop)) || !bytes.len))
            code = hone_error_set(&inner, HONE_EFORMAT, "a line is a token in base64, a space, and its rank");
        if (!code)
            code = hone_vocab_add_bytes(&t->vocab, rank, bytes.data, bytes.len, &inner);
        if (code)
            hone_error_set(err, code, "line %zu: %s", line, inner.message);
        s = stop < end ? stop + 1 : end;
    }
    hone_buf_clear(&bytes);
    return code;
}

static const known *find_known(const char *path, const json_t *config, uint32_t ranks)
{
    const char *class_name = json_string_value(json_object_get(config, "tokenizer_class"));
    const char *name = strrchr(path, '/');
    size_t i;

    name = name ? name + 1 : path;
    for (i = 0; i < HONE_COUNT(family); i++)
        if (strcasestr(name, family[i].word))
            return &family[i];
    for (i = 0; class_name && i < HONE_COUNT(family); i++)
        if (family[i].tokenizer_class && !strcmp(class_name, family[i].tokenizer_class))
            return &family[i];
    for (i = 0; i < HONE_COUNT(family); i++) /* Llama 3 calls it tokenizer.model */
        if (ranks == LLAMA3 && family[i].ranks == LLAMA3)
            return &family[i];
    return NULL;
}

static int add_special(hone_tokenizer *t, uint32_t ranks, hone_error *err)
{
    size_t i;
    int code = 0;

    for (i = 0; i < HONE_COUNT(special) && !code; i++) {
        hone_added_token token = {
            .id = special[i].id, .text = special[i].text, .len = strlen(special[i].text), .special = true};

        if (special[i].ranks != ranks)
            continue;
        code = hone_vocab_add(&t->vocab, token.id, token.text, token.len, err);
        if (!code)
            code = hone_tokenizer_add(t, &token, err);
        if (!code && special[i].eos)
            code = hone_tokenizer_set_role(t, "eos_token", token.text, token.len, err);
    }
    return code;
}

static int build(hone_tokenizer *t, const char *path, const json_t *config, hone_error *err)
{
    const json_t *pattern = json_object_get(config, "pat_str");
    uint32_t ranks = t->vocab.n_used, i, *rank = NULL;
    const known *k = find_known(path, config, ranks);
    int code = hone_vocab_index(&t->vocab, true, err);

    if (code)
        return code;
    if (!json_is_string(pattern))
        pattern = json_object_get(config, "pattern");
    if (!json_is_string(pattern) && !k)
        return hone_error_set(
            err, HONE_EUNSUPPORTED,
            "how this vocabulary splits text is not known: name the file after it (cl100k, o200k, p50k, "
            "r50k, gpt2, qwen, llama3, glm) or give 'pat_str' in tokenizer_config.json");
    rank = hone_alloc(t->vocab.n * sizeof *rank);
    if (!rank)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the merges");
    for (i = 0; i < t->vocab.n; i++)
        rank[i] = t->vocab.token[i].used ? i : UINT32_MAX;
    code = hone_bpe_init(&t->bpe, &t->vocab, hone_bpe_count_cuts(&t->vocab, rank, false), err);
    if (!code)
        code = hone_bpe_add_cuts(&t->bpe, rank, err);
    hone_free(rank);
    if (!code)
        code = hone_bpe_bytes_finish(&t->bpe, err);
    for (i = 0; i < 256 && !code; i++)
        if (t->bpe.byte_id[i] < 0)
            code = hone_error_set(err, HONE_EFORMAT, "there is no token for byte %u", i);
    if (code)
        return code;
    t->bpe.ignore_merges = true;
    t->model = &hone_model_bytes;
    if (k && k->nfc)
        code = hone_normalizer_add(&t->normalizer, HONE_NORMALIZE_FORM, HONE_NFC, NULL, 0, NULL, 0, err);
    if (!code && json_is_string(pattern))
        code = hone_pretoken_add_pattern(&t->pretoken, json_string_value(pattern),
                                         json_string_length(pattern), HONE_SPLIT_ISOLATED, false, err);
    else if (!code)
        code = hone_pretoken_add_scanner(&t->pretoken, k->scanner, HONE_SPLIT_ISOLATED, false, err);
    if (!code)
        code = hone_decoder_add(&t->decoder, HONE_DECODE_BYTE_LEVEL, "", 0, "", 0, 0, 0, err);
    t->decoder.plain_bytes = true;
    if (!code && k && k->ranks == ranks)
        code = add_special(t, ranks, err);
    return code ? code : hone_tokenizer_apply_config(t, config, path, false, err);
}

int hone_tokenizer_load_tiktoken(hone_tokenizer *t, const char *path, const char *folder, hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    json_t *config = NULL;
    hone_map map;
    int code = hone_map_open(&map, path, err);

    if (code)
        return code;
    if (map.size > FILE_MAX)
        code = hone_error_set(&inner, HONE_ELIMIT, "larger than 1 GiB");
    if (!code)
        code = read_ranks(t, (const char *)map.data, map.size, &inner);
    if (!code)
        code = hone_tokenizer_read_config(&config, folder, &inner);
    if (!code)
        code = build(t, path, config, &inner);
    if (code)
        hone_error_set(err, code, "%s: %s", path, inner.message);
    json_decref(config);
    hone_map_close(&map);
    return code;
}
