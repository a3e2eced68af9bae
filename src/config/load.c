/* Reading a configuration: the YAML file and `--set`.
 *
 * libyaml composes the document (anchors and aliases included); the walk below knows three levels: sections, keys, and
 * keys grouped under a name ("augmentation: {enabled: false}"). Since no key takes more than a list of scalars, the
 * depth of what is read is bounded by the table, whatever the file holds. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "config/keys.h"

#define FILE_LIMIT ((size_t)1 << 20)
#define LIST_LIMIT 100000

typedef struct reader {
    hone_config *c;
    yaml_document_t *doc;
    const char *name;     /* of the file, or "--set" */
    char *folder;         /* absolute */
    bool lines;           /* messages carry line numbers */
    size_t *line;         /* [config_n_keys] where a key was given, 0 = not yet; NULL for --set */
    const char *assigned; /* "section.key" of --set */
    char where[600];      /* start of messages about the current node */
    hone_error *err;
} reader;

static void look_at(reader *r, const yaml_node_t *node)
{
    if (r->lines)
        snprintf(r->where, sizeof r->where, "%.500s:%zu: ", r->name, node->start_mark.line + 1);
    else
        snprintf(r->where, sizeof r->where, "%.500s: ", r->name);
}

/* The scalar of a node. Errors: not a scalar (`what` names the place), a tag, a NUL byte. */
static int scalar_of(config_scalar *out, reader *r, const yaml_node_t *node, const char *what)
{
    const char *tag = (const char *)node->tag;

    if (node->type != YAML_SCALAR_NODE)
        return hone_error_set(r->err, HONE_EFORMAT, "%s%s: expected a value, found a %s", r->where, what,
                              node->type == YAML_SEQUENCE_NODE ? "list" : "group of keys");
    if (tag && strcmp(tag, YAML_STR_TAG))
        return hone_error_set(r->err, HONE_EUNSUPPORTED, "%s%s: tags (`%.60s`) are not supported", r->where,
                              what, tag);
    out->text = (const char *)node->data.scalar.value;
    out->plain = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (strlen(out->text) != node->data.scalar.length)
        return hone_error_set(r->err, HONE_EFORMAT, "%s%s: a NUL character", r->where, what);
    return 0;
}

/* bf16 and precision are two spellings of one setting. In a file the two must agree, since the order of keys means
 * nothing there; otherwise the one that was given moves the other. */
static int settle_precision(reader *r, bool bf16_given)
{
    hone_config *c = r->c;
    size_t other =
               bf16_given ? offsetof(hone_config, training.precision) : offsetof(hone_config, training.bf16),
           i;
    bool both = false;

    for (i = 0; r->line && i < config_n_keys; i++)
        both |= config_keys[i].offset == other && r->line[i];
    if (both && c->training.bf16 != (c->training.precision == HONE_PRECISION_BF16))
        return hone_error_set(r->err, HONE_EINVAL, "%straining.bf16 and training.precision disagree",
                              r->where);
    if (!bf16_given)
        c->training.bf16 = c->training.precision == HONE_PRECISION_BF16;
    else if (c->training.bf16)
        c->training.precision = HONE_PRECISION_BF16;
    else if (c->training.precision == HONE_PRECISION_BF16)
        c->training.precision = HONE_PRECISION_AUTO;
    return 0;
}

/* What follows from a key beside its own field. */
static int settle(reader *r, const config_key *key)
{
    hone_config *c = r->c;

    if (key->offset == offsetof(hone_config, training.bf16) ||
        key->offset == offsetof(hone_config, training.precision))
        return settle_precision(r, key->offset == offsetof(hone_config, training.bf16));
    if (key->offset == offsetof(hone_config, training.fp16) && c->training.fp16)
        return config_notice(c, r->err,
                             "%straining.fp16: there is no fp16 arithmetic here, training.precision decides",
                             r->where);
    if (key->flags & KEY_NO_EFFECT)
        return config_notice(c, r->err, "%s%s.%s: has no effect", r->where, key->section, key->key);
    return 0;
}

static int assign_node(reader *r, const config_key *key, const yaml_node_t *node)
{
    config_scalar one, *item = &one;
    config_value v = {false, 1, &one};
    char what[160];
    size_t i;
    int rc = 0;

    snprintf(what, sizeof what, "%s.%s", key->section, key->key);
    if (node->type == YAML_MAPPING_NODE && key->kind == KIND_PATTERNS) {
        const yaml_node_pair_t *pair = node->data.mapping.pairs.start;

        v.is_list = true;
        v.n = 2 * (size_t)(node->data.mapping.pairs.top - pair);
        if (v.n > LIST_LIMIT)
            return hone_error_set(r->err, HONE_ELIMIT, "%s%s: more than %d items", r->where, what,
                                  LIST_LIMIT);
        item = hone_calloc(v.n + 1, sizeof *item);
        if (!item)
            return hone_error_set(r->err, HONE_ENOMEM, "out of memory");
        v.item = item;
        for (i = 0; !rc && i < v.n; i++)
            rc = scalar_of(&item[i], r,
                           yaml_document_get_node(r->doc, i % 2 ? pair[i / 2].value : pair[i / 2].key), what);
    } else if (node->type == YAML_SEQUENCE_NODE) {
        v.is_list = true;
        v.n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
        if (v.n > LIST_LIMIT)
            return hone_error_set(r->err, HONE_ELIMIT, "%s%s: more than %d items", r->where, what,
                                  LIST_LIMIT);
        if (node->tag && strcmp((const char *)node->tag, YAML_SEQ_TAG))
            return hone_error_set(r->err, HONE_EUNSUPPORTED, "%s%s: tags (`%.60s`) are not supported",
                                  r->where, what, (const char *)node->tag);
        item = hone_calloc(v.n, sizeof *item);
        if (!item)
            return hone_error_set(r->err, HONE_ENOMEM, "out of memory");
        v.item = item;
        for (i = 0; !rc && i < v.n; i++)
            rc = scalar_of(&item[i], r, yaml_document_get_node(r->doc, node->data.sequence.items.start[i]),
                           what);
    } else {
        rc = scalar_of(&one, r, node, what);
    }
    if (!rc)
        rc = config_assign(r->c, key, &v, r->where, r->folder, r->err);
    if (!rc)
        rc = settle(r, key);
    if (item != &one)
        hone_free(item);
    return rc;
}

static int read_key(reader *r, const char *section, const char *name, const yaml_node_t *key_node,
                    const yaml_node_t *value)
{
    bool alias;
    const config_key *key = config_key_find(section, name, &alias);
    char hint[160];
    size_t i;
    int rc;

    if (!key) {
        config_suggest(hint, sizeof hint, section, name);
        return hone_error_set(r->err, HONE_EINVAL, "%sunknown key `%.100s` in section `%s`%s", r->where, name,
                              section, hint);
    }
    if (r->line) {
        i = (size_t)(key - config_keys);
        if (r->line[i])
            return hone_error_set(r->err, HONE_EINVAL, "%s%s.%s is given twice (first in line %zu)", r->where,
                                  section, key->key, r->line[i]);
        r->line[i] = key_node->start_mark.line + 1;
    }
    if (alias) {
        rc = config_notice(r->c, r->err, "%s%s.%s is read as %s.%s", r->where, section, name, section,
                           key->key);
        if (rc)
            return rc;
    }
    return assign_node(r, key, value);
}

/* One mapping of keys. `group`: NULL in a section, else the name the keys are nested under. */
static int read_keys(reader *r, const char *section, const char *group, const yaml_node_t *map)
{
    const yaml_node_pair_t *pair;
    int rc;

    for (pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key_node = yaml_document_get_node(r->doc, pair->key);
        const yaml_node_t *value = yaml_document_get_node(r->doc, pair->value);
        config_scalar key;
        char name[200];

        look_at(r, key_node);
        rc = scalar_of(&key, r, key_node, section);
        if (rc)
            return rc;
        if (key.plain && !strcmp(key.text, "<<"))
            return hone_error_set(r->err, HONE_EUNSUPPORTED, "%smerge keys (`<<`) are not supported",
                                  r->where);
        snprintf(name, sizeof name, "%s%s%.100s", group ? group : "", group ? "." : "", key.text);
        if (!group && value->type == YAML_MAPPING_NODE && config_key_is_group(section, name))
            rc = read_keys(r, section, name, value);
        else
            rc = read_key(r, section, name, key_node, value);
        if (rc)
            return rc;
    }
    return 0;
}

/* A stage changes how and on what is trained, not what the trained values are. */
static bool stage_may_change(const config_key *k)
{
    static const char *const fixed[] = {"output_dir",
                                        "resume_from_checkpoint",
                                        "finetuning_type",
                                        "logging_dir",
                                        "freeze_trainable_layers",
                                        "freeze_trainable_modules",
                                        "freeze_extra_modules",
                                        "freeze_trainable_pattern",
                                        "precision",
                                        "bf16",
                                        "fp16",
                                        "save_precision"};
    size_t i;

    if (!strcmp(k->section, "lora"))
        return !strcmp(k->key, "lora_dropout") || !strcmp(k->key, "loraplus_lr_ratio");
    if (!strcmp(k->section, "model"))
        return !strcmp(k->key, "max_length");
    for (i = 0; i < HONE_COUNT(fixed); i++)
        if (!strcmp(k->section, "training") && !strcmp(k->key, fixed[i]))
            return false;
    return !strcmp(k->section, "training") || !strcmp(k->section, "data");
}

static int read_stage_name(char **out, reader *r, const yaml_node_t *node)
{
    config_scalar s;
    int rc = scalar_of(&s, r, node, "name");

    if (rc)
        return rc;
    if (*out || !*s.text || strlen(s.text) > 60 || s.text[0] == '.' ||
        s.text[strspn(s.text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")])
        return hone_error_set(r->err, HONE_EINVAL,
                              "%sa stage has one name, of up to 60 letters, digits, `-`, `_` and `.`",
                              r->where);
    *out = hone_strdup(s.text);
    return *out ? 0 : hone_error_set(r->err, HONE_ENOMEM, "out of memory");
}

/* One stage: its keys are read into a configuration of their own, and kept as the text of those given. */
static int read_stage(reader *r, const yaml_node_t *node)
{
    reader s = *r;
    hone_config_stage stage = {0}, *list;
    const yaml_node_pair_t *pair;
    char number[24];
    size_t i;
    int rc;

    look_at(r, node);
    if (node->type != YAML_MAPPING_NODE)
        return hone_error_set(r->err, HONE_EFORMAT, "%sstages: expected a list of groups of keys", r->where);
    rc = hone_config_new(&s.c, r->err);
    s.line = hone_calloc(config_n_keys, sizeof *s.line);
    if (!rc && !s.line)
        rc = hone_error_set(r->err, HONE_ENOMEM, "out of memory");
    for (pair = node->data.mapping.pairs.start; !rc && pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *value = yaml_document_get_node(r->doc, pair->value);
        config_scalar name;

        look_at(&s, yaml_document_get_node(r->doc, pair->key));
        rc = scalar_of(&name, &s, yaml_document_get_node(r->doc, pair->key), "stages");
        if (!rc && !strcmp(name.text, "name"))
            rc = read_stage_name(&stage.name, &s, value);
        else if (!rc && (!config_is_section(name.text) || value->type != YAML_MAPPING_NODE))
            rc = hone_error_set(r->err, HONE_EINVAL,
                                "%s`%.60s`: a stage has a name and sections with keys under them", s.where,
                                name.text);
        else if (!rc)
            rc = read_keys(&s, name.text, NULL, value);
    }
    for (i = 0; !rc && i < config_n_keys; i++)
        if (s.line[i] && !stage_may_change(&config_keys[i]))
            rc = hone_error_set(r->err, HONE_EINVAL, "%.500s:%zu: a stage can not change %s.%s", r->name,
                                s.line[i], config_keys[i].section, config_keys[i].key);
    if (!rc)
        rc = config_text_of(&stage.text, s.c, s.line, r->err);
    if (!rc && !stage.name) {
        snprintf(number, sizeof number, "%zu", r->c->n_stages + 1);
        stage.name = hone_strdup(number);
    }
    list = rc ? NULL : hone_realloc_array(r->c->stage, r->c->n_stages + 1, sizeof *list);
    if (!rc && (!stage.name || !list))
        rc = hone_error_set(r->err, HONE_ENOMEM, "out of memory");
    if (list)
        r->c->stage = list;
    if (!rc) {
        list[r->c->n_stages++] = stage;
    } else {
        hone_free(stage.name);
        hone_free(stage.text);
    }
    hone_free(s.line);
    hone_config_free(s.c);
    return rc;
}

static int read_stages(reader *r, const yaml_node_t *node)
{
    const yaml_node_item_t *item;
    int rc = 0;

    if (node->type != YAML_SEQUENCE_NODE || !r->lines)
        return hone_error_set(r->err, HONE_EFORMAT, "%sstages: expected a list of groups of keys", r->where);
    if (node->data.sequence.items.top - node->data.sequence.items.start > 64)
        return hone_error_set(r->err, HONE_ELIMIT, "%sstages: more than 64", r->where);
    for (item = node->data.sequence.items.start; !rc && item < node->data.sequence.items.top; item++)
        rc = read_stage(r, yaml_document_get_node(r->doc, *item));
    return rc;
}

static int read_sections(reader *r, const yaml_node_t *root)
{
    const char *seen[16]; /* more than there are sections */
    const yaml_node_pair_t *pair;
    size_t n_seen = 0, i;
    int rc;

    look_at(r, root);
    if (root->type != YAML_MAPPING_NODE)
        return hone_error_set(r->err, HONE_EFORMAT, "%sexpected sections such as `model:` and `training:`",
                              r->where);
    for (pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key_node = yaml_document_get_node(r->doc, pair->key);
        const yaml_node_t *value = yaml_document_get_node(r->doc, pair->value);
        config_scalar name;
        char hint[160];

        look_at(r, key_node);
        rc = scalar_of(&name, r, key_node, "section");
        if (rc)
            return rc;
        if (!strcmp(name.text, "stages")) {
            if (r->c->n_stages)
                return hone_error_set(r->err, HONE_EINVAL, "%s`stages` is given twice", r->where);
            if ((rc = read_stages(r, value)))
                return rc;
            continue;
        }
        if (!config_is_section(name.text)) {
            config_suggest(hint, sizeof hint, NULL, name.text);
            return hone_error_set(r->err, HONE_EINVAL, "%sunknown section `%.100s`%s", r->where, name.text,
                                  hint);
        }
        for (i = 0; i < n_seen; i++)
            if (!strcmp(seen[i], name.text))
                return hone_error_set(r->err, HONE_EINVAL, "%ssection `%s` is given twice", r->where,
                                      name.text);
        seen[n_seen++] = name.text;
        if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0)
            continue; /* `lora:` with nothing under it */
        if (value->type != YAML_MAPPING_NODE)
            return hone_error_set(r->err, HONE_EFORMAT, "%ssection `%s`: expected keys under it", r->where,
                                  name.text);
        rc = read_keys(r, name.text, NULL, value);
        if (rc)
            return rc;
    }
    return 0;
}

static int yaml_error(const yaml_parser_t *p, const reader *r, hone_error *err)
{
    size_t line = p->error == YAML_READER_ERROR ? 0 : p->problem_mark.line + 1;

    if (p->error == YAML_MEMORY_ERROR)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (!r->lines || !line)
        return hone_error_set(err, HONE_EFORMAT, "%s: broken YAML: %s%s%s", r->name,
                              p->problem ? p->problem : "", p->context ? " " : "",
                              p->context ? p->context : "");
    return hone_error_set(err, HONE_EFORMAT, "%s:%zu: broken YAML: %s%s%s", r->name, line,
                          p->problem ? p->problem : "", p->context ? " " : "", p->context ? p->context : "");
}

/* Composes the one document of a text and hands its root (NULL: an empty document) to `read`. */
static int with_document(reader *r, const char *text, size_t len,
                         int (*read)(reader *r, const yaml_node_t *root))
{
    yaml_parser_t parser;
    yaml_document_t doc, second;
    bool have_doc = false;
    int rc;

    if (!yaml_parser_initialize(&parser))
        return hone_error_set(r->err, HONE_ENOMEM, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (!yaml_parser_load(&parser, &doc)) {
        rc = yaml_error(&parser, r, r->err);
        goto out;
    }
    have_doc = true;
    if (!yaml_parser_load(&parser, &second)) {
        rc = yaml_error(&parser, r, r->err);
        goto out;
    }
    if (yaml_document_get_root_node(&second)) {
        look_at(r, yaml_document_get_root_node(&second));
        rc =
            hone_error_set(r->err, HONE_EUNSUPPORTED, "%sa second YAML document; one is supported", r->where);
    } else {
        r->doc = &doc;
        rc = read(r, yaml_document_get_root_node(&doc));
    }
    yaml_document_delete(&second);
out:
    if (have_doc)
        yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
    return rc;
}

static int read_file(reader *r, const yaml_node_t *root)
{
    return root ? read_sections(r, root) : hone_error_set(r->err, HONE_EFORMAT, "%s: no keys in it", r->name);
}

/* Absolute path of the working directory, or of the folder that a file lies in. Allocated. */
static int folder_of(char **out, const char *path, hone_error *err)
{
    char *cwd = getcwd(NULL, 0), *dir = path ? hone_path_dir(path) : NULL;

    *out = NULL;
    if (!cwd)
        hone_error_set(err, HONE_EIO, "the working directory is gone");
    else if (!path || (dir && !strcmp(dir, ".")))
        *out = hone_strdup(cwd);
    else if (dir)
        *out = hone_path_join(cwd, dir);
    if (cwd && !*out)
        hone_error_set(err, HONE_ENOMEM, "out of memory");
    hone_free(dir);
    free(cwd);
    return *out ? 0 : cwd ? HONE_ENOMEM : HONE_EIO;
}

int hone_config_new(hone_config **out, hone_error *err)
{
    hone_config *c = hone_calloc(1, sizeof *c);
    size_t i;
    int rc = c ? 0 : hone_error_set(err, HONE_ENOMEM, "out of memory");

    *out = NULL;
    for (i = 0; !rc && i < config_n_keys; i++) {
        config_scalar s = {config_keys[i].fallback, true};
        config_value v = {false, 1, &s};

        if (s.text)
            rc = config_assign(c, &config_keys[i], &v, "default of ", "", err);
    }
    if (rc)
        hone_config_free(c);
    else
        *out = c;
    return rc;
}

int hone_config_load(hone_config **out, const char *path, hone_error *err)
{
    reader r = {.name = path, .lines = true, .err = err};
    char *text = NULL;
    size_t len;
    int rc;

    *out = NULL;
    rc = hone_config_new(&r.c, err);
    if (!rc)
        rc = hone_file_read(&text, &len, path, FILE_LIMIT, err);
    if (!rc)
        rc = folder_of(&r.folder, path, err);
    if (!rc) {
        r.line = hone_calloc(config_n_keys, sizeof *r.line);
        r.c->source = hone_strdup(path);
        if (!r.line || !r.c->source)
            rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    if (!rc)
        rc = with_document(&r, text, len, read_file);
    hone_free(text);
    hone_free(r.folder);
    hone_free(r.line);
    if (rc)
        hone_config_free(r.c);
    else
        *out = r.c;
    return rc;
}

/* Lays the keys of a text over a configuration. */
static int lay_over(hone_config *c, const char *text, const char *name, hone_error *err)
{
    char root[] = "/"; /* every path of a saved text is absolute */
    reader r = {.c = c, .name = name, .folder = root, .err = err};
    int rc;

    if (!*text)
        return 0;
    r.line = hone_calloc(config_n_keys, sizeof *r.line);
    rc = r.line ? with_document(&r, text, strlen(text), read_file)
                : hone_error_set(err, HONE_ENOMEM, "out of memory");
    hone_free(r.line);
    return rc;
}

int hone_config_of_stage(hone_config **out, const hone_config *c, size_t i, hone_error *err)
{
    hone_config *s = NULL;
    char *text = NULL, name[80];
    int rc = hone_config_new(&s, err);

    snprintf(name, sizeof name, "stage %s", c->stage[i].name);
    if (!rc)
        rc = hone_config_text(&text, c, NULL, 0, err);
    if (!rc && !text)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (!rc)
        rc = lay_over(s, text, name, err);
    if (!rc)
        rc = lay_over(s, c->stage[i].text, name, err);
    hone_free(text);
    if (rc)
        hone_config_free(s);
    *out = rc ? NULL : s;
    return rc;
}

/* The value of `--set`; the key's name is what `where` holds. An empty text is null. */
static int read_assignment(reader *r, const yaml_node_t *root)
{
    static yaml_char_t empty[] = "";
    yaml_node_t null = {.type = YAML_SCALAR_NODE};
    const char *dot = strchr(r->assigned, '.');
    char section[64];

    null.data.scalar.value = empty;
    null.data.scalar.style = YAML_PLAIN_SCALAR_STYLE;
    snprintf(section, sizeof section, "%.*s", (int)(dot - r->assigned), r->assigned);
    snprintf(r->where, sizeof r->where, "%s: ", r->name);
    return read_key(r, section, dot + 1, root, root ? root : &null);
}

int hone_config_set(hone_config *c, const char *assignment, hone_error *err)
{
    reader r = {.c = c, .name = "--set", .err = err};
    const char *equals = strchr(assignment, '='), *dot;
    char name[200], hint[160];
    int rc;

    snprintf(name, sizeof name, "%.*s",
             (int)HONE_MIN(equals ? (size_t)(equals - assignment) : 0, (size_t)160), assignment);
    dot = strchr(name, '.');
    if (!equals || !dot)
        return hone_error_set(err, HONE_EINVAL, "--set %.100s: expected section.key=value", assignment);
    r.assigned = name;
    name[dot - name] = 0;
    if (!config_is_section(name)) {
        config_suggest(hint, sizeof hint, NULL, name);
        return hone_error_set(err, HONE_EINVAL, "--set: unknown section `%.60s`%s", name, hint);
    }
    name[dot - name] = '.';
    rc = folder_of(&r.folder, NULL, err);
    if (!rc)
        rc = with_document(&r, equals + 1, strlen(equals + 1), read_assignment);
    hone_free(r.folder);
    return rc;
}

void hone_config_free(hone_config *c)
{
    size_t i;

    if (!c)
        return;
    for (i = 0; i < config_n_keys; i++)
        config_field_clear(c, &config_keys[i]);
    for (i = 0; i < c->n_notice; i++)
        hone_free(c->notice[i]);
    hone_free(c->notice);
    for (i = 0; i < c->n_stages; i++) {
        hone_free(c->stage[i].name);
        hone_free(c->stage[i].text);
    }
    hone_free(c->stage);
    hone_free(c->source);
    hone_free(c);
}
