/* Data that belong to a person. Numbers are checked as their issuers check them, so that a number that merely looks like
 * one is not found:
 *   id_card    18 places: a region that exists, a day that exists, and the check character of GB 11643 (ISO 7064, MOD 11-2)
 *   mobile     11 digits from 13..19 on (mainland China), with +86, blanks or hyphens
 *   bank_card  16 to 19 digits whose first one is that of a bank card, with the check digit of Luhn (ISO/IEC 7812)
 *   email      local@domain.tld
 *   ip         four numbers below 256, none of the private or documentation ranges
 * The detail of a finding shows the first and last characters only. */
#include <string.h>

#include "data/quality_impl.h"

enum { FIND_ID_CARD = 1, FIND_MOBILE = 2, FIND_EMAIL = 4, FIND_BANK_CARD = 8, FIND_IP = 16 };

#define DIGITS 24

static bool is_digit(const text_scan *s, uint32_t i)
{
    return i < s->n && s->cp[i] >= '0' && s->cp[i] <= '9';
}

static bool is_name_char(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-' || c == '+' || c == '%';
}

static int found(check *c, rule *r, uint32_t begin, uint32_t end, const char *what)
{
    const text_scan *s = c->text;
    uint32_t n = end - begin, keep = n > 10 ? 3 : 1;
    size_t i;

    for (i = 0; i < r->p.except.n; i++)
        if (memmem(s->text + s->at[begin], s->at[end] - s->at[begin], r->p.except.item[i],
                   strlen(r->p.except.item[i])))
            return 0;
    return check_found(c, r, begin, end, "%s %.*s…%.*s", what, (int)(s->at[begin + keep] - s->at[begin]),
                       s->text + s->at[begin], (int)(s->at[end] - s->at[end - keep]),
                       s->text + s->at[end - keep]);
}

static bool is_leap(int y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static bool is_id_card(const uint8_t d[18])
{
    static const int weight[17] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int region = d[0] * 10 + d[1], year = d[6] * 1000 + d[7] * 100 + d[8] * 10 + d[9],
        month = d[10] * 10 + d[11], day = d[12] * 10 + d[13], sum = 0, i;
    bool known = (region >= 11 && region <= 15) || (region >= 21 && region <= 23) ||
                 (region >= 31 && region <= 37) || (region >= 41 && region <= 46) ||
                 (region >= 50 && region <= 54) || (region >= 61 && region <= 65) || region == 71 ||
                 (region >= 81 && region <= 83);

    if (!known || year < 1880 || year > 2100 || month < 1 || month > 12 || day < 1 ||
        day > days[month - 1] + (month == 2 && is_leap(year)))
        return false;
    for (i = 0; i < 17; i++)
        sum += weight[i] * d[i];
    return (12 - sum % 11) % 11 == d[17]; /* 10 is written X */
}

static bool is_luhn(const uint8_t *d, uint32_t n)
{
    unsigned sum = 0;
    uint32_t i;

    for (i = 0; i < n; i++) {
        unsigned v = d[n - 1 - i];

        if (i & 1)
            v = 2 * v > 9 ? 2 * v - 9 : 2 * v;
        sum += v;
    }
    return sum % 10 == 0;
}

/* A run of digits from i on, single blanks or hyphens between groups included. Returns the number of digits, at most
 * DIGITS, *end behind the last; 0 when there are more. *groups: how many pieces. */
static uint32_t digits_at(const text_scan *s, uint32_t i, uint8_t d[DIGITS], uint32_t *end, uint32_t *groups)
{
    uint32_t n = 0;

    for (*groups = 1;; i++) {
        if (is_digit(s, i)) {
            if (n == DIGITS)
                return 0;
            d[n++] = (uint8_t)(s->cp[i] - '0');
            *end = i + 1;
        } else if (i < s->n && (s->cp[i] == ' ' || s->cp[i] == '-') && is_digit(s, i + 1)) {
            ++*groups;
        } else {
            return n;
        }
    }
}

static bool is_letter_or_digit(const text_scan *s, uint32_t i)
{
    return i < s->n &&
           (is_digit(s, i) || (s->cp[i] >= 'a' && s->cp[i] <= 'z') || (s->cp[i] >= 'A' && s->cp[i] <= 'Z'));
}

/* Looks at the number that begins at i; *next is where to go on. */
static int look_at_number(check *c, rule *r, uint32_t i, uint32_t *next)
{
    const text_scan *s = c->text;
    uint8_t d[DIGITS];
    uint32_t end = i, groups, n = digits_at(s, i, d, &end, &groups), skip, plain = i;
    bool glued = i && (is_letter_or_digit(s, i - 1) || s->cp[i - 1] == '.' || s->cp[i - 1] == '=' ||
                       s->cp[i - 1] == '/');

    while (is_digit(s, plain))
        plain++;
    *next = HONE_MAX(plain, i + 1);
    if (!n || glued)
        return 0;
    if ((r->p.find & FIND_ID_CARD) && groups == 1 && (n == 18 || n == 17)) {
        bool x = n == 17 && end < s->n && (s->cp[end] == 'X' || s->cp[end] == 'x');

        if (x)
            d[17] = 10;
        if ((n == 18 || x) && !is_letter_or_digit(s, end + x) && is_id_card(d)) {
            *next = end + x;
            return found(c, r, i, end + x, "id card");
        }
    }
    if (is_letter_or_digit(s, end) || (end + 1 < s->n && s->cp[end] == '.' && is_digit(s, end + 1)))
        return 0;
    skip = n == 13 && d[0] == 8 && d[1] == 6 ? 2 : 0;
    if ((r->p.find & FIND_MOBILE) && n - skip == 11 && d[skip] == 1 && d[skip + 1] >= 3 && groups <= 4) {
        *next = end;
        return found(c, r, i, end, "mobile");
    }
    if ((r->p.find & FIND_BANK_CARD) && n >= 16 && n <= 19 && d[0] >= 3 && d[0] <= 6 && groups <= 5 &&
        is_luhn(d, n)) {
        *next = end;
        return found(c, r, i, end, "bank card");
    }
    return 0;
}

static int look_at_ip(check *c, rule *r, uint32_t i, uint32_t *next)
{
    const text_scan *s = c->text;
    uint32_t part[4], k, at = i;

    *next = i + 1;
    if (i && (is_letter_or_digit(s, i - 1) || s->cp[i - 1] == '.'))
        return 0;
    for (k = 0; k < 4; k++) {
        uint32_t digits = 0;

        part[k] = 0;
        while (is_digit(s, at) && digits < 4) {
            part[k] = part[k] * 10 + s->cp[at++] - '0';
            digits++;
        }
        if (!digits || part[k] > 255 || (k < 3 && !(at < s->n && s->cp[at++] == '.')))
            return 0;
    }
    if (is_letter_or_digit(s, at) || (at < s->n && s->cp[at] == '.' && is_digit(s, at + 1)))
        return 0;
    *next = at;
    if (part[0] == 0 || part[0] == 10 || part[0] == 127 || part[0] >= 224 ||
        (part[0] == 192 && part[1] == 168) || (part[0] == 172 && part[1] >= 16 && part[1] < 32) ||
        (part[0] == 192 && part[1] == 0 && part[2] == 2) ||
        (part[0] == 198 && part[1] == 51 && part[2] == 100) ||
        (part[0] == 203 && part[1] == 0 && part[2] == 113) ||
        (part[0] < 10 && part[1] < 10 && part[2] < 10)) /* a version, a number of a chapter */
        return 0;
    return found(c, r, i, at, "ip");
}

static int look_at_email(check *c, rule *r, uint32_t at)
{
    const text_scan *s = c->text;
    uint32_t begin = at, end = at + 1, dot = 0, i;

    while (begin && at - begin < 64 && is_name_char(s->cp[begin - 1]))
        begin--;
    while (end < s->n && end - at < 255 && is_name_char(s->cp[end]) && s->cp[end] != '%' &&
           s->cp[end] != '+' && s->cp[end] != '_')
        end++;
    while (end > at + 1 && (s->cp[end - 1] == '.' || s->cp[end - 1] == '-'))
        end--;
    while (begin < at && (s->cp[begin] == '.' || s->cp[begin] == '-'))
        begin++;
    for (i = at + 1; i < end; i++)
        if (s->cp[i] == '.')
            dot = i;
    if (begin == at || dot <= at + 1 || end - dot < 3)
        return 0;
    for (i = dot + 1; i < end; i++)
        if (is_digit(s, i) || s->cp[i] == '-')
            return 0;
    return found(c, r, begin, end, "e-mail");
}

int personal_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    uint32_t i, next;
    int rc = 0;

    if ((r->p.find & FIND_EMAIL) && s->ascii['@'])
        for (i = 0; !rc && i < s->n; i++)
            if (s->cp[i] == '@')
                rc = look_at_email(c, r, i);
    if ((r->p.find & (FIND_ID_CARD | FIND_MOBILE | FIND_BANK_CARD)) &&
        s->count[CHAR_DIGIT] + s->count[CHAR_CODE] >= 11)
        for (i = 0; !rc && i < s->n; i = next) {
            next = i + 1;
            if (is_digit(s, i))
                rc = look_at_number(c, r, i, &next);
        }
    if ((r->p.find & FIND_IP) && s->ascii['.'] >= 3)
        for (i = 0; !rc && i < s->n; i = next) {
            next = i + 1;
            if (is_digit(s, i))
                rc = look_at_ip(c, r, i, &next);
        }
    return rc;
}
