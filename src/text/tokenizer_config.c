/* tokenizer_config.json and special_tokens_map.json: which token plays which role. */
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
