/* What a run knows of its evaluation rows besides their tokens: which task each belongs to, and the questions that are
 * answered at every evaluation. */
#ifndef HONE_TRAIN_HELD_OUT_H
#define HONE_TRAIN_HELD_OUT_H

#include "hone/chat.h"
#include "hone/train.h"
#include "train/evaluate.h"

typedef struct hone_question {
    int32_t *id; /* [n] the conversation up to the answer, with the generation prompt */
    size_t n;
    char *prompt, *reference, *file; /* reference, file: NULL where there is none */
    uint64_t line;
} hone_question;

typedef struct hone_held_out {
    char **name; /* [n_tasks] "" of rows without one; n_tasks 0: no row names a task */
    size_t n_tasks;
    uint8_t *task; /* [n_rows] of each evaluation sequence, in order */
    size_t n_rows;
    hone_question *question; /* [n_questions] */
    size_t n_questions;
    int32_t longest; /* tokens of the longest question */
} hone_held_out;

#define HONE_MOST_TASKS 64 /* rows of further ones count as having none */

typedef struct hone_held_out_params {
    const hone_config *c;
    const hone_chat *chat;
    const hone_dataset *data; /* of the evaluation rows */
    const uint32_t *which;    /* [n] them, ascending */
    size_t n;
    bool questions;
    int32_t context;                          /* positions that the model knows */
    void (*note)(void *ud, const char *line); /* NULL: not */
    void *ud;
} hone_held_out_params;

/* Reads the files of the rows once more; of standard input, which can not be read again, nothing is known. Errors: those of
 * hone_rows_open and hone_rows_next. */
int hone_held_out_read(hone_held_out *out, const hone_held_out_params *p, hone_error *err);
void hone_held_out_clear(hone_held_out *h);

/* Sums by task while rows are evaluated in order; row is a hone_eval_row_fn. */
typedef struct hone_task_sums {
    const hone_held_out *held_out;
    size_t next;
    double loss[HONE_MOST_TASKS], weight[HONE_MOST_TASKS];
    hone_task_result result[HONE_MOST_TASKS]; /* after hone_task_sums_end; [held_out->n_tasks] */
} hone_task_sums;
void hone_task_sums_begin(hone_task_sums *s, const hone_held_out *h);
void hone_task_sums_row(void *sums, const hone_eval_row *row);
void hone_task_sums_end(hone_task_sums *s);

#endif
