/* The dataset's inside, shared by dataset.c (fills it) and order.c (reads it). */
#ifndef HONE_DATA_DATASET_H
#define HONE_DATA_DATASET_H

#include "data/data.h"

typedef struct dataset_entry {
    uint64_t start; /* first token in id */
    uint64_t word;  /* first word in mask; every sequence starts a word */
    uint64_t line;
    uint64_t run; /* first of its runs */
    uint32_t row, file;
    uint32_t n, n_targets, n_runs;
} dataset_entry;

/* What became of one row that was read. */
typedef struct dataset_fate {
    uint64_t line;
    uint32_t file, parts;
    uint32_t tokens; /* cut off; all of a row that was too long */
    row_fate fate;
} dataset_fate;

struct hone_dataset {
    int32_t *id;
    uint64_t *mask;
    hone_weight_run *run; /* [n_runs] of all sequences that have some */
    dataset_entry *entry; /* [n], in the order of the files */
    size_t n, n_ids, n_words, n_runs;
    size_t id_capacity, mask_capacity, run_capacity, entry_capacity;
    dataset_fate *fate; /* [n_fates], every row that was read */
    size_t n_fates, fate_capacity;
    char **file;
    size_t n_files;
    hone_dataset_report report;
};

#endif
