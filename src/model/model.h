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
    hone_dtype act; /* activation type: HONE_F32 or HONE_BF16 */
};

/* Adapter of all layers: parameters, and (when trained) gradients and moments, each one block in the same order:
 * layer by layer, projection by projection, A then B. */
struct hone_adapter {
    hone_model *model;
    int r;
    double alpha, dropout;
    bool rslora;               /* scale is alpha / sqrt(r), not alpha / r */
    hone_strings target_names; /* as given, for adapter_config.json; owned */
    bool targets_are_list;     /* false: one regular expression */
    hone_lora *lora; /* [L * HONE_N_PROJ]; r = 0: not adapted. a, b point into value; the keys of dropout
                                     are filled in by each pass, in its own copy */
    float *value;    /* [n] */
    float *grad;     /* [n] borrowed; NULL: none attached */
    size_t n;
    uint64_t template_hash, tokenizer_hash;
};

/* Points lora[].da/db into `grad` (n floats, same order as value), or detaches them with NULL. */
void hone_adapter_attach_gradients(hone_adapter *a, float *grad);

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
