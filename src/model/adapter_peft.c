/* Adapters on disk: PEFT's two files, key for key.
 *
 * adapter_model.safetensors holds f32 tensors "base_model.model.<module>.lora_A.weight" [r, in] and ".lora_B.weight"
 * [out, r]; adapter_config.json the settings, sorted, and under "hone" the hashes of the template and the tokenizer that
 * the adapter was trained with (PEFT skips keys it does not know). Reading is strict: a setting that changes the
 * mathematics and that hone lacks is refused by name, and the tensors must be exactly those that the settings ask for.
 * Tensors are written first and settings last, so that a folder with new settings always has its tensors. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "format/safetensors.h"
#include "model/adapter.h"

#define CONFIG_LIMIT (1u << 20) /* a full path for every projection of 80 layers takes 25 kB */
#define PREFIX "base_model.model."
#define PEFT_VERSION "0.21.2" /* the version whose files these are */

enum { KEY_SIZE = 128 };

static void tensor_key(char out[KEY_SIZE], int index, char factor)
{
    char path[96];

    hone_proj_path(path, index / HONE_N_PROJ, index % HONE_N_PROJ);
    snprintf(out, KEY_SIZE, PREFIX "%s.lora_%c.weight", path, factor);
}

/* ---- reading the settings ------------------------------------------------------------------------------------------ */

typedef struct settings {
    int r;
    double alpha, dropout;
    bool rslora;
    hone_strings targets; /* items borrowed from the document */
    bool targets_are_list;
    uint64_t template_hash, tokenizer_hash;
} settings;

/* Absent, null, false, 0, "", [] and {} switch a setting off. */
static bool is_off(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_ARRAY:
        return json_array_size(v) == 0;
    case JSON_OBJECT:
        return json_object_size(v) == 0;
    case JSON_STRING:
        return json_string_length(v) == 0;
    case JSON_INTEGER:
        return json_integer_value(v) == 0;
    case JSON_NULL:
    case JSON_FALSE:
        return true;
    default:
        return false;
    }
}

static int refuse(const char *file, const char *key, hone_error *err)
{
    return hone_error_set(err, HONE_EUNSUPPORTED,
                          "%s: \"%s\" is set; hone reads plain LoRA and rsLoRA adapters only", file, key);
}

static int check_variants(json_t *doc, const char *file, hone_error *err)
{
    static const char *const off[] = {
        "fan_in_fan_out",
        "lora_bias",
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "layers_to_transform",
        "layers_pattern",
        "exclude_modules",
        "layer_replication",
        "megatron_config",
        "trainable_token_indices",
        "target_parameters",
        "alora_invocation_tokens",
        "arrow_config",
        "kasa_config",
        "monteclora_config",
        "velora_config",
    };
    /* Ways to start that leave the base as it is; the others (PiSSA, OLoRA, ...) change it. */
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    const char *type = json_string_value(json_object_get(doc, "peft_type"));
    const char *bias = json_string_value(json_object_get(doc, "bias")), *key, *name;
    json_t *init = json_object_get(doc, "init_lora_weights"), *v;
    size_t i;

    if (!type || strcmp(type, "LORA") != 0)
        return hone_error_set(err, HONE_EUNSUPPORTED, "%s: \"peft_type\" is \"%s\"; hone reads LORA", file,
                              type ? type : "(none)");
    if (bias && strcmp(bias, "none") != 0)
        return refuse(file, "bias", err);
    for (i = 0; i < HONE_COUNT(off); i++)
        if (!is_off(json_object_get(doc, off[i])))
            return refuse(file, off[i], err);
    json_object_foreach(doc, key, v) if (!strncmp(key, "use_", 4) && strcmp(key, "use_rslora") != 0 &&
                                         !is_off(v)) return refuse(file, key, err);
    if (!json_is_string(init))
        return 0;
    name = json_string_value(init);
    for (i = 0; i < HONE_COUNT(harmless); i++)
        if (!strcmp(name, harmless[i]))
            return 0;
    return hone_error_set(err, HONE_EUNSUPPORTED,
                          "%s: \"init_lora_weights\" is \"%s\", which changes the base model", file, name);
}

static uint64_t hash_of(json_t *doc, const char *key)
{
    const char *text = json_string_value(json_object_get(json_object_get(doc, "hone"), key));

    return text ? strtoull(text, NULL, 16) : 0;
}

/* Fills s from the document; s->targets.item is allocated, what it points to belongs to doc. */
static int read_settings(settings *s, json_t *doc, const char *file, hone_error *err)
{
    json_t *r = json_object_get(doc, "r"), *alpha = json_object_get(doc, "lora_alpha"),
           *dropout = json_object_get(doc, "lora_dropout"), *targets = json_object_get(doc, "target_modules"),
           *v;
    int rc = check_variants(doc, file, err);
    size_t i;

    if (rc)
        return rc;
    if ((r && !json_is_integer(r)) || (alpha && !json_is_number(alpha)) ||
        (dropout && !json_is_number(dropout)))
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: \"r\", \"lora_alpha\" and \"lora_dropout\" must be numbers", file);
    if (json_integer_value(r) > HONE_MAX_RANK || json_integer_value(r) < 0)
        return hone_error_set(err, HONE_ERANGE, "%s: \"r\": %" JSON_INTEGER_FORMAT " is not in 1..%d", file,
                              json_integer_value(r), HONE_MAX_RANK);
    s->r = r ? (int)json_integer_value(r) : 8;
    s->alpha = alpha ? json_number_value(alpha) : 8;
    s->dropout = json_number_value(dropout);
    s->rslora = json_is_true(json_object_get(doc, "use_rslora"));
    s->template_hash = hash_of(doc, "template_hash");
    s->tokenizer_hash = hash_of(doc, "tokenizer_hash");
    s->targets_are_list = json_is_array(targets);
    s->targets.n = s->targets_are_list ? json_array_size(targets) : 1;
    if (!s->targets.n || !(s->targets_are_list || json_is_string(targets)))
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: \"target_modules\" must be a string or a list of strings", file);
    s->targets.item = hone_calloc(s->targets.n, sizeof *s->targets.item);
    if (!s->targets.item)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", file);
    for (i = 0; i < s->targets.n; i++) {
        v = s->targets_are_list ? json_array_get(targets, i) : targets;
        if (!json_is_string(v))
            return hone_error_set(err, HONE_EFORMAT,
                                  "%s: \"target_modules\" must be a string or a list of strings", file);
        s->targets.item[i] = (char *)json_string_value(v);
    }
    return 0;
}

/* ---- reading the tensors ------------------------------------------------------------------------------------------- */

static int read_factor(float *out, const hone_safetensors *file, const char *path, int index, char factor,
                       int64_t rows, int64_t cols, hone_error *err)
{
    const hone_tensor_info *t;
    char key[KEY_SIZE];

    tensor_key(key, index, factor);
    t = hone_safetensors_find(file, key);
    if (!t)
        return hone_error_set(err, HONE_ENOENT, "%s: %s is missing", path, key);
    if (t->n_dims != 2 || t->shape[0] != rows || t->shape[1] != cols)
        return hone_error_set(err, HONE_ESHAPE, "%s: %s is [%lld, %lld]%s; the model needs [%lld, %lld]",
                              path, key, t->n_dims > 0 ? (long long)t->shape[0] : 0,
                              t->n_dims > 1 ? (long long)t->shape[1] : 0,
                              t->n_dims == 2 ? "" : " of other rank", (long long)rows, (long long)cols);
    if (t->dtype != HONE_F32 && t->dtype != HONE_F16 && t->dtype != HONE_BF16)
        return hone_error_set(err, HONE_EUNSUPPORTED, "%s: %s is stored as %s; adapters are F32, F16 or BF16",
                              path, key,
                              t->dtype < HONE_DTYPE_COUNT ? hone_dtype_name(t->dtype) : "an unknown type");
    hone_dequantise(out, t->data, t->dtype, rows * cols);
    return 0;
}

/* Does the key name a factor of an adapted projection? */
static bool is_expected(const hone_adapter *a, const char *key)
{
    static const char start[] = PREFIX "model.layers.";
    char want[KEY_SIZE];
    long layer;
    int p;

    if (strncmp(key, start, sizeof start - 1) != 0)
        return false;
    layer = strtol(key + sizeof start - 1, NULL, 10);
    if (layer < 0 || layer >= a->model->w->arch.n_layer)
        return false;
    for (p = 0; p < 2 * HONE_N_PROJ; p++) {
        const int index = (int)layer * HONE_N_PROJ + p / 2;

        tensor_key(want, index, p % 2 ? 'B' : 'A');
        if (a->lora[index].r && !strcmp(key, want))
            return true;
    }
    return false;
}

static int read_tensors(hone_adapter *a, const char *path, hone_error *err)
{
    hone_safetensors *file = NULL;
    size_t i;
    int index, rc;

    if ((rc = hone_safetensors_open(&file, path, err)) < 0)
        return rc;
    for (index = 0; !rc && index < a->model->w->arch.n_layer * HONE_N_PROJ; index++) {
        const hone_weight *w = &a->model->w->layer[index / HONE_N_PROJ].proj[index % HONE_N_PROJ];
        const hone_lora *lora = &a->lora[index];

        if (!lora->r)
            continue;
        rc = read_factor(a->value + (lora->a - a->value), file, path, index, 'A', lora->r, w->cols, err);
        if (!rc)
            rc = read_factor(a->value + (lora->b - a->value), file, path, index, 'B', w->rows, lora->r, err);
    }
    for (i = 0; !rc && i < hone_safetensors_n_tensors(file); i++) {
        const char *key = hone_safetensors_tensor(file, i)->name;

        if (!is_expected(a, key))
            rc = hone_error_set(err, HONE_EFORMAT,
                                "%s: %s belongs to no module that the settings select in this model", path,
                                key);
    }
    hone_safetensors_close(file);
    return rc;
}

int hone_adapter_open(hone_adapter **out, hone_model *m, const char *dir, hone_error *err)
{
    char *config = hone_path_join(dir, "adapter_config.json"),
         *tensors = hone_path_join(dir, "adapter_model.safetensors");
    hone_adapter *a = NULL;
    settings s = {0};
    json_t *doc = NULL;
    int rc = HONE_ENOMEM;

    *out = NULL;
    if (!config || !tensors) {
        hone_error_set(err, rc, "%s: out of memory", dir);
        goto out;
    }
    if ((rc = hone_json_load(&doc, config, CONFIG_LIMIT, err)) < 0)
        goto out;
    if (!json_is_object(doc)) {
        rc = hone_error_set(err, HONE_EFORMAT, "%s: not a JSON object", config);
        goto out;
    }
    if ((rc = read_settings(&s, doc, config, err)) < 0 ||
        (rc = hone_adapter_make(&a, m, s.r, s.alpha, s.dropout, s.rslora, &s.targets, s.targets_are_list,
                                config, err)) < 0 ||
        (rc = read_tensors(a, tensors, err)) < 0)
        goto out;
    a->template_hash = s.template_hash;
    a->tokenizer_hash = s.tokenizer_hash;
    *out = a;
    a = NULL;
out:
    hone_adapter_close(a);
    hone_free(s.targets.item);
    json_decref(doc);
    hone_free(config);
    hone_free(tensors);
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------------------------------- */

static int write_tensors(const hone_adapter *a, const char *path, hone_error *err)
{
    const int n = a->model->w->arch.n_layer * HONE_N_PROJ;
    hone_tensor_info *t = hone_calloc((size_t)n * 2, sizeof *t);
    char(*key)[KEY_SIZE] = hone_calloc((size_t)n * 2, sizeof *key);
    size_t k = 0;
    int i, f, rc;

    if (!t || !key) {
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
        goto out;
    }
    for (i = 0; i < n; i++) {
        const hone_weight *w = &a->model->w->layer[i / HONE_N_PROJ].proj[i % HONE_N_PROJ];
        const hone_lora *lora = &a->lora[i];

        for (f = 0; lora->r && f < 2; f++, k++) {
            tensor_key(key[k], i, f ? 'B' : 'A');
            t[k] = (hone_tensor_info){
                .name = key[k],
                .dtype = HONE_F32,
                .n_dims = 2,
                .shape = {f ? w->rows : lora->r, f ? lora->r : w->cols},
                .data = f ? lora->b : lora->a,
            };
            t[k].size = (size_t)(t[k].shape[0] * t[k].shape[1]) * sizeof(float);
        }
    }
    rc = hone_safetensors_write(path, t, k, err);
out:
    hone_free(t);
    hone_free(key);
    return rc;
}

static json_t *targets_json(const hone_adapter *a)
{
    json_t *list;
    size_t i;

    if (!a->targets_are_list)
        return json_string(a->target_names.item[0]);
    list = json_array();
    for (i = 0; list && i < a->target_names.n; i++)
        if (json_array_append_new(list, json_string(a->target_names.item[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* As PEFT writes it: whole numbers without a point. */
static json_t *number_json(double v)
{
    return v > -1e15 && v < 1e15 && v == (double)(json_int_t)v ? json_integer((json_int_t)v) : json_real(v);
}

static int write_config(const hone_adapter *a, const char *path, uint64_t template_hash,
                        uint64_t tokenizer_hash, hone_error *err)
{
    static const char *const null_key[] = {
        "alora_invocation_tokens",
        "arrow_config",
        "auto_mapping",
        "corda_config",
        "eva_config",
        "exclude_modules",
        "kasa_config",
        "layer_replication",
        "layers_pattern",
        "layers_to_transform",
        "lora_ga_config",
        "megatron_config",
        "modules_to_save",
        "monteclora_config",
        "revision",
        "target_parameters",
        "trainable_token_indices",
        "use_bdlora",
        "velora_config",
    };
    static const char *const false_key[] = {"ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_dora",
                                            "use_qalora"};
    static const char *const empty_key[] = {"alpha_pattern", "loftq_config", "rank_pattern"};
    const char *base = a->model->w->arch.base_name;
    char template_text[17], tokenizer_text[17];
    hone_buf text = {0};
    json_t *doc;
    size_t i;
    int failed = 0, rc = 0;

    snprintf(template_text, sizeof template_text, "%016" PRIx64, template_hash);
    snprintf(tokenizer_text, sizeof tokenizer_text, "%016" PRIx64, tokenizer_hash);
    doc = json_pack("{s:s?, s:s, s:{s:s, s:s}, s:b, s:b, s:o, s:o, s:s, s:s, s:s, s:i, s:i, s:o, s:s, s:b}",
                    "base_model_name_or_path", base, "bias", "none", "hone", "template_hash", template_text,
                    "tokenizer_hash", tokenizer_text, "inference_mode", 1, "init_lora_weights", 1,
                    "lora_alpha", number_json(a->alpha), "lora_dropout", json_real(a->dropout),
                    "megatron_core", "megatron.core", "peft_type", "LORA", "peft_version", PEFT_VERSION,
                    "qalora_group_size", 16, "r", a->r, "target_modules", targets_json(a), "task_type",
                    "CAUSAL_LM", "use_rslora", (int)a->rslora);
    for (i = 0; i < HONE_COUNT(null_key); i++)
        failed |= json_object_set_new(doc, null_key[i], json_null());
    for (i = 0; i < HONE_COUNT(false_key); i++)
        failed |= json_object_set_new(doc, false_key[i], json_false());
    for (i = 0; i < HONE_COUNT(empty_key); i++)
        failed |= json_object_set_new(doc, empty_key[i], json_object());
    if (failed) /* the one thing but memory that can fail here is a name that is no UTF-8 */
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory, or a name to be written is no UTF-8", path);
    else
        hone_json_dump(&text, doc,
                       JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
    if (text.failed)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    else if (!failed)
        rc = hone_file_write(path, text.data, text.len, err);
    hone_buf_clear(&text);
    json_decref(doc);
    return rc;
}

int hone_adapter_save(const hone_adapter *a, const char *dir, uint64_t template_hash, uint64_t tokenizer_hash,
                      hone_error *err)
{
    char *config = hone_path_join(dir, "adapter_config.json"),
         *tensors = hone_path_join(dir, "adapter_model.safetensors");
    int rc;

    if (!config || !tensors)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    else if (!(rc = hone_mkdirs(dir, err)) && !(rc = write_tensors(a, tensors, err)))
        rc = write_config(a, config, template_hash, tokenizer_hash, err);
    hone_free(config);
    hone_free(tensors);
    return rc;
}
