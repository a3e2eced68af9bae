/* Decoding: the same blocks over a few new positions of one conversation, whose keys and values are cached.
 *
 * A block writes its new keys and values straight into their rows of the cache and attention reads all rows from the
 * first; so a prompt in chunks, token by token or at once gives the same answer to rounding, and taking a turn back is
 * setting a length. */
#include <string.h>

#include "model/block.h"

#define ALIGN 64

struct hone_kv {
    size_t size; /* of the whole block, this struct included */
    int n_layer;
    int32_t capacity, length;
    hone_dtype dtype;
    int64_t width; /* K D */
};

static size_t plane(const hone_model *m, int32_t capacity)
{
    const hone_arch *r = &m->w->arch;
    const size_t bytes =
        (size_t)capacity * (size_t)r->n_kv * (size_t)r->head_size * (m->act == HONE_BF16 ? 2 : 4);

    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static size_t header(void)
{
    return (sizeof(hone_kv) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

size_t hone_kv_size(const hone_model *m, int32_t capacity)
{
    return header() + 2 * (size_t)m->w->arch.n_layer * plane(m, capacity);
}

int hone_kv_new(hone_kv **out, const hone_model *m, int32_t capacity, hone_error *err)
{
    size_t size;
    hone_kv *kv;

    *out = NULL;
    if (capacity < 1)
        return hone_error_set(err, HONE_EINVAL, "key-value cache for %d positions", capacity);
    size = hone_kv_size(m, capacity);
    kv = hone_big_alloc(size);
    if (!kv)
        return hone_error_set(err, HONE_ENOMEM, "key-value cache: cannot allocate %zu bytes for %d positions",
                              size, capacity);
    kv->size = size;
    kv->n_layer = m->w->arch.n_layer;
    kv->capacity = capacity;
    kv->dtype = m->act;
    kv->width = (int64_t)m->w->arch.n_kv * m->w->arch.head_size;
    *out = kv;
    return 0;
}

void hone_kv_free(hone_kv *kv)
{
    if (kv)
        hone_big_free(kv, kv->size);
}

int32_t hone_kv_length(const hone_kv *kv)
{
    return kv->length;
}

void hone_kv_truncate(hone_kv *kv, int32_t length)
{
    if (length >= 0 && length < kv->length)
        kv->length = length;
}

/* Rows [from, to) of the keys (which = 0) or values (1) of a layer. */
static hone_mat rows(hone_kv *kv, const hone_model *m, int layer, int which, int32_t from, int32_t to)
{
    char *data = (char *)kv + header() + (size_t)(2 * layer + which) * plane(m, kv->capacity);

    data += (size_t)from * (size_t)kv->width * (kv->dtype == HONE_BF16 ? 2 : 4);
    return hone_mat_make(data, kv->dtype, to - from, kv->width);
}

int hone_model_decode(hone_model *m, const hone_adapter *a, hone_activations *act, hone_kv *kv,
                      const int32_t *ids, int32_t n, float *logits, hone_error *err)
{
    const hone_arch *r = &m->w->arch;
    const hone_weights *w = hone_weights_of(m, a);
    const int32_t past = kv->length, q_off[] = {0, n}, kv_row = 0, kv_len = past + n;
    int32_t *pos = act->shared[HONE_BUF_POS], i;
    hone_pass_env e = {
        .m = m, .w = w, .a = a, .pos = pos, .n_seq = 1, .q_off = q_off, .kv_row = &kv_row, .kv_len = &kv_len};
    hone_block b;
    hone_mat last, normed;
    int layer, rc;

    if (n < 1 || n > act->p.tokens)
        return hone_error_set(err, HONE_ELIMIT, "decoding %d positions at once; the plan is for 1 to %d", n,
                              act->p.tokens);
    if (n > kv->capacity - past)
        return hone_error_set(err, HONE_ELIMIT,
                              "the key-value cache is full: %d of %d positions, %d more wanted", past,
                              kv->capacity, n);
    if (kv->n_layer != r->n_layer || kv->width != (int64_t)r->n_kv * r->head_size || kv->dtype != m->act)
        return hone_error_set(err, HONE_EINVAL, "the key-value cache belongs to another model");
    if (act->p.training || (a && (a->model != m || a->max_rank > act->max_rank)))
        return hone_error_set(err, HONE_EINVAL,
                              "the activations were not made for decoding with this adapter");
    for (i = 0; i < n; i++)
        pos[i] = past + i;

    b = hone_block_view(act, m, 0, n);
    if ((rc = hone_embed(m->dev, b.x, &w->embed, ids, hone_model_embed_scale(m), err)) < 0)
        return rc;
    for (layer = 0; layer < r->n_layer; layer++) {
        b = hone_block_view(act, m, layer, n);
        b.k_to = rows(kv, m, layer, 0, past, kv_len);
        b.v_to = rows(kv, m, layer, 1, past, kv_len);
        if (!r->fused) { /* straight into the cache */
            b.k = b.k_to;
            b.v = b.v_to;
            b.k_to.data = b.v_to.data = NULL;
        }
        if (!r->qk_norm)
            b.k0 = b.k;
        b.keys = rows(kv, m, layer, 0, 0, kv_len);
        b.values = rows(kv, m, layer, 1, 0, kv_len);
        if ((rc = hone_block_fwd(&e, layer, &b, err)) < 0)
            return rc;
        hone_weights_passed(m->w, layer);
    }
    if (logits) {
        last = hone_mat_make((char *)b.y.data +
                                 (size_t)(n - 1) * (size_t)r->width * (m->act == HONE_BF16 ? 2 : 4),
                             m->act, 1, r->width);
        normed = hone_mat_make(act->shared[HONE_BUF_NT], m->act, 1, r->width);
        if ((rc = hone_rmsnorm_fwd(m->dev, normed, NULL, last, w->final_norm, r->norm_eps, err)) < 0 ||
            (rc = hone_head_logits(m->dev, logits, normed, &w->head, r->final_softcap, err)) < 0)
            return rc;
    }
    hone_weights_passed(m->w, -1);
    kv->length = kv_len;
    return 0;
}
