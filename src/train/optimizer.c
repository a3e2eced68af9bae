/* Optimisers: see optimizer.h. An optimiser is a row of the table: how many bytes of state a tensor of n values has, and
 * how runs of tensors are updated. States lie in one block, tensor by tensor, each a multiple of 64 bytes, so that they
 * are one line of the memory plan and one run of bytes in a checkpoint.
 *
 * Neighbours in the adapter's list that share a learning rate and weight decay are updated in one call where an update
 * treats every value alike (AdamW, SGD): an adapter of 420 small tensors is one run, as a whole model is a few.
 *
 * With training.offload_optimizer the states are a hone_spill of the same layout. Then a run is updated in pieces of a
 * fixed number of values, and a piece's pages are let go when it is done, so that no more than two pieces are resident. The
 * length of a piece is a multiple of what the kernels cut their work into: the bits are those of one call. */
#include "train/optimizer.h"

#include <string.h>

typedef struct tensor_step {
    hone_device *dev;
    const hone_config *c;
    const hone_param *p; /* the first of the run */
    size_t n;            /* values of the run */
    size_t from, count;  /* the piece of them that is updated: all, unless the states are in a file */
    float *value, *grad; /* of the piece */
    char *state;         /* of the run */
    void *scratch;
    int64_t t;
    double lr, decay, clip;
} tensor_step;

typedef struct optimizer_kind {
    const char *name;
    bool runs; /* neighbours may be one call; their state is n values times a constant */
    size_t (*state)(const hone_config *c, const hone_param *p);
    size_t (*scratch)(const hone_param *p); /* the largest of all tensors is kept */
    /* A run's state ends with so many arrays of n elements of width bytes; 0: a tensor is updated whole. */
    int arrays;
    size_t (*width)(const hone_param *p);
    int (*step)(const tensor_step *s, hone_error *err);
} optimizer_kind;

struct hone_optimizer {
    hone_device *dev;
    hone_adapter *a;
    const hone_config *c;
    const optimizer_kind *kind;
    char *state, *scratch;
    size_t state_size, memory_size; /* memory: of scratch, and of the states unless they are in the file */
    char *memory;
    hone_spill file;
};

#define PIECE (1 << 20) /* values */

static size_t align(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/* ---- AdamW -------------------------------------------------------------------------------------------------------- */

static size_t four_bytes(const hone_param *p)
{
    (void)p;
    return sizeof(float);
}

static size_t adamw_state(const hone_config *c, const hone_param *p)
{
    (void)c;
    return 2 * p->n * sizeof(float);
}

static int adamw_step(const tensor_step *s, hone_error *err)
{
    const hone_adamw a = {.p = s->value,
                          .g = s->grad,
                          .m = (float *)s->state + s->from,
                          .v = (float *)s->state + s->n + s->from,
                          .n = s->count,
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

static size_t adamw8_width(const hone_param *p)
{
    return in_bytes(p) ? 1 : sizeof(float);
}

static size_t adamw8_scratch(const hone_param *p)
{
    (void)p;
    return hone_adamw8_maps_size();
}

static int adamw8_step(const tensor_step *s, hone_error *err)
{
    float *const max = (float *)s->state + s->from / HONE_ADAMW8_BLOCK;
    uint8_t *const codes = (uint8_t *)s->state + 2 * blocks(s->p) * sizeof(float) + s->from;
    const hone_adamw8 a = {.p = s->value,
                           .g = s->grad,
                           .m = codes,
                           .v = codes + s->n,
                           .m_max = max,
                           .v_max = max + blocks(s->p),
                           .maps = s->scratch,
                           .n = s->count,
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
                        .m = s->c->training.sgd_momentum > 0 ? (float *)s->state + s->from : NULL,
                        .n = s->count,
                        .lr = s->lr,
                        .momentum = s->c->training.sgd_momentum,
                        .weight_decay = s->decay,
                        .clip = s->clip,
                        .t = s->t};

    return hone_sgd_step(s->dev, &a, err);
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

static const optimizer_kind kinds[] = {
    [HONE_OPTIM_ADAMW] = {.name = "AdamW, two moments, f32",
                          .runs = true,
                          .state = adamw_state,
                          .arrays = 2,
                          .width = four_bytes,
                          .step = adamw_step},
    [HONE_OPTIM_ADAMW_8BIT] = {.name = "AdamW, two moments of a byte",
                               .state = adamw8_state,
                               .scratch = adamw8_scratch,
                               .arrays = 2,
                               .width = adamw8_width,
                               .step = adamw8_step},
    [HONE_OPTIM_ADAFACTOR] = {.name = "Adafactor, means of rows and columns",
                              .state = adafactor_state,
                              .scratch = adafactor_scratch,
                              .step = adafactor_step},
    [HONE_OPTIM_SGD] =
        {.name = "SGD", .runs = true, .state = sgd_state, .arrays = 1, .width = four_bytes, .step = sgd_step},
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

/* Bytes at the beginning of a run's state that belong to all of its pieces. */
static size_t head_of(const optimizer_kind *k, const hone_param *p, size_t n, size_t bytes)
{
    return bytes && k->arrays ? bytes - (size_t)k->arrays * k->width(p) * n : bytes;
}

hone_optimizer_size hone_optimizer_measure(const hone_adapter *a, const hone_config *c)
{
    const optimizer_kind *k = &kinds[c->training.optim];
    hone_optimizer_size out = {.name = k->name, .scratch = 64}; /* so that there is a block to point into */
    size_t i, next, n, bytes, window = 0;

    for (i = 0; i < a->n_params; i = next) {
        const hone_param *p = &a->param[i];
        size_t head;

        next = run_end(k, a, c, i, &n, &bytes);
        head = head_of(k, p, n, bytes);
        out.states += align(bytes);
        window = HONE_MAX(window, head + (bytes - head) / n * HONE_MIN(n, (size_t)PIECE));
        if (k->scratch)
            out.scratch = HONE_MAX(out.scratch, align(k->scratch(p)));
    }
    out.file = c->training.offload_optimizer ? out.states : 0;
    out.memory = out.scratch + (out.file ? window : out.states);
    return out;
}

static int place(hone_optimizer *o, hone_error *err)
{
    const hone_optimizer_size size = hone_optimizer_measure(o->a, o->c);
    int rc;

    o->state_size = size.states;
    o->memory_size = size.file ? size.scratch : size.memory;
    if (size.file) {
        rc = hone_spill_open(&o->file, hone_config_offload_dir(o->c),
                             "the optimiser's states (training.offload_optimizer)", size.file, err);
        if (rc)
            return rc;
    }
    o->memory = hone_big_alloc(o->memory_size);
    if (!o->memory)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the optimiser's states (%zu bytes)",
                              o->memory_size);
    o->state = size.file ? o->file.data : o->memory;
    o->scratch = size.file ? o->memory : o->memory + size.states;
    return 0;
}

int hone_optimizer_new(hone_optimizer **out, hone_device *dev, hone_adapter *a, const hone_config *c,
                       hone_error *err)
{
    hone_optimizer *o = hone_calloc(1, sizeof *o);
    int rc;

    *out = NULL;
    if (!o)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the optimiser");
    o->dev = dev;
    o->a = a;
    o->c = c;
    o->kind = &kinds[c->training.optim];
    if ((rc = place(o, err))) {
        hone_optimizer_free(o);
        return rc;
    }
    if (c->training.optim == HONE_OPTIM_ADAMW_8BIT)
        hone_adamw8_maps(o->scratch);
    *out = o;
    return 0;
}

void hone_optimizer_free(hone_optimizer *o)
{
    if (!o)
        return;
    hone_spill_close(&o->file);
    hone_big_free(o->memory, o->memory_size);
    hone_free(o);
}

/* Fetches or releases the pages of the piece's elements in the arrays of a run's state. */
static void move_piece(const optimizer_kind *k, const tensor_step *s, size_t head, bool fetch)
{
    int i;

    for (i = 0; i < k->arrays; i++) {
        const size_t width = k->width(s->p);
        char *const at = s->state + head + ((size_t)i * s->n + s->from) * width;

        if (fetch)
            hone_pages_fetch(at, s->count * width);
        else
            hone_pages_release(at, s->count * width);
    }
}

/* Updates the run that `s` describes, piece by piece when its states are in a file. */
static int update_run(const hone_optimizer *o, tensor_step *s, size_t bytes, hone_error *err)
{
    const optimizer_kind *k = o->kind;
    const size_t head = head_of(k, s->p, s->n, bytes), piece = k->arrays ? PIECE : s->n;
    float *const value = s->value, *const grad = s->grad;
    int rc = 0;

    s->count = s->n;
    if (!o->file.data)
        return k->step(s, err);
    for (; !rc && s->from < s->n; s->from += piece) {
        s->count = HONE_MIN(piece, s->n - s->from);
        s->value = value + s->from;
        s->grad = grad + s->from;
        move_piece(k, s, head, true);
        rc = k->step(s, err);
        move_piece(k, s, head, false);
    }
    hone_pages_release(s->state, head);
    return rc;
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
        if ((rc = update_run(o, &s, bytes, err)) < 0)
            return rc;
        state += align(bytes);
    }
    return hone_adapter_update(a, err);
}

void *hone_optimizer_state(hone_optimizer *o, size_t *bytes, bool *in_file)
{
    *bytes = o->state_size;
    *in_file = o->file.data != NULL;
    return o->state;
}
