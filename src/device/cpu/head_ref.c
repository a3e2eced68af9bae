/* Output head and cross-entropy in plain C. A task owns a few rows: their logits over the whole vocabulary stand in the
 * thread's scratch, become the gradient in place, and meet the weight a second time. */
#include "device/cpu/cpu.h"

#include <math.h>

#define ROWS 16   /* rows of a loss task */
#define VOCAB 256 /* vocabulary of a logits task */

struct job {
    hone_device *dev;
    const hone_head *a;
    hone_mat h;
    const hone_weight *w;
    float *logits, softcap;
};

hone_need hone_ref_need_head(int64_t vocab, int64_t width)
{
    hone_need need = {hone_align((size_t)(ROWS * vocab + width) * sizeof(float)) +
                          hone_align((size_t)(ROWS * width) * sizeof(double)),
                      0};

    return need;
}

static float dot(const void *x, hone_dtype t, const float *w, int64_t n)
{
    double s = 0;
    int64_t i;

    for (i = 0; i < n; i++)
        s += (double)(hone_elem_get(x, t, i) * w[i]);
    return (float)s;
}

static float capped(float z, float cap)
{
    return cap > 0 ? cap * tanhf(z / cap) : z;
}

static void loss_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_head *a = j->a;
    const hone_row_patch *patch = a->w->patch;
    int64_t vocab = a->w->rows, width = a->w->cols, r0 = (int64_t)task * ROWS,
            r1 = HONE_MIN(r0 + ROWS, a->h.rows);
    float *z = hone_scratch(j->dev, thread), *row = z + ROWS * vocab;
    /* over a vocabulary of 100,000, sums in f32 would be the least exact of a whole pass */
    double *acc = (double *)(void *)((char *)z + hone_align((size_t)(ROWS * vocab + width) * sizeof(float)));
    int64_t v, r, c;

    for (v = 0; v < vocab; v++) {
        hone_ref_weight_row(row, a->w, v, a->h.dtype);
        for (r = r0; r < r1; r++)
            z[(r - r0) * vocab + v] = dot(hone_mat_row(&a->h, r), a->h.dtype, row, width);
    }
    for (r = r0; r < r1; r++) {
        float *x = z + (r - r0) * vocab, max, lse, hit,
              scale = a->weight ? a->grad_scale * a->weight[r] : a->grad_scale;
        const hone_objective *o = &a->objective;
        int32_t best = 0;
        double sum = 0, mean = 0, f;

        for (v = 0; a->softcap > 0 && v < vocab; v++)
            x[v] = capped(x[v], a->softcap);
        max = x[0];
        for (v = 1; v < vocab; v++)
            if (x[v] > max) {
                max = x[v];
                best = (int32_t)v;
            }
        for (v = 0; v < vocab; v++)
            sum += (double)expf(x[v] - max);
        for (v = 0; v < vocab; v++)
            mean += (double)x[v] / (double)vocab;
        lse = max + (float)log(sum);
        hit = x[a->target[r]];
        f = o->dft ? exp((double)hit - (double)lse) : 1;
        a->loss[r] = (float)(f * ((1 - (double)o->smoothing) * (double)(lse - hit) +
                                  (double)o->smoothing * ((double)lse - mean)) +
                             (double)o->z * (double)lse * (double)lse);
        if (a->best)
            a->best[r] = best;
        for (v = 0; v < vocab; v++) {
            float t = a->softcap > 0 ? x[v] / a->softcap : 0;

            x[v] = (expf(x[v] - lse) * (float)(f + 2 * (double)o->z * (double)lse) -
                    (float)f * o->smoothing / (float)vocab) *
                   scale * (1 - t * t);
        }
        hit = a->softcap > 0 ? hit / a->softcap : 0;
        x[a->target[r]] -= scale * (float)f * (1 - o->smoothing) * (1 - hit * hit);
    }
    if (!a->dh.data)
        return;
    memset(acc, 0, (size_t)(ROWS * width) * sizeof *acc);
    for (v = 0; v < vocab; v++) {
        hone_ref_weight_row(row, a->w, v, a->h.dtype);
        for (r = r0; r < r1; r++) {
            const float d = z[(r - r0) * vocab + v];
            double *out = acc + (r - r0) * width;

            for (c = 0; c < width; c++)
                out[c] += (double)(d * row[c]);
        }
    }
    for (r = r0; r < r1; r++) {
        for (c = 0; c < width; c++)
            row[c] = (float)acc[(r - r0) * width + c];
        hone_row_put(&a->dh, r, 0, width, row);
    }
    for (v = 0; patch && patch->drow && v < patch->n; v++)
        for (r = r0; r < r1; r++)
            for (c = 0; c < width; c++)
                patch->drow[v * width + c] +=
                    z[(r - r0) * vocab + patch->id[v]] * hone_elem_get(hone_mat_row(&a->h, r), a->h.dtype, c);
    for (r = r0; r < r1 && a->dw; r++)
        for (v = 0; v < vocab; v++)
            for (c = 0; c < width; c++)
                a->dw[v * width + c] +=
                    z[(r - r0) * vocab + v] * hone_elem_get(hone_mat_row(&a->h, r), a->h.dtype, c);
}

int hone_ref_head_loss(hone_device *dev, const hone_head *a, hone_error *err)
{
    struct job j = {.dev = dev, .a = a};
    /* every task adds to all of dW or of the patch's gradient: one after the other */
    const bool in_turn = a->dw || (a->w->patch && a->w->patch->drow);
    int rc = hone_cpu_require(dev, hone_ref_need_head(a->w->rows, a->w->cols), "head_loss", err), tasks, i;

    if (rc)
        return rc;
    tasks = (int)((a->h.rows + ROWS - 1) / ROWS);
    if (!in_turn)
        hone_pool_run(dev->pool, tasks, loss_task, &j);
    for (i = 0; i < tasks && in_turn; i++)
        loss_task(&j, i, 0);
    return 0;
}

static void logits_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    float *row = hone_scratch(j->dev, thread);
    int64_t v, r;

    for (v = (int64_t)task * VOCAB; v < HONE_MIN((int64_t)(task + 1) * VOCAB, j->w->rows); v++) {
        hone_ref_weight_row(row, j->w, v, j->h.dtype);
        for (r = 0; r < j->h.rows; r++)
            j->logits[r * j->w->rows + v] =
                capped(dot(hone_mat_row(&j->h, r), j->h.dtype, row, j->w->cols), j->softcap);
    }
}

int hone_ref_head_logits(hone_device *dev, float *logits, hone_mat h, const hone_weight *w, float softcap,
                         hone_error *err)
{
    struct job j = {.dev = dev, .h = h, .w = w, .logits = logits, .softcap = softcap};
    int rc = hone_cpu_require(dev, hone_ref_need_rows(w->cols, 0), "head_logits", err);

    if (rc)
        return rc;
    hone_pool_run(dev->pool, (w->rows + VOCAB - 1) / VOCAB, logits_task, &j);
    return 0;
}
