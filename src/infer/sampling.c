/* The sampler. After the penalty and the temperature the ids that are still in the running form a list in ascending
 * order; every stage only shortens it, so the draw walks ids in order without sorting back.
 *
 * No stage sorts the vocabulary. top_k and top_p are the same question, "where does the ascending order, weighted,
 * cross a budget?", with weight 1 and budget n - k, or with the probability and budget 1 - p. `find_cut` answers it in
 * three passes over the bits of the float (11 + 11 + 10), each a histogram of weights: O(V), without a worst case. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "infer/sampling.h"

#define SAMPLING_STREAM 0x73616d706c65ull /* Philox stream of draws; dropout and shuffles use others */
#define BUCKETS 2048

struct hone_sampler {
    hone_sampling p;
    hone_rng rng;
    int32_t vocab;
    uint64_t *seen;     /* [vocab / 64 + 1] bit set of prompt and generated ids */
    int32_t *seen_list; /* [vocab] the same as a list */
    size_t n_seen;
    int32_t *id; /* [vocab] ids in the running, ascending */
    float *z;    /* [vocab] their scores */
    double *w;   /* [vocab] exp(z - z_max) */
    size_t n;
    double bucket[BUCKETS];
};

hone_sampling hone_sampling_default(void)
{
    hone_sampling p = {0.7, 50, 0.9, 0, 1.1, 0};

    return p;
}

int hone_sampling_check(const hone_sampling *p, hone_error *err)
{
    if (!(p->temperature >= 0) || !isfinite(p->temperature))
        return hone_error_set(err, HONE_EINVAL, "temperature is %g, it must be 0 (greedy) or more",
                              p->temperature);
    if (p->top_k < 0)
        return hone_error_set(err, HONE_EINVAL, "top_k is %d, it must be 0 (off) or more", p->top_k);
    if (!(p->top_p >= 0 && p->top_p <= 1))
        return hone_error_set(err, HONE_EINVAL, "top_p is %g, it must lie in 0..1 (1 = off)", p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return hone_error_set(err, HONE_EINVAL, "min_p is %g, it must lie in 0..1 (0 = off)", p->min_p);
    if (!(p->repetition_penalty > 0) || !isfinite(p->repetition_penalty))
        return hone_error_set(err, HONE_EINVAL, "repetition_penalty is %g, it must be above 0 (1 = off)",
                              p->repetition_penalty);
    return 0;
}

int hone_sampler_new(hone_sampler **out, int32_t vocab, hone_error *err)
{
    hone_sampler *s = hone_calloc(1, sizeof *s);
    size_t v = (size_t)vocab;

    *out = NULL;
    if (!s)
        return hone_error_set(err, HONE_ENOMEM, "no memory for sampling");
    s->vocab = vocab;
    s->seen = hone_calloc(v / 64 + 1, sizeof *s->seen);
    s->seen_list = hone_calloc(v, sizeof *s->seen_list);
    s->id = hone_calloc(v, sizeof *s->id);
    s->z = hone_calloc(v, sizeof *s->z);
    s->w = hone_calloc(v, sizeof *s->w);
    if (!s->seen || !s->seen_list || !s->id || !s->z || !s->w) {
        hone_sampler_free(s);
        return hone_error_set(err, HONE_ENOMEM, "no memory for sampling from %d ids", vocab);
    }
    *out = s;
    return 0;
}

void hone_sampler_free(hone_sampler *s)
{
    if (!s)
        return;
    hone_free(s->seen);
    hone_free(s->seen_list);
    hone_free(s->id);
    hone_free(s->z);
    hone_free(s->w);
    hone_free(s);
}

size_t hone_sampler_size(int32_t vocab)
{
    const hone_sampler *s = NULL; /* for the sizes */
    size_t v = (size_t)vocab;

    return sizeof *s + (v / 64 + 1) * sizeof *s->seen +
           v * (sizeof *s->seen_list + sizeof *s->id + sizeof *s->z + sizeof *s->w);
}

static void see(hone_sampler *s, int32_t id)
{
    uint64_t bit;

    if (id < 0 || id >= s->vocab)
        return;
    bit = (uint64_t)1 << (id % 64);
    if (s->seen[id / 64] & bit)
        return;
    s->seen[id / 64] |= bit;
    s->seen_list[s->n_seen++] = id;
}

void hone_sampler_start(hone_sampler *s, const hone_sampling *p, const int32_t *prompt, size_t n)
{
    size_t i;

    s->p = *p;
    s->rng = hone_rng_make(p->seed, SAMPLING_STREAM);
    memset(s->seen, 0, ((size_t)s->vocab / 64 + 1) * sizeof *s->seen);
    s->n_seen = 0;
    s->n = 0;
    for (i = 0; i < n; i++)
        see(s, prompt[i]);
}

/* An unsigned number with the order of the float. The caller has turned -0 into +0, which must not differ. */
static uint32_t order_key(float z)
{
    uint32_t u;

    memcpy(&u, &z, sizeof u);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* Walks the list in ascending order of score and adds up weights (w NULL: 1 each) while the sum stays within *budget.
 * Returns the key of the score at which it would not; *budget becomes what is left for the elements with that very
 * score. When all fit, returns the largest key. */
static uint32_t find_cut(hone_sampler *s, const double *w, double *budget)
{
    static const int shift[] = {21, 10, 0}, bits[] = {11, 11, 10};
    uint32_t prefix = 0, mask = 0;
    int pass;

    for (pass = 0; pass < 3; pass++) {
        uint32_t size = 1u << bits[pass], b, last = 0;
        size_t i;

        memset(s->bucket, 0, size * sizeof *s->bucket);
        for (i = 0; i < s->n; i++) {
            uint32_t key = order_key(s->z[i]);

            if ((key & mask) != prefix)
                continue;
            b = key >> shift[pass] & (size - 1);
            s->bucket[b] += w ? w[i] : 1;
            last = HONE_MAX(last, b);
        }
        for (b = 0; b < last && s->bucket[b] <= *budget; b++)
            *budget -= s->bucket[b];
        prefix |= b << shift[pass];
        mask |= (size - 1) << shift[pass];
    }
    return prefix;
}

/* Takes out every id below the cut, and of those at the cut, in id order, as many as the budget pays for; never the
 * last of the order. ties_stay: those at the cut all stay. */
static void drop_below(hone_sampler *s, uint32_t cut, double budget, bool ties_stay)
{
    size_t i, kept = 0, at_cut = 0, above = 0;

    for (i = 0; i < s->n; i++) {
        uint32_t key = order_key(s->z[i]);

        at_cut += key == cut;
        above += key > cut;
    }
    for (i = 0; i < s->n; i++) {
        uint32_t key = order_key(s->z[i]);

        if (key < cut)
            continue;
        if (key == cut && !ties_stay) {
            at_cut--;
            if (s->w[i] <= budget && (above || at_cut)) {
                budget -= s->w[i];
                continue;
            }
            budget = -1; /* once one stays, those after it in the order stay */
        }
        s->id[kept] = s->id[i];
        s->z[kept] = s->z[i];
        s->w[kept] = s->w[i];
        kept++;
    }
    s->n = kept;
}

static void penalise(hone_sampler *s, float *logits)
{
    float theta = (float)s->p.repetition_penalty;
    size_t i;

    if (s->p.repetition_penalty == 1)
        return;
    for (i = 0; i < s->n_seen; i++) {
        float *z = &logits[s->seen_list[i]];

        *z = *z < 0 ? *z * theta : *z / theta;
    }
}

/* The index of the largest logit, the lowest on ties; -1 when one is NaN or the largest is not finite. */
static int32_t largest(const float *logits, int32_t n)
{
    int32_t i, best = 0;

    for (i = 0; i < n; i++) {
        if (isnan(logits[i]))
            return -1;
        if (logits[i] > logits[best])
            best = i;
    }
    return isfinite(logits[best]) ? best : -1;
}

static int32_t draw(hone_sampler *s)
{
    double u = hone_rng_uniform(&s->rng), total = 0, sum = 0;
    size_t i;

    for (i = 0; i < s->n; i++)
        total += s->w[i];
    for (i = 0; i + 1 < s->n; i++) {
        sum += s->w[i];
        if (sum > u * total)
            break;
    }
    return s->id[i];
}

int hone_sampler_next(hone_sampler *s, int32_t *id, float *logits, hone_error *err)
{
    float top, temperature;
    int32_t best, i;
    double total = 0;
    size_t j;

    penalise(s, logits);
    best = largest(logits, s->vocab);
    if (best < 0)
        return hone_error_set(err, HONE_ERANGE, "the model's logits are not finite numbers");
    if (s->p.temperature == 0) {
        *id = best;
        see(s, best);
        return 0;
    }
    temperature = (float)s->p.temperature;
    s->n = 0;
    for (i = 0; i < s->vocab; i++) {
        if (logits[i] == -INFINITY)
            continue;
        s->id[s->n] = i;
        s->z[s->n++] = logits[i] / temperature + 0.0f;
    }
    top = logits[best] / temperature;
    if (!isfinite(top))
        return hone_error_set(err, HONE_ERANGE, "temperature %g is too small for these logits",
                              s->p.temperature);
    if (s->p.top_k > 0 && (size_t)s->p.top_k < s->n) {
        double budget = (double)(s->n - (size_t)s->p.top_k);
        uint32_t cut = find_cut(s, NULL, &budget);

        drop_below(s, cut, 0, true);
    }
    for (j = 0; j < s->n; j++) {
        s->w[j] = exp((double)(s->z[j] - top));
        total += s->w[j];
    }
    if (s->p.top_p < 1) {
        double budget = (1 - s->p.top_p) * total;
        uint32_t cut = find_cut(s, s->w, &budget);

        drop_below(s, cut, budget, false);
    }
    if (s->p.min_p > 0) {
        size_t kept = 0;

        for (j = 0; j < s->n; j++) {
            if (s->w[j] < s->p.min_p)
                continue;
            s->id[kept] = s->id[j];
            s->z[kept] = s->z[j];
            s->w[kept++] = s->w[j];
        }
        s->n = kept;
    }
    *id = draw(s);
    see(s, *id);
    return 0;
}

size_t hone_sampler_kept(const hone_sampler *s, const int32_t **ids, const double **weight)
{
    *ids = s->id;
    *weight = s->w;
    return s->n;
}
