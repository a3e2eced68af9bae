/* Shared by weights.c and weights_random.c: what a hone_weights owns, and the shapes of a block. */
#ifndef HONE_MODEL_WEIGHTS_OWN_H
#define HONE_MODEL_WEIGHTS_OWN_H

#include "format/gguf.h"
#include "format/safetensors.h"
#include "model/weights.h"

typedef struct hone_weights_own { /* hone_weights.impl */
    hone_gguf *gguf;
    hone_safetensors *st;
    void **block; /* vectors and reordered matrices */
    size_t n_blocks;
    void *big; /* all matrices of a random model */
    size_t big_size;
} hone_weights_own;

int hone_weights_own_new(hone_weights **out, hone_error *err); /* empty, with its impl */
/* Memory that is freed with the weights; NULL (err set) when there is none. */
void *hone_weights_own_alloc(hone_weights_own *own, size_t size, hone_error *err);

/* Frees one piece of such memory early. */
void hone_weights_own_release(hone_weights_own *own, const void *p);

/* Puts projection p into the form that w was opened as. source: what its bytes in the mapping are, whose pages are let go
 * and no longer counted; NULL: they were never there. name is for errors. */
int hone_weights_quantise(hone_weights *w, hone_weight *p, const char *name, const void *source,
                          hone_error *err);

/* Projection p is [rows, cols]; whether it has a bias of [rows]. */
void hone_weights_proj_shape(const hone_arch *a, int proj, int32_t *rows, int32_t *cols);
bool hone_weights_proj_bias(const hone_arch *a, int proj);

#endif
