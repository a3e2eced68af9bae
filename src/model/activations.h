/* Activation memory: one list of named buffers, cut from one block.
 *
 * A buffer of the layer list has one copy for every layer that keeps it for its backward, and one shared copy for the
 * layers that do not (all of them in evaluation). Which layers keep what is decided by the recomputation level and by
 * what the adapter trains: a layer below the lowest adapted one keeps nothing, and a normed input is kept only where an
 * adapter reads it again. */
#ifndef HONE_MODEL_ACTIVATIONS_H
#define HONE_MODEL_ACTIVATIONS_H

#include "model/model.h"

/* clang-format off */
/* Buffers of one block; [N, width] in the activation type unless said otherwise. */
enum hone_layer_buffer {
    HONE_BUF_X,                         /* C            input; layer L: output of the last block */
    HONE_BUF_N1,                        /* C            normed input of q, k, v */
    HONE_BUF_Q0, HONE_BUF_K0,           /* H D, K D     q and k before their norm; only with qk_norm */
    HONE_BUF_Q, HONE_BUF_K, HONE_BUF_V, /* H D, K D, K D  after RoPE; fused: side by side in the first */
    HONE_BUF_O,                         /* H D          attention output */
    HONE_BUF_LSE,                       /* H            f32, [H, N]; training only */
    HONE_BUF_A,                         /* C            output of o before its norm; only with post_norms */
    HONE_BUF_X2,                        /* C            after the first residual */
    HONE_BUF_N2,                        /* C            normed input of gate, up */
    HONE_BUF_G, HONE_BUF_U,             /* F            fused: side by side in the first */
    HONE_BUF_H,                         /* F            act(g) u */
    HONE_BUF_M,                         /* C            output of down before its norm; only with post_norms */
    HONE_BUF_LORA,                      /* R            f32 drop(x) A^T, one for each of the seven projections */
    HONE_BUF_DORA = HONE_BUF_LORA + HONE_N_PROJ, /* out  of DoRA's projections before the gain; training only */
    HONE_N_LAYER_BUF = HONE_BUF_DORA + HONE_N_PROJ
};

/* Buffers that exist once. */
enum hone_shared_buffer {
    HONE_BUF_T,                             /* C    forward: output of o or down; backward: gradient of a norm's output */
    HONE_BUF_POS,                           /* i32  position of each token in its sequence */
    HONE_BUF_KV_ROW, HONE_BUF_KV_LEN,       /* i32  per sequence */
    HONE_BUF_TRAINED,                       /* i32  index of each token that has a target */
    HONE_BUF_TARGET,                        /* i32  those targets */
    HONE_BUF_NOISE,                         /* f32  size of the noise on each token; training only */
    HONE_BUF_WEIGHT,                        /* f32  their weights, of a weighted batch */
    HONE_BUF_BEST,                          /* i32  argmax there */
    HONE_BUF_CORRECT,                       /* u8 */
    HONE_BUF_LOSS,                          /* f32 */
    HONE_BUF_DX,                            /* C    gradient of the residual stream */
    HONE_BUF_XT, HONE_BUF_NT, HONE_BUF_DNT, /* C    head: rows with a target, normed, gradient */
    HONE_BUF_DH,                            /* F    backward of the feed-forward half */
    HONE_BUF_DO, HONE_BUF_DQ, HONE_BUF_DK, HONE_BUF_DV, /* H D, H D, K D, K D  backward of the attention half */
    HONE_N_SHARED_BUF
};
/* clang-format on */

struct hone_activations {
    size_t size;           /* of the whole block, this struct included */
    const hone_adapter *a; /* made for it; NULL: base only */
    hone_activation_params p;
    int first; /* lowest layer that the backward pass reaches */
    int32_t max_rank;
    void *shared[HONE_N_SHARED_BUF];
    void *layer[][HONE_N_LAYER_BUF]; /* [L + 1]; layer L has X only */
};

/* The most rows that the head computes. */
static inline int32_t hone_activations_targets(const hone_activation_params *p)
{
    return p->targets ? p->targets : p->tokens;
}

/* The first layer whose input holds, among its first `tokens` rows, a value that is no finite number, as the last pass left
 * them; n_layer: the output of the last. -1: none. Layers below p.first are not looked at one by one: what they did shows
 * in the input of that layer. */
int hone_activations_first_bad(const hone_activations *act, const hone_model *m, int32_t tokens);

/* Where a block's backward pass may end: its trained parts in the order of the forward pass. */
enum hone_stage {
    HONE_STAGE_ATTN_NORM,
    HONE_STAGE_QKV,
    HONE_STAGE_QK_NORM,
    HONE_STAGE_O,
    HONE_STAGE_POST_ATTN_NORM,
    HONE_STAGE_FFN_NORM,
    HONE_STAGE_GATE_UP,
    HONE_STAGE_DOWN,
    HONE_STAGE_POST_FFN_NORM
};

/* Bit p is set when the gradients of projection p read its input again. a NULL: 0. */
unsigned hone_adapter_reads(const hone_adapter *a, int layer);
/* Bit s is set when something trains at stage s of the layer. a NULL: 0. */
unsigned hone_adapter_stages(const hone_adapter *a, int layer);
/* Lowest layer that the backward pass reaches; L when none trains. A trained embedding lies below all of them. */
int hone_adapter_first(const hone_adapter *a, int n_layer);

#endif
