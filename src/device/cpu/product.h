/* The blocked product: C[M, N] = sum over terms of A[M, K] B[K, N], for weights in any stored format.
 *
 * Forward, input gradient, adapters, head and attention all are such sums; what differs is where A and B come from. B
 * is cut into blocks that are expanded into panels in the L2 cache (once for up to 256 rows of A), A is read where it
 * lies, and the register tile of the instruction set does the rest. */
#ifndef HONE_DEVICE_PRODUCT_H
#define HONE_DEVICE_PRODUCT_H

#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"

#define HONE_PRODUCT_ROWS 256  /* rows of A that share one expansion of B, at most */
#define HONE_PRODUCT_COLS 256  /* columns of a block of B: a whole number of blocks of every format */
#define HONE_PRODUCT_WIDE 1024 /* columns that share one conversion of A, at most: whole blocks of B */
#define HONE_PRODUCT_LDC                                                                                     \
    (HONE_PRODUCT_WIDE + 16) /* of a block of C in scratch: rows in different sets of the cache */
#define HONE_PRODUCT_FEW 16  /* up to so many rows, dot products along the stored rows of B are faster */
#define HONE_MAX_TERMS (3 * HONE_MAX_PARTS)

/* The mask of a dropout over a matrix: a bit an element, rows `ld` bytes apart; what is kept is multiplied by scale. */
typedef struct hone_mask {
    uint8_t *bits; /* NULL: everything is kept as it is */
    int64_t ld;
    float scale;
} hone_mask;

typedef struct hone_term {
    hone_mat a;       /* [M, K], or [K, M] when turned */
    hone_mask drop;   /* the dropout that A goes through */
    hone_mask undrop; /* the dropout, over [M, N], that this term of C goes through; not of the first term */
    hone_weight b;    /* [K, N], or [N, K] when transposed */
    bool transposed;
    bool frozen; /* rounded to bf16 when `round`: a weight of the model, not of an adapter */
    float scale; /* of B */
    bool turned; /* A is read by columns: a product over tokens; without dropout */
    int64_t ldb; /* elements from row to row of an f32 or bf16 B that is an activation; 0: stored rows */
} hone_term;

typedef struct hone_product {
    const hone_kernels *k;
    bool round; /* activations are bf16: frozen weights are seen in bf16 */
    bool pairs; /* bf16 operands in the hardware's dot product; implies round */
    int n_terms;
    hone_term term[HONE_MAX_TERMS];
} hone_product;

/* Scratch of a product, per thread: panels of B, rows being expanded, a block of A, a block of C and one more. */
typedef struct hone_product_scratch {
    float *panels, *rows, *a, *c, *t;
} hone_product_scratch;

#define HONE_KC_MAX 384
#define HONE_MC 96
#define HONE_NR_MAX 32

size_t hone_product_scratch_size(void);
hone_product_scratch hone_product_scratch_at(void *base);

/* C[r0..r1, n0..n0+nn) (+)= the sum; c points at (r0, n0). At most HONE_PRODUCT_ROWS rows and HONE_PRODUCT_WIDE columns; n0
 * is a multiple of HONE_PRODUCT_COLS where a term is not transposed, else of the panel's width. */
void hone_product_block(const hone_product *p, const hone_product_scratch *s, int64_t r0, int64_t r1,
                        int64_t n0, int nn, float *c, int64_t ldc, bool add);

/* Columns of one call that suit the product best. */
int hone_product_width(const hone_product *p);

/* out[r0..r1, c0..c1) = the sum + bias, in out's type; add: on top of what is there. */
void hone_product_store(const hone_product *p, const hone_product_scratch *s, hone_mat *out, int64_t r0,
                        int64_t r1, int64_t c0, int64_t c1, const float *bias, bool add);

/* out[r0..r1, c0..c1) += (left^T x) there: left is [N, M], x [N, K], out f32 [M, K]. The sum over N is in order;
 * at most HONE_PRODUCT_ROWS rows. */
void hone_product_over_rows(const hone_kernels *k, const hone_product_scratch *s, const hone_mat *left,
                            const hone_mat *x, float *out, int64_t r0, int64_t r1, int64_t c0, int64_t c1);

/* Cuts M rows x `cols` columns into tasks for a number of threads: bits do not depend on it. */
typedef struct hone_cut {
    int64_t rows, cols; /* of a task */
    int row_tasks;
} hone_cut;

hone_cut hone_product_cut(int64_t m, int64_t cols, int threads);

/* out[0..n) = elements [c, c + n) of row r of x through the dropout; c is a multiple of 8. */
void hone_keep_row(const hone_kernels *k, float *out, const hone_mat *x, const hone_mask *mask, int64_t r,
                   int64_t c, int64_t n);

/* x as f32: itself, or converted into tmp with rows next to each other. */
hone_mat hone_mat_as_f32(const hone_kernels *k, const hone_mat *x, float *tmp);

/* y[0..n) of row `r` of a weight against n <= HONE_PRODUCT_FEW rows of x (f32). rows: scratch. */
void hone_few_dots(const hone_kernels *k, float *y, const hone_weight *w, int64_t r, bool round,
                   const hone_mat *x, float *rows);

/* The blocked ops. */
int hone_fast_linear_fwd(hone_device *dev, const hone_linear *g, hone_error *err);
int hone_fast_linear_bwd(hone_device *dev, const hone_linear *g, hone_error *err);
int hone_fast_head_loss(hone_device *dev, const hone_head *a, hone_error *err);
int hone_fast_head_logits(hone_device *dev, float *logits, hone_mat h, const hone_weight *w, float softcap,
                          hone_error *err);
int hone_fast_attention_fwd(hone_device *dev, const hone_attention *a, hone_error *err);
int hone_fast_attention_bwd(hone_device *dev, const hone_attention *a, hone_error *err);
void hone_fast_rows(hone_ops *ops);

hone_need hone_fast_need_linear(int64_t n, int64_t in, int rank);
hone_need hone_fast_need_head(int64_t n, int64_t vocab, int64_t width);
hone_need hone_fast_need_attention(int64_t n, int n_head, int head_size, int64_t kv_len);
hone_need hone_fast_need_rows(int64_t width, int head_size);

#endif
