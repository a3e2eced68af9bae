/* Repetition inside one text, as models that fell into a loop write it, and as data copied from them.
 *
 * Passages are found through 4-grams of tokens: a run of them, each seen before at the same distance, is a repeated
 * passage; when its distance is shorter than the passage, it is a phrase said over and over. The last place of every
 * 4-gram is kept in a hash table, and places are compared token by token, so that nothing is found by chance. */
#include <string.h>

#include "data/quality_impl.h"

#define GRAM 4

int run_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    uint32_t i, begin = 0;
    char quote[100];
    size_t k;

    for (i = 1; i <= s->n; i++) {
        bool excepted = false;
        unsigned class = scan_class(s, begin);

        if (i < s->n && s->cp[i] == s->cp[begin])
            continue;
        if (i - begin >= r->p.times && class != CHAR_SPACE && class != CHAR_NEWLINE && class != CHAR_CODE) {
            for (k = 0; k < r->p.except.n; k++) {
                int32_t cp;

                hone_utf8_get(r->p.except.item[k], strlen(r->p.except.item[k]), &cp);
                excepted |= (uint32_t)cp == s->cp[begin];
            }
            if (!excepted)
                return check_found(c, r, begin, i, "%s ×%u", check_quote(quote, s, begin, begin + 1),
                                   i - begin);
        }
        begin = i;
    }
    return 0;
}

static int add_repeat(text_scan *s, text_repeat r, hone_error *err)
{
    s->repeat = hone_grow(s->repeat, &s->repeat_capacity, s->n_repeats + 1, sizeof *s->repeat);
    if (s->n_repeats == s->repeat_capacity)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    s->repeat[s->n_repeats++] = r;
    return 0;
}

/* Fills s->repeat with runs of at least one repeated 4-gram. */
static int find_repeats(check *c)
{
    text_scan *s = c->text;
    const uint32_t *t = s->token;
    quality_scratch *k = c->s;
    uint32_t i, n = s->n_tokens < GRAM ? 0 : s->n_tokens - GRAM + 1;
    text_repeat run = {0};
    int rc = 0;

    if (s->repeats_known)
        return 0;
    s->repeats_known = true;
    s->n_repeats = 0;
    rc = scratch_table(k, n, c->err);
    for (i = 0; !rc && i < n; i++) {
        uint64_t hash = ((uint64_t)t[i] << 32 | t[i + 1]) * 0x9e3779b97f4a7c15u,
                 stamp = (uint64_t)k->stamp << 32;
        size_t at;
        uint32_t distance = 0;

        hash = (hash ^ hash >> 29 ^ ((uint64_t)t[i + 2] << 32 | t[i + 3])) * 0xd6e8feb86659fd93u;
        for (at = hash >> 32 & (k->n_slots - 1); k->slot[at] >> 32 == k->stamp;
             at = (at + 1) & (k->n_slots - 1)) {
            uint32_t other = (uint32_t)k->slot[at];

            if (!memcmp(t + other, t + i, GRAM * sizeof *t)) {
                distance = i - other;
                break;
            }
        }
        k->slot[at] = stamp | i;
        if (run.n && (distance != run.distance || !distance)) {
            run.n += GRAM - 1;
            rc = add_repeat(s, run, c->err);
            run.n = 0;
        }
        if (distance && !run.n)
            run = (text_repeat){i, 0, distance};
        run.n += distance != 0;
    }
    if (!rc && run.n) {
        run.n += GRAM - 1;
        rc = add_repeat(s, run, c->err);
    }
    return rc;
}

/* Characters [*begin, *end) of tokens [at, at + n). */
static void span_of(const text_scan *s, uint32_t at, uint32_t n, uint32_t *begin, uint32_t *end)
{
    uint32_t last = at + n - 1;

    *begin = s->token_at[at];
    *end = s->token_at[last] + 1;
    while (*end < s->token_at[last + 1] && class_is_word(scan_class(s, *end)) && s->token[last] >> 31)
        ++*end;
}

int loop_row(check *c, rule *r)
{
    text_scan *s = c->text;
    uint32_t begin, end, phrase_end, ignored;
    char quote[100];
    size_t i;
    int rc;

    if (s->n_tokens < r->p.min)
        return 0;
    rc = find_repeats(c);
    for (i = 0; !rc && i < s->n_repeats; i++) {
        const text_repeat *p = &s->repeat[i];
        uint32_t times = 1 + p->n / p->distance;

        if (times < r->p.times || p->n + p->distance < r->p.min)
            continue;
        span_of(s, p->begin - p->distance, p->n + p->distance, &begin, &end);
        span_of(s, p->begin - p->distance, p->distance, &ignored, &phrase_end);
        return check_found(c, r, begin, end, "%s ×%u", check_quote(quote, s, begin, phrase_end), times);
    }
    return rc;
}

int repetition_row(check *c, rule *r)
{
    text_scan *s = c->text;
    uint32_t covered = 0, covered_to = 0, begin, end;
    const text_repeat *longest = NULL;
    char quote[100];
    double share;
    size_t i;
    int rc;

    if (s->n_tokens < r->p.min)
        return 0;
    rc = find_repeats(c);
    for (i = 0; !rc && i < s->n_repeats; i++) {
        const text_repeat *p = &s->repeat[i];

        if (p->n < r->p.passage)
            continue;
        begin = HONE_MAX(covered_to, p->begin);
        end = p->begin + p->n;
        if (end > begin) {
            covered += end - begin;
            covered_to = end;
        }
        if (!longest || p->n > longest->n)
            longest = p;
    }
    share = (double)covered / (double)s->n_tokens;
    if (rc || !longest || share < r->p.share)
        return rc;
    span_of(s, longest->begin, longest->n, &begin, &end);
    return check_found(c, r, begin, end, "%.0f %%, %s", 100 * share,
                       check_quote(quote, s, begin, HONE_MIN(end, begin + 24)));
}

/* Sentences count as equal by their tokens: blanks and marks do not matter. */
int repeated_sentences_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    quality_scratch *k = c->s;
    uint32_t i, end, t = 0, n = 0, repeated = 0, most = 0, most_begin = 0, most_end = 0;
    char quote[100];
    double share;

    if (s->n_tokens < 2 * r->p.min)
        return 0;
    if (scratch_table(k, 2 * (size_t)s->n_tokens, c->err))
        return HONE_ENOMEM;
    for (i = s->first; i < s->last; i = end) {
        uint32_t from, count = 0;
        uint64_t hash = 0x9e3779b97f4a7c15u;
        size_t at;

        end = scan_sentence_end(s, i);
        while (t < s->n_tokens && s->token_at[t] < i)
            t++;
        for (from = t; t < s->n_tokens && s->token_at[t] < end; t++)
            hash = (hash ^ s->token[t]) * 0xd6e8feb86659fd93u, hash ^= hash >> 31;
        if (t - from < r->p.min)
            continue;
        n += t - from;
        /* Two neighbouring slots: what the sentence is, how often it was there. */
        for (at = hash & (k->n_slots - 2); k->slot[at] >> 32 == k->stamp; at = (at + 2) & (k->n_slots - 2))
            if ((uint32_t)k->slot[at] == (uint32_t)(hash >> 32)) {
                count = (uint32_t)k->slot[at + 1];
                break;
            }
        k->slot[at] = (uint64_t)k->stamp << 32 | (uint32_t)(hash >> 32);
        k->slot[at + 1] = ++count;
        if (count > 1)
            repeated += t - from;
        if (count > most) {
            most = count;
            most_begin = i;
            most_end = end;
        }
    }
    share = n ? (double)repeated / (double)n : 0;
    if (most < 2 || (most < r->p.times && share < r->p.share))
        return 0;
    return check_found(c, r, most_begin, most_end, "×%u, %.0f %%, %s", most, 100 * share,
                       check_quote(quote, s, most_begin, HONE_MIN(most_end, most_begin + 24)));
}
