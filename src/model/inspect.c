/* hone inspect: what a checkpoint or an adapter is, as one JSON document.
 *
 * It must also help with files that hone can not use: a model of a foreign architecture is described as far as its
 * format tells, with the reason why it is refused. Only what breaks the format itself is an error.
 *
 *   kind          "model", "adapter", or "tensors" (a bare safetensors file)
 *   format        "GGUF", "Hugging Face", "PEFT", "safetensors"
 *   bytes, parameters, types [{type, tensors, values, bytes}], tensors [{name, type, shape, bytes}]
 *   architecture  {family, model_type, layers, ...} or {supported: false, reason}
 *   tokenizer {kind, pre, tokens}, chat_template, bos, eos      models
 *   metadata      GGUF: every key; arrays as their length
 *   adapter       {r, lora_alpha, target_modules, base_model, ...} */
#include <string.h>

#include "format/gguf.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "hone/model.h"
#include "model/arch.h"

#define MAX_JSON ((size_t)256 << 20)
#define MAX_SHOWN 200 /* bytes of a metadata string */

/* Adds key to an object; a failed allocation anywhere marks the document. */
static void set(json_t *object, const char *key, json_t *value, bool *failed)
{
    if (json_object_set_new(object, key, value) != 0)
        *failed = true;
}

static json_t *text_of(const char *s, size_t len)
{
    json_t *v = json_stringn(s, len);

    return v ? v : json_string("(not UTF-8)");
}

/* ---- tensors -------------------------------------------------------------------------------------------------------- */

typedef struct tensors {
    const hone_gguf *gguf;
    const hone_safetensors *st;
} tensors;

static size_t count_of(const tensors *s)
{
    return s->gguf ? hone_gguf_n_tensors(s->gguf) : hone_safetensors_n_tensors(s->st);
}

static const hone_tensor_info *tensor_of(const tensors *s, size_t i)
{
    return s->gguf ? hone_gguf_tensor(s->gguf, i) : hone_safetensors_tensor(s->st, i);
}

static json_int_t values_of(const hone_tensor_info *t)
{
    json_int_t n = 1;
    int d;

    for (d = 0; d < t->n_dims && d < 4; d++)
        n *= t->shape[d];
    return n;
}

/* The row of the histogram that counts this storage type; new ones go to the end. */
static json_t *row_for(json_t *histogram, const char *type, bool *failed)
{
    json_t *row;
    size_t i;

    json_array_foreach(histogram, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "type")), type) == 0)
            return row;
    }
    row = json_pack("{s:s,s:i,s:i,s:i}", "type", type, "tensors", 0, "values", 0, "bytes", 0);
    if (json_array_append_new(histogram, row) != 0) {
        *failed = true;
        return NULL;
    }
    return row;
}

static void add_to(json_t *row, const char *key, json_int_t n, bool *failed)
{
    set(row, key, json_integer(json_integer_value(json_object_get(row, key)) + n), failed);
}

static json_t *describe(const hone_tensor_info *t, bool *failed)
{
    json_t *shape = json_array(), *v;
    int d;

    for (d = 0; d < t->n_dims && d < 4; d++)
        *failed |= json_array_append_new(shape, json_integer(t->shape[d])) != 0;
    v = json_pack("{s:s,s:s,s:o,s:I}", "name", t->name, "type", t->type, "shape", shape, "bytes",
                  (json_int_t)t->size);
    return v;
}

/* Parameters that a tensor holds: codes of bitsandbytes count as what they stand for, their scales and maps not. */
static json_int_t parameters_in(const tensors *s, const hone_tensor_info *t)
{
    const char *dot = strrchr(t->name, '.');
    char map[160];

    if (strstr(t->name, ".weight.") || (dot && strcmp(dot, ".SCB") == 0) ||
        strcmp(t->name, "rope_freqs.weight") == 0)
        return 0;
    snprintf(map, sizeof map, "%.140s.quant_map", t->name);
    if (s->st && hone_safetensors_find(s->st, map))
        return 2 * (json_int_t)t->size;
    return hone_dtype_is_weight(t->dtype) ? values_of(t) : 0;
}

static void add_tensors(json_t *doc, const tensors *s, bool *failed)
{
    json_t *histogram = json_array(), *list = json_array();
    json_int_t parameters = 0;
    size_t i;

    for (i = 0; i < count_of(s) && !*failed; i++) {
        const hone_tensor_info *t = tensor_of(s, i);
        json_t *row = row_for(histogram, t->type, failed);

        if (!row)
            break;
        add_to(row, "tensors", 1, failed);
        add_to(row, "values", values_of(t), failed);
        add_to(row, "bytes", (json_int_t)t->size, failed);
        parameters += parameters_in(s, t);
        *failed |= json_array_append_new(list, describe(t, failed)) != 0;
    }
    set(doc, "parameters", json_integer(parameters), failed);
    set(doc, "types", histogram, failed);
    set(doc, "tensors", list, failed);
}

/* ---- models ----------------------------------------------------------------------------------------------------------- */

/* rc: of reading the architecture; its text is the reason why the model can not be used. */
static void add_arch(json_t *doc, const hone_arch *a, int rc, const hone_error *why, bool *failed)
{
    json_t *eos;
    int i;

    if (rc) {
        set(doc, "architecture", json_pack("{s:b,s:s}", "supported", 0, "reason", why->message), failed);
        return;
    }
    set(doc, "architecture",
        json_pack("{s:b,s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:b,s:b,s:b,s:b,s:b,s:b,s:i,s:f,s:f}",
                  "supported", 1, "family", a->family, "model_type", a->model_type, "layers", a->n_layer,
                  "width", a->width, "heads", a->n_head, "kv_heads", a->n_kv, "head_size", a->head_size,
                  "ffn", a->ffn, "vocab", a->vocab, "context", a->context, "norm_eps", (double)a->norm_eps,
                  "tied", a->tied, "qkv_bias", a->qkv_bias, "o_bias", a->o_bias, "mlp_bias", a->mlp_bias,
                  "qk_norm", a->qk_norm, "post_norms", a->post_norms, "window", a->window,
                  "attention_softcap", (double)a->attention_softcap, "final_softcap",
                  (double)a->final_softcap),
        failed);
    eos = json_array();
    for (i = 0; i < a->n_eos; i++)
        *failed |= json_array_append_new(eos, json_integer(a->eos[i])) != 0;
    set(doc, "eos", eos, failed);
    set(doc, "bos", a->bos < 0 ? json_null() : json_integer(a->bos), failed);
}

static json_t *metadata_value(const hone_gguf *g, const char *key, int type)
{
    const char *s;
    size_t n;
    int64_t i;
    double d;
    bool b;
    char text[48];

    if (hone_gguf_string(g, key, &s, &n))
        return n <= MAX_SHOWN ? text_of(s, n)
                              : (snprintf(text, sizeof text, "(%zu bytes)", n), json_string(text));
    if (hone_gguf_array(g, key, &n, &type))
        return snprintf(text, sizeof text, "(%zu entries)", n), json_string(text);
    if (hone_gguf_int(g, key, &i))
        return json_integer(i);
    if (hone_gguf_double(g, key, &d))
        return d - d == 0 ? json_real(d) : json_null(); /* JSON has no infinity */
    if (hone_gguf_bool(g, key, &b))
        return json_boolean(b);
    return json_null(); /* past 63 bits */
}

static void add_metadata(json_t *doc, const hone_gguf *g, bool *failed)
{
    json_t *all = json_object();
    const char *name;
    size_t i, len;
    int type;

    for (i = 0; i < hone_gguf_n_keys(g) && !*failed; i++) {
        char *key;

        hone_gguf_key(g, i, &name, &len, &type);
        key = hone_strndup(name, len);
        if (key)
            set(all, key, metadata_value(g, key, type), failed);
        else
            *failed = true;
        hone_free(key);
    }
    set(doc, "metadata", all, failed);
}

static void add_gguf_text(json_t *doc, const hone_gguf *g, bool *failed)
{
    json_t *tokenizer = json_object();
    const char *s;
    size_t n;
    int type;

    if (hone_gguf_string(g, "tokenizer.ggml.model", &s, &n))
        set(tokenizer, "kind",
            n == 4 && memcmp(s, "gpt2", 4) == 0 ? json_string("byte-level BPE") : text_of(s, n), failed);
    if (hone_gguf_string(g, "tokenizer.ggml.pre", &s, &n))
        set(tokenizer, "pre", text_of(s, n), failed);
    if (hone_gguf_array(g, "tokenizer.ggml.tokens", &n, &type))
        set(tokenizer, "tokens", json_integer((json_int_t)n), failed);
    set(doc, "tokenizer", tokenizer, failed);
    set(doc, "chat_template", json_boolean(hone_gguf_string(g, "tokenizer.chat_template", &s, &n)), failed);
}

static int inspect_gguf(json_t *doc, const char *path, bool *failed, hone_error *err)
{
    hone_error why = HONE_ERROR_INIT;
    hone_arch arch = {0};
    hone_gguf *g;
    int rc = hone_gguf_open(&g, path, err);

    if (rc)
        return rc;
    set(doc, "kind", json_string("model"), failed);
    set(doc, "format", json_string("GGUF"), failed);
    set(doc, "bytes", json_integer((json_int_t)hone_gguf_mapped(g)), failed);
    add_arch(doc, &arch, hone_arch_read_gguf(&arch, g, path, &why), &why, failed);
    add_gguf_text(doc, g, failed);
    add_metadata(doc, g, failed);
    add_tensors(doc, &(tensors){.gguf = g}, failed);
    hone_arch_clear(&arch);
    hone_gguf_close(g);
    return 0;
}

/* A JSON file beside the weights that may be absent or broken: then NULL. Numbers past 64 bits stand in some. */
static json_t *beside(const char *dir, const char *name)
{
    char *path = hone_path_join(dir, name), *text = NULL;
    json_t *v = NULL;
    size_t len;

    if (path && hone_path_exists(path) && hone_file_read(&text, &len, path, MAX_JSON, NULL) == 0)
        v = json_loadb(text, len, JSON_DECODE_INT_AS_REAL, NULL);
    hone_free(text);
    hone_free(path);
    return v;
}

static bool has_file(const char *dir, const char *name)
{
    char *path = hone_path_join(dir, name);
    bool has = path && hone_path_exists(path);

    hone_free(path);
    return has;
}

static void add_folder_text(json_t *doc, const char *dir, bool *failed)
{
    json_t *tokenizer = json_object(), *file = beside(dir, "tokenizer.json"),
           *config = beside(dir, "tokenizer_config.json");
    const json_t *model = json_object_get(file, "model"), *added = json_object_get(file, "added_tokens");
    const char *type = json_string_value(json_object_get(model, "type"));

    if (type)
        set(tokenizer, "kind", json_string(type), failed);
    else if (has_file(dir, "tokenizer.model"))
        set(tokenizer, "kind", json_string("SentencePiece"), failed);
    if (json_is_object(json_object_get(model, "vocab"))) {
        set(tokenizer, "vocab", json_integer((json_int_t)json_object_size(json_object_get(model, "vocab"))),
            failed);
        set(tokenizer, "added_tokens", json_integer((json_int_t)json_array_size(added)), failed);
    }
    set(doc, "tokenizer", tokenizer, failed);
    set(doc, "chat_template",
        json_boolean(has_file(dir, "chat_template.jinja") ||
                     (json_object_get(config, "chat_template") &&
                      !json_is_null(json_object_get(config, "chat_template")))),
        failed);
    json_decref(file);
    json_decref(config);
}

static int inspect_folder(json_t *doc, const char *path, bool *failed, hone_error *err)
{
    hone_error why = HONE_ERROR_INIT;
    hone_arch arch = {0};
    hone_safetensors *s;
    int rc = hone_safetensors_open(&s, path, err);

    if (rc)
        return rc;
    set(doc, "kind", json_string("model"), failed);
    set(doc, "format", json_string("Hugging Face"), failed);
    set(doc, "bytes", json_integer((json_int_t)hone_safetensors_mapped(s)), failed);
    add_arch(doc, &arch, hone_arch_read_config(&arch, path, &why), &why, failed);
    add_folder_text(doc, path, failed);
    add_tensors(doc, &(tensors){.st = s}, failed);
    hone_arch_clear(&arch);
    hone_safetensors_close(s);
    return 0;
}

/* ---- adapters and bare files ---------------------------------------------------------------------------------------- */

static int inspect_file(json_t *doc, const char *path, bool *failed, hone_error *err)
{
    hone_safetensors *s;
    int rc = hone_safetensors_open(&s, path, err);

    if (rc)
        return rc;
    if (!json_object_get(doc, "kind")) {
        set(doc, "kind", json_string("tensors"), failed);
        set(doc, "format", json_string("safetensors"), failed);
    }
    set(doc, "bytes", json_integer((json_int_t)hone_safetensors_mapped(s)), failed);
    add_tensors(doc, &(tensors){.st = s}, failed);
    hone_safetensors_close(s);
    return 0;
}

static int inspect_adapter(json_t *doc, const char *dir, bool *failed, hone_error *err)
{
    static const char *const shown[][2] = {
        {"peft_type", "type"},
        {"r", "r"},
        {"lora_alpha", "lora_alpha"},
        {"lora_dropout", "lora_dropout"},
        {"use_rslora", "use_rslora"},
        {"target_modules", "target_modules"},
        {"modules_to_save", "modules_to_save"},
        {"base_model_name_or_path", "base_model"},
    };
    char *config = hone_path_join(dir, "adapter_config.json"),
         *weights = hone_path_join(dir, "adapter_model.safetensors");
    json_t *settings = NULL, *adapter = json_object(), *v;
    size_t i;
    int rc;

    if (!config || !weights)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    else
        rc = hone_json_load(&settings, config, MAX_JSON, err);
    if (!rc) {
        set(doc, "kind", json_string("adapter"), failed);
        set(doc, "format", json_string("PEFT"), failed);
        for (i = 0; i < HONE_COUNT(shown); i++) {
            v = json_object_get(settings, shown[i][0]);
            if (v && !json_is_null(v))
                set(adapter, shown[i][1], json_incref(v), failed);
        }
        v = json_object_get(settings, "hone");
        if (json_is_object(v))
            set(adapter, "hone", json_incref(v), failed);
        set(doc, "adapter", json_incref(adapter), failed);
        rc = inspect_file(doc, weights, failed, err);
    }
    json_decref(settings);
    json_decref(adapter);
    hone_free(config);
    hone_free(weights);
    return rc;
}

int hone_inspect(char **json, const char *path, hone_error *err)
{
    json_t *doc = json_object();
    hone_buf text = {0};
    bool failed = doc == NULL;
    int rc;

    *json = NULL;
    set(doc, "path", text_of(path, strlen(path)), &failed);
    if (!hone_path_exists(path))
        rc = hone_error_set(err, HONE_ENOENT, "%s: there is no such file or folder", path);
    else if (hone_path_is_dir(path))
        rc = has_file(path, "adapter_config.json") ? inspect_adapter(doc, path, &failed, err)
                                                   : inspect_folder(doc, path, &failed, err);
    else
        rc = hone_gguf_is_file(path) ? inspect_gguf(doc, path, &failed, err)
                                     : inspect_file(doc, path, &failed, err);
    if (!rc) {
        hone_json_dump(&text, doc, JSON_INDENT(2));
        *json = failed || text.failed ? NULL : hone_buf_take(&text);
        if (!*json)
            rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    }
    hone_buf_clear(&text);
    json_decref(doc);
    return rc;
}
