/* Training of whole tensors: every gradient of the four families against transformers (tests/golden/make_full_golden.py),
 * parts of a model against the whole, against finite differences, and against themselves. */
#include "fixture.h"

#include <unistd.h>

#define PATTERNS 16

/* The sums of v under the golden file's patterns of signs. */
static void sketch(double out[PATTERNS], const float *v, size_t n)
{
    size_t i;
    int k;

    memset(out, 0, PATTERNS * sizeof *out);
    for (i = 0; i < n; i++) {
        uint64_t z = i + 0x9E3779B97F4A7C15u;

        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        for (k = 0; k < PATTERNS; k++)
            out[k] += (z >> k & 1) ? -(double)v[i] : (double)v[i];
    }
}

/* The fixture with an adapter of whole tensors in place of the golden one. */
static void full_open(fixture *f, const char *family, hone_isa isa, int threads, hone_precision precision,
                      int recompute, const hone_tensors_params *p)
{
    fixture_open(f, family, isa, threads, precision, 0);
    hone_adapter_close(f->a);
    hone_free(f->grad);
    OK(hone_adapter_tensors(&f->a, f->m, p, err));
    f->grad = hone_calloc(f->a->n, sizeof(float));
    assert_non_null(f->grad);
    hone_adapter_attach_gradients(f->a, f->grad);
    plan_for(f, f->a, recompute, true, 0);
}

static void agree_with_transformers(hone_isa isa, int recompute)
{
    size_t i, k;
    int s;

    for (i = 0; i < HONE_COUNT(families); i++) {
        char path[512], name[HONE_PARAM_NAME], worst_name[HONE_PARAM_NAME] = "";
        hone_safetensors *golden;
        const float *loss;
        double worst = 0, worst_loss = 0;
        hone_pass pass;
        fixture f;

        full_open(&f, families[i], isa, 2, HONE_PRECISION_F32, recompute, NULL);
        OK(hone_safetensors_open(&golden, golden_path(path, families[i], "full.safetensors"), err));
        assert_int_equal(hone_safetensors_n_tensors(golden),
                         f.a->n_params + 1); /* each of the model's, once */
        pass = step(&f);
        loss = copy_of(hone_safetensors_find(golden, "loss"));
        for (k = 0; k < (size_t)pass.n_trained; k++)
            worst_loss = fmax(worst_loss, fabs(pass.loss[k] / loss[k] - 1));
        for (k = 0; k < f.a->n_params; k++) {
            const hone_tensor_info *t;
            double got[PATTERNS], error = 0, norm = 0;
            float *want;

            hone_param_name(name, f.a, &f.a->param[k]);
            t = hone_safetensors_find(golden, name);
            assert_non_null(t);
            want = copy_of(t);
            sketch(got, f.grad + f.a->param[k].at, f.a->param[k].n);
            for (s = 0; s < PATTERNS; s++) {
                error += (got[s] - (double)want[s]) * (got[s] - (double)want[s]);
                norm += (double)want[s] * (double)want[s];
            }
            if (!(sqrt(error / norm) <= worst)) {
                worst = sqrt(error / norm);
                memcpy(worst_name, name, sizeof name);
            }
            hone_free(want);
        }
        print_message("%s, %s, recomputation %d: worst gradient %.2e (%s), worst loss %.2e\n", families[i],
                      hone_device_name(f.dev), recompute, worst, worst_name, worst_loss);
        assert_true(worst <= 1e-4);
        assert_true(worst_loss <= 1e-5);
        hone_free((void *)(uintptr_t)loss);
        hone_safetensors_close(golden);
        fixture_close(&f);
    }
}

static void families_agree_with_transformers(void **state)
{
    (void)state;
    agree_with_transformers(HONE_ISA_REF, 0);
    agree_with_transformers(HONE_ISA_AUTO, 0);
    agree_with_transformers(HONE_ISA_AUTO, 1);
    agree_with_transformers(HONE_ISA_AUTO, 2);
}

/* Number of the tensor of this name, or -1. */
static int find(const hone_adapter *a, const char *name)
{
    char is[HONE_PARAM_NAME];
    size_t i;

    for (i = 0; i < a->n_params; i++) {
        hone_param_name(is, a, &a->param[i]);
        if (!strcmp(is, name))
            return (int)i;
    }
    return -1;
}

/* A part trains: the same tensors have the same gradients, bit for bit, whatever else is frozen. */
static void parts_are_parts_of_the_whole(void **state)
{
    static char *all[] = {(char *)"all"}, *mlp[] = {(char *)"mlp"}, *norm[] = {(char *)"input_layernorm"},
                *attn[] = {(char *)"self_attn"}, *post[] = {(char *)"post_attention_layernorm"},
                *end[] = {(char *)"norm"}, *embed[] = {(char *)"embed_tokens"};
    static const hone_strings s_all = {all, 1}, s_mlp = {mlp, 1}, s_norm = {norm, 1}, s_attn = {attn, 1},
                              s_post = {post, 1}, s_end = {end, 1}, s_embed = {embed, 1};
    static const hone_tensors_params parts[] = {
        {.layers = 1, .modules = &s_all},
        {.layers = -1, .modules = &s_all},
        {.layers = 1, .modules = &s_mlp},
        {.layers = 2, .modules = &s_norm},
        {.layers = 1, .modules = &s_attn, .extra = &s_end},
        {.layers = 1, .modules = &s_post},
        {.extra = &s_end},
        {.extra = &s_embed},
        {.pattern = "1\\.self_attn\\.o_proj"},
        {.pattern = "1\\.mlp\\.down_proj"},
        {.pattern = "0\\.mlp\\.(gate_)?up_proj|q_norm"},
    };
    size_t i, k, p;

    (void)state;
    for (i = 0; i < HONE_COUNT(families); i++)
        for (p = 0; p < HONE_COUNT(parts); p++)
            for (int recompute = 0; recompute < 3; recompute++) {
                char name[HONE_PARAM_NAME];
                fixture whole, part;

                full_open(&whole, families[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0, NULL);
                full_open(&part, families[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, recompute, &parts[p]);
                step(&whole);
                step(&part);
                assert_true(part.a->n_params < whole.a->n_params);
                for (k = 0; k < part.a->n_params; k++) {
                    const hone_param *t = &part.a->param[k], *w;

                    hone_param_name(name, part.a, t);
                    assert_true(find(whole.a, name) >= 0);
                    w = &whole.a->param[find(whole.a, name)];
                    assert_int_equal(w->n, t->n);
                    assert_int_equal(w->decay, t->decay);
                    if (memcmp(part.grad + t->at, whole.grad + w->at, t->n * sizeof(float)) != 0)
                        fail_msg("%s, part %zu, recomputation %d: %s differs", families[i], p, recompute,
                                 name);
                }
                fixture_close(&whole);
                fixture_close(&part);
            }
}

static void names_that_mean_nothing_are_refused(void **state)
{
    static char *odd[] = {(char *)"attention"}, *all[] = {(char *)"all"};
    static const hone_strings s_odd = {odd, 1}, s_all = {all, 1};
    static const struct {
        hone_tensors_params p;
        const char *word;
    } bad[] = {
        {{.layers = 1, .modules = &s_odd}, "input_layernorm"},
        {{.extra = &s_odd}, "embed_tokens"},
        {{.pattern = "("}, "freeze_trainable_pattern"},
        {{.modules = &s_all}, "nothing to train"},
    };
    fixture f;
    size_t i;

    (void)state;
    fixture_open(&f, "qwen2", HONE_ISA_AUTO, 1, HONE_PRECISION_F32, 0);
    for (i = 0; i < HONE_COUNT(bad); i++) {
        hone_error err = HONE_ERROR_INIT;
        hone_adapter *a;

        assert_int_equal(hone_adapter_tensors(&a, f.m, &bad[i].p, &err), HONE_EINVAL);
        assert_null(a);
        assert_non_null(strstr(err.message, bad[i].word));
    }
    fixture_close(&f);
}

/* Threads and recomputation change no bit; bf16 is close to f32. */
static void same_bits_whatever_the_machine_does(void **state)
{
    size_t i, k;
    int v;

    (void)state;
    for (i = 0; i < HONE_COUNT(families); i++) {
        fixture f, g;
        double loss, dot = 0, a = 0, b = 0;

        full_open(&f, families[i], HONE_ISA_AUTO, 1, HONE_PRECISION_F32, 0, NULL);
        loss = step(&f).loss_sum;
        for (v = 0; v < 4; v++) {
            full_open(&g, families[i], HONE_ISA_AUTO, v < 2 ? 1 : v, HONE_PRECISION_F32, v < 2 ? v + 1 : 0,
                      NULL);
            assert_true(step(&g).loss_sum == loss);
            assert_memory_equal(g.grad, f.grad, f.a->n * sizeof(float));
            fixture_close(&g);
        }
        full_open(&g, families[i], HONE_ISA_AUTO, 2, HONE_PRECISION_BF16, 0, NULL);
        assert_true(fabs(step(&g).loss_sum / loss - 1) < 3e-3);
        for (k = 0; k < f.a->n; k++) {
            dot += (double)f.grad[k] * g.grad[k];
            a += (double)f.grad[k] * f.grad[k];
            b += (double)g.grad[k] * g.grad[k];
        }
        assert_true(dot / sqrt(a * b) > 0.999);
        fixture_close(&g);
        fixture_close(&f);
    }
}

/* Before the first step the model answers as its base does, and its values are the base's. */
static void it_starts_as_the_base(void **state)
{
    fixture f;
    hone_pass pass;
    float loss[256];
    int32_t n;

    (void)state;
    full_open(&f, "qwen3", HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0, NULL);
    plan_for(&f, f.a, 0, false, 0);
    OK(hone_model_eval(f.m, NULL, f.act, &f.batch, &pass, err));
    n = pass.n_trained;
    memcpy(loss, pass.loss, (size_t)n * sizeof(float));
    OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass, err));
    assert_memory_equal(pass.loss, loss, (size_t)n * sizeof(float));
    f.a->value[7] += 1;
    OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass, err));
    assert_memory_not_equal(pass.loss, loss, (size_t)n * sizeof(float));
    OK(hone_model_eval(f.m, NULL, f.act, &f.batch, &pass, err)); /* the base stays */
    assert_memory_equal(pass.loss, loss, (size_t)n * sizeof(float));
    fixture_close(&f);
}

/* NEFTune's noise: in training only, another one for another micro-batch, of the right size whatever is packed beside. */
static void noise_is_uniform_and_repeats(void **state)
{
    const int n = 400, width = 64;
    fixture f;
    hone_pass pass;
    double quiet, noisy, sum = 0, squares = 0;
    float *x, size[400], most = 0;
    int i;

    (void)state;
    full_open(&f, "llama", HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0, NULL);
    quiet = step(&f).loss_sum;
    f.a->neftune = 5;
    noisy = step(&f).loss_sum;
    assert_true(noisy != quiet && fabs(noisy / quiet - 1) < 0.3);
    assert_true(step(&f).loss_sum == noisy);
    OK(hone_model_train(f.m, f.a, f.act, &f.batch, 1, 7, 4, &pass, err));
    assert_true(pass.loss_sum != noisy);
    plan_for(&f, f.a, 2, true, 0);
    assert_true(step(&f).loss_sum == noisy); /* recomputed blocks start from the same noise */
    plan_for(&f, f.a, 0, false, 0);
    OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass, err));
    assert_true(pass.loss_sum == quiet);

    x = hone_calloc((size_t)(n * width), sizeof *x);
    assert_non_null(x);
    for (i = 0; i < n; i++)
        size[i] = i < n / 2 ? 0.5f : 0;
    OK(hone_add_noise(f.dev, hone_mat_make(x, HONE_F32, n, width), size, 1, 2, err));
    for (i = 0; i < n / 2 * width; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
        most = fmaxf(most, fabsf(x[i]));
    }
    assert_true(most <= 0.5f && most > 0.499f);
    assert_true(fabs(sum / (n / 2 * width)) < 0.01);
    assert_true(fabs(squares / (n / 2 * width) - 0.25 / 3) < 0.002);
    for (; i < n * width; i++)
        assert_true(x[i] == 0);
    hone_free(x);
    fixture_close(&f);
}

/* A trained model, and an adapter merged in, are written as a directory that answers alike. */
static void what_is_saved_answers_alike(void **state)
{
    static const char dir[] = "test_full_saved";
    size_t i, k;
    int v;

    (void)state;
    for (i = 0; i < HONE_COUNT(adapted); i++)
        for (v = strchr(adapted[i], ' ') ? 2 : 0; v < 3;
             v++) { /* whole tensors in f32; in bf16, as the base is; factors merged */
            hone_model_params mp = {.precision = HONE_PRECISION_F32};
            float loss[256], worst = 0;
            fixture f, g;
            hone_pass pass;
            int32_t n;

            if (v < 2)
                full_open(&f, adapted[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0, NULL);
            else
                fixture_open(&f, adapted[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
            for (k = 0; v < 2 && k < f.a->n; k++)
                f.a->value[k] += 0.002f * (float)((int)(k % 7) - 3);
            plan_for(&f, f.a, 0, false, 0);
            OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass, err));
            n = pass.n_trained;
            memcpy(loss, pass.loss, (size_t)n * sizeof(float));
            OK(hone_model_save(f.m, f.a, dir, v == 1 ? HONE_PRECISION_AUTO : HONE_PRECISION_F32, err));
            g = f;
            OK(hone_model_open(&g.m, f.dev, dir, &mp, err));
            g.act = NULL;
            plan_for(&g, NULL, 0, false, 0);
            OK(hone_model_eval(g.m, NULL, g.act, &g.batch, &pass, err));
            for (k = 0; k < (size_t)n; k++)
                worst = fmaxf(worst, fabsf(pass.loss[k] / loss[k] - 1));
            assert_int_equal(g.m->w->layer[0].proj[0].dtype, v == 1 ? HONE_BF16 : HONE_F32);
            assert_int_equal(g.m->w->arch.tied, f.m->w->arch.tied);
            assert_int_equal(g.m->w->arch.n_eos, f.m->w->arch.n_eos);
            if (!(worst <= (v == 1 ? 3e-2f : 1e-5f)))
                fail_msg("%s, %d: a loss is off by %g", adapted[i], v, (double)worst);
            hone_activations_free(g.act);
            hone_model_close(g.m);
            fixture_close(&f);
            for (k = 0; hone_model_files[k]; k++) {
                char path[128];

                snprintf(path, sizeof path, "%s/%s", dir, hone_model_files[k]);
                unlink(path);
            }
            assert_int_equal(rmdir(dir), 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_agree_with_transformers),
        cmocka_unit_test(parts_are_parts_of_the_whole),
        cmocka_unit_test(names_that_mean_nothing_are_refused),
        cmocka_unit_test(same_bits_whatever_the_machine_does),
        cmocka_unit_test(it_starts_as_the_base),
        cmocka_unit_test(noise_is_uniform_and_repeats),
        cmocka_unit_test(what_is_saved_answers_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
