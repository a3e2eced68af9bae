/* Private to src/data: which rows are kept, how often, in which order. It sees figures of rows, never their text, so that
 * the same choice can be made for prepared lines and tested alone. Everything follows from the figures and the seed: the
 * same on every machine and for every number of threads. */
#ifndef HONE_DATA_CHOOSE_H
#define HONE_DATA_CHOOSE_H

#include "data/data.h"

/* What is known of a row that is still in. Strings are numbered by the caller, from 1 in the order in which they first
 * appear; 0 = none. */
typedef struct choose_row {
    uint32_t task, label, group, source; /* source: index of the input path in the configuration's list */
    uint32_t length;                     /* bytes of all messages */
    uint16_t turns;                      /* trained */
    float score;                         /* that order and staging use; NAN: none */
} choose_row;

/* One place in the output: a row may stand in several (up-sampling), or in none. */
typedef struct choose_place {
    uint32_t row;  /* index into the rows given */
    uint16_t copy; /* 0, 1, ... of the same row */
    uint8_t stage; /* of a staged mix, 0-based */
    bool validation;
} choose_place;

typedef struct choice {  /* zero-initialise; choice_clear */
    choose_place *place; /* [n + n_validation] training places in their order, then those of the validation */
    size_t n, n_validation;
    uint8_t *why_not; /* [rows] 0 = has a place, else a choose_reason */
} choice;

typedef enum choose_reason {
    CHOOSE_KEPT,
    CHOOSE_BALANCED, /* dropped by balancing */
    CHOOSE_MAX_TASK, /* over the maximum per task */
    CHOOSE_MIX       /* over its share of the mix */
} choose_reason;

/* HONE_EINVAL names the option that can not be met. */
int choose_rows(choice *out, const choose_row *row, size_t n, const hone_choose_options *options,
                hone_error *err);
void choice_clear(choice *c);

/* ---- between choose.c and choose_order.c ---------------------------------------------------------------------------- */

/* Divides `total` in proportion to weight[k]: every share rounded down, then one more to those with the largest
 * remainders, of equal ones to the first. All sums are exact. */
int apportion(uint64_t *out, const double *weight, size_t k, uint64_t total, hone_error *err);

/* Puts place[n], which stand by copy, then row, into the wanted order. */
int choose_order(choose_place *place, size_t n, const choose_row *row, const hone_choose_options *options,
                 hone_error *err);

#endif
