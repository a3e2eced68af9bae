/* The steps of a decoder: see decoder.h. Each follows the library's decoder of its name. */
#include <string.h>

#include "text/decoder.h"
#include "text/vocab_table.h"

void hone_decoder_clear(hone_decoder *d)
{
    size_t i;

    for (i = 0; i < d->n_steps; i++) {
        hone_free(d->step[i].from);
        hone_free(d->step[i].to);
        hone_regex_close(d->step[i].regex);
    }
    hone_buf_clear(&d->identity);
    memset(d, 0, sizeof *d);
}

int hone_decoder_add(hone_decoder *d, enum hone_decoder_kind kind, const char *from, size_t from_len,
                     const char *to, size_t to_len, size_t start, size_t stop, hone_error *err)
{
    hone_decoder_step *s = &d->step[d->n_steps];
    int code = 0;

    if (d->n_steps >= HONE_MAX_DECODERS)
        return hone_error_set(err, HONE_ELIMIT, "more than %d decoder steps", HONE_MAX_DECODERS);
    if (kind == HONE_DECODE_STRING && !from_len)
        return hone_error_set(err, HONE_EUNSUPPORTED, "a Replace of the empty string");
    *s = (hone_decoder_step){
        .kind = kind, .from_len = from_len, .to_len = to_len, .start = start, .stop = stop};
    d->n_steps++;
    if (kind == HONE_DECODE_REGEX)
        code = hone_regex_open(&s->regex, from, from_len, err);
    else if (!(s->from = hone_strndup(from, from_len)))
        code = hone_error_set(err, HONE_ENOMEM, "out of memory for the decoder");
    if (!code && !(s->to = hone_strndup(to, to_len)))
        code = hone_error_set(err, HONE_ENOMEM, "out of memory for the decoder");
    if (code)
        return code;
    hone_buf_printf(&d->identity, "%d %zu %zu %zu %zu ", (int)kind, from_len, to_len, start, stop);
    hone_buf_add(&d->identity, from, from_len);
    hone_buf_add(&d->identity, to, to_len);
    return d->identity.failed ? hone_error_set(err, HONE_ENOMEM, "out of memory for the decoder") : 0;
}

/* ---- lists of texts ----------------------------------------------------------------------------------------------------- */

void hone_texts_clear(hone_texts *t)
{
    hone_buf_clear(&t->bytes);
    hone_free(t->end);
    memset(t, 0, sizeof *t);
}

void hone_texts_close(hone_texts *t)
{
    t->end = hone_grow(t->end, &t->capacity, t->n + 1, sizeof *t->end);
    if (t->n == t->capacity) {
        t->failed = true;
        return;
    }
    t->end[t->n++] = t->bytes.len;
}

static const char *text_at(const hone_texts *t, size_t i, size_t *len)
{
    size_t begin = i ? t->end[i - 1] : 0;

    *len = t->end[i] - begin;
    return t->bytes.data ? t->bytes.data + begin : "";
}

void hone_add_repaired(hone_buf *out, const char *bytes, size_t n)
{
    size_t i = 0, start = 0;

    while (i < n) {
        int32_t c;
        size_t k = hone_utf8_get(bytes + i, n - i, &c);

        if (c < 0) {
            hone_buf_add(out, bytes + start, i - start);
            hone_buf_puts(out, "\xef\xbf\xbd");
            start = i + k;
        }
        i += k;
    }
    hone_buf_add(out, bytes + start, n - start);
}

static bool well_formed(const char *s, size_t n)
{
    size_t i = 0;
    int32_t c = 0;

    while (i < n && c >= 0)
        i += hone_utf8_get(s + i, n - i, &c);
    return c >= 0;
}

/* ---- steps ------------------------------------------------------------------------------------------------------------------ */

/* A text of the byte alphabet to its bytes; one with any other character stays as it is. */
static void add_bytes_of(hone_buf *out, const char *s, size_t n)
{
    size_t i, start = out->len;
    int32_t c;

    for (i = 0; i < n;) {
        int byte;

        i += hone_utf8_get(s + i, n - i, &c);
        byte = c < 0 ? -1 : hone_byte_of_char((uint32_t)c);
        if (byte < 0) {
            if (!out->failed)
                out->len = start;
            hone_buf_add(out, s, n);
            return;
        }
        hone_buf_putc(out, (char)byte);
    }
}

static void byte_level(const hone_texts *in, hone_texts *out, bool stream)
{
    hone_buf bytes = {0};
    size_t i, n;

    for (i = 0; i < in->n; i++) {
        const char *s = text_at(in, i, &n);

        add_bytes_of(&bytes, s, n);
    }
    if (stream)
        hone_buf_add(&out->bytes, bytes.data ? bytes.data : "", bytes.len);
    else
        hone_add_repaired(&out->bytes, bytes.data ? bytes.data : "", bytes.len);
    out->failed |= bytes.failed;
    hone_buf_clear(&bytes);
    hone_texts_close(out);
}

static void replace_string(const hone_decoder_step *s, const hone_texts *in, hone_texts *out)
{
    size_t i, n;

    for (i = 0; i < in->n; i++) {
        const char *text = text_at(in, i, &n), *hit;

        while (n && (hit = memmem(text, n, s->from, s->from_len))) {
            hone_buf_add(&out->bytes, text, (size_t)(hit - text));
            hone_buf_add(&out->bytes, s->to, s->to_len);
            n -= (size_t)(hit - text) + s->from_len;
            text = hit + s->from_len;
        }
        hone_buf_add(&out->bytes, text, n);
        hone_texts_close(out);
    }
}

static int replace_regex(const hone_decoder_step *s, const hone_texts *in, hone_texts *out, hone_error *err)
{
    void *match_data = NULL;
    size_t i, n;
    int got = 0;

    for (i = 0; i < in->n && got >= 0; i++) {
        const char *text = text_at(in, i, &n);
        size_t from = 0, done = 0, last = SIZE_MAX, begin, end;

        if (!well_formed(text, n)) /* bytes on their way to a stream */
            from = n + 1;
        while (from <= n && (got = hone_regex_find(s->regex, &match_data, (const unsigned char *)text, n,
                                                   from, &begin, &end, err)) > 0) {
            if (begin == end && last == end) {
                do
                    from++;
                while (from < n && (text[from] & 0xc0) == 0x80);
                continue;
            }
            hone_buf_add(&out->bytes, text + done, begin - done);
            hone_buf_add(&out->bytes, s->to, s->to_len);
            from = done = last = end;
        }
        hone_buf_add(&out->bytes, text + done, n - done);
        hone_texts_close(out);
    }
    hone_regex_free_match_data(match_data);
    return got < 0 ? got : 0;
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte of <0xHH> in any case (and <0x+H>, which Rust reads so too), or -1. */
static int fallback_byte(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || digit(s[4]) < 0)
        return -1;
    return s[3] == '+' ? digit(s[4]) : digit(s[3]) < 0 ? -1 : digit(s[3]) << 4 | digit(s[4]);
}

/* Ends a run of bytes. */
static void close_bytes(hone_texts *out, hone_buf *bytes, bool stream)
{
    size_t i;

    if (!bytes->len)
        return;
    if (stream || well_formed(bytes->data, bytes->len)) {
        hone_buf_add(&out->bytes, bytes->data, bytes->len);
        hone_texts_close(out);
    } else {
        for (i = 0; i < bytes->len; i++) {
            hone_buf_puts(&out->bytes, "\xef\xbf\xbd");
            hone_texts_close(out);
        }
    }
    bytes->len = 0;
}

static void byte_fallback(const hone_texts *in, hone_texts *out, bool stream)
{
    hone_buf bytes = {0};
    size_t i, n;

    for (i = 0; i < in->n; i++) {
        const char *s = text_at(in, i, &n);
        int byte = fallback_byte(s, n);

        if (byte >= 0) {
            hone_buf_putc(&bytes, (char)byte);
            continue;
        }
        close_bytes(out, &bytes, stream);
        hone_buf_add(&out->bytes, s, n);
        hone_texts_close(out);
    }
    close_bytes(out, &bytes, stream);
    out->failed |= bytes.failed;
    hone_buf_clear(&bytes);
}

static void strip(const hone_decoder_step *s, const hone_texts *in, hone_texts *out)
{
    size_t i, n, k, len = s->from_len;

    for (i = 0; i < in->n; i++) {
        const char *text = text_at(in, i, &n);

        for (k = 0; k < s->start && n >= len && !memcmp(text, s->from, len); k++) {
            text += len;
            n -= len;
        }
        for (k = 0; k < s->stop && n >= len && !memcmp(text + n - len, s->from, len); k++)
            n -= len;
        hone_buf_add(&out->bytes, text, n);
        hone_texts_close(out);
    }
}

static void metaspace(const hone_decoder_step *s, const hone_texts *in, hone_texts *out, bool stream)
{
    size_t i, n, k;

    for (i = 0; i < in->n; i++) {
        const char *text = text_at(in, i, &n);

        for (k = 0; k < n;) {
            if (n - k < s->from_len || memcmp(text + k, s->from, s->from_len)) {
                hone_buf_putc(&out->bytes, text[k++]);
                continue;
            }
            if (i || !s->start || stream)
                hone_buf_putc(&out->bytes, ' ');
            k += s->from_len;
        }
        hone_texts_close(out);
    }
}

int hone_decoder_run(const hone_decoder *d, hone_texts *list, bool stream, hone_error *err)
{
    bool fused = false; /* from here on a text is all of it */
    size_t i;
    int code = 0;

    for (i = 0; i < d->n_steps && !code; i++) {
        const hone_decoder_step *s = &d->step[i];
        hone_texts out = {0};

        switch (s->kind) {
        case HONE_DECODE_BYTE_LEVEL:
            byte_level(list, &out, stream);
            fused = true;
            break;
        case HONE_DECODE_STRING:
            replace_string(s, list, &out);
            break;
        case HONE_DECODE_REGEX:
            code = replace_regex(s, list, &out, err);
            break;
        case HONE_DECODE_BYTE_FALLBACK:
            byte_fallback(list, &out, stream);
            break;
        case HONE_DECODE_FUSE:
            hone_buf_add(&out.bytes, list->bytes.data ? list->bytes.data : "", list->bytes.len);
            hone_texts_close(&out);
            fused = true;
            break;
        case HONE_DECODE_STRIP:
            if (stream && fused)
                continue;
            strip(s, list, &out);
            break;
        case HONE_DECODE_METASPACE:
            metaspace(s, list, &out, stream);
            break;
        }
        out.failed |= list->failed || list->bytes.failed;
        hone_texts_clear(list);
        *list = out;
    }
    if (!code && (list->failed || list->bytes.failed))
        code = hone_error_set(err, HONE_ENOMEM, "out of memory while decoding");
    return code;
}
