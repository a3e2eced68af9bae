/* From a conversation to tokens and their mask.
 *
 * The conversation is rendered once, as a whole, to R, and R is tokenised once, so that no token is ever cut by a
 * border of ours. Bytes that came from a message are handed to the tokenizer as plain: they form no special token.
 *
 * The trained span of the assistant message k (the definition every other part of hone relies on):
 *   begin  P = the rendering of the messages before k with the generation prompt. Where P is a byte prefix of R, the
 *          span begins at its end; else (templates that rewrite earlier turns) at the first byte that came from k.
 *   end    after the last byte that came from k and before the first byte of a later message: the first end-of-turn
 *          token that the template wrote, included. None there: the first special token (the next turn's role token,
 *          which is what such a model stops at). None either: the end of the turn's own text.
 * A token belongs to the side where it starts.
 *
 * {% generation %} blocks do not decide: templates with and without them must give the same mask, and stock ones have
 * none. Their ranges are reported in the rendering. */
#include <string.h>
#include <time.h>

#include "text/chat_impl.h"
#include "text/chat_json.h"

typedef struct conversation {
    json_t *root;
    const json_t *messages;
    json_t *tools, *kwargs; /* owned */
    const json_t *documents;
    size_t n;
} conversation;

static void clear_conversation(conversation *c)
{
    json_decref(c->tools);
    json_decref(c->kwargs);
    json_decref(c->root);
    memset(c, 0, sizeof *c);
}

/* A value that rows carry as JSON or as a string that holds JSON. *out is owned, NULL for absent, null and "". */
static int embedded(json_t **out, const json_t *object, const char *key, bool want_object, hone_error *err)
{
    json_t *v = json_object_get(object, key);
    json_error_t problem;

    *out = NULL;
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)))
        return 0;
    if (json_is_string(v)) {
        v = json_loadb(json_string_value(v), json_string_length(v), JSON_ALLOW_NUL | JSON_DECODE_ANY,
                       &problem);
        if (!v)
            return hone_error_set(err, HONE_EFORMAT, "\"%s\" is a string that holds no JSON: %s", key,
                                  problem.text);
        if (json_is_null(v)) {
            json_decref(v);
            return 0;
        }
        *out = v;
    } else {
        *out = json_incref(v);
    }
    if (want_object ? !json_is_object(*out) : !json_is_array(*out))
        return hone_error_set(err, HONE_EFORMAT, "\"%s\" must be %s", key,
                              want_object ? "an object" : "a list");
    return 0;
}

/* Takes the parts of `root`, which is borrowed. */
static int open_conversation(conversation *c, json_t *root, hone_error *err)
{
    int rc = 0;

    memset(c, 0, sizeof *c);
    c->root = json_incref(root);
    c->messages = json_is_array(c->root) ? c->root : json_object_get(c->root, "messages");
    if (!json_is_array(c->messages))
        return hone_error_set(err, HONE_EFORMAT, "the conversation has no list \"messages\"");
    c->n = json_array_size(c->messages);
    if (!c->n)
        return hone_error_set(err, HONE_EINVAL, "the conversation has no message");
    if (c->root == c->messages)
        return 0;
    rc = embedded(&c->tools, c->root, "tools", false, err);
    if (!rc)
        rc = embedded(&c->kwargs, c->root, "chat_template_kwargs", true, err);
    c->documents = json_object_get(c->root, "documents");
    if (!rc && c->documents && json_is_null(c->documents))
        c->documents = NULL;
    if (!rc && c->documents && !json_is_array(c->documents))
        rc = hone_error_set(err, HONE_EFORMAT, "\"documents\" must be a list");
    return rc;
}

static int parse_text(json_t **root, const char *text, size_t len, hone_error *err)
{
    json_error_t problem;

    *root = json_loadb(text, len, JSON_ALLOW_NUL, &problem);
    return *root ? 0
                 : hone_error_set(err, HONE_EFORMAT, "conversation, line %d, column %d: %s", problem.line,
                                  problem.column, problem.text);
}

static int parse_conversation(conversation *c, const char *text, size_t len, hone_error *err)
{
    json_t *root;
    int rc = parse_text(&root, text, len, err);

    memset(c, 0, sizeof *c);
    if (!rc)
        rc = open_conversation(c, root, err);
    json_decref(root);
    return rc;
}

/* The first n messages. */
static int render(const hone_chat *chat, const conversation *c, size_t n, bool prompt, int64_t now,
                  hone_rendering *out, hone_error *err)
{
    hone_template_input in = {.vars = chat->vars,
                              .messages = c->messages,
                              .n_messages = n,
                              .tools = c->tools,
                              .documents = c->documents,
                              .kwargs = c->kwargs,
                              .generation_prompt = prompt,
                              .now = now};

    return hone_template_render(c->tools && chat->tool_use ? chat->tool_use : chat->plain, &in, out, err);
}

int hone_chat_render(const hone_chat *chat, hone_rendering *out, const char *text, size_t len, unsigned flags,
                     hone_error *err)
{
    conversation c;
    int rc = parse_conversation(&c, text, len, err);

    if (!rc)
        rc = render(chat, &c, c.n, flags & HONE_CHAT_GENERATION_PROMPT, (int64_t)time(NULL), out, err);
    clear_conversation(&c);
    return rc;
}

/* ---- tokens of a rendering ------------------------------------------------------------------------------------------ */

static int tokenise(const hone_chat *chat, const hone_rendering *r, hone_tokens *out, hone_error *err)
{
    hone_span *plain = NULL;
    size_t n = 0, capacity = 0, i, j;
    int rc = 0;

    if (!chat->tok)
        return hone_error_set(err, HONE_EINVAL, "the chat was opened without a tokenizer");
    for (i = 0; i < r->len; i = j) {
        for (j = i + 1; j < r->len && !r->origin[j] == !r->origin[i]; j++)
            ;
        if (!r->origin[i])
            continue;
        plain = hone_grow(plain, &capacity, n + 1, sizeof *plain);
        if (n == capacity) {
            rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
            goto out;
        }
        plain[n++] = (hone_span){i, j};
    }
    rc = hone_tokenizer_encode(chat->tok, out, r->text, r->len, plain, n, 0, err);
out:
    hone_free(plain);
    return rc;
}

/* First token that starts at or after byte `at`. */
static size_t token_from(const hone_tokens *t, size_t at)
{
    size_t low = 0, high = t->n, mid;

    while (low < high) {
        mid = (low + high) / 2;
        if (t->begin[mid] < at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool is_template_text(const hone_rendering *r, size_t begin, size_t end)
{
    for (; begin < end; begin++)
        if (r->origin[begin])
            return false;
    return true;
}

/* First token in the bytes [from, to) that the template wrote and that ends a turn (any_special false) or is special
 * at all; tokens.n if there is none. */
static size_t find_marker_token(const hone_chat *chat, const hone_rendering *r, const hone_tokens *t,
                                size_t from, size_t to, bool any_special)
{
    size_t i;

    for (i = token_from(t, from); i < t->n && t->begin[i] < to; i++) {
        if (any_special ? !hone_tokenizer_is_special(chat->tok, t->id[i])
                        : !hone_id_set_has(&chat->eot, t->id[i]))
            continue;
        if (t->end[i] > t->begin[i] && is_template_text(r, t->begin[i], t->end[i]))
            return i;
    }
    return t->n;
}

/* ---- the span of a turn ----------------------------------------------------------------------------------------------- */

typedef struct turn_span {
    bool found;
    size_t begin, end;
    size_t eot; /* its end-of-turn token, tokens.n if none */
} turn_span;

typedef struct encoder {
    const hone_chat *chat;
    const conversation *c;
    const hone_rendering *r;
    const hone_tokens *t;
    int64_t now;
} encoder;

/* Length of the rendering of the first n messages when it is a prefix of R; 0 when it is not, or is refused. */
static int prefix_length(const encoder *e, size_t n, bool prompt, size_t *len, hone_error *err)
{
    hone_rendering p = {0};
    hone_error why = HONE_ERROR_INIT;
    int rc = render(e->chat, e->c, n, prompt, e->now, &p, &why);

    *len = 0;
    if (rc == HONE_ENOMEM)
        return hone_error_set(err, rc, "%s", why.message);
    if (!rc && p.len <= e->r->len && !memcmp(p.text, e->r->text, p.len))
        *len = p.len;
    hone_rendering_clear(&p);
    return 0;
}

/* In [from, *to): one past the last byte of message k (from when there is none). *to moves down to the first byte of
 * a later message. */
static size_t own_end(const hone_rendering *r, uint32_t k, size_t from, size_t *to)
{
    size_t i, end = from;

    for (i = from; i < *to; i++) {
        if (r->origin[i] == k + 1)
            end = i + 1;
        else if (r->origin[i] > k + 1 && r->origin[i] != HONE_ORIGIN_OTHER) {
            *to = i;
            break;
        }
    }
    return end;
}

static int find_span(const encoder *e, size_t k, turn_span *span, hone_error *err)
{
    const hone_rendering *r = e->r;
    const uint32_t origin = (uint32_t)k + 1;
    size_t begin = 0, to = r->len, own, whole, marker;
    int rc = 0;

    memset(span, 0, sizeof *span);
    span->eot = e->t->n;
    if (k > 0) /* there is no conversation before the first message */
        rc = prefix_length(e, k, true, &begin, err);
    if (rc)
        return rc;
    if (!begin) {
        while (begin < r->len && r->origin[begin] != origin)
            begin++;
        if (begin == r->len)
            return 0;
    }
    own = own_end(r, (uint32_t)k, begin, &to);
    whole = 0;
    if (find_marker_token(e->chat, r, e->t, begin, own, false) < e->t->n) {
        /* An end of turn amid the bytes of this message: it has several parts, or a later turn repeats some of it
         * (a tool's answer that shows the name of the call). The rendering up to this message tells. */
        rc = prefix_length(e, k + 1, false, &whole, err);
        if (rc)
            return rc;
        if (whole > begin && whole < to) {
            to = whole;
            own = own_end(r, (uint32_t)k, begin, &to);
        }
    }
    span->found = true;
    span->begin = begin;
    marker = find_marker_token(e->chat, r, e->t, own, to, false);
    span->eot = marker;
    if (marker == e->t->n)
        marker = find_marker_token(e->chat, r, e->t, own, to, true);
    if (marker < e->t->n) {
        span->end = e->t->end[marker];
        return 0;
    }
    if (!whole)
        rc = prefix_length(e, k + 1, false, &whole, err);
    span->end = whole > own && whole <= to ? whole : own;
    return rc;
}

static bool is_assistant(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));

    return role && !strcmp(role, "assistant");
}

static bool straddles(const hone_tokens *t, size_t at)
{
    size_t i = token_from(t, at);

    return i > 0 && t->end[i - 1] > at;
}

static int mask_turns(const encoder *e, hone_encoding *out, hone_error *err)
{
    turn_span span;
    size_t k, i;
    int rc;

    for (k = 0; k < e->c->n; k++) {
        if (!is_assistant(json_array_get(e->c->messages, k)))
            continue;
        rc = find_span(e, k, &span, err);
        if (rc)
            return rc;
        if (!span.found) {
            out->eot_trained = false;
            continue;
        }
        for (i = token_from(e->t, span.begin); i < e->t->n && e->t->begin[i] < span.end; i++) {
            if (out->mask[i])
                continue;
            out->mask[i] = 1;
            out->turn[i] = (int32_t)k;
            out->n_trained++;
        }
        out->straddled += straddles(e->t, span.begin) + straddles(e->t, span.end);
        if (span.eot < e->t->n && !out->mask[span.eot])
            out->eot_trained = false;
    }
    return 0;
}

int hone_chat_encode_json(const hone_chat *chat, hone_encoding *out, json_t *root, unsigned flags,
                          hone_error *err)
{
    bool prompt = flags & HONE_CHAT_GENERATION_PROMPT;
    encoder e = {.chat = chat, .now = (int64_t)time(NULL)};
    conversation c;
    size_t i;
    int rc = open_conversation(&c, root, err);

    if (!rc)
        rc = render(chat, &c, c.n, prompt, e.now, &out->rendering, err);
    if (!rc)
        rc = tokenise(chat, &out->rendering, &out->tokens, err);
    if (rc)
        goto out;
    out->mask = hone_calloc(out->tokens.n, 1);
    out->turn = hone_alloc(out->tokens.n * sizeof *out->turn);
    if (!out->mask || !out->turn) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
        goto out;
    }
    for (i = 0; i < out->tokens.n; i++)
        out->turn[i] = -1;
    out->eot_trained = true;
    e.c = &c;
    e.r = &out->rendering;
    e.t = &out->tokens;
    if (!prompt)
        rc = mask_turns(&e, out, err);
out:
    clear_conversation(&c);
    if (rc)
        hone_encoding_clear(out);
    return rc;
}

int hone_chat_encode(const hone_chat *chat, hone_encoding *out, const char *text, size_t len, unsigned flags,
                     hone_error *err)
{
    json_t *root;
    int rc = parse_text(&root, text, len, err);

    if (!rc)
        rc = hone_chat_encode_json(chat, out, root, flags, err);
    json_decref(root);
    return rc;
}

void hone_encoding_clear(hone_encoding *e)
{
    hone_tokens_clear(&e->tokens);
    hone_free(e->mask);
    hone_free(e->turn);
    hone_rendering_clear(&e->rendering);
    memset(e, 0, sizeof *e);
}

/* ---- the template's own end of turn ------------------------------------------------------------------------------------ */

int hone_chat_probe_eot(const hone_chat *chat, int32_t *id, hone_error *err)
{
    static const char dialogue[] =
        "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
        "{\"role\":\"user\",\"content\":\"c\"}]";
    hone_rendering r = {0};
    hone_tokens t = {0};
    hone_error why = HONE_ERROR_INIT;
    conversation c;
    size_t n, from, to, marker;
    int rc = parse_conversation(&c, dialogue, sizeof dialogue - 1, err);

    *id = -1;
    for (n = 3; !rc && n >= 2 && *id < 0; n--) {
        why.code = 0;
        rc = render(chat, &c, n, false, (int64_t)time(NULL), &r, &why);
        if (rc) { /* a template that refuses this dialogue names no token; running out of memory is an error */
            rc = rc == HONE_ENOMEM ? hone_error_set(err, rc, "%s", why.message) : 0;
            continue;
        }
        rc = tokenise(chat, &r, &t, err);
        for (from = 0; from < r.len && r.origin[from] != 2; from++)
            ;
        if (!rc && from < r.len) {
            to = r.len;
            from = own_end(&r, 1, from, &to);
            marker = find_marker_token(chat, &r, &t, from, to, false);
            if (marker == t.n)
                marker = find_marker_token(chat, &r, &t, from, to, true);
            if (marker < t.n)
                *id = t.id[marker];
        }
        hone_tokens_clear(&t);
        hone_rendering_clear(&r);
    }
    clear_conversation(&c);
    return rc;
}
