/* Training an adapter or the whole of a model, from configuration to files: the loop over the steps, with what comes
 * between them. Preparation is prepare.c, a step step.c, files and going on saved.c.
 *
 * A run that goes on from a checkpoint has the bits of one that never stopped, since every random number follows from step
 * and seed. */
#include "train/run.h"

#include <math.h>
#include <string.h>

#include "train/evaluate.h"
#include "train/loop.h"
#include "train/samples.h"

/* Evaluates the adapter as it is; a better one replaces the root's. The figure before the first step counts for nothing. */
static int evaluate(hone_loop *l, int64_t step, hone_error *err)
{
    hone_run *r = l->r;
    hone_task_sums tasks;
    hone_eval_result e;
    bool best = false;
    int rc;

    hone_task_sums_begin(&tasks, &r->held_out);
    hone_adapter_attach_gradients(r->adapter, NULL);
    rc = hone_evaluate(r->model, r->adapter, l->act, &l->packer, r->eval_data, r->eval, r->n_eval,
                       hone_task_sums_row, &tasks, r->cb.stop, r->cb.ud, &e, err);
    hone_task_sums_end(&tasks);
    if (!rc)
        rc = hone_samples_answer(r, step, &l->metrics, &l->workspace, err);
    hone_adapter_attach_gradients(r->adapter, l->grad);
    if (rc)
        return rc;
    if (step > 0) {
        best = hone_best_update(&l->best, r->c, step, &e);
        if (best && l->keep_best)
            rc = hone_loop_save_result(l, r->c->training.output_dir, err);
        if (best || !l->keep_best || l->best.step < 0)
            l->kept = e;
        hone_plateau_step(&l->plateau, r->c, e.loss);
        l->out->has_eval = true;
    }
    if (!rc)
        rc = hone_metrics_eval(&l->metrics, step, &e, tasks.result, r->held_out.n_tasks, err);
    if (!rc && r->cb.tasks && r->held_out.n_tasks)
        r->cb.tasks(r->cb.ud, step, tasks.result, r->held_out.n_tasks);
    if (!rc && r->cb.eval)
        r->cb.eval(r->cb.ud, step, &e, best);
    return rc;
}

/* An evaluation between steps. A stop during it is a stop, not a failure; then it is due when the run goes on. */
static int evaluate_due(hone_loop *l, int64_t step, hone_error *err)
{
    int rc = evaluate(l, step, err);

    l->eval_due = rc == HONE_ECANCELLED;
    if (!l->eval_due)
        return rc;
    l->out->stopped = true;
    if (err)
        err->code = 0;
    return 0;
}

static void tell_begin(hone_loop *l)
{
    hone_train_begin b;

    hone_run_estimate(l->r, l->resumed, &b);
    l->peak_gflops = b.peak_gflops;
    l->estimated_seconds = b.seconds;
    if (l->r->cb.begin)
        l->r->cb.begin(l->r->cb.ud, &b);
}

/* Whether an evaluation follows the step that was just made. */
static bool evaluation_follows(const hone_loop *l, const hone_step *s)
{
    const hone_run *r = l->r;
    const hone_strategy strategy = r->c->training.evaluation_strategy;

    return r->eval_every && (s->step == r->steps || hone_run_due(strategy, r->eval_every, s->step, l->at)) &&
           r->c->training.eval_delay <= (strategy == HONE_STRATEGY_EPOCH ? s->epoch : (double)s->step);
}

static int all_steps(hone_loop *l, hone_error *err)
{
    hone_run *r = l->r;
    int64_t log_every = hone_run_interval(HONE_STRATEGY_STEPS, r->c->training.logging_steps, r->steps, 0),
            step;
    int rc = 0;

    l->out->setup_seconds = hone_now() - l->called;
    tell_begin(l);
    l->started = hone_now() - l->before;
    if (l->eval_due || (l->resumed == 0 && r->eval_every && r->c->training.eval_on_start))
        rc = evaluate_due(l, l->resumed, err);
    l->out->stopped_early = hone_best_stops(&l->best, r->c);
    for (step = l->resumed; !rc && step < r->steps && !l->out->stopped && !l->out->stopped_early; step++) {
        int64_t done = step + 1;
        bool last = done == r->steps, log;
        hone_step s;

        rc = hone_loop_step(l, step, &s, &l->out->stopped, err);
        if (rc || l->out->stopped)
            break;
        l->out->steps = done;
        l->out->tokens += s.tokens;
        l->out->trained_tokens += s.trained_tokens;
        l->loss += s.loss * s.weight;
        l->weight += s.weight;
        log = last || (done == 1 && r->c->training.logging_first_step) || done % log_every == 0;
        if ((rc = hone_metrics_step(&l->metrics, &s, log, err)))
            break;
        if (r->cb.step)
            r->cb.step(r->cb.ud, &s, log);
        if (hone_run_stop_wanted(r))
            l->out->stopped = true;
        l->eval_due = evaluation_follows(l, &s);
        if (l->eval_due && !l->out->stopped)
            rc = evaluate_due(l, done, err);
        l->out->stopped_early = hone_best_stops(&l->best, r->c);
        last |= l->out->stopped_early;
        if (!rc && r->save_every &&
            (last || l->out->stopped ||
             hone_run_due(r->c->training.save_strategy, r->save_every, done, l->at)))
            rc = hone_loop_save(l, done, err);
        if (rc)
            break;
    }
    l->out->seconds = hone_now() - l->started;
    l->out->train_loss = l->weight > 0 ? l->loss / l->weight : 0;
    return rc;
}

static int write_rows(const hone_loop *l, hone_error *err)
{
    const hone_run *r = l->r;
    const size_t first_old = r->replay.draw ? r->replay.first : SIZE_MAX;
    char *path = hone_path_join(r->c->training.output_dir, "rows.jsonl");
    int rc = path ? hone_row_losses_write(&l->rows, r->data, first_old, path, err)
                  : hone_error_set(err, HONE_ENOMEM, "out of memory");

    hone_free(path);
    return rc;
}

static int write_ledger(const hone_run *r, hone_error *err)
{
    char *path = hone_path_join(r->c->training.output_dir, "ledger.jsonl");
    int rc = path ? hone_dataset_write_ledger(r->data, path, err)
                  : hone_error_set(err, HONE_ENOMEM, "out of memory");

    hone_free(path);
    return rc;
}

/* With streaming: the rows that no step needed are prepared to their end, so that the cache is whole and every row has its
 * fate. */
static int finish_data(const hone_run *r, hone_error *err)
{
    int rc = hone_dataset_finish(r->data, err);

    if (rc)
        return rc;
    if (r->cb.data)
        r->cb.data(r->cb.ud, "train", hone_dataset_get_report(r->data));
    return write_ledger(r, err);
}

/* Leaves the adapter that the configuration wants in the root. */
static int finish(hone_loop *l, hone_error *err)
{
    hone_run *r = l->r;
    int rc = 0;

    if (l->out->stopped && l->out->steps > 0)
        rc = hone_loop_save(l, l->out->steps, err);
    l->out->eval = l->kept;
    l->out->best_step = l->keep_best && l->best.step >= 0 ? l->best.step : l->out->steps;
    if (!rc && !(l->keep_best && l->best.step >= 0)) /* else the best one is in the root already */
        rc = hone_loop_save_result(l, r->c->training.output_dir, err);
    if (!rc)
        rc = write_rows(l, err);
    if (!rc && !r->train && !l->out->stopped)
        rc = finish_data(r, err);
    return rc;
}

static int open_metrics(hone_loop *l, hone_error *err)
{
    hone_run *r = l->r;
    const hone_metrics_params p = {.c = r->c,
                                   .resumed = l->resumed,
                                   .eval_due = l->eval_due,
                                   .task = (const char *const *)r->held_out.name,
                                   .n_tasks = r->held_out.n_tasks,
                                   .samples = hone_samples_wanted(r),
                                   .replay = r->replay.draw > 0};

    return hone_metrics_open(&l->metrics, &p, err);
}

static int start(hone_loop *l, int recompute, hone_error *err)
{
    hone_run *r = l->r;
    size_t n = r->adapter->n;
    hone_activation_params ap = {.tokens = r->tokens,
                                 .targets = r->targets,
                                 .max_seq = r->max_seq,
                                 .recompute = recompute,
                                 .training = true};
    char *path;
    int rc;

    hone_model_workspace_spec(&l->workspace, r->model, r->adapter, &ap);
    if ((rc = hone_workspace_reserve(r->dev, &l->workspace, err)) ||
        (rc = hone_activations_new(&l->act, r->model, r->adapter, &ap, err)) ||
        (rc = hone_packer_init(&l->packer, r->tokens, r->max_seq, err)))
        return rc;
    l->packer.max_targets = r->targets;
    l->keep_best = r->eval_every && r->c->training.load_best_model_at_end;
    l->grad = hone_big_alloc(n * sizeof(float));
    if (!l->grad)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the gradients of %zu values", n);
    if ((rc = hone_optimizer_new(&l->optimizer, r->dev, r->adapter, r->c, err)))
        return rc;
    hone_adapter_attach_gradients(r->adapter, l->grad);

    if ((rc = hone_mkdirs(r->c->training.output_dir, err)))
        return rc;
    path = hone_path_join(r->c->training.output_dir, "config.yaml");
    rc = path ? hone_config_save(r->c, path, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");
    hone_free(path);
    if (rc)
        return rc;
    if (r->train && (rc = write_ledger(r, err)))
        return rc;
    hone_checkpoint_sweep(r->c->training.output_dir);
    rc = hone_loop_resume(l, err);
    return rc ? rc : open_metrics(l, err);
}

int hone_run_whole(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                   hone_train_result *out, hone_error *err)
{
    hone_run r;
    hone_loop l = {.r = &r, .out = out, .best = HONE_BEST_NONE, .called = hone_now()};
    hone_plan plan[3];
    size_t bytes;
    int chosen, rc;

    memset(out, 0, sizeof *out);
    rc = hone_run_prepare(&r, c, dev, cb, err);
    if (rc)
        return rc;
    bytes = r.adapter->n * sizeof(float);
    rc = hone_run_choose(&r, plan, &chosen, err);
    if (rc)
        goto out;
    if (r.cb.plan)
        r.cb.plan(r.cb.ud, &plan[chosen]);
    out->planned_bytes = plan[chosen].total;
    rc = start(&l, chosen, err);
    if (!rc)
        rc = all_steps(&l, err);
    if (!rc)
        rc = finish(&l, err);
    if (hone_metrics_close(&l.metrics, rc ? NULL : err) && !rc)
        rc = HONE_EIO;
    out->peak_bytes = hone_rss_peak();
    if (!rc)
        rc = hone_loop_write_summary(&l, &plan[chosen], err);
out:
    hone_adapter_attach_gradients(r.adapter, NULL);
    hone_optimizer_free(l.optimizer);
    hone_big_free(l.grad, bytes);
    hone_packer_clear(&l.packer);
    hone_activations_free(l.act);
    hone_free(l.saved);
    hone_row_losses_clear(&l.rows);
    hone_run_clear(&r);
    return rc;
}
