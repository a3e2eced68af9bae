/* Storage types: sizes, half-precision conversions, and the reference decoders and encoders of ggml's blocks.
 *
 * A quantised row is a sequence of blocks; a block holds 32 or 256 values that share scales. In the layouts below all
 * numbers are little-endian, f16 is IEEE binary16, and `|` separates fields in file order:
 *
 *   Q8_0  f16 d | i8 q[32]                                   y = d q
 *   Q4_0  f16 d | u8 q[16]                                   y = d (q - 8)      value j < 16: low nibble of byte j,
 *   Q4_1  f16 d | f16 m | u8 q[16]                           y = d q + m          value j + 16: its high nibble
 *   Q5_0  f16 d | u8 h[4] | u8 q[16]                         y = d (q - 16)     bit j of h is bit 4 of code j
 *   Q5_1  f16 d | f16 m | u8 h[4] | u8 q[16]                 y = d q + m
 *   Q4_K  f16 d | f16 dmin | u8 s[12] | u8 q[128]            y = d s_k q - dmin m_k   k = sub-block of 32 values
 *   Q5_K  f16 d | f16 dmin | u8 s[12] | u8 h[32] | u8 q[128] as Q4_K with a fifth bit
 *   Q6_K  u8 l[128] | u8 h[64] | i8 s[16] | f16 d            y = d s (q - 32)         s = scale of 16 values
 *   NF4, FP4  u8 q                                           y = table[q >> 4], table[q & 15]       without a scale
 *
 * Every decoder rounds at most once per value: a product of an 11-bit scale with 6- and 6-bit integers is exact in f32.
 * So results do not depend on the order of operations or on fused multiply-add, and kernels can be held to equality
 * with this file. Blocks are read byte by byte: data in a mapped file has no alignment. */
#include "base/dtype.h"

#include <math.h>

#pragma STDC FP_CONTRACT OFF

static const struct {
    const char *name;
    int block;
    size_t block_size;
    bool weight;
} types[HONE_DTYPE_COUNT] = {
    [HONE_F32] = {"F32", 1, 4, true},       [HONE_F16] = {"F16", 1, 2, true},
    [HONE_BF16] = {"BF16", 1, 2, true},     [HONE_Q4_0] = {"Q4_0", 32, 18, true},
    [HONE_Q4_1] = {"Q4_1", 32, 20, true},   [HONE_Q5_0] = {"Q5_0", 32, 22, true},
    [HONE_Q5_1] = {"Q5_1", 32, 24, true},   [HONE_Q8_0] = {"Q8_0", 32, 34, true},
    [HONE_Q4_K] = {"Q4_K", 256, 144, true}, [HONE_Q5_K] = {"Q5_K", 256, 176, true},
    [HONE_Q6_K] = {"Q6_K", 256, 210, true}, [HONE_NF4] = {"NF4", 2, 1, true},
    [HONE_FP4] = {"FP4", 2, 1, true},       [HONE_I8] = {"I8", 1, 1, true},
    [HONE_U8] = {"U8", 1, 1, false},        [HONE_I16] = {"I16", 1, 2, false},
    [HONE_I32] = {"I32", 1, 4, false},      [HONE_I64] = {"I64", 1, 8, false},
    [HONE_F64] = {"F64", 1, 8, false},
};

static bool known(hone_dtype t)
{
    return (unsigned)t < HONE_DTYPE_COUNT;
}

const char *hone_dtype_name(hone_dtype t)
{
    return known(t) ? types[t].name : "unreadable";
}

int hone_dtype_block(hone_dtype t)
{
    return known(t) ? types[t].block : 1;
}

size_t hone_dtype_block_size(hone_dtype t)
{
    return known(t) ? types[t].block_size : 0;
}

bool hone_dtype_is_weight(hone_dtype t)
{
    return known(t) && types[t].weight;
}

size_t hone_dtype_bytes(hone_dtype t, int64_t n)
{
    size_t bytes;

    if (!known(t) || n < 0 ||
        __builtin_mul_overflow((size_t)(n / types[t].block), types[t].block_size, &bytes))
        return SIZE_MAX;
    return bytes;
}

float hone_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff, u;
    float f;

    if (exponent == 31) {
        u = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent) {
        u = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        f = (float)mantissa * 0x1p-24f; /* zero and subnormals, exact */
        memcpy(&u, &f, 4);
        u |= sign;
    }
    memcpy(&f, &u, 4);
    return f;
}

uint16_t hone_f32_to_f16(float f)
{
    uint32_t u, sign, a, shift, kept, rest, half;

    memcpy(&u, &f, 4);
    sign = u >> 16 & 0x8000;
    a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x1ff)); /* NaN, made quiet */
    if (a >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (a >= 0x38800000u) { /* normal: a carry out of the mantissa moves into the exponent, as it should */
        a -= 112u << 23;
        return (uint16_t)(sign | (a + 0xfff + (a >> 13 & 1)) >> 13);
    }
    if (a < 0x33000000u)
        return (uint16_t)sign; /* below half of the smallest subnormal */
    shift = 126 - (a >> 23);   /* 14..24 bits of the 24-bit mantissa are lost */
    a = (a & 0x7fffffu) | 0x800000u;
    kept = a >> shift;
    rest = a & ((1u << shift) - 1);
    half = 1u << (shift - 1);
    if (rest > half || (rest == half && (kept & 1)))
        kept++;
    return (uint16_t)(sign | kept);
}

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static float load_f16(const uint8_t *p)
{
    return hone_f16_to_f32(load16(p));
}

/* ---- decoders: one block at p into y ------------------------------------------------------------------------- */

static void get_q8_0(float *y, const uint8_t *p)
{
    float d = load_f16(p);
    int j;

    for (j = 0; j < 32; j++)
        y[j] = d * (float)(int8_t)p[2 + j];
}

static void get_q4_0(float *y, const uint8_t *p)
{
    float d = load_f16(p);
    int j;

    for (j = 0; j < 16; j++) {
        y[j] = d * (float)((p[2 + j] & 15) - 8);
        y[j + 16] = d * (float)((p[2 + j] >> 4) - 8);
    }
}

static void get_q4_1(float *y, const uint8_t *p)
{
    float d = load_f16(p), m = load_f16(p + 2);
    int j;

    for (j = 0; j < 16; j++) {
        y[j] = d * (float)(p[4 + j] & 15) + m;
        y[j + 16] = d * (float)(p[4 + j] >> 4) + m;
    }
}

static void get_q5_0(float *y, const uint8_t *p)
{
    float d = load_f16(p);
    uint32_t h = load32(p + 2);
    int j;

    for (j = 0; j < 16; j++) {
        y[j] = d * (float)((int)((p[6 + j] & 15) | (h >> j & 1) << 4) - 16);
        y[j + 16] = d * (float)((int)((p[6 + j] >> 4) | (h >> (j + 16) & 1) << 4) - 16);
    }
}

static void get_q5_1(float *y, const uint8_t *p)
{
    float d = load_f16(p), m = load_f16(p + 2);
    uint32_t h = load32(p + 4);
    int j;

    for (j = 0; j < 16; j++) {
        y[j] = d * (float)((p[8 + j] & 15) | (h >> j & 1) << 4) + m;
        y[j + 16] = d * (float)((p[8 + j] >> 4) | (h >> (j + 16) & 1) << 4) + m;
    }
}

/* The 6-bit scale and minimum of sub-block k of a Q4_K or Q5_K block. */
static void k_scale(const uint8_t *s, int k, int *scale, int *min)
{
    if (k < 4) {
        *scale = s[k] & 63;
        *min = s[k + 4] & 63;
    } else {
        *scale = (s[k + 4] & 15) | s[k - 4] >> 6 << 4;
        *min = s[k + 4] >> 4 | s[k] >> 6 << 4;
    }
}

/* Q4_K (high NULL) and Q5_K: sub-blocks 2p and 2p + 1 share 32 bytes of codes, low and high nibbles. */
static void get_k(float *y, const uint8_t *p, const uint8_t *high, const uint8_t *codes)
{
    float d = load_f16(p), dmin = load_f16(p + 2);
    int k, l;

    for (k = 0; k < 8; k++) {
        const uint8_t *q = codes + 32 * (k / 2);
        int scale, min;
        float ds, dm;

        k_scale(p + 4, k, &scale, &min);
        ds = d * (float)scale;
        dm = dmin * (float)min;
        for (l = 0; l < 32; l++) {
            int code = k & 1 ? q[l] >> 4 : q[l] & 15;

            if (high)
                code |= (high[l] >> k & 1) << 4;
            y[32 * k + l] = ds * (float)code - dm;
        }
    }
}

static void get_q4_k(float *y, const uint8_t *p)
{
    get_k(y, p, NULL, p + 16);
}

static void get_q5_k(float *y, const uint8_t *p)
{
    get_k(y, p, p + 16, p + 48);
}

static void get_q6_k(float *y, const uint8_t *p)
{
    float d = load_f16(p + 208);
    int half, l, part;

    for (half = 0; half < 2; half++) {
        const uint8_t *low = p + 64 * half, *high = p + 128 + 32 * half, *scale = p + 192 + 8 * half;

        for (part = 0; part < 4; part++)
            for (l = 0; l < 32; l++) {
                int four = part < 2 ? low[l + 32 * part] & 15 : low[l + 32 * (part - 2)] >> 4;
                int code = four | (high[l] >> (2 * part) & 3) << 4;
                float ds = d * (float)(int8_t)scale[l / 16 + 2 * part];

                y[128 * half + 32 * part + l] = ds * (float)(code - 32);
            }
    }
}

/* NF4: means of 16 stretches of the normal distribution (Dettmers et al. 2023, appendix E). FP4: sign, two bits of exponent,
 * one of mantissa, over the largest magnitude. Both as bitsandbytes has them. */
static const float nf4[16] = {-1.0f,
                              -0.6961928009986877f,
                              -0.5250730514526367f,
                              -0.39491748809814453f,
                              -0.28444138169288635f,
                              -0.18477343022823334f,
                              -0.09105003625154495f,
                              0.0f,
                              0.07958029955625534f,
                              0.16093020141124725f,
                              0.24611230194568634f,
                              0.33791524171829224f,
                              0.44070982933044434f,
                              0.5626170039176941f,
                              0.7229568362236023f,
                              1.0f};
static const float fp4[16] = {0.0f,  0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  0.5f,  2.0f / 12,  0.25f,
                              -0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f};

const float *hone_dtype_table(hone_dtype t)
{
    return t == HONE_NF4 ? nf4 : t == HONE_FP4 ? fp4 : NULL;
}

bool hone_dtype_is_scaled(hone_dtype t)
{
    return t == HONE_I8 || hone_dtype_table(t);
}

void hone_dequantise(float *out, const void *src, hone_dtype t, int64_t n)
{
    static void (*const get[HONE_DTYPE_COUNT])(float *y, const uint8_t *p) = {
        [HONE_Q4_0] = get_q4_0, [HONE_Q4_1] = get_q4_1, [HONE_Q5_0] = get_q5_0, [HONE_Q5_1] = get_q5_1,
        [HONE_Q8_0] = get_q8_0, [HONE_Q4_K] = get_q4_k, [HONE_Q5_K] = get_q5_k, [HONE_Q6_K] = get_q6_k,
    };
    const float *table = hone_dtype_table(t);
    const uint8_t *p = src;
    int64_t i;

    if (t == HONE_F32) {
        if (n > 0)
            memcpy(out, src, (size_t)n * 4);
    } else if (table) {
        for (i = 0; i < n; i++)
            out[i] = table[i % 2 ? p[i / 2] & 15 : p[i / 2] >> 4];
    } else if (t == HONE_I8) {
        for (i = 0; i < n; i++)
            out[i] = (float)(int8_t)p[i];
    } else if (t == HONE_F16) {
        for (i = 0; i < n; i++)
            out[i] = load_f16(p + 2 * i);
    } else if (t == HONE_BF16) {
        for (i = 0; i < n; i++)
            out[i] = hone_bf16_to_f32(load16(p + 2 * i));
    } else if (known(t) && get[t]) {
        for (i = 0; i < n; i += types[t].block, p += types[t].block_size)
            get[t](out + i, p);
    }
}

/* ---- encoders: one block of x into p ------------------------------------------------------------------------- */

static void store16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* v cut to an integer in [0, top]; NaN becomes 0. */
static int code_of(float v, int top)
{
    if (!(v > 0))
        return 0;
    return v >= (float)top ? top : (int)v;
}

static void put_q8_0(uint8_t *p, const float *x)
{
    float amax = 0, d, inverse;
    int j;

    for (j = 0; j < 32; j++)
        amax = HONE_MAX(amax, fabsf(x[j]));
    d = amax / 127;
    inverse = d != 0 ? 1 / d : 0;
    store16(p, hone_f32_to_f16(d));
    for (j = 0; j < 32; j++) {
        float q = roundf(x[j] * inverse);

        p[2 + j] =
            (uint8_t)(int8_t)(q >= -127 && q <= 127 ? q : 0); /* out of range: NaN or infinity came in */
    }
}

/* Packs 32 codes of `bits` 4 or 5 after `p`: first the fifth bits, then the nibbles. */
static void put_codes(uint8_t *p, const int *code, int bits)
{
    int j;

    if (bits == 5) {
        for (j = 0; j < 4; j++)
            p[j] = 0;
        for (j = 0; j < 32; j++)
            p[j / 8] = (uint8_t)(p[j / 8] | (code[j] >> 4) << (j % 8));
        p += 4;
    }
    for (j = 0; j < 16; j++)
        p[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
}

/* Q4_0 and Q5_0: the value of largest magnitude gets the most negative code. */
static void put_symmetric(uint8_t *p, const float *x, int bits)
{
    float amax = 0, max = 0, d, inverse, centre = (float)(1 << (bits - 1));
    int j, code[32];

    for (j = 0; j < 32; j++)
        if (fabsf(x[j]) > amax) {
            amax = fabsf(x[j]);
            max = x[j];
        }
    d = max / -centre;
    inverse = d != 0 ? 1 / d : 0;
    store16(p, hone_f32_to_f16(d));
    for (j = 0; j < 32; j++)
        code[j] = code_of(x[j] * inverse + (centre + 0.5f), (1 << bits) - 1);
    put_codes(p + 2, code, bits);
}

/* Q4_1 and Q5_1: codes run from the smallest value to the largest. */
static void put_affine(uint8_t *p, const float *x, int bits)
{
    float min = x[0], max = x[0], d, inverse;
    int j, code[32], top = (1 << bits) - 1;

    for (j = 1; j < 32; j++) {
        min = HONE_MIN(min, x[j]);
        max = HONE_MAX(max, x[j]);
    }
    d = (max - min) / (float)top;
    inverse = d != 0 ? 1 / d : 0;
    store16(p, hone_f32_to_f16(d));
    store16(p + 2, hone_f32_to_f16(min));
    for (j = 0; j < 32; j++)
        code[j] = code_of((x[j] - min) * inverse + 0.5f, top);
    put_codes(p + 4, code, bits);
}

int hone_quantise(void *out, const float *src, hone_dtype t, int64_t n, hone_error *err)
{
    uint8_t *p = out;
    int64_t i;

    switch (t) {
    case HONE_F32:
        if (n > 0)
            memcpy(out, src, (size_t)n * 4);
        return 0;
    case HONE_F16:
        for (i = 0; i < n; i++)
            store16(p + 2 * i, hone_f32_to_f16(src[i]));
        return 0;
    case HONE_BF16:
        for (i = 0; i < n; i++)
            store16(p + 2 * i, hone_f32_to_bf16(src[i]));
        return 0;
    case HONE_Q8_0:
        for (i = 0; i < n; i += 32, p += 34)
            put_q8_0(p, src + i);
        return 0;
    case HONE_Q4_0:
    case HONE_Q5_0:
        for (i = 0; i < n; i += 32, p += types[t].block_size)
            put_symmetric(p, src + i, t == HONE_Q4_0 ? 4 : 5);
        return 0;
    case HONE_Q4_1:
    case HONE_Q5_1:
        for (i = 0; i < n; i += 32, p += types[t].block_size)
            put_affine(p, src + i, t == HONE_Q4_1 ? 4 : 5);
        return 0;
    default:
        return hone_error_set(err, HONE_EUNSUPPORTED,
                              "there is no encoder for %s (there are F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1)",
                              hone_dtype_name(t));
    }
}
