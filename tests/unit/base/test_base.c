/* Errors, buffers, UTF-8, Philox and atomic files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/base.h"

static void first_error_wins(void **state)
{
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    assert_int_equal(hone_error_set(&err, HONE_EFORMAT, "line %d", 3), HONE_EFORMAT);
    assert_int_equal(hone_error_set(&err, HONE_EIO, "later"), HONE_EIO);
    assert_int_equal(err.code, HONE_EFORMAT);
    assert_string_equal(err.message, "line 3");
    assert_string_equal(hone_error_name(HONE_EINTERNAL), "EINTERNAL");
}

static void a_message_is_one_line_of_utf8(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    char long_text[2000];
    size_t i;

    (void)state;
    hone_error_set(&err, HONE_EFORMAT, "a%s|", "\n\x1b[31m\x7f\xc2\x9b\xe4\xb8\xad\xe4\xb8");
    assert_string_equal(err.message, "a  [31m   \xe4\xb8\xad??|");
    for (i = 0; i + 3 < sizeof long_text; i += 3)
        memcpy(long_text + i, "\xe4\xb8\xad", 4);
    err = (hone_error)HONE_ERROR_INIT;
    hone_error_set(&err, HONE_EFORMAT, "xy%s", long_text); /* cut after the first byte of a character */
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_string_equal(err.message + sizeof err.message - 6, "\xad\xe4\xb8\xad?");
}

/* Known-answer vectors published with the Random123 library for philox4x32, 10 rounds. */
static void philox_known_answers(void **state)
{
    uint32_t w[4];

    (void)state;
    hone_philox(w, 0, 0, 0);
    assert_int_equal(w[0], 0x6627e8d5);
    assert_int_equal(w[1], 0xe169c58d);
    assert_int_equal(w[2], 0xbc57ac4c);
    assert_int_equal(w[3], 0x9b00dbd8);
    hone_philox(w, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    assert_int_equal(w[0], 0x408f276d);
    assert_int_equal(w[1], 0x41c83b0e);
    assert_int_equal(w[2], 0xa20bc7c6);
    assert_int_equal(w[3], 0x6d5451fd);
}

static void utf8_round_trip_and_ill_formed(void **state)
{
    static const char *const bad[] = {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe4\xb8"};
    static const size_t subpart[] = {1, 1, 1, 1, 2};
    char out[4];
    int32_t cp, back;
    size_t i;

    (void)state;
    for (cp = 0; cp <= 0x10ffff; cp++) {
        if (cp >= 0xd800 && cp <= 0xdfff)
            continue;
        assert_int_equal(hone_utf8_get(out, hone_utf8_put(out, cp), &back), hone_utf8_put(out, cp));
        assert_int_equal(back, cp);
    }
    for (i = 0; i < HONE_COUNT(bad); i++) {
        assert_int_equal(hone_utf8_get(bad[i], strlen(bad[i]), &cp), subpart[i]);
        assert_int_equal(cp, -1);
    }
}

static void buffer_limit_sticks(void **state)
{
    hone_buf b = {.limit = 8};

    (void)state;
    hone_buf_puts(&b, "1234");
    hone_buf_printf(&b, "%s", "567");
    assert_false(b.failed);
    assert_string_equal(b.data, "1234567");
    hone_buf_putc(&b, '8');
    assert_true(b.failed);
    assert_null(hone_buf_take(&b));
}

static void atomic_write_keeps_old_on_abort(void **state)
{
    char dir[] = "base_test_XXXXXX";
    hone_error err = HONE_ERROR_INIT;
    hone_writer *w;
    char *path, *text;
    size_t len;

    (void)state;
    assert_non_null(mkdtemp(dir));
    path = hone_path_join(dir, "f");
    assert_int_equal(hone_file_write(path, "old", 3, &err), 0);
    assert_int_equal(hone_writer_open(&w, path, &err), 0);
    assert_int_equal(hone_writer_write(w, "new!", 4, &err), 0);
    hone_writer_abort(w);
    assert_int_equal(hone_file_read(&text, &len, path, 100, &err), 0);
    assert_int_equal(len, 3);
    assert_string_equal(text, "old");
    hone_free(text);
    assert_int_equal(hone_file_read(&text, &len, path, 2, &err), HONE_ELIMIT);
    unlink(path);
    assert_int_equal(rmdir(dir), 0); /* nothing half-written is left */
    hone_free(path);
}

/* A disk that fills up while writing, by way of a file size limit: one error, the old file intact, no remains. */
static void failed_write_keeps_the_old_file(void **state)
{
    char dir[] = "base_test_XXXXXX";
    struct rlimit before, small = {4096, 0};
    hone_error err = HONE_ERROR_INIT;
    static char block[1 << 16];
    char *path, *text;
    size_t len;

    (void)state;
    assert_non_null(mkdtemp(dir));
    path = hone_path_join(dir, "f");
    assert_int_equal(hone_file_write(path, "old", 3, &err), 0);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(hone_file_write(path, block, sizeof block, &err), HONE_EIO);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(hone_file_read(&text, &len, path, 100, NULL), 0);
    assert_string_equal(text, "old");
    hone_free(text);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
    hone_free(path);
}

static int entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

/* Memory in a file: zeroed, keeps what was written when its pages are let go, has no name, and is refused before the first
 * byte when the disk is too small for all of it. */
static void a_spill_keeps_what_was_let_go(void **state)
{
    char dir[] = "spill_test_XXXXXX", deep[64];
    hone_error err = HONE_ERROR_INIT;
    const size_t size = 5 << 20;
    struct statvfs disk;
    hone_spill s;
    uint64_t before;
    size_t i;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(deep, sizeof deep, "%s/not/there/yet", dir);
    assert_int_equal(hone_spill_open(&s, deep, "the test", size, &err), 0);
    assert_int_equal(s.size, size);
    assert_int_equal(entries(dir), 0);
    for (i = 0; i < size; i += 4096)
        assert_int_equal(s.data[i], 0);
    hone_pages_fetch(s.data, size);
    for (i = 0; i < size; i++)
        s.data[i] = (char)(i * 31 >> 3);
    before = hone_rss();
    hone_pages_release(s.data + 1, size - 1);
    assert_true(hone_rss() + size - (1 << 20) < before);
    for (i = 0; i < size; i++)
        if (s.data[i] != (char)(i * 31 >> 3))
            fail_msg("byte %zu was lost", i);
    hone_spill_close(&s);
    assert_null(s.data);
    hone_spill_close(&s);

    assert_int_equal(statvfs(dir, &disk), 0);
    assert_int_equal(
        hone_spill_open(&s, dir, "the test", (size_t)disk.f_bavail * disk.f_frsize + ((size_t)1 << 30), &err),
        HONE_EIO);
    assert_non_null(strstr(err.message, dir));
    assert_non_null(strstr(err.message, "no room for the test: "));
    assert_null(s.data);
    assert_int_equal(entries(dir), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void memory_is_accounted(void **state)
{
    size_t before = hone_mem_used();
    char *p = hone_alloc(1000), *q = hone_strdup("abc");

    (void)state;
    assert_true(hone_mem_used() >= before + 1004);
    p = hone_realloc(p, 100000);
    assert_true(hone_mem_used() >= before + 100004);
    hone_free(p);
    hone_free(q);
    assert_int_equal(hone_mem_used(), before);
}

static void below_is_uniform_enough(void **state)
{
    hone_rng r = hone_rng_make(1, 2);
    int count[3] = {0}, i;

    (void)state;
    for (i = 0; i < 30000; i++)
        count[hone_rng_below(&r, 3)]++;
    for (i = 0; i < 3; i++)
        assert_in_range(count[i], 9700, 10300);
}

/* Answers of the xxhash package of Python (3.x, xxh64), whole and in pieces of every size. */
static void xxh64_known_answers(void **state)
{
    uint8_t bytes[772];
    size_t i, piece;

    (void)state;
    for (i = 0; i < 768; i++)
        bytes[i] = (uint8_t)i;
    memcpy(bytes + 768, "tail", 4);
    assert_true(hone_xxh64_of(0, "", 0) == UINT64_C(0xef46db3751d8e999));
    assert_true(hone_xxh64_of(0, "a", 1) == UINT64_C(0xd24ec4f1a98c6e5b));
    assert_true(hone_xxh64_of(0, "abc", 3) == UINT64_C(0x44bc2cf5ad770999));
    assert_true(hone_xxh64_of(1, bytes, 39) == UINT64_C(0xc628b5965efab20d));
    for (piece = 1; piece <= sizeof bytes; piece++) {
        hone_xxh64 h = hone_xxh64_begin(12345);

        for (i = 0; i < sizeof bytes; i += piece)
            hone_xxh64_add(&h, bytes + i, HONE_MIN(piece, sizeof bytes - i));
        assert_true(hone_xxh64_end(&h) == UINT64_C(0x48f704e331b71981));
    }
}

/* FIPS 180-4's examples, and lengths around the border of a block (hashlib). */
static void sha256_known_answers(void **state)
{
    static const struct {
        size_t n; /* of the letter a; 0: the text */
        const char *text, *hash;
    } known[] = {
        {0, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {0, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {0, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {55, NULL, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, NULL, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {63, NULL, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, NULL, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {65, NULL, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
        {119, NULL, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb"},
        {120, NULL, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c"},
        {1000000, NULL, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    char *a = hone_alloc(1000000), out[65];
    size_t i;

    (void)state;
    memset(a, 'a', 1000000);
    for (i = 0; i < HONE_COUNT(known); i++) {
        hone_sha256(out, known[i].text ? known[i].text : a,
                    known[i].text ? strlen(known[i].text) : known[i].n);
        assert_string_equal(out, known[i].hash);
    }
    hone_free(a);
}

static void a_growing_array_keeps_what_it_holds(void **state)
{
    size_t capacity = 0, n;
    uint32_t *a = NULL, *before;

    (void)state;
    for (n = 0; n < 1000; n++) {
        a = hone_grow(a, &capacity, n + 1, sizeof *a);
        assert_true(n < capacity);
        a[n] = (uint32_t)n;
    }
    for (n = 0; n < 1000; n++)
        assert_int_equal(a[n], n);
    before = a;
    n = capacity;
    a = hone_grow(a, &capacity, SIZE_MAX / 2, sizeof *a); /* the product of bytes would wrap round */
    assert_ptr_equal(a, before);
    assert_int_equal(capacity, n);
    hone_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(a_message_is_one_line_of_utf8),
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(sha256_known_answers),
        cmocka_unit_test(utf8_round_trip_and_ill_formed),
        cmocka_unit_test(buffer_limit_sticks),
        cmocka_unit_test(atomic_write_keeps_old_on_abort),
        cmocka_unit_test(failed_write_keeps_the_old_file),
        cmocka_unit_test(a_spill_keeps_what_was_let_go),
        cmocka_unit_test(memory_is_accounted),
        cmocka_unit_test(a_growing_array_keeps_what_it_holds),
        cmocka_unit_test(below_is_uniform_enough),
        cmocka_unit_test(xxh64_known_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
