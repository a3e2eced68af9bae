/* The rows of all files as tokens: a list of shards, from a cache or made now, on this thread or on another one.
 *
 * With `streaming` a producer makes shards and leaves them in a queue; the thread that owns the dataset takes them out in
 * hone_dataset_wait and is the only one that touches the dataset, so that reading it needs no lock. */
#include "data/dataset.h"

#include <string.h>
#include <unistd.h>

typedef struct producer {
    pthread_t thread;
    pthread_mutex_t
        lock; /* of everything below but the maker, which is the thread's alone until it is done */
    pthread_cond_t changed;
    shard *queue; /* [n] made and not yet taken */
    size_t n;
    bool done, cancel;
    int rc;
    hone_error err;
    shard_maker maker;
    char *folder;
} producer;

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the data");
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

static int append(shard **list, size_t *n, shard *s, hone_error *err)
{
    shard *grown = hone_realloc_array(*list, *n + 1, sizeof *grown);

    if (!grown) {
        shard_close(s);
        return out_of_memory(err);
    }
    *list = grown;
    grown[(*n)++] = *s;
    return 0;
}

int dataset_append(hone_dataset *d, shard *s, hone_error *err)
{
    int rc = append(&d->shard, &d->n_shards, s, err);

    if (rc)
        return rc;
    d->n += s->n[SHARD_SEQUENCES];
    if (s->map.size)
        d->report.mapped_bytes += s->map.size;
    else
        d->report.bytes += shard_bytes(s);
    d->report.bytes += sizeof *s;
    return 0;
}

/* The counts of a report, leaving what the dataset itself knows. */
static void set_report(hone_dataset *d, const hone_dataset_report *r)
{
    uint64_t bytes = d->report.bytes, mapped = d->report.mapped_bytes;

    d->report = *r;
    d->report.bytes = bytes;
    d->report.mapped_bytes = mapped;
}

/* ---- streaming --------------------------------------------------------------------------------------------------- */

static int push(void *ud, shard *s, hone_error *err)
{
    producer *p = ud;
    int rc;

    pthread_mutex_lock(&p->lock);
    rc = append(&p->queue, &p->n, s, err);
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static bool is_cancelled(void *ud)
{
    producer *p = ud;
    bool cancel;

    pthread_mutex_lock(&p->lock);
    cancel = p->cancel;
    pthread_mutex_unlock(&p->lock);
    return cancel;
}

static void *produce(void *ud)
{
    producer *p = ud;
    hone_error err = HONE_ERROR_INIT;
    int rc = shard_make(&p->maker, &err);

    pthread_mutex_lock(&p->lock);
    p->rc = rc;
    p->err = err;
    p->done = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void producer_free(producer *p)
{
    while (p->n)
        shard_close(&p->queue[--p->n]);
    hone_free(p->queue);
    hone_rows_close(p->maker.rows);
    hone_free(p->folder);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    hone_free(p);
}

/* Takes m->rows and folder. */
static int start_producer(hone_dataset *d, shard_maker *m, char *folder, hone_error *err)
{
    producer *p = hone_calloc(1, sizeof *p);

    if (!p)
        return out_of_memory(err);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->maker = *m;
    p->maker.emit = push;
    p->maker.cancelled = is_cancelled;
    p->maker.ud = p;
    p->maker.background = true;
    p->folder = folder;
    m->rows = NULL;
    if (pthread_create(&p->thread, NULL, produce, p)) {
        producer_free(p);
        return hone_error_set(err, HONE_ENOMEM, "can not start a thread to prepare the data");
    }
    d->producer = p;
    return 0;
}

/* Takes what is ready until shard k is there or none will follow. */
static int take_until(hone_dataset *d, size_t k, hone_error *err)
{
    producer *p = d->producer;
    bool done = false;
    size_t i;
    int rc = 0;

    while (!rc && !done && d->n_shards <= k) {
        shard *queue;
        size_t n;

        pthread_mutex_lock(&p->lock);
        while (!p->n && !p->done)
            pthread_cond_wait(&p->changed, &p->lock);
        queue = p->queue;
        n = p->n;
        done = p->done;
        p->queue = NULL;
        p->n = 0;
        pthread_mutex_unlock(&p->lock);
        for (i = 0; i < n; i++)
            if (rc)
                shard_close(&queue[i]);
            else
                rc = dataset_append(d, &queue[i], err);
        hone_free(queue);
    }
    if (rc || !done)
        return rc;
    if (p->rc) /* kept: whoever asks again gets it again */
        return d->n_shards > k ? 0 : hone_error_set(err, p->rc, "%s", p->err.message);
    pthread_join(p->thread, NULL);
    set_report(d, &p->maker.report);
    producer_free(p);
    d->producer = NULL;
    return 0;
}

int hone_dataset_wait(hone_dataset *d, size_t k, size_t *first, size_t *n, hone_error *err)
{
    int rc = d->producer && d->n_shards <= k ? take_until(d, k, err) : 0;

    *first = *n = 0;
    if (rc || k >= d->n_shards)
        return rc;
    *first = d->shard[k].first_sequence;
    *n = d->shard[k].n[SHARD_SEQUENCES];
    return 1;
}

int hone_dataset_finish(hone_dataset *d, hone_error *err)
{
    return d->producer ? take_until(d, SIZE_MAX, err) : 0;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

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

/* Finds the cache: *found, or else *folder (owned by the caller) is where it is to be made. */
static int find_cache(hone_dataset *d, shard_maker *m, char **folder, bool *found, hone_error *err)
{
    const hone_dataset_options *o = &m->options;
    hone_dataset_report report;
    hone_error why = HONE_ERROR_INIT;
    char *manifest = NULL, line[sizeof why.message + 80];
    shard *list;
    size_t n, i;
    int rc = cache_key(m->key, d->file, d->n_files, m->chat, o, err);

    *found = false;
    if (rc)
        return rc;
    *folder = cache_folder(o->cache_dir, m->key);
    if (!*folder)
        return out_of_memory(err);
    rc = cache_open(&list, &n, &report, *folder, m->key, d->n_files, &why);
    if (!rc) {
        for (i = 0; i < n; i++)
            if (rc)
                shard_close(&list[i]);
            else
                rc = dataset_append(d, &list[i], err);
        hone_free(list);
        set_report(d, &report);
        *found = true;
        return rc;
    }
    if (rc == HONE_ENOMEM)
        return out_of_memory(err);
    if (rc != HONE_ENOENT && o->note) {
        snprintf(line, sizeof line, "the token cache is made anew: %s", why.message);
        o->note(o->ud, line);
    }
    rc = hone_mkdirs(*folder, err);
    /* A manifest stands for whole shards: none may be there while they are written. */
    if (!rc && !(manifest = hone_path_join(*folder, "manifest.json")))
        rc = out_of_memory(err);
    if (!rc)
        unlink(manifest);
    hone_free(manifest);
    return rc;
}

static int emit(void *ud, shard *s, hone_error *err)
{
    return dataset_append(ud, s, err);
}

int hone_dataset_open(hone_dataset **out, const char *const *paths, size_t n, const hone_chat *chat,
                      const hone_dataset_options *options, hone_error *err)
{
    shard_maker m = {.chat = chat, .options = *options, .emit = emit};
    hone_dataset *d = NULL;
    char *folder = NULL;
    bool found = false;
    int rc;

    *out = NULL;
    if (options->max_length < 1)
        return hone_error_set(err, HONE_EINVAL, "max_length must be at least 1, not %d", options->max_length);
    rc = hone_rows_open(&m.rows, paths, n, &options->rows, err);
    if (rc)
        return rc;
    m.ud = d = hone_calloc(1, sizeof *d);
    rc = d ? copy_names(d, m.rows, err) : out_of_memory(err);
    if (!rc) {
        d->report.bytes += sizeof *d;
        m.file = d->file;
        m.n_files = d->n_files;
        if (options->cache_dir)
            rc = find_cache(d, &m, &folder, &found, err);
        m.folder = folder;
    }
    if (!rc && !found && options->streaming) {
        rc = start_producer(d, &m, folder, err);
        if (!rc)
            folder = NULL; /* the producer's now */
    } else if (!rc && !found) {
        rc = shard_make(&m, err);
        if (!rc)
            set_report(d, &m.report);
    }
    hone_rows_close(m.rows);
    hone_free(folder);
    if (rc) {
        hone_dataset_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

void hone_dataset_close(hone_dataset *d)
{
    if (!d)
        return;
    if (d->producer) {
        pthread_mutex_lock(&d->producer->lock);
        d->producer->cancel = true;
        pthread_mutex_unlock(&d->producer->lock);
        pthread_join(d->producer->thread, NULL);
        producer_free(d->producer);
    }
    while (d->n_shards)
        shard_close(&d->shard[--d->n_shards]);
    hone_free(d->shard);
    paths_clear(d->file, d->n_files);
    hone_free(d);
}

int hone_dataset_options_from(hone_dataset_options *out, char **cache_dir, const hone_config *c,
                              hone_error *err)
{
    *cache_dir = NULL;
    *out = (hone_dataset_options){.max_length = c->model.max_length,
                                  .overlong = c->data.overlong,
                                  .max_samples = c->data.max_samples,
                                  .threads = c->training.dataloader_num_workers,
                                  .rows = {.fields = &c->data.fields,
                                           .roles = &c->data.roles,
                                           .text_rows = c->data.text_rows,
                                           .mask_history = c->data.mask_history},
                                  .train_on_prompt = c->data.train_on_prompt,
                                  .streaming = c->data.streaming};
    if (!c->data.cache)
        return 0;
    *cache_dir = c->data.cache_dir
                     ? hone_strdup(c->data.cache_dir)
                     : hone_path_join(c->training.output_dir ? c->training.output_dir : ".", "cache");
    out->cache_dir = *cache_dir;
    return *cache_dir ? 0 : out_of_memory(err);
}

int hone_dataset_build_cache(const char *const *paths, size_t n, const hone_chat *chat,
                             const hone_dataset_options *options, hone_dataset_report *report,
                             uint64_t *packs, hone_error *err)
{
    hone_dataset_options o = *options;
    hone_dataset *d = NULL;
    int rc;

    if (!o.cache_dir)
        return hone_error_set(err, HONE_EINVAL, "a token cache needs a folder");
    o.streaming = false;
    rc = hone_dataset_open(&d, paths, n, chat, &o, err);
    if (!rc && packs)
        rc = dataset_count_packs(d, (size_t)o.max_length, packs, err);
    if (!rc)
        *report = d->report;
    hone_dataset_close(d);
    return rc;
}

/* ---- joining ----------------------------------------------------------------------------------------------------- */

int hone_dataset_join(hone_dataset *d, hone_dataset *other, hone_error *err)
{
    const uint64_t rows = d->report.rows_read + d->joined_rows;
    const size_t n_files = d->n_files, n_sequences = d->n;
    char **file;
    size_t i;
    int rc = 0;

    if (n_sequences + other->n > UINT32_MAX)
        return hone_error_set(err, HONE_ELIMIT, "more than %u rows", UINT32_MAX);
    file = hone_realloc_array(d->file, n_files + other->n_files, sizeof *file);
    if (!file)
        return out_of_memory(err);
    d->file = file;
    memcpy(file + n_files, other->file, other->n_files * sizeof *file);
    d->n_files += other->n_files;
    other->n_files = 0; /* the names are d's now */
    d->joined_rows += other->report.rows_read;
    for (i = 0; i < other->n_shards; i++) {
        shard *s = &other->shard[i];

        s->first_file = (uint32_t)n_files;
        s->first_row += rows;
        s->first_sequence += n_sequences;
        if (rc)
            shard_close(s);
        else
            rc = dataset_append(d, s, err);
    }
    other->n_shards = 0;
    return rc;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

const hone_dataset_report *hone_dataset_get_report(const hone_dataset *d)
{
    return &d->report;
}

size_t hone_dataset_size(const hone_dataset *d)
{
    return d->n;
}

static const char *file_of(const hone_dataset *d, const shard *s, const shard_row *row)
{
    return d->file[s->first_file + row->file];
}

hone_sequence hone_dataset_get(const hone_dataset *d, size_t i)
{
    size_t low = 0, high = d->n_shards - 1;
    hone_sequence s;

    while (low < high) { /* the last shard that begins at or before i */
        size_t mid = (low + high + 1) / 2;

        if (d->shard[mid].first_sequence <= i)
            low = mid;
        else
            high = mid - 1;
    }
    i -= d->shard[low].first_sequence;
    s = shard_get(&d->shard[low], i);
    s.file = file_of(d, &d->shard[low], shard_rows(&d->shard[low]) + shard_sequences(&d->shard[low])[i].row);
    return s;
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
    size_t k, i;
    int rc = hone_ledger_open(&l, path, err);

    if (rc)
        return rc;
    for (k = 0; k < d->n_shards; k++)
        for (i = 0; !rc && i < d->shard[k].n[SHARD_ROWS]; i++) {
            const shard_row *r = shard_rows(&d->shard[k]) + i;
            hone_ledger_entry e = {.file = file_of(d, &d->shard[k], r),
                                   .line = r->line,
                                   .row = d->shard[k].first_row + i,
                                   .fate = fate[r->fate],
                                   .reason = r->fate == FATE_DROPPED_OVERLONG ? "overlong" : "untrained",
                                   .tokens = r->tokens,
                                   .parts = r->parts};

            rc = hone_ledger_add(l, &e, err);
        }
    if (!rc)
        return hone_ledger_commit(l, d->report.rows_read + d->joined_rows, err);
    hone_ledger_abort(l);
    return rc;
}
