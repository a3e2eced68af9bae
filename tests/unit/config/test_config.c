/* The configuration: the seed's file key by key, every kind of wrong file with its place, --set, and that what is
 * saved loads back to the same values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/config.h"

#define FOLDER HONE_TEST_DIR "/unit/config/"

/* Writes text to a file of its own and loads it. */
static int load_text(hone_config **out, const char *text, hone_error *err)
{
    hone_error ignored = HONE_ERROR_INIT;
    int rc;

    assert_int_equal(hone_file_write("test_config.yaml", text, strlen(text), &ignored), 0);
    rc = hone_config_load(out, "test_config.yaml", err);
    unlink("test_config.yaml");
    return rc;
}

static void assert_refused(const char *text, int code, const char *const *needles)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c;
    int rc = load_text(&c, text, &err);

    if (rc != code)
        print_message("%s: %s\n", text, err.message);
    assert_int_equal(rc, code);
    assert_null(c);
    assert_int_equal(err.code, code);
    for (; *needles; needles++)
        if (!strstr(err.message, *needles)) {
            print_message("%s\n  lacks `%s`\n", err.message, *needles);
            fail();
        }
}
#define REFUSED(text, code, ...)                                                                             \
    assert_refused(text, code, (const char *const[]){"test_config.yaml", __VA_ARGS__, NULL})

static hone_config *loaded(const char *text)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c;

    if (load_text(&c, text, &err))
        print_message("%s: %s\n", text, err.message);
    assert_non_null(c);
    return c;
}

static bool has_notice(const hone_config *c, const char *text)
{
    size_t i;

    for (i = 0; i < c->n_notice; i++)
        if (strstr(c->notice[i], text))
            return true;
    return false;
}

static void the_seeds_file_loads_as_it_is(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c;

    (void)state;
    assert_int_equal(hone_config_load(&c, FOLDER "seed.yaml", &err), 0);
    assert_string_equal(c->source, FOLDER "seed.yaml");
    assert_string_equal(c->model.name_or_path, FOLDER "models/base");
    assert_int_equal(c->model.max_length, 1024);
    assert_false(c->model.load_in_4bit);
    assert_false(c->model.load_in_8bit);
    assert_string_equal(c->model.cache_dir, FOLDER "cache");
    assert_true(c->model.trust_remote_code);
    assert_false(c->model.use_fast_tokenizer);
    assert_int_equal(c->lora.r, 16);
    assert_true(c->lora.lora_alpha == 32);
    assert_true(c->lora.lora_dropout == 0.1);
    assert_true(c->lora.target_is_list);
    assert_int_equal(c->lora.target_modules.n, 4);
    assert_string_equal(c->lora.target_modules.item[3], "o_proj");
    assert_int_equal(c->lora.bias, HONE_BIAS_NONE);
    assert_string_equal(c->lora.task_type, "CAUSAL_LM");
    assert_null(c->lora.init_adapter);
    assert_string_equal(c->training.output_dir, FOLDER "output");
    assert_int_equal(c->training.finetuning_type, HONE_FINETUNING_LORA);
    assert_true(c->training.num_train_epochs == 5);
    assert_int_equal(c->training.max_steps, -1);
    assert_int_equal(c->training.per_device_train_batch_size, 2);
    assert_int_equal(c->training.per_device_eval_batch_size, 1);
    assert_int_equal(c->training.gradient_accumulation_steps, 8);
    assert_true(c->training.learning_rate == 1e-4);
    assert_int_equal(c->training.lr_scheduler_type, HONE_SCHEDULE_LINEAR);
    assert_true(c->training.warmup_ratio == 0.1);
    assert_int_equal(c->training.warmup_steps, 7);
    assert_int_equal(c->training.optim, HONE_OPTIM_ADAMW);
    assert_true(c->training.weight_decay == 0);
    assert_true(c->training.max_grad_norm == 0.3);
    assert_false(c->training.bf16);
    assert_true(c->training.fp16);
    assert_int_equal(c->training.precision, HONE_PRECISION_F32);
    assert_int_equal(c->training.gradient_checkpointing, 2);
    assert_int_equal(c->training.save_strategy, HONE_STRATEGY_EPOCH);
    assert_true(c->training.save_steps == 500);
    assert_int_equal(c->training.save_total_limit, 2);
    assert_int_equal(c->training.evaluation_strategy, HONE_STRATEGY_NO);
    assert_true(c->training.eval_steps == 0.1);
    assert_true(c->training.logging_steps == 1);
    assert_string_equal(c->training.logging_dir, FOLDER "logs");
    assert_int_equal(c->training.report_to.n, 1);
    assert_true(c->training.seed == 1234567890123);
    assert_false(c->training.shuffle);
    assert_false(c->training.packing);
    assert_false(c->training.load_best_model_at_end);
    assert_string_equal(c->training.metric_for_best_model, "eval_accuracy");
    assert_int_equal(c->training.dataloader_num_workers, 3);
    assert_false(c->training.remove_unused_columns);
    assert_int_equal(c->data.train_data_path.n, 1);
    assert_string_equal(c->data.train_data_path.item[0], FOLDER "data/train.jsonl");
    assert_int_equal(c->data.eval_data_path.n, 2);
    assert_string_equal(c->data.eval_data_path.item[1], "/srv/more/*.jsonl");
    assert_true(c->data.val_size == 0.25);
    assert_true(c->data.max_samples == 5000);
    assert_int_equal(c->data.overlong, HONE_OVERLONG_TRUNCATE);
    assert_true(c->data.cache);
    assert_string_equal(c->data.cache_dir, FOLDER "tokens");
    assert_string_equal(c->data.fields.weight, "importance");
    assert_int_equal(c->data.roles.user.n, 1);
    assert_string_equal(c->data.roles.assistant.item[1], "bot");
    assert_int_equal(c->data.split_by, HONE_SPLIT_GROUP);
    assert_true(c->data.quality_enabled);
    assert_non_null(strstr(c->data.quality_rules.item[0], "/rules/domain.yaml"));
    assert_int_equal(c->data.quality_set.n, 2);
    assert_string_equal(c->data.quality_set.item[0], "too_short.min=20");
    assert_int_equal(c->data.quality_only.n, 0);
    assert_string_equal(c->data.quality_skip.item[0], "email");
    assert_string_equal(c->data.label_pattern, "证型：(\\S+)");
    assert_non_null(strstr(c->data.label_words, "/syndromes.txt"));
    assert_int_equal(c->data.scores_compute.n, 2);
    assert_string_equal(c->data.scores_filter.item[1], "perplexity<=200");
    assert_null(c->data.scores_sort);
    assert_string_equal(c->data.scores_weight, "ifd");
    assert_int_equal(c->data.mix_balance, HONE_BALANCE_TASK);
    assert_int_equal(c->data.mix_method, HONE_BALANCE_TEMPERATURE);
    assert_true(c->data.mix_temperature == 3);
    assert_true(c->data.mix_max_per_task == 500);
    assert_true(c->data.mix_weights.n == 1 && c->data.mix_weights.item[0] == 1);
    assert_int_equal(c->data.mix_order, HONE_ORDER_STAGED);
    assert_true(c->data.mix_stages.n == 3 && c->data.mix_stages.item[1] == 0.25);
    assert_false(c->data.augmentation_enabled);
    assert_false(c->distributed.enabled);
    assert_true(c->lora.use_rslora);
    assert_int_equal(c->lora.rank_pattern.name.n, 2);
    assert_string_equal(c->lora.rank_pattern.name.item[1], "layers\\.0\\..*");
    assert_true(c->lora.rank_pattern.value[0] == 32 && c->lora.rank_pattern.value[1] == 4);
    assert_true(c->lora.alpha_pattern.name.n == 1 && c->lora.alpha_pattern.value[0] == 12.5);
    assert_string_equal(c->lora.modules_to_save.item[1], "lm_head");
    assert_true(c->lora.loraplus_lr_ratio == 16);
    assert_int_equal(c->training.freeze_trainable_layers, -3);
    assert_string_equal(c->training.freeze_trainable_modules.item[1], "self_attn");
    assert_string_equal(c->training.freeze_extra_modules.item[0], "norm");
    assert_string_equal(c->training.freeze_trainable_pattern, "q_norm");
    assert_true(c->training.lr_scheduler_kwargs.warmup_lr_rate == 0.2);
    assert_int_equal(c->training.lr_scheduler_kwargs.warmup_type, HONE_CURVE_ONE_MINUS_SQRT);
    assert_int_equal(c->training.lr_scheduler_kwargs.num_stable_steps, 50);
    assert_true(c->training.adam_beta2 == 0.95 && c->training.sgd_momentum == 0.9);
    assert_int_equal(c->training.loss_type, HONE_LOSS_DFT);
    assert_true(c->training.neftune_noise_alpha == 5);
    assert_int_equal(c->training.save_precision, HONE_PRECISION_F32);
    assert_true(c->training.offload_optimizer && c->training.offload_base);
    assert_string_equal(hone_config_offload_dir(c), FOLDER "away");
    assert_string_equal(c->distributed.backend, "nccl");
    assert_false(c->distributed.deepspeed_enabled);
    assert_string_equal(c->distributed.deepspeed_config_file, FOLDER "ds_config.json");
    assert_int_equal(c->distributed.deepspeed_zero_stage, 2);
    assert_int_equal(c->inference.max_new_tokens, 512);
    assert_true(c->inference.temperature == 0.6);
    assert_true(c->inference.top_p == 0.85);
    assert_int_equal(c->inference.top_k, 40);
    assert_true(c->inference.repetition_penalty == 1.05);
    assert_false(c->inference.do_sample);

    assert_true(has_notice(c, "seed.yaml:11: model.trust_remote_code: has no effect"));
    assert_true(has_notice(c, "seed.yaml:12: model.use_fast_tokenizer: has no effect"));
    assert_true(has_notice(c, "seed.yaml:79: training.optim: `adamw` is read as `adamw_torch`"));
    assert_true(has_notice(c, "training.fp16"));
    assert_true(has_notice(c, "training.eval_strategy is read as training.evaluation_strategy"));
    assert_true(has_notice(c, "training.remove_unused_columns: has no effect"));
    assert_true(has_notice(c, "data.train_file is read as data.train_data_path"));
    assert_int_equal(c->n_notice, 7);
    assert_int_equal(hone_config_check(c, &err), 0);
    hone_config_free(c);
}

typedef struct seen_keys {
    char *text;
    size_t n;
} seen_keys;

static void check_seed_has(void *ud, const char *section, const char *key, const char *aliases,
                           const char *type, const char *default_value, const char *help)
{
    seen_keys *s = ud;
    const char *leaf = strrchr(key, '.');
    char line[100];
    bool found;

    (void)section;
    snprintf(line, sizeof line, " %s:", leaf ? leaf + 1 : key);
    found = strstr(s->text, line);
    snprintf(line, sizeof line, " %s:", aliases);
    assert_true(found || strstr(s->text, line));
    assert_true(*type && *help && default_value && *default_value);
    s->n++;
}

static void the_seeds_file_names_every_key(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    seen_keys s = {0};
    size_t len;

    (void)state;
    assert_int_equal(hone_file_read(&s.text, &len, FOLDER "seed.yaml", 1 << 20, &err), 0);
    hone_config_each_key(check_seed_has, &s);
    assert_true(s.n > 60);
    hone_free(s.text);
}

static void defaults_are_those_of_the_contract(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c;

    (void)state;
    assert_int_equal(hone_config_new(&c, &err), 0);
    assert_null(c->model.name_or_path);
    assert_int_equal(c->model.max_length, 2048);
    assert_int_equal(c->lora.r, 8);
    assert_true(c->lora.lora_alpha == 16 && c->lora.lora_dropout == 0.05);
    assert_string_equal(c->lora.target_modules.item[0], "all-linear");
    assert_false(c->lora.target_is_list);
    assert_true(c->training.num_train_epochs == 3);
    assert_int_equal(c->training.max_steps, -1);
    assert_int_equal(c->training.per_device_train_batch_size, 4);
    assert_int_equal(c->training.gradient_accumulation_steps, 4);
    assert_true(c->training.learning_rate == 2e-4);
    assert_int_equal(c->training.lr_scheduler_type, HONE_SCHEDULE_COSINE);
    assert_true(c->training.warmup_ratio == 0.03);
    assert_true(c->training.weight_decay == 0.01 && c->training.max_grad_norm == 1);
    assert_int_equal(c->training.precision, HONE_PRECISION_AUTO);
    assert_int_equal(c->training.gradient_checkpointing, HONE_RECOMPUTE_AUTO);
    assert_int_equal(c->training.save_strategy, HONE_STRATEGY_STEPS);
    assert_true(c->training.save_steps == 100 && c->training.eval_steps == 100 &&
                c->training.logging_steps == 10);
    assert_int_equal(c->training.save_total_limit, 3);
    assert_true(c->training.seed == 42);
    assert_true(c->training.shuffle && c->training.packing && c->training.load_best_model_at_end);
    assert_string_equal(c->training.metric_for_best_model, "eval_loss");
    assert_int_equal(c->training.dataloader_num_workers, 0);
    assert_true(c->data.val_size == 0 && c->data.max_samples == 0);
    assert_int_equal(c->data.overlong, HONE_OVERLONG_ERROR);
    assert_int_equal(c->inference.max_new_tokens, 1024);
    assert_int_equal(c->inference.top_k, 50);
    assert_true(c->inference.temperature == 0.7 && c->inference.top_p == 0.9);
    assert_true(c->inference.repetition_penalty == 1.1 && c->inference.do_sample);
    assert_int_equal(c->n_notice, 0);
    hone_config_free(c);
    hone_config_free(NULL);
}

static void wrong_files_are_refused_with_their_place(void **state)
{
    (void)state;
    REFUSED("training:\n  learning_rat: 1\n", HONE_EINVAL, ":2: ", "`learning_rat`", "`learning_rate`");
    REFUSED("training:\n  evaluation_stratgey: no\n", HONE_EINVAL, ":2: ", "`evaluation_strategy`");
    REFUSED("training:\n  evl_strategy: no\n", HONE_EINVAL, "`eval_strategy`");
    REFUSED("training:\n  lora_alpha: 1\n", HONE_EINVAL, ":2: ", "belongs to section `lora`");
    REFUSED("# c\ntrainig:\n  seed: 1\n", HONE_EINVAL, ":2: ", "`trainig`", "`training`");
    REFUSED("learning_rate: 1\n", HONE_EINVAL, ":1: ", "belongs to section `training`");
    REFUSED("data:\n  augmentation:\n    enable: false\n", HONE_EINVAL, ":3: ", "`augmentation.enabled`");
    REFUSED("data:\n  augmentation: false\n", HONE_EINVAL, ":2: ", "`augmentation`");
    REFUSED("lora:\n  r: 8\n\n  r: 9\n", HONE_EINVAL, ":4: ", "lora.r is given twice", "line 2");
    REFUSED("data:\n  train_file: a\n  train_data_path: b\n", HONE_EINVAL, ":3: ", "twice", "line 2");
    REFUSED("lora:\n  r: 8\nlora:\n  r: 8\n", HONE_EINVAL, ":3: ", "section `lora` is given twice");
    REFUSED("lora:\n  r: 8.5\n", HONE_EFORMAT, ":2: ", "lora.r", "integer in [1, 4096]", "`8.5`");
    REFUSED("lora:\n  r: eight\n", HONE_EFORMAT, ":2: ", "`eight`");
    REFUSED("lora:\n  r: \"8\"\n", HONE_EFORMAT, ":2: ", "remove the quotes");
    REFUSED("lora:\n  r: 1e1\n", HONE_EFORMAT, ":2: ", "`1e1`");
    REFUSED("lora:\n  r: 010\n", HONE_EFORMAT, ":2: ", "`010`");
    REFUSED("lora:\n  r:\n", HONE_EFORMAT, ":2: ", "nothing");
    REFUSED("lora:\n  r: [8]\n", HONE_EFORMAT, ":2: ", "a list");
    REFUSED("lora:\n  r: {a: 8}\n", HONE_EFORMAT, ":2: ", "group of keys");
    REFUSED("lora:\n  r: 0\n", HONE_ERANGE, ":2: ", "lora.r", "not 0");
    REFUSED("lora:\n  r: 99999999999999999999999\n", HONE_ERANGE, ":2: ");
    REFUSED("training:\n  seed: -1\n", HONE_ERANGE, ":2: ", "-1");
    REFUSED("lora:\n  lora_dropout: 1\n", HONE_ERANGE, "[0, 1)");
    REFUSED("training:\n  learning_rate: 0\n", HONE_ERANGE, "> 0");
    REFUSED("training:\n  learning_rate: .inf\n", HONE_EFORMAT, "`.inf`");
    REFUSED("training:\n  learning_rate: 1e999\n", HONE_ERANGE, "1e999");
    REFUSED("training:\n  learning_rate: 1e\n", HONE_EFORMAT, "`1e`");
    REFUSED("data:\n  mix:\n    weights: [1, -2]\n", HONE_ERANGE, ":3: ", "data.mix.weights", "not -2");
    REFUSED("data:\n  mix:\n    weights: [1, two]\n", HONE_EFORMAT, "data.mix.weights", "two");
    REFUSED("data:\n  mix:\n    stages: []\n", HONE_EFORMAT, "data.mix.stages", "empty");
    REFUSED("training:\n  save_steps: 1.5\n", HONE_ERANGE, "whole");
    REFUSED("training:\n  shuffle: yes\n", HONE_EFORMAT, ":2: ", "`yes`", "(write true)");
    REFUSED("training:\n  shuffle: Off\n", HONE_EFORMAT, "(write false)");
    REFUSED("training:\n  shuffle: 1\n", HONE_EFORMAT, "true or false");
    REFUSED("training:\n  shuffle: 'true'\n", HONE_EFORMAT, "remove the quotes");
    REFUSED("training:\n  optim: lion\n", HONE_EFORMAT, ":2: ", "`lion`", "adamw_torch", "adafactor");
    REFUSED("training:\n  gradient_checkpointing: 3\n", HONE_EFORMAT, "auto", "`3`");
    REFUSED("training:\n  output_dir: 12\n", HONE_EFORMAT, "quotes around it");
    REFUSED("training:\n  output_dir: [a]\n", HONE_EFORMAT, "a list");
    REFUSED("training:\n  output_dir: ''\n", HONE_EFORMAT, "null");
    REFUSED("lora:\n  target_modules: []\n", HONE_EFORMAT, "empty");
    REFUSED("lora:\n  target_modules: [a, [b]]\n", HONE_EFORMAT, "list");
    REFUSED("lora:\n  target_modules: [a, 1]\n", HONE_EFORMAT, "`1`");
    REFUSED("lora:\n  target_modules: null\n", HONE_EFORMAT, "leave the key out");
    REFUSED("lora:\n  r: !!int 8\n", HONE_EUNSUPPORTED, ":2: ", "tags");
    REFUSED("lora:\n  task_type: \"a\\0b\"\n", HONE_EFORMAT, "NUL");
    REFUSED("lora: &a\n  r: 8\ntraining:\n  <<: *a\n", HONE_EUNSUPPORTED, ":4: ", "merge keys");
    REFUSED("lora:\n  r: *x\n", HONE_EFORMAT, ":2: ", "undefined alias");
    REFUSED("lora:\n  r: 8\n---\nlora:\n  r: 9\n", HONE_EUNSUPPORTED, "second YAML document");
    REFUSED("lora:\n\tr: 8\n", HONE_EFORMAT, ":2: ", "broken YAML");
    REFUSED("lora:\n  r: [8\n", HONE_EFORMAT, "broken YAML");
    REFUSED("lora:\n  r: \"\xff\"\n", HONE_EFORMAT, "broken YAML");
    REFUSED("lora: 8\n", HONE_EFORMAT, ":1: ", "expected keys");
    REFUSED("- lora\n", HONE_EFORMAT, "expected sections");
    REFUSED("", HONE_EFORMAT, "no keys");
    REFUSED("# nothing\n", HONE_EFORMAT, "no keys");
    REFUSED("training:\n  bf16: true\n  precision: f32\n", HONE_EINVAL, ":3: ", "disagree");
    REFUSED("training:\n  precision: bf16\n  bf16: false\n", HONE_EINVAL, ":3: ", "disagree");
}

static void files_are_bounded_in_size_and_depth(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    char *text = malloc((1 << 20) + 8);
    hone_config *c;

    (void)state;
    assert_int_equal(hone_config_load(&c, "no-such-file.yaml", &err), HONE_ENOENT);
    assert_non_null(strstr(err.message, "no-such-file.yaml"));
    memset(text, '#', (1 << 20) + 1);
    text[(1 << 20) + 1] = 0;
    REFUSED(text, HONE_ELIMIT, "larger than");
    memset(text, '[', 100000);
    text[100000] = 0;
    REFUSED(text, HONE_EFORMAT, "broken YAML");
    free(text);
    /* An alias inside its own anchor, and a tree that doubles at every level. */
    REFUSED("lora: &a\n  target_modules: [*a]\n", HONE_EFORMAT, ":2: ");
    REFUSED("lora:\n  target_modules: [&a [x, x], &b [*a, *a], &c [*b, *b]]\n", HONE_EFORMAT, ":2: ");
}

static void numbers_words_and_anchors(void **state)
{
    hone_config *c = loaded(
        "\xef\xbb\xbftraining:\r\n  learning_rate: &x 1E-5\r\n  weight_decay: *x\r\n  save_steps: .5\r\n"
        "  gradient_checkpointing: false\r\n  dataloader_num_workers: null\r\n"
        "  save_total_limit: all\r\n  report_to: none\r\n  bf16: true\r\n"
        "data:\r\n  max_samples: all\r\n  val_size: 20\r\n  eval_data_path: ~\r\nlora:\r\n");

    (void)state;
    assert_true(c->training.learning_rate == 1e-5 && c->training.weight_decay == 1e-5);
    assert_true(c->training.save_steps == 0.5);
    assert_int_equal(c->training.gradient_checkpointing, 0);
    assert_int_equal(c->training.dataloader_num_workers, 0);
    assert_int_equal(c->training.save_total_limit, 0);
    assert_string_equal(c->training.report_to.item[0], "none");
    assert_int_equal(c->training.precision, HONE_PRECISION_BF16);
    assert_true(c->data.max_samples == 0 && c->data.val_size == 20);
    assert_int_equal(c->data.eval_data_path.n, 0);
    assert_int_equal(c->n_notice, 0);
    hone_config_free(c);
    /* null is refused where it would mean something else than the default. */
    REFUSED("training:\n  save_total_limit: null\n", HONE_EFORMAT, "nothing");
}

static void set_overrides(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c = loaded("training:\n  bf16: true\n  learning_rate: 1e-3\n");
    char cwd[4096], want[4200];
    static const struct {
        const char *assignment;
        int code;
        const char *needle;
    } bad[] = {
        {"training.learning_rat=1", HONE_EINVAL, "`learning_rate`"},
        {"trainig.seed=1", HONE_EINVAL, "`training`"},
        {"seed=1", HONE_EINVAL, "section.key=value"},
        {"training.seed", HONE_EINVAL, "section.key=value"},
        {"training.seed=abc", HONE_EFORMAT, "training.seed"},
        {"training.seed=[1", HONE_EFORMAT, "--set"},
        {"training.seed=", HONE_EFORMAT, "nothing"},
        {"training.output_dir=*x", HONE_EFORMAT, "--set"},
        {"lora={r: 8}", HONE_EINVAL, "section.key=value"},
        {"data.augmentation={enabled: false}", HONE_EINVAL, "augmentation"},
    };
    size_t i;

    (void)state;
    assert_int_equal(hone_config_set(c, "training.learning_rate=5e-5", &err), 0);
    assert_true(c->training.learning_rate == 5e-5);
    assert_int_equal(hone_config_set(c, "training.precision=f32", &err), 0);
    assert_false(c->training.bf16);
    assert_int_equal(hone_config_set(c, "lora.target_modules=[q_proj, v_proj]", &err), 0);
    assert_int_equal(c->lora.target_modules.n, 2);
    assert_true(c->lora.target_is_list);
    assert_int_equal(hone_config_set(c, "lora.target_modules=.*_proj", &err), 0);
    assert_false(c->lora.target_is_list);
    assert_int_equal(hone_config_set(c, "data.augmentation.enabled=true", &err), 0);
    assert_true(c->data.augmentation_enabled);
    assert_int_equal(hone_config_set(c, "training.logging_dir=", &err), 0);
    assert_int_equal(hone_config_set(c, "data.train_file=./x=y.jsonl", &err), 0);
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(want, sizeof want, "%s/x=y.jsonl", cwd);
    assert_string_equal(c->data.train_data_path.item[0], want);
    assert_true(has_notice(c, "--set: data.train_file is read as"));
    for (i = 0; i < HONE_COUNT(bad); i++) {
        hone_error e = HONE_ERROR_INIT;

        assert_int_equal(hone_config_set(c, bad[i].assignment, &e), bad[i].code);
        if (!strstr(e.message, bad[i].needle))
            print_message("%s\n", e.message);
        assert_non_null(strstr(e.message, bad[i].needle));
        assert_non_null(strstr(e.message, "--set"));
    }
    assert_true(c->training.seed == 42);
    hone_config_free(c);
}

static void a_quantised_base_is_checked(void **state)
{
    static const struct {
        const char *set[3], *needle; /* NULL: fine */
    } cases[] = {
        {{"model.load_in_4bit=true", "model.load_in_8bit=true"}, "both"},
        {{"model.load_in_4bit=true", "training.finetuning_type=full"}, "load_in_4bit: a quantised base"},
        {{"model.load_in_8bit=true", "training.finetuning_type=freeze"}, "load_in_8bit: a quantised base"},
        {{"model.load_in_4bit=true", "training.precision=f32", "model.bnb_4bit_compute_dtype=bfloat16"},
         "disagree"},
        {{"model.load_in_4bit=true", "training.precision=f32", "model.bnb_4bit_compute_dtype=float32"}, NULL},
        {{"model.load_in_8bit=true", "training.precision=f32", "model.bnb_4bit_compute_dtype=bfloat16"},
         NULL},
        {{"training.finetuning_type=full", "model.bnb_4bit_quant_type=fp4"}, NULL},
    };
    const char *const good =
        "model:\n  name_or_path: m\ntraining:\n  output_dir: o\ndata:\n  train_file: d\n";
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_config *c = loaded(good);

        for (k = 0; k < 3 && cases[i].set[k]; k++)
            assert_int_equal(hone_config_set(c, cases[i].set[k], &err), 0);
        assert_int_equal(hone_config_check(c, &err), cases[i].needle ? HONE_EINVAL : 0);
        if (cases[i].needle)
            assert_non_null(strstr(err.message, cases[i].needle));
        hone_config_free(c);
    }
}

static void check_refuses_by_name(void **state)
{
    static const struct {
        const char *assignment;
        int code;
        const char *needle;
    } bad[] = {
        {"training.lr_scheduler_type=warmup_stable_decay", HONE_EINVAL, "num_decay_steps"},
        {"training.lr_scheduler_type=reduce_lr_on_plateau", HONE_EINVAL, "data.val_size"},
        {"training.lr_scheduler_type=greedy", HONE_EINVAL, "greedy needs rows to evaluate"},
        {"data.augmentation.enabled=true", HONE_EUNSUPPORTED, "data.augmentation.enabled"},
        {"distributed.enabled=true", HONE_EUNSUPPORTED, "distributed.enabled"},
        {"distributed.deepspeed.enabled=true", HONE_EUNSUPPORTED, "deepspeed.enabled"},
        {"training.report_to=wandb", HONE_EUNSUPPORTED, "`wandb` needs a network"},
        {"training.report_to=[tensorboard, mlflow]", HONE_EUNSUPPORTED, "`mlflow` needs a network"},
        {"training.report_to=tensorbord", HONE_EINVAL, "`tensorbord`"},
        {"training.report_to=[none, tensorboard]", HONE_EINVAL, "alone"},
        {"lora.layers_to_transform=[0]", HONE_EINVAL, "list of names"},
        {"lora.layers_to_transform=[0.5]", HONE_EINVAL, "0.5"},
        {"lora.layers_pattern=[h]", HONE_EINVAL, "layers_to_transform"},
        {"lora.target_modules=[all-linear]", HONE_EINVAL, "alone"},
        {"lora.target_modules='q_proj,v_proj'", HONE_EINVAL, "[q_proj, v_proj]"},
        {"lora.task_type=SEQ_CLS", HONE_EUNSUPPORTED, "CAUSAL_LM"},
        {"training.metric_for_best_model=bleu", HONE_EINVAL, "eval_perplexity"},
        {"data.scores.compute=[ifd, bleu]", HONE_EINVAL, "`bleu`"},
        {"data.mix.weights=[1, 1]", HONE_EINVAL, "2 numbers, data.train_data_path 1 paths"},
        {"data.mix.stages=[0.5, 0.5]", HONE_EINVAL, "three shares"},
        {"data.streaming=true", HONE_EINVAL, "data.streaming needs data.cache: true"},
        {"model.name_or_path=", HONE_EINVAL, "model.name_or_path is required"},
        {"training.output_dir=", HONE_EINVAL, "training.output_dir is required"},
        {"data.train_data_path=", HONE_EINVAL, "data.train_data_path is required"},
    };
    const char *const good =
        "model:\n  name_or_path: m\ntraining:\n  output_dir: o\ndata:\n  train_file: d\n";
    hone_error err = HONE_ERROR_INIT;
    hone_config *c = loaded(good);
    size_t i;

    (void)state;
    assert_int_equal(hone_config_check(c, &err), 0);
    assert_int_equal(hone_config_set(c, "training.bf16=true", &err), 0);
    assert_int_equal(hone_config_set(c, "training.fp16=true", &err), 0);
    assert_int_equal(hone_config_check(c, &err), HONE_EINVAL);
    hone_config_free(c);
    for (i = 0; i < HONE_COUNT(bad); i++) {
        hone_error e = HONE_ERROR_INIT;

        c = loaded(good);
        assert_int_equal(hone_config_set(c, bad[i].assignment, &e), 0);
        assert_int_equal(hone_config_check(c, &e), bad[i].code);
        if (!strstr(e.message, bad[i].needle))
            print_message("%s\n", e.message);
        assert_non_null(strstr(e.message, bad[i].needle));
        hone_config_free(c);
    }
}

static void assert_same_strings(const hone_strings *a, const hone_strings *b)
{
    size_t i;

    assert_int_equal(a->n, b->n);
    for (i = 0; i < a->n; i++)
        assert_string_equal(a->item[i], b->item[i]);
}

static void assert_same_text(const char *a, const char *b)
{
    assert_true(!a == !b);
    if (a)
        assert_string_equal(a, b);
}

/* Saves, loads from another folder, and compares: once field by field for what is not plain data, once bytewise for
 * all the rest. */
static void assert_same_numbers(const hone_numbers *a, const hone_numbers *b)
{
    assert_int_equal(a->n, b->n);
    if (a->n)
        assert_memory_equal(a->item, b->item, a->n * sizeof *a->item);
}

static void assert_round_trip(const hone_config *c)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *d, x, y;

    assert_int_equal(hone_mkdirs("test_config_saved", &err), 0);
    assert_int_equal(hone_config_save(c, "test_config_saved/config.yaml", &err), 0);
    if (hone_config_load(&d, "test_config_saved/config.yaml", &err))
        print_message("%s\n", err.message);
    assert_non_null(d);
    x = *c;
    y = *d;
#define TEXT(field) (assert_same_text(x.field, y.field), x.field = y.field = NULL)
#define STRINGS(field) (assert_same_strings(&x.field, &y.field), x.field = y.field = (hone_strings){0})
#define PATTERNS(field)                                                                                      \
    (assert_same_strings(&x.field.name, &y.field.name),                                                      \
     assert_memory_equal(x.field.name.n ? (void *)x.field.value : (void *)"",                                \
                         x.field.name.n ? (void *)y.field.value : (void *)"",                                \
                         x.field.name.n * sizeof(double)),                                                   \
     x.field = y.field = (hone_patterns){0})
#define NUMBERS(field) (assert_same_numbers(&x.field, &y.field), x.field = y.field = (hone_numbers){0})
    TEXT(model.name_or_path);
    TEXT(model.cache_dir);
    TEXT(lora.task_type);
    TEXT(lora.init_adapter);
    PATTERNS(lora.rank_pattern);
    PATTERNS(lora.alpha_pattern);
    STRINGS(lora.modules_to_save);
    NUMBERS(lora.trainable_token_indices);
    STRINGS(lora.trainable_token_modules);
    STRINGS(training.freeze_trainable_modules);
    STRINGS(training.freeze_extra_modules);
    TEXT(training.freeze_trainable_pattern);
    TEXT(training.output_dir);
    TEXT(training.logging_dir);
    TEXT(training.offload_dir);
    TEXT(training.metric_for_best_model);
    TEXT(distributed.backend);
    TEXT(distributed.deepspeed_config_file);
    STRINGS(lora.target_modules);
    STRINGS(lora.limits.exclude);
    STRINGS(lora.limits.layers_pattern);
    STRINGS(training.report_to);
    STRINGS(training.sample_prompts);
    STRINGS(training.sample_data_path);
    STRINGS(data.train_data_path);
    STRINGS(data.eval_data_path);
    STRINGS(data.replay_data_path);
    STRINGS(data.contamination_against);
    STRINGS(data.roles.user);
    STRINGS(data.roles.assistant);
    STRINGS(data.roles.system);
    STRINGS(data.roles.tool);
    STRINGS(data.quality_rules);
    STRINGS(data.quality_set);
    STRINGS(data.quality_only);
    STRINGS(data.quality_skip);
    TEXT(data.label_pattern);
    TEXT(data.label_words);
    STRINGS(data.scores_compute);
    STRINGS(data.scores_filter);
    TEXT(data.scores_sort);
    TEXT(data.scores_weight);
    TEXT(data.mix_curriculum);
    NUMBERS(lora.limits.layers);
    NUMBERS(data.mix_weights);
    NUMBERS(data.mix_stages);
    TEXT(data.cache_dir);
    TEXT(training.resume_from_checkpoint);
    TEXT(data.fields.messages);
    TEXT(data.fields.instruction);
    TEXT(data.fields.input);
    TEXT(data.fields.output);
    TEXT(data.fields.system);
    TEXT(data.fields.history);
    TEXT(data.fields.tools);
    TEXT(data.fields.text);
    TEXT(data.fields.id);
    TEXT(data.fields.task);
    TEXT(data.fields.label);
    TEXT(data.fields.group);
    TEXT(data.fields.weight);
    TEXT(data.fields.role);
    TEXT(data.fields.content);
    x.source = y.source = NULL;
    x.notice = y.notice = NULL;
    x.n_notice = y.n_notice = 0;
    assert_memory_equal(&x, &y, sizeof x);
    hone_config_free(d);
    unlink("test_config_saved/config.yaml");
    rmdir("test_config_saved");
}

static void what_is_saved_loads_back(void **state)
{
    static const char *const set[] = {
        "training.learning_rate=0.1",
        "training.weight_decay=0.30000000000000004",
        "training.max_grad_norm=5e-324",
        "lora.lora_alpha=1.7976931348623157e308",
        "training.seed=9007199254740992",
        "training.save_steps=1e-3",
        "training.gradient_checkpointing=1",
        "training.precision=bf16",
        "training.report_to=none",
        "training.output_dir=\"a b: # 'x' \\\"q\\\" \\\\ \\n \\t \\N \\L \\e \\u200b \\u4e2d\"",
        "model.name_or_path=\xe4\xb8\xad\xe6\x96\x87",
        "data.train_data_path=['*.json', \"- x\", 'true', \"~\", '1e3', \"\\ufeff\"]",
        "lora.target_modules=[q_proj]",
        "lora.rank_pattern={'a: b': 3, \"c\\\\d\": 5}",
        "lora.alpha_pattern=null",
        "distributed.backend='no'",
        "model.use_fast_tokenizer=false",
    };
    hone_error err = HONE_ERROR_INIT;
    hone_config *c;
    size_t i;

    (void)state;
    assert_int_equal(hone_config_new(&c, &err), 0);
    assert_round_trip(c);
    for (i = 0; i < HONE_COUNT(set); i++) {
        if (hone_config_set(c, set[i], &err))
            print_message("%s\n", err.message);
        assert_int_equal(err.code, 0);
        assert_round_trip(c);
    }
    hone_config_free(c);
    assert_int_equal(hone_config_load(&c, FOLDER "seed.yaml", &err), 0);
    assert_round_trip(c);
    hone_config_free(c);
}

/* Under a locale with a decimal comma (where the machine has one), numbers are still read and written with a point. */
static void numbers_do_not_follow_the_locale(void **state)
{
    hone_config *c;

    (void)state;
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8")) {
        print_message("no locale with a decimal comma here\n");
        skip();
    }
    c = loaded("training:\n  learning_rate: 2.5e-4\n");
    assert_true(c->training.learning_rate == 2.5e-4);
    assert_round_trip(c);
    hone_config_free(c);
    setlocale(LC_ALL, "C");
}

static bool countdown(void *ud, size_t size)
{
    int *left = ud;

    (void)size;
    return (*left)-- > 0;
}

/* Every allocation of ours fails once; each time the call says so and leaks nothing (the sanitizer watches). */
static void every_allocation_may_fail(void **state)
{
    hone_error ignored = HONE_ERROR_INIT;
    hone_config *c, *d;
    int n, left, rc = HONE_ENOMEM;

    (void)state;
    for (n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = hone_config_load(&c, FOLDER "seed.yaml", &err);
        hone_mem_hook(NULL, NULL);
        assert_true(rc == 0 || (rc == HONE_ENOMEM && err.code == HONE_ENOMEM));
        assert_true(n < 10000);
    }
    assert_true(n > 50);
    for (rc = HONE_ENOMEM, n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = hone_config_set(c, "lora.target_modules=[a, b, c]", &err);
        hone_mem_hook(NULL, NULL);
        assert_true(rc == 0 || (rc == HONE_ENOMEM && c->lora.target_modules.n == 4));
    }
    for (rc = HONE_ENOMEM, n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = hone_config_save(c, "test_config_saved.yaml", &err);
        hone_mem_hook(NULL, NULL);
        assert_true(rc == 0 || rc == HONE_ENOMEM);
        assert_int_equal(rc == 0, hone_path_exists("test_config_saved.yaml"));
    }
    assert_int_equal(hone_config_load(&d, "test_config_saved.yaml", &ignored), 0);
    hone_config_free(d);
    hone_config_free(c);
    unlink("test_config_saved.yaml");
}

static void the_reference_page_is_up_to_date(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    char *now, *page;
    size_t len;

    (void)state;
    assert_int_equal(hone_config_reference(&now, &err), 0);
    assert_int_equal(hone_file_read(&page, &len, HONE_TEST_DIR "/../docs/config.md", 1 << 20, &err), 0);
    if (strcmp(now, page))
        print_message("docs/config.md is old: run tools/make-config-docs.sh\n");
    assert_string_equal(now, page);
    hone_free(now);
    hone_free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seeds_file_loads_as_it_is),
        cmocka_unit_test(the_seeds_file_names_every_key),
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(wrong_files_are_refused_with_their_place),
        cmocka_unit_test(files_are_bounded_in_size_and_depth),
        cmocka_unit_test(numbers_words_and_anchors),
        cmocka_unit_test(set_overrides),
        cmocka_unit_test(a_quantised_base_is_checked),
        cmocka_unit_test(check_refuses_by_name),
        cmocka_unit_test(what_is_saved_loads_back),
        cmocka_unit_test(numbers_do_not_follow_the_locale),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_reference_page_is_up_to_date),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
