/* Projections with adapters: every format, activation type and instruction set against sums in double; gradients
 * against central differences; the same bits for every number of threads. */
#include "device_test.h"

struct lcase {
    int n, in, out[HONE_MAX_PARTS];
    hone_dtype w, act;
    int rank;
    float dropout;
    bool bias, add_dx, dx, dora;
};

struct lrun {
    struct lcase c;
    int parts;
    hone_weight w[HONE_MAX_PARTS];
    float *bias[HONE_MAX_PARTS];
    hone_lora lora[HONE_MAX_PARTS];
    hone_mat a[HONE_MAX_PARTS], b[HONE_MAX_PARTS], da[HONE_MAX_PARTS], db[HONE_MAX_PARTS], u[HONE_MAX_PARTS];
    hone_mat dw[HONE_MAX_PARTS], dbias[HONE_MAX_PARTS];
    hone_mat magnitude[HONE_MAX_PARTS], norm[HONE_MAX_PARTS], dmagnitude[HONE_MAX_PARTS];
    hone_linear g;
};

/* Lengths around 1, and a row without one. */
static void add_dora(struct lrun *r, int p)
{
    int o;

    r->magnitude[p] = mat_new(HONE_F32, 1, r->c.out[p], 0);
    r->norm[p] = mat_new(HONE_F32, 1, r->c.out[p], 0);
    r->dmagnitude[p] = mat_new(HONE_F32, 1, r->c.out[p], 0);
    mat_random(&r->dmagnitude[p], 0.1f);
    for (o = 0; o < r->c.out[p]; o++) {
        put(&r->magnitude[p], 0, o, uniform(0.5f, 1.5f));
        put(&r->norm[p], 0, o, o == 3 ? 0 : uniform(0.5f, 1.5f));
    }
    r->lora[p].magnitude = r->magnitude[p].data;
    r->lora[p].norm = r->norm[p].data;
    r->lora[p].dmagnitude = r->dmagnitude[p].data;
    r->g.part[p].z = mat_new(r->c.act, r->c.n, r->c.out[p], 2);
}

static void setup(struct lrun *r, const struct lcase *c)
{
    hone_rng beside;
    int p, o;

    memset(r, 0, sizeof *r);
    r->c = *c;
    r->g.x = mat_new(c->act, c->n, c->in, 3);
    mat_random(&r->g.x, 1);
    for (p = 0; p < HONE_MAX_PARTS && c->out[p]; p++) {
        struct hone_linear_part *part = &r->g.part[p];

        r->w[p] = weight_new(c->w, c->out[p], c->in);
        if (c->bias) {
            r->bias[p] = malloc((size_t)c->out[p] * sizeof(float));
            for (o = 0; o < c->out[p]; o++)
                r->bias[p][o] = uniform(-1, 1);
            r->w[p].bias = r->bias[p];
        }
        part->w = &r->w[p];
        part->y = mat_new(c->act, c->n, c->out[p], 5);
        part->dy = mat_new(c->act, c->n, c->out[p], 1);
        mat_random(&part->dy, 1);
        r->dw[p] = mat_new(HONE_F32, c->out[p], c->in, 0);
        r->dbias[p] = mat_new(HONE_F32, 1, c->out[p], 0);
        beside = test_rng; /* the other matrices stay what they are */
        mat_random(&r->dw[p], 1);
        mat_random(&r->dbias[p], 1);
        test_rng = beside;
        part->dw = p != 1 ? r->dw[p].data : NULL; /* each alone, too */
        part->dbias = p != 2 ? r->dbias[p].data : NULL;
        if (c->rank && p != 1) { /* the middle part has no adapter */
            r->a[p] = mat_new(HONE_F32, c->rank, c->in, 0);
            r->b[p] = mat_new(HONE_F32, c->out[p], c->rank, 0);
            r->da[p] = mat_new(HONE_F32, c->rank, c->in, 0);
            r->db[p] = mat_new(HONE_F32, c->out[p], c->rank, 0);
            r->u[p] = mat_new(HONE_F32, c->n, c->rank, 0);
            mat_random(&r->a[p], 0.3f);
            mat_random(&r->b[p], 0.3f);
            mat_random(&r->da[p], 0.1f);
            mat_random(&r->db[p], 0.1f);
            r->lora[p] = (hone_lora){.r = c->rank,
                                     .scale = 1.7f,
                                     .a = r->a[p].data,
                                     .b = r->b[p].data,
                                     .da = r->da[p].data,
                                     .db = r->db[p].data,
                                     .dropout = c->dropout,
                                     .seed = 99,
                                     .stream = (uint64_t)p};
            if (c->dora)
                add_dora(r, p);
            part->lora = &r->lora[p];
            part->u = r->u[p].data;
        }
        r->parts = p + 1;
    }
    r->g.n_parts = r->parts;
    r->g.add_dx = c->add_dx;
    if (c->dx) {
        r->g.dx = mat_new(c->act, c->n, c->in, 2);
        mat_random(&r->g.dx, 1);
    }
}

static void teardown(struct lrun *r)
{
    int p;

    for (p = 0; p < r->parts; p++) {
        weight_free(&r->w[p]);
        free(r->bias[p]);
        mat_free(&r->a[p]);
        mat_free(&r->b[p]);
        mat_free(&r->da[p]);
        mat_free(&r->db[p]);
        mat_free(&r->u[p]);
        mat_free(&r->dw[p]);
        mat_free(&r->dbias[p]);
        mat_free(&r->magnitude[p]);
        mat_free(&r->norm[p]);
        mat_free(&r->dmagnitude[p]);
        mat_free(&r->g.part[p].y);
        mat_free(&r->g.part[p].z);
        mat_free(&r->g.part[p].dy);
    }
    mat_free(&r->g.x);
    mat_free(&r->g.dx);
}

static double dropped(const struct lrun *r, int p, int t, int i, double v)
{
    const hone_lora *l = &r->lora[p];

    if (l->dropout == 0)
        return v;
    return hone_dropout_keep(l->seed, l->stream, hone_dropout_index(t, r->c.in) + (uint64_t)i, l->dropout)
               ? v * (double)hone_dropout_scale(l->dropout)
               : 0;
}

/* The hardware's bf16 product rounds an adapter's factors too: where terms cancel in a matrix of few values, that shows. */
static double limit_for(hone_device *dev, hone_dtype act, int values)
{
    return act == HONE_BF16 && hone_device_has_bf16(dev) && values < 64 ? 1e-3 : limit_of(act);
}

/* What dW and dbias of part p must be after the backward pass: what they hold, and dy^T x where they are wanted. */
static void weight_gradients(const struct lrun *r, int p, double *out[2])
{
    const struct hone_linear_part *part = &r->g.part[p];
    const int in = r->c.in, rows = r->c.out[p];
    int o, i, t;

    out[0] = calloc((size_t)rows * (size_t)in, sizeof **out);
    out[1] = calloc((size_t)rows, sizeof **out);
    for (o = 0; o < rows; o++) {
        out[1][o] = get(&r->dbias[p], 0, o);
        for (t = 0; part->dbias && t < r->c.n; t++)
            out[1][o] += get(&part->dy, t, o);
        for (i = 0; i < in; i++) {
            out[0][o * in + i] = get(&r->dw[p], o, i);
            for (t = 0; part->dw && t < r->c.n; t++)
                out[0][o * in + i] += get(&part->dy, t, o) * get(&r->g.x, t, i);
        }
    }
}

/* DoRA's factor of an output, 1 without. */
static double gain(const struct lrun *r, int p, int o)
{
    const double norm = r->c.dora ? get(&r->norm[p], 0, o) : 1;

    if (!r->c.dora)
        return 1;
    return norm > 0 ? get(&r->magnitude[p], 0, o) / norm : 0;
}

/* Runs both directions on dev and compares with double. */
static void compare(hone_device *dev, const struct lcase *c)
{
    struct lrun r;
    double *dx, *w[HONE_MAX_PARTS];
    int p, t, o, i, k, n = c->n, in = c->in, rank = c->rank;

    setup(&r, c);
    dx = calloc((size_t)n * (size_t)in, sizeof *dx);
    for (p = 0; p < r.parts; p++)
        w[p] = weight_values(&r.w[p], c->act);
    if (c->dx && c->add_dx)
        for (t = 0; t < n; t++)
            for (i = 0; i < in; i++)
                dx[t * in + i] = get(&r.g.dx, t, i);
    OK(hone_linear_fwd(dev, &r.g, err));
    for (p = 0; p < r.parts; p++) {
        int out = c->out[p];
        double *y = calloc((size_t)n * (size_t)out, sizeof *y);
        double *u = calloc((size_t)(n * (rank + 1)), sizeof *u),
               *du = calloc((size_t)(n * (rank + 1)), sizeof *du);
        double *da = calloc((size_t)((rank + 1) * in), sizeof *da),
               *db = calloc((size_t)(out * (rank + 1)), sizeof *db), *dm = calloc((size_t)out, sizeof *dm),
               *z = calloc((size_t)n * (size_t)out, sizeof *z);
        const bool dora = c->dora && r.g.part[p].lora;

        for (t = 0; t < n; t++) {
            for (o = 0; o < out; o++) {
                double s = c->bias ? (double)r.bias[p][o] : 0;

                for (i = 0; i < in; i++)
                    s += get(&r.g.x, t, i) * w[p][o * in + i];
                y[t * out + o] = s;
            }
            if (r.g.part[p].lora)
                for (k = 0; k < rank; k++) {
                    for (i = 0; i < in; i++)
                        u[t * rank + k] += dropped(&r, p, t, i, get(&r.g.x, t, i)) * get(&r.a[p], k, i);
                    for (o = 0; o < out && !dora; o++)
                        y[t * out + o] += (double)r.lora[p].scale * u[t * rank + k] * get(&r.b[p], o, k);
                }
            for (o = 0; o < out && dora; o++) {
                for (i = 0; i < in; i++)
                    z[t * out + o] += dropped(&r, p, t, i, get(&r.g.x, t, i)) * w[p][o * in + i];
                y[t * out + o] -= z[t * out + o];
                for (k = 0; k < rank; k++)
                    z[t * out + o] += (double)r.lora[p].scale * u[t * rank + k] * get(&r.b[p], o, k);
                y[t * out + o] += gain(&r, p, o) * z[t * out + o];
            }
        }
        check_nmse("y", &r.g.part[p].y, y, limit_for(dev, c->act, n * out));
        if (dora) {
            check_nmse("z", &r.g.part[p].z, z, limit_for(dev, c->act, n * out));
            for (o = 0; o < out; o++)
                dm[o] = get(&r.dmagnitude[p], 0, o);
        }
        if (r.g.part[p].lora) {
            check_nmse("u", &r.u[p], u, 1e-10);
            for (k = 0; k < rank; k++) {
                for (i = 0; i < in; i++)
                    da[k * in + i] = get(&r.da[p], k, i);
                for (o = 0; o < out; o++)
                    db[o * rank + k] = get(&r.db[p], o, k);
            }
        }
        for (t = 0; t < n; t++) {
            for (o = 0; o < out; o++) {
                double d = get(&r.g.part[p].dy, t, o), dz = d;

                for (i = 0; i < in; i++)
                    dx[t * in + i] += d * w[p][o * in + i];
                if (dora) {
                    dz = gain(&r, p, o) * d;
                    for (i = 0; i < in; i++)
                        dx[t * in + i] += dropped(&r, p, t, i, (dz - d) * w[p][o * in + i]);
                    if (get(&r.norm[p], 0, o) > 0)
                        dm[o] += d * z[t * out + o] / get(&r.norm[p], 0, o);
                }
                if (r.g.part[p].lora)
                    for (k = 0; k < rank; k++) {
                        du[t * rank + k] += (double)r.lora[p].scale * dz * get(&r.b[p], o, k);
                        db[o * rank + k] += (double)r.lora[p].scale * dz * u[t * rank + k];
                    }
            }
            if (r.g.part[p].lora)
                for (k = 0; k < rank; k++)
                    for (i = 0; i < in; i++) {
                        da[k * in + i] += du[t * rank + k] * dropped(&r, p, t, i, get(&r.g.x, t, i));
                        dx[t * in + i] += dropped(&r, p, t, i, du[t * rank + k] * get(&r.a[p], k, i));
                    }
        }
        if (p == r.parts - 1) {
            double *dw[HONE_MAX_PARTS][2];

            for (i = 0; i < r.parts; i++)
                weight_gradients(&r, i, dw[i]);
            OK(hone_linear_bwd(dev, &r.g, err));
            for (i = 0; i < r.parts; i++) {
                check_nmse("dW", &r.dw[i], dw[i][0], 1e-10);
                check_nmse("dbias", &r.dbias[i], dw[i][1], c->out[i] < 8 ? 1e-9 : 1e-10);
                free(dw[i][0]);
                free(dw[i][1]);
            }
            if (c->dx)
                check_nmse("dx", &r.g.dx, dx, limit_for(dev, c->act, n * in));
        }
        /* the adapters' gradients of earlier parts are checked by a second run with that part alone */
        if (r.g.part[p].lora && p == r.parts - 1) {
            /* a single value may be a small difference of large ones */
            /* of a few products of values that were rounded to bf16 */
            const double dz = dora && c->act == HONE_BF16 ? 1e-4 : 0;

            check_nmse("dA", &r.da[p], da, HONE_MAX(dz, rank * in < 8 ? 1e-7 + 100 * dz : 1e-9));
            check_nmse("dB", &r.db[p], db, HONE_MAX(dz, rank * out < 8 ? 1e-7 + 100 * dz : 1e-9));
            if (dora)
                check_nmse("dmagnitude", &r.dmagnitude[p], dm, out < 8 ? 1e-2 : HONE_MAX(dz, 1e-9));
        }
        free(y);
        free(z);
        free(dm);
        free(u);
        free(du);
        free(da);
        free(db);
    }
    for (p = 0; p < r.parts; p++)
        free(w[p]);
    free(dx);
    teardown(&r);
}

static const hone_dtype formats[] = {HONE_F32,  HONE_F16,  HONE_BF16, HONE_Q4_0, HONE_Q4_1,
                                     HONE_Q5_0, HONE_Q5_1, HONE_Q8_0, HONE_Q4_K, HONE_Q5_K,
                                     HONE_Q6_K, HONE_NF4,  HONE_FP4};

static void every_format_and_type(void **state)
{
    size_t f, a;

    (void)state;
    FOR_EACH_ISA(dev, 2)
        for (f = 0; f < HONE_COUNT(formats); f++)
            for (a = 0; a < 2; a++) {
                hone_dtype act = a ? HONE_BF16 : HONE_F32;

                compare(dev, &(struct lcase){
                                 37, 512, {40, 8, 17}, formats[f], act, 4, 0.25f, true, true, true, false});
                compare(dev,
                        &(struct lcase){1, 512, {40, 33}, formats[f], act, 8, 0, false, false, true, false});
                compare(dev, &(struct lcase){5, 768, {300}, formats[f], act, 0, 0, true, false, true, false});
                compare(dev, &(struct lcase){
                                 37, 512, {40, 8, 17}, formats[f], act, 4, 0.25f, true, true, true, true});
                compare(dev, &(struct lcase){5, 512, {40}, formats[f], act, 4, 0, true, false, true, true});
            }
}

static void odd_sizes(void **state)
{
    static const int n[] = {1, 2, 3, 7, 13, 16, 17, 41}, in[] = {1, 2, 7, 31, 64, 97},
                     out[] = {1, 5, 16, 19, 67};
    size_t a, b, c;

    (void)state;
    FOR_EACH_ISA(dev, 3)
        for (a = 0; a < HONE_COUNT(n); a++)
            for (b = 0; b < HONE_COUNT(in); b++)
                for (c = 0; c < HONE_COUNT(out); c++)
                    compare(dev, &(struct lcase){n[a],
                                                 in[b],
                                                 {out[c]},
                                                 (a + b + c) % 2 ? HONE_F32 : HONE_BF16,
                                                 (a + b) % 3 ? HONE_F32 : HONE_BF16,
                                                 (int)(1 + (a * b + c) % 20),
                                                 c % 2 ? 0.5f : 0,
                                                 a % 2,
                                                 b % 2,
                                                 true,
                                                 (a + b + c) % 4 == 1});
}

static void larger_than_every_block(void **state)
{
    (void)state;
    FOR_EACH_ISA(dev, 2) {
        compare(dev,
                &(struct lcase){301, 576, {192, 67}, HONE_Q4_1, HONE_F32, 8, 0.1f, true, false, true, false});
        compare(dev,
                &(struct lcase){301, 576, {192, 67}, HONE_Q4_1, HONE_F32, 8, 0.1f, true, false, true, true});
        compare(dev, &(struct lcase){301, 576, {277}, HONE_Q8_0, HONE_BF16, 8, 0, true, true, true, true});
        compare(dev, &(struct lcase){70, 1280, {277}, HONE_Q6_K, HONE_F32, 64, 0, false, true, true, false});
        compare(dev,
                &(struct lcase){70, 1280, {277}, HONE_Q4_K, HONE_BF16, 33, 0.1f, false, true, true, false});
        compare(dev, &(struct lcase){67, 333, {1307}, HONE_F32, HONE_F32, 16, 0, true, false, true, false});
        compare(dev, &(struct lcase){67, 333, {1307}, HONE_BF16, HONE_BF16, 16, 0, true, false, true, false});
        compare(dev,
                &(struct lcase){29, 333, {100}, HONE_F32, HONE_F32, 16, 0.3f, true, false, false, false});
        /* blocks of scales run over the ends of rows */
        compare(dev, &(struct lcase){70, 1250, {277}, HONE_NF4, HONE_F32, 8, 0, false, true, true, false});
        compare(dev, &(struct lcase){70, 1250, {277}, HONE_FP4, HONE_BF16, 8, 0, false, true, true, false});
        compare(dev, &(struct lcase){1, 1250, {277}, HONE_NF4, HONE_F32, 8, 0, false, true, true, false});
        compare(dev, &(struct lcase){9, 1250, {277}, HONE_NF4, HONE_BF16, 8, 0, false, true, true, false});
    }
}

/* Same bits for 1, 2, 3 and 5 threads. */
static void threads_do_not_change_bits(void **state)
{
    static const int threads[] = {1, 2, 3, 5};
    static const struct lcase cases[] = {
        {193, 320, {160, 96, 33}, HONE_Q4_1, HONE_F32, 8, 0.25f, true, true, true, false},
        {193, 320, {160, 96, 33}, HONE_Q8_0, HONE_BF16, 8, 0.25f, true, false, true, false},
        {4, 320, {160, 96}, HONE_Q8_0, HONE_F32, 8, 0, true, false, true, false},
        {1, 256, {700}, HONE_Q6_K, HONE_F32, 8, 0, true, false, true, false},
        {193, 320, {160, 96, 33}, HONE_Q4_1, HONE_F32, 8, 0.25f, true, true, true, true},
        {193, 320, {160, 96}, HONE_Q8_0, HONE_BF16, 8, 0, true, false, true, true},
        {193, 320, {160, 96}, HONE_NF4, HONE_F32, 8, 0, true, false, true, false},
    };
    size_t c, k;
    int isa, p;

    (void)state;
    for (isa = FIRST_ISA; isa <= HONE_ISA_AVX512BF16; isa++)
        for (c = 0; c < HONE_COUNT(cases); c++) {
            struct lrun first = {0};

            for (k = 0; k < HONE_COUNT(threads); k++) {
                hone_device *dev = device_new((hone_isa)isa, threads[k]);
                struct lrun r;

                if (!dev)
                    break;
                test_rng = hone_rng_make(5, c);
                setup(&r, &cases[c]);
                OK(hone_linear_fwd(dev, &r.g, err));
                OK(hone_linear_bwd(dev, &r.g, err));
                hone_device_close(dev);
                if (k == 0) {
                    first = r;
                    continue;
                }
                mat_same_bits(&r.g.dx, &first.g.dx);
                for (p = 0; p < r.parts; p++) {
                    mat_same_bits(&r.g.part[p].y, &first.g.part[p].y);
                    mat_same_bits(&r.dw[p], &first.dw[p]);
                    mat_same_bits(&r.dbias[p], &first.dbias[p]);
                    if (!r.g.part[p].lora)
                        continue;
                    mat_same_bits(&r.u[p], &first.u[p]);
                    mat_same_bits(&r.da[p], &first.da[p]);
                    mat_same_bits(&r.db[p], &first.db[p]);
                    if (cases[c].dora)
                        mat_same_bits(&r.dmagnitude[p], &first.dmagnitude[p]);
                }
                teardown(&r);
            }
            teardown(&first);
        }
}

/* A row's result does not depend on which rows share the batch (beyond the switch between the two products). */
static void rows_do_not_depend_on_their_batch(void **state)
{
    struct lcase c = {90, 256, {80}, HONE_Q8_0, HONE_F32, 8, 0, true, false, true, false};
    struct lrun r;

    (void)state;
    FOR_EACH_ISA(dev, 2) {
        hone_mat y, part;

        setup(&r, &c);
        OK(hone_linear_fwd(dev, &r.g, err));
        y = mat_copy(&r.g.part[0].y);
        r.g.x.rows = r.g.part[0].y.rows = 31;
        OK(hone_linear_fwd(dev, &r.g, err));
        part = r.g.part[0].y;
        y.rows = 31;
        mat_same_bits(&part, &y);
        mat_free(&y);
        teardown(&r);
    }
}

/* d(sum of y dy) / d(x, A, B) by central differences, on forward passes in f32. */
static double objective(hone_device *dev, struct lrun *r)
{
    double s = 0;
    int p, t, o;

    OK(hone_linear_fwd(dev, &r->g, err));
    for (p = 0; p < r->parts; p++)
        for (t = 0; t < r->c.n; t++)
            for (o = 0; o < r->c.out[p]; o++)
                s += get(&r->g.part[p].y, t, o) * get(&r->g.part[p].dy, t, o);
    return s;
}

static void check_gradient(hone_device *dev, struct lrun *r, hone_mat *at, const hone_mat *grad,
                           const char *what)
{
    double num = 0, den = 0;
    const float h = 0x1p-4f; /* y is linear in x, A and B alone, so the step may be large */
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
    if (!(sqrt(num / den) < 2e-4))
        fail_msg("%s: relative error %.3g against central differences", what, sqrt(num / den));
}

static void gradients_are_derivatives(void **state)
{
    struct lcase c = {18, 9, {7, 5, 4}, HONE_F32, HONE_F32, 3, 0.4f, true, false, true, false};
    struct lrun r;
    int p, twice;

    (void)state;
    FOR_EACH_ISA(dev, 1)
        for (twice = 0; twice < 2; twice++) {
            c.dora = twice;
            setup(&r, &c);
            for (p = 0; p < 3; p += 2) {
                memset(r.da[p].data, 0, sizeof(float) * 3 * 9);
                memset(r.db[p].data, 0, sizeof(float) * 3 * (size_t)c.out[p]);
                if (c.dora)
                    memset(r.dmagnitude[p].data, 0, sizeof(float) * (size_t)c.out[p]);
            }
            objective(dev, &r);
            OK(hone_linear_bwd(dev, &r.g, err));
            check_gradient(dev, &r, &r.g.x, &r.g.dx, "dx");
            for (p = 0; p < 3; p += 2) {
                check_gradient(dev, &r, &r.a[p], &r.da[p], "dA");
                check_gradient(dev, &r, &r.b[p], &r.db[p], "dB");
                if (c.dora)
                    check_gradient(dev, &r, &r.magnitude[p], &r.dmagnitude[p], "dmagnitude");
            }
            teardown(&r);
        }
}

/* Rows of W + scale B A in double; the same bits for every number of threads. */
static void norms_are_those_of_the_merged_rows(void **state)
{
    static const struct lcase cases[] = {{1, 512, {70}, HONE_Q4_K, HONE_F32, 5, 0, 0, 0, 0, false},
                                         {1, 320, {33}, HONE_Q8_0, HONE_F32, 8, 0, 0, 0, 0, false},
                                         {1, 77, {40}, HONE_BF16, HONE_F32, 70, 0, 0, 0, 0, false}};
    size_t c;
    int o, i, k, isa, threads;

    (void)state;
    for (isa = FIRST_ISA; isa <= HONE_ISA_AVX512BF16; isa++)
        for (c = 0; c < HONE_COUNT(cases); c++) {
            const int out = cases[c].out[0], in = cases[c].in, rank = cases[c].rank;
            hone_mat norm = mat_new(HONE_F32, 1, out, 0), again = mat_new(HONE_F32, 1, out, 0);
            double *want = calloc((size_t)out, sizeof *want), *w;
            struct lrun r;

            setup(&r, &cases[c]);
            w = weight_values(&r.w[0], HONE_F32);
            for (o = 0; o < out; o++) {
                for (i = 0; i < in; i++) {
                    double v = w[o * in + i];

                    for (k = 0; k < rank; k++)
                        v += (double)r.lora[0].scale * get(&r.b[0], o, k) * get(&r.a[0], k, i);
                    want[o] += v * v;
                }
                want[o] = sqrt(want[o]);
            }
            for (threads = 1; threads <= 3; threads += 2) {
                hone_device *dev = device_new((hone_isa)isa, threads);

                if (!dev)
                    break;
                OK(hone_dora_norms(dev, threads == 1 ? norm.data : again.data, &r.w[0], &r.lora[0], err));
                hone_device_close(dev);
                if (threads == 1)
                    check_nmse("norm", &norm, want, 1e-12);
                else
                    mat_same_bits(&norm, &again);
            }
            teardown(&r);
            mat_free(&norm);
            mat_free(&again);
            free(want);
            free(w);
        }
}

static void dropout_keeps_its_share(void **state)
{
    uint64_t i, n = 200000;
    double kept = 0, pairs = 0;
    bool last = false;

    (void)state;
    for (i = 0; i < n; i++) {
        bool k = hone_dropout_keep(1, 2, i, 0.1f);

        assert_int_equal(k, hone_dropout_keep(1, 2, i, 0.1f));
        kept += k;
        pairs += k && last;
        last = k;
    }
    assert_true(fabs(kept / (double)n - 0.9) < 0.003);
    assert_true(fabs(pairs / (double)n - 0.81) < 0.004);
    assert_true(hone_dropout_keep(1, 2, 0, 0.0f));
    assert_true(hone_dropout_limit(0.05f) == 3277 && hone_dropout_limit(0.9999999f) == 65535);
    assert_true(hone_dropout_scale(0.75f) == 4 && hone_dropout_scale(0) == 1);
}

static void wrong_shapes_are_refused(void **state)
{
    hone_device *dev = device_new(HONE_ISA_REF, 1);
    struct lcase c = {3, 8, {4}, HONE_F32, HONE_F32, 2, 0, false, false, true, false};
    hone_error err = HONE_ERROR_INIT;
    struct lrun r;

    (void)state;
    setup(&r, &c);
    r.g.part[0].y.cols = 5;
    assert_int_equal(hone_linear_fwd(dev, &r.g, &err), HONE_ESHAPE);
    assert_string_equal(err.message, "linear_fwd: y is [3, 5], wanted [3, 4]");
    err.code = 0;
    r.g.part[0].y.cols = 4;
    r.w[0].cols = 7;
    assert_int_equal(hone_linear_fwd(dev, &r.g, &err), HONE_ESHAPE);
    assert_string_equal(err.message, "linear_fwd: weight is F32 [4, 7], input has 8 columns");
    r.w[0].cols = 8;
    err.code = 0;
    r.g.x.dtype = HONE_F16;
    assert_int_equal(hone_linear_fwd(dev, &r.g, &err), HONE_ESHAPE);
    r.g.x.dtype = HONE_F32;
    teardown(&r);
    hone_device_close(dev);
}

static void a_small_workspace_is_an_error(void **state)
{
    struct lcase c = {40, 64, {32}, HONE_F32, HONE_F32, 8, 0, false, false, true, false};
    struct lrun r;
    int isa;

    (void)state;
    for (isa = FIRST_ISA; isa <= HONE_ISA_AVX512BF16; isa++) {
        hone_device_params p = {1, (hone_isa)isa, false};
        hone_error err = HONE_ERROR_INIT;
        hone_device *dev;

        if (hone_device_open(&dev, &p, NULL))
            continue;
        setup(&r, &c);
        assert_int_equal(hone_linear_fwd(dev, &r.g, &err), HONE_EINTERNAL);
        assert_int_equal(hone_linear_bwd(dev, &r.g, NULL), HONE_EINTERNAL);
        teardown(&r);
        hone_device_close(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_and_type),
        cmocka_unit_test(odd_sizes),
        cmocka_unit_test(larger_than_every_block),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(rows_do_not_depend_on_their_batch),
        cmocka_unit_test(gradients_are_derivatives),
        cmocka_unit_test(norms_are_those_of_the_merged_rows),
        cmocka_unit_test(dropout_keeps_its_share),
        cmocka_unit_test(wrong_shapes_are_refused),
        cmocka_unit_test(a_small_workspace_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
