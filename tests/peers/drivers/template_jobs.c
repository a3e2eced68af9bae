/* Runs template jobs for the Python scripts beside this folder: one JSON object a line on stdin, one answer a line on
 * stdout.
 *   {"template": TEXT, "messages": [...], "tools": ..., "documents": ..., "kwargs": {...}, "vars": {...},
 *    "generation_prompt": bool, "now": seconds}
 *       -> {"text": ..., "origin": [[length, origin], ...], "marked": [[begin, end], ...]} or {"error", "code"}
 *   {"open": MODEL FOLDER OR GGUF} -> {"notice", "stops"}: opens tokenizer and chat for the jobs that follow
 *   {"open_template": TEXT, "vars": {...}} -> the same with another template and the open tokenizer
 *   {"encode": CONVERSATION, "generation_prompt": bool}
 *       -> {"text", "ids", "begin", "end", "mask", "turn", "straddled", "eot_trained"} or {"error", "code"} */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "text/template.h"

static hone_tokenizer *tokenizer;
static hone_chat *chat;

static json_t *failure(const hone_error *err)
{
    return json_pack("{s:s, s:s}", "error", err->message, "code", hone_error_name(err->code));
}

static const json_t *given(const json_t *job, const char *key)
{
    const json_t *v = json_object_get(job, key);

    return json_is_null(v) ? NULL : v;
}

static json_t *text_of(const hone_rendering *r)
{
    json_t *out = json_object(), *origin = json_array(), *marked = json_array();
    size_t i, n;

    for (i = 0; i < r->len; i += n) {
        for (n = 1; i + n < r->len && r->origin[i + n] == r->origin[i]; n++)
            ;
        json_array_append_new(origin, json_pack("[I, I]", (json_int_t)n, (json_int_t)r->origin[i]));
    }
    for (i = 0; i < r->n_marked; i++)
        json_array_append_new(
            marked, json_pack("[I, I]", (json_int_t)r->marked[i].begin, (json_int_t)r->marked[i].end));
    json_object_set_new(out, "text", json_stringn(r->text, r->len));
    json_object_set_new(out, "origin", origin);
    json_object_set_new(out, "marked", marked);
    return out;
}

static json_t *render(const json_t *job)
{
    const char *text = json_string_value(json_object_get(job, "template"));
    hone_template_input in = {.messages = given(job, "messages"),
                              .tools = given(job, "tools"),
                              .documents = given(job, "documents"),
                              .kwargs = given(job, "kwargs"),
                              .vars = given(job, "vars"),
                              .generation_prompt = json_is_true(json_object_get(job, "generation_prompt")),
                              .now = json_integer_value(json_object_get(job, "now"))};
    hone_rendering r = {0};
    hone_template *t = NULL;
    hone_error err = HONE_ERROR_INIT;
    json_t *out;

    in.n_messages = json_array_size(in.messages);
    if (hone_template_parse(&t, text, strlen(text), &err) || hone_template_render(t, &in, &r, &err))
        out = failure(&err);
    else
        out = text_of(&r);
    hone_rendering_clear(&r);
    hone_template_free(t);
    return out;
}

static json_t *described(void)
{
    const char *notice = hone_chat_notice(chat);
    json_t *stops = json_array();
    size_t i, n;
    const int32_t *id = hone_chat_stop_ids(chat, &n);

    for (i = 0; i < n; i++)
        json_array_append_new(stops, json_integer(id[i]));
    return json_pack("{s:s?, s:o}", "notice", notice, "stops", stops);
}

static json_t *open_model(const json_t *job)
{
    const char *path = json_string_value(json_object_get(job, "open"));
    hone_error err = HONE_ERROR_INIT;

    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    chat = NULL;
    tokenizer = NULL;
    if (hone_tokenizer_open(&tokenizer, path, &err) || hone_chat_open(&chat, path, tokenizer, &err))
        return failure(&err);
    return described();
}

static json_t *open_template(const json_t *job)
{
    const char *text = json_string_value(json_object_get(job, "open_template"));
    char *vars = given(job, "vars") ? json_dumps(given(job, "vars"), 0) : NULL;
    hone_error err = HONE_ERROR_INIT;
    int rc;

    hone_chat_close(chat);
    chat = NULL;
    rc = hone_chat_open_text(&chat, text, strlen(text), tokenizer, vars, &err);
    free(vars);
    return rc ? failure(&err) : described();
}

static json_t *encode(const json_t *job)
{
    char *conversation = json_dumps(json_object_get(job, "encode"), 0);
    bool prompt = json_is_true(json_object_get(job, "generation_prompt"));
    hone_encoding e = {0};
    hone_error err = HONE_ERROR_INIT;
    json_t *out, *ids, *begin, *end, *mask, *turn;
    size_t i;

    if (hone_chat_encode(chat, &e, conversation, strlen(conversation),
                         prompt ? HONE_CHAT_GENERATION_PROMPT : 0, &err)) {
        out = failure(&err);
    } else {
        ids = json_array();
        begin = json_array();
        end = json_array();
        mask = json_array();
        turn = json_array();
        for (i = 0; i < e.tokens.n; i++) {
            json_array_append_new(ids, json_integer(e.tokens.id[i]));
            json_array_append_new(begin, json_integer(e.tokens.begin[i]));
            json_array_append_new(end, json_integer(e.tokens.end[i]));
            json_array_append_new(mask, json_integer(e.mask[i]));
            json_array_append_new(turn, json_integer(e.turn[i]));
        }
        out = text_of(&e.rendering);
        json_object_set_new(out, "ids", ids);
        json_object_set_new(out, "begin", begin);
        json_object_set_new(out, "end", end);
        json_object_set_new(out, "mask", mask);
        json_object_set_new(out, "turn", turn);
        json_object_set_new(out, "straddled", json_integer((json_int_t)e.straddled));
        json_object_set_new(out, "eot_trained", json_boolean(e.eot_trained));
    }
    hone_encoding_clear(&e);
    free(conversation);
    return out;
}

int main(void)
{
    char *line = NULL, *text;
    size_t capacity = 0;
    ssize_t n;
    json_t *job, *out;
    json_error_t problem;

    while ((n = getline(&line, &capacity, stdin)) > 0) {
        job = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &problem);
        if (!job)
            out = json_pack("{s:s, s:s}", "error", problem.text, "code", "JSON");
        else if (json_object_get(job, "open"))
            out = open_model(job);
        else if (json_object_get(job, "open_template"))
            out = open_template(job);
        else if (json_object_get(job, "encode"))
            out = encode(job);
        else
            out = render(job);
        text = json_dumps(out, JSON_COMPACT);
        puts(text ? text : "{\"error\": \"the answer is no JSON\"}");
        fflush(stdout);
        free(text);
        json_decref(out);
        json_decref(job);
    }
    free(line);
    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    return 0;
}
