/* Blocks and their memory: partial adapters at every recomputation level, exact sizes, no allocation in a step, and
 * batches that are refused. */
#include "unit/model/fixture.h"

/* A fresh adapter with these targets and B not zero. */
static hone_adapter *adapter_for(hone_model *m, const char *regex)
{
    hone_strings targets = {(char *[]){(char *)regex}, 1};
    hone_adapter_params p = {.r = 3, .alpha = 6, .targets = &targets, .seed = 9};
    hone_rng rng = hone_rng_make(1, 1);
    hone_adapter *a;
    size_t i;

    OK(hone_adapter_new(&a, m, &p, err));
    for (i = 0; i < a->n; i++)
        if (a->value[i] == 0)
            a->value[i] = (float)(0.4 * hone_rng_uniform(&rng) - 0.2);
    return a;
}

/* Training some projections only must give the gradients that they have when all are adapted and the others' B is
 * zero: checks where backward stops, and what is kept for whom. */
static void partial_adapters_train_alike(void **state)
{
    static const char *const some[] = {
        ".*\\.1\\.mlp\\.down_proj",         ".*\\.1\\.mlp\\.gate_proj",
        ".*\\.1\\.mlp\\.(up|down)_proj",    ".*\\.1\\.self_attn\\.o_proj",
        ".*\\.1\\.self_attn\\.v_proj",      ".*\\.0\\.self_attn\\.[qv]_proj",
        ".*\\.0\\.mlp\\.down_proj",         ".*\\.0\\.mlp\\.(gate|up)_proj",
        ".*\\.[01]\\.self_attn\\.k_proj",   ".*(0\\.self_attn\\.o|1.*\\.q)_proj",
        ".*(0\\.mlp\\.up|1.*\\.down)_proj",
    };
    static const char *const fused[] = {
        ".*\\.1\\.mlp\\.down_proj",
        ".*\\.1\\.mlp\\.gate_up_proj",
        ".*\\.1\\.self_attn\\.o_proj",
        ".*\\.1\\.self_attn\\.qkv_proj",
        ".*(0\\.self_attn\\.o|1.*\\.qkv)_proj",
        ".*(0\\.mlp\\.gate_up|1.*\\.down)_proj",
    };
    size_t i, s;
    int level, p;

    (void)state;
    for (i = 0; i < HONE_COUNT(families); i++)
        for (s = 0; s < HONE_COUNT(some); s++) {
            const char *targets = some[s];
            fixture f;
            hone_adapter *part, *all;
            float *part_grad, *all_grad;
            hone_pass pass;
            double loss;
            int n_proj;

            fixture_open(&f, families[i], HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 0);
            n_proj = f.m->w->arch.n_layer * HONE_N_PROJ;
            if (f.m->w->arch.fused)
                targets = fused[s % HONE_COUNT(fused)];
            part = adapter_for(f.m, targets);
            all = adapter_for(f.m, "all-linear");
            part_grad = hone_calloc(part->n, sizeof(float));
            all_grad = hone_calloc(all->n, sizeof(float));
            assert_true(part_grad && all_grad);
            for (p = 0; p < n_proj; p++) {
                const hone_weight *w = &f.m->w->layer[p / HONE_N_PROJ].proj[p % HONE_N_PROJ];
                const size_t na = (size_t)(3 * w->cols), nb = (size_t)(3 * w->rows);
                float *to = all->value + (all->lora[p].a - all->value);

                if (!all->lora[p].r)
                    continue;
                if (part->lora[p].r)
                    memcpy(to, part->lora[p].a, (na + nb) * sizeof(float)); /* B lies behind A */
                else
                    memset(to + na, 0, nb * sizeof(float));
            }
            hone_adapter_attach_gradients(part, part_grad);
            hone_adapter_attach_gradients(all, all_grad);
            plan_for(&f, all, 0, true, 0);
            OK(hone_model_train(f.m, all, f.act, &f.batch, 0.25f, 0, 0, &pass, err));
            loss = pass.loss_sum;
            for (level = 0; level < 3; level++) {
                plan_for(&f, part, level, true, 0);
                memset(part_grad, 0, part->n * sizeof(float));
                OK(hone_model_train(f.m, part, f.act, &f.batch, 0.25f, 0, 0, &pass, err));
                assert_true(fabs(pass.loss_sum - loss) <= 1e-5 * loss);
                for (p = 0; p < n_proj; p++) {
                    const hone_weight *w = &f.m->w->layer[p / HONE_N_PROJ].proj[p % HONE_N_PROJ];
                    double d;

                    if (!part->lora[p].r)
                        continue;
                    d = distance(part->lora[p].da, all->lora[p].da, (size_t)(3 * (w->cols + w->rows)));
                    if (!(d <= 1e-5))
                        fail_msg("%s, \"%s\", recomputation %d, projection %d: %.2e", families[i], targets,
                                 level, p, d);
                }
            }
            hone_free(part_grad);
            hone_free(all_grad);
            hone_adapter_close(part);
            hone_adapter_close(all);
            fixture_close(&f);
        }
}

static size_t seen;

static bool sum_up(void *ud, size_t size)
{
    (void)ud;
    seen += size;
    return true;
}

static bool refuse(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return false;
}

static void sizes_are_exact(void **state)
{
    size_t i;
    int level, training, with;
    size_t last;

    (void)state;
    for (i = 0; i < HONE_COUNT(families); i++) {
        fixture f;

        fixture_open(&f, families[i], HONE_ISA_REF, 1, HONE_PRECISION_F32, 0);
        for (with = 0; with < 2; with++)
            for (training = 0, last = SIZE_MAX; training <= with; training++)
                for (level = 0; level < (training ? 3 : 1); level++) {
                    hone_activation_params p = {
                        .tokens = 37, .max_seq = 5, .recompute = level, .training = training};
                    const hone_adapter *a = with ? f.a : NULL;
                    const size_t size = hone_activations_size(f.m, a, &p);
                    hone_plan plan = {0};
                    hone_activations *act;

                    seen = 0;
                    hone_mem_hook(sum_up, NULL);
                    OK(hone_activations_new(&act, f.m, a, &p, err));
                    hone_mem_hook(NULL, NULL);
                    assert_int_equal(seen, size);
                    hone_activations_free(act);
                    hone_activations_plan(&plan, f.m, a, &p);
                    assert_int_equal(plan.total, size);
                    assert_int_equal(plan.n, training ? 2 : 1);
                    assert_true(!training || level == 0 || size < last);
                    last = size;
                    p.tokens = 74;
                    assert_true(hone_activations_size(f.m, a, &p) < 2 * size);
                }
        fixture_close(&f);
    }
}

static void a_step_allocates_nothing(void **state)
{
    fixture f;
    hone_pass pass;

    (void)state;
    fixture_open(&f, "qwen3", HONE_ISA_AUTO, 2, HONE_PRECISION_F32, 2);
    step(&f);
    hone_mem_hook(refuse, NULL);
    step(&f);
    OK(hone_model_eval(f.m, f.a, f.act, &f.batch, &pass, err));
    hone_mem_hook(NULL, NULL);
    fixture_close(&f);
}

static void bad_batches_are_refused(void **state)
{
    static const int32_t hole[] = {0, 3, 3, 8}, late[] = {1, 8}, early[] = {0, 7}, back[] = {0, 9, 8},
                         one[] = {0, 8};
    int32_t ids[8] = {1, 2, 3, 4, 5, 6, 7, 8}, target[8] = {2, 3, 4, 5, 6, 7, 8, HONE_IGNORE};
    hone_batch b = {.n_tokens = 8, .ids = ids, .target = target};
    fixture f;
    hone_pass pass;
    int32_t i;

    (void)state;
    fixture_open(&f, "llama", HONE_ISA_REF, 1, HONE_PRECISION_F32, 0);
#define REFUSED(code, sequences, offsets)                                                                    \
    do {                                                                                                     \
        b.n_seq = sequences;                                                                                 \
        b.off = offsets;                                                                                     \
        assert_int_equal(hone_model_train(f.m, f.a, f.act, &b, 1, 0, 0, &pass, NULL), code);                 \
    } while (0)
    REFUSED(HONE_EINVAL, 3, hole);
    REFUSED(HONE_EINVAL, 1, late);
    REFUSED(HONE_EINVAL, 1, early);
    REFUSED(HONE_EINVAL, 2, back);
    REFUSED(HONE_EINVAL, 0, one);
    REFUSED(HONE_ELIMIT, f.batch.n_seq + 1, one);
    b.n_tokens = f.batch.n_tokens + 1;
    REFUSED(HONE_ELIMIT, 1, one);
    b = f.batch; /* a target more than planned */
    b.target = f.batch.ids;
    assert_int_equal(hone_model_train(f.m, f.a, f.act, &b, 1, 0, 0, &pass, NULL), HONE_ELIMIT);
    b = (hone_batch){.n_tokens = 8, .ids = ids, .target = target};
    ids[3] = 96;
    REFUSED(HONE_ERANGE, 1, one);
    ids[3] = -1;
    REFUSED(HONE_ERANGE, 1, one);
    ids[3] = 4;
    target[2] = 96;
    REFUSED(HONE_ERANGE, 1, one);
    target[2] = -1;
    REFUSED(HONE_ERANGE, 1, one);

    /* no target at all is fine and adds nothing */
    for (i = 0; i < 8; i++)
        target[i] = HONE_IGNORE;
    REFUSED(0, 1, one);
    assert_int_equal(pass.n_trained, 0);
    assert_true(pass.loss_sum == 0);
    for (i = 0; i < (int32_t)f.a->n; i++)
        assert_true(f.grad[i] == 0);

    target[0] = 2;
    hone_adapter_attach_gradients(f.a, NULL);
    REFUSED(HONE_EINVAL, 1, one);
    hone_adapter_attach_gradients(f.a, f.grad);
    plan_for(&f, f.a, 0, false, 0);
    REFUSED(HONE_EINVAL, 1, one);
    fixture_close(&f);
}

static void bad_plans_are_refused(void **state)
{
    hone_activation_params p = {.tokens = 0, .max_seq = 1, .training = true};
    hone_activations *act;
    fixture f, g;

    (void)state;
    fixture_open(&f, "llama", HONE_ISA_REF, 1, HONE_PRECISION_F32, 0);
    fixture_open(&g, "llama", HONE_ISA_REF, 1, HONE_PRECISION_F32, 0);
    assert_int_equal(hone_activations_new(&act, f.m, f.a, &p, NULL), HONE_EINVAL);
    p.tokens = 4;
    p.recompute = 3;
    assert_int_equal(hone_activations_new(&act, f.m, f.a, &p, NULL), HONE_EINVAL);
    p.recompute = 0;
    assert_int_equal(hone_activations_new(&act, f.m, NULL, &p, NULL), HONE_EINVAL); /* nothing to train */
    assert_int_equal(hone_activations_new(&act, f.m, g.a, &p, NULL), HONE_EINVAL);  /* another model's */
    hone_mem_hook(refuse, NULL);
    assert_int_equal(hone_activations_new(&act, f.m, f.a, &p, NULL), HONE_ENOMEM);
    hone_mem_hook(NULL, NULL);
    assert_null(act);
    fixture_close(&f);
    fixture_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partial_adapters_train_alike), cmocka_unit_test(sizes_are_exact),
        cmocka_unit_test(a_step_allocates_nothing),     cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(bad_plans_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
