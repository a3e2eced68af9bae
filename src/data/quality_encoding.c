/* Text that went through a wrong decoder, and characters that nobody sees.
 *
 *   replacement  U+FFFD, and what it becomes when its UTF-8 is read as GBK
 *   latin1       UTF-8 that was read as Latin-1 or Windows-1252: a letter of the range that UTF-8's first bytes fall
 *                into, and behind it what its continuation bytes become, twice or more often; or text of another code page
 *                (GBK, Windows-1251) that was: a long row of characters U+00A1..U+00FF, which no language writes
 *   gbk          UTF-8 that was read as GBK: many characters that such misreadings give and that are rare otherwise
 *   private      private use, unassigned, surrogates
 *   control      C0 and C1 but for tab and line ends
 *   hidden       zero width, marks of direction, tags */
#include <string.h>

#include "data/quality_impl.h"

enum {
    FIND_REPLACEMENT = 1,
    FIND_LATIN1 = 2,
    FIND_GBK = 4,
    FIND_PRIVATE = 8,
    FIND_CONTROL = 16,
    FIND_HIDDEN = 32
};

#define ROW 7 /* characters of the upper half of Latin-1 behind one another */

/* Whether Windows-1252 or Latin-1 reads some byte 80..BF as c. */
static bool is_continuation(uint32_t c)
{
    static const uint16_t w1252[] = {0x20ac, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030,
                                     0x0160, 0x2039, 0x0152, 0x017d, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
                                     0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x017e, 0x0178};
    size_t i;

    if (c >= 0x80 && c <= 0xbf)
        return true;
    for (i = 0; c > 0xff && i < HONE_COUNT(w1252); i++)
        if (w1252[i] == c)
            return true;
    return false;
}

/* Characters of a misread sequence at i: a first byte C2..F4 and as many continuations as it asks for; 0: none. */
static uint32_t misread_at(const text_scan *s, uint32_t i)
{
    uint32_t c = s->cp[i], n, k;

    if (c < 0xc2 || c > 0xf4)
        return 0;
    n = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    if (i + n >= s->n)
        return 0;
    for (k = 1; k <= n; k++)
        if (!is_continuation(s->cp[i + k]))
            return 0;
    return n + 1;
}

static int found_class(check *c, rule *r, char_class class)
{
    const text_scan *s = c->text;
    uint32_t i, n = 0, first = 0;

    for (i = 0; i < s->n; i++)
        if (scan_class(s, i) == class) {
            size_t k;
            bool excepted = false;

            for (k = 0; k < r->p.except.n; k++) {
                int32_t cp;

                hone_utf8_get(r->p.except.item[k], strlen(r->p.except.item[k]), &cp);
                excepted |= (uint32_t)cp == s->cp[i];
            }
            if (!excepted && !n++)
                first = i;
        }
    if (!n || n < r->p.times)
        return 0;
    return check_found(c, r, first, first + 1, "U+%04X ×%u", s->cp[first], n);
}

static int found_latin1(check *c, rule *r)
{
    const text_scan *s = c->text;
    uint32_t i, n = 0, first = 0, end = 0, step, wide = 0, row = 0;
    char quote[100];

    for (i = 0; i < s->n && row < ROW; i++)
        row = s->cp[i] >= 0xa1 && s->cp[i] <= 0xff ? row + 1 : 0;
    if (row == ROW)
        return check_found(c, r, i - ROW, i, "%s", check_quote(quote, s, i - ROW, i));

    for (i = 0; i < s->n; i += step ? step : 1) {
        step = s->cp[i] < 0x80 ? 0 : misread_at(s, i);
        if (!step)
            continue;
        if (!n++)
            first = i;
        wide += step > 2;
        end = i + step;
    }
    /* One short sequence may be meant ("Ã©" in a text about it); a long one hardly. */
    if (n < 2 && !wide)
        return 0;
    return check_found(c, r, first, end, "%s ×%u", check_quote(quote, s, first, HONE_MIN(first + 12, s->n)),
                       n);
}

static int found_gbk(check *c, rule *r)
{
    static const char broken[] = "锟斤拷";
    const text_scan *s = c->text;
    const char *at;
    uint32_t i = 0;
    char quote[100];

    if (s->misread >= 4 && 4 * s->misread >= s->count[CHAR_HAN]) {
        while (!(s->class[i] & CHAR_MISREAD))
            i++;
        return check_found(c, r, i, i + 1, "%u of %u, %s", s->misread, s->count[CHAR_HAN],
                           check_quote(quote, s, i, HONE_MIN(i + 12, s->n)));
    }
    at = s->count[CHAR_HAN] >= 3 ? memmem(s->text, s->len, broken, strlen(broken)) : NULL;
    if (!at)
        return 0;
    while (s->text + s->at[i] < at)
        i++;
    return check_found(c, r, i, i + 3, "`%s`", broken);
}

int encoding_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    size_t before = c->out->n;
    int rc = 0;

    if ((r->p.find & FIND_REPLACEMENT) && s->count[CHAR_REPLACEMENT])
        rc = found_class(c, r, CHAR_REPLACEMENT);
    if (!rc && c->out->n == before && (r->p.find & FIND_LATIN1) && s->count[CHAR_LATIN] && s->len > s->n + 2)
        rc = found_latin1(c, r);
    if (!rc && c->out->n == before && (r->p.find & FIND_GBK))
        rc = found_gbk(c, r);
    if (!rc && c->out->n == before && (r->p.find & FIND_PRIVATE) && s->count[CHAR_PRIVATE])
        rc = found_class(c, r, CHAR_PRIVATE);
    if (!rc && c->out->n == before && (r->p.find & FIND_CONTROL) && s->count[CHAR_CONTROL])
        rc = found_class(c, r, CHAR_CONTROL);
    if (!rc && c->out->n == before && (r->p.find & FIND_HIDDEN) && s->count[CHAR_HIDDEN])
        rc = found_class(c, r, CHAR_HIDDEN);
    return rc;
}
