/* Groups of equal and nearly equal texts among millions.
 *
 * Equal texts are found by a hash and compared. Of the rest, MinHash (Broder 1997) with locality-sensitive hashing proposes
 * pairs: every text has up to 192 minima of independent hashes of its n-grams, cut into bands of `rows` minima; two texts
 * are a candidate pair when all minima of some band agree, which happens with the chance 1 - (1 - J^rows)^bands. `rows` is
 * the largest number that finds a pair at the threshold itself with a chance of at least 98.5 % (8 rows, 24 bands at 0.8:
 * 98.8 %, and 99.9 % from 0.86 on). Every candidate is then verified: the exact Jaccard similarity of the two sets of
 * n-grams decides, so that no pair below the threshold is ever taken. The groups are the connected parts of the graph of
 * verified pairs.
 *
 * Memory: the squeezed texts, 4 bytes a band and 32 bytes a text; sets of n-grams are made when they are needed. The keys
 * of a text are made where it is read, on several threads; afterwards a band is one item of work. Pairs that are already connected are not verified again: this changes no group, since a group is the
 * same whichever of its pairs were looked at. In a band where more than WINDOW texts agree, each is compared with the
 * WINDOW texts before it only: what agrees so often is alike enough to be found through its neighbours. So the result
 * depends neither on the number of threads nor on their order. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "data/dedup.h"

#define MINIMA 192
#define WINDOW 512
#define RECALL 0.985

typedef struct text_entry {
    const char *text;
    uint32_t len, parent;    /* of the union-find forest; a root is the smallest index of its group */
    float score, similarity; /* with the one that is kept */
} text_entry;

struct dedup {
    dedup_options options;
    int rows, bands;
    uint32_t a[MINIMA], b[MINIMA];
    text_entry *entry;
    uint64_t *hash;        /* [n] of the texts; freed by the run */
    uint32_t *key[MINIMA]; /* [bands][n] */
    size_t n, capacity;
    uint32_t *only; /* [n_only] the first of equal texts */
    size_t n_only;
    uint32_t *kept;       /* [n] by root: the best of the group */
    pthread_mutex_t lock; /* of the forest, while threads run, and of rc */
    int rc;
};

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the near-duplicates");
}

int dedup_open(dedup **out, const dedup_options *options, hone_error *err)
{
    dedup *d = hone_calloc(1, sizeof *d);
    hone_rng rng = hone_rng_make(0x6d696e, 0); /* fixed: the same groups on every machine */
    int i;

    *out = NULL;
    if (!d || pthread_mutex_init(&d->lock, NULL)) {
        hone_free(d);
        return out_of_memory(err);
    }
    d->options = *options;
    for (i = 0; i < MINIMA; i++) {
        d->a[i] = hone_rng_u32(&rng) | 1;
        d->b[i] = hone_rng_u32(&rng);
    }
    for (d->rows = 16; d->rows > 1; d->rows--)
        if (1 - pow(1 - pow(options->threshold, d->rows), MINIMA / d->rows) >= RECALL)
            break;
    d->bands = MINIMA / d->rows;
    *out = d;
    return 0;
}

void dedup_close(dedup *d)
{
    size_t i;

    if (!d)
        return;
    for (i = 0; i < MINIMA; i++)
        hone_free(d->key[i]);
    hone_free(d->entry);
    hone_free(d->hash);
    hone_free(d->only);
    hone_free(d->kept);
    pthread_mutex_destroy(&d->lock);
    hone_free(d);
}

/* ---- the forest ------------------------------------------------------------------------------------------------------ */

static uint32_t root_of(dedup *d, uint32_t i)
{
    while (d->entry[i].parent != i) {
        d->entry[i].parent = d->entry[d->entry[i].parent].parent;
        i = d->entry[i].parent;
    }
    return i;
}

static void join(dedup *d, uint32_t i, uint32_t j)
{
    uint32_t a = root_of(d, i), b = root_of(d, j);

    if (a < b)
        d->entry[b].parent = a;
    else
        d->entry[a].parent = b;
}

/* ---- equal texts ------------------------------------------------------------------------------------------------------ */

typedef struct hashed {
    uint64_t hash;
    uint32_t index;
} hashed;

static int by_hash(const void *a, const void *b)
{
    const hashed *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static bool same_text(const text_entry *a, const text_entry *b)
{
    return a->len == b->len && !memcmp(a->text, b->text, a->len);
}

static int join_equal(dedup *d, hone_error *err)
{
    hashed *list = hone_alloc(d->n * sizeof *list);
    size_t i, k, from = 0;

    d->only = hone_alloc(d->n * sizeof *d->only);
    if (!list || !d->only) {
        hone_free(list);
        return out_of_memory(err);
    }
    for (i = 0; i < d->n; i++)
        list[i] = (hashed){d->hash[i], (uint32_t)i};
    qsort(list, d->n, sizeof *list, by_hash);
    for (i = 0; i < d->n; i++) {
        if (list[i].hash != list[from].hash)
            from = i;
        for (k = from; k < i; k++) /* one step, but for a collision of hashes */
            if (d->entry[list[k].index].parent == list[k].index &&
                same_text(&d->entry[list[k].index], &d->entry[list[i].index])) {
                join(d, list[k].index, list[i].index);
                break;
            }
    }
    hone_free(list);
    hone_free(d->hash);
    d->hash = NULL;
    for (i = 0; i < d->n; i++)
        if (d->entry[i].parent == i)
            d->only[d->n_only++] = (uint32_t)i;
    return 0;
}

/* ---- minima --------------------------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void minima_body(uint32_t *restrict min,
                                                              const uint64_t *restrict gram, size_t n,
                                                              const uint32_t *restrict a,
                                                              const uint32_t *restrict b)
{
    size_t i, k;

    for (i = 0; i < n; i++) {
        uint32_t x = (uint32_t)(gram[i] >> 32);

        for (k = 0; k < MINIMA; k++) {
            uint32_t y = x * a[k] + b[k];

            min[k] = y < min[k] ? y : min[k];
        }
    }
}

static void minima_plain(uint32_t *min, const uint64_t *gram, size_t n, const uint32_t *a, const uint32_t *b)
{
    minima_body(min, gram, n, a, b);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void minima_avx2(uint32_t *min, const uint64_t *gram, size_t n,
                                                        const uint32_t *a, const uint32_t *b)
{
    minima_body(min, gram, n, a, b);
}
#endif

static void minima(uint32_t *min, const ngrams *g, const dedup *d)
{
    memset(min, 0xff, MINIMA * sizeof *min);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        minima_avx2(min, g->value, g->n, d->a, d->b);
        return;
    }
#endif
    minima_plain(min, g->value, g->n, d->a, d->b);
}

static void out_of_memory_in_thread(dedup *d)
{
    pthread_mutex_lock(&d->lock);
    d->rc = HONE_ENOMEM;
    pthread_mutex_unlock(&d->lock);
}

/* ---- texts ---------------------------------------------------------------------------------------------------------- */

size_t dedup_keys(const dedup *d)
{
    return d->options.near ? (size_t)d->bands : 0;
}

int dedup_make(const dedup *d, dedup_digest *digest, ngrams *scratch, hone_error *err)
{
    uint32_t min[MINIMA];
    int k;

    digest->hash = hone_hash64(0, digest->text, digest->len);
    if (!d->options.near)
        return 0;
    scratch->n = 0;
    if (ngrams_add(scratch, digest->text, digest->len, d->options.ngram, err))
        return HONE_ENOMEM;
    minima(min, scratch, d);
    for (k = 0; k < d->bands; k++) {
        uint64_t hash = hone_hash64((uint64_t)k, min + k * d->rows, (size_t)d->rows * sizeof *min);

        digest->key[k] = (uint32_t)(hash ^ hash >> 32);
    }
    return 0;
}

static int grow(dedup *d, hone_error *err)
{
    size_t capacity = d->capacity ? d->capacity + d->capacity / 2 : 1024, k;
    text_entry *entry = hone_realloc_array(d->entry, capacity, sizeof *entry);
    uint64_t *hash = NULL;

    if (entry) {
        d->entry = entry;
        hash = hone_realloc_array(d->hash, capacity, sizeof *hash);
    }
    if (!hash)
        return out_of_memory(err);
    d->hash = hash;
    for (k = 0; k < dedup_keys(d); k++) {
        uint32_t *key = hone_realloc_array(d->key[k], capacity, sizeof *key);

        if (!key)
            return out_of_memory(err);
        d->key[k] = key;
    }
    d->capacity = capacity;
    return 0;
}

int dedup_add(dedup *d, const dedup_digest *digest, hone_error *err)
{
    size_t k;
    int rc = 0;

    if (d->n == UINT32_MAX)
        return out_of_memory(err);
    if (d->n == d->capacity)
        rc = grow(d, err);
    if (rc)
        return rc;
    d->entry[d->n] = (text_entry){digest->text, digest->len, (uint32_t)d->n, digest->score, 1};
    d->hash[d->n] = digest->hash;
    for (k = 0; k < dedup_keys(d); k++)
        d->key[k][d->n] = digest->key[k];
    d->n++;
    return 0;
}

/* ---- pairs ------------------------------------------------------------------------------------------------------------ */

typedef struct keyed {
    uint32_t key, at; /* at: index of the text */
} keyed;

/* Sorts by key; equal keys stay in the order they are in. */
static void sort_keys(keyed *list, keyed *other, size_t n, uint32_t *count)
{
    int pass;
    size_t i;

    for (pass = 0; pass < 2; pass++) {
        uint32_t sum = 0;

        memset(count, 0, 65536 * sizeof *count);
        for (i = 0; i < n; i++)
            count[list[i].key >> (16 * pass) & 0xffff]++;
        for (i = 0; i < 65536; i++) {
            uint32_t c = count[i];

            count[i] = sum;
            sum += c;
        }
        for (i = 0; i < n; i++)
            other[count[list[i].key >> (16 * pass) & 0xffff]++] = list[i];
        memcpy(list, other, n * sizeof *list);
    }
}

static bool met_before(const dedup *d, uint32_t i, uint32_t j, size_t band)
{
    size_t k;

    for (k = 0; k < band; k++)
        if (d->key[k][i] == d->key[k][j])
            return true;
    return false;
}

static bool connected(dedup *d, uint32_t i, uint32_t j)
{
    bool yes;

    pthread_mutex_lock(&d->lock);
    yes = root_of(d, i) == root_of(d, j);
    pthread_mutex_unlock(&d->lock);
    return yes;
}

static int set_of(const dedup *d, ngrams *g, uint32_t index)
{
    g->n = 0;
    if (ngrams_add(g, d->entry[index].text, d->entry[index].len, d->options.ngram, NULL))
        return HONE_ENOMEM;
    ngrams_sort(g);
    return 0;
}

/* Verifies the pairs of texts list[0..n), whose keys in `band` are equal. */
static int verify_group(dedup *d, const keyed *list, size_t n, size_t band, ngrams *a, ngrams *b)
{
    size_t i, j;

    for (i = 1; i < n; i++) {
        bool made = false;

        for (j = i > WINDOW ? i - WINDOW : 0; j < i; j++) {
            uint32_t x = list[i].at, y = list[j].at;

            if (met_before(d, x, y, band) || connected(d, x, y))
                continue;
            if ((!made && set_of(d, a, x)) || set_of(d, b, y))
                return HONE_ENOMEM;
            made = true;
            if (ngrams_jaccard(a, b) >= d->options.threshold) {
                pthread_mutex_lock(&d->lock);
                join(d, x, y);
                pthread_mutex_unlock(&d->lock);
            }
        }
    }
    return 0;
}

static void search_band(void *ud, size_t band)
{
    dedup *d = ud;
    keyed *list = hone_alloc(d->n_only * sizeof *list), *other = hone_alloc(d->n_only * sizeof *other);
    uint32_t *count = hone_alloc(65536 * sizeof *count);
    ngrams a = {0}, b = {0};
    size_t i, from = 0;
    bool ok = list && other && count;

    for (i = 0; ok && i < d->n_only; i++)
        list[i] = (keyed){d->key[band][d->only[i]], d->only[i]};
    if (ok)
        sort_keys(list, other, d->n_only, count);
    for (i = 1; ok && i <= d->n_only; i++)
        if (i == d->n_only || list[i].key != list[from].key) {
            ok = i - from < 2 || verify_group(d, list + from, i - from, band, &a, &b) == 0;
            from = i;
        }
    if (!ok)
        out_of_memory_in_thread(d);
    hone_free(list);
    hone_free(other);
    hone_free(count);
    hone_free(a.value);
    hone_free(b.value);
}

#define BLOCK 256 /* texts of one item of work */

/* ---- the result ---------------------------------------------------------------------------------------------------------- */

static void measure(void *ud, size_t block)
{
    dedup *d = ud;
    size_t i, end = HONE_MIN((block + 1) * BLOCK, d->n);
    ngrams a = {0}, b = {0};

    for (i = block * BLOCK; i < end; i++) {
        uint32_t best = d->kept[d->entry[i].parent];

        if (best == i || same_text(&d->entry[best], &d->entry[i]))
            continue;
        if (set_of(d, &a, (uint32_t)i) || set_of(d, &b, best)) {
            out_of_memory_in_thread(d);
            break;
        }
        d->entry[i].similarity = (float)ngrams_jaccard(&a, &b);
    }
    hone_free(a.value);
    hone_free(b.value);
}

int dedup_run(dedup *d, hone_error *err)
{
    size_t i;
    int rc = d->n ? join_equal(d, err) : 0;

    if (rc || !d->n)
        return rc;
    d->kept = hone_alloc(d->n * sizeof *d->kept);
    if (!d->kept)
        return out_of_memory(err);
    if (d->options.near)
        data_parallel(d->options.threads, (size_t)d->bands, search_band, d);
    for (i = 0; i < dedup_keys(d); i++) {
        hone_free(d->key[i]);
        d->key[i] = NULL;
    }
    for (i = 0; i < d->n; i++) {
        uint32_t root = root_of(d, (uint32_t)i);

        d->entry[i].parent = root; /* flat from here on */
        if (root == i || d->entry[i].score > d->entry[d->kept[root]].score)
            d->kept[root] = (uint32_t)i;
    }
    if (!d->rc)
        data_parallel(d->options.threads, (d->n + BLOCK - 1) / BLOCK, measure, d);
    return d->rc ? out_of_memory(err) : 0;
}

size_t dedup_kept(const dedup *d, size_t i, double *similarity)
{
    *similarity = (double)d->entry[i].similarity;
    return d->kept[d->entry[i].parent];
}
