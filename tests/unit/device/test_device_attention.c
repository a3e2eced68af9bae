/* Attention: frozen vectors, every shape against sums in double, gradients against central differences, packed
 * against separate documents, decoding against the whole. */
#include "device_test.h"

/* ---- the oracle ---------------------------------------------------------------------------------------------- */

struct oracle {
    double *o, *lse, *dq, *dk, *dv;
};

static void oracle_free(struct oracle *w)
{
    free(w->o);
    free(w->lse);
    free(w->dq);
    free(w->dk);
    free(w->dv);
}

static struct oracle oracle_run(const hone_attention *a)
{
    int64_t n = a->q.rows, m = a->k.rows, wide = a->q.cols, narrow = a->k.cols;
    int d = a->head_size, s, h, i, j, c;
    struct oracle w = {calloc((size_t)(n * wide), 8), calloc((size_t)(n * a->n_head), 8),
                       calloc((size_t)(n * wide), 8), calloc((size_t)(m * narrow), 8),
                       calloc((size_t)(m * narrow), 8)};

    for (s = 0; s < a->n_seq; s++)
        for (h = 0; h < a->n_head; h++)
            for (i = a->q_off[s]; i < a->q_off[s + 1]; i++) {
                int kv = h / (a->n_head / a->n_kv), end = a->kv_len[s] - (a->q_off[s + 1] - i) + 1;
                int begin = a->window ? HONE_MAX(0, end - a->window) : 0;
                double *p = calloc((size_t)end, 8), max = -INFINITY, sum = 0, delta = 0, lse;

                for (j = begin; j < end; j++) {
                    for (c = 0; c < d; c++)
                        p[j] += get(&a->q, i, h * d + c) * get(&a->k, a->kv_row[s] + j, kv * d + c);
                    p[j] *= (double)a->scale;
                    if (a->softcap > 0)
                        p[j] = (double)a->softcap * tanh(p[j] / (double)a->softcap);
                    max = fmax(max, p[j]);
                }
                for (j = begin; j < end; j++)
                    sum += exp(p[j] - max);
                lse = w.lse[h * n + i] = max + log(sum);
                for (c = 0; c < d; c++) {
                    double o = 0;

                    for (j = begin; j < end; j++)
                        o += exp(p[j] - lse) * get(&a->v, a->kv_row[s] + j, kv * d + c);
                    w.o[i * wide + h * d + c] = o;
                    if (a->do_.data)
                        delta += get(&a->do_, i, h * d + c) * o;
                }
                for (j = begin; j < end && a->do_.data; j++) {
                    double prob = exp(p[j] - lse), dp = 0, ds;
                    int64_t row = a->kv_row[s] + j;

                    for (c = 0; c < d; c++)
                        dp += get(&a->do_, i, h * d + c) * get(&a->v, row, kv * d + c);
                    ds = prob * (dp - delta) * (double)a->scale;
                    if (a->softcap > 0)
                        ds *= 1 - pow(p[j] / (double)a->softcap, 2);
                    for (c = 0; c < d; c++) {
                        w.dv[row * narrow + kv * d + c] += prob * get(&a->do_, i, h * d + c);
                        w.dk[row * narrow + kv * d + c] += ds * get(&a->q, i, h * d + c);
                        w.dq[i * wide + h * d + c] += ds * get(&a->k, row, kv * d + c);
                    }
                }
                free(p);
            }
    return w;
}

/* ---- cases -------------------------------------------------------------------------------------------------------- */

struct acase {
    int n_head, n_kv, d, window, n_seq, len[6], past[6]; /* past keys before the queries; all 0 = training */
    hone_dtype act;
    float softcap;
};

struct arun {
    hone_attention a;
    hone_mat lse;
    int32_t off[8], row[8], len[8];
};

static void setup(struct arun *r, const struct acase *c, bool backward)
{
    int64_t n = 0, m = 0;
    int s;

    memset(r, 0, sizeof *r);
    for (s = 0; s < c->n_seq; s++) {
        r->off[s] = (int32_t)n;
        r->row[s] = (int32_t)m;
        r->len[s] = c->past[s] + c->len[s];
        n += c->len[s];
        m += r->len[s];
    }
    r->off[c->n_seq] = (int32_t)n;
    r->a = (hone_attention){.n_head = c->n_head,
                            .n_kv = c->n_kv,
                            .head_size = c->d,
                            .window = c->window,
                            .softcap = c->softcap,
                            .scale = 1.0f / sqrtf((float)c->d),
                            .n_seq = c->n_seq,
                            .q_off = r->off,
                            .kv_row = r->row,
                            .kv_len = r->len};
    r->a.q = mat_new(c->act, n, c->n_head * c->d, 7);
    r->a.k = mat_new(c->act, m, c->n_kv * c->d, 1);
    r->a.v = mat_new(c->act, m, c->n_kv * c->d, 3);
    r->a.o = mat_new(c->act, n, c->n_head * c->d, 2);
    r->lse = mat_new(HONE_F32, c->n_head, n, 0);
    r->a.lse = r->lse.data;
    mat_random(&r->a.q, 2);
    mat_random(&r->a.k, 2);
    mat_random(&r->a.v, 1);
    if (backward) {
        r->a.do_ = mat_new(c->act, n, c->n_head * c->d, 5);
        r->a.dq = mat_new(c->act, n, c->n_head * c->d, 1);
        r->a.dk = mat_new(c->act, m, c->n_kv * c->d, 2);
        r->a.dv = mat_new(c->act, m, c->n_kv * c->d, 9);
        mat_random(&r->a.do_, 1);
    }
}

static void teardown(struct arun *r)
{
    mat_free(&r->a.q);
    mat_free(&r->a.k);
    mat_free(&r->a.v);
    mat_free(&r->a.o);
    mat_free(&r->lse);
    mat_free(&r->a.do_);
    mat_free(&r->a.dq);
    mat_free(&r->a.dk);
    mat_free(&r->a.dv);
}

static void compare(hone_device *dev, const struct acase *c)
{
    bool backward = true;
    struct oracle w;
    struct arun r;
    int s;

    for (s = 0; s < c->n_seq; s++)
        backward &= c->past[s] == 0;
    setup(&r, c, backward);
    w = oracle_run(&r.a);
    OK(hone_attention_fwd(dev, &r.a, err));
    check_nmse("o", &r.a.o, w.o, limit_of(c->act));
    check_nmse("lse", &r.lse, w.lse, 1e-11);
    if (backward) {
        double limit = c->act == HONE_F32 ? 1e-10 : 4e-5; /* o itself is rounded in bf16 */

        OK(hone_attention_bwd(dev, &r.a, err));
        check_nmse("dv", &r.a.dv, w.dv, limit);
        /* of the first token alone dq and dk are sums that cancel to nothing */
        if (r.off[c->n_seq] > c->n_seq) {
            check_nmse("dq", &r.a.dq, w.dq, limit);
            check_nmse("dk", &r.a.dk, w.dk, limit);
        }
    }
    oracle_free(&w);
    teardown(&r);
}

static void shapes(void **state)
{
    static const struct acase cases[] = {
        {1, 1, 4, 0, 1, {1}, {0}, HONE_F32, 0},
        {2, 1, 2, 0, 1, {5}, {0}, HONE_F32, 0},
        {6, 2, 8, 0, 3, {7, 1, 33}, {0}, HONE_F32, 0},
        {9, 3, 64, 0, 2, {150, 61}, {0}, HONE_F32, 0},
        {9, 3, 64, 0, 2, {150, 61}, {0}, HONE_BF16, 0},
        {4, 2, 80, 0, 1, {97}, {0}, HONE_F32, 0},
        {2, 1, 96, 0, 1, {67}, {0}, HONE_F32, 0},
        {4, 1, 128, 0, 1, {131}, {0}, HONE_F32, 0},
        {2, 2, 128, 0, 1, {65}, {0}, HONE_BF16, 0},
        {2, 1, 256, 0, 1, {70}, {0}, HONE_F32, 0},
        {3, 3, 20, 0, 2, {64, 65}, {0}, HONE_F32, 0},
        {3, 1, 13, 0, 2, {64, 65}, {0}, HONE_BF16, 0},
        {4, 2, 64, 17, 2, {150, 10}, {0}, HONE_F32, 0},
        {4, 2, 16, 2, 1, {70}, {0}, HONE_F32, 0},
        {4, 2, 32, 64, 1, {200}, {0}, HONE_F32, 0},
        /* several tiles of keys, the first of a query's among the later ones */
        {3, 1, 16, 150, 2, {460, 140}, {0}, HONE_F32, 0},
        {14, 2, 16, 0, 2, {390, 140}, {0}, HONE_BF16, 0},
        /* decoding: one query, a few queries, many keys */
        {14, 2, 64, 0, 1, {1}, {300}, HONE_F32, 0},
        {14, 2, 64, 0, 1, {1}, {300}, HONE_BF16, 0},
        {14, 2, 64, 0, 1, {5}, {77}, HONE_F32, 0},
        {6, 3, 20, 0, 3, {1, 40, 2}, {0, 100, 9}, HONE_F32, 0},
        {6, 3, 20, 9, 3, {1, 40, 2}, {50, 100, 9}, HONE_F32, 0},
        {4, 4, 128, 0, 1, {1}, {0}, HONE_F32, 0},
        {4, 1, 96, 0, 2, {1, 1}, {129, 3}, HONE_BF16, 0},
        /* capped scores: mild, hard, with a window, decoding */
        {4, 2, 64, 0, 2, {150, 61}, {0}, HONE_F32, 50},
        {4, 2, 64, 0, 2, {150, 61}, {0}, HONE_F32, 0.5f},
        {8, 4, 256, 31, 1, {100}, {0}, HONE_F32, 3},
        {8, 4, 64, 0, 2, {70, 3}, {0}, HONE_BF16, 2},
        {14, 2, 64, 0, 1, {1}, {700}, HONE_F32, 1.5f},
    };
    size_t i;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (i = 0; i < HONE_COUNT(cases); i++)
            compare(dev, &cases[i]);
}

/* Test vectors computed in double: T=4, H=2, K=1, D=2, scale 1/sqrt 2; q = sin(1+n), k = cos(1+n), v = sin 2n,
 * do = cos n/2 over flat indices. */
static const double o_a[] = {0,           .909297427, 0,           .909297427, -.565600611, .020906121,
                             -.222338759, .560068984, .004363511,  .185053627, -.352216693, -.076894505,
                             .248552172,  .135697167, -.089284571, .443026559};
static const double lse_a[] = {.053915100, 1.091634950, 1.127556803, 1.528236771,
                               .276611992, .307712294,  1.373266857, 1.507151001};
static const double dq_a[] = {0,           0,           0,           0,           -.258920501, -.040183621,
                              -.418121983, -.064891174, -.179431020, -.147168815, .181382225,  .035288460,
                              .150690647,  .048712596,  .105982349,  .106377157};
static const double dk_a[] = {-.089251707, -.204274274, .093503278,  .142067882,
                              .011723128,  .038609014,  -.015974699, .023597378};
static const double dv_a[] = {.918431052, .427243001, -.401209032, -.320929700,
                              .482388877, .574282839, .478643182,  .351220238};
static const double dk_c[] = {-.151013873, -.258756402, .190778914, .215623032,
                              -.039765041, .043133369,  0,          0};
static const double dv_c[] = {.502665753,  .134252618, -.620417864, -.476440802,
                              -.118066351, .050781620, 1.714072541, 1.323222944};

static void check_vector(const char *what, const hone_mat *m, const double *want)
{
    int64_t i;

    for (i = 0; i < m->rows * m->cols; i++)
        if (!(fabs(get(m, i / m->cols, i % m->cols) - want[i]) < 2e-6))
            fail_msg("%s[%d] = %.9f, wanted %.9f", what, (int)i, get(m, i / m->cols, i % m->cols), want[i]);
}

static void frozen_vectors(void **state)
{
    int docs, i;

    (void)state;
    FOR_EACH_ISA(dev, 1)
        for (docs = 1; docs <= 2; docs++) {
            struct acase c = {2, 1, 2, 0, docs, {docs == 1 ? 4 : 3, 1}, {0}, HONE_F32, 0};
            struct arun r;

            setup(&r, &c, true);
            for (i = 0; i < 16; i++) {
                put(&r.a.q, i / 4, i % 4, (float)sin(1 + i));
                put(&r.a.do_, i / 4, i % 4, (float)cos(i / 2.0));
            }
            for (i = 0; i < 8; i++) {
                put(&r.a.k, i / 2, i % 2, (float)cos(1 + i));
                put(&r.a.v, i / 2, i % 2, (float)sin(2 * i));
            }
            OK(hone_attention_fwd(dev, &r.a, err));
            OK(hone_attention_bwd(dev, &r.a, err));
            if (docs == 1) {
                check_vector("o", &r.a.o, o_a);
                check_vector("lse", &r.lse, lse_a);
                check_vector("dq", &r.a.dq, dq_a);
                check_vector("dk", &r.a.dk, dk_a);
                check_vector("dv", &r.a.dv, dv_a);
            } else {
                assert_true(fabs(get(&r.lse, 0, 3) - .122068885) < 1e-6);
                assert_true(fabs(get(&r.lse, 1, 3) - .376282214) < 1e-6);
                check_vector("dk", &r.a.dk, dk_c);
                check_vector("dv", &r.a.dv, dv_c);
            }
            teardown(&r);
        }
}

static double objective(hone_device *dev, struct arun *r)
{
    double s = 0;
    int64_t i, j;

    OK(hone_attention_fwd(dev, &r->a, err));
    for (i = 0; i < r->a.o.rows; i++)
        for (j = 0; j < r->a.o.cols; j++)
            s += get(&r->a.o, i, j) * get(&r->a.do_, i, j);
    return s;
}

static void check_gradient(hone_device *dev, struct arun *r, hone_mat *at, const hone_mat *grad,
                           const char *what)
{
    double num = 0, den = 0;
    const float h = 0x1p-7f;
    int64_t i, j;

    for (i = 0; i < at->rows; i++)
        for (j = 0; j < at->cols; j++) {
            float v = (float)get(at, i, j);
            double up, down, d;

            put(at, i, j, v + h);
            up = objective(dev, r);
            put(at, i, j, v - h);
            down = objective(dev, r);
            put(at, i, j, v);
            d = (up - down) / (2 * (double)h);
            num += (d - get(grad, i, j)) * (d - get(grad, i, j));
            den += d * d;
        }
    if (!(sqrt(num / den) < 2e-3))
        fail_msg("%s: relative error %.3g against central differences", what, sqrt(num / den));
}

static void gradients_are_derivatives(void **state)
{
    struct acase c = {4, 2, 6, 3, 2, {7, 4}, {0}, HONE_F32, 0};
    struct arun r;

    (void)state;
    FOR_EACH_ISA(dev, 1) {
        setup(&r, &c, true);
        objective(dev, &r);
        OK(hone_attention_bwd(dev, &r.a, err));
        check_gradient(dev, &r, &r.a.q, &r.a.dq, "dq");
        check_gradient(dev, &r, &r.a.k, &r.a.dk, "dk");
        check_gradient(dev, &r, &r.a.v, &r.a.dv, "dv");
        teardown(&r);
    }
}

static void rows_view(hone_mat *m, int64_t from, int64_t n)
{
    m->data = (char *)m->data + (size_t)(from * m->ld) * elem(m->dtype);
    m->rows = n;
}

/* A packed batch gives the bits of its documents computed alone. */
static void packed_is_separate(void **state)
{
    struct acase c = {6, 2, 32, 0, 3, {70, 5, 129}, {0}, HONE_F32, 0};
    struct arun r;
    int s;

    (void)state;
    FOR_EACH_ISA(dev, 2) {
        setup(&r, &c, true);
        OK(hone_attention_fwd(dev, &r.a, err));
        OK(hone_attention_bwd(dev, &r.a, err));
        for (s = 0; s < 3; s++) {
            hone_attention one = r.a;
            hone_mat o = mat_copy(&r.a.o), dq = mat_copy(&r.a.dq), dk = mat_copy(&r.a.dk),
                     dv = mat_copy(&r.a.dv);
            hone_mat lse = mat_new(HONE_F32, 6, c.len[s], 0), to = o, tq = dq, tk = dk, tv = dv;
            int32_t off[2] = {0, c.len[s]}, zero = 0;

            rows_view(&one.q, r.off[s], c.len[s]);
            rows_view(&one.k, r.off[s], c.len[s]);
            rows_view(&one.v, r.off[s], c.len[s]);
            rows_view(&one.do_, r.off[s], c.len[s]);
            rows_view(&to, r.off[s], c.len[s]);
            rows_view(&tq, r.off[s], c.len[s]);
            rows_view(&tk, r.off[s], c.len[s]);
            rows_view(&tv, r.off[s], c.len[s]);
            one.o = to;
            one.dq = tq;
            one.dk = tk;
            one.dv = tv;
            one.lse = lse.data;
            one.n_seq = 1;
            one.q_off = off;
            one.kv_row = &zero;
            one.kv_len = &c.len[s];
            OK(hone_attention_fwd(dev, &one, err));
            OK(hone_attention_bwd(dev, &one, err));
            mat_same_bits(&o, &r.a.o);
            mat_same_bits(&dq, &r.a.dq);
            mat_same_bits(&dk, &r.a.dk);
            mat_same_bits(&dv, &r.a.dv);
            mat_free(&o);
            mat_free(&dq);
            mat_free(&dk);
            mat_free(&dv);
            mat_free(&lse);
        }
        teardown(&r);
    }
}

/* Queries one by one against a growing cache give the rows of the whole. */
static void decoding_is_the_whole(void **state)
{
    struct acase c = {6, 2, 64, 0, 1, {90}, {0}, HONE_F32, 0};
    struct arun r;
    int32_t i, zero = 0, off[2] = {0, 1};

    (void)state;
    FOR_EACH_ISA(dev, 2) {
        setup(&r, &c, false);
        OK(hone_attention_fwd(dev, &r.a, err));
        for (i = 0; i < 90; i++) {
            hone_attention one = r.a;
            hone_mat o = mat_new(HONE_F32, 1, 6 * 64, 0);
            int32_t len = i + 1, col;

            rows_view(&one.q, i, 1);
            one.o = o;
            one.lse = NULL;
            one.q_off = off;
            one.kv_row = &zero;
            one.kv_len = &len;
            OK(hone_attention_fwd(dev, &one, err));
            for (col = 0; col < 6 * 64; col++)
                assert_true(fabs(get(&o, 0, col) - get(&r.a.o, i, col)) < 2e-6);
            mat_free(&o);
        }
        teardown(&r);
    }
}

static void threads_do_not_change_bits(void **state)
{
    static const int threads[] = {1, 2, 3, 5};
    static const struct acase cases[] = {{6, 2, 64, 0, 2, {150, 31}, {0}, HONE_F32, 0},
                                         {6, 2, 64, 0, 2, {150, 31}, {0}, HONE_BF16, 0},
                                         {3, 1, 16, 0, 1, {600}, {0}, HONE_F32, 0},
                                         {3, 1, 16, 200, 1, {600}, {0}, HONE_BF16, 0},
                                         {6, 2, 64, 0, 1, {1}, {333}, HONE_F32, 0}};
    size_t i, k;
    int isa;

    (void)state;
    for (isa = FIRST_ISA; isa <= HONE_ISA_AVX512BF16; isa++)
        for (i = 0; i < HONE_COUNT(cases); i++) {
            bool backward = cases[i].past[0] == 0;
            struct arun first = {0};

            for (k = 0; k < HONE_COUNT(threads); k++) {
                hone_device *dev = device_new((hone_isa)isa, threads[k]);
                struct arun r;

                if (!dev)
                    break;
                test_rng = hone_rng_make(6, i);
                setup(&r, &cases[i], backward);
                OK(hone_attention_fwd(dev, &r.a, err));
                if (backward)
                    OK(hone_attention_bwd(dev, &r.a, err));
                hone_device_close(dev);
                if (k == 0) {
                    first = r;
                    continue;
                }
                mat_same_bits(&r.a.o, &first.a.o);
                mat_same_bits(&r.lse, &first.lse);
                if (backward) {
                    mat_same_bits(&r.a.dq, &first.a.dq);
                    mat_same_bits(&r.a.dk, &first.a.dk);
                    mat_same_bits(&r.a.dv, &first.a.dv);
                }
                teardown(&r);
            }
            teardown(&first);
        }
}

static void not_a_number_is_not_hidden(void **state)
{
    struct acase c = {2, 1, 16, 0, 1, {40}, {0}, HONE_F32, 0};
    struct arun r;

    (void)state;
    FOR_EACH_ISA(dev, 1) {
        setup(&r, &c, false);
        put(&r.a.k, 20, 3, NAN);
        OK(hone_attention_fwd(dev, &r.a, err));
        assert_true(isnan(get(&r.a.o, 25, 1)));
        assert_false(isnan(get(&r.a.o, 19, 1)));
        teardown(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frozen_vectors),
        cmocka_unit_test(shapes),
        cmocka_unit_test(gradients_are_derivatives),
        cmocka_unit_test(packed_is_separate),
        cmocka_unit_test(decoding_is_the_whole),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(not_a_number_is_not_hidden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
