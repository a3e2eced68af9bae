/* Architectures and weights: tiny models of every family, made by transformers and the gguf package
 * (tests/golden/make_format_golden.py), must be read to the same numbers and the same values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/json.h"
#include "format/safetensors.h"
#include "model/weights.h"
#include "support/gguf_build.h"

#define GOLDEN HONE_TEST_DIR "/golden/"

static char folder[] = "/tmp/hone_weights_XXXXXX";

static json_t *golden(const char *name)
{
    hone_error err = HONE_ERROR_INIT;
    char path[512];
    json_t *v;

    snprintf(path, sizeof path, GOLDEN "%s", name);
    if (hone_json_load(&v, path, 1 << 24, &err))
        fail_msg("%s", err.message);
    return v;
}

static void write_text(const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(hone_file_write(path, text, strlen(text), NULL), 0);
}

static void remove_file(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

/* ---- comparing ------------------------------------------------------------------------------------------------------ */

static int64_t int_of(const json_t *e, const char *key)
{
    assert_true(json_is_integer(json_object_get(e, key)) || json_is_boolean(json_object_get(e, key)));
    return json_is_boolean(json_object_get(e, key)) ? json_is_true(json_object_get(e, key))
                                                    : json_integer_value(json_object_get(e, key));
}

/* Frequencies to two units in the last place: the platform's powf is free to differ in one. */
static void check_frequencies(const hone_arch *a, const float *inv_freq, const char *hex, const char *what)
{
    int i, j;

    assert_int_equal(strlen(hex), 8 * (size_t)(a->rope_dims / 2));
    for (i = 0; i < a->rope_dims / 2; i++) {
        uint32_t u = 0;
        float wanted;

        for (j = 3; j >= 0; j--) {
            unsigned byte;

            sscanf(hex + 8 * i + 2 * j, "%2x", &byte);
            u = u << 8 | byte;
        }
        memcpy(&wanted, &u, 4);
        if (!(fabsf(inv_freq[i] - wanted) <= 2.4e-7f * wanted))
            fail_msg("%s: inv_freq[%d] is %.9g, wanted %.9g", what, i, (double)inv_freq[i], (double)wanted);
    }
}

static void check_rope(const hone_arch *a, const json_t *e, const char *what)
{
    const json_t *local = json_object_get(e, "local_inv_freq");

    check_frequencies(a, a->inv_freq, json_string_value(json_object_get(e, "inv_freq")), what);
    assert_int_equal(a->local_inv_freq != NULL, local != NULL);
    if (local)
        check_frequencies(a, a->local_inv_freq, json_string_value(local), what);
    assert_float_equal(a->rope_factor, json_number_value(json_object_get(e, "rope_factor")), 1e-6);
}

static void check_arch(const hone_arch *a, const json_t *e, const char *what)
{
    const json_t *eos = json_object_get(e, "eos"), *local = json_object_get(e, "local");
    size_t i;

#define SAME(field)                                                                                          \
    if (a->field != int_of(e, #field))                                                                       \
    fail_msg("%s: " #field " is %d, wanted %d", what, (int)a->field, (int)int_of(e, #field))
    SAME(n_layer);
    SAME(width);
    SAME(n_head);
    SAME(n_kv);
    SAME(head_size);
    SAME(ffn);
    SAME(vocab);
    SAME(context);
    SAME(tied);
    SAME(window);
    SAME(bos);
#undef SAME
    assert_float_equal(a->norm_eps, json_number_value(json_object_get(e, "norm_eps")), 1e-9);
    assert_float_equal(a->attention_scale, json_number_value(json_object_get(e, "scale")), 1e-7);
    assert_float_equal(a->attention_softcap, json_number_value(json_object_get(e, "attention_softcap")),
                       1e-6);
    assert_float_equal(a->final_softcap, json_number_value(json_object_get(e, "final_softcap")), 1e-6);
    for (i = 0; i < json_array_size(local); i++)
        if ((hone_arch_window(a, (int)i) > 0) != json_is_true(json_array_get(local, i)))
            fail_msg("%s: layer %zu has a window of %d", what, i, hone_arch_window(a, (int)i));
    assert_int_equal(a->n_eos, json_array_size(eos));
    for (i = 0; i < json_array_size(eos); i++)
        assert_int_equal(a->eos[i], json_integer_value(json_array_get(eos, i)));
    check_rope(a, e, what);
}

/* Values by name in Hugging Face spelling: the hash of their f32 bytes. Counts what was compared. */
static void check_values(const json_t *hashes, const char *name, const void *data, hone_dtype t, int64_t n,
                         int *count)
{
    const char *wanted = json_string_value(json_object_get(hashes, name));
    float *values = malloc((size_t)n * 4);
    char hash[17];

    assert_non_null(values);
    if (!wanted)
        fail_msg("no tensor %s is expected", name);
    hone_dequantise(values, data, t, n);
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hone_hash64(0, values, (size_t)n * 4));
    free(values);
    if (strcmp(hash, wanted) != 0)
        fail_msg("%s: the values differ", name);
    ++*count;
}

static void check_weights(const hone_weights *w, const json_t *hashes)
{
    const hone_arch *a = &w->arch;
    char path[96], name[128];
    int i, p, count = 0;

    check_values(hashes, "model.embed_tokens.weight", w->embed.data, w->embed.dtype,
                 (int64_t)a->vocab * a->width, &count);
    check_values(hashes, "model.norm.weight", w->final_norm, HONE_F32, a->width, &count);
    if (a->tied)
        assert_ptr_equal(w->head.data, w->embed.data);
    else
        check_values(hashes, "lm_head.weight", w->head.data, w->head.dtype, (int64_t)a->vocab * a->width,
                     &count);
    for (i = 0; i < a->n_layer; i++) {
        const hone_layer_weights *l = &w->layer[i];

        for (p = 0; p < HONE_N_PROJ; p++) {
            if (!hone_proj_there(a, p))
                continue;
            hone_module_path(path, a, i, p);
            snprintf(name, sizeof name, "%s.weight", path);
            check_values(hashes, name, l->proj[p].data, l->proj[p].dtype,
                         (int64_t)l->proj[p].rows * l->proj[p].cols, &count);
            snprintf(name, sizeof name, "%s.bias", path);
            if (l->proj[p].bias)
                check_values(hashes, name, l->proj[p].bias, HONE_F32, l->proj[p].rows, &count);
        }
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", i);
        check_values(hashes, name, l->attn_norm, HONE_F32, a->width, &count);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", i);
        check_values(hashes, name, a->post_norms ? l->post_attn_norm : l->ffn_norm, HONE_F32, a->width,
                     &count);
        if (a->post_norms) {
            snprintf(name, sizeof name, "model.layers.%d.pre_feedforward_layernorm.weight", i);
            check_values(hashes, name, l->ffn_norm, HONE_F32, a->width, &count);
            snprintf(name, sizeof name, "model.layers.%d.post_feedforward_layernorm.weight", i);
            check_values(hashes, name, l->post_ffn_norm, HONE_F32, a->width, &count);
        }
        if (!a->qk_norm)
            continue;
        snprintf(name, sizeof name, "model.layers.%d.self_attn.q_norm.weight", i);
        check_values(hashes, name, l->q_norm, HONE_F32, a->head_size, &count);
        snprintf(name, sizeof name, "model.layers.%d.self_attn.k_norm.weight", i);
        check_values(hashes, name, l->k_norm, HONE_F32, a->head_size, &count);
    }
    assert_int_equal(count, json_object_size(hashes)); /* biases too: none is left over */
}

/* ---- golden files --------------------------------------------------------------------------------------------------- */

static void models_are_read_exactly(void **state)
{
    json_t *all = golden("models/expected.json"), *e;
    const char *name;
    int n = 0;

    (void)state;
    json_object_foreach(all, name, e)
    {
        hone_error err = HONE_ERROR_INIT;
        hone_weights *w;
        char path[512];

        snprintf(path, sizeof path, GOLDEN "models/%s", name);
        if (hone_weights_open(&w, path, &err))
            fail_msg("%s", err.message);
        assert_string_equal(w->arch.family, json_string_value(json_object_get(e, "family")));
        assert_string_equal(w->arch.base_name, path);
        assert_true(w->mapped_bytes > 0);
        check_arch(&w->arch, e, name);
        check_weights(w, json_object_get(e, "tensors"));
        hone_weights_close(w);
        n++;
    }
    json_decref(all);
    assert_int_equal(n, 18);
}

static void configs_mean_what_transformers_says(void **state)
{
    json_t *all = golden("configs.json"), *v;
    size_t i;

    (void)state;
    json_array_foreach(all, i, v)
    {
        const char *name = json_string_value(json_object_get(v, "name"));
        hone_error err = HONE_ERROR_INIT;
        hone_buf text = {0};
        hone_arch a;

        hone_json_dump(&text, json_object_get(v, "config"), 0);
        write_text("config.json", text.data);
        hone_buf_clear(&text);
        if (hone_arch_read_config(&a, folder, &err))
            fail_msg("%s: %s", name, err.message);
        check_arch(&a, json_object_get(v, "expect"), name);
        hone_arch_clear(&a);
    }
    assert_true(json_array_size(all) >= 20);
    json_decref(all);
}

static void generation_config_adds_ids(void **state)
{
    hone_arch a;

    (void)state;
    write_text(
        "config.json",
        "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": "
        "1,"
        " \"num_attention_heads\": 4, \"vocab_size\": 96, \"eos_token_id\": 7, \"bos_token_id\": null}");
    write_text("generation_config.json", "{\"eos_token_id\": [9, 7, 11], \"bos_token_id\": 3}");
    assert_int_equal(hone_arch_read_config(&a, folder, NULL), 0);
    assert_int_equal(a.n_eos, 3);
    assert_int_equal(a.eos[0], 7);
    assert_int_equal(a.eos[1], 9);
    assert_int_equal(a.eos[2], 11);
    assert_int_equal(a.bos, 3);
    hone_arch_clear(&a);
    remove_file("generation_config.json");
}

/* ---- refusals: one change to a good config.json, and a word that the message must hold ------------------------------- */

static const struct {
    const char *key, *value, *word;
    int code;
} bad_configs[] = {
    {"architectures", "[\"GPT2LMHeadModel\"]", "Qwen3ForCausalLM", HONE_EUNSUPPORTED},
    {"architectures", "[\"LlamaForSequenceClassification\"]", "LlamaForCausalLM", HONE_EUNSUPPORTED},
    {"model_type", "\"gpt2\"", "supported are", HONE_EUNSUPPORTED},
    {"hidden_size", "null", "hidden_size", HONE_EFORMAT},
    {"hidden_size", "65", "hidden_size", HONE_EFORMAT},
    {"hidden_size", "\"64\"", "hidden_size", HONE_EFORMAT},
    {"hidden_size", "64.0", "hidden_size", HONE_EFORMAT},
    {"num_hidden_layers", "0", "layers", HONE_EFORMAT},
    {"num_hidden_layers", "100000000", "layers", HONE_EFORMAT},
    {"num_attention_heads", "0", "heads", HONE_EFORMAT},
    {"num_attention_heads", "-4", "heads", HONE_EFORMAT},
    {"num_key_value_heads", "3", "share", HONE_EFORMAT},
    {"head_dim", "15", "odd", HONE_EFORMAT},
    {"vocab_size", "99999999999", "vocab_size", HONE_EFORMAT},
    {"rms_norm_eps", "-1", "epsilon", HONE_EFORMAT},
    {"rms_norm_eps", "\"1e-6\"", "rms_norm_eps", HONE_EFORMAT},
    {"hidden_act", "\"gelu\"", "gelu", HONE_EUNSUPPORTED},
    {"quantization_config", "{\"quant_method\": \"gptq\"}", "gptq", HONE_EUNSUPPORTED},
    {"rope_scaling", "{\"rope_type\": \"longrope\", \"factor\": 2}", "short_factor", HONE_EFORMAT},
    {"rope_scaling", "{\"rope_type\": \"longrope\", \"short_factor\": [1, 1]}", "short_factor", HONE_EFORMAT},
    {"rope_scaling", "{\"type\": \"proportional\", \"factor\": 2}", "proportional", HONE_EUNSUPPORTED},
    {"rope_scaling", "{\"type\": \"linear\"}", "factor", HONE_EFORMAT},
    {"rope_scaling", "{\"type\": \"linear\", \"factor\": \"2\"}", "factor", HONE_EFORMAT},
    {"rope_scaling", "{\"type\": \"llama3\", \"factor\": 2}", "low_freq_factor", HONE_EFORMAT},
    {"rope_scaling", "[1]", "rope_scaling", HONE_EFORMAT},
    {"rope_parameters", "{\"full_attention\": {\"rope_theta\": 1e4}}", "layer type", HONE_EUNSUPPORTED},
    {"rope_theta", "0", "theta", HONE_EFORMAT},
    {"partial_rotary_factor", "0.1", "dimensions", HONE_EFORMAT},
    {"partial_rotary_factor", "1.5", "partial_rotary_factor", HONE_EFORMAT},
    {"tie_word_embeddings", "1", "tie_word_embeddings", HONE_EFORMAT},
    {"eos_token_id", "[1, \"x\"]", "eos_token_id", HONE_EFORMAT},
    {"eos_token_id", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "end-of-sequence", HONE_ELIMIT},
};

static void bad_configs_are_refused_by_name(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(bad_configs); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_buf text = {0};
        hone_arch a;
        json_t *c = json_loads(
            "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 64,"
            " \"intermediate_size\": 96, \"num_hidden_layers\": 1, \"num_attention_heads\": 4,"
            " \"num_key_value_heads\": 2, \"vocab_size\": 96}",
            0, NULL);

        json_object_set_new(c, bad_configs[i].key, json_loads(bad_configs[i].value, JSON_DECODE_ANY, NULL));
        hone_json_dump(&text, c, 0);
        json_decref(c);
        write_text("config.json", text.data);
        hone_buf_clear(&text);
        if (hone_arch_read_config(&a, folder, &err) != bad_configs[i].code)
            fail_msg("case %zu, %s: %s gave %s: %s", i, bad_configs[i].key, bad_configs[i].value,
                     hone_error_name(err.code), err.message);
        if (!strstr(err.message, bad_configs[i].word) || !strstr(err.message, "config.json"))
            fail_msg("case %zu: \"%s\" does not hold %s", i, err.message, bad_configs[i].word);
    }
    write_text("config.json", "{\"hidden_size\": 1, \"hidden_size\": 2}");
    assert_int_equal(hone_arch_read_config(&(hone_arch){0}, folder, NULL), HONE_EFORMAT);
    write_text("config.json", "[]");
    assert_int_equal(hone_arch_read_config(&(hone_arch){0}, folder, NULL), HONE_EFORMAT);
    write_text("config.json", "");
    assert_int_equal(hone_arch_read_config(&(hone_arch){0}, folder, NULL), HONE_EFORMAT);
}

static void windows_by_layer(void **state)
{
    static const char *const some[] = {
        "\"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 1",
        "\"use_sliding_window\": true, \"sliding_window\": 8, \"layer_types\": [\"full_attention\", "
        "\"sliding_attention\"]",
        "\"use_sliding_window\": true, \"sliding_window\": 8, \"layer_types\": [\"full_attention\"]",
        "\"use_sliding_window\": true, \"sliding_window\": 8, \"layer_types\": [\"full_attention\", "
        "\"linear_attention\"]",
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(some); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_arch a;
        char text[512];
        int rc;

        snprintf(text, sizeof text,
                 "{\"model_type\": \"qwen3\", \"hidden_size\": 64, \"intermediate_size\": 96, "
                 "\"num_hidden_layers\": 2,"
                 " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 96, %s}",
                 some[i]);
        write_text("config.json", text);
        rc = hone_arch_read_config(&a, folder, &err);
        if (i >= 2) {
            assert_int_equal(rc, HONE_EFORMAT);
            assert_non_null(strstr(err.message, "layer_types"));
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(hone_arch_window(&a, 0), 0);
        assert_int_equal(hone_arch_window(&a, 1), 8);
        hone_arch_clear(&a);
    }
}

/* ---- folders with one thing wrong ------------------------------------------------------------------------------------ */

enum { NO_CHANGE, DROP, RENAME, RESHAPE, RETYPE, ADD };

/* Copies the golden qwen2 model into `folder` with one tensor changed. */
static int open_changed(int change, const char *name, const char *other, bool tied, hone_weights **w,
                        hone_error *err)
{
    hone_safetensors *s;
    hone_tensor_info t[64];
    char *text, path[256];
    size_t n = 0, i, len;
    int rc;

    assert_int_equal(hone_safetensors_open(&s, GOLDEN "models/qwen2", NULL), 0);
    for (i = 0; i < hone_safetensors_n_tensors(s); i++) {
        t[n] = *hone_safetensors_tensor(s, i);
        if (strcmp(t[n].name, name) == 0) {
            if (change == DROP)
                continue;
            if (change == RENAME)
                t[n].name = other;
            if (change == RESHAPE) {
                t[n].shape[0] /= 2;
                t[n].shape[t[n].n_dims++] = 2;
            }
            if (change == RETYPE)
                t[n].dtype = HONE_I16;
            if (change == ADD) {
                t[n + 1] = t[n];
                t[n + 1].name = other;
                n++;
            }
        }
        n++;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(hone_safetensors_write(path, t, n, NULL), 0);
    hone_safetensors_close(s);
    assert_int_equal(hone_file_read(&text, &len, GOLDEN "models/qwen2/config.json", 1 << 20, NULL), 0);
    if (!tied)
        memcpy(strstr(text, "\"tie_word_embeddings\": true"), "\"tie_word_embeddings\":false", 27);
    write_text("config.json", text);
    hone_free(text);
    rc = hone_weights_open(w, folder, err);
    remove_file("model.safetensors");
    return rc;
}

static void wrong_tensors_are_named(void **state)
{
    static const struct {
        int change;
        const char *name, *other;
        bool tied;
        int code;
        const char *words[3];
    } cases[] = {
        {DROP,
         "model.layers.0.mlp.up_proj.weight",
         NULL,
         true,
         HONE_EFORMAT,
         {"model.layers.0.mlp.up_proj.weight"}},
        {DROP, "model.layers.0.self_attn.k_proj.bias", NULL, true, HONE_EFORMAT, {"k_proj.bias", "missing"}},
        {DROP, "model.norm.weight", NULL, true, HONE_EFORMAT, {"model.norm.weight"}},
        {DROP, "model.embed_tokens.weight", NULL, true, HONE_EFORMAT, {"model.embed_tokens.weight"}},
        {NO_CHANGE, "", NULL, false, HONE_EFORMAT, {"lm_head.weight", "missing"}},
        {RESHAPE, "model.embed_tokens.weight", NULL, true, HONE_ESHAPE, {"[96, 64]", "[48, 64, 2]"}},
        {RESHAPE,
         "model.layers.0.mlp.down_proj.weight",
         NULL,
         true,
         HONE_ESHAPE,
         {"model.safetensors", "[64, 96]", "[32, 96, 2]"}},
        {RESHAPE, "model.layers.0.input_layernorm.weight", NULL, true, HONE_ESHAPE, {"[64]", "[32, 2]"}},
        {RETYPE,
         "model.layers.0.self_attn.q_proj.weight",
         NULL,
         true,
         HONE_EUNSUPPORTED,
         {"I16", "q_proj.weight"}},
        {ADD,
         "model.layers.0.self_attn.q_proj.bias",
         "model.layers.0.self_attn.o_proj.bias",
         true,
         HONE_EFORMAT,
         {"o_proj.bias", "no place"}},
        {ADD,
         "model.norm.weight",
         "model.layers.1.input_layernorm.weight",
         true,
         HONE_EFORMAT,
         {"layers.1", "1 layers"}},
    };
    size_t i, j;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_weights *w;

        if (open_changed(cases[i].change, cases[i].name, cases[i].other, cases[i].tied, &w, &err) !=
            cases[i].code)
            fail_msg("case %zu gave %s: %s", i, hone_error_name(err.code), err.message);
        for (j = 0; j < 3 && cases[i].words[j]; j++)
            if (!strstr(err.message, cases[i].words[j]))
                fail_msg("case %zu: \"%s\" does not hold %s", i, err.message, cases[i].words[j]);
    }
}

static void tied_heads(void **state)
{
    hone_weights *w;

    (void)state;
    /* An equal head is the embedding. */
    assert_int_equal(open_changed(ADD, "model.embed_tokens.weight", "lm_head.weight", true, &w, NULL), 0);
    assert_true(w->arch.tied);
    assert_ptr_equal(w->head.data, w->embed.data);
    hone_weights_close(w);
    /* Not tied: each for itself, equal or not. */
    assert_int_equal(open_changed(ADD, "model.embed_tokens.weight", "lm_head.weight", false, &w, NULL), 0);
    assert_false(w->arch.tied);
    assert_ptr_not_equal(w->head.data, w->embed.data);
    hone_weights_close(w);
    /* The head alone serves as both. */
    assert_int_equal(open_changed(RENAME, "model.embed_tokens.weight", "lm_head.weight", true, &w, NULL), 0);
    assert_true(w->arch.tied);
    hone_weights_close(w);
    /* Foreign tensors and stored constants are none of our business. */
    assert_int_equal(open_changed(ADD, "model.norm.weight", "model.layers.0.self_attn.rotary_emb.inv_freq",
                                  true, &w, NULL),
                     0);
    hone_weights_close(w);
    assert_int_equal(open_changed(ADD, "model.norm.weight", "score.weight", true, &w, NULL), 0);
    hone_weights_close(w);
}

/* A head that differs from the embedding it is said to be tied to is used as it is. */
static void different_head_is_kept(void **state)
{
    hone_safetensors *s;
    hone_tensor_info t[64];
    hone_weights *w;
    char path[256], *text;
    uint16_t head[96 * 64];
    size_t n, i, len;

    (void)state;
    assert_int_equal(hone_safetensors_open(&s, GOLDEN "models/qwen2", NULL), 0);
    n = hone_safetensors_n_tensors(s);
    for (i = 0; i < n; i++)
        t[i] = *hone_safetensors_tensor(s, i);
    t[n] = *hone_safetensors_find(s, "model.embed_tokens.weight");
    memcpy(head, t[n].data, sizeof head);
    head[5]++;
    t[n].name = "lm_head.weight";
    t[n].data = head;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    assert_int_equal(hone_safetensors_write(path, t, n + 1, NULL), 0);
    hone_safetensors_close(s);
    assert_int_equal(hone_file_read(&text, &len, GOLDEN "models/qwen2/config.json", 1 << 20, NULL), 0);
    write_text("config.json", text);
    hone_free(text);
    assert_int_equal(hone_weights_open(&w, folder, NULL), 0);
    assert_false(w->arch.tied);
    assert_memory_equal(w->head.data, head, sizeof head);
    hone_weights_close(w);
    remove_file("model.safetensors");
}

/* ---- GGUF ------------------------------------------------------------------------------------------------------------- */

/* A llama of one layer, C = 64, H = 4, K = 2, F = 32, V = 8, all zeros. `skip` leaves out a key or tensor; `extra` adds. */
static int open_built(const char *skip, void (*extra)(gguf_build *b), hone_error *err)
{
    static const struct {
        const char *name;
        int rows, cols;
    } tensors[] = {
        {"token_embd.weight", 8, 64},      {"output_norm.weight", 64, 0},
        {"blk.0.attn_norm.weight", 64, 0}, {"blk.0.ffn_norm.weight", 64, 0},
        {"blk.0.attn_q.weight", 64, 64},   {"blk.0.attn_k.weight", 32, 64},
        {"blk.0.attn_v.weight", 32, 64},   {"blk.0.attn_output.weight", 64, 64},
        {"blk.0.ffn_gate.weight", 32, 64}, {"blk.0.ffn_up.weight", 32, 64},
        {"blk.0.ffn_down.weight", 64, 32},
    };
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {{"llama.block_count", 1},
                {"llama.embedding_length", 64},
                {"llama.feed_forward_length", 32},
                {"llama.attention.head_count", 4},
                {"llama.attention.head_count_kv", 2},
                {"llama.context_length", 128}};
    gguf_build b = {0};
    hone_weights *w = NULL;
    char path[256];
    size_t i;
    int rc;

    if (strcmp(skip, "general.architecture") != 0)
        gguf_string(&b, "general.architecture", "llama");
    if (strcmp(skip, "llama.attention.layer_norm_rms_epsilon") != 0)
        gguf_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (i = 0; i < HONE_COUNT(keys); i++)
        if (strcmp(skip, keys[i].key) != 0)
            gguf_u32(&b, keys[i].key, keys[i].value);
    for (i = 0; i < HONE_COUNT(tensors); i++)
        if (strcmp(skip, tensors[i].name) != 0)
            gguf_tensor(&b, tensors[i].name, 0, tensors[i].cols ? 2 : 1, tensors[i].rows, tensors[i].cols);
    if (extra)
        extra(&b);
    snprintf(path, sizeof path, "%s/built.gguf", folder);
    gguf_write(&b, path);
    rc = hone_weights_open(&w, path, err);
    hone_weights_close(w);
    return rc;
}

static void add_window(gguf_build *b)
{
    gguf_u32(b, "llama.attention.sliding_window", 16);
}

static void add_experts(gguf_build *b)
{
    gguf_u32(b, "llama.expert_count", 8);
}

static void add_partial(gguf_build *b)
{
    gguf_u32(b, "llama.rope.dimension_count", 8);
}

static void add_longrope(gguf_build *b)
{
    gguf_string(b, "llama.rope.scaling.type", "longrope");
}

static void add_value_length(gguf_build *b)
{
    gguf_u32(b, "llama.attention.value_length", 8);
}

static void add_vocab(gguf_build *b)
{
    gguf_u32(b, "llama.vocab_size", 9);
}

static void add_adapter(gguf_build *b)
{
    gguf_string(b, "general.type", "adapter");
}

static void add_bias(gguf_build *b)
{
    gguf_tensor(b, "blk.0.attn_norm.bias", 0, 1, 64, 0);
}

static void add_layer(gguf_build *b)
{
    gguf_tensor(b, "blk.1.attn_norm.weight", 0, 1, 64, 0);
}

static void add_divisors(gguf_build *b)
{
    gguf_tensor(b, "rope_freqs.weight", 0, 1, 8, 0); /* zeros: no divisors */
}

static void add_short_divisors(gguf_build *b)
{
    gguf_tensor(b, "rope_freqs.weight", 0, 1, 4, 0);
}

static void add_extra_head(gguf_build *b)
{
    gguf_tensor(b, "output.weight", 0, 2, 7, 64);
}

static void add_tokens(gguf_build *b)
{
    static const char *const three[] = {"a", "b", "c"};

    gguf_strings(b, "tokenizer.ggml.tokens", three, 3);
}

static void wrong_gguf_models_are_named(void **state)
{
    static const struct {
        const char *skip;
        void (*extra)(gguf_build *b);
        int code;
        const char *word;
    } cases[] = {
        {"", NULL, 0, ""},
        {"general.architecture", NULL, HONE_EFORMAT, "general.architecture"},
        {"llama.block_count", NULL, HONE_EFORMAT, "llama.block_count"},
        {"llama.context_length", NULL, HONE_EFORMAT, "llama.context_length"},
        {"llama.attention.layer_norm_rms_epsilon", NULL, HONE_EFORMAT, "epsilon"},
        {"token_embd.weight", NULL, HONE_EFORMAT, "token_embd.weight"},
        {"blk.0.ffn_up.weight", NULL, HONE_EFORMAT, "blk.0.ffn_up.weight"},
        {"llama.attention.head_count_kv", NULL, HONE_ESHAPE, "[64, 64]"},
        {"", add_window, HONE_EUNSUPPORTED, "sliding window"},
        {"", add_experts, HONE_EUNSUPPORTED, "experts"},
        {"", add_partial, HONE_EUNSUPPORTED, "8 of the 16"},
        {"", add_longrope, HONE_EFORMAT, "rope_factors_short"},
        {"", add_value_length, HONE_EUNSUPPORTED, "values of 8"},
        {"", add_vocab, HONE_ESHAPE, "vocab_size"},
        {"", add_tokens, HONE_ESHAPE, "3 tokens"},
        {"", add_adapter, HONE_EUNSUPPORTED, "adapter"},
        {"", add_bias, HONE_EFORMAT, "attn_norm.bias"},
        {"", add_layer, HONE_EFORMAT, "blk.1.attn_norm.weight"},
        {"", add_divisors, HONE_EFORMAT, "rope_freqs.weight"},
        {"", add_short_divisors, HONE_ESHAPE, "[8]"},
        {"", add_extra_head, HONE_ESHAPE, "output.weight"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;

        if (open_built(cases[i].skip, cases[i].extra, &err) != cases[i].code)
            fail_msg("case %zu gave %s: %s", i, hone_error_name(err.code), err.message);
        if (!strstr(err.message, cases[i].word))
            fail_msg("case %zu: \"%s\" does not hold %s", i, err.message, cases[i].word);
    }
}

/* ---- the rest ----------------------------------------------------------------------------------------------------------- */

static void paths_that_are_no_models(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    hone_weights *w;

    (void)state;
    assert_int_equal(hone_weights_open(&w, "/nowhere/at/all", &err), HONE_ENOENT);
    assert_null(w);
    assert_int_equal(hone_weights_open(&w, GOLDEN "models", NULL), HONE_ENOENT);
    assert_int_equal(hone_weights_open(&w, GOLDEN "models/expected.json", NULL), HONE_EFORMAT);
}

static void random_shapes(void **state)
{
    static const hone_dtype types[] = {HONE_BF16, HONE_F32};
    float x[576], sum = 0, squares = 0;
    hone_error err = HONE_ERROR_INIT;
    hone_weights *w, *again;
    size_t t;
    int i;

    (void)state;
    for (t = 0; t < HONE_COUNT(types); t++) {
        assert_int_equal(hone_weights_random(&w, "smol", types[t], 7, NULL, NULL), 0);
        assert_int_equal(w->arch.head_size, 64);
        assert_int_equal(w->layer[29].proj[HONE_DOWN].cols, 1536);
        assert_int_equal(w->layer[29].proj[HONE_DOWN].rows, 576);
        assert_true(w->layer[0].attn_norm[575] == 1);
        hone_dequantise(x, w->layer[29].proj[HONE_Q].data, types[t], 576);
        for (i = 0; i < 576; i++) {
            sum += x[i];
            squares += x[i] * x[i];
        }
        hone_weights_close(w);
    }
    assert_true(fabsf(sum / 1152) < 0.004f);
    assert_true(fabsf(sqrtf(squares / 1152) - 0.02f) < 0.003f);
    assert_int_equal(hone_weights_random(&w, "qwen", HONE_BF16, 7, NULL, NULL), 0);
    assert_int_equal(hone_weights_random(&again, "qwen", HONE_BF16, 7, NULL, NULL), 0);
    assert_non_null(w->layer[23].proj[HONE_K].bias);
    assert_null(w->layer[23].proj[HONE_O].bias);
    assert_int_equal(w->layer[23].proj[HONE_K].rows, 128);
    assert_memory_equal(w->layer[23].proj[HONE_DOWN].data, again->layer[23].proj[HONE_DOWN].data,
                        4864 * 896 * 2);
    hone_weights_close(w);
    hone_weights_close(again);
    assert_int_equal(hone_weights_random(&w, "huge", HONE_BF16, 7, NULL, &err), HONE_EINVAL);
    assert_int_equal(hone_weights_random(&w, "smol", HONE_Q4_K, 7, NULL, NULL), HONE_EUNSUPPORTED);
}

static long left;

static bool fail_later(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return left-- > 0;
}

/* The n-th allocation fails, for every n: an error each time, nothing leaked (by the sanitizer). With jansson's own
 * allocations among them any error will do: it takes some failures for a syntax error. */
static void fail_allocations(const char *path, bool any_error)
{
    long n;

    for (n = 0;; n++) {
        hone_error err = HONE_ERROR_INIT;
        hone_weights *w;
        int rc;

        left = n;
        hone_mem_hook(fail_later, NULL);
        rc = hone_weights_open(&w, path, &err);
        hone_mem_hook(NULL, NULL);
        if (!rc) {
            hone_weights_close(w);
            break;
        }
        if (rc != HONE_ENOMEM && !any_error)
            fail_msg("%s, allocation %ld: %s: %s", path, n, hone_error_name(rc), err.message);
        assert_null(w);
        assert_true(err.message[0]);
    }
    assert_true(n > 20);
}

static void every_allocation_may_fail(void **state)
{
    static const char *const paths[] = {GOLDEN "models/llama3", GOLDEN "models/llama_linear.gguf",
                                        GOLDEN "models/split-00002-of-00003.gguf",
                                        GOLDEN "gradients/qwen2-int8", GOLDEN "gradients/llama-nf4"};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(paths); i++)
        fail_allocations(paths[i], false);
    json_set_alloc_funcs(hone_alloc, hone_free);
    fail_allocations(paths[0], true);
    json_set_alloc_funcs(malloc, free);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    remove_file("config.json");
    remove_file("built.gguf");
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_read_exactly),
        cmocka_unit_test(configs_mean_what_transformers_says),
        cmocka_unit_test(generation_config_adds_ids),
        cmocka_unit_test(bad_configs_are_refused_by_name),
        cmocka_unit_test(windows_by_layer),
        cmocka_unit_test(wrong_tensors_are_named),
        cmocka_unit_test(tied_heads),
        cmocka_unit_test(different_head_is_kept),
        cmocka_unit_test(wrong_gguf_models_are_named),
        cmocka_unit_test(paths_that_are_no_models),
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
