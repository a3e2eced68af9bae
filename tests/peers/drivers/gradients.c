/* Losses and adapter gradients of one packed batch, as JSON: what the live comparisons with PEFT read.
 *
 *   hone_gradients_driver MODEL ADAPTER|full BATCH.json [isa=ref|avx2|...] [precision=bf16] [recompute=0|1|2]
 *                         [dropout=P] [add=X] [save=DIR] [merge=DIR]
 *
 * BATCH.json: {"ids": [N], "off": [n_seq + 1], "target": [N], "weight": [N]}, the last one or none. Prints {"device",
 * "loss": [n_trained], "gradient": {PEFT key: [values]}}: gradients of (sum of weight * loss) / (sum of weights). save=
 * writes the adapter as it was read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "model/model.h"

static int32_t *integers(json_t *list, size_t *n)
{
    int32_t *out = hone_calloc(json_array_size(list) + 1, sizeof *out);
    size_t i;

    *n = json_array_size(list);
    for (i = 0; out && i < *n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return out;
}

/* NULL when the list is missing. */
static float *numbers(json_t *list)
{
    float *out = list ? hone_calloc(json_array_size(list) + 1, sizeof *out) : NULL;
    size_t i;

    for (i = 0; out && i < json_array_size(list); i++)
        out[i] = (float)json_number_value(json_array_get(list, i));
    return out;
}

static json_t *reals(const float *v, size_t n)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; i < n; i++)
        json_array_append_new(list, json_real(v[i]));
    return list;
}

static json_t *gradients(const hone_adapter *a)
{
    json_t *all = json_object();
    char key[HONE_PARAM_NAME];
    size_t i;

    for (i = 0; i < a->n_params; i++) {
        hone_param_name(key, a, &a->param[i]);
        json_object_set_new(all, key, reals(a->grad + a->param[i].at, a->param[i].n));
    }
    return all;
}

static int open_adapter(hone_adapter **out, hone_model *m, const char *what, hone_error *err)
{
    return strcmp(what, "full") ? hone_adapter_open(out, m, what, err)
                                : hone_adapter_tensors(out, m, NULL, err);
}

static int save(const hone_model *m, const hone_adapter *a, const char *dir, hone_precision precision,
                hone_error *err)
{
    return hone_adapter_is_low_rank(a) ? hone_adapter_save(a, dir, 1, 2, err)
                                       : hone_model_save(m, a, dir, precision, err);
}

/* "name=value" among the arguments, or NULL. */
static const char *option(int argc, char **argv, const char *name)
{
    const size_t n = strlen(name);
    int i;

    for (i = 4; i < argc; i++)
        if (!strncmp(argv[i], name, n) && argv[i][n] == '=')
            return argv[i] + n + 1;
    return NULL;
}

int main(int argc, char **argv)
{
    hone_device_params dp = hone_device_default();
    hone_model_params mp = {.precision = HONE_PRECISION_F32};
    hone_activation_params ap = {.training = true};
    hone_workspace_spec spec;
    hone_error err = HONE_ERROR_INIT;
    hone_device *dev = NULL;
    hone_model *m = NULL;
    hone_adapter *a = NULL;
    hone_activations *act = NULL;
    hone_batch b = {0};
    hone_pass pass;
    json_t *doc = NULL, *out;
    int32_t *ids, *off, *target;
    float *grad, *weight;
    double total = 0;
    const char *text;
    size_t n, n_off, i;

    if (argc < 4) {
        fprintf(stderr,
                "usage: %s MODEL ADAPTER|full BATCH.json [isa=] [precision=] [recompute=] [dropout=] "
                "[add=] [save=] [merge=] [quant=nf4|fp4|q8_0] [scales=plain]\n",
                argv[0]);
        return 2;
    }
    if ((text = option(argc, argv, "isa")) && hone_isa_parse(&dp.isa, text, &err))
        goto failed;
    if ((text = option(argc, argv, "precision")) && !strcmp(text, "bf16"))
        mp.precision = HONE_PRECISION_BF16;
    if ((text = option(argc, argv, "recompute")))
        ap.recompute = (int)strtol(text, NULL, 10);
    if ((text = option(argc, argv, "quant")))
        mp.quant = !strcmp(text, "nf4")   ? HONE_QUANT_NF4
                   : !strcmp(text, "fp4") ? HONE_QUANT_FP4
                                          : HONE_QUANT_Q8_0;
    mp.plain_scales = option(argc, argv, "scales") != NULL;
    if (hone_device_open(&dev, &dp, &err) || hone_model_open(&m, dev, argv[1], &mp, &err) ||
        open_adapter(&a, m, argv[2], &err) || hone_json_load(&doc, argv[3], 1u << 30, &err))
        goto failed;
    if ((text = option(argc, argv, "dropout")))
        a->dropout = strtod(text, NULL);
    if ((text = option(argc, argv, "add"))) /* to every value: a change that shows */
        for (i = 0; i < a->n; i++)
            a->value[i] += strtof(text, NULL) * (float)((int)(i % 7) - 3);
    if ((text = option(argc, argv, "save")) && save(m, a, text, HONE_PRECISION_F32, &err))
        goto failed;
    if ((text = option(argc, argv, "merge")) && hone_model_save(m, a, text, HONE_PRECISION_F32, &err))
        goto failed;
    ids = integers(json_object_get(doc, "ids"), &n);
    target = integers(json_object_get(doc, "target"), &n);
    off = integers(json_object_get(doc, "off"), &n_off);
    weight = numbers(json_object_get(doc, "weight"));
    grad = hone_calloc(a->n, sizeof *grad);
    for (i = 0; i < n; i++)
        if (target[i] != HONE_IGNORE)
            total += weight ? (double)weight[i] : 1;
    b = (hone_batch){(int32_t)n, ids, target, (int32_t)n_off - 1, off, weight};
    ap.tokens = b.n_tokens;
    ap.max_seq = b.n_seq;
    hone_adapter_attach_gradients(a, grad);
    hone_model_workspace_spec(&spec, m, a, &ap);
    if (hone_activations_new(&act, m, a, &ap, &err) || hone_workspace_reserve(dev, &spec, &err) ||
        hone_model_train(m, a, act, &b, 1.0f / (float)total, 0, 0, &pass, &err))
        goto failed;
    out = json_pack("{s:s, s:o, s:o}", "device", hone_device_name(dev), "loss",
                    reals(pass.loss, (size_t)pass.n_trained), "gradient", gradients(a));
    json_dumpf(out, stdout, JSON_REAL_PRECISION(9));
    json_decref(out);
    json_decref(doc);
    hone_free(ids);
    hone_free(target);
    hone_free(weight);
    hone_free(off);
    hone_free(grad);
    hone_activations_free(act);
    hone_adapter_close(a);
    hone_model_close(m);
    hone_device_close(dev);
    return 0;
failed:
    fprintf(stderr, "%s\n", err.message);
    return 1;
}
