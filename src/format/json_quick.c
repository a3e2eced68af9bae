/* A reader and a writer for the JSON of rows: objects, lists and long texts, of which there are millions. Texts are taken
 * in runs between the characters that mean something, where jansson goes byte by byte. The reader gives up at anything
 * unusual and leaves it to jansson, so that there is one judge of what is wrong. */
#include <string.h>

#include "format/json_quick.h"

#define MOST_DEPTH 64
#define MOST_DIGITS 18 /* of an integer that surely fits */

typedef struct reader {
    const char *at, *end;
    hone_buf text; /* a text or key with its escapes undone; reused */
    int rc;
    int depth;
} reader;

static json_t *read_value(reader *r);

static json_t *give_up(reader *r, int code)
{
    if (!r->rc)
        r->rc = code;
    return NULL;
}

static void skip_space(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static bool take(reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

/* Four hexadecimal digits, or -1. */
static int32_t read_hex(reader *r)
{
    int32_t x = 0;
    int i;

    if (r->end - r->at < 4)
        return -1;
    for (i = 0; i < 4; i++) {
        char c = *r->at++;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0)
            return -1;
        x = x << 4 | digit;
    }
    return x;
}

/* What follows a backslash. */
static bool read_escape(reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known;
    int32_t x, low;
    char c[4];

    if (r->at == r->end)
        return false;
    if (*r->at != 'u') {
        known = *r->at ? strchr(from, *r->at) : NULL;
        if (!known)
            return false;
        hone_buf_putc(&r->text, to[known - from]);
        r->at++;
        return true;
    }
    r->at++;
    x = read_hex(r);
    if (x >= 0xd800 && x < 0xdc00) {
        if (!take(r, '\\') || !take(r, 'u'))
            return false;
        low = read_hex(r);
        if (low < 0xdc00 || low >= 0xe000)
            return false;
        x = 0x10000 + ((x - 0xd800) << 10) + (low - 0xdc00);
    } else if (x <= 0 || (x >= 0xdc00 && x < 0xe000)) {
        return false;
    }
    hone_buf_add(&r->text, c, hone_utf8_put(c, x));
    return true;
}

/* Steps over a run that stands for itself; false where it is no UTF-8 or a control character. */
static bool skip_run(reader *r)
{
    const char *p = r->at, *end = r->end;

    while (p < end && *p != '"' && *p != '\\') {
        uint8_t c = (uint8_t)*p;
        int32_t cp;

        if (c < 0x20)
            return false;
        if (c < 0x80) {
            p++;
            continue;
        }
        p += hone_utf8_get(p, (size_t)(end - p), &cp);
        if (cp < 0)
            return false;
    }
    r->at = p;
    return true;
}

/* The text behind a `"`: *s[0..*n) lies in the document, or in r->text where it has escapes. */
static bool read_text(reader *r, const char **s, size_t *n)
{
    const char *from = r->at;

    if (!skip_run(r))
        return false;
    if (take(r, '"')) {
        *s = from;
        *n = (size_t)(r->at - 1 - from);
        return true;
    }
    r->text.len = 0;
    hone_buf_add(&r->text, from, (size_t)(r->at - from));
    while (!take(r, '"')) {
        if (!take(r, '\\') || !read_escape(r))
            return false;
        from = r->at;
        if (!skip_run(r))
            return false;
        hone_buf_add(&r->text, from, (size_t)(r->at - from));
    }
    *s = r->text.data;
    *n = r->text.len;
    return true;
}

static json_t *read_string(reader *r)
{
    const char *s;
    size_t n;
    json_t *v;

    if (!read_text(r, &s, &n))
        return give_up(r, HONE_EUNSUPPORTED);
    v = r->text.failed ? NULL : json_stringn_nocheck(s, n);
    return v ? v : give_up(r, HONE_ENOMEM);
}

/* A key with its colon into `key`; false after giving up. */
static bool read_key(reader *r, char *key, size_t size)
{
    const char *s;
    size_t n;

    if (!take(r, '"') || !read_text(r, &s, &n) || n >= size) {
        give_up(r, HONE_EUNSUPPORTED);
        return false;
    }
    if (n)
        memcpy(key, s, n);
    key[n] = 0;
    skip_space(r);
    if (take(r, ':'))
        return true;
    give_up(r, HONE_EUNSUPPORTED);
    return false;
}

static json_t *read_object(reader *r)
{
    json_t *object = json_object(), *v;
    char key[128];

    if (!object)
        return give_up(r, HONE_ENOMEM);
    skip_space(r);
    if (take(r, '}'))
        return object;
    do {
        skip_space(r);
        if (!read_key(r, key, sizeof key))
            break;
        v = json_object_get(object, key) ? give_up(r, HONE_EUNSUPPORTED) : read_value(r);
        if (!v)
            break;
        if (json_object_set_new_nocheck(object, key, v)) {
            give_up(r, HONE_ENOMEM);
            break;
        }
        skip_space(r);
    } while (take(r, ','));
    if (!r->rc && take(r, '}'))
        return object;
    json_decref(object);
    return give_up(r, HONE_EUNSUPPORTED);
}

static json_t *read_list(reader *r)
{
    json_t *list = json_array(), *v;

    if (!list)
        return give_up(r, HONE_ENOMEM);
    skip_space(r);
    if (take(r, ']'))
        return list;
    do {
        v = read_value(r);
        if (!v)
            break;
        if (json_array_append_new(list, v)) {
            give_up(r, HONE_ENOMEM);
            break;
        }
        skip_space(r);
    } while (take(r, ','));
    if (!r->rc && take(r, ']'))
        return list;
    json_decref(list);
    return give_up(r, HONE_EUNSUPPORTED);
}

static json_t *read_integer(reader *r)
{
    bool negative = take(r, '-');
    const char *from = r->at;
    json_int_t x = 0;
    json_t *v;

    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9' && r->at - from < MOST_DIGITS; r->at++)
        x = 10 * x + (*r->at - '0');
    if (r->at == from || (*from == '0' && (negative || r->at - from > 1)) ||
        (r->at < r->end &&
         (*r->at == '.' || *r->at == 'e' || *r->at == 'E' || (*r->at >= '0' && *r->at <= '9'))))
        return give_up(r, HONE_EUNSUPPORTED);
    v = json_integer(negative ? -x : x);
    return v ? v : give_up(r, HONE_ENOMEM);
}

static json_t *read_word(reader *r)
{
    static const char *const word[] = {"true", "false", "null"};
    size_t i, n;

    for (i = 0; i < HONE_COUNT(word); i++) {
        n = strlen(word[i]);
        if ((size_t)(r->end - r->at) >= n && !memcmp(r->at, word[i], n)) {
            r->at += n;
            return i == 0 ? json_true() : i == 1 ? json_false() : json_null();
        }
    }
    return give_up(r, HONE_EUNSUPPORTED);
}

static json_t *read_value(reader *r)
{
    json_t *v;
    char c;

    skip_space(r);
    if (r->at == r->end || r->depth == MOST_DEPTH)
        return give_up(r, HONE_EUNSUPPORTED);
    c = *r->at;
    if (c == '"' || c == '{' || c == '[')
        r->at++;
    r->depth++;
    v = c == '"'                             ? read_string(r)
        : c == '{'                           ? read_object(r)
        : c == '['                           ? read_list(r)
        : c == '-' || (c >= '0' && c <= '9') ? read_integer(r)
                                             : read_word(r);
    r->depth--;
    return v;
}

int hone_json_quick(json_t **out, const char *text, size_t len)
{
    reader r = {.at = text, .end = text + len};
    json_t *v = len ? read_value(&r) : give_up(&r, HONE_EUNSUPPORTED);

    if (v) {
        skip_space(&r);
        if (r.at != r.end) {
            json_decref(v);
            v = give_up(&r, HONE_EUNSUPPORTED);
        }
    }
    hone_buf_clear(&r.text);
    *out = v;
    return v ? 0 : r.rc;
}

/* ---- writing --------------------------------------------------------------------------------------------------------- */

static void write_text(hone_buf *out, const char *s, size_t n)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    size_t i, begin = 0;

    hone_buf_putc(out, '"');
    for (i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s[i];
        const char *known;

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        hone_buf_add(out, s + begin, i - begin);
        begin = i + 1;
        known = c ? strchr(from, c) : NULL;
        if (known) {
            hone_buf_putc(out, '\\');
            hone_buf_putc(out, to[known - from]);
        } else {
            hone_buf_printf(out, "\\u%04X", c);
        }
    }
    hone_buf_add(out, s + begin, n - begin);
    hone_buf_putc(out, '"');
}

static void write_real(hone_buf *out, const json_t *value)
{
    char text[64];
    size_t n = json_dumpb(value, text, sizeof text, JSON_ENCODE_ANY);

    if (n && n <= sizeof text)
        hone_buf_add(out, text, n);
    else
        out->failed = true;
}

void hone_json_write(hone_buf *out, const json_t *value)
{
    const char *key;
    json_t *v;
    size_t i;
    bool first = true;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        hone_buf_putc(out, '{');
        json_object_foreach((json_t *)value, key, v)
        {
            if (!first)
                hone_buf_putc(out, ',');
            first = false;
            write_text(out, key, strlen(key));
            hone_buf_putc(out, ':');
            hone_json_write(out, v);
        }
        hone_buf_putc(out, '}');
        break;
    case JSON_ARRAY:
        hone_buf_putc(out, '[');
        json_array_foreach(value, i, v)
        {
            if (i)
                hone_buf_putc(out, ',');
            hone_json_write(out, v);
        }
        hone_buf_putc(out, ']');
        break;
    case JSON_STRING:
        write_text(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        hone_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        write_real(out, value);
        break;
    case JSON_TRUE:
        hone_buf_puts(out, "true");
        break;
    case JSON_FALSE:
        hone_buf_puts(out, "false");
        break;
    case JSON_NULL:
        hone_buf_puts(out, "null");
        break;
    }
}
