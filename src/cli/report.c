/* hone report: one page about a training run; and what hone train does at its end. */
#include "cli.h"

static char *inside(const char *dir, const char *name)
{
    char *path;

    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

int train_report_write(const char *output_dir, const char *path, hone_train_report_options *o)
{
    char *config = inside(output_dir, "config.yaml"), *settings = NULL, *html = NULL;
    hone_config *c = NULL;
    hone_error err = HONE_ERROR_INIT;
    size_t len = 0;
    int rc;

    if (!config)
        return fail("out of memory");
    if (hone_config_load(&c, config, &err) || hone_config_text(&settings, c, NULL, 0, &err))
        note("%s", err.message); /* the page does without */
    o->config = c;
    o->settings = settings;
    rc = hone_train_report(&html, &len, output_dir, o, &err);
    rc = rc ? fail_with(&err) : page_write(path, html, len);
    hone_free(html);
    hone_free(settings);
    hone_config_free(c);
    free(config);
    return rc;
}

int command_report(int argc, char **argv)
{
    common c = {0};
    page_options page = {.language = "en"};
    char *standard = NULL, now[32];
    const char *dir;
    int64_t rows = 10;
    const option options[] = {
        PAGE_OPTIONS(page, "OUTPUT_DIR/report.html"),
        {.name = "--rows",
         .kind = OPTION_INT,
         .value = &rows,
         .argument = "N",
         .max = 1000,
         .standard = "10",
         .help = "Rows of each list: the hardest, the memorised, those that changed most."},
        {0}};
    const usage u = {"report",
                     "OUTPUT_DIR [OPTIONS]",
                     "Makes one HTML page about a training run from the files in its output_dir, at any "
                     "time: curves, loss by "
                     "task, sample answers, hardest and memorised rows, memory planned and measured. The "
                     "page needs no other file "
                     "and no network.",
                     options,
                     1,
                     1};
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, &dir, &n);
    if (r != PARSE_RUN)
        return parse_exit(r);
    if (!page.output && !(page.output = standard = inside(dir, "report.html")))
        return fail("out of memory");
    rc = train_report_write(dir, page.output,
                            &(hone_train_report_options){.language = page_language(&page),
                                                         .title = dir,
                                                         .time = page_time(&page, now),
                                                         .rows = (uint32_t)rows});
    free(standard);
    return rc;
}
