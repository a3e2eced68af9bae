/* Expressions without a scanner, by PCRE2.
 *
 * tokenizer.json holds expressions of Oniguruma's Ruby syntax over Unicode 16. They are translated: \p{..}, \s, \d, \w
 * become what they mean there, whatever Unicode version this PCRE2 knows; ^ and $ match at lines; and every construct
 * whose meaning differs or is not known to agree is refused by name, never guessed. A match is bounded in steps. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "text/pretoken.h"
#include "text/unicode.h"

#define MATCH_LIMIT 10000000u

struct hone_regex {
    pcre2_code *code;
    pcre2_match_context *context;
};

typedef struct translation {
    const char *p, *at, *end; /* the pattern, the place, its end */
    hone_buf out;
    hone_error *err;
    int code;
} translation;

static void *pcre_alloc(PCRE2_SIZE n, void *ud)
{
    (void)ud;
    return hone_alloc(n);
}

static void pcre_free(void *p, void *ud)
{
    (void)ud;
    hone_free(p);
}

static bool refuse(translation *t, const char *what)
{
    if (!t->code)
        t->code = hone_error_set(t->err, HONE_EUNSUPPORTED, "expression '%.*s': %s (at byte %zu)",
                                 (int)HONE_MIN(t->end - t->p, 200), t->p, what, (size_t)(t->at - t->p));
    return false;
}

static const struct {
    char name[4];
    uint32_t categories;
} property[] = {
    {"L", HONE_CATS_L},        {"M", HONE_CATS_M},
    {"N", HONE_CATS_N},        {"P", HONE_CATS_P},
    {"S", HONE_CATS_S},        {"Z", HONE_CAT(HONE_ZL) | HONE_CAT(HONE_ZP) | HONE_CAT(HONE_ZS)},
    {"Ll", HONE_CAT(HONE_LL)}, {"Lm", HONE_CAT(HONE_LM)},
    {"Lo", HONE_CAT(HONE_LO)}, {"Lt", HONE_CAT(HONE_LT)},
    {"Lu", HONE_CAT(HONE_LU)}, {"Mc", HONE_CAT(HONE_MC)},
    {"Me", HONE_CAT(HONE_ME)}, {"Mn", HONE_CAT(HONE_MN)},
    {"Nd", HONE_CAT(HONE_ND)}, {"Nl", HONE_CAT(HONE_NL)},
    {"No", HONE_CAT(HONE_NO)}, {"Pc", HONE_CAT(HONE_PC)},
    {"Pd", HONE_CAT(HONE_PD)}, {"Pe", HONE_CAT(HONE_PE)},
    {"Pf", HONE_CAT(HONE_PF)}, {"Pi", HONE_CAT(HONE_PI)},
    {"Po", HONE_CAT(HONE_PO)}, {"Ps", HONE_CAT(HONE_PS)},
    {"Sc", HONE_CAT(HONE_SC)}, {"Sk", HONE_CAT(HONE_SK)},
    {"Sm", HONE_CAT(HONE_SM)}, {"So", HONE_CAT(HONE_SO)},
    {"Zl", HONE_CAT(HONE_ZL)}, {"Zp", HONE_CAT(HONE_ZP)},
    {"Zs", HONE_CAT(HONE_ZS)}, {"Cc", HONE_CAT(HONE_CC)},
    {"Cf", HONE_CAT(HONE_CF)},
};

/* \w of Oniguruma: that of Rust without the joiners; outside a class also the numbers of Latin-1 that are not decimal. */
static bool is_word(uint32_t c, unsigned prop, bool in_class)
{
    if (c == 0x200c || c == 0x200d)
        return false;
    return (prop & HONE_PROP_WORD) ||
           (!in_class && (c == 0xb2 || c == 0xb3 || c == 0xb9 || (c >= 0xbc && c <= 0xbe)));
}

/* Appends, as members of a class, the characters whose category is in the set ('p'), or that are white space ('s') or
 * word characters ('w', in a class 'c'); or those that are not. */
static void add_ranges(translation *t, char kind, uint32_t categories, bool negated)
{
    uint32_t c, start = 0;
    bool inside = false;

    for (c = 0; c <= 0x110000; c++) {
        bool member = false;

        if (c < 0x110000 && !(c >= 0xd800 && c <= 0xdfff)) {
            unsigned prop = hone_unicode_prop_of(c);

            member = kind == 'p'   ? categories >> (prop & HONE_PROP_CATEGORY) & 1
                     : kind == 's' ? (prop & HONE_PROP_SPACE) != 0
                                   : is_word(c, prop, kind == 'c');
            member ^= negated;
        }
        if (member && !inside)
            start = c;
        if (!member && inside) {
            hone_buf_printf(&t->out, start == c - 1 ? "\\x{%x}" : "\\x{%x}-\\x{%x}", start, c - 1);
        }
        inside = member;
    }
}

/* The members of a class for one property: PCRE2's own where what it may lack can be added, which is quicker. */
static void add_members(translation *t, char kind, uint32_t categories, const char *name, bool negated)
{
    size_t i;

    if (kind != 'p' || negated || (categories & (HONE_CATS_M | HONE_CAT(HONE_CC) | HONE_CAT(HONE_CF)))) {
        add_ranges(t, kind, categories, negated);
        return;
    }
    hone_buf_printf(&t->out, "\\p{%s}", name);
    for (i = 0; i < hone_unicode_n_changed; i++) {
        const uint32_t *row = hone_unicode_changed + 3 * i;

        if (categories >> row[2] & 1)
            hone_buf_printf(&t->out, "\\x{%x}-\\x{%x}", row[0], row[1]);
    }
}

static bool escape_property(translation *t, bool in_class, bool negated)
{
    const char *name, *close;
    size_t i, len;

    if (t->at >= t->end || *t->at != '{' || !(close = memchr(t->at, '}', (size_t)(t->end - t->at))))
        return refuse(t, "a property without braces");
    name = t->at + 1;
    if (*name == '^') {
        negated = !negated;
        name++;
    }
    len = (size_t)(close - name);
    for (i = 0; i < HONE_COUNT(property); i++)
        if (strlen(property[i].name) == len && !memcmp(property[i].name, name, len)) {
            if (!in_class)
                hone_buf_puts(&t->out, "[");
            add_members(t, 'p', property[i].categories, property[i].name, negated);
            if (!in_class)
                hone_buf_puts(&t->out, "]");
            t->at = close + 1;
            return true;
        }
    return refuse(t, "a property that is no general category");
}

/* An escape; t->at behind the backslash. */
static bool escape(translation *t, bool in_class)
{
    char c;

    if (t->at >= t->end)
        return refuse(t, "it ends with a backslash");
    c = *t->at++;
    switch (c) {
    case 'p':
    case 'P':
        return escape_property(t, in_class, c == 'P');
    case 's':
    case 'S':
    case 'w':
    case 'W':
    case 'd':
    case 'D':
        if (!in_class)
            hone_buf_puts(&t->out, "[");
        if (c == 'd' || c == 'D')
            add_members(t, 'p', HONE_CAT(HONE_ND), "Nd", c == 'D');
        else
            add_members(t, (char)((c | 0x20) == 'w' && in_class ? 'c' : c | 0x20), 0, "", c < 'a');
        if (!in_class)
            hone_buf_puts(&t->out, "]");
        return true;
    case 'r':
    case 'n':
    case 't':
    case 'f':
    case 'v':
    case 'a':
    case 'e':
        if (c == 'v')
            hone_buf_puts(&t->out, "\\x{0b}"); /* PCRE2's \v is a set */
        else
            hone_buf_printf(&t->out, "\\%c", c);
        return true;
    case 'u': {
        size_t i;

        hone_buf_puts(&t->out, "\\x{");
        for (i = 0; i < 4; i++, t->at++) {
            if (t->at >= t->end || !memchr("0123456789abcdefABCDEF", *t->at, 22))
                return refuse(t, "\\u without four digits");
            hone_buf_putc(&t->out, *t->at);
        }
        hone_buf_puts(&t->out, "}");
        return true;
    }
    default:
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            (unsigned char)c >= 0x80)
            return refuse(t, "an escape that is not supported");
        hone_buf_printf(&t->out, "\\%c", c);
        return true;
    }
}

/* A class; t->at behind its '['. */
static bool character_class(translation *t)
{
    bool first = true;

    hone_buf_putc(&t->out, '[');
    if (t->at < t->end && *t->at == '^') {
        hone_buf_putc(&t->out, '^');
        t->at++;
    }
    for (; t->at < t->end; first = false) {
        char c = *t->at++;

        if (c == ']' && first)
            return refuse(t, "an empty class");
        if (c == ']') {
            hone_buf_putc(&t->out, ']');
            return true;
        }
        if (c == '[')
            return refuse(t, "a bracket inside a class");
        if (c == '&' && t->at < t->end && *t->at == '&')
            return refuse(t, "an intersection of classes");
        if (c == '\\') {
            if (!escape(t, true))
                return false;
        } else {
            hone_buf_putc(&t->out, c);
        }
    }
    return refuse(t, "a class without its end");
}

/* A group; t->at behind its '('. Allowed: plain, (?:, lookaround, atomic, (?i: and (?-i: . */
static bool group(translation *t)
{
    static const char *const good[] = {"?:", "?=", "?!", "?<=", "?<!", "?>", "?i:", "?-i:"};
    size_t i;

    hone_buf_putc(&t->out, '(');
    if (t->at >= t->end || *t->at != '?')
        return true;
    for (i = 0; i < HONE_COUNT(good); i++) {
        size_t n = strlen(good[i]);

        if ((size_t)(t->end - t->at) >= n && !memcmp(t->at, good[i], n)) {
            hone_buf_puts(&t->out, good[i]);
            t->at += n;
            return true;
        }
    }
    return refuse(t, "a group of this kind");
}

/* {n}, {n,}, {n,m}, ({,m} means {0,m}); t->at behind '{'. */
static bool interval(translation *t)
{
    const char *close = memchr(t->at, '}', (size_t)(t->end - t->at)), *p;

    if (!close || close == t->at)
        return refuse(t, "a brace that is no interval");
    for (p = t->at; p < close; p++)
        if (!(*p >= '0' && *p <= '9') && *p != ',')
            return refuse(t, "a brace that is no interval");
    hone_buf_puts(&t->out, *t->at == ',' ? "{0" : "{");
    hone_buf_add(&t->out, t->at, (size_t)(close + 1 - t->at));
    t->at = close + 1;
    if (t->at < t->end && *t->at == '+')
        return refuse(t, "a plus behind an interval");
    return true;
}

static bool translate(translation *t)
{
    while (t->at < t->end && !t->code) {
        char c = *t->at++;

        switch (c) {
        case '\\':
            escape(t, false);
            break;
        case '[':
            character_class(t);
            break;
        case '(':
            group(t);
            break;
        case '{':
            interval(t);
            break;
        case '^':
        case '$':
            hone_buf_printf(&t->out, "(?m:%c)", c);
            break;
        default:
            hone_buf_putc(&t->out, c);
        }
    }
    if (!t->code && t->out.failed)
        t->code = hone_error_set(t->err, HONE_ENOMEM, "out of memory for an expression");
    return !t->code;
}

int hone_regex_open(hone_regex **out, const char *pattern, size_t len, hone_error *err)
{
    translation t = {.p = pattern, .at = pattern, .end = pattern + len, .err = err};
    pcre2_general_context *general = NULL;
    pcre2_compile_context *compile = NULL;
    hone_regex *r = NULL;
    PCRE2_SIZE offset;
    PCRE2_UCHAR reason[200];
    int error, code;

    t.out.limit = 1 << 20;
    *out = NULL;
    if (!translate(&t)) {
        code = t.code;
        goto done;
    }
    code = HONE_ENOMEM;
    r = hone_calloc(1, sizeof *r);
    general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (!r || !general || !(compile = pcre2_compile_context_create(general)) ||
        !(r->context = pcre2_match_context_create(general))) {
        hone_error_set(err, code, "out of memory for an expression");
        goto done;
    }
    pcre2_set_newline(compile, PCRE2_NEWLINE_LF);
    pcre2_set_match_limit(r->context, MATCH_LIMIT);
    r->code = pcre2_compile((PCRE2_SPTR)t.out.data, t.out.len,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, compile);
    if (!r->code) {
        pcre2_get_error_message(error, reason, sizeof reason);
        code = error == PCRE2_ERROR_NOMEMORY || error == 121 ? HONE_ENOMEM : HONE_EFORMAT;
        hone_error_set(err, code, "expression '%.*s': %s", (int)HONE_MIN(len, (size_t)200), pattern,
                       (const char *)reason);
        goto done;
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it the interpreter does the same, slower */
    *out = r;
    r = NULL;
    code = 0;
done:
    hone_regex_close(r);
    pcre2_compile_context_free(compile);
    pcre2_general_context_free(general);
    hone_buf_clear(&t.out);
    return code;
}

void hone_regex_close(hone_regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    pcre2_match_context_free(r->context);
    hone_free(r);
}

void hone_regex_free_match_data(void *match_data)
{
    pcre2_match_data_free(match_data);
}

int hone_regex_find(const hone_regex *r, void **match_data, const unsigned char *s, size_t n, size_t from,
                    size_t *begin, size_t *end, hone_error *err)
{
    const PCRE2_SIZE *range;
    int got;

    if (!*match_data) {
        pcre2_general_context *general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);

        *match_data = general ? pcre2_match_data_create(1, general) : NULL;
        pcre2_general_context_free(general);
        if (!*match_data)
            return hone_error_set(err, HONE_ENOMEM, "out of memory for a match");
    }
    got = pcre2_match(r->code, s, n, from, PCRE2_NO_UTF_CHECK, *match_data, r->context);
    if (got == PCRE2_ERROR_NOMATCH)
        return 0;
    if (got < 0) {
        PCRE2_UCHAR reason[200];

        pcre2_get_error_message(got, reason, sizeof reason);
        return hone_error_set(err, got == PCRE2_ERROR_NOMEMORY ? HONE_ENOMEM : HONE_ELIMIT,
                              "matching the pre-tokenizer's expression: %s", (const char *)reason);
    }
    range = pcre2_get_ovector_pointer(*match_data);
    *begin = range[0];
    *end = range[1];
    return 1;
}
