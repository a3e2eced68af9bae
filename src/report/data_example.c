/* Rows in the data report: problems with their examples, rows beside those that they repeat, rows as they are trained. */
#include <math.h>
#include <string.h>

#include "report/data_report.h"
#include "report/html.h"

#define CONTEXT 160      /* bytes around a place that is marked */
#define PLACE_LIMIT 400  /* bytes of a place */
#define BRIEF 280        /* bytes of a turn in an example */
#define TURNS 6          /* turns of an example */
#define SAMPLE_OPEN 1500 /* bytes of a sample before the fold */
#define SAMPLE_LIMIT 12000

static const char *word(const report *r, report_word w)
{
    return report_text(r->o->language, w);
}

void report_place(hone_buf *b, const report *r, const char *file, uint64_t line)
{
    file += strncmp(file, r->n_sources ? r->source[0].path : "", r->common) ? 0 : r->common;
    html_quote(b, file, strlen(file));
    hone_buf_printf(b, ":%llu", (unsigned long long)line);
}

static void put_fate(hone_buf *b, const report *r, uint64_t row)
{
    hone_fate fate = r->row[row].fate;
    report_word w = fate == HONE_FATE_DROPPED        ? WORD_FATE_DROPPED
                    : fate == HONE_FATE_DUPLICATE    ? WORD_FATE_DUPLICATE
                    : fate == HONE_FATE_CONTAMINATED ? WORD_FATE_CONTAMINATED
                                                     : WORD_FATE_USED;

    hone_buf_puts(b, " · ");
    html_puts(b, word(r, w));
}

/* Where a row is, and what became of it when it is one of the training rows. */
static void put_place(hone_buf *b, const report *r, const char *label, const shown_row *s, bool training)
{
    hone_buf_puts(b, "<p class=place>");
    if (label) {
        hone_buf_puts(b, "<b>");
        html_puts(b, label);
        hone_buf_puts(b, "</b> ");
    }
    if (s) {
        if (s->file) {
            report_place(b, r, s->file, s->line);
            hone_buf_puts(b, " · ");
        }
        html_puts(b, word(r, WORD_ROW));
        hone_buf_printf(b, " %llu", (unsigned long long)s->row);
        if (training && s->row < r->n)
            put_fate(b, r, s->row);
    }
    hone_buf_puts(b, "</p>\n");
}

static const shown_row *find_shown(const shown_row *list, size_t n, uint64_t row)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (list[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && list[low].row == row ? &list[low] : NULL;
}

/* ---- turns --------------------------------------------------------------------------------------------------------- */

static void put_role(hone_buf *b, const report *r, const char *role)
{
    static const struct {
        const char *role;
        report_word word;
    } known[] = {
        {"system", WORD_SYSTEM}, {"user", WORD_USER}, {"assistant", WORD_ASSISTANT}, {"tool", WORD_TOOL}};
    size_t i;

    hone_buf_puts(b, "<span class=role>");
    for (i = 0; i < HONE_COUNT(known) && strcmp(role, known[i].role); i++)
        ;
    if (i < HONE_COUNT(known))
        html_puts(b, word(r, known[i].word));
    else
        html_quote_cut(b, role, strlen(role), 40);
    hone_buf_puts(b, "</span>");
}

/* The text of a turn: what it says, or the calls it makes. *owned is freed by the caller. */
static const char *turn_text(const json_t *m, size_t *len, char **owned)
{
    const json_t *content = json_object_get(m, "content"), *calls = json_object_get(m, "tool_calls");

    *owned = NULL;
    if (json_is_string(content) && (json_string_length(content) || !calls)) {
        *len = json_string_length(content);
        return json_string_value(content);
    }
    *owned = json_dumps(calls ? calls : content, JSON_COMPACT | JSON_ENCODE_ANY);
    *len = *owned ? strlen(*owned) : 0;
    return *owned ? *owned : "";
}

/* The place [begin, end) of a text marked, with some of what is around it. */
static void put_marked(hone_buf *b, const char *s, size_t n, size_t begin, size_t end)
{
    size_t from, to, stop;

    begin = text_border(s, n, HONE_MIN(begin, n));
    end = text_border(s, n, HONE_MIN(HONE_MAX(end, begin), n));
    stop = text_border(s, n, HONE_MIN(end, begin + PLACE_LIMIT));
    from = text_border(s, n, begin > CONTEXT ? begin - CONTEXT : 0);
    to = text_border(s, n, HONE_MIN(n, end + CONTEXT));
    if (from)
        hone_buf_puts(b, "<span class=more>…</span>");
    html_quote(b, s + from, begin - from);
    hone_buf_puts(b, "<mark>");
    html_quote(b, s + begin, stop - begin);
    hone_buf_puts(b, stop < end ? "</mark><span class=more>…</span>" : "</mark>");
    if (stop == end) {
        html_quote(b, s + end, to - end);
        if (to < n)
            hone_buf_puts(b, "<span class=more>…</span>");
    }
}

/* One turn, cut; marked where [begin, end) is not empty. */
static void put_turn(hone_buf *b, const report *r, const json_t *m, size_t begin, size_t end)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    char *owned;
    size_t n;
    const char *s = turn_text(m, &n, &owned);

    hone_buf_puts(b, "<div class=turn>");
    put_role(b, r, role ? role : "?");
    hone_buf_puts(b, "<div class=text dir=auto>");
    if (begin < end && !owned)
        put_marked(b, s, n, begin, end);
    else
        html_quote_cut(b, s, n, BRIEF);
    hone_buf_puts(b, "</div></div>\n");
    free(owned);
}

/* A row in brief: all of its turns, each cut; or, with a message, that one and the question before it. */
static void put_row(hone_buf *b, const report *r, const shown_row *s, uint32_t message, size_t begin,
                    size_t end)
{
    const json_t *list = s ? json_object_get(s->root, "messages") : NULL;
    const json_t *text = s ? json_object_get(s->root, "text") : NULL;
    size_t n = json_array_size(list), i, from = 0, to = HONE_MIN(n, TURNS);

    if (!s || !s->root) {
        if (s && s->file) {
            hone_buf_puts(b, "<p class=place>");
            html_puts(b, word(r, WORD_TOO_LONG_TO_SHOW));
            hone_buf_puts(b, "</p>\n");
        }
        return;
    }
    if (text) {
        hone_buf_puts(b, "<div class=\"turn text\" dir=auto>");
        if (begin < end)
            put_marked(b, json_string_value(text), json_string_length(text), begin, end);
        else
            html_quote_cut(b, json_string_value(text), json_string_length(text), 2 * BRIEF);
        hone_buf_puts(b, "</div>\n");
        return;
    }
    if (message < n) {
        from = message ? message - 1 : 0;
        to = message + 1;
    }
    for (i = from; i < to; i++)
        put_turn(b, r, json_array_get(list, i), i == message ? begin : 0, i == message ? end : 0);
    if (message >= n && to < n)
        hone_buf_puts(b, "<p class=more>…</p>\n");
}

/* ---- problems -------------------------------------------------------------------------------------------------------- */

/* A sentence about a row; it may begin with the row's place, which the example says already. */
static void put_detail(hone_buf *b, const char *detail, const shown_row *s)
{
    char place[64];
    size_t n = s && s->file ? strlen(s->file) : 0;

    if (!detail)
        return;
    if (n && !strncmp(detail, s->file, n)) {
        int len = snprintf(place, sizeof place, ":%llu: ", (unsigned long long)s->line);

        if (!strncmp(detail + n, place, (size_t)len))
            detail += n + (size_t)len;
    }
    hone_buf_puts(b, "<p class=place>");
    html_quote_cut(b, detail, strlen(detail), 400);
    hone_buf_puts(b, "</p>\n");
}

static void put_example(hone_buf *b, const report *r, const example *e)
{
    const shown_row *s = find_shown(r->shown, r->n_shown, e->row);

    hone_buf_puts(b, "<div class=card>\n");
    if (e->row == UINT64_MAX) {
        hone_buf_puts(b, "<p class=place><b>");
        html_puts(b, word(r, WORD_ALL_ROWS));
        hone_buf_puts(b, "</b></p>\n");
    } else {
        put_place(b, r, NULL, s, true);
    }
    put_detail(b, e->detail, s);
    if (e->row != UINT64_MAX && s && s->root)
        put_row(b, r, s, e->message, e->begin, e->end);
    hone_buf_puts(b, "</div>\n");
}

/* Bytes that two texts share at their beginning and, of the rest, at their end; both at borders of characters. */
static void shared_ends(const char *s, size_t n, const char *t, size_t m, size_t *head, size_t *tail)
{
    size_t most = HONE_MIN(n, m), i = 0, k = 0;

    while (i < most && s[i] == t[i])
        i++;
    i = text_border(s, n, i);
    while (k < most - i && s[n - 1 - k] == t[m - 1 - k])
        k++;
    while (k && ((uint8_t)s[n - k] & 0xc0) == 0x80)
        k--;
    *head = i;
    *tail = k;
}

/* One side of a pair: its turns, what the turn of the same number of the other row does not have marked. Where less than
 * half of a turn is shared, a mark would say nothing. */
static void put_side(hone_buf *b, const report *r, const shown_row *s, const shown_row *other)
{
    const json_t *list = s ? json_object_get(s->root, "messages") : NULL;
    const json_t *others = other ? json_object_get(other->root, "messages") : NULL;
    size_t n = json_array_size(list), i;

    if (!n || !others) {
        put_row(b, r, s, UINT32_MAX, 0, 0);
        return;
    }
    for (i = 0; i < HONE_MIN(n, TURNS); i++) {
        const json_t *m = json_array_get(list, i), *o = json_array_get(others, i);
        size_t len, other_len, head = 0, tail = 0;
        char *owned, *other_owned;
        const char *text = turn_text(m, &len, &owned), *like = turn_text(o, &other_len, &other_owned);

        shared_ends(text, len, like, other_len, &head, &tail);
        if (!o || 2 * (head + tail) < HONE_MAX(len, other_len))
            head = len - tail;
        put_turn(b, r, m, head, len - tail);
        free(owned);
        free(other_owned);
    }
    if (i < n)
        hone_buf_puts(b, "<p class=more>…</p>\n");
}

/* A row beside the one that it repeats. */
static void put_pair(hone_buf *b, const report *r, const example *e, bool contaminated)
{
    const shown_row *other = contaminated ? find_shown(r->other, r->n_other, e->other_row)
                                          : find_shown(r->shown, r->n_shown, e->other_row);
    const shown_row *s = find_shown(r->shown, r->n_shown, e->row);

    hone_buf_puts(b, "<div class=card><p class=place>");
    html_puts(b, word(r, contaminated ? WORD_SHARE_FOUND : WORD_SIMILARITY));
    hone_buf_printf(b, " <b>%.2f</b></p>\n<div class=pair><div>", e->similarity);
    put_place(b, r, word(r, WORD_THIS_ROW), s, false);
    put_side(b, r, s, other);
    hone_buf_puts(b, "</div><div>");
    put_place(b, r, word(r, contaminated ? WORD_EVALUATION_ROW : WORD_KEPT_ROW), other, !contaminated);
    put_side(b, r, other, s);
    hone_buf_puts(b, "</div></div></div>\n");
}

static const char *title_of(const report *r, size_t i)
{
    static const report_word built_in[N_BUILT_IN] = {WORD_INVALID_TITLE, WORD_CONTAMINATED_TITLE,
                                                     WORD_DUPLICATE_TITLE};

    return i < N_BUILT_IN ? word(r, built_in[i]) : r->problem[i].title[r->o->language == HONE_CHINESE];
}

static void put_level(hone_buf *b, const report *r, int severity)
{
    static const char *const tone[] = {"note", "warning", "error"};
    int i = HONE_MAX(0, HONE_MIN(severity - 1, 2));

    hone_buf_printf(b, "<span class=\"level t-%s\">", tone[i]);
    html_puts(b, word(r, (report_word)((int)WORD_NOTE + i)));
    hone_buf_puts(b, "</span>");
}

static uint64_t dropped_by(const problem *p, size_t i)
{
    return i == PROBLEM_CONTAMINATED || i == PROBLEM_DUPLICATE ? p->rows : p->dropped;
}

static void put_table(hone_buf *b, const report *r, const size_t *order, size_t n)
{
    const char *const column[] = {word(r, WORD_SEVERITY), word(r, WORD_PROBLEM), word(r, WORD_COL_ROWS),
                                  word(r, WORD_COL_SHARE), word(r, WORD_COL_DROPPED)};
    size_t i;

    html_table_begin(b, column, HONE_COUNT(column), false);
    for (i = 0; i < n; i++) {
        const problem *p = &r->problem[order[i]];

        html_row(b);
        html_cell(b, false);
        put_level(b, r, p->severity);
        html_cell(b, false);
        if (r->o->examples)
            hone_buf_printf(b, "<a href=\"#p%zu\">", order[i]);
        html_puts(b, title_of(r, order[i]));
        hone_buf_puts(b, r->o->examples ? "</a> <code class=more>" : " <code class=more>");
        html_puts(b, p->name);
        hone_buf_puts(b, "</code>");
        html_cell(b, true);
        if (p->rows)
            html_count(b, p->rows);
        else
            html_puts(b, word(r, WORD_ALL_ROWS));
        html_cell(b, true);
        if (p->rows)
            html_share(b, p->rows, r->counts.rows);
        html_cell(b, true);
        if (dropped_by(p, order[i]))
            html_count(b, dropped_by(p, order[i]));
        else
            hone_buf_puts(b, "–");
    }
    html_table_end(b);
}

static void put_problem(hone_buf *b, const report *r, size_t i, bool open)
{
    const problem *p = &r->problem[i];
    size_t k;

    hone_buf_printf(b, "<details class=problem%s><summary>", open ? " open" : "");
    put_level(b, r, p->severity);
    hone_buf_puts(b, "<b>");
    html_puts(b, title_of(r, i));
    hone_buf_puts(b, "</b><code class=more>");
    html_puts(b, p->name);
    hone_buf_puts(b, "</code><span class=num>");
    if (p->rows)
        html_count(b, p->rows);
    /* The link leads inside, so that following it opens the fold. */
    hone_buf_printf(b, "</span></summary>\n<div id=\"p%zu\">\n", i);
    for (k = 0; k < p->n_examples; k++)
        if (i == PROBLEM_CONTAMINATED || i == PROBLEM_DUPLICATE)
            put_pair(b, r, &p->example[k], i == PROBLEM_CONTAMINATED);
        else
            put_example(b, r, &p->example[k]);
    hone_buf_puts(b, "</div></details>\n");
}

/* Worst first: severity, rows; then the order in which they were met. */
static bool worse(const report *r, size_t a, size_t b)
{
    const problem *x = &r->problem[a], *y = &r->problem[b];

    if (x->severity != y->severity)
        return x->severity > y->severity;
    if (x->rows != y->rows)
        return x->rows > y->rows;
    return strcmp(x->name, y->name) < 0;
}

void report_problems(hone_buf *b, const report *r)
{
    size_t *order = hone_calloc(r->n_problems, sizeof *order), n = 0, i, k;

    html_section_begin(b, "problems", word(r, WORD_PROBLEMS), word(r, WORD_PROBLEMS_LEAD));
    if (!order)
        b->failed = true;
    for (i = 0; order && i < r->n_problems; i++) {
        if (!r->problem[i].rows && !r->problem[i].whole)
            continue;
        for (k = n++; k && worse(r, i, order[k - 1]); k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    if (!n) {
        hone_buf_puts(b, "<p class=good>");
        html_puts(b, word(r, WORD_NO_PROBLEMS));
        hone_buf_puts(b, "</p>\n");
    } else {
        put_table(b, r, order, n);
        if (r->o->examples)
            html_subtitle(b, word(r, WORD_EXAMPLES));
    }
    for (i = 0; r->o->examples && i < n; i++)
        put_problem(b, r, order[i], i < 3);
    hone_free(order);
    html_section_end(b);
}

/* ---- rows as they are trained ------------------------------------------------------------------------------------------ */

/* Bytes [from, to) of a picture: runs of the same kind, kind being trained or not, of the row or of the template. */
static void put_picture(hone_buf *b, const hone_row_picture *p, size_t from, size_t to)
{
    size_t at = from, token = 0;

    while (token < p->n && p->end[token] <= from)
        token++;
    while (at < to) {
        size_t end = at;
        bool trained = false, quoted = p->quoted[at], first = true;

        while (end < to && p->quoted[end] == (uint8_t)quoted) { /* token by token */
            size_t stop = to;
            bool t = false;

            while (token < p->n && p->end[token] <= end)
                token++;
            if (token < p->n && p->begin[token] <= end) {
                t = p->weight[token] > 0;
                stop = HONE_MIN(to, p->end[token]);
            } else if (token < p->n) {
                stop = HONE_MIN(to, p->begin[token]);
            }
            if (!first && t != trained)
                break;
            trained = t;
            first = false;
            while (end < stop && p->quoted[end] == (uint8_t)quoted)
                end++;
        }
        hone_buf_puts(b, trained && quoted ? "<span class=tr>"
                         : trained         ? "<span class=\"tr tp\">"
                         : quoted          ? "<span>"
                                           : "<span class=tp>");
        html_quote(b, p->text + at, end - at);
        hone_buf_puts(b, "</span>");
        at = end;
    }
}

static void put_sample(hone_buf *b, const report *r, const sample_row *s)
{
    const hone_row_picture *p = &s->picture;
    size_t open = text_border(p->text, p->len, SAMPLE_OPEN), end = text_border(p->text, p->len, SAMPLE_LIMIT);

    hone_buf_puts(b, "<div class=card>\n<p class=place>");
    report_place(b, r, s->file, s->line);
    hone_buf_puts(b, " · ");
    html_puts(b, word(r, WORD_ROW));
    hone_buf_printf(b, " %llu · <b>", (unsigned long long)s->row);
    html_count(b, p->n);
    hone_buf_puts(b, "</b> ");
    html_puts(b, word(r, WORD_N_TOKENS));
    hone_buf_puts(b, " · <b>");
    html_count(b, p->n_trained);
    hone_buf_puts(b, "</b> ");
    html_puts(b, word(r, WORD_N_TRAINED));
    hone_buf_puts(b, "</p>\n");
    if (s->failure)
        put_detail(b, s->failure, NULL);
    else if (!p->text)
        put_detail(b, word(r, WORD_TOO_LONG_TO_SHOW), NULL);
    else {
        hone_buf_puts(b, "<div class=text dir=auto>");
        put_picture(b, p, 0, open);
        hone_buf_puts(b, "</div>\n");
        if (open < p->len) {
            html_fold_begin(b, word(r, WORD_REST), false);
            hone_buf_puts(b, "<div class=text dir=auto>");
            put_picture(b, p, open, end);
            if (end < p->len)
                hone_buf_puts(b, "<span class=more>…</span>");
            hone_buf_puts(b, "</div>\n");
            html_fold_end(b);
        }
    }
    hone_buf_puts(b, "</div>\n");
}

void report_samples(hone_buf *b, const report *r)
{
    size_t i;

    if (!r->n_samples)
        return;
    html_section_begin(b, "samples", word(r, WORD_SAMPLES), word(r, WORD_SAMPLES_LEAD));
    hone_buf_puts(b, "<p class=legend><span class=tr>");
    html_puts(b, word(r, WORD_TRAINED_TEXT));
    hone_buf_puts(b, "</span><span>");
    html_puts(b, word(r, WORD_PROMPT_TEXT));
    hone_buf_puts(b, "</span><span class=tp>");
    html_puts(b, word(r, WORD_TEMPLATE_TEXT));
    hone_buf_puts(b, "</span></p>\n");
    for (i = 0; i < r->n_samples; i++)
        if (r->sample[i].file)
            put_sample(b, r, &r->sample[i]);
    html_section_end(b);
}
