/* Character properties as the `tokenizers` library sees them.
 *
 * That library takes its properties from four places, each with its own Unicode version; ids follow from the mix, so
 * the tables do too (tools/make_unicode_tables.py says which and checks every code point against the library):
 * categories and word characters of 16.0, numbers of the Digits pre-tokenizer of 17.0, normal forms of 9.0. */
#ifndef HONE_TEXT_UNICODE_H
#define HONE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* General categories, in the order of the low five bits of a property byte. */
enum hone_category {
    HONE_CN,
    HONE_CC,
    HONE_CF,
    HONE_CO,
    HONE_CS,
    HONE_LL,
    HONE_LM,
    HONE_LO,
    HONE_LT,
    HONE_LU,
    HONE_MC,
    HONE_ME,
    HONE_MN,
    HONE_ND,
    HONE_NL,
    HONE_NO,
    HONE_PC,
    HONE_PD,
    HONE_PE,
    HONE_PF,
    HONE_PI,
    HONE_PO,
    HONE_PS,
    HONE_SC,
    HONE_SK,
    HONE_SM,
    HONE_SO,
    HONE_ZL,
    HONE_ZP,
    HONE_ZS,
    HONE_N_CATEGORIES
};

#define HONE_CAT(c) (1u << (c))
/* Sets of categories. */
#define HONE_CATS_L                                                                                          \
    (HONE_CAT(HONE_LL) | HONE_CAT(HONE_LM) | HONE_CAT(HONE_LO) | HONE_CAT(HONE_LT) | HONE_CAT(HONE_LU))
#define HONE_CATS_M (HONE_CAT(HONE_MC) | HONE_CAT(HONE_ME) | HONE_CAT(HONE_MN))
#define HONE_CATS_N (HONE_CAT(HONE_ND) | HONE_CAT(HONE_NL) | HONE_CAT(HONE_NO))
#define HONE_CATS_P                                                                                          \
    (HONE_CAT(HONE_PC) | HONE_CAT(HONE_PD) | HONE_CAT(HONE_PE) | HONE_CAT(HONE_PF) | HONE_CAT(HONE_PI) |     \
     HONE_CAT(HONE_PO) | HONE_CAT(HONE_PS))
#define HONE_CATS_S (HONE_CAT(HONE_SC) | HONE_CAT(HONE_SK) | HONE_CAT(HONE_SM) | HONE_CAT(HONE_SO))

/* The other bits of a property byte. */
#define HONE_PROP_CATEGORY 31u
#define HONE_PROP_SPACE 32u    /* White_Space */
#define HONE_PROP_WORD 64u     /* \w of Rust's regex */
#define HONE_PROP_NUMERIC 128u /* Nd, Nl, No of Unicode 17 */

/* Bits of a normalisation byte: low six an index into hone_unicode_ccc, then: */
#define HONE_NORMAL_CCC 63u
#define HONE_NORMAL_BOUNDARY 64u /* what stands before it never changes what becomes of it, nor it of that */
#define HONE_NORMAL_STABLE 128u  /* stays itself in NFC, unless something after it combines with it */

extern const uint8_t hone_unicode_prop_top[], hone_unicode_prop_bottom[];
extern const uint16_t hone_unicode_prop_middle[];
extern const uint8_t hone_unicode_normal_top[], hone_unicode_normal_bottom[];
extern const uint16_t hone_unicode_normal_middle[];
extern const uint8_t hone_unicode_ccc[]; /* canonical combining classes */

/* Full canonical decompositions, sorted: {character, up to 4 characters, 0...}; without Hangul syllables. */
extern const uint32_t hone_unicode_decomposition[];
extern const size_t hone_unicode_n_decompositions;
/* Primary compositions, sorted: {first, second, composed}; without Hangul. */
extern const uint32_t hone_unicode_composition[];
extern const size_t hone_unicode_n_compositions;
/* Ranges whose category differs from that of Unicode 14: {first, last, category}. */
extern const uint32_t hone_unicode_changed[];
extern const size_t hone_unicode_n_changed;

/* From here on, tables of the rarer normalisers (unicode_fold.c), as the library has them. Full compatibility
 * decompositions of the characters whose NFKD differs from NFD, sorted: {character, place in the pool << 5 | length}. */
extern const uint32_t hone_unicode_compat[], hone_unicode_compat_pool[];
extern const size_t hone_unicode_n_compat;
/* Lower case: {first, last, step, distance}, sorted; without U+0130, which becomes two characters. */
extern const int32_t hone_unicode_lower_rows[];
extern const size_t hone_unicode_n_lower;
/* Ranges {first, last}, sorted: what StripAccents removes, what Punctuation finds. */
extern const uint32_t hone_unicode_marks[], hone_unicode_puncts[];
extern const size_t hone_unicode_n_marks, hone_unicode_n_puncts;

static inline bool hone_unicode_in(const uint32_t *ranges, size_t n, uint32_t c)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (ranges[2 * mid + 1] < c)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && ranges[2 * low] <= c;
}

/* Property byte of a code point 0..0x10ffff. */
static inline unsigned hone_unicode_prop_of(uint32_t c)
{
    unsigned m = hone_unicode_prop_middle[hone_unicode_prop_top[c >> 10] * 32u + (c >> 5 & 31)];

    return hone_unicode_prop_bottom[m * 32u + (c & 31)];
}

static inline unsigned hone_unicode_normal_of(uint32_t c)
{
    unsigned m = hone_unicode_normal_middle[hone_unicode_normal_top[c >> 10] * 32u + (c >> 5 & 31)];

    return hone_unicode_normal_bottom[m * 32u + (c & 31)];
}

/* Decodes the character at s, which must be well-formed UTF-8; returns its length. */
static inline unsigned hone_utf8_next(const unsigned char *s, uint32_t *c)
{
    if (s[0] < 0x80) {
        *c = s[0];
        return 1;
    }
    if (s[0] < 0xe0) {
        *c = (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
        return 2;
    }
    if (s[0] < 0xf0) {
        *c = (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
        return 3;
    }
    *c = (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
    return 4;
}

#endif
