/* One row as it is trained. Ids and weights come from the encoder that training uses; what each byte of the text is, from the
 * chat layer that it stands on. */
#include <string.h>

#include "data/data.h"
#include "hone/report.h"

void hone_row_picture_clear(hone_row_picture *p)
{
    hone_free(p->text);
    hone_free(p->quoted);
    hone_free(p->id);
    hone_free(p->begin);
    hone_free(p->end);
    hone_free(p->weight);
    *p = (hone_row_picture){0};
}

static int no_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory for the picture of a row");
}

/* The text of a conversation and where it came from. */
static int draw_conversation(hone_row_picture *out, hone_tokens *tokens, const hone_chat *chat,
                             const hone_row *row, hone_error *err)
{
    hone_encoding e = {0};
    size_t i;
    int rc = hone_chat_encode(chat, &e, row->conversation, row->len, 0, err);

    if (!rc) {
        out->quoted = hone_alloc(HONE_MAX(e.rendering.len, 1));
        if (!out->quoted)
            rc = no_memory(err);
    }
    if (!rc) {
        for (i = 0; i < e.rendering.len; i++)
            out->quoted[i] = e.rendering.origin[i] != 0;
        out->text = e.rendering.text;
        out->len = e.rendering.len;
        *tokens = e.tokens;
        e.rendering.text = NULL; /* both are ours now */
        e.tokens = (hone_tokens){0};
    }
    hone_encoding_clear(&e);
    return rc;
}

static int draw_plain(hone_row_picture *out, hone_tokens *tokens, const hone_chat *chat, const hone_row *row,
                      hone_error *err)
{
    json_t *root = json_loadb(row->conversation, row->len, 0, NULL);
    const json_t *text = json_object_get(root, "text");
    hone_span all = {0, json_string_length(text)};
    int rc = 0;

    out->len = all.end;
    out->text = hone_strndup(text ? json_string_value(text) : "", all.end);
    out->quoted = hone_alloc(HONE_MAX(all.end, 1));
    json_decref(root);
    if (!out->text || !out->quoted)
        return no_memory(err);
    memset(out->quoted, 1, all.end);
    rc = hone_tokenizer_encode(hone_chat_tokenizer(chat), tokens, out->text, all.end, &all, 1,
                               HONE_ENCODE_SPECIAL, err);
    return rc;
}

/* Joins the tokens as they are trained with the places of those of the text: of a plain text the first has one more, the
 * end of the sequence. */
static int join(hone_row_picture *out, const sequence *s, const hone_tokens *places, hone_error *err)
{
    size_t i, run = 0;
    float weight = 1;

    out->id = hone_alloc(s->n * sizeof *out->id);
    out->begin = hone_alloc(s->n * sizeof *out->begin);
    out->end = hone_alloc(s->n * sizeof *out->end);
    out->weight = hone_alloc(s->n * sizeof *out->weight);
    if (!out->id || !out->begin || !out->end || !out->weight)
        return no_memory(err);
    for (i = 0; i < s->n; i++) {
        bool placed = i < places->n;

        if (placed && places->id[i] != s->id[i])
            return hone_error_set(err, HONE_EINTERNAL, "a row was encoded in two ways");
        if (run < s->n_runs && s->run[run].at == i)
            weight = s->run[run++].weight;
        out->id[i] = s->id[i];
        out->begin[i] = placed ? places->begin[i] : (uint32_t)out->len;
        out->end[i] = placed ? places->end[i] : (uint32_t)out->len;
        out->weight[i] = s->mask[i] ? weight : 0;
    }
    out->n = s->n;
    out->n_trained = s->n_trained;
    return 0;
}

int hone_row_picture_make(hone_row_picture *out, const hone_chat *chat, const hone_row *row,
                          bool train_on_prompt, hone_error *err)
{
    hone_dataset_options options = {.max_length = INT32_MAX, .train_on_prompt = train_on_prompt};
    row_text text = {row->conversation, row->len,        row->weight,
                     row->n_messages,   row->row_weight, row->plain_text};
    hone_tokens places = {0};
    encoded_row e;
    int rc;

    *out = (hone_row_picture){0};
    rc = row_encode(&e, chat, &text, &options, err);
    if (!rc)
        rc = row->plain_text ? draw_plain(out, &places, chat, row, err)
                             : draw_conversation(out, &places, chat, row, err);
    if (!rc)
        rc = join(out, e.part, &places, err);
    hone_tokens_clear(&places);
    encoded_row_clear(&e);
    if (rc)
        hone_row_picture_clear(out);
    return rc;
}
