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
#include "model/adapter_match.h"

#define CONFIG_LIMIT (1u << 20) /* a full path for every projection of 80 layers takes 25 kB */
#define PEFT_VERSION "0.21.2"   /* the version whose files these are */

/* In the order of hone_bias. */
static const char *const bias_name[] = {"none", "all", "lora_only"};

/* ---- reading the settings ------------------------------------------------------------------------------------------ */

typedef struct settings {
    hone_adapter_params p; /* points into what stands below */
    hone_strings targets, modules_to_save;
    hone_patterns rank_pattern, alpha_pattern;
    hone_target_limits limits;
    hone_token_rows tokens;
    uint64_t template_hash, tokenizer_hash;
} settings; /* the lists are allocated, their strings borrowed from the document */

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
                          "%s: \"%s\" is set, a variant of LoRA that hone does not have", file, key);
}

static int check_variants(json_t *doc, const char *file, hone_error *err)
{
    static const char *const off[] = {
        "fan_in_fan_out",  "lora_bias",         "layer_replication",
        "megatron_config", "target_parameters", "alora_invocation_tokens",
        "arrow_config",    "kasa_config",       "monteclora_config",
        "velora_config",
    };
    /* Ways to start that leave the base as it is; the others (PiSSA, OLoRA, ...) change it. */
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    const char *type = json_string_value(json_object_get(doc, "peft_type"));
    const char *key, *name;
    json_t *init = json_object_get(doc, "init_lora_weights"), *v;
    size_t i;

    if (!type || strcmp(type, "LORA") != 0)
        return hone_error_set(err, HONE_EUNSUPPORTED, "%s: \"peft_type\" is \"%s\"; hone reads LORA", file,
                              type ? type : "(none)");
    for (i = 0; i < HONE_COUNT(off); i++)
        if (!is_off(json_object_get(doc, off[i])))
            return refuse(file, off[i], err);
    json_object_foreach(doc, key, v) if (!strncmp(key, "use_", 4) && strcmp(key, "use_rslora") != 0 &&
                                         strcmp(key, "use_dora") != 0 &&
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

static const char *const quant_name[] = {
    [HONE_QUANT_NF4] = "nf4", [HONE_QUANT_FP4] = "fp4", [HONE_QUANT_Q8_0] = "q8_0"};

static hone_quant quant_of(hone_dtype t)
{
    return t == HONE_NF4 ? HONE_QUANT_NF4 : t == HONE_FP4 ? HONE_QUANT_FP4 : HONE_QUANT_Q8_0;
}

void hone_model_params_of_adapter(hone_model_params *p, const char *dir)
{
    char *path = dir && p->quant == HONE_QUANT_AUTO ? hone_path_join(dir, "adapter_config.json") : NULL;
    json_t *doc = NULL, *own;
    const char *name = NULL;
    int q;

    if (p->quant == HONE_QUANT_AUTO)
        p->quant = HONE_QUANT_NONE;
    if (path && hone_json_load(&doc, path, CONFIG_LIMIT, NULL) == 0) {
        own = json_object_get(doc, "hone");
        name = json_string_value(json_object_get(own, "base_quant"));
        p->plain_scales = json_is_false(json_object_get(own, "base_double_quant"));
        for (q = HONE_QUANT_NF4; name && q < (int)HONE_COUNT(quant_name); q++)
            if (!strcmp(name, quant_name[q]))
                p->quant = (hone_quant)q;
    }
    json_decref(doc);
    hone_free(path);
}

/* A string or a list of strings; the strings stay the document's. */
static int read_strings(hone_strings *out, json_t *v, const char *key, const char *file, hone_error *err)
{
    const bool list = json_is_array(v);
    size_t i;

    out->n = list ? json_array_size(v) : 1;
    if (!out->n || !(list || json_is_string(v)))
        goto wrong;
    out->item = hone_calloc(out->n, sizeof *out->item);
    if (!out->item)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", file);
    for (i = 0; i < out->n; i++) {
        json_t *s = list ? json_array_get(v, i) : v;

        if (!json_is_string(s))
            goto wrong;
        out->item[i] = (char *)json_string_value(s);
    }
    return 0;
wrong:
    return hone_error_set(err, HONE_EFORMAT, "%s: \"%s\" must be a string or a list of strings", file, key);
}

/* A whole number or a list of them; null is none. */
static int read_numbers(hone_numbers *out, json_t *v, const char *key, const char *file, hone_error *err)
{
    const bool list = json_is_array(v);
    const size_t n = list ? json_array_size(v) : 1;

    if (!v || json_is_null(v) || !n)
        return 0;
    out->item = hone_calloc(n, sizeof *out->item);
    if (!out->item)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", file);
    for (; out->n < n; out->n++) {
        json_t *number = list ? json_array_get(v, out->n) : v;

        if (!json_is_integer(number))
            return hone_error_set(err, HONE_EFORMAT, "%s: \"%s\" must be a whole number or a list of them",
                                  file, key);
        out->item[out->n] = json_number_value(number);
    }
    return 0;
}

/* A list of ids, which are rows of the embedding, or lists by the name of the module. */
static int read_tokens(hone_token_rows *out, json_t *v, const char *file, hone_error *err)
{
    static const char key[] = "trainable_token_indices";
    const char *name;
    json_t *ids;
    int rc = 0;

    out->by_name = json_is_object(v);
    if (!out->by_name)
        return read_numbers(&out->embed, v, key, file, err);
    json_object_foreach(v, name, ids)
    {
        hone_numbers *to = hone_path_ends_with(name, "embed_tokens") ? &out->embed
                           : hone_path_ends_with(name, "lm_head")    ? &out->head
                                                                     : NULL;

        if (!to || to->n)
            rc = hone_error_set(
                err, HONE_EUNSUPPORTED,
                "%s: \"%s\" names %.60s; rows of embed_tokens and of lm_head can train, each named "
                "once",
                file, key, name);
        else
            rc = read_numbers(to, ids, key, file, err);
        if (rc)
            break;
    }
    return rc;
}

/* What narrows the targets. */
static int read_limits(hone_target_limits *out, json_t *doc, const char *file, hone_error *err)
{
    json_t *exclude = json_object_get(doc, "exclude_modules"),
           *pattern = json_object_get(doc, "layers_pattern");
    int rc = read_numbers(&out->layers, json_object_get(doc, "layers_to_transform"), "layers_to_transform",
                          file, err);

    out->exclude_is_list = json_is_array(exclude);
    if (!rc && !is_off(exclude))
        rc = read_strings(&out->exclude, exclude, "exclude_modules", file, err);
    if (!rc && !is_off(pattern))
        rc = read_strings(&out->layers_pattern, pattern, "layers_pattern", file, err);
    return rc;
}

/* An object of numbers. */
static int read_patterns(hone_patterns *out, json_t *v, const char *key, const char *file, hone_error *err)
{
    const char *name;
    json_t *number;
    size_t i = 0;

    if (is_off(v))
        return 0;
    if (!json_is_object(v))
        return hone_error_set(err, HONE_EFORMAT, "%s: \"%s\" must be an object", file, key);
    out->name.item = hone_calloc(json_object_size(v), sizeof *out->name.item);
    out->value = hone_calloc(json_object_size(v), sizeof *out->value);
    if (!out->name.item || !out->value)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", file);
    out->name.n = json_object_size(v);
    json_object_foreach(v, name, number)
    {
        if (!json_is_number(number))
            return hone_error_set(err, HONE_EFORMAT, "%s: \"%s\": \"%s\" is no number", file, key, name);
        out->name.item[i] = (char *)(uintptr_t)name;
        out->value[i++] = json_number_value(number);
    }
    return 0;
}

static int read_bias(hone_bias *out, json_t *v, const char *file, hone_error *err)
{
    const char *name = v ? json_string_value(v) : "none";
    int i;

    for (i = 0; name && i < (int)HONE_COUNT(bias_name); i++)
        if (!strcmp(name, bias_name[i])) {
            *out = (hone_bias)i;
            return 0;
        }
    return hone_error_set(err, HONE_EFORMAT, "%s: \"bias\" must be none, all or lora_only", file);
}

/* Fills s from the document. */
static int read_settings(settings *s, json_t *doc, const char *file, hone_error *err)
{
    json_t *r = json_object_get(doc, "r"), *alpha = json_object_get(doc, "lora_alpha"),
           *dropout = json_object_get(doc, "lora_dropout"), *targets = json_object_get(doc, "target_modules"),
           *saved = json_object_get(doc, "modules_to_save");
    int rc = check_variants(doc, file, err);

    if (rc)
        return rc;
    if ((r && !json_is_integer(r)) || (alpha && !json_is_number(alpha)) ||
        (dropout && !json_is_number(dropout)))
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: \"r\", \"lora_alpha\" and \"lora_dropout\" must be numbers", file);
    if (json_integer_value(r) > HONE_MAX_RANK || json_integer_value(r) < 0)
        return hone_error_set(err, HONE_ERANGE, "%s: \"r\": %" JSON_INTEGER_FORMAT " is not in 1..%d", file,
                              json_integer_value(r), HONE_MAX_RANK);
    s->p.r = r ? (int)json_integer_value(r) : 8;
    s->p.alpha = alpha ? json_number_value(alpha) : 8;
    s->p.dropout = json_number_value(dropout);
    s->p.rslora = json_is_true(json_object_get(doc, "use_rslora"));
    s->p.dora = json_is_true(json_object_get(doc, "use_dora"));
    s->p.targets = &s->targets;
    s->p.targets_are_list = json_is_array(targets);
    s->p.limits = &s->limits;
    s->p.modules_to_save = &s->modules_to_save;
    s->p.rank_pattern = &s->rank_pattern;
    s->p.tokens = &s->tokens;
    s->p.alpha_pattern = &s->alpha_pattern;
    s->template_hash = hash_of(doc, "template_hash");
    s->tokenizer_hash = hash_of(doc, "tokenizer_hash");
    if ((rc = read_bias(&s->p.bias, json_object_get(doc, "bias"), file, err)) < 0 ||
        (rc = read_strings(&s->targets, targets, "target_modules", file, err)) < 0 ||
        (rc = read_limits(&s->limits, doc, file, err)) < 0 ||
        (rc = read_tokens(&s->tokens, json_object_get(doc, "trainable_token_indices"), file, err)) < 0 ||
        (!is_off(saved) &&
         (rc = read_strings(&s->modules_to_save, saved, "modules_to_save", file, err)) < 0) ||
        (rc = read_patterns(&s->rank_pattern, json_object_get(doc, "rank_pattern"), "rank_pattern", file,
                            err)) < 0)
        return rc;
    return read_patterns(&s->alpha_pattern, json_object_get(doc, "alpha_pattern"), "alpha_pattern", file,
                         err);
}

static void settings_clear(settings *s)
{
    hone_free(s->targets.item);
    hone_free(s->limits.exclude.item);
    hone_free(s->limits.layers_pattern.item);
    hone_free(s->limits.layers.item);
    hone_free(s->tokens.embed.item);
    hone_free(s->tokens.head.item);
    hone_free(s->modules_to_save.item);
    hone_free(s->rank_pattern.name.item);
    hone_free(s->rank_pattern.value);
    hone_free(s->alpha_pattern.name.item);
    hone_free(s->alpha_pattern.value);
}

/* ---- reading the tensors ------------------------------------------------------------------------------------------- */

static int read_tensor(float *out, const hone_safetensors *file, const char *path, const char *key,
                       const hone_param *p, float offset, hone_error *err)
{
    const hone_tensor_info *t = hone_safetensors_find(file, key);
    const int dims = p->cols ? 2 : 1;
    char wanted[48];
    size_t i;

    if (!t)
        return hone_error_set(err, HONE_ENOENT, "%s: %s is missing", path, key);
    if (t->n_dims != dims || t->shape[0] != p->rows || (p->cols && t->shape[1] != p->cols)) {
        snprintf(wanted, sizeof wanted, p->cols ? "[%lld, %lld]" : "[%lld]", (long long)p->rows,
                 (long long)p->cols);
        return hone_error_set(err, HONE_ESHAPE, "%s: %s is [%lld, %lld]%s; the model needs %s", path, key,
                              t->n_dims > 0 ? (long long)t->shape[0] : 0,
                              t->n_dims > 1 ? (long long)t->shape[1] : 0,
                              t->n_dims == dims ? "" : " of other rank", wanted);
    }
    if (t->dtype != HONE_F32 && t->dtype != HONE_F16 && t->dtype != HONE_BF16)
        return hone_error_set(err, HONE_EUNSUPPORTED, "%s: %s is stored as %s; adapters are F32, F16 or BF16",
                              path, key,
                              t->dtype < HONE_DTYPE_COUNT ? hone_dtype_name(t->dtype) : "an unknown type");
    hone_dequantise(out, t->data, t->dtype, (int64_t)p->n);
    for (i = 0; i < p->n && p->role == HONE_PARAM_WEIGHT && offset != 0; i++)
        out[i] += offset;
    return 0;
}

static bool is_expected(const hone_adapter *a, const char *key)
{
    char want[HONE_PARAM_NAME];
    size_t i;

    for (i = 0; i < a->n_params; i++) {
        hone_param_name(want, a, &a->param[i]);
        if (!strcmp(key, want))
            return true;
    }
    return false;
}

static int read_tensors(hone_adapter *a, const char *path, hone_error *err)
{
    hone_safetensors *file = NULL;
    char key[HONE_PARAM_NAME];
    size_t i;
    int rc;

    if ((rc = hone_safetensors_open(&file, path, err)) < 0)
        return rc;
    for (i = 0; !rc && i < a->n_params; i++) {
        hone_param_name(key, a, &a->param[i]);
        rc = read_tensor(a->value + a->param[i].at, file, path, key, &a->param[i],
                         hone_module_offset(&a->model->w->arch, a->param[i].module), err);
    }
    /* all expected ones are there, so only a larger number can hide another */
    for (i = 0; !rc && hone_safetensors_n_tensors(file) > a->n_params && i < hone_safetensors_n_tensors(file);
         i++) {
        const char *name = hone_safetensors_tensor(file, i)->name;

        if (!is_expected(a, name))
            rc = hone_error_set(err, HONE_EFORMAT,
                                "%s: %s belongs to no module that the settings select in this model", path,
                                name);
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
        (rc = hone_adapter_make(&a, m, &s.p, config, err)) < 0 || (rc = read_tensors(a, tensors, err)) < 0 ||
        (rc = hone_adapter_update(a, err)) < 0)
        goto out;
    a->template_hash = s.template_hash;
    a->tokenizer_hash = s.tokenizer_hash;
    *out = a;
    a = NULL;
out:
    hone_adapter_close(a);
    settings_clear(&s);
    json_decref(doc);
    hone_free(config);
    hone_free(tensors);
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------------------------------- */

/* A tensor as the file holds it: norms of some families less 1. */
static int produce(void *ud, const hone_tensor_info *t, hone_writer *w, hone_error *err)
{
    const hone_adapter *a = ((const void *const *)ud)[0];
    const hone_tensor_info *first = ((const void *const *)ud)[1];
    const hone_param *p = &a->param[t - first];
    const float *value = a->value + p->at,
                offset = p->role == HONE_PARAM_WEIGHT ? hone_module_offset(&a->model->w->arch, p->module) : 0;
    float stored;
    size_t i;
    int rc = 0;

    if (offset == 0)
        return hone_writer_write(w, value, t->size, err);
    for (i = 0; i < p->n && !rc; i++) {
        stored = value[i] - offset;
        rc = hone_writer_write(w, &stored, sizeof stored, err);
    }
    return rc;
}

static int write_tensors(const hone_adapter *a, const char *path, hone_error *err)
{
    hone_tensor_info *t = hone_calloc(a->n_params, sizeof *t);
    char(*key)[HONE_PARAM_NAME] = hone_calloc(a->n_params, sizeof *key);
    const void *ud[2];
    size_t i;
    int rc;

    if (t && key) {
        for (i = 0; i < a->n_params; i++) {
            const hone_param *p = &a->param[i];

            hone_param_name(key[i], a, p);
            t[i] = (hone_tensor_info){.name = key[i],
                                      .dtype = HONE_F32,
                                      .n_dims = p->cols ? 2 : 1,
                                      .shape = {p->rows, p->cols},
                                      .size = p->n * sizeof(float)};
        }
        ud[0] = a;
        ud[1] = t;
        rc = hone_safetensors_produce(path, t, a->n_params, produce, ud, err);
    } else {
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    }
    hone_free(t);
    hone_free(key);
    return rc;
}

static json_t *strings_json(const hone_strings *s)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; list && i < s->n; i++)
        if (json_array_append_new(list, json_string(s->item[i])) < 0) {
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

static json_t *patterns_json(const hone_patterns *p)
{
    json_t *object = json_object();
    size_t i;

    for (i = 0; object && i < p->name.n; i++)
        if (json_object_set_new(object, p->name.item[i], number_json(p->value[i])) < 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

/* Whole numbers as PEFT writes them; none is null. */
static json_t *numbers_json(const hone_numbers *numbers)
{
    json_t *list = numbers->n ? json_array() : json_null();
    size_t i;

    for (i = 0; list && i < numbers->n; i++)
        if (json_array_append_new(list, number_json(numbers->item[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *tokens_json(const hone_token_rows *tokens)
{
    json_t *object;

    if (!tokens->by_name)
        return numbers_json(&tokens->embed);
    object = json_object();
    if ((tokens->embed.n && json_object_set_new(object, "embed_tokens", numbers_json(&tokens->embed)) < 0) ||
        (tokens->head.n && json_object_set_new(object, "lm_head", numbers_json(&tokens->head)) < 0)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *exclude_json(const hone_target_limits *limits)
{
    if (limits->exclude_is_list)
        return strings_json(&limits->exclude);
    return limits->exclude.n ? json_string(limits->exclude.item[0]) : json_null();
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
        "kasa_config",
        "layer_replication",
        "lora_ga_config",
        "megatron_config",
        "monteclora_config",
        "revision",
        "target_parameters",
        "use_bdlora",
        "velora_config",
    };
    static const char *const false_key[] = {"ensure_weight_tying", "fan_in_fan_out", "lora_bias",
                                            "use_qalora"};
    const char *base = a->model->w->arch.base_name;
    char template_text[17], tokenizer_text[17];
    hone_buf text = {0};
    json_t *doc;
    size_t i;
    int failed = 0, rc = 0;

    snprintf(template_text, sizeof template_text, "%016" PRIx64, template_hash);
    snprintf(tokenizer_text, sizeof tokenizer_text, "%016" PRIx64, tokenizer_hash);
    doc =
        json_pack("{s:s?, s:s, s:{s:s, s:s}, s:b, s:b, s:o, s:o, s:s, s:s, s:s, s:i, s:i, s:o, s:s, s:b}",
                  "base_model_name_or_path", base, "bias", bias_name[a->bias], "hone", "template_hash",
                  template_text, "tokenizer_hash", tokenizer_text, "inference_mode", 1, "init_lora_weights",
                  1, "lora_alpha", number_json(a->alpha), "lora_dropout", json_real(a->dropout),
                  "megatron_core", "megatron.core", "peft_type", "LORA", "peft_version", PEFT_VERSION,
                  "qalora_group_size", 16, "r", a->r, "target_modules",
                  a->targets_are_list ? strings_json(&a->target_names) : json_string(a->target_names.item[0]),
                  "task_type", "CAUSAL_LM", "use_rslora", (int)a->rslora);
    if (a->model->w->n_quantised)
        failed |= json_object_set_new(json_object_get(doc, "hone"), "base_quant",
                                      json_string(quant_name[quant_of(a->model->w->form.type)])) |
                  json_object_set_new(json_object_get(doc, "hone"), "base_double_quant",
                                      json_boolean(a->model->w->form.nested));
    failed |= json_object_set_new(doc, "use_dora", json_boolean(a->dora)) |
              json_object_set_new(doc, "loftq_config", json_object()) |
              json_object_set_new(doc, "rank_pattern", patterns_json(&a->rank_pattern)) |
              json_object_set_new(doc, "alpha_pattern", patterns_json(&a->alpha_pattern)) |
              json_object_set_new(doc, "exclude_modules", exclude_json(&a->limits)) |
              json_object_set_new(doc, "layers_to_transform", numbers_json(&a->limits.layers)) |
              json_object_set_new(doc, "layers_pattern",
                                  a->limits.layers_pattern.n ? strings_json(&a->limits.layers_pattern)
                                                             : json_null()) |
              json_object_set_new(doc, "trainable_token_indices", tokens_json(&a->tokens)) |
              json_object_set_new(doc, "modules_to_save",
                                  a->modules_to_save.n ? strings_json(&a->modules_to_save) : json_null());
    for (i = 0; i < HONE_COUNT(null_key); i++)
        failed |= json_object_set_new(doc, null_key[i], json_null());
    for (i = 0; i < HONE_COUNT(false_key); i++)
        failed |= json_object_set_new(doc, false_key[i], json_false());
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
