/* Scores of rows by a model: how hard is the answer, and how much does the question help?
 *
 * A row becomes one sequence, scored at its trained tokens, and, for the scores without the question, one sequence for
 * every run of trained tokens: the same ids, behind nothing but what the tokenizer itself puts before a text (its
 * beginning-of-sequence token, where it has one). Without such a token the first id of a run has nothing to be
 * predicted from and does not count. This is the direct answer score of the instruction-following difficulty (Li et al.
 * 2023, "From Quantity to Quality"), whose ratio is taken of perplexities as its authors do since "Superfiltering" (2024);
 * with the quotient of mean losses of the first paper it shares the side of 1 that a row is on.
 *
 * Sequences of many rows lie side by side in one batch of the model's engine, which keeps them apart; a row's sums are
 * complete when its last batch has run. Activations grow with the longest sequence that came, not with the context that
 * the model could take. */
#include <math.h>
#include <string.h>

#include "data/data.h"
#include "hone/train.h"
#include "model/model.h"
#include "train/batch.h"

#define MAX_SEQ 64
#define BATCH_TOKENS 2048

enum { PERPLEXITY, ALONE, IFD, UNSCORED, N_SCORES };
static const char *const score_name[N_SCORES] = {"perplexity", "perplexity_alone", "ifd", "unscored"};

enum { WHOLE, PART, N_KINDS }; /* of sequences */

typedef struct row_sums {
    double loss[N_KINDS];
    int64_t n[N_KINDS];
    double unscored;
} row_sums;

typedef struct scorer {
    hone_device *dev;
    hone_tokenizer *tokenizer;
    hone_chat *chat;
    hone_model *model;
    hone_activations *act;
    hone_packer packer;
    int score[N_SCORES]; /* [n] which one is handed out where */
    const char *name[N_SCORES];
    size_t n;
    bool alone; /* some score needs the answers by themselves */
    int32_t max_length, batch_tokens;
    int32_t *prefix; /* [n_prefix] ids before an answer that stands alone */
    size_t n_prefix;
    void (*note)(void *ud, const char *line);
    void *ud;
    bool noted_refusal, noted_cut;
    /* The batch that is being filled. */
    int32_t n_seq;
    struct {
        size_t row;
        int kind;
    } owner[MAX_SEQ];
    row_sums *sums; /* [rows] of the call */
} scorer;

/* ---- the batch ------------------------------------------------------------------------------------------------- */

static int flush(scorer *s, hone_error *err)
{
    hone_batch b = {.n_tokens = s->n_seq ? s->packer.off[s->n_seq] : 0,
                    .ids = s->packer.ids,
                    .target = s->packer.target,
                    .n_seq = s->n_seq,
                    .off = s->packer.off};
    hone_pass pass;
    int32_t i = 0, k;
    int rc;

    if (!s->n_seq)
        return 0;
    rc = hone_model_eval(s->model, NULL, s->act, &b, &pass, err);
    for (k = 0; !rc && k < s->n_seq; k++) { /* positions come in order, so sequences are runs of them */
        row_sums *sums = &s->sums[s->owner[k].row];

        for (; i < pass.n_trained && pass.position[i] < b.off[k + 1]; i++) {
            sums->loss[s->owner[k].kind] += pass.loss[i];
            sums->n[s->owner[k].kind]++;
        }
    }
    s->n_seq = 0;
    return rc;
}

/* Activations and buffers for batches of `tokens`; the batch is empty. */
static int make_room(scorer *s, int32_t tokens, hone_error *err)
{
    hone_activation_params p = {.tokens = tokens, .max_seq = MAX_SEQ};
    hone_workspace_spec ws;
    int rc;

    hone_activations_free(s->act);
    s->act = NULL;
    hone_packer_clear(&s->packer);
    s->packer.max_tokens = 0;
    hone_model_workspace_spec(&ws, s->model, NULL, &p);
    rc = hone_workspace_reserve(s->dev, &ws, err);
    if (!rc)
        rc = hone_activations_new(&s->act, s->model, NULL, &p, err);
    if (!rc)
        rc = hone_packer_init(&s->packer, tokens, MAX_SEQ, err);
    if (rc)
        s->packer.max_tokens = 0; /* the next row makes room anew */
    return rc;
}

/* Adds ids[0..n) behind prefix[0..n_prefix); mask NULL: every id is a target. Each target needs an id before it. */
static int add_sequence(scorer *s, size_t row, int kind, const int32_t *prefix, size_t n_prefix,
                        const int32_t *id, const uint8_t *mask, size_t n, hone_error *err)
{
    int32_t length = (int32_t)(n_prefix + n), at, *ids, *target;
    size_t i;
    int rc;

    if (length < 2)
        return 0;
    at = s->n_seq ? s->packer.off[s->n_seq] : 0;
    if (s->n_seq == MAX_SEQ || length > s->packer.max_tokens - at) {
        rc = flush(s, err);
        if (!rc && length > s->packer.max_tokens)
            rc = make_room(s, HONE_MAX(length, s->batch_tokens), err);
        if (rc)
            return rc;
        at = 0;
    }
    ids = s->packer.ids + at;
    target = s->packer.target + at;
    if (n_prefix)
        memcpy(ids, prefix, n_prefix * sizeof *ids);
    memcpy(ids + n_prefix, id, n * sizeof *ids);
    for (i = 0; i + 1 < (size_t)length; i++)
        target[i] = i + 1 >= n_prefix && (!mask || mask[i + 1 - n_prefix]) ? ids[i + 1] : HONE_NO_TARGET;
    target[length - 1] = HONE_NO_TARGET;
    s->owner[s->n_seq].row = row;
    s->owner[s->n_seq].kind = kind;
    s->packer.off[0] = 0;
    s->packer.off[++s->n_seq] = at + length;
    return 0;
}

/* ---- one row ----------------------------------------------------------------------------------------------------- */

static void note_once(scorer *s, bool *noted, const char *line)
{
    if (!*noted && s->note)
        s->note(s->ud, line);
    *noted = true;
}

/* 0 and the row's tokens; or 0, none and a note when the row is no good; or an error. */
static int encode(scorer *s, encoded_row *out, conversation *c, const char *text, size_t len, hone_error *err)
{
    hone_rows_options rows = {0};
    hone_dataset_options options = {.max_length = INT32_MAX};
    hone_error refusal = HONE_ERROR_INIT;
    json_t *root = json_loadb(text, len, 0, NULL);
    char line[1200];
    int rc;

    *out = (encoded_row){0};
    rc = root ? conversation_read(c, root, &rows, "conversation", 1, &refusal)
              : hone_error_set(&refusal, HONE_EFORMAT, "the conversation is no JSON object");
    json_decref(root);
    if (!rc) {
        row_text row = {c->text.data, c->text.len, c->weight, c->n_messages, 1, c->plain_text};

        rc = row_encode(out, s->chat, &row, &options, &refusal);
    }
    if (!rc)
        return 0;
    encoded_row_clear(out);
    if (rc == HONE_ENOMEM || rc == HONE_EINTERNAL)
        return hone_error_set(err, rc, "%s", refusal.message);
    snprintf(line, sizeof line, "some rows have no score, since they can not be encoded: %s",
             refusal.message);
    note_once(s, &s->noted_refusal, line);
    return 0;
}

static int add_answers(scorer *s, size_t row, const int32_t *id, const uint8_t *mask, size_t n,
                       hone_error *err)
{
    size_t i, end;
    int rc = 0;

    for (i = 0; !rc && i < n; i = end) {
        for (end = i; end < n && mask[end] == mask[i]; end++)
            ;
        if (mask[i])
            rc = add_sequence(s, row, PART, s->prefix, s->n_prefix, id + i, NULL,
                              HONE_MIN(end - i, (size_t)s->max_length - s->n_prefix), err);
    }
    return rc;
}

static int add_row(scorer *s, size_t row, conversation *c, const char *text, size_t len, hone_error *err)
{
    encoded_row e;
    const sequence *whole;
    size_t i, n, limit = (size_t)s->max_length;
    int rc = encode(s, &e, c, text, len, err);

    if (rc || !e.n_parts)
        return rc;
    whole = e.part;
    n = HONE_MIN(whole->n, limit);
    for (i = n; i < whole->n; i++)
        s->sums[row].unscored += whole->mask[i];
    if (n < whole->n)
        note_once(s, &s->noted_cut, "some rows are longer than max_length and scored on their first tokens");
    rc = add_sequence(s, row, WHOLE, NULL, 0, whole->id, whole->mask, n, err);
    if (!rc && s->alone && !c->plain_text)
        rc = add_answers(s, row, whole->id, whole->mask, n, err);
    encoded_row_clear(&e);
    return rc;
}

static double mean_exp(const row_sums *r, int kind)
{
    return r->n[kind] ? exp(r->loss[kind] / (double)r->n[kind]) : NAN;
}

static int score_rows(void *ud, const char *const *text, const size_t *len, size_t rows, double *out,
                      hone_error *err)
{
    scorer *s = ud;
    conversation c = {0};
    size_t i, k;
    int rc = 0;

    s->sums = hone_calloc(HONE_MAX(rows, 1), sizeof *s->sums);
    if (!s->sums)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the scores of %zu rows", rows);
    for (i = 0; !rc && i < rows; i++)
        rc = add_row(s, i, &c, text[i], len[i], err);
    if (!rc)
        rc = flush(s, err);
    s->n_seq = 0; /* after an error */
    for (i = 0; !rc && i < rows; i++) {
        double whole = mean_exp(&s->sums[i], WHOLE), part = mean_exp(&s->sums[i], PART);
        const double value[N_SCORES] = {whole, part, whole / part, s->sums[i].unscored};

        for (k = 0; k < s->n; k++)
            out[i * s->n + k] = value[s->score[k]];
    }
    conversation_clear(&c);
    hone_free(s->sums);
    s->sums = NULL;
    return rc;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* The ids that the tokenizer puts before a text of its own accord. */
static int find_prefix(scorer *s, hone_error *err)
{
    hone_tokens t = {0};
    hone_span all = {0, 1};
    int rc = hone_tokenizer_encode(s->tokenizer, &t, "x", 1, &all, 1, HONE_ENCODE_SPECIAL, err);

    while (!rc && s->n_prefix < t.n && t.end[s->n_prefix] == 0 &&
           hone_tokenizer_is_special(s->tokenizer, t.id[s->n_prefix]))
        s->n_prefix++;
    s->prefix = t.id;
    t.id = NULL;
    hone_tokens_clear(&t);
    return rc;
}

static int take_names(scorer *s, const hone_scorer_params *p, hone_error *err)
{
    size_t i;
    int k;

    if (!p->n || p->n > N_SCORES)
        return hone_error_set(err, HONE_EINVAL, "1 to %d scores can be asked for", N_SCORES);
    for (i = 0; i < p->n; i++) {
        for (k = 0; k < N_SCORES && strcmp(p->name[i], score_name[k]); k++)
            ;
        if (k == N_SCORES)
            return hone_error_set(err, HONE_EINVAL,
                                  "unknown score '%s'; known: perplexity, perplexity_alone, ifd, unscored",
                                  p->name[i]);
        s->score[s->n] = k;
        s->name[s->n++] = score_name[k];
        s->alone |= k == ALONE || k == IFD;
    }
    return 0;
}

void hone_scorer_close(hone_scorer *out)
{
    scorer *s = out->ud;

    if (s) {
        hone_activations_free(s->act);
        hone_packer_clear(&s->packer);
        hone_model_close(s->model);
        hone_chat_close(s->chat);
        hone_tokenizer_close(s->tokenizer);
        hone_free(s->prefix);
        hone_free(s);
    }
    memset(out, 0, sizeof *out);
}

int hone_scorer_open(hone_scorer *out, hone_device *dev, const hone_scorer_params *p, hone_error *err)
{
    scorer *s = hone_calloc(1, sizeof *s);
    int rc;

    memset(out, 0, sizeof *out);
    if (!s)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    out->ud = s;
    s->dev = dev;
    s->note = p->note;
    s->ud = p->ud;
    rc = take_names(s, p, err);
    if (!rc)
        rc = hone_tokenizer_open(&s->tokenizer, p->model, err);
    if (!rc)
        rc = hone_chat_open(&s->chat, p->model, s->tokenizer, err);
    if (!rc)
        rc = hone_model_open(&s->model, dev, p->model, &p->open, err);
    if (!rc)
        rc = find_prefix(s, err);
    if (!rc) {
        s->max_length = p->max_length > 0 ? p->max_length : s->model->w->arch.context;
        s->batch_tokens = p->batch_tokens > 0 ? p->batch_tokens : BATCH_TOKENS;
        if (s->n_prefix + 1 >= (size_t)s->max_length)
            rc = hone_error_set(err, HONE_EINVAL, "max_length %d leaves no token to score", s->max_length);
    }
    if (!rc)
        rc = make_room(s, s->batch_tokens, err);
    if (rc) {
        hone_scorer_close(out);
        return rc;
    }
    out->name = s->name;
    out->n = s->n;
    out->score = score_rows;
    return 0;
}
