/* The CPU device: which instruction set, how much scratch, how fast at best. */
#include "device/cpu/product.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static double fast_peak(hone_device *dev, bool bf16, double seconds);

/* What the operating system saves of the wide registers: the AVX and the AVX-512 states of XCR0. */
#define XCR0_AVX 0x06
#define XCR0_AVX512 0xe6

#if defined(__x86_64__)
static uint64_t saved_states(void)
{
    uint32_t a, b, c, d, lo, hi;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 27)) /* OSXSAVE */
        return 0;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

hone_isa hone_cpu_best_isa(void)
{
    uint64_t saved = saved_states();
    uint32_t a, b, c, d, c1, b7, top;

    if ((saved & XCR0_AVX) != XCR0_AVX || !__get_cpuid(1, &a, &b, &c1, &d) ||
        !__get_cpuid_count(7, 0, &top, &b7, &c, &d))
        return HONE_ISA_REF;
    if (!(c1 & bit_FMA) || !(c1 & bit_F16C) || !(b7 & bit_AVX2))
        return HONE_ISA_REF;
    if ((saved & XCR0_AVX512) != XCR0_AVX512 || !(b7 & bit_AVX512F) || !(b7 & bit_AVX512BW) ||
        !(b7 & bit_AVX512DQ) || !(b7 & bit_AVX512VL))
        return HONE_ISA_AVX2;
    if (top < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & 1u << 5)) /* AVX512_BF16 */
        return HONE_ISA_AVX512;
    return HONE_ISA_AVX512BF16;
}

int hone_cpu_overlay(hone_device *dev, hone_isa isa, hone_error *err)
{
    hone_kernels *k;

    if (isa < HONE_ISA_AVX2)
        return 0;
    k = hone_calloc(1, sizeof *k);
    if (!k)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the device");
    hone_kernels_avx2(k);
    if (isa >= HONE_ISA_AVX512)
        hone_kernels_avx512(k);
    if (isa >= HONE_ISA_AVX512BF16)
        hone_kernels_avx512bf16(k);
    hone_cpu_use(dev, k);
    return 0;
}
#else
hone_isa hone_cpu_best_isa(void)
{
    return HONE_ISA_REF;
}

int hone_cpu_overlay(hone_device *dev, hone_isa isa, hone_error *err)
{
    (void)dev;
    (void)isa;
    (void)err;
    return 0;
}
#endif

void hone_cpu_use(hone_device *dev, hone_kernels *k)
{
    dev->kernels = k;
    dev->has_bf16 = k->gemm_bf16 != NULL;
    dev->ops.linear_fwd = hone_fast_linear_fwd;
    dev->ops.linear_bwd = hone_fast_linear_bwd;
    dev->ops.attention_fwd = hone_fast_attention_fwd;
    dev->ops.attention_bwd = hone_fast_attention_bwd;
    dev->ops.head_loss = hone_fast_head_loss;
    dev->ops.head_logits = hone_fast_head_logits;
    dev->ops.peak_gflops = fast_peak;
    hone_fast_rows(&dev->ops);
}

hone_need hone_ref_need(const hone_workspace_spec *s)
{
    int64_t widest = HONE_MAX(s->max_in, s->width);
    hone_need n = hone_ref_need_linear(s->tokens, s->max_in, s->max_rank, HONE_MAX_PARTS);

    n = hone_need_max(n, hone_ref_need_attention(s->max_kv, s->head_size));
    n = hone_need_max(n, hone_ref_need_rows(widest, s->head_size));
    if (s->vocab > 0)
        n = hone_need_max(n, hone_ref_need_head(s->vocab, s->width));
    return n;
}

static hone_need need_of(const hone_device *dev, const hone_workspace_spec *s)
{
    hone_need n;

    if (!dev->kernels)
        return hone_ref_need(s);
    n = hone_fast_need_linear(s->tokens, s->max_in, s->max_rank);
    n = hone_need_max(n, hone_fast_need_linear(s->tokens, s->width, 0)); /* logits */
    n = hone_need_max(n, hone_fast_need_attention(s->tokens, s->n_head, s->head_size, s->max_kv));
    n = hone_need_max(n, hone_fast_need_rows(HONE_MAX(s->max_in, s->width), s->head_size));
    if (s->vocab > 0)
        n = hone_need_max(n, hone_fast_need_head(s->targets ? s->targets : s->tokens, s->vocab, s->width));
    return n;
}

size_t hone_cpu_workspace_size(const hone_device *dev, const hone_workspace_spec *s)
{
    hone_need n = need_of(dev, s);

    return n.thread * (size_t)hone_pool_threads(dev->pool) + n.shared;
}

int hone_cpu_workspace_reserve(hone_device *dev, const hone_workspace_spec *s, hone_error *err)
{
    hone_need n = need_of(dev, s);
    size_t size = hone_cpu_workspace_size(dev, s);
    uint8_t *p = hone_big_alloc(size);

    if (!p)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for a workspace of %zu bytes", size);
    hone_big_free(dev->workspace, dev->workspace_size);
    dev->workspace = p;
    dev->workspace_size = size;
    dev->reserved = n;
    return 0;
}

int hone_cpu_require(const hone_device *dev, hone_need n, const char *op, hone_error *err)
{
    if (n.thread > dev->reserved.thread || n.shared > dev->reserved.shared)
        return hone_error_set(
            err, HONE_EINTERNAL,
            "%s needs a workspace of %zu bytes a thread and %zu shared; reserved are %zu and %zu", op,
            n.thread, n.shared, dev->reserved.thread, dev->reserved.shared);
    return 0;
}

/* ---- peak ---------------------------------------------------------------------------------------------------------- */

#define PEAK_ROUNDS 200000

struct peak {
    double (*fn)(int64_t rounds, float *sink);
    double per_round;
    float sink[64];
};

static void peak_task(void *ctx, int task, int thread)
{
    struct peak *p = ctx;
    double ops = p->fn(PEAK_ROUNDS, &p->sink[task & 63]);

    (void)thread;
    if (task == 0)
        p->per_round = ops;
}

/* Best of short runs on all threads: what the machine can do when nobody disturbs it. */
static double measure(hone_device *dev, double (*fn)(int64_t rounds, float *sink), double seconds)
{
    struct peak p = {.fn = fn};
    double start = hone_now(), best = 0, t;
    int threads = hone_pool_threads(dev->pool);

    do {
        t = hone_now();
        hone_pool_run(dev->pool, threads, peak_task, &p);
        t = hone_now() - t;
        best = HONE_MAX(best, p.per_round * PEAK_ROUNDS * threads / t * 1e-9);
    } while (hone_now() - start < seconds);
    return best;
}

static double ref_rounds(int64_t rounds, float *sink)
{
    float s[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int64_t i;
    int k;

    for (i = 0; i < rounds; i++)
        for (k = 0; k < 8; k++)
            s[k] = s[k] * 0.999f + 0.001f;
    *sink = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
    return 16;
}

double hone_ref_peak_gflops(hone_device *dev, bool bf16, double seconds)
{
    (void)bf16;
    return measure(dev, ref_rounds, seconds);
}

static double fast_peak(hone_device *dev, bool bf16, double seconds)
{
    return measure(dev, bf16 ? dev->kernels->peak_bf16 : dev->kernels->peak, seconds);
}
