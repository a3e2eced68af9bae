/* Training rows that hold a question of an evaluation file. The question is what stands before the first answer, system
 * prompts left out (all of a plain text); a training row is compared with all it says, message by message, so that an
 * n-gram never crosses from one message into the next. The row is contaminated when it holds at least a given share of the
 * question's different n-grams. A message shorter than an n-gram counts as one n-gram of its own: a short question is
 * found where it stands alone. */
#include <stdlib.h>
#include <string.h>

#include "data/dedup.h"

typedef struct eval_row {
    uint32_t file, n; /* different n-grams */
    uint64_t line;
} eval_row;

typedef struct posting {
    uint64_t gram;
    uint32_t row;
} posting;

struct contamination {
    hone_rows *rows; /* keeps the names of the files */
    double share;
    int ngram;
    eval_row *row;
    size_t n_rows, row_capacity;
    posting *posting; /* sorted by gram, then row */
    size_t n_postings, posting_capacity;
    uint32_t *slot; /* [mask + 1] hash table: index + 1 of the first posting of a gram */
    size_t mask;
    contamination_scratch scratch; /* of the evaluation rows, while they are read */
};

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the evaluation rows");
}

static int add_text(const contamination *c, contamination_scratch *s, const json_t *text, hone_error *err)
{
    if (!json_is_string(text))
        return 0;
    s->squeezed.len = 0;
    text_squeeze(&s->squeezed, json_string_value(text), json_string_length(text));
    if (s->squeezed.failed)
        return out_of_memory(err);
    return ngrams_add(&s->grams, s->squeezed.data ? s->squeezed.data : "", s->squeezed.len, c->ngram, err);
}

/* The n-grams of a conversation, repeated ones too; of its question alone, or of all it says. */
static int gather(const contamination *c, contamination_scratch *s, const json_t *root, bool question,
                  hone_error *err)
{
    const json_t *list = json_object_get(root, "messages");
    size_t i;
    int rc;

    s->grams.n = 0;
    rc = add_text(c, s, json_object_get(root, "text"), err);
    for (i = 0; !rc && i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(m, "role"));

        if (question && !strcmp(role, "assistant"))
            break;
        if (strcmp(role, "system") && strcmp(role, "developer"))
            rc = add_text(c, s, json_object_get(m, "content"), err);
    }
    return rc;
}

static int add_row(contamination *c, const hone_row *row, hone_error *err)
{
    json_t *root = json_loadb(row->conversation, row->len, 0, NULL);
    ngrams *grams = &c->scratch.grams;
    size_t i;
    int rc = root ? 0 : out_of_memory(err);

    if (!rc)
        rc = gather(c, &c->scratch, root, true, err);
    if (!rc)
        ngrams_sort(grams);
    json_decref(root);
    if (!rc) {
        c->row = hone_grow(c->row, &c->row_capacity, c->n_rows + 1, sizeof *c->row);
        c->posting =
            hone_grow(c->posting, &c->posting_capacity, c->n_postings + grams->n, sizeof *c->posting);
        if (c->n_rows == c->row_capacity || c->n_postings + grams->n > c->posting_capacity)
            rc = out_of_memory(err);
    }
    if (!rc && (c->n_rows == UINT32_MAX || c->n_postings + grams->n > UINT32_MAX - 1))
        rc = hone_error_set(err, HONE_ELIMIT, "the evaluation files are too large to compare with");
    if (rc)
        return rc;
    for (i = 0; i < grams->n; i++)
        c->posting[c->n_postings++] = (posting){grams->value[i], (uint32_t)c->n_rows};
    c->row[c->n_rows++] = (eval_row){row->file_index, (uint32_t)grams->n, row->line};
    return 0;
}

static int by_gram(const void *a, const void *b)
{
    const posting *x = a, *y = b;

    if (x->gram != y->gram)
        return x->gram < y->gram ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int build_table(contamination *c, hone_error *err)
{
    size_t size = 64, i;

    while (size < 2 * c->n_postings)
        size *= 2;
    c->slot = hone_calloc(size, sizeof *c->slot);
    if (!c->slot)
        return out_of_memory(err);
    c->mask = size - 1;
    if (c->n_postings)
        qsort(c->posting, c->n_postings, sizeof *c->posting, by_gram);
    for (i = 0; i < c->n_postings; i++) {
        size_t at = c->posting[i].gram & c->mask;

        if (i && c->posting[i].gram == c->posting[i - 1].gram)
            continue;
        while (c->slot[at])
            at = (at + 1) & c->mask;
        c->slot[at] = (uint32_t)i + 1;
    }
    return 0;
}

int contamination_open(contamination **out, const char *const *paths, size_t n, const hone_rows_options *rows,
                       int ngram, double share, hone_error *err)
{
    contamination *c = hone_calloc(1, sizeof *c);
    hone_row row;
    int rc, more = 1;

    *out = NULL;
    if (!c)
        return out_of_memory(err);
    c->ngram = ngram;
    c->share = share;
    rc = hone_rows_open(&c->rows, paths, n, rows, err);
    while (!rc && (more = hone_rows_next(c->rows, &row, err)) == 1)
        rc = add_row(c, &row, err);
    rc = rc ? rc : HONE_MIN(more, 0);
    if (!rc)
        rc = build_table(c, err);
    if (rc)
        contamination_close(c);
    else
        *out = c;
    return rc;
}

void contamination_close(contamination *c)
{
    if (!c)
        return;
    hone_rows_close(c->rows);
    hone_free(c->row);
    hone_free(c->posting);
    hone_free(c->slot);
    contamination_scratch_clear(&c->scratch);
    hone_free(c);
}

void contamination_scratch_clear(contamination_scratch *s)
{
    hone_free(s->grams.value);
    hone_buf_clear(&s->squeezed);
    hone_free(s->seen);
    hone_free(s->touched);
    *s = (contamination_scratch){0};
}

static const posting *find(const contamination *c, uint64_t gram)
{
    size_t at = gram & c->mask;

    while (c->slot[at] && c->posting[c->slot[at] - 1].gram != gram)
        at = (at + 1) & c->mask;
    return c->slot[at] ? &c->posting[c->slot[at] - 1] : NULL;
}

/* Keeps those of the n-grams that the evaluation has, each once. */
static void keep_known(const contamination *c, ngrams *g)
{
    size_t i, n = 0;

    for (i = 0; i < g->n; i++)
        if (find(c, g->value[i]))
            g->value[n++] = g->value[i];
    g->n = n;
    ngrams_sort(g);
}

int contamination_check(const contamination *c, contamination_scratch *s, contamination_hit *hit,
                        const json_t *root, hone_error *err)
{
    const posting *end = c->posting + c->n_postings, *p;
    size_t i, n_touched = 0, best = SIZE_MAX;
    int rc;

    if (!s->seen) {
        s->seen = hone_calloc(c->n_rows, sizeof *s->seen);
        s->touched = hone_calloc(c->n_rows, sizeof *s->touched);
        if (!s->seen || !s->touched)
            return out_of_memory(err);
    }
    rc = gather(c, s, root, false, err);
    if (rc)
        return rc;
    keep_known(c, &s->grams);
    for (i = 0; i < s->grams.n; i++)
        for (p = find(c, s->grams.value[i]); p && p < end && p->gram == s->grams.value[i]; p++)
            if (!s->seen[p->row]++)
                s->touched[n_touched++] = p->row;
    for (i = 0; i < n_touched; i++) {
        uint32_t at = s->touched[i];
        const eval_row *r = &c->row[at];
        double share = (double)s->seen[at] / r->n;

        s->seen[at] = 0;
        if (share < c->share ||
            (best != SIZE_MAX && (share < hit->share || (share == hit->share && at > best))))
            continue;
        best = at;
        *hit = (contamination_hit){hone_rows_file(c->rows, r->file), r->line, best, share};
    }
    return best != SIZE_MAX;
}
