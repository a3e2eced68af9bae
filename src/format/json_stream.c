/* The pull reader: see json_stream.h. Strings without escapes are handed out where they lie. */
#include <inttypes.h>
#include <string.h>

#include "format/json_stream.h"

void hone_json_open(hone_json *j, const char *name, const char *text, size_t len, hone_error *err)
{
    memset(j, 0, sizeof *j);
    j->name = name;
    j->text = j->at = text ? text : "";
    j->end = j->text + len;
    j->err = err;
}

void hone_json_close(hone_json *j)
{
    hone_buf_clear(&j->scratch);
}

int hone_json_fail(hone_json *j, int code, const char *format, ...)
{
    char reason[600];
    const char *p, *line_start = j->text;
    size_t line = 1;
    va_list args;

    if (j->code)
        return j->code;
    for (p = j->text; p < j->at; p++)
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    j->code = code;
    return hone_error_set(j->err, code, "%s:%zu:%zu: %s", j->name, line, (size_t)(j->at - line_start) + 1,
                          reason);
}

static bool fail(hone_json *j, const char *reason)
{
    hone_json_fail(j, HONE_EFORMAT, "%s", reason);
    return false;
}

static void skip_blanks(hone_json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\r' || *j->at == '\t'))
        j->at++;
}

char hone_json_peek(hone_json *j)
{
    if (j->code)
        return 0;
    skip_blanks(j);
    return j->at < j->end ? *j->at : 0;
}

static bool expect(hone_json *j, char c, const char *what)
{
    char got = hone_json_peek(j);

    if (j->code)
        return false;
    if (got != c) {
        if (j->at >= j->end)
            hone_json_fail(j, HONE_EFORMAT, "the text ends where %s should stand", what);
        else
            hone_json_fail(j, HONE_EFORMAT, "expected %s", what);
        return false;
    }
    j->at++;
    return true;
}

static bool enter(hone_json *j, char c, const char *what)
{
    if (!expect(j, c, what))
        return false;
    if (++j->depth > HONE_JSON_DEPTH) {
        hone_json_fail(j, HONE_ELIMIT, "nested deeper than %d", HONE_JSON_DEPTH);
        return false;
    }
    j->first = true;
    return true;
}

/* True when another member follows in the innermost container, which `close` ends. */
static bool next_member(hone_json *j, char close)
{
    char c = hone_json_peek(j);

    if (j->code)
        return false;
    if (c == close) {
        j->at++;
        j->depth--;
        j->first = false;
        return false;
    }
    if (!j->first) {
        if (c != ',')
            return fail(j, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
        j->at++;
        if (hone_json_peek(j) == close)
            return fail(j, "a value must follow the comma");
    }
    j->first = false;
    return true;
}

bool hone_json_object(hone_json *j)
{
    return enter(j, '{', "an object");
}

bool hone_json_array(hone_json *j)
{
    return enter(j, '[', "an array");
}

bool hone_json_key(hone_json *j, const char **key, size_t *len)
{
    return next_member(j, '}') && hone_json_string(j, key, len) && expect(j, ':', "':'");
}

bool hone_json_item(hone_json *j)
{
    return next_member(j, ']');
}

static bool hex4(hone_json *j, int32_t *value)
{
    int i;

    if (j->end - j->at < 4)
        return fail(j, "the text ends inside an escape");
    *value = 0;
    for (i = 0; i < 4; i++) {
        char c = j->at[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;

        if (d < 0)
            return fail(j, "four hexadecimal digits must follow \\u");
        *value = *value << 4 | d;
    }
    j->at += 4;
    return true;
}

/* One escape, j->at behind the backslash; its character goes to the scratch buffer. */
static bool unescape(hone_json *j)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int32_t c, low;
    char utf8[4];
    const char *hit;

    if (j->at >= j->end)
        return fail(j, "the text ends inside a string");
    hit = *j->at ? strchr(from, *j->at) : NULL;
    if (hit) {
        hone_buf_putc(&j->scratch, to[hit - from]);
        j->at++;
        return true;
    }
    if (*j->at != 'u')
        return fail(j, "unknown escape");
    j->at++;
    if (!hex4(j, &c))
        return false;
    if (c >= 0xd800 && c <= 0xdfff) {
        if (c >= 0xdc00 || j->end - j->at < 6 || j->at[0] != '\\' || j->at[1] != 'u')
            return fail(j, "half a surrogate pair");
        j->at += 2;
        if (!hex4(j, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(j, "half a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    hone_buf_add(&j->scratch, utf8, hone_utf8_put(utf8, c));
    return true;
}

bool hone_json_string(hone_json *j, const char **s, size_t *len)
{
    const char *start;
    bool escaped = false;

    if (!expect(j, '"', "a string"))
        return false;
    start = j->at;
    for (;;) {
        const char *p = j->at;
        unsigned char c = 0;

        while (p < j->end && (c = (unsigned char)*p) < 0x80 && c >= 0x20 && c != '"' && c != '\\')
            p++;
        j->at = p;
        if (p >= j->end)
            return fail(j, "the text ends inside a string");
        if (c == '"')
            break;
        if (c == '\\') {
            if (!escaped)
                j->scratch.len = 0;
            hone_buf_add(&j->scratch, start, (size_t)(p - start));
            escaped = true;
            j->at++;
            if (!unescape(j))
                return false;
            start = j->at;
        } else if (c < 0x20) {
            return fail(j, "a control character inside a string");
        } else {
            int32_t code_point;
            size_t n = hone_utf8_get(p, (size_t)(j->end - p), &code_point);

            if (code_point < 0)
                return fail(j, "ill-formed UTF-8");
            j->at += n;
        }
    }
    *s = start;
    *len = (size_t)(j->at - start);
    j->at++;
    if (escaped) {
        hone_buf_add(&j->scratch, start, *len);
        if (j->scratch.failed) {
            hone_json_fail(j, HONE_ENOMEM, "out of memory for a string");
            return false;
        }
        *s = j->scratch.data;
        *len = j->scratch.len;
    }
    return true;
}

static bool is_digit(const hone_json *j, const char *p)
{
    return p < j->end && *p >= '0' && *p <= '9';
}

/* Moves over a number; *integer: it has neither fraction nor exponent. */
static bool skip_number(hone_json *j, bool *integer)
{
    const char *p = j->at;

    *integer = true;
    if (p < j->end && *p == '-')
        p++;
    if (!is_digit(j, p))
        return fail(j, "expected a number");
    if (*p == '0')
        p++;
    else
        while (is_digit(j, p))
            p++;
    if (is_digit(j, p))
        return fail(j, "a number with a leading zero");
    if (p < j->end && *p == '.') {
        *integer = false;
        if (!is_digit(j, ++p))
            return fail(j, "a number that ends with its point");
        while (is_digit(j, p))
            p++;
    }
    if (p < j->end && (*p == 'e' || *p == 'E')) {
        *integer = false;
        p++;
        if (p < j->end && (*p == '+' || *p == '-'))
            p++;
        if (!is_digit(j, p))
            return fail(j, "a number without the digits of its exponent");
        while (is_digit(j, p))
            p++;
    }
    j->at = p;
    return true;
}

bool hone_json_int(hone_json *j, int64_t *value)
{
    const char *p;
    bool integer, negative;
    uint64_t n = 0;

    hone_json_peek(j);
    if (j->code)
        return false;
    p = j->at;
    if (!skip_number(j, &integer))
        return false;
    negative = *p == '-';
    if (integer)
        for (p += negative; p < j->at; p++)
            if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
                integer = false;
    if (!integer || n > (uint64_t)INT64_MAX)
        return fail(j, "expected a whole number of 64 bits");
    *value = negative ? -(int64_t)n : (int64_t)n;
    return true;
}

static bool word(hone_json *j, const char *w)
{
    size_t n = strlen(w);

    if ((size_t)(j->end - j->at) < n || memcmp(j->at, w, n))
        return fail(j, "expected a value");
    j->at += n;
    return true;
}

bool hone_json_bool(hone_json *j, bool *value)
{
    char c = hone_json_peek(j);

    if (j->code)
        return false;
    if (c != 't' && c != 'f')
        return fail(j, "expected true or false");
    *value = c == 't';
    return word(j, *value ? "true" : "false");
}

/* Depth is bounded by enter(), and so is this recursion. */
static bool skip(hone_json *j)
{
    const char *s;
    size_t len;
    bool integer;

    switch (hone_json_peek(j)) {
    case '{':
        if (!hone_json_object(j))
            return false;
        while (hone_json_key(j, &s, &len))
            if (!skip(j))
                return false;
        return !j->code;
    case '[':
        if (!hone_json_array(j))
            return false;
        while (hone_json_item(j))
            if (!skip(j))
                return false;
        return !j->code;
    case '"':
        return hone_json_string(j, &s, &len);
    case 't':
        return word(j, "true");
    case 'f':
        return word(j, "false");
    case 'n':
        return word(j, "null");
    case 0:
        return j->code ? false : fail(j, "the text ends where a value should stand");
    default:
        return skip_number(j, &integer);
    }
}

bool hone_json_value(hone_json *j, const char **value, size_t *len)
{
    const char *start;

    hone_json_peek(j);
    start = j->at;
    if (!skip(j))
        return false;
    if (value) {
        *value = start;
        *len = (size_t)(j->at - start);
    }
    return true;
}

bool hone_json_end(hone_json *j)
{
    hone_json_peek(j);
    if (j->code)
        return false;
    return j->at >= j->end || fail(j, "something follows the document");
}
