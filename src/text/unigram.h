/* Unigram: of all ways to cut a piece of text into tokens, the one of the highest sum of scores (Viterbi's algorithm).
 *
 * A character that is no token by itself may be cut off as unknown, at ten below the lowest score; unknown neighbours are
 * one token, or with byte fallback the tokens <0xHH> of their bytes. Equal sums: the cut met first stays, which is the
 * one that starts furthest left. The library adds in double precision, SentencePiece in single: `single`.
 * Tokens are found by a trie, whose edges lie in one hash table. */
#ifndef HONE_TEXT_UNIGRAM_H
#define HONE_TEXT_UNIGRAM_H

#include "text/model.h"

typedef struct hone_trie_slot {
    uint32_t key;  /* node << 8 | byte */
    uint32_t node; /* the node behind the edge; 0: empty slot */
} hone_trie_slot;

enum hone_piece_use { HONE_PIECE_NORMAL, HONE_PIECE_USER, HONE_PIECE_UNUSED }; /* USER: always chosen */

typedef struct hone_unigram {
    const hone_vocab *vocab;
    uint32_t n;             /* tokens that have a score */
    double *score;          /* [n] */
    uint8_t *use;           /* [n] */
    double lowest, highest; /* of the normal tokens */
    bool single, byte_fallback;
    int32_t unk; /* must be there */
    int32_t byte_id[256];
    hone_trie_slot *slot;
    uint32_t bits, n_nodes;
    int32_t *node_id; /* [n_nodes] token that ends there, -1 none */
    hone_piece_cache *cache;
} hone_unigram;

/* Before this: vocab (indexed), n (vocab->n), score, use, single, byte_fallback, unk are set; score and use are the model's from then on,
 * whatever it returns. Errors: HONE_ELIMIT, HONE_ENOMEM. */
int hone_unigram_build(hone_unigram *u, hone_error *err);
void hone_unigram_clear(hone_unigram *u);
/* Encodes well-formed UTF-8 s[0..n) into w. 0 or HONE_ENOMEM. */
int hone_unigram_piece(const hone_unigram *u, hone_model_work *w, const unsigned char *s, size_t n);

#endif
