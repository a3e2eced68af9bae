/* The dataset: masks and switches, the checks, the policies for long rows and their counts, splits, orders, packing.
 *
 * A chat of the test's own stands in for the chat layer, so that every token is known: a message becomes the id of its
 * role (1 user, 2 assistant, 3 system), 100 + c for each byte c of its content, and the end-of-turn token 9; the
 * content and the 9 of assistant turns are masked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/data.h"
#include "text/chat_json.h"

struct hone_chat {
    bool lose_eot, mask_nothing;
};

int hone_chat_encode_json(const hone_chat *chat, hone_encoding *out, json_t *root, unsigned flags,
                          hone_error *err)
{
    const json_t *list = json_object_get(root, "messages");
    size_t i, k, n = 0, capacity = 8;

    assert_int_equal(flags, 0);
    for (i = 0; i < json_array_size(list); i++)
        capacity += 2 + json_string_length(json_object_get(json_array_get(list, i), "content"));
    out->tokens.id = hone_alloc(capacity * sizeof *out->tokens.id);
    out->mask = hone_alloc(capacity);
    out->turn = hone_alloc(capacity * sizeof *out->turn);
    if (!out->tokens.id || !out->mask || !out->turn)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        const char *content = json_string_value(json_object_get(m, "content"));
        bool answer = !strcmp(role, "assistant");
        size_t length = strlen(content);

        if (!strcmp(content, "!"))
            return hone_error_set(err, HONE_EINVAL, "template line 7: says no");
        for (k = 0; k < length + 2; k++, n++) {
            out->tokens.id[n] = k == 0        ? (answer         ? 2
                                                 : *role == 's' ? 3
                                                                : 1)
                                : k <= length ? 100 + content[k - 1]
                                              : 9;
            out->mask[n] = answer && k > 0 && !chat->mask_nothing;
            out->turn[n] = out->mask[n] ? (int32_t)i : -1;
        }
    }
    out->tokens.n = n;
    out->straddled = json_array_size(list) > 2;
    out->eot_trained = !chat->lose_eot;
    return 0;
}

const hone_tokenizer *hone_chat_tokenizer(const hone_chat *chat)
{
    (void)chat;
    return NULL;
}

uint64_t hone_chat_hash(const hone_chat *chat)
{
    return chat->lose_eot + 2u * chat->mask_nothing;
}

void hone_encoding_clear(hone_encoding *e)
{
    hone_free(e->tokens.id);
    hone_free(e->mask);
    hone_free(e->turn);
    *e = (hone_encoding){0};
}

#define FILE_NAME "test_dataset.jsonl"
static const char *const paths[] = {FILE_NAME};
static const hone_chat plain;

static void put(const char *text)
{
    hone_error err = HONE_ERROR_INIT;

    assert_int_equal(hone_file_write(FILE_NAME, text, strlen(text), &err), 0);
}

static int tear_down(void **state)
{
    (void)state;
    unlink(FILE_NAME);
    return 0;
}

static hone_dataset *opened(const char *text, hone_dataset_options o)
{
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;

    put(text);
    if (hone_dataset_open(&d, paths, 1, &plain, &o, &err))
        fail_msg("%s", err.message);
    return d;
}

static void assert_refused(const char *text, const hone_chat *chat, hone_dataset_options o, int code,
                           const char *place, const char *reason)
{
    hone_error err = HONE_ERROR_INIT;
    hone_dataset *d;
    int rc;

    put(text);
    rc = hone_dataset_open(&d, paths, 1, chat, &o, &err);
    assert_null(d);
    if (rc != code || !strstr(err.message, place) || !strstr(err.message, reason))
        fail_msg("%d %s", rc, err.message);
}

/* A sequence as text: roles as U A S, content as it is, end of turn as |; a ^ stands before every masked token. */
static void assert_sequence(const hone_dataset *d, size_t i, const char *want)
{
    hone_sequence s = hone_dataset_get(d, i);
    hone_buf b = {0};
    size_t k, targets = 0;

    for (k = 0; k < s.n; k++) {
        bool masked = s.mask[k / 64] >> (k % 64) & 1;

        if (masked)
            hone_buf_putc(&b, '^');
        hone_buf_putc(&b, s.id[k] > 100 ? (char)(s.id[k] - 100) : s.id[k] == 9 ? '|' : "?UAS"[s.id[k]]);
        targets += masked;
    }
    assert_string_equal(b.data, want);
    assert_int_equal(targets, s.n_targets);
    hone_buf_clear(&b);
}

#define M(role, content) "{\"role\":\"" role "\",\"content\":\"" content "\"}"
#define W(role, content, weight) "{\"role\":\"" role "\",\"content\":\"" content "\",\"weight\":" weight "}"
#define ROW(...) "{\"messages\":[" __VA_ARGS__ "]}\n"
#define QA(q, a) ROW(M("user", q) "," M("assistant", a))

static void rows_become_tokens_and_masks(void **state)
{
    hone_dataset *d =
        opened(QA("ab", "cd") "\n" ROW(M("system", "s") "," M(
                   "user", "u") ","
                                "{\"role\":\"assistant\",\"content\":\"x\",\"train\":false}," M(
                                    "user", "v") "," M("assistant", "y")),
               (hone_dataset_options){
                   .max_length = 100, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1});
    const hone_dataset_report *r = hone_dataset_get_report(d);

    (void)state;
    assert_int_equal(hone_dataset_size(d), 2);
    assert_sequence(d, 0, "Uab|A^c^d^|");
    assert_sequence(d, 1, "Ss|Uu|Ax|Uv|A^y^|");
    assert_string_equal(hone_dataset_get(d, 1).file, FILE_NAME);
    assert_int_equal(hone_dataset_get(d, 1).line, 3);
    assert_int_equal(hone_dataset_get(d, 1).row, 1);
    assert_true(r->rows_read == 2 && r->rows_used == 2 && r->rows_dropped == 0 && r->sequences == 2);
    assert_true(r->tokens == 8 + 15 && r->trained == 3 + 2 && r->turns == 2 && r->straddled == 1);
    assert_true(r->shortest == 8 && r->median == 15 && r->longest == 15);
    assert_true(r->bytes >= 23 * 4 + 16 && r->bytes < 1000);
    hone_dataset_close(d);
    hone_dataset_close(NULL);
}

static void no_run_skips_the_checks(void **state)
{
    const hone_chat lose_eot = {.lose_eot = true}, mask_nothing = {.mask_nothing = true};
    hone_dataset_options o = {
        .max_length = 100, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1};

    (void)state;
    assert_refused("\n" QA("a", "b"), &lose_eot, o, HONE_EFORMAT, FILE_NAME ":2: ", "end-of-turn token");
    assert_refused(QA("a", "b"), &mask_nothing, o, HONE_EFORMAT,
                   FILE_NAME ":1: ", "no token of this row is trained");
    assert_refused(QA("a", "b") QA("!", "b"), &plain, o, HONE_EINVAL,
                   FILE_NAME ":2: ", "template line 7: says no");
    assert_refused(QA("a", "b") "{", &plain, o, HONE_EFORMAT, FILE_NAME ":2: ", "broken JSON");
    assert_refused("", &plain, o, HONE_EFORMAT, FILE_NAME, "no rows");
    o.max_length = 0;
    assert_refused(QA("a", "b"), &plain, o, HONE_EINVAL, "max_length", "0");
}

/* Two rows of 6 and 26 tokens and one whose question alone is long. */
#define LONG_ROWS QA("a", "b") QA("0123456789", "0123456789ab") QA("0123456789abcdef", "z")

static void long_rows_stop_the_run_by_default(void **state)
{
    (void)state;
    assert_refused(LONG_ROWS, &plain,
                   (hone_dataset_options){
                       .max_length = 20, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1},
                   HONE_ELIMIT, FILE_NAME ":2: this row has 26 tokens, more than model.max_length 20",
                   "have 2 of 3 rows");
    assert_refused(LONG_ROWS, &plain,
                   (hone_dataset_options){
                       .max_length = 25, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1},
                   HONE_ELIMIT, FILE_NAME ":2: ", "has 1 of 3 rows");
    hone_dataset_close(opened(
        LONG_ROWS, (hone_dataset_options){
                       .max_length = 26, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1}));
}

static void long_rows_are_dropped_and_counted(void **state)
{
    hone_dataset *d = opened(
        LONG_ROWS, (hone_dataset_options){
                       .max_length = 20, .overlong = HONE_OVERLONG_DROP, .max_samples = 0, .threads = 1});
    const hone_dataset_report *r = hone_dataset_get_report(d);

    (void)state;
    assert_int_equal(hone_dataset_size(d), 1);
    assert_true(r->rows_read == 3 && r->rows_used == 1 && r->rows_dropped == 2 && r->dropped_overlong == 2);
    assert_true(r->rows_truncated == 0 && r->tokens_cut == 0 && r->tokens == 6);
    hone_dataset_close(d);
    assert_refused(LONG_ROWS, &plain,
                   (hone_dataset_options){
                       .max_length = 5, .overlong = HONE_OVERLONG_DROP, .max_samples = 0, .threads = 1},
                   HONE_EFORMAT, FILE_NAME, "no row is left: 3 of 3");
}

static void long_rows_are_cut_and_counted(void **state)
{
    hone_dataset *d = opened(
        LONG_ROWS, (hone_dataset_options){
                       .max_length = 18, .overlong = HONE_OVERLONG_TRUNCATE, .max_samples = 0, .threads = 1});
    const hone_dataset_report *r = hone_dataset_get_report(d);

    (void)state;
    assert_int_equal(hone_dataset_size(d), 2);
    assert_sequence(d, 0, "Ua|A^b^|");
    assert_sequence(d, 1, "U0123456789|A^0^1^2^3^4");
    assert_true(r->rows_read == 3 && r->rows_used == 2 && r->rows_dropped == 1 && r->dropped_untrained == 1);
    assert_true(r->rows_truncated == 1 && r->tokens_cut == 8 && r->trained_cut == 8);
    assert_true(r->tokens == 6 + 18 && r->trained == 2 + 5);
    hone_dataset_close(d);
}

static void long_rows_are_split_between_turns(void **state)
{
    hone_dataset *d = opened(
        ROW(M("system", "s") "," M("user", "a") "," M("assistant", "b") "," M("user", "c") "," M(
            "user", "d") "," M("assistant",
                               "e") "," M("assistant",
                                          "f") "," M("user", "g") ","
                                                                  "{\"role\":\"assistant\",\"content\":\"h\","
                                                                  "\"weight\":0}," M("user", "0123456") "," M(
                                                                      "assistant", "i")) QA("a", "b")
            QA("0123456789", "0123456789"),
        (hone_dataset_options){
            .max_length = 15, .overlong = HONE_OVERLONG_SPLIT, .max_samples = 0, .threads = 1});
    const hone_dataset_report *r = hone_dataset_get_report(d);

    (void)state;
    assert_int_equal(hone_dataset_size(d), 4);
    assert_sequence(d, 0, "Ss|Ua|A^b^|");
    assert_sequence(d, 1, "Ss|Uc|Ud|A^e^|A^f^|");
    assert_sequence(d, 2, "Ss|U0123456|A^i^|");
    assert_sequence(d, 3, "Ua|A^b^|");
    assert_int_equal(hone_dataset_get(d, 2).row, 0);
    assert_int_equal(hone_dataset_get(d, 3).row, 1);
    assert_true(r->rows_read == 3 && r->rows_used == 2 && r->rows_split == 1 && r->sequences == 4);
    assert_true(r->rows_dropped == 1 && r->dropped_overlong == 1);
    assert_true(r->tokens_cut == 9 && r->trained_cut == 0); /* the exchange g, h that trains nothing */
    assert_true(r->tokens == 9 + 15 + 15 + 6 && r->turns == 5);
    hone_dataset_close(d);
}

static void max_samples_reads_no_further(void **state)
{
    hone_dataset *d =
        opened(QA("a", "b") QA("c", "d") "broken",
               (hone_dataset_options){
                   .max_length = 100, .overlong = HONE_OVERLONG_ERROR, .max_samples = 2, .threads = 1});

    (void)state;
    assert_int_equal(hone_dataset_size(d), 2);
    assert_int_equal(hone_dataset_get_report(d)->rows_read, 2);
    hone_dataset_close(d);
}

/* n rows, the i-th of 5 + i % 80 tokens or so, enough for several batches. */
static void put_many(size_t n)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf b = {0};
    size_t i, k;

    for (i = 0; i < n; i++) {
        hone_buf_printf(&b, "{\"instruction\":\"%zu", i);
        for (k = 0; k < i % 77; k++)
            hone_buf_putc(&b, 'q');
        hone_buf_printf(&b, "\",\"output\":\"%zu\"}\n", i * 7);
    }
    assert_int_equal(hone_file_write(FILE_NAME, b.data, b.len, &err), 0);
    hone_buf_clear(&b);
}

static void threads_change_nothing(void **state)
{
    hone_dataset_options o = {
        .max_length = 60, .overlong = HONE_OVERLONG_TRUNCATE, .max_samples = 0, .threads = 1};
    hone_error err = HONE_ERROR_INIT;
    uint64_t hash = 0;

    (void)state;
    put_many(1500);
    for (o.threads = 0; o.threads <= 7; o.threads++) {
        hone_dataset *d;

        assert_int_equal(hone_dataset_open(&d, paths, 1, &plain, &o, &err), 0);
        if (!o.threads)
            hash = hone_dataset_hash(d);
        assert_true(hone_dataset_hash(d) == hash);
        assert_int_equal(hone_dataset_get(d, 1).row, 1);
        hone_dataset_close(d);
    }
    /* Of several bad rows the first is named, whoever finds it. */
    o.threads = 4;
    assert_refused(QA("a", "b") QA("!", "b") QA("!", "c") QA("!", "d") QA("!", "e"), &plain, o, HONE_EINVAL,
                   FILE_NAME ":2: ", "says no");
}

static void splits_are_exact_and_repeatable(void **state)
{
    static const struct {
        double val_size;
        size_t n_val;
    } cases[] = {{0, 0},    {1, 1},     {30, 30},   {99, 99}, {0.25, 25},
                 {0.07, 7}, {0.001, 1}, {0.999, 0}, {100, 0}, {-1, 0}};
    hone_dataset_options o = {
        .max_length = 100, .overlong = HONE_OVERLONG_ERROR, .max_samples = 100, .threads = 1};
    hone_error err = HONE_ERROR_INIT;
    uint32_t *train, *val, *train2, *val2;
    size_t n_train, n_val, n_train2, n_val2, i, k;
    hone_dataset *d;

    (void)state;
    put_many(100);
    assert_int_equal(hone_dataset_open(&d, paths, 1, &plain, &o, &err), 0);
    for (i = 0; i < HONE_COUNT(cases); i++) {
        hone_error e = HONE_ERROR_INIT;
        uint8_t seen[100] = {0};
        int rc = hone_dataset_split(d, cases[i].val_size, 42, &train, &n_train, &val, &n_val, &e);

        if (cases[i].val_size != 0 && !cases[i].n_val) {
            assert_int_equal(rc, HONE_EINVAL);
            assert_non_null(strstr(e.message, "val_size"));
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(n_val, cases[i].n_val);
        assert_int_equal(n_train + n_val, 100);
        for (k = 0; k < n_train; k++)
            seen[train[k]]++;
        for (k = 0; k < n_val; k++)
            seen[val[k]]++;
        for (k = 0; k < 100; k++)
            assert_int_equal(seen[k], 1);
        for (k = 1; k < n_val; k++)
            assert_true(val[k - 1] < val[k]);
        hone_free(train);
        hone_free(val);
    }
    assert_int_equal(hone_dataset_split(d, 10, 42, &train, &n_train, &val, &n_val, &err), 0);
    assert_int_equal(hone_dataset_split(d, 10, 43, &train2, &n_train2, &val2, &n_val2, &err), 0);
    assert_memory_not_equal(val, val2, 10 * sizeof *val);
    hone_free(train2);
    hone_free(val2);
    assert_int_equal(hone_dataset_split(d, 10, 42, &train2, &n_train2, &val2, &n_val2, &err), 0);
    assert_memory_equal(val, val2, 10 * sizeof *val);
    hone_free(train);
    hone_free(val);
    hone_free(train2);
    hone_free(val2);
    hone_dataset_close(d);
}

static void parts_of_a_row_stay_together(void **state)
{
    hone_dataset *d = opened(
        ROW(M("user", "aaaa") "," M("assistant", "b") "," M("user", "cccc") "," M("assistant", "d"))
            QA("a", "b")
                ROW(M("user", "aaaa") "," M("assistant", "b") "," M("user", "cccc") "," M("assistant", "d")),
        (hone_dataset_options){
            .max_length = 10, .overlong = HONE_OVERLONG_SPLIT, .max_samples = 0, .threads = 1});
    hone_error err = HONE_ERROR_INIT;
    uint32_t *train, *val;
    size_t n_train, n_val;
    uint64_t seed;

    (void)state;
    assert_int_equal(hone_dataset_size(d), 5);
    for (seed = 0; seed < 20; seed++) {
        assert_int_equal(hone_dataset_split(d, 1, seed, &train, &n_train, &val, &n_val, &err), 0);
        assert_int_equal(n_train + n_val, 5);
        if (val[0] == 2)
            assert_int_equal(n_val, 1);
        else
            assert_true(n_val == 2 && val[0] + 1 == val[1] && (val[0] == 0 || val[0] == 3));
        hone_free(train);
        hone_free(val);
    }
    hone_dataset_close(d);
}

/* The order is part of the contract of a seed: it may not change between machines or versions. The two orders
 * below were computed by an independent program from the definition in order.c and rng.c. */
static void epochs_have_their_own_order(void **state)
{
    static const uint32_t epoch0[10] = {1, 8, 0, 4, 3, 9, 6, 2, 7, 5};
    static const uint32_t epoch1[10] = {1, 9, 2, 7, 5, 8, 6, 3, 4, 0};
    uint32_t a[10], b[10], i;
    uint8_t seen[10] = {0};

    (void)state;
    for (i = 0; i < 10; i++)
        a[i] = b[i] = i;
    hone_dataset_shuffle(a, 10, 42, 0);
    hone_dataset_shuffle(b, 10, 42, 1);
    for (i = 0; i < 10; i++)
        seen[a[i]]++;
    for (i = 0; i < 10; i++)
        assert_int_equal(seen[i], 1);
    assert_memory_equal(a, epoch0, sizeof a);
    assert_memory_equal(b, epoch1, sizeof b);
    hone_dataset_shuffle(NULL, 0, 42, 0);
}

static void packing_shifts_targets_inside_rows(void **state)
{
    static const int32_t want_id[] = {1, 199, 9, 2, 200, 9, 1, 197, 9, 2, 198, 199, 9};
    static const int32_t N = HONE_NO_TARGET, want_start[] = {0, 6, 13};
    const int32_t want_target[] = {N, N, N, 200, 9, N, N, N, N, 198, 199, 9, N};
    hone_dataset *d =
        opened(QA("a", "bc") QA("c", "d"),
               (hone_dataset_options){
                   .max_length = 100, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1});
    const uint32_t which[] = {1, 0};
    int32_t id[13], target[13], start[3];
    float weight[13];
    size_t i;

    (void)state;
    assert_int_equal(hone_dataset_tokens(d, which, 2), 13);
    assert_int_equal(hone_dataset_pack(d, which, 2, id, target, weight, start), 5);
    for (i = 0; i < 13; i++)
        assert_true(weight[i] == (target[i] == N ? 0 : 1));
    assert_true(hone_dataset_weight(d, which, 2) == 5);
    assert_memory_equal(id, want_id, sizeof id);
    assert_memory_equal(target, want_target, sizeof target);
    assert_memory_equal(start, want_start, sizeof start);
    hone_dataset_close(d);
}

/* Turns of weight 0.25, 1 and 2 in one row: the weight of a position is that of the token it predicts, and 1 and 0 leave no
 * trace. */
static void weights_follow_their_turns(void **state)
{
    static const int32_t N = HONE_NO_TARGET;
    static const float want[] = {0, 0, 0, 0.25f, 0.25f, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 2, 2, 0};
    hone_dataset *d = opened(
        ROW(M("user", "a") "," W("assistant", "b", "0.25") "," M("user", "c") "," M("assistant", "d") "," M(
            "user", "e") "," W("assistant", "f", "2"))
            ROW(M("user", "a") "," W("assistant", "b", "0") "," M("user", "c") "," W("assistant", "d", "1")),
        (hone_dataset_options){
            .max_length = 100, .overlong = HONE_OVERLONG_ERROR, .max_samples = 0, .threads = 1});
    const uint32_t which[] = {0, 1};
    int32_t id[32], target[32], start[3];
    float weight[32];
    size_t i;

    (void)state;
    assert_int_equal(hone_dataset_get(d, 0).n_runs, 3);
    assert_int_equal(hone_dataset_get(d, 1).n_runs, 0);
    assert_int_equal(hone_dataset_get(d, 0).n, 18);
    assert_int_equal(hone_dataset_pack(d, which, 2, id, target, weight, start), 8);
    assert_memory_equal(weight, want, sizeof want);
    for (i = 0; i < 18; i++)
        assert_true((weight[i] != 0) == (target[i] != N));
    assert_true(hone_dataset_weight(d, which, 1) == 6.5);
    assert_true(hone_dataset_weight(d, which, 2) == 8.5);
    hone_dataset_close(d);
}

/* The weight of a row weighs its answer, and with train_on_prompt the question too. */
static void weights_of_rows(void **state)
{
    const char *row = "{\"question\":\"a\",\"answer\":\"b\",\"weight\":0.5}\n";
    hone_dataset_options o = {.max_length = 100, .overlong = HONE_OVERLONG_ERROR, .threads = 1};
    const uint32_t which[] = {0};
    hone_dataset *d = opened(row, o);

    (void)state;
    assert_int_equal(hone_dataset_get(d, 0).n_targets, 2);
    assert_true(hone_dataset_weight(d, which, 1) == 1);
    hone_dataset_close(d);
    o.train_on_prompt = true;
    d = opened(row, o);
    assert_true(hone_dataset_get(d, 0).n_targets > 2);
    assert_true(hone_dataset_weight(d, which, 1) == 0.5 * (double)hone_dataset_get(d, 0).n_targets);
    hone_dataset_close(d);
}

static bool countdown(void *ud, size_t size)
{
    int *left = ud;

    (void)size;
    return (*left)-- > 0;
}

static void every_allocation_may_fail(void **state)
{
    hone_dataset_options o = {
        .max_length = 12, .overlong = HONE_OVERLONG_SPLIT, .max_samples = 0, .threads = 1};
    hone_dataset *d = NULL;
    int n, left, rc = HONE_ENOMEM;

    (void)state;
    put(ROW(M("user", "aaaa") "," M("assistant", "b") "," M("user", "cccc") "," M("assistant", "d"))
            QA("a", "b"));
    for (n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = hone_dataset_open(&d, paths, 1, &plain, &o, &err);
        hone_mem_hook(NULL, NULL);
        assert_true(rc == err.code && (rc == 0 || rc == HONE_ENOMEM));
        assert_true(n < 10000);
        /* Failing to shrink is not an error, so the last allocations fail unseen. */
        if (!rc && left < 0) {
            hone_dataset_close(d);
            rc = HONE_ENOMEM;
        }
    }
    assert_true(n > 20);
    for (rc = HONE_ENOMEM, n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;
        uint32_t *train, *val;
        size_t n_train, n_val;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = hone_dataset_split(d, 1, 1, &train, &n_train, &val, &n_val, &err);
        hone_mem_hook(NULL, NULL);
        assert_true(rc == 0 || (rc == HONE_ENOMEM && !train && !val));
        hone_free(train);
        hone_free(val);
    }
    hone_dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_tokens_and_masks),
        cmocka_unit_test(no_run_skips_the_checks),
        cmocka_unit_test(long_rows_stop_the_run_by_default),
        cmocka_unit_test(long_rows_are_dropped_and_counted),
        cmocka_unit_test(long_rows_are_cut_and_counted),
        cmocka_unit_test(long_rows_are_split_between_turns),
        cmocka_unit_test(max_samples_reads_no_further),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(splits_are_exact_and_repeatable),
        cmocka_unit_test(parts_of_a_row_stay_together),
        cmocka_unit_test(epochs_have_their_own_order),
        cmocka_unit_test(packing_shifts_targets_inside_rows),
        cmocka_unit_test(weights_follow_their_turns),
        cmocka_unit_test(weights_of_rows),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, tear_down);
}
