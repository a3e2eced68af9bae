/* The best evaluation and early stopping: see best.h. As in transformers, patience looks at the best value before this
 * evaluation takes part in it, and an improvement within the threshold becomes the new best though it does not count. */
#include "train/best.h"

#include <math.h>
#include <string.h>

double hone_best_metric(const hone_config *c, const hone_eval_result *e)
{
    if (!strcmp(c->training.metric_for_best_model, "eval_accuracy"))
        return e->accuracy;
    return strcmp(c->training.metric_for_best_model, "eval_perplexity") ? e->loss : e->perplexity;
}

static bool is_better(const hone_config *c, double a, double b)
{
    bool greater = c->training.greater_is_better == HONE_TOGGLE_TRUE;

    if (c->training.greater_is_better == HONE_TOGGLE_AUTO)
        greater = !strcmp(c->training.metric_for_best_model, "eval_accuracy");
    return greater ? a > b : a < b;
}

bool hone_best_update(hone_best *b, const hone_config *c, int64_t step, const hone_eval_result *e)
{
    const double metric = hone_best_metric(c, e);
    const bool none = b->step < 0, better = none ? !isnan(metric) : is_better(c, metric, b->metric);
    const bool enough = none || fabs(metric - b->metric) > c->training.early_stopping_threshold;

    b->bad = !b->evaluations++ || (better && enough) ? 0 : b->bad + 1;
    if (better) {
        b->step = step;
        b->metric = metric;
        b->eval = *e;
    }
    return better;
}

bool hone_best_stops(const hone_best *b, const hone_config *c)
{
    return c->training.early_stopping_patience > 0 && b->bad >= c->training.early_stopping_patience;
}
