/* A model's tokenizer as files beside a checkpoint that was written anew.
 *
 * Of a folder, its files are copied. A GGUF file holds a vocabulary and the name of a pre-tokenizer: byte-level BPE becomes
 * a tokenizer.json; SentencePiece's kind becomes a tokenizer.model, which that vocabulary once was, since its merges follow
 * from scores. tokenizer_config.json names the special tokens, and chat templates get files of their own. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/json.h"
#include "text/tokenizer_gguf.h"

#define COPY_LIMIT ((size_t)1 << 30)
#define TEMPLATE_KEY "tokenizer.chat_template"
#define MORE_TEMPLATES "additional_chat_templates"

static const char *const files[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",  "vocab.json",
    "merges.txt",     "tokenizer.model",       "chat_template.jinja",     "chat_template.json", NULL,
};

/* ---- a folder's files ----------------------------------------------------------------------------------------------- */

/* from/name to to/name when it is there. */
static int copy_file(const char *from, const char *to, const char *name, hone_error *err)
{
    char *source = hone_path_join(from, name), *target = hone_path_join(to, name), *bytes = NULL;
    size_t n;
    int rc = 0;

    if (!source || !target)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", to);
    else if (hone_path_exists(source) && !(rc = hone_file_read(&bytes, &n, source, COPY_LIMIT, err)))
        rc = hone_file_write(target, bytes, n, err);
    hone_free(bytes);
    hone_free(source);
    hone_free(target);
    return rc;
}

static int is_shown(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static int copy_folder(const char *from, const char *to, hone_error *err)
{
    char *more = hone_path_join(from, MORE_TEMPLATES), *target = hone_path_join(to, MORE_TEMPLATES),
         *tiktoken = NULL;
    struct dirent **entry = NULL;
    int n = 0, i, rc = 0;

    if (!more || !target)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", to);
    for (i = 0; !rc && files[i]; i++)
        rc = copy_file(from, to, files[i], err);
    if (!rc)
        rc = hone_tokenizer_find_tiktoken(&tiktoken, from, err);
    if (!rc && tiktoken)
        rc = copy_file(from, to, strrchr(tiktoken, '/') + 1, err);
    if (!rc && hone_path_is_dir(more) && !(rc = hone_mkdirs(target, err)))
        n = scandir(more, &entry, is_shown, alphasort);
    for (i = 0; i < n; i++) {
        if (!rc)
            rc = copy_file(more, target, entry[i]->d_name, err);
        free(entry[i]);
    }
    free(entry);
    hone_free(tiktoken);
    hone_free(more);
    hone_free(target);
    return rc;
}

static void remove_file(const char *dir, const char *name)
{
    char *path = hone_path_join(dir, name);

    if (path)
        unlink(path);
    hone_free(path);
}

void hone_tokenizer_remove_files(const char *dir)
{
    char *more = hone_path_join(dir, MORE_TEMPLATES), *tiktoken = NULL;
    struct dirent **entry = NULL;
    int n, i;

    for (i = 0; files[i]; i++)
        remove_file(dir, files[i]);
    if (!hone_tokenizer_find_tiktoken(&tiktoken, dir, NULL) && tiktoken)
        unlink(tiktoken);
    n = more && hone_path_is_dir(more) ? scandir(more, &entry, is_shown, alphasort) : 0;
    for (i = 0; i < n; i++) {
        remove_file(more, entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    if (more)
        rmdir(more);
    hone_free(tiktoken);
    hone_free(more);
}

/* ---- parts of both kinds -------------------------------------------------------------------------------------------- */

typedef struct source {
    const hone_gguf *g;
    const hone_gguf_family *f;
    const hone_tokenizer *t; /* the same file, opened */
    const char *dir;
    hone_error *err;
} source;

static int no_memory(const source *s)
{
    return hone_error_set(s->err, HONE_ENOMEM, "%s: out of memory", s->dir);
}

static int write_bytes(const source *s, const char *name, const void *bytes, size_t n)
{
    char *path = hone_path_join(s->dir, name);
    int rc = path ? hone_file_write(path, bytes, n, s->err) : no_memory(s);

    hone_free(path);
    return rc;
}

/* Takes doc; NULL: jansson had no memory, or was given a text that is no UTF-8, which no opened vocabulary holds. */
static int write_json(const source *s, const char *name, json_t *doc, size_t flags)
{
    hone_buf b = {0};
    int rc;

    if (doc)
        hone_json_dump(&b, doc, flags);
    rc = !doc || b.failed ? no_memory(s) : write_bytes(s, name, b.data, b.len);
    hone_buf_clear(&b);
    json_decref(doc);
    return rc;
}

static json_t *spelling(const source *s, int32_t id)
{
    hone_buf b = {0};
    json_t *text = NULL;

    hone_vocab_spell(&s->t->vocab, id, &b);
    if (!b.failed)
        text = json_stringn(b.data ? b.data : "", b.len);
    hone_buf_clear(&b);
    return text;
}

static int write_config(const source *s, bool sentencepiece)
{
    json_t *doc = json_pack("{s:s, s:b}", "tokenizer_class",
                            sentencepiece ? "LlamaTokenizer" : "PreTrainedTokenizerFast",
                            "clean_up_tokenization_spaces", 0);
    const char *name, *text;
    size_t i;
    int failed = 0;

    for (i = 0; (name = hone_tokenizer_special_name(s->t, i, &text)); i++)
        failed |= json_object_set_new(doc, name, json_string(text));
    if (sentencepiece) {
        failed |= json_object_set_new(doc, "add_bos_token", json_boolean(s->t->n_prefix > 0));
        failed |= json_object_set_new(doc, "add_eos_token", json_boolean(s->t->n_suffix > 0));
    }
    if (failed) {
        json_decref(doc);
        return no_memory(s);
    }
    return write_json(s, "tokenizer_config.json", doc, JSON_INDENT(2) | JSON_SORT_KEYS);
}

/* The default template, and the named ones that a file name can stand for. */
static int write_templates(const source *s)
{
    const size_t n_key = strlen(TEMPLATE_KEY);
    const char *key, *text;
    size_t i, n, len;
    int type, rc = 0;

    if (hone_gguf_string(s->g, TEMPLATE_KEY, &text, &len))
        rc = write_bytes(s, "chat_template.jinja", text, len);
    for (i = 0; i < hone_gguf_n_keys(s->g) && !rc; i++) {
        char full[256], name[300];
        char *folder;

        hone_gguf_key(s->g, i, &key, &n, &type);
        if (type != HONE_GGUF_STRING || n <= n_key + 1 || n >= sizeof full ||
            memcmp(key, TEMPLATE_KEY ".", n_key + 1) || memchr(key, '/', n))
            continue;
        memcpy(full, key, n);
        full[n] = 0;
        snprintf(name, sizeof name, MORE_TEMPLATES "/%s.jinja", full + n_key + 1);
        folder = hone_path_join(s->dir, MORE_TEMPLATES);
        rc = folder ? hone_mkdirs(folder, s->err) : no_memory(s);
        hone_free(folder);
        if (!rc && hone_gguf_string(s->g, full, &text, &len))
            rc = write_bytes(s, name, text, len);
    }
    return rc;
}

/* ---- tokenizer.json -------------------------------------------------------------------------------------------------- */

static json_t *added_tokens(const source *s)
{
    json_t *list = json_array();
    const hone_added_token *added;
    size_t n, i;

    added = hone_tokenizer_added(s->t, &n);
    for (i = 0; i < n; i++)
        if (json_array_append_new(list, json_pack("{s:i, s:s#, s:b, s:b, s:b, s:b, s:b}", "id",
                                                  (int)added[i].id, "content", added[i].text, added[i].len,
                                                  "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                                  "special", (int)added[i].special))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* The scanners one by one, then bytes to characters. */
static json_t *pre_tokenizer(const source *s)
{
    json_t *steps = json_array(), *step;
    size_t i;
    int failed = 0;

    for (i = 0; i < HONE_COUNT(s->f->scanner) && s->f->scanner[i]; i++) {
        const hone_scanner *scanner = hone_scanner_by_name(s->f->scanner[i]);

        step = *scanner->pattern ? json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                                             scanner->pattern, "behavior", "Isolated", "invert", 0)
                                 : json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1);
        failed |= json_array_append_new(steps, step);
    }
    failed |=
        json_array_append_new(steps, json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel",
                                               "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 0));
    if (failed) {
        json_decref(steps);
        return NULL;
    }
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

/* Appends ids of the frame to both parts of a TemplateProcessing. */
static int add_frame(const source *s, json_t *single, json_t *special, const int32_t *id, size_t n)
{
    size_t i;
    int failed = 0;

    for (i = 0; i < n; i++) {
        json_t *text = spelling(s, id[i]);

        failed |= json_array_append_new(
            single, json_pack("{s:{s:O, s:i}}", "SpecialToken", "id", text, "type_id", 0));
        failed |= json_object_set_new(
            special, json_string_value(text),
            json_pack("{s:O, s:[i], s:[O]}", "id", text, "ids", (int)id[i], "tokens", text));
        json_decref(text);
    }
    return failed;
}

static json_t *post_processor(const source *s)
{
    json_t *single = json_array(), *special = json_object();
    int failed;

    if (!s->t->n_prefix && !s->t->n_suffix) {
        json_decref(single);
        json_decref(special);
        return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets",
                         0, "use_regex", 1);
    }
    failed = add_frame(s, single, special, s->t->prefix, s->t->n_prefix) |
             json_array_append_new(single, json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0)) |
             add_frame(s, single, special, s->t->suffix, s->t->n_suffix);
    if (failed) {
        json_decref(single);
        json_decref(special);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:o}", "type", "TemplateProcessing",
                     "single", single, "pair", "Sequence", "id", "A", "type_id", 0, "Sequence", "id", "B",
                     "type_id", 1, "special_tokens", special);
}

/* Equal spellings: the larger id stays, as where the file is read. */
static json_t *vocabulary(const source *s)
{
    json_t *vocab = json_object();
    int32_t id, n = hone_tokenizer_vocab_size(s->t);

    for (id = 0; id < n; id++) {
        json_t *text = spelling(s, id);
        int failed =
            json_object_setn_new(vocab, json_string_value(text), json_string_length(text), json_integer(id));

        json_decref(text);
        if (failed) {
            json_decref(vocab);
            return NULL;
        }
    }
    return vocab;
}

/* Pairs, so that a part may hold anything. */
static json_t *merges(const source *s)
{
    json_t *list = json_array();
    size_t cursor = 0, len;
    const char *m;

    while (hone_gguf_array_next_string(s->g, "tokenizer.ggml.merges", &cursor, &m, &len)) {
        const char *space = memchr(m + 1, ' ', len - 1); /* one that could be opened has it in every merge */

        if (json_array_append_new(list, json_pack("[s#, s#]", m, (size_t)(space - m), space + 1,
                                                  len - (size_t)(space + 1 - m)))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static int write_bpe(const source *s)
{
    json_t *nfc = s->f->flags & HONE_GGUF_NFC ? json_pack("{s:s}", "type", "NFC") : json_null();
    json_t *model = json_pack(
        "{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges",
        (s->f->flags & HONE_GGUF_IGNORE_MERGES) != 0, "vocab", vocabulary(s), "merges", merges(s));

    return write_json(s, "tokenizer.json",
                      json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:{s:s, s:b, s:b, s:b}, s:o}", "version",
                                "1.0", "truncation", "padding", "added_tokens", added_tokens(s), "normalizer",
                                nfc, "pre_tokenizer", pre_tokenizer(s), "post_processor", post_processor(s),
                                "decoder", "type", "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1,
                                "use_regex", 1, "model", model),
                      JSON_INDENT(0));
}

/* ---- tokenizer.model -------------------------------------------------------------------------------------------------- */

/* Protocol buffers: a field is number << 3 | wire type, then a varint (0), four bytes (5), or length and bytes (2). Numbers
 * from sentencepiece_model.proto. */
static void put_varint(hone_buf *b, uint64_t v)
{
    for (; v > 127; v >>= 7)
        hone_buf_putc(b, (char)(v | 128));
    hone_buf_putc(b, (char)v);
}

static void put_number(hone_buf *b, unsigned field, int64_t v)
{
    put_varint(b, field << 3);
    put_varint(b, (uint64_t)v);
}

static void put_bytes(hone_buf *b, unsigned field, const void *bytes, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
    hone_buf_add(b, bytes, n);
}

/* ModelProto.pieces: text, score, kind; GGUF numbers the kinds as SentencePiece does. */
static void put_piece(const source *s, hone_buf *model, int32_t id)
{
    hone_buf text = {0}, piece = {0};
    double score = 0;
    int64_t kind = 1;
    float value;

    hone_vocab_spell(&s->t->vocab, id, &text);
    hone_gguf_array_double(s->g, "tokenizer.ggml.scores", (size_t)id, &score);
    hone_gguf_array_int(s->g, "tokenizer.ggml.token_type", (size_t)id, &kind);
    value = (float)score;
    put_bytes(&piece, 1, text.data ? text.data : "", text.len);
    put_varint(&piece, 2 << 3 | 5);
    hone_buf_add(&piece, &value, sizeof value);
    put_number(&piece, 3, kind);
    put_bytes(model, 1, piece.data, piece.len);
    model->failed |= text.failed | piece.failed;
    hone_buf_clear(&text);
    hone_buf_clear(&piece);
}

static int write_sentencepiece(const source *s)
{
    enum { MODEL_BPE = 2 };
    hone_buf model = {0}, trainer = {0}, normalizer = {0};
    bool prefix = true;
    int32_t id;
    int rc;

    for (id = 0; id < hone_tokenizer_vocab_size(s->t); id++)
        put_piece(s, &model, id);
    put_number(&trainer, 3, MODEL_BPE);
    put_number(&trainer, 35, 1); /* byte_fallback */
    put_number(&trainer, 40, hone_tokenizer_role_id(s->t, "unk_token"));
    put_number(&trainer, 41, s->t->bos);
    put_number(&trainer, 42, s->t->eos);
    put_number(&trainer, 43, hone_tokenizer_role_id(s->t, "pad_token"));
    hone_gguf_bool(s->g, "tokenizer.ggml.add_space_prefix", &prefix);
    put_bytes(&normalizer, 1, "identity", 8);
    put_number(&normalizer, 3, prefix); /* add_dummy_prefix */
    put_number(&normalizer, 4, 0);      /* remove_extra_whitespaces */
    put_number(&normalizer, 5, 1);      /* escape_whitespaces */
    put_bytes(&model, 2, trainer.data, trainer.len);
    put_bytes(&model, 3, normalizer.data, normalizer.len);
    rc = model.failed || trainer.failed || normalizer.failed
             ? no_memory(s)
             : write_bytes(s, "tokenizer.model", model.data, model.len);
    hone_buf_clear(&model);
    hone_buf_clear(&trainer);
    hone_buf_clear(&normalizer);
    return rc;
}

static int export_gguf(const char *path, const char *dir, hone_error *err)
{
    hone_tokenizer *t = NULL;
    hone_gguf *g = NULL;
    source s = {.dir = dir, .err = err};
    bool sentencepiece;
    int rc = hone_tokenizer_open(&t, path, err);

    if (!rc)
        rc = hone_gguf_open(&g, path, err);
    if (!rc)
        rc = hone_gguf_family_of(&s.f, g, path, err);
    if (rc)
        goto out;
    s.t = t;
    s.g = g;
    sentencepiece = (s.f->flags & HONE_GGUF_SCORES) != 0;
    if ((s.f->flags & HONE_GGUF_TEXT) && !sentencepiece) {
        rc = hone_error_set(
            err, HONE_EUNSUPPORTED,
            "%s: a tokenizer of the kind '%s' can not be written as tokenizer files; put those of the "
            "model's Hugging Face folder into %s",
            path, s.f->pre, dir);
        goto out;
    }
    if (!(rc = sentencepiece ? write_sentencepiece(&s) : write_bpe(&s)) &&
        !(rc = write_config(&s, sentencepiece)))
        rc = write_templates(&s);
out:
    hone_gguf_close(g);
    hone_tokenizer_close(t);
    return rc;
}

int hone_tokenizer_export(const char *path, const char *dir, hone_error *err)
{
    int rc = hone_mkdirs(dir, err);

    if (rc)
        return rc;
    return hone_path_is_dir(path) ? copy_folder(path, dir, err) : export_gguf(path, dir, err);
}
