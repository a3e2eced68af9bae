/* Filters and tests. Each has a row in a table: its name, the names of its arguments, its function.
 *
 * Filters that yield lazily in Jinja2 (map, select, unique, items, batch, ...) give an iterator here too: it is always
 * true, has no length, and can be walked once. Its items are computed at once, in order. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja.h"

#define MAX_ARGS 5

typedef struct filter_call {
    jinja_run *r;
    jinja_value v;             /* what stands before the bar */
    jinja_value arg[MAX_ARGS]; /* by the row's names; J_MISSING = not given */
    /* the arguments as given, for filters that hand them on */
    jinja_value *given;
    size_t n_given;
    const jinja_dict *kwargs;
} filter_call;

static const jinja_str *text(filter_call *c)
{
    return jinja_to_str(c->r, c->v);
}

static bool given(jinja_value v)
{
    return v.kind != J_MISSING;
}

static bool flag(jinja_value v, bool fallback)
{
    return given(v) ? jinja_truth(v) : fallback;
}

static jinja_value str(const jinja_str *s)
{
    return jinja_of_str(s);
}

/* ---- attribute paths ------------------------------------------------------------------------------------------ */

/* item.a.b.0 for the path "a.b.0"; numbers are positions. */
static jinja_value path_get(jinja_run *r, jinja_value item, jinja_value path, jinja_value fallback)
{
    jinja_seq *parts;
    size_t i, k;
    int64_t number;

    if (path.kind == J_INT) {
        item = jinja_item(r, item, path);
        return item.kind == J_UNDEFINED && given(fallback) && fallback.kind != J_NONE ? fallback : item;
    }
    if (path.kind == J_MISSING || path.kind == J_NONE)
        return item;
    parts = jinja_str_split(r, jinja_arg_str(r, "attribute", path), jinja_str_of(r, "."), -1, false);
    for (i = 0; i < parts->n; i++) {
        const jinja_str *part = parts->item[i].str;
        bool digits = part->n > 0 && part->n < 18;

        for (k = 0, number = 0; k < part->n && digits; k++) {
            digits = part->s[k] >= '0' && part->s[k] <= '9';
            number = number * 10 + (part->s[k] - '0');
        }
        item = jinja_item(r, item, digits ? jinja_int(number) : str(part));
        if (item.kind == J_UNDEFINED && given(fallback) && fallback.kind != J_NONE)
            item = fallback;
    }
    return item;
}

static jinja_value folded(jinja_run *r, jinja_value v, bool case_sensitive)
{
    return v.kind == J_STR && !case_sensitive ? str(jinja_str_case(r, v.str, CASE_LOWER)) : v;
}

static jinja_value iterator(jinja_seq *s)
{
    s->type = SEQ_ITERATOR;
    return jinja_of_seq(s);
}

static jinja_seq *copy(jinja_run *r, const jinja_seq *s)
{
    jinja_seq *to = jinja_seq_new(r, SEQ_LIST, s->n);
    size_t i;

    for (i = 0; i < s->n; i++)
        jinja_seq_push(r, to, s->item[i]);
    return to;
}

/* ---- filters on text ------------------------------------------------------------------------------------------- */

static jinja_value f_upper(filter_call *c)
{
    return str(jinja_str_case(c->r, text(c), CASE_UPPER));
}

static jinja_value f_lower(filter_call *c)
{
    return str(jinja_str_case(c->r, text(c), CASE_LOWER));
}

static jinja_value f_title(filter_call *c)
{
    return str(jinja_str_case(c->r, text(c), CASE_JINJA_TITLE));
}

static jinja_value f_capitalize(filter_call *c)
{
    return str(jinja_str_case(c->r, text(c), CASE_CAPITALIZE));
}

static jinja_value f_trim(filter_call *c)
{
    const jinja_str *chars = NULL;

    if (given(c->arg[0]) && c->arg[0].kind != J_NONE)
        chars = jinja_arg_str(c->r, "trim", c->arg[0]);
    return str(jinja_str_strip(c->r, text(c), chars, SIDE_BOTH));
}

static jinja_value f_string(filter_call *c)
{
    return str(text(c));
}

static jinja_value f_safe(filter_call *c)
{
    return str(jinja_str_safe(c->r, text(c), true));
}

static jinja_value f_escape(filter_call *c)
{
    return str(text(c)->safe ? text(c) : jinja_str_escape(c->r, text(c)));
}

static jinja_value f_forceescape(filter_call *c)
{
    return str(jinja_str_escape(c->r, text(c)));
}

static jinja_value f_replace(filter_call *c)
{
    int64_t count = c->arg[2].kind == J_NONE ? -1 : jinja_arg_int(c->r, "replace", c->arg[2], -1);

    if (!given(c->arg[0]) || !given(c->arg[1]))
        FAIL(c->r, "replace: two strings are wanted");
    return str(jinja_str_safe(
        c->r,
        jinja_str_replace(c->r, text(c), jinja_to_str(c->r, c->arg[0]), jinja_to_str(c->r, c->arg[1]), count),
        false));
}

static jinja_value f_indent(filter_call *c)
{
    jinja_run *r = c->r;
    const jinja_str *s, *by, *end = jinja_str_of(r, "\n"), *line;
    bool first = flag(c->arg[1], false), blank = flag(c->arg[2], false), safe;
    jinja_out o = {0};
    jinja_seq *lines;
    size_t i;

    if (c->v.kind != J_STR)
        FAIL(r, "indent: a string is wanted, not %s", jinja_type_name(c->v));
    if (c->arg[0].kind == J_STR)
        by = c->arg[0].str;
    else
        by = jinja_str_repeat(r, jinja_str_of(r, " "), jinja_arg_int(r, "indent", c->arg[0], 4));
    s = c->v.str;
    safe = s->safe;
    lines = jinja_str_lines(r, jinja_str_join2(r, s, end), false);
    if (first)
        jinja_out_add(r, &o, by);
    for (i = 0; i < lines->n; i++) {
        line = lines->item[i].str;
        if (i) {
            jinja_out_add(r, &o, end);
            if (line->n || blank)
                jinja_out_add(r, &o, by);
        }
        jinja_out_add(r, &o, line);
    }
    return str(jinja_str_safe(r, jinja_out_take(r, &o), safe));
}

static jinja_value f_center(filter_call *c)
{
    const jinja_str *s = text(c);
    int64_t width = jinja_arg_int(c->r, "center", c->arg[0], 80), room = width - (int64_t)jinja_str_chars(s),
            left;
    const jinja_str *space = jinja_str_of(c->r, " ");

    if (room <= 0)
        return str(s);
    left = room / 2 + (room & width & 1);
    s = jinja_str_join2(c->r, jinja_str_repeat(c->r, space, left), s);
    return str(jinja_str_join2(c->r, s, jinja_str_repeat(c->r, space, room - left)));
}

static jinja_value f_truncate(filter_call *c)
{
    jinja_run *r = c->r;
    int64_t length = jinja_arg_int(r, "truncate", c->arg[0], 255);
    bool kill = flag(c->arg[1], false);
    const jinja_str *end =
        given(c->arg[2]) ? jinja_arg_str(r, "truncate", c->arg[2]) : jinja_str_of(r, "...");
    int64_t leeway = c->arg[3].kind == J_NONE ? 5 : jinja_arg_int(r, "truncate", c->arg[3], 5);
    int64_t room = length - (int64_t)jinja_str_chars(end);
    const jinja_str *s;
    size_t at;

    if (c->v.kind != J_STR)
        FAIL(r, "truncate: a string is wanted, not %s", jinja_type_name(c->v));
    s = c->v.str;
    if (room < 0 || leeway < 0)
        FAIL(r, "truncate: the length must hold the end mark, the leeway must not be negative");
    if ((int64_t)jinja_str_chars(s) <= (leeway > INT64_MAX - length ? INT64_MAX : length + leeway))
        return c->v;
    s = jinja_str_sub(r, s, 0, jinja_str_byte(s, (size_t)room));
    if (!kill) {
        at = jinja_str_rfind(r, s, jinja_str_of(r, " "), s->n);
        if (at != SIZE_MAX)
            s = jinja_str_sub(r, s, 0, at);
    }
    return str(jinja_str_join2(r, s, end));
}

static jinja_value f_format(filter_call *c)
{
    jinja_seq *args;
    size_t i;

    if (c->kwargs && c->kwargs->n) {
        if (c->n_given)
            FAIL(c->r, "format: positional and keyword arguments can not be mixed");
        return str(jinja_str_format(c->r, text(c), jinja_of_dict((jinja_dict *)c->kwargs)));
    }
    args = jinja_seq_new(c->r, SEQ_TUPLE, c->n_given);
    for (i = 0; i < c->n_given; i++)
        jinja_seq_push(c->r, args, c->given[i]);
    return str(jinja_str_format(c->r, text(c), jinja_of_seq(args)));
}

static jinja_value f_tojson(filter_call *c)
{
    return str(jinja_to_json(c->r, c->v, c->arg[0], c->arg[1], c->arg[2], c->arg[3]));
}

static jinja_value f_wordcount(filter_call *c)
{
    const jinja_str *s = text(c);
    bool inside = false, word;
    int64_t n = 0;
    size_t i, k;
    int32_t cp;

    for (i = 0; i < s->n; i += k) {
        k = hone_utf8_get(s->s + i, s->n - i, &cp);
        word = cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z') ||
               (cp >= 0x80 && !jinja_is_space(cp) && jinja_is_printable(cp));
        if (cp >= 0x80)
            jinja_fail(&c->r->arena, HONE_EUNSUPPORTED, "wordcount of text outside ASCII is not supported");
        n += word && !inside;
        inside = word;
    }
    return jinja_int(n);
}

/* ---- filters on numbers ---------------------------------------------------------------------------------------- */

static jinja_value f_abs(filter_call *c)
{
    if (c->v.kind == J_FLOAT)
        return jinja_float(fabs(c->v.f));
    if (c->v.kind != J_INT && c->v.kind != J_BOOL)
        FAIL(c->r, "bad operand type for abs(): '%s'", jinja_type_name(c->v));
    if (c->v.kind == J_INT && c->v.i == INT64_MIN)
        jinja_fail(&c->r->arena, HONE_EUNSUPPORTED, "integer beyond 64 bits");
    return jinja_int(c->v.kind == J_BOOL ? c->v.b : c->v.i < 0 ? -c->v.i : c->v.i);
}

/* Python's float(text); false when it is none. */
static bool parse_float(jinja_run *r, const jinja_str *s, double *f)
{
    char buffer[512], *end, *point;
    size_t i, n = 0, digits = 0;
    long exponent = 0;

    s = jinja_str_strip(r, s, NULL, SIDE_BOTH);
    if (!s->n || s->n > 400)
        return false;
    for (i = 0; i < s->n; i++) {
        char ch = s->s[i];

        if (ch == '_' && i && i + 1 < s->n && s->s[i - 1] >= '0' && s->s[i - 1] <= '9' &&
            s->s[i + 1] >= '0' && s->s[i + 1] <= '9')
            continue;
        if (!((ch >= '0' && ch <= '9') || strchr("+-.eE", ch)))
            break;
        buffer[n++] = ch;
        digits += ch >= '0' && ch <= '9';
    }
    buffer[n] = 0;
    if (i < s->n || !digits) { /* inf, infinity, nan in any case */
        static const char *const word[] = {"inf", "infinity", "nan"};
        size_t sign = s->s[0] == '-' || s->s[0] == '+', k;

        for (k = 0; k < HONE_COUNT(word); k++)
            if (s->n - sign == strlen(word[k]) && !strncasecmp(s->s + sign, word[k], s->n - sign)) {
                *f = copysign(k == 2 ? (double)NAN : (double)INFINITY, s->s[0] == '-' ? -1 : 1);
                return true;
            }
        return false;
    }
    point = strchr(buffer, '.');
    if (point) { /* taken out: the program's locale may want another decimal sign */
        char *e = point + 1;

        while (*e >= '0' && *e <= '9')
            e++;
        exponent = (long)(e - point - 1);
        memmove(point, point + 1, strlen(point));
        e--;
        if (*e == 'e' || *e == 'E') {
            char *stop;
            long given_exponent = strtol(e + 1, &stop, 10);

            if (stop == e + 1 || *stop)
                return false;
            exponent = HONE_MAX(HONE_MIN(given_exponent, 9999L), -9999L) - exponent;
        } else {
            if (*e)
                return false;
            exponent = -exponent;
        }
        snprintf(e, 16, "e%ld", exponent);
    }
    *f = strtod(buffer, &end);
    return *end == 0 && end != buffer;
}

static jinja_value f_float(filter_call *c)
{
    double f = 0;

    if (jinja_is_number(c->v))
        return jinja_float(jinja_number(c->v));
    if (c->v.kind == J_UNDEFINED)
        FAIL(c->r, "'%s' is undefined", c->v.undef->name);
    if (c->v.kind == J_STR && parse_float(c->r, c->v.str, &f))
        return jinja_float(f);
    return given(c->arg[0]) ? c->arg[0] : jinja_float(0);
}

/* Python's int(text, base); false when it is none. */
static bool parse_int(jinja_run *r, const jinja_str *s, int64_t base, int64_t *value)
{
    bool negative = false, any = false;
    size_t i = 0;
    int64_t v = 0;
    int d;

    s = jinja_str_strip(r, s, NULL, SIDE_BOTH);
    if (i < s->n && (s->s[i] == '-' || s->s[i] == '+'))
        negative = s->s[i++] == '-';
    if (i + 1 < s->n && s->s[i] == '0') {
        char x = (char)(s->s[i + 1] | 0x20);
        int64_t prefixed = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 0;

        if (prefixed && (base == prefixed || base == 0)) {
            base = prefixed;
            i += 2;
        }
    }
    if (base == 0)
        base = 10;
    for (; i < s->n; i++) {
        char ch = s->s[i];

        if (ch == '_' && any && i + 1 < s->n && s->s[i + 1] != '_')
            continue;
        d = ch >= '0' && ch <= '9'                     ? ch - '0'
            : (ch | 0x20) >= 'a' && (ch | 0x20) <= 'z' ? (ch | 0x20) - 'a' + 10
                                                       : 99;
        if (d >= base)
            return false;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_sub_overflow(v, (int64_t)d, &v))
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "integer beyond 64 bits");
        any = true;
    }
    if (!any)
        return false;
    if (!negative && v == INT64_MIN)
        jinja_fail(&r->arena, HONE_EUNSUPPORTED, "integer beyond 64 bits");
    *value = negative ? v : -v;
    return true;
}

static jinja_value f_int(filter_call *c)
{
    int64_t base = jinja_arg_int(c->r, "int", c->arg[1], 10), i = 0;
    jinja_value fallback = given(c->arg[0]) ? c->arg[0] : jinja_int(0);
    double f;

    if (c->v.kind == J_INT)
        return c->v;
    if (c->v.kind == J_BOOL)
        return jinja_int(c->v.b);
    if (c->v.kind == J_UNDEFINED)
        FAIL(c->r, "'%s' is undefined", c->v.undef->name);
    if (c->v.kind == J_STR && (base == 0 || (base >= 2 && base <= 36)) && parse_int(c->r, c->v.str, base, &i))
        return jinja_int(i);
    if (c->v.kind == J_FLOAT)
        f = c->v.f;
    else if (c->v.kind != J_STR || !parse_float(c->r, c->v.str, &f))
        return fallback;
    if (!isfinite(f))
        return fallback;
    if (fabs(f) >= 9223372036854775808.0)
        jinja_fail(&c->r->arena, HONE_EUNSUPPORTED, "integer beyond 64 bits");
    return jinja_int((int64_t)f);
}

static jinja_value f_round(filter_call *c)
{
    int64_t precision = jinja_arg_int(c->r, "round", c->arg[0], 0);
    const jinja_str *method = given(c->arg[1]) ? jinja_arg_str(c->r, "round", c->arg[1]) : NULL;
    double f, scale;
    char buffer[420];
    jinja_str s = {.s = buffer};

    if (!jinja_is_number(c->v))
        FAIL(c->r, "type %s can not be rounded", jinja_type_name(c->v));
    if (precision > 300 || precision < -300)
        FAIL(c->r, "round: precision out of range");
    f = jinja_number(c->v);
    if (method && (jinja_str_is(method, "ceil") || jinja_str_is(method, "floor"))) {
        scale = pow(10, (double)precision);
        return jinja_float((method->s[0] == 'c' ? ceil(f * scale) : floor(f * scale)) / scale);
    }
    if (method && !jinja_str_is(method, "common"))
        FAIL(c->r, "round: method must be common, ceil or floor");
    if (c->v.kind != J_FLOAT && precision >= 0)
        return c->v.kind == J_BOOL ? jinja_int(c->v.b) : c->v;
    if (precision < 0)
        jinja_fail(&c->r->arena, HONE_EUNSUPPORTED, "round with a negative precision is not supported");
    if (!isfinite(f) || fabs(f) > 1e80 || precision > 200)
        return jinja_float(f);
    s.n = (size_t)snprintf(buffer, sizeof buffer, "%.*f", (int)precision, f);
    for (scale = 0; scale < (double)s.n; scale++)
        if (buffer[(size_t)scale] == ',')
            buffer[(size_t)scale] = '.';
    parse_float(c->r, &s, &f);
    return jinja_float(f);
}

/* ---- filters on sequences --------------------------------------------------------------------------------------- */

static jinja_value f_length(filter_call *c)
{
    return jinja_int(jinja_length(c->r, c->v));
}

static jinja_value f_list(filter_call *c)
{
    return jinja_of_seq(copy(c->r, jinja_iterate(c->r, c->v)));
}

static jinja_value f_first(filter_call *c)
{
    jinja_seq *s = jinja_iterate(c->r, c->v);

    return s->n ? s->item[0] : jinja_undefined_of(c->r, "first item of an empty sequence", NULL);
}

static jinja_value f_last(filter_call *c)
{
    jinja_seq *s;

    if (c->v.kind == J_SEQ && c->v.seq->type == SEQ_ITERATOR)
        FAIL(c->r, "'generator' object is not reversible");
    s = jinja_iterate(c->r, c->v);
    return s->n ? s->item[s->n - 1] : jinja_undefined_of(c->r, "last item of an empty sequence", NULL);
}

static jinja_value f_reverse(filter_call *c)
{
    jinja_seq *s = jinja_iterate(c->r, c->v), *back = jinja_seq_new(c->r, SEQ_LIST, s->n);
    jinja_out o = {0};
    size_t i;

    for (i = s->n; i-- > 0;)
        jinja_seq_push(c->r, back, s->item[i]);
    if (c->v.kind != J_STR)
        return iterator(back);
    for (i = 0; i < back->n; i++)
        jinja_out_add(c->r, &o, back->item[i].str);
    return str(jinja_str_safe(c->r, jinja_out_take(c->r, &o), c->v.str->safe));
}

static jinja_value f_join(filter_call *c)
{
    jinja_seq *s = jinja_iterate(c->r, c->v);
    const jinja_str *sep = given(c->arg[0]) ? jinja_to_str(c->r, c->arg[0]) : jinja_str_of(c->r, "");
    jinja_out o = {0};
    size_t i;

    for (i = 0; i < s->n; i++) {
        jinja_work(c->r, 1);
        if (i)
            jinja_out_add(c->r, &o, sep);
        jinja_out_add(
            c->r, &o,
            jinja_to_str(c->r, path_get(c->r, s->item[i], c->arg[1], (jinja_value){.kind = J_MISSING})));
    }
    return str(jinja_out_take(c->r, &o));
}

static jinja_value f_items(filter_call *c)
{
    jinja_seq *s = jinja_seq_new(c->r, SEQ_LIST, 0), *pair;
    size_t i;

    if (c->v.kind != J_DICT && c->v.kind != J_UNDEFINED)
        FAIL(c->r, "Can only get item pairs from a mapping.");
    for (i = 0; c->v.kind == J_DICT && i < c->v.dict->n; i++) {
        pair = jinja_seq_new(c->r, SEQ_TUPLE, 2);
        jinja_seq_push(c->r, pair, c->v.dict->entry[i].key);
        jinja_seq_push(c->r, pair, c->v.dict->entry[i].value);
        jinja_seq_push(c->r, s, jinja_of_seq(pair));
    }
    return iterator(s);
}

/* Sorts s by the given attribute of its items. */
static void sort_by(filter_call *c, jinja_seq *s, jinja_value attribute, bool case_sensitive, bool reverse)
{
    jinja_value *keys = jinja_alloc_array(&c->r->arena, s->n + 1, sizeof *keys), none = {.kind = J_MISSING};
    jinja_seq *parts = NULL, *key;
    size_t i, k;

    if (attribute.kind == J_STR && memchr(attribute.str->s, ',', attribute.str->n))
        parts = jinja_str_split(c->r, attribute.str, jinja_str_of(c->r, ","), -1, false);
    for (i = 0; i < s->n; i++) {
        if (!parts) {
            keys[i] = folded(c->r, path_get(c->r, s->item[i], attribute, none), case_sensitive);
            continue;
        }
        key = jinja_seq_new(c->r, SEQ_LIST, parts->n);
        for (k = 0; k < parts->n; k++)
            jinja_seq_push(c->r, key,
                           folded(c->r, path_get(c->r, s->item[i], parts->item[k], none), case_sensitive));
        keys[i] = jinja_of_seq(key);
    }
    jinja_sort(c->r, s->item, keys, s->n, reverse);
}

static jinja_value f_sort(filter_call *c)
{
    jinja_seq *s = copy(c->r, jinja_iterate(c->r, c->v));

    sort_by(c, s, c->arg[2], flag(c->arg[1], false), flag(c->arg[0], false));
    return jinja_of_seq(s);
}

static jinja_value f_dictsort(filter_call *c)
{
    jinja_seq *s, *pairs;
    int64_t by = 0;

    if (given(c->arg[1])) {
        if (!jinja_str_is(jinja_arg_str(c->r, "dictsort", c->arg[1]), "key"))
            by = 1;
        if (by && !jinja_str_is(c->arg[1].str, "value"))
            FAIL(c->r, "dictsort: by must be 'key' or 'value'");
    }
    if (c->v.kind != J_DICT)
        FAIL(c->r, "'%s' object has no attribute 'items'", jinja_type_name(c->v));
    pairs = jinja_iterate(c->r, f_items(c));
    s = copy(c->r, pairs);
    sort_by(c, s, jinja_int(by), flag(c->arg[0], false), flag(c->arg[2], false));
    return jinja_of_seq(s);
}

static bool seen_before(filter_call *c, jinja_dict *seen, jinja_value key)
{
    if (jinja_dict_get(c->r, seen, key))
        return true;
    jinja_dict_set(c->r, seen, key, jinja_none());
    return false;
}

static jinja_value f_unique(filter_call *c)
{
    jinja_seq *s = jinja_iterate(c->r, c->v), *out = jinja_seq_new(c->r, SEQ_LIST, 0);
    jinja_dict *seen = jinja_dict_new(c->r);
    jinja_value none = {.kind = J_MISSING};
    size_t i;

    for (i = 0; i < s->n; i++)
        if (!seen_before(c, seen,
                         folded(c->r, path_get(c->r, s->item[i], c->arg[1], none), flag(c->arg[0], false))))
            jinja_seq_push(c->r, out, s->item[i]);
    return iterator(out);
}

static jinja_value extreme(filter_call *c, int sign)
{
    jinja_seq *s = jinja_iterate(c->r, c->v);
    jinja_value none = {.kind = J_MISSING}, best_key = none, key;
    size_t i, best = 0;

    for (i = 0; i < s->n; i++) {
        key = folded(c->r, path_get(c->r, s->item[i], c->arg[1], none), flag(c->arg[0], false));
        if (i && jinja_order(c->r, key, best_key) * sign >= 0)
            continue;
        best = i;
        best_key = key;
    }
    return s->n ? s->item[best] : jinja_undefined_of(c->r, "extreme of an empty sequence", NULL);
}

static jinja_value f_min(filter_call *c)
{
    return extreme(c, 1);
}

static jinja_value f_max(filter_call *c)
{
    return extreme(c, -1);
}

static jinja_value f_sum(filter_call *c)
{
    jinja_seq *s = jinja_iterate(c->r, c->v);
    jinja_value total = given(c->arg[1]) ? c->arg[1] : jinja_int(0), none = {.kind = J_MISSING};
    size_t i;

    if (total.kind == J_STR)
        FAIL(c->r, "sum() can't sum strings [use ''.join(seq) instead]");
    for (i = 0; i < s->n; i++)
        total = jinja_binary(c->r, OP_ADD, total, path_get(c->r, s->item[i], c->arg[0], none));
    return total;
}

static jinja_value f_batch(filter_call *c)
{
    jinja_seq *s = jinja_iterate(c->r, c->v), *out = jinja_seq_new(c->r, SEQ_LIST, 0), *row = NULL;
    int64_t size = jinja_arg_int(c->r, "batch", c->arg[0], 0);
    size_t i;

    if (size <= 0)
        FAIL(c->r, "batch: a positive size is wanted");
    for (i = 0; i < s->n; i++) {
        if (!row || (int64_t)row->n == size) {
            row = jinja_seq_new(c->r, SEQ_LIST, 0);
            jinja_seq_push(c->r, out, jinja_of_seq(row));
        }
        jinja_seq_push(c->r, row, s->item[i]);
    }
    if (given(c->arg[1]) && c->arg[1].kind != J_NONE)
        while (row && (int64_t)row->n < size)
            jinja_seq_push(c->r, row, c->arg[1]);
    return iterator(out);
}

static jinja_value f_slice(filter_call *c)
{
    jinja_seq *s = jinja_iterate(c->r, c->v), *out = jinja_seq_new(c->r, SEQ_LIST, 0), *row;
    int64_t n = jinja_arg_int(c->r, "slice", c->arg[0], 0), i, each, extra, at = 0, k;

    if (n <= 0)
        FAIL(c->r, "slice: a positive number is wanted");
    each = (int64_t)s->n / n;
    extra = (int64_t)s->n % n;
    for (i = 0; i < n; i++) {
        row = jinja_seq_new(c->r, SEQ_LIST, 0);
        for (k = 0; k < each + (i < extra); k++)
            jinja_seq_push(c->r, row, s->item[at++]);
        if (given(c->arg[1]) && c->arg[1].kind != J_NONE && i >= extra)
            jinja_seq_push(c->r, row, c->arg[1]);
        jinja_seq_push(c->r, out, jinja_of_seq(row));
    }
    return iterator(out);
}

static jinja_value f_groupby(filter_call *c)
{
    jinja_seq *s = copy(c->r, jinja_iterate(c->r, c->v)), *out = jinja_seq_new(c->r, SEQ_LIST, 0),
              *group = NULL, *pair;
    bool case_sensitive = flag(c->arg[2], false);
    jinja_value *keys = jinja_alloc_array(&c->r->arena, s->n + 1, sizeof *keys), key,
                last = {.kind = J_MISSING};
    size_t i;

    for (i = 0; i < s->n; i++)
        keys[i] = folded(c->r, path_get(c->r, s->item[i], c->arg[0], c->arg[1]), case_sensitive);
    jinja_sort(c->r, s->item, keys, s->n, false);
    for (i = 0; i < s->n; i++) {
        jinja_value plain = path_get(c->r, s->item[i], c->arg[0], c->arg[1]);

        key = folded(c->r, plain, case_sensitive);
        if (!group || !jinja_equal(c->r, key, last)) {
            group = jinja_seq_new(c->r, SEQ_LIST, 0);
            pair = jinja_seq_new(c->r, SEQ_TUPLE, 2);
            jinja_seq_push(c->r, pair, plain);
            jinja_seq_push(c->r, pair, jinja_of_seq(group));
            jinja_seq_push(c->r, out, jinja_of_seq(pair));
            last = key;
        }
        jinja_seq_push(c->r, group, s->item[i]);
    }
    return jinja_of_seq(out);
}

static int must_find(filter_call *c, jinja_value name, bool is_filter)
{
    const jinja_str *s = jinja_arg_str(c->r, is_filter ? "map" : "select", name);
    int id = is_filter ? jinja_filter_find(s->s, s->n) : jinja_test_find(s->s, s->n);

    if (id >= 0)
        return id;
    jinja_fail(&c->r->arena, id == -2 ? HONE_EUNSUPPORTED : HONE_EINVAL, "%s '%.*s'%s",
               is_filter ? "the filter" : "the test", (int)HONE_MIN(s->n, (size_t)60), s->s,
               id == -2 ? " is not supported" : " does not exist");
}

static jinja_value f_map(filter_call *c)
{
    jinja_seq *s, *out = jinja_seq_new(c->r, SEQ_LIST, 0);
    jinja_value *attribute = c->kwargs ? jinja_dict_find(c->kwargs, "attribute") : NULL, *fallback = NULL;
    jinja_value none = {.kind = J_MISSING};
    size_t i;
    int id = 0;

    if (!jinja_truth(c->v))
        return iterator(out);
    if (!c->n_given && attribute) {
        fallback = jinja_dict_find(c->kwargs, "default");
        if (c->kwargs->n > 1 + (fallback != NULL))
            FAIL(c->r, "map: unexpected keyword argument");
    } else if (!c->n_given) {
        FAIL(c->r, "map requires a filter argument");
    } else {
        id = must_find(c, c->given[0], true);
        attribute = NULL;
    }
    s = jinja_iterate(c->r, c->v);
    for (i = 0; i < s->n; i++)
        jinja_seq_push(
            c->r, out,
            attribute ? path_get(c->r, s->item[i], *attribute, fallback ? *fallback : none)
                      : jinja_filter_apply(c->r, id, s->item[i], c->given + 1, c->n_given - 1, c->kwargs));
    return iterator(out);
}

static jinja_value choose(filter_call *c, bool wanted, bool by_attribute)
{
    jinja_seq *s, *out = jinja_seq_new(c->r, SEQ_LIST, 0);
    size_t off = by_attribute ? 1 : 0, i;
    jinja_value item, none = {.kind = J_MISSING};
    int id = -1;

    if (!jinja_truth(c->v))
        return iterator(out);
    if (by_attribute && !c->n_given)
        FAIL(c->r, "Missing parameter for attribute name");
    if (c->n_given > off)
        id = must_find(c, c->given[off], false);
    s = jinja_iterate(c->r, c->v);
    for (i = 0; i < s->n; i++) {
        item = by_attribute ? path_get(c->r, s->item[i], c->given[0], none) : s->item[i];
        if ((id < 0 ? jinja_truth(item)
                    : jinja_test_apply(c->r, id, item, c->given + off + 1, c->n_given - off - 1,
                                       c->kwargs)) == wanted)
            jinja_seq_push(c->r, out, s->item[i]);
    }
    return iterator(out);
}

static jinja_value f_select(filter_call *c)
{
    return choose(c, true, false);
}

static jinja_value f_reject(filter_call *c)
{
    return choose(c, false, false);
}

static jinja_value f_selectattr(filter_call *c)
{
    return choose(c, true, true);
}

static jinja_value f_rejectattr(filter_call *c)
{
    return choose(c, false, true);
}

static jinja_value f_attr(filter_call *c)
{
    jinja_value v;
    const jinja_str *name = jinja_arg_str(c->r, "attr", c->arg[0]);

    if (c->v.kind == J_DICT) { /* attributes only, no keys */
        v = jinja_method_find(c->r, c->v, name);
        return v.kind == J_MISSING ? jinja_undefined_of(c->r, "attr", "dict") : v;
    }
    return jinja_attribute(c->r, c->v, name);
}

static jinja_value f_default(filter_call *c)
{
    bool use = c->v.kind == J_UNDEFINED || (flag(c->arg[1], false) && !jinja_truth(c->v));

    if (!use)
        return c->v;
    return given(c->arg[0]) ? c->arg[0] : str(jinja_str_of(c->r, ""));
}

static const struct {
    const char *name, *params; /* params NULL: takes the arguments as given */
    jinja_value (*apply)(filter_call *c);
} filter_table[] = {
    {"abs", "", f_abs},
    {"attr", "name", f_attr},
    {"batch", "linecount,fill_with", f_batch},
    {"capitalize", "", f_capitalize},
    {"center", "width", f_center},
    {"count", "", f_length},
    {"d", "default_value,boolean", f_default},
    {"default", "default_value,boolean", f_default},
    {"dictsort", "case_sensitive,by,reverse", f_dictsort},
    {"e", "", f_escape},
    {"escape", "", f_escape},
    {"first", "", f_first},
    {"float", "default", f_float},
    {"forceescape", "", f_forceescape},
    {"format", NULL, f_format},
    {"groupby", "attribute,default,case_sensitive", f_groupby},
    {"indent", "width,first,blank", f_indent},
    {"int", "default,base", f_int},
    {"items", "", f_items},
    {"join", "d,attribute", f_join},
    {"last", "", f_last},
    {"length", "", f_length},
    {"list", "", f_list},
    {"lower", "", f_lower},
    {"map", NULL, f_map},
    {"max", "case_sensitive,attribute", f_max},
    {"min", "case_sensitive,attribute", f_min},
    {"reject", NULL, f_reject},
    {"rejectattr", NULL, f_rejectattr},
    {"replace", "old,new,count", f_replace},
    {"reverse", "", f_reverse},
    {"round", "precision,method", f_round},
    {"safe", "", f_safe},
    {"select", NULL, f_select},
    {"selectattr", NULL, f_selectattr},
    {"slice", "slices,fill_with", f_slice},
    {"sort", "reverse,case_sensitive,attribute", f_sort},
    {"string", "", f_string},
    {"sum", "attribute,start", f_sum},
    {"title", "", f_title},
    {"tojson", "ensure_ascii,indent,separators,sort_keys", f_tojson},
    {"trim", "chars", f_trim},
    {"truncate", "length,killwords,end,leeway", f_truncate},
    {"unique", "case_sensitive,attribute", f_unique},
    {"upper", "", f_upper},
    {"wordcount", "", f_wordcount},
};

static const char *const refused_filter[] = {"filesizeformat", "pprint", "random",   "striptags",
                                             "urlencode",      "urlize", "wordwrap", "xmlattr"};

static bool same(const char *name, const char *s, size_t n)
{
    return strlen(name) == n && !memcmp(name, s, n);
}

int jinja_filter_find(const char *s, size_t n)
{
    size_t i;

    for (i = 0; i < HONE_COUNT(filter_table); i++)
        if (same(filter_table[i].name, s, n))
            return (int)i;
    for (i = 0; i < HONE_COUNT(refused_filter); i++)
        if (same(refused_filter[i], s, n))
            return -2;
    return -1;
}

static size_t count_params(const char *params)
{
    size_t n = *params ? 1 : 0;

    for (; *params; params++)
        n += *params == ',';
    return n;
}

jinja_value jinja_filter_apply(jinja_run *r, int id, jinja_value v, jinja_value *arg, size_t n,
                               const jinja_dict *kwargs)
{
    filter_call c = {.r = r, .v = v, .given = arg, .n_given = n, .kwargs = kwargs};
    const char *params = filter_table[id].params;
    size_t i;

    jinja_work(r, 1);
    if (v.kind == J_UNDEFINED && v.undef->unsafe)
        FAIL(r, "access to attribute '%s' of '%s' object is unsafe", v.undef->name, v.undef->owner);
    for (i = 0; i < MAX_ARGS; i++)
        c.arg[i].kind = J_MISSING;
    if (params)
        jinja_bind(r, filter_table[id].name, params, c.arg, count_params(params), arg, n, kwargs);
    return filter_table[id].apply(&c);
}

/* ---- tests ------------------------------------------------------------------------------------------------------ */

enum {
    IS_DEFINED,
    IS_UNDEFINED,
    IS_NONE,
    IS_STRING,
    IS_NUMBER,
    IS_INTEGER,
    IS_FLOAT,
    IS_BOOLEAN,
    IS_TRUE,
    IS_FALSE,
    IS_MAPPING,
    IS_ITERABLE,
    IS_SEQUENCE,
    IS_CALLABLE,
    IS_ODD,
    IS_EVEN,
    IS_DIVISIBLEBY,
    IS_EQ,
    IS_NE,
    IS_LT,
    IS_LE,
    IS_GT,
    IS_GE,
    IS_IN,
    IS_LOWER,
    IS_UPPER,
    IS_SAMEAS,
    IS_ESCAPED,
    IS_FILTER,
    IS_TEST
};

static const struct {
    const char *name;
    uint8_t id, args;
} test_table[] = {
    {"defined", IS_DEFINED, 0},
    {"undefined", IS_UNDEFINED, 0},
    {"none", IS_NONE, 0},
    {"string", IS_STRING, 0},
    {"number", IS_NUMBER, 0},
    {"integer", IS_INTEGER, 0},
    {"float", IS_FLOAT, 0},
    {"boolean", IS_BOOLEAN, 0},
    {"true", IS_TRUE, 0},
    {"false", IS_FALSE, 0},
    {"mapping", IS_MAPPING, 0},
    {"iterable", IS_ITERABLE, 0},
    {"sequence", IS_SEQUENCE, 0},
    {"callable", IS_CALLABLE, 0},
    {"odd", IS_ODD, 0},
    {"even", IS_EVEN, 0},
    {"divisibleby", IS_DIVISIBLEBY, 1},
    {"eq", IS_EQ, 1},
    {"equalto", IS_EQ, 1},
    {"==", IS_EQ, 1},
    {"ne", IS_NE, 1},
    {"!=", IS_NE, 1},
    {"lt", IS_LT, 1},
    {"lessthan", IS_LT, 1},
    {"<", IS_LT, 1},
    {"le", IS_LE, 1},
    {"<=", IS_LE, 1},
    {"gt", IS_GT, 1},
    {"greaterthan", IS_GT, 1},
    {">", IS_GT, 1},
    {"ge", IS_GE, 1},
    {">=", IS_GE, 1},
    {"in", IS_IN, 1},
    {"lower", IS_LOWER, 0},
    {"upper", IS_UPPER, 0},
    {"sameas", IS_SAMEAS, 1},
    {"escaped", IS_ESCAPED, 0},
    {"filter", IS_FILTER, 0},
    {"test", IS_TEST, 0},
};

int jinja_test_find(const char *s, size_t n)
{
    size_t i;

    for (i = 0; i < HONE_COUNT(test_table); i++)
        if (same(test_table[i].name, s, n))
            return (int)i;
    return -1;
}

static bool is_case(jinja_run *r, jinja_value v, enum jinja_case how)
{
    const jinja_str *s = jinja_to_str(r, v);
    bool cased = !jinja_str_equal(jinja_str_case(r, s, CASE_UPPER), jinja_str_case(r, s, CASE_LOWER));

    return cased && jinja_str_equal(s, jinja_str_case(r, s, how));
}

static bool remainder_is(jinja_run *r, jinja_value v, jinja_value by, double wanted)
{
    return jinja_number(jinja_binary(r, OP_MOD, v, by)) == wanted;
}

bool jinja_test_apply(jinja_run *r, int id, jinja_value v, jinja_value *arg, size_t n,
                      const jinja_dict *kwargs)
{
    jinja_value slot[1];

    jinja_work(r, 1);
    jinja_bind(r, test_table[id].name, test_table[id].id == IS_DIVISIBLEBY ? "num" : "other", slot,
               test_table[id].args, arg, n, kwargs);
    if (test_table[id].args && slot[0].kind == J_MISSING)
        FAIL(r, "the test '%s' needs an argument", test_table[id].name);
    switch (test_table[id].id) {
    case IS_DEFINED:
        return v.kind != J_UNDEFINED;
    case IS_UNDEFINED:
        return v.kind == J_UNDEFINED;
    case IS_NONE:
        return v.kind == J_NONE;
    case IS_STRING:
        return v.kind == J_STR;
    case IS_NUMBER:
        return jinja_is_number(v);
    case IS_INTEGER:
        return v.kind == J_INT;
    case IS_FLOAT:
        return v.kind == J_FLOAT;
    case IS_BOOLEAN:
        return v.kind == J_BOOL;
    case IS_TRUE:
        return v.kind == J_BOOL && v.b;
    case IS_FALSE:
        return v.kind == J_BOOL && !v.b;
    case IS_MAPPING:
        return v.kind == J_DICT;
    case IS_ITERABLE:
        return v.kind == J_STR || v.kind == J_SEQ || v.kind == J_DICT || v.kind == J_LOOP ||
               (v.kind == J_UNDEFINED && !v.undef->unsafe);
    case IS_SEQUENCE:
        return v.kind == J_STR || v.kind == J_DICT || (v.kind == J_SEQ && v.seq->type <= SEQ_RANGE) ||
               (v.kind == J_UNDEFINED && !v.undef->unsafe);
    case IS_CALLABLE: /* an undefined value has a __call__ too, one that raises */
        return v.kind == J_MACRO || v.kind == J_METHOD || v.kind == J_FUNCTION || v.kind == J_LOOP ||
               v.kind == J_UNDEFINED;
    case IS_ODD:
        return remainder_is(r, v, jinja_int(2), 1);
    case IS_EVEN:
        return remainder_is(r, v, jinja_int(2), 0);
    case IS_DIVISIBLEBY:
        return remainder_is(r, v, slot[0], 0);
    case IS_EQ:
        return jinja_equal(r, v, slot[0]);
    case IS_NE:
        return !jinja_equal(r, v, slot[0]);
    case IS_LT:
        return jinja_order(r, v, slot[0]) < 0;
    case IS_LE:
        return jinja_order(r, v, slot[0]) <= 0;
    case IS_GT:
        return jinja_order(r, v, slot[0]) == 1;
    case IS_GE: {
        int c = jinja_order(r, v, slot[0]);

        return c == 0 || c == 1;
    }
    case IS_IN:
        return jinja_contains(r, slot[0], v);
    case IS_LOWER:
        return is_case(r, v, CASE_LOWER);
    case IS_UPPER:
        return is_case(r, v, CASE_UPPER);
    case IS_SAMEAS:
        if ((v.kind == J_BOOL || v.kind == J_NONE) && v.kind == slot[0].kind)
            return v.kind == J_NONE || v.b == slot[0].b;
        if (v.kind != slot[0].kind || v.kind == J_BOOL)
            return false;
        jinja_fail(&r->arena, HONE_EUNSUPPORTED,
                   "the test 'sameas' is supported for true, false and none only");
    case IS_ESCAPED:
        return v.kind == J_STR && v.str->safe;
    case IS_FILTER:
        return v.kind == J_STR && jinja_filter_find(v.str->s, v.str->n) != -1;
    default:
        return v.kind == J_STR && jinja_test_find(v.str->s, v.str->n) != -1;
    }
}
