/* safetensors: a JSON header that must tile the rest of the file exactly.
 *
 *   u64 N | N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {..}} | data
 *
 * The checks are those of the reference library: sorted by offset the tensors cover the data without hole, overlap or
 * rest; every size agrees with its shape; no name twice; metadata is strings. A sharded checkpoint is one such file
 * per shard and an index that says where each tensor is; the index must agree with what the shards hold. */
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "format/name_index.h"

#define MAX_HEADER 100000000u
#define MAX_INDEX ((size_t)64 << 20)

/* Types of the format, in its own order: by alignment, which orders tensors in a written file. */
static const struct type {
    const char *name;
    int bits;
    hone_dtype dtype;
} types[] = {
    {"BOOL", 8, HONE_DTYPE_COUNT},
    {"F4", 4, HONE_DTYPE_COUNT},
    {"F6_E2M3", 6, HONE_DTYPE_COUNT},
    {"F6_E3M2", 6, HONE_DTYPE_COUNT},
    {"U8", 8, HONE_U8},
    {"I8", 8, HONE_I8},
    {"F8_E5M2", 8, HONE_DTYPE_COUNT},
    {"F8_E4M3", 8, HONE_DTYPE_COUNT},
    {"F8_E8M0", 8, HONE_DTYPE_COUNT},
    {"F8_E4M3FNUZ", 8, HONE_DTYPE_COUNT},
    {"F8_E5M2FNUZ", 8, HONE_DTYPE_COUNT},
    {"I16", 16, HONE_I16},
    {"U16", 16, HONE_DTYPE_COUNT},
    {"F16", 16, HONE_F16},
    {"BF16", 16, HONE_BF16},
    {"I32", 32, HONE_I32},
    {"U32", 32, HONE_DTYPE_COUNT},
    {"F32", 32, HONE_F32},
    {"C64", 64, HONE_DTYPE_COUNT},
    {"F64", 64, HONE_F64},
    {"I64", 64, HONE_I64},
    {"U64", 64, HONE_DTYPE_COUNT},
};

typedef struct shard {
    hone_map map;
    char *path;
} shard;

struct hone_safetensors {
    shard *shards;
    size_t n_shards;
    hone_tensor_info *tensors; /* shard by shard, in order of their offsets */
    size_t n_tensors;
    hone_name_index index;
};

/* A tensor while its shard is being read: where it lies, before it is known that this is right. */
typedef struct place {
    hone_tensor_info t;
    uint64_t begin, end;
} place;

static int no_memory(const char *path, hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
}

/* ---- one file ----------------------------------------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
    const place *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->t.name, y->t.name); /* empty tensors */
}

static bool get_u64(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

/* Shape, and the bytes it asks for. */
static int read_shape(place *p, const json_t *shape, const struct type *type, uint64_t *bytes,
                      const char *path, const char *name, hone_error *err)
{
    uint64_t n = 1, dim;
    size_t i;

    if (!json_is_array(shape) || json_array_size(shape) > 64)
        return hone_error_set(err, HONE_EFORMAT, "%s: tensor %.200s: \"shape\" is no list of numbers", path,
                              name);
    p->t.n_dims = (int)json_array_size(shape);
    for (i = 0; i < json_array_size(shape); i++) {
        if (!get_u64(json_array_get(shape, i), &dim))
            return hone_error_set(err, HONE_EFORMAT, "%s: tensor %.200s: \"shape\" is no list of numbers",
                                  path, name);
        if (__builtin_mul_overflow(n, dim, &n))
            return hone_error_set(err, HONE_EFORMAT, "%s: tensor %.200s: the shape overflows", path, name);
        if (i < 4)
            p->t.shape[i] = (int64_t)dim;
    }
    if (__builtin_mul_overflow(n, (uint64_t)type->bits, &n) || n % 8)
        return hone_error_set(err, HONE_EFORMAT, "%s: tensor %.200s: the shape is no whole number of bytes",
                              path, name);
    *bytes = n / 8;
    return 0;
}

static int read_tensor(place *p, const char *name, const json_t *v, const char *path, hone_error *err)
{
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    const json_t *offsets = json_object_get(v, "data_offsets");
    const struct type *type = NULL;
    uint64_t bytes = 0;
    size_t i;
    int rc;

    for (i = 0; dtype && i < HONE_COUNT(types); i++)
        if (strcmp(dtype, types[i].name) == 0)
            type = &types[i];
    if (!type)
        return hone_error_set(err, HONE_EFORMAT, "%s: tensor %.200s: the dtype %.40s is unknown", path, name,
                              dtype ? dtype : "(absent)");
    rc = read_shape(p, json_object_get(v, "shape"), type, &bytes, path, name, err);
    if (rc)
        return rc;
    if (json_array_size(offsets) != 2 || !get_u64(json_array_get(offsets, 0), &p->begin) ||
        !get_u64(json_array_get(offsets, 1), &p->end) || p->end < p->begin)
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: tensor %.200s: \"data_offsets\" is no pair [begin, end]", path, name);
    if (p->end - p->begin != bytes)
        return hone_error_set(err, HONE_EFORMAT, "%s: tensor %.200s: %llu bytes stored, its shape needs %llu",
                              path, name, (unsigned long long)(p->end - p->begin), (unsigned long long)bytes);
    p->t.type = type->name;
    p->t.dtype = p->t.n_dims <= 4 ? type->dtype : HONE_DTYPE_COUNT;
    p->t.file = path;
    p->t.size = (size_t)bytes;
    p->t.name = hone_strdup(name);
    return p->t.name ? 0 : no_memory(path, err);
}

static int check_metadata(const json_t *v, const char *path, hone_error *err)
{
    const char *name;
    json_t *value;

    if (!json_is_object(v))
        return hone_error_set(err, HONE_EFORMAT, "%s: \"__metadata__\" is no object", path);
    json_object_foreach((json_t *)v, name, value)
    {
        if (!json_is_string(value))
            return hone_error_set(err, HONE_EFORMAT, "%s: metadata %.200s is no string", path, name);
    }
    return 0;
}

/* The header into places, sorted by offset. On an error, those made so far (*n) own their names. */
static int read_header(place *places, size_t *n, const json_t *header, const char *path, hone_error *err)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)header, name, v)
    {
        int rc;

        if (strcmp(name, "__metadata__") == 0) {
            rc = check_metadata(v, path, err);
        } else {
            rc = read_tensor(&places[*n], name, v, path, err);
            *n += places[*n].t.name != NULL;
        }
        if (rc)
            return rc;
    }
    qsort(places, *n, sizeof *places, by_offset);
    return 0;
}

static int check_tiling(const place *places, size_t n, uint64_t size, const char *path, hone_error *err)
{
    uint64_t at = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        if (places[i].begin != at)
            return hone_error_set(
                err, HONE_EFORMAT,
                "%s: tensor %.200s begins at offset %llu of the data, the one before it ends at %llu", path,
                places[i].t.name, (unsigned long long)places[i].begin, (unsigned long long)at);
        at = places[i].end;
        if (at > size)
            return hone_error_set(
                err, HONE_EFORMAT,
                "%s: the file ends inside tensor %.200s: %llu bytes of data, %llu are needed", path,
                places[i].t.name, (unsigned long long)size, (unsigned long long)at);
    }
    if (at != size)
        return hone_error_set(err, HONE_EFORMAT, "%s: %llu bytes of data, the tensors take %llu", path,
                              (unsigned long long)size, (unsigned long long)at);
    return 0;
}

/* Moves checked places into s->tensors; their names now belong to s. */
static int add_tensors(hone_safetensors *s, place *places, size_t n, const uint8_t *data, const char *path,
                       hone_error *err)
{
    hone_tensor_info *grown = hone_realloc_array(s->tensors, s->n_tensors + n, sizeof *grown);
    size_t i;
    int rc;

    if (!grown)
        return no_memory(path, err);
    s->tensors = grown;
    rc = hone_name_index_reserve(&s->index, n, err);
    for (i = 0; !rc && i < n; i++) {
        hone_tensor_info *t = &s->tensors[s->n_tensors];

        *t = places[i].t;
        t->data = data ? data + places[i].begin : NULL;
        places[i].t.name = NULL;
        rc = hone_name_index_add(&s->index, t->name, strlen(t->name), (uint32_t)s->n_tensors++);
        if (rc == HONE_EFORMAT)
            hone_error_set(err, rc, "%s: tensor %.200s is also in %s", path, t->name,
                           hone_safetensors_find(s, t->name)->file);
        else if (rc)
            hone_error_set(err, rc, "%s: too many names that collide", path);
    }
    return rc;
}

static int read_shard(hone_safetensors *s, const shard *f, hone_error *err)
{
    uint64_t length;
    json_t *header = NULL;
    place *places = NULL;
    size_t n = 0, i;
    int rc;

    if (f->map.size < 8)
        return hone_error_set(err, HONE_EFORMAT, "%s: not a safetensors file: %zu bytes long", f->path,
                              f->map.size);
    memcpy(&length, f->map.data, 8);
    if (length > MAX_HEADER)
        return hone_error_set(err, HONE_EFORMAT, "%s: not a safetensors file: a header of %llu bytes",
                              f->path, (unsigned long long)length);
    if (length > f->map.size - 8)
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: the file ends at byte %zu, inside the header of %llu bytes", f->path,
                              f->map.size, (unsigned long long)length);
    rc = hone_json_parse(&header, (const char *)f->map.data + 8, (size_t)length, f->path, err);
    if (rc)
        return rc;
    if (!json_is_object(header)) {
        rc = hone_error_set(err, HONE_EFORMAT, "%s: the header is no JSON object", f->path);
        goto out;
    }
    places = hone_calloc(json_object_size(header) + 1, sizeof *places);
    if (!places) {
        rc = no_memory(f->path, err);
        goto out;
    }
    rc = read_header(places, &n, header, f->path, err);
    if (!rc)
        rc = check_tiling(places, n, f->map.size - 8 - length, f->path, err);
    if (!rc)
        rc = add_tensors(s, places, n, f->map.data + 8 + length, f->path, err);
out:
    for (i = 0; places && i < n; i++)
        hone_free((char *)places[i].t.name);
    hone_free(places);
    json_decref(header);
    return rc;
}

/* Takes path. */
static int open_shard(hone_safetensors *s, char *path, hone_error *err)
{
    shard *grown, *f;
    int rc;

    if (!path)
        return no_memory("safetensors", err);
    grown = hone_realloc_array(s->shards, s->n_shards + 1, sizeof *grown);
    if (!grown) {
        rc = no_memory(path, err);
        hone_free(path);
        return rc;
    }
    s->shards = grown;
    f = &s->shards[s->n_shards++];
    memset(f, 0, sizeof *f);
    f->path = path;
    rc = hone_map_open(&f->map, path, err);
    return rc ? rc : read_shard(s, f, err);
}

/* ---- shards ------------------------------------------------------------------------------------------------------- */

static int open_shards(hone_safetensors *s, const char *dir, const json_t *map, const char *index_path,
                       hone_error *err)
{
    hone_name_index seen = {0};
    const char *name;
    json_t *v;
    int rc = hone_name_index_reserve(&seen, json_object_size(map), err);

    if (rc)
        return rc;
    json_object_foreach((json_t *)map, name, v)
    {
        const char *file = json_string_value(v);
        char *path;

        if (!file || !*file || strchr(file, '/') || file[0] == '.') {
            rc = hone_error_set(err, HONE_EFORMAT,
                                "%s: tensor %.200s: \"%.100s\" is no name of a file beside the index",
                                index_path, name, file ? file : "(no string)");
            goto out;
        }
        if (hone_name_index_find(&seen, file, strlen(file)) >= 0)
            continue;
        hone_name_index_add(&seen, file, strlen(file), 0);
        path = hone_path_join(dir, file);
        if (path && !hone_path_exists(path)) {
            rc = hone_error_set(err, HONE_ENOENT, "%s: names the shard %s, which is not there", index_path,
                                file);
            hone_free(path);
            goto out;
        }
        rc = open_shard(s, path, err);
        if (rc)
            goto out;
    }
    json_object_foreach((json_t *)map, name, v)
    {
        const hone_tensor_info *t = hone_safetensors_find(s, name);
        const char *slash = t ? strrchr(t->file, '/') : NULL;

        if (!t || strcmp(slash ? slash + 1 : t->file, json_string_value(v)) != 0) {
            rc = hone_error_set(err, HONE_EFORMAT, "%s: tensor %.200s is not in %s", index_path, name,
                                json_string_value(v));
            goto out;
        }
    }
out:
    hone_name_index_clear(&seen);
    return rc;
}

static int open_index(hone_safetensors *s, const char *dir, const char *index_path, hone_error *err)
{
    json_t *root = NULL;
    const json_t *map;
    int rc = hone_json_load(&root, index_path, MAX_INDEX, err);

    if (rc)
        return rc;
    map = json_object_get(root, "weight_map");
    if (!json_is_object(map))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: there is no \"weight_map\"", index_path);
    else
        rc = open_shards(s, dir, map, index_path, err);
    json_decref(root);
    return rc;
}

static int open_folder(hone_safetensors *s, const char *dir, hone_error *err)
{
    char *one = hone_path_join(dir, "model.safetensors"),
         *index = hone_path_join(dir, "model.safetensors.index.json");
    int rc;

    if (!one || !index) {
        rc = no_memory(dir, err);
    } else if (hone_path_exists(one)) {
        rc = open_shard(s, one, err);
        one = NULL;
    } else if (hone_path_exists(index)) {
        rc = open_index(s, dir, index, err);
    } else {
        rc = hone_error_set(
            err, HONE_ENOENT,
            "%s: holds neither model.safetensors nor model.safetensors.index.json (files of other "
            "formats, such as pytorch_model.bin, must be converted first)",
            dir);
    }
    hone_free(one);
    hone_free(index);
    return rc;
}

int hone_safetensors_open(hone_safetensors **out, const char *path, hone_error *err)
{
    hone_safetensors *s = hone_calloc(1, sizeof *s);
    int rc;

    *out = NULL;
    if (!s)
        return no_memory(path, err);
    rc = hone_path_is_dir(path) ? open_folder(s, path, err) : open_shard(s, hone_strdup(path), err);
    if (rc)
        hone_safetensors_close(s);
    else
        *out = s;
    return rc;
}

void hone_safetensors_close(hone_safetensors *s)
{
    size_t i;

    if (!s)
        return;
    for (i = 0; i < s->n_tensors; i++)
        hone_free((char *)s->tensors[i].name);
    for (i = 0; i < s->n_shards; i++) {
        hone_map_close(&s->shards[i].map);
        hone_free(s->shards[i].path);
    }
    hone_name_index_clear(&s->index);
    hone_free(s->tensors);
    hone_free(s->shards);
    hone_free(s);
}

uint64_t hone_safetensors_mapped(const hone_safetensors *s)
{
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < s->n_shards; i++)
        bytes += s->shards[i].map.size;
    return bytes;
}

size_t hone_safetensors_n_tensors(const hone_safetensors *s)
{
    return s->n_tensors;
}

const hone_tensor_info *hone_safetensors_tensor(const hone_safetensors *s, size_t i)
{
    return &s->tensors[i];
}

const hone_tensor_info *hone_safetensors_find(const hone_safetensors *s, const char *name)
{
    int64_t i = hone_name_index_find(&s->index, name, strlen(name));

    return i < 0 ? NULL : &s->tensors[i];
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static int rank(hone_dtype t)
{
    int i;

    for (i = 0; i < (int)HONE_COUNT(types); i++)
        if (types[i].dtype == t)
            return i;
    return -1;
}

static int by_rank_and_name(const void *a, const void *b)
{
    const hone_tensor_info *x = *(const hone_tensor_info *const *)a, *y = *(const hone_tensor_info *const *)b;
    int rx = rank(x->dtype), ry = rank(y->dtype);

    return rx != ry ? ry - rx : strcmp(x->name, y->name);
}

/* {"__metadata__": ..., one entry a tensor}; NULL: out of memory. */
static json_t *make_header(const hone_tensor_info **order, size_t n)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    json_int_t at = 0;
    size_t i;
    int d;

    for (i = 0; header && i < n; i++) {
        const hone_tensor_info *t = order[i];
        json_t *shape = json_array(), *entry;

        for (d = 0; d < t->n_dims; d++)
            if (json_array_append_new(shape, json_integer(t->shape[d])) != 0) {
                json_decref(shape);
                shape = NULL;
                break;
            }
        entry = shape ? json_pack("{s:s,s:o,s:[I,I]}", "dtype", types[rank(t->dtype)].name, "shape", shape,
                                  "data_offsets", at, at + (json_int_t)t->size)
                      : NULL;
        if (!entry || json_object_set_new(header, t->name, entry) != 0) {
            json_decref(header);
            header = NULL;
        }
        at += (json_int_t)t->size;
    }
    return header;
}

static int check_writable(const hone_tensor_info *const *order, size_t n, const char *path, hone_error *err)
{
    size_t i;
    int d;

    for (i = 0; i < n; i++) {
        const hone_tensor_info *t = order[i];
        int64_t count = 1;

        if (rank(t->dtype) < 0 || t->dtype == HONE_DTYPE_COUNT)
            return hone_error_set(err, HONE_EUNSUPPORTED, "%s: tensor %s: the format has no type %s", path,
                                  t->name, hone_dtype_name(t->dtype));
        for (d = 0; d < t->n_dims; d++)
            count *= t->shape[d];
        if (hone_dtype_bytes(t->dtype, count) != t->size)
            return hone_error_set(err, HONE_ESHAPE, "%s: tensor %s: %zu bytes given, its shape needs %zu",
                                  path, t->name, t->size, hone_dtype_bytes(t->dtype, count));
    }
    return 0;
}

static int write_data(void *ud, const hone_tensor_info *t, hone_writer *w, hone_error *err)
{
    (void)ud;
    return hone_writer_write(w, t->data, t->size, err);
}

int hone_safetensors_write(const char *path, const hone_tensor_info *tensors, size_t n, hone_error *err)
{
    return hone_safetensors_produce(path, tensors, n, write_data, NULL, err);
}

int hone_safetensors_produce(const char *path, const hone_tensor_info *tensors, size_t n,
                             hone_produce_fn produce, void *ud, hone_error *err)
{
    const hone_tensor_info **order = hone_calloc(n, sizeof *order);
    json_t *header = NULL;
    hone_buf text = {0};
    hone_writer *w = NULL;
    uint64_t length;
    size_t i;
    int rc;

    if (!order)
        return no_memory(path, err);
    for (i = 0; i < n; i++)
        order[i] = &tensors[i];
    qsort(order, n, sizeof *order, by_rank_and_name);
    rc = check_writable(order, n, path, err);
    if (rc)
        goto out;
    header = make_header(order, n);
    if (header && json_object_size(header) != n + 1) {
        rc = hone_error_set(err, HONE_EINVAL, "%s: a tensor is given twice, or named __metadata__", path);
        goto out;
    }
    if (header)
        hone_json_dump(&text, header, JSON_COMPACT);
    while (text.len % 8 && !text.failed)
        hone_buf_putc(&text, ' ');
    if (!header || text.failed) {
        rc = no_memory(path, err);
        goto out;
    }
    length = text.len;
    rc = hone_writer_open(&w, path, err);
    if (!rc)
        rc = hone_writer_write(w, &length, 8, err);
    if (!rc)
        rc = hone_writer_write(w, text.data, text.len, err);
    for (i = 0; !rc && i < n; i++)
        rc = produce(ud, order[i], w, err);
    if (rc)
        hone_writer_abort(w);
    else
        rc = hone_writer_commit(w, err);
out:
    hone_buf_clear(&text);
    json_decref(header);
    hone_free(order);
    return rc;
}
