/* The bf16 product on AVX512-BF16: the same 14 x 32 tile, each step two values of K by VDPBF16PS, twice the rate of f32.
 * Panels of B hold pairs of rows, [k/2][32][2]; a pair of A is one 32-bit broadcast from where it lies. Weights are
 * rounded to bf16 when a panel is made; sums are f32. */
#include "device/cpu/kernels.h"
#include "device/cpu/vec512.h"

#include "base/dtype.h"

#define MR 14
#define NR 32

INLINE512 uint32_t pair_at(const char *p)
{
    uint32_t pair;

    memcpy(&pair, p, 4);
    return pair;
}

/* The last value of an odd K, beside a zero: what lies behind it is not ours. */
INLINE512 uint32_t half_pair_at(const char *p)
{
    uint16_t one;

    memcpy(&one, p, 2);
    return one;
}

INLINE512 void tile_bf16(const int rows, const bool some, float *c, int64_t ldc, const char *p0, int64_t ra,
                         const float *b, int n, int64_t k, bool add)
{
    const char *p3 = p0 + 3 * ra, *p5 = p0 + 5 * ra, *p10 = p0 + 10 * ra;
    v512_mask m0 = v512_first(n), m1 = v512_first(n - 16);
    int64_t p;

#define BEGIN(i, row) v512 lo##i = v512_zero(), hi##i = v512_zero();
    ROWS14(BEGIN)
#undef BEGIN
#define STEP(i, row)                                                                                         \
    if (i < rows) {                                                                                          \
        uint32_t pair = PAIR(row);                                                                           \
        lo##i = v512_dot(lo##i, pair, b0);                                                                   \
        hi##i = v512_dot(hi##i, pair, b1);                                                                   \
    }
#define PAIR pair_at
    for (p = 0; p + 2 <= k; p += 2) {
        v512 b0 = v512_load(b), b1 = v512_load(b + 16);

        ROWS14(STEP)
        b += NR;
        p0 += 4;
        if (rows > 3)
            p3 += 4;
        if (rows > 5)
            p5 += 4;
        if (rows > 10)
            p10 += 4;
    }
#undef PAIR
#define PAIR half_pair_at
    if (p < k) {
        v512 b0 = v512_load(b), b1 = v512_load(b + 16);

        ROWS14(STEP)
    }
#undef PAIR
#undef STEP
#define END(i, row)                                                                                          \
    if (i < rows) {                                                                                          \
        v512_put(c + i * ldc, lo##i, m0, some, add);                                                         \
        v512_put(c + i * ldc + 16, hi##i, m1, some, add);                                                    \
    }
    ROWS14(END)
#undef END
}

#define TILE_BF16(rows, some)                                                                                \
    case rows:                                                                                               \
        tile_bf16(rows, some, c, ldc, (const char *)a, ra * 2, (const float *)(const void *)b, n, k, add);   \
        break
#define TILES_BF16(some)                                                                                     \
    switch (rows) {                                                                                          \
        TILE_BF16(1, some);                                                                                  \
        TILE_BF16(2, some);                                                                                  \
        TILE_BF16(3, some);                                                                                  \
        TILE_BF16(4, some);                                                                                  \
        TILE_BF16(5, some);                                                                                  \
        TILE_BF16(6, some);                                                                                  \
        TILE_BF16(7, some);                                                                                  \
        TILE_BF16(8, some);                                                                                  \
        TILE_BF16(9, some);                                                                                  \
        TILE_BF16(10, some);                                                                                 \
        TILE_BF16(11, some);                                                                                 \
        TILE_BF16(12, some);                                                                                 \
        TILE_BF16(13, some);                                                                                 \
        TILE_BF16(14, some);                                                                                 \
    }

static void gemm_bf16(float *c, int64_t ldc, const uint16_t *a, int64_t ra, const uint16_t *b, int m, int n,
                      int64_t k, bool add)
{
    int left = (m + MR - 1) / MR, rows;

    for (; m > 0; m -= rows, left--) {
        rows = (m + left - 1) / left;
        if (n == NR) {
            TILES_BF16(false)
        } else {
            TILES_BF16(true)
        }
        a += rows * ra;
        c += rows * ldc;
    }
}

/* Rows p of n <= 32 columns: [k/2][32][2]. */
static void pairs(uint16_t *panel, const float *rows, int64_t ld, int n, int64_t k)
{
    int64_t p;
    int i;

    for (p = 0; p < (k + 1) / 2; p++) {
        const float *even = rows + 2 * p * ld, *odd = 2 * p + 1 < k ? even + ld : NULL;
        uint16_t *to = panel + p * NR * 2;

        for (i = 0; i < n; i++) {
            to[2 * i] = hone_f32_to_bf16(even[i]);
            to[2 * i + 1] = odd ? hone_f32_to_bf16(odd[i]) : 0;
        }
        memset(to + 2 * n, 0, sizeof *to * (size_t)(2 * (NR - n)));
    }
}

/* Rows i of k values: a pair is two neighbours of a row. */
#define ROUND_COLS 256

static void pairs_transposed(uint16_t *panel, const float *rows, int64_t ld, int m, int64_t k)
{
    float block[NR * ROUND_COLS / 2]; /* pairs, in the disguise of f32, for the transpose of 32-bit words */
    int64_t p, n;
    int i;

    for (p = 0; p < k; p += n) {
        n = k - p < ROUND_COLS ? k - p : ROUND_COLS;
        for (i = 0; i < m; i++) {
            uint16_t *to = (uint16_t *)(block + i * (ROUND_COLS / 2));
            const float *from = rows + i * ld + p;
            int64_t e;

            for (e = 0; e < n; e++)
                to[e] = hone_f32_to_bf16(from[e]);
            if (n % 2)
                to[n] = 0;
        }
        hone_transpose_avx2((float *)(void *)(panel + p * NR), NR, block, ROUND_COLS / 2, m, (n + 1) / 2);
    }
}

#define PEAK_DOTS 24

static double peak_bf16(int64_t rounds, float *sink)
{
    v512 s[PEAK_DOTS], b = v512_set(0.0f);
    int64_t i;
    int j;

#pragma GCC unroll 24
    for (j = 0; j < PEAK_DOTS; j++)
        s[j] = v512_set((float)j);
    for (i = 0; i < rounds; i++) {
#pragma GCC unroll 24
        for (j = 0; j < PEAK_DOTS; j++)
            s[j] = v512_dot(s[j], 0x3f803f80u, b);
    }
#pragma GCC unroll 24
    for (j = 1; j < PEAK_DOTS; j++)
        s[0] = v512_add(s[0], s[j]);
    *sink = v512_sum(s[0]);
    return PEAK_DOTS * 16 * 4;
}

void hone_kernels_avx512bf16(hone_kernels *k)
{
    k->kc_bf16 = 384;
    k->gemm_bf16 = gemm_bf16;
    k->pairs = pairs;
    k->pairs_transposed = pairs_transposed;
    k->peak_bf16 = peak_bf16;
}

#undef MR
#undef NR
