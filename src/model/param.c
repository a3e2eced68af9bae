/* The trained tensors of an adapter: one list that passes, optimisers, files, the plan and the tests share.
 *
 * A list is made in two walks: the first counts, then one block is allocated, and the second points everything that a
 * pass reads into it: the factors, and the places of whole tensors in the adapter's view of the weights. Gradients are
 * pointed into another block of the same order when they are attached. */
#include <string.h>

#include "model/activations.h"
#include "model/adapter.h"

void hone_param_name(char out[HONE_PARAM_NAME], const hone_adapter *a, const hone_param *p)
{
    static const char *const end[] = {
        [HONE_PARAM_A] = "lora_A.weight",
        [HONE_PARAM_B] = "lora_B.weight",
        [HONE_PARAM_MAGNITUDE] = "lora_magnitude_vector",
        [HONE_PARAM_WEIGHT] = "weight",
        [HONE_PARAM_BIAS] = "bias",
        [HONE_PARAM_TOKENS] = "token_adapter.trainable_tokens_delta",
    };
    const bool base = p->role == HONE_PARAM_BIAS && a->r && p->module < HONE_N_PROJ &&
                      a->lora[p->layer * HONE_N_PROJ + p->module].r;
    char path[96];

    hone_module_path(path, &a->model->w->arch, p->layer, p->module);
    snprintf(out, HONE_PARAM_NAME, "%s%s.%s%s", a->r ? HONE_PEFT_PREFIX : "", path, base ? "base_layer." : "",
             end[p->role]);
}

static const int stage_of[HONE_N_LAYER_MODULES] = {
    [HONE_Q] = HONE_STAGE_QKV,
    [HONE_K] = HONE_STAGE_QKV,
    [HONE_V] = HONE_STAGE_QKV,
    [HONE_O] = HONE_STAGE_O,
    [HONE_GATE] = HONE_STAGE_GATE_UP,
    [HONE_UP] = HONE_STAGE_GATE_UP,
    [HONE_DOWN] = HONE_STAGE_DOWN,
    [HONE_ATTN_NORM] = HONE_STAGE_ATTN_NORM,
    [HONE_FFN_NORM] = HONE_STAGE_FFN_NORM,
    [HONE_Q_NORM] = HONE_STAGE_QK_NORM,
    [HONE_K_NORM] = HONE_STAGE_QK_NORM,
    [HONE_POST_ATTN_NORM] = HONE_STAGE_POST_ATTN_NORM,
    [HONE_POST_FFN_NORM] = HONE_STAGE_POST_FFN_NORM,
};

int hone_param_add(hone_adapter *a, hone_param_role role, int layer, int module, int64_t rows, int64_t cols,
                   hone_error *err)
{
    const bool norm = module >= HONE_ATTN_NORM && module != HONE_EMBED && module != HONE_HEAD;
    hone_param *grown, *p;

    if (a->n_params % 64 == 0) {
        grown = hone_realloc_array(a->param, a->n_params + 64, sizeof *grown);
        if (!grown)
            return hone_error_set(err, HONE_ENOMEM, "out of memory for the list of trained tensors");
        a->param = grown;
    }
    p = &a->param[a->n_params++];
    *p = (hone_param){.role = role,
                      .layer = layer,
                      .module = module,
                      .rows = rows,
                      .cols = cols,
                      .at = a->n,
                      .n = (size_t)rows * (size_t)(cols ? cols : 1),
                      .decay = role != HONE_PARAM_BIAS && !norm,
                      .lr_factor = 1};
    a->n += p->n;
    if (module >= HONE_N_LAYER_MODULES)
        return 0;
    a->stages[layer] |= 1u << stage_of[module];
    if (module < HONE_N_PROJ && role != HONE_PARAM_BIAS)
        a->reads[layer] |= 1u << module;
    return 0;
}

void hone_adapter_set_lr_ratio(hone_adapter *a, double ratio)
{
    size_t i;

    for (i = 0; i < a->n_params && a->r; i++) {
        const bool fast = a->param[i].role == HONE_PARAM_B || !a->param[i].cols;

        a->param[i].lr_factor = fast && ratio > 0 ? (float)ratio : 1;
    }
}

/* Where the view keeps a tensor, as an f32 weight or a vector. */
static void put(hone_adapter *a, const hone_param *p, float *at)
{
    hone_weights *v = &a->view;
    hone_layer_weights *l = &v->layer[p->layer];
    float **norm[] = {&l->attn_norm, &l->ffn_norm,       &l->q_norm,
                      &l->k_norm,    &l->post_attn_norm, &l->post_ffn_norm};
    hone_weight *w = p->module < HONE_N_PROJ  ? &l->proj[p->module]
                     : p->module == HONE_HEAD ? &v->head
                                              : &v->embed;

    if (p->role == HONE_PARAM_BIAS) {
        w->bias = at;
    } else if (p->module == HONE_FINAL_NORM) {
        v->final_norm = at;
    } else if (p->module >= HONE_ATTN_NORM && p->module < HONE_N_LAYER_MODULES) {
        *norm[p->module - HONE_ATTN_NORM] = at;
    } else {
        w->data = at;
        w->dtype = HONE_F32;
        w->scales = NULL;
    }
}

int hone_param_place(hone_adapter *a, hone_error *err)
{
    size_t i;

    float *norm;

    for (i = 0; i < a->n_params; i++)
        if (a->param[i].role == HONE_PARAM_MAGNITUDE)
            a->n_norm += a->param[i].n;
    a->value = hone_big_alloc(a->n * sizeof(float));
    a->norm = norm = a->n_norm ? hone_calloc(a->n_norm, sizeof *a->norm) : NULL;
    if (!a->value || (a->n_norm && !norm))
        return hone_error_set(err, HONE_ENOMEM, "out of memory for %zu trained values", a->n);
    for (i = 0; i < a->n_params; i++) {
        const hone_param *p = &a->param[i];
        const int index = p->layer * HONE_N_PROJ + p->module;
        float *at = a->value + p->at;

        if (p->role == HONE_PARAM_A)
            a->lora[index].a = at;
        else if (p->role == HONE_PARAM_B)
            a->lora[index].b = at;
        else if (p->role == HONE_PARAM_MAGNITUDE) {
            a->lora[index].magnitude = at;
            a->lora[index].norm = norm;
            norm += p->n;
        } else if (p->role == HONE_PARAM_TOKENS)
            a->token_patch[p->module == HONE_HEAD].row = at;
        else
            put(a, p, at);
    }
    if (!a->r && a->model->w->arch.tied) /* one tensor in two places; beside factors, two (PEFT) */
        a->view.head = a->view.embed;
    return 0;
}

void hone_param_load(float *out, const hone_model *m, const hone_param *p)
{
    hone_weight w = m->w->head;

    if (p->module != HONE_HEAD)
        hone_module_weight(m->w, p->layer, p->module, &w);
    if (p->role == HONE_PARAM_BIAS)
        memcpy(out, w.bias, p->n * sizeof *out);
    else
        hone_weight_values(out, &w, 0, (int64_t)p->n);
}

int hone_adapter_update(hone_adapter *a, hone_error *err)
{
    float *norm = a->norm;
    size_t i;
    int rc;

    for (i = 0; i < a->n_params; i++) {
        const hone_param *p = &a->param[i];

        if (p->role != HONE_PARAM_MAGNITUDE)
            continue;
        if ((rc = hone_dora_norms(a->model->dev, norm, &a->view.layer[p->layer].proj[p->module],
                                  &a->lora[p->layer * HONE_N_PROJ + p->module], err)) < 0)
            return rc;
        hone_weights_passed(a->model->w, p->layer);
        norm += p->n;
    }
    return 0;
}

void hone_adapter_attach_gradients(hone_adapter *a, float *grad)
{
    size_t i;

    a->grad = grad;
    a->dembed = a->dhead = a->dfinal_norm = NULL;
    for (i = 0; i < a->n_params; i++) {
        const hone_param *p = &a->param[i];
        const int index = p->layer * HONE_N_PROJ + p->module;
        float *at = grad ? grad + p->at : NULL;

        if (p->role == HONE_PARAM_A)
            a->lora[index].da = at;
        else if (p->role == HONE_PARAM_B)
            a->lora[index].db = at;
        else if (p->role == HONE_PARAM_MAGNITUDE)
            a->lora[index].dmagnitude = at;
        else if (p->role == HONE_PARAM_TOKENS)
            a->token_patch[p->module == HONE_HEAD].drow = at;
        else if (p->role == HONE_PARAM_BIAS)
            a->layer[p->layer].bias[p->module] = at;
        else if (p->module < HONE_N_LAYER_MODULES)
            a->layer[p->layer].weight[p->module] = at;
        else if (p->module == HONE_FINAL_NORM)
            a->dfinal_norm = at;
        else if (p->module == HONE_HEAD)
            a->dhead = at;
        else
            a->dembed = at;
    }
    if (!a->r && a->model->w->arch.tied)
        a->dhead = a->dembed;
}

unsigned hone_adapter_reads(const hone_adapter *a, int layer)
{
    return a ? a->reads[layer] : 0;
}

unsigned hone_adapter_stages(const hone_adapter *a, int layer)
{
    return a ? a->stages[layer] : 0;
}

int hone_adapter_first(const hone_adapter *a, int n_layer)
{
    size_t i;
    int layer;

    for (i = 0; a && i < a->n_params; i++)
        if (a->param[i].module == HONE_EMBED)
            return 0;
    for (layer = 0; layer < n_layer; layer++)
        if (hone_adapter_stages(a, layer))
            break;
    return layer;
}
