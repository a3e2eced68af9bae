/* Rules about all rows that are left: answers that contradict each other, outliers of form, skewed and missing labels,
 * uneven tasks. They see digests only (quality_digest.c). */
#include <stdlib.h>
#include <string.h>

#include "data/quality_impl.h"

int quality_observe(quality *q, uint64_t row, const void *d, hone_error *err)
{
    if (!q->corpus)
        return 0;
    q->seen = hone_grow(q->seen, &q->seen_capacity, q->n_seen + 1, sizeof *q->seen);
    if (q->n_seen == q->seen_capacity)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the digests of rows");
    q->seen[q->n_seen].row = row;
    memcpy(&q->seen[q->n_seen++].d, d, sizeof(digest));
    return 0;
}

int corpus_found(quality *q, const rule *r, uint64_t row, uint64_t other, hone_error *err, const char *format,
                 ...)
{
    quality_corpus_finding *f;
    va_list args;

    q->found = hone_grow(q->found, &q->found_capacity, q->n_found + 1, sizeof *q->found);
    if (q->n_found == q->found_capacity)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for findings");
    f = &q->found[q->n_found++];
    *f = (quality_corpus_finding){row, other, {.rule = r->index, .message = UINT32_MAX}};
    va_start(args, format);
    detail_format(f->finding.detail, format, args);
    va_end(args);
    return 0;
}

/* ---- answers that contradict each other ----------------------------------------------------------------------------- */

static int by_context(const void *a, const void *b)
{
    const observed *x = a, *y = b;

    if (x->d.context != y->d.context)
        return x->d.context < y->d.context ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Every row is held against the first one with the same question; both sides of a conflict are found, since nothing says
 * which is right. */
int conflict_finish(quality *q, rule *r, hone_error *err)
{
    observed *list = hone_realloc_array(NULL, q->n_seen + 1, sizeof *list);
    size_t i, n = 0, first = 0;
    bool first_found = false;
    int rc = 0;

    if (!list)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < q->n_seen; i++)
        if (q->seen[i].d.answered && q->seen[i].d.context && q->seen[i].d.asked >= r->p.question &&
            q->seen[i].d.tokens)
            list[n++] = q->seen[i];
    if (n)
        qsort(list, n, sizeof *list, by_context);
    for (i = 1; !rc && i < n; i++) {
        const digest *a = &list[first].d, *b = &list[i].d;
        double similarity;

        if (a->context != b->context) {
            first = i;
            first_found = false;
            continue;
        }
        if (a->answer == b->answer)
            continue;
        similarity = digest_similarity(a, b);
        if (similarity >= r->p.share)
            continue;
        rc = corpus_found(q, r, list[i].row, list[first].row, err, "similarity %.2f", similarity);
        if (!rc && !first_found)
            rc = corpus_found(q, r, list[first].row, list[i].row, err, "similarity %.2f", similarity);
        first_found = true;
    }
    hone_free(list);
    return rc;
}

/* ---- outliers of form ----------------------------------------------------------------------------------------------- */

static int by_task(const void *a, const void *b)
{
    const observed *x = a, *y = b;

    if (x->d.task != y->d.task)
        return x->d.task < y->d.task ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int by_label(const void *a, const void *b)
{
    const observed *x = a, *y = b;

    if (x->d.label != y->d.label)
        return x->d.label < y->d.label ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* A sorted copy of all digests. */
static int sorted(observed **out, const quality *q, int (*order)(const void *, const void *), hone_error *err)
{
    *out = hone_realloc_array(NULL, q->n_seen + 1, sizeof **out);
    if (!*out)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (q->n_seen) {
        memcpy(*out, q->seen, q->n_seen * sizeof **out);
        qsort(*out, q->n_seen, sizeof **out, order);
    }
    return 0;
}

static const char *const form_name[N_FORMS] = {"empty",   "short answer", "prose", "numbered list",
                                               "bullets", "headings",     "table", "code",
                                               "JSON",    "tool call"};

/* Short answers are prose for this purpose where prose is the rule, and the other way round: one sentence more or less is no
 * drift. Calls of tools are part of a conversation, not a form of answers. */
static enum text_form drift_form(const digest *d)
{
    return d->form == FORM_SHORT ? FORM_PROSE : (enum text_form)d->form;
}

static int drift_of_task(quality *q, rule *r, const observed *list, size_t n, hone_error *err)
{
    size_t count[N_FORMS] = {0}, i, all = 0;
    enum text_form major = FORM_NONE, form;
    int rc = 0;

    for (i = 0; i < n; i++) {
        form = drift_form(&list[i].d);
        if (form == FORM_NONE || form == FORM_CALL)
            continue;
        all++;
        if (++count[form] > count[major] || major == FORM_NONE)
            major = form;
    }
    for (i = 1; i < N_FORMS; i++)
        if (count[i] > count[major])
            major = (enum text_form)i;
    if (all < (size_t)r->p.min || (double)count[major] < r->p.share * (double)all)
        return 0;
    for (i = 0; !rc && i < n; i++) {
        form = drift_form(&list[i].d);
        if (form != FORM_NONE && form != FORM_CALL && form != major)
            rc = corpus_found(q, r, list[i].row, UINT64_MAX, err, "%s; %s in %.1f %% of %zu%s%.60s",
                              form_name[form], form_name[major], 100 * (double)count[major] / (double)all,
                              all, list[i].d.task ? ", task " : "",
                              list[i].d.task ? names_get(q->names, list[i].d.task) : "");
    }
    return rc;
}

int drift_finish(quality *q, rule *r, hone_error *err)
{
    observed *list;
    size_t i, from = 0;
    int rc = sorted(&list, q, by_task, err);

    for (i = 1; !rc && i <= q->n_seen; i++)
        if (i == q->n_seen || list[i].d.task != list[from].d.task) {
            rc = drift_of_task(q, r, list + from, i - from, err);
            from = i;
        }
    hone_free(list);
    return rc;
}

/* ---- labels and tasks ----------------------------------------------------------------------------------------------- */

typedef struct class_count {
    uint32_t name;
    size_t n;
} class_count;

static int by_size(const void *a, const void *b)
{
    const class_count *x = a, *y = b;

    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return (x->name > y->name) - (x->name < y->name);
}

/* Names with their counts, the largest first, nameless rows left out. *out is freed by the caller. */
static int count_names(class_count **out, size_t *n_out, size_t *named, quality *q, bool label,
                       hone_error *err)
{
    observed *list = NULL;
    size_t i;
    int rc = sorted(&list, q, label ? by_label : by_task, err);

    *n_out = *named = 0;
    *out = rc ? NULL : hone_realloc_array(NULL, q->n_seen + 1, sizeof **out);
    if (!rc && !*out)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; !rc && i < q->n_seen; i++) {
        uint32_t name = label ? list[i].d.label : list[i].d.task;

        if (!name)
            continue;
        ++*named;
        if (!*n_out || (*out)[*n_out - 1].name != name)
            (*out)[(*n_out)++] = (class_count){name, 0};
        (*out)[*n_out - 1].n++;
    }
    if (!rc && *n_out)
        qsort(*out, *n_out, sizeof **out, by_size);
    hone_free(list);
    return rc;
}

int label_skew_finish(quality *q, rule *r, hone_error *err)
{
    class_count *list;
    size_t n, named, i;
    int rc = count_names(&list, &n, &named, q, true, err);

    for (i = 0; !rc && named >= (size_t)r->p.min && i < n && (double)list[i].n >= r->p.share * (double)named;
         i++)
        rc = corpus_found(q, r, UINT64_MAX, UINT64_MAX, err, "`%.60s`: %zu of %zu, %.1f %%",
                          names_get(q->names, list[i].name), list[i].n, named,
                          100 * (double)list[i].n / (double)named);
    hone_free(list);
    return rc;
}

int label_missing_finish(quality *q, rule *r, hone_error *err)
{
    size_t i, labelled = 0;
    int rc = 0;

    for (i = 0; i < q->n_seen; i++)
        labelled += q->seen[i].d.label != 0;
    if (labelled < (size_t)r->p.min || (double)labelled < r->p.share * (double)q->n_seen)
        return 0;
    for (i = 0; !rc && i < q->n_seen; i++)
        if (!q->seen[i].d.label)
            rc = corpus_found(q, r, q->seen[i].row, UINT64_MAX, err, "%zu of %zu rows have one", labelled,
                              q->n_seen);
    return rc;
}

int task_imbalance_finish(quality *q, rule *r, hone_error *err)
{
    class_count *list;
    size_t n, named, i;
    int rc = count_names(&list, &n, &named, q, false, err);

    for (i = n; !rc && n > 1 && named >= (size_t)r->p.min && i-- > 1;)
        if (list[0].n >= (size_t)r->p.times * list[i].n)
            rc = corpus_found(q, r, UINT64_MAX, UINT64_MAX, err, "`%.40s`: %zu, `%.40s`: %zu",
                              names_get(q->names, list[0].name), list[0].n, names_get(q->names, list[i].name),
                              list[i].n);
    hone_free(list);
    return rc;
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

static int by_row(const void *a, const void *b)
{
    const quality_corpus_finding *x = a, *y = b;

    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    if (x->finding.rule != y->finding.rule)
        return x->finding.rule < y->finding.rule ? -1 : 1;
    return strcmp(x->finding.detail, y->finding.detail);
}

int quality_finish(quality *q, const quality_corpus_finding **out, size_t *n, hone_error *err)
{
    size_t i;
    int rc = 0;

    for (i = 0; !rc && !q->finished && i < q->n_rules; i++) {
        rule *r = &q->rule[i];
        uint64_t gave_up = r->gave_up;

        if (r->enabled && r->kind->finish)
            rc = r->kind->finish(q, r, err);
        if (!rc && gave_up)
            rc = corpus_found(q, r, UINT64_MAX, UINT64_MAX, err,
                              "a pattern takes too many steps: not looked at, %llu times",
                              (unsigned long long)gave_up);
    }
    if (!rc && !q->finished && q->n_found)
        qsort(q->found, q->n_found, sizeof *q->found, by_row);
    q->finished |= !rc;
    *out = q->found;
    *n = rc ? 0 : q->n_found;
    return rc;
}
