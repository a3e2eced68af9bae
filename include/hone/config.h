/* The configuration of a run: one plain struct, filled from a YAML file by one table of keys (src/config/keys.c),
 * which also makes the help text, docs/config.md and the saved effective configuration. */
#ifndef HONE_CONFIG_H
#define HONE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A list of strings owned by the configuration. */
typedef struct hone_strings {
    char **item;
    size_t n;
} hone_strings;

typedef struct hone_numbers {
    double *item;
    size_t n;
} hone_numbers;

/* Which of the matches of target_modules are adapted, by PEFT's rules. Empty lists: all. */
typedef struct hone_target_limits {
    hone_strings exclude; /* exclude_modules: names, or one regular expression for the whole path */
    bool exclude_is_list;
    hone_numbers layers;         /* layers_to_transform, from 0; only with a list of targets */
    hone_strings layers_pattern; /* regular expressions for the name before the number; only with layers */
} hone_target_limits;

/* Rows of the embedding (and of a head that is the embedding), and of a head of its own, that train by themselves: PEFT's
 * trainable_token_indices. */
typedef struct hone_token_rows {
    hone_numbers embed, head; /* ids */
    bool by_name;             /* given as a mapping of modules to lists, not as one list */
} hone_token_rows;

/* Numbers by name, in the order they were given; owned by the configuration. */
typedef struct hone_patterns {
    hone_strings name;
    double *value; /* [name.n] */
} hone_patterns;

typedef enum hone_precision { HONE_PRECISION_AUTO, HONE_PRECISION_F32, HONE_PRECISION_BF16 } hone_precision;
/* The form of a base's linear layers; see hone_model_params. */
typedef enum hone_quant {
    HONE_QUANT_AUTO,
    HONE_QUANT_NONE,
    HONE_QUANT_NF4,
    HONE_QUANT_FP4,
    HONE_QUANT_Q8_0
} hone_quant;
typedef enum hone_compute_dtype {
    HONE_COMPUTE_AUTO,
    HONE_COMPUTE_F32,
    HONE_COMPUTE_BF16,
    HONE_COMPUTE_F16
} hone_compute_dtype;
typedef enum hone_strategy { HONE_STRATEGY_NO, HONE_STRATEGY_STEPS, HONE_STRATEGY_EPOCH } hone_strategy;
typedef enum hone_overlong {
    HONE_OVERLONG_ERROR,
    HONE_OVERLONG_DROP,
    HONE_OVERLONG_TRUNCATE,
    HONE_OVERLONG_SPLIT
} hone_overlong;
typedef enum hone_packing { HONE_PACKING_STEP, HONE_PACKING_BFD } hone_packing;
typedef enum hone_schedule {
    HONE_SCHEDULE_COSINE,
    HONE_SCHEDULE_LINEAR,
    HONE_SCHEDULE_CONSTANT,
    HONE_SCHEDULE_CONSTANT_WITH_WARMUP,
    HONE_SCHEDULE_COSINE_WITH_RESTARTS,
    HONE_SCHEDULE_POLYNOMIAL,
    HONE_SCHEDULE_INVERSE_SQRT,
    HONE_SCHEDULE_COSINE_WITH_MIN_LR,
    HONE_SCHEDULE_COSINE_WARMUP_WITH_MIN_LR,
    HONE_SCHEDULE_WARMUP_STABLE_DECAY,
    HONE_SCHEDULE_REDUCE_ON_PLATEAU,
    HONE_SCHEDULE_GREEDY
} hone_schedule;
/* Course of the rise and of the fall of warmup_stable_decay. */
typedef enum hone_curve { HONE_CURVE_LINEAR, HONE_CURVE_COSINE, HONE_CURVE_ONE_MINUS_SQRT } hone_curve;
#define HONE_WINDOW_MAX 1000 /* highest lr_scheduler_kwargs.window_size */
/* What lr_scheduler_kwargs.threshold is: a share of the best loss, or a difference to it. */
typedef enum hone_threshold_mode {
    HONE_THRESHOLD_AUTO,
    HONE_THRESHOLD_REL,
    HONE_THRESHOLD_ABS
} hone_threshold_mode;
typedef enum hone_loss_type { HONE_LOSS_NLL, HONE_LOSS_DFT } hone_loss_type;
typedef enum hone_bias { HONE_BIAS_NONE, HONE_BIAS_ALL, HONE_BIAS_LORA_ONLY } hone_bias;
typedef enum hone_optim {
    HONE_OPTIM_ADAMW,
    HONE_OPTIM_ADAMW_8BIT,
    HONE_OPTIM_ADAFACTOR,
    HONE_OPTIM_SGD
} hone_optim;
typedef enum hone_finetuning {
    HONE_FINETUNING_LORA,
    HONE_FINETUNING_FULL,
    HONE_FINETUNING_FREEZE
} hone_finetuning;

typedef enum hone_toggle { HONE_TOGGLE_AUTO, HONE_TOGGLE_FALSE, HONE_TOGGLE_TRUE } hone_toggle;
typedef enum hone_spike_action { HONE_SPIKE_NOTE, HONE_SPIKE_SKIP, HONE_SPIKE_STOP } hone_spike_action;

typedef enum hone_text_rows { HONE_TEXT_PARAGRAPH, HONE_TEXT_LINE, HONE_TEXT_FILE } hone_text_rows;
typedef enum hone_balance { HONE_BALANCE_NONE, HONE_BALANCE_TASK, HONE_BALANCE_LABEL } hone_balance;
typedef enum hone_balance_method {
    HONE_BALANCE_DOWN,       /* every class as large as the smallest */
    HONE_BALANCE_UP,         /* as large as the largest, rows repeated */
    HONE_BALANCE_TEMPERATURE /* shares in proportion to size^(1/T) */
} hone_balance_method;
typedef enum hone_order {
    HONE_ORDER_FILE,
    HONE_ORDER_SHUFFLE,
    HONE_ORDER_CURRICULUM,
    HONE_ORDER_STAGED
} hone_order;
typedef enum hone_split_by { HONE_SPLIT_ROW, HONE_SPLIT_GROUP, HONE_SPLIT_TASK } hone_split_by;
typedef enum hone_invalid { HONE_INVALID_ERROR, HONE_INVALID_DROP } hone_invalid;

/* What the files call the fields of a row and of a turn. NULL: one of the names that docs/data.md lists. */
typedef struct hone_row_fields {
    char *messages, *instruction, *input, *output, *system, *history, *tools, *text; /* of a row */
    char *id, *task, *label, *group, *weight; /* of a row, about it: no template sees these */
    char *role, *content;                     /* of a turn */
} hone_row_fields;

/* What the files call those who speak, beside the names that docs/data.md lists. */
typedef struct hone_row_roles {
    hone_strings user, assistant, system, tool;
} hone_row_roles;

typedef enum hone_row_sampling {
    HONE_SAMPLER_AUTO, /* as training.shuffle says */
    HONE_SAMPLER_RANDOM,
    HONE_SAMPLER_SEQUENTIAL,
    HONE_SAMPLER_BY_LENGTH
} hone_row_sampling;

/* One of several trainings of a run: keys that differ from the configuration's. */
typedef struct hone_config_stage {
    char *name;
    char *text; /* these keys, as YAML */
} hone_config_stage;

#define HONE_RECOMPUTE_AUTO (-1) /* training.gradient_checkpointing: auto */

/* Paths are absolute: relative ones were joined to the YAML file's folder (or to the working directory when set by
 * hone_config_set). Strings are owned. NULL = not given. */
typedef struct hone_config {
    struct {
        char *name_or_path;
        int32_t max_length;
        bool load_in_4bit, load_in_8bit;
        hone_quant bnb_4bit_quant_type; /* NF4 or FP4 */
        bool bnb_4bit_use_double_quant;
        hone_compute_dtype bnb_4bit_compute_dtype;
        char *cache_dir;
        bool trust_remote_code, use_fast_tokenizer;
    } model;
    struct {
        int32_t r;
        double lora_alpha, lora_dropout;
        hone_strings target_modules; /* one entry "all-linear", one regular expression, or a list */
        bool target_is_list;         /* false: the one entry is `all-linear` or a regular expression */
        hone_target_limits limits;   /* exclude_modules, layers_to_transform, layers_pattern */
        hone_bias bias;
        char *task_type;
        char *init_adapter;
        bool use_rslora, use_dora;
        hone_patterns rank_pattern, alpha_pattern;
        hone_strings modules_to_save;
        hone_numbers trainable_token_indices;
        hone_strings trainable_token_modules; /* embed_tokens, lm_head: whose rows these are */
        double loraplus_lr_ratio;             /* 0 = off */
    } lora;
    struct {
        char *resume_from_checkpoint; /* NULL, "true", "auto" or a folder */
        char *output_dir;
        hone_finetuning finetuning_type;
        int32_t freeze_trainable_layers; /* n > 0: the last n; < 0: the first -n */
        hone_strings freeze_trainable_modules, freeze_extra_modules;
        char *freeze_trainable_pattern;
        double num_train_epochs;
        int32_t max_steps; /* > 0 wins over num_train_epochs */
        int32_t per_device_train_batch_size, per_device_eval_batch_size, gradient_accumulation_steps;
        double learning_rate;
        hone_schedule lr_scheduler_type;
        struct {               /* of lr_scheduler_type; see schedule.h */
            double num_cycles; /* 0 = the schedule's own */
            double power, lr_end, min_lr, min_lr_rate, warmup_lr_rate; /* min_lr, warmup_lr_rate < 0: own */
            int32_t timescale, num_decay_steps, num_stable_steps;      /* 0 = the schedule's own */
            hone_curve decay_type, warmup_type;
            /* reduce_lr_on_plateau and greedy; factor 0, threshold < 0: the schedule's own */
            double factor, threshold, eps;
            hone_threshold_mode threshold_mode;
            int32_t patience, cooldown;
            double max_lr; /* from here on: greedy */
            int32_t warmup, window_size, reset_start;
            bool smooth;
        } lr_scheduler_kwargs;
        double warmup_ratio;
        int32_t warmup_steps;
        hone_optim optim;
        double weight_decay, max_grad_norm;
        double adam_beta1, adam_beta2, adam_epsilon, sgd_momentum;
        double label_smoothing_factor, z_loss, neftune_noise_alpha;
        hone_loss_type loss_type;
        bool bf16, fp16;                      /* bf16 follows precision; fp16 only makes a notice */
        hone_precision precision;             /* the one field to ask */
        int32_t gradient_checkpointing;       /* 0, 1, 2 or HONE_RECOMPUTE_AUTO */
        bool offload_optimizer, offload_base; /* into temporary files of offload_dir */
        char *offload_dir;                    /* NULL: output_dir; hone_config_offload_dir */
        hone_precision save_precision;        /* of a full result; AUTO: as the base stores it */
        hone_strategy save_strategy;
        double save_steps;        /* < 1: share of all steps */
        int32_t save_total_limit; /* 0 = keep all */
        hone_strategy evaluation_strategy;
        double eval_steps;
        double eval_delay; /* steps, or epochs with evaluation_strategy epoch */
        bool eval_on_start;
        int32_t sample_count; /* 0 = none */
        hone_strings sample_prompts, sample_data_path;
        int32_t sample_max_new_tokens;
        double logging_steps;
        bool logging_first_step;
        char *logging_dir;
        hone_strings report_to;
        int64_t seed;
        bool shuffle, packing;
        hone_packing packing_strategy;
        hone_row_sampling train_sampling_strategy;
        bool group_by_length;
        bool load_best_model_at_end;
        char *metric_for_best_model;
        hone_toggle greater_is_better;
        int32_t early_stopping_patience; /* evaluations; 0 = off */
        double early_stopping_threshold;
        double loss_spike_factor, grad_spike_factor; /* 0 = off */
        hone_spike_action loss_spike_action;
        int32_t dataloader_num_workers; /* 0 = auto */
        bool remove_unused_columns;
    } training;
    struct {
        hone_strings train_data_path, eval_data_path, replay_data_path;
        double replay_ratio; /* share of an epoch's rows, (0, 1) */
        double val_size;     /* >= 1 rows, < 1 share */
        int64_t max_samples; /* 0 = all */
        hone_overlong overlong;
        bool cache, streaming;
        char *cache_dir; /* NULL: output_dir/cache */
        hone_row_fields fields;
        hone_row_roles roles;
        hone_text_rows text_rows; /* what a row of a .txt file is */
        bool train_on_prompt, mask_history;
        hone_invalid invalid; /* of hone data prepare: rows that can not be read */
        bool dedup_exact, dedup_near;
        double dedup_threshold; /* Jaccard, (0, 1] */
        int32_t dedup_ngram;    /* characters */
        hone_strings contamination_against;
        double contamination_share;  /* (0, 1] */
        int32_t contamination_ngram; /* characters */
        hone_split_by split_by;
        hone_strings scores_compute, scores_filter;
        char *scores_sort, *scores_weight;
        hone_balance mix_balance;
        hone_balance_method mix_method;
        double mix_temperature;
        int64_t mix_max_per_task; /* 0 = no limit */
        hone_numbers mix_weights; /* one per path of train_data_path */
        hone_order mix_order;
        char *mix_curriculum;
        hone_numbers mix_stages; /* three shares */
        bool quality_enabled;
        hone_strings quality_rules;                           /* files */
        hone_strings quality_set, quality_only, quality_skip; /* texts rule.parameter=value; names of rules */
        char *label_pattern, *label_words;                    /* a regular expression; a file */
        bool augmentation_enabled;
    } data;
    struct {
        bool enabled;
        char *backend;
        bool deepspeed_enabled;
        char *deepspeed_config_file;
        int32_t deepspeed_zero_stage;
    } distributed;
    struct {
        int32_t max_new_tokens;
        double temperature, top_p;
        int32_t top_k;
        double repetition_penalty;
        bool do_sample;
    } inference;
    hone_config_stage *stage; /* [n_stages] `stages`, in their order; owned */
    size_t n_stages;
    char *source;  /* path of the YAML file */
    char **notice; /* aliases used, keys without effect: one line each, for the program to print once */
    size_t n_notice;
} hone_config;

/* Reads PATH over the defaults. Errors name file, line, key and the nearest known key; unknown, repeated and
 * ill-typed keys are errors. *out owned by the caller, freed with hone_config_free. Reads only: cross-key checks and
 * required keys are hone_config_check's. */
HONE_API int hone_config_load(hone_config **out, const char *path, hone_error *err);
/* All defaults, no file. */
HONE_API int hone_config_new(hone_config **out, hone_error *err);
/* Applies one `section.key=value` (value in YAML syntax). Relative paths here are relative to the working directory.
 * On error the configuration is as it was. */
HONE_API int hone_config_set(hone_config *c, const char *assignment, hone_error *err);
/* The configuration of stage i: c with the keys of that stage, and no stages itself. Owned by the caller. */
HONE_API int hone_config_of_stage(hone_config **out, const hone_config *c, size_t i, hone_error *err);
/* Required keys, ranges across keys (HONE_EINVAL), settings that this build refuses by name (HONE_EUNSUPPORTED:
 * `optim: adafactor`, ...). */
HONE_API int hone_config_check(const hone_config *c, hone_error *err);
/* Writes the effective configuration as YAML that hone_config_load reads back to the same values. Atomic. */
HONE_API int hone_config_save(const hone_config *c, const char *path, hone_error *err);
/* The same text of the named sections alone, as a report shows it; sections NULL: all. Freed with hone_free. */
HONE_API int hone_config_text(char **out, const hone_config *c, const char *const *sections, size_t n,
                              hone_error *err);
/* The folder of off-loaded memory. Borrowed. */
static inline const char *hone_config_offload_dir(const hone_config *c)
{
    return c->training.offload_dir ? c->training.offload_dir : c->training.output_dir;
}
HONE_API void hone_config_free(hone_config *c);

/* Calls fn for every key in table order. `aliases` is "" or names separated by spaces. All text is borrowed until
 * fn returns. */
typedef void (*hone_config_key_fn)(void *ud, const char *section, const char *key, const char *aliases,
                                   const char *type, const char *default_value, const char *help);
HONE_API void hone_config_each_key(hone_config_key_fn fn, void *ud);
/* The same as one Markdown text: what `hone train --help-config` prints and docs/config.md holds. Freed by the caller
 * with hone_free. */
HONE_API int hone_config_reference(char **out, hone_error *err);

#ifdef __cplusplus
}
#endif
#endif
