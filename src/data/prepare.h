/* Inside of preparing: prepare.c runs the stages, prepare_read.c reads and looks at every row alone, prepare_choose.c scores
 * and chooses, prepare_write.c writes rows, ledger and summary. */
#ifndef HONE_DATA_PREPARE_H
#define HONE_DATA_PREPARE_H

#include "data/choose.h"
#include "data/dedup.h"
#include "data/quality.h"
#include "data/store.h"

#define NOT_COMPARED UINT32_MAX

/* What became of a row; the first that holds. */
typedef enum row_state {
    ROW_IN,
    ROW_INVALID,
    ROW_RULE, /* dropped by prepared.rule */
    ROW_CONTAMINATED,
    ROW_DUPLICATE,
    ROW_SCORE, /* dropped by prepared.rule, a filter */
    ROW_BALANCED,
    ROW_MAX_TASK,
    ROW_MIX
} row_state;

typedef struct row_finding {
    uint32_t rule, message, begin, end;
    const char *detail;
} row_finding;

/* A row between reading and writing; texts lie in the arenas of the workers. */
typedef struct prepared {
    const char *line; /* the conversation as JSON; the reason of an invalid row */
    const char *id;
    const uint8_t *trained;     /* [n_messages] */
    const row_finding *finding; /* [n_findings] of rules that look at one row */
    const void *digest;         /* for the rules that look at all rows */
    const contamination_hit *hit;
    uint64_t place; /* line in the file */
    uint32_t file, len, n_messages, n_findings;
    uint32_t task, label, group; /* numbers of names */
    uint32_t compared;           /* number of the row among those that are compared, or NOT_COMPARED */
    uint32_t rule;
    uint32_t length; /* bytes of all messages */
    float weight;
    uint16_t turns, copies;
    uint8_t state, stage;
    bool validation;
} prepared;

typedef struct worker worker;

typedef struct filter {
    size_t score;
    bool below, equal; /* `<`, with `=` */
    double limit;
    const char *text;
} filter;

typedef struct preparation {
    const hone_prepare_options *options;
    hone_rows *rows;
    contamination *contamination; /* NULL: not wanted, as the next two */
    dedup *dedup;
    quality *quality;
    names task, label, group;
    prepared *row;
    size_t n, capacity;
    uint32_t *of_compared; /* [n_compared] row of a number in dedup */
    size_t n_compared, compared_capacity;
    worker *worker;
    size_t n_workers;
    uint64_t left;                        /* rows still to be read */
    uint64_t told;                        /* rows at the last call of progress */
    const quality_corpus_finding *corpus; /* [n_corpus] by row, then rule */
    size_t n_corpus;
    double *score; /* [n][scorer->n] NAN: none; NULL: nothing is computed */
    filter *filter;
    choice choice;    /* rows are numbers in `chosen` */
    uint32_t *chosen; /* [n_chosen] rows that could be chosen from */
    size_t n_chosen;
} preparation;

int prepare_no_memory(hone_error *err);
void prepare_tell(preparation *p, const char *stage, uint64_t rows, uint64_t done, uint64_t total);
/* Name of score k, or SIZE_MAX. */
size_t prepare_score(const preparation *p, const char *name);

int prepare_read(preparation *p, hone_error *err);
void prepare_read_clear(preparation *p);
int prepare_filters(preparation *p, hone_error *err); /* reads them; before anything else */
int prepare_score_rows(preparation *p, hone_error *err);
int prepare_choose(preparation *p, hone_error *err);
int prepare_write(preparation *p, hone_ledger_counts *counts, hone_error *err);

#endif
