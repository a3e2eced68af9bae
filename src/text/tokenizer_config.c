/* tokenizer_config.json and special_tokens_map.json: which token plays which role; and, where there is no tokenizer.json, the
 * added tokens. */
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "text/tokenizer_impl.h"

#define FILE_MAX ((size_t)64 << 20)

/* Text of a token: a string, or an AddedToken object with its content. NULL: neither. */
static const json_t *token_text(const json_t *v)
{
    const json_t *text = json_is_object(v) ? json_object_get(v, "content") : v;

    return json_is_string(text) ? text : NULL;
}

static int take_roles(hone_tokenizer *t, json_t *object, bool any_name, hone_error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        const json_t *text = token_text(value);
        size_t len = strlen(name);
        int code;

        if (!text || !(any_name || (len > 6 && !strcmp(name + len - 6, "_token"))))
            continue;
        code = hone_tokenizer_set_role(t, name, json_string_value(text), json_string_length(text), err);
        if (code)
            return code;
    }
    return 0;
}

static int load_file(hone_tokenizer *t, const char *folder, const char *name, hone_error *err)
{
    char *path = hone_path_join(folder, name);
    json_t *root = NULL;
    int code = 0;

    if (!path)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the tokenizer");
    if (!hone_path_exists(path) || (code = hone_json_load(&root, path, FILE_MAX, err)))
        goto out;
    if (!json_is_object(root)) {
        code = hone_error_set(err, HONE_EFORMAT, "%s: it must hold an object", path);
        goto out;
    }
    code = take_roles(t, root, false, err);
    if (!code) /* a list of texts, or names with their texts */
        code = take_roles(t, json_object_get(root, "extra_special_tokens"), true, err);
out:
    json_decref(root);
    hone_free(path);
    return code;
}

int hone_tokenizer_load_config(hone_tokenizer *t, const char *folder, hone_error *err)
{
    int code = load_file(t, folder, "special_tokens_map.json", err);

    return code ? code
                : load_file(t, folder, "tokenizer_config.json", err); /* the newer file has the last word */
}

int hone_tokenizer_read_config(json_t **config, const char *folder, hone_error *err)
{
    char *path;
    int code = 0;

    *config = NULL;
    if (!folder)
        return 0;
    path = hone_path_join(folder, "tokenizer_config.json");
    if (!path)
        return hone_error_set(err, HONE_ENOMEM, "out of memory for the tokenizer");
    if (hone_path_exists(path))
        code = hone_json_load(config, path, FILE_MAX, err);
    hone_free(path);
    return code;
}

/* One entry of added_tokens_decoder: new flags for a token that is there, or a new token behind the vocabulary. */
static int apply_token(hone_tokenizer *t, int64_t id, const json_t *entry, const char *path, hone_error *err)
{
    const json_t *content = json_object_get(entry, "content");
    hone_added_token token = {.id = (int32_t)id,
                              .special = json_is_true(json_object_get(entry, "special")),
                              .single_word = json_is_true(json_object_get(entry, "single_word")),
                              .lstrip = json_is_true(json_object_get(entry, "lstrip")),
                              .rstrip = json_is_true(json_object_get(entry, "rstrip"))};
    hone_buf own = {0};
    size_t i;
    int code = 0;

    if (!json_is_string(content) || !json_string_length(content) || id < 0 || id >= HONE_VOCAB_MAX)
        return hone_error_set(err, HONE_EFORMAT, "%s: added_tokens_decoder: token %lld is none", path,
                              (long long)id);
    token.text = json_string_value(content);
    token.len = json_string_length(content);
    if (id < t->vocab.n && t->vocab.token[id].used) {
        hone_vocab_spell(&t->vocab, (int32_t)id, &own);
        if (own.failed)
            code = hone_error_set(err, HONE_ENOMEM, "out of memory for the added tokens");
        else if (own.len != token.len || memcmp(own.data ? own.data : "", token.text, own.len))
            code = hone_error_set(err, HONE_EFORMAT,
                                  "%s: added_tokens_decoder: token %lld is '%.80s' in the vocabulary", path,
                                  (long long)id, own.data ? own.data : "");
    } else {
        code = hone_vocab_add(&t->vocab, id, token.text, token.len, err);
    }
    hone_buf_clear(&own);
    if (code)
        return code;
    for (i = 0; i < t->n_added; i++)
        if (t->added[i].id == id) {
            token.text = t->added[i].text;
            t->added[i] = token;
            return 0;
        }
    return hone_tokenizer_add(t, &token, err);
}

static int32_t named_id(const hone_tokenizer *t, const json_t *config, const char *name, int32_t otherwise)
{
    const json_t *text = token_text(json_object_get(config, name));
    int32_t id = text ? hone_tokenizer_find(t, json_string_value(text)) : -1;

    return id >= 0 ? id : otherwise;
}

int hone_tokenizer_apply_config(hone_tokenizer *t, const json_t *config, const char *path, bool bos,
                                hone_error *err)
{
    json_t *list = json_object_get(config, "added_tokens_decoder"), *entry;
    const json_t *add_bos = json_object_get(config, "add_bos_token"),
                 *add_eos = json_object_get(config, "add_eos_token");
    const char *key;
    int code = 0;

    json_object_foreach(list, key, entry)
    {
        char *end;
        long long number = strtoll(key, &end, 10);

        code = apply_token(t, *key && !*end ? number : -1, entry, path, err);
        if (code)
            return code;
    }
    t->bos = named_id(t, config, "bos_token", t->bos);
    t->eos = named_id(t, config, "eos_token", t->eos);
    if (json_is_boolean(add_bos))
        bos = json_is_true(add_bos);
    if (bos && t->bos >= 0)
        code = hone_tokenizer_push_id(&t->prefix, &t->n_prefix, t->bos, err);
    if (!code && json_is_true(add_eos) && t->eos >= 0)
        code = hone_tokenizer_push_id(&t->suffix, &t->n_suffix, t->eos, err);
    return code;
}
