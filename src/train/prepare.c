/* Preparation of a run: tokenizer, template, data, model, adapter, and how many steps of which size all that makes. Nothing
 * is written, so `hone plan` does the same. */
#include <math.h>
#include <string.h>

#include "train/evaluate.h"
#include "train/run.h"
#include "train/schedule.h"

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
    options.progress = options.streaming ? NULL : r->cb.rows;
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
    if (!rc && c->data.replay_data_path.n)
        rc = hone_run_add_replay(r, &options, err);
    hone_free(cache_dir);
    return rc;
}

static void note_idle_targets(hone_run *r)
{
    const char *name;
    size_t next = 0;
    char line[200];

    while ((name = hone_adapter_idle_target(r->adapter, &next))) {
        snprintf(line, sizeof line, "lora.target_modules: \"%.80s\" adapts nothing in this model", name);
        hone_run_note(r, line);
    }
}

/* The setting's ids for each table that it names; borrows. */
static hone_token_rows token_rows(const hone_config *c)
{
    hone_token_rows t = {0};
    size_t i;

    for (i = 0; i < c->lora.trainable_token_modules.n; i++)
        if (strcmp(c->lora.trainable_token_modules.item[i], "lm_head"))
            t.embed = c->lora.trainable_token_indices;
        else
            t.head = c->lora.trainable_token_indices;
    t.by_name = t.head.n > 0;
    return t;
}

static int make_adapter(hone_run *r, hone_error *err)
{
    const hone_config *c = r->c;
    const hone_token_rows tokens = token_rows(c);
    hone_adapter_params p = {.r = c->lora.r,
                             .alpha = c->lora.lora_alpha,
                             .dropout = c->lora.lora_dropout,
                             .targets = &c->lora.target_modules,
                             .targets_are_list = c->lora.target_is_list,
                             .limits = &c->lora.limits,
                             .rslora = c->lora.use_rslora,
                             .dora = c->lora.use_dora,
                             .bias = c->lora.bias,
                             .rank_pattern = &c->lora.rank_pattern,
                             .alpha_pattern = &c->lora.alpha_pattern,
                             .modules_to_save = &c->lora.modules_to_save,
                             .tokens = &tokens,
                             .lr_ratio = c->lora.loraplus_lr_ratio,
                             .seed = (uint64_t)c->training.seed};
    const hone_tensors_params part = {.layers = c->training.freeze_trainable_layers,
                                      .modules = &c->training.freeze_trainable_modules,
                                      .extra = &c->training.freeze_extra_modules,
                                      .pattern = c->training.freeze_trainable_pattern};
    int rc;

    if (c->training.finetuning_type != HONE_FINETUNING_LORA) {
        if ((rc = hone_model_save_check(r->model, err)))
            return rc;
        return hone_adapter_tensors(
            &r->adapter, r->model, c->training.finetuning_type == HONE_FINETUNING_FREEZE ? &part : NULL, err);
    }
    if (!c->lora.init_adapter) {
        rc = hone_adapter_new(&r->adapter, r->model, &p, err);
        if (!rc)
            note_idle_targets(r);
        return rc;
    }
    rc = hone_adapter_open(&r->adapter, r->model, c->lora.init_adapter, err);
    if (rc)
        return rc;
    r->adapter->dropout = c->lora.lora_dropout;
    hone_adapter_set_lr_ratio(r->adapter, c->lora.loraplus_lr_ratio);
    hone_run_note(r, hone_adapter_mismatch(r->adapter, hone_chat_hash(r->chat), hone_tokenizer_hash(r->tok)));
    if (r->adapter->r != c->lora.r || r->adapter->alpha != c->lora.lora_alpha) {
        char line[200];

        snprintf(line, sizeof line,
                 "lora.init_adapter has r %d and alpha %g: these are kept, lora.r and lora.lora_alpha "
                 "are not used",
                 r->adapter->r, r->adapter->alpha);
        hone_run_note(r, line);
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

int64_t hone_run_interval(hone_strategy strategy, double every, int64_t steps, int64_t per_epoch)
{
    if (strategy == HONE_STRATEGY_NO)
        return 0;
    if (strategy == HONE_STRATEGY_EPOCH)
        return per_epoch;
    return every < 1 ? (int64_t)fmax(1, ceil(every * (double)steps)) : (int64_t)every;
}

bool hone_run_due(hone_strategy strategy, int64_t every, int64_t done, hone_position at)
{
    return strategy == HONE_STRATEGY_EPOCH ? at.unit == 0 : done % every == 0;
}

/* Of the micro-batches that `f` makes, evaluations included. */
static int largest(const hone_run *r, hone_feed *f, hone_batch_size *out, hone_error *err)
{
    const hone_config *c = r->c;
    size_t i;
    int rc;

    if (r->train) {
        rc = hone_feed_largest(f, r->steps, out, err);
        if (rc)
            return rc;
    } else { /* what the rows to come may need at most; one with a target has two tokens */
        out->positions = out->targets = f->p.batch_rows * c->model.max_length;
        out->sequences = f->p.pack ? HONE_MAX(out->positions / 2, 1) : f->p.batch_rows;
    }
    if (r->eval_every) {
        for (i = 0; i < r->n_eval; i++) {
            const hone_sequence q = hone_dataset_get(r->eval_data, r->eval[i]);

            out->positions = HONE_MAX(out->positions, (int64_t)q.n);
            out->targets = HONE_MAX(out->targets, (int64_t)q.n_targets);
        }
        out->sequences = HONE_MAX(out->sequences, c->training.per_device_eval_batch_size);
    }
    return 0;
}

static int count_steps(hone_run *r, hone_error *err)
{
    const hone_config *c = r->c;
    const bool bfd = c->training.packing && c->training.packing_strategy == HONE_PACKING_BFD;
    hone_feed_params p = {.data = r->data,
                          .which = r->train,
                          .n = r->n_train,
                          .replay = r->replay,
                          .batch_rows = c->training.per_device_train_batch_size,
                          .accumulation = c->training.gradient_accumulation_steps,
                          .pack = bfd ? (size_t)c->model.max_length : 0,
                          .shuffle = c->training.train_sampling_strategy == HONE_SAMPLER_AUTO
                                         ? c->training.shuffle
                                         : c->training.train_sampling_strategy != HONE_SAMPLER_SEQUENTIAL,
                          .group = c->training.group_by_length ||
                                   c->training.train_sampling_strategy == HONE_SAMPLER_BY_LENGTH,
                          .seed = (uint64_t)c->training.seed};
    hone_batch_size most;
    int rc = hone_feed_init(&r->feed, &p, err);

    if (!rc && r->train)
        rc = hone_feed_count(&r->feed, 0, &r->epoch, err);
    r->steps = c->training.max_steps;
    if (!rc && r->steps <= 0)
        rc = hone_feed_steps_of(&r->feed, c->training.num_train_epochs, &r->steps, err);
    if (rc)
        return rc;
    r->per_epoch = hone_feed_steps(&r->feed, r->epoch.units);
    r->warmup = hone_warmup_steps(r->steps, c->training.warmup_steps, c->training.warmup_ratio);
    r->save_every =
        hone_run_interval(c->training.save_strategy, c->training.save_steps, r->steps, r->per_epoch);
    if (r->n_eval)
        r->eval_every = hone_run_interval(c->training.evaluation_strategy, c->training.eval_steps, r->steps,
                                          r->per_epoch);
    rc = largest(r, &r->feed, &most, err);
    if (rc)
        return rc;
    if (most.positions > INT32_MAX)
        return hone_error_set(err, HONE_ELIMIT,
                              "a micro-batch of %lld positions: lower "
                              "training.per_device_train_batch_size",
                              (long long)most.positions);
    r->tokens = (int32_t)most.positions;
    r->targets = (int32_t)most.targets;
    r->max_seq = (int32_t)most.sequences;
    return 0;
}

static int read_held_out(hone_run *r, hone_error *err)
{
    const hone_held_out_params p = {.c = r->c,
                                    .chat = r->chat,
                                    .data = r->eval_data,
                                    .which = r->eval,
                                    .n = r->n_eval,
                                    .questions = r->cb.generator != NULL,
                                    .context = r->model->w->arch.context,
                                    .note = r->cb.note,
                                    .ud = r->cb.ud};

    return hone_held_out_read(&r->held_out, &p, err);
}

/* transformers' defaults are for rates from 1e-3 on. */
static void note_schedule(hone_run *r)
{
    const hone_config *c = r->c;
    char line[200];

    if (c->training.lr_scheduler_type != HONE_SCHEDULE_GREEDY ||
        hone_lowest_rate(c) < c->training.learning_rate)
        return;
    snprintf(line, sizeof line,
             "training.lr_scheduler_kwargs.min_lr is %g and learning_rate %g: greedy will not lower it",
             hone_lowest_rate(c), c->training.learning_rate);
    hone_run_note(r, line);
}

static void note_offload(hone_run *r)
{
    const char *dir = hone_config_offload_dir(r->c);
    char line[400];

    if (!(r->c->training.offload_optimizer || r->c->training.offload_base) || !hone_path_in_memory(dir))
        return;
    snprintf(line, sizeof line,
             "training.offload_dir: %.200s keeps its files in memory (tmpfs): off-loading there saves none",
             dir);
    hone_run_note(r, line);
}

int hone_run_prepare(hone_run *r, const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                     hone_error *err)
{
    const hone_model_params mp = hone_model_params_of_config(c);
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
    hone_run_note(r, hone_chat_notice(r->chat));
    note_schedule(r);
    note_offload(r);
    if ((rc = open_data(r, err)))
        goto out;
    r->text_bytes = hone_mem_used() - heap;
    r->shard_bytes = hone_dataset_get_report(r->data)->mapped_bytes;
    if (r->eval_data && r->eval_data != r->data)
        r->shard_bytes += hone_dataset_get_report(r->eval_data)->mapped_bytes;
    if ((rc = hone_model_open(&r->model, dev, c->model.name_or_path, &mp, err)) ||
        (rc = open_adapter(r, err)))
        goto out;
    hone_run_note(r, hone_model_notice(r->model));
    heap = hone_mem_used();
    rc = count_steps(r, err);
    if (!rc && r->eval_every)
        rc = read_held_out(r, err);
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
    hone_held_out_clear(&r->held_out);
    hone_free(r->train);
    hone_free(r->eval);
    if (r->eval_data != r->data)
        hone_dataset_close(r->eval_data);
    hone_dataset_close(r->data);
    hone_chat_close(r->chat);
    hone_tokenizer_close(r->tok);
    memset(r, 0, sizeof *r);
}

/* The plan with micro-batches of `rows` rows at every level. */
static int plan_batch(const hone_run *r, int64_t rows, hone_plan_batch *out, hone_error *err)
{
    hone_feed_params p = r->feed.p;
    hone_run other = *r;
    hone_feed feed;
    hone_plan plan;
    hone_batch_size most;
    int level, rc;

    p.batch_rows = rows;
    rc = hone_feed_init(&feed, &p, err);
    if (!rc)
        rc = largest(r, &feed, &most, err);
    hone_feed_clear(&feed);
    if (rc)
        return rc;
    *out = (hone_plan_batch){.rows = rows, .tokens = most.positions};
    other.tokens = (int32_t)HONE_MIN(most.positions, INT32_MAX);
    other.targets = (int32_t)HONE_MIN(most.targets, INT32_MAX);
    other.max_seq = (int32_t)HONE_MIN(most.sequences, INT32_MAX);
    for (level = 0; level < 3; level++) {
        hone_run_plan(&other, level, &plan);
        out->bytes[level] = plan.total;
        out->fits[level] = most.positions <= INT32_MAX && hone_run_fits(r, &plan);
    }
    return 0;
}

/* Micro-batches of 1, 2, 4, ... rows, the configured number, and one step beyond it. */
static int plan_batches(const hone_run *r, hone_plan_report *out, hone_error *err)
{
    const int64_t mine = r->c->training.per_device_train_batch_size;
    int64_t rows = 1;
    int rc = 0;

    while (mine > rows << (HONE_PLAN_BATCHES - 3)) /* of a large one the sizes near it */
        rows *= 2;
    for (; !rc && out->n_batches < HONE_PLAN_BATCHES; rows *= 2) {
        if (rows > mine && out->batch[HONE_MAX(out->n_batches - 1, 0)].rows < mine)
            rc = plan_batch(r, mine, &out->batch[out->n_batches++], err);
        if (!rc && out->n_batches < HONE_PLAN_BATCHES)
            rc = plan_batch(r, rows, &out->batch[out->n_batches++], err);
        if (rows > mine)
            break;
    }
    return rc;
}

static int plan_one(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb, uint64_t memory,
                    hone_plan_report *out, hone_error *err)
{
    hone_run r;
    hone_error problem = HONE_ERROR_INIT;
    int rc = hone_run_prepare(&r, c, dev, cb, err);

    if (rc)
        return rc;
    memset(out, 0, sizeof *out);
    r.memory = memory;
    if (hone_run_choose(&r, out->plan, &out->chosen, &problem))
        snprintf(out->problem, sizeof out->problem, "%s", problem.message);
    rc = plan_batches(&r, out, err);
    if (!rc && !r.train)
        rc = hone_feed_count(&r.feed, 0, &r.epoch, err);
    out->rows = r.epoch.rows;
    out->replayed_rows = (int64_t)r.replay.draw;
    out->steps = r.steps;
    out->steps_per_epoch = hone_feed_steps(&r.feed, r.epoch.units);
    out->tokens_per_epoch = r.epoch.tokens;
    out->trained_tokens_per_epoch = r.epoch.targets;
    hone_run_clear(&r);
    return rc;
}

int hone_train_plan(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb, uint64_t memory,
                    hone_plan_report *out, hone_error *err)
{
    size_t i;
    int rc = c->n_stages ? hone_config_check(c, err) : plan_one(c, dev, cb, memory, out, err);

    for (i = 0; !rc && i < c->n_stages; i++) {
        hone_plan_report r = {0};
        hone_config *s;

        rc = hone_config_of_stage(&s, c, i, err);
        if (rc)
            break;
        rc = plan_one(s, dev, cb, memory, &r, err);
        if (!rc && (!i || r.plan[r.chosen].total > out->plan[out->chosen].total))
            *out = r;
        hone_config_free(s);
    }
    return rc;
}
