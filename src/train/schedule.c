/* Learning-rate schedules: see schedule.h. */
#include "train/schedule.h"

#include <math.h>

int64_t hone_warmup_steps(int64_t total, int64_t warmup_steps, double warmup_ratio)
{
    return warmup_steps > 0 ? warmup_steps : (int64_t)ceil((double)total * warmup_ratio);
}

double hone_schedule_factor(hone_schedule kind, int64_t s, int64_t warmup, int64_t total)
{
    double x;

    if (kind == HONE_SCHEDULE_CONSTANT)
        return 1.0;
    if (s < warmup)
        return (double)s / (double)(warmup > 1 ? warmup : 1);
    if (kind == HONE_SCHEDULE_CONSTANT_WITH_WARMUP)
        return 1.0;
    x = (double)(s - warmup) / (double)(total - warmup > 1 ? total - warmup : 1);
    if (kind == HONE_SCHEDULE_LINEAR)
        return fmax(0.0, 1.0 - x);
    return fmax(0.0, 0.5 * (1.0 + cos(M_PI * x)));
}
