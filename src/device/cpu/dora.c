/* DoRA beside the projections: the norms that an optimiser step leaves, and the first pass of the backward.
 *
 * The norm of a row is taken of the row itself, W_o + scale B_o A, a block of rows and columns at a time: W is expanded
 * once, the factors' product is a small matrix product on top. That costs as much as the cross term of the expanded square
 * would, and nothing cancels. Backward needs the gradient of the sum before its gain, in three places; so it is made once,
 * over the sums that the forward pass has kept. */
#include <math.h>

#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"

#define ROWS 32  /* rows of a norm task */
#define COLS 256 /* columns of a block: a whole number of blocks of every format */
#define TURN 64  /* columns of a task of the backward pass */

struct norm_job {
    const hone_kernels *k; /* NULL: plain C */
    float *norm;
    const hone_weight *w;
    const hone_lora *l;
};

/* c[m, n] = B[o.., :] A[:, i..]; rows of c are COLS apart. */
static void factors(const struct norm_job *j, float *c, int64_t o, int m, int64_t i, int n)
{
    const hone_lora *l = j->l;
    const float *b = l->b + o * l->r, *a = l->a + i;
    int q, x, y, r;

    if (j->k) {
        for (q = 0; q < n; q += j->k->nr)
            j->k->gemm(c + q, COLS, b, l->r, 1, a + q, j->w->cols, false, m, HONE_MIN(j->k->nr, n - q), l->r,
                       false);
        return;
    }
    for (y = 0; y < m; y++)
        for (x = 0; x < n; x++) {
            float s = 0;

            for (r = 0; r < l->r; r++)
                s += b[y * l->r + r] * a[(int64_t)r * j->w->cols + x];
            c[y * COLS + x] = s;
        }
}

static void norm_task(void *ctx, int task, int thread)
{
    const struct norm_job *j = ctx;
    const hone_weight *w = j->w;
    const int64_t o0 = (int64_t)task * ROWS;
    const int m = (int)HONE_MIN(ROWS, w->rows - o0);
    double sum[ROWS] = {0};
    float c[ROWS * COLS], row[COLS];
    int64_t i0;
    int y, x;

    (void)thread;
    for (i0 = 0; i0 < w->cols; i0 += COLS) {
        const int n = (int)HONE_MIN(COLS, w->cols - i0);

        factors(j, c, o0, m, i0, n);
        for (y = 0; y < m; y++) {
            const int64_t first = (o0 + y) * w->cols + i0;

            if (j->k)
                hone_expand_weight(j->k, row, w, first, n);
            else
                hone_weight_values(row, w, first, n);
            for (x = 0; x < n; x++)
                row[x] += j->l->scale * c[y * COLS + x];
            if (j->k)
                sum[y] += (double)j->k->dot(row, row, n);
            for (x = 0; !j->k && x < n; x++)
                sum[y] += (double)row[x] * (double)row[x];
        }
    }
    for (y = 0; y < m; y++)
        j->norm[o0 + y] = (float)sqrt(sum[y]);
}

int hone_cpu_dora_norms(hone_device *dev, float *norm, const hone_weight *w, const hone_lora *l,
                        hone_error *err)
{
    struct norm_job j = {dev->kernels, norm, w, l};

    (void)err;
    hone_pool_run(dev->pool, (w->rows + ROWS - 1) / ROWS, norm_task, &j);
    return 0;
}

/* ---- backward ------------------------------------------------------------------------------------------------------- */

struct turn_job {
    const hone_linear *g;
    int p;
};

/* TURN columns of one part, over all tokens in order. */
static void turn_task(void *ctx, int task, int thread)
{
    const struct turn_job *j = ctx;
    const struct hone_linear_part *part = &j->g->part[j->p];
    const hone_lora *l = part->lora;
    const int64_t c = (int64_t)task * TURN, n = HONE_MIN(TURN, part->w->rows - c);
    float gain[TURN], sum[TURN] = {0}, kept[TURN], above[TURN];
    int64_t t, i;

    (void)thread;
    for (i = 0; i < n; i++)
        gain[i] = hone_dora_gain(l, c + i) - (l->dropout > 0 ? 1.0f : 0.0f);
    for (t = 0; t < j->g->x.rows; t++) {
        const float *z = hone_row_get(&part->z, t, c, n, kept), *dy = hone_row_get(&part->dy, t, c, n, above);
        float dz[TURN];

        for (i = 0; i < n; i++) {
            sum[i] += dy[i] * z[i];
            dz[i] = gain[i] * dy[i];
        }
        hone_row_put(&part->z, t, c, n, dz);
    }
    for (i = 0; i < n && l->dmagnitude; i++)
        l->dmagnitude[c + i] += l->norm[c + i] > 0 ? sum[i] / l->norm[c + i] : 0;
}

void hone_cpu_dora_turn(hone_device *dev, const hone_linear *g)
{
    struct turn_job j = {.g = g};

    for (j.p = 0; j.p < g->n_parts; j.p++)
        if (hone_is_dora(g->part[j.p].lora))
            hone_pool_run(dev->pool, (g->part[j.p].w->rows + TURN - 1) / TURN, turn_task, &j);
}
