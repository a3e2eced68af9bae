/* Results: JSON documents, files that appear whole, and input files. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define MAX_INPUT ((size_t)1 << 30) /* bytes of an input file */

int json_print(json_t *doc)
{
    int rc;

    if (!doc)
        return fail("out of memory");
    rc = json_dumpf(doc, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(doc);
    putchar('\n');
    return rc && !ferror(stdout) ? fail("the result can not be written as JSON") : EXIT_SUCCESS;
}

json_t *json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* The length of the well-formed character at s, or 0. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t need = s[0] < 0x80                   ? 1
                  : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                  : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                  : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                : 0;
    size_t i;

    if (need == 0 || need > n)
        return 0;
    for (i = 1; i < need; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return need;
}

json_t *json_text(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    char *clean = malloc(3 * len + 1);
    size_t i = 0, n = 0;
    json_t *out;

    if (!clean)
        return NULL;
    while (i < len) {
        size_t m = utf8_length(s + i, len - i);

        memcpy(clean + n, m ? text + i : "\xef\xbf\xbd", m ? m : 3);
        n += m ? m : 3;
        i += m ? m : 1;
    }
    out = json_stringn(clean, n);
    free(clean);
    return out;
}

void print_text_safe(const char *s, size_t n)
{
    json_t *clean = json_text(s, n);
    const unsigned char *p = (const unsigned char *)(clean ? json_string_value(clean) : "");
    size_t len = clean ? json_string_length(clean) : 0, i;

    for (i = 0; i < len; i++) {
        unsigned code = p[i];

        if (code == 0xc2 && p[i + 1] < 0xa0)
            code = p[++i];
        else if (code == 0xe2 && p[i + 1] == 0x80 && (p[i + 2] >= 0xaa && p[i + 2] <= 0xae))
            code = 0x2000 + (p[i + 2] & 0x3fu), i += 2;
        else if (code == 0xe2 && p[i + 1] == 0x81 && (p[i + 2] >= 0xa6 && p[i + 2] <= 0xa9))
            code = 0x2040 + (p[i + 2] & 0x3fu), i += 2;
        else if ((code >= 0x20 && code != 0x7f) || code == '\n' || code == '\t') {
            putchar((int)code);
            continue;
        }
        printf("\\u%04x", code);
    }
    json_decref(clean);
}

int output_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fail("the output can not be written: %s", strerror(errno ? errno : EIO));
    return code ? code : EXIT_FAILURE;
}

int atomic_open(atomic_file *f, const char *path)
{
    memset(f, 0, sizeof *f);
    f->path = strdup(path);
    if (!f->path || asprintf(&f->temporary, "%s.tmp.%ld", path, (long)getpid()) < 0) {
        f->temporary = NULL;
        free(f->path);
        return fail("out of memory");
    }
    f->file = fopen(f->temporary, "w");
    if (!f->file) {
        int rc = fail("%s: can not write: %s", path, strerror(errno));

        free(f->path);
        free(f->temporary);
        return rc;
    }
    return 0;
}

int atomic_close(atomic_file *f, bool keep)
{
    int rc = 0;

    if (keep) {
        /* each step only when those before it went well; errno is the first failure's */
        bool whole = !ferror(f->file) && fflush(f->file) == 0 && fsync(fileno(f->file)) == 0;

        if (!whole)
            rc = fail("%s: can not write: %s", f->path, strerror(errno));
    }
    if (fclose(f->file) != 0 && keep && !rc)
        rc = fail("%s: can not write: %s", f->path, strerror(errno));
    if (keep && !rc && rename(f->temporary, f->path) != 0)
        rc = fail("%s: can not write: %s", f->path, strerror(errno));
    if (!keep || rc)
        unlink(f->temporary);
    free(f->path);
    free(f->temporary);
    return rc;
}

int read_file(char **out, size_t *len, const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    const char *name = f == stdin ? "standard input" : path;
    char *data = NULL;
    size_t n = 0, capacity = 0;
    struct stat st;
    int rc = 0;

    *out = NULL;
    if (!f)
        return fail("%s: can not open: %s", path, strerror(errno));
    if (fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode)) {
        fclose(f);
        return fail("%s: is a folder, a file is needed", path);
    }
    for (;;) {
        if (n + 1 >= capacity) {
            char *grown;

            capacity = capacity ? 2 * capacity : 65536;
            grown = capacity <= 2 * MAX_INPUT ? realloc(data, capacity) : NULL;
            if (!grown) {
                rc = fail("%s: too large to read (limit %zu MiB)", name, MAX_INPUT >> 20);
                break;
            }
            data = grown;
        }
        n += fread(data + n, 1, capacity - n - 1, f);
        if (ferror(f)) {
            rc = fail("%s: can not read: %s", name, strerror(errno));
            break;
        }
        if (feof(f))
            break;
    }
    if (f != stdin)
        fclose(f);
    if (rc) {
        free(data);
        return rc;
    }
    data[n] = 0;
    *out = data;
    *len = n;
    return 0;
}

int check_json(const char *text, size_t len, const char *path, int64_t first_line)
{
    json_error_t error;
    json_t *doc = json_loadb(text, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, &error);

    if (!doc)
        return fail("%s:%lld:%d: %s", strcmp(path, "-") ? path : "standard input",
                    (long long)(first_line + (error.line > 0 ? error.line - 1 : 0)), error.column,
                    error.text);
    json_decref(doc);
    return 0;
}

int page_write(const char *path, const char *html, size_t len)
{
    atomic_file f;
    bool written;
    int rc;

    if (!strcmp(path, "-")) {
        fwrite(html, 1, len, stdout);
        return output_finish(EXIT_SUCCESS);
    }
    rc = atomic_open(&f, path);
    if (rc)
        return rc;
    written = fwrite(html, 1, len, f.file) == len;
    rc = atomic_close(&f, written);
    if (!rc && !written)
        rc = fail("%s can not be written", path);
    if (!rc)
        note("%s is written", path);
    return rc;
}

const char *now_text(char out[32])
{
    time_t now = time(NULL);
    struct tm local;

    if (!localtime_r(&now, &local) || !strftime(out, 32, "%Y-%m-%d %H:%M", &local))
        return NULL;
    return out;
}

hone_language page_language(const page_options *p)
{
    return p->language[0] == 'z' ? HONE_CHINESE : HONE_ENGLISH;
}

const char *page_time(const page_options *p, char now[32])
{
    return p->no_time ? NULL : p->when ? p->when : now_text(now);
}
