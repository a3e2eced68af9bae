/* The page of the data report, section by section. */
#include <math.h>
#include <string.h>

#include "report/data_report.h"
#include "report/html.h"

#define BINS 40
#define BARS 20
#define CURVE 200 /* points */

static const char *word(const report *r, report_word w)
{
    return report_text(r->o->language, w);
}

static const char *reason_text(const report *r, const char *reason)
{
    static const struct {
        const char *name;
        report_word word;
    } known[] = {{"invalid", WORD_REASON_INVALID},
                 {"overlong", WORD_REASON_OVERLONG},
                 {"untrained", WORD_REASON_UNTRAINED},
                 {"score", WORD_REASON_SCORE},
                 {"balanced", WORD_REASON_BALANCED},
                 {"max_per_task", WORD_REASON_MAX_PER_TASK},
                 {"mix", WORD_REASON_MIX}};
    size_t i;

    for (i = 0; i < HONE_COUNT(known); i++)
        if (!strcmp(reason, known[i].name))
            return word(r, known[i].word);
    for (i = N_BUILT_IN; i < r->n_problems; i++)
        if (!strcmp(reason, r->problem[i].name))
            return r->problem[i].title[r->o->language == HONE_CHINESE];
    return reason;
}

/* ---- headline -------------------------------------------------------------------------------------------------------- */

static void headline(hone_buf *b, const report *r)
{
    const hone_ledger_counts *c = &r->counts;
    uint64_t used = c->used + c->cut + c->split;

    html_figures_begin(b);
    html_figure(b, word(r, WORD_ROWS_READ), c->rows, 0, NULL);
    html_figure(b, word(r, WORD_ROWS_USED), used, c->rows, "used");
    html_figure(b, word(r, WORD_ROWS_DROPPED), c->dropped, c->rows, "dropped");
    html_figure(b, word(r, WORD_ROWS_DUPLICATE), c->duplicate, c->rows, "duplicate");
    if (r->prepare->n_against)
        html_figure(b, word(r, WORD_ROWS_CONTAMINATED), c->contaminated, c->rows, "contaminated");
    html_figure(b, word(r, WORD_ROWS_FLAWED), r->flawed, c->rows, "warning");
    if (r->held_out)
        html_figure(b, word(r, WORD_ROWS_HELD_OUT), r->held_out, used, NULL);
    if (r->written != used)
        html_figure(b, word(r, WORD_ROWS_WRITTEN), r->written, 0, NULL);
    html_figures_end(b);
    if (!r->o->chat && r->o->no_chat) {
        hone_buf_puts(b, "<p class=notice>");
        html_puts(b, word(r, WORD_NO_TOKENS));
        hone_buf_puts(b, " ");
        html_puts(b, r->o->no_chat);
        hone_buf_puts(b, "</p>\n");
    }
    if (r->unencoded) {
        hone_buf_puts(b, "<p class=notice>");
        html_puts(b, word(r, WORD_NOT_ENCODED));
        hone_buf_puts(b, " <b>");
        html_count(b, r->unencoded);
        hone_buf_puts(b, "</b>. ");
        html_quote_cut(b, r->unencoded_why, strlen(r->unencoded_why), 300);
        hone_buf_puts(b, "</p>\n");
    }
}

static int by_count(const void *a, const void *b)
{
    const html_bar *x = a, *y = b;

    if (x->before != y->before)
        return x->before < y->before ? 1 : -1;
    return strcmp(x->label, y->label);
}

static void fates(hone_buf *b, const report *r)
{
    const hone_ledger_counts *c = &r->counts;
    const html_part part[] = {{word(r, WORD_ROWS_USED), "used", c->used + c->cut + c->split},
                              {word(r, WORD_ROWS_DROPPED), "dropped", c->dropped},
                              {word(r, WORD_ROWS_DUPLICATE), "duplicate", c->duplicate},
                              {word(r, WORD_ROWS_CONTAMINATED), "contaminated", c->contaminated}};
    html_bar *bar;
    size_t i;

    html_section_begin(b, "fates", word(r, WORD_FATE), word(r, WORD_FATE_LEAD));
    html_stack(b, word(r, WORD_FATE), part, HONE_COUNT(part));
    bar = hone_calloc(r->reason.n + 1, sizeof *bar);
    if (!bar)
        b->failed = true;
    if (bar && r->reason.n) {
        for (i = 0; i < r->reason.n; i++)
            bar[i] = (html_bar){reason_text(r, r->reason.item[i].text), r->reason.item[i].before,
                                r->reason.item[i].before};
        qsort(bar, r->reason.n, sizeof *bar, by_count);
        html_subtitle(b, word(r, WORD_REASONS));
        html_bars(b, bar, HONE_MIN(r->reason.n, 2 * BARS), false, "dropped");
    }
    hone_free(bar);
    html_section_end(b);
}

/* ---- lengths, turns, scores ------------------------------------------------------------------------------------------ */

/* A measure of the rows: value[i] counts once before, and copies[i] times after. */
typedef struct measures {
    double *value;
    uint32_t *copies;
    size_t n;
} measures;

static void measures_clear(measures *m)
{
    hone_free(m->value);
    hone_free(m->copies);
}

static bool measures_make(measures *m, size_t n)
{
    *m = (measures){.value = hone_calloc(n + 1, sizeof *m->value),
                    .copies = hone_calloc(n + 1, sizeof *m->copies)};
    return m->value && m->copies;
}

/* Two histograms over one another. */
static void overlaid(hone_buf *b, const report *r, const measures *m, const char *title, const char *x_label,
                     double marker, bool integer, hone_error *err)
{
    plot_bins bins;
    uint64_t *before = NULL, *after = NULL;
    size_t i;

    if (plot_bins_choose(&bins, m->value, m->n, integer ? BINS / 2 : BINS, integer, err))
        return;
    before = hone_calloc(bins.n, sizeof *before);
    after = hone_calloc(bins.n, sizeof *after);
    if (before && after) {
        plot p = {.title = title,
                  .x_label = x_label,
                  .y_label = word(r, WORD_AXIS_ROWS),
                  .series = {{.name = word(r, WORD_RAW), .tone = "before", .count = before},
                             {.name = word(r, WORD_PREPARED), .tone = "after", .count = after}},
                  .n_series = 2,
                  .marker = marker,
                  .marker_label = word(r, WORD_MAX_LENGTH)};

        for (i = 0; i < m->n; i++) {
            size_t bin = plot_bin_of(&bins, m->value[i]);

            if (bin < bins.n) {
                before[bin]++;
                after[bin] += m->copies[i];
            }
        }
        plot_histogram(b, &p, &bins);
    } else {
        hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    hone_free(before);
    hone_free(after);
    hone_free(bins.edge);
}

typedef struct pair {
    double value;
    uint32_t copies;
} pair;

static int by_pair(const void *a, const void *b)
{
    double x = ((const pair *)a)->value, y = ((const pair *)b)->value;

    return (x > y) - (x < y);
}

static pair *sorted(const measures *m)
{
    pair *list = hone_calloc(m->n + 1, sizeof *list);
    size_t i;

    for (i = 0; list && i < m->n; i++)
        list[i] = (pair){m->value[i], m->copies[i]};
    if (list)
        qsort(list, m->n, sizeof *list, by_pair);
    return list;
}

/* The value that a share q of the rows does not exceed; after: of the used ones. */
static double quantile(const pair *list, size_t n, double q, bool after)
{
    double total = 0, sum = 0;
    size_t i;

    for (i = 0; i < n; i++)
        total += after ? list[i].copies : 1;
    for (i = 0; i < n; i++) {
        sum += after ? list[i].copies : 1;
        if (sum > 0 && sum >= q * total && (after ? list[i].copies : 1))
            return list[i].value;
    }
    return NAN;
}

/* Which share of the rows fits into a length. */
static void coverage(hone_buf *b, const report *r, const pair *list, size_t n)
{
    double x[CURVE], y[2][CURVE], total[2] = {0, 0}, sum[2] = {0, 0}, low, high;
    plot p = {.title = word(r, WORD_FITS),
              .y_label = word(r, WORD_FITS_SHARE),
              .x_label = word(r, r->o->chat ? WORD_AXIS_TOKENS : WORD_AXIS_CHARACTERS),
              .series = {{.name = word(r, WORD_RAW), .tone = "before", .x = x, .y = y[0], .n = CURVE},
                         {.name = word(r, WORD_PREPARED), .tone = "after", .x = x, .y = y[1], .n = CURVE}},
              .n_series = 2,
              .marker = r->o->chat && r->o->max_length > 0 ? r->o->max_length : NAN,
              .marker_label = word(r, WORD_MAX_LENGTH),
              .log_x = true,
              .y_top = 1,
              .percent = true};
    size_t i, k;

    if (n < 2 || list[n - 1].value <= list[0].value)
        return;
    for (i = 0; i < n; i++) {
        total[0]++;
        total[1] += list[i].copies;
    }
    low = log(HONE_MAX(list[0].value, 1));
    high = log(list[n - 1].value);
    for (i = 0, k = 0; i < CURVE; i++) {
        x[i] = exp(low + (high - low) * (double)i / (CURVE - 1));
        for (; k < n && list[k].value <= x[i] * (1 + 1e-12); k++) {
            sum[0]++;
            sum[1] += list[k].copies;
        }
        y[0][i] = sum[0] / total[0];
        y[1][i] = total[1] > 0 ? sum[1] / total[1] : 0;
    }
    if (!(total[1] > 0))
        p.n_series = 1;
    plot_lines(b, &p);
}

static void lengths(hone_buf *b, const report *r, const measures *length, const pair *list, hone_error *err)
{
    measures turns;
    size_t i;

    html_section_begin(b, "lengths", word(r, WORD_LENGTHS), word(r, WORD_LENGTHS_LEAD));
    overlaid(b, r, length, word(r, r->o->chat ? WORD_TOKENS : WORD_CHARACTERS),
             word(r, r->o->chat ? WORD_AXIS_TOKENS : WORD_AXIS_CHARACTERS),
             r->o->chat && r->o->max_length > 0 ? r->o->max_length : NAN, false, err);
    hone_buf_puts(b, "<div class=twin>\n");
    coverage(b, r, list, length->n);
    if (measures_make(&turns, r->n)) {
        for (i = 0; i < r->n; i++)
            if (r->row[i].turns) {
                turns.value[turns.n] = r->row[i].turns;
                turns.copies[turns.n++] = r->row[i].copies;
            }
        if (turns.n)
            overlaid(b, r, &turns, word(r, WORD_TURNS), word(r, WORD_AXIS_TURNS), NAN, true, err);
    } else {
        b->failed = true;
    }
    measures_clear(&turns);
    hone_buf_puts(b, "</div>\n");
    html_section_end(b);
}

static void scores(hone_buf *b, const report *r, hone_error *err)
{
    static const struct {
        const char *name;
        report_word word;
    } known[] = {{"perplexity", WORD_SCORE_PERPLEXITY},
                 {"perplexity_alone", WORD_SCORE_ALONE},
                 {"ifd", WORD_SCORE_IFD},
                 {"unscored", WORD_SCORE_UNSCORED}};
    size_t s, i;

    if (!r->n_scores)
        return;
    html_section_begin(b, "scores", word(r, WORD_SCORES), word(r, WORD_SCORES_LEAD));
    hone_buf_puts(b, "<div class=twin>\n");
    for (s = 0; s < r->n_scores; s++) {
        const char *title = r->score_name[s];
        measures m;

        for (i = 0; i < HONE_COUNT(known); i++)
            if (!strcmp(title, known[i].name))
                title = word(r, known[i].word);
        if (measures_make(&m, r->n)) {
            for (i = 0; i < r->n; i++) {
                double x = r->score[i * r->n_scores + s];

                if (isfinite(x)) {
                    m.value[m.n] = x;
                    m.copies[m.n++] = r->row[i].copies;
                }
            }
            if (m.n)
                overlaid(b, r, &m, title, r->score_name[s], NAN, false, err);
        } else {
            b->failed = true;
        }
        measures_clear(&m);
    }
    hone_buf_puts(b, "</div>\n");
    html_section_end(b);
}

/* ---- tasks and labels -------------------------------------------------------------------------------------------------- */

/* The largest classes as bars, the rest as one, and the rows without any. */
static void classes(hone_buf *b, const report *r, const name_table *t, report_word title)
{
    html_bar *bar = hone_calloc(t->n + 2, sizeof *bar), rest = {word(r, WORD_OTHERS), 0, 0};
    html_bar none = {word(r, WORD_NONE), r->counts.rows, r->written};
    const html_part legend[] = {{word(r, WORD_RAW), "before", UINT64_MAX},
                                {word(r, WORD_PREPARED), "after", UINT64_MAX}};
    size_t i, n;

    if (!bar)
        b->failed = true;
    if (!bar || !t->n) {
        hone_free(bar);
        return;
    }
    for (i = 0; i < t->n; i++) {
        bar[i] = (html_bar){t->item[i].text, t->item[i].before, t->item[i].after};
        none.before -= t->item[i].before;
        none.after -= t->item[i].after;
    }
    qsort(bar, t->n, sizeof *bar, by_count);
    n = t->n;
    if (n > BARS) {
        for (i = BARS - 1; i < n; i++) {
            rest.before += bar[i].before;
            rest.after += bar[i].after;
        }
        n = BARS - 1;
        bar[n++] = rest;
    }
    if (none.before)
        bar[n++] = none;
    hone_buf_puts(b, "<div>\n");
    html_subtitle(b, word(r, title));
    html_bars(b, bar, n, true, "after");
    html_legend(b, legend, HONE_COUNT(legend));
    hone_buf_puts(b, "</div>\n");
    hone_free(bar);
}

static void tasks(hone_buf *b, const report *r)
{
    if (!r->task.n && !r->label.n)
        return;
    html_section_begin(b, "tasks", word(r, WORD_TASKS), word(r, WORD_TASKS_LEAD));
    hone_buf_puts(b, "<div class=twin>\n");
    classes(b, r, &r->task, WORD_TASKS_ONLY);
    classes(b, r, &r->label, WORD_LABELS_ONLY);
    hone_buf_puts(b, "</div>\n");
    html_section_end(b);
}

/* ---- before and after --------------------------------------------------------------------------------------------------- */

static void put_line(hone_buf *b, const char *name, double before, double after)
{
    html_row(b);
    html_cell(b, false);
    html_puts(b, name);
    html_cell(b, true);
    html_number(b, before);
    html_cell(b, true);
    html_number(b, after);
    html_cell(b, true);
    html_change(b, before, after);
}

static void before_after(hone_buf *b, const report *r, const pair *list, size_t n)
{
    const char *const column[] = {word(r, WORD_FIGURE), word(r, WORD_COL_BEFORE), word(r, WORD_COL_AFTER),
                                  word(r, WORD_COL_CHANGE)};
    double turns[2] = {0, 0}, length[2] = {0, 0}, trained[2] = {0, 0}, over[2] = {0, 0};
    double names[2][2] = {{0, 0}, {0, 0}};
    const name_table *table[2] = {&r->task, &r->label};
    size_t i, k;

    for (i = 0; i < r->n; i++) {
        const row_note *x = &r->row[i];
        double weight[2] = {1, x->copies};

        for (k = 0; k < 2; k++) {
            turns[k] += weight[k] * x->turns;
            length[k] += weight[k] * x->length;
            trained[k] += weight[k] * x->trained;
            over[k] += r->o->max_length > 0 && x->length > (uint32_t)r->o->max_length ? weight[k] : 0;
        }
    }
    for (k = 0; k < 2; k++)
        for (i = 0; i < table[k]->n; i++) {
            names[k][0] += table[k]->item[i].before > 0;
            names[k][1] += table[k]->item[i].after > 0;
        }
    html_section_begin(b, "before-after", word(r, WORD_BEFORE_AFTER), NULL);
    html_table_begin(b, column, HONE_COUNT(column), true);
    put_line(b, word(r, WORD_F_ROWS), (double)r->counts.rows, (double)r->written);
    put_line(b, word(r, WORD_F_TURNS), turns[0], turns[1]);
    put_line(b, word(r, r->o->chat ? WORD_F_TOKENS : WORD_F_CHARACTERS), length[0], length[1]);
    if (r->o->chat)
        put_line(b, word(r, WORD_F_TRAINED), trained[0], trained[1]);
    put_line(b, word(r, WORD_F_SHORTEST), quantile(list, n, 0, false), quantile(list, n, 0, true));
    put_line(b, word(r, WORD_F_MEDIAN), quantile(list, n, 0.5, false), quantile(list, n, 0.5, true));
    put_line(b, word(r, WORD_F_P95), quantile(list, n, 0.95, false), quantile(list, n, 0.95, true));
    put_line(b, word(r, WORD_F_LONGEST), quantile(list, n, 1, false), quantile(list, n, 1, true));
    if (r->o->chat && r->o->max_length > 0)
        put_line(b, word(r, WORD_F_OVER), over[0], over[1]);
    if (r->task.n)
        put_line(b, word(r, WORD_F_TASKS), names[0][0], names[0][1]);
    if (r->label.n)
        put_line(b, word(r, WORD_F_LABELS), names[1][0], names[1][1]);
    html_table_end(b);
    html_section_end(b);
}

/* ---- sources ------------------------------------------------------------------------------------------------------------ */

static void put_path(hone_buf *b, const report *r, const char *path)
{
    size_t n = r->o->base ? strlen(r->o->base) : 0;

    if (n && !strncmp(path, r->o->base, n) && path[n] == '/')
        path += n + 1;
    html_quote(b, path, strlen(path));
}

static void sources(hone_buf *b, const report *r)
{
    const char *const column[] = {word(r, WORD_FILE_NAME), word(r, WORD_PURPOSE), word(r, WORD_COL_ROWS),
                                  word(r, WORD_COL_SIZE), "SHA-256"};
    size_t i;

    html_section_begin(b, "sources", word(r, WORD_SOURCES), NULL);
    html_table_begin(b, column, HONE_COUNT(column), false);
    for (i = 0; i < r->n_sources; i++) {
        const source_file *s = &r->source[i];

        html_row(b);
        html_cell(b, false);
        put_path(b, r, s->path);
        html_cell(b, false);
        html_puts(b, word(r, s->evaluation ? WORD_EVALUATION_DATA : WORD_TRAINING_DATA));
        html_cell(b, true);
        html_count(b, s->rows);
        html_cell(b, true);
        html_size(b, s->size);
        hone_buf_printf(b, "<td class=hash>%s", s->hash);
    }
    html_table_end(b);
    if (r->o->settings) {
        html_subtitle(b, word(r, WORD_SETTINGS));
        html_fold_begin(b, word(r, WORD_SETTINGS_ALL), false);
        hone_buf_puts(b, "<pre>");
        html_quote(b, r->o->settings, strlen(r->o->settings));
        hone_buf_puts(b, "</pre>\n");
        html_fold_end(b);
    }
    html_section_end(b);
}

/* ---- the page ------------------------------------------------------------------------------------------------------------ */

static void contents(hone_buf *b, const report *r)
{
    html_contents_begin(b, word(r, WORD_CONTENTS));
    html_contents_entry(b, "fates", word(r, WORD_FATE));
    html_contents_entry(b, "problems", word(r, WORD_PROBLEMS));
    html_contents_entry(b, "lengths", word(r, WORD_LENGTHS));
    if (r->task.n || r->label.n)
        html_contents_entry(b, "tasks", word(r, WORD_TASKS));
    if (r->n_scores)
        html_contents_entry(b, "scores", word(r, WORD_SCORES));
    html_contents_entry(b, "before-after", word(r, WORD_BEFORE_AFTER));
    if (r->n_samples)
        html_contents_entry(b, "samples", word(r, WORD_SAMPLES));
    html_contents_entry(b, "sources", word(r, WORD_SOURCES));
    html_contents_end(b);
}

void report_page(hone_buf *b, const report *r, hone_error *err)
{
    const html_head head = {r->o->language, word(r, WORD_DATA_REPORT), r->o->title, r->o->time,
                            word(r, WORD_MADE)};
    measures length = {0};
    pair *list = NULL;
    size_t i;

    if (measures_make(&length, r->n)) {
        for (i = 0; i < r->n; i++)
            if (r->row[i].length) {
                length.value[length.n] = r->row[i].length;
                length.copies[length.n++] = r->row[i].copies;
            }
        list = sorted(&length);
    }
    if (!list)
        b->failed = true;
    else {
        html_page_begin(b, &head);
        headline(b, r);
        contents(b, r);
        fates(b, r);
        report_problems(b, r);
        lengths(b, r, &length, list, err);
        tasks(b, r);
        scores(b, r, err);
        before_after(b, r, list, length.n);
        report_samples(b, r);
        sources(b, r);
        html_page_end(b, word(r, WORD_FOOT));
    }
    hone_free(list);
    measures_clear(&length);
}
