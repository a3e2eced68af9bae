/* Streaming text: see stream.h. The window is cut back after every emission, so that a token costs the decoding of a
 * few ids, however long the answer. */
#include <string.h>

#include "infer/stream.h"

void hone_stream_clear(hone_stream *s)
{
    hone_free(s->id);
    hone_free(s->before);
    hone_buf_clear(&s->text);
    memset(s, 0, sizeof *s);
}

static bool ends_in_replacement(const char *text, size_t len)
{
    return len >= 3 && memcmp(text + len - 3, "\xef\xbf\xbd", 3) == 0;
}

/* Gives out what `whole`, the text of the window, adds to `before`, and makes the ids since then the new context. */
static int emit(hone_stream *s, const char *whole, size_t len, const char **out, size_t *out_len,
                hone_error *err)
{
    size_t start = s->text.len, fresh = s->n - s->settled, from = s->before_len;

    while (from < len && ((unsigned char)whole[from] & 0xc0) == 0x80)
        from++; /* a decoder that changed its mind about the context: still no half character */
    hone_buf_add(&s->text, whole + from, len - from);
    if (s->text.failed)
        return hone_error_set(err, HONE_ENOMEM, "no memory for the text of an answer");
    *out = s->text.data + start;
    *out_len = s->text.len - start;
    memmove(s->id, s->id + s->settled, fresh * sizeof *s->id);
    s->n = s->settled = fresh;
    hone_free(s->before);
    s->before = NULL;
    s->before_len = 0;
    return hone_tokenizer_decode(s->tok, &s->before, &s->before_len, s->id, s->n, true, err);
}

int hone_stream_push(hone_stream *s, int32_t id, const char **out, size_t *len, hone_error *err)
{
    char *whole = NULL;
    size_t n;
    int rc;

    *out = "";
    *len = 0;
    s->id = hone_grow(s->id, &s->capacity, s->n + 1, sizeof *s->id);
    if (s->n == s->capacity)
        return hone_error_set(err, HONE_ENOMEM, "no memory for the text of an answer");
    s->id[s->n++] = id;
    rc = hone_tokenizer_decode(s->tok, &whole, &n, s->id, s->n, true, err);
    if (rc)
        return rc;
    if (n > s->before_len && !ends_in_replacement(whole, n))
        rc = emit(s, whole, n, out, len, err);
    hone_free(whole);
    return rc;
}

int hone_stream_finish(hone_stream *s, const char **out, size_t *len, hone_error *err)
{
    char *whole = NULL;
    size_t n;
    int rc;

    *out = "";
    *len = 0;
    if (s->n == s->settled)
        return 0;
    rc = hone_tokenizer_decode(s->tok, &whole, &n, s->id, s->n, true, err);
    if (rc)
        return rc;
    if (n > s->before_len)
        rc = emit(s, whole, n, out, len, err);
    hone_free(whole);
    return rc;
}
