/* Values as text: Python's str and repr, JSON out and in, and the % operator of strings.
 *
 * The origin of a value's printed form is the value's own: digits of a number from a message belong to that message,
 * and so do the quotes, brackets and separators around what a container from a message holds. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"

/* Significant digits of |f| without a point (d.ddd... * 10^exponent), the fewest that read back as f. Independent of
 * the locale's decimal sign. Returns their number. */
static size_t shortest_digits(double f, char digits[24], int *exponent)
{
    char text[64];
    size_t n = 0, i;
    int precision;

    for (precision = 0; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, fabs(f));
        if (strtod(text, NULL) == fabs(f))
            break;
    }
    for (i = 0; text[i] && text[i] != 'e'; i++)
        if (text[i] >= '0' && text[i] <= '9' && n < 20)
            digits[n++] = text[i];
    *exponent = text[i] ? atoi(text + i + 1) : 0;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return n;
}

size_t jinja_float_repr(char out[40], double f)
{
    char digits[24], *p = out;
    size_t n, i;
    int e, k;

    if (isnan(f))
        return (size_t)snprintf(out, 40, "nan");
    if (isinf(f))
        return (size_t)snprintf(out, 40, f < 0 ? "-inf" : "inf");
    n = shortest_digits(f, digits, &e);
    if (signbit(f))
        *p++ = '-';
    if (e < -4 || e >= 16) {
        *p++ = digits[0];
        if (n > 1)
            *p++ = '.';
        for (i = 1; i < n; i++)
            *p++ = digits[i];
        p += snprintf(p, 8, "e%c%02d", e < 0 ? '-' : '+', abs(e));
        return (size_t)(p - out);
    }
    if (e < 0) {
        *p++ = '0';
        *p++ = '.';
        for (k = -1; k > e; k--)
            *p++ = '0';
        for (i = 0; i < n; i++)
            *p++ = digits[i];
        return (size_t)(p - out);
    }
    for (k = 0; k <= e; k++)
        *p++ = (size_t)k < n ? digits[k] : '0';
    *p++ = '.';
    for (i = (size_t)e + 1; i < n; i++)
        *p++ = digits[i];
    if (n <= (size_t)e + 1)
        *p++ = '0';
    return (size_t)(p - out);
}

static void put(jinja_run *r, jinja_out *o, const char *s, uint32_t from)
{
    jinja_out_bytes(r, o, s, strlen(s), from);
}

/* ---- str and repr --------------------------------------------------------------------------------------------- */

static void put_repr_str(jinja_run *r, jinja_out *o, const jinja_str *s)
{
    const char quote = memchr(s->s, '\'', s->n) && !memchr(s->s, '"', s->n) ? '"' : '\'';
    uint32_t from = jinja_str_origin(s, 0);
    char text[16];
    size_t i, n;
    int32_t c;

    jinja_work(r, s->n / 4);
    if (s->safe)
        put(r, o, "Markup(", from);
    jinja_out_bytes(r, o, &quote, 1, from);
    for (i = 0; i < s->n; i += n) {
        from = jinja_str_origin(s, i);
        n = hone_utf8_get(s->s + i, s->n - i, &c);
        if (c == '\\' || c == quote)
            snprintf(text, sizeof text, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(text, sizeof text, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0x100 && !jinja_is_printable(c)))
            snprintf(text, sizeof text, "\\x%02x", (unsigned)c);
        else if (c >= 0x100 && !jinja_is_printable(c))
            snprintf(text, sizeof text, c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
        else {
            jinja_out_bytes(r, o, s->s + i, n, from);
            continue;
        }
        put(r, o, text, from);
    }
    jinja_out_bytes(r, o, &quote, 1, from);
    if (s->safe)
        put(r, o, ")", from);
}

static void put_repr(jinja_run *r, jinja_out *o, jinja_value v)
{
    static const char *const open[] = {"[", "(", NULL, NULL, "dict_keys([", "dict_values([", "dict_items(["};
    static const char *const close[] = {"]", ")", NULL, NULL, "])", "])", "])"};
    char text[80];
    size_t i;

    jinja_enter(r);
    jinja_work(r, 1);
    switch ((jinja_kind)v.kind) {
    case J_UNDEFINED:
        if (v.undef->unsafe)
            FAIL(r, "access to attribute '%s' of '%s' object is unsafe", v.undef->name, v.undef->owner);
        put(r, o, "Undefined", 0);
        break;
    case J_NONE:
        put(r, o, "None", v.origin);
        break;
    case J_BOOL:
        put(r, o, v.b ? "True" : "False", v.origin);
        break;
    case J_INT:
        snprintf(text, sizeof text, "%lld", (long long)v.i);
        put(r, o, text, v.origin);
        break;
    case J_FLOAT:
        jinja_out_bytes(r, o, text, jinja_float_repr(text, v.f), v.origin);
        break;
    case J_STR:
        put_repr_str(r, o, v.str);
        break;
    case J_SEQ:
        if (v.seq->type == SEQ_RANGE) {
            int64_t first = v.seq->n ? v.seq->item[0].i : 0,
                    step = v.seq->n > 1 ? v.seq->item[1].i - first : 1;

            if (v.seq->n != 0 && step == 1) {
                snprintf(text, sizeof text, "range(%lld, %lld)", (long long)first,
                         (long long)(first + (int64_t)v.seq->n));
                put(r, o, text, 0);
                break;
            }
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "printing this range object is not supported");
        }
        if (!open[v.seq->type])
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "printing a %s object is not supported",
                       jinja_type_name(v));
        put(r, o, open[v.seq->type], v.origin);
        for (i = 0; i < v.seq->n; i++) {
            if (i)
                put(r, o, ", ", v.origin);
            put_repr(r, o, v.seq->item[i]);
        }
        if (v.seq->type == SEQ_TUPLE && v.seq->n == 1)
            put(r, o, ",", v.origin);
        put(r, o, close[v.seq->type], v.origin);
        break;
    case J_DICT:
    case J_NAMESPACE:
        put(r, o, v.kind == J_DICT ? "{" : "<Namespace {", v.origin);
        for (i = 0; i < v.dict->n; i++) {
            if (i)
                put(r, o, ", ", v.origin);
            put_repr(r, o, v.dict->entry[i].key);
            put(r, o, ": ", v.origin);
            put_repr(r, o, v.dict->entry[i].value);
        }
        put(r, o, v.kind == J_DICT ? "}" : "}>", v.origin);
        break;
    case J_MACRO:
        put(r, o, "<Macro '", 0);
        jinja_out_bytes(r, o, v.macro->def->name->s, v.macro->def->name->n, 0);
        put(r, o, "'>", 0);
        break;
    case J_LOOP:
        snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v.loop->at + 1, v.loop->n);
        put(r, o, text, 0);
        break;
    default:
        jinja_fail(&r->arena, HONE_EUNSUPPORTED, "printing a %s object is not supported", jinja_type_name(v));
    }
    r->depth--;
}

const jinja_str *jinja_repr(jinja_run *r, jinja_value v)
{
    jinja_out o = {0};

    put_repr(r, &o, v);
    return jinja_out_take(r, &o);
}

const jinja_str *jinja_to_str(jinja_run *r, jinja_value v)
{
    if (v.kind == J_STR)
        return v.str;
    if (v.kind == J_UNDEFINED && !v.undef->unsafe)
        return jinja_str_new(r, "", 0, 0);
    return jinja_repr(r, v);
}

/* ---- JSON out ------------------------------------------------------------------------------------------------- */

typedef struct json_style {
    bool ascii, sort, indented;
    const jinja_str *indent;
    const jinja_str *item, *key; /* separators */
} json_style;

static void put_json_str(jinja_run *r, jinja_out *o, const jinja_str *s, bool ascii)
{
    uint32_t from = jinja_str_origin(s, 0);
    char text[16];
    size_t i, n;
    int32_t c;

    jinja_work(r, s->n / 4);
    put(r, o, "\"", from);
    for (i = 0; i < s->n; i += n) {
        from = jinja_str_origin(s, i);
        n = hone_utf8_get(s->s + i, s->n - i, &c);
        if (c == '"' || c == '\\')
            snprintf(text, sizeof text, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t' || c == '\f' || c == '\b')
            snprintf(text, sizeof text, "\\%c",
                     c == '\n'   ? 'n'
                     : c == '\r' ? 'r'
                     : c == '\t' ? 't'
                     : c == '\f' ? 'f'
                                 : 'b');
        else if (c < 0x20 || (ascii && c >= 0x7f && c < 0x10000))
            snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
        else if (ascii && c >= 0x10000)
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + (((unsigned)c - 0x10000) >> 10),
                     0xdc00 + ((unsigned)c & 0x3ff));
        else {
            jinja_out_bytes(r, o, s->s + i, n, from);
            continue;
        }
        put(r, o, text, from);
    }
    put(r, o, "\"", from);
}

static void new_line(jinja_run *r, jinja_out *o, const json_style *style, int level, uint32_t from)
{
    int i;

    if (!style->indented)
        return;
    put(r, o, "\n", from);
    for (i = 0; i < level; i++)
        jinja_out_bytes(r, o, style->indent->s, style->indent->n, from);
}

static void put_json_number(jinja_run *r, jinja_out *o, jinja_value v)
{
    char text[40];

    if (v.kind == J_FLOAT && !isfinite(v.f))
        put(r, o, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity", v.origin);
    else if (v.kind == J_FLOAT)
        jinja_out_bytes(r, o, text, jinja_float_repr(text, v.f), v.origin);
    else if (v.kind == J_INT) {
        snprintf(text, sizeof text, "%lld", (long long)v.i);
        put(r, o, text, v.origin);
    } else
        put(r, o, v.kind == J_NONE ? "null" : v.b ? "true" : "false", v.origin);
}

static void put_json(jinja_run *r, jinja_out *o, jinja_value v, const json_style *style, int level)
{
    jinja_seq *seq;
    jinja_value *keys;
    jinja_entry *e;
    size_t i, n;

    jinja_enter(r);
    jinja_work(r, 1);
    if (v.kind == J_STR) {
        put_json_str(r, o, v.str, style->ascii);
    } else if (v.kind == J_NONE || jinja_is_number(v)) {
        put_json_number(r, o, v);
    } else if (v.kind == J_SEQ && (v.seq->type == SEQ_LIST || v.seq->type == SEQ_TUPLE)) {
        put(r, o, "[", v.origin);
        for (i = 0; i < v.seq->n; i++) {
            if (i)
                jinja_out_bytes(r, o, style->item->s, style->item->n, v.origin);
            new_line(r, o, style, level + 1, v.origin);
            put_json(r, o, v.seq->item[i], style, level + 1);
        }
        if (v.seq->n)
            new_line(r, o, style, level, v.origin);
        put(r, o, "]", v.origin);
    } else if (v.kind == J_DICT) {
        put(r, o, "{", v.origin);
        n = v.dict->n;
        e = v.dict->entry;
        if (style->sort && n) { /* values to be moved along are positions */
            seq = jinja_seq_new(r, SEQ_LIST, n);
            keys = jinja_alloc_array(&r->arena, n, sizeof *keys);
            for (i = 0; i < n; i++) {
                keys[i] = e[i].key;
                jinja_seq_push(r, seq, jinja_int((int64_t)i));
            }
            jinja_sort(r, seq->item, keys, n, false);
            e = jinja_alloc_array(&r->arena, n, sizeof *e);
            for (i = 0; i < n; i++)
                e[i] = v.dict->entry[seq->item[i].i];
        }
        for (i = 0; i < n; i++) {
            if (i)
                jinja_out_bytes(r, o, style->item->s, style->item->n, v.origin);
            new_line(r, o, style, level + 1, v.origin);
            if (e[i].key.kind == J_STR) {
                put_json_str(r, o, e[i].key.str, style->ascii);
            } else {
                if (e[i].key.kind != J_NONE && !jinja_is_number(e[i].key))
                    FAIL(r, "keys must be str, int, float, bool or None, not %s", jinja_type_name(e[i].key));
                put(r, o, "\"", v.origin);
                put_json_number(r, o, e[i].key);
                put(r, o, "\"", v.origin);
            }
            jinja_out_bytes(r, o, style->key->s, style->key->n, v.origin);
            put_json(r, o, e[i].value, style, level + 1);
        }
        if (n)
            new_line(r, o, style, level, v.origin);
        put(r, o, "}", v.origin);
    } else {
        FAIL(r, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
    r->depth--;
}

const jinja_str *jinja_to_json(jinja_run *r, jinja_value v, jinja_value ensure_ascii, jinja_value indent,
                               jinja_value separators, jinja_value sort_keys)
{
    json_style style = {.ascii = jinja_truth(ensure_ascii), .sort = jinja_truth(sort_keys)};
    jinja_out o = {0};

    style.indented = indent.kind == J_INT || indent.kind == J_BOOL || indent.kind == J_STR;
    if (indent.kind == J_STR)
        style.indent = indent.str;
    else if (style.indented)
        style.indent = jinja_str_repeat(r, jinja_str_of(r, " "), indent.kind == J_INT ? indent.i : indent.b);
    else if (indent.kind != J_MISSING && indent.kind != J_NONE)
        FAIL(r, "tojson: indent must be a number or a string, not %s", jinja_type_name(indent));
    style.item = jinja_str_of(r, style.indented ? "," : ", ");
    style.key = jinja_str_of(r, ": ");
    if (separators.kind == J_SEQ && separators.seq->n == 2 && separators.seq->item[0].kind == J_STR &&
        separators.seq->item[1].kind == J_STR) {
        style.item = separators.seq->item[0].str;
        style.key = separators.seq->item[1].str;
    } else if (separators.kind != J_MISSING && separators.kind != J_NONE) {
        FAIL(r, "tojson: separators must be two strings");
    }
    put_json(r, &o, v, &style, 0);
    return jinja_out_take(r, &o);
}

/* ---- JSON in -------------------------------------------------------------------------------------------------- */

jinja_value jinja_from_json(jinja_run *r, const json_t *j, uint32_t origin)
{
    jinja_value v = jinja_none();
    jinja_seq *seq;
    jinja_dict *dict;
    const char *key;
    json_t *item;
    size_t i;
    void *at;

    jinja_enter(r);
    jinja_work(r, 1);
    switch (json_typeof(j)) {
    case JSON_STRING:
        v = jinja_of_str(jinja_str_new(r, json_string_value(j), json_string_length(j), origin));
        break;
    case JSON_INTEGER:
        v = jinja_int(json_integer_value(j));
        break;
    case JSON_REAL:
        v = jinja_float(json_real_value(j));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = jinja_bool(json_is_true(j));
        break;
    case JSON_ARRAY:
        seq = jinja_seq_new(r, SEQ_LIST, json_array_size(j));
        for (i = 0; i < json_array_size(j); i++)
            jinja_seq_push(r, seq, jinja_from_json(r, json_array_get(j, i), origin));
        v = jinja_of_seq(seq);
        break;
    case JSON_OBJECT:
        dict = jinja_dict_new(r);
        for (at = json_object_iter((json_t *)j); at; at = json_object_iter_next((json_t *)j, at)) {
            key = json_object_iter_key(at);
            item = json_object_iter_value(at);
            jinja_dict_set(r, dict, jinja_of_str(jinja_str_new(r, key, strlen(key), origin)),
                           jinja_from_json(r, item, origin));
        }
        v = jinja_of_dict(dict);
        break;
    case JSON_NULL:
        break;
    }
    v.origin = origin;
    r->depth--;
    return v;
}

/* ---- the % operator ------------------------------------------------------------------------------------------- */

typedef struct format_spec {
    bool left, plus, space, zero, alternate;
    int64_t width, precision; /* precision -1: none */
    char conversion;
} format_spec;

static void pad(jinja_run *r, jinja_out *o, int64_t chars, int64_t width, const char *with, uint32_t from)
{
    for (; chars < width; chars++)
        put(r, o, with, from);
}

static void put_padded(jinja_run *r, jinja_out *o, const jinja_str *s, const format_spec *spec)
{
    int64_t chars = (int64_t)jinja_str_chars(s);
    uint32_t from = jinja_str_origin(s, 0);

    if (!spec->left)
        pad(r, o, chars, spec->width, " ", from);
    jinja_out_add(r, o, s);
    if (spec->left)
        pad(r, o, chars, spec->width, " ", from);
}

static void put_number(jinja_run *r, jinja_out *o, const format_spec *spec, jinja_value v)
{
    char format[16], text[512], *p = format, *digits, sign[4] = "";
    jinja_value whole = v;
    int n;

    *p++ = '%';
    if (spec->alternate)
        *p++ = '#';
    if (strchr("diuxXo", spec->conversion)) {
        if (v.kind == J_FLOAT && strchr("diu", spec->conversion)) {
            if (!isfinite(v.f) || fabs(v.f) >= 9223372036854775808.0)
                jinja_fail(&r->arena, HONE_EUNSUPPORTED, "integer beyond 64 bits");
            whole = jinja_int((int64_t)v.f);
        }
        if (!jinja_is_number(whole) || whole.kind == J_FLOAT)
            FAIL(r, "%%%c format: a number is required, not %s", spec->conversion, jinja_type_name(v));
        if (spec->alternate || spec->precision > 400)
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "this form of the %% operator is not supported");
        if (whole.kind == J_BOOL)
            whole.i = whole.b;
        snprintf(p, 12, ".*ll%c", strchr("diu", spec->conversion) ? 'u' : spec->conversion);
        n = snprintf(text, sizeof text, format, (int)HONE_MAX(spec->precision, 1),
                     whole.i < 0 ? 0ull - (unsigned long long)whole.i : (unsigned long long)whole.i);
        if (whole.i < 0)
            sign[0] = '-';
    } else {
        if (!jinja_is_number(v))
            FAIL(r, "must be real number, not %s", jinja_type_name(v));
        if (spec->precision > 400 || (fabs(jinja_number(v)) > 1e50 && strchr("fF", spec->conversion)))
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "this form of the %% operator is not supported");
        snprintf(p, 12, ".*%c", spec->conversion);
        n = snprintf(text, sizeof text, format, (int)(spec->precision < 0 ? 6 : spec->precision),
                     fabs(jinja_number(v)));
        if (signbit(jinja_number(v)))
            sign[0] = '-';
        for (digits = text; *digits; digits++) /* the decimal sign of the program's locale */
            if (*digits == ',')
                *digits = '.';
    }
    if (!sign[0] && (spec->plus || spec->space))
        sign[0] = spec->plus ? '+' : ' ';
    if (sign[0] && spec->zero && !spec->left)
        put(r, o, sign, v.origin);
    if (!spec->left)
        pad(r, o, n + (sign[0] != 0), spec->width, spec->zero ? "0" : " ", v.origin);
    if (sign[0] && (!spec->zero || spec->left))
        put(r, o, sign, v.origin);
    put(r, o, text, v.origin);
    if (spec->left)
        pad(r, o, n + (sign[0] != 0), spec->width, " ", v.origin);
}

typedef struct format_args {
    jinja_value all;
    jinja_value *item;
    size_t n, next;
} format_args;

static jinja_value next_arg(jinja_run *r, format_args *a)
{
    if (a->next >= a->n)
        FAIL(r, "not enough arguments for format string");
    return a->item[a->next++];
}

static int64_t format_count(jinja_run *r, const jinja_str *f, size_t *i, format_args *a)
{
    int64_t v = 0;
    jinja_value star;

    if (*i < f->n && f->s[*i] == '*') {
        (*i)++;
        star = next_arg(r, a);
        if (star.kind != J_INT)
            FAIL(r, "* wants int");
        return star.i;
    }
    while (*i < f->n && f->s[*i] >= '0' && f->s[*i] <= '9' && v < 100000000)
        v = v * 10 + (f->s[(*i)++] - '0');
    if (v > (int64_t)r->max_output)
        jinja_fail(&r->arena, HONE_ELIMIT, "the width in a format string is too large");
    return v;
}

const jinja_str *jinja_str_format(jinja_run *r, const jinja_str *f, jinja_value args)
{
    format_args a = {.all = args, .item = &args, .n = 1};
    bool tuple = args.kind == J_SEQ && args.seq->type == SEQ_TUPLE, mapped = false;
    jinja_out o = {0};
    jinja_value v, *found;
    format_spec spec;
    const jinja_str *s;
    size_t i = 0, begin;

    if (tuple) {
        a.item = args.seq->item;
        a.n = args.seq->n;
    }
    while (i < f->n) {
        begin = i;
        while (i < f->n && f->s[i] != '%')
            i++;
        jinja_out_add(r, &o, jinja_str_sub(r, f, begin, i));
        if (i++ >= f->n)
            break;
        memset(&spec, 0, sizeof spec);
        spec.precision = -1;
        v = (jinja_value){.kind = J_MISSING};
        if (i < f->n && f->s[i] == '(') {
            for (begin = ++i; i < f->n && f->s[i] != ')'; i++)
                ;
            if (i >= f->n)
                FAIL(r, "incomplete format key");
            if (args.kind != J_DICT)
                FAIL(r, "format requires a mapping");
            found = jinja_dict_get(r, args.dict, jinja_of_str(jinja_str_sub(r, f, begin, i)));
            if (!found)
                FAIL(r, "the mapping has no key '%.*s'", (int)HONE_MIN(i - begin, (size_t)60), f->s + begin);
            v = *found;
            mapped = true;
            i++;
        }
        for (; i < f->n && strchr("-+ 0#", f->s[i]) && f->s[i]; i++) {
            spec.left |= f->s[i] == '-';
            spec.plus |= f->s[i] == '+';
            spec.space |= f->s[i] == ' ';
            spec.zero |= f->s[i] == '0';
            spec.alternate |= f->s[i] == '#';
        }
        spec.width = format_count(r, f, &i, &a);
        if (spec.width < 0) {
            spec.left = true;
            spec.width = -spec.width;
        }
        if (i < f->n && f->s[i] == '.') {
            i++;
            spec.precision = format_count(r, f, &i, &a);
            spec.precision = HONE_MAX(spec.precision, (int64_t)0);
        }
        while (i < f->n && (f->s[i] == 'l' || f->s[i] == 'h' || f->s[i] == 'L'))
            i++;
        if (i >= f->n)
            FAIL(r, "incomplete format");
        spec.conversion = f->s[i++];
        if (spec.conversion == '%') {
            jinja_out_add(r, &o, jinja_str_sub(r, f, i - 1, i));
            continue;
        }
        if (v.kind == J_MISSING)
            v = next_arg(r, &a);
        switch (spec.conversion) {
        case 's':
        case 'r':
            s = spec.conversion == 's' ? jinja_to_str(r, v) : jinja_repr(r, v);
            if (f->safe && !s->safe)
                s = jinja_str_escape(r, s);
            if (spec.precision >= 0)
                s = jinja_str_sub(r, s, 0, jinja_str_byte(s, (size_t)spec.precision));
            put_padded(r, &o, s, &spec);
            break;
        case 'c':
            if (v.kind != J_STR || jinja_str_chars(v.str) != 1)
                FAIL(r, "%%c requires int or char");
            put_padded(r, &o, v.str, &spec);
            break;
        case 'd':
        case 'i':
        case 'u':
        case 'x':
        case 'X':
        case 'o':
        case 'e':
        case 'E':
        case 'f':
        case 'F':
        case 'g':
        case 'G':
            put_number(r, &o, &spec, v);
            break;
        default:
            FAIL(r, "unsupported format character '%c'", spec.conversion >= ' ' ? spec.conversion : '?');
        }
    }
    if (!mapped && a.next < a.n && args.kind != J_DICT && (tuple || args.kind != J_SEQ))
        FAIL(r, "not all arguments converted during string formatting");
    return jinja_str_safe(r, jinja_out_take(r, &o), f->safe);
}

/* ---- str.format ----------------------------------------------------------------------------------------------- */

const jinja_str *jinja_str_braces(jinja_run *r, const jinja_str *f, const jinja_value *arg, size_t n,
                                  const jinja_dict *kwargs)
{
    jinja_out o = {0};
    size_t i = 0, begin, end, automatic = 0, number, k;
    bool numbered = false, repr, digits;
    const jinja_value *v;
    const jinja_str *s;

    while (i < f->n) {
        for (begin = i; i < f->n && f->s[i] != '{' && f->s[i] != '}'; i++)
            ;
        jinja_out_add(r, &o, jinja_str_sub(r, f, begin, i));
        if (i >= f->n)
            break;
        if (i + 1 < f->n && f->s[i + 1] == f->s[i]) {
            jinja_out_add(r, &o, jinja_str_sub(r, f, i, i + 1));
            i += 2;
            continue;
        }
        if (f->s[i] == '}')
            FAIL(r, "single '}' encountered in format string");
        for (begin = ++i; i < f->n && f->s[i] != '}' && f->s[i] != '!' && f->s[i] != ':'; i++)
            if (f->s[i] == '.' || f->s[i] == '[' || f->s[i] == '{')
                jinja_fail(&r->arena, HONE_EUNSUPPORTED, "fields of fields in str.format are not supported");
        end = i;
        repr = i + 1 < f->n && f->s[i] == '!' && f->s[i + 1] == 'r';
        if (repr || (i + 1 < f->n && f->s[i] == '!' && f->s[i + 1] == 's'))
            i += 2;
        if (i < f->n && f->s[i] == ':' && i + 1 < f->n && f->s[i + 1] != '}')
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "format specifications in str.format are not supported");
        i += i < f->n && f->s[i] == ':';
        if (i >= f->n || f->s[i] != '}')
            FAIL(r, "expected '}' before end of string");
        i++;
        for (k = begin, number = 0, digits = end > begin; k < end && digits; k++) {
            digits = f->s[k] >= '0' && f->s[k] <= '9' && number < 100000;
            number = number * 10 + (size_t)(f->s[k] - '0');
        }
        if (end == begin || digits) {
            if ((digits && automatic) || (!digits && numbered))
                FAIL(r, "automatic and manual field numbering can not be mixed");
            numbered = digits;
            if (!digits)
                number = automatic++;
            v = number < n ? &arg[number] : NULL;
        } else {
            v = kwargs ? jinja_dict_get(r, kwargs, jinja_of_str(jinja_str_sub(r, f, begin, end))) : NULL;
        }
        if (!v)
            FAIL(r, "no argument for a field of the format string");
        s = repr ? jinja_repr(r, *v) : jinja_to_str(r, *v);
        jinja_out_add(r, &o, f->safe && !s->safe ? jinja_str_escape(r, s) : s);
    }
    return jinja_str_safe(r, jinja_out_take(r, &o), f->safe);
}
