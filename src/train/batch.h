/* From sequences to packed micro-batches. */
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
    int32_t
        max_targets; /* of a batch that hone_evaluate makes: what the activations are for; max_tokens at first */
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

#endif
