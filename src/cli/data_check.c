/* hone data check: what is wrong with rows, the worst first. It runs the pass of the library and writes nothing but a ledger
 * on request. */
#include <string.h>

#include "cli.h"

typedef struct wishes {
    text_list against, rules, set, only, skip;
    double threshold, share;
    int64_t ngram, contamination_ngram, examples;
    bool exact_only, no_rules, json;
    const char *config, *ledger, *text_rows, *fail_on;
    struct {
        bool threshold, share, ngram, contamination_ngram, text_rows;
    } given;
} wishes;

static void wishes_clear(wishes *w)
{
    text_list_clear(&w->against);
    text_list_clear(&w->rules);
    text_list_clear(&w->set);
    text_list_clear(&w->only);
    text_list_clear(&w->skip);
}

static hone_text_rows text_rows_of(const char *name)
{
    return !strcmp(name, "line")   ? HONE_TEXT_LINE
           : !strcmp(name, "file") ? HONE_TEXT_FILE
                                   : HONE_TEXT_PARAGRAPH;
}

static int level_of(const char *name)
{
    return !strcmp(name, "note") ? 1 : !strcmp(name, "warning") ? 2 : 3;
}

/* The options of a configuration (the defaults where there is none) under those of the command line. */
static hone_prepare_options options_of(const wishes *w, const hone_config *config,
                                       hone_choose_options *choose, const common *c)
{
    hone_prepare_options o;
    hone_quality_options *q = &o.quality;

    hone_prepare_options_read(&o, choose, config);
    o.rows.keep_going = true;
    o.choose = NULL; /* nothing is written: every row is looked at */
    o.filter = NULL;
    o.n_filter = 0;
    o.weight = NULL;
    o.near &= !w->exact_only;
    o.threads = c->threads ? (int32_t)c->threads : o.threads;
    o.ledger = w->ledger;
    if (w->given.text_rows)
        o.rows.text_rows = text_rows_of(w->text_rows);
    if (w->given.threshold)
        o.threshold = w->threshold;
    if (w->given.ngram)
        o.ngram = (int32_t)w->ngram;
    if (w->given.share)
        o.share = w->share;
    if (w->given.contamination_ngram)
        o.contamination_ngram = (int32_t)w->contamination_ngram;
    if (w->against.n) {
        o.against = (const char *const *)w->against.item;
        o.n_against = w->against.n;
    }
    q->enabled &= !w->no_rules;
    if (w->rules.n) {
        q->rules = (const char *const *)w->rules.item;
        q->n_rules = w->rules.n;
    }
    if (w->set.n) {
        q->set = (const char *const *)w->set.item;
        q->n_set = w->set.n;
    }
    if (w->only.n) {
        q->only = (const char *const *)w->only.item;
        q->n_only = w->only.n;
    }
    if (w->skip.n) {
        q->skip = (const char *const *)w->skip.item;
        q->n_skip = w->skip.n;
    }
    return o;
}

static int show(const problems *p, const hone_ledger_counts *counts, bool json)
{
    char rows[32], clean[32];

    if (json)
        return json_print(json_pack("{s:I, s:I, s:I, s:o}", "rows", (json_int_t)counts->rows, "used",
                                    (json_int_t)counts->used, "good", (json_int_t)problems_clean(p),
                                    "problems", problems_json(p)));
    printf("%s rows, %s good\n", count_text(rows, counts->rows), count_text(clean, problems_clean(p)));
    problems_print(p);
    return EXIT_SUCCESS;
}

static void on_progress(void *ud, const hone_progress *p)
{
    (void)ud;
    progress_bar(p);
}

static int run(const wishes *w, const hone_config *config, const char *const *files, size_t n,
               const common *c)
{
    hone_choose_options choose;
    hone_prepare_options o = options_of(w, config, &choose, c);
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts counts;
    problems *p = problems_new((size_t)w->examples, true);
    int rc;

    if (!p)
        return fail("out of memory");
    o.row = problems_row;
    o.finding = problems_finding;
    o.progress = progress_wanted() ? on_progress : NULL;
    o.ud = p;
    rc = hone_data_prepare(files, n, &o, &counts, &err);
    progress(NULL);
    rc = rc ? fail_with(&err) : problems_finish(p);
    if (!rc)
        rc = show(p, &counts, w->json);
    if (!rc && problems_worst(p) >= level_of(w->fail_on))
        rc = EXIT_FAILURE;
    problems_free(p);
    return rc;
}

static int check(const wishes *w, const char *const *files, size_t n, const common *c)
{
    hone_config *config = NULL;
    hone_error err = HONE_ERROR_INIT;
    int rc;

    if (w->config)
        rc = config_open(&config, w->config, NULL, NULL);
    else
        rc = hone_config_new(&config, &err) ? fail_with(&err) : 0;
    if (!rc && !n) {
        files = (const char *const *)config->data.train_data_path.item;
        n = config->data.train_data_path.n;
    }
    if (!rc)
        rc = run(w, config, files, n, c);
    hone_config_free(config);
    return rc;
}

int command_data_check(int argc, char **argv)
{
    common c = {0};
    wishes w = {.threshold = 0.8,
                .share = 0.6,
                .ngram = 5,
                .contamination_ngram = 13,
                .examples = 3,
                .text_rows = "paragraph",
                .fail_on = "error"};
    const option options[] = {
        {.name = "--config",
         .kind = OPTION_TEXT,
         .value = &w.config,
         .argument = "FILE",
         .help =
             "The configuration of a run: its field names, rules and thresholds hold, and its training data "
             "are read when no file is given."},
        {.name = "--rules",
         .kind = OPTION_LIST,
         .value = &w.rules,
         .argument = "FILE",
         .help =
             "Rules of your own, or changes of the built-in ones ('hone data rules' prints these); may be "
             "given several times."},
        {.name = "--set",
         .kind = OPTION_LIST,
         .value = &w.set,
         .argument = "RULE.PARAMETER=VALUE",
         .help = "Changes a rule; may be given several times."},
        {.name = "--only",
         .kind = OPTION_LIST,
         .value = &w.only,
         .argument = "RULE",
         .help = "Only these rules; may be given several times."},
        {.name = "--skip",
         .kind = OPTION_LIST,
         .value = &w.skip,
         .argument = "RULE",
         .help = "Not these rules; may be given several times."},
        {.name = "--no-rules",
         .kind = OPTION_FLAG,
         .value = &w.no_rules,
         .help = "Only what can not be read, duplicates and contamination."},
        {.name = "--against",
         .kind = OPTION_LIST,
         .value = &w.against,
         .argument = "PATH",
         .help = "Evaluation rows that no row may repeat; may be given several times."},
        {.name = "--threshold",
         .kind = OPTION_NUMBER,
         .value = &w.threshold,
         .argument = "J",
         .min = 0.01,
         .max = 1,
         .standard = "0.8",
         .given = &w.given.threshold,
         .help = "Rows are near-duplicates from this Jaccard similarity of their n-grams on."},
        {.name = "--ngram",
         .kind = OPTION_INT,
         .value = &w.ngram,
         .argument = "N",
         .min = 1,
         .max = 64,
         .standard = "5",
         .given = &w.given.ngram,
         .help = "Characters of these n-grams."},
        {.name = "--exact-only",
         .kind = OPTION_FLAG,
         .value = &w.exact_only,
         .help = "Only equal rows are duplicates."},
        {.name = "--share",
         .kind = OPTION_NUMBER,
         .value = &w.share,
         .argument = "S",
         .min = 0.01,
         .max = 1,
         .standard = "0.6",
         .given = &w.given.share,
         .help = "With --against: a row that holds this share of the n-grams of an evaluation row's question "
                 "repeats it."},
        {.name = "--contamination-ngram",
         .kind = OPTION_INT,
         .value = &w.contamination_ngram,
         .argument = "N",
         .min = 1,
         .max = 64,
         .standard = "13",
         .given = &w.given.contamination_ngram,
         .help = "Characters of these n-grams."},
        {.name = "--text-rows",
         .kind = OPTION_CHOICE,
         .value = &w.text_rows,
         .argument = "UNIT",
         .choices = "paragraph|line|file",
         .standard = "paragraph",
         .given = &w.given.text_rows,
         .help = "What a row of a .txt file is."},
        {.name = "--fail-on",
         .kind = OPTION_CHOICE,
         .value = &w.fail_on,
         .argument = "LEVEL",
         .choices = "note|warning|error",
         .standard = "error",
         .help = "Exit code 1 from this severity on."},
        {.name = "--ledger",
         .kind = OPTION_TEXT,
         .value = &w.ledger,
         .argument = "FILE",
         .help = "Writes the fate of every row, one JSON object a line."},
        {.name = "--examples",
         .kind = OPTION_INT,
         .value = &w.examples,
         .argument = "N",
         .max = 1e6,
         .standard = "3",
         .help = "Examples of every kind of problem."},
        JSON_OPTION(w.json),
        {0}};
    const usage u = {
        "data check",
        "FILE... [OPTIONS]",
        "Reads rows and lists what is wrong with them, the worst first: rows that can not be read, rows that "
        "repeat an evaluation row, duplicates, and what the rules of quality find. Exit code 1 when "
        "something "
        "is as bad as --fail-on says.",
        options,
        0,
        argc};
    const char **files = calloc((size_t)argc + 1, sizeof *files);
    parse_result r;
    int n = 0, rc;

    if (!files)
        return fail("out of memory");
    r = options_parse(&u, &c, argc, argv, files, &n);
    if (r != PARSE_RUN)
        rc = parse_exit(r);
    else if (!n && !w.config)
        rc = usage_error(&u, "an argument is missing");
    else
        rc = check(&w, files, (size_t)n, &c);
    wishes_clear(&w);
    free(files);
    return rc;
}
