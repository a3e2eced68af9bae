/* The optimisers behind one table: states of every trained tensor of an adapter, and one update of all. */
#ifndef HONE_TRAIN_OPTIMIZER_H
#define HONE_TRAIN_OPTIMIZER_H

#include "hone/config.h"
#include "model/model.h"

typedef struct hone_optimizer hone_optimizer;

/* training.optim, adam_*, sgd_momentum, weight_decay and offload_* of a configuration; `c` is read in every step and must
 * live. Errors: HONE_ENOMEM, those of hone_spill_open. */
int hone_optimizer_new(hone_optimizer **out, hone_device *dev, hone_adapter *a, const hone_config *c,
                       hone_error *err);
void hone_optimizer_free(hone_optimizer *o);

/* What hone_optimizer_new takes. */
typedef struct hone_optimizer_size {
    const char *name; /* of the optimiser and its states */
    uint64_t states;  /* bytes of a checkpoint */
    uint64_t scratch;
    uint64_t memory; /* scratch, and all states or those of a piece */
    uint64_t file;   /* all states, or 0 */
} hone_optimizer_size;
hone_optimizer_size hone_optimizer_measure(const hone_adapter *a, const hone_config *c);

/* Update number t >= 1 from the attached gradients times `clip`, which are zero afterwards. A tensor's rate is lr times its
 * factor; norms and biases get no weight decay. */
int hone_optimizer_step(hone_optimizer *o, int64_t t, double lr, double clip, hone_error *err);

/* The states as one block, for checkpoints: *bytes of them. Borrowed; may be written to restore them. *in_file: they are a
 * hone_spill, whose pages should be let go after use. */
void *hone_optimizer_state(hone_optimizer *o, size_t *bytes, bool *in_file);

#endif
