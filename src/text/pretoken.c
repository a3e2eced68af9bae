/* Steps and their behaviours: see pretoken.h. The behaviours follow NormalizedString::split of the library. */
#include <string.h>

#include "text/normalizer.h"

void hone_pretoken_clear(hone_pretoken *p)
{
    size_t i;

    for (i = 0; i < p->n_steps; i++) {
        hone_regex_close(p->step[i].regex);
        hone_free(p->step[i].string);
    }
    hone_buf_clear(&p->identity);
    memset(p, 0, sizeof *p);
}

static int add(hone_pretoken *p, const hone_step *s, const char *kind, const char *what, size_t len,
               hone_error *err)
{
    if (p->n_steps >= HONE_MAX_STEPS)
        return hone_error_set(err, HONE_ELIMIT, "more than %d pre-tokenizer steps", HONE_MAX_STEPS);
    hone_buf_printf(&p->identity, "%s %d %d %zu ", kind, (int)s->behavior, (int)s->invert, len);
    hone_buf_add(&p->identity, what, len);
    hone_buf_putc(&p->identity, '\n');
    if (p->identity.failed)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the pre-tokenizer");
    p->step[p->n_steps++] = *s;
    return 0;
}

int hone_pretoken_add_scanner(hone_pretoken *p, const char *name, enum hone_behavior behavior, bool invert,
                              hone_error *err)
{
    const hone_scanner *scanner = hone_scanner_by_name(name);
    hone_step s = {.kind = HONE_STEP_SCAN, .behavior = behavior, .invert = invert};

    if (!scanner)
        return hone_error_set(err, HONE_EINTERNAL, "no scanner '%s'", name);
    s.scan = scanner->scan;
    return add(p, &s, "scan", name, strlen(name), err);
}

int hone_pretoken_add_pattern(hone_pretoken *p, const char *pattern, size_t len, enum hone_behavior behavior,
                              bool invert, hone_error *err)
{
    const hone_scanner *scanner = hone_scanner_by_pattern(pattern, len);
    hone_step s = {.kind = HONE_STEP_REGEX, .behavior = behavior, .invert = invert};
    int code;

    if (scanner)
        return hone_pretoken_add_scanner(p, scanner->name, behavior, invert, err);
    code = hone_regex_open(&s.regex, pattern, len, err);
    if (!code)
        code = add(p, &s, "regex", pattern, len, err);
    if (code)
        hone_regex_close(s.regex);
    return code;
}

int hone_pretoken_add_string(hone_pretoken *p, const char *string, size_t len, enum hone_behavior behavior,
                             bool invert, hone_error *err)
{
    hone_step s = {.kind = HONE_STEP_STRING, .behavior = behavior, .invert = invert, .string_len = len};
    int code;

    if (!len)
        return hone_error_set(err, HONE_EUNSUPPORTED, "a Split on the empty string");
    s.string = hone_strndup(string, len);
    code = s.string ? add(p, &s, "string", string, len, err)
                    : hone_error_set(err, HONE_ENOMEM, "out of memory for the pre-tokenizer");
    if (code)
        hone_free(s.string);
    return code;
}

int hone_pretoken_add_prefix_space(hone_pretoken *p, hone_error *err)
{
    hone_step s = {.kind = HONE_STEP_PREFIX_SPACE};

    return add(p, &s, "prefix-space", "", 0, err);
}

int hone_pretoken_add_byte_level(hone_pretoken *p, hone_error *err)
{
    hone_step s = {.kind = HONE_STEP_BYTE_LEVEL};

    return add(p, &s, "byte-level", "", 0, err);
}

int hone_pretoken_add_metaspace(hone_pretoken *p, const char *replacement, size_t len,
                                enum hone_prepend prepend, hone_error *err)
{
    static const char *const name[] = {"metaspace-always", "metaspace-first", "metaspace-never"};
    hone_step s = {.kind = HONE_STEP_METASPACE, .string_len = len, .prepend = prepend};
    int code;

    s.string = hone_strndup(replacement, len);
    code = s.string ? add(p, &s, name[prepend], replacement, len, err)
                    : hone_error_set(err, HONE_ENOMEM, "out of memory for the pre-tokenizer");
    if (code)
        hone_free(s.string);
    return code;
}

void hone_pretoken_work_clear(hone_pretoken_work *w)
{
    size_t i;

    hone_regex_free_match_data(w->match_data);
    hone_free(w->list);
    for (i = 0; i < HONE_MAX_STEPS; i++) {
        hone_aligned_clear(&w->written[i][0]);
        hone_aligned_clear(&w->written[i][1]);
    }
    memset(w, 0, sizeof *w);
}

/* One run: what every level of the recursion shares. */
typedef struct run_state {
    const hone_pretoken *p;
    hone_pretoken_work *w;
    hone_piece_fn piece;
    void *ud;
    hone_error *err;
} run_state;

static int run_step(run_state *r, size_t step, const hone_view *in);

/* Hands in->s[begin..end) to the next step. */
static int part(run_state *r, size_t step, const hone_view *in, size_t begin, size_t end)
{
    hone_view out;

    if (begin >= end)
        return 0;
    out = hone_view_part(in, begin, end);
    if (step + 1 == r->p->n_steps)
        return r->piece(r->ud, &out);
    return run_step(r, step + 1, &out);
}

/* Next match at or after `from`; 1, 0 none, negative error. */
static int find(run_state *r, const hone_step *s, const hone_view *in, size_t from, size_t *begin,
                size_t *end)
{
    if (s->kind == HONE_STEP_REGEX)
        return hone_regex_find(s->regex, &r->w->match_data, in->s, in->len, from, begin, end, r->err);
    if (s->kind == HONE_STEP_STRING) {
        const unsigned char *hit =
            from < in->len ? memmem(in->s + from, in->len - from, s->string, s->string_len) : NULL;

        if (!hit)
            return 0;
        *begin = (size_t)(hit - in->s);
        *end = *begin + s->string_len;
        return 1;
    }
    while (from < in->len) {
        *end = s->scan(in->s, in->len, from);
        if (*end > from) {
            *begin = from;
            return 1;
        }
        do
            from++;
        while (from < in->len && (in->s[from] & 0xc0) == 0x80);
    }
    return 0;
}

/* Finds the match after the one that ended at `last` (SIZE_MAX: none yet), searching from *from; an empty match where
 * the last one ended is passed over, as Oniguruma's iterator does. */
static int find_next(run_state *r, const hone_step *s, const hone_view *in, size_t *from, size_t *last,
                     size_t *begin, size_t *end)
{
    for (;;) {
        int got;

        if (*from > in->len)
            return 0;
        got = find(r, s, in, *from, begin, end);
        if (got <= 0)
            return got;
        if (*begin != *end || *last != *end) {
            *from = *last = *end;
            return 1;
        }
        do
            ++*from;
        while (*from < in->len && (in->s[*from] & 0xc0) == 0x80);
    }
}

static int push(hone_pretoken_work *w, size_t begin, size_t end, bool match)
{
    w->list = hone_grow(w->list, &w->capacity, w->n + 1, sizeof *w->list);
    if (w->n == w->capacity)
        return HONE_ENOMEM;
    w->list[w->n++] = (hone_match){begin, end, match};
    return 0;
}

/* Merges list[from..n) as the behaviour wants it; returns the new end. */
static size_t merge_matches(hone_match *list, size_t from, size_t n, enum hone_behavior behavior)
{
    size_t i, m = from;
    bool previous = false;

    if (behavior == HONE_SPLIT_WITH_NEXT) { /* from the right: a match joins what stands behind it */
        size_t at = n;

        for (i = n; i-- > from;) {
            bool match = list[i].match;

            if (match && !previous && at < n)
                list[at].begin = list[i].begin;
            else
                list[--at] = list[i];
            previous = match;
        }
        memmove(list + from, list + at, (n - at) * sizeof *list);
        return from + (n - at);
    }
    for (i = from; i < n; i++) {
        bool match = list[i].match;
        bool join = behavior == HONE_SPLIT_CONTIGUOUS ? match == previous : match && !previous;

        if (join && m > from)
            list[m - 1].end = list[i].end;
        else
            list[m++] = list[i];
        previous = match;
    }
    return m;
}

/* The text with `prefix` in front, unless it starts with it. */
static int with_prefix(hone_view *out, hone_aligned *work, const hone_view *in, const char *prefix, size_t n)
{
    uint32_t at = hone_view_begin(in, 0);

    *out = *in;
    if (in->len >= n && !memcmp(in->s, prefix, n))
        return 0;
    work->len = 0;
    if (hone_aligned_add(work, prefix, n, at, at) || hone_aligned_part(work, in, 0, in->len))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}

static int write_piece(run_state *r, size_t step, const hone_view *in)
{
    const hone_step *s = &r->p->step[step];
    hone_aligned *work = r->w->written[step];
    hone_view out = *in;
    int code;

    if (s->kind == HONE_STEP_PREFIX_SPACE) {
        code = with_prefix(&out, &work[0], in, " ", 1);
    } else if (s->kind == HONE_STEP_BYTE_LEVEL) {
        code = hone_view_byte_level(&out, &work[0], in);
    } else {
        hone_view replaced;

        code = hone_view_replace(&replaced, &work[0], in, " ", 1, s->string, s->string_len);
        if (!code) {
            out = replaced;
            if (s->prepend == HONE_PREPEND_ALWAYS ||
                (s->prepend == HONE_PREPEND_FIRST && hone_view_begin(&replaced, 0) == 0))
                code = with_prefix(&out, &work[1], &replaced, s->string, s->string_len);
        }
    }
    return code ? hone_error_set(r->err, code, "out of memory for a piece of text")
                : part(r, step, &out, 0, out.len);
}

static int run_step(run_state *r, size_t step, const hone_view *in)
{
    const hone_step *s = &r->p->step[step];
    size_t from = 0, last = SIZE_MAX, gap = 0, begin, end, mark = r->w->n, i, n;
    int got, code = 0;

    if (s->kind >= HONE_STEP_PREFIX_SPACE)
        return write_piece(r, step, in);
    if (s->behavior == HONE_SPLIT_ISOLATED && s->kind == HONE_STEP_SCAN) { /* what nearly every model does */
        while (from < in->len) {
            end = s->scan(in->s, in->len, from);
            if (end == from) { /* a gap runs to the next match */
                got = find(r, s, in, from, &begin, &end);
                code = part(r, step, in, from, got ? begin : in->len);
                if (!got || code)
                    return code;
                from = begin;
            }
            code = part(r, step, in, from, end);
            if (code)
                return code;
            from = end;
        }
        return 0;
    }
    while (!code && (got = find_next(r, s, in, &from, &last, &begin, &end)) > 0) {
        if (begin > gap)
            code = push(r->w, gap, begin, s->invert);
        if (!code)
            code = push(r->w, begin, end, !s->invert);
        gap = end;
    }
    if (!code && got < 0)
        return got;
    if (!code && gap < in->len)
        code = push(r->w, gap, in->len, s->invert);
    if (code)
        return hone_error_set(r->err, code, "out of memory for the pieces of a text");
    n = r->w->n;
    if (s->behavior != HONE_SPLIT_ISOLATED && s->behavior != HONE_SPLIT_REMOVED)
        n = r->w->n = merge_matches(r->w->list, mark, n, s->behavior);
    for (i = mark; i < n && !code; i++) { /* deeper steps append behind n, and may move the list */
        hone_match m = r->w->list[i];

        if (!(m.match && s->behavior == HONE_SPLIT_REMOVED))
            code = part(r, step, in, m.begin, m.end);
    }
    r->w->n = mark;
    return code;
}

int hone_pretoken_run(const hone_pretoken *p, hone_pretoken_work *w, const hone_view *text, hone_piece_fn fn,
                      void *ud, hone_error *err)
{
    run_state r = {p, w, fn, ud, err};

    if (!text->len)
        return 0;
    w->n = 0;
    return p->n_steps ? run_step(&r, 0, text) : fn(ud, text);
}
