/* Losses and adapter gradients: against transformers + PEFT (frozen), finite differences, and themselves. */
#include "unit/model/fixture.h"

/* ---- against the frozen reference ------------------------------------------------------------------------------------ */

static double worst_gradient(const fixture *f, char worst_key[HONE_PARAM_NAME])
{
    double worst = 0, d;
    char key[HONE_PARAM_NAME];
    size_t i;

    for (i = 0; i < f->a->n_params; i++) {
        const hone_param *p = &f->a->param[i];
        float *want;

        hone_param_name(key, f->a, p);
        if (p->role == HONE_PARAM_MAGNITUDE) /* PEFT's parameter; its file's key lacks the end */
            snprintf(key + strlen(key), sizeof key - strlen(key), ".weight");
        want = copy_of(expected(f, key));
        d = distance(f->grad + p->at, want, p->n);
        hone_free(want);
        if (!(d <= worst)) {
            worst = d;
            memcpy(worst_key, key, sizeof key);
        }
    }
    return worst;
}

static void agree_with_peft(hone_isa isa, const char *isa_name)
{
    char key[HONE_PARAM_NAME] = "";
    size_t i;
    int k;

    for (i = 0; i < HONE_COUNT(adapted); i++) {
        fixture f;
        hone_pass pass;
        float *want;
        double loss = 0, gradient;

        fixture_open(&f, adapted[i], isa, 2, HONE_PRECISION_F32, 0);
        pass = step(&f);
        want = copy_of(expected(&f, "loss"));
        for (k = 0; k < pass.n_trained; k++)
            loss = fmax(loss, fabs(pass.loss[k] - want[k]) / want[k]);
        gradient = worst_gradient(&f, key);
        print_message("%s, %s: worst gradient %.2e (%s), worst loss %.2e\n", adapted[i], isa_name, gradient,
                      key, loss);
        assert_true(gradient <= 1e-4);
        assert_true(loss <= 1e-5);
        hone_free(want);
        fixture_close(&f);
    }
}

static void families_agree_with_peft(void **state)
{
    (void)state;
    agree_with_peft(HONE_ISA_AUTO, "best kernels");
    agree_with_peft(HONE_ISA_REF, "reference kernels");
}

/* bf16 weights and activations: loss within 0.3 %, gradients in the right direction. */
static void bf16_is_close(void **state)
{
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(adapted); i++) {
        fixture f, g;
        hone_pass pass, exact;
        double dot = 0, a = 0, b = 0, loss;

        fixture_open(&f, adapted[i], HONE_ISA_AUTO, 2, HONE_PRECISION_BF16, 0);
        fixture_open(&g, adapted[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
        assert_int_equal(hone_model_precision(f.m), HONE_PRECISION_BF16);
        pass = step(&f);
        exact = step(&g);
        for (k = 0; k < f.a->n; k++) {
            dot += (double)f.grad[k] * g.grad[k];
            a += (double)f.grad[k] * f.grad[k];
            b += (double)g.grad[k] * g.grad[k];
        }
        loss = fabs(pass.loss_sum / exact.loss_sum - 1);
        print_message("%s, bf16: loss off by %.2e, cosine of the gradients %.5f\n", adapted[i], loss,
                      dot / sqrt(a * b));
        assert_true(loss <= 3e-3);
        assert_true(dot / sqrt(a * b) >= 0.999);
        fixture_close(&f);
        fixture_close(&g);
    }
}

/* ---- against finite differences ----------------------------------------------------------------------------------------- */

/* Central difference of the loss along a random direction against the gradient's product with it. The masks of dropout
 * depend on the seed alone, so the function stays the same while the values move. */
static void finite_differences(double dropout, const char *family, int recompute)
{
    const double step_size = 2e-3;
    hone_rng rng = hone_rng_make(5, 0);
    fixture f;
    float *start, *direction;
    double want = 0, norm = 0, side[2], got;
    size_t i;
    int s;

    fixture_open(&f, family, HONE_ISA_AUTO, 2, HONE_PRECISION_F32, recompute);
    f.a->dropout = dropout;
    start = hone_alloc(f.a->n * sizeof(float));
    direction = hone_alloc(f.a->n * sizeof(float));
    assert_true(start && direction);
    memcpy(start, f.a->value, f.a->n * sizeof(float));
    step(&f);
    for (i = 0; i < f.a->n; i++) {
        norm += (double)f.grad[i] * f.grad[i];
        /* half along the gradient, so that the difference is well above the rounding of the loss */
        direction[i] = f.grad[i];
    }
    norm = sqrt(norm);
    for (i = 0; i < f.a->n; i++) {
        direction[i] = (float)(direction[i] / norm + (2 * hone_rng_uniform(&rng) - 1) / sqrt((double)f.a->n));
        want += (double)f.grad[i] * direction[i];
    }
    for (s = 0; s < 2; s++) {
        for (i = 0; i < f.a->n; i++)
            f.a->value[i] = start[i] + (float)((s ? 1 : -1) * step_size) * direction[i];
        side[s] = step(&f).loss_sum / f.n_trained;
    }
    got = (side[1] - side[0]) / (2 * step_size);
    print_message("%s, dropout %.1f, recomputation %d: slope %.6f, by differences %.6f\n", family, dropout,
                  recompute, want, got);
    assert_true(fabs(got - want) <= 2e-3 * fabs(want));
    hone_free(start);
    hone_free(direction);
    fixture_close(&f);
}

static void gradients_are_slopes(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(adapted); i++) {
        finite_differences(0, adapted[i], 0);
        finite_differences(0.3, adapted[i], 0);
        finite_differences(0.3, adapted[i], 2);
    }
}

static void dropout_acts_in_training_only(void **state)
{
    fixture f;
    hone_pass pass;
    double kept, other, eval;

    (void)state;
    fixture_open(&f, "llama", HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
    f.a->dropout = 0.3;
    kept = step(&f).loss_sum;
    assert_true(step(&f).loss_sum == kept);
    OK(hone_model_train(f.m, f.a, f.act, &f.batch, 1, 7, 4, &pass, err));
    other = pass.loss_sum;
    assert_true(other != kept); /* another micro-batch, another mask */
    plan_for(&f, f.a, 0, false, 0);
    OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass, err));
    eval = pass.loss_sum;
    assert_true(eval != kept && eval != other);
    f.a->dropout = 0;
    OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass, err));
    assert_true(pass.loss_sum == eval);
    plan_for(&f, f.a, 0, true, 0);
    assert_true(step(&f).loss_sum == eval);
    fixture_close(&f);
}

/* ---- against themselves --------------------------------------------------------------------------------------------------- */

static void same_bits(hone_precision precision, double dropout)
{
    size_t i;
    int v;

    for (i = 0; i < HONE_COUNT(adapted); i++) {
        fixture f, g;
        double loss;

        fixture_open(&f, adapted[i], HONE_ISA_AUTO, 1, precision, 0);
        f.a->dropout = dropout;
        loss = step(&f).loss_sum;
        for (v = 0; v < 4; v++) { /* recomputation 1, 2; 2, 3 threads */
            fixture_open(&g, adapted[i], HONE_ISA_AUTO, v < 2 ? 1 : v, precision, v < 2 ? v + 1 : 0);
            g.a->dropout = dropout;
            assert_true(step(&g).loss_sum == loss);
            assert_memory_equal(g.grad, f.grad, f.a->n * sizeof(float));
            fixture_close(&g);
        }
        fixture_close(&f);
    }
}

static void recomputation_and_threads_change_no_bit(void **state)
{
    (void)state;
    same_bits(HONE_PRECISION_F32, 0);
    same_bits(HONE_PRECISION_F32, 0.3);
    same_bits(HONE_PRECISION_BF16, 0);
}

static void kernels_agree(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(adapted); i++) {
        fixture f, g;
        double d;

        fixture_open(&f, adapted[i], HONE_ISA_REF, 2, HONE_PRECISION_F32, 0);
        fixture_open(&g, adapted[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
        assert_true(fabs(step(&f).loss_sum - step(&g).loss_sum) <= 1e-5 * f.n_trained);
        d = distance(g.grad, f.grad, f.a->n);
        print_message("%s: %s against %s %.2e\n", adapted[i], hone_device_name(g.dev),
                      hone_device_name(f.dev), d);
        assert_true(d <= 1e-5);
        fixture_close(&f);
        fixture_close(&g);
    }
}

/* One micro-batch of all documents = one micro-batch a document, accumulated: losses and gradients to rounding. */
static void packing_and_accumulation_change_nothing(void **state)
{
    size_t i;
    int32_t s, k, n;

    (void)state;
    for (i = 0; i < HONE_COUNT(adapted); i++) {
        fixture f;
        float *packed, loss[256];
        double d, worst = 0;

        fixture_open(&f, adapted[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
        assert_true(f.n_trained <= 256);
        memcpy(loss, step(&f).loss, (size_t)f.n_trained * sizeof(float));
        packed = hone_alloc(f.a->n * sizeof(float));
        assert_non_null(packed);
        memcpy(packed, f.grad, f.a->n * sizeof(float));
        memset(f.grad, 0, f.a->n * sizeof(float));
        for (s = 0, n = 0; s < f.batch.n_seq; s++) {
            const int32_t start = f.batch.off[s], off[] = {0, f.batch.off[s + 1] - start};
            hone_batch one = {.n_tokens = off[1],
                              .ids = f.batch.ids + start,
                              .target = f.batch.target + start,
                              .n_seq = 1,
                              .off = off};
            hone_pass pass;

            OK(hone_model_train(f.m, f.a, f.act, &one, 1.0f / (float)f.n_trained, 7, (uint32_t)s, &pass,
                                err));
            for (k = 0; k < pass.n_trained; k++, n++)
                worst = fmax(worst, fabs(pass.loss[k] - loss[n]) / loss[n]);
        }
        assert_int_equal(n, f.n_trained);
        d = distance(f.grad, packed, f.a->n);
        print_message("%s: unpacked against packed: losses %.2e, gradients %.2e\n", adapted[i], worst, d);
        assert_true(worst <= 1e-5);
        assert_true(d <= 1e-5);
        hone_free(packed);
        fixture_close(&f);
    }
}

/* Weights multiply losses: a batch with a weight a document has the gradient that the documents alone make with the weight
 * in their scale; and a weight of 1 everywhere is no weight, to the bit. */
static void weights_multiply_losses(void **state)
{
    size_t i;
    int32_t s, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(adapted); i++) {
        fixture f;
        float *plain, *weighted, *weight;
        double total = 0, loss = 0, d;
        hone_pass pass;

        fixture_open(&f, adapted[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
        plain = hone_calloc(f.a->n, sizeof(float));
        weighted = hone_calloc(f.a->n, sizeof(float));
        weight = hone_calloc((size_t)f.batch.n_tokens, sizeof(float));
        assert_true(plain && weighted && weight);
        step(&f);
        memcpy(plain, f.grad, f.a->n * sizeof(float));
        for (k = 0; k < f.batch.n_tokens; k++)
            weight[k] = 1;
        f.batch.weight = weight;
        pass = step(&f);
        assert_memory_equal(f.grad, plain, f.a->n * sizeof(float));
        assert_true(pass.weight_sum == f.n_trained);
        for (s = 0; s < f.batch.n_seq; s++)
            for (k = f.batch.off[s]; k < f.batch.off[s + 1]; k++)
                weight[k] = 0.25f * (float)(s + 1);
        pass = step(&f);
        for (k = 0; k < pass.n_trained; k++) {
            total += (double)weight[pass.position[k]];
            loss += (double)weight[pass.position[k]] * pass.loss[k];
        }
        assert_true(pass.weight_sum == total && pass.loss_sum == loss);
        memcpy(weighted, f.grad, f.a->n * sizeof(float));
        memset(f.grad, 0, f.a->n * sizeof(float));
        for (s = 0; s < f.batch.n_seq; s++) {
            const int32_t start = f.batch.off[s], off[] = {0, f.batch.off[s + 1] - start};
            hone_batch one = {.n_tokens = off[1],
                              .ids = f.batch.ids + start,
                              .target = f.batch.target + start,
                              .n_seq = 1,
                              .off = off};

            OK(hone_model_train(f.m, f.a, f.act, &one, 0.25f * (float)(s + 1) / (float)f.n_trained, 7,
                                (uint32_t)s, &pass, err));
        }
        d = distance(weighted, f.grad, f.a->n);
        print_message("%s: weighted against documents alone %.2e\n", adapted[i], d);
        assert_true(d <= 1e-5);
        hone_free(plain);
        hone_free(weighted);
        hone_free(weight);
        fixture_close(&f);
    }
}

static void a_new_adapter_changes_nothing(void **state)
{
    hone_adapter_params p = {.r = 4, .alpha = 16, .seed = 11};
    fixture f;
    hone_adapter *fresh;
    hone_pass pass;
    float loss[256];
    int32_t n;

    (void)state;
    fixture_open(&f, "qwen2", HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
    OK(hone_adapter_new(&fresh, f.m, &p, err));
    plan_for(&f, fresh, 0, false, 0);
    OK(hone_model_eval(f.m, NULL, f.act, &f.batch, &pass, err));
    n = pass.n_trained;
    memcpy(loss, pass.loss, (size_t)n * sizeof(float));
    OK(hone_model_eval(f.m, fresh, f.act, &f.batch, &pass, err));
    assert_int_equal(pass.n_trained, n);
    assert_memory_equal(pass.loss, loss, (size_t)n * sizeof(float));
    OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass,
                       err)); /* its rank is smaller: the same memory serves */
    assert_memory_not_equal(pass.loss, loss, (size_t)n * sizeof(float));
    hone_adapter_close(fresh);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_agree_with_peft),
        cmocka_unit_test(bf16_is_close),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(dropout_acts_in_training_only),
        cmocka_unit_test(recomputation_and_threads_change_no_bit),
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(packing_and_accumulation_change_nothing),
        cmocka_unit_test(weights_multiply_losses),
        cmocka_unit_test(a_new_adapter_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
