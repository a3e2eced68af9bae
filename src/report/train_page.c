/* The page of the training report, section by section. */
#include <math.h>
#include <string.h>

#include "report/html.h"
#include "report/train_report.h"

#define POINTS 400 /* of a curve: more of them can not be told apart */
#define BINS 40
#define SHOWN_TEXT ((size_t)1200) /* bytes of a question or an answer */

static const char *word(const train_report *r, report_word w)
{
    return report_text(r->o->language, w);
}

static double of_run(const train_report *r, const char *key)
{
    const json_t *v = json_object_get(r->run, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static double of_line(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static const char *text_in(const json_t *line, const char *key)
{
    const char *s = json_string_value(json_object_get(line, key));

    return s ? s : "";
}

static void put_duration(char out[40], double seconds)
{
    long long s = seconds > 0 && seconds < 1e12 ? llround(seconds) : 0;

    if (!isfinite(seconds))
        snprintf(out, 40, "–");
    else if (seconds < 9.95)
        snprintf(out, 40, "%.1f s", seconds);
    else if (s < 60)
        snprintf(out, 40, "%lld s", s);
    else if (s < 3600)
        snprintf(out, 40, "%lld min %02lld s", s / 60, s % 60);
    else
        snprintf(out, 40, "%lld h %02lld min", s / 3600, s / 60 % 60);
}

/* ---- headline ---------------------------------------------------------------------------------------------------- */

/* One figure: value and what stands below it are numbers or sizes in a buffer of their own. */
static void put_figure(hone_buf *b, const train_report *r, report_word label, const hone_buf *value,
                       const hone_buf *below, const char *tone)
{
    html_figure_text(b, word(r, label), value->data ? value->data : "–",
                     below && below->len ? below->data : NULL, tone);
    b->failed |= value->failed || (below && below->failed);
}

static void count_figure(hone_buf *b, const train_report *r)
{
    hone_buf v = {0}, below = {0};
    double steps = r->n_steps ? r->step[r->n_steps - 1].step : 0, tokens = of_run(r, "tokens");

    html_count(&v, (uint64_t)steps);
    if (json_is_true(json_object_get(r->run, "stopped")))
        hone_buf_puts(&below, word(r, WORD_T_STOPPED));
    put_figure(b, r, WORD_T_STEPS, &v, &below, NULL);
    v.len = below.len = 0;
    if (tokens > 0) {
        html_count(&v, (uint64_t)tokens);
        html_count(&below, (uint64_t)of_run(r, "trained_tokens"));
        hone_buf_printf(&below, " %s", word(r, WORD_T_TRAINED_DONE));
        put_figure(b, r, WORD_T_TOKENS_DONE, &v, &below, NULL);
    }
    hone_buf_clear(&v);
    hone_buf_clear(&below);
}

static void loss_figures(hone_buf *b, const train_report *r)
{
    const json_t *eval = json_object_get(r->run, "eval");
    hone_buf v = {0}, below = {0};

    if (isfinite(of_run(r, "train_loss"))) {
        hone_buf_printf(&v, "%.4f", of_run(r, "train_loss"));
        put_figure(b, r, WORD_T_LOSS, &v, NULL, "before");
    }
    if (eval) {
        v.len = 0;
        hone_buf_printf(&v, "%.4f", of_line(eval, "loss"));
        hone_buf_printf(&below, "%s %.4g", word(r, WORD_T_PERPLEXITY), of_line(eval, "perplexity"));
        put_figure(b, r, WORD_T_EVAL, &v, &below, "after");
        v.len = below.len = 0;
        hone_buf_printf(&v, "%.1f %%", 100 * of_line(eval, "accuracy"));
        hone_buf_puts(&below, word(r, WORD_T_ACCURACY_OF));
        put_figure(b, r, WORD_T_ACCURACY, &v, &below, NULL);
    }
    hone_buf_clear(&v);
    hone_buf_clear(&below);
}

static void machine_figures(hone_buf *b, const train_report *r)
{
    hone_buf v = {0}, below = {0};
    double speed = 0, share = 0;
    char time[40];
    size_t i;

    if (!r->run)
        return;
    put_duration(time, of_run(r, "seconds"));
    hone_buf_puts(&v, time);
    if (of_run(r, "estimated_seconds") > 0) {
        put_duration(time, of_run(r, "estimated_seconds"));
        hone_buf_printf(&below, "%s %s", word(r, WORD_T_ESTIMATED), time);
    }
    put_figure(b, r, WORD_T_TIME, &v, &below, NULL);
    for (i = 0; i < r->n_steps; i++) {
        speed += isfinite(r->step[i].speed) ? r->step[i].speed / (double)r->n_steps : 0;
        share += isfinite(r->step[i].share) ? r->step[i].share / (double)r->n_steps : 0;
    }
    v.len = below.len = 0;
    html_count(&v, (uint64_t)(speed + 0.5));
    if (share > 0)
        hone_buf_printf(&below, "%.0f %% %s", 100 * share, word(r, WORD_T_SHARE));
    put_figure(b, r, WORD_T_SPEED, &v, &below, NULL);
    v.len = below.len = 0;
    html_size(&v, (uint64_t)of_run(r, "peak_bytes"));
    hone_buf_printf(&below, "%s ", word(r, WORD_T_PLANNED));
    html_size(&below, (uint64_t)of_run(r, "planned_bytes"));
    put_figure(b, r, WORD_T_MEMORY, &v, &below, NULL);
    hone_buf_clear(&v);
    hone_buf_clear(&below);
}

static void headline(hone_buf *b, const train_report *r)
{
    if (!r->run) {
        hone_buf_puts(b, "<p class=notice>");
        html_puts(b, word(r, WORD_T_UNFINISHED));
        hone_buf_puts(b, "</p>\n");
    }
    html_figures_begin(b);
    count_figure(b, r);
    loss_figures(b, r);
    machine_figures(b, r);
    html_figures_end(b);
}

/* ---- curves ------------------------------------------------------------------------------------------------------ */

typedef struct curve {
    double x[POINTS], y[POINTS];
    size_t n;
} curve;

/* A figure of the steps as at most POINTS means of neighbours. Steps without it are left out. */
static void curve_make(curve *c, const train_report *r, size_t offset)
{
    size_t every = (r->n_steps + POINTS - 1) / POINTS, i, k;

    c->n = 0;
    for (i = 0; i < r->n_steps; i += every) {
        double sum = 0, x = 0;
        size_t n = 0;

        for (k = i; k < r->n_steps && k < i + every; k++) {
            double y = *(const double *)((const char *)&r->step[k] + offset);

            if (!isfinite(y) || !isfinite(r->step[k].step))
                continue;
            sum += y;
            x += r->step[k].step;
            n++;
        }
        if (n) {
            c->x[c->n] = x / (double)n;
            c->y[c->n++] = sum / (double)n;
        }
    }
}

/* The exponential mean over a fiftieth of the curve, without its bias at the start. */
static void curve_smooth(curve *out, const curve *c)
{
    double keep = 1 - 1 / fmax(1, (double)c->n / 50), mean = 0, weight = 0;
    size_t i;

    *out = *c;
    for (i = 0; i < c->n; i++) {
        mean = keep * mean + (1 - keep) * c->y[i];
        weight = keep * weight + (1 - keep);
        out->y[i] = mean / weight;
    }
}

static void curve_of_evals(curve *c, const train_report *r)
{
    size_t i;

    c->n = 0;
    for (i = 0; i < r->n_evals && c->n < POINTS; i++) {
        double x = of_line(r->eval[i], "step"), y = of_line(r->eval[i], "eval_loss");

        if (isfinite(x) && isfinite(y)) {
            c->x[c->n] = x;
            c->y[c->n++] = y;
        }
    }
}

static plot_series series(const char *name, const char *tone, const curve *c)
{
    return (plot_series){.name = name, .tone = tone, .x = c->x, .y = c->y, .n = c->n};
}

static void one_curve(hone_buf *b, const train_report *r, report_word title, const char *y_label,
                      size_t offset, curve *c, bool percent)
{
    plot p = {.title = word(r, title),
              .x_label = word(r, WORD_T_AXIS_STEP),
              .y_label = y_label,
              .n_series = 1,
              .marker = NAN,
              .percent = percent};

    curve_make(c, r, offset);
    if (!c->n)
        return;
    p.series[0] = series(p.title, "split", c);
    plot_lines(b, &p);
}

/* The losses of new and replayed rows, where the run tells them apart. */
static void sources(hone_buf *b, const train_report *r, curve c[3])
{
    static const struct {
        report_word name;
        const char *tone;
        size_t offset;
    } source[] = {{WORD_T_NEW, "after", offsetof(train_step, new_loss)},
                  {WORD_T_REPLAYED, "contaminated", offsetof(train_step, replay_loss)}};
    plot p = {.title = word(r, WORD_T_SOURCES),
              .x_label = word(r, WORD_T_AXIS_STEP),
              .y_label = word(r, WORD_T_NATS),
              .marker = NAN,
              .cropped = true};
    size_t i;

    for (i = 0; i < HONE_COUNT(source); i++) {
        curve_make(&c[2], r, source[i].offset);
        if (!c[2].n)
            return;
        curve_smooth(&c[i], &c[2]);
        p.series[p.n_series++] = series(word(r, source[i].name), source[i].tone, &c[i]);
    }
    plot_lines(b, &p);
}

static void curves(hone_buf *b, const train_report *r)
{
    curve *c = hone_calloc(3, sizeof *c);
    plot p = {.title = word(r, WORD_T_LOSS_TITLE),
              .x_label = word(r, WORD_T_AXIS_STEP),
              .y_label = word(r, WORD_T_NATS),
              .marker = NAN,
              .cropped = true};

    if (!c) {
        b->failed = true;
        return;
    }
    html_section_begin(b, "curves", word(r, WORD_T_CURVES), word(r, WORD_T_CURVES_LEAD));
    curve_make(&c[0], r, offsetof(train_step, loss));
    curve_smooth(&c[1], &c[0]);
    curve_of_evals(&c[2], r);
    p.series[p.n_series++] = series(word(r, WORD_T_EACH), "before", &c[0]);
    p.series[p.n_series++] = series(word(r, WORD_T_SMOOTH), "after", &c[1]);
    if (c[2].n)
        p.series[p.n_series++] = series(word(r, WORD_T_HELD_OUT), "contaminated", &c[2]);
    plot_lines(b, &p);
    sources(b, r, c);
    hone_buf_puts(b, "<div class=twin>\n");
    one_curve(b, r, WORD_T_RATE, NULL, offsetof(train_step, rate), &c[0], false);
    one_curve(b, r, WORD_T_NORM, NULL, offsetof(train_step, norm), &c[0], false);
    one_curve(b, r, WORD_T_SPEED, NULL, offsetof(train_step, speed), &c[0], false);
    one_curve(b, r, WORD_T_SHARE_TITLE, NULL, offsetof(train_step, share), &c[0], true);
    hone_buf_puts(b, "</div>\n");
    html_section_end(b);
    hone_free(c);
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

static const json_t *kept_eval(const train_report *r)
{
    const json_t *step = json_object_get(json_object_get(r->run, "eval"), "step");
    size_t i;

    for (i = r->n_evals; step && i-- > 0;)
        if (json_equal(json_object_get(r->eval[i], "step"), step))
            return r->eval[i];
    return r->n_evals ? r->eval[r->n_evals - 1] : NULL;
}

static bool has_tasks(const train_report *r)
{
    const char *key;
    json_t *value;

    if (r->n_evals)
        json_object_foreach(r->eval[0], key, value) if (!strncmp(key, "eval_loss/", 10)) return true;
    return false;
}

static void tasks(hone_buf *b, const train_report *r)
{
    const json_t *kept = kept_eval(r);
    const html_part legend[] = {{word(r, WORD_T_FIRST), "before", UINT64_MAX},
                                {word(r, WORD_T_KEPT), "after", UINT64_MAX}};
    const char *key;
    json_t *value;
    double most = 1e-9;

    if (!has_tasks(r))
        return;
    html_section_begin(b, "tasks", word(r, WORD_T_BY_TASK), word(r, WORD_T_BY_TASK_LEAD));
    json_object_foreach(r->eval[0], key, value) if (!strncmp(key, "eval_loss", 9)) most =
        fmax(most, fmax(json_number_value(value), of_line(kept, key)));
    html_bars_begin(b);
    json_object_foreach(r->eval[0], key, value)
    {
        double first = json_number_value(value), last = of_line(kept, key);
        char text[64];

        if (strncmp(key, "eval_loss/", 10) || !isfinite(last))
            continue;
        snprintf(text, sizeof text, "%.3f → %.3f", first, last);
        html_bar_text(b, key + 10, first / most, last / most, "after", text);
    }
    html_bars_end(b);
    html_legend(b, legend, HONE_COUNT(legend));
    html_section_end(b);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void memory(hone_buf *b, const train_report *r)
{
    const json_t *plan = json_object_get(r->run, "plan"), *item;
    double planned = of_run(r, "planned_bytes"), measured = of_run(r, "peak_bytes"), most;
    hone_buf text = {0};
    size_t i;

    if (!json_array_size(plan) || !(planned > 0))
        return;
    most = fmax(planned, measured);
    html_section_begin(b, "memory", word(r, WORD_T_PLAN), word(r, WORD_T_PLAN_LEAD));
    html_bars_begin(b);
    html_size(&text, (uint64_t)planned);
    html_bar_text(b, word(r, WORD_T_PLANNED), -1, planned / most, "split", text.data ? text.data : "");
    text.len = 0;
    html_size(&text, (uint64_t)measured);
    html_bar_text(b, word(r, WORD_T_MEASURED), -1, measured / most, "after", text.data ? text.data : "");
    html_bars_end(b);
    html_subtitle(b, word(r, WORD_T_PURPOSE));
    html_bars_begin(b);
    json_array_foreach(plan, i, item)
    {
        double bytes = of_line(item, "bytes");

        if (!(bytes > 0))
            continue;
        text.len = 0;
        html_size(&text, (uint64_t)bytes);
        html_bar_text(b, text_in(item, "purpose"), -1, bytes / most, "split", text.data ? text.data : "");
    }
    html_bars_end(b);
    hone_buf_clear(&text);
    html_section_end(b);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void row_list(hone_buf *b, const train_report *r, report_word title, const train_list *l)
{
    const char *const column[] = {word(r, WORD_T_PLACE), word(r, WORD_T_COL_FIRST), word(r, WORD_T_COL_LAST),
                                  word(r, WORD_T_EXCERPT)};
    size_t i;

    html_subtitle(b, word(r, title));
    html_table_begin(b, column, HONE_COUNT(column), false);
    for (i = 0; i < l->n; i++) {
        const train_row *x = &l->row[i];

        html_row(b);
        hone_buf_puts(b, "<td class=where>");
        html_quote(b, last_part(x->file), strlen(last_part(x->file)));
        hone_buf_printf(b, ":%llu", (unsigned long long)x->line);
        if (x->replay)
            hone_buf_printf(b, " (%s)", word(r, WORD_T_REPLAYED));
        html_cell(b, true);
        hone_buf_printf(b, "%.3f", x->first);
        html_cell(b, true);
        hone_buf_printf(b, "%.3f", x->last);
        hone_buf_puts(b, "<td class=said>");
        if (x->excerpt)
            html_quote_cut(b, x->excerpt, strlen(x->excerpt), 240);
    }
    html_table_end(b);
}

static void rows(hone_buf *b, const train_report *r, hone_error *err)
{
    uint64_t *count = NULL;
    plot_bins bins;
    size_t i;

    if (!r->n_rows)
        return;
    if (plot_bins_choose(&bins, r->last, r->n_rows, BINS, false, err))
        return;
    count = hone_calloc(bins.n, sizeof *count);
    html_section_begin(b, "rows", word(r, WORD_T_ROWS), word(r, WORD_T_ROWS_LEAD));
    if (count) {
        plot p = {.title = word(r, WORD_T_SPREAD),
                  .x_label = word(r, WORD_T_AXIS_LOSS),
                  .y_label = word(r, WORD_AXIS_ROWS),
                  .series = {{.name = word(r, WORD_T_SPREAD), .tone = "after", .count = count}},
                  .n_series = 1,
                  .marker = NAN};

        for (i = 0; i < r->n_rows; i++) {
            size_t bin = plot_bin_of(&bins, r->last[i]);

            if (bin < bins.n)
                count[bin]++;
        }
        plot_histogram(b, &p, &bins);
    } else {
        b->failed = true;
    }
    row_list(b, r, WORD_T_HARDEST, &r->list[LIST_HARDEST]);
    row_list(b, r, WORD_T_MEMORISED, &r->list[LIST_MEMORISED]);
    row_list(b, r, WORD_T_DROPPED, &r->list[LIST_LEARNT]);
    html_section_end(b);
    hone_free(count);
    hone_free(bins.edge);
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */

static void turn(hone_buf *b, const char *role, const char *text)
{
    hone_buf_puts(b, "<div class=turn><span class=role>");
    html_puts(b, role);
    hone_buf_puts(b, "</span><div class=text>");
    html_quote_cut(b, text, strlen(text), SHOWN_TEXT);
    hone_buf_puts(b, "</div></div>\n");
}

static void answer(hone_buf *b, const train_report *r, const json_t *line)
{
    char role[96];

    snprintf(role, sizeof role, "%s %.0f%s%s", word(r, WORD_T_STEP), of_line(line, "step"),
             strcmp(text_in(line, "finish_reason"), "length") ? "" : " · ",
             strcmp(text_in(line, "finish_reason"), "length") ? "" : word(r, WORD_T_CUT));
    turn(b, role, text_in(line, "answer"));
}

/* One question: the first and the last answer in sight, those between on demand. */
static void question(hone_buf *b, const train_report *r, double index)
{
    const json_t *first = NULL, *last = NULL;
    size_t i, between = 0;
    char summary[32];

    for (i = 0; i < r->n_samples; i++)
        if (of_line(r->sample[i], "index") == index) {
            between += first != NULL;
            first = first ? first : r->sample[i];
            last = r->sample[i];
        }
    if (!first)
        return;
    hone_buf_puts(b, "<div class=card>\n");
    turn(b, word(r, WORD_T_QUESTION), text_in(first, "prompt"));
    if (json_object_get(first, "reference"))
        turn(b, word(r, WORD_T_REFERENCE), text_in(first, "reference"));
    answer(b, r, first);
    if (between > 1) {
        snprintf(summary, sizeof summary, "+ %zu", between - 1);
        html_fold_begin(b, summary, false);
        for (i = 0; i < r->n_samples; i++)
            if (of_line(r->sample[i], "index") == index && r->sample[i] != first && r->sample[i] != last)
                answer(b, r, r->sample[i]);
        html_fold_end(b);
    }
    if (last != first)
        answer(b, r, last);
    hone_buf_puts(b, "</div>\n");
}

static void samples(hone_buf *b, const train_report *r)
{
    double most = -1, k;
    size_t i;

    if (!r->n_samples)
        return;
    html_section_begin(b, "samples", word(r, WORD_T_SAMPLES), word(r, WORD_T_SAMPLES_LEAD));
    for (i = 0; i < r->n_samples; i++)
        most = fmax(most, of_line(r->sample[i], "index"));
    for (k = 0; k <= fmin(most, 63); k++)
        question(b, r, k);
    html_section_end(b);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void put_line(hone_buf *b, const train_report *r, report_word name, const char *value)
{
    html_row(b);
    html_cell(b, false);
    html_puts(b, word(r, name));
    html_cell(b, false);
    html_quote(b, value, strlen(value));
}

static void environment(hone_buf *b, const train_report *r)
{
    const char *const column[] = {word(r, WORD_FIGURE), ""};
    char text[160];

    html_section_begin(b, "run", word(r, WORD_T_RUN), NULL);
    if (r->run) {
        html_table_begin(b, column, HONE_COUNT(column), true);
        put_line(b, r, WORD_T_MODEL, text_in(r->run, "model"));
        snprintf(text, sizeof text, "%.20s, %.0f %s, %.20s", text_in(r->run, "method"),
                 of_run(r, "trained_values"), word(r, WORD_T_VALUES), text_in(r->run, "precision"));
        put_line(b, r, WORD_T_METHOD, text);
        snprintf(text, sizeof text, "%.0f", of_run(r, "rows"));
        put_line(b, r, WORD_T_TRAIN_ROWS, text);
        snprintf(text, sizeof text, "%.0f", of_run(r, "eval_rows"));
        put_line(b, r, WORD_T_EVAL_ROWS, text);
        snprintf(text, sizeof text, "%.60s, %.0f %s", text_in(r->run, "device"), of_run(r, "threads"),
                 word(r, WORD_T_THREADS));
        put_line(b, r, WORD_T_DEVICE, text);
        snprintf(text, sizeof text, "%.0f GFLOP/s", of_run(r, "peak_gflops"));
        put_line(b, r, WORD_T_PEAK, text);
        snprintf(text, sizeof text, "%.0f", of_run(r, "recompute"));
        put_line(b, r, WORD_T_RECOMPUTE, text);
        html_table_end(b);
    }
    if (r->o->settings) {
        html_fold_begin(b, word(r, WORD_SETTINGS_ALL), false);
        hone_buf_puts(b, "<pre>");
        html_quote(b, r->o->settings, strlen(r->o->settings));
        hone_buf_puts(b, "</pre>\n");
        html_fold_end(b);
    }
    html_section_end(b);
}

void train_page(hone_buf *b, const train_report *r, hone_error *err)
{
    const html_head head = {.language = r->o->language,
                            .kind = word(r, WORD_TRAINING_REPORT),
                            .title = r->o->title,
                            .time = r->o->time,
                            .time_label = word(r, WORD_MADE)};

    html_page_begin(b, &head);
    html_contents_begin(b, word(r, WORD_CONTENTS));
    html_contents_entry(b, "curves", word(r, WORD_T_CURVES));
    if (has_tasks(r))
        html_contents_entry(b, "tasks", word(r, WORD_T_BY_TASK));
    if (r->n_samples)
        html_contents_entry(b, "samples", word(r, WORD_T_SAMPLES));
    if (r->n_rows)
        html_contents_entry(b, "rows", word(r, WORD_T_ROWS));
    if (r->run)
        html_contents_entry(b, "memory", word(r, WORD_T_PLAN));
    html_contents_entry(b, "run", word(r, WORD_T_RUN));
    html_contents_end(b);
    headline(b, r);
    curves(b, r);
    tasks(b, r);
    samples(b, r);
    rows(b, r, err);
    memory(b, r);
    environment(b, r);
    html_page_end(b, word(r, WORD_FOOT));
}
