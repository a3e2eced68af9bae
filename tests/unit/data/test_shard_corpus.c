/* The corpus of the shard fuzzer. */
#include "fuzz/fuzz_shard.c"

#define CORPUS HONE_TEST_DIR "/fuzz/corpus/shard"
#define CHANGES 400
#define LEAST_FILES 3
#include "support/corpus_test.h"
