/* Shared by the files weights*.c: what a hone_weights owns, the shapes of a block, and the checkpoint it is bound to. */
#ifndef HONE_MODEL_WEIGHTS_OWN_H
#define HONE_MODEL_WEIGHTS_OWN_H

#include "format/gguf.h"
#include "format/safetensors.h"
#include "model/weights.h"

typedef enum hone_matrix_home { HONE_MATRIX_MAPPED, HONE_MATRIX_HEAP, HONE_MATRIX_FILE } hone_matrix_home;

typedef struct hone_matrix {
    int layer, module; /* layer -1: outside of layers */
    hone_matrix_home home;
    const void *data;
    size_t size;
} hone_matrix;

typedef struct hone_weights_own { /* hone_weights.impl */
    hone_gguf *gguf;
    hone_safetensors *st;
    void **block; /* vectors and reordered matrices */
    size_t n_blocks;
    hone_matrix *matrix; /* of a checkpoint, layer by layer: where each lies */
    size_t n_matrices, matrix_capacity;
    int layer, module; /* of the matrix that is being bound */
    void *big;         /* all matrices of a random model */
    size_t big_size;
} hone_weights_own;

int hone_weights_own_new(hone_weights **out, hone_error *err); /* empty, with its impl */
/* Memory that is freed with the weights; NULL (err set) when there is none. */
void *hone_weights_own_alloc(hone_weights_own *own, size_t size, hone_error *err);

/* Frees one piece of such memory early. */
void hone_weights_own_release(hone_weights_own *own, const void *p);

/* Enters the matrix that is being bound, where it lies in the checkpoint. */
int hone_weights_bind_mapped(hone_weights *w, const void *data, size_t size, hone_error *err);
/* Room for it: on the heap, or in a file when w is off-loaded. HONE_ENOMEM, and what hone_spill_open says. */
int hone_weights_make_room(void **out, hone_weights *w, size_t size, hone_error *err);
/* It is not needed in this place any more: frees what was made, lets go of and no longer counts what is mapped. Of other
 * pointers nothing. */
void hone_weights_drop(hone_weights *w, const void *data);
/* Frees the table and the files. */
void hone_weights_drop_all(hone_weights *w);

/* Puts projection p into the form that w was opened as, and drops what it was. name is for errors. */
int hone_weights_quantise(hone_weights *w, hone_weight *p, const char *name, hone_error *err);

/* The checkpoint under the binder's hands. */
typedef struct hone_source {
    const char *path;
    const hone_gguf *gguf; /* one of the two */
    const hone_safetensors *st;
    bool *used; /* [n_tensors] */
    size_t n_tensors;
    hone_weights *w;
    hone_weights_own *own;
} hone_source;

/* A tensor by its name, also as a multimodal checkpoint spells it; it counts as used from then on. NULL: absent. */
const hone_tensor_info *hone_source_find(hone_source *s, const char *name);

/* Whether the matrix lies in the file as codes of bitsandbytes; `name` as in "....q_proj.weight". */
bool hone_source_is_bnb(hone_source *s, const char *name);
/* Binds it as [rows, cols], codes as stored. HONE_EFORMAT, HONE_ESHAPE, HONE_EUNSUPPORTED (file and tensor). */
int hone_weights_bind_bnb(hone_source *s, hone_weight *out, const char *name, int32_t rows, int32_t cols,
                          hone_error *err);

/* Projection p is [rows, cols]; whether it has a bias of [rows]. */
void hone_weights_proj_shape(const hone_arch *a, int proj, int32_t *rows, int32_t *cols);
bool hone_weights_proj_bias(const hone_arch *a, int proj);

#endif
