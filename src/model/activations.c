/* Activation memory: what a pass keeps, sized before it is allocated and cut from one block.
 *
 * `list` below is the one description of every buffer; size, layout and the plan's lines all come from walking it.
 * Backward temporaries whose lifetimes do not meet (the head's, the feed-forward half's, the attention half's) lie over
 * each other in one region. Invariant: hone_activations_size is, to the byte, what hone_activations_new allocates. */
#include "model/activations.h"

#define ALIGN 64

/* When a buffer is alive; the last three never overlap in time. */
enum life { LIFE_LAYER, LIFE_PASS, LIFE_HEAD, LIFE_FFN_BACKWARD, LIFE_ATTENTION_BACKWARD, N_LIVES };

typedef struct buffer {
    const char *name;
    enum life life;
    int slot; /* hone_layer_buffer or hone_shared_buffer */
    int64_t rows;
    int64_t width;
    size_t element;   /* bytes */
    int keep_to;      /* LIFE_LAYER: highest recomputation level that keeps it per layer */
    unsigned readers; /* kept only where one of these projections is adapted; 0 = always */
} buffer;

#define MAX_BUFFERS (HONE_N_LAYER_BUF + HONE_N_SHARED_BUF)

/* Every buffer of a pass with these parameters, in the order it lies in the block. Returns their number. */
static int list(buffer out[MAX_BUFFERS], const hone_model *m, const hone_adapter *a,
                const hone_activation_params *p)
{
    const hone_arch *r = &m->w->arch;
    const int64_t N = p->tokens, T = hone_activations_targets(p), C = r->width,
                  HD = (int64_t)r->n_head * r->head_size, KD = (int64_t)r->n_kv * r->head_size, F = r->ffn;
    const size_t e = m->act == HONE_BF16 ? 2 : 4;
    const unsigned qkv = 1u << HONE_Q | 1u << HONE_K | 1u << HONE_V,
                   gate_up = 1u << HONE_GATE | 1u << HONE_UP;
    static const char *const lora_name[HONE_N_PROJ] = {"lora q",    "lora k",  "lora v",   "lora o",
                                                       "lora gate", "lora up", "lora down"};
    static const char *const dora_name[HONE_N_PROJ] = {"dora q",    "dora k",  "dora v",   "dora o",
                                                       "dora gate", "dora up", "dora down"};
    int n = 0, i;

    /* clang-format off */
#define LAYER(name, slot, width, size, keep_to, readers) \
    out[n++] = (buffer){name, LIFE_LAYER, slot, N, width, size, keep_to, readers}
#define SHARED(name, life, slot, rows, width, size) out[n++] = (buffer){name, life, slot, rows, width, size, -1, 0}
    /* clang-format on */
    LAYER("x", HONE_BUF_X, C, e, 2, 0);
    LAYER("n1", HONE_BUF_N1, C, e, 0, qkv);
    if (r->qk_norm) {
        LAYER("q0", HONE_BUF_Q0, HD, e, 1, 0);
        LAYER("k0", HONE_BUF_K0, KD, e, 1, 0);
    }
    if (r->fused) {
        LAYER("qkv", HONE_BUF_Q, HD + 2 * KD, e, 1, 0);
    } else {
        LAYER("q", HONE_BUF_Q, HD, e, 1, 0);
        LAYER("k", HONE_BUF_K, KD, e, 1, 0);
        LAYER("v", HONE_BUF_V, KD, e, 1, 0);
    }
    LAYER("o", HONE_BUF_O, HD, e, 1, 0);
    if (p->training)
        LAYER("lse", HONE_BUF_LSE, r->n_head, 4, 1, 0);
    if (r->post_norms) {
        LAYER("a", HONE_BUF_A, C, e, 1, 0);
        LAYER("m", HONE_BUF_M, C, e, 1, 0);
    }
    LAYER("x2", HONE_BUF_X2, C, e, 1, 0);
    LAYER("n2", HONE_BUF_N2, C, e, 0, gate_up);
    if (r->fused) {
        LAYER("gu", HONE_BUF_G, 2 * F, e, 1, 0);
    } else {
        LAYER("g", HONE_BUF_G, F, e, 1, 0);
        LAYER("u", HONE_BUF_U, F, e, 1, 0);
    }
    LAYER("h", HONE_BUF_H, F, e, 0, 1u << HONE_DOWN);
    for (i = 0; a && a->r && i < HONE_N_PROJ; i++)
        if (hone_proj_there(r, i))
            LAYER(lora_name[i], HONE_BUF_LORA + i, a->max_rank, 4, 1, 1u << i);
    for (i = 0; a && a->dora && p->training && i < HONE_N_PROJ; i++)
        if (hone_proj_there(r, i))
            LAYER(dora_name[i], HONE_BUF_DORA + i, m->w->layer[0].proj[i].rows, e, 1, 1u << i);
    SHARED("t", LIFE_PASS, HONE_BUF_T, N, C, e);
    SHARED("pos", LIFE_PASS, HONE_BUF_POS, N, 1, 4);
    SHARED("kv_row", LIFE_PASS, HONE_BUF_KV_ROW, p->max_seq, 1, 4);
    SHARED("kv_len", LIFE_PASS, HONE_BUF_KV_LEN, p->max_seq, 1, 4);
    SHARED("trained", LIFE_PASS, HONE_BUF_TRAINED, T, 1, 4);
    SHARED("target", LIFE_PASS, HONE_BUF_TARGET, T, 1, 4);
    SHARED("weight", LIFE_PASS, HONE_BUF_WEIGHT, T, 1, 4);
    SHARED("best", LIFE_PASS, HONE_BUF_BEST, T, 1, 4);
    SHARED("correct", LIFE_PASS, HONE_BUF_CORRECT, T, 1, 1);
    SHARED("loss", LIFE_PASS, HONE_BUF_LOSS, T, 1, 4);
    SHARED("xt", LIFE_HEAD, HONE_BUF_XT, T, C, e);
    SHARED("nt", LIFE_HEAD, HONE_BUF_NT, T, C, e);
    if (p->training) {
        SHARED("noise", LIFE_PASS, HONE_BUF_NOISE, N, 1, 4);
        SHARED("dx", LIFE_PASS, HONE_BUF_DX, N, C, e);
        SHARED("dnt", LIFE_HEAD, HONE_BUF_DNT, T, C, e);
        SHARED("dh", LIFE_FFN_BACKWARD, HONE_BUF_DH, N, F, e);
        SHARED("do", LIFE_ATTENTION_BACKWARD, HONE_BUF_DO, N, HD, e);
        if (r->fused) {
            SHARED("dqkv", LIFE_ATTENTION_BACKWARD, HONE_BUF_DQ, N, HD + 2 * KD, e);
        } else {
            SHARED("dq", LIFE_ATTENTION_BACKWARD, HONE_BUF_DQ, N, HD, e);
            SHARED("dk", LIFE_ATTENTION_BACKWARD, HONE_BUF_DK, N, KD, e);
            SHARED("dv", LIFE_ATTENTION_BACKWARD, HONE_BUF_DV, N, KD, e);
        }
    }
#undef LAYER
#undef SHARED
    return n;
}

static bool keeps(const buffer *b, const hone_adapter *a, const hone_activation_params *p, int layer,
                  int first, int n_layer)
{
    if (!p->training || layer < first || layer >= n_layer || p->recompute > b->keep_to)
        return false;
    return !b->readers || (hone_adapter_reads(a, layer) & b->readers);
}

static size_t align(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static size_t take(size_t *at, const buffer *b)
{
    size_t here = *at;

    *at += align((size_t)b->rows * (size_t)b->width * b->element);
    return here;
}

/* Bytes of the parts of the block, for the plan. */
typedef struct parts {
    size_t kept, shared;
} parts;

/* Lays the buffers out behind the header. act NULL: only sums. Returns the size of the block. */
static size_t cut(hone_activations *act, const hone_model *m, const hone_adapter *a,
                  const hone_activation_params *p, parts *sum)
{
    const int L = m->w->arch.n_layer, first = hone_adapter_first(a, L);
    size_t at = align(sizeof(hone_activations) + (size_t)(L + 1) * sizeof act->layer[0]), here, end, overlay;
    buffer all[MAX_BUFFERS];
    int n = list(all, m, a, p), i, l, life;

    *sum = (parts){0, at};
    for (i = 0; i < n; i++) {
        const buffer *b = &all[i];
        const int layers = b->slot == HONE_BUF_X ? L + 1 : L;
        bool shared = false;

        if (b->life != LIFE_LAYER)
            continue;
        for (l = 0; l < layers; l++) {
            if (!keeps(b, a, p, l, first, L)) {
                shared = true;
                continue;
            }
            here = take(&at, b);
            sum->kept += at - here;
            if (act)
                act->layer[l][b->slot] = (char *)act + here;
        }
        if (!shared)
            continue;
        here = take(&at, b);
        sum->shared += at - here;
        for (l = 0; act && l < layers; l++)
            if (!act->layer[l][b->slot])
                act->layer[l][b->slot] = (char *)act + here;
    }
    overlay = 0;
    for (life = LIFE_PASS; life < N_LIVES; life++) {
        end = at;
        for (i = 0; i < n; i++)
            if (all[i].life == (enum life)life) {
                here = take(&end, &all[i]);
                if (act)
                    act->shared[all[i].slot] = (char *)act + here;
            }
        if (life == LIFE_PASS) {
            sum->shared += end - at;
            at = end;
        } else {
            overlay = HONE_MAX(overlay, end - at);
        }
    }
    sum->shared += overlay;
    return at + overlay;
}

size_t hone_activations_size(const hone_model *m, const hone_adapter *a, const hone_activation_params *p)
{
    parts sum;

    return cut(NULL, m, a, p, &sum);
}

void hone_activations_plan(hone_plan *plan, const hone_model *m, const hone_adapter *a,
                           const hone_activation_params *p)
{
    static const char *const level[] = {"nothing recomputed", "norms and gated product recomputed",
                                        "whole block recomputed"};
    const int L = m->w->arch.n_layer, first = hone_adapter_first(a, L);
    parts sum;

    cut(NULL, m, a, p, &sum);
    if (sum.kept)
        hone_plan_add(plan, "activations", sum.kept, "kept by %d layers, %d positions, %s", L - first,
                      p->tokens, level[p->recompute]);
    hone_plan_add(plan, "activations", sum.shared, "shared by all layers, %d positions", p->tokens);
}

void hone_plan_add(hone_plan *plan, const char *purpose, uint64_t bytes, const char *detail, ...)
{
    hone_plan_item *item;
    va_list args;

    plan->total += bytes;
    if (plan->n == HONE_PLAN_MAX) { /* the total stays right; the last line takes the rest */
        plan->item[plan->n - 1].bytes += bytes;
        return;
    }
    item = &plan->item[plan->n++];
    item->purpose = purpose;
    item->bytes = bytes;
    va_start(args, detail);
    vsnprintf(item->detail, sizeof item->detail, detail, args);
    va_end(args);
}

int hone_activations_new(hone_activations **out, const hone_model *m, const hone_adapter *a,
                         const hone_activation_params *p, hone_error *err)
{
    hone_activations *act;
    size_t size;
    parts sum;

    *out = NULL;
    if (p->tokens < 1 || p->max_seq < 1 || p->recompute < 0 || p->recompute > 2)
        return hone_error_set(err, HONE_EINVAL,
                              "activations for %d positions, %d sequences, recomputation level %d", p->tokens,
                              p->max_seq, p->recompute);
    if (a && a->model != m)
        return hone_error_set(err, HONE_EINVAL, "the adapter belongs to another model");
    if (p->training && !a)
        return hone_error_set(err, HONE_EINVAL, "training needs an adapter");
    size = hone_activations_size(m, a, p);
    act = hone_big_alloc(size);
    if (!act)
        return hone_error_set(err, HONE_ENOMEM, "activations: cannot allocate %zu bytes for %d positions",
                              size, p->tokens);
    act->size = size;
    act->a = a;
    act->p = *p;
    act->first = hone_adapter_first(a, m->w->arch.n_layer);
    act->max_rank = a ? a->max_rank : 0;
    cut(act, m, a, p, &sum);
    *out = act;
    return 0;
}

void hone_activations_free(hone_activations *act)
{
    if (act)
        hone_big_free(act, act->size);
}

void hone_model_workspace_spec(hone_workspace_spec *s, const hone_model *m, const hone_adapter *a,
                               const hone_activation_params *p)
{
    const hone_arch *r = &m->w->arch;
    const int32_t HD = r->n_head * r->head_size, KD = r->n_kv * r->head_size;

    *s = (hone_workspace_spec){
        .tokens = p->tokens,
        .targets = p->targets,
        .max_in = HONE_MAX(HONE_MAX(r->width, HD), r->ffn),
        /* K <= H: k and v are no wider than q */
        .max_out = HONE_MAX(HONE_MAX(r->width, r->fused ? HD + 2 * KD : HD), r->fused ? 2 * r->ffn : r->ffn),
        .group_out = HONE_MAX(HONE_MAX(HD + 2 * KD, 2 * r->ffn), r->width),
        .width = r->width,
        .vocab = r->vocab,
        .n_head = r->n_head,
        .n_kv = r->n_kv,
        .head_size = r->head_size,
        .max_kv = HONE_MAX(p->max_kv, p->tokens),
        .max_rank = a ? a->max_rank : 0,
        .activation = m->act,
        .training = p->training,
    };
}

int hone_activations_first_bad(const hone_activations *act, const hone_model *m, int32_t tokens)
{
    const int layers = (int)m->w->arch.n_layer;
    const size_t n = (size_t)tokens * (size_t)m->w->arch.width;
    size_t i;
    int l;

    for (l = act->first; l <= layers; l++) {
        const void *x = act->layer[l][HONE_BUF_X];

        for (i = 0; i < n; i++) {
            /* all exponent bits of a bf16 or f32 number are in its upper half */
            const uint16_t top =
                m->act == HONE_BF16 ? ((const uint16_t *)x)[i] : (uint16_t)(((const uint32_t *)x)[i] >> 16);

            if ((top & 0x7f80) == 0x7f80)
                return l;
        }
    }
    return -1;
}
