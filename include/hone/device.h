/* A device computes: the CPU of this process now, a GPU module later.
 *
 * It owns the thread pool (the only threads that compute), the kernels chosen for the machine, and one workspace for
 * the ops. One owner of compute at a time: calls that compute on one device must not overlap. */
#ifndef HONE_DEVICE_H
#define HONE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hone_device hone_device;

typedef enum hone_isa {
    HONE_ISA_AUTO,
    HONE_ISA_REF,
    HONE_ISA_AVX2,
    HONE_ISA_AVX512,
    HONE_ISA_AVX512BF16
} hone_isa;

typedef struct hone_device_params {
    int threads;  /* 0 = the processors this process may use */
    hone_isa isa; /* AUTO = the best the machine has; a forced one it lacks is HONE_EUNSUPPORTED */
    bool pin;     /* bind each thread to one processor */
} hone_device_params;

HONE_API hone_device_params hone_device_default(void);
HONE_API int hone_device_open(hone_device **out, const hone_device_params *p,
                              hone_error *err); /* p NULL = default */
HONE_API void hone_device_close(hone_device *dev);

HONE_API const char *hone_device_name(const hone_device *dev); /* "cpu/avx2", ... static */
HONE_API hone_isa hone_device_isa(const hone_device *dev);     /* the one it uses, never AUTO */
HONE_API int hone_device_threads(const hone_device *dev);
HONE_API bool hone_device_has_bf16(const hone_device *dev); /* bf16 products in hardware */
/* Parses "auto", "ref", "avx2", "avx512", "avx512bf16"; HONE_EINVAL lists them. */
HONE_API int hone_isa_parse(hone_isa *out, const char *text, hone_error *err);

/* Peak of multiply-adds in registers, all threads at once, in GFLOP/s; runs for about `seconds`. bf16: in the bf16
 * dot-product unit where the machine has one, else in f32. For benchmarks: measure beside every step. */
HONE_API double hone_device_peak_gflops(hone_device *dev, bool bf16, double seconds);

#ifdef __cplusplus
}
#endif
#endif
