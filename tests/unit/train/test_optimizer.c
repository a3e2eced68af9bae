/* Optimisers against frozen steps of PyTorch, transformers and bitsandbytes (tests/golden/make_optimizer_golden.py); the
 * codes of moments against a search; the same bits for every number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "format/safetensors.h"
#include "train/optimizer.h"

#define STEPS 6

static hone_safetensors *golden;

static int open_golden(void **state)
{
    (void)state;
    return hone_safetensors_open(&golden, HONE_TEST_DIR "/golden/optimizers.safetensors", NULL);
}

static int close_golden(void **state)
{
    (void)state;
    hone_safetensors_close(golden);
    return 0;
}

static void *values(const char *name, size_t *size)
{
    const hone_tensor_info *t = hone_safetensors_find(golden, name);
    void *copy;

    if (!t)
        fail_msg("no tensor %s in the golden file", name);
    copy = hone_alloc(t->size);
    assert_non_null(copy);
    if (size)
        *size = t->size;
    return memcpy(copy, t->data, t->size);
}

/* The values at t = 0, the gradients of step t: make() of the script. */
static void make(float *out, size_t n, int t)
{
    size_t i;

    for (i = 0; i < n; i++)
        out[i] = (float)(sin(0.37 * (double)i + 1.3 * t) * pow(10, (double)(i * 7 % 13) / 8 - 1));
}

/* An adapter of bare tensors: a matrix with weight decay, a vector without. */
typedef struct bare {
    hone_adapter a;
    hone_param param[2];
    hone_config *c;
    hone_device *dev;
    hone_optimizer *o;
} bare;

static void bare_open(bare *b, int threads, int64_t rows, int64_t cols, int64_t vector,
                      const char *const *set)
{
    hone_device_params dp = hone_device_default();
    hone_error err = HONE_ERROR_INIT;

    memset(b, 0, sizeof *b);
    dp.threads = threads;
    b->param[0] = (hone_param){.role = HONE_PARAM_WEIGHT,
                               .module = HONE_UP,
                               .rows = rows,
                               .cols = cols,
                               .n = (size_t)(rows * cols),
                               .decay = true,
                               .lr_factor = 1};
    b->param[1] = (hone_param){.role = HONE_PARAM_BIAS,
                               .module = HONE_UP,
                               .rows = vector,
                               .at = b->param[0].n,
                               .n = (size_t)vector,
                               .lr_factor = 1};
    b->a.param = b->param;
    b->a.n_params = vector ? 2 : 1;
    b->a.n = b->param[0].n + b->param[1].n;
    b->a.value = hone_calloc(b->a.n, sizeof(float));
    b->a.grad = hone_calloc(b->a.n, sizeof(float));
    assert_true(b->a.value && b->a.grad);
    assert_int_equal(hone_device_open(&b->dev, &dp, &err), 0);
    assert_int_equal(hone_config_new(&b->c, &err), 0);
    for (; *set; set++)
        if (hone_config_set(b->c, *set, &err))
            fail_msg("%s", err.message);
    assert_int_equal(hone_optimizer_new(&b->o, b->dev, &b->a, b->c, &err), 0);
    make(b->a.value, b->param[0].n, 0);
    make(b->a.value + b->param[1].at, b->param[1].n, 0);
}

static void bare_close(bare *b)
{
    hone_optimizer_free(b->o);
    hone_config_free(b->c);
    hone_device_close(b->dev);
    hone_free(b->a.value);
    hone_free(b->a.grad);
}

/* Step t; the gradients are given four times as large and clipped to a quarter, which must change nothing. */
static void step(bare *b, int t)
{
    hone_error err = HONE_ERROR_INIT;
    size_t i;

    make(b->a.grad, b->param[0].n, t);
    make(b->a.grad + b->param[1].at, b->param[1].n, t);
    for (i = 0; i < b->a.n; i++)
        b->a.grad[i] *= 4;
    assert_int_equal(hone_optimizer_step(b->o, t, 0.2 / t, 0.25, &err), 0);
    for (i = 0; i < b->a.n; i++)
        assert_true(b->a.grad[i] == 0);
}

/* |got - want| over the way from the values at t = 0. */
static double error_of(const float *got, const float *want, size_t n)
{
    float *start = hone_alloc(n * sizeof *start);
    double diff = 0, way = 0;
    size_t i;

    make(start, n, 0);
    for (i = 0; i < n; i++) {
        diff += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        way += ((double)want[i] - start[i]) * ((double)want[i] - start[i]);
    }
    hone_free(start);
    return sqrt(diff / way);
}

static void steps_are_those_of_the_references(void **state)
{
    static const struct {
        const char *name, *set[8];
    } cases[] = {
        {"adamw", {"training.optim=adamw_torch", "training.weight_decay=0.1"}},
        {"adamw_betas",
         {"training.weight_decay=0", "training.adam_beta1=0.8", "training.adam_beta2=0.95",
          "training.adam_epsilon=1e-6"}},
        {"sgd", {"training.optim=sgd", "training.weight_decay=0.1"}},
        {"sgd_momentum", {"training.optim=sgd", "training.weight_decay=0.1", "training.sgd_momentum=0.9"}},
        {"adafactor", {"training.optim=adafactor", "training.weight_decay=0.1"}},
        {"adamw",
         {"training.optim=adamw_8bit", "training.weight_decay=0.1"}}, /* small tensors: f32 moments */
    };
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(cases); i++) {
        double worst = 0;
        bare b;
        int t;

        bare_open(&b, 2, 12, 20, 7, cases[i].set);
        for (t = 1; t <= STEPS; t++) {
            step(&b, t);
            for (k = 0; k < 2; k++) {
                const hone_param *p = &b.param[k];
                char name[64];
                float *want;

                snprintf(name, sizeof name, "%s.%s", cases[i].name, k ? "b" : "w");
                want = values(name, NULL);
                worst = fmax(worst, error_of(b.a.value + p->at, want + (size_t)(t - 1) * p->n, p->n));
                hone_free(want);
            }
        }
        print_message("%s (%s): %.1e\n", cases[i].name, cases[i].set[0], worst);
        assert_true(worst <= 1e-6);
        bare_close(&b);
    }
}

static const char *const bytes[] = {"training.optim=adamw_8bit", "training.weight_decay=0.1", NULL};

static void moments_of_a_byte(void **state)
{
    const size_t n = 16 * 256, blocks = 16;
    float *want, *before, *m_max, *v_max;
    uint8_t *m, *v;
    char *held;
    size_t size;
    bool in_file;
    double e, whole;
    bare b;
    int t;

    (void)state;
    bare_open(&b, 2, 16, 256, 0, bytes);
    for (t = 1; t <= STEPS; t++)
        step(&b, t);
    want = values("adamw8", NULL);
    whole = error_of(b.a.value, want, n);
    hone_free(want);
    bare_close(&b);

    /* bitsandbytes' sixth step from its own states */
    bare_open(&b, 2, 16, 256, 0, bytes);
    before = values("bnb.before", NULL);
    m = values("bnb.m", NULL);
    v = values("bnb.v", NULL);
    m_max = values("bnb.m_max", NULL);
    v_max = values("bnb.v_max", NULL);
    want = values("bnb.after", NULL);
    held = hone_optimizer_state(b.o, &size, &in_file);
    assert_int_equal(size, 2 * n + 2 * blocks * sizeof(float));
    memcpy(b.a.value, before, n * sizeof(float));
    memcpy(held, m_max, blocks * sizeof(float));
    memcpy(held + blocks * sizeof(float), v_max, blocks * sizeof(float));
    memcpy(held + 2 * blocks * sizeof(float), m, n);
    memcpy(held + 2 * blocks * sizeof(float) + n, v, n);
    step(&b, STEPS);
    e = error_of(b.a.value, want, n);
    print_message("six steps with exact codes: %.1e; a step from bitsandbytes' states: %.1e\n", whole, e);
    assert_true(whole <= 1e-6);
    assert_true(e <= 1e-6);
    hone_free(before);
    hone_free(m);
    hone_free(v);
    hone_free(m_max);
    hone_free(v_max);
    hone_free(want);
    bare_close(&b);
}

/* Both maps are bitsandbytes', and every code after a step is the nearest value of its map. */
static void codes_are_the_nearest(void **state)
{
    const size_t n = 40 * 256;
    float map[256], *want, *max, m[256], v[256];
    uint8_t *codes;
    size_t size, i, k;
    bool in_file;
    bare b;

    (void)state;
    for (k = 0; k < 2; k++) {
        hone_dynamic_map(map, k == 0);
        want = values(k ? "map_unsigned" : "map_signed", NULL);
        for (i = 0; i < 256; i++)
            assert_true(fabs(map[i] - want[i]) <= 2e-7 * fabs(want[i]));
        hone_free(want);
    }
    bare_open(&b, 1, 40, 256, 0, bytes);
    for (i = 0; i < n; i++) /* every decade, both signs, exact zeros and values of the map itself */
        b.a.grad[i] = i % 97 == 0 ? 0 : (float)(sin(0.37 * (double)i) * pow(10, -(double)(i * 5 % 79) / 10));
    hone_dynamic_map(map, true);
    memcpy(b.a.grad, map, sizeof map);
    want = hone_alloc(n * sizeof *want);
    memcpy(want, b.a.grad, n * sizeof *want);
    assert_int_equal(hone_optimizer_step(b.o, 1, 0.1, 1, NULL), 0);
    max = hone_optimizer_state(b.o, &size, &in_file);
    codes = (uint8_t *)(max + 80);
    for (i = 0; i < n; i++) {
        const size_t block = i / 256;
        int c, best[2] = {0, 0};

        m[i % 256] = (float)(1 - 0.9) * want[i];
        v[i % 256] = (float)(1 - 0.999) * (want[i] * want[i]);
        for (k = 0; k < 2; k++) {
            const double x = k ? (double)v[i % 256] / max[40 + block] : (double)m[i % 256] / max[block];

            hone_dynamic_map(map, k == 0);
            for (c = 1; c < 256; c++)
                if (fabs(map[c] - x) < fabs(map[best[k]] - x))
                    best[k] = c;
            c = codes[k * n + i];
            /* on a midpoint, to rounding, both neighbours are nearest */
            if (fabs(map[c] - x) > fabs(map[best[k]] - x) * (1 + 1e-6))
                fail_msg("value %zu of map %zu: %g has code %d, the nearest is %d", i, k, x, c, best[k]);
        }
    }
    hone_free(want);
    bare_close(&b);
}

static void threads_do_not_change_bits(void **state)
{
    static const char *const optim[] = {"training.optim=adamw_torch", "training.optim=adamw_8bit",
                                        "training.optim=adafactor", "training.optim=sgd"};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(optim); i++) {
        const char *const set[] = {optim[i], "training.sgd_momentum=0.9", NULL};
        bare one, three;
        int t;

        bare_open(&one, 1, 701, 130, 77, set);
        bare_open(&three, 3, 701, 130, 77, set);
        for (t = 1; t <= 3; t++) {
            step(&one, t);
            step(&three, t);
        }
        assert_memory_equal(one.a.value, three.a.value, one.a.n * sizeof(float));
        bare_close(&one);
        bare_close(&three);
    }
}

/* Bytes of a mapping's pages that are in this process's memory, from the bits of /proc/self/pagemap. */
static size_t resident(const void *at, size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t entry;
    size_t i, n = 0;
    FILE *f = fopen("/proc/self/pagemap", "rb");

    assert_non_null(f);
    for (i = 0; i < size; i += page) {
        assert_int_equal(fseek(f, (long)(((uintptr_t)at + i) / page * sizeof entry), SEEK_SET), 0);
        assert_int_equal(fread(&entry, sizeof entry, 1, f), 1);
        n += entry >> 63 ? page : 0;
    }
    fclose(f);
    return n;
}

/* States in a file: same bits of values and states, over several pieces and a part of one, and resident no longer than they
 * are used. */
static void a_file_does_not_change_bits(void **state)
{
    static const char *const optim[] = {"training.optim=adamw_torch", "training.optim=adamw_8bit",
                                        "training.optim=adafactor", "training.optim=sgd"};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(optim); i++) {
        const char *const set[] = {optim[i], "training.sgd_momentum=0.9", "training.offload_dir=.", NULL};
        const char *const away[] = {set[0], set[1], set[2], "training.offload_optimizer=true", NULL};
        hone_optimizer_size inside, outside;
        size_t held_bytes, file_bytes, n;
        bool held_in_file, in_file;
        void *held, *file;
        bare here, there;
        int t;

        bare_open(&here, 2, 2003, 1030, 5001, set);
        bare_open(&there, 2, 2003, 1030, 5001, away);
        for (t = 1; t <= 2; t++) {
            step(&here, t);
            step(&there, t);
        }
        assert_memory_equal(here.a.value, there.a.value, here.a.n * sizeof(float));
        held = hone_optimizer_state(here.o, &held_bytes, &held_in_file);
        file = hone_optimizer_state(there.o, &file_bytes, &in_file);
        assert_false(held_in_file);
        assert_true(in_file);
        assert_int_equal(held_bytes, file_bytes);
        inside = hone_optimizer_measure(&here.a, here.c);
        outside = hone_optimizer_measure(&there.a, there.c);
        assert_int_equal(inside.states, held_bytes);
        assert_int_equal(inside.memory, inside.states + inside.scratch);
        assert_int_equal(inside.file, 0);
        assert_int_equal(outside.file, outside.states);
        assert_true(outside.memory <= outside.scratch + HONE_MIN(outside.states, (size_t)9 << 20));
        n = resident(file, file_bytes);
        print_message("%s: %zu bytes of states, %zu resident after a step\n", optim[i] + 15, file_bytes, n);
        assert_true(n <= 65536);
        assert_memory_equal(held, file, held_bytes);
        bare_close(&here);
        bare_close(&there);
    }
}

/* LoRA+: a tensor's factor multiplies its rate, and ends a run of tensors that are updated together. */
static void factors_multiply_the_rate(void **state)
{
    static const char *const set[] = {"training.optim=sgd", "training.weight_decay=0", NULL};
    float g[7], start[7];
    bare b;
    int i;

    (void)state;
    bare_open(&b, 1, 12, 20, 7, set);
    b.param[1].lr_factor = 16;
    make(start, 7, 0);
    make(g, 7, 1);
    step(&b, 1);
    for (i = 0; i < 7; i++)
        assert_true(fabs(b.a.value[240 + i] - (start[i] - 16 * 0.2 * g[i])) < 1e-5);
    bare_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_the_references),
        cmocka_unit_test(moments_of_a_byte),
        cmocka_unit_test(codes_are_the_nearest),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(a_file_does_not_change_bits),
        cmocka_unit_test(factors_multiply_the_rate),
    };

    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
