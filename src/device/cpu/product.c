/* The blocked product: see product.h.
 *
 * Loops, outermost first: columns of C (1,024 where A must be converted, so that it seldom is, else 256), terms, blocks of
 * K (about 300), columns of a block of B (256), expansion of that block into panels of the register tile's width; then
 * blocks of rows of A (96), panels, and inside the kernel tiles of a few rows. A panel
 * (20 KB in f32) stays in L1 while 96 rows pass it, the block of A and the panels stay in L2. An element of C is summed
 * in the order of terms and k, in blocks that depend on K alone. */
#include "device/cpu/product.h"

size_t hone_product_scratch_size(void)
{
    return sizeof(float) * (HONE_KC_MAX * HONE_PRODUCT_COLS + HONE_NR_MAX * HONE_KC_MAX +
                            HONE_PRODUCT_ROWS * (HONE_KC_MAX + HONE_PRODUCT_LDC + HONE_PRODUCT_COLS));
}

hone_product_scratch hone_product_scratch_at(void *base)
{
    hone_product_scratch s;

    s.panels = base;
    s.rows = s.panels + HONE_KC_MAX * HONE_PRODUCT_COLS;
    s.a = s.rows + HONE_NR_MAX * HONE_KC_MAX;
    s.c = s.a + HONE_PRODUCT_ROWS * HONE_KC_MAX;
    s.t = s.c + HONE_PRODUCT_ROWS * HONE_PRODUCT_LDC;
    return s;
}

static const void *b_row(const hone_term *t, int64_t row)
{
    if (!t->ldb)
        return hone_weight_row(&t->b, row);
    return (const char *)t->b.data + (size_t)(row * t->ldb) * hone_elem_size(t->b.dtype);
}

/* Elements [c, c + n) of a stored row as the product sees them. */
static void expand_row(const hone_product *p, const hone_term *t, float *out, int64_t row, int64_t c,
                       int64_t n)
{
    bool round = p->round && t->frozen && t->b.dtype != HONE_BF16;

    if (t->b.scales)
        hone_expand_weight(p->k, out, &t->b, row * t->b.cols + c, n);
    else
        p->k->expand[t->b.dtype](out, (const char *)b_row(t, row) + hone_dtype_bytes(t->b.dtype, c), n);
    if ((round && !p->pairs) || t->scale != 1.0f)
        p->k->scale_round(out, n, t->scale, round && !p->pairs);
}

/* f32 rows that can be read where they lie. */
static const float *plain_rows(const hone_product *p, const hone_term *t, int64_t row, int64_t c)
{
    const float *f;

    if (t->b.dtype != HONE_F32 || t->scale != 1.0f || (p->round && t->frozen && !p->pairs))
        return NULL;
    f = (const float *)b_row(t, row) + c;
    return (uintptr_t)f % sizeof *f ? NULL : f;
}

static void prefetch(const void *p, size_t bytes)
{
    size_t i;

    for (i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)p + i, 0, 2);
}

/* Panels of B[k0..k0+kn, n0..n0+nn), `stride` floats apart: panel q holds columns [q nr, (q + 1) nr), zero beyond nn.
 * Here of a term whose stored rows are the columns. The rows of the next panel are asked for before one is made: they
 * are pieces too short for the processor to foresee. */
static void expand_transposed(const hone_product *p, const hone_term *t, const hone_product_scratch *s,
                              int64_t stride, int64_t k0, int64_t kn, int64_t n0, int nn)
{
    const int nr = p->k->nr;
    const size_t skip = hone_dtype_bytes(t->b.dtype, k0), bytes = hone_dtype_bytes(t->b.dtype, kn);
    int64_t i;
    int q, m;

    for (q = 0; q < nn; q += nr) {
        float *panel = s->panels + q / nr * stride;
        const float *from = plain_rows(p, t, n0 + q, k0);
        int64_t ld = t->b.cols;

        m = HONE_MIN(nr, nn - q);
        for (i = q + nr; i < HONE_MIN(q + 2 * nr, nn); i++)
            prefetch((const char *)b_row(t, n0 + i) + skip, bytes);
        if (!from) {
            for (i = 0; i < m; i++)
                expand_row(p, t, s->rows + i * kn, n0 + q + i, k0, kn);
            from = s->rows;
            ld = kn;
        }
        if (p->pairs)
            p->k->pairs_transposed((uint16_t *)panel, from, ld, m, kn);
        else
            p->k->transpose(panel, from, ld, m, kn);
    }
}

#define AHEAD 4 /* rows of B asked for before they are read */

/* The same for a term whose stored rows are rows of B. */
static void expand_straight(const hone_product *p, const hone_term *t, const hone_product_scratch *s,
                            int64_t stride, int64_t k0, int64_t kn, int64_t n0, int nn)
{
    const int nr = p->k->nr, step = p->pairs ? 2 : 1;
    const size_t skip = hone_dtype_bytes(t->b.dtype, n0), bytes = hone_dtype_bytes(t->b.dtype, nn);
    float *rows = s->rows; /* one row, or two for pairs, padded with zeros to whole panels */
    int64_t i;
    int q, e;

    memset(rows, 0, sizeof(float) * 2 * HONE_PRODUCT_COLS);
    for (i = 0; i < kn; i += step) {
        const float *row = NULL;

        for (e = 0; e < step && i + AHEAD + e < kn; e++)
            prefetch((const char *)b_row(t, k0 + i + AHEAD + e) + skip, bytes);
        if (!p->pairs && nn % nr == 0)
            row = plain_rows(p, t, k0 + i, n0);
        for (e = 0; e < step && !row; e++) {
            if (i + e < kn)
                expand_row(p, t, rows + e * HONE_PRODUCT_COLS, k0 + i + e, n0, nn);
            else
                memset(rows + e * HONE_PRODUCT_COLS, 0, sizeof(float) * HONE_PRODUCT_COLS);
        }
        if (!row)
            row = rows;
        for (q = 0; q < nn; q += nr) {
            float *panel = s->panels + q / nr * stride;

            if (p->pairs) {
                p->k->pairs((uint16_t *)panel + i * nr, row + q, HONE_PRODUCT_COLS, nr, 2);
                continue;
            }
            for (e = 0; e < nr; e += 16) /* of a constant size: no call */
                memcpy(panel + i * nr + e, row + q + e, sizeof(float) * 16);
        }
    }
}

/* A[r..r+m, k0..k0+kn) of a term that reads it by columns: rows of *ra floats in `out`. tmp: scratch for conversion. */
static const float *a_turned(const hone_product *p, const hone_term *t, float *out, float *tmp, int64_t r,
                             int64_t m, int64_t k0, int64_t kn, int64_t *ra)
{
    int64_t m0, n, i;

    *ra = (kn + 7) & ~(int64_t)7;
    for (m0 = 0; m0 < m; m0 += n) {
        const float *from = (const float *)hone_mat_row(&t->a, k0) + r + m0;
        int64_t ld = t->a.ld;

        n = HONE_MIN(HONE_MC, m - m0);
        if (t->a.dtype == HONE_BF16) {
            for (i = 0; i < kn; i++)
                p->k->to_f32(tmp + i * n, (const uint16_t *)hone_mat_row(&t->a, k0 + i) + r + m0, n);
            from = tmp;
            ld = n;
        }
        p->k->turn(out + m0 * *ra, *ra, from, ld, (int)kn, n);
    }
    return out;
}

void hone_keep_row(const hone_kernels *k, float *out, const hone_mat *x, const hone_mask *mask, int64_t r,
                   int64_t c, int64_t n)
{
    const char *row = (const char *)hone_mat_row(x, r) + (size_t)c * hone_elem_size(x->dtype);

    k->keep(out, row, x->dtype, n, mask->bits + r * mask->ld + c / 8, mask->scale);
}

/* A[r..r+m, k0..k0+kn) in f32: where it lies, or a copy in scratch. */
static const float *a_block(const hone_product *p, const hone_term *t, float *copy, int64_t r, int64_t m,
                            int64_t k0, int64_t kn, int64_t *ra)
{
    int64_t i;

    if (t->a.dtype == HONE_F32 && !t->drop.bits) {
        *ra = t->a.ld;
        return (const float *)hone_mat_row(&t->a, r) + k0;
    }
    *ra = kn;
    for (i = 0; i < m; i++)
        if (t->drop.bits)
            hone_keep_row(p->k, copy + i * kn, &t->a, &t->drop, r + i, k0, kn);
        else
            p->k->to_f32(copy + i * kn, (const uint16_t *)hone_mat_row(&t->a, r + i) + k0, kn);
    return copy;
}

static const uint16_t *a_block_bf16(const hone_product *p, const hone_term *t, const hone_product_scratch *s,
                                    int64_t r, int64_t m, int64_t k0, int64_t kn, int64_t *ra)
{
    uint16_t *out = (uint16_t *)s->a;
    const float *f;
    int64_t i;

    if (t->turned) { /* rounded where it lies: writing stays behind reading */
        f = a_turned(p, t, s->a, s->t, r, m, k0, kn, ra);
        for (i = 0; i < m; i++)
            p->k->to_bf16(out + i * *ra, f + i * *ra, *ra);
        return out;
    }
    if (t->a.dtype == HONE_BF16 && !t->drop.bits) {
        *ra = t->a.ld;
        return (const uint16_t *)hone_mat_row(&t->a, r) + k0;
    }
    *ra = kn;
    for (i = 0; i < m; i++) {
        float kept[HONE_KC_MAX];
        const float *row = kept;

        if (t->drop.bits)
            hone_keep_row(p->k, kept, &t->a, &t->drop, r + i, k0, kn);
        else
            row = (const float *)hone_mat_row(&t->a, r + i) + k0;
        p->k->to_bf16(out + i * kn, row, kn);
    }
    return out;
}

/* Length of the blocks of K: even, at most the kernel's, a whole number of stored blocks where K runs along them. */
static int64_t k_step(const hone_product *p, const hone_term *t, int64_t k)
{
    int64_t most = p->pairs ? p->k->kc_bf16 : p->k->kc,
            align = t->transposed ? hone_dtype_block(t->b.dtype) : 1, step;

    align = HONE_MAX(align, 8);
    step = (k + most - 1) / most; /* blocks */
    step = (k + step - 1) / step; /* equal lengths */
    step = (step + align - 1) / align * align;
    return HONE_MIN(step, most / align * align);
}

/* A block of A: rows of `ra` values. */
struct rows_of_a {
    const float *f32;
    const uint16_t *bf16; /* NULL: f32 */
    int64_t ra;
};

/* C[r0..r1, n0..n0+nn) (+)= the block of A, whose first row is r0, times the panels; c points there. */
static void rows_by_panels(const hone_product *p, const hone_term *t, const hone_product_scratch *s,
                           const struct rows_of_a *a, int64_t stride, int64_t r0, int64_t r1, int64_t kn,
                           int64_t n0, int nn, float *c, int64_t ldc, bool add)
{
    const bool apart = t->undrop.bits != NULL;
    const int nr = p->k->nr;
    const int64_t ldo = apart ? nr : ldc;
    int64_t m0, m;
    int q;

    for (m0 = 0; m0 < r1 - r0; m0 += m, c += m * ldc) {
        m = HONE_MIN(HONE_MC, r1 - r0 - m0);
        for (q = 0; q < nn; q += nr) {
            const int n = HONE_MIN(nr, nn - q);
            float *panel = s->panels + q / nr * stride, *out = apart ? s->t : c + q;

            if (a->bf16)
                p->k->gemm_bf16(out, ldo, a->bf16 + m0 * a->ra, a->ra, (uint16_t *)panel, (int)m, n, kn,
                                add && !apart);
            else
                p->k->gemm(out, ldo, a->f32 + m0 * a->ra, a->ra, 1, panel, nr, true, (int)m, n, kn,
                           add && !apart);
            if (apart)
                p->k->add_kept(c + q, ldc, out, ldo, (int)m, n,
                               t->undrop.bits + (r0 + m0) * t->undrop.ld + (n0 + q) / 8, t->undrop.ld,
                               t->undrop.scale);
        }
    }
}

void hone_product_block(const hone_product *p, const hone_product_scratch *s, int64_t r0, int64_t r1,
                        int64_t n0, int nn, float *c, int64_t ldc, bool add)
{
    const int nr = p->k->nr;
    int64_t k0, kn, stride;
    int i, q, n;

    for (i = 0; i < p->n_terms; i++) {
        const hone_term *t = &p->term[i];
        const int64_t K = t->turned ? t->a.rows : t->a.cols, step = k_step(p, t, K);

        for (k0 = 0; k0 < K; k0 += step) {
            struct rows_of_a a = {0};

            kn = HONE_MIN(step, K - k0);
            stride = p->pairs ? (kn + 1) / 2 * nr : kn * nr; /* floats of a panel */
            if (p->pairs)
                a.bf16 = a_block_bf16(p, t, s, r0, r1 - r0, k0, kn, &a.ra);
            else
                a.f32 = t->turned ? a_turned(p, t, s->a, s->t, r0, r1 - r0, k0, kn, &a.ra)
                                  : a_block(p, t, s->a, r0, r1 - r0, k0, kn, &a.ra);
            for (q = 0; q < nn; q += n) {
                n = HONE_MIN(HONE_PRODUCT_COLS, nn - q);
                if (t->transposed)
                    expand_transposed(p, t, s, stride, k0, kn, n0 + q, n);
                else
                    expand_straight(p, t, s, stride, k0, kn, n0 + q, n);
                rows_by_panels(p, t, s, &a, stride, r0, r1, kn, n0 + q, n, c + q, ldc, add);
            }
            add = true;
        }
    }
}

int hone_product_width(const hone_product *p)
{
    int i;

    for (i = 0; i < p->n_terms; i++)
        if (p->term[i].turned || p->term[i].drop.bits || (!p->pairs && p->term[i].a.dtype == HONE_BF16))
            return HONE_PRODUCT_WIDE;
    return HONE_PRODUCT_COLS;
}

void hone_product_store(const hone_product *p, const hone_product_scratch *s, hone_mat *out, int64_t r0,
                        int64_t r1, int64_t c0, int64_t c1, const float *bias, bool add)
{
    int64_t n0, r, i, ldc;
    int nn;

    for (n0 = c0; n0 < c1; n0 += nn) {
        float *c = s->c;

        nn = (int)HONE_MIN(hone_product_width(p), c1 - n0);
        ldc = HONE_PRODUCT_LDC;
        if (out->dtype == HONE_F32) {
            c = (float *)hone_mat_row(out, r0) + n0;
            ldc = out->ld;
        }
        hone_product_block(p, s, r0, r1, n0, nn, c, ldc, add && out->dtype == HONE_F32);
        for (r = r0; r < r1 && (bias || out->dtype != HONE_F32); r++) {
            float *row = c + (r - r0) * ldc;
            uint16_t *to = (uint16_t *)hone_mat_row(out, r) + n0;

            if (bias)
                for (i = 0; i < nn; i++)
                    row[i] += bias[n0 + i];
            if (out->dtype == HONE_F32)
                continue;
            if (add)
                for (i = 0; i < nn; i++)
                    row[i] += hone_bf16_to_f32(to[i]);
            p->k->to_bf16(to, row, nn);
        }
    }
}

hone_cut hone_product_cut(int64_t m, int64_t cols, int threads)
{
    hone_cut cut;
    int64_t chunks = (m + HONE_PRODUCT_ROWS - 1) / HONE_PRODUCT_ROWS,
            even = (chunks + threads - 1) / threads * threads;

    /* Rows first: every thread expands for itself, none waits. Fewer than 64 rows would not pay for an expansion. */
    if (m / even >= 64)
        chunks = even;
    cut.rows = (m + chunks - 1) / chunks;
    cut.row_tasks = (int)((m + cut.rows - 1) / cut.rows);
    cut.cols = cols;
    if (chunks % threads) {
        int64_t groups = (4 * threads + chunks - 1) / chunks;

        cut.cols = (cols + groups - 1) / groups;
    }
    return cut;
}

hone_mat hone_mat_as_f32(const hone_kernels *k, const hone_mat *x, float *tmp)
{
    hone_mat m = *x;
    int64_t r;

    if (x->dtype == HONE_F32)
        return m;
    for (r = 0; r < x->rows; r++)
        k->to_f32(tmp + r * x->cols, hone_mat_row(x, r), x->cols);
    return hone_mat_make(tmp, HONE_F32, x->rows, x->cols);
}

#define FEW_BLOCK 1024 /* values of a stored row that stand in L1 */

void hone_few_dots(const hone_kernels *k, float *y, const hone_weight *w, int64_t r, bool round,
                   const hone_mat *x, float *rows)
{
    const char *src = hone_weight_row(w, r);
    int64_t c, n;
    float part[HONE_PRODUCT_FEW];
    int j;

    if (x->rows == 1 && k->dot_stored[w->dtype] && (!round || w->dtype == HONE_BF16)) {
        y[0] = k->dot_stored[w->dtype](src, x->data, w->cols);
        return;
    }
    if (x->rows == 1 && hone_dtype_table(w->dtype) && !round) {
        y[0] = hone_dot4_weight(k, w, r * w->cols, x->data, w->cols);
        return;
    }
    for (c = 0; c < w->cols; c += n) {
        const float *v = rows;

        n = HONE_MIN(FEW_BLOCK, w->cols - c);
        if (w->dtype == HONE_F32 && !round && (uintptr_t)src % sizeof(float) == 0) {
            v = (const float *)(const void *)src + c;
        } else {
            hone_expand_weight(k, rows, w, r * w->cols + c, n);
            if (round && w->dtype != HONE_BF16)
                k->scale_round(rows, n, 1, true);
        }
        k->dots(c == 0 ? y : part, v, (const float *)x->data + c, x->ld, (int)x->rows, n);
        for (j = 0; c > 0 && j < x->rows; j++)
            y[j] += part[j];
    }
}
