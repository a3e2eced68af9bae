/* A base that is quantised while it is loaded: bitsandbytes' numbers (tests/golden/quantise.safetensors), what is quantised
 * and what it takes, what the adapter remembers, and merging into the restored weights. */
#include <stdlib.h>

#include "fixture.h"

static const hone_tensor_info *golden(const hone_safetensors *s, const char *kind, const char *what)
{
    const hone_tensor_info *t;
    char name[64];

    snprintf(name, sizeof name, "%s.%s", kind, what);
    t = hone_safetensors_find(s, name);
    assert_non_null(t);
    return t;
}

static void numbers_are_those_of_bitsandbytes(void **state)
{
    static const struct {
        const char *kind;
        hone_dtype type;
        bool nested;
    } cases[] = {{"nf4", HONE_NF4, true}, {"fp4", HONE_FP4, false}};
    hone_device_params p = hone_device_default();
    hone_safetensors *s;
    hone_device *dev;
    size_t c;
    int isa, i, off = 0;

    (void)state;
    OK(hone_safetensors_open(&s, HONE_TEST_DIR "/golden/quantise.safetensors", err));
    for (isa = HONE_ISA_REF; isa <= HONE_ISA_AUTO; isa += HONE_ISA_AUTO - HONE_ISA_REF) {
        p.isa = (hone_isa)isa;
        OK(hone_device_open(&dev, &p, err));
        for (c = 0; c < HONE_COUNT(cases); c++) {
            const hone_tensor_info *t = golden(s, cases[c].kind, "weight");
            const hone_tensor_info *codes = golden(s, cases[c].kind, "codes");
            const hone_tensor_info *absmax = golden(s, cases[c].kind, "absmax");
            const float *want = golden(s, cases[c].kind, "restored")->data;
            hone_weight w = {.data = t->data,
                             .dtype = t->dtype,
                             .rows = (int32_t)t->shape[0],
                             .cols = (int32_t)t->shape[1]};
            const size_t size = hone_quantised_size(cases[c].type, cases[c].nested, (int64_t)w.rows * w.cols);
            void *memory = hone_big_alloc(size);
            float got[1024];

            OK(hone_weight_quantise(dev, &w, memory, cases[c].type, cases[c].nested, err));
            assert_memory_equal(w.data, codes->data, codes->size);
            if (cases[c].nested) {
                const float *top = golden(s, cases[c].kind, "nested_absmax")->data;
                const float offset = *(const float *)golden(s, cases[c].kind, "offset")->data;

                assert_true(fabsf(w.scales->offset - offset) <= 1.2e-7f * offset);
                for (i = 0; i < 2; i++)
                    assert_true(fabsf(w.scales->top[i] - top[i]) <= 4e-7f * offset);
                for (i = 0; i < (int)absmax->shape[0];
                     i++) { /* near a midpoint bitsandbytes may be one off */
                    const int d = w.scales->code[i] - ((const uint8_t *)absmax->data)[i];

                    assert_true(abs(d) <= 1);
                    off += d != 0;
                }
            } else {
                assert_memory_equal(w.scales->top, absmax->data, absmax->size);
            }
            hone_weight_values(got, &w, 0, 1024);
            for (i = 0; i < 1024; i++)
                if (!cases[c].nested || w.scales->code[i / 64] == ((const uint8_t *)absmax->data)[i / 64])
                    assert_true(fabsf(got[i] - want[i]) <= 4e-7f * fabsf(want[i]));
            hone_big_free(memory, size);
        }
        hone_device_close(dev);
    }
    assert_true(off <= 8);
    hone_safetensors_close(s);
}

static hone_model *opened(hone_device *dev, const char *path, hone_quant quant)
{
    hone_model_params p = {.precision = HONE_PRECISION_F32, .quant = quant};
    hone_model *m;

    OK(hone_model_open(&m, dev, path, &p, err));
    return m;
}

static void the_linear_layers_are_quantised(void **state)
{
    static const char *const family[] = {"llama", "qwen2", "gemma2", "phi3"};
    hone_device *dev;
    char path[512];
    size_t i;

    (void)state;
    OK(hone_device_open(&dev, NULL, err));
    for (i = 0; i < HONE_COUNT(family); i++) {
        hone_model *plain = opened(dev, golden_path(path, family[i], ""), HONE_QUANT_NONE);
        hone_model *m = opened(dev, path, HONE_QUANT_NF4);
        const hone_arch *a = &m->w->arch;
        uint64_t values = 0;
        int layer, p, n = 0;

        for (layer = 0; layer < a->n_layer; layer++)
            for (p = 0; p < HONE_N_PROJ; p++) {
                const hone_weight *w = &m->w->layer[layer].proj[p];

                if (!hone_proj_there(a, p))
                    continue;
                n++;
                values += (uint64_t)w->rows * (uint64_t)w->cols;
                assert_int_equal(w->dtype, HONE_NF4);
                assert_true(!w->bias == !plain->w->layer[layer].proj[p].bias);
            }
        assert_int_equal(m->w->n_quantised, n);
        assert_int_equal(m->w->n_kept, 0);
        assert_null(hone_model_notice(m));
        assert_int_equal(m->w->embed.dtype, HONE_BF16);
        assert_int_equal(plain->w->mapped_bytes - m->w->mapped_bytes, 2 * values);
        assert_true(m->w->quantised_bytes < (uint64_t)(0.516 * (double)values) + 1600u * (uint64_t)n);
        hone_model_close(m);
        hone_model_close(plain);
    }
    hone_device_close(dev);
}

/* Blocks of 32 do not fit every row: such a model is refused with the tensor's name. */
static void eight_bits_or_a_reason(void **state)
{
    static const char *const family[] = {"llama", "qwen2", "qwen3", "mistral"};
    hone_model_params p = {.precision = HONE_PRECISION_F32, .quant = HONE_QUANT_Q8_0};
    hone_device *dev;
    char path[512];
    size_t i;
    int layer, k;

    (void)state;
    OK(hone_device_open(&dev, NULL, err));
    for (i = 0; i < HONE_COUNT(family); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_model *m;
        int rc = hone_model_open(&m, dev, golden_path(path, family[i], ""), &p, &err);

        if (rc) {
            assert_int_equal(rc, HONE_EUNSUPPORTED);
            assert_non_null(strstr(err.message, "_proj.weight: rows of "));
            continue;
        }
        for (layer = 0; layer < m->w->arch.n_layer; layer++)
            for (k = 0; k < HONE_N_PROJ; k++)
                assert_int_equal(m->w->layer[layer].proj[k].dtype, HONE_Q8_0);
        hone_model_close(m);
    }
    hone_device_close(dev);
}

static void quantised_layers_keep_their_format(void **state)
{
    const char *const path = HONE_TEST_DIR "/golden/models/kquant.gguf";
    hone_device *dev;
    hone_model *m;

    (void)state;
    OK(hone_device_open(&dev, NULL, err));
    m = opened(dev, path, HONE_QUANT_NF4);
    assert_true(m->w->n_kept > 0);
    assert_non_null(strstr(hone_model_notice(m), "quantised already"));
    hone_model_close(m);
    hone_device_close(dev);
}

/* What q and k of `llama` in GGUF order become does not depend on that order. */
static void gguf_and_folder_give_the_same_codes(void **state)
{
    hone_device *dev;
    hone_model *a, *b;
    int64_t i, n, differ;
    int layer, p;

    (void)state;
    OK(hone_device_open(&dev, NULL, err));
    a = opened(dev, HONE_TEST_DIR "/golden/models/llama3", HONE_QUANT_NF4);
    b = opened(dev, HONE_TEST_DIR "/golden/models/llama3.gguf", HONE_QUANT_NF4);
    for (layer = 0; layer < HONE_MIN(a->w->arch.n_layer, b->w->arch.n_layer); layer++)
        for (p = 0; p < HONE_N_PROJ; p++) {
            const hone_weight *x = &a->w->layer[layer].proj[p], *y = &b->w->layer[layer].proj[p];

            if (y->dtype != HONE_NF4)
                continue;
            n = (int64_t)x->rows * x->cols / 2;
            for (i = differ = 0; i < n; i++)
                differ += ((const uint8_t *)x->data)[i] != ((const uint8_t *)y->data)[i];
            assert_true(differ * 20 < n); /* the files' types round differently */
        }
    assert_true(b->w->n_quantised > 0);
    hone_model_close(a);
    hone_model_close(b);
    hone_device_close(dev);
}

static double loss_of(hone_device *dev, hone_model *m, const hone_adapter *a, const hone_batch *batch)
{
    hone_activation_params p = {.tokens = batch->n_tokens, .max_seq = batch->n_seq};
    hone_activations *act;
    hone_workspace_spec spec;
    hone_pass pass;
    double loss;

    hone_model_workspace_spec(&spec, m, a, &p);
    OK(hone_workspace_reserve(dev, &spec, err));
    OK(hone_activations_new(&act, m, a, &p, err));
    OK(hone_model_eval(m, a, act, batch, &pass, err));
    loss = pass.loss_sum;
    hone_activations_free(act);
    return loss;
}

static void an_adapter_remembers_and_merges(void **state)
{
    hone_model_params open = {.quant = HONE_QUANT_AUTO};
    char path[512], dir[] = "/tmp/hone_quantise_XXXXXX", saved[64], merged[64], command[64];
    double beside, plain, into;
    hone_adapter *a, *again;
    hone_model *m, *result;
    fixture f;

    (void)state;
    fixture_open(&f, "llama", HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
    assert_non_null(mkdtemp(dir));
    snprintf(saved, sizeof saved, "%s/adapter", dir);
    snprintf(merged, sizeof merged, "%s/merged", dir);
    m = opened(f.dev, golden_path(path, "llama", ""), HONE_QUANT_NF4);
    OK(hone_adapter_open(&a, m, golden_path(path, "llama", "adapter"), err));
    hone_model_params_of_adapter(&open, path);
    assert_int_equal(open.quant, HONE_QUANT_NONE); /* PEFT says nothing of it */
    OK(hone_adapter_save(a, saved, 1, 2, err));
    open.quant = HONE_QUANT_AUTO;
    hone_model_params_of_adapter(&open, saved);
    assert_int_equal(open.quant, HONE_QUANT_NF4);
    assert_false(open.plain_scales);
    OK(hone_adapter_open(&again, m, saved, err));
    hone_adapter_close(again);

    beside = loss_of(f.dev, m, a, &f.batch);
    plain = loss_of(f.dev, f.m, f.a, &f.batch);
    assert_true(fabs(beside / plain - 1) > 1e-4); /* quantising shows */
    OK(hone_model_save(m, a, merged, HONE_PRECISION_F32, err));
    result = opened(f.dev, merged, HONE_QUANT_NONE);
    into = loss_of(f.dev, result, NULL, &f.batch);
    assert_true(fabs(into / beside - 1) < 1e-5);
    hone_model_close(result);
    OK(hone_model_save(m, a, merged, HONE_PRECISION_AUTO, err));
    result = opened(f.dev, merged, HONE_QUANT_NONE);
    assert_int_equal(result->w->layer[0].proj[HONE_Q].dtype, HONE_BF16);
    hone_model_close(result);
    hone_adapter_close(a);
    hone_model_close(m);
    fixture_close(&f);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_bitsandbytes),
        cmocka_unit_test(the_linear_layers_are_quantised),
        cmocka_unit_test(eight_bits_or_a_reason),
        cmocka_unit_test(quantised_layers_keep_their_format),
        cmocka_unit_test(gguf_and_folder_give_the_same_codes),
        cmocka_unit_test(an_adapter_remembers_and_merges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
