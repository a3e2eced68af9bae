/* The corpus of the tokenizer fuzzer. */
#include "fuzz/fuzz_tokenizer.c"

#define CORPUS HONE_TEST_DIR "/fuzz/corpus/tokenizer"
#define CHANGES 100
#define LEAST_FILES 6
#include "support/corpus_test.h"
