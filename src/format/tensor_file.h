/* What every checkpoint format yields: named tensors that lie in a mapped file; and the storage types. */
#ifndef HONE_FORMAT_TENSOR_FILE_H
#define HONE_FORMAT_TENSOR_FILE_H

#include "base/dtype.h"

typedef struct hone_tensor_info {
    const char *name; /* NUL-terminated, owned by the file object */
    const char *file; /* path of the file that holds it, for messages; borrowed */
    hone_dtype dtype;
    int n_dims;       /* 0..4; shape is in Hugging Face order: slowest dimension first, rows = shape[0] */
    int64_t shape[4];
    const void *data; /* in the mapping; may be unaligned */
    size_t size;      /* bytes */
} hone_tensor_info;

#endif
