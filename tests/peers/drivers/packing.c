/* Best-fit-decreasing packs of lengths, what the live comparison with TRL reads.
 *
 *   hone_packing_driver CAPACITY < LENGTHS      a number a line; prints the pack of each, a number a line */
#include <stdio.h>
#include <stdlib.h>

#include "data/pack.h"

int main(int argc, char **argv)
{
    hone_error err = HONE_ERROR_INIT;
    uint32_t *length = NULL, *pack;
    size_t n = 0, capacity = 0, n_packs, i;
    unsigned value;

    if (argc != 2) {
        fprintf(stderr, "usage: %s CAPACITY < LENGTHS\n", argv[0]);
        return 2;
    }
    while (scanf("%u", &value) == 1) {
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            length = hone_realloc_array(length, capacity, sizeof *length);
        }
        length[n++] = value;
    }
    pack = hone_alloc((n + 1) * sizeof *pack);
    if (pack_best_fit(pack, &n_packs, length, n, strtoul(argv[1], NULL, 10), &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    for (i = 0; i < n; i++)
        printf("%u\n", pack[i]);
    hone_free(length);
    hone_free(pack);
    return 0;
}
