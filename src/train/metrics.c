/* metrics.jsonl. Numbers carry 17 significant digits, so that a reader gets the same double back; what JSON has no
 * number for (NaN, infinity) is null. Every line is whole: it is built first and handed over in one write. */
#include "train/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static int fail(const hone_metrics *m, hone_error *err)
{
    return hone_error_set(err, HONE_EIO, "%s: cannot write: %s", m->path, strerror(errno));
}

int hone_metrics_open(hone_metrics *m, const char *path, hone_error *err)
{
    m->path = hone_strdup(path);
    if (!m->path)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    m->file = fopen(path, "wbe");
    return m->file ? 0 : fail(m, err);
}

static void number(hone_buf *b, const char *key, double value)
{
    if (isfinite(value))
        hone_buf_printf(b, ",\"%s\":%.17g", key, value);
    else
        hone_buf_printf(b, ",\"%s\":null", key);
}

static void integer(hone_buf *b, const char *key, uint64_t value)
{
    hone_buf_printf(b, ",\"%s\":%" PRIu64, key, value);
}

static int write_line(hone_metrics *m, hone_buf *b, hone_error *err)
{
    int rc = 0;

    hone_buf_puts(b, "}\n");
    if (b->failed)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", m->path);
    else if (fwrite(b->data, 1, b->len, m->file) != b->len || fflush(m->file) != 0)
        rc = fail(m, err);
    hone_buf_clear(b);
    return rc;
}

int hone_metrics_step(hone_metrics *m, const hone_step *s, hone_error *err)
{
    hone_buf b = {0};

    hone_buf_printf(&b, "{\"step\":%" PRId64, s->step);
    number(&b, "epoch", s->epoch);
    number(&b, "loss", s->loss);
    number(&b, "learning_rate", s->learning_rate);
    number(&b, "grad_norm", s->grad_norm);
    integer(&b, "tokens", (uint64_t)s->tokens);
    integer(&b, "trained_tokens", (uint64_t)s->trained_tokens);
    number(&b, "tokens_per_second", s->tokens_per_second);
    number(&b, "seconds", s->seconds);
    integer(&b, "rss_bytes", s->rss_bytes);
    return write_line(m, &b, err);
}

int hone_metrics_eval(hone_metrics *m, int64_t step, const hone_eval_result *r, hone_error *err)
{
    hone_buf b = {0};

    hone_buf_printf(&b, "{\"step\":%" PRId64, step);
    number(&b, "eval_loss", r->loss);
    number(&b, "eval_perplexity", r->perplexity);
    number(&b, "eval_accuracy", r->accuracy);
    integer(&b, "eval_tokens", (uint64_t)r->tokens);
    return write_line(m, &b, err);
}

int hone_metrics_close(hone_metrics *m, hone_error *err)
{
    int rc = 0;

    if (m->file) {
        if (fsync(fileno(m->file)) != 0)
            rc = fail(m, err);
        if (fclose(m->file) != 0 && !rc)
            rc = fail(m, err);
    }
    hone_free(m->path);
    m->file = NULL;
    m->path = NULL;
    return rc;
}
