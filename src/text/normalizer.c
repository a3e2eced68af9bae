/* The steps of a normaliser: see normalizer.h. What each does follows the step of that name of the library; BLANKS, and
 * CHARSMAP by longest sequences, follow SentencePiece. */
#include <string.h>

#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/vocab_table.h"

void hone_normalizer_clear(hone_normalizer *n)
{
    size_t i;

    for (i = 0; i < n->n_steps; i++) {
        hone_free(n->step[i].from);
        hone_free(n->step[i].to);
        hone_regex_close(n->step[i].regex);
        hone_charsmap_clear(&n->step[i].map);
    }
    hone_buf_clear(&n->identity);
    memset(n, 0, sizeof *n);
}

int hone_normalizer_add(hone_normalizer *n, enum hone_normalizer_kind kind, unsigned flags, const char *from,
                        size_t from_len, const char *to, size_t to_len, hone_error *err)
{
    hone_normalizer_step *s = &n->step[n->n_steps];
    int code = 0;

    if (n->n_steps >= HONE_MAX_NORMALIZERS)
        return hone_error_set(err, HONE_ELIMIT, "more than %d normalizer steps", HONE_MAX_NORMALIZERS);
    memset(s, 0, sizeof *s);
    n->n_steps++; /* hone_normalizer_clear frees what a failure leaves */
    s->kind = kind;
    s->flags = flags;
    s->from_len = from_len;
    s->to_len = to_len;
    if (kind == HONE_NORMALIZE_STRING && !from_len)
        return hone_error_set(err, HONE_EUNSUPPORTED, "a Replace of the empty string");
    if (kind == HONE_NORMALIZE_CHARSMAP)
        code = hone_charsmap_open(&s->map, from, from_len, err);
    else if (kind == HONE_NORMALIZE_REGEX)
        code = hone_regex_open(&s->regex, from, from_len, err);
    else if (from && !(s->from = hone_strndup(from, from_len)))
        code = hone_error_set(err, HONE_ENOMEM, "out of memory for the normalizer");
    if (!code && to && !(s->to = hone_strndup(to, to_len)))
        code = hone_error_set(err, HONE_ENOMEM, "out of memory for the normalizer");
    if (code)
        return code;
    hone_buf_printf(&n->identity, "%d %u %zu %zu ", (int)kind, flags, from_len, to_len);
    hone_buf_add(&n->identity, from ? from : "", from_len);
    hone_buf_add(&n->identity, to ? to : "", to_len);
    return n->identity.failed ? hone_error_set(err, HONE_ENOMEM, "out of memory for the normalizer") : 0;
}

void hone_normalizer_work_clear(hone_normalizer_work *w)
{
    hone_aligned_clear(&w->text[0]);
    hone_aligned_clear(&w->text[1]);
    hone_regex_free_match_data(w->match_data);
    memset(w, 0, sizeof *w);
}

int hone_view_byte_level(hone_view *out, hone_aligned *work, const hone_view *in)
{
    char utf8[4];
    size_t i;

    work->len = 0;
    for (i = 0; i < in->len; i++) {
        size_t n = hone_utf8_put(utf8, (int32_t)hone_char_of_byte(in->s[i]));

        if (hone_aligned_add(work, utf8, n, hone_view_begin(in, i), hone_view_end(in, i + 1)))
            return HONE_ENOMEM;
    }
    *out = hone_aligned_view(work);
    return 0;
}

/* The same for one byte, which is what every text model asks for: one pass, into memory of the right size. */
static int replace_byte(hone_view *out, hone_aligned *work, const hone_view *in, unsigned char from,
                        const char *to, size_t to_len)
{
    size_t i, k, n = 0, len = 0;
    uint32_t *begin, *end;
    unsigned char *s;

    for (i = 0; i < in->len; i++)
        n += in->s[i] == from;
    work->len = 0;
    if (!n)
        return 0;
    if (hone_aligned_reserve(work, in->len + n * to_len))
        return HONE_ENOMEM;
    s = work->s;
    begin = work->begin;
    end = work->end;
    for (i = 0; i < in->len; i++) {
        uint32_t b = hone_view_begin(in, i), e = hone_view_end(in, i + 1);

        if (in->s[i] != from) {
            s[len] = in->s[i];
            begin[len] = b;
            end[len++] = e;
            continue;
        }
        for (k = 0; k < to_len; k++, len++) {
            s[len] = (unsigned char)to[k];
            begin[len] = b;
            end[len] = e;
        }
    }
    work->len = len;
    *out = hone_aligned_view(work);
    return 0;
}

int hone_view_replace(hone_view *out, hone_aligned *work, const hone_view *in, const char *from,
                      size_t from_len, const char *to, size_t to_len)
{
    size_t done = 0;
    const unsigned char *hit;

    *out = *in;
    if (from_len == 1)
        return replace_byte(out, work, in, (unsigned char)*from, to, to_len);
    work->len = 0;
    while (done < in->len && (hit = memmem(in->s + done, in->len - done, from, from_len))) {
        size_t at = (size_t)(hit - in->s);

        if (hone_aligned_part(work, in, done, at) ||
            hone_aligned_add(work, to, to_len, hone_view_begin(in, at), hone_view_end(in, at + from_len)))
            return HONE_ENOMEM;
        done = at + from_len;
    }
    if (!done)
        return 0;
    if (hone_aligned_part(work, in, done, in->len))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}

/* A replacement stems from the last character of its match, as the library has it: whether a part starts the text (the
 * scheme `first` of Metaspace) hangs on that. */
static int replace_regex(const hone_normalizer_step *s, hone_normalizer_work *w, hone_view *out,
                         hone_aligned *work, const hone_view *in, hone_error *err)
{
    size_t from = 0, done = 0, last = SIZE_MAX, begin, end;
    int got;

    work->len = 0;
    while (from <= in->len) {
        size_t at;

        got = hone_regex_find(s->regex, &w->match_data, in->s, in->len, from, &begin, &end, err);
        if (got < 0)
            return got;
        if (!got)
            break;
        if (begin == end && last == end) { /* an empty match where the last one ended */
            do
                from++;
            while (from < in->len && (in->s[from] & 0xc0) == 0x80);
            continue;
        }
        for (at = end; at > begin;)
            if ((in->s[--at] & 0xc0) != 0x80)
                break;
        if (hone_aligned_part(work, in, done, begin) ||
            hone_aligned_add(work, s->to, s->to_len,
                             at < in->len ? hone_view_begin(in, at)
                             : in->len    ? hone_view_end(in, in->len)
                                          : 0,
                             end ? hone_view_end(in, end) : hone_view_begin(in, 0)))
            return hone_error_set(err, HONE_ENOMEM, "out of memory while normalising a text");
        from = done = last = end;
    }
    if (hone_aligned_part(work, in, done, in->len))
        return hone_error_set(err, HONE_ENOMEM, "out of memory while normalising a text");
    *out = hone_aligned_view(work);
    return 0;
}

static uint32_t lower_of(uint32_t c)
{
    size_t low = 0, high = hone_unicode_n_lower;

    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const int32_t *row = hone_unicode_lower_rows + 4 * mid;

        if (row[1] < (int32_t)c)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < hone_unicode_n_lower) {
        const int32_t *row = hone_unicode_lower_rows + 4 * low;

        if (row[0] <= (int32_t)c && ((int32_t)c - row[0]) % row[2] == 0)
            return (uint32_t)((int32_t)c + row[3]);
    }
    return c;
}

/* What Nmt makes of a character; UINT32_MAX: nothing. */
static uint32_t nmt_of(uint32_t c)
{
    if ((c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
        return UINT32_MAX;
    if (c == 9 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
        c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
        return ' ';
    return c;
}

/* The steps that look at one character at a time. */
static int map_characters(enum hone_normalizer_kind kind, hone_view *out, hone_aligned *work,
                          const hone_view *in)
{
    size_t i, len, done = 0;
    uint32_t c, to;

    *out = *in;
    work->len = 0;
    for (i = 0; i < in->len; i += len) {
        char utf8[8];
        size_t n = 0;

        len = hone_utf8_next(in->s + i, &c);
        to = kind == HONE_NORMALIZE_LOWERCASE                               ? lower_of(c)
             : kind == HONE_NORMALIZE_NMT                                   ? nmt_of(c)
             : hone_unicode_in(hone_unicode_marks, hone_unicode_n_marks, c) ? UINT32_MAX
                                                                            : c;
        if (kind == HONE_NORMALIZE_LOWERCASE && c == 0x130) {
            memcpy(utf8, "i\xcc\x87", n = 3);
        } else if (to == c) {
            continue;
        } else if (to != UINT32_MAX) {
            n = hone_utf8_put(utf8, (int32_t)to);
        }
        if (hone_aligned_part(work, in, done, i) ||
            hone_aligned_add(work, utf8, n, hone_view_begin(in, i), hone_view_end(in, i + len)))
            return HONE_ENOMEM;
        done = i + len;
    }
    if (!done)
        return 0;
    if (hone_aligned_part(work, in, done, in->len))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}

static bool space_at(const hone_view *v, size_t i, size_t *len)
{
    uint32_t c;

    *len = hone_utf8_next(v->s + i, &c);
    return (hone_unicode_prop_of(c) & HONE_PROP_SPACE) != 0;
}

static void strip(hone_view *out, const hone_view *in, unsigned flags)
{
    size_t from = 0, to = in->len, len;

    while (flags & 1 && from < to && space_at(in, from, &len))
        from += len;
    while (flags & 2 && to > from) {
        size_t i = to - 1;

        while (i > from && (in->s[i] & 0xc0) == 0x80)
            i--;
        if (!space_at(in, i, &len))
            break;
        to = i;
    }
    *out = hone_view_part(in, from, to);
}

/* SentencePiece's blanks: U+2581 at the end of a section counts as one. */
static int blanks(hone_view *out, hone_aligned *work, const hone_view *in, unsigned part)
{
    static const char bar[] = "\xe2\x96\x81";
    size_t from = 0, to = in->len, i, done;

    if (part & HONE_PART_STARTS_SECTION)
        while (from < to && in->s[from] == ' ')
            from++;
    while (part & HONE_PART_ENDS_SECTION && to > from) {
        if (in->s[to - 1] == ' ')
            to--;
        else if (to - from >= 3 && !memcmp(in->s + to - 3, bar, 3))
            to -= 3;
        else
            break;
    }
    work->len = 0;
    for (i = done = from; i < to; i++) {
        if (in->s[i] != ' ' || i == from || in->s[i - 1] != ' ')
            continue;
        if (hone_aligned_part(work, in, done, i))
            return HONE_ENOMEM;
        while (i < to && in->s[i] == ' ')
            i++;
        done = i;
    }
    if (done == from) {
        *out = hone_view_part(in, from, to);
        return 0;
    }
    if (hone_aligned_part(work, in, done, to))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}

static int prepend(hone_view *out, hone_aligned *work, const hone_view *in, const char *s, size_t n)
{
    uint32_t at;

    *out = *in;
    if (!in->len || !n)
        return 0;
    at = hone_view_begin(in, 0);
    work->len = 0;
    if (hone_aligned_add(work, s, n, at, at) || hone_aligned_part(work, in, 0, in->len))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}

static int run_step(const hone_normalizer_step *s, hone_view *out, hone_aligned *work, const hone_view *in,
                    unsigned part)
{
    switch (s->kind) {
    case HONE_NORMALIZE_FORM:
        return s->flags == HONE_NFC ? hone_view_nfc(out, work, in)
                                    : hone_view_form(out, work, in, (enum hone_form)s->flags);
    case HONE_NORMALIZE_LOWERCASE:
    case HONE_NORMALIZE_STRIP_ACCENTS:
    case HONE_NORMALIZE_NMT:
        return map_characters(s->kind, out, work, in);
    case HONE_NORMALIZE_STRIP:
        strip(out, in, s->flags);
        return 0;
    case HONE_NORMALIZE_PREPEND:
        *out = *in;
        return (part & s->flags) == s->flags ? prepend(out, work, in, s->to, s->to_len) : 0;
    case HONE_NORMALIZE_STRING:
        return hone_view_replace(out, work, in, s->from, s->from_len, s->to, s->to_len);
    case HONE_NORMALIZE_CHARSMAP:
        return s->flags ? hone_charsmap_graphemes(&s->map, out, work, in)
                        : hone_charsmap_longest(&s->map, out, work, in);
    case HONE_NORMALIZE_BYTE_LEVEL:
        return hone_view_byte_level(out, work, in);
    case HONE_NORMALIZE_BLANKS:
        return blanks(out, work, in, part);
    case HONE_NORMALIZE_REGEX: /* by hone_normalizer_run */
        break;
    }
    return HONE_EINTERNAL;
}

int hone_normalizer_run(const hone_normalizer *n, hone_normalizer_work *w, hone_view *out,
                        const hone_view *in, unsigned part, hone_error *err)
{
    size_t i;
    int code, turn = 0;

    *out = *in;
    for (i = 0; i < n->n_steps && out->len; i++) {
        const hone_normalizer_step *s = &n->step[i];
        hone_view before = *out;

        /* The step may show what it was given, whose memory must stay until it is no longer shown. */
        if (s->kind == HONE_NORMALIZE_REGEX) {
            code = replace_regex(s, w, out, &w->text[turn], &before, err);
            if (code)
                return code;
        } else if (run_step(s, out, &w->text[turn], &before, part)) {
            return hone_error_set(err, HONE_ENOMEM, "out of memory while normalising a text");
        }
        if (out->s == w->text[turn].s)
            turn = !turn;
    }
    return 0;
}
