/* A model: opening it, and the passes over one packed micro-batch.
 *
 * A pass embeds, walks the blocks up, and computes the head on the rows that have a target only: their rows are gathered,
 * normed, and turned into losses and (when training) gradients in one op that never stores the logits whole. The
 * gradient rows are scattered back, zero elsewhere, and the blocks are walked down to the lowest adapted one. Losses and
 * gradients are sums; the caller divides once by the step's count through grad_scale. */
#include <math.h>
#include <string.h>

#include "model/block.h"

#define NOISE_STREAM 0xfffffffeu /* of a micro-batch's streams, the others are its projections' */

hone_model_params hone_model_default(void)
{
    return (hone_model_params){.precision = HONE_PRECISION_AUTO};
}

hone_model_params hone_model_params_of_config(const hone_config *c)
{
    hone_model_params p = {.precision = c->training.precision, .quant = HONE_QUANT_NONE};

    if (c->training.offload_base)
        p.offload_dir = hone_config_offload_dir(c);
    if (c->model.load_in_8bit)
        p.quant = HONE_QUANT_Q8_0;
    if (!c->model.load_in_4bit)
        return p;
    p.quant = c->model.bnb_4bit_quant_type;
    p.plain_scales = !c->model.bnb_4bit_use_double_quant;
    if (p.precision == HONE_PRECISION_AUTO && c->model.bnb_4bit_compute_dtype == HONE_COMPUTE_F32)
        p.precision = HONE_PRECISION_F32;
    if (p.precision == HONE_PRECISION_AUTO && c->model.bnb_4bit_compute_dtype == HONE_COMPUTE_BF16)
        p.precision = HONE_PRECISION_BF16;
    return p;
}

/* The format of the first projection that was to be quantised and kept its own. */
static hone_dtype kept_type(const hone_weights *w)
{
    int layer, p;

    for (layer = 0; layer < w->arch.n_layer; layer++)
        for (p = 0; p < HONE_N_PROJ; p++)
            if (hone_proj_there(&w->arch, p) && w->layer[layer].proj[p].dtype != w->form.type)
                return w->layer[layer].proj[p].dtype;
    return w->form.type;
}

/* Takes w, also on failure. */
static int model_new(hone_model **out, hone_device *dev, hone_weights *w, const hone_model_params *p,
                     hone_error *err)
{
    hone_model *m = hone_calloc(1, sizeof *m);

    if (!m) {
        hone_weights_close(w);
        return hone_error_set(err, HONE_ENOMEM, "model: out of memory");
    }
    m->dev = dev;
    m->w = w;
    m->precision = p ? p->precision : HONE_PRECISION_AUTO;
    if (m->precision == HONE_PRECISION_AUTO)
        m->precision = hone_device_has_bf16(dev) ? HONE_PRECISION_BF16 : HONE_PRECISION_F32;
    m->act = m->precision == HONE_PRECISION_BF16 ? HONE_BF16 : HONE_F32;
    if (w->n_kept)
        snprintf(m->notice, sizeof m->notice,
                 "%d of %d linear layers are quantised already (%s) and keep their format", w->n_kept,
                 w->n_kept + w->n_quantised, hone_dtype_name(kept_type(w)));
    *out = m;
    return 0;
}

static hone_weights_form form_of(hone_device *dev, const hone_model_params *p)
{
    static const hone_dtype type[] = {
        [HONE_QUANT_NF4] = HONE_NF4, [HONE_QUANT_FP4] = HONE_FP4, [HONE_QUANT_Q8_0] = HONE_Q8_0};

    const char *dir = p ? p->offload_dir : NULL;

    if (!p || p->quant <= HONE_QUANT_NONE)
        return (hone_weights_form){.type = HONE_F32, .offload_dir = dir};
    return (hone_weights_form){.type = type[p->quant],
                               .nested = p->quant != HONE_QUANT_Q8_0 && !p->plain_scales,
                               .dev = dev,
                               .offload_dir = dir};
}

int hone_model_open(hone_model **out, hone_device *dev, const char *path, const hone_model_params *p,
                    hone_error *err)
{
    const hone_weights_form form = form_of(dev, p);
    hone_weights *w;
    int rc;

    *out = NULL;
    if ((rc = hone_weights_open_as(&w, path, &form, err)) < 0)
        return rc;
    return model_new(out, dev, w, p, err);
}

int hone_model_random(hone_model **out, hone_device *dev, const char *shape, const hone_model_params *p,
                      hone_error *err)
{
    const hone_weights_form form = form_of(dev, p);
    hone_weights *w;
    int rc;

    *out = NULL;
    if ((rc = hone_weights_random(&w, shape, HONE_BF16, 1, &form, err)) < 0)
        return rc;
    return model_new(out, dev, w, p, err);
}

void hone_model_close(hone_model *m)
{
    if (!m)
        return;
    hone_weights_close(m->w);
    hone_free(m);
}

hone_precision hone_model_precision(const hone_model *m)
{
    return m->precision;
}

const char *hone_model_notice(const hone_model *m)
{
    return m->notice[0] ? m->notice : NULL;
}

float hone_model_embed_scale(const hone_model *m)
{
    float scale = m->w->arch.embed_scale;

    return m->act == HONE_BF16 ? hone_bf16_to_f32(hone_f32_to_bf16(scale)) : scale;
}

/* ---- a pass ------------------------------------------------------------------------------------------------------ */

static int check_batch(const hone_arch *r, const hone_activations *act, const hone_batch *b, hone_error *err)
{
    int32_t s, targets;

    if (b->n_tokens > act->p.tokens || b->n_seq > act->p.max_seq)
        return hone_error_set(err, HONE_ELIMIT,
                              "batch of %d positions in %d sequences; the plan is for %d in %d", b->n_tokens,
                              b->n_seq, act->p.tokens, act->p.max_seq);
    for (s = targets = 0; s < b->n_tokens; s++)
        targets += b->target[s] != HONE_IGNORE;
    if (targets > hone_activations_targets(&act->p))
        return hone_error_set(err, HONE_ELIMIT, "batch of %d targets; the plan is for %d", targets,
                              act->p.targets);
    if (b->n_tokens < 1 || b->n_seq < 1 || b->off[0] != 0 || b->off[b->n_seq] != b->n_tokens)
        return hone_error_set(err, HONE_EINVAL, "batch: the sequences do not cover its %d positions",
                              b->n_tokens);
    for (s = 0; s < b->n_seq; s++)
        if (b->off[s] >= b->off[s + 1])
            return hone_error_set(err, HONE_EINVAL, "batch: sequence %d is empty", s);
        else if (r->limited && b->off[s + 1] - b->off[s] > r->context)
            return hone_error_set(
                err, HONE_ELIMIT,
                "a sequence of %d positions: the scaling of this model's positions is applied "
                "up to %d only; lower model.max_length",
                b->off[s + 1] - b->off[s], r->context);
    return 0;
}

/* Positions and key ranges of a packed batch, where every sequence is its own keys. */
static void set_layout(hone_pass_env *e, const hone_activations *act, const hone_batch *b)
{
    int32_t *pos = act->shared[HONE_BUF_POS], *row = act->shared[HONE_BUF_KV_ROW],
            *len = act->shared[HONE_BUF_KV_LEN], s, i;

    for (s = 0; s < b->n_seq; s++) {
        row[s] = b->off[s];
        len[s] = b->off[s + 1] - b->off[s];
        for (i = 0; i < len[s]; i++)
            pos[b->off[s] + i] = i;
    }
    e->pos = pos;
    e->n_seq = b->n_seq;
    e->q_off = b->off;
    e->kv_row = row;
    e->kv_len = len;
}

/* Noise on the embeddings x: uniform in +-alpha / sqrt(L C), L the length of the token's own sequence, so that packing does
 * not change it. */
static int add_noise(const hone_pass_env *e, const hone_activations *act, hone_mat x, hone_error *err)
{
    float *size = act->shared[HONE_BUF_NOISE];
    int32_t s, i;

    for (s = 0; s < e->n_seq; s++)
        for (i = e->q_off[s]; i < e->q_off[s + 1]; i++)
            size[i] = (float)(e->a->neftune / sqrt((double)e->kv_len[s] * (double)x.cols));
    return hone_add_noise(e->m->dev, x, size, e->seed, (uint64_t)e->dropout_stream << 32 | NOISE_STREAM, err);
}

static int walk_up(const hone_pass_env *e, const hone_activations *act, const int32_t *ids, int32_t n,
                   hone_error *err)
{
    hone_block b = hone_block_view(act, e->m, 0, n);
    int layer, rc;

    if ((rc = hone_embed(e->m->dev, b.x, &e->w->embed, ids, hone_model_embed_scale(e->m), err)) < 0)
        return rc;
    hone_weights_passed(e->m->w, -1);
    if (e->training && e->a->neftune > 0 && (rc = add_noise(e, act, b.x, err)) < 0)
        return rc;
    for (layer = 0; layer < e->m->w->arch.n_layer; layer++) {
        b = hone_block_view(act, e->m, layer, n);
        if ((rc = hone_block_fwd(e, layer, &b, err)) < 0)
            return rc;
        hone_weights_passed(e->m->w, layer);
    }
    return 0;
}

/* Gradients of the embedding, or of rows of it. The positions, which no pass needs any more, make room for slots. */
static int embed_down(const hone_pass_env *e, const hone_activations *act, const int32_t *ids, int32_t n,
                      hone_error *err)
{
    const hone_mat dx = hone_mat_make(act->shared[HONE_BUF_DX], e->m->act, n, e->m->w->arch.width);
    const hone_row_patch *patch = e->w->embed.patch;
    const float scale = hone_model_embed_scale(e->m);
    int32_t *slot = act->shared[HONE_BUF_POS], i;

    if (e->a->dembed)
        return hone_embed_bwd(e->m->dev, e->a->dembed, e->m->w->arch.vocab, dx, ids, scale, err);
    for (i = 0; i < n; i++)
        slot[i] = patch->slot[ids[i]];
    return hone_embed_bwd(e->m->dev, patch->drow, patch->n, dx, slot, scale, err);
}

/* Down to the lowest thing that trains: the embedding, or a stage of layer `first`. */
static int walk_down(const hone_pass_env *e, const hone_activations *act, const int32_t *ids, int32_t n,
                     hone_error *err)
{
    const bool embedding = e->a->dembed || e->w->embed.patch;
    int layer, lowest = embedding ? -1 : 0, rc;

    if (act->first == e->m->w->arch.n_layer && !embedding)
        return 0;
    while (lowest >= 0 && !(hone_adapter_stages(e->a, act->first) >> lowest & 1))
        lowest++;
    for (layer = e->m->w->arch.n_layer - 1; layer >= act->first; layer--) {
        hone_block b = hone_block_view(act, e->m, layer, n);

        if ((rc = hone_block_bwd(e, layer, layer == act->first ? lowest : -1, &b, err)) < 0)
            return rc;
        hone_weights_passed(e->m->w, layer);
    }
    return embedding ? embed_down(e, act, ids, n, err) : 0;
}

/* Lists the positions that have a target, with target and weight. Returns their number. */
static int32_t collect_targets(const hone_activations *act, const hone_batch *b)
{
    int32_t *trained = act->shared[HONE_BUF_TRAINED], *target = act->shared[HONE_BUF_TARGET], n = 0, i;
    float *weight = act->shared[HONE_BUF_WEIGHT];

    for (i = 0; i < b->n_tokens; i++)
        if (b->target[i] != HONE_IGNORE) {
            trained[n] = i;
            if (b->weight)
                weight[n] = b->weight[i];
            target[n++] = b->target[i];
        }
    return n;
}

/* Final norm, head and loss on the n rows with a target; with training, leaves the gradient of the last block's output
 * in DX. */
static int head(const hone_pass_env *e, const hone_activations *act, const hone_batch *b, int32_t n,
                float grad_scale, hone_error *err)
{
    const hone_weights *w = e->w;
    const int64_t C = w->arch.width;
    const size_t row = (size_t)C * (e->m->act == HONE_BF16 ? 2 : 4);
    const int32_t *trained = act->shared[HONE_BUF_TRAINED];
    const hone_mat xt = hone_mat_make(act->shared[HONE_BUF_XT], e->m->act, n, C),
                   nt = hone_mat_make(act->shared[HONE_BUF_NT], e->m->act, n, C),
                   dnt = hone_mat_make(act->shared[HONE_BUF_DNT], e->m->act, n, C);
    const char *x = act->layer[w->arch.n_layer][HONE_BUF_X];
    char *dx = act->shared[HONE_BUF_DX];
    hone_head h = {
        .h = nt,
        .w = &w->head,
        .target = act->shared[HONE_BUF_TARGET],
        .weight = b->weight ? act->shared[HONE_BUF_WEIGHT] : NULL,
        .loss = act->shared[HONE_BUF_LOSS],
        .best = act->shared[HONE_BUF_BEST],
        .softcap = w->arch.final_softcap,
        .grad_scale = grad_scale,
    };
    int32_t i;
    int rc;

    for (i = 0; i < n; i++)
        memcpy((char *)xt.data + (size_t)i * row, x + (size_t)trained[i] * row, row);
    if (e->training) {
        h.dh = dnt;
        h.dw = e->a->dhead;
        h.objective = e->a->objective;
    }
    if ((rc = hone_rmsnorm_fwd(e->m->dev, nt, NULL, xt, w->final_norm, w->arch.norm_eps, err)) < 0 ||
        (rc = hone_head_loss(e->m->dev, &h, err)) < 0)
        return rc;
    hone_weights_passed(e->m->w, -1);
    if (!e->training)
        return 0;
    if (e->a->dfinal_norm &&
        (rc = hone_rmsnorm_bwd_w(e->m->dev, e->a->dfinal_norm, dnt, xt, w->arch.norm_eps, err)) < 0)
        return rc;
    if ((rc = hone_rmsnorm_bwd(e->m->dev, dnt, false, dnt, xt, w->final_norm, NULL, w->arch.norm_eps, err)) <
        0)
        return rc;
    memset(dx, 0, (size_t)b->n_tokens * row);
    for (i = 0; i < n; i++)
        memcpy(dx + (size_t)trained[i] * row, (const char *)dnt.data + (size_t)i * row, row);
    return 0;
}

static void report(hone_pass *out, const hone_activations *act, const hone_batch *b, int32_t n)
{
    const int32_t *best = act->shared[HONE_BUF_BEST], *target = act->shared[HONE_BUF_TARGET];
    uint8_t *correct = act->shared[HONE_BUF_CORRECT];
    int32_t i;

    *out = (hone_pass){
        .loss = act->shared[HONE_BUF_LOSS],
        .weight = b->weight ? act->shared[HONE_BUF_WEIGHT] : NULL,
        .position = act->shared[HONE_BUF_TRAINED],
        .correct = correct,
        .n_trained = n,
    };
    for (i = 0; i < n; i++) {
        double weight = out->weight ? (double)out->weight[i] : 1;

        correct[i] = best[i] == target[i];
        out->loss_sum += weight * out->loss[i];
        out->weight_sum += weight;
    }
}

static int run(hone_pass_env *e, hone_activations *act, const hone_batch *b, float grad_scale, hone_pass *out,
               hone_error *err)
{
    int32_t n;
    int rc;

    if ((rc = check_batch(&e->m->w->arch, act, b, err)) < 0)
        return rc;
    if (e->a && (e->a->model != e->m || e->a->max_rank > act->max_rank))
        return hone_error_set(err, HONE_EINVAL, "the activations were not made for this adapter");
    n = collect_targets(act, b);
    set_layout(e, act, b);
    if (n) {
        if ((rc = walk_up(e, act, b->ids, b->n_tokens, err)) < 0 ||
            (rc = head(e, act, b, n, grad_scale, err)) < 0)
            return rc;
        if (e->training && (rc = walk_down(e, act, b->ids, b->n_tokens, err)) < 0)
            return rc;
    }
    report(out, act, b, n);
    return 0;
}

int hone_model_eval(hone_model *m, const hone_adapter *a, hone_activations *act, const hone_batch *b,
                    hone_pass *out, hone_error *err)
{
    hone_pass_env e = {.m = m, .w = hone_weights_of(m, a), .a = a};

    return run(&e, act, b, 0, out, err);
}

int hone_model_train(hone_model *m, hone_adapter *a, hone_activations *act, const hone_batch *b,
                     float grad_scale, uint64_t seed, uint32_t dropout_stream, hone_pass *out,
                     hone_error *err)
{
    hone_pass_env e = {
        .m = m,
        .w = &a->view,
        .a = a,
        .training = true,
        .seed = seed,
        .dropout_stream = dropout_stream,
        .recompute = act->p.recompute,
    };

    if (!act->p.training || act->a != a)
        return hone_error_set(err, HONE_EINVAL, "the activations were not made to train this adapter");
    if (!a->grad)
        return hone_error_set(err, HONE_EINVAL, "the adapter has no gradients attached");
    return run(&e, act, b, grad_scale, out, err);
}
