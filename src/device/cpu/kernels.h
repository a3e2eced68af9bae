/* The instruction sets of the CPU device. */
#ifndef HONE_DEVICE_KERNELS_H
#define HONE_DEVICE_KERNELS_H

#include "device/table.h"

/* The best set that the processor has, the operating system saves, and this build contains. */
hone_isa hone_cpu_best_isa(void);

/* Replaces ops of dev->ops by those of an instruction set; REF changes nothing. */
void hone_cpu_overlay(hone_device *dev, hone_isa isa);

size_t hone_cpu_workspace_size(const hone_device *dev, const hone_workspace_spec *s);
int hone_cpu_workspace_reserve(hone_device *dev, const hone_workspace_spec *s, hone_error *err);

#endif
