/* Any bytes as a file of rows (the first byte picks the ending): each row is refused with a message that names the
 * file, or is a conversation with as many messages as flags, at least one of them trained. */
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const hone_row *row)
{
    json_t *root = json_loadb(row->conversation, row->len, 0, NULL);
    size_t i, trained = 0;

    for (i = 0; i < row->n_messages; i++)
        trained += row->trained[i];
    if (root && row->plain_text && !row->n_messages && json_is_string(json_object_get(root, "text")) &&
        row->line) {
        json_decref(root);
        return;
    }
    if (!root || json_array_size(json_object_get(root, "messages")) != row->n_messages || !trained ||
        !row->line)
        abort();
    json_decref(root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ending[] = {"json", "jsonl", "csv", "tsv", "txt", "json.gz", "jsonl.zst"};
    hone_error err = HONE_ERROR_INIT;
    char path[100];
    const char *paths[] = {path};
    hone_rows *r;
    hone_row row;
    int fd, rc;

    if (!size)
        return 0;
    snprintf(path, sizeof path, "/dev/shm/hone_fuzz_%ld.%s", (long)getpid(),
             ending[(data[0] + 1u) % HONE_COUNT(ending)]);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)size - 1)
        return 0;
    close(fd);
    if (hone_rows_open(&r, paths, 1, NULL, &err))
        abort();
    while ((rc = hone_rows_next(r, &row, &err)) == 1)
        check_row(&row);
    if (rc != err.code || (rc && !strstr(err.message, path)) || strpbrk(err.message, "\n\r\x1b"))
        abort();
    hone_rows_close(r);
    unlink(path);
    return 0;
}
