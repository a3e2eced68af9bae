/* Tables: csv and tsv, whose first line names the columns. libcsv splits the fields as RFC 4180 has them (quotes doubled
 * inside quotes, line breaks inside quotes); a row becomes a JSON object of texts, in which empty fields are left out:
 * a table can not tell empty from missing. Broken quotes and a row with too many or too few fields are never guessed at.
 *
 * libcsv calls back for every field and row; it is fed no further than the next line end, so that at most one row
 * comes out of one call. */
#include <csv.h>
#include <malloc.h>
#include <string.h>

#include "data/data.h"

#define MOST_COLUMNS 4096

typedef struct table {
    row_source *s;
    struct csv_parser parser;
    char *column[MOST_COLUMNS]; /* `"name":` as JSON */
    size_t n_columns, n_fields; /* of the header; of the row being read */
    size_t fed;                 /* bytes since the row began */
    bool header_read, row_read, started, failed, finished;
    const char *bad_header;
} table;

/* libcsv asks for 128 bytes more at a time, which would copy a long field over and over. */
static void *grow(void *p, size_t n)
{
    return p && malloc_usable_size(p) >= n ? p : hone_realloc(p, n + n / 2);
}

static int is_no_space(unsigned char c)
{
    (void)c; /* fields keep their blanks */
    return 0;
}

static void add_column(table *t, const char *text, size_t n)
{
    hone_buf name = {0};
    size_t i;

    if (!n)
        t->bad_header = "a column without a name";
    if (t->n_columns == MOST_COLUMNS)
        t->bad_header = "more than 4096 columns";
    if (t->bad_header)
        return;
    json_put_text(&name, text, n);
    hone_buf_putc(&name, ':');
    t->column[t->n_columns] = hone_buf_take(&name);
    if (!t->column[t->n_columns]) {
        t->failed = true;
        return;
    }
    for (i = 0; i < t->n_columns; i++)
        if (!strcmp(t->column[i], t->column[t->n_columns]))
            t->bad_header = "two columns of one name";
    t->n_columns++;
}

static void on_field(void *text, size_t n, void *ud)
{
    table *t = ud;
    hone_buf *row = &t->s->row;

    if (!t->header_read) {
        add_column(t, text, n);
        return;
    }
    if (t->n_fields < t->n_columns && n) {
        hone_buf_putc(row, row->len > 1 ? ',' : ' ');
        hone_buf_puts(row, t->column[t->n_fields]);
        json_put_text(row, text, n);
    }
    t->n_fields++;
}

static void on_row(int end, void *ud)
{
    table *t = ud;

    (void)end;
    t->row_read = t->header_read;
    t->header_read = true;
    t->started = false;
}

int read_csv_open(row_source *s, hone_error *err)
{
    table *t = hone_calloc(1, sizeof *t);
    size_t packing = path_packing(s->path);
    const char *ending = s->path + strlen(s->path) - packing - 4;

    if (!t || csv_init(&t->parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL)) {
        hone_free(t);
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path);
    }
    t->s = s;
    csv_set_realloc_func(&t->parser, grow);
    csv_set_free_func(&t->parser, hone_free);
    csv_set_space_func(&t->parser, is_no_space);
    if (!strncasecmp(ending, ".tsv", 4))
        csv_set_delim(&t->parser, '\t');
    s->row.limit = 8 * ROW_LIMIT;
    s->state = t;
    return 0;
}

void read_csv_close(row_source *s)
{
    table *t = s->state;
    size_t i;

    if (!t)
        return;
    csv_free(&t->parser);
    for (i = 0; i < t->n_columns; i++)
        hone_free(t->column[i]);
    hone_free(t);
    s->state = NULL;
}

static int table_error(table *t, hone_error *err)
{
    row_source *s = t->s;

    if (t->failed || s->row.failed || csv_error(&t->parser) == CSV_ENOMEM)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path);
    if (t->bad_header)
        return hone_error_set(err, HONE_EFORMAT, "%s:%llu: the header has %s", s->path,
                              (unsigned long long)s->row_line, t->bad_header);
    return hone_error_set(
        err, HONE_EFORMAT,
        "%s:%llu: broken quotes: a field that holds quotes must stand in quotes, with those "
        "inside doubled, and close its quotes",
        s->path, (unsigned long long)s->row_line);
}

/* Feeds up to the next line end, or tells the parser that the file is over. */
static int feed(table *t, hone_error *err)
{
    row_source *s = t->s;
    size_t n = 0;
    int rc = row_source_fill(s, err);

    if (rc)
        return rc;
    if (s->at == s->end) {
        t->finished = true;
        return csv_fini(&t->parser, on_field, on_row, t) ? table_error(t, err) : 0;
    }
    while (s->at + n < s->end && s->buffer[s->at + n] != '\n' && s->buffer[s->at + n] != '\r')
        n++;
    if (n && !t->started) {
        t->started = true;
        s->row_line = s->line;
        t->fed = 0;
    }
    n += s->at + n < s->end;
    t->fed += n;
    if (t->fed > ROW_LIMIT)
        return hone_error_set(err, HONE_ELIMIT, "%s:%llu: this row is longer than %zu MiB", s->path,
                              (unsigned long long)s->row_line, ROW_LIMIT >> 20);
    if (csv_parse(&t->parser, s->buffer + s->at, n, on_field, on_row, t) != n)
        return table_error(t, err);
    s->at += n;
    s->line += s->buffer[s->at - 1] == '\n';
    return t->failed || t->bad_header || s->row.failed ? table_error(t, err) : 0;
}

int read_csv_next(row_source *s, hone_error *err)
{
    table *t = s->state;
    int rc = 0;

    s->row.len = 0;
    hone_buf_putc(&s->row, '{');
    t->n_fields = 0;
    t->row_read = false;
    while (!rc && !t->row_read && !t->finished)
        rc = feed(t, err);
    if (rc)
        return rc;
    if (!t->row_read)
        return 0;
    hone_buf_putc(&s->row, '}');
    if (s->row.failed)
        return table_error(t, err);
    if (t->n_fields != t->n_columns)
        row_source_refuse(s, HONE_EFORMAT, "%s:%llu: this row has %zu fields, the header names %zu", s->path,
                          (unsigned long long)s->row_line, t->n_fields, t->n_columns);
    return 1;
}
