/* The training report: reads what a run left in its folder. Lines of JSON are taken one by one; of the rows, whose number
 * has no bound, only losses and the few that are shown stay. */
#include "report/train_report.h"

#include <math.h>
#include <string.h>

#include "format/json.h"
#include "hone/data.h"

#define FILE_LIMIT ((size_t)1 << 30)
#define EXCERPT 400 /* bytes */

static int no_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the report");
}

static double figure(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* Calls `take` with every whole line of dir/name. A line that is no object is HONE_EFORMAT; a last line without its end is
 * still being written. */
static int each_line(train_report *r, const char *dir, const char *name,
                     int (*take)(train_report *r, json_t *line, hone_error *err), hone_error *err)
{
    char *path = hone_path_join(dir, name), *text = NULL, *at, *end, place[32];
    size_t len, number = 0;
    int rc = path ? hone_file_read(&text, &len, path, FILE_LIMIT, err) : no_memory(err);

    for (at = text; !rc && (end = memchr(at, '\n', (size_t)(text + len - at))); at = end + 1) {
        json_t *line = NULL;

        number++;
        rc = hone_json_parse(&line, at, (size_t)(end - at), path, NULL);
        if (rc || !json_is_object(line)) {
            snprintf(place, sizeof place, "%zu", number);
            rc = rc == HONE_ENOMEM ? no_memory(err)
                                   : hone_error_set(err, HONE_EFORMAT, "%s:%s: no JSON object", path, place);
        } else {
            rc = take(r, line, err);
        }
        json_decref(line);
    }
    hone_free(text);
    hone_free(path);
    return rc;
}

static int keep(json_t ***list, size_t *n, size_t *capacity, json_t *line, hone_error *err)
{
    *list = hone_grow(*list, capacity, *n + 1, sizeof **list);
    if (*capacity < *n + 1)
        return no_memory(err);
    (*list)[(*n)++] = json_incref(line);
    return 0;
}

static int take_metric(train_report *r, json_t *line, hone_error *err)
{
    if (json_object_get(line, "eval_loss"))
        return keep(&r->eval, &r->n_evals, &r->eval_capacity, line, err);
    r->step = hone_grow(r->step, &r->step_capacity, r->n_steps + 1, sizeof *r->step);
    if (r->step_capacity < r->n_steps + 1)
        return no_memory(err);
    r->step[r->n_steps++] = (train_step){.step = figure(line, "step"),
                                         .loss = figure(line, "loss"),
                                         .new_loss = figure(line, "new_loss"),
                                         .replay_loss = figure(line, "replay_loss"),
                                         .rate = figure(line, "learning_rate"),
                                         .norm = figure(line, "grad_norm"),
                                         .speed = figure(line, "tokens_per_second"),
                                         .share = figure(line, "peak_share")};
    return 0;
}

static int take_sample(train_report *r, json_t *line, hone_error *err)
{
    return keep(&r->sample, &r->n_samples, &r->sample_capacity, line, err);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* What a list is ordered by: the greatest first. */
static double rank_of(int list, const train_row *x)
{
    return list == LIST_HARDEST ? x->last : list == LIST_MEMORISED ? -x->last : x->first - x->last;
}

/* Puts a row into its place of a list, whose last one goes when it is full. Ties: the earlier row stays first. */
static int offer(train_report *r, int which, const train_row *x, hone_error *err)
{
    train_list *l = &r->list[which];
    size_t at = l->n;
    train_row copy = *x;

    while (at > 0 && rank_of(which, &l->row[at - 1]) < rank_of(which, x))
        at--;
    if (at >= r->o->rows)
        return 0;
    copy.file = hone_strdup(x->file);
    if (!copy.file)
        return no_memory(err);
    if (l->n == r->o->rows)
        hone_free(l->row[--l->n].file);
    memmove(l->row + at + 1, l->row + at, (l->n - at) * sizeof *l->row);
    l->row[at] = copy;
    l->n++;
    return 0;
}

static int take_row(train_report *r, json_t *line, hone_error *err)
{
    const char *file = json_string_value(json_object_get(line, "file"));
    train_row x = {.line = (uint64_t)json_integer_value(json_object_get(line, "line")),
                   .row = (uint64_t)json_integer_value(json_object_get(line, "row")),
                   .replay = json_is_true(json_object_get(line, "replay")),
                   .first = figure(line, "first_loss"),
                   .last = figure(line, "last_loss")};
    char name[] = "?";
    int k, rc = 0;

    x.file = file ? (char *)file : name;
    if (!isfinite(x.first) || !isfinite(x.last))
        return 0;
    r->last = hone_grow(r->last, &r->row_capacity, r->n_rows + 1, sizeof *r->last);
    if (r->row_capacity < r->n_rows + 1)
        return no_memory(err);
    r->last[r->n_rows++] = x.last;
    for (k = 0; !rc && k < N_LISTS; k++)
        rc = offer(r, k, &x, err);
    return rc;
}

/* The texts of a conversation, one after the other, as far as they are shown. */
static char *excerpt_of(const hone_row *row)
{
    json_t *root = NULL;
    const json_t *list, *text;
    hone_buf b = {0};
    size_t i;

    if (hone_json_parse(&root, row->conversation, row->len, row->file, NULL))
        return NULL;
    list = json_object_get(root, "messages");
    text = json_object_get(root, "text");
    if (json_is_string(text))
        hone_buf_add(&b, json_string_value(text), HONE_MIN(json_string_length(text), EXCERPT + 4));
    for (i = 0; i < json_array_size(list) && b.len <= EXCERPT; i++) {
        const json_t *content = json_object_get(json_array_get(list, i), "content");

        if (i)
            hone_buf_puts(&b, " ▸ ");
        if (json_is_string(content))
            hone_buf_add(&b, json_string_value(content), HONE_MIN(json_string_length(content), EXCERPT + 4));
    }
    json_decref(root);
    return hone_buf_take(&b);
}

static void give_excerpt(train_report *r, const hone_row *row, bool replay, size_t *missing)
{
    int k;
    size_t i;

    for (k = 0; k < N_LISTS; k++)
        for (i = 0; i < r->list[k].n; i++) {
            train_row *x = &r->list[k].row[i];

            if (x->replay != replay || x->row != row->index || x->excerpt || strcmp(x->file, row->file) ||
                x->line != row->line)
                continue;
            x->excerpt = excerpt_of(row);
            (*missing)--;
        }
}

/* Reads rows again, up to the last one that is shown. They may be gone, or others by now: then rows have no excerpts, and
 * that is no error. */
static void read_excerpts(train_report *r, const hone_strings *paths, bool replay)
{
    hone_dataset_options options;
    hone_rows *rows = NULL;
    hone_row row;
    char *cache_dir = NULL;
    size_t missing = 0, i;
    int k;

    for (k = 0; k < N_LISTS; k++)
        for (i = 0; i < r->list[k].n; i++)
            missing += r->list[k].row[i].replay == replay;
    for (i = 0; i < paths->n; i++)
        if (paths->item[i][0] == '-')
            return; /* standard input */
    if (!missing || hone_dataset_options_from(&options, &cache_dir, r->o->config, NULL))
        return;
    if (!hone_rows_open(&rows, (const char *const *)paths->item, paths->n, &options.rows, NULL))
        while (missing && hone_rows_next(rows, &row, NULL) == 1)
            give_excerpt(r, &row, replay, &missing);
    hone_rows_close(rows);
    hone_free(cache_dir);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static int optional(int rc, hone_error *err)
{
    if (rc == HONE_ENOENT && err)
        err->code = 0;
    return rc == HONE_ENOENT ? 0 : rc;
}

static int read_run(train_report *r, const char *dir, hone_error *err)
{
    char *path = hone_path_join(dir, "run.json");
    int rc = path ? hone_json_load(&r->run, path, FILE_LIMIT, err) : no_memory(err);

    hone_free(path);
    return optional(rc, err);
}

static void clear(train_report *r)
{
    size_t i;
    int k;

    for (i = 0; i < r->n_evals; i++)
        json_decref(r->eval[i]);
    for (i = 0; i < r->n_samples; i++)
        json_decref(r->sample[i]);
    for (k = 0; k < N_LISTS; k++) {
        for (i = 0; i < r->list[k].n; i++) {
            hone_free(r->list[k].row[i].file);
            hone_free(r->list[k].row[i].excerpt);
        }
        hone_free(r->list[k].row);
    }
    hone_free(r->eval);
    hone_free(r->sample);
    hone_free(r->step);
    hone_free(r->last);
    json_decref(r->run);
}

int hone_train_report(char **html, size_t *len, const char *output_dir,
                      const hone_train_report_options *options, hone_error *err)
{
    train_report r = {.o = options};
    hone_buf b = {0};
    int rc = each_line(&r, output_dir, "metrics.jsonl", take_metric, err), k;

    *html = NULL;
    for (k = 0; !rc && k < N_LISTS; k++) {
        r.list[k].row = hone_calloc((size_t)options->rows + 1, sizeof *r.list[k].row);
        if (!r.list[k].row)
            rc = no_memory(err);
    }
    if (!rc)
        rc = read_run(&r, output_dir, err);
    if (!rc)
        rc = optional(each_line(&r, output_dir, "samples.jsonl", take_sample, err), err);
    if (!rc)
        rc = optional(each_line(&r, output_dir, "rows.jsonl", take_row, err), err);
    if (!rc) {
        hone_error page = HONE_ERROR_INIT;

        if (options->config) {
            read_excerpts(&r, &options->config->data.train_data_path, false);
            read_excerpts(&r, &options->config->data.replay_data_path, true);
        }
        train_page(&b, &r, &page);
        if (page.code)
            rc = hone_error_set(err, page.code, "%s", page.message);
        else if (b.failed)
            rc = no_memory(err);
    }
    clear(&r);
    if (!rc) {
        *len = b.len;
        *html = hone_buf_take(&b);
    }
    hone_buf_clear(&b);
    return rc;
}
