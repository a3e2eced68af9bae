/* The thread pool of a device: the only threads that compute.
 *
 * A job is cut into tasks; threads take task numbers from a shared counter. Where results are added across tasks, the
 * cut is fixed by the shapes and the sums are added in task order; where every element belongs to one task and is
 * computed the same way whatever its neighbours, an op may cut as suits the threads. So results have the same bits for
 * every number of threads. Between jobs workers spin briefly, then sleep. */
#ifndef HONE_DEVICE_POOL_H
#define HONE_DEVICE_POOL_H

#include <stdatomic.h>

#include "base/base.h"

typedef struct hone_pool hone_pool;

/* fn is called once for every task in [0, n_tasks), which begin in this order; `thread` in [0, threads) names the caller's
 * scratch. */
typedef void (*hone_task_fn)(void *ctx, int task, int thread);

int hone_pool_new(hone_pool **out, int threads, bool pin, hone_error *err);
void hone_pool_free(hone_pool *p);
int hone_pool_threads(const hone_pool *p);
void hone_pool_run(hone_pool *p, int n_tasks, hone_task_fn fn,
                   void *ctx); /* the caller works too; returns when all are done */

/* Returns when *word has this value, with what its writer wrote before (release). Only a task of a lower number may be
 * waited for: it has begun. */
void hone_pool_await(atomic_int *word, int value);

#endif
