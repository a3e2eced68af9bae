/* Any bytes as a parquet file: refused with a message that names the file, or rows that are JSON objects. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/data.h"

#define MOST_ROWS 10000 /* runs make billions of equal rows from a few bytes, which says nothing new */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hone_error err = HONE_ERROR_INIT;
    row_source s;
    char path[100];
    int fd, rc, n = 0;

    snprintf(path, sizeof path, "/dev/shm/hone_fuzz_%ld.parquet", (long)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    close(fd);
    rc = row_source_open(&s, path, HONE_TEXT_PARAGRAPH, &err);
    if (!rc) {
        while (n < MOST_ROWS && (rc = row_source_next(&s, &err)) == 1) {
            n++;
            if (s.row.len < 2 || s.row.data[0] != '{' || s.row.data[s.row.len - 1] != '}')
                abort();
        }
        row_source_close(&s);
    }
    if (rc < 0 && (rc != err.code || !strstr(err.message, path) || strpbrk(err.message, "\n\r\x1b")))
        abort();
    unlink(path);
    return 0;
}
