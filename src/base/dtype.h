/* Storage types of tensors, and conversions of single values.
 *
 * Quantised types are ggml's blocks, bit for bit: a row of a matrix is a whole number of blocks along its contiguous
 * dimension. Layouts stand with the dequantisers in src/base/dtype.c. NF4 and FP4 are bitsandbytes' codes, two in a byte,
 * I8 those of its LLM.int8; their scales are stored apart (hone_scales in device/ops.h). */
#ifndef HONE_BASE_DTYPE_H
#define HONE_BASE_DTYPE_H

#include <stdint.h>
#include <string.h>

#include "base/base.h"

typedef enum hone_dtype {
    HONE_F32,
    HONE_F16,
    HONE_BF16,
    HONE_Q4_0,
    HONE_Q4_1,
    HONE_Q5_0,
    HONE_Q5_1,
    HONE_Q8_0,
    HONE_Q4_K,
    HONE_Q5_K,
    HONE_Q6_K,
    HONE_NF4,
    HONE_FP4,
    HONE_I8,
    HONE_U8,
    HONE_I16,
    HONE_I32,
    HONE_I64,
    HONE_F64,
    HONE_DTYPE_COUNT
} hone_dtype;

const char *hone_dtype_name(hone_dtype t);  /* "Q4_K" */
int hone_dtype_block(hone_dtype t);         /* values per block: 1, 2, 32 or 256 */
size_t hone_dtype_block_size(hone_dtype t); /* bytes per block */
bool hone_dtype_is_weight(hone_dtype t);    /* can hone_dequantise read it? */
/* Bytes of n values; n must be a multiple of the block. SIZE_MAX on overflow. */
size_t hone_dtype_bytes(hone_dtype t, int64_t n);

/* The 16 values of a type of four-bit codes (NF4, FP4), in -1..1; NULL for the others. */
const float *hone_dtype_table(hone_dtype t);

/* Whether values of the type are codes whose scales are stored apart: NF4, FP4, I8. */
bool hone_dtype_is_scaled(hone_dtype t);

/* out[0..n) = the values of n stored elements (n a multiple of the block) at src, which may be unaligned; of such types
 * before they are scaled. The reference: plain C, exact in f32. */
void hone_dequantise(float *out, const void *src, hone_dtype t, int64_t n);

/* Reference quantisers of ggml's simple types (F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1); n a multiple of the block.
 * HONE_EUNSUPPORTED for the others. */
int hone_quantise(void *out, const float *src, hone_dtype t, int64_t n, hone_error *err);

static inline float hone_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;

    memcpy(&f, &u, 4);
    return f;
}

static inline uint16_t hone_f32_to_bf16(float f) /* to nearest, ties to even; NaN stays NaN */
{
    uint32_t u;

    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 64);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float hone_f16_to_f32(uint16_t h);
uint16_t hone_f32_to_f16(float f); /* to nearest, ties to even */

#endif
