/* From template source to tokens, and the arena.
 *
 * All whitespace control is decided here, by the rules of Jinja2's lexer with trim_blocks and lstrip_blocks:
 *   - newlines become \n, one trailing newline of the source is dropped;
 *   - `-` inside a tag's edge strips all white space on that side, `+` switches the two options off there;
 *   - else blanks between the start of a line and a `{%` or `{#` are dropped, and one newline after `%}` or `#}`.
 * A tag ends at its closing mark only outside of brackets, so that `{{ {'a': {}} }}` is one tag. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"

#define CHUNK ((size_t)32 << 10)

struct jinja_chunk {
    struct jinja_chunk *next;
    size_t size;
};

void *jinja_alloc(jinja_arena *a, size_t size)
{
    const size_t head = (sizeof(struct jinja_chunk) + 15) & ~(size_t)15;
    struct jinja_chunk *chunk;
    size_t want;
    void *p;

    if (size > a->limit)
        jinja_fail(a, HONE_ELIMIT, "the template needs more than %zu MiB of memory", a->limit >> 20);
    size = (size + 15) & ~(size_t)15;
    if ((size_t)(a->end - a->at) < size) {
        want = HONE_MAX(head + size, CHUNK);
        if (a->total + want > a->limit)
            jinja_fail(a, HONE_ELIMIT, "the template needs more than %zu MiB of memory", a->limit >> 20);
        chunk = hone_alloc(want);
        if (!chunk)
            jinja_fail(a, HONE_ENOMEM, "out of memory");
        chunk->next = a->chunk;
        chunk->size = want;
        a->chunk = chunk;
        a->total += want;
        p = (char *)chunk + head;
        if (want - head - size > (size_t)(a->end - a->at)) { /* keep the roomier rest for later requests */
            a->at = (char *)p + size;
            a->end = (char *)chunk + want;
        }
    } else {
        p = a->at;
        a->at += size;
    }
    return memset(p, 0, size);
}

void *jinja_alloc_array(jinja_arena *a, size_t n, size_t size)
{
    if (n > SIZE_MAX / size)
        jinja_fail(a, HONE_ELIMIT, "the template needs too much memory");
    return jinja_alloc(a, n * size);
}

void jinja_arena_free(jinja_arena *a)
{
    struct jinja_chunk *chunk, *next;

    for (chunk = a->chunk; chunk; chunk = next) {
        next = chunk->next;
        hone_free(chunk);
    }
    a->chunk = NULL;
    a->at = a->end = NULL;
    a->total = 0;
}

void jinja_fail(jinja_arena *a, int code, const char *format, ...)
{
    char text[800];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (a->line)
        hone_error_set(a->err, code, "template line %u: %s", (unsigned)a->line, text);
    else
        hone_error_set(a->err, code, "template: %s", text);
    longjmp(*a->home, code);
}

typedef struct lexer {
    jinja_arena *a;
    const char *s;
    size_t n, at;
    uint32_t line;
    bool line_start; /* the last tag ended a line, so blanks before the next tag are at the start of one */
    jinja_token *token;
    size_t n_token, capacity;
    char bracket[256]; /* open brackets of the present tag */
    size_t n_bracket;
} lexer;

static jinja_token *push(lexer *x, jinja_token_type type, const char *s, size_t n)
{
    jinja_token *t;

    if (x->n_token == x->capacity) {
        x->capacity = x->capacity ? x->capacity * 2 : 256;
        t = jinja_alloc_array(x->a, x->capacity, sizeof *t);
        if (x->n_token)
            memcpy(t, x->token, x->n_token * sizeof *t);
        x->token = t;
    }
    t = &x->token[x->n_token++];
    t->type = type;
    t->line = x->line;
    t->s = s;
    t->n = n;
    return t;
}

_Noreturn static void fail(lexer *x, const char *what)
{
    x->a->line = x->line;
    jinja_fail(x->a, HONE_EFORMAT, "%s", what);
}

static void advance(lexer *x, size_t to)
{
    for (; x->at < to; x->at++)
        if (x->s[x->at] == '\n')
            x->line++;
}

static size_t space_at(const lexer *x, size_t p)
{
    int32_t cp;
    size_t n;

    if (p >= x->n)
        return 0;
    n = hone_utf8_get(x->s + p, x->n - p, &cp);
    return jinja_is_space(cp) ? n : 0;
}

static size_t skip_space(const lexer *x, size_t p)
{
    size_t n;

    while ((n = space_at(x, p)))
        p += n;
    return p;
}

static bool looking_at(const lexer *x, size_t p, const char *text)
{
    size_t n = strlen(text);

    return p + n <= x->n && !memcmp(x->s + p, text, n);
}

/* End of [begin, end) without trailing white space. */
static size_t strip_end(const lexer *x, size_t begin, size_t end)
{
    int32_t cp;
    size_t p;

    while (end > begin) {
        p = end - 1;
        while (p > begin && ((unsigned char)x->s[p] & 0xc0) == 0x80)
            p--;
        if (hone_utf8_get(x->s + p, end - p, &cp) != end - p || !jinja_is_space(cp))
            break;
        end = p;
    }
    return end;
}

/* Emits the text [x->at, end) that stands before a tag whose opening mark carries `sign` ('-', '+' or 0). */
static void text_before(lexer *x, size_t end, char sign, bool is_variable)
{
    size_t begin = x->at, stop = end, line;

    if (sign == '-') {
        stop = strip_end(x, begin, end);
    } else if (sign != '+' && !is_variable) {
        for (line = end; line > begin && x->s[line - 1] != '\n'; line--)
            ;
        if ((line > begin || x->line_start) && strip_end(x, line, end) == line)
            stop = line;
    }
    if (stop > begin)
        push(x, T_DATA, x->s + begin, stop - begin);
    advance(x, end);
}

static char sign_at(const lexer *x, size_t p)
{
    return p < x->n && (x->s[p] == '-' || x->s[p] == '+') ? x->s[p] : 0;
}

/* If a tag with opening mark at p holds just `word` ("raw", "endraw"), returns the position after it. trim: a
 * newline directly after the closing mark belongs to the tag. */
static size_t keyword_tag(const lexer *x, size_t p, const char *word, bool trim)
{
    p += 2;
    if (sign_at(x, p))
        p++;
    p = skip_space(x, p);
    if (!looking_at(x, p, word))
        return 0;
    p = skip_space(x, p + strlen(word));
    if (looking_at(x, p, "-%}"))
        return skip_space(x, p + 3);
    if (trim && looking_at(x, p, "+%}"))
        return p + 3;
    if (!looking_at(x, p, "%}"))
        return 0;
    p += 2;
    return trim && p < x->n && x->s[p] == '\n' ? p + 1 : p;
}

static void finish_tag(lexer *x, size_t end)
{
    advance(x, end);
    x->line_start = end && x->s[end - 1] == '\n';
}

static void raw_block(lexer *x, size_t body)
{
    size_t p, end;

    finish_tag(x, body);
    for (p = body; p + 1 < x->n; p++)
        if (x->s[p] == '{' && x->s[p + 1] == '%' && (end = keyword_tag(x, p, "endraw", true))) {
            text_before(x, p, sign_at(x, p + 2), false);
            finish_tag(x, end);
            return;
        }
    fail(x, "missing end of raw block");
}

static void comment(lexer *x)
{
    size_t p;

    for (p = x->at; p + 1 < x->n; p++)
        if (x->s[p] == '#' && x->s[p + 1] == '}') {
            char sign = p > x->at ? sign_at(x, p - 1) : 0;
            size_t end = p + 2;

            if (sign == '-')
                end = skip_space(x, end);
            else if (sign != '+' && end < x->n && x->s[end] == '\n')
                end++;
            finish_tag(x, end);
            return;
        }
    fail(x, "missing end of comment tag");
}

/* ---- inside a tag ------------------------------------------------------------------------------------------- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Resolves the escapes of a string literal as Python does. */
static void string_value(lexer *x, const char *s, size_t n, jinja_token *t)
{
    char *out =
        jinja_alloc(x->a, n * 3 + 1); /* a backslash before a character outside ASCII grows, see below */
    size_t i, k = 0, digits, need, len;
    int32_t cp;

    for (i = 0; i < n;) {
        char c = s[i++];

        if (c != '\\' || i >= n) {
            out[k++] = c;
            continue;
        }
        c = s[i++];
        need = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        if (need) {
            for (cp = 0, digits = 0; digits < need && i < n && hex(s[i]) >= 0 && cp <= 0x110000; digits++)
                cp = cp * 16 + hex(s[i++]);
            if (digits < need || cp > 0x10ffff)
                fail(x, "bad escape in a string literal");
            if (cp >= 0xd800 && cp < 0xe000)
                fail(x, "surrogate escapes in string literals are not supported");
            k += hone_utf8_put(out + k, cp);
            continue;
        }
        if (c >= '0' && c <= '7') {
            for (cp = c - '0', digits = 1; digits < 3 && i < n && s[i] >= '0' && s[i] <= '7'; digits++)
                cp = cp * 8 + (s[i++] - '0');
            k += hone_utf8_put(out + k, cp);
            continue;
        }
        switch (c) {
        case '\n':
            break;
        case 'n':
            out[k++] = '\n';
            break;
        case 't':
            out[k++] = '\t';
            break;
        case 'r':
            out[k++] = '\r';
            break;
        case 'a':
            out[k++] = '\a';
            break;
        case 'b':
            out[k++] = '\b';
            break;
        case 'f':
            out[k++] = '\f';
            break;
        case 'v':
            out[k++] = '\v';
            break;
        case '\\':
        case '\'':
        case '"':
            out[k++] = c;
            break;
        case 'N':
            fail(x, "\\N{...} escapes in string literals are not supported");
        default:
            out[k++] = '\\';
            if ((unsigned char)c < 0x80) {
                out[k++] = c;
                break;
            }
            /* Jinja2 writes characters outside ASCII as escapes first, so the backslash escapes that one's. */
            len = hone_utf8_get(s + i - 1, n - (i - 1), &cp);
            k += (size_t)snprintf(out + k, 11,
                                  cp < 0x100     ? "x%02x"
                                  : cp < 0x10000 ? "u%04x"
                                                 : "U%08x",
                                  (unsigned)cp);
            i += len - 1;
        }
    }
    t->s = out;
    t->n = k;
}

/* Digits with single underscores between them, from p on; returns the end (p when there are none). */
static size_t digits_end(const lexer *x, size_t p)
{
    while (p < x->n &&
           ((x->s[p] >= '0' && x->s[p] <= '9') || (x->s[p] == '_' && p + 1 < x->n && x->s[p + 1] >= '0' &&
                                                   x->s[p + 1] <= '9' && p && x->s[p - 1] != '_')))
        p++;
    return p;
}

static void number(lexer *x)
{
    size_t begin = x->at, end = digits_end(x, begin), point = 0, e, p;
    bool is_float = false, after_dot = begin > 0 && x->s[begin - 1] == '.';
    long exponent = 0;
    int base = 10, d;
    char text[420];
    size_t k = 0;
    jinja_token *t;

    if (x->s[begin] == '0' && begin + 1 < x->n) {
        char c = (char)(x->s[begin + 1] | 0x20);

        base = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
    }
    if (base == 10 && !after_dot) {
        if (end + 1 < x->n && x->s[end] == '.' && digits_end(x, end + 1) > end + 1) {
            point = end;
            end = digits_end(x, end + 1);
            is_float = true;
        }
        if (end < x->n && (x->s[end] | 0x20) == 'e') {
            e = end + 1;
            if (e < x->n && (x->s[e] == '+' || x->s[e] == '-'))
                e++;
            if (digits_end(x, e) > e) {
                exponent = strtol(x->s + end + 1, NULL, 10);
                p = end;
                end = digits_end(x, e);
                is_float = true;
                e = p;
            }
        }
    }
    if (is_float) {
        /* Without a point, so that the program's locale has no say in it. */
        for (p = begin; p < end && (x->s[p] | 0x20) != 'e'; p++) {
            if (x->s[p] == '.' || x->s[p] == '_')
                continue;
            if (k + 32 > sizeof text)
                fail(x, "number too long");
            text[k++] = x->s[p];
            if (point && p > point)
                exponent--;
        }
        snprintf(text + k, sizeof text - k, "e%ld", HONE_MAX(HONE_MIN(exponent, 99999L), -99999L));
        t = push(x, T_FLOAT, x->s + begin, end - begin);
        t->f = strtod(text, NULL);
    } else {
        t = push(x, T_INT, x->s + begin, 0);
        p = begin;
        if (base != 10)
            p += 2;
        else if (x->s[p] == '0') /* as Python: only zeros may follow a leading zero */
            for (end = p; end < x->n && x->s[end] == '0'; end++)
                ;
        for (e = p; e < x->n; e++) {
            d = hex(x->s[e]);
            if (x->s[e] == '_' && e + 1 < x->n && hex(x->s[e + 1]) >= 0 && hex(x->s[e + 1]) < base)
                continue;
            if (d < 0 || d >= base || (base == 10 && e >= end))
                break;
            if (__builtin_mul_overflow(t->i, (int64_t)base, &t->i) ||
                __builtin_add_overflow(t->i, (int64_t)d, &t->i))
                fail(x, "integer beyond 64 bits");
        }
        if (base != 10 && e == p)
            e = begin + 1; /* "0x" without digits is a 0 and a name */
        end = e;
        t->n = end - begin;
    }
    advance(x, end);
}

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static void operator_(lexer *x)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    static const char one[] = "+-/*%~[](){}><=.:|,;";
    char c = x->s[x->at], open;
    char message[64];
    size_t i;

    for (i = 0; i < HONE_COUNT(two); i++)
        if (looking_at(x, x->at, two[i])) {
            push(x, T_OP, two[i], 2);
            advance(x, x->at + 2);
            return;
        }
    if (!c || !strchr(one, c)) {
        snprintf(message, sizeof message, "unexpected character '%c'", c >= ' ' && c < 127 ? c : '?');
        fail(x, message);
    }
    if (c == '(' || c == '[' || c == '{') {
        if (x->n_bracket == sizeof x->bracket) {
            x->a->line = x->line;
            jinja_fail(x->a, HONE_ELIMIT, "brackets nested more than %zu levels deep", sizeof x->bracket);
        }
        x->bracket[x->n_bracket++] = c;
    } else if (c == ')' || c == ']' || c == '}') {
        open = c == ')' ? '(' : c == ']' ? '[' : '{';
        if (!x->n_bracket || x->bracket[x->n_bracket - 1] != open) {
            snprintf(message, sizeof message, "unexpected '%c'", c);
            fail(x, message);
        }
        x->n_bracket--;
    }
    push(x, T_OP, strchr(one, c), 1);
    advance(x, x->at + 1);
}

/* Whether the tag ends at x->at; the end of its closing mark and of what the mark swallows. */
static size_t tag_end(const lexer *x, bool is_variable)
{
    size_t p = x->at;

    if (is_variable) {
        if (looking_at(x, p, "-}}"))
            return skip_space(x, p + 3);
        return looking_at(x, p, "}}") ? p + 2 : 0;
    }
    if (looking_at(x, p, "+%}"))
        return p + 3;
    if (looking_at(x, p, "-%}"))
        return skip_space(x, p + 3);
    if (!looking_at(x, p, "%}"))
        return 0;
    return p + 2 < x->n && x->s[p + 2] == '\n' ? p + 3 : p + 2;
}

static void tag(lexer *x, bool is_variable)
{
    size_t end, p;
    jinja_token *t;
    char c;

    push(x, is_variable ? T_VARIABLE_BEGIN : T_BLOCK_BEGIN, x->s + x->at - 2, 2);
    x->n_bracket = 0;
    for (;;) {
        advance(x, skip_space(x, x->at));
        if (x->at >= x->n)
            fail(x, is_variable ? "unexpected end of the template inside {{ }}"
                                : "unexpected end of the template inside {% %}");
        if (!x->n_bracket && (end = tag_end(x, is_variable))) {
            push(x, is_variable ? T_VARIABLE_END : T_BLOCK_END, x->s + x->at, 2);
            finish_tag(x, end);
            return;
        }
        c = x->s[x->at];
        if (c >= '0' && c <= '9') {
            number(x);
        } else if (is_name_byte(c)) {
            for (p = x->at; p < x->n && is_name_byte(x->s[p]) && !space_at(x, p); p++)
                ;
            push(x, T_NAME, x->s + x->at, p - x->at);
            advance(x, p);
        } else if (c == '\'' || c == '"') {
            for (p = x->at + 1; p < x->n && x->s[p] != c; p++)
                if (x->s[p] == '\\')
                    p++;
            if (p >= x->n)
                fail(x, "string literal without its closing quote");
            t = push(x, T_STRING, NULL, 0);
            string_value(x, x->s + x->at + 1, p - x->at - 1, t);
            advance(x, p + 1);
        } else {
            operator_(x);
        }
    }
}

/* \r\n and \r become \n; one trailing newline goes. The copy lives in the arena: tokens point into it. */
static size_t normalise(char *out, const char *s, size_t n)
{
    size_t i, k = 0;

    for (i = 0; i < n; i++) {
        if (s[i] == '\r') {
            out[k++] = '\n';
            if (i + 1 < n && s[i + 1] == '\n')
                i++;
        } else {
            out[k++] = s[i];
        }
    }
    if (k && out[k - 1] == '\n')
        k--;
    return k;
}

jinja_token *jinja_lex(jinja_arena *a, const char *source, size_t len)
{
    char *copy = jinja_alloc(a, len + 1);
    lexer x = {.a = a, .s = copy, .line = 1, .line_start = true};
    size_t p, end;
    int32_t cp;
    char sign;

    x.n = normalise(copy, source, len);
    for (p = 0; p < x.n; p += hone_utf8_get(copy + p, x.n - p, &cp))
        if (hone_utf8_get(copy + p, x.n - p, &cp) && cp < 0) {
            advance(&x, p);
            fail(&x, "not UTF-8");
        }
    for (p = 0; x.at < x.n;) {
        for (p = x.at; p + 1 < x.n; p++)
            if (copy[p] == '{' && (copy[p + 1] == '%' || copy[p + 1] == '{' || copy[p + 1] == '#'))
                break;
        if (p + 1 >= x.n) {
            push(&x, T_DATA, copy + x.at, x.n - x.at);
            advance(&x, x.n);
            break;
        }
        sign = sign_at(&x, p + 2);
        text_before(&x, p, sign, copy[p + 1] == '{');
        if (copy[p + 1] == '%' && (end = keyword_tag(&x, p, "raw", false))) {
            raw_block(&x, end);
            continue;
        }
        advance(&x, p + 2 + (sign ? 1 : 0));
        if (copy[p + 1] == '#')
            comment(&x);
        else
            tag(&x, copy[p + 1] == '{');
    }
    push(&x, T_EOF, copy + x.n, 0);
    return x.token;
}
