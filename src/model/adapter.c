/* Adapters: what of a model trains, and its values in one block.
 *
 * Two kinds share everything above them: factors beside projections (LoRA and its variants, with biases and whole
 * modules when asked), and whole tensors alone (full fine-tuning, or a part of the tensors). Which modules a name means is
 * PEFT's rule for the first and LLaMA-Factory's for the second (adapter_match.c). */
#include <math.h>
#include <string.h>

#include "model/adapter.h"
#include "model/adapter_match.h"
#include "model/weights_own.h"

/* Streams below this belong to dropout: micro-batch << 32 | projection. */
#define INIT_STREAM 0xffffffff00000000u

int hone_strings_copy(hone_strings *out, const hone_strings *in)
{
    size_t i;

    *out = (hone_strings){0};
    if (!in || !in->n)
        return 0;
    out->item = hone_calloc(in->n, sizeof *out->item);
    if (!out->item)
        return HONE_ENOMEM;
    out->n = in->n;
    for (i = 0; i < in->n; i++)
        if (!(out->item[i] = hone_strdup(in->item[i])))
            return HONE_ENOMEM;
    return 0;
}

void hone_strings_clear(hone_strings *s)
{
    size_t i;

    for (i = 0; i < s->n; i++)
        hone_free(s->item[i]);
    hone_free(s->item);
    *s = (hone_strings){0};
}

static int patterns_copy(hone_patterns *out, const hone_patterns *in)
{
    *out = (hone_patterns){0};
    if (!in || !in->name.n)
        return 0;
    out->value = hone_calloc(in->name.n, sizeof *out->value);
    if (!out->value)
        return HONE_ENOMEM;
    memcpy(out->value, in->value, in->name.n * sizeof *out->value);
    return hone_strings_copy(&out->name, &in->name);
}

static int limits_copy(hone_target_limits *out, const hone_target_limits *in)
{
    *out = (hone_target_limits){0};
    if (!in)
        return 0;
    out->exclude_is_list = in->exclude_is_list;
    if (in->layers.n) {
        out->layers.item = hone_calloc(in->layers.n, sizeof *out->layers.item);
        if (!out->layers.item)
            return HONE_ENOMEM;
        memcpy(out->layers.item, in->layers.item, in->layers.n * sizeof *out->layers.item);
        out->layers.n = in->layers.n;
    }
    return hone_strings_copy(&out->exclude, &in->exclude) < 0
               ? HONE_ENOMEM
               : hone_strings_copy(&out->layers_pattern, &in->layers_pattern);
}

int hone_adapter_empty(hone_adapter **out, hone_model *m, hone_error *err)
{
    const size_t L = (size_t)m->w->arch.n_layer;
    hone_adapter *a = hone_calloc(1, sizeof *a);

    *out = NULL;
    if (a) {
        a->model = m;
        a->view = *m->w;
        a->view.impl = NULL;
        a->view.layer = hone_calloc(L, sizeof *a->view.layer);
        a->lora = hone_calloc(L * HONE_N_PROJ, sizeof *a->lora);
        a->layer = hone_calloc(L, sizeof *a->layer);
        a->reads = hone_calloc(2 * L, sizeof *a->reads);
    }
    if (!a || !a->view.layer || !a->lora || !a->layer || !a->reads) {
        hone_adapter_close(a);
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the adapter");
    }
    a->stages = a->reads + L;
    memcpy(a->view.layer, m->w->layer, L * sizeof *a->view.layer);
    *out = a;
    return 0;
}

void hone_adapter_close(hone_adapter *a)
{
    if (!a)
        return;
    hone_token_rows_clear(a);
    hone_strings_clear(&a->target_names);
    hone_strings_clear(&a->modules_to_save);
    hone_strings_clear(&a->limits.exclude);
    hone_strings_clear(&a->limits.layers_pattern);
    hone_free(a->limits.layers.item);
    hone_strings_clear(&a->rank_pattern.name);
    hone_strings_clear(&a->alpha_pattern.name);
    hone_free(a->rank_pattern.value);
    hone_free(a->alpha_pattern.value);
    hone_big_free(a->value, a->n * sizeof(float));
    hone_free(a->param);
    hone_free(a->norm);
    hone_free(a->view.layer);
    hone_free(a->lora);
    hone_free(a->layer);
    hone_free(a->reads);
    hone_free(a);
}

void hone_adapter_hashes(const hone_adapter *a, uint64_t *template_hash, uint64_t *tokenizer_hash)
{
    *template_hash = a->template_hash;
    *tokenizer_hash = a->tokenizer_hash;
}

size_t hone_adapter_parameters(const hone_adapter *a)
{
    return a->n;
}

size_t hone_adapter_bytes(const hone_adapter *a)
{
    return (a->n + a->n_norm) * sizeof(float) + hone_token_rows_size(a);
}

bool hone_adapter_is_low_rank(const hone_adapter *a)
{
    return a->r > 0;
}

/* Adds the weight, and the bias when there is one, of a module. */
static int add_module(hone_adapter *a, int layer, int module, hone_error *err)
{
    hone_weight w = a->model->w->head;
    int rc;

    if (module != HONE_HEAD && !hone_module_weight(a->model->w, layer, module, &w))
        return 0;
    rc = hone_param_add(a, HONE_PARAM_WEIGHT, layer, module, w.rows, w.cols, err);
    if (!rc && w.bias)
        rc = hone_param_add(a, HONE_PARAM_BIAS, layer, module, w.rows, 0, err);
    return rc;
}

/* A tensor that trains is read from the base once: its pages need not stay. */
static void load(hone_adapter *a, const hone_param *p)
{
    hone_param_load(a->value + p->at, a->model, p);
    hone_weights_release(a->model->w, p->module < HONE_N_LAYER_MODULES ? p->layer : -1);
}

/* Whole tensors start as the base's values. */
static void load_whole(hone_adapter *a)
{
    size_t i;

    for (i = 0; i < a->n_params; i++)
        if (a->param[i].role == HONE_PARAM_WEIGHT || a->param[i].role == HONE_PARAM_BIAS)
            load(a, &a->param[i]);
}

/* ---- factors ------------------------------------------------------------------------------------------------------- */

/* Modules that PEFT would adapt too when asked, and hone does not. */
static int refuse_others(const hone_targets *t, const hone_arch *arch, const char *where, hone_error *err)
{
    int module, rc;
    char path[96];

    for (module = HONE_EMBED; (t->regex.regex || t->names) && module < HONE_N_MODULES; module++) {
        if (module == HONE_FINAL_NORM)
            continue;
        hone_module_path(path, arch, 0, module);
        if ((rc = hone_targets_match(t, path, where, err)) != 0)
            return rc < 0 ? rc
                          : hone_error_set(err, HONE_EUNSUPPORTED,
                                           "%s: target_modules: %s cannot be adapted; the projections "
                                           "q_proj, k_proj, v_proj, "
                                           "o_proj, gate_proj, up_proj, down_proj can",
                                           where, path);
    }
    return 0;
}

/* The names for adapter_config.json: PEFT expands all-linear to the list of projections. */
static int copy_names(hone_adapter *a, const hone_targets *t, const hone_adapter_params *p)
{
    const bool all = !t->regex.regex && !t->names;
    const char *name[HONE_N_PROJ];
    hone_strings every = {(char **)(uintptr_t)name, 0};
    int i;

    for (i = 0; i < HONE_N_PROJ; i++)
        if (hone_proj_there(&a->model->w->arch, i))
            name[every.n++] = hone_proj_name(&a->model->w->arch, i);

    a->targets_are_list = all || p->targets_are_list;
    return hone_strings_copy(&a->target_names, all ? &every : p->targets);
}

/* PEFT: a module is saved when its path, or that of a module around it, ends with the name. */
static bool is_saved(const hone_strings *names, const char *path)
{
    char part[96];
    size_t i;

    snprintf(part, sizeof part, "%s", path);
    for (;;) {
        char *dot = strrchr(part, '.');
        const size_t n = strlen(part);

        for (i = 0; names && i < names->n; i++)
            if (strlen(names->item[i]) <= n && !strcmp(part + n - strlen(names->item[i]), names->item[i]))
                return true;
        if (!dot)
            return false;
        *dot = 0;
    }
}

/* Rank and scale of an adapted projection. */
static int set_factors(hone_adapter *a, int index, const char *path, const char *where, hone_error *err)
{
    hone_lora *lora = &a->lora[index];
    double r = a->r, alpha = a->alpha;
    size_t i;
    int rc = hone_pattern_find(&i, &a->rank_pattern, path, where, "rank_pattern", err);

    if (rc)
        return rc;
    if (i < a->rank_pattern.name.n)
        r = a->rank_pattern.value[i];
    if ((rc = hone_pattern_find(&i, &a->alpha_pattern, path, where, "alpha_pattern", err)) < 0)
        return rc;
    if (i < a->alpha_pattern.name.n)
        alpha = a->alpha_pattern.value[i];
    if (!(r >= 1 && r <= HONE_MAX_RANK) || r != floor(r) || !isfinite(alpha))
        return hone_error_set(
            err, HONE_ERANGE,
            "%s: rank_pattern, alpha_pattern: rank %g and alpha %g of %s; a rank is a whole "
            "number from 1 to %d, an alpha a finite number",
            where, r, alpha, path, HONE_MAX_RANK);
    lora->r = (int32_t)r;
    lora->scale = (float)(alpha / (a->rslora ? sqrt(r) : r));
    a->max_rank = HONE_MAX(a->max_rank, lora->r);
    return 0;
}

/* Lists what trains in an adapter with factors. */
static int list_params(hone_adapter *a, const hone_targets *t, const char *where, hone_error *err)
{
    const int L = a->model->w->arch.n_layer;
    char path[96];
    int l, p, rc, hits = 0;

    for (l = 0; l < L; l++)
        for (p = 0; p < HONE_N_PROJ; p++) {
            const hone_weight *w = &a->model->w->layer[l].proj[p];
            const hone_lora *lora = &a->lora[l * HONE_N_PROJ + p];

            if (!hone_proj_there(&a->model->w->arch, p))
                continue;
            hone_module_path(path, &a->model->w->arch, l, p);
            if (is_saved(&a->modules_to_save, path))
                continue;
            if ((rc = hone_targets_match(t, path, where, err)) < 0)
                return rc;
            if (!rc)
                continue;
            hits++;
            if ((rc = set_factors(a, l * HONE_N_PROJ + p, path, where, err)) < 0 ||
                (rc = hone_param_add(a, HONE_PARAM_A, l, p, lora->r, w->cols, err)) < 0 ||
                (rc = hone_param_add(a, HONE_PARAM_B, l, p, w->rows, lora->r, err)) < 0 ||
                (a->dora && (rc = hone_param_add(a, HONE_PARAM_MAGNITUDE, l, p, w->rows, 0, err)) < 0))
                return rc;
        }
    if (!hits)
        return hone_error_set(
            err, HONE_EINVAL,
            "%s: target_modules: nothing in the model matches \"%s\"%s%s; modules are called like %s", where,
            a->target_names.item[0], a->target_names.n > 1 ? " or the others" : "",
            a->limits.exclude.n || a->limits.layers.n
                ? " within exclude_modules, layers_to_transform and layers_pattern"
                : "",
            path);
    for (l = 0; l < L; l++)
        for (p = 0; p < HONE_N_LAYER_MODULES; p++) {
            if (p < HONE_N_PROJ && !hone_proj_there(&a->model->w->arch, p))
                continue;
            hone_module_path(path, &a->model->w->arch, l, p);
            if (is_saved(&a->modules_to_save, path))
                rc = add_module(a, l, p, err);
            else if (p < HONE_N_PROJ && a->model->w->layer[l].proj[p].bias &&
                     (a->bias == HONE_BIAS_ALL ||
                      (a->bias == HONE_BIAS_LORA_ONLY && a->lora[l * HONE_N_PROJ + p].r)))
                rc = hone_param_add(a, HONE_PARAM_BIAS, l, p, a->model->w->layer[l].proj[p].rows, 0, err);
            else
                rc = 0;
            if (rc)
                return rc;
        }
    for (p = HONE_EMBED; p < HONE_N_MODULES; p++) {
        hone_module_path(path, &a->model->w->arch, 0, p);
        if (is_saved(&a->modules_to_save, path) && (rc = add_module(a, 0, p, err)) < 0)
            return rc;
    }
    return 0;
}

const char *hone_adapter_idle_target(const hone_adapter *a, size_t *next)
{
    const size_t n = a->targets_are_list ? a->target_names.n : 0,
                 n_proj = (size_t)a->model->w->arch.n_layer * HONE_N_PROJ;
    char path[96];
    size_t k;

    for (; *next < n; ++*next) {
        for (k = 0; k < n_proj; k++) {
            if (!a->lora[k].r)
                continue;
            hone_module_path(path, &a->model->w->arch, (int)(k / HONE_N_PROJ), (int)(k % HONE_N_PROJ));
            if (hone_path_ends_with(path, a->target_names.item[*next]))
                break;
        }
        if (k == n_proj)
            return a->target_names.item[(*next)++];
    }
    return NULL;
}

/* Every name of modules_to_save must mean something. */
static int check_saved(const hone_adapter *a, const char *where, hone_error *err)
{
    char path[96];
    size_t i, k;

    for (i = 0; i < a->modules_to_save.n; i++) {
        const hone_strings one = {a->modules_to_save.item + i, 1};

        for (k = 0; k < a->n_params; k++) {
            hone_module_path(path, &a->model->w->arch, a->param[k].layer, a->param[k].module);
            if (a->param[k].role >= HONE_PARAM_WEIGHT && is_saved(&one, path))
                break;
        }
        if (k == a->n_params)
            return hone_error_set(err, HONE_EINVAL, "%s: modules_to_save: no module is called \"%s\"", where,
                                  one.item[0]);
    }
    return 0;
}

/* DoRA starts from the rows' lengths (of W, since B is zero). */
static int start_magnitudes(hone_adapter *a, hone_error *err)
{
    size_t i;
    int rc = hone_adapter_update(a, err);

    for (i = 0; i < a->n_params && !rc; i++) {
        const hone_param *p = &a->param[i];

        if (p->role == HONE_PARAM_MAGNITUDE)
            memcpy(a->value + p->at, a->lora[p->layer * HONE_N_PROJ + p->module].norm,
                   p->n * sizeof *a->value);
    }
    return rc;
}

int hone_adapter_make(hone_adapter **out, hone_model *m, const hone_adapter_params *p, const char *where,
                      hone_error *err)
{
    hone_adapter *a = NULL;
    hone_targets t;
    int rc;

    *out = NULL;
    if (p->r < 1 || p->r > HONE_MAX_RANK)
        return hone_error_set(err, HONE_ERANGE, "%s: r: %d is not in 1..%d", where, p->r, HONE_MAX_RANK);
    if (!isfinite(p->alpha) || !(p->dropout >= 0 && p->dropout < 1))
        return hone_error_set(err, HONE_ERANGE,
                              "%s: lora_alpha must be finite and lora_dropout in [0, 1); they are %g and %g",
                              where, p->alpha, p->dropout);
    if ((rc = hone_targets_init(&t, p->targets, p->targets_are_list, p->limits, where, err)) < 0)
        return rc;
    if ((rc = refuse_others(&t, &m->w->arch, where, err)) < 0 || (rc = hone_adapter_empty(&a, m, err)) < 0)
        goto out;
    a->r = p->r;
    a->alpha = p->alpha;
    a->dropout = p->dropout;
    a->rslora = p->rslora;
    a->dora = p->dora;
    a->bias = p->bias;
    if (copy_names(a, &t, p) < 0 || hone_strings_copy(&a->modules_to_save, p->modules_to_save) < 0 ||
        limits_copy(&a->limits, p->limits) < 0 || patterns_copy(&a->rank_pattern, p->rank_pattern) < 0 ||
        patterns_copy(&a->alpha_pattern, p->alpha_pattern) < 0) {
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory for the adapter", where);
        goto out;
    }
    if ((rc = list_params(a, &t, where, err)) < 0 || (rc = check_saved(a, where, err)) < 0 ||
        (rc = hone_token_rows_add(a, p->tokens, where, err)) < 0 || (rc = hone_param_place(a, err)) < 0 ||
        (rc = hone_token_rows_start(a, err)) < 0 || (rc = start_magnitudes(a, err)) < 0)
        goto out;
    hone_adapter_set_lr_ratio(a, p->lr_ratio);
    load_whole(a);
out:
    hone_targets_clear(&t);
    if (rc)
        hone_adapter_close(a);
    else
        *out = a;
    return rc;
}

int hone_adapter_new(hone_adapter **out, hone_model *m, const hone_adapter_params *p, hone_error *err)
{
    hone_adapter *a;
    size_t i, k;
    int rc;

    *out = NULL;
    rc = hone_adapter_make(&a, m, p, "lora", err);
    if (rc)
        return rc;
    for (i = 0; i < a->n_params; i++) {
        const hone_param *t = &a->param[i];
        const double bound = 1 / sqrt((double)t->cols);
        hone_rng rng = hone_rng_make(p->seed, INIT_STREAM | (uint32_t)(t->layer * HONE_N_PROJ + t->module));

        for (k = 0; t->role == HONE_PARAM_A && k < t->n; k++)
            a->value[t->at + k] = (float)((2 * hone_rng_uniform(&rng) - 1) * bound);
    }
    *out = a;
    return 0;
}

/* ---- whole tensors --------------------------------------------------------------------------------------------------- */

/* The first name of a module's path behind its layer ("self_attn"), or its last outside of layers ("norm"). */
static void short_name(char out[96], const char *path)
{
    const char *rest = strrchr(path, '.') ? strrchr(path, '.') + 1 : path;
    int layer, used = 0;

    if (sscanf(path, "model.layers.%d.%n", &layer, &used) == 1 && used)
        rest = path + used;
    snprintf(out, 96, "%.*s", used ? (int)strcspn(rest, ".") : 95, rest);
}

static bool listed(const hone_strings *names, const char *name)
{
    size_t i;

    for (i = 0; names && i < names->n; i++)
        if (!strcmp(names->item[i], name))
            return true;
    return false;
}

/* Names that a setting may use, for its messages and its check. */
static int check_names(const hone_model *m, const hone_strings *names, bool layers, hone_error *err)
{
    const int first = layers ? 0 : HONE_EMBED, last = layers ? HONE_N_LAYER_MODULES : HONE_N_MODULES;
    hone_buf known = {0};
    hone_weight w;
    char path[96], name[96], before[96] = "";
    size_t i;
    int module, rc = 0;

    for (i = 0; names && i < names->n && !rc; i++) {
        bool found = layers && !strcmp(names->item[i], "all");

        known.len = 0;
        for (module = first; module < last; module++) {
            if (!hone_module_weight(m->w, 0, module, &w))
                continue;
            hone_module_path(path, &m->w->arch, 0, module);
            short_name(name, path);
            found |= !strcmp(names->item[i], name);
            if (strcmp(name, before) != 0)
                hone_buf_printf(&known, "%s%s", known.len ? ", " : "", name);
            memcpy(before, name, sizeof before);
        }
        if (!found)
            rc = hone_error_set(err, HONE_EINVAL, "training.freeze_%s: \"%s\" is not one of %s%s",
                                layers ? "trainable_modules" : "extra_modules", names->item[i],
                                layers ? "all, " : "", known.failed ? "" : known.data);
    }
    hone_buf_clear(&known);
    return rc;
}

/* Does the selection train this tensor? 1, 0, or an error of the pattern. */
static int selected(const hone_tensors_params *p, const hone_expression *pattern, const hone_arch *arch,
                    int layer, int module, hone_error *err)
{
    char path[96], name[96], full[HONE_PARAM_NAME];

    hone_module_path(path, arch, layer, module);
    short_name(name, path);
    if (module < HONE_N_LAYER_MODULES) {
        const bool in = p->layers > 0 ? layer >= arch->n_layer - p->layers : layer < -p->layers;

        if (in && (listed(p->modules, "all") || listed(p->modules, name)))
            return 1;
    } else if (listed(p->extra, name)) {
        return 1;
    }
    if (!pattern->regex)
        return 0;
    snprintf(full, sizeof full, "%s.weight", path);
    return hone_expression_matches(pattern, full, "training", "freeze_trainable_pattern", err);
}

static int consider(hone_adapter *a, const hone_tensors_params *p, const hone_expression *pattern, int layer,
                    int module, hone_error *err)
{
    hone_weight w;
    int rc;

    if (!hone_module_weight(a->model->w, layer, module, &w))
        return 0;
    rc = p ? selected(p, pattern, &a->model->w->arch, layer, module, err) : 1;
    return rc > 0 ? add_module(a, layer, module, err) : rc;
}

int hone_adapter_tensors(hone_adapter **out, hone_model *m, const hone_tensors_params *p, hone_error *err)
{
    hone_expression pattern = {0};
    hone_adapter *a = NULL;
    int layer, module, rc;

    *out = NULL;
    if (p &&
        ((rc = check_names(m, p->modules, true, err)) < 0 || (rc = check_names(m, p->extra, false, err)) < 0))
        return rc;
    if (p && p->pattern &&
        (rc = hone_expression_init(&pattern, p->pattern, false, "training", "freeze_trainable_pattern",
                                   err)) < 0)
        return rc;
    if ((rc = hone_adapter_empty(&a, m, err)) < 0 || (rc = consider(a, p, &pattern, 0, HONE_EMBED, err)) < 0)
        goto out;
    for (layer = 0; layer < m->w->arch.n_layer; layer++)
        for (module = 0; module < HONE_N_LAYER_MODULES; module++)
            if ((module >= HONE_N_PROJ || hone_proj_there(&m->w->arch, module)) &&
                (rc = consider(a, p, &pattern, layer, module, err)) < 0)
                goto out;
    if ((rc = consider(a, p, &pattern, 0, HONE_FINAL_NORM, err)) < 0 ||
        (rc = consider(a, p, &pattern, 0, HONE_HEAD, err)) < 0)
        goto out;
    if (!a->n_params) {
        rc = hone_error_set(err, HONE_EINVAL, "training: the freeze settings leave nothing to train");
        goto out;
    }
    if ((rc = hone_param_place(a, err)) < 0)
        goto out;
    load_whole(a);
out:
    hone_expression_clear(&pattern);
    if (rc)
        hone_adapter_close(a);
    else
        *out = a;
    return rc;
}
