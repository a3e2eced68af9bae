/* From the paths a user writes to the files that are read, always in the same order: what a folder or a glob yields is
 * sorted by bytes, since a locale's order differs between machines. */
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

typedef struct list {
    char **item;
    size_t n, capacity;
} list;

static int add(list *l, const char *folder, const char *name, hone_error *err)
{
    l->item = hone_grow(l->item, &l->capacity, l->n + 1, sizeof *l->item);
    if (l->n == l->capacity)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", name);
    l->item[l->n] = folder ? hone_path_join(folder, name) : hone_strdup(name);
    if (!l->item[l->n])
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", name);
    l->n++;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files of a folder that have a reader. Text lies beside data more often as a note than as rows: .txt files count
 * only in a folder without other rows. */
static int add_folder(list *l, const char *path, hone_error *err)
{
    DIR *dir = opendir(path);
    size_t first = l->n, i, kept;
    bool other = false;
    struct dirent *e;
    int rc = 0;

    if (!dir)
        return hone_error_set(err, HONE_EIO, "%s: cannot open the folder: %s", path, strerror(errno));
    while (!rc && (e = readdir(dir)) != NULL) {
        if (e->d_name[0] == '.' || path_is_stdin(e->d_name) || !row_reader_find(e->d_name))
            continue;
        rc = add(l, path, e->d_name, err);
        if (!rc && hone_path_is_dir(l->item[l->n - 1]))
            hone_free(l->item[--l->n]);
        else if (!rc)
            other |= row_reader_find(e->d_name)->next != read_text_next;
    }
    closedir(dir);
    for (i = kept = first; other && i < l->n; i++)
        if (row_reader_find(l->item[i])->next != read_text_next)
            l->item[kept++] = l->item[i];
        else
            hone_free(l->item[i]);
    l->n = other ? kept : l->n;
    if (!rc && l->n == first) {
        char endings[200];

        row_reader_endings(endings, sizeof endings);
        rc = hone_error_set(err, HONE_ENOENT, "%s: no file of rows in this folder (%s)", path, endings);
    }
    if (!rc)
        qsort(l->item + first, l->n - first, sizeof *l->item, by_bytes);
    return rc;
}

static int add_glob(list *l, const char *pattern, hone_error *err)
{
    size_t first = l->n, i;
    glob_t g = {0};
    int rc = 0, status = glob(pattern, GLOB_NOSORT, NULL, &g);

    if (status && status != GLOB_NOMATCH)
        rc = status == GLOB_NOSPACE ? hone_error_set(err, HONE_ENOMEM, "%s: out of memory", pattern)
                                    : hone_error_set(err, HONE_EIO, "%s: cannot read a folder", pattern);
    for (i = 0; !rc && !status && i < g.gl_pathc; i++)
        if (!hone_path_is_dir(g.gl_pathv[i]))
            rc = add(l, NULL, g.gl_pathv[i], err);
    globfree(&g);
    if (!rc && l->n == first)
        rc = hone_error_set(err, HONE_ENOENT, "%s: no file matches", pattern);
    if (!rc)
        qsort(l->item + first, l->n - first, sizeof *l->item, by_bytes);
    return rc;
}

int paths_expand(char ***out, size_t *n_out, const char *const *paths, size_t n, hone_error *err)
{
    char endings[200];
    list l = {0};
    size_t i;
    int rc = n ? 0 : hone_error_set(err, HONE_EINVAL, "no data file is given");

    for (i = 0; !rc && i < n; i++)
        if (path_is_stdin(paths[i]))
            rc = add(&l, NULL, paths[i], err);
        else if (hone_path_is_dir(paths[i]))
            rc = add_folder(&l, paths[i], err);
        else if (!hone_path_exists(paths[i]) && strpbrk(paths[i], "*?["))
            rc = add_glob(&l, paths[i], err);
        else
            rc = add(&l, NULL, paths[i], err);
    for (i = 0; !rc && i < l.n; i++)
        if (!path_is_stdin(l.item[i]) && !hone_path_exists(l.item[i])) {
            rc = hone_error_set(err, HONE_ENOENT, "%s: no such file", l.item[i]);
        } else if (!row_reader_find(l.item[i])) {
            row_reader_endings(endings, sizeof endings);
            rc = hone_error_set(err, HONE_EUNSUPPORTED, "%s: no reader for this ending; supported: %s",
                                l.item[i], endings);
        }
    if (rc) {
        paths_clear(l.item, l.n);
        l = (list){0};
    }
    *out = l.item;
    *n_out = l.n;
    return rc;
}

void paths_clear(char **item, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        hone_free(item[i]);
    hone_free(item);
}
