/* Attention in plain C: the oracle of the tiled one. One task computes one (sequence, query head) forward, one
 * (sequence, KV head) backward; a query's scores are one row of scratch, so nothing of size N x M is stored.
 * Formulas: P = softmax(scale q k^T), capped before, o = P v; dv = P^T do, dS = P (do v^T - sum(do o)), dq = scale dS k,
 * dk = scale dS^T q (Dao 2023, section 3). */
#include "device/cpu/cpu.h"

#include <math.h>

struct job {
    const hone_attention *a;
    hone_device *dev;
};

hone_need hone_ref_need_attention(int64_t kv_len, int head_size)
{
    hone_need need = {hone_align((size_t)(kv_len + 2 * kv_len * head_size + head_size) * sizeof(float)), 0};

    return need;
}

static hone_need need_of(const hone_attention *a)
{
    int32_t longest = 0, s;

    for (s = 0; s < a->n_seq; s++)
        longest = HONE_MAX(longest, a->kv_len[s]);
    return hone_ref_need_attention(longest, a->head_size);
}

/* Scores of query i (local) of sequence s against its visible keys [j0, j1). */
static void scores(float *out, const hone_attention *a, int s, int h, int32_t i, int32_t *j0, int32_t *j1)
{
    int32_t d = a->head_size, kv = h / (a->n_head / a->n_kv), n = a->q_off[s + 1] - a->q_off[s], c, j;
    const void *q = hone_mat_row(&a->q, a->q_off[s] + i);

    *j1 = a->kv_len[s] - n + i + 1;
    *j0 = a->window ? HONE_MAX(0, *j1 - a->window) : 0;
    for (j = *j0; j < *j1; j++) {
        const void *k = hone_mat_row(&a->k, a->kv_row[s] + j);
        float sum = 0;

        for (c = 0; c < d; c++)
            sum += hone_elem_get(q, a->q.dtype, (int64_t)h * d + c) *
                   hone_elem_get(k, a->k.dtype, (int64_t)kv * d + c);
        out[j] = sum * a->scale;
        if (a->softcap > 0)
            out[j] = a->softcap * tanhf(out[j] / a->softcap);
    }
}

static void fwd_task(void *ctx, int task, int thread)
{
    struct job *job = ctx;
    const hone_attention *a = job->a;
    int s = task / a->n_head, h = task % a->n_head, kv = h / (a->n_head / a->n_kv);
    int32_t n = a->q_off[s + 1] - a->q_off[s], d = a->head_size, i, j, j0, j1, c;
    float *p = hone_scratch(job->dev, thread), *o = p + a->kv_len[s];

    for (i = 0; i < n; i++) {
        float max = -INFINITY, sum = 0;

        scores(p, a, s, h, i, &j0, &j1);
        for (j = j0; j < j1; j++)
            max = p[j] > max || isnan(p[j]) ? p[j] : max;
        for (j = j0; j < j1; j++)
            sum += p[j] = expf(p[j] - max);
        memset(o, 0, (size_t)d * sizeof *o);
        for (j = j0; j < j1; j++) {
            const void *v = hone_mat_row(&a->v, a->kv_row[s] + j);

            for (c = 0; c < d; c++)
                o[c] += p[j] * hone_elem_get(v, a->v.dtype, (int64_t)kv * d + c);
        }
        for (c = 0; c < d; c++)
            o[c] /= sum;
        hone_row_put(&a->o, a->q_off[s] + i, (int64_t)h * d, d, o);
        if (a->lse)
            a->lse[(int64_t)h * a->q.rows + a->q_off[s] + i] = max + logf(sum);
    }
}

int hone_ref_attention_fwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    struct job j = {a, dev};
    int rc = hone_cpu_require(dev, need_of(a), "attention_fwd", err);

    if (rc)
        return rc;
    hone_pool_run(dev->pool, a->n_seq * a->n_head, fwd_task, &j);
    return 0;
}

static void bwd_task(void *ctx, int task, int thread)
{
    struct job *job = ctx;
    const hone_attention *a = job->a;
    int s = task / a->n_kv, kv = task % a->n_kv, group = a->n_head / a->n_kv, h;
    int32_t n = a->q_off[s + 1] - a->q_off[s], d = a->head_size, i, j, j0, j1, c;
    float *p = hone_scratch(job->dev, thread), *dk = p + n, *dv = dk + (size_t)n * d,
          *dq = dv + (size_t)n * d;

    memset(dk, 0, 2 * (size_t)n * d * sizeof *dk);
    for (h = kv * group; h < (kv + 1) * group; h++)
        for (i = 0; i < n; i++) {
            int64_t row = a->q_off[s] + i;
            const void *q = hone_mat_row(&a->q, row), *o = hone_mat_row(&a->o, row),
                       *go = hone_mat_row(&a->do_, row);
            float delta = 0;

            scores(p, a, s, h, i, &j0, &j1);
            for (c = 0; c < d; c++)
                delta += hone_elem_get(go, a->do_.dtype, (int64_t)h * d + c) *
                         hone_elem_get(o, a->o.dtype, (int64_t)h * d + c);
            memset(dq, 0, (size_t)d * sizeof *dq);
            for (j = j0; j < j1; j++) {
                const void *k = hone_mat_row(&a->k, row - i + j), *v = hone_mat_row(&a->v, row - i + j);
                float prob = expf(p[j] - a->lse[(int64_t)h * a->q.rows + row]), dp = 0, ds;

                for (c = 0; c < d; c++)
                    dp += hone_elem_get(go, a->do_.dtype, (int64_t)h * d + c) *
                          hone_elem_get(v, a->v.dtype, (int64_t)kv * d + c);
                ds = prob * (dp - delta) * a->scale;
                if (a->softcap > 0)
                    ds *= 1 - p[j] / a->softcap * (p[j] / a->softcap);
                for (c = 0; c < d; c++) {
                    dv[(size_t)j * d + c] += prob * hone_elem_get(go, a->do_.dtype, (int64_t)h * d + c);
                    dk[(size_t)j * d + c] += ds * hone_elem_get(q, a->q.dtype, (int64_t)h * d + c);
                    dq[c] += ds * hone_elem_get(k, a->k.dtype, (int64_t)kv * d + c);
                }
            }
            hone_row_put(&a->dq, row, (int64_t)h * d, d, dq);
        }
    for (j = 0; j < n; j++) {
        hone_row_put(&a->dk, a->q_off[s] + j, (int64_t)kv * d, d, dk + (size_t)j * d);
        hone_row_put(&a->dv, a->q_off[s] + j, (int64_t)kv * d, d, dv + (size_t)j * d);
    }
}

int hone_ref_attention_bwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    struct job j = {a, dev};
    int rc = hone_cpu_require(dev, need_of(a), "attention_bwd", err);

    if (rc)
        return rc;
    hone_pool_run(dev->pool, a->n_seq * a->n_kv, bwd_task, &j);
    return 0;
}
