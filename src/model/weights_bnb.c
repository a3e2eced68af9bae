/* Checkpoints whose matrices bitsandbytes has quantised: a Hugging Face folder as transformers saves a model that was loaded
 * with load_in_4bit or load_in_8bit.
 *
 * Beside a matrix W = "....q_proj.weight" there lie, for four bits (bitsandbytes' QuantState.as_dict):
 *   W                                   codes, two in a byte, as bytes [n/2, 1] or as another type of as many bytes
 *   W.absmax                            F32 [blocks], or U8 codes of scales that are quantised ("nested") themselves
 *   W.quant_map                         F32 [16], the values of the codes
 *   W.nested_absmax, .nested_quant_map  F32 [blocks / 256], F32 [256]
 *   W.quant_state.bitsandbytes__nf4     (or __fp4) JSON as bytes: quant_type, blocksize, dtype, shape, nested_blocksize,
 *                                       nested_dtype, nested_offset
 * and for eight (LLM.int8): W as I8 [rows, cols], ....SCB F32 [rows], the largest magnitude of each row, and
 * ....weight_format, 0 for rows in order. A value is code SCB / 127. The products here use these values; that
 * bitsandbytes rounds activations to eight bits, too, is a matter of its kernels, not of the checkpoint.
 *
 * Nothing of this is taken on trust: sizes follow from the shape that the architecture wants, and what the JSON says must be
 * the same. Codes and, where they are aligned, scales are used where they lie in the mapping. */
#include <math.h>
#include <string.h>

#include "format/json.h"
#include "model/weights_own.h"

#define MAX_STATE 4096 /* bytes of JSON; a few hundred are usual */
#define MAX_BLOCK 4096

typedef struct bnb {
    hone_source *s;
    const char *name; /* of the matrix */
    int32_t rows, cols;
    hone_scales *scales; /* to fill in */
    hone_error *err;
} bnb;

static const char *const states[] = {".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"};

/* "....q_proj.weight" with a suffix of four bits, or "....q_proj" with one of eight. */
static void side_name(char out[128], const char *name, const char *suffix)
{
    const bool eight = strcmp(suffix, ".SCB") == 0 || strcmp(suffix, ".weight_format") == 0;

    snprintf(out, 128, "%.*s%s", (int)(strlen(name) - (eight ? strlen(".weight") : 0)), name, suffix);
}

static const hone_tensor_info *side(hone_source *s, const char *name, const char *suffix)
{
    char full[128];

    side_name(full, name, suffix);
    return hone_source_find(s, full);
}

bool hone_source_is_bnb(hone_source *s, const char *name)
{
    const hone_tensor_info *t;

    if (!s->st)
        return false;
    t = hone_source_find(s, name);
    return t && (t->dtype == HONE_U8 || t->dtype == HONE_I8 || side(s, name, states[0]) ||
                 side(s, name, states[1]));
}

static int missing(const bnb *b, const char *suffix)
{
    char full[128];

    side_name(full, b->name, suffix);
    return hone_error_set(b->err, HONE_EFORMAT,
                          "%s: the tensor %s is missing, without which %s can not be read", b->s->path, full,
                          b->name);
}

/* A tensor beside the matrix, [n] of the type. */
static int need_side(const bnb *b, const hone_tensor_info **out, const char *suffix, hone_dtype dtype,
                     int64_t n)
{
    const hone_tensor_info *t = side(b->s, b->name, suffix);

    if (!t)
        return missing(b, suffix);
    if (t->dtype != dtype || t->n_dims != 1 || t->shape[0] != n)
        return hone_error_set(b->err, HONE_ESHAPE,
                              "%s: tensor %s: wanted %lld values of %s, found %zu bytes of %s", t->file,
                              t->name, (long long)n, hone_dtype_name(dtype), t->size, t->type);
    *out = t;
    return 0;
}

/* The same for n finite floats: where they lie, or a copy when that is no address of a float. */
static int need_floats(const bnb *b, const float **out, const char *suffix, int64_t n)
{
    const hone_tensor_info *t;
    float *copy;
    int64_t i;
    int rc = need_side(b, &t, suffix, HONE_F32, n);

    if (rc)
        return rc;
    *out = t->data;
    if ((uintptr_t)t->data % sizeof(float)) {
        copy = hone_weights_own_alloc(b->s->own, t->size, b->err);
        if (!copy)
            return HONE_ENOMEM;
        memcpy(copy, t->data, t->size);
        b->s->w->copied_bytes += t->size;
        *out = copy;
    }
    for (i = 0; i < n; i++)
        if (!isfinite((*out)[i]))
            return hone_error_set(b->err, HONE_EFORMAT, "%s: tensor %s: value %lld is not a finite number",
                                  t->file, t->name, (long long)i);
    return 0;
}

static int wrong(const bnb *b, const hone_tensor_info *state, int code, const char *key, const char *wanted)
{
    return hone_error_set(b->err, code, "%s: tensor %s: \"%s\" is not %s", state->file, state->name, key,
                          wanted);
}

static bool integer_is(const json_t *v, int64_t n)
{
    return json_is_integer(v) && json_integer_value(v) == n;
}

static bool text_is(const json_t *v, const char *text)
{
    return json_is_string(v) && strcmp(json_string_value(v), text) == 0;
}

/* What the JSON says of the matrix: its kind, shape and block. */
static int read_state(const bnb *b, const hone_tensor_info *state, const json_t *doc, hone_dtype type)
{
    const json_t *shape = json_object_get(doc, "shape"), *block = json_object_get(doc, "blocksize");
    const json_int_t size = json_integer_value(block);
    char wanted[64];

    if (!text_is(json_object_get(doc, "quant_type"), type == HONE_NF4 ? "nf4" : "fp4"))
        return wrong(b, state, HONE_EFORMAT, "quant_type", "that of the tensor's name");
    if (json_array_size(shape) != 2 || !integer_is(json_array_get(shape, 0), b->rows) ||
        !integer_is(json_array_get(shape, 1), b->cols)) {
        snprintf(wanted, sizeof wanted, "[%d, %d]", b->rows, b->cols);
        return wrong(b, state, HONE_ESHAPE, "shape", wanted);
    }
    if (!json_is_integer(block) || size < 32 || size > MAX_BLOCK || size & (size - 1))
        return wrong(b, state, HONE_EUNSUPPORTED, "blocksize", "a power of two from 32 to 4096");
    b->scales->block = (int32_t)size;
    return 0;
}

/* The scales of scales, when the JSON speaks of them. */
static int read_nested(const bnb *b, const hone_tensor_info *state, const json_t *doc, int64_t blocks)
{
    const json_t *offset = json_object_get(doc, "nested_offset");
    const int64_t tops = (blocks + HONE_NESTED_BLOCK - 1) / HONE_NESTED_BLOCK;
    const hone_tensor_info *codes;
    int rc;

    if (!integer_is(json_object_get(doc, "nested_blocksize"), HONE_NESTED_BLOCK))
        return wrong(b, state, HONE_EUNSUPPORTED, "nested_blocksize",
                     "256, the only one that bitsandbytes makes");
    if (!text_is(json_object_get(doc, "nested_dtype"), "float32"))
        return wrong(b, state, HONE_EUNSUPPORTED, "nested_dtype", "\"float32\"");
    b->scales->offset = (float)json_number_value(offset);
    if (!json_is_number(offset) || !isfinite(b->scales->offset))
        return wrong(b, state, HONE_EFORMAT, "nested_offset", "a finite number");
    rc = need_side(b, &codes, ".absmax", HONE_U8, blocks);
    if (!rc)
        rc = need_floats(b, &b->scales->top, ".nested_absmax", tops);
    if (!rc)
        rc = need_floats(b, &b->scales->map, ".nested_quant_map", 256);
    b->scales->code = rc ? NULL : codes->data;
    return rc;
}

static int bind_four(const bnb *b, hone_weight *out, const hone_tensor_info *codes,
                     const hone_tensor_info *state, hone_dtype type)
{
    const int64_t n = (int64_t)b->rows * b->cols;
    const float *map, *table = hone_dtype_table(type);
    char where[512];
    json_t *doc = NULL;
    int64_t blocks;
    int rc, i;

    if (b->cols % hone_dtype_block(type))
        return hone_error_set(b->err, HONE_EUNSUPPORTED,
                              "%s: tensor %s: rows of %d values can not be read as %s, two in a byte",
                              codes->file, b->name, b->cols, hone_dtype_name(type));
    if (codes->size != hone_dtype_bytes(type, n))
        return hone_error_set(
            b->err, HONE_ESHAPE, "%s: tensor %s: wanted %zu bytes of %s for [%d, %d], found %zu", codes->file,
            b->name, hone_dtype_bytes(type, n), hone_dtype_name(type), b->rows, b->cols, codes->size);
    if (state->dtype != HONE_U8 || state->n_dims != 1 || state->size > MAX_STATE)
        return hone_error_set(b->err, HONE_ESHAPE,
                              "%s: tensor %s: wanted at most %d bytes of JSON, found %zu of %s", state->file,
                              state->name, MAX_STATE, state->size, state->type);
    snprintf(where, sizeof where, "%s: tensor %s", state->file, state->name);
    rc = hone_json_parse(&doc, state->data, state->size, where, b->err);
    if (!rc)
        rc = read_state(b, state, doc, type);
    if (rc)
        goto out;
    blocks = (n + b->scales->block - 1) / b->scales->block;
    rc = json_object_get(doc, "nested_blocksize") ? read_nested(b, state, doc, blocks)
                                                  : need_floats(b, &b->scales->top, ".absmax", blocks);
    if (!rc)
        rc = need_floats(b, &map, ".quant_map", 16);
    for (i = 0; !rc && i < 16; i++)
        if (map[i] != table[i])
            rc = hone_error_set(b->err, HONE_EUNSUPPORTED, "%s: %s.quant_map: value %d is %.9g; %s has %.9g",
                                codes->file, b->name, i, (double)map[i], hone_dtype_name(type),
                                (double)table[i]);
    out->dtype = type;
out:
    json_decref(doc);
    return rc;
}

static int bind_eight(const bnb *b, hone_weight *out, const hone_tensor_info *codes)
{
    const hone_tensor_info *format = side(b->s, b->name, ".weight_format");
    const float *most;
    float *scale;
    int32_t i;
    int rc;

    if (codes->n_dims != 2 || codes->shape[0] != b->rows || codes->shape[1] != b->cols)
        return hone_error_set(b->err, HONE_ESHAPE, "%s: tensor %s: wanted [%d, %d] of I8, found %zu bytes",
                              codes->file, b->name, b->rows, b->cols, codes->size);
    if (format && (format->size != 1 || *(const uint8_t *)format->data != 0))
        return hone_error_set(b->err, HONE_EUNSUPPORTED,
                              "%s: tensor %s: only the format 0, rows in order, is supported", format->file,
                              format->name);
    rc = need_floats(b, &most, ".SCB", b->rows);
    if (rc)
        return rc;
    scale = hone_weights_own_alloc(b->s->own, (size_t)b->rows * sizeof *scale, b->err);
    if (!scale)
        return HONE_ENOMEM;
    b->s->w->copied_bytes += (size_t)b->rows * sizeof *scale;
    for (i = 0; i < b->rows; i++)
        scale[i] = most[i] / 127;
    b->scales->top = scale;
    out->dtype = HONE_I8;
    return 0;
}

int hone_weights_bind_bnb(hone_source *s, hone_weight *out, const char *name, int32_t rows, int32_t cols,
                          hone_error *err)
{
    const hone_tensor_info *codes = hone_source_find(s, name), *nf4 = side(s, name, states[0]);
    const hone_tensor_info *state = nf4 ? nf4 : side(s, name, states[1]);
    bnb b = {s, name, rows, cols, NULL, err};
    int rc;

    b.scales = hone_weights_own_alloc(s->own, sizeof *b.scales, err);
    if (!b.scales)
        return HONE_ENOMEM;
    *b.scales = (hone_scales){0};
    rc = state                     ? bind_four(&b, out, codes, state, nf4 ? HONE_NF4 : HONE_FP4)
         : codes->dtype == HONE_I8 ? bind_eight(&b, out, codes)
                                   : missing(&b, states[0]);
    if (rc)
        return rc;
    out->data = codes->data;
    out->rows = rows;
    out->cols = cols;
    out->scales = b.scales;
    return hone_weights_bind_mapped(s->w, codes->data, codes->size, err);
}
