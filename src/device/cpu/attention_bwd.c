/* Attention backward: P is recomputed from the kept log-sum-exp, tile by tile, and no matrix of scores is stored.
 *
 * A task is (tile of keys, sequence, KV head): it alone makes the rows of dk and dv of its keys, walking the tiles of
 * queries that see them. A tile of dq is a sum over the tiles of keys, which are different tasks: they add to it one after
 * the other in the order of the keys. `turn` names whose turn it is; tasks are dealt in the order of the keys, so what one
 * waits for has begun before it, and each goes from the last queries down, a step behind the one before. Sums are therefore
 * the same for every number of threads, and the only memory that grows with the length is dq in f32. Tiles start at the
 * sequence's first token: a packed batch has the bits of its documents alone. */
#include "device/cpu/attention.h"

#include <math.h>
#include <stdatomic.h>

#define ROWS_OF_DELTA 64 /* query rows of a task that prepares */

struct job {
    hone_device *dev;
    const hone_attention *a;
    int bq;           /* queries of a tile */
    hone_mat dq;      /* f32 [N, H D]: the gradient itself where it is f32 */
    float *delta;     /* [H, N] o . do */
    atomic_int *turn; /* [K, N] at the first row of a tile of queries: the tile of keys that may add to dq */
};

hone_need hone_fast_need_attention_bwd(int64_t n, int n_head, int head_size)
{
    /* the fewest KV heads give the largest tile */
    size_t rows = (size_t)HONE_MAX(rows_of_tile(head_size), 8 * n_head), wide = (size_t)tile_ld(head_size);
    size_t thread = rows * (2 * LD_SCORES + 2 * wide) + 2 * panel_floats(head_size) + 3 * KEYS * wide;
    size_t shared = (size_t)n * (size_t)n_head * (size_t)(head_size + 2);
    hone_need need = {hone_align(thread * sizeof(float)), hone_align(shared * sizeof(float))};

    return need;
}

/* First tile of keys that the query at i sees. */
static int first_tile(const hone_attention *a, int32_t i)
{
    return a->window ? HONE_MAX(0, i - a->window + 1) / KEYS : 0;
}

static void delta_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_attention *a = j->a;
    const hone_kernels *k = j->dev->kernels;
    int64_t row = (int64_t)task * ROWS_OF_DELTA, end = HONE_MIN(row + ROWS_OF_DELTA, a->q.rows);
    int h, d = a->head_size;
    float *x = hone_scratch(j->dev, thread), *y = x + tile_ld(d);

    for (; row < end; row++)
        for (h = 0; h < a->n_head; h++) {
            copy_tile(k, x, &a->o, row, 1, (int64_t)h * d, d);
            copy_tile(k, y, &a->do_, row, 1, (int64_t)h * d, d);
            j->delta[(int64_t)h * a->q.rows + row] = k->dot(x, y, d);
        }
}

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

/* What a task works on, in its thread's scratch. */
struct tile {
    int s, kv, block;
    int32_t j;             /* first key */
    int n_keys;            /* keys of the block */
    float *keys, *kp, *vp; /* [KEYS, ld], panels of K and V */
    float *dk, *dv;        /* [KEYS, ld] */
    float *q, *go;         /* [rows, ld] queries and their output's gradient */
    float *ds, *p;         /* [rows, LD_SCORES] q k, then its gradient; dP, then P */
};

static struct tile tile_in(float *scratch, int rows, int d)
{
    size_t wide = (size_t)tile_ld(d);
    struct tile t = {.keys = scratch};

    t.dk = t.keys + KEYS * wide;
    t.dv = t.dk + KEYS * wide;
    t.q = t.dv + KEYS * wide;
    t.go = t.q + (size_t)rows * wide;
    t.ds = t.go + (size_t)rows * wide;
    t.p = t.ds + (size_t)rows * LD_SCORES;
    t.kp = t.p + (size_t)rows * LD_SCORES;
    t.vp = t.kp + panel_floats(d);
    return t;
}

/* ds and p of nq queries from i on against the first nk keys of the block. */
static void make_scores(const struct job *job, const struct tile *t, int32_t i, int nq, int nk)
{
    const hone_attention *a = job->a;
    const hone_kernels *k = job->dev->kernels;
    int d = a->head_size, group = a->n_head / a->n_kv, g, r, from, to;
    int64_t row = a->q_off[t->s] + i, at;

    for (g = 0; g < group; g++) {
        int64_t c = (int64_t)(t->kv * group + g) * d, skip = g * nq * tile_ld(d);

        copy_tile(k, t->q + skip, &a->q, row, nq, c, d);
        copy_tile(k, t->go + skip, &a->do_, row, nq, c, d);
    }
    product_scores(k, t->ds, t->q, group, nq, i - t->j, t->kp, nk, d);
    product_scores(k, t->p, t->go, group, nq, i - t->j, t->vp, nk, d);
    for (r = 0; r < group * nq; r++) {
        float *x = t->ds + r * LD_SCORES, *y = t->p + r * LD_SCORES;

        visible(a, i + r % nq, t->j, nk, &from, &to);
        clear(x, 0, from);
        clear(y, 0, from);
        clear(x, to, nk);
        clear(y, to, nk);
        at = (int64_t)(t->kv * group + r / nq) * a->q.rows + row + r % nq;
        score_grad(k, a, x + from, y + from, to - from, a->lse[at], job->delta[at]);
    }
}

/* dq of these queries += ds K, when it is this block's turn; after the last block it is stored. */
static void add_dq(const struct job *job, const struct tile *t, int32_t i, int nq, int nk)
{
    const hone_attention *a = job->a;
    const hone_kernels *k = job->dev->kernels;
    int d = a->head_size, group = a->n_head / a->n_kv, g, r;
    int64_t row = a->q_off[t->s] + i;
    atomic_int *turn = &job->turn[t->kv * a->q.rows + row];

    hone_pool_await(turn, t->block);
    for (g = 0; g < group; g++) {
        int64_t c = (int64_t)(t->kv * group + g) * d;

        product_by_keys(k, (float *)hone_mat_row(&job->dq, row) + c, job->dq.ld, t->ds + g * nq * LD_SCORES,
                        nq, i - t->j, t->keys, nk, d, t->block != first_tile(a, i));
        if (a->dq.dtype != HONE_F32 && t->block == (i + nq - 1) / KEYS)
            for (r = 0; r < nq; r++)
                store_row(k, &a->dq, row + r, c, (float *)hone_mat_row(&job->dq, row + r) + c, d);
    }
    atomic_store_explicit(turn, t->block + 1, memory_order_release);
}

static void keys_task(void *ctx, int task, int thread)
{
    struct job *job = ctx;
    const hone_attention *a = job->a;
    const hone_kernels *k = job->dev->kernels;
    int d = a->head_size, group = a->n_head / a->n_kv, nq, nk, r;
    struct tile t = tile_in(hone_scratch(job->dev, thread), group * job->bq, d);
    int32_t n, i, end;
    int64_t row;

    t.block = task / (a->n_seq * a->n_kv);
    t.s = task / a->n_kv % a->n_seq;
    t.kv = task % a->n_kv;
    t.j = t.block * KEYS;
    n = a->q_off[t.s + 1] - a->q_off[t.s];
    if (t.j >= n)
        return;
    row = a->q_off[t.s] + t.j;
    t.n_keys = HONE_MIN(KEYS, n - t.j);
    copy_tile(k, t.keys, &a->v, row, t.n_keys, (int64_t)t.kv * d, d);
    make_panels(k, t.vp, t.keys, t.n_keys, d);
    copy_tile(k, t.keys, &a->k, row, t.n_keys, (int64_t)t.kv * d, d);
    make_panels(k, t.kp, t.keys, t.n_keys, d);
    clear(t.dk, 0, t.n_keys * tile_ld(d));
    clear(t.dv, 0, t.n_keys * tile_ld(d));
    end = a->window ? (int32_t)HONE_MIN((int64_t)n, (int64_t)t.j + t.n_keys - 1 + a->window) : n;
    for (i = (end - 1) / job->bq * job->bq; i + job->bq > t.j; i -= job->bq) {
        nq = HONE_MIN(job->bq, n - i);
        nk = HONE_MIN(t.n_keys, i + nq - t.j); /* these queries see no key after them */
        make_scores(job, &t, i, nq, nk);
        product_by_queries(k, t.dv, t.p, group, nq, i - t.j, t.go, nk, d);
        product_by_queries(k, t.dk, t.ds, group, nq, i - t.j, t.q, nk, d);
        add_dq(job, &t, i, nq, nk);
    }
    for (r = 0; r < t.n_keys; r++) {
        store_row(k, &a->dk, row + r, (int64_t)t.kv * d, t.dk + r * tile_ld(d), d);
        store_row(k, &a->dv, row + r, (int64_t)t.kv * d, t.dv + r * tile_ld(d), d);
    }
}

int hone_fast_attention_bwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    int64_t values = a->q.rows * a->q.cols;
    struct job j = {.dev = dev, .a = a};
    int32_t longest = 0, i;
    float *shared = hone_shared(dev);
    int rc, s, kv;

    rc = hone_cpu_require(dev, hone_fast_need_attention_bwd(a->q.rows, a->n_head, a->head_size),
                          "attention_bwd", err);
    if (rc)
        return rc;
    j.bq = queries_of_tile(a->n_head / a->n_kv, a->head_size);
    j.dq = a->dq.dtype == HONE_F32 ? a->dq : hone_mat_make(shared, HONE_F32, a->q.rows, a->q.cols);
    j.delta = shared + values;
    j.turn = (atomic_int *)(void *)(j.delta + a->n_head * a->q.rows);
    for (s = 0; s < a->n_seq; s++) {
        int32_t n = a->q_off[s + 1] - a->q_off[s];

        longest = HONE_MAX(longest, n);
        for (kv = 0; kv < a->n_kv; kv++)
            for (i = 0; i < n; i += j.bq)
                atomic_init(&j.turn[kv * a->q.rows + a->q_off[s] + i], first_tile(a, i));
    }
    hone_pool_run(dev->pool, (int)((a->q.rows + ROWS_OF_DELTA - 1) / ROWS_OF_DELTA), delta_task, &j);
    hone_pool_run(dev->pool, (longest + KEYS - 1) / KEYS * a->n_seq * a->n_kv, keys_task, &j);
    return 0;
}
