/* Embedding, norms, rotation, gated unit, sums, AdamW, head and loss: frozen vectors, sums in double, central
 * differences, the same bits for every number of threads. */
#include "device_test.h"

static const hone_dtype types[] = {HONE_F32, HONE_BF16};

static void close_to(const hone_mat *m, const double *want, int n)
{
    int i;

    for (i = 0; i < n; i++)
        if (!(fabs(get(m, i / m->cols, i % m->cols) - want[i]) < 2e-6))
            fail_msg("[%d] = %.9f, wanted %.9f", i, get(m, i / m->cols, i % m->cols), want[i]);
}

static void frozen_norm_and_rotation(void **state)
{
    static const double y[] = {.576896386, 1.246793791, .290247522, -2.075397167};
    static const double dx[] = {-.573872033, -.620128765, -1.067125111, -1.582152350};
    static const double turned[] = {-.852964818, .931588943, -.020959357, -.729187129};
    static const float w[] = {.5f, 1, 1.5f, 2}, inv_freq[] = {1, .01f};
    static const int32_t pos = 3;
    hone_mat x = mat_new(HONE_F32, 1, 4, 0), out = mat_new(HONE_F32, 1, 4, 0), g = mat_new(HONE_F32, 1, 4, 0);
    float rstd;
    int i;

    (void)state;
    FOR_EACH_ISA(dev, 1) {
        for (i = 0; i < 4; i++) {
            put(&x, 0, i, (float)sin(1 + i));
            put(&g, 0, i, (float)cos(i));
        }
        OK(hone_rmsnorm_fwd(dev, out, &rstd, x, w, 1e-6f, err));
        close_to(&out, y, 4);
        OK(hone_rmsnorm_bwd(dev, out, false, g, x, w, &rstd, 1e-6f, err));
        close_to(&out, dx, 4);
        OK(hone_rmsnorm_bwd(dev, out, true, g, x, w, NULL, 1e-6f, err));
        for (i = 0; i < 4; i++)
            assert_true(fabs(get(&out, 0, i) - 2 * dx[i]) < 4e-6);
        OK(hone_rope(dev, x, &pos, inv_freq, 4, 4, 1, false, err));
        close_to(&x, turned, 4);
        OK(hone_rope(dev, x, &pos, inv_freq, 4, 4, 1, true, err));
        for (i = 0; i < 4; i++)
            assert_true(fabs(get(&x, 0, i) - sin(1 + i)) < 1e-6);
    }
    mat_free(&x);
    mat_free(&out);
    mat_free(&g);
}

static void norm_of_every_size(void **state)
{
    static const int rows[] = {1, 3, 37}, cols[] = {1, 7, 16, 64, 97, 576, 1024};
    size_t a, b, t;
    int r, c;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (a = 0; a < HONE_COUNT(rows); a++)
            for (b = 0; b < HONE_COUNT(cols); b++)
                for (t = 0; t < 2; t++) {
                    int n = rows[a], d = cols[b];
                    hone_mat x = mat_new(types[t], n, d, 3), y = mat_new(types[t], n, d, 1);
                    hone_mat dy = mat_new(types[t], n, d, 2), dx = mat_new(types[t], n, d, 5);
                    hone_mat rstd = mat_new(HONE_F32, n, 1, 0), w = mat_new(HONE_F32, 1, d, 0);
                    double *wy = calloc((size_t)(n * d), 8), *wx = calloc((size_t)(n * d), 8),
                           *ws = calloc((size_t)n, 8);

                    mat_random(&x, 2);
                    mat_random(&dy, 1);
                    mat_random(&dx, 1);
                    mat_random(&w, 1);
                    for (r = 0; r < n; r++) {
                        double ss = 0, dot = 0;

                        for (c = 0; c < d; c++)
                            ss += get(&x, r, c) * get(&x, r, c);
                        ws[r] = 1 / sqrt(ss / d + 1e-5);
                        for (c = 0; c < d; c++) {
                            wy[r * d + c] = get(&w, 0, c) * get(&x, r, c) * ws[r];
                            dot += get(&dy, r, c) * get(&w, 0, c) * get(&x, r, c) * ws[r];
                        }
                        for (c = 0; c < d; c++)
                            wx[r * d + c] = get(&dx, r, c) + ws[r] * (get(&dy, r, c) * get(&w, 0, c) -
                                                                      get(&x, r, c) * ws[r] * dot / d);
                    }
                    OK(hone_rmsnorm_fwd(dev, y, rstd.data, x, w.data, 1e-5f, err));
                    check_nmse("y", &y, wy, limit_of(types[t]));
                    check_nmse("rstd", &rstd, ws, 1e-12);
                    OK(hone_rmsnorm_bwd(dev, dx, true, dy, x, w.data, t ? NULL : rstd.data, 1e-5f, err));
                    check_nmse("dx", &dx, wx, limit_of(types[t]));
                    /* in place */
                    OK(hone_rmsnorm_fwd(dev, x, NULL, x, w.data, 1e-5f, err));
                    mat_same_bits(&x, &y);
                    mat_free(&x);
                    mat_free(&y);
                    mat_free(&dy);
                    mat_free(&dx);
                    mat_free(&rstd);
                    mat_free(&w);
                    free(wy);
                    free(wx);
                    free(ws);
                }
}

/* Gradients of norms and tables against sums in double, on top of what is there; the same bits for 1 and 3 threads. */
static void weight_gradients_of_rows(void **state)
{
    static const int rows[] = {1, 15, 64, 611}, cols[] = {1, 24, 65, 576};
    size_t a, b, t;
    int r, c, k;

    (void)state;
    for (int isa = FIRST_ISA; isa <= HONE_ISA_AVX512BF16; isa++)
        for (a = 0; a < HONE_COUNT(rows); a++)
            for (b = 0; b < HONE_COUNT(cols); b++)
                for (t = 0; t < 2; t++) {
                    const int n = rows[a], d = cols[b], vocab = 7;
                    hone_mat x = mat_new(types[t], n, d, 3), dy = mat_new(types[t], n, d, 2), dw[2], dt[2];
                    int32_t ids[611];
                    bool done = false;
                    double *ww = calloc((size_t)d, 8), *wt = calloc((size_t)(vocab * d), 8);

                    mat_random(&x, 2);
                    mat_random(&dy, 1);
                    for (r = 0; r < n; r++)
                        ids[r] = (int32_t)hone_rng_below(&test_rng, (uint32_t)vocab - 1); /* one row stays */
                    for (k = 0; k < 2; k++) {
                        hone_device *dev = device_new((hone_isa)isa, k ? 3 : 1);

                        dw[k] = mat_new(HONE_F32, 1, d, 0);
                        dt[k] = mat_new(HONE_F32, vocab, d, 0);
                        for (c = 0; c < d; c++)
                            put(&dw[k], 0, c, 0.5f * (float)(c % 5));
                        for (r = 0; r < vocab; r++)
                            for (c = 0; c < d; c++)
                                put(&dt[k], r, c, 0.5f * (float)((r + c) % 5));
                        done = dev != NULL; /* else this machine lacks the instruction set */
                        if (!dev)
                            continue;
                        OK(hone_rmsnorm_bwd_w(dev, dw[k].data, dy, x, 1e-5f, err));
                        OK(hone_embed_bwd(dev, dt[k].data, vocab, dy, ids, 1.5f, err));
                        hone_device_close(dev);
                    }
                    for (c = 0; c < d; c++)
                        ww[c] = 0.5 * (c % 5);
                    for (r = 0; r < vocab; r++)
                        for (c = 0; c < d; c++)
                            wt[r * d + c] = 0.5 * ((r + c) % 5);
                    for (r = 0; r < n; r++) {
                        double ss = 0;

                        for (c = 0; c < d; c++)
                            ss += get(&x, r, c) * get(&x, r, c);
                        for (c = 0; c < d; c++) {
                            ww[c] += get(&dy, r, c) * get(&x, r, c) / sqrt(ss / d + 1e-5);
                            wt[ids[r] * d + c] += 1.5 * get(&dy, r, c);
                        }
                    }
                    if (done) {
                        check_nmse("dw", &dw[0], ww, 1e-10);
                        check_nmse("dtable", &dt[0], wt, 1e-10);
                        mat_same_bits(&dw[0], &dw[1]);
                        mat_same_bits(&dt[0], &dt[1]);
                    }
                    for (k = 0; k < 2; k++) {
                        mat_free(&dw[k]);
                        mat_free(&dt[k]);
                    }
                    mat_free(&x);
                    mat_free(&dy);
                    free(ww);
                    free(wt);
                }
}

static void rotation_of_every_size(void **state)
{
    static const int d[] = {2, 6, 64, 80, 128, 80, 128}, rotated[] = {2, 6, 64, 80, 128, 60, 32};
    size_t a, t;
    int r, h, c, heads = 3, n = 19;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (a = 0; a < HONE_COUNT(d); a++)
            for (t = 0; t < 2; t++) {
                int dims = rotated[a], half = dims / 2, wide = heads * d[a];
                hone_mat x = mat_new(types[t], n, wide, 5);
                double *want = calloc((size_t)(n * wide), 8);
                float inv_freq[64];
                int32_t pos[19];

                mat_random(&x, 1);
                for (c = 0; c < half; c++)
                    inv_freq[c] = powf(10000, -(float)c / (float)half);
                for (r = 0; r < n; r++) {
                    pos[r] = r * 37;
                    for (h = 0; h < heads; h++)
                        for (c = dims; c < d[a]; c++)
                            want[r * wide + h * d[a] + c] = get(&x, r, h * d[a] + c);
                    for (h = 0; h < heads; h++)
                        for (c = 0; c < half; c++) {
                            double angle = (double)((float)pos[r] * inv_freq[c]), co = cos(angle) * 1.25,
                                   si = sin(angle) * 1.25;
                            double p = get(&x, r, h * d[a] + c), q = get(&x, r, h * d[a] + c + half);

                            want[r * wide + h * d[a] + c] = p * co - q * si;
                            want[r * wide + h * d[a] + c + half] = q * co + p * si;
                        }
                }
                OK(hone_rope(dev, x, pos, inv_freq, d[a], dims, 1.25f, false, err));
                check_nmse("rope", &x, want, limit_of(types[t]));
                mat_free(&x);
                free(want);
            }
}

/* One activation on one shape; h, dg and du in double from the definitions, GELU by tanh itself. */
static void compare_glu(hone_device *dev, hone_act act, hone_dtype type, int n, int d)
{
    hone_mat g = mat_new(type, n, d, 1), u = mat_new(type, n, d, 2), h = mat_new(type, n, d, 3);
    hone_mat dh = mat_new(type, n, d, 4);
    double *wh = calloc((size_t)(n * d), 8), *wg = calloc((size_t)(n * d), 8),
           *wu = calloc((size_t)(n * d), 8);
    int r, c;

    mat_random(&g, 20);
    put(&g, 0, 0, -100);
    put(&g, 1, 0, 100);
    mat_random(&u, 2);
    mat_random(&dh, 1);
    for (r = 0; r < n; r++)
        for (c = 0; c < d; c++) {
            double x = get(&g, r, c), v = get(&u, r, c), e = get(&dh, r, c), s = 1 / (1 + exp(-x)), y = x * s,
                   slope = s * (1 + x * (1 - s));

            if (act == HONE_ACT_GELU_TANH) {
                double t = tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));

                y = 0.5 * x * (1 + t);
                slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
            }
            wh[r * d + c] = y * v;
            wg[r * d + c] = e * v * slope;
            wu[r * d + c] = e * y;
        }
    OK(hone_glu_fwd(dev, h, g, u, act, err));
    check_nmse("h", &h, wh, limit_of(type));
    OK(hone_glu_bwd(dev, g, u, dh, g, u, act, err)); /* in place */
    check_nmse("dg", &g, wg, limit_of(type));
    check_nmse("du", &u, wu, limit_of(type));
    mat_free(&g);
    mat_free(&u);
    mat_free(&h);
    mat_free(&dh);
    free(wh);
    free(wg);
    free(wu);
}

static void gated_unit(void **state)
{
    static const int cols[] = {1, 9, 64, 333};
    size_t b, t;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (b = 0; b < HONE_COUNT(cols); b++)
            for (t = 0; t < 2; t++) {
                compare_glu(dev, HONE_ACT_SILU, types[t], 21, cols[b]);
                compare_glu(dev, HONE_ACT_GELU_TANH, types[t], 21, cols[b]);
            }
}

static void sum_of_two(void **state)
{
    static const int cols[] = {1, 9, 64, 333};
    size_t b, t;
    int r, c, n = 21;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (b = 0; b < HONE_COUNT(cols); b++)
            for (t = 0; t < 2; t++) {
                int d = cols[b];
                hone_mat x = mat_new(types[t], n, d, 1), y = mat_new(types[t], n, d, 2),
                         z = mat_new(types[t], n, d, 3);
                double *want = calloc((size_t)(n * d), 8);

                mat_random(&x, 20);
                mat_random(&y, 2);
                for (r = 0; r < n; r++)
                    for (c = 0; c < d; c++)
                        want[r * d + c] = get(&x, r, c) + get(&y, r, c);
                OK(hone_add(dev, z, x, y, err));
                check_nmse("sum", &z, want, limit_of(types[t]));
                mat_free(&x);
                mat_free(&y);
                mat_free(&z);
                free(want);
            }
}

static void embedding(void **state)
{
    static const hone_dtype formats[] = {HONE_F32, HONE_F16, HONE_BF16, HONE_Q8_0, HONE_Q4_1, HONE_Q6_K};
    static const int32_t ids[] = {3, 0, 11, 3};
    hone_error caught = HONE_ERROR_INIT;
    int32_t bad = 12;
    size_t f, t;
    int r, c;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (f = 0; f < HONE_COUNT(formats); f++)
            for (t = 0; t < 2; t++) {
                hone_weight w = weight_new(formats[f], 12, 256);
                double *v = weight_values(&w, HONE_F32), want[4 * 256];
                hone_mat out = mat_new(types[t], 4, 256, 9);

                for (r = 0; r < 4; r++)
                    for (c = 0; c < 256; c++)
                        want[r * 256 + c] = 2.5 * v[ids[r] * 256 + c];
                OK(hone_embed(dev, out, &w, ids, 2.5f, err));
                check_nmse("embedding", &out, want, limit_of(types[t]));
                out.rows = 1;
                assert_int_equal(hone_embed(dev, out, &w, &bad, 1, &caught), HONE_ERANGE);
                out.rows = 4;
                mat_free(&out);
                weight_free(&w);
                free(v);
            }
}

static void squares(void **state)
{
    static const size_t n[] = {0, 1, 7, 16, 255, 4097, 100003};
    float *x = malloc(100003 * sizeof *x);
    double first = 0;
    size_t i, k;
    int t;

    (void)state;
    for (i = 0; i < 100003; i++)
        x[i] = uniform(-1, 1);
    FOR_EACH_ISA(dev, 2)
        for (k = 0; k < HONE_COUNT(n); k++) {
            double want = 0;

            for (i = 0; i < n[k]; i++)
                want += (double)x[i] * (double)x[i];
            assert_true(fabs(hone_sum_squares(dev, x, n[k]) - want) <= 1e-12 * want);
        }
    for (t = 1; t <= 5; t++) {
        hone_device *dev = device_new(HONE_ISA_AUTO, t);
        double s = hone_sum_squares(dev, x, 100003);

        assert_true(t == 1 || s == first);
        first = s;
        hone_device_close(dev);
    }
    FOR_EACH_ISA(dev, 2) {
        float keep = x[77777];

        x[77777] = NAN;
        assert_true(isnan(hone_sum_squares(dev, x, 100003)));
        x[77777] = -INFINITY;
        assert_true(isinf(hone_sum_squares(dev, x, 100003)));
        x[77777] = 1e30f; /* its square is no f32 */
        assert_true(fabs(hone_sum_squares(dev, x, 100003) / 1e60 - 1) < 1e-6);
        x[77777] = keep;
    }
    free(x);
}

static void adamw(void **state)
{
    static const size_t n[] = {1, 8, 37, 70001};
    size_t k, i;
    int64_t t;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (k = 0; k < HONE_COUNT(n); k++) {
            hone_mat p = mat_new(HONE_F32, 1, (int64_t)n[k], 0), g = mat_new(HONE_F32, 1, (int64_t)n[k], 0);
            hone_mat m = mat_new(HONE_F32, 1, (int64_t)n[k], 0), v = mat_new(HONE_F32, 1, (int64_t)n[k], 0);
            double *w = calloc(n[k], 8), *wm = calloc(n[k], 8), *wv = calloc(n[k], 8);
            hone_adamw a = {p.data, g.data, m.data, v.data, n[k], 1e-2, 0.9, 0.999, 1e-8, 0.1, 0.5, 0};

            mat_random(&p, 1);
            for (i = 0; i < n[k]; i++) {
                a.m[i] = a.v[i] = 0;
                w[i] = (double)a.p[i];
            }
            for (t = 1; t <= 3; t++) {
                a.t = t;
                mat_random(&g, 1);
                for (i = 0; i < n[k]; i++) {
                    double gr = 0.5 * (double)a.g[i];

                    w[i] *= 1 - 1e-2 * 0.1;
                    wm[i] = 0.9 * wm[i] + 0.1 * gr;
                    wv[i] = 0.999 * wv[i] + 0.001 * gr * gr;
                    w[i] -= 1e-2 * (wm[i] / (1 - pow(0.9, (double)t))) /
                            (sqrt(wv[i] / (1 - pow(0.999, (double)t))) + 1e-8);
                }
                OK(hone_adamw_step(dev, &a, err));
                for (i = 0; i < n[k]; i++)
                    assert_true(a.g[i] == 0);
            }
            check_nmse("p", &p, w, 1e-12);
            check_nmse("m", &m, wm, 1e-12);
            check_nmse("v", &v, wv, 1e-12);
            mat_free(&p);
            mat_free(&g);
            mat_free(&m);
            mat_free(&v);
            free(w);
            free(wm);
            free(wv);
        }
}

#define STATES 70001
#define BLOCKS ((STATES + HONE_ADAMW8_BLOCK - 1) / HONE_ADAMW8_BLOCK)

struct states8 {
    float p[STATES], g[STATES], m_max[BLOCKS], v_max[BLOCKS];
    uint8_t m[STATES], v[STATES];
};

static void adamw8_steps(hone_device *dev, struct states8 *s, const void *maps)
{
    hone_adamw8 a = {.p = s->p,
                     .g = s->g,
                     .m = s->m,
                     .v = s->v,
                     .m_max = s->m_max,
                     .v_max = s->v_max,
                     .maps = maps,
                     .n = STATES,
                     .lr = 1e-2,
                     .beta1 = 0.9,
                     .beta2 = 0.999,
                     .eps = 1e-8,
                     .weight_decay = 0.1,
                     .clip = 0.5};
    int i;

    memset(s, 0, sizeof *s);
    test_rng = hone_rng_make(12, 1);
    for (i = 0; i < STATES; i++)
        s->p[i] = uniform(-1, 1);
    for (a.t = 1; a.t <= 4; a.t++) {
        for (i = 0; i < STATES; i++)
            s->g[i] = uniform(-1, 1) * (i % 7 ? 1.0f : 1e-6f);
        memset(s->g + 512, 0, sizeof *s->g * 512); /* blocks that never move */
        s->g[5] = NAN;
        s->g[1100] = -INFINITY;
        s->g[1500] = 1e15f; /* everything beside it in its block is tiny */
        OK(hone_adamw8_step(dev, &a, err));
    }
}

static void moments_of_one_byte_have_the_same_bits(void **state)
{
    static const int threads[] = {1, 3};
    struct states8 *want = malloc(sizeof *want), *seen = malloc(sizeof *seen);
    void *maps = malloc(hone_adamw8_maps_size());
    hone_device *ref = device_new(HONE_ISA_REF, 1);
    int isa;
    size_t k;

    (void)state;
    assert_true(want && seen && maps);
    hone_adamw8_maps(maps);
    adamw8_steps(ref, want, maps);
    assert_true(want->m_max[1] > 0 && want->m_max[2] == 0 && want->v[1500] == 255);
    hone_device_close(ref);
    for (isa = HONE_ISA_REF; isa <= HONE_ISA_AVX512BF16; isa++)
        for (k = 0; k < HONE_COUNT(threads); k++) {
            hone_device *dev = device_new((hone_isa)isa, threads[k]);

            if (!dev)
                continue;
            adamw8_steps(dev, seen, maps);
            hone_device_close(dev);
            assert_memory_equal(seen, want, sizeof *want);
        }
    free(maps);
    free(want);
    free(seen);
}

/* ---- head ------------------------------------------------------------------------------------------------------------ */

struct hcase {
    int n, width, vocab;
    hone_dtype w, act;
    float softcap;
};

struct hrun {
    hone_mat h, dh, dw, loss, logits;
    hone_weight w;
    int32_t target[300], best[300];
    float weight[300]; /* half of the cases */
    hone_head a;
};

static void head_setup(struct hrun *r, const struct hcase *c)
{
    int i;

    memset(r, 0, sizeof *r);
    r->h = mat_new(c->act, c->n, c->width, 3);
    r->dh = mat_new(c->act, c->n, c->width, 5);
    r->dw = mat_new(HONE_F32, c->vocab, c->width, 0);
    memset(r->dw.data, 0, (size_t)(c->vocab * c->width) * sizeof(float));
    r->loss = mat_new(HONE_F32, c->n, 1, 0);
    r->logits = mat_new(HONE_F32, c->n, c->vocab, 0);
    mat_random(&r->h, 1);
    r->w = weight_new(c->w, c->vocab, c->width);
    for (i = 0; i < c->n; i++)
        r->target[i] = (int32_t)hone_rng_below(&test_rng, (uint32_t)c->vocab);
    for (i = 0; i < c->n; i++)
        r->weight[i] = 0.125f * (float)(1 + i % 13);
    r->a = (hone_head){.h = r->h,
                       .w = &r->w,
                       .target = r->target,
                       .weight = c->n % 2 ? r->weight : NULL,
                       .objective = {c->n % 3 ? 0.1f : 0, c->n % 4 ? 0 : 0.002f, c->n % 5 == 2},
                       .loss = r->loss.data,
                       .best = r->best,
                       .dh = r->dh,
                       .softcap = c->softcap,
                       .dw = r->dw.data,
                       .grad_scale = 0.25f};
}

static void head_teardown(struct hrun *r)
{
    mat_free(&r->h);
    mat_free(&r->dh);
    mat_free(&r->dw);
    mat_free(&r->loss);
    mat_free(&r->logits);
    weight_free(&r->w);
}

static void head_compare(hone_device *dev, const struct hcase *c)
{
    int n = c->n, d = c->width, vocab = c->vocab, r, v, i;
    double *dh = calloc((size_t)(n * d), 8), *loss = calloc((size_t)n, 8),
           *z = calloc((size_t)(n * vocab), 8), *dw = calloc((size_t)(vocab * d), 8), *w,
           cap = (double)c->softcap;
    /* the loss is a small difference of large sums: judged against the logits' size below */
    struct hrun run;

    head_setup(&run, c);
    w = weight_values(&run.w, c->act);
    for (r = 0; r < n; r++) {
        double max = -INFINITY, sum = 0, lse, scale = 0.25, *x = z + (size_t)r * (size_t)vocab, mean = 0, f;
        const double smoothing = (double)run.a.objective.smoothing, zc = (double)run.a.objective.z;

        for (v = 0; v < vocab; v++) {
            for (i = 0; i < d; i++)
                x[v] += get(&run.h, r, i) * w[v * d + i];
            if (cap > 0)
                x[v] = cap * tanh(x[v] / cap);
            max = fmax(max, x[v]);
        }
        for (v = 0; v < vocab; v++)
            sum += exp(x[v] - max);
        lse = max + log(sum);
        for (v = 0; v < vocab; v++)
            mean += x[v] / vocab;
        f = run.a.objective.dft ? exp(x[run.target[r]] - lse) : 1;
        loss[r] =
            f * ((1 - smoothing) * (lse - x[run.target[r]]) + smoothing * (lse - mean)) + zc * lse * lse;
        if (run.a.weight)
            scale *= (double)run.a.weight[r];
        for (v = 0; v < vocab; v++) {
            double slope = cap > 0 ? 1 - pow(x[v] / cap, 2) : 1,
                   g = scale * slope *
                       ((f + 2 * zc * lse) * exp(x[v] - lse) - f * (1 - smoothing) * (v == run.target[r]) -
                        f * smoothing / vocab);

            for (i = 0; i < d; i++) {
                dh[r * d + i] += g * w[v * d + i];
                dw[v * d + i] += g * get(&run.h, r, i);
            }
        }
    }
    OK(hone_head_logits(dev, run.logits.data, run.h, &run.w, c->softcap, err));
    check_nmse("logits", &run.logits, z, 1e-11);
    OK(hone_head_loss(dev, &run.a, err));
    if (vocab > 1) {
        check_nmse("loss", &run.loss, loss, 1e-10);
        check_nmse("dh", &run.dh, dh, c->act == HONE_F32 ? 1e-10 : 3e-5);
        check_nmse("dW", &run.dw, dw, c->act == HONE_F32 ? 1e-10 : 3e-5);
    }
    for (r = 0; r < n; r++) {
        double top = z[r * vocab + run.best[r]];

        for (v = 0; v < vocab; v++)
            assert_true(z[r * vocab + v] <= top + 1e-5);
    }
    run.a.dh.data = NULL;
    run.a.dw = NULL;
    run.a.best = NULL;
    OK(hone_head_loss(dev, &run.a, err));
    free(dh);
    free(dw);
    free(loss);
    free(z);
    free(w);
    head_teardown(&run);
}

static void head_of_every_size(void **state)
{
    static const struct hcase cases[] = {
        {1, 1, 1, HONE_F32, HONE_F32, 0},        {3, 7, 5, HONE_F32, HONE_F32, 0},
        {17, 64, 131, HONE_F16, HONE_F32, 0},    {67, 64, 2053, HONE_Q8_0, HONE_F32, 0},
        {67, 64, 2053, HONE_Q8_0, HONE_BF16, 0}, {40, 256, 333, HONE_Q6_K, HONE_F32, 0},
        {40, 256, 333, HONE_Q6_K, HONE_BF16, 0}, {280, 32, 97, HONE_F32, HONE_F32, 0},
        {33, 97, 515, HONE_BF16, HONE_BF16, 0},  {33, 97, 515, HONE_F32, HONE_F32, 0.5f},
        {40, 64, 333, HONE_F32, HONE_F32, 30},   {33, 97, 515, HONE_BF16, HONE_BF16, 2},
    };
    size_t i;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (i = 0; i < HONE_COUNT(cases); i++)
            head_compare(dev, &cases[i]);
}

/* Everything of a matrix as f64. */
static double *copy_of(const hone_mat *m)
{
    double *out = calloc((size_t)(m->rows * m->cols), sizeof *out);
    int64_t r, c;

    for (r = 0; r < m->rows; r++)
        for (c = 0; c < m->cols; c++)
            out[r * m->cols + c] = get(m, (int)r, (int)c);
    return out;
}

/* A patched table against one that has the rows itself: embedding, logits, loss, and gradients of h and of the rows. */
static void patch_compare(hone_device *dev, const struct hcase *c)
{
    const int32_t id[] = {5, 0, (int32_t)c->vocab - 1};
    const int n_ids = (int)HONE_COUNT(id), d = c->width;
    const double limit = c->act == HONE_F32 ? 1e-10 : 3e-5;
    float *table = calloc((size_t)(c->vocab * d), sizeof *table),
          *row = calloc((size_t)(n_ids * d), sizeof *row), *base = calloc((size_t)(n_ids * d), sizeof *base);
    int32_t *slot = calloc((size_t)c->vocab, sizeof *slot), ids[64], i;
    hone_mat drow = mat_new(HONE_F32, n_ids, d, 0), x = mat_new(c->act, 64, d, 1);
    hone_row_patch patch = {id, slot, row, base, drow.data, n_ids};
    hone_weight plain;
    struct hrun run;
    double *logits, *loss, *dh, *embedded, *want = calloc((size_t)(n_ids * d), sizeof *want);

    head_setup(&run, c);
    hone_weight_values(table, &run.w, 0, (int64_t)c->vocab * d);
    memset(slot, 0xff, (size_t)c->vocab * sizeof *slot);
    memset(drow.data, 0, (size_t)(n_ids * d) * sizeof(float));
    for (i = 0; i < n_ids; i++) {
        slot[id[i]] = i;
        memcpy(base + i * d, table + id[i] * d, (size_t)d * sizeof *base);
        for (int k = 0; k < d; k++)
            table[id[i] * d + k] = row[i * d + k] = 2 * (float)hone_rng_uniform(&test_rng) - 1;
    }
    for (i = 0; i < 64; i++)
        ids[i] = i % 3 ? (int32_t)hone_rng_below(&test_rng, (uint32_t)c->vocab) : id[i % n_ids];
    run.target[0] = id[0];
    run.w.patch = &patch;
    run.a.dw = NULL;
    OK(hone_embed(dev, x, &run.w, ids, 1.5f, err));
    OK(hone_head_logits(dev, run.logits.data, run.h, &run.w, c->softcap, err));
    OK(hone_head_loss(dev, &run.a, err));
    embedded = copy_of(&x);
    logits = copy_of(&run.logits);
    loss = copy_of(&run.loss);
    dh = copy_of(&run.dh);

    plain = (hone_weight){.data = table, .dtype = HONE_F32, .rows = c->vocab, .cols = d};
    run.a.w = &plain;
    run.a.dw = run.dw.data;
    OK(hone_embed(dev, x, &plain, ids, 1.5f, err));
    OK(hone_head_logits(dev, run.logits.data, run.h, &plain, c->softcap, err));
    OK(hone_head_loss(dev, &run.a, err));
    check_nmse("embedded", &x, embedded, 1e-12);
    check_nmse("logits", &run.logits, logits, limit);
    check_nmse("loss", &run.loss, loss, limit);
    check_nmse("dh", &run.dh, dh, limit);
    for (i = 0; i < n_ids * d; i++)
        want[i] = get(&run.dw, id[i / d], i % d);
    check_nmse("drow", &drow, want, limit);
    free(want);
    free(embedded);
    free(logits);
    free(loss);
    free(dh);
    free(table);
    free(row);
    free(base);
    free(slot);
    mat_free(&drow);
    mat_free(&x);
    head_teardown(&run);
}

static void rows_in_the_place_of_others(void **state)
{
    static const struct hcase cases[] = {
        {3, 7, 9, HONE_F32, HONE_F32, 0},          {17, 64, 131, HONE_F16, HONE_F32, 0},
        {67, 64, 2053, HONE_Q8_0, HONE_F32, 0},    {67, 64, 2053, HONE_Q8_0, HONE_BF16, 0},
        {40, 256, 333, HONE_Q6_K, HONE_F32, 0.5f}, {280, 32, 97, HONE_F32, HONE_F32, 0},
        {33, 97, 515, HONE_BF16, HONE_BF16, 2},
    };
    size_t i;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (i = 0; i < HONE_COUNT(cases); i++)
            patch_compare(dev, &cases[i]);
}

static void frozen_cross_entropy(void **state)
{
    static const double dh[] = {.455799853, .713316411, .077320518, .290417297};
    static const double capped[] = {.069769582, .247035582, .034439889, .172105943}; /* at 1 */
    float w[10];
    int32_t target[] = {4, 1}, best[2];
    int i;

    (void)state;
    FOR_EACH_ISA(dev, 1) {
        hone_mat h = mat_new(HONE_F32, 2, 2, 0), grad = mat_new(HONE_F32, 2, 2, 0);
        hone_weight head = {w, HONE_F32, 5, 2, NULL, NULL, NULL};
        float loss[2];
        hone_head a = {
            .h = h, .w = &head, .target = target, .loss = loss, .best = best, .dh = grad, .grad_scale = 0.5f};

        for (i = 0; i < 10; i++)
            w[i] = (float)cos(i);
        for (i = 0; i < 2; i++) { /* rows 0 and 2 of sin(1..6) */
            put(&h, 0, i, (float)sin(1 + i));
            put(&h, 1, i, (float)sin(5 + i));
        }
        OK(hone_head_loss(dev, &a, err));
        assert_true(fabs((double)(loss[0] + loss[1]) / 2 - 2.153278187) < 1e-6);
        close_to(&grad, dh, 4);
        a.softcap = 1;
        OK(hone_head_loss(dev, &a, err));
        assert_true(fabs((double)(loss[0] + loss[1]) / 2 - 1.891198011) < 1e-6);
        close_to(&grad, capped, 4);
        mat_free(&h);
        mat_free(&grad);
    }
}

/* Label smoothing, z-loss and DFT: PyTorch in f64, on the rows and the weight of frozen_cross_entropy. */
static void frozen_objectives(void **state)
{
    static const struct {
        hone_objective o;
        double loss[2], dh[4];
    } cases[] = {
        {{0.1f, 0, false}, {3.117534312, 1.167319106}, {0.441076053, 0.670992458, 0.049064378, 0.244150232}},
        {{0, 0.01f, false}, {3.270738364, 1.118352397}, {0.473177761, 0.725009872, 0.072710314, 0.283204067}},
        {{0, 0, true}, {0.128718833, 0.366557367}, {0.018224559, 0.028521020, 0.026067432, 0.097909757}},
        {{0.2f, 0.003f, true},
         {0.136018587, 0.429854181},
         {0.022260508, 0.028644523, 0.005632119, 0.064549319}},
    };
    float w[10];
    int32_t target[] = {4, 1};
    size_t k;
    int i;

    (void)state;
    for (i = 0; i < 10; i++)
        w[i] = (float)cos(i);
    FOR_EACH_ISA(dev, 1)
        for (k = 0; k < HONE_COUNT(cases); k++) {
            hone_mat h = mat_new(HONE_F32, 2, 2, 0), grad = mat_new(HONE_F32, 2, 2, 0);
            hone_weight head = {w, HONE_F32, 5, 2, NULL, NULL, NULL};
            float loss[2];
            hone_head a = {.h = h,
                           .w = &head,
                           .target = target,
                           .loss = loss,
                           .objective = cases[k].o,
                           .dh = grad,
                           .grad_scale = 0.5f};

            for (i = 0; i < 2; i++) {
                put(&h, 0, i, (float)sin(1 + i));
                put(&h, 1, i, (float)sin(5 + i));
            }
            OK(hone_head_loss(dev, &a, err));
            for (i = 0; i < 2; i++)
                assert_true(fabs((double)loss[i] - cases[k].loss[i]) < 1e-6);
            close_to(&grad, cases[k].dh, 4);
            mat_free(&h);
            mat_free(&grad);
        }
}

static void ties_go_to_the_lowest_id(void **state)
{
    float w[40 * 4] = {0}, h[4] = {1, 1, 1, 1}, loss;
    int32_t target = 1, best = -1;
    int i;

    (void)state;
    for (i = 0; i < 4; i++)
        w[9 * 4 + i] = w[23 * 4 + i] = w[39 * 4 + i] = 2;
    FOR_EACH_ISA(dev, 1) {
        hone_weight head = {w, HONE_F32, 40, 4, NULL, NULL, NULL};
        hone_head a = {.h = hone_mat_make(h, HONE_F32, 1, 4),
                       .w = &head,
                       .target = &target,
                       .loss = &loss,
                       .best = &best};

        OK(hone_head_loss(dev, &a, err));
        assert_int_equal(best, 9);
    }
}

static void threads_do_not_change_bits(void **state)
{
    static const int threads[] = {1, 2, 3, 5};
    struct hcase c[] = {{150, 64, 1031, HONE_Q8_0, HONE_F32, 0}, {150, 64, 1031, HONE_Q8_0, HONE_BF16, 0}};
    size_t k, i;
    int isa;

    (void)state;
    for (i = 0; i < HONE_COUNT(c); i++)
        for (isa = FIRST_ISA; isa <= HONE_ISA_AVX512BF16; isa++) {
            struct hrun first = {0}, r;

            for (k = 0; k < HONE_COUNT(threads); k++) {
                hone_device *dev = device_new((hone_isa)isa, threads[k]);

                if (!dev)
                    break;
                test_rng = hone_rng_make(8, 1);
                head_setup(&r, &c[i]);
                OK(hone_head_loss(dev, &r.a, err));
                OK(hone_head_logits(dev, r.logits.data, r.h, &r.w, r.a.softcap, err));
                hone_device_close(dev);
                if (k == 0) {
                    first = r;
                    continue;
                }
                mat_same_bits(&r.dh, &first.dh);
                mat_same_bits(&r.dw, &first.dw);
                mat_same_bits(&r.loss, &first.loss);
                mat_same_bits(&r.logits, &first.logits);
                head_teardown(&r);
            }
            if (first.h.data)
                head_teardown(&first);
        }
}

/* d (sum of weight * loss) / dh by central differences. */
static void head_gradient_is_a_derivative(void **state)
{
    struct hcase c = {5, 6, 11, HONE_F32, HONE_F32, 0};
    const float step = 0x1p-7f;
    struct hrun r;
    int i, j, k, side;

    (void)state;
    FOR_EACH_ISA(dev, 1) {
        double num = 0, den = 0;

        head_setup(&r, &c);
        OK(hone_head_loss(dev, &r.a, err));
        for (i = 0; i < c.n; i++)
            for (j = 0; j < c.width; j++) {
                hone_mat keep = mat_copy(&r.dh);
                float v = (float)get(&r.h, i, j);
                double sum[2] = {0}, d;

                for (side = 0; side < 2; side++) {
                    put(&r.h, i, j, side ? v - step : v + step);
                    OK(hone_head_loss(dev, &r.a, err));
                    for (k = 0; k < c.n; k++)
                        sum[side] += (double)r.weight[k] * get(&r.loss, k, 0);
                }
                put(&r.h, i, j, v);
                d = 0.25 * (sum[0] - sum[1]) / (2 * (double)step);
                num += (d - get(&keep, i, j)) * (d - get(&keep, i, j));
                den += d * d;
                memcpy((char *)r.dh.data - GUARD * 4, (char *)keep.data - GUARD * 4, mat_bytes(&keep));
                mat_free(&keep);
            }
        assert_true(sqrt(num / den) < 2e-3);
        head_teardown(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_norm_and_rotation),
        cmocka_unit_test(norm_of_every_size),
        cmocka_unit_test(weight_gradients_of_rows),
        cmocka_unit_test(rotation_of_every_size),
        cmocka_unit_test(gated_unit),
        cmocka_unit_test(sum_of_two),
        cmocka_unit_test(embedding),
        cmocka_unit_test(squares),
        cmocka_unit_test(adamw),
        cmocka_unit_test(moments_of_one_byte_have_the_same_bits),
        cmocka_unit_test(head_of_every_size),
        cmocka_unit_test(rows_in_the_place_of_others),
        cmocka_unit_test(frozen_cross_entropy),
        cmocka_unit_test(frozen_objectives),
        cmocka_unit_test(ties_go_to_the_lowest_id),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(head_gradient_is_a_derivative),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
