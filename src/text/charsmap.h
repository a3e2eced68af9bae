/* The table of character replacements inside a SentencePiece model (`precompiled_charsmap`).
 *
 * Bytes: a little-endian count, a double-array trie of that many bytes, then NUL-terminated replacement texts; the trie
 * maps a sequence of bytes to the offset of its replacement. The blob comes from a file: every step is checked. */
#ifndef HONE_TEXT_CHARSMAP_H
#define HONE_TEXT_CHARSMAP_H

#include "text/normal.h"

typedef struct hone_charsmap {
    uint32_t *unit; /* [n_units] */
    size_t n_units;
    char *text; /* replacements, well-formed UTF-8, NUL-terminated */
    size_t text_len;
} hone_charsmap;

/* Takes a copy of a blob; an empty one maps nothing. Errors: HONE_EFORMAT, HONE_ENOMEM. */
int hone_charsmap_open(hone_charsmap *m, const void *blob, size_t n, hone_error *err);
void hone_charsmap_clear(hone_charsmap *m);

/* As SentencePiece does it: at each place the longest sequence that the table knows is replaced. */
int hone_charsmap_longest(const hone_charsmap *m, hone_view *out, hone_aligned *work, const hone_view *in);
/* As the library's Precompiled does it: a grapheme of up to five bytes is replaced as a whole when the table knows a start
 * of it, else each of its characters by itself. */
int hone_charsmap_graphemes(const hone_charsmap *m, hone_view *out, hone_aligned *work, const hone_view *in);

#endif
