/* Linear projections with adapters, in plain C: the oracle of the blocked product.
 *
 * Forward is split over rows of the weights (each row is expanded once and met by every token), the input's gradient
 * over tokens, the adapters' gradients over columns. Every output element is summed by one task in a fixed order. */
#include "device/cpu/cpu.h"

#define ROWS 16  /* weight rows of a forward task */
#define TOKENS 8 /* tokens of a backward task */
#define COLS 64  /* columns of a gradient task */

struct job {
    const hone_linear *g;
    hone_device *dev;
    float *du[HONE_MAX_PARTS]; /* [N, r] */
};

hone_need hone_ref_need_linear(int64_t n, int64_t in, int rank, int parts)
{
    hone_need need = {hone_align((size_t)(in * (2 * TOKENS + 1)) * sizeof(float)),
                      hone_align((size_t)(n * rank) * sizeof(float)) * (size_t)parts};

    return need;
}

static hone_need need_of(const hone_linear *g)
{
    int rank = 0, p;

    for (p = 0; p < g->n_parts; p++)
        if (g->part[p].lora)
            rank = HONE_MAX(rank, g->part[p].lora->r);
    return hone_ref_need_linear(g->x.rows, g->x.cols, rank, g->n_parts);
}

static float dot(const void *x, hone_dtype t, const float *w, int64_t n)
{
    float s = 0;
    int64_t i;

    if (t == HONE_F32)
        for (i = 0; i < n; i++)
            s += ((const float *)x)[i] * w[i];
    else
        for (i = 0; i < n; i++)
            s += hone_bf16_to_f32(((const uint16_t *)x)[i]) * w[i];
    return s;
}

/* drop(x) of n elements of token t from column c on. */
static void drop_row(float *out, const hone_linear *g, const hone_lora *l, int64_t t, int64_t c, int64_t n)
{
    const void *x = hone_mat_row(&g->x, t);
    const uint64_t index = hone_dropout_index(t, g->x.cols) + (uint64_t)c;
    const float keep = hone_dropout_scale(l->dropout);
    int64_t i;

    for (i = 0; i < n; i++) {
        out[i] = hone_elem_get(x, g->x.dtype, c + i);
        if (l->dropout > 0)
            out[i] =
                hone_dropout_keep(l->seed, l->stream, index + (uint64_t)i, l->dropout) ? out[i] * keep : 0.0f;
    }
}

static void u_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    float *x = hone_scratch(j->dev, thread);
    int p, r;

    for (p = 0; p < g->n_parts; p++) {
        const hone_lora *l = g->part[p].lora;

        if (!l)
            continue;
        drop_row(x, g, l, task, 0, g->x.cols);
        for (r = 0; r < l->r; r++)
            g->part[p].u[(int64_t)task * l->r + r] =
                dot(x, HONE_F32, l->a + (int64_t)r * g->x.cols, g->x.cols);
    }
}

static void fwd_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    float *row = hone_scratch(j->dev, thread);
    const struct hone_linear_part *part;
    int64_t o, t;
    int p = 0, blocks;

    while (task >= (blocks = (g->part[p].w->rows + ROWS - 1) / ROWS)) {
        task -= blocks;
        p++;
    }
    part = &g->part[p];
    for (o = (int64_t)task * ROWS; o < HONE_MIN((task + 1) * ROWS, part->w->rows); o++) {
        hone_ref_weight_row(row, part->w, o, g->x.dtype);
        for (t = 0; t < g->x.rows; t++) {
            const hone_lora *l = part->lora;
            float y = dot(hone_mat_row(&g->x, t), g->x.dtype, row, g->x.cols), z = y, apart = 0;

            if (hone_is_dora(l) && l->dropout > 0) { /* apart = (x - drop(x)) W^T */
                drop_row(row + g->x.cols, g, l, t, 0, g->x.cols);
                z = dot(row + g->x.cols, HONE_F32, row, g->x.cols);
                apart = y - z;
            }
            if (l)
                z += l->scale * dot(part->u + t * l->r, HONE_F32, l->b + o * l->r, l->r);
            if (hone_is_dora(l) && part->z.data)
                hone_elem_put(hone_mat_row(&part->z, t), part->z.dtype, o, z);
            y = hone_is_dora(l) ? apart + hone_dora_gain(l, o) * z : z;
            if (part->w->bias)
                y += part->w->bias[o];
            hone_elem_put(hone_mat_row(&part->y, t), part->y.dtype, o, y);
        }
    }
}

int hone_ref_linear_fwd(hone_device *dev, const hone_linear *g, hone_error *err)
{
    struct job j = {g, dev, {NULL}};
    int rc = hone_cpu_require(dev, need_of(g), "linear_fwd", err), p, tasks = 0;
    bool lora = false;

    if (rc)
        return rc;
    for (p = 0; p < g->n_parts; p++) {
        tasks += (g->part[p].w->rows + ROWS - 1) / ROWS;
        lora |= g->part[p].lora != NULL;
    }
    if (lora)
        hone_pool_run(dev->pool, (int)g->x.rows, u_task, &j);
    hone_pool_run(dev->pool, tasks, fwd_task, &j);
    return 0;
}

/* The gradient of a part's sum before the gain of DoRA, of token t and output o; hone_cpu_dora_turn has been there. */
static float inner(const struct hone_linear_part *part, int64_t t, int64_t o)
{
    const float dy = hone_elem_get(hone_mat_row(&part->dy, t), part->dy.dtype, o);

    if (!hone_is_dora(part->lora))
        return dy;
    return hone_elem_get(hone_mat_row(&part->z, t), part->z.dtype, o) + (part->lora->dropout > 0 ? dy : 0);
}

/* du of one token: scale dy B. */
static void du_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    int64_t o;
    int p, r;

    (void)thread;
    for (p = 0; p < g->n_parts; p++) {
        const hone_lora *l = g->part[p].lora;
        float *du;

        if (!l)
            continue;
        du = j->du[p] + (int64_t)task * l->r;
        memset(du, 0, (size_t)l->r * sizeof *du);
        for (o = 0; o < g->part[p].w->rows; o++) {
            float d = l->scale * inner(&g->part[p], task, o);

            for (r = 0; r < l->r; r++)
                du[r] += d * l->b[o * l->r + r];
        }
    }
}

static void dx_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    int64_t in = g->x.cols, t0 = (int64_t)task * TOKENS, t1 = HONE_MIN(t0 + TOKENS, g->x.rows), t, i, o;
    float *row = hone_scratch(j->dev, thread), *acc = row + in, *dropped = acc + TOKENS * in;
    int p, r;

    memset(acc, 0, (size_t)((t1 - t0) * in) * sizeof *acc);
    for (p = 0; p < g->n_parts; p++) {
        const struct hone_linear_part *part = &g->part[p];
        const hone_lora *l = part->lora;
        const bool twice = hone_is_dora(l) && l->dropout > 0;

        memset(dropped, 0, (size_t)((t1 - t0) * in) * sizeof *dropped);
        for (o = 0; o < part->w->rows; o++) {
            hone_ref_weight_row(row, part->w, o, g->x.dtype);
            for (t = t0; t < t1; t++) {
                float *a = acc + (t - t0) * in, *b = dropped + (t - t0) * in,
                      d = twice ? hone_elem_get(hone_mat_row(&part->dy, t), part->dy.dtype, o)
                                : inner(part, t, o);

                for (i = 0; i < in; i++)
                    a[i] += d * row[i];
                d = twice ? hone_elem_get(hone_mat_row(&part->z, t), part->z.dtype, o) : 0;
                for (i = 0; twice && i < in; i++)
                    b[i] += d * row[i];
            }
        }
        if (!l)
            continue;
        for (t = t0; t < t1; t++) {
            const uint64_t index = hone_dropout_index(t, in);
            float *a = acc + (t - t0) * in, keep = hone_dropout_scale(l->dropout);

            memcpy(row, dropped + (t - t0) * in, (size_t)in * sizeof *row);
            for (r = 0; r < l->r; r++)
                for (i = 0; i < in; i++)
                    row[i] += j->du[p][t * l->r + r] * l->a[r * in + i];
            for (i = 0; i < in; i++) {
                if (l->dropout == 0)
                    a[i] += row[i];
                else if (hone_dropout_keep(l->seed, l->stream, index + (uint64_t)i, l->dropout))
                    a[i] += row[i] * keep;
            }
        }
    }
    for (t = t0; t < t1; t++) {
        float *a = acc + (t - t0) * in;
        void *dx = hone_mat_row(&g->dx, t);

        if (g->add_dx)
            for (i = 0; i < in; i++)
                a[i] += hone_elem_get(dx, g->dx.dtype, i);
        hone_row_put(&g->dx, t, 0, in, a);
    }
}

/* dA of COLS columns: dA += du^T drop(x). */
static void da_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    int blocks = (int)((g->x.cols + COLS - 1) / COLS), p = task / blocks, r;
    const hone_lora *l = g->part[p].lora;
    int64_t c = (int64_t)(task % blocks) * COLS, n = HONE_MIN(COLS, g->x.cols - c), t, i;
    float x[COLS];

    (void)thread;
    if (!l || !l->da)
        return;
    for (t = 0; t < g->x.rows; t++) {
        drop_row(x, g, l, t, c, n);
        for (r = 0; r < l->r; r++)
            for (i = 0; i < n; i++)
                l->da[r * g->x.cols + c + i] += j->du[p][t * l->r + r] * x[i];
    }
}

/* dB of COLS rows: dB += scale dy^T u. */
static void db_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    int64_t t, o, r;
    int p = 0, blocks;
    const struct hone_linear_part *part;
    const hone_lora *l;

    (void)thread;
    while (task >= (blocks = (g->part[p].w->rows + COLS - 1) / COLS)) {
        task -= blocks;
        p++;
    }
    part = &g->part[p];
    l = part->lora;
    if (!l || !l->db)
        return;
    for (t = 0; t < g->x.rows; t++)
        for (o = (int64_t)task * COLS; o < HONE_MIN((task + 1) * COLS, part->w->rows); o++) {
            float d = l->scale * inner(part, t, o);

            for (r = 0; r < l->r; r++)
                l->db[o * l->r + r] += d * part->u[t * l->r + r];
        }
}

/* dW and dbias of ROWS rows: dW += dy^T x, dbias += dy summed over the tokens. */
static void dw_task(void *ctx, int task, int thread)
{
    struct job *j = ctx;
    const hone_linear *g = j->g;
    const struct hone_linear_part *part;
    int64_t t, o, i;
    int p = 0, blocks;

    (void)thread;
    while (task >= (blocks = (g->part[p].w->rows + ROWS - 1) / ROWS)) {
        task -= blocks;
        p++;
    }
    part = &g->part[p];
    for (o = (int64_t)task * ROWS; o < HONE_MIN((task + 1) * ROWS, part->w->rows); o++)
        for (t = 0; t < g->x.rows; t++) {
            float d = hone_elem_get(hone_mat_row(&part->dy, t), part->dy.dtype, o);
            const void *x = hone_mat_row(&g->x, t);

            if (part->dbias)
                part->dbias[o] += d;
            for (i = 0; part->dw && i < g->x.cols; i++)
                part->dw[o * g->x.cols + i] += d * hone_elem_get(x, g->x.dtype, i);
        }
}

int hone_ref_linear_bwd(hone_device *dev, const hone_linear *g, hone_error *err)
{
    struct job j = {g, dev, {NULL}};
    hone_need need = need_of(g);
    int rc = hone_cpu_require(dev, need, "linear_bwd", err), p, tasks = 0, row_tasks = 0;
    bool lora = false, weights = false;

    if (rc)
        return rc;
    for (p = 0; p < g->n_parts; p++) {
        j.du[p] = (float *)((char *)hone_shared(dev) + need.shared / (size_t)g->n_parts * (size_t)p);
        tasks += (g->part[p].w->rows + COLS - 1) / COLS;
        row_tasks += (g->part[p].w->rows + ROWS - 1) / ROWS;
        lora |= g->part[p].lora != NULL;
        weights |= g->part[p].dw || g->part[p].dbias;
    }
    if (weights)
        hone_pool_run(dev->pool, row_tasks, dw_task, &j);
    if (lora) {
        hone_cpu_dora_turn(dev, g);
        hone_pool_run(dev->pool, (int)g->x.rows, du_task, &j);
        hone_pool_run(dev->pool, (int)((g->x.cols + COLS - 1) / COLS) * g->n_parts, da_task, &j);
        hone_pool_run(dev->pool, tasks, db_task, &j);
    }
    if (g->dx.data)
        hone_pool_run(dev->pool, (int)((g->x.rows + TOKENS - 1) / TOKENS), dx_task, &j);
    return 0;
}
