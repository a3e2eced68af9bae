/* Training data: rows from files, rows as tokens with a loss mask, and what became of every row.
 *
 * A row is one conversation, or one plain text. Files are JSON (an array of rows, or a row a line), tables (csv, tsv),
 * plain text or parquet, packed or not; docs/data.md lists endings, formats and field names. The format of a row is told
 * by its fields:
 *   messages, conversations    lists of turns
 *   a question and an answer   alpaca, prompt/completion and their variants
 *   text                       plain text for continued pre-training
 * `loss_weight`, `weight`, `train` or `loss` of a turn say how much it is trained (1, true) or that it is not (0,
 * false). `id`, `task`, `label`, `group` and `weight` of a row, or the names that docs/data.md lists, are read as what the
 * row says of itself and reach no template. Other fields (a source) are ignored. What is wrong is refused with file,
 * line and field. */
#ifndef HONE_DATA_H
#define HONE_DATA_H

#include "chat.h"
#include "config.h" /* hone_config and the types of its fields */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rows ------------------------------------------------------------------------------------------------------ */

typedef struct hone_rows hone_rows;

typedef struct hone_rows_options {
    const hone_row_fields
        *fields; /* names that the files use; NULL: the known ones. Borrowed until hone_rows_close */
    const hone_row_roles *roles; /* further names of roles; NULL: the known ones. Borrowed likewise */
    hone_text_rows text_rows;    /* what a row of a .txt file is */
    bool mask_history;           /* only the last turn of the assistant is trained */
    bool keep_going; /* a row that is no good is handed out as `refused` instead of ending the reading */
} hone_rows_options;

/* One row. Everything is borrowed from the reader and valid until the next call. */
typedef struct hone_row {
    const char *file; /* valid until hone_rows_close */
    uint32_t file_index;
    uint64_t line;  /* 1-based, where the row begins; of a parquet file the number of the row */
    uint64_t index; /* 0-based over all files */
    const char *
        conversation; /* as hone_chat_encode takes it: {"messages": [...], "tools": ..., ...}; of a plain text
                                 {"text": ...} */
    size_t len;
    bool plain_text;
    size_t n_messages;      /* 0 of a plain text */
    const uint8_t *trained; /* [n_messages] 1 = an assistant turn that is trained */
    const float *weight;    /* [n_messages] of the loss, row_weight multiplied in; 0 where not trained */
    float row_weight; /* of the row as a whole, > 0; 1 where the row has none. Whoever writes the row again
                             * writes weight[], or this of a plain text, never both */
    bool fractional;  /* some weight is neither 0 nor 1; of a plain text, row_weight is not 1 */
    const char *id, *task, *label, *group; /* what the row says of itself; numbers as text; NULL: nothing */
    const char
        *refused; /* keep_going: why this row is no good, with its place; then there is no conversation */
} hone_row;

/* Opens files. Each path is a file, a folder (its files of known endings, by name), a glob, or "-": standard input as
 * JSON ("-.csv", "-.txt.gz": as such a file). What lies in a folder or matches a glob is read in the order of its bytes.
 * One row at a time is held in memory; of a parquet file a page of every column. `options` NULL: all 0.
 * Errors: HONE_ENOENT (no such file, nothing matches), HONE_EUNSUPPORTED (an ending without a reader), HONE_EINVAL. */
HONE_API int hone_rows_open(hone_rows **out, const char *const *paths, size_t n,
                            const hone_rows_options *options, hone_error *err);
/* 1 and a row, 0 at the end, or an error that names file, line and field: HONE_EFORMAT, HONE_EUNSUPPORTED (images),
 * HONE_ELIMIT (a row above 64 MiB), HONE_EIO. A file without rows is an error. */
HONE_API int hone_rows_next(hone_rows *r, hone_row *row, hone_error *err);
HONE_API size_t hone_rows_files(const hone_rows *r);
HONE_API const char *hone_rows_file(const hone_rows *r, size_t i); /* path, borrowed */
HONE_API void hone_rows_close(hone_rows *r);                       /* NULL is fine */

/* ---- the ledger: what became of every row ---------------------------------------------------------------------- */

typedef enum hone_fate {
    HONE_FATE_USED,
    HONE_FATE_CUT,         /* used, `tokens` of it cut off */
    HONE_FATE_SPLIT,       /* used as `parts` rows */
    HONE_FATE_DROPPED,     /* `reason` */
    HONE_FATE_DUPLICATE,   /* of the row `other`, which is kept */
    HONE_FATE_CONTAMINATED /* by the row `other` of an evaluation file */
} hone_fate;

typedef struct hone_ledger_entry {
    const char *file;
    uint64_t line, row; /* row: 0-based over all files */
    hone_fate fate;
    const char
        *reason; /* of DROPPED: "overlong", "untrained", "invalid", "score", "balanced", "max_per_task",
                           "mix", or the name of a rule */
    const char *detail; /* NULL, or a sentence for a person */
    uint64_t tokens, parts;
    const char *other_file;
    uint64_t other_line, other_row;
    double
        similarity; /* of DUPLICATE: Jaccard with the row that is kept; of CONTAMINATED: the share of n-grams */
} hone_ledger_entry;

typedef struct hone_ledger_counts {
    uint64_t rows, used, cut, split, dropped, duplicate, contaminated; /* rows is the sum of the others */
} hone_ledger_counts;

/* What a rule found. Strings are borrowed during the call that hands it out. */
typedef struct hone_finding {
    const char *rule;     /* name */
    const char *title[2]; /* for a person: English, Chinese */
    int severity;         /* 1 note, 2 warning, 3 error */
    uint64_t row;         /* 0-based over all files; UINT64_MAX: the rows as a whole */
    uint32_t message;     /* which turn; UINT32_MAX: the row as a whole */
    uint32_t begin, end;  /* bytes of its text that show it; equal: no place */
    const char *detail;   /* a sentence; may be empty */
} hone_finding;

/* A row and all that is known of it when its fate is. Borrowed during the call that hands it out. */
typedef struct hone_row_result {
    hone_ledger_entry entry;
    const char *conversation; /* as hone_row has it; NULL: the row is invalid */
    size_t len;
    const uint8_t *trained; /* [n_messages] */
    size_t n_messages;
    const char *id, *task, *label, *group; /* NULL: none */
    float weight;                          /* of the row, as it is written */
    const hone_finding *finding;
    size_t n_findings;
    const char *const *score_name;
    const double *score; /* [n_scores] NAN: none */
    size_t n_scores;
    uint32_t copies; /* of a used row: how often it is written */
    uint32_t stage;  /* of a staged mix, from 1; 0: not staged */
    bool validation; /* held out */
} hone_row_result;

/* A ledger is JSON lines: one line a row, in the order of the rows, and {"totals": {...}} as the last line, without which
 * it is not complete. The file appears at the commit, whole, or not at all. */
typedef struct hone_ledger hone_ledger;

/* `path` NULL: counts and checks only. */
HONE_API int hone_ledger_open(hone_ledger **out, const char *path, hone_error *err);
/* The fate of the next row. HONE_EINTERNAL when e->row is not the row after the last one: a row without a fate, or with
 * two, is a bug that must not pass. */
HONE_API int hone_ledger_add(hone_ledger *l, const hone_ledger_entry *e, hone_error *err);
/* The same, with what else is known of the row. */
HONE_API int hone_ledger_add_row(hone_ledger *l, const hone_row_result *r, hone_error *err);
HONE_API hone_ledger_counts hone_ledger_get_counts(const hone_ledger *l);
/* Ends the ledger after `rows` rows, writes the file. HONE_EINTERNAL unless the counts add up to exactly that; the
 * ledger is closed in any case. */
HONE_API int hone_ledger_commit(hone_ledger *l, uint64_t rows, hone_error *err);
HONE_API void hone_ledger_abort(hone_ledger *l); /* closes without a file; NULL is fine */

/* ---- quality, scores, choosing: parts of preparing ---------------------------------------------------------------- */

/* Checks of rows by named rules (docs/quality.md). */
typedef struct hone_quality_options {
    bool enabled;
    const char *const *rules; /* YAML files that add rules or change those that come with hone */
    size_t n_rules;
    const char *const *set; /* "rule.parameter=value", after the files */
    size_t n_set;
    const char *const *only, *const *skip; /* names of rules; n_only 0: all */
    size_t n_only, n_skip;
    const char *label_pattern; /* regular expression whose first group is the label; NULL: none */
    const char *label_words;   /* file of labels, a line each with its synonyms; NULL: none */
} hone_quality_options;

/* The rules that come with hone, as the YAML text that a person copies and changes. */
HONE_API const char *hone_quality_rules(void);

/* Figures of rows by a model, computed in batches (hone/train.h makes one). Higher layers fill it in. */
typedef struct hone_scorer {
    const char *const *name; /* [n] "perplexity", "perplexity_alone", "ifd" */
    size_t n;
    /* Scores `rows` conversations: out[rows * n], NAN where there is none. Called from one thread. */
    int (*score)(void *ud, const char *const *conversation, const size_t *len, size_t rows, double *out,
                 hone_error *err);
    void *ud;
} hone_scorer;

typedef struct hone_choose_options {
    hone_balance balance;
    hone_balance_method method;
    double temperature;   /* of TEMPERATURE, >= 1 */
    int64_t max_per_task; /* 0 = no limit */
    const double
        *weight; /* [n_weight] share of every input path in the mix, in their order; NULL: as they come */
    size_t n_weight;
    hone_order order;
    const char *curriculum; /* of CURRICULUM and the hard stage: "length", "turns", or the name of a score */
    double stage[3];        /* of STAGED: shares of mixed, grouped, hard; their sum is 1 */
    hone_split_by split_by;
    double val_size; /* rows (from 1) or share (below 1) held out; 0 = none */
    uint64_t seed;
} hone_choose_options;

/* ---- preparing: which rows are worth training on ---------------------------------------------------------------- */

/* How far a long work has come. A stage has its own measure; the stages of a work follow one another. */
typedef struct hone_progress {
    const char *stage;    /* "read", "compare", "score", "write" */
    uint64_t rows;        /* of this stage so far */
    uint64_t done, total; /* of what the stage is measured by (bytes of the files, rows); total 0: unknown */
} hone_progress;

typedef struct hone_prepare_options {
    hone_rows_options
        rows; /* keep_going: rows that are no good are dropped, as "invalid", instead of an error */
    int64_t max_samples;        /* only the first n rows; 0 = all */
    bool exact, near;           /* of equal (nearly equal) rows one is kept */
    double threshold;           /* of near: Jaccard, (0, 1] */
    int32_t ngram;              /* of near: characters, 1..64 */
    const char *const *against; /* evaluation files that no row may repeat */
    size_t n_against;
    double share;                 /* of an evaluation row's n-grams, (0, 1] */
    int32_t contamination_ngram;  /* characters, 1..64 */
    hone_quality_options quality; /* rules; not enabled: none */
    const hone_scorer *scorer;    /* figures of the rows that are left; NULL: none */
    const char *const *filter; /* [n_filter] "ifd<1", "perplexity>=2": what a row's score must be to stay */
    size_t n_filter;
    const char
        *weight; /* name of a score: rows are weighted by it (docs/data.md); "1/NAME": by its inverse */
    const hone_choose_options *choose; /* NULL: all rows that are left, in their order */
    int32_t threads;                   /* 0 = one per core; the result is the same for every number */
    const char *output;                /* file of the rows that are left, as JSON lines; NULL: none */
    const char *validation;            /* file of those held out; NULL: none, needed with choose->val_size */
    const char *ledger;                /* file; NULL: none */
    const char *summary;               /* file of totals by fate, rule, task and label; NULL: none */
    void (*row)(void *ud, const hone_row_result *r); /* called for every row, in order; NULL: not */
    void (*finding)(void *ud,
                    const hone_finding *f); /* for what is found of the rows as a whole; NULL: not */
    void (*progress)(void *ud, const hone_progress *p); /* now and then; NULL: not */
    void *ud;
} hone_prepare_options;

/* Options as a configuration has them, without files, callbacks and scorer; `out` points into `choose` and `c`. */
HONE_API void hone_prepare_options_read(hone_prepare_options *out, hone_choose_options *choose,
                                        const hone_config *c);

/* Reads all rows, drops those that are no good, break a rule that drops, repeat an evaluation row, or repeat another
 * row; scores, filters and chooses among the rest; and writes them with a ledger of all. docs/data.md says what is
 * compared and which of several rows is kept. The files appear whole or not at all, the ledger last; the folder of
 * `output` is made when it is not there. The rows are held in
 * memory. Errors as hone_rows_next; HONE_EFORMAT when no row is left for `output`; HONE_EINVAL for options that do not
 * go together. */
HONE_API int hone_data_prepare(const char *const *paths, size_t n, const hone_prepare_options *options,
                               hone_ledger_counts *counts, hone_error *err);

/* ---- rows as tokens -------------------------------------------------------------------------------------------- */

typedef struct hone_dataset hone_dataset;

typedef struct hone_dataset_options {
    int32_t max_length;     /* longest row in tokens, > 0 */
    hone_overlong overlong; /* what happens to longer ones */
    int64_t max_samples;    /* read only the first n rows; 0 = all */
    int32_t threads;        /* that tokenise; 0 = one per core. The result is the same for every number */
    hone_rows_options rows;
    bool train_on_prompt; /* everything is trained but the turns that a row switches off */
    const char *
        cache_dir; /* token shards are kept in a folder of it and found again (docs/shards.md); NULL: in memory */
    bool streaming;                           /* do not wait for all rows: hone_dataset_wait */
    void (*note)(void *ud, const char *line); /* a cache that could not be used; NULL: not wanted */
    void (*progress)(void *ud,
                     uint64_t rows); /* now and then; with streaming from another thread; NULL: not */
    void *ud;
} hone_dataset_options;

/* What became of the rows. rows_read = rows_used + rows_dropped, where a split row counts once. Nothing is lost
 * outside these counts. */
typedef struct hone_dataset_report {
    uint64_t rows_read, rows_used, rows_dropped;
    uint64_t dropped_overlong;  /* overlong: drop; or split, and one turn alone is too long */
    uint64_t dropped_untrained; /* overlong: truncate left nothing to train */
    uint64_t rows_truncated, rows_split;
    uint64_t tokens_cut,
        trained_cut;          /* tokens of truncated rows that were cut, and those of them with a loss */
    uint64_t sequences;       /* what the dataset holds: rows_used, plus the further parts of split rows */
    uint64_t tokens, trained; /* in these */
    uint64_t turns;           /* trained assistant turns in these */
    uint64_t straddled;       /* tokens that cross the border of a trained span */
    uint64_t shortest, median, longest; /* tokens of a sequence */
    uint64_t bytes;                     /* memory that holds the dataset */
    uint64_t mapped_bytes;              /* of files that hold it instead, mapped into memory */
} hone_dataset_report;

/* Reads, renders and tokenises all rows of the files. `chat` is used during the call only. Before a row is taken, these
 * hold or the call fails with file and line (HONE_EFORMAT): some token is trained; the end-of-turn token of every
 * trained turn is trained. A plain text is encoded with
 * the tokenizer's own special tokens and its end-of-sequence token, all trained; `split` cuts it into pieces of
 * max_length. overlong `error`: HONE_ELIMIT, naming the first such row and how many there are.
 *
 * With `cache_dir` the tokens come from a cache of the same content, if there is one, or make one; a damaged one is made
 * anew, and `note` says which file was damaged. HONE_EINVAL for standard input then. */
HONE_API int hone_dataset_open(hone_dataset **out, const char *const *paths, size_t n, const hone_chat *chat,
                               const hone_dataset_options *options, hone_error *err);
HONE_API void hone_dataset_close(hone_dataset *d); /* ends what still runs; NULL is fine */

/* A dataset is a list of shards, each some 64 MiB of consecutive sequences, cut at the same places on every machine. With
 * `streaming`, hone_dataset_open returns at once, another thread makes the shards, and the calls below but these two know
 * the shards waited for alone: sizes and the report are those of the whole dataset after hone_dataset_finish. `chat` and
 * what `options` points to are used until then; overlong `error` ends the making at the first such row. */

/* Waits for shard k: 1 and its sequences [*first, *first + *n), 0 when the data end before it, or the error that ended the
 * making (which does not take back the shards before it). */
HONE_API int hone_dataset_wait(hone_dataset *d, size_t k, size_t *first, size_t *n, hone_error *err);
/* Memory that the making of shards holds beside those that are ready, at rows of usual size. */
HONE_API uint64_t hone_dataset_making_bytes(void);
/* Waits for all shards. The error that ended the making, or 0; at once without `streaming`. */
HONE_API int hone_dataset_finish(hone_dataset *d, hone_error *err);

/* The options of hone train for the training rows; those of the evaluation rows have max_samples 0 and no streaming.
 * *out borrows from `c` and from *cache_dir, which the caller frees with hone_free (NULL without data.cache). */
HONE_API int hone_dataset_options_from(hone_dataset_options *out, char **cache_dir, const hone_config *c,
                                       hone_error *err);
/* Makes the token cache that hone_dataset_open with the same options will find (options->cache_dir is not NULL), or finds
 * it. *packs, unless NULL: how many packs of max_length tokens the sequences make. */
HONE_API int hone_dataset_build_cache(const char *const *paths, size_t n, const hone_chat *chat,
                                      const hone_dataset_options *options, hone_dataset_report *report,
                                      uint64_t *packs, hone_error *err);

/* Moves what `other` holds behind the sequences of d; both are whole, and `other` is empty then, to be closed. Rows and files
 * of d keep their numbers, those of `other` go on from them. The report of d stays that of its own rows but for the bytes.
 * HONE_ENOMEM, or HONE_ELIMIT: more sequences than a uint32_t counts. After an error d is only to be closed. */
HONE_API int hone_dataset_join(hone_dataset *d, hone_dataset *other, hone_error *err);

HONE_API const hone_dataset_report *hone_dataset_get_report(const hone_dataset *d);
/* Writes the fate of every row that was read. */
HONE_API int hone_dataset_write_ledger(const hone_dataset *d, const char *path, hone_error *err);
HONE_API size_t hone_dataset_size(const hone_dataset *d); /* sequences */

/* A stretch of targets with the same weight: from token `at` to the next run, or to the end. */
typedef struct hone_weight_run {
    uint32_t at;
    float weight; /* > 0 */
} hone_weight_run;

/* One sequence; all borrowed. */
typedef struct hone_sequence {
    const int32_t *id;    /* [n] */
    const uint64_t *mask; /* bit i % 64 of mask[i / 64]: token i is a target */
    size_t n;
    size_t n_targets;           /* bits set, the first token's (which nothing predicts) left out */
    const hone_weight_run *run; /* [n_runs], ascending; targets before the first run have weight 1 */
    size_t n_runs;              /* 0: every target has weight 1 */
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
 *   weight [N]    out; of the position's target, 0 where there is none; NULL: not wanted
 *   start  [n+1]  out; offsets of the sequences, start[n] = N
 * Returns the number of targets. */
HONE_API size_t hone_dataset_pack(const hone_dataset *d, const uint32_t *which, size_t n, int32_t *id,
                                  int32_t *target, float *weight, int32_t *start);
/* Sum of the weights of all targets of the sequences which[0..n), in f64: their number when all weigh 1. */
HONE_API double hone_dataset_weight(const hone_dataset *d, const uint32_t *which, size_t n);

/* Packs the sequences which[0..n), none longer than capacity, best-fit decreasing (TRL's `bfd`): which[0..n) is reordered
 * so that pack p is which[(*start)[p] .. (*start)[p + 1]), ascending where `which` ascended; packs stand in the order of
 * their first sequences. *start has *n_packs + 1 entries and is freed with hone_free. */
HONE_API int hone_dataset_bin(const hone_dataset *d, uint32_t *which, size_t n, size_t capacity,
                              uint32_t **start, size_t *n_packs, hone_error *err);

/* Divides the sequences into training and validation: val_size rows (from 1) or share (below 1, rounded up), chosen
 * by `seed` alone, the same on every machine; the parts of a split row stay together. Both lists ascend. Allocated,
 * freed with hone_free; val_size 0 gives an empty *val. HONE_EINVAL when nothing would be left to train on. */
HONE_API int hone_dataset_split(const hone_dataset *d, double val_size, uint64_t seed, uint32_t **train,
                                size_t *n_train, uint32_t **val, size_t *n_val, hone_error *err);
/* The order of an epoch: permutes which[0..n) in place by (seed, epoch) alone. */
HONE_API void hone_dataset_shuffle(uint32_t *which, size_t n, uint64_t seed, uint64_t epoch);
/* The draw of an epoch: out[0..n) from the m items first .. first + m - 1. The draws of all epochs, laid end to end, are one
 * permutation of the items after another, each by the seed and its number alone: no item is drawn again before every other
 * one was. m > 0; HONE_ENOMEM. */
HONE_API int hone_dataset_draw(uint32_t *out, size_t n, uint32_t first, size_t m, uint64_t seed,
                               uint64_t epoch, hone_error *err);
/* Hash of all ids, masks and weights in order: two runs that agree here train on the same data. */
HONE_API uint64_t hone_dataset_hash(const hone_dataset *d);

#ifdef __cplusplus
}
#endif
#endif
