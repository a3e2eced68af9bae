/* The bytes of a file, unpacked where its name ends in .gz or .zst, and those of standard input. Unpacking holds a fixed
 * piece of both sides, so that a small file that unpacks to terabytes costs time and no memory. A cut or damaged packed
 * file is told from one that ends well: its error names the byte of the packed file. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "data/data.h"

#define PIECE 65536 /* packed bytes held */

typedef enum packing { PLAIN, GZIP, ZSTD } packing;

struct byte_stream {
    const char *path; /* borrowed */
    int fd;
    packing packing;
    uint8_t *in; /* [PIECE] of the packed file */
    size_t at, end;
    uint64_t offset; /* bytes read of the file; of a packed one that is where in[end] stands */
    bool inside;     /* a gzip member or zstd frame is open */
    z_stream gzip;
    ZSTD_DCtx *zstd;
};

bool path_is_stdin(const char *path)
{
    return path[0] == '-' && (path[1] == 0 || path[1] == '.');
}

size_t path_packing(const char *path)
{
    size_t n = strlen(path);

    if (n > 3 && !strcasecmp(path + n - 3, ".gz"))
        return 3;
    return n > 4 && !strcasecmp(path + n - 4, ".zst") ? 4 : 0;
}

static void *gzip_alloc(void *ud, unsigned n, unsigned size)
{
    (void)ud;
    return hone_calloc(n, size);
}

static void gzip_free(void *ud, void *p)
{
    (void)ud;
    hone_free(p);
}

int byte_stream_open(byte_stream **out, const char *path, hone_error *err)
{
    byte_stream *s = hone_calloc(1, sizeof *s);
    size_t ending = path_packing(path);
    bool ok = s != NULL;
    int rc = 0;

    *out = NULL;
    if (!s)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    s->path = path;
    s->packing = ending == 0 ? PLAIN : ending == 3 ? GZIP : ZSTD;
    s->fd = path_is_stdin(path) ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0) {
        rc = hone_error_set(err, errno == ENOENT ? HONE_ENOENT : HONE_EIO, "%s: cannot open: %s", path,
                            strerror(errno));
        byte_stream_close(s);
        return rc;
    }
    if (s->packing != PLAIN)
        ok = (s->in = hone_alloc(PIECE)) != NULL;
    if (ok && s->packing == GZIP) {
        s->gzip.zalloc = gzip_alloc;
        s->gzip.zfree = gzip_free;
        ok = inflateInit2(&s->gzip, 16 + MAX_WBITS) == Z_OK; /* 16: with a gzip header */
    }
    if (ok && s->packing == ZSTD)
        ok = (s->zstd = ZSTD_createDCtx()) != NULL;
    if (!ok) {
        byte_stream_close(s);
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    }
    *out = s;
    return 0;
}

uint64_t byte_stream_offset(const byte_stream *s)
{
    return s->offset;
}

void byte_stream_close(byte_stream *s)
{
    if (!s)
        return;
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    if (s->gzip.state)
        inflateEnd(&s->gzip);
    ZSTD_freeDCtx(s->zstd);
    hone_free(s->in);
    hone_free(s);
}

static int read_fd(byte_stream *s, uint8_t *out, size_t size, size_t *n, hone_error *err)
{
    ssize_t got;

    do
        got = read(s->fd, out, size);
    while (got < 0 && errno == EINTR);
    *n = got > 0 ? (size_t)got : 0;
    s->offset += *n;
    return got < 0 ? hone_error_set(err, HONE_EIO, "%s: cannot read: %s", s->path, strerror(errno)) : 0;
}

static int damaged(const byte_stream *s, hone_error *err, const char *reason)
{
    return hone_error_set(err, HONE_EFORMAT, "%s: byte %llu: the %s data is damaged: %s", s->path,
                          (unsigned long long)(s->offset - (s->end - s->at)),
                          s->packing == GZIP ? "gzip" : "zstd", reason);
}

/* One step of zlib from in[at..end) into out; *n bytes came out. */
static int step_gzip(byte_stream *s, uint8_t *out, size_t size, size_t *n, hone_error *err)
{
    int status;

    s->gzip.next_in = s->in + s->at;
    s->gzip.avail_in = (unsigned)(s->end - s->at);
    s->gzip.next_out = out;
    s->gzip.avail_out = (unsigned)size;
    status = inflate(&s->gzip, Z_NO_FLUSH);
    s->at = s->end - s->gzip.avail_in;
    *n = size - s->gzip.avail_out;
    s->inside = status != Z_STREAM_END;
    if (status == Z_MEM_ERROR)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", s->path);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        return damaged(s, err, s->gzip.msg ? s->gzip.msg : "a dictionary is needed");
    if (status == Z_STREAM_END)
        inflateReset(&s->gzip); /* another member may follow */
    return 0;
}

static int step_zstd(byte_stream *s, uint8_t *out, size_t size, size_t *n, hone_error *err)
{
    ZSTD_inBuffer from = {s->in, s->end, s->at};
    ZSTD_outBuffer to = {out, size, 0};
    size_t left = ZSTD_decompressStream(s->zstd, &to, &from);

    s->at = from.pos;
    *n = to.pos;
    if (ZSTD_isError(left))
        return damaged(s, err, ZSTD_getErrorName(left));
    s->inside = left != 0;
    return 0;
}

int byte_stream_read(byte_stream *s, uint8_t *out, size_t size, size_t *n, hone_error *err)
{
    int rc = 0;

    *n = 0;
    if (s->packing == PLAIN)
        return read_fd(s, out, size, n, err);
    while (!rc && !*n) {
        if (s->at == s->end) {
            size_t got;

            /* What the unpacker still holds goes first: a full `out` may have stopped it. */
            if (s->inside && s->offset) {
                rc = s->packing == GZIP ? step_gzip(s, out, size, n, err) : step_zstd(s, out, size, n, err);
                if (rc || *n)
                    return rc;
            }
            rc = read_fd(s, s->in, PIECE, &got, err);
            if (rc)
                return rc;
            s->at = 0;
            s->end = got;
            if (!got)
                return s->inside ? damaged(s, err, "it ends too early") : 0;
        }
        rc = s->packing == GZIP ? step_gzip(s, out, size, n, err) : step_zstd(s, out, size, n, err);
    }
    return rc;
}
