/* The rows of all files as tokens, held compactly: ids as they are, one bit of mask a token, 56 bytes a sequence, 24 a row
 * for what became of it.
 *
 * Rows are read in batches; a batch is encoded by several threads, each taking the next row, and stored in the order
 * of the files. So the result, and which error is reported, do not depend on the number of threads. */
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"

#define BATCH 256 /* rows; far more than threads, so that a long row at the end of a batch costs little */

typedef struct job {
    hone_buf text; /* the conversation; reused */
    float *weight; /* [n_messages] */
    float row_weight;
    size_t n_messages, capacity;
    bool plain_text;
    uint32_t file;
    uint64_t line, row;
    encoded_row result;
    int rc;
    hone_error err;
} job;

typedef struct batch {
    const hone_chat *chat;
    const hone_dataset_options *options;
    job *job;
    size_t n;
} batch;

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the data");
}

/* ---- storage ----------------------------------------------------------------------------------------------------- */

/* Makes room for n more elements; *capacity counts elements. */
static int reserve(void **p, size_t *capacity, size_t used, size_t n, size_t size, hone_error *err)
{
    size_t want = used + n, grown = *capacity + *capacity / 2;
    void *q;

    if (want <= *capacity)
        return 0;
    grown = HONE_MAX(HONE_MAX(grown, want), (size_t)1024);
    q = hone_realloc_array(*p, grown, size);
    if (!q)
        return out_of_memory(err);
    *p = q;
    *capacity = grown;
    return 0;
}

static int store(hone_dataset *d, const sequence *s, const job *j, hone_error *err)
{
    size_t words = (s->n + 63) / 64, i;
    hone_dataset_report *r = &d->report;
    uint64_t *mask;

    if (d->n == UINT32_MAX || j->row > UINT32_MAX)
        return hone_error_set(err, HONE_ELIMIT, "more than %u rows", UINT32_MAX);
    if (reserve((void **)&d->id, &d->id_capacity, d->n_ids, s->n, sizeof *d->id, err) ||
        reserve((void **)&d->mask, &d->mask_capacity, d->n_words, words, sizeof *d->mask, err) ||
        reserve((void **)&d->run, &d->run_capacity, d->n_runs, s->n_runs, sizeof *d->run, err) ||
        reserve((void **)&d->entry, &d->entry_capacity, d->n, 1, sizeof *d->entry, err))
        return HONE_ENOMEM;
    memcpy(d->id + d->n_ids, s->id, s->n * sizeof *s->id);
    mask = d->mask + d->n_words;
    memset(mask, 0, words * sizeof *mask);
    for (i = 0; i < s->n; i++)
        mask[i / 64] |= (uint64_t)s->mask[i] << (i % 64);
    if (s->n_runs)
        memcpy(d->run + d->n_runs, s->run, s->n_runs * sizeof *s->run);
    d->entry[d->n++] = (dataset_entry){.start = d->n_ids,
                                       .word = d->n_words,
                                       .line = j->line,
                                       .run = d->n_runs,
                                       .row = (uint32_t)j->row,
                                       .file = j->file,
                                       .n = (uint32_t)s->n,
                                       .n_targets = (uint32_t)s->n_trained,
                                       .n_runs = (uint32_t)s->n_runs};
    d->n_runs += s->n_runs;
    d->n_ids += s->n;
    d->n_words += words;
    r->sequences++;
    r->tokens += s->n;
    r->trained += s->n_trained;
    r->turns += s->turns;
    return 0;
}

static int store_row(hone_dataset *d, const job *j, hone_error *err)
{
    const encoded_row *e = &j->result;
    hone_dataset_report *r = &d->report;
    size_t i;
    int rc = 0;

    r->rows_used += e->n_parts > 0;
    r->rows_dropped += e->n_parts == 0;
    r->dropped_overlong += e->fate == FATE_DROPPED_OVERLONG;
    r->dropped_untrained += e->fate == FATE_DROPPED_UNTRAINED;
    r->rows_truncated += e->fate == FATE_TRUNCATED;
    r->rows_split += e->fate == FATE_SPLIT;
    r->tokens_cut += e->tokens_cut;
    r->trained_cut += e->trained_cut;
    r->straddled += e->n_parts ? e->straddled : 0;
    for (i = 0; !rc && i < e->n_parts; i++)
        rc = store(d, &e->part[i], j, err);
    return rc;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int measure_lengths(hone_dataset *d, hone_error *err)
{
    uint32_t *length = hone_alloc(d->n * sizeof *length);
    size_t i;

    if (!length)
        return out_of_memory(err);
    for (i = 0; i < d->n; i++)
        length[i] = d->entry[i].n;
    qsort(length, d->n, sizeof *length, by_size);
    d->report.shortest = length[0];
    d->report.median = length[d->n / 2];
    d->report.longest = length[d->n - 1];
    hone_free(length);
    return 0;
}

/* Gives back what growing left over. Shrinking may fail; then the larger block stays. */
static void shrink(void **p, size_t *capacity, size_t used, size_t size)
{
    void *q = hone_realloc_array(*p, used, size);

    if (q) {
        *p = q;
        *capacity = used;
    }
}

/* ---- encoding in batches ------------------------------------------------------------------------------------------- */

static void encode_job(void *ud, size_t i)
{
    batch *b = ud;
    job *j = &b->job[i];
    row_text row = {j->text.data, j->text.len, j->weight, j->n_messages, j->row_weight, j->plain_text};

    j->err = (hone_error)HONE_ERROR_INIT;
    j->rc = row_encode(&j->result, b->chat, &row, b->options, &j->err);
}

static int fill_job(job *j, const hone_row *row, hone_error *err)
{
    j->text.len = 0;
    hone_buf_add(&j->text, row->conversation, row->len);
    j->plain_text = row->plain_text;
    if (row->n_messages > j->capacity) {
        float *weight = hone_realloc_array(j->weight, row->n_messages, sizeof *weight);

        if (!weight)
            return out_of_memory(err);
        j->weight = weight;
        j->capacity = row->n_messages;
    }
    if (row->n_messages)
        memcpy(j->weight, row->weight, row->n_messages * sizeof *j->weight);
    j->row_weight = row->row_weight;
    j->n_messages = row->n_messages;
    j->file = row->file_index;
    j->line = row->line;
    j->row = row->index;
    return j->text.failed ? out_of_memory(err) : 0;
}

/* The rows that `overlong: error` found. */
typedef struct overlong_rows {
    uint64_t n, line;
    uint32_t file;
    size_t length;
} overlong_rows;

static int store_fate(hone_dataset *d, const job *j, hone_error *err)
{
    const encoded_row *r = &j->result;
    size_t tokens = r->fate == FATE_DROPPED_OVERLONG ? r->length : r->tokens_cut;

    if (reserve((void **)&d->fate, &d->fate_capacity, d->n_fates, 1, sizeof *d->fate, err))
        return HONE_ENOMEM;
    d->fate[d->n_fates++] = (dataset_fate){j->line, j->file, (uint32_t)r->n_parts,
                                           (uint32_t)HONE_MIN(tokens, UINT32_MAX), r->fate};
    return 0;
}

/* Stores what a batch became; clears its results. */
static int store_batch(hone_dataset *d, batch *b, overlong_rows *overlong, hone_error *err)
{
    size_t i;
    int rc = 0;

    for (i = 0; i < b->n; i++) {
        job *j = &b->job[i];

        if (!rc && j->rc)
            rc = hone_error_set(err, j->rc, "%s:%llu: %s", d->file[j->file], (unsigned long long)j->line,
                                j->err.message);
        if (!rc && j->result.fate == FATE_OVERLONG) {
            if (!overlong->n++)
                *overlong = (overlong_rows){1, j->line, j->file, j->result.length};
        } else if (!rc) {
            rc = store_row(d, j, err);
        }
        if (!rc)
            rc = store_fate(d, j, err);
        encoded_row_clear(&j->result);
    }
    d->report.rows_read += b->n;
    b->n = 0;
    return rc;
}

static int read_all(hone_dataset *d, hone_rows *rows, batch *b, hone_error *err)
{
    const hone_dataset_options *o = b->options;
    size_t threads = data_threads(o->threads);
    overlong_rows overlong = {0};
    uint64_t left = o->max_samples > 0 ? (uint64_t)o->max_samples : UINT64_MAX;
    hone_row row;
    int more = 1, rc = 0;

    while (!rc && more) {
        while (left && b->n < BATCH && (more = hone_rows_next(rows, &row, err)) == 1) {
            rc = fill_job(&b->job[b->n], &row, err);
            if (rc)
                return rc;
            b->n++;
            left--;
        }
        if (more < 0)
            return more;
        more &= left > 0;
        data_parallel(threads, b->n, encode_job, b);
        rc = store_batch(d, b, &overlong, err);
    }
    if (!rc && overlong.n)
        rc = hone_error_set(
            err, HONE_ELIMIT,
            "%s:%llu: this row has %zu tokens, more than model.max_length %d; so %s %llu of %llu rows. "
            "Raise model.max_length, or set data.overlong to drop, truncate or split",
            d->file[overlong.file], (unsigned long long)overlong.line, overlong.length, o->max_length,
            overlong.n == 1 ? "has" : "have", (unsigned long long)overlong.n,
            (unsigned long long)d->report.rows_read);
    if (!rc && !d->n)
        rc = hone_error_set(err, HONE_EFORMAT, "%s: no row is left: %llu of %llu were dropped as too long",
                            d->file[0], (unsigned long long)d->report.rows_dropped,
                            (unsigned long long)d->report.rows_read);
    return rc;
}

static int copy_names(hone_dataset *d, const hone_rows *rows, hone_error *err)
{
    size_t n = hone_rows_files(rows);

    d->file = hone_calloc(n, sizeof *d->file);
    for (; d->file && d->n_files < n; d->n_files++) {
        d->file[d->n_files] = hone_strdup(hone_rows_file(rows, d->n_files));
        if (!d->file[d->n_files])
            return out_of_memory(err);
        d->report.bytes += strlen(d->file[d->n_files]) + 1 + sizeof *d->file;
    }
    return d->file ? 0 : out_of_memory(err);
}

int hone_dataset_open(hone_dataset **out, const char *const *paths, size_t n, const hone_chat *chat,
                      const hone_dataset_options *options, hone_error *err)
{
    hone_dataset *d = NULL;
    hone_rows *rows = NULL;
    batch b = {.chat = chat, .options = options};
    size_t i;
    int rc;

    *out = NULL;
    if (options->max_length < 1)
        return hone_error_set(err, HONE_EINVAL, "max_length must be at least 1, not %d", options->max_length);
    rc = hone_rows_open(&rows, paths, n, &options->rows, err);
    if (rc)
        return rc;
    d = hone_calloc(1, sizeof *d);
    b.job = hone_calloc(BATCH, sizeof *b.job);
    rc = d && b.job ? copy_names(d, rows, err) : out_of_memory(err);
    if (!rc)
        rc = read_all(d, rows, &b, err);
    if (!rc)
        rc = measure_lengths(d, err);
    for (i = 0; b.job && i < BATCH; i++) {
        hone_buf_clear(&b.job[i].text);
        hone_free(b.job[i].weight);
    }
    hone_free(b.job);
    hone_rows_close(rows);
    if (rc) {
        hone_dataset_close(d);
        return rc;
    }
    shrink((void **)&d->id, &d->id_capacity, d->n_ids, sizeof *d->id);
    shrink((void **)&d->mask, &d->mask_capacity, d->n_words, sizeof *d->mask);
    if (d->n_runs)
        shrink((void **)&d->run, &d->run_capacity, d->n_runs, sizeof *d->run);
    shrink((void **)&d->fate, &d->fate_capacity, d->n_fates, sizeof *d->fate);
    shrink((void **)&d->entry, &d->entry_capacity, d->n, sizeof *d->entry);
    d->report.bytes += sizeof *d + d->id_capacity * sizeof *d->id + d->mask_capacity * sizeof *d->mask +
                       d->run_capacity * sizeof *d->run + d->entry_capacity * sizeof *d->entry +
                       d->fate_capacity * sizeof *d->fate;
    *out = d;
    return 0;
}

void hone_dataset_close(hone_dataset *d)
{
    if (!d)
        return;
    paths_clear(d->file, d->n_files);
    hone_free(d->id);
    hone_free(d->mask);
    hone_free(d->run);
    hone_free(d->entry);
    hone_free(d->fate);
    hone_free(d);
}

const hone_dataset_report *hone_dataset_get_report(const hone_dataset *d)
{
    return &d->report;
}

size_t hone_dataset_size(const hone_dataset *d)
{
    return d->n;
}

hone_sequence hone_dataset_get(const hone_dataset *d, size_t i)
{
    const dataset_entry *e = &d->entry[i];

    return (hone_sequence){.id = d->id + e->start,
                           .mask = d->mask + e->word,
                           .n = e->n,
                           .n_targets = e->n_targets,
                           .run = e->n_runs ? d->run + e->run : NULL,
                           .n_runs = e->n_runs,
                           .file = d->file[e->file],
                           .line = e->line,
                           .row = e->row};
}

int hone_dataset_write_ledger(const hone_dataset *d, const char *path, hone_error *err)
{
    static const hone_fate fate[] = {
        [FATE_USED] = HONE_FATE_USED,
        [FATE_TRUNCATED] = HONE_FATE_CUT,
        [FATE_SPLIT] = HONE_FATE_SPLIT,
        [FATE_DROPPED_OVERLONG] = HONE_FATE_DROPPED,
        [FATE_DROPPED_UNTRAINED] = HONE_FATE_DROPPED,
    };
    hone_ledger *l;
    size_t i;
    int rc = hone_ledger_open(&l, path, err);

    if (rc)
        return rc;
    for (i = 0; !rc && i < d->n_fates; i++) {
        const dataset_fate *f = &d->fate[i];
        hone_ledger_entry e = {.file = d->file[f->file],
                               .line = f->line,
                               .row = i,
                               .fate = fate[f->fate],
                               .reason = f->fate == FATE_DROPPED_OVERLONG ? "overlong" : "untrained",
                               .tokens = f->tokens,
                               .parts = f->parts};

        rc = hone_ledger_add(l, &e, err);
    }
    if (!rc)
        return hone_ledger_commit(l, d->report.rows_read, err);
    hone_ledger_abort(l);
    return rc;
}
