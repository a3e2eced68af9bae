/* What a run writes down of itself, step by step: metrics.jsonl always (one object a line, full precision, flushed line by
 * line); the same as a table, metrics.csv, and as TensorBoard event files where training.report_to asks for them. */
#ifndef HONE_TRAIN_METRICS_H
#define HONE_TRAIN_METRICS_H

#include "base/base.h"
#include "hone/config.h"
#include "hone/train.h"
#include "train/events.h"

typedef struct hone_metrics {
    FILE *json, *csv, *samples; /* csv, samples NULL: not wanted */
    char *json_path, *csv_path, *samples_path;
    size_t csv_tasks;    /* columns of tasks in the table */
    bool replay;         /* steps tell the losses of new and replayed rows */
    hone_events *events; /* NULL: not wanted */
    hone_buf line;       /* of a step, kept so that steps allocate nothing */
} hone_metrics;

typedef struct hone_metrics_params {
    const hone_config *c;
    int64_t resumed;
    bool eval_due;
    const char *const *task; /* [n_tasks] of the evaluation rows; "" is shown as (none) */
    size_t n_tasks;
    bool samples, replay;
} hone_metrics_params;

/* Starts the files anew in training.output_dir and, for TensorBoard, a run folder in training.logging_dir (output_dir/runs
 * without one), named after time and host. output_dir/config.yaml, already written, is shown there as text. A cleared
 * hone_metrics is closed by hone_metrics_close after an error as well. resumed > 0: the run goes on after that many steps;
 * what the files hold of these stays (but for the evaluation after the last one, when it is due), later lines go, and the
 * newest run folder gets another event file. */
int hone_metrics_open(hone_metrics *m, const hone_metrics_params *p, hone_error *err);
/* log: a logging_steps boundary, which TensorBoard shows. */
int hone_metrics_step(hone_metrics *m, const hone_step *s, bool log, hone_error *err);
int hone_metrics_eval(hone_metrics *m, int64_t step, const hone_eval_result *r, const hone_task_result *task,
                      size_t n_tasks, hone_error *err);
/* A line of samples.jsonl, and a text of TensorBoard. */
int hone_metrics_sample(hone_metrics *m, const hone_sample *s, hone_error *err);
int hone_metrics_close(hone_metrics *m, hone_error *err); /* syncs; a cleared one is fine */

#endif
