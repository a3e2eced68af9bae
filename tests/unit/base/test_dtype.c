/* Storage types: half precision against its definition, blocks against the gguf package (tests/golden/dtypes.txt). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "base/dtype.h"

static float word(uint32_t u)
{
    float f;

    memcpy(&f, &u, 4);
    return f;
}

static uint32_t word_of(float f)
{
    uint32_t u;

    memcpy(&u, &f, 4);
    return u;
}

/* The value of a binary16 from its definition. */
static double half_value(uint16_t h)
{
    double m = h & 0x3ff;
    int e = h >> 10 & 31;

    return (h & 0x8000 ? -1 : 1) * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
}

static void f16_decodes_every_number(void **state)
{
    uint32_t h;

    (void)state;
    for (h = 0; h < 65536; h++) {
        float f = hone_f16_to_f32((uint16_t)h);

        if ((h & 0x7c00) != 0x7c00)
            assert_true((double)f == half_value((uint16_t)h) && !!signbit(f) == h >> 15);
        else if (h & 0x3ff)
            assert_true(isnan(f));
        else
            assert_true(isinf(f) && !!signbit(f) == h >> 15);
    }
}

/* Between each pair of neighbours: the middle goes to the even one, all else to the nearer one. */
static void f16_rounds_to_nearest_even(void **state)
{
    uint32_t h;

    (void)state;
    for (h = 0; h < 0x7c00; h++) {
        double next =
            h == 0x7bff ? 65536 : half_value((uint16_t)(h + 1));      /* the first number past the range */
        float middle = (float)((half_value((uint16_t)h) + next) / 2); /* exact */
        uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);

        assert_int_equal(hone_f32_to_f16((float)half_value((uint16_t)h)), h);
        assert_int_equal(hone_f32_to_f16(middle), even);
        assert_int_equal(hone_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(hone_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(hone_f32_to_f16(-nextafterf(middle, INFINITY)), 0x8000 | (h + 1));
    }
    assert_int_equal(hone_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(hone_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(hone_f32_to_f16(1e30f), 0x7c00);
    assert_true((hone_f32_to_f16(NAN) & 0x7fff) > 0x7c00);
    assert_true((hone_f32_to_f16(word(0x7f800001)) & 0x7fff) >
                0x7c00); /* a NaN whose payload would be cut off */
    assert_int_equal(hone_f32_to_f16(-0.0f), 0x8000);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    uint32_t h;

    (void)state;
    for (h = 0; h < 0x7f80; h++) {
        assert_int_equal(word_of(hone_bf16_to_f32((uint16_t)h)), h << 16);
        assert_int_equal(hone_f32_to_bf16(word(h << 16)), h);
        assert_int_equal(hone_f32_to_bf16(word(h << 16 | 0x8000)), h + (h & 1));
        assert_int_equal(hone_f32_to_bf16(word(h << 16 | 0x7fff)), h);
        assert_int_equal(hone_f32_to_bf16(word(h << 16 | 0x8001)), h + 1);
    }
    assert_true(isnan(hone_bf16_to_f32(hone_f32_to_bf16(word(0x7f800001)))));
}

static hone_dtype type_named(const char *name)
{
    int t;

    for (t = 0; t < HONE_DTYPE_COUNT; t++)
        if (strcmp(hone_dtype_name((hone_dtype)t), name) == 0)
            return (hone_dtype)t;
    fail_msg("no type %s", name);
    return HONE_DTYPE_COUNT;
}

static size_t unhex(uint8_t **out, const char *text)
{
    size_t n = strlen(text) / 2, i;

    *out = malloc(n + 1);
    assert_non_null(*out);
    for (i = 0; i < n; i++) {
        unsigned v;

        assert_int_equal(sscanf(text + 2 * i, "%2x", &v), 1);
        (*out)[i] = (uint8_t)v;
    }
    return n;
}

/* Every line of the golden file, bit for bit. Blocks are read and written at odd addresses. */
static void blocks_equal_the_gguf_package(void **state)
{
    char *line = NULL, way[16], name[16];
    size_t capacity = 0;
    int decoded = 0, encoded = 0;
    FILE *f = fopen(HONE_TEST_DIR "/golden/dtypes.txt", "r");

    (void)state;
    assert_non_null(f);
    while (getline(&line, &capacity, f) > 0) {
        char *blocks_text = malloc(capacity), *values_text = malloc(capacity), *odd;
        uint8_t *blocks, *values;
        size_t size, n;
        hone_dtype t;

        assert_int_equal(sscanf(line, "%15s %15s %s %s", way, name, blocks_text, values_text), 4);
        t = type_named(name);
        size = unhex(&blocks, blocks_text);
        n = unhex(&values, values_text) / 4;
        assert_int_equal(hone_dtype_bytes(t, (int64_t)n), size);
        odd = malloc(size + 1);
        assert_non_null(odd);
        if (strcmp(way, "decode") == 0) {
            float *got = malloc(n * 4);

            memcpy(odd + 1, blocks, size);
            hone_dequantise(got, odd + 1, t, (int64_t)n);
            assert_memory_equal(got, values, n * 4);
            free(got);
            decoded++;
        } else {
            assert_int_equal(hone_quantise(odd + 1, (const float *)(void *)values, t, (int64_t)n, NULL), 0);
            assert_memory_equal(odd + 1, blocks, size);
            encoded++;
        }
        free(odd);
        free(blocks);
        free(values);
        free(blocks_text);
        free(values_text);
    }
    free(line);
    fclose(f);
    assert_int_equal(decoded, 10);
    assert_int_equal(encoded, 7);
}

/* No value, however wild, makes an encoder leave the range of an integer (checked by the sanitizer) or a code. */
static void encoders_survive_wild_values(void **state)
{
    static const float wild[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, 0, -0.0f, 1};
    static const hone_dtype types[] = {HONE_Q8_0, HONE_Q4_0, HONE_Q4_1, HONE_Q5_0,
                                       HONE_Q5_1, HONE_F16,  HONE_BF16};
    float x[32], y[32];
    uint8_t block[128];
    hone_rng r = hone_rng_make(1, 1);
    int i, j;
    size_t t;

    (void)state;
    for (i = 0; i < 2000; i++) {
        for (j = 0; j < 32; j++)
            x[j] = i % 2 ? word(hone_rng_u32(&r)) : wild[hone_rng_below(&r, HONE_COUNT(wild))];
        for (t = 0; t < HONE_COUNT(types); t++) {
            assert_int_equal(hone_quantise(block, x, types[t], 32, NULL), 0);
            hone_dequantise(y, block, types[t], 32);
        }
    }
}

static void sizes_and_refusals(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    char out[256];
    float x[256] = {0};

    (void)state;
    assert_int_equal(hone_dtype_bytes(HONE_Q4_K, 512), 288);
    assert_int_equal(hone_dtype_bytes(HONE_F64, INT64_MAX), SIZE_MAX);
    assert_int_equal(hone_dtype_bytes(HONE_F32, -1), SIZE_MAX);
    assert_false(hone_dtype_is_weight(HONE_I32));
    assert_false(hone_dtype_is_weight(HONE_DTYPE_COUNT));
    assert_int_equal(hone_quantise(out, x, HONE_Q4_K, 256, &err), HONE_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "Q4_K"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f16_decodes_every_number),     cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),  cmocka_unit_test(blocks_equal_the_gguf_package),
        cmocka_unit_test(encoders_survive_wild_values), cmocka_unit_test(sizes_and_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
