/* A pull reader over JSON text in memory, for files whose tree would be too big or too slow to build.
 *
 * The caller walks the text in order: the expect/next calls below consume one value or one step of it. The first error
 * sticks: every later call fails at once, so that a loop need only check its end. An error names file, line and column.
 * RFC 8259 without extensions; strings must be well-formed UTF-8; depth is bounded. jansson stays the reader of small
 * documents: hone_json_value gives the bytes of one value for it. */
#ifndef HONE_FORMAT_JSON_STREAM_H
#define HONE_FORMAT_JSON_STREAM_H

#include "base/base.h"

#define HONE_JSON_DEPTH 64

typedef struct hone_json {
    const char *name; /* file name for messages; borrowed */
    const char *text, *end, *at;
    int depth;
    bool first;       /* the innermost container has yielded no member yet */
    hone_buf scratch; /* of the last string that held escapes */
    hone_error *err;
    int code; /* 0 or the error */
} hone_json;

/* Starts at text[0..len), which the caller keeps. The caller frees with hone_json_close. */
void hone_json_open(hone_json *j, const char *name, const char *text, size_t len, hone_error *err);
void hone_json_close(hone_json *j);

/* Stores an error with the present place; returns the code. */
int hone_json_fail(hone_json *j, int code, const char *format, ...) HONE_PRINTF(3, 4);

/* First character of the next value ('{', '[', '"', 't', 'f', 'n', '-', '0'..'9'), 0 at the end or after an error. */
char hone_json_peek(hone_json *j);

/* Enters an object; then hone_json_key yields each key (and the value must be consumed), false at its end. The key is
 * borrowed until the next string is read. */
bool hone_json_object(hone_json *j);
bool hone_json_key(hone_json *j, const char **key, size_t *len);
/* Enters an array; then hone_json_item is true before each element, false at its end. */
bool hone_json_array(hone_json *j);
bool hone_json_item(hone_json *j);

/* A string without its escapes, borrowed until the next one is read; it may hold NUL. false: error. */
bool hone_json_string(hone_json *j, const char **s, size_t *len);
bool hone_json_int(hone_json *j, int64_t *value); /* no fraction, no exponent, within 64 bits */
bool hone_json_bool(hone_json *j, bool *value);
/* Skips one value of any kind, checking its form; *value (may be NULL) is its text. */
bool hone_json_value(hone_json *j, const char **value, size_t *len);
/* Nothing but blanks may follow. */
bool hone_json_end(hone_json *j);

static inline bool hone_json_is(const char *s, size_t len, const char *word)
{
    return len == __builtin_strlen(word) && !__builtin_memcmp(s, word, len);
}

#endif
