/* Attention without the N x M matrix, by the register tile of the blocked product (Dao et al. 2022, 2023).
 *
 * Forward: a task is (sequence, KV head, tile of queries); the rows of all query heads that share the KV head stand
 * under each other, so that a tile of keys is loaded and transposed once for all of them. Softmax is online.
 * Backward: a task is (sequence, query head); it walks tiles of keys, and inside tiles of queries, recomputing P from
 * the kept log-sum-exp. dk and dv of the heads that share a KV head are summed afterwards in head order.
 * Tiles start at the sequence's first token, so a packed batch has the bits of its documents alone. */
#include "device/cpu/product.h"

#include <math.h>

#define KEYS 128  /* keys of a tile */
#define SPLIT 512 /* keys of a part when there are few queries */

struct job {
    hone_device *dev;
    const hone_attention *a;
    int bq;     /* queries of a tile */
    int tiles;  /* query tiles of the longest sequence */
    int splits; /* parts of the keys; 1 unless there are few queries */
    int32_t longest;
    float *dk, *dv; /* [H][M][D] */
    float *part;    /* per (task without its split, split): rows x (D + 2) */
};

static int queries_of_tile(int group, int d)
{
    int rows = HONE_MAX(48, HONE_MIN(192, 16384 / d));

    return HONE_MAX(8, HONE_MIN(64, rows / group));
}

static int bwd_tile(int d)
{
    return d > 128 ? 32 : 64;
}

/* Floats of a tile of panels: KEYS rows rounded up to whole panels. */
static size_t panel_floats(int d)
{
    return (size_t)d * (KEYS + HONE_NR_MAX);
}

static size_t fwd_floats(int group, int d)
{
    size_t rows = (size_t)group * (size_t)queries_of_tile(group, d), wide = (size_t)d;

    return 2 * rows * wide + rows * (KEYS + 2) + panel_floats(d) + 2 * KEYS * wide;
}

static size_t bwd_floats(int d, int64_t n)
{
    size_t tile = (size_t)bwd_tile(d), wide = (size_t)d;

    return 2 * panel_floats(d) + 2 * tile * KEYS + 4 * KEYS * wide + 2 * tile * wide + (size_t)n * (wide + 1);
}

hone_need hone_fast_need_attention(int64_t n, int n_head, int head_size, int64_t kv_len)
{
    /* forward: any grouping; the fewest KV heads give the largest tile */
    size_t fwd = fwd_floats(n_head, head_size), bwd = bwd_floats(head_size, kv_len);
    size_t grads = 2 * (size_t)n * (size_t)(n_head * head_size);
    size_t few =
        (size_t)HONE_PRODUCT_FEW * (size_t)n_head * ((size_t)kv_len / SPLIT + 1) * (size_t)(head_size + 2);
    hone_need need = {hone_align(HONE_MAX(fwd, bwd) * sizeof(float)),
                      hone_align(HONE_MAX(grads, few) * sizeof(float))};

    return need;
}

static const float *f32_tile(const hone_kernels *k, const hone_mat *m, int64_t row, int64_t n, int64_t c,
                             int d, float *copy, int64_t *ld)
{
    int64_t i;

    *ld = d;
    for (i = 0; i < n; i++)
        if (m->dtype == HONE_F32)
            memcpy(copy + i * d, (const float *)hone_mat_row(m, row + i) + c, sizeof *copy * (size_t)d);
        else
            k->to_f32(copy + i * d, (const uint16_t *)hone_mat_row(m, row + i) + c, d);
    return copy;
}

/* out[rows, n] = a[rows, d] b[n, d]^T, by way of panels. */
static void product_transposed(const hone_kernels *k, float *out, const float *a, int64_t lda, int rows,
                               const float *panels, int n, int d)
{
    int q;

    for (q = 0; q < n; q += k->nr)
        k->gemm(out + q, KEYS, a, lda, 1, panels + (int64_t)q * d, k->nr, true, rows, HONE_MIN(k->nr, n - q),
                d, false);
}

static void make_panels(const hone_kernels *k, float *panels, const float *b, int64_t ldb, int n, int d)
{
    int q;

    for (q = 0; q < n; q += k->nr)
        k->transpose(panels + (int64_t)q * d, b + q * ldb, ldb, HONE_MIN(k->nr, n - q), d);
}

/* out[m, d] (+)= a[m, n] b[n, d]; element (i, p) of a at a[i * ra + p * ca]. */
static void product_straight(const hone_kernels *k, float *out, int64_t ldo, const float *a, int64_t ra,
                             int64_t ca, int m, const float *b, int64_t ldb, int n, int d, bool add)
{
    int c;

    for (c = 0; c < d; c += k->nr)
        k->gemm(out + c, ldo, a, ra, ca, b + c, ldb, false, m, HONE_MIN(k->nr, d - c), n, add);
}

/* Keys [*from, *to) of the tile [j0, j0 + n) that the query at position `pos` sees. */
static void visible(const hone_attention *a, int32_t pos, int32_t j0, int n, int *from, int *to)
{
    int64_t lo = a->window ? (int64_t)pos - a->window + 1 - j0 : 0, hi = (int64_t)pos + 1 - j0;

    *to = (int)HONE_MAX(0, HONE_MIN(n, hi));
    *from = (int)HONE_MAX(0, HONE_MIN(*to, lo));
}

static void clear(float *x, int from, int to)
{
    if (to > from)
        memset(x + from, 0, sizeof *x * (size_t)(to - from));
}

/* ---- forward ------------------------------------------------------------------------------------------------------ */

/* Rows of a tile (head by head, query by query), their keys [j0, j1): unnormalised o [rows, d], maxima and sums. */
static void fwd_tile(const struct job *job, int s, int kv, int32_t i0, int bq, int32_t j0, int32_t j1,
                     float *scratch, float **o_out, float **max_out)
{
    const hone_attention *a = job->a;
    const hone_kernels *k = job->dev->kernels;
    int d = a->head_size, group = a->n_head / a->n_kv, rows = group * bq, r, n, from, to, e;
    int32_t past = a->kv_len[s] - (a->q_off[s + 1] - a->q_off[s]), j;
    float *q = scratch, *o = q + (size_t)rows * d, *p = o + (size_t)rows * d, *max = p + (size_t)rows * KEYS,
          *sum = max + rows, *panels = sum + rows, *kt = panels + panel_floats(d),
          *vt = kt + (size_t)KEYS * d;
    bool first = true;

    for (r = 0; r < rows; r++) {
        int64_t row = a->q_off[s] + i0 + r % bq, c = (int64_t)(kv * group + r / bq) * d;
        const float *x = (const float *)hone_mat_row(&a->q, row) + c;

        if (a->q.dtype == HONE_F32)
            memcpy(q + (size_t)r * d, x, sizeof *q * (size_t)d);
        else
            k->to_f32(q + (size_t)r * d, (const uint16_t *)hone_mat_row(&a->q, row) + c, d);
        k->scale(q + (size_t)r * d, d, a->scale);
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    for (j = j0; j < j1; j += n) {
        int64_t ldk, ldv;
        const float *keys, *values;

        n = HONE_MIN(KEYS, j1 - j);
        keys = f32_tile(k, &a->k, a->kv_row[s] + j, n, (int64_t)kv * d, d, kt, &ldk);
        values = f32_tile(k, &a->v, a->kv_row[s] + j, n, (int64_t)kv * d, d, vt, &ldv);
        if (rows <= HONE_PRODUCT_FEW) { /* transposing would cost more than it saves */
            float few[HONE_PRODUCT_FEW];

            for (e = 0; e < n; e++) {
                k->dots(few, keys + e * ldk, q, d, rows, d);
                for (r = 0; r < rows; r++)
                    p[r * KEYS + e] = few[r];
            }
        } else {
            make_panels(k, panels, keys, ldk, n, d);
            product_transposed(k, p, q, d, rows, panels, n, d);
        }
        for (r = 0; r < rows; r++) {
            float *x = p + (size_t)r * KEYS, top, by;

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
        product_straight(k, o, d, p, KEYS, 1, rows, values, ldv, n, d, !first);
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
    if (a->o.dtype == HONE_F32)
        memcpy((float *)hone_mat_row(&a->o, row) + (int64_t)h * d, o, sizeof *o * (size_t)d);
    else
        k->to_bf16((uint16_t *)hone_mat_row(&a->o, row) + (int64_t)h * d, o, d);
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

/* ---- backward ----------------------------------------------------------------------------------------------------- */

/* x: q k, becomes its gradient; y: dP, becomes P. With a cap, S = c t, t = tanh(scale q k / c): dt brings 1 - t^2. */
static void score_grad(const hone_kernels *k, const hone_attention *a, float *x, float *y, int n, float lse,
                       float delta)
{
    float capped[KEYS];
    int e;

    if (a->softcap <= 0) {
        k->softmax_grad(x, y, n, a->scale, lse, delta);
        return;
    }
    k->softcap(x, n, a->scale, a->softcap);
    memcpy(capped, x, sizeof *x * (size_t)n);
    k->softmax_grad(x, y, n, 1, lse, delta);
    for (e = 0; e < n; e++) {
        float t = capped[e] / a->softcap;

        x[e] *= a->scale * (1 - t * t);
    }
}

static void bwd_task(void *ctx, int task, int thread)
{
    struct job *job = ctx;
    const hone_attention *a = job->a;
    const hone_kernels *k = job->dev->kernels;
    int s = task / a->n_head, h = task % a->n_head, kv = h / (a->n_head / a->n_kv), d = a->head_size,
        tile = bwd_tile(d);
    int32_t n = a->q_off[s + 1] - a->q_off[s], j, i, i0, i1, r;
    int64_t row0 = a->q_off[s], wide = (int64_t)h * d, narrow = (int64_t)kv * d;
    float *kp = hone_scratch(job->dev, thread), *vp = kp + panel_floats(d), *ps = vp + panel_floats(d),
          *dp = ps + (size_t)tile * KEYS, *kc = dp + (size_t)tile * KEYS, *vc = kc + (size_t)KEYS * d,
          *qc = vc + (size_t)KEYS * d, *oc = qc + (size_t)tile * d, *delta = oc + (size_t)tile * d,
          *dqc = delta + n;
    bool direct = a->dq.dtype == HONE_F32;
    float *dq = direct ? (float *)hone_mat_row(&a->dq, row0) + wide : dqc;
    int64_t ldq_grad = direct ? a->dq.ld : d, ldk, ldv, ldq, ldo, ld;
    int n_keys, nk, nq, from, to;

    for (i = 0; i < n; i++) {
        const float *x = f32_tile(k, &a->o, row0 + i, 1, wide, d, qc, &ld), *y;

        y = f32_tile(k, &a->do_, row0 + i, 1, wide, d, oc, &ld);
        delta[i] = k->dot(x, y, d);
    }
    for (j = 0; j < n; j += n_keys) {
        float *dk = job->dk + ((size_t)h * (size_t)a->k.rows + (size_t)(row0 + j)) * (size_t)d;
        float *dv = job->dv + ((size_t)h * (size_t)a->k.rows + (size_t)(row0 + j)) * (size_t)d;
        const float *keys, *values;

        n_keys = HONE_MIN(KEYS, n - j);
        clear(dk, 0, n_keys * d);
        clear(dv, 0, n_keys * d);
        keys = f32_tile(k, &a->k, row0 + j, n_keys, narrow, d, kc, &ldk);
        values = f32_tile(k, &a->v, row0 + j, n_keys, narrow, d, vc, &ldv);
        make_panels(k, kp, keys, ldk, n_keys, d);
        make_panels(k, vp, values, ldv, n_keys, d);
        i0 = j / tile * tile;
        i1 = a->window ? (int32_t)HONE_MIN((int64_t)n, (int64_t)j + n_keys - 1 + a->window) : n;
        for (i = i0; i < i1; i += nq) {
            const float *q, *go;
            int32_t first = a->window ? HONE_MAX(0, i - a->window + 1) / KEYS * KEYS : 0;

            nq = HONE_MIN(tile, n - i);
            nk = HONE_MIN(n_keys, i + nq - j); /* these queries see no key after them */
            q = f32_tile(k, &a->q, row0 + i, nq, wide, d, qc, &ldq);
            go = f32_tile(k, &a->do_, row0 + i, nq, wide, d, oc, &ldo);
            product_transposed(k, ps, q, ldq, nq, kp, nk, d);
            product_transposed(k, dp, go, ldo, nq, vp, nk, d);
            for (r = 0; r < nq; r++) {
                float *x = ps + (size_t)r * KEYS, *y = dp + (size_t)r * KEYS;

                visible(a, i + r, j, nk, &from, &to);
                clear(x, 0, from);
                clear(y, 0, from);
                clear(x, to, nk);
                clear(y, to, nk);
                score_grad(k, a, x + from, y + from, to - from, a->lse[(int64_t)h * a->q.rows + row0 + i + r],
                           delta[i + r]);
            }
            product_straight(k, dv, d, dp, 1, KEYS, nk, go, ldo, nq, d, true);
            product_straight(k, dk, d, ps, 1, KEYS, nk, q, ldq, nq, d, true);
            product_straight(k, dq + i * ldq_grad, ldq_grad, ps, KEYS, 1, nq, keys, ldk, nk, d, j != first);
        }
    }
    for (i = 0; i < n && !direct; i++)
        k->to_bf16((uint16_t *)hone_mat_row(&a->dq, row0 + i) + wide, dq + i * ldq_grad, d);
}

/* dk and dv of one sequence and KV head: sums over its query heads, in order. */
static void sum_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_attention *a = j->a;
    const hone_kernels *k = j->dev->kernels;
    int s = task / a->n_kv, kv = task % a->n_kv, group = a->n_head / a->n_kv, d = a->head_size, g, which;
    int32_t n = a->q_off[s + 1] - a->q_off[s], i;

    (void)thread;
    for (which = 0; which < 2; which++)
        for (i = 0; i < n; i++) {
            const hone_mat *out = which ? &a->dv : &a->dk;
            size_t step = (size_t)a->k.rows * (size_t)d;
            float *sum =
                (which ? j->dv : j->dk) + (size_t)(kv * group) * step + (size_t)(a->q_off[s] + i) * (size_t)d;

            for (g = 1; g < group; g++)
                k->axpy(sum, sum + step * (size_t)g, 1, d);
            if (out->dtype == HONE_F32)
                memcpy((float *)hone_mat_row(out, a->q_off[s] + i) + (int64_t)kv * d, sum,
                       sizeof *sum * (size_t)d);
            else
                k->to_bf16((uint16_t *)hone_mat_row(out, a->q_off[s] + i) + (int64_t)kv * d, sum, d);
        }
}

int hone_fast_attention_bwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    struct job j = {.dev = dev, .a = a};
    int32_t longest = 0;
    int rc, s;

    for (s = 0; s < a->n_seq; s++)
        longest = HONE_MAX(longest, a->kv_len[s]);
    rc = hone_cpu_require(dev, hone_fast_need_attention(a->k.rows, a->n_head, a->head_size, longest),
                          "attention_bwd", err);
    if (rc)
        return rc;
    j.dk = hone_shared(dev);
    j.dv = j.dk + (size_t)a->k.rows * (size_t)(a->n_head * a->head_size);
    hone_pool_run(dev->pool, a->n_seq * a->n_head, bwd_task, &j);
    hone_pool_run(dev->pool, a->n_seq * a->n_kv, sum_task, &j);
    return 0;
}
