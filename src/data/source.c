/* Files of rows. A file is read in pieces and cut into the JSON text of one row at a time, so that memory is bounded
 * by the longest row and every row knows its line. JSON arrays are cut by counting brackets outside strings; whether
 * the text of a row is JSON is jansson's business. */
#include <stdarg.h>
#include <string.h>

#include "data/data.h"

#define BUFFER 65536

int row_source_fill(row_source *s, hone_error *err)
{
    if (s->at < s->end)
        return 0;
    s->at = s->end = 0;
    return byte_stream_read(s->stream, s->buffer, BUFFER, &s->end, err);
}

int row_source_take(row_source *s, size_t n, hone_error *err)
{
    if (s->row.len + n >= ROW_LIMIT)
        return hone_error_set(err, HONE_ELIMIT, "%s:%llu: this row is longer than %zu MiB", s->path,
                              (unsigned long long)s->row_line, ROW_LIMIT >> 20);
    hone_buf_add(&s->row, s->buffer + s->at, n);
    s->at += n;
    return s->row.failed ? hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path) : 0;
}

void row_source_refuse(row_source *s, int code, const char *format, ...)
{
    char text[sizeof s->refusal.message];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->refusal = (hone_error)HONE_ERROR_INIT;
    hone_error_set(&s->refusal, code, "%s", text);
}

/* Steps over white space; *c is the byte that follows, or -1 at the end. */
static int skip_space(row_source *s, int *c, hone_error *err)
{
    for (;; s->at++) {
        int rc = row_source_fill(s, err);

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
        rc = row_source_fill(s, err);
        if (rc)
            return rc;
        if (s->at == s->end)
            break;
        newline = memchr(s->buffer + s->at, '\n', s->end - s->at);
        rc = row_source_take(s, newline ? (size_t)(newline - (s->buffer + s->at)) : s->end - s->at, err);
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

        rc = row_source_fill(s, err);
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
        rc = row_source_take(s, i - s->at, err);
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
    {".json", NULL, next_value, NULL, true, true},
    {".jsonl", NULL, next_line, NULL, true, true},
    {".ndjson", NULL, next_line, NULL, true, true},
    {".csv", read_csv_open, read_csv_next, read_csv_close, false, true},
    {".tsv", read_csv_open, read_csv_next, read_csv_close, false, true},
    {".txt", NULL, read_text_next, NULL, false, true},
    {".parquet", read_parquet_open, read_parquet_next, read_parquet_close, false, false},
};

const row_reader *row_reader_find(const char *path)
{
    size_t packing = path_packing(path), n = strlen(path) - packing, i;

    if (!strcmp(path, "-"))
        return &readers[0];
    for (i = 0; i < HONE_COUNT(readers); i++) {
        size_t m = strlen(readers[i].ending);

        if (n >= m && !strncasecmp(path + n - m, readers[i].ending, m) &&
            (readers[i].streams || (!packing && !path_is_stdin(path))))
            return &readers[i];
    }
    return NULL;
}

void row_reader_endings(char *out, size_t size)
{
    size_t i, n = 0;

    out[0] = 0;
    for (i = 0; i < HONE_COUNT(readers) && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", readers[i].ending);
    if (n < size)
        snprintf(out + n, size - n, ", and each but .parquet as .gz and .zst");
}

/* Steps over a byte order mark, and names the one that means another encoding. */
static int read_mark(row_source *s, hone_error *err)
{
    int rc = row_source_fill(s, err);
    const uint8_t *p = s->buffer;

    if (rc)
        return rc;
    if (s->end >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf)
        s->at = 3;
    if (s->end >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff)))
        return hone_error_set(err, HONE_EFORMAT, "%s:1: the file is UTF-16, UTF-8 is needed", s->path);
    return 0;
}

int row_source_open(row_source *s, const char *path, hone_text_rows text_rows, hone_error *err)
{
    int rc = 0;

    *s = (row_source){.path = path, .reader = row_reader_find(path), .line = 1, .text_rows = text_rows};
    if (s->reader->streams) {
        s->buffer = hone_alloc(BUFFER);
        rc = s->buffer ? byte_stream_open(&s->stream, path, err)
                       : hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
        if (!rc)
            rc = read_mark(s, err);
    }
    if (!rc && s->reader->open)
        rc = s->reader->open(s, err);
    if (rc)
        row_source_close(s);
    return rc;
}

int row_source_next(row_source *s, hone_error *err)
{
    s->refusal.code = 0;
    return s->done ? 0 : s->reader->next(s, err);
}

void row_source_close(row_source *s)
{
    if (s->reader && s->reader->close)
        s->reader->close(s);
    byte_stream_close(s->stream);
    hone_free(s->buffer);
    hone_buf_clear(&s->row);
    *s = (row_source){0};
}
