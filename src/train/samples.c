/* Sample answers at an evaluation, by the same engine as hone generate: greedy, so that answers of two evaluations differ by
 * what was learnt alone. The session lives during the evaluation only: its keys and values are those of the adapter as it
 * is, and its memory (a line of the plan) is free again afterwards. */
#include "train/samples.h"

int32_t hone_samples_capacity(const hone_run *r)
{
    int64_t want = (int64_t)r->held_out.longest + r->c->training.sample_max_new_tokens;

    return (int32_t)HONE_MIN(want, (int64_t)r->model->w->arch.context);
}

bool hone_samples_wanted(const hone_run *r)
{
    return r->cb.generator && r->held_out.n_questions > 0;
}

static bool go_on(void *ud, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return !hone_run_stop_wanted(ud);
}

static int answer(hone_run *r, hone_session *session, int64_t step, size_t i, hone_metrics *metrics,
                  hone_error *err)
{
    const hone_question *q = &r->held_out.question[i];
    const hone_sampling greedy = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    hone_generation g = {0};
    int rc = r->cb.generator->generate(session, r->adapter, q->id, q->n, &greedy,
                                       r->c->training.sample_max_new_tokens, go_on, r, &g, err);

    if (!rc && g.finish != HONE_FINISH_CANCELLED) {
        hone_sample s = {.step = step,
                         .index = i,
                         .count = r->held_out.n_questions,
                         .file = q->file,
                         .line = q->line,
                         .prompt = q->prompt,
                         .reference = q->reference,
                         .answer = g.text,
                         .tokens = g.n,
                         .finish = g.finish};

        rc = hone_metrics_sample(metrics, &s, err);
        if (!rc && r->cb.sample)
            r->cb.sample(r->cb.ud, &s);
    }
    r->cb.generator->clear(&g);
    return rc;
}

int hone_samples_answer(hone_run *r, int64_t step, hone_metrics *metrics,
                        const hone_workspace_spec *workspace, hone_error *err)
{
    hone_session *session = NULL;
    size_t i;
    int rc, back;

    if (!hone_samples_wanted(r))
        return 0;
    rc = r->cb.generator->open(&session, r->model, r->tok, r->chat, hone_samples_capacity(r), err);
    for (i = 0; !rc && i < r->held_out.n_questions && !hone_run_stop_wanted(r); i++)
        rc = answer(r, session, step, i, metrics, err);
    r->cb.generator->close(session);
    back = hone_workspace_reserve(r->dev, workspace,
                                  rc ? NULL : err); /* the session took it for its own passes */
    return rc ? rc : back;
}
