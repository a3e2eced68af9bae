/* Scanners: hand-written matchers of the expressions that known tokenizers split with.
 *
 * The expressions try alternatives in order at each place, greedily. Only few of them can give characters back, and each
 * such case is worked out beside its code. Names of classes: L letters, N numbers, M marks, S white space; `other` is
 * what is none of L, N, S. Checked against the library on random strings by tests/peers/tokenizer_parity.py. */
#include <string.h>

#include "text/pretoken.h"
#include "text/unicode.h"

/* Classes of one character, as bits. */
enum {
    IS_L = 1,
    IS_N = 2,
    IS_M = 4,
    IS_SPACE = 8,
    IS_PS = 16,    /* punctuation or symbol */
    IS_UPPER = 32, /* Lu Lt Lm Lo M: what may open a word of mixed case */
    IS_LOWER = 64, /* Ll Lm Lo M */
};

/* By category; white space is a bit of its own in the property byte. */
static const uint8_t class_of_category[32] = {
    [HONE_LL] = IS_L | IS_LOWER,
    [HONE_LM] = IS_L | IS_UPPER | IS_LOWER,
    [HONE_LO] = IS_L | IS_UPPER | IS_LOWER,
    [HONE_LT] = IS_L | IS_UPPER,
    [HONE_LU] = IS_L | IS_UPPER,
    [HONE_MC] = IS_M | IS_UPPER | IS_LOWER,
    [HONE_ME] = IS_M | IS_UPPER | IS_LOWER,
    [HONE_MN] = IS_M | IS_UPPER | IS_LOWER,
    [HONE_ND] = IS_N,
    [HONE_NL] = IS_N,
    [HONE_NO] = IS_N,
    [HONE_PC] = IS_PS,
    [HONE_PD] = IS_PS,
    [HONE_PE] = IS_PS,
    [HONE_PF] = IS_PS,
    [HONE_PI] = IS_PS,
    [HONE_PO] = IS_PS,
    [HONE_PS] = IS_PS,
    [HONE_SC] = IS_PS,
    [HONE_SK] = IS_PS,
    [HONE_SM] = IS_PS,
    [HONE_SO] = IS_PS,
};

/* Classes of the character at s[i] and its length. */
static inline unsigned class_at(const unsigned char *s, size_t i, unsigned *len)
{
    uint32_t c;
    unsigned prop;

    *len = hone_utf8_next(s + i, &c);
    if (c >= 0x4e00 && c <= 0x9fff) /* ideographs: one test instead of three look-ups */
        return IS_L | IS_UPPER | IS_LOWER;
    prop = hone_unicode_prop_of(c);
    return class_of_category[prop & HONE_PROP_CATEGORY] | (prop & HONE_PROP_SPACE ? IS_SPACE : 0u);
}

/* End of the run of characters from i on that have a bit of `any` (with `none` set: that have no bit of it). */
static inline size_t run(const unsigned char *s, size_t n, size_t i, unsigned any, bool none)
{
    while (i < n) {
        unsigned len, c = class_at(s, i, &len);

        if (((c & any) != 0) == none)
            break;
        i += len;
    }
    return i;
}

static inline bool is_newline(unsigned char c)
{
    return c == '\n' || c == '\r';
}

/* 's 't 're 've 'm 'll 'd at i: the end, or i. With `fold` in any case; U+017F is an s then. */
static size_t contraction(const unsigned char *s, size_t n, size_t i, bool fold)
{
    unsigned char a, b;

    if (s[i] != '\'' || i + 1 >= n)
        return i;
    a = s[i + 1];
    b = i + 2 < n ? s[i + 2] : 0;
    if (fold) {
        if (a == 0xc5 && b == 0xbf)
            return i + 3;
        a |= a < 0x80 ? 0x20
                      : 0; /* letters are all that matters below: no other character becomes one of these */
        b |= b < 0x80 ? 0x20 : 0;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return i + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return i + 3;
    return i;
}

/* \s+(?!\S)|\s+ at white space that ends at `end` and whose last character starts at `last`: all of it at the end of the
 * text or when it is one character, else without its last character. */
static inline size_t spaces(size_t n, size_t i, size_t last, size_t end)
{
    return end == n || last == i ? end : last;
}

/* \s+(?!\S)|\s+ and, with `lines`, \s*[\r\n]+ before it: that one ends behind the last line break of the white space. */
static size_t white_space(const unsigned char *s, size_t n, size_t i, bool lines)
{
    size_t end = i, last = i, line = i;

    while (end < n) {
        unsigned len;

        if (!(class_at(s, end, &len) & IS_SPACE))
            break;
        last = end;
        end += len;
        if (is_newline(s[last]))
            line = end;
    }
    if (lines && line > i)
        return line;
    return end > i ? spaces(n, i, last, end) : i;
}

/* '(?:s|t|re|ve|m|ll|d)| ?L+| ?N+| ?other+|\s+(?!\S)|\s+ */
static size_t scan_gpt2(const unsigned char *s, size_t n, size_t i)
{
    size_t j = contraction(s, n, i, false);
    unsigned len, c;

    if (j > i)
        return j;
    j = i + (s[i] == ' ');
    if (j < n) {
        c = class_at(s, j, &len);
        if (c & IS_L)
            return run(s, n, j + len, IS_L, false);
        if (c & IS_N)
            return run(s, n, j + len, IS_N, false);
        if (!(c & IS_SPACE))
            return run(s, n, j + len, IS_L | IS_N | IS_SPACE, true);
    }
    return white_space(s, n, i, false);
}

/* The family of cl100k: (?i:'s|...)|[^\r\n L N]?W+|N{1,digits}| ?[^S W N]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * with W = L, or L and M. The optional first character of W+ gives itself back only if it is in W, and then the result
 * is the run from it: the same range as with it in front. */
static inline size_t scan_cl100k(const unsigned char *s, size_t n, size_t i, unsigned word, int digits)
{
    size_t j = contraction(s, n, i, true);
    unsigned len, c, next_len;

    if (j > i)
        return j;
    c = class_at(s, i, &len);
    if (c & word)
        return run(s, n, i + len, word, false);
    if (c & IS_N) {
        for (j = i + len; --digits > 0 && j < n && (class_at(s, j, &len) & IS_N);)
            j += len;
        return j;
    }
    j = i + len;
    if (!is_newline(s[i]) && j < n && (class_at(s, j, &next_len) & word))
        return run(s, n, j + next_len, word, false);
    if (s[i] == ' ' && j < n)
        c = class_at(s, j, &len);
    else
        j = i;
    if (!(c & (IS_SPACE | IS_N | word))) {
        j = run(s, n, j + len, IS_SPACE | IS_N | word, true);
        while (j < n && is_newline(s[j]))
            j++;
        return j;
    }
    return white_space(s, n, i, true);
}

static size_t scan_llama3(const unsigned char *s, size_t n, size_t i)
{
    return scan_cl100k(s, n, i, IS_L, 3);
}

/* tiktoken's cl100k: the same, but white space that ends the text is one piece: \s++$ stands before \s*[\r\n] */
static size_t scan_tiktoken_cl100k(const unsigned char *s, size_t n, size_t i)
{
    size_t end = run(s, n, i, IS_SPACE, false);

    return end == n && end > i ? end : scan_llama3(s, n, i);
}

static size_t scan_qwen2(const unsigned char *s, size_t n, size_t i)
{
    return scan_cl100k(s, n, i, IS_L, 1);
}

static size_t scan_qwen35(const unsigned char *s, size_t n, size_t i)
{
    return scan_cl100k(s, n, i, IS_L | IS_M, 1);
}

/* U*W+ at i, U = IS_UPPER and W = IS_LOWER, or U+W* when that fails (`second`): the end, or SIZE_MAX. U* takes all it can,
 * then gives back until W+ finds one: that is W's run behind it, or else the last character of U's run that is in W too
 * (what follows it in the run is not in W, so W+ ends there). */
static size_t mixed_word(const unsigned char *s, size_t n, size_t i, bool second)
{
    size_t j = i, both = SIZE_MAX, end;
    unsigned len, c;

    while (j < n && ((c = class_at(s, j, &len)) & IS_UPPER)) {
        j += len;
        if (c & IS_LOWER)
            both = j;
    }
    if (second)
        return j > i ? run(s, n, j, IS_LOWER, false) : SIZE_MAX;
    end = run(s, n, j, IS_LOWER, false);
    return end > j ? end : both;
}

/* Tekken and o200k: [^\r\n L N]?U*W+|[^\r\n L N]?U+W*|N{1,digits}| ?other+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+, o200k with
 * an optional contraction behind the first two. Each of the two is tried with its optional character, then without. */
static inline size_t scan_tekken(const unsigned char *s, size_t n, size_t i, int digits, bool contracted)
{
    unsigned len, c = class_at(s, i, &len);
    size_t j, end = SIZE_MAX;
    int second;

    for (second = 0; second < 2 && end == SIZE_MAX; second++) {
        if (!(c & (IS_L | IS_N)) && !is_newline(s[i]) && i + len < n)
            end = mixed_word(s, n, i + len, second);
        if (end == SIZE_MAX && (c & (IS_UPPER | IS_LOWER)))
            end = mixed_word(s, n, i, second);
    }
    if (end != SIZE_MAX)
        return contracted && end < n ? contraction(s, n, end, true) : end;
    if (c & IS_N) {
        for (j = i + len; --digits > 0 && j < n && (class_at(s, j, &len) & IS_N);)
            j += len;
        return j;
    }
    j = i;
    if (s[i] == ' ' && i + 1 < n)
        c = class_at(s, ++j, &len);
    if (!(c & (IS_SPACE | IS_N | IS_L))) {
        j = run(s, n, j + len, IS_SPACE | IS_N | IS_L, true);
        while (j < n && (is_newline(s[j]) || s[j] == '/'))
            j++;
        return j;
    }
    return white_space(s, n, i, true);
}

static size_t scan_tekken1(const unsigned char *s, size_t n, size_t i)
{
    return scan_tekken(s, n, i, 1, false);
}

static size_t scan_o200k(const unsigned char *s, size_t n, size_t i)
{
    return scan_tekken(s, n, i, 3, true);
}

static inline bool ascii_letter(unsigned char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* [ASCII punctuation][A-Za-z]+|[^\r\n L P S]?[L M]+| ?[P S]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+; digits, controls and
 * unassigned characters may stay unmatched. */
static size_t scan_deepseek3(const unsigned char *s, size_t n, size_t i)
{
    unsigned len, next_len, c = class_at(s, i, &len);
    size_t j;

    if (s[i] < 0x80 && (c & IS_PS) && i + 1 < n && ascii_letter(s[i + 1])) {
        for (j = i + 2; j < n && ascii_letter(s[j]); j++)
            ;
        return j;
    }
    if (c & (IS_L | IS_M))
        return run(s, n, i + len, IS_L | IS_M, false);
    j = i + len;
    if (!(c & IS_PS) && !is_newline(s[i]) && j < n && (class_at(s, j, &next_len) & (IS_L | IS_M)))
        return run(s, n, j + next_len, IS_L | IS_M, false);
    if (s[i] == ' ' && j < n)
        c = class_at(s, j, &len);
    else
        j = i;
    if (c & IS_PS) {
        j = run(s, n, j + len, IS_PS, false);
        while (j < n && is_newline(s[j]))
            j++;
        return j;
    }
    return white_space(s, n, i, true);
}

static size_t scan_numbers3(const unsigned char *s, size_t n, size_t i)
{
    unsigned len;
    int k;

    for (k = 0; k < 3 && i < n && (class_at(s, i, &len) & IS_N); k++)
        i += len;
    return i;
}

static size_t scan_number(const unsigned char *s, size_t n, size_t i)
{
    unsigned len;

    (void)n;
    return class_at(s, i, &len) & IS_N ? i + len : i;
}

static size_t scan_numbers(const unsigned char *s, size_t n, size_t i)
{
    return run(s, n, i, IS_N, false);
}

/* U+4E00-U+9FA5 and kana */
static size_t scan_cjk(const unsigned char *s, size_t n, size_t i)
{
    while (i < n) {
        uint32_t c;
        unsigned len = hone_utf8_next(s + i, &c);

        if (!((c >= 0x4e00 && c <= 0x9fa5) || (c >= 0x3040 && c <= 0x30ff)))
            break;
        i += len;
    }
    return i;
}

/* A character of the Digits pre-tokenizer, which knows a newer Unicode than the expressions. */
static size_t scan_digit(const unsigned char *s, size_t n, size_t i)
{
    uint32_t c;
    unsigned len = hone_utf8_next(s + i, &c);

    (void)n;
    return hone_unicode_prop_of(c) & HONE_PROP_NUMERIC ? i + len : i;
}

static size_t scan_punctuation(const unsigned char *s, size_t n, size_t i)
{
    uint32_t c;
    unsigned len = hone_utf8_next(s + i, &c);

    (void)n;
    return hone_unicode_in(hone_unicode_puncts, hone_unicode_n_puncts, c) ? i + len : i;
}

static size_t scan_space(const unsigned char *s, size_t n, size_t i)
{
    uint32_t c;
    unsigned len = hone_utf8_next(s + i, &c);

    (void)n;
    return hone_unicode_prop_of(c) & HONE_PROP_SPACE ? i + len : i;
}

/* \w+|[^\w\s]+ with the classes of Rust's regex: what the Whitespace pre-tokenizer keeps. */
static size_t scan_words(const unsigned char *s, size_t n, size_t i)
{
    unsigned kind = UINT32_MAX, mask = HONE_PROP_WORD | HONE_PROP_SPACE;
    uint32_t c;

    while (i < n) {
        unsigned len = hone_utf8_next(s + i, &c), prop = hone_unicode_prop_of(c) & mask;

        if (prop & HONE_PROP_SPACE || (kind != UINT32_MAX && prop != kind))
            break;
        kind = prop;
        i += len;
    }
    return i;
}

/* [^\n]+|[\n]+ */
static size_t scan_lines(const unsigned char *s, size_t n, size_t i)
{
    bool line = s[i] == '\n';

    while (i < n && (s[i] == '\n') == line)
        i++;
    return i;
}

#define SPACES "\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES
#define FOLDED "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CL100K(digits)                                                                                       \
    FOLDED "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define MIXED(tail, digits)                                                                                  \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" tail     \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|" SPACES

static const hone_scanner scanner[] = {
    {"gpt2", GPT2, scan_gpt2},
    {"llama3", CL100K("\\p{N}{1,3}"), scan_llama3},
    {"qwen2", CL100K("\\p{N}"), scan_qwen2},
    {"qwen35",
     FOLDED "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| "
            "?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES,
     scan_qwen35},
    /* the possessive form of the original; it can not match otherwise */
    {"cl100k",
     "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|" SPACES,
     scan_llama3},
    {"tiktoken_cl100k",
     "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
     scan_tiktoken_cl100k},
    {"tekken", MIXED("", "\\p{N}"), scan_tekken1},
    {"o200k", MIXED(FOLDED "?", "\\p{N}{1,3}"), scan_o200k},
    {"deepseek3",
     "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
     " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES,
     scan_deepseek3},
    {"cjk", "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+", scan_cjk},
    {"numbers3", "\\p{N}{1,3}", scan_numbers3},
    {"number", "\\p{N}", scan_number},
    {"numbers", "\\p{N}+", scan_numbers},
    {"lines", "[^\\n]+|[\\n]+", scan_lines},
    {"digit", "", scan_digit},
    {"punctuation", "", scan_punctuation},
    {"space", "", scan_space},
    {"words", "", scan_words},
};

const hone_scanner *hone_scanner_by_pattern(const char *pattern, size_t len)
{
    size_t i;

    for (i = 0; i < HONE_COUNT(scanner); i++)
        if (len && strlen(scanner[i].pattern) == len && !memcmp(scanner[i].pattern, pattern, len))
            return &scanner[i];
    return NULL;
}

const hone_scanner *hone_scanner_by_name(const char *name)
{
    size_t i;

    for (i = 0; i < HONE_COUNT(scanner); i++)
        if (!strcmp(scanner[i].name, name))
            return &scanner[i];
    return NULL;
}
