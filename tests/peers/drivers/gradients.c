/* Losses and adapter gradients of one packed batch, as JSON: what the live comparisons with PEFT read.
 *
 *   hone_gradients_driver MODEL ADAPTER BATCH.json [isa=ref|avx2|...] [precision=bf16] [recompute=0|1|2] [save=DIR]
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
    char path[96], key[160];
    int i, f;

    for (i = 0; i < a->model->w->arch.n_layer * HONE_N_PROJ; i++)
        for (f = 0; a->lora[i].r && f < 2; f++) {
            const hone_weight *w = &a->model->w->layer[i / HONE_N_PROJ].proj[i % HONE_N_PROJ];

            hone_module_path(path, &a->model->w->arch, i / HONE_N_PROJ, i % HONE_N_PROJ);
            snprintf(key, sizeof key, "base_model.model.%s.lora_%c.weight", path, f ? 'B' : 'A');
            json_object_set_new(
                all, key,
                reals(f ? a->lora[i].db : a->lora[i].da, (size_t)a->r * (size_t)(f ? w->rows : w->cols)));
        }
    return all;
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
        fprintf(stderr, "usage: %s MODEL ADAPTER BATCH.json [isa=] [precision=] [recompute=] [save=]\n",
                argv[0]);
        return 2;
    }
    if ((text = option(argc, argv, "isa")) && hone_isa_parse(&dp.isa, text, &err))
        goto failed;
    if ((text = option(argc, argv, "precision")) && !strcmp(text, "bf16"))
        mp.precision = HONE_PRECISION_BF16;
    if ((text = option(argc, argv, "recompute")))
        ap.recompute = (int)strtol(text, NULL, 10);
    if (hone_device_open(&dev, &dp, &err) || hone_model_open(&m, dev, argv[1], &mp, &err) ||
        hone_adapter_open(&a, m, argv[2], &err) || hone_json_load(&doc, argv[3], 1u << 30, &err))
        goto failed;
    if ((text = option(argc, argv, "save")) && hone_adapter_save(a, text, 1, 2, &err))
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
