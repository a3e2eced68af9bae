/* Where the matrices of a checkpoint lie: in its mapping, on the heap, or in a file made here; what that means for memory.
 *
 * Every matrix is entered with its exact bytes when it is bound, so that letting go of pages can never touch memory whose
 * contents would be lost. Vectors are small, lie on the heap and are not listed. */
#include <string.h>

#include "model/weights_own.h"

static int enter(hone_weights *w, hone_matrix_home home, const void *data, size_t size, hone_error *err)
{
    hone_weights_own *own = w->impl;

    own->matrix = hone_grow(own->matrix, &own->matrix_capacity, own->n_matrices + 1, sizeof *own->matrix);
    if (own->matrix_capacity <= own->n_matrices)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the table of weights");
    own->matrix[own->n_matrices++] =
        (hone_matrix){.layer = own->layer, .module = own->module, .home = home, .data = data, .size = size};
    return 0;
}

int hone_weights_bind_mapped(hone_weights *w, const void *data, size_t size, hone_error *err)
{
    return enter(w, HONE_MATRIX_MAPPED, data, size, err);
}

int hone_weights_make_room(void **out, hone_weights *w, size_t size, hone_error *err)
{
    hone_spill file;
    int rc;

    if (!w->offloaded) {
        *out = hone_weights_own_alloc(w->impl, size, err);
        return *out ? enter(w, HONE_MATRIX_HEAP, *out, size, err) : HONE_ENOMEM;
    }
    rc = hone_spill_open(&file, w->form.offload_dir, "a matrix of the base (training.offload_base)", size,
                         err);
    if (!rc && (rc = enter(w, HONE_MATRIX_FILE, file.data, size, err)) < 0)
        hone_spill_close(&file);
    *out = file.data;
    if (!rc)
        w->file_bytes += size;
    return rc;
}

static void free_matrix(hone_weights *w, const hone_matrix *m)
{
    hone_spill file = {(char *)m->data, m->size};

    if (m->home == HONE_MATRIX_FILE) {
        hone_spill_close(&file);
        w->file_bytes -= m->size;
    } else if (m->home == HONE_MATRIX_HEAP) {
        hone_weights_own_release(w->impl, m->data);
    }
}

void hone_weights_drop(hone_weights *w, const void *data)
{
    hone_weights_own *own = w->impl;
    hone_matrix *m = own->matrix + own->n_matrices;

    while (m > own->matrix && m[-1].data != data)
        m--;
    if (m-- == own->matrix)
        return;
    if (m->home == HONE_MATRIX_MAPPED) {
        hone_pages_release(m->data, m->size);
        w->mapped_bytes -= m->size;
    } else if (m->home == HONE_MATRIX_HEAP) {
        w->copied_bytes -= m->size; /* what was made of it is not dropped */
    }
    free_matrix(w, m);
    memmove(m, m + 1, (size_t)(own->matrix + own->n_matrices - m - 1) * sizeof *m);
    own->n_matrices--;
}

void hone_weights_drop_all(hone_weights *w)
{
    hone_weights_own *own = w->impl;
    size_t i;

    for (i = 0; i < own->n_matrices; i++)
        free_matrix(w, &own->matrix[i]);
    hone_free(own->matrix);
}

void hone_weights_release(const hone_weights *w, int layer)
{
    const hone_weights_own *own = w->impl;
    size_t i;

    for (i = 0; i < own->n_matrices; i++)
        if (own->matrix[i].layer == layer && own->matrix[i].home != HONE_MATRIX_HEAP)
            hone_pages_release(own->matrix[i].data, own->matrix[i].size);
}

static bool holds(const hone_matrix *m, const void *data)
{
    return (const char *)data >= (const char *)m->data &&
           (const char *)data < (const char *)m->data + m->size;
}

/* Does the view read this matrix, or has it one of its own in that place? */
static bool is_read(const hone_matrix *m, const hone_weights *view)
{
    return m->layer < 0 ? holds(m, view->embed.data) || holds(m, view->head.data)
                        : holds(m, view->layer[m->layer].proj[m->module].data);
}

hone_weights_use hone_weights_used(const hone_weights *w, const hone_weights *view)
{
    const hone_weights_own *own = w->impl;
    hone_weights_use u = {.mapped = w->mapped_bytes, .rest = w->mapped_bytes};
    uint64_t block = 0;
    size_t i;

    for (i = 0; i < own->n_matrices; i++) {
        const hone_matrix *m = &own->matrix[i];
        const bool read = is_read(m, view);

        if (m->home == HONE_MATRIX_MAPPED) {
            u.mapped -= read ? 0 : m->size;
            u.rest -= m->size;
        } else if (m->home == HONE_MATRIX_HEAP) {
            u.heap += m->size;
        }
        if (!i || m->layer != m[-1].layer || m->layer < 0) /* entered layer by layer */
            block = 0;
        block += read ? m->size : 0;
        u.block = HONE_MAX(u.block, block);
    }
    return u;
}
