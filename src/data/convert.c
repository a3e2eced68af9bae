/* A row of any format as one conversation, the shape that chat templates take. This is the one place that knows the
 * names other programs give to fields and roles; behind it there are only messages with role, content, tool_calls. */
#include <string.h>

#include "data/convert.h"

int convert_refuse(const converter *c, int code, const char *field, const char *reason)
{
    return hone_error_set(c->err, code, "%s:%llu: field `%s`: %s", c->file, (unsigned long long)c->line,
                          field, reason);
}

int convert_wrong_type(const converter *c, const char *field, const char *wanted, const json_t *found)
{
    static const char *const name[] = {"an object", "a list", "text",  "an integer",
                                       "a number",  "true",   "false", "null"};
    char reason[120];

    snprintf(reason, sizeof reason, "expected %s, found %s", wanted,
             found ? name[json_typeof(found)] : "nothing");
    return convert_refuse(c, HONE_EFORMAT, field, reason);
}

int convert_no_memory(const converter *c)
{
    return hone_error_set(c->err, HONE_ENOMEM, "%s:%llu: out of memory", c->file,
                          (unsigned long long)c->line);
}

json_t *convert_field(const json_t *object, const char *name)
{
    json_t *v = json_object_get(object, name);

    return json_is_null(v) ? NULL : v;
}

bool text_is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n")] == 0;
}

/* The text of an optional field: *out is borrowed, NULL when absent. */
static int optional_text(const converter *c, const char **out, const json_t *row, const char *name)
{
    const json_t *v = convert_field(row, name);

    *out = json_string_value(v);
    return !v || *out ? 0 : convert_wrong_type(c, name, "text", v);
}

int convert_add(converter *c, json_t **out, const char *role, json_t *content, double weight)
{
    conversation *v = c->out;
    json_t *message = json_object();
    uint8_t *flags;
    float *weights;

    if (v->n_messages == v->capacity) {
        size_t capacity = v->capacity ? 2 * v->capacity : 16;

        flags = hone_realloc_array(v->trained, capacity, 1);
        v->trained = flags ? flags : v->trained;
        weights = hone_realloc_array(v->weight, capacity, sizeof *weights);
        v->weight = weights ? weights : v->weight;
        if (!flags || !weights) {
            json_decref(message);
            json_decref(content);
            return convert_no_memory(c);
        }
        v->capacity = capacity;
    }
    if (json_object_set_new(message, "role", json_string(role)) ||
        (content && json_object_set(message, "content", content)) ||
        json_array_append(c->messages, message)) {
        json_decref(message);
        json_decref(content);
        return convert_no_memory(c);
    }
    json_decref(content);
    json_decref(message); /* the list holds it */
    v->trained[v->n_messages] = weight != 0;
    v->weight[v->n_messages++] = (float)weight;
    if (out)
        *out = message;
    return 0;
}

int convert_add_text(converter *c, const char *role, const char *text, double weight)
{
    json_t *content = json_string(text);

    return content ? convert_add(c, NULL, role, content, weight) : convert_no_memory(c);
}

int convert_json(const converter *c, json_t **out, json_t *v, const char *field)
{
    char reason[240];
    json_problem problem;

    *out = NULL;
    if (!v || json_is_null(v) || (json_is_string(v) && text_is_blank(json_string_value(v))))
        return 0;
    if (!json_is_string(v)) {
        *out = json_incref(v);
        return 0;
    }
    if (!json_read(out, json_string_value(v), json_string_length(v), &problem))
        return 0;
    if (problem.code == HONE_ENOMEM)
        return convert_no_memory(c);
    snprintf(reason, sizeof reason, "expected JSON in this text: %.200s", problem.reason);
    return convert_refuse(c, problem.code, field, reason);
}

/* ---- alpaca ---------------------------------------------------------------------------------------------------- */

static int read_history(converter *c, const json_t *history, const char *name)
{
    char field[80];
    size_t i;
    int rc = 0;

    if (history && !json_is_array(history))
        return convert_wrong_type(c, name, "a list of [question, answer]", history);
    for (i = 0; !rc && i < json_array_size(history); i++) {
        const json_t *pair = json_array_get(history, i);
        const char *question = json_string_value(json_array_get(pair, 0));
        const char *answer = json_string_value(json_array_get(pair, 1));

        snprintf(field, sizeof field, "%.50s[%zu]", name, i);
        if (!json_is_array(pair) || json_array_size(pair) != 2 || !question || !answer)
            return convert_refuse(c, HONE_EFORMAT, field, "expected [question, answer], two texts");
        if (text_is_blank(answer))
            return convert_refuse(c, HONE_EFORMAT, field, "the answer is empty");
        rc = convert_add_text(c, "user", question, 0);
        if (!rc)
            rc = convert_add_text(c, "assistant", answer, 1);
    }
    return rc;
}

/* The one field of several names that a row has; *out and *name are NULL when it has none. */
static int pick(const converter *c, json_t **out, const char **name, const json_t *row, const char *given,
                const char *const *names, size_t n)
{
    char reason[160];
    size_t i;

    *out = given ? convert_field(row, given) : NULL;
    *name = *out ? given : NULL;
    for (i = 0; !given && i < n; i++) {
        json_t *v = convert_field(row, names[i]);

        if (!v || (json_is_string(v) && text_is_blank(json_string_value(v)) && *out))
            continue;
        if (*out && !(json_is_string(*out) && text_is_blank(json_string_value(*out)))) {
            snprintf(reason, sizeof reason, "`%s` could be meant as well; say which one with data.fields",
                     names[i]);
            return convert_refuse(c, HONE_EFORMAT, *name, reason);
        }
        *out = v;
        *name = names[i];
    }
    return 0;
}

/* A question and its answer, each under one of its names. */
typedef struct question {
    json_t *instruction, *input, *output; /* borrowed; NULL = absent */
    const char *instruction_name, *input_name, *output_name;
} question;

static int pick_question(const converter *c, question *q, const json_t *row)
{
    static const char *const instruction[] = {"instruction", "question", "query", "prompt"};
    static const char *const input[] = {"input", "context"};
    static const char *const output[] = {"output", "response", "answer", "completion"};
    const hone_row_fields *f = c->fields;
    int rc = pick(c, &q->instruction, &q->instruction_name, row, f ? f->instruction : NULL, instruction,
                  HONE_COUNT(instruction));

    if (!rc)
        rc = pick(c, &q->input, &q->input_name, row, f ? f->input : NULL, input, HONE_COUNT(input));
    if (!rc)
        rc = pick(c, &q->output, &q->output_name, row, f ? f->output : NULL, output, HONE_COUNT(output));
    if (!q->instruction_name)
        q->instruction_name = NAME(c, instruction);
    if (!q->output_name)
        q->output_name = NAME(c, output);
    return rc;
}

/* Appends the question, text or a list of turns of which none is trained. */
static int read_question(converter *c, const question *q)
{
    const char *instruction = json_string_value(q->instruction), *input = json_string_value(q->input);
    hone_buf text = {0};
    size_t i, first = c->out->n_messages;
    int rc;

    if (q->input && !input)
        return convert_wrong_type(c, q->input_name, "text", q->input);
    if (json_is_array(q->instruction)) {
        rc = convert_turns(c, q->instruction, q->instruction_name);
        for (i = first; !rc && i < c->out->n_messages; i++) {
            c->out->trained[i] = 0;
            c->out->weight[i] = 0;
        }
        return rc;
    }
    if (!instruction)
        return convert_wrong_type(c, q->instruction_name, "text", q->instruction);
    if (text_is_blank(instruction) && (!input || text_is_blank(input)))
        return convert_refuse(c, HONE_EFORMAT, q->instruction_name, "the question is empty");
    hone_buf_puts(&text, instruction);
    if (input && *input) {
        hone_buf_putc(&text, '\n');
        hone_buf_puts(&text, input);
    }
    rc = text.failed ? convert_no_memory(c) : convert_add_text(c, "user", text.data, 0);
    hone_buf_clear(&text);
    return rc;
}

/* The row's system prompt under its name, NULL when it has none. */
static int read_system(const converter *c, const char **out, const char **name, const json_t *row)
{
    *name = NAME(c, system);
    if (!(c->fields && c->fields->system) && !convert_field(row, "system") &&
        convert_field(row, "system_prompt"))
        *name = "system_prompt";
    return optional_text(c, out, row, *name);
}

static int read_alpaca(converter *c, const json_t *row, const question *q)
{
    const char *output = json_string_value(q->output), *system, *system_name;
    json_t *history = convert_field(row, NAME(c, history));
    int rc;

    if (read_system(c, &system, &system_name, row))
        return HONE_EFORMAT;
    if (!q->instruction)
        return convert_wrong_type(c, q->instruction_name, "text", NULL);
    if (!output && !json_is_array(q->output))
        return convert_wrong_type(c, q->output_name, "text", q->output);
    if (output && text_is_blank(output))
        return convert_refuse(c, HONE_EFORMAT, q->output_name, "the answer is empty");
    if (system && *system) {
        rc = convert_add_text(c, "system", system, 0);
        if (rc)
            return rc;
    }
    if (json_is_string(history) && text_is_blank(json_string_value(history)))
        return convert_wrong_type(c, NAME(c, history), "a list of [question, answer]", history);
    rc = convert_json(c, &history, history, NAME(c, history)); /* a table's cell holds it as text */
    if (!rc)
        rc = read_history(c, history, NAME(c, history));
    json_decref(history);
    if (!rc)
        rc = read_question(c, q);
    if (rc)
        return rc;
    return output ? convert_add_text(c, "assistant", output, 1) : convert_turns(c, q->output, q->output_name);
}

/* ---- lists of turns ----------------------------------------------------------------------------------------------- */

static int read_turns(converter *c, const json_t *row, const char *list_name)
{
    const char *system, *system_name;
    json_t *list = NULL;
    int rc = read_system(c, &system, &system_name, row);

    if (!rc) /* a table's cell holds the list as text */
        rc = convert_json(c, &list, json_object_get(row, list_name), list_name);
    if (!rc && !json_is_array(list))
        rc = convert_wrong_type(c, list_name, "a list of turns", list);
    if (!rc && system && *system && json_array_size(list))
        rc = convert_add_text(c, "system", system, 0);
    if (!rc)
        rc = convert_turns(c, list, list_name);
    if (!rc && system && *system && c->out->n_messages > 1 &&
        !strcmp(json_string_value(json_object_get(json_array_get(c->messages, 1), "role")), "system"))
        rc = convert_refuse(c, HONE_EFORMAT, system_name, "the turns begin with a system turn of their own");
    json_decref(list);
    return rc;
}

/* ---- any row ------------------------------------------------------------------------------------------------------- */

/* Names of the row's fields, for the message about a row of no known format. */
static int unknown_format(const converter *c, json_t *row)
{
    hone_buf names = {0};
    const char *key;
    json_t *v;
    int rc;

    json_object_foreach(row, key, v) hone_buf_printf(&names, "%s`%.40s`", names.len ? ", " : "", key);
    rc = hone_error_set(
        c->err, HONE_EFORMAT,
        "%s:%llu: this row has none of the fields `messages`, `conversations`, `instruction` (or its other "
        "names), `text`; it has %.300s. data.fields can name them",
        c->file, (unsigned long long)c->line, names.data ? names.data : "none");
    hone_buf_clear(&names);
    return rc;
}

/* With mask_history, only the last turn of the assistant keeps its weight. */
static void mask_history(conversation *v, const json_t *messages)
{
    size_t i = v->n_messages;

    while (i &&
           strcmp(json_string_value(json_object_get(json_array_get(messages, i - 1), "role")), "assistant"))
        i--;
    while (i > 1) {
        i--;
        v->trained[i - 1] = 0;
        v->weight[i - 1] = 0;
    }
}

static int read_plain_text(converter *c, json_t *text)
{
    if (!json_is_string(text))
        return convert_wrong_type(c, NAME(c, text), "text", text);
    if (text_is_blank(json_string_value(text)))
        return convert_refuse(c, HONE_EFORMAT, NAME(c, text), "the text is empty");
    c->out->plain_text = true;
    c->out->fractional = c->out->row_weight != 1;
    return json_object_del(c->root, "messages") || json_object_set(c->root, "text", text)
               ? convert_no_memory(c)
               : 0;
}

/* The conversation of a row that has one. `messages`, `conversations`: whether it has these lists. */
static int read_conversation(converter *c, json_t *row, const question *q, bool messages, bool conversations)
{
    const char *list = messages ? NAME(c, messages) : "conversations", *tools = NAME(c, tools);
    json_t *kwargs = NULL;
    int rc;

    if (!strcmp(tools, "tools") && !convert_field(row, tools) && convert_field(row, "functions"))
        tools = "functions";
    if (messages || conversations)
        rc = read_turns(c, row, list);
    else
        rc = read_alpaca(c, row, q);
    if (!rc)
        rc = convert_tools(c, convert_field(row, tools), tools);
    if (!rc)
        rc = convert_json(c, &kwargs, convert_field(row, "chat_template_kwargs"), "chat_template_kwargs");
    if (!rc && kwargs && !json_is_object(kwargs))
        rc = convert_wrong_type(c, "chat_template_kwargs", "an object", kwargs);
    if (!rc && kwargs && json_object_set(c->root, "chat_template_kwargs", kwargs))
        rc = convert_no_memory(c);
    json_decref(kwargs);
    return rc;
}

static int read_row(converter *c, json_t *row, const hone_rows_options *options)
{
    static const char *const media[] = {"images", "image", "videos", "video", "audios", "audio"};
    const json_t *messages = convert_field(row, NAME(c, messages));
    const json_t *turns = c->fields && c->fields->messages ? NULL : convert_field(row, "conversations");
    const char *list = messages ? NAME(c, messages) : turns ? "conversations" : NULL;
    json_t *text = convert_field(row, NAME(c, text));
    conversation *v = c->out;
    question q = {0};
    bool any = false;
    size_t i;
    int rc = 0;

    for (i = 0; i < HONE_COUNT(media); i++) {
        const json_t *m = convert_field(row, media[i]);

        if (m && !(json_is_array(m) && !json_array_size(m)))
            return convert_refuse(c, HONE_EUNSUPPORTED, media[i], "only text is supported");
    }
    if (!!messages + !!turns + !!convert_field(row, "instruction") > 1)
        return convert_refuse(
            c, HONE_EFORMAT, list,
            "the row has the fields of two formats (`messages`, `conversations`, `instruction`)");
    if (!list)
        rc = pick_question(c, &q, row);
    if (rc)
        return rc;
    if (!list && text && !(q.instruction && q.output))
        return read_plain_text(c, text);
    if (!list && !q.instruction && !q.output)
        return unknown_format(c, row);
    rc = read_conversation(c, row, &q, messages != NULL, turns != NULL);
    if (!rc && options->mask_history)
        mask_history(v, c->messages);
    for (i = 0; !rc && i < v->n_messages; i++) {
        any |= v->trained[i];
        v->weight[i] *= v->row_weight;
        v->fractional |= v->trained[i] && v->weight[i] != 1;
    }
    if (!rc && !any)
        rc = convert_refuse(c, HONE_EFORMAT, list ? list : q.output_name,
                            "no turn of the assistant is trained");
    return rc;
}

int conversation_read(conversation *out, const json_t *row, const hone_rows_options *options,
                      const char *file, uint64_t line, hone_error *err)
{
    json_t *root = json_object();
    converter c = {.out = out,
                   .root = root,
                   .messages = json_array(),
                   .fields = options->fields,
                   .roles = options->roles,
                   .file = file,
                   .line = line,
                   .err = err};
    int rc = 0;

    out->text.len = 0;
    out->n_messages = 0;
    out->plain_text = out->fractional = false;
    out->meta.len = 0;
    out->id = out->task = out->label = out->group = NULL;
    out->row_weight = 1;
    if (!root || !c.messages || json_object_set(root, "messages", c.messages))
        rc = convert_no_memory(&c);
    if (!rc)
        rc = convert_meta(&c, row);
    if (!rc)
        rc = read_row(&c, (json_t *)row, options);
    if (!rc && !out->no_text)
        rc = json_write(&out->text, root, err);
    json_decref(c.messages);
    json_decref(out->root);
    out->root = rc ? NULL : root;
    if (rc)
        json_decref(root);
    return rc;
}

void conversation_clear(conversation *c)
{
    hone_buf_clear(&c->text);
    hone_buf_clear(&c->meta);
    json_decref(c->root);
    hone_free(c->trained);
    hone_free(c->weight);
    *c = (conversation){0};
}
