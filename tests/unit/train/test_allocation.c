/* A step after the second allocates nothing: the library's own allocations are counted by its hook, and the heap, with what
 * other libraries take of it, by mallinfo2, between the callbacks of the second step and of the last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/hone.h"

static char folder[] = "allocation_test_XXXXXX";

struct seen {
    bool counting;
    int allocations, steps;
    size_t bytes, heap_before, heap_after;
};

static bool on_allocation(void *ud, size_t size)
{
    struct seen *s = ud;

    if (s->counting) {
        s->allocations++;
        s->bytes += size;
    }
    return true;
}

static void on_step(void *ud, const hone_step *step, bool log)
{
    struct seen *s = ud;

    (void)log;
    s->steps++;
    s->counting = s->counting || step->step == 2;
    if (step->step == 3) /* blocks that were freed and are kept for the next of their size count as used */
        s->heap_before = mallinfo2().uordblks;
    if (step->step == step->total_steps) {
        s->counting = false;
        s->heap_after = mallinfo2().uordblks;
    }
}

static void steps_allocate_nothing(void **state)
{
    static const char *const way[][5] = {
        {NULL},
        {"training.gradient_accumulation_steps=3", "training.per_device_train_batch_size=1", NULL},
        {"training.packing_strategy=bfd", "model.max_length=96", NULL},
        {"training.finetuning_type=full", "training.optim=adafactor", "training.gradient_checkpointing=2",
         NULL},
        {"training.finetuning_type=full", "training.offload_optimizer=true", NULL},
        {"training.optim=adamw_8bit", "training.neftune_noise_alpha=5", "training.report_to=csv", NULL},
    };
    size_t i, k;

    (void)state;
    for (i = 0; i < HONE_COUNT(way); i++) {
        struct seen seen = {0};
        const hone_train_callbacks cb = {.ud = &seen, .step = on_step};
        const hone_device_params dp = {.threads = 2};
        hone_error err = HONE_ERROR_INIT;
        hone_train_result result;
        hone_device *dev;
        hone_config *c;
        char line[300];
        const char *const base[] = {"model.name_or_path=" HONE_TEST_DIR "/golden/tiny_chat",
                                    "model.max_length=256",
                                    "training.max_steps=24",
                                    "training.evaluation_strategy=\"no\"",
                                    "training.save_strategy=\"no\"",
                                    "training.report_to=none"};

        assert_int_equal(hone_config_new(&c, &err), 0);
        for (k = 0; k < HONE_COUNT(base); k++)
            assert_int_equal(hone_config_set(c, base[k], &err), 0);
        snprintf(line, sizeof line, "data.train_data_path=%s/rows.jsonl", folder);
        assert_int_equal(hone_config_set(c, line, &err), 0);
        snprintf(line, sizeof line, "training.output_dir=%s/out%zu", folder, i);
        assert_int_equal(hone_config_set(c, line, &err), 0);
        for (k = 0; way[i][k]; k++)
            assert_int_equal(hone_config_set(c, way[i][k], &err), 0);
        assert_int_equal(hone_device_open(&dev, &dp, &err), 0);
        hone_mem_hook(on_allocation, &seen);
        if (hone_train_run(c, dev, &cb, &result, &err))
            fail_msg("%s", err.message);
        hone_mem_hook(NULL, NULL);
        print_message("way %zu: %d allocations of %zu bytes in steps 3 to 24, heap %+lld bytes\n", i,
                      seen.allocations, seen.bytes, (long long)seen.heap_after - (long long)seen.heap_before);
        assert_int_equal(seen.steps, 24);
        assert_int_equal(seen.allocations, 0);
        assert_true(seen.heap_after <= seen.heap_before);
        hone_device_close(dev);
        hone_config_free(c);
    }
}

static int make_folder(void **state)
{
    hone_buf b = {0};
    char *path;
    int i;

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (i = 0; i < 17; i++)
        hone_buf_printf(&b, "{\"instruction\": \"question %d\", \"output\": \"The answer is %.*s.\"}\n", i,
                        1 + i % 7 * 4, "forty-two, thank you, please");
    path = hone_path_join(folder, "rows.jsonl");
    assert_int_equal(hone_file_write(path, b.data, b.len, NULL), 0);
    hone_free(path);
    hone_buf_clear(&b);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_allocate_nothing)};

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
