/* Whole runs on the tiny chat model: accounting of steps, accumulation against one batch, same files for every number of
 * threads, best and last adapter, stopping, evaluation, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/hone.h"

#define MODEL HONE_TEST_DIR "/golden/tiny_chat"
#define ROWS 6

static char folder[] = "run_test_XXXXXX";

static char *in_folder(const char *name)
{
    return hone_path_join(folder, name);
}

/* Six short conversations; row 3 has a history turn. */
static void write_rows(const char *path)
{
    static const char *const text[ROWS] = {
        "{\"instruction\": \"What is the answer?\", \"output\": \"It is forty-two.\"}\n",
        "{\"instruction\": \"你好\", \"input\": \"今天\", \"output\": \"今天天气很好，适合散步。\"}\n",
        "{\"instruction\": \"jump\", \"output\": \"The quick brown fox jumps over the lazy dog.\"}\n",
        "{\"instruction\": \"more\", \"output\": \"step by step\", \"history\": [[\"hi\", \"hello\"]]}\n",
        "{\"instruction\": \"舌苔\", \"output\": \"舌淡红，苔薄白，脉弦细。\"}\n",
        "{\"instruction\": \"thanks\", \"output\": \"Thank you, please tell me more.\"}\n",
    };
    hone_buf b = {0};
    int i;

    for (i = 0; i < ROWS; i++)
        hone_buf_puts(&b, text[i]);
    assert_int_equal(hone_file_write(path, b.data, b.len, NULL), 0);
    hone_buf_clear(&b);
}

static int make_folder(void **state)
{
    char *path;

    (void)state;
    assert_non_null(mkdtemp(folder));
    path = in_folder("rows.jsonl");
    write_rows(path);
    hone_free(path);
    return 0;
}

static int remove_folder(void **state)
{
    char command[200];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* A configuration for the rows above, in folder/`out`; `more` is a list of assignments that ends with NULL. */
static hone_config *configure(const char *out, const char *const *more)
{
    const char *const base[] = {"model.name_or_path=" MODEL,
                                "model.max_length=256",
                                "lora.r=4",
                                "lora.lora_dropout=0",
                                "training.learning_rate=1e-2",
                                "training.precision=f32",
                                "training.evaluation_strategy=\"no\"",
                                "training.warmup_ratio=0",
                                NULL};
    char line[300];
    hone_config *c;
    hone_error err = HONE_ERROR_INIT;
    int i;

    assert_int_equal(hone_config_new(&c, &err), 0);
    for (i = 0; base[i]; i++)
        if (hone_config_set(c, base[i], &err))
            fail_msg("%s: %s", base[i], err.message);
    snprintf(line, sizeof line, "data.train_data_path=%s/rows.jsonl", folder);
    assert_int_equal(hone_config_set(c, line, &err), 0);
    snprintf(line, sizeof line, "training.output_dir=%s/%s", folder, out);
    assert_int_equal(hone_config_set(c, line, &err), 0);
    for (i = 0; more && more[i]; i++)
        if (hone_config_set(c, more[i], &err))
            fail_msg("%s: %s", more[i], err.message);
    return c;
}

struct seen {
    hone_step first, last;
    int steps, evals, plans, stop_after;
    hone_eval_result first_eval, last_eval;
};

static void on_step(void *ud, const hone_step *s, bool log)
{
    struct seen *seen = ud;

    (void)log;
    if (!seen->steps++)
        seen->first = *s;
    seen->last = *s;
}

static void on_eval(void *ud, int64_t step, const hone_eval_result *r, bool best)
{
    struct seen *seen = ud;

    (void)step;
    (void)best;
    if (!seen->evals++)
        seen->first_eval = *r;
    seen->last_eval = *r;
}

static void on_plan(void *ud, const hone_plan *plan)
{
    uint64_t sum = 0;
    int i;

    ((struct seen *)ud)->plans++;
    for (i = 0; i < plan->n; i++)
        sum += plan->item[i].bytes;
    assert_int_equal(sum, plan->total);
}

static bool on_stop(void *ud)
{
    struct seen *seen = ud;

    return seen->stop_after && seen->steps >= seen->stop_after;
}

static hone_train_result train(struct seen *seen, hone_config *c, int threads)
{
    hone_device_params dp = hone_device_default();
    hone_train_callbacks cb = {
        .ud = seen, .plan = on_plan, .step = on_step, .eval = on_eval, .stop = on_stop};
    hone_train_result r;
    hone_device *dev;
    hone_error err = HONE_ERROR_INIT;

    dp.threads = threads;
    assert_int_equal(hone_device_open(&dev, &dp, &err), 0);
    if (hone_train_run(c, dev, &cb, &r, &err))
        fail_msg("%s", err.message);
    hone_device_close(dev);
    hone_config_free(c);
    return r;
}

static char *read_file(const char *out, const char *name, size_t *len)
{
    char *dir = in_folder(out), *path = hone_path_join(dir, name), *text;
    hone_error err = HONE_ERROR_INIT;

    if (hone_file_read(&text, len, path, 1 << 26, &err))
        fail_msg("%s", err.message);
    hone_free(path);
    hone_free(dir);
    return text;
}

static bool same_file(const char *a, const char *b, const char *name)
{
    size_t n, m;
    char *x = read_file(a, name, &n), *y = read_file(b, name, &m);
    bool same = n == m && !memcmp(x, y, n);

    hone_free(x);
    hone_free(y);
    return same;
}

static void learns_and_writes_what_the_contract_says(void **state)
{
    static const char *const more[] = {"training.num_train_epochs=10",
                                       "training.per_device_train_batch_size=2",
                                       "training.gradient_accumulation_steps=2", NULL};
    struct seen seen = {0};
    hone_train_result r = train(&seen, configure("learn", more), 2);
    size_t len, lines = 0, i;
    char *text;

    (void)state;
    /* 6 rows in batches of 2: 3 batches, in windows of 2: 2 steps an epoch, the second one short. */
    assert_int_equal(r.steps, 20);
    assert_int_equal(seen.steps, 20);
    assert_int_equal(seen.plans, 1);
    assert_float_equal(seen.last.epoch, 10, 1e-12);
    assert_float_equal(seen.first.epoch, 2.0 / 3, 1e-12);
    assert_true(seen.last.loss < 0.6 * seen.first.loss);
    assert_false(r.has_eval);
    text = read_file("learn", "metrics.jsonl", &len);
    for (i = 0; i < len; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 20);
    hone_free(text);
    hone_free(read_file("learn", "adapter_model.safetensors", &len));
    hone_free(read_file("learn", "adapter_config.json", &len));
    hone_free(read_file("learn", "checkpoint-20/adapter_model.safetensors", &len));
    hone_free(read_file("learn", "config.yaml", &len));
}

/* metrics.csv has a line a step and one an evaluation under its head; TensorBoard's file lies in a folder of its own. */
static void reports_as_asked(void **state)
{
    static const char *const more[] = {"training.max_steps=3",     "training.report_to=[tensorboard, csv]",
                                       "data.val_size=1",          "training.evaluation_strategy=steps",
                                       "training.eval_steps=3",    "training.per_device_train_batch_size=1",
                                       "training.logging_steps=1", NULL};
    struct seen seen = {0};
    char pattern[200];
    glob_t found;
    size_t len, i, lines = 0;
    char *text;

    (void)state;
    train(&seen, configure("report", more), 1);
    text = read_file("report", "metrics.csv", &len);
    for (i = 0; i < len; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 5);
    assert_memory_equal(text, "step,epoch,loss,", 16);
    hone_free(text);
    snprintf(pattern, sizeof pattern, "%s/report/runs/*/events.out.tfevents.*", folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    assert_int_equal(hone_file_read(&text, &len, found.gl_pathv[0], 1 << 20, NULL), 0);
    assert_non_null(memmem(text, len, "train/loss", 10));
    assert_non_null(memmem(text, len, "eval/loss", 9));
    assert_non_null(memmem(text, len, "max_steps: 3", 12));
    hone_free(text);
    globfree(&found);
}

static void accumulation_is_one_large_batch(void **state)
{
    static const char *const one[] = {"training.max_steps=3", "training.per_device_train_batch_size=6",
                                      "training.gradient_accumulation_steps=1", NULL};
    static const char *const many[] = {"training.max_steps=3", "training.per_device_train_batch_size=1",
                                       "training.gradient_accumulation_steps=6", NULL};
    struct seen a = {0}, b = {0};

    (void)state;
    train(&a, configure("one", one), 2);
    train(&b, configure("many", many), 2);
    assert_float_equal(a.first.loss, b.first.loss, 1e-6 * a.first.loss);
    assert_float_equal(a.first.grad_norm, b.first.grad_norm, 1e-5 * a.first.grad_norm);
    assert_float_equal(a.last.loss, b.last.loss, 1e-4 * a.last.loss);
    assert_int_equal(a.first.trained_tokens, b.first.trained_tokens);
}

/* All rows in one step: packed or side by side, loss and gradient are the same, so packs do not see each other. */
static void packs_do_not_see_each_other(void **state)
{
    static const char *const rows[] = {"training.max_steps=2", "training.per_device_train_batch_size=6",
                                       "training.gradient_accumulation_steps=1", NULL};
    static const char *const packs[] = {"training.max_steps=2",
                                        "training.per_device_train_batch_size=6",
                                        "training.gradient_accumulation_steps=1",
                                        "training.packing_strategy=bfd",
                                        "model.max_length=100",
                                        NULL};
    struct seen a = {0}, b = {0};

    (void)state;
    train(&a, configure("rows", rows), 2);
    train(&b, configure("packs", packs), 2);
    assert_int_equal(a.first.trained_tokens, b.first.trained_tokens);
    assert_int_equal(a.first.tokens, b.first.tokens);
    assert_float_equal(a.first.loss, b.first.loss, 1e-6 * a.first.loss);
    assert_float_equal(a.first.grad_norm, b.first.grad_norm, 1e-5 * a.first.grad_norm);
    assert_float_equal(a.last.loss, b.last.loss, 1e-4 * a.last.loss);
}

/* A run that trains while its data are made, and one that finds them made, are the same to the bit, ledger included. */
static void streaming_changes_no_bit(void **state)
{
    char dir[100];
    const char *const more[] = {"training.max_steps=5",
                                "data.cache=true",
                                "data.streaming=true",
                                "training.save_strategy=steps",
                                dir,
                                NULL};
    const char *const kept[] = {"training.max_steps=5", "data.cache=true", "training.save_strategy=steps",
                                dir, NULL};
    struct seen seen = {0};

    (void)state;
    snprintf(dir, sizeof dir, "data.cache_dir=%s/shards", folder);
    train(&seen, configure("making", more), 1);
    train(&seen, configure("found", more), 3);
    train(&seen, configure("kept", kept), 2); /* one shard: its order is that of all rows */
    assert_true(same_file("making", "found", "adapter_model.safetensors"));
    assert_true(same_file("making", "found", "ledger.jsonl"));
    assert_true(same_file("making", "kept", "adapter_model.safetensors"));
    assert_true(same_file("making", "kept", "ledger.jsonl"));
}

/* A row of weight 2 beside another one trains as if it stood there twice: sum of weight * loss / sum of weights. */
static void a_weight_of_two_is_the_row_twice(void **state)
{
    static const char *const row[2] = {
        "{\"messages\": [{\"role\": \"user\", \"content\": \"jump\"}, {\"role\": \"assistant\", "
        "\"content\": \"The quick brown fox.\"%s}]}\n",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", "
        "\"content\": \"Thank you, please tell me more.\"%s}]}\n"};
    char *path[2] = {in_folder("weighted.jsonl"), in_folder("twice.jsonl")}, line[2][300];
    struct seen seen[2] = {0};
    hone_train_result r[2];
    int k;

    (void)state;
    for (k = 0; k < 2; k++) {
        const char *const more[] = {line[k], "training.max_steps=3", "training.shuffle=false", NULL};
        hone_buf b = {0};

        hone_buf_printf(&b, row[0], k ? "" : ", \"weight\": 2");
        if (k)
            hone_buf_printf(&b, row[0], "");
        hone_buf_printf(&b, row[1], "");
        assert_int_equal(hone_file_write(path[k], b.data, b.len, NULL), 0);
        hone_buf_clear(&b);
        snprintf(line[k], sizeof line[k], "data.train_data_path=%s", path[k]);
        r[k] = train(&seen[k], configure(k ? "twice" : "weighted", more), 2);
        hone_free(path[k]);
    }
    assert_true(seen[0].first.weight == seen[1].first.weight);
    assert_true(seen[0].first.trained_tokens < seen[1].first.trained_tokens);
    assert_float_equal(seen[0].first.loss, seen[1].first.loss, 1e-6 * seen[1].first.loss);
    assert_float_equal(seen[0].first.grad_norm, seen[1].first.grad_norm, 1e-5 * seen[1].first.grad_norm);
    assert_float_equal(seen[0].last.loss, seen[1].last.loss, 1e-4 * seen[1].last.loss);
    assert_float_equal(r[0].train_loss, r[1].train_loss, 1e-4 * r[1].train_loss);
}

static void same_bits_for_every_number_of_threads(void **state)
{
    static const char *const more[] = {"training.max_steps=4", "lora.lora_dropout=0.1", NULL};
    struct seen seen = {0};

    (void)state;
    train(&seen, configure("t1", more), 1);
    train(&seen, configure("t3", more), 3);
    assert_true(same_file("t1", "t3", "adapter_model.safetensors"));
}

static void keeps_the_best_adapter_and_the_last(void **state)
{
    static const char *const more[] = {
        "training.max_steps=12", "training.learning_rate=0.1",         "training.lr_scheduler_type=constant",
        "data.val_size=2",       "training.evaluation_strategy=steps", "training.eval_steps=2",
        "training.save_steps=2", "training.save_total_limit=2",        NULL};
    struct seen seen = {0};
    hone_train_result r = train(&seen, configure("best", more), 2);
    char name[64], *dir = in_folder("best"), *path;
    const char *adapter, *data;
    hone_eval_params p = {.model = MODEL, .open.precision = HONE_PRECISION_F32, .max_length = 256};
    hone_eval_result base, tuned;
    hone_device *dev;
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    assert_true(r.has_eval);
    assert_int_equal(seen.evals, 6);
    /* The rate is far too high, so that the last adapter is not the best. */
    assert_true(r.best_step < 12);
    assert_true(r.eval.loss < seen.last_eval.loss);
    snprintf(name, sizeof name, "checkpoint-%lld/adapter_model.safetensors", (long long)r.best_step);
    assert_true(same_file("best", "best", name));
    hone_free(read_file("best", "checkpoint-12/adapter_model.safetensors", &(size_t){0}));
    path = hone_path_join(dir, "checkpoint-10");
    assert_false(hone_path_exists(path) && r.best_step != 10); /* save_total_limit */
    hone_free(path);

    /* hone eval of the kept adapter on all rows agrees with itself on the base when no adapter is given. */
    adapter = dir;
    path = in_folder("rows.jsonl");
    data = path;
    p.data = &data;
    p.n_data = 1;
    p.adapter = adapter;
    assert_int_equal(hone_device_open(&dev, NULL, &err), 0);
    if (hone_eval_run(&p, dev, &base, &tuned, &err))
        fail_msg("%s", err.message);
    assert_int_equal(base.rows, ROWS);
    assert_int_equal(base.tokens, tuned.tokens);
    assert_float_equal(base.perplexity, exp(base.loss), 1e-9 * base.perplexity);
    assert_true(tuned.loss < base.loss);
    hone_device_close(dev);
    hone_free(path);
    hone_free(dir);
}

static void stops_between_steps_and_saves(void **state)
{
    static const char *const more[] = {"training.max_steps=50", NULL};
    struct seen seen = {.stop_after = 3};
    hone_train_result r = train(&seen, configure("stop", more), 2);

    (void)state;
    assert_true(r.stopped);
    assert_int_equal(r.steps, 3);
    assert_true(same_file("stop", "stop", "checkpoint-3/adapter_model.safetensors"));
    assert_true(same_file("stop", "stop", "adapter_model.safetensors"));
}

static void goes_on_from_an_adapter(void **state)
{
    const char *more[] = {"training.max_steps=1", "training.per_device_train_batch_size=6", NULL, NULL};
    char line[200];
    struct seen a = {0}, b = {0};

    (void)state;
    snprintf(line, sizeof line, "lora.init_adapter=%s/learn", folder);
    train(&a, configure("fresh", more), 2);
    more[2] = line;
    train(&b, configure("more", more), 2);
    assert_true(b.first.loss < 0.7 * a.first.loss);
}

static void refuses_a_rate_that_breaks_the_numbers(void **state)
{
    static const char *const more[] = {"training.max_steps=50", "training.learning_rate=1e30",
                                       "training.max_grad_norm=0", NULL};
    hone_config *c = configure("nan", more);
    hone_train_result r;
    hone_device *dev;
    hone_error err = HONE_ERROR_INIT;
    size_t len;

    (void)state;
    assert_int_equal(hone_device_open(&dev, NULL, &err), 0);
    assert_int_equal(hone_train_run(c, dev, NULL, &r, &err), HONE_ERANGE);
    assert_non_null(strstr(err.message, "rows.jsonl:"));
    hone_free(read_file("nan", "metrics.jsonl", &len));
    hone_device_close(dev);
    hone_config_free(c);
}

struct told {
    char line[1000]; /* the last note */
    int notes, steps, skipped;
};

static void on_told(void *ud, const char *line)
{
    struct told *t = ud;

    if (strstr(line, "far above the median")) {
        snprintf(t->line, sizeof t->line, "%s", line);
        t->notes++;
    }
}

static void on_told_step(void *ud, const hone_step *s, bool log)
{
    struct told *t = ud;

    (void)log;
    t->steps++;
    t->skipped += s->skipped;
}

/* Twenty-three easy rows and one of noise, in the order of the file: the step of that row stands out. */
static void finds_the_row_that_jumps(void **state)
{
    static const char *const action[] = {"note", "skip", "stop"};
    char *path = in_folder("jump.jsonl"), line[2][300];
    hone_buf b = {0};
    size_t i, k;

    (void)state;
    for (i = 0; i < 24; i++)
        hone_buf_printf(&b, "{\"instruction\": \"again\", \"output\": \"%s\"}\n",
                        i == 21 ? "zq5%^ 9wv~ {}<> kj#x 0_0 Zß" : "step by step by step by step");
    assert_int_equal(hone_file_write(path, b.data, b.len, NULL), 0);
    hone_buf_clear(&b);
    snprintf(line[0], sizeof line[0], "data.train_data_path=%s", path);
    for (k = 0; k < HONE_COUNT(action); k++) {
        const char *const more[] = {line[0],
                                    line[1],
                                    "training.shuffle=false",
                                    "training.per_device_train_batch_size=1",
                                    "training.gradient_accumulation_steps=1",
                                    "training.num_train_epochs=1",
                                    "training.save_strategy=steps",
                                    NULL};
        struct told told = {0};
        hone_train_callbacks cb = {.ud = &told, .note = on_told, .step = on_told_step};
        hone_train_result r;
        hone_error err = HONE_ERROR_INIT;
        hone_device *dev;
        hone_config *c;
        int rc;

        snprintf(line[1], sizeof line[1], "training.loss_spike_action=%s", action[k]);
        c = configure(action[k], more);
        assert_int_equal(hone_device_open(&dev, NULL, &err), 0);
        rc = hone_train_run(c, dev, &cb, &r, &err);
        if (k == 2) {
            assert_int_equal(rc, HONE_ERANGE);
            snprintf(told.line, sizeof told.line, "%.999s", err.message);
            hone_free(read_file("stop", "checkpoint-21/training_state.bin", &i));
            assert_int_equal(told.steps, 21);
        } else {
            assert_int_equal(rc, 0);
            assert_int_equal(told.notes, 1);
            assert_int_equal(told.skipped, k);
            assert_int_equal(r.skipped, k);
            assert_int_equal(told.steps, 24);
        }
        assert_non_null(strstr(told.line, "step 22: the loss"));
        assert_non_null(strstr(told.line, "jump.jsonl:22;"));
        assert_non_null(strstr(told.line, "lora_"));
        hone_device_close(dev);
        hone_config_free(c);
    }
    assert_false(same_file("note", "skip", "adapter_model.safetensors"));
    hone_free(path);
}

/* A copy of the model with one value of a layer that is no number: the message names that layer. */
static void names_the_layer_that_breaks(void **state)
{
    char command[300], *copy = in_folder("broken"), *weights, *text, *at, line[300];
    static const char tensor[] = "\"model.layers.1.mlp.down_proj.weight\"";
    const char *const more[] = {line, "training.max_steps=2", NULL};
    hone_error err = HONE_ERROR_INIT;
    hone_train_result r;
    hone_device *dev;
    hone_config *c;
    uint64_t head, begin;
    size_t n;

    (void)state;
    snprintf(command, sizeof command, "cp -r '%s' '%s'", MODEL, copy);
    assert_int_equal(system(command), 0);
    weights = hone_path_join(copy, "model.safetensors");
    assert_int_equal(hone_file_read(&text, &n, weights, 1 << 26, &err), 0);
    memcpy(&head, text, 8);
    at = memmem(text, n, tensor, sizeof tensor - 1);
    assert_non_null(at);
    at = strstr(at, "\"data_offsets\"");
    begin = strtoull(strchr(at, '[') + 1, NULL, 10);
    memset(text + 8 + head + begin, 0xff, 4); /* NaN in every float type */
    assert_int_equal(hone_file_write(weights, text, n, &err), 0);
    snprintf(line, sizeof line, "model.name_or_path=%s", copy);
    c = configure("layer", more);
    assert_int_equal(hone_device_open(&dev, NULL, &err), 0);
    assert_int_equal(hone_train_run(c, dev, NULL, &r, &err), HONE_ERANGE);
    print_message("%s\n", err.message);
    assert_non_null(strstr(err.message, "the loss is not a finite number (rows "));
    assert_non_null(strstr(err.message, "come out of layer 1"));
    hone_device_close(dev);
    hone_config_free(c);
    hone_free(text);
    hone_free(weights);
    hone_free(copy);
}

static void plans_what_it_runs(void **state)
{
    static const char *const more[] = {"training.num_train_epochs=2",
                                       "training.per_device_train_batch_size=4",
                                       "training.gradient_accumulation_steps=1", NULL};
    hone_config *c = configure("plan", more);
    hone_plan_report r;
    hone_device *dev;
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    assert_int_equal(hone_device_open(&dev, NULL, &err), 0);
    if (hone_train_plan(c, dev, NULL, 0, &r, &err))
        fail_msg("%s", err.message);
    assert_int_equal(r.rows, ROWS);
    assert_int_equal(r.steps, 4);
    assert_true(r.trained_tokens_per_epoch < r.tokens_per_epoch);
    assert_true(r.plan[2].total < r.plan[1].total && r.plan[1].total < r.plan[0].total);
    hone_device_close(dev);
    hone_config_free(c);
}

/* Every method, optimiser and variant: the loss falls, and what is saved answers as what was evaluated. */
static void every_method_learns(void **state)
{
    static const struct {
        const char *name, *more[6];
        bool full;
    } runs[] = {
        {"m_full", {"training.finetuning_type=full", "training.learning_rate=3e-3"}, true},
        {"m_8bit",
         {"training.finetuning_type=full", "training.optim=adamw_8bit", "training.learning_rate=3e-3"},
         true},
        {"m_adafactor",
         {"training.finetuning_type=full", "training.optim=adafactor", "training.learning_rate=3e-3"},
         true},
        {"m_sgd",
         {"training.finetuning_type=full", "training.optim=sgd", "training.sgd_momentum=0.9",
          "training.learning_rate=0.1"},
         true},
        {"m_freeze",
         {"training.finetuning_type=freeze", "training.freeze_trainable_layers=1",
          "training.freeze_extra_modules=norm", "training.learning_rate=1e-2"},
         true},
        {"m_plus",
         {"lora.loraplus_lr_ratio=8", "lora.use_rslora=true", "training.learning_rate=2e-3"},
         false},
        {"m_saved",
         {"lora.modules_to_save=[embed_tokens]", "lora.bias=all", "lora.rank_pattern={q_proj: 2}",
          "lora.alpha_pattern={v_proj: 32}"},
         false},
    };
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(runs); i++) {
        const char *more[12] = {"training.max_steps=24", "training.per_device_train_batch_size=6",
                                "training.gradient_accumulation_steps=1",
                                "training.evaluation_strategy=steps", "training.save_precision=f32"};
        hone_eval_params p = {.open.precision = HONE_PRECISION_F32, .n_data = 1};
        hone_eval_result base, tuned;
        hone_train_result result;
        struct seen seen = {0};
        hone_error err = HONE_ERROR_INIT;
        hone_device *dev;
        hone_config *c;
        char line[200];
        char *out = in_folder(runs[i].name), *rows = in_folder("rows.jsonl");

        snprintf(line, sizeof line, "data.eval_data_path=%s", rows);
        more[5] = line;
        for (k = 0; k < 6 && runs[i].more[k]; k++)
            more[6 + k] = runs[i].more[k];
        c = configure(runs[i].name, more);
        result = train(&seen, c, 2);
        print_message("%s: loss %.3f to %.3f, planned %.1f MB\n", runs[i].name, seen.first.loss,
                      seen.last.loss, (double)result.planned_bytes / 1e6);
        assert_true(seen.last.loss < 0.7 * seen.first.loss);
        assert_int_equal(hone_device_open(&dev, NULL, &err), 0);
        p.model = runs[i].full ? out : MODEL;
        p.adapter = runs[i].full ? NULL : out;
        p.data = (const char *const *)&rows;
        if (hone_eval_run(&p, dev, &base, &tuned, &err))
            fail_msg("%s: %s", runs[i].name, err.message);
        assert_true(fabs((runs[i].full ? base.loss : tuned.loss) / result.eval.loss - 1) < 1e-5);
        hone_device_close(dev);
        hone_free(out);
        hone_free(rows);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_and_writes_what_the_contract_says),
        cmocka_unit_test(reports_as_asked),
        cmocka_unit_test(accumulation_is_one_large_batch),
        cmocka_unit_test(packs_do_not_see_each_other),
        cmocka_unit_test(streaming_changes_no_bit),
        cmocka_unit_test(a_weight_of_two_is_the_row_twice),
        cmocka_unit_test(same_bits_for_every_number_of_threads),
        cmocka_unit_test(keeps_the_best_adapter_and_the_last),
        cmocka_unit_test(stops_between_steps_and_saves),
        cmocka_unit_test(goes_on_from_an_adapter),
        cmocka_unit_test(refuses_a_rate_that_breaks_the_numbers),
        cmocka_unit_test(finds_the_row_that_jumps),
        cmocka_unit_test(names_the_layer_that_breaks),
        cmocka_unit_test(plans_what_it_runs),
        cmocka_unit_test(every_method_learns),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
