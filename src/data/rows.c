/* The iterator over the rows of all files. */
#include <string.h>

#include "data/data.h"

struct hone_rows {
    char **file;
    size_t n_files, at; /* file[at] is open while source.path is set */
    hone_rows_options options;
    row_source source;
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

int hone_rows_open(hone_rows **out, const char *const *paths, size_t n, const hone_rows_options *options,
                   hone_error *err)
{
    hone_rows *r = hone_calloc(1, sizeof *r);
    int rc = r ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory");

    if (!rc && options && options->roles)
        rc = check_roles(options->roles, err);
    if (!rc)
        rc = paths_expand(&r->file, &r->n_files, paths, n, err);
    if (rc) {
        hone_free(r);
        r = NULL;
    }
    if (r && options)
        r->options = *options;
    *out = r;
    return rc;
}

/* Parses the text that the source holds and converts it. */
static int convert_row(hone_rows *r, hone_error *err)
{
    row_source *s = &r->source;
    json_problem problem;
    json_t *value;
    int rc;

    if (s->refusal.code)
        return hone_error_set(err, s->refusal.code, "%s", s->refusal.message);
    if (json_read(&value, s->row.data, s->row.len, &problem))
        return problem.code == HONE_ENOMEM
                   ? hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path)
                   : hone_error_set(err, problem.code, "%s:%llu: broken %s: %s", s->path,
                                    (unsigned long long)(s->row_line + problem.line - 1),
                                    s->reader->json ? "JSON" : "text", problem.reason);
    if (json_is_object(value))
        rc = conversation_read(&r->conversation, value, &r->options, s->path, s->row_line, err);
    else
        rc = hone_error_set(err, HONE_EFORMAT, "%s:%llu: a row must be an object, {...}", s->path,
                            (unsigned long long)s->row_line);
    json_decref(value);
    return rc;
}

static int read_row(hone_rows *r, hone_row *row, hone_error *err)
{
    const conversation *c = &r->conversation;
    int rc;

    r->refusal = (hone_error)HONE_ERROR_INIT;
    rc = convert_row(r, r->options.keep_going ? &r->refusal : err);
    if (rc == HONE_ENOMEM)
        return hone_error_set(err, rc, "%s", r->refusal.message);
    if (rc && !r->options.keep_going)
        return rc;
    *row = (hone_row){.file = r->source.path,
                      .file_index = (uint32_t)r->at,
                      .line = r->source.row_line,
                      .index = r->index++,
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
    r->in_file++;
    return 1;
}

static int next_row(hone_rows *r, hone_row *row, hone_error *err)
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
        if (rc)
            return read_row(r, row, err);
        if (!r->in_file)
            return hone_error_set(err, HONE_EFORMAT, "%s: no rows in this file", r->file[r->at]);
        row_source_close(&r->source);
    }
    return 0;
}

int hone_rows_next(hone_rows *r, hone_row *row, hone_error *err)
{
    int rc =
        r->failed ? hone_error_set(err, r->failed, "the reading has failed before") : next_row(r, row, err);

    if (rc < 0)
        r->failed = rc;
    return rc;
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
    conversation_clear(&r->conversation);
    paths_clear(r->file, r->n_files);
    hone_free(r);
}
