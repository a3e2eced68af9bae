/* Gradients against finite differences.
 *
 * Along a direction d the loss L has the slope g d, g the gradient under test. Differences at two steps,
 * D(h) = (L(x + h d) - L(x - h d)) / 2h, give (4 D(h) - D(2h)) / 3, from which the h^2 term of the error has gone. What is
 * left is the rounding of L: a mean of f32 losses in f64, uncertain by about e = 1e-7 L, so that the slope is uncertain by
 * e / h. The step therefore is chosen by what it changes: h = CHANGE L / (g d), which holds the relative error near
 * 1e-7 / CHANGE = 1e-4 for every tensor, whatever the size of its gradient, while CHANGE = 1e-3 stays far inside the region
 * where the loss is smooth. A step is at most REACH of the values it moves; where the slope is so small that this
 * does not change the loss by CHANGE L, the difference is told as a share of that change instead: what no difference can
 * resolve has no weight.
 *
 * Directions: every kind of tensor (the A of all q_proj, the norms before attention, ...) in all layers at once, each tensor
 * with the same share; all tensors of the first, the middle and the last layer; everything. Each goes along the gradient, so
 * that the slope is large, and by half as much along a random vector, which sees an error that is orthogonal to it. */
#include <math.h>
#include <string.h>

#include "train/verify.h"

#define CHANGE 1e-3
#define REACH 0.05
#define LIMIT 5e-3

/* Which tensors a direction moves. */
typedef struct choice {
    bool by_kind;
    hone_param_role role;
    int module; /* by_kind */
    int layer;  /* else; -1: all tensors */
} choice;

static bool chosen(const choice *c, const hone_param *p)
{
    if (c->by_kind)
        return p->role == c->role && p->module == c->module;
    return c->layer < 0 || (p->layer == c->layer && p->module < HONE_N_LAYER_MODULES);
}

static double norm(const float *x, size_t n)
{
    double sum = 0;
    size_t i;

    for (i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* Fills direction[n] and tells the slope along it, and the norm of the values and of the direction. False when no tensor is
 * chosen. */
static bool make_direction(float *direction, const hone_verifier *v, const choice *c, double *slope,
                           double *reach)
{
    const hone_adapter *a = v->run.adapter;
    hone_rng rng = hone_rng_make(v->config.training.seed ^ 0x510be, (uint64_t)c->module);
    double values = 0, length = 0;
    size_t i, k;
    bool any = false;

    memset(direction, 0, a->n * sizeof *direction);
    *slope = 0;
    for (i = 0; i < a->n_params; i++) {
        const hone_param *p = &a->param[i];
        const float *g = v->grad + p->at;
        const double size = norm(g, p->n), share = 1 / sqrt((double)p->n);

        if (!chosen(c, p))
            continue;
        any = true;
        for (k = 0; k < p->n; k++) {
            const double random = (2 * hone_rng_uniform(&rng) - 1) * 0.87 * share; /* norm 1/2 */
            const double d = (size > 0 ? g[k] / size : 0) + random;

            direction[p->at + k] = (float)d;
            *slope += d * (double)g[k];
            length += d * d;
        }
        values += pow(norm(v->point + p->at, p->n), 2);
    }
    *reach = any ? REACH * sqrt(values / length) : 0;
    return any;
}

static int loss_at(hone_verifier *v, hone_activations *act, const float *direction, double h, double *loss,
                   hone_error *err)
{
    float *value = v->run.adapter->value;
    const size_t n = v->run.adapter->n;
    size_t i;

    for (i = 0; i < n; i++)
        value[i] = (float)(v->point[i] + h * (double)direction[i]);
    *loss = 0;
    return hone_verify_pass(v, act, &v->all, v->training ? v->other : NULL, loss, err);
}

/* What the values really moved by: x + h d is rounded to f32, which matters where a step is small beside x. */
static double moved_slope(const hone_verifier *v, const float *direction, double h)
{
    double sum = 0;
    size_t i;

    for (i = 0; i < v->run.adapter->n; i++) {
        const double x = v->point[i], d = h * (double)direction[i];

        if (d != 0)
            sum += ((double)(float)(x + d) - (double)(float)(x - d)) * (double)v->grad[i];
    }
    return sum / (2 * h);
}

static int one_direction(hone_verifier *v, hone_activations *act, float *direction, const choice *c,
                         const char *name, hone_error *err)
{
    double slope, reach, h, side[2], difference[2], want[2], found, expected;
    int i, s, rc = 0;

    if (!make_direction(direction, v, c, &slope, &reach))
        return 0;
    h = slope > 0 ? fmin(CHANGE * v->loss / slope, reach) : reach;
    if (!(h > 0)) /* tensors of zeros, and no gradient: nothing to resolve */
        return 0;
    for (i = 0; i < 2; i++) {
        const double step = h * (i + 1);

        for (s = 0; !rc && s < 2; s++)
            rc = loss_at(v, act, direction, s ? -step : step, &side[s], err);
        if (rc)
            return rc;
        difference[i] = (side[0] - side[1]) / (2 * step);
        want[i] = moved_slope(v, direction, step);
    }
    found = (4 * difference[0] - difference[1]) / 3;
    expected = (4 * want[0] - want[1]) / 3;
    memcpy(v->run.adapter->value, v->point, v->run.adapter->n * sizeof *v->point);
    return hone_verify_tell(v, "gradients", fabs(found - expected) / fmax(fabs(slope), CHANGE * v->loss / h),
                            LIMIT, err, "%s: slope %.4g", name, slope);
}

/* The name of a kind of tensor, without what is different from layer to layer. */
static void kind_name(char out[96], const hone_adapter *a, const hone_param *p)
{
    char full[HONE_PARAM_NAME];
    const char *at;

    hone_param_name(full, a, p);
    at = strstr(full, "layers.");
    if (at)
        at = strchr(at + strlen("layers."), '.') + 1;
    snprintf(out, 96, "%.80s%s", at ? at : full, at ? ", all layers" : "");
}

static int every_kind(hone_verifier *v, hone_activations *act, float *direction, hone_error *err)
{
    const hone_adapter *a = v->run.adapter;
    char name[96];
    size_t i, k;
    int rc = 0;

    for (i = 0; !rc && i < a->n_params; i++) {
        const hone_param *p = &a->param[i];
        const choice c = {.by_kind = true, .role = p->role, .module = p->module};

        for (k = 0; k < i && !chosen(&c, &a->param[k]); k++)
            ;
        if (k < i)
            continue;
        kind_name(name, a, p);
        rc = one_direction(v, act, direction, &c, name, err);
    }
    return rc;
}

static int some_layers(hone_verifier *v, hone_activations *act, float *direction, hone_error *err)
{
    const int last = v->run.model->w->arch.n_layer - 1, layer[] = {0, last / 2, last};
    char name[96];
    int i, rc = 0;

    for (i = 0; !rc && i < 3; i++) {
        const choice c = {.layer = layer[i]};

        if (i && layer[i] == layer[i - 1])
            continue;
        snprintf(name, sizeof name, "all tensors of layer %d", layer[i]);
        rc = one_direction(v, act, direction, &c, name, err);
    }
    return rc;
}

/* The gradient of what is really trained: with dropout, noise and objective, whose passes are training passes. */
static int as_trained(hone_verifier *v, float *direction, hone_error *err)
{
    const hone_verify_way way = {.as_trained = true};
    const choice everything = {.layer = -1};
    float *plain = v->grad;
    const double plain_loss = v->loss;
    hone_activations *act;
    int rc = hone_verify_begin(v, &act, &way, true, err);

    if (rc)
        return rc;
    v->grad = hone_big_alloc(v->run.adapter->n * sizeof(float));
    if (!v->grad)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for a gradient");
    v->loss = 0;
    if (!rc)
        rc = hone_verify_pass(v, act, &v->all, v->grad, &v->loss, err);
    if (!rc)
        rc = one_direction(v, act, direction, &everything,
                           "all tensors, with the run's dropout, noise and objective", err);
    hone_verify_end(v, act);
    hone_big_free(v->grad, v->run.adapter->n * sizeof(float));
    v->grad = plain;
    v->loss = plain_loss;
    return rc;
}

static bool trains_as_evaluated(const hone_adapter *a)
{
    return a->dropout == 0 && a->neftune == 0 && a->objective.smoothing == 0 && a->objective.z == 0;
}

int hone_verify_slopes(hone_verifier *v, hone_error *err)
{
    const hone_verify_way way = {0};
    const choice everything = {.layer = -1};
    hone_adapter *a = v->run.adapter;
    float *direction = hone_big_alloc(a->n * sizeof *direction);
    hone_activations *act;
    int rc;

    if (!direction)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for a direction of %zu values", a->n);
    rc = hone_verify_begin(v, &act, &way, false, err);
    if (!rc) {
        rc = every_kind(v, act, direction, err);
        if (!rc)
            rc = some_layers(v, act, direction, err);
        if (!rc)
            rc = one_direction(v, act, direction, &everything, "all tensors", err);
        hone_verify_end(v, act);
    }
    if (!rc && !trains_as_evaluated(a))
        rc = as_trained(v, direction, err);
    hone_big_free(direction, a->n * sizeof *direction);
    return rc;
}
