/* Answers that ignore what they were given. A question with much material of its own (a case, a passage, a list) leaves
 * traces in an answer to it: pairs of Han characters, words, numbers. An answer of some length in which none of the
 * question's stands, in the same script, most probably belongs to another question.
 *
 * Pairs and words that say nothing (the rule's `words`) count on neither side. */
#include <string.h>

#include "data/quality_impl.h"

/* Hashes of units that say nothing. */
typedef struct stop_units {
    uint64_t *slot;
    size_t n_slots;
} stop_units;

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0xd6e8feb86659fd93u;
    return (x ^ x >> 32) | 1; /* never 0 */
}

static uint64_t pair_unit(uint32_t a, uint32_t b)
{
    return mix((uint64_t)a << 32 | b);
}

static bool is_stop(const stop_units *s, uint64_t unit)
{
    size_t at;

    for (at = unit & (s->n_slots - 1); s->slot[at]; at = (at + 1) & (s->n_slots - 1))
        if (s->slot[at] == unit)
            return true;
    return false;
}

/* The unit that begins at token i, or 0: a word of three letters or more, a number of two digits or more, or a pair of
 * neighbouring Han characters. */
static uint64_t unit_at(const text_scan *s, uint32_t i)
{
    uint32_t at = s->token_at[i], next;

    if (s->token[i] >> 31) {
        next = s->token_at[i + 1];
        if (next < at + 2 || !class_is_word(scan_class(s, at + 1)))
            return 0;
        if (scan_class(s, at) != CHAR_DIGIT && (next < at + 3 || !class_is_word(scan_class(s, at + 2))))
            return 0;
        return mix(s->token[i]);
    }
    if (i + 1 < s->n_tokens && !(s->token[i + 1] >> 31) && s->token_at[i + 1] == at + 1)
        return pair_unit(s->token[i], s->token[i + 1]);
    return 0;
}

int ignores_open(quality *q, rule *r, hone_error *err)
{
    stop_units *made = hone_calloc(1, sizeof *made);
    size_t i;

    (void)q;
    r->state = made;
    if (!made)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (made->n_slots = 64; made->n_slots < 4 * r->p.words.n;)
        made->n_slots *= 2;
    made->slot = hone_calloc(made->n_slots, sizeof *made->slot);
    if (!made->slot)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < r->p.words.n; i++) {
        const char *w = r->p.words.item[i];
        size_t n = strlen(w), k = 0, at;
        int32_t cp[2] = {0, 0};
        uint64_t unit;

        k += hone_utf8_get(w, n, &cp[0]);
        if (k < n)
            k += hone_utf8_get(w + k, n - k, &cp[1]);
        unit = cp[0] >= 0x2e80 ? pair_unit((uint32_t)cp[0], (uint32_t)cp[1]) : mix(token_of_word(w));
        if (cp[0] >= 0x2e80 && k < n)
            return rule_wrong(r, HONE_EINVAL, err, "words: `%.40s` is no pair of characters", w);
        for (at = unit & (made->n_slots - 1); made->slot[at] && made->slot[at] != unit;)
            at = (at + 1) & (made->n_slots - 1);
        made->slot[at] = unit;
    }
    return 0;
}

void ignores_close(rule *r)
{
    stop_units *s = r->state;

    if (s)
        hone_free(s->slot);
    hone_free(s);
}

/* Whether both texts are mainly Han, or mainly of words. */
static bool same_script(const text_scan *a, const text_scan *b)
{
    return (2 * a->count[CHAR_HAN] > a->count[CHAR_LATIN]) == (2 * b->count[CHAR_HAN] > b->count[CHAR_LATIN]);
}

int ignores_row(check *c, rule *r)
{
    const stop_units *stop = r->state;
    const text_scan *s = c->text, *asked = c->question;
    quality_scratch *k = c->s;
    uint32_t i, units = 0, shared = 0, n = 0;
    size_t at;

    if (!asked || asked->n_tokens < r->p.question || s->n_tokens < r->p.answer || s->count[CHAR_CODE] ||
        asked->count[CHAR_CODE] || !same_script(s, asked))
        return 0;
    if (scratch_table(k, asked->n_tokens, c->err))
        return HONE_ENOMEM;
    for (i = 0; i < asked->n_tokens; i++) {
        uint64_t unit = unit_at(asked, i);

        if (!unit || is_stop(stop, unit))
            continue;
        for (at = unit & (k->n_slots - 1); k->slot[at] >> 32 == k->stamp; at = (at + 1) & (k->n_slots - 1))
            if ((uint32_t)k->slot[at] == (uint32_t)(unit >> 32))
                break;
        units += k->slot[at] >> 32 != k->stamp;
        k->slot[at] = (uint64_t)k->stamp << 32 | (uint32_t)(unit >> 32);
    }
    if (2 * units < r->p.question)
        return 0;
    for (i = 0; i < s->n_tokens; i++) {
        uint64_t unit = unit_at(s, i);

        if (!unit || is_stop(stop, unit))
            continue;
        n++;
        for (at = unit & (k->n_slots - 1); k->slot[at] >> 32 == k->stamp; at = (at + 1) & (k->n_slots - 1))
            if ((uint32_t)k->slot[at] == (uint32_t)(unit >> 32)) {
                shared++;
                break;
            }
        if ((double)shared > r->p.share * s->n_tokens)
            return 0;
    }
    if (2 * n < r->p.answer)
        return 0;
    return check_found(c, r, s->first, s->last, "%u of %u, question %u", shared, n, units);
}
