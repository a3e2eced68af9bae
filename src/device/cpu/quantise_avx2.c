/* Four-bit codes and Q8_0 blocks on AVX2: to values, against one token, and from values while a model is loaded. Bit for
 * bit what quantise.c and hone_quantise give; only the order of the dot product's sum is its own. */
#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"
#include "device/cpu/vec256.h"

/* ---- codes to values ---------------------------------------------------------------------------------------------- */

/* The 16 codes of 8 bytes, in order. */
INLINE __m128i codes16(const uint8_t *p)
{
    const __m128i v = _mm_loadl_epi64((const __m128i *)p);

    return _mm_and_si128(_mm_unpacklo_epi8(_mm_srli_epi16(v, 4), v), _mm_set1_epi8(15));
}

/* Table entries of the first 8 codes: two permutes of 8, chosen by bit 3 of the code. */
INLINE __m256 look_up(__m128i codes, __m256 low, __m256 high)
{
    const __m256i c = _mm256_cvtepu8_epi32(codes);

    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, c), _mm256_permutevar8x32_ps(high, c),
                            _mm256_castsi256_ps(_mm256_slli_epi32(c, 28)));
}

INLINE float value_at(const hone_run4 *run, int64_t i)
{
    const uint8_t byte = run->codes[i / 2];

    return run->table[i % 2 ? byte & 15 : byte >> 4];
}

/* End of the block that value i lies in, at most n. */
INLINE int64_t block_end(const hone_run4 *run, int64_t i, int64_t n)
{
    return HONE_MIN(n, ((run->lead + i) / run->block + 1) * run->block - run->lead);
}

static void expand4(float *out, const hone_run4 *run, int64_t n)
{
    const __m256 low = _mm256_loadu_ps(run->table), high = _mm256_loadu_ps(run->table + 8);
    const float *scale = run->scale;
    int64_t i = 0, end;

    for (; i < n; scale++) {
        const __m256 s = _mm256_set1_ps(*scale);

        for (end = block_end(run, i, n); i + 16 <= end; i += 16) {
            const __m128i c = codes16(run->codes + i / 2);

            _mm256_storeu_ps(out + i, _mm256_mul_ps(look_up(c, low, high), s));
            _mm256_storeu_ps(out + i + 8, _mm256_mul_ps(look_up(_mm_unpackhi_epi64(c, c), low, high), s));
        }
        for (; i < end; i++)
            out[i] = value_at(run, i) * *scale;
    }
}

static float dot4(const hone_run4 *run, const float *x, int64_t n)
{
    const __m256 low = _mm256_loadu_ps(run->table), high = _mm256_loadu_ps(run->table + 8);
    const float *scale = run->scale;
    __m256 sum = _mm256_setzero_ps();
    float rest = 0;
    int64_t i = 0, end;

    for (; i < n; scale++) {
        __m256 s0 = _mm256_setzero_ps(), s1 = s0;

        for (end = block_end(run, i, n); i + 16 <= end; i += 16) {
            const __m128i c = codes16(run->codes + i / 2);

            s0 = _mm256_fmadd_ps(look_up(c, low, high), _mm256_loadu_ps(x + i), s0);
            s1 =
                _mm256_fmadd_ps(look_up(_mm_unpackhi_epi64(c, c), low, high), _mm256_loadu_ps(x + i + 8), s1);
        }
        sum = _mm256_fmadd_ps(_mm256_add_ps(s0, s1), _mm256_set1_ps(*scale), sum);
        for (; i < end; i++)
            rest += value_at(run, i) * *scale * x[i];
    }
    return sum8(sum) + rest;
}

/* ---- values to codes ---------------------------------------------------------------------------------------------- */

#define MAGNITUDE _mm256_set1_epi32(0x7fffffff)

INLINE float largest8(__m256i bits)
{
    __m128i v = _mm_max_epu32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));

    v = _mm_max_epu32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_max_epu32(v, _mm_shuffle_epi32(v, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(v));
}

/* The largest magnitude, by its bits: NaN counts as larger than infinity. n is a multiple of 8. */
INLINE float largest(const float *x, int64_t n)
{
    __m256i most = _mm256_setzero_si256();
    int64_t i;

    for (i = 0; i < n; i += 8)
        most =
            _mm256_max_epu32(most, _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(x + i)), MAGNITUDE));
    return largest8(most);
}

/* The number of midpoints below each of 8 values. */
INLINE __m256i ranks(__m256 v, const hone_coder4 *c)
{
    __m256i rank = _mm256_setzero_si256();
    int k;

#pragma GCC unroll 15
    for (k = 0; k < 15; k++)
        rank = _mm256_sub_epi32(
            rank, _mm256_castps_si256(_mm256_cmp_ps(v, _mm256_set1_ps(c->middle[k]), _CMP_GT_OQ)));
    return rank;
}

static float quantise4(uint8_t *codes, const float *x, int64_t n, const hone_coder4 *c)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)c->code));
    float whole[64] = {0}, most; /* a block, filled up with zeros, which change no magnitude */
    uint8_t out[32];
    __m256 inverse;
    int i, q;

    memcpy(whole, x, (size_t)n * sizeof *x);
    most = largest(whole, 64);
    inverse = _mm256_set1_ps(1.0f / (most > 1e-38f ? most : 1e-38f));
    for (i = 0; i < 64; i += 32) {
        __m256i rank[4], code;

        for (q = 0; q < 4; q++)
            rank[q] = ranks(_mm256_mul_ps(_mm256_loadu_ps(whole + i + 8 * q), inverse), c);
        code =
            _mm256_packus_epi16(_mm256_packus_epi32(rank[0], rank[1]), _mm256_packus_epi32(rank[2], rank[3]));
        code = _mm256_shuffle_epi8(table, _mm256_permutevar8x32_epi32(code, order));
        code = _mm256_maddubs_epi16(code, _mm256_set1_epi16(0x0110)); /* 16 first + second */
        code = _mm256_permute4x64_epi64(_mm256_packus_epi16(code, code), 0x08);
        _mm_storeu_si128((__m128i *)(out + i / 2), _mm256_castsi256_si128(code));
    }
    memcpy(codes, out, (size_t)n / 2);
    return most;
}

/* Rounded to the nearest integer, halves away from zero; 0 beyond 127, as hone_quantise has it. */
INLINE __m256i code8(__m256 v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_or_ps(_mm256_and_ps(v, sign), _mm256_set1_ps(1));
    const __m256 cut = _mm256_round_ps(v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const __m256 rest = _mm256_sub_ps(v, cut); /* exact */
    const __m256 away = _mm256_cmp_ps(_mm256_andnot_ps(sign, rest), _mm256_set1_ps(0.5f), _CMP_GE_OQ);
    const __m256 q = _mm256_add_ps(cut, _mm256_and_ps(away, one));

    return _mm256_cvttps_epi32(
        _mm256_and_ps(q, _mm256_cmp_ps(_mm256_andnot_ps(sign, q), _mm256_set1_ps(127), _CMP_LE_OQ)));
}

static void quantise_q8_0(void *out, const float *x, int64_t n)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint8_t *p = out;
    int64_t i;
    int q;

    for (i = 0; i < n; i += 32, p += 34) {
        const float d = largest(x + i, 32) / 127;
        const __m256 inverse = _mm256_set1_ps(d != 0 ? 1 / d : 0);
        const uint16_t h = hone_f32_to_f16(d);
        __m256i v[4], codes;

        for (q = 0; q < 4; q++)
            v[q] = code8(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * q), inverse));
        codes = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        memcpy(p, &h, 2);
        _mm256_storeu_si256((__m256i *)(p + 2), _mm256_permutevar8x32_epi32(codes, order));
    }
}

void hone_quantise_avx2(hone_kernels *k)
{
    k->expand4 = expand4;
    k->dot4 = dot4;
    k->quantise4 = quantise4;
    k->quantise_q8_0 = quantise_q8_0;
}
