/* metrics.jsonl, metrics.csv and TensorBoard events. Numbers carry 17 significant digits, so that a reader gets the same
 * double back; what JSON has no number for (NaN, infinity) is null there and an empty field in the table. Every line is
 * whole: it is built first and handed over in one write. Tags of events are those of transformers' callback. */
#include "train/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_LIMIT ((size_t)1 << 20)
#define METRICS_LIMIT ((size_t)1 << 30)

static int fail(const char *path, hone_error *err)
{
    return hone_error_set(err, HONE_EIO, "%s: cannot write: %s", path, strerror(errno));
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static bool wants(const hone_config *c, const char *name)
{
    size_t i;

    for (i = 0; i < c->training.report_to.n; i++)
        if (!strcmp(c->training.report_to.item[i], name))
            return true;
    return false;
}

/* The step of a line of metrics.jsonl or metrics.csv; 0 of the head of a table. */
static int64_t step_of(const char *line)
{
    static const char key[] = "{\"step\":";

    return strtoll(strncmp(line, key, sizeof key - 1) == 0 ? line + sizeof key - 1 : line, NULL, 10);
}

/* Whether a line of n bytes is one of an evaluation. */
static bool is_evaluation(const char *line, size_t n)
{
    return memmem(line, n, "\"eval_loss\"", 11) || memmem(line, n, ",,,,,,,,,,", 10);
}

/* Leaves the whole lines of a file up to step `last`, without its evaluation when that is still due. A file that is not
 * there is no error. */
static int cut_file(const char *path, int64_t last, bool eval_due, hone_error *err)
{
    char *text = NULL, *line, *end;
    size_t n;
    int rc;

    if (!hone_path_exists(path))
        return 0;
    rc = hone_file_read(&text, &n, path, METRICS_LIMIT, err);
    for (line = text; !rc && (end = strchr(line, '\n')) && step_of(line) <= last; line = end + 1)
        if (eval_due && step_of(line) == last && is_evaluation(line, (size_t)(end - line)))
            break;
    if (!rc)
        rc = hone_file_write(path, text, (size_t)(line - text), err);
    hone_free(text);
    return rc;
}

static int open_file(FILE **file, char **path, const char *dir, const char *name, int64_t resumed,
                     bool eval_due, hone_error *err)
{
    int rc = 0;

    *path = hone_path_join(dir, name);
    if (!*path)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", dir);
    if (resumed > 0)
        rc = cut_file(*path, resumed, eval_due, err);
    if (rc)
        return rc;
    *file = fopen(*path, resumed > 0 ? "abe" : "wbe");
    return *file && fseek(*file, 0, SEEK_END) == 0 ? 0 : fail(*path, err);
}

/* The folder of this kind that was changed last; NULL: none. */
static char *newest_folder(const char *base)
{
    DIR *d = opendir(base);
    struct timespec newest = {0};
    char *found = NULL;
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char *path = e->d_name[0] == '.' ? NULL : hone_path_join(base, e->d_name);
        struct stat s;

        if (path && stat(path, &s) == 0 && S_ISDIR(s.st_mode) &&
            (s.st_mtim.tv_sec > newest.tv_sec ||
             (s.st_mtim.tv_sec == newest.tv_sec && s.st_mtim.tv_nsec > newest.tv_nsec))) {
            newest = s.st_mtim;
            hone_free(found);
            found = path;
            path = NULL;
        }
        hone_free(path);
    }
    if (d)
        closedir(d);
    return found;
}

/* transformers' name of a run: Nov24_13-05-18_host. A run that goes on has its folder. */
static char *run_folder(const hone_config *c, int64_t resumed)
{
    char name[128], host[64] = "localhost";
    time_t now = time(NULL);
    struct tm t;
    size_t n;
    char *base = c->training.logging_dir ? hone_strdup(c->training.logging_dir)
                                         : hone_path_join(c->training.output_dir, "runs");
    char *folder = base && resumed > 0 ? newest_folder(base) : NULL;

    if (folder) {
        hone_free(base);
        return folder;
    }
    gethostname(host, sizeof host - 1);
    localtime_r(&now, &t);
    n = strftime(name, sizeof name, "%b%d_%H-%M-%S", &t);
    snprintf(name + n, sizeof name - n, "_%s", host);
    folder = base ? hone_path_join(base, name) : NULL;
    hone_free(base);
    return folder;
}

/* The configuration as a block of code, which Markdown takes from lines that begin with four spaces. */
static int show_config(hone_metrics *m, const hone_config *c, hone_error *err)
{
    char *path = hone_path_join(c->training.output_dir, "config.yaml"), *text = NULL;
    hone_buf b = {0};
    size_t n, i;
    int rc = path ? hone_file_read(&text, &n, path, CONFIG_LIMIT, err)
                  : hone_error_set(err, HONE_ENOMEM, "out of memory");

    for (i = 0; !rc && i < n; i++) {
        if (!i || text[i - 1] == '\n')
            hone_buf_puts(&b, "    ");
        hone_buf_putc(&b, text[i]);
    }
    if (!rc && b.failed)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (!rc)
        rc = hone_events_text(m->events, 0, "config", b.data ? b.data : "", err);
    hone_buf_clear(&b);
    hone_free(text);
    hone_free(path);
    return rc;
}

static int open_events(hone_metrics *m, const hone_config *c, int64_t resumed, hone_error *err)
{
    char *dir = run_folder(c, resumed);
    int rc = dir ? hone_events_open(&m->events, dir, resumed, err)
                 : hone_error_set(err, HONE_ENOMEM, "out of memory");

    if (!rc && resumed == 0)
        rc = show_config(m, c, err);
    hone_free(dir);
    return rc;
}

static int write_text(FILE *file, const char *path, hone_buf *b, hone_error *err)
{
    int rc = 0;

    if (b->failed)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    else if (fwrite(b->data, 1, b->len, file) != b->len || fflush(file) != 0)
        rc = fail(path, err);
    hone_buf_clear(b);
    return rc;
}

int hone_metrics_open(hone_metrics *m, const hone_config *c, int64_t resumed, bool eval_due, hone_error *err)
{
    hone_buf head = {0};
    int rc =
        open_file(&m->json, &m->json_path, c->training.output_dir, "metrics.jsonl", resumed, eval_due, err);

    if (!rc && wants(c, "csv")) {
        rc = open_file(&m->csv, &m->csv_path, c->training.output_dir, "metrics.csv", resumed, eval_due, err);
        hone_buf_puts(&head,
                      "step,epoch,loss,learning_rate,grad_norm,tokens,trained_tokens,tokens_per_second,"
                      "seconds,rss_bytes,eval_loss,eval_perplexity,eval_accuracy,eval_tokens\n");
        if (!rc && ftell(m->csv) == 0)
            rc = write_text(m->csv, m->csv_path, &head, err);
        hone_buf_clear(&head);
    }
    if (!rc && wants(c, "tensorboard"))
        rc = open_events(m, c, resumed, err);
    return rc;
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

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

static void cell(hone_buf *b, double value)
{
    if (isfinite(value))
        hone_buf_printf(b, "%.17g", value);
    hone_buf_putc(b, ',');
}

int hone_metrics_step(hone_metrics *m, const hone_step *s, bool log, hone_error *err)
{
    const hone_event_scalar scalar[] = {{"train/loss", s->loss},
                                        {"train/grad_norm", s->grad_norm},
                                        {"train/learning_rate", s->learning_rate},
                                        {"train/epoch", s->epoch},
                                        {"train/tokens_per_second", s->tokens_per_second},
                                        {"train/rss_bytes", (double)s->rss_bytes}};
    hone_buf b = {0}, row = {0};
    int rc;

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
    hone_buf_puts(&b, "}\n");
    rc = write_text(m->json, m->json_path, &b, err);
    if (!rc && m->csv) {
        hone_buf_printf(&row, "%" PRId64 ",", s->step);
        cell(&row, s->epoch);
        cell(&row, s->loss);
        cell(&row, s->learning_rate);
        cell(&row, s->grad_norm);
        hone_buf_printf(&row, "%" PRId64 ",%" PRId64 ",", s->tokens, s->trained_tokens);
        cell(&row, s->tokens_per_second);
        cell(&row, s->seconds);
        hone_buf_printf(&row, "%" PRIu64 ",,,,\n", s->rss_bytes);
        rc = write_text(m->csv, m->csv_path, &row, err);
    }
    if (!rc && m->events && log)
        rc = hone_events_scalars(m->events, s->step, scalar, HONE_COUNT(scalar), err);
    return rc;
}

int hone_metrics_eval(hone_metrics *m, int64_t step, const hone_eval_result *r, hone_error *err)
{
    const hone_event_scalar scalar[] = {
        {"eval/loss", r->loss}, {"eval/perplexity", r->perplexity}, {"eval/accuracy", r->accuracy}};
    hone_buf b = {0}, row = {0};
    int rc;

    hone_buf_printf(&b, "{\"step\":%" PRId64, step);
    number(&b, "eval_loss", r->loss);
    number(&b, "eval_perplexity", r->perplexity);
    number(&b, "eval_accuracy", r->accuracy);
    integer(&b, "eval_tokens", (uint64_t)r->tokens);
    hone_buf_puts(&b, "}\n");
    rc = write_text(m->json, m->json_path, &b, err);
    if (!rc && m->csv) {
        hone_buf_printf(&row, "%" PRId64 ",,,,,,,,,,", step);
        cell(&row, r->loss);
        cell(&row, r->perplexity);
        cell(&row, r->accuracy);
        hone_buf_printf(&row, "%" PRId64 "\n", r->tokens);
        rc = write_text(m->csv, m->csv_path, &row, err);
    }
    if (!rc && m->events)
        rc = hone_events_scalars(m->events, step, scalar, HONE_COUNT(scalar), err);
    return rc;
}

/* ---- closing ------------------------------------------------------------------------------------------------------- */

static int close_file(FILE **file, char **path, hone_error *err)
{
    int rc = 0;

    if (*file) {
        if (fsync(fileno(*file)) != 0)
            rc = fail(*path, err);
        if (fclose(*file) != 0 && !rc)
            rc = fail(*path, err);
    }
    hone_free(*path);
    *file = NULL;
    *path = NULL;
    return rc;
}

int hone_metrics_close(hone_metrics *m, hone_error *err)
{
    int rc = close_file(&m->json, &m->json_path, err), csv, events;

    csv = close_file(&m->csv, &m->csv_path, rc ? NULL : err);
    rc = rc ? rc : csv;
    events = hone_events_close(m->events, rc ? NULL : err);
    m->events = NULL;
    return rc ? rc : events;
}
