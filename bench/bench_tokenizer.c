/* Speed of one tokenizer on one thread: the lines of a file, encoded again and again; MB/s of the fastest pass.
 *
 * usage: bench_tokenizer TOKENIZER FILE [PASSES]
 * bench/tokenizer_speed.py compares it with the `tokenizers` library. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

int main(int argc, char **argv)
{
    hone_error err = HONE_ERROR_INIT;
    hone_tokenizer *t = NULL;
    hone_tokens tokens = {0};
    char *text = NULL;
    size_t len = 0, total = 0;
    int pass, passes = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 3;
    double best = 1e30;

    if (argc < 3) {
        fprintf(stderr, "usage: %s TOKENIZER FILE [PASSES]\n", argv[0]);
        return 2;
    }
    if (hone_tokenizer_open(&t, argv[1], &err) || hone_file_read(&text, &len, argv[2], (size_t)1 << 30, &err))
        goto fail;
    for (pass = 0; pass < passes; pass++) {
        double start = hone_now();
        const char *line = text, *end = text + len;

        for (total = 0; line < end;) {
            const char *stop = memchr(line, '\n', (size_t)(end - line));

            stop = stop ? stop : end;
            tokens.n = 0;
            if (hone_tokenizer_encode(t, &tokens, line, (size_t)(stop - line), NULL, 0, 0, &err))
                goto fail;
            total += tokens.n;
            line = stop + 1;
        }
        best = HONE_MIN(best, hone_now() - start);
    }
    printf("%.3f MB/s %zu tokens\n", (double)len / best / 1e6, total);
    hone_tokens_clear(&tokens);
    hone_free(text);
    hone_tokenizer_close(t);
    return 0;
fail:
    fprintf(stderr, "%s\n", err.message);
    return 1;
}
