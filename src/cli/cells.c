/* Text of anyone in the cells of a terminal: one line, of known width, that can not move the cursor. */
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "cli.h"

/* What may be shown as it is: a character that takes cells, or one that is drawn over the cell before it. Direction marks
 * and other characters of format are not. */
static bool is_shown(utf8proc_int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return k != UTF8PROC_CATEGORY_CC && k != UTF8PROC_CATEGORY_CF && k != UTF8PROC_CATEGORY_CN &&
           k != UTF8PROC_CATEGORY_CO && k != UTF8PROC_CATEGORY_CS && k != UTF8PROC_CATEGORY_ZL &&
           k != UTF8PROC_CATEGORY_ZP;
}

/* The next character of s as it is shown; its bytes are returned through *out, its cells are the result. */
static int next_cell(const char **s, utf8proc_uint8_t out[4], size_t *len, bool ascii)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)*s, (utf8proc_ssize_t)strlen(*s), &c);

    if (n < 1) {
        n = 1;
        c = 0xfffd;
    }
    *s += n;
    if (c == '\n' || c == '\t' || c == '\r')
        c = ' ';
    else if (!is_shown(c))
        c = 0xfffd;
    if (ascii && c > 0x7e)
        c = '?';
    *len = (size_t)utf8proc_encode_char(c, out);
    return utf8proc_charwidth(c);
}

char *shown_text(const char *text, int columns, bool ascii)
{
    const char *mark = ascii ? "..." : "…";
    const int mark_cells = ascii ? 3 : 1;
    char *line = malloc(4 * strlen(text) + 8);
    size_t at = 0, cut = 0;
    int used = 0;

    if (!line)
        return NULL;
    while (*text) {
        utf8proc_uint8_t bytes[4];
        size_t len;
        int cells = next_cell(&text, bytes, &len, ascii);

        if (used + cells > columns) {
            at = cut;
            memcpy(line + at, mark, strlen(mark));
            at += strlen(mark);
            break;
        }
        memcpy(line + at, bytes, len);
        at += len;
        used += cells;
        if (used + mark_cells <= columns)
            cut = at;
    }
    line[at] = 0;
    return line;
}
