/* Strings that know where each byte came from: every operation carries the origins along.
 *
 * Positions a template sees count characters; inside they are bytes. A string made of pieces with one origin stays
 * uniform, so that the common case (literal text, whole message fields) costs no array. */
#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "text/jinja.h"
#include "text/jinja_case.h"

const jinja_str *jinja_str_new(jinja_run *r, const char *s, size_t n, uint32_t from)
{
    jinja_str *str = jinja_alloc(&r->arena, sizeof *str);

    str->s = s;
    str->n = n;
    str->from = from;
    return str;
}

const jinja_str *jinja_str_of(jinja_run *r, const char *s)
{
    size_t n = strlen(s);
    char *copy = jinja_alloc(&r->arena, n + 1);

    return jinja_str_new(r, memcpy(copy, s, n), n, 0);
}

bool jinja_str_equal(const jinja_str *a, const jinja_str *b)
{
    return a->n == b->n && (!a->n || !memcmp(a->s, b->s, a->n));
}

bool jinja_str_is(const jinja_str *s, const char *text)
{
    return strlen(text) == s->n && !memcmp(s->s, text, s->n);
}

uint32_t jinja_str_origin(const jinja_str *s, size_t i)
{
    return s->origin && i < s->n ? s->origin[i] : s->from;
}

const jinja_str *jinja_str_sub(jinja_run *r, const jinja_str *s, size_t begin, size_t end)
{
    jinja_str *str;

    if (begin == 0 && end == s->n)
        return s;
    str = jinja_alloc(&r->arena, sizeof *str);
    str->s = s->s + begin;
    str->n = end - begin;
    str->origin = s->origin ? s->origin + begin : NULL;
    str->from = s->from;
    str->safe = s->safe;
    return str;
}

const jinja_str *jinja_str_safe(jinja_run *r, const jinja_str *s, bool safe)
{
    jinja_str *str;

    if (s->safe == safe)
        return s;
    str = jinja_alloc(&r->arena, sizeof *str);
    *str = *s;
    str->safe = safe;
    return str;
}

/* ---- building ------------------------------------------------------------------------------------------------ */

static void reserve(jinja_run *r, jinja_out *o, size_t n)
{
    size_t want, capacity;
    uint32_t *origin;
    char *s;

    if (n > r->max_output || o->n + n > r->max_output)
        jinja_fail(&r->arena, HONE_ELIMIT, "the text grows beyond %zu MiB", r->max_output >> 20);
    want = o->n + n;
    if (want <= o->capacity)
        return;
    capacity = HONE_MAX(HONE_MAX(o->capacity * 2, want), (size_t)128);
    s = jinja_alloc(&r->arena, capacity);
    origin = jinja_alloc_array(&r->arena, capacity, sizeof *origin);
    if (o->n) {
        memcpy(s, o->s, o->n);
        memcpy(origin, o->origin, o->n * sizeof *origin);
    }
    o->s = s;
    o->origin = origin;
    o->capacity = capacity;
}

void jinja_out_bytes(jinja_run *r, jinja_out *o, const char *s, size_t n, uint32_t from)
{
    size_t i;

    reserve(r, o, n);
    jinja_work(r, n / 16);
    if (n)
        memcpy(o->s + o->n, s, n);
    for (i = 0; i < n; i++)
        o->origin[o->n + i] = from;
    o->n += n;
}

/* Bytes [begin, end) of s. */
static void add_range(jinja_run *r, jinja_out *o, const jinja_str *s, size_t begin, size_t end)
{
    size_t n = end - begin;

    if (!s->origin || !n) {
        jinja_out_bytes(r, o, s->s + begin, n, s->from);
        return;
    }
    reserve(r, o, n);
    jinja_work(r, n / 16);
    memcpy(o->s + o->n, s->s + begin, n);
    memcpy(o->origin + o->n, s->origin + begin, n * sizeof *o->origin);
    o->n += n;
}

void jinja_out_add(jinja_run *r, jinja_out *o, const jinja_str *s)
{
    add_range(r, o, s, 0, s->n);
}

const jinja_str *jinja_out_take(jinja_run *r, const jinja_out *o)
{
    jinja_str *str = jinja_alloc(&r->arena, sizeof *str);
    size_t i;

    str->s = o->n ? o->s : "";
    str->n = o->n;
    for (i = 1; i < o->n && o->origin[i] == o->origin[0]; i++)
        ;
    if (o->n && i < o->n)
        str->origin = o->origin;
    str->from = o->n ? o->origin[0] : 0;
    return str;
}

const jinja_str *jinja_str_join2(jinja_run *r, const jinja_str *a, const jinja_str *b)
{
    jinja_out o = {0};
    const jinja_str *s;

    if (!a->n || !b->n)
        return jinja_str_safe(r, a->n ? a : b, a->safe || b->safe);
    reserve(r, &o, a->n + b->n);
    jinja_out_add(r, &o, a);
    jinja_out_add(r, &o, b);
    s = jinja_out_take(r, &o);
    return jinja_str_safe(r, s, a->safe || b->safe);
}

const jinja_str *jinja_str_repeat(jinja_run *r, const jinja_str *s, int64_t times)
{
    jinja_out o = {0};

    if (times <= 0 || !s->n)
        return jinja_str_sub(r, s, 0, 0);
    if ((uint64_t)times > r->max_output / s->n)
        jinja_fail(&r->arena, HONE_ELIMIT, "the text grows beyond %zu MiB", r->max_output >> 20);
    reserve(r, &o, s->n * (size_t)times);
    for (; times > 0; times--)
        jinja_out_add(r, &o, s);
    return jinja_str_safe(r, jinja_out_take(r, &o), s->safe);
}

const jinja_str *jinja_str_escape(jinja_run *r, const jinja_str *s)
{
    static const char *const text[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    static const char marks[] = "&<>\"'";
    jinja_out o = {0};
    size_t i, begin = 0;
    const char *m;

    for (i = 0; i < s->n; i++) {
        m = s->s[i] ? strchr(marks, s->s[i]) : NULL;
        if (!m)
            continue;
        add_range(r, &o, s, begin, i);
        jinja_out_bytes(r, &o, text[m - marks], strlen(text[m - marks]), jinja_str_origin(s, i));
        begin = i + 1;
    }
    if (!begin)
        return jinja_str_safe(r, s, true);
    add_range(r, &o, s, begin, s->n);
    return jinja_str_safe(r, jinja_out_take(r, &o), true);
}

/* ---- characters ---------------------------------------------------------------------------------------------- */

/* Length in bytes of the character at byte i. The text is UTF-8; only JSON and template text get in. */
static size_t char_len(const jinja_str *s, size_t i)
{
    unsigned char c = (unsigned char)s->s[i];
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

    return HONE_MIN(n, s->n - i);
}

static int32_t char_at(const jinja_str *s, size_t i)
{
    int32_t cp;

    hone_utf8_get(s->s + i, s->n - i, &cp);
    return cp;
}

static size_t char_before(const jinja_str *s, size_t i)
{
    do
        i--;
    while (i > 0 && ((unsigned char)s->s[i] & 0xc0) == 0x80);
    return i;
}

size_t jinja_str_chars(const jinja_str *s)
{
    size_t i, n = 0;

    for (i = 0; i < s->n; i++)
        n += ((unsigned char)s->s[i] & 0xc0) != 0x80;
    return n;
}

size_t jinja_str_byte(const jinja_str *s, size_t chars)
{
    size_t i;

    for (i = 0; i < s->n && chars; chars--)
        i += char_len(s, i);
    return i;
}

bool jinja_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

bool jinja_is_printable(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

jinja_seq *jinja_str_characters(jinja_run *r, const jinja_str *s)
{
    jinja_seq *seq = jinja_seq_new(r, SEQ_LIST, 0);
    size_t i, n;

    for (i = 0; i < s->n; i += n) {
        n = char_len(s, i);
        jinja_seq_push(r, seq, jinja_of_str(jinja_str_sub(r, s, i, i + n)));
    }
    return seq;
}

size_t jinja_str_find(jinja_run *r, const jinja_str *s, const jinja_str *needle, size_t from)
{
    const char *p;

    if (from > s->n)
        return SIZE_MAX;
    jinja_work(r, (s->n - from) / 16);
    if (!needle->n)
        return from;
    p = memmem(s->s + from, s->n - from, needle->s, needle->n);
    return p ? (size_t)(p - s->s) : SIZE_MAX;
}

size_t jinja_str_rfind(jinja_run *r, const jinja_str *s, const jinja_str *needle, size_t end)
{
    size_t i;

    if (needle->n > end)
        return SIZE_MAX;
    jinja_work(r, end / 8);
    for (i = end - needle->n + 1; i-- > 0;)
        if (!memcmp(s->s + i, needle->s, needle->n))
            return i;
    return SIZE_MAX;
}

size_t jinja_slice_resolve(jinja_run *r, const jinja_slice *slice, size_t len, int64_t *start, int64_t *step)
{
    int64_t n = (int64_t)len, stop, bound[3] = {0, 0, 1};
    const jinja_value *part[3] = {&slice->start, &slice->stop, &slice->step};
    bool given[3];
    int i;

    for (i = 0; i < 3; i++) {
        given[i] = part[i]->kind != J_NONE;
        if (given[i] && part[i]->kind != J_INT && part[i]->kind != J_BOOL)
            FAIL(r, "slice indices must be integers or None");
        if (given[i])
            bound[i] = part[i]->kind == J_INT ? part[i]->i : part[i]->b;
    }
    *step = bound[2];
    if (*step == 0)
        FAIL(r, "slice step cannot be zero");
    *step = HONE_MAX(*step, -INT64_MAX);
    for (i = 0; i < 2; i++) {
        if (bound[i] < 0)
            bound[i] = HONE_MAX(bound[i] + n, *step < 0 ? (int64_t)-1 : (int64_t)0);
        else
            bound[i] = HONE_MIN(bound[i], *step < 0 ? n - 1 : n);
    }
    *start = given[0] ? bound[0] : *step < 0 ? n - 1 : 0;
    stop = given[1] ? bound[1] : *step < 0 ? -1 : n;
    if (*step < 0)
        return stop < *start ? (size_t)((*start - stop - 1) / -*step) + 1 : 0;
    return *start < stop ? (size_t)((stop - *start - 1) / *step) + 1 : 0;
}

const jinja_str *jinja_str_slice(jinja_run *r, const jinja_str *s, const jinja_slice *slice)
{
    int64_t start, step;
    size_t chars = jinja_str_chars(s), n = jinja_slice_resolve(r, slice, chars, &start, &step), i, at, *where;
    jinja_out o = {0};

    jinja_work(r, s->n / 16);
    if (!n)
        return jinja_str_sub(r, s, 0, 0);
    if (step == 1) {
        at = jinja_str_byte(s, (size_t)start);
        for (i = at; n && i < s->n; n--)
            i += char_len(s, i);
        return jinja_str_sub(r, s, at, i);
    }
    where = jinja_alloc_array(&r->arena, chars + 1, sizeof *where);
    for (i = 0, at = 0; at < s->n; at += char_len(s, at))
        where[i++] = at;
    for (i = 0; i < n; i++) {
        at = where[start + (int64_t)i * step];
        add_range(r, &o, s, at, at + char_len(s, at));
    }
    return jinja_str_safe(r, jinja_out_take(r, &o), s->safe);
}

/* ---- strip, replace, split ---------------------------------------------------------------------------------- */

static bool strips(const jinja_str *s, size_t i, const jinja_str *chars)
{
    size_t n = char_len(s, i), k, m;

    if (!chars)
        return jinja_is_space(char_at(s, i));
    for (k = 0; k < chars->n; k += m) {
        m = char_len(chars, k);
        if (m == n && !memcmp(s->s + i, chars->s + k, n))
            return true;
    }
    return false;
}

const jinja_str *jinja_str_strip(jinja_run *r, const jinja_str *s, const jinja_str *chars, unsigned sides)
{
    size_t begin = 0, end = s->n, p;

    jinja_work(r, (chars ? chars->n : 1) * (s->n / 64));
    while (sides & SIDE_LEFT && begin < end && strips(s, begin, chars))
        begin += char_len(s, begin);
    while (sides & SIDE_RIGHT && end > begin) {
        p = char_before(s, end);
        if (!strips(s, p, chars))
            break;
        end = p;
    }
    return jinja_str_sub(r, s, begin, end);
}

const jinja_str *jinja_str_replace(jinja_run *r, const jinja_str *s, const jinja_str *old,
                                   const jinja_str *new_, int64_t count)
{
    jinja_out o = {0};
    size_t at = 0, found;

    if (count < 0)
        count = INT64_MAX;
    if (!old->n) { /* before every character, and at the end */
        while (count > 0) {
            jinja_out_add(r, &o, new_);
            count--;
            if (at >= s->n)
                return jinja_str_safe(r, jinja_out_take(r, &o), s->safe);
            add_range(r, &o, s, at, at + char_len(s, at));
            at += char_len(s, at);
        }
    }
    while (count > 0 && (found = jinja_str_find(r, s, old, at)) != SIZE_MAX && old->n) {
        add_range(r, &o, s, at, found);
        jinja_out_add(r, &o, new_);
        at = found + old->n;
        count--;
        jinja_work(r, 1);
    }
    if (!at && !o.n)
        return s;
    add_range(r, &o, s, at, s->n);
    return jinja_str_safe(r, jinja_out_take(r, &o), s->safe);
}

static void push_part(jinja_run *r, jinja_seq *seq, const jinja_str *s, size_t begin, size_t end)
{
    jinja_seq_push(r, seq, jinja_of_str(jinja_str_sub(r, s, begin, end)));
}

static void reverse(jinja_seq *seq)
{
    size_t i;

    for (i = 0; i < seq->n / 2; i++) {
        jinja_value v = seq->item[i];

        seq->item[i] = seq->item[seq->n - 1 - i];
        seq->item[seq->n - 1 - i] = v;
    }
}

/* On runs of white space, which also drop at both ends; what is left after max splits keeps its far end. */
static void split_space(jinja_run *r, jinja_seq *seq, const jinja_str *s, int64_t max, bool from_right)
{
    size_t at, p;

    if (!from_right) {
        for (at = 0;;) {
            while (at < s->n && jinja_is_space(char_at(s, at)))
                at += char_len(s, at);
            if (at >= s->n)
                return;
            if (max-- == 0) {
                push_part(r, seq, s, at, s->n);
                return;
            }
            for (p = at; p < s->n && !jinja_is_space(char_at(s, p)); p += char_len(s, p))
                ;
            push_part(r, seq, s, at, p);
            at = p;
        }
    }
    for (at = s->n;;) {
        while (at > 0 && jinja_is_space(char_at(s, char_before(s, at))))
            at = char_before(s, at);
        if (!at)
            break;
        if (max-- == 0) {
            push_part(r, seq, s, 0, at);
            break;
        }
        for (p = at; p > 0 && !jinja_is_space(char_at(s, char_before(s, p))); p = char_before(s, p))
            ;
        push_part(r, seq, s, p, at);
        at = p;
    }
    reverse(seq);
}

jinja_seq *jinja_str_split(jinja_run *r, const jinja_str *s, const jinja_str *sep, int64_t max,
                           bool from_right)
{
    jinja_seq *seq = jinja_seq_new(r, SEQ_LIST, 0);
    size_t at, found;

    if (max < 0)
        max = INT64_MAX;
    if (!sep) {
        jinja_work(r, s->n / 16);
        split_space(r, seq, s, max, from_right);
        return seq;
    }
    if (!sep->n)
        FAIL(r, "empty separator");
    if (!from_right) {
        for (at = 0; max > 0 && (found = jinja_str_find(r, s, sep, at)) != SIZE_MAX;
             at = found + sep->n, max--)
            push_part(r, seq, s, at, found);
        push_part(r, seq, s, at, s->n);
        return seq;
    }
    for (at = s->n; max > 0 && (found = jinja_str_rfind(r, s, sep, at)) != SIZE_MAX; at = found, max--)
        push_part(r, seq, s, found + sep->n, at);
    push_part(r, seq, s, 0, at);
    reverse(seq);
    return seq;
}

jinja_seq *jinja_str_lines(jinja_run *r, const jinja_str *s, bool keep_ends)
{
    jinja_seq *seq = jinja_seq_new(r, SEQ_LIST, 0);
    size_t begin, end, next;
    int32_t c = 0;

    jinja_work(r, s->n / 16);
    for (begin = 0; begin < s->n; begin = next) {
        for (end = begin; end < s->n; end += char_len(s, end)) {
            c = char_at(s, end);
            if ((c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029)
                break;
        }
        next = end < s->n ? end + char_len(s, end) : end;
        if (c == '\r' && next < s->n && s->s[next] == '\n' && end < s->n)
            next++;
        push_part(r, seq, s, begin, keep_ends ? next : end);
    }
    return seq;
}

/* ---- letter case --------------------------------------------------------------------------------------------- */

static bool is_cased(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);

    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT || utf8proc_toupper(c) != c || utf8proc_tolower(c) != c;
}

/* Characters that do not end a word for the final-sigma rule. */
static bool is_case_ignorable(int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);

    return c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x2019 ||
           category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME ||
           category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_LM ||
           category == UTF8PROC_CATEGORY_SK;
}

static bool is_final_sigma(const jinja_str *s, size_t i)
{
    size_t p;

    for (p = i; p > 0;) {
        p = char_before(s, p);
        if (!is_case_ignorable(char_at(s, p)))
            break;
    }
    if (p == i || !is_cased(char_at(s, p)) || is_case_ignorable(char_at(s, p)))
        return false;
    for (p = i + char_len(s, i); p < s->n && is_case_ignorable(char_at(s, p)); p += char_len(s, p))
        ;
    return p >= s->n || !is_cased(char_at(s, p));
}

enum mapping { TO_UPPER, TO_LOWER, TO_TITLE };

static void add_mapped(jinja_run *r, jinja_out *o, const jinja_str *s, size_t i, enum mapping how)
{
    int32_t c = char_at(s, i);
    const char *text = NULL;
    char buffer[4];
    size_t low = 0, high = HONE_COUNT(special_case), mid, n;

    if (how == TO_LOWER) {
        if (c == 0x130)
            text = "i\xcc\x87";
        else if (c == 0x3a3)
            c = is_final_sigma(s, i) ? 0x3c2 : 0x3c3;
        else
            c = c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : utf8proc_tolower(c);
    } else if (c < 0x80) {
        c = c >= 'a' && c <= 'z' ? c - 32 : c;
    } else {
        while (low < high) {
            mid = (low + high) / 2;
            if (special_case[mid].code_point < c)
                low = mid + 1;
            else
                high = mid;
        }
        if (low < HONE_COUNT(special_case) && special_case[low].code_point == c)
            text = how == TO_UPPER ? special_case[low].upper : special_case[low].title;
        else
            c = how == TO_UPPER ? utf8proc_toupper(c) : utf8proc_totitle(c);
    }
    n = text ? strlen(text) : hone_utf8_put(buffer, c);
    jinja_out_bytes(r, o, text ? text : buffer, n, jinja_str_origin(s, i));
}

const jinja_str *jinja_str_case(jinja_run *r, const jinja_str *s, enum jinja_case how)
{
    jinja_out o = {0};
    bool inside = false, start;
    size_t i;
    int32_t c;

    jinja_work(r, s->n / 4);
    for (i = 0; i < s->n; i += char_len(s, i)) {
        c = char_at(s, i);
        switch (how) {
        case CASE_UPPER:
            add_mapped(r, &o, s, i, TO_UPPER);
            break;
        case CASE_LOWER:
            add_mapped(r, &o, s, i, TO_LOWER);
            break;
        case CASE_CAPITALIZE:
            add_mapped(r, &o, s, i, i ? TO_LOWER : TO_TITLE);
            break;
        case CASE_SWAP:
            add_mapped(r, &o, s, i, utf8proc_tolower(c) != c ? TO_LOWER : TO_UPPER);
            break;
        case CASE_TITLE:
            start = !inside;
            inside = is_cased(c);
            add_mapped(r, &o, s, i, start ? TO_TITLE : TO_LOWER);
            break;
        case CASE_JINJA_TITLE: /* the filter: a word starts after blanks, '-' and opening brackets */
            start = !inside;
            inside = !jinja_is_space(c) && c != '-' && c != '(' && c != '{' && c != '[' && c != '<';
            add_mapped(r, &o, s, i, start ? TO_UPPER : TO_LOWER);
            break;
        }
    }
    return jinja_str_safe(r, jinja_out_take(r, &o), s->safe && how != CASE_JINJA_TITLE);
}
