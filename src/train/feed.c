/* The order of a run: see feed.h. Everything follows from the place and the seed; nothing is remembered from step to step
 * but what is held to save time. */
#include "train/feed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A sequence of a step while it is given its micro-batch. */
struct feed_place {
    uint32_t item, length;
    uint32_t at, micro; /* where it stood; where it goes */
};

#define MAX_BALANCED 1024 /* micro-batches of a step that are balanced */

int hone_feed_init(hone_feed *f, const hone_feed_params *p, hone_error *err)
{
    hone_position first = {0};

    *f = (hone_feed){.p = *p};
    f->micro = hone_calloc((size_t)p->accumulation + 1, sizeof *f->micro);
    if (!f->micro)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the order of the rows");
    /* Without streaming the number of units is known from here on. */
    return p->which ? hone_feed_load(f, first, err) : 0;
}

static void drop_window(hone_feed *f)
{
    hone_free(f->item);
    hone_free(f->start);
    hone_free(f->order);
    f->item = f->start = f->order = NULL;
    f->n_items = f->n_units = 0;
    f->loaded = false;
}

void hone_feed_clear(hone_feed *f)
{
    drop_window(f);
    hone_free(f->step);
    hone_free(f->micro);
    hone_free(f->place);
    *f = (hone_feed){0};
}

/* ---- windows ----------------------------------------------------------------------------------------------------- */

/* The items of an epoch with replay: the new sequences in their order, those drawn for it spread evenly between them. */
static int mix(hone_feed *f, uint64_t epoch, hone_error *err)
{
    const hone_replay *r = &f->p.replay;
    uint32_t *old = hone_alloc(r->draw * sizeof *old);
    uint64_t i, drawn = 0;
    int rc;

    if (!old)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for %zu rows to replay", r->draw);
    rc = hone_dataset_draw(old, r->draw, r->first, r->n, f->p.seed, epoch, err);
    for (i = 0; !rc && i < f->n_items; i++)
        if ((i + 1) * r->draw / f->n_items > drawn)
            f->item[i] = old[drawn++];
        else
            f->item[i] = f->p.which[i - drawn];
    hone_free(old);
    return rc;
}

/* Holds the sequences of the window of a place; with replay they are those of its epoch. 1, or 0 when there is no such
 * window. */
static int hold(hone_feed *f, const hone_position *at, hone_error *err)
{
    size_t first = 0, n = f->p.n + f->p.replay.draw, i;
    int rc;

    if (f->loaded && f->window == at->window && (!f->p.replay.draw || f->drawn == at->epoch))
        return 1;
    rc = f->p.which ? at->window == 0 : hone_dataset_wait(f->p.data, at->window, &first, &n, err);
    if (rc <= 0)
        return rc;
    drop_window(f);
    f->item = hone_alloc((n + 1) * sizeof *f->item);
    f->order = hone_alloc((n + 1) * sizeof *f->order);
    if (!f->item || !f->order)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the order of %zu rows", n);
    f->n_items = f->n_units = n;
    if (f->p.replay.draw && (rc = mix(f, at->epoch, err)))
        return rc;
    for (i = 0; !f->p.replay.draw && i < n; i++)
        f->item[i] = f->p.which ? f->p.which[i] : (uint32_t)(first + i);
    if (f->p.pack && (rc = hone_dataset_bin(f->p.data, f->item, n, f->p.pack, &f->start, &f->n_units, err)))
        return rc;
    f->loaded = true;
    f->window = at->window;
    f->drawn = at->epoch;
    f->epoch = UINT64_MAX;
    return 1;
}

static int by_length(const void *a, const void *b)
{
    const feed_place *x = a, *y = b;

    if (x->length != y->length)
        return x->length < y->length ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

int hone_feed_group(uint32_t *order, const uint32_t *length, size_t n, size_t batch, hone_error *err)
{
    const size_t many = HONE_MIN(n / (4 * batch), (size_t)50), stretch = HONE_MAX(many, (size_t)1) * batch;
    feed_place *p = hone_alloc((n + 1) * sizeof *p);
    size_t first, longest = 0, i;
    uint32_t swap;

    if (!p)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the order of %zu rows", n);
    for (i = 0; i < n; i++)
        p[i] = (feed_place){.item = order[i], .length = length[order[i]], .at = (uint32_t)i};
    for (first = 0; first < n; first += stretch) {
        qsort(p + first, HONE_MIN(stretch, n - first), sizeof *p, by_length);
        if (p[first].length > p[longest].length)
            longest = first;
    }
    for (i = 0; i < n; i++)
        order[i] = p[i].item;
    if (n) {
        swap = order[0];
        order[0] = order[longest];
        order[longest] = swap;
    }
    hone_free(p);
    return 0;
}

/* The same for the units of the window that is held. */
static int group_units(hone_feed *f, hone_error *err)
{
    uint32_t *length = hone_alloc((f->n_units + 1) * sizeof *length);
    size_t i;
    int rc;

    if (!length)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the order of %zu rows", f->n_units);
    for (i = 0; i < f->n_units; i++) {
        const size_t at = f->start ? f->start[i] : i, n = f->start ? f->start[i + 1] - at : 1;

        length[i] = (uint32_t)hone_dataset_tokens(f->p.data, f->item + at, n);
    }
    rc = hone_feed_group(f->order, length, f->n_units, (size_t)(f->p.batch_rows * f->p.accumulation), err);
    hone_free(length);
    return rc;
}

/* The same, in the order of an epoch. */
static int hold_order(hone_feed *f, const hone_position *at, hone_error *err)
{
    int rc = hold(f, at, err);
    size_t i;

    if (rc <= 0 || f->epoch == at->epoch)
        return rc;
    for (i = 0; i < f->n_units; i++)
        f->order[i] = (uint32_t)i;
    if (f->p.shuffle)
        hone_dataset_shuffle(f->order, f->n_units, f->p.seed, at->epoch + (at->window << 16));
    if (f->p.group && (rc = group_units(f, err)))
        return rc;
    f->epoch = at->epoch;
    return 1;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static int append(hone_feed *f, const uint32_t *item, size_t n, hone_error *err)
{
    if (f->n_step + n > f->step_capacity) {
        size_t grown = HONE_MAX(f->n_step + n, 2 * f->step_capacity);
        uint32_t *step = hone_realloc_array(f->step, grown, sizeof *step);
        feed_place *place = step ? hone_realloc_array(f->place, grown, sizeof *place) : NULL;

        f->step = step ? step : f->step;
        f->place = place ? place : f->place;
        if (!step || !place)
            return hone_error_set(err, HONE_ENOMEM, "out of memory for a step of %zu rows", grown);
        f->step_capacity = grown;
    }
    memcpy(f->step + f->n_step, item, n * sizeof *item);
    f->n_step += n;
    return 0;
}

/* Adds the unit at *at and moves behind it. 1, or 0 at the end of the epoch. */
static int take_unit(hone_feed *f, hone_position *at, hone_error *err)
{
    uint32_t unit;
    int rc;

    while ((rc = hold_order(f, at, err)) == 1 && at->unit >= f->n_units) {
        at->window++;
        at->unit = 0;
    }
    if (rc <= 0)
        return rc;
    unit = f->order[at->unit++];
    rc = f->start ? append(f, f->item + f->start[unit], f->start[unit + 1] - f->start[unit], err)
                  : append(f, f->item + unit, 1, err);
    return rc ? rc : 1;
}

static int by_place(const void *a, const void *b)
{
    const feed_place *x = a, *y = b;

    if (x->micro != y->micro)
        return x->micro > y->micro ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Gives the longest sequences first, each to the micro-batch with the fewest positions that has room for a row, and keeps
 * that when the largest micro-batch became smaller. */
static void balance(hone_feed *f)
{
    feed_place *p = f->place;
    size_t tokens[MAX_BALANCED] = {0}, rows[MAX_BALANCED] = {0}, i, m, best, before = 0, after = 0;

    if (f->n_micro > MAX_BALANCED)
        return;
    for (m = 0; m < (size_t)f->n_micro; m++) {
        size_t sum = hone_dataset_tokens(f->p.data, f->step + f->micro[m], f->micro[m + 1] - f->micro[m]);

        before = HONE_MAX(before, sum);
    }
    for (i = 0; i < f->n_step; i++)
        p[i] = (feed_place){.item = f->step[i],
                            .length = (uint32_t)hone_dataset_get(f->p.data, f->step[i]).n,
                            .at = (uint32_t)i};
    qsort(p, f->n_step, sizeof *p, by_length);
    for (i = 0; i < f->n_step; i++) {
        for (m = 0, best = MAX_BALANCED; m < (size_t)f->n_micro; m++)
            if (rows[m] < (size_t)f->p.batch_rows && (best == MAX_BALANCED || tokens[m] < tokens[best]))
                best = m;
        tokens[best] += p[i].length;
        rows[best]++;
        p[i].micro = (uint32_t)best;
        after = HONE_MAX(after, tokens[best]);
    }
    if (after >= before)
        return;
    qsort(p, f->n_step, sizeof *p, by_place);
    for (i = 0; i < f->n_step; i++)
        f->step[i] = p[i].item;
    for (m = 0; m < (size_t)f->n_micro; m++)
        f->micro[m + 1] = f->micro[m] + rows[m];
}

int hone_feed_load(hone_feed *f, hone_position at, hone_error *err)
{
    bool again = false; /* the epoch was at its end: the next one was tried */
    int64_t m, r;
    int rc = 1;

    for (;; again = true) {
        f->n_step = 0;
        f->n_micro = 0;
        f->next = at;
        for (m = 0; rc == 1 && m < f->p.accumulation; m++) {
            for (r = 0; rc == 1 && r < f->p.batch_rows; r++)
                rc = take_unit(f, &f->next, err);
            if (rc < 0)
                return rc;
            if (f->n_step > f->micro[f->n_micro])
                f->micro[++f->n_micro] = f->n_step;
        }
        if (f->n_step)
            break;
        if (again)
            return hone_error_set(err, HONE_EINVAL, "epoch %llu has no row to train on",
                                  (unsigned long long)at.epoch);
        at = (hone_position){.epoch = at.epoch + 1};
        rc = 1;
    }
    if (!f->p.pack && f->n_micro > 1)
        balance(f);
    if (rc == 0 || (f->p.which && f->next.unit == f->n_units)) /* this was the epoch's last step */
        f->next = (hone_position){.epoch = at.epoch + 1};
    return 0;
}

const uint32_t *hone_feed_micro(const hone_feed *f, int64_t micro, size_t *n)
{
    *n = micro < f->n_micro ? f->micro[micro + 1] - f->micro[micro] : 0;
    return *n ? f->step + f->micro[micro] : NULL;
}

/* ---- counts ------------------------------------------------------------------------------------------------------ */

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

int hone_feed_count(hone_feed *f, uint64_t epoch, hone_feed_epoch *out, hone_error *err)
{
    hone_position at = {.epoch = epoch};
    int rc;

    *out = (hone_feed_epoch){0};
    for (; (rc = hold(f, &at, err)) == 1; at.window++) {
        out->units += (int64_t)f->n_units;
        out->rows += (int64_t)f->n_items;
        out->tokens += (int64_t)hone_dataset_tokens(f->p.data, f->item, f->n_items);
        out->targets += hone_count_targets(f->p.data, f->item, f->n_items);
    }
    return rc;
}

int64_t hone_feed_steps(const hone_feed *f, int64_t units)
{
    return divide_up(divide_up(units, f->p.batch_rows), f->p.accumulation);
}

int hone_feed_steps_of(hone_feed *f, double epochs, int64_t *steps, hone_error *err)
{
    const bool alike =
        !f->p.pack || !f->p.replay.draw; /* epochs: with replay, packs are made of other rows in each */
    hone_feed_epoch e;
    uint64_t k;
    int rc = hone_feed_count(f, 0, &e, err);

    *steps = 0;
    for (k = 0; !rc && !alike && (double)(k + 1) <= epochs; k++) {
        *steps += hone_feed_steps(f, e.units);
        rc = hone_feed_count(f, k + 1, &e, err);
    }
    if (!rc)
        *steps += (int64_t)ceil((epochs - (double)k) * (double)hone_feed_steps(f, e.units));
    return rc;
}

double hone_feed_epochs(const hone_feed *f, hone_position at)
{
    int64_t batches = divide_up((int64_t)f->n_units, f->p.batch_rows),
            done = divide_up((int64_t)at.unit, f->p.batch_rows);

    return (double)at.epoch + (f->p.which ? (double)done / (double)batches : 0);
}

int hone_feed_largest(hone_feed *f, int64_t steps, hone_batch_size *out, hone_error *err)
{
    hone_position at = {0};
    int64_t step, micro;
    const uint32_t *which;
    size_t n;
    int rc = 0;

    *out = (hone_batch_size){0};
    for (step = 0; !rc && step < steps; step++, at = f->next) {
        rc = hone_feed_load(f, at, err);
        for (micro = 0; !rc && (which = hone_feed_micro(f, micro, &n)) != NULL; micro++) {
            out->positions = HONE_MAX(out->positions, (int64_t)hone_dataset_tokens(f->p.data, which, n));
            out->sequences = HONE_MAX(out->sequences, (int64_t)n);
            out->targets = HONE_MAX(out->targets, hone_count_targets(f->p.data, which, n));
        }
    }
    return rc;
}
