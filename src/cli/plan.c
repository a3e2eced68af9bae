/* hone plan, and what it shares with train: opening a configuration and showing a memory plan. */
#include <string.h>

#include "cli.h"

int config_open(hone_config **out, const char *path, const text_list *set, const char *precision)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c = NULL;
    size_t i;
    int rc = hone_config_load(&c, path, &err);

    for (i = 0; !rc && set && i < set->n; i++)
        rc = hone_config_set(c, set->item[i], &err);
    if (!rc && precision) {
        char assignment[64];

        snprintf(assignment, sizeof assignment, "training.precision=%s", precision);
        rc = hone_config_set(c, assignment, &err);
    }
    if (!rc)
        rc = hone_config_check(c, &err);
    if (rc) {
        hone_config_free(c);
        return fail_with(&err);
    }
    for (i = 0; i < c->n_notice; i++)
        note("%s", c->notice[i]);
    *out = c;
    return 0;
}

void plan_print(FILE *f, const hone_plan *plan)
{
    char size[32];
    int i;

    for (i = 0; i < plan->n; i++)
        fprintf(f, "  %-22s %12s  %s\n", plan->item[i].purpose, size_text(size, plan->item[i].bytes),
                plan->item[i].detail);
    fprintf(f, "  %-22s %12s", "total", size_text(size, plan->total));
    if (plan->available)
        fprintf(f, "  of %s available", size_text(size, plan->available));
    putc('\n', f);
}

json_t *plan_json(const hone_plan *plan)
{
    json_t *items = json_array();
    int i;

    for (i = 0; i < plan->n; i++)
        json_array_append_new(items, json_pack("{s:s, s:o, s:I}", "purpose", plan->item[i].purpose, "detail",
                                               json_text(plan->item[i].detail, strlen(plan->item[i].detail)),
                                               "bytes", (json_int_t)plan->item[i].bytes));
    return json_pack("{s:i, s:I, s:I, s:I, s:I, s:o}", "recompute", plan->recompute, "micro_batch_tokens",
                     (json_int_t)plan->tokens, "total_bytes", (json_int_t)plan->total, "file_bytes",
                     (json_int_t)plan->file_bytes, "available_bytes", (json_int_t)plan->available, "items",
                     items);
}

/* The n-th line of a purpose in a plan, or NULL. */
static const hone_plan_item *find_item(const hone_plan *p, const char *purpose, int n)
{
    int i;

    for (i = 0; i < p->n; i++)
        if (strcmp(p->item[i].purpose, purpose) == 0 && n-- == 0)
            return &p->item[i];
    return NULL;
}

/* The n-th lines of a purpose at the three levels, side by side; false when there is none. */
static bool print_lines(const hone_plan_report *r, const char *purpose, int n)
{
    const hone_plan_item *item[3], *told;
    char size[32];
    int k;

    for (k = 0; k < 3; k++)
        item[k] = find_item(&r->plan[k], purpose, n);
    told = item[r->chosen] ? item[r->chosen] : item[0] ? item[0] : item[1] ? item[1] : item[2];
    if (!told)
        return false;
    printf("  %-22s", purpose);
    for (k = 0; k < 3; k++)
        printf("%13s", item[k] ? size_text(size, item[k]->bytes) : "-");
    printf("  %s\n", told->detail);
    return true;
}

/* Whether a purpose stands in a lower level's plan, or above line `before` of level k. */
static bool told_before(const hone_plan_report *r, int k, int before)
{
    const char *purpose = r->plan[k].item[before].purpose;
    int j;

    for (j = 0; j < k; j++)
        if (find_item(&r->plan[j], purpose, 0))
            return true;
    return find_item(&r->plan[k], purpose, 0) != &r->plan[k].item[before];
}

/* The totals of other batch sizes; a star marks what fits. */
static void print_batches(const hone_plan_report *r)
{
    char size[32], cell[40];
    int i, k;

    printf("by rows of a micro-batch (* fits)\n");
    for (i = 0; i < r->n_batches; i++) {
        const hone_plan_batch *b = &r->batch[i];

        printf("  %6lld rows, %6lld tok", (long long)b->rows, (long long)b->tokens);
        for (k = 0; k < 3; k++) {
            snprintf(cell, sizeof cell, "%s%s", b->fits[k] ? "* " : "", size_text(size, b->bytes[k]));
            printf("%13s", cell);
        }
        putchar('\n');
    }
}

/* Every purpose once, in order of appearance; what the lines say in words is the chosen level's. */
static void print_table(const hone_plan_report *r)
{
    char size[32], replayed[60] = "";
    int k, i, n;

    printf("memory by recomputation level (0 keeps all, 1 recomputes norms and gated products, 2 whole "
           "blocks)\n");
    printf("  %-22s%13s%13s%13s\n", "", "level 0", "level 1", "level 2");
    for (k = 0; k < 3; k++)
        for (i = 0; i < r->plan[k].n; i++)
            if (!told_before(r, k, i))
                for (n = 0; print_lines(r, r->plan[k].item[i].purpose, n); n++)
                    ;
    printf("  %-22s", "total");
    for (k = 0; k < 3; k++)
        printf("%13s", size_text(size, r->plan[k].total));
    printf("\n  available: %s\n", size_text(size, r->plan[r->chosen].available));
    print_batches(r);
    if (r->problem[0])
        printf("does not fit: level %d takes %s\n", r->chosen, size_text(size, r->plan[r->chosen].total));
    else
        printf("chosen: level %d, %s, micro-batches of up to %lld tokens\n", r->chosen,
               size_text(size, r->plan[r->chosen].total), (long long)r->plan[r->chosen].tokens);
    if (r->replayed_rows)
        snprintf(replayed, sizeof replayed, ", %lld of them replayed", (long long)r->replayed_rows);
    printf("rows: %lld%s   steps: %lld (%lld an epoch)   tokens an epoch: %lld, %lld of them trained\n",
           (long long)r->rows, replayed, (long long)r->steps, (long long)r->steps_per_epoch,
           (long long)r->tokens_per_epoch, (long long)r->trained_tokens_per_epoch);
}

static json_t *report_json(const hone_plan_report *r)
{
    json_t *levels = json_array(), *batches = json_array();
    int k;

    for (k = 0; k < 3; k++)
        json_array_append_new(levels, plan_json(&r->plan[k]));
    for (k = 0; k < r->n_batches; k++) {
        const hone_plan_batch *b = &r->batch[k];

        json_array_append_new(batches,
                              json_pack("{s:I, s:I, s:[I,I,I], s:[b,b,b]}", "batch_rows", (json_int_t)b->rows,
                                        "tokens", (json_int_t)b->tokens, "total_bytes",
                                        (json_int_t)b->bytes[0], (json_int_t)b->bytes[1],
                                        (json_int_t)b->bytes[2], "fits", b->fits[0], b->fits[1], b->fits[2]));
    }
    return json_pack("{s:o, s:o, s:i, s:I, s:I, s:I, s:I, s:I, s:I}", "plans", levels, "batches", batches,
                     "chosen", r->chosen, "rows", (json_int_t)r->rows, "replayed_rows",
                     (json_int_t)r->replayed_rows, "steps", (json_int_t)r->steps, "steps_per_epoch",
                     (json_int_t)r->steps_per_epoch, "tokens_per_epoch", (json_int_t)r->tokens_per_epoch,
                     "trained_tokens_per_epoch", (json_int_t)r->trained_tokens_per_epoch);
}

static void on_note(void *ud, const char *line)
{
    (void)ud;
    note("%s", line);
}

int command_plan(int argc, char **argv)
{
    common c = {0};
    text_list set = {0};
    const char *precision = NULL, *path;
    bool json = false;
    double memory = 0;
    const option options[] = {SET_OPTION(set),
                              {.name = "--precision",
                               .kind = OPTION_CHOICE,
                               .value = &precision,
                               .argument = "P",
                               .choices = PRECISIONS,
                               .help = "Overrides training.precision."},
                              {.name = "--memory",
                               .kind = OPTION_NUMBER,
                               .value = &memory,
                               .argument = "GB",
                               .max = 1e9,
                               .standard = "0, what is available, a container's limit included",
                               .help = "Memory that the run may take in all."},
                              JSON_OPTION(json),
                              {0}};
    const usage u = {
        "plan",
        "CONFIG.yaml [OPTIONS]",
        "Opens the model, the tokenizer and the data of a training configuration and prints the memory "
        "that a run will take at each recomputation level, which level it will choose, and how many "
        "steps and tokens it has.",
        options,
        1,
        1};
    const hone_train_callbacks callbacks = {.note = on_note};
    hone_plan_report report;
    hone_error err = HONE_ERROR_INIT;
    hone_config *config = NULL;
    hone_device *device = NULL;
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, &path, &n);
    if (r != PARSE_RUN) {
        text_list_clear(&set);
        return parse_exit(r);
    }
    rc = config_open(&config, path, &set, precision);
    if (rc)
        goto out;
    memset(&report, 0, sizeof report);
    if (device_open(&device, &c, &err) ||
        hone_train_plan(config, device, &callbacks, (uint64_t)(memory * 1e9), &report, &err))
        rc = fail_with(&err);
    else if (json)
        rc = json_print(report_json(&report));
    else
        print_table(&report);
    if (!rc && report.problem[0])
        rc = fail("%s", report.problem);
out:
    hone_device_close(device);
    hone_config_free(config);
    text_list_clear(&set);
    return rc;
}
