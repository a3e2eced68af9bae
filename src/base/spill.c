/* Room in a file instead of memory, for what a step looks at once: optimiser states, frozen weights.
 *
 * The file is mapped MAP_SHARED, so its pages are the kernel's cache of it: in memory while there is room, on the disk when
 * there is none. It loses its name as soon as it is open, before it has any bytes: whatever ends the process, kill -9
 * included, leaves nothing behind. All its blocks are reserved at once, so a disk that is too small is an error here and
 * not a SIGBUS in the middle of a step.
 *
 * Pages that were touched count as resident until they are let go. Letting go loses nothing: a dirty page of a shared
 * mapping stays in the cache until it is written. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base.h"

char *hone_path_nearest(const char *path)
{
    char *at = hone_strdup(path);

    while (at && !hone_path_exists(at)) {
        char *above = hone_path_dir(at);

        if (above && !strcmp(above, at)) {
            hone_free(above);
            break;
        }
        hone_free(at);
        at = above;
    }
    return at;
}

bool hone_path_in_memory(const char *path)
{
    char *at = hone_path_nearest(path);
    struct statfs s;
    const bool known = at && statfs(at, &s) == 0;

    hone_free(at);
    return known && (s.f_type == TMPFS_MAGIC || s.f_type == RAMFS_MAGIC);
}

/* A new file without a name. Returns its descriptor, or -1 with errno. */
static int open_nameless(const char *dir)
{
    hone_buf name = {0};
    int fd = -1, i;

    for (i = 0; i < 100 && fd < 0; i++) {
        name.len = 0;
        hone_buf_printf(&name, "%s/.hone-offload.%ld.%d", dir, (long)getpid(), i);
        errno = ENOMEM;
        if (name.failed)
            break;
        fd = open(name.data, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    if (fd >= 0)
        unlink(name.data);
    hone_buf_clear(&name);
    return fd;
}

/* Asked first, since filling a disk up to the last byte before failing would harm others on it. */
static bool has_room(int fd, size_t size, uint64_t *left)
{
    struct statvfs s;

    *left = 0;
    if (fstatvfs(fd, &s) != 0)
        return true;
    *left = (uint64_t)s.f_bavail * s.f_frsize;
    return size <= *left;
}

int hone_spill_open(hone_spill *out, const char *dir, const char *what, size_t size, hone_error *err)
{
    char *at = hone_path_nearest(dir);
    int fd = at ? open_nameless(at) : -1, problem = 0, rc = 0;
    uint64_t left = 0;
    void *p = MAP_FAILED;

    *out = (hone_spill){0};
    if (fd < 0)
        problem = at ? errno : ENOMEM;
    else if (!has_room(fd, size, &left))
        problem = ENOSPC;
    else
        problem = posix_fallocate(fd, 0, (off_t)HONE_MAX(size, (size_t)1));
    if (!problem &&
        (p = mmap(NULL, HONE_MAX(size, (size_t)1), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        problem = errno;
    if (fd >= 0)
        close(fd);
    hone_free(at);
    if (problem == ENOSPC)
        rc = hone_error_set(err, HONE_EIO, "%s: no room for %s: %zu bytes are needed, %llu are free", dir,
                            what, size, (unsigned long long)left);
    else if (problem)
        rc = hone_error_set(err, problem == ENOMEM ? HONE_ENOMEM : HONE_EIO,
                            "%s: can not make a file of %zu bytes for %s: %s", dir, size, what,
                            strerror(problem));
    else
        *out = (hone_spill){p, size};
    return rc;
}

void hone_spill_close(hone_spill *s)
{
    if (s->data)
        munmap(s->data, HONE_MAX(s->size, (size_t)1));
    *s = (hone_spill){0};
}

/* madvise from the page that the bytes begin on. */
static void advise(const void *bytes, size_t n, int advice)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)bytes & ~(page - 1);

    if (n)
        madvise((void *)first, (uintptr_t)bytes + n - first, advice); /* a hint: refusal costs memory only */
}

void hone_pages_release(const void *bytes, size_t n)
{
    advise(bytes, n, MADV_DONTNEED);
}

void hone_pages_fetch(void *bytes, size_t n)
{
    advise(bytes, n, MADV_POPULATE_WRITE); /* since Linux 5.14; before, they come one by one */
}
