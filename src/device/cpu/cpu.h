/* What the files of the CPU device share: rows of matrices, scratch, the reference ops.
 *
 * A reference op is the plainest correct program for its contract. It stays as the oracle of the fast kernels and as
 * the fallback of machines without them. */
#ifndef HONE_DEVICE_CPU_H
#define HONE_DEVICE_CPU_H

#include "device/table.h"

/* ---- rows ------------------------------------------------------------------------------------------------------ */

static inline size_t hone_elem_size(hone_dtype t)
{
    return t == HONE_F32 ? 4 : 2;
}

static inline void *hone_mat_row(const hone_mat *m, int64_t r)
{
    return (char *)m->data + (size_t)(r * m->ld) * hone_elem_size(m->dtype);
}

/* n values of a row as f32, from element c on: in place for f32, else converted into tmp. */
static inline const float *hone_row_get(const hone_mat *m, int64_t r, int64_t c, int64_t n, float *tmp)
{
    const uint16_t *h;
    int64_t i;

    if (m->dtype == HONE_F32)
        return (const float *)hone_mat_row(m, r) + c;
    h = (const uint16_t *)hone_mat_row(m, r) + c;
    for (i = 0; i < n; i++)
        tmp[i] = hone_bf16_to_f32(h[i]);
    return tmp;
}

static inline void hone_row_put(const hone_mat *m, int64_t r, int64_t c, int64_t n, const float *src)
{
    uint16_t *h;
    int64_t i;

    if (m->dtype == HONE_F32) {
        float *f = (float *)hone_mat_row(m, r) + c;

        if (f != src)
            memcpy(f, src, (size_t)n * sizeof *f);
        return;
    }
    h = (uint16_t *)hone_mat_row(m, r) + c;
    for (i = 0; i < n; i++)
        h[i] = hone_f32_to_bf16(src[i]);
}

static inline float hone_elem_get(const void *row, hone_dtype t, int64_t i)
{
    return t == HONE_F32 ? ((const float *)row)[i] : hone_bf16_to_f32(((const uint16_t *)row)[i]);
}

static inline void hone_elem_put(void *row, hone_dtype t, int64_t i, float v)
{
    if (t == HONE_F32)
        ((float *)row)[i] = v;
    else
        ((uint16_t *)row)[i] = hone_f32_to_bf16(v);
}

static inline const void *hone_weight_row(const hone_weight *w, int64_t r)
{
    return (const char *)w->data + (size_t)r * hone_dtype_bytes(w->dtype, w->cols);
}

/* ---- scratch ---------------------------------------------------------------------------------------------------- */

static inline size_t hone_align(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

static inline void *hone_scratch(const hone_device *dev, int thread)
{
    return dev->workspace + (size_t)thread * dev->reserved.thread;
}

static inline void *hone_shared(const hone_device *dev)
{
    return dev->workspace + (size_t)hone_pool_threads(dev->pool) * dev->reserved.thread;
}

static inline hone_need hone_need_max(hone_need a, hone_need b)
{
    hone_need n = {HONE_MAX(a.thread, b.thread), HONE_MAX(a.shared, b.shared)};

    return n;
}

/* 0, or HONE_EINTERNAL when the reserved workspace is smaller than an op needs. */
int hone_cpu_require(const hone_device *dev, hone_need n, const char *op, hone_error *err);

/* What the ops need for the largest shapes: reference, and the blocked ops. */
hone_need hone_ref_need(const hone_workspace_spec *s);

/* Rows of one partial sum of hone_rmsnorm_bwd_w: a function of the rows alone, so that the bits are. */
#define HONE_NORM_PARTS 32

static inline int64_t hone_norm_part(int64_t rows)
{
    return HONE_MAX((rows + HONE_NORM_PARTS - 1) / HONE_NORM_PARTS, 16);
}

/* ---- the reference ops -------------------------------------------------------------------------------------------- */

int hone_ref_linear_fwd(hone_device *dev, const hone_linear *g, hone_error *err);
int hone_ref_linear_bwd(hone_device *dev, const hone_linear *g, hone_error *err);
int hone_ref_attention_fwd(hone_device *dev, const hone_attention *a, hone_error *err);
int hone_ref_attention_bwd(hone_device *dev, const hone_attention *a, hone_error *err);
int hone_ref_embed(hone_device *dev, hone_mat out, const hone_weight *table, const int32_t *ids, float scale,
                   hone_error *err);
int hone_cpu_add_noise(hone_device *dev, hone_mat x, const float *size, uint64_t seed, uint64_t stream,
                       hone_error *err);
int hone_ref_embed_bwd(hone_device *dev, float *dtable, hone_mat dy, const int32_t *ids, float scale,
                       hone_error *err);
int hone_ref_rmsnorm_fwd(hone_device *dev, hone_mat y, float *rstd, hone_mat x, const float *w, float eps,
                         hone_error *err);
int hone_ref_rmsnorm_bwd(hone_device *dev, hone_mat dx, bool add, hone_mat dy, hone_mat x, const float *w,
                         const float *rstd, float eps, hone_error *err);
int hone_ref_rmsnorm_bwd_w(hone_device *dev, float *dw, hone_mat dy, hone_mat x, float eps, hone_error *err);
int hone_ref_rope(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq, int32_t head_size,
                  int32_t dims, float factor, bool inverse, hone_error *err);
int hone_ref_glu_fwd(hone_device *dev, hone_mat h, hone_mat g, hone_mat u, hone_act act, hone_error *err);
int hone_ref_glu_bwd(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                     hone_act act, hone_error *err);
int hone_ref_add(hone_device *dev, hone_mat y, hone_mat a, hone_mat b, hone_error *err);
int hone_ref_head_loss(hone_device *dev, const hone_head *a, hone_error *err);
int hone_ref_head_logits(hone_device *dev, float *logits, hone_mat h, const hone_weight *w, float softcap,
                         hone_error *err);
double hone_ref_sum_squares(hone_device *dev, const float *x, size_t n);
int hone_ref_adamw_step(hone_device *dev, const hone_adamw *a, hone_error *err);
/* optim.c: one program for every instruction set; their time is that of memory. */
int hone_cpu_adamw8_step(hone_device *dev, const hone_adamw8 *a, hone_error *err);
int hone_cpu_adafactor_step(hone_device *dev, const hone_adafactor *a, hone_error *err);
int hone_cpu_sgd_step(hone_device *dev, const hone_sgd *a, hone_error *err);
/* dora.c: one program for every instruction set, on its kernels. */
int hone_cpu_dora_norms(hone_device *dev, float *norm, const hone_weight *w, const hone_lora *l,
                        hone_error *err);
/* Of every part with DoRA: adds the magnitude's gradient and puts gain dy (with dropout: (gain - 1) dy) in z's place. */
void hone_cpu_dora_turn(hone_device *dev, const hone_linear *g);
double hone_ref_peak_gflops(hone_device *dev, bool bf16, double seconds);

/* Scratch of single reference ops, for the ops' own checks and hone_ref_need. */
hone_need hone_ref_need_linear(int64_t n, int64_t in, int rank, int parts);
hone_need hone_ref_need_attention(int64_t kv_len, int head_size);
hone_need hone_ref_need_head(int64_t vocab, int64_t width);
hone_need hone_ref_need_rows(int64_t width, int head_size);

/* A row of a frozen weight as the product sees it: f32 values, rounded to bf16 when the activations are bf16, but those of
 * a patch. */
static inline void hone_ref_weight_row(float *out, const hone_weight *w, int64_t r, hone_dtype activation)
{
    int64_t i;

    hone_weight_values(out, w, r * w->cols, w->cols);
    if (activation == HONE_BF16 && !hone_weight_patch(w, r))
        for (i = 0; i < w->cols; i++)
            out[i] = hone_bf16_to_f32(hone_f32_to_bf16(out[i]));
}

#endif
