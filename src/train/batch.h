/* From sequences to packed micro-batches, and the order in which a run sees them. */
#ifndef HONE_TRAIN_BATCH_H
#define HONE_TRAIN_BATCH_H

#include "hone/data.h"
#include "model/model.h"

/* The buffers of one packed micro-batch. */
typedef struct hone_packer {
    int32_t *ids, *target; /* [max_tokens] */
    float *weight;         /* [max_tokens] */
    int32_t *off;          /* [max_seq + 1] */
    int32_t max_tokens, max_seq;
} hone_packer;

int hone_packer_init(hone_packer *p, int32_t max_tokens, int32_t max_seq, hone_error *err);
void hone_packer_clear(hone_packer *p);
size_t hone_packer_size(int32_t max_tokens, int32_t max_seq); /* bytes hone_packer_init takes */

/* Lays the sequences which[0..n), which must fit, side by side and describes them in b (views into p); b has weights
 * where some sequence has a weight other than 1. */
void hone_packer_fill(hone_packer *p, hone_batch *b, const hone_dataset *data, const uint32_t *which,
                      size_t n);

/* Targets of the sequences which[0..n) together. */
int64_t hone_count_targets(const hone_dataset *data, const uint32_t *which, size_t n);

/* The steps of a run: an epoch is a permutation (or the file order) of the sequences, cut into micro-batches of
 * batch_rows, of which a step takes `accumulation`; the last micro-batch and the last step of an epoch may be short
 * (transformers' accounting, training-semantics.md 4). Everything follows from the step number, so a run can start
 * anywhere. */
typedef struct hone_feed {
    const hone_dataset *data;
    const uint32_t *which; /* [n] the sequences to train on, in file order; borrowed */
    int64_t n, batch_rows, accumulation;
    bool shuffle;
    uint64_t seed;
    int64_t epoch;   /* whose order is held, -1 = none */
    uint32_t *order; /* [n] */
} hone_feed;

int hone_feed_init(hone_feed *f, const hone_dataset *data, const uint32_t *which, size_t n,
                   int64_t batch_rows, int64_t accumulation, bool shuffle, uint64_t seed, hone_error *err);
void hone_feed_clear(hone_feed *f);
int64_t hone_feed_steps_per_epoch(const hone_feed *f);
/* Sequences of micro-batch `micro` of step `step` (0-based), borrowed until the epoch changes; *n is 0 when the step has
 * no such micro-batch. */
const uint32_t *hone_feed_micro(hone_feed *f, int64_t step, int64_t micro, size_t *n);
/* Epochs finished after `steps` steps, as a fraction. */
double hone_feed_epoch(const hone_feed *f, int64_t steps);
/* Positions of the largest micro-batch among the first `steps` steps. */
int64_t hone_feed_largest(hone_feed *f, int64_t steps);

#endif
