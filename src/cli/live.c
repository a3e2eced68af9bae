/* The live view: see live.h.
 *
 *   step 120/600 ▕████▌               ▏ 20 %  12s left
 *   loss 1.2345  evaluation 1.3012 (best 1.2988)  lr 0.0002  norm 0.51  1,234 tokens/s  61 % of peak
 *   memory 812.4 MiB of 830.0 MiB planned
 *   2.10 ┤⢇          the loss, step by step, and ◆ the evaluations
 *   0.97 ┤ ⠑⠒⠤⣀
 *   > question
 *   < answer
 *
 * Nothing of the terminal's state is changed: no other screen, no hidden cursor, no raw mode. The block is erased by going up
 * its lines, so a run that is killed at any moment leaves a terminal as it was. Every line is shorter than the terminal is
 * wide, counted in cells. Where the locale is C or not UTF-8, the same is drawn in ASCII. */
#include "live.h"

#include <langinfo.h>
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define EVERY 0.1 /* seconds between two drawings */
#define HEIGHT 7  /* lines of the curve */
#define WIDEST 110
#define LABEL 8 /* cells of a number beside the curve */

typedef struct canvas {
    int columns, width; /* of the terminal; of the curve, in cells */
    bool ascii;
    uint8_t dots[HEIGHT][WIDEST]; /* braille dots, bit i: dot i + 1 */
    bool mark[HEIGHT][WIDEST];    /* an evaluation */
    double low, high;
} canvas;

/* What is drawn, in one string. Out of memory: the drawing is short. */
typedef struct text_buf {
    char *data;
    size_t len, capacity;
} text_buf;

static void text_add(text_buf *t, const char *s)
{
    size_t n = strlen(s);

    if (t->len + n + 1 > t->capacity) {
        size_t more = 2 * (t->len + n) + 1024;
        char *data = realloc(t->data, more);

        if (!data)
            return;
        t->data = data;
        t->capacity = more;
    }
    memcpy(t->data + t->len, s, n + 1);
    t->len += n;
}

static void terminal_size(int *columns, int *rows)
{
    struct winsize size;

    *columns = 80;
    *rows = 24;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row) {
        *columns = size.ws_col;
        *rows = size.ws_row;
    }
}

bool live_possible(void)
{
    int columns, rows;

    terminal_size(&columns, &rows);
    return progress_wanted() && columns >= 40 && rows >= HEIGHT + 8;
}

/* ---- the curve --------------------------------------------------------------------------------------------------- */

static void add_loss(live *l, double loss)
{
    size_t i;

    if (!l->every)
        l->every = 1;
    if (l->n == LIVE_POINTS && l->in_last == l->every) {
        for (i = 0; i < LIVE_POINTS / 2; i++)
            l->loss[i] = (l->loss[2 * i] + l->loss[2 * i + 1]) / 2;
        l->n /= 2;
        l->every *= 2;
        l->in_last = l->every;
    }
    if (!l->n || l->in_last == l->every) {
        l->loss[l->n++] = 0;
        l->in_last = 0;
    }
    l->in_last++;
    l->loss[l->n - 1] += (loss - l->loss[l->n - 1]) / (double)l->in_last;
}

static void span(canvas *c, double y)
{
    c->low = fmin(c->low, y);
    c->high = fmax(c->high, y);
}

/* The dot row of a value, from the top. */
static int row_of(const canvas *c, double y)
{
    double at = c->high > c->low ? (c->high - y) / (c->high - c->low) : 0.5;

    return (int)lround(fmin(fmax(at, 0), 1) * (4 * HEIGHT - 1));
}

static void set_dot(canvas *c, int x, int y)
{
    static const uint8_t bit[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

    c->dots[y / 4][x / 2] |= bit[y % 4][x % 2];
}

/* A dot for every half cell, and those between it and the one before, so that the line has no gaps. */
static void plot_curve(canvas *c, const live *l)
{
    int x, y, before = -1, step;

    if (!l->n)
        return;
    for (x = 0; x < 2 * c->width; x++) {
        size_t i = (size_t)x * l->n / (2 * (size_t)c->width);

        y = row_of(c, l->loss[i]);
        set_dot(c, x, y);
        for (step = before < 0 ? y : before; step != y; step += y > step ? 1 : -1)
            set_dot(c, x, step);
        before = y;
    }
}

static void plot_evals(canvas *c, const live *l)
{
    double steps = (double)(l->last.step - l->first);
    size_t i;

    for (i = 0; i < l->n_evals; i++) {
        double at = steps > 0 ? (double)(l->eval[i].step - l->first) / steps : 0;
        int x = (int)(at * c->width);

        if (at >= 0 && at <= 1)
            c->mark[row_of(c, l->eval[i].loss) / 4][x < c->width ? x : c->width - 1] = true;
    }
}

static void put_cell(text_buf *t, const canvas *c, int y, int x)
{
    uint8_t dots = c->dots[y][x];
    char cell[4] = {(char)0xe2, (char)(0xa0 | dots >> 6), (char)(0x80 | (dots & 0x3f)), 0};

    if (c->mark[y][x])
        text_add(t, c->ascii ? "o" : "◆");
    else if (!dots)
        text_add(t, " ");
    else
        text_add(t, c->ascii ? "*" : cell);
}

static void draw_curve(text_buf *t, canvas *c, const live *l)
{
    size_t i;
    int x, y;

    c->low = INFINITY;
    c->high = -INFINITY;
    for (i = 0; i < l->n; i++)
        span(c, l->loss[i]);
    for (i = 0; i < l->n_evals; i++)
        span(c, l->eval[i].loss);
    plot_curve(c, l);
    plot_evals(c, l);
    for (y = 0; y < HEIGHT; y++) {
        char label[32];

        if (y == 0 || y == HEIGHT - 1)
            snprintf(label, sizeof label, "%*.3g ", LABEL - 1, y ? c->low : c->high);
        else
            snprintf(label, sizeof label, "%*s", LABEL, "");
        text_add(t, label);
        text_add(t, c->ascii ? "|" : "│");
        for (x = 0; x < c->width; x++)
            put_cell(t, c, y, x);
        text_add(t, "\n");
    }
}

/* ---- the lines about it ------------------------------------------------------------------------------------------ */

/* A line of figures that is cut where the terminal ends. */
static void put_line(text_buf *t, const canvas *c, const char *text)
{
    char *line = shown_text(text, c->columns - 1, c->ascii);

    if (line)
        text_add(t, line);
    free(line);
    text_add(t, "\n");
}

static void draw_head(text_buf *t, const canvas *c, const live *l)
{
    const hone_step *s = &l->last;
    char line[400], bar[3 * 24 + 1], left[32], size[32], plan[32], count[32];
    double share = s->total_steps ? (double)s->step / (double)s->total_steps : 0;
    int cells = c->columns < 64 ? 8 : 24, i, n;

    if (c->ascii) {
        for (i = 0; i < cells; i++)
            bar[i] = i < (int)(share * cells + 0.5) ? '#' : '.';
        bar[i] = 0;
    } else {
        bar_cells(bar, cells, share);
    }
    snprintf(line, sizeof line,
             c->ascii ? "step %lld/%lld [%s] %d %%  %s left" : "step %lld/%lld ▕%s▏ %d %%  %s left",
             (long long)s->step, (long long)s->total_steps, bar, (int)(100 * share),
             duration_text(left, s->remaining_seconds));
    put_line(t, c, line);
    n = snprintf(line, sizeof line, "loss %.4f", s->loss);
    if (l->n_evals)
        n += snprintf(line + n, sizeof line - (size_t)n, "  evaluation %.4f (best %.4f)",
                      l->eval[l->n_evals - 1].loss, l->best);
    snprintf(line + n, sizeof line - (size_t)n, "  lr %.3g  norm %.3g", s->learning_rate, s->grad_norm);
    put_line(t, c, line);
    snprintf(line, sizeof line, "%s tokens/s  %.0f %% of peak  memory %s of %s planned",
             count_text(count, (uint64_t)(s->tokens_per_second + 0.5)), 100 * s->peak_share,
             size_text(size, s->rss_bytes), size_text(plan, l->planned));
    put_line(t, c, line);
}

/* Whoever asks for the C locale by name has reasons; without any wish the program takes UTF-8 (main.c). */
static bool wants_ascii(void)
{
    static const char *const name[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    const char *wish = NULL;
    size_t i;

    for (i = 0; i < COUNT(name) && !(wish && *wish); i++)
        wish = getenv(name[i]);
    if (wish && (strcmp(wish, "C") == 0 || strcmp(wish, "POSIX") == 0))
        return true;
    return strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
}

static void draw(live *l)
{
    static canvas c; /* large, and drawn by one thread */
    text_buf t = {0};
    char line[1200];
    int rows;

    if (!live_possible())
        return;
    memset(&c, 0, sizeof c);
    terminal_size(&c.columns, &rows);
    c.ascii = wants_ascii();
    c.width = c.columns - LABEL - 2 < WIDEST ? c.columns - LABEL - 2 : WIDEST;
    draw_head(&t, &c, l);
    draw_curve(&t, &c, l);
    if (l->answer) {
        snprintf(line, sizeof line, "> %.1000s", l->prompt ? l->prompt : "");
        put_line(&t, &c, line);
        snprintf(line, sizeof line, "< %.1000s", l->answer);
        put_line(&t, &c, line);
    }
    progress_block(t.data, c.columns);
    free(t.data);
}

static void redraw(live *l)
{
    struct timespec t;
    double now;

    clock_gettime(CLOCK_MONOTONIC, &t);
    now = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    if (now - l->drawn < EVERY)
        return;
    l->drawn = now;
    draw(l);
}

/* ---- what happens ------------------------------------------------------------------------------------------------ */

void live_plan(live *l, const hone_plan *plan)
{
    l->planned = plan->total;
}

void live_step(live *l, const hone_step *s)
{
    if (!l->n)
        l->first = s->step - 1;
    l->last = *s;
    if (isfinite(s->loss))
        add_loss(l, s->loss);
    redraw(l);
}

void live_eval(live *l, int64_t step, const hone_eval_result *r)
{
    if (l->n_evals == LIVE_EVALS)
        memmove(l->eval, l->eval + 1, --l->n_evals * sizeof *l->eval);
    l->best = l->n_evals && l->best < r->loss ? l->best : r->loss;
    l->eval[l->n_evals].step = step;
    l->eval[l->n_evals++].loss = r->loss;
    redraw(l);
}

void live_sample(live *l, const hone_sample *s)
{
    free(l->prompt);
    free(l->answer);
    l->prompt = strdup(s->prompt);
    l->answer = strdup(s->answer);
    redraw(l);
}

void live_end(live *l)
{
    if (l->n)
        draw(l);
    progress_keep();
    free(l->prompt);
    free(l->answer);
    memset(l, 0, sizeof *l);
}
