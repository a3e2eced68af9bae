/* Between the two halves of adapters: the values (adapter.c) and PEFT's files (adapter_peft.c). */
#ifndef HONE_MODEL_ADAPTER_H
#define HONE_MODEL_ADAPTER_H

#include "model/model.h"

#define HONE_MAX_RANK 4096

/* A zeroed adapter whose projections are chosen by targets (NULL: all seven) by PEFT's rules: an entry of a list
 * matches a module whose path equals it or ends with "." and it; a regular expression must match the whole path.
 * HONE_EINVAL when nothing matches or the expression is malformed, HONE_EUNSUPPORTED when a module that hone does not
 * adapt (embedding, head) matches, HONE_ERANGE for r, alpha or dropout. `where` starts every message: the file the
 * settings came from, or the configuration's section. */
int hone_adapter_make(hone_adapter **out, hone_model *m, int r, double alpha, double dropout, bool rslora,
                      const hone_strings *targets, bool targets_are_list, const char *where, hone_error *err);

#endif
