/* The data report's inside: what the two passes over the rows learn (data_report.c, data_read.c) and what the page shows
 * (data_page.c, data_example.c).
 *
 * The first pass is that of preparing: it knows the fate of every row and what was found in it, and keeps a few numbers a
 * row and a bounded number of examples by place. The second one reads the rows again, measures every one (in tokens, by
 * several threads, in order), and keeps the text of the rows that the page shows. */
#ifndef HONE_REPORT_DATA_REPORT_H
#define HONE_REPORT_DATA_REPORT_H

#include <jansson.h>

#include "data/data.h"
#include "format/name_index.h"
#include "hone/report.h"
#include "report/words.h"

#define SHOWN_LIMIT ((size_t)1 << 20) /* bytes of a row whose text can be shown */
#define NO_NAME UINT32_MAX

typedef struct row_note {
    uint32_t copies; /* of a used row; 0 of the others */
    uint32_t length; /* tokens, or characters without a tokenizer; 0: it could not be read or encoded */
    uint32_t trained, turns; /* tokens with a loss; turns of the assistant */
    uint32_t task, label;    /* in their tables, or NO_NAME */
    hone_fate fate;
} row_note;

/* Names and how many rows have them. */
typedef struct counted_name {
    char *text;
    uint64_t before, after;
} counted_name;

typedef struct name_table {
    counted_name *item;
    size_t n, capacity;
    hone_name_index index;
} name_table;

/* Where a problem shows. */
typedef struct example {
    uint64_t row;
    uint32_t message, begin, end;
    char *detail;     /* owned; NULL: none */
    char *other_file; /* owned; of a row that repeats another; NULL: none */
    uint64_t other_line, other_row;
    double similarity;
} example;

enum { PROBLEM_INVALID, PROBLEM_CONTAMINATED, PROBLEM_DUPLICATE, N_BUILT_IN };

typedef struct problem {
    char *name, *title[2]; /* owned; title NULL of the built-in ones */
    int severity;
    uint64_t rows, dropped;
    uint64_t last; /* 1 + the row that was counted last */
    bool whole;    /* found of the rows as a whole: `rows` is 0 */
    example *example;
    size_t n_examples;
} problem;

/* The text of a row that is shown. */
typedef struct shown_row {
    uint64_t row;
    char *file; /* owned; NULL: it was not met again */
    uint64_t line;
    json_t *root; /* NULL: too long, or it can not be read */
} shown_row;

typedef struct sample_row {
    uint64_t row;
    char *file; /* owned */
    uint64_t line;
    hone_row_picture picture;
    char *failure; /* owned; why there is no picture */
} sample_row;

typedef struct source_file {
    char *path;      /* owned */
    bool evaluation; /* else training */
    uint64_t rows, size;
    char hash[65];
} source_file;

typedef struct report {
    const hone_data_report_options *o;
    const hone_prepare_options *prepare;
    row_note *row;
    size_t n, capacity;
    name_table task, label, reason;
    problem *problem;
    size_t n_problems;
    char **score_name; /* [n_scores] owned */
    double *score;     /* [capacity * n_scores] */
    size_t n_scores;
    shown_row *shown, *other; /* by row: of the training files, of the evaluation files */
    size_t n_shown, n_other;
    sample_row *sample;
    size_t n_samples;
    source_file *source;
    size_t n_sources;
    size_t
        common; /* bytes of the folder that all sources lie in, with its slash; places of rows leave it out */
    hone_ledger_counts counts;
    uint64_t flawed, held_out, written;
    uint64_t unencoded; /* rows that the template could not write */
    char *unencoded_why;
    int rc; /* of the callbacks, which can not return one */
    hone_error err;
} report;

/* data_read.c: the second pass over the rows of the first. */
int report_read(report *r, const char *const *paths, size_t n, hone_error *err);

/* data_page.c */
void report_page(hone_buf *b, const report *r, hone_error *err);
/* data_example.c */
void report_problems(hone_buf *b, const report *r);
void report_samples(hone_buf *b, const report *r);
/* "path:line", the path without the folder that all files share. */
void report_place(hone_buf *b, const report *r, const char *file, uint64_t line);

#endif
