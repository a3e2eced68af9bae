/* The corpus of the template fuzzer. */
#include "fuzz/fuzz_template.c"

#define CORPUS HONE_TEST_DIR "/fuzz/corpus/template"
#define CHANGES 300
#define LEAST_FILES 8
#include "support/corpus_test.h"
