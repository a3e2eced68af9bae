/* Pieces of a page: text, frame, figures, bars, tables. See html.h.
 *
 * No element carries a script, and the page's own policy forbids any, so that a mistake in escaping could show wrong
 * text but not run it. */
#include "report/html.h"

#include <math.h>
#include <string.h>

/* ---- text ------------------------------------------------------------------------------------------------------ */

static void put_escaped(hone_buf *b, const char *s, size_t n)
{
    size_t i, from = 0;

    for (i = 0; i < n; i++) {
        const char *entity = s[i] == '<'    ? "&lt;"
                             : s[i] == '>'  ? "&gt;"
                             : s[i] == '&'  ? "&amp;"
                             : s[i] == '"'  ? "&quot;"
                             : s[i] == '\'' ? "&#39;"
                                            : NULL;

        if (!entity)
            continue;
        hone_buf_add(b, s + from, i - from);
        hone_buf_puts(b, entity);
        from = i + 1;
    }
    hone_buf_add(b, s + from, n - from);
}

/* Characters of no width, of no glyph, or that turn the direction of the text. */
static bool is_unseen(int32_t c)
{
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0) || c == 0xad ||
           (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
           c == 0xfeff || c == 0x61c || c == 0x180e || (c >= 0xfff9 && c <= 0xfffb) ||
           (c >= 0xe0000 && c <= 0xe007f);
}

static void put_text(hone_buf *b, const char *s, size_t n, bool spell)
{
    size_t i = 0, step, from = 0;
    int32_t c;

    for (; i < n; i += step) {
        step = hone_utf8_get(s + i, n - i, &c);
        if (c >= 0 && !(spell ? is_unseen(c) : c < 0x20 && c != '\n' && c != '\t'))
            continue;
        put_escaped(b, s + from, i - from);
        from = i + step;
        if (c < 0 || !spell)
            hone_buf_puts(b, "\xef\xbf\xbd");
        else
            hone_buf_printf(b, "<span class=cc>U+%04X</span>", (unsigned)c);
    }
    put_escaped(b, s + from, n - from);
}

void html_text(hone_buf *b, const char *s, size_t n)
{
    put_text(b, s, n, false);
}

void html_puts(hone_buf *b, const char *s)
{
    html_text(b, s, strlen(s));
}

void html_quote(hone_buf *b, const char *s, size_t n)
{
    put_text(b, s, n, true);
}

size_t text_border(const char *s, size_t n, size_t at)
{
    size_t back = 0;

    if (at >= n)
        return n;
    while (at && back++ < 3 && ((uint8_t)s[at] & 0xc0) == 0x80)
        at--;
    return at;
}

void html_quote_cut(hone_buf *b, const char *s, size_t n, size_t most)
{
    size_t end = text_border(s, n, most);

    html_quote(b, s, end);
    if (end < n)
        hone_buf_puts(b, "<span class=more>…</span>");
}

void html_count(hone_buf *b, uint64_t n)
{
    char digits[24], out[32];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), i, k = 0;

    for (i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            out[k++] = ',';
        out[k++] = digits[i];
    }
    hone_buf_add(b, out, (size_t)k);
}

void html_share(hone_buf *b, uint64_t part, uint64_t whole)
{
    double x = whole ? 100 * (double)part / (double)whole : 0;

    if (part && x < 0.05)
        hone_buf_puts(b, "&lt; 0.1 %");
    else if (part != whole && x > 99.95)
        hone_buf_puts(b, "&gt; 99.9 %");
    else if (part == 0 || part == whole || x >= 99.95)
        hone_buf_printf(b, "%.0f %%", x);
    else
        hone_buf_printf(b, "%.1f %%", x);
}

void html_number(hone_buf *b, double x)
{
    if (!isfinite(x))
        hone_buf_puts(b, "–");
    else if (fabs(x) < 1e15 && x == floor(x)) {
        if (x < 0)
            hone_buf_puts(b, "−");
        html_count(b, (uint64_t)fabs(x));
    } else if (fabs(x) >= 1000 && fabs(x) < 1e15) {
        if (x < 0)
            hone_buf_puts(b, "−");
        html_count(b, (uint64_t)llround(fabs(x)));
    } else
        hone_buf_printf(b, "%.3g", x);
}

void html_change(hone_buf *b, double before, double after)
{
    double x = before > 0 ? 100 * (after - before) / before : NAN;

    if (!isfinite(x))
        hone_buf_puts(b, "–");
    else if (fabs(x) < 0.05)
        hone_buf_puts(b, "0 %");
    else
        hone_buf_printf(b, "%s%.1f %%", x < 0 ? "−" : "+", fabs(x));
}

void html_size(hone_buf *b, uint64_t bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    size_t i = 0;

    while (x >= 1024 && i + 1 < HONE_COUNT(unit)) {
        x /= 1024;
        i++;
    }
    hone_buf_printf(b, i ? "%.1f %s" : "%.0f %s", x, unit[i]);
}

/* ---- frame ------------------------------------------------------------------------------------------------------- */

void html_page_begin(hone_buf *b, const html_head *h)
{
    hone_buf_printf(b, "<!doctype html>\n<html lang=%s>\n<head>\n<meta charset=utf-8>\n",
                    h->language == HONE_CHINESE ? "zh-CN" : "en");
    hone_buf_puts(
        b,
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'\">\n"
        "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n"
        "<meta name=color-scheme content=\"light dark\">\n<meta name=referrer content=no-referrer>\n<title>");
    html_puts(b, h->kind);
    if (h->title) {
        hone_buf_puts(b, " · ");
        html_puts(b, h->title);
    }
    hone_buf_puts(b, "</title>\n<style>\n");
    hone_buf_puts(b, html_style);
    hone_buf_puts(b, "</style>\n</head>\n<body>\n<header>\n<p class=kind>");
    html_puts(b, h->kind);
    hone_buf_puts(b, "</p>\n<h1>");
    html_puts(b, h->title ? h->title : h->kind);
    hone_buf_puts(b, "</h1>\n");
    if (h->time) {
        hone_buf_puts(b, "<p class=time>");
        html_puts(b, h->time_label);
        hone_buf_puts(b, " <time>");
        html_puts(b, h->time);
        hone_buf_puts(b, "</time></p>\n");
    }
    hone_buf_puts(b, "</header>\n<main>\n");
}

void html_page_end(hone_buf *b, const char *foot)
{
    hone_buf_puts(b, "</main>\n<footer>");
    html_puts(b, foot);
    hone_buf_puts(b, "</footer>\n</body>\n</html>\n");
}

void html_contents_begin(hone_buf *b, const char *label)
{
    hone_buf_puts(b, "<nav aria-label=\"");
    html_puts(b, label);
    hone_buf_puts(b, "\">\n");
}

void html_contents_entry(hone_buf *b, const char *id, const char *title)
{
    hone_buf_printf(b, "<a href=\"#%s\">", id);
    html_puts(b, title);
    hone_buf_puts(b, "</a>\n");
}

void html_contents_end(hone_buf *b)
{
    hone_buf_puts(b, "</nav>\n");
}

void html_section_begin(hone_buf *b, const char *id, const char *title, const char *lead)
{
    hone_buf_printf(b, "<section id=\"%s\">\n<h2>", id);
    html_puts(b, title);
    hone_buf_puts(b, "</h2>\n");
    if (lead) {
        hone_buf_puts(b, "<p class=lead>");
        html_puts(b, lead);
        hone_buf_puts(b, "</p>\n");
    }
}

void html_section_end(hone_buf *b)
{
    hone_buf_puts(b, "</section>\n");
}

void html_subtitle(hone_buf *b, const char *title)
{
    hone_buf_puts(b, "<h3>");
    html_puts(b, title);
    hone_buf_puts(b, "</h3>\n");
}

/* ---- figures, bars, tables --------------------------------------------------------------------------------------- */

void html_figures_begin(hone_buf *b)
{
    hone_buf_puts(b, "<dl class=figures>\n");
}

void html_figure(hone_buf *b, const char *label, uint64_t value, uint64_t of, const char *tone)
{
    hone_buf_printf(b, "<div class=\"figure%s%s\"><dt>", tone && value ? " t-" : "",
                    tone && value ? tone : "");
    html_puts(b, label);
    hone_buf_puts(b, "</dt><dd>");
    html_count(b, value);
    if (of) {
        hone_buf_puts(b, " <small>");
        html_share(b, value, of);
        hone_buf_puts(b, "</small>");
    }
    hone_buf_puts(b, "</dd></div>\n");
}

void html_figure_text(hone_buf *b, const char *label, const char *value, const char *below, const char *tone)
{
    if (tone)
        hone_buf_printf(b, "<div class=\"figure t-%s\"><dt>", tone);
    else
        hone_buf_puts(b, "<div class=figure><dt>");
    html_puts(b, label);
    hone_buf_puts(b, "</dt><dd>");
    html_puts(b, value);
    if (below) {
        hone_buf_puts(b, "<small>");
        html_puts(b, below);
        hone_buf_puts(b, "</small>");
    }
    hone_buf_puts(b, "</dd></div>\n");
}

void html_figures_end(hone_buf *b)
{
    hone_buf_puts(b, "</dl>\n");
}

void html_legend(hone_buf *b, const html_part *part, size_t n)
{
    size_t i;

    hone_buf_puts(b, "<ul class=legend>");
    for (i = 0; i < n; i++) {
        hone_buf_printf(b, "<li><i class=\"key t-%s\"></i>", part[i].tone);
        html_puts(b, part[i].label);
        if (part[i].value != UINT64_MAX) {
            hone_buf_puts(b, " <b>");
            html_count(b, part[i].value);
            hone_buf_puts(b, "</b>");
        }
        hone_buf_puts(b, "</li>");
    }
    hone_buf_puts(b, "</ul>\n");
}

void html_stack(hone_buf *b, const char *label, const html_part *part, size_t n)
{
    html_part shown[16];
    uint64_t sum = 0;
    size_t i, k = 0;

    for (i = 0; i < n && k < HONE_COUNT(shown); i++)
        if (part[i].value) {
            shown[k++] = part[i];
            sum += part[i].value;
        }
    hone_buf_puts(b, "<div class=stack role=img aria-label=\"");
    html_puts(b, label);
    hone_buf_puts(b, "\">");
    for (i = 0; i < k; i++) {
        hone_buf_printf(b, "<i class=\"t-%s\" style=\"flex-grow:%.6g\" title=\"", shown[i].tone,
                        100 * (double)shown[i].value / (double)sum);
        html_puts(b, shown[i].label);
        hone_buf_puts(b, " ");
        html_count(b, shown[i].value);
        hone_buf_puts(b, "\"></i>");
    }
    hone_buf_puts(b, "</div>\n");
    html_legend(b, shown, k);
}

void html_bars_begin(hone_buf *b)
{
    hone_buf_puts(b, "<ul class=bars>\n");
}

void html_bar_text(hone_buf *b, const char *label, double before, double after, const char *tone,
                   const char *text)
{
    hone_buf_puts(b, "<li><span class=name>");
    html_quote_cut(b, label, strlen(label), 80);
    hone_buf_puts(b, "</span><span class=track>");
    if (before >= 0)
        hone_buf_printf(b, "<i class=\"t-before\" style=\"width:%.4g%%\"></i>", 100 * before);
    hone_buf_printf(b, "<i class=\"t-%s\" style=\"width:%.4g%%\"></i></span><span class=num>", tone,
                    100 * after);
    html_puts(b, text);
    hone_buf_puts(b, "</span></li>\n");
}

void html_bars_end(hone_buf *b)
{
    hone_buf_puts(b, "</ul>\n");
}

void html_bars(hone_buf *b, const html_bar *bar, size_t n, bool two, const char *tone)
{
    uint64_t most = 1;
    size_t i;

    for (i = 0; i < n; i++)
        most = HONE_MAX(most, HONE_MAX(bar[i].before, bar[i].after));
    hone_buf_puts(b, "<ul class=bars>\n");
    for (i = 0; i < n; i++) {
        hone_buf_puts(b, "<li><span class=name>");
        html_quote_cut(b, bar[i].label, strlen(bar[i].label), 80);
        hone_buf_puts(b, "</span><span class=track>");
        if (two)
            hone_buf_printf(b, "<i class=\"t-before\" style=\"width:%.4g%%\"></i>",
                            100 * (double)bar[i].before / (double)most);
        hone_buf_printf(b, "<i class=\"t-%s\" style=\"width:%.4g%%\"></i></span><span class=num>", tone,
                        100 * (double)bar[i].after / (double)most);
        if (two) {
            html_count(b, bar[i].before);
            hone_buf_puts(b, " → <b>");
        }
        html_count(b, bar[i].after);
        hone_buf_puts(b, two ? "</b></span></li>\n" : "</span></li>\n");
    }
    hone_buf_puts(b, "</ul>\n");
}

void html_table_begin(hone_buf *b, const char *const *column, size_t n, bool narrow)
{
    size_t i;

    hone_buf_printf(b, "<div class=scroll><table%s>\n<thead><tr>", narrow ? " class=narrow" : "");
    for (i = 0; i < n; i++) {
        hone_buf_puts(b, column[i][0] == '#' ? "<th scope=col class=num>" : "<th scope=col>");
        html_puts(b, column[i] + (column[i][0] == '#'));
    }
    hone_buf_puts(b, "</thead>\n<tbody>");
}

void html_row(hone_buf *b)
{
    hone_buf_puts(b, "\n<tr>");
}

void html_cell(hone_buf *b, bool number)
{
    hone_buf_puts(b, number ? "<td class=num>" : "<td>");
}

void html_table_end(hone_buf *b)
{
    hone_buf_puts(b, "\n</tbody></table></div>\n");
}

void html_fold_begin(hone_buf *b, const char *summary, bool open)
{
    hone_buf_printf(b, "<details%s><summary>", open ? " open" : "");
    html_puts(b, summary);
    hone_buf_puts(b, "</summary>\n");
}

void html_fold_end(hone_buf *b)
{
    hone_buf_puts(b, "</details>\n");
}
