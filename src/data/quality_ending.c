/* Answers that end before they are finished: cut by a limit of tokens, or by whoever copied them.
 *
 * What is sure is told by form: an open code fence, JSON that is not closed, an open bracket, a list marker with nothing
 * behind it, a comma or a conjunction as the last word. A missing mark at the end alone says little, since labels, lists,
 * headings, verses, code and numbers end without one; it counts only in prose that uses such marks elsewhere. */
#include <string.h>

#include "data/quality_impl.h"

enum {
    FIND_FENCE = 1,
    FIND_JSON = 2,
    FIND_BRACKET = 4,
    FIND_QUOTE = 8,
    FIND_LIST = 16,
    FIND_COMMA = 32,
    FIND_CONJUNCTION = 64,
    FIND_NO_MARK = 128
};

#define STACK 64
#define MIN_TOKENS 4      /* below, an ending says nothing */
#define PROSE_LINE 10     /* length of a last line that is prose: Han characters, a word counts as two */
#define TAIL 4            /* Latin words behind the last mark: fewer are a name below a quotation, a tag */
#define BRACKET_REACH 400 /* characters: an older open bracket is sloppy, not a cut */

static bool is_closer(uint32_t c)
{
    return c == ')' || c == ']' || c == '}' || c == '"' || c == '\'' || c == '*' || c == '_' || c == '`' ||
           c == 0xff09 || c == 0x3011 || c == 0x300b || c == 0x300d || c == 0x300f || c == 0x201d ||
           c == 0x2019 || c == '>';
}

static bool is_final(uint32_t c)
{
    return c == '.' || c == '!' || c == '?' || c == 0x3002 || c == 0xff01 || c == 0xff1f || c == 0x2026 ||
           c == 0xff0e || c == '~' || c == 0xff5e || c == 0xff61;
}

static bool is_comma(uint32_t c)
{
    return c == ',' || c == 0xff0c || c == 0x3001 || c == 0xff1b || c == ':' || c == 0xff1a;
}

/* First character of line i that is no blank, and the end of the line without blanks. */
static void line_of(const text_scan *s, uint32_t i, uint32_t *begin, uint32_t *end)
{
    *begin = s->line[i];
    *end = i + 1 < s->n_lines ? s->line[i + 1] : s->n;
    while (*begin < *end && scan_class(s, *begin) == CHAR_SPACE)
        ++*begin;
    while (*end > *begin &&
           (scan_class(s, *end - 1) == CHAR_SPACE || scan_class(s, *end - 1) == CHAR_NEWLINE))
        --*end;
}

/* Characters of a list marker, heading or quote sign at `begin`, 0: none. */
static uint32_t marker_at(const text_scan *s, uint32_t begin, uint32_t end)
{
    static const uint32_t numeral[] = {0x4e00, 0x4e8c, 0x4e09, 0x56db, 0x4e94,
                                       0x516d, 0x4e03, 0x516b, 0x4e5d, 0x5341};
    uint32_t i = begin, c = begin < end ? s->cp[begin] : 0, digits = 0, k;
    bool bracket = c == '(' || c == 0xff08;

    if (c == '-' || c == '*' || c == '+' || c == 0x2022 || c == 0x00b7 || c == 0x25cf || c == '#' ||
        c == '>' || c == '|') {
        while (i < end && (s->cp[i] == c || s->cp[i] == ' '))
            i++;
        return i - begin;
    }
    i += bracket;
    for (; i < end && digits < 4; i++, digits++) {
        bool numeric = scan_class(s, i) == CHAR_DIGIT;

        for (k = 0; k < HONE_COUNT(numeral) && !numeric; k++)
            numeric = s->cp[i] == numeral[k];
        if (!numeric)
            break;
    }
    if (!digits || i == end)
        return 0;
    c = s->cp[i];
    if (c == '.' || c == 0x3001 || c == ')' || c == 0xff09 || c == 0xff0e ||
        (!bracket && (c == ':' || c == 0xff1a)))
        return i + 1 - begin;
    return 0;
}

/* Whether the text is one JSON value that is not closed; strings are stepped over. */
static bool is_cut_json(const text_scan *s)
{
    uint32_t i = s->first, depth = 0;
    bool text = false;

    if (i == s->last || (s->cp[i] != '{' && s->cp[i] != '['))
        return false;
    for (i++; i < s->last && (scan_class(s, i) == CHAR_SPACE || scan_class(s, i) == CHAR_NEWLINE);)
        i++;
    if (i == s->last || (s->cp[i] != '"' && s->cp[i] != '{' && s->cp[i] != '['))
        return false;
    for (i = s->first; i < s->last; i++) {
        uint32_t c = s->cp[i];

        if (text && c == '\\')
            i++;
        else if (c == '"')
            text = !text;
        else if (!text && (c == '{' || c == '['))
            depth++;
        else if (!text && (c == '}' || c == ']') && !--depth)
            return false;
    }
    return true;
}

static uint32_t closer_of(uint32_t c)
{
    switch (c) {
    case '(':
        return ')';
    case '[':
        return ']';
    case '{':
        return '}';
    case 0xff08:
        return 0xff09;
    case 0x3010:
        return 0x3011;
    case 0x300a:
        return 0x300b;
    case 0x300c:
        return 0x300d;
    case 0x300e:
        return 0x300f;
    case 0x201c:
        return 0x201d;
    }
    return 0;
}

/* The last bracket or quote that stays open; UINT32_MAX: none. A full-width bracket may be closed by its ASCII twin. */
static uint32_t open_bracket(const text_scan *s)
{
    uint32_t closer[STACK], at[STACK], i, n = 0, k;

    for (i = s->first; i < s->last; i++) {
        uint32_t c = s->cp[i], opens;

        if (scan_class(s, i) != CHAR_PUNCT)
            continue;
        opens = closer_of(c);
        c = c == 0xff09 ? ')' : c;
        opens = opens == 0xff09 ? ')' : opens;
        if (opens) {
            if (n == STACK) { /* forget the oldest */
                memmove(closer, closer + 1, (STACK - 1) * sizeof *closer);
                memmove(at, at + 1, (STACK - 1) * sizeof *at);
                n--;
            }
            closer[n] = opens;
            at[n++] = i;
            continue;
        }
        for (k = n; k && closer[k - 1] != c; k--)
            ;
        if (k)
            n = k - 1;
    }
    return n && s->last - at[n - 1] <= BRACKET_REACH ? at[n - 1] : UINT32_MAX;
}

static bool ends_in_word(const text_scan *s, const rule *r, uint32_t *begin)
{
    size_t i;

    for (i = s->n_hits; i-- > 0 && s->hit[i].begin + 32 > s->last;)
        if (s->hit[i].set == r->set && s->hit[i].end == s->last) {
            *begin = s->hit[i].begin;
            return true;
        }
    return false;
}

/* Prose that uses final marks, and whose last line lacks one. A last item of a list counts when all lines before it have
 * theirs. */
static bool lacks_mark(const text_scan *s, uint32_t last_line)
{
    uint32_t i, begin, end, lines = 0, marked = 0, tokens = 0, tail = 0, last_mark, inner = 0, commas = 0,
                            latin = 0, small = 0;
    unsigned class = scan_class(s, s->last - 1);
    bool item;

    if ((class != CHAR_HAN && class != CHAR_LATIN) || (s->misread && 4 * s->misread >= s->count[CHAR_HAN]))
        return false;
    line_of(s, last_line, &begin, &end);
    item = marker_at(s, begin, end) != 0;
    last_mark = begin;
    for (i = begin; i < end; i++)
        if (is_final(s->cp[i]))
            last_mark = i;
    for (i = s->n_tokens; i-- > 0 && s->token_at[i] >= begin;) {
        uint32_t first = s->cp[s->token_at[i]];
        bool word = s->token[i] >> 31;

        tail += s->token_at[i] >= last_mark;
        tokens += 1 + word;
        latin += word;
        small += word && !(first >= 'A' && first <= 'Z');
    }
    if ((!item && tokens < PROSE_LINE) || (class == CHAR_LATIN && tail < TAIL))
        return false;
    for (i = begin; i < end; i++) {
        uint32_t c = s->cp[i];

        if (c == 0x3002 || c == 0xff01 || c == 0xff1f ||
            ((c == '.' || c == '!' || c == '?') && s->cp[i + 1] == ' '))
            inner++;
        commas += c == 0xff0c || (c == ',' && s->cp[i + 1] == ' ');
        if (c == '=' || c == '|' || c == '\\' || (c == '/' && i > begin && s->cp[i - 1] == '/'))
            return false; /* a formula, a table, an address */
    }
    for (i = 0; i < last_line; i++) {
        line_of(s, i, &begin, &end);
        if (begin == end)
            continue;
        lines++;
        while (end > begin && is_closer(s->cp[end - 1]))
            end--;
        marked += end > begin &&
                  (is_final(s->cp[end - 1]) || (item && (s->cp[end - 1] == ':' || s->cp[end - 1] == 0xff1a)));
    }
    if (item)
        return lines >= 2 && marked == lines;
    /* One long sentence, with commas but no end; or of words that are no title, most of them in small letters. */
    if (!lines && (commas || (latin && 3 * small >= 2 * latin)) && tokens >= 2 * PROSE_LINE)
        return true;
    return 2 * marked > lines || (inner && 2 * marked >= lines);
}

int unfinished_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    uint32_t end = s->last, last_line = s->n_lines, begin = 0, line_end = 0, at;
    unsigned find = r->p.find;
    char quote[100];

    if (s->cut || s->first == s->last)
        return 0;
    while (last_line-- > 0) {
        line_of(s, last_line, &begin, &line_end);
        if (begin < line_end)
            break;
    }
    if ((find & FIND_FENCE) && s->open_fence)
        return check_found(c, r, begin, line_end, "code fence not closed");
    if (scan_class(s, s->last - 1) == CHAR_CODE)
        return 0;
    if ((find & FIND_JSON) && is_cut_json(s))
        return check_found(c, r, begin, line_end, "JSON not closed");
    if (s->n_tokens < MIN_TOKENS)
        return 0;
    if ((find & FIND_LIST) && last_line > 0 && marker_at(s, begin, line_end) == line_end - begin &&
        s->cp[begin] != '|' && s->cp[begin] != '>' && line_end - begin < 8 &&
        !(s->cp[begin] == '-' && line_end - begin > 1) && !(s->cp[begin] == '*' && line_end - begin > 1))
        return check_found(c, r, begin, line_end, "%s", check_quote(quote, s, begin, line_end));
    while (end > s->first && is_closer(s->cp[end - 1]))
        end--;
    if (end > s->first && is_final(s->cp[end - 1]))
        return 0;
    begin = HONE_MAX(begin, s->last > 16 ? s->last - 16 : 0);
    if ((find & FIND_COMMA) && is_comma(s->cp[s->last - 1]))
        return check_found(c, r, begin, s->last, "…%s", check_quote(quote, s, begin, s->last));
    if ((find & FIND_CONJUNCTION) && s->last - s->first >= (uint64_t)r->p.min && ends_in_word(s, r, &at))
        return check_found(c, r, HONE_MIN(at, begin), s->last, "…%s",
                           check_quote(quote, s, HONE_MIN(at, begin), s->last));
    if ((find & (FIND_BRACKET | FIND_QUOTE)) && (at = open_bracket(s)) != UINT32_MAX &&
        (find &
         (s->cp[at] == 0x201c || s->cp[at] == 0x300c || s->cp[at] == 0x300e ? FIND_QUOTE : FIND_BRACKET)))
        return check_found(c, r, at, s->last, "open %s",
                           check_quote(quote, s, at, HONE_MIN(s->last, at + 20)));
    if ((find & FIND_NO_MARK) && s->last - s->first >= (uint64_t)r->p.min && !ends_in_word(s, r, &at) &&
        lacks_mark(s, last_line))
        return check_found(c, r, begin, s->last, "…%s", check_quote(quote, s, begin, s->last));
    return 0;
}
