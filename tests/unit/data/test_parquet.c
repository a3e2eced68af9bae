/* The parquet reader: files of pyarrow and `datasets` row by row against what Python read from them, what is refused by
 * name, and files whose every byte may lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/data.h"

#define GOLDEN HONE_TEST_DIR "/golden/parquet/"

/* Equal, where a whole number may stand as an integer or a real one. */
static bool same(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *v;
    size_t i;

    if (json_is_number(a) && json_is_number(b))
        return json_is_integer(a) && json_is_integer(b) ? json_integer_value(a) == json_integer_value(b)
                                                        : json_number_value(a) == json_number_value(b);
    if (json_is_object(a) && json_is_object(b) && json_object_size(a) == json_object_size(b)) {
        json_object_foreach((json_t *)a, key, v) if (!same(v, json_object_get(b, key))) return false;
        return true;
    }
    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b)) {
        for (i = 0; i < json_array_size(a); i++)
            if (!same(json_array_get(a, i), json_array_get(b, i)))
                return false;
        return true;
    }
    return a && b && json_equal(a, b);
}

static void assert_golden(const char *name)
{
    char parquet[400], lines[400];
    hone_error err = HONE_ERROR_INIT;
    row_source a, b;
    size_t n = 0;
    int more;

    snprintf(parquet, sizeof parquet, GOLDEN "%s.parquet", name);
    snprintf(lines, sizeof lines, GOLDEN "%s.jsonl", name);
    if (row_source_open(&a, parquet, HONE_TEXT_LINE, &err) ||
        row_source_open(&b, lines, HONE_TEXT_LINE, &err))
        fail_msg("%s", err.message);
    while ((more = row_source_next(&a, &err)) == 1) {
        json_t *x, *y;

        assert_int_equal(row_source_next(&b, &err), 1);
        x = json_loadb(a.row.data, a.row.len, JSON_REJECT_DUPLICATES, NULL);
        y = json_loadb(b.row.data, b.row.len, 0, NULL);
        if (!same(x, y))
            fail_msg("%s, row %zu:\n  %.*s\nis not\n  %.*s", name, n, (int)a.row.len, a.row.data,
                     (int)b.row.len, b.row.data);
        n++;
        assert_true(a.row_line == n);
        json_decref(x);
        json_decref(y);
    }
    if (more < 0)
        fail_msg("%s", err.message);
    assert_int_equal(row_source_next(&b, &err), 0);
    assert_true(n > 0);
    row_source_close(&a);
    row_source_close(&b);
}

static void files_of_pyarrow_and_datasets(void **state)
{
    static const char *const name[] = {"plain",       "chat",          "nested",    "types",
                                       "empty_lists", "chat_none",     "chat_gzip", "chat_zstd",
                                       "plain_v2",    "nested_v2",     "types_v2",  "chat_pages",
                                       "plain_pages", "chat_fallback", "datasets"};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(name); i++)
        assert_golden(name[i]);
}

/* Reads a whole file; the error in err. */
static int read_all(const char *path, size_t *n, hone_error *err)
{
    row_source s;
    int rc = row_source_open(&s, path, HONE_TEXT_LINE, err);

    *n = 0;
    if (rc)
        return rc;
    while ((rc = row_source_next(&s, err)) == 1)
        ++*n;
    row_source_close(&s);
    return rc;
}

static void unsupported_files_are_refused_by_name(void **state)
{
    static const struct {
        const char *file, *reason;
    } cases[] = {{"refused_delta", "encoding DELTA_BYTE_ARRAY is not supported"},
                 {"refused_lz4", "packed with LZ4_RAW are not supported"},
                 {"refused_brotli", "packed with BROTLI are not supported"},
                 {"refused_int96", "column `t`: type INT96 is not supported"}};
    char path[400];
    size_t i, n;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error err = HONE_ERROR_INIT;

        snprintf(path, sizeof path, GOLDEN "%s.parquet", cases[i].file);
        assert_int_equal(read_all(path, &n, &err), HONE_EUNSUPPORTED);
        if (!strstr(err.message, path) || !strstr(err.message, cases[i].reason))
            fail_msg("%s", err.message);
    }
}

#define HOSTILE "test_parquet_hostile.parquet"

static int read_bytes(const char *data, size_t n, size_t *rows, hone_error *err)
{
    assert_int_equal(hone_file_write(HOSTILE, data, n, err), 0);
    return read_all(HOSTILE, rows, err);
}

/* Cut at every length, and with every byte changed in several ways: an error that names the file, or rows. */
static void lying_files_do_no_harm(void **state)
{
    static const char *const name[] = {"nested.parquet", "chat_zstd.parquet", "empty_lists.parquet",
                                       "types_v2.parquet"};
    static const uint8_t twist[] = {0x01, 0x80, 0xff, 0x7f};
    size_t f, i, k, n, len, rows;

    (void)state;
    for (f = 0; f < HONE_COUNT(name); f++) {
        char path[400], *data;
        hone_error err = HONE_ERROR_INIT;
        size_t errors = 0;

        snprintf(path, sizeof path, GOLDEN "%s", name[f]);
        assert_int_equal(hone_file_read(&data, &len, path, 1 << 20, &err), 0);
        for (n = 0; n < len; n += 1 + n / 64) {
            err = (hone_error)HONE_ERROR_INIT;
            assert_true(read_bytes(data, n, &rows, &err) < 0);
            assert_non_null(strstr(err.message, HOSTILE));
        }
        for (i = 4; i < len; i++)
            for (k = 0; k < HONE_COUNT(twist); k += 1 + (i % 3 > 0)) {
                int rc;

                err = (hone_error)HONE_ERROR_INIT;
                data[i] = (char)(data[i] ^ twist[k]);
                rc = read_bytes(data, len, &rows, &err);
                data[i] = (char)(data[i] ^ twist[k]);
                assert_true(rc <= 0 && rc == err.code && (!rc || strstr(err.message, HOSTILE)));
                errors += rc < 0;
            }
        assert_true(errors > len / 2);
        hone_free(data);
    }
    unlink(HOSTILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(files_of_pyarrow_and_datasets),
                                       cmocka_unit_test(unsupported_files_are_refused_by_name),
                                       cmocka_unit_test(lying_files_do_no_harm)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
