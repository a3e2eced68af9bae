/* What the instruction sets share of AdamW with moments of one byte: see optim.c. */
#ifndef HONE_DEVICE_OPTIM_H
#define HONE_DEVICE_OPTIM_H

#include "device/ops.h"

#define HONE_CELL_SHIFT 16 /* bits of a magnitude below a cell */
#define HONE_CELLS (1 << 15)

/* Codes of magnitudes: of the unsigned map, or of one half of the signed one. */
typedef struct hone_code_map {
    float value[256], middle[257]; /* middle[c] between c and c + 1 */
    uint8_t first[HONE_CELLS];     /* code of the lowest magnitude of a cell */
    int n;                         /* of codes; also what a read of four bytes at the last cell ends in */
} hone_code_map;

typedef struct hone_adamw8_maps_of {
    hone_code_map m, v; /* of |m|: zero and the positive half; of v */
    float of_code[256]; /* the signed map */
    int zero, negative; /* its code of 0; values below it */
} hone_adamw8_maps_of;

/* A step; whole_block does one block of HONE_ADAMW8_BLOCK values with the bits of the plain program, NULL: there is none. */
typedef struct hone_adamw8_job {
    const hone_adamw8 *a;
    const hone_adamw8_maps_of *maps;
    float b1, c1, b2, c2, decay, clip, step, eps;
    void (*whole_block)(const struct hone_adamw8_job *j, size_t block);
} hone_adamw8_job;

#endif
