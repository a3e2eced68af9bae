/* The cases of test_device_rows.c on the emulated AVX-512 kernels. */
#include "emulated.h"

#include "test_device_rows.c"
