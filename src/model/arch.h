/* The architecture of a checkpoint: numbers and switches, read from config.json or GGUF metadata by one family table.
 *
 * A family is a row of the table in arch.c: its names in both formats, and which of the switches below it sets. The
 * forward pass knows switches only, never families. */
#ifndef HONE_MODEL_ARCH_H
#define HONE_MODEL_ARCH_H

#include "base/base.h"
#include "device/ops.h"
#include "format/gguf.h"

#define HONE_MAX_EOS 16

typedef struct hone_arch {
    const char *family;   /* "llama", "qwen2", "qwen3": static */
    char model_type[32];  /* as the file says it: "mistral", ... */
    int32_t n_layer;      /* L */
    int32_t width;        /* C, hidden size */
    int32_t n_head, n_kv; /* H, K */
    int32_t head_size;    /* D, even */
    int32_t ffn;          /* F */
    int32_t vocab;        /* V, rows of the embedding */
    int32_t context;      /* max_position_embeddings */
    bool limited;         /* the angles are right up to `context` only: nothing longer is computed */
    float norm_eps;
    bool tied; /* the head is the embedding */
    bool qkv_bias, o_bias, mlp_bias;
    bool qk_norm;     /* RMSNorm over D on q and k, before RoPE */
    bool fused;       /* q, k, v are one projection, gate and up another; each stands in its first place */
    bool post_norms;  /* norms on the outputs of attention and feed-forward unit, before they are added */
    bool norm_offset; /* a Hugging Face file stores the weights of norms less 1 */
    int32_t window;   /* sliding window of the local layers, 0 = none */
    uint8_t *local;   /* [L] 1 = the layer attends within the window; NULL: all do; owned */
    float attention_scale;   /* D^-1/2, or query_pre_attn_scalar^-1/2 */
    float attention_softcap; /* of the scores; 0 = none */
    float final_softcap;     /* of the logits; 0 = none */
    float embed_scale;       /* of the embeddings: 1, or C^1/2 */
    hone_act act;            /* of the gated unit */
    int32_t rope_dims;       /* of D that are rotated, even */
    float *inv_freq;         /* [rope_dims/2] rope frequencies, scaling applied; owned */
    float rope_factor;       /* multiplies cos and sin (yarn); else 1 */
    float *local_inv_freq;   /* [rope_dims/2] of local layers, without scaling; NULL: as the others; owned */
    int32_t eos[HONE_MAX_EOS]; /* eos ids of config.json / generation_config.json / GGUF, each once */
    int n_eos;
    int32_t bos;      /* -1: none */
    bool interleaved; /* the file stores q and k rows in ggml's interleaved order (GGUF of `llama`) */
    char *base_name;  /* path it was opened from, for adapter_config.json; owned */
} hone_arch;

/* Read config.json and generation_config.json (if any) of a Hugging Face folder as transformers 4 and 5 write them,
 * with the class defaults of transformers for absent keys; or GGUF metadata, where switches that have no key (tied
 * head, biases) follow from the tensors that are there. `out` is set on success only; hone_arch_clear frees it.
 * HONE_ENOENT, HONE_EFORMAT (file and key), HONE_EUNSUPPORTED: architecture (with the list of those supported), rope
 * type, quantization_config of another method than bitsandbytes, mixtures of experts. Of a multimodal Gemma 3 the text
 * model is read. */
int hone_arch_read_config(hone_arch *out, const char *dir, hone_error *err);
int hone_arch_read_gguf(hone_arch *out, const hone_gguf *g, const char *path, hone_error *err);
void hone_arch_clear(hone_arch *a);
/* "LlamaForCausalLM", ...: the class that transformers opens this architecture with. Static. */
const char *hone_arch_class(const hone_arch *a);

/* What attention of a layer uses. */
static inline int32_t hone_arch_window(const hone_arch *a, int layer)
{
    return a->local && !a->local[layer] ? 0 : a->window;
}

static inline bool hone_arch_is_local(const hone_arch *a, int layer)
{
    return a->local_inv_freq && a->local && a->local[layer];
}

/* How positions become angles. Formulas of transformers' modeling_rope_utils; see arch_rope.c. */
typedef struct hone_rope_spec {
    enum {
        HONE_ROPE_DEFAULT,
        HONE_ROPE_LINEAR,
        HONE_ROPE_LLAMA3,
        HONE_ROPE_YARN,
        HONE_ROPE_DYNAMIC,
        HONE_ROPE_LONG
    } type;
    double theta;
    double factor;                            /* linear, llama3, yarn */
    double original;                          /* context before scaling: llama3, yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor;                  /* yarn, long; 0: from the others */
    float *short_factor;                      /* long: [rope_dims/2] divisors of the frequencies; owned */
    double mscale, mscale_all_dim;            /* yarn; 0: absent */
    bool no_truncate; /* yarn: the correction range is not rounded to whole dimensions */
} hone_rope_spec;

/* Fills a->inv_freq (allocated) and a->rope_factor for a->head_size. HONE_EFORMAT (`where` names the source) when a
 * number makes no sense, HONE_ENOMEM. */
int hone_arch_set_rope(hone_arch *a, const hone_rope_spec *s, const char *where, hone_error *err);

#endif
