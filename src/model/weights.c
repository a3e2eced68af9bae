/* Binding the tensors of a checkpoint to the places of the decoder.
 *
 * Both formats hold the same tensors under different names, so one table of names and one walk over the layers serve
 * both. Everything is checked here, once: the tensor is there, its shape is what the architecture asks for, its type
 * can be read. The other way round, a tensor of the decoder that the architecture has no place for (a bias that
 * config.json does not speak of, a layer too many) is an error too: a model that is silently not the one in the file
 * is the worst outcome.
 *
 * Matrices stay in the mapping. Copied to the heap are vectors (as f32) and, for GGUF files of `llama`, the q and k
 * rows, which ggml keeps in interleaved order: of each head, file row 2m + t is row t D/2 + m here. */
#include "model/weights.h"

#include <string.h>

#include "format/safetensors.h"
#include "model/weights_own.h"

/* Names in the block, Hugging Face and GGUF, without ".weight" / ".bias". */
static const char *const proj_names[HONE_N_PROJ][2] = {
    {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"}, {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"}, {"mlp.gate_proj", "ffn_gate"},  {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
};
/* The same where q, k, v are one matrix, and gate and up another. */
static const char *const fused_names[HONE_N_PROJ][2] = {
    [HONE_Q] = {"self_attn.qkv_proj", "attn_qkv"},
    [HONE_O] = {"self_attn.o_proj", "attn_output"},
    [HONE_GATE] = {"mlp.gate_up_proj", "ffn_up"},
    [HONE_DOWN] = {"mlp.down_proj", "ffn_down"},
};
/* With two norms in a block Hugging Face names the second one after what it follows, with four after what it precedes. */
enum { NORM_ATTN, NORM_FFN, NORM_FFN_OF_FOUR, NORM_Q, NORM_K, NORM_POST_ATTN, NORM_POST_FFN };
static const char *const norm_names[][2] = {
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"post_attention_layernorm", "post_attention_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};
static const char *const top_names[3][2] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
};
enum { TOP_EMBED, TOP_NORM, TOP_HEAD };

static const char *const *proj_names_of(const hone_arch *a, int proj)
{
    return a->fused ? fused_names[proj] : proj_names[proj];
}

const char *hone_proj_name(const hone_arch *a, int proj)
{
    const char *path = proj_names_of(a, proj)[0];

    return path ? strchr(path, '.') + 1 : NULL;
}

void hone_module_path(char out[96], const hone_arch *a, int layer, int module)
{
    static const int norm[] = {NORM_ATTN, NORM_FFN, NORM_Q, NORM_K, NORM_POST_ATTN, NORM_POST_FFN};

    if (module == HONE_FFN_NORM && a->post_norms)
        snprintf(out, 96, "model.layers.%d.%s", layer, norm_names[NORM_FFN_OF_FOUR][0]);
    else if (module < HONE_N_PROJ)
        snprintf(out, 96, "model.layers.%d.%s", layer, proj_names_of(a, module)[0]);
    else if (module < HONE_N_LAYER_MODULES)
        snprintf(out, 96, "model.layers.%d.%s", layer, norm_names[norm[module - HONE_ATTN_NORM]][0]);
    else
        snprintf(out, 96, "%s", top_names[module - HONE_EMBED][0]);
}

float hone_module_offset(const hone_arch *a, int module)
{
    const bool norm = module >= HONE_ATTN_NORM && module != HONE_EMBED && module != HONE_HEAD;

    return norm && a->post_norms ? 1 : 0; /* the families with norms on outputs are those */
}

bool hone_module_weight(const hone_weights *w, int layer, int module, hone_weight *out)
{
    const hone_arch *a = &w->arch;
    const hone_layer_weights *l = &w->layer[layer];
    const float *const norm[] = {l->attn_norm, l->ffn_norm,       l->q_norm,
                                 l->k_norm,    l->post_attn_norm, l->post_ffn_norm};

    *out = (hone_weight){.dtype = HONE_F32};
    if (module < HONE_N_PROJ) {
        *out = l->proj[module];
    } else if (module < HONE_N_LAYER_MODULES) {
        out->data = norm[module - HONE_ATTN_NORM];
        out->rows = module == HONE_Q_NORM || module == HONE_K_NORM ? a->head_size : a->width;
    } else if (module == HONE_EMBED) {
        *out = w->embed;
    } else if (module == HONE_FINAL_NORM) {
        out->data = w->final_norm;
        out->rows = a->width;
    } else if (!a->tied) {
        *out = w->head;
    }
    return out->data != NULL;
}

static const hone_tensor_info *tensor_at(const hone_source *s, size_t i)
{
    return s->gguf ? hone_gguf_tensor(s->gguf, i) : hone_safetensors_tensor(s->st, i);
}

/* A multimodal checkpoint holds the text model under one of these names, by the version that wrote it. */
static const hone_tensor_info *find_inside(const hone_source *s, const char *name)
{
    const hone_tensor_info *t;
    char inside[128];

    snprintf(inside, sizeof inside, "language_model.%s", name);
    t = hone_safetensors_find(s->st, inside);
    if (!t && strncmp(name, "model.", 6) == 0) {
        snprintf(inside, sizeof inside, "model.language_model.%s", name + 6);
        t = hone_safetensors_find(s->st, inside);
    }
    return t;
}

const hone_tensor_info *hone_source_find(hone_source *s, const char *name)
{
    const hone_tensor_info *t = s->gguf ? hone_gguf_find(s->gguf, name) : hone_safetensors_find(s->st, name);

    if (!t && s->st)
        t = find_inside(s, name);
    if (t)
        s->used[t - tensor_at(s, 0)] = true;
    return t;
}

static void top_name(const hone_source *s, char out[96], int which)
{
    snprintf(out, 96, "%s.weight", top_names[which][s->gguf != NULL]);
}

static void layer_name(const hone_source *s, char out[96], int layer, const char *const names[2],
                       const char *suffix)
{
    snprintf(out, 96, "%s.%d.%s%s", s->gguf ? "blk" : "model.layers", layer, names[s->gguf != NULL], suffix);
}

static void print_shape(char out[96], const hone_tensor_info *t)
{
    int i, n = 0;

    n += snprintf(out, 96, "[");
    for (i = 0; i < t->n_dims && i < 4; i++)
        n += snprintf(out + n, (size_t)(96 - n), "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    snprintf(out + n, (size_t)(96 - n), t->n_dims > 4 ? ", ...]" : "]");
}

/* Finds a tensor and checks it against [rows, cols], or [rows] when cols is 0. */
static int need(hone_source *s, const hone_tensor_info **out, const char *name, int32_t rows, int32_t cols,
                hone_error *err)
{
    const hone_tensor_info *t = hone_source_find(s, name);
    char found[96], wanted[48];

    if (!t)
        return hone_error_set(err, HONE_EFORMAT, "%s: the tensor %s is missing", s->path, name);
    if (t->n_dims != (cols ? 2 : 1) || t->shape[0] != rows || (cols && t->shape[1] != cols)) {
        print_shape(found, t);
        if (cols)
            snprintf(wanted, sizeof wanted, "[%d, %d]", rows, cols);
        else
            snprintf(wanted, sizeof wanted, "[%d]", rows);
        return hone_error_set(err, HONE_ESHAPE, "%s: tensor %s: wanted shape %s, found %s", t->file, name,
                              wanted, found);
    }
    if (t->dtype == HONE_DTYPE_COUNT || !hone_dtype_is_weight(t->dtype) || hone_dtype_is_scaled(t->dtype))
        return hone_error_set(
            err, HONE_EUNSUPPORTED,
            "%s: tensor %s is stored as %s; hone reads F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K "
            "Q5_K Q6_K",
            t->file, name, t->type);
    *out = t;
    return 0;
}

static int matrix(hone_source *s, hone_weight *out, const char *name, int32_t rows, int32_t cols,
                  hone_error *err)
{
    const hone_tensor_info *t;
    int rc = need(s, &t, name, rows, cols, err);

    if (rc)
        return rc;
    out->data = t->data;
    out->dtype = t->dtype;
    out->rows = rows;
    out->cols = cols;
    return hone_weights_bind_mapped(s->w, t->data, t->size, err);
}

static int vector(hone_source *s, float **out, const char *name, int32_t n, hone_error *err)
{
    const hone_tensor_info *t;
    int rc = need(s, &t, name, n, 0, err);

    if (rc)
        return rc;
    *out = hone_weights_own_alloc(s->own, (size_t)n * sizeof(float), err);
    if (!*out)
        return HONE_ENOMEM;
    s->w->copied_bytes += (size_t)n * sizeof(float);
    hone_dequantise(*out, t->data, t->dtype, n);
    return 0;
}

/* The weights of a norm, as the op multiplies by them. */
static int norm(hone_source *s, float **out, const char *name, int32_t n, hone_error *err)
{
    int rc = vector(s, out, name, n, err);
    int32_t i;

    for (i = 0; !rc && s->w->arch.norm_offset && i < n; i++)
        (*out)[i] += 1;
    return rc;
}

/* Rows of `size` bytes from ggml's interleaved order to rotate-half order, head by head. */
static void reorder(char *out, const char *in, size_t size, int heads, int head_size)
{
    int h, half, m;

    for (h = 0; h < heads; h++)
        for (half = 0; half < 2; half++)
            for (m = 0; m < head_size / 2; m++) {
                int from = h * head_size + 2 * m + half, to = h * head_size + half * (head_size / 2) + m;

                memcpy(out + (size_t)to * size, in + (size_t)from * size, size);
            }
}

/* Brings q or k of a file in interleaved order, and its bias, into Hugging Face order. */
static int straighten(hone_source *s, hone_weight *p, int heads, hone_error *err)
{
    size_t row = hone_dtype_bytes(p->dtype, p->cols), size = row * (size_t)p->rows;
    size_t bias_size = (size_t)p->rows * sizeof(float);
    const void *mapped = p->data;
    void *room;
    char *copy;
    int rc = hone_weights_make_room(&room, s->w, size, err);

    if (rc)
        return rc;
    reorder(room, mapped, row, heads, s->w->arch.head_size);
    p->data = room;
    hone_weights_drop(s->w, mapped);
    if (!s->w->offloaded)
        s->w->copied_bytes += size;
    if (p->bias) {
        copy = hone_weights_own_alloc(s->own, bias_size, err);
        if (!copy)
            return HONE_ENOMEM;
        reorder(copy, (const char *)p->bias, sizeof(float), heads, s->w->arch.head_size);
        p->bias = (const float *)copy;
        s->w->copied_bytes += bias_size;
    }
    return 0;
}

void hone_weights_proj_shape(const hone_arch *a, int proj, int32_t *rows, int32_t *cols)
{
    int32_t q = a->n_head * a->head_size, kv = a->n_kv * a->head_size;

    if (a->fused && (proj == HONE_Q || proj == HONE_GATE)) {
        *rows = proj == HONE_Q ? q + 2 * kv : 2 * a->ffn;
        *cols = a->width;
        return;
    }
    *rows = proj == HONE_Q                        ? q
            : proj == HONE_K || proj == HONE_V    ? kv
            : proj == HONE_O || proj == HONE_DOWN ? a->width
                                                  : a->ffn;
    *cols = proj == HONE_O ? q : proj == HONE_DOWN ? a->ffn : a->width;
}

bool hone_weights_proj_bias(const hone_arch *a, int proj)
{
    return proj <= HONE_V ? a->qkv_bias : proj == HONE_O ? a->o_bias : a->mlp_bias;
}

static int bind_projection(hone_source *s, int layer, int p, hone_error *err)
{
    const hone_arch *a = &s->w->arch;
    hone_weight *out = &s->w->layer[layer].proj[p];
    int32_t rows, cols;
    float *bias;
    char name[96], bias_name[96];
    int rc;

    s->own->layer = layer;
    s->own->module = p;
    hone_weights_proj_shape(a, p, &rows, &cols);
    layer_name(s, name, layer, proj_names_of(a, p), ".weight");
    rc = hone_source_is_bnb(s, name) ? hone_weights_bind_bnb(s, out, name, rows, cols, err)
                                     : matrix(s, out, name, rows, cols, err);
    if (!rc && hone_weights_proj_bias(a, p)) {
        layer_name(s, bias_name, layer, proj_names_of(a, p), ".bias");
        rc = vector(s, &bias, bias_name, rows, err);
        out->bias = rc ? NULL : bias;
    }
    if (!rc && a->interleaved && p <= HONE_K)
        rc = straighten(s, out, p == HONE_Q ? a->n_head : a->n_kv, err);
    return rc ? rc : hone_weights_quantise(s->w, out, name, err);
}

static int bind_layer(hone_source *s, int layer, hone_error *err)
{
    const hone_arch *a = &s->w->arch;
    hone_layer_weights *l = &s->w->layer[layer];
    const struct {
        bool there;
        int name;
        float **to;
        int32_t n;
    } norms[] = {
        {true, NORM_ATTN, &l->attn_norm, a->width},
        {true, a->post_norms ? NORM_FFN_OF_FOUR : NORM_FFN, &l->ffn_norm, a->width},
        {a->qk_norm, NORM_Q, &l->q_norm, a->head_size},
        {a->qk_norm, NORM_K, &l->k_norm, a->head_size},
        {a->post_norms, NORM_POST_ATTN, &l->post_attn_norm, a->width},
        {a->post_norms, NORM_POST_FFN, &l->post_ffn_norm, a->width},
    };
    char name[96];
    size_t i;
    int p, rc = 0;

    for (p = 0; !rc && p < HONE_N_PROJ; p++)
        if (hone_proj_there(a, p))
            rc = bind_projection(s, layer, p, err);
    for (i = 0; !rc && i < HONE_COUNT(norms); i++) {
        if (!norms[i].there)
            continue;
        layer_name(s, name, layer, norm_names[norms[i].name], ".weight");
        rc = norm(s, norms[i].to, name, norms[i].n, err);
    }
    hone_weights_passed(s->w, layer);
    return rc;
}

/* Embedding and head. Of a tied pair the file holds one, as a rule the embedding; when it holds both and they differ,
 * the head is what it says, as transformers 5 has it. A GGUF file with a head of its own is not tied to begin with. */
static int bind_ends(hone_source *s, hone_error *err)
{
    hone_weights *w = s->w;
    hone_arch *a = &w->arch;
    char embed[96], head[96];
    int rc;

    top_name(s, embed, TOP_EMBED);
    top_name(s, head, TOP_HEAD);
    s->own->layer = -1;
    s->own->module = HONE_EMBED;
    if (a->tied && !hone_source_find(s, embed) && hone_source_find(s, head))
        memcpy(embed, head, sizeof embed);
    rc = matrix(s, &w->embed, embed, a->vocab, a->width, err);
    if (rc)
        return rc;
    if (a->tied && !hone_source_find(s, head)) {
        w->head = w->embed;
        return 0;
    }
    s->own->module = HONE_HEAD;
    rc = matrix(s, &w->head, head, a->vocab, a->width, err);
    if (!rc && a->tied) {
        a->tied = w->head.dtype == w->embed.dtype &&
                  memcmp(w->head.data, w->embed.data,
                         hone_dtype_bytes(w->head.dtype, a->width) * (size_t)a->vocab) == 0;
        hone_weights_release(w, -1);
        if (a->tied)
            w->head = w->embed;
    }
    return rc;
}

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Tensors of the decoder that nothing above asked for. Stored constants (inverse frequencies) carry no information. */
static int refuse_unused(const hone_source *s, hone_error *err)
{
    static const char *const decoder[] = {"model.", "lm_head.",   "blk.",
                                          "output", "token_embd", "language_model."};
    static const char *const others[] = {"model.vision_tower.", "model.multi_modal_projector."};
    static const char *const constants[] = {".inv_freq", ".attn_rot_embd", ".attn_rot_embd.weight"};
    size_t i, j;

    for (i = 0; i < s->n_tensors; i++) {
        const char *name = tensor_at(s, i)->name;
        bool ours = false;

        for (j = 0; j < HONE_COUNT(decoder); j++)
            ours |= starts_with(name, decoder[j]);
        for (j = 0; j < HONE_COUNT(others); j++)
            ours &= !starts_with(name, others[j]);
        for (j = 0; j < HONE_COUNT(constants); j++)
            ours &= !ends_with(name, constants[j]);
        if (ours && !s->used[i])
            return hone_error_set(
                err, HONE_EFORMAT,
                "%s: the tensor %.200s has no place in a %s model of %d layers with these settings",
                tensor_at(s, i)->file, name, s->w->arch.model_type, s->w->arch.n_layer);
    }
    return 0;
}

static int bind(hone_source *s, hone_error *err)
{
    hone_weights *w = s->w;
    char name[96];
    int32_t i;
    int rc;

    s->used = hone_calloc(s->n_tensors, sizeof *s->used);
    w->layer = hone_calloc((size_t)w->arch.n_layer, sizeof *w->layer);
    if (!s->used || !w->layer) {
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path);
        goto out;
    }
    rc = bind_ends(s, err);
    if (!rc) {
        top_name(s, name, TOP_NORM);
        rc = norm(s, &w->final_norm, name, w->arch.width, err);
    }
    for (i = 0; !rc && i < w->arch.n_layer; i++)
        rc = bind_layer(s, i, err);
    if (!rc)
        rc = refuse_unused(s, err);
out:
    hone_free(s->used);
    return rc;
}

static int open_gguf(hone_weights *w, const char *path, hone_error *err)
{
    hone_weights_own *own = w->impl;
    hone_source s = {.path = path, .w = w, .own = own};
    int rc = hone_gguf_open(&own->gguf, path, err);

    if (!rc)
        rc = hone_arch_read_gguf(&w->arch, own->gguf, path, err);
    if (rc)
        return rc;
    s.gguf = own->gguf;
    s.n_tensors = hone_gguf_n_tensors(own->gguf);
    w->mapped_bytes = hone_gguf_mapped(own->gguf);
    return bind(&s, err);
}

static int open_folder(hone_weights *w, const char *path, hone_error *err)
{
    hone_weights_own *own = w->impl;
    hone_source s = {.path = path, .w = w, .own = own};
    int rc = hone_arch_read_config(&w->arch, path, err);

    if (!rc)
        rc = hone_safetensors_open(&own->st, path, err);
    if (rc)
        return rc;
    s.st = own->st;
    s.n_tensors = hone_safetensors_n_tensors(own->st);
    w->mapped_bytes = hone_safetensors_mapped(own->st);
    return bind(&s, err);
}

int hone_weights_open(hone_weights **out, const char *path, hone_error *err)
{
    return hone_weights_open_as(out, path, NULL, err);
}

int hone_weights_open_as(hone_weights **out, const char *path, const hone_weights_form *form, hone_error *err)
{
    hone_weights *w = NULL;
    int rc;

    *out = NULL;
    if (!hone_path_exists(path))
        return hone_error_set(err, HONE_ENOENT, "%s: there is no such file or folder", path);
    rc = hone_weights_own_new(&w, err);
    if (rc)
        return rc;
    if (form)
        w->form = *form;
    w->offloaded = w->form.offload_dir != NULL;
    rc = hone_path_is_dir(path) ? open_folder(w, path, err) : open_gguf(w, path, err);
    if (rc)
        hone_weights_close(w);
    else
        *out = w;
    return rc;
}

/* ---- what a hone_weights owns --------------------------------------------------------------------------------------- */

int hone_weights_own_new(hone_weights **out, hone_error *err)
{
    hone_weights *w = hone_calloc(1, sizeof *w);

    *out = NULL;
    if (w)
        w->impl = hone_calloc(1, sizeof(hone_weights_own));
    if (!w || !w->impl) {
        hone_free(w);
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the table of weights");
    }
    *out = w;
    return 0;
}

void *hone_weights_own_alloc(hone_weights_own *own, size_t size, hone_error *err)
{
    void **grown = hone_realloc_array(own->block, own->n_blocks + 1, sizeof *grown), *p;

    if (!grown) {
        hone_error_set(err, HONE_ENOMEM, "out of memory for weights");
        return NULL;
    }
    own->block = grown;
    p = hone_alloc(size);
    if (!p) {
        hone_error_set(err, HONE_ENOMEM, "out of memory for %zu bytes of weights", size);
        return NULL;
    }
    own->block[own->n_blocks++] = p;
    return p;
}

void hone_weights_own_release(hone_weights_own *own, const void *p)
{
    size_t i = own->n_blocks;

    while (i > 0 && own->block[i - 1] != p)
        i--;
    if (!i)
        return;
    hone_free(own->block[i - 1]);
    memmove(own->block + i - 1, own->block + i, (own->n_blocks - i) * sizeof *own->block);
    own->n_blocks--;
}

void hone_weights_close(hone_weights *w)
{
    hone_weights_own *own;
    size_t i;

    if (!w)
        return;
    own = w->impl;
    hone_weights_drop_all(w);
    hone_gguf_close(own->gguf);
    hone_safetensors_close(own->st);
    for (i = 0; i < own->n_blocks; i++)
        hone_free(own->block[i]);
    hone_free(own->block);
    hone_big_free(own->big, own->big_size);
    hone_free(own);
    hone_free(w->layer);
    hone_arch_clear(&w->arch);
    hone_free(w);
}
