/* The front of every op: arguments are checked here, once for all devices, then the device's table does the work.
 * A failed check is a defect of the caller, except ids, which may come from data. */
#include "device/ops.h"

#include <math.h>

#include "device/table.h"

bool hone_dropout_keep(uint64_t seed, uint64_t stream, uint64_t index, float p)
{
    uint32_t word[4];

    hone_philox(word, seed, stream, index / 8);
    return (word[index % 8 / 2] >> 16 * (index % 2) & 0xffff) >= hone_dropout_limit(p);
}

uint32_t hone_dropout_limit(float p)
{
    return HONE_MIN((uint32_t)lrint((double)p * 65536), 65535u);
}

float hone_dropout_scale(float p)
{
    return 65536.0f / (float)(65536 - hone_dropout_limit(p));
}

static int bad_type(const char *op, const char *what, hone_dtype t, hone_error *err)
{
    return hone_error_set(err, HONE_ESHAPE, "%s: %s has type %s", op, what, hone_dtype_name(t));
}

/* m must be a matrix [rows, cols] of type t. */
static int check(const char *op, const char *what, const hone_mat *m, int64_t rows, int64_t cols,
                 hone_dtype t, hone_error *err)
{
    if (m->rows != rows || m->cols != cols)
        return hone_error_set(err, HONE_ESHAPE, "%s: %s is [%lld, %lld], wanted [%lld, %lld]", op, what,
                              (long long)m->rows, (long long)m->cols, (long long)rows, (long long)cols);
    if (m->dtype != t)
        return hone_error_set(err, HONE_ESHAPE, "%s: %s has type %s, wanted %s", op, what,
                              hone_dtype_name(m->dtype), hone_dtype_name(t));
    if (m->ld < cols || (!m->data && rows > 0))
        return hone_error_set(err, HONE_ESHAPE, "%s: %s has row stride %lld for %lld columns%s", op, what,
                              (long long)m->ld, (long long)cols, m->data ? "" : ", and no data");
    return 0;
}

/* The matrix that sets the op's sizes and activation type. */
static int check_first(const char *op, const char *what, const hone_mat *m, hone_error *err)
{
    if (m->dtype != HONE_F32 && m->dtype != HONE_BF16)
        return bad_type(op, what, m->dtype, err);
    if (m->rows < 0 || m->cols <= 0)
        return hone_error_set(err, HONE_ESHAPE, "%s: %s is [%lld, %lld]", op, what, (long long)m->rows,
                              (long long)m->cols);
    return check(op, what, m, m->rows, m->cols, m->dtype, err);
}

static int check_weight(const char *op, const hone_weight *w, int64_t cols, hone_error *err)
{
    if (!w || !w->data || !hone_dtype_is_weight(w->dtype))
        return bad_type(op, "weight", w ? w->dtype : HONE_DTYPE_COUNT, err);
    if (!w->scales == hone_dtype_is_scaled(w->dtype))
        return hone_error_set(err, HONE_ESHAPE, "%s: a weight of type %s %s scales", op,
                              hone_dtype_name(w->dtype), w->scales ? "with" : "without");
    if (w->cols != cols || w->rows <= 0 || w->cols % hone_dtype_block(w->dtype))
        return hone_error_set(err, HONE_ESHAPE, "%s: weight is %s [%d, %d], input has %lld columns", op,
                              hone_dtype_name(w->dtype), w->rows, w->cols, (long long)cols);
    return 0;
}

/* The embedding and the head have no kernels for codes with scales apart; nobody quantises them so. */
static int check_table(const char *op, const hone_weight *w, int64_t cols, hone_error *err)
{
    if (w && w->scales)
        return bad_type(op, "weight", w->dtype, err);
    return check_weight(op, w, cols, err);
}

static int check_linear(const char *op, const hone_linear *g, bool backward, hone_error *err)
{
    int rc = check_first(op, "x", &g->x, err), p;

    if (rc)
        return rc;
    if (g->n_parts < 1 || g->n_parts > HONE_MAX_PARTS)
        return hone_error_set(err, HONE_ESHAPE, "%s: %d parts, at most %d", op, g->n_parts, HONE_MAX_PARTS);
    for (p = 0; p < g->n_parts; p++) {
        const struct hone_linear_part *part = &g->part[p];
        const hone_mat *m = backward ? &part->dy : &part->y;

        rc = check_weight(op, part->w, g->x.cols, err);
        if (!rc)
            rc = check(op, backward ? "dy" : "y", m, g->x.rows, part->w->rows, g->x.dtype, err);
        if (rc)
            return rc;
        if (part->lora && (part->lora->r < 1 || !part->lora->a || !part->lora->b || !part->u ||
                           !part->lora->da != !part->lora->db))
            return hone_error_set(err, HONE_ESHAPE, "%s: adapter of part %d has rank %d%s", op, p,
                                  part->lora->r, part->u ? "" : ", and no u");
        if (part->lora && !part->lora->magnitude != !part->lora->norm)
            return hone_error_set(err, HONE_ESHAPE, "%s: part %d has magnitudes or norms alone", op, p);
        if (hone_is_dora(part->lora) && (backward || part->z.data) &&
            (rc = check(op, "z", &part->z, g->x.rows, part->w->rows, g->x.dtype, err)))
            return rc;
        if (part->lora && !(part->lora->dropout >= 0 && part->lora->dropout < 1))
            return hone_error_set(err, HONE_ESHAPE, "%s: dropout %g is not in [0, 1)", op,
                                  (double)part->lora->dropout);
    }
    if (backward && g->dx.data)
        return check(op, "dx", &g->dx, g->x.rows, g->x.cols, g->x.dtype, err);
    return 0;
}

int hone_linear_fwd(hone_device *dev, const hone_linear *g, hone_error *err)
{
    int rc = check_linear("linear_fwd", g, false, err);

    return rc || g->x.rows == 0 ? rc : dev->ops.linear_fwd(dev, g, err);
}

int hone_linear_bwd(hone_device *dev, const hone_linear *g, hone_error *err)
{
    int rc = check_linear("linear_bwd", g, true, err);

    return rc || g->x.rows == 0 ? rc : dev->ops.linear_bwd(dev, g, err);
}

int hone_dora_norms(hone_device *dev, float *norm, const hone_weight *w, const hone_lora *l, hone_error *err)
{
    int rc = check_weight("dora_norms", w, w->cols, err);

    if (rc || l->r < 1)
        return rc ? rc : hone_error_set(err, HONE_ESHAPE, "dora_norms: rank %d", l->r);
    return dev->ops.dora_norms(dev, norm, w, l, err);
}

static int check_attention(const char *op, const hone_attention *a, bool backward, hone_error *err)
{
    int64_t wide, narrow;
    int rc = check_first(op, "q", &a->q, err), s;

    if (rc)
        return rc;
    if (a->n_kv < 1 || a->n_head < 1 || a->n_head % a->n_kv || a->head_size < 1 || a->window < 0 ||
        a->n_seq < 0)
        return hone_error_set(err, HONE_ESHAPE,
                              "%s: %d heads over %d KV heads of size %d, window %d, %d sequences", op,
                              a->n_head, a->n_kv, a->head_size, a->window, a->n_seq);
    wide = (int64_t)a->n_head * a->head_size;
    narrow = (int64_t)a->n_kv * a->head_size;
    if ((rc = check(op, "q", &a->q, a->q.rows, wide, a->q.dtype, err)) ||
        (rc = check(op, "k", &a->k, a->k.rows, narrow, a->q.dtype, err)) ||
        (rc = check(op, "v", &a->v, a->k.rows, narrow, a->q.dtype, err)) ||
        (rc = check(op, "o", &a->o, a->q.rows, wide, a->q.dtype, err)))
        return rc;
    for (s = 0; s < a->n_seq; s++) {
        int64_t n = (int64_t)a->q_off[s + 1] - a->q_off[s], len = a->kv_len[s], row = a->kv_row[s];

        if (n < 0 || a->q_off[s] < 0 || a->q_off[s + 1] > a->q.rows || n > len || row < 0 ||
            row + len > a->k.rows)
            return hone_error_set(
                err, HONE_ESHAPE,
                "%s: sequence %d has queries [%d, %d) of %lld and keys [%lld, %lld) of %lld", op, s,
                a->q_off[s], a->q_off[s + 1], (long long)a->q.rows, (long long)row, (long long)(row + len),
                (long long)a->k.rows);
        if (backward && (row != a->q_off[s] || len != n))
            return hone_error_set(err, HONE_ESHAPE,
                                  "%s: sequence %d has %lld queries at row %d and %lld keys at row %lld", op,
                                  s, (long long)n, a->q_off[s], (long long)len, (long long)row);
    }
    if (!backward)
        return 0;
    if (!a->lse)
        return hone_error_set(err, HONE_ESHAPE, "%s: lse is missing", op);
    if ((rc = check(op, "do", &a->do_, a->q.rows, wide, a->q.dtype, err)) ||
        (rc = check(op, "dq", &a->dq, a->q.rows, wide, a->q.dtype, err)) ||
        (rc = check(op, "dk", &a->dk, a->k.rows, narrow, a->q.dtype, err)) ||
        (rc = check(op, "dv", &a->dv, a->k.rows, narrow, a->q.dtype, err)))
        return rc;
    return 0;
}

int hone_attention_fwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    int rc = check_attention("attention_fwd", a, false, err);

    return rc || a->q.rows == 0 ? rc : dev->ops.attention_fwd(dev, a, err);
}

int hone_attention_bwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    int rc = check_attention("attention_bwd", a, true, err);

    return rc || a->q.rows == 0 ? rc : dev->ops.attention_bwd(dev, a, err);
}

static int check_ids(const char *op, const int32_t *ids, int64_t n, int32_t lowest, int32_t limit,
                     hone_error *err)
{
    int64_t i;

    for (i = 0; i < n; i++)
        if (ids[i] < lowest || ids[i] >= limit)
            return hone_error_set(err, HONE_ERANGE, "%s: id %d at %lld is outside the vocabulary of %d", op,
                                  ids[i], (long long)i, limit);
    return 0;
}

int hone_embed(hone_device *dev, hone_mat out, const hone_weight *table, const int32_t *ids, float scale,
               hone_error *err)
{
    int rc;

    if ((rc = check_first("embed", "out", &out, err)) || (rc = check_table("embed", table, out.cols, err)) ||
        (rc = check_ids("embed", ids, out.rows, 0, table->rows, err)))
        return rc;
    return out.rows == 0 ? 0 : dev->ops.embed(dev, out, table, ids, scale, err);
}

int hone_add_noise(hone_device *dev, hone_mat x, const float *size, uint64_t seed, uint64_t stream,
                   hone_error *err)
{
    int rc = check_first("add_noise", "x", &x, err);

    return rc || x.rows == 0 ? rc : dev->ops.add_noise(dev, x, size, seed, stream, err);
}

int hone_embed_bwd(hone_device *dev, float *dtable, int32_t vocab, hone_mat dy, const int32_t *ids,
                   float scale, hone_error *err)
{
    int rc;

    if ((rc = check_first("embed_bwd", "dy", &dy, err)) ||
        (rc = check_ids("embed_bwd", ids, dy.rows, -1, vocab, err)))
        return rc;
    return dy.rows == 0 ? 0 : dev->ops.embed_bwd(dev, dtable, dy, ids, scale, err);
}

int hone_rmsnorm_fwd(hone_device *dev, hone_mat y, float *rstd, hone_mat x, const float *w, float eps,
                     hone_error *err)
{
    int rc;

    if ((rc = check_first("rmsnorm_fwd", "x", &x, err)) ||
        (rc = check("rmsnorm_fwd", "y", &y, x.rows, x.cols, x.dtype, err)))
        return rc;
    return x.rows == 0 ? 0 : dev->ops.rmsnorm_fwd(dev, y, rstd, x, w, eps, err);
}

int hone_rmsnorm_bwd(hone_device *dev, hone_mat dx, bool add, hone_mat dy, hone_mat x, const float *w,
                     const float *rstd, float eps, hone_error *err)
{
    int rc;

    if ((rc = check_first("rmsnorm_bwd", "x", &x, err)) ||
        (rc = check("rmsnorm_bwd", "dx", &dx, x.rows, x.cols, x.dtype, err)) ||
        (rc = check("rmsnorm_bwd", "dy", &dy, x.rows, x.cols, x.dtype, err)))
        return rc;
    return x.rows == 0 ? 0 : dev->ops.rmsnorm_bwd(dev, dx, add, dy, x, w, rstd, eps, err);
}

int hone_rmsnorm_bwd_w(hone_device *dev, float *dw, hone_mat dy, hone_mat x, float eps, hone_error *err)
{
    int rc;

    if ((rc = check_first("rmsnorm_bwd_w", "x", &x, err)) ||
        (rc = check("rmsnorm_bwd_w", "dy", &dy, x.rows, x.cols, x.dtype, err)))
        return rc;
    return x.rows == 0 ? 0 : dev->ops.rmsnorm_bwd_w(dev, dw, dy, x, eps, err);
}

int hone_rope(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq, int32_t head_size,
              int32_t dims, float factor, bool inverse, hone_error *err)
{
    int rc = check_first("rope", "x", &x, err);

    if (rc)
        return rc;
    if (head_size < 2 || head_size % 2 || x.cols % head_size)
        return hone_error_set(err, HONE_ESHAPE, "rope: heads of size %d do not divide %lld columns",
                              head_size, (long long)x.cols);
    return x.rows == 0 ? 0 : dev->ops.rope(dev, x, pos, inv_freq, head_size, dims, factor, inverse, err);
}

int hone_glu_fwd(hone_device *dev, hone_mat h, hone_mat g, hone_mat u, hone_act act, hone_error *err)
{
    int rc;

    if ((rc = check_first("glu_fwd", "h", &h, err)) ||
        (rc = check("glu_fwd", "g", &g, h.rows, h.cols, h.dtype, err)) ||
        (rc = check("glu_fwd", "u", &u, h.rows, h.cols, h.dtype, err)))
        return rc;
    return h.rows == 0 ? 0 : dev->ops.glu_fwd(dev, h, g, u, act, err);
}

int hone_glu_bwd(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                 hone_act act, hone_error *err)
{
    int rc;

    if ((rc = check_first("glu_bwd", "dh", &dh, err)) ||
        (rc = check("glu_bwd", "dg", &dg, dh.rows, dh.cols, dh.dtype, err)) ||
        (rc = check("glu_bwd", "du", &du, dh.rows, dh.cols, dh.dtype, err)) ||
        (rc = check("glu_bwd", "g", &g, dh.rows, dh.cols, dh.dtype, err)) ||
        (rc = check("glu_bwd", "u", &u, dh.rows, dh.cols, dh.dtype, err)))
        return rc;
    return dh.rows == 0 ? 0 : dev->ops.glu_bwd(dev, dg, du, dh, g, u, act, err);
}

int hone_add(hone_device *dev, hone_mat y, hone_mat a, hone_mat b, hone_error *err)
{
    int rc;

    if ((rc = check_first("add", "y", &y, err)) ||
        (rc = check("add", "a", &a, y.rows, y.cols, y.dtype, err)) ||
        (rc = check("add", "b", &b, y.rows, y.cols, y.dtype, err)))
        return rc;
    return y.rows == 0 ? 0 : dev->ops.add(dev, y, a, b, err);
}

int hone_head_loss(hone_device *dev, const hone_head *a, hone_error *err)
{
    int rc;

    if ((rc = check_first("head_loss", "h", &a->h, err)) ||
        (rc = check_table("head_loss", a->w, a->h.cols, err)) ||
        (rc = check_ids("head_loss", a->target, a->h.rows, 0, a->w->rows, err)))
        return rc;
    if (a->dw && !a->dh.data)
        return hone_error_set(err, HONE_ESHAPE, "head_loss: dW is wanted without dh");
    if (a->dh.data && (rc = check("head_loss", "dh", &a->dh, a->h.rows, a->h.cols, a->h.dtype, err)))
        return rc;
    return a->h.rows == 0 ? 0 : dev->ops.head_loss(dev, a, err);
}

int hone_head_logits(hone_device *dev, float *logits, hone_mat h, const hone_weight *w, float softcap,
                     hone_error *err)
{
    int rc;

    if ((rc = check_first("head_logits", "h", &h, err)) || (rc = check_table("head_logits", w, h.cols, err)))
        return rc;
    return h.rows == 0 ? 0 : dev->ops.head_logits(dev, logits, h, w, softcap, err);
}

double hone_sum_squares(hone_device *dev, const float *x, size_t n)
{
    return dev->ops.sum_squares(dev, x, n);
}

int hone_adamw_step(hone_device *dev, const hone_adamw *a, hone_error *err)
{
    if (a->t < 1)
        return hone_error_set(err, HONE_ESHAPE, "adamw_step: step %lld, the first is 1", (long long)a->t);
    return dev->ops.adamw_step(dev, a, err);
}

int hone_adamw8_step(hone_device *dev, const hone_adamw8 *a, hone_error *err)
{
    if (a->t < 1)
        return hone_error_set(err, HONE_ESHAPE, "adamw8_step: step %lld, the first is 1", (long long)a->t);
    return dev->ops.adamw8_step(dev, a, err);
}

int hone_adafactor_step(hone_device *dev, const hone_adafactor *a, hone_error *err)
{
    if (a->t < 1 || a->rows < 1 || a->cols < 0)
        return hone_error_set(err, HONE_ESHAPE, "adafactor_step: step %lld of a tensor [%lld, %lld]",
                              (long long)a->t, (long long)a->rows, (long long)a->cols);
    return dev->ops.adafactor_step(dev, a, err);
}

int hone_sgd_step(hone_device *dev, const hone_sgd *a, hone_error *err)
{
    if (a->t < 1)
        return hone_error_set(err, HONE_ESHAPE, "sgd_step: step %lld, the first is 1", (long long)a->t);
    return dev->ops.sgd_step(dev, a, err);
}

size_t hone_workspace_size(const hone_device *dev, const hone_workspace_spec *s)
{
    return dev->ops.workspace_size(dev, s);
}

int hone_workspace_reserve(hone_device *dev, const hone_workspace_spec *s, hone_error *err)
{
    return dev->ops.workspace_reserve(dev, s, err);
}
