/* One optimiser step: see loop.h.
 *
 * Order of a step (transformers' Trainer): the weights of the trained tokens of all its micro-batches are summed (their
 * number when all weigh 1), then each micro-batch runs forward and backward with its losses divided once by that sum; the
 * norm of the whole gradient is taken, clipped inside the optimiser's pass, and the learning rate of this update is
 * logged. So accumulation gives the loss and gradient of one large batch. */
#include <math.h>
#include <string.h>

#include "train/flops.h"
#include "train/loop.h"

/* A loss or gradient that is no number: saves the adapter of the step before, which is whole, and says where. */
static int not_finite(hone_loop *l, int64_t step, const char *what, hone_error *err)
{
    const hone_feed *f = &l->r->feed; /* holds the step */
    char where[400] = "";
    const uint32_t *which;
    int64_t micro;
    size_t at = 0, n, i;

    if (step > 0)
        hone_loop_save(l, step, NULL);
    for (micro = 0; (which = hone_feed_micro(f, micro, &n)) != NULL; micro++)
        for (i = 0; i < n && at + 80 < sizeof where; i++) {
            hone_sequence q = hone_dataset_get(f->p.data, which[i]);

            at += (size_t)snprintf(where + at, sizeof where - at, "%s%.60s:%llu", at ? ", " : "", q.file,
                                   (unsigned long long)q.line);
        }
    return hone_error_set(err, HONE_ERANGE,
                          "step %lld: the %s is not a finite number (rows %s). The adapter before this "
                          "step is in checkpoint-%lld; lower training.learning_rate or look at these rows",
                          (long long)step + 1, what, where, (long long)step);
}

int hone_loop_step(hone_loop *l, int64_t step, hone_step *s, bool *stopped, hone_error *err)
{
    hone_run *r = l->r;
    const hone_config *c = r->c;
    int64_t targets = 0, micro;
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
        loss += pass.loss_sum;
        hone_row_losses_take(&l->rows, &b, &pass, which, n);
        gflop += hone_step_gflop(&r->model->w->arch, r->adapter, b.n_tokens, hone_pairs(b.off, b.n_seq));
        s->tokens += b.n_tokens;
        if (hone_run_stop_wanted(r) && micro + 1 < r->feed.p.accumulation) {
            *stopped = true;
            return 0;
        }
    }
    norm = sqrt(hone_sum_squares(r->dev, l->grad, r->adapter->n));
    if (!isfinite(loss))
        return not_finite(l, step, "loss", err);
    if (!isfinite(norm))
        return not_finite(l, step, "gradient", err);
    if (c->training.max_grad_norm > 0)
        clip = fmin(1.0, c->training.max_grad_norm / (norm + 1e-6));
    s->learning_rate = c->training.learning_rate * hone_schedule_factor(c, step, r->warmup, r->steps);
    if (l->plateau.evaluations)
        s->learning_rate *= l->plateau.factor;
    rc = hone_optimizer_step(l->optimizer, step + 1, s->learning_rate, clip, err);
    if (rc)
        return rc;
    s->step = step + 1;
    s->total_steps = r->steps;
    l->at = r->feed.next;
    s->epoch = hone_feed_epochs(&r->feed, l->at);
    s->loss = loss / weight;
    s->weight = weight;
    s->grad_norm = norm;
    s->trained_tokens = targets;
    s->tokens_per_second = (double)s->tokens / (hone_now() - began);
    s->seconds = hone_now() - l->started;
    s->remaining_seconds = s->seconds / (double)s->step * (double)(r->steps - s->step);
    s->rss_bytes = hone_rss();
    s->peak_share = gflop / (hone_now() - began) / l->peak_gflops;
    return 0;
}
