/* Private to src/data: bytes that stay where they are, names as numbers, and batches that several threads pass on. */
#ifndef HONE_DATA_STORE_H
#define HONE_DATA_STORE_H

#include "data/data.h"

/* ---- store.c ------------------------------------------------------------------------------------------------------- */

/* Blocks that never move and are freed together; zero-initialise. One thread at a time. */
typedef struct arena {
    char **chunk;
    size_t n_chunks, used, size; /* of the last one */
} arena;

/* n bytes, 8-aligned; NULL when there is no memory. */
void *arena_take(arena *a, size_t n);
/* A NUL-terminated copy. */
char *arena_copy(arena *a, const char *text, size_t n);
void arena_clear(arena *a);

/* Names numbered from 1 in the order in which they first come; zero-initialise. */
typedef struct names {
    const char **name; /* [n], name[k - 1] has number k; borrowed from `text` */
    size_t n, capacity;
    uint32_t *slot; /* [mask + 1] hash table of numbers, 0 = free */
    size_t mask;
    arena text;
} names;

/* *number of a name, NULL: 0. HONE_ENOMEM. */
int names_number(names *list, uint32_t *number, const char *name, hone_error *err);
void names_clear(names *list);

/* ---- pipeline.c ---------------------------------------------------------------------------------------------------- */

/* Work in batches whose order matters. Every thread fetches a batch (one at a time, in order), works on it (side by side)
 * and hands it over when those before it were (one at a time, in order). So nothing that is handed over depends on the
 * number of threads. */
typedef struct data_pipeline {
    /* Fills the thread's batch: 1, or 0 when there is nothing more; then it is not called again. */
    int (*fetch)(void *ud, size_t thread);
    void (*work)(void *ud, size_t thread);
    /* Anything but 0 ends the work: no later batch is handed over. */
    int (*hand_over)(void *ud, size_t thread);
    void *ud;
} data_pipeline;

/* Runs up to `threads` threads, at most 64, the calling one among them. HONE_ENOMEM when nothing could be set
 * up; what the functions report they keep in `ud`. */
int data_pipeline_run(const data_pipeline *p, size_t threads, hone_error *err);

#endif
