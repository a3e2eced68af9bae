/* Weights of four bits, and quantising a matrix while a model is loaded: as bitsandbytes does it, bit for bit but for the
 * last bit of a mean.
 *
 * The values of a matrix are one long row. A task takes the 256 blocks of 64 that share a second scale: their codes are
 * final, their scales are kept in f32. Then, when the scales are quantised too, their mean is known and a second pass turns
 * them into codes of the dynamic map. Codes are the exact nearest; on a midpoint the lower value, as bitsandbytes. Where a
 * value or a scale is restored, product and sum are rounded one by one (this file is compiled without contraction), so
 * every machine gets the same bits. */
#include <math.h>
#include <stdatomic.h>

#include "device/cpu/cpu.h"
#include "device/cpu/kernels.h"

#define BLOCK 64
#define GROUP (BLOCK * HONE_NESTED_BLOCK) /* values of a task */
#define RUN 1024                          /* values whose scales are restored at a time */
#define RUN_SCALES (RUN / 32 + 1)

/* ---- restoring --------------------------------------------------------------------------------------------------- */

/* Scales of blocks [b, b + n) into `room`, or where they lie. */
static const float *scales_at(float *room, const hone_scales *s, int64_t b, int64_t n)
{
    int64_t i;

    if (!s->code)
        return s->top + b;
    for (i = 0; i < n; i++)
        room[i] = s->map[s->code[b + i]] * s->top[(b + i) / HONE_NESTED_BLOCK] + s->offset;
    return room;
}

/* A run of n <= RUN values of w from `first` on. */
static hone_run4 run_at(float room[RUN_SCALES], const hone_weight *w, int64_t first, int64_t n)
{
    const int64_t block = w->scales->block, b = first / block;

    return (hone_run4){.codes = (const uint8_t *)w->data + first / 2,
                       .table = hone_dtype_table(w->dtype),
                       .scale = scales_at(room, w->scales, b, (first + n - 1) / block + 1 - b),
                       .lead = first % block,
                       .block = block};
}

/* How many of n values from `first` on lie in one row. */
static int64_t in_row(const hone_weight *w, int64_t first, int64_t n)
{
    return HONE_MIN(n, w->cols - first % w->cols);
}

void hone_weight_values(float *out, const hone_weight *w, int64_t first, int64_t n)
{
    const uint8_t *data = w->data;
    float room[RUN_SCALES];
    int64_t i, m;

    if (!w->scales) {
        hone_dequantise(out, data + hone_dtype_bytes(w->dtype, first), w->dtype, n);
        for (i = 0; w->patch && i < n; i += m) { /* to the end of the row */
            const float *own = hone_weight_patch(w, (first + i) / w->cols);

            m = HONE_MIN(n - i, w->cols - (first + i) % w->cols);
            if (own)
                memcpy(out + i, own + (first + i) % w->cols, (size_t)m * sizeof *out);
        }
        return;
    }
    for (; w->dtype == HONE_I8 && n > 0; out += m, first += m, n -= m) {
        m = in_row(w, first, n);
        hone_dequantise(out, data + first, w->dtype, m);
        for (i = 0; i < m; i++)
            out[i] *= w->scales->top[first / w->cols];
    }
    for (; n > 0; out += m, first += m, n -= m) {
        hone_run4 run;

        m = HONE_MIN(n, RUN);
        run = run_at(room, w, first, m);
        hone_dequantise(out, run.codes, w->dtype, m);
        for (i = 0; i < m; i++)
            out[i] *= run.scale[(run.lead + i) / run.block];
    }
}

void hone_expand_weight(const hone_kernels *k, float *out, const hone_weight *w, int64_t first, int64_t n)
{
    float room[RUN_SCALES];
    int64_t m;

    if (!w->scales) {
        k->expand[w->dtype](out, (const uint8_t *)w->data + hone_dtype_bytes(w->dtype, first), n);
        return;
    }
    for (; w->dtype == HONE_I8 && n > 0; out += m, first += m, n -= m) {
        m = in_row(w, first, n);
        k->expand[HONE_I8](out, (const uint8_t *)w->data + first, m);
        k->scale_round(out, m, w->scales->top[first / w->cols], false);
    }
    for (; n > 0; out += m, first += m, n -= m) {
        hone_run4 run;

        m = HONE_MIN(n, RUN);
        run = run_at(room, w, first, m);
        k->expand4(out, &run, m);
    }
}

float hone_dot4_weight(const hone_kernels *k, const hone_weight *w, int64_t first, const float *x, int64_t n)
{
    float room[RUN_SCALES], sum = 0;
    int64_t m;

    for (; n > 0; x += m, first += m, n -= m) {
        hone_run4 run;

        m = HONE_MIN(n, RUN);
        run = run_at(room, w, first, m);
        sum += k->dot4(&run, x, m);
    }
    return sum;
}

/* ---- quantising --------------------------------------------------------------------------------------------------- */

/* What stands at the head of a quantised matrix, before its second scales, scales and codes. */
typedef struct head {
    hone_scales scales;
    float map[256];
} head;

typedef struct job {
    const hone_kernels *k; /* NULL: plain C */
    const hone_weight *from;
    hone_dtype type;
    hone_coder4 coder;
    hone_scales *scales;
    uint8_t *codes, *scale_codes;
    float *scale, *top; /* f32 scales of all blocks; second scales */
    float middle[255];  /* of the dynamic map */
    float offset;
    int64_t n, blocks;
    atomic_bool bad; /* a value is not finite */
} job;

static hone_coder4 coder_of(hone_dtype type)
{
    const float *table = hone_dtype_table(type);
    hone_coder4 c = {{0}, {0}};
    int i, k;

    for (i = 0; i < 16; i++) { /* by rank */
        for (k = i; k > 0 && table[c.code[k - 1]] > table[i]; k--)
            c.code[k] = c.code[k - 1];
        c.code[k] = (uint8_t)i;
    }
    for (i = 0; i < 15; i++)
        c.middle[i] = (table[c.code[i]] + table[c.code[i + 1]]) / 2;
    return c;
}

/* The largest magnitude, by its bits: NaN counts as larger than infinity. */
static float largest(const float *x, int64_t n)
{
    uint32_t most = 0, bits;
    float f;
    int64_t i;

    for (i = 0; i < n; i++) {
        memcpy(&bits, &x[i], sizeof bits);
        most = HONE_MAX(most, bits & 0x7fffffff);
    }
    memcpy(&f, &most, sizeof f);
    return f;
}

static float quantise4(uint8_t *codes, const float *x, int64_t n, const hone_coder4 *c)
{
    const float most = largest(x, n), inverse = 1.0f / fmaxf(most, 1e-38f);
    int64_t i;
    int k;

    for (i = 0; i < n; i++) {
        const float v = x[i] * inverse;
        int rank = 0, code;

        for (k = 0; k < 15; k++)
            rank += v > c->middle[k];
        code = c->code[rank];
        codes[i / 2] = (uint8_t)(i % 2 ? codes[i / 2] | code : code << 4);
    }
    return most;
}

/* The values of a task, a run at a time. */
static void quantise_task(void *ctx, int task, int thread)
{
    job *j = ctx;
    const uint8_t *data = j->from->data;
    const int64_t end = HONE_MIN((int64_t)(task + 1) * GROUP, j->n);
    int64_t at = (int64_t)task * GROUP, n, i, m;
    float x[RUN], most = 0;

    (void)thread;
    for (; at < end; at += n) {
        const void *src = data + hone_dtype_bytes(j->from->dtype, at);

        n = HONE_MIN(RUN, end - at);
        if (j->k)
            j->k->expand[j->from->dtype](x, src, n);
        else
            hone_dequantise(x, src, j->from->dtype, n);
        if (j->type == HONE_Q8_0) {
            uint8_t *out = j->codes + hone_dtype_bytes(HONE_Q8_0, at);

            most = largest(x, n);
            if (j->k)
                j->k->quantise_q8_0(out, x, n);
            else
                hone_quantise(out, x, HONE_Q8_0, n, NULL);
        }
        for (i = 0; i < n && j->type != HONE_Q8_0; i += m) {
            uint8_t *out = j->codes + (at + i) / 2;

            m = HONE_MIN(BLOCK, n - i);
            most = (j->k ? j->k->quantise4 : quantise4)(out, x + i, m, &j->coder);
            j->scale[(at + i) / BLOCK] = most;
            if (!isfinite(most))
                break;
        }
        if (!isfinite(most)) {
            atomic_store(&j->bad, true);
            return;
        }
    }
}

/* Second scale and codes of up to HONE_NESTED_BLOCK scales. */
static void nest_task(void *ctx, int task, int thread)
{
    job *j = ctx;
    const int64_t first = (int64_t)task * HONE_NESTED_BLOCK;
    const int64_t n = HONE_MIN(HONE_NESTED_BLOCK, j->blocks - first);
    float x[HONE_NESTED_BLOCK] = {0}, most, inverse;
    int64_t i;

    (void)thread;
    for (i = 0; i < n; i++)
        x[i] = j->scale[first + i] - j->offset;
    most = largest(x, n);
    inverse = most > 0 ? 1.0f / most : 0;
    j->top[task] = most;
    for (i = 0; i < n; i++) {
        const float v = x[i] * inverse;
        int code = 0, step;

        for (step = 128; step; step /= 2)
            if (v > j->middle[code + step - 1])
                code += step;
        j->scale_codes[first + i] = (uint8_t)code;
    }
}

static void nest(hone_device *dev, job *j, float map[256])
{
    double sum = 0;
    int64_t i;

    hone_dynamic_map(map, true);
    for (i = 0; i < 255; i++)
        j->middle[i] = (map[i] + map[i + 1]) / 2;
    for (i = 0; i < j->blocks; i++)
        sum += (double)j->scale[i];
    j->offset = (float)(sum / (double)j->blocks);
    hone_pool_run(dev->pool, (int)((j->blocks + HONE_NESTED_BLOCK - 1) / HONE_NESTED_BLOCK), nest_task, j);
}

/* Bytes before the codes: the head, and the scales. */
static size_t scales_size(bool nested, int64_t blocks)
{
    const int64_t tops = nested ? (blocks + HONE_NESTED_BLOCK - 1) / HONE_NESTED_BLOCK : blocks;

    return hone_align(sizeof(head)) + hone_align((size_t)tops * sizeof(float)) +
           (nested ? hone_align((size_t)blocks) : 0);
}

size_t hone_quantised_size(hone_dtype type, bool nested, int64_t n)
{
    const size_t codes = hone_align(hone_dtype_bytes(type, n));

    return hone_dtype_table(type) ? scales_size(nested, (n + BLOCK - 1) / BLOCK) + codes : codes;
}

int hone_weight_quantise(hone_device *dev, hone_weight *w, void *out, hone_dtype type, bool nested,
                         hone_error *err)
{
    job j = {.k = dev->kernels, .from = w, .type = type, .codes = out};
    head *h = out;
    int rc = 0;

    if (w->cols % hone_dtype_block(type))
        return hone_error_set(err, HONE_EUNSUPPORTED, "rows of %d values are no whole blocks of %s (%d)",
                              w->cols, hone_dtype_name(type), hone_dtype_block(type));
    j.n = (int64_t)w->rows * w->cols;
    j.blocks = (j.n + BLOCK - 1) / BLOCK;
    if (hone_dtype_table(type)) {
        uint8_t *at = (uint8_t *)out + hone_align(sizeof *h);

        j.coder = coder_of(type);
        j.codes = (uint8_t *)out + scales_size(nested, j.blocks);
        j.top = j.scale = (float *)(void *)at;
        h->scales = (hone_scales){.top = j.top, .block = BLOCK};
        if (nested) {
            const int64_t tops = (j.blocks + HONE_NESTED_BLOCK - 1) / HONE_NESTED_BLOCK;

            j.scale_codes = at + hone_align((size_t)tops * sizeof(float));
            j.scale = hone_alloc((size_t)j.blocks * sizeof(float));
            if (!j.scale)
                return hone_error_set(err, HONE_ENOMEM, "out of memory for %lld scales", (long long)j.blocks);
        }
    }
    hone_pool_run(dev->pool, (int)((j.n + GROUP - 1) / GROUP), quantise_task, &j);
    if (j.bad) {
        rc = hone_error_set(err, HONE_EFORMAT, "a value is not a finite number, and can not be quantised");
        goto out;
    }
    w->data = j.codes;
    w->dtype = type;
    if (nested && j.scale) {
        nest(dev, &j, h->map);
        h->scales.map = h->map;
        h->scales.code = j.scale_codes;
        h->scales.offset = j.offset;
    }
    w->scales = j.scale ? &h->scales : NULL;
out:
    if (j.scale != j.top)
        hone_free(j.scale);
    return rc;
}
