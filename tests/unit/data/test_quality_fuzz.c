/* The corpus of the fuzzer of quality rules. */
#include "fuzz/fuzz_quality.c"

#define CORPUS HONE_TEST_DIR "/fuzz/corpus/quality"
#define CHANGES 25
#define LEAST_FILES 8
#include "support/corpus_test.h"
