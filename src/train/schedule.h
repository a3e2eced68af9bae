/* Learning-rate schedules: the multiplier of update number s (0-based) out of T, as transformers 5 has them. */
#ifndef HONE_TRAIN_SCHEDULE_H
#define HONE_TRAIN_SCHEDULE_H

#include <stdint.h>

#include "hone/config.h"

/* Warm-up updates W: warmup_steps when positive, else ceil(total * warmup_ratio). */
int64_t hone_warmup_steps(int64_t total, int64_t warmup_steps, double warmup_ratio);

/* training-semantics.md 5, from training.lr_scheduler_type, lr_scheduler_kwargs and learning_rate. In the warm-up, s < W,
 * s / max(1, W) unless the schedule has its own rise, so that the first update of a run with warm-up has rate 0.
 * reduce_lr_on_plateau: 1; what it has come to is hone_plateau.factor. */
double hone_schedule_factor(const hone_config *c, int64_t s, int64_t warmup, int64_t total);

/* reduce_lr_on_plateau (PyTorch's ReduceLROnPlateau, mode min, threshold relative, eps 1e-8). Zero-initialise. */
typedef struct hone_plateau {
    double best, factor; /* factor of training.learning_rate, 0 before the first evaluation: 1 */
    int64_t bad, cooldown, evaluations;
} hone_plateau;
void hone_plateau_step(hone_plateau *p, const hone_config *c, double metric);

#endif
