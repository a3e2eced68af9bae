/* Work on many items by a few threads. Every item writes only what is its own, so that the result does not depend on
 * which thread takes which item. */
#include <pthread.h>
#include <sched.h>

#include "data/data.h"

size_t data_threads(int32_t wanted)
{
    cpu_set_t set;

    if (wanted <= 0)
        wanted = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return (size_t)HONE_MIN(wanted, DATA_MAX_THREADS);
}

static void *run(void *ud)
{
    data_work *w = ud;
    size_t i;

    while ((i = atomic_fetch_add(&w->next, 1)) < w->n)
        w->item(w->ud, i);
    return NULL;
}

void data_begin(data_work *w, size_t threads, size_t n, void (*item)(void *ud, size_t i), void *ud)
{
    size_t helpers = HONE_MIN(HONE_MIN(threads, (size_t)DATA_MAX_THREADS) - 1, n ? n - 1 : 0);

    w->item = item;
    w->ud = ud;
    w->n = n;
    w->started = 0;
    atomic_init(&w->next, 0);
    while (w->started < helpers && pthread_create(&w->thread[w->started], NULL, run, w) == 0)
        w->started++; /* one that can not be started is done without */
}

void data_finish(data_work *w)
{
    size_t i;

    run(w);
    for (i = 0; i < w->started; i++)
        pthread_join(w->thread[i], NULL);
}

void data_parallel(size_t threads, size_t n, void (*item)(void *ud, size_t i), void *ud)
{
    data_work w;

    data_begin(&w, threads, n, item, ud);
    data_finish(&w);
}
