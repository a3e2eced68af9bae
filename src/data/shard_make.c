/* From rows to shards.
 *
 * Rows are read in batches. While the rows of one batch are encoded by several threads, each taking the next row, the
 * thread that called reads the next batch and then helps; results are stored in the order of the files. So the bytes of
 * every shard, and which error is reported, do not depend on the number of threads. */
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"

#define BATCH 512 /* rows; far more than threads, so that a long row at its end costs little */
#define BATCH_BYTES ((size_t)8 << 20) /* a batch ends with the row that takes its text to this size */

#define KEEP_BYTES 65536 /* of buffers that a job keeps for its next row */

typedef struct job {
    raw_row raw;
    conversation conversation;
    encoded_row result;
    int rc;
    hone_error err; /* with file and line */
} job;

typedef struct batch {
    const shard_maker *maker;
    job *job; /* [BATCH] */
    size_t n;
} batch;

/* The rows that `overlong: error` found. */
typedef struct overlong_rows {
    uint64_t n, line;
    uint32_t file;
    size_t length;
} overlong_rows;

typedef struct making {
    shard_maker *m;
    shard_builder builder;
    overlong_rows overlong;
    uint32_t *length; /* [report.sequences], for the median */
    size_t length_capacity;
    cache_entry *entry; /* [n_entries] the shards written so far */
    size_t n_entries;
    uint64_t left; /* rows still wanted */
    bool end;      /* of the rows */
} making;

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the data");
}

/* ---- storing ----------------------------------------------------------------------------------------------------- */

/* Hands over what the builder holds. */
static int flush(making *k, hone_error *err)
{
    shard_maker *m = k->m;
    shard s = {0};
    char *path;
    int rc = 0;

    if (m->folder) {
        cache_entry *list = hone_realloc_array(k->entry, k->n_entries + 1, sizeof *list), e = {0};

        if (list)
            k->entry = list;
        e.rows = k->builder.n[SHARD_ROWS];
        e.sequences = k->builder.n[SHARD_SEQUENCES];
        path = cache_shard_path(m->folder, k->builder.index);
        rc = list && path ? shard_write(&k->builder, &s, path, m->key, &e.checksum, err) : out_of_memory(err);
        hone_free(path);
        if (rc)
            return rc;
        e.size = s.map.size;
        list[k->n_entries++] = e;
    } else {
        shard_seal(&k->builder, &s);
    }
    return m->emit(m->ud, &s, err);
}

static int note_lengths(making *k, const encoded_row *e, hone_error *err)
{
    size_t want = k->m->report.sequences + e->n_parts, i;

    if (want > UINT32_MAX)
        return hone_error_set(err, HONE_ELIMIT, "more than %u rows", UINT32_MAX);
    k->length = hone_grow(k->length, &k->length_capacity, want, sizeof *k->length);
    if (want > k->length_capacity)
        return out_of_memory(err);
    for (i = 0; i < e->n_parts; i++)
        k->length[k->m->report.sequences + i] = (uint32_t)e->part[i].n;
    return 0;
}

static int store_row(making *k, const job *j, hone_error *err)
{
    const encoded_row *e = &j->result;
    hone_dataset_report *r = &k->m->report;
    size_t i;
    int rc = note_lengths(k, e, err);

    if (!rc)
        rc = shard_add(&k->builder, e, j->raw.file_index, j->raw.line, err);
    if (rc)
        return rc;
    r->rows_used += e->n_parts > 0;
    r->rows_dropped += e->n_parts == 0;
    r->dropped_overlong += e->fate == FATE_DROPPED_OVERLONG;
    r->dropped_untrained += e->fate == FATE_DROPPED_UNTRAINED;
    r->rows_truncated += e->fate == FATE_TRUNCATED;
    r->rows_split += e->fate == FATE_SPLIT;
    r->tokens_cut += e->tokens_cut;
    r->trained_cut += e->trained_cut;
    r->straddled += e->n_parts ? e->straddled : 0;
    r->sequences += e->n_parts;
    for (i = 0; i < e->n_parts; i++) {
        r->tokens += e->part[i].n;
        r->trained += e->part[i].n_trained;
        r->turns += e->part[i].turns;
    }
    return shard_builder_bytes(&k->builder) >= SHARD_BYTES ? flush(k, err) : 0;
}

static int refuse_overlong(const making *k, hone_error *err)
{
    const overlong_rows *o = &k->overlong;
    const char *file = k->m->file[o->file];
    char count[80] = "";

    if (!k->m->background)
        snprintf(count, sizeof count, "; so %s %llu of %llu rows", o->n == 1 ? "has" : "have",
                 (unsigned long long)o->n, (unsigned long long)k->m->report.rows_read);
    return hone_error_set(err, HONE_ELIMIT,
                          "%s:%llu: this row has %zu tokens, more than model.max_length %d%s. "
                          "Raise model.max_length, or set data.overlong to drop, truncate or split",
                          file, (unsigned long long)o->line, o->length, k->m->options.max_length, count);
}

/* Stores what a batch became; clears its results. */
static int store_batch(making *k, batch *b, hone_error *err)
{
    size_t i;
    int rc = 0;

    for (i = 0; i < b->n; i++) {
        job *j = &b->job[i];

        if (!rc && j->rc)
            rc = hone_error_set(err, j->rc, "%s", j->err.message);
        if (!rc && j->result.fate == FATE_OVERLONG) {
            if (!k->overlong.n++)
                k->overlong = (overlong_rows){1, j->raw.line, j->raw.file_index, j->result.length};
            if (k->m->background)
                rc = refuse_overlong(k, err);
        } else if (!rc && !k->overlong.n) {
            rc = store_row(k, j, err);
        }
        encoded_row_clear(&j->result);
    }
    k->m->report.rows_read += b->n;
    b->n = 0;
    return rc;
}

/* ---- encoding in batches ----------------------------------------------------------------------------------------- */

static void encode_job(void *ud, size_t i)
{
    batch *b = ud;
    job *j = &b->job[i];
    conversation *c = &j->conversation;
    hone_error why = HONE_ERROR_INIT;

    j->err = (hone_error)HONE_ERROR_INIT;
    c->no_text = true;
    j->rc = rows_convert(c, &j->raw, &b->maker->options.rows, &j->err);
    if (!j->rc) {
        row_values row = {c->root, c->weight, c->n_messages, c->row_weight, c->plain_text};

        j->rc = row_encode_values(&j->result, b->maker->chat, &row, &b->maker->options, &why);
        if (j->rc)
            hone_error_set(&j->err, j->rc, "%s:%llu: %s", j->raw.file, (unsigned long long)j->raw.line,
                           why.message);
    }
    /* Neither the values nor a long row's room are kept for all jobs. */
    json_decref(c->root);
    c->root = NULL;
    if (j->raw.text.capacity > KEEP_BYTES)
        raw_row_clear(&j->raw);
    if (c->meta.capacity > KEEP_BYTES || c->capacity * sizeof *c->weight > KEEP_BYTES)
        conversation_clear(c);
}

static int read_batch(making *k, batch *b, hone_error *err)
{
    size_t bytes = 0;
    int more = 1;

    while (!k->end && b->n < BATCH && bytes < BATCH_BYTES) {
        more = k->left ? rows_next_raw(k->m->rows, &b->job[b->n].raw, err) : 0;
        if (more == 1) {
            bytes += b->job[b->n++].raw.text.len;
            k->left--;
        }
        k->end = more != 1;
    }
    return more < 0 ? more : 0;
}

static int make_all(making *k, batch pair[2], hone_error *err)
{
    shard_maker *m = k->m;
    size_t threads = data_threads(m->options.threads);
    batch *now = &pair[0], *next = &pair[1], *swap;
    hone_error reading = HONE_ERROR_INIT;
    int read_rc = read_batch(k, now, &reading), rc = 0;

    while (!rc && now->n) {
        data_work work;

        /* Beside a training that has begun, the making takes one core. */
        data_begin(&work, m->background && k->builder.index ? 1 : threads, now->n, encode_job, now);
        if (!read_rc)
            read_rc = read_batch(k, next, &reading);
        data_finish(&work);
        rc = store_batch(k, now, err);
        if (!rc && m->options.progress)
            m->options.progress(m->options.ud, m->report.rows_read);
        if (!rc && m->cancelled && m->cancelled(m->ud))
            rc = hone_error_set(err, HONE_ECANCELLED, "the preparation of the data was stopped");
        swap = now;
        now = next;
        next = swap;
    }
    if (!rc && read_rc)
        rc = hone_error_set(err, read_rc, "%s", reading.message);
    return rc;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* What can be said after the last row. */
static int finish(making *k, hone_error *err)
{
    shard_maker *m = k->m;
    hone_dataset_report *r = &m->report;
    int rc = 0;

    if (k->overlong.n)
        return refuse_overlong(k, err);
    if (!r->sequences)
        return hone_error_set(err, HONE_EFORMAT, "%s: no row is left: %llu of %llu were dropped as too long",
                              m->file[0], (unsigned long long)r->rows_dropped,
                              (unsigned long long)r->rows_read);
    if (k->builder.n[SHARD_ROWS])
        rc = flush(k, err);
    qsort(k->length, r->sequences, sizeof *k->length, by_size);
    r->shortest = k->length[0];
    r->median = k->length[r->sequences / 2];
    r->longest = k->length[r->sequences - 1];
    if (!rc && m->folder)
        rc = cache_commit(m->folder, m->key, k->entry, k->n_entries, r, err);
    return rc;
}

uint64_t hone_dataset_making_bytes(void)
{
    return SHARD_BYTES + SHARD_BYTES / 2 + 4 * BATCH_BYTES;
}

int shard_make(shard_maker *m, hone_error *err)
{
    making k = {.m = m, .left = m->options.max_samples > 0 ? (uint64_t)m->options.max_samples : UINT64_MAX};
    batch pair[2] = {{m, hone_calloc(BATCH, sizeof(job)), 0}, {m, hone_calloc(BATCH, sizeof(job)), 0}};
    int rc = pair[0].job && pair[1].job ? 0 : out_of_memory(err), i;
    size_t j;

    memset(&m->report, 0, sizeof m->report);
    if (!rc)
        rc = make_all(&k, pair, err);
    if (!rc)
        rc = finish(&k, err);
    for (i = 0; i < 2; i++) {
        for (j = 0; pair[i].job && j < BATCH; j++) {
            encoded_row_clear(&pair[i].job[j].result);
            raw_row_clear(&pair[i].job[j].raw);
            conversation_clear(&pair[i].job[j].conversation);
        }
        hone_free(pair[i].job);
    }
    shard_builder_clear(&k.builder);
    hone_free(k.length);
    hone_free(k.entry);
    hone_rows_close(m->rows);
    m->rows = NULL;
    return rc;
}
