/* What the commands that prepare the data of a configuration share: its options, and the model that scores rows where the
 * configuration asks for scores. */
#include <string.h>

#include "cli.h"

static bool add_name(data_pass *p, const char *name)
{
    size_t i;

    for (i = 0; i < p->n_names; i++)
        if (!strcmp(p->name[i], name))
            return true;
    if (p->n_names == COUNT(p->name))
        return false;
    snprintf(p->name[p->n_names], sizeof p->name[0], "%s", name);
    p->list[p->n_names] = p->name[p->n_names];
    p->n_names++;
    return true;
}

/* The scores that the configuration needs: those it asks for, filters by, sorts by, weighs by. */
static bool collect_names(data_pass *p)
{
    const hone_config *c = p->config;
    bool fits = true;
    char name[32];
    size_t i;

    for (i = 0; i < c->data.scores_compute.n; i++)
        fits = add_name(p, c->data.scores_compute.item[i]) && fits;
    for (i = 0; i < c->data.scores_filter.n; i++) {
        const char *f = c->data.scores_filter.item[i];

        f += strspn(f, " ");
        snprintf(name, sizeof name, "%.*s", (int)strcspn(f, " <>=!"), f);
        fits = add_name(p, name) && fits;
    }
    if (c->data.scores_sort)
        fits = add_name(p, c->data.scores_sort) && fits;
    if (c->data.scores_weight)
        fits = add_name(p, c->data.scores_weight + (strncmp(c->data.scores_weight, "1/", 2) ? 0 : 2)) && fits;
    if (c->data.mix_curriculum && strcmp(c->data.mix_curriculum, "length") &&
        strcmp(c->data.mix_curriculum, "turns"))
        fits = add_name(p, c->data.mix_curriculum) && fits;
    return fits;
}

static void on_note(void *ud, const char *line)
{
    (void)ud;
    note("%s", line);
}

int data_pass_scorer(hone_scorer *out, hone_device **device, const hone_config *config, const common *c,
                     const char *const *name, size_t n)
{
    hone_scorer_params params = {.model = config->model.name_or_path,
                                 .open = hone_model_params_of_config(config),
                                 .max_length = config->model.max_length,
                                 .name = name,
                                 .n = n,
                                 .note = on_note};
    hone_error err = HONE_ERROR_INIT;

    if (device_open(device, c, &err) || hone_scorer_open(out, *device, &params, &err))
        return fail_with(&err);
    return 0;
}

int data_pass_open(data_pass *p, const common *c, const char *path, const text_list *set)
{
    int rc = config_open(&p->config, path, set, NULL);

    if (rc)
        return rc;
    hone_prepare_options_read(&p->options, &p->choose, p->config);
    if (c->threads)
        p->options.threads = (int32_t)c->threads;
    p->paths = (const char *const *)p->config->data.train_data_path.item;
    p->n_paths = p->config->data.train_data_path.n;
    if (!collect_names(p))
        return fail("data.scores names too many scores");
    if (p->n_names) {
        rc = data_pass_scorer(&p->scorer, &p->device, p->config, c, p->list, p->n_names);
        p->options.scorer = &p->scorer;
    }
    return rc;
}

void data_pass_close(data_pass *p)
{
    hone_scorer_close(&p->scorer);
    hone_device_close(p->device);
    hone_config_free(p->config);
    memset(p, 0, sizeof *p);
}
