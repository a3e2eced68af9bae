/* Choosing rows: the promises of every option on random rows, the same places on every machine (golden of a second
 * implementation), and options that can not be met. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/choose.h"

#define MOST 400

static uint32_t below(hone_rng *r, uint32_t n)
{
    return hone_rng_below(r, n);
}

/* Rows of three skewed tasks (and none), two labels, small groups and two paths. */
static void random_rows(choose_row *row, size_t n, uint64_t seed)
{
    hone_rng r = hone_rng_make(seed, 1);
    size_t i;

    for (i = 0; i < n; i++) {
        uint32_t x = below(&r, 100);

        row[i] = (choose_row){.task = x < 60   ? 1
                                      : x < 85 ? 2
                                      : x < 95 ? 3
                                               : 0,
                              .label = below(&r, 3),
                              .group = below(&r, (uint32_t)n / 3),
                              .source = below(&r, 4) == 0,
                              .length = below(&r, 1000),
                              .turns = (uint16_t)(1 + below(&r, 4)),
                              .score = below(&r, 10) ? (float)below(&r, 1000) / 7 : NAN};
    }
}

/* What holds for every choice: a row has places or a reason, never both; copies count from 0 without a gap; a row that is
 * held out stands nowhere else. */
static void whole(const choice *c, size_t n)
{
    size_t *places = calloc(n, sizeof *places), i;
    uint8_t *held = calloc(n, 1), *seen = calloc(n, 65536 / 8);

    for (i = 0; i < c->n + c->n_validation; i++) {
        const choose_place *p = &c->place[i];

        assert_true(p->row < n);
        assert_int_equal(p->validation, i >= c->n);
        if (p->validation)
            assert_false(held[p->row]++);
        assert_false(seen[(size_t)p->row * 8192 + p->copy / 8] >> p->copy % 8 & 1);
        seen[(size_t)p->row * 8192 + p->copy / 8] |= (uint8_t)(1 << p->copy % 8);
        places[p->row]++;
    }
    for (i = 0; i < n; i++) {
        size_t k;

        assert_int_equal(places[i] == 0, c->why_not[i] != 0);
        assert_true(!held[i] || places[i] == 1);
        for (k = 0; k < places[i]; k++)
            assert_true(seen[i * 8192 + k / 8] >> k % 8 & 1);
    }
    free(places);
    free(held);
    free(seen);
}

static choice chosen(const choose_row *row, size_t n, const hone_choose_options *o)
{
    hone_error err = HONE_ERROR_INIT;
    choice c, again;

    if (choose_rows(&c, row, n, o, &err))
        fail_msg("%s", err.message);
    whole(&c, n);
    assert_int_equal(choose_rows(&again, row, n, o, &err), 0);
    assert_int_equal(again.n, c.n);
    assert_memory_equal(again.place, c.place, (c.n + c.n_validation) * sizeof *c.place);
    choice_clear(&again);
    return c;
}

static size_t places_of(const choice *c, const choose_row *row, uint32_t task, bool validation)
{
    size_t i, n = 0;

    for (i = 0; i < c->n + c->n_validation; i++)
        n += c->place[i].validation == validation && row[c->place[i].row].task == task;
    return n;
}

static size_t rows_of(const choose_row *row, size_t n, uint32_t task)
{
    size_t i, count = 0;

    for (i = 0; i < n; i++)
        count += row[i].task == task;
    return count;
}

static void tasks_are_balanced(void **state)
{
    choose_row row[MOST];
    uint64_t seed;
    uint32_t t;

    (void)state;
    for (seed = 0; seed < 20; seed++) {
        hone_choose_options o = {.balance = HONE_BALANCE_TASK, .seed = seed, .order = HONE_ORDER_SHUFFLE};
        size_t n[4], small = MOST, large = 0, total = 0;
        double sum = 0;
        choice c;

        random_rows(row, MOST, seed);
        for (t = 0; t < 4; t++)
            n[t] = rows_of(row, MOST, t);
        for (t = 1; t < 4; t++) {
            small = HONE_MIN(small, n[t]);
            large = HONE_MAX(large, n[t]);
            total += n[t];
            sum += sqrt((double)n[t]);
        }
        o.method = HONE_BALANCE_DOWN;
        c = chosen(row, MOST, &o);
        for (t = 1; t < 4; t++)
            assert_int_equal(places_of(&c, row, t, false), small);
        assert_int_equal(places_of(&c, row, 0, false), n[0]); /* rows without a task are left alone */
        choice_clear(&c);

        o.method = HONE_BALANCE_UP;
        c = chosen(row, MOST, &o);
        for (t = 1; t < 4; t++)
            assert_int_equal(places_of(&c, row, t, false), large);
        choice_clear(&c);

        o.method = HONE_BALANCE_TEMPERATURE;
        o.temperature = 2;
        c = chosen(row, MOST, &o);
        for (t = 1; t < 4; t++)
            assert_true(
                fabs((double)places_of(&c, row, t, false) - (double)total * sqrt((double)n[t]) / sum) < 1);
        assert_int_equal(c.n, MOST);
        choice_clear(&c);
        o.temperature = 1; /* as they are */
        c = chosen(row, MOST, &o);
        for (t = 1; t < 4; t++)
            assert_int_equal(places_of(&c, row, t, false), n[t]);
        choice_clear(&c);
    }
}

static void paths_are_mixed(void **state)
{
    static const double weight[][2] = {{1, 1}, {3, 1}, {0.2, 0.8}, {1, 0}, {0, 5}};
    choose_row row[MOST];
    size_t i, k, w, n[2] = {0, 0};

    (void)state;
    random_rows(row, MOST, 5);
    for (i = 0; i < MOST; i++)
        n[row[i].source]++;
    for (w = 0; w < HONE_COUNT(weight); w++) {
        hone_choose_options o = {.weight = weight[w], .n_weight = 2, .seed = 3};
        choice c = chosen(row, MOST, &o);
        size_t got[2] = {0, 0};
        double sum = weight[w][0] + weight[w][1];
        bool full = false;

        for (i = 0; i < c.n; i++)
            got[row[c.place[i].row].source]++;
        for (k = 0; k < 2; k++) {
            assert_true(fabs((double)got[k] - (double)c.n * weight[w][k] / sum) < 1);
            full |= weight[w][k] > 0 && got[k] == n[k];
        }
        assert_true(full); /* no row more could be taken */
        choice_clear(&c);
    }
}

static void groups_stay_together(void **state)
{
    choose_row row[MOST];
    uint64_t seed;
    size_t i, j;

    (void)state;
    for (seed = 0; seed < 20; seed++) {
        hone_choose_options o = {
            .val_size = 0.2, .seed = seed, .balance = HONE_BALANCE_TASK, .method = HONE_BALANCE_UP};
        uint8_t side[MOST] = {0};
        choice c;

        random_rows(row, MOST, seed);
        o.split_by = seed % 2 ? HONE_SPLIT_GROUP : HONE_SPLIT_TASK;
        c = chosen(row, MOST, &o);
        assert_true(c.n_validation <= 80 && c.n_validation >= 70);
        for (i = 0; i < c.n + c.n_validation; i++)
            side[c.place[i].row] = c.place[i].validation ? 2 : 1;
        for (i = 0; i < MOST; i++)
            for (j = 0; j < i; j++)
                assert_true(!row[i].group || row[i].group != row[j].group || side[i] == side[j]);
        choice_clear(&c);

        /* without groups the strata are met exactly */
        for (i = 0; i < MOST; i++)
            row[i].group = 0;
        o.split_by = HONE_SPLIT_TASK;
        c = chosen(row, MOST, &o);
        assert_int_equal(c.n_validation, 80);
        for (i = 0; i < 4; i++)
            assert_true(fabs((double)places_of(&c, row, (uint32_t)i, true) -
                             0.2 * (double)rows_of(row, MOST, (uint32_t)i)) < 1);
        choice_clear(&c);
    }
}

static void tasks_have_a_maximum(void **state)
{
    hone_choose_options o = {.max_per_task = 30};
    choose_row row[MOST];
    uint32_t t;
    choice c;

    (void)state;
    random_rows(row, MOST, 9);
    c = chosen(row, MOST, &o);
    for (t = 1; t < 4; t++)
        assert_int_equal(places_of(&c, row, t, false), HONE_MIN(rows_of(row, MOST, t), (size_t)30));
    assert_int_equal(places_of(&c, row, 0, false), rows_of(row, MOST, 0));
    choice_clear(&c);
}

static void orders_hold(void **state)
{
    hone_choose_options o = {.order = HONE_ORDER_CURRICULUM, .curriculum = "score"};
    choose_row row[MOST];
    double hardest = 0;
    size_t i, n[3] = {0};
    choice c;

    (void)state;
    random_rows(row, MOST, 11);
    c = chosen(row, MOST, &o);
    for (i = 1; i < c.n; i++) {
        float a = row[c.place[i - 1].row].score, b = row[c.place[i].row].score;

        assert_true(isnan(b) || a <= b);
    }
    choice_clear(&c);

    o = (hone_choose_options){.order = HONE_ORDER_STAGED, .stage = {0.25, 0.5, 0.25}, .seed = 4};
    c = chosen(row, MOST, &o);
    for (i = 0; i < c.n; i++) {
        const choose_row *r = &row[c.place[i].row], *before = i ? &row[c.place[i - 1].row] : r;
        uint8_t stage = c.place[i].stage;

        n[stage]++;
        assert_true(!i || c.place[i - 1].stage <= stage);
        if (stage < 2)
            hardest = HONE_MAX(hardest, r->length);
        else
            assert_true(r->length >= hardest);
        if (stage == 1 && c.place[i - 1].stage == 1)
            assert_true(!r->task || (before->task && before->task <= r->task));
        if (stage == 2 && c.place[i - 1].stage == 2)
            assert_true(before->length <= r->length);
    }
    assert_int_equal(n[0], MOST / 4);
    assert_int_equal(n[1], MOST / 2);
    choice_clear(&c);
}

static void what_can_not_be_met_is_refused(void **state)
{
    static const double two[] = {1, 1}, none[] = {0, 0}, negative[] = {1, -1}, one[] = {1};
    static const struct {
        hone_choose_options o;
        const char *names;
    } bad[] = {
        {{.val_size = 10}, "data.val_size"},
        {{.val_size = 0.99}, "data.val_size"},
        {{.val_size = NAN}, "data.val_size"},
        {{.val_size = 1, .split_by = HONE_SPLIT_GROUP}, "data.val_size"},
        {{.max_per_task = 1}, "data.mix.max_per_task"},
        {{.balance = HONE_BALANCE_TASK}, "data.mix.balance"},
        {{.balance = HONE_BALANCE_LABEL}, "data.mix.balance"},
        {{.weight = two, .n_weight = 2}, "data.mix.weights"},
        {{.weight = none, .n_weight = 2}, "data.mix.weights"},
        {{.weight = negative, .n_weight = 2}, "data.mix.weights"},
        {{.weight = one, .n_weight = 0, .order = HONE_ORDER_CURRICULUM, .curriculum = "ifd"},
         "data.mix.curriculum"},
        {{.order = HONE_ORDER_STAGED, .stage = {0.5, 0.5, 0.5}}, "data.mix.stages"},
        {{.order = HONE_ORDER_STAGED, .stage = {1.5, -0.5, 0}}, "data.mix.stages"},
    };
    choose_row row[10];
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(row); i++)
        row[i] = (choose_row){.group = 1 + (uint32_t)i / 5, .score = NAN};
    for (i = 0; i < HONE_COUNT(bad); i++) {
        hone_error err = HONE_ERROR_INIT;
        choice c;

        if (choose_rows(&c, row, HONE_COUNT(row), &bad[i].o, &err) != HONE_EINVAL ||
            strncmp(err.message, bad[i].names, strlen(bad[i].names)))
            fail_msg("case %zu: %s", i, err.message);
        assert_null(c.place);
        assert_null(c.why_not);
    }
}

/* ---- golden -------------------------------------------------------------------------------------------------------- */

#define GOLDEN_ROWS 48

static void golden_rows(choose_row *row)
{
    uint32_t i;

    for (i = 0; i < GOLDEN_ROWS; i++)
        row[i] = (choose_row){.task = i % 12 < 7    ? 1
                                      : i % 12 < 10 ? 2
                                      : i % 12 < 11 ? 3
                                                    : 0,
                              .label = i % 5 == 0 ? 0 : 1 + i * i % 3,
                              .group = i % 4 == 3 ? 0 : 1 + i / 5,
                              .source = i >= 30,
                              .length = i * 37 % 101,
                              .turns = (uint16_t)(1 + i % 3),
                              .score = i % 11 == 10 ? NAN : (float)(i * 13 % 17) / 16};
}

static void every_machine_agrees(void **state)
{
    static const double weight[] = {1, 2};
    static const struct {
        const char *name;
        hone_choose_options o;
    } cases[] = {
        {"shuffle", {.order = HONE_ORDER_SHUFFLE}},
        {"down", {.balance = HONE_BALANCE_TASK}},
        {"up", {.balance = HONE_BALANCE_LABEL, .method = HONE_BALANCE_UP, .order = HONE_ORDER_SHUFFLE}},
        {"temperature", {.balance = HONE_BALANCE_TASK, .method = HONE_BALANCE_TEMPERATURE, .temperature = 2}},
        {"max_per_task", {.max_per_task = 5, .order = HONE_ORDER_SHUFFLE}},
        {"mix", {.weight = weight, .n_weight = 2}},
        {"val_row", {.val_size = 0.2, .order = HONE_ORDER_CURRICULUM, .curriculum = "length"}},
        {"val_group",
         {.val_size = 7,
          .split_by = HONE_SPLIT_GROUP,
          .order = HONE_ORDER_CURRICULUM,
          .curriculum = "score"}},
        {"val_task",
         {.val_size = 0.25,
          .split_by = HONE_SPLIT_TASK,
          .balance = HONE_BALANCE_TASK,
          .method = HONE_BALANCE_UP,
          .order = HONE_ORDER_STAGED,
          .curriculum = "turns",
          .stage = {0.3, 0.5, 0.2}}},
    };
    choose_row row[GOLDEN_ROWS];
    char *text, *line, *rest;
    hone_error err = HONE_ERROR_INIT;
    size_t len, i, k;

    (void)state;
    golden_rows(row);
    assert_int_equal(hone_file_read(&text, &len, HONE_TEST_DIR "/golden/choose.txt", 1 << 20, &err), 0);
    for (k = 0, line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), k++) {
        hone_choose_options o = cases[k].o;
        hone_buf b = {0};
        choice c;

        o.seed = 7;
        c = chosen(row, GOLDEN_ROWS, &o);
        hone_buf_puts(&b, cases[k].name);
        for (i = 0; i < c.n; i++)
            hone_buf_printf(&b, " %u:%u:%u", c.place[i].row, c.place[i].copy, c.place[i].stage);
        hone_buf_puts(&b, " |");
        for (; i < c.n + c.n_validation; i++)
            hone_buf_printf(&b, " %u", c.place[i].row);
        assert_string_equal(b.data, line);
        hone_buf_clear(&b);
        choice_clear(&c);
    }
    assert_int_equal(k, HONE_COUNT(cases));
    hone_free(text);
}

/* ---- failed allocations -------------------------------------------------------------------------------------------- */

static bool one_fails(void *ud, size_t size)
{
    (void)size;
    return (*(long *)ud)-- != 0;
}

static void every_allocation_may_fail(void **state)
{
    static const double weight[] = {1, 1};
    hone_choose_options o = {.val_size = 0.1,
                             .split_by = HONE_SPLIT_TASK,
                             .max_per_task = 60,
                             .balance = HONE_BALANCE_TASK,
                             .method = HONE_BALANCE_TEMPERATURE,
                             .temperature = 3,
                             .weight = weight,
                             .n_weight = 2,
                             .order = HONE_ORDER_STAGED,
                             .stage = {0.5, 0.25, 0.25}};
    choose_row row[MOST];
    long k, left;
    int rc = HONE_ENOMEM;

    (void)state;
    random_rows(row, MOST, 2);
    for (k = 0; rc == HONE_ENOMEM; k++) {
        hone_error err = HONE_ERROR_INIT;
        choice c;

        left = k;
        hone_mem_hook(one_fails, &left);
        rc = choose_rows(&c, row, MOST, &o, &err);
        hone_mem_hook(NULL, NULL);
        choice_clear(&c);
    }
    assert_int_equal(rc, 0);
    assert_true(k > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_are_balanced),   cmocka_unit_test(paths_are_mixed),
        cmocka_unit_test(groups_stay_together), cmocka_unit_test(tasks_have_a_maximum),
        cmocka_unit_test(orders_hold),          cmocka_unit_test(what_can_not_be_met_is_refused),
        cmocka_unit_test(every_machine_agrees), cmocka_unit_test(every_allocation_may_fail)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
