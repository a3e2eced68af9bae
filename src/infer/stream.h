/* Text of a growing list of ids, given out as it becomes whole characters.
 *
 * Pieces of a byte-level vocabulary may end inside a character, and other decoders look at neighbours (a leading space
 * that is dropped once, bytes that join to a character). So nothing is assumed of one token: ids since the last
 * emission are decoded together with the ids before them, and what is new is given out once it does not end in U+FFFD,
 * the sign of a character still incomplete (the scheme of the tokenizers library's DecodeStream). At the end the rest
 * is given out as it is. What was given out, joined, is the text. */
#ifndef HONE_INFER_STREAM_H
#define HONE_INFER_STREAM_H

#include "base/base.h"
#include "hone/generate.h"

typedef struct hone_stream {
    const hone_tokenizer *tok;
    int32_t *id; /* ids of the window; owned */
    size_t n, capacity;
    size_t settled; /* the first `settled` ids of the window are context: their text has been given out */
    char *before;   /* their text, as decoded alone; NULL: none. Owned */
    size_t before_len;
    hone_buf text; /* all text given out so far */
} hone_stream;

/* Zero-initialise, then set tok. */
void hone_stream_clear(hone_stream *s);
/* Adds an id; *out, *len is the text that became whole (within s->text, *len 0: none yet). */
int hone_stream_push(hone_stream *s, int32_t id, const char **out, size_t *len, hone_error *err);
/* The rest, an incomplete character as U+FFFD. */
int hone_stream_finish(hone_stream *s, const char **out, size_t *len, hone_error *err);

#endif
