/* Which sequences, in which order, laid out how: everything a trainer asks of a dataset.
 *
 * Random choices are Fisher-Yates shuffles on Philox streams of (seed, purpose, epoch), so that they are the same on
 * every machine and an epoch's order can be made anew when a run resumes. */
#include <math.h>
#include <string.h>

#include "data/dataset.h"

/* High words of the Philox stream number; other layers use other ones for other purposes. */
#define STREAM_ORDER ((uint64_t)0x6f726465 << 32) /* "orde" */
#define STREAM_DRAW ((uint64_t)0x64726177 << 32)  /* "draw" */

void data_shuffle(uint32_t *item, size_t n, uint64_t seed, uint64_t stream)
{
    hone_rng rng = hone_rng_make(seed, stream);

    for (; n > 1; n--) {
        size_t i = hone_rng_below(&rng, (uint32_t)n);
        uint32_t t = item[i];

        item[i] = item[n - 1];
        item[n - 1] = t;
    }
}

void hone_dataset_shuffle(uint32_t *which, size_t n, uint64_t seed, uint64_t epoch)
{
    data_shuffle(which, n, seed, STREAM_ORDER | (epoch & UINT32_MAX));
}

int hone_dataset_draw(uint32_t *out, size_t n, uint32_t first, size_t m, uint64_t seed, uint64_t epoch,
                      hone_error *err)
{
    uint32_t *item = hone_alloc(m * sizeof *item);
    uint64_t at = epoch * n, round = at / m;
    size_t within = (size_t)(at % m), i;

    if (!item)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the order of %zu rows", m);
    for (; n > 0; round++, within = 0) {
        const size_t take = HONE_MIN(n, m - within);

        for (i = 0; i < m; i++)
            item[i] = first + (uint32_t)i;
        data_shuffle(item, m, seed, STREAM_DRAW | (round & UINT32_MAX));
        memcpy(out, item + within, take * sizeof *out);
        out += take;
        n -= take;
    }
    hone_free(item);
    return 0;
}

static uint64_t row_of(const hone_dataset *d, size_t i)
{
    return hone_dataset_get(d, i).row;
}

int hone_dataset_split(const hone_dataset *d, double val_size, uint64_t seed, uint32_t **train,
                       size_t *n_train, uint32_t **val, size_t *n_val, hone_error *err)
{
    uint32_t *pick = NULL, *list[2] = {NULL, NULL};
    size_t n[2] = {0, 0}, rows = 0, wanted, i;
    uint8_t *held = NULL; /* [rows] 1 = validation */
    int rc = 0;

    *train = *val = NULL;
    *n_train = *n_val = 0;
    for (i = 0; i < d->n; i++)
        rows += !i || row_of(d, i) != row_of(d, i - 1);
    if (!(val_size >= 0) || val_size >= (double)rows)
        return hone_error_set(err, HONE_EINVAL, "data.val_size %g leaves nothing of %zu rows to train on",
                              val_size, rows);
    /* Rounded up, but 0.07 of 100 rows are 7, whatever the last bit of the product says. */
    wanted = (size_t)(val_size >= 1 ? val_size : ceil(val_size * (double)rows - 1e-9));
    if (wanted >= rows)
        return hone_error_set(err, HONE_EINVAL, "data.val_size %g leaves nothing of %zu rows to train on",
                              val_size, rows);
    pick = hone_alloc(rows * sizeof *pick);
    held = hone_calloc(rows, 1);
    list[0] = hone_alloc(d->n * sizeof *list[0]);
    list[1] = hone_alloc(d->n * sizeof *list[1]);
    if (!pick || !held || !list[0] || !list[1]) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for the validation split");
        goto out;
    }
    for (i = 0; i < rows; i++)
        pick[i] = (uint32_t)i;
    data_shuffle(pick, rows, seed, STREAM_SPLIT);
    for (i = 0; i < wanted; i++)
        held[pick[i]] = 1;
    for (i = 0, rows = 0; i < d->n; i++) {
        int part;

        rows += i && row_of(d, i) != row_of(d, i - 1);
        part = held[rows];
        list[part][n[part]++] = (uint32_t)i;
    }
    *train = list[0];
    *n_train = n[0];
    *val = list[1];
    *n_val = n[1];
    list[0] = list[1] = NULL;
out:
    hone_free(pick);
    hone_free(held);
    hone_free(list[0]);
    hone_free(list[1]);
    return rc;
}

size_t hone_dataset_tokens(const hone_dataset *d, const uint32_t *which, size_t n)
{
    size_t i, tokens = 0;

    for (i = 0; i < n; i++)
        tokens += hone_dataset_get(d, which[i]).n;
    return tokens;
}

/* The number of targets among tokens [a, b) of a sequence. */
static size_t targets_between(const hone_sequence *s, size_t a, size_t b)
{
    size_t targets = 0;

    for (a = HONE_MAX(a, (size_t)1); a < b && a % 64; a++)
        targets += s->mask[a / 64] >> (a % 64) & 1;
    for (; a + 64 <= b; a += 64)
        targets += (size_t)__builtin_popcountll(s->mask[a / 64]);
    for (; a < b; a++)
        targets += s->mask[a / 64] >> (a % 64) & 1;
    return targets;
}

static size_t run_end(const hone_sequence *s, size_t run)
{
    return run + 1 < s->n_runs ? s->run[run + 1].at : s->n;
}

double hone_dataset_weight(const hone_dataset *d, const uint32_t *which, size_t n)
{
    double weight = 0;
    size_t i, k;

    for (i = 0; i < n; i++) {
        hone_sequence s = hone_dataset_get(d, which[i]);

        weight += (double)(s.n_runs ? targets_between(&s, 0, s.run[0].at) : s.n_targets);
        for (k = 0; k < s.n_runs; k++)
            weight += (double)s.run[k].weight * (double)targets_between(&s, s.run[k].at, run_end(&s, k));
    }
    return weight;
}

/* weight[t], which is 1 where token t + 1 is a target, becomes the weight of that target. */
static void apply_runs(float *weight, const hone_sequence *s)
{
    size_t k, t;

    for (k = 0; k < s->n_runs; k++)
        for (t = HONE_MAX(s->run[k].at, 1u); t < run_end(s, k); t++)
            weight[t - 1] *= s->run[k].weight;
}

size_t hone_dataset_pack(const hone_dataset *d, const uint32_t *which, size_t n, int32_t *id, int32_t *target,
                         float *weight, int32_t *start)
{
    size_t i, t, at = 0, targets = 0;

    for (i = 0; i < n; i++) {
        hone_sequence s = hone_dataset_get(d, which[i]);

        start[i] = (int32_t)at;
        memcpy(id + at, s.id, s.n * sizeof *id);
        for (t = 0; t < s.n; t++) {
            bool trained = t + 1 < s.n && s.mask[(t + 1) / 64] >> ((t + 1) % 64) & 1;

            target[at + t] = trained ? s.id[t + 1] : HONE_NO_TARGET;
            if (weight)
                weight[at + t] = trained;
        }
        if (weight)
            apply_runs(weight + at, &s);
        at += s.n;
        targets += s.n_targets;
    }
    start[n] = (int32_t)at;
    return targets;
}

uint64_t hone_dataset_hash(const hone_dataset *d)
{
    uint64_t h = 0;
    size_t i;

    for (i = 0; i < d->n; i++) {
        hone_sequence s = hone_dataset_get(d, i);
        uint64_t n = s.n;

        h = hone_hash64(h, &n, sizeof n);
        h = hone_hash64(h, s.id, s.n * sizeof *s.id);
        h = hone_hash64(h, s.mask, (s.n + 63) / 64 * sizeof *s.mask);
        if (s.n_runs)
            h = hone_hash64(h, s.run, s.n_runs * sizeof *s.run);
    }
    return h;
}
