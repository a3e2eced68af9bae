/* Models of known shape with random weights, for benchmarks that must not depend on a download.
 *
 * Values are drawn once, a million of normal(0, 0.02); every row of every matrix is a stretch of that table from a
 * random place. So half a billion weights cost little more than copying them, and products behave as with a trained
 * model: no zeros, no denormals, no growth along the layers. */
#include <math.h>
#include <string.h>

#include "model/weights_own.h"

#define TABLE (1 << 20)
#define DEVIATION 0.02

static const struct shape {
    const char *name;
    hone_arch arch;
    double theta;
} shapes[] = {
    {"smol",
     {.family = "llama",
      .model_type = "llama",
      .n_layer = 30,
      .width = 576,
      .n_head = 9,
      .n_kv = 3,
      .head_size = 64,
      .ffn = 1536,
      .vocab = 49152,
      .context = 8192,
      .norm_eps = 1e-5f,
      .tied = true,
      .bos = 1,
      .eos = {2},
      .n_eos = 1},
     1e5},
    {"qwen",
     {.family = "qwen2",
      .model_type = "qwen2",
      .n_layer = 24,
      .width = 896,
      .n_head = 14,
      .n_kv = 2,
      .head_size = 64,
      .ffn = 4864,
      .vocab = 151936,
      .context = 32768,
      .norm_eps = 1e-6f,
      .tied = true,
      .qkv_bias = true,
      .bos = -1,
      .eos = {151645},
      .n_eos = 1},
     1e6},
};

/* TABLE + extra values of the wanted type, by Box and Muller. */
static char *make_table(size_t extra, hone_dtype dtype, uint64_t seed, hone_error *err)
{
    size_t n = TABLE + extra, i, size = hone_dtype_block_size(dtype);
    char *table = hone_alloc(n * size);
    hone_rng r = hone_rng_make(seed, 0);
    int rc = 0;

    if (!table) {
        hone_error_set(err, HONE_ENOMEM, "out of memory for random weights");
        return NULL;
    }
    for (i = 0; i + 1 < n && !rc; i += 2) {
        double radius = DEVIATION * sqrt(-2 * log(1 - hone_rng_uniform(&r)));
        double angle = 2 * M_PI * hone_rng_uniform(&r);
        float pair[2] = {(float)(radius * cos(angle)), (float)(radius * sin(angle))};

        rc = hone_quantise(table + i * size, pair, dtype, 2, err);
    }
    if (rc) {
        hone_free(table);
        return NULL;
    }
    return table;
}

/* Where the next matrix goes, and from what. */
typedef struct filler {
    char *at;
    const char *table;
    hone_dtype dtype;
    hone_rng rng;
    hone_weights *w;
    hone_weights_own *own;
    char *scratch; /* for a matrix that is to be quantised; NULL: none is */
} filler;

static size_t padded(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static void fill(filler *f, hone_weight *out, char *at, int32_t rows, int32_t cols)
{
    size_t size = hone_dtype_block_size(f->dtype), row = (size_t)cols * size;
    int32_t r;

    out->data = at;
    out->dtype = f->dtype;
    out->rows = rows;
    out->cols = cols;
    for (r = 0; r < rows; r++)
        memcpy(at + (size_t)r * row, f->table + hone_rng_below(&f->rng, TABLE) * size, row);
}

/* A matrix that stays as it is drawn. */
static void place(filler *f, hone_weight *out, int32_t rows, int32_t cols)
{
    fill(f, out, f->at, rows, cols);
    f->at += padded((size_t)rows * (size_t)cols * hone_dtype_block_size(f->dtype));
}

/* A vector of ones (norms), or of small numbers (biases). */
static float *make_vector(filler *f, int32_t n, bool ones, hone_error *err)
{
    float *v = hone_weights_own_alloc(f->own, (size_t)n * sizeof *v, err);
    int32_t i;

    for (i = 0; v && i < n; i++)
        v[i] = ones ? 1 : (float)(DEVIATION * (2 * hone_rng_uniform(&f->rng) - 1));
    f->w->copied_bytes += (size_t)n * sizeof *v;
    return v;
}

/* Bytes of all matrices that stay as they are drawn; *scratch: of the largest one that does not. */
static size_t matrix_bytes(const hone_weights *w, hone_dtype dtype, size_t *scratch)
{
    const hone_arch *a = &w->arch;
    size_t size = hone_dtype_block_size(dtype), bytes = padded((size_t)a->vocab * (size_t)a->width * size);
    int32_t rows, cols;
    int p;

    *scratch = 0;
    for (p = 0; p < HONE_N_PROJ; p++) {
        hone_weights_proj_shape(a, p, &rows, &cols);
        if (w->form.type == HONE_F32)
            bytes += (size_t)a->n_layer * padded((size_t)rows * (size_t)cols * size);
        else
            *scratch = HONE_MAX(*scratch, (size_t)rows * (size_t)cols * size);
    }
    return bytes;
}

static int fill_all(filler *f, hone_error *err)
{
    hone_weights *w = f->w;
    const hone_arch *a = &w->arch;
    int32_t i, rows, cols;
    int p, rc;

    place(f, &w->embed, a->vocab, a->width);
    w->head = w->embed;
    w->final_norm = make_vector(f, a->width, true, err);
    if (!w->final_norm)
        return HONE_ENOMEM;
    for (i = 0; i < a->n_layer; i++) {
        hone_layer_weights *l = &w->layer[i];

        l->attn_norm = make_vector(f, a->width, true, err);
        l->ffn_norm = make_vector(f, a->width, true, err);
        if (!l->attn_norm || !l->ffn_norm)
            return HONE_ENOMEM;
        for (p = 0; p < HONE_N_PROJ; p++) {
            hone_weights_proj_shape(a, p, &rows, &cols);
            if (f->scratch) {
                fill(f, &l->proj[p], f->scratch, rows, cols);
                if ((rc = hone_weights_quantise(w, &l->proj[p], "random weights", err)) < 0)
                    return rc;
            } else {
                place(f, &l->proj[p], rows, cols);
            }
            if (!hone_weights_proj_bias(a, p))
                continue;
            l->proj[p].bias = make_vector(f, rows, false, err);
            if (!l->proj[p].bias)
                return HONE_ENOMEM;
        }
    }
    return 0;
}

static int build(hone_weights *w, const struct shape *s, hone_dtype dtype, uint64_t seed, hone_error *err)
{
    hone_weights_own *own = w->impl;
    hone_rope_spec rope = {.type = HONE_ROPE_DEFAULT, .theta = s->theta};
    filler f = {.dtype = dtype, .rng = hone_rng_make(seed, 1), .w = w, .own = own};
    size_t scratch;
    char *table;
    int rc;

    w->arch = s->arch;
    w->arch.rope_factor = w->arch.embed_scale = 1;
    w->arch.attention_scale = 1 / sqrtf((float)s->arch.head_size);
    w->arch.base_name = hone_strdup(s->name);
    w->layer = hone_calloc((size_t)s->arch.n_layer, sizeof *w->layer);
    own->big_size = matrix_bytes(w, dtype, &scratch);
    own->big = hone_big_alloc(own->big_size);
    f.scratch = scratch ? hone_big_alloc(scratch) : NULL;
    table = make_table((size_t)HONE_MAX(s->arch.width, s->arch.ffn), dtype, seed, err);
    if (!w->arch.base_name || !w->layer || !own->big || !table || (scratch && !f.scratch)) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for random weights of %zu bytes", own->big_size);
        goto out;
    }
    rc = hone_arch_set_rope(&w->arch, &rope, s->name, err);
    f.at = own->big;
    f.table = table;
    if (!rc)
        rc = fill_all(&f, err);
    w->copied_bytes += own->big_size;
out:
    hone_free(table);
    hone_big_free(f.scratch, scratch);
    return rc;
}

int hone_weights_random(hone_weights **out, const char *shape, hone_dtype dtype, uint64_t seed,
                        const hone_weights_form *form, hone_error *err)
{
    const struct shape *s = NULL;
    hone_weights *w;
    size_t i;
    int rc;

    *out = NULL;
    for (i = 0; i < HONE_COUNT(shapes); i++)
        if (strcmp(shape, shapes[i].name) == 0)
            s = &shapes[i];
    if (!s)
        return hone_error_set(err, HONE_EINVAL, "there is no shape \"%s\"; there are smol and qwen", shape);
    if (dtype != HONE_BF16 && dtype != HONE_F32)
        return hone_error_set(err, HONE_EUNSUPPORTED, "random weights are BF16 or F32, not %s",
                              hone_dtype_name(dtype));
    rc = hone_weights_own_new(&w, err);
    if (rc)
        return rc;
    if (form)
        w->form = *form;
    rc = build(w, s, dtype, seed, err);
    if (rc)
        hone_weights_close(w);
    else
        *out = w;
    return rc;
}
