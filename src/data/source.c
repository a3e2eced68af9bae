/* Files of rows. A file is read in pieces and cut into the JSON text of one row at a time, so that memory is bounded
 * by the longest row and every row knows its line. JSON arrays are cut by counting brackets outside strings; whether
 * the text of a row is JSON is jansson's business. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "data/data.h"

#define BUFFER 65536

/* Makes at least one byte available unless the file is at its end (s->at == s->end then). */
static int fill(row_source *s, hone_error *err)
{
    ssize_t n;

    if (s->at < s->end)
        return 0;
    do
        n = read(s->fd, s->buffer, BUFFER);
    while (n < 0 && errno == EINTR);
    s->at = 0;
    s->end = n > 0 ? (size_t)n : 0;
    return n < 0 ? hone_error_set(err, HONE_EIO, "%s: cannot read: %s", s->path, strerror(errno)) : 0;
}

/* Appends n bytes at s->at to the row and steps over them. */
static int take(row_source *s, size_t n, hone_error *err)
{
    if (s->row.len + n >= ROW_LIMIT)
        return hone_error_set(err, HONE_ELIMIT, "%s:%llu: this row is longer than %zu MiB", s->path,
                              (unsigned long long)s->row_line, ROW_LIMIT >> 20);
    hone_buf_add(&s->row, s->buffer + s->at, n);
    s->at += n;
    return s->row.failed ? hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path) : 0;
}

/* Steps over white space; *c is the byte that follows, or -1 at the end. */
static int skip_space(row_source *s, int *c, hone_error *err)
{
    for (;; s->at++) {
        int rc = fill(s, err);

        *c = s->at < s->end ? s->buffer[s->at] : -1;
        if (rc || (*c != ' ' && *c != '\t' && *c != '\r' && *c != '\n'))
            return rc;
        s->line += *c == '\n';
    }
}

static int broken(const row_source *s, uint64_t line, hone_error *err, const char *reason)
{
    return hone_error_set(err, HONE_EFORMAT, "%s:%llu: broken JSON: %s", s->path, (unsigned long long)line,
                          reason);
}

/* The next line that is not blank. */
static int next_line(row_source *s, hone_error *err)
{
    const uint8_t *newline = NULL;
    int c, rc = skip_space(s, &c, err);

    if (rc || c < 0)
        return rc;
    s->row.len = 0;
    s->row_line = s->line;
    while (!newline) {
        rc = fill(s, err);
        if (rc)
            return rc;
        if (s->at == s->end)
            break;
        newline = memchr(s->buffer + s->at, '\n', s->end - s->at);
        rc = take(s, newline ? (size_t)(newline - (s->buffer + s->at)) : s->end - s->at, err);
        if (rc)
            return rc;
    }
    return 1;
}

/* The bytes of one object, from its `{` to the bracket that closes it. */
static int take_object(row_source *s, hone_error *err)
{
    bool string = false, escaped = false;
    size_t depth = 0;
    int rc;

    s->row.len = 0;
    s->row_line = s->line;
    do {
        size_t i;

        rc = fill(s, err);
        if (rc)
            return rc;
        if (s->at == s->end)
            return broken(s, s->row_line, err, "the file ends inside the row that begins here");
        for (i = s->at; i < s->end; i++) {
            uint8_t c = s->buffer[i];

            if (c == '\n') {
                /* Without this check, a missing quote would swallow the rest of the file. */
                if (string)
                    return broken(s, s->line, err, "a line break inside a string");
                s->line++;
            } else if (string) {
                if (escaped)
                    escaped = false;
                else if (c == '\\')
                    escaped = true;
                else if (c == '"')
                    string = false;
            } else if (c == '"') {
                string = true;
            } else if (c == '{' || c == '[') {
                depth++;
            } else if ((c == '}' || c == ']') && --depth == 0) {
                i++;
                break;
            }
        }
        rc = take(s, i - s->at, err);
        if (rc)
            return rc;
    } while (depth);
    return 1;
}

/* The next element of the array that the file is; s->opened tells whether its `[` is behind us. */
static int next_element(row_source *s, hone_error *err)
{
    bool first = !s->opened;
    int c, rc = skip_space(s, &c, err);

    if (rc)
        return rc;
    if (first) {
        s->opened = true;
        s->at++; /* the `[` that made this file an array */
        rc = skip_space(s, &c, err);
        if (rc)
            return rc;
    }
    if (c == ']') {
        s->done = true;
        s->at++;
        rc = skip_space(s, &c, err);
        if (!rc && c >= 0)
            rc = broken(s, s->line, err, "text after the end of the array");
        return rc;
    }
    if (!first) {
        if (c != ',')
            return broken(s, s->line, err,
                          c < 0 ? "the file ends inside the array" : "`,` or `]` expected between rows");
        s->at++;
        rc = skip_space(s, &c, err);
        if (rc)
            return rc;
    }
    if (c < 0)
        return broken(s, s->line, err, "the file ends inside the array");
    if (c != '{')
        return broken(s, s->line, err, "a row must be an object, {...}");
    return take_object(s, err);
}

/* A .json file is an array of rows, or one row per line as many publish it. */
static int next_value(row_source *s, hone_error *err)
{
    int c, rc;

    if (!s->known) {
        rc = skip_space(s, &c, err);
        if (rc)
            return rc;
        s->array = c == '[';
        s->known = true;
    }
    return s->array ? next_element(s, err) : next_line(s, err);
}

static const row_reader readers[] = {
    {".json", next_value},
    {".jsonl", next_line},
    {".ndjson", next_line},
};

const row_reader *row_reader_find(const char *path)
{
    const char *ending = strrchr(path, '.');
    size_t i;

    for (i = 0; ending && i < HONE_COUNT(readers); i++)
        if (!strcasecmp(ending, readers[i].ending))
            return &readers[i];
    return NULL;
}

void row_reader_endings(char *out, size_t size)
{
    size_t i, n = 0;

    out[0] = 0;
    for (i = 0; i < HONE_COUNT(readers) && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", readers[i].ending);
}

/* Steps over a byte order mark, and names the one that means another encoding. */
static int read_mark(row_source *s, hone_error *err)
{
    int rc = fill(s, err);
    const uint8_t *p = s->buffer;

    if (rc)
        return rc;
    if (s->end >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf)
        s->at = 3;
    if (s->end >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff)))
        return hone_error_set(err, HONE_EFORMAT, "%s:1: the file is UTF-16, UTF-8 is needed", s->path);
    return 0;
}

int row_source_open(row_source *s, const char *path, hone_error *err)
{
    int rc;

    *s = (row_source){.path = path, .reader = row_reader_find(path), .line = 1, .fd = -1};
    s->buffer = hone_alloc(BUFFER);
    if (!s->buffer)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    s->fd = open(path, O_RDONLY | O_CLOEXEC);
    rc = s->fd < 0 ? hone_error_set(err, errno == ENOENT ? HONE_ENOENT : HONE_EIO, "%s: cannot open: %s",
                                    path, strerror(errno))
                   : read_mark(s, err);
    if (rc)
        row_source_close(s);
    return rc;
}

int row_source_next(row_source *s, hone_error *err)
{
    return s->done ? 0 : s->reader->next(s, err);
}

void row_source_close(row_source *s)
{
    if (s->buffer && s->fd >= 0)
        close(s->fd);
    hone_free(s->buffer);
    hone_buf_clear(&s->row);
    *s = (row_source){0};
}
