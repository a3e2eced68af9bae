/* BPE: one piece of text to token ids, by merges of ranked pairs.
 *
 * The rule (as `tokenizers` has it): among all neighbours that some merge joins, join the pair of the smallest rank, the
 * leftmost of equals, until none is left. Short pieces keep their ranks in an array that is searched for its minimum;
 * long ones use a heap, so that time is O(n log n) whatever the text.
 *
 * There are two kinds of symbols to start from. Byte level: the bytes of the piece (bpe.c). Text: its characters, those
 * that the vocabulary lacks becoming their bytes' tokens <0xHH> (byte fallback) or the unknown token (bpe_text.c). The
 * rule of SentencePiece (join the neighbours whose joined text is the token of the highest score, leftmost of equals) is
 * the same thing with one merge for each way to cut a token in two, all of the rank of its score.
 *
 * Two memories make it fast, both shared by all threads without locks. For a token of the vocabulary, whether its own
 * bytes merge to it alone (computed when first met): most pieces of running text are answered by one look-up. For other
 * pieces, the cache of model.h. And pieces of text models, which no pre-tokenizer cut into words, and long runs of letters,
 * as Chinese has them, are cut where no merge can reach across, because no token that a merge makes holds those two
 * characters, or the parts of them that a token may hold, side by side. */
#ifndef HONE_TEXT_BPE_H
#define HONE_TEXT_BPE_H

#include <stdatomic.h>

#include "text/model.h"

typedef struct hone_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: empty slot */
    uint32_t rank;
    int32_t id; /* of the joined token */
} hone_merge;

typedef struct hone_bpe {
    const hone_vocab *vocab;
    hone_merge *slot; /* open addressing, linear probing */
    uint32_t bits;    /* 1 << bits slots */
    uint32_t n_merges;
    int32_t byte_id[256];   /* tokens of single bytes; -1: the vocabulary lacks it */
    int32_t unk;            /* token of what the vocabulary lacks; -1: it is dropped */
    bool fuse_unk;          /* neighbouring unknown symbols become one token */
    bool ignore_merges;     /* a piece that is a token is that token, whatever the merges say */
    _Atomic uint8_t *whole; /* [vocab->n] 0 not known yet, 1 its bytes merge to it alone, 2 they do not */
    hone_piece_cache *cache;
    uint64_t hash; /* of the merges in order, for hone_tokenizer_hash */
    uint64_t
        *joint; /* bits by pair of neighbours that some merge may bring into one token; NULL: never cut */

    /* text models alone */
    int32_t **page; /* [HONE_CHAR_PAGES] of 256 characters each: id of the character, -1 none; NULL: all -1 */
    uint64_t (
        *ascii)[2]; /* [128] the same for ASCII characters that are both known, as bits by the right one */
    bool byte_fallback;
    bool uncut;         /* merges reach over bytes or the unknown token: pieces can not be cut */
    int32_t n_phantoms; /* ids from HONE_VOCAB_MAX on: characters that are no token, but part of one */
} hone_bpe;

#define HONE_CHAR_PAGES 0x1100

/* Prepares for up to n_merges merges over an indexed vocabulary (which must outlive the bpe). */
int hone_bpe_init(hone_bpe *b, const hone_vocab *vocab, size_t n_merges, hone_error *err);
void hone_bpe_clear(hone_bpe *b);
/* Adds the merge of the next rank, by the spelling of its parts. A pair that came before takes the new rank. Errors:
 * HONE_EFORMAT (a part or the whole is no token), HONE_ELIMIT, HONE_ENOMEM; the message lacks the file. */
int hone_bpe_add_merge(hone_bpe *b, const char *left, size_t left_len, const char *right, size_t right_len,
                       hone_error *err);
/* Adds a merge of given ids and rank; ranks may be equal. */
int hone_bpe_add_pair(hone_bpe *b, int32_t left, int32_t right, int32_t id, uint32_t rank, hone_error *err);
/* Adds a merge for each way to cut a token in two tokens, of the token's rank: rank[id], UINT32_MAX for a token that is
 * neither made nor a part. In a text model a part may also be a single character that is no token. */
int hone_bpe_add_cuts(hone_bpe *b, const uint32_t *rank, hone_error *err);
/* How many merges that makes, for hone_bpe_init; `text` as the model will be. */
size_t hone_bpe_count_cuts(const hone_vocab *vocab, const uint32_t *rank, bool text);

/* After the last merge of a model over bytes: where pieces may be cut. 0 or HONE_ENOMEM. */
int hone_bpe_bytes_finish(hone_bpe *b, hone_error *err);

#define HONE_JOINT_BITS 21 /* a false bit costs speed alone */

/* What two neighbours are: whole characters, or the last byte of the left or the first of the right one alone. */
enum hone_joint { HONE_JOINT_WHOLE, HONE_JOINT_LAST = 1, HONE_JOINT_FIRST = 2 };

static inline uint32_t hone_joint_bit(unsigned kind, uint32_t left, uint32_t right)
{
    uint64_t key = (uint64_t)kind << 42 | (uint64_t)left << 21 | right;

    return (uint32_t)(key * 0x9e3779b97f4a7c15u >> (64 - HONE_JOINT_BITS));
}

static inline bool hone_joint_get(const hone_bpe *b, unsigned kind, uint32_t left, uint32_t right)
{
    uint32_t bit = hone_joint_bit(kind, left, right);

    return b->joint[bit >> 6] >> (bit & 63) & 1;
}

static inline void hone_joint_set(hone_bpe *b, unsigned kind, uint32_t left, uint32_t right)
{
    uint32_t bit = hone_joint_bit(kind, left, right);

    b->joint[bit >> 6] |= (uint64_t)1 << (bit & 63);
}

/* Encodes s[0..n) into w->id, w->len, w->n; a model over bytes wants well-formed UTF-8 too. 0 or HONE_ENOMEM. */
int hone_bpe_piece(const hone_bpe *b, hone_model_work *w, const unsigned char *s, size_t n);

/* Joins the symbols id[0..*n) that stand for len[] bytes each, in place. 0 or HONE_ENOMEM. */
int hone_bpe_merge(const hone_bpe *b, hone_model_work *w, int32_t *id, uint32_t *len, size_t *n);

/* ---- text models (bpe_text.c) ------------------------------------------------------------------------------------------ */

/* Between hone_bpe_init and the first merge: the characters of the vocabulary, and with byte_fallback its byte tokens. */
int hone_bpe_text_init(hone_bpe *b, bool byte_fallback, hone_error *err);
/* After the last merge, unk, fuse_unk and ignore_merges: where pieces may be cut. */
void hone_bpe_text_finish(hone_bpe *b);
void hone_bpe_text_clear(hone_bpe *b);
/* The symbol of a character; makes a phantom with `create`. -1: none; -2: out of memory. */
int32_t hone_bpe_text_symbol(hone_bpe *b, uint32_t c, bool create);
/* Encodes well-formed UTF-8. */
int hone_bpe_text_piece(const hone_bpe *b, hone_model_work *w, const unsigned char *s, size_t n);

/* The byte of a token spelled <0xHH>, or -1. */
int hone_byte_of_token(const char *s, size_t len);

#endif
