/* Which evaluation is the best of a run, and when there have been enough without a better one: the rules of transformers'
 * Trainer and EarlyStoppingCallback. */
#ifndef HONE_TRAIN_BEST_H
#define HONE_TRAIN_BEST_H

#include "hone/train.h"

/* Kept with a checkpoint. Start from HONE_BEST_NONE. */
typedef struct hone_best {
    int64_t step; /* -1: no evaluation was one yet */
    double metric;
    int64_t evaluations;
    int64_t bad; /* evaluations in a row that did not better the one before them by more than the threshold */
    hone_eval_result eval; /* of step */
} hone_best;
#define HONE_BEST_NONE                                                                                       \
    {                                                                                                        \
        .step = -1                                                                                           \
    }

/* training.metric_for_best_model of an evaluation. */
double hone_best_metric(const hone_config *c, const hone_eval_result *e);
/* Takes in the evaluation after `step`; true: it is the best so far. One that is no number never is. */
bool hone_best_update(hone_best *b, const hone_config *c, int64_t step, const hone_eval_result *e);
/* Whether training.early_stopping_patience is used up. */
bool hone_best_stops(const hone_best *b, const hone_config *c);

#endif
