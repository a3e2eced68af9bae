/* Decoding with a cache against the packed forward pass. */
#include "unit/model/fixture.h"

enum { LENGTH = 41, VOCAB = 96 };

/* Losses of every next token of the golden ids taken as one document: [LENGTH - 1]. */
static void whole(fixture *f, const hone_adapter *a, float *loss)
{
    const int32_t off[] = {0, LENGTH};
    int32_t target[LENGTH], i;
    hone_batch b = {.n_tokens = LENGTH, .ids = f->batch.ids, .target = target, .n_seq = 1, .off = off};
    hone_pass pass;

    for (i = 0; i < LENGTH; i++)
        target[i] = i + 1 < LENGTH ? f->batch.ids[i + 1] : HONE_IGNORE;
    OK(hone_model_eval(f->m, a, f->act, &b, &pass, err));
    assert_int_equal(pass.n_trained, LENGTH - 1);
    memcpy(loss, pass.loss, (LENGTH - 1) * sizeof(float));
}

static double loss_of(const float *logits, int32_t target)
{
    double top = logits[0], sum = 0;
    int i;

    for (i = 1; i < VOCAB; i++)
        top = fmax(top, logits[i]);
    for (i = 0; i < VOCAB; i++)
        sum += exp(logits[i] - top);
    return top + log(sum) - logits[target];
}

/* Decodes the golden ids `chunk` at a time; the last logits of every chunk against `loss`. Returns the worst. */
static double decode_all(fixture *f, const hone_adapter *a, hone_kv *kv, int32_t chunk, const float *loss)
{
    float logits[VOCAB];
    double worst = 0;
    int32_t at, n;

    hone_kv_truncate(kv, 0);
    for (at = 0; at < LENGTH; at += n) {
        n = HONE_MIN(chunk, LENGTH - at);
        OK(hone_model_decode(f->m, a, f->act, kv, f->batch.ids + at, n, logits, err));
        assert_int_equal(hone_kv_length(kv), at + n);
        if (at + n < LENGTH)
            worst = fmax(worst, fabs(loss_of(logits, f->batch.ids[at + n]) - loss[at + n - 1]));
    }
    return worst;
}

static void decoding_is_the_forward_pass(void **state)
{
    static const int32_t chunk[] = {1, 2, 7, 16, 20, 40, 41};
    size_t i, c;
    int p, with;

    (void)state;
    for (i = 0; i < HONE_COUNT(adapted); i++)
        for (p = 0; p < 2; p++) {
            const hone_precision precision = p ? HONE_PRECISION_BF16 : HONE_PRECISION_F32;
            double worst = 0;
            fixture f;
            hone_kv *kv;

            fixture_open(&f, adapted[i], HONE_ISA_AUTO, 2, precision, 0);
            assert_int_equal(f.batch.n_tokens, LENGTH);
            plan_for(&f, f.a, 0, false, 64);
            OK(hone_kv_new(&kv, f.m, 64, err));
            for (with = 0; with < 2; with++) {
                const hone_adapter *a = with ? f.a : NULL;
                float loss[LENGTH - 1];

                whole(&f, a, loss);
                for (c = 0; c < HONE_COUNT(chunk); c++)
                    worst = fmax(worst, decode_all(&f, a, kv, chunk[c], loss));
            }
            print_message("%s, %s: decoding off by %.2e nats\n", adapted[i], p ? "bf16" : "f32", worst);
            assert_true(worst <= (p ? 0.1 : 1e-4));
            hone_kv_free(kv);
            fixture_close(&f);
        }
}

static void turns_can_be_taken_back(void **state)
{
    float logits[VOCAB], again[VOCAB];
    const int32_t other[] = {5, 6, 7};
    hone_error err_full = HONE_ERROR_INIT;
    fixture f;
    hone_kv *kv;

    (void)state;
    fixture_open(&f, "qwen3", HONE_ISA_AUTO, 1, HONE_PRECISION_F32, 0);
    plan_for(&f, f.a, 0, false, 16);
    OK(hone_kv_new(&kv, f.m, 16, err));
    OK(hone_model_decode(f.m, f.a, f.act, kv, f.batch.ids, 8, NULL, err));
    OK(hone_model_decode(f.m, f.a, f.act, kv, f.batch.ids + 8, 4, logits, err));
    hone_kv_truncate(kv, 8);
    OK(hone_model_decode(f.m, f.a, f.act, kv, other, 3, again, err));
    hone_kv_truncate(kv, 20); /* longer than it is: nothing happens */
    assert_int_equal(hone_kv_length(kv), 11);
    hone_kv_truncate(kv, 8);
    OK(hone_model_decode(f.m, f.a, f.act, kv, f.batch.ids + 8, 4, again, err));
    assert_memory_equal(logits, again, sizeof logits);

    assert_int_equal(hone_model_decode(f.m, f.a, f.act, kv, f.batch.ids, 5, NULL, &err_full), HONE_ELIMIT);
    assert_non_null(strstr(err_full.message, "12 of 16"));
    assert_int_equal(hone_kv_length(kv), 12);
    OK(hone_model_decode(f.m, f.a, f.act, kv, f.batch.ids, 4, NULL, err));
    hone_kv_free(kv);
    fixture_close(&f);
}

static size_t seen;

static bool sum_up(void *ud, size_t size)
{
    (void)ud;
    seen += size;
    return true;
}

static void bad_calls_are_refused(void **state)
{
    const int32_t outside[] = {3, VOCAB, 4};
    fixture f, g;
    hone_kv *kv, *foreign;

    (void)state;
    fixture_open(&f, "llama", HONE_ISA_REF, 1, HONE_PRECISION_F32, 0);
    fixture_open(&g, "mistral", HONE_ISA_REF, 1, HONE_PRECISION_F32, 0);
    assert_int_equal(hone_kv_new(&kv, f.m, 0, NULL), HONE_EINVAL);
    seen = 0;
    hone_mem_hook(sum_up, NULL);
    OK(hone_kv_new(&kv, f.m, 50, err));
    hone_mem_hook(NULL, NULL);
    assert_int_equal(seen, hone_kv_size(f.m, 50));
    OK(hone_kv_new(&foreign, g.m, 50, err));
    /* activations made for training */
    assert_int_equal(hone_model_decode(f.m, f.a, f.act, kv, f.batch.ids, 1, NULL, NULL), HONE_EINVAL);
    plan_for(&f, NULL, 0, false, 50);
    /* made without this adapter; too many at once; another model's cache; ids outside the vocabulary */
    assert_int_equal(hone_model_decode(f.m, f.a, f.act, kv, f.batch.ids, 1, NULL, NULL), HONE_EINVAL);
    assert_int_equal(hone_model_decode(f.m, NULL, f.act, kv, f.batch.ids, LENGTH + 1, NULL, NULL),
                     HONE_ELIMIT);
    assert_int_equal(hone_model_decode(f.m, NULL, f.act, kv, f.batch.ids, 0, NULL, NULL), HONE_ELIMIT);
    assert_int_equal(hone_model_decode(f.m, NULL, f.act, foreign, f.batch.ids, 1, NULL, NULL), HONE_EINVAL);
    assert_int_equal(hone_model_decode(f.m, NULL, f.act, kv, outside, 3, NULL, NULL), HONE_ERANGE);
    assert_int_equal(hone_kv_length(kv), 0);
    hone_kv_free(kv);
    hone_kv_free(foreign);
    fixture_close(&f);
    fixture_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_is_the_forward_pass),
        cmocka_unit_test(turns_can_be_taken_back),
        cmocka_unit_test(bad_calls_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
