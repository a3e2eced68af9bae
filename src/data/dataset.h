/* The dataset's inside, shared by dataset.c (opens and fills it) and order.c (reads it), and the making of its shards. */
#ifndef HONE_DATA_DATASET_H
#define HONE_DATA_DATASET_H

#include "data/shard_cache.h"

typedef struct shard_maker shard_maker;

struct hone_dataset {
    shard *shard; /* [n_shards] in the order of the files */
    size_t n_shards, n;
    char **file;
    size_t n_files;
    hone_dataset_report report; /* all but the bytes: 0 until every shard is there */
    uint64_t joined_rows;       /* of datasets that were joined to it: not in the report */
    struct producer *producer;  /* makes further shards on another thread; NULL: all are there */
};

/* Takes one more shard, also on failure. */
int dataset_append(hone_dataset *d, shard *s, hone_error *err);

/* How many packs all sequences make (pack.c). */
int dataset_count_packs(const hone_dataset *d, size_t capacity, uint64_t *n_packs, hone_error *err);

/* ---- shard_make.c ------------------------------------------------------------------------------------------------ */

/* Reads, encodes and stores all rows, and hands over a shard at a time. */
struct shard_maker {
    hone_rows *rows; /* owned */
    char *const *file;
    size_t n_files;
    const hone_chat *chat;
    hone_dataset_options options;
    const char *folder; /* of the cache, which exists; NULL: shards are kept on the heap */
    uint64_t key[2];
    int (*emit)(void *ud, shard *s, hone_error *err); /* takes the shard, also on failure */
    bool (*cancelled)(void *ud);                      /* asked now and then; NULL: never */
    void *ud;
    bool
        background; /* the shards are used as they come: the first row that is too long ends the making, else all are
                      * counted first; and one thread works from the second shard on */
    hone_dataset_report report; /* out */
};

/* HONE_ECANCELLED when `cancelled` says so; else as hone_dataset_open. */
int shard_make(shard_maker *m, hone_error *err);

#endif
