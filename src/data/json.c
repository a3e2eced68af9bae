/* JSON of files that nobody vouches for. A text of 64 MiB may hold twenty million empty objects, which would take
 * gigabytes once they are parsed; so the values of a long text are counted before. How deep values nest, jansson bounds. */
#include <math.h>
#include <string.h>

#include "data/data.h"
#include "format/json_quick.h"

#define SHORT ((size_t)1 << 20) /* a text that can hold no more values than MOST_VALUES */
#define MOST_VALUES ((size_t)1 << 20)

/* Whether the text holds more values than are read: every value but the first of its list follows a comma. */
static bool has_too_many(const char *text, size_t n)
{
    size_t i, values = 0;
    bool string = false;

    if (n <= SHORT)
        return false;
    for (i = 0; i < n && values <= MOST_VALUES; i++)
        if (text[i] == '"')
            string = !string;
        else if (string)
            i += text[i] == '\\';
        else
            values += text[i] == ',' || text[i] == '[' || text[i] == '{';
    return values > MOST_VALUES;
}

int json_read(json_t **out, const char *text, size_t n, json_problem *problem)
{
    json_error_t e;

    *out = NULL;
    *problem = (json_problem){.line = 1};
    if (has_too_many(text, n)) {
        problem->code = HONE_ELIMIT;
        snprintf(problem->reason, sizeof problem->reason, "more than %zu values", MOST_VALUES);
        return problem->code;
    }
    problem->code = hone_json_quick(out, text, n);
    if (problem->code != HONE_EUNSUPPORTED)
        return problem->code;
    problem->code = 0;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*out)
        return 0;
    problem->code =
        json_error_code(&e) == json_error_out_of_memory || !e.text[0] ? HONE_ENOMEM : HONE_EFORMAT;
    problem->line = e.line > 0 ? (uint64_t)e.line : 1;
    switch (json_error_code(&e)) {
    case json_error_null_character:
    case json_error_null_byte_in_key:
        snprintf(problem->reason, sizeof problem->reason, "a text with a NUL character");
        break;
    case json_error_invalid_utf8:
        snprintf(problem->reason, sizeof problem->reason, "bytes that are no UTF-8: %s", e.text);
        break;
    case json_error_stack_overflow:
        snprintf(problem->reason, sizeof problem->reason, "nested too deeply: %s", e.text);
        break;
    default:
        snprintf(problem->reason, sizeof problem->reason, "%s", e.text);
    }
    return problem->code;
}

int json_write(hone_buf *out, const json_t *value, hone_error *err)
{
    hone_json_write(out, value);
    return out->failed ? hone_error_set(err, HONE_ENOMEM, "out of memory") : 0;
}

void json_put_text(hone_buf *out, const char *s, size_t n)
{
    size_t i, from = 0;

    hone_buf_putc(out, '"');
    for (i = 0; i < n; i++) {
        uint8_t c = (uint8_t)s[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        hone_buf_add(out, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\') {
            hone_buf_putc(out, '\\');
            hone_buf_putc(out, (char)c);
        } else if (c == '\n') {
            hone_buf_puts(out, "\\n");
        } else {
            hone_buf_printf(out, "\\u%04x", c);
        }
    }
    hone_buf_add(out, s + from, n - from);
    hone_buf_putc(out, '"');
}

void json_put_utf8(hone_buf *out, const char *s)
{
    size_t n = strlen(s), i, step;
    hone_buf clean = {0};

    for (i = 0; i < n; i += step) {
        char c[4];
        int32_t cp;

        step = hone_utf8_get(s + i, n - i, &cp);
        if (cp < 0)
            hone_buf_add(&clean, c, hone_utf8_put(c, 0xfffd));
        else
            hone_buf_add(&clean, s + i, step);
    }
    if (clean.failed)
        out->failed = true;
    else
        json_put_text(out, clean.data ? clean.data : "", clean.len);
    hone_buf_clear(&clean);
}

void json_put_figure(hone_buf *b, double x, int digits)
{
    json_t *v = isfinite(x) ? json_real(x) : json_null();
    char text[64] = "";
    size_t n = v ? json_dumpb(v, text, sizeof text, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits)) : 0;

    json_decref(v);
    if (n && n <= sizeof text)
        hone_buf_add(b, text, n);
    else
        b->failed = true;
}
