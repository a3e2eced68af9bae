/* The sampler against vectors of transformers' logits processors (golden/make_sampling_golden.py), its draw, its
 * refusals, and against a plain sort on a vocabulary of real size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "infer/sampling.h"

/* The next word of *line, or NULL; *line moves past it. */
static char *next_word(char **line)
{
    char *word;

    do
        word = strsep(line, " \n");
    while (word && !*word);
    return word;
}

static void check_case(FILE *f, char *head, int number)
{
    static char line[1 << 20];
    static float logits[1 << 12];
    static int32_t prompt[1 << 12];
    hone_sampling p = {0};
    hone_sampler *s;
    hone_error err = HONE_ERROR_INIT;
    int32_t vocab, n = 0, id, i = 0;
    const int32_t *kept;
    const double *w;
    double total = 0;
    size_t n_kept, k;
    char *word, *rest;

    assert_int_equal(sscanf(head, "case %d %lf %d %lf %lf %lf", &vocab, &p.temperature, &p.top_k, &p.top_p,
                            &p.min_p, &p.repetition_penalty),
                     6);
    assert_int_equal(hone_sampling_check(&p, &err), 0);
    assert_non_null(fgets(line, sizeof line, f));
    for (rest = line, next_word(&rest); (word = next_word(&rest)); n++)
        prompt[n] = (int32_t)strtol(word, NULL, 10);
    assert_non_null(fgets(line, sizeof line, f));
    for (rest = line, next_word(&rest); (word = next_word(&rest)); i++) {
        uint32_t bits = (uint32_t)strtoul(word, NULL, 16);

        memcpy(&logits[i], &bits, sizeof bits);
    }
    assert_int_equal(i, vocab);
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(hone_sampler_new(&s, vocab, &err), 0);
    hone_sampler_start(s, &p, prompt, (size_t)n);
    assert_int_equal(hone_sampler_next(s, &id, logits, &err), 0);
    rest = line;
    assert_string_equal(next_word(&rest), "kept");
    if (p.temperature == 0) {
        assert_int_equal(id, strtol(next_word(&rest), NULL, 10));
        hone_sampler_free(s);
        return;
    }
    n_kept = hone_sampler_kept(s, &kept, &w);
    for (k = 0; k < n_kept; k++)
        total += w[k];
    for (k = 0; (word = next_word(&rest)); k++) {
        char *prob;
        long want = strtol(word, &prob, 10);

        if (k >= n_kept || kept[k] != want)
            fail_msg("case %d: entry %zu of the kept ids should be %ld", number, k, want);
        if (fabs(w[k] / total - strtod(prob + 1, NULL)) > 2e-6)
            fail_msg("case %d: id %ld has probability %.9g, wanted %s", number, want, w[k] / total, prob + 1);
    }
    assert_int_equal(k, n_kept);
    hone_sampler_free(s);
}

static void golden(void **state)
{
    static char line[1 << 16];
    FILE *f = fopen(HONE_TEST_DIR "/golden/sampling.txt", "r");
    int n = 0;

    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        check_case(f, line, ++n);
    fclose(f);
    assert_int_equal(n, 60);
}

static void greedy_takes_the_first_of_equals(void **state)
{
    hone_sampling p = {0, 3, 0.1, 0.9, 1, 5};
    float z[] = {-1, 4, 2, 4, 4};
    hone_sampler *s;
    int32_t id;

    (void)state;
    assert_int_equal(hone_sampler_new(&s, 5, NULL), 0);
    hone_sampler_start(s, &p, NULL, 0);
    assert_int_equal(hone_sampler_next(s, &id, z, NULL), 0);
    assert_int_equal(id, 1);
    hone_sampler_free(s);
}

/* The draw is the inverse of the cumulative distribution at u, in id order, and u comes from the seed alone. */
static void draw_follows_the_stream(void **state)
{
    hone_sampling p = {1, 0, 1, 0, 1, 42};
    hone_rng rng = hone_rng_make(42, 0x73616d706c65ull);
    float z[4], base[] = {logf(0.1f), logf(0.2f), logf(0.3f), logf(0.4f)};
    double edge[] = {0.1, 0.3, 0.6, 1};
    int count[4] = {0}, i;
    hone_sampler *s;

    (void)state;
    assert_int_equal(hone_sampler_new(&s, 4, NULL), 0);
    hone_sampler_start(s, &p, NULL, 0);
    for (i = 0; i < 20000; i++) {
        double u = hone_rng_uniform(&rng);
        int32_t id, want = 0;

        memcpy(z, base, sizeof z);
        assert_int_equal(hone_sampler_next(s, &id, z, NULL), 0);
        while (want < 3 && u >= edge[want])
            want++;
        if (fabs(u - edge[want]) > 1e-6 && (want == 0 || fabs(u - edge[want - 1]) > 1e-6))
            assert_int_equal(id, want);
        count[id]++;
    }
    for (i = 0; i < 4; i++)
        assert_true(fabs(count[i] / 20000. - (i + 1) / 10.) < 0.02);
    hone_sampler_start(s, &p, NULL, 0); /* again: the same draws */
    rng = hone_rng_make(42, 0x73616d706c65ull);
    for (i = 0; i < 10; i++) {
        double u = hone_rng_uniform(&rng);
        int32_t id;

        memcpy(z, base, sizeof z);
        hone_sampler_next(s, &id, z, NULL);
        assert_true(u < edge[id] + 1e-6 && (id == 0 || u > edge[id - 1] - 1e-6));
    }
    hone_sampler_free(s);
}

static void generated_ids_are_penalised_once(void **state)
{
    hone_sampling p = {0, 0, 1, 0, 2, 0};
    hone_sampler *s;
    float z[3];
    int32_t id;
    static const int32_t want[] = {2, 1, 2};
    size_t i;

    (void)state;
    assert_int_equal(hone_sampler_new(&s, 3, NULL), 0);
    hone_sampler_start(s, &p, (const int32_t[]){-1, 99}, 2); /* ids outside are passed over */
    for (i = 0; i < 3; i++) {
        memcpy(z, (const float[]){-1, 6, 8}, sizeof z);
        assert_int_equal(hone_sampler_next(s, &id, z, NULL), 0);
        assert_int_equal(id, want[i]); /* 8; then 6 against 8/2; then 6/2 against 8/2, not 8/4 */
    }
    hone_sampler_start(s, &p, NULL, 0); /* a new request forgets */
    memcpy(z, (const float[]){-1, 6, 8}, sizeof z);
    hone_sampler_next(s, &id, z, NULL);
    assert_int_equal(id, 2);
    hone_sampler_free(s);
}

static void bad_numbers_are_refused(void **state)
{
    static const hone_sampling bad[] = {{-1, 0, 1, 0, 1, 0},  {NAN, 0, 1, 0, 1, 0},     {1, -1, 1, 0, 1, 0},
                                        {1, 0, 1.1, 0, 1, 0}, {1, 0, -0.1, 0, 1, 0},    {1, 0, 1, 2, 1, 0},
                                        {1, 0, 1, 0, 0, 0},   {INFINITY, 0, 1, 0, 1, 0}};
    static const char *const name[] = {"temperature", "temperature",        "top_k",      "top_p", "top_p",
                                       "min_p",       "repetition_penalty", "temperature"};
    hone_sampling p = hone_sampling_default();
    hone_error err = HONE_ERROR_INIT;
    hone_sampler *s;
    int32_t id;
    size_t i;

    (void)state;
    assert_int_equal(hone_sampling_check(&p, &err), 0);
    for (i = 0; i < HONE_COUNT(bad); i++) {
        hone_error e = HONE_ERROR_INIT;

        assert_int_equal(hone_sampling_check(&bad[i], &e), HONE_EINVAL);
        assert_non_null(strstr(e.message, name[i]));
    }
    assert_int_equal(hone_sampler_new(&s, 2, NULL), 0);
    hone_sampler_start(s, &p, NULL, 0);
    assert_int_equal(hone_sampler_next(s, &id, (float[]){1, NAN}, &err), HONE_ERANGE);
    assert_int_equal(hone_sampler_next(s, &id, (float[]){INFINITY, 0}, NULL), HONE_ERANGE);
    assert_int_equal(hone_sampler_next(s, &id, (float[]){-INFINITY, -INFINITY}, NULL), HONE_ERANGE);
    assert_int_equal(hone_sampler_next(s, &id, (float[]){-INFINITY, -50}, NULL), 0);
    assert_int_equal(id, 1);
    hone_sampler_free(s);
}

static const float *sorted_by;

static int descending(const void *a, const void *b)
{
    float x = sorted_by[*(const int32_t *)a], y = sorted_by[*(const int32_t *)b];

    return (x < y) - (x > y);
}

/* 151,936 ids: the kept sets of top_k and top_p are the leading part of a plain sort. */
static void large_vocabulary_against_a_sort(void **state)
{
    enum { V = 151936 };
    float *z = hone_calloc(V, sizeof *z), *work = hone_calloc(V, sizeof *z);
    int32_t *order = hone_calloc(V, sizeof *order), id, i;
    hone_rng rng = hone_rng_make(1, 1);
    hone_sampler *s;
    const int32_t *kept;
    const double *w;
    double total = 0, mass = 0;
    size_t n, k;

    (void)state;
    assert_non_null(z);
    assert_non_null(work);
    assert_non_null(order);
    for (i = 0; i < V; i++) {
        z[i] = (float)((hone_rng_uniform(&rng) + hone_rng_uniform(&rng) + hone_rng_uniform(&rng) - 1.5) * 12);
        order[i] = i;
    }
    sorted_by = z;
    qsort(order, V, sizeof *order, descending);
    assert_int_equal(hone_sampler_new(&s, V, NULL), 0);
    hone_sampler_start(s, &(hone_sampling){1, 1000, 1, 0, 1, 0}, NULL, 0);
    memcpy(work, z, V * sizeof *z);
    assert_int_equal(hone_sampler_next(s, &id, work, NULL), 0);
    n = hone_sampler_kept(s, &kept, &w);
    assert_true(n >= 1000 && n < 1010);
    for (k = 0; k < n; k++)
        assert_true(z[kept[k]] >= z[order[999]] && (k == 0 || kept[k] > kept[k - 1]));
    hone_sampler_start(s, &(hone_sampling){1, 0, 0.37, 0, 1, 0}, NULL, 0);
    memcpy(work, z, V * sizeof *z);
    assert_int_equal(hone_sampler_next(s, &id, work, NULL), 0);
    n = hone_sampler_kept(s, &kept, &w);
    for (i = 0; i < V; i++)
        total += exp((double)(z[i] - z[order[0]]));
    for (k = 0; mass < 0.37 * total; k++)
        mass += exp((double)(z[order[k]] - z[order[0]]));
    assert_true(n + 1 >= k && n <= k + 1); /* the order of summation may move the border by one */
    for (k = 0; k < n; k++)
        assert_true(z[kept[k]] >= z[order[n]]);
    hone_sampler_free(s);
    hone_free(z);
    hone_free(work);
    hone_free(order);
}

static int allowed;

static bool fail_after(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return allowed-- > 0;
}

static void every_failed_allocation_is_reported(void **state)
{
    int n;

    (void)state;
    for (n = 0;; n++) {
        hone_error err = HONE_ERROR_INIT;
        hone_sampler *s = NULL;
        int rc;

        allowed = n;
        hone_mem_hook(fail_after, NULL);
        rc = hone_sampler_new(&s, 100, &err);
        hone_mem_hook(NULL, NULL);
        if (!rc) {
            hone_sampler_free(s);
            break;
        }
        assert_int_equal(rc, HONE_ENOMEM);
        assert_null(s);
    }
    assert_int_equal(n, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(greedy_takes_the_first_of_equals),
        cmocka_unit_test(draw_follows_the_stream),
        cmocka_unit_test(generated_ids_are_penalised_once),
        cmocka_unit_test(bad_numbers_are_refused),
        cmocka_unit_test(large_vocabulary_against_a_sort),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
