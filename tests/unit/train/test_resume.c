/* Going on from a checkpoint: k steps and the rest have the bits of a run that never stopped, whatever k and optimiser;
 * what a killed run leaves behind is no checkpoint; a damaged or foreign one is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/hone.h"

#define MODEL HONE_TEST_DIR "/golden/tiny_chat"
#define STEPS 7

static char folder[] = "/tmp/hone_resume_XXXXXX";

static int make_folder(void **state)
{
    static const char *const question[] = {"What is the answer?", "你好", "jump", "more", "舌苔", "thanks"};
    hone_buf b = {0};
    char path[100];
    size_t i;

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (i = 0; i < HONE_COUNT(question); i++)
        hone_buf_printf(
            &b, "{\"instruction\": \"%s\", \"output\": \"It is %zu, and 今天天气很好.\", \"weight\": %g}\n",
            question[i], i, 0.5 + (double)i);
    snprintf(path, sizeof path, "%s/rows.jsonl", folder);
    assert_int_equal(hone_file_write(path, b.data, b.len, NULL), 0);
    hone_buf_clear(&b);
    return 0;
}

static int remove_folder(void **state)
{
    char command[100];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

struct run {
    int stop_after; /* steps of this process; 0 = none */
    int steps;
    int changes; /* steps whose learning rate is not that of the step before */
    double rate;
    char note[300];
};

static void on_step(void *ud, const hone_step *s, bool log)
{
    struct run *r = ud;

    (void)log;
    r->changes += r->steps && s->learning_rate != r->rate;
    r->rate = s->learning_rate;
    r->steps++;
}

static bool on_stop(void *ud)
{
    const struct run *r = ud;

    return r->stop_after && r->steps >= r->stop_after;
}

static void on_note(void *ud, const char *line)
{
    struct run *r = ud;

    if (strstr(line, "going on"))
        snprintf(r->note, sizeof r->note, "%s", line);
}

/* Trains into folder/out with further settings, a list that ends with NULL. */
static int train(struct run *r, const char *out, const char *const *more, hone_train_result *result,
                 hone_error *err)
{
    const char *const base[] = {"model.name_or_path=" MODEL,
                                "model.max_length=256",
                                "lora.r=3",
                                "lora.lora_dropout=0.2",
                                "training.learning_rate=1e-2",
                                "training.precision=f32",
                                "training.max_steps=7",
                                "training.per_device_train_batch_size=1",
                                "training.gradient_accumulation_steps=2",
                                "training.save_steps=2",
                                "training.eval_steps=3",
                                "training.report_to=[tensorboard, csv]",
                                "data.val_size=1",
                                NULL};
    hone_train_callbacks cb = {.ud = r, .note = on_note, .step = on_step, .stop = on_stop};
    hone_device_params dp = hone_device_default();
    hone_device *dev;
    hone_config *c;
    char line[200];
    int i, rc;

    assert_int_equal(hone_config_new(&c, err), 0);
    for (i = 0; base[i]; i++)
        assert_int_equal(hone_config_set(c, base[i], err), 0);
    snprintf(line, sizeof line, "data.train_data_path=%s/rows.jsonl", folder);
    assert_int_equal(hone_config_set(c, line, err), 0);
    snprintf(line, sizeof line, "training.output_dir=%s/%s", folder, out);
    assert_int_equal(hone_config_set(c, line, err), 0);
    for (i = 0; more && more[i]; i++)
        if (hone_config_set(c, more[i], err))
            fail_msg("%s: %s", more[i], err->message);
    dp.threads = 2;
    assert_int_equal(hone_device_open(&dev, &dp, err), 0);
    rc = hone_train_run(c, dev, &cb, result, err);
    hone_device_close(dev);
    hone_config_free(c);
    return rc;
}

static void must_train(struct run *r, const char *out, const char *const *more, hone_train_result *result)
{
    hone_error err = HONE_ERROR_INIT;

    if (train(r, out, more, result, &err))
        fail_msg("%s: %s", out, err.message);
}

static char *read_file(const char *out, const char *name, size_t *n)
{
    char path[300], *text;
    hone_error err = HONE_ERROR_INIT;

    snprintf(path, sizeof path, "%s/%s/%s", folder, out, name);
    if (hone_file_read(&text, n, path, 1 << 26, &err))
        fail_msg("%s", err.message);
    return text;
}

static void same_file(const char *a, const char *b, const char *name)
{
    size_t n, m;
    char *x = read_file(a, name, &n), *y = read_file(b, name, &m);

    if (n != m || memcmp(x, y, n) != 0)
        fail_msg("%s of %s and %s differ", name, a, b);
    hone_free(x);
    hone_free(y);
}

/* Steps and losses of metrics.jsonl, without what time and memory make different. */
static char *losses(const char *out)
{
    size_t n;
    char *text = read_file(out, "metrics.jsonl", &n), *line, *end;
    hone_buf b = {0};

    for (line = text; (end = strchr(line, '\n')); line = end + 1) {
        char *stop = strstr(line, ",\"tokens_per_second\"");

        hone_buf_add(&b, line, (size_t)((stop && stop < end ? stop : end) - line));
        hone_buf_putc(&b, '\n');
    }
    hone_free(text);
    return hone_buf_take(&b);
}

/* Optimisers, and methods whose weights are made anew when a run goes on. */
static const char *const methods[][2] = {
    {"training.optim=adamw_torch"}, {"training.optim=adamw_8bit"},
    {"training.optim=adafactor"},   {"training.optim=sgd"},
    {"model.load_in_4bit=true"},    {"model.load_in_8bit=true", "lora.use_dora=true"},
};

static void goes_on_bit_for_bit(void **state)
{
    size_t o;
    int k;

    (void)state;
    for (o = 0; o < HONE_COUNT(methods); o++) {
        const char *whole_set[] = {methods[o][0], methods[o][1], NULL};
        const char *part_set[] = {"training.resume_from_checkpoint=auto", methods[o][0], methods[o][1], NULL};
        char whole[40], part[40], *a, *b;
        hone_train_result r, s;
        struct run once = {0};

        snprintf(whole, sizeof whole, "whole%zu", o);
        must_train(&once, whole, whole_set, &r);
        a = losses(whole);
        for (k = 1; k < STEPS; k += o ? 2 : 1) {
            struct run first = {.stop_after = k}, rest = {0};

            snprintf(part, sizeof part, "part%zu-%d", o, k);
            must_train(&first, part, part_set, &s);
            assert_true(s.stopped);
            assert_int_equal(s.steps, k);
            must_train(&rest, part, part_set, &s);
            assert_int_equal(rest.steps, STEPS - k);
            assert_non_null(strstr(rest.note, "going on after step"));
            assert_int_equal(s.steps, STEPS);
            assert_true(s.train_loss == r.train_loss && s.eval.loss == r.eval.loss &&
                        s.best_step == r.best_step);
            assert_int_equal(s.trained_tokens, r.trained_tokens);
            same_file(whole, part, "adapter_model.safetensors");
            same_file(whole, part, "checkpoint-7/adapter_model.safetensors");
            b = losses(part);
            assert_string_equal(a, b);
            hone_free(b);
        }
        hone_free(a);
    }
}

/* What a schedule has made of the evaluations is part of the state, with the losses that are smoothed. */
static void schedules_that_react_go_on(void **state)
{
    static const char *const schedules[] = {"training.lr_scheduler_type=greedy",
                                            "training.lr_scheduler_type=reduce_lr_on_plateau"};
    static const int at[] = {1, 4, 6, 9};
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(schedules); i++) {
        const char *set[] = {schedules[i],
                             "training.lr_scheduler_kwargs.smooth=true",
                             "training.lr_scheduler_kwargs.window_size=3",
                             "training.lr_scheduler_kwargs.patience=0",
                             "training.lr_scheduler_kwargs.warmup=1",
                             "training.lr_scheduler_kwargs.cooldown=1",
                             "training.lr_scheduler_kwargs.factor=0.5",
                             "training.lr_scheduler_kwargs.max_lr=4",
                             "training.learning_rate=0.5",
                             "training.eval_steps=1",
                             "training.max_steps=12",
                             "training.resume_from_checkpoint=auto",
                             NULL};
        char whole[40], part[40], *a, *b;
        struct run once = {0};
        hone_train_result r, s;

        snprintf(whole, sizeof whole, "reacting%zu", i);
        must_train(&once, whole, set, &r);
        assert_true(once.changes >= 2);
        a = losses(whole);
        for (k = 0; k < HONE_COUNT(at); k++) {
            struct run first = {.stop_after = at[k]}, rest = {0};

            snprintf(part, sizeof part, "reacting%zu-%d", i, at[k]);
            must_train(&first, part, set, &s);
            assert_int_equal(s.steps, at[k]);
            must_train(&rest, part, set, &s);
            assert_true(rest.rate == once.rate && s.train_loss == r.train_loss);
            same_file(whole, part, "adapter_model.safetensors");
            b = losses(part);
            assert_string_equal(a, b);
            hone_free(b);
        }
        hone_free(a);
    }
}

/* Patience, the best metric and the guard's window are part of the state: stopped anywhere, the run ends where the whole
 * one does. A wide threshold and narrow factors make both act. */
static void guards_and_patience_go_on(void **state)
{
    const char *set[] = {"training.max_steps=60",
                         "training.learning_rate=0.5",
                         "training.lr_scheduler_type=constant",
                         "training.max_grad_norm=0",
                         "training.eval_steps=2",
                         "training.eval_delay=16",
                         "training.eval_on_start=true",
                         "training.early_stopping_patience=12",
                         "training.early_stopping_threshold=0.5",
                         "training.metric_for_best_model=eval_loss",
                         "training.loss_spike_factor=1.01",
                         "training.grad_spike_factor=1.01",
                         "training.loss_spike_action=skip",
                         "training.resume_from_checkpoint=auto",
                         NULL};
    static const int at[] = {3, 17, 23};
    struct run once = {0};
    hone_train_result r, s;
    char *a, *b;
    size_t k;

    (void)state;
    must_train(&once, "guarded", set, &r);
    assert_true(r.stopped_early && !r.stopped);
    assert_true(r.steps < 60 && r.steps > 24);
    assert_true(r.skipped > 0);
    a = losses("guarded");
    assert_memory_equal(a, "{\"step\":0,\"eval_loss\"", 21);
    for (k = 0; k < HONE_COUNT(at); k++) {
        struct run first = {.stop_after = at[k]}, rest = {0};
        char out[32];

        snprintf(out, sizeof out, "guarded-%d", at[k]);
        must_train(&first, out, set, &s);
        assert_int_equal(s.steps, at[k]);
        must_train(&rest, out, set, &s);
        assert_true(s.stopped_early && s.steps == r.steps && s.skipped == r.skipped &&
                    s.best_step == r.best_step);
        same_file("guarded", out, "adapter_model.safetensors");
        b = losses(out);
        assert_string_equal(a, b);
        hone_free(b);
        must_train(&rest, out, set, &s); /* a run that is over stays so */
        assert_true(s.stopped_early && s.steps == r.steps);
    }
    hone_free(a);
}

/* Two stages in one configuration file, stopped after every step, on both sides of their border too. */
static void stages_go_on(void **state)
{
    char path[100], *text, *a[2] = {NULL, NULL};
    hone_buf y = {0};
    hone_error err = HONE_ERROR_INIT;
    size_t n;
    int k, i;

    (void)state;
    snprintf(path, sizeof path, "%s/stages.yaml", folder);
    hone_buf_printf(&y,
                    "model: {name_or_path: %s, max_length: 256}\n"
                    "lora: {r: 3}\n"
                    "training: {precision: f32, learning_rate: 1e-2, per_device_train_batch_size: 1,\n"
                    "  gradient_accumulation_steps: 2, save_steps: 2, eval_steps: 2}\n"
                    "data: {train_data_path: rows.jsonl, val_size: 1}\n"
                    "stages:\n"
                    "- {name: warm, training: {max_steps: 3, group_by_length: true}}\n"
                    "- {training: {num_train_epochs: 2, learning_rate: 3e-3, lr_scheduler_type: linear},\n"
                    "   data: {max_samples: 5}, lora: {lora_dropout: 0}}\n",
                    MODEL);
    assert_int_equal(hone_file_write(path, y.data, y.len, &err), 0);
    hone_buf_clear(&y);
    for (k = 0; k < 7; k++) { /* 3 steps, then 2 in each of 2 epochs */
        struct run r = {.stop_after = k}, rest = {0};
        hone_train_callbacks cb = {.ud = &r, .note = on_note, .step = on_step, .stop = on_stop};
        char out[40], line[120];
        hone_train_result result;
        hone_device *dev;
        hone_config *c;

        snprintf(out, sizeof out, "staged-%d", k);
        snprintf(line, sizeof line, "training.output_dir=%s/%s", folder, out);
        if (hone_config_load(&c, path, &err) || hone_config_set(c, line, &err) ||
            hone_config_set(c, "training.resume_from_checkpoint=auto", &err) || hone_config_check(c, &err))
            fail_msg("%s", err.message);
        assert_int_equal(c->n_stages, 2);
        assert_int_equal(hone_device_open(&dev, NULL, &err), 0);
        if (hone_train_run(c, dev, &cb, &result, &err))
            fail_msg("%s", err.message);
        assert_int_equal(result.stopped, k > 0);
        assert_int_equal(r.steps, k ? k : 7);
        if (k) {
            cb.ud = &rest;
            if (hone_train_run(c, dev, &cb, &result, &err))
                fail_msg("%s", err.message);
            assert_int_equal(rest.steps, 7 - k);
            assert_false(result.stopped);
            same_file("staged-0", out, "adapter_model.safetensors");
        }
        hone_device_close(dev);
        hone_config_free(c);
        for (i = 0; i < 2; i++) {
            char dir[60], *b;

            snprintf(dir, sizeof dir, "%s/%s", out, i ? "stage-2-2" : "stage-1-warm");
            b = losses(dir);
            if (k)
                assert_string_equal(a[i], b);
            if (i)
                same_file(out, dir, "adapter_model.safetensors");
            if (k)
                hone_free(b);
            else
                a[i] = b;
        }
    }
    hone_free(a[0]);
    hone_free(a[1]);
    text = read_file("staged-0", "config.yaml", &n);
    assert_non_null(strstr(text, "stages:\n  - name: warm\n    training:\n      max_steps: 3\n"));
    hone_free(text);
}

/* Old rows among the new ones, in packs that differ from epoch to epoch, with evaluations and checkpoints by epoch. */
static void replay_goes_on(void **state)
{
    char path[100], old[140], *a, *rows;
    const char *const set[] = {old,
                               "data.replay_ratio=0.5",
                               "training.packing_strategy=bfd",
                               "training.max_steps=-1",
                               "training.num_train_epochs=3",
                               "training.gradient_accumulation_steps=1",
                               "training.evaluation_strategy=epoch",
                               "training.save_strategy=epoch",
                               "training.resume_from_checkpoint=auto",
                               NULL};
    struct run once = {0};
    hone_error err = HONE_ERROR_INIT;
    hone_train_result r, s;
    hone_buf b = {0};
    size_t n;
    int k;

    (void)state;
    for (k = 0; k < 4; k++)
        hone_buf_printf(&b, "{\"instruction\": \"older %d\", \"output\": \"as it was %d\"}\n", k, k * k);
    snprintf(path, sizeof path, "%s/old.jsonl", folder);
    snprintf(old, sizeof old, "data.replay_data_path=%s", path);
    assert_int_equal(hone_file_write(path, b.data, b.len, &err), 0);
    hone_buf_clear(&b);
    must_train(&once, "replay", set, &r);
    assert_true(r.steps >= 3 && r.has_eval);
    a = losses("replay");
    for (k = 1; k < r.steps; k++) {
        struct run first = {.stop_after = k}, rest = {0};
        char part[40], *c;

        snprintf(part, sizeof part, "replay-%d", k);
        must_train(&first, part, set, &s);
        must_train(&rest, part, set, &s);
        assert_int_equal(first.steps, k);
        assert_int_equal(first.steps + rest.steps, r.steps);
        c = losses(part);
        assert_string_equal(a, c);
        hone_free(c);
        same_file("replay", part, "adapter_model.safetensors");
        same_file("replay", part, "rows.jsonl");
    }
    hone_free(a);
    rows = read_file("replay", "rows.jsonl", &n);
    assert_non_null(strstr(rows, "old.jsonl\",\"line\":1,\"row\":0,\"replay\":true,"));
    hone_free(rows);
    {
        const char *const other[] = {old,
                                     "data.replay_ratio=0.4",
                                     set[2],
                                     set[3],
                                     set[4],
                                     set[5],
                                     set[6],
                                     set[7],
                                     "training.resume_from_checkpoint=true",
                                     NULL};

        assert_int_equal(train(&once, "replay", other, &s, &err), HONE_EINVAL); /* of another run */
        assert_non_null(strstr(err.message, "replayed 5 of 4"));
        assert_non_null(strstr(err.message, "replayed 3 of 4"));
    }
}

static void whole_models_go_on(void **state)
{
    static const char *const set[] = {"training.finetuning_type=full", "training.save_precision=bf16",
                                      "training.resume_from_checkpoint=auto", NULL};
    struct run once = {0}, first = {.stop_after = 3}, rest = {0};
    hone_train_result r;

    (void)state;
    must_train(&once, "full", set, &r);
    must_train(&first, "full-part", set, &r);
    must_train(&rest, "full-part", set, &r);
    assert_int_equal(rest.steps, STEPS - 3);
    same_file("full", "full-part", "model.safetensors");
}

/* Whether states lie in memory or in a file is no part of a checkpoint: from either one goes on with either. */
static void off_loaded_states_go_on(void **state)
{
    static const char *const optimisers[] = {"training.optim=adamw_torch", "training.optim=adamw_8bit"};
    static const char *const way[] = {"training.offload_optimizer=false", "training.offload_optimizer=true"};
    size_t o, i;

    (void)state;
    for (o = 0; o < 2; o++) {
        const char *whole_set[] = {"training.finetuning_type=full", optimisers[o], NULL};
        char whole[40], part[40];
        struct run once = {0};
        hone_train_result r;

        snprintf(whole, sizeof whole, "off-whole%zu", o);
        must_train(&once, whole, whole_set, &r);
        for (i = 1; i < 4; i++) { /* at least one of the two parts with a file */
            const char *first_set[] = {whole_set[0], optimisers[o], way[i & 1], NULL};
            const char *rest_set[] = {whole_set[0], optimisers[o], way[i >> 1],
                                      "training.resume_from_checkpoint=true", NULL};
            struct run first = {.stop_after = 3}, rest = {0};

            snprintf(part, sizeof part, "off-part%zu-%zu", o, i);
            must_train(&first, part, first_set, &r);
            must_train(&rest, part, rest_set, &r);
            assert_int_equal(rest.steps, STEPS - 3);
            same_file(whole, part, "model.safetensors");
        }
    }
}

/* A base whose pages are let go block by block trains to the same bits, also where it is in files made at the start: NF4
 * codes, and the reordered rows of a GGUF file. */
static void off_loaded_bases_train_the_same(void **state)
{
    static const char *const way[][4] = {
        {"training.offload_base=false"},
        {"training.offload_base=false", "model.load_in_4bit=true"},
        {"training.offload_base=false", "lora.use_dora=true", "training.gradient_checkpointing=2"},
        {"training.offload_base=false", "training.finetuning_type=freeze",
         "training.freeze_trainable_layers=1"},
        {"training.offload_base=false", "model.name_or_path=" HONE_TEST_DIR "/golden/tiny_chat.gguf"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(way); i++) {
        const char *there[] = {way[i][0], way[i][1], way[i][2], NULL};
        const char *away[] = {"training.offload_base=true", way[i][1], way[i][2], NULL};
        const char *file = i == 3 ? "model.safetensors" : "adapter_model.safetensors";
        char here[40], off[40];
        struct run a = {0}, b = {0};
        hone_train_result r;

        snprintf(here, sizeof here, "base-here%zu", i);
        snprintf(off, sizeof off, "base-off%zu", i);
        must_train(&a, here, there, &r);
        must_train(&b, off, away, &r);
        same_file(here, off, file);
        same_file(here, off, i == 3 ? "checkpoint-7/model.safetensors" : file);
    }
}

/* What a kill may leave: a folder on its way, a cut line of metrics, lines of steps after the checkpoint. */
static void what_a_kill_leaves_does_no_harm(void **state)
{
    static const char *const set[] = {"training.resume_from_checkpoint=true", NULL};
    struct run once = {0}, first = {.stop_after = 4}, rest = {0};
    char path[300], *a, *b, *text;
    hone_train_result r;
    FILE *file;
    size_t n;

    (void)state;
    must_train(&once, "uncut", NULL, &r);
    must_train(&first, "cut", NULL, &r);
    snprintf(path, sizeof path, "%s/cut/checkpoint-6.partial", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/cut/checkpoint-6.partial/adapter_model.safetensors.tmp.1", folder);
    assert_int_equal(hone_file_write(path, "x", 1, NULL), 0);
    snprintf(path, sizeof path, "%s/cut/checkpoint-5", folder); /* an adapter without its state */
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/cut/metrics.jsonl", folder);
    file = fopen(path, "ab");
    assert_non_null(file);
    fputs("{\"step\":5,\"epoch\":9}\n{\"step\":6,\"ep", file);
    fclose(file);
    must_train(&rest, "cut", set, &r);
    assert_int_equal(rest.steps, STEPS - 4);
    same_file("uncut", "cut", "adapter_model.safetensors");
    a = losses("uncut");
    b = losses("cut");
    assert_string_equal(a, b);
    hone_free(a);
    hone_free(b);
    snprintf(path, sizeof path, "%s/cut/checkpoint-6.partial", folder);
    assert_false(hone_path_exists(path));
    text = read_file("cut", "metrics.csv", &n);
    assert_memory_equal(text, "step,epoch", 10);
    assert_null(strstr(text + 10, "step,epoch"));
    hone_free(text);
}

static void wrong_checkpoints_are_named(void **state)
{
    static const char *const resume = "training.resume_from_checkpoint=true";
    const char *const same[] = {resume, NULL}, *const other_seed[] = {resume, "training.seed=43", NULL},
                      *const other_rank[] = {resume, "lora.r=4", NULL},
                      *const other_optim[] = {resume, "training.optim=adamw_8bit", NULL};
    struct run first = {.stop_after = 2}, r = {0};
    char path[300], *text;
    hone_train_result result;
    hone_error err = HONE_ERROR_INIT;
    size_t n;

    (void)state;
    assert_int_equal(train(&r, "none", same, &result, &err), HONE_ENOENT);
    assert_non_null(strstr(err.message, "no whole checkpoint"));
    must_train(&first, "wrong", NULL, &result);
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(train(&r, "wrong", other_seed, &result, &err), HONE_EINVAL);
    assert_non_null(strstr(err.message, "training.seed 43"));
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(train(&r, "wrong", other_rank, &result, &err), HONE_EINVAL);
    assert_non_null(strstr(err.message, "another run"));
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(train(&r, "wrong", other_optim, &result, &err), HONE_EINVAL);

    /* a byte in the middle */
    text = read_file("wrong", "checkpoint-2/training_state.bin", &n);
    text[n / 2] ^= 4;
    snprintf(path, sizeof path, "%s/wrong/checkpoint-2/training_state.bin", folder);
    assert_int_equal(hone_file_write(path, text, n, NULL), 0);
    hone_free(text);
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(train(&r, "wrong", same, &result, &err), HONE_ENOENT); /* it was the only one */
    snprintf(path, sizeof path, "training.resume_from_checkpoint=%s/wrong/checkpoint-2", folder);
    {
        const char *const named[] = {path, NULL};

        err = (hone_error)HONE_ERROR_INIT;
        assert_int_equal(train(&r, "wrong", named, &result, &err), HONE_EFORMAT);
        assert_non_null(strstr(err.message, "checksum"));
    }
    assert_int_equal(r.steps, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_bit_for_bit),
        cmocka_unit_test(schedules_that_react_go_on),
        cmocka_unit_test(guards_and_patience_go_on),
        cmocka_unit_test(stages_go_on),
        cmocka_unit_test(replay_goes_on),
        cmocka_unit_test(whole_models_go_on),
        cmocka_unit_test(off_loaded_states_go_on),
        cmocka_unit_test(off_loaded_bases_train_the_same),
        cmocka_unit_test(what_a_kill_leaves_does_no_harm),
        cmocka_unit_test(wrong_checkpoints_are_named),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
