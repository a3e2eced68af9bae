/* The f32 product on AVX2 and FMA: a register tile of 6 x 16 (12 sums, 2 columns of B, broadcasts of A from memory),
 * panels made by 8 x 8 transposes, dot products for few tokens. 12 independent multiply-adds cover the latency of 4 to 5
 * cycles at two a cycle. A is read where it lies: six rows are six streams that the L1 cache holds. */
#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"
#include "device/cpu/vec256.h"

#define MR 6
#define NR 16

/* The rows of a tile by name: sums in an array would be kept in memory by some compilers. */
#define ROWS6(x) x(0, a) x(1, a + ra) x(2, a + 2 * ra) x(3, a3) x(4, a3 + ra) x(5, a3 + 2 * ra)

INLINE void put8(float *c, __m256 v, __m256i mask, const bool masked, bool add)
{
    if (masked) {
        if (add)
            v = _mm256_add_ps(v, _mm256_maskload_ps(c, mask));
        _mm256_maskstore_ps(c, mask, v);
    } else {
        if (add)
            v = _mm256_add_ps(v, _mm256_loadu_ps(c));
        _mm256_storeu_ps(c, v);
    }
}

/* rows is a constant of each call after inlining; so is masked. */
INLINE void tile(const int rows, const bool masked_b, const bool masked_c, float *c, int64_t ldc,
                 const float *a, int64_t ra, int64_t ca, const float *b, int64_t ldb, int n, int64_t k,
                 bool add)
{
    __m256i m0 = first_lanes(n), m1 = first_lanes(n - 8);
    const float *a3 = a + 3 * ra;
    int64_t p;

#define BEGIN(i, row) __m256 lo##i = _mm256_setzero_ps(), hi##i = _mm256_setzero_ps();
    ROWS6(BEGIN)
#undef BEGIN
/* The lines of C are written after k steps: asked for now, they arrive meanwhile. A few steps are no wait. */
#define ASK(i, row)                                                                                          \
    if (i < rows) {                                                                                          \
        __builtin_prefetch(c + i * ldc, 1);                                                                  \
        __builtin_prefetch(c + i * ldc + NR - 1, 1);                                                         \
    }
    if (k > 128) {
        ROWS6(ASK)
    }
#undef ASK
#pragma GCC unroll 4
    for (p = 0; p < k; p++) {
        __m256 b0 = masked_b ? _mm256_maskload_ps(b, m0) : _mm256_loadu_ps(b);
        __m256 b1 = masked_b ? _mm256_maskload_ps(b + 8, m1) : _mm256_loadu_ps(b + 8);

#define STEP(i, row)                                                                                         \
    if (i < rows) {                                                                                          \
        __m256 x = _mm256_broadcast_ss(row);                                                                 \
        lo##i = _mm256_fmadd_ps(x, b0, lo##i);                                                               \
        hi##i = _mm256_fmadd_ps(x, b1, hi##i);                                                               \
    }
        ROWS6(STEP)
#undef STEP
        b += ldb;
        a += ca;
        a3 += ca;
    }
#define END(i, row)                                                                                          \
    if (i < rows) {                                                                                          \
        put8(c + i * ldc, lo##i, m0, masked_c, add);                                                         \
        put8(c + i * ldc + 8, hi##i, m1, masked_c, add);                                                     \
    }
    ROWS6(END)
#undef END
}

#define TILE(rows, mb, mc)                                                                                   \
    case rows:                                                                                               \
        tile(rows, mb, mc, c, ldc, a, ra, ca, b, ldb, n, k, add);                                            \
        break
#define TILES(mb, mc)                                                                                        \
    switch (rows) {                                                                                          \
        TILE(1, mb, mc);                                                                                     \
        TILE(2, mb, mc);                                                                                     \
        TILE(3, mb, mc);                                                                                     \
        TILE(4, mb, mc);                                                                                     \
        TILE(5, mb, mc);                                                                                     \
        TILE(6, mb, mc);                                                                                     \
    }

static void gemm(float *c, int64_t ldc, const float *a, int64_t ra, int64_t ca, const float *b, int64_t ldb,
                 bool padded, int m, int n, int64_t k, bool add)
{
    /* equal heights: 8 rows as 4 + 4, not 6 + 2, since two rows can not fill the pipeline */
    int left = (m + MR - 1) / MR, rows;

    for (; m > 0; m -= rows, left--) {
        rows = (m + left - 1) / left;
        if (n == NR) {
            TILES(false, false)
        } else if (padded) {
            TILES(false, true)
        } else {
            TILES(true, true)
        }
        a += rows * ra;
        c += rows * ldc;
    }
}

INLINE void transpose8(float *out, int64_t ldo, const float *in, int64_t ldi)
{
    __m256 r0 = _mm256_loadu_ps(in), r1 = _mm256_loadu_ps(in + ldi), r2 = _mm256_loadu_ps(in + 2 * ldi),
           r3 = _mm256_loadu_ps(in + 3 * ldi), r4 = _mm256_loadu_ps(in + 4 * ldi),
           r5 = _mm256_loadu_ps(in + 5 * ldi), r6 = _mm256_loadu_ps(in + 6 * ldi),
           r7 = _mm256_loadu_ps(in + 7 * ldi);
    __m256 t0 = _mm256_unpacklo_ps(r0, r1), t1 = _mm256_unpackhi_ps(r0, r1), t2 = _mm256_unpacklo_ps(r2, r3),
           t3 = _mm256_unpackhi_ps(r2, r3), t4 = _mm256_unpacklo_ps(r4, r5), t5 = _mm256_unpackhi_ps(r4, r5),
           t6 = _mm256_unpacklo_ps(r6, r7), t7 = _mm256_unpackhi_ps(r6, r7);

    r0 = _mm256_shuffle_ps(t0, t2, 0x44);
    r1 = _mm256_shuffle_ps(t0, t2, 0xee);
    r2 = _mm256_shuffle_ps(t1, t3, 0x44);
    r3 = _mm256_shuffle_ps(t1, t3, 0xee);
    r4 = _mm256_shuffle_ps(t4, t6, 0x44);
    r5 = _mm256_shuffle_ps(t4, t6, 0xee);
    r6 = _mm256_shuffle_ps(t5, t7, 0x44);
    r7 = _mm256_shuffle_ps(t5, t7, 0xee);
    _mm256_storeu_ps(out, _mm256_permute2f128_ps(r0, r4, 0x20));
    _mm256_storeu_ps(out + ldo, _mm256_permute2f128_ps(r1, r5, 0x20));
    _mm256_storeu_ps(out + 2 * ldo, _mm256_permute2f128_ps(r2, r6, 0x20));
    _mm256_storeu_ps(out + 3 * ldo, _mm256_permute2f128_ps(r3, r7, 0x20));
    _mm256_storeu_ps(out + 4 * ldo, _mm256_permute2f128_ps(r0, r4, 0x31));
    _mm256_storeu_ps(out + 5 * ldo, _mm256_permute2f128_ps(r1, r5, 0x31));
    _mm256_storeu_ps(out + 6 * ldo, _mm256_permute2f128_ps(r2, r6, 0x31));
    _mm256_storeu_ps(out + 7 * ldo, _mm256_permute2f128_ps(r3, r7, 0x31));
}

void hone_transpose_avx2(float *panel, int64_t nr, const float *rows, int64_t ld, int m, int64_t k)
{
    int64_t p;
    int i, e;

    for (i = 0; i < nr; i += 8) {
        p = 0;
        if (m - i >= 8)
            for (; p + 8 <= k; p += 8)
                transpose8(panel + p * nr + i, nr, rows + i * ld + p, ld);
        for (; p < k; p++)
            for (e = i; e < i + 8; e++)
                panel[p * nr + e] = e < m ? rows[e * ld + p] : 0.0f;
    }
}

static void transpose(float *panel, const float *rows, int64_t ld, int m, int64_t k)
{
    hone_transpose_avx2(panel, NR, rows, ld, m, k);
}

static float dot(const float *a, const float *b, int64_t n)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    float s;
    int64_t i = 0;

    for (; i + 32 <= n; i += 32) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
    }
    for (; i + 8 <= n; i += 8)
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
    s = sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    for (; i < n; i++)
        s = fmaf(a[i], b[i], s);
    return s;
}

/* Four tokens at once: each value of w is loaded once for four multiply-adds. A token's sum does not depend on which
 * tokens are beside it: the single-token tail below has the same two sums and the same order. */
INLINE void dots_of(const int count, float *out, const float *w, const float *x, int64_t ldx, int64_t k)
{
    __m256 s[4][2];
    int64_t i = 0;
    int j;

    for (j = 0; j < count; j++)
        s[j][0] = s[j][1] = _mm256_setzero_ps();
    for (; i + 16 <= k; i += 16) {
        __m256 w0 = _mm256_loadu_ps(w + i), w1 = _mm256_loadu_ps(w + i + 8);

        for (j = 0; j < count; j++) {
            s[j][0] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(x + j * ldx + i), s[j][0]);
            s[j][1] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(x + j * ldx + i + 8), s[j][1]);
        }
    }
    for (j = 0; j < count; j++) {
        float sum = sum8(_mm256_add_ps(s[j][0], s[j][1]));
        int64_t t;

        for (t = i; t < k; t++)
            sum = fmaf(w[t], x[j * ldx + t], sum);
        out[j] = sum;
    }
}

static void dots(float *out, const float *w, const float *x, int64_t ldx, int n, int64_t k)
{
    int j = 0;

    for (; j + 4 <= n; j += 4)
        dots_of(4, out + j, w, x + j * ldx, ldx, k);
    for (; j < n; j++)
        dots_of(1, out + j, w, x + j * ldx, ldx, k);
}

static void axpy(float *y, const float *x, float a, int64_t n)
{
    __m256 va = _mm256_set1_ps(a);
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(va, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
}

static void product_sum(float *y, const float *u, const float *x, float a, int64_t n)
{
    __m256 va = _mm256_set1_ps(a);
    int64_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256 by = _mm256_mul_ps(va, _mm256_mul_ps(_mm256_loadu_ps(u + i), _mm256_loadu_ps(x + i)));

        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), by));
    }
    for (; i < n; i++)
        y[i] += a * (u[i] * x[i]);
}

#define PEAK_UNROLL 12

static double peak(int64_t rounds, float *sink)
{
    __m256 s[PEAK_UNROLL], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    int64_t i;
    int j;

    for (j = 0; j < PEAK_UNROLL; j++)
        s[j] = _mm256_set1_ps((float)j);
    for (i = 0; i < rounds; i++) {
#pragma GCC unroll 12
        for (j = 0; j < PEAK_UNROLL; j++)
            s[j] = _mm256_fmadd_ps(s[j], a, b);
    }
    for (j = 1; j < PEAK_UNROLL; j++)
        s[0] = _mm256_add_ps(s[0], s[j]);
    *sink = sum8(s[0]);
    return PEAK_UNROLL * 8 * 2;
}

void hone_kernels_avx2(hone_kernels *k)
{
    k->nr = NR;
    k->kc = 320; /* a panel of 20 KB leaves room in a 32 KB L1 for the rows of A */
    k->gemm = gemm;
    k->transpose = transpose;
    k->dot = dot;
    k->dots = dots;
    k->axpy = axpy;
    k->product_sum = product_sum;
    k->turn = hone_transpose_avx2;
    k->peak = peak;
    k->peak_bf16 = peak;
    hone_expand_avx2(k);
    hone_rows_avx2(k);
    hone_optim_avx2(k);
    hone_quantise_avx2(k);
}
