/* A row of any format as one conversation, the shape that chat templates take. This is the one place that knows the
 * names other programs give to fields and roles; behind it there are only messages with role, content, tool_calls. */
#include <string.h>

#include "data/data.h"

typedef struct converter {
    conversation *out;
    json_t *messages; /* array being built */
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
static int add_message(converter *c, json_t **out, const char *role, json_t *content, bool trained)
{
    conversation *v = c->out;
    json_t *message = json_object();
    uint8_t *flags;

    if (v->n_messages == v->capacity) {
        size_t capacity = v->capacity ? 2 * v->capacity : 16;

        flags = hone_realloc_array(v->trained, capacity, 1);
        if (!flags) {
            json_decref(message);
            json_decref(content);
            return out_of_memory(c);
        }
        v->trained = flags;
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
    v->trained[v->n_messages++] = trained;
    if (out)
        *out = message;
    return 0;
}

/* The same with text; NULL text is a failed allocation. */
static int add_text(converter *c, const char *role, const char *text, bool trained)
{
    json_t *content = json_string(text);

    return content ? add_message(c, NULL, role, content, trained) : out_of_memory(c);
}

/* ---- alpaca ---------------------------------------------------------------------------------------------------- */

static int read_history(converter *c, const json_t *history)
{
    char field[40];
    size_t i;
    int rc = 0;

    if (history && !json_is_array(history))
        return wrong_type(c, "history", "a list of [question, answer]", history);
    for (i = 0; !rc && i < json_array_size(history); i++) {
        const json_t *pair = json_array_get(history, i);
        const char *question = json_string_value(json_array_get(pair, 0));
        const char *answer = json_string_value(json_array_get(pair, 1));

        snprintf(field, sizeof field, "history[%zu]", i);
        if (!json_is_array(pair) || json_array_size(pair) != 2 || !question || !answer)
            return refuse(c, HONE_EFORMAT, field, "expected [question, answer], two texts");
        if (is_blank(answer))
            return refuse(c, HONE_EFORMAT, field, "the answer is empty");
        rc = add_text(c, "user", question, false);
        if (!rc)
            rc = add_text(c, "assistant", answer, true);
    }
    return rc;
}

static int read_alpaca(converter *c, const json_t *row)
{
    const char *instruction, *input, *output, *system;
    hone_buf question = {0};
    int rc = 0;

    if (optional_text(c, &instruction, row, "instruction") || optional_text(c, &input, row, "input") ||
        optional_text(c, &output, row, "output") || optional_text(c, &system, row, "system"))
        return HONE_EFORMAT;
    if (!instruction)
        return wrong_type(c, "instruction", "text", NULL);
    if (!output)
        return wrong_type(c, "output", "text", NULL);
    if (is_blank(instruction) && (!input || is_blank(input)))
        return refuse(c, HONE_EFORMAT, "instruction", "the question is empty");
    if (is_blank(output))
        return refuse(c, HONE_EFORMAT, "output", "the answer is empty");
    if (system && *system)
        rc = add_text(c, "system", system, false);
    if (!rc)
        rc = read_history(c, field_of(row, "history"));
    if (rc)
        return rc;
    hone_buf_puts(&question, instruction);
    if (input && *input) {
        hone_buf_putc(&question, '\n');
        hone_buf_puts(&question, input);
    }
    rc = question.failed ? out_of_memory(c) : add_text(c, "user", question.data, false);
    hone_buf_clear(&question);
    return rc ? rc : add_text(c, "assistant", output, true);
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

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
    int rc = json_of(c, &given, field_of(row, "tools"), "tools");

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

/* *trained as the turn's own switch says; left alone where there is none. */
static int read_weight(const converter *c, bool *trained, const json_t *turn, const char *field)
{
    static const char *const names[] = {"loss_weight", "weight", "train", "loss"};
    const char *seen = NULL;
    bool value = false;
    size_t i;

    for (i = 0; i < HONE_COUNT(names); i++) {
        const json_t *v = field_of(turn, names[i]);
        char where[80];
        bool on;

        if (!v)
            continue;
        snprintf(where, sizeof where, "%.60s.%s", field, names[i]);
        if (!json_is_boolean(v) && !json_is_number(v))
            return wrong_type(c, where, "true, false, 0 or 1", v);
        on = json_is_true(v) || (json_is_number(v) && json_number_value(v) == 1);
        if (!on && json_is_number(v) && json_number_value(v) != 0)
            return refuse(c, HONE_EUNSUPPORTED, where,
                          "weights other than 0 and 1 are not supported by this version");
        if (seen && on != value)
            return refuse(c, HONE_EFORMAT, where, "disagrees with the other weight of this turn");
        if (on && !*trained)
            return refuse(c, HONE_EUNSUPPORTED, where,
                          "only turns of the assistant can be trained by this version");
        seen = names[i];
        value = on;
    }
    if (seen)
        *trained = value;
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
    bool from = json_object_get(turn, "from") != NULL, trained, has_calls;
    json_t *given = field_of(turn, from ? "value" : "content"), *calls = field_of(turn, "tool_calls"),
           *message, *content = NULL;
    const json_t *name = field_of(turn, from ? "from" : "role");
    const role_name *role = NULL;
    char reason[160], where[80];
    size_t i;
    int rc;

    if (!json_is_object(turn))
        return wrong_type(c, field, "an object with role and content", turn);
    snprintf(where, sizeof where, "%.60s.%s", field, from ? "from" : "role");
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
    trained = !strcmp(role->role, "assistant");
    if (calls && json_is_array(calls) && !json_array_size(calls))
        calls = NULL;
    if (calls && (!trained || role->call))
        return refuse(c, HONE_EFORMAT, field, "`tool_calls` belong to a turn of the assistant");
    rc = read_weight(c, &trained, turn, field);
    snprintf(where, sizeof where, "%.60s.%s", field, from ? "value" : "content");
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
    if (!rc && !strcmp(role->role, "assistant") && !has_calls && is_blank(json_string_value(content)))
        rc = refuse(c, HONE_EFORMAT, where, "the answer is empty");
    if (!rc) {
        rc = add_message(c, &message, role->role, content, trained);
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

static int read_turns(converter *c, const json_t *row, const char *list_name)
{
    const json_t *list = json_object_get(row, list_name);
    const char *system;
    char field[64];
    size_t i;
    int rc = optional_text(c, &system, row, "system");

    if (!rc && !json_is_array(list))
        rc = wrong_type(c, list_name, "a list of turns", list);
    if (!rc && !json_array_size(list))
        rc = refuse(c, HONE_EFORMAT, list_name, "the list of turns is empty");
    if (!rc && system && *system)
        rc = add_text(c, "system", system, false);
    for (i = 0; !rc && i < json_array_size(list); i++) {
        snprintf(field, sizeof field, "%s[%zu]", list_name, i);
        rc = read_turn(c, json_array_get(list, i), field);
    }
    if (!rc && system && *system && c->out->n_messages > 1 &&
        !strcmp(json_string_value(json_object_get(json_array_get(c->messages, 1), "role")), "system"))
        rc = refuse(c, HONE_EFORMAT, "system", "the turns begin with a system turn of their own");
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
        "%s:%llu: this row has none of the fields `messages`, `conversations`, `instruction`; it has %.300s",
        c->file, (unsigned long long)c->line, names.data ? names.data : "none");
    hone_buf_clear(&names);
    return rc;
}

static int read_row(converter *c, json_t *root, json_t *row)
{
    static const char *const media[] = {"images", "image", "videos", "video", "audios", "audio"};
    const json_t *messages = field_of(row, "messages"), *turns = field_of(row, "conversations");
    const json_t *instruction = json_object_get(row, "instruction");
    json_t *kwargs = field_of(row, "chat_template_kwargs");
    bool any = false;
    size_t i;
    int rc;

    for (i = 0; i < HONE_COUNT(media); i++) {
        const json_t *v = field_of(row, media[i]);

        if (v && !(json_is_array(v) && !json_array_size(v)))
            return refuse(c, HONE_EUNSUPPORTED, media[i], "only text is supported");
    }
    if (!!messages + !!turns + !!instruction > 1)
        return refuse(c, HONE_EFORMAT, messages ? "messages" : "conversations",
                      "the row has the fields of two formats (`messages`, `conversations`, `instruction`)");
    if (messages)
        rc = read_turns(c, row, "messages");
    else if (turns)
        rc = read_turns(c, row, "conversations");
    else if (instruction || field_of(row, "output"))
        rc = read_alpaca(c, row);
    else
        rc = unknown_format(c, row);
    if (!rc)
        rc = read_tools(c, root, row);
    if (!rc && kwargs && !json_is_object(kwargs))
        rc = wrong_type(c, "chat_template_kwargs", "an object", kwargs);
    if (!rc && kwargs && json_object_set(root, "chat_template_kwargs", kwargs))
        rc = out_of_memory(c);
    for (i = 0; !rc && i < c->out->n_messages; i++)
        any |= c->out->trained[i];
    if (!rc && !any)
        rc = refuse(c, HONE_EFORMAT, messages ? "messages" : "conversations",
                    "no turn of the assistant is trained");
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

int conversation_read(conversation *out, const json_t *row, const char *file, uint64_t line, hone_error *err)
{
    converter c = {out, json_array(), file, line, err};
    json_t *root = json_object();
    int rc = 0;

    out->text.len = 0;
    out->n_messages = 0;
    if (!root || !c.messages || json_object_set(root, "messages", c.messages))
        rc = out_of_memory(&c);
    if (!rc)
        rc = read_row(&c, root, (json_t *)row);
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
    *c = (conversation){0};
}
