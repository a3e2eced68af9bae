/* XXH64 (Yann Collet; github.com/Cyan4973/xxHash, doc/xxhash_spec.md), written from its description: four lanes over stripes
 * of 32 bytes, merged and avalanched at the end. It finds damage in files at the speed of memory; it is no protection
 * against somebody who wants two texts of one hash. */
#include <string.h>

#include "base/base.h"

#define P1 UINT64_C(0x9e3779b185ebca87)
#define P2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define P3 UINT64_C(0x165667b19e3779f9)
#define P4 UINT64_C(0x85ebca77c2b2ae63)
#define P5 UINT64_C(0x27d4eb2f165667c5)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they lie in memory");

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static uint64_t word64(const uint8_t *p)
{
    uint64_t x;

    memcpy(&x, p, sizeof x);
    return x;
}

static uint64_t mix(uint64_t lane, uint64_t input)
{
    return rotate(lane + input * P2, 31) * P1;
}

hone_xxh64 hone_xxh64_begin(uint64_t seed)
{
    return (hone_xxh64){.lane = {seed + P1 + P2, seed + P2, seed, seed - P1}, .seed = seed};
}

static void stripe(hone_xxh64 *h, const uint8_t *p)
{
    int i;

    for (i = 0; i < 4; i++)
        h->lane[i] = mix(h->lane[i], word64(p + 8 * i));
}

void hone_xxh64_add(hone_xxh64 *h, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    size_t held = h->total % 32;

    if (!n)
        return;
    h->total += n;
    if (held) {
        size_t take = HONE_MIN(32 - held, n);

        memcpy(h->rest + held, p, take);
        p += take;
        n -= take;
        if (held + take < 32)
            return;
        stripe(h, h->rest);
    }
    for (; n >= 32; p += 32, n -= 32)
        stripe(h, p);
    memcpy(h->rest, p, n);
}

uint64_t hone_xxh64_end(const hone_xxh64 *h)
{
    const uint8_t *p = h->rest, *end = p + h->total % 32;
    uint64_t x = h->seed + P5;
    int i;

    if (h->total >= 32) {
        x = rotate(h->lane[0], 1) + rotate(h->lane[1], 7) + rotate(h->lane[2], 12) + rotate(h->lane[3], 18);
        for (i = 0; i < 4; i++)
            x = (x ^ mix(0, h->lane[i])) * P1 + P4;
    }
    x += h->total;
    for (; end - p >= 8; p += 8)
        x = rotate(x ^ mix(0, word64(p)), 27) * P1 + P4;
    if (end - p >= 4) {
        uint32_t w;

        memcpy(&w, p, sizeof w);
        x = rotate(x ^ w * P1, 23) * P2 + P3;
        p += 4;
    }
    for (; p < end; p++)
        x = rotate(x ^ *p * P5, 11) * P1;
    x = (x ^ x >> 33) * P2;
    x = (x ^ x >> 29) * P3;
    return x ^ x >> 32;
}

uint64_t hone_xxh64_of(uint64_t seed, const void *bytes, size_t n)
{
    hone_xxh64 h = hone_xxh64_begin(seed);

    hone_xxh64_add(&h, bytes, n);
    return hone_xxh64_end(&h);
}
