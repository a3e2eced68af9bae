/* The CPU device: which instruction set, how much scratch, how fast at best. */
#include "device/cpu/cpu.h"

#include "device/cpu/kernels.h"

hone_isa hone_cpu_best_isa(void)
{
    return HONE_ISA_REF;
}

void hone_cpu_overlay(hone_device *dev, hone_isa isa)
{
    (void)dev;
    (void)isa;
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
    (void)dev;
    return hone_ref_need(s);
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
        return hone_error_set(err, HONE_EINTERNAL,
                              "%s needs a workspace of %zu bytes a thread and %zu shared; reserved are %zu and %zu", op,
                              n.thread, n.shared, dev->reserved.thread, dev->reserved.shared);
    return 0;
}

/* Multiply-adds on eight independent sums per thread. */
#define PEAK_ROUNDS 200000

struct peak {
    float sink[64];
};

static void peak_task(void *ctx, int task, int thread)
{
    struct peak *p = ctx;
    float s[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    int i, k;

    (void)thread;
    for (i = 0; i < PEAK_ROUNDS; i++)
        for (k = 0; k < 8; k++)
            s[k] = s[k] * 0.999f + 0.001f;
    for (k = 1; k < 8; k++)
        s[0] += s[k];
    p->sink[task & 63] = s[0];
}

double hone_ref_peak_gflops(hone_device *dev, bool bf16, double seconds)
{
    struct peak p;
    double start = hone_now(), best = 0, t0, t;
    int threads = hone_pool_threads(dev->pool);

    (void)bf16;
    do {
        t0 = hone_now();
        hone_pool_run(dev->pool, threads, peak_task, &p);
        t = hone_now() - t0;
        best = HONE_MAX(best, 16.0 * PEAK_ROUNDS * threads / t * 1e-9);
    } while (hone_now() - start < seconds);
    return best;
}
