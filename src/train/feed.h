/* The steps of a run: which sequences come together, in which order, and where in the data a run is. */
#ifndef HONE_TRAIN_FEED_H
#define HONE_TRAIN_FEED_H

#include "train/batch.h"

/* A place in the data, between two steps. Kept with a checkpoint, it gives the same following batches. */
typedef struct hone_position {
    uint64_t epoch;  /* whole ones that are behind */
    uint64_t window; /* with streaming the shard, else 0 */
    uint64_t unit;   /* of that window's order: the next one */
} hone_position;

/* Rows of earlier data among the rows to train on: the sequences [first, first + n) of the dataset, of which every epoch
 * takes `draw` (hone_dataset_draw). draw 0: none. */
typedef struct hone_replay {
    uint32_t first;
    size_t n, draw;
} hone_replay;

typedef struct hone_feed_params {
    hone_dataset *data;
    const uint32_t
        *which; /* [n] the sequences to train on, in file order; borrowed. NULL: all, shard by shard */
    size_t n;
    hone_replay replay; /* not with streaming */
    int64_t batch_rows, accumulation;
    size_t pack;         /* tokens of a pack; 0: rows are not packed */
    bool shuffle, group; /* group: hone_feed_group over the units of a window */
    uint64_t seed;
} hone_feed_params;

/* A unit is one sequence, or one pack of them (best-fit decreasing; hone_dataset_bin). An epoch is the units of all
 * windows, each window's in its own permutation (or in file order), cut into micro-batches of batch_rows units, of which a
 * step takes `accumulation`; the last micro-batch and the last step of an epoch may be short (transformers' accounting,
 * training-semantics.md 4). Single sequences of a step change places among its micro-batches where that makes the largest
 * one smaller; a step's result is a sum over all of them. There is one window, the whole selection; with streaming (which
 * NULL) every shard is one, in the order of the files, and is waited for when its turn comes: the order of an epoch does not
 * depend on when it was ready. With replay, the rows drawn for an epoch stand evenly among the others before packs are made
 * and units permuted; packs are other ones in every epoch then, and their number may differ. */
typedef struct feed_place feed_place;

typedef struct hone_feed {
    hone_feed_params p;

    /* The window that is held. */
    bool loaded;
    uint64_t window, epoch; /* epoch: whose order */
    uint64_t drawn;         /* whose items, with replay */
    uint32_t *item;         /* [n_items] its sequences, pack by pack */
    uint32_t *start;        /* [n_units + 1] of the packs; NULL: every sequence is a unit */
    uint32_t *order;        /* [n_units] */
    size_t n_items, n_units;

    /* The step that is held: micro-batch m is step[micro[m] .. micro[m + 1]). */
    hone_position next;
    uint32_t *step;
    size_t *micro;     /* [accumulation + 1] */
    feed_place *place; /* [step_capacity] scratch */
    size_t n_step, step_capacity;
    int64_t n_micro;
} hone_feed;

int hone_feed_init(hone_feed *f, const hone_feed_params *p, hone_error *err);
void hone_feed_clear(hone_feed *f);

/* Loads the step that begins at `at`; f->next is where the one after it begins. HONE_ENOMEM; with streaming the errors of
 * hone_dataset_wait; HONE_EINVAL when there is nothing to train on. A place behind the last unit is the beginning of the
 * next epoch. */
int hone_feed_load(hone_feed *f, hone_position at, hone_error *err);
/* Sequences of micro-batch `micro` of the loaded step, borrowed until the next load; NULL when it has no such one. */
const uint32_t *hone_feed_micro(const hone_feed *f, int64_t micro, size_t *n);

/* Groups by length, as transformers' group_by_length: order[0..n), units in the (random) order they would come in, is cut
 * into stretches of `batch` units times the quarter of the steps, 1 to 50; each is sorted by length[unit], longest first,
 * equals as they stood; then the longest of all changes places with the first. HONE_ENOMEM. */
int hone_feed_group(uint32_t *order, const uint32_t *length, size_t n, size_t batch, hone_error *err);

/* What one epoch holds; with streaming all shards are waited for. */
typedef struct hone_feed_epoch {
    int64_t units, rows, tokens, targets;
} hone_feed_epoch;
int hone_feed_count(hone_feed *f, uint64_t epoch, hone_feed_epoch *out, hone_error *err);
/* Steps that `units` units of one epoch make. */
int64_t hone_feed_steps(const hone_feed *f, int64_t units);
/* Steps of that many epochs, the last of which may be a part of one. */
int hone_feed_steps_of(hone_feed *f, double epochs, int64_t *steps, hone_error *err);
/* Epochs finished at a place, as a fraction; with streaming the whole ones. */
double hone_feed_epochs(const hone_feed *f, hone_position at);
/* The most of each that a micro-batch has. */
typedef struct hone_batch_size {
    int64_t positions, sequences, targets;
} hone_batch_size;

/* Of the micro-batches of the first `steps` steps; not with streaming. */
int hone_feed_largest(hone_feed *f, int64_t steps, hone_batch_size *out, hone_error *err);

#endif
