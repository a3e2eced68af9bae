/* Jumps of loss and gradient: see guard.h. Every step enters the window, the ones that stand out too: a median of 32 moves
 * when half of them are high, so that a run whose level really changed (a new kind of rows) is not held up for ever. */
#include "train/guard.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define FIRST_STEPS 16
#define LEAST_EXCESS 0.1 /* nats: near 0 the ratio of two losses says nothing */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The lower of the two in the middle of an even number. */
static double median_of(const double *value, size_t n)
{
    double sorted[HONE_GUARD_WINDOW];

    memcpy(sorted, value, n * sizeof *value);
    qsort(sorted, n, sizeof *sorted, by_value);
    return sorted[(n - 1) / 2];
}

hone_spike hone_guard_check(const hone_guard *g, const hone_config *c, double loss, double norm,
                            double *median)
{
    const size_t n = (size_t)HONE_MIN(g->steps, HONE_GUARD_WINDOW);

    if (n < FIRST_STEPS)
        return HONE_SPIKE_NONE;
    *median = median_of(g->loss, n);
    if (c->training.loss_spike_factor > 0 && loss > c->training.loss_spike_factor * *median &&
        loss > *median + LEAST_EXCESS)
        return HONE_SPIKE_LOSS;
    *median = median_of(g->norm, n);
    if (c->training.grad_spike_factor > 0 && norm > c->training.grad_spike_factor * *median)
        return HONE_SPIKE_GRADIENT;
    return HONE_SPIKE_NONE;
}

void hone_guard_add(hone_guard *g, double loss, double norm)
{
    g->loss[g->steps % HONE_GUARD_WINDOW] = loss;
    g->norm[g->steps % HONE_GUARD_WINDOW] = norm;
    g->steps++;
}
