/* Between the parts of adapters: the values (adapter.c), the list of trained tensors (param.c), PEFT's files
 * (adapter_peft.c). */
#ifndef HONE_MODEL_ADAPTER_H
#define HONE_MODEL_ADAPTER_H

#include "model/model.h"

#define HONE_MAX_RANK 4096
#define HONE_PEFT_PREFIX "base_model.model."

/* A zeroed adapter with whole tensors of modules_to_save and biases started from the base, and magnitudes from its row
 * norms. An entry of a list of targets matches a module whose path equals it or ends with "." and it; a regular expression
 * must match the whole path. HONE_EINVAL when nothing matches or an expression is malformed, HONE_EUNSUPPORTED when a
 * module that hone does not adapt (embedding, head) is a target, HONE_ERANGE for r, alpha or dropout. `where` starts
 * every message: the file the settings came from, or the configuration's section. */
int hone_adapter_make(hone_adapter **out, hone_model *m, const hone_adapter_params *p, const char *where,
                      hone_error *err);

/* An empty adapter: nothing trains, its view is the model's. */
int hone_adapter_empty(hone_adapter **out, hone_model *m, hone_error *err);
/* Adds a tensor to the list. */
int hone_param_add(hone_adapter *a, hone_param_role role, int layer, int module, int64_t rows, int64_t cols,
                   hone_error *err);
/* Allocates the (zeroed) values of the finished list and points the passes at them. */
int hone_param_place(hone_adapter *a, hone_error *err);
/* The base's values of a whole tensor. */
void hone_param_load(float *out, const hone_model *m, const hone_param *p);

/* ---- adapter_tokens.c: rows of the embedding that train by themselves ------------------------------------------ */

/* Adds them to the list of tensors; `where` starts the messages. HONE_EINVAL: an id that is none of the vocabulary or
 * stands twice, a module that modules_to_save trains whole, or a head that is the embedding. tokens NULL: nothing. */
int hone_token_rows_add(hone_adapter *a, const hone_token_rows *tokens, const char *where, hone_error *err);
/* Puts the rows, whose values have their place now, into the view, and starts them as the base's. HONE_ENOMEM. */
int hone_token_rows_start(hone_adapter *a, hone_error *err);
void hone_token_rows_clear(hone_adapter *a);
size_t hone_token_rows_size(const hone_adapter *a); /* bytes beside the values */

int hone_strings_copy(hone_strings *out, const hone_strings *in); /* in NULL: empty; HONE_ENOMEM */
void hone_strings_clear(hone_strings *s);

#endif
