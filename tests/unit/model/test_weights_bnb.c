/* Checkpoints that bitsandbytes quantised, when they lie: every tensor of a matrix missing, of another size or type, or with
 * other words in its JSON is an error that names file and tensor. (That sound ones give the right numbers, test_gradients.c
 * shows.) */
#include <stdlib.h>
#include <unistd.h>

#include "fixture.h"

#define NF4 "llama-nf4"
#define INT8 "qwen2-int8"
#define W "model.layers.1.mlp.up_proj.weight" /* [72, 64]: 72 blocks of 64 */
#define STATE ".quant_state.bitsandbytes__nf4"
#define PROJ "model.layers.0.self_attn.k_proj" /* [32, 64] */

static char folder[] = "/tmp/hone_bnb_XXXXXX";

/* Puts into the folder what a golden one holds, tensor `name` being another: NULL to leave it out; of `type` when that is
 * known; of `size` bytes; with `from` of its text replaced by `to`. */
typedef struct change {
    const char *of, *name;
    int64_t size; /* -1: as it is; of its first bytes, zeros behind them */
    hone_dtype type;
    const char *from, *to;
    int code;
    const char *word;
} change;

#define AS_IT_IS -1, HONE_DTYPE_COUNT

static void apply(hone_tensor_info *t, const change *c, char room[8192])
{
    const int64_t size = c->size < 0 ? (int64_t)t->size : c->size;

    assert_true(size < 8192 && t->size < 8192);
    memset(room, 0, 8192);
    memcpy(room, t->data, t->size);
    t->data = room;
    if (c->type != HONE_DTYPE_COUNT)
        t->dtype = c->type;
    if (c->size >= 0) {
        t->n_dims = 1;
        t->shape[0] = size / (int64_t)hone_dtype_bytes(t->dtype, 1);
        t->size = (size_t)size;
    }
    if (c->from) {
        char *at = memmem(room, t->size, c->from, strlen(c->from));

        assert_non_null(at);
        assert_int_equal(strlen(c->from), strlen(c->to)); /* so that the bytes need no moving */
        memcpy(at, c->to, strlen(c->to));
    }
}

static void write_changed(const change *c)
{
    char from[512], to[512], room[8192];
    hone_tensor_info tensor[128];
    hone_safetensors *s;
    size_t i, n = 0, changed = 0;

    OK(hone_safetensors_open(&s, golden_path(from, c->of, "model.safetensors"), err));
    for (i = 0; i < hone_safetensors_n_tensors(s); i++) {
        assert_true(n < HONE_COUNT(tensor));
        tensor[n] = *hone_safetensors_tensor(s, i);
        if (c->name && strcmp(tensor[n].name, c->name) == 0) {
            changed++;
            if (c->size < 0 && !c->from && c->type == HONE_DTYPE_COUNT)
                continue;
            apply(&tensor[n], c, room);
        }
        n++;
    }
    assert_int_equal(changed, c->name != NULL);
    snprintf(to, sizeof to, "%s/model.safetensors", folder);
    OK(hone_safetensors_write(to, tensor, n, err));
    hone_safetensors_close(s);
    snprintf(to, sizeof to, "%s/config.json", folder);
    unlink(to);
    assert_int_equal(symlink(golden_path(from, c->of, "config.json"), to), 0);
}

static const change lies[] = {
    {NF4, W STATE, AS_IT_IS, NULL, NULL, HONE_EFORMAT, STATE},
    {NF4, W ".absmax", AS_IT_IS, NULL, NULL, HONE_EFORMAT, W ".absmax"},
    {NF4, W ".quant_map", AS_IT_IS, NULL, NULL, HONE_EFORMAT, W ".quant_map"},
    {NF4, W ".nested_absmax", AS_IT_IS, NULL, NULL, HONE_EFORMAT, W ".nested_absmax"},
    {NF4, W ".nested_quant_map", AS_IT_IS, NULL, NULL, HONE_EFORMAT, W ".nested_quant_map"},
    {NF4, W, AS_IT_IS, NULL, NULL, HONE_EFORMAT, W " is missing"},
    {NF4, W, 2303, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "2304"},
    {NF4, W, 0, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "2304"},
    {NF4, W ".absmax", 71, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "72 values of U8"},
    {NF4, W ".absmax", 288, HONE_F32, NULL, NULL, HONE_ESHAPE, "72 values of U8"},
    {NF4, W ".quant_map", 60, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "16 values of F32"},
    {NF4, W ".quant_map", 64, HONE_I32, NULL, NULL, HONE_ESHAPE, "16 values of F32"},
    {NF4, W ".quant_map", -1, HONE_DTYPE_COUNT, "\x80\xbf", "\x80\xbe", HONE_EUNSUPPORTED, "quant_map"},
    {NF4, W ".nested_absmax", 8, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "1 values of F32"},
    {NF4, W ".nested_quant_map", 1020, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "256 values of F32"},
    {NF4, W STATE, 0, HONE_DTYPE_COUNT, NULL, NULL, HONE_EFORMAT, STATE},
    {NF4, W STATE, 40, HONE_DTYPE_COUNT, NULL, NULL, HONE_EFORMAT, STATE},
    {NF4, W STATE, 5000, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "4096"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "nf4", "fp4", HONE_EFORMAT, "quant_type"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "[72, 64]", "[64, 72]", HONE_ESHAPE, "[72, 64]"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "[72, 64]", "[72,  6]", HONE_ESHAPE, "[72, 64]"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "[72, 64]", "\"72, 64\"", HONE_ESHAPE, "[72, 64]"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "\"blocksize\": 64", "\"blocksize\": 48", HONE_EUNSUPPORTED,
     "blocksize"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "\"blocksize\": 64", "\"blocksize\": 16", HONE_EUNSUPPORTED,
     "blocksize"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "\"blocksize\": 64", "\"blocksize\":1e9", HONE_EUNSUPPORTED,
     "blocksize"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "\"blocksize\": 64", "\"blocksize\": 32", HONE_ESHAPE, "144 values"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "\"nested_blocksize\": 256", "\"nested_blocksize\": 128",
     HONE_EUNSUPPORTED, "nested_blocksize"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "\"nested_blocksize\": 256", "\"nested_Blocksize\": 256",
     HONE_ESHAPE, "72 values of F32"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "\"float32\"", "\"float64\"", HONE_EUNSUPPORTED, "nested_dtype"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "nested_offset", "Nested_offset", HONE_EFORMAT, "nested_offset"},
    {NF4, W STATE, -1, HONE_DTYPE_COUNT, "{", "[", HONE_EFORMAT, STATE},
    {INT8, PROJ ".SCB", AS_IT_IS, NULL, NULL, HONE_EFORMAT, PROJ ".SCB"},
    {INT8, PROJ ".SCB", 124, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "32 values of F32"},
    {INT8, PROJ ".weight", 2047, HONE_DTYPE_COUNT, NULL, NULL, HONE_ESHAPE, "[32, 64]"},
    {INT8, PROJ ".weight", 2048, HONE_U8, NULL, NULL, HONE_EFORMAT, STATE},
    {INT8, PROJ ".weight_format", 1, HONE_I8, NULL, NULL, 0, NULL},
    {INT8, PROJ ".weight_format", 4, HONE_DTYPE_COUNT, NULL, NULL, HONE_EUNSUPPORTED, "weight_format"},
    {INT8, PROJ ".weight_format", AS_IT_IS, NULL, NULL, 0, NULL},
};

static void lies_are_named(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(lies); i++) {
        const change *c = &lies[i];
        hone_error err = HONE_ERROR_INIT;
        hone_weights *w;
        int rc;

        write_changed(c);
        rc = hone_weights_open(&w, folder, &err);
        hone_weights_close(w);
        if (rc != c->code)
            fail_msg("case %zu, %s: %s: %s", i, c->name, hone_error_name(rc), err.message);
        if (rc && !(strstr(err.message, folder) && strstr(err.message, "model.layers.") &&
                    strstr(err.message, c->word)))
            fail_msg("case %zu, %s: \"%s\" does not hold file, tensor and %s", i, c->name, err.message,
                     c->word);
    }
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char path[512];

    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lies_are_named)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
