/* Projections with adapters, by the blocked product.
 *
 *   forward   y_p = [x | u_p] [W_p^T ; scale B_p^T]          u_p = drop(x) A_p^T first
 *   backward  dx  = [dy_1 .. dy_P | du_1 .. du_P] [W_1 .. W_P ; A_1 .. A_P]     du_p = scale dy_p B_p first
 *
 * so an adapter costs a few more rows of K. Dropout's mask is drawn once a pass, a bit an element; u, dA and the adapter's
 * part of dx read it. The adapters' gradients are skinny: columns are dealt to the tasks, each runs over all tokens in
 * order. A trained projection's own gradient, dW += dy^T x, is a product over the tokens: blocks of dW are dealt to the
 * tasks. */
#include "device/cpu/product.h"

#define COLS 64    /* columns of a gradient task */
#define TOKENS 256 /* tokens of one partial sum */
#define FEW_BYTES (1 << 16)

struct job {
    hone_device *dev;
    const hone_linear *g;
    hone_cut cut;
    int groups[HONE_MAX_PARTS], total_groups;
    int64_t group_cols[HONE_MAX_PARTS];
    hone_mask mask[HONE_MAX_PARTS]; /* of x */
    float *du[HONE_MAX_PARTS];      /* [N, r] */
    hone_mat x;                     /* few rows: x in f32 */
    int dx_tasks, da_blocks, skinny_tasks;
    hone_cut dw_cut[HONE_MAX_PARTS];
    int dw_tasks[HONE_MAX_PARTS], dw_groups[HONE_MAX_PARTS];
};

static int64_t mask_ld(int64_t in)
{
    return (in + HONE_MASK_BLOCK - 1) / HONE_MASK_BLOCK * (HONE_MASK_BLOCK / 8);
}

static size_t mask_size(int64_t n, int64_t in)
{
    return hone_align((size_t)(n * mask_ld(in)));
}

hone_need hone_fast_need_linear(int64_t n, int64_t in, int rank)
{
    size_t few = (size_t)(HONE_PRODUCT_FEW * in) * sizeof(float), du = (size_t)(n * rank) * sizeof(float);
    hone_need need = {hone_align(hone_product_scratch_size()) +
                          hone_align((size_t)rank * COLS * sizeof(float)) +
                          hone_align((size_t)TOKENS * COLS * sizeof(float)),
                      HONE_MAX(hone_align(few), HONE_MAX_PARTS * hone_align(du))};

    if (rank > 0)
        need.shared += HONE_MAX_PARTS * mask_size(n, in);
    return need;
}

static hone_need need_of(const hone_linear *g)
{
    int rank = 0, p;

    for (p = 0; p < g->n_parts; p++)
        if (g->part[p].lora)
            rank = HONE_MAX(rank, g->part[p].lora->r);
    return hone_fast_need_linear(g->x.rows, g->x.cols, rank);
}

static hone_term term_of(const hone_mat *a, const void *b, hone_dtype t, int64_t rows, int64_t cols,
                         bool transposed, float scale)
{
    hone_term term = {.a = *a,
                      .b = {.data = b, .dtype = t, .rows = (int32_t)rows, .cols = (int32_t)cols},
                      .transposed = transposed,
                      .scale = scale};

    return term;
}

static hone_term weight_term(const hone_mat *a, const hone_weight *w, bool transposed)
{
    return (hone_term){.a = *a, .b = *w, .transposed = transposed, .frozen = true, .scale = 1};
}

static hone_mat f32_mat(const float *data, int64_t rows, int64_t cols)
{
    return hone_mat_make((void *)(uintptr_t)data, HONE_F32, rows, cols);
}

static hone_product product_of(const hone_device *dev, hone_dtype activation)
{
    hone_product p = {.k = dev->kernels, .round = activation == HONE_BF16};

    p.pairs = p.round && p.k->gemm_bf16;
    return p;
}

/* Finds part and column group of a task among the groups of all parts. */
static int part_of(const struct job *j, int *group)
{
    int p = 0;

    while (*group >= j->groups[p])
        *group -= j->groups[p++];
    return p;
}

/* Gives every part with dropout room for its mask; returns the shared scratch behind them. */
static char *place_masks(struct job *j)
{
    const hone_mat *x = &j->g->x;
    char *shared = hone_shared(j->dev);
    int p;

    for (p = 0; p < j->g->n_parts; p++) {
        const hone_lora *l = j->g->part[p].lora;

        if (!l || l->dropout == 0)
            continue;
        j->mask[p] = (hone_mask){(uint8_t *)shared, mask_ld(x->cols), hone_dropout_scale(l->dropout)};
        shared += mask_size(x->rows, x->cols);
    }
    return shared;
}

/* The mask of some rows of a part: drawn once a pass, by the first task that needs it. */
static void draw_mask(const struct job *j, int p, int64_t r0, int64_t r1)
{
    const hone_lora *l = j->g->part[p].lora;
    const hone_mask *mask = &j->mask[p];
    int64_t r;

    for (r = r0; mask->bits && r < r1; r++)
        j->dev->kernels->draw(mask->bits + r * mask->ld, j->g->x.cols, l->seed, l->stream,
                              hone_dropout_index(r, j->g->x.cols) / 8, hone_dropout_limit(l->dropout));
}

/* ---- forward ------------------------------------------------------------------------------------------------------ */

/* u of a chunk of tokens of one part, in f32 whatever the activations are. */
static void u_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    int p = task / j->cut.row_tasks;
    int64_t r0 = task % j->cut.row_tasks * j->cut.rows, r1 = HONE_MIN(r0 + j->cut.rows, g->x.rows);
    hone_product_scratch s = hone_product_scratch_at(hone_scratch(j->dev, thread));
    const hone_lora *l = g->part[p].lora;
    hone_product product = {.k = j->dev->kernels, .n_terms = 1};
    hone_mat u;

    if (!l)
        return;
    draw_mask(j, p, r0, r1);
    u = f32_mat(g->part[p].u, g->x.rows, l->r);
    product.term[0] = term_of(&g->x, l->a, HONE_F32, l->r, g->x.cols, true, 1);
    product.term[0].drop = j->mask[p];
    hone_product_store(&product, &s, &u, r0, r1, 0, l->r, NULL, false);
}

/* y = (x - drop(x)) W^T + bias + gain z, z = drop(x) W^T + scale u B^T, a block of columns at a time. */
static void dora_store(const struct job *j, int p, const hone_product_scratch *s, int64_t r0, int64_t r1,
                       int64_t c0, int64_t c1)
{
    const struct hone_linear_part *part = &j->g->part[p];
    const hone_lora *l = part->lora;
    const bool drop = j->mask[p].bits != NULL;
    hone_product base = product_of(j->dev, j->g->x.dtype), low_rank = base;
    hone_mat u = f32_mat(part->u, j->g->x.rows, l->r);
    int64_t n0, r;
    int nn, i;

    base.n_terms = low_rank.n_terms = 1;
    base.term[0] = weight_term(&j->g->x, part->w, true);
    low_rank.term[0] = term_of(&u, l->b, HONE_F32, part->w->rows, l->r, true, l->scale);
    for (n0 = c0; n0 < c1; n0 += nn) {
        float gain[HONE_PRODUCT_COLS], bias[HONE_PRODUCT_COLS] = {0};

        nn = (int)HONE_MIN(HONE_PRODUCT_COLS, c1 - n0);
        if (part->w->bias)
            memcpy(bias, part->w->bias + n0, sizeof(float) * (size_t)nn);
        for (i = 0; i < nn; i++)
            gain[i] = hone_dora_gain(l, n0 + i);
        base.term[0].drop = (hone_mask){0};
        if (drop)
            hone_product_block(&base, s, r0, r1, n0, nn, s->c, HONE_PRODUCT_COLS, false);
        base.term[0].drop = j->mask[p];
        hone_product_block(&base, s, r0, r1, n0, nn, s->t, HONE_PRODUCT_COLS, false);
        for (r = 0; r < r1 - r0; r++) {
            float *y = s->c + r * HONE_PRODUCT_COLS, *z = s->t + r * HONE_PRODUCT_COLS;

            for (i = 0; i < nn; i++)
                y[i] = (drop ? y[i] - z[i] : 0) + bias[i];
        }
        hone_product_block(&low_rank, s, r0, r1, n0, nn, s->t, HONE_PRODUCT_COLS, true);
        for (r = r0; r < r1; r++) {
            float *y = s->c + (r - r0) * HONE_PRODUCT_COLS, *z = s->t + (r - r0) * HONE_PRODUCT_COLS;

            if (part->z.data)
                hone_row_put(&part->z, r, n0, nn, z);
            for (i = 0; i < nn; i++)
                y[i] += gain[i] * z[i];
            hone_row_put(&part->y, r, n0, nn, y);
        }
    }
}

static void fwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    int group = task % j->total_groups, p = part_of(j, &group);
    const struct hone_linear_part *part = &g->part[p];
    int64_t r0 = task / j->total_groups * j->cut.rows, r1 = HONE_MIN(r0 + j->cut.rows, g->x.rows);
    int64_t c0 = group * j->group_cols[p], c1 = HONE_MIN(c0 + j->group_cols[p], part->w->rows);
    hone_product_scratch s = hone_product_scratch_at(hone_scratch(j->dev, thread));
    hone_product product = product_of(j->dev, g->x.dtype);
    hone_mat y = part->y, u;

    if (hone_is_dora(part->lora)) {
        dora_store(j, p, &s, r0, r1, c0, c1);
        return;
    }
    product.term[product.n_terms++] = weight_term(&g->x, part->w, true);
    if (part->lora) {
        u = f32_mat(part->u, g->x.rows, part->lora->r);
        product.term[product.n_terms++] =
            term_of(&u, part->lora->b, HONE_F32, part->w->rows, part->lora->r, true, part->lora->scale);
    }
    hone_product_store(&product, &s, &y, r0, r1, c0, c1, part->w->bias, false);
}

/* u for few tokens: too little work to share. */
static void few_u(const struct job *j, float *row)
{
    const hone_kernels *k = j->dev->kernels;
    const hone_linear *g = j->g;
    const hone_mat *x = &j->x;
    int64_t t;
    int p, r;

    for (p = 0; p < g->n_parts; p++) {
        const hone_lora *l = g->part[p].lora;

        if (!l)
            continue;
        draw_mask(j, p, 0, x->rows);
        for (t = 0; t < x->rows; t++) {
            const float *v = (const float *)x->data + t * x->ld;
            int64_t c, n;

            memset(g->part[p].u + t * l->r, 0, sizeof(float) * (size_t)l->r);
            for (c = 0; c < x->cols; c += n) { /* in pieces that fit the scratch row */
                const float *w = v + c;

                n = HONE_MIN(HONE_KC_MAX * HONE_NR_MAX, x->cols - c);
                if (j->mask[p].bits) {
                    hone_keep_row(k, row, x, &j->mask[p], t, c, n);
                    w = row;
                }
                for (r = 0; r < l->r; r++)
                    g->part[p].u[t * l->r + r] += k->dot(w, l->a + (int64_t)r * x->cols + c, n);
            }
        }
    }
}

static void few_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    const hone_kernels *k = j->dev->kernels;
    int group = task, p = part_of(j, &group);
    const struct hone_linear_part *part = &g->part[p];
    int64_t o0 = group * j->group_cols[p], o1 = HONE_MIN(o0 + j->group_cols[p], part->w->rows), o, t;
    hone_product_scratch s = hone_product_scratch_at(hone_scratch(j->dev, thread));
    float y[HONE_PRODUCT_FEW];

    for (o = o0; o < o1; o++) {
        hone_few_dots(k, y, part->w, o, g->x.dtype == HONE_BF16, &j->x, s.rows);
        for (t = 0; t < g->x.rows; t++) {
            if (part->lora)
                y[t] += part->lora->scale *
                        k->dot(part->u + t * part->lora->r, part->lora->b + o * part->lora->r, part->lora->r);
            if (hone_is_dora(part->lora)) {
                if (part->z.data)
                    hone_elem_put(hone_mat_row(&part->z, t), part->z.dtype, o, y[t]);
                y[t] *= hone_dora_gain(part->lora, o);
            }
            if (part->w->bias)
                y[t] += part->w->bias[o];
            hone_elem_put(hone_mat_row(&part->y, t), part->y.dtype, o, y[t]);
        }
    }
}

int hone_fast_linear_fwd(hone_device *dev, const hone_linear *g, hone_error *err)
{
    struct job j = {.dev = dev, .g = g};
    int rc = hone_cpu_require(dev, need_of(g), "linear_fwd", err), p, threads = hone_pool_threads(dev->pool);
    int64_t total = 0;
    char *shared;
    bool lora = false, twice = false; /* the base sees x with and without dropout */

    if (rc)
        return rc;
    for (p = 0; p < g->n_parts; p++) {
        total += g->part[p].w->rows;
        lora |= g->part[p].lora != NULL;
        twice |= hone_is_dora(g->part[p].lora) && g->part[p].lora->dropout > 0;
    }
    shared = place_masks(&j);
    if (g->x.rows <= HONE_PRODUCT_FEW && !twice) {
        j.x = hone_mat_as_f32(dev->kernels, &g->x, (float *)shared);
        if (lora)
            few_u(&j, hone_product_scratch_at(hone_scratch(dev, 0)).rows);
        for (p = 0; p < g->n_parts; p++) {
            int64_t bytes = (int64_t)hone_dtype_bytes(g->part[p].w->dtype, g->x.cols);

            /* long runs of the file for each thread, but enough of them to share */
            j.group_cols[p] = HONE_MAX(HONE_MIN(FEW_BYTES / bytes, total / (4 * threads)), 8);
            j.groups[p] = (int)((g->part[p].w->rows + j.group_cols[p] - 1) / j.group_cols[p]);
            j.total_groups += j.groups[p];
        }
        hone_pool_run(dev->pool, j.total_groups, few_task, &j);
        return 0;
    }
    if (lora) {
        j.cut.rows = HONE_MC;
        j.cut.row_tasks = (int)((g->x.rows + HONE_MC - 1) / HONE_MC);
        hone_pool_run(dev->pool, j.cut.row_tasks * g->n_parts, u_task, &j);
    }
    j.cut = hone_product_cut(g->x.rows, total, threads);
    for (p = 0; p < g->n_parts; p++) {
        j.group_cols[p] = (j.cut.cols + 63) / 64 * 64;
        j.groups[p] = (int)((g->part[p].w->rows + j.group_cols[p] - 1) / j.group_cols[p]);
        j.total_groups += j.groups[p];
    }
    hone_pool_run(dev->pool, j.cut.row_tasks * j.total_groups, fwd_task, &j);
    return 0;
}

/* ---- backward ----------------------------------------------------------------------------------------------------- */

/* The gradient of a part's sum as the backward pass reads it: dy, or with DoRA what hone_cpu_dora_turn has left in z. */
static const hone_mat *inner(const struct hone_linear_part *part)
{
    return hone_is_dora(part->lora) ? &part->z : &part->dy;
}

/* Whether `inner` lacks dy, and the base's part of dx was made from dy. */
static bool lacks_dy(const struct hone_linear_part *part)
{
    return hone_is_dora(part->lora) && part->lora->dropout > 0;
}

static void du_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    int p = task / j->cut.row_tasks;
    int64_t r0 = task % j->cut.row_tasks * j->cut.rows, r1 = HONE_MIN(r0 + j->cut.rows, g->x.rows), n0;
    hone_product_scratch s = hone_product_scratch_at(hone_scratch(j->dev, thread));
    const hone_lora *l = g->part[p].lora;
    hone_product product = {.k = j->dev->kernels, .n_terms = 1};

    if (!l)
        return;
    draw_mask(j, p, r0, r1);
    product.term[0] = term_of(inner(&g->part[p]), l->b, HONE_F32, g->part[p].w->rows, l->r, false, l->scale);
    if (lacks_dy(&g->part[p]))
        product.term[product.n_terms++] =
            term_of(&g->part[p].dy, l->b, HONE_F32, g->part[p].w->rows, l->r, false, l->scale);
    for (n0 = 0; n0 < l->r; n0 += HONE_PRODUCT_COLS)
        hone_product_block(&product, &s, r0, r1, n0, (int)HONE_MIN(HONE_PRODUCT_COLS, l->r - n0),
                           j->du[p] + r0 * l->r + n0, l->r, false);
}

/* dx: the base's products first, then the adapters', undropped; with DoRA undrop(du A + (gain - 1) dy W). */
static hone_product dx_product(const struct job *j)
{
    const hone_linear *g = j->g;
    hone_product product = product_of(j->dev, g->x.dtype);
    hone_mat du;
    int p;

    for (p = 0; p < g->n_parts; p++)
        product.term[product.n_terms++] =
            weight_term(lacks_dy(&g->part[p]) ? &g->part[p].dy : inner(&g->part[p]), g->part[p].w, false);
    for (p = 0; p < g->n_parts; p++) {
        const hone_lora *l = g->part[p].lora;

        if (!l)
            continue;
        if (lacks_dy(&g->part[p])) {
            product.term[product.n_terms] = weight_term(&g->part[p].z, g->part[p].w, false);
            product.term[product.n_terms++].undrop = j->mask[p];
        }
        du = f32_mat(j->du[p], g->x.rows, l->r);
        product.term[product.n_terms] = term_of(&du, l->a, HONE_F32, l->r, g->x.cols, false, 1);
        product.term[product.n_terms++].undrop = j->mask[p];
    }
    return product;
}

static void dx_task(struct job *j, int task, const hone_product_scratch *s)
{
    const hone_linear *g = j->g;
    int group = task % j->total_groups, nn;
    int64_t r0 = task / j->total_groups * j->cut.rows, r1 = HONE_MIN(r0 + j->cut.rows, g->x.rows), n0, r, i;
    int64_t c0 = group * j->cut.cols, c1 = HONE_MIN(c0 + j->cut.cols, g->x.cols), ldc;
    hone_product product = dx_product(j);
    float *c;

    for (n0 = c0; n0 < c1; n0 += nn) {
        bool direct = g->dx.dtype == HONE_F32;

        nn = (int)HONE_MIN(hone_product_width(&product), c1 - n0);
        c = direct ? (float *)hone_mat_row(&g->dx, r0) + n0 : s->c;
        ldc = direct ? g->dx.ld : HONE_PRODUCT_LDC;
        hone_product_block(&product, s, r0, r1, n0, nn, c, ldc, direct && g->add_dx);
        for (r = r0; r < r1 && !direct; r++) {
            uint16_t *to = (uint16_t *)hone_mat_row(&g->dx, r) + n0;
            float *row = c + (r - r0) * ldc;

            if (g->add_dx)
                for (i = 0; i < nn; i++)
                    row[i] += hone_bf16_to_f32(to[i]);
            j->dev->kernels->to_bf16(to, row, nn);
        }
    }
}

/* t[r, n] (+)= left^T m[:, c..c+n) over all tokens; left is [N, r], m a matrix that may need converting or dropout. */
static void skinny(const struct job *j, float *t, int64_t ldt, const float *left, int rank, const hone_mat *m,
                   const hone_mask *drop, int64_t c, int n, float *copy, bool add)
{
    const hone_kernels *k = j->dev->kernels;
    int64_t t0, tn, i, ldb;
    int q;

    for (t0 = 0; t0 < m->rows; t0 += TOKENS) {
        const float *b = (const float *)hone_mat_row(m, t0) + c;

        tn = HONE_MIN(TOKENS, m->rows - t0);
        ldb = m->ld;
        if (m->dtype != HONE_F32 || drop) {
            for (i = 0; i < tn; i++)
                if (drop)
                    hone_keep_row(k, copy + i * COLS, m, drop, t0 + i, c, n);
                else
                    k->to_f32(copy + i * COLS, (const uint16_t *)hone_mat_row(m, t0 + i) + c, n);
            b = copy;
            ldb = COLS;
        }
        for (q = 0; q < n; q += k->nr)
            k->gemm(t + q, ldt, left + t0 * rank, 1, rank, b + q, ldb, false, rank, HONE_MIN(k->nr, n - q),
                    tn, add);
        add = true;
    }
}

static void da_task(struct job *j, int task, float *copy)
{
    const hone_linear *g = j->g;
    int p = task / j->da_blocks;
    const hone_lora *l = g->part[p].lora;
    int64_t c = (int64_t)(task % j->da_blocks) * COLS;

    if (l && l->da)
        skinny(j, l->da + c, g->x.cols, j->du[p], l->r, &g->x, j->mask[p].bits ? &j->mask[p] : NULL, c,
               (int)HONE_MIN(COLS, g->x.cols - c), copy, true);
}

static void db_task(struct job *j, int task, float *sum, float *copy)
{
    const hone_linear *g = j->g;
    int p = 0, blocks, r;
    const hone_lora *l;
    int64_t c, o, n;

    while (task >= (blocks = (g->part[p].w->rows + COLS - 1) / COLS)) {
        task -= blocks;
        p++;
    }
    l = g->part[p].lora;
    if (!l || !l->db)
        return;
    c = (int64_t)task * COLS;
    n = HONE_MIN(COLS, g->part[p].w->rows - c);
    skinny(j, sum, COLS, g->part[p].u, l->r, inner(&g->part[p]), NULL, c, (int)n, copy, false);
    if (lacks_dy(&g->part[p]))
        skinny(j, sum, COLS, g->part[p].u, l->r, &g->part[p].dy, NULL, c, (int)n, copy, true);
    for (o = 0; o < n; o++)
        for (r = 0; r < l->r; r++)
            l->db[(c + o) * l->r + r] += l->scale * sum[r * COLS + o];
}

void hone_product_over_rows(const hone_kernels *k, const hone_product_scratch *s, const hone_mat *left,
                            const hone_mat *x, float *out, int64_t r0, int64_t r1, int64_t c0, int64_t c1)
{
    hone_product p = {.k = k, .round = x->dtype == HONE_BF16, .n_terms = 1};
    int64_t n0;
    int nn;

    p.pairs = p.round && k->gemm_bf16;
    p.term[0] = term_of(left, x->data, x->dtype, x->rows, x->cols, false, 1);
    p.term[0].turned = true;
    p.term[0].ldb = x->ld;
    for (n0 = c0; n0 < c1; n0 += nn) {
        nn = (int)HONE_MIN(HONE_PRODUCT_WIDE, c1 - n0);
        hone_product_block(&p, s, r0, r1, n0, nn, out + r0 * x->cols + n0, x->cols, true);
    }
}

/* Rows of dW, and of the bias's gradient with the first columns. */
static void dw_task(const struct job *j, int p, int task, const hone_product_scratch *s)
{
    const struct hone_linear_part *part = &j->g->part[p];
    const hone_cut *cut = &j->dw_cut[p];
    const hone_kernels *k = j->dev->kernels;
    int64_t r0 = task / j->dw_groups[p] * cut->rows, r1 = HONE_MIN(r0 + cut->rows, part->w->rows), t;
    int64_t c0 = task % j->dw_groups[p] * cut->cols, c1 = HONE_MIN(c0 + cut->cols, j->g->x.cols);

    if (part->dw)
        hone_product_over_rows(k, s, &part->dy, &j->g->x, part->dw, r0, r1, c0, c1);
    for (t = 0; t < j->g->x.rows && part->dbias && c0 == 0; t++) {
        const float *dy = (const float *)hone_mat_row(&part->dy, t) + r0;

        if (part->dy.dtype == HONE_BF16) {
            k->to_f32(s->t, (const uint16_t *)hone_mat_row(&part->dy, t) + r0, r1 - r0);
            dy = s->t;
        }
        k->axpy(part->dbias + r0, dy, 1, r1 - r0);
    }
}

/* Cuts the gradients of the projections themselves into tasks; returns their number. */
static int cut_dw(struct job *j)
{
    const hone_linear *g = j->g;
    int threads = hone_pool_threads(j->dev->pool), total = 0, p;

    for (p = 0; p < g->n_parts; p++) {
        hone_cut *cut = &j->dw_cut[p];

        if (!g->part[p].dw && !g->part[p].dbias)
            continue;
        *cut = hone_product_cut(g->part[p].w->rows, g->x.cols, threads);
        cut->cols = (cut->cols + HONE_PRODUCT_COLS - 1) / HONE_PRODUCT_COLS * HONE_PRODUCT_COLS;
        if (!g->part[p].dw)
            cut->cols = g->x.cols;
        j->dw_groups[p] = (int)((g->x.cols + cut->cols - 1) / cut->cols);
        j->dw_tasks[p] = cut->row_tasks * j->dw_groups[p];
        total += j->dw_tasks[p];
    }
    return total;
}

static void bwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    char *scratch = hone_scratch(j->dev, thread);
    hone_product_scratch s = hone_product_scratch_at(scratch);
    float *copy = (float *)(scratch + hone_align(hone_product_scratch_size())), *sum = copy + TOKENS * COLS;

    if (task < j->dx_tasks)
        dx_task(j, task, &s);
    else if ((task -= j->dx_tasks) < j->da_blocks * j->g->n_parts)
        da_task(j, task, copy);
    else if (task < j->skinny_tasks)
        db_task(j, task - j->da_blocks * j->g->n_parts, sum, copy);
    else {
        int p = 0;

        for (task -= j->skinny_tasks; task >= j->dw_tasks[p]; p++)
            task -= j->dw_tasks[p];
        dw_task(j, p, task, &s);
    }
}

int hone_fast_linear_bwd(hone_device *dev, const hone_linear *g, hone_error *err)
{
    struct job j = {.dev = dev, .g = g};
    int rc = hone_cpu_require(dev, need_of(g), "linear_bwd", err), p, tasks = 0;
    char *shared;
    bool lora = false, train = false;

    if (rc)
        return rc;
    shared = place_masks(&j);
    for (p = 0; p < g->n_parts; p++)
        if (g->part[p].lora) {
            lora = true;
            train |= g->part[p].lora->da != NULL;
            j.du[p] = (float *)shared;
            shared += hone_align((size_t)(g->x.rows * g->part[p].lora->r) * sizeof(float));
        }
    if (lora) {
        hone_cpu_dora_turn(dev, g);
        j.cut.rows = HONE_MC;
        j.cut.row_tasks = (int)((g->x.rows + HONE_MC - 1) / HONE_MC);
        hone_pool_run(dev->pool, j.cut.row_tasks * g->n_parts, du_task, &j);
    }
    if (g->dx.data) {
        j.cut = hone_product_cut(g->x.rows, g->x.cols, hone_pool_threads(dev->pool));
        j.cut.cols = (j.cut.cols + HONE_PRODUCT_COLS - 1) / HONE_PRODUCT_COLS * HONE_PRODUCT_COLS;
        j.total_groups = (int)((g->x.cols + j.cut.cols - 1) / j.cut.cols);
        j.dx_tasks = j.cut.row_tasks * j.total_groups;
        tasks = j.dx_tasks;
    }
    j.da_blocks = train ? (int)((g->x.cols + COLS - 1) / COLS) : 0;
    for (p = 0; p < g->n_parts && train; p++)
        j.skinny_tasks += j.da_blocks + (g->part[p].w->rows + COLS - 1) / COLS;
    tasks += j.skinny_tasks + cut_dw(&j);
    hone_pool_run(dev->pool, tasks, bwd_task, &j);
    return 0;
}
