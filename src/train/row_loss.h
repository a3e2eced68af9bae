/* The loss of every training row, the first time and the last time it was trained: which rows are hard, and which the model
 * has learnt by heart. */
#ifndef HONE_TRAIN_ROW_LOSS_H
#define HONE_TRAIN_ROW_LOSS_H

#include "train/batch.h"

#define HONE_ROW_LOSS_FILE "row_losses.bin"

/* Zero-initialise. */
typedef struct hone_row_losses {
    float *
        value; /* [2 n] of sequence i: first in 2 i, last in 2 i + 1; mean of its targets in nats, NAN: not yet */
    size_t n;
} hone_row_losses;

/* Room for n sequences, which may grow (with streaming). HONE_ENOMEM. */
int hone_row_losses_reserve(hone_row_losses *l, size_t n, hone_error *err);
void hone_row_losses_clear(hone_row_losses *l);
size_t hone_row_losses_size(size_t n); /* bytes for n sequences */

/* Takes the losses of a pass over the sequences which[0..n), for which there is room. */
void hone_row_losses_take(hone_row_losses *l, const hone_batch *b, const hone_pass *pass,
                          const uint32_t *which, size_t n);

/* dir/row_losses.bin of a checkpoint: magic, n, XXH64 of the values, values. Reading: HONE_ENOENT, HONE_EFORMAT; l is as it
 * was then. A file of fewer sequences (with streaming) fills the first ones. */
int hone_row_losses_save(const hone_row_losses *l, const char *dir, hone_error *err);
int hone_row_losses_load(hone_row_losses *l, const char *dir, hone_error *err);

/* rows.jsonl: a line for every sequence that was trained. Those from first_old on are replayed ones (SIZE_MAX: none), whose
 * rows count from 0 again. */
int hone_row_losses_write(const hone_row_losses *l, const hone_dataset *data, size_t first_old,
                          const char *path, hone_error *err);

#endif
