/* The kinds that know nothing of a subject: a person who knows one fills them with patterns, words and limits. */
#include <string.h>

#include "data/quality_impl.h"

#define MATCHES_COUNTED 1000

/* Character that holds byte `at`. */
static uint32_t char_at(const text_scan *s, size_t at)
{
    uint32_t low = 0, high = s->n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (s->at[mid] < at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool has_hit(const text_scan *s, uint16_t set)
{
    size_t i;

    for (i = 0; i < s->n_hits; i++)
        if (s->hit[i].set == set)
            return true;
    return false;
}

/* Bytes [*from, *to) that a rule with `within` looks at: so many characters from the first visible one on. */
static void range_of(const text_scan *s, int64_t within, size_t *from, size_t *to)
{
    *from = s->at[s->first];
    *to = s->len;
    if (within && (int64_t)(s->n - s->first) > within)
        *to = s->at[s->first + (uint32_t)within];
}

static bool is_excepted(const rule *r, const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < r->p.except.n; i++) {
        const char *e = r->p.except.item[i];

        if (strlen(e) <= len && memmem(text, len, e, strlen(e)))
            return true;
    }
    return false;
}

int pattern_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    size_t from, to, first = SIZE_MAX, first_end = 0, i;
    int64_t n = 0;
    char quote[100];

    if (!s->n || (r->p.max && s->n_tokens > r->p.max) || (r->set && !has_hit(s, r->set)))
        return 0;
    range_of(s, r->p.within, &from, &to);
    for (i = 0; i < r->p.patterns.n; i++) {
        size_t at = from, begin, end;
        int found = 0;

        while (n < MATCHES_COUNTED && at <= to &&
               (found = regex_find(r->regex[i], c->s->work, s->text, to, at, 0, &begin, &end)) == 1) {
            if (!is_excepted(r, s->text + begin, end - begin) &&
                (r->p.code || begin == s->len || scan_class(s, char_at(s, begin)) != CHAR_CODE)) {
                n++;
                if (begin < first) {
                    first = begin;
                    first_end = end;
                }
            }
            at = end > at ? end : end + 1;
            while (at < to && ((unsigned char)s->text[at] & 0xc0) == 0x80)
                at++;
        }
        if (found < 0)
            r->gave_up++;
    }
    if (n < r->p.times || first == SIZE_MAX)
        return 0;
    check_quote(quote, s, char_at(s, first), char_at(s, first_end));
    if (n == 1)
        return check_found(c, r, char_at(s, first), char_at(s, first_end), "%s", quote);
    return check_found(c, r, char_at(s, first), char_at(s, first_end), "%s ×%lld", quote, (long long)n);
}

int words_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    const word_hit *first = NULL;
    int64_t n = 0;
    uint32_t free_from = 0;
    char quote[100];
    size_t i;

    if (r->p.max && s->n_tokens > r->p.max)
        return 0;
    for (i = 0; i < s->n_hits; i++) {
        const word_hit *h = &s->hit[i];

        if (h->set != r->set || !r->set || h->begin < free_from ||
            (r->p.within && (int64_t)(h->begin - s->first) >= r->p.within))
            continue;
        n++;
        free_from = h->end;
        if (!first)
            first = h;
    }
    if (!first || n < r->p.times)
        return 0;
    check_quote(quote, s, first->begin, first->end);
    if (n == 1)
        return check_found(c, r, first->begin, first->end, "%s", quote);
    return check_found(c, r, first->begin, first->end, "%s ×%lld", quote, (long long)n);
}

int require_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    const char *missing = NULL;
    bool any = false;
    size_t i, j, begin, end;

    for (i = 0; i < r->p.patterns.n; i++) {
        int found = regex_find(r->regex[i], c->s->work, s->text, s->len, 0, 0, &begin, &end);

        if (found < 0)
            r->gave_up++;
        any |= found != 0; /* one that gave up may be there */
        if (!found && !missing)
            missing = r->p.patterns.item[i];
    }
    for (i = 0; i < r->p.words.n; i++) {
        bool found = false;

        for (j = 0; j < s->n_hits && !found; j++)
            found = s->hit[j].set == r->set && s->hit[j].word == i;
        any |= found;
        if (!found && !missing)
            missing = r->p.words.item[i];
    }
    if (!missing || (!r->p.all && any))
        return 0;
    return check_found(c, r, 0, 0, r->p.all ? "without `%.100s`" : "without `%.80s` or its like", missing);
}

int length_row(check *c, rule *r)
{
    static const char *const unit[] = {"characters", "tokens", "bytes"};
    const text_scan *s = c->text;
    int64_t n = r->p.choice == 0   ? (int64_t)(s->last - s->first)
                : r->p.choice == 1 ? (int64_t)s->n_tokens
                                   : (int64_t)(s->at[s->last] - s->at[s->first]);

    if (r->p.min && n < r->p.min)
        return check_found(c, r, 0, 0, "%lld %s < %lld", (long long)n, unit[r->p.choice],
                           (long long)r->p.min);
    if (r->p.max && n > r->p.max)
        return check_found(c, r, 0, 0, "%lld %s > %lld", (long long)n, unit[r->p.choice],
                           (long long)r->p.max);
    return 0;
}

int ratio_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    const uint32_t *n = s->count;
    double part = 0, all = (double)(s->n - n[CHAR_SPACE] - n[CHAR_NEWLINE]), share;
    uint32_t letters = 0, i;

    for (i = CHAR_HAN; i <= CHAR_LETTER; i++)
        letters += i == CHAR_DIGIT ? 0 : n[i];
    switch (r->p.choice) {
    case 0:
        part = n[CHAR_PUNCT];
        break;
    case 1:
        part = n[CHAR_DIGIT];
        break;
    case 2:
        part = letters;
        break;
    case 3:
        part = n[CHAR_HAN];
        break;
    case 4:
        part = n[CHAR_LATIN];
        break;
    case 5:
        part = n[CHAR_SYMBOL];
        break;
    case 6:
        part = n[CHAR_SPACE] + n[CHAR_NEWLINE];
        all = s->n;
        break;
    case 7:
        part = n[CHAR_CODE];
        break;
    default: /* tokens of the answer for one of the question */
        if (!c->question)
            return 0;
        part = s->n_tokens;
        all = c->question->n_tokens;
    }
    if (s->n < r->p.min || all == 0)
        return 0;
    share = part / all;
    if (share < r->p.low)
        return check_found(c, r, 0, 0, "%.3g < %g", share, r->p.low);
    if (share > r->p.high)
        return check_found(c, r, 0, 0, "%.3g > %g", share, r->p.high);
    return 0;
}

/* Whether the sentence [begin, end) holds a word or a pattern of the rule; *hit steps along the text's hits. */
static bool sentence_matches(check *c, rule *r, uint32_t begin, uint32_t end, size_t *hit)
{
    const text_scan *s = c->text;
    size_t i, from, to;

    while (*hit < s->n_hits && s->hit[*hit].begin < begin)
        ++*hit;
    for (i = *hit; r->set && i < s->n_hits && s->hit[i].begin < end; i++)
        if (s->hit[i].set == r->set)
            return true;
    for (i = 0; i < r->p.patterns.n; i++) {
        int found = regex_find(r->regex[i], c->s->work, s->text + s->at[begin], s->at[end] - s->at[begin], 0,
                               0, &from, &to);

        if (found < 0)
            r->gave_up++;
        if (found == 1)
            return true;
    }
    return false;
}

/* End of the clause that begins at i, its comma included. */
static uint32_t clause_end(const text_scan *s, uint32_t i, uint32_t end)
{
    for (; i + 1 < end; i++)
        if (s->cp[i] == ',' || s->cp[i] == 0xff0c || s->cp[i] == 0xff1b || s->cp[i] == ';')
            return i + 1;
    return end;
}

int sentences_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    uint32_t i, end, matched = 0, all = 0, first = 0, first_end = 0;
    size_t hit = 0;
    int64_t n = 0;
    double share;

    if (r->set && !r->p.patterns.n && !has_hit(s, r->set))
        return 0;
    for (i = s->first; i < s->last; i = end) {
        end = scan_sentence_end(s, i);
        if (r->p.choice)
            end = clause_end(s, i, end);
        all += end - i;
        if (!sentence_matches(c, r, i, end, &hit))
            continue;
        if (!n++) {
            first = i;
            first_end = end;
        }
        matched += end - i;
    }
    share = all ? (double)matched / (double)all : 0;
    if (!n || n < r->p.times || share < r->p.share)
        return 0;
    return check_found(c, r, first, first_end, "%lld ×, %.0f %%", (long long)n, 100 * share);
}
