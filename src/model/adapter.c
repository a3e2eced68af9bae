/* Adapters: which projections are adapted, and their values in one block.
 *
 * Values, and gradients and moments elsewhere, lie layer by layer, projection by projection, A then B. Which modules a
 * target names is PEFT's rule, on the module paths of the Hugging Face spelling, whatever file the base came from;
 * Python's re.fullmatch becomes PCRE2 anchored at both ends, with a bound on its work. */
#include <math.h>
#include <string.h>
#include <strings.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "model/adapter.h"

#define MATCH_LIMIT 1000000
/* Streams below this belong to dropout: micro-batch << 32 | projection. */
#define INIT_STREAM 0xffffffff00000000u

/* ---- targets ------------------------------------------------------------------------------------------------------ */

typedef struct matcher {
    const hone_strings *targets; /* a list; or NULL: all projections */
    pcre2_code *regex;           /* instead of a list */
    pcre2_match_data *match;
    pcre2_match_context *context;
} matcher;

static void matcher_clear(matcher *t)
{
    pcre2_match_context_free(t->context);
    pcre2_match_data_free(t->match);
    pcre2_code_free(t->regex);
}

static int matcher_init(matcher *t, const hone_strings *targets, bool is_list, const char *where,
                        hone_error *err)
{
    PCRE2_UCHAR text[200];
    PCRE2_SIZE at;
    int code;

    *t = (matcher){0};
    if (!targets || targets->n == 0 || (targets->n == 1 && !strcasecmp(targets->item[0], "all-linear")))
        return 0;
    if (is_list) {
        t->targets = targets;
        return 0;
    }
    if (targets->n != 1)
        return hone_error_set(err, HONE_EINVAL, "%s: target_modules: one regular expression, not %zu", where,
                              targets->n);
    t->regex = pcre2_compile((PCRE2_SPTR)targets->item[0], PCRE2_ZERO_TERMINATED,
                             PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF, &code, &at, NULL);
    if (!t->regex) {
        pcre2_get_error_message(code, text, sizeof text);
        return hone_error_set(err, HONE_EINVAL, "%s: target_modules: \"%s\": %s at offset %zu", where,
                              targets->item[0], (const char *)text, (size_t)at);
    }
    t->match = pcre2_match_data_create_from_pattern(t->regex, NULL);
    t->context = pcre2_match_context_create(NULL);
    if (!t->match || !t->context) {
        matcher_clear(t);
        return hone_error_set(err, HONE_ENOMEM, "%s: target_modules: out of memory", where);
    }
    pcre2_set_match_limit(t->context, MATCH_LIMIT);
    return 0;
}

static bool ends_with_name(const char *path, const char *name)
{
    const size_t n = strlen(path), k = strlen(name);

    if (k > n || strcmp(path + n - k, name) != 0)
        return false;
    return k == n || path[n - k - 1] == '.';
}

/* 1: the path is a target, 0: it is not, negative: error. */
static int matches(const matcher *t, const char *path, const char *where, hone_error *err)
{
    size_t i;
    int rc;

    if (t->regex) {
        rc = pcre2_match(t->regex, (PCRE2_SPTR)path, PCRE2_ZERO_TERMINATED, 0, 0, t->match, t->context);
        if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH)
            return rc >= 0;
        return hone_error_set(err, HONE_ELIMIT,
                              "%s: target_modules: the regular expression takes too long on \"%s\"", where,
                              path);
    }
    if (!t->targets)
        return 1;
    for (i = 0; i < t->targets->n; i++)
        if (ends_with_name(path, t->targets->item[i]))
            return 1;
    return 0;
}

/* Modules that PEFT would adapt too when asked, and hone does not. */
static int refuse_others(const matcher *t, const char *where, hone_error *err)
{
    static const char *const other[] = {"model.embed_tokens", "lm_head"};
    size_t i;
    int rc;

    for (i = 0; (t->regex || t->targets) && i < HONE_COUNT(other); i++)
        if ((rc = matches(t, other[i], where, err)) != 0)
            return rc < 0 ? rc
                          : hone_error_set(err, HONE_EUNSUPPORTED,
                                           "%s: target_modules: %s cannot be adapted; the projections "
                                           "q_proj, k_proj, v_proj, "
                                           "o_proj, gate_proj, up_proj, down_proj can",
                                           where, other[i]);
    return 0;
}

/* The names for adapter_config.json: PEFT expands all-linear to the list of projections. */
static int copy_names(hone_adapter *a, const matcher *t, const hone_strings *targets, bool is_list)
{
    const bool all = !t->regex && !t->targets;
    const size_t n = all ? HONE_N_PROJ : targets->n;
    size_t i;

    a->targets_are_list = all || is_list;
    a->target_names.item = hone_calloc(n, sizeof *a->target_names.item);
    if (!a->target_names.item)
        return HONE_ENOMEM;
    a->target_names.n = n;
    for (i = 0; i < n; i++)
        if (!(a->target_names.item[i] = hone_strdup(all ? hone_proj_name[i] : targets->item[i])))
            return HONE_ENOMEM;
    return 0;
}

/* ---- values -------------------------------------------------------------------------------------------------------- */

/* Points the factors of every adapted projection into the block, in order. Returns the number of values. */
static size_t place(hone_adapter *a)
{
    const hone_model *m = a->model;
    size_t at = 0;
    int l, p;

    for (l = 0; l < m->w->arch.n_layer; l++)
        for (p = 0; p < HONE_N_PROJ; p++) {
            const hone_weight *w = &m->w->layer[l].proj[p];
            hone_lora *lora = &a->lora[l * HONE_N_PROJ + p];

            if (!lora->r)
                continue;
            if (a->value) {
                lora->a = a->value + at;
                lora->b = lora->a + (size_t)lora->r * (size_t)w->cols;
            }
            at += (size_t)lora->r * ((size_t)w->cols + (size_t)w->rows);
        }
    return at;
}

int hone_adapter_make(hone_adapter **out, hone_model *m, int r, double alpha, double dropout, bool rslora,
                      const hone_strings *targets, bool targets_are_list, const char *where, hone_error *err)
{
    const int L = m->w->arch.n_layer;
    hone_adapter *a = NULL;
    matcher t;
    char path[96];
    int l, p, rc, hits = 0;

    *out = NULL;
    if (r < 1 || r > HONE_MAX_RANK)
        return hone_error_set(err, HONE_ERANGE, "%s: r: %d is not in 1..%d", where, r, HONE_MAX_RANK);
    if (!isfinite(alpha) || !(dropout >= 0 && dropout < 1))
        return hone_error_set(err, HONE_ERANGE,
                              "%s: lora_alpha must be finite and lora_dropout in [0, 1); they are %g and %g",
                              where, alpha, dropout);
    if ((rc = matcher_init(&t, targets, targets_are_list, where, err)) < 0)
        return rc;
    if ((rc = refuse_others(&t, where, err)) < 0)
        goto out;
    rc = HONE_ENOMEM;
    a = hone_calloc(1, sizeof *a);
    if (!a || !(a->lora = hone_calloc((size_t)L * HONE_N_PROJ, sizeof *a->lora)) ||
        copy_names(a, &t, targets, targets_are_list) < 0)
        goto out;
    a->model = m;
    a->r = r;
    a->alpha = alpha;
    a->dropout = dropout;
    a->rslora = rslora;
    for (l = 0; l < L; l++)
        for (p = 0; p < HONE_N_PROJ; p++) {
            hone_proj_path(path, l, p);
            if ((rc = matches(&t, path, where, err)) < 0)
                goto out;
            hits += rc;
            if (rc) {
                a->lora[l * HONE_N_PROJ + p].r = r;
                a->lora[l * HONE_N_PROJ + p].scale = (float)(alpha / (rslora ? sqrt(r) : r));
            }
        }
    if (!hits) {
        rc = hone_error_set(
            err, HONE_EINVAL,
            "%s: target_modules: nothing in the model matches \"%s\"%s; modules are called like %s", where,
            targets->item[0], targets->n > 1 ? " or the others" : "", path);
        goto out;
    }
    a->n = place(a);
    rc = HONE_ENOMEM;
    if (!(a->value = hone_big_alloc(a->n * sizeof(float))))
        goto out;
    place(a);
    rc = 0;
out:
    matcher_clear(&t);
    if (rc == HONE_ENOMEM)
        hone_error_set(err, rc, "%s: out of memory for the adapter", where);
    if (rc)
        hone_adapter_close(a);
    else
        *out = a;
    return rc;
}

int hone_adapter_new(hone_adapter **out, hone_model *m, const hone_adapter_params *p, hone_error *err)
{
    hone_adapter *a;
    int i, rc;

    *out = NULL;
    rc = hone_adapter_make(&a, m, p->r, p->alpha, p->dropout, false, p->targets, p->targets_are_list, "lora",
                           err);
    if (rc)
        return rc;
    for (i = 0; i < m->w->arch.n_layer * HONE_N_PROJ; i++) {
        const hone_lora *lora = &a->lora[i];
        const int64_t in = m->w->layer[i / HONE_N_PROJ].proj[i % HONE_N_PROJ].cols;
        const double bound = 1 / sqrt((double)in);
        hone_rng rng = hone_rng_make(p->seed, INIT_STREAM | (uint32_t)i);
        float *value = a->value + (lora->r ? lora->a - a->value : 0);
        int64_t k;

        for (k = 0; k < lora->r * in; k++)
            value[k] = (float)((2 * hone_rng_uniform(&rng) - 1) * bound);
    }
    *out = a;
    return 0;
}

void hone_adapter_attach_gradients(hone_adapter *a, float *grad)
{
    int i;

    a->grad = grad;
    for (i = 0; i < a->model->w->arch.n_layer * HONE_N_PROJ; i++) {
        hone_lora *lora = &a->lora[i];

        lora->da = grad && lora->r ? grad + (lora->a - a->value) : NULL;
        lora->db = grad && lora->r ? grad + (lora->b - a->value) : NULL;
    }
}

void hone_adapter_close(hone_adapter *a)
{
    size_t i;

    if (!a)
        return;
    for (i = 0; i < a->target_names.n; i++)
        hone_free(a->target_names.item[i]);
    hone_free(a->target_names.item);
    hone_free(a->lora);
    hone_big_free(a->value, a->n * sizeof(float));
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
