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

double hone_lowest_rate(const hone_config *c)
{
    const double share = c->training.lr_scheduler_kwargs.min_lr_rate,
                 given = c->training.lr_scheduler_kwargs.min_lr;

    if (share > 0)
        return share * c->training.learning_rate;
    return given >= 0 ? given : c->training.lr_scheduler_type == HONE_SCHEDULE_GREEDY ? 1e-3 : 0;
}

/* The lowest rate as a share of the highest. */
static double lowest(const hone_config *c)
{
    const double share = c->training.lr_scheduler_kwargs.min_lr_rate;

    return share > 0 ? share : hone_lowest_rate(c) / c->training.learning_rate;
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

    if (kind == HONE_SCHEDULE_CONSTANT || kind == HONE_SCHEDULE_REDUCE_ON_PLATEAU ||
        kind == HONE_SCHEDULE_GREEDY)
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

/* ---- schedules that react ------------------------------------------------------------------------------------------ */

static bool is_better(const hone_config *c, double loss, double best)
{
    const bool greedy = c->training.lr_scheduler_type == HONE_SCHEDULE_GREEDY;
    double threshold = c->training.lr_scheduler_kwargs.threshold;
    hone_threshold_mode mode = c->training.lr_scheduler_kwargs.threshold_mode;

    if (threshold < 0)
        threshold = greedy ? 1e-6 : 1e-4;
    if (mode == HONE_THRESHOLD_AUTO)
        mode = greedy ? HONE_THRESHOLD_ABS : HONE_THRESHOLD_REL;
    return mode == HONE_THRESHOLD_REL ? loss < best * (1.0 - threshold) : loss < best - threshold;
}

/* Multiplies the rate by the factor, down to the lowest one, unless that changes next to nothing. */
static void lower(hone_plateau *p, const hone_config *c, double factor)
{
    const double next = fmax(p->rate * factor, hone_lowest_rate(c));

    if (p->rate - next > c->training.lr_scheduler_kwargs.eps)
        p->rate = next;
}

static void plateau(hone_plateau *p, const hone_config *c, double loss)
{
    const double factor = c->training.lr_scheduler_kwargs.factor;

    if (is_better(c, loss, p->best)) {
        p->best = loss;
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
    lower(p, c, factor > 0 ? factor : 0.1);
    p->cooldown = c->training.lr_scheduler_kwargs.cooldown;
    p->bad = 0;
}

/* The mean of the last window_size losses, by a running sum. */
static double smoothed(hone_plateau *p, int64_t size, double loss)
{
    double oldest;

    p->window.sum += loss;
    if (p->window.n < size) {
        p->window.value[p->window.n++] = loss;
    } else {
        oldest = p->window.value[p->window.next];
        p->window.value[p->window.next] = loss;
        p->window.next = (p->window.next + 1) % size;
        p->window.sum -= oldest;
    }
    return p->window.sum / (double)p->window.n;
}

static void greedy_raise(hone_plateau *p, const hone_config *c, double factor)
{
    const double next = fmin(p->rate / factor, c->training.lr_scheduler_kwargs.max_lr);

    if (next - p->rate > c->training.lr_scheduler_kwargs.eps)
        p->rate = next;
    p->asked = 0;
    p->warmup = c->training.lr_scheduler_kwargs.warmup;
    p->good = 0;
}

static void begin(hone_plateau *p, const hone_config *c)
{
    *p = (hone_plateau){.rate = c->training.learning_rate, .best = INFINITY, .evaluations = p->evaluations};
}

static void greedy_lower(hone_plateau *p, const hone_config *c, double factor)
{
    lower(p, c, factor);
    if (p->rate <= hone_lowest_rate(c) && ++p->asked >= c->training.lr_scheduler_kwargs.reset_start)
        begin(p, c);
    /* also after a new beginning */
    p->cooldown = c->training.lr_scheduler_kwargs.cooldown;
    p->bad = 0;
}

static void greedy(hone_plateau *p, const hone_config *c, double loss)
{
    const double given = c->training.lr_scheduler_kwargs.factor, factor = given > 0 ? given : 0.95;

    if (c->training.lr_scheduler_kwargs.smooth)
        loss = smoothed(p, c->training.lr_scheduler_kwargs.window_size, loss);
    if (p->cooldown > 0 || p->warmup > 0) {
        --*(p->cooldown > 0 ? &p->cooldown : &p->warmup);
        p->bad = p->good = 0;
        return;
    }
    if (is_better(c, loss, p->best)) {
        p->best = loss;
        p->bad = 0;
        p->good++;
    } else {
        p->bad++;
        p->good = 0;
    }
    if (p->good > c->training.lr_scheduler_kwargs.patience)
        greedy_raise(p, c, factor);
    else if (p->bad > c->training.lr_scheduler_kwargs.patience)
        greedy_lower(p, c, factor);
}

void hone_plateau_step(hone_plateau *p, const hone_config *c, double loss)
{
    const hone_schedule kind = c->training.lr_scheduler_type;

    if (kind != HONE_SCHEDULE_REDUCE_ON_PLATEAU && kind != HONE_SCHEDULE_GREEDY)
        return;
    if (!p->evaluations++)
        begin(p, c);
    if (kind == HONE_SCHEDULE_GREEDY)
        greedy(p, c, loss);
    else
        plateau(p, c, loss);
}
