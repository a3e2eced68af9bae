/* Memory, growing buffers, counter-based random numbers and files: what every layer stands on.
 *
 * All library memory goes through hone_alloc & co., so that a test can make the n-th allocation fail
 * (hone_mem_hook) and so that a step after warm-up can be shown to allocate nothing. */
#ifndef HONE_BASE_H
#define HONE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "hone/error.h"
#include "hone/tokenizer.h" /* hone_free */

#define HONE_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HONE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HONE_MAX(a, b) ((a) > (b) ? (a) : (b))

/* ---- memory ------------------------------------------------------------------------------------------------ */

/* Return NULL on failure or overflow of n * size; memory is freed with hone_free. hone_calloc zeroes. */
void *hone_alloc(size_t size);
void *hone_calloc(size_t n, size_t size);
void *hone_realloc(void *p, size_t size);
/* Like realloc(p, n * size), with the product checked. */
void *hone_realloc_array(void *p, size_t n, size_t size);
/* Room for `need` elements in the growing array p of *capacity: p = hone_grow(p, &capacity, n + 1, sizeof *p), by half as
 * much again. Failed when *capacity is less than `need` afterwards; then p is as before. */
void *hone_grow(void *p, size_t *capacity, size_t need, size_t size);
char *hone_strdup(const char *s);
char *hone_strndup(const char *s, size_t n); /* always NUL-terminated; bytes may include NUL */

/* 64-byte aligned, zeroed, pages advised for transparent huge pages; freed with hone_big_free(p, size). For the
 * planned blocks of weights, activations and caches. */
void *hone_big_alloc(size_t size);
void hone_big_free(void *p, size_t size);

/* Bytes of heap memory that this library holds now (as the allocator rounds them), without hone_big_alloc's blocks. */
size_t hone_mem_used(void);

/* Called before every allocation (not free); returning false makes it fail. NULL switches it off. For tests. */
void hone_mem_hook(bool (*hook)(void *ud, size_t size), void *ud);

/* Resident set of this process in bytes: now, and its peak (VmHWM). 0 where /proc does not tell. */
uint64_t hone_rss(void);
uint64_t hone_rss_peak(void);
/* Memory this process may use: the smaller of the machine's available memory and the container's limit. */
uint64_t hone_memory_available(void);

/* ---- growing byte buffer -------------------------------------------------------------------------------------- */

/* Zero-initialise (limit 0 = 1 GiB). Always NUL-terminated once anything was added. A failed call sets `failed`,
 * which sticks; later calls do nothing, so that a writer checks once at its end. */
typedef struct hone_buf {
    char *data;
    size_t len, capacity, limit;
    bool failed;
} hone_buf;

void hone_buf_add(hone_buf *b, const void *bytes, size_t n);
void hone_buf_puts(hone_buf *b, const char *s);
void hone_buf_putc(hone_buf *b, char c);
void hone_buf_printf(hone_buf *b, const char *format, ...) HONE_PRINTF(2, 3);
void hone_buf_clear(hone_buf *b); /* frees */
char *hone_buf_take(hone_buf *b); /* transfers data (NUL-terminated), NULL when failed; b is then empty */

/* ---- UTF-8 ------------------------------------------------------------------------------------------------------ */

/* Decodes one character at s (n > 0 bytes left). Returns its length 1..4 and stores the code point; for an
 * ill-formed sequence returns the length of its maximal ill-formed subpart (>= 1) and stores -1. */
size_t hone_utf8_get(const char *s, size_t n, int32_t *code_point);
/* Encodes a code point, returns its length (1..4). Surrogates and out-of-range become U+FFFD. */
size_t hone_utf8_put(char out[4], int32_t code_point);

/* ---- random numbers --------------------------------------------------------------------------------------------- */

/* Philox 4x32-10 (Salmon et al. 2011): four uniform 32-bit words from (seed, stream, counter). Stateless: the same
 * three numbers give the same words on every machine, thread and run. */
void hone_philox(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t counter);

/* A sequential reader over one Philox stream. */
typedef struct hone_rng {
    uint64_t seed, stream, counter;
    uint32_t word[4];
    int left; /* words not yet handed out */
} hone_rng;

hone_rng hone_rng_make(uint64_t seed, uint64_t stream);
uint32_t hone_rng_u32(hone_rng *r);
uint32_t hone_rng_below(hone_rng *r, uint32_t n); /* uniform in [0, n), n > 0, without bias */
double hone_rng_uniform(hone_rng *r);             /* [0, 1), 53 bits */

/* ---- hashing ---------------------------------------------------------------------------------------------------- */

uint64_t hone_hash64(uint64_t seed, const void *bytes, size_t n); /* FNV-1a 64; not for hostile keys */

/* XXH64 of bytes that come in pieces: for damage in files, and keys of caches. */
typedef struct hone_xxh64 {
    uint64_t lane[4], seed, total;
    uint8_t rest[32]; /* the last total % 32 bytes */
} hone_xxh64;

hone_xxh64 hone_xxh64_begin(uint64_t seed);
void hone_xxh64_add(hone_xxh64 *h, const void *bytes, size_t n);
uint64_t hone_xxh64_end(const hone_xxh64 *h); /* h may go on */
uint64_t hone_xxh64_of(uint64_t seed, const void *bytes, size_t n);
/* SHA-256 of n bytes as 64 lower-case hexadecimal digits and a NUL. */
void hone_sha256(char out[65], const void *bytes, size_t n);

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* A read-only mapping of a whole file. data is NULL when size is 0. */
typedef struct hone_map {
    const uint8_t *data;
    size_t size;
} hone_map;

int hone_map_open(hone_map *out, const char *path,
                  hone_error *err); /* HONE_ENOENT, HONE_EIO, HONE_EFORMAT (a folder) */
void hone_map_close(hone_map *m);

/* Whole file as a NUL-terminated buffer, at most `limit` bytes (HONE_ELIMIT beyond). Freed with hone_free. */
int hone_file_read(char **out, size_t *len, const char *path, size_t limit, hone_error *err);

/* Atomic writer: writes to PATH.tmp.<pid>, hone_writer_commit syncs, renames over PATH and syncs the folder;
 * hone_writer_abort removes the temporary file. Exactly one of the two ends a writer. Errors stick. */
typedef struct hone_writer hone_writer;
int hone_writer_open(hone_writer **out, const char *path, hone_error *err);
int hone_writer_write(hone_writer *w, const void *bytes, size_t n, hone_error *err);
int hone_writer_commit(hone_writer *w, hone_error *err);
void hone_writer_abort(hone_writer *w); /* NULL is fine */
/* The three steps at once. */
int hone_file_write(const char *path, const void *bytes, size_t n, hone_error *err);

/* Zeroed room in a file that has no name, on the file system of hone_path_nearest(dir); it is gone when it is closed or the
 * process ends, in whatever way. All of it is reserved at once: HONE_EIO (dir, `what` it is for, bytes needed) when the
 * disk is too small or the folder can not be written; HONE_ENOMEM. */
typedef struct hone_spill {
    char *data; /* page-aligned */
    size_t size;
} hone_spill;

int hone_spill_open(hone_spill *out, const char *dir, const char *what, size_t size, hone_error *err);
void hone_spill_close(hone_spill *s); /* a zeroed one is fine */

/* The pages of n bytes of a hone_spill or hone_map leave this process; they come back when somebody looks at them, with
 * what was written there. Never for heap memory or hone_big_alloc's, whose contents would be lost. */
void hone_pages_release(const void *bytes, size_t n);
/* The pages of n bytes of a hone_spill come to this process at once, to be written: a quarter of the cost of one by one. */
void hone_pages_fetch(void *bytes, size_t n);

bool hone_path_is_dir(const char *path);
bool hone_path_exists(const char *path);
/* "a/b" from "a" and "b"; b alone when absolute. Allocated; NULL on ENOMEM. */
char *hone_path_join(const char *a, const char *b);
/* The folder part of a path ("." when none). Allocated. */
char *hone_path_dir(const char *path);
int hone_mkdirs(const char *path, hone_error *err); /* like mkdir -p */
/* The path itself, or the nearest folder above it that is there. Allocated; NULL on ENOMEM. */
char *hone_path_nearest(const char *path);
/* Whether the file system of hone_path_nearest(path) keeps its files in memory (tmpfs). */
bool hone_path_in_memory(const char *path);
/* Renames a file or folder and makes that durable. HONE_EIO: also when `to` is a folder that is not empty. */
int hone_path_rename(const char *from, const char *to, hone_error *err);

double hone_now(void); /* monotonic seconds */

#endif
