/* Learning-rate schedules: the multiplier of update number s (0-based) out of T, as transformers 5 has them. */
#ifndef HONE_TRAIN_SCHEDULE_H
#define HONE_TRAIN_SCHEDULE_H

#include <stdint.h>

#include "hone/config.h"

/* Warm-up updates W: warmup_steps when positive, else ceil(total * warmup_ratio). */
int64_t hone_warmup_steps(int64_t total, int64_t warmup_steps, double warmup_ratio);

/* training-semantics.md 5, from training.lr_scheduler_type, lr_scheduler_kwargs and learning_rate. In the warm-up, s < W,
 * s / max(1, W) unless the schedule has its own rise, so that the first update of a run with warm-up has rate 0.
 * reduce_lr_on_plateau and greedy: 1; what they have come to is hone_plateau.rate. */
double hone_schedule_factor(const hone_config *c, int64_t s, int64_t warmup, int64_t total);

/* The lowest learning rate of the schedules that have one: lr_scheduler_kwargs.min_lr_rate, else min_lr. */
double hone_lowest_rate(const hone_config *c);

/* The schedules that react to the evaluation loss: reduce_lr_on_plateau (PyTorch's ReduceLROnPlateau, mode min) and greedy
 * (transformers' GreedyLR, mode min). Zero-initialise. A checkpoint holds it as it is. */
typedef struct hone_plateau {
    double rate, best; /* the learning rate, to be used after the first evaluation; the best loss */
    int64_t evaluations, bad, cooldown;
    int64_t good, warmup, asked; /* greedy; asked: reductions at the lowest rate, since the last rise */
    struct {
        double sum, value[HONE_WINDOW_MAX]; /* value: a ring, the oldest at `next` when it is full */
        int64_t n, next;
    } window; /* the losses that greedy smooths over */
} hone_plateau;
/* After an evaluation of a run with such a schedule; others leave it alone. */
void hone_plateau_step(hone_plateau *p, const hone_config *c, double loss);

#endif
