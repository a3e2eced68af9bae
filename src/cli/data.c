/* hone data: what is wrong with rows (check), and the rows without it (prepare). Both run the same pass of the library;
 * check takes files and options and writes nothing but a ledger on request, prepare takes the configuration of a run. */
#include <string.h>

#include "cli.h"

#define KINDS 3 /* of problems, as they are listed */

typedef struct findings {
    const char *name[KINDS];
    uint64_t count[KINDS];
    json_t *example[KINDS]; /* arrays, at most `most` long */
    size_t most;
    bool failed;
} findings;

enum { INVALID, CONTAMINATED, DUPLICATE };

static json_t *place_json(const char *file, uint64_t line, uint64_t row)
{
    return json_pack("{s:o, s:I, s:I}", "file", json_text(file, strlen(file)), "line", (json_int_t)line,
                     "row", (json_int_t)row);
}

static void on_row(void *ud, const hone_row_result *r)
{
    const hone_ledger_entry *e = &r->entry;
    findings *f = ud;
    int kind = e->fate == HONE_FATE_DROPPED        ? INVALID
               : e->fate == HONE_FATE_CONTAMINATED ? CONTAMINATED
               : e->fate == HONE_FATE_DUPLICATE    ? DUPLICATE
                                                   : -1;
    json_t *x;

    if (kind < 0)
        return;
    if (f->count[kind]++ >= f->most)
        return;
    x = place_json(e->file, e->line, e->row);
    if (kind == INVALID)
        json_object_set_new(x, "detail", json_text(e->detail, strlen(e->detail)));
    else {
        json_object_set_new(x, kind == DUPLICATE ? "of" : "by",
                            place_json(e->other_file, e->other_line, e->other_row));
        json_object_set_new(x, kind == DUPLICATE ? "similarity" : "share", json_number(e->similarity));
    }
    if (!x || json_array_append_new(f->example[kind], x))
        f->failed = true;
}

static void on_progress(void *ud, const hone_progress *p)
{
    (void)ud;
    progress("%s: %llu rows", p->stage, (unsigned long long)p->rows);
}

static const char *text_of(const json_t *x, const char *key)
{
    return json_string_value(json_object_get(x, key));
}

static void print_example(int kind, const json_t *x)
{
    const json_t *other = json_object_get(x, kind == DUPLICATE ? "of" : "by");

    if (kind == INVALID) {
        printf("    %s\n", text_of(x, "detail"));
        return;
    }
    printf("    %s:%lld %s %s:%lld, %.2f\n", text_of(x, "file"),
           (long long)json_integer_value(json_object_get(x, "line")),
           kind == DUPLICATE ? "is like" : "repeats", text_of(other, "file"),
           (long long)json_integer_value(json_object_get(other, "line")),
           json_real_value(json_object_get(x, kind == DUPLICATE ? "similarity" : "share")));
}

static int print_findings(const findings *f, const hone_ledger_counts *c, bool json)
{
    json_t *problems;
    size_t i;
    int k;

    if (json) {
        problems = json_object();
        for (k = 0; k < KINDS; k++)
            json_object_set_new(
                problems, f->name[k],
                json_pack("{s:I, s:O}", "count", (json_int_t)f->count[k], "examples", f->example[k]));
        return json_print(json_pack("{s:I, s:I, s:o}", "rows", (json_int_t)c->rows, "used",
                                    (json_int_t)c->used, "problems", problems));
    }
    printf("%llu rows, %llu good\n", (unsigned long long)c->rows, (unsigned long long)c->used);
    for (k = 0; k < KINDS; k++) {
        if (!f->count[k])
            continue;
        printf("%s: %llu\n", f->name[k], (unsigned long long)f->count[k]);
        for (i = 0; i < json_array_size(f->example[k]); i++)
            print_example(k, json_array_get(f->example[k], i));
    }
    return EXIT_SUCCESS;
}

/* Runs the pass and prints what it found. *problems: whether there was any. */
static int run_pass(const char *const *paths, size_t n, hone_prepare_options *o, int64_t examples, bool json,
                    bool *problems)
{
    findings f = {.name = {"invalid", "contaminated", "duplicate"}, .most = (size_t)examples};
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts counts;
    int k, rc;

    for (k = 0; k < KINDS; k++)
        f.example[k] = json_array();
    o->row = on_row;
    o->progress = progress_wanted() ? on_progress : NULL;
    o->ud = &f;
    rc = hone_data_prepare(paths, n, o, &counts, &err);
    progress(NULL);
    if (rc)
        rc = fail_with(&err);
    else if (f.failed)
        rc = fail("out of memory");
    else
        rc = print_findings(&f, &counts, json);
    *problems = !rc && counts.used != counts.rows;
    for (k = 0; k < KINDS; k++)
        json_decref(f.example[k]);
    return rc;
}

static int check(int argc, char **argv)
{
    common c = {0};
    hone_prepare_options o = {.rows = {.keep_going = true}, .exact = true, .near = true};
    text_list against = {0};
    double threshold = 0.8, share = 0.6;
    int64_t ngram = 5, contamination_ngram = 13, examples = 5;
    bool json = false, exact_only = false, problems;
    const char *ledger = NULL, *text_rows = "paragraph";
    const option options[] = {
        {.name = "--against",
         .kind = OPTION_LIST,
         .value = &against,
         .argument = "PATH",
         .help = "Evaluation rows that no row may repeat; may be given several times."},
        {.name = "--threshold",
         .kind = OPTION_NUMBER,
         .value = &threshold,
         .argument = "J",
         .min = 0.01,
         .max = 1,
         .standard = "0.8",
         .help = "Rows are near-duplicates from this Jaccard similarity of their n-grams on."},
        {.name = "--ngram",
         .kind = OPTION_INT,
         .value = &ngram,
         .argument = "N",
         .min = 1,
         .max = 64,
         .standard = "5",
         .help = "Characters of these n-grams."},
        {.name = "--exact-only",
         .kind = OPTION_FLAG,
         .value = &exact_only,
         .help = "Only equal rows are duplicates."},
        {.name = "--share",
         .kind = OPTION_NUMBER,
         .value = &share,
         .argument = "S",
         .min = 0.01,
         .max = 1,
         .standard = "0.6",
         .help = "With --against: a row that holds this share of the n-grams of an evaluation row's question "
                 "repeats it."},
        {.name = "--contamination-ngram",
         .kind = OPTION_INT,
         .value = &contamination_ngram,
         .argument = "N",
         .min = 1,
         .max = 64,
         .standard = "13",
         .help = "Characters of these n-grams."},
        {.name = "--text-rows",
         .kind = OPTION_CHOICE,
         .value = &text_rows,
         .argument = "UNIT",
         .choices = "paragraph|line|file",
         .standard = "paragraph",
         .help = "What a row of a .txt file is."},
        {.name = "--ledger",
         .kind = OPTION_TEXT,
         .value = &ledger,
         .argument = "FILE",
         .help = "Writes the fate of every row, one JSON object a line."},
        {.name = "--examples",
         .kind = OPTION_INT,
         .value = &examples,
         .argument = "N",
         .max = 1e6,
         .standard = "5",
         .help = "Examples of every kind of problem."},
        {.name = "--json", .kind = OPTION_FLAG, .value = &json, .help = "Prints one JSON document."},
        {0}};
    const usage u = {
        "data check",
        "FILE... [OPTIONS]",
        "Reads rows and lists what is wrong with them: rows that can not be read, rows that repeat an "
        "evaluation row, duplicates and near-duplicates. Exit code 1 when there is anything.",
        options,
        1,
        argc};
    const char **files = calloc((size_t)argc, sizeof *files);
    parse_result r;
    int n, rc;

    if (!files)
        return fail("out of memory");
    r = options_parse(&u, &c, argc, argv, files, &n);
    rc = parse_exit(r);
    if (r == PARSE_RUN) {
        o.rows.text_rows = text_rows[0] == 'l'   ? HONE_TEXT_LINE
                           : text_rows[0] == 'f' ? HONE_TEXT_FILE
                                                 : HONE_TEXT_PARAGRAPH;
        o.near = !exact_only;
        o.threshold = threshold;
        o.ngram = (int32_t)ngram;
        o.share = share;
        o.contamination_ngram = (int32_t)contamination_ngram;
        o.against = against.item;
        o.n_against = against.n;
        o.threads = (int32_t)c.threads;
        o.ledger = ledger;
        rc = run_pass(files, (size_t)n, &o, examples, json, &problems);
        if (!rc && problems)
            rc = EXIT_FAILURE;
    }
    text_list_clear(&against);
    free(files);
    return rc;
}

/* FOLDER/NAME; freed by the caller, NULL when there is no memory. */
static char *file_in(const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = malloc(n);

    if (path)
        snprintf(path, n, "%s/%s", folder, name);
    return path;
}

static int prepare_with(const hone_config *config, const char *output, const char *ledger, const common *c,
                        int64_t examples, bool json)
{
    hone_choose_options choose;
    hone_prepare_options o;
    bool problems;
    int rc;

    hone_prepare_options_read(&o, &choose, config);
    o.threads = (int32_t)c->threads;
    o.output = output;
    o.ledger = ledger;
    rc = run_pass((const char *const *)config->data.train_data_path.item, config->data.train_data_path.n, &o,
                  examples, json, &problems);
    if (!rc)
        note("%s and %s are written", output, ledger);
    return rc;
}

static int prepare(int argc, char **argv)
{
    common c = {0};
    text_list set = {0};
    const char *folder = NULL, *path;
    int64_t examples = 5;
    bool json = false;
    const option options[] = {
        {.name = "--output",
         .kind = OPTION_TEXT,
         .value = &folder,
         .argument = "FOLDER",
         .help = "Where train.jsonl and ledger.jsonl are written; it must exist. Required."},
        {.name = "--set",
         .kind = OPTION_LIST,
         .value = &set,
         .argument = "SECTION.KEY=VALUE",
         .help = "Overrides a key of the configuration; may be given several times."},
        {.name = "--examples",
         .kind = OPTION_INT,
         .value = &examples,
         .argument = "N",
         .max = 1e6,
         .standard = "5",
         .help = "Examples of every kind of dropped rows."},
        {.name = "--json", .kind = OPTION_FLAG, .value = &json, .help = "Prints one JSON document."},
        {0}};
    const usage u = {
        "data prepare",
        "CONFIG.yaml --output FOLDER [OPTIONS]",
        "Reads the training rows of a configuration, drops what its `data` section says (rows that can "
        "not be read, duplicates, rows that repeat an evaluation row), and writes the rest as JSON lines "
        "that `hone train` reads, with the fate of every row beside it.",
        options,
        1,
        1};
    hone_config *config = NULL;
    char *output = NULL, *ledger = NULL;
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, &path, &n);
    if (r != PARSE_RUN) {
        text_list_clear(&set);
        return parse_exit(r);
    }
    if (!folder) {
        text_list_clear(&set);
        return usage_error(&u, "--output is missing");
    }
    rc = config_open(&config, path, &set, NULL);
    if (!rc) {
        output = file_in(folder, "train.jsonl");
        ledger = file_in(folder, "ledger.jsonl");
        rc = output && ledger ? prepare_with(config, output, ledger, &c, examples, json)
                              : fail("out of memory");
    }
    hone_config_free(config);
    text_list_clear(&set);
    free(output);
    free(ledger);
    return rc;
}

int command_data(int argc, char **argv)
{
    static const char *const names[] = {"check", "prepare", "report", "show"};
    const char *name = argc > 1 ? argv[1] : "--help", *near;

    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        FILE *f = argc > 1 ? stdout : stderr;

        fprintf(
            f,
            "usage: hone data check FILE... [OPTIONS]\n       hone data prepare CONFIG.yaml --output FOLDER "
            "[OPTIONS]\n       hone data report CONFIG.yaml [OPTIONS]\n       hone data show ROW CONFIG.yaml "
            "[OPTIONS]\n\nFinds what is wrong with rows; writes the rows without it; shows both.\n\n'hone "
            "data "
            "check --help' and so on list their options.\n");
        return argc > 1 ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (!strcmp(name, "check"))
        return check(argc - 1, argv + 1);
    if (!strcmp(name, "prepare"))
        return prepare(argc - 1, argv + 1);
    if (!strcmp(name, "report"))
        return command_data_report(argc - 1, argv + 1);
    if (!strcmp(name, "show"))
        return command_data_show(argc - 1, argv + 1);
    near = nearest(name, names, COUNT(names));
    fprintf(stderr, "hone: data: unknown command '%s'%s%s%s\n", name,
            near ? ", did you mean '" : ", see 'hone data --help'", near ? near : "", near ? "'?" : "");
    return EXIT_USAGE;
}
