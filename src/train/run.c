/* Training an adapter or the whole of a model, from configuration to files.
 *
 * Order of a step (transformers' Trainer): the weights of the trained tokens of all its micro-batches are summed (their
 * number when all weigh 1), then each micro-batch runs forward and backward with its losses divided once by that sum; the
 * norm of the whole gradient is taken, clipped inside the optimiser's pass, and the learning rate of this update is
 * logged. So accumulation gives the loss and gradient of one large batch.
 *
 * What lies in output_dir at any moment: adapter files are replaced whole; the root holds the best adapter so far when
 * there are evaluation rows (else the newest), checkpoint-N the one after step N with all that the run needs to go on from
 * there: its steps have the bits of a run that never stopped, since every random number follows from step and seed. */
#include "train/run.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/metrics.h"
#include "train/optimizer.h"
#include "train/schedule.h"

static void note(const hone_run *r, const char *line)
{
    if (r->cb.note && line)
        r->cb.note(r->cb.ud, line);
}

/* ---- preparation --------------------------------------------------------------------------------------------- */

static int all_sequences(uint32_t **out, size_t *n, const hone_dataset *data, hone_error *err)
{
    size_t i;

    *n = hone_dataset_size(data);
    *out = hone_calloc(*n, sizeof **out);
    if (!*out)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for %zu rows", *n);
    for (i = 0; i < *n; i++)
        (*out)[i] = (uint32_t)i;
    return 0;
}

static int open_data(hone_run *r, hone_error *err)
{
    const hone_config *c = r->c;
    hone_dataset_options options;
    char *cache_dir;
    int rc = hone_dataset_options_from(&options, &cache_dir, c, err);

    options.note = r->cb.note;
    options.ud = r->cb.ud;
    if (!rc)
        rc = hone_dataset_open(&r->data, (const char *const *)c->data.train_data_path.item,
                               c->data.train_data_path.n, r->chat, &options, err);
    if (!rc && r->cb.data && !options.streaming)
        r->cb.data(r->cb.ud, "train", hone_dataset_get_report(r->data));
    if (!rc && !c->data.eval_data_path.n && !options.streaming) {
        r->eval_data = r->data;
        rc = hone_dataset_split(r->data, c->data.val_size, (uint64_t)c->training.seed, &r->train, &r->n_train,
                                &r->eval, &r->n_eval, err);
    } else if (!rc && !options.streaming) {
        rc = all_sequences(&r->train, &r->n_train, r->data, err);
    }
    if (!rc && c->data.eval_data_path.n) {
        options.max_samples = 0;
        options.streaming = false;
        rc = hone_dataset_open(&r->eval_data, (const char *const *)c->data.eval_data_path.item,
                               c->data.eval_data_path.n, r->chat, &options, err);
        if (!rc && r->cb.data)
            r->cb.data(r->cb.ud, "eval", hone_dataset_get_report(r->eval_data));
        if (!rc)
            rc = all_sequences(&r->eval, &r->n_eval, r->eval_data, err);
    }
    hone_free(cache_dir);
    return rc;
}

static int make_adapter(hone_run *r, hone_error *err)
{
    const hone_config *c = r->c;
    hone_adapter_params p = {.r = c->lora.r,
                             .alpha = c->lora.lora_alpha,
                             .dropout = c->lora.lora_dropout,
                             .targets = &c->lora.target_modules,
                             .targets_are_list = c->lora.target_is_list,
                             .rslora = c->lora.use_rslora,
                             .dora = c->lora.use_dora,
                             .bias = c->lora.bias,
                             .rank_pattern = &c->lora.rank_pattern,
                             .alpha_pattern = &c->lora.alpha_pattern,
                             .modules_to_save = &c->lora.modules_to_save,
                             .lr_ratio = c->lora.loraplus_lr_ratio,
                             .seed = (uint64_t)c->training.seed};
    const hone_tensors_params part = {.layers = c->training.freeze_trainable_layers,
                                      .modules = &c->training.freeze_trainable_modules,
                                      .extra = &c->training.freeze_extra_modules,
                                      .pattern = c->training.freeze_trainable_pattern};
    bool tokenizer;
    int rc;

    if (c->training.finetuning_type != HONE_FINETUNING_LORA) {
        if ((rc = hone_model_save_check(r->model, &tokenizer, err)))
            return rc;
        if (!tokenizer)
            note(r,
                 "the base is a GGUF file: the result will have no tokenizer files; put tokenizer.json and "
                 "tokenizer_config.json of this model beside it");
        return hone_adapter_tensors(
            &r->adapter, r->model, c->training.finetuning_type == HONE_FINETUNING_FREEZE ? &part : NULL, err);
    }
    if (!c->lora.init_adapter)
        return hone_adapter_new(&r->adapter, r->model, &p, err);
    rc = hone_adapter_open(&r->adapter, r->model, c->lora.init_adapter, err);
    if (rc)
        return rc;
    r->adapter->dropout = c->lora.lora_dropout;
    hone_adapter_set_lr_ratio(r->adapter, c->lora.loraplus_lr_ratio);
    note(r, hone_adapter_mismatch(r->adapter, hone_chat_hash(r->chat), hone_tokenizer_hash(r->tok)));
    if (r->adapter->r != c->lora.r || r->adapter->alpha != c->lora.lora_alpha) {
        char line[200];

        snprintf(line, sizeof line,
                 "lora.init_adapter has r %d and alpha %g: these are kept, lora.r and lora.lora_alpha "
                 "are not used",
                 r->adapter->r, r->adapter->alpha);
        note(r, line);
    }
    return 0;
}

static int open_adapter(hone_run *r, hone_error *err)
{
    int rc = make_adapter(r, err);

    if (rc)
        return rc;
    r->adapter->neftune = r->c->training.neftune_noise_alpha;
    r->adapter->objective = (hone_objective){.smoothing = (float)r->c->training.label_smoothing_factor,
                                             .z = (float)r->c->training.z_loss,
                                             .dft = r->c->training.loss_type == HONE_LOSS_DFT};
    return 0;
}

/* An interval given in steps, or below 1 as a share of all steps. */
static int64_t interval(hone_strategy strategy, double every, int64_t steps, int64_t per_epoch)
{
    if (strategy == HONE_STRATEGY_NO)
        return 0;
    if (strategy == HONE_STRATEGY_EPOCH)
        return per_epoch;
    return every < 1 ? (int64_t)fmax(1, ceil(every * (double)steps)) : (int64_t)every;
}

static int count_steps(hone_run *r, hone_error *err)
{
    const hone_config *c = r->c;
    const bool bfd = c->training.packing && c->training.packing_strategy == HONE_PACKING_BFD;
    hone_feed_params p = {.data = r->data,
                          .which = r->train,
                          .n = r->n_train,
                          .batch_rows = c->training.per_device_train_batch_size,
                          .accumulation = c->training.gradient_accumulation_steps,
                          .pack = bfd ? (size_t)c->model.max_length : 0,
                          .shuffle = c->training.shuffle,
                          .seed = (uint64_t)c->training.seed};
    int64_t units = 0, per_epoch, positions, sequences;
    size_t i;
    int rc = hone_feed_init(&r->feed, &p, err);

    if (!rc && r->train)
        rc = hone_feed_count_units(&r->feed, &units, err);
    if (rc)
        return rc;
    per_epoch = hone_feed_steps(&r->feed, units);
    r->steps = c->training.max_steps > 0 ? c->training.max_steps
                                         : (int64_t)ceil(c->training.num_train_epochs * (double)per_epoch);
    r->warmup = hone_warmup_steps(r->steps, c->training.warmup_steps, c->training.warmup_ratio);
    r->save_every = interval(c->training.save_strategy, c->training.save_steps, r->steps, per_epoch);
    if (r->n_eval)
        r->eval_every =
            interval(c->training.evaluation_strategy, c->training.eval_steps, r->steps, per_epoch);
    if (r->train) {
        rc = hone_feed_largest(&r->feed, r->steps, &positions, &sequences, err);
        if (rc)
            return rc;
    } else { /* what the rows to come may need at most; one with a target has two tokens */
        positions = p.batch_rows * c->model.max_length;
        sequences = bfd ? HONE_MAX(positions / 2, 1) : p.batch_rows;
    }
    if (r->eval_every) {
        for (i = 0; i < r->n_eval; i++)
            positions = HONE_MAX(positions, (int64_t)hone_dataset_get(r->eval_data, r->eval[i]).n);
        sequences = HONE_MAX(sequences, c->training.per_device_eval_batch_size);
    }
    if (positions > INT32_MAX)
        return hone_error_set(err, HONE_ELIMIT,
                              "a micro-batch of %lld positions: lower "
                              "training.per_device_train_batch_size",
                              (long long)positions);
    r->tokens = (int32_t)positions;
    r->max_seq = (int32_t)sequences;
    return 0;
}

int hone_run_prepare(hone_run *r, const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                     hone_error *err)
{
    hone_model_params mp = {c->training.precision};
    size_t heap;
    int rc;

    memset(r, 0, sizeof *r);
    r->c = c;
    r->dev = dev;
    if (cb)
        r->cb = *cb;
    r->program_bytes = hone_rss();
    heap = hone_mem_used();
    if ((rc = hone_config_check(c, err)) || (rc = hone_tokenizer_open(&r->tok, c->model.name_or_path, err)) ||
        (rc = hone_chat_open(&r->chat, c->model.name_or_path, r->tok, err)))
        goto out;
    note(r, hone_chat_notice(r->chat));
    if ((rc = open_data(r, err)))
        goto out;
    r->text_bytes = hone_mem_used() - heap;
    r->shard_bytes = hone_dataset_get_report(r->data)->mapped_bytes;
    if (r->eval_data && r->eval_data != r->data)
        r->shard_bytes += hone_dataset_get_report(r->eval_data)->mapped_bytes;
    if ((rc = hone_model_open(&r->model, dev, c->model.name_or_path, &mp, err)) ||
        (rc = open_adapter(r, err)))
        goto out;
    heap = hone_mem_used();
    rc = count_steps(r, err);
    r->text_bytes += hone_mem_used() - heap;
out:
    if (rc)
        hone_run_clear(r);
    return rc;
}

void hone_run_clear(hone_run *r)
{
    hone_feed_clear(&r->feed);
    hone_adapter_close(r->adapter);
    hone_model_close(r->model);
    hone_free(r->train);
    hone_free(r->eval);
    if (r->eval_data != r->data)
        hone_dataset_close(r->eval_data);
    hone_dataset_close(r->data);
    hone_chat_close(r->chat);
    hone_tokenizer_close(r->tok);
    memset(r, 0, sizeof *r);
}

int hone_train_plan(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                    hone_plan_report *out, hone_error *err)
{
    hone_run r;
    int64_t units = 0;
    int rc = hone_run_prepare(&r, c, dev, cb, err);

    if (rc)
        return rc;
    memset(out, 0, sizeof *out);
    rc = hone_run_choose(&r, out->plan, &out->chosen, err);
    if (!rc && !r.train && !(rc = hone_dataset_finish(r.data, err)))
        rc = all_sequences(&r.train, &r.n_train, r.data, err);
    if (!rc)
        rc = hone_feed_count_units(&r.feed, &units, err);
    out->rows = (int64_t)r.n_train;
    out->steps = r.steps;
    out->steps_per_epoch = hone_feed_steps(&r.feed, units);
    out->tokens_per_epoch = (int64_t)hone_dataset_tokens(r.data, r.train, r.n_train);
    out->trained_tokens_per_epoch = hone_count_targets(r.data, r.train, r.n_train);
    hone_run_clear(&r);
    return rc;
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

struct loop {
    hone_run *r;
    hone_activations *act;
    hone_packer packer;
    float *grad; /* [adapter->n] */
    hone_optimizer *optimizer;
    hone_plateau plateau;
    bool keep_best; /* the root holds the best evaluated result, not the last */
    double best_loss;
    int64_t best_step;
    hone_eval_result best_eval;
    hone_metrics metrics;
    hone_position at; /* of the next step in the data */
    int64_t *saved;   /* steps of the checkpoint folders of this run, oldest first */
    int64_t n_saved;
    int64_t resumed;        /* steps done before this process */
    bool eval_due;          /* stopped before the evaluation of the last step */
    double loss, weight;    /* sums over all steps */
    double before;          /* seconds trained before this process */
    double called, started; /* hone_now of the call; of the first step, less `before` */
    hone_train_result *out;
};

static bool stop_wanted(const hone_run *r)
{
    return r->cb.stop && r->cb.stop(r->cb.ud);
}

/* The trained state as the user gets it: an adapter's two files, or a model directory. */
static int save_result(struct loop *l, const char *dir, hone_error *err)
{
    const hone_run *r = l->r;

    if (!hone_adapter_is_low_rank(r->adapter))
        return hone_model_save(r->model, r->adapter, dir, r->c->training.save_precision, err);
    return hone_adapter_save(r->adapter, dir, hone_chat_hash(r->chat), hone_tokenizer_hash(r->tok), err);
}

static char *checkpoint_path(const struct loop *l, int64_t step)
{
    char name[40];

    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    return hone_path_join(l->r->c->training.output_dir, name);
}

static void remove_file(const char *dir, const char *name)
{
    char *path = hone_path_join(dir, name);

    if (path)
        unlink(path);
    hone_free(path);
}

/* Removes what save_checkpoint wrote; a folder with other files stays with these. The state goes first: without it a
 * folder is no checkpoint any more. */
static void remove_checkpoint(const struct loop *l, int64_t step)
{
    static const char *const adapter[] = {"adapter_model.safetensors", "adapter_config.json", NULL};
    const char *const *file = hone_adapter_is_low_rank(l->r->adapter) ? adapter : hone_model_files;
    char *dir = checkpoint_path(l, step);
    size_t i;

    if (dir)
        remove_file(dir, HONE_CHECKPOINT_FILE);
    for (i = 0; dir && file[i]; i++)
        remove_file(dir, file[i]);
    if (dir)
        rmdir(dir);
    hone_free(dir);
}

/* What the order of the data, the random numbers and the trained tensors follow from: a checkpoint of a run that differs
 * here can not be continued. */
static void describe(char out[600], const hone_run *r)
{
    const hone_config *c = r->c;
    uint64_t tensors = 0;
    size_t i;

    for (i = 0; i < r->adapter->n_params; i++) {
        const hone_param *p = &r->adapter->param[i];
        const int64_t shape[] = {(int64_t)p->role, p->layer, p->module, p->rows, p->cols};

        tensors = hone_hash64(tensors, shape, sizeof shape);
    }
    snprintf(
        out, 600,
        "training.seed %lld, per_device_train_batch_size %d, gradient_accumulation_steps %d, shuffle %s, "
        "packing %d/%d, optim %d, model.max_length %d, rows %016llx, trained tensors %016llx",
        (long long)c->training.seed, c->training.per_device_train_batch_size,
        c->training.gradient_accumulation_steps, c->training.shuffle ? "true" : "false", c->training.packing,
        (int)c->training.packing_strategy, (int)c->training.optim, c->model.max_length,
        r->train ? (unsigned long long)hone_dataset_hash(r->data) : 0, (unsigned long long)tensors);
}

static int write_state(const struct loop *l, const char *dir, int64_t step, hone_error *err)
{
    char text[600];
    hone_checkpoint c = {.state = {.step = step,
                                   .at = l->at,
                                   .tokens = l->out->tokens,
                                   .trained_tokens = l->out->trained_tokens,
                                   .loss = l->loss,
                                   .weight = l->weight,
                                   .best_step = l->best_step,
                                   .best_loss = l->best_loss,
                                   .best_eval = l->best_eval,
                                   .plateau = l->plateau,
                                   .seconds = hone_now() - l->started,
                                   .eval_due = l->eval_due},
                         .text = text,
                         .value = l->r->adapter->value,
                         .value_bytes = l->r->adapter->n * sizeof(float)};

    describe(text, l->r);
    c.optimizer = hone_optimizer_state(l->optimizer, &c.optimizer_bytes);
    return hone_checkpoint_write(dir, &c, err);
}

/* Everything of checkpoint-N in a folder beside it, which then takes its place. */
static int write_checkpoint(struct loop *l, int64_t step, hone_error *err)
{
    char *dir = checkpoint_path(l, step);
    hone_buf partial = {0};
    int rc;

    hone_buf_printf(&partial, "%s.partial", dir ? dir : "");
    rc = dir && !partial.failed ? hone_mkdirs(partial.data, err)
                                : hone_error_set(err, HONE_ENOMEM, "out of memory while saving a checkpoint");
    if (!rc)
        rc = save_result(l, partial.data, err);
    if (!rc)
        rc = write_state(l, partial.data, step, err);
    if (!rc) {
        remove_checkpoint(l, step); /* of an earlier run */
        rc = hone_path_rename(partial.data, dir, err);
    }
    hone_buf_clear(&partial);
    hone_free(dir);
    return rc;
}

/* Writes checkpoint-N, then removes the oldest beyond save_total_limit; the best and the newest stay. */
static int save_checkpoint(struct loop *l, int64_t step, hone_error *err)
{
    int64_t limit = l->r->c->training.save_total_limit, i;
    int64_t *saved;
    int rc;

    if (l->n_saved && l->saved[l->n_saved - 1] == step)
        return 0;
    saved = hone_realloc_array(l->saved, (size_t)l->n_saved + 1, sizeof *saved);
    if (saved)
        l->saved = saved;
    rc = saved ? write_checkpoint(l, step, err)
               : hone_error_set(err, HONE_ENOMEM, "out of memory while saving a checkpoint");
    if (rc)
        return rc;
    l->saved[l->n_saved++] = step;
    for (i = 0; limit > 0 && l->n_saved > limit && i < l->n_saved - 1;) {
        if (l->saved[i] == l->best_step) {
            i++;
            continue;
        }
        remove_checkpoint(l, l->saved[i]);
        memmove(l->saved + i, l->saved + i + 1, (size_t)(l->n_saved - i - 1) * sizeof *l->saved);
        l->n_saved--;
    }
    return 0;
}

/* Evaluates the adapter as it is; a better one replaces the root's. */
static int evaluate(struct loop *l, int64_t step, hone_error *err)
{
    hone_run *r = l->r;
    hone_eval_result e;
    bool best;
    int rc;

    hone_adapter_attach_gradients(r->adapter, NULL);
    rc = hone_evaluate(r->model, r->adapter, l->act, &l->packer, r->eval_data, r->eval, r->n_eval, NULL,
                       r->cb.stop, r->cb.ud, &e, err);
    hone_adapter_attach_gradients(r->adapter, l->grad);
    if (rc)
        return rc;
    best = l->best_step < 0 || e.loss < l->best_loss;
    if (best) {
        l->best_loss = e.loss;
        l->best_step = step;
        l->best_eval = e;
        if (l->keep_best)
            rc = save_result(l, r->c->training.output_dir, err);
    }
    if (!l->keep_best) /* the last adapter is the one kept, so its figures are the run's */
        l->best_eval = e;
    if (r->c->training.lr_scheduler_type == HONE_SCHEDULE_REDUCE_ON_PLATEAU)
        hone_plateau_step(&l->plateau, r->c, e.loss);
    l->out->has_eval = true;
    if (!rc)
        rc = hone_metrics_eval(&l->metrics, step, &e, err);
    if (!rc && r->cb.eval)
        r->cb.eval(r->cb.ud, step, &e, best);
    return rc;
}

/* A loss or gradient that is no number: saves the adapter of the step before, which is whole, and says where. */
static int not_finite(struct loop *l, int64_t step, const char *what, hone_error *err)
{
    const hone_feed *f = &l->r->feed; /* holds the step */
    char where[400] = "";
    const uint32_t *which;
    int64_t micro;
    size_t at = 0, n, i;

    if (step > 0)
        save_checkpoint(l, step, NULL);
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

/* One optimiser step. *stopped: the caller asked to stop before it was complete; nothing was changed then. */
static int train_step(struct loop *l, int64_t step, hone_step *s, bool *stopped, hone_error *err)
{
    hone_run *r = l->r;
    const hone_config *c = r->c;
    int64_t targets = 0, micro;
    const uint32_t *which;
    size_t n;
    double began = hone_now(), loss = 0, weight = 0, norm, clip = 1;
    int rc;

    memset(s, 0, sizeof *s);
    rc = hone_feed_load(&r->feed, l->at, err);
    if (rc) { /* with streaming, a row that is wrong shows only now */
        if (step > 0)
            save_checkpoint(l, step, NULL);
        return rc;
    }
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
        s->tokens += b.n_tokens;
        if (stop_wanted(r) && micro + 1 < r->feed.p.accumulation) {
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
    return 0;
}

/* An evaluation between steps. A stop during it is a stop, not a failure; then it is due when the run goes on. */
static int evaluate_due(struct loop *l, int64_t step, hone_error *err)
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

static int all_steps(struct loop *l, hone_error *err)
{
    hone_run *r = l->r;
    int64_t log_every = interval(HONE_STRATEGY_STEPS, r->c->training.logging_steps, r->steps, 0), step;
    int rc = 0;

    l->out->setup_seconds = hone_now() - l->called;
    l->started = hone_now() - l->before;
    if (l->eval_due)
        rc = evaluate_due(l, l->resumed, err);
    for (step = l->resumed; !rc && step < r->steps && !l->out->stopped; step++) {
        int64_t done = step + 1;
        bool last = done == r->steps, log;
        hone_step s;

        rc = train_step(l, step, &s, &l->out->stopped, err);
        if (rc || l->out->stopped)
            break;
        l->out->steps = done;
        l->out->tokens += s.tokens;
        l->out->trained_tokens += s.trained_tokens;
        l->loss += s.loss * s.weight;
        l->weight += s.weight;
        log = last || done == 1 || done % log_every == 0;
        if ((rc = hone_metrics_step(&l->metrics, &s, log, err)))
            break;
        if (r->cb.step)
            r->cb.step(r->cb.ud, &s, log);
        if (stop_wanted(r))
            l->out->stopped = true;
        l->eval_due = r->eval_every && (last || done % r->eval_every == 0);
        if (l->eval_due && !l->out->stopped)
            rc = evaluate_due(l, done, err);
        if (!rc && r->save_every && (last || l->out->stopped || done % r->save_every == 0))
            rc = save_checkpoint(l, done, err);
        if (rc)
            break;
    }
    l->out->seconds = hone_now() - l->started;
    l->out->train_loss = l->weight > 0 ? l->loss / l->weight : 0;
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
static int finish(struct loop *l, hone_error *err)
{
    hone_run *r = l->r;
    int rc = 0;

    if (l->out->stopped && l->out->steps > 0)
        rc = save_checkpoint(l, l->out->steps, err);
    l->out->eval = l->best_eval;
    l->out->best_step = l->keep_best ? l->best_step : l->out->steps;
    if (!rc && !(l->keep_best && l->best_step >= 0)) /* else the best one is in the root already */
        rc = save_result(l, r->c->training.output_dir, err);
    if (!rc && !r->train && !l->out->stopped)
        rc = finish_data(r, err);
    return rc;
}

/* Lists the checkpoints up to the resumed one, so that save_total_limit counts them. */
static int list_saved(struct loop *l, hone_error *err)
{
    int64_t step;

    for (step = 1; step <= l->resumed; step++) {
        char *dir = checkpoint_path(l, step), *file = dir ? hone_path_join(dir, HONE_CHECKPOINT_FILE) : NULL;
        int64_t *saved = l->saved;
        const bool there = file && hone_path_exists(file);

        if (there)
            saved = hone_realloc_array(l->saved, (size_t)l->n_saved + 1, sizeof *saved);
        hone_free(dir);
        hone_free(file);
        if (!file || (there && !saved))
            return hone_error_set(err, HONE_ENOMEM, "out of memory for the list of checkpoints");
        l->saved = saved;
        if (there)
            l->saved[l->n_saved++] = step;
    }
    return 0;
}

/* Puts everything back as it was after the checkpoint's step, when the configuration asks for one. */
static int resume(struct loop *l, hone_error *err)
{
    hone_run *r = l->r;
    const char *from = r->c->training.resume_from_checkpoint;
    const bool any = from && !strcmp(from, "auto");
    char text[600], line[300], *dir = NULL;
    hone_checkpoint_state s;
    size_t bytes;
    void *states = hone_optimizer_state(l->optimizer, &bytes);
    int rc;

    if (!from || !strcmp(from, "false"))
        return 0;
    rc = any || !strcmp(from, "true") ? hone_checkpoint_newest(&dir, r->c->training.output_dir, err) : 0;
    if (!rc && !dir && any)
        return 0;
    if (!rc && !dir && !strcmp(from, "true"))
        rc = hone_error_set(
            err, HONE_ENOENT,
            "training.resume_from_checkpoint: there is no whole checkpoint in %s; `auto` begins "
            "when there is none",
            r->c->training.output_dir);
    describe(text, r);
    if (!rc)
        rc = hone_checkpoint_read(&s, dir ? dir : from, text, r->adapter->value,
                                  r->adapter->n * sizeof(float), states, bytes, err);
    if (!rc) {
        snprintf(line, sizeof line, "going on after step %lld from %.200s", (long long)s.step,
                 dir ? dir : from);
        note(r, line);
        l->resumed = l->out->steps = s.step;
        l->at = s.at;
        l->out->tokens = s.tokens;
        l->out->trained_tokens = s.trained_tokens;
        l->loss = s.loss;
        l->weight = s.weight;
        l->best_step = s.best_step;
        l->best_loss = s.best_loss;
        l->best_eval = s.best_eval;
        l->out->has_eval = s.best_step >= 0;
        l->plateau = s.plateau;
        l->eval_due = s.eval_due;
        l->before = s.seconds;
        rc = list_saved(l, err);
    }
    hone_free(dir);
    return rc;
}

static int start(struct loop *l, int recompute, hone_error *err)
{
    hone_run *r = l->r;
    size_t n = r->adapter->n;
    hone_activation_params ap = {
        .tokens = r->tokens, .max_seq = r->max_seq, .recompute = recompute, .training = true};
    hone_workspace_spec ws;
    char *path;
    int rc;

    hone_model_workspace_spec(&ws, r->model, r->adapter, &ap);
    if ((rc = hone_workspace_reserve(r->dev, &ws, err)) ||
        (rc = hone_activations_new(&l->act, r->model, r->adapter, &ap, err)) ||
        (rc = hone_packer_init(&l->packer, r->tokens, r->max_seq, err)))
        return rc;
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
    rc = resume(l, err);
    return rc ? rc : hone_metrics_open(&l->metrics, r->c, l->resumed, l->eval_due, err);
}

int hone_train_run(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                   hone_train_result *out, hone_error *err)
{
    hone_run r;
    struct loop l = {.r = &r, .out = out, .best_step = -1, .called = hone_now()};
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
out:
    hone_adapter_attach_gradients(r.adapter, NULL);
    hone_optimizer_free(l.optimizer);
    hone_big_free(l.grad, bytes);
    hone_packer_clear(&l.packer);
    hone_activations_free(l.act);
    hone_free(l.saved);
    hone_run_clear(&r);
    return rc;
}
