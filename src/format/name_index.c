/* Linear probing at a load of at most one half. Runs are short for every honest set of names; a run of MAX_RUN is
 * refused, so that names chosen to collide cost linear time, not quadratic. */
#include "format/name_index.h"

#include <string.h>

#define MAX_RUN 1024

static size_t place(const hone_name_index *x, const char *name, size_t len)
{
    uint64_t h = hone_hash64(0x9e3779b97f4a7c15u, name, len);

    h ^= h >> 32; /* FNV's low bits alone are weak */
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return (size_t)h & (x->capacity - 1);
}

int hone_name_index_reserve(hone_name_index *x, size_t n, hone_error *err)
{
    hone_name_index bigger = {0};
    size_t i;

    if (n >= UINT32_MAX / 4 - x->n)
        return hone_error_set(err, HONE_ELIMIT, "too many names: %zu", n);
    if ((x->n + n) * 2 <= x->capacity)
        return 0;
    bigger.capacity = 64;
    while (bigger.capacity < (x->n + n) * 2)
        bigger.capacity *= 2;
    bigger.slot = hone_calloc(bigger.capacity, sizeof *bigger.slot);
    if (!bigger.slot)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for an index of %zu names", x->n + n);
    for (i = 0; i < x->capacity; i++)
        if (x->slot[i].name) {
            int rc = hone_name_index_add(&bigger, x->slot[i].name, x->slot[i].len, x->slot[i].value);

            if (rc) {
                hone_name_index_clear(&bigger);
                return hone_error_set(err, rc, "too many names that collide");
            }
        }
    hone_name_index_clear(x);
    *x = bigger;
    return 0;
}

int hone_name_index_add(hone_name_index *x, const char *name, size_t len, uint32_t value)
{
    size_t i = place(x, name, len), run;

    for (run = 0; run < MAX_RUN; run++, i = (i + 1) & (x->capacity - 1)) {
        struct hone_name_slot *s = &x->slot[i];

        if (!s->name) {
            s->name = name;
            s->len = (uint32_t)len;
            s->value = value;
            x->n++;
            return 0;
        }
        if (s->len == len && memcmp(s->name, name, len) == 0)
            return HONE_EFORMAT;
    }
    return HONE_ELIMIT;
}

int64_t hone_name_index_find(const hone_name_index *x, const char *name, size_t len)
{
    size_t i, run;

    if (!x->capacity)
        return HONE_NAME_ABSENT;
    i = place(x, name, len);
    for (run = 0; run < MAX_RUN && x->slot[i].name; run++, i = (i + 1) & (x->capacity - 1))
        if (x->slot[i].len == len && memcmp(x->slot[i].name, name, len) == 0)
            return x->slot[i].value;
    return HONE_NAME_ABSENT;
}

void hone_name_index_clear(hone_name_index *x)
{
    hone_free(x->slot);
    x->slot = NULL;
    x->capacity = x->n = 0;
}
