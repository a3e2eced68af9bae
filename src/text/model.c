/* Work areas and the cache of pieces: see model.h. */
#include <stdatomic.h>
#include <string.h>

#include "text/model.h"

#define CACHE_SLOTS (1u << 16)
#define CACHE_BYTES ((size_t)8 << 20) /* touched only as far as entries fill it */
#define SMALLEST 192                  /* tokens */

/* An entry: {u32 hash tag, u16 bytes, u16 tokens}, ids, bytes; 4-byte aligned in one block. */
struct hone_piece_cache {
    _Atomic uint32_t slot[CACHE_SLOTS]; /* offset of an entry in 4-byte units; 0 none */
    _Atomic size_t used;                /* 4-byte units taken */
    uint32_t *block;
};

void hone_model_work_clear(hone_model_work *w)
{
    hone_free(w->id);
    hone_free(w->len);
    hone_free(w->block);
    memset(w, 0, sizeof *w);
}

int hone_model_reserve(hone_model_work *w, size_t n)
{
    size_t capacity = HONE_MAX(n, (size_t)SMALLEST);
    int32_t *id;
    uint32_t *len;

    if (n <= w->capacity)
        return 0;
    id = hone_realloc_array(w->id, capacity, sizeof *id);
    if (id)
        w->id = id;
    len = hone_realloc_array(w->len, capacity, sizeof *len);
    if (len)
        w->len = len;
    if (!id || !len)
        return HONE_ENOMEM;
    w->capacity = capacity;
    return 0;
}

int hone_model_reserve_block(hone_model_work *w, size_t n)
{
    void *block;

    if (n <= w->block_size)
        return 0;
    block = hone_realloc(w->block, n);
    if (!block)
        return HONE_ENOMEM;
    w->block = block;
    w->block_size = n;
    return 0;
}

hone_piece_cache *hone_piece_cache_new(void)
{
    hone_piece_cache *c = hone_calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->block = hone_alloc(CACHE_BYTES);
    if (!c->block) {
        hone_free(c);
        return NULL;
    }
    atomic_init(&c->used, 1);
    return c;
}

void hone_piece_cache_free(hone_piece_cache *c)
{
    if (c)
        hone_free(c->block);
    hone_free(c);
}

size_t hone_piece_cache_get(const hone_piece_cache *c, const hone_vocab *vocab, const unsigned char *s,
                            size_t n, uint64_t h, int32_t *id, uint32_t *len)
{
    uint32_t at = atomic_load_explicit(&c->slot[h & (CACHE_SLOTS - 1)], memory_order_acquire), i, tokens;
    const uint32_t *e = c->block + at;

    if (!at || e[0] != (uint32_t)(h >> 32) || (e[1] & 0xffff) != n)
        return 0;
    tokens = e[1] >> 16;
    if (memcmp(e + 2 + tokens, s, n))
        return 0;
    for (i = 0; i < tokens; i++) {
        id[i] = (int32_t)e[2 + i];
        len[i] = vocab->token[id[i]].len;
    }
    return tokens;
}

void hone_piece_cache_put(hone_piece_cache *c, const hone_vocab *vocab, const unsigned char *s, size_t n,
                          uint64_t h, const int32_t *id, const uint32_t *len, size_t tokens)
{
    size_t units = 2 + tokens + (n + 3) / 4, at, i, total = 0;

    for (i = 0; i < tokens; i++) {
        if (len[i] != vocab->token[id[i]].len)
            return; /* an entry can not tell the lengths of unknown bytes */
        total += len[i];
    }
    if (total != n || atomic_load_explicit(&c->used, memory_order_relaxed) + units > CACHE_BYTES / 4)
        return;
    at = atomic_fetch_add_explicit(&c->used, units, memory_order_relaxed);
    if (at + units > CACHE_BYTES / 4)
        return;
    c->block[at] = (uint32_t)(h >> 32);
    c->block[at + 1] = (uint32_t)(tokens << 16 | n);
    memcpy(c->block + at + 2, id, tokens * sizeof *id);
    memcpy(c->block + at + 2 + tokens, s, n);
    atomic_store_explicit(&c->slot[h & (CACHE_SLOTS - 1)], (uint32_t)at, memory_order_release);
}
