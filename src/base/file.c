/* Files: mapping, reading whole, and writing so that a crash leaves the old file or the new one, never half. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

static int os_error(hone_error *err, const char *doing, const char *path)
{
    int e = errno;

    return hone_error_set(err, e == ENOENT ? HONE_ENOENT : HONE_EIO, "%s: cannot %s: %s", path, doing,
                          strerror(e));
}

/* Opens a regular file for reading and tells its size. */
static int open_regular(int *fd, size_t *size, const char *path, hone_error *err)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return os_error(err, "open", path);
    if (fstat(*fd, &st) < 0) {
        int rc = os_error(err, "read", path);
        close(*fd);
        return rc;
    }
    if (S_ISDIR(st.st_mode)) {
        close(*fd);
        return hone_error_set(err, HONE_EFORMAT, "%s: is a folder, a file is needed", path);
    }
    *size = (size_t)st.st_size;
    return 0;
}

int hone_map_open(hone_map *out, const char *path, hone_error *err)
{
    int fd, rc = open_regular(&fd, &out->size, path, err);

    out->data = NULL;
    if (rc)
        return rc;
    if (out->size) {
        void *p = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);

        if (p == MAP_FAILED)
            rc = os_error(err, "map", path);
        else
            out->data = p;
    }
    close(fd);
    return rc;
}

void hone_map_close(hone_map *m)
{
    if (m->data)
        munmap((void *)m->data, m->size);
    m->data = NULL;
    m->size = 0;
}

int hone_file_read(char **out, size_t *len, const char *path, size_t limit, hone_error *err)
{
    hone_buf b = {0};
    char chunk[65536];
    size_t size;
    ssize_t n;
    int fd, rc = open_regular(&fd, &size, path, err);

    *out = NULL;
    if (rc)
        return rc;
    b.limit = limit + 1 ? limit + 1 : limit;
    while ((n = read(fd, chunk, sizeof chunk)) > 0) {
        if (b.len + (size_t)n > limit) {
            rc = hone_error_set(err, HONE_ELIMIT, "%s: larger than %zu bytes", path, limit);
            break;
        }
        hone_buf_add(&b, chunk, (size_t)n);
    }
    if (n < 0)
        rc = os_error(err, "read", path);
    close(fd);
    if (!rc) {
        *len = b.len;
        *out = hone_buf_take(&b);
        if (!*out)
            rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory while reading", path);
    }
    hone_buf_clear(&b);
    return rc;
}

struct hone_writer {
    char *path, *temporary;
    FILE *file;
};

int hone_writer_open(hone_writer **out, const char *path, hone_error *err)
{
    hone_writer *w = hone_calloc(1, sizeof *w);
    hone_buf name = {0};
    int fd;

    *out = NULL;
    if (!w)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    hone_buf_printf(&name, "%s.tmp.%ld", path, (long)getpid());
    w->temporary = hone_buf_take(&name);
    w->path = hone_strdup(path);
    if (!w->temporary || !w->path) {
        hone_writer_abort(w);
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    }
    fd = open(w->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    w->file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!w->file) {
        int rc = os_error(err, "write", path);
        if (fd >= 0)
            close(fd);
        hone_writer_abort(w);
        return rc;
    }
    *out = w;
    return 0;
}

int hone_writer_write(hone_writer *w, const void *bytes, size_t n, hone_error *err)
{
    if (n && fwrite(bytes, 1, n, w->file) != n)
        return os_error(err, "write", w->path);
    return 0;
}

/* Makes the rename itself durable. A file system that can not sync folders is no reason to fail. */
static void sync_folder(const char *path)
{
    char *dir = hone_path_dir(path);
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    hone_free(dir);
}

int hone_path_rename(const char *from, const char *to, hone_error *err)
{
    if (rename(from, to) != 0)
        return os_error(err, "rename to", to);
    sync_folder(to);
    return 0;
}

int hone_writer_commit(hone_writer *w, hone_error *err)
{
    int rc = 0;

    if (fflush(w->file) != 0 || ferror(w->file) || fsync(fileno(w->file)) != 0)
        rc = os_error(err, "write", w->path);
    if (fclose(w->file) != 0 && !rc)
        rc = os_error(err, "write", w->path);
    w->file = NULL;
    if (!rc && rename(w->temporary, w->path) != 0)
        rc = os_error(err, "rename", w->path);
    if (!rc) {
        sync_folder(w->path);
        hone_free(w->temporary);
        w->temporary = NULL;
    }
    hone_writer_abort(w);
    return rc;
}

void hone_writer_abort(hone_writer *w)
{
    if (!w)
        return;
    if (w->file)
        fclose(w->file);
    if (w->temporary)
        unlink(w->temporary);
    hone_free(w->temporary);
    hone_free(w->path);
    hone_free(w);
}

int hone_file_write(const char *path, const void *bytes, size_t n, hone_error *err)
{
    hone_writer *w;
    int rc = hone_writer_open(&w, path, err);

    if (rc)
        return rc;
    rc = hone_writer_write(w, bytes, n, err);
    if (rc) {
        hone_writer_abort(w);
        return rc;
    }
    return hone_writer_commit(w, err);
}

bool hone_path_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool hone_path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

char *hone_path_join(const char *a, const char *b)
{
    hone_buf out = {0};

    if (b[0] != '/') {
        size_t n = strlen(a);

        hone_buf_puts(&out, a);
        if (n && a[n - 1] != '/')
            hone_buf_putc(&out, '/');
    }
    hone_buf_puts(&out, b);
    return hone_buf_take(&out);
}

char *hone_path_dir(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return hone_strdup(".");
    return hone_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

int hone_mkdirs(const char *path, hone_error *err)
{
    char *p = hone_strdup(path), *s;
    int rc = 0;

    if (!p)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    for (s = p + 1; !rc; s++)
        if (*s == '/' || *s == 0) {
            char c = *s;

            *s = 0;
            if (mkdir(p, 0777) != 0 && errno != EEXIST)
                rc = os_error(err, "create the folder", p);
            *s = c;
            if (!c)
                break;
        }
    if (!rc && !hone_path_is_dir(path))
        rc = hone_error_set(err, HONE_EIO, "%s: is not a folder", path);
    hone_free(p);
    return rc;
}

double hone_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
