/* Lets tests/peers/tokenizer_parity.py call the pre-tokenizer by itself: linked with the layers into one library. */
#include <string.h>

#include "hone/error.h"
#include "text/normal.h"
#include "text/pretoken.h"

HONE_API hone_pretoken *shim_open(const char *pattern, size_t len, int behavior, bool invert,
                                  hone_error *err);
HONE_API int shim_pieces(const hone_pretoken *p, const char *text, size_t n, uint32_t *range,
                         size_t *n_ranges, hone_error *err);
HONE_API void shim_close(hone_pretoken *p);
HONE_API int shim_nfc(const char *text, size_t n, char *out, size_t *out_len, uint32_t *begin, uint32_t *end);

struct list {
    uint32_t *range;
    size_t n;
};

static int take(void *ud, const hone_view *piece)
{
    struct list *l = ud;

    l->range[2 * l->n] = hone_view_begin(piece, 0);
    l->range[2 * l->n++ + 1] = hone_view_end(piece, piece->len);
    return 0;
}

/* A Split of one step, closed by shim_close; NULL: see err. */
hone_pretoken *shim_open(const char *pattern, size_t len, int behavior, bool invert, hone_error *err)
{
    hone_pretoken *p = hone_calloc(1, sizeof *p);

    if (p && hone_pretoken_add_pattern(p, pattern, len, (enum hone_behavior)behavior, invert, err)) {
        shim_close(p);
        return NULL;
    }
    return p;
}

void shim_close(hone_pretoken *p)
{
    hone_pretoken_clear(p);
    hone_free(p);
}

/* The pieces of text as byte ranges; room for n. */
int shim_pieces(const hone_pretoken *p, const char *text, size_t n, uint32_t *range, size_t *n_ranges,
                hone_error *err)
{
    hone_pretoken_work w = {0};
    struct list l = {range, 0};
    hone_view v = {(const unsigned char *)text, n, NULL, NULL, 0};
    int code = hone_pretoken_run(p, &w, &v, take, &l, err);

    *n_ranges = l.n;
    hone_pretoken_work_clear(&w);
    return code;
}

/* Normal form C of well-formed text; room for 4 n bytes. */
int shim_nfc(const char *text, size_t n, char *out, size_t *out_len, uint32_t *begin, uint32_t *end)
{
    hone_view in = {(const unsigned char *)text, n, NULL, NULL, 0}, v;
    hone_aligned work = {0};
    int code = hone_view_nfc(&v, &work, &in);
    size_t i;

    for (i = 0; i < v.len; i++) {
        out[i] = (char)v.s[i];
        begin[i] = hone_view_begin(&v, i);
        end[i] = hone_view_end(&v, i + 1);
    }
    *out_len = v.len;
    hone_aligned_clear(&work);
    return code;
}
