/* Learning-rate schedules: see schedule.h. The expressions keep the order of transformers' own, so that the values are
 * the same doubles. */
#include "train/schedule.h"

#include <math.h>

int64_t hone_warmup_steps(int64_t total, int64_t warmup_steps, double warmup_ratio)
{
    return warmup_steps > 0 ? warmup_steps : (int64_t)ceil((double)total * warmup_ratio);
}

static double at_least_one(double x)
{
    return x > 1 ? x : 1;
}

/* The lowest rate as a share of the highest. */
static double lowest(const hone_config *c)
{
    const double rate = c->training.lr_scheduler_kwargs.min_lr_rate;

    return rate > 0 ? rate : c->training.lr_scheduler_kwargs.min_lr / c->training.learning_rate;
}

static double wave(double cycles, double x)
{
    return 0.5 * (1.0 + cos(M_PI * cycles * 2.0 * x));
}

static double warmup_stable_decay(const hone_config *c, double s, double w, double total)
{
    const hone_curve rise = c->training.lr_scheduler_kwargs.warmup_type,
                     fall = c->training.lr_scheduler_kwargs.decay_type;
    const double r = lowest(c), decay = c->training.lr_scheduler_kwargs.num_decay_steps,
                 cycles = c->training.lr_scheduler_kwargs.num_cycles;
    double stable = c->training.lr_scheduler_kwargs.num_stable_steps, x, f;

    if (stable <= 0)
        stable = total - w - decay;
    if (s < w) {
        x = s / at_least_one(w);
        f = rise == HONE_CURVE_LINEAR   ? x
            : rise == HONE_CURVE_COSINE ? 0.5 * (1.0 - cos(M_PI * x))
                                        : 1.0 - sqrt(1.0 - x);
        return fmax(0, f * (1.0 - r) + r);
    }
    if (s < w + stable)
        return 1;
    if (s >= w + stable + decay)
        return r;
    x = (s - w - stable) / at_least_one(decay);
    f = fall == HONE_CURVE_LINEAR   ? 1.0 - x
        : fall == HONE_CURVE_COSINE ? wave(cycles > 0 ? cycles : 0.5, x)
                                    : 1.0 - sqrt(x);
    return fmax(0, f * (1.0 - r) + r);
}

static double cosine_warmup_with_min_lr(const hone_config *c, double s, double w, double total)
{
    const double r = lowest(c), from = c->training.lr_scheduler_kwargs.warmup_lr_rate,
                 cycles = c->training.lr_scheduler_kwargs.num_cycles;

    if (s < w)
        return from < 0 ? (s + 1.0) / at_least_one(w) : from + (1.0 - from) * s / at_least_one(w - 1);
    return fmax(0, wave(cycles > 0 ? cycles : 0.5, (s - w + 1.0) / at_least_one(total - w)) * (1 - r) + r);
}

double hone_schedule_factor(const hone_config *c, int64_t step, int64_t warmup, int64_t total)
{
    const hone_schedule kind = c->training.lr_scheduler_type;
    const double s = (double)step, w = (double)warmup, t = (double)total, lr = c->training.learning_rate;
    const double end = c->training.lr_scheduler_kwargs.lr_end,
                 given = c->training.lr_scheduler_kwargs.num_cycles;
    const double x = (s - w) / at_least_one(t - w);
    double scale;

    if (kind == HONE_SCHEDULE_CONSTANT || kind == HONE_SCHEDULE_REDUCE_ON_PLATEAU)
        return 1;
    if (kind == HONE_SCHEDULE_WARMUP_STABLE_DECAY)
        return warmup_stable_decay(c, s, w, t);
    if (kind == HONE_SCHEDULE_COSINE_WARMUP_WITH_MIN_LR)
        return cosine_warmup_with_min_lr(c, s, w, t);
    if (s < w)
        return s / at_least_one(w);
    switch (kind) {
    case HONE_SCHEDULE_LINEAR:
        return fmax(0, (t - s) / at_least_one(t - w));
    case HONE_SCHEDULE_COSINE_WITH_RESTARTS:
        return x >= 1 ? 0 : fmax(0, 0.5 * (1.0 + cos(M_PI * fmod((given > 0 ? given : 1) * x, 1.0))));
    case HONE_SCHEDULE_POLYNOMIAL:
        if (s > t)
            return end / lr;
        return ((lr - end) * pow(1 - (s - w) / at_least_one(t - w), c->training.lr_scheduler_kwargs.power) +
                end) /
               lr;
    case HONE_SCHEDULE_INVERSE_SQRT:
        scale = c->training.lr_scheduler_kwargs.timescale;
        if (scale <= 0)
            scale = w > 0 ? w : 10000;
        return 1.0 / sqrt((s + (scale - w)) / scale);
    case HONE_SCHEDULE_COSINE:
        return fmax(0, wave(given > 0 ? given : 0.5, x));
    case HONE_SCHEDULE_COSINE_WITH_MIN_LR:
        return fmax(0, wave(given > 0 ? given : 0.5, x) * (1 - lowest(c)) + lowest(c));
    default:
        return 1;
    }
}

void hone_plateau_step(hone_plateau *p, const hone_config *c, double metric)
{
    const double eps = 1e-8, lr = c->training.learning_rate;
    double next;

    if (!p->evaluations++) {
        p->best = INFINITY;
        p->factor = 1;
    }
    if (metric < p->best * (1 - c->training.lr_scheduler_kwargs.threshold)) {
        p->best = metric;
        p->bad = 0;
    } else {
        p->bad++;
    }
    if (p->cooldown > 0) {
        p->cooldown--;
        p->bad = 0;
    }
    if (p->bad <= c->training.lr_scheduler_kwargs.patience)
        return;
    next = fmax(p->factor * c->training.lr_scheduler_kwargs.factor, lowest(c));
    if (lr * (p->factor - next) > eps)
        p->factor = next;
    p->cooldown = c->training.lr_scheduler_kwargs.cooldown;
    p->bad = 0;
}
