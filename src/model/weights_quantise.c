/* Quantising the projections while a model is loaded, one after the other.
 *
 * Embedding, head, norms and biases stay as they are (bitsandbytes' choice). A matrix that the file holds in a block format
 * keeps it: coding codes again would lose for nothing. When a matrix is done, the pages of the mapping that it came from
 * are let go, so a model never stands in memory twice. */
#include <string.h>

#include "model/weights_own.h"

static bool is_plain(hone_dtype t)
{
    return t == HONE_F32 || t == HONE_F16 || t == HONE_BF16;
}

int hone_weights_quantise(hone_weights *w, hone_weight *p, const char *name, hone_error *err)
{
    const hone_weights_form *f = &w->form;
    const int64_t n = (int64_t)p->rows * p->cols;
    const size_t size = hone_quantised_size(f->type, f->nested, n) + 63;
    const void *before = p->data;
    hone_error why = HONE_ERROR_INIT;
    void *room;
    char *memory;
    int rc;

    if (f->type == HONE_F32)
        return 0;
    if (!is_plain(p->dtype)) {
        w->n_kept++;
        return 0;
    }
    rc = hone_weights_make_room(&room, w, size, err);
    if (rc)
        return rc;
    memory = room;
    rc = hone_weight_quantise(f->dev, p, memory + (-(uintptr_t)memory & 63), f->type, f->nested, &why);
    if (rc)
        return hone_error_set(err, rc, "%s: %s", name, why.message);
    w->n_quantised++;
    if (!w->offloaded)
        w->quantised_bytes += size;
    hone_weights_drop(w, before);
    return 0;
}
