/* Turns and tools: the names that other programs give to roles, contents, calls and switches. */
#include <string.h>

#include "data/convert.h"

/* ---- tools ------------------------------------------------------------------------------------------------------- */

/* {"id", "type": "function", "function": {"name", "arguments": {...}}} from that shape or the bare function, whose arguments
 * some call parameters. They become an object: templates print them with tojson. */
static int add_call(const converter *c, json_t *calls, const json_t *given, const char *field)
{
    const json_t *function = convert_field(given, "function") ? convert_field(given, "function") : given;
    json_t *name = convert_field(function, "name"), *id = convert_field(given, "id"), *arguments = NULL,
           *call;
    const char *key = convert_field(function, "arguments") ? "arguments" : "parameters";
    int rc;

    if (!json_is_object(given) || !json_is_object(function) || !json_is_string(name))
        return convert_refuse(c, HONE_EFORMAT, field,
                              "expected a call {\"name\": text, \"arguments\": {...}}");
    rc = convert_json(c, &arguments, convert_field(function, key), field);
    if (!rc && arguments && !json_is_object(arguments))
        rc = convert_refuse(c, HONE_EFORMAT, field, "the arguments of a call must be an object");
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
        rc = convert_no_memory(c);
    json_decref(arguments);
    json_decref(call);
    return rc;
}

/* Adds the calls of `given` (one or a list) to those of the message. */
static int add_calls(const converter *c, json_t *message, const json_t *given, const char *field)
{
    json_t *calls = json_object_get(message, "tool_calls");
    size_t i;
    int rc = 0;

    if (!calls && (json_object_set_new(message, "tool_calls", json_array()) ||
                   !(calls = json_object_get(message, "tool_calls"))))
        return convert_no_memory(c);
    if (!json_is_array(given))
        return add_call(c, calls, given, field);
    for (i = 0; !rc && i < json_array_size(given); i++)
        rc = add_call(c, calls, json_array_get(given, i), field);
    return rc;
}

/* One tool, an object or text that holds one; a bare function is wrapped. */
static int add_tool(const converter *c, json_t *tools, json_t *given, const char *field)
{
    json_t *tool;
    int rc = convert_json(c, &tool, given, field);

    if (!rc && !json_is_object(convert_field(tool, "function")) &&
        !json_is_string(convert_field(tool, "name")))
        rc = convert_refuse(c, HONE_EFORMAT, field,
                            "expected functions {\"name\", \"description\", \"parameters\"}");
    else if (!rc && (json_is_object(convert_field(tool, "function"))
                         ? json_array_append(tools, tool)
                         : json_array_append_new(
                               tools, json_pack("{s:s,s:O}", "type", "function", "function", tool))))
        rc = convert_no_memory(c);
    json_decref(tool);
    return rc;
}

int convert_tools(const converter *c, json_t *value, const char *field)
{
    json_t *given, *tools, *before = json_object_get(c->root, "tools");
    size_t i;
    int rc = convert_json(c, &given, value, field);

    if (rc || !given || (json_is_array(given) && !json_array_size(given))) {
        json_decref(given);
        return rc;
    }
    tools = json_array();
    if (!json_is_array(given))
        rc = convert_wrong_type(c, field, "a list", given);
    for (i = 0; !rc && i < json_array_size(given); i++)
        rc = add_tool(c, tools, json_array_get(given, i), field);
    if (!rc && before && !json_equal(before, tools))
        rc = convert_refuse(c, HONE_EFORMAT, field, "the row has other tools in another place");
    if (!rc && json_object_set(c->root, "tools", tools))
        rc = convert_no_memory(c);
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
    {"function", "tool", false},
    {"tool_response", "tool", false},
    {"model", "assistant", false},
    {"ai", "assistant", false},
    {"function_call", "assistant", true},
    {"tool_call", "assistant", true},
};

/* The list of names that the files give to one role. */
typedef struct given_role {
    const char *role;
    const hone_strings *names;
} given_role;

/* The role of a name: one of the files' own, else a known one; NULL when it is neither. */
static const char *find_role(const converter *c, const char *name, bool *call)
{
    const hone_row_roles none = {{0}, {0}, {0}, {0}}, *r = c->roles ? c->roles : &none;
    const given_role given[] = {
        {"user", &r->user}, {"assistant", &r->assistant}, {"system", &r->system}, {"tool", &r->tool}};
    size_t i, j;

    *call = false;
    for (i = 0; i < HONE_COUNT(given); i++)
        for (j = 0; j < given[i].names->n; j++)
            if (!strcmp(given[i].names->item[j], name))
                return given[i].role;
    for (i = 0; i < HONE_COUNT(roles); i++)
        if (!strcmp(roles[i].given, name)) {
            *call = roles[i].call;
            return roles[i].role;
        }
    return NULL;
}

/* The text of one part of a content: a string, {"text": ...}, or {"type": "text", "text" or "value": ...}. */
static int add_part(const converter *c, hone_buf *text, const json_t *part, const char *field)
{
    static const char *const kinds[] = {"text", "input_text", "output_text"};
    const json_t *type = convert_field(part, "type"), *piece = convert_field(part, "text");
    char reason[120];
    size_t i;

    if (json_is_string(part)) {
        piece = part;
    } else {
        if (!json_is_object(part))
            return convert_wrong_type(c, field, "a part of the content", part);
        if (type ? !json_is_string(type) : !piece)
            return convert_refuse(c, HONE_EFORMAT, field, "a part of the content has no `type`");
        for (i = 0; type && i < HONE_COUNT(kinds) && strcmp(json_string_value(type), kinds[i]); i++)
            ;
        if (type && i == HONE_COUNT(kinds)) {
            snprintf(reason, sizeof reason, "a part of type `%.40s` is not supported; supported: text",
                     json_string_value(type));
            return convert_refuse(c, HONE_EUNSUPPORTED, field, reason);
        }
        if (!piece)
            piece = convert_field(part, "value");
        if (!json_is_string(piece))
            return convert_refuse(c, HONE_EFORMAT, field, "a text part has no `text`");
    }
    hone_buf_add(text, json_string_value(piece), json_string_length(piece));
    return 0;
}

/* The text of a message's content: text, or a list of text parts. *out is a new reference, NULL when absent. */
static int read_content(const converter *c, json_t **out, json_t *v, const char *field)
{
    char where[140];
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
        return convert_wrong_type(c, field, "text or a list of parts", v);
    for (i = 0; !rc && i < json_array_size(v); i++) {
        snprintf(where, sizeof where, "%.110s[%zu]", field, i);
        rc = add_part(c, &text, json_array_get(v, i), where);
    }
    if (!rc) {
        *out = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
        if (!*out)
            rc = convert_no_memory(c);
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
        const json_t *v = convert_field(turn, names[i]);
        char where[80];
        double w;

        if (!v)
            continue;
        snprintf(where, sizeof where, "%.60s.%s", field, names[i]);
        if (!json_is_boolean(v) && !json_is_number(v))
            return convert_wrong_type(c, where, "true, false or a number", v);
        w = json_is_boolean(v) ? (double)json_is_true(v) : json_number_value(v);
        if (w < 0 || w > 1000)
            return convert_refuse(c, HONE_ERANGE, where, "a weight is a number from 0 to 1000");
        if (seen && w != value)
            return convert_refuse(c, HONE_EFORMAT, where, "disagrees with the other weight of this turn");
        if (w != 0 && *weight == 0)
            return convert_refuse(c, HONE_EUNSUPPORTED, where,
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
        json_t *v = convert_field(turn, reasoning[i]);

        if (v && !json_is_string(v))
            return convert_wrong_type(c, field, "text as reasoning", v);
        if (v && !json_object_get(message, "reasoning_content") &&
            json_object_set(message, "reasoning_content", v))
            return convert_no_memory(c);
    }
    for (i = 0; i < HONE_COUNT(plain); i++) {
        json_t *v = convert_field(turn, plain[i]);

        if (v && json_object_set(message, plain[i], v))
            return convert_no_memory(c);
    }
    return 0;
}

/* The names of a turn's role and content, and what the role is. */
typedef struct turn_head {
    const char *role, *content_field;
    bool assistant, call;
} turn_head;

static int read_role(const converter *c, turn_head *out, const json_t *turn, const char *field)
{
    const hone_row_fields *f = c->fields;
    bool from = convert_field(turn, "from") != NULL;
    const char *role_field = f && f->role ? f->role : from ? "from" : "role";
    const json_t *name = convert_field(turn, role_field);
    char reason[200], where[120];

    if (!json_is_object(turn))
        return convert_wrong_type(c, field, "an object with role and content", turn);
    snprintf(where, sizeof where, "%.60s.%.40s", field, role_field);
    if (!json_is_string(name))
        return convert_wrong_type(c, where, "text", name);
    out->content_field = f && f->content ? f->content : from ? "value" : "content";
    out->role = find_role(c, json_string_value(name), &out->call);
    if (!out->role) {
        snprintf(reason, sizeof reason,
                 "unknown role `%.30s`; known: user, assistant, system, developer, tool, human, gpt, "
                 "observation, function_call; data.roles can name more",
                 json_string_value(name));
        return convert_refuse(c, HONE_EFORMAT, where, reason);
    }
    out->assistant = !strcmp(out->role, "assistant");
    return 0;
}

/* The calls of a turn: its content where the role says so, else `tool_calls`, or `function_call` as it was named before.
 * *out is a new reference, NULL where there are none. */
static int read_calls(const converter *c, json_t **out, const json_t *turn, const turn_head *head,
                      const char *field, const char *content)
{
    const char *key = convert_field(turn, "tool_calls") ? "tool_calls" : "function_call";
    char where[120];
    int rc;

    snprintf(where, sizeof where, "%.60s.%.40s", field, key);
    rc = convert_json(c, out, convert_field(turn, key), where);
    if (!rc && json_is_array(*out) && !json_array_size(*out)) {
        json_decref(*out);
        *out = NULL;
    }
    if (!rc && *out && (!head->assistant || head->call)) {
        json_decref(*out);
        *out = NULL;
        rc = convert_refuse(c, HONE_EFORMAT, where, "calls belong to a turn of the assistant");
    }
    if (rc || !head->call)
        return rc;
    rc = convert_json(c, out, convert_field(turn, head->content_field), content);
    if (!rc && (!*out || (json_is_array(*out) && !json_array_size(*out))))
        rc = convert_refuse(c, HONE_EFORMAT, content, "the call is empty");
    return rc;
}

static int read_turn(converter *c, const json_t *turn, const char *field)
{
    json_t *calls = NULL, *content = NULL, *message = NULL;
    turn_head head = {0};
    char where[120];
    double weight;
    int rc = read_role(c, &head, turn, field);

    if (rc)
        return rc;
    weight = head.assistant;
    rc = read_weight(c, &weight, turn, field);
    snprintf(where, sizeof where, "%.60s.%.40s", field, head.content_field);
    if (!rc)
        rc = read_calls(c, &calls, turn, &head, field, where);
    if (!rc && head.call) {
        content = json_string("");
        rc = content ? 0 : convert_no_memory(c);
    } else if (!rc) {
        rc = read_content(c, &content, convert_field(turn, head.content_field), where);
    }
    if (!rc && !content && !calls)
        rc = convert_wrong_type(c, where, "text", NULL);
    if (!rc && head.assistant && !calls && text_is_blank(json_string_value(content)))
        rc = convert_refuse(c, HONE_EFORMAT, where, "the answer is empty");
    /* Calls made at once stand in one message, also where they were written as a turn each. */
    if (!rc && head.call && c->call && (float)weight == c->out->weight[c->out->n_messages - 1])
        message = json_array_get(c->messages, c->out->n_messages - 1);
    if (!rc && !message) {
        rc = convert_add(c, &message, head.role, content, weight);
        content = NULL; /* taken */
    }
    if (!rc && calls)
        rc = add_calls(c, message, calls, head.call ? where : field);
    if (!rc)
        rc = copy_extras(c, message, turn, field);
    if (!rc && convert_field(turn, "tools") &&
        (!strcmp(head.role, "system") || !strcmp(head.role, "developer"))) {
        snprintf(where, sizeof where, "%.60s.tools", field);
        rc = convert_tools(c, convert_field(turn, "tools"), where);
    }
    c->call = head.call;
    json_decref(content);
    json_decref(calls);
    return rc;
}

int convert_turns(converter *c, json_t *list, const char *name)
{
    char field[80];
    size_t i;
    int rc = 0;

    if (!json_array_size(list))
        return convert_refuse(c, HONE_EFORMAT, name, "the list of turns is empty");
    c->call = false;
    for (i = 0; !rc && i < json_array_size(list); i++) {
        snprintf(field, sizeof field, "%.50s[%zu]", name, i);
        rc = read_turn(c, json_array_get(list, i), field);
    }
    return rc;
}
