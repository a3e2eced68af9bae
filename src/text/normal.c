/* Views, repair of UTF-8, and the normal forms. Almost all text is in form C already: that is found out without writing;
 * else the text is cut into clusters that can not influence each other, and only those that need it are rewritten. */
#include <string.h>

#include "text/normal.h"
#include "text/unicode.h"

void hone_aligned_clear(hone_aligned *a)
{
    hone_free(a->s);
    hone_free(a->begin);
    hone_free(a->end);
    memset(a, 0, sizeof *a);
}

int hone_aligned_reserve(hone_aligned *a, size_t n)
{
    size_t capacity = HONE_MAX(a->len + n, HONE_MAX(a->capacity * 2, (size_t)256));
    void *p;

    if (a->len + n <= a->capacity)
        return 0;
    if (!(p = hone_realloc(a->s, capacity)))
        return HONE_ENOMEM;
    a->s = p;
    if (!(p = hone_realloc_array(a->begin, capacity, sizeof *a->begin)))
        return HONE_ENOMEM;
    a->begin = p;
    if (!(p = hone_realloc_array(a->end, capacity, sizeof *a->end)))
        return HONE_ENOMEM;
    a->end = p;
    a->capacity = capacity;
    return 0;
}

int hone_aligned_add(hone_aligned *a, const void *bytes, size_t n, uint32_t begin, uint32_t end)
{
    size_t i;

    if (!n)
        return 0;
    if (hone_aligned_reserve(a, n))
        return HONE_ENOMEM;
    memcpy(a->s + a->len, bytes, n);
    for (i = 0; i < n; i++) {
        a->begin[a->len + i] = begin;
        a->end[a->len + i] = end;
    }
    a->len += n;
    return 0;
}

int hone_aligned_part(hone_aligned *a, const hone_view *v, size_t from, size_t to)
{
    size_t i;

    if (hone_aligned_reserve(a, to - from))
        return HONE_ENOMEM;
    for (i = from; i < to; i++, a->len++) {
        a->s[a->len] = v->s[i];
        a->begin[a->len] = hone_view_begin(v, i);
        a->end[a->len] = hone_view_end(v, i + 1);
    }
    return 0;
}

hone_view hone_aligned_view(const hone_aligned *a)
{
    return (hone_view){a->s, a->len, a->begin, a->end, 0};
}

/* End of the well-formed text from i on. */
static size_t well_formed(const char *text, size_t len, size_t i)
{
    while (i < len) {
        int32_t c;
        size_t n;

        while (len - i >= 8) { /* eight ASCII bytes at a time */
            uint64_t word;

            memcpy(&word, text + i, 8);
            if (word & 0x8080808080808080u)
                break;
            i += 8;
        }
        if (i >= len)
            break;
        n = hone_utf8_get(text + i, len - i, &c);
        if (c < 0)
            break;
        i += n;
    }
    return i;
}

int hone_view_repair(hone_view *out, hone_aligned *work, const char *text, size_t len)
{
    const hone_view given = {(const unsigned char *)text, len, NULL, NULL, 0};
    size_t i = 0, good = well_formed(text, len, 0);
    int32_t c;

    *out = given;
    if (good == len)
        return 0;
    work->len = 0;
    for (;;) {
        if (hone_aligned_part(work, &given, i, good))
            return HONE_ENOMEM;
        if (good == len)
            break;
        i = good + hone_utf8_get(text + good, len - good, &c);
        if (hone_aligned_add(work, "\xef\xbf\xbd", 3, (uint32_t)good, (uint32_t)i))
            return HONE_ENOMEM;
        good = well_formed(text, len, i);
    }
    *out = hone_aligned_view(work);
    return 0;
}

/* ---- normal form C --------------------------------------------------------------------------------------------------- */

enum {
    S_BASE = 0xac00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11a7,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28
};

static unsigned ccc_of(uint32_t c)
{
    return hone_unicode_ccc[hone_unicode_normal_of(c) & HONE_NORMAL_CCC];
}

/* Full canonical decomposition of c to out[0..4), returns the number of characters. */
static unsigned decompose(uint32_t c, uint32_t out[4])
{
    size_t low = 0, high = hone_unicode_n_decompositions;

    if (c >= S_BASE && c < S_BASE + L_COUNT * V_COUNT * T_COUNT) {
        uint32_t s = c - S_BASE;

        out[0] = L_BASE + s / (V_COUNT * T_COUNT);
        out[1] = V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT;
        out[2] = T_BASE + s % T_COUNT;
        return out[2] == T_BASE ? 2 : 3;
    }
    while (low < high) {
        size_t mid = (low + high) / 2;
        const uint32_t *row = hone_unicode_decomposition + 5 * mid;

        if (row[0] == c) {
            unsigned n = 0;

            while (n < 4 && row[1 + n]) {
                out[n] = row[1 + n];
                n++;
            }
            return n;
        }
        if (row[0] < c)
            low = mid + 1;
        else
            high = mid;
    }
    out[0] = c;
    return 1;
}

/* The primary composite of two characters, or 0. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    size_t low = 0, high = hone_unicode_n_compositions;

    if (a >= L_BASE && a < L_BASE + L_COUNT && b >= V_BASE && b < V_BASE + V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a >= S_BASE && a < S_BASE + L_COUNT * V_COUNT * T_COUNT && (a - S_BASE) % T_COUNT == 0 &&
        b > T_BASE && b < T_BASE + T_COUNT)
        return a + (b - T_BASE);
    while (low < high) {
        size_t mid = (low + high) / 2;
        const uint32_t *row = hone_unicode_composition + 3 * mid;

        if (row[0] == a && row[1] == b)
            return row[2];
        if (row[0] < a || (row[0] == a && row[1] < b))
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

/* Sorts each run of combining characters by class, keeping the order of equals; merge sort from the bottom up, because
 * a hostile cluster may be long. spare has room for n. */
static void order(uint32_t *c, uint32_t *spare, size_t n)
{
    size_t i = 0, end, width, k;

    while (i < n) {
        if (ccc_of(c[i]) == 0) {
            i++;
            continue;
        }
        for (end = i; end < n && ccc_of(c[end]) != 0; end++)
            ;
        for (width = 1; width < end - i; width *= 2)
            for (k = i; k + width < end; k += 2 * width) {
                size_t a = k, b = k + width, stop = HONE_MIN(k + 2 * width, end), to = 0;

                while (a < k + width || b < stop) {
                    bool left = a < k + width && (b >= stop || ccc_of(c[a]) <= ccc_of(c[b]));

                    spare[to++] = left ? c[a++] : c[b++];
                }
                memcpy(c + k, spare, to * sizeof *c);
            }
        i = end;
    }
}

/* Canonical composition in place (UAX 15, D117); returns the new length. */
static size_t recompose(uint32_t *c, size_t n)
{
    size_t i, m = 0, starter = SIZE_MAX;
    unsigned last = 0; /* class of the character kept last after the starter; 0: none */

    for (i = 0; i < n; i++) {
        unsigned ccc = ccc_of(c[i]);
        uint32_t composed = 0;

        if (starter != SIZE_MAX && (m == starter + 1 || (last < ccc && last != 0)))
            composed = compose(c[starter], c[i]);
        if (composed) {
            c[starter] = composed;
            continue;
        }
        if (ccc == 0)
            starter = m;
        last = ccc;
        c[m++] = c[i];
    }
    return m;
}

/* Full decomposition for a form to out, which has room for 32 characters. */
static unsigned decompose_for(enum hone_form form, uint32_t c, uint32_t *out)
{
    size_t low = 0, high = hone_unicode_n_compat;

    if (form == HONE_NFC || form == HONE_NFD || c < 0xa0)
        return decompose(c, out);
    while (low < high) {
        size_t mid = (low + high) / 2;
        const uint32_t *row = hone_unicode_compat + 2 * mid;

        if (row[0] == c) {
            memcpy(out, hone_unicode_compat_pool + (row[1] >> 5), (row[1] & 31) * sizeof *out);
            return row[1] & 31;
        }
        if (row[0] < c)
            low = mid + 1;
        else
            high = mid;
    }
    return decompose(c, out);
}

/* Writes a form of the cluster in->s[from..to). */
static int rewrite(hone_aligned *work, const hone_view *in, size_t from, size_t to, enum hone_form form)
{
    uint32_t small[1024], *c = small, *spare;
    size_t n = 0, i, room = 16 * (to - from); /* a character of two bytes decomposes to 32 at most */
    int code = 0;

    if (2 * room > HONE_COUNT(small) && !(c = hone_alloc(2 * room * sizeof *c)))
        return HONE_ENOMEM;
    spare = c + room;
    for (i = from; i < to;) {
        uint32_t one;

        i += hone_utf8_next(in->s + i, &one);
        n += decompose_for(form, one, c + n);
    }
    order(c, spare, n);
    if (form == HONE_NFC || form == HONE_NFKC)
        n = recompose(c, n);
    for (i = 0; i < n && !code; i++) {
        char utf8[4];
        size_t k = hone_utf8_put(utf8, (int32_t)c[i]);

        code = hone_aligned_add(work, utf8, k, hone_view_begin(in, from), hone_view_end(in, to));
    }
    if (c != small)
        hone_free(c);
    return code;
}

/* From `from`, the start of a cluster: true when the cluster is surely in form C; *to is its end. It is when no character
 * has another form, the combining classes rise, and nothing combines with the starter before it, which is no composite
 * (one may come apart when a lower class follows). */
static bool scan_cluster(const hone_view *in, size_t from, size_t *to)
{
    size_t i = from;
    bool good = true;
    uint32_t c, starter = 0, parts[4];
    unsigned last = 0;

    do {
        unsigned n = hone_utf8_next(in->s + i, &c), bits = hone_unicode_normal_of(c);
        unsigned ccc = hone_unicode_ccc[bits & HONE_NORMAL_CCC];

        if (i > from && (bits & HONE_NORMAL_BOUNDARY))
            break;
        if (!(bits & HONE_NORMAL_STABLE) || (ccc && ccc < last))
            good = false;
        else if (starter && good)
            good = decompose(starter, parts) == 1 && !compose(starter, c);
        if (ccc == 0)
            starter = c;
        last = ccc;
        i += n;
    } while (i < in->len);
    *to = i;
    return good;
}

int hone_view_nfc(hone_view *out, hone_aligned *work, const hone_view *in)
{
    size_t i = 0, done = 0, to;
    bool changed = false;
    uint32_t c;

    *out = *in;
    while (i < in->len) {
        size_t start = i;

        /* Below U+0300 all is stable, and so are the ideographs of the plain block and what follows it to U+9FFF. */
        while (i < in->len && (in->s[i] < 0xcc || (in->s[i] >= 0xe4 && in->s[i] <= 0xe9))) {
            start = i;
            i += in->s[i] < 0x80 ? 1 : in->s[i] < 0xe0 ? 2 : 3;
        }
        if (i >= in->len)
            break;
        hone_utf8_next(in->s + i, &c);
        if (hone_unicode_normal_of(c) & HONE_NORMAL_BOUNDARY)
            start = i;
        if (scan_cluster(in, start, &to)) {
            i = to;
            continue;
        }
        if (!changed)
            work->len = 0;
        changed = true;
        if (hone_aligned_part(work, in, done, start) || rewrite(work, in, start, to, HONE_NFC))
            return HONE_ENOMEM;
        i = done = to;
    }
    if (!changed)
        return 0;
    if (hone_aligned_part(work, in, done, in->len))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}

/* What stands before this character never changes what becomes of it. */
static bool is_boundary(enum hone_form form, uint32_t c)
{
    uint32_t parts[32];

    decompose_for(form, c, parts);
    return (hone_unicode_normal_of(parts[0]) & HONE_NORMAL_BOUNDARY) != 0;
}

int hone_view_form(hone_view *out, hone_aligned *work, const hone_view *in, enum hone_form form)
{
    size_t i = 0, done = 0;
    uint32_t c;

    work->len = 0;
    while (i < in->len) {
        size_t start = i, end;

        i += hone_utf8_next(in->s + i, &c);
        if (c < 0x80 && (i == in->len || in->s[i] < 0x80))
            continue;
        for (end = i; end < in->len; end += i) {
            i = hone_utf8_next(in->s + end, &c);
            if (is_boundary(form, c))
                break;
        }
        if (hone_aligned_part(work, in, done, start) || rewrite(work, in, start, end, form))
            return HONE_ENOMEM;
        i = done = end;
    }
    if (hone_aligned_part(work, in, done, in->len))
        return HONE_ENOMEM;
    *out = hone_aligned_view(work);
    return 0;
}
