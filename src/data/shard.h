/* Private to src/data: token shards, on the heap or mapped from a file (docs/shards.md has the bytes).
 *
 * A shard is five sections, each an array: the sequences, the rows they came from with the fate of each, runs of weights,
 * masks, ids. In memory they are the same arrays as in the file, so that a mapped file is used where it lies. */
#ifndef HONE_DATA_SHARD_H
#define HONE_DATA_SHARD_H

#include "data/data.h"

#define SHARD_VERSION 1
#define SHARD_BYTES ((size_t)64 << 20) /* a shard is closed with the row that takes it to this size */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "shards are used as they lie in the file");

enum shard_section { SHARD_SEQUENCES, SHARD_ROWS, SHARD_RUNS, SHARD_MASK, SHARD_IDS, SHARD_SECTIONS };

/* Sequences lie one after the other in each section, in the order of the rows. */
typedef struct shard_sequence {
    uint32_t id;   /* first token in the ids */
    uint32_t word; /* first word in the masks; every sequence starts a word */
    uint32_t run;  /* first of its runs */
    uint32_t row;  /* in this shard's rows */
    uint32_t n;    /* tokens, > 0 */
    uint32_t n_targets, n_runs;
    uint32_t turns; /* trained turns of the assistant */
} shard_sequence;

/* What became of one row that was read. */
typedef struct shard_row {
    uint64_t line;
    uint32_t file;   /* index of the input file */
    uint32_t parts;  /* sequences */
    uint32_t tokens; /* cut off; all of a row that was dropped as too long */
    uint32_t fate;   /* row_fate */
} shard_row;

typedef struct shard_header {
    char magic[8];
    uint32_t version, index; /* index: 0, 1, ... in its cache */
    uint64_t key[2];         /* of the cache */
    uint64_t first_row, first_sequence;
    uint64_t n[SHARD_SECTIONS]; /* elements */
    uint64_t
        sum[SHARD_SECTIONS]; /* XXH64 of the section with the bytes up to the next one; seed: the section */
    uint64_t size;           /* of the file */
    uint64_t zero[14];
    uint64_t checksum; /* XXH64 of the bytes before it, seed 0 */
} shard_header;

typedef struct shard {
    const void *data[SHARD_SECTIONS];
    uint64_t n[SHARD_SECTIONS];
    uint64_t first_row, first_sequence;
    uint32_t first_file; /* its rows' files count from here */
    hone_map map;        /* size 0: data are on the heap and owned */
} shard;

static inline const shard_sequence *shard_sequences(const shard *s)
{
    return s->data[SHARD_SEQUENCES];
}

static inline const shard_row *shard_rows(const shard *s)
{
    return s->data[SHARD_ROWS];
}

/* The i-th sequence; file is left NULL. */
hone_sequence shard_get(const shard *s, size_t i);
uint64_t shard_bytes(const shard *s); /* of all sections */
void shard_close(shard *s);

/* ---- making ------------------------------------------------------------------------------------------------------ */

typedef struct shard_builder {
    void *data[SHARD_SECTIONS];
    size_t n[SHARD_SECTIONS], capacity[SHARD_SECTIONS];
    uint64_t first_row, first_sequence;
    uint32_t index;
} shard_builder;

/* Appends the row and its sequences. HONE_ENOMEM; HONE_ELIMIT (a shard past 2^32 tokens: one row alone). */
int shard_add(shard_builder *b, const encoded_row *row, uint32_t file, uint64_t line, hone_error *err);
size_t shard_builder_bytes(const shard_builder *b);
/* Moves what was added into *out, on the heap; the builder goes on with the next shard. */
void shard_seal(shard_builder *b, shard *out);
/* Writes it to `path` (whole or not at all) and maps that; the builder goes on, and keeps its memory. *checksum: the
 * header's. */
int shard_write(shard_builder *b, shard *out, const char *path, const uint64_t key[2], uint64_t *checksum,
                hone_error *err);
void shard_builder_clear(shard_builder *b);

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Maps and checks a shard: every byte against the checksums, and every number against its bounds, so that nothing that
 * reads it later can leave the mapping. `header` NULL or where the header is copied. HONE_ENOENT, HONE_EIO, HONE_EFORMAT
 * (message: the path and what is wrong). */
int shard_open(shard *out, shard_header *header, const char *path, hone_error *err);

/* The same for bytes in memory, 8-byte aligned, that stay where they are; `name` for messages. *out borrows them and is not
 * closed. */
int shard_check(shard *out, shard_header *header, const uint8_t *bytes, size_t size, const char *name,
                hone_error *err);

/* XXH64 of a mapped file's bytes, whose pages are let go as they are read: it holds no memory. */
uint64_t shard_hash_mapped(uint64_t seed, const uint8_t *bytes, size_t n);

#endif
