/* Opening a device: the thread pool, the kernels that fit the machine, the workspace.
 *
 * The table is filled with the reference ops and overlaid by the best instruction set that both the processor and the
 * operating system offer (the registers must be saved by it: XGETBV). Choosing happens once, here. */
#include "hone/device.h"

#include <string.h>

#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"

static const hone_ops reference = {
    .linear_fwd = hone_ref_linear_fwd,
    .linear_bwd = hone_ref_linear_bwd,
    .dora_norms = hone_cpu_dora_norms,
    .attention_fwd = hone_ref_attention_fwd,
    .attention_bwd = hone_ref_attention_bwd,
    .embed = hone_ref_embed,
    .add_noise = hone_cpu_add_noise,
    .embed_bwd = hone_ref_embed_bwd,
    .rmsnorm_fwd = hone_ref_rmsnorm_fwd,
    .rmsnorm_bwd = hone_ref_rmsnorm_bwd,
    .rmsnorm_bwd_w = hone_ref_rmsnorm_bwd_w,
    .rope = hone_ref_rope,
    .glu_fwd = hone_ref_glu_fwd,
    .glu_bwd = hone_ref_glu_bwd,
    .add = hone_ref_add,
    .head_loss = hone_ref_head_loss,
    .head_logits = hone_ref_head_logits,
    .sum_squares = hone_ref_sum_squares,
    .adamw_step = hone_ref_adamw_step,
    .adamw8_step = hone_cpu_adamw8_step,
    .adafactor_step = hone_cpu_adafactor_step,
    .sgd_step = hone_cpu_sgd_step,
    .workspace_size = hone_cpu_workspace_size,
    .workspace_reserve = hone_cpu_workspace_reserve,
    .peak_gflops = hone_ref_peak_gflops,
};

static const struct {
    const char *text, *name;
} isa_names[] = {
    [HONE_ISA_AUTO] = {"auto", "cpu"},
    [HONE_ISA_REF] = {"ref", "cpu/ref"},
    [HONE_ISA_AVX2] = {"avx2", "cpu/avx2"},
    [HONE_ISA_AVX512] = {"avx512", "cpu/avx512"},
    [HONE_ISA_AVX512BF16] = {"avx512bf16", "cpu/avx512bf16"},
};

int hone_isa_parse(hone_isa *out, const char *text, hone_error *err)
{
    size_t i;

    for (i = 0; i < HONE_COUNT(isa_names); i++)
        if (!strcmp(text, isa_names[i].text)) {
            *out = (hone_isa)i;
            return 0;
        }
    return hone_error_set(err, HONE_EINVAL,
                          "unknown instruction set \"%s\": one of auto, ref, avx2, avx512, avx512bf16", text);
}

hone_device_params hone_device_default(void)
{
    hone_device_params p = {0, HONE_ISA_AUTO, false};

    return p;
}

int hone_device_open(hone_device **out, const hone_device_params *p, hone_error *err)
{
    hone_device_params def = hone_device_default();
    hone_isa best = hone_cpu_best_isa(), isa;
    hone_device *dev;
    int rc;

    *out = NULL;
    if (!p)
        p = &def;
    if ((unsigned)p->isa >= HONE_COUNT(isa_names))
        return hone_error_set(err, HONE_EINVAL, "unknown instruction set number %d", (int)p->isa);
    isa = p->isa == HONE_ISA_AUTO ? best : p->isa;
    if (isa > best)
        return hone_error_set(err, HONE_EUNSUPPORTED, "this machine can not run %s; the best it has is %s",
                              isa_names[isa].text, isa_names[best].text);
    dev = hone_calloc(1, sizeof *dev);
    if (!dev)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the device");
    dev->ops = reference;
    dev->isa = isa;
    dev->name = isa_names[isa].name;
    rc = hone_pool_new(&dev->pool, p->threads, p->pin, err);
    if (!rc)
        rc = hone_cpu_overlay(dev, isa, err);
    if (rc) {
        hone_device_close(dev);
        return rc;
    }
    *out = dev;
    return 0;
}

void hone_device_close(hone_device *dev)
{
    if (!dev)
        return;
    hone_pool_free(dev->pool);
    hone_big_free(dev->workspace, dev->workspace_size);
    hone_free(dev->kernels);
    hone_free(dev);
}

const char *hone_device_name(const hone_device *dev)
{
    return dev->name;
}

hone_isa hone_device_isa(const hone_device *dev)
{
    return dev->isa;
}

int hone_device_threads(const hone_device *dev)
{
    return hone_pool_threads(dev->pool);
}

bool hone_device_has_bf16(const hone_device *dev)
{
    return dev->has_bf16;
}

double hone_device_peak_gflops(hone_device *dev, bool bf16, double seconds)
{
    return dev->ops.peak_gflops(dev, bf16, seconds);
}
