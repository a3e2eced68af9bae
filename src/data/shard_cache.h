/* Private to src/data: a folder of token shards with its manifest. */
#ifndef HONE_DATA_SHARD_CACHE_H
#define HONE_DATA_SHARD_CACHE_H

#include "data/shard.h"

/* What the ids depend on, as 128 bits: the bytes of every file and its ending, tokenizer, template, every option, the
 * version of the format. HONE_EINVAL for standard input, which can not be read twice. */
int cache_key(uint64_t key[2], char *const *file, size_t n_files, const hone_chat *chat,
              const hone_dataset_options *options, hone_error *err);

/* dir/<32 hexadecimal digits>. Allocated; NULL: no memory. */
char *cache_folder(const char *dir, const uint64_t key[2]);
char *cache_shard_path(const char *folder, uint32_t index);

/* One line of the manifest. */
typedef struct cache_entry {
    uint64_t checksum; /* of the shard's header */
    uint64_t size, rows, sequences;
} cache_entry;

/* Writes the manifest, which makes the folder a cache. `report`: what hone_dataset_get_report shall say later. */
int cache_commit(const char *folder, const uint64_t key[2], const cache_entry *entry, size_t n,
                 const hone_dataset_report *report, hone_error *err);
/* Maps and checks all shards of a folder. HONE_ENOENT: there is no manifest, so nothing to use. HONE_EFORMAT: damaged,
 * of another key, or a shard is missing; the message names the file. *out is an array to be freed with its shards. */
int cache_open(shard **out, size_t *n, hone_dataset_report *report, const char *folder, const uint64_t key[2],
               size_t n_files, hone_error *err);

#endif
