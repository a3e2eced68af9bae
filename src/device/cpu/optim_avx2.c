/* AdamW with moments of one byte on AVX2: eight values at a time, codes and their values by gathers from the same tables.
 *
 * Bits are those of the plain program in optim.c: the same operations in the same order, so this file is compiled without
 * contraction into multiply-adds. A maximum or minimum takes its second operand where the first is NaN, as fmaxf would. */
#include "device/cpu/kernels.h"
#include "device/cpu/optim.h"
#include "device/cpu/vec256.h"

#define BLOCK HONE_ADAMW8_BLOCK

INLINE __m256i bytes8(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

INLINE void put_bytes8(uint8_t *p, __m256i v)
{
    __m256i half = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0x08);

    _mm_storel_epi64((__m128i *)(void *)p,
                     _mm_packus_epi16(_mm256_castsi256_si128(half), _mm256_castsi256_si128(half)));
}

/* The largest lane; none is NaN. */
INLINE float max8(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

/* The nearest codes to x in 0..1. */
INLINE __m256i codes8(const hone_code_map *c, __m256 x)
{
    __m256i cell = _mm256_srli_epi32(_mm256_castps_si256(x), HONE_CELL_SHIFT);
    __m256i code = _mm256_and_si256(_mm256_i32gather_epi32((const int *)(const void *)c->first, cell, 1),
                                    _mm256_set1_epi32(0xff));
    int i;

    for (i = 0; i < 2; i++) /* a compare is -1 where it holds */
        code = _mm256_sub_epi32(
            code, _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_i32gather_ps(c->middle, code, 4), _CMP_GT_OQ)));
    return code;
}

static void adamw8_block(const hone_adamw8_job *j, size_t block)
{
    const hone_adamw8 *a = j->a;
    const hone_adamw8_maps_of *maps = j->maps;
    const size_t from = block * BLOCK;
    float *p = a->p + from, *g = a->g + from, m[BLOCK], v[BLOCK], top_m, top_v;
    uint8_t *code_m = a->m + from, *code_v = a->v + from;
    const __m256 zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    const __m256 old_m = _mm256_set1_ps(a->m_max[block]), old_v = _mm256_set1_ps(a->v_max[block]),
                 b1 = _mm256_set1_ps(j->b1), c1 = _mm256_set1_ps(j->c1), b2 = _mm256_set1_ps(j->b2),
                 c2 = _mm256_set1_ps(j->c2), decay = _mm256_set1_ps(j->decay), clip = _mm256_set1_ps(j->clip),
                 step = _mm256_set1_ps(j->step), eps = _mm256_set1_ps(j->eps);
    const __m256i middle = _mm256_set1_epi32(maps->zero), most = _mm256_set1_epi32(maps->negative);
    __m256 max_m = zero, max_v = zero, by_m, by_v;
    int i;

    for (i = 0; i < BLOCK; i += 8) {
        __m256 gr = _mm256_mul_ps(_mm256_loadu_ps(g + i), clip), old = _mm256_loadu_ps(p + i);
        __m256 finite = _mm256_cmp_ps(_mm256_sub_ps(gr, gr), zero, _CMP_EQ_OQ);
        __m256 vm = _mm256_mul_ps(_mm256_i32gather_ps(maps->of_code, bytes8(code_m + i), 4), old_m);
        __m256 vv = _mm256_mul_ps(_mm256_i32gather_ps(maps->v.value, bytes8(code_v + i), 4), old_v), to;

        vm = _mm256_add_ps(_mm256_mul_ps(b1, vm), _mm256_mul_ps(c1, gr));
        vv = _mm256_add_ps(_mm256_mul_ps(b2, vv), _mm256_mul_ps(c2, _mm256_mul_ps(gr, gr)));
        to = _mm256_mul_ps(step, _mm256_div_ps(vm, _mm256_add_ps(_mm256_sqrt_ps(vv), eps)));
        to = _mm256_sub_ps(_mm256_mul_ps(old, decay), to);
        _mm256_storeu_ps(p + i, _mm256_blendv_ps(old, to, finite));
        _mm256_storeu_ps(g + i, zero);
        vm = _mm256_and_ps(vm, finite);
        vv = _mm256_and_ps(vv, finite);
        _mm256_storeu_ps(m + i, vm);
        _mm256_storeu_ps(v + i, vv);
        max_m = _mm256_max_ps(_mm256_andnot_ps(sign, vm), max_m);
        max_v = _mm256_max_ps(vv, max_v);
    }
    a->m_max[block] = top_m = max8(max_m);
    a->v_max[block] = top_v = max8(max_v);
    by_m = _mm256_set1_ps(top_m);
    by_v = _mm256_set1_ps(top_v);
    for (i = 0; i < BLOCK; i += 8) {
        __m256 vm = _mm256_loadu_ps(m + i), scale = zero, negative = _mm256_cmp_ps(vm, zero, _CMP_LT_OQ);
        __m256i code;

        if (top_m > 0)
            scale = _mm256_min_ps(_mm256_div_ps(_mm256_andnot_ps(sign, vm), by_m), one);
        code = codes8(&maps->m, scale);
        code = _mm256_blendv_epi8(_mm256_add_epi32(middle, code),
                                  _mm256_sub_epi32(middle, _mm256_min_epi32(code, most)),
                                  _mm256_castps_si256(negative));
        put_bytes8(code_m + i, code);
        scale = zero;
        if (top_v > 0)
            scale = _mm256_min_ps(_mm256_div_ps(_mm256_loadu_ps(v + i), by_v), one);
        put_bytes8(code_v + i, codes8(&maps->v, scale));
    }
}

void hone_optim_avx2(hone_kernels *k)
{
    k->adamw8_block = adamw8_block;
}
