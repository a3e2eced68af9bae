/* Pages of a column: unpacked, and read as a stream of (repetition level, definition level, value). One page is held
 * unpacked at a time, beside the dictionary. Whatever a header says is held against the chunk's bytes first. */
#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "data/parquet.h"

enum { ENCODING_PLAIN = 0, ENCODING_PLAIN_DICTIONARY = 2, ENCODING_RLE = 3, ENCODING_RLE_DICTIONARY = 8 };
enum { PAGE_DATA = 0, PAGE_INDEX = 1, PAGE_DICTIONARY = 2, PAGE_DATA_V2 = 3 };
enum { CODEC_NONE = 0, CODEC_SNAPPY = 1, CODEC_GZIP = 2, CODEC_ZSTD = 6 };

static int fail(const parquet_column *c, hone_error *err, int code, const char *format, ...)
    HONE_PRINTF(4, 5);

static int fail(const parquet_column *c, hone_error *err, int code, const char *format, ...)
{
    char reason[300];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return hone_error_set(err, code, "%s: column `%.60s`, page at byte %llu: %s", c->file->path,
                          c->node->name, (unsigned long long)c->page_at, reason);
}

static int broken(const parquet_column *c, hone_error *err, const char *reason)
{
    return fail(c, err, HONE_EFORMAT, "%s", reason);
}

static int out_of_memory(const parquet_column *c, hone_error *err)
{
    return fail(c, err, HONE_ENOMEM, "out of memory");
}

/* ---- runs ---------------------------------------------------------------------------------------------------------- */

static bool runs_begin(parquet_runs *r)
{
    uint64_t head = 0;
    int shift, i;

    for (shift = 0;; shift += 7) {
        if (r->at == r->end || shift > 56)
            return false;
        head |= (uint64_t)(*r->at & 0x7f) << shift;
        if (!(*r->at++ & 0x80))
            break;
    }
    r->packed = head & 1;
    r->n_bits = 0;
    r->bits = 0;
    if (r->packed) {
        r->left = (head >> 1) * 8;
    } else {
        int bytes = (r->width + 7) / 8;

        r->left = head >> 1;
        r->value = 0;
        if (r->end - r->at < bytes)
            return false;
        for (i = 0; i < bytes; i++)
            r->value |= (uint32_t)*r->at++ << (8 * i);
    }
    return r->left > 0;
}

/* The next value; false when the bytes are used up. */
static bool runs_next(parquet_runs *r, uint32_t *value)
{
    if (!r->left && !runs_begin(r))
        return false;
    r->left--;
    if (!r->packed) {
        *value = r->value;
        return true;
    }
    while (r->n_bits < r->width) {
        if (r->at == r->end)
            return false;
        r->bits |= (uint64_t)*r->at++ << r->n_bits;
        r->n_bits += 8;
    }
    *value = (uint32_t)(r->bits & ((1ull << r->width) - 1));
    r->bits >>= r->width;
    r->n_bits -= r->width;
    return true;
}

static int bit_width(int max)
{
    int width = 0;

    for (; max; max >>= 1)
        width++;
    return width;
}

/* ---- unpacking ------------------------------------------------------------------------------------------------------ */

static int unpack_gzip(uint8_t *out, size_t size, const uint8_t *in, size_t n)
{
    z_stream z = {
        .next_in = (uint8_t *)in, .avail_in = (unsigned)n, .next_out = out, .avail_out = (unsigned)size};
    int status;

    if (inflateInit2(&z, 32 + MAX_WBITS) != Z_OK) /* 32: a gzip or a zlib header */
        return HONE_ENOMEM;
    status = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return status == Z_STREAM_END && !z.avail_out ? 0 : status == Z_MEM_ERROR ? HONE_ENOMEM : HONE_EFORMAT;
}

/* Exactly `size` bytes out of in[0..n). */
static int unpack(int codec, uint8_t *out, size_t size, const uint8_t *in, size_t n)
{
    size_t length = size;

    switch (codec) {
    case CODEC_SNAPPY:
        if (snappy_uncompressed_length((const char *)in, n, &length) != SNAPPY_OK || length != size)
            return HONE_EFORMAT;
        return snappy_uncompress((const char *)in, n, (char *)out, &length) == SNAPPY_OK ? 0 : HONE_EFORMAT;
    case CODEC_GZIP:
        return unpack_gzip(out, size, in, n);
    case CODEC_ZSTD:
        return ZSTD_decompress(out, size, in, n) == size ? 0 : HONE_EFORMAT;
    default:
        return HONE_EUNSUPPORTED;
    }
}

static int check_codec(const parquet_column *c, hone_error *err)
{
    static const char *const name[] = {"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO",
                                       "BROTLI",       "LZ4",    "ZSTD", "LZ4_RAW"};
    int codec = c->chunk->codec;

    if (codec == CODEC_NONE || codec == CODEC_SNAPPY || codec == CODEC_GZIP || codec == CODEC_ZSTD)
        return 0;
    return fail(c, err, HONE_EUNSUPPORTED,
                "pages packed with %s are not supported; supported: UNCOMPRESSED, SNAPPY, GZIP, ZSTD",
                codec >= 0 && (size_t)codec < HONE_COUNT(name) ? name[codec] : "an unknown codec");
}

/* The bytes of a page: where they lie in the file, or unpacked into *buffer. The first `plain` of them are not packed. */
static int page_bytes(parquet_column *c, const uint8_t **out, uint8_t **buffer, size_t *capacity,
                      const uint8_t *in, size_t packed, size_t size, size_t plain, bool is_packed,
                      hone_error *err)
{
    int rc;

    if (size > PARQUET_PAGE)
        return fail(c, err, HONE_ELIMIT, "a page of %zu bytes is longer than %zu MiB", size,
                    PARQUET_PAGE >> 20);
    if (plain > packed || plain > size)
        return broken(c, err, "levels longer than the page");
    if (!is_packed || c->chunk->codec == CODEC_NONE) {
        if (packed != size)
            return broken(c, err, "the two sizes of a page that is not packed differ");
        *out = in;
        return 0;
    }
    rc = check_codec(c, err);
    if (rc)
        return rc;
    if (size > *capacity || !*buffer) {
        uint8_t *grown;

        if (*c->held + size - *capacity > PARQUET_HELD)
            return fail(c, err, HONE_ELIMIT,
                        "the unpacked pages of all columns are larger than %zu MiB together",
                        PARQUET_HELD >> 20);
        hone_free(*buffer);
        *c->held -= *capacity;
        *capacity = 0;
        *buffer = grown = hone_alloc(size);
        if (!grown)
            return out_of_memory(c, err);
        *capacity = size;
        *c->held += size;
    }
    if (plain)
        memcpy(*buffer, in, plain);
    rc = size == plain && packed == plain
             ? 0
             : unpack(c->chunk->codec, *buffer + plain, size - plain, in + plain, packed - plain);
    if (rc == HONE_ENOMEM)
        return out_of_memory(c, err);
    *out = *buffer;
    return rc ? broken(c, err, "its packed bytes are damaged, or its length is not the one it gives") : 0;
}

/* ---- pages ---------------------------------------------------------------------------------------------------------- */

typedef struct page_header {
    int64_t type, size, packed, n_values, encoding, def_encoding, rep_encoding, def_bytes, rep_bytes;
    bool unpacked; /* version 2: is_compressed is false */
} page_header;

/* The header of a data page (version 1 or 2) or of a dictionary. */
static void read_inner(thrift *t, page_header *h, int which)
{
    thrift_type field;
    int id = 0;

    while ((field = thrift_field(t, &id)) != THRIFT_STOP) {
        int64_t *out = NULL;

        if (field == THRIFT_I32 && which != 8)
            out = id == 1   ? &h->n_values
                  : id == 2 ? &h->encoding
                  : id == 3 ? &h->def_encoding
                  : id == 4 ? &h->rep_encoding
                            : NULL;
        else if (field == THRIFT_I32)
            out = id == 1   ? &h->n_values
                  : id == 4 ? &h->encoding
                  : id == 5 ? &h->def_bytes
                  : id == 6 ? &h->rep_bytes
                            : NULL;
        if (which == 8 && id == 7 && field == THRIFT_FALSE)
            h->unpacked = true;
        if (out)
            *out = thrift_int(t);
        else
            thrift_skip(t, field, 0);
    }
}

static int read_header(parquet_column *c, page_header *h, hone_error *err)
{
    const uint8_t *data = c->file->map.data;
    thrift t = {data + c->at, data + c->chunk->end, false};
    thrift_type field;
    int id = 0;

    *h = (page_header){-1, -1, -1, -1, -1, ENCODING_RLE, ENCODING_RLE, 0, 0, false};
    c->page_at = c->at;
    while ((field = thrift_field(&t, &id)) != THRIFT_STOP)
        if (id <= 3 && field == THRIFT_I32)
            *(id == 1 ? &h->type : id == 2 ? &h->size : &h->packed) = thrift_int(&t);
        else if ((id == 5 || id == 7 || id == 8) && field == THRIFT_STRUCT)
            read_inner(&t, h, id);
        else
            thrift_skip(&t, field, 0);
    if (t.failed || h->size < 0 || h->packed < 0 || h->packed > t.end - t.at || h->def_bytes < 0 ||
        h->rep_bytes < 0)
        return broken(c, err, "broken page header, or a page longer than its column");
    if (h->type != PAGE_INDEX && (h->n_values < 0 || h->n_values > INT32_MAX))
        return broken(c, err, "a page without a number of values");
    c->at = (uint64_t)(t.at - data);
    return 0;
}

static size_t fixed_size(parquet_type type)
{
    return type == PARQUET_INT32 || type == PARQUET_FLOAT    ? 4
           : type == PARQUET_INT64 || type == PARQUET_DOUBLE ? 8
                                                             : 0;
}

static int read_dictionary(parquet_column *c, const page_header *h, const uint8_t *in, hone_error *err)
{
    size_t fixed = fixed_size(c->node->type), i;
    const uint8_t *p;
    int rc;

    if (c->dictionary || (h->encoding != ENCODING_PLAIN && h->encoding != ENCODING_PLAIN_DICTIONARY) ||
        c->node->type == PARQUET_BOOLEAN)
        return broken(c, err, "a dictionary out of place");
    rc = page_bytes(c, &c->dictionary, &c->dictionary_page, &c->dictionary_capacity, in, (size_t)h->packed,
                    (size_t)h->size, 0, true, err);
    if (rc)
        return rc;
    c->dictionary_end = c->dictionary + h->size;
    c->n_entries = (uint32_t)h->n_values;
    if ((uint64_t)h->n_values > (uint64_t)h->size / (fixed ? fixed : 4))
        return broken(c, err, "a dictionary with more entries than bytes for them");
    if (fixed)
        return 0;
    c->entry = hone_alloc(c->n_entries * sizeof *c->entry);
    if (!c->entry)
        return out_of_memory(c, err);
    for (i = 0, p = c->dictionary; i < c->n_entries; i++) {
        uint32_t n;

        if (c->dictionary_end - p < 4)
            return broken(c, err, "a dictionary that ends too early");
        memcpy(&n, p, 4);
        if (n > (size_t)(c->dictionary_end - p) - 4)
            return broken(c, err, "a text longer than its dictionary");
        c->entry[i] = (uint32_t)(p - c->dictionary);
        p += 4 + n;
    }
    return 0;
}

/* Cuts n bytes of levels off the front of *at. */
static int begin_levels(parquet_column *c, parquet_runs *r, int max, const uint8_t **at, const uint8_t *end,
                        size_t n, hone_error *err)
{
    if (n > (size_t)(end - *at))
        return broken(c, err, "levels longer than the page");
    *r = (parquet_runs){.at = *at, .end = *at + n, .width = bit_width(max)};
    *at += n;
    return 0;
}

/* The same with the length in front of them, as version 1 has it. */
static int begin_levels_v1(parquet_column *c, parquet_runs *r, int max, const uint8_t **at,
                           const uint8_t *end, int64_t encoding, hone_error *err)
{
    uint32_t n;

    if (!max)
        return 0;
    if (encoding != ENCODING_RLE)
        return fail(c, err, HONE_EUNSUPPORTED, "levels in encoding %lld are not supported; supported: RLE",
                    (long long)encoding);
    if (end - *at < 4)
        return broken(c, err, "a page too short for its levels");
    memcpy(&n, *at, 4);
    *at += 4;
    return begin_levels(c, r, max, at, end, n, err);
}

static int begin_values(parquet_column *c, const page_header *h, const uint8_t *at, const uint8_t *end,
                        hone_error *err)
{
    static const char *const name[] = {
        "PLAIN",          "GROUP_VAR_INT",       "PLAIN_DICTIONARY",        "RLE",
        "BIT_PACKED",     "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY",
        "RLE_DICTIONARY", "BYTE_STREAM_SPLIT"};
    uint32_t n;

    c->encoding = (int)h->encoding;
    c->value_at = at;
    c->value_end = end;
    c->bit = 0;
    switch (h->encoding) {
    case ENCODING_PLAIN:
        return 0;
    case ENCODING_PLAIN_DICTIONARY:
    case ENCODING_RLE_DICTIONARY:
        if (!c->dictionary)
            return broken(c, err, "a page that needs a dictionary, and there is none");
        if (at == end) { /* no value that is there */
            c->value_runs = (parquet_runs){0};
            return 0;
        }
        if (*at > 32)
            return broken(c, err, "a dictionary index of more than 32 bits");
        c->value_runs = (parquet_runs){.at = at + 1, .end = end, .width = *at};
        return 0;
    case ENCODING_RLE:
        if (c->node->type != PARQUET_BOOLEAN)
            break;
        if (end - at < 4)
            return at == end ? 0 : broken(c, err, "a page too short for its values");
        memcpy(&n, at, 4);
        if (n > (size_t)(end - at) - 4)
            return broken(c, err, "values longer than the page");
        c->value_runs = (parquet_runs){.at = at + 4, .end = at + 4 + n, .width = 1};
        return 0;
    }
    return fail(
        c, err, HONE_EUNSUPPORTED,
        "encoding %s is not supported; supported: PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY, RLE of booleans",
        h->encoding >= 0 && (size_t)h->encoding < HONE_COUNT(name) ? name[h->encoding]
                                                                   : "of an unknown number");
}

static int begin_page(parquet_column *c, const page_header *h, const uint8_t *in, hone_error *err)
{
    bool v2 = h->type == PAGE_DATA_V2;
    const uint8_t *at, *end;
    int rc;

    if ((uint64_t)h->n_values > c->values_left)
        return broken(c, err, "more values than the column has");
    rc = page_bytes(c, &at, &c->page, &c->page_capacity, in, (size_t)h->packed, (size_t)h->size,
                    v2 ? (size_t)(h->def_bytes + h->rep_bytes) : 0, !h->unpacked, err);
    if (rc)
        return rc;
    end = at + h->size;
    if (v2) {
        rc = begin_levels(c, &c->rep_runs, c->node->max_rep, &at, end, (size_t)h->rep_bytes, err);
        if (!rc)
            rc = begin_levels(c, &c->def_runs, c->node->max_def, &at, end, (size_t)h->def_bytes, err);
    } else {
        rc = begin_levels_v1(c, &c->rep_runs, c->node->max_rep, &at, end, h->rep_encoding, err);
        if (!rc)
            rc = begin_levels_v1(c, &c->def_runs, c->node->max_def, &at, end, h->def_encoding, err);
    }
    if (!rc)
        rc = begin_values(c, h, at, end, err);
    c->page_left = (uint32_t)h->n_values;
    c->values_left -= (uint64_t)h->n_values;
    return rc;
}

/* Reads pages until one has values. */
static int next_page(parquet_column *c, hone_error *err)
{
    page_header h;
    int rc = 0;

    while (!rc && !c->page_left) {
        const uint8_t *in;

        if (c->at >= c->chunk->end)
            return broken(c, err, "the column ends before its last value");
        rc = read_header(c, &h, err);
        if (rc)
            return rc;
        in = c->file->map.data + c->at;
        c->at += (uint64_t)h.packed;
        if (h.type == PAGE_DATA || h.type == PAGE_DATA_V2)
            rc = begin_page(c, &h, in, err);
        else if (h.type == PAGE_DICTIONARY)
            rc = read_dictionary(c, &h, in, err);
        else if (h.type != PAGE_INDEX)
            rc = broken(c, err, "a page of an unknown type");
    }
    return rc;
}

int parquet_column_open(parquet_column *c, const parquet_file *f, const parquet_chunk *chunk,
                        const parquet_node *node, size_t *held, hone_error *err)
{
    *c = (parquet_column){.file = f,
                          .node = node,
                          .chunk = chunk,
                          .at = chunk->begin,
                          .values_left = chunk->n_values,
                          .page_at = chunk->begin,
                          .held = held};
    return check_codec(c, err);
}

void parquet_column_close(parquet_column *c)
{
    hone_free(c->page);
    hone_free(c->dictionary_page);
    hone_free(c->entry);
    if (c->held)
        *c->held -= c->page_capacity + c->dictionary_capacity;
    *c = (parquet_column){0};
}

int parquet_column_peek(parquet_column *c, hone_error *err)
{
    uint32_t rep = 0, def = 0;

    if (c->peeked)
        return 1;
    if (!c->page_left) {
        int rc;

        if (!c->values_left)
            return 0;
        rc = next_page(c, err);
        if (rc)
            return rc;
    }
    if ((c->node->max_rep && !runs_next(&c->rep_runs, &rep)) ||
        (c->node->max_def && !runs_next(&c->def_runs, &def)))
        return broken(c, err, "fewer levels than values");
    if (rep > (uint32_t)c->node->max_rep || def > (uint32_t)c->node->max_def)
        return broken(c, err, "a level that the schema does not have");
    c->page_left--;
    c->rep = (int)rep;
    c->def = (int)def;
    c->peeked = true;
    return 1;
}

/* One PLAIN value at p; *next is behind it. false: the bytes end before it does. */
static bool plain_value(parquet_type type, parquet_value *v, const uint8_t *p, const uint8_t *end)
{
    size_t left = (size_t)(end - p);
    int32_t i32;
    float f32;

    if (left < (fixed_size(type) ? fixed_size(type) : 4))
        return false;
    switch (type) {
    case PARQUET_INT32:
        memcpy(&i32, p, 4);
        v->integer = i32;
        return true;
    case PARQUET_INT64:
        memcpy(&v->integer, p, 8);
        return true;
    case PARQUET_FLOAT:
        memcpy(&f32, p, 4);
        v->real = f32;
        return true;
    case PARQUET_DOUBLE:
        memcpy(&v->real, p, 8);
        return true;
    default:
        memcpy(&v->n, p, 4);
        v->bytes = p + 4;
        return v->n <= left - 4;
    }
}

int parquet_column_take(parquet_column *c, parquet_value *v, hone_error *err)
{
    size_t fixed = fixed_size(c->node->type);
    uint32_t index;
    bool ok;

    c->peeked = false;
    if (c->def < c->node->max_def)
        return 0;
    if (c->encoding == ENCODING_RLE || c->encoding == ENCODING_PLAIN_DICTIONARY ||
        c->encoding == ENCODING_RLE_DICTIONARY) {
        if (!runs_next(&c->value_runs, &index))
            return broken(c, err, "fewer values than the page says");
        if (c->encoding == ENCODING_RLE) {
            v->boolean = index;
            return 0;
        }
        if (index >= c->n_entries)
            return broken(c, err, "an index behind the end of the dictionary");
        ok = plain_value(c->node->type, v, c->dictionary + (fixed ? index * fixed : c->entry[index]),
                         c->dictionary_end);
    } else if (c->node->type == PARQUET_BOOLEAN) {
        ok = c->value_at < c->value_end;
        if (ok) {
            v->boolean = *c->value_at >> c->bit & 1;
            c->bit = (c->bit + 1) & 7;
            c->value_at += !c->bit;
        }
    } else {
        ok = plain_value(c->node->type, v, c->value_at, c->value_end);
        if (ok)
            c->value_at += fixed ? fixed : 4 + v->n;
    }
    return ok ? 0 : broken(c, err, "fewer values than the page says");
}
