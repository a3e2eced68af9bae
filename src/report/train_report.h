/* The training report's inside: what its files say (train_report.c), and the page (train_page.c). */
#ifndef HONE_REPORT_TRAIN_REPORT_H
#define HONE_REPORT_TRAIN_REPORT_H

#include <jansson.h>

#include "base/base.h"
#include "hone/report.h"
#include "report/words.h"

typedef struct train_step {
    double step, loss, new_loss, replay_loss, rate, norm, speed, share; /* NaN: not there */
} train_step;

/* A row that stands out; only `n` of each list are kept. */
typedef struct train_row {
    char *file; /* owned */
    uint64_t line, row;
    bool replay;
    double first, last;
    char *excerpt; /* owned; NULL: not found again */
} train_row;

enum { LIST_HARDEST, LIST_MEMORISED, LIST_LEARNT, N_LISTS };

typedef struct train_list {
    train_row *row; /* [n] the most extreme one first */
    size_t n;
} train_list;

typedef struct train_report {
    const hone_train_report_options *o;
    json_t *run; /* run.json; NULL: it is not there */
    train_step *step;
    size_t n_steps, step_capacity;
    json_t **eval; /* [n_evals] lines */
    size_t n_evals, eval_capacity;
    json_t **sample; /* [n_samples] lines */
    size_t n_samples, sample_capacity;
    train_list list[N_LISTS];
    double *last; /* [n_rows] last losses */
    size_t n_rows, row_capacity;
} train_report;

void train_page(hone_buf *b, const train_report *r, hone_error *err);

#endif
