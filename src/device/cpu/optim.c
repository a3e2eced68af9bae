/* Optimisers beside AdamW: AdamW with moments of one byte, Adafactor, SGD. Formulas stand at their declarations.
 *
 * A code of the dynamic map is found without a search: a table over the upper half of the value's bits gives the code of
 * the lowest value with those bits, and since the map has at most two midpoints in such a cell, two comparisons with
 * midpoints make it exact. Sums (Adafactor's means) are over fixed parts, added in order, so that bits do not depend on
 * the threads. */
#include <math.h>
#include <string.h>

#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"
#include "device/cpu/optim.h"

#define BLOCK HONE_ADAMW8_BLOCK
#define ELEMS (1 << 15) /* elements of a task */
#define PARTS 32        /* partial sums of Adafactor */

/* ---- AdamW with moments of one byte -------------------------------------------------------------------------------- */

/* create_dynamic_map of bitsandbytes: for i = 0..6, the means of neighbours of linspace(0.1, 1, n + 1), times 10^(i - 6), of
 * both signs when signed; n = 2^i, or 2^(i + 1) unsigned; and 0 and 1. (Its last bit differs from machine to machine.) */
void hone_dynamic_map(float map[256], bool is_signed)
{
    int i, k, n = 0;

    for (i = 0; i < 7; i++) {
        const int means = 1 << (is_signed ? i : i + 1);

        for (k = 0; k < means; k++) {
            const float value = (float)(pow(10, i - 6) * (0.1 + 0.9 * (k + 0.5) / means));

            map[n++] = value;
            if (is_signed)
                map[n++] = -value;
        }
    }
    map[n++] = 0;
    map[n++] = 1;
    for (i = 1; i < n; i++) { /* insertion: nearly sorted runs, once */
        const float v = map[i];

        for (k = i; k > 0 && map[k - 1] > v; k--)
            map[k] = map[k - 1];
        map[k] = v;
    }
}

static void code_map_make(hone_code_map *c, const float *value, int n)
{
    int i, code = 0;

    memcpy(c->value, value, (size_t)n * sizeof *value);
    c->n = n;
    for (i = 0; i + 1 < n; i++)
        c->middle[i] = (value[i] + value[i + 1]) * 0.5f;
    for (; i < 257; i++)
        c->middle[i] = INFINITY;
    for (i = 0; i < HONE_CELLS; i++) {
        uint32_t bits = (uint32_t)i << HONE_CELL_SHIFT;
        float x;

        memcpy(&x, &bits, sizeof x);
        while (x > c->middle[code]) /* false for NaN */
            code++;
        c->first[i] = (uint8_t)code;
    }
}

/* The nearest value to x in 0..1; on a midpoint the lower one. */
static inline int code_of(const hone_code_map *c, float x)
{
    uint32_t bits;
    int code;

    memcpy(&bits, &x, sizeof bits);
    code = c->first[bits >> HONE_CELL_SHIFT];
    code += x > c->middle[code];
    code += x > c->middle[code];
    return code;
}

static void adamw8_block(const hone_adamw8_job *j, size_t block)
{
    const hone_adamw8 *a = j->a;
    const hone_adamw8_maps_of *maps = j->maps;
    const size_t from = block * BLOCK, n = HONE_MIN((size_t)BLOCK, a->n - from);
    const float old_m = a->m_max[block], old_v = a->v_max[block];
    float m[BLOCK], v[BLOCK], m_max = 0, v_max = 0, scale;
    size_t i;

    for (i = 0; i < n; i++) {
        float g = a->g[from + i] * j->clip;

        if (!isfinite(g)) {
            m[i] = v[i] = 0;
            continue;
        }
        m[i] = j->b1 * (maps->of_code[a->m[from + i]] * old_m) + j->c1 * g;
        v[i] = j->b2 * (maps->v.value[a->v[from + i]] * old_v) + j->c2 * (g * g);
        a->p[from + i] = a->p[from + i] * j->decay - j->step * (m[i] / (sqrtf(v[i]) + j->eps));
        m_max = fmaxf(m_max, fabsf(m[i]));
        v_max = fmaxf(v_max, v[i]);
    }
    memset(a->g + from, 0, n * sizeof *a->g);
    a->m_max[block] = m_max;
    a->v_max[block] = v_max;
    for (i = 0; i < n; i++) {
        scale = m_max > 0 ? fminf(fabsf(m[i]) / m_max, 1) : 0;
        /* the map has no -1, so the magnitudes of negative values end one earlier */
        a->m[from + i] = m[i] < 0 ? (uint8_t)(maps->zero - HONE_MIN(code_of(&maps->m, scale), maps->negative))
                                  : (uint8_t)(maps->zero + code_of(&maps->m, scale));
        a->v[from + i] = (uint8_t)code_of(&maps->v, v_max > 0 ? fminf(v[i] / v_max, 1) : 0);
    }
}

static void adamw8_task(void *ctx, int task, int thread)
{
    const hone_adamw8_job *j = ctx;
    size_t block = (size_t)task * (ELEMS / BLOCK),
           end = HONE_MIN(block + ELEMS / BLOCK, (j->a->n + BLOCK - 1) / BLOCK);

    (void)thread;
    for (; block < end; block++)
        if (j->whole_block && (block + 1) * BLOCK <= j->a->n)
            j->whole_block(j, block);
        else
            adamw8_block(j, block);
}

size_t hone_adamw8_maps_size(void)
{
    return sizeof(hone_adamw8_maps_of);
}

void hone_adamw8_maps(void *out)
{
    hone_adamw8_maps_of *maps = out;
    float map[256];

    hone_dynamic_map(map, false);
    code_map_make(&maps->v, map, 256);
    hone_dynamic_map(maps->of_code, true);
    for (maps->zero = 0; maps->of_code[maps->zero] < 0; maps->zero++)
        ;
    maps->negative = maps->zero;
    code_map_make(&maps->m, maps->of_code + maps->zero, 256 - maps->zero);
}

int hone_cpu_adamw8_step(hone_device *dev, const hone_adamw8 *a, hone_error *err)
{
    const double t = (double)a->t, root = sqrt(1.0 - pow(a->beta2, t));
    hone_adamw8_job j = {a,
                         a->maps,
                         (float)a->beta1,
                         (float)(1.0 - a->beta1),
                         (float)a->beta2,
                         (float)(1.0 - a->beta2),
                         (float)(1.0 - a->lr * a->weight_decay),
                         (float)a->clip,
                         (float)(a->lr * root / (1.0 - pow(a->beta1, t))),
                         (float)(a->eps * root),
                         dev->kernels ? dev->kernels->adamw8_block : NULL};

    (void)err;
    hone_pool_run(dev->pool, (int)((a->n + ELEMS - 1) / ELEMS), adamw8_task, &j);
    return 0;
}

/* ---- Adafactor -------------------------------------------------------------------------------------------------------- */

#define EPS 1e-30f

struct adafactor_job {
    const hone_adafactor *a;
    float b, c, clip, row_mean, lr, decay;
    float *col_part;  /* [PARTS, cols] */
    const float *col; /* [cols] (col_j)^-1/2, in place of the first part; 1 for a vector */
    double square[PARTS];
    int64_t rows; /* of a part, or values of one of a vector */
    int parts;
};

#define LANES 8 /* sums of a row that are added at its end: a fixed order that a vector unit can follow */

static double sum_lanes(const double lane[LANES])
{
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* Rows of a part: means along them, and the part's sums along columns. */
static void adafactor_means(void *ctx, int task, int thread)
{
    struct adafactor_job *j = ctx;
    const hone_adafactor *a = j->a;
    const int64_t r1 = HONE_MIN((task + 1) * j->rows, a->rows), n = a->cols;
    const float clip = j->clip;
    float *restrict sum = j->col_part + task * n;
    int64_t r, i;

    (void)thread;
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (r = task * j->rows; r < r1; r++) {
        const float *restrict g = a->g + r * n;
        double lane[LANES] = {0};
        int e;

        for (i = 0; i + LANES <= n; i += LANES)
            for (e = 0; e < LANES; e++) {
                const float d = g[i + e] * clip, u = d * d + EPS;

                lane[e] += (double)u;
                sum[i + e] += u;
            }
        for (e = 0; i < n; i++, e++) {
            const float d = g[i] * clip, u = d * d + EPS;

            lane[e] += (double)u;
            sum[i] += u;
        }
        a->row[r] = j->b * a->row[r] + j->c * (float)(sum_lanes(lane) / (double)n);
    }
}

/* The factor of a row of a matrix, or of a value of a vector. */
static inline float adafactor_row(const struct adafactor_job *j, int64_t r)
{
    return j->a->cols ? 1.0f / sqrtf(j->a->row[r] / j->row_mean) : 1.0f / sqrtf(j->a->row[r]);
}

static void adafactor_square(void *ctx, int task, int thread)
{
    struct adafactor_job *j = ctx;
    const hone_adafactor *a = j->a;
    const int64_t r1 = HONE_MIN((task + 1) * j->rows, a->rows), n = a->cols ? a->cols : 1;
    const float clip = j->clip;
    double lane[LANES] = {0};
    int64_t r, i;
    int e;

    (void)thread;
    for (r = task * j->rows; r < r1; r++) {
        const float *g = a->g + r * n, by = adafactor_row(j, r);

        for (i = 0; i + LANES <= n; i += LANES)
            for (e = 0; e < LANES; e++) {
                const float u = by * j->col[i + e] * (g[i + e] * clip);

                lane[e] += (double)u * (double)u;
            }
        for (e = 0; i < n; i++, e++) {
            const float u = by * j->col[i] * (g[i] * clip);

            lane[e] += (double)u * (double)u;
        }
    }
    j->square[task] = sum_lanes(lane);
}

static void adafactor_apply(void *ctx, int task, int thread)
{
    struct adafactor_job *j = ctx;
    const hone_adafactor *a = j->a;
    const int64_t r1 = HONE_MIN((task + 1) * j->rows, a->rows), n = a->cols ? a->cols : 1;
    const float clip = j->clip, decay = j->decay, lr = j->lr;
    const float *restrict col = j->col;
    int64_t r, i;

    (void)thread;
    for (r = task * j->rows; r < r1; r++) {
        float *restrict g = a->g + r * n, *restrict p = a->p + r * n;
        const float by = adafactor_row(j, r);

        for (i = 0; i < n; i++) {
            p[i] = p[i] * decay - lr * (by * col[i] * (g[i] * clip));
            g[i] = 0;
        }
    }
}

size_t hone_adafactor_scratch(int64_t rows, int64_t cols)
{
    (void)rows;
    return PARTS * (size_t)cols;
}

int hone_cpu_adafactor_step(hone_device *dev, const hone_adafactor *a, hone_error *err)
{
    const double b = 1.0 - pow((double)a->t, -0.8),
                 values = (double)a->rows * (double)(a->cols ? a->cols : 1);
    struct adafactor_job j = {.a = a,
                              .b = (float)b,
                              .c = (float)(1.0 - b),
                              .clip = (float)a->clip,
                              .decay = (float)(1.0 - a->lr * a->weight_decay),
                              .col_part = a->scratch,
                              .rows = (a->rows + PARTS - 1) / PARTS};
    static const float one = 1;
    double mean = 0, square = 0;
    int64_t i;
    int p;

    (void)err;
    j.parts = (int)((a->rows + j.rows - 1) / j.rows);
    if (a->cols) {
        hone_pool_run(dev->pool, j.parts, adafactor_means, &j);
        for (i = 0; i < a->cols; i++) {
            double sum = 0;

            for (p = 0; p < j.parts; p++)
                sum += (double)j.col_part[p * a->cols + i];
            a->col[i] = j.b * a->col[i] + j.c * (float)(sum / (double)a->rows);
            j.col_part[i] = 1.0f / sqrtf(a->col[i]);
        }
        j.col = j.col_part;
        for (i = 0; i < a->rows; i++)
            mean += (double)a->row[i];
        j.row_mean = (float)(mean / (double)a->rows);
    } else {
        j.col = &one;
        for (i = 0; i < a->rows; i++) {
            const float d = a->g[i] * j.clip;

            a->row[i] = j.b * a->row[i] + j.c * (d * d + EPS);
        }
    }
    hone_pool_run(dev->pool, j.parts, adafactor_square, &j);
    for (p = 0; p < j.parts; p++)
        square += j.square[p];
    j.lr = (float)(a->lr / fmax(1.0, sqrt(square / values)));
    hone_pool_run(dev->pool, j.parts, adafactor_apply, &j);
    return 0;
}

/* ---- SGD ---------------------------------------------------------------------------------------------------------------- */

static void sgd_task(void *ctx, int task, int thread)
{
    const hone_sgd *a = ctx;
    const float clip = (float)a->clip, decay = (float)a->weight_decay, lr = (float)a->lr,
                momentum = a->t > 1 ? (float)a->momentum : 0;
    size_t i, end = HONE_MIN(((size_t)task + 1) * ELEMS, a->n);

    (void)thread;
    for (i = (size_t)task * ELEMS; i < end; i++) {
        float g = a->g[i] * clip + decay * a->p[i];

        if (a->m)
            g = a->m[i] = momentum * a->m[i] + g;
        a->p[i] -= lr * g;
        a->g[i] = 0;
    }
}

int hone_cpu_sgd_step(hone_device *dev, const hone_sgd *a, hone_error *err)
{
    hone_sgd copy = *a;

    (void)err;
    hone_pool_run(dev->pool, (int)((a->n + ELEMS - 1) / ELEMS), sgd_task, &copy);
    return 0;
}
