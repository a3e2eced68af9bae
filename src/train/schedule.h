/* Learning-rate schedules: the multiplier of update number s (0-based) out of T. */
#ifndef HONE_TRAIN_SCHEDULE_H
#define HONE_TRAIN_SCHEDULE_H

#include <stdint.h>

#include "hone/config.h"

/* Warm-up updates W: warmup_steps when positive, else ceil(total * warmup_ratio). */
int64_t hone_warmup_steps(int64_t total, int64_t warmup_steps, double warmup_ratio);

/* transformers' multipliers (training-semantics.md 5): s < W: s / max(1, W) (so the first update of a run with warm-up
 * has rate 0); then cosine: max(0, (1 + cos(pi x)) / 2), linear: max(0, 1 - x), x = (s - W) / max(1, T - W);
 * constant: 1 without warm-up, constant_with_warmup: 1. */
double hone_schedule_factor(hone_schedule kind, int64_t s, int64_t warmup, int64_t total);

#endif
