/* Errors of the whole library.
 *
 * Every function that can fail returns 0 or a negative code below, and takes a `hone_error *err` as its
 * last argument (NULL: the caller does not want the text). The first error wins: once err->code is set, later
 * calls of hone_error_set leave it alone, so that a clean-up path can not hide the cause. */
#ifndef HONE_ERROR_H
#define HONE_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HONE_API __attribute__((visibility("default")))
#define HONE_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define HONE_API
#define HONE_PRINTF(fmt, first)
#endif

typedef enum hone_code {
    HONE_OK = 0,
    HONE_EIO = -1,          /* the operating system refused a read or write; message holds its reason */
    HONE_ENOENT = -2,       /* a file, tensor or key that must exist does not */
    HONE_EFORMAT = -3,      /* malformed input; message names file and place */
    HONE_EUNSUPPORTED = -4, /* well-formed, but not something this build can do; message lists what it can */
    HONE_ENOMEM = -5,       /* allocation failed, or the plan does not fit */
    HONE_EINVAL = -6,       /* an argument or configuration value is wrong */
    HONE_ERANGE = -7,       /* a number is outside its legal range */
    HONE_ESHAPE = -8,       /* shapes do not agree; message holds both */
    HONE_ELIMIT = -9,       /* a bound on size, depth or time was reached */
    HONE_ECANCELLED = -10,  /* the caller asked to stop */
    HONE_EINTERNAL = -11    /* a broken invariant: a defect of hone */
} hone_code;

typedef struct hone_error {
    int code;           /* 0 or one of hone_code */
    char message[1000]; /* one line, UTF-8, without a final newline */
} hone_error;

#define HONE_ERROR_INIT                                                                                      \
    {                                                                                                        \
        0,                                                                                                   \
        {                                                                                                    \
            0                                                                                                \
        }                                                                                                    \
    }

/* Stores code and formatted message unless an error is stored already. Returns `code`, so that
 * `return hone_error_set(err, HONE_EFORMAT, "...")` is the usual form. err may be NULL. */
HONE_API int hone_error_set(hone_error *err, int code, const char *format, ...) HONE_PRINTF(3, 4);

/* Short name of a code ("EFORMAT"). Static text. */
HONE_API const char *hone_error_name(int code);

#ifdef __cplusplus
}
#endif
#endif
