/* Between the parts of `hone verify`: the rows and the point where everything is compared, and one pass over them. */
#ifndef HONE_TRAIN_VERIFY_H
#define HONE_TRAIN_VERIFY_H

#include "hone/verify.h"
#include "train/run.h"

typedef struct hone_verifier {
    hone_run run;
    hone_config config; /* the user's, with what a run of it would do beyond computing switched off */
    const hone_verify_params *p;
    hone_verify_result *out;
    hone_batch all; /* the rows side by side; its arrays are owned */
    double weight;  /* sum of the weights of its targets */
    float *point;   /* [n] values of the trained tensors where gradients are compared */
    float *grad;    /* [n] their gradient there: of the mean loss of all rows, f32, this device */
    float *other;   /* [n] what is compared with it */
    double loss;    /* the mean loss there */
    struct {        /* the model and adapter as the configuration makes them, between begin and end */
        hone_device *dev;
        hone_dtype act;
        double dropout, neftune;
        hone_objective objective;
    } own;
    bool training; /* between begin and end: passes are training passes */
} hone_verifier;

/* How a pass is computed. */
typedef struct hone_verify_way {
    hone_device *dev; /* NULL: the device under test */
    bool bf16;
    int recompute;
    bool as_trained; /* with dropout, noise and objective of the configuration (DFT's constant aside) */
} hone_verify_way;

/* Activations and workspace for passes over at most v->all's rows; `train` false: evaluation. The model computes this way
 * until hone_verify_end. */
int hone_verify_begin(hone_verifier *v, hone_activations **act, const hone_verify_way *way, bool train,
                      hone_error *err);
/* Adds the gradient of b's part of the mean loss into grad (NULL: the loss only) and that part into *loss. */
int hone_verify_pass(hone_verifier *v, hone_activations *act, const hone_batch *b, float *grad, double *loss,
                     hone_error *err);
void hone_verify_end(hone_verifier *v, hone_activations *act);

/* Tells a figure. limit < 0: informative. Returns HONE_ECANCELLED when the caller wants to stop. */
int hone_verify_tell(hone_verifier *v, const char *group, double figure, double limit, hone_error *err,
                     const char *what, ...) HONE_PRINTF(6, 7);

/* Gradients against finite differences (verify_slope.c). v->point and v->grad are set; leaves the values there. */
int hone_verify_slopes(hone_verifier *v, hone_error *err);

#endif
