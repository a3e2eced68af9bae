/* The words of all rules in one tree of characters, whose edges lie in one hash table: (node, character) -> node. A walk
 * starts at every character of a text, and ends after 64 steps at most, so that no list of words makes it slow. A bitmap
 * of the first two characters keeps most walks from starting.
 *
 * Letters of Latin match without case; a word that begins (ends) with a Latin letter or a digit is found only where none
 * stands before (behind) it. Full-width letters and digits count as their ASCII forms. */
#include <string.h>

#include "data/quality_impl.h"

#define WORD_LIMIT 64
#define FILTER_BITS 16

typedef struct edge {
    uint32_t from, c, to; /* to 0: free */
} edge;

typedef struct owner {   /* a word that ends at a node */
    uint32_t word, next; /* next + 1 in owner, 0: none */
    uint16_t set;
} owner;

struct words {
    edge *edge;
    size_t n_edges, n_slots;
    uint32_t *first_owner; /* [n_nodes] index + 1 */
    uint32_t n_nodes;
    size_t node_capacity;
    owner *owner;
    size_t n_owners, owner_capacity;
    uint64_t filter[(1u << FILTER_BITS) / 64];
};

static uint32_t fold(uint32_t c)
{
    if (c >= 0xff01 && c <= 0xff5e)
        c -= 0xfee0;
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static bool is_alnum(uint32_t c)
{
    c = fold(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static uint32_t mix(uint32_t a, uint32_t b)
{
    uint64_t x = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15u;

    return (uint32_t)(x >> 32);
}

static edge *find_edge(const words *w, uint32_t from, uint32_t c)
{
    size_t at = mix(from, c) & (w->n_slots - 1);

    while (w->edge[at].to && (w->edge[at].from != from || w->edge[at].c != c))
        at = (at + 1) & (w->n_slots - 1);
    return &w->edge[at];
}

static int grow_edges(words *w, hone_error *err)
{
    words bigger = *w;
    size_t i;

    if (2 * (w->n_edges + 1) <= w->n_slots)
        return 0;
    bigger.n_slots = 2 * w->n_slots;
    bigger.edge = hone_calloc(bigger.n_slots, sizeof *bigger.edge);
    if (!bigger.edge)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < w->n_slots; i++)
        if (w->edge[i].to)
            *find_edge(&bigger, w->edge[i].from, w->edge[i].c) = w->edge[i];
    hone_free(w->edge);
    w->edge = bigger.edge;
    w->n_slots = bigger.n_slots;
    return 0;
}

static int new_node(words *w, uint32_t *out, hone_error *err)
{
    w->first_owner = hone_grow(w->first_owner, &w->node_capacity, w->n_nodes + 1, sizeof *w->first_owner);
    if (w->n_nodes == w->node_capacity)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    w->first_owner[w->n_nodes] = 0;
    *out = w->n_nodes++;
    return 0;
}

int words_new(words **out, hone_error *err)
{
    words *w = hone_calloc(1, sizeof *w);
    uint32_t root;
    int rc = w ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory");

    *out = NULL;
    if (!rc) {
        w->n_slots = 1024;
        w->edge = hone_calloc(w->n_slots, sizeof *w->edge);
        rc = w->edge ? new_node(w, &root, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    if (rc)
        words_free(w);
    else
        *out = w;
    return rc;
}

void words_free(words *w)
{
    if (!w)
        return;
    hone_free(w->edge);
    hone_free(w->first_owner);
    hone_free(w->owner);
    hone_free(w);
}

static uint32_t filter_bit(uint32_t a, uint32_t b)
{
    return mix(a, b) >> (32 - FILTER_BITS);
}

static void pass(words *w, uint32_t a, uint32_t b)
{
    uint32_t bit = filter_bit(a, b);

    w->filter[bit / 64] |= 1ull << bit % 64;
}

int words_add(words *w, uint16_t set, uint32_t word, const char *text, hone_error *err)
{
    size_t len = strlen(text), i = 0, n = 0;
    uint32_t node = 0, c[2] = {0, 0};
    int rc;

    while (i < len) {
        int32_t cp;
        edge *e;

        i += hone_utf8_get(text + i, len - i, &cp);
        if (cp < 0 || n == WORD_LIMIT)
            return hone_error_set(err, HONE_EINVAL,
                                  cp < 0 ? "a word that is not UTF-8" : "a word of more than %d characters",
                                  WORD_LIMIT);
        cp = (int32_t)fold((uint32_t)cp);
        if (n < 2)
            c[n] = (uint32_t)cp;
        n++;
        rc = grow_edges(w, err);
        if (rc)
            return rc;
        e = find_edge(w, node, (uint32_t)cp);
        if (!e->to) {
            uint32_t made = 0;

            rc = new_node(w, &made, err);
            if (rc)
                return rc;
            *e = (edge){node, (uint32_t)cp, made};
            w->n_edges++;
        }
        node = e->to;
    }
    if (!n)
        return hone_error_set(err, HONE_EINVAL, "an empty word");
    w->owner = hone_grow(w->owner, &w->owner_capacity, w->n_owners + 1, sizeof *w->owner);
    if (w->n_owners == w->owner_capacity)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    w->owner[w->n_owners] = (owner){word, w->first_owner[node], set};
    w->first_owner[node] = (uint32_t)++w->n_owners;
    if (n == 1)
        pass(w, c[0], 0);
    else
        pass(w, c[0], c[1]);
    if (n == 1) /* whatever follows */
        pass(w, c[0], UINT32_MAX);
    return 0;
}

static int add_hits(const words *w, text_scan *s, uint32_t node, uint32_t begin, uint32_t end,
                    hone_error *err)
{
    uint32_t at;

    for (at = w->first_owner[node]; at; at = w->owner[at - 1].next) {
        s->hit = hone_grow(s->hit, &s->hit_capacity, s->n_hits + 1, sizeof *s->hit);
        if (s->n_hits == s->hit_capacity)
            return hone_error_set(err, HONE_ENOMEM, "out of memory");
        s->hit[s->n_hits++] = (word_hit){w->owner[at - 1].set, w->owner[at - 1].word, begin, end};
    }
    return 0;
}

int words_find(const words *w, text_scan *s, hone_error *err)
{
    uint32_t i, next = s->n ? fold(s->cp[0]) : 0;

    if (!w->n_owners)
        return 0;
    for (i = 0; i < s->n; i++) {
        uint32_t c = next, node = 0, j, bit, single;

        next = i + 1 < s->n ? fold(s->cp[i + 1]) : 0;
        bit = filter_bit(c, next);
        single = filter_bit(c, UINT32_MAX);
        if (!(w->filter[bit / 64] >> bit % 64 & 1) && !(w->filter[single / 64] >> single % 64 & 1))
            continue;
        if (is_alnum(c) && i && is_alnum(s->cp[i - 1]))
            continue;
        for (j = i; j < s->n && j < i + WORD_LIMIT; j++) {
            const edge *e = find_edge(w, node, fold(s->cp[j]));

            if (!e->to)
                break;
            node = e->to;
            if (w->first_owner[node] && !(is_alnum(s->cp[j]) && j + 1 < s->n && is_alnum(s->cp[j + 1])) &&
                add_hits(w, s, node, i, j + 1, err))
                return HONE_ENOMEM;
        }
    }
    return 0;
}
