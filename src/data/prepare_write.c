/* The last stage: rows, ledger, summary and callbacks. Rows appear before the ledger that speaks of them; every file whole or
 * not at all. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "data/prepare.h"

/* Counts of the summary by number of a rule or a name. */
typedef struct counts {
    uint64_t rows, used, places; /* of a rule: rows, findings, dropped */
} counts;

typedef struct writing {
    preparation *p;
    hone_writer *train, *validation, *summary;
    hone_ledger *ledger;
    size_t at; /* of the corpus findings: the first of the present row or a later one */
    hone_finding *finding;
    size_t capacity;
    counts *rule, *task, *label;
    uint64_t reason[ROW_MIX + 1];
    hone_buf line; /* reused */
} writing;

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

static void put_member(hone_buf *b, const char *name, const char *text)
{
    if (!text)
        return;
    hone_buf_printf(b, ",\"%s\":", name);
    json_put_text(b, text, strlen(text));
}

static const char *name_of(const names *list, uint32_t number)
{
    return number ? list->name[number - 1] : NULL;
}

static int put_row(writing *w, hone_writer *to, const prepared *r, hone_error *err)
{
    const preparation *p = w->p;
    hone_buf *b = &w->line;

    b->len = 0;
    hone_buf_add(b, r->line, r->len - 1); /* without its bracket */
    put_member(b, "id", r->id);
    put_member(b, "task", name_of(&p->task, r->task));
    put_member(b, "label", name_of(&p->label, r->label));
    put_member(b, "group", name_of(&p->group, r->group));
    if (r->weight != 1) {
        hone_buf_puts(b, ",\"weight\":");
        json_put_figure(b, (double)r->weight, 9);
    }
    hone_buf_puts(b, "}\n");
    return b->failed ? prepare_no_memory(err) : hone_writer_write(to, b->data, b->len, err);
}

static int put_rows(writing *w, hone_error *err)
{
    preparation *p = w->p;
    const choice *c = &p->choice;
    size_t total = c->n + c->n_validation, i;
    int rc = 0;

    for (i = 0; !rc && i < total; i++) {
        hone_writer *to = i < c->n ? w->train : w->validation;

        if (to)
            rc = put_row(w, to, &p->row[p->chosen[c->place[i].row]], err);
        if (!rc && i % 16384 == 16383)
            prepare_tell(p, "write", i + 1, i + 1, total + p->n);
    }
    return rc;
}

/* ---- results --------------------------------------------------------------------------------------------------------- */

static hone_finding public_finding(const preparation *p, uint32_t rule, uint64_t row, uint32_t message,
                                   uint32_t begin, uint32_t end, const char *detail)
{
    quality_rule_info info = quality_rule(p->quality, rule);

    return (hone_finding){.rule = info.name,
                          .title = {info.title[0], info.title[1]},
                          .severity = info.severity,
                          .row = row,
                          .message = message,
                          .begin = begin,
                          .end = end,
                          .detail = detail};
}

static int add_finding(writing *w, size_t n, hone_finding f, uint32_t rule, hone_error *err)
{
    size_t i;

    w->finding = hone_grow(w->finding, &w->capacity, n + 1, sizeof *w->finding);
    if (n == w->capacity)
        return prepare_no_memory(err);
    w->finding[n] = f;
    w->rule[rule].used++;
    for (i = 0; i < n && w->finding[i].rule != f.rule;)
        i++;
    w->rule[rule].rows += i == n;
    return 0;
}

/* All findings of a row: those of the row alone, then those that needed all rows. */
static int gather_findings(writing *w, size_t row, size_t *n, hone_error *err)
{
    const preparation *p = w->p;
    const prepared *r = &p->row[row];
    size_t i;
    int rc = 0;

    *n = 0;
    for (i = 0; !rc && i < r->n_findings; i++) {
        const row_finding *f = &r->finding[i];

        rc = add_finding(w, (*n)++, public_finding(p, f->rule, row, f->message, f->begin, f->end, f->detail),
                         f->rule, err);
    }
    while (w->at < p->n_corpus && p->corpus[w->at].row < row)
        w->at++;
    for (; !rc && w->at < p->n_corpus && p->corpus[w->at].row == row; w->at++) {
        const quality_finding *f = &p->corpus[w->at].finding;

        rc = add_finding(w, (*n)++, public_finding(p, f->rule, row, f->message, f->begin, f->end, f->detail),
                         f->rule, err);
    }
    return rc;
}

/* What the findings of the rule that dropped a row say. */
static const char *detail_of(const writing *w, size_t n, const char *rule)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (!strcmp(w->finding[i].rule, rule) && w->finding[i].detail && *w->finding[i].detail)
            return w->finding[i].detail;
    return NULL;
}

static hone_ledger_entry entry_of(const writing *w, size_t i, size_t n_findings)
{
    const preparation *p = w->p;
    const prepared *r = &p->row[i], *other;
    hone_ledger_entry e = {.file = hone_rows_file(p->rows, r->file), .line = r->place, .row = i};
    size_t kept;

    switch ((row_state)r->state) {
    case ROW_IN:
        return e;
    case ROW_CONTAMINATED:
        e.fate = HONE_FATE_CONTAMINATED;
        e.other_file = r->hit->file;
        e.other_line = r->hit->line;
        e.other_row = r->hit->row;
        e.similarity = r->hit->share;
        return e;
    case ROW_DUPLICATE:
        kept = dedup_kept(p->dedup, r->compared, &e.similarity);
        other = &p->row[p->of_compared[kept]];
        e.fate = HONE_FATE_DUPLICATE;
        e.other_file = hone_rows_file(p->rows, other->file);
        e.other_line = other->place;
        e.other_row = p->of_compared[kept];
        return e;
    case ROW_INVALID:
        e.reason = "invalid";
        e.detail = r->line;
        break;
    case ROW_RULE:
        e.reason = quality_rule(p->quality, r->rule).name;
        e.detail = detail_of(w, n_findings, e.reason);
        break;
    case ROW_SCORE:
        e.reason = "score";
        e.detail = p->filter[r->rule].text;
        break;
    case ROW_BALANCED:
        e.reason = "balanced";
        break;
    case ROW_MAX_TASK:
        e.reason = "max_per_task";
        break;
    case ROW_MIX:
        e.reason = "mix";
        break;
    }
    e.fate = HONE_FATE_DROPPED;
    return e;
}

static void count_row(writing *w, const prepared *r)
{
    counts *const list[] = {&w->task[r->task], &w->label[r->label]};
    size_t i;

    w->reason[r->state]++;
    if (r->state == ROW_RULE)
        w->rule[r->rule].places++;
    for (i = 0; i < HONE_COUNT(list); i++) {
        list[i]->rows++;
        list[i]->used += r->state == ROW_IN;
        list[i]->places += r->copies;
    }
}

static int put_result(writing *w, size_t i, hone_error *err)
{
    const preparation *p = w->p;
    const hone_prepare_options *o = p->options;
    const prepared *r = &p->row[i];
    hone_row_result out = {.weight = r->weight, .trained = r->trained, .n_messages = r->n_messages};
    size_t n;
    int rc = gather_findings(w, i, &n, err);

    if (rc)
        return rc;
    out.entry = entry_of(w, i, n);
    if (r->state != ROW_INVALID) {
        out.conversation = r->line;
        out.len = r->len;
    }
    out.id = r->id;
    out.task = name_of(&p->task, r->task);
    out.label = name_of(&p->label, r->label);
    out.group = name_of(&p->group, r->group);
    out.finding = w->finding;
    out.n_findings = n;
    if (p->score) {
        out.score_name = o->scorer->name;
        out.score = p->score + i * o->scorer->n;
        out.n_scores = o->scorer->n;
    }
    out.copies = r->copies;
    out.stage = r->stage;
    out.validation = r->validation;
    count_row(w, r);
    rc = hone_ledger_add_row(w->ledger, &out, err);
    if (!rc && o->row)
        o->row(o->ud, &out);
    return rc;
}

/* Findings of the rows as a whole, which stand behind those of all rows. */
static void tell_findings(writing *w)
{
    const preparation *p = w->p;

    for (; w->at < p->n_corpus; w->at++) {
        const quality_corpus_finding *c = &p->corpus[w->at];
        hone_finding f = public_finding(p, c->finding.rule, c->row, c->finding.message, c->finding.begin,
                                        c->finding.end, c->finding.detail);

        w->rule[c->finding.rule].used++;
        if (p->options->finding)
            p->options->finding(p->options->ud, &f);
    }
}

static int put_results(writing *w, hone_error *err)
{
    preparation *p = w->p;
    size_t done = p->choice.n + p->choice.n_validation, i;
    int rc = 0;

    for (i = 0; !rc && i < p->n; i++) {
        rc = put_result(w, i, err);
        if (!rc && i % 16384 == 16383)
            prepare_tell(p, "write", i + 1, done + i + 1, done + p->n);
    }
    if (!rc)
        tell_findings(w);
    return rc;
}

/* ---- summary --------------------------------------------------------------------------------------------------------- */

/* Everything that decides which rows are written and how, but the names of files: two runs that agree here, over the same
 * rows, write the same. */
static int options_text(hone_buf *b, const hone_prepare_options *o, hone_error *err)
{
    const hone_quality_options *q = o->quality.enabled ? &o->quality : NULL;
    const hone_choose_options *c = o->choose;
    const double figure[] = {o->threshold,           o->share,
                             c ? c->temperature : 0, c ? c->val_size : 0,
                             c ? c->stage[0] : 0,    c ? c->stage[1] : 0,
                             c ? c->stage[2] : 0};
    size_t i;
    int rc = 0;

    hone_buf_printf(b, "%d %d %lld %d %d %d %zu %d", o->rows.keep_going, o->rows.mask_history,
                    (long long)o->max_samples, o->exact, o->near, o->ngram, o->n_against,
                    o->contamination_ngram);
    hone_buf_add(b, figure, sizeof figure);
    for (i = 0; i < o->n_filter; i++)
        hone_buf_printf(b, " filter %s", o->filter[i]);
    hone_buf_printf(b, " weight %s", o->weight ? o->weight : "");
    for (i = 0; o->scorer && i < o->scorer->n; i++)
        hone_buf_printf(b, " score %s", o->scorer->name[i]);
    if (c)
        hone_buf_printf(b, " choose %d %d %lld %d %d %s %llu", c->balance, c->method,
                        (long long)c->max_per_task, c->order, c->split_by, c->curriculum ? c->curriculum : "",
                        (unsigned long long)c->seed);
    if (c && c->n_weight)
        hone_buf_add(b, c->weight, c->n_weight * sizeof *c->weight);
    for (i = 0; q && i < q->n_set; i++)
        hone_buf_printf(b, " set %s", q->set[i]);
    for (i = 0; q && i < q->n_only; i++)
        hone_buf_printf(b, " only %s", q->only[i]);
    for (i = 0; q && i < q->n_skip; i++)
        hone_buf_printf(b, " skip %s", q->skip[i]);
    hone_buf_printf(b, " label %s", q && q->label_pattern ? q->label_pattern : "");
    for (i = 0; !rc && q && i < q->n_rules; i++) {
        char *text;
        size_t len;

        rc = hone_file_read(&text, &len, q->rules[i], (size_t)16 << 20, err);
        if (!rc)
            hone_buf_add(b, text, len);
        hone_free(text);
    }
    return !rc && b->failed ? prepare_no_memory(err) : rc;
}

static void put_number(hone_buf *b, const char *name, uint64_t value)
{
    hone_buf_printf(b, "\"%s\":%llu", name, (unsigned long long)value);
}

static void put_names(hone_buf *b, const char *title, const names *list, const counts *count)
{
    size_t i;

    hone_buf_printf(b, ",\n \"%s\":{", title);
    for (i = 0; i < list->n; i++) {
        hone_buf_puts(b, i ? ",\n  " : "\n  ");
        json_put_text(b, list->name[i], strlen(list->name[i]));
        hone_buf_puts(b, ":{");
        put_number(b, "rows", count[i + 1].rows);
        hone_buf_putc(b, ',');
        put_number(b, "used", count[i + 1].used);
        hone_buf_putc(b, ',');
        put_number(b, "places", count[i + 1].places);
        hone_buf_putc(b, '}');
    }
    hone_buf_puts(b, list->n ? "\n }" : "}");
}

static void put_rules(hone_buf *b, const preparation *p, const counts *rule)
{
    static const char *const severity[] = {"", "note", "warning", "error"};
    size_t n = p->quality ? quality_n_rules(p->quality) : 0, i, k;

    hone_buf_puts(b, ",\n \"rules\":{");
    for (i = k = 0; i < n; i++) {
        quality_rule_info info = quality_rule(p->quality, i);

        if (!rule[i].used)
            continue;
        hone_buf_printf(b, "%s\n  \"%s\":{\"severity\":\"%s\",", k++ ? "," : "", info.name,
                        severity[HONE_MAX(HONE_MIN(info.severity, 3), 0)]);
        put_number(b, "rows", rule[i].rows);
        hone_buf_putc(b, ',');
        put_number(b, "findings", rule[i].used);
        hone_buf_putc(b, ',');
        put_number(b, "dropped", rule[i].places);
        hone_buf_putc(b, '}');
    }
    hone_buf_puts(b, k ? "\n }" : "}");
}

static int put_summary(writing *w, hone_error *err)
{
    static const char *const reason[] = {NULL,    "invalid",  "rule",         NULL, NULL,
                                         "score", "balanced", "max_per_task", "mix"};
    const preparation *p = w->p;
    hone_ledger_counts c = hone_ledger_get_counts(w->ledger);
    hone_buf *b = &w->line, options = {0};
    int rc = options_text(&options, p->options, err);
    size_t i;

    b->len = 0;
    hone_buf_puts(b, "{");
    put_number(b, "rows", c.rows);
    hone_buf_puts(b, ",\n ");
    put_number(b, "used", c.used);
    hone_buf_puts(b, ",\n ");
    put_number(b, "dropped", c.dropped);
    hone_buf_puts(b, ",\n ");
    put_number(b, "duplicate", c.duplicate);
    hone_buf_puts(b, ",\n ");
    put_number(b, "contaminated", c.contaminated);
    hone_buf_puts(b, ",\n ");
    put_number(b, "train", p->choice.n);
    hone_buf_puts(b, ",\n ");
    put_number(b, "validation", p->choice.n_validation);
    hone_buf_puts(b, ",\n \"reasons\":{");
    for (i = 0; i < HONE_COUNT(reason); i++)
        if (reason[i]) {
            hone_buf_puts(b, i > 1 ? "," : "");
            put_number(b, reason[i], w->reason[i]);
        }
    hone_buf_putc(b, '}');
    put_rules(b, p, w->rule);
    put_names(b, "tasks", &p->task, w->task);
    put_names(b, "labels", &p->label, w->label);
    hone_buf_printf(b, ",\n \"options\":\"%016llx\"}\n",
                    (unsigned long long)hone_hash64(0, options.data, options.len));
    if (!rc && (b->failed || options.failed))
        rc = prepare_no_memory(err);
    if (!rc)
        rc = hone_writer_write(w->summary, b->data, b->len, err);
    hone_buf_clear(&options);
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------- */

static int open_files(writing *w, hone_error *err)
{
    const hone_prepare_options *o = w->p->options;
    size_t rules = w->p->quality ? quality_n_rules(w->p->quality) : 0;
    char *folder = o->output ? hone_path_dir(o->output) : NULL;
    int rc = o->output && !folder ? prepare_no_memory(err) : 0;

    if (folder)
        rc = hone_mkdirs(folder, err);
    hone_free(folder);
    if (!rc)
        rc = hone_ledger_open(&w->ledger, o->ledger, err);
    w->rule = hone_calloc(rules + 1, sizeof *w->rule);
    w->task = hone_calloc(w->p->task.n + 1, sizeof *w->task);
    w->label = hone_calloc(w->p->label.n + 1, sizeof *w->label);
    if (!rc && (!w->rule || !w->task || !w->label))
        rc = prepare_no_memory(err);
    if (!rc && o->output)
        rc = hone_writer_open(&w->train, o->output, err);
    if (!rc && o->validation && w->p->choice.n_validation)
        rc = hone_writer_open(&w->validation, o->validation, err);
    if (!rc && o->summary)
        rc = hone_writer_open(&w->summary, o->summary, err);
    return rc;
}

/* Ends a file well, or without a trace. */
static int end_file(hone_writer **w, int rc, hone_error *err)
{
    hone_writer *file = *w;

    *w = NULL;
    if (!file)
        return rc;
    if (!rc)
        return hone_writer_commit(file, err);
    hone_writer_abort(file);
    return rc;
}

int prepare_write(preparation *p, hone_ledger_counts *out, hone_error *err)
{
    writing w = {.p = p};
    int rc = open_files(&w, err);

    if (!rc && p->options->output && !p->choice.n)
        rc = hone_error_set(err, HONE_EFORMAT, "%s: none of the %zu rows is left", hone_rows_file(p->rows, 0),
                            p->n);
    if (!rc)
        rc = put_rows(&w, err);
    if (!rc)
        rc = put_results(&w, err);
    if (!rc)
        *out = hone_ledger_get_counts(w.ledger);
    if (!rc && w.summary)
        rc = put_summary(&w, err);
    /* What an earlier run held out does not belong to these rows. */
    if (!rc && p->options->validation && !w.validation)
        unlink(p->options->validation);
    rc = end_file(&w.validation, rc, err);
    rc = end_file(&w.train, rc, err);
    rc = end_file(&w.summary, rc, err);
    if (!rc)
        rc = hone_ledger_commit(w.ledger, p->n, err);
    else
        hone_ledger_abort(w.ledger);
    hone_free(w.finding);
    hone_free(w.rule);
    hone_free(w.task);
    hone_free(w.label);
    hone_buf_clear(&w.line);
    return rc;
}
