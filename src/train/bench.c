/* `hone bench step`: the speed of one training step, beside the machine's peak.
 *
 * One document of random ids, every position labelled; clipping and optimiser included. The peak of the
 * machine's multiply-add units is measured right before and right after every step, on the same threads, because a
 * virtual machine's speed changes from second to second: the share of the peak is taken step by step. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "hone/train.h"
#include "train/flops.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* One step on fresh random ids; returns its loss through *loss. */
static int one_step(hone_model *m, hone_adapter *a, hone_activations *act, hone_batch *b, int32_t *ids,
                    int32_t *target, hone_rng *rng, hone_adamw *adam, double *loss, hone_error *err)
{
    int32_t n = b->n_tokens, i;
    hone_pass pass;
    double norm;
    int rc;

    for (i = 0; i < n; i++)
        ids[i] = (int32_t)hone_rng_below(rng, (uint32_t)m->w->arch.vocab);
    for (i = 0; i < n; i++)
        target[i] = i + 1 < n ? ids[i + 1] : HONE_IGNORE;
    adam->t++;
    rc = hone_model_train(m, a, act, b, 1.0f / (float)(n - 1), 1, (uint32_t)adam->t, &pass, err);
    if (rc)
        return rc;
    *loss = pass.loss_sum / (n - 1);
    norm = sqrt(hone_sum_squares(m->dev, adam->g, adam->n));
    adam->clip = fmin(1.0, 1.0 / (norm + 1e-6));
    return hone_adamw_step(m->dev, adam, err);
}

int hone_bench_step(const hone_bench_params *p, hone_device *dev, hone_bench_result *out, hone_error *err)
{
    hone_adapter_params ap = {
        .r = p->r, .alpha = 2.0 * p->r, .dropout = p->dropout, .targets_are_list = true, .seed = p->seed};
    hone_activation_params sizes = {
        .tokens = p->tokens, .max_seq = 1, .recompute = p->recompute, .training = true};
    int32_t off[2] = {0, p->tokens}, *ids = NULL, *target = NULL;
    hone_batch b = {.n_tokens = p->tokens, .n_seq = 1, .off = off};
    hone_rng rng = hone_rng_make(p->seed, 1);
    hone_adamw adam = {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .lr = 2e-4, .weight_decay = 0.01};
    double *speed = NULL, *peak = NULL, *share = NULL, before, after, loss = 0;
    hone_model *m = NULL;
    hone_adapter *a = NULL;
    hone_activations *act = NULL;
    hone_workspace_spec ws;
    uint64_t program = hone_rss();
    size_t bytes = 0;
    int step, rc;

    memset(out, 0, sizeof *out);
    if (p->tokens < 2 || p->steps < 1 || (p->r < 1 && !p->full))
        return hone_error_set(err, HONE_EINVAL,
                              "bench step: tokens must be at least 2, steps and r at least 1");
    rc = p->shape ? hone_model_random(&m, dev, p->shape, &p->open, err)
                  : hone_model_open(&m, dev, p->model, &p->open, err);
    if (rc || (rc = p->full ? hone_adapter_tensors(&a, m, NULL, err) : hone_adapter_new(&a, m, &ap, err)))
        goto out;
    bytes = a->n * sizeof(float);
    hone_model_workspace_spec(&ws, m, a, &sizes);
    if ((rc = hone_workspace_reserve(dev, &ws, err)) || (rc = hone_activations_new(&act, m, a, &sizes, err)))
        goto out;
    adam.p = a->value;
    adam.n = a->n;
    adam.g = hone_big_alloc(bytes);
    adam.m = hone_big_alloc(bytes);
    adam.v = hone_big_alloc(bytes);
    ids = hone_calloc((size_t)p->tokens, sizeof *ids);
    target = hone_calloc((size_t)p->tokens, sizeof *target);
    speed = hone_calloc((size_t)p->steps * 3, sizeof *speed);
    if (!adam.g || !adam.m || !adam.v || !ids || !target || !speed) {
        rc = hone_error_set(err, HONE_ENOMEM, "bench step: out of memory");
        goto out;
    }
    peak = speed + p->steps;
    share = peak + p->steps;
    b.ids = ids;
    b.target = target;
    hone_adapter_attach_gradients(a, adam.g);
    out->gflop_per_token = hone_step_gflop(&m->w->arch, a, p->tokens, hone_pairs(off, 1)) / p->tokens;
    out->attention_gflop_per_token = hone_attention_gflop(&m->w->arch, hone_pairs(off, 1)) / p->tokens;
    out->planned_bytes = program + m->w->mapped_bytes + m->w->copied_bytes + m->w->quantised_bytes +
                         4 * bytes + hone_activations_size(m, a, &sizes) + hone_workspace_size(dev, &ws);

    if (!p->cold)
        rc = one_step(m, a, act, &b, ids, target, &rng, &adam, &out->loss_first, err);
    for (step = 0; !rc && step < p->steps; step++) {
        double began, seconds;

        before = hone_device_peak_gflops(dev, m->act == HONE_BF16, HONE_PEAK_SECONDS);
        began = hone_now();
        rc = one_step(m, a, act, &b, ids, target, &rng, &adam, &loss, err);
        seconds = hone_now() - began;
        if (p->cold && step == 0)
            out->loss_first = loss;
        after = hone_device_peak_gflops(dev, m->act == HONE_BF16, HONE_PEAK_SECONDS);
        speed[step] = p->tokens / seconds;
        peak[step] = (before + after) / 2;
        share[step] = speed[step] * out->gflop_per_token / peak[step];
        out->tokens_per_second_best = HONE_MAX(out->tokens_per_second_best, speed[step]);
    }
    if (rc)
        goto out;
    out->loss_last = loss;
    out->tokens_per_second = median(speed, p->steps);
    out->machine_peak_gflops = median(peak, p->steps);
    out->roofline_share = median(share, p->steps);
    out->peak_bytes = hone_rss_peak();
    out->threads = hone_device_threads(dev);
    snprintf(out->device, sizeof out->device, "%s", hone_device_name(dev));
out:
    hone_free(speed);
    hone_free(target);
    hone_free(ids);
    if (a)
        hone_adapter_attach_gradients(a, NULL);
    hone_big_free(adam.v, bytes);
    hone_big_free(adam.m, bytes);
    hone_big_free(adam.g, bytes);
    hone_activations_free(act);
    hone_adapter_close(a);
    hone_model_close(m);
    return rc;
}
