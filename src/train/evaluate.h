/* Token-weighted evaluation of a dataset: the part that training and `hone eval` share. */
#ifndef HONE_TRAIN_EVALUATE_H
#define HONE_TRAIN_EVALUATE_H

#include "hone/train.h"
#include "train/batch.h"

/* What an evaluation learns of one sequence. */
typedef struct hone_eval_row {
    uint32_t sequence;       /* in the dataset */
    double loss_sum;         /* of its losses, not weighted */
    int64_t tokens;          /* targets */
    double weighted, weight; /* sums of weight * loss, and of the weights */
} hone_eval_row;

/* Per sequence, in order. */
typedef void (*hone_eval_row_fn)(void *ud, const hone_eval_row *row);

/* The sequences which[0..n) are packed in order, at most packer->max_seq of them and packer->max_tokens positions at a
 * time (each must fit alone). a NULL = base. Errors: those of hone_model_eval; HONE_ECANCELLED when stop says so. */
int hone_evaluate(hone_model *m, const hone_adapter *a, hone_activations *act, hone_packer *packer,
                  const hone_dataset *data, const uint32_t *which, size_t n, hone_eval_row_fn row,
                  void *row_ud, bool (*stop)(void *), void *stop_ud, hone_eval_result *out, hone_error *err);

/* One line for the user when the adapter was trained with another template or tokenizer than the model's, else NULL. */
const char *hone_adapter_mismatch(const hone_adapter *a, uint64_t template_hash, uint64_t tokenizer_hash);

#endif
