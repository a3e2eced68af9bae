/* A test program around a fuzz target: its corpus, and small changes of each of its files, run without a fuzzer. Include
 * the target first and define CORPUS (folder), CHANGES (of each file) and LEAST_FILES (so that a lost corpus is seen). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <string.h>

#include "base/base.h"

static void the_corpus_does_no_harm(void **state)
{
    struct dirent **entry;
    int n = scandir(CORPUS, &entry, NULL, alphasort), i, k, files = 0;
    hone_rng rng = hone_rng_make(7, 0);
    char *path, *text;
    size_t len;

    (void)state;
    for (i = 0; i < n; i++) {
        path = hone_path_join(CORPUS, entry[i]->d_name);
        if (!hone_path_is_dir(path)) {
            assert_int_equal(hone_file_read(&text, &len, path, 1 << 20, NULL), 0);
            LLVMFuzzerTestOneInput((uint8_t *)text, len);
            for (k = 0; k < CHANGES && len; k++) { /* swap, cut, overwrite */
                uint32_t at = hone_rng_below(&rng, (uint32_t)len), to = hone_rng_below(&rng, (uint32_t)len);
                char was = text[at];

                text[at] = k % 3 ? text[to] : "{}%#|-'\"()[].:,~"[hone_rng_below(&rng, 16)];
                LLVMFuzzerTestOneInput((uint8_t *)text, k % 5 ? len : to);
                if (k % 2)
                    text[at] = was;
            }
            hone_free(text);
            files++;
        }
        hone_free(path);
        free(entry[i]);
    }
    free(entry);
    assert_true(files >= LEAST_FILES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_corpus_does_no_harm)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
