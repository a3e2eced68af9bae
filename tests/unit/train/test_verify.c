/* hone verify passes on sound kernels, and fails when any one op of a step is a little wrong: each in turn is replaced in
 * the device's table by one that computes the same and then spoils it. Gradients must be seen to be wrong by the finite
 * differences alone, which know nothing of any other implementation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "device/table.h"
#include "hone/hone.h"

#define ERROR 1.02f /* what is spoilt is off by 2 % */

static char folder[] = "verify_test_XXXXXX";
static hone_ops sound;

/* ---- spoilt ops ---------------------------------------------------------------------------------------------------- */

static void spoil(float *x, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        x[i] *= ERROR;
}

/* Columns from the middle on, so that it is no common factor. f32 only: what verify computes in. */
static void spoil_mat(hone_mat m)
{
    int64_t r;

    if (m.dtype == HONE_F32)
        for (r = 0; r < m.rows; r++)
            spoil((float *)m.data + r * m.ld + m.cols / 2, (size_t)(m.cols - m.cols / 2));
}

static int linear_fwd(hone_device *dev, const hone_linear *g, hone_error *err)
{
    int rc = sound.linear_fwd(dev, g, err), p;

    for (p = 0; p < g->n_parts; p++)
        spoil_mat(g->part[p].y);
    return rc;
}

/* What the op adds into a gradient, spoilt: the op runs into an empty one. */
static int linear_bwd_into(hone_device *dev, const hone_linear *g, int which, hone_error *err)
{
    hone_linear own = *g;
    hone_lora lora[HONE_MAX_PARTS];
    float *fresh[HONE_MAX_PARTS] = {NULL}, *real[HONE_MAX_PARTS] = {NULL};
    size_t n[HONE_MAX_PARTS], k;
    int p, rc;

    for (p = 0; p < g->n_parts; p++) {
        const int64_t out = g->part[p].w->rows, in = g->x.cols;

        if (which < 2 && g->part[p].lora) {
            lora[p] = *g->part[p].lora;
            own.part[p].lora = &lora[p];
            n[p] = (size_t)(lora[p].r * (which ? out : in));
            real[p] = which ? lora[p].db : lora[p].da;
        } else if (which == 2 && g->part[p].dw) {
            n[p] = (size_t)(out * in);
            real[p] = g->part[p].dw;
        }
        if (!real[p])
            continue;
        fresh[p] = calloc(n[p], sizeof(float));
        *(which == 0 ? &lora[p].da : which == 1 ? &lora[p].db : &own.part[p].dw) = fresh[p];
    }
    rc = sound.linear_bwd(dev, &own, err);
    for (p = 0; p < g->n_parts; p++)
        for (k = 0; real[p] && k < n[p]; k++)
            real[p][k] += ERROR * fresh[p][k];
    for (p = 0; p < g->n_parts; p++)
        free(fresh[p]);
    return rc;
}

static int linear_bwd_da(hone_device *dev, const hone_linear *g, hone_error *err)
{
    return linear_bwd_into(dev, g, 0, err);
}

static int linear_bwd_db(hone_device *dev, const hone_linear *g, hone_error *err)
{
    return linear_bwd_into(dev, g, 1, err);
}

static int linear_bwd_dw(hone_device *dev, const hone_linear *g, hone_error *err)
{
    return linear_bwd_into(dev, g, 2, err);
}

static int linear_bwd_dx(hone_device *dev, const hone_linear *g, hone_error *err)
{
    int rc = sound.linear_bwd(dev, g, err);

    if (g->dx.data)
        spoil_mat(g->dx);
    return rc;
}

static int attention_fwd(hone_device *dev, const hone_attention *a, hone_error *err)
{
    int rc = sound.attention_fwd(dev, a, err);

    spoil_mat(a->o);
    return rc;
}

/* Sees across rows: all sequences as one. */
static int attention_mixed(hone_device *dev, const hone_attention *a, hone_error *err)
{
    const int32_t off[] = {0, a->q_off[a->n_seq]}, row = 0, len = off[1];
    hone_attention one = *a;

    one.n_seq = 1;
    one.q_off = off;
    one.kv_row = &row;
    one.kv_len = &len;
    return sound.attention_fwd(dev, &one, err);
}

static int attention_bwd_dq(hone_device *dev, const hone_attention *a, hone_error *err)
{
    int rc = sound.attention_bwd(dev, a, err);

    spoil_mat(a->dq);
    return rc;
}

static int attention_bwd_dk(hone_device *dev, const hone_attention *a, hone_error *err)
{
    int rc = sound.attention_bwd(dev, a, err);

    spoil_mat(a->dk);
    return rc;
}

static int attention_bwd_dv(hone_device *dev, const hone_attention *a, hone_error *err)
{
    int rc = sound.attention_bwd(dev, a, err);

    spoil_mat(a->dv);
    return rc;
}

static int embed(hone_device *dev, hone_mat out, const hone_weight *table, const int32_t *ids, float scale,
                 hone_error *err)
{
    int rc = sound.embed(dev, out, table, ids, scale, err);

    spoil_mat(out);
    return rc;
}

static int embed_bwd(hone_device *dev, float *dtable, hone_mat dy, const int32_t *ids, float scale,
                     hone_error *err)
{
    return sound.embed_bwd(dev, dtable, dy, ids, scale * 1.1f, err);
}

static int rmsnorm_fwd(hone_device *dev, hone_mat y, float *rstd, hone_mat x, const float *w, float eps,
                       hone_error *err)
{
    int rc = sound.rmsnorm_fwd(dev, y, rstd, x, w, eps, err);

    spoil_mat(y);
    return rc;
}

static int rmsnorm_bwd(hone_device *dev, hone_mat dx, bool add, hone_mat dy, hone_mat x, const float *w,
                       const float *rstd, float eps, hone_error *err)
{
    int rc = sound.rmsnorm_bwd(dev, dx, add, dy, x, w, rstd, eps, err);

    spoil_mat(dx);
    return rc;
}

static int rmsnorm_bwd_w(hone_device *dev, float *dw, hone_mat dy, hone_mat x, float eps, hone_error *err)
{
    int rc = sound.rmsnorm_bwd_w(dev, dw, dy, x, eps, err);

    spoil(dw, (size_t)x.cols);
    return rc;
}

static int rope(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq, int32_t head_size,
                int32_t dims, float factor, bool inverse, hone_error *err)
{
    return sound.rope(dev, x, pos, inv_freq, head_size, dims, inverse ? factor : factor * ERROR, inverse,
                      err);
}

/* The gradient turned forwards, not back. */
static int rope_bwd(hone_device *dev, hone_mat x, const int32_t *pos, const float *inv_freq,
                    int32_t head_size, int32_t dims, float factor, bool inverse, hone_error *err)
{
    (void)inverse;
    return sound.rope(dev, x, pos, inv_freq, head_size, dims, factor, false, err);
}

static int glu_fwd(hone_device *dev, hone_mat h, hone_mat g, hone_mat u, hone_act act, hone_error *err)
{
    int rc = sound.glu_fwd(dev, h, g, u, act, err);

    spoil_mat(h);
    return rc;
}

static int glu_bwd_dg(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                      hone_act act, hone_error *err)
{
    int rc = sound.glu_bwd(dev, dg, du, dh, g, u, act, err);

    spoil_mat(dg);
    return rc;
}

static int glu_bwd_du(hone_device *dev, hone_mat dg, hone_mat du, hone_mat dh, hone_mat g, hone_mat u,
                      hone_act act, hone_error *err)
{
    int rc = sound.glu_bwd(dev, dg, du, dh, g, u, act, err);

    spoil_mat(du);
    return rc;
}

static int add(hone_device *dev, hone_mat y, hone_mat a, hone_mat b, hone_error *err)
{
    int rc = sound.add(dev, y, a, b, err);

    spoil_mat(y);
    return rc;
}

static int head_loss(hone_device *dev, const hone_head *a, hone_error *err)
{
    int rc = sound.head_loss(dev, a, err);
    int64_t i;

    for (i = 0; i < a->h.rows; i += 2)
        a->loss[i] *= ERROR;
    return rc;
}

static int head_gradient(hone_device *dev, const hone_head *a, hone_error *err)
{
    int rc = sound.head_loss(dev, a, err);

    if (a->dh.data)
        spoil_mat(a->dh);
    return rc;
}

static int head_weight(hone_device *dev, const hone_head *a, hone_error *err)
{
    hone_head own = *a;
    int rc;

    own.grad_scale *= 1.1f;
    rc = sound.head_loss(dev, &own, err);
    own = *a;
    own.dw = NULL; /* dh is right again */
    return rc || !a->dh.data ? rc : sound.head_loss(dev, &own, err);
}

static double sum_squares(hone_device *dev, const float *x, size_t n)
{
    return sound.sum_squares(dev, x, n) * (double)ERROR;
}

static int adamw_step(hone_device *dev, const hone_adamw *a, hone_error *err)
{
    hone_adamw own = *a;

    own.beta2 *= 0.99;
    return sound.adamw_step(dev, &own, err);
}

static int sgd_step(hone_device *dev, const hone_sgd *a, hone_error *err)
{
    hone_sgd own = *a;

    own.lr *= 1.01;
    return sound.sgd_step(dev, &own, err);
}

static int adafactor_step(hone_device *dev, const hone_adafactor *a, hone_error *err)
{
    hone_adafactor own = *a;

    own.lr *= 1.01;
    return sound.adafactor_step(dev, &own, err);
}

#define SPOILT(name, op, full, slopes, optim)                                                                \
    {                                                                                                        \
#name, offsetof(hone_ops, op), (void (*)(void))name, full, slopes, optim                             \
    }
static const struct spoilt {
    const char *name;
    size_t at; /* in hone_ops */
    void (*fn)(void);
    bool full;   /* in full fine-tuning; else LoRA */
    bool slopes; /* finite differences alone must see it */
    const char *optim;
} spoilt[] = {
    SPOILT(linear_fwd, linear_fwd, false, true, "adamw"),
    SPOILT(linear_bwd_da, linear_bwd, false, true, "adamw"),
    SPOILT(linear_bwd_db, linear_bwd, false, true, "adamw"),
    SPOILT(linear_bwd_dw, linear_bwd, true, true, "adamw"),
    SPOILT(linear_bwd_dx, linear_bwd, false, true, "adamw"),
    SPOILT(attention_fwd, attention_fwd, false, true, "adamw"),
    SPOILT(attention_mixed, attention_fwd, false, false, "adamw"),
    SPOILT(attention_bwd_dq, attention_bwd, false, true, "adamw"),
    SPOILT(attention_bwd_dk, attention_bwd, false, true, "adamw"),
    SPOILT(attention_bwd_dv, attention_bwd, false, true, "adamw"),
    SPOILT(embed, embed, false, false, "adamw"),
    SPOILT(embed_bwd, embed_bwd, true, true, "adamw"),
    SPOILT(rmsnorm_fwd, rmsnorm_fwd, false, true, "adamw"),
    SPOILT(rmsnorm_bwd, rmsnorm_bwd, false, true, "adamw"),
    SPOILT(rmsnorm_bwd_w, rmsnorm_bwd_w, true, true, "adamw"),
    SPOILT(rope, rope, false, true, "adamw"),
    SPOILT(rope_bwd, rope, false, true, "adamw"),
    SPOILT(glu_fwd, glu_fwd, false, true, "adamw"),
    SPOILT(glu_bwd_dg, glu_bwd, false, true, "adamw"),
    SPOILT(glu_bwd_du, glu_bwd, false, true, "adamw"),
    SPOILT(add, add, false, true, "adamw"),
    SPOILT(head_loss, head_loss, false, true, "adamw"),
    SPOILT(head_gradient, head_loss, false, true, "adamw"),
    SPOILT(head_weight, head_loss, true, true, "adamw"),
    SPOILT(sum_squares, sum_squares, false, false, "adamw"),
    SPOILT(adamw_step, adamw_step, false, false, "adamw"),
    SPOILT(sgd_step, sgd_step, false, false, "sgd"),
    SPOILT(adafactor_step, adafactor_step, false, false, "adafactor"),
};

/* ---- running it --------------------------------------------------------------------------------------------------- */

struct seen {
    int gradients; /* failed ones */
    char first[180];
};

static void on_check(void *ud, const hone_verify_check *k)
{
    struct seen *s = ud;

    assert_true(k->informative || k->limit >= 0);
    if (!k->failed)
        return;
    s->gradients += !strcmp(k->group, "gradients");
    if (!s->first[0])
        snprintf(s->first, sizeof s->first, "%s: %s, %.1e", k->group, k->what, k->figure);
}

static hone_verify_result verify(struct seen *seen, hone_device *dev, const char *const *more)
{
    const hone_verify_params p = {.rows = 3, .tokens = 96, .check = on_check, .ud = seen};
    const char *const base[] = {"model.name_or_path=" HONE_TEST_DIR "/golden/tiny_chat", "lora.r=4", NULL};
    hone_error err = HONE_ERROR_INIT;
    hone_verify_result out;
    hone_config *c;
    char line[300];
    int i;

    *seen = (struct seen){0};
    assert_int_equal(hone_config_new(&c, &err), 0);
    for (i = 0; base[i]; i++)
        assert_int_equal(hone_config_set(c, base[i], &err), 0);
    snprintf(line, sizeof line, "data.train_data_path=%s/rows.jsonl", folder);
    assert_int_equal(hone_config_set(c, line, &err), 0);
    snprintf(line, sizeof line, "training.output_dir=%s/out", folder);
    assert_int_equal(hone_config_set(c, line, &err), 0);
    for (i = 0; more && more[i]; i++)
        if (hone_config_set(c, more[i], &err))
            fail_msg("%s: %s", more[i], err.message);
    if (hone_verify_run(c, dev, &p, &out, &err))
        fail_msg("%s", err.message);
    hone_config_free(c);
    return out;
}

static hone_device *open_device(hone_isa isa)
{
    const hone_device_params p = {.threads = 2, .isa = isa};
    hone_error err = HONE_ERROR_INIT;
    hone_device *dev;

    assert_int_equal(hone_device_open(&dev, &p, &err), 0);
    return dev;
}

static void sound_kernels_pass(void **state)
{
    static const char *const method[][3] = {
        {NULL},
        {"training.finetuning_type=full", "training.optim=adafactor", NULL},
        {"lora.modules_to_save=[embed_tokens, norm]", "training.optim=adamw_8bit", NULL},
        {"training.label_smoothing_factor=0.1", "training.neftune_noise_alpha=5", NULL},
        {"training.loss_type=dft", "training.optim=sgd", NULL},
        {"model.load_in_4bit=true", "lora.use_dora=true", NULL},
    };
    hone_device *dev[] = {open_device(HONE_ISA_AUTO), open_device(HONE_ISA_REF)};
    struct seen seen;
    size_t i;

    (void)state;
    for (i = 0; i < 2 * HONE_COUNT(method); i++) {
        const hone_verify_result r = verify(&seen, dev[i % 2], method[i / 2]);

        if (r.failed)
            fail_msg("method %zu: %s", i / 2, seen.first);
        assert_true(r.checks > 15 && r.targets > 10 && r.rows == 3);
    }
    hone_device_close(dev[0]);
    hone_device_close(dev[1]);
}

static void every_spoilt_op_is_seen(void **state)
{
    hone_device *dev = open_device(HONE_ISA_AUTO);
    struct seen seen;
    size_t i;

    (void)state;
    sound = dev->ops;
    for (i = 0; i < HONE_COUNT(spoilt); i++) {
        const struct spoilt *s = &spoilt[i];
        char optim[60];
        const char *const more[] = {
            optim, s->full ? "training.finetuning_type=full" : "training.finetuning_type=lora", NULL};
        hone_verify_result r;

        snprintf(optim, sizeof optim, "training.optim=%s", s->optim);
        memcpy((char *)&dev->ops + s->at, &s->fn, sizeof s->fn);
        r = verify(&seen, dev, more);
        print_message("%s: %d of %d failed, %d by differences; first %s\n", s->name, r.failed, r.checks,
                      seen.gradients, seen.first);
        assert_true(r.failed > 0);
        assert_true(!s->slopes || seen.gradients > 0);
        dev->ops = sound;
    }
    hone_device_close(dev);
}

static int make_folder(void **state)
{
    static const char rows[] =
        "{\"instruction\": \"What is the answer?\", \"output\": \"It is forty-two.\"}\n"
        "{\"instruction\": \"jump\", \"output\": \"The quick brown fox jumps over the lazy dog.\"}\n"
        "{\"instruction\": \"thanks\", \"output\": \"Thank you, please tell me more.\"}\n";
    char *path;

    (void)state;
    assert_non_null(mkdtemp(folder));
    path = hone_path_join(folder, "rows.jsonl");
    assert_int_equal(hone_file_write(path, rows, sizeof rows - 1, NULL), 0);
    hone_free(path);
    return 0;
}

static int remove_folder(void **state)
{
    char command[200];

    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_kernels_pass),
        cmocka_unit_test(every_spoilt_op_is_seen),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
