/* Functions and methods that a template can call, and how their arguments are bound.
 *
 * The methods are those of Python's str, dict and list that change nothing; one that would change its object (append,
 * update, ...) is hidden by the sandbox, as in Jinja2: it looks undefined and using it is an error. A method that
 * exists in Python but is not carried is an error by name. */
#include <string.h>
#include <time.h>

#include "text/jinja.h"
#include <utf8proc.h>

/* ---- arguments ------------------------------------------------------------------------------------------------ */

void jinja_bind(jinja_run *r, const char *what, const char *params, jinja_value *slot, size_t n_slot,
                const jinja_value *arg, size_t n, const jinja_dict *kwargs)
{
    const char *p = params, *end;
    size_t i, k, used = 0;

    if (n > n_slot)
        FAIL(r, "%s takes at most %zu arguments, %zu given", what, n_slot, n);
    for (i = 0; i < n_slot; i++, p = *end ? end + 1 : end) {
        end = strchrnul(p, ',');
        slot[i] = i < n ? arg[i] : (jinja_value){.kind = J_MISSING};
        for (k = 0; kwargs && k < kwargs->n; k++) {
            const jinja_str *key = kwargs->entry[k].key.str;

            if (key->n != (size_t)(end - p) || memcmp(key->s, p, key->n))
                continue;
            if (i < n)
                FAIL(r, "%s got two values for argument '%.*s'", what, (int)(end - p), p);
            slot[i] = kwargs->entry[k].value;
            used++;
        }
    }
    if (kwargs && used < kwargs->n)
        FAIL(r, "%s got an unexpected keyword argument", what);
}

int64_t jinja_arg_int(jinja_run *r, const char *what, jinja_value v, int64_t fallback)
{
    if (v.kind == J_MISSING)
        return fallback;
    if (v.kind == J_INT)
        return v.i;
    if (v.kind == J_BOOL)
        return v.b;
    FAIL(r, "%s: an integer is wanted, not %s", what, jinja_type_name(v));
}

const jinja_str *jinja_arg_str(jinja_run *r, const char *what, jinja_value v)
{
    if (v.kind == J_STR)
        return v.str;
    FAIL(r, "%s: a string is wanted, not %s", what, v.kind == J_MISSING ? "nothing" : jinja_type_name(v));
}

/* ---- functions ------------------------------------------------------------------------------------------------ */

enum { F_NAMESPACE, F_RAISE, F_STRFTIME, F_RANGE, F_DICT, F_CYCLER, F_JOINER, F_LIPSUM, N_FUNCTIONS };

static const char *const function_name[N_FUNCTIONS] = {
    "namespace", "raise_exception", "strftime_now", "range", "dict", "cycler", "joiner", "lipsum"};

jinja_value jinja_global_find(const char *s, size_t n)
{
    int i;

    for (i = 0; i < N_FUNCTIONS; i++)
        if (strlen(function_name[i]) == n && !memcmp(function_name[i], s, n))
            return (jinja_value){.kind = J_FUNCTION, .id = i};
    return (jinja_value){.kind = J_MISSING};
}

static jinja_value call_range(jinja_run *r, const jinja_value *arg, size_t n)
{
    int64_t start = 0, stop, step = 1, i, count;
    jinja_seq *s;

    if (n < 1 || n > 3)
        FAIL(r, "range expected 1 to 3 arguments, got %zu", n);
    stop = jinja_arg_int(r, "range", arg[n > 1], 0);
    if (n > 1)
        start = jinja_arg_int(r, "range", arg[0], 0);
    if (n > 2)
        step = jinja_arg_int(r, "range", arg[2], 0);
    if (!step)
        FAIL(r, "range() arg 3 must not be zero");
    if (step > 0 ? start >= stop : start <= stop)
        return jinja_of_seq(jinja_seq_new(r, SEQ_RANGE, 0));
    /* The unsigned difference is exact for any pair of 64-bit numbers. */
    count = (int64_t)HONE_MIN(step > 0 ? ((uint64_t)stop - (uint64_t)start - 1) / (uint64_t)step
                                       : ((uint64_t)start - (uint64_t)stop - 1) / (0 - (uint64_t)step),
                              (uint64_t)1 << 40) +
            1;
    if (count > 100000)
        FAIL(r, "range too big: the sandbox allows 100000 items");
    s = jinja_seq_new(r, SEQ_RANGE, (size_t)count);
    for (i = 0; i < count; i++)
        jinja_seq_push(r, s, jinja_int(start + i * step));
    return jinja_of_seq(s);
}

static jinja_value call_strftime(jinja_run *r, const jinja_str *format)
{
    time_t now = (time_t)r->in->now;
    struct tm tm;
    char *f, *text;
    size_t n;

    if (format->n > 1000)
        FAIL(r, "strftime_now: format too long");
    f = jinja_alloc(&r->arena, format->n + 2);
    memcpy(f, format->s, format->n);
    f[format->n] = ' '; /* so that an empty result is told from one that does not fit */
    text = jinja_alloc(&r->arena, 8192);
    if (!localtime_r(&now, &tm))
        FAIL(r, "strftime_now: no local time");
    n = strftime(text, 8192, f, &tm);
    if (!n)
        FAIL(r, "strftime_now: the result is too long");
    return jinja_of_str(jinja_str_new(r, text, n - 1, 0));
}

/* dict(mapping or pairs, **kwargs) */
static jinja_dict *make_dict(jinja_run *r, const char *what, const jinja_value *arg, size_t n,
                             const jinja_dict *kwargs)
{
    jinja_dict *d = jinja_dict_new(r);
    jinja_seq *s, *pair;
    size_t i;

    if (n > 1)
        FAIL(r, "%s expected at most 1 argument, got %zu", what, n);
    if (n && (arg[0].kind == J_DICT)) {
        for (i = 0; i < arg[0].dict->n; i++)
            jinja_dict_set(r, d, arg[0].dict->entry[i].key, arg[0].dict->entry[i].value);
    } else if (n) {
        s = jinja_iterate(r, arg[0]);
        for (i = 0; i < s->n; i++) {
            pair = jinja_iterate(r, s->item[i]);
            if (pair->n != 2)
                FAIL(r, "%s update sequence element %zu has length %zu; 2 is required", what, i, pair->n);
            jinja_dict_set(r, d, pair->item[0], pair->item[1]);
        }
    }
    for (i = 0; kwargs && i < kwargs->n; i++)
        jinja_dict_set(r, d, kwargs->entry[i].key, kwargs->entry[i].value);
    return d;
}

jinja_value jinja_call_function(jinja_run *r, int id, jinja_value *arg, size_t n, const jinja_dict *kwargs)
{
    jinja_value slot[1];
    jinja_dict *d;
    size_t i;

    switch (id) {
    case F_NAMESPACE:
        d = make_dict(r, "namespace", arg, n, kwargs);
        for (i = 0; i < d->n; i++)
            if (d->entry[i].key.kind == J_STR && d->entry[i].key.str->n && d->entry[i].key.str->s[0] == '_')
                FAIL(r, "a namespace can not hold an attribute that starts with an underscore");
        return (jinja_value){.kind = J_NAMESPACE, .dict = d};
    case F_RAISE: {
        const jinja_str *s;

        jinja_bind(r, "raise_exception", "message", slot, 1, arg, n, kwargs);
        s = slot[0].kind == J_MISSING ? jinja_str_of(r, "") : jinja_to_str(r, slot[0]);
        FAIL(r, "%.*s", (int)HONE_MIN(s->n, (size_t)700), s->s);
    }
    case F_STRFTIME:
        jinja_bind(r, "strftime_now", "format", slot, 1, arg, n, kwargs);
        return call_strftime(r, jinja_arg_str(r, "strftime_now", slot[0]));
    case F_RANGE:
        if (kwargs && kwargs->n)
            FAIL(r, "range() takes no keyword arguments");
        return call_range(r, arg, n);
    case F_DICT:
        return jinja_of_dict(make_dict(r, "dict", arg, n, kwargs));
    default:
        jinja_fail(&r->arena, HONE_EUNSUPPORTED, "the function '%s' is not supported", function_name[id]);
    }
}

/* ---- methods -------------------------------------------------------------------------------------------------- */

enum {
    M_SPLIT,
    M_RSPLIT,
    M_SPLITLINES,
    M_STRIP,
    M_LSTRIP,
    M_RSTRIP,
    M_STARTSWITH,
    M_ENDSWITH,
    M_CAPITALIZE,
    M_TITLE,
    M_UPPER,
    M_LOWER,
    M_SWAPCASE,
    M_REPLACE,
    M_FIND,
    M_RFIND,
    M_INDEX,
    M_RINDEX,
    M_COUNT,
    M_JOIN,
    M_ISDIGIT,
    M_ISALPHA,
    M_ISALNUM,
    M_ISSPACE,
    M_ISUPPER,
    M_ISLOWER,
    M_ZFILL,
    M_LJUST,
    M_RJUST,
    M_CENTER,
    M_PARTITION,
    M_RPARTITION,
    M_REMOVEPREFIX,
    M_REMOVESUFFIX,
    M_FORMAT,
    M_KEYS,
    M_VALUES,
    M_ITEMS,
    M_GET,
    M_COPY,
    M_CYCLE,
    M_CHANGED,
    M_REFUSED /* exists in Python, is not carried */
};

enum { ON_STR = 1, ON_DICT = 2, ON_LIST = 4, ON_TUPLE = 8, ON_LOOP = 16 };

static const struct {
    const char *name;
    uint8_t on;
    int8_t id;
} methods[] = {
    {"split", ON_STR, M_SPLIT},
    {"rsplit", ON_STR, M_RSPLIT},
    {"splitlines", ON_STR, M_SPLITLINES},
    {"strip", ON_STR, M_STRIP},
    {"lstrip", ON_STR, M_LSTRIP},
    {"rstrip", ON_STR, M_RSTRIP},
    {"startswith", ON_STR, M_STARTSWITH},
    {"endswith", ON_STR, M_ENDSWITH},
    {"capitalize", ON_STR, M_CAPITALIZE},
    {"title", ON_STR, M_TITLE},
    {"upper", ON_STR, M_UPPER},
    {"lower", ON_STR, M_LOWER},
    {"swapcase", ON_STR, M_SWAPCASE},
    {"replace", ON_STR, M_REPLACE},
    {"find", ON_STR, M_FIND},
    {"rfind", ON_STR, M_RFIND},
    {"index", ON_STR | ON_LIST | ON_TUPLE, M_INDEX},
    {"rindex", ON_STR, M_RINDEX},
    {"count", ON_STR | ON_LIST | ON_TUPLE, M_COUNT},
    {"join", ON_STR, M_JOIN},
    {"isdigit", ON_STR, M_ISDIGIT},
    {"isalpha", ON_STR, M_ISALPHA},
    {"isalnum", ON_STR, M_ISALNUM},
    {"isspace", ON_STR, M_ISSPACE},
    {"isupper", ON_STR, M_ISUPPER},
    {"islower", ON_STR, M_ISLOWER},
    {"zfill", ON_STR, M_ZFILL},
    {"ljust", ON_STR, M_LJUST},
    {"rjust", ON_STR, M_RJUST},
    {"center", ON_STR, M_CENTER},
    {"partition", ON_STR, M_PARTITION},
    {"rpartition", ON_STR, M_RPARTITION},
    {"removeprefix", ON_STR, M_REMOVEPREFIX},
    {"removesuffix", ON_STR, M_REMOVESUFFIX},
    {"keys", ON_DICT, M_KEYS},
    {"values", ON_DICT, M_VALUES},
    {"items", ON_DICT, M_ITEMS},
    {"get", ON_DICT, M_GET},
    {"copy", ON_DICT | ON_LIST, M_COPY},
    {"cycle", ON_LOOP, M_CYCLE},
    {"changed", ON_LOOP, M_CHANGED},
    {"format", ON_STR, M_FORMAT},
    {"format_map", ON_STR, M_REFUSED},
    {"encode", ON_STR, M_REFUSED},
    {"casefold", ON_STR, M_REFUSED},
    {"expandtabs", ON_STR, M_REFUSED},
    {"translate", ON_STR, M_REFUSED},
    {"isdecimal", ON_STR, M_REFUSED},
    {"isnumeric", ON_STR, M_REFUSED},
    {"isidentifier", ON_STR, M_REFUSED},
    {"isprintable", ON_STR, M_REFUSED},
    {"istitle", ON_STR, M_REFUSED},
    {"isascii", ON_STR, M_REFUSED},
    {"maketrans", ON_STR, M_REFUSED},
    {"fromkeys", ON_DICT, M_REFUSED},
};

static const struct {
    const char *name;
    uint8_t on;
} hidden[] = {{"append", ON_LIST},     {"clear", ON_LIST | ON_DICT}, {"pop", ON_LIST | ON_DICT},
              {"reverse", ON_LIST},    {"insert", ON_LIST},          {"sort", ON_LIST},
              {"extend", ON_LIST},     {"remove", ON_LIST},          {"popitem", ON_DICT},
              {"setdefault", ON_DICT}, {"update", ON_DICT}};

jinja_value jinja_method_find(jinja_run *r, jinja_value self, const jinja_str *name)
{
    unsigned on = self.kind == J_STR                                  ? ON_STR
                  : self.kind == J_DICT                               ? ON_DICT
                  : self.kind == J_LOOP                               ? ON_LOOP
                  : self.kind == J_SEQ && self.seq->type == SEQ_LIST  ? ON_LIST
                  : self.kind == J_SEQ && self.seq->type == SEQ_TUPLE ? ON_TUPLE
                                                                      : 0;
    jinja_value v = {.kind = J_MISSING};
    jinja_method *m;
    size_t i;

    if (!on || !name->n)
        return v;
    for (i = 0; i < HONE_COUNT(methods); i++) {
        if (!(methods[i].on & on) || methods[i].name[0] != name->s[0] || !jinja_str_is(name, methods[i].name))
            continue;
        if (methods[i].id == M_REFUSED)
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "the method '%s' of %s is not supported",
                       methods[i].name, jinja_type_name(self));
        m = jinja_alloc(&r->arena, sizeof *m);
        m->self = self;
        m->id = methods[i].id;
        v.kind = J_METHOD;
        v.method = m;
        return v;
    }
    for (i = 0; i < HONE_COUNT(hidden); i++)
        if (hidden[i].on & on && jinja_str_is(name, hidden[i].name)) {
            jinja_undefined *u = jinja_alloc(&r->arena, sizeof *u);

            u->name = hidden[i].name;
            u->owner = jinja_type_name(self);
            u->unsafe = true;
            v.kind = J_UNDEFINED;
            v.undef = u;
            return v;
        }
    return v;
}

/* Byte range of s that start and stop (in characters, may be absent) select. */
static void char_range(jinja_run *r, const jinja_str *s, jinja_value start, jinja_value stop, size_t *begin,
                       size_t *end)
{
    int64_t n = (int64_t)jinja_str_chars(s), a = 0, b = n;

    if (start.kind != J_MISSING && start.kind != J_NONE)
        a = jinja_arg_int(r, "start", start, 0);
    if (stop.kind != J_MISSING && stop.kind != J_NONE)
        b = jinja_arg_int(r, "stop", stop, 0);
    a = a < 0 ? HONE_MAX(a + n, (int64_t)0) : a;
    b = b < 0 ? HONE_MAX(b + n, (int64_t)0) : HONE_MIN(b, n);
    *begin = a > n ? s->n + 1 : jinja_str_byte(s, (size_t)a);
    *end = HONE_MAX(jinja_str_byte(s, (size_t)b), a > n ? (size_t)0 : (a > b ? (size_t)0 : *begin));
    if (a > b)
        *begin = s->n + 1; /* nothing lies in it, not even the empty string */
}

static bool has_affix(const jinja_str *s, const jinja_str *affix, bool at_end)
{
    return affix->n <= s->n &&
           (!affix->n || !memcmp(at_end ? s->s + s->n - affix->n : s->s, affix->s, affix->n));
}

static bool any_affix(jinja_run *r, const jinja_str *s, jinja_value affix, bool at_end)
{
    size_t i;

    if (affix.kind == J_SEQ && affix.seq->type == SEQ_TUPLE) {
        for (i = 0; i < affix.seq->n; i++)
            if (has_affix(s, jinja_arg_str(r, "startswith or endswith", affix.seq->item[i]), at_end))
                return true;
        return false;
    }
    return has_affix(s, jinja_arg_str(r, "startswith or endswith", affix), at_end);
}

static int64_t find(jinja_run *r, const jinja_str *s, const jinja_value *slot, bool last)
{
    const jinja_str *needle = jinja_arg_str(r, "find", slot[0]), *part;
    size_t begin, end, at;

    char_range(r, s, slot[1], slot[2], &begin, &end);
    if (begin > end)
        return -1;
    part = jinja_str_sub(r, s, 0, end);
    at = last ? jinja_str_rfind(r, part, needle, end) : jinja_str_find(r, part, needle, begin);
    if (at == SIZE_MAX || at < begin)
        return -1;
    return (int64_t)jinja_str_chars(jinja_str_sub(r, s, 0, at));
}

static int64_t count(jinja_run *r, const jinja_str *s, const jinja_value *slot)
{
    const jinja_str *needle = jinja_arg_str(r, "count", slot[0]), *part;
    size_t begin, end, at;
    int64_t n = 0;

    char_range(r, s, slot[1], slot[2], &begin, &end);
    if (begin > end)
        return 0;
    part = jinja_str_sub(r, s, begin, end);
    if (!needle->n)
        return (int64_t)jinja_str_chars(part) + 1;
    for (at = 0; (at = jinja_str_find(r, part, needle, at)) != SIZE_MAX; at += needle->n)
        n++;
    return n;
}

static bool all_of(jinja_run *r, const jinja_str *s, int id)
{
    bool cased = false, alpha, digit;
    size_t i;
    int32_t c;

    jinja_work(r, s->n / 4);
    for (i = 0; i < s->n; i += hone_utf8_get(s->s + i, s->n - i, &c)) {
        utf8proc_category_t k;

        hone_utf8_get(s->s + i, s->n - i, &c);
        k = utf8proc_category(c);
        alpha = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
        digit = k == UTF8PROC_CATEGORY_ND;
        if (id == M_ISSPACE && !jinja_is_space(c))
            return false;
        if ((id == M_ISDIGIT || id == M_ISALNUM) && c >= 0x80 &&
            (k == UTF8PROC_CATEGORY_NO || k == UTF8PROC_CATEGORY_NL))
            jinja_fail(&r->arena, HONE_EUNSUPPORTED, "isdigit or isalnum of U+%04X is not supported",
                       (unsigned)c);
        if ((id == M_ISDIGIT && !digit) || (id == M_ISALPHA && !alpha) ||
            (id == M_ISALNUM && !alpha && !digit))
            return false;
        if (id == M_ISUPPER || id == M_ISLOWER) {
            bool up = k == UTF8PROC_CATEGORY_LU, low = k == UTF8PROC_CATEGORY_LL;

            if (k == UTF8PROC_CATEGORY_LT || (id == M_ISUPPER ? low : up))
                return false;
            cased = cased || up || low;
        }
    }
    return id == M_ISUPPER || id == M_ISLOWER ? cased : s->n > 0;
}

static const jinja_str *justify(jinja_run *r, const jinja_str *s, int64_t width, const jinja_str *fill,
                                int64_t left)
{
    int64_t room = width - (int64_t)jinja_str_chars(s);
    const jinja_str *out;

    if (room <= 0)
        return s;
    if (jinja_str_chars(fill) != 1)
        FAIL(r, "the fill character must be exactly one character long");
    left = left < 0 ? room / 2 + (room & width & 1) : left ? room : 0;
    out = jinja_str_join2(r, jinja_str_repeat(r, fill, left), s);
    return jinja_str_join2(r, out, jinja_str_repeat(r, fill, room - left));
}

static const jinja_str *join(jinja_run *r, const jinja_str *sep, jinja_value items)
{
    jinja_seq *s = jinja_iterate(r, items);
    const jinja_str *part;
    jinja_out o = {0};
    size_t i;

    for (i = 0; i < s->n; i++) {
        if (s->item[i].kind != J_STR && !sep->safe)
            FAIL(r, "sequence item %zu: expected str instance, %s found", i, jinja_type_name(s->item[i]));
        if (i)
            jinja_out_add(r, &o, sep);
        part = jinja_to_str(r, s->item[i]);
        jinja_out_add(r, &o, sep->safe && !part->safe ? jinja_str_escape(r, part) : part);
    }
    return jinja_str_safe(r, jinja_out_take(r, &o), sep->safe);
}

static jinja_value partition(jinja_run *r, const jinja_str *s, const jinja_str *sep, bool last)
{
    jinja_seq *seq = jinja_seq_new(r, SEQ_TUPLE, 3);
    size_t at;
    const jinja_str *empty = jinja_str_sub(r, s, 0, 0);

    if (!sep->n)
        FAIL(r, "empty separator");
    at = last ? jinja_str_rfind(r, s, sep, s->n) : jinja_str_find(r, s, sep, 0);
    if (at == SIZE_MAX) {
        jinja_seq_push(r, seq, jinja_of_str(last ? empty : s));
        jinja_seq_push(r, seq, jinja_of_str(empty));
        jinja_seq_push(r, seq, jinja_of_str(last ? s : empty));
    } else {
        jinja_seq_push(r, seq, jinja_of_str(jinja_str_sub(r, s, 0, at)));
        jinja_seq_push(r, seq, jinja_of_str(sep));
        jinja_seq_push(r, seq, jinja_of_str(jinja_str_sub(r, s, at + sep->n, s->n)));
    }
    return jinja_of_seq(seq);
}

static jinja_value str_method(jinja_run *r, int id, const jinja_str *s, const jinja_value *arg, size_t n,
                              const jinja_dict *kwargs)
{
    jinja_value slot[3];
    const jinja_str *a, *b;
    int64_t at;

    switch (id) {
    case M_SPLIT:
    case M_RSPLIT:
        jinja_bind(r, "split", "sep,maxsplit", slot, 2, arg, n, kwargs);
        a = slot[0].kind == J_MISSING || slot[0].kind == J_NONE ? NULL : jinja_arg_str(r, "split", slot[0]);
        return jinja_of_seq(jinja_str_split(r, s, a, jinja_arg_int(r, "split", slot[1], -1), id == M_RSPLIT));
    case M_SPLITLINES:
        jinja_bind(r, "splitlines", "keepends", slot, 1, arg, n, kwargs);
        return jinja_of_seq(jinja_str_lines(r, s, slot[0].kind != J_MISSING && jinja_truth(slot[0])));
    case M_STRIP:
    case M_LSTRIP:
    case M_RSTRIP:
        jinja_bind(r, "strip", "", slot, 1, arg, n, kwargs);
        a = slot[0].kind == J_MISSING || slot[0].kind == J_NONE ? NULL : jinja_arg_str(r, "strip", slot[0]);
        return jinja_of_str(jinja_str_strip(r, s, a,
                                            id == M_STRIP    ? SIDE_BOTH
                                            : id == M_LSTRIP ? SIDE_LEFT
                                                             : SIDE_RIGHT));
    case M_STARTSWITH:
    case M_ENDSWITH: {
        size_t begin, end;

        jinja_bind(r, "startswith or endswith", "", slot, 3, arg, n, kwargs);
        char_range(r, s, slot[1], slot[2], &begin, &end);
        if (begin > end)
            return jinja_bool(false);
        return jinja_bool(any_affix(r, jinja_str_sub(r, s, begin, end), slot[0], id == M_ENDSWITH));
    }
    case M_CAPITALIZE:
    case M_TITLE:
    case M_UPPER:
    case M_LOWER:
    case M_SWAPCASE: {
        static const enum jinja_case how[] = {CASE_CAPITALIZE, CASE_TITLE, CASE_UPPER, CASE_LOWER, CASE_SWAP};

        jinja_bind(r, "the method", "", slot, 0, arg, n, kwargs);
        return jinja_of_str(jinja_str_case(r, s, how[id - M_CAPITALIZE]));
    }
    case M_REPLACE:
        jinja_bind(r, "replace", ",,count", slot, 3, arg, n, kwargs);
        a = jinja_arg_str(r, "replace", slot[0]);
        b = jinja_arg_str(r, "replace", slot[1]);
        if (s->safe && !b->safe)
            b = jinja_str_escape(r, b);
        return jinja_of_str(jinja_str_replace(r, s, a, b, jinja_arg_int(r, "replace", slot[2], -1)));
    case M_FIND:
    case M_RFIND:
    case M_INDEX:
    case M_RINDEX:
        jinja_bind(r, "find", "", slot, 3, arg, n, kwargs);
        at = find(r, s, slot, id == M_RFIND || id == M_RINDEX);
        if (at < 0 && (id == M_INDEX || id == M_RINDEX))
            FAIL(r, "substring not found");
        return jinja_int(at);
    case M_COUNT:
        jinja_bind(r, "count", "", slot, 3, arg, n, kwargs);
        return jinja_int(count(r, s, slot));
    case M_JOIN:
        jinja_bind(r, "join", "", slot, 1, arg, n, kwargs);
        if (slot[0].kind == J_MISSING)
            FAIL(r, "join expected 1 argument");
        return jinja_of_str(join(r, s, slot[0]));
    case M_ISDIGIT:
    case M_ISALPHA:
    case M_ISALNUM:
    case M_ISSPACE:
    case M_ISUPPER:
    case M_ISLOWER:
        jinja_bind(r, "the method", "", slot, 0, arg, n, kwargs);
        return jinja_bool(all_of(r, s, id));
    case M_ZFILL: {
        size_t sign = s->n && (s->s[0] == '-' || s->s[0] == '+');

        jinja_bind(r, "zfill", "", slot, 1, arg, n, kwargs);
        at = jinja_arg_int(r, "zfill", slot[0], 0);
        a = jinja_str_sub(r, s, sign, s->n);
        return jinja_of_str(jinja_str_join2(r, jinja_str_sub(r, s, 0, sign),
                                            justify(r, a, at - (int64_t)sign, jinja_str_of(r, "0"), 1)));
    }
    case M_LJUST:
    case M_RJUST:
    case M_CENTER:
        jinja_bind(r, "center", "", slot, 2, arg, n, kwargs);
        a = slot[1].kind == J_MISSING ? jinja_str_of(r, " ") : jinja_arg_str(r, "center", slot[1]);
        return jinja_of_str(justify(r, s, jinja_arg_int(r, "center", slot[0], 0), a,
                                    id == M_LJUST   ? 0
                                    : id == M_RJUST ? 1
                                                    : -1));
    case M_PARTITION:
    case M_RPARTITION:
        jinja_bind(r, "partition", "", slot, 1, arg, n, kwargs);
        return partition(r, s, jinja_arg_str(r, "partition", slot[0]), id == M_RPARTITION);
    case M_REMOVEPREFIX:
    case M_REMOVESUFFIX:
        jinja_bind(r, "removeprefix", "", slot, 1, arg, n, kwargs);
        a = jinja_arg_str(r, "removeprefix", slot[0]);
        if (!has_affix(s, a, id == M_REMOVESUFFIX))
            return jinja_of_str(s);
        return jinja_of_str(id == M_REMOVEPREFIX ? jinja_str_sub(r, s, a->n, s->n)
                                                 : jinja_str_sub(r, s, 0, s->n - a->n));
    case M_FORMAT:
        return jinja_of_str(jinja_str_braces(r, s, arg, n, kwargs));
    default:
        jinja_fail(&r->arena, HONE_EINTERNAL, "no such method");
    }
}

static jinja_value dict_method(jinja_run *r, int id, jinja_value self, const jinja_value *arg, size_t n,
                               const jinja_dict *kwargs)
{
    static const jinja_seq_type view[] = {SEQ_KEYS, SEQ_VALUES, SEQ_ITEMS};
    const jinja_dict *d = self.dict;
    jinja_value slot[2], *found, v;
    jinja_seq *s, *pair;
    size_t i;

    if (id == M_GET) {
        jinja_bind(r, "get", "", slot, 2, arg, n, kwargs);
        if (slot[0].kind == J_MISSING)
            FAIL(r, "get expected at least 1 argument, got 0");
        found = jinja_dict_get(r, d, slot[0]);
        return found ? *found : slot[1].kind == J_MISSING ? jinja_none() : slot[1];
    }
    jinja_bind(r, "the method", "", slot, 0, arg, n, kwargs);
    if (id == M_COPY) {
        v = jinja_of_dict(make_dict(r, "dict", &self, 1, NULL));
        v.origin = self.origin;
        return v;
    }
    s = jinja_seq_new(r, view[id - M_KEYS], d->n);
    for (i = 0; i < d->n; i++) {
        if (id == M_ITEMS) {
            pair = jinja_seq_new(r, SEQ_TUPLE, 2);
            jinja_seq_push(r, pair, d->entry[i].key);
            jinja_seq_push(r, pair, d->entry[i].value);
            jinja_seq_push(r, s, jinja_of_seq(pair));
        } else {
            jinja_seq_push(r, s, id == M_KEYS ? d->entry[i].key : d->entry[i].value);
        }
    }
    v = jinja_of_seq(s);
    v.origin = self.origin;
    return v;
}

static jinja_value seq_method(jinja_run *r, int id, jinja_value self, const jinja_value *arg, size_t n,
                              const jinja_dict *kwargs)
{
    jinja_value slot[1];
    jinja_seq *s = self.seq, *copy;
    int64_t found = 0;
    size_t i;

    jinja_bind(r, "the method", "", slot, id == M_COPY ? 0 : 1, arg, n, kwargs);
    if (id == M_COPY) {
        copy = jinja_seq_new(r, SEQ_LIST, s->n);
        for (i = 0; i < s->n; i++)
            jinja_seq_push(r, copy, s->item[i]);
        return jinja_of_seq(copy);
    }
    for (i = 0; i < s->n; i++)
        if (jinja_equal(r, s->item[i], slot[0])) {
            if (id == M_INDEX)
                return jinja_int((int64_t)i);
            found++;
        }
    if (id == M_INDEX)
        FAIL(r, "the value is not in the list");
    return jinja_int(found);
}

static jinja_value loop_method(jinja_run *r, int id, jinja_loop *l, const jinja_value *arg, size_t n)
{
    jinja_seq *seen;
    jinja_value v;
    size_t i;

    if (id == M_CYCLE) {
        if (!n)
            FAIL(r, "no items for cycling given");
        return arg[l->at % n];
    }
    seen = jinja_seq_new(r, SEQ_TUPLE, n);
    for (i = 0; i < n; i++)
        jinja_seq_push(r, seen, arg[i]);
    v = jinja_of_seq(seen);
    if (l->last_changed.kind != J_MISSING && jinja_equal(r, l->last_changed, v))
        return jinja_bool(false);
    l->last_changed = v;
    return jinja_bool(true);
}

jinja_value jinja_call_method(jinja_run *r, const jinja_method *m, jinja_value *arg, size_t n,
                              const jinja_dict *kwargs)
{
    switch ((jinja_kind)m->self.kind) {
    case J_STR:
        return str_method(r, m->id, m->self.str, arg, n, kwargs);
    case J_DICT:
        return dict_method(r, m->id, m->self, arg, n, kwargs);
    case J_LOOP:
        return loop_method(r, m->id, m->self.loop, arg, n);
    default:
        return seq_method(r, m->id, m->self, arg, n, kwargs);
    }
}
