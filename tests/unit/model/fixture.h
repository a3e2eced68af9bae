/* A tiny golden model on a device of its own, with its adapter, packed batch and expected numbers: what the tests of
 * the model layer start from. The files are made by tests/golden/make_gradient_golden.py. */
#ifndef HONE_TEST_MODEL_FIXTURE_H
#define HONE_TEST_MODEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "format/safetensors.h"
#include "model/model.h"

#define OK(call)                                                                                             \
    do {                                                                                                     \
        hone_error err_ = HONE_ERROR_INIT, *err = &err_;                                                     \
        if ((call) != 0)                                                                                     \
            fail_msg("%s: %s", #call, err->message);                                                         \
    } while (0)

static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"};
/* What fixture_open opens: a family with its adapter, or with one of DoRA; or on a base that bitsandbytes quantised
 * (make_bnb_golden.py). */
static const char *const adapted[] = {"llama",     "mistral",   "qwen2",    "qwen3",
                                      "gemma2",    "gemma3",    "phi3",     "llama dora",
                                      "phi3 dora", "llama-nf4", "phi3-fp4", "qwen2-int8"};

typedef struct fixture {
    hone_device *dev;
    hone_model *m;
    hone_adapter *a;
    hone_activations *act;
    hone_safetensors *expected;
    hone_batch batch;
    int32_t n_trained;
    float *grad; /* [a->n] */
} fixture;

static inline char *golden_path(char out[512], const char *family, const char *file)
{
    snprintf(out, 512, "%s/golden/gradients/%s/%s", HONE_TEST_DIR, family, file);
    return out;
}

static inline const hone_tensor_info *expected(const fixture *f, const char *name)
{
    const hone_tensor_info *t = hone_safetensors_find(f->expected, name);

    if (!t)
        fail_msg("no tensor %s in the golden file", name);
    return t;
}

/* A copy: tensors in a mapped file may be unaligned. */
static inline void *copy_of(const hone_tensor_info *t)
{
    void *p = hone_alloc(t->size);

    assert_non_null(p);
    return memcpy(p, t->data, t->size);
}

/* Activations and workspace for the fixture's batch; replaces earlier ones. a NULL: base only. */
static inline void plan_for(fixture *f, const hone_adapter *a, int recompute, bool training, int32_t max_kv)
{
    hone_activation_params p = {.tokens = f->batch.n_tokens,
                                .max_seq = f->batch.n_seq,
                                .recompute = recompute,
                                .training = training,
                                .max_kv = max_kv};
    hone_workspace_spec spec;
    int32_t i;

    for (i = 0; training && i < f->batch.n_tokens; i++) /* exactly, so that a row too many shows */
        p.targets += f->batch.target[i] != HONE_IGNORE;
    hone_activations_free(f->act);
    OK(hone_activations_new(&f->act, f->m, a, &p, err));
    hone_model_workspace_spec(&spec, f->m, a, &p);
    OK(hone_workspace_reserve(f->dev, &spec, err));
}

static inline void fixture_open(fixture *f, const char *which, hone_isa isa, int threads,
                                hone_precision precision, int recompute)
{
    hone_device_params dp = hone_device_default();
    hone_model_params mp = {.precision = precision};
    char path[512], family[32], values[64];
    const char *adapter = strchr(which, ' ');
    int32_t i;

    snprintf(family, sizeof family, "%.*s", (int)strcspn(which, " "), which);
    snprintf(values, sizeof values, "%s.safetensors", adapter ? adapter + 1 : "expected");
    *f = (fixture){0};
    dp.isa = isa;
    dp.threads = threads;
    OK(hone_device_open(&f->dev, &dp, err));
    OK(hone_model_open(&f->m, f->dev, golden_path(path, family, ""), &mp, err));
    OK(hone_adapter_open(&f->a, f->m, golden_path(path, family, adapter ? adapter + 1 : "adapter"), err));
    OK(hone_safetensors_open(&f->expected, golden_path(path, family, values), err));
    f->batch.n_tokens = (int32_t)expected(f, "ids")->shape[0];
    f->batch.n_seq = (int32_t)expected(f, "off")->shape[0] - 1;
    f->batch.ids = copy_of(expected(f, "ids"));
    f->batch.off = copy_of(expected(f, "off"));
    f->batch.target = copy_of(expected(f, "target"));
    for (i = 0; i < f->batch.n_tokens; i++)
        f->n_trained += f->batch.target[i] != HONE_IGNORE;
    f->grad = hone_calloc(f->a->n, sizeof(float));
    assert_non_null(f->grad);
    hone_adapter_attach_gradients(f->a, f->grad);
    plan_for(f, f->a, recompute, true, 0);
}

static inline void fixture_close(fixture *f)
{
    hone_free((void *)f->batch.ids);
    hone_free((void *)f->batch.off);
    hone_free((void *)f->batch.target);
    hone_free(f->grad);
    hone_safetensors_close(f->expected);
    hone_activations_free(f->act);
    hone_adapter_close(f->a);
    hone_model_close(f->m);
    hone_device_close(f->dev);
}

/* Forward and backward of the fixture's batch into zeroed gradients, divided by the number of trained positions. */
static inline hone_pass step(fixture *f)
{
    hone_pass pass;

    memset(f->grad, 0, f->a->n * sizeof(float));
    OK(hone_model_train(f->m, f->a, f->act, &f->batch, 1.0f / (float)f->n_trained, 7, 3, &pass, err));
    assert_int_equal(pass.n_trained, f->n_trained);
    return pass;
}

/* |x - y| / |y| over n values. */
static inline double distance(const float *x, const float *y, size_t n)
{
    double diff = 0, norm = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        diff += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        norm += (double)y[i] * y[i];
    }
    return sqrt(diff) / (norm > 0 ? sqrt(norm) : 1);
}

#endif
