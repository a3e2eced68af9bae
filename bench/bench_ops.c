/* Speed of single ops on the shapes of small models, as CSV on stdout:
 *
 *     bench_ops [--isa avx2] [--threads N] [--tokens 512] [--bf16] [--rounds 5] [--only TEXT] [--cpu]
 *
 * Every line is the best of some rounds; the machine's multiply-add peak is measured right before and after each round
 * on the same threads, and `percent` is the best ratio of a round to its own peak: on a shared machine the ratio says
 * more than the figure. Decoding lines give GB/s of weights read instead; their percent is empty. --cpu, with one
 * thread, counts processor time against the best peak seen so far: for machines that do other work meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "device/ops.h"

struct bench {
    hone_device *dev;
    hone_dtype act;
    int tokens, rounds;
    bool cpu;
    double peak; /* best seen */
    const char *only;
    hone_rng rng;
};

static float uniform(struct bench *b)
{
    return (float)hone_rng_uniform(&b->rng) - 0.5f;
}

static void *block(size_t size)
{
    void *p = hone_big_alloc(size);

    if (!p) {
        fprintf(stderr, "bench_ops: out of memory for %zu bytes\n", size);
        exit(1);
    }
    return p;
}

static hone_mat mat(struct bench *b, hone_dtype t, int64_t rows, int64_t cols)
{
    hone_mat m = hone_mat_make(block((size_t)(rows * cols) * 4), t, rows, cols);
    int64_t i;

    for (i = 0; i < rows * cols; i++)
        if (t == HONE_F32)
            ((float *)m.data)[i] = uniform(b);
        else
            ((uint16_t *)m.data)[i] = hone_f32_to_bf16(uniform(b));
    return m;
}

static void mat_drop(hone_mat *m)
{
    hone_big_free(m->data, (size_t)(m->rows * m->cols) * 4);
}

static hone_weight weight(struct bench *b, hone_dtype t, int rows, int cols)
{
    size_t row = hone_dtype_bytes(t, cols), size = hone_dtype_block_size(t), i;
    hone_weight w = {block(row * (size_t)rows), t, rows, cols, NULL, NULL, NULL};
    float *tmp = block((size_t)cols * 4);
    uint16_t small = hone_f32_to_f16(0.001f);
    uint8_t *p = (uint8_t *)(uintptr_t)w.data;
    int r, c;

    for (r = 0; r < rows; r++, p += row) {
        for (c = 0; c < cols; c++)
            tmp[c] = uniform(b);
        if (hone_quantise(p, tmp, t, cols, NULL) == 0)
            continue;
        for (i = 0; i < row; i++)
            p[i] = (uint8_t)hone_rng_u32(&b->rng);
        for (i = 0; i < row; i += size) {
            memcpy(p + i + (t == HONE_Q6_K ? 208 : 0), &small, 2);
            if (t != HONE_Q6_K)
                memcpy(p + i + 2, &small, 2);
        }
    }
    hone_big_free(tmp, (size_t)cols * 4);
    return w;
}

static void weight_drop(hone_weight *w)
{
    hone_big_free((void *)(uintptr_t)w->data, hone_dtype_bytes(w->dtype, w->cols) * (size_t)w->rows);
}

static double now(const struct bench *b)
{
    struct timespec t;

    if (!b->cpu)
        return hone_now();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int wanted(const struct bench *b, const char *name)
{
    return !b->only || strstr(name, b->only);
}

/* Times fn: flops > 0 gives GFLOP/s and percent of peak, bytes > 0 GB/s. */
static void measure(struct bench *b, const char *name, void (*fn)(struct bench *b, void *ctx), void *ctx,
                    double flops, double bytes)
{
    double best = 0, ratio = 0;
    int r;

    fn(b, ctx);
    for (r = 0; r < b->rounds; r++) {
        double peak = hone_device_peak_gflops(b->dev, b->act == HONE_BF16, 0.004), after, t0, t;
        int n = 0;

        t0 = now(b);
        do {
            fn(b, ctx);
            n++;
        } while ((t = now(b) - t0) < 0.02);
        after = hone_device_peak_gflops(b->dev, b->act == HONE_BF16, 0.004);
        t /= n;
        peak = HONE_MAX(peak, after);
        b->peak = HONE_MAX(b->peak, peak);
        if (b->cpu)
            peak = b->peak;
        if (flops / t * 1e-9 / peak > ratio)
            ratio = flops / t * 1e-9 / peak;
        best = HONE_MAX(best, (flops > 0 ? flops : bytes) / t * 1e-9);
    }
    if (flops > 0)
        printf("%s,%.1f,GFLOP/s,%.1f\n", name, best, 100 * ratio);
    else
        printf("%s,%.2f,GB/s,\n", name, best);
    fflush(stdout);
}

static void fail(const hone_error *err)
{
    fprintf(stderr, "bench_ops: %s\n", err->message);
    exit(1);
}

static void run_fwd(struct bench *b, void *ctx)
{
    hone_error err = HONE_ERROR_INIT;

    if (hone_linear_fwd(b->dev, ctx, &err))
        fail(&err);
}

static void run_bwd(struct bench *b, void *ctx)
{
    hone_error err = HONE_ERROR_INIT;

    if (hone_linear_bwd(b->dev, ctx, &err))
        fail(&err);
}

static void linear(struct bench *b, const char *model, const char *layer, hone_dtype t, int in,
                   const int *out, int parts, int rank, float dropout)
{
    hone_linear g = {.n_parts = parts};
    hone_weight w[HONE_MAX_PARTS];
    hone_lora lora[HONE_MAX_PARTS];
    hone_mat hold[HONE_MAX_PARTS][5];
    char name[200];
    double flops = 0, extra = 0, bytes = 0;
    int p, i;

    snprintf(name, sizeof name, "linear,%s %s", model, layer);
    if (!wanted(b, name))
        return;
    g.x = mat(b, b->act, b->tokens, in);
    g.dx = mat(b, b->act, b->tokens, in);
    for (p = 0; p < parts; p++) {
        w[p] = weight(b, t, out[p], in);
        g.part[p].w = &w[p];
        g.part[p].y = mat(b, b->act, b->tokens, out[p]);
        g.part[p].dy = mat(b, b->act, b->tokens, out[p]);
        flops += 2.0 * b->tokens * in * out[p];
        bytes += (double)hone_dtype_bytes(t, in) * out[p];
        if (!rank)
            continue;
        hold[p][0] = mat(b, HONE_F32, rank, in);
        hold[p][1] = mat(b, HONE_F32, out[p], rank);
        hold[p][2] = mat(b, HONE_F32, rank, in);
        hold[p][3] = mat(b, HONE_F32, out[p], rank);
        hold[p][4] = mat(b, HONE_F32, b->tokens, rank);
        lora[p] = (hone_lora){rank,    2, hold[p][0].data, hold[p][1].data, hold[p][2].data, hold[p][3].data,
                              dropout, 1, (uint64_t)p};
        g.part[p].lora = &lora[p];
        g.part[p].u = hold[p][4].data;
        extra += 2.0 * b->tokens * rank * (in + out[p]);
    }
    snprintf(name, sizeof name, "linear_fwd,%s %s %s %dx%d r=%d p=%g", model, layer, hone_dtype_name(t),
             b->tokens, in, rank, (double)dropout);
    if (b->tokens <= 16)
        measure(b, name, run_fwd, &g, 0, bytes);
    else
        measure(b, name, run_fwd, &g, flops + extra, 0);
    if (b->tokens > 16) {
        memcpy(name, "linear_bwd", 10);
        measure(b, name, run_bwd, &g, flops + 2 * extra, 0);
    }
    for (p = 0; p < parts; p++) {
        weight_drop(&w[p]);
        mat_drop(&g.part[p].y);
        mat_drop(&g.part[p].dy);
        for (i = 0; i < 5 && rank; i++)
            mat_drop(&hold[p][i]);
    }
    mat_drop(&g.x);
    mat_drop(&g.dx);
}

/* Gradient of projections that are trained themselves: dx and dW. */
static void linear_full(struct bench *b, const char *model, const char *layer, int in, const int *out,
                        int parts)
{
    hone_linear g = {.n_parts = parts};
    hone_weight w[HONE_MAX_PARTS];
    hone_mat dw[HONE_MAX_PARTS];
    char name[200];
    double flops = 0;
    int p;

    snprintf(name, sizeof name, "linear_full,%s %s %dx%d", model, layer, b->tokens, in);
    if (!wanted(b, name))
        return;
    g.x = mat(b, b->act, b->tokens, in);
    g.dx = mat(b, b->act, b->tokens, in);
    for (p = 0; p < parts; p++) {
        w[p] = weight(b, HONE_F32, out[p], in);
        dw[p] = mat(b, HONE_F32, out[p], in);
        g.part[p].w = &w[p];
        g.part[p].dw = dw[p].data;
        g.part[p].dy = mat(b, b->act, b->tokens, out[p]);
        flops += 4.0 * b->tokens * in * out[p];
    }
    measure(b, name, run_bwd, &g, flops, 0);
    for (p = 0; p < parts; p++) {
        weight_drop(&w[p]);
        mat_drop(&dw[p]);
        mat_drop(&g.part[p].dy);
    }
    mat_drop(&g.x);
    mat_drop(&g.dx);
}

static void run_attention_fwd(struct bench *b, void *ctx)
{
    hone_error err = HONE_ERROR_INIT;

    if (hone_attention_fwd(b->dev, ctx, &err))
        fail(&err);
}

static void run_attention_bwd(struct bench *b, void *ctx)
{
    hone_error err = HONE_ERROR_INIT;

    if (hone_attention_bwd(b->dev, ctx, &err))
        fail(&err);
}

/* past > 0: `n` queries after `past` keys, forward only. */
static void attention(struct bench *b, const char *model, int h, int kv, int d, int n, int past)
{
    int32_t off[2] = {0, n}, row = 0, len = past + n;
    hone_attention a = {.n_head = h,
                        .n_kv = kv,
                        .head_size = d,
                        .scale = 0.125f,
                        .n_seq = 1,
                        .q_off = off,
                        .kv_row = &row,
                        .kv_len = &len};
    hone_mat lse = mat(b, HONE_F32, h, n);
    double pairs = 0.5 * n * (n + 1.0) + (double)n * past;
    char name[200];

    snprintf(name, sizeof name, "attention_fwd,%s %d+%d H=%d K=%d D=%d", model, past, n, h, kv, d);
    if (!wanted(b, name))
        return;
    a.q = mat(b, b->act, n, h * d);
    a.k = mat(b, b->act, len, kv * d);
    a.v = mat(b, b->act, len, kv * d);
    a.o = mat(b, b->act, n, h * d);
    a.do_ = mat(b, b->act, n, h * d);
    a.dq = mat(b, b->act, n, h * d);
    a.dk = mat(b, b->act, len, kv * d);
    a.dv = mat(b, b->act, len, kv * d);
    a.lse = lse.data;
    measure(b, name, run_attention_fwd, &a, 4.0 * pairs * d * h, 0);
    if (!past) {
        memcpy(name, "attention_bwd", 13);
        measure(b, name, run_attention_bwd, &a, 10.0 * pairs * d * h, 0);
    }
    mat_drop(&a.q);
    mat_drop(&a.k);
    mat_drop(&a.v);
    mat_drop(&a.o);
    mat_drop(&a.do_);
    mat_drop(&a.dq);
    mat_drop(&a.dk);
    mat_drop(&a.dv);
    mat_drop(&lse);
}

static void run_head(struct bench *b, void *ctx)
{
    hone_error err = HONE_ERROR_INIT;

    if (hone_head_loss(b->dev, ctx, &err))
        fail(&err);
}

static void head(struct bench *b, const char *model, hone_dtype t, int c, int vocab)
{
    hone_weight w;
    hone_head a = {.grad_scale = 1};
    int32_t *target = block((size_t)b->tokens * 4), *best = block((size_t)b->tokens * 4);
    hone_mat loss = mat(b, HONE_F32, b->tokens, 1);
    char name[200];
    int i;

    snprintf(name, sizeof name, "head_loss,%s %s %dx%d V=%d", model, hone_dtype_name(t), b->tokens, c, vocab);
    if (wanted(b, name)) {
        w = weight(b, t, vocab, c);
        for (i = 0; i < b->tokens; i++)
            target[i] = i * 7 % vocab;
        a.h = mat(b, b->act, b->tokens, c);
        a.dh = mat(b, b->act, b->tokens, c);
        a.w = &w;
        a.target = target;
        a.best = best;
        a.loss = loss.data;
        measure(b, name, run_head, &a, 4.0 * b->tokens * c * vocab, 0);
        weight_drop(&w);
        mat_drop(&a.h);
        mat_drop(&a.dh);
    }
    mat_drop(&loss);
    hone_big_free(target, (size_t)b->tokens * 4);
    hone_big_free(best, (size_t)b->tokens * 4);
}

struct rows {
    hone_mat a, b, c, d, e, w;
};

static void run_norm(struct bench *b, void *ctx)
{
    struct rows *r = ctx;

    hone_rmsnorm_fwd(b->dev, r->b, NULL, r->a, r->w.data, 1e-5f, NULL);
}

static void run_norm_bwd(struct bench *b, void *ctx)
{
    struct rows *r = ctx;

    hone_rmsnorm_bwd(b->dev, r->b, true, r->c, r->a, r->w.data, NULL, 1e-5f, NULL);
}

static void run_glu(struct bench *b, void *ctx)
{
    struct rows *r = ctx;

    hone_glu_fwd(b->dev, r->c, r->a, r->b, HONE_ACT_SILU, NULL);
}

static void run_glu_bwd(struct bench *b, void *ctx)
{
    struct rows *r = ctx;

    hone_glu_bwd(b->dev, r->d, r->e, r->c, r->a, r->b, HONE_ACT_SILU, NULL);
}

static void run_squares(struct bench *b, void *ctx)
{
    struct rows *r = ctx;

    hone_sum_squares(b->dev, r->a.data, (size_t)(r->a.rows * r->a.cols));
}

static void rows(struct bench *b, int width)
{
    struct rows r = {mat(b, b->act, b->tokens, width), mat(b, b->act, b->tokens, width),
                     mat(b, b->act, b->tokens, width), mat(b, b->act, b->tokens, width),
                     mat(b, b->act, b->tokens, width), mat(b, HONE_F32, 1, width)};
    double bytes = (double)b->tokens * width * (b->act == HONE_F32 ? 4 : 2);

    if (wanted(b, "rows")) {
        measure(b, "rmsnorm_fwd,rows", run_norm, &r, 0, 2 * bytes);
        measure(b, "rmsnorm_bwd,rows", run_norm_bwd, &r, 0, 4 * bytes);
        measure(b, "glu_fwd,rows", run_glu, &r, 0, 3 * bytes);
        measure(b, "glu_bwd,rows", run_glu_bwd, &r, 0, 5 * bytes);
        if (b->act == HONE_F32)
            measure(b, "sum_squares,rows", run_squares, &r, 0, bytes);
    }
    mat_drop(&r.a);
    mat_drop(&r.b);
    mat_drop(&r.c);
    mat_drop(&r.d);
    mat_drop(&r.e);
    mat_drop(&r.w);
}

static int number(const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);

    if (end == text || *end || v < 0 || v > 1 << 20) {
        fprintf(stderr, "bench_ops: \"%s\" is not a number between 0 and 1048576\n", text);
        exit(2);
    }
    return (int)v;
}

int main(int argc, char **argv)
{
    static const hone_dtype stored[] = {HONE_F32,  HONE_BF16, HONE_F16,  HONE_Q8_0, HONE_Q4_0,
                                        HONE_Q4_1, HONE_Q5_0, HONE_Q4_K, HONE_Q6_K};
    hone_device_params params = hone_device_default();
    struct bench b = {.act = HONE_F32, .tokens = 512, .rounds = 5, .rng = hone_rng_make(1, 1)};
    hone_error err = HONE_ERROR_INIT;
    hone_workspace_spec spec;
    size_t i;
    int k;

    for (k = 1; k < argc; k++) {
        const char *value = k + 1 < argc ? argv[k + 1] : "";

        if (!strcmp(argv[k], "--bf16")) {
            b.act = HONE_BF16;
            continue;
        }
        if (!strcmp(argv[k], "--cpu")) {
            b.cpu = true;
            continue;
        }
        if (!strcmp(argv[k], "--isa")) {
            if (hone_isa_parse(&params.isa, value, &err))
                fail(&err);
        } else if (!strcmp(argv[k], "--threads")) {
            params.threads = number(value);
        } else if (!strcmp(argv[k], "--tokens")) {
            b.tokens = number(value);
        } else if (!strcmp(argv[k], "--rounds")) {
            b.rounds = number(value);
        } else if (!strcmp(argv[k], "--only")) {
            b.only = value;
        } else {
            fprintf(stderr, "bench_ops: unknown option %s\n", argv[k]);
            return 2;
        }
        k++;
    }
    if (hone_device_open(&b.dev, &params, &err))
        fail(&err);
    spec = (hone_workspace_spec){.tokens = b.tokens,
                                 .max_in = 4864,
                                 .max_out = 4864,
                                 .group_out = 9728,
                                 .width = 896,
                                 .vocab = 151936,
                                 .n_head = 32,
                                 .n_kv = 32,
                                 .head_size = 256,
                                 .max_kv = 2048 + 512,
                                 .max_rank = 16,
                                 .activation = b.act,
                                 .training = true};
    spec.tokens = HONE_MAX(spec.tokens, 2048);
    if (hone_workspace_reserve(b.dev, &spec, &err))
        fail(&err);
    printf("op,case,value,unit,percent of peak (%s, %d threads, %s activations)\n", hone_device_name(b.dev),
           hone_device_threads(b.dev), hone_dtype_name(b.act));
    if (b.tokens <= 16) {
        for (i = 0; i < HONE_COUNT(stored); i++)
            linear(&b, "qwen", "head", stored[i],
                   stored[i] == HONE_Q4_K || stored[i] == HONE_Q6_K ? 1024 : 896, (const int[]){60000}, 1, 0,
                   0);
        attention(&b, "qwen", 14, 2, 64, 1, 2000);
    } else {
        linear(&b, "smol", "qkv", HONE_Q4_1, 576, (const int[]){576, 192, 192}, 3, 0, 0);
        linear(&b, "smol", "qkv", HONE_Q4_1, 576, (const int[]){576, 192, 192}, 3, 8, 0);
        linear(&b, "smol", "qkv", HONE_Q4_1, 576, (const int[]){576, 192, 192}, 3, 8, 0.1f);
        linear(&b, "smol", "o", HONE_Q4_1, 576, (const int[]){576}, 1, 8, 0);
        linear(&b, "smol", "gate_up", HONE_Q4_1, 576, (const int[]){1536, 1536}, 2, 8, 0);
        linear(&b, "smol", "down", HONE_Q4_1, 1536, (const int[]){576}, 1, 8, 0);
        linear(&b, "smol", "down", HONE_F32, 1536, (const int[]){576}, 1, 0, 0);
        linear(&b, "smol", "down", HONE_BF16, 1536, (const int[]){576}, 1, 0, 0);
        linear(&b, "qwen", "qkv", HONE_Q5_0, 896, (const int[]){896, 128, 128}, 3, 8, 0);
        linear(&b, "qwen", "gate_up", HONE_Q5_0, 896, (const int[]){4864, 4864}, 2, 8, 0);
        linear(&b, "qwen", "down", HONE_Q4_K, 4864, (const int[]){896}, 1, 8, 0);
        linear(&b, "qwen", "down", HONE_Q6_K, 4864, (const int[]){896}, 1, 8, 0);
        linear(&b, "wide", "o", HONE_BF16, 2048, (const int[]){2048}, 1, 0, 0);
        linear_full(&b, "smol", "qkv", 576, (const int[]){576, 192, 192}, 3);
        linear_full(&b, "smol", "gate_up", 576, (const int[]){1536, 1536}, 2);
        linear_full(&b, "smol", "down", 1536, (const int[]){576}, 1);
        linear_full(&b, "qwen", "gate_up", 896, (const int[]){4864, 4864}, 2);
        attention(&b, "smol", 9, 3, 64, 512, 0);
        attention(&b, "qwen", 14, 2, 64, 512, 0);
        attention(&b, "smol", 9, 3, 64, 2048, 0);
        attention(&b, "phi", 8, 8, 80, 512, 0);
        attention(&b, "phi3", 8, 8, 96, 512, 0);
        attention(&b, "qwen3", 8, 4, 128, 512, 0);
        attention(&b, "qwen3", 8, 4, 128, 2048, 0);
        attention(&b, "wide", 8, 8, 128, 512, 0);
        attention(&b, "gemma", 4, 1, 256, 512, 0);
        head(&b, "smol", HONE_Q8_0, 576, 49152);
        head(&b, "qwen", HONE_Q8_0, 896, 151936);
        rows(&b, 1536);
    }
    hone_device_close(b.dev);
    return 0;
}
