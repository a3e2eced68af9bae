/* What every checkpoint format yields: named tensors that lie in a mapped file; and the storage types. */
#ifndef HONE_FORMAT_TENSOR_FILE_H
#define HONE_FORMAT_TENSOR_FILE_H

#include "base/dtype.h"

typedef struct hone_tensor_info {
    const char *name; /* NUL-terminated, owned by the file object */
    const char *file; /* path of the file that holds it, for messages; borrowed */
    const char *type; /* name of the storage type as the file spells it; static */
    hone_dtype dtype; /* HONE_DTYPE_COUNT: a type that hone can not read */
    int n_dims;       /* 0..4, more only where dtype is HONE_DTYPE_COUNT */
    int64_t shape[4]; /* in Hugging Face order: slowest dimension first, rows = shape[0]; 0 past n_dims */
    const void *data; /* in the mapping; may be unaligned */
    size_t size;      /* bytes */
} hone_tensor_info;

#endif
