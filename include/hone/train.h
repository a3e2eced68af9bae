/* Training and evaluation of a whole run.
 *
 * hone_train_run takes a checked configuration and does everything between reading the data and writing the adapter;
 * what a person should see reaches the program through callbacks. The library prints nothing. */
#ifndef HONE_TRAIN_H
#define HONE_TRAIN_H

#include "data.h"
#include "generate.h"
#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* After every optimiser step: one line of metrics.jsonl. */
typedef struct hone_step {
    int64_t step, total_steps; /* 1-based */
    double epoch;
    double loss;   /* sum of weight * loss of the step's trained tokens / sum of weights, nats */
    double weight; /* that sum; trained_tokens when every weight is 1 */
    /* The same of the new rows and of those from data.replay_data_path; NaN: the step had none, or nothing is replayed. */
    double new_loss, replay_loss;
    double learning_rate;           /* used in this step */
    double grad_norm;               /* before clipping */
    int64_t tokens, trained_tokens; /* of this step */
    double tokens_per_second;       /* positions computed, this step */
    bool skipped;   /* the guard kept the update from being applied: weights and optimiser are as before */
    double seconds; /* since the first step began */
    double remaining_seconds; /* estimate */
    uint64_t rss_bytes;
    double peak_share; /* multiply-adds that the step had to do, over what the machine can do in its time */
} hone_step;

/* Before the first step. The peak is that of the multiply-add units, measured for a twentieth of a second; steps are taken
 * to reach `assumed_share` of it, until they are measured. */
typedef struct hone_train_begin {
    int64_t steps, done;       /* of the whole run; before this process */
    double peak_gflops, gflop; /* gflop: of the steps to come */
    double assumed_share, seconds;
} hone_train_begin;

/* One evaluation. Every trained token counts with its weight (1 unless the data say otherwise), in loss and accuracy. */
typedef struct hone_eval_result {
    double loss, perplexity, accuracy;
    int64_t tokens; /* trained tokens */
    int64_t rows;
} hone_eval_result;

/* The same of the rows of one task (the row's `task`); "" of the rows that name none. */
typedef struct hone_task_result {
    const char *task;
    double loss; /* weighted as in hone_eval_result */
    int64_t tokens, rows;
} hone_task_result;

/* The answer to one of the sample questions. All borrowed during the call. */
typedef struct hone_sample {
    int64_t step;
    size_t index, count;
    const char *file; /* where the question comes from; NULL: training.sample_prompts */
    uint64_t line;
    const char *prompt, *reference; /* reference NULL: none is known */
    const char *answer;
    size_t tokens;
    hone_finish finish;
} hone_sample;

typedef struct hone_train_result {
    int64_t steps;
    double train_loss; /* over all steps of this run, weighted as in a step */
    int64_t tokens, trained_tokens;
    double setup_seconds; /* from the call to the first forward pass */
    double seconds;       /* of all steps and evaluations */
    bool has_eval;
    hone_eval_result eval;              /* of the adapter that was kept as output_dir's */
    int64_t best_step;                  /* step of that adapter */
    uint64_t planned_bytes, peak_bytes; /* plan total; VmHWM */
    bool stopped;                       /* the caller asked to stop; the adapter was saved */
    bool stopped_early;                 /* training.early_stopping_patience was used up */
    int64_t skipped;                    /* updates that the guard did not apply */
} hone_train_result;

/* Any callback may be NULL. Called on the thread that called hone_train_run. */
typedef struct hone_train_callbacks {
    void *ud;
    void (*note)(void *ud, const char *line); /* something the user should read once */
    void (*data)(void *ud, const char *which,
                 const hone_dataset_report *r);           /* which: "train", "eval" or "replay" */
    void (*plan)(void *ud, const hone_plan *plan);        /* before anything of it is allocated */
    void (*step)(void *ud, const hone_step *s, bool log); /* log: a logging_steps boundary */
    void (*eval)(void *ud, int64_t step, const hone_eval_result *r, bool best);
    bool (*stop)(void *ud); /* true: save and end after the running micro-batch */
    void (*begin)(void *ud, const hone_train_begin *b);
    /* Before `eval` of the same step; only of rows that name tasks. */
    void (*tasks)(void *ud, int64_t step, const hone_task_result *task, size_t n);
    void (*sample)(void *ud, const hone_sample *s);
    /* Now and then while rows are rendered and tokenised; not with data.streaming. */
    void (*rows)(void *ud, uint64_t rows);
    const hone_generator
        *generator; /* answers the sample questions (hone_generator_get); NULL: none are asked */
} hone_train_callbacks;

/* Runs the configuration, stage by stage where it has stages: then each has a folder stage-N-NAME of its own with all that
 * follows, output_dir the last one's result, and *out is about the last one that ran.
 *
 * Output in training.output_dir: adapter_model.safetensors, adapter_config.json (the best one
 * when load_best_model_at_end and there are evaluation rows, else the last), or with finetuning_type full and freeze a
 * Hugging Face directory; checkpoint-N (the same after step N, at save points and at the end, with training_state.bin);
 * metrics.jsonl (every step), config.yaml, and what training.report_to asks for. With training.resume_from_checkpoint the
 * run goes on after a checkpoint's step, with the bits of a run that never stopped; HONE_ENOENT: `true` and no whole
 * checkpoint is there, HONE_EFORMAT: it is damaged, HONE_EINVAL: it belongs to another run. Else the errors are those of
 * the parts; nothing half-written is left. */
HONE_API int hone_train_run(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                            hone_train_result *out, hone_error *err);

/* output_dir/stage-N-NAME of stage i. Freed with hone_free; NULL: no memory. */
HONE_API char *hone_train_stage_dir(const hone_config *c, size_t i);

/* All but the training: opens and checks everything that a run needs, makes the first micro-batch, and looks whether
 * output_dir can be written and holds the checkpoints. Writes nothing, when `c` asks for no token cache. Errors: those that
 * the run would end with, and HONE_EIO for the folder and the disk. */
typedef struct hone_dry_run {
    hone_plan plan;
    hone_train_begin begin;
    int64_t batch_rows, batch_tokens, batch_trained; /* of the first micro-batch */
    int64_t eval_rows, questions;
    uint64_t result_bytes, checkpoint_bytes; /* on the disk, of one */
    int64_t checkpoints;                     /* most at once */
    uint64_t disk_bytes, disk_free;          /* free: when off-loaded memory has its files there */
} hone_dry_run;
HONE_API int hone_train_dry_run(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                                hone_dry_run *out, hone_error *err);

#define HONE_PLAN_BATCHES 8

/* The total with another training.per_device_train_batch_size, at recomputation levels 0, 1, 2. */
typedef struct hone_plan_batch {
    int64_t rows, tokens; /* tokens: positions of the largest micro-batch */
    uint64_t bytes[3];
    bool fits[3];
} hone_plan_batch;

/* The memory plan of a configuration and the size of its steps, without training: what `hone plan` prints. Opens model,
 * tokenizer and data. memory: bytes that the process may have in all; 0 = what it holds and what is available. A plan that
 * does not fit is no error: `problem` then is what a run would fail with. Of a run
 * of stages: of the stage that needs the most memory. */
typedef struct hone_plan_report {
    hone_plan plan[3]; /* recomputation levels 0, 1, 2; plan[chosen] is what a run would take */
    int chosen;
    hone_plan_batch batch[HONE_PLAN_BATCHES]; /* ascending */
    int n_batches;
    char problem[1000];                   /* "": it fits */
    int64_t rows, steps, steps_per_epoch; /* rows, steps and tokens of the first epoch where epochs differ */
    int64_t replayed_rows;                /* of the rows: drawn from data.replay_data_path */
    int64_t tokens_per_epoch, trained_tokens_per_epoch;
} hone_plan_report;
HONE_API int hone_train_plan(const hone_config *c, hone_device *dev, const hone_train_callbacks *cb,
                             uint64_t memory, hone_plan_report *out, hone_error *err);

/* Evaluates a model with and without an adapter on rows masked as in training. */
typedef struct hone_eval_params {
    const char *model, *adapter; /* adapter NULL: base only; open.quant AUTO: as it was trained */
    const char *const *data;     /* n_data paths: files, folders, globs */
    size_t n_data;
    hone_model_params open;
    int32_t max_length;   /* longest row, 0 = the model's context; longer ones are an error */
    int32_t batch_tokens; /* positions per micro-batch; 0 = 2048 */
    /* Per row, in input order; tuned false for the base. NULL: not wanted. */
    void (*row)(void *ud, bool tuned, int64_t row, double loss_sum, int64_t tokens);
    void (*note)(void *ud, const char *line);
    void (*progress)(void *ud, bool tuned, int64_t rows_done, int64_t rows);
    void *ud;
} hone_eval_params;
HONE_API int hone_eval_run(const hone_eval_params *p, hone_device *dev, hone_eval_result *base,
                           hone_eval_result *tuned, hone_error *err);

/* A scorer of rows (data.h) by a model, its scores computed in packed batches. docs/report.md defines them:
 *   perplexity        exp of the mean loss of the tokens that are trained, behind all that comes before them
 *   perplexity_alone  the same of each answer as a text of its own, conditioned on nothing; none of a plain text
 *   ifd               perplexity / perplexity_alone: the question helps when it is below 1
 *   unscored          trained tokens beyond max_length, which the other scores leave out; 0 of most rows
 * A conversation is what `hone data prepare` writes: `loss_weight` 0 of a turn takes it out. A row that can not be encoded
 * (no token of it is trained, the template refuses it) has no score, which `note` says. */
typedef struct hone_scorer_params {
    const char *model;
    hone_model_params open;
    int32_t max_length;      /* a longer row is scored on its first tokens; 0 = the model's context */
    int32_t batch_tokens;    /* positions computed at once; 0 = 2048 */
    const char *const *name; /* [n] of the scores, in the order wanted */
    size_t n;
    void (*note)(void *ud, const char *line); /* NULL: not */
    void *ud;
} hone_scorer_params;
/* Fills *out, which hone_scorer_close clears; the device must outlive it. HONE_EINVAL for an unknown name. */
HONE_API int hone_scorer_open(hone_scorer *out, hone_device *dev, const hone_scorer_params *p,
                              hone_error *err);
HONE_API void hone_scorer_close(hone_scorer *s); /* of zeroes is fine */

/* One training step of an adapter or of the whole model, on a model of known shape with random ids, every position a
 * target, no recomputation, clipping and AdamW included: what `hone bench step` reports. */
typedef struct hone_bench_params {
    const char *model; /* path, or NULL with shape */
    const char *shape; /* "smol" or "qwen" */
    bool full;         /* every tensor trains; r and dropout do not count */
    int r;
    int32_t tokens;
    int steps;     /* timed, after one warm-up */
    bool cold;     /* no warm-up: for steps of minutes */
    int recompute; /* 0..2: what backward recomputes instead of keeping it */
    double dropout;
    hone_model_params open;
    uint64_t seed;
} hone_bench_params;

typedef struct hone_bench_result {
    double tokens_per_second; /* median of the steps */
    double tokens_per_second_best;
    uint64_t peak_bytes; /* VmHWM */
    uint64_t planned_bytes;
    double machine_peak_gflops; /* median of the peaks measured beside each step */
    double gflop_per_token;     /* products, attention (causal half, backward 2.5x), adapters; once each */
    double attention_gflop_per_token; /* of these, attention */
    double roofline_share;            /* median over steps of achieved / peak measured beside that step */
    double loss_first, loss_last;
    char device[32];
    int threads;
} hone_bench_result;
HONE_API int hone_bench_step(const hone_bench_params *p, hone_device *dev, hone_bench_result *out,
                             hone_error *err);

#ifdef __cplusplus
}
#endif
#endif
