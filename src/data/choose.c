/* Which rows stay, and how often. In this order, each step seeing what the one before left:
 *   held out       whole units (rows, groups) for validation; nothing below touches or repeats them
 *   max_per_task   at most so many rows of a task
 *   balance        of tasks or labels, down (to the smallest), up (to the largest, by repeating rows), or to shares in
 *                  proportion to size^(1/T): the exponentially smoothed sampling of multilingual training (Arivazhagan et
 *                  al. 2019, "Massively Multilingual Neural Machine Translation in the Wild", section 4; the same formula
 *                  as T5's temperature-scaled mixing, Raffel et al. 2020, section 3.5.2). The number of rows stays
 *   mix            shares of the input paths; the most rows with which they are met and no row is added
 * Which rows of a class go is decided by a shuffle of its own, so that one class does not depend on another. A row
 * without a task (label) belongs to no class and is left alone by the steps that look at it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/choose.h"

/* High words of the Philox streams; the low word is the number of the class. */
#define STREAM_MAX_TASK ((uint64_t)0x6d617874 << 32) /* "maxt" */
#define STREAM_BALANCE ((uint64_t)0x62616c61 << 32)  /* "bala" */
#define STREAM_MIX ((uint64_t)0x6d697877 << 32)      /* "mixw" */

typedef struct chooser {
    const choose_row *row;
    size_t n;
    const hone_choose_options *options;
    uint16_t *copies; /* [n] places in training */
    uint8_t *why_not; /* [n] */
    uint8_t *held;    /* [n] 1 = validation */
    hone_error *err;
} chooser;

/* Items in classes: those of class k are item[start[k]..start[k + 1]), ascending. */
typedef struct classes {
    uint32_t *item;
    size_t *start; /* [n + 1] */
    size_t n;
} classes;

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for choosing rows");
}

static void classes_clear(classes *c)
{
    hone_free(c->item);
    hone_free(c->start);
    *c = (classes){0};
}

static size_t class_size(const classes *c, size_t k)
{
    return c->start[k + 1] - c->start[k];
}

/* Sorts items 0..n by class_of[i]; UINT32_MAX leaves an item out. */
static int classes_make(classes *c, const uint32_t *class_of, size_t n, hone_error *err)
{
    size_t i, k, *at;

    *c = (classes){0};
    for (i = 0; i < n; i++)
        if (class_of[i] != UINT32_MAX && class_of[i] >= c->n)
            c->n = (size_t)class_of[i] + 1;
    c->start = hone_calloc(c->n + 2, sizeof *c->start);
    c->item = hone_alloc(HONE_MAX(n, (size_t)1) * sizeof *c->item);
    if (!c->start || !c->item) {
        classes_clear(c);
        return out_of_memory(err);
    }
    at = c->start + 1; /* at[k] is where the next item of class k goes; at the end that is start[k + 1] */
    for (i = 0; i < n; i++)
        if (class_of[i] != UINT32_MAX)
            at[class_of[i] + 1]++;
    for (k = 1; k < c->n; k++)
        at[k] += at[k - 1];
    for (i = 0; i < n; i++)
        if (class_of[i] != UINT32_MAX)
            c->item[at[class_of[i]]++] = (uint32_t)i;
    return 0;
}

/* ---- shares ------------------------------------------------------------------------------------------------------------ */

typedef struct remainder {
    double value;
    size_t index;
} remainder_of;

static int by_remainder(const void *a, const void *b)
{
    const remainder_of *x = a, *y = b;

    if (x->value != y->value)
        return x->value > y->value ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

int apportion(uint64_t *out, const double *weight, size_t k, uint64_t total, hone_error *err)
{
    remainder_of *left = hone_alloc(HONE_MAX(k, (size_t)1) * sizeof *left);
    uint64_t given = 0;
    double sum = 0;
    size_t i;

    if (!left)
        return out_of_memory(err);
    for (i = 0; i < k; i++)
        sum += weight[i];
    for (i = 0; i < k; i++) {
        double share = sum > 0 ? (double)total * weight[i] / sum : 0;

        /* A share that is whole up to rounding is whole. */
        out[i] = (uint64_t)floor(share + 1e-12 * (1 + share));
        left[i] = (remainder_of){weight[i] > 0 ? share - (double)out[i] : -1, i};
        given += out[i];
    }
    qsort(left, k, sizeof *left, by_remainder);
    for (i = 0; i < k && given < total && left[i].value > -1; i++, given++)
        out[left[i].index]++;
    hone_free(left);
    return 0;
}

/* Gives the rows of one class `target` places together. */
static int set_places(chooser *c, uint32_t *member, size_t n, uint64_t target, choose_reason reason,
                      uint64_t stream)
{
    uint64_t each = target / n, more = target % n, copies;
    size_t i;

    if (target == n)
        return 0;
    if (each + 1 > UINT16_MAX)
        return hone_error_set(
            c->err, HONE_EINVAL,
            "data.mix.balance would repeat a row more than %d times: a class of %zu rows is "
            "to have %llu places",
            UINT16_MAX - 1, n, (unsigned long long)target);
    data_shuffle(member, n, c->options->seed, stream);
    for (i = 0; i < n; i++) {
        copies = each + (i < more);
        c->copies[member[i]] = (uint16_t)copies;
        if (!copies)
            c->why_not[member[i]] = (uint8_t)reason;
    }
    return 0;
}

/* ---- the steps ----------------------------------------------------------------------------------------------------------- */

/* Classes of the rows that are in training, by task or label; class k of the result is number k + 1 of the caller. */
static int classes_of(chooser *c, classes *out, bool by_label, const char *option)
{
    uint32_t *class_of = hone_alloc(HONE_MAX(c->n, (size_t)1) * sizeof *class_of);
    size_t i;
    int rc;

    if (!class_of)
        return out_of_memory(c->err);
    for (i = 0; i < c->n; i++) {
        uint32_t number = by_label ? c->row[i].label : c->row[i].task;

        class_of[i] = c->copies[i] ? number - 1 : UINT32_MAX; /* number 0: out */
    }
    rc = classes_make(out, class_of, c->n, c->err);
    hone_free(class_of);
    if (!rc && !out->n) {
        classes_clear(out);
        rc = hone_error_set(c->err, HONE_EINVAL, "%s: no row has a %s; data.fields.%s names the field of it",
                            option, by_label ? "label" : "task", by_label ? "label" : "task");
    }
    return rc;
}

static int limit_tasks(chooser *c)
{
    uint64_t most = (uint64_t)c->options->max_per_task;
    classes task;
    size_t k;
    int rc = classes_of(c, &task, false, "data.mix.max_per_task");

    if (rc)
        return rc;
    for (k = 0; !rc && k < task.n; k++)
        if (class_size(&task, k) > most)
            rc = set_places(c, task.item + task.start[k], class_size(&task, k), most, CHOOSE_MAX_TASK,
                            STREAM_MAX_TASK | k);
    classes_clear(&task);
    return rc;
}

static int balance(chooser *c)
{
    const hone_choose_options *o = c->options;
    uint64_t smallest = UINT64_MAX, largest = 0, total = 0, *target = NULL;
    double *weight = NULL;
    classes class;
    size_t k;
    int rc = classes_of(c, &class, o->balance == HONE_BALANCE_LABEL, "data.mix.balance");

    if (rc)
        return rc;
    target = hone_calloc(class.n, sizeof *target);
    weight = hone_calloc(class.n, sizeof *weight);
    if (!target || !weight)
        rc = out_of_memory(c->err);
    for (k = 0; !rc && k < class.n; k++) {
        uint64_t size = class_size(&class, k);

        total += size;
        largest = HONE_MAX(largest, size);
        smallest = size ? HONE_MIN(smallest, size) : smallest;
        /* As a float: what two machines' pow may differ in lies below its last bit. */
        weight[k] = size ? (double)(float)pow((double)size, 1 / HONE_MAX(o->temperature, 1.0)) : 0;
    }
    if (!rc && o->method == HONE_BALANCE_TEMPERATURE)
        rc = apportion(target, weight, class.n, total, c->err);
    for (k = 0; !rc && k < class.n; k++) {
        size_t size = class_size(&class, k);

        if (o->method != HONE_BALANCE_TEMPERATURE)
            target[k] = o->method == HONE_BALANCE_UP ? largest : smallest;
        if (size)
            rc = set_places(c, class.item + class.start[k], size, target[k], CHOOSE_BALANCED,
                            STREAM_BALANCE | k);
    }
    hone_free(target);
    hone_free(weight);
    classes_clear(&class);
    return rc;
}

/* Keeps `target` of the places of the rows of one path. */
static int thin(chooser *c, const uint32_t *member, size_t n, uint64_t places, uint64_t target,
                uint64_t stream)
{
    uint32_t *list;
    size_t i, k, at = 0;

    if (target >= places)
        return 0;
    list = hone_alloc((size_t)places * sizeof *list);
    if (!list)
        return out_of_memory(c->err);
    for (i = 0; i < n; i++)
        for (k = c->copies[member[i]]; k; k--)
            list[at++] = member[i];
    data_shuffle(list, at, c->options->seed, stream);
    for (i = (size_t)target; i < at; i++)
        if (--c->copies[list[i]] == 0)
            c->why_not[list[i]] = CHOOSE_MIX;
    hone_free(list);
    return 0;
}

static int mix(chooser *c)
{
    const hone_choose_options *o = c->options;
    uint64_t *places = hone_calloc(o->n_weight, sizeof *places);
    uint64_t *target = hone_calloc(o->n_weight, sizeof *target);
    uint32_t *source = hone_alloc(HONE_MAX(c->n, (size_t)1) * sizeof *source);
    double sum = 0, total = INFINITY;
    classes path = {0};
    size_t i;
    int rc = places && target && source ? 0 : out_of_memory(c->err);

    for (i = 0; !rc && i < o->n_weight; i++)
        if (!(o->weight[i] >= 0) || isinf(o->weight[i]))
            rc = hone_error_set(c->err, HONE_EINVAL, "data.mix.weights: weights are 0 or more");
        else
            sum += o->weight[i];
    if (!rc && !(sum > 0))
        rc = hone_error_set(c->err, HONE_EINVAL, "data.mix.weights: some weight must be above 0");
    for (i = 0; !rc && i < c->n; i++) {
        source[i] = c->copies[i] ? c->row[i].source : UINT32_MAX;
        if (c->row[i].source >= o->n_weight)
            rc = hone_error_set(c->err, HONE_EINVAL,
                                "data.mix.weights: %zu weights, but there are rows of path %u", o->n_weight,
                                c->row[i].source + 1);
        else
            places[c->row[i].source] += c->copies[i];
    }
    for (i = 0; !rc && i < o->n_weight; i++) {
        if (o->weight[i] > 0 && !places[i])
            rc = hone_error_set(c->err, HONE_EINVAL,
                                "data.mix.weights: no row of path %zu is left to be mixed in", i + 1);
        else if (o->weight[i] > 0)
            total = HONE_MIN(total, (double)places[i] * sum / o->weight[i]);
    }
    if (!rc)
        rc = apportion(target, o->weight, o->n_weight, (uint64_t)(total + 1e-12 * total), c->err);
    if (!rc)
        rc = classes_make(&path, source, c->n, c->err);
    for (i = 0; !rc && i < path.n; i++)
        if (class_size(&path, i))
            rc = thin(c, path.item + path.start[i], class_size(&path, i), places[i], target[i],
                      STREAM_MIX | i);
    classes_clear(&path);
    hone_free(places);
    hone_free(target);
    hone_free(source);
    return rc;
}

/* ---- held out ------------------------------------------------------------------------------------------------------------ */

/* The units of the split: unit_of[i] of every row, in the order in which units first appear; returns how many. A group is a
 * unit, a row without one (and every row when the split is by row) another. */
static uint32_t number_units(const chooser *c, uint32_t *unit_of, uint32_t *unit_of_group)
{
    uint32_t units = 0;
    size_t i;

    for (i = 0; i < c->n; i++) {
        uint32_t group = c->options->split_by == HONE_SPLIT_ROW ? 0 : c->row[i].group;

        if (group && unit_of_group[group] != UINT32_MAX) {
            unit_of[i] = unit_of_group[group];
            continue;
        }
        unit_of[i] = units++;
        if (group)
            unit_of_group[group] = unit_of[i];
    }
    return units;
}

/* Takes units, in shuffled order, as long as they fit into `wanted` rows; returns the rows taken. */
static uint64_t take_units(chooser *c, const classes *unit, uint32_t *list, size_t n, uint64_t wanted,
                           uint64_t stream)
{
    uint64_t taken = 0;
    size_t i, k;

    data_shuffle(list, n, c->options->seed, stream);
    for (i = 0; i < n && taken < wanted; i++) {
        size_t size = class_size(unit, list[i]);

        if (taken + size > wanted)
            continue;
        taken += size;
        for (k = unit->start[list[i]]; k < unit->start[list[i] + 1]; k++)
            c->held[unit->item[k]] = 1;
    }
    return taken;
}

static int take_strata(chooser *c, const classes *unit, uint64_t wanted, uint64_t *taken)
{
    uint32_t *stratum_of = hone_alloc(HONE_MAX(unit->n, (size_t)1) * sizeof *stratum_of);
    uint64_t *target = NULL;
    double *rows = NULL;
    classes stratum = {0};
    size_t i;
    int rc = stratum_of ? 0 : out_of_memory(c->err);

    /* One stratum, or one of every task; a group counts for the task of its first row. */
    for (i = 0; !rc && i < unit->n; i++)
        stratum_of[i] = c->options->split_by == HONE_SPLIT_TASK ? c->row[unit->item[unit->start[i]]].task : 0;
    if (!rc)
        rc = classes_make(&stratum, stratum_of, unit->n, c->err);
    if (!rc) {
        rows = hone_calloc(stratum.n, sizeof *rows);
        target = hone_calloc(stratum.n, sizeof *target);
        rc = rows && target ? 0 : out_of_memory(c->err);
    }
    for (i = 0; !rc && i < unit->n; i++)
        rows[stratum_of[i]] += (double)class_size(unit, i);
    if (!rc)
        rc = apportion(target, rows, stratum.n, wanted, c->err);
    for (i = 0; !rc && i < stratum.n; i++)
        *taken += take_units(c, unit, stratum.item + stratum.start[i], class_size(&stratum, i), target[i],
                             STREAM_SPLIT | i);
    classes_clear(&stratum);
    hone_free(stratum_of);
    hone_free(rows);
    hone_free(target);
    return rc;
}

static int hold_out(chooser *c)
{
    double size = c->options->val_size;
    uint32_t *unit_of, *unit_of_group, groups = 0;
    uint64_t wanted, taken = 0;
    classes unit = {0};
    size_t i;
    int rc;

    /* Rounded up, but 0.07 of 100 rows are 7, whatever the last bit of the product says. */
    wanted = (uint64_t)(size >= 1 ? HONE_MIN(size, 1e15) : ceil(size * (double)c->n - 1e-9));
    if (!(size > 0) || wanted >= c->n)
        return hone_error_set(c->err, HONE_EINVAL, "data.val_size %g leaves nothing of %zu rows to train on",
                              size, c->n);
    for (i = 0; i < c->n; i++)
        groups = HONE_MAX(groups, c->row[i].group);
    unit_of = hone_alloc(c->n * sizeof *unit_of);
    unit_of_group = hone_alloc(((size_t)groups + 1) * sizeof *unit_of_group);
    rc = unit_of && unit_of_group ? 0 : out_of_memory(c->err);
    if (!rc) {
        memset(unit_of_group, 0xff, ((size_t)groups + 1) * sizeof *unit_of_group);
        number_units(c, unit_of, unit_of_group);
        rc = classes_make(&unit, unit_of, c->n, c->err);
    }
    if (!rc)
        rc = take_strata(c, &unit, wanted, &taken);
    if (!rc && !taken)
        rc = hone_error_set(c->err, HONE_EINVAL,
                            "data.val_size: every group is larger than the %llu rows that are to be held out",
                            (unsigned long long)wanted);
    for (i = 0; !rc && i < c->n; i++)
        if (c->held[i])
            c->copies[i] = 0;
    classes_clear(&unit);
    hone_free(unit_of);
    hone_free(unit_of_group);
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------ */

/* The places of all rows by copy, then row; those of the validation last. */
static int put_places(chooser *c, choice *out)
{
    uint64_t places = 0, at = 0;
    unsigned copy, most = 1;
    size_t i, left = 0;
    uint32_t *more; /* rows that have a place in this round and may have one in the next */

    for (i = 0; i < c->n; i++) {
        places += c->held[i] ? 1 : c->copies[i];
        most = HONE_MAX(most, c->copies[i]);
    }
    if (places > UINT32_MAX)
        return hone_error_set(c->err, HONE_ELIMIT, "balancing makes more than %u rows", UINT32_MAX);
    more = hone_alloc(HONE_MAX(c->n, (size_t)1) * sizeof *more);
    out->place = hone_alloc(HONE_MAX((size_t)places, (size_t)1) * sizeof *out->place);
    if (!more || !out->place) {
        hone_free(more);
        return out_of_memory(c->err);
    }
    for (i = 0; i < c->n; i++)
        if (c->copies[i])
            more[left++] = (uint32_t)i;
    for (copy = 0; copy < most; copy++) {
        size_t kept = 0;

        for (i = 0; i < left; i++) {
            out->place[at++] = (choose_place){more[i], (uint16_t)copy, 0, false};
            if (c->copies[more[i]] > copy + 1)
                more[kept++] = more[i];
        }
        left = kept;
    }
    out->n = (size_t)at;
    for (i = 0; i < c->n; i++)
        if (c->held[i])
            out->place[at++] = (choose_place){(uint32_t)i, 0, 0, true};
    out->n_validation = (size_t)at - out->n;
    hone_free(more);
    return 0;
}

int choose_rows(choice *out, const choose_row *row, size_t n, const hone_choose_options *o, hone_error *err)
{
    chooser c = {.row = row, .n = n, .options = o, .err = err};
    size_t i;
    int rc = 0;

    *out = (choice){0};
    c.copies = hone_alloc(HONE_MAX(n, (size_t)1) * sizeof *c.copies);
    c.held = hone_calloc(HONE_MAX(n, (size_t)1), 1);
    c.why_not = out->why_not = hone_calloc(HONE_MAX(n, (size_t)1), 1);
    if (!c.copies || !c.held || !c.why_not)
        rc = out_of_memory(err);
    for (i = 0; !rc && i < n; i++)
        c.copies[i] = 1;
    if (!rc && o->val_size != 0)
        rc = hold_out(&c);
    if (!rc && o->max_per_task > 0)
        rc = limit_tasks(&c);
    if (!rc && o->balance != HONE_BALANCE_NONE)
        rc = balance(&c);
    if (!rc && o->n_weight)
        rc = mix(&c);
    if (!rc)
        rc = put_places(&c, out);
    if (!rc)
        rc = choose_order(out->place, out->n, row, o, err);
    hone_free(c.copies);
    hone_free(c.held);
    if (rc)
        choice_clear(out);
    return rc;
}

void choice_clear(choice *c)
{
    hone_free(c->place);
    hone_free(c->why_not);
    *c = (choice){0};
}
