/* Best-fit decreasing: how TRL packs with strategy "bfd" (training-data packing of Ding et al. 2024, "Fewer Truncations
 * Improve Language Modeling").
 *
 * Packs with the same room are a list, first in, first out; a bit says that a list is not empty, and a second level of
 * bits which words of the first are not zero, so that the least room that holds an item is found in a few steps. */
#include "data/pack.h"

#include <string.h>

#include "data/dataset.h"

#define NONE UINT32_MAX

typedef struct packs {
    uint32_t *head, *tail;    /* [capacity + 1] list of the packs with that room */
    uint32_t *next;           /* [n] pack after this one in its list */
    uint64_t *used, *summary; /* bit r: head[r] is not NONE; bit w: used[w] is not 0 */
    size_t words, summary_words;
} packs;

/* The least r >= from with a pack, or SIZE_MAX. */
static size_t find(const packs *p, size_t from)
{
    size_t w = from / 64, s;
    uint64_t bits = w < p->words ? p->used[w] & ~UINT64_C(0) << (from % 64) : 0;

    if (bits)
        return w * 64 + (size_t)__builtin_ctzll(bits);
    w++;
    for (s = w / 64; s < p->summary_words; s++) {
        bits = p->summary[s];
        if (s == w / 64)
            bits &= ~UINT64_C(0) << (w % 64);
        if (bits) {
            w = s * 64 + (size_t)__builtin_ctzll(bits);
            return w * 64 + (size_t)__builtin_ctzll(p->used[w]);
        }
    }
    return SIZE_MAX;
}

static uint32_t take(packs *p, size_t room)
{
    uint32_t pack = p->head[room];

    p->head[room] = p->next[pack];
    if (p->head[room] == NONE) {
        p->used[room / 64] &= ~(UINT64_C(1) << (room % 64));
        if (!p->used[room / 64])
            p->summary[room / 4096] &= ~(UINT64_C(1) << (room / 64 % 64));
    }
    return pack;
}

static void put(packs *p, uint32_t pack, size_t room)
{
    p->next[pack] = NONE;
    if (p->head[room] == NONE)
        p->head[room] = pack;
    else
        p->next[p->tail[room]] = pack;
    p->tail[room] = pack;
    p->used[room / 64] |= UINT64_C(1) << (room % 64);
    p->summary[room / 4096] |= UINT64_C(1) << (room / 64 % 64);
}

/* Items by falling length, equal ones in their order. */
static void sort_falling(uint32_t *order, uint32_t *first, const uint32_t *length, size_t n, size_t capacity)
{
    size_t i, at = 0;

    memset(first, 0, (capacity + 1) * sizeof *first);
    for (i = 0; i < n; i++)
        first[length[i]]++;
    for (i = capacity + 1; i-- > 0;) {
        size_t count = first[i];

        first[i] = (uint32_t)at;
        at += count;
    }
    for (i = 0; i < n; i++)
        order[first[length[i]]++] = (uint32_t)i;
}

/* Numbers the packs in the order of their first items. */
static void renumber(uint32_t *pack, uint32_t *number, size_t n, size_t n_packs)
{
    uint32_t count = 0;
    size_t i;

    for (i = 0; i < n_packs; i++)
        number[i] = NONE;
    for (i = 0; i < n; i++) {
        if (number[pack[i]] == NONE)
            number[pack[i]] = count++;
        pack[i] = number[pack[i]];
    }
}

int pack_best_fit(uint32_t *pack, size_t *n_packs, const uint32_t *length, size_t n, size_t capacity,
                  hone_error *err)
{
    packs p = {.words = capacity / 64 + 1, .summary_words = capacity / 4096 + 1};
    uint32_t *order = NULL, made = 0;
    size_t i, room;
    int rc = 0;

    *n_packs = 0;
    for (i = 0; i < n; i++)
        if (!length[i] || length[i] > capacity)
            return hone_error_set(err, HONE_EINVAL, "a sequence of %u tokens does not fit a pack of %zu",
                                  length[i], capacity);
    order = hone_alloc((n + 1) * sizeof *order);
    p.next = hone_alloc((n + 1) * sizeof *p.next);
    p.head = hone_alloc((capacity + 1) * sizeof *p.head);
    p.tail = hone_alloc((capacity + 1) * sizeof *p.tail);
    p.used = hone_calloc(p.words, sizeof *p.used);
    p.summary = hone_calloc(p.summary_words, sizeof *p.summary);
    if (!order || !p.next || !p.head || !p.tail || !p.used || !p.summary) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for packing %zu sequences", n);
        goto out;
    }
    sort_falling(order, p.head, length, n, capacity);
    memset(p.head, 0xff, (capacity + 1) * sizeof *p.head);
    for (i = 0; i < n; i++) {
        uint32_t k;

        room = find(&p, length[order[i]]);
        if (room == SIZE_MAX) {
            room = capacity;
            k = made++;
        } else {
            k = take(&p, room);
        }
        pack[order[i]] = k;
        put(&p, k, room - length[order[i]]);
    }
    renumber(pack, p.next, n, made);
    *n_packs = made;
out:
    hone_free(order);
    hone_free(p.next);
    hone_free(p.head);
    hone_free(p.tail);
    hone_free(p.used);
    hone_free(p.summary);
    return rc;
}

/* ---- of a dataset ------------------------------------------------------------------------------------------------ */

int hone_dataset_bin(const hone_dataset *d, uint32_t *which, size_t n, size_t capacity, uint32_t **start,
                     size_t *n_packs, hone_error *err)
{
    uint32_t *length = hone_alloc((n + 1) * sizeof *length), *pack = hone_alloc((n + 1) * sizeof *pack),
             *at = NULL;
    size_t i;
    int rc =
        length && pack ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory for packing %zu sequences", n);

    *start = NULL;
    *n_packs = 0;
    for (i = 0; !rc && i < n; i++)
        length[i] = (uint32_t)hone_dataset_get(d, which[i]).n;
    if (!rc)
        rc = pack_best_fit(pack, n_packs, length, n, capacity, err);
    if (!rc && !(at = hone_calloc(*n_packs + 2, sizeof *at)))
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for packing %zu sequences", n);
    if (!rc) { /* a counting sort by pack: at[p + 1] becomes where pack p is being filled */
        for (i = 0; i < n; i++)
            at[pack[i] + 2]++;
        for (i = 2; i < *n_packs + 2; i++)
            at[i] += at[i - 1];
        memcpy(length, which, n * sizeof *which);
        for (i = 0; i < n; i++)
            which[at[pack[i] + 1]++] = length[i];
        *start = at;
    }
    hone_free(length);
    hone_free(pack);
    return rc;
}

int dataset_count_packs(const hone_dataset *d, size_t capacity, uint64_t *n_packs, hone_error *err)
{
    uint32_t *which = hone_alloc((d->n + 1) * sizeof *which), *start = NULL;
    size_t i, n = 0;
    int rc = which ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory for packing %zu sequences", d->n);

    for (i = 0; !rc && i < d->n; i++)
        which[i] = (uint32_t)i;
    if (!rc)
        rc = hone_dataset_bin(d, which, d->n, capacity, &start, &n, err);
    *n_packs = n;
    hone_free(start);
    hone_free(which);
    return rc;
}
