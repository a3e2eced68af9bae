/* Ops on rows by the kernels of an instruction set: who gets which rows. */
#include "device/cpu/product.h"

#include <math.h>

#define ROWS 8          /* rows of a task */
#define HEADS 64        /* short rows (heads) of a task */
#define COLS 64         /* columns of a task of a table's gradient */
#define ELEMS (1 << 15) /* elements of an AdamW task */
#define SUMS 256        /* partial sums of hone_sum_squares */

struct job {
    hone_device *dev;
    const hone_kernels *k;
    hone_mat y, a, b, c, d;
    int64_t rows; /* of a task */
    const hone_weight *table;
    const int32_t *ids;
    const float *w;
    float *rstd;
    const float *rstd_in;
    float scale;
    int32_t head_size, dims;
    hone_act act;
    bool flag;
    float *sum; /* of a weight gradient */
};

hone_need hone_fast_need_rows(int64_t width, int head_size)
{
    return hone_ref_need_rows(width, head_size);
}

static void run_rows(struct job *j, const hone_mat *m, hone_task_fn fn)
{
    j->k = j->dev->kernels;
    j->rows = m->cols <= 256 ? HEADS : ROWS;
    hone_pool_run(j->dev->pool, (int)((m->rows + j->rows - 1) / j->rows), fn, j);
}

#define EACH_ROW(r, j, task, m)                                                                              \
    for (int64_t r = (int64_t)(task) * (j)->rows, end_ = HONE_MIN(r + (j)->rows, (m).rows); r < end_; r++)

static void embed_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    float *row = hone_scratch(j->dev, thread);

    EACH_ROW(r, j, task, j->y) {
        float *to = j->y.dtype == HONE_F32 ? hone_mat_row(&j->y, r) : row;
        const float *own = hone_weight_patch(j->table, j->ids[r]);

        if (own)
            memcpy(to, own, (size_t)j->table->cols * sizeof *to);
        else
            j->k->expand[j->table->dtype](to, hone_weight_row(j->table, j->ids[r]), j->table->cols);
        if (j->scale != 1.0f)
            j->k->scale_round(to, j->table->cols, j->scale, false);
        if (to == row)
            j->k->to_bf16(hone_mat_row(&j->y, r), row, j->table->cols);
    }
}

static int embed(hone_device *dev, hone_mat out, const hone_weight *table, const int32_t *ids, float scale,
                 hone_error *err)
{
    struct job j = {.dev = dev, .y = out, .table = table, .ids = ids, .scale = scale};
    int rc = hone_cpu_require(dev, hone_fast_need_rows(out.cols, 0), "embed", err);

    if (!rc)
        run_rows(&j, &out, embed_task);
    return rc;
}

/* COLS columns of the table for all tokens: a row that several tokens share is summed in their order. */
static void embed_bwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t c = (int64_t)task * COLS, n = HONE_MIN(COLS, j->a.cols - c), r;
    float row[COLS];

    (void)thread;
    for (r = 0; r < j->a.rows; r++) {
        const float *dy = (const float *)hone_mat_row(&j->a, r) + c;

        if (j->ids[r] < 0)
            continue;
        if (j->a.dtype == HONE_BF16) {
            j->k->to_f32(row, (const uint16_t *)hone_mat_row(&j->a, r) + c, n);
            dy = row;
        }
        j->k->axpy(j->sum + j->ids[r] * j->a.cols + c, dy, j->scale, n);
    }
}

static int embed_bwd(hone_device *dev, float *dtable, hone_mat dy, const int32_t *ids, float scale,
                     hone_error *err)
{
    struct job j = {.dev = dev, .k = dev->kernels, .a = dy, .ids = ids, .scale = scale, .sum = dtable};

    (void)err;
    hone_pool_run(dev->pool, (int)((dy.cols + COLS - 1) / COLS), embed_bwd_task, &j);
    return 0;
}

static void rmsnorm_fwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;

    (void)thread;
    EACH_ROW(r, j, task, j->y) {
        j->k->rmsnorm_fwd(hone_mat_row(&j->y, r), j->rstd ? j->rstd + r : NULL, hone_mat_row(&j->a, r), j->w,
                          j->y.cols, j->scale, j->y.dtype);
    }
}

static int rmsnorm_fwd(hone_device *dev, hone_mat y, float *rstd, hone_mat x, const float *w, float eps,
                       hone_error *err)
{
    struct job j = {.dev = dev, .y = y, .a = x, .w = w, .rstd = rstd, .scale = eps};

    (void)err;
    run_rows(&j, &x, rmsnorm_fwd_task);
    return 0;
}

static void rmsnorm_bwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;

    (void)thread;
    EACH_ROW(r, j, task, j->y) {
        j->k->rmsnorm_bwd(hone_mat_row(&j->y, r), j->flag, hone_mat_row(&j->a, r), hone_mat_row(&j->b, r),
                          j->w, j->rstd_in ? j->rstd_in + r : NULL, j->y.cols, j->scale, j->y.dtype);
    }
}

static int rmsnorm_bwd(hone_device *dev, hone_mat dx, bool add, hone_mat dy, hone_mat x, const float *w,
                       const float *rstd, float eps, hone_error *err)
{
    struct job j = {.dev = dev, .y = dx, .a = dy, .b = x, .w = w, .rstd_in = rstd, .scale = eps, .flag = add};

    (void)err;
    run_rows(&j, &x, rmsnorm_bwd_task);
    return 0;
}

static void rmsnorm_bwd_w_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const int64_t n = j->b.cols, rows = hone_norm_part(j->b.rows), r0 = task * rows;
    float *sum = j->sum + task * n, *tx = hone_scratch(j->dev, thread), *tdy = tx + n;
    int64_t r;

    memset(sum, 0, (size_t)n * sizeof *sum);
    for (r = r0; r < HONE_MIN(r0 + rows, j->b.rows); r++) {
        const float *x = hone_mat_row(&j->b, r), *dy = hone_mat_row(&j->a, r);

        if (j->b.dtype == HONE_BF16) {
            j->k->to_f32(tx, hone_mat_row(&j->b, r), n);
            j->k->to_f32(tdy, hone_mat_row(&j->a, r), n);
            x = tx;
            dy = tdy;
        }
        j->k->product_sum(sum, dy, x, 1.0f / sqrtf(j->k->dot(x, x, n) / (float)n + j->scale), n);
    }
}

static int rmsnorm_bwd_w(hone_device *dev, float *dw, hone_mat dy, hone_mat x, float eps, hone_error *err)
{
    struct job j = {.dev = dev, .k = dev->kernels, .a = dy, .b = x, .scale = eps, .sum = hone_shared(dev)};
    int parts = (int)((x.rows + hone_norm_part(x.rows) - 1) / hone_norm_part(x.rows)), i;
    int rc = hone_cpu_require(dev, hone_fast_need_rows(x.cols, 0), "rmsnorm_bwd_w", err);

    if (rc)
        return rc;
    hone_pool_run(dev->pool, parts, rmsnorm_bwd_w_task, &j);
    for (i = 0; i < parts; i++)
        j.k->axpy(dw, j.sum + i * x.cols, 1, x.cols);
    return 0;
}

static void rope_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int32_t half = j->dims / 2, i, last = -1;
    float *cosine = hone_scratch(j->dev, thread), *sine = cosine + half;
    bool fresh = false;
    int64_t h;

    EACH_ROW(r, j, task, j->y) {
        if (!fresh || j->ids[r] != last) {
            last = j->ids[r];
            fresh = true;
            for (i = 0; i < half; i++) {
                sincosf((float)last * j->w[i], &sine[i], &cosine[i]);
                cosine[i] *= j->scale;
                sine[i] *= j->flag ? -j->scale : j->scale;
            }
        }
        for (h = 0; h < j->y.cols; h += j->head_size)
            j->k->rope((char *)hone_mat_row(&j->y, r) + (size_t)h * hone_elem_size(j->y.dtype), cosine, sine,
                       half, j->y.dtype);
    }
}

static int rope(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq, int32_t head_size,
                int32_t dims, float factor, bool inverse, hone_error *err)
{
    struct job j = {.dev = dev,
                    .y = x,
                    .ids = pos,
                    .w = inv_freq,
                    .head_size = head_size,
                    .dims = dims,
                    .scale = factor,
                    .flag = inverse};
    int rc = hone_cpu_require(dev, hone_fast_need_rows(0, head_size), "rope", err);

    if (!rc)
        run_rows(&j, &x, rope_task);
    return rc;
}

static void glu_fwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;

    (void)thread;
    EACH_ROW(r, j, task, j->y) {
        j->k->glu_fwd(hone_mat_row(&j->y, r), hone_mat_row(&j->a, r), hone_mat_row(&j->b, r), j->y.cols,
                      j->act, j->y.dtype);
    }
}

static int glu_fwd(hone_device *dev, hone_mat h, hone_mat g, hone_mat u, hone_act act, hone_error *err)
{
    struct job j = {.dev = dev, .y = h, .a = g, .b = u, .act = act};

    (void)err;
    run_rows(&j, &h, glu_fwd_task);
    return 0;
}

static void glu_bwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;

    (void)thread;
    EACH_ROW(r, j, task, j->y) {
        j->k->glu_bwd(hone_mat_row(&j->y, r), hone_mat_row(&j->d, r), hone_mat_row(&j->a, r),
                      hone_mat_row(&j->b, r), hone_mat_row(&j->c, r), j->y.cols, j->act, j->y.dtype);
    }
}

static int glu_bwd(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                   hone_act act, hone_error *err)
{
    struct job j = {.dev = dev, .y = dg, .d = du, .a = dh, .b = g, .c = u, .act = act};

    (void)err;
    run_rows(&j, &dg, glu_bwd_task);
    return 0;
}

static void add_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;

    (void)thread;
    EACH_ROW(r, j, task, j->y) {
        j->k->add(hone_mat_row(&j->y, r), hone_mat_row(&j->a, r), hone_mat_row(&j->b, r), j->y.cols,
                  j->y.dtype);
    }
}

static int add(hone_device *dev, hone_mat y, hone_mat a, hone_mat b, hone_error *err)
{
    struct job j = {.dev = dev, .y = y, .a = a, .b = b};

    (void)err;
    run_rows(&j, &y, add_task);
    return 0;
}

struct sum_job {
    const hone_kernels *k;
    const float *x;
    size_t n, chunk;
    double part[SUMS];
};

static void sum_task(void *ctx, int task, int thread)
{
    struct sum_job *j = ctx;
    size_t from = (size_t)task * j->chunk;

    (void)thread;
    j->part[task] = j->k->sum_squares(j->x + from, HONE_MIN(j->chunk, j->n - from));
}

static double sum_squares(hone_device *dev, const float *x, size_t n)
{
    struct sum_job j = {dev->kernels, x, n, ((n + SUMS - 1) / SUMS + 63) & ~(size_t)63, {0}};
    double s = 0;
    int i, tasks = n ? (int)((n + j.chunk - 1) / j.chunk) : 0;

    hone_pool_run(dev->pool, tasks, sum_task, &j);
    for (i = 0; i < tasks; i++)
        s += j.part[i];
    return s;
}

struct adamw_job {
    const hone_kernels *k;
    const hone_adamw *a;
    float c[9];
};

static void adamw_task(void *ctx, int task, int thread)
{
    struct adamw_job *j = ctx;
    size_t from = (size_t)task * ELEMS;

    (void)thread;
    j->k->adamw(j->a->p + from, j->a->g + from, j->a->m + from, j->a->v + from,
                HONE_MIN((size_t)ELEMS, j->a->n - from), j->c);
}

static int adamw_step(hone_device *dev, const hone_adamw *a, hone_error *err)
{
    double t = (double)a->t;
    struct adamw_job j = {dev->kernels,
                          a,
                          {(float)(1.0 - a->lr * a->weight_decay), (float)a->clip, (float)a->beta1,
                           (float)(1.0 - a->beta1), (float)a->beta2, (float)(1.0 - a->beta2),
                           (float)(a->lr / (1.0 - pow(a->beta1, t))),
                           (float)(1.0 / sqrt(1.0 - pow(a->beta2, t))), (float)a->eps}};

    (void)err;
    hone_pool_run(dev->pool, (int)((a->n + ELEMS - 1) / ELEMS), adamw_task, &j);
    return 0;
}

void hone_fast_rows(hone_ops *ops)
{
    ops->embed = embed;
    ops->embed_bwd = embed_bwd;
    ops->rmsnorm_fwd = rmsnorm_fwd;
    ops->rmsnorm_bwd = rmsnorm_bwd;
    ops->rmsnorm_bwd_w = rmsnorm_bwd_w;
    ops->rope = rope;
    ops->glu_fwd = glu_fwd;
    ops->glu_bwd = glu_bwd;
    ops->add = add;
    ops->sum_squares = sum_squares;
    ops->adamw_step = adamw_step;
}
