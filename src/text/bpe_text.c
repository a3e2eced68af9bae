/* BPE over characters: see bpe.h.
 *
 * A piece is walked once. Characters that the vocabulary lacks are answered one by one; between them, known characters
 * run on as a segment for as long as a merge may join neighbours, and each segment is merged by itself. What is made of
 * unknown characters follows the library to the letter: unknown ones that wait to be fused are written when the next
 * known symbol comes, so bytes of a fallback that stand between them go first. */
#include <string.h>

#include "text/bpe.h"
#include "text/unicode.h"

enum { UNKNOWN, WHOLE, NOT_WHOLE };

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int hone_byte_of_token(const char *s, size_t len)
{
    if (len != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0)
        return -1;
    return hex(s[3]) << 4 | hex(s[4]);
}

static inline int32_t symbol_of(const hone_bpe *b, uint32_t c)
{
    const int32_t *page = b->page[c >> 8];

    return page ? page[c & 255] : -1;
}

/* Sets the symbol of a character; false: out of memory. */
static bool set_symbol(hone_bpe *b, uint32_t c, int32_t id)
{
    int32_t **page = &b->page[c >> 8];

    if (!*page) {
        *page = hone_alloc(256 * sizeof **page);
        if (!*page)
            return false;
        memset(*page, 0xff, 256 * sizeof **page);
    }
    (*page)[c & 255] = id;
    return true;
}

int hone_bpe_text_init(hone_bpe *b, bool byte_fallback, hone_error *err)
{
    const hone_vocab *v = b->vocab;
    uint32_t i;

    b->byte_fallback = byte_fallback;
    b->page = hone_calloc(HONE_CHAR_PAGES, sizeof *b->page);
    b->joint = hone_calloc(1u << (HONE_JOINT_BITS - 6), sizeof *b->joint);
    b->ascii = hone_calloc(128, sizeof *b->ascii);
    if (!b->page || !b->joint || !b->ascii)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
    memset(b->byte_id, 0xff, sizeof b->byte_id);
    for (i = 0; i < v->n; i++) {
        const hone_vocab_token *t = &v->token[i];
        const char *s = v->bytes + t->at;
        int32_t c;
        int byte;

        if (!t->used || !t->len)
            continue;
        if (hone_utf8_get(s, t->len, &c) == t->len && c >= 0 && !set_symbol(b, (uint32_t)c, (int32_t)i))
            return hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
        byte = byte_fallback ? hone_byte_of_token(s, t->len) : -1;
        if (byte >= 0)
            b->byte_id[byte] = (int32_t)i;
    }
    return 0;
}

void hone_bpe_text_clear(hone_bpe *b)
{
    size_t i;

    if (b->page)
        for (i = 0; i < HONE_CHAR_PAGES; i++)
            hone_free(b->page[i]);
    hone_free(b->page);
    hone_free(b->ascii);
}

int32_t hone_bpe_text_symbol(hone_bpe *b, uint32_t c, bool create)
{
    int32_t id = symbol_of(b, c);

    if (id >= 0 || !create)
        return id;
    id = (int32_t)HONE_VOCAB_MAX + b->n_phantoms;
    if (!set_symbol(b, c, id))
        return -2;
    b->n_phantoms++;
    return id;
}

static void fill_ascii(hone_bpe *b)
{
    uint32_t left, right;

    for (left = 0; left < 128; left++)
        for (right = 0; right < 128; right++)
            if (symbol_of(b, left) >= 0 && symbol_of(b, right) >= 0 &&
                hone_joint_get(b, HONE_JOINT_WHOLE, left, right))
                b->ascii[left][right >> 6] |= (uint64_t)1 << (right & 63);
}

void hone_bpe_text_finish(hone_bpe *b)
{
    size_t i, slots = (size_t)1 << b->bits;

    for (i = 0; i < slots; i++) {
        const hone_merge *m = &b->slot[i];
        const hone_vocab_token *t;
        const unsigned char *s, *end;
        int32_t part[2] = {(int32_t)(m->pair >> 32), (int32_t)(uint32_t)m->pair};
        uint32_t last = UINT32_MAX, c;
        int k;

        if (m->pair == UINT64_MAX)
            continue;
        for (k = 0; k < 2; k++) {
            b->uncut |= part[k] == b->unk;
            if (b->byte_fallback && part[k] < (int32_t)HONE_VOCAB_MAX) {
                t = &b->vocab->token[part[k]];
                b->uncut |= hone_byte_of_token(b->vocab->bytes + t->at, t->len) >= 0;
            }
        }
        t = &b->vocab->token[m->id];
        for (s = (const unsigned char *)b->vocab->bytes + t->at, end = s + t->len; s < end; last = c) {
            s += hone_utf8_next(s, &c);
            if (last != UINT32_MAX)
                hone_joint_set(b, HONE_JOINT_WHOLE, last, c);
        }
    }
    fill_ascii(b);
}

/* A piece on its way: unknown bytes that wait to be fused, dropped ones that wait for a token to belong to. */
typedef struct run {
    const hone_bpe *b;
    hone_model_work *w;
    uint32_t waiting, lost;
} run;

static inline void put(run *r, int32_t id, uint32_t len)
{
    r->w->id[r->w->n] = id;
    r->w->len[r->w->n++] = len + r->lost;
    r->lost = 0;
}

static inline void flush(run *r)
{
    if (r->waiting)
        put(r, r->b->unk, r->waiting);
    r->waiting = 0;
}

/* Whether a character that is unknown has a token for each of its bytes. */
static bool falls_back(const hone_bpe *b, const unsigned char *s, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        if (!b->byte_fallback || b->byte_id[s[i]] < 0)
            return false;
    return true;
}

static void unknown(run *r, const unsigned char *s, uint32_t len)
{
    const hone_bpe *b = r->b;
    uint32_t i;

    if (falls_back(b, s, len)) {
        for (i = 0; i < len; i++)
            put(r, b->byte_id[s[i]], 1);
    } else if (b->unk >= 0) {
        if (!b->fuse_unk)
            flush(r);
        r->waiting += len;
    } else if (r->w->n) {
        r->w->len[r->w->n - 1] += len;
    } else {
        r->lost += len;
    }
}

/* Appends merged symbols of which some are no tokens. They lie where their tokens go, so they step aside first. */
static int with_phantoms(run *r, const unsigned char *s, const int32_t *id, const uint32_t *len, size_t n)
{
    int32_t *symbol;
    uint32_t *bytes;
    size_t i;

    if (hone_model_reserve_block(r->w, n * (sizeof *symbol + sizeof *bytes)))
        return HONE_ENOMEM;
    symbol = r->w->block;
    bytes = (uint32_t *)(symbol + n);
    memcpy(symbol, id, n * sizeof *symbol);
    memcpy(bytes, len, n * sizeof *bytes);
    for (i = 0; i < n; s += bytes[i++]) {
        if (symbol[i] >= (int32_t)HONE_VOCAB_MAX) {
            unknown(r, s, bytes[i]);
        } else {
            flush(r);
            put(r, symbol[i], bytes[i]);
        }
    }
    return 0;
}

/* A segment of known characters, behind what w holds. */
static int segment(run *r, const unsigned char *s, size_t n)
{
    const hone_bpe *b = r->b;
    hone_model_work *w = r->w;
    int32_t whole = -1, *id;
    uint32_t *len, c;
    size_t count = 0, i;
    uint64_t h = 0;
    bool phantom = false;

    if (!b->n_phantoms)
        flush(r);
    id = w->id + w->n;
    len = w->len + w->n;
    if (n <= b->vocab->longest) {
        whole = hone_vocab_find(b->vocab, s, n, false);
        if (whole >= 0 && atomic_load_explicit(&b->whole[whole], memory_order_relaxed) == WHOLE) {
            flush(r);
            put(r, whole, (uint32_t)n);
            return 0;
        }
    }
    if (n <= HONE_CACHE_LONGEST) {
        h = hone_hash_bytes(s, n);
        count = hone_piece_cache_get(b->cache, b->vocab, s, n, h, id, len);
    }
    if (!count) {
        for (i = 0; i < n; i += len[count++]) {
            len[count] = hone_utf8_next(s + i, &c);
            id[count] = symbol_of(b, c);
        }
        if (hone_bpe_merge(b, w, id, len, &count))
            return HONE_ENOMEM;
        for (i = 0; i < count; i++)
            phantom |= id[i] >= (int32_t)HONE_VOCAB_MAX;
        if (phantom)
            return with_phantoms(r, s, id, len, count);
        if (whole >= 0)
            atomic_store_explicit(&b->whole[whole], count == 1 && id[0] == whole ? WHOLE : NOT_WHOLE,
                                  memory_order_relaxed);
        if (n <= HONE_CACHE_LONGEST)
            hone_piece_cache_put(b->cache, b->vocab, s, n, h, id, len, count);
    }
    if (r->waiting) {
        memmove(id + 1, id, count * sizeof *id);
        memmove(len + 1, len, count * sizeof *len);
        flush(r);
        len++;
    }
    len[0] += r->lost;
    r->lost = 0;
    w->n += count;
    return 0;
}

/* All symbols of the piece first, then the merges: for vocabularies whose merges reach over bytes. */
static int uncut(run *r, const unsigned char *s, size_t n)
{
    size_t i;
    uint32_t c;
    unsigned len;

    for (i = 0; i < n; i += len) {
        int32_t id;

        len = hone_utf8_next(s + i, &c);
        id = symbol_of(r->b, c);
        if (id < 0) {
            unknown(r, s + i, len);
            continue;
        }
        flush(r);
        put(r, id, len);
    }
    flush(r);
    return hone_bpe_merge(r->b, r->w, r->w->id, r->w->len, &r->w->n);
}

int hone_bpe_text_piece(const hone_bpe *b, hone_model_work *w, const unsigned char *s, size_t n)
{
    run r = {b, w, 0, 0};
    size_t i = 0;

    if (hone_model_reserve(w, n))
        return HONE_ENOMEM;
    w->n = 0;
    if (b->ignore_merges && n <= b->vocab->longest) {
        int32_t id = hone_vocab_find(b->vocab, s, n, false);

        if (id >= 0) {
            put(&r, id, (uint32_t)n);
            return 0;
        }
    }
    if (b->uncut)
        return uncut(&r, s, n);
    while (i < n) {
        uint32_t c, next;
        size_t start = i, one = i + hone_utf8_next(s + i, &c), end = one;
        int32_t first = symbol_of(b, c);

        if (first < 0) {
            /* What is dropped separates nothing: its neighbours may merge. */
            if (b->unk < 0 && !b->n_phantoms && !falls_back(b, s + i, end - i)) {
                w->n = 0;
                r = (run){b, w, 0, 0};
                return uncut(&r, s, n);
            }
            unknown(&r, s + i, (uint32_t)(end - i));
            i = end;
            continue;
        }
        while (end < n) {
            unsigned len;

            if (c < 0x80 && s[end] < 0x80) {
                if (!(b->ascii[c][s[end] >> 6] >> (s[end] & 63) & 1))
                    break;
                c = s[end++];
                continue;
            }
            len = hone_utf8_next(s + end, &next);
            if (!hone_joint_get(b, HONE_JOINT_WHOLE, c, next) || symbol_of(b, next) < 0)
                break;
            end += len;
            c = next;
        }
        if (end == one && first < (int32_t)HONE_VOCAB_MAX) {
            flush(&r);
            put(&r, first, (uint32_t)(end - start));
        } else if (segment(&r, s + start, end - start)) {
            return HONE_ENOMEM;
        }
        i = end;
    }
    flush(&r);
    return 0;
}
