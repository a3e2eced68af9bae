/* A row of any format as one conversation, the shape that chat templates take. This is the one place that knows the
 * names other programs give to fields and roles; behind it there are only messages with role, content, tool_calls. */
#include <string.h>

#include "data/data.h"

typedef struct converter {
    conversation *out;
    json_t *messages;              /* array being built */
    const hone_row_fields *fields; /* given names; NULL where there are none */
    const char *file;
    uint64_t line;
    hone_error *err;
} converter;

static int refuse(const converter *c, int code, const char *field, const char *reason)
{
    return hone_error_set(c->err, code, "%s:%llu: field `%s`: %s", c->file, (unsigned long long)c->line,
                          field, reason);
}

static int wrong_type(const converter *c, const char *field, const char *wanted, const json_t *found)
{
    static const char *const name[] = {"an object", "a list", "text",  "an integer",
                                       "a number",  "true",   "false", "null"};
    char reason[120];

    snprintf(reason, sizeof reason, "expected %s, found %s", wanted,
             found ? name[json_typeof(found)] : "nothing");
    return refuse(c, HONE_EFORMAT, field, reason);
}

static int out_of_memory(const converter *c)
{
    return hone_error_set(c->err, HONE_ENOMEM, "%s:%llu: out of memory", c->file,
                          (unsigned long long)c->line);
}

/* A field that counts as absent when it is null. */
static json_t *field_of(const json_t *object, const char *name)
{
    json_t *v = json_object_get(object, name);

    return json_is_null(v) ? NULL : v;
}

static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n")] == 0;
}

/* The text of an optional field: *out is borrowed, NULL when absent. */
static int optional_text(const converter *c, const char **out, const json_t *row, const char *name)
{
    const json_t *v = field_of(row, name);

    *out = json_string_value(v);
    return !v || *out ? 0 : wrong_type(c, name, "text", v);
}

/* Appends a message; `content` is taken (NULL = none). *out (may be NULL) is borrowed from the list. */
static int add_message(converter *c, json_t **out, const char *role, json_t *content, double weight)
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
            return out_of_memory(c);
        }
        v->capacity = capacity;
    }
    if (json_object_set_new(message, "role", json_string(role)) ||
        (content && json_object_set(message, "content", content)) ||
        json_array_append(c->messages, message)) {
        json_decref(message);
        json_decref(content);
        return out_of_memory(c);
    }
    json_decref(content);
    json_decref(message); /* the list holds it */
    v->trained[v->n_messages] = weight != 0;
    v->weight[v->n_messages++] = (float)weight;
    if (out)
        *out = message;
    return 0;
}

/* The same with text; NULL text is a failed allocation. */
static int add_text(converter *c, const char *role, const char *text, double weight)
{
    json_t *content = json_string(text);

    return content ? add_message(c, NULL, role, content, weight) : out_of_memory(c);
}

/* The file's name of a field. */
#define NAME(c, field) ((c)->fields && (c)->fields->field ? (c)->fields->field : #field)

/* Value of a field that is JSON, or text that holds JSON. *out is a new reference, NULL for null and for blank text. */
static int json_of(const converter *c, json_t **out, json_t *v, const char *field)
{
    json_error_t e;

    *out = NULL;
    if (!v || json_is_null(v) || (json_is_string(v) && is_blank(json_string_value(v))))
        return 0;
    if (!json_is_string(v)) {
        *out = json_incref(v);
        return 0;
    }
    *out =
        json_loadb(json_string_value(v), json_string_length(v), JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!*out) {
        char reason[240];

        snprintf(reason, sizeof reason, "expected JSON in this text: %.200s", e.text);
        return refuse(c, HONE_EFORMAT, field, reason);
    }
    return 0;
}

/* ---- alpaca ---------------------------------------------------------------------------------------------------- */

static int read_history(converter *c, const json_t *history, const char *name)
{
    char field[80];
    size_t i;
    int rc = 0;

    if (history && !json_is_array(history))
        return wrong_type(c, name, "a list of [question, answer]", history);
    for (i = 0; !rc && i < json_array_size(history); i++) {
        const json_t *pair = json_array_get(history, i);
        const char *question = json_string_value(json_array_get(pair, 0));
        const char *answer = json_string_value(json_array_get(pair, 1));

        snprintf(field, sizeof field, "%.50s[%zu]", name, i);
        if (!json_is_array(pair) || json_array_size(pair) != 2 || !question || !answer)
            return refuse(c, HONE_EFORMAT, field, "expected [question, answer], two texts");
        if (is_blank(answer))
            return refuse(c, HONE_EFORMAT, field, "the answer is empty");
        rc = add_text(c, "user", question, 0);
        if (!rc)
            rc = add_text(c, "assistant", answer, 1);
    }
    return rc;
}

/* The one field of several names that a row has; *out and *name are NULL when it has none. */
static int pick(const converter *c, json_t **out, const char **name, const json_t *row, const char *given,
                const char *const *names, size_t n)
{
    char reason[160];
    size_t i;

    *out = given ? field_of(row, given) : NULL;
    *name = *out ? given : NULL;
    for (i = 0; !given && i < n; i++) {
        json_t *v = field_of(row, names[i]);

        if (!v || (json_is_string(v) && is_blank(json_string_value(v)) && *out))
            continue;
        if (*out && !(json_is_string(*out) && is_blank(json_string_value(*out)))) {
            snprintf(reason, sizeof reason, "`%s` could be meant as well; say which one with data.fields",
                     names[i]);
            return refuse(c, HONE_EFORMAT, *name, reason);
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

static int read_turn_list(converter *c, json_t *list, const char *name);

/* Appends the question, text or a list of turns of which none is trained. */
static int read_question(converter *c, const question *q)
{
    const char *instruction = json_string_value(q->instruction), *input = json_string_value(q->input);
    hone_buf text = {0};
    size_t i, first = c->out->n_messages;
    int rc;

    if (q->input && !input)
        return wrong_type(c, q->input_name, "text", q->input);
    if (json_is_array(q->instruction)) {
        rc = read_turn_list(c, q->instruction, q->instruction_name);
        for (i = first; !rc && i < c->out->n_messages; i++) {
            c->out->trained[i] = 0;
            c->out->weight[i] = 0;
        }
        return rc;
    }
    if (!instruction)
        return wrong_type(c, q->instruction_name, "text", q->instruction);
    if (is_blank(instruction) && (!input || is_blank(input)))
        return refuse(c, HONE_EFORMAT, q->instruction_name, "the question is empty");
    hone_buf_puts(&text, instruction);
    if (input && *input) {
        hone_buf_putc(&text, '\n');
        hone_buf_puts(&text, input);
    }
    rc = text.failed ? out_of_memory(c) : add_text(c, "user", text.data, 0);
    hone_buf_clear(&text);
    return rc;
}

static int read_alpaca(converter *c, const json_t *row, const question *q)
{
    const char *output = json_string_value(q->output), *system;
    json_t *history = field_of(row, NAME(c, history));
    int rc;

    if (optional_text(c, &system, row, NAME(c, system)))
        return HONE_EFORMAT;
    if (!q->instruction)
        return wrong_type(c, q->instruction_name, "text", NULL);
    if (!output && !json_is_array(q->output))
        return wrong_type(c, q->output_name, "text", q->output);
    if (output && is_blank(output))
        return refuse(c, HONE_EFORMAT, q->output_name, "the answer is empty");
    if (system && *system) {
        rc = add_text(c, "system", system, 0);
        if (rc)
            return rc;
    }
    if (json_is_string(history) && is_blank(json_string_value(history)))
        return wrong_type(c, NAME(c, history), "a list of [question, answer]", history);
    rc = json_of(c, &history, history, NAME(c, history)); /* a table's cell holds it as text */
    if (!rc)
        rc = read_history(c, history, NAME(c, history));
    json_decref(history);
    if (!rc)
        rc = read_question(c, q);
    if (rc)
        return rc;
    return output ? add_text(c, "assistant", output, 1) : read_turn_list(c, q->output, q->output_name);
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

/* {"id", "type": "function", "function": {"name", "arguments": {...}}} from that shape or the bare function. The
 * arguments become an object: templates print them with tojson. */
static int add_call(const converter *c, json_t *calls, const json_t *given, const char *field)
{
    const json_t *function = field_of(given, "function") ? field_of(given, "function") : given;
    json_t *name = field_of(function, "name"), *id = field_of(given, "id"), *arguments = NULL, *call;
    int rc;

    if (!json_is_object(given) || !json_is_object(function) || !json_is_string(name))
        return refuse(c, HONE_EFORMAT, field, "expected a call {\"name\": text, \"arguments\": {...}}");
    rc = json_of(c, &arguments, field_of(function, "arguments"), field);
    if (!rc && arguments && !json_is_object(arguments))
        rc = refuse(c, HONE_EFORMAT, field, "the arguments of a call must be an object");
    if (rc) {
        json_decref(arguments);
        return rc;
    }
    if (!arguments)
        arguments = json_object();
    call = json_object();
    if ((id && json_object_set(call, "id", id)) ||
        json_object_set_new(call, "type", json_string("function")) ||
        json_object_set_new(call, "function", json_pack("{s:O,s:O}", "name", name, "arguments", arguments)) ||
        json_array_append(calls, call))
        rc = out_of_memory(c);
    json_decref(arguments);
    json_decref(call);
    return rc;
}

/* Puts the calls of `given` (one or a list) into the message. */
static int set_calls(const converter *c, json_t *message, const json_t *given, const char *field)
{
    json_t *calls = json_array();
    size_t i;
    int rc = calls ? 0 : out_of_memory(c);

    if (!rc && !json_is_array(given))
        rc = add_call(c, calls, given, field);
    for (i = 0; !rc && i < json_array_size(given); i++)
        rc = add_call(c, calls, json_array_get(given, i), field);
    if (!rc && json_object_set(message, "tool_calls", calls))
        rc = out_of_memory(c);
    json_decref(calls);
    return rc;
}

/* The row's `tools`: a list, or text that holds one; bare functions are wrapped. */
static int read_tools(const converter *c, json_t *root, const json_t *row)
{
    json_t *given, *tools;
    size_t i;
    int rc = json_of(c, &given, field_of(row, NAME(c, tools)), NAME(c, tools));

    if (rc || !given || (json_is_array(given) && !json_array_size(given))) {
        json_decref(given);
        return rc;
    }
    tools = json_array();
    if (!json_is_array(given))
        rc = wrong_type(c, "tools", "a list", given);
    for (i = 0; !rc && i < json_array_size(given); i++) {
        json_t *tool = json_array_get(given, i);

        if (!json_is_object(field_of(tool, "function")) && !json_is_string(field_of(tool, "name")))
            rc = refuse(c, HONE_EFORMAT, "tools",
                        "expected functions {\"name\", \"description\", \"parameters\"}");
        else if (json_is_object(field_of(tool, "function"))
                     ? json_array_append(tools, tool)
                     : json_array_append_new(tools,
                                             json_pack("{s:s,s:O}", "type", "function", "function", tool)))
            rc = out_of_memory(c);
    }
    if (!rc && json_object_set(root, "tools", tools))
        rc = out_of_memory(c);
    json_decref(tools);
    json_decref(given);
    return rc;
}

/* ---- sharegpt and messages ----------------------------------------------------------------------------------------- */

typedef struct role_name {
    const char *given, *role;
    bool call; /* the content is a call of tools, not text */
} role_name;

static const role_name roles[] = {
    {"user", "user", false},
    {"assistant", "assistant", false},
    {"system", "system", false},
    {"tool", "tool", false},
    {"human", "user", false},
    {"gpt", "assistant", false},
    {"developer", "developer", false},
    {"observation", "tool", false},
    {"function_call", "assistant", true},
};

/* The text of a message's content: text, or a list of text parts. *out is a new reference, NULL when absent. */
static int read_content(const converter *c, json_t **out, json_t *v, const char *field)
{
    hone_buf text = {0};
    size_t i;
    int rc = 0;

    *out = NULL;
    if (!v)
        return 0;
    if (json_is_string(v)) {
        *out = json_incref(v);
        return 0;
    }
    if (!json_is_array(v))
        return wrong_type(c, field, "text or a list of parts", v);
    for (i = 0; !rc && i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i);
        const char *type = json_string_value(field_of(part, "type"));
        const json_t *piece = field_of(part, "text") ? field_of(part, "text") : field_of(part, "value");
        char reason[120];

        if (!type)
            rc = refuse(c, HONE_EFORMAT, field, "a part of the content has no `type`");
        else if (strcmp(type, "text")) {
            snprintf(reason, sizeof reason, "a part of type `%.40s` is not supported; supported: text", type);
            rc = refuse(c, HONE_EUNSUPPORTED, field, reason);
        } else if (!json_is_string(piece))
            rc = refuse(c, HONE_EFORMAT, field, "a text part has no `text`");
        else
            hone_buf_add(&text, json_string_value(piece), json_string_length(piece));
    }
    if (!rc) {
        *out = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
        if (!*out)
            rc = out_of_memory(c);
    }
    hone_buf_clear(&text);
    return rc;
}

/* *weight as the turn's own switch says; left alone where there is none. */
static int read_weight(const converter *c, double *weight, const json_t *turn, const char *field)
{
    static const char *const names[] = {"loss_weight", "weight", "train", "loss"};
    const char *seen = NULL;
    double value = 0;
    size_t i;

    for (i = 0; i < HONE_COUNT(names); i++) {
        const json_t *v = field_of(turn, names[i]);
        char where[80];
        double w;

        if (!v)
            continue;
        snprintf(where, sizeof where, "%.60s.%s", field, names[i]);
        if (!json_is_boolean(v) && !json_is_number(v))
            return wrong_type(c, where, "true, false or a number", v);
        w = json_is_boolean(v) ? (double)json_is_true(v) : json_number_value(v);
        if (w < 0 || w > 1000)
            return refuse(c, HONE_ERANGE, where, "a weight is a number from 0 to 1000");
        if (seen && w != value)
            return refuse(c, HONE_EFORMAT, where, "disagrees with the other weight of this turn");
        if (w != 0 && *weight == 0)
            return refuse(c, HONE_EUNSUPPORTED, where,
                          "only turns of the assistant can be trained by this version");
        seen = names[i];
        value = w;
    }
    if (seen)
        *weight = value;
    return 0;
}

/* Reasoning under any of its names, and fields that some templates print. */
static int copy_extras(const converter *c, json_t *message, const json_t *turn, const char *field)
{
    static const char *const reasoning[] = {"reasoning_content", "thinking", "reasoning"};
    static const char *const plain[] = {"name", "tool_call_id"};
    size_t i;

    for (i = 0; i < HONE_COUNT(reasoning); i++) {
        json_t *v = field_of(turn, reasoning[i]);

        if (v && !json_is_string(v))
            return wrong_type(c, field, "text as reasoning", v);
        if (v && !json_object_get(message, "reasoning_content") &&
            json_object_set(message, "reasoning_content", v))
            return out_of_memory(c);
    }
    for (i = 0; i < HONE_COUNT(plain); i++) {
        json_t *v = field_of(turn, plain[i]);

        if (v && json_object_set(message, plain[i], v))
            return out_of_memory(c);
    }
    return 0;
}

static int read_turn(converter *c, const json_t *turn, const char *field)
{
    const hone_row_fields *f = c->fields;
    bool from = field_of(turn, "from") != NULL, assistant, has_calls;
    const char *role_field = f && f->role ? f->role : from ? "from" : "role";
    const char *content_field = f && f->content ? f->content : from ? "value" : "content";
    json_t *given = field_of(turn, content_field), *calls = field_of(turn, "tool_calls"), *message,
           *content = NULL;
    const json_t *name = field_of(turn, role_field);
    double weight;
    const role_name *role = NULL;
    char reason[160], where[120];
    size_t i;
    int rc;

    if (!json_is_object(turn))
        return wrong_type(c, field, "an object with role and content", turn);
    snprintf(where, sizeof where, "%.60s.%.40s", field, role_field);
    if (!json_is_string(name))
        return wrong_type(c, where, "text", name);
    for (i = 0; i < HONE_COUNT(roles) && !role; i++)
        if (!strcmp(roles[i].given, json_string_value(name)))
            role = &roles[i];
    if (!role) {
        snprintf(reason, sizeof reason,
                 "unknown role `%.30s`; known: user, assistant, system, developer, tool, human, gpt, "
                 "observation, function_call",
                 json_string_value(name));
        return refuse(c, HONE_EFORMAT, where, reason);
    }
    assistant = !strcmp(role->role, "assistant");
    weight = assistant;
    if (calls && json_is_array(calls) && !json_array_size(calls))
        calls = NULL;
    if (calls && (!assistant || role->call))
        return refuse(c, HONE_EFORMAT, field, "`tool_calls` belong to a turn of the assistant");
    rc = read_weight(c, &weight, turn, field);
    snprintf(where, sizeof where, "%.60s.%.40s", field, content_field);
    if (!rc && role->call) {
        rc = json_of(c, &calls, given, where);
        if (!rc && (!calls || (json_is_array(calls) && !json_array_size(calls))))
            rc = refuse(c, HONE_EFORMAT, where, "the call is empty");
        if (!rc) {
            content = json_string("");
            rc = content ? 0 : out_of_memory(c);
        }
    } else if (!rc) {
        json_incref(calls);
        rc = read_content(c, &content, given, where);
    }
    has_calls = calls != NULL;
    if (!rc && !content && !has_calls)
        rc = wrong_type(c, where, "text", given);
    if (!rc && assistant && !has_calls && is_blank(json_string_value(content)))
        rc = refuse(c, HONE_EFORMAT, where, "the answer is empty");
    if (!rc) {
        rc = add_message(c, &message, role->role, content, weight);
        content = NULL; /* taken */
    }
    if (!rc && has_calls)
        rc = set_calls(c, message, calls, role->call ? where : field);
    if (!rc)
        rc = copy_extras(c, message, turn, field);
    json_decref(content);
    json_decref(calls);
    return rc;
}

static int read_turn_list(converter *c, json_t *list, const char *name)
{
    char field[80];
    size_t i;
    int rc = 0;

    if (!json_array_size(list))
        return refuse(c, HONE_EFORMAT, name, "the list of turns is empty");
    for (i = 0; !rc && i < json_array_size(list); i++) {
        snprintf(field, sizeof field, "%.50s[%zu]", name, i);
        rc = read_turn(c, json_array_get(list, i), field);
    }
    return rc;
}

static int read_turns(converter *c, const json_t *row, const char *list_name)
{
    const char *system;
    json_t *list = NULL;
    int rc = optional_text(c, &system, row, NAME(c, system));

    if (!rc) /* a table's cell holds the list as text */
        rc = json_of(c, &list, json_object_get(row, list_name), list_name);
    if (!rc && !json_is_array(list))
        rc = wrong_type(c, list_name, "a list of turns", list);
    if (!rc && system && *system && json_array_size(list))
        rc = add_text(c, "system", system, 0);
    if (!rc)
        rc = read_turn_list(c, list, list_name);
    if (!rc && system && *system && c->out->n_messages > 1 &&
        !strcmp(json_string_value(json_object_get(json_array_get(c->messages, 1), "role")), "system"))
        rc = refuse(c, HONE_EFORMAT, NAME(c, system), "the turns begin with a system turn of their own");
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

static int read_plain_text(converter *c, json_t *root, json_t *text)
{
    if (!json_is_string(text))
        return wrong_type(c, NAME(c, text), "text", text);
    if (is_blank(json_string_value(text)))
        return refuse(c, HONE_EFORMAT, NAME(c, text), "the text is empty");
    c->out->plain_text = true;
    return json_object_del(root, "messages") || json_object_set(root, "text", text) ? out_of_memory(c) : 0;
}

/* The conversation of a row that has one. `messages`, `conversations`: whether it has these lists. */
static int read_conversation(converter *c, json_t *root, json_t *row, const question *q, bool messages,
                             bool conversations)
{
    json_t *kwargs = field_of(row, "chat_template_kwargs");
    const char *list = messages ? NAME(c, messages) : "conversations";
    int rc;

    if (messages || conversations)
        rc = read_turns(c, row, list);
    else
        rc = read_alpaca(c, row, q);
    if (!rc)
        rc = read_tools(c, root, row);
    if (!rc && kwargs && !json_is_object(kwargs))
        rc = wrong_type(c, "chat_template_kwargs", "an object", kwargs);
    if (!rc && kwargs && json_object_set(root, "chat_template_kwargs", kwargs))
        rc = out_of_memory(c);
    return rc;
}

static int read_row(converter *c, json_t *root, json_t *row, const hone_rows_options *options)
{
    static const char *const media[] = {"images", "image", "videos", "video", "audios", "audio"};
    const json_t *messages = field_of(row, NAME(c, messages));
    const json_t *turns = c->fields && c->fields->messages ? NULL : field_of(row, "conversations");
    const char *list = messages ? NAME(c, messages) : turns ? "conversations" : NULL;
    json_t *text = field_of(row, NAME(c, text));
    conversation *v = c->out;
    question q = {0};
    bool any = false;
    size_t i;
    int rc = 0;

    for (i = 0; i < HONE_COUNT(media); i++) {
        const json_t *m = field_of(row, media[i]);

        if (m && !(json_is_array(m) && !json_array_size(m)))
            return refuse(c, HONE_EUNSUPPORTED, media[i], "only text is supported");
    }
    if (!!messages + !!turns + !!field_of(row, "instruction") > 1)
        return refuse(c, HONE_EFORMAT, list,
                      "the row has the fields of two formats (`messages`, `conversations`, `instruction`)");
    if (!list)
        rc = pick_question(c, &q, row);
    if (rc)
        return rc;
    if (!list && text && !(q.instruction && q.output))
        return read_plain_text(c, root, text);
    if (!list && !q.instruction && !q.output)
        return unknown_format(c, row);
    rc = read_conversation(c, root, row, &q, messages != NULL, turns != NULL);
    if (!rc && options->mask_history)
        mask_history(v, c->messages);
    for (i = 0; !rc && i < v->n_messages; i++) {
        any |= v->trained[i];
        v->fractional |= v->trained[i] && v->weight[i] != 1;
    }
    if (!rc && !any)
        rc = refuse(c, HONE_EFORMAT, list ? list : q.output_name, "no turn of the assistant is trained");
    return rc;
}

static int write_piece(const char *bytes, size_t n, void *ud)
{
    hone_buf *b = ud;

    hone_buf_add(b, bytes, n);
    return b->failed ? -1 : 0;
}

int json_write(hone_buf *out, const json_t *value, hone_error *err)
{
    if (json_dump_callback(value, write_piece, out, JSON_COMPACT) == 0)
        return 0;
    return hone_error_set(err, HONE_ENOMEM, "out of memory");
}

int conversation_read(conversation *out, const json_t *row, const hone_rows_options *options,
                      const char *file, uint64_t line, hone_error *err)
{
    converter c = {out, json_array(), options->fields, file, line, err};
    json_t *root = json_object();
    int rc = 0;

    out->text.len = 0;
    out->n_messages = 0;
    out->plain_text = out->fractional = false;
    if (!root || !c.messages || json_object_set(root, "messages", c.messages))
        rc = out_of_memory(&c);
    if (!rc)
        rc = read_row(&c, root, (json_t *)row, options);
    if (!rc)
        rc = json_write(&out->text, root, err);
    json_decref(root);
    json_decref(c.messages);
    return rc;
}

void conversation_clear(conversation *c)
{
    hone_buf_clear(&c->text);
    hone_free(c->trained);
    hone_free(c->weight);
    *c = (conversation){0};
}
