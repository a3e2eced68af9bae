/* The f32 product on AVX-512: a register tile of 14 x 32, 28 sums of the 32 registers, two of B, broadcasts of A from
 * memory. Everything else of the set is AVX2's: it is bound by memory. */
#include "device/cpu/kernels.h"
#include "device/cpu/vec512.h"

#define MR 14
#define NR 32

/* rows and some (columns are partial) are constants after inlining; ra and ca count bytes. */
INLINE512 void tile512(const int rows, const bool some_b, const bool some_c, float *c, int64_t ldc,
                       const char *p0, int64_t ra, int64_t ca, const float *b, int64_t ldb, int n, int64_t k,
                       bool add)
{
    const char *p3 = p0 + 3 * ra, *p5 = p0 + 5 * ra, *p10 = p0 + 10 * ra;
    v512_mask m0 = v512_first(n), m1 = v512_first(n - 16);
    int64_t p;

#define BEGIN(i, row) v512 lo##i = v512_zero(), hi##i = v512_zero();
    ROWS14(BEGIN)
#undef BEGIN
    for (p = 0; p < k; p++) {
        v512 b0 = some_b ? v512_load_some(b, m0) : v512_load(b);
        v512 b1 = some_b ? v512_load_some(b + 16, m1) : v512_load(b + 16);

#define STEP(i, row)                                                                                         \
    if (i < rows) {                                                                                          \
        v512 x = v512_set(*(const float *)(const void *)(row));                                              \
        lo##i = v512_fma(x, b0, lo##i);                                                                      \
        hi##i = v512_fma(x, b1, hi##i);                                                                      \
    }
        ROWS14(STEP)
#undef STEP
        b += ldb;
        p0 += ca;
        if (rows > 3)
            p3 += ca;
        if (rows > 5)
            p5 += ca;
        if (rows > 10)
            p10 += ca;
    }
#define END(i, row)                                                                                          \
    if (i < rows) {                                                                                          \
        v512_put(c + i * ldc, lo##i, m0, some_c, add);                                                       \
        v512_put(c + i * ldc + 16, hi##i, m1, some_c, add);                                                  \
    }
    ROWS14(END)
#undef END
}

#define TILE512(rows, sb, sc)                                                                                \
    case rows:                                                                                               \
        tile512(rows, sb, sc, c, ldc, (const char *)a, ra * 4, ca * 4, b, ldb, n, k, add);                   \
        break
#define TILES512(sb, sc)                                                                                     \
    switch (rows) {                                                                                          \
        TILE512(1, sb, sc);                                                                                  \
        TILE512(2, sb, sc);                                                                                  \
        TILE512(3, sb, sc);                                                                                  \
        TILE512(4, sb, sc);                                                                                  \
        TILE512(5, sb, sc);                                                                                  \
        TILE512(6, sb, sc);                                                                                  \
        TILE512(7, sb, sc);                                                                                  \
        TILE512(8, sb, sc);                                                                                  \
        TILE512(9, sb, sc);                                                                                  \
        TILE512(10, sb, sc);                                                                                 \
        TILE512(11, sb, sc);                                                                                 \
        TILE512(12, sb, sc);                                                                                 \
        TILE512(13, sb, sc);                                                                                 \
        TILE512(14, sb, sc);                                                                                 \
    }

static void gemm512(float *c, int64_t ldc, const float *a, int64_t ra, int64_t ca, const float *b,
                    int64_t ldb, bool padded, int m, int n, int64_t k, bool add)
{
    int left = (m + MR - 1) / MR, rows; /* tiles of equal height */

    for (; m > 0; m -= rows, left--) {
        rows = (m + left - 1) / left;
        if (n == NR) {
            TILES512(false, false)
        } else if (padded) {
            TILES512(false, true)
        } else {
            TILES512(true, true)
        }
        a += rows * ra;
        c += rows * ldc;
    }
}

static void transpose512(float *panel, const float *rows, int64_t ld, int m, int64_t k)
{
    hone_transpose_avx2(panel, NR, rows, ld, m, k);
}

#define PEAK_SUMS 24

static double peak512(int64_t rounds, float *sink)
{
    v512 s[PEAK_SUMS], a = v512_set(0.999f), b = v512_set(0.001f);
    int64_t i;
    int j;

#pragma GCC unroll 24
    for (j = 0; j < PEAK_SUMS; j++)
        s[j] = v512_set((float)j);
    for (i = 0; i < rounds; i++) {
#pragma GCC unroll 24
        for (j = 0; j < PEAK_SUMS; j++)
            s[j] = v512_fma(s[j], a, b);
    }
#pragma GCC unroll 24
    for (j = 1; j < PEAK_SUMS; j++)
        s[0] = v512_add(s[0], s[j]);
    *sink = v512_sum(s[0]);
    return PEAK_SUMS * 16 * 2;
}

void hone_kernels_avx512(hone_kernels *k)
{
    k->nr = NR;
    k->kc = 256; /* a panel of 32 KB */
    k->gemm = gemm512;
    k->transpose = transpose512;
    k->peak = peak512;
    k->peak_bf16 = peak512;
}

#undef MR
#undef NR
