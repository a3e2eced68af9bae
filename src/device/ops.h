/* The ops: everything a model computes, declared once, implemented once per device.
 *
 * Every activation is 2-D, [N tokens, width], row-major; batches are packed, sequences delimited by offsets; there is
 * no padding anywhere. Activations are f32 or bf16 (`dtype` of the matrix; one op, one activation type); sums, norms'
 * statistics, softmax, adapters and their gradients are f32; losses f64. "bf16" means: stored as bf16, rounded to
 * nearest even when an op writes it, accumulated in f32 inside an op.
 *
 * Contract of every op: outputs first; "=" overwrites, "+=" accumulates; buffers do not alias unless said so; the same
 * inputs give the same bits for every number of threads; shapes are checked once, in ops.c, for all devices (HONE_ESHAPE:
 * a defect of the caller). No op allocates: scratch comes from the workspace reserved at the start. */
#ifndef HONE_DEVICE_OPS_H
#define HONE_DEVICE_OPS_H

#include "base/base.h"
#include "base/dtype.h"
#include "hone/device.h"

#define HONE_IGNORE (-100) /* a target that does not count */

/* A view of a matrix: row r starts at data + r * ld elements. */
typedef struct hone_mat {
    void *data;
    hone_dtype dtype; /* HONE_F32 or HONE_BF16 */
    int64_t rows, cols, ld;
} hone_mat;

static inline hone_mat hone_mat_make(void *data, hone_dtype dtype, int64_t rows, int64_t cols)
{
    hone_mat m = {data, dtype, rows, cols, cols};

    return m;
}

#define HONE_NESTED_BLOCK 256 /* scales that share a second scale */

/* Scales of a matrix of NF4 or FP4 codes: its values, row after row, are cut into blocks; a value is the code's times the
 * scale of its block. Scale b is top[b], or, when the scales are quantised too ("double quantisation"; Dettmers et al.
 * 2023, 3), map[code[b]] top[b / HONE_NESTED_BLOCK] + offset, rounded after each step. Of a matrix of I8, a value of row r is its code
 * times top[r]; the rest does not count. */
typedef struct hone_scales {
    const uint8_t *code; /* [blocks]; NULL: top has all */
    const float *top;    /* [blocks], or one for HONE_NESTED_BLOCK of them; I8: [rows] */
    const float *map;    /* [256] */
    float offset;
    int32_t block; /* values: a power of two, at least 32 */
} hone_scales;

/* Rows that stand in for those of a table, in f32 and never rounded: row id[i] of the table is row[i, :]. */
typedef struct hone_row_patch {
    const int32_t *id;   /* [n] none twice */
    const int32_t *slot; /* [rows of the table] i of a row id[i], -1 of the others */
    const float *row;    /* [n, cols] */
    const float *base;   /* [n, cols] what the table holds there */
    float *drow;         /* [n, cols] += their gradient; NULL: frozen */
    int32_t n;
} hone_row_patch;

/* A frozen matrix [rows = out, cols = in] in any weight format, used as stored: the product expands panels of it. */
typedef struct hone_weight {
    const void *data; /* rows of hone_dtype_bytes(dtype, cols) bytes, one after the other; may be unaligned */
    hone_dtype dtype;
    int32_t rows, cols;
    const float *bias;           /* [rows] or NULL; belongs to linear_fwd */
    const hone_scales *scales;   /* of NF4, FP4 and I8, else NULL */
    const hone_row_patch *patch; /* of an embedding or a head; NULL: none. The linear ops know none */
} hone_weight;

/* The row that stands in for a row of w, or NULL. */
static inline const float *hone_weight_patch(const hone_weight *w, int64_t row)
{
    const int32_t slot = w->patch ? w->patch->slot[row] : -1;

    return slot < 0 ? NULL : w->patch->row + (int64_t)slot * w->cols;
}

/* out[0..n) = values first .. first + n of w, row after row; both whole blocks of its type. Plain C. */
void hone_weight_values(float *out, const hone_weight *w, int64_t first, int64_t n);

/* Bytes that hone_weight_quantise writes for n values of a type. */
size_t hone_quantised_size(hone_dtype type, bool nested, int64_t n);
/* Quantises a matrix of F32, F16 or BF16, with all threads of dev, into `out` (aligned to 64 bytes), and points w there.
 * type: NF4 or FP4 in blocks of 64 as bitsandbytes makes them, `nested`: with quantised scales; or Q8_0 as ggml. The bits
 * are the same for every number of threads and instruction set. HONE_EUNSUPPORTED when the columns are no whole blocks,
 * HONE_EFORMAT when a value is not finite, HONE_ENOMEM. */
int hone_weight_quantise(hone_device *dev, hone_weight *w, void *out, hone_dtype type, bool nested,
                         hone_error *err);

/* ---- linear: projections that share an input ------------------------------------------------------------------ */

/* The adapter of one projection: y += scale * drop(x) A^T B^T. Hu et al. 2021, eq. 3; PEFT's names. */
typedef struct hone_lora {
    int32_t r;
    float scale;        /* alpha / r */
    const float *a, *b; /* [r, in], [out, r] */
    float *da, *db;     /* += gradients of the same shapes; both NULL when the adapter is frozen */
    float dropout;      /* probability p of dropping an input; 0 = off (always 0 outside training) */
    uint64_t seed,
        stream; /* Philox key of the mask, see hone_dropout_keep; forward and backward use the same */
    /* DoRA (Liu et al. 2024, 4.3): the row o of W + scale B A is given the length magnitude[o]. All NULL: without. */
    const float *magnitude, *norm; /* [out]; norm is that row's length, a constant to the gradients */
    float *dmagnitude;             /* [out] += its gradient; NULL with da */
} hone_lora;

static inline bool hone_is_dora(const hone_lora *l)
{
    return l && l->magnitude;
}

/* The factor of output o. A row without length has none to give. */
static inline float hone_dora_gain(const hone_lora *l, int64_t o)
{
    return l->norm[o] > 0 ? l->magnitude[o] / l->norm[o] : 0.0f;
}

#define HONE_MAX_PARTS 3

/* y_p[N, out_p] = x W_p^T + bias_p + lora_p(x), for up to three projections of the same x: x is packed once. */
typedef struct hone_linear {
    hone_mat x; /* [N, in] */
    int n_parts;
    struct hone_linear_part {
        const hone_weight *w;
        const hone_lora *lora; /* NULL: none */
        hone_mat y;            /* fwd: = [N, out]; bwd: not read */
        float *u; /* [N, r] f32 = drop(x) A^T: written by fwd, read by bwd; NULL without adapter */
        hone_mat
            z; /* DoRA: [N, out] before the gain; = in fwd (data NULL: not kept), read and overwritten in bwd */
        hone_mat dy;       /* bwd: [N, out], read */
        float *dw, *dbias; /* bwd: += gradients of the projection itself, [out, in] and [out]; NULL: frozen */
    } part[HONE_MAX_PARTS];
    hone_mat dx; /* bwd: [N, in]; data NULL: not wanted */
    bool add_dx; /* dx += instead of = */
} hone_linear;

/* fwd:  y_p = x W_p^T + bias_p + scale_p u_p B_p^T,  u_p = drop(x) A_p^T
 * bwd:  du_p = scale_p dy_p B_p;  dB_p += scale_p dy_p^T u_p;  dA_p += du_p^T drop(x);
 *       dx (+)= sum_p ( dy_p W_p + undrop(du_p A_p) )      flash-attention.md 6, row LoRA
 *       dW_p += dy_p^T x;  dbias_p += sum over tokens of dy_p
 * With DoRA, gain = magnitude / norm (each output its own; PEFT scales the base on the dropped input too):
 * fwd:  z = drop(x) W^T + scale u B^T;  y = (x - drop(x)) W^T + bias + gain z
 * bwd:  dmagnitude += sum over tokens of dy z / norm;  dz = gain dy takes the place of dy for du, dA and dB;
 *       dx (+)= (dy W - undrop(dy W)) + undrop(dz W + du A)
 * N = 1..16 uses dot products per weight format (decoding); larger N the blocked product. */
int hone_linear_fwd(hone_device *dev, const hone_linear *g, hone_error *err);
int hone_linear_bwd(hone_device *dev, const hone_linear *g, hone_error *err);

/* norm[o] = |W_o + scale B_o A|, o < out: once for every change of a or b. Only r, scale, a and b of l are read. */
int hone_dora_norms(hone_device *dev, float *norm, const hone_weight *w, const hone_lora *l, hone_error *err);

/* ---- attention --------------------------------------------------------------------------------------------------- */

/* Packed queries of n_seq sequences against keys and values. Query rows of sequence s are [q_off[s], q_off[s+1]); its
 * keys are kv_len[s] rows from row kv_row[s] of k and v. The last query sees all kv_len[s] keys, the one before all
 * but the last, and so on (causal, bottom-right aligned). Training: kv_row[s] = q_off[s], kv_len[s] = the length.
 * RoPE is applied before. Query head h reads KV head h / (H / K). */
typedef struct hone_attention {
    hone_mat q, k, v; /* [N, H D], [M, K D], [M, K D] */
    hone_mat o;       /* [N, H D]; = in fwd, read in bwd */
    float *lse;       /* [H, N] natural log; = in fwd (NULL: not wanted), read in bwd */
    int32_t n_head, n_kv, head_size;
    float scale;
    float softcap;  /* 0 = none; c: scores become c tanh(scale q k / c) before the mask */
    int32_t window; /* 0 = none; W: query i sees keys j > i - W */
    int32_t n_seq;
    const int32_t *q_off;           /* [n_seq + 1] */
    const int32_t *kv_row, *kv_len; /* [n_seq] */
    hone_mat do_;                   /* bwd: [N, H D], read */
    hone_mat dq, dk, dv;            /* bwd: = the gradients (dk, dv of every key row of every sequence) */
} hone_attention;

/* No [N, M] matrix is stored: online softmax forward, recomputed backward (flash-attention.md 1-4). */
int hone_attention_fwd(hone_device *dev, const hone_attention *a, hone_error *err);
int hone_attention_bwd(hone_device *dev, const hone_attention *a, hone_error *err); /* training layout only */

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

/* out[n, :] = scale * table[ids[n], :]; ids in [0, V), checked (HONE_ERANGE). */
int hone_embed(hone_device *dev, hone_mat out, const hone_weight *table, const int32_t *ids, float scale,
               hone_error *err);

/* x[n, i] += size[n] (2 u - 1), u = word e of hone_philox(seed, stream, index / 4) / 2^32, index = n C + i, e = index % 4:
 * noise of NEFTune (Jain et al. 2023), the same for every number of threads. */
int hone_add_noise(hone_device *dev, hone_mat x, const float *size, uint64_t seed, uint64_t stream,
                   hone_error *err);

/* dtable[ids[n], :] += scale * dy[n, :] for the tokens in order, but those whose id is -1; dtable is [vocab, C] f32. ids are
 * checked. */
int hone_embed_bwd(hone_device *dev, float *dtable, int32_t vocab, hone_mat dy, const int32_t *ids,
                   float scale, hone_error *err);

/* y = w * x rstd, rstd[n] = (mean x^2 + eps)^-1/2, over rows of x. Heads (q/k norm): pass a view [N*H, D].
 * rstd NULL: not kept. y may alias x (then backward needs a copy of x kept elsewhere). */
int hone_rmsnorm_fwd(hone_device *dev, hone_mat y, float *rstd, hone_mat x, const float *w, float eps,
                     hone_error *err);
/* dx (+)= rstd (G - xhat mean(G xhat)), G = dy w. dx may alias dy when add is false. rstd is recomputed when NULL. */
int hone_rmsnorm_bwd(hone_device *dev, hone_mat dx, bool add, hone_mat dy, hone_mat x, const float *w,
                     const float *rstd, float eps, hone_error *err);

/* dw[c] += sum over rows of dy[n, c] x[n, c] rstd[n]: the gradient of w, for a norm that is trained. dw is [C] f32. */
int hone_rmsnorm_bwd_w(hone_device *dev, float *dw, hone_mat dy, hone_mat x, float eps, hone_error *err);

/* Rotates pairs (i, i + dims/2), i < dims/2, of every head of x [N, heads * D] in place by pos[n] * inv_freq[i], times
 * factor; the other dimensions stay. inverse rotates back (the gradient). dims: even, at most D. */
int hone_rope(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq, int32_t head_size,
              int32_t dims, float factor, bool inverse, hone_error *err);

/* The activation of a gated unit, act(g) = g s(g): SiLU has s = sigmoid(g); GELU in its tanh form has
 * s = sigmoid(t), t = 2 (2/pi)^1/2 (g + 0.044715 g^3), since (1 + tanh(t/2)) / 2 = sigmoid(t). */
typedef enum hone_act { HONE_ACT_SILU, HONE_ACT_GELU_TANH } hone_act;

/* h = act(g) * u. Backward: dg = dh u s (1 + g (1 - s) dt/dg) with t = g for SiLU, du = dh g s; dg may alias g, du may
 * alias u. Shazeer 2020. */
int hone_glu_fwd(hone_device *dev, hone_mat h, hone_mat g, hone_mat u, hone_act act, hone_error *err);
int hone_glu_bwd(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                 hone_act act, hone_error *err);

/* y = a + b; y may alias either. */
int hone_add(hone_device *dev, hone_mat y, hone_mat a, hone_mat b, hone_error *err);

/* ---- head and cross-entropy ------------------------------------------------------------------------------------------ */

/* Cross-entropy over the vocabulary for n rows that all count (the caller leaves out rows without a target).
 * Logits exist for a chunk of rows at a time, never whole. */
/* What is minimised, with p the softmax of the logits, sg a value taken as a constant, V the vocabulary:
 *   f ((1 - smoothing) (-log p_t) + smoothing / V sum_v (-log p_v)) + z (log sum exp)^2,  f = dft ? sg(p_t) : 1
 * (label smoothing as transformers has it, DFT as TRL). All zero: -log p_t. */
typedef struct hone_objective {
    float smoothing, z;
    bool dft;
} hone_objective;

typedef struct hone_head {
    hone_mat h;            /* [n, C] output of the final norm */
    const hone_weight *w;  /* [V, C]; with dh the gradient of its patch's rows is added, too */
    const int32_t *target; /* [n] in [0, V), checked */
    const float *weight;   /* [n] of each loss in the sum below; NULL: all 1 */
    float *loss;           /* [n] = the objective, nats, whatever its weight */
    int32_t *best;         /* [n] = argmax, lowest id on ties; NULL: not wanted */
    hone_mat dh;           /* [n, C] = grad_scale * d(sum of weight * loss)/dh; data NULL: not wanted */
    hone_objective objective;
    float softcap;    /* 0 = none; c: logits become c tanh(z / c) before the softmax */
    float *dw;        /* [V, C] f32 += the gradient of w; NULL: frozen. Wanted only together with dh */
    float grad_scale; /* 1 / sum of the weights of the step */
} hone_head;
int hone_head_loss(hone_device *dev, const hone_head *a, hone_error *err);

/* logits[n, V] f32 = h W^T, capped as above. For generation. */
int hone_head_logits(hone_device *dev, float *logits, hone_mat h, const hone_weight *w, float softcap,
                     hone_error *err);

/* ---- optimiser ------------------------------------------------------------------------------------------------------- */

/* Sum of squares of x[0..n), in f64 over fixed chunks. NaN and infinity propagate. */
double hone_sum_squares(hone_device *dev, const float *x, size_t n);

/* AdamW, decoupled decay (PyTorch; training-semantics.md 5), for step t >= 1, on n values:
 *   g' = clip g; p = p (1 - lr wd); m = b1 m + (1-b1) g'; v = b2 v + (1-b2) g'^2;
 *   p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps);  g = 0 afterwards. */
typedef struct hone_adamw {
    float *p, *g, *m, *v;
    size_t n;
    double lr, beta1, beta2, eps, weight_decay, clip;
    int64_t t;
} hone_adamw;
int hone_adamw_step(hone_device *dev, const hone_adamw *a, hone_error *err);

#define HONE_ADAMW8_BLOCK 256 /* values that share a scale */

/* The same with moments of one byte (bitsandbytes' block-wise AdamW; training-semantics.md 5): m is a code of the signed,
 * v of the unsigned dynamic map, times the largest magnitude of its block. The update uses the new moments before they
 * are rounded; codes are the exact nearest. A value whose gradient is not finite stays, with moments 0. */
typedef struct hone_adamw8 {
    float *p, *g;
    uint8_t *m, *v;       /* [n] */
    float *m_max, *v_max; /* [ceil(n / HONE_ADAMW8_BLOCK)] */
    const void *maps;     /* filled by hone_adamw8_maps */
    size_t n;
    double lr, beta1, beta2, eps, weight_decay, clip;
    int64_t t;
} hone_adamw8;
size_t hone_adamw8_maps_size(void);
void hone_adamw8_maps(void *maps);
int hone_adamw8_step(hone_device *dev, const hone_adamw8 *a, hone_error *err);
void hone_dynamic_map(float map[256], bool is_signed); /* sorted */

/* Adafactor without first moment, relative steps or parameter scale (Shazeer and Stern 2018; transformers' defaults in a
 * Trainer): b = 1 - t^-0.8, u = g'^2 + 1e-30. A matrix keeps means of u along rows and columns, row = b row + (1-b) mean u,
 * and col likewise; update = g' (row_i / mean row)^-1/2 col_j^-1/2. A vector keeps row = b row + (1-b) u; update = g'
 * row^-1/2. Then update /= max(1, rms(update)); p = p (1 - lr wd) - lr update; g = 0 afterwards. */
typedef struct hone_adafactor {
    float *p, *g;
    int64_t rows, cols; /* cols 0: a vector */
    float *row, *col;   /* [rows], [cols] */
    float *scratch;     /* [hone_adafactor_scratch(rows, cols)] */
    double lr, weight_decay, clip;
    int64_t t;
} hone_adafactor;
size_t hone_adafactor_scratch(int64_t rows, int64_t cols);
int hone_adafactor_step(hone_device *dev, const hone_adafactor *a, hone_error *err);

/* SGD (PyTorch): g' = clip g + wd p; m = momentum m + g' (t = 1: m = g'); p -= lr m; g = 0 afterwards. m NULL: without
 * momentum, p -= lr g'. */
typedef struct hone_sgd {
    float *p, *g, *m;
    size_t n;
    double lr, momentum, weight_decay, clip;
    int64_t t;
} hone_sgd;
int hone_sgd_step(hone_device *dev, const hone_sgd *a, hone_error *err);

/* ---- workspace ------------------------------------------------------------------------------------------------------- */

/* The largest shapes that ops will be called with. */
typedef struct hone_workspace_spec {
    int64_t tokens;          /* N of any op */
    int64_t targets;         /* N of head_loss; 0 = tokens */
    int32_t max_in, max_out; /* over all linear weights but the head */
    int32_t group_out;       /* largest sum of outs of one linear call */
    int32_t width, vocab;    /* C, V of the head (V = 0: no head) */
    int32_t n_head, n_kv, head_size;
    int32_t max_kv; /* longest key sequence */
    int32_t max_rank;
    hone_dtype activation; /* HONE_F32 or HONE_BF16 */
    bool training;
} hone_workspace_spec;

/* Bytes the ops need for these shapes on this device (part of the memory plan), and their reservation. A second
 * reservation replaces the first. */
size_t hone_workspace_size(const hone_device *dev, const hone_workspace_spec *s);
int hone_workspace_reserve(hone_device *dev, const hone_workspace_spec *s, hone_error *err);

/* ---- dropout ----------------------------------------------------------------------------------------------------------- */

/* Whether element (token, i) of an [N, in] input is kept, index = hone_dropout_index(token, in) + i. A draw is 16 bits: one
 * call of Philox makes the masks of eight elements, and a row begins with a call of its own. Draw e of
 * hone_philox(seed, stream, index / 8) belongs to element e = index % 8: the lower half of word 0, its upper half, the
 * lower half of word 1, and so on. Kept when the draw >= hone_dropout_limit(p); kept values are multiplied by
 * hone_dropout_scale(p). So the probability is p rounded to a multiple of 2^-16, and the mean is exact. */
bool hone_dropout_keep(uint64_t seed, uint64_t stream, uint64_t index, float p);
uint32_t hone_dropout_limit(float p);
float hone_dropout_scale(float p);

static inline uint64_t hone_dropout_index(int64_t token, int64_t in)
{
    return (uint64_t)token * (((uint64_t)in + 7) & ~(uint64_t)7);
}

#endif
