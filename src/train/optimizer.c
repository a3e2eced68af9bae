/* Optimisers: see optimizer.h. An optimiser is a row of the table: how many bytes of state a tensor of n values has, and
 * how runs of tensors are updated. States lie in one block, tensor by tensor, each a multiple of 64 bytes, so that they
 * are one line of the memory plan and one run of bytes in a checkpoint.
 *
 * Neighbours in the adapter's list that share a learning rate and weight decay are updated in one call where an update
 * treats every value alike (AdamW, SGD): an adapter of 420 small tensors is one run, as a whole model is a few. */
#include "train/optimizer.h"

#include <string.h>

typedef struct tensor_step {
    hone_device *dev;
    const hone_config *c;
    const hone_param *p; /* the first of the run */
    size_t n;            /* values of the run */
    float *value, *grad;
    char *state;
    void *scratch;
    int64_t t;
    double lr, decay, clip;
} tensor_step;

typedef struct optimizer_kind {
    const char *name;
    bool runs; /* neighbours may be one call; their state is n values times a constant */
    size_t (*state)(const hone_config *c, const hone_param *p);
    size_t (*scratch)(const hone_param *p); /* the largest of all tensors is kept */
    int (*step)(const tensor_step *s, hone_error *err);
} optimizer_kind;

struct hone_optimizer {
    hone_device *dev;
    hone_adapter *a;
    const hone_config *c;
    const optimizer_kind *kind;
    char *state, *scratch;
    size_t state_size, scratch_size;
};

static size_t align(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* ---- AdamW -------------------------------------------------------------------------------------------------------- */

static size_t adamw_state(const hone_config *c, const hone_param *p)
{
    (void)c;
    return 2 * p->n * sizeof(float);
}

static int adamw_step(const tensor_step *s, hone_error *err)
{
    const hone_adamw a = {.p = s->value,
                          .g = s->grad,
                          .m = (float *)s->state,
                          .v = (float *)s->state + s->n,
                          .n = s->n,
                          .lr = s->lr,
                          .beta1 = s->c->training.adam_beta1,
                          .beta2 = s->c->training.adam_beta2,
                          .eps = s->c->training.adam_epsilon,
                          .weight_decay = s->decay,
                          .clip = s->clip,
                          .t = s->t};

    return hone_adamw_step(s->dev, &a, err);
}

/* ---- AdamW with moments of one byte ---------------------------------------------------------------------------------- */

#define SMALL 4096 /* tensors below keep f32 moments, as bitsandbytes has it */

/* Embeddings too: a row that is rarely seen has moments far below the largest of its block. */
static bool in_bytes(const hone_param *p)
{
    return p->n >= SMALL && p->module != HONE_EMBED;
}

static size_t blocks(const hone_param *p)
{
    return (p->n + HONE_ADAMW8_BLOCK - 1) / HONE_ADAMW8_BLOCK;
}

static size_t adamw8_state(const hone_config *c, const hone_param *p)
{
    return in_bytes(p) ? 2 * blocks(p) * sizeof(float) + 2 * p->n : adamw_state(c, p);
}

static size_t adamw8_scratch(const hone_param *p)
{
    (void)p;
    return hone_adamw8_maps_size();
}

static int adamw8_step(const tensor_step *s, hone_error *err)
{
    float *const max = (float *)s->state;
    uint8_t *const codes = (uint8_t *)(max + 2 * blocks(s->p));
    const hone_adamw8 a = {.p = s->value,
                           .g = s->grad,
                           .m = codes,
                           .v = codes + s->n,
                           .m_max = max,
                           .v_max = max + blocks(s->p),
                           .maps = s->scratch,
                           .n = s->n,
                           .lr = s->lr,
                           .beta1 = s->c->training.adam_beta1,
                           .beta2 = s->c->training.adam_beta2,
                           .eps = s->c->training.adam_epsilon,
                           .weight_decay = s->decay,
                           .clip = s->clip,
                           .t = s->t};

    return in_bytes(s->p) ? hone_adamw8_step(s->dev, &a, err) : adamw_step(s, err);
}

/* ---- Adafactor ------------------------------------------------------------------------------------------------------- */

static size_t adafactor_state(const hone_config *c, const hone_param *p)
{
    (void)c;
    return (size_t)(p->rows + p->cols) * sizeof(float);
}

static size_t adafactor_scratch(const hone_param *p)
{
    return hone_adafactor_scratch(p->rows, p->cols) * sizeof(float);
}

static int adafactor_step(const tensor_step *s, hone_error *err)
{
    const hone_adafactor a = {.p = s->value,
                              .g = s->grad,
                              .rows = s->p->rows,
                              .cols = s->p->cols,
                              .row = (float *)s->state,
                              .col = (float *)s->state + s->p->rows,
                              .scratch = s->scratch,
                              .lr = s->lr,
                              .weight_decay = s->decay,
                              .clip = s->clip,
                              .t = s->t};

    return hone_adafactor_step(s->dev, &a, err);
}

/* ---- SGD ---------------------------------------------------------------------------------------------------------------- */

static size_t sgd_state(const hone_config *c, const hone_param *p)
{
    return c->training.sgd_momentum > 0 ? p->n * sizeof(float) : 0;
}

static int sgd_step(const tensor_step *s, hone_error *err)
{
    const hone_sgd a = {.p = s->value,
                        .g = s->grad,
                        .m = s->c->training.sgd_momentum > 0 ? (float *)s->state : NULL,
                        .n = s->n,
                        .lr = s->lr,
                        .momentum = s->c->training.sgd_momentum,
                        .weight_decay = s->decay,
                        .clip = s->clip,
                        .t = s->t};

    return hone_sgd_step(s->dev, &a, err);
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

static const optimizer_kind kinds[] = {
    [HONE_OPTIM_ADAMW] = {"AdamW, two moments, f32", true, adamw_state, NULL, adamw_step},
    [HONE_OPTIM_ADAMW_8BIT] = {"AdamW, two moments of a byte", false, adamw8_state, adamw8_scratch,
                               adamw8_step},
    [HONE_OPTIM_ADAFACTOR] = {"Adafactor, means of rows and columns", false, adafactor_state,
                              adafactor_scratch, adafactor_step},
    [HONE_OPTIM_SGD] = {"SGD", true, sgd_state, NULL, sgd_step},
};

/* The tensors from `i` on that one call updates: [i, end), `n` values with `bytes` of state. */
static size_t run_end(const optimizer_kind *k, const hone_adapter *a, const hone_config *c, size_t i,
                      size_t *n, size_t *bytes)
{
    const hone_param *first = &a->param[i];

    *n = *bytes = 0;
    do {
        *n += a->param[i].n;
        *bytes += k->state(c, &a->param[i]);
        i++;
    } while (k->runs && i < a->n_params && a->param[i].decay == first->decay &&
             a->param[i].lr_factor == first->lr_factor);
    return i;
}

static void measure(const optimizer_kind *k, const hone_adapter *a, const hone_config *c, size_t *state,
                    size_t *scratch)
{
    size_t i, n, bytes;

    *state = *scratch = 0;
    for (i = 0; i < a->n_params; i = run_end(k, a, c, i, &n, &bytes)) {
        run_end(k, a, c, i, &n, &bytes);
        *state += align(bytes);
        if (k->scratch)
            *scratch = HONE_MAX(*scratch, align(k->scratch(&a->param[i])));
    }
    *scratch = HONE_MAX(*scratch, 64); /* so that there is a block to point into */
}

size_t hone_optimizer_size(const hone_adapter *a, const hone_config *c, char detail[96])
{
    const optimizer_kind *k = &kinds[c->training.optim];
    size_t state, scratch;

    measure(k, a, c, &state, &scratch);
    if (detail)
        snprintf(detail, 96, "%s", k->name);
    return state + scratch;
}

int hone_optimizer_new(hone_optimizer **out, hone_device *dev, hone_adapter *a, const hone_config *c,
                       hone_error *err)
{
    hone_optimizer *o = hone_calloc(1, sizeof *o);

    *out = NULL;
    if (!o)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the optimiser");
    o->dev = dev;
    o->a = a;
    o->c = c;
    o->kind = &kinds[c->training.optim];
    measure(o->kind, a, c, &o->state_size, &o->scratch_size);
    if (!(o->state = hone_big_alloc(o->state_size + o->scratch_size))) {
        hone_free(o);
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the optimiser's states (%zu bytes)",
                              o->state_size + o->scratch_size);
    }
    o->scratch = o->state + o->state_size;
    if (c->training.optim == HONE_OPTIM_ADAMW_8BIT)
        hone_adamw8_maps(o->scratch);
    *out = o;
    return 0;
}

void hone_optimizer_free(hone_optimizer *o)
{
    if (!o)
        return;
    hone_big_free(o->state, o->state_size + o->scratch_size);
    hone_free(o);
}

int hone_optimizer_step(hone_optimizer *o, int64_t t, double lr, double clip, hone_error *err)
{
    hone_adapter *a = o->a;
    char *state = o->state;
    size_t i, next, n, bytes;
    int rc;

    for (i = 0; i < a->n_params; i = next) {
        const hone_param *p = &a->param[i];
        tensor_step s;

        next = run_end(o->kind, a, o->c, i, &n, &bytes);
        s = (tensor_step){.dev = o->dev,
                          .c = o->c,
                          .p = p,
                          .n = n,
                          .value = a->value + p->at,
                          .grad = a->grad + p->at,
                          .state = state,
                          .scratch = o->scratch,
                          .t = t,
                          .lr = lr * (double)p->lr_factor,
                          .decay = p->decay ? o->c->training.weight_decay : 0,
                          .clip = clip};
        if ((rc = o->kind->step(&s, err)) < 0)
            return rc;
        state += align(bytes);
    }
    return hone_adapter_update(a, err);
}

void *hone_optimizer_state(hone_optimizer *o, size_t *bytes)
{
    *bytes = o->state_size;
    return o->state;
}
