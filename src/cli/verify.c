/* hone verify: the checks of hone/verify.h as a table, or as JSON. */
#include <string.h>

#include "cli.h"

struct verify_state {
    json_t *checks; /* NULL: a table is printed as it comes */
};

static void on_note(void *ud, const char *line)
{
    (void)ud;
    note("%s", line);
}

static bool on_stop(void *ud)
{
    (void)ud;
    return stop_signal() != 0;
}

static void on_check(void *ud, const hone_verify_check *k)
{
    struct verify_state *s = ud;
    char limit[32] = "-";

    if (s->checks) {
        json_array_append_new(s->checks,
                              json_pack("{s:s, s:o, s:o, s:o, s:b}", "group", k->group, "what",
                                        json_text(k->what, strlen(k->what)), "figure", json_number(k->figure),
                                        "limit", k->informative ? json_null() : json_number(k->limit),
                                        "failed", k->failed));
        return;
    }
    if (!k->informative)
        snprintf(limit, sizeof limit, k->limit > 0 ? "%.1e" : "same bits", k->limit);
    printf("%-14s %10.2e %10s  %-6s  %s\n", k->group, k->figure, limit,
           k->informative ? ""
           : k->failed    ? "FAILED"
                          : "ok",
           k->what);
    fflush(stdout);
}

static json_t *result_json(const hone_verify_result *r, json_t *checks)
{
    return json_pack("{s:O, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "checks", checks, "checked", r->checks,
                     "failed", r->failed, "rows", r->rows, "tokens", r->tokens, "targets", r->targets, "loss",
                     json_number(r->loss), "seconds", json_number(r->seconds));
}

static int run(const common *c, const hone_config *config, hone_verify_params *p, bool json)
{
    struct verify_state state = {.checks = json ? json_array() : NULL};
    hone_error err = HONE_ERROR_INIT;
    hone_verify_result result;
    hone_device *device = NULL;
    int rc = EXIT_SUCCESS;

    p->ud = &state;
    p->check = on_check;
    p->note = on_note;
    p->stop = on_stop;
    stop_signals_catch(true);
    if (!json)
        printf("%-14s %10s %10s\n", "", "figure", "limit");
    if (device_open(&device, c, &err) || hone_verify_run(config, device, p, &result, &err)) {
        rc = fail_with(&err);
        goto out;
    }
    if (json)
        rc = json_print(result_json(&result, state.checks));
    else
        printf("%d rows, %d tokens, %d of them trained, loss %.4f at the start; %.1f s on %s\n", result.rows,
               result.tokens, result.targets, result.loss, result.seconds, hone_device_name(device));
    if (!rc && result.failed)
        rc = fail("%d of %d checks failed", result.failed, result.checks);
out:
    json_decref(state.checks);
    hone_device_close(device);
    return rc;
}

int command_verify(int argc, char **argv)
{
    common c = {0};
    text_list set = {0};
    const char *path;
    int64_t rows = 4, tokens = 256, plain = 64;
    bool json = false;
    const option options[] = {
        SET_OPTION(set),
        {.name = "--rows",
         .kind = OPTION_INT,
         .value = &rows,
         .argument = "N",
         .min = 1,
         .max = 1e5,
         .standard = "4",
         .help = "Rows of the training data, from the first."},
        {.name = "--tokens",
         .kind = OPTION_INT,
         .value = &tokens,
         .argument = "N",
         .min = 2,
         .max = 1e7,
         .standard = "256",
         .help = "Tokens of all rows together, the last ones of each. The time grows with them."},
        {.name = "--plain-tokens",
         .kind = OPTION_INT,
         .value = &plain,
         .argument = "N",
         .min = 2,
         .max = 1e7,
         .standard = "64",
         .help = "Tokens that the plain C kernels, which are slow, compute."},
        JSON_OPTION(json),
        {0}};
    const usage u = {
        "verify",
        "CONFIG.yaml [OPTIONS]",
        "Shows on the model and data of a training configuration that gradients agree with finite "
        "differences, that packed and unpacked rows, accumulated and whole batches, recomputed and kept "
        "activations, one thread and several, fast and plain kernels agree, and that what is trained starts "
        "as the base. Trains and writes nothing. Exit code 1 when a figure is above its limit.",
        options,
        1,
        1};
    hone_verify_params p;
    hone_config *config = NULL;
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, &path, &n);
    if (r != PARSE_RUN) {
        text_list_clear(&set);
        return parse_exit(r);
    }
    memset(&p, 0, sizeof p);
    p.rows = (int32_t)rows;
    p.tokens = (int32_t)tokens;
    p.plain_tokens = (int32_t)plain;
    rc = config_open(&config, path, &set, NULL);
    if (!rc)
        rc = run(&c, config, &p, json);
    hone_config_free(config);
    text_list_clear(&set);
    return rc;
}
