/* Small AVX2 helpers: partial vectors, sums, bf16, exp. Only for files compiled with AVX2 and FMA. */
#ifndef HONE_DEVICE_VEC256_H
#define HONE_DEVICE_VEC256_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

static const int32_t tail_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

/* Mask of the first n lanes, n in 0..8 (clamped). */
INLINE __m256i first_lanes(int64_t n)
{
    n = n < 0 ? 0 : n > 8 ? 8 : n;
    return _mm256_loadu_si256((const __m256i *)(tail_mask + 8 - n));
}

INLINE float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

INLINE __m256 bf16_load(const uint16_t *p)
{
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

/* The upper halves after rounding to nearest even, as 32-bit lanes; NaN stays NaN. */
INLINE __m256i bf16_bits(__m256 v)
{
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i nan = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(64));

    return _mm256_blendv_epi8(r, nan, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}

INLINE __m256 bf16_round(__m256 v)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(bf16_bits(v), 16));
}

INLINE void bf16_store(uint16_t *p, __m256 v)
{
    __m256i b = bf16_bits(v);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(b, b), 0x08);

    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(packed));
}

/* e^c = p 2^n for c between -87.3 and 88.7, p near 1, to about 1 ulp: c = n ln 2 + r in two steps, a polynomial of degree 7
 * (Cephes). */
INLINE __m256 exp_parts(__m256 c, __m256i *power)
{
    __m256 n, r, p;

    n = _mm256_round_ps(_mm256_mul_ps(c, _mm256_set1_ps(1.44269504088896341f)), 8);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), c);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), r);
    p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    *power = _mm256_cvtps_epi32(n);
    return _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
}

/* p 2^n by the exponent bits, n in -126..127. */
INLINE __m256 times_power(__m256 p, __m256i n)
{
    return _mm256_mul_ps(
        p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)));
}

#define EXP_LOW -87.33654022216796875f

/* e^x, zero below -87.3, infinity above 88.7; NaN stays NaN. */
INLINE __m256 exp8(__m256 x)
{
    const __m256 hi = _mm256_set1_ps(88.72283935546875f), lo = _mm256_set1_ps(EXP_LOW);
    __m256i n, half;
    __m256 e = exp_parts(_mm256_min_ps(hi, _mm256_max_ps(lo, x)), &n);

    half =
        _mm256_srai_epi32(n, 1); /* in two factors, so that n = 128 does not overflow before e shrinks it */
    e = times_power(times_power(e, half), _mm256_sub_epi32(n, half));
    e = _mm256_andnot_ps(_mm256_cmp_ps(x, lo, _CMP_LT_OQ), e);
    e = _mm256_blendv_ps(e, _mm256_set1_ps(INFINITY), _mm256_cmp_ps(x, hi, _CMP_GT_OQ));
    return _mm256_blendv_ps(e, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* The same bits for x up to 88, as the exponents of a softmax are, with fewer operations. */
INLINE __m256 exp8_of_softmax(__m256 x)
{
    const __m256 lo = _mm256_set1_ps(EXP_LOW);
    __m256i n;
    __m256 p = exp_parts(_mm256_max_ps(lo, x), &n); /* the second operand, where x is NaN */

    return _mm256_andnot_ps(_mm256_cmp_ps(x, lo, _CMP_LT_OQ), times_power(p, n));
}

#endif
