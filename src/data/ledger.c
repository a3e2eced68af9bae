/* The ledger of rows. It is handed every row in order and refuses a gap or a repetition, so that "every row has exactly
 * one fate" is held while the rows go by, and the totals are checked against what was read at the end. */
#include "data/data.h"

struct hone_ledger {
    hone_writer *writer; /* NULL: counts only */
    hone_buf line;       /* reused */
    uint64_t count[HONE_FATE_CONTAMINATED + 1];
    uint64_t rows;
};

static const char *const fate_name[] = {"used", "cut", "split", "dropped", "duplicate", "contaminated"};

int hone_ledger_open(hone_ledger **out, const char *path, hone_error *err)
{
    hone_ledger *l = hone_calloc(1, sizeof *l);
    int rc = 0;

    *out = NULL;
    if (!l)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the ledger");
    if (path)
        rc = hone_writer_open(&l->writer, path, err);
    if (rc)
        hone_free(l);
    else
        *out = l;
    return rc;
}

static void put_digits(hone_buf *b, uint64_t value)
{
    char text[20];
    size_t at = sizeof text;

    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    hone_buf_add(b, text + at, sizeof text - at);
}

/* A ledger has a line for every row: no printf, whose formats take longer than the figures. */
static void put_number(hone_buf *b, const char *name, uint64_t value)
{
    hone_buf_puts(b, ",\"");
    hone_buf_puts(b, name);
    hone_buf_puts(b, "\":");
    put_digits(b, value);
}

static void put_text(hone_buf *b, const char *name, const char *text)
{
    hone_buf_puts(b, ",\"");
    hone_buf_puts(b, name);
    hone_buf_puts(b, "\":");
    json_put_utf8(b, text);
}

/* A share with four digits, as an integer and a fraction: no locale has a say. */
static void put_share(hone_buf *b, const char *name, double x)
{
    unsigned n = (unsigned)(HONE_MAX(HONE_MIN(x, 1.0), 0.0) * 10000 + 0.5);

    hone_buf_printf(b, ",\"%s\":%u.%04u", name, n / 10000, n % 10000);
}

static int write_line(hone_ledger *l, hone_error *err)
{
    if (l->line.failed)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the ledger");
    return hone_writer_write(l->writer, l->line.data, l->line.len, err);
}

static void put_findings(hone_buf *b, const hone_row_result *r)
{
    size_t i;

    hone_buf_puts(b, ",\"findings\":[");
    for (i = 0; i < r->n_findings; i++) {
        const hone_finding *f = &r->finding[i];

        hone_buf_puts(b, i ? ",{\"rule\":\"" : "{\"rule\":\"");
        hone_buf_puts(b, f->rule);
        hone_buf_putc(b, '"');
        if (f->message != UINT32_MAX)
            put_number(b, "message", f->message);
        if (f->end > f->begin) {
            put_number(b, "begin", f->begin);
            put_number(b, "end", f->end);
        }
        if (f->detail && *f->detail)
            put_text(b, "detail", f->detail);
        hone_buf_putc(b, '}');
    }
    hone_buf_putc(b, ']');
}

static void put_result(hone_buf *b, const hone_row_result *r)
{
    size_t i;

    if (r->id)
        put_text(b, "id", r->id);
    if (r->task)
        put_text(b, "task", r->task);
    if (r->label)
        put_text(b, "label", r->label);
    if (r->n_findings)
        put_findings(b, r);
    for (i = 0; i < r->n_scores; i++) {
        hone_buf_puts(b, i ? "," : ",\"scores\":{");
        json_put_utf8(b, r->score_name[i]);
        hone_buf_putc(b, ':');
        json_put_figure(b, r->score[i], 6);
    }
    if (r->n_scores)
        hone_buf_putc(b, '}');
    if (r->copies > 1)
        put_number(b, "copies", r->copies);
    if (r->stage)
        put_number(b, "stage", r->stage);
    if (r->validation)
        hone_buf_puts(b, ",\"validation\":true");
}

static void put_entry(hone_buf *b, const hone_ledger_entry *e)
{
    hone_buf_puts(b, "{\"row\":");
    put_digits(b, e->row);
    put_text(b, "file", e->file);
    put_number(b, "line", e->line);
    put_text(b, "fate", fate_name[e->fate]);
    switch (e->fate) {
    case HONE_FATE_USED:
        break;
    case HONE_FATE_CUT:
        put_number(b, "tokens", e->tokens);
        break;
    case HONE_FATE_SPLIT:
        put_number(b, "parts", e->parts);
        if (e->tokens)
            put_number(b, "tokens", e->tokens);
        break;
    case HONE_FATE_DROPPED:
        put_text(b, "reason", e->reason);
        break;
    case HONE_FATE_DUPLICATE:
    case HONE_FATE_CONTAMINATED:
        hone_buf_printf(b, ",\"%s\":{\"row\":%llu", e->fate == HONE_FATE_DUPLICATE ? "of" : "by",
                        (unsigned long long)e->other_row);
        put_text(b, "file", e->other_file);
        put_number(b, "line", e->other_line);
        hone_buf_putc(b, '}');
        put_share(b, e->fate == HONE_FATE_DUPLICATE ? "similarity" : "share", e->similarity);
        break;
    }
    if (e->detail)
        put_text(b, "detail", e->detail);
}

static int add(hone_ledger *l, const hone_ledger_entry *e, const hone_row_result *r, hone_error *err)
{
    hone_buf *b = &l->line;

    if (e->row != l->rows)
        return hone_error_set(err, HONE_EINTERNAL, "%s:%llu: the ledger expects row %llu, not row %llu",
                              e->file, (unsigned long long)e->line, (unsigned long long)l->rows,
                              (unsigned long long)e->row);
    l->rows++;
    l->count[e->fate]++;
    if (!l->writer)
        return 0;
    b->len = 0;
    put_entry(b, e);
    if (r)
        put_result(b, r);
    hone_buf_puts(b, "}\n");
    return write_line(l, err);
}

int hone_ledger_add(hone_ledger *l, const hone_ledger_entry *e, hone_error *err)
{
    return add(l, e, NULL, err);
}

int hone_ledger_add_row(hone_ledger *l, const hone_row_result *r, hone_error *err)
{
    return add(l, &r->entry, r, err);
}

hone_ledger_counts hone_ledger_get_counts(const hone_ledger *l)
{
    const uint64_t *n = l->count;

    return (hone_ledger_counts){l->rows,
                                n[HONE_FATE_USED],
                                n[HONE_FATE_CUT],
                                n[HONE_FATE_SPLIT],
                                n[HONE_FATE_DROPPED],
                                n[HONE_FATE_DUPLICATE],
                                n[HONE_FATE_CONTAMINATED]};
}

int hone_ledger_commit(hone_ledger *l, uint64_t rows, hone_error *err)
{
    uint64_t sum = 0;
    hone_buf *b = &l->line;
    size_t i;
    int rc = 0;

    for (i = 0; i < HONE_COUNT(l->count); i++)
        sum += l->count[i];
    if (sum != rows || l->rows != rows)
        rc = hone_error_set(err, HONE_EINTERNAL, "the ledger has %llu fates for %llu rows",
                            (unsigned long long)sum, (unsigned long long)rows);
    if (!rc && l->writer) {
        b->len = 0;
        hone_buf_printf(b, "{\"totals\":{\"rows\":%llu", (unsigned long long)rows);
        for (i = 0; i < HONE_COUNT(l->count); i++)
            put_number(b, fate_name[i], l->count[i]);
        hone_buf_puts(b, "}}\n");
        rc = write_line(l, err);
        if (!rc) {
            rc = hone_writer_commit(l->writer, err);
            l->writer = NULL;
        }
    }
    hone_ledger_abort(l);
    return rc;
}

void hone_ledger_abort(hone_ledger *l)
{
    if (!l)
        return;
    hone_writer_abort(l->writer);
    hone_buf_clear(&l->line);
    hone_free(l);
}
