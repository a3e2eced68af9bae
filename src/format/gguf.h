/* GGUF v3: a typed key-value header, then tensors. One file or a split set, memory-mapped; nothing is copied.
 *
 * Layout (little-endian): "GGUF", u32 version 3 (2 is identical), u64 tensor count, u64 key count, keys, tensor infos
 * {string name, u32 n_dims, u64 dims[] innermost first, u32 type, u64 offset}, padding to general.alignment, data. */
#ifndef HONE_FORMAT_GGUF_H
#define HONE_FORMAT_GGUF_H

#include "base/base.h"
#include "format/tensor_file.h"

typedef struct hone_gguf hone_gguf;

enum hone_gguf_type { /* value types of the format */
                      HONE_GGUF_U8,
                      HONE_GGUF_I8,
                      HONE_GGUF_U16,
                      HONE_GGUF_I16,
                      HONE_GGUF_U32,
                      HONE_GGUF_I32,
                      HONE_GGUF_F32,
                      HONE_GGUF_BOOL,
                      HONE_GGUF_STRING,
                      HONE_GGUF_ARRAY,
                      HONE_GGUF_U64,
                      HONE_GGUF_I64,
                      HONE_GGUF_F64
};

/* Opens PATH; for a file of a split set (NAME-00001-of-0000N.gguf) all parts. Everything is checked: magic, version,
 * counts and lengths against the file size, duplicate keys and tensor names, tensor types and shapes, offsets inside
 * the file. Errors: HONE_EFORMAT / HONE_EUNSUPPORTED with file, tensor or key, and byte offset. */
int hone_gguf_open(hone_gguf **out, const char *path, hone_error *err);
void hone_gguf_close(hone_gguf *g);
uint64_t hone_gguf_mapped(const hone_gguf *g); /* bytes of all parts */
bool hone_gguf_is_file(const char *path);      /* a regular file that starts with the magic */

/* Metadata. Getters return false when the key is absent or of another kind. Any integer width is accepted for int,
 * both float widths for double. Strings are borrowed, not NUL-terminated. */
bool hone_gguf_int(const hone_gguf *g, const char *key, int64_t *value);
bool hone_gguf_double(const hone_gguf *g, const char *key, double *value);
bool hone_gguf_bool(const hone_gguf *g, const char *key, bool *value);
bool hone_gguf_string(const hone_gguf *g, const char *key, const char **value, size_t *len);
/* Number of elements of an array key and its element type; false when it is no array. */
bool hone_gguf_array(const hone_gguf *g, const char *key, size_t *n, int *element_type);

/* Walks a string array in order without building an index: *cursor starts as 0. False at the end. */
bool hone_gguf_array_next_string(const hone_gguf *g, const char *key, size_t *cursor, const char **s,
                                 size_t *len);
/* Element i of an integer / bool or float array, converted. False when out of range or not numeric. */
bool hone_gguf_array_int(const hone_gguf *g, const char *key, size_t i, int64_t *value);
bool hone_gguf_array_double(const hone_gguf *g, const char *key, size_t i, double *value);

/* All keys in file order, for `hone inspect`: name borrowed (not NUL-terminated), value type. */
size_t hone_gguf_n_keys(const hone_gguf *g);
void hone_gguf_key(const hone_gguf *g, size_t i, const char **name, size_t *len, int *type);

/* Tensors of all parts, in file order. */
size_t hone_gguf_n_tensors(const hone_gguf *g);
const hone_tensor_info *hone_gguf_tensor(const hone_gguf *g, size_t i);
const hone_tensor_info *hone_gguf_find(const hone_gguf *g, const char *name); /* NULL: absent */

#endif
