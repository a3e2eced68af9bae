/* jansson does the work; this file gives its errors a file name and routes its output through hone_buf. */
#include "format/json.h"

int hone_json_parse(json_t **out, const char *text, size_t len, const char *path, hone_error *err)
{
    json_error_t e;

    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
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
