/* Any bytes as a configuration file: they are refused, or they load, and what loads is saved and loads again. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hone_error err = HONE_ERROR_INIT;
    hone_config *c, *d;
    char path[100], saved[100];
    int fd, rc;

    snprintf(path, sizeof path, "/dev/shm/hone_fuzz_%ld.yaml", (long)getpid());
    snprintf(saved, sizeof saved, "/dev/shm/hone_fuzz_%ld.saved.yaml", (long)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    close(fd);
    rc = hone_config_load(&c, path, &err);
    if (rc != err.code || (rc && !err.message[0]))
        abort();
    if (!rc) {
        hone_config_check(c, &err);
        err = (hone_error)HONE_ERROR_INIT;
        if (hone_config_save(c, saved, &err) || hone_config_load(&d, saved, &err))
            abort();
        if (memcmp(&c->training.learning_rate, &d->training.learning_rate, sizeof(double)) ||
            c->data.train_data_path.n != d->data.train_data_path.n)
            abort();
        hone_config_free(d);
    }
    hone_config_free(c);
    unlink(path);
    unlink(saved);
    return 0;
}
