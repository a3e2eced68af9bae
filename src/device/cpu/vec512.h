/* The few 512-bit operations of the AVX-512 products.
 *
 * With HONE_EMULATE_AVX512 they are plain vectors and loops instead of intrinsics: a test includes the kernels' sources
 * and runs them on machines without AVX-512. The bf16 dot product is emulated as two f32 multiply-adds; the hardware
 * differs from it by the rounding of an intermediate sum and takes subnormals as zero. */
#ifndef HONE_DEVICE_VEC512_H
#define HONE_DEVICE_VEC512_H

#include <stdint.h>
#include <string.h>

/* Kernels are inlined with their sizes as constants; emulated they are compiled once, with sizes as they come. */
#ifdef HONE_EMULATE_AVX512
#define INLINE512 static __attribute__((noinline, unused))
#pragma GCC diagnostic ignored "-Wpsabi" /* nothing here crosses a boundary between compilers */
#else
#define INLINE512 static inline __attribute__((always_inline))
#endif

/* The 14 rows of a tile, by name: sums in an array would be kept in memory by some compilers. Rows are reached from four
 * pointers by the scaled index of an address, since 14 pointers would not fit the registers; ra counts bytes. */
#define ROWS14(x)                                                                                            \
    x(0, p0) x(1, p0 + ra) x(2, p0 + 2 * ra) x(3, p3) x(4, p0 + 4 * ra) x(5, p5) x(6, p5 + ra)               \
        x(7, p3 + 4 * ra) x(8, p0 + 8 * ra) x(9, p5 + 4 * ra) x(10, p10) x(11, p3 + 8 * ra)                  \
            x(12, p10 + 2 * ra) x(13, p5 + 8 * ra)

#ifndef HONE_EMULATE_AVX512

#include <immintrin.h>

typedef __m512 v512;
typedef __mmask16 v512_mask;

#define v512_zero() _mm512_setzero_ps()
#define v512_set(x) _mm512_set1_ps(x)
#define v512_load(p) _mm512_loadu_ps(p)
#define v512_store(p, v) _mm512_storeu_ps(p, v)
#define v512_first(n) ((v512_mask)((n) >= 16 ? 0xffffu : (n) <= 0 ? 0u : (1u << (n)) - 1))
#define v512_load_some(p, mask) _mm512_maskz_loadu_ps(mask, p)
#define v512_store_some(p, mask, v) _mm512_mask_storeu_ps(p, mask, v)
#define v512_add(a, b) _mm512_add_ps(a, b)
#define v512_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v512_sum(a) _mm512_reduce_add_ps(a)

#ifdef __AVX512BF16__
/* c + the products of bf16 pairs: `pair` in every lane against the pairs of b. */
#define v512_dot(c, pair, b)                                                                                 \
    _mm512_dpbf16_ps(c, (__m512bh)_mm512_set1_epi32((int)(pair)), (__m512bh)_mm512_castps_si512(b))
#endif

#else

typedef float v512 __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t v512_bits __attribute__((vector_size(64), aligned(4), may_alias));
typedef int v512_mask;

#define v512_set(x) ((v512){0} + (float)(x))
#define v512_load(p) (*(const v512 *)(const void *)(p))
#define v512_store(p, v) ((void)(*(v512 *)(void *)(p) = (v)))
#define v512_add(a, b) ((a) + (b))
#define v512_fma(a, b, c) ((a) * (b) + (c))
#define v512_high(bits) ((v512)((v512_bits)(bits)&0xffff0000u))
#define v512_low(bits) ((v512)((v512_bits)(bits) << 16))
#define v512_dot(c, pair, b)                                                                                 \
    ((c) + v512_high((v512_bits){0} + (pair)) * v512_high(b) +                                               \
     v512_low((v512_bits){0} + (pair)) * v512_low(b))

INLINE512 v512 v512_load_some(const float *p, v512_mask n)
{
    v512 v = {0};

    memcpy(&v, p, sizeof(float) * (size_t)n);
    return v;
}

INLINE512 void v512_store_some(float *p, v512_mask n, v512 v)
{
    memcpy(p, &v, sizeof(float) * (size_t)n);
}

INLINE512 float v512_sum(v512 a)
{
    float s = 0;
    int i;

    for (i = 0; i < 16; i++)
        s += a[i];
    return s;
}

#define v512_zero() ((v512){0})
#define v512_first(n) ((n) >= 16 ? 16 : (n) <= 0 ? 0 : (n))

#endif

/* c[0..16) (+)= v; some: only the lanes of the mask. */
INLINE512 void v512_put(float *c, v512 v, v512_mask mask, int some, int add)
{
    if (some) {
        if (add)
            v = v512_add(v, v512_load_some(c, mask));
        v512_store_some(c, mask, v);
    } else {
        if (add)
            v = v512_add(v, v512_load(c));
        v512_store(c, v);
    }
}

#endif
