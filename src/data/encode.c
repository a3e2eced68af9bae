/* One conversation as token sequences. The chat layer renders, tokenises and finds the trained spans; here the row's
 * own switches are applied, the checks that no run may skip are made, and a row that is too long meets the policy.
 *
 * Splitting cuts before a turn of the user, so that every part is a conversation of its own: the leading system
 * messages, then as many exchanges as fit. A part is rendered anew, since templates write differently at the start of
 * a conversation. */
#include <string.h>

#include "data/data.h"
#include "text/chat_json.h"

static void sequence_clear(sequence *s)
{
    hone_free(s->id);
    hone_free(s->mask);
    hone_free(s->run);
    *s = (sequence){0};
}

void encoded_row_clear(encoded_row *r)
{
    size_t i;

    for (i = 0; i < r->n_parts; i++)
        sequence_clear(&r->part[i]);
    hone_free(r->part);
    *r = (encoded_row){0};
}

/* The mask's targets among the first n tokens; token 0 is never one, nothing predicts it. */
static size_t count_targets(const uint8_t *mask, size_t n)
{
    size_t i, targets = 0;

    for (i = 1; i < n; i++)
        targets += mask[i];
    return targets;
}

/* From token `at` on, targets weigh `weight`. */
static int add_run(sequence *s, size_t at, float weight, hone_error *err)
{
    hone_weight_run *list = hone_realloc_array(s->run, s->n_runs + 1, sizeof *list);

    if (!list)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    s->run = list;
    list[s->n_runs++] = (hone_weight_run){(uint32_t)at, weight};
    return 0;
}

/* Applies the switches and weights of the row's turns to the mask and counts what is left. With `prompt`, what is outside
 * the assistant's turns is trained as well, with the weight of the row. */
static int apply_switches(sequence *s, const int32_t *turn, const row_values *row, bool prompt,
                          hone_error *err)
{
    int32_t last = -1;
    float present = 1;
    size_t i;

    s->turns = 0;
    for (i = 0; i < s->n; i++) {
        bool answer = s->mask[i];
        float weight = answer || prompt ? row->row_weight : 0;

        if (answer && turn[i] >= 0 && (size_t)turn[i] < row->n_messages)
            weight = row->weight[turn[i]];
        s->mask[i] = weight > 0;
        if (!s->mask[i])
            continue;
        if (weight != present) {
            int rc = add_run(s, i, weight, err);

            if (rc)
                return rc;
            present = weight;
        }
        if (answer && (turn[i] != last || !s->turns)) {
            s->turns++;
            last = turn[i];
        }
    }
    s->n_trained = count_targets(s->mask, s->n);
    return 0;
}

static int encode_text(sequence *out, size_t *straddled, const hone_chat *chat, const row_values *row,
                       bool prompt, hone_error *err)
{
    hone_encoding e = {0};
    int rc = hone_chat_encode_json(chat, &e, row->root, 0, err);

    *out = (sequence){0};
    if (!rc && !e.eot_trained)
        rc = hone_error_set(
            err, HONE_EFORMAT,
            "the end-of-turn token of an assistant turn would not be trained with this chat template");
    if (!rc) {
        *out = (sequence){.id = e.tokens.id, .mask = e.mask, .n = e.tokens.n};
        e.tokens.id = NULL; /* both are ours now */
        e.mask = NULL;
        *straddled += e.straddled;
        rc = apply_switches(out, e.turn, row, prompt, err);
        if (rc)
            sequence_clear(out);
    }
    hone_encoding_clear(&e);
    return rc;
}

static int add_part(encoded_row *r, sequence *part, hone_error *err)
{
    sequence *list = hone_realloc_array(r->part, r->n_parts + 1, sizeof *list);

    if (!list) {
        sequence_clear(part);
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    r->part = list;
    list[r->n_parts++] = *part;
    *part = (sequence){0};
    return 0;
}

/* ---- splitting ----------------------------------------------------------------------------------------------------- */

typedef struct splitter {
    encoded_row *out;
    const hone_chat *chat;
    json_t *root, *messages; /* borrowed from each other */
    const row_values *row;
    bool prompt;    /* train_on_prompt */
    size_t n, head; /* messages; leading system messages, which every part repeats */
    float *weight;  /* [n] of a part's messages */
    hone_error *err;
} splitter;

static const char *role_of(const splitter *s, size_t i)
{
    return json_string_value(json_object_get(json_array_get(s->messages, i), "role"));
}

/* The first message of the exchange after the one that holds message i. */
static size_t next_exchange(const splitter *s, size_t i)
{
    for (i++; i < s->n; i++)
        if (!strcmp(role_of(s, i), "user") && strcmp(role_of(s, i - 1), "user"))
            break;
    return i;
}

/* Encodes the head and messages [a, b). */
static int encode_range(splitter *s, sequence *out, size_t *straddled, size_t a, size_t b)
{
    json_t *part = json_copy(s->root), *list = json_array();
    size_t i, n = 0;
    int rc = part && list ? 0 : HONE_ENOMEM;

    for (i = 0; !rc && i < b; i++)
        if (i < s->head || i >= a) {
            s->weight[n++] = s->row->weight[i];
            rc = json_array_append(list, json_array_get(s->messages, i)) ? HONE_ENOMEM : 0;
        }
    if (!rc && json_object_set(part, "messages", list))
        rc = HONE_ENOMEM;
    if (rc)
        hone_error_set(s->err, rc, "out of memory");
    if (!rc) {
        row_values text = {
            .root = part, .weight = s->weight, .n_messages = n, .row_weight = s->row->row_weight};

        rc = encode_text(out, straddled, s->chat, &text, s->prompt, s->err);
    }
    json_decref(list);
    json_decref(part);
    return rc;
}

/* Cuts [head, n) into the longest parts that fit, from the front. */
static int split_messages(splitter *s, size_t max_length)
{
    size_t a = s->head;

    while (a < s->n) {
        sequence best = {0};
        size_t b = a, best_straddled = 0;
        int rc = 0;

        while (b < s->n) {
            sequence longer = {0};
            size_t straddled = 0, to = next_exchange(s, b);

            rc = encode_range(s, &longer, &straddled, a, to);
            if (rc || longer.n > max_length) {
                sequence_clear(&longer);
                break;
            }
            sequence_clear(&best);
            best = longer;
            best_straddled = straddled;
            b = to;
        }
        if (!rc && b == a) { /* one exchange alone is too long: the row goes as a whole, and is counted */
            encoded_row_clear(s->out);
            s->out->fate = FATE_DROPPED_OVERLONG;
            return 0;
        }
        if (!rc && best.n_trained) {
            s->out->straddled += best_straddled;
            rc = add_part(s->out, &best, s->err);
        } else if (!rc) {
            s->out->tokens_cut += best.n;
        }
        sequence_clear(&best);
        if (rc)
            return rc;
        a = b;
    }
    return 0;
}

static int split(encoded_row *out, const hone_chat *chat, const row_values *row,
                 const hone_dataset_options *options, hone_error *err)
{
    splitter s = {.out = out,
                  .chat = chat,
                  .root = row->root,
                  .row = row,
                  .prompt = options->train_on_prompt,
                  .n = row->n_messages,
                  .err = err};
    int rc = 0;

    out->fate = FATE_SPLIT;
    out->straddled = 0; /* of the parts alone */
    s.messages = json_object_get(row->root, "messages");
    s.weight = hone_alloc(row->n_messages * sizeof *s.weight);
    if (!s.weight)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    while (!rc && s.head < s.n &&
           (!strcmp(role_of(&s, s.head), "system") || !strcmp(role_of(&s, s.head), "developer")))
        s.head++;
    if (!rc)
        rc = split_messages(&s, (size_t)options->max_length);
    hone_free(s.weight);
    return rc;
}

/* ---- plain text ---------------------------------------------------------------------------------------------------- */

/* All tokens of {"text": ...} and the end-of-sequence token, all trained with the weight of the row. */
static int encode_plain(sequence *out, const hone_chat *chat, const row_values *row, hone_error *err)
{
    const hone_tokenizer *t = hone_chat_tokenizer(chat);
    const json_t *text = json_object_get(row->root, "text");
    hone_span all = {0, json_string_length(text)};
    hone_tokens tokens = {0};
    int32_t eos = t ? hone_tokenizer_eos(t) : -1, *id = NULL;
    uint8_t *mask = NULL;
    int rc;

    *out = (sequence){0};
    if (!t)
        return hone_error_set(err, HONE_EINVAL, "a plain text needs a tokenizer");
    rc = hone_tokenizer_encode(t, &tokens, json_string_value(text), all.end, &all, 1, HONE_ENCODE_SPECIAL,
                               err);
    if (!rc) {
        id = hone_realloc_array(tokens.id, tokens.n + 1, sizeof *id);
        mask = hone_alloc(tokens.n + 1);
        tokens.id = id ? id : tokens.id;
        if (!id || !mask)
            rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    if (!rc) {
        if (eos >= 0 && (!tokens.n || id[tokens.n - 1] != eos))
            id[tokens.n++] = eos;
        memset(mask, 1, tokens.n);
        *out = (sequence){.id = id, .mask = mask, .n = tokens.n, .n_trained = count_targets(mask, tokens.n)};
        tokens.id = NULL; /* both are ours now */
        mask = NULL;
        if (row->row_weight != 1)
            rc = add_run(out, 0, row->row_weight, err);
        if (rc)
            sequence_clear(out);
    }
    hone_free(mask);
    hone_tokens_clear(&tokens);
    return rc;
}

static int split_plain(encoded_row *out, const sequence *whole, size_t max_length, hone_error *err)
{
    size_t at, n;
    int rc = 0;

    out->fate = FATE_SPLIT;
    for (at = 0; !rc && at < whole->n; at += n) {
        sequence part = {0};

        n = HONE_MIN(max_length, whole->n - at);
        if (n < 2) { /* a token alone trains nothing */
            out->tokens_cut += n;
            continue;
        }
        part.id = hone_alloc(n * sizeof *part.id);
        part.mask = hone_alloc(n);
        if (part.id && part.mask) {
            memcpy(part.id, whole->id + at, n * sizeof *part.id);
            memset(part.mask, 1, n);
            part.n = n;
            part.n_trained = n - 1;
            rc = whole->n_runs ? add_run(&part, 0, whole->run[0].weight, err) : 0;
            if (!rc)
                rc = add_part(out, &part, err);
        } else {
            rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
        }
        sequence_clear(&part);
    }
    if (!rc && !out->n_parts)
        out->fate = FATE_DROPPED_UNTRAINED;
    return rc;
}

/* ---- any row ------------------------------------------------------------------------------------------------------- */

static void truncate_sequence(encoded_row *out, sequence *s, size_t max_length)
{
    size_t left = count_targets(s->mask, max_length);

    if (!left) {
        out->fate = FATE_DROPPED_UNTRAINED;
        return;
    }
    out->fate = FATE_TRUNCATED;
    out->tokens_cut = s->n - max_length;
    out->trained_cut = s->n_trained - left;
    s->n = max_length;
    s->n_trained = left;
    while (s->n_runs && s->run[s->n_runs - 1].at >= max_length)
        s->n_runs--;
}

int row_encode_values(encoded_row *out, const hone_chat *chat, const row_values *row,
                      const hone_dataset_options *options, hone_error *err)
{
    size_t limit = (size_t)options->max_length;
    sequence whole;
    int rc;

    *out = (encoded_row){0};
    if (row->plain_text)
        rc = encode_plain(&whole, chat, row, err);
    else
        rc = encode_text(&whole, &out->straddled, chat, row, options->train_on_prompt, err);
    if (rc)
        return rc;
    out->length = whole.n;
    if (!whole.n_trained)
        rc = hone_error_set(err, HONE_EFORMAT, "no token of this row is trained");
    if (!rc && whole.n > limit)
        switch (options->overlong) {
        case HONE_OVERLONG_ERROR:
            out->fate = FATE_OVERLONG;
            break;
        case HONE_OVERLONG_DROP:
            out->fate = FATE_DROPPED_OVERLONG;
            break;
        case HONE_OVERLONG_TRUNCATE:
            truncate_sequence(out, &whole, limit);
            break;
        case HONE_OVERLONG_SPLIT:
            rc = row->plain_text ? split_plain(out, &whole, limit, err) : split(out, chat, row, options, err);
            break;
        }
    if (!rc && (out->fate == FATE_USED || out->fate == FATE_TRUNCATED))
        rc = add_part(out, &whole, err);
    sequence_clear(&whole);
    return rc;
}

int row_encode(encoded_row *out, const hone_chat *chat, const row_text *row,
               const hone_dataset_options *options, hone_error *err)
{
    json_error_t e;
    row_values values = {.root = json_loadb(row->text, row->len, JSON_ALLOW_NUL, &e),
                         .weight = row->weight,
                         .n_messages = row->n_messages,
                         .row_weight = row->row_weight,
                         .plain_text = row->plain_text};
    int rc;

    *out = (encoded_row){0};
    if (!values.root && json_error_code(&e) == json_error_out_of_memory)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    rc = values.root ? row_encode_values(out, chat, &values, options, err)
                     : hone_error_set(err, HONE_EFORMAT, "conversation, line %d, column %d: %s", e.line,
                                      e.column, e.text);
    json_decref(values.root);
    return rc;
}
