/* Private to src/data: best-fit-decreasing packing. */
#ifndef HONE_DATA_PACK_H
#define HONE_DATA_PACK_H

#include "data/data.h"

/* Puts n items of length[i] in [1, capacity] into packs of that capacity: items by falling length, equal ones in their order, each
 * into the pack with the least room that holds it, of several the one that had that room first, else into a new one.
 *   pack [n]  out; packs are numbered in the order of their first items
 * HONE_ENOMEM; HONE_EINVAL for a length out of range. Time: n, times capacity / 4096 for each pack touched. */
int pack_best_fit(uint32_t *pack, size_t *n_packs, const uint32_t *length, size_t n, size_t capacity,
                  hone_error *err);

#endif
