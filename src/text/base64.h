/* Base64 (RFC 4648, with its padding): how tokenizer files carry bytes. */
#ifndef HONE_TEXT_BASE64_H
#define HONE_TEXT_BASE64_H

#include "base/base.h"

/* Appends the bytes that s[0..n) stands for. Errors: HONE_EFORMAT, HONE_ENOMEM. */
int hone_base64_decode(hone_buf *out, const char *s, size_t n, hone_error *err);

#endif
