/* Byte-level BPE: the bytes of one piece of text to token ids.
 *
 * The rule (as `tokenizers` has it): among all neighbours that some merge joins, join the pair of the smallest rank, the
 * leftmost of equals, until none is left. Short pieces keep their ranks in an array that is searched for its minimum;
 * long ones use a heap, so that time is O(n log n) whatever the text.
 *
 * Two memories make it fast, both shared by all threads without locks. For a token of the vocabulary, whether its own
 * bytes merge to it alone (computed when first met): most pieces of running text are answered by one look-up. For other
 * pieces, a cache that only grows, to a bound: an entry is written once, then published, so a reader sees it whole. */
#ifndef HONE_TEXT_BPE_H
#define HONE_TEXT_BPE_H

#include <stdatomic.h>

#include "text/vocab_table.h"

typedef struct hone_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: empty slot */
    uint32_t rank;
    int32_t id; /* of the joined token */
} hone_merge;

typedef struct hone_bpe_cache hone_bpe_cache;

typedef struct hone_bpe {
    const hone_vocab *vocab;
    hone_merge *slot; /* open addressing, linear probing */
    uint32_t bits; /* 1 << bits slots */
    uint32_t n_merges;
    int32_t byte_id[256]; /* -1: the vocabulary lacks the byte */
    int32_t unk; /* token of a byte that the vocabulary lacks; -1: the byte is dropped */
    bool fuse_unk; /* neighbouring unknown bytes become one token */
    bool ignore_merges; /* a piece that is a token is that token, whatever the merges say */
    _Atomic uint8_t *whole; /* [vocab->n] 0 not known yet, 1 its bytes merge to it alone, 2 they do not */
    hone_bpe_cache *cache;
    uint64_t hash; /* of the merges in order, for hone_tokenizer_hash */
} hone_bpe;

/* What a run of pieces needs; zero-initialise, hone_bpe_work_clear frees. One per thread or call. */
typedef struct hone_bpe_work {
    int32_t *id; /* the tokens of the last piece, in order */
    uint32_t *len; /* bytes of the piece each stands for */
    size_t n, capacity;
    void *block; /* of the long algorithm */
    size_t block_size;
} hone_bpe_work;

/* Prepares for up to n_merges merges over an indexed vocabulary (which must outlive the bpe). */
int hone_bpe_init(hone_bpe *b, const hone_vocab *vocab, size_t n_merges, hone_error *err);
void hone_bpe_clear(hone_bpe *b);
/* Adds the merge of the next rank, by the spelling of its parts. A pair that came before takes the new rank. Errors:
 * HONE_EFORMAT (a part or the whole is no token), HONE_ELIMIT, HONE_ENOMEM; the message lacks the file. */
int hone_bpe_add_merge(hone_bpe *b, const char *left, size_t left_len, const char *right, size_t right_len,
                       hone_error *err);

/* Encodes s[0..n) into w->id, w->len, w->n. 0 or HONE_ENOMEM. */
int hone_bpe_piece(const hone_bpe *b, hone_bpe_work *w, const unsigned char *s, size_t n);
void hone_bpe_work_clear(hone_bpe_work *w);

#endif
