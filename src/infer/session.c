/* A session: one conversation's keys and values, and the loop that extends them token by token.
 *
 * Invariant: `held` lists exactly the ids whose keys and values the cache holds, computed with `held_adapter`. A new
 * prompt keeps their longest common prefix and computes the rest in chunks; the last prompt token is always computed,
 * for its logits. So a conversation that grows by a turn pays for that turn alone. */
#include <string.h>

#include "base/base.h"
#include "infer/sampling.h"
#include "infer/stream.h"
#include "model/model.h"

#define CHUNK 256             /* prompt positions per pass */
#define DEFAULT_CAPACITY 4096 /* most positions taken when the caller names none */

struct hone_session {
    hone_model *model;
    const hone_tokenizer *tok;
    const hone_chat *chat;
    int32_t capacity, chunk;
    hone_kv *kv;
    hone_activations *act; /* made for act_adapter: an adapter's rank decides their size */
    const hone_adapter *act_adapter;
    size_t act_bytes;
    hone_sampler *sampler;
    float *logits; /* [V] */
    int32_t *held; /* [capacity] */
    size_t n_held;
    const hone_adapter *held_adapter;
};

static hone_activation_params activation_params(int32_t capacity)
{
    hone_activation_params p = {.tokens = HONE_MIN(capacity, CHUNK), .max_seq = 1, .max_kv = capacity};

    return p;
}

/* Makes the passes ready for an adapter. The workspace belongs to the device and the last owner of compute may have
 * left it smaller, so it is reserved for every answer. */
static int prepare(hone_session *s, const hone_adapter *a, hone_error *err)
{
    hone_activation_params p = activation_params(s->capacity);
    hone_workspace_spec spec;
    int rc;

    if (!s->act || s->act_adapter != a) {
        hone_activations_free(s->act);
        s->act = NULL;
        rc = hone_activations_new(&s->act, s->model, a, &p, err);
        if (rc)
            return rc;
        s->act_adapter = a;
        s->act_bytes = hone_activations_size(s->model, a, &p);
    }
    hone_model_workspace_spec(&spec, s->model, a, &p);
    return hone_workspace_reserve(s->model->dev, &spec, err);
}

int hone_session_open(hone_session **out, hone_model *m, const hone_tokenizer *tok, const hone_chat *chat,
                      int32_t capacity, hone_error *err)
{
    const hone_arch *arch = &m->w->arch;
    hone_session *s;
    int rc;

    *out = NULL;
    if (capacity < 0)
        return hone_error_set(err, HONE_EINVAL, "a session for %d positions was asked for", capacity);
    if (capacity > arch->context)
        return hone_error_set(err, HONE_EINVAL,
                              "a session for %d positions was asked for, the model knows %d", capacity,
                              arch->context);
    s = hone_calloc(1, sizeof *s);
    if (!s)
        return hone_error_set(err, HONE_ENOMEM, "no memory for a session");
    s->model = m;
    s->tok = tok;
    s->chat = chat;
    s->capacity = capacity ? capacity : HONE_MIN(arch->context, DEFAULT_CAPACITY);
    s->chunk = HONE_MIN(s->capacity, CHUNK);
    s->logits = hone_calloc((size_t)arch->vocab, sizeof *s->logits);
    s->held = hone_calloc((size_t)s->capacity, sizeof *s->held);
    rc = s->logits && s->held ? 0 : hone_error_set(err, HONE_ENOMEM, "no memory for a session");
    if (!rc)
        rc = hone_sampler_new(&s->sampler, arch->vocab, err);
    if (!rc)
        rc = hone_kv_new(&s->kv, m, s->capacity, err);
    if (!rc)
        rc = prepare(s, NULL, err);
    if (rc) {
        hone_session_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void hone_session_close(hone_session *s)
{
    if (!s)
        return;
    hone_activations_free(s->act);
    hone_kv_free(s->kv);
    hone_sampler_free(s->sampler);
    hone_free(s->logits);
    hone_free(s->held);
    hone_free(s);
}

static size_t bytes_of(const hone_model *m, int32_t capacity, size_t act_bytes, size_t sampler_bytes)
{
    return hone_kv_size(m, capacity) + act_bytes + sampler_bytes + (size_t)m->w->arch.vocab * sizeof(float) +
           (size_t)capacity * sizeof(int32_t);
}

size_t hone_session_size(const hone_session *s)
{
    return bytes_of(s->model, s->capacity, s->act_bytes, hone_sampler_size(s->model->w->arch.vocab));
}

size_t hone_session_bytes(const hone_model *m, const hone_adapter *a, int32_t capacity)
{
    hone_activation_params p = activation_params(capacity);

    return bytes_of(m, capacity, hone_activations_size(m, a, &p), hone_sampler_size(m->w->arch.vocab));
}

/* Keeps what the cache shares with a prompt; returns the number of positions kept. */
static size_t keep_prefix(hone_session *s, const hone_adapter *a, const int32_t *ids, size_t n)
{
    size_t keep = 0;

    if (s->held_adapter == a)
        while (keep < s->n_held && keep + 1 < n && s->held[keep] == ids[keep])
            keep++;
    hone_kv_truncate(s->kv, (int32_t)keep);
    s->n_held = keep;
    s->held_adapter = a;
    return keep;
}

static int extend(hone_session *s, const hone_adapter *a, const int32_t *ids, size_t n, bool want_logits,
                  hone_error *err)
{
    int rc =
        hone_model_decode(s->model, a, s->act, s->kv, ids, (int32_t)n, want_logits ? s->logits : NULL, err);

    if (rc)
        return rc; /* the cache is as long as before */
    memcpy(s->held + s->n_held, ids, n * sizeof *ids);
    s->n_held += n;
    return 0;
}

static bool is_stop(const hone_session *s, int32_t id)
{
    const int32_t *stop;
    size_t n, i;

    if (!s->chat)
        return id == hone_tokenizer_eos(s->tok);
    stop = hone_chat_stop_ids(s->chat, &n);
    for (i = 0; i < n; i++)
        if (stop[i] == id)
            return true;
    return false;
}

static int check_request(const hone_session *s, const int32_t *ids, size_t n, const hone_sampling *sampling,
                         hone_error *err)
{
    int32_t vocab = s->model->w->arch.vocab;
    size_t i;
    int rc = hone_sampling_check(sampling, err);

    if (rc)
        return rc;
    if (n == 0)
        return hone_error_set(err, HONE_EINVAL, "the prompt is empty");
    if (n > (size_t)s->capacity)
        return hone_error_set(err, HONE_ELIMIT, "the prompt has %zu tokens, the session holds %d", n,
                              s->capacity);
    for (i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return hone_error_set(err, HONE_ERANGE,
                                  "id %d at place %zu of the prompt is not in the model's vocabulary of %d",
                                  ids[i], i, vocab);
    return 0;
}

/* The prompt's remaining chunks. *cancelled: the stream asked to stop in between. */
static int prefill(hone_session *s, const hone_adapter *a, const int32_t *ids, size_t n, size_t from,
                   hone_stream_fn stream, void *ud, bool *cancelled, hone_error *err)
{
    while (from < n) {
        size_t m = HONE_MIN(n - from, (size_t)s->chunk);
        int rc = extend(s, a, ids + from, m, from + m == n, err);

        if (rc)
            return rc;
        from += m;
        if (from < n && stream && !stream(ud, "", 0)) {
            *cancelled = true;
            return 0;
        }
    }
    return 0;
}

/* Samples until a stop id, the limit or the caller ends it. */
static int answer(hone_session *s, const hone_adapter *a, size_t limit, hone_stream_fn stream, void *ud,
                  hone_stream *text, hone_generation *out, hone_error *err)
{
    const char *piece;
    size_t len;
    int rc;

    for (;;) {
        int32_t id;

        rc = hone_sampler_next(s->sampler, &id, s->logits, err);
        if (rc)
            return rc;
        out->id[out->n++] = id;
        if (is_stop(s, id)) {
            out->finish = HONE_FINISH_STOP;
            break;
        }
        rc = hone_stream_push(text, id, &piece, &len, err);
        if (rc)
            return rc;
        if (stream && !stream(ud, piece, len)) {
            out->finish = HONE_FINISH_CANCELLED;
            break;
        }
        if (out->n == limit) {
            out->finish = HONE_FINISH_LENGTH;
            break;
        }
        rc = extend(s, a, &id, 1, true, err);
        if (rc)
            return rc;
    }
    rc = hone_stream_finish(text, &piece, &len, err);
    if (!rc && len && stream)
        stream(ud, piece, len);
    return rc;
}

int hone_session_generate(hone_session *s, const hone_adapter *a, const int32_t *ids, size_t n,
                          const hone_sampling *sampling, int32_t max_new_tokens, hone_stream_fn stream,
                          void *ud, hone_generation *out, hone_error *err)
{
    double start = hone_now();
    hone_stream text = {0};
    hone_generation g = {0};
    bool cancelled = false;
    size_t limit, kept;
    int rc;

    rc = check_request(s, ids, n, sampling, err);
    if (!rc)
        rc = prepare(s, a, err);
    if (rc)
        return rc;
    text.tok = s->tok;
    limit = (size_t)s->capacity - n + 1; /* the last token needs no place in the cache */
    if (max_new_tokens > 0)
        limit = HONE_MIN(limit, (size_t)max_new_tokens);
    g.id = hone_calloc(limit, sizeof *g.id);
    if (!g.id) {
        rc = hone_error_set(err, HONE_ENOMEM, "no memory for an answer of %zu tokens", limit);
        goto out;
    }
    kept = keep_prefix(s, a, ids, n);
    rc = prefill(s, a, ids, n, kept, stream, ud, &cancelled, err);
    if (rc)
        goto out;
    g.prompt_tokens = (int32_t)n;
    g.reused_tokens = (int32_t)kept;
    g.prompt_seconds = hone_now() - start;
    g.finish = HONE_FINISH_CANCELLED;
    if (!cancelled) {
        hone_sampler_start(s->sampler, sampling, ids, n);
        rc = answer(s, a, limit, stream, ud, &text, &g, err);
        if (rc)
            goto out;
    }
    g.text = hone_buf_take(&text.text);
    if (!g.text) {
        rc = hone_error_set(err, HONE_ENOMEM, "no memory for the text of an answer");
        goto out;
    }
    g.seconds = hone_now() - start;
    *out = g;
    memset(&g, 0, sizeof g);
out:
    hone_generation_clear(&g);
    hone_stream_clear(&text);
    return rc;
}

int hone_session_chat(hone_session *s, const hone_adapter *a, const char *conversation, size_t len,
                      const hone_sampling *sampling, int32_t max_new_tokens, hone_stream_fn stream, void *ud,
                      hone_generation *out, hone_error *err)
{
    hone_encoding e = {0};
    int rc;

    if (!s->chat)
        return hone_error_set(err, HONE_EINVAL, "the session has no chat template");
    rc = hone_chat_encode(s->chat, &e, conversation, len, HONE_CHAT_GENERATION_PROMPT, err);
    if (!rc)
        rc = hone_session_generate(s, a, e.tokens.id, e.tokens.n, sampling, max_new_tokens, stream, ud, out,
                                   err);
    hone_encoding_clear(&e);
    return rc;
}

void hone_generation_clear(hone_generation *g)
{
    hone_free(g->id);
    hone_free(g->text);
    memset(g, 0, sizeof *g);
}

const hone_generator *hone_generator_get(void)
{
    static const hone_generator table = {hone_session_bytes, hone_session_open, hone_session_generate,
                                         hone_session_close, hone_generation_clear};

    return &table;
}
