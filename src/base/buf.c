/* The growing buffer and UTF-8. */
#include <string.h>

#include "base.h"

static bool reserve(hone_buf *b, size_t extra)
{
    size_t limit = b->limit ? b->limit : (size_t)1 << 30, want, capacity;
    char *data;

    if (b->failed)
        return false;
    if (extra >= limit || b->len + extra >= limit) {
        b->failed = true;
        return false;
    }
    want = b->len + extra + 1;
    if (want <= b->capacity)
        return true;
    capacity = HONE_MAX(b->capacity * 2, HONE_MAX(want, (size_t)64));
    data = hone_realloc(b->data, capacity);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void hone_buf_add(hone_buf *b, const void *bytes, size_t n)
{
    if (!reserve(b, n))
        return;
    if (n)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = 0;
}

void hone_buf_puts(hone_buf *b, const char *s)
{
    hone_buf_add(b, s, strlen(s));
}

void hone_buf_putc(hone_buf *b, char c)
{
    hone_buf_add(b, &c, 1);
}

void hone_buf_printf(hone_buf *b, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !reserve(b, (size_t)n)) {
        b->failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf(b->data + b->len, (size_t)n + 1, format, args);
    va_end(args);
    b->len += (size_t)n;
}

void hone_buf_clear(hone_buf *b)
{
    hone_free(b->data);
    b->data = NULL;
    b->len = b->capacity = 0;
    b->failed = false;
}

char *hone_buf_take(hone_buf *b)
{
    char *data;

    hone_buf_add(b, "", 0); /* an empty buffer still yields a string */
    data = b->failed ? NULL : b->data;
    if (!data)
        hone_free(b->data);
    b->data = NULL;
    b->len = b->capacity = 0;
    return data;
}

size_t hone_utf8_get(const char *s, size_t n, int32_t *code_point)
{
    const unsigned char *p = (const unsigned char *)s;
    unsigned char lo = 0x80, hi = 0xbf; /* legal range of the second byte */
    size_t need, i;
    int32_t cp;

    if (p[0] < 0x80) {
        *code_point = p[0];
        return 1;
    }
    *code_point = -1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 1;
    if (p[0] < 0xe0) {
        need = 2;
        cp = p[0] & 0x1f;
    } else if (p[0] < 0xf0) {
        need = 3;
        cp = p[0] & 0x0f;
        if (p[0] == 0xe0)
            lo = 0xa0;
        if (p[0] == 0xed)
            hi = 0x9f; /* no surrogates */
    } else {
        need = 4;
        cp = p[0] & 0x07;
        if (p[0] == 0xf0)
            lo = 0x90;
        if (p[0] == 0xf4)
            hi = 0x8f;
    }
    for (i = 1; i < need; i++) {
        if (i >= n || p[i] < lo || p[i] > hi)
            return i;
        cp = cp << 6 | (p[i] & 0x3f);
        lo = 0x80;
        hi = 0xbf;
    }
    *code_point = cp;
    return need;
}

size_t hone_utf8_put(char out[4], int32_t cp)
{
    if (cp < 0 || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        cp = 0xfffd;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}
