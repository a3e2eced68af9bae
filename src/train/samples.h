/* The answers to the sample questions of a run, through the generator that its caller hands in. */
#ifndef HONE_TRAIN_SAMPLES_H
#define HONE_TRAIN_SAMPLES_H

#include "train/metrics.h"
#include "train/run.h"

bool hone_samples_wanted(const hone_run *r);
/* Positions of the session that answers. */
int32_t hone_samples_capacity(const hone_run *r);
/* Answers every question with the adapter as it is, whose gradients are detached; writes them down and tells the caller. A
 * stop leaves out the rest. `workspace`: what training needs of the device, reserved again afterwards. */
int hone_samples_answer(hone_run *r, int64_t step, hone_metrics *metrics,
                        const hone_workspace_spec *workspace, hone_error *err);

#endif
