/* training_state.bin: magic and version, sizes, the state, a text that says what the run is, the trained values and the
 * optimiser's states as they lie in memory, and the XXH64 of all that. Values are the f32 that training works on, whatever
 * precision the adapter or model beside them is saved in, so that a run that goes on has the bits of one that never
 * stopped. Numbers are little-endian; the file is for the same build of the program, which the size of the state checks.
 *
 * States can be larger than the memory left, in a file or here in the checkpoint: both are gone through in pieces whose
 * pages are let go.
 *
 * A checkpoint is made in checkpoint-N.partial, and renamed when everything in it is synced: a folder called checkpoint-N
 * is whole at any moment. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[8] = "honerun\1";

typedef struct header {
    char magic[8];
    uint64_t state, text, value, optimizer; /* bytes of what follows */
} header;

#define PIECE ((size_t)1 << 22) /* bytes */

/* Writes and sums up. */
static int put(hone_writer *w, hone_xxh64 *sum, const void *bytes, size_t n, hone_error *err)
{
    hone_xxh64_add(sum, bytes, n);
    return hone_writer_write(w, bytes, n, err);
}

static int put_optimizer(hone_writer *w, hone_xxh64 *sum, const hone_checkpoint *c, hone_error *err)
{
    const char *bytes = c->optimizer;
    size_t at, n;
    int rc = 0;

    for (at = 0; !rc && at < c->optimizer_bytes; at += n) {
        n = HONE_MIN(PIECE, c->optimizer_bytes - at);
        rc = put(w, sum, bytes + at, n, err);
        if (c->optimizer_in_file)
            hone_pages_release(bytes + at, n);
    }
    return rc;
}

int hone_checkpoint_write(const char *dir, const hone_checkpoint *c, hone_error *err)
{
    header h = {.state = sizeof c->state,
                .text = strlen(c->text),
                .value = c->value_bytes,
                .optimizer = c->optimizer_bytes};
    char *path = hone_path_join(dir, HONE_CHECKPOINT_FILE);
    hone_xxh64 sum = hone_xxh64_begin(0);
    hone_writer *w = NULL;
    uint64_t checksum;
    int rc = path ? hone_writer_open(&w, path, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");

    memcpy(h.magic, magic, sizeof magic);
    if (!rc && !(rc = put(w, &sum, &h, sizeof h, err)) &&
        !(rc = put(w, &sum, &c->state, sizeof c->state, err)) && !(rc = put(w, &sum, c->text, h.text, err)) &&
        !(rc = put(w, &sum, c->value, c->value_bytes, err)) && !(rc = put_optimizer(w, &sum, c, err))) {
        checksum = hone_xxh64_end(&sum);
        rc = hone_writer_write(w, &checksum, sizeof checksum, err);
    }
    if (rc)
        hone_writer_abort(w);
    else
        rc = hone_writer_commit(w, err);
    hone_free(path);
    return rc;
}

static int broken(const char *path, const char *why, hone_error *err)
{
    return hone_error_set(err, HONE_EFORMAT, "%s: %s: the checkpoint can not be continued", path, why);
}

static uint64_t checksum_of(const uint8_t *bytes, size_t size)
{
    hone_xxh64 sum = hone_xxh64_begin(0);
    size_t at, n;

    for (at = 0; at < size; at += n) {
        n = HONE_MIN(PIECE, size - at);
        hone_xxh64_add(&sum, bytes + at, n);
        hone_pages_release(bytes + at, n);
    }
    return hone_xxh64_end(&sum);
}

/* Copies out of the mapped file; `in_file`: into a hone_spill. */
static void take(void *to, const uint8_t *from, size_t size, bool in_file)
{
    size_t at, n;

    for (at = 0; at < size; at += n) {
        n = HONE_MIN(PIECE, size - at);
        memcpy((char *)to + at, from + at, n);
        hone_pages_release(from + at, n);
        if (in_file)
            hone_pages_release((char *)to + at, n);
    }
}

/* Maps the file and checks it as a whole. */
static int open_state(hone_map *map, header *h, const char *path, hone_error *err)
{
    size_t at = sizeof *h, room;
    uint64_t checksum;
    int rc = hone_map_open(map, path, err);

    if (rc)
        return rc;
    if (map->size < sizeof *h + sizeof checksum)
        return broken(path, "the file is cut", err);
    memcpy(h, map->data, sizeof *h);
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return broken(path, "this is no training state of this version", err);
    room = map->size - at - sizeof checksum;
    if (h->state > room || h->text > room - h->state || h->value > room - h->state - h->text ||
        h->optimizer != room - h->state - h->text - h->value)
        return broken(path, "its size is not what its header says", err);
    memcpy(&checksum, map->data + map->size - sizeof checksum, sizeof checksum);
    if (checksum != checksum_of(map->data, map->size - sizeof checksum))
        return broken(path, "its bytes do not match their checksum", err);
    return 0;
}

int hone_checkpoint_read(hone_checkpoint *c, const char *dir, hone_error *err)
{
    char *path = hone_path_join(dir, HONE_CHECKPOINT_FILE);
    hone_map map = {0};
    const uint8_t *at;
    header h;
    int rc = path ? open_state(&map, &h, path, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");

    if (rc)
        goto out;
    at = map.data + sizeof h + h.state;
    if (h.state != sizeof c->state)
        rc = broken(path, "it was written by another version", err);
    else if (h.text != strlen(c->text) || memcmp(at, c->text, h.text) != 0)
        rc = hone_error_set(err, HONE_EINVAL,
                            "%s: belongs to another run: it was made with %.*s, this one has %s", path,
                            (int)HONE_MIN(h.text, (uint64_t)600), (const char *)at, c->text);
    else if (h.value != c->value_bytes || h.optimizer != c->optimizer_bytes)
        rc = hone_error_set(
            err, HONE_EINVAL,
            "%s: belongs to another run: it holds %llu bytes of trained values and %llu of the "
            "optimiser, this one has %zu and %zu",
            path, (unsigned long long)h.value, (unsigned long long)h.optimizer, c->value_bytes,
            c->optimizer_bytes);
    if (rc)
        goto out;
    memcpy(&c->state, map.data + sizeof h, sizeof c->state);
    take(c->value, at + h.text, c->value_bytes, false);
    take(c->optimizer, at + h.text + h.value, c->optimizer_bytes, c->optimizer_in_file);
out:
    hone_map_close(&map);
    hone_free(path);
    return rc;
}

/* N of "checkpoint-N", -1 of another name. */
static int64_t number_of(const char *name)
{
    static const char prefix[] = "checkpoint-";
    char *end;
    long long n;

    if (strncmp(name, prefix, sizeof prefix - 1) != 0 || name[sizeof prefix - 1] < '0' ||
        name[sizeof prefix - 1] > '9')
        return -1;
    errno = 0;
    n = strtoll(name + sizeof prefix - 1, &end, 10);
    return *end || errno ? -1 : n;
}

/* Removes a folder of files, and of folders of files. */
static void remove_folder(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char *path = e->d_name[0] == '.' ? NULL : hone_path_join(dir, e->d_name);

        if (path && unlink(path) != 0 && hone_path_is_dir(path))
            remove_folder(path);
        hone_free(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

void hone_checkpoint_sweep(const char *output_dir)
{
    DIR *d = opendir(output_dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        const char *end = strstr(e->d_name, ".partial");
        char *path;

        if (strncmp(e->d_name, "checkpoint-", 11) != 0 || !end || end[8] ||
            !(path = hone_path_join(output_dir, e->d_name)))
            continue;
        remove_folder(path);
        hone_free(path);
    }
    if (d)
        closedir(d);
}

int hone_checkpoint_newest(char **dir, const char *output_dir, hone_error *err)
{
    int64_t below = INT64_MAX;

    *dir = NULL;
    for (;;) { /* from the newest on, until one is whole */
        DIR *d = opendir(output_dir);
        struct dirent *e;
        int64_t best = -1;
        char name[40], *path, *file;
        hone_map map = {0};
        header h;
        bool whole;

        while (d && (e = readdir(d)))
            if (number_of(e->d_name) < below)
                best = HONE_MAX(best, number_of(e->d_name));
        if (d)
            closedir(d);
        if (best < 0)
            return 0;
        snprintf(name, sizeof name, "checkpoint-%lld", (long long)best);
        path = hone_path_join(output_dir, name);
        file = path ? hone_path_join(path, HONE_CHECKPOINT_FILE) : NULL;
        if (!file) {
            hone_free(path);
            return hone_error_set(err, HONE_ENOMEM, "out of memory");
        }
        whole = open_state(&map, &h, file, NULL) == 0;
        hone_map_close(&map);
        hone_free(file);
        if (whole) {
            *dir = path;
            return 0;
        }
        hone_free(path);
        below = best;
    }
}
