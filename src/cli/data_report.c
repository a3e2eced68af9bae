/* hone data report: one page about the data of a configuration. */
#include <string.h>

#include "cli.h"

static void on_progress(void *ud, const hone_progress *p)
{
    (void)ud;
    progress_bar(p);
}

/* The folder of a file, NULL when it has none; freed by the caller. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash > path ? strndup(path, (size_t)(slash - path)) : NULL;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The tokenizer and template of the configuration's model; without them, *why says so and the report does without. */
static void open_chat(const hone_config *c, hone_tokenizer **tokenizer, hone_chat **chat, hone_error *why)
{
    if (hone_tokenizer_open(tokenizer, c->model.name_or_path, why) ||
        hone_chat_open(chat, c->model.name_or_path, *tokenizer, why)) {
        note("%s", why->message);
        *chat = NULL;
    }
}

static int report(data_pass *p, hone_data_report_options *o, const char *config, const char *output)
{
    static const char *const sections[] = {"model", "data"};
    hone_tokenizer *tokenizer = NULL;
    hone_chat *chat = NULL;
    hone_error err = HONE_ERROR_INIT, why = HONE_ERROR_INIT;
    hone_ledger_counts counts;
    char *base = folder_of(p->config->source), *settings = NULL, *html = NULL;
    size_t len = 0;
    int rc;

    open_chat(p->config, &tokenizer, &chat, &why);
    o->chat = chat;
    o->no_chat = why.message;
    o->title = last_part(config);
    o->base = base;
    o->max_length = p->config->model.max_length;
    o->train_on_prompt = p->config->data.train_on_prompt;
    p->options.progress = progress_wanted() ? on_progress : NULL;
    rc = hone_config_text(&settings, p->config, sections, COUNT(sections), &err);
    o->settings = settings;
    if (!rc)
        rc = hone_data_report(&html, &len, p->paths, p->n_paths, &p->options, o, &counts, &err);
    progress(NULL);
    rc = rc ? fail_with(&err) : page_write(output, html, len);
    hone_free(html);
    hone_free(settings);
    free(base);
    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    return rc;
}

int command_data_report(int argc, char **argv)
{
    common c = {0};
    text_list set = {0};
    page_options page = {.output = "report.html", .language = "en"};
    int64_t examples = 5, samples = 6;
    const char *path;
    char now[32];
    const option options[] = {PAGE_OPTIONS(page, "report.html"),
                              {.name = "--examples",
                               .kind = OPTION_INT,
                               .value = &examples,
                               .argument = "N",
                               .max = 1000,
                               .standard = "5",
                               .help = "Examples of every kind of problem."},
                              {.name = "--samples",
                               .kind = OPTION_INT,
                               .value = &samples,
                               .argument = "N",
                               .max = 1000,
                               .standard = "6",
                               .help = "Used rows that are shown as they are trained."},
                              SET_OPTION(set),
                              {0}};
    const usage u = {
        "data report",
        "CONFIG.yaml [OPTIONS]",
        "Prepares the training rows of a configuration like `hone data prepare`, but writes one HTML page "
        "about them instead: what became of the rows and why, problems with examples, lengths, tasks and "
        "labels, rows as they are trained, before and after. The page needs no other file and no network.",
        options,
        1,
        1};
    data_pass p;
    parse_result r;
    int n, rc;

    memset(&p, 0, sizeof p);
    r = options_parse(&u, &c, argc, argv, &path, &n);
    if (r != PARSE_RUN) {
        rc = parse_exit(r);
    } else {
        hone_data_report_options o = {.language = page_language(&page),
                                      .time = page_time(&page, now),
                                      .examples = (uint32_t)examples,
                                      .samples = (uint32_t)samples};

        rc = data_pass_open(&p, &c, path, &set);
        if (!rc)
            rc = report(&p, &o, path, page.output);
    }
    data_pass_close(&p);
    text_list_clear(&set);
    return rc;
}
