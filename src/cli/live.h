/* The live view of a training run: a block of lines at the foot of the terminal that is drawn anew in place. */
#ifndef HONE_CLI_LIVE_H
#define HONE_CLI_LIVE_H

#include "cli.h"

#define LIVE_POINTS 256 /* of the curve; neighbours are merged when it is full */
#define LIVE_EVALS 64   /* the last ones */

/* Zero-initialise. */
typedef struct live {
    double loss[LIVE_POINTS]; /* means of `every` steps each */
    size_t n;
    int64_t every, in_last; /* steps of a point; steps in the last one */
    struct {
        int64_t step;
        double loss;
    } eval[LIVE_EVALS];
    size_t n_evals;
    double best; /* evaluation loss */
    hone_step last;
    int64_t first; /* step before the curve's first */
    uint64_t planned;
    char *prompt, *answer; /* of the last sample */
    double drawn;          /* when */
} live;

/* Whether the terminal can show it: stderr is one, and large enough. */
bool live_possible(void);
void live_plan(live *l, const hone_plan *plan);
void live_step(live *l, const hone_step *s);
void live_eval(live *l, int64_t step, const hone_eval_result *r);
void live_sample(live *l, const hone_sample *s);
/* Draws the last state, which stays, and frees. */
void live_end(live *l);

#endif
