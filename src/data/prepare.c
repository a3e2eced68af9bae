/* Rows that are worth training on. One pass reads every row, keeps its conversation as the line that will be written, and
 * meets the checks that need no other row (is it good, does it repeat an evaluation row); then the rows that are left are
 * grouped; then fates and rows are written in order. A row that was dropped for its own sake stands for no other: it takes
 * no part in the groups. */
#include <string.h>

#include "data/dedup.h"

#define CHUNK ((size_t)4 << 20)
#define NO_GROUP UINT32_MAX

typedef struct prepared {
    char *line; /* JSON; the reason of an invalid row */
    uint32_t len, file;
    uint64_t place; /* line in the file */
    uint32_t group; /* number of the row among those that are compared, or NO_GROUP */
    bool invalid;
    contamination_hit hit; /* file NULL: none */
} prepared;

typedef struct preparation {
    const hone_prepare_options *options;
    hone_rows *rows;
    contamination *contamination;
    dedup *dedup;
    prepared *row;
    size_t n, capacity;
    uint32_t *of_group; /* [n_groups] row of a number in dedup */
    size_t n_groups, group_capacity;
    char **chunk; /* that hold the lines */
    size_t n_chunks, chunk_used, chunk_size;
    hone_buf text; /* reused */
} preparation;

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the rows");
}

static int grow(void **p, size_t *capacity, size_t n, size_t size, hone_error *err)
{
    size_t want = *capacity + *capacity / 2 + 1024;
    void *grown;

    if (n < *capacity)
        return 0;
    grown = hone_realloc_array(*p, want, size);
    if (!grown)
        return out_of_memory(err);
    *p = grown;
    *capacity = want;
    return 0;
}

static char *keep(preparation *p, const char *text, size_t n)
{
    char *copy;

    if (!p->n_chunks || n + 1 > p->chunk_size - p->chunk_used) {
        char **list = hone_realloc_array(p->chunk, p->n_chunks + 1, sizeof *list);

        if (!list)
            return NULL;
        p->chunk = list;
        p->chunk_size = HONE_MAX(n + 1, CHUNK);
        p->chunk_used = 0;
        list[p->n_chunks] = hone_alloc(p->chunk_size);
        if (!list[p->n_chunks])
            return NULL;
        p->n_chunks++;
    }
    copy = p->chunk[p->n_chunks - 1] + p->chunk_used;
    p->chunk_used += n + 1;
    memcpy(copy, text, n);
    copy[n] = 0;
    return copy;
}

/* What two rows are compared by: all that is said, without system prompts, a message a line. */
static void say(hone_buf *out, const json_t *root)
{
    const json_t *list = json_object_get(root, "messages"), *text = json_object_get(root, "text");
    size_t i;

    out->len = 0;
    if (text)
        hone_buf_add(out, json_string_value(text), json_string_length(text));
    for (i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i), *content = json_object_get(m, "content");
        const json_t *calls = json_object_get(m, "tool_calls");
        const char *role = json_string_value(json_object_get(m, "role"));

        if (!strcmp(role, "system") || !strcmp(role, "developer"))
            continue;
        if (content)
            hone_buf_add(out, json_string_value(content), json_string_length(content));
        if (calls)
            json_write(out, calls, NULL);
        hone_buf_putc(out, '\n');
    }
}

/* How much a row teaches: bytes of its trained answers. */
static float score_of(const json_t *root, const hone_row *row)
{
    const json_t *list = json_object_get(root, "messages");
    double bytes = (double)json_string_length(json_object_get(root, "text"));
    size_t i;

    for (i = 0; i < row->n_messages; i++)
        if (row->trained[i])
            bytes += (double)json_string_length(json_object_get(json_array_get(list, i), "content"));
    return (float)bytes;
}

/* The line of a row as it is written: its conversation, with the weights of turns that are not simply trained. */
static int put_line(preparation *p, json_t *root, const hone_row *row, prepared *out, hone_error *err)
{
    json_t *list = json_object_get(root, "messages");
    bool changed = false;
    size_t i;
    int rc = 0;

    for (i = 0; i < row->n_messages; i++) {
        json_t *m = json_array_get(list, i);

        if (strcmp(json_string_value(json_object_get(m, "role")), "assistant") || row->weight[i] == 1)
            continue;
        changed = true;
        if (json_object_set_new(m, "loss_weight",
                                row->weight[i] == 0 ? json_integer(0) : json_real((double)row->weight[i])))
            return out_of_memory(err);
    }
    p->text.len = 0;
    if (changed)
        rc = json_write(&p->text, root, err);
    else
        hone_buf_add(&p->text, row->conversation, row->len);
    if (!rc && (p->text.failed || !(out->line = keep(p, p->text.data, p->text.len))))
        rc = out_of_memory(err);
    out->len = (uint32_t)p->text.len;
    return rc;
}

static int add_good_row(preparation *p, const hone_row *row, prepared *out, hone_error *err)
{
    json_t *root = json_loadb(row->conversation, row->len, 0, NULL);
    float score = score_of(root, row);
    int rc = root ? 0 : out_of_memory(err);

    if (!rc && p->contamination)
        rc = contamination_check(p->contamination, &out->hit, root, err);
    if (rc == 1) {
        json_decref(root);
        return 0;
    }
    if (!rc && p->dedup) {
        say(&p->text, root);
        rc = p->text.failed ? out_of_memory(err) : dedup_add(p->dedup, p->text.data, p->text.len, score, err);
        if (!rc)
            rc = grow((void **)&p->of_group, &p->group_capacity, p->n_groups, sizeof *p->of_group, err);
        if (!rc) {
            out->group = (uint32_t)p->n_groups;
            p->of_group[p->n_groups++] = (uint32_t)p->n;
        }
    }
    if (!rc && (p->options->output || p->options->row))
        rc = put_line(p, root, row, out, err);
    json_decref(root);
    return rc;
}

static int add_row(preparation *p, const hone_row *row, hone_error *err)
{
    prepared out = {.file = row->file_index, .place = row->line, .group = NO_GROUP, .invalid = row->refused};
    int rc = 0;

    if (p->n >= UINT32_MAX - 1)
        return hone_error_set(err, HONE_ELIMIT, "more than %u rows", UINT32_MAX - 1);
    if (row->refused)
        rc = (out.line = keep(p, row->refused, strlen(row->refused))) ? 0 : out_of_memory(err);
    else
        rc = add_good_row(p, row, &out, err);
    if (!rc)
        rc = grow((void **)&p->row, &p->capacity, p->n, sizeof *p->row, err);
    if (!rc)
        p->row[p->n++] = out;
    return rc;
}

static void tell(const preparation *p, const char *stage)
{
    if (p->options->progress)
        p->options->progress(p->options->ud, &(hone_progress){.stage = stage, .rows = p->n});
}

static int read_rows(preparation *p, hone_error *err)
{
    uint64_t left = p->options->max_samples > 0 ? (uint64_t)p->options->max_samples : UINT64_MAX;
    hone_row row;
    int rc = 0, more = 1;

    while (!rc && left-- && (more = hone_rows_next(p->rows, &row, err)) == 1) {
        rc = add_row(p, &row, err);
        if (!rc && p->n % 1000 == 0)
            tell(p, "read");
    }
    return rc ? rc : HONE_MIN(more, 0);
}

/* The fate of row i. */
static hone_ledger_entry fate_of(const preparation *p, size_t i)
{
    const prepared *r = &p->row[i];
    hone_ledger_entry e = {.file = hone_rows_file(p->rows, r->file), .line = r->place, .row = i};
    double similarity;
    size_t kept;

    if (r->invalid) {
        e.fate = HONE_FATE_DROPPED;
        e.reason = "invalid";
        e.detail = r->line;
    } else if (r->hit.file) {
        e.fate = HONE_FATE_CONTAMINATED;
        e.other_file = r->hit.file;
        e.other_line = r->hit.line;
        e.other_row = r->hit.row;
        e.similarity = r->hit.share;
    } else if (r->group != NO_GROUP && (kept = dedup_kept(p->dedup, r->group, &similarity)) != r->group) {
        const prepared *other = &p->row[p->of_group[kept]];

        e.fate = HONE_FATE_DUPLICATE;
        e.other_file = hone_rows_file(p->rows, other->file);
        e.other_line = other->place;
        e.other_row = p->of_group[kept];
        e.similarity = similarity;
    }
    return e;
}

static int write_row(hone_writer *w, const prepared *r, hone_error *err)
{
    int rc = hone_writer_write(w, r->line, r->len, err);

    return rc ? rc : hone_writer_write(w, "\n", 1, err);
}

/* Fates and rows, in order. The rows appear before the ledger that speaks of them. */
static int write_all(preparation *p, hone_ledger_counts *counts, hone_error *err)
{
    const hone_prepare_options *o = p->options;
    hone_writer *w = NULL;
    hone_ledger *l;
    size_t i;
    int rc = hone_ledger_open(&l, o->ledger, err);

    if (rc)
        return rc;
    if (o->output)
        rc = hone_writer_open(&w, o->output, err);
    for (i = 0; !rc && i < p->n; i++) {
        hone_row_result r = {.entry = fate_of(p, i), .weight = 1};

        r.copies = r.entry.fate == HONE_FATE_USED;
        if (!p->row[i].invalid) {
            r.conversation = p->row[i].line;
            r.len = p->row[i].len;
        }
        rc = hone_ledger_add_row(l, &r, err);
        if (!rc && r.copies && w)
            rc = write_row(w, &p->row[i], err);
        if (!rc && o->row)
            o->row(o->ud, &r);
    }
    *counts = hone_ledger_get_counts(l);
    if (!rc && w && !counts->used)
        rc = hone_error_set(err, HONE_EFORMAT, "%s: none of the %zu rows is left", hone_rows_file(p->rows, 0),
                            p->n);
    if (!rc && w) {
        rc = hone_writer_commit(w, err);
        w = NULL;
    }
    hone_writer_abort(w);
    if (!rc)
        return hone_ledger_commit(l, p->n, err);
    hone_ledger_abort(l);
    return rc;
}

int hone_data_prepare(const char *const *paths, size_t n, const hone_prepare_options *o,
                      hone_ledger_counts *counts, hone_error *err)
{
    dedup_options d = {o->near, o->threshold, o->ngram, data_threads(o->threads)};
    hone_rows_options strict = o->rows;
    preparation p = {.options = o};
    size_t i;
    int rc = 0;

    *counts = (hone_ledger_counts){0};
    strict.keep_going = false; /* of evaluation rows */
    if ((o->near && (o->ngram < 1 || o->ngram > NGRAM_LIMIT || !(o->threshold > 0 && o->threshold <= 1))) ||
        (o->n_against && (o->contamination_ngram < 1 || o->contamination_ngram > NGRAM_LIMIT ||
                          !(o->share > 0 && o->share <= 1))))
        return hone_error_set(err, HONE_EINVAL, "n-grams have 1 to %d characters, thresholds lie in (0, 1]",
                              NGRAM_LIMIT);
    if (o->n_against)
        rc = contamination_open(&p.contamination, o->against, o->n_against, &strict, o->contamination_ngram,
                                o->share, err);
    if (!rc && (o->exact || o->near))
        rc = dedup_open(&p.dedup, &d, err);
    if (!rc)
        rc = hone_rows_open(&p.rows, paths, n, &o->rows, err);
    if (!rc)
        rc = read_rows(&p, err);
    tell(&p, "compare");
    if (!rc && p.dedup)
        rc = dedup_run(p.dedup, err);
    tell(&p, "write");
    if (!rc)
        rc = write_all(&p, counts, err);
    hone_rows_close(p.rows);
    dedup_close(p.dedup);
    contamination_close(p.contamination);
    for (i = 0; i < p.n_chunks; i++)
        hone_free(p.chunk[i]);
    hone_free(p.chunk);
    hone_free(p.row);
    hone_free(p.of_group);
    hone_buf_clear(&p.text);
    return rc;
}
