/* The thread pool: see pool.h.
 *
 * A job is published by raising `epoch`; a worker that sees a new epoch enters, takes task numbers from `next` until
 * they run out, and leaves. The caller returns when every worker has left, so that the job's fields are never
 * overwritten under a late worker. Waiting is a short spin (jobs follow each other within microseconds during a step)
 * and then a futex sleep. With one thread there is no worker and a job is a plain loop. */
#include "device/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN 2000 /* rounds before sleeping: some tens of microseconds */

struct worker {
    pthread_t thread;
    hone_pool *pool;
    int index;
};

struct hone_pool {
    int threads;
    int started; /* workers that run, besides the caller */
    struct worker *worker;
    hone_task_fn fn;
    void *ctx;
    int n_tasks;
    bool stop;
    cpu_set_t allowed; /* of the caller before it was bound */
    bool bound;
    _Alignas(64) atomic_uint epoch; /* raised for every job */
    _Alignas(64) atomic_int next;   /* task to take next */
    _Alignas(64) atomic_uint busy;  /* workers that have not left the job */
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void sleep_while(atomic_uint *word, unsigned value)
{
    syscall(SYS_futex, (unsigned *)word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(atomic_uint *word)
{
    syscall(SYS_futex, (unsigned *)word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

static void take_tasks(hone_pool *p, int thread)
{
    int task;

    while ((task = atomic_fetch_add(&p->next, 1)) < p->n_tasks)
        p->fn(p->ctx, task, thread);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    hone_pool *p = w->pool;
    unsigned seen = 0, now;
    int spin;

    for (;;) {
        for (spin = 0; (now = atomic_load(&p->epoch)) == seen; spin++) {
            if (spin < SPIN)
                relax();
            else
                sleep_while(&p->epoch, seen);
        }
        seen = now;
        if (p->stop)
            return NULL;
        take_tasks(p, w->index);
        if (atomic_fetch_sub(&p->busy, 1) == 1)
            wake_all(&p->busy);
    }
}

static int allowed_processors(cpu_set_t *set)
{
    int n = 0;

    CPU_ZERO(set);
    if (sched_getaffinity(0, sizeof *set, set) == 0)
        n = CPU_COUNT(set);
    return n > 0 ? n : 1;
}

/* Best effort: a refusal costs speed only. */
static void bind_thread(pthread_t t, const cpu_set_t *allowed, int index)
{
    cpu_set_t one;
    int cpu, k = index;

    for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, allowed) && k-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(t, sizeof one, &one);
            return;
        }
}

int hone_pool_new(hone_pool **out, int threads, bool pin, hone_error *err)
{
    cpu_set_t allowed;
    int usable = allowed_processors(&allowed), i, rc;
    hone_pool *p;

    *out = NULL;
    if (threads < 0 || threads > 4096)
        return hone_error_set(err, HONE_EINVAL, "threads must be between 0 (automatic) and 4096, not %d",
                              threads);
    if (threads == 0)
        threads = usable;
    p = hone_big_alloc(sizeof *p); /* zeroed, and aligned for the counters' own cache lines */
    if (!p)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the thread pool");
    p->threads = threads;
    pin = pin && threads <= usable; /* two threads on one processor would wait for each other */
    p->worker = hone_calloc((size_t)threads, sizeof *p->worker);
    if (!p->worker) {
        hone_pool_free(p);
        return hone_error_set(err, HONE_ENOMEM, "out of memory for %d threads", threads);
    }
    for (i = 1; i < threads; i++) {
        struct worker *w = &p->worker[i];

        w->pool = p;
        w->index = i;
        rc = pthread_create(&w->thread, NULL, work, w);
        if (rc) {
            hone_pool_free(p);
            return hone_error_set(err, HONE_ENOMEM, "can not start thread %d of %d: %s", i + 1, threads,
                                  strerror(rc));
        }
        p->started++;
        if (pin)
            bind_thread(w->thread, &allowed, i);
    }
    if (pin) {
        p->allowed = allowed;
        p->bound = true;
        bind_thread(pthread_self(), &allowed, 0);
    }
    *out = p;
    return 0;
}

void hone_pool_free(hone_pool *p)
{
    int i;

    if (!p)
        return;
    p->stop = true;
    atomic_fetch_add(&p->epoch, 1);
    wake_all(&p->epoch);
    for (i = 1; i <= p->started; i++)
        pthread_join(p->worker[i].thread, NULL);
    if (p->bound)
        pthread_setaffinity_np(pthread_self(), sizeof p->allowed, &p->allowed);
    hone_free(p->worker);
    hone_big_free(p, sizeof *p);
}

int hone_pool_threads(const hone_pool *p)
{
    return p->threads;
}

void hone_pool_run(hone_pool *p, int n_tasks, hone_task_fn fn, void *ctx)
{
    unsigned busy;
    int i, spin;

    if (n_tasks <= 1 || p->started == 0) {
        for (i = 0; i < n_tasks; i++)
            fn(ctx, i, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->n_tasks = n_tasks;
    atomic_store(&p->next, 0);
    atomic_store(&p->busy, (unsigned)p->started);
    atomic_fetch_add(&p->epoch, 1); /* publishes the fields above */
    wake_all(&p->epoch);
    take_tasks(p, 0);
    for (spin = 0; (busy = atomic_load(&p->busy)) != 0; spin++) {
        if (spin < SPIN)
            relax();
        else
            sleep_while(&p->busy, busy);
    }
}

void hone_pool_await(atomic_int *word, int value)
{
    int spin;

    for (spin = 0; atomic_load_explicit(word, memory_order_acquire) != value; spin++) {
        if (spin < SPIN)
            relax();
        else
            sched_yield(); /* the other thread may want this processor */
    }
}
