/* Batches in order through several threads. A thread that is done before its turn waits for it; batches of many rows take
 * about the same time, so that this costs little, and no more than one batch a thread is held. */
#include <pthread.h>

#include "data/store.h"

#define MOST_THREADS 64

typedef struct line {
    const data_pipeline *p;
    pthread_mutex_t fetch, turn;
    pthread_cond_t handed_over;
    uint64_t fetched; /* under `fetch` */
    bool ended;       /* under `fetch` */
    uint64_t handed;  /* under `turn` */
    bool stop;        /* under `turn` */
} line;

typedef struct hand {
    line *l;
    size_t number;
    pthread_t thread;
} hand;

static bool fetch(line *l, size_t thread, uint64_t *batch)
{
    bool more;

    pthread_mutex_lock(&l->fetch);
    more = !l->ended && l->p->fetch(l->p->ud, thread);
    l->ended = !more;
    *batch = l->fetched;
    l->fetched += more;
    pthread_mutex_unlock(&l->fetch);
    return more;
}

static bool hand_over(line *l, size_t thread, uint64_t batch)
{
    bool stop;

    pthread_mutex_lock(&l->turn);
    while (l->handed != batch && !l->stop)
        pthread_cond_wait(&l->handed_over, &l->turn);
    if (!l->stop)
        l->stop = l->p->hand_over(l->p->ud, thread) != 0;
    l->handed++;
    stop = l->stop;
    pthread_cond_broadcast(&l->handed_over);
    pthread_mutex_unlock(&l->turn);
    return !stop;
}

static void *run(void *ud)
{
    hand *h = ud;
    uint64_t batch;

    while (fetch(h->l, h->number, &batch)) {
        h->l->p->work(h->l->p->ud, h->number);
        if (!hand_over(h->l, h->number, batch))
            break;
    }
    return NULL;
}

int data_pipeline_run(const data_pipeline *p, size_t threads, hone_error *err)
{
    line l = {.p = p};
    hand list[MOST_THREADS];
    size_t started = 1, i;
    bool fetch_ok = pthread_mutex_init(&l.fetch, NULL) == 0;
    bool turn_ok = fetch_ok && pthread_mutex_init(&l.turn, NULL) == 0;
    int rc = 0;

    if (!turn_ok || pthread_cond_init(&l.handed_over, NULL)) {
        rc = hone_error_set(err, HONE_ENOMEM, "no memory for threads");
        goto out;
    }
    threads = HONE_MIN(HONE_MAX(threads, (size_t)1), (size_t)MOST_THREADS);
    for (i = 0; i < threads; i++)
        list[i] = (hand){.l = &l, .number = i};
    while (started < threads && pthread_create(&list[started].thread, NULL, run, &list[started]) == 0)
        started++; /* one that can not be started is done without */
    run(&list[0]);
    for (i = 1; i < started; i++)
        pthread_join(list[i].thread, NULL);
    pthread_cond_destroy(&l.handed_over);
out:
    if (turn_ok)
        pthread_mutex_destroy(&l.turn);
    if (fetch_ok)
        pthread_mutex_destroy(&l.fetch);
    return rc;
}
