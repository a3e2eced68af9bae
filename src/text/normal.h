/* Text on its way to the model, with the place in the given text that each byte came from; and
 * the normal forms. */
#ifndef HONE_TEXT_NORMAL_H
#define HONE_TEXT_NORMAL_H

#include "base/base.h"

/* Well-formed UTF-8 and its origin: byte i came from [begin[i], end[i]) of the given text, or, with begin NULL, from
 * [base + i, base + i + 1). Borrowed pointers. */
typedef struct hone_view {
    const unsigned char *s;
    size_t len;
    const uint32_t *begin, *end;
    size_t base;
} hone_view;

static inline uint32_t hone_view_begin(const hone_view *v, size_t i)
{
    return v->begin ? v->begin[i] : (uint32_t)(v->base + i);
}

/* Of the byte before i. */
static inline uint32_t hone_view_end(const hone_view *v, size_t i)
{
    return v->begin ? v->end[i - 1] : (uint32_t)(v->base + i);
}

static inline hone_view hone_view_part(const hone_view *v, size_t from, size_t to)
{
    return (hone_view){v->s + from, to - from, v->begin ? v->begin + from : NULL,
                       v->end ? v->end + from : NULL, v->base + from};
}

/* The bytes and origins of a changed text. Zero-initialise; hone_aligned_clear frees. */
typedef struct hone_aligned {
    unsigned char *s;
    uint32_t *begin, *end;
    size_t len, capacity;
} hone_aligned;

void hone_aligned_clear(hone_aligned *a);
/* Makes room for n more bytes. 0 or HONE_ENOMEM. */
int hone_aligned_reserve(hone_aligned *a, size_t n);
/* Appends n bytes that all came from [begin, end). 0 or HONE_ENOMEM. */
int hone_aligned_add(hone_aligned *a, const void *bytes, size_t n, uint32_t begin, uint32_t end);
/* Appends v->s[from..to) with its origins. */
int hone_aligned_part(hone_aligned *a, const hone_view *v, size_t from, size_t to);
/* All of it; valid until it changes. */
hone_view hone_aligned_view(const hone_aligned *a);

/* Replaces ill-formed parts of text[0..len) by U+FFFD, one each maximal ill-formed part (as Rust and WHATWG do). When
 * there are none, *out shows the text itself; else `work`. */
int hone_view_repair(hone_view *out, hone_aligned *work, const char *text, size_t len);

/* Normal form C (UAX 15, Unicode 9.0 data). When `in` has that form already, *out = *in; else *out shows `work`, which
 * is overwritten. A character made from several, or one of several made from one cluster, stems from that cluster. */
int hone_view_nfc(hone_view *out, hone_aligned *work, const hone_view *in);

enum hone_form { HONE_NFC, HONE_NFD, HONE_NFKC, HONE_NFKD };

/* The same for any form; `work` is always written. */
int hone_view_form(hone_view *out, hone_aligned *work, const hone_view *in, enum hone_form form);

#endif
