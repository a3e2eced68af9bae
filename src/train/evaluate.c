/* Evaluation: loss, perplexity and accuracy over the trained tokens of a dataset, each token with its own weight, so that
 * the figure does not depend on how rows are batched and is the one that training lowers; and `hone eval`, which compares base and tuned. */
#include "train/evaluate.h"

#include <math.h>

#include "hone/chat.h"

int hone_evaluate(hone_model *m, const hone_adapter *a, hone_activations *act, hone_packer *packer,
                  const hone_dataset *data, const uint32_t *which, size_t n, hone_eval_row_fn row,
                  void *row_ud, bool (*stop)(void *), void *stop_ud, hone_eval_result *out, hone_error *err)
{
    int64_t tokens = 0;
    double correct = 0, loss = 0, weight = 0;
    size_t first, count, s;
    int rc;

    for (first = 0; first < n; first += count) {
        size_t positions = 0, targets = 0;
        hone_batch b;
        hone_pass pass;
        int32_t i = 0;

        for (count = 0; count < (size_t)packer->max_seq && first + count < n; count++) {
            const hone_sequence q = hone_dataset_get(data, which[first + count]);

            if (count && (positions + q.n > (size_t)packer->max_tokens ||
                          targets + q.n_targets > (size_t)packer->max_targets))
                break;
            positions += q.n;
            targets += q.n_targets;
        }
        hone_packer_fill(packer, &b, data, which + first, count);
        rc = hone_model_eval(m, a, act, &b, &pass, err);
        if (rc)
            return rc;
        loss += pass.loss_sum;
        weight += pass.weight_sum;
        tokens += pass.n_trained;
        for (s = 0; s < count; s++) { /* positions come in order, so sequences are runs of them */
            hone_eval_row found = {.sequence = which[first + s]};

            for (; i < pass.n_trained && pass.position[i] < b.off[s + 1]; i++, found.tokens++) {
                double w = pass.weight ? pass.weight[i] : 1;

                found.loss_sum += pass.loss[i];
                found.weighted += w * pass.loss[i];
                found.weight += w;
                correct += pass.correct[i] * w;
            }
            if (row)
                row(row_ud, &found);
        }
        if (stop && stop(stop_ud))
            return hone_error_set(err, HONE_ECANCELLED, "evaluation was stopped");
    }
    loss /= weight > 0 ? weight : 1;
    *out = (hone_eval_result){loss, exp(loss), correct / (weight > 0 ? weight : 1), tokens, (int64_t)n};
    return 0;
}

const char *hone_adapter_mismatch(const hone_adapter *a, uint64_t template_hash, uint64_t tokenizer_hash)
{
    if (a->tokenizer_hash && a->tokenizer_hash != tokenizer_hash)
        return "the adapter was trained with another tokenizer than this model's: its answers will be worse";
    if (a->template_hash && a->template_hash != template_hash)
        return "the adapter was trained with another chat template than this model's: its answers will be "
               "worse";
    return NULL;
}

/* ---- hone eval ------------------------------------------------------------------------------------------------- */

struct rows {
    const hone_eval_params *p;
    bool tuned;
    size_t n;
};

static void each_row(void *ud, const hone_eval_row *row)
{
    struct rows *r = ud;

    if (r->p->row)
        r->p->row(r->p->ud, r->tuned, row->sequence, row->loss_sum, row->tokens);
    if (r->p->progress)
        r->p->progress(r->p->ud, r->tuned, (int64_t)row->sequence + 1, (int64_t)r->n);
}

static void tell(const hone_eval_params *p, const char *line)
{
    if (p->note && line)
        p->note(p->ud, line);
}

int hone_eval_run(const hone_eval_params *p, hone_device *dev, hone_eval_result *base,
                  hone_eval_result *tuned, hone_error *err)
{
    hone_model_params mp = p->open;
    hone_tokenizer *tok = NULL;
    hone_chat *chat = NULL;
    hone_dataset *data = NULL;
    hone_model *m = NULL;
    hone_adapter *a = NULL;
    hone_activations *act = NULL;
    hone_packer packer = {0};
    hone_dataset_options options = {.max_length = p->max_length, .overlong = HONE_OVERLONG_ERROR};
    hone_activation_params ap = {0};
    hone_workspace_spec ws;
    struct rows rows = {p, false, 0};
    uint32_t *which = NULL;
    size_t r, most = 0;
    int rc;

    if ((rc = hone_tokenizer_open(&tok, p->model, err)) || (rc = hone_chat_open(&chat, p->model, tok, err)))
        goto out;
    tell(p, hone_chat_notice(chat));
    hone_model_params_of_adapter(&mp, p->adapter);
    if ((rc = hone_model_open(&m, dev, p->model, &mp, err)) ||
        (p->adapter && (rc = hone_adapter_open(&a, m, p->adapter, err))))
        goto out;
    tell(p, hone_model_notice(m));
    if (options.max_length == 0)
        options.max_length = m->w->arch.context;
    rc = hone_dataset_open(&data, p->data, p->n_data, chat, &options, err);
    if (rc)
        goto out;
    if (a)
        tell(p, hone_adapter_mismatch(a, hone_chat_hash(chat), hone_tokenizer_hash(tok)));
    rows.n = hone_dataset_size(data);
    which = hone_calloc(rows.n, sizeof *which);
    if (!which) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for %zu rows", rows.n);
        goto out;
    }
    for (r = 0; r < rows.n; r++) {
        which[r] = (uint32_t)r;
        most = HONE_MAX(most, hone_dataset_get(data, r).n);
    }
    ap.tokens = (int32_t)HONE_MAX(most, (size_t)(p->batch_tokens > 0 ? p->batch_tokens : 2048));
    ap.max_seq = 64;
    hone_model_workspace_spec(&ws, m, a, &ap);
    if ((rc = hone_workspace_reserve(dev, &ws, err)) || (rc = hone_activations_new(&act, m, a, &ap, err)) ||
        (rc = hone_packer_init(&packer, ap.tokens, ap.max_seq, err)))
        goto out;
    rc = hone_evaluate(m, NULL, act, &packer, data, which, rows.n, each_row, &rows, NULL, NULL, base, err);
    rows.tuned = true;
    if (!rc && a)
        rc = hone_evaluate(m, a, act, &packer, data, which, rows.n, each_row, &rows, NULL, NULL, tuned, err);
out:
    hone_free(which);
    hone_packer_clear(&packer);
    hone_activations_free(act);
    hone_adapter_close(a);
    hone_model_close(m);
    hone_dataset_close(data);
    hone_chat_close(chat);
    hone_tokenizer_close(tok);
    return rc;
}
