/* The weights of a model: borrowed from the mapped checkpoint in the format they are stored in.
 *
 * Matrices keep their type and their bytes; vectors (norms, biases) become f32 copies. Where GGUF stores the q and k
 * rows of `llama` models in interleaved order, the rows are copied back into Hugging Face order here (whole rows:
 * block types allow it), so that everything above sees one order. */
#ifndef HONE_MODEL_WEIGHTS_H
#define HONE_MODEL_WEIGHTS_H

#include "device/ops.h"
#include "model/arch.h"

/* The seven projections of a block, in this order everywhere (targets, adapters, gradients). Of a fused model four are
 * there: q, k and v in the place of q, gate and up in that of gate. */
enum hone_proj { HONE_Q, HONE_K, HONE_V, HONE_O, HONE_GATE, HONE_UP, HONE_DOWN, HONE_N_PROJ };

/* Every module that has tensors: those of a layer (the projections first), then those outside. */
enum hone_module {
    HONE_ATTN_NORM = HONE_N_PROJ,
    HONE_FFN_NORM,
    HONE_Q_NORM,
    HONE_K_NORM,
    HONE_POST_ATTN_NORM,
    HONE_POST_FFN_NORM,
    HONE_N_LAYER_MODULES,
    HONE_EMBED = HONE_N_LAYER_MODULES,
    HONE_FINAL_NORM,
    HONE_HEAD,
    HONE_N_MODULES
};

/* What the projections become while they are loaded, where they are stored in 16 or 32 bits. */
typedef struct hone_weights_form {
    hone_dtype type;  /* HONE_NF4, HONE_FP4, HONE_Q8_0; HONE_F32: they stay as stored */
    bool nested;      /* NF4, FP4: the scales are quantised, too */
    hone_device *dev; /* whose threads do it */
    /* Off-loading: matrices that are made here lie in files of this folder, and passes let go of a block's pages when they
     * are through with it. NULL: all stays in memory. Read while opening only. */
    const char *offload_dir;
} hone_weights_form;

typedef struct hone_layer_weights {
    hone_weight proj[HONE_N_PROJ];         /* [out, in] each */
    float *attn_norm, *ffn_norm;           /* [C] */
    float *q_norm, *k_norm;                /* [D] or NULL */
    float *post_attn_norm, *post_ffn_norm; /* [C] or NULL: with post_norms */
} hone_layer_weights;

typedef struct hone_weights hone_weights; /* owns mapping, copies and the arrays below */

struct hone_weights {
    hone_arch arch;
    hone_weight embed;         /* [V, C] */
    hone_weight head;          /* [V, C]; same data as embed when tied */
    float *final_norm;         /* [C] */
    hone_layer_weights *layer; /* [L] */
    uint64_t mapped_bytes;     /* bytes of the files mapped */
    uint64_t copied_bytes;     /* bytes of vectors and reordered rows on the heap */
    hone_weights_form form;    /* what it was opened as */
    uint64_t
        quantised_bytes; /* of matrices that were quantised while loading; mapped_bytes is without their source */
    bool offloaded;
    uint64_t file_bytes;     /* of matrices made here that lie in files; in neither of the sums above */
    int n_quantised, n_kept; /* matrices of the blocks quantised so, and kept as stored in spite of form */
    void *impl;
};

/* Opens a GGUF file (or its first split) or a Hugging Face directory. Errors: HONE_ENOENT, HONE_EFORMAT and
 * HONE_ESHAPE (message: file, tensor, wanted and found shape), HONE_EUNSUPPORTED (architecture with the list of those
 * supported; a dtype; a rope type; quantization_config of another method than bitsandbytes). */
int hone_weights_open(hone_weights **out, const char *path, hone_error *err);
/* The same, quantised matrix by matrix: no more than one is there in both forms. Errors besides: those of
 * hone_weight_quantise, with the tensor's name. */
int hone_weights_open_as(hone_weights **out, const char *path, const hone_weights_form *form,
                         hone_error *err);
/* Random bf16 or f32 weights of a known shape, for benchmarks: "smol" (SmolLM2-135M) or "qwen" (Qwen2.5-0.5B). */
int hone_weights_random(hone_weights **out, const char *shape, hone_dtype dtype, uint64_t seed,
                        const hone_weights_form *form, hone_error *err); /* form NULL: not quantised */
void hone_weights_close(hone_weights *w);

/* The pages of a layer's matrices leave the process, -1: those of embedding and head; they come back when they are read.
 * Matrices on the heap stay. */
void hone_weights_release(const hone_weights *w, int layer);
/* The same with off-loading only: a pass is through with the layer. */
static inline void hone_weights_passed(const hone_weights *w, int layer)
{
    if (w->offloaded)
        hone_weights_release(w, layer);
}

/* What passes through `view`, which has some of its tensors elsewhere, find in memory. */
typedef struct hone_weights_use {
    uint64_t mapped; /* of the checkpoint, without matrices that the view does not read */
    uint64_t heap;   /* matrices made here */
    uint64_t rest;   /* of the checkpoint, what is no matrix */
    uint64_t block;  /* matrices of the largest block; embedding and head are one each */
} hone_weights_use;
hone_weights_use hone_weights_used(const hone_weights *w, const hone_weights *view);

/* Path of a module in Hugging Face spelling ("model.layers.3.self_attn.q_proj"), into out; `layer` does not count for those
 * outside of layers. */
void hone_module_path(char out[96], const hone_arch *a, int layer, int module);
/* What a Hugging Face file holds less than the values here: 1 for the norms of families that store them so, else 0. */
float hone_module_offset(const hone_arch *a, int module);
/* Its weight, without regard to what it is in the file: [rows, cols], cols 0 for a vector. False: the model has none
 * (norms of q and k; the head of a tied pair, which is the embedding). */
bool hone_module_weight(const hone_weights *w, int layer, int module, hone_weight *out);
/* Whether a block has the projection at all: fused ones stand in the places of q and gate alone. */
static inline bool hone_proj_there(const hone_arch *a, int proj)
{
    return !a->fused || (proj != HONE_K && proj != HONE_V && proj != HONE_UP);
}
/* "q_proj", ..., "qkv_proj"; NULL where there is none. */
const char *hone_proj_name(const hone_arch *a, int proj);

#endif
