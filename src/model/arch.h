/* The architecture of a checkpoint: numbers and switches, read from config.json or GGUF metadata by one family table.
 *
 * A family is a row of the table in arch.c: its names in both formats, and which of the switches below it sets. The
 * forward pass knows switches only, never families. */
#ifndef HONE_MODEL_ARCH_H
#define HONE_MODEL_ARCH_H

#include "base/base.h"

#define HONE_MAX_EOS 16

typedef struct hone_arch {
    const char *family;       /* "llama", "qwen2", "qwen3": static */
    char model_type[32];      /* as the file says it: "mistral", ... */
    int32_t n_layer;          /* L */
    int32_t width;            /* C, hidden size */
    int32_t n_head, n_kv;     /* H, K */
    int32_t head_size;        /* D */
    int32_t ffn;              /* F */
    int32_t vocab;            /* V, rows of the embedding */
    int32_t context;          /* max_position_embeddings */
    float norm_eps;
    bool tied;                /* the head is the embedding */
    bool qkv_bias, o_bias, mlp_bias;
    bool qk_norm;             /* RMSNorm over D on q and k, before RoPE */
    int32_t window;           /* sliding window of every layer, 0 = none */
    float attention_scale;    /* D^-1/2 */
    float *inv_freq;          /* [D/2] rope frequencies, scaling applied; owned */
    float rope_factor;        /* multiplies cos and sin (yarn); else 1 */
    int32_t eos[HONE_MAX_EOS]; /* eos ids of config.json / generation_config.json / GGUF */
    int n_eos;
    int32_t bos;              /* -1: none */
    char *base_name;          /* path it was opened from, for adapter_config.json; owned */
} hone_arch;

#endif
