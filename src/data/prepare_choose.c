/* Scores, filters and the choice among the rows that are left. */
#include <math.h>
#include <string.h>

#include "data/prepare.h"

#define SCORED_AT_ONCE 256 /* rows */
#define LIGHTEST 0.1       /* bounds of a row's weight by a score */
#define HEAVIEST 10.0

/* ---- scores ---------------------------------------------------------------------------------------------------------- */

size_t prepare_score(const preparation *p, const char *name)
{
    const hone_scorer *s = p->options->scorer;
    size_t i;

    for (i = 0; s && i < s->n; i++)
        if (!strcmp(s->name[i], name))
            return i;
    return SIZE_MAX;
}

static int unknown_score(const preparation *p, const char *option, const char *name, hone_error *err)
{
    const hone_scorer *s = p->options->scorer;
    hone_buf list = {0};
    size_t i;
    int rc;

    for (i = 0; s && i < s->n; i++)
        hone_buf_printf(&list, "%s%s", i ? ", " : "", s->name[i]);
    rc = hone_error_set(err, HONE_EINVAL, "%s: the score `%.60s` is not computed; data.scores.compute has %s",
                        option, name, list.len && !list.failed ? list.data : "none");
    hone_buf_clear(&list);
    return rc;
}

/* "NAME<NUMBER" and the like. */
static int read_filter(const preparation *p, filter *out, const char *text, hone_error *err)
{
    size_t n = strcspn(text, "<>=");
    const char *rest = text + n;
    char name[64];
    json_t *limit;

    *out = (filter){.text = text, .below = *rest == '<', .equal = *rest && rest[1] == '='};
    rest += *rest ? 1 + out->equal : 0;
    while (n && text[n - 1] == ' ')
        n--;
    limit = json_loads(rest, JSON_DECODE_ANY, NULL);
    out->limit = json_number_value(limit);
    if (!n || n >= sizeof name || text[strcspn(text, "<>=")] == '=' || !json_is_number(limit)) {
        json_decref(limit);
        return hone_error_set(err, HONE_EINVAL,
                              "data.scores.filter: `%.60s` is not a score, one of < <= > >=, and a number",
                              text);
    }
    json_decref(limit);
    memcpy(name, text, n);
    name[n] = 0;
    out->score = prepare_score(p, name);
    return out->score == SIZE_MAX ? unknown_score(p, "data.scores.filter", name, err) : 0;
}

static const char *weight_score(const char *weight)
{
    return strncmp(weight, "1/", 2) ? weight : weight + 2;
}

int prepare_filters(preparation *p, hone_error *err)
{
    const hone_prepare_options *o = p->options;
    const hone_choose_options *c = o->choose;
    bool ordered = c && (c->order == HONE_ORDER_CURRICULUM || c->order == HONE_ORDER_STAGED);
    size_t i;
    int rc = 0;

    if (o->weight && prepare_score(p, weight_score(o->weight)) == SIZE_MAX)
        return unknown_score(p, "data.scores.weight", weight_score(o->weight), err);
    if (ordered && c->curriculum && strcmp(c->curriculum, "length") && strcmp(c->curriculum, "turns") &&
        prepare_score(p, c->curriculum) == SIZE_MAX)
        return unknown_score(p, "data.mix.curriculum", c->curriculum, err);
    if (!o->n_filter)
        return 0;
    p->filter = hone_calloc(o->n_filter, sizeof *p->filter);
    if (!p->filter)
        return prepare_no_memory(err);
    for (i = 0; !rc && i < o->n_filter; i++)
        rc = read_filter(p, &p->filter[i], o->filter[i], err);
    return rc;
}

static double *scores_of(const preparation *p, size_t row)
{
    return p->score + row * p->options->scorer->n;
}

/* Scores rows which[0..n). */
static int score_some(preparation *p, const uint32_t *which, size_t n, double *out, hone_error *err)
{
    const hone_scorer *s = p->options->scorer;
    const char *text[SCORED_AT_ONCE];
    size_t len[SCORED_AT_ONCE], i;
    int rc;

    for (i = 0; i < n; i++) {
        text[i] = p->row[which[i]].line;
        len[i] = p->row[which[i]].len;
    }
    rc = s->score(s->ud, text, len, n, out, err);
    for (i = 0; !rc && i < n; i++)
        memcpy(scores_of(p, which[i]), out + i * s->n, s->n * sizeof *out);
    return rc;
}

/* A row without the score passes. */
static bool passes(const filter *f, double score)
{
    if (isnan(score) || (f->equal && score == f->limit))
        return true;
    return f->below ? score < f->limit : score > f->limit;
}

static void filter_rows(preparation *p)
{
    size_t i, k;

    for (i = 0; i < p->n; i++)
        for (k = 0; k < p->options->n_filter && p->row[i].state == ROW_IN; k++)
            if (!passes(&p->filter[k], scores_of(p, i)[p->filter[k].score])) {
                p->row[i].state = ROW_SCORE;
                p->row[i].rule = (uint32_t)k;
            }
}

/* A row's weight is multiplied by its score divided by the mean of those that are left, so that the mean weight stays near
 * 1; bounded, since one odd row must not outweigh hundreds. */
static void weight_rows(preparation *p)
{
    const char *name = weight_score(p->options->weight);
    size_t k = prepare_score(p, name), i, n = 0;
    bool inverse = name != p->options->weight;
    double sum = 0;

    for (i = 0; i < p->n; i++) {
        double x = scores_of(p, i)[k];

        if (p->row[i].state == ROW_IN && isfinite(x) && x > 0) {
            sum += inverse ? 1 / x : x;
            n++;
        }
    }
    for (i = 0; n && i < p->n; i++) {
        double x = scores_of(p, i)[k];

        if (p->row[i].state != ROW_IN || !isfinite(x) || !(x > 0))
            continue;
        x = (inverse ? 1 / x : x) * (double)n / sum;
        p->row[i].weight *= (float)HONE_MAX(HONE_MIN(x, HEAVIEST), LIGHTEST);
    }
}

int prepare_score_rows(preparation *p, hone_error *err)
{
    const hone_scorer *s = p->options->scorer;
    uint32_t which[SCORED_AT_ONCE];
    double *out;
    size_t i, n = 0, done = 0, total = 0;
    int rc = 0;

    if (!s || !s->n)
        return 0;
    p->score = hone_alloc(HONE_MAX(p->n * s->n, (size_t)1) * sizeof *p->score);
    out = hone_alloc(SCORED_AT_ONCE * s->n * sizeof *out);
    if (!p->score || !out)
        rc = prepare_no_memory(err);
    for (i = 0; !rc && i < p->n * s->n; i++)
        p->score[i] = NAN;
    for (i = 0; i < p->n; i++)
        total += p->row[i].state == ROW_IN;
    for (i = 0; !rc && i < p->n; i++) {
        if (p->row[i].state != ROW_IN)
            continue;
        which[n++] = (uint32_t)i;
        if (n < SCORED_AT_ONCE && done + n < total)
            continue;
        rc = score_some(p, which, n, out, err);
        done += n;
        n = 0;
        prepare_tell(p, "score", done, done, total);
    }
    hone_free(out);
    if (!rc)
        filter_rows(p);
    if (!rc && p->options->weight)
        weight_rows(p);
    return rc;
}

/* ---- the choice ------------------------------------------------------------------------------------------------------ */

static void describe(const preparation *p, choose_row *out, size_t row, size_t score)
{
    const prepared *r = &p->row[row];

    *out = (choose_row){.task = r->task,
                        .label = r->label,
                        .group = r->group,
                        .source = rows_origin(p->rows, r->file),
                        .length = r->length,
                        .turns = r->turns,
                        .score = score == SIZE_MAX ? NAN : (float)scores_of(p, row)[score]};
}

/* What the choice means for the rows. */
static void apply_choice(preparation *p)
{
    static const row_state state[] = {ROW_IN, ROW_BALANCED, ROW_MAX_TASK, ROW_MIX};
    bool staged = p->options->choose && p->options->choose->order == HONE_ORDER_STAGED;
    size_t i;

    for (i = 0; p->choice.why_not && i < p->n_chosen; i++)
        if (p->choice.why_not[i])
            p->row[p->chosen[i]].state = (uint8_t)state[p->choice.why_not[i]];
    for (i = 0; i < p->choice.n + p->choice.n_validation; i++) {
        const choose_place *place = &p->choice.place[i];
        prepared *r = &p->row[p->chosen[place->row]];

        r->validation = place->validation;
        if (!r->copies++ && staged && !place->validation)
            r->stage = (uint8_t)(place->stage + 1);
    }
}

int prepare_choose(preparation *p, hone_error *err)
{
    static const hone_choose_options as_it_is = {0};
    const hone_choose_options *o = p->options->choose ? p->options->choose : &as_it_is;
    size_t score = o->curriculum ? prepare_score(p, o->curriculum) : SIZE_MAX, i;
    choose_row *row;
    int rc = 0;

    p->chosen = hone_alloc(HONE_MAX(p->n, (size_t)1) * sizeof *p->chosen);
    row = hone_alloc(HONE_MAX(p->n, (size_t)1) * sizeof *row);
    if (!p->chosen || !row) {
        hone_free(row);
        return prepare_no_memory(err);
    }
    for (i = 0; i < p->n; i++)
        if (p->row[i].state == ROW_IN) {
            describe(p, &row[p->n_chosen], i, score);
            p->chosen[p->n_chosen++] = (uint32_t)i;
        }
    if (p->n_chosen)
        rc = choose_rows(&p->choice, row, p->n_chosen, o, err);
    hone_free(row);
    if (!rc)
        apply_choice(p);
    return rc;
}
