/* Adapters: which modules they adapt, how they start, PEFT's files in and out, and everything that is refused. */
#include <stdlib.h>
#include <unistd.h>

#include "format/json.h"
#include "unit/model/fixture.h"

/* The golden llama: 2 layers, width 64, grouped heads. */
static fixture golden;
static char folder[64];

static int setup(void **state)
{
    (void)state;
    fixture_open(&golden, "llama", HONE_ISA_REF, 1, HONE_PRECISION_F32, 0);
    snprintf(folder, sizeof folder, "/tmp/hone_test_adapter_XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static void remove_file(const char *name)
{
    char *path = hone_path_join(folder, name);

    unlink(path);
    hone_free(path);
}

static int teardown(void **state)
{
    (void)state;
    remove_file("adapter_config.json");
    remove_file("adapter_model.safetensors");
    rmdir(folder);
    fixture_close(&golden);
    return 0;
}

/* ---- targets ---------------------------------------------------------------------------------------------------------- */

/* Masks of layers 0 and 1, bit p for projection p; or the error code. */
static void expect_targets(const char *const *names, size_t n, bool is_list, int code, unsigned mask0,
                           unsigned mask1)
{
    hone_strings targets = {(char **)names, n};
    hone_adapter_params p = {.r = 2, .alpha = 4, .targets = &targets, .targets_are_list = is_list, .seed = 1};
    hone_error err = HONE_ERROR_INIT;
    hone_adapter *a;
    unsigned mask[2] = {0, 0};
    int i;

    assert_int_equal(hone_adapter_new(&a, golden.m, &p, &err), code);
    if (code) {
        assert_null(a);
        assert_true(strlen(err.message) > 20);
        return;
    }
    for (i = 0; i < 2 * HONE_N_PROJ; i++)
        if (a->lora[i].r)
            mask[i / HONE_N_PROJ] |= 1u << i % HONE_N_PROJ;
    assert_int_equal(mask[0], mask0);
    assert_int_equal(mask[1], mask1);
    hone_adapter_close(a);
}

#define TARGETS(is_list, code, mask0, mask1, ...)                                                            \
    do {                                                                                                     \
        static const char *const names_[] = {__VA_ARGS__};                                                   \
        expect_targets(names_, HONE_COUNT(names_), is_list, code, mask0, mask1);                             \
    } while (0)

static void targets_match_as_in_peft(void **state)
{
    (void)state;
    expect_targets(NULL, 0, true, 0, 0x7f, 0x7f);
    TARGETS(false, 0, 0x7f, 0x7f, "all-linear");
    TARGETS(false, 0, 0x7f, 0x7f, "All-Linear");
    TARGETS(true, 0, 0x05, 0x05, "q_proj", "v_proj");
    TARGETS(true, 0, 0x04, 0x04, "self_attn.v_proj");
    TARGETS(true, 0, 0x40, 0x00, "model.layers.0.mlp.down_proj");
    TARGETS(true, 0, 0x01, 0x41, "q_proj", "layers.1.mlp.down_proj", "names_that_match_nothing_are_fine");
    TARGETS(true, HONE_EINVAL, 0, 0, "proj"); /* no part of a name */
    TARGETS(true, HONE_EINVAL, 0, 0, "xq_proj");
    TARGETS(false, 0, 0x05, 0x05, ".*\\.(q|v)_proj");
    TARGETS(false, 0, 0x00, 0x30, "model\\.layers\\.1\\.mlp\\.(gate|up)_proj");
    TARGETS(false, HONE_EINVAL, 0, 0, "q_proj"); /* the whole path must match */
    TARGETS(false, HONE_EINVAL, 0, 0, "(.*\\.q_proj");
    TARGETS(true, HONE_EUNSUPPORTED, 0, 0, "q_proj", "lm_head");
    TARGETS(false, HONE_EUNSUPPORTED, 0, 0, ".*");
    TARGETS(false, HONE_ELIMIT, 0, 0, "(?:(?:a|.)+)+[!?]");
}

static void ranges_are_checked(void **state)
{
    static const struct {
        int r;
        double alpha, dropout;
    } bad[] = {{0, 8, 0},   {-1, 8, 0}, {5000, 8, 0}, {4, INFINITY, 0},
               {4, NAN, 0}, {4, 8, 1},  {4, 8, -0.1}, {4, 8, NAN}};
    hone_adapter *a;
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(bad); i++) {
        hone_adapter_params p = {.r = bad[i].r, .alpha = bad[i].alpha, .dropout = bad[i].dropout};

        assert_int_equal(hone_adapter_new(&a, golden.m, &p, NULL), HONE_ERANGE);
        assert_null(a);
    }
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */

static void starts_as_peft_does(void **state)
{
    hone_adapter_params p = {.r = 16, .alpha = 32, .seed = 3};
    hone_adapter *a, *again, *other;
    int i;
    int64_t k;

    (void)state;
    OK(hone_adapter_new(&a, golden.m, &p, err));
    OK(hone_adapter_new(&again, golden.m, &p, err));
    p.seed = 4;
    OK(hone_adapter_new(&other, golden.m, &p, err));
    assert_memory_equal(a->value, again->value, a->n * sizeof(float));
    assert_memory_not_equal(a->value, other->value, a->n * sizeof(float));
    for (i = 0; i < 2 * HONE_N_PROJ; i++) {
        const hone_weight *w = &golden.m->w->layer[i / HONE_N_PROJ].proj[i % HONE_N_PROJ];
        const double bound = 1 / sqrt(w->cols);
        const int64_t n = a->lora[i].r * (int64_t)w->cols;
        double sum = 0, squares = 0, largest = 0;

        for (k = 0; k < n; k++) {
            sum += a->lora[i].a[k];
            squares += (double)a->lora[i].a[k] * a->lora[i].a[k];
            largest = fmax(largest, fabs(a->lora[i].a[k]));
        }
        assert_true(largest <= bound && largest > 0.98 * bound);
        assert_true(fabs(sum / n) < 0.1 * bound);
        assert_true(fabs(squares / n / (bound * bound / 3) - 1) < 0.15); /* variance of a uniform law */
        for (k = 0; k < a->lora[i].r * (int64_t)w->rows; k++)
            assert_true(a->lora[i].b[k] == 0);
        assert_true(a->lora[i].scale == 2);
        assert_true(i == 0 || memcmp(a->lora[i].a, a->lora[0].a, 64) != 0);
    }
    hone_adapter_close(a);
    hone_adapter_close(again);
    hone_adapter_close(other);
}

static void gradients_lie_like_values(void **state)
{
    const hone_adapter *a = golden.a;
    size_t at = 0;
    int i;

    (void)state;
    assert_int_equal(hone_adapter_parameters(a), a->n);
    for (i = 0; i < 2 * HONE_N_PROJ; i++) {
        const hone_weight *w = &golden.m->w->layer[i / HONE_N_PROJ].proj[i % HONE_N_PROJ];

        assert_ptr_equal(a->lora[i].a, a->value + at);
        assert_ptr_equal(a->lora[i].da, golden.grad + at);
        at += (size_t)(a->r * w->cols);
        assert_ptr_equal(a->lora[i].b, a->value + at);
        assert_ptr_equal(a->lora[i].db, golden.grad + at);
        at += (size_t)(a->r * w->rows);
    }
    assert_int_equal(at, a->n);
}

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

static json_t *config_of(const char *dir)
{
    char *path = hone_path_join(dir, "adapter_config.json");
    json_t *doc;

    OK(hone_json_load(&doc, path, 1 << 20, err));
    hone_free(path);
    return doc;
}

static void put_config(const char *text)
{
    char *path = hone_path_join(folder, "adapter_config.json");

    OK(hone_file_write(path, text, strlen(text), err));
    hone_free(path);
}

static void saved_and_opened_again(void **state)
{
    char path[512];
    hone_adapter *a;
    json_t *ours, *theirs;
    const char *key;
    json_t *value;
    uint64_t t, k;

    (void)state;
    OK(hone_adapter_save(golden.a, folder, 0x123456789abcdef0u, 0xfedcba9876543210u, err));
    OK(hone_adapter_open(&a, golden.m, folder, err));
    assert_int_equal(a->n, golden.a->n);
    assert_memory_equal(a->value, golden.a->value, a->n * sizeof(float));
    assert_true(a->alpha == golden.a->alpha && a->dropout == golden.a->dropout &&
                a->lora[0].scale == golden.a->lora[0].scale);
    hone_adapter_hashes(a, &t, &k);
    assert_true(t == 0x123456789abcdef0u && k == 0xfedcba9876543210u);
    hone_adapter_close(a);

    /* Key for key and value for value what PEFT wrote for this adapter, and "hone". */
    ours = config_of(folder);
    theirs = config_of(golden_path(path, "llama", "adapter"));
    assert_int_equal(json_object_del(ours, "hone"), 0);
    assert_int_equal(json_object_del(ours, "base_model_name_or_path"), 0);
    assert_int_equal(json_object_del(theirs, "base_model_name_or_path"), 0);
    assert_int_equal(json_object_size(ours), json_object_size(theirs));
    json_object_foreach(theirs, key, value) if (!json_equal(value, json_object_get(ours, key)))
        fail_msg("adapter_config.json: %s differs from PEFT's", key);
    json_decref(ours);
    json_decref(theirs);
}

/* The tensors file is PEFT's to the byte: same order, same header, same values. */
static void tensors_file_is_byte_for_byte_pefts(void **state)
{
    char path[512], *saved = hone_path_join(folder, "adapter_model.safetensors"), *a, *b;
    size_t n, k;

    (void)state;
    OK(hone_adapter_save(golden.a, folder, 0, 0, err));
    OK(hone_file_read(&a, &n, saved, 1 << 20, err));
    OK(hone_file_read(&b, &k, golden_path(path, "llama", "adapter/adapter_model.safetensors"), 1 << 20, err));
    assert_int_equal(n, k);
    assert_memory_equal(a, b, n);
    hone_free(a);
    hone_free(b);
    hone_free(saved);
}

/* Rows of the embedding and of the head: they start as the table's, take its place, and survive a file. */
static void rows_of_tokens_survive(void **state)
{
    static double embed[] = {40, 3, 17}, head[] = {3, 95};
    static const int32_t ids[] = {40, 3, 17, 3, 95};
    hone_strings targets = {(char *[]){"q_proj"}, 1};
    const hone_token_rows tokens = {{embed, 3}, {head, 2}, true};
    const hone_adapter_params p = {
        .r = 2, .alpha = 4, .targets = &targets, .tokens = &tokens, .targets_are_list = true};
    const hone_weights *w = golden.m->w;
    hone_adapter *a, *b;
    float want[64], same[64];
    json_t *doc;
    char *said;
    size_t i;

    (void)state;
    OK(hone_adapter_new(&a, golden.m, &p, err));
    assert_int_equal(a->param[a->n_params - 2].rows, 3);
    assert_int_equal(a->param[a->n_params - 1].rows, 2);
    for (i = 0; i < HONE_COUNT(ids); i++) {
        float *row = a->value + a->param[a->n_params - 2].at + i * 64;

        hone_weight_values(want, i < 3 ? &w->embed : &w->head, (int64_t)ids[i] * 64, 64);
        assert_memory_equal(row, want, sizeof want);
        row[0] += 1; /* what the view shows from now on */
        hone_weight_values(want, i < 3 ? &a->view.embed : &a->view.head, (int64_t)ids[i] * 64, 64);
        assert_memory_equal(want, row, sizeof want);
    }
    hone_weight_values(want, &a->view.head, 40 * 64, 64); /* a row of the embedding alone */
    hone_weight_values(same, &w->head, 40 * 64, 64);
    assert_memory_equal(want, same, sizeof want);
    OK(hone_adapter_save(a, folder, 0, 0, err));
    OK(hone_adapter_open(&b, golden.m, folder, err));
    assert_int_equal(b->n, a->n);
    assert_memory_equal(b->value, a->value, a->n * sizeof(float));
    assert_memory_equal(b->token_patch[1].id, ids + 3, 2 * sizeof *ids);
    doc = config_of(folder);
    said = json_dumps(json_object_get(doc, "trainable_token_indices"), JSON_SORT_KEYS);
    assert_string_equal(said, "{\"embed_tokens\": [40, 3, 17], \"lm_head\": [3, 95]}");
    free(said);
    json_decref(doc);
    hone_adapter_close(a);
    hone_adapter_close(b);
}

static void expression_and_rslora_survive(void **state)
{
    static const char *const regex = ".*\\.1\\..*\\.(q|down)_proj";
    hone_strings targets = {(char *[]){(char *)regex}, 1};
    hone_adapter_params p = {.r = 4, .alpha = 6, .dropout = 0.05, .targets = &targets, .seed = 1};
    hone_adapter *a, *b;

    (void)state;
    OK(hone_adapter_new(&a, golden.m, &p, err));
    a->rslora = true;
    OK(hone_adapter_save(a, folder, 0, 0, err));
    OK(hone_adapter_open(&b, golden.m, folder, err));
    assert_int_equal(b->n, a->n);
    assert_memory_equal(b->value, a->value, a->n * sizeof(float));
    assert_false(b->targets_are_list);
    assert_string_equal(b->target_names.item[0], regex);
    assert_true(b->dropout == 0.05 && b->rslora);
    assert_true(b->lora[HONE_N_PROJ].scale == 3); /* 6 / sqrt(4) */
    hone_adapter_close(a);
    hone_adapter_close(b);
}

static void half_precision_tensors_are_read(void **state)
{
    hone_tensor_info t[2 * 2] = {0};
    hone_weight *w = golden.m->w->layer[0].proj;
    char name[4][128], *path = hone_path_join(folder, "adapter_model.safetensors");
    uint16_t data[4][3 * 64];
    hone_adapter *a;
    int i, k;

    (void)state;
    put_config("{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6, \"target_modules\": [\"v_proj\"]}");
    for (i = 0; i < 4; i++) {
        const int rows = i % 2 ? w[HONE_V].rows : 3, cols = i % 2 ? 3 : w[HONE_V].cols;

        snprintf(name[i], sizeof name[i], "base_model.model.model.layers.%d.self_attn.v_proj.lora_%c.weight",
                 i / 2, i % 2 ? 'B' : 'A');
        for (k = 0; k < rows * cols; k++)
            data[i][k] = i / 2 ? hone_f32_to_f16((float)k / 8) : hone_f32_to_bf16((float)k / 2);
        t[i] = (hone_tensor_info){.name = name[i],
                                  .dtype = i / 2 ? HONE_F16 : HONE_BF16,
                                  .n_dims = 2,
                                  .shape = {rows, cols},
                                  .data = data[i],
                                  .size = (size_t)(rows * cols) * 2};
    }
    OK(hone_safetensors_write(path, t, 4, err));
    OK(hone_adapter_open(&a, golden.m, folder, err));
    assert_true(a->lora[HONE_V].scale == 2);
    assert_true(a->lora[HONE_V].a[5] == 2.5f && a->lora[HONE_V].b[6] == 3);
    assert_true(a->lora[HONE_N_PROJ + HONE_V].a[9] == 1.125f && a->lora[HONE_N_PROJ + HONE_V].b[16] == 2);
    hone_adapter_close(a);
    hone_free(path);
}

/* ---- what is refused ------------------------------------------------------------------------------------------------------- */

/* Opens `folder`; the code must be this and the message must hold `word`. */
static void expect_refusal(int code, const char *word)
{
    hone_error err = HONE_ERROR_INIT;
    hone_adapter *a;

    assert_int_equal(hone_adapter_open(&a, golden.m, folder, &err), code);
    assert_null(a);
    if (!strstr(err.message, word))
        fail_msg("\"%s\" does not name \"%s\"", err.message, word);
}

static void variants_are_refused_by_name(void **state)
{
    static const struct {
        const char *key, *value;
        int code;
    } bad[] = {
        {"use_qalora", "true", HONE_EUNSUPPORTED},
        {"use_bdlora", "{\"nblocks\": 4}", HONE_EUNSUPPORTED},
        {"use_a_variant_of_tomorrow", "true", HONE_EUNSUPPORTED},
        {"bias", "\"some\"", HONE_EFORMAT},
        {"fan_in_fan_out", "true", HONE_EUNSUPPORTED},
        {"lora_bias", "true", HONE_EUNSUPPORTED},
        {"rank_pattern", "{\"q_proj\": \"4\"}", HONE_EFORMAT},
        {"rank_pattern", "{\"q_proj\": 0}", HONE_ERANGE},
        {"alpha_pattern", "[4]", HONE_EFORMAT},
        {"alpha_pattern", "{\"q_proj(\": 4}", HONE_EINVAL},
        {"modules_to_save", "[\"lm_tail\"]", HONE_EINVAL},
        {"layers_to_transform", "[0.5]", HONE_EFORMAT},
        {"exclude_modules", "3", HONE_EFORMAT},
        {"layers_pattern", "[\"layers\"]", HONE_EINVAL},
        {"trainable_token_indices", "[3.5]", HONE_EFORMAT},
        {"trainable_token_indices", "\"all\"", HONE_EFORMAT},
        {"trainable_token_indices", "{\"lm_head\": {}}", HONE_EFORMAT},
        {"trainable_token_indices", "{\"wte\": [3]}", HONE_EUNSUPPORTED},
        {"trainable_token_indices", "[3, 4, 3]", HONE_EINVAL},
        {"trainable_token_indices", "[96]", HONE_EINVAL},
        {"trainable_token_indices", "{\"lm_head\": [-1]}", HONE_EINVAL},
        {"init_lora_weights", "\"pissa\"", HONE_EUNSUPPORTED},
        {"peft_type", "\"IA3\"", HONE_EUNSUPPORTED},
        {"r", "\"8\"", HONE_EFORMAT},
        {"r", "0", HONE_ERANGE},
        {"r", "4294967297", HONE_ERANGE},
        {"lora_dropout", "1.5", HONE_ERANGE},
        {"target_modules", "[\"q_proj\", 3]", HONE_EFORMAT},
        {"target_modules", "[]", HONE_EFORMAT},
        {"target_modules", "null", HONE_EFORMAT},
        {"target_modules", "[\"query\"]", HONE_EINVAL},
    };
    char path[512], *text, word[64];
    json_t *doc, *value;
    size_t i;

    (void)state;
    OK(hone_adapter_save(golden.a, folder, 0, 0, err));
    for (i = 0; i < HONE_COUNT(bad); i++) {
        doc = config_of(golden_path(path, "llama", "adapter"));
        value = json_loads(bad[i].value, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        json_object_set_new(doc, bad[i].key, value);
        text = json_dumps(doc, 0);
        put_config(text);
        free(text);
        json_decref(doc);
        snprintf(word, sizeof word, "%s", bad[i].key);
        expect_refusal(bad[i].code, word);
    }
    put_config("{\"peft_type\": \"LORA\",\n \"r\": }");
    expect_refusal(HONE_EFORMAT, "adapter_config.json: line 2");
    put_config("[1]");
    expect_refusal(HONE_EFORMAT, "adapter_config.json");
    remove_file("adapter_config.json");
    expect_refusal(HONE_ENOENT, "adapter_config.json");
    OK(hone_adapter_save(golden.a, folder, 0, 0, err));
    remove_file("adapter_model.safetensors");
    expect_refusal(HONE_ENOENT, "adapter_model.safetensors");
}

/* The golden adapter with one tensor changed by `edit`. */
static void write_edited(void (*edit)(hone_tensor_info *t, size_t *n))
{
    char path[512], *to = hone_path_join(folder, "adapter_model.safetensors");
    hone_tensor_info t[64];
    hone_safetensors *s;
    size_t n, i;

    OK(hone_adapter_save(golden.a, folder, 0, 0, err));
    OK(hone_safetensors_open(&s, golden_path(path, "llama", "adapter/adapter_model.safetensors"), err));
    n = hone_safetensors_n_tensors(s);
    assert_true(n < HONE_COUNT(t));
    for (i = 0; i < n; i++)
        t[i] = *hone_safetensors_tensor(s, i);
    edit(t, &n);
    OK(hone_safetensors_write(to, t, n, err));
    hone_safetensors_close(s);
    hone_free(to);
}

static void drop_first(hone_tensor_info *t, size_t *n)
{
    t[0] = t[--*n];
}

static void add_foreign(hone_tensor_info *t, size_t *n)
{
    t[*n] = t[0];
    t[(*n)++].name = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight";
}

static void transpose_first(hone_tensor_info *t, size_t *n)
{
    int64_t rows = t[0].shape[0];

    (void)n;
    t[0].shape[0] = t[0].shape[1];
    t[0].shape[1] = rows;
}

static void flatten_first(hone_tensor_info *t, size_t *n)
{
    (void)n;
    t[0].shape[0] *= t[0].shape[1];
    t[0].n_dims = 1;
}

static void make_integers(hone_tensor_info *t, size_t *n)
{
    (void)n;
    t[0].dtype = HONE_I32;
}

static void tensors_must_fit(void **state)
{
    (void)state;
    write_edited(drop_first);
    expect_refusal(HONE_ENOENT, "lora_A.weight is missing");
    write_edited(add_foreign);
    expect_refusal(HONE_EFORMAT, "layers.7.self_attn.q_proj");
    write_edited(transpose_first);
    expect_refusal(HONE_ESHAPE, "; the model needs [");
    write_edited(flatten_first);
    expect_refusal(HONE_ESHAPE, "; the model needs [");
    write_edited(make_integers);
    expect_refusal(HONE_EUNSUPPORTED, "stored as");
}

/* ---- when memory runs out --------------------------------------------------------------------------------------------------- */

static bool fail_at(void *left, size_t size)
{
    (void)size;
    return (*(int *)left)-- != 0;
}

static void every_failed_allocation_is_an_error(void **state)
{
    static double ids[] = {7, 2};
    const hone_token_rows tokens = {{ids, 2}, {ids, 2}, true};
    hone_adapter_params p = {.r = 2, .alpha = 4, .tokens = &tokens, .seed = 1};
    hone_adapter *a = NULL, *whole;
    int n, left, rc = -1, what;

    (void)state;
    OK(hone_adapter_new(&whole, golden.m, &p, err));
    OK(hone_adapter_save(whole, folder, 0, 0, err));
    for (what = 0; what < 3; what++) {
        for (n = 0, rc = -1; rc != 0 && n < 10000; n++) {
            hone_error err = HONE_ERROR_INIT;

            left = n;
            hone_mem_hook(fail_at, &left);
            rc = what == 0   ? hone_adapter_new(&a, golden.m, &p, &err)
                 : what == 1 ? hone_adapter_open(&a, golden.m, folder, &err)
                             : hone_adapter_save(whole, folder, 0, 0, &err);
            hone_mem_hook(NULL, NULL);
            if (rc) {
                assert_int_equal(rc, HONE_ENOMEM);
                assert_int_equal(err.code, HONE_ENOMEM);
            } else if (what < 2) {
                hone_adapter_close(a);
            }
        }
        assert_int_equal(rc, 0);
        assert_true(n > 2);
    }
    hone_adapter_close(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_match_as_in_peft),
        cmocka_unit_test(ranges_are_checked),
        cmocka_unit_test(starts_as_peft_does),
        cmocka_unit_test(gradients_lie_like_values),
        cmocka_unit_test(saved_and_opened_again),
        cmocka_unit_test(tensors_file_is_byte_for_byte_pefts),
        cmocka_unit_test(rows_of_tokens_survive),
        cmocka_unit_test(expression_and_rslora_survive),
        cmocka_unit_test(half_precision_tensors_are_read),
        cmocka_unit_test(variants_are_refused_by_name),
        cmocka_unit_test(tensors_must_fit),
        cmocka_unit_test(every_failed_allocation_is_an_error),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
