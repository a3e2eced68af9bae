/* One pass over a text: what every rule needs to know of it. Chinese and other languages are treated alike by counting
 * tokens: a Han character is one, a word with blanks around it is one. */
#include <string.h>

#include "data/quality_impl.h"
#include "text/unicode.h"

#define WORD_TOKEN 0x80000000u

static unsigned letter_of(uint32_t c)
{
    static const struct {
        uint32_t first, last;
        char_class class;
    } script[] = {
        {0x0041, 0x024f, CHAR_LATIN},  {0x0370, 0x03ff, CHAR_GREEK},  {0x0400, 0x052f, CHAR_CYRILLIC},
        {0x0590, 0x05ff, CHAR_HEBREW}, {0x0600, 0x077f, CHAR_ARABIC}, {0x0900, 0x0dff, CHAR_INDIC},
        {0x0e00, 0x0eff, CHAR_THAI},   {0x1100, 0x11ff, CHAR_HANGUL}, {0x1e00, 0x1eff, CHAR_LATIN},
        {0x3005, 0x3007, CHAR_HAN},    {0x3040, 0x30ff, CHAR_KANA},   {0x3130, 0x318f, CHAR_HANGUL},
        {0x31f0, 0x31ff, CHAR_KANA},   {0x3400, 0x4dbf, CHAR_HAN},    {0x4e00, 0x9fff, CHAR_HAN},
        {0xac00, 0xd7ff, CHAR_HANGUL}, {0xf900, 0xfaff, CHAR_HAN},    {0xfb50, 0xfdff, CHAR_ARABIC},
        {0xfe70, 0xfefc, CHAR_ARABIC}, {0xff21, 0xff5a, CHAR_LATIN},  {0xff66, 0xff9f, CHAR_KANA}};
    size_t i;

    for (i = 0; i < HONE_COUNT(script); i++)
        if (c >= script[i].first && c <= script[i].last)
            return script[i].class;
    return CHAR_LETTER;
}

static unsigned class_of(uint32_t c)
{
    enum hone_category cat = (enum hone_category)(hone_unicode_prop_of(c) & HONE_PROP_CATEGORY);

    if (c == '\n')
        return CHAR_NEWLINE;
    if (c == '\t' || c == '\r')
        return CHAR_SPACE;
    if ((c >= '0' && c <= '9') || (c >= 0xff10 && c <= 0xff19))
        return CHAR_DIGIT;
    if (c == 0xfffd)
        return CHAR_REPLACEMENT;
    /* Variation selectors and the joiner make emoji and Indic clusters; they hide nothing. */
    if ((c >= 0xfe00 && c <= 0xfe0f) || c == 0x200d)
        return CHAR_MARK;
    switch (cat) {
    case HONE_CC:
    case HONE_ZL:
    case HONE_ZP:
        return CHAR_CONTROL;
    case HONE_CF:
        return c == 0x00ad || (c >= 0x0600 && c <= 0x06dd) ? CHAR_MARK : CHAR_HIDDEN;
    case HONE_CN:
    case HONE_CO:
    case HONE_CS:
        return CHAR_PRIVATE;
    case HONE_MC:
    case HONE_ME:
    case HONE_MN:
        return CHAR_MARK;
    case HONE_PC:
    case HONE_PD:
    case HONE_PE:
    case HONE_PF:
    case HONE_PI:
    case HONE_PO:
    case HONE_PS:
        return CHAR_PUNCT;
    case HONE_SC:
    case HONE_SK:
    case HONE_SM:
    case HONE_SO:
        return CHAR_SYMBOL;
    case HONE_ZS:
        return CHAR_SPACE;
    case HONE_ND:
    case HONE_NO:
        return CHAR_SYMBOL;
    default:
        return letter_of(c);
    }
}

static bool has(const uint64_t *set, uint32_t c)
{
    return set[(c - HAN_FIRST) / 64] >> (c - HAN_FIRST) % 64 & 1;
}

void char_table_make(uint8_t table[0x10000])
{
    uint32_t c;

    for (c = 0; c < 0x10000; c++)
        table[c] = (uint8_t)(c >= 0xd800 && c < 0xe000 ? CHAR_PRIVATE : class_of(c));
    for (c = HAN_FIRST; c < HAN_FIRST + HAN_WORDS * 64; c++)
        table[c] |= (uint8_t)((has(han_simplified, c) ? CHAR_SIMPLIFIED : 0) |
                              (has(han_traditional, c) ? CHAR_TRADITIONAL : 0) |
                              (has(han_misread, c) ? CHAR_MISREAD : 0));
}

static int reserve(text_scan *s, size_t n, hone_error *err)
{
    size_t want = HONE_MAX(n + 1, s->capacity + s->capacity / 2);
    uint32_t **array[] = {&s->cp, &s->at, &s->token, &s->token_at, &s->line};
    uint8_t *class;
    size_t i;

    if (n < s->capacity)
        return 0;
    for (i = 0; i < HONE_COUNT(array); i++) {
        uint32_t *grown = hone_realloc_array(*array[i], want + 2, sizeof *grown);

        if (!grown)
            return hone_error_set(err, HONE_ENOMEM, "out of memory");
        *array[i] = grown;
    }
    class = hone_realloc(s->class, want + 2);
    if (!class)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    s->class = class;
    s->capacity = want;
    return 0;
}

void text_scan_clear(text_scan *s)
{
    hone_free(s->cp);
    hone_free(s->at);
    hone_free(s->token);
    hone_free(s->token_at);
    hone_free(s->line);
    hone_free(s->class);
    hone_free(s->hit);
    hone_free(s->repeat);
    *s = (text_scan){0};
}

/* Whether a line whose text begins at byte p opens or closes a code fence. */
static bool is_fence(const char *p, const char *end)
{
    while (p < end && *p == ' ')
        p++;
    return end - p >= 3 &&
           ((p[0] == '`' && p[1] == '`' && p[2] == '`') || (p[0] == '~' && p[1] == '~' && p[2] == '~'));
}

/* Byte behind the backquote that closes the one at p, on the same line; NULL: none. */
static const char *inline_code_end(const char *p, const char *end)
{
    const char *q, *stop = HONE_MIN(end, p + 400);

    for (q = p + 1; q < stop && *q != '\n'; q++)
        if (*q == '`')
            return q > p + 1 ? q + 1 : NULL;
    return NULL;
}

static uint32_t fold(uint32_t c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static uint32_t word_step(uint32_t hash, uint32_t c)
{
    return (hash ^ fold(c)) * 0x01000193u;
}

uint32_t token_of_word(const char *word)
{
    uint32_t hash = 0x811c9dc5u;

    for (; *word; word++)
        hash = word_step(hash, (unsigned char)*word);
    return hash | WORD_TOKEN;
}

int text_scan_run(text_scan *s, const uint8_t *table, const char *text, size_t len, hone_error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end;
    const char *code = NULL; /* inline code ends here */
    bool in_word = false, line_start = true, fence_line = false;
    uint32_t hash = 0, n = 0, n_tokens = 0;

    s->cut = len > SCAN_LIMIT;
    if (s->cut) {
        len = SCAN_LIMIT;
        while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    if (reserve(s, len, err))
        return HONE_ENOMEM;
    s->text = text;
    s->len = len;
    memset(s->count, 0, sizeof s->count);
    memset(s->ascii, 0, sizeof s->ascii);
    s->simplified = s->traditional = s->misread = s->n_lines = s->n_fences = 0;
    s->open_fence = s->repeats_known = false;
    s->n_hits = s->n_repeats = 0;
    end = p + len;
    for (; p < end; n++) {
        uint32_t c;
        unsigned class, flags, step;

        if (line_start) {
            s->line[s->n_lines++] = n;
            line_start = false;
            fence_line =
                (*p == '`' || *p == '~' || *p == ' ') && is_fence((const char *)p, (const char *)end);
            if (fence_line) {
                s->n_fences++;
                s->open_fence = !s->open_fence;
            }
        }
        step = hone_utf8_next(p, &c);
        flags = char_class_of(table, c);
        class = flags & CHAR_CLASS;
        if (c < 128) {
            s->ascii[c]++;
            if (c == '`' && !s->open_fence && !fence_line && (!code || (const char *)p >= code))
                code = inline_code_end((const char *)p, (const char *)end);
        }
        if ((s->open_fence || fence_line || (code && (const char *)p < code)) && class < CHAR_SPACE)
            flags = class = CHAR_CODE;
        s->cp[n] = c;
        s->at[n] = (uint32_t)((const char *)p - text);
        s->class[n] = (uint8_t)flags;
        s->count[class]++;
        s->simplified += (flags & CHAR_SIMPLIFIED) != 0;
        s->traditional += (flags & CHAR_TRADITIONAL) != 0;
        s->misread += (flags & CHAR_MISREAD) != 0;
        if (class_is_word(class) || (in_word && class == CHAR_MARK)) {
            if (!in_word) {
                s->token_at[n_tokens] = n;
                hash = 0x811c9dc5u;
                in_word = true;
            }
            hash = word_step(hash, c);
        } else {
            if (in_word)
                s->token[n_tokens++] = hash | WORD_TOKEN;
            in_word = false;
            if (class == CHAR_HAN || class == CHAR_KANA || class == CHAR_HANGUL) {
                s->token_at[n_tokens] = n;
                s->token[n_tokens++] = c;
            } else if (class == CHAR_NEWLINE) {
                line_start = true;
            }
        }
        p += step;
    }
    if (in_word)
        s->token[n_tokens++] = hash | WORD_TOKEN;
    s->at[n] = (uint32_t)len;
    s->cp[n] = 0; /* so that a rule may look one character ahead */
    s->class[n] = CHAR_NEWLINE;
    s->token_at[n_tokens] = n;
    s->line[s->n_lines] = n;
    s->n = n;
    s->n_tokens = n_tokens;
    for (s->first = 0;
         s->first < n && (scan_class(s, s->first) == CHAR_SPACE || scan_class(s, s->first) == CHAR_NEWLINE);)
        s->first++;
    for (s->last = n; s->last > s->first && (scan_class(s, s->last - 1) == CHAR_SPACE ||
                                             scan_class(s, s->last - 1) == CHAR_NEWLINE);)
        s->last--;
    return 0;
}

static bool ends_sentence(const text_scan *s, uint32_t i)
{
    uint32_t c = s->cp[i];

    if (c == '.') /* not of a number, an abbreviation of one letter, a file */
        return i + 1 == s->n || s->cp[i + 1] == ' ' || s->cp[i + 1] == '\n' || s->cp[i + 1] == '"';
    return c == 0x3002 || c == 0xff01 || c == 0xff1f || c == 0xff1b || c == '!' || c == '?' || c == '\n' ||
           c == 0x2026;
}

uint32_t scan_sentence_end(const text_scan *s, uint32_t i)
{
    for (; i < s->n; i++)
        if (ends_sentence(s, i)) {
            for (i++; i < s->n && (scan_class(s, i) == CHAR_SPACE || scan_class(s, i) == CHAR_NEWLINE ||
                                   ends_sentence(s, i) || s->cp[i] == 0x201d || s->cp[i] == 0x300d ||
                                   s->cp[i] == '"' || s->cp[i] == ')' || s->cp[i] == 0xff09);)
                i++;
            return i;
        }
    return s->n;
}
