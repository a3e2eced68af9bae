/* Pieces of a page, the picture of a row, and the data report as a whole: escaping, bounds, the same page for every number
 * of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/html.h"
#include "report/words.h"

#define MODEL HONE_TEST_DIR "/golden/tiny_chat"

/* What `put` writes of n bytes. */
static void expect(void (*put)(hone_buf *, const char *, size_t), const char *s, size_t n, const char *want)
{
    hone_buf b = {0};

    put(&b, s, n);
    assert_string_equal(b.len ? b.data : "", want);
    hone_buf_clear(&b);
}

static void test_escape(void **state)
{
    (void)state;
    expect(html_text, "<a href=\"x\">'&", 14, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    expect(html_text, "a\0b\x1b\n\t", 6,
           "a\xef\xbf\xbd"
           "b\xef\xbf\xbd\n\t");
    expect(html_text, "\xe4\xb8", 2, "\xef\xbf\xbd");
    expect(html_text, "\xff<", 2, "\xef\xbf\xbd&lt;");
    expect(html_quote, "x\xe2\x80\xaey<\x01", 7,
           "x<span class=cc>U+202E</span>y&lt;<span class=cc>U+0001</span>");
    expect(html_quote, "\xef\xbb\xbf\xc2\x85\xc2\xa0", 7,
           "<span class=cc>U+FEFF</span><span class=cc>U+0085</span>\xc2\xa0");
    expect(html_quote, "\xf3\xa0\x81\x81", 4, "<span class=cc>U+E0041</span>");
}

static void test_cut(void **state)
{
    hone_buf b = {0};

    (void)state;
    html_quote_cut(&b, "舌苔白", 9, 4);
    assert_string_equal(b.data, "舌<span class=more>…</span>");
    b.len = 0;
    html_quote_cut(&b, "舌苔白", 9, 9);
    assert_string_equal(b.data, "舌苔白");
    hone_buf_clear(&b);
    assert_int_equal(text_border("舌苔", 6, 0), 0);
    assert_int_equal(text_border("舌苔", 6, 5), 3);
    assert_int_equal(text_border("舌苔", 6, 60), 6);
}

static void expect_share(uint64_t part, uint64_t whole, const char *want)
{
    hone_buf b = {0};

    html_share(&b, part, whole);
    assert_string_equal(b.data, want);
    hone_buf_clear(&b);
}

static void test_numbers(void **state)
{
    hone_buf b = {0};

    (void)state;
    html_count(&b, 0);
    hone_buf_putc(&b, ' ');
    html_count(&b, 999);
    hone_buf_putc(&b, ' ');
    html_count(&b, 1000);
    hone_buf_putc(&b, ' ');
    html_count(&b, UINT64_MAX);
    hone_buf_putc(&b, ' ');
    html_number(&b, NAN);
    html_number(&b, -1234.5);
    hone_buf_putc(&b, ' ');
    html_number(&b, 0.25);
    hone_buf_putc(&b, ' ');
    html_change(&b, 200, 100);
    hone_buf_putc(&b, ' ');
    html_change(&b, 0, 100);
    assert_string_equal(b.data, "0 999 1,000 18,446,744,073,709,551,615 –−1,235 0.25 −50.0 % –");
    hone_buf_clear(&b);
    expect_share(1, 3, "33.3 %");
    expect_share(0, 0, "0 %");
    expect_share(5, 5, "100 %");
    expect_share(1, 1000000, "&lt; 0.1 %");
    expect_share(999999, 1000000, "&gt; 99.9 %");
}

static void test_bins(void **state)
{
    double value[300];
    plot_bins b;
    size_t i, n;

    (void)state;
    for (i = 0; i < 300; i++)
        value[i] = (double)i;
    value[299] = 1e9; /* far out: the last bin takes it */
    assert_int_equal(plot_bins_choose(&b, value, 300, 40, false, NULL), 0);
    assert_true(b.n <= 41 && b.open && b.edge[0] == 0);
    for (i = 0, n = 0; i < 300; i++)
        n += plot_bin_of(&b, value[i]) < b.n;
    assert_int_equal(n, 300);
    assert_int_equal(plot_bin_of(&b, 1e9), b.n - 1);
    assert_int_equal(plot_bin_of(&b, -1), b.n);
    assert_int_equal(plot_bin_of(&b, NAN), b.n);
    hone_free(b.edge);

    assert_int_equal(plot_bins_choose(&b, value + 1, 6, 20, true, NULL), 0); /* 1 to 6 */
    assert_true(b.integer && !b.open);
    assert_int_equal(b.n, 6);
    assert_int_equal(plot_bin_of(&b, 6), 5);
    hone_free(b.edge);

    assert_int_equal(plot_bins_choose(&b, NULL, 0, 20, false, NULL), 0);
    assert_int_equal(b.n, 1);
    hone_free(b.edge);
}

static void test_plot(void **state)
{
    static const uint64_t count[] = {1, 0, 7};
    static const double x[] = {1, 10, 100}, y[] = {0, 0.5, 1};
    double edge[] = {0, 10, 20, 30};
    plot_bins bins = {edge, 3, true, false};
    plot p = {.title = "<t>",
              .series = {{.name = "&", .tone = "after", .count = count}},
              .n_series = 1,
              .marker = NAN};
    hone_buf b = {0};

    (void)state;
    plot_histogram(&b, &p, &bins);
    assert_non_null(strstr(b.data, "&lt;t&gt;"));
    assert_null(strstr(b.data, "<t>"));
    assert_non_null(strstr(b.data, "<title>20+: 7</title>"));
    assert_null(strstr(b.data, "class=marker"));
    b.len = 0;
    p.series[0] = (plot_series){.name = "line", .tone = "after", .x = x, .y = y, .n = 3};
    p.log_x = true;
    p.marker = 10;
    p.marker_label = "here";
    plot_lines(&b, &p);
    assert_non_null(strstr(b.data, "M0 100L50 50L100 0"));
    assert_non_null(strstr(b.data, "left:50%"));
    b.len = 0;
    p.series[0].n = 1; /* one point, and none */
    plot_lines(&b, &p);
    p.series[0].n = 0;
    p.log_x = false;
    plot_lines(&b, &p);
    assert_null(strstr(b.data, "nan"));
    assert_null(strstr(b.data, "inf"));
    hone_buf_clear(&b);
}

static void test_words(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < N_WORDS; i++) {
        assert_non_null(report_text(HONE_ENGLISH, (report_word)i));
        assert_true(*report_text(HONE_CHINESE, (report_word)i) != 0);
    }
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static const char rows[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the "
                           "answer?\"},{\"role\":\"assistant\",\"content\":\"It is "
                           "forty-two.\"}],\"task\":\"<i>t\"}\n"
                           "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
                           "\"content\":\"hello\",\"loss_weight\":0},"
                           "{\"role\":\"user\",\"content\":\"jump\"},{\"role\":\"assistant\",\"content\":"
                           "\"The fox jumps.\",\"loss_weight\":0.5}]}\n"
                           "{\"text\":\"The quick brown fox.\"}\n"
                           "{\"messages\":[{\"role\":\"user\",\"content\":\"<script>alert(1)</"
                           "script>\"},{\"role\":\"assistant\",\"content\":"
                           "\"</pre><img src=https://example.com/x.png>\"}]}\n"
                           "broken\n"
                           "{\"messages\":[{\"role\":\"user\",\"content\":\"What is the "
                           "answer?\"},{\"role\":\"assistant\",\"content\":\"It is "
                           "forty-two.\"}]}\n";
#define N_ROWS 6

static char path[] = "report_test_XXXXXX.jsonl";
static hone_tokenizer *tokenizer;
static hone_chat *chat;

static int open_all(void **state)
{
    (void)state;
    assert_true(close(mkstemps(path, 6)) == 0);
    assert_int_equal(hone_file_write(path, rows, sizeof rows - 1, NULL), 0);
    assert_int_equal(hone_tokenizer_open(&tokenizer, MODEL, NULL), 0);
    return hone_chat_open(&chat, MODEL, tokenizer, NULL);
}

static int close_all(void **state)
{
    (void)state;
    unlink(path);
    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    return 0;
}

/* The picture has the ids, the mask and the weights of the dataset that training reads, and its tokens tile its text. */
static void test_picture(void **state)
{
    static const char *const one[] = {path};
    hone_dataset_options o = {.max_length = 500, .overlong = HONE_OVERLONG_ERROR, .max_samples = 4};
    hone_rows_options ro = {.keep_going = true};
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;
    hone_rows *r;
    hone_row row;
    size_t i, k;

    (void)state;
    if (hone_dataset_open(&d, one, 1, chat, &o, &err) || hone_rows_open(&r, one, 1, &ro, &err))
        fail_msg("%s", err.message);
    for (i = 0; i < 4; i++) {
        hone_sequence s = hone_dataset_get(d, i);
        hone_row_picture p = {0};

        assert_int_equal(hone_rows_next(r, &row, NULL), 1);
        if (hone_row_picture_make(&p, chat, &row, false, &err))
            fail_msg("%s", err.message);
        assert_int_equal(p.n, s.n);
        assert_int_equal(p.n_trained, s.n_targets);
        assert_memory_equal(p.id, s.id, s.n * sizeof *s.id);
        for (k = 0; k < s.n; k++) {
            assert_int_equal(p.weight[k] > 0, s.mask[k / 64] >> k % 64 & 1);
            if (i == 1 && p.weight[k] > 0)
                assert_true(p.weight[k] == 0.5f);
            assert_true(p.begin[k] <= p.end[k] && p.end[k] <= p.len && (!k || p.begin[k] >= p.end[k - 1]));
        }
        assert_int_equal(strlen(p.text), p.len);
        if (i == 0)
            assert_non_null(strstr(p.text, "It is forty-two.<|im_end|>"));
        if (i == 2)
            assert_string_equal(p.text, "The quick brown fox.");
        hone_row_picture_clear(&p);
    }
    hone_rows_close(r);
    hone_dataset_close(d);
}

static char *make(hone_language language, int32_t threads, const hone_chat *with, size_t *len)
{
    static const char *const one[] = {path};
    hone_prepare_options prepare = {.exact = true, .threads = threads, .against = NULL};
    hone_data_report_options o = {.language = language,
                                  .title = "a & b",
                                  .settings = "data:\n  x: <y>\n",
                                  .chat = with,
                                  .no_chat = "there is none",
                                  .max_length = 20,
                                  .examples = 3,
                                  .samples = 9};
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts counts;
    char *html;

    if (hone_data_report(&html, len, one, 1, &prepare, &o, &counts, &err))
        fail_msg("%s", err.message);
    assert_int_equal(counts.rows, N_ROWS);
    assert_int_equal(counts.used, 4);
    assert_int_equal(counts.duplicate, 1);
    assert_int_equal(counts.dropped, 1);
    assert_int_equal(strlen(html), *len);
    return html;
}

static void test_report(void **state)
{
    size_t len, len4, zh_len;
    char *html = make(HONE_ENGLISH, 1, chat, &len), *again = make(HONE_ENGLISH, 4, chat, &len4);
    char *zh = make(HONE_CHINESE, 2, NULL, &zh_len);

    (void)state;
    assert_int_equal(len, len4);
    assert_memory_equal(html, again, len);
    assert_non_null(strstr(html, "&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "<img"));
    assert_null(strstr(html, "<i>t"));
    assert_non_null(strstr(html, "x: &lt;y&gt;"));
    assert_non_null(strstr(html, "<title>Data report · a &amp; b</title>"));
    assert_non_null(strstr(html, "broken JSON"));
    assert_non_null(
        strstr(html, "<span class=tr>It is forty-two.</span><span class=\"tr tp\">&lt;|im_end|&gt;</span>"));
    assert_non_null(strstr(zh, "数据报告"));
    assert_non_null(strstr(zh, "there is none"));
    assert_non_null(strstr(zh, "每行字符数"));
    assert_null(strstr(zh, "class=tr>"));
    hone_free(html);
    hone_free(again);
    hone_free(zh);
}

static size_t until;

static bool fails_later(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return until ? until-- : false;
}

/* Whichever allocation fails, the report fails with ENOMEM and leaks nothing. */
static void test_out_of_memory(void **state)
{
    static const char *const one[] = {path};
    hone_prepare_options prepare = {.exact = true, .threads = 1};
    hone_data_report_options o = {.chat = chat, .examples = 2, .samples = 2};
    hone_ledger_counts counts;
    size_t i, len;
    char *html;
    int rc = HONE_ENOMEM;

    (void)state;
    for (i = 0; rc && i < 100000; i = i < 300 ? i + 1 : i + i / 16) {
        until = i;
        hone_mem_hook(fails_later, NULL);
        rc = hone_data_report(&html, &len, one, 1, &prepare, &o, &counts, NULL);
        hone_mem_hook(NULL, NULL);
        if (rc)
            assert_int_equal(rc, HONE_ENOMEM);
    }
    assert_int_equal(rc, 0);
    hone_free(html);
}

static void test_refused(void **state)
{
    static const char *const in[] = {"-"}, *const nowhere[] = {"nowhere.jsonl"};
    hone_prepare_options prepare = {.exact = true};
    hone_data_report_options o = {.examples = 2};
    hone_ledger_counts counts;
    size_t len;
    char *html;

    (void)state;
    assert_int_equal(hone_data_report(&html, &len, in, 1, &prepare, &o, &counts, NULL), HONE_EINVAL);
    assert_int_equal(hone_data_report(&html, &len, nowhere, 1, &prepare, &o, &counts, NULL), HONE_ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_escape),        cmocka_unit_test(test_cut),
                                       cmocka_unit_test(test_numbers),       cmocka_unit_test(test_bins),
                                       cmocka_unit_test(test_plot),          cmocka_unit_test(test_words),
                                       cmocka_unit_test(test_picture),       cmocka_unit_test(test_report),
                                       cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_refused)};

    return cmocka_run_group_tests(tests, open_all, close_all);
}
