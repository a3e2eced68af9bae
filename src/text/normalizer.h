/* Normalisers: what is done to a text before the model sees it.
 *
 * A normaliser is a list of steps; each makes a new text from the one before, and every byte keeps the place in the given
 * text that it stems from. A text is normalised in parts, between the added tokens: what a step may do to the ends of a
 * part can depend on where it stands (SentencePiece puts its blank in front of a section, not of every part). */
#ifndef HONE_TEXT_NORMALIZER_H
#define HONE_TEXT_NORMALIZER_H

#include "text/charsmap.h"
#include "text/pretoken.h"

enum hone_normalizer_kind {
    HONE_NORMALIZE_FORM,
    HONE_NORMALIZE_LOWERCASE,
    HONE_NORMALIZE_STRIP,
    HONE_NORMALIZE_STRIP_ACCENTS,
    HONE_NORMALIZE_NMT,
    HONE_NORMALIZE_PREPEND,
    HONE_NORMALIZE_STRING, /* each place where the string stands becomes the other */
    HONE_NORMALIZE_REGEX,
    HONE_NORMALIZE_CHARSMAP,
    HONE_NORMALIZE_BYTE_LEVEL,
    HONE_NORMALIZE_BLANKS, /* SentencePiece's: runs of blanks become one, none stands at the ends of a section */
};

/* Where a part stands. A section is what lies between special tokens. */
enum hone_part { HONE_PART_STARTS_TEXT = 1, HONE_PART_STARTS_SECTION = 2, HONE_PART_ENDS_SECTION = 4 };

typedef struct hone_normalizer_step {
    enum hone_normalizer_kind kind;
    unsigned
        flags; /* FORM: enum hone_form; STRIP: 1 left, 2 right; CHARSMAP: 1 by graphemes; PREPEND: enum hone_part bits that
                       a part must have */
    char *from, *to;
    size_t from_len, to_len;
    hone_regex *regex;
    hone_charsmap map;
} hone_normalizer_step;

#define HONE_MAX_NORMALIZERS 32

typedef struct hone_normalizer {
    hone_normalizer_step step[HONE_MAX_NORMALIZERS];
    size_t n_steps;
    hone_buf identity; /* what the steps are, in a fixed form: for hashing */
} hone_normalizer;

void hone_normalizer_clear(hone_normalizer *n);

/* Appends a step; from and to as the kind needs them (PREPEND: to; STRING, REGEX: both; CHARSMAP: from is the blob).
 * Errors: HONE_EUNSUPPORTED, HONE_EFORMAT, HONE_ELIMIT, HONE_ENOMEM. */
int hone_normalizer_add(hone_normalizer *n, enum hone_normalizer_kind kind, unsigned flags, const char *from,
                        size_t from_len, const char *to, size_t to_len, hone_error *err);

/* Zero-initialise; hone_normalizer_work_clear frees. */
typedef struct hone_normalizer_work {
    hone_aligned text[2];
    void *match_data;
} hone_normalizer_work;

void hone_normalizer_work_clear(hone_normalizer_work *w);

/* *out shows `in` or memory of the work, until the next run. */
int hone_normalizer_run(const hone_normalizer *n, hone_normalizer_work *w, hone_view *out,
                        const hone_view *in, unsigned part, hone_error *err);

/* Each byte becomes the character that spells it in a byte-level vocabulary. */
int hone_view_byte_level(hone_view *out, hone_aligned *work, const hone_view *in);
/* Replaces every occurrence of a string. */
int hone_view_replace(hone_view *out, hone_aligned *work, const hone_view *in, const char *from,
                      size_t from_len, const char *to, size_t to_len);

#endif
