/* Turns and tools: the names that other programs give to roles, contents, calls and switches. */
#include <string.h>

#include "data/convert.h"

/* ---- tools ------------------------------------------------------------------------------------------------------- */

/* {"id", "type": "function", "function": {"name", "arguments": {...}}} from that shape or the bare function. The
 * arguments become an object: templates print them with tojson. */
static int add_call(const converter *c, json_t *calls, const json_t *given, const char *field)
{
    const json_t *function = convert_field(given, "function") ? convert_field(given, "function") : given;
    json_t *name = convert_field(function, "name"), *id = convert_field(given, "id"), *arguments = NULL,
           *call;
    int rc;

    if (!json_is_object(given) || !json_is_object(function) || !json_is_string(name))
        return convert_refuse(c, HONE_EFORMAT, field,
                              "expected a call {\"name\": text, \"arguments\": {...}}");
    rc = convert_json(c, &arguments, convert_field(function, "arguments"), field);
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

/* Puts the calls of `given` (one or a list) into the message. */
static int set_calls(const converter *c, json_t *message, const json_t *given, const char *field)
{
    json_t *calls = json_array();
    size_t i;
    int rc = calls ? 0 : convert_no_memory(c);

    if (!rc && !json_is_array(given))
        rc = add_call(c, calls, given, field);
    for (i = 0; !rc && i < json_array_size(given); i++)
        rc = add_call(c, calls, json_array_get(given, i), field);
    if (!rc && json_object_set(message, "tool_calls", calls))
        rc = convert_no_memory(c);
    json_decref(calls);
    return rc;
}

/* The row's `tools`: a list, or text that holds one; bare functions are wrapped. */
int convert_tools(const converter *c, json_t *root, const json_t *row)
{
    json_t *given, *tools;
    size_t i;
    int rc = convert_json(c, &given, convert_field(row, NAME(c, tools)), NAME(c, tools));

    if (rc || !given || (json_is_array(given) && !json_array_size(given))) {
        json_decref(given);
        return rc;
    }
    tools = json_array();
    if (!json_is_array(given))
        rc = convert_wrong_type(c, "tools", "a list", given);
    for (i = 0; !rc && i < json_array_size(given); i++) {
        json_t *tool = json_array_get(given, i);

        if (!json_is_object(convert_field(tool, "function")) && !json_is_string(convert_field(tool, "name")))
            rc = convert_refuse(c, HONE_EFORMAT, "tools",
                                "expected functions {\"name\", \"description\", \"parameters\"}");
        else if (json_is_object(convert_field(tool, "function"))
                     ? json_array_append(tools, tool)
                     : json_array_append_new(tools,
                                             json_pack("{s:s,s:O}", "type", "function", "function", tool)))
            rc = convert_no_memory(c);
    }
    if (!rc && json_object_set(root, "tools", tools))
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
    {"function_call", "assistant", true},
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
        return convert_wrong_type(c, field, "text or a list of parts", v);
    for (i = 0; !rc && i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i);
        const char *type = json_string_value(convert_field(part, "type"));
        const json_t *piece =
            convert_field(part, "text") ? convert_field(part, "text") : convert_field(part, "value");
        char reason[120];

        if (!type)
            rc = convert_refuse(c, HONE_EFORMAT, field, "a part of the content has no `type`");
        else if (strcmp(type, "text")) {
            snprintf(reason, sizeof reason, "a part of type `%.40s` is not supported; supported: text", type);
            rc = convert_refuse(c, HONE_EUNSUPPORTED, field, reason);
        } else if (!json_is_string(piece))
            rc = convert_refuse(c, HONE_EFORMAT, field, "a text part has no `text`");
        else
            hone_buf_add(&text, json_string_value(piece), json_string_length(piece));
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

static int read_turn(converter *c, const json_t *turn, const char *field)
{
    const hone_row_fields *f = c->fields;
    bool from = convert_field(turn, "from") != NULL, assistant, has_calls, call;
    const char *role_field = f && f->role ? f->role : from ? "from" : "role";
    const char *content_field = f && f->content ? f->content : from ? "value" : "content";
    json_t *given = convert_field(turn, content_field), *calls = convert_field(turn, "tool_calls"), *message,
           *content = NULL;
    const json_t *name = convert_field(turn, role_field);
    char reason[200], where[120];
    const char *role;
    double weight;
    int rc;

    if (!json_is_object(turn))
        return convert_wrong_type(c, field, "an object with role and content", turn);
    snprintf(where, sizeof where, "%.60s.%.40s", field, role_field);
    if (!json_is_string(name))
        return convert_wrong_type(c, where, "text", name);
    role = find_role(c, json_string_value(name), &call);
    if (!role) {
        snprintf(reason, sizeof reason,
                 "unknown role `%.30s`; known: user, assistant, system, developer, tool, human, gpt, "
                 "observation, function_call; data.roles can name more",
                 json_string_value(name));
        return convert_refuse(c, HONE_EFORMAT, where, reason);
    }
    assistant = !strcmp(role, "assistant");
    weight = assistant;
    if (calls && json_is_array(calls) && !json_array_size(calls))
        calls = NULL;
    if (calls && (!assistant || call))
        return convert_refuse(c, HONE_EFORMAT, field, "`tool_calls` belong to a turn of the assistant");
    rc = read_weight(c, &weight, turn, field);
    snprintf(where, sizeof where, "%.60s.%.40s", field, content_field);
    if (!rc && call) {
        rc = convert_json(c, &calls, given, where);
        if (!rc && (!calls || (json_is_array(calls) && !json_array_size(calls))))
            rc = convert_refuse(c, HONE_EFORMAT, where, "the call is empty");
        if (!rc) {
            content = json_string("");
            rc = content ? 0 : convert_no_memory(c);
        }
    } else if (!rc) {
        json_incref(calls);
        rc = read_content(c, &content, given, where);
    }
    has_calls = calls != NULL;
    if (!rc && !content && !has_calls)
        rc = convert_wrong_type(c, where, "text", given);
    if (!rc && assistant && !has_calls && text_is_blank(json_string_value(content)))
        rc = convert_refuse(c, HONE_EFORMAT, where, "the answer is empty");
    if (!rc) {
        rc = convert_add(c, &message, role, content, weight);
        content = NULL; /* taken */
    }
    if (!rc && has_calls)
        rc = set_calls(c, message, calls, call ? where : field);
    if (!rc)
        rc = copy_extras(c, message, turn, field);
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
    for (i = 0; !rc && i < json_array_size(list); i++) {
        snprintf(field, sizeof field, "%.50s[%zu]", name, i);
        rc = read_turn(c, json_array_get(list, i), field);
    }
    return rc;
}
