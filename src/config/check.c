/* What a run needs and what this version can do. Types and ranges of single keys are checked where they are read. */
#include <math.h>
#include <string.h>

#include "config/keys.h"

static int missing(const hone_config *c, const char *key, hone_error *err)
{
    return hone_error_set(err, HONE_EINVAL, "%s%s%s is required", c->source ? c->source : "",
                          c->source ? ": " : "", key);
}

/* Settings that are known and come with a later version. */
static int refuse_unsupported(const hone_config *c, hone_error *err)
{
    const struct {
        bool wanted;
        const char *key, *given, *supported;
    } later[] = {
        {c->data.augmentation_enabled, "data.augmentation.enabled", "true", "false"},
        {c->distributed.enabled, "distributed.enabled", "true", "false"},
        {c->distributed.deepspeed_enabled, "distributed.deepspeed.enabled", "true", "false"},
    };
    size_t i;

    for (i = 0; i < HONE_COUNT(later); i++)
        if (later[i].wanted)
            return hone_error_set(err, HONE_EUNSUPPORTED,
                                  "%s%s%s: `%s` is not supported by this version; supported: %s",
                                  c->source ? c->source : "", c->source ? ": " : "", later[i].key,
                                  later[i].given, later[i].supported);
    return 0;
}

static int check_report_to(const hone_config *c, hone_error *err)
{
    static const char *const network[] = {"wandb",   "mlflow",     "comet_ml", "comet",    "neptune",
                                          "clearml", "dagshub",    "swanlab",  "azure_ml", "dvclive",
                                          "flyte",   "codecarbon", "trackio",  "all"};
    const hone_strings *s = &c->training.report_to;
    size_t i, j;

    for (i = 0; i < s->n; i++) {
        for (j = 0; j < HONE_COUNT(network); j++)
            if (!strcmp(s->item[i], network[j]))
                return hone_error_set(
                    err, HONE_EUNSUPPORTED,
                    "training.report_to: `%s` needs a network service or another program, which a run "
                    "never calls; supported: tensorboard, csv, none",
                    s->item[i]);
        if (strcmp(s->item[i], "tensorboard") && strcmp(s->item[i], "csv") && strcmp(s->item[i], "none"))
            return hone_error_set(err, HONE_EINVAL,
                                  "training.report_to: `%.60s` is unknown; supported: tensorboard, csv, none",
                                  s->item[i]);
        if (!strcmp(s->item[i], "none") && s->n > 1)
            return hone_error_set(err, HONE_EINVAL, "training.report_to: `none` stands alone");
    }
    return 0;
}

static int check_targets(const hone_config *c, hone_error *err)
{
    const hone_strings *s = &c->lora.target_modules;
    size_t i;

    for (i = 0; c->lora.target_is_list && i < s->n; i++)
        if (!strcmp(s->item[i], "all-linear"))
            return hone_error_set(err, HONE_EINVAL,
                                  "lora.target_modules: `all-linear` stands alone, not in a list");
    if (!c->lora.target_is_list && s->n && strchr(s->item[0], ',') && !strpbrk(s->item[0], "([{"))
        return hone_error_set(err, HONE_EINVAL,
                              "lora.target_modules: write the names as a list: [q_proj, v_proj]");
    for (i = 0; i < c->lora.limits.layers.n; i++)
        if (c->lora.limits.layers.item[i] != floor(c->lora.limits.layers.item[i]))
            return hone_error_set(err, HONE_EINVAL, "lora.layers_to_transform: %g is no number of a block",
                                  c->lora.limits.layers.item[i]);
    if (c->lora.limits.layers.n && !c->lora.target_is_list)
        return hone_error_set(err, HONE_EINVAL,
                              "lora.layers_to_transform needs a list of names in lora.target_modules");
    for (i = 0; i < c->lora.trainable_token_indices.n; i++)
        if (c->lora.trainable_token_indices.item[i] != floor(c->lora.trainable_token_indices.item[i]))
            return hone_error_set(err, HONE_EINVAL, "lora.trainable_token_indices: %g is no id of a token",
                                  c->lora.trainable_token_indices.item[i]);
    for (i = 0; i < c->lora.trainable_token_modules.n; i++)
        if (strcmp(c->lora.trainable_token_modules.item[i], "embed_tokens") &&
            strcmp(c->lora.trainable_token_modules.item[i], "lm_head"))
            return hone_error_set(err, HONE_EINVAL,
                                  "lora.trainable_token_modules: `%.60s` is neither embed_tokens nor lm_head",
                                  c->lora.trainable_token_modules.item[i]);
    if (c->lora.limits.layers_pattern.n && !c->lora.limits.layers.n)
        return hone_error_set(err, HONE_EINVAL, "lora.layers_pattern needs lora.layers_to_transform");
    return 0;
}

/* That names and numbers of choosing rows go together; what needs the rows is checked when they are there. */
static int check_mix(const hone_config *c, hone_error *err)
{
    static const char *const score[] = {"perplexity", "perplexity_alone", "ifd", "unscored"};
    const hone_strings *s = &c->data.scores_compute;
    size_t i, j;

    for (i = 0; i < s->n; i++) {
        for (j = 0; j < HONE_COUNT(score) && strcmp(s->item[i], score[j]);)
            j++;
        if (j == HONE_COUNT(score))
            return hone_error_set(
                err, HONE_EINVAL,
                "data.scores.compute: `%.60s` is unknown; known: perplexity, perplexity_alone, ifd, unscored",
                s->item[i]);
    }
    if (c->data.mix_weights.n && c->data.mix_weights.n != c->data.train_data_path.n)
        return hone_error_set(
            err, HONE_EINVAL,
            "data.mix.weights has %zu numbers, data.train_data_path %zu paths; one for each is needed",
            c->data.mix_weights.n, c->data.train_data_path.n);
    if (c->data.mix_stages.n && c->data.mix_stages.n != 3)
        return hone_error_set(err, HONE_EINVAL, "data.mix.stages: three shares are needed, not %zu",
                              c->data.mix_stages.n);
    if (c->data.scores_sort && c->data.mix_order != HONE_ORDER_FILE)
        return hone_error_set(err, HONE_EINVAL,
                              "data.scores.sort and data.mix.order both say in which order rows stand");
    return 0;
}

/* What must be known before the first step can not come from rows that are not read yet. */
static int check_streaming(const hone_config *c, hone_error *err)
{
    const char *reason = NULL;

    if (!c->data.streaming)
        return 0;
    if (!c->data.cache)
        reason = "data.cache: true, where the shards are kept";
    else if (c->training.max_steps <= 0)
        reason = "training.max_steps: how many steps an epoch has is not known before all rows are read";
    else if (c->data.val_size > 0 && !c->data.eval_data_path.n)
        reason = "data.eval_data_path instead of data.val_size: rows can not be held out before all are read";
    else if (c->data.replay_data_path.n)
        reason = "no data.replay_data_path: how many rows are replayed follows from all new ones";
    else if (c->training.save_strategy == HONE_STRATEGY_EPOCH)
        reason = "training.save_strategy: steps";
    else if (c->training.evaluation_strategy == HONE_STRATEGY_EPOCH)
        reason = "training.evaluation_strategy: steps";
    return reason ? hone_error_set(err, HONE_EINVAL, "data.streaming needs %s", reason) : 0;
}

/* What a method, an optimiser or a schedule needs of other keys. */
static int check_training(const hone_config *c, hone_error *err)
{
    const char *reacting = c->training.lr_scheduler_type == HONE_SCHEDULE_REDUCE_ON_PLATEAU
                               ? "reduce_lr_on_plateau"
                           : c->training.lr_scheduler_type == HONE_SCHEDULE_GREEDY ? "greedy"
                                                                                   : NULL;
    const bool evaluated = c->training.evaluation_strategy != HONE_STRATEGY_NO &&
                           (c->data.eval_data_path.n || c->data.val_size > 0);

    if (c->training.finetuning_type != HONE_FINETUNING_LORA && c->lora.init_adapter)
        return hone_error_set(
            err, HONE_EINVAL,
            "lora.init_adapter: an adapter goes on with training.finetuning_type: lora only");
    if (c->training.lr_scheduler_type == HONE_SCHEDULE_WARMUP_STABLE_DECAY &&
        !c->training.lr_scheduler_kwargs.num_decay_steps)
        return hone_error_set(
            err, HONE_EINVAL,
            "training.lr_scheduler_type: warmup_stable_decay needs lr_scheduler_kwargs.num_decay_steps");
    if (c->training.group_by_length && (c->training.train_sampling_strategy == HONE_SAMPLER_RANDOM ||
                                        c->training.train_sampling_strategy == HONE_SAMPLER_SEQUENTIAL))
        return hone_error_set(err, HONE_EINVAL,
                              "training.group_by_length and training.train_sampling_strategy disagree");
    if (c->training.early_stopping_patience && !evaluated)
        return hone_error_set(
            err, HONE_EINVAL,
            "training.early_stopping_patience needs evaluations: give data.eval_data_path or "
            "data.val_size, and training.evaluation_strategy steps or epoch");
    if (reacting && c->training.evaluation_strategy == HONE_STRATEGY_NO)
        return hone_error_set(err, HONE_EINVAL,
                              "training.lr_scheduler_type: %s needs evaluations, and "
                              "training.evaluation_strategy is no",
                              reacting);
    if (reacting && !evaluated)
        return hone_error_set(err, HONE_EINVAL,
                              "training.lr_scheduler_type: %s needs rows to evaluate: give "
                              "data.eval_data_path or data.val_size",
                              reacting);
    return 0;
}

/* Every stage must be a run that can be; the names of their folders differ by their numbers. */
static int check_stages(const hone_config *c, hone_error *err)
{
    const char *path = c->model.name_or_path;
    const char *from = c->training.resume_from_checkpoint;
    hone_error why = HONE_ERROR_INIT;
    hone_config *s;
    size_t i;
    int rc = 0;

    if (from && strcmp(from, "false") != 0 && strcmp(from, "auto") != 0 && strcmp(from, "true") != 0)
        return hone_error_set(err, HONE_EINVAL,
                              "training.resume_from_checkpoint: a run of stages goes on from the newest "
                              "checkpoint (`true` or `auto`), not from a given folder");
    if (c->training.finetuning_type != HONE_FINETUNING_LORA && path && strlen(path) > 5 &&
        !strcmp(path + strlen(path) - 5, ".gguf"))
        return hone_error_set(
            err, HONE_EUNSUPPORTED,
            "stages of training.finetuning_type full and freeze go on from the result of the "
            "one before, which needs a Hugging Face directory as the base, not a GGUF file");
    for (i = 0; !rc && i < c->n_stages; i++) {
        rc = hone_config_of_stage(&s, c, i, err);
        if (rc)
            return rc;
        rc = hone_config_check(s, &why);
        if (rc)
            hone_error_set(err, rc, "stage %s: %s", c->stage[i].name, why.message);
        hone_config_free(s);
    }
    return rc;
}

/* A quantised base is frozen, and has one form and one arithmetic. */
static int check_quant(const hone_config *c, hone_error *err)
{
    const hone_compute_dtype compute = c->model.bnb_4bit_compute_dtype;
    const hone_precision precision = c->training.precision;

    if (c->model.load_in_4bit && c->model.load_in_8bit)
        return hone_error_set(err, HONE_EINVAL, "model.load_in_4bit and model.load_in_8bit are both true");
    if ((c->model.load_in_4bit || c->model.load_in_8bit) &&
        c->training.finetuning_type != HONE_FINETUNING_LORA)
        return hone_error_set(
            err, HONE_EINVAL,
            "model.load_in_%dbit: a quantised base can not be trained itself; use "
            "training.finetuning_type: lora, or load it as it is stored (model.load_in_%dbit: false)",
            c->model.load_in_4bit ? 4 : 8, c->model.load_in_4bit ? 4 : 8);
    if (c->model.load_in_4bit && ((compute == HONE_COMPUTE_F32 && precision == HONE_PRECISION_BF16) ||
                                  (compute == HONE_COMPUTE_BF16 && precision == HONE_PRECISION_F32)))
        return hone_error_set(err, HONE_EINVAL,
                              "model.bnb_4bit_compute_dtype and training.precision disagree");
    return 0;
}

int hone_config_check(const hone_config *c, hone_error *err)
{
    static const char *const metric[] = {"eval_loss", "eval_perplexity", "eval_accuracy"};
    size_t i;
    int rc;

    if (c->n_stages)
        return check_stages(c, err);
    if (!c->model.name_or_path)
        return missing(c, "model.name_or_path", err);
    if (!c->training.output_dir)
        return missing(c, "training.output_dir", err);
    if (!c->data.train_data_path.n)
        return missing(c, "data.train_data_path", err);
    rc = refuse_unsupported(c, err);
    if (!rc)
        rc = check_report_to(c, err);
    if (!rc)
        rc = check_targets(c, err);
    if (!rc)
        rc = check_streaming(c, err);
    if (!rc)
        rc = check_training(c, err);
    if (!rc)
        rc = check_quant(c, err);
    if (!rc)
        rc = check_mix(c, err);
    if (rc)
        return rc;
    if (strcmp(c->lora.task_type, "CAUSAL_LM"))
        return hone_error_set(err, HONE_EUNSUPPORTED,
                              "lora.task_type: `%.60s` is not supported; supported: CAUSAL_LM",
                              c->lora.task_type);
    if (c->training.bf16 && c->training.fp16)
        return hone_error_set(err, HONE_EINVAL, "training.bf16 and training.fp16 are both true");
    for (i = 0; i < HONE_COUNT(metric); i++)
        if (!strcmp(c->training.metric_for_best_model, metric[i]))
            return 0;
    return hone_error_set(err, HONE_EINVAL,
                          "training.metric_for_best_model: `%.60s` is unknown; known: eval_loss, "
                          "eval_perplexity, eval_accuracy",
                          c->training.metric_for_best_model);
}
