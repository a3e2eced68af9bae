/* The cases of test_device_linear.c on the emulated AVX-512 kernels. */
#include "emulated.h"

#include "test_device_linear.c"
