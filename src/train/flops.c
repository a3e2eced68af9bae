/* The work of a step: see flops.h. */
#include "train/flops.h"

double hone_attention_gflop(const hone_arch *c, double pairs)
{
    return 14.0 * c->n_head * c->head_size * pairs * c->n_layer * 1e-9;
}

double hone_step_gflop(const hone_arch *c, const hone_adapter *a, double tokens, double pairs)
{
    const double qo = (double)c->n_head * c->head_size, kv = (double)c->n_kv * c->head_size;
    const double linear =
        (c->width * (2 * qo + 2 * kv) + 3.0 * c->width * c->ffn) * c->n_layer + (double)c->vocab * c->width;
    const double trained =
        hone_adapter_is_low_rank(a) ? 6.0 * (double)a->n : 2.0 * HONE_MIN((double)a->n, linear);

    return (4 * linear + trained) * tokens * 1e-9 + hone_attention_gflop(c, pairs);
}

double hone_pairs(const int32_t *off, int32_t n_seq)
{
    double pairs = 0;
    int32_t i;

    for (i = 0; i < n_seq; i++) {
        double n = off[i + 1] - off[i];

        pairs += n * (n + 1) / 2;
    }
    return pairs;
}
