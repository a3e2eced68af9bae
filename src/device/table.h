/* The op table: one function pointer per op of ops.h, one table per device.
 *
 * ops.c checks arguments once for all devices and is the only caller of the table. The CPU starts from the plain
 * reference and overlays what its instruction set does faster (as BLIS does); a GPU module returns a table of its own.
 * So the signatures know nothing of threads or instruction sets: arguments of ops.h, already checked. */
#ifndef HONE_DEVICE_TABLE_H
#define HONE_DEVICE_TABLE_H

#include "device/ops.h"
#include "device/pool.h"

typedef struct hone_ops {
    int (*linear_fwd)(hone_device *dev, const hone_linear *g, hone_error *err);
    int (*linear_bwd)(hone_device *dev, const hone_linear *g, hone_error *err);
    int (*dora_norms)(hone_device *dev, float *norm, const hone_weight *w, const hone_lora *l,
                      hone_error *err);
    int (*attention_fwd)(hone_device *dev, const hone_attention *a, hone_error *err);
    int (*attention_bwd)(hone_device *dev, const hone_attention *a, hone_error *err);
    int (*embed)(hone_device *dev, hone_mat out, const hone_weight *table, const int32_t *ids, float scale,
                 hone_error *err);
    int (*add_noise)(hone_device *dev, hone_mat x, const float *size, uint64_t seed, uint64_t stream,
                     hone_error *err);
    int (*embed_bwd)(hone_device *dev, float *dtable, hone_mat dy, const int32_t *ids, float scale,
                     hone_error *err);
    int (*rmsnorm_fwd)(hone_device *dev, hone_mat y, float *rstd, hone_mat x, const float *w, float eps,
                       hone_error *err);
    int (*rmsnorm_bwd)(hone_device *dev, hone_mat dx, bool add, hone_mat dy, hone_mat x, const float *w,
                       const float *rstd, float eps, hone_error *err);
    int (*rmsnorm_bwd_w)(hone_device *dev, float *dw, hone_mat dy, hone_mat x, float eps, hone_error *err);
    int (*rope)(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq, int32_t head_size,
                int32_t dims, float factor, bool inverse, hone_error *err);
    int (*glu_fwd)(hone_device *dev, hone_mat h, hone_mat g, hone_mat u, hone_act act, hone_error *err);
    int (*glu_bwd)(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                   hone_act act, hone_error *err);
    int (*add)(hone_device *dev, hone_mat y, hone_mat a, hone_mat b, hone_error *err);
    int (*head_loss)(hone_device *dev, const hone_head *a, hone_error *err);
    int (*head_logits)(hone_device *dev, float *logits, hone_mat h, const hone_weight *w, float softcap,
                       hone_error *err);
    double (*sum_squares)(hone_device *dev, const float *x, size_t n);
    int (*adamw_step)(hone_device *dev, const hone_adamw *a, hone_error *err);
    int (*adamw8_step)(hone_device *dev, const hone_adamw8 *a, hone_error *err);
    int (*adafactor_step)(hone_device *dev, const hone_adafactor *a, hone_error *err);
    int (*sgd_step)(hone_device *dev, const hone_sgd *a, hone_error *err);
    size_t (*workspace_size)(const hone_device *dev, const hone_workspace_spec *s);
    int (*workspace_reserve)(hone_device *dev, const hone_workspace_spec *s, hone_error *err);
    double (*peak_gflops)(hone_device *dev, bool bf16, double seconds);
} hone_ops;

struct hone_kernels; /* cpu/kernels.h: the instruction set's inner loops */

/* Scratch of an op: bytes for every thread, and bytes that all threads share. */
typedef struct hone_need {
    size_t thread, shared;
} hone_need;

struct hone_device {
    hone_ops ops;
    const char *name;
    hone_isa isa;
    bool has_bf16; /* bf16 products in hardware */
    /* the CPU's own state */
    hone_pool *pool;
    struct hone_kernels *kernels; /* NULL: reference only */
    uint8_t *workspace;           /* threads x need.thread, then need.shared */
    size_t workspace_size;
    hone_need reserved;
};

#endif
