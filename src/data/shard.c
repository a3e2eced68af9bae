/* Token shards: adding rows, writing, mapping, checking. */
#include "data/shard.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGN 64
#define SLICE ((size_t)4 << 20) /* of a mapped file that is checked at once */

static const char magic[8] = {'h', 'o', 'n', 'e', 's', 'h', 'r', 'd'};
static const size_t element[SHARD_SECTIONS] = {sizeof(shard_sequence), sizeof(shard_row),
                                               sizeof(hone_weight_run), sizeof(uint64_t), sizeof(int32_t)};
static const char *const section_name[SHARD_SECTIONS] = {"sequences", "rows", "weights", "masks", "ids"};

_Static_assert(sizeof(shard_sequence) == 32 && sizeof(shard_row) == 24 && sizeof(hone_weight_run) == 8 &&
                   sizeof(shard_header) == 256,
               "the structures are the file's");

hone_sequence shard_get(const shard *s, size_t i)
{
    const shard_sequence *e = shard_sequences(s) + i;
    const hone_weight_run *run = s->data[SHARD_RUNS];

    return (hone_sequence){.id = (const int32_t *)s->data[SHARD_IDS] + e->id,
                           .mask = (const uint64_t *)s->data[SHARD_MASK] + e->word,
                           .n = e->n,
                           .n_targets = e->n_targets,
                           .run = e->n_runs ? run + e->run : NULL,
                           .n_runs = e->n_runs,
                           .line = shard_rows(s)[e->row].line,
                           .row = s->first_row + e->row};
}

uint64_t shard_bytes(const shard *s)
{
    uint64_t bytes = 0;
    int k;

    for (k = 0; k < SHARD_SECTIONS; k++)
        bytes += s->n[k] * element[k];
    return bytes;
}

void shard_close(shard *s)
{
    int k;

    for (k = 0; k < SHARD_SECTIONS && !s->map.size; k++)
        hone_free((void *)s->data[k]);
    hone_map_close(&s->map);
    *s = (shard){0};
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the data");
}

/* Makes room for n more elements of a section and returns the first of them, not yet counted; NULL: no memory. */
static void *room(shard_builder *b, int section, size_t n)
{
    size_t want = b->n[section] + n, grown = HONE_MAX(want, b->capacity[section] + b->capacity[section] / 2);

    if (want > b->capacity[section]) {
        void *p = hone_realloc_array(b->data[section], HONE_MAX(grown, (size_t)64), element[section]);

        if (!p)
            return NULL;
        b->data[section] = p;
        b->capacity[section] = HONE_MAX(grown, (size_t)64);
    }
    return (char *)b->data[section] + b->n[section] * element[section];
}

static int add_sequence(shard_builder *b, const sequence *s, hone_error *err)
{
    size_t words = (s->n + 63) / 64, i;
    shard_sequence *entry = room(b, SHARD_SEQUENCES, 1);
    hone_weight_run *run = s->n_runs ? room(b, SHARD_RUNS, s->n_runs) : NULL;
    uint64_t *mask = room(b, SHARD_MASK, words);
    int32_t *id = room(b, SHARD_IDS, s->n);

    if (!entry || (s->n_runs && !run) || !mask || !id)
        return out_of_memory(err);
    if (b->n[SHARD_IDS] + s->n > UINT32_MAX)
        return hone_error_set(err, HONE_ELIMIT, "more than %u tokens in one row", UINT32_MAX);
    *entry = (shard_sequence){.id = (uint32_t)b->n[SHARD_IDS],
                              .word = (uint32_t)b->n[SHARD_MASK],
                              .run = (uint32_t)b->n[SHARD_RUNS],
                              .row = (uint32_t)b->n[SHARD_ROWS],
                              .n = (uint32_t)s->n,
                              .n_targets = (uint32_t)s->n_trained,
                              .n_runs = (uint32_t)s->n_runs,
                              .turns = (uint32_t)s->turns};
    memcpy(id, s->id, s->n * sizeof *id);
    if (s->n_runs)
        memcpy(run, s->run, s->n_runs * sizeof *run);
    memset(mask, 0, words * sizeof *mask);
    for (i = 0; i < s->n; i++)
        mask[i / 64] |= (uint64_t)s->mask[i] << (i % 64);
    b->n[SHARD_SEQUENCES]++;
    b->n[SHARD_RUNS] += s->n_runs;
    b->n[SHARD_MASK] += words;
    b->n[SHARD_IDS] += s->n;
    return 0;
}

int shard_add(shard_builder *b, const encoded_row *row, uint32_t file, uint64_t line, hone_error *err)
{
    size_t tokens = row->fate == FATE_DROPPED_OVERLONG ? row->length : row->tokens_cut, i;
    shard_row *r = room(b, SHARD_ROWS, 1);
    int rc = r ? 0 : out_of_memory(err);

    for (i = 0; !rc && i < row->n_parts; i++)
        rc = add_sequence(b, &row->part[i], err);
    if (rc)
        return rc;
    *r = (shard_row){.line = line,
                     .file = file,
                     .parts = (uint32_t)row->n_parts,
                     .tokens = (uint32_t)HONE_MIN(tokens, UINT32_MAX),
                     .fate = row->fate};
    b->n[SHARD_ROWS]++;
    return 0;
}

size_t shard_builder_bytes(const shard_builder *b)
{
    size_t bytes = 0;
    int k;

    for (k = 0; k < SHARD_SECTIONS; k++)
        bytes += b->n[k] * element[k];
    return bytes;
}

static void next_shard(shard_builder *b)
{
    b->first_row += b->n[SHARD_ROWS];
    b->first_sequence += b->n[SHARD_SEQUENCES];
    b->index++;
    memset(b->n, 0, sizeof b->n);
}

void shard_seal(shard_builder *b, shard *out)
{
    int k;

    *out = (shard){.first_row = b->first_row, .first_sequence = b->first_sequence};
    for (k = 0; k < SHARD_SECTIONS; k++) {
        /* Gives back what growing left over; shrinking may fail, then the larger block stays. */
        void *p = b->n[k] ? hone_realloc_array(b->data[k], b->n[k], element[k]) : NULL;

        if (!b->n[k])
            hone_free(b->data[k]);
        out->data[k] = b->n[k] && !p ? b->data[k] : p;
        out->n[k] = b->n[k];
        b->data[k] = NULL;
        b->capacity[k] = 0;
    }
    next_shard(b);
}

void shard_builder_clear(shard_builder *b)
{
    int k;

    for (k = 0; k < SHARD_SECTIONS; k++)
        hone_free(b->data[k]);
    *b = (shard_builder){0};
}

static size_t padding(size_t bytes)
{
    return (ALIGN - bytes % ALIGN) % ALIGN;
}

int shard_write(shard_builder *b, shard *out, const char *path, const uint64_t key[2], uint64_t *checksum,
                hone_error *err)
{
    static const uint8_t zero[ALIGN];
    shard_header h = {.version = SHARD_VERSION,
                      .index = b->index,
                      .key = {key[0], key[1]},
                      .first_row = b->first_row,
                      .first_sequence = b->first_sequence,
                      .size = sizeof h};
    const uint8_t *at;
    hone_writer *w;
    int k, rc;

    memcpy(h.magic, magic, sizeof magic);
    for (k = 0; k < SHARD_SECTIONS; k++) {
        size_t bytes = b->n[k] * element[k];
        hone_xxh64 sum = hone_xxh64_begin((uint64_t)k);

        hone_xxh64_add(&sum, b->data[k], bytes);
        hone_xxh64_add(&sum, zero, padding(bytes));
        h.sum[k] = hone_xxh64_end(&sum);
        h.n[k] = b->n[k];
        h.size += bytes + padding(bytes);
    }
    h.checksum = *checksum = hone_xxh64_of(0, &h, offsetof(shard_header, checksum));
    if ((rc = hone_writer_open(&w, path, err)))
        return rc;
    rc = hone_writer_write(w, &h, sizeof h, err);
    for (k = 0; !rc && k < SHARD_SECTIONS; k++) {
        size_t bytes = b->n[k] * element[k];

        if (bytes)
            rc = hone_writer_write(w, b->data[k], bytes, err);
        if (!rc && padding(bytes))
            rc = hone_writer_write(w, zero, padding(bytes), err);
    }
    if (rc) {
        hone_writer_abort(w);
        return rc;
    }
    *out = (shard){.first_row = b->first_row, .first_sequence = b->first_sequence};
    if ((rc = hone_writer_commit(w, err)) || (rc = hone_map_open(&out->map, path, err)))
        return rc;
    if (out->map.size != h.size) {
        hone_map_close(&out->map);
        return hone_error_set(err, HONE_EIO, "%s: changed while it was written", path);
    }
    at = out->map.data + sizeof h;
    for (k = 0; k < SHARD_SECTIONS; k++) {
        out->data[k] = at;
        out->n[k] = b->n[k];
        at += b->n[k] * element[k] + padding(b->n[k] * element[k]);
    }
    next_shard(b);
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int damaged(const char *name, hone_error *err, const char *what)
{
    return hone_error_set(err, HONE_EFORMAT, "%s: %s", name, what);
}

/* Finds the sections: each begins where the one before it ends, at a multiple of ALIGN, and the last ends the file. */
static int find_sections(shard *s, size_t length[SHARD_SECTIONS], const shard_header *h, const uint8_t *bytes,
                         size_t size, const char *name, hone_error *err)
{
    size_t at = sizeof *h;
    int k;

    for (k = 0; k < SHARD_SECTIONS; k++) {
        if (h->n[k] > UINT32_MAX || h->n[k] > (size - at) / element[k])
            return damaged(name, err, "the shard is cut");
        length[k] = h->n[k] * element[k];
        length[k] += padding(length[k]);
        if (length[k] > size - at)
            return damaged(name, err, "the shard is cut");
        s->data[k] = bytes + at;
        s->n[k] = h->n[k];
        at += length[k];
    }
    return at == size && h->size == size ? 0 : damaged(name, err, "the file is longer than its shard");
}

/* Lets the pages of a mapped file go; they come back when they are read. */
static void let_go(const void *bytes, size_t n)
{
    uintptr_t first = (uintptr_t)bytes & ~(uintptr_t)4095;

    madvise((void *)first, (uintptr_t)bytes + n - first, MADV_DONTNEED);
}

uint64_t shard_hash_mapped(uint64_t seed, const uint8_t *bytes, size_t n)
{
    hone_xxh64 sum = hone_xxh64_begin(seed);
    size_t take;

    for (; n; bytes += take, n -= take) {
        take = HONE_MIN(n, SLICE);
        hone_xxh64_add(&sum, bytes, take);
        let_go(bytes, take);
    }
    return hone_xxh64_end(&sum);
}

/* A negative id could pass for HONE_NO_TARGET. */
static bool ids_are_sound(const int32_t *id, size_t n, bool mapped)
{
    size_t take, i;
    int32_t all = 0;

    for (; n; id += take, n -= take) {
        take = HONE_MIN(n, SLICE / sizeof *id);
        for (i = 0; i < take; i++)
            all |= id[i];
        if (mapped)
            let_go(id, take * sizeof *id);
    }
    return all >= 0;
}

static bool runs_are_sound(const hone_weight_run *run, size_t n, uint32_t tokens)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (run[i].at >= tokens || (i && run[i].at <= run[i - 1].at) || !(run[i].weight > 0) ||
            !isfinite(run[i].weight))
            return false;
    return true;
}

/* Every number that leads into another section, against that section. */
static int check_bounds(const shard *s, const char *name, hone_error *err)
{
    const shard_sequence *e = shard_sequences(s);
    const hone_weight_run *run = s->data[SHARD_RUNS];
    uint64_t id = 0, word = 0, runs = 0, i, k = 0;

    for (i = 0; i < s->n[SHARD_SEQUENCES]; i++, e++) {
        if (e->id != id || e->word != word || e->run != runs || !e->n || e->n_targets > e->n ||
            e->n > s->n[SHARD_IDS] - id || (e->n + UINT64_C(63)) / 64 > s->n[SHARD_MASK] - word ||
            e->n_runs > s->n[SHARD_RUNS] - runs || e->row >= s->n[SHARD_ROWS] || (i && e->row < e[-1].row) ||
            !runs_are_sound(run + runs, e->n_runs, e->n))
            return damaged(name, err, "a sequence leaves its shard");
        id += e->n;
        word += (e->n + UINT64_C(63)) / 64;
        runs += e->n_runs;
    }
    for (i = 0; i < s->n[SHARD_ROWS]; i++) {
        const shard_row *r = shard_rows(s) + i;

        for (id = 0; k < s->n[SHARD_SEQUENCES] && shard_sequences(s)[k].row == i; k++)
            id++;
        if (r->parts != id || r->fate > FATE_DROPPED_UNTRAINED)
            return damaged(name, err, "the sequences are not those of the rows");
    }
    return 0;
}

static int check(shard *out, shard_header *header, const uint8_t *bytes, size_t size, bool mapped,
                 const char *name, hone_error *err)
{
    size_t length[SHARD_SECTIONS];
    shard_header h;
    shard s = {0};
    int k, rc;

    if (size < sizeof h)
        return damaged(name, err, "the file is too short for a shard");
    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic))
        return damaged(name, err, "this is no token shard");
    if (h.version != SHARD_VERSION)
        return hone_error_set(err, HONE_EFORMAT, "%s: a shard of version %u; this program reads %d", name,
                              h.version, SHARD_VERSION);
    if (h.checksum != hone_xxh64_of(0, &h, offsetof(shard_header, checksum)))
        return damaged(name, err, "the header does not match its checksum");
    if ((rc = find_sections(&s, length, &h, bytes, size, name, err)))
        return rc;
    for (k = 0; k < SHARD_SECTIONS; k++)
        if ((mapped ? shard_hash_mapped((uint64_t)k, s.data[k], length[k])
                    : hone_xxh64_of((uint64_t)k, s.data[k], length[k])) != h.sum[k])
            return hone_error_set(err, HONE_EFORMAT, "%s: the %s do not match their checksum", name,
                                  section_name[k]);
    if ((rc = check_bounds(&s, name, err)))
        return rc;
    if (!ids_are_sound(s.data[SHARD_IDS], s.n[SHARD_IDS], mapped))
        return damaged(name, err, "an id is negative");
    s.first_row = h.first_row;
    s.first_sequence = h.first_sequence;
    *out = s;
    if (header)
        *header = h;
    return 0;
}

int shard_check(shard *out, shard_header *header, const uint8_t *bytes, size_t size, const char *name,
                hone_error *err)
{
    return check(out, header, bytes, size, false, name, err);
}

int shard_open(shard *out, shard_header *header, const char *path, hone_error *err)
{
    hone_map map = {0};
    int rc = hone_map_open(&map, path, err);

    *out = (shard){0};
    if (rc)
        return rc;
    rc = check(out, header, map.data, map.size, true, path, err);
    if (rc)
        hone_map_close(&map);
    else
        out->map = map;
    return rc;
}
