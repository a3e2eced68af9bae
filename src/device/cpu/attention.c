/* Attention without the N x M matrix, by the register tile of the blocked product (Dao et al. 2022, 2023): forward.
 *
 * A task is (sequence, KV head, tile of queries); the rows of all query heads that share the KV head stand under each
 * other, so that a tile of keys is loaded and transposed once for all of them. Softmax is online. Tiles start at the
 * sequence's first token, so a packed batch has the bits of its documents alone. */
#include "device/cpu/attention.h"

#include <math.h>

#define SPLIT 512 /* keys of a part when there are few queries */

struct job {
    hone_device *dev;
    const hone_attention *a;
    int bq;      /* queries of a tile */
    int tiles;   /* query tiles of the longest sequence */
    int splits;  /* parts of the keys; 1 unless there are few queries */
    float *part; /* per (task without its split, split): rows x (D + 2) */
};

hone_need hone_fast_need_attention(int64_t n, int n_head, int head_size, int64_t kv_len)
{
    /* the fewest KV heads give the largest tile */
    size_t rows = (size_t)HONE_MAX(rows_of_tile(head_size), 8 * n_head), wide = (size_t)tile_ld(head_size);
    size_t thread = 2 * rows * wide + rows * (LD_SCORES + 2) + panel_floats(head_size) + KEYS * wide;
    size_t few =
        (size_t)HONE_PRODUCT_FEW * (size_t)n_head * ((size_t)kv_len / SPLIT + 1) * (size_t)(head_size + 2);
    hone_need need = {hone_align(thread * sizeof(float)), hone_align(few * sizeof(float))};

    return hone_need_max(need, hone_fast_need_attention_bwd(n, n_head, head_size));
}

/* Rows of a tile (head by head, query by query), their keys [j0, j1): unnormalised o [rows, d], maxima and sums. */
static void fwd_tile(const struct job *job, int s, int kv, int32_t i0, int bq, int32_t j0, int32_t j1,
                     float *scratch, float **o_out, float **max_out)
{
    const hone_attention *a = job->a;
    const hone_kernels *k = job->dev->kernels;
    int d = a->head_size, group = a->n_head / a->n_kv, rows = group * bq, r, n, from, to, e;
    int32_t past = a->kv_len[s] - (a->q_off[s + 1] - a->q_off[s]), j;
    int64_t wide = tile_ld(d);
    float *keys = scratch, *q = keys + KEYS * wide, *p = q + rows * wide, *o = p + (size_t)rows * LD_SCORES,
          *panels = o + (size_t)rows * d, *max = panels + panel_floats(d), *sum = max + rows;
    bool first = true;

    for (r = 0; r < group; r++)
        copy_tile(k, q + r * bq * wide, &a->q, a->q_off[s] + i0, bq, (int64_t)(kv * group + r) * d, d);
    for (r = 0; r < rows; r++) {
        k->scale(q + r * wide, d, a->scale);
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    for (j = j0; j < j1; j += n) {
        int ahead = past + i0 - j;

        n = HONE_MIN(KEYS, j1 - j);
        copy_tile(k, keys, &a->k, a->kv_row[s] + j, n, (int64_t)kv * d, d);
        if (rows <= HONE_PRODUCT_FEW) { /* transposing would cost more than it saves */
            float few[HONE_PRODUCT_FEW];

            for (e = 0; e < n; e++) {
                k->dots(few, keys + e * wide, q, wide, rows, d);
                for (r = 0; r < rows; r++)
                    p[r * LD_SCORES + e] = few[r];
            }
        } else {
            make_panels(k, panels, keys, n, d);
            product_scores(k, p, q, group, bq, ahead, panels, n, d);
        }
        for (r = 0; r < rows; r++) {
            float *x = p + r * LD_SCORES, top, by;

            visible(a, past + i0 + r % bq, j, n, &from, &to);
            clear(x, 0, from);
            clear(x, to, n);
            if (to == from)
                continue;
            if (a->softcap > 0)
                k->softcap(x + from, to - from, 1, a->softcap);
            top = k->max(x + from, to - from, NULL);
            if (top > max[r] || max[r] == -INFINITY) {
                by = max[r] == -INFINITY ? 0.0f : expf(max[r] - top);
                max[r] = top;
                sum[r] *= by;
                if (!first)
                    k->scale(o + (size_t)r * d, d, by);
            }
            sum[r] += k->exp_sum(x + from, to - from, 1, max[r]);
        }
        copy_tile(k, keys, &a->v, a->kv_row[s] + j, n, (int64_t)kv * d, d);
        for (r = 0; r < (ahead + 1 >= n ? 1 : group); r++)
            product_by_keys(k, o + (size_t)r * bq * d, d, p + r * bq * LD_SCORES, ahead + 1 >= n ? rows : bq,
                            ahead, keys, n, d, !first);
        first = false;
    }
    if (first)
        clear(o, 0, rows * d);
    *o_out = o;
    *max_out = max;
}

static void put_row(const struct job *job, int s, int kv, int32_t i, int head, float *o, float max, float sum)
{
    const hone_attention *a = job->a;
    const hone_kernels *k = job->dev->kernels;
    int h = kv * (a->n_head / a->n_kv) + head, d = a->head_size;
    int64_t row = a->q_off[s] + i;

    k->scale(o, d, 1.0f / sum);
    store_row(k, &a->o, row, (int64_t)h * d, o, d);
    if (a->lse)
        a->lse[(int64_t)h * a->q.rows + row] = max + logf(sum);
}

static void fwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_attention *a = j->a;
    /* the last tiles see the most keys: they come first */
    int tile = j->tiles - 1 - task / (a->n_seq * a->n_kv), s = task / a->n_kv % a->n_seq, kv = task % a->n_kv;
    int32_t n = a->q_off[s + 1] - a->q_off[s], past = a->kv_len[s] - n, i0 = tile * j->bq, j0 = 0;
    int bq = HONE_MIN(j->bq, n - i0), r, rows = bq * (a->n_head / a->n_kv);
    float *o, *max;

    if (bq <= 0)
        return;
    if (a->window)
        j0 = HONE_MAX(0, past + i0 - a->window + 1) / KEYS * KEYS;
    fwd_tile(j, s, kv, i0, bq, j0, past + i0 + bq, hone_scratch(j->dev, thread), &o, &max);
    for (r = 0; r < rows; r++)
        put_row(j, s, kv, i0 + r % bq, r / bq, o + (size_t)r * a->head_size, max[r], max[rows + r]);
}

/* Few queries and many keys: parts of the keys are tasks, merged in order afterwards. */
static void split_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_attention *a = j->a;
    int split = task % j->splits, s = task / j->splits / a->n_kv, kv = task / j->splits % a->n_kv;
    int32_t n = a->q_off[s + 1] - a->q_off[s], j0 = split * SPLIT, j1 = HONE_MIN(j0 + SPLIT, a->kv_len[s]);
    int rows = n * (a->n_head / a->n_kv), d = a->head_size;
    float *o, *max, *to;

    if (n == 0 || j1 <= j0)
        return;
    fwd_tile(j, s, kv, 0, n, j0, j1, hone_scratch(j->dev, thread), &o, &max);
    to = j->part +
         ((size_t)a->q_off[s] * (size_t)a->n_head + (size_t)(kv * rows)) * (size_t)(j->splits * (d + 2)) +
         (size_t)split * (size_t)(rows * (d + 2));
    memcpy(to, o, sizeof *to * (size_t)(rows * d));
    memcpy(to + (size_t)rows * d, max, sizeof *to * (size_t)(2 * rows));
}

static void merge_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_attention *a = j->a;
    const hone_kernels *k = j->dev->kernels;
    int s = task / a->n_kv, kv = task % a->n_kv, d = a->head_size, r, i;
    int32_t n = a->q_off[s + 1] - a->q_off[s];
    int rows = n * (a->n_head / a->n_kv), used = (a->kv_len[s] + SPLIT - 1) / SPLIT;
    size_t step = (size_t)(rows * (d + 2));
    float *part = j->part + ((size_t)a->q_off[s] * (size_t)a->n_head + (size_t)(kv * rows)) *
                                (size_t)(j->splits * (d + 2));
    float *o = hone_scratch(j->dev, thread);

    for (r = 0; r < rows; r++) {
        float top = -INFINITY, sum = 0;

        for (i = 0; i < used; i++)
            top = fmaxf(top, part[step * (size_t)i + (size_t)(rows * d + r)]);
        clear(o, 0, d);
        for (i = 0; i < used; i++) {
            const float *p = part + step * (size_t)i;
            float max = p[rows * d + r], by = max == -INFINITY ? 0.0f : expf(max - top);

            sum += by * p[rows * d + rows + r];
            if (max != -INFINITY)
                k->axpy(o, p + (size_t)r * d, by, d);
        }
        put_row(j, s, kv, r % n, r / n, o, top, sum);
    }
}

int hone_fast_attention_fwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    struct job j = {.dev = dev, .a = a, .splits = 1};
    int group = a->n_head / a->n_kv, rc, s;
    int32_t most = 0, longest = 0;

    for (s = 0; s < a->n_seq; s++) {
        most = HONE_MAX(most, a->q_off[s + 1] - a->q_off[s]);
        longest = HONE_MAX(longest, a->kv_len[s]);
    }
    rc = hone_cpu_require(dev, hone_fast_need_attention(a->q.rows, a->n_head, a->head_size, longest),
                          "attention_fwd", err);
    if (rc)
        return rc;
    j.bq = queries_of_tile(group, a->head_size);
    j.tiles = (most + j.bq - 1) / j.bq;
    if (j.tiles <= 1 && a->q.rows <= HONE_PRODUCT_FEW && longest > SPLIT) {
        j.splits = (longest + SPLIT - 1) / SPLIT;
        j.part = hone_shared(dev);
        hone_pool_run(dev->pool, a->n_seq * a->n_kv * j.splits, split_task, &j);
        hone_pool_run(dev->pool, a->n_seq * a->n_kv, merge_task, &j);
        return 0;
    }
    hone_pool_run(dev->pool, j.tiles * a->n_seq * a->n_kv, fwd_task, &j);
    return 0;
}
