/* The inner loops by themselves: expansion of stored weights bit for bit, exp over its whole range, dropout against its
 * definition, maxima; and the thread pool. */
#include "device_test.h"

static const hone_dtype formats[] = {HONE_F32,  HONE_F16,  HONE_BF16, HONE_Q4_0, HONE_Q4_1, HONE_Q5_0,
                                     HONE_Q5_1, HONE_Q8_0, HONE_Q4_K, HONE_Q5_K, HONE_Q6_K};

/* Random bytes with finite scales, so that every code and every sign of zero occurs. */
static void expansion_is_exact(void **state)
{
    float want[1024], got[1024];
    size_t f;
    int round, i;

    (void)state;
    FOR_EACH_ISA(dev, 1)
        for (f = 0; dev->kernels && f < HONE_COUNT(formats); f++)
            for (round = 0; round < 20; round++) {
                hone_weight w = weight_new(formats[f], 1, 1024);
                uint8_t *p = (uint8_t *)(uintptr_t)w.data;
                size_t size = hone_dtype_block_size(formats[f]), b;
                uint16_t h;

                for (b = 0; hone_dtype_block(formats[f]) > 1 && b < hone_dtype_bytes(formats[f], 1024);
                     b += size) {
                    for (i = 0; i < (int)size; i++)
                        p[b + (size_t)i] = (uint8_t)hone_rng_u32(&test_rng);
                    h = hone_f32_to_f16(uniform(-0.1f, 0.1f));
                    memcpy(p + b + (formats[f] == HONE_Q6_K ? 208 : 0), &h, 2);
                    h = hone_f32_to_f16(uniform(-1, 1));
                    if (formats[f] == HONE_Q4_1 || formats[f] == HONE_Q5_1 || formats[f] == HONE_Q4_K ||
                        formats[f] == HONE_Q5_K)
                        memcpy(p + b + 2, &h, 2);
                }
                hone_dequantise(want, w.data, formats[f], 1024);
                dev->kernels->expand[formats[f]](got, w.data, 1024);
                if (memcmp(want, got, sizeof want))
                    for (i = 0; i < 1024; i++)
                        if (memcmp(&want[i], &got[i], 4))
                            fail_msg("%s: value %d is %.9g, wanted %.9g", hone_dtype_name(formats[f]), i,
                                     (double)got[i], (double)want[i]);
                weight_free(&w);
            }
}

static void odd_lengths_expand(void **state)
{
    static const hone_dtype plain[] = {HONE_F32, HONE_F16, HONE_BF16};
    size_t f;
    int n;

    (void)state;
    FOR_EACH_ISA(dev, 1)
        for (f = 0; dev->kernels && f < HONE_COUNT(plain); f++)
            for (n = 1; n < 40; n++) {
                hone_weight w = weight_new(plain[f], 1, n);
                float want[40];
                hone_mat got = mat_new(HONE_F32, 1, n, 0);

                hone_dequantise(want, w.data, plain[f], n);
                dev->kernels->expand[plain[f]](got.data, w.data, n);
                assert_memory_equal(want, got.data, sizeof(float) * (size_t)n);
                mat_check_guard(&got);
                mat_free(&got);
                weight_free(&w);
            }
}

static void exponential(void **state)
{
    (void)state;
    FOR_EACH_ISA(dev, 1) {
        double x, worst = 0;
        float v[9];

        if (!dev->kernels)
            continue;
        for (x = -87.3; x < 88.7; x += 0.00137) {
            float in = (float)x;
            double e = exp((double)in);

            v[0] = in;
            dev->kernels->exp_sum(v, 1, 1, 0);
            worst = fmax(worst, fabs((double)v[0] - e) / e);
        }
        if (!(worst < 2.4e-7))
            fail_msg("exp: relative error %.3g", worst);
        v[0] = -1000;
        v[1] = -INFINITY;
        v[2] = INFINITY;
        v[3] = NAN;
        v[4] = 0;
        v[5] = 89;
        assert_true(isnan(dev->kernels->exp_sum(v, 6, 1, 0)));
        assert_true(v[0] == 0 && v[1] == 0 && isinf(v[2]) && isnan(v[3]) && v[4] == 1 && isinf(v[5]));
    }
}

static void dropout_is_its_definition(void **state)
{
    static const float p[] = {1e-6f, 0.05f, 0.5f, 0.9f, 0.999999f};
    const uint64_t seed = 0x123456789abcdefull, stream = 0xfedcba987654321ull;
    float x[300], out[300], sum[2][300];
    uint16_t half[300];
    uint8_t mask[320 / 8];
    uint64_t counter;
    size_t k;
    int i, n;

    (void)state;
    for (i = 0; i < 300; i++) {
        half[i] = hone_f32_to_bf16(uniform(1, 2));
        x[i] = hone_bf16_to_f32(half[i]);
    }
    FOR_EACH_ISA(dev, 1)
        for (k = 0; dev->kernels && k < HONE_COUNT(p); k++)
            for (n = 1; n < 300; n += 13) {
                const float scale = hone_dropout_scale(p[k]);

                /* across the carry of a 32-bit counter too */
                counter = (uint64_t)n * 7 + (n % 2 ? 0xffffffffull - 100 : 0);
                dev->kernels->draw(mask, n, seed, stream, counter, hone_dropout_limit(p[k]));
                for (i = 0; i < 2 * n; i++)
                    sum[i / n][i % n] = 1;
                /* two rows with the same mask */
                dev->kernels->add_kept(sum[0], 300, x, 0, 2, n, mask, 0, scale);
                dev->kernels->keep(out, half, HONE_BF16, n, mask, scale);
                for (i = 0; i < n; i++) {
                    float want =
                        hone_dropout_keep(seed, stream, 8 * counter + (uint64_t)i, p[k]) ? x[i] * scale : 0;

                    assert_true(out[i] == want);
                    assert_true(sum[0][i] == 1 + want && sum[1][i] == 1 + want);
                }
                dev->kernels->keep(x, x, HONE_F32, n, mask, 1);
                for (i = 0; i < n; i++) {
                    assert_true(x[i] * scale == out[i]);
                    x[i] = hone_bf16_to_f32(half[i]);
                }
            }
}

struct count {
    int hits[1000];
    int threads;
    bool bad;
};

static void hit(void *ctx, int task, int thread)
{
    struct count *c = ctx;

    c->hits[task]++; /* a task belongs to one thread: no lock */
    if (thread < 0 || thread >= c->threads)
        c->bad = true;
}

static void every_task_runs_once(void **state)
{
    static const int tasks[] = {0, 1, 2, 7, 1000};
    int threads, round, i;
    size_t k;

    (void)state;
    for (threads = 1; threads <= 5; threads++) {
        hone_pool *p;

        OK(hone_pool_new(&p, threads, threads == 2, err));
        assert_int_equal(hone_pool_threads(p), threads);
        for (round = 0; round < 200; round++)
            for (k = 0; k < HONE_COUNT(tasks); k++) {
                struct count c = {{0}, threads, false};

                hone_pool_run(p, tasks[k], hit, &c);
                for (i = 0; i < 1000; i++)
                    assert_int_equal(c.hits[i], i < tasks[k]);
                assert_false(c.bad);
            }
        hone_pool_free(p);
    }
}

static bool no_memory(void *ud, size_t size)
{
    (void)size;
    return --*(int *)ud > 0;
}

/* The n-th allocation fails, for all n: an error, and nothing leaks. */
static void opening_without_memory(void **state)
{
    hone_device_params p = {3, HONE_ISA_AUTO, false};
    int n, left;

    (void)state;
    for (n = 1; n < 20; n++) {
        hone_error caught = HONE_ERROR_INIT;
        hone_device *dev;
        int rc;

        left = n;
        hone_mem_hook(no_memory, &left);
        rc = hone_device_open(&dev, &p, &caught);
        hone_mem_hook(NULL, NULL);
        if (rc == 0) {
            hone_device_close(dev);
            break;
        }
        assert_int_equal(rc, HONE_ENOMEM);
        assert_null(dev);
    }
    assert_in_range(n, 2, 19);
}

static void names_of_instruction_sets(void **state)
{
    hone_error caught = HONE_ERROR_INIT;
    hone_isa isa;

    (void)state;
    assert_int_equal(hone_isa_parse(&isa, "avx512bf16", NULL), 0);
    assert_int_equal(isa, HONE_ISA_AVX512BF16);
    assert_int_equal(hone_isa_parse(&isa, "sse", &caught), HONE_EINVAL);
    assert_non_null(strstr(caught.message, "auto, ref, avx2, avx512, avx512bf16"));
    FOR_EACH_ISA(dev, 2) {
        assert_int_equal(hone_device_threads(dev), 2);
        assert_true(strncmp(hone_device_name(dev), "cpu/", 4) == 0);
        assert_true(hone_device_peak_gflops(dev, false, 0.001) > 0);
        assert_true(hone_device_peak_gflops(dev, true, 0.001) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expansion_is_exact),
        cmocka_unit_test(odd_lengths_expand),
        cmocka_unit_test(exponential),
        cmocka_unit_test(dropout_is_its_definition),
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(opening_without_memory),
        cmocka_unit_test(names_of_instruction_sets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
