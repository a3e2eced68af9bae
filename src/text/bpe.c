/* BPE: the merges, and the model over bytes; see bpe.h. */
#include <string.h>

#include "text/bpe.h"
#include "text/unicode.h"

#define PROBES 4096
#define SHORT 192         /* symbols up to which a search of the array beats the heap */
#define NO_RANK INT32_MAX /* of a pair that no merge joins; signed, so that SSE2 compares it */

enum { UNKNOWN, WHOLE, NOT_WHOLE };

int hone_bpe_init(hone_bpe *b, const hone_vocab *vocab, size_t n_merges, hone_error *err)
{
    size_t i;

    memset(b, 0, sizeof *b);
    b->vocab = vocab;
    b->unk = -1;
    if (n_merges >= HONE_VOCAB_MAX)
        return hone_error_set(err, HONE_ELIMIT, "%zu merges are more than %u", n_merges, HONE_VOCAB_MAX - 1);
    b->bits = 10;
    while ((size_t)1 << b->bits < n_merges + n_merges / 2)
        b->bits++;
    b->slot = hone_alloc(sizeof *b->slot << b->bits);
    b->whole = hone_calloc(vocab->n, 1);
    b->cache = hone_piece_cache_new();
    if (!b->slot || !b->whole || !b->cache)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the merges");
    memset(b->slot, 0xff, sizeof *b->slot << b->bits);
    for (i = 0; i < 256; i++) {
        char byte = (char)i;

        b->byte_id[i] = hone_vocab_find(vocab, &byte, 1, false);
    }
    return 0;
}

void hone_bpe_clear(hone_bpe *b)
{
    hone_free(b->slot);
    hone_free(b->whole);
    hone_piece_cache_free(b->cache);
    hone_free(b->joint);
    hone_bpe_text_clear(b);
    memset(b, 0, sizeof *b);
}

static inline uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static inline uint32_t pair_slot(const hone_bpe *b, uint64_t pair)
{
    return (uint32_t)(pair * 0x9e3779b97f4a7c15u >> (64 - b->bits));
}

/* The merge of a pair, or NULL. */
static inline const hone_merge *find_merge(const hone_bpe *b, int32_t left, int32_t right)
{
    uint64_t pair = pair_of(left, right);
    uint32_t mask = (1u << b->bits) - 1, i = pair_slot(b, pair);

    for (;; i = (i + 1) & mask) {
        const hone_merge *m = &b->slot[i];

        if (m->pair == pair)
            return m;
        if (m->pair == UINT64_MAX)
            return NULL;
    }
}

int hone_bpe_add_pair(hone_bpe *b, int32_t left, int32_t right, int32_t id, uint32_t rank, hone_error *err)
{
    uint32_t mask = (1u << b->bits) - 1, i, probe;
    uint64_t pair = pair_of(left, right);

    if (b->n_merges + 1 >= (1u << b->bits))
        return hone_error_set(err, HONE_ELIMIT, "more merges than were announced");
    for (i = pair_slot(b, pair), probe = 0; b->slot[i].pair != UINT64_MAX && b->slot[i].pair != pair;
         i = (i + 1) & mask)
        if (++probe >= PROBES)
            return hone_error_set(err, HONE_ELIMIT, "the merges defeat the hash table");
    b->slot[i] = (hone_merge){.pair = pair, .rank = rank, .id = id};
    b->n_merges++;
    b->hash = hone_hash_mix(b->hash ^ pair) + (uint32_t)id + ((uint64_t)rank << 32);
    return 0;
}

int hone_bpe_add_merge(hone_bpe *b, const char *left, size_t left_len, const char *right, size_t right_len,
                       hone_error *err)
{
    char small[512], *bytes = left_len + right_len <= sizeof small ? small : hone_alloc(left_len + right_len);
    bool raw[2];
    size_t n[2];
    int32_t id[3] = {-1, -1, -1};
    uint32_t i;

    if (!bytes)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for a merge");
    n[0] = hone_vocab_unspell(b->vocab, bytes, left, left_len, &raw[0]);
    n[1] = hone_vocab_unspell(b->vocab, bytes + n[0], right, right_len, &raw[1]);
    id[0] = hone_vocab_find(b->vocab, bytes, n[0], raw[0]);
    id[1] = hone_vocab_find(b->vocab, bytes + n[0], n[1], raw[1]);
    if (raw[0] == raw[1]) {
        id[2] = hone_vocab_find(b->vocab, bytes, n[0] + n[1], raw[0]);
    } else { /* the whole is raw, spelled with both spellings */
        memcpy(bytes, left, left_len);
        memcpy(bytes + left_len, right, right_len);
        id[2] = hone_vocab_find(b->vocab, bytes, left_len + right_len, true);
    }
    if (bytes != small)
        hone_free(bytes);
    for (i = 0; i < 3; i++)
        if (id[i] < 0)
            return hone_error_set(
                err, HONE_EFORMAT, "merge %u, '%.*s' with '%.*s': %s is no token of the vocabulary",
                b->n_merges, (int)HONE_MIN(left_len, 100), left, (int)HONE_MIN(right_len, 100), right,
                i == 0   ? "the left part"
                : i == 1 ? "the right part"
                         : "the whole");
    return hone_bpe_add_pair(b, id[0], id[1], id[2], b->n_merges, err);
}

/* Bytes up to which a token is cut in all ways: a bound on the time that a file can ask for. */
#define CUT_LONGEST 4096

/* What a part of a token is: its id, PHANTOM for a single character that is no token, -1. */
#define PHANTOM INT32_MAX

static int32_t part_of(const hone_vocab *v, const uint32_t *rank, bool text, const char *s, size_t n)
{
    int32_t id = hone_vocab_find(v, s, n, false), c;

    if (id >= 0 && rank[id] != UINT32_MAX)
        return id;
    return text && hone_utf8_get(s, n, &c) == n && c >= 0 ? PHANTOM : -1;
}

size_t hone_bpe_count_cuts(const hone_vocab *v, const uint32_t *rank, bool text)
{
    size_t n = 0;
    uint32_t i, k;

    for (i = 0; i < v->n; i++) {
        const hone_vocab_token *t = &v->token[i];
        const char *s = v->bytes + t->at;

        if (!t->used || rank[i] == UINT32_MAX || t->len > CUT_LONGEST)
            continue;
        for (k = 1; k < t->len; k++)
            n += part_of(v, rank, text, s, k) >= 0 && part_of(v, rank, text, s + k, t->len - k) >= 0;
    }
    return n;
}

/* The symbol of a part; -2: out of memory. */
static int32_t part_symbol(hone_bpe *b, const uint32_t *rank, const char *s, size_t n)
{
    int32_t id = part_of(b->vocab, rank, b->page != NULL, s, n), c;

    if (id != PHANTOM)
        return id;
    hone_utf8_get(s, n, &c);
    return hone_bpe_text_symbol(b, (uint32_t)c, true);
}

int hone_bpe_add_cuts(hone_bpe *b, const uint32_t *rank, hone_error *err)
{
    const hone_vocab *v = b->vocab;
    uint32_t i, k;
    int code = 0;

    for (i = 0; i < v->n && !code; i++) {
        const hone_vocab_token *t = &v->token[i];
        const char *s = v->bytes + t->at;

        if (!t->used || rank[i] == UINT32_MAX)
            continue;
        if (t->len > CUT_LONGEST)
            return hone_error_set(err, HONE_ELIMIT, "token %u has %u bytes, more than %d", i, t->len,
                                  CUT_LONGEST);
        for (k = 1; k < t->len && !code; k++) {
            int32_t left = part_symbol(b, rank, s, k);
            int32_t right = left >= 0 ? part_symbol(b, rank, s + k, t->len - k) : left;

            if (left == -2 || right == -2)
                return hone_error_set(err, HONE_ENOMEM, "out of memory for the merges");
            if (left >= 0 && right >= 0)
                code = hone_bpe_add_pair(b, left, right, (int32_t)i, rank[i], err);
        }
    }
    return code;
}

/* The symbols to start from, one per byte; a byte without a token becomes unk, or lengthens its neighbour's share of
 * the text when it is dropped (the first symbol's, if it leads). Room for n symbols must exist. */
static size_t start_symbols(const hone_bpe *b, const unsigned char *s, size_t n, int32_t *id, uint32_t *len)
{
    size_t i, m = 0;
    uint32_t lost = 0;
    bool unknown = false;

    for (i = 0; i < n; i++) {
        int32_t t = b->byte_id[s[i]];

        if (t < 0) {
            if (b->unk < 0) {
                if (m)
                    len[m - 1]++;
                else
                    lost++;
                continue;
            }
            if (unknown && b->fuse_unk) {
                len[m - 1]++;
                continue;
            }
            t = b->unk;
            unknown = true;
        } else {
            unknown = false;
        }
        id[m] = t;
        len[m] = 1 + lost;
        lost = 0;
        m++;
    }
    return m;
}

static size_t merge_short(const hone_bpe *b, int32_t *id, uint32_t *len, size_t n)
{
    int32_t rank[SHORT + 1], joined[SHORT + 1];
    size_t i;

    for (i = 0; i + 1 < n; i++) {
        const hone_merge *m = find_merge(b, id[i], id[i + 1]);

        rank[i] = m ? (int32_t)m->rank : NO_RANK;
        joined[i] = m ? m->id : -1;
    }
    while (n > 1) {
        int32_t best = NO_RANK;
        size_t at = 0, pairs = n - 1;
        const hone_merge *m;

        for (i = 0; i < pairs; i++)
            best = rank[i] < best ? rank[i] : best;
        if (best == NO_RANK)
            break;
        while (rank[at] != best)
            at++;
        id[at] = joined[at];
        len[at] += len[at + 1];
        n--;
        memmove(id + at + 1, id + at + 2, (n - at - 1) * sizeof *id);
        memmove(len + at + 1, len + at + 2, (n - at - 1) * sizeof *len);
        if (at + 1 < n) { /* pair at + 1 moves to at + 1's new place; pair at is looked up anew */
            memmove(rank + at + 1, rank + at + 2, (n - at - 2) * sizeof *rank);
            memmove(joined + at + 1, joined + at + 2, (n - at - 2) * sizeof *joined);
            m = find_merge(b, id[at], id[at + 1]);
            rank[at] = m ? (int32_t)m->rank : NO_RANK;
            joined[at] = m ? m->id : -1;
        }
        if (at) {
            m = find_merge(b, id[at - 1], id[at]);
            rank[at - 1] = m ? (int32_t)m->rank : NO_RANK;
            joined[at - 1] = m ? m->id : -1;
        }
    }
    return n;
}

/* ---- the long algorithm: a linked list of symbols and a heap of rank << 32 | position --------------------------------- */

typedef struct symbol {
    uint32_t prev, next; /* positions; n = none */
    int32_t rank;        /* of the pair that starts here, NO_RANK when none does or the symbol is gone */
    int32_t joined;
} symbol;

static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t i = (*n)++;

    while (i && heap[(i - 1) / 2] > key) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t top = heap[0], key = heap[--*n];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < *n) {
        if (child + 1 < *n && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= key)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = key;
    return top;
}

/* Looks up the pair that starts at i, notes it and queues it. */
static void queue_pair(const hone_bpe *b, const int32_t *id, symbol *sym, uint32_t n, uint32_t i,
                       uint64_t *heap, size_t *n_heap)
{
    const hone_merge *m = sym[i].next < n ? find_merge(b, id[i], id[sym[i].next]) : NULL;

    sym[i].rank = m ? (int32_t)m->rank : NO_RANK;
    if (m) {
        sym[i].joined = m->id;
        heap_push(heap, n_heap, (uint64_t)m->rank << 32 | i);
    }
}

/* The heap holds at most one entry per symbol at the start and two per merge after: below 3 n. An entry is stale when the
 * pair at its position has another rank by now; an equal rank means the same pair again, so it is good. */
static int merge_long(const hone_bpe *b, hone_model_work *w, int32_t *id, uint32_t *len, size_t *count)
{
    uint32_t n = (uint32_t)*count, i, k;
    size_t need, n_heap = 0;
    symbol *sym;
    uint64_t *heap;

    if (__builtin_mul_overflow((size_t)n, 3 * sizeof *heap + sizeof *sym, &need) ||
        hone_model_reserve_block(w, need))
        return HONE_ENOMEM;
    heap = w->block;
    sym = (symbol *)(heap + (size_t)3 * n);
    for (i = 0; i < n; i++) {
        sym[i].prev = i ? i - 1 : n;
        sym[i].next = i + 1;
    }
    for (i = 0; i < n; i++)
        queue_pair(b, id, sym, n, i, heap, &n_heap);
    while (n_heap) {
        uint64_t top = heap_pop(heap, &n_heap);
        uint32_t right;

        i = (uint32_t)top;
        if (sym[i].rank != (int32_t)(top >> 32))
            continue;
        right = sym[i].next;
        id[i] = sym[i].joined;
        len[i] += len[right];
        sym[right].rank = NO_RANK;
        len[right] = 0;
        sym[i].next = sym[right].next;
        if (sym[i].next < n)
            sym[sym[i].next].prev = i;
        queue_pair(b, id, sym, n, i, heap, &n_heap);
        if (sym[i].prev < n)
            queue_pair(b, id, sym, n, sym[i].prev, heap, &n_heap);
    }
    for (i = 0, k = 0; i < n; i = sym[i].next, k++) {
        id[k] = id[i];
        len[k] = len[i];
    }
    *count = k;
    return 0;
}

int hone_bpe_merge(const hone_bpe *b, hone_model_work *w, int32_t *id, uint32_t *len, size_t *n)
{
    if (*n > SHORT)
        return merge_long(b, w, id, len, n);
    *n = merge_short(b, id, len, *n);
    return 0;
}

/* The character at s[0..n), or what a token holds of it: *whole false, and its first byte. */
static size_t whole_char(const unsigned char *s, size_t n, uint32_t *c, bool *whole)
{
    size_t need = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    *whole = need <= n;
    if (*whole)
        return hone_utf8_next(s, c);
    *c = s[0];
    return n;
}

int hone_bpe_bytes_finish(hone_bpe *b, hone_error *err)
{
    size_t i, slots = (size_t)1 << b->bits;

    for (i = 0; i < 256; i++)
        if (b->byte_id[i] < 0) /* unknown bytes may reach over a cut */
            return 0;
    b->joint = hone_calloc(1u << (HONE_JOINT_BITS - 6), sizeof *b->joint);
    if (!b->joint)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the merges");
    for (i = 0; i < slots; i++) {
        const hone_vocab_token *t;
        const unsigned char *s, *end;
        uint32_t left = UINT32_MAX, c;
        unsigned kind = HONE_JOINT_WHOLE;
        bool whole;

        if (b->slot[i].pair == UINT64_MAX)
            continue;
        t = &b->vocab->token[b->slot[i].id];
        s = (const unsigned char *)b->vocab->bytes + t->at;
        end = s + t->len;
        while (s < end && (*s & 0xc0) == 0x80) { /* the end of a character */
            left = *s++;
            kind = HONE_JOINT_LAST;
        }
        while (s < end) {
            size_t k, len = whole_char(s, (size_t)(end - s), &c, &whole);

            for (k = 1; k < len; k++)
                whole &= (s[k] & 0xc0) == 0x80;
            if (!whole) { /* the start of one, or bytes that are none: the first byte stands for it */
                c = *s;
                for (len = 1; s + len < end && (s[len] & 0xc0) == 0x80; len++)
                    ;
            }
            if (left != UINT32_MAX)
                hone_joint_set(b, kind | (whole ? 0u : HONE_JOINT_FIRST), left, c);
            left = whole ? c : s[len - 1];
            kind = whole ? HONE_JOINT_WHOLE : HONE_JOINT_LAST;
            s += len;
        }
    }
    return 0;
}

/* Some merge may join what stands before the character boundary s + at with what stands behind it. */
static inline bool may_join(const hone_bpe *b, const unsigned char *s, size_t at, uint32_t left,
                            uint32_t right)
{
    return (left < 0x80 && right < 0x80) || hone_joint_get(b, HONE_JOINT_WHOLE, left, right) ||
           hone_joint_get(b, HONE_JOINT_LAST, s[at - 1], right) ||
           hone_joint_get(b, HONE_JOINT_FIRST, left, s[at]) ||
           hone_joint_get(b, HONE_JOINT_LAST | HONE_JOINT_FIRST, s[at - 1], s[at]);
}

/* Appends the tokens of a part that no merge reaches out of. Room for n tokens exists. */
static int segment(const hone_bpe *b, hone_model_work *w, const unsigned char *s, size_t n)
{
    int32_t *id = w->id + w->n, whole = n <= b->vocab->longest ? hone_vocab_find(b->vocab, s, n, false) : -1;
    uint32_t *len = w->len + w->n;
    size_t count;

    if (whole >= 0 && atomic_load_explicit(&b->whole[whole], memory_order_relaxed) == WHOLE) {
        id[0] = whole;
        len[0] = (uint32_t)n;
        w->n++;
        return 0;
    }
    count = start_symbols(b, s, n, id, len);
    if (hone_bpe_merge(b, w, id, len, &count))
        return HONE_ENOMEM;
    if (whole >= 0)
        atomic_store_explicit(&b->whole[whole], count == 1 && id[0] == whole ? WHOLE : NOT_WHOLE,
                              memory_order_relaxed);
    w->n += count;
    return 0;
}

static int merge_piece(const hone_bpe *b, hone_model_work *w, const unsigned char *s, size_t n)
{
    size_t start = 0, i;
    uint32_t left, right;

    if (hone_model_reserve(w, n))
        return HONE_ENOMEM;
    w->n = 0;
    if (!b->joint) {
        w->n = start_symbols(b, s, n, w->id, w->len);
        return hone_bpe_merge(b, w, w->id, w->len, &w->n);
    }
    for (i = hone_utf8_next(s, &left); i < n; left = right) {
        unsigned len = hone_utf8_next(s + i, &right);

        if (!may_join(b, s, i, left, right)) {
            if (segment(b, w, s + start, i - start))
                return HONE_ENOMEM;
            start = i;
        }
        i += len;
    }
    return segment(b, w, s + start, n - start);
}

static int one(hone_model_work *w, int32_t id, size_t n)
{
    w->id[0] = id;
    w->len[0] = (uint32_t)n;
    w->n = 1;
    return 0;
}

int hone_bpe_piece(const hone_bpe *b, hone_model_work *w, const unsigned char *s, size_t n)
{
    int code = hone_model_reserve(w, HONE_MIN(n, (size_t)HONE_CACHE_LONGEST));
    uint64_t h;

    if (code)
        return code;
    if (n == 1 && b->byte_id[s[0]] >= 0)
        return one(w, b->byte_id[s[0]], 1);
    if (n <= b->vocab->longest) {
        int32_t id = hone_vocab_find(b->vocab, s, n, false);

        if (id >= 0) {
            uint8_t known = atomic_load_explicit(&b->whole[id], memory_order_relaxed);

            if (b->ignore_merges || known == WHOLE)
                return one(w, id, n);
            if (known == UNKNOWN) {
                code = merge_piece(b, w, s, n);
                if (!code)
                    atomic_store_explicit(&b->whole[id],
                                          w->n == 1 && w->id[0] == id && w->len[0] == n ? WHOLE : NOT_WHOLE,
                                          memory_order_relaxed);
                return code;
            }
        }
    }
    if (n > HONE_CACHE_LONGEST)
        return merge_piece(b, w, s, n);
    h = hone_hash_bytes(s, n);
    w->n = hone_piece_cache_get(b->cache, b->vocab, s, n, h, w->id, w->len);
    if (w->n)
        return 0;
    code = merge_piece(b, w, s, n);
    if (!code)
        hone_piece_cache_put(b->cache, b->vocab, s, n, h, w->id, w->len, w->n);
    return code;
}
