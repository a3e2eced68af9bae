/* Plain text for continued pre-training: every paragraph (lines up to a blank one), line or file is a row {"text": ...}.
 * Blank rows do not count; line ends inside a paragraph are kept as one \n each, whatever the file has. */
#include <string.h>

#include "data/data.h"

/* Appends the next line to s->row, its line end left out. 1, 0 at the end of the file, or an error. */
static int add_line(row_source *s, hone_error *err)
{
    bool any = false;

    for (;;) {
        const uint8_t *newline;
        int rc = row_source_fill(s, err);

        if (rc)
            return rc;
        if (s->at == s->end)
            break;
        any = true;
        newline = memchr(s->buffer + s->at, '\n', s->end - s->at);
        rc = row_source_take(s, newline ? (size_t)(newline - (s->buffer + s->at)) : s->end - s->at, err);
        if (rc)
            return rc;
        if (newline) {
            s->at++;
            s->line++;
            break;
        }
    }
    if (s->row.len && s->row.data[s->row.len - 1] == '\r')
        s->row.data[--s->row.len] = 0;
    return any;
}

static bool is_blank(const char *s, size_t n)
{
    while (n && (*s == ' ' || *s == '\t' || *s == '\r' || *s == '\n')) {
        s++;
        n--;
    }
    return n == 0;
}

int read_text_next(row_source *s, hone_error *err)
{
    hone_buf json = {.limit = 8 * ROW_LIMIT};
    int rc = 1;

    s->row.len = 0;
    for (;;) {
        size_t before = s->row.len;
        uint64_t line = s->line;

        if (!before)
            s->row_line = line;
        else
            hone_buf_putc(&s->row, '\n');
        rc = add_line(s, err);
        if (rc < 0)
            return rc;
        if (!rc || (s->text_rows != HONE_TEXT_FILE &&
                    is_blank(s->row.data + before, s->row.len - before))) { /* a blank line */
            s->row.len = before;
            if (before || !rc)
                break;
        } else if (s->text_rows == HONE_TEXT_FILE && !before && is_blank(s->row.data, s->row.len)) {
            s->row.len = 0; /* a file's blank lines at its beginning */
        } else if (s->text_rows == HONE_TEXT_LINE) {
            break;
        }
    }
    while (s->row.len && is_blank(s->row.data + s->row.len - 1, 1))
        s->row.len--;
    if (!s->row.len)
        return 0;
    hone_buf_puts(&json, "{\"text\":");
    json_put_text(&json, s->row.data, s->row.len);
    hone_buf_putc(&json, '}');
    hone_buf_clear(&s->row);
    s->row = json;
    return json.failed || s->row.failed ? hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path) : 1;
}
