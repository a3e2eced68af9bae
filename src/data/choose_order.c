/* In which order the places of the chosen rows stand.
 *   file        as they were read; repeated rows come again after all have come once
 *   shuffle     at random
 *   curriculum  from easy to hard: by length, number of trained turns or a score, rows without one last
 *   staged      three stages, each place in one of them: first a mixed sample at random, then the tasks one after the
 *               other (each at random), then the hardest places from easier to harder. The hardest are set aside first,
 *               the mixed sample is drawn from the rest
 * Equal keys leave the places as they stand. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/choose.h"

#define STREAM_PLACES ((uint64_t)0x706c6163 << 32) /* "plac" */

enum { MIXED, GROUPED, HARD, STAGES };

typedef struct keyed {
    double key;
    uint32_t at; /* index of the place */
} keyed;

static int by_key(const void *a, const void *b)
{
    const keyed *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* How hard a row is; `none` of a row without the score. */
static double hardness(const choose_row *row, const hone_choose_options *o, double none)
{
    double key = !o->curriculum || !strcmp(o->curriculum, "length") ? (double)row->length
                 : !strcmp(o->curriculum, "turns")                  ? (double)row->turns
                                                                    : (double)row->score;

    return isnan(key) ? none : key;
}

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the order of the rows");
}

/* The places' keys; HONE_EINVAL when no row has the score. */
static int keys_of(keyed **out, const choose_place *place, size_t n, const choose_row *row,
                   const hone_choose_options *o, double none, hone_error *err)
{
    keyed *list = hone_alloc(HONE_MAX(n, (size_t)1) * sizeof *list);
    bool any = !n;
    size_t i;

    *out = list;
    if (!list)
        return out_of_memory(err);
    for (i = 0; i < n; i++) {
        list[i] = (keyed){hardness(&row[place[i].row], o, none), (uint32_t)i};
        any |= list[i].key != none;
    }
    return any ? 0
               : hone_error_set(err, HONE_EINVAL, "data.mix.curriculum: no row has the score `%s`",
                                o->curriculum);
}

/* Permutes place[n] by order[n]. */
static int apply(choose_place *place, size_t n, const uint32_t *order, hone_error *err)
{
    choose_place *copy = hone_alloc(HONE_MAX(n, (size_t)1) * sizeof *copy);
    size_t i;

    if (!copy)
        return out_of_memory(err);
    memcpy(copy, place, n * sizeof *copy);
    for (i = 0; i < n; i++)
        place[i] = copy[order[i]];
    hone_free(copy);
    return 0;
}

/* Stable, by task; rows without a task last. */
static int group_by_task(uint32_t *order, size_t n, const choose_place *place, const choose_row *row,
                         hone_error *err)
{
    keyed *list = hone_alloc(HONE_MAX(n, (size_t)1) * sizeof *list);
    uint32_t *copy = hone_alloc(HONE_MAX(n, (size_t)1) * sizeof *copy);
    size_t i;
    int rc = list && copy ? 0 : out_of_memory(err);

    for (i = 0; !rc && i < n; i++) {
        uint32_t task = row[place[order[i]].row].task;

        list[i] = (keyed){task ? task : INFINITY, (uint32_t)i};
        copy[i] = order[i];
    }
    if (!rc)
        qsort(list, n, sizeof *list, by_key);
    for (i = 0; !rc && i < n; i++)
        order[i] = copy[list[i].at];
    hone_free(list);
    hone_free(copy);
    return rc;
}

/* order[n] of the places, stage by stage; first[k] is where stage k begins. */
static int stage_places(uint32_t *order, uint64_t first[STAGES + 1], choose_place *place, size_t n,
                        const choose_row *row, const hone_choose_options *o, hone_error *err)
{
    uint64_t size[STAGES];
    uint8_t *hard = hone_calloc(HONE_MAX(n, (size_t)1), 1);
    keyed *key = NULL;
    size_t i, at = 0;
    int rc = hard ? keys_of(&key, place, n, row, o, -INFINITY, err) : out_of_memory(err);

    if (!rc)
        rc = apportion(size, o->stage, STAGES, n, err);
    if (!rc) {
        qsort(key, n, sizeof *key, by_key);
        first[MIXED] = 0;
        first[GROUPED] = size[MIXED];
        first[HARD] = size[MIXED] + size[GROUPED];
        first[STAGES] = n;
        for (i = (size_t)first[HARD]; i < n; i++) {
            order[i] = key[i].at;
            hard[key[i].at] = 1;
        }
        for (i = 0; i < n; i++)
            if (!hard[i])
                order[at++] = (uint32_t)i;
        data_shuffle(order, at, o->seed, STREAM_PLACES);
        rc = group_by_task(order + first[GROUPED], (size_t)size[GROUPED], place, row, err);
    }
    hone_free(hard);
    hone_free(key);
    return rc;
}

static int order_staged(choose_place *place, size_t n, uint32_t *order, const choose_row *row,
                        const hone_choose_options *o, hone_error *err)
{
    double sum = o->stage[MIXED] + o->stage[GROUPED] + o->stage[HARD];
    uint64_t first[STAGES + 1] = {0};
    size_t i, k;
    int rc = 0;

    for (k = 0; k < STAGES; k++)
        if (!(o->stage[k] >= 0 && fabs(sum - 1) < 1e-6))
            return hone_error_set(err, HONE_EINVAL,
                                  "data.mix.stages: three shares of 0 or more whose sum is 1 are needed");
    rc = stage_places(order, first, place, n, row, o, err);
    if (!rc)
        rc = apply(place, n, order, err);
    for (k = 0; !rc && k < STAGES; k++)
        for (i = (size_t)first[k]; i < first[k + 1]; i++)
            place[i].stage = (uint8_t)k;
    return rc;
}

int choose_order(choose_place *place, size_t n, const choose_row *row, const hone_choose_options *o,
                 hone_error *err)
{
    uint32_t *order;
    keyed *key = NULL;
    size_t i;
    int rc = 0;

    if (o->order == HONE_ORDER_FILE)
        return 0;
    order = hone_alloc(HONE_MAX(n, (size_t)1) * sizeof *order);
    if (!order)
        return out_of_memory(err);
    for (i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    if (o->order == HONE_ORDER_STAGED) {
        rc = order_staged(place, n, order, row, o, err);
        hone_free(order);
        return rc;
    }
    if (o->order == HONE_ORDER_SHUFFLE) {
        data_shuffle(order, n, o->seed, STREAM_PLACES);
    } else {
        rc = keys_of(&key, place, n, row, o, INFINITY, err);
        if (!rc)
            qsort(key, n, sizeof *key, by_key);
        for (i = 0; !rc && i < n; i++)
            order[i] = key[i].at;
        hone_free(key);
    }
    if (!rc)
        rc = apply(place, n, order, err);
    hone_free(order);
    return rc;
}
