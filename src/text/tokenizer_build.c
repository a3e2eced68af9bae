/* Building a tokenizer from its parts, and the search for added tokens. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_impl.h"

int hone_tokenizer_push_id(int32_t **list, size_t *n, int32_t id, hone_error *err)
{
    int32_t *grown = hone_realloc_array(*list, *n + 1, sizeof *grown);

    if (!grown)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the tokenizer");
    grown[(*n)++] = id;
    *list = grown;
    return 0;
}

int hone_tokenizer_push_eos(hone_tokenizer *t, int32_t id, hone_error *err)
{
    size_t i;

    for (i = 0; i < t->n_eos_ids; i++)
        if (t->eos_id[i] == id)
            return 0;
    return id < 0 ? 0 : hone_tokenizer_push_id(&t->eos_id, &t->n_eos_ids, id, err);
}

int hone_tokenizer_add(hone_tokenizer *t, const hone_added_token *token, hone_error *err)
{
    hone_added_token copy = *token;

    t->added = hone_grow(t->added, &t->added_capacity, t->n_added + 1, sizeof *t->added);
    if (t->n_added == t->added_capacity)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the added tokens");
    copy.text = hone_strndup(token->text, token->len);
    if (!copy.text)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the added tokens");
    t->added[t->n_added++] = copy;
    return 0;
}

int hone_tokenizer_set_role(hone_tokenizer *t, const char *name, const char *text, size_t len,
                            hone_error *err)
{
    hone_role *grown, *r = NULL;
    char *copy = hone_strndup(text, len);
    size_t i;

    if (!copy)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the special tokens");
    for (i = 0; i < t->n_roles; i++)
        if (!strcmp(t->role[i].name, name))
            r = &t->role[i];
    if (r) {
        hone_free(r->text);
        r->text = copy;
        return 0;
    }
    grown = hone_realloc_array(t->role, t->n_roles + 1, sizeof *grown);
    if (grown) {
        t->role = grown;
        r = &grown[t->n_roles];
        r->name = hone_strdup(name);
    }
    if (!r || !r->name) {
        hone_free(copy);
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the special tokens");
    }
    r->text = copy;
    t->n_roles++;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    const hone_added_token *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int by_bytes(const void *a, const void *b)
{
    const struct hone_added_entry *x = a, *y = b;
    int order = memcmp(x->text, y->text, HONE_MIN(x->len, y->len));

    return order ? order : (x->len > y->len) - (x->len < y->len);
}

int hone_tokenizer_search_text(const hone_tokenizer *t, const hone_added_token *token, char **text,
                               size_t *len, hone_error *err)
{
    hone_view v = {(const unsigned char *)token->text, token->len, NULL, NULL, 0};
    hone_normalizer_work work = {0};
    int code = 0;

    *text = NULL;
    if (token->normalized)
        code = hone_normalizer_run(&t->normalizer, &work, &v, &v,
                                   HONE_PART_STARTS_TEXT | HONE_PART_STARTS_SECTION | HONE_PART_ENDS_SECTION,
                                   err);
    if (!code) {
        *text = hone_strndup((const char *)v.s, v.len);
        *len = v.len;
        if (!*text)
            code = hone_error_set(err, HONE_ENOMEM, "out of memory for the added tokens");
    }
    hone_normalizer_work_clear(&work);
    return code;
}

static int build_set(hone_tokenizer *t, hone_added_set *set, bool normalized, hone_error *err)
{
    size_t i, n = 0, first_bytes = 0;
    int b, code = 0;

    for (i = 0; i < t->n_added; i++)
        n += t->added[i].normalized == normalized;
    set->only = -1;
    if (!n)
        return 0;
    set->entry = hone_calloc(n, sizeof *set->entry);
    if (!set->entry)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the added tokens");
    for (i = 0; i < t->n_added && !code; i++) {
        struct hone_added_entry *e = &set->entry[set->n];

        if (t->added[i].normalized != normalized || !t->added[i].len)
            continue; /* an empty token is never found */
        e->token = (uint32_t)i;
        code = hone_tokenizer_search_text(t, &t->added[i], &e->text, &e->len, err);
        if (!code && !e->len) { /* the normalizer leaves nothing of it to be found */
            hone_free(e->text);
            continue;
        }
        set->n += !code;
    }
    if (code)
        return code;
    qsort(set->entry, set->n, sizeof *set->entry, by_bytes);
    for (b = 0, i = 0; b < 256; b++) {
        set->first[b] = (uint32_t)i;
        while (i < set->n && (unsigned char)set->entry[i].text[0] == b)
            i++;
        if (i > set->first[b]) {
            first_bytes++;
            set->only = b;
        }
    }
    set->first[256] = (uint32_t)i;
    if (first_bytes != 1)
        set->only = -1;
    return 0;
}

static bool touches_plain(const hone_view *v, size_t begin, size_t end, const hone_span *plain, size_t n)
{
    size_t low = 0, high = n, from = hone_view_begin(v, begin), to = hone_view_end(v, end);

    while (low < high) { /* the first range that ends behind the start of the match */
        size_t mid = (low + high) / 2;

        if (plain[mid].end > from)
            high = mid;
        else
            low = mid + 1;
    }
    while (low < n && plain[low].begin == plain[low].end)
        low++;
    return low < n && plain[low].begin < to;
}

/* The longest allowed entry that starts at v->s[at]; entries are sorted, so those that share the bytes read so far are a
 * range, which each further byte narrows. */
static const struct hone_added_entry *match_at(const hone_tokenizer *t, const hone_added_set *set,
                                               const hone_view *v, size_t at, const hone_span *plain,
                                               size_t n_plain)
{
    const struct hone_added_entry *best = NULL;
    size_t low = set->first[v->s[at]], high = set->first[v->s[at] + 1], depth;

    for (depth = 1; low < high; depth++) {
        size_t a, b;
        unsigned char c;

        if (set->entry[low].len == depth) {
            const struct hone_added_entry *e = &set->entry[low++];

            if (!(n_plain && t->added[e->token].special && touches_plain(v, at, at + depth, plain, n_plain)))
                best = e;
            while (low < high && set->entry[low].len == depth)
                low++;
        }
        if (at + depth >= v->len)
            break;
        c = v->s[at + depth];
        for (a = low, b = high; a < b;) {
            size_t mid = (a + b) / 2;

            if ((unsigned char)set->entry[mid].text[depth] < c)
                a = mid + 1;
            else
                b = mid;
        }
        low = a;
        for (b = high; a < b;) {
            size_t mid = (a + b) / 2;

            if ((unsigned char)set->entry[mid].text[depth] <= c)
                a = mid + 1;
            else
                b = mid;
        }
        high = a;
    }
    return best;
}

const struct hone_added_entry *hone_added_find(const hone_tokenizer *t, const hone_added_set *set,
                                               const hone_view *v, size_t from, const hone_span *plain,
                                               size_t n_plain, size_t *begin)
{
    size_t i = from;

    if (!set->n)
        return NULL;
    for (; i < v->len; i++) {
        const struct hone_added_entry *e;

        if (set->only >= 0) {
            const unsigned char *p = memchr(v->s + i, set->only, v->len - i);

            if (!p)
                return NULL;
            i = (size_t)(p - v->s);
        } else if (set->first[v->s[i]] == set->first[v->s[i] + 1]) {
            continue;
        }
        e = match_at(t, set, v, i, plain, n_plain);
        if (e) {
            *begin = i;
            return e;
        }
    }
    return NULL;
}

static uint64_t hash_number(uint64_t h, uint64_t n)
{
    return hone_hash64(h, &n, sizeof n);
}

static uint64_t hash_ids(uint64_t h, const int32_t *id, size_t n)
{
    return hone_hash64(hash_number(h, n), id, n * sizeof *id);
}

static uint64_t hash_all(const hone_tokenizer *t)
{
    uint64_t h = 0;
    size_t i;

    for (i = 0; i < t->vocab.n; i++) {
        const hone_vocab_token *v = &t->vocab.token[i];

        h = hone_hash_mix(h ^ (v->len | (uint64_t)v->used << 32 | (uint64_t)v->raw << 33));
        h = hone_hash_mix(h ^ hone_hash_bytes(t->vocab.bytes + v->at, v->len));
    }
    h = hash_number(h, t->bpe.hash);
    h = hash_number(h, (uint64_t)t->bpe.ignore_merges | (uint64_t)t->bpe.fuse_unk << 1 |
                           (uint64_t)(uint32_t)t->bpe.unk << 32);
    h = hone_hash64(h, t->model->name, strlen(t->model->name));
    h = hash_number(h, (uint64_t)t->vocab.verbatim | (uint64_t)t->bpe.byte_fallback << 1 |
                           (uint64_t)t->unigram.byte_fallback << 2 | (uint64_t)t->unigram.single << 3 |
                           (uint64_t)(uint32_t)t->unigram.unk << 32);
    for (i = 0; t->unigram.score && i < t->unigram.n; i++) {
        h = hone_hash64(h, &t->unigram.score[i], sizeof t->unigram.score[i]);
        h = hone_hash_mix(h ^ t->unigram.use[i]);
    }
    h = hone_hash64(h, t->normalizer.identity.data, t->normalizer.identity.len);
    h = hone_hash64(h, t->pretoken.identity.data, t->pretoken.identity.len);
    h = hone_hash64(h, t->decoder.identity.data, t->decoder.identity.len);
    for (i = 0; i < t->n_added; i++) {
        const hone_added_token *a = &t->added[i];

        h = hash_number(h, (uint64_t)a->id << 8 | (uint64_t)a->special | (uint64_t)a->single_word << 1 |
                               (uint64_t)a->lstrip << 2 | (uint64_t)a->rstrip << 3 |
                               (uint64_t)a->normalized << 4);
        h = hone_hash64(h, a->text, a->len);
    }
    h = hash_ids(h, t->prefix, t->n_prefix);
    return hash_ids(h, t->suffix, t->n_suffix);
}

int32_t hone_tokenizer_role_id(const hone_tokenizer *t, const char *name)
{
    const char *text = hone_tokenizer_special_text(t, name);

    return text ? hone_tokenizer_find(t, text) : -1;
}

static bool is_special_text(const hone_tokenizer *t, const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < t->n_added; i++)
        if (t->added[i].special && t->added[i].len == len && !memcmp(t->added[i].text, text, len))
            return true;
    return false;
}

/* Added tokens whose text, normalised, is another than the model's spelling: decoding shows the normalised one, and, as in
 * the library, what it shows decides whether it is skipped as special. */
static int find_respelled(hone_tokenizer *t, hone_error *err)
{
    hone_buf own = {0};
    size_t i;

    for (i = 0; i < t->in_normalized.n; i++) {
        const struct hone_added_entry *e = &t->in_normalized.entry[i];
        int32_t id = t->added[e->token].id;

        if (t->special[id] || e->len != t->added[e->token].len ||
            memcmp(e->text, t->added[e->token].text, e->len))
            t->special[id] = (uint8_t)((t->special[id] & 1) |
                                       (is_special_text(t, e->text, e->len) ? HONE_SHOWN_SPECIAL : 0));
        own.len = 0;
        hone_vocab_spell(&t->vocab, id, &own);
        if (own.failed)
            break;
        if (own.len == e->len && !memcmp(own.data, e->text, e->len))
            continue;
        if (!t->respelled && !(t->respelled = hone_calloc(t->vocab.n, sizeof *t->respelled)))
            break;
        t->respelled[id] = (uint32_t)i + 1;
    }
    hone_buf_clear(&own);
    return i == t->in_normalized.n ? 0
                                   : hone_error_set(err, HONE_ENOMEM, "out of memory for the added tokens");
}

/* What each token adds to a stream, where that is not the bytes of the vocabulary. */
static int write_pieces(hone_tokenizer *t, hone_error *err)
{
    hone_buf all = {.limit = UINT32_MAX};
    uint32_t i;
    int code = 0;

    if ((t->decoder.plain_bytes || !t->decoder.n_steps) && !t->respelled)
        return 0;
    t->piece_end = hone_alloc(t->vocab.n * sizeof *t->piece_end);
    if (!t->piece_end)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
    for (i = 0; i < t->vocab.n && !code; i++) {
        hone_texts one = {0};

        if (t->vocab.token[i].used) {
            hone_tokenizer_spell(t, (int32_t)i, &one.bytes);
            hone_texts_close(&one);
            code = hone_decoder_run(&t->decoder, &one, true, err);
            hone_buf_add(&all, one.bytes.data ? one.bytes.data : "", one.bytes.len);
        }
        t->piece_end[i] = (uint32_t)all.len;
        hone_texts_clear(&one);
    }
    if (!code && all.failed)
        code = hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
    if (code || !all.len) {
        hone_buf_clear(&all);
        if (!code && !(t->piece_bytes = hone_strdup("")))
            code = hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
        return code;
    }
    t->piece_bytes = hone_buf_take(&all);
    return 0;
}

int hone_tokenizer_finish(hone_tokenizer *t, hone_error *err)
{
    size_t i;
    int code;

    if (t->n_added) /* qsort must not be given NULL */
        qsort(t->added, t->n_added, sizeof *t->added, by_id);
    t->special = hone_calloc(t->vocab.n, 1);
    if (!t->special)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the added tokens");
    for (i = 0; i < t->n_added; i++)
        if (t->added[i].special)
            t->special[t->added[i].id] = 1 | HONE_SHOWN_SPECIAL;
    if ((code = build_set(t, &t->in_given, false, err)) ||
        (code = build_set(t, &t->in_normalized, true, err)) || (code = find_respelled(t, err)) ||
        (code = write_pieces(t, err)))
        return code;
    if (t->bos < 0)
        t->bos = hone_tokenizer_role_id(t, "bos_token");
    if (t->eos < 0)
        t->eos = hone_tokenizer_role_id(t, "eos_token");
    if (t->eos >= 0 && (code = hone_tokenizer_push_eos(t, t->eos, err)))
        return code;
    for (i = 1; i < t->n_eos_ids; i++) /* the eos token comes first */
        if (t->eos_id[i] == t->eos) {
            memmove(t->eos_id + 1, t->eos_id, i * sizeof *t->eos_id);
            t->eos_id[0] = t->eos;
        }
    t->hash = hash_all(t);
    return 0;
}
