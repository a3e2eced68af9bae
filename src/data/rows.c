/* The iterator over the rows of all files, in two steps: the text of the next row, which must be found in order, and its
 * conversation, which needs nothing but that text. Who has many rows does the second step on several threads. */
#include <string.h>
#include <sys/stat.h>

#include "data/data.h"

struct hone_rows {
    char **file;
    uint32_t *origin;             /* [n_files] index of the path that a file came from */
    size_t n_files, at;           /* file[at] is open while source.path is set */
    uint64_t bytes, bytes_before; /* of all files; of those behind us */
    hone_rows_options options;
    row_source source;
    raw_row raw; /* of hone_rows_next */
    conversation conversation;
    hone_error refusal; /* of the present row, with keep_going */
    uint64_t index;     /* of the next row */
    uint64_t in_file;   /* rows of the open file so far */
    int failed;         /* the error that ended the reading */
};

/* A name must not stand for two roles. */
static int check_roles(const hone_row_roles *r, hone_error *err)
{
    static const char *const role[] = {"user", "assistant", "system", "tool"};
    const hone_strings *const list[] = {&r->user, &r->assistant, &r->system, &r->tool};
    size_t a, b, i, j;

    for (a = 0; a < HONE_COUNT(list); a++)
        for (i = 0; i < list[a]->n; i++)
            for (b = 0; b < a; b++)
                for (j = 0; j < list[b]->n; j++)
                    if (!strcmp(list[a]->item[i], list[b]->item[j]))
                        return hone_error_set(err, HONE_EINVAL, "data.roles.%s: `%.60s` is a name of %s too",
                                              role[a], list[a]->item[i], role[b]);
    return 0;
}

static uint64_t file_bytes(const char *path)
{
    struct stat st;

    return !path_is_stdin(path) && stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

/* Appends the files of one path. */
static int add_path(hone_rows *r, const char *path, uint32_t origin, hone_error *err)
{
    char **list, **file;
    uint32_t *origins;
    size_t n, i;
    int rc = paths_expand(&list, &n, &path, 1, err);

    if (rc)
        return rc;
    file = hone_realloc_array(r->file, r->n_files + n, sizeof *file);
    r->file = file ? file : r->file;
    origins = hone_realloc_array(r->origin, r->n_files + n, sizeof *origins);
    r->origin = origins ? origins : r->origin;
    if (!file || !origins) {
        paths_clear(list, n);
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    }
    for (i = 0; i < n; i++) {
        r->bytes += file_bytes(list[i]);
        r->file[r->n_files] = list[i];
        r->origin[r->n_files++] = origin;
    }
    hone_free(list);
    return 0;
}

int hone_rows_open(hone_rows **out, const char *const *paths, size_t n, const hone_rows_options *options,
                   hone_error *err)
{
    hone_rows *r = hone_calloc(1, sizeof *r);
    size_t i;
    int rc = r ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory");

    if (!rc && !n)
        rc = hone_error_set(err, HONE_EINVAL, "no data file is given");
    if (!rc && options && options->roles)
        rc = check_roles(options->roles, err);
    for (i = 0; !rc && i < n; i++)
        rc = add_path(r, paths[i], (uint32_t)i, err);
    if (rc) {
        hone_rows_close(r);
        r = NULL;
    }
    if (r && options)
        r->options = *options;
    *out = r;
    return rc;
}

/* ---- the text of a row ----------------------------------------------------------------------------------------------- */

/* Hands over what the source holds. The buffers are exchanged, so that nothing is copied. */
static void take_row(hone_rows *r, raw_row *out)
{
    hone_buf text = out->text;

    out->text = r->source.row;
    r->source.row = text;
    out->refusal = r->source.refusal;
    out->file = r->source.path;
    out->json = r->source.reader->json;
    out->file_index = (uint32_t)r->at;
    out->line = r->source.row_line;
    out->index = r->index++;
    r->in_file++;
}

static int next_raw(hone_rows *r, raw_row *out, hone_error *err)
{
    int rc;

    for (; r->at < r->n_files; r->at++) {
        if (!r->source.path) {
            rc = row_source_open(&r->source, r->file[r->at], r->options.text_rows, err);
            if (rc)
                return rc;
            r->in_file = 0;
        }
        rc = row_source_next(&r->source, err);
        if (rc < 0)
            return rc;
        if (rc) {
            take_row(r, out);
            return 1;
        }
        if (!r->in_file)
            return hone_error_set(err, HONE_EFORMAT, "%s: no rows in this file", r->file[r->at]);
        row_source_close(&r->source);
        r->bytes_before += file_bytes(r->file[r->at]);
    }
    return 0;
}

int rows_next_raw(hone_rows *r, raw_row *out, hone_error *err)
{
    int rc =
        r->failed ? hone_error_set(err, r->failed, "the reading has failed before") : next_raw(r, out, err);

    if (rc < 0)
        r->failed = rc;
    return rc;
}

void rows_progress(const hone_rows *r, uint64_t *done, uint64_t *total)
{
    uint64_t open = r->source.stream ? byte_stream_offset(r->source.stream) : 0;

    *total = r->bytes;
    *done = HONE_MIN(r->bytes_before + open, r->bytes);
}

uint32_t rows_origin(const hone_rows *r, uint32_t file_index)
{
    return r->origin[file_index];
}

/* ---- its conversation -------------------------------------------------------------------------------------------------- */

int rows_convert(conversation *out, const raw_row *raw, const hone_rows_options *options, hone_error *err)
{
    json_problem problem;
    json_t *value;
    int rc;

    if (raw->refusal.code)
        return hone_error_set(err, raw->refusal.code, "%s", raw->refusal.message);
    if (json_read(&value, raw->text.data, raw->text.len, &problem))
        return problem.code == HONE_ENOMEM
                   ? hone_error_set(err, HONE_ENOMEM, "%s: out of memory", raw->file)
                   : hone_error_set(err, problem.code, "%s:%llu: broken %s: %s", raw->file,
                                    (unsigned long long)(raw->line + problem.line - 1),
                                    raw->json ? "JSON" : "text", problem.reason);
    if (json_is_object(value))
        rc = conversation_read(out, value, options, raw->file, raw->line, err);
    else
        rc = hone_error_set(err, HONE_EFORMAT, "%s:%llu: a row must be an object, {...}", raw->file,
                            (unsigned long long)raw->line);
    json_decref(value);
    return rc;
}

static int read_row(hone_rows *r, hone_row *row, hone_error *err)
{
    const conversation *c = &r->conversation;
    int rc;

    r->refusal = (hone_error)HONE_ERROR_INIT;
    rc = rows_convert(&r->conversation, &r->raw, &r->options, r->options.keep_going ? &r->refusal : err);
    if (rc == HONE_ENOMEM)
        return hone_error_set(err, rc, "%s", r->refusal.message);
    if (rc && !r->options.keep_going)
        return rc;
    *row = (hone_row){.file = r->raw.file,
                      .file_index = r->raw.file_index,
                      .line = r->raw.line,
                      .index = r->raw.index,
                      .refused = rc ? r->refusal.message : NULL};
    if (!rc) {
        row->conversation = c->text.data;
        row->len = c->text.len;
        row->plain_text = c->plain_text;
        row->n_messages = c->n_messages;
        row->trained = c->trained;
        row->weight = c->weight;
        row->fractional = c->fractional;
        row->row_weight = c->row_weight;
        row->id = c->id;
        row->task = c->task;
        row->label = c->label;
        row->group = c->group;
    }
    return 1;
}

int hone_rows_next(hone_rows *r, hone_row *row, hone_error *err)
{
    int rc = rows_next_raw(r, &r->raw, err);

    if (rc == 1)
        rc = read_row(r, row, err);
    if (rc < 0)
        r->failed = rc;
    return rc;
}

void raw_row_clear(raw_row *r)
{
    hone_buf_clear(&r->text);
}

size_t hone_rows_files(const hone_rows *r)
{
    return r->n_files;
}

const char *hone_rows_file(const hone_rows *r, size_t i)
{
    return i < r->n_files ? r->file[i] : NULL;
}

void hone_rows_close(hone_rows *r)
{
    if (!r)
        return;
    row_source_close(&r->source);
    raw_row_clear(&r->raw);
    conversation_clear(&r->conversation);
    paths_clear(r->file, r->n_files);
    hone_free(r->origin);
    hone_free(r);
}
