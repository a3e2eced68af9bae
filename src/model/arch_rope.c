/* RoPE frequencies: inv_freq[i] = theta^(-2i/D), changed by the scaling that a model was trained with.
 *
 * The steps are taken in f32 and in the order of transformers, since an error of one part in 10^7 here is multiplied by
 * the position: the same bits are worth having, not only the same formula.
 *
 *   linear   inv / factor
 *   llama3   with the wavelength w = 2 pi / inv and n0 = the original context:
 *            w < n0 / high: inv;  w > n0 / low: inv / factor;  between: s = (n0 / w - low) / (high - low),
 *            (1 - s) inv / factor + s inv
 *   dynamic  inv, up to the context that the model was made for; what it does beyond is not done here
 *   longrope inv / short_factor[i] up to the original context n0 (its long factors, for more, are not used here), and
 *            cos and sin are multiplied by sqrt(1 + ln factor / ln n0), where factor is the ratio of the contexts
 *   yarn     (Peng et al. 2023) dims below `lo` keep inv, above `hi` get inv / factor, a ramp between, where the
 *            dimension that turns r times in n0 positions is D ln(n0 / (2 pi r)) / (2 ln theta); cos and sin are
 *            multiplied by the attention factor. */
#include <math.h>

#include "model/arch.h"

static void llama3(float *inv, int n, const hone_rope_spec *s)
{
    float factor = (float)s->factor, n0 = (float)s->original, low = (float)s->low_freq_factor;
    float span = (float)(s->high_freq_factor - s->low_freq_factor);
    double longest = s->original / s->low_freq_factor, shortest = s->original / s->high_freq_factor;
    int i;

    for (i = 0; i < n; i++) {
        float wavelength = (float)(2 * M_PI) / inv[i];

        if (wavelength > (float)longest) {
            inv[i] = inv[i] / factor;
        } else if (!(wavelength < (float)shortest)) {
            float smooth = (n0 / wavelength - low) / span;

            inv[i] = (1 - smooth) * inv[i] / factor + smooth * inv[i];
        }
    }
}

static double correction_dim(double turns, int head_size, const hone_rope_spec *s)
{
    return head_size * log(s->original / (turns * 2 * M_PI)) / (2 * log(s->theta));
}

static double mscale(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

static void yarn(float *inv, int head_size, const hone_rope_spec *s, float *rope_factor)
{
    double low = correction_dim(s->beta_fast, head_size, s),
           high = correction_dim(s->beta_slow, head_size, s);
    double attention = s->attention_factor;
    int i;

    if (attention == 0)
        attention = s->mscale != 0 && s->mscale_all_dim != 0
                        ? mscale(s->factor, s->mscale) / mscale(s->factor, s->mscale_all_dim)
                        : mscale(s->factor, 1);
    *rope_factor = (float)attention;
    if (!s->no_truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = HONE_MAX(low, 0);
    high = HONE_MIN(high, head_size - 1);
    if (low == high)
        high += 0.001;
    for (i = 0; i < head_size / 2; i++) {
        float ramp = ((float)i - (float)low) / (float)(high - low), keep;
        float power = powf((float)s->theta, (float)(2 * i) / (float)head_size);

        ramp = HONE_MIN(HONE_MAX(ramp, 0), 1);
        keep = 1 - ramp;
        inv[i] = 1 / ((float)s->factor * power) * (1 - keep) + inv[i] * keep;
    }
}

static bool positive(double x)
{
    return x > 0 && x < 1e12; /* false for NaN */
}

int hone_arch_set_rope(hone_arch *a, const hone_rope_spec *s, const char *where, hone_error *err)
{
    int i, n = a->rope_dims / 2;

    if (!positive(s->theta) || s->theta <= 1)
        return hone_error_set(err, HONE_EFORMAT, "%s: rope: theta %g must be above 1", where, s->theta);
    if (s->type != HONE_ROPE_DEFAULT && s->type != HONE_ROPE_DYNAMIC && !positive(s->factor))
        return hone_error_set(err, HONE_EFORMAT, "%s: rope: the scaling factor %g must be positive", where,
                              s->factor);
    if ((s->type == HONE_ROPE_LLAMA3 || s->type == HONE_ROPE_YARN || s->type == HONE_ROPE_LONG) &&
        !positive(s->original))
        return hone_error_set(err, HONE_EFORMAT, "%s: rope: the original context %g must be positive", where,
                              s->original);
    if (s->type == HONE_ROPE_LLAMA3 && !(positive(s->low_freq_factor) && positive(s->high_freq_factor) &&
                                         s->low_freq_factor < s->high_freq_factor))
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: rope: llama3 needs 0 < low_freq_factor %g < high_freq_factor %g", where,
                              s->low_freq_factor, s->high_freq_factor);
    if (s->type == HONE_ROPE_YARN && !(positive(s->beta_fast) && positive(s->beta_slow) &&
                                       s->attention_factor >= 0 && s->mscale >= 0 && s->mscale_all_dim >= 0))
        return hone_error_set(err, HONE_EFORMAT,
                              "%s: rope: yarn: beta_fast %g, beta_slow %g, attention_factor %g", where,
                              s->beta_fast, s->beta_slow, s->attention_factor);
    hone_free(a->inv_freq);
    a->inv_freq = hone_alloc((size_t)n * sizeof *a->inv_freq);
    if (!a->inv_freq)
        return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", where);
    a->rope_factor = 1;
    for (i = 0; i < n; i++) {
        float exponent = (float)(2 * i) / (float)a->rope_dims;

        a->inv_freq[i] = 1 / powf((float)s->theta, exponent);
        if (s->type == HONE_ROPE_LINEAR)
            a->inv_freq[i] /= (float)s->factor;
        if (s->type == HONE_ROPE_LONG)
            a->inv_freq[i] = 1 / (s->short_factor[i] * powf((float)s->theta, exponent));
    }
    if (s->type == HONE_ROPE_LONG)
        a->rope_factor = s->attention_factor > 0 ? (float)s->attention_factor
                         : s->factor <= 1        ? 1
                                                 : (float)sqrt(1 + log(s->factor) / log(s->original));
    if (s->type == HONE_ROPE_LLAMA3)
        llama3(a->inv_freq, n, s);
    if (s->type == HONE_ROPE_YARN)
        yarn(a->inv_freq, a->rope_dims, s, &a->rope_factor);
    return 0;
}
