/* The error value: see include/hone/error.h. */
#include "hone/error.h"

#include <stdarg.h>
#include <stdio.h>

int hone_error_set(hone_error *err, int code, const char *format, ...)
{
    if (err && err->code == 0) {
        va_list args;
        err->code = code;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
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
