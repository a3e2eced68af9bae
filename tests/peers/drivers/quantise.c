/* Quantises every matrix of a safetensors file and writes what hone made of it: NAME.codes, NAME.absmax (bytes when the
 * scales are nested), NAME.top and NAME.offset (nested), NAME.values (restored).
 *
 * usage: hone_quantise_driver IN.safetensors OUT.safetensors nf4|fp4|q8_0 nested|plain [isa] */
#include <stdio.h>
#include <string.h>

#include "device/ops.h"
#include "format/safetensors.h"

enum { MOST = 256 };

typedef struct output {
    hone_tensor_info t[MOST];
    char name[MOST][160];
    size_t n;
} output;

static void put(output *o, const char *of, const char *what, hone_dtype type, int64_t n, const void *data)
{
    snprintf(o->name[o->n], sizeof o->name[0], "%s.%s", of, what);
    o->t[o->n] = (hone_tensor_info){.name = o->name[o->n],
                                    .dtype = type,
                                    .n_dims = 1,
                                    .shape = {n},
                                    .data = data,
                                    .size = hone_dtype_bytes(type, n)};
    o->n++;
}

static int quantise(output *o, hone_device *dev, const hone_tensor_info *t, hone_dtype type, bool nested,
                    hone_error *err)
{
    hone_weight w = {
        .data = t->data, .dtype = t->dtype, .rows = (int32_t)t->shape[0], .cols = (int32_t)t->shape[1]};
    const int64_t n = t->shape[0] * t->shape[1], blocks = (n + 63) / 64;
    void *memory = hone_big_alloc(hone_quantised_size(type, nested, n));
    float *values = hone_big_alloc((size_t)n * sizeof *values);
    int rc = memory && values ? hone_weight_quantise(dev, &w, memory, type, nested, err)
                              : hone_error_set(err, HONE_ENOMEM, "out of memory");

    if (rc || o->n + 5 > MOST)
        return rc ? rc : hone_error_set(err, HONE_ELIMIT, "too many tensors");
    hone_weight_values(values, &w, 0, n);
    put(o, t->name, "values", HONE_F32, n, values);
    put(o, t->name, "codes", HONE_U8, (int64_t)hone_dtype_bytes(type, n), w.data);
    if (!w.scales)
        return 0;
    if (nested) {
        put(o, t->name, "absmax", HONE_U8, blocks, w.scales->code);
        put(o, t->name, "top", HONE_F32, (blocks + 255) / 256, w.scales->top);
        put(o, t->name, "offset", HONE_F32, 1, &w.scales->offset);
    } else {
        put(o, t->name, "absmax", HONE_F32, blocks, w.scales->top);
    }
    return 0;
}

int main(int argc, char **argv)
{
    hone_device_params p = hone_device_default();
    hone_error err = HONE_ERROR_INIT;
    hone_safetensors *in = NULL;
    hone_device *dev = NULL;
    static output o;
    hone_dtype type;
    size_t i;
    int rc;

    if (argc < 5) {
        fprintf(stderr, "usage: %s IN OUT nf4|fp4|q8_0 nested|plain [isa]\n", argv[0]);
        return 2;
    }
    type = !strcmp(argv[3], "nf4") ? HONE_NF4 : !strcmp(argv[3], "fp4") ? HONE_FP4 : HONE_Q8_0;
    rc = argc > 5 ? hone_isa_parse(&p.isa, argv[5], &err) : 0;
    if (!rc && !(rc = hone_device_open(&dev, &p, &err)))
        rc = hone_safetensors_open(&in, argv[1], &err);
    for (i = 0; !rc && i < hone_safetensors_n_tensors(in); i++)
        rc = quantise(&o, dev, hone_safetensors_tensor(in, i), type, !strcmp(argv[4], "nested"), &err);
    if (!rc)
        rc = hone_safetensors_write(argv[2], o.t, o.n, &err);
    if (rc)
        fprintf(stderr, "%s\n", err.message);
    hone_safetensors_close(in);
    hone_device_close(dev);
    return rc ? 1 : 0;
}
