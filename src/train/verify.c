/* hone verify: see hone/verify.h for what it shows, verify_slope.c for the finite differences.
 *
 * A few rows of the training data are laid side by side. The adapter is compared with the base where a run would start;
 * then the factors B, which start at zero and would hide the gradients of A, move to small random values, and
 * everything else is compared there. Computing on another device, or in bf16, is the same model with another device and
 * type in it for the time of a pass: weights are read only, so nothing is opened twice. */
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "train/optimizer.h"
#include "train/verify.h"

/* Relative limits; docs/verify.md. */
#define ROUNDING 2e-5 /* the same sums in another order */
#define PLAIN 1e-4    /* the same formulas in other code */

#define B_SIZE                                                                                               \
    0.05f /* values of B lie in +-: the adapter then is about a tenth of the weights it stands beside */

/* ---- passes ------------------------------------------------------------------------------------------------------- */

int hone_verify_tell(hone_verifier *v, const char *group, double figure, double limit, hone_error *err,
                     const char *what, ...)
{
    hone_verify_check c = {.group = group, .figure = figure, .limit = limit, .informative = limit < 0};
    va_list args;

    va_start(args, what);
    vsnprintf(c.what, sizeof c.what, what, args);
    va_end(args);
    c.failed = !c.informative && !(figure <= limit); /* no number is a failure too */
    if (!c.informative) {
        v->out->checks++;
        v->out->failed += c.failed;
    }
    if (v->p->check)
        v->p->check(v->p->ud, &c);
    if (v->p->stop && v->p->stop(v->p->ud))
        return hone_error_set(err, HONE_ECANCELLED, "stopped");
    return 0;
}

int hone_verify_begin(hone_verifier *v, hone_activations **act, const hone_verify_way *way, bool train,
                      hone_error *err)
{
    hone_model *m = v->run.model;
    hone_adapter *a = v->run.adapter;
    const hone_activation_params p = {
        .tokens = v->all.n_tokens, .max_seq = v->all.n_seq, .recompute = way->recompute, .training = train};
    hone_workspace_spec spec;
    int rc;

    *act = NULL;
    v->training = train;
    v->own.dev = m->dev;
    v->own.act = m->act;
    v->own.dropout = a->dropout;
    v->own.neftune = a->neftune;
    v->own.objective = a->objective;
    if (way->dev)
        m->dev = way->dev;
    m->act = way->bf16 ? HONE_BF16 : HONE_F32;
    if (!way->as_trained) {
        a->dropout = a->neftune = 0;
        a->objective = (hone_objective){0};
    }
    a->objective.dft = false; /* its factor is a constant to the gradient, but not to a difference */
    hone_model_workspace_spec(&spec, m, a, &p);
    rc = hone_workspace_reserve(m->dev, &spec, err);
    if (!rc)
        rc = hone_activations_new(act, m, a, &p, err);
    if (rc)
        hone_verify_end(v, NULL);
    return rc;
}

void hone_verify_end(hone_verifier *v, hone_activations *act)
{
    hone_adapter *a = v->run.adapter;

    hone_activations_free(act);
    hone_adapter_attach_gradients(a, NULL);
    v->run.model->dev = v->own.dev;
    v->run.model->act = v->own.act;
    a->dropout = v->own.dropout;
    a->neftune = v->own.neftune;
    a->objective = v->own.objective;
}

int hone_verify_pass(hone_verifier *v, hone_activations *act, const hone_batch *b, float *grad, double *loss,
                     hone_error *err)
{
    hone_adapter *a = v->run.adapter;
    hone_pass pass;
    int rc;

    if (grad) {
        hone_adapter_attach_gradients(a, grad);
        rc = hone_model_train(v->run.model, a, act, b, (float)(1 / v->weight),
                              (uint64_t)v->config.training.seed, 0, &pass, err);
    } else {
        rc = hone_model_eval(v->run.model, a, act, b, &pass, err);
    }
    if (!rc)
        *loss += pass.loss_sum / v->weight;
    return rc;
}

/* Gradient and mean loss of the whole batch, one way. */
static int gradient(hone_verifier *v, const hone_verify_way *way, const hone_batch *b, float *grad,
                    double *loss, hone_error *err)
{
    hone_activations *act;
    int rc = hone_verify_begin(v, &act, way, true, err);

    if (rc)
        return rc;
    memset(grad, 0, v->run.adapter->n * sizeof *grad);
    *loss = 0;
    rc = hone_verify_pass(v, act, b, grad, loss, err);
    hone_verify_end(v, act);
    return rc;
}

/* ---- comparing ----------------------------------------------------------------------------------------------------- */

/* The largest distance |x - y| / |y| of a trained tensor; a tensor with less than a hundredth of its share of the whole
 * gradient is measured against that hundredth. */
static double worst_tensor(const hone_verifier *v, const float *x, const float *y, const hone_param **which)
{
    const hone_adapter *a = v->run.adapter;
    double whole = 0, worst = 0;
    size_t i, k;

    for (k = 0; k < a->n; k++)
        whole += (double)y[k] * y[k];
    *which = a->param;
    for (i = 0; i < a->n_params; i++) {
        const hone_param *p = &a->param[i];
        double far = 0, size = 0;

        for (k = p->at; k < p->at + p->n; k++) {
            far += ((double)x[k] - y[k]) * ((double)x[k] - y[k]);
            size += (double)y[k] * y[k];
        }
        far = sqrt(far / fmax(size, 1e-4 * whole / (double)a->n_params + 1e-300));
        if (!(far <= worst)) {
            worst = far;
            *which = p;
        }
    }
    return worst;
}

static int tell_gradients(hone_verifier *v, const char *group, const float *x, const float *y, double limit,
                          const char *what, hone_error *err)
{
    const hone_param *p;
    char name[HONE_PARAM_NAME];
    const double far = worst_tensor(v, x, y, &p);

    hone_param_name(name, v->run.adapter, p);
    return hone_verify_tell(v, group, far, limit, err, "%s%s%.80s", what, far > 0 ? ": worst tensor " : "",
                            far > 0 ? name : "");
}

static double relative(double x, double y)
{
    return fabs(x - y) / fmax(fabs(y), 1e-30);
}

/* A part of a batch: the sequences [first, first + n). Its offsets are written to off. */
static hone_batch part_of(const hone_batch *b, int32_t first, int32_t n, int32_t *off)
{
    const int32_t at = b->off[first];
    hone_batch out = {.n_tokens = b->off[first + n] - at,
                      .ids = b->ids + at,
                      .target = b->target + at,
                      .n_seq = n,
                      .off = off,
                      .weight = b->weight ? b->weight + at : NULL};
    int32_t s;

    for (s = 0; s <= n; s++)
        off[s] = b->off[first + s] - at;
    return out;
}

/* ---- the checks ---------------------------------------------------------------------------------------------------- */

/* Losses of the base and of the adapter where a run starts. */
static int check_start(hone_verifier *v, hone_error *err)
{
    const hone_verify_way way = {0};
    const hone_adapter *a = v->run.adapter;
    const bool exact =
        hone_adapter_is_low_rank(a) && !a->dora && !a->token_patch[0].n && !a->token_patch[1].n;
    float *base = hone_calloc((size_t)v->all.n_tokens, sizeof *base);
    double worst = 0;
    hone_activations *act;
    hone_pass pass;
    int32_t i;
    int rc = base ? hone_verify_begin(v, &act, &way, false, err)
                  : hone_error_set(err, HONE_ENOMEM, "out of memory for losses");

    if (rc)
        goto out;
    rc = hone_model_eval(v->run.model, NULL, act, &v->all, &pass, err);
    for (i = 0; !rc && i < pass.n_trained; i++)
        base[i] = pass.loss[i];
    if (!rc)
        rc = hone_model_eval(v->run.model, v->run.adapter, act, &v->all, &pass, err);
    for (i = 0; !rc && i < pass.n_trained; i++)
        worst = fmax(worst, fabs((double)pass.loss[i] - base[i]) / fmax(base[i], 1));
    if (!rc)
        v->out->loss = pass.loss_sum / v->weight;
    hone_verify_end(v, act);
    if (!rc && v->config.lora.init_adapter)
        rc = hone_verify_tell(v, "start", worst, -1, err,
                              "lora.init_adapter, against the base: loss of a token");
    else if (!rc)
        rc = hone_verify_tell(v, "start", worst, exact ? 0 : PLAIN, err,
                              "what is trained, as it starts, against the base: loss of a token");
out:
    hone_free(base);
    return rc;
}

/* Leaves the start: B is random where it is zero. */
static void move(hone_verifier *v)
{
    hone_adapter *a = v->run.adapter;
    hone_rng rng = hone_rng_make((uint64_t)v->config.training.seed, 0xb);
    size_t i, k;

    for (i = 0; i < a->n_params; i++)
        for (k = 0; a->param[i].role == HONE_PARAM_B && k < a->param[i].n; k++) {
            float *value = &a->value[a->param[i].at + k];

            if (*value == 0)
                *value = B_SIZE * (float)(2 * hone_rng_uniform(&rng) - 1);
        }
    memcpy(v->point, a->value, a->n * sizeof *v->point);
}

/* The rows in `parts` micro-batches against all at once. */
static int check_parts(hone_verifier *v, int32_t parts, const char *group, const char *what, hone_error *err)
{
    const hone_verify_way way = {0};
    const size_t n = v->run.adapter->n;
    int32_t *off = hone_calloc((size_t)v->all.n_seq + 1, sizeof *off), i;
    double loss = 0;
    hone_activations *act;
    int rc = off ? hone_verify_begin(v, &act, &way, true, err)
                 : hone_error_set(err, HONE_ENOMEM, "out of memory for offsets");

    if (rc)
        goto out;
    memset(v->other, 0, n * sizeof *v->other);
    for (i = 0; !rc && i < parts; i++) {
        const int32_t first = v->all.n_seq * i / parts, end = v->all.n_seq * (i + 1) / parts;
        const hone_batch b = part_of(&v->all, first, end - first, off);

        rc = hone_verify_pass(v, act, &b, v->other, &loss, err);
    }
    hone_verify_end(v, act);
    if (!rc)
        rc = hone_verify_tell(v, group, relative(loss, v->loss), ROUNDING, err, "%s: loss", what);
    if (!rc)
        rc = tell_gradients(v, group, v->other, v->grad, ROUNDING, what, err);
out:
    hone_free(off);
    return rc;
}

/* Gradients of recomputed passes have the bits of kept ones. */
static int check_recomputation(hone_verifier *v, hone_error *err)
{
    const size_t n = v->run.adapter->n;
    float *kept = hone_big_alloc(n * sizeof *kept);
    double loss, first = 0;
    char what[40];
    int level, rc = 0;

    if (!kept)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for a gradient");
    for (level = 0; !rc && level < 3; level++) {
        const hone_verify_way way = {.recompute = level, .as_trained = true};

        rc = gradient(v, &way, &v->all, level ? v->other : kept, level ? &loss : &first, err);
        if (rc || !level)
            continue;
        snprintf(what, sizeof what, "level %d against level 0", level);
        rc = tell_gradients(v, "recomputation", v->other, kept, 0, what, err);
    }
    hone_big_free(kept, n * sizeof *kept);
    return rc;
}

/* The same kernels with another number of threads give the same bits. */
static int check_threads(hone_verifier *v, hone_error *err)
{
    const int mine = hone_device_threads(v->run.dev), others = mine == 1 ? 2 : 1;
    const hone_device_params params = {.isa = hone_device_isa(v->run.dev), .threads = others};
    hone_verify_way way = {0};
    char what[60];
    double loss;
    int rc = hone_device_open(&way.dev, &params, err);

    if (!rc)
        rc = gradient(v, &way, &v->all, v->other, &loss, err);
    hone_device_close(way.dev);
    snprintf(what, sizeof what, "%d against %d", others, mine);
    return rc ? rc : tell_gradients(v, "threads", v->other, v->grad, 0, what, err);
}

/* Values after two updates from the same gradients, on the device under test and on a plain one; and the norm that clips
 * them against a sum in f64. */
static int check_update(hone_verifier *v, hone_device *plain, hone_error *err)
{
    hone_adapter *a = v->run.adapter;
    hone_device *const dev[] = {v->run.dev, plain};
    float *value[] = {v->other, NULL};
    const size_t bytes = a->n * sizeof(float);
    double sum = 0;
    size_t k;
    int i, t, rc = 0;

    float *grad = hone_big_alloc(bytes);

    value[1] = hone_big_alloc(bytes);
    if (!value[1] || !grad)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for trained values");
    for (k = 0; k < a->n; k++)
        sum += (double)v->grad[k] * v->grad[k];
    if (!rc)
        rc = hone_verify_tell(v, "update", relative(hone_sum_squares(v->run.dev, v->grad, a->n), sum),
                              ROUNDING, err, "norm of the gradient against a plain sum");
    for (i = 0; !rc && i < 2; i++) {
        hone_optimizer *o;

        memcpy(a->value, v->point, bytes);
        hone_adapter_attach_gradients(a, grad);
        rc = hone_optimizer_new(&o, dev[i], a, &v->config, err);
        for (t = 1; !rc && t <= 2; t++) {
            for (k = 0; k < a->n; k++) /* the second differs, so that the moments' decay shows */
                grad[k] = v->grad[k] / (float)t;
            rc = hone_optimizer_step(o, t, v->config.training.learning_rate, 1, err);
        }
        hone_optimizer_free(o);
        for (k = 0; k < a->n; k++)
            value[i][k] = a->value[k] - v->point[k];
    }
    hone_adapter_attach_gradients(a, NULL);
    memcpy(a->value, v->point, bytes);
    if (!rc)
        rc = tell_gradients(v, "update", value[0], value[1], PLAIN, "two updates against plain code", err);
    hone_big_free(value[1], bytes);
    hone_big_free(grad, bytes);
    return rc;
}

/* The last `tokens` positions, for kernels that are slow: *off is allocated. */
static int tail_of(hone_batch *out, int32_t **off, const hone_batch *b, int32_t tokens, hone_error *err)
{
    const int32_t at = HONE_MAX(0, b->n_tokens - tokens);
    int32_t first = b->n_seq - 1, s;

    while (first > 0 && b->off[first] > at)
        first--;
    *off = hone_calloc((size_t)b->n_seq + 1, sizeof **off);
    if (!*off)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for offsets");
    *out = part_of(b, first, b->n_seq - first, *off);
    out->ids += at - b->off[first];
    out->target += at - b->off[first];
    out->weight += out->weight ? at - b->off[first] : 0;
    for (s = 1; s <= out->n_seq; s++)
        (*off)[s] -= at - b->off[first];
    out->n_tokens -= at - b->off[first];
    return 0;
}

/* Fast kernels against the plain C ones, which share no inner loop with them. */
static int check_kernels(hone_verifier *v, hone_error *err)
{
    const int32_t tokens = v->p->plain_tokens > 0 ? v->p->plain_tokens : 64;
    const hone_device_params params = {.isa = HONE_ISA_REF, .threads = hone_device_threads(v->run.dev)};
    const hone_verify_way fast = {.as_trained = true};
    hone_verify_way plain = {.as_trained = true};
    float *grad = hone_big_alloc(v->run.adapter->n * sizeof *grad);
    double loss[2];
    int32_t *off = NULL;
    char what[80];
    hone_batch b;
    int rc = grad ? hone_device_open(&plain.dev, &params, err)
                  : hone_error_set(err, HONE_ENOMEM, "out of memory for a gradient");

    if (!rc)
        rc = tail_of(&b, &off, &v->all, tokens, err);
    if (!rc)
        rc = gradient(v, &fast, &b, v->other, &loss[0], err);
    if (!rc)
        rc = gradient(v, &plain, &b, grad, &loss[1], err);
    if (rc)
        goto out;
    snprintf(what, sizeof what, "%s against plain C, %d tokens", hone_device_name(v->run.dev), b.n_tokens);
    rc = hone_verify_tell(v, "kernels", relative(loss[0], loss[1]), PLAIN / 10, err, "%s: loss", what);
    if (!rc)
        rc = tell_gradients(v, "kernels", v->other, grad, PLAIN, what, err);
    if (!rc)
        rc = check_update(v, plain.dev, err);
out:
    hone_free(off);
    hone_device_close(plain.dev);
    hone_big_free(grad, v->run.adapter->n * sizeof *grad);
    return rc;
}

/* What the rounding of bf16 activations does here: nothing that could be right or wrong. */
static int tell_bf16(hone_verifier *v, hone_error *err)
{
    const hone_verify_way way = {.bf16 = true};
    double loss, dot = 0, a = 0, b = 0;
    size_t k;
    int rc = gradient(v, &way, &v->all, v->other, &loss, err);

    if (rc)
        return rc;
    for (k = 0; k < v->run.adapter->n; k++) {
        dot += (double)v->other[k] * v->grad[k];
        a += (double)v->other[k] * v->other[k];
        b += (double)v->grad[k] * v->grad[k];
    }
    rc = hone_verify_tell(v, "bf16", relative(loss, v->loss), -1, err, "bf16 activations against f32: loss");
    return rc ? rc
              : hone_verify_tell(v, "bf16", 1 - dot / sqrt(a * b), -1, err,
                                 "bf16 activations against f32: gradients, 1 - cosine");
}

/* ---- the rows --------------------------------------------------------------------------------------------------------- */

/* The last tokens / rows positions of each of the first rows: answers stand at the end. */
static int take_rows(hone_verifier *v, hone_error *err)
{
    const int32_t rows = v->p->rows > 0 ? v->p->rows : 4, tokens = v->p->tokens > 0 ? v->p->tokens : 256;
    const int32_t most = HONE_MAX(tokens / rows, 2);
    const hone_dataset *data = v->run.data;
    const size_t n = HONE_MIN((size_t)rows, hone_dataset_size(data));
    hone_packer whole = {0};
    int32_t *ids = hone_calloc(n * (size_t)most, sizeof *ids), *off = hone_calloc(n + 1, sizeof *off),
            *target = hone_calloc(n * (size_t)most, sizeof *target), at = 0, longest = 1;
    float *weight = hone_calloc(n * (size_t)most, sizeof *weight);
    uint32_t i;
    int rc = 0;

    v->all = (hone_batch){.ids = ids, .target = target, .off = off, .weight = weight, .n_seq = (int32_t)n};
    for (i = 0; i < n; i++)
        longest = HONE_MAX(longest, (int32_t)hone_dataset_get(data, i).n);
    if (!ids || !off || !target || !weight)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for %zu rows", n);
    if (!rc)
        rc = hone_packer_init(&whole, longest, 1, err);
    for (i = 0; !rc && i < n; i++) {
        int32_t size, take, from, k;

        hone_dataset_pack(data, &i, 1, whole.ids, whole.target, whole.weight, whole.off);
        size = whole.off[1];
        take = HONE_MIN(size, most);
        from = size - take;
        for (k = 0; k < take; k++) {
            ids[at + k] = whole.ids[from + k];
            target[at + k] = whole.target[from + k];
            weight[at + k] = whole.target[from + k] == HONE_IGNORE ? 0 : whole.weight[from + k];
            v->weight += (double)weight[at + k];
            v->out->targets += target[at + k] != HONE_IGNORE;
        }
        at += take;
        off[i + 1] = at;
    }
    hone_packer_clear(&whole);
    v->all.n_tokens = v->out->tokens = at;
    v->out->rows = (int32_t)n;
    if (!rc && !v->out->targets)
        rc = hone_error_set(err, HONE_EINVAL,
                            "the last %d tokens of the first %zu rows hold nothing that is trained: more "
                            "tokens are needed",
                            most, n);
    return rc;
}

static int all_checks(hone_verifier *v, hone_error *err)
{
    const hone_verify_way way = {0};
    int rc = check_start(v, err);

    if (rc)
        return rc;
    move(v);
    if ((rc = gradient(v, &way, &v->all, v->grad, &v->loss, err)) || (rc = hone_verify_slopes(v, err)) ||
        (rc = check_parts(v, v->all.n_seq, "packing", "rows side by side against each alone", err)) ||
        (rc = check_parts(v, HONE_MIN(2, v->all.n_seq), "accumulation", "two micro-batches against one",
                          err)) ||
        (rc = check_recomputation(v, err)) || (rc = check_threads(v, err)) || (rc = check_kernels(v, err)))
        return rc;
    return tell_bf16(v, err);
}

int hone_verify_run(const hone_config *c, hone_device *dev, const hone_verify_params *p,
                    hone_verify_result *out, hone_error *err)
{
    hone_verifier v = {.p = p, .out = out, .config = *c};
    const hone_train_callbacks callbacks = {.note = p->note, .ud = p->ud};
    const int64_t rows = p->rows > 0 ? p->rows : 4;
    const double began = hone_now();
    size_t bytes = 0;
    int rc;

    memset(out, 0, sizeof *out);
    v.config.training.precision = HONE_PRECISION_F32;
    v.config.training.evaluation_strategy = HONE_STRATEGY_NO;
    v.config.data.eval_data_path = (hone_strings){0};
    v.config.data.val_size = 0;
    v.config.data.streaming = false;
    if (!v.config.data.max_samples || v.config.data.max_samples > rows)
        v.config.data.max_samples = rows;
    rc = hone_run_prepare(&v.run, &v.config, dev, &callbacks, err);
    if (rc)
        return rc;
    bytes = v.run.adapter->n * sizeof(float);
    v.point = hone_big_alloc(bytes);
    v.grad = hone_big_alloc(bytes);
    v.other = hone_big_alloc(bytes);
    if (!v.point || !v.grad || !v.other)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for gradients");
    if (!rc)
        rc = take_rows(&v, err);
    if (!rc)
        rc = all_checks(&v, err);
    out->seconds = hone_now() - began;
    hone_big_free(v.point, bytes);
    hone_big_free(v.grad, bytes);
    hone_big_free(v.other, bytes);
    hone_free((void *)(uintptr_t)v.all.ids);
    hone_free((void *)(uintptr_t)v.all.target);
    hone_free((void *)(uintptr_t)v.all.off);
    hone_free((void *)(uintptr_t)v.all.weight);
    hone_run_clear(&v.run);
    return rc;
}
