/* Messages and progress. On a terminal the progress line is overwritten in place; every other message erases it first,
 * so that lines never mix. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

static struct {
    bool quiet, color;
    bool line_open;                 /* a progress line stands on the terminal */
    int block_lines, block_columns; /* or a block of so many lines, drawn when the terminal was so wide */
} terminal = {.color = true};

static volatile sig_atomic_t caught;

void terminal_setup(bool quiet, bool no_color)
{
    const char *wish = getenv("NO_COLOR");

    terminal.quiet = quiet;
    terminal.color = !no_color && !(wish && *wish);
}

bool stdout_is_terminal(void)
{
    return isatty(STDOUT_FILENO);
}

bool stderr_is_terminal(void)
{
    return isatty(STDERR_FILENO);
}

bool stdout_color(void)
{
    return terminal.color && stdout_is_terminal();
}

bool stderr_color(void)
{
    return terminal.color && stderr_is_terminal();
}

static int columns_now(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* A terminal whose width changed has laid out the lines anew, or not: how many there are can not be known, so the old block
 * stays as it is and the next one stands below. */
static void erase_line(void)
{
    if (terminal.block_lines && terminal.block_columns == columns_now())
        fprintf(stderr, "\r\033[%dA\033[J", terminal.block_lines);
    terminal.block_lines = 0;
    if (terminal.line_open)
        fputs("\r\033[K", stderr);
    terminal.line_open = false;
}

static void print_line(const char *color, const char *prefix, const char *format, va_list args)
{
    bool colored = color && stderr_color();

    erase_line();
    fprintf(stderr, "%s%s%s", colored ? color : "", prefix, colored ? "\033[0m" : "");
    vfprintf(stderr, format, args);
    putc('\n', stderr);
}

void note(const char *format, ...)
{
    va_list args;

    if (terminal.quiet)
        return;
    va_start(args, format);
    print_line("\033[36m", "note: ", format, args);
    va_end(args);
}

void warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("\033[33m", "warning: ", format, args);
    va_end(args);
}

void say(const char *format, ...)
{
    va_list args;

    if (terminal.quiet)
        return;
    va_start(args, format);
    print_line(NULL, "", format, args);
    va_end(args);
}

int fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line("\033[31m", "hone: ", format, args);
    va_end(args);
    return EXIT_FAILURE;
}

int fail_with(const hone_error *err)
{
    return fail("%s", err->message[0] ? err->message : hone_error_name(err->code));
}

bool progress_wanted(void)
{
    return !terminal.quiet && stderr_is_terminal();
}

void progress(const char *format, ...)
{
    va_list args;

    if (!progress_wanted())
        return;
    erase_line();
    if (!format)
        return;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    terminal.line_open = true;
    fflush(stderr);
}

void progress_block(const char *text, int columns)
{
    const char *at, *end;

    if (!progress_wanted() || !text)
        return;
    erase_line();
    for (at = text; (end = strchr(at, '\n')); at = end + 1)
        terminal.block_lines++;
    terminal.block_columns = columns;
    fputs(text, stderr);
    fflush(stderr);
}

void progress_keep(void)
{
    terminal.block_lines = 0;
}

const char *size_text(char out[32], uint64_t bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    size_t i = 0;

    while (x >= 1024 && i + 1 < COUNT(unit)) {
        x /= 1024;
        i++;
    }
    snprintf(out, 32, i ? "%.1f %s" : "%.0f %s", x, unit[i]);
    return out;
}

const char *duration_text(char out[32], double seconds)
{
    long long s = seconds > 0 && seconds < 1e12 ? llround(seconds) : 0;

    if (seconds < 9.95)
        snprintf(out, 32, "%.1fs", seconds);
    else if (s < 60)
        snprintf(out, 32, "%llds", s);
    else if (s < 3600)
        snprintf(out, 32, "%lldm%02llds", s / 60, s % 60);
    else
        snprintf(out, 32, "%lldh%02lldm", s / 3600, s / 60 % 60);
    return out;
}

static void on_signal(int number)
{
    caught = number;
}

void stop_signals_catch(bool once)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = once ? (int)SA_RESETHAND : 0};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int stop_signal(void)
{
    return caught;
}

void stop_signal_clear(void)
{
    caught = 0;
}
