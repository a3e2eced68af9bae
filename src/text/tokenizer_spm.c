/* SentencePiece models (`tokenizer.model`), and what the vocabularies of their kind in GGUF files share with them.
 *
 * The file is a protobuf message; the reader below takes the fields it knows out of it, bounds every length by what holds
 * it, and passes over the rest, as the format demands. Ids are those of SentencePiece: its normaliser (table of characters,
 * blanks, the blank in front) is built of our steps, its merges by score of ranked merges. Control pieces and the unknown
 * one become special added tokens, user-defined ones plain added tokens; only special ones end a section, which is what a
 * blank is put in front of (with `legacy: false` in the configuration, only the text itself). */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_impl.h"

#define FILE_MAX ((size_t)1 << 30)
#define BAR "\xe2\x96\x81"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };
enum { MODEL_UNIGRAM = 1, MODEL_BPE };

/* ---- what is shared ------------------------------------------------------------------------------------------------------ */

typedef struct scored {
    float score;
    uint32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
                                : (x->id > y->id) - (x->id < y->id);
}

int hone_tokenizer_bpe_by_score(hone_tokenizer *t, const float *score, const uint8_t *part,
                                bool byte_fallback, hone_error *err)
{
    const hone_vocab *v = &t->vocab;
    scored *list = hone_alloc(v->n * sizeof *list);
    uint32_t *rank = hone_alloc(v->n * sizeof *rank), i, n = 0, at = 0;
    int32_t unk = t->bpe.unk;
    int code = 0;

    if (!list || !rank) {
        code = hone_error_set(err, HONE_ENOMEM, "out of memory for the merges");
        goto out;
    }
    for (i = 0; i < v->n; i++) {
        rank[i] = UINT32_MAX;
        if (part[i] && !isnan(score[i]))
            list[n++] = (scored){score[i], i};
    }
    if (n)
        qsort(list, n, sizeof *list, by_score);
    for (i = 0; i < n; i++) {
        if (i && list[i].score != list[i - 1].score)
            at = i;
        rank[list[i].id] = at;
    }
    if ((code = hone_bpe_init(&t->bpe, v, hone_bpe_count_cuts(v, rank, true), err)) ||
        (code = hone_bpe_text_init(&t->bpe, byte_fallback, err)) ||
        (code = hone_bpe_add_cuts(&t->bpe, rank, err)))
        goto out;
    t->bpe.unk = unk;
    t->bpe.fuse_unk = true;
    hone_bpe_text_finish(&t->bpe);
    t->model = &hone_model_text;
out:
    hone_free(list);
    hone_free(rank);
    return code;
}

int hone_tokenizer_sentencepiece_decoder(hone_tokenizer *t, bool strip, hone_error *err)
{
    hone_decoder *d = &t->decoder;
    int code;

    if ((code = hone_decoder_add(d, HONE_DECODE_STRING, BAR, 3, " ", 1, 0, 0, err)) ||
        (code = hone_decoder_add(d, HONE_DECODE_BYTE_FALLBACK, "", 0, "", 0, 0, 0, err)) ||
        (code = hone_decoder_add(d, HONE_DECODE_FUSE, "", 0, "", 0, 0, 0, err)))
        return code;
    return strip ? hone_decoder_add(d, HONE_DECODE_STRIP, " ", 1, "", 0, 1, 0, err) : 0;
}

/* ---- the message --------------------------------------------------------------------------------------------------------- */

typedef struct message {
    const uint8_t *at, *end;
    bool bad;
} message;

typedef struct field {
    uint32_t number, wire;
    uint64_t value; /* wire 0: the number; 5: the four bytes */
    message inner;  /* wire 2 */
} field;

static uint64_t read_varint(message *m)
{
    uint64_t v = 0;
    int shift;

    for (shift = 0; shift < 70 && m->at < m->end; shift += 7) {
        uint8_t byte = *m->at++;

        if (shift < 64)
            v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return v;
    }
    m->bad = true;
    return 0;
}

/* The next field; false at the end or when the message is broken. */
static bool next_field(message *m, field *f)
{
    uint64_t key, n = 0;
    uint32_t four;

    if (m->bad || m->at >= m->end)
        return false;
    key = read_varint(m);
    f->number = (uint32_t)(key >> 3);
    f->wire = (uint32_t)(key & 7);
    f->inner = (message){NULL, NULL, false};
    if (f->wire == 0)
        f->value = read_varint(m);
    else if (f->wire == 1)
        n = 8;
    else if (f->wire == 2)
        n = read_varint(m);
    else if (f->wire == 5)
        n = 4;
    else
        m->bad = true; /* groups are long gone */
    if (m->bad || key >> 3 == 0 || key >> 3 > UINT32_MAX || n > (uint64_t)(m->end - m->at)) {
        m->bad = true;
        return false;
    }
    if (f->wire == 5) {
        memcpy(&four, m->at, 4);
        f->value = four;
    }
    f->inner.at = m->at;
    f->inner.end = m->at + n;
    m->at += n;
    return true;
}

/* ---- the model ------------------------------------------------------------------------------------------------------------ */

typedef struct loader {
    hone_tokenizer *t;
    const char *path;
    hone_error *err;
    float *score;
    uint8_t *type;
    uint32_t n, capacity;
    int64_t model_type, unk, bos, eos, pad;
    bool byte_fallback, suffix;
    message charsmap, denormalizer;
    bool dummy_prefix, remove_blanks, escape;
} loader;

static int add_piece(loader *l, message m)
{
    field f;
    message text = {NULL, NULL, false};
    float score = 0;
    uint8_t type = TYPE_NORMAL;
    int code;

    while (next_field(&m, &f)) {
        if (f.number == 1 && f.wire == 2)
            text = f.inner;
        else if (f.number == 2 && f.wire == 5)
            memcpy(&score, &(uint32_t){(uint32_t)f.value}, 4);
        else if (f.number == 3 && f.wire == 0)
            type = (uint8_t)HONE_MIN(f.value, 255u);
    }
    if (m.bad || !text.at)
        return hone_error_set(l->err, HONE_EFORMAT, "piece %u is broken", l->n);
    if (l->n == l->capacity) {
        uint32_t capacity = l->capacity ? l->capacity * 2 : 1024;
        float *scores = hone_realloc_array(l->score, capacity, sizeof *scores);
        uint8_t *types;

        if (scores)
            l->score = scores;
        types = hone_realloc_array(l->type, capacity, 1);
        if (types)
            l->type = types;
        if (!scores || !types)
            return hone_error_set(l->err, HONE_ENOMEM, "out of memory for the vocabulary");
        l->capacity = capacity;
    }
    code = hone_vocab_add(&l->t->vocab, l->n, (const char *)text.at, (size_t)(text.end - text.at), l->err);
    if (code)
        return code;
    l->score[l->n] = score;
    l->type[l->n++] = type;
    return 0;
}

static bool read_trainer(loader *l, message m)
{
    field f;

    while (next_field(&m, &f)) {
        if (f.wire != 0)
            continue;
        switch (f.number) {
        case 3:
            l->model_type = (int64_t)f.value;
            break;
        case 24:
            l->suffix = f.value != 0;
            break;
        case 35:
            l->byte_fallback = f.value != 0;
            break;
        case 40: /* ids may be negative: ten bytes of sign */
            l->unk = (int32_t)f.value;
            break;
        case 41:
            l->bos = (int32_t)f.value;
            break;
        case 42:
            l->eos = (int32_t)f.value;
            break;
        case 43:
            l->pad = (int32_t)f.value;
            break;
        }
    }
    return !m.bad;
}

static bool read_normalizer(message m, message *charsmap, loader *l)
{
    field f;

    while (next_field(&m, &f)) {
        if (f.number == 2 && f.wire == 2)
            *charsmap = f.inner;
        else if (l && f.wire == 0 && f.number == 3)
            l->dummy_prefix = f.value != 0;
        else if (l && f.wire == 0 && f.number == 4)
            l->remove_blanks = f.value != 0;
        else if (l && f.wire == 0 && f.number == 5)
            l->escape = f.value != 0;
    }
    return !m.bad;
}

static int read_model(loader *l, message m)
{
    field f;
    int code = 0;

    while (!code && next_field(&m, &f)) {
        bool good = true;

        if (f.wire != 2)
            continue;
        if (f.number == 1)
            code = add_piece(l, f.inner);
        else if (f.number == 2)
            good = read_trainer(l, f.inner);
        else if (f.number == 3)
            good = read_normalizer(f.inner, &l->charsmap, l);
        else if (f.number == 5)
            good = read_normalizer(f.inner, &l->denormalizer, NULL);
        if (!good)
            code = hone_error_set(l->err, HONE_EFORMAT, "this is no SentencePiece model, or it is damaged");
    }
    if (!code && (m.bad || !l->n))
        code = hone_error_set(l->err, HONE_EFORMAT, "this is no SentencePiece model, or it is damaged");
    return code;
}

/* ---- building ------------------------------------------------------------------------------------------------------------- */

static int build_normalizer(loader *l, const json_t *config)
{
    hone_normalizer *n = &l->t->normalizer;
    const json_t *legacy = json_object_get(config, "legacy"),
                 *prefix = json_object_get(config, "add_prefix_space");
    const char *blank = l->escape ? BAR : " ";
    unsigned where = json_is_false(legacy) ? HONE_PART_STARTS_TEXT : HONE_PART_STARTS_SECTION;
    int code = 0;

    if (l->charsmap.at != l->charsmap.end)
        code = hone_normalizer_add(n, HONE_NORMALIZE_CHARSMAP, 0, (const char *)l->charsmap.at,
                                   (size_t)(l->charsmap.end - l->charsmap.at), NULL, 0, l->err);
    if (!code && l->remove_blanks)
        code = hone_normalizer_add(n, HONE_NORMALIZE_BLANKS, 0, NULL, 0, NULL, 0, l->err);
    if (json_is_false(prefix))
        l->dummy_prefix = false;
    if (!code && l->dummy_prefix)
        code = hone_normalizer_add(n, HONE_NORMALIZE_PREPEND, where, NULL, 0, blank, strlen(blank), l->err);
    if (!code && l->escape)
        code = hone_normalizer_add(n, HONE_NORMALIZE_STRING, 0, " ", 1, BAR, 3, l->err);
    return code;
}

static int build_unigram(loader *l)
{
    hone_tokenizer *t = l->t;
    hone_unigram *u = &t->unigram;
    uint32_t i;

    u->n = l->n;
    u->score = hone_alloc(l->n * sizeof *u->score);
    u->use = hone_alloc(l->n);
    if (!u->score || !u->use)
        return hone_error_set(l->err, HONE_ENOMEM, "out of memory for the vocabulary");
    for (i = 0; i < l->n; i++) {
        u->score[i] = l->score[i];
        u->use[i] = l->type[i] == TYPE_NORMAL         ? HONE_PIECE_NORMAL
                    : l->type[i] == TYPE_USER_DEFINED ? HONE_PIECE_USER
                                                      : HONE_PIECE_UNUSED;
    }
    u->vocab = &t->vocab;
    u->unk = (int32_t)l->unk;
    u->single = true;
    u->byte_fallback = l->byte_fallback;
    t->model = &hone_model_unigram;
    return hone_unigram_build(u, l->err);
}

static int build_model(loader *l)
{
    uint8_t *part;
    uint32_t i;
    int code;

    if (l->model_type == MODEL_UNIGRAM)
        return build_unigram(l);
    part = hone_alloc(l->n);
    if (!part)
        return hone_error_set(l->err, HONE_ENOMEM, "out of memory for the vocabulary");
    for (i = 0; i < l->n; i++)
        part[i] = l->type[i] == TYPE_NORMAL || l->type[i] == TYPE_USER_DEFINED;
    l->t->bpe.unk = (int32_t)l->unk;
    code = hone_tokenizer_bpe_by_score(l->t, l->score, part, l->byte_fallback, l->err);
    hone_free(part);
    return code;
}

static int add_tokens(loader *l)
{
    const hone_vocab *v = &l->t->vocab;
    uint32_t i;
    int code = 0;

    for (i = 0; i < l->n && !code; i++) {
        hone_added_token token = {.id = (int32_t)i, .len = v->token[i].len};
        uint8_t type = l->type[i];

        if (type != TYPE_UNKNOWN && type != TYPE_CONTROL && type != TYPE_USER_DEFINED)
            continue;
        token.special = type != TYPE_USER_DEFINED;
        token.text = v->bytes + v->token[i].at;
        /* what holds the mark of a blank is found in the normalised text, by the model */
        if (token.len && (token.special || !memmem(token.text, token.len, BAR, 3)))
            code = hone_tokenizer_add(l->t, &token, l->err);
    }
    return code;
}

static int set_role(loader *l, const char *name, int64_t id, int32_t *place)
{
    const hone_vocab_token *token;

    if (id < 0 || id >= l->n)
        return 0;
    token = &l->t->vocab.token[id];
    if (place)
        *place = (int32_t)id;
    return hone_tokenizer_set_role(l->t, name, l->t->vocab.bytes + token->at, token->len, l->err);
}

static int build(loader *l, const json_t *config)
{
    hone_tokenizer *t = l->t;
    int code;

    if (l->model_type != MODEL_UNIGRAM && l->model_type != MODEL_BPE)
        return hone_error_set(l->err, HONE_EUNSUPPORTED,
                              "SentencePiece model type %lld is not supported (supported: unigram, BPE)",
                              (long long)l->model_type);
    if (l->suffix)
        return hone_error_set(l->err, HONE_EUNSUPPORTED, "'treat_whitespace_as_suffix' is not supported");
    if (l->denormalizer.at != l->denormalizer.end)
        return hone_error_set(l->err, HONE_EUNSUPPORTED, "a 'denormalizer_spec' is not supported");
    if (l->unk < 0 || l->unk >= l->n)
        return hone_error_set(l->err, HONE_EFORMAT, "there is no unknown piece");
    if ((code = hone_vocab_index(&t->vocab, true, l->err)) || (code = add_tokens(l)) ||
        (code = build_normalizer(l, config)) || (code = build_model(l)) ||
        (code = hone_tokenizer_sentencepiece_decoder(t, l->dummy_prefix, l->err)) ||
        (code = set_role(l, "unk_token", l->unk, NULL)) ||
        (code = set_role(l, "bos_token", l->bos, &t->bos)) ||
        (code = set_role(l, "eos_token", l->eos, &t->eos)) || (code = set_role(l, "pad_token", l->pad, NULL)))
        return code;
    return hone_tokenizer_apply_config(t, config, l->path, t->bos >= 0, l->err);
}

int hone_tokenizer_load_sentencepiece(hone_tokenizer *t, const char *path, const char *folder,
                                      hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    loader l = {.t = t,
                .path = path,
                .err = &inner,
                .model_type = MODEL_UNIGRAM,
                .bos = 1,
                .eos = 2,
                .pad = -1,
                .dummy_prefix = true,
                .remove_blanks = true,
                .escape = true};
    json_t *config = NULL;
    hone_map map;
    int code = hone_map_open(&map, path, err);

    if (code)
        return code;
    t->vocab.verbatim = true;
    if (map.size > FILE_MAX)
        code = hone_error_set(&inner, HONE_ELIMIT, "larger than 1 GiB");
    if (!code)
        code = hone_tokenizer_read_config(&config, folder, &inner);
    if (!code)
        code = read_model(&l, (message){map.data, map.data + map.size, false});
    if (!code)
        code = build(&l, config);
    if (code)
        hone_error_set(err, code, "%s: %s", path, inner.message);
    json_decref(config);
    hone_free(l.score);
    hone_free(l.type);
    hone_map_close(&map);
    return code;
}
