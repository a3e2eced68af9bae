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
    uint32_t seen; /* of the row being checked */
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
    uint32_t *touched; /* [n_rows] */
    ngrams grams;      /* reused */
    hone_buf squeezed; /* reused */
};

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the evaluation rows");
}

static int add_text(contamination *c, const json_t *text, hone_error *err)
{
    if (!json_is_string(text))
        return 0;
    c->squeezed.len = 0;
    text_squeeze(&c->squeezed, json_string_value(text), json_string_length(text));
    if (c->squeezed.failed)
        return out_of_memory(err);
    return ngrams_add(&c->grams, c->squeezed.data ? c->squeezed.data : "", c->squeezed.len, c->ngram, err);
}

/* The different n-grams of a conversation; of its question alone, or of all it says. */
static int gather(contamination *c, const json_t *root, bool question, hone_error *err)
{
    const json_t *list = json_object_get(root, "messages");
    size_t i;
    int rc = add_text(c, json_object_get(root, "text"), err);

    for (i = 0; !rc && i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(m, "role"));

        if (question && !strcmp(role, "assistant"))
            break;
        if (strcmp(role, "system") && strcmp(role, "developer"))
            rc = add_text(c, json_object_get(m, "content"), err);
    }
    ngrams_sort(&c->grams);
    return rc;
}

static int add_row(contamination *c, const hone_row *row, hone_error *err)
{
    json_t *root = json_loadb(row->conversation, row->len, 0, NULL);
    size_t i;
    int rc = root ? 0 : out_of_memory(err);

    c->grams.n = 0;
    if (!rc)
        rc = gather(c, root, true, err);
    json_decref(root);
    if (!rc && c->n_rows == c->row_capacity) {
        size_t capacity = 2 * c->row_capacity + 64;
        eval_row *grown = hone_realloc_array(c->row, capacity, sizeof *grown);

        rc = grown ? 0 : out_of_memory(err);
        c->row = grown ? grown : c->row;
        c->row_capacity = grown ? capacity : c->row_capacity;
    }
    if (!rc && c->n_postings + c->grams.n > c->posting_capacity) {
        size_t capacity = 2 * c->posting_capacity + c->grams.n;
        posting *grown = hone_realloc_array(c->posting, capacity, sizeof *grown);

        rc = grown ? 0 : out_of_memory(err);
        c->posting = grown ? grown : c->posting;
        c->posting_capacity = grown ? capacity : c->posting_capacity;
    }
    if (!rc && (c->n_rows == UINT32_MAX || c->n_postings + c->grams.n > UINT32_MAX - 1))
        rc = hone_error_set(err, HONE_ELIMIT, "the evaluation files are too large to compare with");
    if (rc)
        return rc;
    for (i = 0; i < c->grams.n; i++)
        c->posting[c->n_postings++] = (posting){c->grams.value[i], (uint32_t)c->n_rows};
    c->row[c->n_rows++] = (eval_row){row->file_index, (uint32_t)c->grams.n, row->line, 0};
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
    c->touched = hone_calloc(c->n_rows, sizeof *c->touched);
    if (!c->slot || !c->touched)
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
    hone_free(c->touched);
    hone_free(c->grams.value);
    hone_buf_clear(&c->squeezed);
    hone_free(c);
}

static const posting *find(const contamination *c, uint64_t gram)
{
    size_t at = gram & c->mask;

    while (c->slot[at] && c->posting[c->slot[at] - 1].gram != gram)
        at = (at + 1) & c->mask;
    return c->slot[at] ? &c->posting[c->slot[at] - 1] : NULL;
}

int contamination_check(contamination *c, contamination_hit *hit, const json_t *root, hone_error *err)
{
    const posting *end = c->posting + c->n_postings, *p;
    size_t i, n_touched = 0, best = SIZE_MAX;
    int rc;

    c->grams.n = 0;
    rc = gather(c, root, false, err);
    if (rc)
        return rc;
    for (i = 0; i < c->grams.n; i++)
        for (p = find(c, c->grams.value[i]); p && p < end && p->gram == c->grams.value[i]; p++)
            if (!c->row[p->row].seen++)
                c->touched[n_touched++] = p->row;
    for (i = 0; i < n_touched; i++) {
        eval_row *r = &c->row[c->touched[i]];
        double share = (double)r->seen / r->n;

        r->seen = 0;
        if (share < c->share ||
            (best != SIZE_MAX && (share < hit->share || (share == hit->share && c->touched[i] > best))))
            continue;
        best = c->touched[i];
        *hit = (contamination_hit){hone_rows_file(c->rows, r->file), r->line, best, share};
    }
    return best != SIZE_MAX;
}
