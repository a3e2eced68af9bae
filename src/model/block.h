/* One decoder block: the buffers it reads and writes in a pass, and its two directions. */
#ifndef HONE_MODEL_BLOCK_H
#define HONE_MODEL_BLOCK_H

#include "model/activations.h"

/* What is the same for all blocks of a pass. */
typedef struct hone_pass_env {
    hone_model *m;
    const hone_weights *w; /* hone_weights_of(m, a) */
    const hone_adapter *a; /* NULL: base */
    bool training;         /* dropout acts, adapters receive gradients */
    uint64_t seed;         /* of dropout */
    uint32_t dropout_stream;
    int recompute;
    const int32_t *pos; /* [N] */
    int32_t n_seq;
    const int32_t *q_off;           /* [n_seq + 1] */
    const int32_t *kv_row, *kv_len; /* [n_seq] */
} hone_pass_env;

/* Views of the buffers of one block for N tokens; names as in activations.h. */
typedef struct hone_block {
    hone_mat x, n1, q0, k0, q, k, v, o, a, x2, n2, g, u, h, m, t;
    hone_mat keys,
        values; /* [M, K D] what attention reads: k and v themselves, or the cache that they are rows of */
    hone_mat qkv, gate_up,
        dqkv; /* fused: [N, H D + 2 K D], [N, 2 F], as qkv: q, k, v, g, u, ... are columns of them */
    hone_mat k_to, v_to; /* fused, decoding: rows of the cache that k and v are copied to; data NULL: none */
    hone_mat y;          /* [N, C] output; the next block's x */
    float *lse;          /* NULL in evaluation */
    float *lora_u[HONE_N_PROJ];
    hone_mat dora_z[HONE_N_PROJ]; /* data NULL: not kept */
    hone_mat dx;                  /* [N, C] in: gradient of y; out: gradient of x */
    hone_mat dh, do_, dq, dk, dv;
} hone_block;

/* The factor of the embeddings, rounded as the activations are (so do the models that have one). */
float hone_model_embed_scale(const hone_model *m);

hone_block hone_block_view(const hone_activations *act, const hone_model *m, int layer, int64_t n);

/* y = block(x). */
int hone_block_fwd(const hone_pass_env *e, int layer, const hone_block *b, hone_error *err);

/* dx = d block(x)^T dx, and the gradients of what trains in this block, which are added. Overwrites g and u. `lowest` is
 * -1 when something below trains too; else the lowest stage (enum hone_stage) that trains here: nothing is computed past
 * it, and dx is left undefined. */
int hone_block_bwd(const hone_pass_env *e, int layer, int lowest, const hone_block *b, hone_error *err);

#endif
