/* Loops over the elements of a row on AVX2: norms, rotation, gated unit, softmax, dropout, sums, AdamW. Eight values at
 * a time; the rest of a row goes through the same eight lanes by way of a padded copy, so that an element's result does
 * not depend on where in a row it stands. */
#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"
#include "device/cpu/vec256.h"

/* Eight values from element i on, of which n are there. */
INLINE __m256 load(const void *p, int64_t i, int64_t n, const hone_dtype t)
{
    if (n >= 8)
        return t == HONE_F32 ? _mm256_loadu_ps((const float *)p + i) : bf16_load((const uint16_t *)p + i);
    if (t == HONE_F32) {
        return _mm256_maskload_ps((const float *)p + i, first_lanes(n));
    } else {
        uint16_t h[8] = {0};

        memcpy(h, (const uint16_t *)p + i, (size_t)n * sizeof *h);
        return bf16_load(h);
    }
}

INLINE void store(void *p, int64_t i, int64_t n, const hone_dtype t, __m256 v)
{
    if (n >= 8) {
        if (t == HONE_F32)
            _mm256_storeu_ps((float *)p + i, v);
        else
            bf16_store((uint16_t *)p + i, v);
    } else if (t == HONE_F32) {
        _mm256_maskstore_ps((float *)p + i, first_lanes(n), v);
    } else {
        uint16_t h[8];

        bf16_store(h, v);
        memcpy((uint16_t *)p + i, h, (size_t)n * sizeof *h);
    }
}

/* Calls the body for f32 and for bf16 with the type a constant. */
#define BY_TYPE(call_f32, call_bf16)                                                                         \
    do {                                                                                                     \
        if (t == HONE_F32)                                                                                   \
            call_f32;                                                                                        \
        else                                                                                                 \
            call_bf16;                                                                                       \
    } while (0)

INLINE float rstd_of(const void *x, int64_t n, float eps, const hone_dtype t)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    int64_t i;

    for (i = 0; i < n; i += 16) {
        __m256 a = load(x, i, n - i, t), b = n - i > 8 ? load(x, i + 8, n - i - 8, t) : _mm256_setzero_ps();

        s0 = _mm256_fmadd_ps(a, a, s0);
        s1 = _mm256_fmadd_ps(b, b, s1);
    }
    return (float)(1.0 / sqrt((double)sum8(_mm256_add_ps(s0, s1)) / (double)n + (double)eps));
}

INLINE void rmsnorm_fwd_of(void *y, float *rstd, const void *x, const float *w, int64_t n, float eps,
                           const hone_dtype t)
{
    float s = rstd_of(x, n, eps, t);
    __m256 vs = _mm256_set1_ps(s);
    int64_t i;

    if (rstd)
        *rstd = s;
    for (i = 0; i < n; i += 8)
        store(y, i, n - i, t,
              _mm256_mul_ps(load(w, i, n - i, HONE_F32), _mm256_mul_ps(load(x, i, n - i, t), vs)));
}

static void rmsnorm_fwd(void *y, float *rstd, const void *x, const float *w, int64_t n, float eps,
                        hone_dtype t)
{
    BY_TYPE(rmsnorm_fwd_of(y, rstd, x, w, n, eps, HONE_F32),
            rmsnorm_fwd_of(y, rstd, x, w, n, eps, HONE_BF16));
}

INLINE void rmsnorm_bwd_of(void *dx, bool add, const void *dy, const void *x, const float *w, float s,
                           int64_t n, const hone_dtype t)
{
    __m256 vs = _mm256_set1_ps(s), sum = _mm256_setzero_ps(), mean;
    int64_t i;

    for (i = 0; i < n; i += 8) {
        __m256 g = _mm256_mul_ps(load(dy, i, n - i, t), load(w, i, n - i, HONE_F32));

        sum = _mm256_fmadd_ps(g, _mm256_mul_ps(load(x, i, n - i, t), vs), sum);
    }
    mean = _mm256_set1_ps(sum8(sum) / (float)n);
    for (i = 0; i < n; i += 8) {
        __m256 g = _mm256_mul_ps(load(dy, i, n - i, t), load(w, i, n - i, HONE_F32));
        __m256 v = _mm256_mul_ps(vs, _mm256_fnmadd_ps(_mm256_mul_ps(load(x, i, n - i, t), vs), mean, g));

        store(dx, i, n - i, t, add ? _mm256_add_ps(v, load(dx, i, n - i, t)) : v);
    }
}

static void rmsnorm_bwd(void *dx, bool add, const void *dy, const void *x, const float *w, const float *rstd,
                        int64_t n, float eps, hone_dtype t)
{
    float s;

    if (rstd)
        s = *rstd;
    else
        BY_TYPE(s = rstd_of(x, n, eps, HONE_F32), s = rstd_of(x, n, eps, HONE_BF16));
    BY_TYPE(rmsnorm_bwd_of(dx, add, dy, x, w, s, n, HONE_F32),
            rmsnorm_bwd_of(dx, add, dy, x, w, s, n, HONE_BF16));
}

INLINE void rope_of(void *x, const float *cosine, const float *sine, int64_t half, const hone_dtype t)
{
    int64_t i;

    for (i = 0; i < half; i += 8) {
        int64_t n = half - i;
        __m256 a = load(x, i, n, t), b = load(x, i + half, n, t), c = load(cosine, i, n, HONE_F32),
               s = load(sine, i, n, HONE_F32);

        store(x, i, n, t, _mm256_fnmadd_ps(b, s, _mm256_mul_ps(a, c)));
        store(x, i + half, n, t, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
}

static void rope(void *x, const float *cosine, const float *sine, int64_t half, hone_dtype t)
{
    BY_TYPE(rope_of(x, cosine, sine, half, HONE_F32), rope_of(x, cosine, sine, half, HONE_BF16));
}

INLINE __m256 sigmoid(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);

    return _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

/* s of ops.h, and dt/dg. */
INLINE __m256 gate(__m256 x, __m256 *slope, const hone_act act)
{
    const __m256 one = _mm256_set1_ps(1.0f), c = _mm256_set1_ps(1.5957691216057308f); /* 2 (2/pi)^1/2 */
    __m256 square;

    *slope = one;
    if (act == HONE_ACT_SILU)
        return sigmoid(x);
    square = _mm256_mul_ps(x, x);
    *slope = _mm256_mul_ps(c, _mm256_fmadd_ps(_mm256_set1_ps(3 * 0.044715f), square, one));
    return sigmoid(
        _mm256_mul_ps(_mm256_mul_ps(c, x), _mm256_fmadd_ps(_mm256_set1_ps(0.044715f), square, one)));
}

INLINE void glu_fwd_of(void *h, const void *g, const void *u, int64_t n, const hone_act act,
                       const hone_dtype t)
{
    int64_t i;

    for (i = 0; i < n; i += 8) {
        __m256 x = load(g, i, n - i, t), slope;

        store(h, i, n - i, t, _mm256_mul_ps(_mm256_mul_ps(x, gate(x, &slope, act)), load(u, i, n - i, t)));
    }
}

/* Calls one of four copies of an inlined loop, each with its activation and type known. */
#define BY_ACT_AND_TYPE(call, ...)                                                                           \
    do {                                                                                                     \
        if (act == HONE_ACT_SILU)                                                                            \
            BY_TYPE(call(__VA_ARGS__, HONE_ACT_SILU, HONE_F32),                                              \
                    call(__VA_ARGS__, HONE_ACT_SILU, HONE_BF16));                                            \
        else                                                                                                 \
            BY_TYPE(call(__VA_ARGS__, HONE_ACT_GELU_TANH, HONE_F32),                                         \
                    call(__VA_ARGS__, HONE_ACT_GELU_TANH, HONE_BF16));                                       \
    } while (0)

static void glu_fwd(void *h, const void *g, const void *u, int64_t n, hone_act act, hone_dtype t)
{
    BY_ACT_AND_TYPE(glu_fwd_of, h, g, u, n);
}

INLINE void glu_bwd_of(void *dg, void *du, const void *dh, const void *g, const void *u, int64_t n,
                       const hone_act act, const hone_dtype t)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    int64_t i;

    for (i = 0; i < n; i += 8) {
        __m256 x = load(g, i, n - i, t), slope, s = gate(x, &slope, act), d = load(dh, i, n - i, t),
               v = load(u, i, n - i, t);

        slope = _mm256_mul_ps(_mm256_mul_ps(x, _mm256_sub_ps(one, s)), slope);
        slope = _mm256_mul_ps(s, _mm256_add_ps(slope, one));
        store(dg, i, n - i, t, _mm256_mul_ps(_mm256_mul_ps(d, v), slope));
        store(du, i, n - i, t, _mm256_mul_ps(_mm256_mul_ps(d, x), s));
    }
}

static void glu_bwd(void *dg, void *du, const void *dh, const void *g, const void *u, int64_t n, hone_act act,
                    hone_dtype t)
{
    BY_ACT_AND_TYPE(glu_bwd_of, dg, du, dh, g, u, n);
}

INLINE void add_of(void *y, const void *a, const void *b, int64_t n, const hone_dtype t)
{
    int64_t i;

    for (i = 0; i < n; i += 8)
        store(y, i, n - i, t, _mm256_add_ps(load(a, i, n - i, t), load(b, i, n - i, t)));
}

static void add(void *y, const void *a, const void *b, int64_t n, hone_dtype t)
{
    BY_TYPE(add_of(y, a, b, n, HONE_F32), add_of(y, a, b, n, HONE_BF16));
}

static float max(const float *x, int64_t n, int32_t *where)
{
    __m256 m = _mm256_set1_ps(-INFINITY);
    float top, lane[8];
    int64_t i;
    int e;

    for (i = 0; i + 8 <= n; i += 8)
        m = _mm256_max_ps(m, _mm256_loadu_ps(x + i));
    _mm256_storeu_ps(lane, m);
    top = lane[0];
    for (e = 1; e < 8; e++)
        top = lane[e] > top ? lane[e] : top;
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    if (where) {
        __m256 t = _mm256_set1_ps(top);

        *where = 0;
        for (i = 0; i < n; i += 8) {
            int hit = _mm256_movemask_ps(_mm256_cmp_ps(load(x, i, n - i, HONE_F32), t, _CMP_EQ_OQ));

            if (n - i < 8)
                hit &= (1 << (n - i)) - 1;
            if (hit) {
                *where = (int32_t)(i + __builtin_ctz((unsigned)hit));
                break;
            }
        }
    }
    return top;
}

static float exp_sum(float *x, int64_t n, float scale_by, float shift)
{
    __m256 s = _mm256_set1_ps(scale_by), m = _mm256_set1_ps(shift), sum0 = _mm256_setzero_ps(), sum1 = sum0;
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) {
        __m256 a = exp8(_mm256_fmsub_ps(_mm256_loadu_ps(x + i), s, m));
        __m256 b = exp8(_mm256_fmsub_ps(_mm256_loadu_ps(x + i + 8), s, m));

        _mm256_storeu_ps(x + i, a);
        _mm256_storeu_ps(x + i + 8, b);
        sum0 = _mm256_add_ps(sum0, a);
        sum1 = _mm256_add_ps(sum1, b);
    }
    for (; i < n; i += 8) {
        __m256 a = exp8(_mm256_fmsub_ps(load(x, i, n - i, HONE_F32), s, m));

        store(x, i, n - i, HONE_F32, a);
        sum0 =
            _mm256_add_ps(sum0, n - i >= 8 ? a : _mm256_and_ps(a, _mm256_castsi256_ps(first_lanes(n - i))));
    }
    return sum8(_mm256_add_ps(sum0, sum1));
}

static void scale(float *x, int64_t n, float by)
{
    __m256 s = _mm256_set1_ps(by);
    int64_t i;

    for (i = 0; i < n; i += 8)
        store(x, i, n - i, HONE_F32, _mm256_mul_ps(load(x, i, n - i, HONE_F32), s));
}

/* tanh as Cephes has it: a polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel. */
INLINE __m256 tanh8(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_andnot_ps(sign, x), z = _mm256_mul_ps(x, x), p, far;

    p = _mm256_set1_ps(-5.70498872745e-3f);
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(2.06390887954e-2f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-5.37397155531e-2f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(1.33314422036e-1f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-3.33332819422e-1f));
    p = _mm256_fmadd_ps(_mm256_mul_ps(p, z), x, x);
    far = _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(exp8(_mm256_add_ps(a, a)), one));
    far = _mm256_or_ps(_mm256_sub_ps(one, far), _mm256_and_ps(sign, x));
    return _mm256_blendv_ps(far, p, _mm256_cmp_ps(a, _mm256_set1_ps(0.625f), _CMP_LT_OQ));
}

static void softcap(float *x, int64_t n, float by, float cap)
{
    __m256 s = _mm256_set1_ps(by / cap), c = _mm256_set1_ps(cap);
    int64_t i;

    for (i = 0; i < n; i += 8)
        store(x, i, n - i, HONE_F32, _mm256_mul_ps(c, tanh8(_mm256_mul_ps(load(x, i, n - i, HONE_F32), s))));
}

static void softmax_grad(float *s, float *dp, int64_t n, float by, float lse, float delta)
{
    __m256 vb = _mm256_set1_ps(by), vl = _mm256_set1_ps(lse), vd = _mm256_set1_ps(delta);
    int64_t i;

    for (i = 0; i < n; i += 8) {
        __m256 p = exp8_of_softmax(_mm256_fmsub_ps(load(s, i, n - i, HONE_F32), vb, vl));
        __m256 g = _mm256_sub_ps(load(dp, i, n - i, HONE_F32), vd);

        store(s, i, n - i, HONE_F32, _mm256_mul_ps(_mm256_mul_ps(p, g), vb));
        store(dp, i, n - i, HONE_F32, p);
    }
}

/* ---- dropout -------------------------------------------------------------------------------------------------------- */

#define SETS                                                                                                 \
    2 /* independent sets of counters hide the latency of ten dependent rounds, and fit the registers */

/* Philox 4x32-10 for SETS times four counters, each in a 64-bit lane (products of two 32-bit words need 64 bits): word w
 * of counter c of a set ends in the low half of out[set][w], lane c. See base/rng.c. */
INLINE void philox(__m256i out[SETS][4], uint64_t seed, uint64_t stream, uint64_t counter)
{
    const __m256i low = _mm256_set1_epi64x(0xffffffff), ma = _mm256_set1_epi64x(0xD2511F53),
                  mb = _mm256_set1_epi64x(0xCD9E8D57);
    __m256i c0[SETS], c1[SETS], c2[SETS], c3[SETS];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    int round, s;

    for (s = 0; s < SETS; s++) {
        __m256i c = _mm256_add_epi64(_mm256_set1_epi64x((long long)(counter + 4 * (uint64_t)s)),
                                     _mm256_setr_epi64x(0, 1, 2, 3));

        c0[s] = _mm256_and_si256(c, low);
        c1[s] = _mm256_srli_epi64(c, 32);
        c2[s] = _mm256_set1_epi64x((long long)(stream & 0xffffffff));
        c3[s] = _mm256_set1_epi64x((long long)(stream >> 32));
    }
    for (round = 0; round < 10; round++) {
        __m256i v0 = _mm256_set1_epi64x(k0), v1 = _mm256_set1_epi64x(k1);

#pragma GCC unroll 2
        for (s = 0; s < SETS; s++) { /* upper halves of c1, c3 hold rubbish that no product reads */
            __m256i a = _mm256_mul_epu32(ma, c0[s]), b = _mm256_mul_epu32(mb, c2[s]);

            c0[s] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(b, 32), v0), c1[s]);
            c2[s] = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(a, 32), v1), c3[s]);
            c1[s] = b;
            c3[s] = a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (s = 0; s < SETS; s++) {
        out[s][0] = c0[s];
        out[s][1] = c1[s];
        out[s][2] = c2[s];
        out[s][3] = c3[s];
    }
}

/* A block is two sets of four counters of eight draws. */
static void draw(uint8_t *mask, int64_t n, uint64_t seed, uint64_t stream, uint64_t counter, uint32_t limit)
{
    const __m256i least = _mm256_set1_epi16((int16_t)limit);
    __m256i w[SETS][4];
    int64_t i;
    int s;

    for (i = 0; i < n; i += HONE_MASK_BLOCK, counter += HONE_MASK_BLOCK / 8) {
        philox(w, seed, stream, counter);
        for (s = 0; s < SETS; s++, mask += 4) {
            /* words 0 1 of each counter, and 2 3; then the counters 0 and 2, 1 and 3; then in order */
            __m256i a = _mm256_blend_epi32(w[s][0], _mm256_slli_epi64(w[s][1], 32), 0xaa);
            __m256i b = _mm256_blend_epi32(w[s][2], _mm256_slli_epi64(w[s][3], 32), 0xaa);
            __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
            int32_t bits;

            even = _mm256_cmpeq_epi16(_mm256_max_epu16(even, least), even);
            odd = _mm256_cmpeq_epi16(_mm256_max_epu16(odd, least), odd);
            bits = _mm256_movemask_epi8(_mm256_packs_epi16(even, odd));
            memcpy(mask, &bits, 4);
        }
    }
}

/* Eight bits as lanes of ones or zeros. */
INLINE __m256 lanes_of(uint8_t bits)
{
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);

    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits), lane), lane));
}

INLINE float kept(float x, const uint8_t *mask, int64_t i, float scale)
{
    return mask[i / 8] >> i % 8 & 1 ? scale * x : 0.0f;
}

INLINE void keep_of(float *out, const void *x, const hone_dtype t, int64_t n, const uint8_t *mask,
                    float scale)
{
    const __m256 by = _mm256_set1_ps(scale);
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_and_ps(lanes_of(mask[i / 8]), _mm256_mul_ps(by, load(x, i, 8, t))));
    for (; i < n; i++)
        out[i] = kept(hone_elem_get(x, t, i), mask, i, scale);
}

static void keep(float *out, const void *x, hone_dtype t, int64_t n, const uint8_t *mask, float scale)
{
    BY_TYPE(keep_of(out, x, HONE_F32, n, mask, scale), keep_of(out, x, HONE_BF16, n, mask, scale));
}

static void add_kept(float *y, int64_t ldy, const float *x, int64_t ldx, int m, int n, const uint8_t *mask,
                     int64_t ldm, float scale)
{
    const __m256 by = _mm256_set1_ps(scale);
    int i, r;

    for (r = 0; r < m; r++, y += ldy, x += ldx, mask += ldm) {
        for (i = 0; i + 8 <= n; i += 8)
            _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i),
                                                  _mm256_and_ps(lanes_of(mask[i / 8]),
                                                                _mm256_mul_ps(by, _mm256_loadu_ps(x + i)))));
        for (; i < n; i++)
            y[i] += kept(x[i], mask, i, scale);
    }
}

/* ---- optimiser ------------------------------------------------------------------------------------------------------ */

static double sum_squares(const float *x, size_t n)
{
    __m256d s0 = _mm256_setzero_pd(), s1 = s0;
    double lane[4], rest = 0;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i)), b = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));

        s0 = _mm256_fmadd_pd(a, a, s0);
        s1 = _mm256_fmadd_pd(b, b, s1);
    }
    for (; i < n; i++)
        rest += (double)x[i] * (double)x[i];
    _mm256_storeu_pd(lane, _mm256_add_pd(s0, s1));
    return lane[0] + lane[1] + lane[2] + lane[3] + rest;
}

static void adamw(float *p, float *g, float *m, float *v, size_t n, const float c[9])
{
    __m256 decay = _mm256_set1_ps(c[0]), clip = _mm256_set1_ps(c[1]), b1 = _mm256_set1_ps(c[2]),
           c1 = _mm256_set1_ps(c[3]);
    __m256 b2 = _mm256_set1_ps(c[4]), c2 = _mm256_set1_ps(c[5]), step = _mm256_set1_ps(c[6]),
           root = _mm256_set1_ps(c[7]);
    __m256 eps = _mm256_set1_ps(c[8]);
    int64_t i, len = (int64_t)n;

    for (i = 0; i < len; i += 8) {
        int64_t left = len - i;
        __m256 gr = _mm256_mul_ps(load(g, i, left, HONE_F32), clip);
        __m256 vm = _mm256_fmadd_ps(b1, load(m, i, left, HONE_F32), _mm256_mul_ps(c1, gr));
        __m256 vv = _mm256_fmadd_ps(b2, load(v, i, left, HONE_F32), _mm256_mul_ps(c2, _mm256_mul_ps(gr, gr)));
        __m256 by = _mm256_div_ps(vm, _mm256_fmadd_ps(_mm256_sqrt_ps(vv), root, eps));

        store(m, i, left, HONE_F32, vm);
        store(v, i, left, HONE_F32, vv);
        store(p, i, left, HONE_F32,
              _mm256_fnmadd_ps(step, by, _mm256_mul_ps(load(p, i, left, HONE_F32), decay)));
        store(g, i, left, HONE_F32, _mm256_setzero_ps());
    }
}

void hone_rows_avx2(hone_kernels *k)
{
    k->rmsnorm_fwd = rmsnorm_fwd;
    k->rmsnorm_bwd = rmsnorm_bwd;
    k->rope = rope;
    k->glu_fwd = glu_fwd;
    k->glu_bwd = glu_bwd;
    k->add = add;
    k->max = max;
    k->exp_sum = exp_sum;
    k->scale = scale;
    k->softcap = softcap;
    k->softmax_grad = softmax_grad;
    k->draw = draw;
    k->keep = keep;
    k->add_kept = add_kept;
    k->sum_squares = sum_squares;
    k->adamw = adamw;
}
