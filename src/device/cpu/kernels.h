/* The instruction sets of the CPU device: inner loops that the blocked ops are built from.
 *
 * The ops (linear.c, head.c, attention.c) are written once; an instruction set supplies this table of loops. Every loop
 * computes an output element in an order that depends on the element alone, not on its neighbours in the call: so the
 * ops may cut their work as suits the threads, and bits stay the same. */
#ifndef HONE_DEVICE_KERNELS_H
#define HONE_DEVICE_KERNELS_H

#include "device/table.h"

/* C[m, n] (+)= A[m, k] B[k, n] in f32, any m, n <= nr. Element (i, p) of A is a[i * ra + p * ca]; row p of B starts at
 * b + p * ldb. `padded`: B's rows hold nr readable values whatever n is. */
typedef void (*hone_gemm_fn)(float *c, int64_t ldc, const float *a, int64_t ra, int64_t ca, const float *b,
                             int64_t ldb, bool padded, int m, int n, int64_t k, bool add);

/* The same for bf16 operands: rows of A are `ra` apart; B holds pairs of rows interleaved, [ceil(k/2)][nr][2], zero
 * where k is odd. Products of a pair are added in f32 by the hardware's dot product. */
typedef void (*hone_gemm_bf16_fn)(float *c, int64_t ldc, const uint16_t *a, int64_t ra, const uint16_t *b,
                                  int m, int n, int64_t k, bool add);

struct hone_adamw8_job;

typedef void (*hone_expand_fn)(float *out, const void *src, int64_t n);

/* Values of four bits: value i is table[code i] * scale[(lead + i) / block]; codes two in a byte, the first one above. */
typedef struct hone_run4 {
    const uint8_t *codes;
    const float *table, *scale;
    int64_t lead, block; /* even */
} hone_run4;

/* How values become codes of four bits: the number of midpoints below x is the rank of the nearest value, code[rank] its
 * code. */
typedef struct hone_coder4 {
    float middle[15];
    uint8_t code[16];
} hone_coder4;

#define HONE_MASK_BLOCK 64 /* elements whose masks are drawn at once */

typedef struct hone_kernels {
    int nr; /* columns of a panel of B */
    int kc; /* rows of a panel at most */
    int kc_bf16;
    hone_gemm_fn gemm;
    hone_gemm_bf16_fn gemm_bf16; /* NULL: no bf16 products in hardware */

    /* out[0..n) = the values of n stored elements, bit for bit as hone_dequantise. */
    hone_expand_fn expand[HONE_DTYPE_COUNT];
    /* A stored row of n elements against x, without expanding it; NULL: expand and use dots. */
    float (*dot_stored[HONE_DTYPE_COUNT])(const void *w, const float *x, int64_t n);
    /* Four-bit codes: out[0..n), or their dot product with x; n is even. */
    void (*expand4)(float *out, const hone_run4 *run, int64_t n);
    float (*dot4)(const hone_run4 *run, const float *x, int64_t n);
    /* Codes of one block of n values (even), as quantise.c makes them; returns the largest magnitude, NaN or infinity when
     * a value is. */
    float (*quantise4)(uint8_t *codes, const float *x, int64_t n, const hone_coder4 *coder);
    void (*quantise_q8_0)(void *out, const float *x, int64_t n); /* as hone_quantise */
    /* x[i] = bf16(scale * x[i]), or just scaled. */
    void (*scale_round)(float *x, int64_t n, float scale, bool round);
    /* panel[p * nr + i] = rows[i * ld + p], i < m, p < k; zero for m <= i < nr. */
    void (*transpose)(float *panel, const float *rows, int64_t ld, int m, int64_t k);
    /* out[p * ldo + i] = rows[i * ld + p], i < m, p < k; ldo is m rounded up to a multiple of 8, the rest zero. */
    void (*turn)(float *out, int64_t ldo, const float *rows, int64_t ld, int m, int64_t k);
    void (*to_f32)(float *out, const uint16_t *in, int64_t n);
    void (*to_bf16)(uint16_t *out, const float *in, int64_t n);
    /* Pairs of rows of f32 as a bf16 panel: straight (rows p of nr columns), transposed (rows i of k values). */
    void (*pairs)(uint16_t *panel, const float *rows, int64_t ld, int n, int64_t k);
    void (*pairs_transposed)(uint16_t *panel, const float *rows, int64_t ld, int m, int64_t k);

    float (*dot)(const float *a, const float *b, int64_t n);
    /* out[j] = w . x_j for j < n <= 16 rows of x. */
    void (*dots)(float *out, const float *w, const float *x, int64_t ldx, int n, int64_t k);
    /* y += a x */
    void (*axpy)(float *y, const float *x, float a, int64_t n);
    /* y += a (u x), element by element */
    void (*product_sum)(float *y, const float *u, const float *x, float a, int64_t n);

    /* Dropout. Draws the mask of n elements from Philox call `counter` on, a bit an element; writes whole blocks of
     * HONE_MASK_BLOCK of them. */
    void (*draw)(uint8_t *mask, int64_t n, uint64_t seed, uint64_t stream, uint64_t counter, uint32_t limit);
    /* out[0..n) = kept ? scale * x : 0; x is f32 or bf16. */
    void (*keep)(float *out, const void *x, hone_dtype t, int64_t n, const uint8_t *mask, float scale);
    /* y[m, n] += kept ? scale * x : 0; rows of the mask are ldm bytes apart. */
    void (*add_kept)(float *y, int64_t ldy, const float *x, int64_t ldx, int m, int n, const uint8_t *mask,
                     int64_t ldm, float scale);

    /* max of x and the lowest index that has it (NaN: any). */
    float (*max)(const float *x, int64_t n, int32_t *where);
    /* x[i] = exp(x[i] * scale - shift), their sum. */
    float (*exp_sum)(float *x, int64_t n, float scale, float shift);
    void (*scale)(float *x, int64_t n, float scale);
    /* x[i] = cap tanh(x[i] scale / cap) */
    void (*softcap)(float *x, int64_t n, float scale, float cap);
    /* dS of attention backward: p = exp(s scale - lse); s = p (dp - delta) scale; dp = p. Exponents up to 88. */
    void (*softmax_grad)(float *s, float *dp, int64_t n, float scale, float lse, float delta);

    void (*rmsnorm_fwd)(void *y, float *rstd, const void *x, const float *w, int64_t n, float eps,
                        hone_dtype t);
    void (*rmsnorm_bwd)(void *dx, bool add, const void *dy, const void *x, const float *w, const float *rstd,
                        int64_t n, float eps, hone_dtype t);
    void (*rope)(void *x, const float *cosine, const float *sine, int64_t half, hone_dtype t);
    void (*glu_fwd)(void *h, const void *g, const void *u, int64_t n, hone_act act, hone_dtype t);
    void (*glu_bwd)(void *dg, void *du, const void *dh, const void *g, const void *u, int64_t n, hone_act act,
                    hone_dtype t);
    void (*add)(void *y, const void *a, const void *b, int64_t n, hone_dtype t);
    double (*sum_squares)(const float *x, size_t n);
    /* c: decay, clip, b1, 1-b1, b2, 1-b2, step, root, eps */
    void (*adamw)(float *p, float *g, float *m, float *v, size_t n, const float c[9]);
    void (*adamw8_block)(const struct hone_adamw8_job *j,
                         size_t block); /* optim.h; NULL: the plain program */

    /* `rounds` rounds of independent multiply-adds; returns the operations of one round. */
    double (*peak)(int64_t rounds, float *sink);
    double (*peak_bf16)(int64_t rounds, float *sink);
} hone_kernels;

/* Each is empty of function pointers it does not have; an overlay copies from the set below it. */
void hone_kernels_avx2(hone_kernels *k);
void hone_kernels_avx512(hone_kernels *k);     /* over avx2 */
void hone_kernels_avx512bf16(hone_kernels *k); /* over avx512 */

/* Parts of the AVX2 set, by file. */
void hone_expand_avx2(hone_kernels *k);
void hone_rows_avx2(hone_kernels *k);
void hone_optim_avx2(hone_kernels *k);
void hone_quantise_avx2(hone_kernels *k);
/* panel[p * nr + i] = rows[i * ld + p] for i < m, p < k; zero for m <= i < nr. nr is a multiple of 8. */
void hone_transpose_avx2(float *panel, int64_t nr, const float *rows, int64_t ld, int m, int64_t k);

/* Values first .. first + n of w, bit for bit as hone_weight_values. */
void hone_expand_weight(const hone_kernels *k, float *out, const hone_weight *w, int64_t first, int64_t n);
/* The dot product of n values of w, whose type has a kernel for it, with x. */
float hone_dot4_weight(const hone_kernels *k, const hone_weight *w, int64_t first, const float *x, int64_t n);

/* The best set that the processor has, the operating system saves, and this build contains. */
hone_isa hone_cpu_best_isa(void);

/* Makes the kernels of an instruction set and uses them; REF changes nothing. HONE_ENOMEM. */
int hone_cpu_overlay(hone_device *dev, hone_isa isa, hone_error *err);
/* Replaces the ops of dev by the blocked ones on these kernels (taken: freed with the device). */
void hone_cpu_use(hone_device *dev, hone_kernels *k);

size_t hone_cpu_workspace_size(const hone_device *dev, const hone_workspace_spec *s);
int hone_cpu_workspace_reserve(hone_device *dev, const hone_workspace_spec *s, hone_error *err);

#endif
