/* What the models share: memory for the tokens of a piece, and a cache of pieces.
 *
 * A model turns one piece of text into tokens. It writes them to a work area of the caller, so that a model itself never
 * changes and may serve many threads; only the cache is written to, without locks: it grows to a bound, and an entry is
 * written once, then published, so that a reader sees it whole. */
#ifndef HONE_TEXT_MODEL_H
#define HONE_TEXT_MODEL_H

#include "text/vocab_table.h"

/* What a run of pieces needs; zero-initialise, hone_model_work_clear frees. One per thread or call. */
typedef struct hone_model_work {
    int32_t *id;   /* the tokens of the last piece, in order */
    uint32_t *len; /* bytes of the piece each stands for */
    size_t n, capacity;
    void *block; /* of the algorithm */
    size_t block_size;
} hone_model_work;

void hone_model_work_clear(hone_model_work *w);
/* Makes room for n tokens, or n bytes of the block, whose old content is lost. 0 or HONE_ENOMEM. */
int hone_model_reserve(hone_model_work *w, size_t n);
int hone_model_reserve_block(hone_model_work *w, size_t n);

#define HONE_CACHE_LONGEST 128 /* bytes; longer pieces hardly come again */

typedef struct hone_piece_cache hone_piece_cache;

hone_piece_cache *hone_piece_cache_new(void); /* NULL: out of memory */
void hone_piece_cache_free(hone_piece_cache *c);
/* The tokens of s[0..n), whose hash is h, to id and len, which have room for n; how many, 0: not there. */
size_t hone_piece_cache_get(const hone_piece_cache *c, const hone_vocab *vocab, const unsigned char *s,
                            size_t n, uint64_t h, int32_t *id, uint32_t *len);
/* Remembers them, if there is room and every token stands for its own bytes. n <= HONE_CACHE_LONGEST. */
void hone_piece_cache_put(hone_piece_cache *c, const hone_vocab *vocab, const unsigned char *s, size_t n,
                          uint64_t h, const int32_t *id, const uint32_t *len, size_t tokens);

#endif
