/* Any bytes as a token shard: as they are, and with their checksums made right, so that the checks behind these are reached.
 * What is accepted is read as training reads it. */
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes the checksums, and the size, those of the bytes, as far as the sections lie in them. */
static void repair(uint8_t *bytes, size_t size)
{
    static const size_t element[SHARD_SECTIONS] = {sizeof(shard_sequence), sizeof(shard_row),
                                                   sizeof(hone_weight_run), sizeof(uint64_t),
                                                   sizeof(int32_t)};
    shard_header *h = (shard_header *)bytes;
    size_t at = sizeof *h, k;

    memcpy(h->magic, "honeshrd", sizeof h->magic);
    h->version = SHARD_VERSION;
    h->size = size;
    for (k = 0; k < SHARD_SECTIONS && h->n[k] <= size; k++) {
        size_t length = (h->n[k] * element[k] + 63) / 64 * 64;

        if (length > size - at)
            break;
        h->sum[k] = hone_xxh64_of(k, bytes + at, length);
        at += length;
    }
    h->checksum = hone_xxh64_of(0, h, offsetof(shard_header, checksum));
}

static void read_all(shard *s)
{
    char *file[] = {(char *)"f"};
    hone_dataset d = {.shard = s, .n_shards = 1, .n = s->n[SHARD_SEQUENCES], .file = file, .n_files = 1};
    size_t tokens = s->n[SHARD_IDS], i, targets, counted = 0;
    uint32_t *which = hone_alloc((d.n + 1) * sizeof *which);
    int32_t *id = hone_alloc((tokens + 1) * sizeof *id), *target = hone_alloc((tokens + 1) * sizeof *target),
            *start = hone_alloc((d.n + 1) * sizeof *start);
    float *weight = hone_alloc((tokens + 1) * sizeof *weight);

    s->first_sequence = 0;
    for (i = 0; i < s->n[SHARD_ROWS]; i++) /* the cache refuses files that it does not have */
        if (shard_rows(s)[i].file)
            goto out;
    for (i = 0; i < d.n; i++)
        which[i] = (uint32_t)i;
    if (which && id && target && start && weight && d.n) {
        if (hone_dataset_tokens(&d, which, d.n) > tokens)
            abort();
        targets = hone_dataset_pack(&d, which, d.n, id, target, weight, start);
        (void)targets;
        for (i = 0; i < (size_t)start[d.n]; i++) {
            counted += target[i] != HONE_NO_TARGET;
            if ((target[i] != HONE_NO_TARGET) != (weight[i] > 0))
                abort();
        }
        if (!(hone_dataset_weight(&d, which, d.n) >= 0) || counted > tokens)
            abort();
        hone_dataset_hash(&d);
    }
out:
    hone_free(which);
    hone_free(id);
    hone_free(target);
    hone_free(start);
    hone_free(weight);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = hone_alloc(size ? size : 1);
    hone_error err = HONE_ERROR_INIT;
    shard s;
    int round, rc;

    if (!bytes)
        return 0;
    memcpy(bytes, data, size);
    for (round = 0; round < 2; round++) {
        rc = shard_check(&s, NULL, bytes, size, "shard", &err);
        if (rc && (rc != HONE_EFORMAT || !strstr(err.message, "shard")))
            abort();
        if (!rc)
            read_all(&s);
        if (size < sizeof(shard_header))
            break;
        err = (hone_error)HONE_ERROR_INIT;
        repair(bytes, size);
    }
    hone_free(bytes);
    return 0;
}
