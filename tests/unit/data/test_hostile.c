/* Files that were made to do harm: rows that would take far more memory than they have bytes, packed files that unpack
 * to gigabytes, bytes that are no text; and every allocation of every reader failing once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "data/data.h"

#define GOLDEN HONE_TEST_DIR "/golden/parquet/"

static char path[400];

static void put(const char *ending, const void *bytes, size_t n)
{
    hone_error err = HONE_ERROR_INIT;

    snprintf(path, sizeof path, "test_hostile%s", ending);
    if (hone_file_write(path, bytes, n, &err))
        fail_msg("%s", err.message);
}

static int read_file(const char *file, size_t *n, hone_error *err)
{
    const char *paths[] = {file};
    hone_rows *r;
    hone_row row;
    int rc = hone_rows_open(&r, paths, 1, NULL, err);

    *n = 0;
    if (rc)
        return rc;
    while ((rc = hone_rows_next(r, &row, err)) == 1)
        ++*n;
    hone_rows_close(r);
    return rc;
}

static void assert_refused(const char *ending, const void *bytes, size_t n, int code, const char *reason)
{
    hone_error err = HONE_ERROR_INIT;
    size_t rows;
    int rc;

    put(ending, bytes, n);
    rc = read_file(path, &rows, &err);
    if (rc != code || !strstr(err.message, path) || !strstr(err.message, reason))
        fail_msg("%s: %d %s\n  not %d %s", ending, rc, err.message, code, reason);
    unlink(path);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

static size_t most; /* bytes held at a time, beside those of the test */

static bool watch(void *ud, size_t size)
{
    size_t used = hone_mem_used() + size - *(size_t *)ud;

    most = used > most ? used : most;
    return true;
}

/* Two million empty objects in six megabytes are refused before they take half a gigabyte. */
static void rows_of_countless_values(void **state)
{
    static const char *const value[] = {"{}", "[]", "\"\"", "1"};
    static const char *const head[] = {"{\"text\":\"a\",\"x\":[{}", "{\"text\":\"a\",\"tools\":\"[{}"};
    static const char *const tail[] = {"]}\n", "]\"}\n"};
    hone_buf row = {0};
    size_t i, k, before;

    (void)state;
    json_set_alloc_funcs(hone_alloc, hone_free);
    for (k = 0; k < HONE_COUNT(value); k++) {
        row.len = 0;
        hone_buf_puts(&row, head[0]);
        for (i = 0; i < 2000000; i++)
            hone_buf_printf(&row, ",%s", value[k]);
        hone_buf_puts(&row, tail[0]);
        before = hone_mem_used();
        most = 0;
        hone_mem_hook(watch, &before);
        assert_refused(".jsonl", row.data, row.len, HONE_ELIMIT, ":1: broken JSON: more than 1048576 values");
        hone_mem_hook(NULL, NULL);
        assert_true(most < 8 * row.len);
    }
    row.len = 0;
    hone_buf_puts(&row, "{\"prompt\":\"a\",\"completion\":\"b\",\"tools\":\"[{}");
    for (i = 0; i < 2000000; i++)
        hone_buf_puts(&row, ",{}");
    hone_buf_puts(&row, "]\"}\n");
    assert_refused(".jsonl", row.data, row.len, HONE_ELIMIT,
                   ":1: field `tools`: expected JSON in this text: more than 1048576 values");
    /* commas in texts are no values */
    row.len = 0;
    hone_buf_puts(&row, "{\"prompt\":\"a\",\"completion\":\"\\\\\\\"");
    for (i = 0; i < 2000000; i++)
        hone_buf_puts(&row, ",");
    hone_buf_puts(&row, "\"}\n");
    put(".jsonl", row.data, row.len);
    {
        hone_error err = HONE_ERROR_INIT;

        if (read_file(path, &i, &err))
            fail_msg("%s", err.message);
        assert_int_equal(i, 1);
    }
    unlink(path);
    hone_buf_clear(&row);
    json_set_alloc_funcs(malloc, free);
}

/* A gigabyte of one line in a megabyte of gzip, and in less of zstd, ends at the limit of a row. */
static void packed_bombs(void **state)
{
    size_t piece = (size_t)1 << 20, room = (size_t)4 << 20, n, i, before;
    uint8_t *zeros = hone_alloc(piece), *packed = hone_alloc(room);
    z_stream z = {0};
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_outBuffer to = {packed, room, 0};

    (void)state;
    assert_true(zeros && packed && c);
    memset(zeros, 'x', piece);
    assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = packed;
    z.avail_out = (unsigned)room;
    for (i = 0; i < 128; i++) {
        z.next_in = zeros;
        z.avail_in = (unsigned)piece;
        assert_int_equal(deflate(&z, i == 127 ? Z_FINISH : Z_NO_FLUSH), i == 127 ? Z_STREAM_END : Z_OK);
    }
    n = room - z.avail_out;
    deflateEnd(&z);
    before = hone_mem_used();
    most = 0;
    hone_mem_hook(watch, &before);
    assert_refused(".txt.gz", packed, n, HONE_ELIMIT, ":1: this row is longer than 64 MiB");
    assert_refused(".jsonl.gz", packed, n, HONE_ELIMIT, ":1: this row is longer than 64 MiB");
    for (i = 0; i < 1024; i++) {
        ZSTD_inBuffer from = {zeros, piece, 0};

        while (from.pos < from.size)
            assert_false(ZSTD_isError(ZSTD_compressStream2(c, &to, &from, ZSTD_e_continue)));
    }
    {
        ZSTD_inBuffer none = {NULL, 0, 0};

        assert_int_equal(ZSTD_compressStream2(c, &to, &none, ZSTD_e_end), 0);
    }
    assert_refused(".csv.zst", packed, to.pos, HONE_ELIMIT, ":1: this row is longer than 64 MiB");
    hone_mem_hook(NULL, NULL);
    assert_true(most < 4 * ROW_LIMIT);
    ZSTD_freeCCtx(c);
    hone_free(zeros);
    hone_free(packed);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------- */

static void bytes_that_are_no_text(void **state)
{
    static const struct {
        const char *ending, *bytes;
        size_t n;
        const char *reason;
    } bad[] = {
        {".csv", "question,answer\nq,a\0b\n", 22, ":2: broken text: a text with a NUL character"},
        {".csv", "question,answer\nq,\xff\xfe\n", 21, ":2: broken text: bytes that are no UTF-8"},
        {".csv", "quest\xffion,answer\nq,a\n", 21, ":2: broken text: bytes that are no UTF-8"},
        {".txt", "good\n\nbad \xc0\x80\n", 13, ":3: broken text: bytes that are no UTF-8"},
        {".txt", "a\0b\n", 4, ":1: broken text: a text with a NUL character"},
        {".jsonl", "{\"text\":\"a\\u0000b\"}\n", 20, ":1: broken JSON: a text with a NUL character"},
        {".jsonl", "{\"a\\u0000b\":1}\n", 15, ":1: broken JSON: a text with a NUL character"},
        {".jsonl", "{\"text\":\"a\0b\"}\n", 15, ":1: broken JSON: control character 0x0"},
        {".jsonl", "{\"text\":\"\\ud800\"}\n", 18, ":1: broken JSON: invalid Unicode"},
        {".jsonl", "{\"text\":\"\xed\xa0\x80\"}\n", 14, ":1: broken JSON: bytes that are no UTF-8"},
        {".jsonl", "\0\0\0\0\n", 5, ":1: broken JSON: "},
        {".json", "\0\0\0\0", 4, ":1: broken JSON: "},
        {".jsonl", "{\"text\":\"a\",\"n\":99999999999999999999}\n", 38, ":1: broken JSON: too big integer"},
        {".jsonl", "{\"text\":\"a\",\"n\":-1e400}\n", 24, ":1: broken JSON: real number overflow"},
        {".jsonl", "{\"text\":\"a\",\"n\":NaN}\n", 21, ":1: broken JSON: invalid token"},
        {".jsonl.gz", "\x1f\x8b\x08\0\0", 5, "byte 5: the gzip data is damaged: it ends too early"},
        {".jsonl.zst", "\x28\xb5\x2f\xfd\x04", 5, "byte 5: the zstd data is damaged: it ends too early"},
        {".parquet", "PAR1\xff\xff\xff\x7fPAR1", 12, ": "},
        {".parquet", "PAR1", 4, ": "},
        {".parquet", "", 0, ": "},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(bad); i++)
        assert_refused(bad[i].ending, bad[i].bytes, bad[i].n, HONE_EFORMAT, bad[i].reason);
}

/* ---- allocations --------------------------------------------------------------------------------------------------- */

static bool countdown(void *ud, size_t size)
{
    int *left = ud;

    (void)size;
    return (*left)-- > 0;
}

/* Reads the file with the first, second, ... allocation failing, until one reading needs no more: every failure is an
 * error and frees all. What jansson can not allocate it may call a syntax error, so the code is only checked to be one. */
static void sweep(const char *file, size_t rows)
{
    size_t before = hone_mem_used(), got;
    int n, left, rc = -1;

    for (n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = read_file(file, &got, &err);
        hone_mem_hook(NULL, NULL);
        assert_true(rc <= 0 && rc == err.code && n < 20000);
        assert_int_equal(hone_mem_used(), before);
    }
    assert_int_equal(got, rows);
    assert_true(n > 20);
}

static size_t gzip(uint8_t *out, size_t size, const char *text)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (uint8_t *)text;
    z.avail_in = (unsigned)strlen(text);
    z.next_out = out;
    z.avail_out = (unsigned)size;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return size - z.avail_out;
}

static void every_allocation_may_fail(void **state)
{
    static const char table[] =
        "question,answer,history,weight\r\n\"q \"\"x\"\"\",a,\"[[\"\"b\"\",\"\"c\"\"]]\",2\r\nq,b,,\r\n";
    static const char *const parquet[] = {"chat",      "chat_none",  "chat_gzip",
                                          "chat_zstd", "chat_pages", "chat_fallback"};
    uint8_t packed[2000];
    size_t i, n;

    (void)state;
    json_set_alloc_funcs(hone_alloc, hone_free);
    put(".csv", table, sizeof table - 1);
    sweep(path, 2);
    unlink(path);
    put(".txt", "a\nb\n\nc\n", 7);
    sweep(path, 2);
    unlink(path);
    n = gzip(packed, sizeof packed, table);
    put(".csv.gz", packed, n);
    sweep(path, 2);
    unlink(path);
    n = ZSTD_compress(packed, sizeof packed, "{\"text\":\"a\"}\n", 13, 3);
    put(".jsonl.zst", packed, n);
    sweep(path, 1);
    unlink(path);
    for (i = 0; i < HONE_COUNT(parquet); i++) {
        hone_error err = HONE_ERROR_INIT;

        snprintf(path, sizeof path, GOLDEN "%s.parquet", parquet[i]);
        assert_int_equal(read_file(path, &n, &err), 0);
        sweep(path, n);
    }
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_countless_values),
        cmocka_unit_test(packed_bombs),
        cmocka_unit_test(bytes_that_are_no_text),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
