/* Instruction data: rows from files, and rows as tokens with a loss mask.
 *
 * A row is one conversation. Files are JSON arrays of rows or JSON lines; every row may be in one of three formats,
 * told apart by its fields:
 *   alpaca    instruction, input, output, system, history [[question, answer], ...]; the question is `instruction`,
 *             and `input` on a new line when there is one
 *   sharegpt  conversations [{from, value}, ...] with from = human, user, gpt, assistant, system, function_call,
 *             observation, tool; system, tools beside it
 *   messages  messages [{role, content, tool_calls, reasoning_content, ...}, ...]; tools, chat_template_kwargs beside it
 * `loss_weight`, `weight`, `train` or `loss` of a turn say whether it is trained (1, true) or not (0, false).
 * Other fields of a row (an id, a source) are ignored. What is wrong is refused with file, line and field. */
#ifndef HONE_DATA_H
#define HONE_DATA_H

#include "chat.h"
#include "config.h" /* hone_overlong */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rows ------------------------------------------------------------------------------------------------------ */

typedef struct hone_rows hone_rows;

/* One row. Everything is borrowed from the reader and valid until the next call. */
typedef struct hone_row {
    const char *file; /* valid until hone_rows_close */
    uint32_t file_index;
    uint64_t line; /* 1-based, where the row begins */
    uint64_t index; /* 0-based over all files */
    const char *conversation; /* as hone_chat_encode takes it: {"messages": [...], "tools": ..., ...} */
    size_t len;
    size_t n_messages;
    const uint8_t *trained; /* [n_messages] 1 = an assistant turn that is trained */
} hone_row;

/* Opens files. Each path is a file, a folder (its files of known endings, by name), or a glob; what lies in a folder
 * or matches a glob is read in the order of its bytes. One row at a time is held in memory.
 * Errors: HONE_ENOENT (no such file, nothing matches), HONE_EUNSUPPORTED (an ending without a reader), HONE_EINVAL. */
HONE_API int hone_rows_open(hone_rows **out, const char *const *paths, size_t n, hone_error *err);
/* 1 and a row, 0 at the end, or an error that names file, line and field: HONE_EFORMAT, HONE_EUNSUPPORTED (a weight
 * between 0 and 1, images), HONE_ELIMIT (a row above 64 MiB), HONE_EIO. A file without rows is an error. */
HONE_API int hone_rows_next(hone_rows *r, hone_row *row, hone_error *err);
HONE_API size_t hone_rows_files(const hone_rows *r);
HONE_API const char *hone_rows_file(const hone_rows *r, size_t i); /* path, borrowed */
HONE_API void hone_rows_close(hone_rows *r); /* NULL is fine */

/* ---- rows as tokens -------------------------------------------------------------------------------------------- */

typedef struct hone_dataset hone_dataset;

typedef struct hone_dataset_options {
    int32_t max_length; /* longest row in tokens, > 0 */
    hone_overlong overlong; /* what happens to longer ones */
    int64_t max_samples; /* read only the first n rows; 0 = all */
    int32_t threads; /* that tokenise; 0 = one per core. The result is the same for every number */
} hone_dataset_options;

/* What became of the rows. rows_read = rows_used + rows_dropped, where a split row counts once. Nothing is lost
 * outside these counts. */
typedef struct hone_dataset_report {
    uint64_t rows_read, rows_used, rows_dropped;
    uint64_t dropped_overlong; /* overlong: drop; or split, and one turn alone is too long */
    uint64_t dropped_untrained; /* overlong: truncate left nothing to train */
    uint64_t rows_truncated, rows_split;
    uint64_t tokens_cut,
        trained_cut; /* tokens of truncated rows that were cut, and those of them with a loss */
    uint64_t sequences; /* what the dataset holds: rows_used, plus the further parts of split rows */
    uint64_t tokens, trained; /* in these */
    uint64_t turns; /* trained assistant turns in these */
    uint64_t straddled; /* tokens that cross the border of a trained span */
    uint64_t shortest, median, longest; /* tokens of a sequence */
    uint64_t bytes; /* memory that holds the dataset */
} hone_dataset_report;

/* Reads, renders and tokenises all rows of the files. `chat` is used during the call only. Before a row is taken, these
 * hold or the call fails with file and line (HONE_EFORMAT): some token is trained; the end-of-turn token of every
 * trained turn is trained. overlong `error`: HONE_ELIMIT, naming the first such row and how many there are. */
HONE_API int hone_dataset_open(hone_dataset **out, const char *const *paths, size_t n, const hone_chat *chat,
                               const hone_dataset_options *options, hone_error *err);
HONE_API void hone_dataset_close(hone_dataset *d); /* NULL is fine */
HONE_API const hone_dataset_report *hone_dataset_get_report(const hone_dataset *d);
HONE_API size_t hone_dataset_size(const hone_dataset *d); /* sequences */

/* One sequence; all borrowed. */
typedef struct hone_sequence {
    const int32_t *id; /* [n] */
    const uint64_t *mask; /* bit i % 64 of mask[i / 64]: token i is a target */
    size_t n;
    size_t n_targets; /* bits set, the first token's (which nothing predicts) left out */
    const char *file;
    uint64_t line, row; /* where it came from; row is 0-based over all files */
} hone_sequence;

HONE_API hone_sequence hone_dataset_get(const hone_dataset *d, size_t i);

/* A position that has no target in what hone_dataset_pack writes. */
#define HONE_NO_TARGET (-100)

/* Tokens of the sequences which[0..n) together. */
HONE_API size_t hone_dataset_tokens(const hone_dataset *d, const uint32_t *which, size_t n);
/* Lays the sequences which[0..n) side by side: N = hone_dataset_tokens(d, which, n).
 *   id     [N]    out
 *   target [N]    out; the next token of the same sequence where that one is trained, else HONE_NO_TARGET
 *   start  [n+1]  out; offsets of the sequences, start[n] = N
 * Returns the number of targets. */
HONE_API size_t hone_dataset_pack(const hone_dataset *d, const uint32_t *which, size_t n, int32_t *id,
                                  int32_t *target, int32_t *start);

/* Divides the sequences into training and validation: val_size rows (from 1) or share (below 1, rounded up), chosen
 * by `seed` alone, the same on every machine; the parts of a split row stay together. Both lists ascend. Allocated,
 * freed with hone_free; val_size 0 gives an empty *val. HONE_EINVAL when nothing would be left to train on. */
HONE_API int hone_dataset_split(const hone_dataset *d, double val_size, uint64_t seed, uint32_t **train,
                                size_t *n_train, uint32_t **val, size_t *n_val, hone_error *err);
/* The order of an epoch: permutes which[0..n) in place by (seed, epoch) alone. */
HONE_API void hone_dataset_shuffle(uint32_t *which, size_t n, uint64_t seed, uint64_t epoch);
/* Hash of all ids and masks in order: two runs that agree here train on the same data. */
HONE_API uint64_t hone_dataset_hash(const hone_dataset *d);

#ifdef __cplusplus
}
#endif
#endif
