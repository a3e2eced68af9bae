/* Watches the loss and the gradient of a run for jumps. */
#ifndef HONE_TRAIN_GUARD_H
#define HONE_TRAIN_GUARD_H

#include <stdint.h>

#include "hone/config.h"

#define HONE_GUARD_WINDOW 32

/* The last steps, whatever became of them; kept with a checkpoint. Zero-initialise. */
typedef struct hone_guard {
    double loss[HONE_GUARD_WINDOW], norm[HONE_GUARD_WINDOW]; /* rings, of steps % HONE_GUARD_WINDOW */
    int64_t steps;
    int64_t skipped; /* updates that were not applied */
} hone_guard;

typedef enum hone_spike { HONE_SPIKE_NONE, HONE_SPIKE_LOSS, HONE_SPIKE_GRADIENT } hone_spike;

/* Whether a step stands out: its loss above training.loss_spike_factor times the median loss of the last 32 steps and 0.1
 * above it, or the norm of its gradient above training.grad_spike_factor times theirs. A factor of 0 never; nor do the
 * first 16 steps. *median: what it was compared with. */
hone_spike hone_guard_check(const hone_guard *g, const hone_config *c, double loss, double norm,
                            double *median);
void hone_guard_add(hone_guard *g, double loss, double norm);

#endif
