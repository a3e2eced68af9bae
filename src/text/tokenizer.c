/* The public tokenizer: opening, encoding, decoding. The chain of an encoding stands in tokenizer_impl.h. */
#include <string.h>

#include "format/gguf.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

/* A file by its content: GGUF and JSON say what they are; lines of base64 and rank are told from SentencePiece's protobuf
 * by their first line. */
static int open_file(hone_tokenizer *t, const char *path, const char *folder, hone_error *err)
{
    hone_map map;
    size_t i = 0;
    bool json, lines;
    int code;

    if (hone_gguf_is_file(path))
        return hone_tokenizer_load_gguf(t, path, err);
    code = hone_map_open(&map, path, err);
    if (code)
        return code;
    while (i < map.size && (map.data[i] == ' ' || (map.data[i] >= 9 && map.data[i] <= 13)))
        i++;
    json = i == map.size || map.data[i] == '{' || map.data[i] == '[';
    for (i = 0; i < map.size && map.data[i] != ' ' && map.data[i] > 0x20 && map.data[i] < 0x7f; i++)
        ;
    lines = i && i < map.size && map.data[i] == ' ';
    /* a SentencePiece model begins with its first piece: field 1, bytes */
    if (!lines && map.size && map.data[0] != 0x0a)
        json = true;
    hone_map_close(&map);
    return json    ? hone_tokenizer_load_json(t, path, err)
           : lines ? hone_tokenizer_load_tiktoken(t, path, folder, err)
                   : hone_tokenizer_load_sentencepiece(t, path, folder, err);
}

/* The vocabulary of a folder: tokenizer.json, else tokenizer.model, else its only .tiktoken file. */
static int open_folder(hone_tokenizer *t, const char *path, hone_error *err)
{
    static const char *const name[] = {"tokenizer.json", "tokenizer.model"};
    char *file = NULL;
    size_t i;
    int code = 0;

    for (i = 0; i < HONE_COUNT(name) && !file; i++) {
        file = hone_path_join(path, name[i]);
        if (!file)
            return hone_error_set(err, HONE_ENOMEM, "out of memory for the tokenizer");
        if (!hone_path_exists(file)) {
            hone_free(file);
            file = NULL;
        }
    }
    if (!file)
        code = hone_tokenizer_find_tiktoken(&file, path, err);
    if (!code && !file)
        code =
            hone_error_set(err, HONE_ENOENT,
                           "%s: no tokenizer.json, tokenizer.model or .tiktoken file in this folder", path);
    if (!code)
        code = open_file(t, file, path, err);
    if (!code)
        code = hone_tokenizer_load_config(t, path, err);
    hone_free(file);
    return code;
}

int hone_tokenizer_open(hone_tokenizer **out, const char *path, hone_error *err)
{
    hone_tokenizer *t = hone_calloc(1, sizeof *t);
    int code;

    *out = NULL;
    if (!t)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the tokenizer");
    t->bos = t->eos = -1;
    code = hone_path_is_dir(path) ? open_folder(t, path, err) : open_file(t, path, NULL, err);
    if (!code)
        code = hone_tokenizer_finish(t, err);
    if (code) {
        hone_tokenizer_close(t);
        return code;
    }
    *out = t;
    return 0;
}

static void clear_set(hone_added_set *set)
{
    size_t i;

    for (i = 0; i < set->n; i++)
        hone_free(set->entry[i].text);
    hone_free(set->entry);
}

void hone_tokenizer_close(hone_tokenizer *t)
{
    size_t i;

    if (!t)
        return;
    for (i = 0; i < t->n_added; i++)
        hone_free((char *)t->added[i].text);
    for (i = 0; i < t->n_roles; i++) {
        hone_free(t->role[i].name);
        hone_free(t->role[i].text);
    }
    clear_set(&t->in_given);
    clear_set(&t->in_normalized);
    hone_bpe_clear(&t->bpe);
    hone_unigram_clear(&t->unigram);
    hone_vocab_clear(&t->vocab);
    hone_normalizer_clear(&t->normalizer);
    hone_pretoken_clear(&t->pretoken);
    hone_decoder_clear(&t->decoder);
    hone_free(t->added);
    hone_free(t->special);
    hone_free(t->respelled);
    hone_free(t->piece_bytes);
    hone_free(t->piece_end);
    hone_free(t->prefix);
    hone_free(t->suffix);
    hone_free(t->role);
    hone_free(t->eos_id);
    hone_free(t);
}

/* ---- models ---------------------------------------------------------------------------------------------------------------- */

static int bytes_piece(const hone_tokenizer *t, hone_model_work *w, const unsigned char *s, size_t n)
{
    return hone_bpe_piece(&t->bpe, w, s, n);
}

static int text_piece(const hone_tokenizer *t, hone_model_work *w, const unsigned char *s, size_t n)
{
    return hone_bpe_text_piece(&t->bpe, w, s, n);
}

static int unigram_piece(const hone_tokenizer *t, hone_model_work *w, const unsigned char *s, size_t n)
{
    return hone_unigram_piece(&t->unigram, w, s, n);
}

const hone_model_kind hone_model_bytes = {"BPE over bytes", bytes_piece};
const hone_model_kind hone_model_text = {"BPE over characters", text_piece};
const hone_model_kind hone_model_unigram = {"Unigram", unigram_piece};

/* ---- encoding ------------------------------------------------------------------------------------------------------------ */

/* What one call needs. */
typedef struct encoder {
    const hone_tokenizer *t;
    hone_tokens *out;
    size_t first; /* of the tokens of this call in out */
    const hone_span *plain;
    size_t n_plain;
    hone_aligned repaired;
    hone_normalizer_work normal;
    hone_pretoken_work pretoken;
    hone_model_work model;
    hone_error *err;
} encoder;

static int no_memory(encoder *e)
{
    return hone_error_set(e->err, HONE_ENOMEM, "out of memory while encoding a text");
}

static int reserve(hone_tokens *out, size_t more)
{
    size_t capacity = HONE_MAX(out->n + more, HONE_MAX(out->capacity + out->capacity / 2, (size_t)64));
    void *p;

    if (out->n + more <= out->capacity)
        return 0;
    if (!(p = hone_realloc_array(out->id, capacity, sizeof *out->id)))
        return HONE_ENOMEM;
    out->id = p;
    if (!(p = hone_realloc_array(out->begin, capacity, sizeof *out->begin)))
        return HONE_ENOMEM;
    out->begin = p;
    if (!(p = hone_realloc_array(out->end, capacity, sizeof *out->end)))
        return HONE_ENOMEM;
    out->end = p;
    out->capacity = capacity;
    return 0;
}

static int emit(encoder *e, int32_t id, uint32_t begin, uint32_t end)
{
    hone_tokens *out = e->out;

    if (reserve(out, 1))
        return no_memory(e);
    if (out->n >
        e->first) { /* ranges never decrease, even where an added token took white space from its neighbour */
        begin = HONE_MAX(begin, out->begin[out->n - 1]);
        end = HONE_MAX(end, out->end[out->n - 1]);
    }
    out->id[out->n] = id;
    out->begin[out->n] = begin;
    out->end[out->n++] = end;
    return 0;
}

static int encode_piece(void *ud, const hone_view *v)
{
    encoder *e = ud;
    hone_tokens *out = e->out;
    hone_model_work *w = &e->model;
    size_t i, pos = 0;

    if (e->t->model->piece(e->t, w, v->s, v->len) || reserve(out, w->n))
        return no_memory(e);
    for (i = 0; i < w->n; i++) {
        uint32_t begin = hone_view_begin(v, pos), end;

        pos += w->len[i];
        end = hone_view_end(v, pos);
        if (out->n >
            e->first) { /* what a normalizer made of one character may be cut, and get blanks in front */
            begin = HONE_MAX(begin, out->begin[out->n - 1]);
            end = HONE_MAX(end, out->end[out->n - 1]);
        }
        out->id[out->n] = w->id[i];
        out->begin[out->n] = begin;
        out->end[out->n] = end;
        out->n++;
    }
    return 0;
}

/* White space that ends at v->s[to): its start, not before `from`. */
static size_t spaces_before(const hone_view *v, size_t from, size_t to)
{
    while (to > from) {
        size_t i = to - 1;
        uint32_t c;

        while (i > from && (v->s[i] & 0xc0) == 0x80)
            i--;
        hone_utf8_next(v->s + i, &c);
        if (!(hone_unicode_prop_of(c) & HONE_PROP_SPACE))
            break;
        to = i;
    }
    return to;
}

static size_t spaces_after(const hone_view *v, size_t from)
{
    while (from < v->len) {
        uint32_t c;
        unsigned n = hone_utf8_next(v->s + from, &c);

        if (!(hone_unicode_prop_of(c) & HONE_PROP_SPACE))
            break;
        from += n;
    }
    return from;
}

/* A word character stands right before `begin` or right at `end`. */
static bool within_word(const hone_view *v, size_t begin, size_t end)
{
    uint32_t c;

    if (end < v->len) {
        hone_utf8_next(v->s + end, &c);
        if (hone_unicode_prop_of(c) & HONE_PROP_WORD)
            return true;
    }
    if (!begin)
        return false;
    do
        begin--;
    while (begin && (v->s[begin] & 0xc0) == 0x80);
    hone_utf8_next(v->s + begin, &c);
    return (hone_unicode_prop_of(c) & HONE_PROP_WORD) != 0;
}

/* Finds the added tokens of a set in v, hands the gaps between them to `gap`. As the library does it: the search goes on
 * behind the token itself; white space that it takes to its left does not reach into what came before. */
static int split_added(encoder *e, const hone_added_set *set, const hone_view *v,
                       int (*gap)(encoder *e, const hone_view *v, unsigned part))
{
    size_t from = 0, done = 0, begin;
    const struct hone_added_entry *found;
    unsigned where = HONE_PART_STARTS_TEXT | HONE_PART_STARTS_SECTION;
    int code = 0;

    while (!code && (found = hone_added_find(e->t, set, v, from, e->plain, e->n_plain, &begin))) {
        const hone_added_token *token = &e->t->added[found->token];
        size_t end = begin + found->len;
        hone_view part;

        from = end;
        if (token->single_word && within_word(v, begin, end))
            continue;
        if (token->lstrip)
            begin = HONE_MAX(spaces_before(v, 0, begin), done);
        if (token->rstrip)
            end = spaces_after(v, end);
        if (begin > done) {
            part = hone_view_part(v, done, begin);
            code = gap(e, &part, where | (token->special ? HONE_PART_ENDS_SECTION : 0u));
        }
        if (!code && begin < end) /* else the white space that the token before took was all of it */
            code = emit(e, token->id, hone_view_begin(v, begin), hone_view_end(v, end));
        done = end;
        where = token->special ? HONE_PART_STARTS_SECTION : 0;
    }
    if (!code && done < v->len) {
        hone_view part = hone_view_part(v, done, v->len);

        code = gap(e, &part, where | HONE_PART_ENDS_SECTION);
    }
    return code;
}

static int encode_normalized(encoder *e, const hone_view *v, unsigned part)
{
    (void)part;
    return hone_pretoken_run(&e->t->pretoken, &e->pretoken, v, encode_piece, e, e->err);
}

static int encode_gap(encoder *e, const hone_view *v, unsigned part)
{
    hone_view normal;
    int code = hone_normalizer_run(&e->t->normalizer, &e->normal, &normal, v, part, e->err);

    return code ? code : split_added(e, &e->t->in_normalized, &normal, encode_normalized);
}

static int emit_all(encoder *e, const int32_t *id, size_t n, size_t at)
{
    size_t i;
    int code = 0;

    for (i = 0; i < n && !code; i++)
        code = emit(e, id[i], (uint32_t)at, (uint32_t)at);
    return code;
}

int hone_tokenizer_encode(const hone_tokenizer *t, hone_tokens *out, const char *text, size_t len,
                          const hone_span *plain, size_t n_plain, unsigned flags, hone_error *err)
{
    encoder e = {
        .t = t, .out = out, .first = out->n, .plain = plain, .n_plain = plain ? n_plain : 0, .err = err};
    hone_view v;
    int code = 0;

    if (len >= UINT32_MAX)
        return hone_error_set(err, HONE_ELIMIT, "a text of %zu bytes is longer than 4 GiB", len);
    if (flags & HONE_ENCODE_SPECIAL)
        code = emit_all(&e, t->prefix, t->n_prefix, 0);
    if (!code && hone_view_repair(&v, &e.repaired, text, len))
        code = no_memory(&e);
    if (!code)
        code = split_added(&e, &t->in_given, &v, encode_gap);
    if (!code && (flags & HONE_ENCODE_SPECIAL))
        code = emit_all(&e, t->suffix, t->n_suffix, len);
    if (code)
        out->n = e.first;
    hone_aligned_clear(&e.repaired);
    hone_normalizer_work_clear(&e.normal);
    hone_pretoken_work_clear(&e.pretoken);
    hone_model_work_clear(&e.model);
    return code;
}

void hone_tokens_clear(hone_tokens *tokens)
{
    hone_free(tokens->id);
    hone_free(tokens->begin);
    hone_free(tokens->end);
    memset(tokens, 0, sizeof *tokens);
}

/* ---- decoding and questions ------------------------------------------------------------------------------------------------ */

const char *hone_tokenizer_piece(const hone_tokenizer *t, int32_t id, size_t *len)
{
    const hone_vocab_token *v = id >= 0 && (uint32_t)id < t->vocab.n ? &t->vocab.token[id] : NULL;

    if (!v || !v->used) {
        *len = 0;
        return NULL;
    }
    if (t->piece_end) {
        uint32_t begin = id ? t->piece_end[id - 1] : 0;

        *len = t->piece_end[id] - begin;
        return t->piece_bytes + begin;
    }
    *len = v->len;
    return t->vocab.bytes + v->at;
}

void hone_tokenizer_spell(const hone_tokenizer *t, int32_t id, hone_buf *out)
{
    if (t->respelled && t->respelled[id]) {
        const struct hone_added_entry *e = &t->in_normalized.entry[t->respelled[id] - 1];

        hone_buf_add(out, e->text, e->len);
    } else {
        hone_vocab_spell(&t->vocab, id, out);
    }
}

int hone_tokenizer_decode(const hone_tokenizer *t, char **out, size_t *len, const int32_t *ids, size_t n,
                          bool skip_special, hone_error *err)
{
    hone_texts list = {0};
    hone_buf text = {0};
    bool plain = t->decoder.plain_bytes;
    size_t i;
    int code = 0;

    *out = NULL;
    for (i = 0; i < n; i++) {
        size_t piece_len;
        const char *piece = hone_tokenizer_piece(t, ids[i], &piece_len);

        if (!piece || (skip_special && t->special[ids[i]] & HONE_SHOWN_SPECIAL))
            continue;
        if (plain) {
            hone_buf_add(&list.bytes, piece, piece_len);
            continue;
        }
        if (!t->decoder.n_steps && list.n)
            hone_buf_putc(&list.bytes, ' ');
        hone_tokenizer_spell(t, ids[i], &list.bytes);
        hone_texts_close(&list);
    }
    if (!plain)
        code = hone_decoder_run(&t->decoder, &list, false, err);
    if (!code) {
        hone_add_repaired(&text, list.bytes.data ? list.bytes.data : "", list.bytes.len);
        text.failed |= list.bytes.failed;
        if (len)
            *len = text.len;
        *out = hone_buf_take(&text);
        if (!*out)
            code = hone_error_set(err, HONE_ENOMEM, "out of memory while decoding %zu tokens", n);
    }
    hone_texts_clear(&list);
    return code;
}

int32_t hone_tokenizer_vocab_size(const hone_tokenizer *t)
{
    return (int32_t)t->vocab.n;
}

int32_t hone_tokenizer_find(const hone_tokenizer *t, const char *text)
{
    size_t i, len = strlen(text);

    for (i = 0; i < t->n_added; i++)
        if (t->added[i].len == len && !memcmp(t->added[i].text, text, len))
            return t->added[i].id;
    return HONE_MAX(hone_vocab_find_spelling(&t->vocab, text, len), -1);
}

bool hone_tokenizer_is_special(const hone_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.n && t->special[id] & 1;
}

int32_t hone_tokenizer_bos(const hone_tokenizer *t)
{
    return t->bos;
}

int32_t hone_tokenizer_eos(const hone_tokenizer *t)
{
    return t->eos;
}

uint64_t hone_tokenizer_hash(const hone_tokenizer *t)
{
    return t->hash;
}

const hone_added_token *hone_tokenizer_added(const hone_tokenizer *t, size_t *n)
{
    *n = t->n_added;
    return t->added;
}

const char *hone_tokenizer_special_name(const hone_tokenizer *t, size_t i, const char **text)
{
    if (i >= t->n_roles) {
        *text = NULL;
        return NULL;
    }
    *text = t->role[i].text;
    return t->role[i].name;
}

const char *hone_tokenizer_special_text(const hone_tokenizer *t, const char *name)
{
    size_t i;

    for (i = 0; i < t->n_roles; i++)
        if (!strcmp(t->role[i].name, name))
            return t->role[i].text;
    return NULL;
}

const int32_t *hone_tokenizer_eos_ids(const hone_tokenizer *t, size_t *n)
{
    *n = t->n_eos_ids;
    return t->eos_id;
}
