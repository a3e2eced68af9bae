/* Rows of a parquet file as JSON. All columns of a row group are streams that advance together; a row is put together
 * from the levels of its values (Melnik et al. 2010): a definition level below a node's own says that it, or something
 * above it, is missing; a repetition level equal to a list's own says that the list goes on. Groups become objects, lists
 * arrays, missing values null. */
#include <math.h>
#include <string.h>

#include "data/parquet.h"

typedef struct table {
    parquet_file file;
    parquet_column *column; /* [n_leaves] of the present group */
    size_t n_open;          /* columns that are open */
    size_t held;            /* bytes of unpacked pages */
    size_t group;           /* the present one */
    uint64_t row, number;   /* rows of the group done; rows of the file done */
    hone_buf *out;
    hone_error *err;
} table;

static int put_node(table *t, uint32_t i);

/* Levels of the first column below a node; a row in which columns end at different places is broken. */
static int peek(table *t, const parquet_node *n, const parquet_column **c)
{
    int rc = parquet_column_peek(&t->column[n->first_leaf], t->err);

    *c = &t->column[n->first_leaf];
    if (rc == 0)
        return hone_error_set(t->err, HONE_EFORMAT, "%s:%llu: column `%.60s` ends inside this row",
                              t->file.path, (unsigned long long)t->number + 1, n->name);
    return rc < 0 ? rc : 0;
}

/* Takes the one value that every column below a missing node holds for it. */
static int pass_over(table *t, const parquet_node *n)
{
    const parquet_column *c;
    parquet_value v;
    uint32_t i;
    int rc = 0;

    for (i = n->first_leaf; !rc && i < n->first_leaf + n->n_leaves; i++) {
        rc = peek(t, &t->file.node[t->file.leaf[i]], &c);
        if (!rc)
            rc = parquet_column_take(&t->column[i], &v, t->err);
    }
    return rc;
}

/* With a point, whatever the locale. */
static void put_real(hone_buf *out, double x, int digits)
{
    char text[40];
    char *p;

    if (!isfinite(x)) {
        hone_buf_puts(out, "null");
        return;
    }
    snprintf(text, sizeof text, "%.*g", digits, x);
    for (p = text; *p; p++)
        if (*p == ',')
            *p = '.';
    hone_buf_puts(out, text);
}

static int put_leaf(table *t, const parquet_node *n)
{
    parquet_value v = {0};
    const parquet_column *c;
    int rc = peek(t, n, &c);

    if (!rc)
        rc = parquet_column_take(&t->column[n->first_leaf], &v, t->err);
    if (rc)
        return rc;
    if (c->def < n->max_def) { /* only a broken file gets here: put_node has looked */
        hone_buf_puts(t->out, "null");
        return 0;
    }
    switch (n->type) {
    case PARQUET_BOOLEAN:
        hone_buf_puts(t->out, v.boolean ? "true" : "false");
        break;
    case PARQUET_INT32:
        if (n->converted >= 11 && n->converted <= 13) /* UINT_8, UINT_16, UINT_32 */
            v.integer = (uint32_t)v.integer;
        hone_buf_printf(t->out, "%lld", (long long)v.integer);
        break;
    case PARQUET_INT64:
        if (n->converted == 14) /* UINT_64 */
            hone_buf_printf(t->out, "%llu", (unsigned long long)v.integer);
        else
            hone_buf_printf(t->out, "%lld", (long long)v.integer);
        break;
    case PARQUET_FLOAT:
        put_real(t->out, v.real, 9);
        break;
    case PARQUET_DOUBLE:
        put_real(t->out, v.real, 17);
        break;
    default:
        json_put_text(t->out, (const char *)v.bytes, v.n);
    }
    return 0;
}

/* The elements of repeated node i. `inner`: the node is the middle one of a list (list.element), so that its only child is
 * the element. */
static int put_repeated(table *t, uint32_t i, bool inner)
{
    const parquet_node *n = &t->file.node[i];
    const parquet_column *c;
    bool more = true;
    int rc = peek(t, n, &c);

    if (!rc && c->def < n->max_def) {
        hone_buf_puts(t->out, "[]");
        return pass_over(t, n);
    }
    hone_buf_putc(t->out, '[');
    while (!rc && more) {
        if (inner) {
            rc = put_node(t, i + 1);
        } else if (!n->n_children) {
            rc = put_leaf(t, n);
        } else {
            uint32_t child, at = i + 1;

            hone_buf_putc(t->out, '{');
            for (child = 0; !rc && child < n->n_children; child++, at = t->file.node[at].next) {
                if (child)
                    hone_buf_putc(t->out, ',');
                json_put_utf8(t->out, t->file.node[at].name);
                hone_buf_putc(t->out, ':');
                rc = put_node(t, at);
            }
            hone_buf_putc(t->out, '}');
        }
        if (rc || t->out->failed)
            break;
        rc = parquet_column_peek(&t->column[n->first_leaf], t->err);
        more = rc == 1 && t->column[n->first_leaf].rep == n->max_rep;
        rc = HONE_MIN(rc, 0);
        if (more)
            hone_buf_putc(t->out, ',');
    }
    hone_buf_putc(t->out, ']');
    return rc;
}

static int put_node(table *t, uint32_t i)
{
    const parquet_node *n = &t->file.node[i], *first = n + 1;
    const parquet_column *c;
    uint32_t child, at = i + 1;
    int rc = 0;

    if (t->out->failed) /* too long: there is no point in going on */
        return 0;
    if (n->repetition == PARQUET_REPEATED)
        return put_repeated(t, i, false);
    if (n->repetition == PARQUET_OPTIONAL) {
        rc = peek(t, n, &c);
        if (rc)
            return rc;
        if (c->def < n->max_def) {
            hone_buf_puts(t->out, "null");
            return pass_over(t, n);
        }
    }
    if (!n->n_children)
        return put_leaf(t, n);
    if (n->list && n->n_children == 1 && first->repetition == PARQUET_REPEATED)
        return put_repeated(t, i + 1, first->n_children == 1 && strcmp(first->name, "array"));
    hone_buf_putc(t->out, '{');
    for (child = 0; !rc && child < n->n_children; child++, at = t->file.node[at].next) {
        if (child)
            hone_buf_putc(t->out, ',');
        json_put_utf8(t->out, t->file.node[at].name);
        hone_buf_putc(t->out, ':');
        rc = put_node(t, at);
    }
    hone_buf_putc(t->out, '}');
    return rc;
}

/* ---- row groups ------------------------------------------------------------------------------------------------------ */

static void close_group(table *t)
{
    while (t->n_open)
        parquet_column_close(&t->column[--t->n_open]);
}

static int open_group(table *t)
{
    const parquet_group *g = &t->file.group[t->group];
    int rc = 0;

    t->row = 0;
    while (!rc && t->n_open < t->file.n_leaves) {
        rc = parquet_column_open(&t->column[t->n_open], &t->file, &g->chunk[t->n_open],
                                 &t->file.node[t->file.leaf[t->n_open]], &t->held, t->err);
        t->n_open++;
    }
    return rc;
}

/* Every column must stand at the beginning of a row, or, behind the last row, at its end. */
static int check_borders(table *t, bool end)
{
    uint32_t i;

    for (i = 0; i < t->file.n_leaves; i++) {
        int rc = parquet_column_peek(&t->column[i], t->err);

        if (rc < 0)
            return rc;
        if ((rc == 0) != end || (rc && t->column[i].rep))
            return hone_error_set(t->err, HONE_EFORMAT,
                                  "%s:%llu: column `%.60s` has another number of rows than its row group",
                                  t->file.path, (unsigned long long)t->number + 1, t->column[i].node->name);
    }
    return 0;
}

int read_parquet_next(row_source *s, hone_error *err)
{
    table *t = s->state;
    int rc = 0;

    t->err = err;
    t->out = &s->row;
    for (;;) {
        if (!t->n_open) {
            if (t->group == t->file.n_groups)
                return 0;
            rc = open_group(t);
        }
        if (!rc)
            rc = check_borders(t, t->row == t->file.group[t->group].n_rows);
        if (rc)
            return rc;
        if (t->row < t->file.group[t->group].n_rows)
            break;
        close_group(t);
        t->group++;
    }
    hone_buf_clear(&s->row);
    s->row_line = t->number + 1;
    rc = put_node(t, 0);
    t->row++;
    t->number++;
    if (!rc && s->row.failed)
        rc = hone_error_set(err, HONE_ELIMIT, "%s:%llu: this row is longer than %zu MiB", s->path,
                            (unsigned long long)s->row_line, ROW_LIMIT >> 20);
    return rc ? rc : 1;
}

int read_parquet_open(row_source *s, hone_error *err)
{
    table *t = hone_calloc(1, sizeof *t);
    int rc;

    if (!t)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path);
    s->state = t;
    s->row.limit = ROW_LIMIT;
    rc = parquet_open(&t->file, s->path, err);
    if (rc)
        return rc;
    t->column = hone_calloc(t->file.n_leaves, sizeof *t->column);
    return t->column ? 0 : hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path);
}

void read_parquet_close(row_source *s)
{
    table *t = s->state;

    if (!t)
        return;
    close_group(t);
    hone_free(t->column);
    parquet_close(&t->file);
    hone_free(t);
    s->state = NULL;
}
