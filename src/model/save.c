/* A model as a Hugging Face directory: what full fine-tuning leaves behind, and any base with an adapter merged in.
 *
 * Every tensor is made row by row in f32 (the adapter's value or the base's, plus scale B A, DoRA's row lengths), rounded
 * once to the type of the file. Norms that a family stores less 1 are written so. The configuration is the base's own
 * config.json with the type of the numbers set; a GGUF base has none, so it is written from the architecture, where that
 * says everything (plain rotary embedding). */
#include <math.h>
#include <string.h>

#include "format/json.h"
#include "format/safetensors.h"
#include "model/adapter.h"
#include "model/weights_own.h"

#define COPY_LIMIT (1u << 30)

const char *const hone_model_files[] = {"config.json", "model.safetensors", "generation_config.json", NULL};

typedef struct saver {
    const hone_model *m;
    const hone_adapter *a; /* may be NULL */
    const hone_weights *w; /* as the adapter sees them */
    hone_dtype type;
    hone_tensor_info *t;
    struct origin {
        int layer, module;
        bool bias;
        char name[HONE_PARAM_NAME];
    } * origin; /* [n], beside t */
    size_t n;
    float *row;
    void *packed; /* [cols] of the file's type */
} saver;

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static bool weight_of(const saver *s, int layer, int module, hone_weight *out)
{
    if (module != HONE_HEAD)
        return hone_module_weight(s->w, layer, module, out);
    *out = s->w->head;
    return s->w->head.data != s->w->embed.data;
}

static void add(saver *s, int layer, int module)
{
    hone_weight w;
    char path[96];
    int bias;

    if (!weight_of(s, layer, module, &w))
        return;
    hone_module_path(path, &s->w->arch, layer, module);
    for (bias = 0; bias < (w.bias ? 2 : 1); bias++) {
        struct origin *o = &s->origin[s->n];
        hone_tensor_info *t = &s->t[s->n++];

        o->layer = layer;
        o->module = module;
        o->bias = bias;
        snprintf(o->name, sizeof o->name, "%s.%s", path, bias ? "bias" : "weight");
        *t = (hone_tensor_info){.name = o->name,
                                .dtype = s->type,
                                .n_dims = bias || !w.cols ? 1 : 2,
                                .shape = {w.rows, bias ? 0 : w.cols}};
        t->size = hone_dtype_bytes(s->type, t->shape[0] * (t->n_dims == 2 ? t->shape[1] : 1));
    }
}

static int write_row(saver *s, hone_writer *w, int64_t n, hone_error *err)
{
    uint16_t *half = s->packed;
    int64_t i;

    if (s->type == HONE_F32)
        return hone_writer_write(w, s->row, (size_t)n * sizeof(float), err);
    for (i = 0; i < n; i++)
        half[i] = s->type == HONE_F16 ? hone_f32_to_f16(s->row[i]) : hone_f32_to_bf16(s->row[i]);
    return hone_writer_write(w, half, (size_t)n * sizeof *half, err);
}

/* Adds the low-rank product to row o of a projection, and gives it the length that DoRA has trained. */
static void merge_row(saver *s, int index, int64_t o, int64_t cols)
{
    const hone_lora *l = &s->a->lora[index];
    double length = 0;
    int64_t i;
    int r;

    for (r = 0; r < l->r; r++) {
        const float b = l->scale * l->b[o * l->r + r], *a = l->a + r * cols;

        for (i = 0; i < cols; i++)
            s->row[i] += b * a[i];
    }
    if (!hone_is_dora(l))
        return;
    for (i = 0; i < cols; i++)
        length += (double)s->row[i] * (double)s->row[i];
    for (i = 0; i < cols && length > 0; i++)
        s->row[i] *= (float)(l->magnitude[o] / sqrt(length));
}

static int produce(void *ud, const hone_tensor_info *t, hone_writer *out, hone_error *err)
{
    saver *s = ud;
    const struct origin *from = &s->origin[t - s->t];
    const int64_t cols = t->n_dims == 2 ? t->shape[1] : t->shape[0], rows = t->n_dims == 2 ? t->shape[0] : 1;
    const float offset = hone_module_offset(&s->w->arch, from->module);
    hone_weight w;
    int64_t o, i;
    int rc = 0;

    weight_of(s, from->layer, from->module, &w);
    for (o = 0; o < rows && !rc; o++) {
        if (from->bias)
            memcpy(s->row, w.bias, (size_t)cols * sizeof *s->row);
        else
            hone_weight_values(s->row, &w, o * cols, cols);
        if (t->n_dims == 2 && from->module < HONE_N_PROJ && s->a)
            merge_row(s, from->layer * HONE_N_PROJ + from->module, o, cols);
        for (i = 0; i < cols && offset != 0 && !from->bias; i++)
            s->row[i] -= offset;
        rc = write_row(s, out, cols, err);
    }
    hone_weights_passed(s->m->w, from->module < HONE_N_LAYER_MODULES ? from->layer : -1);
    return rc;
}

static int write_tensors(saver *s, const char *path, hone_error *err)
{
    const hone_arch *r = &s->w->arch;
    const size_t most = ((size_t)r->n_layer * HONE_N_LAYER_MODULES + HONE_N_MODULES) * 2;
    const size_t widest = (size_t)HONE_MAX(HONE_MAX(r->width, r->ffn), r->n_head * r->head_size);
    int layer, module, rc;

    s->t = hone_calloc(most, sizeof *s->t);
    s->origin = hone_calloc(most, sizeof *s->origin);
    s->row = hone_calloc(widest, sizeof *s->row);
    s->packed = hone_calloc(widest, sizeof(uint16_t));
    if (s->t && s->origin && s->row && s->packed) {
        for (layer = 0; layer < r->n_layer; layer++)
            for (module = 0; module < HONE_N_LAYER_MODULES; module++)
                add(s, layer, module);
        for (module = HONE_EMBED; module < HONE_N_MODULES; module++)
            add(s, 0, module);
        rc = hone_safetensors_produce(path, s->t, s->n, produce, s, err);
    } else {
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    }
    hone_free(s->t);
    hone_free(s->origin);
    hone_free(s->row);
    hone_free(s->packed);
    return rc;
}

/* ---- configuration --------------------------------------------------------------------------------------------------- */

/* The base of a plain rotary embedding; 0 when the frequencies are not those of one. */
static double plain_theta(const hone_arch *r)
{
    const int half = r->head_size / 2;
    double theta = half > 1 ? round(pow((double)r->inv_freq[1], -(double)half)) : 10000;
    int i;

    for (i = 0; i < half; i++)
        if (!(fabs(pow(theta, -(double)i / half) / (double)r->inv_freq[i] - 1) < 1e-5))
            return 0;
    return r->rope_factor == 1 ? theta : 0;
}

/* config.json of a base that has none. */
static int make_config(json_t **out, const hone_arch *r, hone_error *err)
{
    const double theta = plain_theta(r);
    json_t *doc, *eos;
    int i;

    *out = NULL;
    if (!theta || r->post_norms)
        return hone_error_set(
            err, HONE_EUNSUPPORTED,
            "%s: its rotary embedding or its norms have no simple config.json; start from the "
            "model's Hugging Face directory",
            r->base_name);
    doc =
        json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:s, s:b, s:b, s:b}",
                  "architectures", hone_arch_class(r), "model_type", r->family, "hidden_size", r->width,
                  "intermediate_size", r->ffn, "num_hidden_layers", r->n_layer, "num_attention_heads",
                  r->n_head, "num_key_value_heads", r->n_kv, "head_dim", r->head_size, "vocab_size", r->vocab,
                  "max_position_embeddings", r->context, "rms_norm_eps", (double)(float)r->norm_eps,
                  "rope_theta", theta, "hidden_act", "silu", "tie_word_embeddings", (int)r->tied,
                  "attention_bias", (int)(r->qkv_bias && r->o_bias), "mlp_bias", (int)r->mlp_bias);
    eos = json_array();
    for (i = 0; i < r->n_eos; i++)
        json_array_append_new(eos, json_integer(r->eos[i]));
    if (!doc || json_object_set_new(doc, "eos_token_id", eos) < 0 ||
        json_object_set_new(doc, "bos_token_id", r->bos < 0 ? json_null() : json_integer(r->bos)) < 0) {
        json_decref(doc);
        return hone_error_set(err, HONE_ENOMEM, "config.json: out of memory");
    }
    *out = doc;
    return 0;
}

static int write_config(const saver *s, const char *base, const char *path, hone_error *err)
{
    static const char *const name[] = {
        [HONE_F32] = "float32", [HONE_F16] = "float16", [HONE_BF16] = "bfloat16"};
    char *from = base ? hone_path_join(base, "config.json") : NULL;
    hone_buf text = {0};
    json_t *doc = NULL;
    int rc;

    if (base && !from)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    else
        rc = base ? hone_json_load(&doc, from, COPY_LIMIT, err) : make_config(&doc, &s->w->arch, err);
    hone_free(from);
    if (rc)
        return rc;
    json_object_del(doc, "torch_dtype");         /* the name that transformers 4 gave it */
    json_object_del(doc, "quantization_config"); /* what is written is not quantised */
    if (json_object_set_new(doc, "dtype", json_string(name[s->type])) < 0 ||
        (s->w->head.data != s->w->embed.data &&
         json_object_set_new(doc, "tie_word_embeddings", json_false()) < 0))
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    hone_json_dump(&text, doc, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    if (!rc && text.failed)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    if (!rc)
        rc = hone_file_write(path, text.data, text.len, err);
    hone_buf_clear(&text);
    json_decref(doc);
    return rc;
}

/* The base's generation_config.json, when it has one. */
static int copy_generation_config(const char *base, const char *dir, hone_error *err)
{
    static const char name[] = "generation_config.json";
    char *from = hone_path_join(base, name), *to = hone_path_join(dir, name), *bytes = NULL;
    size_t n;
    int rc = 0;

    if (!from || !to)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    else if (hone_path_exists(from) && !(rc = hone_file_read(&bytes, &n, from, COPY_LIMIT, err)))
        rc = hone_file_write(to, bytes, n, err);
    hone_free(bytes);
    hone_free(from);
    hone_free(to);
    return rc;
}

static hone_dtype type_of(const hone_weights *w, hone_precision precision)
{
    /* of projections quantised while loading, the embedding tells what they were */
    const hone_dtype stored = w->n_quantised ? w->embed.dtype : w->layer[0].proj[0].dtype;

    if (precision != HONE_PRECISION_AUTO)
        return precision == HONE_PRECISION_F32 ? HONE_F32 : HONE_BF16;
    return stored == HONE_F32 || stored == HONE_F16 ? stored : HONE_BF16;
}

/* The directory that the model was opened from; NULL: a file. */
static const char *base_of(const hone_model *m)
{
    return m->w->arch.base_name && hone_path_is_dir(m->w->arch.base_name) ? m->w->arch.base_name : NULL;
}

int hone_model_save_check(const hone_model *m, hone_error *err)
{
    json_t *doc = NULL;
    int rc = base_of(m) ? 0 : make_config(&doc, &m->w->arch, err);

    json_decref(doc);
    return rc;
}

int hone_model_save(const hone_model *m, const hone_adapter *a, const char *dir, hone_precision precision,
                    hone_error *err)
{
    saver s = {.m = m, .a = a, .w = hone_weights_of(m, a), .type = type_of(m->w, precision)};
    const char *base = base_of(m);
    char *tensors = hone_path_join(dir, "model.safetensors"), *config = hone_path_join(dir, "config.json");
    int rc;

    if (!tensors || !config)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    else
        rc = hone_mkdirs(dir, err);
    if (!rc && base)
        rc = copy_generation_config(base, dir, err);
    if (!rc && !(rc = write_tensors(&s, tensors, err)))
        rc = write_config(&s, base, config, err);
    hone_free(tensors);
    hone_free(config);
    return rc;
}
