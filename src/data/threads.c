/* Work on many items by a few threads. Every item writes only what is its own, so that the result does not depend on
 * which thread takes which item. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "data/data.h"

#define MAX_THREADS 64

typedef struct work {
    void (*item)(void *ud, size_t i);
    void *ud;
    size_t n;
    atomic_size_t next;
} work;

size_t data_threads(int32_t wanted)
{
    cpu_set_t set;

    if (wanted <= 0)
        wanted = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return (size_t)HONE_MIN(wanted, MAX_THREADS);
}

static void *run(void *ud)
{
    work *w = ud;
    size_t i;

    while ((i = atomic_fetch_add(&w->next, 1)) < w->n)
        w->item(w->ud, i);
    return NULL;
}

void data_parallel(size_t threads, size_t n, void (*item)(void *ud, size_t i), void *ud)
{
    work w = {.item = item, .ud = ud, .n = n};
    pthread_t thread[MAX_THREADS];
    size_t helpers = HONE_MIN(threads - 1, n ? n - 1 : 0), started = 0, i;

    while (started < helpers && pthread_create(&thread[started], NULL, run, &w) == 0)
        started++; /* one that can not be started is done without */
    run(&w);
    for (i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
}
