/* The vocabulary: token ids and their bytes, both ways.
 *
 * A byte-level vocabulary spells each byte as one printable character (GPT-2's alphabet). A token is kept as the bytes
 * it stands for; a spelling with a character outside the alphabet stands for its own UTF-8 and is kept apart as `raw`,
 * so that the two kinds can not be taken for each other. A vocabulary of text (`verbatim`) has no such alphabet: each token
 * stands for the bytes of its spelling, and none is raw. All bytes lie in one block, the index is one open-addressing
 * table: opening makes no allocation per token. */
#ifndef HONE_TEXT_VOCAB_TABLE_H
#define HONE_TEXT_VOCAB_TABLE_H

#include "base/base.h"

#define HONE_VOCAB_MAX (1u << 24) /* ids stay below: a bound against files that lie */

typedef struct hone_vocab_token {
    uint32_t at, len; /* bytes[at .. at + len) */
    bool used, raw;   /* not used: a hole in the numbering */
} hone_vocab_token;

typedef struct hone_vocab_slot {
    uint32_t tag; /* high half of the hash */
    int32_t id;   /* -1: empty */
} hone_vocab_slot;

typedef struct hone_vocab {
    bool verbatim; /* set before the first token */
    char *bytes;
    size_t n_bytes, bytes_capacity;
    hone_vocab_token *token; /* [n] by id */
    uint32_t n, capacity;    /* largest id + 1 */
    uint32_t n_used;
    uint32_t longest; /* bytes of the longest token that is not raw */
    hone_vocab_slot *slot;
    uint32_t mask;
} hone_vocab;

void hone_vocab_clear(hone_vocab *v);

/* Adds a token by its spelling, before hone_vocab_index. Errors: HONE_EFORMAT when the id is taken, HONE_ELIMIT,
 * HONE_ENOMEM; the message lacks the file. */
int hone_vocab_add(hone_vocab *v, int64_t id, const char *spelling, size_t len, hone_error *err);
/* The same by the bytes it stands for. */
int hone_vocab_add_bytes(hone_vocab *v, int64_t id, const char *bytes, size_t len, hone_error *err);
/* Builds the index. Equal spellings: the larger id is found, or with `unique` HONE_EFORMAT. */
int hone_vocab_index(hone_vocab *v, bool unique, hone_error *err);

/* Id of the token of these bytes, or -1. */
int32_t hone_vocab_find(const hone_vocab *v, const void *bytes, size_t len, bool raw);
/* Id by spelling, or -1; -2: out of memory. */
int32_t hone_vocab_find_spelling(const hone_vocab *v, const char *spelling, size_t len);

/* Writes the bytes a spelling stands for to out[0..len) (never more than its length), returns how many; *raw: it
 * holds a character outside the alphabet, so out is a copy. */
size_t hone_vocab_unspell(const hone_vocab *v, char *out, const char *spelling, size_t len, bool *raw);
/* The byte of a character of the alphabet, or -1; and the character of a byte. */
int hone_byte_of_char(uint32_t c);
uint32_t hone_char_of_byte(unsigned byte);
/* Appends the spelling of a token. */
void hone_vocab_spell(const hone_vocab *v, int32_t id, hone_buf *out);

/* Hash of short strings; not for hostile keys, so tables that use it bound the length of a probe. */
static inline uint64_t hone_hash_mix(uint64_t x)
{
    unsigned __int128 product = (unsigned __int128)x * 0x9e3779b97f4a7c15u;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hone_hash_bytes(const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint64_t h = 0x2545f4914f6cdd1du * (n + 1), word = 0;
    uint32_t half[2];

    while (n >= 8) {
        __builtin_memcpy(&word, p, 8);
        h = hone_hash_mix(h ^ word);
        p += 8;
        n -= 8;
    }
    if (n >= 4) {
        __builtin_memcpy(&half[0], p, 4);
        __builtin_memcpy(&half[1], p + n - 4, 4);
        word = half[0] | (uint64_t)half[1] << 32;
    } else if (n) {
        word = p[0] | (uint64_t)p[n >> 1] << 8 | (uint64_t)p[n - 1] << 16;
    } else {
        return h;
    }
    return hone_hash_mix(h ^ word);
}

#endif
