/* TensorBoard event files: scalars and texts of one run, in a file that TensorBoard reads while it grows. */
#ifndef HONE_TRAIN_EVENTS_H
#define HONE_TRAIN_EVENTS_H

#include "base/base.h"

typedef struct hone_events hone_events;

typedef struct hone_event_scalar {
    const char *tag; /* "train/loss"; a slash groups */
    double value;    /* written as f32; NaN and infinities are shown as such */
} hone_event_scalar;

/* Starts a file in `dir` (made where it is missing), named as TensorBoard expects. resumed > 0: the run goes on after that
 * many steps, later events of earlier files of the folder no longer count. HONE_EIO. */
int hone_events_open(hone_events **out, const char *dir, int64_t resumed, hone_error *err);
/* One event with n scalars of a step. Handed to the system whole. HONE_EIO, HONE_ENOMEM. */
int hone_events_scalars(hone_events *e, int64_t step, const hone_event_scalar *scalar, size_t n,
                        hone_error *err);
/* A text in Markdown under `tag`. */
int hone_events_text(hone_events *e, int64_t step, const char *tag, const char *text, hone_error *err);
int hone_events_close(hone_events *e, hone_error *err); /* syncs; NULL is fine */

/* Appends one record: its length, the data, and the masked CRC-32C of both. */
void hone_events_record(hone_buf *out, const void *data, size_t n);
/* Appends the bytes of an Event: its first fields, to which the caller adds one of the kinds below. */
void hone_events_header(hone_buf *out, double wall_time, int64_t step);
void hone_events_put_scalars(hone_buf *event, const hone_event_scalar *scalar, size_t n);
void hone_events_put_text(hone_buf *event, const char *tag, const char *text);
void hone_events_put_version(hone_buf *event);
void hone_events_put_start(hone_buf *event);

#endif
