/* metrics.jsonl: one object a line, full precision, flushed line by line. */
#ifndef HONE_TRAIN_METRICS_H
#define HONE_TRAIN_METRICS_H

#include "base/base.h"
#include "hone/train.h"

typedef struct hone_metrics {
    FILE *file;
    char *path;
} hone_metrics;

int hone_metrics_open(hone_metrics *m, const char *path, hone_error *err); /* starts the file anew */
int hone_metrics_step(hone_metrics *m, const hone_step *s, hone_error *err);
int hone_metrics_eval(hone_metrics *m, int64_t step, const hone_eval_result *r, hone_error *err);
int hone_metrics_close(hone_metrics *m, hone_error *err); /* syncs; a cleared one is fine */

#endif
