/* Readers beside JSON (test_rows.c) and parquet (test_parquet.c): tables, text, packed files, standard input; variants
 * of the formats, names of fields, weights; and files that mean harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/base.h"
#include "hone/data.h"

static char path[100]; /* of the last file */

static void put(const char *name, const char *text, size_t len)
{
    hone_error err = HONE_ERROR_INIT;

    snprintf(path, sizeof path, "test_readers_%s", name);
    if (hone_file_write(path, text, len, &err))
        fail_msg("%s", err.message);
}

/* Every row as "line:conversation weights\n"; the last result. */
static int read_path(hone_buf *out, const char *file, const hone_rows_options *o, hone_error *err)
{
    const char *paths[] = {file};
    hone_rows *r;
    hone_row row;
    size_t i;
    int rc = hone_rows_open(&r, paths, 1, o, err);

    if (rc)
        return rc;
    while ((rc = hone_rows_next(r, &row, err)) == 1) {
        hone_buf_printf(out, "%llu:", (unsigned long long)row.line);
        if (row.refused)
            hone_buf_printf(out, "REFUSED %s", strstr(row.refused, ": ") + 2);
        else
            hone_buf_add(out, row.conversation, row.len);
        for (i = 0; i < row.n_messages; i++)
            if (row.weight[i] != 0)
                hone_buf_printf(out, " %zu*%g", i, (double)row.weight[i]);
        hone_buf_puts(out, row.fractional ? " fractional\n" : "\n");
    }
    hone_rows_close(r);
    return rc;
}

static void assert_rows(const char *name, const char *text, const hone_rows_options *o, const char *want)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};

    put(name, text, strlen(text));
    if (read_path(&out, path, o, &err))
        fail_msg("%s", err.message);
    assert_string_equal(out.data, want);
    hone_buf_clear(&out);
    unlink(path);
}

static void assert_refused(const char *name, const char *text, size_t len, int code, const char *reason)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};
    int rc;

    put(name, text, len);
    rc = read_path(&out, path, NULL, &err);
    if (rc != code || !strstr(err.message, path) || !strstr(err.message, reason))
        fail_msg("%s: %d %s\n  not %d %s", name, rc, err.message, code, reason);
    hone_buf_clear(&out);
    unlink(path);
}

#define USER(text) "{\"role\":\"user\",\"content\":\"" text "\"}"
#define BOT(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define QA(q, a) "{\"messages\":[" USER(q) "," BOT(a) "]}"
#define TEXT(t) "{\"text\":\"" t "\"}\n"

static void tables(void **state)
{
    const char *want = "2:" QA("a, b", "say \\\"hi\\\"") " 1*1\n3:" QA("two\\nlines", " kept ") " 1*1\n7:" QA(
        "q", "z") " 1*1\n";

    (void)state;
    assert_rows("a.csv",
                "instruction,input,output\n\"a, b\",,\"say \"\"hi\"\"\"\n\"two\nlines\",, kept \n\n\nq,,z",
                NULL, want);
    assert_rows("a.csv", "\xef\xbb\xbfinstruction,input,output\r\nq,i,a\r\n", NULL,
                "2:" QA("q\\ni", "a") " 1*1\n");
}

static void tables_with_lists_and_other_tables(void **state)
{
    (void)state;
    assert_rows("l.csv",
                "messages,id\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"q\"\"},{\"\"role\"\":"
                "\"\"assistant\"\",\"\"content\"\":\"\"a\"\"}]\",7\n",
                NULL, "2:" QA("q", "a") " 1*1\n");
    assert_rows("t.tsv", "question\tanswer\nq, r\t\"a\tb\"\n", NULL, "2:" QA("q, r", "a\\tb") " 1*1\n");
    assert_refused("b.csv", "question,answer\nq,a,x\n", 22, HONE_EFORMAT,
                   ":2: this row has 3 fields, the header names 2");
    assert_refused("b.csv", "question,answer\nq,\"a\n\n", 21, HONE_EFORMAT, ":2: broken quotes");
    assert_refused("b.csv", "question,answer\nq,a \"b\" c\n", 26, HONE_EFORMAT, ":2: broken quotes");
    assert_refused("b.csv", "question,question\nq,a\n", 22, HONE_EFORMAT,
                   ":1: the header has two columns of one name");
    assert_refused("b.csv", "question,\nq,a\n", 14, HONE_EFORMAT,
                   ":1: the header has a column without a name");
    assert_refused("b.csv", "question,answer\n", 16, HONE_EFORMAT, "no rows in this file");
    assert_refused("b.csv", "question,answer\nq,a\0b\n", 22, HONE_EFORMAT,
                   ":2: broken text: a text with a NUL character");
    assert_refused("b.csv", "question,answer\nq,a\xff\n", 21, HONE_EFORMAT, ":2: broken text: ");
}

static void text_files(void **state)
{
    hone_rows_options line = {.text_rows = HONE_TEXT_LINE}, file = {.text_rows = HONE_TEXT_FILE};
    const char *text = "\n  \nOne \"a\"\r\ntwo\n\n\xe4\xb8\xad\xe6\x96\x87\\\n \nend";

    (void)state;
    assert_rows("a.txt", text, NULL,
                "3:" TEXT("One \\\"a\\\"\\ntwo") "6:" TEXT("\xe4\xb8\xad\xe6\x96\x87\\\\") "8:" TEXT("end"));
    assert_rows("a.txt", text, &line,
                "3:" TEXT("One \\\"a\\\"") "4:" TEXT("two") "6:" TEXT(
                    "\xe4\xb8\xad\xe6\x96\x87\\\\") "8:" TEXT("end"));
    assert_rows("a.txt", text, &file,
                "3:" TEXT("One \\\"a\\\"\\ntwo\\n\\n\xe4\xb8\xad\xe6\x96\x87\\\\\\n \\nend"));
    assert_refused("e.txt", "\n \n", 3, HONE_EFORMAT, "no rows in this file");
}

/* ---- packed files -------------------------------------------------------------------------------------------------- */

static size_t gzip(uint8_t *out, size_t size, const char *text, size_t n)
{
    z_stream z = {
        .next_in = (uint8_t *)text, .avail_in = (unsigned)n, .next_out = out, .avail_out = (unsigned)size};

    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return size - z.avail_out;
}

static void packed_files(void **state)
{
    static uint8_t packed[400000];
    hone_buf rows = {0}, out = {0}, want = {0};
    hone_error err = HONE_ERROR_INIT;
    size_t i, n, m;

    (void)state;
    for (i = 0; i < 4000; i++)
        hone_buf_printf(&rows, "{\"prompt\":\"question %zu\",\"completion\":\"answer %zu\"}\n",
                        i * 7919 % 4001, i);
    put("plain.jsonl", rows.data, rows.len);
    assert_int_equal(read_path(&want, path, NULL, &err), 0);
    unlink(path);
    n = gzip(packed, sizeof packed, rows.data, rows.len / 2); /* two members */
    m = n + gzip(packed + n, sizeof packed - n, rows.data + rows.len / 2, rows.len - rows.len / 2);
    put("a.jsonl.gz", (char *)packed, m);
    if (read_path(&out, path, NULL, &err))
        fail_msg("%s", err.message);
    assert_string_equal(out.data, want.data);
    unlink(path);
    assert_refused("cut.jsonl.gz", (char *)packed, m - 5, HONE_EFORMAT,
                   ": the gzip data is damaged: it ends too early");
    assert_refused("cut.jsonl.gz", (char *)packed, n - 9, HONE_EFORMAT, "it ends too early");
    packed[n / 2] ^= 0x55;
    assert_refused("bad.jsonl.gz", (char *)packed, m, HONE_EFORMAT, "bad.jsonl.gz:");
    assert_refused("no.jsonl.gz", "{}", 2, HONE_EFORMAT, "byte ");

    n = ZSTD_compress(packed, sizeof packed, rows.data, rows.len, 3);
    put("a.JSON.ZST", (char *)packed, n);
    hone_buf_clear(&out);
    assert_int_equal(read_path(&out, path, NULL, &err), 0);
    assert_string_equal(out.data, want.data);
    unlink(path);
    assert_refused("cut.json.zst", (char *)packed, n - 5, HONE_EFORMAT, ": the zstd data is damaged");
    n = gzip(packed, sizeof packed, "question,answer\nq,a\n", 20);
    put("a.csv.gz", (char *)packed, n);
    hone_buf_clear(&out);
    assert_int_equal(read_path(&out, path, NULL, &err), 0);
    assert_string_equal(out.data, "2:" QA("q", "a") " 1*1\n");
    unlink(path);
    assert_refused("a.parquet.gz", (char *)packed, n, HONE_EUNSUPPORTED, "no reader for this ending");
    hone_buf_clear(&out);
    hone_buf_clear(&rows);
    hone_buf_clear(&want);
}

/* ---- standard input -------------------------------------------------------------------------------------------------- */

typedef struct feeder {
    int fd;
    const char *head, *text; /* head once, then text `times` times, or until the reader has gone */
    size_t n, times;
} feeder;

static void *feed(void *ud)
{
    feeder *f = ud;
    size_t i;

    if (write(f->fd, f->head, strlen(f->head)) < 0)
        f->times = 0;
    for (i = 0; i < f->times; i++)
        if (write(f->fd, f->text, f->n) != (ssize_t)f->n)
            break;
    close(f->fd);
    return NULL;
}

static int read_stdin(hone_buf *out, const char *name, const char *head, const char *text, size_t n,
                      size_t times, hone_error *err)
{
    int pipes[2], rc, before = dup(STDIN_FILENO);
    pthread_t thread;
    feeder f;

    assert_int_equal(pipe(pipes), 0);
    f = (feeder){pipes[1], head, text, n, times};
    assert_int_equal(dup2(pipes[0], STDIN_FILENO), STDIN_FILENO);
    close(pipes[0]);
    assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
    rc = read_path(out, name, NULL, err);
    dup2(before, STDIN_FILENO); /* closes the pipe: the feeder's next write fails */
    close(before);
    pthread_join(thread, NULL);
    return rc;
}

static void standard_input(void **state)
{
    const char *json = "[{\"question\":\"q\",\"answer\":\"a\"}]", *csv = "question,answer\nq,a\n";
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};

    (void)state;
    assert_int_equal(read_stdin(&out, "-", json, "", 0, 0, &err), 0);
    assert_string_equal(out.data, "1:" QA("q", "a") " 1*1\n");
    hone_buf_clear(&out);
    assert_int_equal(read_stdin(&out, "-.csv", csv, "", 0, 0, &err), 0);
    assert_string_equal(out.data, "2:" QA("q", "a") " 1*1\n");
    hone_buf_clear(&out);
    assert_int_equal(read_stdin(&out, "-.parquet", "PAR1", "", 0, 0, &err), HONE_EUNSUPPORTED);
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(read_stdin(&out, "-.jsonl.gz", json, "", 0, 0, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "-.jsonl.gz: byte"));
    hone_buf_clear(&out);
}

/* 2 GB in one line, from a pipe: refused at the limit of a row, with its memory bounded by it. */
static void one_endless_line(void **state)
{
    static const char *const name[] = {"-.jsonl", "-", "-.csv", "-.txt"};
    static const char *const head[] = {"{\"text\":\"", "[{\"text\":\"", "text,b\n\"", ""};
    char *piece = hone_alloc(1 << 20);
    size_t i;

    (void)state;
    assert_non_null(piece);
    for (i = 0; i < HONE_COUNT(name); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_buf out = {0};
        size_t before = hone_mem_used();

        memset(piece, 'x', 1 << 20);
        assert_int_equal(read_stdin(&out, name[i], head[i], piece, 1 << 20, 2048, &err), HONE_ELIMIT);
        if (!strstr(err.message, name[i]) || !strstr(err.message, "this row is longer than 64 MiB"))
            fail_msg("%s", err.message);
        assert_true(hone_mem_used() <= before + 100);
        hone_buf_clear(&out);
    }
    hone_free(piece);
}

static void deep_json(void **state)
{
    hone_buf text = {0};
    size_t i;

    (void)state;
    hone_buf_puts(&text, "{\"messages\":");
    for (i = 0; i < 10000; i++)
        hone_buf_puts(&text, "[");
    for (i = 0; i < 10000; i++)
        hone_buf_puts(&text, "]");
    hone_buf_puts(&text, "}\n");
    assert_refused("deep.jsonl", text.data, text.len, HONE_EFORMAT, ":1: broken JSON: nested too deeply");
    assert_refused("deep.json", text.data, text.len, HONE_EFORMAT, ":1: broken JSON: nested too deeply");
    hone_buf_clear(&text);
    assert_refused("nul.jsonl", "{\"text\":\"a\0b\"}\n", 15, HONE_EFORMAT, ":1: broken JSON");
    assert_refused("utf.jsonl", "{\"text\":\"a\xff\"}\n", 14, HONE_EFORMAT,
                   ":1: broken JSON: bytes that are no UTF-8: unable to decode byte 0xff");
    assert_refused("num.jsonl", "{\"text\":\"a\",\"n\":1e999999}\n", 26, HONE_EFORMAT,
                   ":1: broken JSON: real number overflow");
}

/* ---- formats ------------------------------------------------------------------------------------------------------------ */

static void variants_of_formats(void **state)
{
    const char *all = "{\"question\":\"q\",\"answer\":\"a\",\"id\":1}\n"
                      "{\"prompt\":\"q\",\"response\":\"a\"}\n"
                      "{\"query\":\"q\",\"response\":\"a\",\"question\":\"\"}\n"
                      "{\"instruction\":\"q\",\"context\":\"c\",\"response\":\"a\",\"text\":\"whole\"}\n"
                      "{\"prompt\":[" USER("q") "," BOT("b") "," USER("r") "],\"completion\":[" BOT(
                          "a") "]}\n"
                               "{\"prompt\":[" USER("q") "],\"completion\":\"a\"}\n"
                                                         "{\"text\":\"only text\",\"label\":3}\n";

    (void)state;
    assert_rows("v.jsonl", all, NULL,
                "1:" QA("q", "a") " 1*1\n2:" QA("q", "a") " 1*1\n3:" QA("q", "a") " 1*1\n4:" QA(
                    "q\\nc", "a") " 1*1\n"
                                  "5:{\"messages\":[" USER("q") "," BOT("b") "," USER("r") "," BOT(
                                      "a") "]} 3*1\n6:" QA("q", "a") " 1*1\n"
                                                                     "7:" TEXT("only text"));
}

static void fields_can_be_named(void **state)
{
    char dialog[] = "dialog", who[] = "who", what[] = "what", ask[] = "ask", reply[] = "reply",
         body[] = "body";
    hone_row_fields turns = {.messages = dialog, .role = who, .content = what};
    hone_row_fields pair = {.instruction = ask, .output = reply}, text = {.text = body};

    (void)state;
    assert_rows("f.jsonl",
                "{\"dialog\":[{\"who\":\"human\",\"what\":\"q\"},{\"who\":\"gpt\",\"what\":\"a\"}]}\n",
                &(hone_rows_options){.fields = &turns}, "1:" QA("q", "a") " 1*1\n");
    assert_rows("f.jsonl", "{\"ask\":\"q\",\"reply\":\"a\",\"question\":\"x\",\"answer\":\"y\"}\n",
                &(hone_rows_options){.fields = &pair}, "1:" QA("q", "a") " 1*1\n");
    assert_rows("f.jsonl", "{\"body\":\"b\",\"title\":\"x\"}\n", &(hone_rows_options){.fields = &text},
                "1:" TEXT("b"));
}

static void weights_and_history(void **state)
{
    const char *row =
        "{\"messages\":[" USER("q") ",{\"role\":\"assistant\",\"content\":\"a\",\"loss_weight\":0.25}," USER(
            "r") ",{\"role\":\"assistant\",\"content\":\"b\",\"train\":true}," USER("s") "]}\n";
    const char *said =
        "1:{\"messages\":[" USER("q") "," BOT("a") "," USER("r") "," BOT("b") "," USER("s") "]}";
    char want[400];

    (void)state;
    snprintf(want, sizeof want, "%s 1*0.25 3*1 fractional\n", said);
    assert_rows("w.jsonl", row, NULL, want);
    snprintf(want, sizeof want, "%s 3*1\n", said);
    assert_rows("w.jsonl", row, &(hone_rows_options){.mask_history = true}, want);
}

static void bad_rows_do_not_stop_a_patient_reader(void **state)
{
    (void)state;
    assert_rows("p.jsonl", "{\"text\":\"a\"}\n{broken\n[1]\n{\"question\":\"q\"}\n{\"text\":\"b\"}\n",
                &(hone_rows_options){.keep_going = true},
                "1:" TEXT("a") "2:REFUSED broken JSON: string or '}' expected near 'broken'\n"
                               "3:REFUSED a row must be an object, {...}\n"
                               "4:REFUSED field `output`: expected text, found nothing\n5:" TEXT("b"));
    assert_rows("p.csv", "text,n\na,1\nb\nc,2\n", &(hone_rows_options){.keep_going = true},
                "2:" TEXT("a") "3:REFUSED this row has 1 fields, the header names 2\n4:" TEXT("c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables),
        cmocka_unit_test(tables_with_lists_and_other_tables),
        cmocka_unit_test(text_files),
        cmocka_unit_test(packed_files),
        cmocka_unit_test(standard_input),
        cmocka_unit_test(one_endless_line),
        cmocka_unit_test(deep_json),
        cmocka_unit_test(variants_of_formats),
        cmocka_unit_test(fields_can_be_named),
        cmocka_unit_test(weights_and_history),
        cmocka_unit_test(bad_rows_do_not_stop_a_patient_reader),
    };

    signal(SIGPIPE, SIG_IGN); /* a reader that stops early */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
