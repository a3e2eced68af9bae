/* Packed micro-batches and the order of sequences: see batch.h. */
#include "train/batch.h"

#include <string.h>

_Static_assert(HONE_IGNORE == HONE_NO_TARGET, "the data and device layers name the same mark");

int hone_packer_init(hone_packer *p, int32_t max_tokens, int32_t max_seq, hone_error *err)
{
    p->max_tokens = max_tokens;
    p->max_seq = max_seq;
    p->ids = hone_calloc((size_t)max_tokens, sizeof *p->ids);
    p->target = hone_calloc((size_t)max_tokens, sizeof *p->target);
    p->weight = hone_calloc((size_t)max_tokens, sizeof *p->weight);
    p->off = hone_calloc((size_t)max_seq + 1, sizeof *p->off);
    if (p->ids && p->target && p->weight && p->off)
        return 0;
    hone_packer_clear(p);
    return hone_error_set(err, HONE_ENOMEM, "out of memory for a micro-batch of %d tokens", max_tokens);
}

void hone_packer_clear(hone_packer *p)
{
    hone_free(p->ids);
    hone_free(p->target);
    hone_free(p->weight);
    hone_free(p->off);
    p->ids = p->target = p->off = NULL;
    p->weight = NULL;
}

size_t hone_packer_size(int32_t max_tokens, int32_t max_seq)
{
    return ((size_t)max_tokens * 3 + (size_t)max_seq + 1) * sizeof(int32_t);
}

void hone_packer_fill(hone_packer *p, hone_batch *b, const hone_dataset *data, const uint32_t *which,
                      size_t n)
{
    bool weighted = false;
    size_t i;

    for (i = 0; i < n && !weighted; i++)
        weighted = hone_dataset_get(data, which[i]).n_runs > 0;
    hone_dataset_pack(data, which, n, p->ids, p->target, weighted ? p->weight : NULL, p->off);
    *b = (hone_batch){.n_tokens = p->off[n],
                      .ids = p->ids,
                      .target = p->target,
                      .n_seq = (int32_t)n,
                      .off = p->off,
                      .weight = weighted ? p->weight : NULL};
}

int64_t hone_count_targets(const hone_dataset *data, const uint32_t *which, size_t n)
{
    int64_t targets = 0;
    size_t i;

    for (i = 0; i < n; i++)
        targets += (int64_t)hone_dataset_get(data, which[i]).n_targets;
    return targets;
}

int hone_feed_init(hone_feed *f, const hone_dataset *data, const uint32_t *which, size_t n,
                   int64_t batch_rows, int64_t accumulation, bool shuffle, uint64_t seed, hone_error *err)
{
    *f = (hone_feed){data, which, (int64_t)n, batch_rows, accumulation, shuffle, seed, -1, NULL};
    f->order = hone_calloc(n, sizeof *f->order);
    if (!f->order)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the order of %zu rows", n);
    return 0;
}

void hone_feed_clear(hone_feed *f)
{
    hone_free(f->order);
    f->order = NULL;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

int64_t hone_feed_steps_per_epoch(const hone_feed *f)
{
    return divide_up(divide_up(f->n, f->batch_rows), f->accumulation);
}

const uint32_t *hone_feed_micro(hone_feed *f, int64_t step, int64_t micro, size_t *n)
{
    int64_t per_epoch = hone_feed_steps_per_epoch(f), epoch = step / per_epoch;
    int64_t first = ((step % per_epoch) * f->accumulation + micro) * f->batch_rows;

    *n = 0;
    if (micro >= f->accumulation || first >= f->n)
        return NULL;
    if (epoch != f->epoch) {
        memcpy(f->order, f->which, (size_t)f->n * sizeof *f->order);
        if (f->shuffle)
            hone_dataset_shuffle(f->order, (size_t)f->n, f->seed, (uint64_t)epoch);
        f->epoch = epoch;
    }
    *n = (size_t)HONE_MIN(f->batch_rows, f->n - first);
    return f->order + first;
}

double hone_feed_epoch(const hone_feed *f, int64_t steps)
{
    int64_t per_epoch = hone_feed_steps_per_epoch(f), batches = divide_up(f->n, f->batch_rows);
    int64_t done = HONE_MIN((steps % per_epoch) * f->accumulation, batches);

    return (double)(steps / per_epoch) + (double)done / (double)batches;
}

int64_t hone_feed_largest(hone_feed *f, int64_t steps)
{
    int64_t step, micro, largest = 0;
    const uint32_t *which;
    size_t n;

    for (step = 0; step < steps; step++)
        for (micro = 0; (which = hone_feed_micro(f, step, micro, &n)) != NULL; micro++)
            largest = HONE_MAX(largest, (int64_t)hone_dataset_tokens(f->data, which, n));
    return largest;
}
