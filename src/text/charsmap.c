/* See charsmap.h. A unit of the trie (Darts): bits 0-7 and 31 the label, bit 8 "a value hangs here", bits 10-30 the offset
 * to the children, times 256 with bit 9; a value unit has bit 31 set and the value in the other bits. */
#include <string.h>
#include <utf8proc.h>

#include "text/charsmap.h"
#include "text/unicode.h"

static inline uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 0x200) >> 6);
}

int hone_charsmap_open(hone_charsmap *m, const void *blob, size_t n, hone_error *err)
{
    const unsigned char *p = blob;
    uint32_t size;
    size_t i = 0;

    memset(m, 0, sizeof *m);
    if (!n)
        return 0;
    if (n < 4)
        return hone_error_set(err, HONE_EFORMAT, "the table of characters is cut short");
    memcpy(&size, p, 4);
    if (size > n - 4 || size % 4 || size == 0)
        return hone_error_set(err, HONE_EFORMAT, "the table of characters claims %u bytes of %zu", size,
                              n - 4);
    m->n_units = size / 4;
    m->unit = hone_alloc(size);
    m->text_len = n - 4 - size;
    m->text = hone_strndup((const char *)p + 4 + size, m->text_len);
    if (!m->unit || !m->text)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the table of characters");
    memcpy(m->unit, p + 4, size);
    while (i < m->text_len) {
        int32_t c;

        i += hone_utf8_get(m->text + i, m->text_len - i, &c);
        if (c < 0)
            return hone_error_set(err, HONE_EFORMAT, "the table of characters holds a text that is no UTF-8");
    }
    return 0;
}

void hone_charsmap_clear(hone_charsmap *m)
{
    hone_free(m->unit);
    hone_free(m->text);
    memset(m, 0, sizeof *m);
}

/* The replacement of the longest (or, with `first`, the shortest) start of s[0..n) that the table knows, and that start's
 * length; NULL: none. */
static const char *find(const hone_charsmap *m, const unsigned char *s, size_t n, bool first, size_t *len)
{
    const char *found = NULL;
    uint32_t node, unit;
    size_t i;

    if (!m->n_units)
        return NULL;
    node = offset_of(m->unit[0]);
    for (i = 0; i < n && s[i]; i++) {
        node ^= s[i];
        if (node >= m->n_units)
            break;
        unit = m->unit[node];
        if ((unit & 0x800000ff) != s[i])
            break;
        node ^= offset_of(unit);
        if (!(unit & 0x100))
            continue;
        if (node >= m->n_units || (m->unit[node] & 0x7fffffff) >= m->text_len)
            break;
        found = m->text + (m->unit[node] & 0x7fffffff);
        if ((*found & 0xc0) == 0x80) /* a lying table: not at a character */
            return NULL;
        *len = i + 1;
        if (first)
            break;
    }
    return found;
}

/* Replaces in->s[from..to); of what came before only [*done..from) is still to be copied. */
static int replace(hone_aligned *work, const hone_view *in, size_t *done, size_t from, size_t to,
                   const char *by)
{
    int code = hone_aligned_part(work, in, *done, from);

    *done = to;
    return code ? code
                : hone_aligned_add(work, by, strlen(by), hone_view_begin(in, from), hone_view_end(in, to));
}

int hone_charsmap_longest(const hone_charsmap *m, hone_view *out, hone_aligned *work, const hone_view *in)
{
    size_t i = 0, done = 0, len;
    uint32_t c;

    work->len = 0;
    while (i < in->len) {
        const char *by = find(m, in->s + i, in->len - i, false, &len);

        if (by && i + len < in->len && (in->s[i + len] & 0xc0) == 0x80)
            by = NULL; /* a lying table: it ends within a character */
        if (!by) {
            i += hone_utf8_next(in->s + i, &c);
            continue;
        }
        if (replace(work, in, &done, i, i + len, by))
            return HONE_ENOMEM;
        i += len;
    }
    if (hone_aligned_part(work, in, done, in->len))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}

int hone_charsmap_graphemes(const hone_charsmap *m, hone_view *out, hone_aligned *work, const hone_view *in)
{
    size_t i = 0, done = 0, end, k, len;
    uint32_t c, next;
    const char *by;

    work->len = 0;
    while (i < in->len) {
        utf8proc_int32_t state = 0;

        end = i + hone_utf8_next(in->s + i, &c);
        while (end < in->len) {
            k = hone_utf8_next(in->s + end, &next);
            if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state))
                break;
            end += k;
            c = next;
        }
        by = end - i < 6 ? find(m, in->s + i, end - i, true, &len) : NULL;
        if (by && replace(work, in, &done, i, end, by))
            return HONE_ENOMEM;
        for (k = i; k < end && !by; k += len) {
            const char *one;
            size_t found;

            len = hone_utf8_next(in->s + k, &c);
            one = find(m, in->s + k, len, true, &found);
            if (one && replace(work, in, &done, k, k + len, one))
                return HONE_ENOMEM;
        }
        i = end;
    }
    if (hone_aligned_part(work, in, done, in->len))
        return HONE_ENOMEM;
    /* What was removed in front counts as part of the first character, as in the library: the part still starts its text. */
    for (i = 0; i < work->len && (i == 0 || (work->s[i] & 0xc0) == 0x80); i++)
        work->begin[i] = hone_view_begin(in, 0);
    *out = hone_aligned_view(work);
    return 0;
}
