/* Opening a chat: which template, which variables, which ids end a turn.
 *
 * The template comes from the model's own folder or GGUF file: chat_template.jinja and additional_chat_templates/ win
 * over tokenizer_config.json as a whole; a GGUF file has tokenizer.chat_template and tokenizer.chat_template.NAME. Of
 * several, "tool_use" serves conversations with tools and "default" the rest. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "format/json.h"
#include "text/chat_impl.h"

#define MAX_CONFIG ((size_t)256 << 20)
#define MAX_NAMED 64

static const char chatml[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + "
    "'\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/* Texts with which models end a turn. A folder's configuration does not always name them. */
static const char *const known_eot[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end|>",
    "<|end_of_text|>",
    "</s>",
    "<|endoftext|>",
    "<|eot|>",
    "<|return|>",
    "<|call|>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_utterance>",
    "<|endofturn|>",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>", /* DeepSeek */
    "<|EOT|>"};

bool hone_id_set_has(const hone_id_set *s, int32_t id)
{
    size_t i;

    for (i = 0; i < s->n; i++)
        if (s->id[i] == id)
            return true;
    return false;
}

int hone_id_set_add(hone_id_set *s, int32_t id, hone_error *err)
{
    int32_t *grown;

    if (id < 0 || hone_id_set_has(s, id))
        return 0;
    grown = hone_realloc_array(s->id, s->n + 1, sizeof *grown);
    if (!grown)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    s->id = grown;
    s->id[s->n++] = id;
    return 0;
}

/* ---- the templates of a model -------------------------------------------------------------------------------------- */

typedef struct named_template {
    char *name, *text;
    size_t len;
} named_template;

typedef struct template_list {
    named_template item[MAX_NAMED];
    size_t n;
} template_list;

static void clear_list(template_list *list)
{
    size_t i;

    for (i = 0; i < list->n; i++) {
        hone_free(list->item[i].name);
        hone_free(list->item[i].text);
    }
    list->n = 0;
}

/* Copies name and text. */
static int add_template(template_list *list, const char *name, size_t name_len, const char *text, size_t len,
                        hone_error *err)
{
    named_template *t;

    if (list->n == MAX_NAMED)
        return hone_error_set(err, HONE_ELIMIT, "more than %d chat templates", MAX_NAMED);
    t = &list->item[list->n];
    t->name = hone_strndup(name, name_len);
    t->text = hone_strndup(text, len);
    t->len = len;
    list->n++;
    if (!t->name || !t->text)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    return 0;
}

static int add_file(template_list *list, const char *name, size_t name_len, const char *path, hone_error *err)
{
    char *text = NULL;
    size_t len;
    int rc = hone_file_read(&text, &len, path, HONE_TEMPLATE_MAX_SOURCE, err);

    if (!rc)
        rc = add_template(list, name, name_len, text, len, err);
    hone_free(text);
    return rc;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Templates in files of their own. */
static int read_jinja_files(template_list *list, const char *folder, hone_error *err)
{
    char *path = hone_path_join(folder, "chat_template.jinja"),
         *more = hone_path_join(folder, "additional_chat_templates");
    struct dirent **entry = NULL;
    int n = 0, i, rc = 0;
    char *file;
    size_t len;

    if (!path || !more) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
        goto out;
    }
    if (hone_path_exists(path) && (rc = add_file(list, "default", 7, path, err)))
        goto out;
    if (hone_path_is_dir(more))
        n = scandir(more, &entry, NULL, by_name);
    for (i = 0; i < n && !rc; i++) {
        len = strlen(entry[i]->d_name);
        if (len <= 6 || strcmp(entry[i]->d_name + len - 6, ".jinja"))
            continue;
        file = hone_path_join(more, entry[i]->d_name);
        rc = file ? add_file(list, entry[i]->d_name, len - 6, file, err)
                  : hone_error_set(err, HONE_ENOMEM, "out of memory");
        hone_free(file);
    }
out:
    for (i = 0; i < n; i++)
        free(entry[i]);
    free(entry);
    hone_free(path);
    hone_free(more);
    return rc;
}

/* A JSON file of the folder; *out NULL when it is absent. */
static int read_json(json_t **out, const char *folder, const char *name, hone_error *err)
{
    char *path = hone_path_join(folder, name);
    int rc = 0;

    *out = NULL;
    if (!path)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (hone_path_exists(path))
        rc = hone_json_load(out, path, MAX_CONFIG, err);
    hone_free(path);
    return rc;
}

/* The key chat_template of a JSON file: a string, or a list of {name, template}. */
static int read_config(template_list *list, const char *folder, const char *name, hone_error *err)
{
    json_t *config, *value, *item, *id, *text;
    size_t i;
    int rc = read_json(&config, folder, name, err);

    if (rc)
        return rc;
    value = json_object_get(config, "chat_template");
    if (json_is_string(value)) {
        rc = add_template(list, "default", 7, json_string_value(value), json_string_length(value), err);
    } else if (json_is_array(value)) {
        for (i = 0; i < json_array_size(value) && !rc; i++) {
            item = json_array_get(value, i);
            id = json_object_get(item, "name");
            text = json_object_get(item, "template");
            if (!json_is_string(id) || !json_is_string(text))
                rc = hone_error_set(err, HONE_EFORMAT,
                                    "%s/%s: chat_template: entry %zu has no name and template", folder, name,
                                    i);
            else
                rc = add_template(list, json_string_value(id), json_string_length(id),
                                  json_string_value(text), json_string_length(text), err);
        }
    } else if (value && !json_is_null(value)) {
        rc = hone_error_set(err, HONE_EFORMAT, "%s/%s: chat_template is neither a string nor a list", folder,
                            name);
    }
    json_decref(config);
    return rc;
}

static int read_gguf(template_list *list, const hone_gguf *g, hone_error *err)
{
    static const char key[] = "tokenizer.chat_template";
    const size_t n_key = sizeof key - 1;
    const char *name, *text;
    size_t i, n, len;
    char full[256];
    int type, rc = 0;

    if (hone_gguf_string(g, key, &text, &len))
        rc = add_template(list, "default", 7, text, len, err);
    for (i = 0; i < hone_gguf_n_keys(g) && !rc; i++) {
        hone_gguf_key(g, i, &name, &n, &type);
        if (type != HONE_GGUF_STRING || n <= n_key + 1 || n >= sizeof full || memcmp(name, key, n_key) ||
            name[n_key] != '.')
            continue;
        memcpy(full, name, n);
        full[n] = 0;
        if (hone_gguf_string(g, full, &text, &len))
            rc = add_template(list, name + n_key + 1, n - n_key - 1, text, len, err);
    }
    return rc;
}

static const named_template *find_template(const template_list *list, const char *name)
{
    size_t i;

    for (i = 0; i < list->n; i++)
        if (!strcmp(list->item[i].name, name))
            return &list->item[i];
    return NULL;
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static int parse_named(hone_template **out, const named_template *t, hone_error *err)
{
    hone_error why = HONE_ERROR_INIT;
    int rc = hone_template_parse(out, t->text, t->len, &why);

    if (rc)
        hone_error_set(err, rc, "chat template '%s': %s", t->name, why.message);
    return rc;
}

static int add_vars(hone_chat *chat, const char *vars_json, hone_error *err)
{
    const char *name, *text;
    json_error_t problem;
    json_t *more;
    size_t i;
    int rc = 0;

    chat->vars = json_object();
    if (!chat->vars)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; chat->tok && (name = hone_tokenizer_special_name(chat->tok, i, &text)); i++)
        if (json_object_set_new(chat->vars, name, json_string(text)))
            return hone_error_set(err, HONE_ENOMEM, "out of memory, or special token '%s' is not UTF-8",
                                  name);
    if (!vars_json)
        return 0;
    more = json_loads(vars_json, 0, &problem);
    if (!json_is_object(more))
        rc = hone_error_set(err, HONE_EFORMAT, "the template's variables are no JSON object");
    else if (json_object_update(chat->vars, more))
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    json_decref(more);
    return rc;
}

/* Ids under eos_token_id: a number or a list. */
static int add_config_eos(hone_chat *chat, const char *folder, const char *file, hone_error *err)
{
    json_t *config, *eos, *text;
    size_t i;
    int rc = read_json(&config, folder, file, err);
    const int32_t vocab = hone_tokenizer_vocab_size(chat->tok);

    if (rc)
        return rc;
    eos = json_object_get(config, "eos_token_id");
    text = json_object_get(config,
                           "text_config"); /* multimodal models nest the language model's configuration */
    if (!eos && text)
        eos = json_object_get(text, "eos_token_id");
    if (json_is_integer(eos) && json_integer_value(eos) >= 0 && json_integer_value(eos) < vocab)
        rc = hone_id_set_add(&chat->stop, (int32_t)json_integer_value(eos), err);
    for (i = 0; json_is_array(eos) && i < json_array_size(eos) && !rc; i++) {
        json_int_t id = json_integer_value(json_array_get(eos, i));

        if (json_is_integer(json_array_get(eos, i)) && id >= 0 && id < vocab)
            rc = hone_id_set_add(&chat->stop, (int32_t)id, err);
    }
    json_decref(config);
    return rc;
}

/* Id of a text that is an added or special token, or -1: an ordinary word of the vocabulary ends nothing. */
static int32_t find_marker(const hone_tokenizer *tok, const char *text)
{
    int32_t id = hone_tokenizer_find(tok, text);
    const hone_added_token *added;
    size_t i, n;

    if (id < 0 || hone_tokenizer_is_special(tok, id))
        return id;
    added = hone_tokenizer_added(tok, &n);
    for (i = 0; i < n; i++)
        if (added[i].id == id)
            return id;
    return -1;
}

static int find_stops(hone_chat *chat, const char *folder, hone_error *err)
{
    const int32_t *eos;
    int32_t own;
    size_t i, n;
    int rc = 0;

    if (!chat->tok)
        return 0;
    eos = hone_tokenizer_eos_ids(chat->tok, &n);
    for (i = 0; i < n && !rc; i++)
        rc = hone_id_set_add(&chat->stop, eos[i], err);
    if (!rc && folder)
        rc = add_config_eos(chat, folder, "generation_config.json", err);
    if (!rc && folder)
        rc = add_config_eos(chat, folder, "config.json", err);
    for (i = 0; i < chat->stop.n && !rc; i++)
        rc = hone_id_set_add(&chat->eot, chat->stop.id[i], err);
    for (i = 0; i < HONE_COUNT(known_eot) && !rc; i++)
        rc = hone_id_set_add(&chat->eot, find_marker(chat->tok, known_eot[i]), err);
    if (!rc)
        rc = hone_chat_probe_eot(chat, &own, err);
    if (!rc)
        rc = hone_id_set_add(&chat->stop, own, err);
    if (!rc)
        rc = hone_id_set_add(&chat->eot, own, err);
    return rc;
}

/* The rest of opening, once the templates are read. Takes nothing over. folder NULL: no configuration files. */
static int open_list(hone_chat **out, const template_list *list, const char *folder,
                     const hone_tokenizer *tok, const char *vars_json, const char *notice, hone_error *err)
{
    const named_template *plain = find_template(list, "default"), *tools = find_template(list, "tool_use");
    hone_chat *chat = hone_calloc(1, sizeof *chat);
    size_t i;
    int rc = 0;

    if (!chat)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    chat->tok = tok;
    if (!plain && list->n == 1)
        plain = &list->item[0];
    if (!plain) {
        rc = hone_error_set(err, HONE_ENOENT, "none of the %zu chat templates is named 'default'", list->n);
        goto out;
    }
    if (notice && !(chat->notice = hone_strdup(notice))) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
        goto out;
    }
    chat->hash = hone_hash64(0, "", 0);
    for (i = 0; i < list->n; i++) {
        chat->hash = hone_hash64(chat->hash, list->item[i].name, strlen(list->item[i].name) + 1);
        chat->hash = hone_hash64(chat->hash, list->item[i].text, list->item[i].len);
    }
    rc = parse_named(&chat->plain, plain, err);
    if (!rc && tools && tools != plain)
        rc = parse_named(&chat->tool_use, tools, err);
    if (!rc)
        rc = add_vars(chat, vars_json, err);
    if (!rc)
        rc = find_stops(chat, folder, err);
out:
    if (rc)
        hone_chat_close(chat);
    else
        *out = chat;
    return rc;
}

int hone_chat_open_text(hone_chat **out, const char *jinja, size_t len, const hone_tokenizer *tok,
                        const char *vars_json, hone_error *err)
{
    template_list list = {.n = 0};
    int rc = add_template(&list, "default", 7, jinja, len, err);

    if (!rc)
        rc = open_list(out, &list, NULL, tok, vars_json, NULL, err);
    clear_list(&list);
    return rc;
}

int hone_chat_open(hone_chat **out, const char *path, const hone_tokenizer *tok, hone_error *err)
{
    template_list list = {.n = 0};
    hone_gguf *gguf = NULL;
    char *folder = NULL;
    const char *notice = NULL;
    int rc;

    if (hone_gguf_is_file(path)) {
        rc = hone_gguf_open(&gguf, path, err);
        if (!rc)
            rc = read_gguf(&list, gguf, err);
    } else {
        folder = hone_path_is_dir(path) ? hone_strdup(path) : hone_path_dir(path);
        rc =
            folder ? read_jinja_files(&list, folder, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");
        if (!rc && !list.n)
            rc = read_config(&list, folder, "tokenizer_config.json", err);
        if (!rc && !list.n)
            rc = read_config(&list, folder, "chat_template.json", err);
    }
    if (rc)
        goto out;
    if (!list.n) {
        if (!tok || find_marker(tok, "<|im_start|>") < 0 || find_marker(tok, "<|im_end|>") < 0) {
            rc = hone_error_set(err, HONE_ENOENT, "%s: the model has no chat template", path);
            goto out;
        }
        notice =
            "the model has no chat template; the ChatML format is used, as its vocabulary has <|im_start|>";
        rc = add_template(&list, "default", 7, chatml, sizeof chatml - 1, err);
        if (rc)
            goto out;
    }
    rc = open_list(out, &list, folder, tok, NULL, notice, err);
out:
    clear_list(&list);
    hone_gguf_close(gguf);
    hone_free(folder);
    return rc;
}

void hone_chat_close(hone_chat *chat)
{
    if (!chat)
        return;
    hone_template_free(chat->plain);
    hone_template_free(chat->tool_use);
    json_decref(chat->vars);
    hone_free(chat->notice);
    hone_free(chat->stop.id);
    hone_free(chat->eot.id);
    hone_free(chat);
}

const char *hone_chat_notice(const hone_chat *chat)
{
    return chat->notice;
}

const hone_tokenizer *hone_chat_tokenizer(const hone_chat *chat)
{
    return chat->tok;
}

uint64_t hone_chat_hash(const hone_chat *chat)
{
    return chat->hash;
}

const int32_t *hone_chat_stop_ids(const hone_chat *chat, size_t *n)
{
    *n = chat->stop.n;
    return chat->stop.id;
}
