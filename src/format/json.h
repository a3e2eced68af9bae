/* Small helpers over jansson: files in, text out, errors as hone_error. Repeated keys are errors. */
#ifndef HONE_FORMAT_JSON_H
#define HONE_FORMAT_JSON_H

#include <jansson.h>

#include "base/base.h"

/* Parses len bytes of JSON; `path` and the line stand in the message. *out is released with json_decref.
 * HONE_EFORMAT (syntax, repeated key, text after the value, more than 2048 levels), HONE_ENOMEM. An integer beyond 64
 * bits is read as a real number. */
int hone_json_parse(json_t **out, const char *text, size_t len, const char *path, hone_error *err);
/* The same for a whole file of at most `limit` bytes. HONE_ENOENT, HONE_EIO, HONE_ELIMIT besides. */
int hone_json_load(json_t **out, const char *path, size_t limit, hone_error *err);
/* Appends the text of v; flags are jansson's (JSON_INDENT, ...). A failure marks b as failed. */
void hone_json_dump(hone_buf *b, const json_t *v, size_t flags);

#endif
