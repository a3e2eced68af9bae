/* hone export: a model in the form that other programs read. merge: base and adapter as one Hugging Face directory.
 *
 * --check evaluates both on the user's rows, so that an export that answers differently is seen before it is served. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

typedef struct merge_options {
    const char *model, *adapter, *output;
    hone_model_params open;   /* of the base that is merged into */
    hone_precision precision; /* of the files */
    const text_list *check;
} merge_options;

/* A checkpoint that is there already is not written over. */
static int refuse_existing(const char *dir)
{
    char *config = NULL;
    int rc = EXIT_SUCCESS;

    if (asprintf(&config, "%s/config.json", dir) < 0)
        return fail("out of memory");
    if (access(config, F_OK) == 0)
        rc = fail("%s holds a model already: remove it, or choose another --output", dir);
    free(config);
    return rc;
}

static int compare(const merge_options *o, const hone_adapter *adapter, hone_error *err)
{
    hone_tokenizer *tokenizer = NULL;
    hone_chat *chat = NULL;
    int rc = hone_tokenizer_open(&tokenizer, o->model, err);

    if (!rc) {
        hone_chat_open(&chat, o->model, tokenizer,
                       NULL); /* a model without a template is merged all the same */
        adapter_compare(adapter, tokenizer, chat, o->adapter);
    }
    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    return rc;
}

static int merge_with(hone_device *device, const merge_options *o, hone_error *err)
{
    hone_model_params p = o->open;
    hone_adapter *adapter = NULL;
    hone_model *model = NULL;
    int rc;

    hone_model_params_of_adapter(&p, o->adapter);
    rc = hone_model_open(&model, device, o->model, &p, err);
    if (!rc && hone_model_notice(model))
        note("%s", hone_model_notice(model));
    if (!rc && o->adapter)
        rc = hone_adapter_open(&adapter, model, o->adapter, err);
    if (!rc && adapter)
        rc = compare(o, adapter, err);
    if (!rc)
        rc = hone_tokenizer_export(o->model, o->output, err);
    if (!rc)
        rc = hone_model_save(model, adapter, o->output, o->precision, err);
    hone_adapter_close(adapter);
    hone_model_close(model);
    return rc;
}

static void on_note(void *ud, const char *line)
{
    (void)ud;
    note("%s", line);
}

static void on_progress(void *ud, bool tuned, int64_t done, int64_t rows)
{
    (void)ud;
    (void)tuned;
    progress("checking, row %lld of %lld", (long long)done, (long long)rows);
}

/* Losses of the rows with base and adapter, and of what was written. */
static int check_with(hone_device *device, const merge_options *o, hone_eval_result *before,
                      hone_eval_result *after, hone_error *err)
{
    hone_eval_params p = {.model = o->model,
                          .adapter = o->adapter,
                          .data = o->check->item,
                          .n_data = o->check->n,
                          .open = o->open,
                          .note = on_note,
                          .progress = progress_wanted() ? on_progress : NULL};
    hone_eval_result base;
    int rc = hone_eval_run(&p, device, o->adapter ? &base : before, o->adapter ? before : NULL, err);

    if (rc)
        return rc;
    p.model = o->output;
    p.adapter = NULL;
    p.open.quant = HONE_QUANT_NONE;
    return hone_eval_run(&p, device, after, NULL, err);
}

static json_t *side(const hone_eval_result *r)
{
    return json_pack("{s:o, s:o, s:o}", "loss", json_number(r->loss), "perplexity",
                     json_number(r->perplexity), "accuracy", json_number(r->accuracy));
}

static int show(const merge_options *o, const hone_eval_result *before, const hone_eval_result *after,
                bool json)
{
    const char *as = o->adapter ? "with the adapter" : "as opened";

    if (json)
        return json_print(o->check->n ? json_pack("{s:s, s:{s:I, s:I, s:o, s:o}}", "output", o->output,
                                                  "check", "rows", (json_int_t)after->rows, "tokens",
                                                  (json_int_t)after->tokens, "before", side(before),
                                                  "exported", side(after))
                                      : json_pack("{s:s}", "output", o->output));
    printf("%s is written\n", o->output);
    if (!o->check->n)
        return EXIT_SUCCESS;
    printf("%-16s %10s %12s %11s\n", "", "loss", "perplexity", "accuracy");
    printf("%-16s %10.5f %12.5g %9.2f %%\n", as, before->loss, before->perplexity, 100 * before->accuracy);
    printf("%-16s %10.5f %12.5g %9.2f %%\n", "exported", after->loss, after->perplexity,
           100 * after->accuracy);
    printf("%lld tokens of %lld rows: the exported model's loss is %.4f %% %s\n", (long long)after->tokens,
           (long long)after->rows, before->loss > 0 ? 100 * fabs(after->loss / before->loss - 1) : 0.0,
           after->loss <= before->loss ? "lower" : "higher");
    return EXIT_SUCCESS;
}

static int run(const common *c, const merge_options *o, bool json)
{
    hone_error err = HONE_ERROR_INIT;
    hone_eval_result before = {0}, after = {0};
    hone_device *device = NULL;
    int rc = refuse_existing(o->output);

    if (rc)
        return rc;
    rc = device_open(&device, c, &err);
    if (!rc)
        rc = merge_with(device, o, &err);
    if (!rc && o->check->n)
        rc = check_with(device, o, &before, &after, &err);
    progress(NULL);
    rc = rc ? fail_with(&err) : show(o, &before, &after, json);
    hone_device_close(device);
    return rc;
}

static int merge(int argc, char **argv)
{
    common c = {0};
    text_list check = {0};
    const char *model = NULL, *adapter = NULL, *output = NULL, *precision = "auto", *quant = "auto";
    bool json = false;
    const option options[] = {
        MODEL_OPTION(model),
        {.name = "--adapter",
         .kind = OPTION_TEXT,
         .value = &adapter,
         .argument = "DIR",
         .help = "PEFT adapter that is added in; without one, the model is written as it is."},
        {.name = "--output",
         .kind = OPTION_TEXT,
         .value = &output,
         .argument = "DIR",
         .help = "Where the Hugging Face directory is written; one that holds a model is refused."},
        {.name = "--precision",
         .kind = OPTION_CHOICE,
         .value = &precision,
         .argument = "P",
         .choices = PRECISIONS,
         .standard = "auto: as the base stores it, bf16 where that is quantised",
         .help = "Type of the numbers that are written."},
        QUANT_OPTION(quant),
        {.name = "--check",
         .kind = OPTION_LIST,
         .value = &check,
         .argument = "DATA",
         .help = "Rows (file, folder or glob; may be repeated) on which the loss with the adapter is "
                 "compared with that "
                 "of what was written."},
        JSON_OPTION(json),
        {0}};
    const usage u = {
        "export merge",
        "--model PATH [--adapter DIR] --output DIR [OPTIONS]",
        "Writes a model with its adapter merged in as a Hugging Face directory: safetensors, configuration, "
        "tokenizer and chat template.",
        options,
        0,
        0};
    merge_options o = {.check = &check};
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, NULL, &n);
    o.model = model;
    o.adapter = adapter;
    o.output = output;
    o.precision = precision_of(precision);
    if (r != PARSE_RUN) {
        rc = parse_exit(r);
    } else if (!model || !output) {
        rc = usage_error(&u, "%s is missing", model ? "--output" : "--model");
    } else {
        o.open = model_params_of("auto", quant);
        rc = run(&c, &o, json);
    }
    text_list_clear(&check);
    return rc;
}

int command_export(int argc, char **argv)
{
    static const char *const names[] = {"merge"};
    const char *name = argc > 1 ? argv[1] : "--help", *near;

    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        fputs("usage: hone export merge --model PATH [--adapter DIR] --output DIR [OPTIONS]\n\n"
              "Writes a model in the form that other programs read.\n\n"
              "'hone export merge --help' lists the options.\n",
              argc > 1 ? stdout : stderr);
        return argc > 1 ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (!strcmp(name, "merge"))
        return merge(argc - 1, argv + 1);
    near = nearest(name, names, COUNT(names));
    fprintf(stderr, "hone: export: unknown command '%s'%s%s%s\n", name,
            near ? ", did you mean '" : ", see 'hone export --help'", near ? near : "", near ? "'?" : "");
    return EXIT_USAGE;
}
