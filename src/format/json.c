/* jansson does the work; this file gives its errors a file name and routes its output through hone_buf. */
#include "format/json.h"

#include <string.h>

/* Writes text to b with ".0" behind every integer of 19 digits or more, so that jansson reads it as a real: transformers
 * writes 10^30 as model_max_length into most tokenizer_config.json. */
static void widen_integers(hone_buf *b, const char *text, size_t len)
{
    size_t i = 0, digits, begin = 0;
    bool quoted = false;

    while (i < len) {
        if (quoted || text[i] < '0' || text[i] > '9') {
            if (quoted && text[i] == '\\')
                i++;
            else if (text[i] == '"')
                quoted = !quoted;
            i++;
            continue;
        }
        for (digits = i; i < len && text[i] >= '0' && text[i] <= '9'; i++)
            ;
        if (i - digits >= 19 && (i == len || !strchr(".eE", text[i])) &&
            (digits == 0 || !strchr(".eE+", text[digits - 1]))) {
            hone_buf_add(b, text + begin, i - begin);
            hone_buf_puts(b, ".0");
            begin = i;
        }
    }
    hone_buf_add(b, text + begin, len - begin);
}

int hone_json_parse(json_t **out, const char *text, size_t len, const char *path, hone_error *err)
{
    hone_buf wide = {.limit = SIZE_MAX};
    json_error_t e;

    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    if (!*out && json_error_code(&e) == json_error_numeric_overflow) {
        widen_integers(&wide, text, len);
        if (wide.failed)
            return hone_error_set(err, HONE_ENOMEM, "%s: out of memory while parsing JSON", path);
        *out = json_loadb(wide.data, wide.len, JSON_REJECT_DUPLICATES, &e);
        hone_buf_clear(&wide);
    }
    if (*out)
        return 0;
    if (json_error_code(&e) == json_error_out_of_memory || !e.text[0]) /* some failures leave no text */
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory while parsing JSON", path);
    return hone_error_set(err, HONE_EFORMAT, "%s: line %d, column %d: %s", path, e.line, e.column, e.text);
}

int hone_json_load(json_t **out, const char *path, size_t limit, hone_error *err)
{
    char *text;
    size_t len;
    int rc = hone_file_read(&text, &len, path, limit, err);

    *out = NULL;
    if (rc)
        return rc;
    rc = hone_json_parse(out, text, len, path, err);
    hone_free(text);
    return rc;
}

static int add(const char *bytes, size_t n, void *b)
{
    hone_buf_add(b, bytes, n);
    return 0;
}

void hone_json_dump(hone_buf *b, const json_t *v, size_t flags)
{
    if (!v || json_dump_callback(v, add, b, flags | JSON_ENCODE_ANY) != 0)
        b->failed = true;
}
