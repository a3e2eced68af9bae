/* Decoders: the texts of tokens back to one text.
 *
 * A decoder is a list of steps over a list of texts, one text a token at first; what is left at the end is joined. Without
 * any step the tokens are joined with spaces. Byte-level vocabularies have one step, which works on the tokens' bytes. */
#ifndef HONE_TEXT_DECODER_H
#define HONE_TEXT_DECODER_H

#include "text/pretoken.h"

enum hone_decoder_kind {
    HONE_DECODE_BYTE_LEVEL, /* all texts to one, its characters to bytes, ill-formed parts to U+FFFD */
    HONE_DECODE_STRING,     /* each place where a string stands becomes another */
    HONE_DECODE_REGEX,
    HONE_DECODE_BYTE_FALLBACK, /* runs of <0xHH> to characters, or a U+FFFD each */
    HONE_DECODE_FUSE,          /* all texts to one */
    HONE_DECODE_STRIP,         /* up to `start` and `stop` times the character, off the ends of each text */
    HONE_DECODE_METASPACE,     /* the character to a space; with `start`, to nothing in the first text */
};

typedef struct hone_decoder_step {
    enum hone_decoder_kind kind;
    char *from, *to;
    size_t from_len, to_len;
    size_t start, stop;
    hone_regex *regex;
} hone_decoder_step;

#define HONE_MAX_DECODERS 32

typedef struct hone_decoder {
    hone_decoder_step step[HONE_MAX_DECODERS];
    size_t n_steps;
    bool plain_bytes; /* the vocabulary holds bytes, and decoding is joining them */
    hone_buf identity;
} hone_decoder;

void hone_decoder_clear(hone_decoder *d);

/* Appends a step: from, to as for HONE_NORMALIZE_STRING; STRIP and METASPACE: from is the character. Errors: HONE_EUNSUPPORTED,
 * HONE_EFORMAT, HONE_ELIMIT, HONE_ENOMEM. */
int hone_decoder_add(hone_decoder *d, enum hone_decoder_kind kind, const char *from, size_t from_len,
                     const char *to, size_t to_len, size_t start, size_t stop, hone_error *err);

/* A list of texts, one behind the other. */
typedef struct hone_texts {
    hone_buf bytes;
    size_t *end; /* [n] where text i ends */
    size_t n, capacity;
    bool failed; /* out of memory */
} hone_texts;

void hone_texts_clear(hone_texts *t);
/* Appends bytes to the last text; hone_texts_close ends it. Failures stick. */
void hone_texts_close(hone_texts *t);

/* Carries out the steps; *list then holds texts whose join is the result. With `stream` the one text stands in the midst of
 * others: what concerns ends is left out, and bytes stay bytes, be they characters or not. */
int hone_decoder_run(const hone_decoder *d, hone_texts *list, bool stream, hone_error *err);

/* Appends bytes with ill-formed parts replaced by U+FFFD. */
void hone_add_repaired(hone_buf *out, const char *bytes, size_t n);

#endif
