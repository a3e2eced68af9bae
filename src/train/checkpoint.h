/* What a run needs to go on as if it had never stopped: one file beside the adapter or model of a checkpoint. */
#ifndef HONE_TRAIN_CHECKPOINT_H
#define HONE_TRAIN_CHECKPOINT_H

#include "hone/train.h"
#include "train/best.h"
#include "train/feed.h"
#include "train/guard.h"
#include "train/schedule.h"

#define HONE_CHECKPOINT_FILE "training_state.bin"

/* The part of fixed size; stored as it is. */
typedef struct hone_checkpoint_state {
    int64_t step; /* updates done */
    hone_position at;
    int64_t tokens, trained_tokens; /* so far */
    double loss, weight;            /* sums of the steps' losses times their weights, and of the weights */
    hone_best best;
    int64_t evaluated;     /* 1: there was an evaluation */
    hone_eval_result kept; /* of the result that is the run's */
    hone_guard guard;
    hone_plateau plateau;
    double seconds;   /* trained so far */
    int64_t eval_due; /* 1: the run was stopped before the evaluation that follows this step */
} hone_checkpoint_state;

/* Blocks of a file: text says what the order of the data and the trained tensors follow from. */
typedef struct hone_checkpoint {
    hone_checkpoint_state state;
    const char *text;
    void *value, *optimizer;
    size_t value_bytes, optimizer_bytes;
    bool optimizer_in_file; /* `optimizer` is a hone_spill: its pages are let go after use */
} hone_checkpoint;

/* Writes dir/training_state.bin, synced and renamed into place. */
int hone_checkpoint_write(const char *dir, const hone_checkpoint *c, hone_error *err);

/* Reads dir/training_state.bin into c->state, c->value and c->optimizer, whose sizes must be those of the file. HONE_ENOENT;
 * HONE_EFORMAT: cut or changed bytes, or another version; HONE_EINVAL: the text is not c->text (the message holds both) or
 * the sizes differ: it belongs to another run. */
int hone_checkpoint_read(hone_checkpoint *c, const char *dir, hone_error *err);

/* A checkpoint comes to be in a folder "checkpoint-N.partial": removes what a killed run, or a full disk, left in
 * output_dir of such. */
void hone_checkpoint_sweep(const char *output_dir);

/* The folder output_dir/checkpoint-N with the largest N whose state is whole; NULL in *dir when there is none. Allocated. */
int hone_checkpoint_newest(char **dir, const char *output_dir, hone_error *err);

#endif
