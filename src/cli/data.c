/* hone data: what is wrong with rows (check, data_check.c), the rows without it (prepare), and the rules of quality
 * (rules). */
#include <string.h>

#include "cli.h"

static void on_progress(void *ud, const hone_progress *p)
{
    (void)ud;
    progress_bar(p);
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

/* Files of a prepared folder. */
typedef struct ready {
    char *train, *validation, *ledger, *summary;
} ready;

static bool ready_in(ready *r, const char *folder)
{
    r->train = file_in(folder, "train.jsonl");
    r->validation = file_in(folder, "validation.jsonl");
    r->ledger = file_in(folder, "ledger.jsonl");
    r->summary = file_in(folder, "summary.json");
    return r->train && r->validation && r->ledger && r->summary;
}

static void ready_clear(ready *r)
{
    free(r->train);
    free(r->validation);
    free(r->ledger);
    free(r->summary);
}

static int show(const problems *p, const hone_ledger_counts *counts, const ready *r, bool json)
{
    char rows[32], used[32], places[32], held[32];

    if (json)
        return json_print(json_pack("{s:I, s:I, s:I, s:I, s:o}", "rows", (json_int_t)counts->rows, "used",
                                    (json_int_t)counts->used, "train", (json_int_t)problems_places(p),
                                    "validation", (json_int_t)problems_validation(p), "problems",
                                    problems_json(p)));
    printf("%s rows, %s used: %s to train on", count_text(rows, counts->rows), count_text(used, counts->used),
           count_text(places, problems_places(p)));
    if (problems_validation(p))
        printf(", %s held out", count_text(held, problems_validation(p)));
    putchar('\n');
    problems_print(p);
    note("%s%s%s, %s and %s are written", r->train, problems_validation(p) ? ", " : "",
         problems_validation(p) ? r->validation : "", r->summary, r->ledger);
    return EXIT_SUCCESS;
}

static int prepare_with(data_pass *pass, const ready *files, int64_t examples, bool tokens, bool json)
{
    hone_prepare_options *o = &pass->options;
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts counts;
    problems *p = problems_new((size_t)examples, true);
    int rc;

    if (!p)
        return fail("out of memory");
    o->output = files->train;
    o->validation = files->validation;
    o->ledger = files->ledger;
    o->summary = files->summary;
    o->row = problems_row;
    o->finding = problems_finding;
    o->progress = progress_wanted() ? on_progress : NULL;
    o->ud = p;
    rc = hone_data_prepare(pass->paths, pass->n_paths, o, &counts, &err);
    progress(NULL);
    rc = rc ? fail_with(&err) : problems_finish(p);
    if (!rc)
        rc = show(p, &counts, files, json);
    if (!rc && tokens)
        rc = data_make_tokens(pass->config, files->train, problems_validation(p) ? files->validation : NULL);
    problems_free(p);
    return rc;
}

static int prepare(int argc, char **argv)
{
    common c = {0};
    text_list set = {0};
    const char *folder = NULL, *path;
    int64_t examples = 3;
    bool json = false, tokens = false;
    const option options[] = {
        {.name = "--output",
         .kind = OPTION_TEXT,
         .value = &folder,
         .argument = "FOLDER",
         .standard = "the folder `prepared` in training.output_dir",
         .help = "Where train.jsonl, validation.jsonl, summary.json and ledger.jsonl are written."},
        SET_OPTION(set),
        {.name = "--examples",
         .kind = OPTION_INT,
         .value = &examples,
         .argument = "N",
         .max = 1e6,
         .standard = "3",
         .help = "Examples of every kind of problem."},
        {.name = "--tokens",
         .kind = OPTION_FLAG,
         .value = &tokens,
         .help = "Also renders and tokenises the prepared rows into data.cache_dir, where `hone train` with "
                 "data.cache finds them."},
        JSON_OPTION(json),
        {0}};
    const usage u = {
        "data prepare",
        "CONFIG.yaml [OPTIONS]",
        "Reads the training rows of a configuration, drops what its `data` section says (rows that can not "
        "be read, duplicates, rows that repeat an evaluation row, rows that break a rule), scores, balances "
        "and orders the rest, and writes it as JSON lines that `hone train` reads, with the fate of every "
        "row beside it.",
        options,
        1,
        1};
    data_pass pass = {0};
    char *own = NULL;
    ready files = {0};
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, &path, &n);
    if (r != PARSE_RUN) {
        text_list_clear(&set);
        return parse_exit(r);
    }
    rc = data_pass_open(&pass, &c, path, &set);
    if (!rc && !folder)
        folder = own = file_in(pass.config->training.output_dir, "prepared");
    if (!rc)
        rc = folder && ready_in(&files, folder) ? prepare_with(&pass, &files, examples, tokens, json)
                                                : fail("out of memory");
    data_pass_close(&pass);
    text_list_clear(&set);
    ready_clear(&files);
    free(own);
    return rc;
}

static int rules(int argc, char **argv)
{
    common c = {0};
    const option options[] = {{0}};
    const usage u = {"data rules",
                     "[OPTIONS]",
                     "Prints the built-in rules of quality as YAML, to be copied and changed: a file with "
                     "what differs goes "
                     "into data.quality.rules or --rules.",
                     options,
                     0,
                     0};
    const char *none;
    parse_result r;
    int n;

    r = options_parse(&u, &c, argc, argv, &none, &n);
    if (r != PARSE_RUN)
        return parse_exit(r);
    fputs(hone_quality_rules(), stdout);
    return EXIT_SUCCESS;
}

int command_data(int argc, char **argv)
{
    static const char *const names[] = {"check", "prepare", "report", "show", "rules"};
    const char *name = argc > 1 ? argv[1] : "--help", *near;

    if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
        FILE *f = argc > 1 ? stdout : stderr;

        fputs("usage: hone data check FILE... [OPTIONS]\n"
              "       hone data prepare CONFIG.yaml [OPTIONS]\n"
              "       hone data report CONFIG.yaml [OPTIONS]\n"
              "       hone data show ROW CONFIG.yaml [OPTIONS]\n"
              "       hone data rules\n\n"
              "Finds what is wrong with rows; writes the rows without it; shows both.\n\n"
              "'hone data check --help' and so on list their options.\n",
              f);
        return argc > 1 ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (!strcmp(name, "check"))
        return command_data_check(argc - 1, argv + 1);
    if (!strcmp(name, "prepare"))
        return prepare(argc - 1, argv + 1);
    if (!strcmp(name, "report"))
        return command_data_report(argc - 1, argv + 1);
    if (!strcmp(name, "show"))
        return command_data_show(argc - 1, argv + 1);
    if (!strcmp(name, "rules"))
        return rules(argc - 1, argv + 1);
    near = nearest(name, names, COUNT(names));
    fprintf(stderr, "hone: data: unknown command '%s'%s%s%s\n", name,
            near ? ", did you mean '" : ", see 'hone data --help'", near ? near : "", near ? "'?" : "");
    return EXIT_USAGE;
}
