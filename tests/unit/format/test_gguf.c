/* GGUF: values as written, every lie of a header refused with its place, and no input that crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/gguf_build.h"

#define GOLDEN HONE_TEST_DIR "/golden/models/"

static char folder[] = "/tmp/hone_gguf_XXXXXX";
static char file[64];

/* Opens an image; the caller closes what opened. */
static int open_image(hone_gguf **g, const void *image, size_t size, hone_error *err)
{
    FILE *f;

    unlink(file); /* a fresh file: neither syncing it nor cutting an old one may wait for the disk */
    f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(image, 1, size, f), size);
    fclose(f);
    return hone_gguf_open(g, file, err);
}

/* A small file with every kind of value, two tensors and some text. */
static char *sample(size_t *size)
{
    static const char *const words[] = {"alpha", "", "\xe4\xb8\xad"};
    static const struct {
        const char *name;
        uint32_t type;
        size_t n;
        uint8_t bytes[8];
    } scalars[] = {
        {"u8", HONE_GGUF_U8, 1, {200}},
        {"i8", HONE_GGUF_I8, 1, {0xff}},
        {"u16", HONE_GGUF_U16, 2, {0xff, 0xff}},
        {"i16", HONE_GGUF_I16, 2, {0xfe, 0xff}},
        {"u32", HONE_GGUF_U32, 4, {0xff, 0xff, 0xff, 0xff}},
        {"i32", HONE_GGUF_I32, 4, {0xfd, 0xff, 0xff, 0xff}},
        {"u64", HONE_GGUF_U64, 8, {1, 0, 0, 0, 1}},
        {"u64.huge", HONE_GGUF_U64, 8, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
        {"i64", HONE_GGUF_I64, 8, {0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
        {"f32", HONE_GGUF_F32, 4, {0, 0, 0x80, 0x3f}},
        {"f64", HONE_GGUF_F64, 8, {0, 0, 0, 0, 0, 0, 0, 0x40}},
        {"yes", HONE_GGUF_BOOL, 1, {1}},
        {"no", HONE_GGUF_BOOL, 1, {0}},
    };
    static const uint8_t ints[] = {HONE_GGUF_I16, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 7, 0};
    static const uint8_t floats[] = {HONE_GGUF_F32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40};
    static const uint8_t bools[] = {HONE_GGUF_BOOL, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    static const uint8_t nested[] = {HONE_GGUF_ARRAY,
                                     0,
                                     0,
                                     0,
                                     1,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     HONE_GGUF_U8,
                                     0,
                                     0,
                                     0,
                                     2,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     5,
                                     6};
    gguf_build b = {0};
    size_t i;

    gguf_string(&b, "general.architecture", "llama");
    for (i = 0; i < HONE_COUNT(scalars); i++)
        gguf_raw(&b, scalars[i].name, scalars[i].type, scalars[i].bytes, scalars[i].n);
    gguf_strings(&b, "words", words, 3);
    gguf_strings(&b, "none", words, 0);
    gguf_raw(&b, "ints", HONE_GGUF_ARRAY, ints, sizeof ints);
    gguf_raw(&b, "floats", HONE_GGUF_ARRAY, floats, sizeof floats);
    gguf_raw(&b, "bools", HONE_GGUF_ARRAY, bools, sizeof bools);
    gguf_raw(&b, "nested", HONE_GGUF_ARRAY, nested, sizeof nested);
    gguf_tensor(&b, "one", 0, 2, 3, 5);
    gguf_tensor(&b, "two", 0, 1, 7, 0);
    return gguf_take(&b, size);
}

static void values_are_read_as_written(void **state)
{
    static const struct {
        const char *name;
        int64_t value;
    } ints[] = {{"u8", 200}, {"i8", -1},          {"u16", 65535},           {"i16", -2},
                {"i32", -3}, {"u32", UINT32_MAX}, {"u64", (1ll << 32) + 1}, {"i64", -4}};
    size_t size, i, n, cursor = 0;
    char *image = sample(&size);
    hone_error err = HONE_ERROR_INIT;
    hone_gguf *g;
    const char *s;
    int64_t v;
    double d;
    bool b;
    int type;

    (void)state;
    if (open_image(&g, image, size, &err))
        fail_msg("%s", err.message);
    hone_free(image);
    for (i = 0; i < HONE_COUNT(ints); i++) {
        assert_true(hone_gguf_int(g, ints[i].name, &v));
        assert_int_equal(v, ints[i].value);
    }
    assert_false(hone_gguf_int(g, "u64.huge", &v)); /* past int64 */
    assert_false(hone_gguf_int(g, "f32", &v));
    assert_false(hone_gguf_int(g, "yes", &v));
    assert_false(hone_gguf_int(g, "absent", &v));
    assert_false(hone_gguf_int(g, "words", &v));
    assert_true(hone_gguf_double(g, "f32", &d) && d == 1);
    assert_true(hone_gguf_double(g, "f64", &d) && d == 2);
    assert_false(hone_gguf_double(g, "u8", &d));
    assert_true(hone_gguf_bool(g, "yes", &b) && b);
    assert_true(hone_gguf_bool(g, "no", &b) && !b);
    assert_false(hone_gguf_bool(g, "u8", &b));
    assert_true(hone_gguf_string(g, "general.architecture", &s, &n));
    assert_int_equal(n, 5);
    assert_memory_equal(s, "llama", 5);
    assert_false(hone_gguf_string(g, "words", &s, &n));

    assert_true(hone_gguf_array(g, "words", &n, &type));
    assert_int_equal(n, 3);
    assert_int_equal(type, HONE_GGUF_STRING);
    assert_true(hone_gguf_array_next_string(g, "words", &cursor, &s, &n));
    assert_int_equal(n, 5);
    assert_memory_equal(s, "alpha", 5);
    assert_true(hone_gguf_array_next_string(g, "words", &cursor, &s, &n));
    assert_int_equal(n, 0);
    assert_true(hone_gguf_array_next_string(g, "words", &cursor, &s, &n));
    assert_memory_equal(s, "\xe4\xb8\xad", 3);
    assert_false(hone_gguf_array_next_string(g, "words", &cursor, &s, &n));
    cursor = 0;
    assert_false(hone_gguf_array_next_string(g, "none", &cursor, &s, &n));
    assert_false(hone_gguf_array_next_string(g, "ints", &cursor, &s, &n));
    assert_false(hone_gguf_array_next_string(g, "nested", &cursor, &s, &n));
    assert_true(hone_gguf_array_int(g, "ints", 0, &v) && v == -1);
    assert_true(hone_gguf_array_int(g, "ints", 1, &v) && v == 7);
    assert_false(hone_gguf_array_int(g, "ints", 2, &v));
    assert_false(hone_gguf_array_int(g, "words", 0, &v));
    assert_false(hone_gguf_array_int(g, "nested", 0, &v));
    assert_true(hone_gguf_array_int(g, "bools", 1, &v) && v == 1);
    assert_true(hone_gguf_array_double(g, "floats", 0, &d) && d == 2);
    assert_false(hone_gguf_array_double(g, "floats", 1, &d));
    assert_false(hone_gguf_array_double(g, "ints", 0, &d));

    assert_int_equal(hone_gguf_n_keys(g), 20);
    hone_gguf_key(g, 1, &s, &n, &type);
    assert_int_equal(n, 2);
    assert_memory_equal(s, "u8", 2);
    assert_int_equal(type, HONE_GGUF_U8);
    assert_int_equal(hone_gguf_mapped(g), size);
    hone_gguf_close(g);
}

static void tensors_lie_where_they_should(void **state)
{
    size_t size;
    char *image = sample(&size);
    const hone_tensor_info *one, *two;
    hone_gguf *g;

    (void)state;
    assert_int_equal(open_image(&g, image, size, NULL), 0);
    hone_free(image);
    assert_int_equal(hone_gguf_n_tensors(g), 2);
    one = hone_gguf_find(g, "one");
    two = hone_gguf_find(g, "two");
    assert_ptr_equal(one, hone_gguf_tensor(g, 0));
    assert_int_equal(one->n_dims, 2);
    assert_int_equal(one->shape[0], 3);
    assert_int_equal(one->shape[1], 5);
    assert_int_equal(one->size, 60);
    assert_int_equal(two->shape[0], 7);
    assert_int_equal((const char *)two->data - (const char *)one->data, 64);
    assert_string_equal(two->file, file);
    assert_string_equal(two->type, "F32");
    assert_null(hone_gguf_find(g, "three"));
    hone_gguf_close(g);
}

/* ---- lies ---------------------------------------------------------------------------------------------------------- */

/* One tensor described by hand, with `data` bytes behind it. */
static int open_info(const char *name, uint32_t type, uint32_t n_dims, uint64_t d0, uint64_t d1,
                     uint64_t offset, size_t data, hone_error *err)
{
    const uint64_t dims[] = {d0, d1, 1, 1, 1};
    gguf_build b = {0};
    size_t size;
    char *image;
    hone_gguf *g = NULL;
    int rc;

    gguf_string(&b, "general.architecture", "llama");
    gguf_info(&b, name, type, n_dims, dims, offset);
    b.data_size = data;
    image = gguf_take(&b, &size);
    rc = open_image(&g, image, size, err);
    hone_free(image);
    hone_gguf_close(g);
    return rc;
}

static void lying_descriptions_are_refused(void **state)
{
    static const struct {
        const char *name;
        uint32_t type, n_dims;
        uint64_t d0, d1, offset;
        size_t data;
        int code;
        const char *word;
    } cases[] = {
        {"w", 0, 2, 8, 4, 0, 128, 0, ""},
        {"w", 0, 0, 0, 0, 0, 4, 0, ""}, /* a scalar */
        {"w", 12, 2, 256, 4, 0, 576, 0, ""},
        {"w", 0, 2, 8, 4, 0, 127, HONE_EFORMAT, "inside tensor w"},
        {"w", 0, 2, 8, 4, 32, 160, HONE_EFORMAT, "offset 32"},
        {"w", 0, 2, 8, 4, UINT64_MAX, 160, HONE_EFORMAT, "offset"},
        {"w", 0, 5, 8, 4, 0, 128, HONE_EFORMAT, "5 dimensions"},
        {"w", 0, 2, 0, 4, 0, 128, HONE_EFORMAT, "dimension of 0"},
        {"w", 0, 2, 1ull << 31, 4, 0, 128, HONE_EFORMAT, "dimension of 2147483648"},
        {"w", 0, 2, 1ull << 63, 1ull << 63, 0, 128, HONE_EFORMAT, "dimension"},
        {"w", 0, 2, INT32_MAX, INT32_MAX, 0, 128, HONE_EFORMAT, "inside tensor w"},
        {"w", 28, 4, INT32_MAX, INT32_MAX, 0, 128, HONE_EFORMAT, "tensor w"}, /* overflows in bytes */
        {"w", 4, 2, 8, 4, 0, 128, HONE_EFORMAT, "unknown type 4"},
        {"w", 99, 2, 8, 4, 0, 128, HONE_EFORMAT, "unknown type 99"},
        {"w", UINT32_MAX, 2, 8, 4, 0, 128, HONE_EFORMAT, "unknown type"},
        {"w", 10, 2, 256, 4, 0, 1024, HONE_EUNSUPPORTED, "Q2_K"},
        {"w", 20, 2, 256, 4, 0, 1024, HONE_EUNSUPPORTED, "IQ4_NL"},
        {"w", 12, 2, 128, 4, 0, 1024, HONE_EFORMAT, "whole blocks of Q4_K"},
        {"w", 8, 2, 8, 4, 0, 1024, HONE_EFORMAT, "whole blocks of Q8_0"},
        {"", 0, 2, 8, 4, 0, 128, HONE_EFORMAT, "name of a tensor"},
        {"a b", 0, 2, 8, 4, 0, 128, HONE_EFORMAT, "byte 0x20"},
        {"\x1b[31m", 0, 2, 8, 4, 0, 128, HONE_EFORMAT, "byte 0x1b"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;

        if (open_info(cases[i].name, cases[i].type, cases[i].n_dims, cases[i].d0, cases[i].d1,
                      cases[i].offset, cases[i].data, &err) != cases[i].code)
            fail_msg("case %zu gave %s: %s", i, hone_error_name(err.code), err.message);
        if (!strstr(err.message, cases[i].word) || (cases[i].code && !strstr(err.message, file)))
            fail_msg("case %zu: \"%s\" does not hold %s", i, err.message, cases[i].word);
    }
}

static void overlapping_and_repeated_tensors_are_refused(void **state)
{
    const uint64_t dims[] = {8};
    hone_error err = HONE_ERROR_INIT;
    gguf_build b = {0};
    size_t size;
    char *image;
    hone_gguf *g;

    (void)state;
    gguf_info(&b, "one", 0, 1, dims, 0);
    gguf_info(&b, "two", 0, 1, dims, 0);
    b.data_size = 64;
    image = gguf_take(&b, &size);
    assert_int_equal(open_image(&g, image, size, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "two"));
    hone_free(image);

    err = (hone_error)HONE_ERROR_INIT;
    gguf_tensor(&b, "same", 0, 1, 8, 0);
    gguf_tensor(&b, "same", 0, 1, 8, 0);
    image = gguf_take(&b, &size);
    assert_int_equal(open_image(&g, image, size, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "same appears twice"));
    hone_free(image);
}

static int open_key(const char *key, uint32_t type, const void *value, size_t n, hone_error *err)
{
    gguf_build b = {0};
    size_t size;
    char *image;
    hone_gguf *g = NULL;
    int rc;

    gguf_raw(&b, key, type, value, n);
    image = gguf_take(&b, &size);
    rc = open_image(&g, image, size, err);
    hone_free(image);
    hone_gguf_close(g);
    return rc;
}

static void lying_keys_are_refused(void **state)
{
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
    uint8_t array[12 * 8], deep[12 * 8];
    hone_error err = HONE_ERROR_INIT;
    uint32_t v;
    size_t i;

    (void)state;
    assert_int_equal(open_key("k", 13, "", 0, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "unknown type 13"));
    assert_int_equal(open_key("k", HONE_GGUF_BOOL, "\x02", 1, NULL), HONE_EFORMAT);
    assert_int_equal(open_key("k", HONE_GGUF_STRING, huge, 8, NULL), HONE_EFORMAT);
    assert_int_equal(open_key("k\n", HONE_GGUF_U8, "x", 1, NULL), HONE_EFORMAT);
    for (i = 0; i <= HONE_GGUF_F64; i++) { /* counts whose product with the size wraps */
        memset(array, 0, sizeof array);
        array[0] = (uint8_t)i;
        memcpy(array + 4, huge, 8);
        assert_int_equal(open_key("k", HONE_GGUF_ARRAY, array, 12, NULL), HONE_EFORMAT);
        memset(array + 4, 0, 8);
        array[11] = 0x20; /* 2^61, times 8 = 0 */
        assert_int_equal(open_key("k", HONE_GGUF_ARRAY, array, 12, NULL), HONE_EFORMAT);
    }
    for (i = 0; i < 8; i++) {
        memset(deep + 12 * i, 0, 12);
        deep[12 * i] = HONE_GGUF_ARRAY;
        deep[12 * i + 4] = 1;
    }
    assert_int_equal(open_key("k", HONE_GGUF_ARRAY, deep, sizeof deep, NULL), HONE_ELIMIT);
    for (v = 0; v < 70; v++)
        assert_int_equal(open_key("general.alignment", HONE_GGUF_U32, &v, 4, NULL),
                         v && (v & (v - 1)) == 0 ? 0 : HONE_EFORMAT);
    v = 1u << 31;
    assert_int_equal(open_key("general.alignment", HONE_GGUF_U32, &v, 4, NULL), HONE_EFORMAT);
    assert_int_equal(open_key("general.alignment", HONE_GGUF_F32, &v, 4, NULL), HONE_EFORMAT);
}

static void headers_are_refused_by_name(void **state)
{
    static const struct {
        uint8_t bytes[24];
        size_t n;
        int code;
        const char *word;
    } cases[] = {
        {"", 0, HONE_EFORMAT, "empty"},
        {"GG", 2, HONE_EFORMAT, "ends at byte 2"},
        {"GGML\3\0\0\0", 8, HONE_EFORMAT, "not a GGUF file"},
        {"GGUF\1\0\0\0", 8, HONE_EUNSUPPORTED, "version 1"},
        {"GGUF\4\0\0\0", 8, HONE_EUNSUPPORTED, "version 4"},
        {"GGUF\0\0\0\3", 8, HONE_EUNSUPPORTED, "big-endian"},
        {"GGUF\3\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 24, HONE_EFORMAT, "tensors"},
        {"GGUF\3\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 24, HONE_EFORMAT, "keys"},
        {"GGUF\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, 0, ""},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_gguf *g = NULL;

        if (open_image(&g, cases[i].bytes, cases[i].n, &err) != cases[i].code)
            fail_msg("case %zu gave %s: %s", i, hone_error_name(err.code), err.message);
        if (!strstr(err.message, cases[i].word))
            fail_msg("case %zu: \"%s\" does not hold %s", i, err.message, cases[i].word);
        hone_gguf_close(g);
    }
    assert_true(hone_gguf_is_file(file));
    assert_false(hone_gguf_is_file(folder));
    assert_false(hone_gguf_is_file("/nowhere"));
    assert_false(hone_gguf_is_file(HONE_TEST_DIR "/golden/configs.json"));
}

/* Opening takes one walk, however many keys there are. */
static void many_keys_are_quick(void **state)
{
    gguf_build b = {0};
    char name[32];
    size_t size;
    char *image;
    hone_gguf *g;
    int64_t v;
    uint32_t i;

    (void)state;
    for (i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "key.%u", i);
        gguf_u32(&b, name, i);
    }
    image = gguf_take(&b, &size);
    assert_int_equal(open_image(&g, image, size, NULL), 0);
    hone_free(image);
    assert_true(hone_gguf_int(g, "key.99999", &v) && v == 99999);
    assert_false(hone_gguf_int(g, "key.100000", &v));
    hone_gguf_close(g);
}

/* ---- damage --------------------------------------------------------------------------------------------------------- */

static volatile uint8_t sink; /* a read that the compiler may not leave out */

/* Reads everything that a file gives, so that the sanitizer sees every access. */
static void touch(const hone_gguf *g)
{
    size_t i, j, n, len;
    const char *s;
    int type;

    for (i = 0; i < hone_gguf_n_keys(g); i++) {
        char name[256];
        int64_t v;
        double d;
        bool b;
        size_t cursor = 0;

        hone_gguf_key(g, i, &s, &len, &type);
        snprintf(name, sizeof name, "%.*s", (int)HONE_MIN(len, sizeof name - 1), s);
        hone_gguf_int(g, name, &v);
        hone_gguf_double(g, name, &d);
        hone_gguf_bool(g, name, &b);
        if (hone_gguf_string(g, name, &s, &len))
            for (j = 0; j < len; j++)
                sink = (uint8_t)s[j];
        if (hone_gguf_array(g, name, &n, &type))
            for (j = 0;
                 j < n && (hone_gguf_array_int(g, name, j, &v) || hone_gguf_array_double(g, name, j, &d));
                 j++)
                ;
        while (hone_gguf_array_next_string(g, name, &cursor, &s, &len))
            for (j = 0; j < len; j++)
                sink = (uint8_t)s[j];
    }
    for (i = 0; i < hone_gguf_n_tensors(g); i++) {
        const hone_tensor_info *t = hone_gguf_tensor(g, i);

        if (t->size)
            sink = *(const uint8_t *)t->data + ((const uint8_t *)t->data)[t->size - 1];
        assert_ptr_equal(hone_gguf_find(g, t->name), t);
    }
}

/* Cut anywhere: an error that names the file, save where only padding behind the last tensor is lost. */
static void every_truncation_is_an_error(void **state)
{
    size_t size, n, opened = 0;
    char *image = sample(&size);

    (void)state;
    for (n = 0; n < size; n++) {
        hone_error err = HONE_ERROR_INIT;
        hone_gguf *g;

        if (open_image(&g, image, n, &err) == 0) {
            assert_true(n >= size - 4); /* "two" has 28 bytes of 32 */
            touch(g);
            hone_gguf_close(g);
            opened++;
        } else {
            assert_int_equal(err.code, HONE_EFORMAT);
            assert_non_null(strstr(err.message, file));
            assert_null(g);
        }
    }
    assert_int_equal(opened, 4);
    hone_free(image);
}

static void flipped_bits_never_crash(void **state)
{
    size_t size, header;
    char *image = sample(&size);
    hone_rng r = hone_rng_make(11, 0);
    int i, flips, opened = 0;

    (void)state;
    header = size - 96;
    for (i = 0; i < 10000; i++) {
        hone_error err = HONE_ERROR_INIT;
        char *damaged = hone_alloc(size);
        hone_gguf *g;

        memcpy(damaged, image, size);
        for (flips = 1 + (int)hone_rng_below(&r, 3); flips > 0; flips--)
            damaged[hone_rng_below(&r, (uint32_t)header)] ^= (char)(1 << hone_rng_below(&r, 8));
        if (open_image(&g, damaged, size, &err) == 0) {
            touch(g);
            hone_gguf_close(g);
            opened++;
        } else {
            assert_true(err.message[0]);
        }
        hone_free(damaged);
    }
    assert_in_range(opened, 1, 9999); /* some flips are harmless, some are not */
    hone_free(image);
}

/* ---- split sets ---------------------------------------------------------------------------------------------------- */

static void split_sets(void **state)
{
    static const char *const parts[] = {"split-00001-of-00003.gguf", "split-00002-of-00003.gguf",
                                        "split-00003-of-00003.gguf"};
    hone_error err = HONE_ERROR_INIT;
    char path[512], copy[3][128], *bytes;
    hone_gguf *g;
    const char *s;
    size_t i, len;

    (void)state;
    for (i = 0; i < 3; i++) { /* any part opens the set; the keys are the first part's */
        snprintf(path, sizeof path, GOLDEN "%s", parts[i]);
        if (hone_gguf_open(&g, path, &err))
            fail_msg("%s", err.message);
        assert_true(hone_gguf_string(g, "general.architecture", &s, &len));
        assert_int_equal(hone_gguf_n_tensors(g), 14);
        assert_non_null(strstr(hone_gguf_find(g, "output_norm.weight")->file, "-of-00003.gguf"));
        touch(g);
        hone_gguf_close(g);
        assert_int_equal(hone_file_read(&bytes, &len, path, 1 << 20, NULL), 0);
        snprintf(copy[i], sizeof copy[i], "%s/%s", folder, parts[i]);
        assert_int_equal(hone_file_write(copy[i], bytes, len, NULL), 0);
        hone_free(bytes);
    }
    unlink(copy[1]); /* a part is missing */
    assert_int_equal(hone_gguf_open(&g, copy[0], &err), HONE_ENOENT);
    assert_non_null(strstr(err.message, parts[1]));
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(link(copy[2], copy[1]), 0); /* a part stands in for another */
    assert_int_equal(hone_gguf_open(&g, copy[0], &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "part 3 of 3"));
    err = (hone_error)HONE_ERROR_INIT;
    snprintf(path, sizeof path, "%s/other.gguf", folder);
    assert_int_equal(rename(copy[0], path), 0);
    assert_int_equal(hone_gguf_open(&g, path, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "-00001-of-00003.gguf"));
    unlink(path);
    unlink(copy[1]);
    unlink(copy[2]);
}

static long left;

static bool fail_later(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return left-- > 0;
}

static void every_allocation_may_fail(void **state)
{
    static const char *const paths[] = {GOLDEN "qwen3.gguf", GOLDEN "split-00003-of-00003.gguf"};
    size_t i;
    long n;
    int rc;

    (void)state;
    for (i = 0; i < HONE_COUNT(paths); i++)
        for (n = 0, rc = 1; rc; n++) {
            hone_error err = HONE_ERROR_INIT;
            hone_gguf *g;

            left = n;
            hone_mem_hook(fail_later, NULL);
            rc = hone_gguf_open(&g, paths[i], &err);
            hone_mem_hook(NULL, NULL);
            if (rc)
                assert_int_equal(rc, HONE_ENOMEM);
            hone_gguf_close(g);
        }
    assert_true(n > 10);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/x.gguf", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read_as_written),
        cmocka_unit_test(tensors_lie_where_they_should),
        cmocka_unit_test(lying_descriptions_are_refused),
        cmocka_unit_test(overlapping_and_repeated_tensors_are_refused),
        cmocka_unit_test(lying_keys_are_refused),
        cmocka_unit_test(headers_are_refused_by_name),
        cmocka_unit_test(many_keys_are_quick),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(flipped_bits_never_crash),
        cmocka_unit_test(split_sets),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
