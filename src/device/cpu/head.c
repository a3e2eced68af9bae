/* Output head and cross-entropy, by the blocked product, a chunk of rows at a time: logits (tasks over the vocabulary),
 * softmax (tasks over rows), gradient (tasks over the vocabulary again, each with a partial sum of dh), sum of the parts
 * in order. So the weight is expanded once per chunk and direction, and all threads work on one chunk. Rows of a patch are
 * put right between: their logits are taken anew, and what the weight's own rows gave to dh is replaced. */
#include "device/cpu/product.h"

#include <math.h>

#define PARTS 16       /* partial sums of dh at most */
#define PART_MIN 1024  /* vocabulary of a part at least */
#define VOCAB 512      /* vocabulary of a logits task */
#define SOFTMAX_ROWS 4 /* rows of a softmax task */

/* Rows of a chunk: fewer for a large vocabulary, so that the logits stay below about 80 MB. */
static int64_t chunk_rows(int64_t n, int64_t vocab)
{
    return HONE_MIN(n, vocab > 65536 ? 128 : HONE_PRODUCT_ROWS);
}

static int64_t part_len(int64_t vocab)
{
    int64_t len = HONE_MAX((vocab + PARTS - 1) / PARTS, PART_MIN);

    return (len + 63) / 64 * 64;
}

static int n_parts(int64_t vocab)
{
    return (int)((vocab + part_len(vocab) - 1) / part_len(vocab));
}

hone_need hone_fast_need_head(int64_t n, int64_t vocab, int64_t width)
{
    int64_t rows = chunk_rows(n, vocab);
    /* a thread keeps a row of capped logits beside their softmax */
    hone_need need = {
        hone_align(HONE_MAX(hone_product_scratch_size(), sizeof(float) * (size_t)HONE_MAX(vocab, width))),
        hone_align(sizeof(float) * (size_t)(rows * vocab)) +
            hone_align(sizeof(float) * (size_t)(rows * width)) * (size_t)n_parts(vocab)};

    return need;
}

struct job {
    hone_device *dev;
    const hone_head *a;
    float *logits, *part;
    int64_t r0, rows; /* the chunk */
    hone_product forward;
};

static hone_product product_of(const hone_device *dev, hone_dtype activation)
{
    hone_product p = {.k = dev->kernels, .round = activation == HONE_BF16, .n_terms = 1};

    p.pairs = p.round && p.k->gemm_bf16;
    return p;
}

static void logits_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    hone_product_scratch s = hone_product_scratch_at(hone_scratch(j->dev, thread));
    hone_mat z = hone_mat_make(j->logits, HONE_F32, j->rows, j->a->w->rows);
    int64_t v0 = (int64_t)task * VOCAB, v1 = HONE_MIN(v0 + VOCAB, z.cols);

    hone_product_store(&j->forward, &s, &z, 0, j->rows, v0, v1, NULL, false);
}

/* Row r of h in f32; `room` holds one. */
static const float *values_of(const hone_kernels *k, const hone_mat *h, int64_t r, float *room)
{
    if (h->dtype == HONE_F32)
        return hone_mat_row(h, r);
    k->to_f32(room, hone_mat_row(h, r), h->cols);
    return room;
}

/* logits[ids of the patch] of row r. */
static void patch_logits(const hone_kernels *k, float *logits, const hone_mat *h, int64_t r,
                         const hone_row_patch *p, float *room)
{
    const float *x = values_of(k, h, r, room);
    int32_t i;

    for (i = 0; i < p->n; i++)
        logits[p->id[i]] = k->dot(x, p->row + i * h->cols, h->cols);
}

static void patch_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t r;

    for (r = (int64_t)task * SOFTMAX_ROWS; r < HONE_MIN((int64_t)(task + 1) * SOFTMAX_ROWS, j->rows); r++)
        patch_logits(j->dev->kernels, j->logits + r * j->a->w->rows, &j->a->h, j->r0 + r, j->a->w->patch,
                     hone_scratch(j->dev, thread));
}

static void softmax_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_kernels *k = j->dev->kernels;
    int64_t vocab = j->a->w->rows, r, v;
    float *capped = hone_scratch(j->dev, thread), cap = j->a->softcap;

    for (r = (int64_t)task * SOFTMAX_ROWS; r < HONE_MIN((int64_t)(task + 1) * SOFTMAX_ROWS, j->rows); r++) {
        const hone_objective *o = &j->a->objective;
        float *z = j->logits + r * vocab, max, sum, hit, scale = j->a->grad_scale, lse, f;
        double mean = 0;
        int32_t target = j->a->target[j->r0 + r], *best = j->a->best ? j->a->best + j->r0 + r : NULL;

        if (cap > 0) {
            k->softcap(z, vocab, 1, cap);
            memcpy(capped, z, sizeof *z * (size_t)vocab);
        }
        max = k->max(z, vocab, best);
        hit = z[target];
        for (v = 0; o->smoothing > 0 && v < vocab; v++)
            mean += (double)(z[v] - max);
        mean /= (double)vocab;
        sum = k->exp_sum(z, vocab, 1, max);
        lse = max + logf(sum);
        f = o->dft ? z[target] / sum : 1;
        j->a->loss[j->r0 + r] =
            f * ((1 - o->smoothing) * (max - hit + logf(sum)) + o->smoothing * (logf(sum) - (float)mean)) +
            o->z * lse * lse;
        if (!j->a->dh.data)
            continue;
        if (j->a->weight)
            scale *= j->a->weight[j->r0 + r];
        k->scale(z, vocab, scale * (f + 2 * o->z * lse) / sum);
        z[target] -= scale * f * (1 - o->smoothing);
        for (v = 0; o->smoothing > 0 && v < vocab; v++)
            z[v] -= scale * f * o->smoothing / (float)vocab;
        for (v = 0; cap > 0 && v < vocab; v++)
            z[v] *= 1 - capped[v] / cap * (capped[v] / cap);
    }
}

static void gradient_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_weight *w = j->a->w;
    hone_product_scratch s = hone_product_scratch_at(hone_scratch(j->dev, thread));
    hone_product p = product_of(j->dev, j->a->h.dtype);
    int64_t v0 = task * part_len(w->rows), len = HONE_MIN(part_len(w->rows), w->rows - v0);
    hone_mat z = {j->logits + v0, HONE_F32, j->rows, len, w->rows};
    hone_mat out = hone_mat_make((char *)j->part +
                                     hone_align(sizeof(float) * (size_t)(j->rows * w->cols)) * (size_t)task,
                                 HONE_F32, j->rows, w->cols);
    hone_term t = {
        .a = z,
        .b = {.data = hone_weight_row(w, v0), .dtype = w->dtype, .rows = (int32_t)len, .cols = w->cols},
        .frozen = true,
        .scale = 1};

    p.term[0] = t;
    hone_product_store(&p, &s, &out, 0, j->rows, 0, w->cols, NULL, false);
}

/* dW of HONE_PRODUCT_ROWS rows: the chunk's gradient of the logits, by columns, times its rows of h. */
static void weight_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const int64_t vocab = j->a->w->rows, v0 = (int64_t)task * HONE_PRODUCT_ROWS,
                  v1 = HONE_MIN(v0 + HONE_PRODUCT_ROWS, vocab);
    hone_product_scratch s = hone_product_scratch_at(hone_scratch(j->dev, thread));
    hone_mat z = hone_mat_make(j->logits, HONE_F32, j->rows, vocab), h = j->a->h;

    h.data = hone_mat_row(&j->a->h, j->r0);
    h.rows = j->rows;
    hone_product_over_rows(j->dev->kernels, &s, &z, &h, j->a->dw, v0, v1, 0, h.cols);
}

/* The gradient of one row of the patch. */
static void patch_weight_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_row_patch *p = j->a->w->patch;
    const hone_kernels *k = j->dev->kernels;
    const int64_t width = j->a->w->cols;
    int64_t r;

    for (r = 0; r < j->rows; r++)
        k->axpy(p->drow + task * width, values_of(k, &j->a->h, j->r0 + r, hone_scratch(j->dev, thread)),
                j->logits[r * j->a->w->rows + p->id[task]], width);
}

static void sum_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_kernels *k = j->dev->kernels;
    const hone_row_patch *p = j->a->w->patch;
    int64_t width = j->a->w->cols, r;
    size_t part = hone_align(sizeof(float) * (size_t)(j->rows * width)) / sizeof(float);
    int i;

    (void)thread;
    for (r = (int64_t)task * SOFTMAX_ROWS; r < HONE_MIN((int64_t)(task + 1) * SOFTMAX_ROWS, j->rows); r++) {
        float *sum = j->part + r * width;

        for (i = 1; i < n_parts(j->a->w->rows); i++)
            k->axpy(sum, sum + part * (size_t)i, 1, width);
        for (i = 0; p && i < p->n; i++) {
            const float d = j->logits[r * j->a->w->rows + p->id[i]];

            k->axpy(sum, p->row + i * width, d, width);
            k->axpy(sum, p->base + i * width, -d, width);
        }
        if (j->a->dh.dtype == HONE_F32)
            memcpy(hone_mat_row(&j->a->dh, j->r0 + r), sum, sizeof(float) * (size_t)width);
        else
            k->to_bf16(hone_mat_row(&j->a->dh, j->r0 + r), sum, width);
    }
}

int hone_fast_head_loss(hone_device *dev, const hone_head *a, hone_error *err)
{
    struct job j = {.dev = dev, .a = a};
    int64_t vocab = a->w->rows, chunk = chunk_rows(a->h.rows, vocab), chunks;
    int rc = hone_cpu_require(dev, hone_fast_need_head(a->h.rows, vocab, a->w->cols), "head_loss", err),
        groups;

    if (rc)
        return rc;
    j.logits = hone_shared(dev);
    j.part = (float *)((char *)j.logits + hone_align(sizeof(float) * (size_t)(chunk * vocab)));
    chunks = (a->h.rows + chunk - 1) / chunk;
    chunk = (a->h.rows + chunks - 1) / chunks; /* equal chunks */
    for (j.r0 = 0; j.r0 < a->h.rows; j.r0 += j.rows) {
        hone_term t = {.a = {hone_mat_row(&a->h, j.r0), a->h.dtype, 0, a->h.cols, a->h.ld},
                       .b = *a->w,
                       .transposed = true,
                       .frozen = true,
                       .scale = 1};

        j.rows = HONE_MIN(chunk, a->h.rows - j.r0);
        t.a.rows = j.rows;
        j.forward = product_of(dev, a->h.dtype);
        j.forward.term[0] = t;
        groups = (int)((j.rows + SOFTMAX_ROWS - 1) / SOFTMAX_ROWS);
        hone_pool_run(dev->pool, (int)((vocab + VOCAB - 1) / VOCAB), logits_task, &j);
        if (a->w->patch)
            hone_pool_run(dev->pool, groups, patch_task, &j);
        hone_pool_run(dev->pool, groups, softmax_task, &j);
        if (!a->dh.data)
            continue;
        hone_pool_run(dev->pool, n_parts(vocab), gradient_task, &j);
        hone_pool_run(dev->pool, groups, sum_task, &j);
        if (a->dw)
            hone_pool_run(dev->pool, (int)((vocab + HONE_PRODUCT_ROWS - 1) / HONE_PRODUCT_ROWS), weight_task,
                          &j);
        if (a->w->patch && a->w->patch->drow)
            hone_pool_run(dev->pool, a->w->patch->n, patch_weight_task, &j);
    }
    return 0;
}

/* The head as a projection without bias or adapter, whose output is f32. */
int hone_fast_head_logits(hone_device *dev, float *logits, hone_mat h, const hone_weight *w, float softcap,
                          hone_error *err)
{
    hone_linear g = {.x = h, .n_parts = 1};
    hone_weight plain = *w;
    int64_t r;
    int rc;

    plain.bias = NULL;
    g.part[0].w = &plain;
    g.part[0].y = hone_mat_make(logits, HONE_F32, h.rows, w->rows);
    rc = hone_fast_linear_fwd(dev, &g, err);
    if (!rc && w->patch)
        rc = hone_cpu_require(dev, hone_fast_need_rows(w->cols, 0), "head_logits", err);
    if (!rc && w->patch)
        for (r = 0; r < h.rows; r++)
            patch_logits(dev->kernels, logits + r * w->rows, &h, r, w->patch, hone_scratch(dev, 0));
    if (!rc && softcap > 0)
        dev->kernels->softcap(logits, h.rows * w->rows, 1, softcap);
    return rc;
}
