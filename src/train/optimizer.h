/* The optimisers behind one table: states of every trained tensor of an adapter, and one update of all. */
#ifndef HONE_TRAIN_OPTIMIZER_H
#define HONE_TRAIN_OPTIMIZER_H

#include "hone/config.h"
#include "model/model.h"

typedef struct hone_optimizer hone_optimizer;

/* training.optim, adam_*, sgd_momentum and weight_decay of a configuration; `c` is read in every step and must live. */
int hone_optimizer_new(hone_optimizer **out, hone_device *dev, hone_adapter *a, const hone_config *c,
                       hone_error *err);
void hone_optimizer_free(hone_optimizer *o);
/* Bytes of all states: what hone_optimizer_new allocates for them. `detail` (NULL: not wanted) describes them. */
size_t hone_optimizer_size(const hone_adapter *a, const hone_config *c, char detail[96]);

/* Update number t >= 1 from the attached gradients times `clip`, which are zero afterwards. A tensor's rate is lr times its
 * factor; norms and biases get no weight decay. */
int hone_optimizer_step(hone_optimizer *o, int64_t t, double lr, double clip, hone_error *err);

/* The states as one block, for checkpoints: *bytes of them. Borrowed; may be written to restore them. */
void *hone_optimizer_state(hone_optimizer *o, size_t *bytes);

#endif
