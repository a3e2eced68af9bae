/* The state of a run while its steps are made, and the parts of the loop: private to run.c, step.c and saved.c. */
#ifndef HONE_TRAIN_LOOP_H
#define HONE_TRAIN_LOOP_H

#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/optimizer.h"
#include "train/row_loss.h"
#include "train/run.h"

typedef struct hone_loop {
    hone_run *r;
    hone_activations *act;
    hone_packer packer;
    float *grad; /* [adapter->n] */
    hone_optimizer *optimizer;
    hone_plateau plateau;
    bool keep_best; /* the root holds the best evaluated result, not the last */
    hone_best best;
    hone_eval_result kept; /* of the result that is the run's: the best, or the last */
    hone_guard guard;
    hone_metrics metrics;
    hone_workspace_spec workspace; /* what the device holds for the passes of training */
    hone_row_losses rows;
    double peak_gflops;       /* of the machine, measured at the start */
    double estimated_seconds; /* of the steps to come, before the first; 0: not known */
    hone_position at;         /* of the next step in the data */
    int64_t *saved;           /* steps of the checkpoint folders of this run, oldest first */
    int64_t n_saved;
    int64_t resumed;        /* steps done before this process */
    bool eval_due;          /* stopped before the evaluation of the last step */
    double loss, weight;    /* sums over all steps */
    double before;          /* seconds trained before this process */
    double called, started; /* hone_now of the call; of the first step, less `before` */
    hone_train_result *out;
} hone_loop;

/* One optimiser step, number `step` from 0. *stopped: the caller asked to stop before it was complete; nothing was changed
 * then. A loss or gradient that is no number is HONE_ERANGE, with the rows and a checkpoint of the step before. */
int hone_loop_step(hone_loop *l, int64_t step, hone_step *s, bool *stopped, hone_error *err);

/* The trained state as the user gets it: an adapter's two files, or a model directory. */
int hone_loop_save_result(hone_loop *l, const char *dir, hone_error *err);
/* Writes checkpoint-N, then removes the oldest beyond save_total_limit; the best and the newest stay. */
int hone_loop_save(hone_loop *l, int64_t step, hone_error *err);
/* Puts everything back as it was after a checkpoint's step, when the configuration asks for one. */
int hone_loop_resume(hone_loop *l, hone_error *err);

/* Writes output_dir/run.json from l->out. */
int hone_loop_write_summary(const hone_loop *l, const hone_plan *plan, hone_error *err);

#endif
