/* The first stage: every row alone. One thread at a time cuts the next rows out of the files; the conversation, the rules,
 * the n-grams and MinHash keys of a row are made side by side; what came of them is taken in row order, so that the result
 * (and which error is reported) is the same for every number of threads. Texts that stay are put into an arena of the
 * thread that made them and are not copied again. */
#include <math.h>
#include <string.h>

#include "data/prepare.h"

#define BATCH 256                     /* rows; far more than threads, so that a long row costs little */
#define BATCH_BYTES ((size_t)1 << 20) /* a batch ends with the row that takes its text to this size */
#define TELL 4096                     /* rows between two calls of progress, at least */

typedef struct looked_at {
    prepared row;
    const char *task, *label, *group;
    dedup_digest text; /* NULL text: not compared */
} looked_at;

struct worker {
    raw_row *raw;   /* [BATCH] */
    looked_at *out; /* [BATCH] */
    size_t n;       /* rows of the batch */
    int fetch_rc;   /* why there are no more */
    hone_error fetch_err;
    size_t good; /* rows before the first error */
    int rc;      /* that error */
    hone_error err;
    uint64_t done, total; /* bytes, as the batch was fetched */
    arena arena;
    conversation c;
    ngrams grams;
    hone_buf text, squeezed;
    contamination_scratch evaluation;
    quality_scratch *scratch;
    quality_findings findings;
};

typedef struct reading {
    preparation *p;
    int rc;
    hone_error *err;
} reading;

/* ---- one row --------------------------------------------------------------------------------------------------------- */

/* What two rows are compared by: all that is said, without system prompts, a message a line. */
static void say(hone_buf *out, const json_t *root)
{
    const json_t *list = json_object_get(root, "messages"), *text = json_object_get(root, "text");
    size_t i;

    out->len = 0;
    if (text)
        hone_buf_add(out, json_string_value(text), json_string_length(text));
    for (i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i), *content = json_object_get(m, "content");
        const json_t *calls = json_object_get(m, "tool_calls");
        const char *role = json_string_value(json_object_get(m, "role"));

        if (!strcmp(role, "system") || !strcmp(role, "developer"))
            continue;
        if (content)
            hone_buf_add(out, json_string_value(content), json_string_length(content));
        if (calls)
            json_write(out, calls, NULL);
        hone_buf_putc(out, '\n');
    }
}

/* Bytes of all that is said, and of what is trained of it. */
static void measure(const conversation *c, uint64_t *all, uint64_t *trained)
{
    const json_t *list = json_object_get(c->root, "messages");
    size_t i;

    *all = *trained = json_string_length(json_object_get(c->root, "text"));
    for (i = 0; i < c->n_messages; i++) {
        size_t n = json_string_length(json_object_get(json_array_get(list, i), "content"));

        *all += n;
        *trained += c->trained[i] ? n : 0;
    }
}

/* The conversation as it is written: with the weights of turns that are not simply trained. The weight of the row, which is
 * a factor of those of its turns, is written beside it. */
static int put_line(worker *w, prepared *out, hone_error *err)
{
    conversation *c = &w->c;
    json_t *list = json_object_get(c->root, "messages");
    bool changed = false;
    size_t i;
    int rc = 0;

    for (i = 0; i < c->n_messages; i++) {
        json_t *m = json_array_get(list, i);
        float weight = c->weight[i] == c->row_weight ? 1 : c->weight[i] / c->row_weight;

        if (weight == 1 || strcmp(json_string_value(json_object_get(m, "role")), "assistant"))
            continue;
        changed = true;
        if (json_object_set_new(m, "loss_weight", weight == 0 ? json_integer(0) : json_real((double)weight)))
            return prepare_no_memory(err);
    }
    if (changed) {
        w->text.len = 0;
        rc = json_write(&w->text, c->root, err);
    }
    if (!rc && !(out->line = changed ? arena_copy(&w->arena, w->text.data, w->text.len)
                                     : arena_copy(&w->arena, c->text.data, c->text.len)))
        rc = prepare_no_memory(err);
    out->len = (uint32_t)(changed ? w->text.len : c->text.len);
    return rc;
}

/* Keeps what the rules found and looks whether one of them drops the row. */
static int keep_findings(const preparation *p, worker *w, prepared *out, hone_error *err)
{
    size_t n = w->findings.n, i;
    row_finding *list = n ? arena_take(&w->arena, n * sizeof *list) : NULL;

    if (!n)
        return 0;
    if (!list)
        return prepare_no_memory(err);
    for (i = 0; i < n; i++) {
        const quality_finding *f = &w->findings.item[i];

        list[i] = (row_finding){f->rule, f->message, f->begin, f->end,
                                arena_copy(&w->arena, f->detail, strlen(f->detail))};
        if (!list[i].detail)
            return prepare_no_memory(err);
        if (out->state == ROW_IN && quality_rule(p->quality, f->rule).action == QUALITY_DROP) {
            out->state = ROW_RULE;
            out->rule = f->rule;
        }
    }
    out->finding = list;
    out->n_findings = (uint32_t)n;
    return 0;
}

static int apply_rules(const preparation *p, worker *w, looked_at *l, uint64_t row, hone_error *err)
{
    quality_row q = {.root = w->c.root,
                     .trained = w->c.trained,
                     .n_messages = w->c.n_messages,
                     .task = w->c.task,
                     .label = w->c.label,
                     .row = row};
    void *digest = arena_take(&w->arena, quality_digest_size(p->quality));
    int rc;

    if (!digest)
        return prepare_no_memory(err);
    q.label = l->label = quality_label(p->quality, w->scratch, &q);
    if (l->label && !(l->label = arena_copy(&w->arena, l->label, strlen(l->label))))
        return prepare_no_memory(err);
    q.label = l->label;
    w->findings.n = 0;
    rc = quality_check(p->quality, w->scratch, &q, &w->findings, digest, err);
    l->row.digest = digest;
    return rc ? rc : keep_findings(p, w, &l->row, err);
}

static int check_evaluation(const preparation *p, worker *w, prepared *out, hone_error *err)
{
    contamination_hit hit, *kept;
    int rc = contamination_check(p->contamination, &w->evaluation, &hit, w->c.root, err);

    if (rc != 1)
        return rc;
    kept = arena_take(&w->arena, sizeof *kept);
    if (!kept)
        return prepare_no_memory(err);
    *kept = hit;
    out->hit = kept;
    out->state = ROW_CONTAMINATED;
    return 0;
}

static int make_digest(const preparation *p, worker *w, looked_at *l, uint64_t trained, hone_error *err)
{
    say(&w->text, w->c.root);
    w->squeezed.len = 0;
    text_squeeze(&w->squeezed, w->text.data ? w->text.data : "", w->text.len);
    if (w->text.failed || w->squeezed.failed)
        return prepare_no_memory(err);
    l->text.text = arena_copy(&w->arena, w->squeezed.data, w->squeezed.len);
    l->text.key = arena_take(&w->arena, dedup_keys(p->dedup) * sizeof *l->text.key);
    if (!l->text.text || !l->text.key)
        return prepare_no_memory(err);
    l->text.len = (uint32_t)w->squeezed.len;
    l->text.score = (float)trained;
    return dedup_make(p->dedup, &l->text, &w->grams, err);
}

static int keep_text(worker *w, const char **out, const char *text, hone_error *err)
{
    *out = text ? arena_copy(&w->arena, text, strlen(text)) : NULL;
    return text && !*out ? prepare_no_memory(err) : 0;
}

static int look_at_good(const preparation *p, worker *w, looked_at *l, uint64_t row, hone_error *err)
{
    conversation *c = &w->c;
    prepared *out = &l->row;
    uint64_t all, trained;
    size_t i;
    int rc;

    measure(c, &all, &trained);
    out->length = (uint32_t)all;
    out->weight = c->row_weight;
    out->n_messages = (uint32_t)c->n_messages;
    out->trained = (const uint8_t *)arena_copy(&w->arena, (const char *)c->trained, c->n_messages);
    for (i = 0; i < c->n_messages; i++)
        out->turns = (uint16_t)(out->turns + (c->trained[i] && out->turns < UINT16_MAX));
    rc = out->trained ? keep_text(w, &l->row.id, c->id, err) : prepare_no_memory(err);
    if (!rc)
        rc = keep_text(w, &l->task, c->task, err);
    if (!rc)
        rc = keep_text(w, &l->group, c->group, err);
    if (!rc && p->quality)
        rc = apply_rules(p, w, l, row, err);
    else if (!rc)
        rc = keep_text(w, &l->label, c->label, err);
    if (!rc && out->state == ROW_IN && p->contamination)
        rc = check_evaluation(p, w, out, err);
    if (!rc && out->state == ROW_IN && p->dedup)
        rc = make_digest(p, w, l, trained, err);
    if (!rc && (p->options->output || p->options->row || p->options->scorer))
        rc = put_line(w, out, err);
    return rc;
}

static int look_at(const preparation *p, worker *w, const raw_row *raw, looked_at *l, hone_error *err)
{
    hone_error refusal = HONE_ERROR_INIT;
    bool keep_going = p->options->rows.keep_going;
    int rc;

    *l = (looked_at){
        .row = {.file = raw->file_index, .place = raw->line, .compared = NOT_COMPARED, .weight = 1}};
    rc = rows_convert(&w->c, raw, &p->options->rows, keep_going ? &refusal : err);
    if (!rc)
        return look_at_good(p, w, l, raw->index, err);
    if (rc == HONE_ENOMEM && keep_going)
        return hone_error_set(err, rc, "%s", refusal.message);
    if (!keep_going)
        return rc;
    l->row.state = ROW_INVALID;
    return keep_text(w, &l->row.line, refusal.message, err);
}

/* ---- batches --------------------------------------------------------------------------------------------------------- */

static int fetch(void *ud, size_t thread)
{
    preparation *p = ((reading *)ud)->p;
    worker *w = &p->worker[thread];
    size_t bytes = 0;

    w->n = 0;
    while (w->n < BATCH && bytes < BATCH_BYTES && p->left) {
        int more = rows_next_raw(p->rows, &w->raw[w->n], &w->fetch_err);

        p->left = more == 1 ? p->left - 1 : 0;
        w->fetch_rc = HONE_MIN(more, 0);
        bytes += more == 1 ? w->raw[w->n].text.len : 0;
        w->n += more == 1;
    }
    rows_progress(p->rows, &w->done, &w->total);
    return w->n || w->fetch_rc;
}

static void work(void *ud, size_t thread)
{
    preparation *p = ((reading *)ud)->p;
    worker *w = &p->worker[thread];

    for (w->good = 0; !w->rc && w->good < w->n; w->good += !w->rc) {
        raw_row *raw = &w->raw[w->good];

        w->rc = look_at(p, w, raw, &w->out[w->good], &w->err);
        if (raw->text.capacity > BATCH_BYTES)
            raw_row_clear(raw); /* no batch holds more than one such row for longer than it needs it */
    }
}

static int take_row(preparation *p, looked_at *l, hone_error *err)
{
    int rc;

    if (p->n >= UINT32_MAX - 1)
        return hone_error_set(err, HONE_ELIMIT, "more than %u rows", UINT32_MAX - 1);
    p->row = hone_grow(p->row, &p->capacity, p->n + 1, sizeof *p->row);
    rc = p->n == p->capacity ? prepare_no_memory(err) : 0;
    if (!rc)
        rc = names_number(&p->task, &l->row.task, l->task, err);
    if (!rc)
        rc = names_number(&p->label, &l->row.label, l->label, err);
    if (!rc)
        rc = names_number(&p->group, &l->row.group, l->group, err);
    if (!rc && l->text.text) {
        p->of_compared =
            hone_grow(p->of_compared, &p->compared_capacity, p->n_compared + 1, sizeof *p->of_compared);
        rc = p->n_compared == p->compared_capacity ? prepare_no_memory(err) : 0;
        if (!rc)
            rc = dedup_add(p->dedup, &l->text, err);
        if (!rc) {
            l->row.compared = (uint32_t)p->n_compared;
            p->of_compared[p->n_compared++] = (uint32_t)p->n;
        }
    }
    if (!rc)
        p->row[p->n++] = l->row;
    return rc;
}

static int hand_over(void *ud, size_t thread)
{
    reading *r = ud;
    preparation *p = r->p;
    worker *w = &p->worker[thread];
    const hone_error *from = w->rc ? &w->err : &w->fetch_err;
    size_t i;

    for (i = 0; !r->rc && i < w->good; i++)
        r->rc = take_row(p, &w->out[i], r->err);
    if (!r->rc && (w->rc || w->fetch_rc))
        r->rc = hone_error_set(r->err, w->rc ? w->rc : w->fetch_rc, "%s", from->message);
    if (!r->rc && p->n - p->told >= TELL) {
        p->told = p->n;
        prepare_tell(p, "read", p->n, w->done, w->total);
    }
    return r->rc;
}

static int open_worker(const preparation *p, worker *w, hone_error *err)
{
    w->fetch_err = w->err = (hone_error)HONE_ERROR_INIT;
    w->raw = hone_calloc(BATCH, sizeof *w->raw);
    w->out = hone_calloc(BATCH, sizeof *w->out);
    if (!w->raw || !w->out)
        return prepare_no_memory(err);
    return p->quality ? quality_scratch_new(&w->scratch, p->quality, err) : 0;
}

/* Frees all but the arena, which holds the rows. */
static void close_worker(worker *w)
{
    size_t i;

    for (i = 0; w->raw && i < BATCH; i++)
        raw_row_clear(&w->raw[i]);
    hone_free(w->raw);
    hone_free(w->out);
    conversation_clear(&w->c);
    hone_free(w->grams.value);
    hone_buf_clear(&w->text);
    hone_buf_clear(&w->squeezed);
    contamination_scratch_clear(&w->evaluation);
    quality_scratch_free(w->scratch);
    hone_free(w->findings.item);
}

int prepare_read(preparation *p, hone_error *err)
{
    reading r = {.p = p, .err = err};
    data_pipeline line = {fetch, work, hand_over, &r};
    size_t threads = data_threads(p->options->threads), i;
    int rc = 0;

    p->left = p->options->max_samples > 0 ? (uint64_t)p->options->max_samples : UINT64_MAX;
    p->worker = hone_calloc(threads, sizeof *p->worker);
    if (!p->worker)
        return prepare_no_memory(err);
    for (p->n_workers = 0; !rc && p->n_workers < threads; p->n_workers++)
        rc = open_worker(p, &p->worker[p->n_workers], err);
    if (!rc)
        rc = data_pipeline_run(&line, threads, err);
    for (i = 0; i < p->n_workers; i++)
        close_worker(&p->worker[i]);
    return rc ? rc : r.rc;
}

void prepare_read_clear(preparation *p)
{
    size_t i;

    for (i = 0; i < p->n_workers; i++)
        arena_clear(&p->worker[i].arena);
    hone_free(p->worker);
}
