/* JSON of many small documents, read and written faster than jansson does it, into and from jansson's values. */
#ifndef HONE_FORMAT_JSON_QUICK_H
#define HONE_FORMAT_JSON_QUICK_H

#include <jansson.h>

#include "base/base.h"

/* Parses a plain document: *out is what json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY) gives. Returns 0, or
 * HONE_ENOMEM, or HONE_EUNSUPPORTED for everything that is not plain: what is wrong, and what is rare (fractions, deep
 * nesting, NUL). Who gets that asks jansson, which reads it or says what is wrong. */
int hone_json_quick(json_t **out, const char *text, size_t len);

/* Appends a value as json_dump with JSON_COMPACT | JSON_ENCODE_ANY writes it. What fails makes out->failed. */
void hone_json_write(hone_buf *out, const json_t *value);

#endif
