/* safetensors: what the reference library refuses is refused, what it writes is read, and what hone writes has its
 * layout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/json.h"
#include "format/safetensors.h"

#define GOLDEN HONE_TEST_DIR "/golden/models/"

static char folder[] = "/tmp/hone_st_XXXXXX";
static char file[64];

static void write_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *f;

    unlink(path); /* a fresh file: neither syncing it nor cutting an old one may wait for the disk */
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* Opens a file of this header and `data` bytes. `claim`: header length to write, 0 = the right one. */
static int open_header(hone_safetensors **s, const char *header, uint64_t claim, size_t data, hone_error *err)
{
    uint64_t n = claim ? claim : strlen(header);
    hone_buf b = {0};
    size_t i;
    int rc;

    hone_buf_add(&b, &n, 8);
    hone_buf_puts(&b, header);
    for (i = 0; i < data; i++)
        hone_buf_putc(&b, (char)i);
    write_bytes(file, b.data, b.len);
    hone_buf_clear(&b);
    rc = hone_safetensors_open(s, file, err);
    return rc;
}

#define A8 "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static void headers_are_checked_like_the_reference(void **state)
{
    static const struct {
        const char *header;
        uint64_t claim;
        size_t data;
        int code;
        const char *word;
    } cases[] = {
        {"{" A8 "}", 0, 8, 0, ""},
        {"  {" A8 "}   ", 0, 8, 0, ""},
        {"{}", 0, 0, 0, ""},
        {"{\"__metadata__\":{\"format\":\"pt\"}," A8 "}", 0, 8, 0, ""},
        {"{" A8 ",\"z\":{\"dtype\":\"F16\",\"shape\":[0,3],\"data_offsets\":[8,8]}}", 0, 8, 0, ""},
        {"{" A8 ",\"z\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[8,16]}}", 0, 16, 0,
         ""}, /* a scalar */
        {"{\"z\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[8,10]}," A8 "}", 0, 10, 0,
         ""}, /* any order */
        {"{" A8 "}", 0, 7, HONE_EFORMAT, "ends inside tensor a"},
        {"{" A8 "}", 0, 9, HONE_EFORMAT, "9 bytes of data"},
        {"{}", 0, 1, HONE_EFORMAT, "1 bytes of data"},
        {"{" A8 "}", 1000, 8, HONE_EFORMAT, "inside the header"},
        {"{" A8 "}", 100000001, 8, HONE_EFORMAT, "header of 100000001"},
        {"{" A8 "}", UINT64_MAX, 8, HONE_EFORMAT, "header of"},
        {"{" A8 "}", 20, 8, HONE_EFORMAT, "line 1"},
        {"{" A8 "}x", 0, 8, HONE_EFORMAT, "line 1"},
        {"[]", 0, 0, HONE_EFORMAT, "no JSON object"},
        {"", 0, 0, HONE_EFORMAT, "line"},
        {"{" A8 "," A8 "}", 0, 8, HONE_EFORMAT, "duplicate"},
        {"{\"__metadata__\":{\"n\":1}," A8 "}", 0, 8, HONE_EFORMAT, "metadata n"},
        {"{\"__metadata__\":[]," A8 "}", 0, 8, HONE_EFORMAT, "__metadata__"},
        {"{" A8 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 0, 8, HONE_EFORMAT,
         "b begins at offset 4"}, /* overlap */
        {"{" A8 ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}", 0, 16, HONE_EFORMAT,
         "b begins at offset 12"}, /* hole */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 0, 12, HONE_EFORMAT,
         "a begins"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 0, 8, HONE_EFORMAT, "needs 12"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 0, 8, HONE_EFORMAT,
         "[begin, end]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,16]}}", 0, 8, HONE_EFORMAT,
         "[begin, end]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", 0, 8, HONE_EFORMAT,
         "[begin, end]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 0, 8, HONE_EFORMAT,
         "[begin, end]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 0, 8, HONE_EFORMAT, "[begin, end]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 0, 8, HONE_EFORMAT, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 0, 8, HONE_EFORMAT, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0, 0,
         HONE_EFORMAT, "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, 0,
         HONE_EFORMAT, "whole number of bytes"},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 0, 1, HONE_EFORMAT,
         "whole number"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", 0, 8, HONE_EFORMAT, "F33"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 0, 8, HONE_EFORMAT, "dtype"},
        {"{\"a\":7}", 0, 8, HONE_EFORMAT, "tensor a"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_safetensors *s = NULL;

        if (open_header(&s, cases[i].header, cases[i].claim, cases[i].data, &err) != cases[i].code)
            fail_msg("case %zu gave %s: %s", i, hone_error_name(err.code), err.message);
        if (!strstr(err.message, cases[i].word) || (cases[i].code && !strstr(err.message, file)))
            fail_msg("case %zu: \"%s\" does not hold %s", i, err.message, cases[i].word);
        hone_safetensors_close(s);
    }
    write_bytes(file, "1234567", 7);
    assert_int_equal(hone_safetensors_open(&(hone_safetensors *){NULL}, file, NULL), HONE_EFORMAT);
    write_bytes(file, "", 0);
    assert_int_equal(hone_safetensors_open(&(hone_safetensors *){NULL}, file, NULL), HONE_EFORMAT);
}

static void tensors_are_found(void **state)
{
    hone_safetensors *s;
    const hone_tensor_info *t;

    (void)state;
    assert_int_equal(open_header(&s,
                                 "{\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                                 "\"five\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,2],\"data_offsets\":[20,22]},"
                                 "\"odd\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[22,25]}," A8
                                 "}",
                                 0, 25, NULL),
                     0);
    assert_int_equal(hone_safetensors_n_tensors(s), 4);
    assert_string_equal(hone_safetensors_tensor(s, 0)->name, "a"); /* in order of offsets */
    t = hone_safetensors_find(s, "b");
    assert_ptr_equal(t, hone_safetensors_tensor(s, 1));
    assert_int_equal(t->dtype, HONE_BF16);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->size, 12);
    assert_int_equal(*(const uint8_t *)t->data, 8);
    t = hone_safetensors_find(s, "odd"); /* listed, not readable */
    assert_int_equal(t->dtype, HONE_DTYPE_COUNT);
    assert_string_equal(t->type, "F8_E4M3");
    assert_int_equal(hone_safetensors_find(s, "five")->dtype, HONE_DTYPE_COUNT);
    assert_null(hone_safetensors_find(s, "c"));
    hone_safetensors_close(s);
}

static void every_truncation_is_an_error(void **state)
{
    char *bytes;
    size_t size, n;

    (void)state;
    assert_int_equal(
        hone_file_read(&bytes, &size, GOLDEN "llama3/model-00001-of-00004.safetensors", 1 << 20, NULL), 0);
    for (n = 0; n < size; n += n < 1200 ? 1 : 997) {
        hone_error err = HONE_ERROR_INIT;
        hone_safetensors *s;

        write_bytes(file, bytes, n);
        assert_int_equal(hone_safetensors_open(&s, file, &err), HONE_EFORMAT);
        assert_non_null(strstr(err.message, file));
        assert_null(s);
    }
    hone_free(bytes);
}

static volatile uint8_t sink; /* a read that the compiler may not leave out */

static void flipped_bits_never_crash(void **state)
{
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"}," A8
                                 ",\"b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[8,20]}}";
    uint64_t n = sizeof header - 1;
    char image[8 + sizeof header + 20] = {0};
    hone_rng r = hone_rng_make(12, 0);
    int i, flips, opened = 0;

    (void)state;
    for (i = 0; i < 10000; i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_safetensors *s;
        size_t j;

        memcpy(image, &n, 8);
        memcpy(image + 8, header, n);
        for (flips = 1 + (int)hone_rng_below(&r, 3); flips > 0; flips--)
            image[hone_rng_below(&r, (uint32_t)(8 + n))] ^= (char)(1 << hone_rng_below(&r, 8));
        write_bytes(file, image, 8 + n + 20);
        if (hone_safetensors_open(&s, file, &err)) {
            assert_true(err.message[0]);
            continue;
        }
        opened++;
        for (j = 0; j < hone_safetensors_n_tensors(s); j++) {
            const hone_tensor_info *t = hone_safetensors_tensor(s, j);

            if (t->size)
                sink = *(const uint8_t *)t->data + ((const uint8_t *)t->data)[t->size - 1];
        }
        hone_safetensors_close(s);
    }
    assert_in_range(opened, 1, 9999);
}

/* Depth and size are bounded: a header of brackets ends in an error, not in the stack's end. */
static void deep_json_is_an_error(void **state)
{
    char *header = malloc(200001);
    hone_safetensors *s;

    (void)state;
    memset(header, '[', 200000);
    header[200000] = 0;
    assert_int_equal(open_header(&s, header, 0, 0, NULL), HONE_EFORMAT);
    free(header);
}

/* ---- shards ------------------------------------------------------------------------------------------------------- */

static void put(const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    write_bytes(path, text, strlen(text));
}

static void put_shard(const char *name, const char *tensor)
{
    float x = 1;
    hone_tensor_info t = {
        .name = tensor, .dtype = HONE_F32, .n_dims = 1, .shape = {1}, .data = &x, .size = 4};
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(hone_safetensors_write(path, &t, 1, NULL), 0);
}

static void drop(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    unlink(path);
}

static void shards_and_their_index(void **state)
{
    static const struct {
        const char *index, *word;
        int code;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"},\"metadata\":{}}", "", 0},
        {"{\"weight_map\":{\"a\":\"one.safetensors\"}}", "", 0},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"three.safetensors\"}}", "three.safetensors",
         HONE_ENOENT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"one.safetensors\"}}", "tensor c", HONE_EFORMAT},
        {"{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}", "tensor a", HONE_EFORMAT},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a2\":\"again.safetensors\"}}", "also in",
         HONE_EFORMAT},
        {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "beside the index", HONE_EFORMAT},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "beside the index", HONE_EFORMAT},
        {"{\"weight_map\":{\"a\":1}}", "beside the index", HONE_EFORMAT},
        {"{\"weight_map\":{\"a\":\"bad.safetensors\"}}", "bad.safetensors", HONE_EFORMAT},
        {"{\"weight_map\":[]}", "weight_map", HONE_EFORMAT},
        {"{}", "weight_map", HONE_EFORMAT},
        {"{\"weight_map\":", "index.json: line 1", HONE_EFORMAT},
    };
    size_t i;

    (void)state;
    put_shard("one.safetensors", "a");
    put_shard("two.safetensors", "b");
    put_shard("again.safetensors", "a");
    put("bad.safetensors", "bad");
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_safetensors *s = NULL;

        put("model.safetensors.index.json", cases[i].index);
        if (hone_safetensors_open(&s, folder, &err) != cases[i].code)
            fail_msg("case %zu gave %s: %s", i, hone_error_name(err.code), err.message);
        if (!strstr(err.message, cases[i].word))
            fail_msg("case %zu: \"%s\" does not hold %s", i, err.message, cases[i].word);
        if (i == 0)
            assert_non_null(strstr(hone_safetensors_find(s, "b")->file, "two.safetensors"));
        hone_safetensors_close(s);
    }
    drop("one.safetensors");
    drop("two.safetensors");
    drop("again.safetensors");
    drop("bad.safetensors");
    drop("model.safetensors.index.json");
    assert_int_equal(hone_safetensors_open(&(hone_safetensors *){NULL}, folder, NULL), HONE_ENOENT);
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

/* The layout of the reference writer, byte for byte: metadata first, the largest alignment first, then names, padding. */
static void written_files_have_the_reference_layout(void **state)
{
    static const char wanted[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"i\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[16,20]},"
        "\"h\\\"\xc3\xa9\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[20,22]},"
        "\"z\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[22,22]}}";
    const float a[] = {1, 2}, b[] = {3};
    const int64_t i = 4;
    const uint16_t h = 0x3c00;
    const hone_tensor_info tensors[] = {
        {.name = "z", .dtype = HONE_F16, .n_dims = 1, .shape = {0}, .data = NULL, .size = 0},
        {.name = "b", .dtype = HONE_F32, .n_dims = 2, .shape = {1, 1}, .data = b, .size = 4},
        {.name = "h\"\xc3\xa9", .dtype = HONE_F16, .n_dims = 1, .shape = {1}, .data = &h, .size = 2},
        {.name = "a", .dtype = HONE_F32, .n_dims = 1, .shape = {2}, .data = a, .size = 8},
        {.name = "i", .dtype = HONE_I64, .n_dims = 0, .data = &i, .size = 8},
    };
    hone_safetensors *s;
    uint64_t length;
    char *bytes;
    size_t size, n = sizeof wanted - 1;

    (void)state;
    assert_int_equal(hone_safetensors_write(file, tensors, 5, NULL), 0);
    assert_int_equal(hone_file_read(&bytes, &size, file, 1 << 16, NULL), 0);
    memcpy(&length, bytes, 8);
    assert_int_equal(length, (n + 7) / 8 * 8);
    assert_memory_equal(bytes + 8, wanted, n);
    while (n < length)
        assert_int_equal(bytes[8 + n++], ' ');
    assert_int_equal(size, 8 + length + 22);
    assert_memory_equal(bytes + 8 + length, &i, 8);
    assert_memory_equal(bytes + 8 + length + 8, a, 8);
    hone_free(bytes);
    assert_int_equal(hone_safetensors_open(&s, file, NULL), 0);
    assert_int_equal(hone_safetensors_n_tensors(s), 5);
    hone_safetensors_close(s);
}

/* What transformers wrote, read and written again, is the same file. */
static void a_copy_is_identical(void **state)
{
    hone_safetensors *s;
    hone_tensor_info t[64];
    char *before, *after;
    size_t n, i, m;

    (void)state;
    assert_int_equal(hone_safetensors_open(&s, GOLDEN "qwen2/model.safetensors", NULL), 0);
    n = hone_safetensors_n_tensors(s);
    for (i = 0; i < n; i++)
        t[n - 1 - i] = *hone_safetensors_tensor(s, i);
    assert_int_equal(hone_safetensors_write(file, t, n, NULL), 0);
    hone_safetensors_close(s);
    assert_int_equal(hone_file_read(&before, &n, GOLDEN "qwen2/model.safetensors", 1 << 20, NULL), 0);
    assert_int_equal(hone_file_read(&after, &m, file, 1 << 20, NULL), 0);
    assert_int_equal(n, m);
    assert_memory_equal(before, after, n);
    hone_free(before);
    hone_free(after);
}

static void what_can_not_be_written(void **state)
{
    float x[2] = {0};
    hone_tensor_info t[2] = {
        {.name = "q", .dtype = HONE_Q8_0, .n_dims = 1, .shape = {32}, .data = x, .size = 34},
        {.name = "q", .dtype = HONE_F32, .n_dims = 1, .shape = {1}, .data = x, .size = 4}};
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    unlink(file);
    assert_int_equal(hone_safetensors_write(file, t, 1, &err), HONE_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "Q8_0"));
    t[0].dtype = HONE_F16;
    assert_int_equal(hone_safetensors_write(file, t, 1, NULL), HONE_ESHAPE);
    t[0].shape[0] = 2;
    t[0].size = 4;
    assert_int_equal(hone_safetensors_write(file, t, 2, NULL), HONE_EINVAL); /* one name twice */
    assert_false(hone_path_exists(file));
    assert_int_equal(hone_safetensors_write("/nowhere/x.safetensors", t, 1, NULL), HONE_ENOENT);
}

/* A disk that fills up leaves the old file and nothing else. */
static void a_full_disk_leaves_the_old_file(void **state)
{
    static float big[40000];
    const hone_tensor_info t = {
        .name = "t", .dtype = HONE_F32, .n_dims = 1, .shape = {40000}, .data = big, .size = sizeof big};
    struct rlimit old, small;
    hone_error err = HONE_ERROR_INIT;
    char *bytes, temporary[128];
    size_t n;
    int rc;

    (void)state;
    assert_int_equal(hone_file_write(file, "old", 3, NULL), 0);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    rc = hone_safetensors_write(file, &t, 1, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, HONE_EIO);
    assert_non_null(strstr(err.message, file));
    assert_int_equal(hone_file_read(&bytes, &n, file, 100, NULL), 0);
    assert_string_equal(bytes, "old");
    hone_free(bytes);
    snprintf(temporary, sizeof temporary, "%s.tmp.%ld", file, (long)getpid());
    assert_false(hone_path_exists(temporary));
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
    float x[2] = {0};
    const hone_tensor_info t = {
        .name = "t", .dtype = HONE_F32, .n_dims = 1, .shape = {2}, .data = x, .size = 8};
    long n;
    int jansson, rc;

    (void)state;
    for (jansson = 0; jansson < 2; jansson++) {
        if (jansson)
            json_set_alloc_funcs(hone_alloc, hone_free);
        for (n = 0, rc = 1; rc; n++) {
            hone_error err = HONE_ERROR_INIT;
            hone_safetensors *s;

            left = n;
            hone_mem_hook(fail_later, NULL);
            rc = hone_safetensors_open(&s, GOLDEN "llama3", &err);
            hone_mem_hook(NULL, NULL);
            if (rc && !jansson) /* jansson takes some failures for syntax errors */
                assert_int_equal(rc, HONE_ENOMEM);
            hone_safetensors_close(s);
        }
        assert_true(n > 10);
        for (n = 0, rc = 1; rc; n++) {
            left = n;
            unlink(file);
            hone_mem_hook(fail_later, NULL);
            rc = hone_safetensors_write(file, &t, 1, NULL);
            hone_mem_hook(NULL, NULL);
            assert_int_equal(hone_path_exists(file), rc == 0);
        }
        assert_true(n > 3);
    }
    json_set_alloc_funcs(malloc, free);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(file, sizeof file, "%s/x.safetensors", folder);
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
        cmocka_unit_test(headers_are_checked_like_the_reference),
        cmocka_unit_test(tensors_are_found),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(flipped_bits_never_crash),
        cmocka_unit_test(deep_json_is_an_error),
        cmocka_unit_test(shards_and_their_index),
        cmocka_unit_test(written_files_have_the_reference_layout),
        cmocka_unit_test(a_copy_is_identical),
        cmocka_unit_test(what_can_not_be_written),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
