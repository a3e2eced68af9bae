/* hone train: everything a person sees of a run. The run itself is hone_train_run's; this file turns its callbacks into
 * lines. A signal asks the run to stop after the running micro-batch; the adapter is saved, and the exit code is
 * 128 + the signal's number, so that a script does not take a stopped run for a finished one. A second signal ends the
 * program at once. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "live.h"

#define MOST_COLUMNS 100 /* of a text of the data in a line */

/* What the callbacks share. */
typedef struct view {
    bool told;  /* that the run is being stopped */
    live *live; /* NULL: plain lines */
} view;

static void on_note(void *ud, const char *line)
{
    (void)ud;
    note("%s", line);
}

static void on_data(void *ud, const char *which, const hone_dataset_report *r)
{
    char size[32];

    (void)ud;
    say("%s data: %llu rows read, %llu used, %llu dropped; %llu tokens in %llu sequences, %llu trained (%s "
        "in memory)",
        strcmp(which, "train") == 0    ? "training"
        : strcmp(which, "replay") == 0 ? "replayed"
                                       : "evaluation",
        (unsigned long long)r->rows_read, (unsigned long long)r->rows_used,
        (unsigned long long)r->rows_dropped, (unsigned long long)r->tokens, (unsigned long long)r->sequences,
        (unsigned long long)r->trained, size_text(size, r->bytes));
    say("  lengths: shortest %llu, median %llu, longest %llu; %llu trained turns",
        (unsigned long long)r->shortest, (unsigned long long)r->median, (unsigned long long)r->longest,
        (unsigned long long)r->turns);
    if (r->rows_truncated || r->rows_split || r->dropped_overlong || r->dropped_untrained)
        say("  too long: %llu rows truncated (%llu tokens cut, %llu of them trained), %llu split, %llu "
            "dropped; %llu "
            "dropped with nothing left to train",
            (unsigned long long)r->rows_truncated, (unsigned long long)r->tokens_cut,
            (unsigned long long)r->trained_cut, (unsigned long long)r->rows_split,
            (unsigned long long)r->dropped_overlong, (unsigned long long)r->dropped_untrained);
    if (r->straddled)
        say("  %llu tokens cross the border of a trained span", (unsigned long long)r->straddled);
}

static void on_plan(void *ud, const hone_plan *plan)
{
    view *v = ud;

    if (v->live)
        live_plan(v->live, plan);
    say("memory plan: recomputation level %d, micro-batches of up to %lld tokens", plan->recompute,
        (long long)plan->tokens);
    plan_print(stderr, plan);
}

static void on_step(void *ud, const hone_step *s, bool log)
{
    view *v = ud;
    char line[400], parts[60] = "", left[32], size[32];

    if (v->live) {
        live_step(v->live, s);
        return;
    }
    if (!log && !progress_wanted())
        return;
    if (isfinite(s->new_loss) && isfinite(s->replay_loss))
        snprintf(parts, sizeof parts, " (new %.4f, replayed %.4f)", s->new_loss, s->replay_loss);
    snprintf(
        line, sizeof line,
        "step %lld/%lld  epoch %.2f  loss %.4f%s  lr %.3g  norm %.3g  %.0f tokens/s  %.0f %% of peak  %s  "
        "%s left",
        (long long)s->step, (long long)s->total_steps, s->epoch, s->loss, parts, s->learning_rate,
        s->grad_norm, s->tokens_per_second, 100 * s->peak_share, size_text(size, s->rss_bytes),
        duration_text(left, s->remaining_seconds));
    if (log)
        say("%s", line);
    else
        progress("%s", line);
}

static void on_eval(void *ud, int64_t step, const hone_eval_result *r, bool best)
{
    view *v = ud;

    if (v->live) {
        live_eval(v->live, step, r);
        return;
    }
    say("step %lld  evaluation: loss %.4f  perplexity %.4g  accuracy %.2f %%  (%lld tokens)%s",
        (long long)step, r->loss, r->perplexity, 100 * r->accuracy, (long long)r->tokens,
        best ? "  best so far" : "");
}

static void on_begin(void *ud, const hone_train_begin *b)
{
    char time[32];

    (void)ud;
    if (b->seconds > 0)
        say("%lld steps in about %s, if a step reaches %.0f %% of the %.0f GFLOP/s measured now",
            (long long)(b->steps - b->done), duration_text(time, b->seconds), 100 * b->assumed_share,
            b->peak_gflops);
}

static void on_tasks(void *ud, int64_t step, const hone_task_result *task, size_t n)
{
    const view *v = ud;
    size_t i;

    (void)step;
    for (i = 0; i < n && !v->live; i++) {
        char *name = shown_text(*task[i].task ? task[i].task : "(none)", MOST_COLUMNS, false);

        say("  %s: loss %.4f  (%lld rows, %lld tokens)", name ? name : "?", task[i].loss,
            (long long)task[i].rows, (long long)task[i].tokens);
        free(name);
    }
}

static void on_sample(void *ud, const hone_sample *s)
{
    view *v = ud;
    char *prompt, *answer;

    if (v->live) {
        live_sample(v->live, s);
        return;
    }
    prompt = shown_text(s->prompt, MOST_COLUMNS, false);
    answer = shown_text(s->answer, MOST_COLUMNS, false);
    say("  sample %zu: %s", s->index, prompt ? prompt : "");
    say("    -> %s", answer ? answer : "");
    free(prompt);
    free(answer);
}

static bool on_stop(void *ud)
{
    view *v = ud;

    if (stop_signal() && !v->told) {
        v->told = true;
        say("stopping: the adapter is being saved (a second signal ends the program at once)");
    }
    return stop_signal() != 0;
}

static json_t *result_json(const hone_config *c, const hone_train_result *r)
{
    json_t *doc =
        json_pack("{s:I, s:o, s:I, s:I, s:o, s:o, s:I, s:I, s:b, s:s}", "steps", (json_int_t)r->steps,
                  "train_loss", json_number(r->train_loss), "tokens", (json_int_t)r->tokens, "trained_tokens",
                  (json_int_t)r->trained_tokens, "setup_seconds", json_number(r->setup_seconds), "seconds",
                  json_number(r->seconds), "planned_bytes", (json_int_t)r->planned_bytes, "peak_bytes",
                  (json_int_t)r->peak_bytes, "stopped", r->stopped, "output_dir", c->training.output_dir);

    if (r->has_eval)
        json_object_set_new(doc, "eval",
                            json_pack("{s:o, s:o, s:o, s:I, s:I, s:I}", "loss", json_number(r->eval.loss),
                                      "perplexity", json_number(r->eval.perplexity), "accuracy",
                                      json_number(r->eval.accuracy), "tokens", (json_int_t)r->eval.tokens,
                                      "rows", (json_int_t)r->eval.rows, "step", (json_int_t)r->best_step));
    return doc;
}

static void print_result(const hone_config *c, const hone_train_result *r)
{
    const bool low_rank = c->training.finetuning_type == HONE_FINETUNING_LORA;
    char peak[32], plan[32], seconds[32];

    printf("start to first forward pass: %.2f s\n", r->setup_seconds);
    printf("%s after %lld steps in %s: training loss %.4f\n", r->stopped ? "stopped" : "finished",
           (long long)r->steps, duration_text(seconds, r->seconds), r->train_loss);
    if (r->has_eval)
        printf("kept: the %s of step %lld, evaluation loss %.4f, perplexity %.4g, accuracy %.2f %%\n",
               low_rank ? "adapter" : "model", (long long)r->best_step, r->eval.loss, r->eval.perplexity,
               100 * r->eval.accuracy);
    printf("memory: peak %s, planned %s\n", size_text(peak, r->peak_bytes),
           size_text(plan, r->planned_bytes));
    printf("%s: %s\n", low_rank ? "adapter" : "model", c->training.output_dir);
    if (low_rank)
        printf("talk to it: hone chat --model '%s' --adapter '%s'\n", c->model.name_or_path,
               c->training.output_dir);
    else
        printf("talk to it: hone chat --model '%s'\n", c->training.output_dir);
}

static int print_reference(void)
{
    hone_error err = HONE_ERROR_INIT;
    char *text;

    if (hone_config_reference(&text, &err))
        return fail_with(&err);
    fputs(text, stdout);
    hone_free(text);
    return EXIT_SUCCESS;
}

/* DIR/report.html. A page that can not be made does not undo a run: it is a warning. */
static void write_report(const char *dir, const char *language)
{
    hone_train_report_options o = {
        .language = language[0] == 'z' ? HONE_CHINESE : HONE_ENGLISH, .title = dir, .rows = 10};
    char *path, now[32];

    o.time = now_text(now);
    if (asprintf(&path, "%s/report.html", dir) < 0)
        return;
    if (train_report_write(dir, path, &o))
        warn("the report could not be made; `hone report` can be tried again");
    free(path);
}

/* A page of the run, or of each stage that has begun. */
static void write_reports(const hone_config *c, const char *language)
{
    size_t i;

    if (!c->n_stages)
        write_report(c->training.output_dir, language);
    for (i = 0; i < c->n_stages; i++) {
        char *dir = hone_train_stage_dir(c, i), *metrics = NULL;

        if (dir && asprintf(&metrics, "%s/metrics.jsonl", dir) > 0 && access(metrics, R_OK) == 0)
            write_report(dir, language);
        free(metrics);
        hone_free(dir);
    }
}

static json_t *dry_json(const hone_dry_run *d)
{
    return json_pack("{s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "steps",
                     (json_int_t)d->begin.steps, "estimated_seconds", json_number(d->begin.seconds),
                     "machine_peak_gflops", json_number(d->begin.peak_gflops), "micro_batch_rows",
                     (json_int_t)d->batch_rows, "micro_batch_tokens", (json_int_t)d->batch_tokens,
                     "micro_batch_trained", (json_int_t)d->batch_trained, "eval_rows",
                     (json_int_t)d->eval_rows, "checkpoint_bytes", (json_int_t)d->checkpoint_bytes,
                     "checkpoints", (json_int_t)d->checkpoints, "disk_bytes", (json_int_t)d->disk_bytes,
                     "disk_free_bytes", (json_int_t)d->disk_free, "plan", plan_json(&d->plan));
}

static void dry_print(const hone_config *c, const hone_dry_run *d)
{
    char a[32], b[32];

    printf("memory plan: recomputation level %d\n", d->plan.recompute);
    plan_print(stdout, &d->plan);
    printf("first micro-batch: %lld rows, %lld positions, %lld trained\n", (long long)d->batch_rows,
           (long long)d->batch_tokens, (long long)d->batch_trained);
    printf("evaluation: %lld rows, %lld sample questions\n", (long long)d->eval_rows,
           (long long)d->questions);
    printf("disk: %s for the result and %lld checkpoints", size_text(a, d->disk_bytes),
           (long long)d->checkpoints);
    printf(" of %s; %s are free\n", size_text(a, d->checkpoint_bytes), size_text(b, d->disk_free));
    if (d->begin.seconds > 0)
        printf("%lld steps in about %s, if a step reaches %.0f %% of the %.0f GFLOP/s measured now\n",
               (long long)d->begin.steps, duration_text(a, d->begin.seconds), 100 * d->begin.assumed_share,
               d->begin.peak_gflops);
    printf("ready: nothing was written to %s\n", c->training.output_dir);
}

static int dry_run(const common *c, hone_config *config, bool json)
{
    hone_train_callbacks callbacks = {
        .note = on_note, .rows = progress_wanted() ? progress_rows : NULL, .generator = hone_generator_get()};
    hone_error err = HONE_ERROR_INIT;
    hone_device *device = NULL;
    hone_dry_run d;
    int rc = EXIT_SUCCESS;

    if (!c->quiet)
        callbacks.data = on_data;
    /* A token cache would be written; what streaming asks of other keys is asked before it goes as well. */
    if (hone_config_check(config, &err) || hone_config_set(config, "data.streaming=false", &err) ||
        hone_config_set(config, "data.cache=false", &err) || device_open(&device, c, &err) ||
        hone_train_dry_run(config, device, &callbacks, &d, &err))
        rc = fail_with(&err);
    else if (json)
        rc = json_print(dry_json(&d));
    else
        dry_print(config, &d);
    hone_device_close(device);
    return rc;
}

static int run(const common *c, const hone_config *config, bool json, bool is_live, const char *report)
{
    live shown = {0};
    view v = {.live = is_live && live_possible() ? &shown : NULL};
    hone_train_callbacks callbacks = {.ud = &v,
                                      .note = on_note,
                                      .step = on_step,
                                      .eval = on_eval,
                                      .stop = on_stop,
                                      .rows = progress_wanted() ? progress_rows : NULL,
                                      .generator = hone_generator_get()};
    hone_error err = HONE_ERROR_INIT;
    hone_train_result result;
    hone_device *device = NULL;
    int rc;

    if (!c->quiet) {
        callbacks.data = on_data;
        callbacks.plan = on_plan;
        callbacks.begin = on_begin;
        callbacks.tasks = on_tasks;
        callbacks.sample = on_sample;
    }
    memset(&result, 0, sizeof result);
    stop_signals_catch(true);
    rc = device_open(&device, c, &err);
    if (!rc)
        rc = hone_train_run(config, device, &callbacks, &result, &err);
    if (v.live)
        live_end(v.live);
    if (rc) {
        rc = fail_with(&err);
        goto out;
    }
    progress(NULL);
    if (json)
        rc = json_print(result_json(config, &result));
    else
        print_result(config, &result);
    if (*report != 'n' && result.steps > 0)
        write_reports(config, report);
    if (!rc && result.stopped && stop_signal())
        rc = 128 + stop_signal();
out:
    hone_device_close(device);
    return rc;
}

int command_train(int argc, char **argv)
{
    common c = {0};
    text_list set = {0};
    const char *precision = NULL, *path = NULL, *report = "en";
    bool json = false, reference = false, resume = false, dry = false, is_live = false;
    const option options[] = {
        SET_OPTION(set),
        {.name = "--resume",
         .kind = OPTION_FLAG,
         .value = &resume,
         .help = "Goes on from the newest checkpoint in training.output_dir, or begins when there is none."},
        {.name = "--precision",
         .kind = OPTION_CHOICE,
         .value = &precision,
         .argument = "P",
         .choices = PRECISIONS,
         .help = "Overrides training.precision."},
        {.name = "--dry-run",
         .kind = OPTION_FLAG,
         .value = &dry,
         .help =
             "Does everything but the training: data, template, model, memory, first micro-batch, folder and "
             "disk are checked, the time is estimated, and nothing is written."},
        {.name = "--live",
         .kind = OPTION_FLAG,
         .value = &is_live,
         .help =
             "Shows the curve of the loss, evaluations, memory and the last sample answer in place, where "
             "stderr is a terminal of at least 40 by 15; else the usual lines."},
        {.name = "--report",
         .kind = OPTION_CHOICE,
         .value = &report,
         .argument = "LANGUAGE",
         .choices = "en|zh|none",
         .standard = "en",
         .help = "Language of report.html, the page about the run that is made at its end."},
        {.name = "--json",
         .kind = OPTION_FLAG,
         .value = &json,
         .help = "Prints the result as one JSON document."},
        {.name = "--help-config",
         .kind = OPTION_FLAG,
         .value = &reference,
         .help = "Prints every key of the YAML file with its meaning and default, and ends."},
        {0}};
    const usage u = {"train",
                     "CONFIG.yaml [OPTIONS]\n--help-config",
                     "Trains as the YAML file says. Writes adapter_model.safetensors, adapter_config.json, "
                     "metrics.jsonl, report.html and config.yaml into training.output_dir. Ctrl-C or SIGTERM "
                     "saves the adapter and "
                     "ends with exit code 128 + the signal (130 for Ctrl-C).",
                     options,
                     0,
                     1};
    hone_error err = HONE_ERROR_INIT;
    hone_config *config = NULL;
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, &path, &n);
    if (r != PARSE_RUN)
        rc = parse_exit(r);
    else if (reference)
        rc = print_reference();
    else if (n == 0)
        rc = usage_error(&u, "the configuration file is missing");
    else {
        rc = config_open(&config, path, &set, precision);
        if (!rc && resume && hone_config_set(config, "training.resume_from_checkpoint=auto", &err))
            rc = fail_with(&err);
        if (!rc)
            rc = dry ? dry_run(&c, config, json) : run(&c, config, json, is_live, report);
    }
    hone_config_free(config);
    text_list_clear(&set);
    return rc;
}
