/* hone eval: a model with and without an adapter on rows masked as in training. */
#include <string.h>

#include "cli.h"

typedef struct row_result {
    double loss[2]; /* base, tuned */
    int64_t tokens;
    bool seen[2];
} row_result;

typedef struct eval_state {
    row_result *row;
    size_t n, capacity;
    bool failed; /* no memory for a row */
} eval_state;

static void on_row(void *ud, bool tuned, int64_t row, double loss_sum, int64_t tokens)
{
    eval_state *s = ud;

    if (s->failed || row < 0)
        return;
    if ((size_t)row >= s->capacity) {
        size_t capacity = (size_t)row * 2 + 64;
        row_result *grown = realloc(s->row, capacity * sizeof *grown);

        if (!grown) {
            s->failed = true;
            return;
        }
        memset(grown + s->capacity, 0, (capacity - s->capacity) * sizeof *grown);
        s->row = grown;
        s->capacity = capacity;
    }
    if ((size_t)row >= s->n)
        s->n = (size_t)row + 1;
    s->row[row].loss[tuned] = loss_sum;
    s->row[row].tokens = tokens;
    s->row[row].seen[tuned] = true;
}

static void on_note(void *ud, const char *line)
{
    (void)ud;
    note("%s", line);
}

static void on_progress(void *ud, bool tuned, int64_t done, int64_t rows)
{
    (void)ud;
    progress("%s: row %lld of %lld", tuned ? "tuned" : "base", (long long)done, (long long)rows);
}

/* {"row","loss_sum","tokens"} of the tuned model, and then "base_loss_sum" beside it; of the base without adapter. */
static int write_rows(const eval_state *s, const char *path, bool tuned)
{
    atomic_file f;
    size_t i;
    int rc = atomic_open(&f, path);

    if (rc)
        return rc;
    for (i = 0; i < s->n; i++) {
        const row_result *r = &s->row[i];
        json_t *line;

        if (!r->seen[tuned])
            continue;
        line = json_pack("{s:I, s:o, s:I}", "row", (json_int_t)i, "loss_sum", json_number(r->loss[tuned]),
                         "tokens", (json_int_t)r->tokens);
        if (tuned && r->seen[0])
            json_object_set_new(line, "base_loss_sum", json_number(r->loss[0]));
        json_dumpf(line, f.file, JSON_COMPACT | JSON_REAL_PRECISION(17));
        json_decref(line);
        putc('\n', f.file);
    }
    return atomic_close(&f, true);
}

static json_t *result_json(const hone_eval_result *r)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:I}", "loss", json_number(r->loss), "perplexity",
                     json_number(r->perplexity), "accuracy", json_number(r->accuracy), "tokens",
                     (json_int_t)r->tokens, "rows", (json_int_t)r->rows);
}

static void print_row(const char *name, const hone_eval_result *r)
{
    printf("%-8s %10.4f %12.4g %9.2f %% %10lld %8lld\n", name, r->loss, r->perplexity, 100 * r->accuracy,
           (long long)r->tokens, (long long)r->rows);
}

static int print_result(const hone_eval_result *base, const hone_eval_result *tuned, bool json)
{
    json_t *doc;

    if (json) {
        doc = json_pack("{s:o}", "base", result_json(base));
        if (tuned)
            json_object_set_new(doc, "tuned", result_json(tuned));
        return json_print(doc);
    }
    printf("%-8s %10s %12s %11s %10s %8s\n", "", "loss", "perplexity", "accuracy", "tokens", "rows");
    print_row("base", base);
    if (tuned) {
        print_row("tuned", tuned);
        if (base->loss > 0)
            printf("the tuned loss is %.1f %% %s\n",
                   100 * (tuned->loss < base->loss ? base->loss - tuned->loss : tuned->loss - base->loss) /
                       base->loss,
                   tuned->loss <= base->loss ? "lower" : "higher");
    }
    return EXIT_SUCCESS;
}

static int run(const common *c, hone_eval_params *p, const char *per_row, bool json)
{
    eval_state state = {0};
    hone_error err = HONE_ERROR_INIT;
    hone_eval_result base, tuned;
    hone_device *device = NULL;
    bool adapted = p->adapter != NULL;
    int rc = EXIT_SUCCESS;

    memset(&base, 0, sizeof base);
    memset(&tuned, 0, sizeof tuned);
    p->ud = &state;
    p->note = on_note;
    p->progress = progress_wanted() ? on_progress : NULL;
    p->row = per_row ? on_row : NULL;
    if (device_open(&device, c, &err) || hone_eval_run(p, device, &base, &tuned, &err))
        rc = fail_with(&err);
    progress(NULL);
    if (!rc && state.failed)
        rc = fail("no memory for the rows of %s", per_row);
    if (!rc && per_row)
        rc = write_rows(&state, per_row, adapted);
    if (!rc)
        rc = print_result(&base, adapted ? &tuned : NULL, json);
    hone_device_close(device);
    free(state.row);
    return rc;
}

int command_eval(int argc, char **argv)
{
    common c = {0};
    text_list data = {0};
    const char *model = NULL, *adapter = NULL, *precision = "auto", *quant = "auto", *per_row = NULL;
    int64_t max_length = 0, batch_tokens = 0;
    bool json = false;
    const option options[] = {
        MODEL_OPTION(model),
        {.name = "--adapter",
         .kind = OPTION_TEXT,
         .value = &adapter,
         .argument = "DIR",
         .help = "PEFT adapter; base and tuned are both evaluated."},
        {.name = "--data",
         .kind = OPTION_LIST,
         .value = &data,
         .argument = "PATH",
         .help = "Rows: a file, a folder or a glob. May be repeated."},
        PRECISION_OPTION(precision),
        QUANT_OPTION(quant),
        {.name = "--max-length",
         .kind = OPTION_INT,
         .value = &max_length,
         .argument = "N",
         .max = 1e8,
         .standard = "0, the model's context",
         .help = "Longest row in tokens; a longer one is an error."},
        {.name = "--batch-tokens",
         .kind = OPTION_INT,
         .value = &batch_tokens,
         .argument = "N",
         .max = 1e8,
         .standard = "2048",
         .help = "Tokens computed at once."},
        {.name = "--per-row",
         .kind = OPTION_TEXT,
         .value = &per_row,
         .argument = "OUT.jsonl",
         .help = "Writes one line per row in input order: {\"row\",\"loss_sum\",\"tokens\"} of the tuned "
                 "model, with "
                 "\"base_loss_sum\" beside it; without an adapter, of the base."},
        JSON_OPTION(json),
        {0}};
    const usage u = {
        "eval",
        "--model PATH [--adapter DIR] --data PATH [OPTIONS]",
        "Prints token-weighted loss, perplexity and token accuracy. Rows are masked as in training: only "
        "assistant turns count.",
        options,
        0,
        0};
    hone_eval_params p;
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, NULL, &n);
    memset(&p, 0, sizeof p);
    if (r != PARSE_RUN)
        rc = parse_exit(r);
    else if (!model)
        rc = usage_error(&u, "--model is missing");
    else if (data.n == 0)
        rc = usage_error(&u, "--data is missing");
    else {
        p.model = model;
        p.adapter = adapter;
        p.data = data.item;
        p.n_data = data.n;
        p.open = model_params_of(precision, quant);
        p.max_length = (int32_t)max_length;
        p.batch_tokens = (int32_t)batch_tokens;
        rc = run(&c, &p, per_row, json);
    }
    text_list_clear(&data);
    return rc;
}
