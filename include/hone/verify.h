/* Whether training computes what it should, shown on the user's own model, data and configuration: gradients against
 * finite differences, packed against unpacked rows, accumulated against one batch, recomputed against kept, the adapter
 * at its start against the base, one thread against several, fast kernels against plain ones. docs/verify.md defines
 * the figures and derives the limits. */
#ifndef HONE_VERIFY_H
#define HONE_VERIFY_H

#include "config.h"
#include "device.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One figure. It is right when it is at most `limit`, so that a limit of 0 asks for the same bits. */
typedef struct hone_verify_check {
    const char *
        group; /* "gradients", "packing", "accumulation", "recomputation", "start", "threads", "kernels", "update",
                          "bf16"; static */
    char what[120]; /* what was compared */
    double figure, limit;
    bool informative; /* has no limit: it tells, and can not fail */
    bool failed;
} hone_verify_check;

typedef struct hone_verify_params {
    int32_t rows;         /* of the training data, the first; 0 = 4 */
    int32_t tokens;       /* positions of all rows together; a longer row's last ones are taken; 0 = 256 */
    int32_t plain_tokens; /* positions that the plain kernels, which are slow, compute; 0 = 64 */
    /* Called for every check as it is done, in order. May be NULL. */
    void (*check)(void *ud, const hone_verify_check *check);
    void (*note)(void *ud, const char *line);
    bool (*stop)(void *ud); /* true: end with HONE_ECANCELLED */
    void *ud;
} hone_verify_params;

typedef struct hone_verify_result {
    int checks, failed; /* informative ones are not counted */
    int32_t rows, tokens, targets;
    double loss; /* of these rows, at the start */
    double seconds;
} hone_verify_result;

/* Trains nothing and writes nothing. Computes in f32 whatever training.precision is: bf16's rounding is larger than what is
 * to be seen, and its own line tells how large. A failed check is no error: look at out->failed. Errors are those of
 * hone_train_run's preparation; HONE_EINVAL when the rows have no target. */
HONE_API int hone_verify_run(const hone_config *c, hone_device *dev, const hone_verify_params *p,
                             hone_verify_result *out, hone_error *err);

#ifdef __cplusplus
}
#endif
#endif
