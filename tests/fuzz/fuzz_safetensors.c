/* Any bytes as a safetensors file: refused with a message that names the file, or tensors that tile the data. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink; /* a read that the compiler may not leave out */

static void check_tensors(const hone_safetensors *s, size_t size)
{
    size_t i, j, total = 0;

    for (i = 0; i < hone_safetensors_n_tensors(s); i++) {
        const hone_tensor_info *t = hone_safetensors_tensor(s, i);

        if (hone_safetensors_find(s, t->name) != t)
            abort();
        for (j = 0; j < t->size; j++)
            sink = ((const uint8_t *)t->data)[j];
        total += t->size;
    }
    if (total > size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hone_error err = HONE_ERROR_INIT;
    hone_safetensors *s;
    char path[100];
    int fd, rc;

    snprintf(path, sizeof path, "/dev/shm/hone_fuzz_%ld.safetensors", (long)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    close(fd);
    rc = hone_safetensors_open(&s, path, &err);
    if (rc != err.code || (rc && !strstr(err.message, path)))
        abort();
    if (!rc)
        check_tensors(s, size);
    hone_safetensors_close(s);
    unlink(path);
    return 0;
}
