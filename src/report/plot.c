/* Plots as SVG. The drawing is stretched to the width it gets (preserveAspectRatio none, strokes that do not scale), while
 * every label is text of the page laid over it: so letters are as large on a phone as on a screen, and can be read by
 * machines. Coordinates are percent of the drawing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/html.h"

#define MAX_TICKS 6
#define MAX_BAR 12 /* percent of the width */

/* The smallest of 1, 2, 5 times a power of ten that is not below x > 0. */
static double round_up(double x)
{
    double power = pow(10, floor(log10(x))), digit = x / power;

    if (digit <= 1.0000001)
        return power;
    return power * (digit <= 2.0000001 ? 2 : digit <= 5.0000001 ? 5 : 10);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int plot_bins_choose(plot_bins *out, const double *value, size_t n, size_t most, bool integer,
                     hone_error *err)
{
    double *sorted = hone_alloc(HONE_MAX(n, 1) * sizeof *sorted), low = 0, top, width, tail;
    size_t i;

    *out = (plot_bins){.integer = integer};
    if (!sorted)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for a histogram");
    if (n)
        memcpy(sorted, value, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    tail = n ? sorted[n - 1 - n / 100] : 0;
    top = n ? sorted[n - 1] : 0;
    if (integer)
        low = n ? floor(sorted[0]) : 0;
    /* A few values far out would press the others together. */
    if (tail < 0.8 * top && !(integer && top - low < (double)most))
        top = tail;
    if (integer) {
        width = HONE_MAX(1, ceil((top - low + 1) / (double)most));
        out->integer = width == 1;
        out->n = (size_t)((top - low) / width) + 1;
    } else {
        width = top > 0 ? round_up(top / (double)most) : 1;
        out->n = HONE_MAX(1, (size_t)(top / width) + 1);
    }
    out->open = n && sorted[n - 1] >= low + width * (double)out->n;
    hone_free(sorted);
    out->edge = hone_alloc((out->n + 1) * sizeof *out->edge);
    if (!out->edge)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for a histogram");
    for (i = 0; i <= out->n; i++)
        out->edge[i] = low + width * (double)i;
    return 0;
}

size_t plot_bin_of(const plot_bins *bins, double x)
{
    double width = bins->edge[1] - bins->edge[0], at = floor((x - bins->edge[0]) / width);

    if (!(at >= 0))
        return bins->n;
    if (at >= (double)bins->n)
        return bins->open || x <= bins->edge[bins->n] ? bins->n - 1 : bins->n;
    return (size_t)at;
}

/* ---- frame ------------------------------------------------------------------------------------------------------- */

static void tick_text(hone_buf *b, double x, bool percent)
{
    if (percent)
        hone_buf_printf(b, "%.0f %%", 100 * x);
    else
        html_number(b, x);
}

/* Grid lines and labels of y in [bottom, top]; the drawing's SVG is open afterwards. */
static void frame_begin(hone_buf *b, const plot *p, double bottom, double top, double step)
{
    double y;

    hone_buf_puts(b, "<figure class=plot><figcaption>");
    html_puts(b, p->title);
    if (p->y_label) {
        hone_buf_puts(b, " <small>");
        html_puts(b, p->y_label);
        hone_buf_puts(b, "</small>");
    }
    hone_buf_puts(b, "</figcaption>\n<div class=frame><div class=y aria-hidden=true>");
    for (y = bottom; y <= top + 1e-4 * step; y += step) {
        hone_buf_printf(b, "<span style=\"bottom:%.4g%%\">", 100 * (y - bottom) / (top - bottom));
        tick_text(b, y, p->percent);
        hone_buf_puts(b, "</span>");
    }
    hone_buf_puts(b, "</div><div class=area><svg viewBox=\"0 0 100 100\" preserveAspectRatio=none role=img "
                     "aria-label=\"");
    html_puts(b, p->title);
    hone_buf_puts(b, "\">\n<g class=grid>");
    for (y = bottom + step; y <= top + 1e-4 * step; y += step)
        hone_buf_printf(b, "<path d=\"M0 %.4gH100\"/>", 100 - 100 * (y - bottom) / (top - bottom));
    hone_buf_puts(b, "</g>\n");
}

static void marker(hone_buf *b, double percent)
{
    hone_buf_printf(b, "<path class=marker d=\"M%.5g 0V100\"/>\n", percent);
}

/* low: at the foot of the line, where curves that rise leave room. */
static void marker_label(hone_buf *b, const plot *p, double percent, bool low)
{
    hone_buf_printf(b, "<span class=\"marker%s%s\" style=\"left:%.5g%%\">", percent > 60 ? " left" : "",
                    low ? " low" : "", percent);
    html_puts(b, p->marker_label);
    hone_buf_puts(b, "</span>");
}

static void frame_end(hone_buf *b, const plot *p)
{
    html_part part[PLOT_SERIES];
    size_t i;

    if (p->x_label) {
        hone_buf_puts(b, "<p class=axis>");
        html_puts(b, p->x_label);
        hone_buf_puts(b, "</p>\n");
    }
    for (i = 0; i < p->n_series; i++)
        part[i] = (html_part){p->series[i].name, p->series[i].tone, UINT64_MAX};
    if (p->n_series > 1)
        html_legend(b, part, p->n_series);
    hone_buf_puts(b, "</figure>\n");
}

/* ---- histogram ----------------------------------------------------------------------------------------------------- */

static void bin_label(hone_buf *b, const plot_bins *bins, size_t i)
{
    html_number(b, bins->edge[i]);
    if (bins->open && i + 1 == bins->n)
        hone_buf_puts(b, "+");
    else if (!bins->integer) {
        hone_buf_puts(b, " – ");
        html_number(b, bins->edge[i + 1]);
    }
}

static void histogram_bars(hone_buf *b, const plot *p, const plot_bins *bins, double top)
{
    double w = 100.0 / (double)bins->n, gap = HONE_MAX(w * 0.08, (w - MAX_BAR) / 2);
    size_t s, i;

    for (s = 0; s < p->n_series; s++) {
        double inset = s ? (w - 2 * gap) * 0.16 : 0;

        hone_buf_printf(b, "<path class=\"t-%s\" d=\"", p->series[s].tone);
        for (i = 0; i < bins->n; i++) {
            double h = 100 * (double)p->series[s].count[i] / top;

            if (h > 0)
                hone_buf_printf(b, "M%.5g 100V%.5gH%.5gV100Z", w * (double)i + gap + inset, 100 - h,
                                w * (double)(i + 1) - gap - inset);
        }
        hone_buf_puts(b, "\"/>\n");
    }
    for (i = 0; i < bins->n; i++) { /* what the pointer finds */
        bool any = false;

        for (s = 0; s < p->n_series; s++)
            any |= p->series[s].count[i] > 0;
        if (!any)
            continue;
        hone_buf_printf(b, "<rect class=hit x=\"%.5g\" y=0 width=\"%.5g\" height=100><title>", w * (double)i,
                        w);
        bin_label(b, bins, i);
        for (s = 0; s < p->n_series; s++) {
            hone_buf_puts(b, s ? ", " : ": ");
            if (p->n_series > 1) {
                html_puts(b, p->series[s].name);
                hone_buf_puts(b, " ");
            }
            html_count(b, p->series[s].count[i]);
        }
        hone_buf_puts(b, "</title></rect>\n");
    }
}

/* Labels below: of every bin when a bin is a number and there are few, else round values at the edges of bins. The last
 * label of an open range stands at its end. */
static void histogram_ticks(hone_buf *b, const plot_bins *bins)
{
    double width = bins->edge[1] - bins->edge[0], span = width * (double)bins->n;
    size_t every = bins->integer ? (bins->n + 11) / 12 : 0, i;
    double step = HONE_MAX(round_up(span / MAX_TICKS), width), x;

    hone_buf_puts(b, "<div class=x aria-hidden=true>");
    if (bins->integer)
        for (i = 0; i < bins->n; i += every) {
            hone_buf_printf(b, "<span style=\"left:%.5g%%\">", 100 * ((double)i + 0.5) / (double)bins->n);
            bin_label(b, bins, i);
            hone_buf_puts(b, "</span>");
        }
    else
        for (x = ceil(bins->edge[0] / step) * step; x <= bins->edge[bins->n] * 1.0001; x += step) {
            double at = 100 * (x - bins->edge[0]) / span;

            if (bins->open && at > 88)
                break;
            hone_buf_printf(b, "<span style=\"left:%.5g%%\">", at);
            html_number(b, x);
            hone_buf_puts(b, "</span>");
        }
    if (bins->open && !bins->integer) {
        hone_buf_puts(b, "<span class=end>≥ ");
        html_number(b, bins->edge[bins->n - 1]);
        hone_buf_puts(b, "</span>");
    }
    hone_buf_puts(b, "</div></div></div>\n");
}

void plot_histogram(hone_buf *b, const plot *p, const plot_bins *bins)
{
    double span = bins->edge[bins->n] - bins->edge[0], at = 100 * (p->marker - bins->edge[0]) / span;
    bool marked = at >= 0 && at <= 100; /* false of NAN */
    uint64_t most = 1;
    double step, top;
    size_t s, i;

    for (s = 0; s < p->n_series; s++)
        for (i = 0; i < bins->n; i++)
            most = HONE_MAX(most, p->series[s].count[i]);
    step = HONE_MAX(1, round_up((double)most / 4));
    top = step * ceil((double)most / step);
    frame_begin(b, p, 0, top, step);
    histogram_bars(b, p, bins, top);
    if (marked)
        marker(b, at);
    hone_buf_puts(b, "</svg>");
    if (marked)
        marker_label(b, p, at, false);
    histogram_ticks(b, bins);
    frame_end(b, p);
}

/* ---- lines --------------------------------------------------------------------------------------------------------- */

static double scaled(const plot *p, double x)
{
    return p->log_x ? log10(x) : x;
}

static void line_ticks(hone_buf *b, const plot *p, double low, double high)
{
    double step, x;

    hone_buf_puts(b, "<div class=x aria-hidden=true>");
    if (p->log_x) { /* 1, 2, 5 of every decade where that leaves them room */
        static const double digit[] = {1, 2, 5};
        double every = HONE_MAX(1, ceil((high - low) / MAX_TICKS));
        size_t digits = high - low <= 2 ? HONE_COUNT(digit) : 1, i;

        for (x = floor(low); x <= high; x += every)
            for (i = 0; i < digits; i++) {
                double at = 100 * (x + log10(digit[i]) - low) / (high - low);

                if (at < -0.01 || at > 100.01)
                    continue;
                hone_buf_printf(b, "<span style=\"left:%.5g%%\">", at);
                html_number(b, digit[i] * pow(10, x));
                hone_buf_puts(b, "</span>");
            }
    } else {
        step = round_up((high - low) / MAX_TICKS);
        for (x = ceil(low / step) * step; x <= high + step * 1e-6; x += step) {
            hone_buf_printf(b, "<span style=\"left:%.5g%%\">", 100 * (x - low) / (high - low));
            html_number(b, x);
            hone_buf_puts(b, "</span>");
        }
    }
    hone_buf_puts(b, "</div></div></div>\n");
}

void plot_lines(hone_buf *b, const plot *p)
{
    double low = INFINITY, high = -INFINITY, top = p->y_top, bottom = 0, least = INFINITY, most = 0, step, at;
    bool marked;
    size_t s, i;

    for (s = 0; s < p->n_series; s++)
        for (i = 0; i < p->series[s].n; i++) {
            low = fmin(low, scaled(p, p->series[s].x[i]));
            high = fmax(high, scaled(p, p->series[s].x[i]));
            least = fmin(least, p->series[s].y[i]);
            most = fmax(most, p->series[s].y[i]);
        }
    if (!(high > low)) { /* nothing, or one point */
        low = isfinite(low) ? low - 0.5 : 0;
        high = low + 1;
    }
    top = top > 0 ? top : most > 0 ? most : 1;
    step = p->percent && top == 1 ? 0.25 : round_up((p->cropped && most > least ? most - least : top) / 4);
    if (p->cropped && most > least)
        bottom = step * floor(least / step);
    top = p->y_top > 0 ? top : step * ceil(top / step);
    at = p->marker > 0 || !p->log_x ? 100 * (scaled(p, p->marker) - low) / (high - low) : NAN;
    marked = at >= 0 && at <= 100;
    frame_begin(b, p, bottom, top, step);
    for (s = 0; s < p->n_series; s++) {
        hone_buf_printf(b, "<path class=\"line t-%s\" d=\"", p->series[s].tone);
        for (i = 0; i < p->series[s].n; i++)
            hone_buf_printf(b, "%s%.5g %.5g", i ? "L" : "M",
                            100 * (scaled(p, p->series[s].x[i]) - low) / (high - low),
                            100 - 100 * (p->series[s].y[i] - bottom) / (top - bottom));
        hone_buf_puts(b, "\"/>\n");
    }
    if (marked)
        marker(b, at);
    hone_buf_puts(b, "</svg>");
    if (marked)
        marker_label(b, p, at, p->log_x);
    line_ticks(b, p, low, high);
    frame_end(b, p);
}
