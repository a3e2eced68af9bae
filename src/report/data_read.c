/* The second pass of the data report: reads the rows again, measures each of them, and keeps the text of those that are
 * shown. Rows are gathered into chunks that several threads encode; what is learnt lands in the row's own place, so that
 * the result does not depend on the threads. */
#include <string.h>

#include "report/data_report.h"

#define CHUNK_ROWS 512
#define CHUNK_BYTES ((size_t)8 << 20)

/* A row that waits for its measures. */
typedef struct waiting {
    size_t row, at, len; /* at: of its text in the chunk */
    size_t weight_at, n_messages;
    float row_weight;
    bool plain;
    hone_error failure;
} waiting;

typedef struct chunk {
    report *r;
    hone_buf text;
    float *weight;
    size_t n_weights, weight_capacity;
    waiting row[CHUNK_ROWS];
    size_t n;
} chunk;

static int no_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the report");
}

/* ---- measuring ------------------------------------------------------------------------------------------------------ */

static size_t count_characters(const char *s, size_t n)
{
    size_t i, count = 0;

    for (i = 0; i < n; i++)
        count += ((uint8_t)s[i] & 0xc0) != 0x80;
    return count;
}

static void measure_text(row_note *note, const json_t *root, bool characters)
{
    const json_t *list = json_object_get(root, "messages"), *text = json_object_get(root, "text");
    size_t i, count = count_characters(text ? json_string_value(text) : "", json_string_length(text));

    for (i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i), *content = json_object_get(m, "content");
        const char *role = json_string_value(json_object_get(m, "role"));

        note->turns += role && !strcmp(role, "assistant");
        if (json_is_string(content))
            count += count_characters(json_string_value(content), json_string_length(content));
    }
    if (characters)
        note->length = (uint32_t)HONE_MIN(count, UINT32_MAX);
}

static void measure(void *ud, size_t i)
{
    chunk *c = ud;
    waiting *w = &c->row[i];
    const hone_data_report_options *o = c->r->o;
    hone_dataset_options options = {.max_length = INT32_MAX, .train_on_prompt = o->train_on_prompt};
    row_text text = {c->text.data + w->at, w->len,        c->weight + w->weight_at,
                     w->n_messages,        w->row_weight, w->plain};
    row_note *note = &c->r->row[w->row];
    json_t *root = json_loadb(text.text, text.len, 0, NULL);
    encoded_row e = {0};

    if (!root)
        no_memory(&w->failure);
    else
        measure_text(note, root, !o->chat);
    if (root && o->chat && !row_encode(&e, o->chat, &text, &options, &w->failure)) {
        note->length = (uint32_t)e.part->n;
        note->trained = (uint32_t)e.part->n_trained;
    }
    json_decref(root);
    encoded_row_clear(&e);
}

static int measure_chunk(chunk *c, hone_error *err)
{
    report *r = c->r;
    size_t i;

    data_parallel(data_threads(r->prepare->threads), c->n, measure, c);
    for (i = 0; i < c->n; i++) {
        const hone_error *failure = &c->row[i].failure;

        if (failure->code == HONE_ENOMEM || failure->code == HONE_EINTERNAL)
            return hone_error_set(err, failure->code, "%s", failure->message);
        if (!failure->code)
            continue;
        if (!r->unencoded++) {
            r->unencoded_why = hone_strdup(failure->message);
            if (!r->unencoded_why)
                return no_memory(err);
        }
    }
    c->n = 0;
    c->text.len = 0;
    c->n_weights = 0;
    return 0;
}

static int add_to_chunk(chunk *c, const hone_row *row, hone_error *err)
{
    waiting *w;
    int rc = 0;

    if (c->n == CHUNK_ROWS || (c->n && c->text.len + row->len > CHUNK_BYTES))
        rc = measure_chunk(c, err);
    if (rc)
        return rc;
    /* one more than needed, so that the array is there for rows without messages too */
    c->weight =
        hone_grow(c->weight, &c->weight_capacity, c->n_weights + row->n_messages + 1, sizeof *c->weight);
    if (c->n_weights + row->n_messages >= c->weight_capacity)
        return no_memory(err);
    w = &c->row[c->n++];
    *w = (waiting){.row = row->index,
                   .at = c->text.len,
                   .len = row->len,
                   .weight_at = c->n_weights,
                   .n_messages = row->n_messages,
                   .row_weight = row->row_weight,
                   .plain = row->plain_text};
    hone_buf_add(&c->text, row->conversation, row->len);
    if (row->n_messages)
        memcpy(c->weight + c->n_weights, row->weight, row->n_messages * sizeof *c->weight);
    c->n_weights += row->n_messages;
    return c->text.failed ? no_memory(err) : 0;
}

/* ---- rows that are shown --------------------------------------------------------------------------------------------- */

static int by_row(const void *a, const void *b)
{
    uint64_t x = ((const shown_row *)a)->row, y = ((const shown_row *)b)->row;

    return (x > y) - (x < y);
}

/* Sorts and drops what is there twice. */
static void tidy(shown_row *list, size_t *n)
{
    size_t i, k = 0;

    qsort(list, *n, sizeof *list, by_row);
    for (i = 0; i < *n; i++)
        if (!k || list[k - 1].row != list[i].row)
            list[k++] = list[i];
    *n = k;
}

static int choose_shown(report *r, hone_error *err)
{
    size_t i, k, most = 0;

    for (i = 0; i < r->n_problems; i++)
        most += r->problem[i].n_examples;
    r->shown = hone_calloc(2 * most + 1, sizeof *r->shown);
    r->other = hone_calloc(most + 1, sizeof *r->other);
    if (!r->shown || !r->other)
        return no_memory(err);
    for (i = 0; i < r->n_problems; i++)
        for (k = 0; k < r->problem[i].n_examples; k++) {
            const example *e = &r->problem[i].example[k];

            if (e->row != UINT64_MAX)
                r->shown[r->n_shown++].row = e->row;
            if (e->other_file && i == PROBLEM_DUPLICATE)
                r->shown[r->n_shown++].row = e->other_row;
            if (e->other_file && i == PROBLEM_CONTAMINATED)
                r->other[r->n_other++].row = e->other_row;
        }
    tidy(r->shown, &r->n_shown);
    tidy(r->other, &r->n_other);
    return 0;
}

/* Used rows, one from the middle of each of `samples` equal parts of them. */
static int choose_samples(report *r, hone_error *err)
{
    uint64_t used = 0, seen = 0, wanted = r->o->chat ? r->o->samples : 0;
    size_t i;

    for (i = 0; i < r->n; i++)
        used += r->row[i].copies > 0;
    wanted = HONE_MIN(wanted, used);
    r->sample = hone_calloc(wanted + 1, sizeof *r->sample);
    if (!r->sample)
        return no_memory(err);
    for (i = 0; i < r->n && r->n_samples < wanted; i++)
        if (r->row[i].copies && seen++ == (2 * r->n_samples + 1) * used / (2 * wanted))
            r->sample[r->n_samples++].row = i;
    return 0;
}

static int keep_shown(shown_row *s, const hone_row *row, hone_error *err)
{
    s->line = row->line;
    s->file = hone_strdup(row->file);
    if (!s->file)
        return no_memory(err);
    if (row->refused || row->len > SHOWN_LIMIT)
        return 0;
    s->root = json_loadb(row->conversation, row->len, 0, NULL);
    return s->root ? 0 : no_memory(err);
}

static int keep_sample(report *r, sample_row *s, const hone_row *row, hone_error *err)
{
    hone_error failure = HONE_ERROR_INIT;
    int rc;

    s->line = row->line;
    s->file = hone_strdup(row->file);
    if (!s->file)
        return no_memory(err);
    if (row->len > SHOWN_LIMIT)
        return 0;
    rc = hone_row_picture_make(&s->picture, r->o->chat, row, r->o->train_on_prompt, &failure);
    if (rc == HONE_ENOMEM || rc == HONE_EINTERNAL)
        return hone_error_set(err, rc, "%s", failure.message);
    if (rc) {
        s->failure = hone_strdup(failure.message);
        return s->failure ? 0 : no_memory(err);
    }
    return 0;
}

/* ---- the pass -------------------------------------------------------------------------------------------------------- */

static int add_sources(report *r, const hone_rows *rows, bool evaluation, hone_error *err)
{
    size_t n = hone_rows_files(rows), i;
    source_file *list = hone_realloc_array(r->source, r->n_sources + n + 1, sizeof *list);

    if (!list)
        return no_memory(err);
    r->source = list;
    for (i = 0; i < n; i++) {
        source_file *s = &r->source[r->n_sources];
        hone_map map;
        int rc = hone_map_open(&map, hone_rows_file(rows, i), err);

        if (rc)
            return rc;
        *s = (source_file){
            .path = hone_strdup(hone_rows_file(rows, i)), .evaluation = evaluation, .size = map.size};
        r->n_sources++;
        hone_sha256(s->hash, map.data, map.size);
        hone_map_close(&map);
        if (!s->path)
            return no_memory(err);
    }
    return 0;
}

static void tell(const report *r, uint64_t rows)
{
    hone_progress p = {.stage = "report", .rows = rows, .done = rows, .total = r->n};

    if (r->prepare->progress)
        r->prepare->progress(r->prepare->ud, &p);
}

static int read_training(report *r, const char *const *paths, size_t n, hone_error *err)
{
    hone_rows_options options = r->prepare->rows;
    chunk *c = hone_calloc(1, sizeof *c);
    hone_rows *rows = NULL;
    size_t shown = 0, sample = 0, sources = r->n_sources;
    hone_row row;
    int rc, more = 1;

    if (!c)
        return no_memory(err);
    c->r = r;
    options.keep_going = true;
    rc = hone_rows_open(&rows, paths, n, &options, err);
    if (!rc)
        rc = add_sources(r, rows, false, err);
    while (!rc && (more = hone_rows_next(rows, &row, err)) == 1 && row.index < r->n) {
        if (sources + row.file_index >= r->n_sources)
            rc = hone_error_set(err, HONE_EINTERNAL, "a row of no file");
        else
            r->source[sources + row.file_index].rows++;
        if (!rc && !row.refused)
            rc = add_to_chunk(c, &row, err);
        while (sample < r->n_samples && r->sample[sample].row < row.index)
            sample++;
        if (!rc && shown < r->n_shown && r->shown[shown].row == row.index)
            rc = keep_shown(&r->shown[shown++], &row, err);
        if (!rc && sample < r->n_samples && r->sample[sample].row == row.index && !row.refused)
            rc = keep_sample(r, &r->sample[sample], &row, err);
        if (!rc && row.index % 1000 == 0)
            tell(r, row.index);
    }
    rc = rc ? rc : HONE_MIN(more, 0);
    if (!rc)
        rc = measure_chunk(c, err);
    hone_rows_close(rows);
    hone_buf_clear(&c->text);
    hone_free(c->weight);
    hone_free(c);
    return rc;
}

static int read_evaluation(report *r, hone_error *err)
{
    const hone_prepare_options *o = r->prepare;
    hone_rows_options options = o->rows;
    hone_rows *rows = NULL;
    size_t other = 0, sources = r->n_sources;
    hone_row row;
    int rc, more = 1;

    options.keep_going = true;
    rc = hone_rows_open(&rows, o->against, o->n_against, &options, err);
    if (!rc)
        rc = add_sources(r, rows, true, err);
    while (!rc && (more = hone_rows_next(rows, &row, err)) == 1) {
        if (sources + row.file_index < r->n_sources)
            r->source[sources + row.file_index].rows++;
        if (other < r->n_other && r->other[other].row == row.index)
            rc = keep_shown(&r->other[other++], &row, err);
    }
    hone_rows_close(rows);
    return rc ? rc : HONE_MIN(more, 0);
}

/* Bytes up to the last slash that all paths have in common. */
static size_t common_folder(const report *r)
{
    const char *first = r->n_sources ? r->source[0].path : "";
    size_t n = strlen(first), i, k;

    for (i = 0; i < r->n_sources; i++) {
        for (k = 0; k < n && r->source[i].path[k] == first[k]; k++)
            ;
        n = k;
    }
    while (n && first[n - 1] != '/')
        n--;
    return n > 1 ? n : 0; /* the root is no folder to leave out */
}

int report_read(report *r, const char *const *paths, size_t n, hone_error *err)
{
    int rc = choose_shown(r, err);

    if (!rc)
        rc = choose_samples(r, err);
    if (!rc)
        rc = read_training(r, paths, n, err);
    if (!rc && r->prepare->n_against)
        rc = read_evaluation(r, err);
    if (!rc)
        r->common = common_folder(r);
    return rc;
}
