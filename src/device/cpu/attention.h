/* What the two directions of attention share: tiles in scratch, and their products.
 *
 * Rows of a tile of queries stand head by head, so that one tile of keys serves all heads that share a KV head. Rows in
 * scratch are an odd number of cache lines apart: read by columns, they fall into all sets of the L1 cache. */
#ifndef HONE_DEVICE_ATTENTION_H
#define HONE_DEVICE_ATTENTION_H

#include "device/cpu/product.h"

#define KEYS 128              /* keys of a tile */
#define LD_SCORES (KEYS + 16) /* floats from row to row of a tile of scores */

/* Floats from row to row of a tile of vectors. */
static inline int64_t tile_ld(int d)
{
    return (int64_t)((d + 15) / 16 | 1) * 16;
}

/* Rows of a tile of queries, unless the group is large: what fits the L2 cache with its scores. */
static inline int rows_of_tile(int d)
{
    return HONE_MAX(48, HONE_MIN(192, 16384 / d));
}

static inline int queries_of_tile(int group, int d)
{
    return HONE_MAX(8, HONE_MIN(128, rows_of_tile(d) / group));
}

/* Floats of a tile of panels: KEYS rows rounded up to whole panels. */
static inline size_t panel_floats(int d)
{
    return (size_t)d * (KEYS + HONE_NR_MAX);
}

/* n rows of m from `row` on, columns [c, c + d), as rows of tile_ld(d) floats. */
static inline void copy_tile(const hone_kernels *k, float *to, const hone_mat *m, int64_t row, int64_t n,
                             int64_t c, int d)
{
    int64_t ld = tile_ld(d), i;

    for (i = 0; i < n; i++)
        if (m->dtype == HONE_F32)
            memcpy(to + i * ld, (const float *)hone_mat_row(m, row + i) + c, sizeof *to * (size_t)d);
        else
            k->to_f32(to + i * ld, (const uint16_t *)hone_mat_row(m, row + i) + c, d);
}

static inline void store_row(const hone_kernels *k, const hone_mat *m, int64_t row, int64_t c,
                             const float *from, int d)
{
    if (m->dtype == HONE_F32)
        memcpy((float *)hone_mat_row(m, row) + c, from, sizeof *from * (size_t)d);
    else
        k->to_bf16((uint16_t *)hone_mat_row(m, row) + c, from, d);
}

static inline void clear(float *x, int64_t from, int64_t to)
{
    if (to > from)
        memset(x + from, 0, sizeof *x * (size_t)(to - from));
}

/* Panels of n rows in scratch. */
static inline void make_panels(const hone_kernels *k, float *panels, const float *rows, int n, int d)
{
    int q;

    for (q = 0; q < n; q += k->nr)
        k->transpose(panels + (int64_t)q * d, rows + q * tile_ld(d), tile_ld(d), HONE_MIN(k->nr, n - q), d);
}

/* In what follows a tile of nq queries of each of `group` heads meets a tile of n keys; `ahead` is the number of keys before
 * the first query's own, so that query r sees keys [0, ahead + r] at most. Products leave out most of what no query sees. */
#define TRIM 24 /* rows that are trimmed together */

/* scores[group nq, n] = a[group nq, d] b[n, d]^T, b by way of panels. What a query does not see is left as it was. */
static inline void product_scores(const hone_kernels *k, float *scores, const float *a, int group, int nq,
                                  int ahead, const float *panels, int n, int d)
{
    const int64_t ld = tile_ld(d);
    int q, g;

    for (q = 0; q < n; q += k->nr) {
        int blind = HONE_MAX(0, q - ahead), calls = blind ? group : 1, rows = group * nq / calls - blind;

        for (g = 0; g < calls && rows > 0; g++) {
            int64_t r = (int64_t)g * nq + blind;

            k->gemm(scores + r * LD_SCORES + q, LD_SCORES, a + r * ld, ld, 1, panels + (int64_t)q * d, k->nr,
                    true, rows, HONE_MIN(k->nr, n - q), d, false);
        }
    }
}

/* out[m, d] (+)= a[m, n] b[n, d]; element (i, p) of a at a[i * ra + p * ca], b in scratch. */
static inline void product_straight(const hone_kernels *k, float *out, int64_t ldo, const float *a,
                                    int64_t ra, int64_t ca, int m, const float *b, int n, int d, bool add)
{
    int c;

    for (c = 0; c < d; c += k->nr)
        k->gemm(out + c, ldo, a, ra, ca, b + c, tile_ld(d), false, m, HONE_MIN(k->nr, d - c), n, add);
}

/* out[rows, d] (+)= scores[rows, n] b[n, d] of the queries of one head, or of all heads at once when the first query sees all
 * keys. Where nothing is added, every query sees a key. */
static inline void product_by_keys(const hone_kernels *k, float *out, int64_t ldo, const float *scores,
                                   int rows, int ahead, const float *b, int n, int d, bool add)
{
    int r, m, seen;

    for (r = 0; r < rows; r += m) {
        m = ahead + 1 >= n ? rows : HONE_MIN(TRIM, rows - r);
        seen = HONE_MIN(n, ahead + r + m);
        if (seen > 0)
            product_straight(k, out + r * ldo, ldo, scores + r * LD_SCORES, LD_SCORES, 1, m, b, seen, d, add);
    }
}

/* out[n, d] += scores[group nq, n]^T b[group nq, d]. */
static inline void product_by_queries(const hone_kernels *k, float *out, const float *scores, int group,
                                      int nq, int ahead, const float *b, int n, int d)
{
    const int64_t ld = tile_ld(d);
    int c, m, g;

    for (c = 0; c < n; c += m) {
        int blind = HONE_MAX(0, c - ahead), calls = blind ? group : 1, rows = group * nq / calls - blind;

        m = ahead + 1 >= n ? n : HONE_MIN(TRIM, n - c);
        for (g = 0; g < calls && rows > 0; g++) {
            int64_t r = (int64_t)g * nq + blind;

            product_straight(k, out + c * ld, ld, scores + r * LD_SCORES + c, 1, LD_SCORES, m, b + r * ld,
                             rows, d, true);
        }
    }
}

/* Keys [*from, *to) of the tile [j0, j0 + n) that the query at position `pos` sees. */
static inline void visible(const hone_attention *a, int32_t pos, int32_t j0, int n, int *from, int *to)
{
    int64_t lo = a->window ? (int64_t)pos - a->window + 1 - j0 : 0, hi = (int64_t)pos + 1 - j0;

    *to = (int)HONE_MAX(0, HONE_MIN(n, hi));
    *from = (int)HONE_MAX(0, HONE_MIN(*to, lo));
}

/* Scratch of the backward pass. */
hone_need hone_fast_need_attention_bwd(int64_t n, int n_head, int head_size);

#endif
