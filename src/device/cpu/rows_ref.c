/* Ops that treat rows or elements by themselves, in plain C: embedding, norms, rotation, gated unit, sums, AdamW. */
#include "device/cpu/cpu.h"

#include <math.h>

#define ROWS 16         /* rows of a task */
#define COLS 64         /* columns of a task of a table's gradient */
#define ELEMS (1 << 15) /* elements of an AdamW task */
#define SUMS 256        /* partial sums of hone_sum_squares */

struct job {
    hone_device *dev;
    hone_mat y, a, b, c, d;
    const hone_weight *table;
    const int32_t *ids;
    const float *w;
    float *rstd;
    const float *rstd_in;
    float scale;
    int32_t head_size, dims;
    hone_act act;
    bool add;
    float *sum; /* of a weight gradient */
    uint64_t seed, stream;
};

hone_need hone_ref_need_rows(int64_t width, int head_size)
{
    hone_need need = {hone_align((size_t)(HONE_MAX(2 * width, head_size)) * sizeof(float)),
                      HONE_NORM_PARTS * (size_t)width * sizeof(float)};

    return need;
}

static void run_rows(struct job *j, int64_t rows, hone_task_fn fn)
{
    hone_pool_run(j->dev->pool, (int)((rows + ROWS - 1) / ROWS), fn, j);
}

static void embed_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    float *row = hone_scratch(j->dev, thread);
    int64_t r, c;

    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->y.rows); r++) {
        const float *own = hone_weight_patch(j->table, j->ids[r]);

        if (own)
            memcpy(row, own, (size_t)j->table->cols * sizeof *row);
        else
            hone_dequantise(row, hone_weight_row(j->table, j->ids[r]), j->table->dtype, j->table->cols);
        if (j->scale != 1.0f)
            for (c = 0; c < j->y.cols; c++)
                row[c] *= j->scale;
        hone_row_put(&j->y, r, 0, j->y.cols, row);
    }
}

int hone_ref_embed(hone_device *dev, hone_mat out, const hone_weight *table, const int32_t *ids, float scale,
                   hone_error *err)
{
    struct job j = {.dev = dev, .y = out, .table = table, .ids = ids, .scale = scale};
    int rc = hone_cpu_require(dev, hone_ref_need_rows(out.cols, 0), "embed", err);

    if (rc)
        return rc;
    run_rows(&j, out.rows, embed_task);
    return 0;
}

static float rstd_of(const void *x, hone_dtype t, int64_t n, float eps)
{
    double sum = 0;
    int64_t c;

    for (c = 0; c < n; c++) {
        double v = hone_elem_get(x, t, c);

        sum += v * v;
    }
    return (float)(1.0 / sqrt(sum / (double)n + (double)eps));
}

static void noise_task(void *ctx, int task, int thread)
{
    const struct job *j = ctx;
    int64_t r, c;

    (void)thread;
    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->y.rows); r++) {
        void *x = hone_mat_row(&j->y, r);
        uint32_t word[4];

        for (c = 0; c < j->y.cols; c++) {
            const uint64_t index = (uint64_t)(r * j->y.cols + c);

            if (c == 0 || index % 4 == 0)
                hone_philox(word, j->seed, j->stream, index / 4);
            hone_elem_put(x, j->y.dtype, c,
                          hone_elem_get(x, j->y.dtype, c) +
                              j->w[r] * (float)(2 * ((double)word[index % 4] / 4294967296.0) - 1));
        }
    }
}

int hone_cpu_add_noise(hone_device *dev, hone_mat x, const float *size, uint64_t seed, uint64_t stream,
                       hone_error *err)
{
    struct job j = {.dev = dev, .y = x, .w = size, .seed = seed, .stream = stream};

    (void)err;
    run_rows(&j, x.rows, noise_task);
    return 0;
}

/* COLS columns of the table for all tokens: a row that several tokens share is summed in their order. */
static void embed_bwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t c0 = (int64_t)task * COLS, c1 = HONE_MIN(c0 + COLS, j->a.cols), r, c;

    (void)thread;
    for (r = 0; r < j->a.rows; r++)
        for (c = c0; c < c1 && j->ids[r] >= 0; c++)
            j->sum[j->ids[r] * j->a.cols + c] +=
                j->scale * hone_elem_get(hone_mat_row(&j->a, r), j->a.dtype, c);
}

int hone_ref_embed_bwd(hone_device *dev, float *dtable, hone_mat dy, const int32_t *ids, float scale,
                       hone_error *err)
{
    struct job j = {.dev = dev, .a = dy, .ids = ids, .scale = scale, .sum = dtable};

    (void)err;
    hone_pool_run(dev->pool, (int)((dy.cols + COLS - 1) / COLS), embed_bwd_task, &j);
    return 0;
}

static void rmsnorm_fwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t r, c;

    (void)thread;
    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->y.rows); r++) {
        const void *x = hone_mat_row(&j->a, r);
        void *y = hone_mat_row(&j->y, r);
        float s = rstd_of(x, j->a.dtype, j->a.cols, j->scale);

        if (j->rstd)
            j->rstd[r] = s;
        for (c = 0; c < j->y.cols; c++)
            hone_elem_put(y, j->y.dtype, c, j->w[c] * (hone_elem_get(x, j->a.dtype, c) * s));
    }
}

int hone_ref_rmsnorm_fwd(hone_device *dev, hone_mat y, float *rstd, hone_mat x, const float *w, float eps,
                         hone_error *err)
{
    struct job j = {.dev = dev, .y = y, .a = x, .w = w, .rstd = rstd, .scale = eps};

    (void)err;
    run_rows(&j, x.rows, rmsnorm_fwd_task);
    return 0;
}

static void rmsnorm_bwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t r, c, n = j->a.cols;

    (void)thread;
    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->y.rows); r++) {
        const void *dy = hone_mat_row(&j->a, r), *x = hone_mat_row(&j->b, r);
        void *dx = hone_mat_row(&j->y, r);
        float s = j->rstd_in ? j->rstd_in[r] : rstd_of(x, j->b.dtype, n, j->scale), mean;
        double sum = 0;

        for (c = 0; c < n; c++)
            sum += (double)(hone_elem_get(dy, j->a.dtype, c) * j->w[c]) *
                   (double)(hone_elem_get(x, j->b.dtype, c) * s);
        mean = (float)(sum / (double)n);
        for (c = 0; c < n; c++) {
            float g = hone_elem_get(dy, j->a.dtype, c) * j->w[c], xhat = hone_elem_get(x, j->b.dtype, c) * s;
            float v = s * (g - xhat * mean);

            if (j->add)
                v += hone_elem_get(dx, j->y.dtype, c);
            hone_elem_put(dx, j->y.dtype, c, v);
        }
    }
}

int hone_ref_rmsnorm_bwd(hone_device *dev, hone_mat dx, bool add, hone_mat dy, hone_mat x, const float *w,
                         const float *rstd, float eps, hone_error *err)
{
    struct job j = {.dev = dev, .y = dx, .a = dy, .b = x, .w = w, .rstd_in = rstd, .scale = eps, .add = add};

    (void)err;
    run_rows(&j, x.rows, rmsnorm_bwd_task);
    return 0;
}

static void rmsnorm_bwd_w_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t rows = hone_norm_part(j->b.rows), r0 = task * rows, r1 = HONE_MIN(r0 + rows, j->b.rows), r, c;
    float *sum = j->sum + task * j->b.cols;

    (void)thread;
    memset(sum, 0, (size_t)j->b.cols * sizeof *sum);
    for (r = r0; r < r1; r++) {
        const void *dy = hone_mat_row(&j->a, r), *x = hone_mat_row(&j->b, r);
        float rstd = rstd_of(x, j->b.dtype, j->b.cols, j->scale);

        for (c = 0; c < j->b.cols; c++)
            sum[c] += hone_elem_get(dy, j->a.dtype, c) * hone_elem_get(x, j->b.dtype, c) * rstd;
    }
}

int hone_ref_rmsnorm_bwd_w(hone_device *dev, float *dw, hone_mat dy, hone_mat x, float eps, hone_error *err)
{
    struct job j = {.dev = dev, .a = dy, .b = x, .scale = eps, .sum = hone_shared(dev)};
    int parts = (int)((x.rows + hone_norm_part(x.rows) - 1) / hone_norm_part(x.rows)), i;
    int rc = hone_cpu_require(dev, hone_ref_need_rows(x.cols, 0), "rmsnorm_bwd_w", err);
    int64_t c;

    if (rc)
        return rc;
    hone_pool_run(dev->pool, parts, rmsnorm_bwd_w_task, &j);
    for (i = 0; i < parts; i++)
        for (c = 0; c < x.cols; c++)
            dw[c] += j.sum[i * x.cols + c];
    return 0;
}

static void rope_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int32_t half = j->dims / 2, i;
    float *cosine = hone_scratch(j->dev, thread), *sine = cosine + half;
    int64_t r, h;

    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->y.rows); r++) {
        void *x = hone_mat_row(&j->y, r);

        for (i = 0; i < half; i++) {
            float angle = (float)j->ids[r] * j->w[i];

            cosine[i] = cosf(angle) * j->scale;
            sine[i] = sinf(angle) * j->scale * (j->add ? -1.0f : 1.0f);
        }
        for (h = 0; h < j->y.cols; h += j->head_size)
            for (i = 0; i < half; i++) {
                float a = hone_elem_get(x, j->y.dtype, h + i), b = hone_elem_get(x, j->y.dtype, h + i + half);

                hone_elem_put(x, j->y.dtype, h + i, a * cosine[i] - b * sine[i]);
                hone_elem_put(x, j->y.dtype, h + i + half, b * cosine[i] + a * sine[i]);
            }
    }
}

int hone_ref_rope(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq, int32_t head_size,
                  int32_t dims, float factor, bool inverse, hone_error *err)
{
    struct job j = {.dev = dev,
                    .y = x,
                    .ids = pos,
                    .w = inv_freq,
                    .head_size = head_size,
                    .dims = dims,
                    .scale = factor,
                    .add = inverse};
    int rc = hone_cpu_require(dev, hone_ref_need_rows(0, head_size), "rope", err);

    if (rc)
        return rc;
    run_rows(&j, x.rows, rope_task);
    return 0;
}

/* s of ops.h, and dt/dg. */
static float gate(float x, hone_act act, float *slope)
{
    const float c = 1.5957691216057308f, b = 0.044715f; /* 2 (2/pi)^1/2 */

    *slope = act == HONE_ACT_SILU ? 1.0f : c * (1.0f + 3.0f * b * x * x);
    return 1.0f / (1.0f + expf(-(act == HONE_ACT_SILU ? x : c * (x + b * x * x * x))));
}

static void glu_fwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t r, c;

    (void)thread;
    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->y.rows); r++) {
        const void *g = hone_mat_row(&j->a, r), *u = hone_mat_row(&j->b, r);
        void *h = hone_mat_row(&j->y, r);

        for (c = 0; c < j->y.cols; c++) {
            float x = hone_elem_get(g, j->a.dtype, c), slope;

            hone_elem_put(h, j->y.dtype, c, x * gate(x, j->act, &slope) * hone_elem_get(u, j->b.dtype, c));
        }
    }
}

int hone_ref_glu_fwd(hone_device *dev, hone_mat h, hone_mat g, hone_mat u, hone_act act, hone_error *err)
{
    struct job j = {.dev = dev, .y = h, .a = g, .b = u, .act = act};

    (void)err;
    run_rows(&j, h.rows, glu_fwd_task);
    return 0;
}

static void glu_bwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t r, c;

    (void)thread;
    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->a.rows); r++) {
        const void *dh = hone_mat_row(&j->a, r), *g = hone_mat_row(&j->b, r), *u = hone_mat_row(&j->c, r);
        void *dg = hone_mat_row(&j->y, r), *du = hone_mat_row(&j->d, r);

        for (c = 0; c < j->a.cols; c++) {
            float x = hone_elem_get(g, j->b.dtype, c), slope, s = gate(x, j->act, &slope);
            float d = hone_elem_get(dh, j->a.dtype, c), v = hone_elem_get(u, j->c.dtype, c);

            hone_elem_put(dg, j->y.dtype, c, d * v * s * (1.0f + x * (1.0f - s) * slope));
            hone_elem_put(du, j->d.dtype, c, d * x * s);
        }
    }
}

int hone_ref_glu_bwd(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                     hone_act act, hone_error *err)
{
    struct job j = {.dev = dev, .y = dg, .d = du, .a = dh, .b = g, .c = u, .act = act};

    (void)err;
    run_rows(&j, dh.rows, glu_bwd_task);
    return 0;
}

static void add_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    int64_t r, c;

    (void)thread;
    for (r = (int64_t)task * ROWS; r < HONE_MIN((int64_t)(task + 1) * ROWS, j->y.rows); r++) {
        const void *a = hone_mat_row(&j->a, r), *b = hone_mat_row(&j->b, r);
        void *y = hone_mat_row(&j->y, r);

        for (c = 0; c < j->y.cols; c++)
            hone_elem_put(y, j->y.dtype, c,
                          hone_elem_get(a, j->a.dtype, c) + hone_elem_get(b, j->b.dtype, c));
    }
}

int hone_ref_add(hone_device *dev, hone_mat y, hone_mat a, hone_mat b, hone_error *err)
{
    struct job j = {.dev = dev, .y = y, .a = a, .b = b};

    (void)err;
    run_rows(&j, y.rows, add_task);
    return 0;
}

struct sum_job {
    const float *x;
    size_t n, chunk;
    double part[SUMS];
};

static void sum_task(void *ctx, int task, int thread)
{
    struct sum_job *j = ctx;
    size_t i, end = HONE_MIN(((size_t)task + 1) * j->chunk, j->n);
    double s = 0;

    (void)thread;
    for (i = (size_t)task * j->chunk; i < end; i++)
        s += (double)j->x[i] * (double)j->x[i];
    j->part[task] = s;
}

double hone_ref_sum_squares(hone_device *dev, const float *x, size_t n)
{
    struct sum_job j = {x, n, ((n + SUMS - 1) / SUMS + 63) & ~(size_t)63, {0}};
    double s = 0;
    int i, tasks = n ? (int)((n + j.chunk - 1) / j.chunk) : 0;

    hone_pool_run(dev->pool, tasks, sum_task, &j);
    for (i = 0; i < tasks; i++)
        s += j.part[i];
    return s;
}

static void adamw_task(void *ctx, int task, int thread)
{
    const hone_adamw *a = ctx;
    size_t i, end = HONE_MIN(((size_t)task + 1) * ELEMS, a->n);
    float clip = (float)a->clip, decay = (float)(1.0 - a->lr * a->weight_decay);
    float b1 = (float)a->beta1, c1 = (float)(1.0 - a->beta1), b2 = (float)a->beta2,
          c2 = (float)(1.0 - a->beta2);
    float step = (float)(a->lr / (1.0 - pow(a->beta1, (double)a->t)));
    float root = (float)(1.0 / sqrt(1.0 - pow(a->beta2, (double)a->t))), eps = (float)a->eps;

    (void)thread;
    for (i = (size_t)task * ELEMS; i < end; i++) {
        float g = a->g[i] * clip;

        a->m[i] = b1 * a->m[i] + c1 * g;
        a->v[i] = b2 * a->v[i] + c2 * (g * g);
        a->p[i] = a->p[i] * decay - step * (a->m[i] / (sqrtf(a->v[i]) * root + eps));
        a->g[i] = 0;
    }
}

int hone_ref_adamw_step(hone_device *dev, const hone_adamw *a, hone_error *err)
{
    hone_adamw copy = *a;

    (void)err;
    hone_pool_run(dev->pool, (int)((a->n + ELEMS - 1) / ELEMS), adamw_task, &copy);
    return 0;
}
