/* The bar of a long work, on a terminal alone:
 *   read ▕████████████▌           ▏ 52 %  41,000 rows/s  00:12 left
 * One line on stderr that is overwritten in place, ten times a second at most. A stage that does not say how much there is
 * shows its rows and its rate. */
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define CELLS 24         /* of the bar, where the terminal has room */
#define OTHER_COLUMNS 56 /* beside it */
#define EVERY 0.1        /* seconds */

const char *count_text(char out[32], uint64_t n)
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), i, at = 0;

    for (i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}

static int cells(void)
{
    struct winsize size;
    int columns = 80;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
        columns = size.ws_col;
    columns -= OTHER_COLUMNS;
    return columns < 4 ? 4 : columns > CELLS ? CELLS : columns;
}

void bar_cells(char *out, int n, double share)
{
    static const char *const part[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int eighths = (int)(share * n * 8 + 0.5), i;
    size_t at = 0;

    for (i = 0; i < n; i++, eighths -= 8) {
        const char *cell = eighths >= 8 ? "█" : eighths > 0 ? part[eighths] : " ";

        memcpy(out + at, cell, strlen(cell));
        at += strlen(cell);
    }
    out[at] = 0;
}

static double seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* mm:ss, or h:mm:ss. */
static void put_clock(char *out, size_t size, double seconds)
{
    long s = seconds < 360000 ? (long)(seconds + 0.5) : 360000;

    if (s < 3600)
        snprintf(out, size, "%02ld:%02ld", s / 60, s % 60);
    else
        snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
}

void progress_bar(const hone_progress *p)
{
    static struct {
        char stage[24];
        double begin, last;
        uint64_t done, rows; /* at the beginning of the stage */
    } now;
    char bar[3 * CELLS + 1], rows[32], left[32];
    double time = seconds_now(), elapsed, share, rate;

    if (!progress_wanted())
        return;
    if (strcmp(now.stage, p->stage)) {
        snprintf(now.stage, sizeof now.stage, "%s", p->stage);
        now.begin = time;
        now.done = p->done;
        now.rows = p->rows;
    } else if (time - now.last < EVERY) {
        return;
    }
    now.last = time;
    elapsed = time - now.begin;
    rate = elapsed > 0 ? (double)(p->rows - now.rows) / elapsed : 0;
    count_text(rows, (uint64_t)(rate + 0.5));
    if (!p->total || p->done > p->total) {
        char count[32];

        progress("%s  %s rows  %s rows/s", p->stage, count_text(count, p->rows), rows);
        return;
    }
    share = (double)p->done / (double)p->total;
    bar_cells(bar, cells(), share);
    left[0] = 0;
    if (p->done > now.done && elapsed >= 0.5) {
        double speed = (double)(p->done - now.done) / elapsed;

        put_clock(left, sizeof left, (double)(p->total - p->done) / speed);
    }
    if (rate > 0)
        progress("%s ▕%s▏ %2d %%  %s rows/s%s%s%s", p->stage, bar, (int)(100 * share), rows,
                 *left ? "  " : "", left, *left ? " left" : "");
    else
        progress("%s ▕%s▏ %2d %%", p->stage, bar, (int)(100 * share));
}

void progress_rows(void *ud, uint64_t rows)
{
    const hone_progress p = {.stage = "tokens", .rows = rows};

    (void)ud;
    progress_bar(&p);
}
