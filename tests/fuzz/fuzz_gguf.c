/* Any bytes as a GGUF file: refused with a message that names the file, or a file whose every value and tensor can be
 * read to its last byte; and what the model layer makes of its metadata. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/gguf.h"
#include "model/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink; /* a read that the compiler may not leave out */

static void touch(const char *s, size_t n)
{
    while (n--)
        sink = (uint8_t)*s++;
}

static void read_values(const hone_gguf *g)
{
    size_t i, j, n, len;
    const char *s;
    int type;

    for (i = 0; i < hone_gguf_n_keys(g); i++) {
        char name[512];
        size_t cursor = 0;
        int64_t v;
        double d;
        bool b;

        hone_gguf_key(g, i, &s, &len, &type);
        snprintf(name, sizeof name, "%.*s", (int)HONE_MIN(len, sizeof name - 1), s);
        hone_gguf_int(g, name, &v);
        hone_gguf_double(g, name, &d);
        hone_gguf_bool(g, name, &b);
        if (hone_gguf_string(g, name, &s, &len))
            touch(s, len);
        if (hone_gguf_array(g, name, &n, &type))
            for (j = 0; j < n; j++)
                if (!hone_gguf_array_int(g, name, j, &v) && !hone_gguf_array_double(g, name, j, &d))
                    break;
        while (hone_gguf_array_next_string(g, name, &cursor, &s, &len))
            touch(s, len);
    }
    for (i = 0; i < hone_gguf_n_tensors(g); i++) {
        const hone_tensor_info *t = hone_gguf_tensor(g, i);

        touch(t->data, t->size);
        if (hone_gguf_find(g, t->name) != t)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hone_error err = HONE_ERROR_INIT;
    hone_weights *w;
    hone_gguf *g;
    char path[100];
    int fd, rc;

    snprintf(path, sizeof path, "/dev/shm/hone_fuzz_%ld.gguf", (long)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    close(fd);
    rc = hone_gguf_open(&g, path, &err);
    if (rc != err.code || (rc && !strstr(err.message, path)))
        abort();
    if (!rc) {
        read_values(g);
        hone_gguf_close(g);
        rc = hone_weights_open(&w, path, &err);
        if (rc != err.code || (rc && !err.message[0]))
            abort();
        hone_weights_close(w);
    }
    unlink(path);
    return 0;
}
