/* One optimiser step: see loop.h.
 *
 * Order of a step (transformers' Trainer): the weights of the trained tokens of all its micro-batches are summed (their
 * number when all weigh 1), then each micro-batch runs forward and backward with its losses divided once by that sum; the
 * norm of the whole gradient is taken, clipped inside the optimiser's pass, and the learning rate of this update is
 * logged. So accumulation gives the loss and gradient of one large batch. */
#include <math.h>
#include <string.h>

#include "model/activations.h"
#include "train/flops.h"
#include "train/loop.h"

/* Files and lines of the sequences of micro-batches [first, end) of the step that the feed holds. */
static void name_rows(char *out, size_t size, const hone_feed *f, int64_t first, int64_t end)
{
    const uint32_t *which;
    int64_t micro;
    size_t at = 0, n, i, all = 0, named = 0;

    out[0] = 0;
    for (micro = first; micro < end && (which = hone_feed_micro(f, micro, &n)) != NULL; micro++)
        for (i = 0; i < n; i++, all++) {
            hone_sequence q = hone_dataset_get(f->p.data, which[i]);

            if (at + 110 > size)
                continue;
            at += (size_t)snprintf(out + at, size - at, "%s%.60s:%llu", at ? ", " : "", q.file,
                                   (unsigned long long)q.line);
            named++;
        }
    if (named < all)
        snprintf(out + at, size - at, " and %zu more", all - named);
}

/* The trained tensor whose gradient is the largest for its share of the norm; of gradients that are no numbers, the first
 * in the order of the model. */
static void name_gradient(char out[HONE_PARAM_NAME], const hone_loop *l)
{
    const hone_adapter *a = l->r->adapter;
    double most = -1;
    size_t i, found = 0;

    for (i = 0; i < a->n_params; i++) {
        double sum = hone_sum_squares(l->r->dev, l->grad + a->param[i].at, a->param[i].n);

        if (!isfinite(sum)) {
            found = i;
            break;
        }
        if (sum > most) {
            most = sum;
            found = i;
        }
    }
    hone_param_name(out, a, &a->param[found]);
}

/* Where a loss that is no number comes from: a trained tensor that holds one, else the first place of the forward pass
 * whose output does. */
static void name_origin(char *out, size_t size, const hone_loop *l, int32_t tokens)
{
    const hone_adapter *a = l->r->adapter;
    char name[HONE_PARAM_NAME];
    size_t i;
    int layer;

    for (i = 0; i < a->n_params; i++)
        if (!isfinite(hone_sum_squares(l->r->dev, a->value + a->param[i].at, a->param[i].n))) {
            hone_param_name(name, a, &a->param[i]);
            snprintf(out, size, "the trained tensor %s holds such values", name);
            return;
        }
    layer = hone_activations_first_bad(l->act, l->r->model, tokens);
    if (layer < 0)
        snprintf(out, size, "it arises in the output head: every layer's output is finite");
    else if (layer == 0)
        snprintf(out, size, "the first such values are the embeddings of the rows");
    else
        snprintf(out, size, "the first such values come out of layer %d", layer - 1);
}

/* A loss or gradient that is no number: saves the state before the step, which is whole, and says where. micro: the
 * micro-batch of the loss; -1: the gradient of the whole step. */
static int not_finite(hone_loop *l, int64_t step, int64_t micro, int32_t tokens, hone_error *err)
{
    char rows[400], origin[240], name[HONE_PARAM_NAME], before[80] = "Nothing was trained before";

    if (step > 0)
        hone_loop_save(l, step, NULL);
    if (micro >= 0) {
        name_rows(rows, sizeof rows, &l->r->feed, micro, micro + 1);
        name_origin(origin, sizeof origin, l, tokens);
    } else {
        name_rows(rows, sizeof rows, &l->r->feed, 0, INT64_MAX);
        name_gradient(name, l);
        snprintf(origin, sizeof origin, "the first such values are in the gradient of %s", name);
    }
    if (step > 0)
        snprintf(before, sizeof before, "The state before this step is in checkpoint-%lld", (long long)step);
    return hone_error_set(err, HONE_ERANGE,
                          "step %lld: the %s is not a finite number (rows %s); %s. %s; lower "
                          "training.learning_rate or look at these rows",
                          (long long)step + 1, micro >= 0 ? "loss" : "gradient", rows, origin, before);
}

/* What training.loss_spike_action says of a step that stands out; *skip: its update is not applied. */
static int watch(hone_loop *l, int64_t step, double loss, double norm, bool *skip, hone_error *err)
{
    hone_run *r = l->r;
    const hone_spike_action action = r->c->training.loss_spike_action;
    double median = 0;
    const hone_spike spike = hone_guard_check(&l->guard, r->c, loss, norm, &median);
    char line[900], rows[400], name[HONE_PARAM_NAME];
    int rc = 0;

    if (spike) {
        name_rows(rows, sizeof rows, &r->feed, 0, INT64_MAX);
        name_gradient(name, l);
        snprintf(
            line, sizeof line,
            "step %lld: the %s %.4g is far above the median %.4g of the last steps (rows %s; the largest "
            "gradient is that of %s). %s: look at these rows, lower training.learning_rate or "
            "training.max_grad_norm",
            (long long)step + 1, spike == HONE_SPIKE_LOSS ? "loss" : "norm of the gradient",
            spike == HONE_SPIKE_LOSS ? loss : norm, median, rows, name,
            action == HONE_SPIKE_SKIP ? "The update is not applied" : "If it harms the run");
        *skip = action == HONE_SPIKE_SKIP;
        if (action != HONE_SPIKE_STOP) {
            hone_run_note(r, line);
        } else {
            rc = step > 0 ? hone_loop_save(l, step, err) : 0;
            if (!rc)
                rc = hone_error_set(err, HONE_ERANGE,
                                    "%s. training.loss_spike_action is stop; the state before this step is "
                                    "in checkpoint-%lld",
                                    line, (long long)step);
            return rc;
        }
    }
    hone_guard_add(&l->guard, loss, norm);
    l->guard.skipped += *skip;
    return rc;
}

/* Sums by where rows come from: new, replayed. */
typedef struct source_sums {
    double loss[2], weight[2];
} source_sums;

/* Adds a pass over the sequences which[0..n). */
static void add_sources(source_sums *s, const hone_replay *replay, const hone_batch *b, const hone_pass *pass,
                        const uint32_t *which, size_t n)
{
    int32_t i = 0;
    size_t k;

    for (k = 0; k < n; k++) { /* positions come in order, so sequences are runs of them */
        const int old = which[k] >= replay->first;

        for (; i < pass->n_trained && pass->position[i] < b->off[k + 1]; i++) {
            const double weight = pass->weight ? (double)pass->weight[i] : 1;

            s->loss[old] += weight * (double)pass->loss[i];
            s->weight[old] += weight;
        }
    }
}

static double mean_of(const source_sums *s, int source)
{
    return s->weight[source] > 0 ? s->loss[source] / s->weight[source] : NAN;
}

int hone_loop_step(hone_loop *l, int64_t step, hone_step *s, bool *stopped, hone_error *err)
{
    hone_run *r = l->r;
    const hone_config *c = r->c;
    int64_t targets = 0, micro;
    source_sums sources = {0};
    const uint32_t *which;
    size_t n;
    double began = hone_now(), loss = 0, weight = 0, gflop = 0, norm, clip = 1;
    int rc;

    memset(s, 0, sizeof *s);
    rc = hone_feed_load(&r->feed, l->at, err);
    if (rc) { /* with streaming, a row that is wrong shows only now */
        if (step > 0)
            hone_loop_save(l, step, NULL);
        return rc;
    }
    rc = hone_row_losses_reserve(&l->rows, hone_dataset_size(r->data), err);
    if (rc)
        return rc;
    for (micro = 0; (which = hone_feed_micro(&r->feed, micro, &n)) != NULL; micro++) {
        targets += hone_count_targets(r->data, which, n);
        weight += hone_dataset_weight(r->data, which, n);
    }
    for (micro = 0; (which = hone_feed_micro(&r->feed, micro, &n)) != NULL; micro++) {
        hone_batch b;
        hone_pass pass;

        hone_packer_fill(&l->packer, &b, r->data, which, n);
        rc = hone_model_train(r->model, r->adapter, l->act, &b, 1.0f / (float)weight,
                              (uint64_t)c->training.seed, (uint32_t)(step * r->feed.p.accumulation + micro),
                              &pass, err);
        if (rc)
            return rc;
        if (!isfinite(pass.loss_sum))
            return not_finite(l, step, micro, b.n_tokens, err);
        loss += pass.loss_sum;
        hone_row_losses_take(&l->rows, &b, &pass, which, n);
        if (r->replay.draw)
            add_sources(&sources, &r->replay, &b, &pass, which, n);
        gflop += hone_step_gflop(&r->model->w->arch, r->adapter, b.n_tokens, hone_pairs(b.off, b.n_seq));
        s->tokens += b.n_tokens;
        if (hone_run_stop_wanted(r) && micro + 1 < r->feed.p.accumulation) {
            *stopped = true;
            return 0;
        }
    }
    norm = sqrt(hone_sum_squares(r->dev, l->grad, r->adapter->n));
    if (!isfinite(norm))
        return not_finite(l, step, -1, 0, err);
    rc = watch(l, step, loss / weight, norm, &s->skipped, err);
    if (rc)
        return rc;
    if (c->training.max_grad_norm > 0)
        clip = fmin(1.0, c->training.max_grad_norm / (norm + 1e-6));
    s->learning_rate = c->training.learning_rate * hone_schedule_factor(c, step, r->warmup, r->steps);
    if (l->plateau.evaluations)
        s->learning_rate = l->plateau.rate;
    if (s->skipped)
        memset(l->grad, 0, r->adapter->n * sizeof *l->grad);
    else
        rc = hone_optimizer_step(l->optimizer, step + 1 - l->guard.skipped, s->learning_rate, clip, err);
    if (rc)
        return rc;
    l->out->skipped = l->guard.skipped;
    s->step = step + 1;
    s->total_steps = r->steps;
    l->at = r->feed.next;
    s->epoch = hone_feed_epochs(&r->feed, l->at);
    s->loss = loss / weight;
    s->weight = weight;
    s->new_loss = mean_of(&sources, 0);
    s->replay_loss = mean_of(&sources, 1);
    s->grad_norm = norm;
    s->trained_tokens = targets;
    s->tokens_per_second = (double)s->tokens / (hone_now() - began);
    s->seconds = hone_now() - l->started;
    s->remaining_seconds = s->seconds / (double)s->step * (double)(r->steps - s->step);
    s->rss_bytes = hone_rss();
    s->peak_share = gflop / (hone_now() - began) / l->peak_gflops;
    return 0;
}
