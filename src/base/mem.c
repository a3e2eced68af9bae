/* Memory: one door for every allocation, and what the machine has. */
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"

static bool (*hook_fn)(void *ud, size_t size);
static void *hook_ud;

void hone_mem_hook(bool (*hook)(void *ud, size_t size), void *ud)
{
    hook_fn = hook;
    hook_ud = ud;
}

static bool allowed(size_t size)
{
    return !hook_fn || hook_fn(hook_ud, size);
}

static atomic_size_t used;

size_t hone_mem_used(void)
{
    return atomic_load_explicit(&used, memory_order_relaxed);
}

/* Enters a fresh block into the books. */
static void *counted(void *p)
{
    if (p)
        atomic_fetch_add_explicit(&used, malloc_usable_size(p), memory_order_relaxed);
    return p;
}

void *hone_alloc(size_t size)
{
    return allowed(size) ? counted(malloc(size ? size : 1)) : NULL;
}

void *hone_calloc(size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        return NULL;
    return allowed(n * size) ? counted(calloc(n ? n : 1, size ? size : 1)) : NULL;
}

void *hone_realloc(void *p, size_t size)
{
    size_t before = malloc_usable_size(p);

    if (!allowed(size))
        return NULL;
    p = counted(realloc(p, size ? size : 1));
    if (p)
        atomic_fetch_sub_explicit(&used, before, memory_order_relaxed);
    return p;
}

void *hone_realloc_array(void *p, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        return NULL;
    return hone_realloc(p, n * size);
}

void *hone_grow(void *p, size_t *capacity, size_t need, size_t size)
{
    const size_t want = HONE_MAX(need, *capacity + *capacity / 2 + 16);
    void *grown;

    if (need <= *capacity)
        return p;
    grown = hone_realloc_array(p, want, size);
    if (!grown)
        return p;
    *capacity = want;
    return grown;
}

char *hone_strndup(const char *s, size_t n)
{
    char *copy = hone_alloc(n + 1);

    if (copy) {
        memcpy(copy, s, n);
        copy[n] = 0;
    }
    return copy;
}

char *hone_strdup(const char *s)
{
    return hone_strndup(s, strlen(s));
}

void hone_free(void *p)
{
    atomic_fetch_sub_explicit(&used, malloc_usable_size(p), memory_order_relaxed);
    free(p);
}

void *hone_big_alloc(size_t size)
{
    void *p;

    if (!allowed(size))
        return NULL;
    p = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, size, MADV_HUGEPAGE); /* a hint: refusal costs speed only */
    return p;
}

void hone_big_free(void *p, size_t size)
{
    if (p)
        munmap(p, size ? size : 1);
}

/* Value in kB of a "Name:   123 kB" line of a /proc file, as bytes; 0 if absent. */
static uint64_t proc_kb(const char *path, const char *name)
{
    char line[256];
    uint64_t value = 0;
    size_t n = strlen(name);
    FILE *f = fopen(path, "r");

    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, name, n) && line[n] == ':') {
            value = strtoull(line + n + 1, NULL, 10) * 1024;
            break;
        }
    fclose(f);
    return value;
}

uint64_t hone_rss(void)
{
    return proc_kb("/proc/self/status", "VmRSS");
}

uint64_t hone_rss_peak(void)
{
    return proc_kb("/proc/self/status", "VmHWM");
}

static uint64_t number_in_file(const char *path)
{
    char line[64];
    uint64_t value = 0;
    FILE *f = fopen(path, "r");

    if (!f)
        return 0;
    if (fgets(line, sizeof line, f) && line[0] >= '0' && line[0] <= '9')
        value = strtoull(line, NULL, 10);
    fclose(f);
    return value;
}

uint64_t hone_memory_available(void)
{
    uint64_t available = proc_kb("/proc/meminfo", "MemAvailable");
    uint64_t limit = number_in_file("/sys/fs/cgroup/memory.max"), taken;

    if (limit) {
        taken = number_in_file("/sys/fs/cgroup/memory.current");
    } else { /* cgroup v1 writes a huge number for "no limit", which the comparison below ignores */
        limit = number_in_file("/sys/fs/cgroup/memory/memory.limit_in_bytes");
        taken = number_in_file("/sys/fs/cgroup/memory/memory.usage_in_bytes");
    }
    if (limit && taken < limit && (available == 0 || limit - taken < available))
        available = limit - taken;
    return available;
}
