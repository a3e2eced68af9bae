/* Answers that ignore what they were given. A question with much material of its own (a case, a passage, a list) leaves
 * traces in an answer to it: Han characters, pairs of them, words, numbers. An answer of some length in which none of the
 * question's stands, in the same script, most probably belongs to another question.
 *
 * Only the first answer of a conversation is judged: later ones may speak of what was said before.
 *
 * Characters, pairs and words that say nothing (the rule's `words`) count on neither side. */
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

/* The units that begin at token i: a word of three letters or more, a number of two digits or more; or a Han character, and
 * the pair of it and its neighbour. Returns how many; those that say nothing are left out. */
static int units_at(const stop_units *stop, const text_scan *s, uint32_t i, uint64_t out[2])
{
    uint32_t at = s->token_at[i], next;
    int n = 0;

    if (s->token[i] >> 31) {
        next = s->token_at[i + 1];
        if (next < at + 2 || !class_is_word(scan_class(s, at + 1)))
            return 0;
        if (scan_class(s, at) != CHAR_DIGIT && (next < at + 3 || !class_is_word(scan_class(s, at + 2))))
            return 0;
        out[n++] = mix(s->token[i]);
    } else {
        out[n++] = mix(s->token[i]);
        n -= is_stop(stop, out[0]);
        if (i + 1 < s->n_tokens && !(s->token[i + 1] >> 31) && s->token_at[i + 1] == at + 1)
            out[n++] = pair_unit(s->token[i], s->token[i + 1]);
    }
    if (n && is_stop(stop, out[n - 1]))
        n--;
    return n;
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
        if (cp[0] >= 0x2e80 && k < n)
            return rule_wrong(r, HONE_EINVAL, err, "words: `%.40s` is neither a character nor a pair", w);
        unit = cp[0] < 0x2e80 ? mix(token_of_word(w))
               : cp[1]        ? pair_unit((uint32_t)cp[0], (uint32_t)cp[1])
                              : mix((uint32_t)cp[0]);
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

/* A word says about as much as a Han character and a pair. */
static uint32_t weight_of(const text_scan *s, uint32_t i)
{
    return 1 + (s->token[i] >> 31);
}

/* The slot of a unit: it holds the unit, or is free. */
static uint64_t *slot_of(const quality_scratch *k, uint64_t unit)
{
    size_t at = unit & (k->n_slots - 1);

    while (k->slot[at] >> 32 == k->stamp && (uint32_t)k->slot[at] != (uint32_t)(unit >> 32))
        at = (at + 1) & (k->n_slots - 1);
    return &k->slot[at];
}

int ignores_row(check *c, rule *r)
{
    const stop_units *stop = r->state;
    const text_scan *s = c->text, *asked = c->question;
    quality_scratch *k = c->s;
    uint32_t i, units = 0, shared = 0, n = 0;
    uint64_t unit[2];
    int j, m;

    if (!asked || c->turns > 1 || 2 * (int64_t)asked->n_tokens < r->p.question ||
        2 * (int64_t)s->n_tokens < r->p.answer || s->count[CHAR_CODE] || asked->count[CHAR_CODE] ||
        !same_script(s, asked))
        return 0;
    if (scratch_table(k, 2 * (size_t)asked->n_tokens, c->err))
        return HONE_ENOMEM;
    for (i = 0; i < asked->n_tokens; i++)
        for (j = 0, m = units_at(stop, asked, i, unit); j < m; j++) {
            uint64_t *slot = slot_of(k, unit[j]);

            units += (*slot >> 32 != k->stamp) * weight_of(asked, i);
            *slot = (uint64_t)k->stamp << 32 | (uint32_t)(unit[j] >> 32);
        }
    if (units < r->p.question)
        return 0;
    for (i = 0; i < s->n_tokens; i++)
        for (j = 0, m = units_at(stop, s, i, unit); j < m; j++) {
            n += weight_of(s, i);
            shared += *slot_of(k, unit[j]) >> 32 == k->stamp;
            if ((double)shared > r->p.share * s->n_tokens)
                return 0;
        }
    if (n < r->p.answer)
        return 0;
    return check_found(c, r, s->first, s->last, "%u of %u, question %u", shared, n, units);
}
