/* A run: everything between the configuration and the first step, and what the steps need. */
#ifndef HONE_TRAIN_RUN_H
#define HONE_TRAIN_RUN_H

#include "hone/chat.h"
#include "hone/train.h"
#include "train/feed.h"
#include "train/held_out.h"

typedef struct hone_run {
    const hone_config *c;
    hone_device *dev;
    hone_train_callbacks cb;
    hone_tokenizer *tok;
    hone_chat *chat;
    hone_dataset *data, *eval_data; /* eval_data: the same object when rows were held out of data, or NULL */
    uint32_t *train, *eval; /* sequences of data to train on (NULL: streaming), of eval_data to evaluate */
    size_t n_train, n_eval;
    hone_replay replay; /* rows of earlier data, behind those of data; draw 0: none */
    hone_model *model;
    hone_adapter *adapter;
    hone_feed feed;
    hone_feed_epoch epoch;    /* what the first epoch holds; 0 with streaming */
    int64_t steps, per_epoch; /* of the whole run; of the first epoch, 0 with streaming */
    int64_t warmup;
    int64_t eval_every, save_every;     /* in steps; 0 = never */
    int32_t tokens, max_seq, targets;   /* the most of each in a batch, evaluation included */
    uint64_t program_bytes, text_bytes; /* resident at the start; heap of tokenizer, template and data */
    uint64_t shard_bytes;               /* of mapped token shards */
    uint64_t memory;                    /* bytes a plan may have in all; 0: what is available */
    hone_held_out held_out;             /* of the evaluation rows, when there are evaluations */
} hone_run;

/* Opens tokenizer, template, data, model and adapter, and works out the steps. On failure the run is cleared. */
int hone_run_prepare(hone_run *r, const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                     hone_error *err);
void hone_run_clear(hone_run *r);
/* Opens data.replay_data_path with the options of the training rows, whatever the number of samples, joins it to r->data and
 * sets r->replay. r->train and the evaluation rows are known. HONE_EINVAL: data.replay_ratio makes no row an epoch. */
int hone_run_add_replay(hone_run *r, const hone_dataset_options *options, hone_error *err);
/* hone_train_run of a configuration without stages. */
int hone_run_whole(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                   hone_train_result *out, hone_error *err);
/* The checkpoint that training.resume_from_checkpoint names or finds, allocated; NULL in *dir: the run begins anew. */
int hone_resume_folder(char **dir, const hone_config *c, hone_error *err);
/* Whether what comes by that strategy, and every `every` steps, comes after step `done`, which left the run at a place. */
bool hone_run_due(hone_strategy strategy, int64_t every, int64_t done, hone_position at);
/* An interval given in steps, or below 1 as a share of all steps; of epochs, the steps of the first; 0 = never. */
int64_t hone_run_interval(hone_strategy strategy, double every, int64_t steps, int64_t per_epoch);

static inline void hone_run_note(const hone_run *r, const char *line)
{
    if (r->cb.note && line)
        r->cb.note(r->cb.ud, line);
}

static inline bool hone_run_stop_wanted(const hone_run *r)
{
    return r->cb.stop && r->cb.stop(r->cb.ud);
}

/* Measures the machine and says how long the steps after `done` will take, as far as can be known before one is made: with
 * streaming not at all (0). */
void hone_run_estimate(const hone_run *r, int64_t done, hone_train_begin *out);

/* Whether a plan fits what is available, or r->memory. */
bool hone_run_fits(const hone_run *r, const hone_plan *plan);
/* The memory plan at one recomputation level. */
void hone_run_plan(const hone_run *r, int recompute, hone_plan *plan);
/* The level that the configuration asks for, or (auto) the lowest that fits. Fails with HONE_ENOMEM, in words that name
 * the settings to change and what each saves, when nothing fits. plan[0..2] are filled. */
int hone_run_choose(const hone_run *r, hone_plan plan[3], int *chosen, hone_error *err);

#endif
