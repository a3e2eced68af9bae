/* Blocks of memory for the many small texts of rows, and a table of names. */
#include <string.h>

#include "data/store.h"

#define CHUNK ((size_t)1 << 20)

void *arena_take(arena *a, size_t n)
{
    void *p;

    n = (HONE_MAX(n, (size_t)1) + 7) & ~(size_t)7;
    if (!a->n_chunks || n > a->size - a->used) {
        char **list = hone_realloc_array(a->chunk, a->n_chunks + 1, sizeof *list);
        size_t size = HONE_MAX(n, CHUNK);

        if (!list)
            return NULL;
        a->chunk = list;
        list[a->n_chunks] = hone_alloc(size);
        if (!list[a->n_chunks])
            return NULL;
        a->n_chunks++;
        a->size = size;
        a->used = 0;
    }
    p = a->chunk[a->n_chunks - 1] + a->used;
    a->used += n;
    return p;
}

char *arena_copy(arena *a, const char *text, size_t n)
{
    char *copy = arena_take(a, n + 1);

    if (copy) {
        if (n)
            memcpy(copy, text, n);
        copy[n] = 0;
    }
    return copy;
}

void arena_clear(arena *a)
{
    size_t i;

    for (i = 0; i < a->n_chunks; i++)
        hone_free(a->chunk[i]);
    hone_free(a->chunk);
    *a = (arena){0};
}

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the names of rows");
}

static size_t slot_of(const names *list, const char *name)
{
    size_t at = hone_hash64(0, name, strlen(name)) & list->mask;

    while (list->slot[at] && strcmp(list->name[list->slot[at] - 1], name))
        at = (at + 1) & list->mask;
    return at;
}

/* Room for one more name and a table that stays at most half full. */
static int reserve(names *list, hone_error *err)
{
    size_t capacity = HONE_MAX(2 * list->capacity, (size_t)64), i;
    const char **grown;
    uint32_t *slot;

    if (list->n < list->capacity)
        return 0;
    grown = hone_realloc_array(list->name, capacity, sizeof *grown);
    if (!grown)
        return out_of_memory(err);
    list->name = grown;
    slot = hone_calloc(2 * capacity, sizeof *slot);
    if (!slot)
        return out_of_memory(err);
    hone_free(list->slot);
    list->slot = slot;
    list->mask = 2 * capacity - 1;
    list->capacity = capacity;
    for (i = 0; i < list->n; i++)
        slot[slot_of(list, list->name[i])] = (uint32_t)i + 1;
    return 0;
}

int names_number(names *list, uint32_t *number, const char *name, hone_error *err)
{
    size_t at;
    int rc;

    *number = 0;
    if (!name)
        return 0;
    rc = reserve(list, err);
    if (rc)
        return rc;
    at = slot_of(list, name);
    if (!list->slot[at]) {
        char *copy = arena_copy(&list->text, name, strlen(name));

        if (!copy)
            return out_of_memory(err);
        list->name[list->n++] = copy;
        list->slot[at] = (uint32_t)list->n;
    }
    *number = list->slot[at];
    return 0;
}

void names_clear(names *list)
{
    hone_free(list->name);
    hone_free(list->slot);
    arena_clear(&list->text);
    *list = (names){0};
}
