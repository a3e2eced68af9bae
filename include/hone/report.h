/* What a person sees: one row as it is trained, and a page about the data of a run.
 *
 * A report is one HTML page that holds everything it needs: no script, no font, no picture from elsewhere. What rows say is
 * not trusted: it is escaped, its control characters are spelled out, and its length is bounded. The page depends on the
 * data and the options alone, not on the time, the machine or the number of threads. */
#ifndef HONE_REPORT_H
#define HONE_REPORT_H

#include "chat.h"
#include "data.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hone_language { HONE_ENGLISH, HONE_CHINESE } hone_language;

/* ---- one row as it is trained ------------------------------------------------------------------------------------ */

/* Zero-initialise; hone_row_picture_clear frees. */
typedef struct hone_row_picture {
    char *
        text; /* NUL-terminated: the conversation as the template writes it; of a plain text the text itself */
    size_t len;      /* bytes */
    uint8_t *quoted; /* [len] 1 = the byte came from the row, not from the template */
    int32_t *id;     /* [n] tokens */
    uint32_t *begin,
        *end;      /* [n] their bytes in text; empty of a token that stands for none (a BOS or EOS added) */
    float *weight; /* [n] of the loss of predicting this token; 0: not trained */
    size_t n, n_trained; /* n_trained: as training counts, without the first token, which nothing predicts */
} hone_row_picture;

/* The whole row, whatever its length. Errors: those of hone_chat_encode; HONE_EFORMAT when no token is trained. */
HONE_API int hone_row_picture_make(hone_row_picture *out, const hone_chat *chat, const hone_row *row,
                                   bool train_on_prompt, hone_error *err);
HONE_API void hone_row_picture_clear(hone_row_picture *p);

/* ---- the data report --------------------------------------------------------------------------------------------- */

typedef struct hone_data_report_options {
    hone_language language;
    const char *title;    /* what the page is about, such as the name of the configuration; NULL: nothing */
    const char *time;     /* when it was made, as it is shown; NULL: no line about it */
    const char *base;     /* folder that paths are shown relative to; NULL: as they are */
    const char *settings; /* text of the options used, shown as it is; NULL: none */
    const hone_chat
        *chat;           /* lengths are tokens and samples show what is trained; NULL: characters, no mask */
    const char *no_chat; /* without `chat`: why, one sentence */
    int32_t max_length;  /* of the run, marked in the plot of lengths; 0: none */
    bool train_on_prompt;
    uint32_t examples; /* of every kind of problem */
    uint32_t samples;  /* used rows that are shown as they are trained */
} hone_data_report_options;

/* Runs the pass of hone_data_prepare (`prepare`, whose row and finding callbacks are not called; its progress is, with one
 * stage more: "report") and writes the page into *html (NUL-terminated, freed with hone_free). Rows are read twice, so a
 * path may not be standard input (HONE_EINVAL). A row that is no good never ends the report: it is shown in it. Errors as
 * hone_data_prepare. */
HONE_API int hone_data_report(char **html, size_t *len, const char *const *paths, size_t n,
                              const hone_prepare_options *prepare, const hone_data_report_options *options,
                              hone_ledger_counts *counts, hone_error *err);

/* ---- the training report ------------------------------------------------------------------------------------------ */

typedef struct hone_train_report_options {
    hone_language language;
    const char *title, *time; /* NULL: nothing */
    const hone_config
        *config;          /* of the run: how its rows are read again, for excerpts; NULL: none are shown */
    const char *settings; /* its text, shown as it is; NULL: none */
    uint32_t rows;        /* of each list of rows that stand out */
} hone_train_report_options;

/* The page about the run whose files lie in output_dir: metrics.jsonl, which must be there, run.json, samples.jsonl and
 * rows.jsonl. *html as of hone_data_report. HONE_ENOENT; HONE_EFORMAT names file and line; HONE_ELIMIT for files past
 * 1 GiB. Training files that are gone leave rows without excerpts. */
HONE_API int hone_train_report(char **html, size_t *len, const char *output_dir,
                               const hone_train_report_options *options, hone_error *err);

#ifdef __cplusplus
}
#endif
#endif
