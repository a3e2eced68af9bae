/* Builds GGUF files for tests, right ones and wrong ones: keys and tensors are appended, then joined. */
#ifndef HONE_TEST_GGUF_BUILD_H
#define HONE_TEST_GGUF_BUILD_H

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "format/gguf.h"

typedef struct gguf_build {
    hone_buf keys, infos;
    uint64_t n_keys, n_tensors, data_size;
} gguf_build; /* zero-initialise */

__attribute__((unused)) static void gguf_u64_(hone_buf *b, uint64_t v)
{
    hone_buf_add(b, &v, 8);
}

__attribute__((unused)) static void gguf_text_(hone_buf *b, const char *s, size_t n)
{
    gguf_u64_(b, n);
    hone_buf_add(b, s, n);
}

/* A key of any type, its value given as bytes. */
__attribute__((unused)) static void gguf_raw(gguf_build *b, const char *key, uint32_t type, const void *value,
                                             size_t n)
{
    gguf_text_(&b->keys, key, strlen(key));
    hone_buf_add(&b->keys, &type, 4);
    hone_buf_add(&b->keys, value, n);
    b->n_keys++;
}

__attribute__((unused)) static void gguf_u32(gguf_build *b, const char *key, uint32_t v)
{
    gguf_raw(b, key, HONE_GGUF_U32, &v, 4);
}

__attribute__((unused)) static void gguf_f32(gguf_build *b, const char *key, float v)
{
    gguf_raw(b, key, HONE_GGUF_F32, &v, 4);
}

__attribute__((unused)) static void gguf_string(gguf_build *b, const char *key, const char *s)
{
    gguf_raw(b, key, HONE_GGUF_STRING, NULL, 0);
    gguf_text_(&b->keys, s, strlen(s));
}

__attribute__((unused)) static void gguf_strings(gguf_build *b, const char *key, const char *const *s,
                                                 size_t n)
{
    uint32_t element = HONE_GGUF_STRING;
    size_t i;

    gguf_raw(b, key, HONE_GGUF_ARRAY, &element, 4);
    gguf_u64_(&b->keys, n);
    for (i = 0; i < n; i++)
        gguf_text_(&b->keys, s[i], strlen(s[i]));
}

/* A description with everything in the caller's hand. dims: innermost first, as in the file. */
__attribute__((unused)) static void gguf_info(gguf_build *b, const char *name, uint32_t type, uint32_t n_dims,
                                              const uint64_t *dims, uint64_t offset)
{
    uint32_t i;

    gguf_text_(&b->infos, name, strlen(name));
    hone_buf_add(&b->infos, &n_dims, 4);
    for (i = 0; i < n_dims; i++)
        gguf_u64_(&b->infos, dims[i]);
    hone_buf_add(&b->infos, &type, 4);
    gguf_u64_(&b->infos, offset);
    b->n_tensors++;
}

/* An F32 tensor of zeros (type 0): [rows] or [rows, cols]. */
__attribute__((unused)) static void gguf_tensor(gguf_build *b, const char *name, uint32_t type,
                                                uint32_t n_dims, uint64_t rows, uint64_t cols)
{
    const uint64_t vector[] = {rows}, matrix[] = {cols, rows};

    gguf_info(b, name, type, n_dims, n_dims == 1 ? vector : matrix, b->data_size);
    b->data_size += (rows * (n_dims == 1 ? 1 : cols) * 4 + 31) & ~(uint64_t)31;
}

/* Joins the parts into one file image, freed with hone_free; clears b. */
__attribute__((unused)) static char *gguf_take(gguf_build *b, size_t *size)
{
    hone_buf out = {0};
    uint32_t version = 3;
    uint64_t i;

    hone_buf_add(&out, "GGUF", 4);
    hone_buf_add(&out, &version, 4);
    gguf_u64_(&out, b->n_tensors);
    gguf_u64_(&out, b->n_keys);
    hone_buf_add(&out, b->keys.data ? b->keys.data : "", b->keys.len);
    hone_buf_add(&out, b->infos.data ? b->infos.data : "", b->infos.len);
    while (out.len % 32)
        hone_buf_putc(&out, 0);
    for (i = 0; i < b->data_size; i++)
        hone_buf_putc(&out, 0);
    hone_buf_clear(&b->keys);
    hone_buf_clear(&b->infos);
    memset(b, 0, sizeof *b);
    *size = out.len;
    return hone_buf_take(&out);
}

__attribute__((unused)) static void gguf_write(gguf_build *b, const char *path)
{
    size_t size;
    char *image = gguf_take(b, &size);

    if (!image || hone_file_write(path, image, size, NULL))
        abort();
    hone_free(image);
}

#endif
