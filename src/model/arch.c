/* Which models hone knows, and how their two kinds of description become one hone_arch.
 *
 * A row of `families` is one Hugging Face class: its names, and what transformers assumes where config.json is silent.
 * GGUF knows fewer names; it takes the first row that carries the name. A new family is a row here, its switches in
 * hone_arch, and what the forward pass must do for them; what is not said here is refused, never guessed. */
#include "model/arch.h"

#include <math.h>
#include <string.h>

#include "format/json.h"

#define MAX_CONFIG ((size_t)16 << 20)

enum bias_rule {
    BIAS_FLAG, /* attention_bias: q, k, v and o; mlp_bias */
    BIAS_NONE,
    BIAS_QKV
};
enum window_rule {
    WINDOW_NONE,   /* the key means nothing to this class */
    WINDOW_ALL,    /* sliding_window, every layer */
    WINDOW_FLAG,   /* use_sliding_window, from layer max_window_layers on */
    WINDOW_PATTERN /* sliding_window in all layers but every `pattern`-th */
};

static const struct family {
    const char *name;       /* hone_arch.family */
    const char *hf_class;   /* config.json: architectures */
    const char *model_type; /* config.json: model_type */
    const char *gguf;       /* general.architecture; NULL: another row has the name */
    int32_t n_head, vocab;  /* num_attention_heads, vocab_size when absent; 0 = they must be given */
    int32_t n_kv;           /* num_key_value_heads when absent; 0 = H */
    int32_t head_size;      /* head_dim when absent; 0 = C / H */
    int32_t context;        /* max_position_embeddings when absent */
    int32_t window;         /* sliding_window when absent */
    int32_t pattern;        /* of WINDOW_PATTERN, when no layer_types or pattern is given */
    int32_t
        ratio_layers; /* GGUF: a model of this depth scales scores by (C / H)^-1/2, no key says so; 0: none does */
    enum window_rule window_rule;
    enum bias_rule bias;
    bool mlp_bias; /* the class knows mlp_bias */
    bool qk_norm;
    bool interleaved; /* GGUF: q and k rows are permuted */
    bool fused;       /* one projection for q, k, v, one for gate and up */
    bool gemma; /* GELU, norms after as before, weights of norms less 1, scaled embeddings, tied by default */
    bool two_ropes;                          /* local layers have a theta of their own, and no scaling */
    double theta;                            /* rope_theta when absent; 0 = 10000 */
    double attention_softcap, final_softcap; /* when absent; 0 = none */
} families[] = {
    {.name = "llama",
     .hf_class = "LlamaForCausalLM",
     .model_type = "llama",
     .gguf = "llama",
     .context = 2048,
     .bias = BIAS_FLAG,
     .mlp_bias = true,
     .interleaved = true},
    {.name = "llama",
     .hf_class = "MistralForCausalLM",
     .model_type = "mistral",
     .n_kv = 8,
     .context = 131072,
     .window = 4096,
     .window_rule = WINDOW_ALL,
     .bias = BIAS_NONE,
     .interleaved = true},
    {.name = "qwen2",
     .hf_class = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .gguf = "qwen2",
     .n_kv = 32,
     .context = 32768,
     .window = 4096,
     .window_rule = WINDOW_FLAG,
     .bias = BIAS_QKV},
    {.name = "qwen3",
     .hf_class = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .gguf = "qwen3",
     .n_kv = 32,
     .head_size = 128,
     .context = 32768,
     .window = 4096,
     .window_rule = WINDOW_FLAG,
     .bias = BIAS_FLAG,
     .qk_norm = true},
    {.name = "gemma2",
     .hf_class = "Gemma2ForCausalLM",
     .model_type = "gemma2",
     .gguf = "gemma2",
     .n_head = 8,
     .vocab = 256000,
     .n_kv = 4,
     .head_size = 256,
     .context = 8192,
     .window = 4096,
     .pattern = 2,
     .ratio_layers = 46,
     .window_rule = WINDOW_PATTERN,
     .bias = BIAS_FLAG,
     .gemma = true,
     .attention_softcap = 50,
     .final_softcap = 30},
    {.name = "gemma3",
     .hf_class = "Gemma3ForCausalLM",
     .model_type = "gemma3_text",
     .gguf = "gemma3",
     .n_head = 8,
     .vocab = 262208,
     .n_kv = 4,
     .head_size = 256,
     .context = 131072,
     .window = 4096,
     .pattern = 6,
     .ratio_layers = 62,
     .window_rule = WINDOW_PATTERN,
     .bias = BIAS_FLAG,
     .qk_norm = true,
     .gemma = true,
     .two_ropes = true,
     .theta = 1e6},
    {.name = "phi3",
     .hf_class = "Phi3ForCausalLM",
     .model_type = "phi3",
     .gguf = "phi3",
     .context = 4096,
     .window_rule = WINDOW_ALL,
     .bias = BIAS_NONE,
     .fused = true},
};

const char *hone_arch_class(const hone_arch *a)
{
    size_t i;

    for (i = 0; i < HONE_COUNT(families); i++)
        if (!strcmp(families[i].name, a->family))
            return families[i].hf_class;
    return "";
}

static int unsupported(const char *path, const char *what, hone_error *err)
{
    hone_buf list = {0};
    size_t i;
    int rc;

    for (i = 0; i < HONE_COUNT(families); i++)
        hone_buf_printf(&list, "%s%s", i ? ", " : "", families[i].hf_class);
    hone_buf_puts(&list, "; in GGUF: ");
    for (i = 0; i < HONE_COUNT(families); i++)
        if (families[i].gguf)
            hone_buf_printf(&list, "%s%s", i ? ", " : "", families[i].gguf);
    rc = hone_error_set(err, HONE_EUNSUPPORTED,
                        "%s: the architecture %.100s is not supported; supported are %s", path, what,
                        list.failed ? "few" : list.data);
    hone_buf_clear(&list);
    return rc;
}

/* Bounds that keep every product of dimensions far from overflow, and what the kernels ask for. */
static int check_numbers(const hone_arch *a, const char *where, hone_error *err)
{
    const struct {
        const char *what;
        int32_t value, max;
    } limits[] = {
        {"layers", a->n_layer, 1 << 12},      {"width", a->width, 1 << 18},
        {"heads", a->n_head, 1 << 12},        {"key-value heads", a->n_kv, 1 << 12},
        {"head size", a->head_size, 1 << 12}, {"feed-forward width", a->ffn, 1 << 22},
        {"vocabulary", a->vocab, 1 << 24},    {"context", a->context, INT32_MAX},
    };
    size_t i;

    for (i = 0; i < HONE_COUNT(limits); i++)
        if (limits[i].value < 1 || limits[i].value > limits[i].max)
            return hone_error_set(err, HONE_EFORMAT, "%s: %s: %d is not in 1..%d", where, limits[i].what,
                                  limits[i].value, limits[i].max);
    if (a->n_head % a->n_kv)
        return hone_error_set(err, HONE_EFORMAT, "%s: %d heads can not share %d key-value heads", where,
                              a->n_head, a->n_kv);
    if (a->rope_dims < 2 || a->rope_dims % 2 || a->rope_dims > a->head_size)
        return hone_error_set(
            err, HONE_EFORMAT,
            "%s: RoPE over %d of the %d dimensions of a head; it needs pairs (an odd number?)", where,
            a->rope_dims, a->head_size);
    if (!(a->norm_eps > 0 && a->norm_eps < 1))
        return hone_error_set(err, HONE_EFORMAT, "%s: the epsilon of the norms is %g", where,
                              (double)a->norm_eps);
    return 0;
}

static int add_eos(hone_arch *a, int64_t id, const char *where, hone_error *err)
{
    int i;

    if (id < 0 || id > INT32_MAX) /* -1 is a customary "none" */
        return 0;
    for (i = 0; i < a->n_eos; i++)
        if (a->eos[i] == id)
            return 0;
    if (a->n_eos == HONE_MAX_EOS)
        return hone_error_set(err, HONE_ELIMIT, "%s: more than %d end-of-sequence ids", where, HONE_MAX_EOS);
    a->eos[a->n_eos++] = (int32_t)id;
    return 0;
}

/* The common end of both readers. */
static int finish(hone_arch *a, const struct family *f, const hone_rope_spec *rope, double local_theta,
                  const char *path, const char *where, hone_error *err)
{
    const hone_rope_spec local = {.type = HONE_ROPE_DEFAULT, .theta = local_theta};
    int rc;

    a->family = f->name;
    a->qk_norm = f->qk_norm;
    a->fused = f->fused;
    a->post_norms = a->norm_offset = f->gemma;
    a->act = f->gemma ? HONE_ACT_GELU_TANH : HONE_ACT_SILU;
    if (!a->rope_dims)
        a->rope_dims = a->head_size;
    rc = check_numbers(a, where, err);
    if (rc)
        return rc;
    if (rope->type == HONE_ROPE_LONG || rope->type == HONE_ROPE_DYNAMIC) {
        a->context = HONE_MIN(a->context, (int32_t)HONE_MIN(rope->original, 1e9));
        a->limited = true;
    }
    a->embed_scale = f->gemma ? sqrtf((float)a->width) : 1;
    if (!(a->attention_scale > 0)) /* not set by the reader */
        a->attention_scale = 1 / sqrtf((float)a->head_size);
    a->base_name = hone_strdup(path);
    if (!a->base_name)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    if (f->two_ropes) {
        rc = hone_arch_set_rope(a, &local, where, err);
        if (rc)
            return rc;
        a->local_inv_freq = a->inv_freq;
        a->inv_freq = NULL;
    }
    return hone_arch_set_rope(a, rope, where, err);
}

void hone_arch_clear(hone_arch *a)
{
    hone_free(a->inv_freq);
    hone_free(a->local_inv_freq);
    hone_free(a->local);
    hone_free(a->base_name);
    memset(a, 0, sizeof *a);
}

/* ---- config.json ---------------------------------------------------------------------------------------------------- */

/* Everything a getter needs, and the first error: getters do nothing after it, so that a reader checks once. */
typedef struct config {
    const json_t *root;
    const char *path;
    hone_error *err;
    int rc;
} config;

static const json_t *get(const json_t *dict, const char *key) /* NULL: absent or null */
{
    const json_t *v = json_object_get(dict, key);

    return json_is_null(v) ? NULL : v;
}

static void wrong(config *c, const char *key, const char *wanted)
{
    if (!c->rc)
        c->rc = hone_error_set(c->err, HONE_EFORMAT, "%s: \"%s\" must be %s", c->path, key, wanted);
}

static int32_t get_int(config *c, const char *key, int32_t otherwise)
{
    const json_t *v = get(c->root, key);

    if (!v)
        return otherwise;
    if (!json_is_integer(v) || json_integer_value(v) < INT32_MIN || json_integer_value(v) > INT32_MAX) {
        wrong(c, key, "an integer");
        return otherwise;
    }
    return (int32_t)json_integer_value(v);
}

static int32_t need_int(config *c, const char *key)
{
    if (!get(c->root, key) && !c->rc)
        c->rc = hone_error_set(c->err, HONE_EFORMAT, "%s: there is no \"%s\"", c->path, key);
    return get_int(c, key, 0);
}

static double get_number(config *c, const json_t *dict, const char *key, double otherwise)
{
    const json_t *v = get(dict, key);

    if (v && !json_is_number(v))
        wrong(c, key, "a number");
    return v ? json_number_value(v) : otherwise;
}

static bool get_bool(config *c, const json_t *dict, const char *key, bool otherwise)
{
    const json_t *v = get(dict, key);

    if (v && !json_is_boolean(v))
        wrong(c, key, "true or false");
    return v ? json_is_true(v) : otherwise;
}

static const char *get_string(config *c, const json_t *dict, const char *key, const char *otherwise)
{
    const json_t *v = get(dict, key);

    if (v && !json_is_string(v))
        wrong(c, key, "a string");
    return json_is_string(v) ? json_string_value(v) : otherwise;
}

/* The row: by model_type, which is what transformers goes by, and the class must not contradict it. */
static int find_family(const struct family **out, const config *c)
{
    const char *type = json_string_value(get(c->root, "model_type"));
    const json_t *classes = get(c->root, "architectures"), *v;
    const char *name = json_string_value(json_array_get(classes, 0));
    size_t i, j;

    for (i = 0; i < HONE_COUNT(families); i++) {
        bool match = type && strcmp(type, families[i].model_type) == 0;

        if (!type)
            match = name && strcmp(name, families[i].hf_class) == 0;
        if (!match)
            continue;
        *out = &families[i];
        if (json_array_size(classes) == 0)
            return 0;
        json_array_foreach(classes, j, v)
        {
            if (json_is_string(v) && strcmp(json_string_value(v), families[i].hf_class) == 0)
                return 0;
        }
        break;
    }
    return unsupported(c->path, name ? name : type ? type : "(not named)", c->err);
}

/* Marks the local layers: those that layer_types calls so, or else those whose number `is_local` for the rule. A model of
 * one kind of layer needs no marks. */
static void mark_local(hone_arch *a, const struct family *f, config *c)
{
    const json_t *types = get(c->root, "layer_types"), *v;
    int32_t from = get_int(c, "max_window_layers", 28), i, sliding = 0;
    int32_t pattern = get_int(c, "sliding_window_pattern", get_int(c, "_sliding_window_pattern", f->pattern));

    if (types && (!json_is_array(types) || json_array_size(types) != (size_t)a->n_layer))
        wrong(c, "layer_types", "a list with an entry for every layer");
    if (f->window_rule == WINDOW_PATTERN && pattern < 1)
        wrong(c, "sliding_window_pattern", "a positive number");
    if (c->rc)
        return;
    a->local = hone_calloc((size_t)a->n_layer, 1);
    if (!a->local) {
        c->rc = hone_error_set(c->err, HONE_ENOMEM, "%s: out of memory", c->path);
        return;
    }
    for (i = 0; i < a->n_layer; i++) {
        v = json_array_get(types, (size_t)i);
        if (v && strcmp(json_is_string(v) ? json_string_value(v) : "", "sliding_attention") != 0 &&
            strcmp(json_is_string(v) ? json_string_value(v) : "", "full_attention") != 0)
            wrong(c, "layer_types", "a list of \"full_attention\" and \"sliding_attention\"");
        else if (v)
            a->local[i] = strcmp(json_string_value(v), "sliding_attention") == 0;
        else
            a->local[i] = f->window_rule == WINDOW_FLAG ? i >= from : (i + 1) % pattern != 0;
        sliding += a->local[i];
    }
    if (sliding == 0)
        a->window = 0;
}

static void read_window(hone_arch *a, const struct family *f, config *c)
{
    bool explicit_null = json_is_null(json_object_get(c->root, "sliding_window"));

    if (f->window_rule == WINDOW_NONE)
        return;
    a->window = explicit_null ? 0 : get_int(c, "sliding_window", f->window);
    if (a->window < 0)
        wrong(c, "sliding_window", "a number of tokens");
    if (f->window_rule == WINDOW_ALL || c->rc)
        return;
    if (f->window_rule == WINDOW_FLAG && !get_bool(c, c->root, "use_sliding_window", false))
        a->window = 0;
    else
        mark_local(a, f, c);
}

static void read_eos(hone_arch *a, config *c)
{
    const json_t *v = get(c->root, "eos_token_id"), *id;
    size_t i;

    if (json_is_integer(v) && !c->rc)
        c->rc = add_eos(a, json_integer_value(v), c->path, c->err);
    json_array_foreach(v, i, id)
    {
        if (!json_is_integer(id))
            wrong(c, "eos_token_id", "an id or a list of ids");
        else if (!c->rc)
            c->rc = add_eos(a, json_integer_value(id), c->path, c->err);
    }
    v = get(c->root, "bos_token_id");
    if (a->bos < 0 && json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= INT32_MAX)
        a->bos = (int32_t)json_integer_value(v);
}

/* The nested form of transformers 5 for two kinds of layers, else the flat one; the local theta of both. */
static const json_t *rope_dict(const struct family *f, config *c, double *local_theta)
{
    const json_t *dict = get(c->root, "rope_scaling"), *full, *sliding;

    *local_theta = get_number(c, c->root, "rope_local_base_freq", 10000);
    if (!dict) /* a rope_scaling of transformers 4 replaces the rope_parameters of 5 altogether */
        dict = get(c->root, "rope_parameters");
    full = get(dict, "full_attention");
    sliding = get(dict, "sliding_attention");
    if (!full && !sliding)
        return dict;
    if (!f->two_ropes && !c->rc)
        c->rc = hone_error_set(c->err, HONE_EUNSUPPORTED,
                               "%s: rope parameters by layer type are not supported in this architecture",
                               c->path);
    *local_theta = get_number(c, sliding, "rope_theta", *local_theta);
    if (strcmp(get_string(c, sliding, "rope_type", "default"), "default") != 0 && !c->rc)
        c->rc =
            hone_error_set(c->err, HONE_EUNSUPPORTED,
                           "%s: a scaled rope in the layers of sliding attention is not supported", c->path);
    return full;
}

/* The divisors of a longrope: one for every pair. */
static void read_factors(hone_rope_spec *s, const hone_arch *a, const json_t *dict, config *c)
{
    const json_t *list = get(dict, "short_factor"), *v;
    size_t n = (size_t)a->rope_dims / 2, i;

    if (!json_is_array(list) || json_array_size(list) != n) {
        wrong(c, "short_factor", "a list of a number for every pair of rotated dimensions");
        return;
    }
    s->short_factor = hone_alloc(n * sizeof *s->short_factor);
    if (!s->short_factor && !c->rc)
        c->rc = hone_error_set(c->err, HONE_ENOMEM, "%s: out of memory", c->path);
    json_array_foreach(list, i, v)
    {
        if (!json_is_number(v) || !(json_number_value(v) > 0))
            wrong(c, "short_factor", "a list of positive numbers");
        else if (s->short_factor)
            s->short_factor[i] = (float)json_number_value(v);
    }
}

/* The type; older files of Phi-3 call longrope `su` or `yarn`. */
static void read_rope_type(hone_rope_spec *s, const struct family *f, const json_t *dict, config *c)
{
    static const char *const names[] = {"default", "linear", "llama3", "yarn", "dynamic", "longrope", "su"};
    const char *type = get_string(c, dict, "rope_type", get_string(c, dict, "type", "default"));
    size_t i;

    for (i = 0; i < HONE_COUNT(names) && strcmp(type, names[i]) != 0; i++)
        ;
    if (i == HONE_COUNT(names) && !c->rc)
        c->rc = hone_error_set(
            c->err, HONE_EUNSUPPORTED,
            "%s: the rope type %.40s is not supported; supported are default, linear, llama3, yarn, dynamic, "
            "longrope",
            c->path, type);
    s->type = (int)HONE_MIN(i, (size_t)HONE_ROPE_LONG);
    if (s->type == HONE_ROPE_YARN && f->fused)
        s->type = HONE_ROPE_LONG;
}

static void read_rope(hone_rope_spec *s, double *local_theta, hone_arch *a, const struct family *f, config *c)
{
    const json_t *dict = rope_dict(f, c, local_theta), *truncate;
    double part;

    if (dict && !json_is_object(dict)) {
        wrong(c, "rope_scaling", "an object");
        return;
    }
    read_rope_type(s, f, dict, c);
    s->theta = get_number(c, dict, "rope_theta",
                          get_number(c, c->root, "rope_theta", f->theta > 0 ? f->theta : 10000));
    s->original = get_number(c, c->root, "original_max_position_embeddings",
                             get_number(c, dict, "original_max_position_embeddings", a->context));
    s->factor =
        get_number(c, dict, "factor",
                   s->type == HONE_ROPE_YARN || s->type == HONE_ROPE_LONG ? a->context / s->original : 0);
    s->low_freq_factor = get_number(c, dict, "low_freq_factor", 0);
    s->high_freq_factor = get_number(c, dict, "high_freq_factor", 0);
    s->beta_fast = get_number(c, dict, "beta_fast", 32);
    s->beta_slow = get_number(c, dict, "beta_slow", 1);
    s->attention_factor = get_number(c, dict, "attention_factor", 0);
    s->mscale = get_number(c, dict, "mscale", 0);
    s->mscale_all_dim = get_number(c, dict, "mscale_all_dim", 0);
    truncate = get(dict, "truncate");
    s->no_truncate = truncate && json_is_false(truncate);
    part = get_number(c, dict, "partial_rotary_factor", get_number(c, c->root, "partial_rotary_factor", 1));
    if (!(part > 0 && part <= 1))
        wrong(c, "partial_rotary_factor", "a number in (0, 1]");
    if (!c->rc)
        a->rope_dims = (int32_t)(a->head_size * part);
    if (!c->rc && s->type == HONE_ROPE_LONG)
        read_factors(s, a, dict, c);
}

/* A cap; null means none. */
static double softcap(config *c, const char *key, double otherwise)
{
    double cap = get_number(c, c->root, key, json_object_get(c->root, key) ? 0 : otherwise);

    if (!(cap >= 0 && cap < 1e6))
        wrong(c, key, "a positive number or null");
    return cap;
}

static void read_numbers(hone_arch *a, const struct family *f, config *c)
{
    bool kv_given = json_object_get(c->root, "num_key_value_heads") != NULL; /* null means H in every class */

    a->n_layer = need_int(c, "num_hidden_layers");
    a->width = need_int(c, "hidden_size");
    a->n_head = f->n_head ? get_int(c, "num_attention_heads", f->n_head) : need_int(c, "num_attention_heads");
    a->ffn = need_int(c, "intermediate_size");
    a->vocab = f->vocab ? get_int(c, "vocab_size", f->vocab) : need_int(c, "vocab_size");
    a->n_kv = get_int(c, "num_key_value_heads", kv_given || !f->n_kv ? a->n_head : f->n_kv);
    a->head_size = get_int(c, "head_dim", json_object_get(c->root, "head_dim") ? 0 : f->head_size);
    if (!c->rc && !a->head_size && a->n_head > 0) {
        if (a->width % a->n_head)
            wrong(c, "hidden_size", "a multiple of num_attention_heads");
        a->head_size = a->width / a->n_head;
    }
    a->context = get_int(c, "max_position_embeddings", f->context);
    a->norm_eps = (float)get_number(c, c->root, "rms_norm_eps", f->fused ? 1e-5 : 1e-6);
    a->tied = get_bool(c, c->root, "tie_word_embeddings", f->gemma);
    a->qkv_bias = f->bias == BIAS_QKV;
    if (f->bias == BIAS_FLAG)
        a->qkv_bias = a->o_bias = get_bool(c, c->root, "attention_bias", false);
    a->mlp_bias = f->mlp_bias && get_bool(c, c->root, "mlp_bias", false);
    if (!f->gemma)
        return;
    a->attention_scale = (float)(1 / sqrt(get_number(c, c->root, "query_pre_attn_scalar", 256)));
    a->attention_softcap = (float)softcap(c, "attn_logit_softcapping", f->attention_softcap);
    a->final_softcap = (float)softcap(c, "final_logit_softcapping", f->final_softcap);
    if (!(a->attention_scale > 0 && a->attention_scale < 1e6f))
        wrong(c, "query_pre_attn_scalar", "a positive number");
    if (!c->rc && get_bool(c, c->root, "use_bidirectional_attention", false))
        c->rc = hone_error_set(c->err, HONE_EUNSUPPORTED,
                               "%s: \"use_bidirectional_attention\" is not supported", c->path);
}

static void refuse_foreign(const struct family *f, config *c)
{
    const json_t *q = get(c->root, "quantization_config");
    const char *method = json_string_value(get(q, "quant_method")), *act, *key = "hidden_act";
    const char *wanted = f->gemma ? "gelu_pytorch_tanh" : "silu";

    if (q && !(method && strcmp(method, "bitsandbytes") == 0) && !c->rc)
        c->rc =
            hone_error_set(c->err, HONE_EUNSUPPORTED,
                           "%s: \"quantization_config\" (%.40s): checkpoints quantised in this form are not "
                           "supported; use 16-bit weights or GGUF",
                           c->path, method ? method : "unnamed");
    if (f->gemma && get(c->root, "hidden_activation")) /* hidden_act of these classes is without effect */
        key = "hidden_activation";
    act = get_string(c, c->root, key, wanted);
    if (f->gemma && strcmp(key, "hidden_act") == 0)
        act = wanted;
    if (strcmp(act, wanted) != 0 && !(strcmp(act, "swish") == 0 && !f->gemma) && !c->rc)
        c->rc = hone_error_set(c->err, HONE_EUNSUPPORTED, "%s: \"%s\": %.40s is not supported; %s is",
                               c->path, key, act, wanted);
}

/* The ids of generation_config.json join those of config.json. */
static int read_generation_config(hone_arch *a, const char *dir, hone_error *err)
{
    char *path = hone_path_join(dir, "generation_config.json");
    json_t *root = NULL;
    config c = {NULL, path, err, 0};
    int rc = 0;

    if (!path)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    if (hone_path_exists(path))
        rc = hone_json_load(&root, path, MAX_CONFIG, err);
    if (root) {
        c.root = root;
        read_eos(a, &c);
        rc = c.rc;
    }
    json_decref(root);
    hone_free(path);
    return rc;
}

static int read_config(hone_arch *a, const json_t *root, const char *dir, const char *path, hone_error *err)
{
    config c = {root, path, err, 0};
    const struct family *f = NULL;
    hone_rope_spec rope = {0};
    const char *type;
    double local_theta = 0;
    int rc;

    if (!json_is_object(root))
        return hone_error_set(err, HONE_EFORMAT, "%s: is no JSON object", path);
    type = json_string_value(get(root, "model_type"));
    if (type && !strcmp(type, "gemma3") && json_is_object(get(root, "text_config"))) {
        read_eos(a, &c); /* stands at the top there */
        c.root = get(root, "text_config");
    }
    rc = find_family(&f, &c);
    if (rc)
        return rc;
    type = get_string(&c, c.root, "model_type", f->model_type);
    snprintf(a->model_type, sizeof a->model_type, "%s", type);
    refuse_foreign(f, &c);
    read_numbers(a, f, &c);
    if (!c.rc)
        read_window(a, f, &c);
    if (!c.rc)
        read_rope(&rope, &local_theta, a, f, &c);
    read_eos(a, &c);
    if (!c.rc)
        c.rc = finish(a, f, &rope, local_theta, dir, path, err);
    hone_free(rope.short_factor);
    return c.rc ? c.rc : read_generation_config(a, dir, err);
}

int hone_arch_read_config(hone_arch *out, const char *dir, hone_error *err)
{
    hone_arch a = {.bos = -1};
    char *path = hone_path_join(dir, "config.json");
    json_t *root = NULL;
    int rc;

    if (!path)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    rc = hone_json_load(&root, path, MAX_CONFIG, err);
    if (!rc)
        rc = read_config(&a, root, dir, path, err);
    json_decref(root);
    hone_free(path);
    if (rc)
        hone_arch_clear(&a);
    else
        *out = a;
    return rc;
}

/* ---- GGUF ----------------------------------------------------------------------------------------------------------- */

typedef struct metadata {
    const hone_gguf *g;
    const char *path, *architecture;
    hone_error *err;
    int rc;
    char key[128]; /* of the last look-up */
} metadata;

static const char *key_of(metadata *m, const char *suffix)
{
    snprintf(m->key, sizeof m->key, "%s.%s", m->architecture, suffix);
    return m->key;
}

/* An integer that must fit; `need`: an absent key is an error. A list, one entry a layer, is refused: the layers of
 * the supported families are alike. */
static int32_t meta_int(metadata *m, const char *suffix, int32_t otherwise, bool need)
{
    size_t n;
    int type;
    int64_t v;

    if (m->rc)
        return otherwise;
    if (hone_gguf_int(m->g, key_of(m, suffix), &v)) {
        if (v >= INT32_MIN && v <= INT32_MAX)
            return (int32_t)v;
        m->rc = hone_error_set(m->err, HONE_EFORMAT, "%s: %s is %lld", m->path, m->key, (long long)v);
    } else if (hone_gguf_array(m->g, m->key, &n, &type)) {
        m->rc = hone_error_set(m->err, HONE_EUNSUPPORTED, "%s: %s differs by layer, which is not supported",
                               m->path, m->key);
    } else if (need) {
        m->rc = hone_error_set(m->err, HONE_EFORMAT, "%s: there is no integer %s", m->path, m->key);
    }
    return otherwise;
}

static double meta_double(metadata *m, const char *suffix, double otherwise)
{
    double v;

    return hone_gguf_double(m->g, key_of(m, suffix), &v) ? v : otherwise;
}

static bool is_text(const char *s, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(s, text, len) == 0;
}

/* The arguments of the scaling. A llama3 scaling has no keys: its tensor of divisors is applied by apply_divisors. */
/* The divisors of a longrope, which a GGUF file holds as a tensor; cos and sin are scaled by a key. */
static void meta_factors(metadata *m, hone_rope_spec *s, const hone_arch *a)
{
    const hone_tensor_info *t = hone_gguf_find(m->g, "rope_factors_short.weight");
    int32_t n = a->rope_dims / 2, i;

    if (!t || t->dtype != HONE_F32 || t->n_dims != 1 || t->shape[0] != n) {
        m->rc = hone_error_set(m->err, t ? HONE_ESHAPE : HONE_EFORMAT,
                               "%s: tensor rope_factors_short.weight: wanted F32 [%d], found %s [%lld]",
                               m->path, n, t ? t->type : "none", t ? (long long)t->shape[0] : 0);
        return;
    }
    s->attention_factor = meta_double(m, "rope.scaling.attn_factor", 1);
    s->factor = (double)a->context / s->original;
    s->short_factor = hone_alloc((size_t)n * sizeof *s->short_factor);
    if (!s->short_factor) {
        m->rc = hone_error_set(m->err, HONE_ENOMEM, "%s: out of memory", m->path);
        return;
    }
    memcpy(s->short_factor, t->data, (size_t)n * sizeof *s->short_factor);
    for (i = 0; i < n && !m->rc; i++)
        if (!(s->short_factor[i] > 0 && isfinite(s->short_factor[i])))
            m->rc =
                hone_error_set(m->err, HONE_EFORMAT, "%s: tensor rope_factors_short.weight: entry %d is %g",
                               m->path, i, (double)s->short_factor[i]);
}

static void meta_rope(metadata *m, hone_rope_spec *s, hone_arch *a, const struct family *f)
{
    const char *type;
    size_t len;
    double attention;

    a->rope_dims = meta_int(m, "rope.dimension_count", a->head_size, false);
    s->theta = meta_double(m, "rope.freq_base", f->theta > 0 ? f->theta : 10000);
    s->factor = meta_double(m, "rope.scaling.factor", meta_double(m, "rope.scale_linear", 1));
    s->original = meta_int(m, "rope.scaling.original_context_length", a->context, false);
    s->beta_fast = meta_double(m, "rope.scaling.yarn_beta_fast", 32);
    s->beta_slow = meta_double(m, "rope.scaling.yarn_beta_slow", 1);
    s->type = s->factor == 1 || s->factor == 0 ? HONE_ROPE_DEFAULT : HONE_ROPE_LINEAR;
    if (hone_gguf_string(m->g, key_of(m, "rope.scaling.type"), &type, &len)) {
        if (is_text(type, len, "none"))
            s->type = HONE_ROPE_DEFAULT;
        else if (is_text(type, len, "yarn"))
            s->type = HONE_ROPE_YARN;
        else if (is_text(type, len, "longrope"))
            s->type = HONE_ROPE_LONG;
        else if (!is_text(type, len, "linear") && !m->rc)
            m->rc =
                hone_error_set(m->err, HONE_EUNSUPPORTED,
                               "%s: %s: %.*s is not supported; supported are none, linear, yarn, longrope",
                               m->path, m->key, (int)HONE_MIN(len, (size_t)40), type);
    }
    attention = meta_double(m, "rope.scaling.attn_factor", 1);
    if (s->type == HONE_ROPE_YARN && attention != 1 &&
        s->factor > 0) /* ggml multiplies its own factor by this one */
        s->attention_factor = attention * (s->factor > 1 ? 0.1 * log(s->factor) + 1 : 1);
    if (f->interleaved && a->rope_dims != a->head_size && !m->rc) /* which rows were paired is not known */
        m->rc = hone_error_set(m->err, HONE_EUNSUPPORTED,
                               "%s: RoPE over %d of the %d dimensions of a head is not supported in this "
                               "architecture",
                               m->path, a->rope_dims, a->head_size);
    if (hone_gguf_find(m->g, "rope_factors_short.weight"))
        s->type = HONE_ROPE_LONG;
    if (s->type == HONE_ROPE_LONG && !m->rc)
        meta_factors(m, s, a);
}

/* rope_freqs.weight divides the frequencies: how GGUF carries the scaling of Llama 3. */
static int apply_divisors(hone_arch *a, const hone_gguf *g, hone_error *err)
{
    const hone_tensor_info *t = hone_gguf_find(g, "rope_freqs.weight");
    int32_t i, n = a->rope_dims / 2;

    if (!t)
        return 0;
    if (t->dtype != HONE_F32 || t->n_dims != 1 || t->shape[0] != n)
        return hone_error_set(err, HONE_ESHAPE,
                              "%s: tensor rope_freqs.weight: wanted F32 [%d], found %s [%lld]", t->file, n,
                              t->type, (long long)t->shape[0]);
    for (i = 0; i < n; i++) {
        float divisor;

        memcpy(&divisor, (const char *)t->data + 4 * i, 4);
        if (!(divisor > 0 && isfinite(divisor)))
            return hone_error_set(err, HONE_EFORMAT, "%s: tensor rope_freqs.weight: entry %d is %g", t->file,
                                  i, (double)divisor);
        a->inv_freq[i] /= divisor;
    }
    return 0;
}

static void meta_numbers(hone_arch *a, metadata *m, const struct family *f)
{
    const hone_tensor_info *embed = hone_gguf_find(m->g, "token_embd.weight");
    int32_t window, value_length;
    size_t n;
    int type;

    a->n_layer = meta_int(m, "block_count", 0, true);
    a->width = meta_int(m, "embedding_length", 0, true);
    a->ffn = meta_int(m, "feed_forward_length", 0, true);
    a->n_head = meta_int(m, "attention.head_count", 0, true);
    a->n_kv = meta_int(m, "attention.head_count_kv", a->n_head, false);
    a->context = meta_int(m, "context_length", 0, true);
    a->head_size = meta_int(m, "attention.key_length", a->n_head > 0 ? a->width / a->n_head : 0, false);
    value_length = meta_int(m, "attention.value_length", a->head_size, false);
    window = meta_int(m, "attention.sliding_window", 0, false);
    a->norm_eps = (float)meta_double(m, "attention.layer_norm_rms_epsilon", 0);
    if (f->fused)
        a->window = window;
    a->vocab = embed && embed->n_dims == 2 ? (int32_t)HONE_MIN(embed->shape[0], INT32_MAX) : 0;
    if (m->rc)
        return;
    if (value_length != a->head_size)
        m->rc =
            hone_error_set(m->err, HONE_EUNSUPPORTED, "%s: heads with keys of %d and values of %d dimensions",
                           m->path, a->head_size, value_length);
    else if (window > 0 && window < a->context && f->window_rule != WINDOW_PATTERN && !f->fused)
        m->rc = hone_error_set(m->err, HONE_EUNSUPPORTED,
                               "%s: a sliding window in a GGUF file of this architecture", m->path);
    else if (meta_int(m, "expert_count", 0, false) > 0)
        m->rc =
            hone_error_set(m->err, HONE_EUNSUPPORTED, "%s: mixtures of experts are not supported", m->path);
    else if (!embed || embed->n_dims != 2)
        m->rc = hone_error_set(m->err, HONE_EFORMAT, "%s: there is no matrix token_embd.weight", m->path);
    else if (meta_int(m, "vocab_size", a->vocab, false) != a->vocab)
        m->rc = hone_error_set(m->err, HONE_ESHAPE,
                               "%s: tensor token_embd.weight has %d rows, %s.vocab_size is %d", m->path,
                               a->vocab, m->architecture, meta_int(m, "vocab_size", 0, false));
    else if (hone_gguf_array(m->g, "tokenizer.ggml.tokens", &n, &type) && n != (size_t)a->vocab)
        m->rc = hone_error_set(m->err, HONE_ESHAPE,
                               "%s: tensor token_embd.weight has %d rows, the vocabulary %zu tokens", m->path,
                               a->vocab, n);
}

static void meta_tokens(hone_arch *a, metadata *m)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int64_t id;
    size_t i;

    for (i = 0; i < HONE_COUNT(ends); i++)
        if (!m->rc && hone_gguf_int(m->g, ends[i], &id))
            m->rc = add_eos(a, id, m->path, m->err);
    if (hone_gguf_int(m->g, "tokenizer.ggml.bos_token_id", &id) && id >= 0 && id <= INT32_MAX)
        a->bos = (int32_t)id;
}

/* What the converter leaves to the reader's knowledge of Gemma: which layers are local, how scores are scaled. */
static void meta_gemma(hone_arch *a, metadata *m, const struct family *f)
{
    int32_t pattern, i;

    a->window = meta_int(m, "attention.sliding_window", f->window, false);
    pattern = meta_int(m, "attention.sliding_window_pattern", f->pattern, false);
    a->attention_softcap = (float)meta_double(m, "attn_logit_softcapping", f->attention_softcap);
    a->final_softcap = (float)meta_double(m, "final_logit_softcapping", f->final_softcap);
    if (a->n_layer == f->ratio_layers && a->width > 0 && a->n_head > 0)
        a->attention_scale = 1 / sqrtf((float)a->width / (float)a->n_head);
    if (m->rc)
        return;
    if (a->window < 0 || pattern < 1 || a->n_layer < 1) {
        m->rc = hone_error_set(m->err, HONE_EFORMAT, "%s: a sliding window of %d in %d of %d layers", m->path,
                               a->window, pattern, a->n_layer);
        return;
    }
    a->local = hone_calloc((size_t)a->n_layer, 1);
    if (!a->local)
        m->rc = hone_error_set(m->err, HONE_ENOMEM, "%s: out of memory", m->path);
    for (i = 0; !m->rc && i < a->n_layer; i++)
        a->local[i] = (i + 1) % pattern != 0;
}

static int read_gguf(hone_arch *a, metadata *m, const struct family *f)
{
    hone_rope_spec rope = {0};

    meta_numbers(a, m, f);
    if (!m->rc && f->gemma)
        meta_gemma(a, m, f);
    if (!m->rc)
        meta_rope(m, &rope, a, f);
    if (!m->rc)
        meta_tokens(a, m);
    if (m->rc)
        goto out;
    a->tied = !hone_gguf_find(m->g, "output.weight");
    a->qkv_bias = f->bias == BIAS_QKV || (f->bias == BIAS_FLAG && hone_gguf_find(m->g, "blk.0.attn_q.bias"));
    a->o_bias = f->bias == BIAS_FLAG && hone_gguf_find(m->g, "blk.0.attn_output.bias");
    a->mlp_bias = f->mlp_bias && hone_gguf_find(m->g, "blk.0.ffn_gate.bias");
    a->interleaved = f->interleaved;
    m->rc = finish(a, f, &rope, meta_double(m, "rope.freq_base_swa", 10000), m->path, m->path, m->err);
    a->norm_offset = false; /* the converter has added it */
    if (!m->rc)
        m->rc = apply_divisors(a, m->g, m->err);
out:
    hone_free(rope.short_factor);
    return m->rc;
}

int hone_arch_read_gguf(hone_arch *out, const hone_gguf *g, const char *path, hone_error *err)
{
    hone_arch a = {.bos = -1};
    metadata m = {.g = g, .path = path, .err = err};
    const struct family *f = NULL;
    const char *name, *kind;
    size_t len, i;
    int rc;

    if (hone_gguf_string(g, "general.type", &kind, &len) && !is_text(kind, len, "model"))
        return hone_error_set(err, HONE_EUNSUPPORTED, "%s: holds no model: general.type is %.*s", path,
                              (int)HONE_MIN(len, (size_t)40), kind);
    if (!hone_gguf_string(g, "general.architecture", &name, &len))
        return hone_error_set(err, HONE_EFORMAT, "%s: there is no string general.architecture", path);
    for (i = 0; !f && i < HONE_COUNT(families); i++)
        if (families[i].gguf && is_text(name, len, families[i].gguf))
            f = &families[i];
    if (!f) {
        char text[41];

        snprintf(text, sizeof text, "%.*s", (int)HONE_MIN(len, sizeof text - 1), name);
        return unsupported(path, text, err);
    }
    m.architecture = f->gguf;
    snprintf(a.model_type, sizeof a.model_type, "%s", f->gguf);
    rc = read_gguf(&a, &m, f);
    if (rc)
        hone_arch_clear(&a);
    else
        *out = a;
    return rc;
}
