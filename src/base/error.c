/* The error value: see include/hone/error.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base.h"

/* Keeps what the header promises, whatever text of a file is quoted and wherever it was cut: one line of UTF-8
 * without control characters, which a terminal would obey. */
static void tidy(char *message)
{
    size_t n = strlen(message), i, step;

    for (i = 0; i < n; i += step) {
        int32_t cp;

        step = hone_utf8_get(message + i, n - i, &cp);
        if (cp < 0)
            memset(message + i, '?', step);
        else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
            memset(message + i, ' ', step);
    }
}

int hone_error_set(hone_error *err, int code, const char *format, ...)
{
    if (err && err->code == 0) {
        va_list args;
        err->code = code;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        tidy(err->message);
    }
    return code;
}

const char *hone_error_name(int code)
{
    static const char *const name[] = {"OK",     "EIO",    "ENOENT", "EFORMAT", "EUNSUPPORTED", "ENOMEM",
                                       "EINVAL", "ERANGE", "ESHAPE", "ELIMIT",  "ECANCELLED",   "EINTERNAL"};
    int i = -code;

    return i >= 0 && i < (int)(sizeof name / sizeof name[0]) ? name[i] : "unknown";
}
