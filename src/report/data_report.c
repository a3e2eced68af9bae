/* The data report: see data_report.h. Here: the first pass, which listens to hone_data_prepare. */
#include "report/data_report.h"

#include <math.h>
#include <string.h>

#define MAX_NAMES 100000 /* of tasks or labels; rows of further ones count as having none */

static const char *const built_in[N_BUILT_IN] = {"invalid", "contaminated", "duplicate"};

static int no_memory(report *r)
{
    r->rc = hone_error_set(&r->err, HONE_ENOMEM, "out of memory for the report");
    return r->rc;
}

/* ---- names --------------------------------------------------------------------------------------------------------- */

/* The index of a name, which is added when it is new; NO_NAME of NULL, and of further names when there are too many. */
static int name_find(name_table *t, const char *text, uint32_t *index)
{
    size_t len = text ? strlen(text) : 0;
    int64_t known;

    *index = NO_NAME;
    if (!text)
        return 0;
    known = hone_name_index_find(&t->index, text, len);
    if (known >= 0) {
        *index = (uint32_t)known;
        return 0;
    }
    if (t->n >= MAX_NAMES)
        return 0;
    if (t->n == t->capacity) {
        size_t more = t->capacity ? t->capacity * 2 : 32;
        counted_name *item = hone_realloc_array(t->item, more, sizeof *item);

        if (!item || hone_name_index_reserve(&t->index, more - t->n, NULL)) {
            t->item = item ? item : t->item;
            return HONE_ENOMEM;
        }
        t->item = item;
        t->capacity = more;
    }
    t->item[t->n] = (counted_name){.text = hone_strdup(text)};
    if (!t->item[t->n].text)
        return HONE_ENOMEM;
    if (hone_name_index_add(&t->index, t->item[t->n].text, len, (uint32_t)t->n)) { /* made to collide */
        hone_free(t->item[t->n].text);
        return 0;
    }
    *index = (uint32_t)t->n++;
    return 0;
}

static void names_clear(name_table *t)
{
    size_t i;

    for (i = 0; i < t->n; i++)
        hone_free(t->item[i].text);
    hone_free(t->item);
    hone_name_index_clear(&t->index);
}

/* ---- problems ------------------------------------------------------------------------------------------------------ */

static problem *find_problem(report *r, const char *name)
{
    size_t i;

    for (i = 0; i < r->n_problems; i++)
        if (!strcmp(r->problem[i].name, name))
            return &r->problem[i];
    return NULL;
}

static problem *add_problem(report *r, const char *name, const char *const title[2], int severity)
{
    problem *list = hone_realloc_array(r->problem, r->n_problems + 1, sizeof *list), *p;

    if (list)
        r->problem = list;
    else
        return no_memory(r), NULL;
    p = &list[r->n_problems++];
    *p = (problem){.name = hone_strdup(name), .severity = severity};
    if (title) {
        p->title[0] = hone_strdup(title[0] ? title[0] : name);
        p->title[1] = hone_strdup(title[1] ? title[1] : name);
    }
    p->example = hone_calloc(HONE_MAX(r->o->examples, 1), sizeof *p->example);
    if (!p->name || !p->example || (title && (!p->title[0] || !p->title[1])))
        return no_memory(r), NULL;
    return p;
}

static void add_example(report *r, problem *p, const example *e, const char *detail, const char *other_file)
{
    example *out = &p->example[p->n_examples];

    if (p->n_examples >= r->o->examples)
        return;
    *out = *e;
    out->detail = detail && *detail ? hone_strdup(detail) : NULL;
    out->other_file = other_file ? hone_strdup(other_file) : NULL;
    if ((detail && *detail && !out->detail) || (other_file && !out->other_file))
        no_memory(r);
    p->n_examples++;
}

static void note_finding(report *r, const hone_finding *f, uint64_t row)
{
    problem *p = find_problem(r, f->rule);
    example e = {.row = row, .message = f->message, .begin = f->begin, .end = f->end};
    bool first;

    if (!p)
        p = add_problem(r, f->rule, f->title, f->severity);
    if (!p)
        return;
    first = p->last != row + 1 || row == UINT64_MAX;
    if (row == UINT64_MAX)
        p->whole = true;
    else if (first)
        p->rows++;
    p->last = row + 1;
    if (first) /* one example a row */
        add_example(r, p, &e, f->detail, NULL);
}

static void note_fate(report *r, const hone_row_result *row)
{
    const hone_ledger_entry *e = &row->entry;
    int kind = e->fate == HONE_FATE_DUPLICATE                                  ? PROBLEM_DUPLICATE
               : e->fate == HONE_FATE_CONTAMINATED                             ? PROBLEM_CONTAMINATED
               : e->fate == HONE_FATE_DROPPED && !strcmp(e->reason, "invalid") ? PROBLEM_INVALID
                                                                               : -1;
    example x = {.row = e->row,
                 .message = UINT32_MAX,
                 .other_line = e->other_line,
                 .other_row = e->other_row,
                 .similarity = e->similarity};
    problem *p;
    uint32_t reason;

    if (kind >= 0) {
        p = &r->problem[kind];
        p->rows++;
        add_example(r, p, &x, e->detail, e->other_file);
    }
    if (e->fate != HONE_FATE_DROPPED)
        return;
    if (name_find(&r->reason, e->reason, &reason))
        no_memory(r);
    else if (reason != NO_NAME)
        r->reason.item[reason].before++;
    p = find_problem(r, e->reason);
    if (p)
        p->dropped++;
}

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

static int grow(report *r)
{
    size_t more = r->capacity + r->capacity / 2 + 1024;
    row_note *row = hone_realloc_array(r->row, more, sizeof *row);

    if (!row)
        return no_memory(r);
    r->row = row;
    if (r->n_scores) {
        double *score = hone_realloc_array(r->score, more, r->n_scores * sizeof *score);

        if (!score)
            return no_memory(r);
        r->score = score;
    }
    r->capacity = more;
    return 0;
}

static int take_score_names(report *r, const hone_scorer *s)
{
    size_t i;

    if (!s)
        return 0;
    r->score_name = hone_calloc(s->n + 1, sizeof *r->score_name);
    if (!r->score_name)
        return no_memory(r);
    for (i = 0; i < s->n; i++, r->n_scores++) {
        r->score_name[i] = hone_strdup(s->name[i]);
        if (!r->score_name[i])
            return no_memory(r);
    }
    return 0;
}

static void on_row(void *ud, const hone_row_result *row)
{
    report *r = ud;
    bool used = row->entry.fate == HONE_FATE_USED || row->entry.fate == HONE_FATE_CUT ||
                row->entry.fate == HONE_FATE_SPLIT;
    row_note n = {.copies = used ? HONE_MAX(row->copies, 1) : 0, .fate = row->entry.fate};
    size_t i;

    if (r->rc || (r->n == r->capacity && grow(r)))
        return;
    if (name_find(&r->task, row->task, &n.task) || name_find(&r->label, row->label, &n.label)) {
        no_memory(r);
        return;
    }
    if (n.task != NO_NAME) {
        r->task.item[n.task].before++;
        r->task.item[n.task].after += n.copies;
    }
    if (n.label != NO_NAME) {
        r->label.item[n.label].before++;
        r->label.item[n.label].after += n.copies;
    }
    for (i = 0; i < r->n_scores; i++)
        r->score[r->n * r->n_scores + i] = i < row->n_scores ? row->score[i] : NAN;
    r->row[r->n++] = n;
    r->flawed += row->n_findings > 0;
    r->held_out += used && row->validation;
    r->written += n.copies;
    for (i = 0; i < row->n_findings && !r->rc; i++)
        note_finding(r, &row->finding[i], row->entry.row);
    if (!r->rc)
        note_fate(r, row);
}

static void on_finding(void *ud, const hone_finding *f)
{
    report *r = ud;

    if (!r->rc)
        note_finding(r, f, UINT64_MAX);
}

static void on_progress(void *ud, const hone_progress *p)
{
    const report *r = ud;

    r->prepare->progress(r->prepare->ud, p);
}

/* ---- the report ---------------------------------------------------------------------------------------------------- */

static void shown_clear(shown_row *list, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        hone_free(list[i].file);
        json_decref(list[i].root);
    }
    hone_free(list);
}

static void report_clear(report *r)
{
    size_t i, k;

    for (i = 0; i < r->n_problems; i++) {
        problem *p = &r->problem[i];

        for (k = 0; k < p->n_examples; k++) {
            hone_free(p->example[k].detail);
            hone_free(p->example[k].other_file);
        }
        hone_free(p->example);
        hone_free(p->name);
        hone_free(p->title[0]);
        hone_free(p->title[1]);
    }
    hone_free(r->problem);
    for (i = 0; i < r->n_scores; i++)
        hone_free(r->score_name[i]);
    hone_free(r->score_name);
    hone_free(r->score);
    hone_free(r->row);
    names_clear(&r->task);
    names_clear(&r->label);
    names_clear(&r->reason);
    shown_clear(r->shown, r->n_shown);
    shown_clear(r->other, r->n_other);
    for (i = 0; i < r->n_samples; i++) {
        hone_free(r->sample[i].file);
        hone_free(r->sample[i].failure);
        hone_row_picture_clear(&r->sample[i].picture);
    }
    hone_free(r->sample);
    for (i = 0; i < r->n_sources; i++)
        hone_free(r->source[i].path);
    hone_free(r->source);
    hone_free(r->unencoded_why);
}

/* Runs the pass of preparing with the report's ears. */
static int listen(report *r, const char *const *paths, size_t n, hone_ledger_counts *counts, hone_error *err)
{
    static const int severity[N_BUILT_IN] = {3, 3, 2};
    hone_prepare_options o = *r->prepare;
    int i, rc;

    for (i = 0; i < N_BUILT_IN; i++)
        if (!add_problem(r, built_in[i], NULL, severity[i]))
            return hone_error_set(err, r->rc, "%s", r->err.message);
    if (take_score_names(r, o.scorer))
        return hone_error_set(err, r->rc, "%s", r->err.message);
    o.rows.keep_going = true;
    o.row = on_row;
    o.finding = on_finding;
    o.progress = o.progress ? on_progress : NULL;
    o.ud = r;
    rc = hone_data_prepare(paths, n, &o, counts, err);
    if (!rc && r->rc)
        rc = hone_error_set(err, r->rc, "%s", r->err.message);
    r->counts = *counts;
    return rc;
}

int hone_data_report(char **html, size_t *len, const char *const *paths, size_t n,
                     const hone_prepare_options *prepare, const hone_data_report_options *options,
                     hone_ledger_counts *counts, hone_error *err)
{
    report r = {.o = options, .prepare = prepare};
    hone_buf b = {0};
    size_t i;
    int rc = 0;

    *html = NULL;
    *counts = (hone_ledger_counts){0};
    for (i = 0; !rc && i < n; i++)
        if (path_is_stdin(paths[i]))
            rc = hone_error_set(err, HONE_EINVAL,
                                "a report reads its files twice, so it can not read standard input");
    if (!rc)
        rc = listen(&r, paths, n, counts, err);
    if (!rc)
        rc = report_read(&r, paths, n, err);
    if (!rc) {
        hone_error failure = HONE_ERROR_INIT;

        report_page(&b, &r, &failure);
        if (b.failed || failure.code)
            rc = hone_error_set(err, HONE_ENOMEM, "out of memory for the page");
    }
    if (!rc) {
        *len = b.len;
        *html = hone_buf_take(&b);
    }
    hone_buf_clear(&b);
    report_clear(&r);
    return rc;
}
