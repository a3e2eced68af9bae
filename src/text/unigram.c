/* Unigram: see unigram.h. */
#include <math.h>
#include <string.h>

#include "text/bpe.h"
#include "text/unicode.h"
#include "text/unigram.h"

#define LONGEST 4096 /* bytes of a token: with the text's length, the bound of the search */
#define MAX_NODES (1u << 24)
#define PROBES 4096
#define PENALTY 10.0

static uint32_t edge_slot(const hone_unigram *u, uint32_t key)
{
    return (uint32_t)((uint64_t)key * 0x9e3779b97f4a7c15u >> (64 - u->bits));
}

static inline uint32_t child(const hone_unigram *u, uint32_t node, unsigned char byte)
{
    uint32_t key = node << 8 | byte, mask = (1u << u->bits) - 1, i = edge_slot(u, key);

    while (u->slot[i].node && u->slot[i].key != key)
        i = (i + 1) & mask;
    return u->slot[i].node;
}

/* Adds the path of a token. The table has room. */
static int add_path(hone_unigram *u, int32_t id, hone_error *err)
{
    const hone_vocab_token *t = &u->vocab->token[id];
    uint32_t node = 0, k, mask = (1u << u->bits) - 1;

    for (k = 0; k < t->len; k++) {
        uint32_t key = node << 8 | (unsigned char)u->vocab->bytes[t->at + k], i = edge_slot(u, key),
                 probe = 0;

        while (u->slot[i].node && u->slot[i].key != key) {
            i = (i + 1) & mask;
            if (++probe >= PROBES)
                return hone_error_set(err, HONE_ELIMIT, "the vocabulary defeats the hash table");
        }
        if (!u->slot[i].node) {
            u->slot[i] = (hone_trie_slot){key, u->n_nodes};
            u->node_id[u->n_nodes++] = -1;
        }
        node = u->slot[i].node;
    }
    u->node_id[node] = id;
    return 0;
}

int hone_unigram_build(hone_unigram *u, hone_error *err)
{
    const hone_vocab *v = u->vocab;
    size_t bytes = 1;
    uint32_t i;
    int code = 0;

    memset(u->byte_id, 0xff, sizeof u->byte_id);
    u->lowest = INFINITY;
    u->highest = -INFINITY;
    for (i = 0; i < v->n; i++) {
        int byte = hone_byte_of_token(v->bytes + v->token[i].at, v->token[i].len);

        if (!v->token[i].used)
            continue;
        if (byte >= 0)
            u->byte_id[byte] = (int32_t)i;
        if (u->use[i] == HONE_PIECE_NORMAL) {
            u->lowest = HONE_MIN(u->lowest, u->score[i]);
            u->highest = HONE_MAX(u->highest, u->score[i]);
        }
        if (u->use[i] == HONE_PIECE_UNUSED)
            continue;
        if (v->token[i].len > LONGEST)
            return hone_error_set(err, HONE_ELIMIT, "token %u has %u bytes, more than %d", i, v->token[i].len,
                                  LONGEST);
        bytes += v->token[i].len;
    }
    if (bytes > MAX_NODES)
        return hone_error_set(err, HONE_ELIMIT, "the vocabulary holds more than %u bytes", MAX_NODES);
    for (u->bits = 8; (size_t)1 << u->bits < bytes + bytes / 2; u->bits++)
        ;
    u->slot = hone_calloc((size_t)1 << u->bits, sizeof *u->slot);
    u->node_id = hone_alloc(bytes * sizeof *u->node_id);
    u->cache = hone_piece_cache_new();
    if (!u->slot || !u->node_id || !u->cache)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the vocabulary");
    u->node_id[0] = -1;
    u->n_nodes = 1;
    for (i = 0; i < v->n && !code; i++)
        if (v->token[i].used && v->token[i].len && u->use[i] != HONE_PIECE_UNUSED)
            code = add_path(u, (int32_t)i, err);
    return code;
}

void hone_unigram_clear(hone_unigram *u)
{
    hone_free(u->score);
    hone_free(u->use);
    hone_free(u->slot);
    hone_free(u->node_id);
    hone_piece_cache_free(u->cache);
    memset(u, 0, sizeof *u);
}

/* The best way to reach a byte. */
typedef struct place {
    double sum;
    uint32_t from; /* UINT32_MAX: not reached */
    int32_t id;
} place;

static inline void reach(const hone_unigram *u, place *p, double before, double score, uint32_t from,
                         int32_t id)
{
    double sum = u->single ? (double)((float)score + (float)before) : score + before;

    if (p->from != UINT32_MAX && !(sum > p->sum))
        return;
    p->sum = sum;
    p->from = from;
    p->id = id;
}

static void search(const hone_unigram *u, place *best, const unsigned char *s, uint32_t n)
{
    double unknown = u->single ? (double)((float)u->lowest - (float)PENALTY) : u->lowest - PENALTY;
    uint32_t i, k;

    for (i = 0; i <= n; i++)
        best[i] = (place){0, UINT32_MAX, -1};
    for (i = 0; i < n;) {
        double sum = best[i].sum;
        uint32_t c, node = 0, one = hone_utf8_next(s + i, &c);
        bool alone = false; /* the character is a token */

        for (k = i; k < n && (node = child(u, node, s[k]));) {
            int32_t id = u->node_id[node];

            k++;
            if (id < 0)
                continue;
            reach(u, &best[k], sum, u->use[id] == HONE_PIECE_USER ? (k - i) * u->highest - 0.1 : u->score[id],
                  i, id);
            alone |= k - i == one;
        }
        if (!alone)
            reach(u, &best[i + one], sum, unknown, i, u->unk);
        i += one;
    }
}

/* Appends, from behind, the tokens of s[from..to), of which the search knew nothing. */
static void put_unknown(const hone_unigram *u, hone_model_work *w, const unsigned char *s, uint32_t from,
                        uint32_t to)
{
    int32_t id = u->single ? -1 : hone_vocab_find(u->vocab, s + from, to - from, false);
    bool all = u->byte_fallback && id < 0;
    uint32_t i;

    for (i = from; i < to && all; i++)
        all = u->byte_id[s[i]] >= 0;
    for (i = to; i-- > from && all;) {
        w->id[w->n] = u->byte_id[s[i]];
        w->len[w->n++] = 1;
    }
    if (!all) {
        w->id[w->n] = id >= 0 ? id : u->unk;
        w->len[w->n++] = to - from;
    }
}

int hone_unigram_piece(const hone_unigram *u, hone_model_work *w, const unsigned char *s, size_t n)
{
    uint32_t end = (uint32_t)n, i;
    uint64_t h = 0;
    place *best;
    size_t k;

    if (hone_model_reserve(w, n))
        return HONE_ENOMEM;
    if (n <= HONE_CACHE_LONGEST) {
        h = hone_hash_bytes(s, n);
        w->n = hone_piece_cache_get(u->cache, u->vocab, s, n, h, w->id, w->len);
        if (w->n)
            return 0;
    }
    if (hone_model_reserve_block(w, (n + 1) * sizeof *best))
        return HONE_ENOMEM;
    best = w->block;
    search(u, best, s, (uint32_t)n);
    w->n = 0;
    while (end) {
        i = best[end].from;
        if (best[end].id == u->unk) {
            while (i && best[i].id == u->unk)
                i = best[i].from;
            put_unknown(u, w, s, i, end);
        } else {
            w->id[w->n] = best[end].id;
            w->len[w->n++] = end - i;
        }
        end = i;
    }
    for (k = 0; k < w->n / 2; k++) {
        int32_t id = w->id[k];
        uint32_t len = w->len[k];

        w->id[k] = w->id[w->n - 1 - k];
        w->len[k] = w->len[w->n - 1 - k];
        w->id[w->n - 1 - k] = id;
        w->len[w->n - 1 - k] = len;
    }
    if (n <= HONE_CACHE_LONGEST)
        hone_piece_cache_put(u->cache, u->vocab, s, n, h, w->id, w->len, w->n);
    return 0;
}
