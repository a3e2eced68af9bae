/* Packed micro-batches: see batch.h. */
#include "train/batch.h"

#include <string.h>

_Static_assert(HONE_IGNORE == HONE_NO_TARGET, "the data and device layers name the same mark");

int hone_packer_init(hone_packer *p, int32_t max_tokens, int32_t max_seq, hone_error *err)
{
    p->max_tokens = max_tokens;
    p->max_seq = max_seq;
    p->max_targets = max_tokens;
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
