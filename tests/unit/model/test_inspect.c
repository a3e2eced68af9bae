/* hone_inspect: what it says of each kind of thing, and that it says something about what hone can not run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/json.h"
#include "format/safetensors.h"
#include "hone/model.h"
#include "support/gguf_build.h"

#define GOLDEN HONE_TEST_DIR "/golden/models/"

static char folder[] = "/tmp/hone_inspect_XXXXXX";

static json_t *inspect(const char *path)
{
    hone_error err = HONE_ERROR_INIT;
    json_t *doc;
    char *text;

    if (hone_inspect(&text, path, &err))
        fail_msg("%s", err.message);
    assert_int_equal(hone_json_parse(&doc, text, strlen(text), path, NULL), 0);
    hone_free(text);
    return doc;
}

static const json_t *at(const json_t *v, const char *a, const char *b)
{
    v = json_object_get(v, a);
    return b ? json_object_get(v, b) : v;
}

static void path_of(char out[256], const char *name)
{
    snprintf(out, 256, "%s/%s", folder, name);
}

static void a_gguf_model(void **state)
{
    json_t *doc = inspect(GOLDEN "llama3.gguf"), *row;
    json_int_t bytes = 0, values = 0;
    size_t i;

    (void)state;
    assert_string_equal(json_string_value(at(doc, "kind", NULL)), "model");
    assert_string_equal(json_string_value(at(doc, "format", NULL)), "GGUF");
    assert_string_equal(json_string_value(at(doc, "architecture", "family")), "llama");
    assert_int_equal(json_integer_value(at(doc, "architecture", "kv_heads")), 2);
    assert_int_equal(json_array_size(at(doc, "eos", NULL)), 2);
    assert_string_equal(json_string_value(at(doc, "metadata", "general.name")), "tiny llama");
    /* 2 V C + L (2 C + 2 C C + 2 (C/2) C + 3 C F) + C */
    assert_int_equal(json_integer_value(at(doc, "parameters", NULL)),
                     2 * 96 * 64 + 2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96 + 64);
    json_array_foreach(at(doc, "types", NULL), i, row)
    {
        bytes += json_integer_value(json_object_get(row, "bytes"));
        values += json_integer_value(json_object_get(row, "values"));
    }
    assert_int_equal(values, json_integer_value(at(doc, "parameters", NULL)) + 8); /* and the rope divisors */
    assert_true(bytes < json_integer_value(at(doc, "bytes", NULL)));
    assert_int_equal(i, 8); /* F32, F16, BF16 and five block types */
    assert_int_equal(json_array_size(at(doc, "tensors", NULL)), 13);
    json_decref(doc);
}

static void a_folder(void **state)
{
    json_t *doc = inspect(GOLDEN "qwen3");

    (void)state;
    assert_string_equal(json_string_value(at(doc, "format", NULL)), "Hugging Face");
    assert_true(json_is_true(at(doc, "architecture", "qk_norm")));
    assert_true(json_is_true(at(doc, "architecture", "tied")));
    assert_true(json_is_false(at(doc, "chat_template", NULL)));
    json_decref(doc);
}

static void write_text(const char *name, const char *text)
{
    char path[256];

    path_of(path, name);
    assert_int_equal(hone_file_write(path, text, strlen(text), NULL), 0);
}

static void tokenizer_and_template_beside_the_weights(void **state)
{
    float x[4] = {0};
    hone_tensor_info t = {.name = "x", .dtype = HONE_F32, .n_dims = 1, .shape = {4}, .data = x, .size = 16};
    char path[256];
    json_t *doc;

    (void)state;
    path_of(path, "model.safetensors");
    assert_int_equal(hone_safetensors_write(path, &t, 1, NULL), 0);
    write_text("config.json", "{\"model_type\": \"gpt2\"}");
    write_text("tokenizer.json",
               "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}}, \"added_tokens\": [{}]}");
    write_text("tokenizer_config.json",
               "{\"model_max_length\": 1000000000000000019884624838656, \"chat_template\": \"x\"}");
    doc = inspect(folder);
    assert_string_equal(json_string_value(at(doc, "tokenizer", "kind")), "BPE");
    assert_int_equal(json_integer_value(at(doc, "tokenizer", "vocab")), 2);
    assert_true(json_is_true(at(doc, "chat_template", NULL)));
    assert_true(json_is_false(at(doc, "architecture", "supported"))); /* described all the same */
    assert_non_null(strstr(json_string_value(at(doc, "architecture", "reason")), "gpt2"));
    json_decref(doc);
    doc = inspect(path);
    assert_string_equal(json_string_value(at(doc, "kind", NULL)), "tensors");
    json_decref(doc);
    unlink(path);
    path_of(path, "config.json");
    unlink(path);
    path_of(path, "tokenizer.json");
    unlink(path);
    path_of(path, "tokenizer_config.json");
    unlink(path);
}

static void an_adapter(void **state)
{
    float x[8] = {0};
    hone_tensor_info t = {
        .name = "a", .dtype = HONE_F32, .n_dims = 2, .shape = {2, 4}, .data = x, .size = 32};
    char path[256];
    json_t *doc;

    (void)state;
    write_text("adapter_config.json",
               "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 4, \"target_modules\": [\"q_proj\"],"
               " \"base_model_name_or_path\": \"base\", \"hone\": {\"template_hash\": \"12\"}}");
    path_of(path, "adapter_model.safetensors");
    assert_int_equal(hone_safetensors_write(path, &t, 1, NULL), 0);
    doc = inspect(folder);
    assert_string_equal(json_string_value(at(doc, "kind", NULL)), "adapter");
    assert_int_equal(json_integer_value(at(doc, "adapter", "r")), 2);
    assert_string_equal(json_string_value(at(doc, "adapter", "base_model")), "base");
    assert_non_null(json_object_get(at(doc, "adapter", "hone"), "template_hash"));
    assert_int_equal(json_integer_value(at(doc, "parameters", NULL)), 8);
    json_decref(doc);
    unlink(path);
    path_of(path, "adapter_config.json");
    unlink(path);
}

static void a_foreign_gguf_file(void **state)
{
    gguf_build b = {0};
    char path[256];
    json_t *doc;

    (void)state;
    gguf_string(&b, "general.architecture", "mamba");
    gguf_string(&b, "general.name", "\xff\xfe");
    gguf_f32(&b, "infinite", 1e38f * 10);
    path_of(path, "foreign.gguf");
    gguf_write(&b, path);
    doc = inspect(path);
    assert_non_null(strstr(json_string_value(at(doc, "architecture", "reason")), "mamba"));
    assert_string_equal(json_string_value(at(doc, "metadata", "general.name")), "(not UTF-8)");
    assert_true(json_is_null(at(doc, "metadata", "infinite")));
    json_decref(doc);
    unlink(path);
}

static void errors_name_the_path(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    char *text;

    (void)state;
    assert_int_equal(hone_inspect(&text, "/nowhere", &err), HONE_ENOENT);
    assert_non_null(strstr(err.message, "/nowhere"));
    assert_null(text);
    assert_int_equal(hone_inspect(&text, folder, NULL), HONE_ENOENT);
}

static long left;

static bool fail_later(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return left-- > 0;
}

static void every_allocation_may_fail(void **state)
{
    static const char *const paths[] = {GOLDEN "qwen2.gguf", GOLDEN "qwen2"};
    size_t i;
    long n;

    (void)state;
    json_set_alloc_funcs(hone_alloc, hone_free);
    for (i = 0; i < HONE_COUNT(paths); i++)
        for (n = 0;; n++) {
            hone_error err = HONE_ERROR_INIT;
            char *text;
            int rc;

            left = n;
            hone_mem_hook(fail_later, NULL);
            rc = hone_inspect(&text, paths[i], &err);
            hone_mem_hook(NULL, NULL);
            hone_free(text);
            if (left > 0) { /* none was refused */
                assert_int_equal(rc, 0);
                break;
            }
        }
    json_set_alloc_funcs(malloc, free);
}

/* Codes count as what they stand for. */
static void quantised_parameters(void **state)
{
    static const char *const pairs[][2] = {
        {"llama", "llama-nf4"}, {"phi3", "phi3-fp4"}, {"qwen2", "qwen2-int8"}};
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(pairs); i++) {
        json_int_t n[2];
        int j;

        for (j = 0; j < 2; j++) {
            char path[512];
            json_t *doc;

            snprintf(path, sizeof path, "%s/golden/gradients/%s", HONE_TEST_DIR, pairs[i][j]);
            doc = inspect(path);
            n[j] = json_integer_value(at(doc, "parameters", NULL));
            json_decref(doc);
        }
        assert_int_equal(n[0], n[1]);
    }
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantised_parameters),
        cmocka_unit_test(a_gguf_model),
        cmocka_unit_test(a_folder),
        cmocka_unit_test(tokenizer_and_template_beside_the_weights),
        cmocka_unit_test(an_adapter),
        cmocka_unit_test(a_foreign_gguf_file),
        cmocka_unit_test(errors_name_the_path),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
