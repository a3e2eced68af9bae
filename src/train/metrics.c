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

#include "format/json_quick.h"

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
    size_t digits = strspn(line, "0123456789"); /* of a table */

    return memmem(line, n, "\"eval_loss\"", 11) ||
           (digits && n > digits + 10 && memcmp(line + digits, ",,,,,,,,,,", 10) == 0);
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

/* The bytes stay allocated: the next step's line takes their place. */
static int write_line(FILE *file, const char *path, hone_buf *b, hone_error *err)
{
    if (b->failed)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    if (fwrite(b->data, 1, b->len, file) != b->len || fflush(file) != 0)
        return fail(path, err);
    b->len = 0;
    return 0;
}

static int write_text(FILE *file, const char *path, hone_buf *b, hone_error *err)
{
    int rc = write_line(file, path, b, err);

    hone_buf_clear(b);
    return rc;
}

static const char *task_name(const char *task)
{
    return *task ? task : "(none)";
}

/* A field of a table, in quotes where it needs them. */
static void field(hone_buf *b, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        hone_buf_puts(b, text);
        return;
    }
    hone_buf_putc(b, '"');
    for (; *text; text++) {
        if (*text == '"')
            hone_buf_putc(b, '"');
        hone_buf_putc(b, *text);
    }
    hone_buf_putc(b, '"');
}

static int open_table(hone_metrics *m, const hone_metrics_params *p, hone_error *err)
{
    hone_buf head = {0}, name = {0};
    size_t i;
    int rc = open_file(&m->csv, &m->csv_path, p->c->training.output_dir, "metrics.csv", p->resumed,
                       p->eval_due, err);

    hone_buf_puts(&head, "step,epoch,loss,learning_rate,grad_norm,tokens,trained_tokens,tokens_per_second,"
                         "seconds,rss_bytes,eval_loss,eval_perplexity,eval_accuracy,eval_tokens");
    for (i = 0; i < p->n_tasks; i++) {
        name.len = 0;
        hone_buf_printf(&name, "eval_loss/%s", task_name(p->task[i]));
        hone_buf_putc(&head, ',');
        field(&head, name.failed ? "" : name.data);
    }
    if (m->replay)
        hone_buf_puts(&head, ",new_loss,replay_loss");
    hone_buf_putc(&head, '\n');
    m->csv_tasks = p->n_tasks;
    if (!rc && ftell(m->csv) == 0)
        rc = write_text(m->csv, m->csv_path, &head, err);
    hone_buf_clear(&head);
    hone_buf_clear(&name);
    return rc;
}

int hone_metrics_open(hone_metrics *m, const hone_metrics_params *p, hone_error *err)
{
    const hone_config *c = p->c;
    int rc;

    m->replay = p->replay;
    rc = open_file(&m->json, &m->json_path, c->training.output_dir, "metrics.jsonl", p->resumed, p->eval_due,
                   err);
    if (!rc && p->samples) /* the answers of an evaluation that is still due will come again */
        rc = open_file(&m->samples, &m->samples_path, c->training.output_dir, "samples.jsonl",
                       p->resumed - p->eval_due, false, err);
    if (!rc && wants(c, "csv"))
        rc = open_table(m, p, err);
    if (!rc && wants(c, "tensorboard"))
        rc = open_events(m, c, p->resumed, err);
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

/* A key that holds a text of anyone. */
static void put_text(hone_buf *b, const char *text)
{
    json_t *value = json_string(text);

    if (value)
        hone_json_write(b, value);
    else
        hone_buf_puts(b, "null");
    json_decref(value);
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
                                        {"train/peak_share", s->peak_share},
                                        {"train/rss_bytes", (double)s->rss_bytes},
                                        {"train/new_loss", s->new_loss},
                                        {"train/replay_loss", s->replay_loss}};
    const bool both = isfinite(s->new_loss) && isfinite(s->replay_loss);
    hone_buf *line = &m->line;
    size_t i;
    int rc;

    line->len = 0;
    hone_buf_printf(line, "{\"step\":%" PRId64, s->step);
    number(line, "epoch", s->epoch);
    number(line, "loss", s->loss);
    number(line, "learning_rate", s->learning_rate);
    number(line, "grad_norm", s->grad_norm);
    integer(line, "tokens", (uint64_t)s->tokens);
    integer(line, "trained_tokens", (uint64_t)s->trained_tokens);
    number(line, "tokens_per_second", s->tokens_per_second);
    number(line, "seconds", s->seconds);
    integer(line, "rss_bytes", s->rss_bytes);
    number(line, "peak_share", s->peak_share);
    if (m->replay) {
        number(line, "new_loss", s->new_loss);
        number(line, "replay_loss", s->replay_loss);
    }
    if (s->skipped)
        hone_buf_puts(line, ",\"skipped\":true");
    hone_buf_puts(line, "}\n");
    rc = write_line(m->json, m->json_path, line, err);
    if (!rc && m->csv) {
        hone_buf_printf(line, "%" PRId64 ",", s->step);
        cell(line, s->epoch);
        cell(line, s->loss);
        cell(line, s->learning_rate);
        cell(line, s->grad_norm);
        hone_buf_printf(line, "%" PRId64 ",%" PRId64 ",", s->tokens, s->trained_tokens);
        cell(line, s->tokens_per_second);
        cell(line, s->seconds);
        hone_buf_printf(line, "%" PRIu64 ",,,,", s->rss_bytes);
        for (i = 0; i < m->csv_tasks; i++)
            hone_buf_putc(line, ',');
        if (m->replay) {
            hone_buf_putc(line, ',');
            cell(line, s->new_loss);
            if (isfinite(s->replay_loss))
                hone_buf_printf(line, "%.17g", s->replay_loss);
        }
        hone_buf_putc(line, '\n');
        rc = write_line(m->csv, m->csv_path, line, err);
    }
    if (!rc && m->events && log)
        rc = hone_events_scalars(m->events, s->step, scalar, HONE_COUNT(scalar) - (both ? 0 : 2), err);
    return rc;
}

/* The losses of tasks as scalars eval/loss/TASK. */
static int task_events(hone_metrics *m, int64_t step, const hone_task_result *task, size_t n, hone_error *err)
{
    hone_buf tag = {0};
    size_t i;
    int rc = 0;

    for (i = 0; !rc && i < n; i++) {
        hone_event_scalar scalar = {NULL, task[i].loss};

        tag.len = 0;
        hone_buf_printf(&tag, "eval/loss/%s", task_name(task[i].task));
        scalar.tag = tag.data;
        rc = tag.failed ? hone_error_set(err, HONE_ENOMEM, "out of memory")
                        : hone_events_scalars(m->events, step, &scalar, 1, err);
    }
    hone_buf_clear(&tag);
    return rc;
}

static void put_tasks(hone_buf *b, const hone_task_result *task, size_t n)
{
    hone_buf key = {0};
    size_t i;

    for (i = 0; i < n; i++) {
        key.len = 0;
        hone_buf_printf(&key, "eval_loss/%s", task_name(task[i].task));
        hone_buf_putc(b, ',');
        put_text(b, key.failed ? "" : key.data);
        hone_buf_printf(b, ":%.17g", task[i].loss);
    }
    b->failed |= key.failed;
    hone_buf_clear(&key);
}

int hone_metrics_eval(hone_metrics *m, int64_t step, const hone_eval_result *r, const hone_task_result *task,
                      size_t n_tasks, hone_error *err)
{
    const hone_event_scalar scalar[] = {
        {"eval/loss", r->loss}, {"eval/perplexity", r->perplexity}, {"eval/accuracy", r->accuracy}};
    hone_buf b = {0}, row = {0};
    size_t i;
    int rc;

    hone_buf_printf(&b, "{\"step\":%" PRId64, step);
    number(&b, "eval_loss", r->loss);
    number(&b, "eval_perplexity", r->perplexity);
    number(&b, "eval_accuracy", r->accuracy);
    integer(&b, "eval_tokens", (uint64_t)r->tokens);
    put_tasks(&b, task, n_tasks);
    hone_buf_puts(&b, "}\n");
    rc = write_text(m->json, m->json_path, &b, err);
    if (!rc && m->csv) {
        hone_buf_printf(&row, "%" PRId64 ",,,,,,,,,,", step);
        cell(&row, r->loss);
        cell(&row, r->perplexity);
        cell(&row, r->accuracy);
        hone_buf_printf(&row, "%" PRId64, r->tokens);
        for (i = 0; i < n_tasks; i++)
            hone_buf_printf(&row, ",%.17g", task[i].loss);
        hone_buf_puts(&row, m->replay ? ",,\n" : "\n");
        rc = write_text(m->csv, m->csv_path, &row, err);
    }
    if (!rc && m->events)
        rc = hone_events_scalars(m->events, step, scalar, HONE_COUNT(scalar), err);
    if (!rc && m->events)
        rc = task_events(m, step, task, n_tasks, err);
    return rc;
}

/* A text as a block of Markdown that shows it as it is. */
static void put_block(hone_buf *b, const char *title, const char *text)
{
    hone_buf_printf(b, "**%s**\n\n    ", title);
    for (; *text; text++) {
        hone_buf_putc(b, *text);
        if (*text == '\n')
            hone_buf_puts(b, "    ");
    }
    hone_buf_puts(b, "\n\n");
}

int hone_metrics_sample(hone_metrics *m, const hone_sample *s, hone_error *err)
{
    hone_buf b = {0}, text = {0};
    char tag[32];
    int rc;

    hone_buf_printf(&b, "{\"step\":%" PRId64 ",\"index\":%zu", s->step, s->index);
    if (s->file) {
        hone_buf_puts(&b, ",\"file\":");
        put_text(&b, s->file);
        integer(&b, "line", s->line);
    }
    hone_buf_puts(&b, ",\"prompt\":");
    put_text(&b, s->prompt);
    if (s->reference) {
        hone_buf_puts(&b, ",\"reference\":");
        put_text(&b, s->reference);
    }
    hone_buf_puts(&b, ",\"answer\":");
    put_text(&b, s->answer);
    hone_buf_printf(&b, ",\"tokens\":%zu,\"finish_reason\":\"%s\"}\n", s->tokens,
                    s->finish == HONE_FINISH_STOP ? "stop" : "length");
    rc = write_text(m->samples, m->samples_path, &b, err);
    if (rc || !m->events)
        return rc;
    put_block(&text, "question", s->prompt);
    put_block(&text, "answer", s->answer);
    if (s->reference)
        put_block(&text, "reference", s->reference);
    snprintf(tag, sizeof tag, "samples/%zu", s->index);
    rc = text.failed ? hone_error_set(err, HONE_ENOMEM, "out of memory")
                     : hone_events_text(m->events, s->step, tag, text.data, err);
    hone_buf_clear(&text);
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
    int rc = close_file(&m->json, &m->json_path, err), other, events;

    other = close_file(&m->csv, &m->csv_path, rc ? NULL : err);
    rc = rc ? rc : other;
    other = close_file(&m->samples, &m->samples_path, rc ? NULL : err);
    rc = rc ? rc : other;
    events = hone_events_close(m->events, rc ? NULL : err);
    m->events = NULL;
    hone_buf_clear(&m->line);
    return rc ? rc : events;
}
