/* Quantising a matrix: the same bits for every instruction set and number of threads, exactly the nearest codes, and
 * errors. That the numbers are bitsandbytes' is shown in model/test_quantise.c. */
#include "device_test.h"

static hone_weight source_new(hone_dtype t, int rows, int cols)
{
    hone_weight w = weight_new(t, rows, cols);
    const int64_t zeros = HONE_MIN(64, (int64_t)rows * cols);

    memset((char *)(uintptr_t)w.data, 0, (size_t)hone_dtype_bytes(t, zeros)); /* a block without a scale */
    return w;
}

/* The quantised form of `w` by dev, in memory of its own. */
static hone_weight quantised(hone_device *dev, const hone_weight *w, hone_dtype type, bool nested,
                             void **memory)
{
    size_t size = hone_quantised_size(type, nested, (int64_t)w->rows * w->cols);
    hone_weight q = *w;

    *memory = aligned_alloc(64, size + 64);
    assert_non_null(*memory);
    memset(*memory, SENTINEL, size + 64);
    OK(hone_weight_quantise(dev, &q, *memory, type, nested, err));
    for (size_t i = size; i < size + 64; i++)
        assert_int_equal(((uint8_t *)*memory)[i], SENTINEL);
    return q;
}

static const struct {
    hone_dtype from, to;
    bool nested;
    int rows, cols;
} cases[] = {
    {HONE_BF16, HONE_NF4, true, 70, 512},   {HONE_F32, HONE_NF4, true, 67, 898},
    {HONE_F16, HONE_NF4, false, 300, 96},   {HONE_F32, HONE_FP4, true, 33, 640},
    {HONE_BF16, HONE_FP4, false, 7, 62},    {HONE_F32, HONE_NF4, true, 1, 2},
    {HONE_BF16, HONE_Q8_0, false, 65, 608}, {HONE_F32, HONE_Q8_0, false, 31, 1056},
};

static void every_set_gives_the_same_bits(void **state)
{
    size_t c;
    int threads;

    (void)state;
    for (c = 0; c < HONE_COUNT(cases); c++) {
        hone_weight w = source_new(cases[c].from, cases[c].rows, cases[c].cols), first = {0};
        const int64_t n = (int64_t)w.rows * w.cols;
        float *want = malloc((size_t)n * sizeof *want), *got = malloc((size_t)n * sizeof *got);
        void *kept = NULL;

        for (threads = 1; threads <= 3; threads += 2)
            FOR_EACH_ISA(dev, threads) {
                void *memory;
                hone_weight q = quantised(dev, &w, cases[c].to, cases[c].nested, &memory);

                hone_weight_values(got, &q, 0, n);
                if (!kept) {
                    first = q;
                    kept = memory;
                    memcpy(want, got, (size_t)n * sizeof *want);
                    continue;
                }
                assert_memory_equal(first.data, q.data, hone_dtype_bytes(q.dtype, n));
                assert_memory_equal(want, got, (size_t)n * sizeof *want);
                if (dev->kernels) {
                    memset(got, 0, (size_t)n * sizeof *got);
                    hone_expand_weight(dev->kernels, got, &q, 0, n);
                    assert_memory_equal(want, got, (size_t)n * sizeof *want);
                }
                free(memory);
            }
        free(kept);
        free(want);
        free(got);
        weight_free(&w);
    }
}

/* No other code is nearer to a value, and no scale is further off than half a step of the map. */
static void codes_are_the_nearest(void **state)
{
    static const hone_dtype types[] = {HONE_NF4, HONE_FP4};
    size_t t;
    int i, k;

    (void)state;
    for (t = 0; t < 2; t++) {
        const float *table = hone_dtype_table(types[t]);
        hone_weight w = weight_new(HONE_F32, 40, 448);
        hone_device *dev = device_new(HONE_ISA_REF, 1);
        const int n = w.rows * w.cols;
        float *x = malloc((size_t)n * sizeof *x);
        void *memory;
        hone_weight q = quantised(dev, &w, types[t], false, &memory);

        memcpy(x, w.data, (size_t)n * sizeof *x);
        for (i = 0; i < n; i++) {
            const uint8_t byte = ((const uint8_t *)q.data)[i / 2];
            const double v = (double)x[i] / (double)q.scales->top[i / 64];
            const double off = fabs((double)table[i % 2 ? byte & 15 : byte >> 4] - v);

            for (k = 0; k < 16; k++)
                assert_true(off <= fabs((double)table[k] - v) + 1e-7);
        }
        free(x);
        free(memory);
        weight_free(&w);
        hone_device_close(dev);
    }
}

static void refusals(void **state)
{
    (void)state;
    FOR_EACH_ISA(dev, 2) {
        static const float odd[] = {NAN, INFINITY, -INFINITY};
        hone_weight w = weight_new(HONE_F32, 3, 100);
        void *memory = aligned_alloc(64, 4096);
        hone_error err = HONE_ERROR_INIT;
        size_t i;

        assert_int_equal(hone_weight_quantise(dev, &w, memory, HONE_Q8_0, false, &err), HONE_EUNSUPPORTED);
        assert_non_null(strstr(err.message, "rows of 100"));
        for (i = 0; i < HONE_COUNT(odd); i++) {
            memcpy((char *)(uintptr_t)w.data + 150 * sizeof(float), &odd[i], sizeof odd[i]);
            assert_int_equal(hone_weight_quantise(dev, &w, memory, HONE_NF4, true, &err), HONE_EFORMAT);
            assert_int_equal(w.dtype, HONE_F32);
            assert_null(w.scales);
        }
        free(memory);
        weight_free(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_gives_the_same_bits),
        cmocka_unit_test(codes_are_the_nearest),
        cmocka_unit_test(refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
