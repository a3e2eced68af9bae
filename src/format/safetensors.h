/* safetensors: u64 header length, JSON header, then the bytes. Single file or sharded by an index; mapped. */
#ifndef HONE_FORMAT_SAFETENSORS_H
#define HONE_FORMAT_SAFETENSORS_H

#include "base/base.h"
#include "format/tensor_file.h"

typedef struct hone_safetensors hone_safetensors;

/* Opens PATH: a .safetensors file, or a folder with model.safetensors or model.safetensors.index.json. Checks what the
 * reference library checks (header length, tiling without holes or overlaps, sizes against shapes, duplicate names).
 * A shard that disagrees with the index is an error. Errors: HONE_ENOENT, HONE_EFORMAT with file and tensor. A tensor
 * of a type that hone can not read is listed with dtype HONE_DTYPE_COUNT: a foreign buffer does no harm. */
int hone_safetensors_open(hone_safetensors **out, const char *path, hone_error *err);
void hone_safetensors_close(hone_safetensors *s);
uint64_t hone_safetensors_mapped(const hone_safetensors *s); /* bytes of all shards */
size_t hone_safetensors_n_tensors(const hone_safetensors *s);
const hone_tensor_info *hone_safetensors_tensor(const hone_safetensors *s,
                                                size_t i); /* by shard, then offset */
const hone_tensor_info *hone_safetensors_find(const hone_safetensors *s, const char *name); /* NULL: absent */

/* Writes a file as the reference writer does: metadata {"format":"pt"} first, tensors by alignment then name, header
 * padded to 8 bytes; atomic. `tensors` give name, dtype, shape, data, size (file is ignored).
 * Only dtypes that the format has. */
int hone_safetensors_write(const char *path, const hone_tensor_info *tensors, size_t n, hone_error *err);
/* The same where `produce` writes the bytes of a tensor, exactly t->size of them, in the order of the file; `data` does
 * not count. */
typedef int (*hone_produce_fn)(void *ud, const hone_tensor_info *t, hone_writer *w, hone_error *err);
int hone_safetensors_produce(const char *path, const hone_tensor_info *tensors, size_t n,
                             hone_produce_fn produce, void *ud, hone_error *err);

#endif
