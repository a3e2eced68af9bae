/* Shared by the tests of the device: matrices between sentinels, weights of every format, error measures, and the
 * list of devices this machine can run. */
#ifndef DEVICE_TEST_H
#define DEVICE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cpu/kernels.h"
#include "device/ops.h"

#define GUARD 24 /* elements before and after a matrix, and more than the padding of a row */
#define SENTINEL 0xA5

static hone_rng test_rng = {42, 7, 0, {0}, 0};

static inline float uniform(float lo, float hi)
{
    return lo + (hi - lo) * (float)hone_rng_uniform(&test_rng);
}

static inline size_t elem(hone_dtype t)
{
    return t == HONE_F32 ? 4 : 2;
}

static inline size_t mat_bytes(const hone_mat *m)
{
    return ((size_t)(m->rows * m->ld) + 2 * GUARD) * elem(m->dtype);
}

/* A matrix whose rows are `pad` elements apart, everything filled with the sentinel. */
static inline hone_mat mat_new(hone_dtype t, int64_t rows, int64_t cols, int64_t pad)
{
    hone_mat m = {NULL, t, rows, cols, cols + pad};
    char *p = malloc(mat_bytes(&m));

    assert_non_null(p);
    memset(p, SENTINEL, mat_bytes(&m));
    m.data = p + GUARD * elem(t);
    return m;
}

static inline void mat_free(hone_mat *m)
{
    if (m->data)
        free((char *)m->data - GUARD * elem(m->dtype));
    m->data = NULL;
}

static inline double get(const hone_mat *m, int64_t r, int64_t c)
{
    int64_t i = r * m->ld + c;

    return m->dtype == HONE_F32 ? (double)((const float *)m->data)[i]
                                : (double)hone_bf16_to_f32(((const uint16_t *)m->data)[i]);
}

static inline void put(hone_mat *m, int64_t r, int64_t c, float v)
{
    int64_t i = r * m->ld + c;

    if (m->dtype == HONE_F32)
        ((float *)m->data)[i] = v;
    else
        ((uint16_t *)m->data)[i] = hone_f32_to_bf16(v);
}

static inline void mat_random(hone_mat *m, float scale)
{
    int64_t r, c;

    for (r = 0; r < m->rows; r++)
        for (c = 0; c < m->cols; c++)
            put(m, r, c, uniform(-scale, scale));
}

static inline hone_mat mat_copy(const hone_mat *m)
{
    hone_mat c = mat_new(m->dtype, m->rows, m->cols, m->ld - m->cols);

    memcpy((char *)c.data - GUARD * elem(m->dtype), (const char *)m->data - GUARD * elem(m->dtype),
           mat_bytes(m));
    return c;
}

/* Every byte outside the matrix still holds the sentinel. */
static inline void mat_check_guard(const hone_mat *m)
{
    const uint8_t *base = (const uint8_t *)m->data - GUARD * elem(m->dtype);
    int64_t total = m->rows * m->ld + 2 * GUARD, i, at, col;
    size_t b;

    for (i = 0; i < total; i++) {
        at = i - GUARD;
        col = at >= 0 ? at % m->ld : -1;
        if (at >= 0 && at < m->rows * m->ld && col < m->cols)
            continue;
        for (b = 0; b < elem(m->dtype); b++)
            if (base[(size_t)i * elem(m->dtype) + b] != SENTINEL)
                fail_msg("byte outside a matrix [%lld, %lld] was written at row %lld, column %lld",
                         (long long)m->rows, (long long)m->cols, (long long)(at / m->ld), (long long)col);
    }
}

static inline void mat_same_bits(const hone_mat *a, const hone_mat *b)
{
    int64_t r;

    for (r = 0; r < a->rows; r++)
        assert_memory_equal((char *)a->data + (size_t)(r * a->ld) * elem(a->dtype),
                            (char *)b->data + (size_t)(r * b->ld) * elem(b->dtype),
                            (size_t)a->cols * elem(a->dtype));
}

/* Normalised squared error of m against want [rows, cols] in double. */
static inline double nmse(const hone_mat *m, const double *want)
{
    double num = 0, den = 0;
    int64_t r, c;

    for (r = 0; r < m->rows; r++)
        for (c = 0; c < m->cols; c++) {
            double w = want[r * m->cols + c], e = get(m, r, c) - w;

            num += e * e;
            den += w * w;
        }
    return num == 0 ? 0 : num / (den > 0 ? den : 1e-300);
}

static inline void check_nmse(const char *what, const hone_mat *m, const double *want, double limit)
{
    double e = nmse(m, want);

    mat_check_guard(m);
    if (!(e <= limit))
        fail_msg("%s [%lld, %lld]: normalised squared error %.3g, limit %.3g", what, (long long)m->rows,
                 (long long)m->cols, e, limit);
}

/* Limits: f32 sums of a few thousand products; bf16 results carry a rounding of up to 2^-8 relative. */
static inline double limit_of(hone_dtype t)
{
    return t == HONE_F32 ? 1e-11 : 1.6e-5;
}

/* Scales of rows x cols values: nested in blocks of 64, or plain in blocks of 32. */
static inline hone_scales *scales_new(int64_t n, bool nested)
{
    const int64_t block = nested ? 64 : 32, blocks = (n + block - 1) / block,
                  tops = nested ? blocks / 256 + 1 : blocks;
    hone_scales *s = malloc(sizeof *s + (size_t)tops * sizeof(float) + 256 * sizeof(float) + (size_t)blocks);
    float *top = (float *)(s + 1), *map = top + tops;
    uint8_t *code = (uint8_t *)(map + 256);
    int64_t i;

    assert_non_null(s);
    for (i = 0; i < tops; i++)
        top[i] = nested ? uniform(0.1f, 0.2f) : uniform(0.1f, 0.5f);
    for (i = 0; i < blocks; i++)
        code[i] = (uint8_t)hone_rng_u32(&test_rng);
    hone_dynamic_map(map, true);
    *s = (hone_scales){nested ? code : NULL, top, map, nested ? 0.3f : 0, (int32_t)block};
    return s;
}

/* A weight [rows, cols] of any format. Formats without an encoder here: random blocks with sane scales. */
static inline hone_weight weight_new(hone_dtype t, int rows, int cols)
{
    size_t row = hone_dtype_bytes(t, cols), size = hone_dtype_block_size(t), b;
    char *data = malloc(row * (size_t)rows + 1);
    hone_weight w = {data + 1, t,    rows, cols,
                     NULL,     NULL, NULL}; /* unaligned on purpose, as in a mapped file */
    float *tmp = malloc((size_t)cols * sizeof *tmp);
    uint16_t h;
    int r, c;

    assert_non_null(data);
    if (hone_dtype_table(t))
        w.scales = scales_new((int64_t)rows * cols, t == HONE_NF4);
    for (r = 0; r < rows; r++) {
        uint8_t *p = (uint8_t *)data + 1 + row * (size_t)r;

        if (t == HONE_Q4_K || t == HONE_Q5_K || t == HONE_Q6_K || w.scales) {
            for (b = 0; b < row; b++)
                p[b] = (uint8_t)hone_rng_u32(&test_rng);
            for (b = 0; b < row && !w.scales; b += size) {
                h = hone_f32_to_f16(uniform(0.0005f, 0.001f));
                memcpy(p + b + (t == HONE_Q6_K ? 208 : 0), &h, 2);
                h = hone_f32_to_f16(uniform(0.003f, 0.006f));
                if (t != HONE_Q6_K)
                    memcpy(p + b + 2, &h, 2);
            }
            continue;
        }
        for (c = 0; c < cols; c++)
            tmp[c] = uniform(-0.5f, 0.5f);
        assert_int_equal(hone_quantise(p, tmp, t, cols, NULL), 0);
    }
    free(tmp);
    return w;
}

static inline void weight_free(hone_weight *w)
{
    free((char *)(uintptr_t)w->data - 1);
    free((void *)(uintptr_t)w->scales);
}

/* The weight's values in double, as the product must see them for this activation type. */
static inline double *weight_values(const hone_weight *w, hone_dtype activation)
{
    size_t n = (size_t)w->rows * (size_t)w->cols, i;
    float *f = malloc(n * sizeof *f);
    double *d = malloc(n * sizeof *d);

    hone_weight_values(f, w, 0, (int64_t)n);
    for (i = 0; i < n; i++)
        d[i] = (double)(activation == HONE_BF16 ? hone_bf16_to_f32(hone_f32_to_bf16(f[i])) : f[i]);
    free(f);
    return d;
}

/* A device with a workspace for small test shapes; NULL when this machine lacks the instruction set. */
static inline hone_device *device_new(hone_isa isa, int threads)
{
    hone_device_params p = {threads, isa, false};
    hone_workspace_spec s = {.tokens = 700,
                             .max_in = 1400,
                             .max_out = 1400,
                             .group_out = 2100,
                             .width = 1024,
                             .vocab = 2100,
                             .n_head = 16,
                             .n_kv = 16,
                             .head_size = 256,
                             .max_kv = 700,
                             .max_rank = 80,
                             .activation = HONE_BF16,
                             .training = true};
    hone_error err = HONE_ERROR_INIT;
    hone_device *dev;

#ifdef HONE_EMULATE_AVX512
    p.isa = HONE_ISA_AVX2;
#endif
    if (hone_device_open(&dev, &p, &err) == HONE_EUNSUPPORTED)
        return NULL;
    assert_int_equal(err.code, 0);
#ifdef HONE_EMULATE_AVX512
    hone_kernels_avx512(dev->kernels);
    if (isa == HONE_ISA_AVX512BF16)
        hone_kernels_avx512bf16(dev->kernels);
    hone_cpu_use(dev, dev->kernels);
#endif
    assert_int_equal(hone_workspace_reserve(dev, &s, &err), 0);
    return dev;
}

#define OK(call)                                                                                             \
    do {                                                                                                     \
        hone_error err_ = HONE_ERROR_INIT, *err = &err_;                                                     \
        if ((call) != 0)                                                                                     \
            fail_msg("%s", err_.message);                                                                    \
    } while (0)

/* The emulated sets are run by test programs of their own: emulated.h. */
#ifdef HONE_EMULATE_AVX512
#define FIRST_ISA HONE_ISA_AVX512
#else
#define FIRST_ISA HONE_ISA_REF
#endif

#define FOR_EACH_ISA(dev, threads)                                                                           \
    for (int isa_ = FIRST_ISA; isa_ <= HONE_ISA_AVX512BF16; isa_++)                                          \
        for (hone_device *dev = device_new((hone_isa)isa_, threads); dev; hone_device_close(dev), dev = NULL)

#endif
