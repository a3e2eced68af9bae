/* Losses of single training rows: see row_loss.h. Two floats a sequence, so that a million rows take 8 MB. */
#include "train/row_loss.h"

#include <math.h>
#include <string.h>

#include "format/json_quick.h"

static const char magic[8] = "honerows";

typedef struct row_loss_head {
    char magic[8];
    uint64_t n, sum;
} row_loss_head;

size_t hone_row_losses_size(size_t n)
{
    return 2 * n * sizeof(float);
}

int hone_row_losses_reserve(hone_row_losses *l, size_t n, hone_error *err)
{
    float *value;

    if (n <= l->n)
        return 0;
    value = hone_realloc_array(l->value, 2 * n, sizeof *value);
    if (!value)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the losses of %zu rows", n);
    l->value = value;
    for (; l->n < n; l->n++)
        value[2 * l->n] = value[2 * l->n + 1] = NAN;
    return 0;
}

void hone_row_losses_clear(hone_row_losses *l)
{
    hone_free(l->value);
    *l = (hone_row_losses){0};
}

void hone_row_losses_take(hone_row_losses *l, const hone_batch *b, const hone_pass *pass,
                          const uint32_t *which, size_t n)
{
    int32_t i = 0;
    size_t s;

    for (s = 0; s < n; s++) { /* positions come in order, so sequences are runs of them */
        float *value = l->value + 2 * (size_t)which[s];
        double sum = 0;
        int32_t first = i;

        for (; i < pass->n_trained && pass->position[i] < b->off[s + 1]; i++)
            sum += pass->loss[i];
        if (i == first)
            continue;
        value[1] = (float)(sum / (i - first));
        if (isnan(value[0]))
            value[0] = value[1];
    }
}

int hone_row_losses_save(const hone_row_losses *l, const char *dir, hone_error *err)
{
    char *path = hone_path_join(dir, HONE_ROW_LOSS_FILE);
    row_loss_head head = {.n = l->n, .sum = hone_xxh64_of(0, l->value, hone_row_losses_size(l->n))};
    hone_writer *w = NULL;
    int rc = path ? hone_writer_open(&w, path, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");

    memcpy(head.magic, magic, sizeof magic);
    if (!rc)
        rc = hone_writer_write(w, &head, sizeof head, err);
    if (!rc)
        rc = hone_writer_write(w, l->value, hone_row_losses_size(l->n), err);
    if (rc)
        hone_writer_abort(w);
    else
        rc = hone_writer_commit(w, err);
    hone_free(path);
    return rc;
}

int hone_row_losses_load(hone_row_losses *l, const char *dir, hone_error *err)
{
    char *path = hone_path_join(dir, HONE_ROW_LOSS_FILE);
    row_loss_head head;
    hone_map m = {0};
    int rc = path ? hone_map_open(&m, path, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");

    if (!rc) {
        const uint8_t *value = m.data + sizeof head;
        size_t bytes = m.size - sizeof head;

        if (m.size >= sizeof head)
            memcpy(&head, m.data, sizeof head);
        if (m.size < sizeof head || memcmp(head.magic, magic, sizeof magic) || bytes % sizeof(float) ||
            head.n != bytes / (2 * sizeof(float)) || head.sum != hone_xxh64_of(0, value, bytes))
            rc = hone_error_set(err, HONE_EFORMAT, "%s: no losses of rows, or damaged", path);
        if (!rc)
            rc = hone_row_losses_reserve(l, (size_t)head.n, err);
        if (!rc)
            memcpy(l->value, value, bytes);
    }
    hone_map_close(&m);
    hone_free(path);
    return rc;
}

static void put_line(hone_buf *b, const hone_sequence *q, uint64_t part, bool old, const float *value)
{
    json_t *file = json_string(q->file);

    hone_buf_puts(b, "{\"file\":");
    if (file)
        hone_json_write(b, file);
    else
        hone_buf_puts(b, "null"); /* a name that is no UTF-8 */
    hone_buf_printf(b, ",\"line\":%llu,\"row\":%llu", (unsigned long long)q->line,
                    (unsigned long long)q->row);
    if (part)
        hone_buf_printf(b, ",\"part\":%llu", (unsigned long long)part);
    if (old)
        hone_buf_puts(b, ",\"replay\":true");
    hone_buf_printf(b, ",\"trained_tokens\":%zu,\"first_loss\":%.9g,\"last_loss\":%.9g}\n", q->n_targets,
                    (double)value[0], (double)value[1]);
    json_decref(file);
}

int hone_row_losses_write(const hone_row_losses *l, const hone_dataset *data, size_t first_old,
                          const char *path, hone_error *err)
{
    const uint64_t n_new = hone_dataset_get_report(data)->rows_read;
    uint64_t row = UINT64_MAX, part = 0;
    hone_writer *w = NULL;
    hone_buf line = {0};
    size_t i, n = HONE_MIN(l->n, hone_dataset_size(data));
    int rc = hone_writer_open(&w, path, err);

    for (i = 0; !rc && i < n; i++) {
        hone_sequence q = hone_dataset_get(data, i);

        part = q.row == row ? part + 1 : 0;
        row = q.row;
        if (isnan(l->value[2 * i]))
            continue;
        line.len = 0;
        q.row -= i >= first_old ? n_new : 0;
        put_line(&line, &q, part, i >= first_old, l->value + 2 * i);
        rc = line.failed ? hone_error_set(err, HONE_ENOMEM, "out of memory")
                         : hone_writer_write(w, line.data, line.len, err);
    }
    hone_buf_clear(&line);
    if (!rc)
        return hone_writer_commit(w, err);
    hone_writer_abort(w);
    return rc;
}
