/* Any bytes as a tokenizer file (tokenizer.json, GGUF, SentencePiece or tiktoken): refused with a message that names the
 * file, or a tokenizer that encodes and decodes without a fault. tests/unit/text/test_tokenizer_corpus.c runs the corpus in
 * every test run. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const hone_tokenizer *t)
{
    static const char text[] = "Hello <s> \xe4\xb8\xad\xe5\x8c\xbb  12\xff e\xcc\x81 word</s>\n";
    hone_tokens tokens = {0};
    hone_error err = HONE_ERROR_INIT;
    char *back = NULL;
    size_t i, n;
    int code = hone_tokenizer_encode(t, &tokens, text, sizeof text - 1, NULL, 0, HONE_ENCODE_SPECIAL, &err);

    if (code != err.code)
        abort();
    for (i = 0; i < tokens.n; i++)
        if (!hone_tokenizer_piece(t, tokens.id[i], &n) || tokens.begin[i] > tokens.end[i] ||
            tokens.end[i] > sizeof text - 1)
            abort();
    code = hone_tokenizer_decode(t, &back, NULL, tokens.id, tokens.n, false, &err);
    if (!code && !back)
        abort();
    hone_free(back);
    hone_tokens_clear(&tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hone_error err = HONE_ERROR_INIT;
    hone_tokenizer *t = NULL;
    char path[100];
    int fd, code;

    /* the name says how a tiktoken file splits */
    snprintf(path, sizeof path, "/dev/shm/hone_fuzz_%ld.cl100k", (long)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return 0;
    if (write(fd, data, size) == (ssize_t)size) {
        code = hone_tokenizer_open(&t, path, &err);
        if (code != err.code || (code && (t || !strstr(err.message, path))))
            abort();
        if (!code)
            use(t);
        hone_tokenizer_close(t);
    }
    close(fd);
    unlink(path);
    return 0;
}
