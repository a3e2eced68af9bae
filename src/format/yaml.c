/* YAML to JSON values over libyaml's events.
 *
 * The document is composed by libyaml (which resolves aliases), then copied value by value: an alias becomes a copy of
 * what it names, and the number of copies is bounded. Lines are kept beside the values, in the order in which a walk of
 * the tree meets them: (container, key or index) -> line. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "format/yaml.h"

#define FILE_LIMIT ((size_t)16 << 20)
#define DEPTH_LIMIT 64
#define VALUE_LIMIT 500000

typedef struct place {
    const json_t *container;
    size_t index; /* of the member or item */
    size_t line;
} place;

struct hone_yaml {
    json_t *root;
    place *at; /* sorted by container, then index, once read */
    size_t n, capacity;
};

typedef struct reader {
    hone_yaml *y;
    yaml_document_t *doc;
    const char *name;
    size_t values;
    hone_error *err;
} reader;

static int wrong(const reader *r, const yaml_node_t *node, int code, const char *what)
{
    return hone_error_set(r->err, code, "%s:%zu: %s", r->name, node->start_mark.line + 1, what);
}

static int note(reader *r, const json_t *container, size_t index, size_t line)
{
    hone_yaml *y = r->y;

    y->at = hone_grow(y->at, &y->capacity, y->n + 1, sizeof *y->at);
    if (y->n == y->capacity)
        return hone_error_set(r->err, HONE_ENOMEM, "out of memory");
    y->at[y->n++] = (place){container, index, line + 1};
    return 0;
}

/* Whole and real numbers of the core schema, without octal, hexadecimal, infinity and NaN. */
static bool is_number(const char *s, bool *whole)
{
    size_t digits = 0;

    *whole = true;
    s += *s == '-' || *s == '+';
    for (; isdigit((unsigned char)*s); s++)
        digits++;
    if (*s == '.') {
        *whole = false;
        for (s++; isdigit((unsigned char)*s); s++)
            digits++;
    }
    if (digits && (*s == 'e' || *s == 'E')) {
        *whole = false;
        s++;
        s += *s == '-' || *s == '+';
        if (!isdigit((unsigned char)*s))
            return false;
        while (isdigit((unsigned char)*s))
            s++;
    }
    return digits && !*s;
}

static int read_number(const reader *r, json_t **out, const yaml_node_t *node, const char *text, bool whole)
{
    char *end;
    double real;

    errno = 0;
    if (whole) {
        long long v = strtoll(text, &end, 10);

        if (!errno) {
            *out = json_integer(v);
            return 0;
        }
    }
    real = strtod(text, &end);
    if (*end || !isfinite(real))
        return wrong(r, node, HONE_EFORMAT, "a number that is too large");
    *out = json_real(real);
    return 0;
}

static int read_scalar(const reader *r, json_t **out, const yaml_node_t *node)
{
    static const char *const null[] = {"", "~", "null", "Null", "NULL"};
    static const char *const boolean[] = {"false", "true", "False", "True", "FALSE", "TRUE"};
    const char *text = (const char *)node->data.scalar.value, *tag = (const char *)node->tag;
    size_t len = node->data.scalar.length, i;
    bool whole;
    int rc = 0;

    if (tag && strcmp(tag, YAML_STR_TAG))
        return wrong(r, node, HONE_EUNSUPPORTED, "tags are not supported");
    if (strlen(text) != len)
        return wrong(r, node, HONE_EFORMAT, "a NUL character");
    if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        for (i = 0; i < HONE_COUNT(null) && !*out; i++)
            if (!strcmp(text, null[i]))
                *out = json_null();
        for (i = 0; i < HONE_COUNT(boolean) && !*out; i++)
            if (!strcmp(text, boolean[i]))
                *out = json_boolean(i & 1);
        if (!*out && is_number(text, &whole))
            rc = read_number(r, out, node, text, whole);
    }
    if (!rc && !*out)
        *out = json_stringn(text, len); /* libyaml lets no ill-formed UTF-8 pass */
    return rc || *out ? rc : hone_error_set(r->err, HONE_ENOMEM, "out of memory");
}

static int read_node(reader *r, json_t **out, const yaml_node_t *node, int depth);

static int read_sequence(reader *r, json_t **out, const yaml_node_t *node, int depth)
{
    const yaml_node_item_t *item;
    size_t i = 0;
    int rc = 0;

    if (node->tag && strcmp((const char *)node->tag, YAML_SEQ_TAG))
        return wrong(r, node, HONE_EUNSUPPORTED, "tags are not supported");
    *out = json_array();
    if (!*out)
        return hone_error_set(r->err, HONE_ENOMEM, "out of memory");
    for (item = node->data.sequence.items.start; !rc && item < node->data.sequence.items.top; item++, i++) {
        const yaml_node_t *child = yaml_document_get_node(r->doc, *item);
        json_t *value = NULL;

        rc = read_node(r, &value, child, depth + 1);
        if (!rc && json_array_append(*out, value))
            rc = hone_error_set(r->err, HONE_ENOMEM, "out of memory");
        json_decref(value);
        if (!rc)
            rc = note(r, *out, i, child->start_mark.line);
    }
    return rc;
}

static int read_mapping(reader *r, json_t **out, const yaml_node_t *node, int depth)
{
    const yaml_node_pair_t *pair;
    size_t i = 0;
    int rc = 0;

    if (node->tag && strcmp((const char *)node->tag, YAML_MAP_TAG))
        return wrong(r, node, HONE_EUNSUPPORTED, "tags are not supported");
    *out = json_object();
    if (!*out)
        return hone_error_set(r->err, HONE_ENOMEM, "out of memory");
    for (pair = node->data.mapping.pairs.start; !rc && pair < node->data.mapping.pairs.top; pair++, i++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, pair->key);
        const char *name = (const char *)key->data.scalar.value;
        json_t *value = NULL;

        if (key->type != YAML_SCALAR_NODE)
            return wrong(r, key, HONE_EUNSUPPORTED, "a key that is a list or a mapping");
        if (key->tag && strcmp((const char *)key->tag, YAML_STR_TAG))
            return wrong(r, key, HONE_EUNSUPPORTED, "tags are not supported");
        if (strlen(name) != key->data.scalar.length)
            return wrong(r, key, HONE_EFORMAT, "a NUL character");
        if (key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !strcmp(name, "<<"))
            return wrong(r, key, HONE_EUNSUPPORTED, "merge keys (`<<`) are not supported");
        if (json_object_get(*out, name))
            return hone_error_set(r->err, HONE_EFORMAT, "%s:%zu: `%.100s` is given twice", r->name,
                                  key->start_mark.line + 1, name);
        rc = read_node(r, &value, yaml_document_get_node(r->doc, pair->value), depth + 1);
        if (!rc && json_object_set(*out, name, value))
            rc = hone_error_set(r->err, HONE_ENOMEM, "out of memory");
        json_decref(value);
        if (!rc)
            rc = note(r, *out, i, key->start_mark.line);
    }
    return rc;
}

static int read_node(reader *r, json_t **out, const yaml_node_t *node, int depth)
{
    if (depth > DEPTH_LIMIT)
        return wrong(r, node, HONE_ELIMIT, "nested too deeply");
    if (++r->values > VALUE_LIMIT)
        return wrong(r, node, HONE_ELIMIT, "too many values");
    if (node->type == YAML_SCALAR_NODE)
        return read_scalar(r, out, node);
    return node->type == YAML_SEQUENCE_NODE ? read_sequence(r, out, node, depth)
                                            : read_mapping(r, out, node, depth);
}

static int broken(const yaml_parser_t *p, const char *name, hone_error *err)
{
    if (p->error == YAML_MEMORY_ERROR)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (p->error == YAML_READER_ERROR)
        return hone_error_set(err, HONE_EFORMAT, "%s: broken YAML at byte %zu: %s", name, p->problem_offset,
                              p->problem ? p->problem : "");
    return hone_error_set(err, HONE_EFORMAT, "%s:%zu: broken YAML: %s%s%s", name, p->problem_mark.line + 1,
                          p->problem ? p->problem : "", p->context ? " " : "", p->context ? p->context : "");
}

static int by_container(const void *a, const void *b)
{
    const place *x = a, *y = b;

    if (x->container != y->container)
        return (uintptr_t)x->container < (uintptr_t)y->container ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static int read_document(reader *r, yaml_parser_t *parser)
{
    yaml_document_t doc, second;
    const yaml_node_t *root, *more;
    int rc = 0;

    if (!yaml_parser_load(parser, &doc))
        return broken(parser, r->name, r->err);
    r->doc = &doc;
    root = yaml_document_get_root_node(&doc);
    if (!root)
        r->y->root = json_null();
    else
        rc = read_node(r, &r->y->root, root, 0);
    if (!rc && root) {
        if (!yaml_parser_load(parser, &second)) {
            rc = broken(parser, r->name, r->err);
        } else {
            more = yaml_document_get_root_node(&second);
            if (more)
                rc = wrong(r, more, HONE_EUNSUPPORTED, "a second YAML document; one is supported");
            yaml_document_delete(&second);
        }
    }
    yaml_document_delete(&doc);
    return rc;
}

int hone_yaml_parse(hone_yaml **out, const char *text, size_t len, const char *name, hone_error *err)
{
    reader r = {.name = name, .err = err};
    yaml_parser_t parser;
    int rc;

    *out = NULL;
    if (len > FILE_LIMIT)
        return hone_error_set(err, HONE_ELIMIT, "%s: larger than %zu bytes", name, FILE_LIMIT);
    r.y = hone_calloc(1, sizeof *r.y);
    if (!r.y)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (!yaml_parser_initialize(&parser)) {
        hone_free(r.y);
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    rc = read_document(&r, &parser);
    yaml_parser_delete(&parser);
    if (rc) {
        hone_yaml_free(r.y);
        return rc;
    }
    if (r.y->n)
        qsort(r.y->at, r.y->n, sizeof *r.y->at, by_container);
    *out = r.y;
    return 0;
}

int hone_yaml_load(hone_yaml **out, const char *path, hone_error *err)
{
    char *text = NULL;
    size_t len;
    int rc;

    *out = NULL;
    rc = hone_file_read(&text, &len, path, FILE_LIMIT, err);
    if (!rc)
        rc = hone_yaml_parse(out, text, len, path, err);
    hone_free(text);
    return rc;
}

json_t *hone_yaml_root(const hone_yaml *y)
{
    return y->root;
}

size_t hone_yaml_item_line(const hone_yaml *y, const json_t *array, size_t index)
{
    place key = {array, index, 0}, *found;

    found = y->n ? bsearch(&key, y->at, y->n, sizeof key, by_container) : NULL;
    return found ? found->line : 0;
}

size_t hone_yaml_key_line(const hone_yaml *y, const json_t *object, const char *key)
{
    const char *name;
    json_t *value;
    size_t i = 0;

    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!strcmp(name, key))
            return hone_yaml_item_line(y, object, i);
        i++;
    }
    return 0;
}

void hone_yaml_free(hone_yaml *y)
{
    if (!y)
        return;
    json_decref(y->root);
    hone_free(y->at);
    hone_free(y);
}
