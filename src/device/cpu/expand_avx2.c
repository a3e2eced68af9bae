/* Weights of every stored format on AVX2: to f32, and one stored row against one token.
 *
 * Expansion gives bit for bit what hone_dequantise gives (a value is rounded at most once, so fused multiply-adds change
 * nothing). Layouts of the blocks stand in base/dtype.c. */
#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"
#include "device/cpu/vec256.h"

/* -0 leaves the sign of a zero product alone. */
#define NO_OFFSET _mm256_set1_ps(-0.0f)

INLINE float half_at(const uint8_t *p)
{
    uint16_t h;

    memcpy(&h, p, 2);
    return _cvtsh_ss(h);
}

/* y[0..16) = scale * codes + offset; codes are unsigned bytes below 128, or signed bytes. */
INLINE void put16(float *y, __m128i codes, __m256 scale, __m256 offset)
{
    __m256 lo = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
    __m256 hi = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes)));

    _mm256_storeu_ps(y, _mm256_fmadd_ps(lo, scale, offset));
    _mm256_storeu_ps(y + 8, _mm256_fmadd_ps(hi, scale, offset));
}

/* The 32 bits at p as 32 bytes of 0x10 or 0. */
INLINE __m256i fifth_bits(const uint8_t *p)
{
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,
                                            2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    int32_t h;
    __m256i v;

    memcpy(&h, p, 4);
    v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(h), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(0x10));
}

static void expand_f32(float *out, const void *src, int64_t n)
{
    memcpy(out, src, (size_t)n * sizeof *out);
}

static void expand_f16(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 2 * i))));
    for (; i < n; i++)
        out[i] = half_at(p + 2 * i);
}

static void expand_bf16(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i = 0;
    uint16_t h;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, bf16_load((const uint16_t *)(const void *)(p + 2 * i)));
    for (; i < n; i++) {
        memcpy(&h, p + 2 * i, 2);
        out[i] = hone_bf16_to_f32(h);
    }
}

/* Codes without their scale. */
static void expand_i8(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i = 0;

    for (; i + 16 <= n; i += 16)
        put16(out + i, _mm_loadu_si128((const __m128i *)(p + i)), _mm256_set1_ps(1), NO_OFFSET);
    for (; i < n; i++)
        out[i] = (float)(int8_t)p[i];
}

static void expand_q8_0(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;

    for (i = 0; i < n; i += 32, p += 34) {
        __m256 d = _mm256_set1_ps(half_at(p));

        put16(out + i, _mm_loadu_si128((const __m128i *)(p + 2)), d, NO_OFFSET);
        put16(out + i + 16, _mm_loadu_si128((const __m128i *)(p + 18)), d, NO_OFFSET);
    }
}

/* One block of 4 or 5 bits: nibbles at q, fifth bits at h or NULL, `less` subtracted from the codes. */
INLINE void put_nibbles(float *out, const uint8_t *q, const uint8_t *h, const int less, __m256 d, __m256 m)
{
    const __m128i mask = _mm_set1_epi8(15);
    __m128i v = _mm_loadu_si128((const __m128i *)q), lo = _mm_and_si128(v, mask),
            hi = _mm_and_si128(_mm_srli_epi16(v, 4), mask);

    if (h) {
        __m256i five = fifth_bits(h);

        lo = _mm_or_si128(lo, _mm256_castsi256_si128(five));
        hi = _mm_or_si128(hi, _mm256_extracti128_si256(five, 1));
    }
    if (less) {
        lo = _mm_sub_epi8(lo, _mm_set1_epi8((char)less));
        hi = _mm_sub_epi8(hi, _mm_set1_epi8((char)less));
    }
    put16(out, lo, d, m);
    put16(out + 16, hi, d, m);
}

static void expand_q4_0(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;

    for (i = 0; i < n; i += 32, p += 18)
        put_nibbles(out + i, p + 2, NULL, 8, _mm256_set1_ps(half_at(p)), NO_OFFSET);
}

static void expand_q4_1(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;

    for (i = 0; i < n; i += 32, p += 20)
        put_nibbles(out + i, p + 4, NULL, 0, _mm256_set1_ps(half_at(p)), _mm256_set1_ps(half_at(p + 2)));
}

static void expand_q5_0(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;

    for (i = 0; i < n; i += 32, p += 22)
        put_nibbles(out + i, p + 6, p + 2, 16, _mm256_set1_ps(half_at(p)), NO_OFFSET);
}

static void expand_q5_1(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;

    for (i = 0; i < n; i += 32, p += 24)
        put_nibbles(out + i, p + 8, p + 4, 0, _mm256_set1_ps(half_at(p)), _mm256_set1_ps(half_at(p + 2)));
}

/* The eight 6-bit scales and minima of a Q4_K or Q5_K block, unpacked. */
INLINE void k_scales(uint8_t scale[8], uint8_t min[8], const uint8_t *s)
{
    int k;

    for (k = 0; k < 4; k++) {
        scale[k] = s[k] & 63;
        min[k] = s[k + 4] & 63;
        scale[k + 4] = (uint8_t)((s[k + 8] & 15) | s[k] >> 6 << 4);
        min[k + 4] = (uint8_t)(s[k + 8] >> 4 | s[k + 4] >> 6 << 4);
    }
}

INLINE void expand_k(float *out, const uint8_t *p, const bool five, const uint8_t *codes)
{
    const __m256i mask = _mm256_set1_epi8(15);
    float d = half_at(p), dmin = half_at(p + 2);
    uint8_t scale[8], min[8];
    int k;

    k_scales(scale, min, p + 4);
    for (k = 0; k < 8; k++) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(codes + 32 * (k / 2)));
        __m256 ds = _mm256_set1_ps(d * (float)scale[k]), dm = _mm256_set1_ps(-(dmin * (float)min[k]));

        v = _mm256_and_si256(k & 1 ? _mm256_srli_epi16(v, 4) : v, mask);
        if (five) {
            __m256i bit = _mm256_set1_epi8((char)(1 << k));
            __m256i h = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(p + 16)), bit);

            v = _mm256_or_si256(v, _mm256_and_si256(_mm256_cmpeq_epi8(h, bit), _mm256_set1_epi8(16)));
        }
        put16(out + 32 * k, _mm256_castsi256_si128(v), ds, dm);
        put16(out + 32 * k + 16, _mm256_extracti128_si256(v, 1), ds, dm);
    }
}

static void expand_q4_k(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;

    for (i = 0; i < n; i += 256, p += 144)
        expand_k(out + i, p, false, p + 16);
}

static void expand_q5_k(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;

    for (i = 0; i < n; i += 256, p += 176)
        expand_k(out + i, p, true, p + 48);
}

/* The 128 codes of one half of a Q6_K block, less 32. */
INLINE void q6_codes(__m256i code[4], const uint8_t *p, int half)
{
    const __m256i four = _mm256_set1_epi8(15), two = _mm256_set1_epi8(0x30), less = _mm256_set1_epi8(32);
    __m256i l0 = _mm256_loadu_si256((const __m256i *)(p + 64 * half));
    __m256i l1 = _mm256_loadu_si256((const __m256i *)(p + 64 * half + 32));
    __m256i h = _mm256_loadu_si256((const __m256i *)(p + 128 + 32 * half));
    int part;

    code[0] = _mm256_or_si256(_mm256_and_si256(l0, four), _mm256_and_si256(_mm256_slli_epi16(h, 4), two));
    code[1] = _mm256_or_si256(_mm256_and_si256(l1, four), _mm256_and_si256(_mm256_slli_epi16(h, 2), two));
    code[2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l0, 4), four), _mm256_and_si256(h, two));
    code[3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l1, 4), four),
                              _mm256_and_si256(_mm256_srli_epi16(h, 2), two));
    for (part = 0; part < 4; part++)
        code[part] = _mm256_sub_epi8(code[part], less);
}

static void expand_q6_k(float *out, const void *src, int64_t n)
{
    const uint8_t *p = src;
    int64_t i;
    int half, part;

    for (i = 0; i < n; i += 256, p += 210) {
        float d = half_at(p + 208);

        for (half = 0; half < 2; half++) {
            const int8_t *scale = (const int8_t *)(p + 192 + 8 * half);
            __m256i code[4];

            q6_codes(code, p, half);
            for (part = 0; part < 4; part++) {
                float *y = out + i + 128 * half + 32 * part;

                put16(y, _mm256_castsi256_si128(code[part]), _mm256_set1_ps(d * (float)scale[2 * part]),
                      NO_OFFSET);
                put16(y + 16, _mm256_extracti128_si256(code[part], 1),
                      _mm256_set1_ps(d * (float)scale[2 * part + 1]), NO_OFFSET);
            }
        }
    }
}

static void scale_round(float *x, int64_t n, float scale, bool round)
{
    __m256 s = _mm256_set1_ps(scale);
    int64_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), s);

        _mm256_storeu_ps(x + i, round ? bf16_round(v) : v);
    }
    for (; i < n; i++) {
        x[i] *= scale;
        if (round)
            x[i] = hone_bf16_to_f32(hone_f32_to_bf16(x[i]));
    }
}

static void to_bf16(uint16_t *out, const float *in, int64_t n)
{
    int64_t i = 0;

    for (; i + 8 <= n; i += 8)
        bf16_store(out + i, _mm256_loadu_ps(in + i));
    for (; i < n; i++)
        out[i] = hone_f32_to_bf16(in[i]);
}

static void to_f32(float *out, const uint16_t *in, int64_t n)
{
    expand_bf16(out, in, n);
}

/* ---- a stored row against one token: the codes meet x before their scale does ------------------------------------ */

INLINE __m256 meet16(__m128i codes, const float *x, __m256 s)
{
    s = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), _mm256_loadu_ps(x), s);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes))),
                           _mm256_loadu_ps(x + 8), s);
}

INLINE __m256 meet32(__m256i codes, const float *x)
{
    return meet16(_mm256_extracti128_si256(codes, 1), x + 16,
                  meet16(_mm256_castsi256_si128(codes), x, _mm256_setzero_ps()));
}

INLINE __m256 sum32(const float *x)
{
    return _mm256_add_ps(_mm256_add_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)),
                         _mm256_add_ps(_mm256_loadu_ps(x + 16), _mm256_loadu_ps(x + 24)));
}

/* 16 bytes of nibbles as 32 codes in order. */
INLINE __m256i nibbles(const uint8_t *q)
{
    __m128i v = _mm_loadu_si128((const __m128i *)q);

    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), _mm256_set1_epi8(15));
}

static float dot_bf16(const void *w, const float *x, int64_t n)
{
    const uint8_t *p = w;
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    float s, v;
    int64_t i = 0;

    for (; i + 32 <= n; i += 32) {
        const uint16_t *h = (const uint16_t *)(const void *)(p + 2 * i);

        s0 = _mm256_fmadd_ps(bf16_load(h), _mm256_loadu_ps(x + i), s0);
        s1 = _mm256_fmadd_ps(bf16_load(h + 8), _mm256_loadu_ps(x + i + 8), s1);
        s2 = _mm256_fmadd_ps(bf16_load(h + 16), _mm256_loadu_ps(x + i + 16), s2);
        s3 = _mm256_fmadd_ps(bf16_load(h + 24), _mm256_loadu_ps(x + i + 24), s3);
    }
    s = sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
    for (; i < n; i++) {
        expand_bf16(&v, p + 2 * i, 1);
        s = fmaf(v, x[i], s);
    }
    return s;
}

static float dot_q8_0(const void *w, const float *x, int64_t n)
{
    const uint8_t *p = w;
    __m256 s = _mm256_setzero_ps();
    int64_t i;

    for (i = 0; i < n; i += 32, p += 34)
        s = _mm256_fmadd_ps(meet32(_mm256_loadu_si256((const __m256i *)(p + 2)), x + i),
                            _mm256_set1_ps(half_at(p)), s);
    return sum8(s);
}

static float dot_q4_0(const void *w, const float *x, int64_t n)
{
    const uint8_t *p = w;
    __m256 s = _mm256_setzero_ps();
    int64_t i;

    for (i = 0; i < n; i += 32, p += 18)
        s = _mm256_fmadd_ps(meet32(_mm256_sub_epi8(nibbles(p + 2), _mm256_set1_epi8(8)), x + i),
                            _mm256_set1_ps(half_at(p)), s);
    return sum8(s);
}

static float dot_q4_1(const void *w, const float *x, int64_t n)
{
    const uint8_t *p = w;
    __m256 s = _mm256_setzero_ps(), m = s;
    int64_t i;

    for (i = 0; i < n; i += 32, p += 20) {
        s = _mm256_fmadd_ps(meet32(nibbles(p + 4), x + i), _mm256_set1_ps(half_at(p)), s);
        m = _mm256_fmadd_ps(sum32(x + i), _mm256_set1_ps(half_at(p + 2)), m);
    }
    return sum8(_mm256_add_ps(s, m));
}

static float dot_q5_0(const void *w, const float *x, int64_t n)
{
    const uint8_t *p = w;
    __m256 s = _mm256_setzero_ps();
    int64_t i;

    for (i = 0; i < n; i += 32, p += 22) {
        __m256i codes = _mm256_or_si256(nibbles(p + 6), fifth_bits(p + 2));

        s = _mm256_fmadd_ps(meet32(_mm256_sub_epi8(codes, _mm256_set1_epi8(16)), x + i),
                            _mm256_set1_ps(half_at(p)), s);
    }
    return sum8(s);
}

static float dot_q4_k(const void *w, const float *x, int64_t n)
{
    const __m256i mask = _mm256_set1_epi8(15);
    const uint8_t *p = w;
    __m256 s = _mm256_setzero_ps(), m = s;
    uint8_t scale[8], min[8];
    int64_t i;
    int k;

    for (i = 0; i < n; i += 256, p += 144) {
        float d = half_at(p), dmin = half_at(p + 2);

        k_scales(scale, min, p + 4);
        for (k = 0; k < 8; k++) {
            const float *y = x + i + 32 * k;
            __m256i v = _mm256_loadu_si256((const __m256i *)(p + 16 + 32 * (k / 2)));

            v = _mm256_and_si256(k & 1 ? _mm256_srli_epi16(v, 4) : v, mask);
            s = _mm256_fmadd_ps(meet32(v, y), _mm256_set1_ps(d * (float)scale[k]), s);
            m = _mm256_fmadd_ps(sum32(y), _mm256_set1_ps(dmin * (float)min[k]), m);
        }
    }
    return sum8(_mm256_sub_ps(s, m));
}

static float dot_q6_k(const void *w, const float *x, int64_t n)
{
    const uint8_t *p = w;
    __m256 s = _mm256_setzero_ps();
    int64_t i;
    int half, part;

    for (i = 0; i < n; i += 256, p += 210) {
        float d = half_at(p + 208);

        for (half = 0; half < 2; half++) {
            const int8_t *scale = (const int8_t *)(p + 192 + 8 * half);
            __m256i code[4];

            q6_codes(code, p, half);
            for (part = 0; part < 4; part++) {
                const float *y = x + i + 128 * half + 32 * part;

                s = _mm256_fmadd_ps(meet16(_mm256_castsi256_si128(code[part]), y, _mm256_setzero_ps()),
                                    _mm256_set1_ps(d * (float)scale[2 * part]), s);
                s = _mm256_fmadd_ps(
                    meet16(_mm256_extracti128_si256(code[part], 1), y + 16, _mm256_setzero_ps()),
                    _mm256_set1_ps(d * (float)scale[2 * part + 1]), s);
            }
        }
    }
    return sum8(s);
}

void hone_expand_avx2(hone_kernels *k)
{
    k->dot_stored[HONE_BF16] = dot_bf16;
    k->dot_stored[HONE_Q8_0] = dot_q8_0;
    k->dot_stored[HONE_Q4_0] = dot_q4_0;
    k->dot_stored[HONE_Q4_1] = dot_q4_1;
    k->dot_stored[HONE_Q5_0] = dot_q5_0;
    k->dot_stored[HONE_Q4_K] = dot_q4_k;
    k->dot_stored[HONE_Q6_K] = dot_q6_k;
    k->expand[HONE_F32] = expand_f32;
    k->expand[HONE_F16] = expand_f16;
    k->expand[HONE_BF16] = expand_bf16;
    k->expand[HONE_I8] = expand_i8;
    k->expand[HONE_Q8_0] = expand_q8_0;
    k->expand[HONE_Q4_0] = expand_q4_0;
    k->expand[HONE_Q4_1] = expand_q4_1;
    k->expand[HONE_Q5_0] = expand_q5_0;
    k->expand[HONE_Q5_1] = expand_q5_1;
    k->expand[HONE_Q4_K] = expand_q4_k;
    k->expand[HONE_Q5_K] = expand_q5_k;
    k->expand[HONE_Q6_K] = expand_q6_k;
    k->scale_round = scale_round;
    k->to_bf16 = to_bf16;
    k->to_f32 = to_f32;
}
