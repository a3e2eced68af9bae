/* N-grams of characters: code points of the text, so that Chinese needs no word segmenter. An n-gram is known by a
 * 64-bit hash: a polynomial of its code points, rolled along the text, and mixed. Two different n-grams of a set of a
 * million share a hash with a chance of 3e-8; figures made from the hashes are exact up to that. */
#include <stdlib.h>
#include <string.h>

#include "data/dedup.h"

#define BASE 0x9e3779b97f4a7c15u

void text_squeeze(hone_buf *out, const char *text, size_t len)
{
    size_t i = 0, from;
    bool first = true;

    while (i < len) {
        while (i < len && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r'))
            i++;
        from = i;
        while (i < len && text[i] != ' ' && text[i] != '\t' && text[i] != '\n' && text[i] != '\r')
            i++;
        if (i > from && !first)
            hone_buf_putc(out, ' ');
        hone_buf_add(out, text + from, i - from);
        first &= i == from;
    }
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

int ngrams_add(ngrams *g, const char *text, size_t len, int n, hone_error *err)
{
    int32_t window[NGRAM_LIMIT], cp;
    uint64_t hash = 0, top = 1;
    size_t i, count = 0;
    int k;

    for (k = 1; k < n; k++)
        top *= BASE;
    /* a byte begins one n-gram at most */
    g->value = hone_grow(g->value, &g->capacity, g->n + len, sizeof *g->value);
    if (g->n + len > g->capacity)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < len; count++) {
        i += hone_utf8_get(text + i, len - i, &cp);
        if (count >= (size_t)n)
            hash -= (uint64_t)(uint32_t)(window[count % (size_t)n] + 2) * top;
        window[count % (size_t)n] = cp;
        hash = hash * BASE + (uint64_t)(uint32_t)(cp + 2);
        if (count + 1 >= (size_t)n)
            g->value[g->n++] = mix(hash);
    }
    if (count && count < (size_t)n)
        g->value[g->n++] = mix(hash);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void ngrams_sort(ngrams *g)
{
    size_t i, n = 0;

    if (g->n)
        qsort(g->value, g->n, sizeof *g->value, by_value);
    for (i = 0; i < g->n; i++)
        if (!i || g->value[i] != g->value[i - 1])
            g->value[n++] = g->value[i];
    g->n = n;
}

double ngrams_jaccard(const ngrams *a, const ngrams *b)
{
    size_t i = 0, j = 0, both = 0, all;

    while (i < a->n && j < b->n) {
        uint64_t x = a->value[i], y = b->value[j];

        both += x == y;
        i += x <= y;
        j += y <= x;
    }
    all = a->n + b->n - both;
    return all ? (double)both / (double)all : 1;
}
