/* Rows of the embedding, and of the head, that train while the rest of the table is frozen: PEFT's
 * trainable_token_indices.
 *
 * The rows are a small tensor of the adapter, the new values themselves and not differences. A patch in the view of the
 * weights puts them in the place of the table's own rows, so that every pass, decoding and merging see them and no second
 * table is made. Of a model whose head is its embedding both places show the same rows, and their gradient is the sum. */
#include <math.h>
#include <string.h>

#include "model/adapter.h"

static const int module_of[2] = {HONE_EMBED, HONE_HEAD};

static const hone_weight *table_of(const hone_weights *w, int place)
{
    return place ? &w->head : &w->embed;
}

static int numbers_copy(hone_numbers *out, const hone_numbers *in)
{
    if (!in->n)
        return 0;
    out->item = hone_alloc(in->n * sizeof *out->item);
    if (!out->item)
        return HONE_ENOMEM;
    memcpy(out->item, in->item, in->n * sizeof *out->item);
    out->n = in->n;
    return 0;
}

static bool trains_whole(const hone_adapter *a, int module)
{
    size_t i;

    for (i = 0; i < a->n_params; i++)
        if (a->param[i].module == module && a->param[i].role == HONE_PARAM_WEIGHT)
            return true;
    return false;
}

/* The ids of one table, with the slots of all its rows. */
static int take_ids(hone_row_patch *p, const hone_numbers *ids, int32_t vocab, const char *where,
                    hone_error *err)
{
    int32_t *id = hone_alloc((ids->n + 1) * sizeof *id), *slot = hone_alloc((size_t)vocab * sizeof *slot);
    int32_t i;

    p->id = id;
    p->slot = slot;
    if (!id || !slot)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory for trainable_token_indices", where);
    memset(slot, 0xff, (size_t)vocab * sizeof *slot);
    for (i = 0; i < (int32_t)ids->n; i++) {
        const double x = ids->item[i];

        if (!(x >= 0 && x < vocab) || x != floor(x))
            return hone_error_set(err, HONE_EINVAL,
                                  "%s: trainable_token_indices: %g is no token of the %d that the model has",
                                  where, x, vocab);
        if (slot[(int32_t)x] >= 0)
            return hone_error_set(err, HONE_EINVAL, "%s: trainable_token_indices: %g stands twice", where, x);
        id[i] = (int32_t)x;
        slot[id[i]] = i;
    }
    p->n = i;
    return 0;
}

int hone_token_rows_add(hone_adapter *a, const hone_token_rows *tokens, const char *where, hone_error *err)
{
    const hone_weights *w = a->model->w;
    int place, rc = 0;

    if (!tokens || (!tokens->embed.n && !tokens->head.n))
        return 0;
    a->tokens.by_name = tokens->by_name;
    if (numbers_copy(&a->tokens.embed, &tokens->embed) < 0 ||
        numbers_copy(&a->tokens.head, &tokens->head) < 0)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory for trainable_token_indices", where);
    if (trains_whole(a, HONE_EMBED) || trains_whole(a, HONE_HEAD))
        return hone_error_set(err, HONE_EINVAL,
                              "%s: trainable_token_indices train rows of a table that modules_to_save trains "
                              "whole; use one of them",
                              where);
    if (tokens->head.n && w->arch.tied)
        return hone_error_set(
            err, HONE_EINVAL,
            "%s: trainable_token_indices: lm_head is embed_tokens in this model; name that alone", where);
    for (place = 0; place < 2 && !rc; place++) {
        const hone_numbers *ids = place ? &a->tokens.head : &a->tokens.embed;
        const hone_weight *table = table_of(w, place);

        if (!ids->n)
            continue;
        rc = take_ids(&a->token_patch[place], ids, table->rows, where, err);
        if (!rc)
            rc = hone_param_add(a, HONE_PARAM_TOKENS, 0, module_of[place], (int64_t)ids->n, table->cols, err);
    }
    return rc;
}

int hone_token_rows_start(hone_adapter *a, hone_error *err)
{
    hone_weight *view[2] = {&a->view.embed, &a->view.head};
    size_t i;
    int32_t k;

    for (i = 0; i < a->n_params; i++) {
        const hone_param *p = &a->param[i];
        const int place = p->module == HONE_HEAD;
        const hone_weight *table = table_of(a->model->w, place);
        hone_row_patch *patch = &a->token_patch[place];
        float *base;

        if (p->role != HONE_PARAM_TOKENS)
            continue;
        patch->base = base = hone_alloc(p->n * sizeof *base);
        if (!base)
            return hone_error_set(err, HONE_ENOMEM, "out of memory for the rows of %d tokens", patch->n);
        for (k = 0; k < patch->n; k++)
            hone_weight_values(base + (int64_t)k * p->cols, table, (int64_t)patch->id[k] * p->cols, p->cols);
        memcpy(a->value + p->at, base, p->n * sizeof *base);
        view[place]->patch = patch;
        if (!place && a->model->w->arch.tied)
            view[1]->patch = patch;
    }
    return 0;
}

void hone_token_rows_clear(hone_adapter *a)
{
    int place;

    for (place = 0; place < 2; place++) {
        hone_free((void *)(uintptr_t)a->token_patch[place].id);
        hone_free((void *)(uintptr_t)a->token_patch[place].slot);
        hone_free((void *)(uintptr_t)a->token_patch[place].base);
    }
    hone_free(a->tokens.embed.item);
    hone_free(a->tokens.head.item);
}

size_t hone_token_rows_size(const hone_adapter *a)
{
    size_t bytes = 0;
    int place;

    for (place = 0; place < 2; place++) {
        const hone_row_patch *p = &a->token_patch[place];
        const hone_weight *table = table_of(a->model->w, place);

        if (p->n)
            bytes += ((size_t)p->n * (size_t)(table->cols + 1) + (size_t)table->rows) * sizeof(float);
    }
    return bytes;
}
