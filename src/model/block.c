/* One pre-norm decoder block, forward, and the same read upwards.
 *
 *     n1 = norm(x)                          q, k, v = n1 Wq^T, n1 Wk^T, n1 Wv^T      (+ bias, + adapter)
 *     q, k = rope(norm(q)), rope(norm(k))   (norms only with qk_norm)
 *     o = attention(q, k, v)                x2 = x + o Wo^T
 *     n2 = norm(x2)                         g, u = n2 Wg^T, n2 Wu^T
 *     h = act(g) u                          y = x2 + h Wd^T
 *
 * Fused: q, k, v come side by side from one projection, g and u from another. With post_norms x2 = x + norm(a), a = o Wo^T, and y = x2 + norm(m), m = h Wd^T.
 * Backward makes the gradients of the residual stream and of what the adapter trains: factors beside projections, or
 * whole tensors; what is frozen costs nothing there. Whatever differs between families is a switch of the architecture.
 * Formulas stand at the ops (device/ops.h); sources: Zhang and
 * Sennrich 2019 (norm), Su et al. 2021 (RoPE), Shazeer 2020 (gated unit), Hu et al. 2021 (adapter). */
#include "model/block.h"

#include <string.h>

/* Columns [from, from + n) of m, in place. */
static hone_mat columns(hone_mat m, int64_t from, int64_t n)
{
    m.data = m.data ? (char *)m.data + from * (m.dtype == HONE_BF16 ? 2 : 4) : NULL;
    m.cols = n;
    return m;
}

hone_block hone_block_view(const hone_activations *act, const hone_model *m, int layer, int64_t n)
{
    const hone_arch *r = &m->w->arch;
    const int64_t C = r->width, HD = (int64_t)r->n_head * r->head_size, KD = (int64_t)r->n_kv * r->head_size,
                  F = r->ffn;
    void *const *at = act->layer[layer];
    hone_block b = {
        .x = hone_mat_make(at[HONE_BUF_X], m->act, n, C),
        .n1 = hone_mat_make(at[HONE_BUF_N1], m->act, n, C),
        .q = hone_mat_make(at[HONE_BUF_Q], m->act, n, HD),
        .k = hone_mat_make(at[HONE_BUF_K], m->act, n, KD),
        .v = hone_mat_make(at[HONE_BUF_V], m->act, n, KD),
        .o = hone_mat_make(at[HONE_BUF_O], m->act, n, HD),
        .x2 = hone_mat_make(at[HONE_BUF_X2], m->act, n, C),
        .n2 = hone_mat_make(at[HONE_BUF_N2], m->act, n, C),
        .g = hone_mat_make(at[HONE_BUF_G], m->act, n, F),
        .u = hone_mat_make(at[HONE_BUF_U], m->act, n, F),
        .h = hone_mat_make(at[HONE_BUF_H], m->act, n, F),
        .t = hone_mat_make(act->shared[HONE_BUF_T], m->act, n, C),
        .y = hone_mat_make(act->layer[layer + 1][HONE_BUF_X], m->act, n, C),
        .lse = at[HONE_BUF_LSE],
        .dx = hone_mat_make(act->shared[HONE_BUF_DX], m->act, n, C),
        .dh = hone_mat_make(act->shared[HONE_BUF_DH], m->act, n, F),
        .do_ = hone_mat_make(act->shared[HONE_BUF_DO], m->act, n, HD),
        .dq = hone_mat_make(act->shared[HONE_BUF_DQ], m->act, n, HD),
        .dk = hone_mat_make(act->shared[HONE_BUF_DK], m->act, n, KD),
        .dv = hone_mat_make(act->shared[HONE_BUF_DV], m->act, n, KD),
    };
    int p;

    if (r->fused) {
        b.qkv = hone_mat_make(at[HONE_BUF_Q], m->act, n, HD + 2 * KD);
        b.gate_up = hone_mat_make(at[HONE_BUF_G], m->act, n, 2 * F);
        b.dqkv = hone_mat_make(act->shared[HONE_BUF_DQ], m->act, n, HD + 2 * KD);
        b.q = columns(b.qkv, 0, HD);
        b.k = columns(b.qkv, HD, KD);
        b.v = columns(b.qkv, HD + KD, KD);
        b.g = columns(b.gate_up, 0, F);
        b.u = columns(b.gate_up, F, F);
        b.dq = columns(b.dqkv, 0, HD);
        b.dk = columns(b.dqkv, HD, KD);
        b.dv = columns(b.dqkv, HD + KD, KD);
    }
    if (r->post_norms) {
        b.a = hone_mat_make(at[HONE_BUF_A], m->act, n, C);
        b.m = hone_mat_make(at[HONE_BUF_M], m->act, n, C);
    }
    b.q0 = r->qk_norm ? hone_mat_make(at[HONE_BUF_Q0], m->act, n, HD) : b.q;
    b.k0 = r->qk_norm ? hone_mat_make(at[HONE_BUF_K0], m->act, n, KD) : b.k;
    b.keys = b.k;
    b.values = b.v;
    for (p = 0; p < HONE_N_PROJ; p++) {
        b.lora_u[p] = at[HONE_BUF_LORA + p];
        b.dora_z[p] = hone_mat_make(at[HONE_BUF_DORA + p], m->act, n, m->w->layer[layer].proj[p].rows);
    }
    return b;
}

/* The same rows seen head by head: [N, heads D] as [N heads, D], for the norms of q and k. */
static hone_mat by_head(hone_mat x, int64_t head_size)
{
    return hone_mat_make(x.data, x.dtype, x.rows * (x.cols / head_size), head_size);
}

/* The call for `n` projections from `first` on, which share the input x. lora receives the adapters of this pass. */
static hone_linear group(const hone_pass_env *e, int layer, const hone_block *b, int first, int n, hone_mat x,
                         hone_lora lora[HONE_MAX_PARTS])
{
    hone_linear g = {.x = x, .n_parts = n};
    int i;

    for (i = 0; i < n; i++) {
        const int p = first + i, index = layer * HONE_N_PROJ + p;

        g.part[i].w = &e->w->layer[layer].proj[p];
        if (e->training) {
            g.part[i].dw = e->a->layer[layer].weight[p];
            g.part[i].dbias = e->a->layer[layer].bias[p];
        }
        if (!e->a || e->a->lora[index].r == 0)
            continue;
        lora[i] = e->a->lora[index];
        lora[i].seed = e->seed;
        lora[i].stream = (uint64_t)e->dropout_stream << 32 | (uint32_t)index;
        if (e->training) {
            lora[i].dropout = (float)e->a->dropout;
        } else {
            lora[i].dropout = 0;
            lora[i].da = lora[i].db = lora[i].dmagnitude = NULL;
        }
        g.part[i].lora = &lora[i];
        g.part[i].u = b->lora_u[p];
        g.part[i].z = b->dora_z[p];
    }
    return g;
}

/* y_i = x W_i^T + ..., for n projections from `first` on. */
static int project_fwd(const hone_pass_env *e, int layer, const hone_block *b, int first, int n,
                       const hone_mat *y, hone_mat x, hone_error *err)
{
    hone_lora lora[HONE_MAX_PARTS];
    hone_linear g = group(e, layer, b, first, n, x, lora);
    int i;

    for (i = 0; i < n; i++)
        g.part[i].y = y[i];
    return hone_linear_fwd(e->m->dev, &g, err);
}

/* dx = sum_i dy_i W_i + ..., when wanted, and the adapters' gradients. */
static int project_bwd(const hone_pass_env *e, int layer, const hone_block *b, int first, int n, hone_mat dx,
                       bool want_dx, const hone_mat *dy, hone_mat x, hone_error *err)
{
    hone_lora lora[HONE_MAX_PARTS];
    hone_linear g = group(e, layer, b, first, n, x, lora);
    int i;

    for (i = 0; i < n; i++)
        g.part[i].dy = dy[i];
    if (want_dx)
        g.dx = dx;
    return hone_linear_bwd(e->m->dev, &g, err);
}

/* The gradient of a norm's weight, when it trains. dy, x as for hone_rmsnorm_bwd. */
static int norm_grad(const hone_pass_env *e, int layer, int module, hone_mat dy, hone_mat x, hone_error *err)
{
    float *dw = e->a->layer[layer].weight[module];

    return dw ? hone_rmsnorm_bwd_w(e->m->dev, dw, dy, x, e->m->w->arch.norm_eps, err) : 0;
}

static hone_attention attention_of(const hone_pass_env *e, int layer, const hone_block *b)
{
    const hone_arch *r = &e->m->w->arch;

    return (hone_attention){
        .q = b->q,
        .k = b->keys,
        .v = b->values,
        .o = b->o,
        .lse = b->lse,
        .n_head = r->n_head,
        .n_kv = r->n_kv,
        .head_size = r->head_size,
        .scale = r->attention_scale,
        .softcap = r->attention_softcap,
        .window = hone_arch_window(r, layer),
        .n_seq = e->n_seq,
        .q_off = e->q_off,
        .kv_row = e->kv_row,
        .kv_len = e->kv_len,
        .do_ = b->do_,
        .dq = b->dq,
        .dk = b->dk,
        .dv = b->dv,
    };
}

/* Rotates the heads of x by their positions, or back. Local layers have frequencies of their own, without a factor. */
static int rotate(const hone_pass_env *e, int layer, hone_mat x, bool inverse, hone_error *err)
{
    const hone_arch *r = &e->m->w->arch;
    const bool local = hone_arch_is_local(r, layer);

    return hone_rope(e->m->dev, x, e->pos, local ? r->local_inv_freq : r->inv_freq, r->head_size,
                     r->rope_dims, local ? 1 : r->rope_factor, inverse, err);
}

/* y = x + z, or x + norm(z) where the family norms the outputs of both halves. z and t are one buffer where it does not. */
static int add_residual(const hone_pass_env *e, hone_mat y, hone_mat x, hone_mat z, hone_mat t,
                        const float *norm, hone_error *err)
{
    const hone_arch *r = &e->m->w->arch;
    int rc = 0;

    if (r->post_norms)
        rc = hone_rmsnorm_fwd(e->m->dev, t, NULL, z, norm, r->norm_eps, err);
    return rc ? rc : hone_add(e->m->dev, y, x, t, err);
}

static void copy_rows(hone_mat to, hone_mat from)
{
    const size_t size = from.dtype == HONE_BF16 ? 2 : 4;
    int64_t i;

    for (i = 0; i < from.rows; i++)
        memcpy((char *)to.data + (size_t)(i * to.ld) * size,
               (const char *)from.data + (size_t)(i * from.ld) * size, (size_t)from.cols * size);
}

/* ---- forward: read downwards ------------------------------------------------------------------------------------- */

int hone_block_fwd(const hone_pass_env *e, int layer, const hone_block *b, hone_error *err)
{
    hone_device *dev = e->m->dev;
    const hone_arch *r = &e->m->w->arch;
    const hone_layer_weights *w = &e->w->layer[layer];
    const hone_attention att = attention_of(e, layer, b);
    const hone_mat qkv[] = {r->fused ? b->qkv : b->q0, b->k0, b->v};
    const hone_mat gate_up[] = {r->fused ? b->gate_up : b->g, b->u};
    const hone_mat a = r->post_norms ? b->a : b->t, m = r->post_norms ? b->m : b->t;
    const int32_t D = r->head_size;
    int rc;

    /* n1 [N, C] */
    if ((rc = hone_rmsnorm_fwd(dev, b->n1, NULL, b->x, w->attn_norm, r->norm_eps, err)) < 0)
        return rc;
    /* q [N, H D], k, v [N, K D] */
    if ((rc = project_fwd(e, layer, b, HONE_Q, r->fused ? 1 : 3, qkv, b->n1, err)) < 0)
        return rc;
    if (r->qk_norm) {
        if ((rc = hone_rmsnorm_fwd(dev, by_head(b->q, D), NULL, by_head(b->q0, D), w->q_norm, r->norm_eps,
                                   err)) < 0 ||
            (rc = hone_rmsnorm_fwd(dev, by_head(b->k, D), NULL, by_head(b->k0, D), w->k_norm, r->norm_eps,
                                   err)) < 0)
            return rc;
    }
    if ((rc = rotate(e, layer, b->q, false, err)) < 0 || (rc = rotate(e, layer, b->k, false, err)) < 0)
        return rc;
    if (b->k_to.data) {
        copy_rows(b->k_to, b->k);
        copy_rows(b->v_to, b->v);
    }
    /* o [N, H D] */
    if ((rc = hone_attention_fwd(dev, &att, err)) < 0)
        return rc;
    /* x2 [N, C] */
    if ((rc = project_fwd(e, layer, b, HONE_O, 1, &a, b->o, err)) < 0 ||
        (rc = add_residual(e, b->x2, b->x, a, b->t, w->post_attn_norm, err)) < 0)
        return rc;
    /* n2 [N, C] */
    if ((rc = hone_rmsnorm_fwd(dev, b->n2, NULL, b->x2, w->ffn_norm, r->norm_eps, err)) < 0)
        return rc;
    /* g, u, h [N, F] */
    if ((rc = project_fwd(e, layer, b, HONE_GATE, r->fused ? 1 : 2, gate_up, b->n2, err)) < 0 ||
        (rc = hone_glu_fwd(dev, b->h, b->g, b->u, r->act, err)) < 0)
        return rc;
    /* y [N, C] */
    if ((rc = project_fwd(e, layer, b, HONE_DOWN, 1, &m, b->h, err)) < 0)
        return rc;
    return add_residual(e, b->y, b->x2, m, b->t, w->post_ffn_norm, err);
}

/* ---- backward: the forward from its last line to its first -------------------------------------------------------- */

int hone_block_bwd(const hone_pass_env *e, int layer, int lowest, const hone_block *b, hone_error *err)
{
    hone_device *dev = e->m->dev;
    const hone_arch *r = &e->m->w->arch;
    const hone_layer_weights *w = &e->w->layer[layer];
    const hone_attention att = attention_of(e, layer, b);
    const hone_mat da = r->post_norms ? b->t : b->dx, dm = da; /* gradients of the outputs of o and down */
    const hone_mat dqkv[] = {r->fused ? b->dqkv : b->dq, b->dk, b->dv};
    const hone_mat dgate_up[] = {r->fused ? b->gate_up : b->g, b->u}; /* dg, du lie over g, u */
    const unsigned reads = hone_adapter_reads(e->a, layer);
    const bool again = e->recompute == 1; /* norms and h were not kept, what they are made of was */
    const int32_t D = r->head_size;
    int rc;

    if (e->recompute == 2 && (rc = hone_block_fwd(e, layer, b, err)) < 0)
        return rc;
    /* y = x2 + norm(m): dx2 = dy, dm [N, C] = norm'(dy) */
    if (r->post_norms) {
        if ((rc = norm_grad(e, layer, HONE_POST_FFN_NORM, b->dx, b->m, err)) < 0)
            return rc;
        if (lowest == HONE_STAGE_POST_FFN_NORM)
            return 0;
        if ((rc = hone_rmsnorm_bwd(dev, dm, false, b->dx, b->m, w->post_ffn_norm, NULL, r->norm_eps, err)) <
            0)
            return rc;
    }
    /* m = h Wd^T: dh [N, F] = dm Wd */
    if (again && reads >> HONE_DOWN && (rc = hone_glu_fwd(dev, b->h, b->g, b->u, r->act, err)) < 0)
        return rc;
    if ((rc = project_bwd(e, layer, b, HONE_DOWN, 1, b->dh, lowest < HONE_STAGE_DOWN, &dm, b->h, err)) < 0)
        return rc;
    if (lowest == HONE_STAGE_DOWN)
        return 0;
    /* h = act(g) u: dg, du [N, F] */
    if ((rc = hone_glu_bwd(dev, b->g, b->u, b->dh, b->g, b->u, r->act, err)) < 0)
        return rc;
    /* g, u = n2 Wg^T, n2 Wu^T: dn2 [N, C] = dg Wg + du Wu */
    if (again && (reads >> HONE_GATE & 3) &&
        (rc = hone_rmsnorm_fwd(dev, b->n2, NULL, b->x2, w->ffn_norm, r->norm_eps, err)) < 0)
        return rc;
    if ((rc = project_bwd(e, layer, b, HONE_GATE, r->fused ? 1 : 2, b->t, lowest < HONE_STAGE_GATE_UP,
                          dgate_up, b->n2, err)) < 0)
        return rc;
    if (lowest == HONE_STAGE_GATE_UP)
        return 0;
    /* n2 = norm(x2): dx2 += norm'(dn2) */
    if ((rc = norm_grad(e, layer, HONE_FFN_NORM, b->t, b->x2, err)) < 0)
        return rc;
    if (lowest == HONE_STAGE_FFN_NORM)
        return 0;
    if ((rc = hone_rmsnorm_bwd(dev, b->dx, true, b->t, b->x2, w->ffn_norm, NULL, r->norm_eps, err)) < 0)
        return rc;
    /* x2 = x + norm(a): dx = dx2, da [N, C] = norm'(dx2) */
    if (r->post_norms) {
        if ((rc = norm_grad(e, layer, HONE_POST_ATTN_NORM, b->dx, b->a, err)) < 0)
            return rc;
        if (lowest == HONE_STAGE_POST_ATTN_NORM)
            return 0;
        if ((rc = hone_rmsnorm_bwd(dev, da, false, b->dx, b->a, w->post_attn_norm, NULL, r->norm_eps, err)) <
            0)
            return rc;
    }
    /* a = o Wo^T: do [N, H D] = da Wo */
    if ((rc = project_bwd(e, layer, b, HONE_O, 1, b->do_, lowest < HONE_STAGE_O, &da, b->o, err)) < 0)
        return rc;
    if (lowest == HONE_STAGE_O)
        return 0;
    /* o = attention(q, k, v): dq [N, H D], dk, dv [N, K D] */
    if ((rc = hone_attention_bwd(dev, &att, err)) < 0)
        return rc;
    /* q, k = rope(...): rotated back */
    if ((rc = rotate(e, layer, b->dq, true, err)) < 0 || (rc = rotate(e, layer, b->dk, true, err)) < 0)
        return rc;
    if (r->qk_norm) {
        hone_mat dq = by_head(b->dq, D), dk = by_head(b->dk, D);

        if ((rc = norm_grad(e, layer, HONE_Q_NORM, dq, by_head(b->q0, D), err)) < 0 ||
            (rc = norm_grad(e, layer, HONE_K_NORM, dk, by_head(b->k0, D), err)) < 0)
            return rc;
        if (lowest == HONE_STAGE_QK_NORM)
            return 0;
        if ((rc = hone_rmsnorm_bwd(dev, dq, false, dq, by_head(b->q0, D), w->q_norm, NULL, r->norm_eps,
                                   err)) < 0 ||
            (rc = hone_rmsnorm_bwd(dev, dk, false, dk, by_head(b->k0, D), w->k_norm, NULL, r->norm_eps,
                                   err)) < 0)
            return rc;
    }
    /* q, k, v = n1 Wq^T, ...: dn1 [N, C] = dq Wq + dk Wk + dv Wv */
    if (again && (reads & 7) &&
        (rc = hone_rmsnorm_fwd(dev, b->n1, NULL, b->x, w->attn_norm, r->norm_eps, err)) < 0)
        return rc;
    if ((rc = project_bwd(e, layer, b, HONE_Q, r->fused ? 1 : 3, b->t, lowest < HONE_STAGE_QKV, dqkv, b->n1,
                          err)) < 0)
        return rc;
    if (lowest == HONE_STAGE_QKV)
        return 0;
    /* n1 = norm(x): dx += norm'(dn1) */
    if ((rc = norm_grad(e, layer, HONE_ATTN_NORM, b->t, b->x, err)) < 0 || lowest == HONE_STAGE_ATTN_NORM)
        return rc;
    return hone_rmsnorm_bwd(dev, b->dx, true, b->t, b->x, w->attn_norm, NULL, r->norm_eps, err);
}
