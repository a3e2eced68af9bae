/* Inside of the model layer: the decoder, forward and backward, and its caches.
 *
 * Explicit calls, no graph: hone_forward walks the blocks up, keeps what the plan keeps, and hone_backward walks them
 * down. block.c holds one block's forward and backward on facing pages. */
#ifndef HONE_MODEL_MODEL_H
#define HONE_MODEL_MODEL_H

#include "device/ops.h"
#include "hone/model.h"
#include "model/arch.h"
#include "model/weights.h"

struct hone_model {
    hone_device *dev;
    hone_weights *w;
    hone_precision precision;
    hone_dtype act;   /* activation type: HONE_F32 or HONE_BF16 */
    char notice[160]; /* empty: none */
};

/* A trained tensor. Its values are `n` floats from `at` on in the adapter's block, its gradient and the optimiser's states
 * lie at the same place in theirs. */
typedef enum hone_param_role {
    HONE_PARAM_A,         /* [r, in] */
    HONE_PARAM_B,         /* [out, r] */
    HONE_PARAM_MAGNITUDE, /* [out] of DoRA */
    HONE_PARAM_WEIGHT,    /* of the module itself */
    HONE_PARAM_BIAS,      /* [out] of the module itself */
    HONE_PARAM_TOKENS     /* [n, C] rows of the embedding or the head */
} hone_param_role;

typedef struct hone_param {
    hone_param_role role;
    int layer, module;  /* enum hone_module; layer 0 outside of layers */
    int64_t rows, cols; /* cols 0: a vector */
    size_t at, n;
    bool decay;      /* gets weight decay: all but norms and biases (transformers' rule) */
    float lr_factor; /* on the learning rate */
} hone_param;

/* Gradients of whole tensors, laid out as the weights are; NULL: frozen. */
typedef struct hone_layer_grads {
    float *weight[HONE_N_LAYER_MODULES], *bias[HONE_N_PROJ];
} hone_layer_grads;

/* What a run changes of a model: factors of all layers, whole tensors, or both. One block of values in the order of
 * `param`: layer by layer, projection by projection, A then B (then the magnitude); then whole tensors. */
struct hone_adapter {
    hone_model *model;
    int r; /* as configured; the largest, with rank patterns, is max_rank */
    int max_rank;
    double alpha, dropout;
    double neftune;           /* alpha of the noise on embeddings in training; 0 = none */
    hone_objective objective; /* of training passes; evaluation is -log p(target) */
    bool rslora, dora;
    hone_bias bias;
    hone_patterns rank_pattern, alpha_pattern; /* as given, for adapter_config.json; owned */
    hone_strings modules_to_save, target_names;
    bool targets_are_list;     /* false: one regular expression */
    hone_target_limits limits; /* as given; owned */
    hone_lora *lora; /* [L * HONE_N_PROJ]; r = 0: not adapted. a, b point into value; the keys of dropout
                                     are filled in by each pass, in its own copy */
    float *norm;     /* DoRA: the rows' lengths, which lora.norm points into; NULL without */
    size_t n_norm;
    hone_param *param;
    size_t n_params;
    hone_token_rows tokens; /* as given; owned */
    hone_row_patch token_patch
        [2]; /* of the embedding, of the head; n 0: none. Its arrays are owned, but for the values */
    hone_weights view; /* the model's weights with the trained tensors in their places; borrows the rest */
    hone_layer_grads *layer; /* [L] */
    float *dembed, *dhead, *dfinal_norm;
    unsigned *reads, *stages; /* [L] see hone_adapter_reads, hone_adapter_stages */
    float *value;             /* [n] */
    float *grad;              /* [n] borrowed; NULL: none attached */
    size_t n;
    uint64_t template_hash, tokenizer_hash;
};

/* Memory of the values, and of what is kept beside them. */
size_t hone_adapter_bytes(const hone_adapter *a);
/* Points all gradients into `grad` (n floats, same order as value), or detaches them with NULL. */
void hone_adapter_attach_gradients(hone_adapter *a, float *grad);
/* Brings what is derived from the values up to date: DoRA's norms. To be called after they have changed. */
int hone_adapter_update(hone_adapter *a, hone_error *err);
/* Key of a trained tensor: PEFT's for parts of an adapter ("base_model.model....lora_A.weight"), the checkpoint's for
 * the tensors of a full or partial fine-tuning ("model.layers.0.mlp.up_proj.weight"). */
#define HONE_PARAM_NAME 128
void hone_param_name(char out[HONE_PARAM_NAME], const hone_adapter *a, const hone_param *p);
/* LoRA+: the learning rate of B, and of vectors beside factors, over that of A; 0 = 1. */
void hone_adapter_set_lr_ratio(hone_adapter *a, double ratio);
/* Whether hone_model_save will be able to write this model, before anything is trained. HONE_EUNSUPPORTED. */
int hone_model_save_check(const hone_model *m, hone_error *err);
/* Every file that hone_model_save may write, NULL at the end. */
extern const char *const hone_model_files[];
/* The weights a pass with this adapter sees; a NULL: the model's own. */
static inline const hone_weights *hone_weights_of(const hone_model *m, const hone_adapter *a)
{
    return a ? &a->view : m->w;
}

/* One packed micro-batch. Position of token i inside its sequence is i - off[s]; sequences are documents. */
typedef struct hone_batch {
    int32_t n_tokens;      /* N */
    const int32_t *ids;    /* [N] */
    const int32_t *target; /* [N] id that follows, or HONE_IGNORE (always at the last token of a document) */
    int32_t n_seq;
    const int32_t *off;  /* [n_seq + 1] */
    const float *weight; /* [N] of each target's loss, > 0 where there is a target; NULL: all 1 */
} hone_batch;

/* Activation memory of a training or evaluation pass, cut once from one block for at most `tokens` positions. */
typedef struct hone_activations hone_activations;

typedef struct hone_activation_params {
    int32_t tokens;  /* largest N */
    int32_t max_seq; /* most sequences in a batch */
    int recompute;   /* 0 keep all, 1 recompute norms and gated product, 2 keep block inputs only */
    int32_t max_kv;  /* longest key sequence: the capacity of a hone_kv; 0 = tokens */
    int32_t targets; /* most positions with a target; 0 = tokens */
    bool training;   /* false: evaluation, nothing is kept */
} hone_activation_params;

/* Bytes hone_activations_new will allocate, without the workspace (hone_workspace_size of the spec below). a: the adapter
 * to train or the one of largest rank to evaluate with; NULL: base only. */
size_t hone_activations_size(const hone_model *m, const hone_adapter *a, const hone_activation_params *p);
int hone_activations_new(hone_activations **out, const hone_model *m, const hone_adapter *a,
                         const hone_activation_params *p, hone_error *err);
void hone_activations_free(hone_activations *act);
/* Adds the lines of the plan that these activations make; their sum is hone_activations_size. */
void hone_activations_plan(hone_plan *plan, const hone_model *m, const hone_adapter *a,
                           const hone_activation_params *p);
/* Adds one line. `purpose` is static text. */
void hone_plan_add(hone_plan *plan, const char *purpose, uint64_t bytes, const char *detail, ...)
    HONE_PRINTF(4, 5);
void hone_model_workspace_spec(hone_workspace_spec *s, const hone_model *m, const hone_adapter *a,
                               const hone_activation_params *p);

/* What a pass reports, per trained position in order of the batch: [n_trained] each. Borrowed from act. */
typedef struct hone_pass {
    const float *loss;       /* nats, whatever the weight */
    const float *weight;     /* NULL: all 1 */
    const int32_t *position; /* index into the batch: target[position] is predicted there */
    const uint8_t *correct;  /* argmax = target */
    int32_t n_trained;
    double loss_sum, weight_sum; /* of weight * loss, of the weights: f64, in order */
} hone_pass;

/* Forward and loss of one micro-batch. a NULL = base. No gradients, no dropout. HONE_ERANGE for an id or target outside
 * the vocabulary, HONE_ELIMIT for a batch larger than act, HONE_EINVAL for offsets that do not tile the batch. */
int hone_model_eval(hone_model *m, const hone_adapter *a, hone_activations *act, const hone_batch *b,
                    hone_pass *out, hone_error *err);
/* Forward, loss, backward: gradients of grad_scale * (sum of weight * loss) are added into the adapter's gradients, which must
 * be attached; act was made for this adapter with training true. A batch without targets adds nothing.
 * `dropout_stream` distinguishes micro-batches: (step, micro-batch) packed into 32 bits. seed: training.seed. */
int hone_model_train(hone_model *m, hone_adapter *a, hone_activations *act, const hone_batch *b,
                     float grad_scale, uint64_t seed, uint32_t dropout_stream, hone_pass *out,
                     hone_error *err);

/* Keys (after RoPE) and values of one conversation, [capacity, K D] each per layer in the activation type. */
typedef struct hone_kv hone_kv;
size_t hone_kv_size(const hone_model *m, int32_t capacity); /* bytes hone_kv_new will allocate */
int hone_kv_new(hone_kv **out, const hone_model *m, int32_t capacity, hone_error *err);
void hone_kv_free(hone_kv *kv);
int32_t hone_kv_length(const hone_kv *kv);
void hone_kv_truncate(hone_kv *kv, int32_t length); /* keep the first `length` positions */

/* Appends ids[0..n) to kv (n <= the chunk its activations were made for) and computes the logits of the last one:
 * logits [V] f32, or NULL when not wanted. a NULL = base. HONE_ELIMIT when kv is full. `act` must have been made with
 * training false, its max_kv no smaller than the capacity of kv. On failure kv is as long as before. */
int hone_model_decode(hone_model *m, const hone_adapter *a, hone_activations *act, hone_kv *kv,
                      const int32_t *ids, int32_t n, float *logits, hone_error *err);

#endif
