/* Counter-based random numbers: Philox 4x32-10 as published (Salmon, Moraes, Dror, Shaw, SC 2011, table 2), and a
 * 64-bit FNV-1a hash. */
#include "base.h"

void hone_philox(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    int round;

    for (round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;

        c0 = n0;
        c1 = (uint32_t)b;
        c2 = n2;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

hone_rng hone_rng_make(uint64_t seed, uint64_t stream)
{
    hone_rng r = {seed, stream, 0, {0}, 0};

    return r;
}

uint32_t hone_rng_u32(hone_rng *r)
{
    if (r->left == 0) {
        hone_philox(r->word, r->seed, r->stream, r->counter++);
        r->left = 4;
    }
    return r->word[4 - r->left--];
}

uint32_t hone_rng_below(hone_rng *r, uint32_t n)
{
    uint32_t reject = -n % n, x; /* 2^32 mod n: words below it would favour small results */

    do
        x = hone_rng_u32(r);
    while (x < reject);
    return x % n;
}

double hone_rng_uniform(hone_rng *r)
{
    uint64_t hi = hone_rng_u32(r) >> 5, lo = hone_rng_u32(r) >> 6;

    return (double)(hi << 26 | lo) * 0x1p-53;
}

uint64_t hone_hash64(uint64_t seed, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    size_t i;

    for (i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}
