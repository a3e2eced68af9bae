/* The AVX-512 kernels' own sources on plain C vectors, so that any machine with AVX2 runs them. */
#ifndef DEVICE_EMULATED_H
#define DEVICE_EMULATED_H

#define HONE_EMULATE_AVX512
#define hone_kernels_avx512 emulated_avx512
#define hone_kernels_avx512bf16 emulated_avx512bf16

#include "device/cpu/product_avx512.c"
#include "device/cpu/product_avx512bf16.c"

#endif
