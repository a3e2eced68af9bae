/* Multiply-adds that a step must do, whatever is recomputed: what the share of the machine's peak is taken of. */
#ifndef HONE_TRAIN_FLOPS_H
#define HONE_TRAIN_FLOPS_H

#include "model/model.h"

/* GFLOP of `tokens` positions of which each sees, in all, `pairs` positions (a sequence of n makes n (n + 1) / 2):
 * products forward and for dX (2 + 2 per weight), and for dW of what trains (2 more), the head likewise, factors (2 forward,
 * 4 backward per value), causal attention, forward 4 D and backward 10 D per pair and head. */
double hone_step_gflop(const hone_arch *c, const hone_adapter *a, double tokens, double pairs);

/* Of these, attention. */
double hone_attention_gflop(const hone_arch *c, double pairs);

/* The pairs of a batch of n_seq sequences that begin at off[0..n_seq]. */
double hone_pairs(const int32_t *off, int32_t n_seq);

#define HONE_PEAK_SECONDS 0.05 /* one measurement of the machine's peak */

#endif
