/* A model, its adapters, and what they need of memory.
 *
 * Weights stay in the format they have on disk, mapped; adapters are PEFT's files. */
#ifndef HONE_MODEL_H
#define HONE_MODEL_H

#include <stddef.h>

#include "config.h"
#include "device.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hone_model hone_model;
typedef struct hone_adapter hone_adapter;

typedef struct hone_model_params {
    hone_precision precision; /* AUTO: bf16 where the device has it, else f32 */
    /* What the linear layers of the blocks become while they are loaded, where they are stored in 16 or 32 bits (layers that
     * are quantised already stay as they are). NF4 and FP4 are bitsandbytes' formats, in blocks of 64. AUTO and NONE: as
     * stored. */
    hone_quant quant;
    bool plain_scales; /* NF4, FP4: scales in f32, not quantised again */
    /* NULL: the weights stay in memory. A folder: what is made of them while loading goes to temporary files there, and
     * passes keep no more than a block resident. Read while opening only. */
    const char *offload_dir;
} hone_model_params;

HONE_API hone_model_params hone_model_default(void);

/* Opens a Hugging Face directory (config.json, *.safetensors) or a GGUF file. `dev` must outlive the model. p NULL =
 * default. Errors: HONE_ENOENT, HONE_EFORMAT, HONE_ESHAPE (file, tensor, wanted and found shape), HONE_EUNSUPPORTED
 * (architecture, with the list of supported ones; dtype), HONE_ENOMEM. */
HONE_API int hone_model_open(hone_model **out, hone_device *dev, const char *path, const hone_model_params *p,
                             hone_error *err);
/* Random bf16 weights of a known shape ("smol" = SmolLM2-135M, "qwen" = Qwen2.5-0.5B), for benchmarks. */
HONE_API int hone_model_random(hone_model **out, hone_device *dev, const char *shape,
                               const hone_model_params *p, hone_error *err);
/* Resolves p->quant: AUTO becomes what the base was when the adapter in `dir` was trained (NULL: NONE). A folder that can
 * not be read leaves NONE; opening the adapter will say why. */
HONE_API void hone_model_params_of_adapter(hone_model_params *p, const char *dir);
HONE_API void hone_model_close(hone_model *m);
HONE_API hone_precision hone_model_precision(const hone_model *m); /* F32 or BF16, never AUTO */
/* How a configuration asks for its model to be opened. */
HONE_API hone_model_params hone_model_params_of_config(const hone_config *c);
/* What a user should know of how the weights were opened: quantising that was asked for and has nothing to do. NULL: nothing. */
HONE_API const char *hone_model_notice(const hone_model *m);

/* What `hone inspect` shows of a checkpoint (GGUF, HF directory, safetensors file) or a PEFT adapter directory: one JSON
 * document, allocated, freed with hone_free. */
HONE_API int hone_inspect(char **json, const char *path, hone_error *err);

/* An adapter is what a run changes of a model: low-rank factors beside its projections, whole tensors instead of its
 * own, or both. The model itself stays as it is: with and without the adapter it answers in one process.
 *
 * A new one over `m`: A as PEFT's kaiming-uniform initialisation U(-1/sqrt(in), 1/sqrt(in)) from Philox(seed), B = 0.
 * targets: NULL or {"all-linear"} = the seven projections; else names or paths, PEFT's matching rules (is_list false:
 * the one entry is a regular expression over the whole path). HONE_EINVAL when nothing matches. */
typedef struct hone_adapter_params {
    int r;
    double alpha, dropout;
    const hone_strings *targets;
    bool targets_are_list;
    const hone_target_limits *limits; /* NULL: none */
    bool rslora;                      /* the scale is alpha / sqrt(r), not alpha / r */
    bool dora;      /* the magnitude of each output row is trained apart (Liu et al. 2024) */
    hone_bias bias; /* biases that train beside the factors: of all modules, or of the adapted ones */
    /* Other ranks and alphas for modules whose path ends in a match of the name, a regular expression; the first that
     * matches counts. NULL: none. */
    const hone_patterns *rank_pattern, *alpha_pattern;
    const hone_strings
        *modules_to_save; /* modules trained whole, as copies ("embed_tokens", "lm_head"); NULL: none */
    const hone_token_rows *tokens; /* NULL: none */
    double lr_ratio;               /* LoRA+: learning rate of B over that of A; 0 = 1 */
    uint64_t seed;
} hone_adapter_params;
HONE_API int hone_adapter_new(hone_adapter **out, hone_model *m, const hone_adapter_params *p,
                              hone_error *err);

/* The names of a list of targets that no adapted module has, one a call; NULL after the last. *next starts at 0. */
HONE_API const char *hone_adapter_idle_target(const hone_adapter *a, size_t *next);

/* Whole tensors, started as f32 copies of the base's values: full fine-tuning (NULL), or what `p` selects, by the rules
 * of LLaMA-Factory's freeze method. HONE_EINVAL when a name matches nothing (the message lists the names). */
typedef struct hone_tensors_params {
    int layers; /* n > 0: the last n layers; < 0: the first -n; 0: none */
    const hone_strings
        *modules; /* of these layers: "all", or names like "mlp", "self_attn", "input_layernorm" */
    const hone_strings *extra; /* outside of layers: "embed_tokens", "norm", "lm_head"; NULL: none */
    const char *pattern;       /* and every tensor whose name holds a match of this expression; NULL: none */
} hone_tensors_params;
HONE_API int hone_adapter_tensors(hone_adapter **out, hone_model *m, const hone_tensors_params *p,
                                  hone_error *err);
HONE_API bool hone_adapter_is_low_rank(const hone_adapter *a); /* false: whole tensors only */

/* Writes the model as it answers with `a` (NULL: as it is) as a Hugging Face directory: tensors of `a` instead of the
 * base's, low-rank factors added in, every matrix in `precision` (AUTO: as the base stores it, bf16 where that is
 * quantised). An adapter that was trained beside a quantised base is merged into the restored values when m was opened
 * quantised, and into the 16-bit weights when m was opened with HONE_QUANT_NONE; both are written in 16 bits.
 * model.safetensors, config.json and the base's generation_config.json; hone_tokenizer_export adds the tokenizer. Each file
 * is atomic, config.json is the last. */
HONE_API int hone_model_save(const hone_model *m, const hone_adapter *a, const char *dir,
                             hone_precision precision, hone_error *err);

/* Reads a PEFT adapter directory (adapter_config.json, adapter_model.safetensors); refuses settings that hone lacks
 * by name; shapes are checked against the model. */
HONE_API int hone_adapter_open(hone_adapter **out, hone_model *m, const char *dir, hone_error *err);
/* Writes both files into dir (made when missing), each atomically, in PEFT's format, key for key. `template_hash` and
 * `tokenizer_hash` go into adapter_config.json under "hone" (PEFT ignores it). */
HONE_API int hone_adapter_save(const hone_adapter *a, const char *dir, uint64_t template_hash,
                               uint64_t tokenizer_hash, hone_error *err);
HONE_API void hone_adapter_close(hone_adapter *a);
/* The hashes that adapter_config.json carries, or 0. */
HONE_API void hone_adapter_hashes(const hone_adapter *a, uint64_t *template_hash, uint64_t *tokenizer_hash);
HONE_API size_t hone_adapter_parameters(const hone_adapter *a); /* trainable values */

/* The memory plan: what a run will allocate, to the byte, before it does. */
typedef struct hone_plan_item {
    const char *purpose; /* "weights, mapped", "adapter", "gradients", "activations", "workspace", ... */
    char detail[96];
    uint64_t bytes;
} hone_plan_item;

#define HONE_PLAN_MAX 24

typedef struct hone_plan {
    hone_plan_item item[HONE_PLAN_MAX];
    int n;
    uint64_t total;
    uint64_t file_bytes; /* in temporary files instead of memory; not in total */
    uint64_t available;  /* memory this process may use */
    int recompute;       /* level chosen: 0 none, 1 norms and gated product, 2 whole block */
    int64_t tokens;      /* positions of the largest micro-batch */
} hone_plan;

#ifdef __cplusplus
}
#endif
#endif
