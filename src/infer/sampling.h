/* Choosing the next token from the logits: the stages of transformers' generate, in its order.
 *
 * repetition penalty, then (unless greedy) temperature, top_k, top_p, min_p, softmax, one draw. A sampler belongs to one
 * request at a time: it holds the set of ids that the penalty looks at, and the request's own random stream, so a
 * result depends on the request alone and never on what ran beside it. */
#ifndef HONE_INFER_SAMPLING_H
#define HONE_INFER_SAMPLING_H

#include "hone/generate.h"

typedef struct hone_sampler hone_sampler;

/* Settings outside their ranges: HONE_EINVAL, the message names the setting and its range. */
int hone_sampling_check(const hone_sampling *p, hone_error *err);

/* Memory for a vocabulary of `vocab` ids, all of it taken here. */
int hone_sampler_new(hone_sampler **out, int32_t vocab, hone_error *err);
void hone_sampler_free(hone_sampler *s); /* NULL is fine */
size_t hone_sampler_size(int32_t vocab); /* bytes of one */

/* Begins a request: settings (checked before), the ids of its prompt, a fresh random stream from p->seed. Ids outside
 * the vocabulary are passed over. */
void hone_sampler_start(hone_sampler *s, const hone_sampling *p, const int32_t *prompt, size_t n);

/* Picks from logits [vocab], which the call may change, and adds the id to the penalty's set.
 *   greedy: the largest, the lowest id on ties;
 *   else:   u uniform in [0, 1), the first kept id in id order whose cumulative probability exceeds u.
 * HONE_ERANGE when a logit is NaN or the largest is not finite. */
int hone_sampler_next(hone_sampler *s, int32_t *id, float *logits, hone_error *err);

/* What the stages keep, for the last call of hone_sampler_next that was not greedy: ids in ascending order and their
 * weights exp(z - z_max), not normalised. Borrowed. */
size_t hone_sampler_kept(const hone_sampler *s, const int32_t **ids, const double **weight);

#endif
