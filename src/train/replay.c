/* Continual learning: rows of earlier data among the new ones, so that what was learnt from them is not forgotten.
 *
 * The earlier rows are a dataset of their own, with a token cache of their own, which is joined to that of the new rows: a
 * sequence is an old one by its number. Of what an epoch trains, data.replay_ratio are old rows. They never are evaluation
 * rows; one that has the very tokens of an evaluation row stays, and is told of. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/run.h"

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t hash_ids(const hone_sequence *q)
{
    return hone_hash64(q->n, q->id, q->n * sizeof *q->id);
}

/* Says how many rows of `old` have the tokens of an evaluation row, and names the first. */
static int note_repeats(hone_run *r, const hone_dataset *old, hone_error *err)
{
    const size_t n_old = hone_dataset_size(old);
    uint64_t *held = hone_alloc((r->n_eval + 1) * sizeof *held);
    hone_sequence first = {0};
    size_t i, repeats = 0;
    char line[400];

    if (!held)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for %zu evaluation rows", r->n_eval);
    for (i = 0; i < r->n_eval; i++) {
        const hone_sequence q = hone_dataset_get(r->eval_data, r->eval[i]);

        held[i] = hash_ids(&q);
    }
    qsort(held, r->n_eval, sizeof *held, by_value);
    for (i = 0; r->n_eval && i < n_old; i++) {
        const hone_sequence q = hone_dataset_get(old, i);
        const uint64_t hash = hash_ids(&q);

        if (!bsearch(&hash, held, r->n_eval, sizeof *held, by_value))
            continue;
        if (!repeats++)
            first = q;
    }
    hone_free(held);
    if (!repeats)
        return 0;
    snprintf(line, sizeof line,
             "data.replay_data_path: %zu rows have the very tokens of an evaluation row, the first is "
             "%.150s:%llu; they are trained, so that the evaluation loss of these rows tells of memory",
             repeats, first.file, (unsigned long long)first.line);
    hone_run_note(r, line);
    return 0;
}

/* Old rows of an epoch: as many as make `ratio` of all its rows. */
static int count_draw(hone_run *r, size_t n_old, hone_error *err)
{
    const double ratio = r->c->data.replay_ratio, draw = round((double)r->n_train * ratio / (1 - ratio));

    if (draw < 1)
        return hone_error_set(err, HONE_EINVAL,
                              "data.replay_ratio %g of an epoch of %zu new rows is not one row: raise it",
                              ratio, r->n_train);
    if (draw + (double)r->n_train > UINT32_MAX)
        return hone_error_set(err, HONE_ELIMIT,
                              "data.replay_ratio %g beside %zu new rows is more than %u rows an epoch", ratio,
                              r->n_train, UINT32_MAX);
    r->replay =
        (hone_replay){.first = (uint32_t)hone_dataset_size(r->data), .n = n_old, .draw = (size_t)draw};
    return 0;
}

int hone_run_add_replay(hone_run *r, const hone_dataset_options *options, hone_error *err)
{
    const hone_strings *paths = &r->c->data.replay_data_path;
    hone_dataset_options o = *options;
    hone_dataset *old = NULL;
    int rc;

    o.max_samples = 0;
    rc = hone_dataset_open(&old, (const char *const *)paths->item, paths->n, r->chat, &o, err);
    if (!rc && r->cb.data)
        r->cb.data(r->cb.ud, "replay", hone_dataset_get_report(old));
    if (!rc)
        rc = note_repeats(r, old, err);
    if (!rc)
        rc = count_draw(r, hone_dataset_size(old), err);
    if (!rc)
        rc = hone_dataset_join(r->data, old, err);
    hone_dataset_close(old);
    return rc;
}
