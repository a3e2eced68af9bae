/* Pieces of a self-contained page: text, figures, bars, tables, plots. Reports are made of these; none of them knows what
 * the report is about. They append to a buffer, whose `failed` the caller checks once at the end. `tone` names a colour of
 * the style (style.c): used, cut, split, dropped, duplicate, contaminated, before, after, note, warning, error. */
#ifndef HONE_REPORT_HTML_H
#define HONE_REPORT_HTML_H

#include "base/base.h"
#include "hone/report.h"

/* ---- text ------------------------------------------------------------------------------------------------------ */

/* Bytes of anyone as text of an element or of a quoted attribute: markup is escaped, ill-formed UTF-8 becomes U+FFFD. */
void html_text(hone_buf *b, const char *s, size_t n);
void html_puts(hone_buf *b, const char *s);
/* The same for the text of rows: characters that can not be seen or that change the direction of what follows are spelled
 * out (a chip "U+202E"), so the page shows what is there. Not for attributes. */
void html_quote(hone_buf *b, const char *s, size_t n);
/* html_quote of at most `most` bytes, cut at a character, with "…" behind what was cut. */
void html_quote_cut(hone_buf *b, const char *s, size_t n, size_t most);
/* 12,345 */
void html_count(hone_buf *b, uint64_t n);
/* "12.3 %"; "0 %" of nothing; never rounded to 0 % or 100 % when it is not. */
void html_share(hone_buf *b, uint64_t part, uint64_t whole);
/* A number with the digits that matter. */
void html_number(hone_buf *b, double x);
/* "−12.3 %"; "–" where there was nothing. */
void html_change(hone_buf *b, double before, double after);
/* "1.5 MiB" */
void html_size(hone_buf *b, uint64_t bytes);
/* The last byte of a character at or before `at`, so that s[0..result) ends with a whole character. */
size_t text_border(const char *s, size_t n, size_t at);

/* ---- frame ------------------------------------------------------------------------------------------------------- */

typedef struct html_head {
    hone_language language;
    const char *kind;  /* "Data report" */
    const char *title; /* NULL: none */
    const char *time;  /* NULL: none */
    const char *time_label;
} html_head;

void html_page_begin(hone_buf *b, const html_head *head);
void html_page_end(hone_buf *b, const char *foot); /* foot: one line */

/* Links to sections. */
void html_contents_begin(hone_buf *b, const char *label);
void html_contents_entry(hone_buf *b, const char *id, const char *title);
void html_contents_end(hone_buf *b);

/* lead: one sentence, NULL: none. */
void html_section_begin(hone_buf *b, const char *id, const char *title, const char *lead);
void html_section_end(hone_buf *b);
void html_subtitle(hone_buf *b, const char *title);

/* ---- figures, bars, tables --------------------------------------------------------------------------------------- */

/* Headline figures: a row of large numbers. */
void html_figures_begin(hone_buf *b);
/* of: the share is shown below when it is not 0; tone NULL: plain. */
void html_figure(hone_buf *b, const char *label, uint64_t value, uint64_t of, const char *tone);
/* The same with a value and a line below it as texts; NULL: nothing below. */
void html_figure_text(hone_buf *b, const char *label, const char *value, const char *below, const char *tone);
void html_figures_end(hone_buf *b);

typedef struct html_part {
    const char *label, *tone;
    uint64_t value;
} html_part;

/* One bar cut into parts, with a legend; parts of value 0 are left out. label: what it shows, for those who can not see. */
void html_stack(hone_buf *b, const char *label, const html_part *part, size_t n);

/* Horizontal bars, one a line; `after` is drawn over `before` when `two`. */
typedef struct html_bar {
    const char *label;
    uint64_t before, after;
} html_bar;
void html_bars(hone_buf *b, const html_bar *bar, size_t n, bool two, const char *tone);
/* One line of bars, with the text of its number; between html_bars_begin and html_bars_end. before < 0: one bar alone.
 * Shares are of the whole width. */
void html_bars_begin(hone_buf *b);
void html_bar_text(hone_buf *b, const char *label, double before, double after, const char *tone,
                   const char *text);
void html_bars_end(hone_buf *b);
/* The legend of two tones. */
void html_legend(hone_buf *b, const html_part *part, size_t n);

/* A table: columns whose name starts with '#' hold numbers. Cells are written by the caller between html_cell calls. */
void html_table_begin(hone_buf *b, const char *const *column, size_t n, bool narrow);
void html_row(hone_buf *b);               /* the next row */
void html_cell(hone_buf *b, bool number); /* the next cell */
void html_table_end(hone_buf *b);

/* What is shown on demand. The summary is text. */
void html_fold_begin(hone_buf *b, const char *summary, bool open);
void html_fold_end(hone_buf *b);

/* ---- plots (plot.c) ---------------------------------------------------------------------------------------------- */

#define PLOT_SERIES 4

/* Bins of a histogram: [edge[i], edge[i + 1]); the last one also takes everything above when `open`. */
typedef struct plot_bins {
    double *edge; /* [n + 1] */
    size_t n;
    bool open, integer; /* integer: a bin is one number, and is labelled so */
} plot_bins;

/* Bins of round width for value[0..n), at most `most` of them, from 0 (or the smallest) to where the last hundredth begins.
 * edge is freed with hone_free. HONE_ENOMEM. */
int plot_bins_choose(plot_bins *out, const double *value, size_t n, size_t most, bool integer,
                     hone_error *err);
/* Which bin; n of none. */
size_t plot_bin_of(const plot_bins *bins, double x);

typedef struct plot_series {
    const char *name, *tone;
    const uint64_t *count; /* histogram: [bins.n] */
    const double *x, *y;   /* lines: [n], x ascending */
    size_t n;
} plot_series;

typedef struct plot {
    const char *title, *x_label, *y_label;
    plot_series series[PLOT_SERIES]; /* drawn in this order, the later over the earlier */
    size_t n_series;
    double marker; /* a line at this x; NAN: none */
    const char *marker_label;
    bool log_x;   /* lines only; every x > 0 */
    double y_top; /* lines only; 0: as high as the data */
    bool cropped; /* lines only: y begins below the data, not at 0 */
    bool percent; /* lines only: y in [0, 1], shown in percent */
} plot;

void plot_histogram(hone_buf *b, const plot *p, const plot_bins *bins);
void plot_lines(hone_buf *b, const plot *p);

/* The style of every page (style.c). */
extern const char html_style[];

#endif
