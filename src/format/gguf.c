/* GGUF: one walk over the header checks everything, so that the getters need no checks.
 *
 * Opening maps the file and walks keys and tensor descriptions once. For a key, only its place in the mapping is
 * kept: an array of 150,000 tokens costs a walk over its lengths and no memory. Keys and tensors are found through an
 * open-addressing index. Numbers are read with memcpy: nothing in the format is aligned.
 *
 * A split set is parts of the same form. The first part's keys are the model's; the other parts' keys are checked and
 * forgotten. As in ggml, tensor data lies in the order of the descriptions, each at the next multiple of the
 * alignment: so offsets can neither overlap nor leave gaps. */
#include "format/gguf.h"

#include <string.h>

#include "format/name_index.h"

#define MAX_DEPTH 4    /* arrays of arrays */
#define MAX_NAME 65535 /* of a key */
#define MAX_TENSOR_NAME 255
#define MAX_PARTS 9999
#define MAX_DIM ((uint64_t)INT32_MAX)

typedef struct key {
    const char *name; /* in the mapping */
    uint32_t len;
    uint32_t type, element; /* element type and count of an array */
    uint64_t count;
    const uint8_t *value, *end;
} key;

/* The keys of one file. */
typedef struct key_set {
    key *key;
    size_t n;
    hone_name_index index;
} key_set;

typedef struct part {
    hone_map map;
    char *path;
} part;

struct hone_gguf {
    part *parts;
    size_t n_parts;
    key_set keys; /* of the first part */
    hone_tensor_info *tensors;
    size_t n_tensors;
    hone_name_index tensor_index;
};

static const uint8_t type_size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}; /* 0: string, array */

/* Where a walk stands in one file. `what` is what is being read, for messages. */
typedef struct reader {
    const uint8_t *start, *p, *end;
    const char *path;
    const char *what;
    int what_len;
} reader;

static int truncated(const reader *r, hone_error *err)
{
    return hone_error_set(err, HONE_EFORMAT, "%s: the file ends at byte %zu, inside %.*s", r->path,
                          (size_t)(r->end - r->start), r->what_len, r->what);
}

static void reading(reader *r, const char *what, size_t len) /* len 0: up to the NUL */
{
    if (!len)
        len = strlen(what);
    r->what = what;
    r->what_len = (int)HONE_MIN(len, (size_t)100);
}

static int get(reader *r, void *out, size_t n, hone_error *err)
{
    if ((size_t)(r->end - r->p) < n)
        return truncated(r, err);
    memcpy(out, r->p, n);
    r->p += n;
    return 0;
}

static int skip(reader *r, uint64_t n, hone_error *err)
{
    if ((uint64_t)(r->end - r->p) < n)
        return truncated(r, err);
    r->p += n;
    return 0;
}

/* A key or tensor name: printable ASCII, so that it can stand in messages and as a C string. */
static int get_name(reader *r, const char **name, uint32_t *len, const char *kind, size_t max,
                    hone_error *err)
{
    size_t at = (size_t)(r->p - r->start), i;
    uint64_t n = 0;
    int rc = get(r, &n, 8, err);

    if (rc)
        return rc;
    if (n == 0 || n > max)
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: byte %zu: the name of %s has %llu bytes (1 to %zu are legal)", r->path, at,
                              kind, (unsigned long long)n, max);
    *name = (const char *)r->p;
    *len = (uint32_t)n;
    rc = skip(r, n, err);
    for (i = 0; !rc && i < n; i++)
        if ((uint8_t)(*name)[i] <= 32 || (uint8_t)(*name)[i] >= 127)
            rc = hone_error_set(err, HONE_EFORMAT, "%s: byte %zu: the name of %s holds the byte 0x%02x",
                                r->path, at + 8 + i, kind, (uint8_t)(*name)[i]);
    return rc;
}

static int bad_type(const reader *r, uint32_t type, hone_error *err)
{
    return hone_error_set(err, HONE_EFORMAT, "%s: byte %zu: %.*s has the unknown type %u", r->path,
                          (size_t)(r->p - r->start) - 4, r->what_len, r->what, type);
}

static int skip_value(reader *r, uint32_t type, int depth, hone_error *err);

/* Skips n elements. Every element takes at least one byte, so the walk is bounded by the file. */
static int skip_elements(reader *r, uint32_t type, uint64_t n, int depth, hone_error *err)
{
    int rc = 0;

    if (type_size[type]) {
        if (n > (uint64_t)(r->end - r->p) / type_size[type])
            return truncated(r, err);
        r->p += n * type_size[type];
        return 0;
    }
    while (n-- && !rc)
        rc = skip_value(r, type, depth, err);
    return rc;
}

static int get_array_head(reader *r, uint32_t *element, uint64_t *n, int depth, hone_error *err)
{
    int rc = get(r, element, 4, err);

    if (rc)
        return rc;
    if (*element >= HONE_COUNT(type_size))
        return bad_type(r, *element, err);
    if (depth > MAX_DEPTH)
        return hone_error_set(err, HONE_ELIMIT, "%s: %.*s: arrays lie more than %d deep", r->path,
                              r->what_len, r->what, MAX_DEPTH);
    return get(r, n, 8, err);
}

static int skip_value(reader *r, uint32_t type, int depth, hone_error *err)
{
    uint64_t n = 0;
    uint32_t element = 0;
    int rc;

    if (type == HONE_GGUF_STRING) {
        rc = get(r, &n, 8, err);
        return rc ? rc : skip(r, n, err);
    }
    if (type == HONE_GGUF_ARRAY) {
        rc = get_array_head(r, &element, &n, depth + 1, err);
        return rc ? rc : skip_elements(r, element, n, depth + 1, err);
    }
    return skip(r, type_size[type], err);
}

static int read_key(reader *r, key *k, hone_error *err)
{
    int rc;

    reading(r, "the name of a key", 0);
    rc = get_name(r, &k->name, &k->len, "a key", MAX_NAME, err);
    if (rc)
        return rc;
    reading(r, k->name, k->len);
    rc = get(r, &k->type, 4, err);
    if (rc)
        return rc;
    if (k->type >= HONE_COUNT(type_size))
        return bad_type(r, k->type, err);
    if (k->type == HONE_GGUF_ARRAY) {
        rc = get_array_head(r, &k->element, &k->count, 1, err);
        k->value = r->p;
        if (!rc)
            rc = skip_elements(r, k->element, k->count, 1, err);
    } else if (k->type == HONE_GGUF_STRING) {
        rc = get(r, &k->count, 8, err);
        k->value = r->p;
        if (!rc)
            rc = skip(r, k->count, err);
    } else {
        k->value = r->p;
        rc = skip(r, type_size[k->type], err);
    }
    k->end = r->p;
    if (!rc && k->type == HONE_GGUF_BOOL && *k->value > 1)
        rc = hone_error_set(err, HONE_EFORMAT, "%s: byte %zu: %.*s is a truth value of %u", r->path,
                            (size_t)(k->value - r->start), r->what_len, r->what, *k->value);
    return rc;
}

/* A number of a fixed-size type, in whatever width; false for other types. */
static bool int_at(uint32_t type, const uint8_t *p, int64_t *value)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } v = {0};

    if (type >= HONE_COUNT(type_size))
        return false;
    memcpy(&v, p, type_size[type]);
    switch (type) {
    case HONE_GGUF_U8:
        *value = v.u8;
        return true;
    case HONE_GGUF_I8:
        *value = v.i8;
        return true;
    case HONE_GGUF_U16:
        *value = v.u16;
        return true;
    case HONE_GGUF_I16:
        *value = v.i16;
        return true;
    case HONE_GGUF_U32:
        *value = v.u32;
        return true;
    case HONE_GGUF_I32:
        *value = v.i32;
        return true;
    case HONE_GGUF_U64:
        *value = (int64_t)v.u64;
        return v.u64 <= INT64_MAX;
    case HONE_GGUF_I64:
        *value = v.i64;
        return true;
    default:
        return false;
    }
}

static bool double_at(uint32_t type, const uint8_t *p, double *value)
{
    float f;

    if (type == HONE_GGUF_F64) {
        memcpy(value, p, 8);
        return true;
    }
    if (type != HONE_GGUF_F32)
        return false;
    memcpy(&f, p, 4);
    *value = f;
    return true;
}

/* Adds one name, turning the index's code into a message. */
static int index_name(hone_name_index *x, const char *name, uint32_t len, size_t value, const char *path,
                      const char *kind, hone_error *err)
{
    int rc = hone_name_index_add(x, name, len, (uint32_t)value);

    if (rc == HONE_EFORMAT)
        return hone_error_set(err, rc, "%s: the %s %.*s appears twice", path, kind, (int)HONE_MIN(len, 200u),
                              name);
    if (rc)
        return hone_error_set(err, rc, "%s: too many %s names that collide", path, kind);
    return 0;
}

/* The type numbers of ggml. 0 = F32 is the first of both lists, so absent rows need a mark of their own. */
static const struct {
    const char *name;
    int dtype; /* 1 + hone_dtype; 0: hone can not read it */
} ggml_type[] = {
    [0] = {"F32", 1 + HONE_F32},
    [1] = {"F16", 1 + HONE_F16},
    [2] = {"Q4_0", 1 + HONE_Q4_0},
    [3] = {"Q4_1", 1 + HONE_Q4_1},
    [6] = {"Q5_0", 1 + HONE_Q5_0},
    [7] = {"Q5_1", 1 + HONE_Q5_1},
    [8] = {"Q8_0", 1 + HONE_Q8_0},
    [9] = {"Q8_1", 0},
    [10] = {"Q2_K", 0},
    [11] = {"Q3_K", 0},
    [12] = {"Q4_K", 1 + HONE_Q4_K},
    [13] = {"Q5_K", 1 + HONE_Q5_K},
    [14] = {"Q6_K", 1 + HONE_Q6_K},
    [15] = {"Q8_K", 0},
    [16] = {"IQ2_XXS", 0},
    [17] = {"IQ2_XS", 0},
    [18] = {"IQ3_XXS", 0},
    [19] = {"IQ1_S", 0},
    [20] = {"IQ4_NL", 0},
    [21] = {"IQ3_S", 0},
    [22] = {"IQ2_S", 0},
    [23] = {"IQ4_XS", 0},
    [24] = {"I8", 1 + HONE_I8},
    [25] = {"I16", 1 + HONE_I16},
    [26] = {"I32", 1 + HONE_I32},
    [27] = {"I64", 1 + HONE_I64},
    [28] = {"F64", 1 + HONE_F64},
    [29] = {"IQ1_M", 0},
    [30] = {"BF16", 1 + HONE_BF16},
    [34] = {"TQ1_0", 0},
    [35] = {"TQ2_0", 0},
    [39] = {"MXFP4", 0},
    [40] = {"NVFP4", 0},
    [41] = {"Q1_0", 0},
    [42] = {"Q2_0", 0},
};

static int read_type(const reader *r, hone_tensor_info *t, uint32_t type, hone_error *err)
{
    size_t at = (size_t)(r->p - r->start);

    if (type >= HONE_COUNT(ggml_type) || !ggml_type[type].name)
        return hone_error_set(err, HONE_EFORMAT, "%s: tensor %s: unknown type %u before byte %zu", r->path,
                              t->name, type, at);
    if (!ggml_type[type].dtype)
        return hone_error_set(
            err, HONE_EUNSUPPORTED,
            "%s: tensor %s is stored as %s; hone reads F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 "
            "Q4_K Q5_K Q6_K",
            r->path, t->name, ggml_type[type].name);
    t->type = ggml_type[type].name;
    t->dtype = (hone_dtype)(ggml_type[type].dtype - 1);
    return 0;
}

/* Shape and size. Dimensions stand innermost first in the file. */
static int read_shape(reader *r, hone_tensor_info *t, hone_error *err)
{
    uint32_t n_dims = 0;
    uint64_t dim = 0;
    int64_t n = 1;
    int i, rc = get(r, &n_dims, 4, err);

    if (rc)
        return rc;
    if (n_dims > 4)
        return hone_error_set(err, HONE_EFORMAT, "%s: tensor %s has %u dimensions (at most 4 are legal)",
                              r->path, t->name, n_dims);
    t->n_dims = (int)n_dims;
    for (i = t->n_dims - 1; i >= 0; i--) {
        rc = get(r, &dim, 8, err);
        if (rc)
            return rc;
        if (dim == 0 || dim > MAX_DIM || __builtin_mul_overflow(n, (int64_t)dim, &n))
            return hone_error_set(err, HONE_EFORMAT, "%s: tensor %s: a dimension of %llu before byte %zu",
                                  r->path, t->name, (unsigned long long)dim, (size_t)(r->p - r->start));
        t->shape[i] = (int64_t)dim;
    }
    t->size = (size_t)n; /* elements, until the type is known */
    return 0;
}

static int read_tensor(reader *r, hone_tensor_info *t, uint64_t *offset, hone_error *err)
{
    const char *name;
    uint32_t len, type = 0;
    int64_t row, n;
    int rc;

    reading(r, "the tensor descriptions", 0);
    rc = get_name(r, &name, &len, "a tensor", MAX_TENSOR_NAME, err);
    if (rc)
        return rc;
    t->name = hone_strndup(name, len);
    if (!t->name)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", r->path);
    t->file = r->path;
    rc = read_shape(r, t, err);
    if (!rc)
        rc = get(r, &type, 4, err);
    if (!rc)
        rc = read_type(r, t, type, err);
    if (!rc)
        rc = get(r, offset, 8, err);
    if (rc)
        return rc;
    n = (int64_t)t->size;
    row = t->n_dims ? t->shape[t->n_dims - 1] : 1;
    if (row % hone_dtype_block(t->dtype))
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: tensor %s: rows of %lld values are no whole blocks of %s (%d)", r->path,
                              t->name, (long long)row, hone_dtype_name(t->dtype), hone_dtype_block(t->dtype));
    t->size = hone_dtype_bytes(t->dtype, n);
    if (t->size == SIZE_MAX)
        return hone_error_set(err, HONE_EFORMAT, "%s: tensor %s is larger than memory can be", r->path,
                              t->name);
    return 0;
}

/* Points the tensors read from one part at their bytes. offset[i] belongs to tensor first + i. */
static int place_tensors(hone_gguf *g, reader *r, size_t first, const uint64_t *offset, uint64_t alignment,
                         hone_error *err)
{
    uint64_t file_size = (uint64_t)(r->end - r->start), begin, wanted = 0;
    size_t i;

    begin = ((uint64_t)(r->p - r->start) + alignment - 1) & ~(alignment - 1);
    for (i = first; i < g->n_tensors; i++) {
        hone_tensor_info *t = &g->tensors[i];

        if (offset[i - first] != wanted)
            return hone_error_set(
                err, HONE_EFORMAT,
                "%s: tensor %s lies at offset %llu of the data; after the tensor before it, "
                "aligned to %llu, it must be %llu",
                r->path, t->name, (unsigned long long)offset[i - first], (unsigned long long)alignment,
                (unsigned long long)wanted);
        if (begin > file_size || wanted > file_size - begin || t->size > file_size - begin - wanted)
            return hone_error_set(
                err, HONE_EFORMAT,
                "%s: the file ends at byte %llu, inside tensor %s (%zu bytes from byte %llu)", r->path,
                (unsigned long long)file_size, t->name, t->size, (unsigned long long)(begin + wanted));
        t->data = r->start + begin + wanted;
        wanted +=
            (t->size + alignment - 1) & ~(alignment - 1); /* can not wrap: the tensor lies in the file */
    }
    return 0;
}

static int read_magic(reader *r, hone_error *err)
{
    uint8_t magic[4];
    uint32_t version = 0;
    int rc;

    reading(r, "the header", 0);
    if ((size_t)(r->end - r->start) >= 4 && memcmp(r->start, "GGUF", 4) != 0)
        return hone_error_set(err, HONE_EFORMAT, "%s: not a GGUF file: it does not start with \"GGUF\"",
                              r->path);
    rc = get(r, magic, 4, err);
    if (!rc)
        rc = get(r, &version, 4, err);
    if (rc)
        return rc;
    if (version != 0 && (version & 0xffff) == 0)
        return hone_error_set(err, HONE_EUNSUPPORTED,
                              "%s: a big-endian GGUF file; hone reads little-endian ones", r->path);
    if (version != 2 && version != 3)
        return hone_error_set(err, HONE_EUNSUPPORTED, "%s: GGUF version %u; hone reads 2 and 3", r->path,
                              version);
    return 0;
}

static const key *find_key(const key_set *ks, const char *name)
{
    int64_t i = hone_name_index_find(&ks->index, name, strlen(name));

    return i < 0 ? NULL : &ks->key[i];
}

static void clear_keys(key_set *ks)
{
    hone_free(ks->key);
    hone_name_index_clear(&ks->index);
    memset(ks, 0, sizeof *ks);
}

static int read_keys(reader *r, key_set *ks, uint64_t n, hone_error *err)
{
    int rc = hone_name_index_reserve(&ks->index, n, err);

    ks->key = rc ? NULL : hone_calloc(n, sizeof *ks->key);
    if (!ks->key)
        return hone_error_set(err, rc ? rc : HONE_ENOMEM, "%s: out of memory for %llu keys", r->path,
                              (unsigned long long)n);
    for (ks->n = 0; !rc && ks->n < n; ks->n++) {
        key *k = &ks->key[ks->n];

        rc = read_key(r, k, err);
        if (!rc)
            rc = index_name(&ks->index, k->name, k->len, ks->n, r->path, "key", err);
    }
    return rc;
}

static int get_alignment(const key_set *ks, uint64_t *alignment, const char *path, hone_error *err)
{
    const key *k = find_key(ks, "general.alignment");
    int64_t value = 32;

    if (k && (!int_at(k->type, k->value, &value) || value < 1 || value > 1 << 24 || (value & (value - 1))))
        return hone_error_set(err, HONE_EFORMAT, "%s: general.alignment is no power of two up to 2^24", path);
    *alignment = (uint64_t)value;
    return 0;
}

/* The walk over one part: its keys into ks (empty before; to be cleared in any case), its tensors appended to g. */
static int read_part(hone_gguf *g, const part *p, key_set *ks, hone_error *err)
{
    reader r = {p->map.data, p->map.data, p->map.data + p->map.size, p->path, "", 0};
    uint64_t n_tensors = 0, n_keys = 0, *offset = NULL, alignment = 0;
    size_t i, first = g->n_tensors;
    hone_tensor_info *tensors;
    int rc = read_magic(&r, err);

    if (!rc)
        rc = get(&r, &n_tensors, 8, err);
    if (!rc)
        rc = get(&r, &n_keys, 8, err);
    if (rc)
        return rc;
    /* The smallest key takes 14 bytes, the smallest description 25: more than that the file can not hold. */
    if (n_keys > (uint64_t)(r.end - r.p) / 14 || n_tensors > (uint64_t)(r.end - r.p) / 25)
        return hone_error_set(
            err, HONE_EFORMAT,
            "%s: the header tells of %llu keys and %llu tensors, more than %zu bytes can hold", p->path,
            (unsigned long long)n_keys, (unsigned long long)n_tensors, p->map.size);
    rc = read_keys(&r, ks, n_keys, err);
    if (!rc)
        rc = get_alignment(ks, &alignment, p->path, err);
    if (!rc)
        rc = hone_name_index_reserve(&g->tensor_index, n_tensors, err);
    if (rc)
        return rc;
    offset = hone_calloc(n_tensors, sizeof *offset);
    tensors = hone_realloc_array(g->tensors, first + n_tensors, sizeof *tensors);
    if (tensors)
        g->tensors = tensors;
    if (!offset || !tensors)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory for %llu tensors", p->path,
                            (unsigned long long)n_tensors);
    for (i = 0; !rc && i < n_tensors; i++) {
        hone_tensor_info *t = &g->tensors[g->n_tensors++];

        memset(t, 0, sizeof *t);
        rc = read_tensor(&r, t, &offset[i], err);
        if (!rc)
            rc = index_name(&g->tensor_index, t->name, (uint32_t)strlen(t->name), first + i, p->path,
                            "tensor", err);
    }
    if (!rc)
        rc = place_tensors(g, &r, first, offset, alignment, err);
    hone_free(offset);
    return rc;
}

/* ---- split sets --------------------------------------------------------------------------------------------------- */

#define SUFFIX_LENGTH 20 /* -00001-of-00003.gguf */

static void split_suffix(char out[SUFFIX_LENGTH + 1], int64_t no, int64_t count)
{
    snprintf(out, SUFFIX_LENGTH + 1, "-%05u-of-%05u.gguf", (unsigned)(no + 1) % 100000,
             (unsigned)count % 100000);
}

/* What a part says of its place; *count is 1 for a file that is no part of a set. */
static int split_place(const key_set *ks, const char *path, int64_t *no, int64_t *count, hone_error *err)
{
    const key *k = find_key(ks, "split.count"), *k_no = find_key(ks, "split.no");

    *no = 0;
    *count = 1;
    if (!k)
        return 0;
    if (!int_at(k->type, k->value, count) || *count < 0 || *count > MAX_PARTS)
        return hone_error_set(err, HONE_EFORMAT, "%s: split.count is no number from 0 to %d", path,
                              MAX_PARTS);
    if (*count > 1 && (!k_no || !int_at(k_no->type, k_no->value, no) || *no < 0 || *no >= *count))
        return hone_error_set(err, HONE_EFORMAT, "%s: split.no is no number below split.count %lld", path,
                              (long long)*count);
    return 0;
}

static int open_part(hone_gguf *g, size_t i, const char *path, hone_error *err)
{
    g->parts[i].path = hone_strdup(path);
    if (!g->parts[i].path)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    return hone_map_open(&g->parts[i].map, path, err);
}

static void clear_tensors(hone_gguf *g)
{
    size_t i;

    for (i = 0; i < g->n_tensors; i++)
        hone_free((char *)g->tensors[i].name);
    hone_free(g->tensors);
    g->tensors = NULL;
    g->n_tensors = 0;
    hone_name_index_clear(&g->tensor_index);
}

/* Opens the set that the part `no`, open as parts[0], belongs to, and reads all parts in order. */
static int open_set(hone_gguf *g, int64_t no, int64_t count, hone_error *err)
{
    char *path = g->parts[0].path, *name, suffix[SUFFIX_LENGTH + 1];
    size_t len = strlen(path), stem;
    int64_t i, its_no, its_count, total;
    part *parts;
    int rc = 0;

    split_suffix(suffix, no, count);
    if (len <= SUFFIX_LENGTH || strcmp(path + len - SUFFIX_LENGTH, suffix) != 0)
        return hone_error_set(err, HONE_EFORMAT, "%s: part %lld of %lld, so its name must end in %s", path,
                              (long long)no + 1, (long long)count, suffix);
    parts = hone_calloc((size_t)count, sizeof *parts);
    name = hone_strdup(path);
    if (!parts || !name) {
        hone_free(parts);
        hone_free(name);
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    }
    parts[no] = g->parts[0];
    hone_free(g->parts);
    g->parts = parts;
    g->n_parts = (size_t)count;
    clear_keys(&g->keys);
    clear_tensors(g);
    stem = len - SUFFIX_LENGTH;
    for (i = 0; !rc && i < count; i++) {
        key_set others = {0}, *ks = i == 0 ? &g->keys : &others;

        split_suffix(name + stem, i, count);
        if (i != no)
            rc = open_part(g, (size_t)i, name, err);
        if (!rc)
            rc = read_part(g, &g->parts[i], ks, err);
        if (!rc)
            rc = split_place(ks, name, &its_no, &its_count, err);
        if (!rc && (its_no != i || its_count != count))
            rc = hone_error_set(err, HONE_EFORMAT, "%s: says it is part %lld of %lld", name,
                                (long long)its_no + 1, (long long)its_count);
        clear_keys(&others);
    }
    if (!rc && hone_gguf_int(g, "split.tensors.count", &total) && (uint64_t)total != g->n_tensors)
        rc = hone_error_set(err, HONE_EFORMAT, "%s: the parts hold %zu tensors, split.tensors.count is %lld",
                            g->parts[0].path, g->n_tensors, (long long)total);
    hone_free(name);
    return rc;
}

int hone_gguf_open(hone_gguf **out, const char *path, hone_error *err)
{
    hone_gguf *g = hone_calloc(1, sizeof *g);
    int64_t no, count;
    int rc;

    *out = NULL;
    if (!g)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    g->parts = hone_calloc(1, sizeof *g->parts);
    if (!g->parts) {
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
        goto out;
    }
    g->n_parts = 1;
    rc = open_part(g, 0, path, err);
    if (!rc && g->parts[0].map.size == 0)
        rc = hone_error_set(err, HONE_EFORMAT, "%s: the file is empty", path);
    if (!rc)
        rc = read_part(g, &g->parts[0], &g->keys, err);
    if (!rc)
        rc = split_place(&g->keys, path, &no, &count, err);
    if (!rc && count > 1)
        rc = open_set(g, no, count, err);
out:
    if (rc)
        hone_gguf_close(g);
    else
        *out = g;
    return rc;
}

void hone_gguf_close(hone_gguf *g)
{
    size_t i;

    if (!g)
        return;
    clear_tensors(g);
    for (i = 0; i < g->n_parts; i++) {
        hone_map_close(&g->parts[i].map);
        hone_free(g->parts[i].path);
    }
    hone_free(g->parts);
    clear_keys(&g->keys);
    hone_free(g);
}

uint64_t hone_gguf_mapped(const hone_gguf *g)
{
    uint64_t bytes = 0;
    size_t i;

    for (i = 0; i < g->n_parts; i++)
        bytes += g->parts[i].map.size;
    return bytes;
}

bool hone_gguf_is_file(const char *path)
{
    char magic[4];
    FILE *f = hone_path_is_dir(path) ? NULL : fopen(path, "rbe");
    bool is = f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "GGUF", 4) == 0;

    if (f)
        fclose(f);
    return is;
}

/* ---- values --------------------------------------------------------------------------------------------------------- */

bool hone_gguf_int(const hone_gguf *g, const char *name, int64_t *value)
{
    const key *k = find_key(&g->keys, name);

    return k && int_at(k->type, k->value, value);
}

bool hone_gguf_double(const hone_gguf *g, const char *name, double *value)
{
    const key *k = find_key(&g->keys, name);

    return k && double_at(k->type, k->value, value);
}

bool hone_gguf_bool(const hone_gguf *g, const char *name, bool *value)
{
    const key *k = find_key(&g->keys, name);

    if (!k || k->type != HONE_GGUF_BOOL)
        return false;
    *value = *k->value != 0;
    return true;
}

bool hone_gguf_string(const hone_gguf *g, const char *name, const char **value, size_t *len)
{
    const key *k = find_key(&g->keys, name);

    if (!k || k->type != HONE_GGUF_STRING)
        return false;
    *value = (const char *)k->value;
    *len = (size_t)k->count;
    return true;
}

static const key *find_array(const hone_gguf *g, const char *name)
{
    const key *k = find_key(&g->keys, name);

    return k && k->type == HONE_GGUF_ARRAY ? k : NULL;
}

bool hone_gguf_array(const hone_gguf *g, const char *name, size_t *n, int *element_type)
{
    const key *k = find_array(g, name);

    if (!k)
        return false;
    *n = (size_t)k->count;
    *element_type = (int)k->element;
    return true;
}

bool hone_gguf_array_next_string(const hone_gguf *g, const char *name, size_t *cursor, const char **s,
                                 size_t *len)
{
    const key *k = find_array(g, name);
    uint64_t n;

    /* The cursor is a byte offset into the elements, which were walked when the file was opened. */
    if (!k || k->element != HONE_GGUF_STRING || *cursor >= (size_t)(k->end - k->value))
        return false;
    memcpy(&n, k->value + *cursor, 8);
    *s = (const char *)k->value + *cursor + 8;
    *len = (size_t)n;
    *cursor += 8 + (size_t)n;
    return true;
}

/* Where element i of an array of fixed-size values lies, or NULL. */
static const uint8_t *element_at(const key *k, size_t i)
{
    return k && i < k->count && type_size[k->element] ? k->value + i * type_size[k->element] : NULL;
}

bool hone_gguf_array_int(const hone_gguf *g, const char *name, size_t i, int64_t *value)
{
    const key *k = find_array(g, name);
    const uint8_t *p = element_at(k, i);

    if (!p)
        return false;
    if (k->element == HONE_GGUF_BOOL) {
        *value = *p != 0;
        return true;
    }
    return int_at(k->element, p, value);
}

bool hone_gguf_array_double(const hone_gguf *g, const char *name, size_t i, double *value)
{
    const key *k = find_array(g, name);
    const uint8_t *p = element_at(k, i);

    return p && double_at(k->element, p, value);
}

size_t hone_gguf_n_keys(const hone_gguf *g)
{
    return g->keys.n;
}

void hone_gguf_key(const hone_gguf *g, size_t i, const char **name, size_t *len, int *type)
{
    *name = g->keys.key[i].name;
    *len = g->keys.key[i].len;
    *type = (int)g->keys.key[i].type;
}

size_t hone_gguf_n_tensors(const hone_gguf *g)
{
    return g->n_tensors;
}

const hone_tensor_info *hone_gguf_tensor(const hone_gguf *g, size_t i)
{
    return &g->tensors[i];
}

const hone_tensor_info *hone_gguf_find(const hone_gguf *g, const char *name)
{
    int64_t i = hone_name_index_find(&g->tensor_index, name, strlen(name));

    return i < 0 ? NULL : &g->tensors[i];
}
