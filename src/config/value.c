/* From the text of a value to the field it sets: types, ranges, names, paths.
 *
 * Types are those of YAML 1.2: only true and false are booleans (yes, no, on and off are refused with that hint: YAML
 * 1.1 read them as booleans), `1e-4` is a number, and what stands in quotes is text. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/keys.h"

static void *field_of(hone_config *c, const config_key *key)
{
    return (char *)c + key->offset;
}

static bool is_null(const config_scalar *s)
{
    static const char *const spelling[] = {"", "~", "null", "Null", "NULL"};
    size_t i;

    for (i = 0; s->plain && i < HONE_COUNT(spelling); i++)
        if (!strcmp(s->text, spelling[i]))
            return true;
    return false;
}

/* 1 true, 0 false, -1 neither. */
static int boolean_of(const config_scalar *s)
{
    static const char *const spelling[] = {"false", "true", "False", "True", "FALSE", "TRUE"};
    size_t i;

    for (i = 0; s->plain && i < HONE_COUNT(spelling); i++)
        if (!strcmp(s->text, spelling[i]))
            return (int)(i & 1);
    return -1;
}

/* The numbers of YAML 1.2's core schema, without octal, hexadecimal, infinity and NaN. A leading zero before another
 * digit is refused: YAML 1.1 took it for octal. */
static bool is_number(const config_scalar *s, bool *whole)
{
    const char *p = s->text, *digits;
    size_t before, after = 0;

    *whole = true;
    if (!s->plain)
        return false;
    p += *p == '-' || *p == '+';
    digits = p;
    while (isdigit((unsigned char)*p))
        p++;
    before = (size_t)(p - digits);
    if (before > 1 && *digits == '0')
        return false;
    if (*p == '.') {
        *whole = false;
        for (p++; isdigit((unsigned char)*p); p++)
            after++;
    }
    if (before + after == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        *whole = false;
        p++;
        p += *p == '-' || *p == '+';
        if (!isdigit((unsigned char)*p))
            return false;
        while (isdigit((unsigned char)*p))
            p++;
    }
    return *p == 0;
}

/* The value as a message shows it: in backquotes, shortened at a character's border. */
static void show(char out[96], const config_value *v)
{
    const char *s = v->is_list ? "" : v->item[0].text;
    size_t n = 0, len = strlen(s);

    if (v->is_list) {
        snprintf(out, 96, "a list");
        return;
    }
    if (is_null(&v->item[0])) {
        snprintf(out, 96, "nothing");
        return;
    }
    while (n < len) {
        int32_t cp;
        size_t step = hone_utf8_get(s + n, len - n, &cp);

        if (n + step > 60)
            break;
        n += step;
    }
    snprintf(out, 96, "%s`%.*s`%s", v->item[0].plain ? "" : "the text ", (int)n, s, n < len ? "..." : "");
}

static int wrong_type(const config_key *key, const config_value *v, const char *where, const char *hint,
                      hone_error *err)
{
    char type[CONFIG_TYPE_TEXT], found[96];

    config_type_text(type, sizeof type, key);
    show(found, v);
    return hone_error_set(err, HONE_EFORMAT, "%s%s.%s: expected %s, found %s%s", where, key->section,
                          key->key, type, found, hint);
}

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory");
}

static int assign_bool(bool *out, const config_key *key, const config_value *v, const char *where,
                       hone_error *err)
{
    static const char *const yaml11[] = {"yes", "no", "on", "off", "y", "n"};
    const char *hint = "";
    int b = v->is_list ? -1 : boolean_of(&v->item[0]);
    size_t i;

    if (b < 0) {
        for (i = 0; !v->is_list && i < HONE_COUNT(yaml11); i++)
            if (!strcasecmp(v->item[0].text, yaml11[i]))
                hint = i & 1 ? " (write false)" : " (write true)";
        if (!v->is_list && !v->item[0].plain)
            hint = " (remove the quotes)";
        return wrong_type(key, v, where, hint, err);
    }
    *out = b;
    return 0;
}

/* One number within the bounds of its key. *n (may be NULL): the same as an integer, where the key takes one. */
static int read_number(double *out, int64_t *n, const config_key *key, const config_value *v,
                       const char *where, hone_error *err)
{
    const config_scalar *s = &v->item[0];
    bool whole;
    double x;
    int rc;

    if (!is_number(s, &whole) || (n && !whole)) {
        config_scalar bare = {s->text, true};

        return wrong_type(key, v, where, !s->plain && is_number(&bare, &whole) ? " (remove the quotes)" : "",
                          err);
    }
    rc = config_number_parse(&x, s->text, err);
    if (rc)
        return rc;
    errno = 0;
    if (n)
        *n = strtoll(s->text, NULL, 10);
    if (!isfinite(x) || errno == ERANGE || x < key->min || x > key->max ||
        (x == key->min && key->flags & KEY_ABOVE_MIN) || (x == key->max && key->flags & KEY_BELOW_MAX) ||
        (key->flags & KEY_STEPS && x >= 1 && x != floor(x))) {
        char type[CONFIG_TYPE_TEXT];

        config_type_text(type, sizeof type, key);
        return hone_error_set(err, HONE_ERANGE, "%s%s.%s: must be %s, not %.40s", where, key->section,
                              key->key, type, s->text);
    }
    *out = x == 0 ? 0 : x; /* no -0 */
    return 0;
}

static int assign_number(hone_config *c, const config_key *key, const config_value *v, const char *where,
                         hone_error *err)
{
    const config_scalar *s = &v->item[0];
    bool zero = false;
    double x = 0;
    int64_t n = 0;
    int rc = 0;

    if (v->is_list)
        return wrong_type(key, v, where, "", err);
    if (key->zero && s->plain && (!strcmp(s->text, key->zero) || is_null(s)))
        zero =
            !is_null(s) || !strcmp(key->fallback, key->zero); /* null only where the default is that word */
    if (!zero)
        rc = read_number(&x, key->kind == KIND_NUMBER ? NULL : &n, key, v, where, err);
    if (rc)
        return rc;
    if (key->kind == KIND_INT)
        *(int32_t *)field_of(c, key) = (int32_t)n;
    else if (key->kind == KIND_INT64)
        *(int64_t *)field_of(c, key) = n;
    else
        *(double *)field_of(c, key) = x;
    return 0;
}

static int assign_choice(hone_config *c, const config_key *key, const config_value *v, const char *where,
                         hone_error *err)
{
    const config_choice *choice;

    for (choice = key->choice; !v->is_list && choice->name; choice++)
        if (!strcmp(choice->name, v->item[0].text)) {
            int rc = choice->alias
                         ? config_notice(c, err, "%s%s.%s: `%s` is read as `%s`", where, key->section,
                                         key->key, choice->name, config_choice_name(key, choice->value))
                         : 0;

            if (!rc)
                *(int32_t *)field_of(c, key) = choice->value;
            return rc;
        }
    return wrong_type(key, v, where, "", err);
}

/* Whether a plain scalar is text: `path: true` or `path: 12` is a slip more often than a name. */
static bool is_text(const config_scalar *s)
{
    bool whole;

    return !s->plain || (boolean_of(s) < 0 && !is_number(s, &whole) && !is_null(s));
}

/* *out: a copy, joined to the folder for paths. */
static int copy_text(char **out, const config_key *key, const char *text, const char *folder, hone_error *err)
{
    bool path = key->kind == KIND_PATH || key->kind == KIND_PATHS;

    /* Standard input, as data, is no file of the folder. */
    if (key->kind == KIND_PATHS && text[0] == '-' && (text[1] == 0 || text[1] == '.'))
        path = false;
    while (path && text[0] == '.' && text[1] == '/')
        for (text += 2; *text == '/';)
            text++;
    *out = !path                          ? hone_strdup(text)
           : !strcmp(text, ".") || !*text ? hone_strdup(folder)
                                          : hone_path_join(folder, text);
    return *out ? 0 : out_of_memory(err);
}

static int assign_text(hone_config *c, const config_key *key, const config_value *v, const char *where,
                       const char *folder, hone_error *err)
{
    static const char *const words[] = {"true", "false", "auto"};
    char **field = field_of(c, key), *text = NULL;
    bool word = false;
    size_t i;
    int rc = 0;

    if (v->is_list)
        return wrong_type(key, v, where, "", err);
    for (i = 0; key->flags & KEY_WORDS && i < HONE_COUNT(words); i++)
        word |= strcmp(v->item[0].text, words[i]) == 0;
    if (word) {
        text = hone_strdup(v->item[0].text);
        if (!text)
            return out_of_memory(err);
    } else if (!is_null(&v->item[0])) {
        if (!is_text(&v->item[0]))
            return wrong_type(key, v, where, " (put quotes around it)", err);
        if (!v->item[0].text[0])
            return wrong_type(key, v, where, " (leave the key out, or write null)", err);
        rc = copy_text(&text, key, v->item[0].text, folder, err);
    } else if (key->fallback) {
        return wrong_type(key, v, where, " (leave the key out for its default)", err);
    }
    if (rc)
        return rc;
    hone_free(*field);
    *field = text;
    return 0;
}

static void clear_strings(hone_strings *s)
{
    size_t i;

    for (i = 0; i < s->n; i++)
        hone_free(s->item[i]);
    hone_free(s->item);
    *s = (hone_strings){0};
}

static int assign_texts(hone_config *c, const config_key *key, const config_value *v, const char *where,
                        const char *folder, hone_error *err)
{
    hone_strings *field = field_of(c, key), fresh = {0};
    bool null = !v->is_list && is_null(&v->item[0]);
    size_t i;
    int rc = 0;

    if (null && key->fallback)
        return wrong_type(key, v, where, " (leave the key out for its default)", err);
    if (v->is_list && !v->n)
        return hone_error_set(err, HONE_EFORMAT, "%s%s.%s: the list is empty", where, key->section, key->key);
    for (i = 0; !null && i < v->n; i++)
        if (!is_text(&v->item[i]) || !v->item[i].text[0]) {
            config_value one = {false, 1, &v->item[i]};

            return wrong_type(key, &one, where, v->item[i].text[0] ? " (put quotes around it)" : "", err);
        }
    if (!null) {
        fresh.item = hone_calloc(v->n, sizeof *fresh.item);
        if (!fresh.item)
            return out_of_memory(err);
        for (fresh.n = 0; !rc && fresh.n < v->n; fresh.n++)
            rc = copy_text(&fresh.item[fresh.n], key, v->item[fresh.n].text, folder, err);
    }
    if (rc) {
        clear_strings(&fresh);
        return rc;
    }
    clear_strings(field);
    *field = fresh;
    if (key->kind == KIND_TARGETS)
        *(field == &c->lora.target_modules ? &c->lora.target_is_list : &c->lora.limits.exclude_is_list) =
            v->is_list && fresh.n;
    return 0;
}

static int assign_numbers(hone_config *c, const config_key *key, const config_value *v, const char *where,
                          hone_error *err)
{
    hone_numbers *field = field_of(c, key), fresh = {0};
    int rc = 0;

    if (v->is_list && !v->n)
        return hone_error_set(err, HONE_EFORMAT, "%s%s.%s: the list is empty", where, key->section, key->key);
    if (v->is_list || !is_null(&v->item[0])) {
        fresh.item = hone_calloc(v->n, sizeof *fresh.item);
        if (!fresh.item)
            return out_of_memory(err);
        for (; !rc && fresh.n < v->n; fresh.n++) {
            config_value one = {false, 1, &v->item[fresh.n]};

            rc = read_number(&fresh.item[fresh.n], NULL, key, &one, where, err);
        }
    }
    if (rc) {
        hone_free(fresh.item);
        return rc;
    }
    hone_free(field->item);
    *field = fresh;
    return 0;
}

static void clear_patterns(hone_patterns *p)
{
    clear_strings(&p->name);
    hone_free(p->value);
    *p = (hone_patterns){0};
}

static int assign_patterns(hone_config *c, const config_key *key, const config_value *v, const char *where,
                           hone_error *err)
{
    hone_patterns *field = field_of(c, key), fresh = {0};
    size_t n = v->is_list ? v->n / 2 : 0;
    int rc = 0;

    if (!v->is_list && !is_null(&v->item[0]))
        return wrong_type(key, v, where, "", err);
    if (n) {
        fresh.name.item = hone_calloc(n, sizeof *fresh.name.item);
        fresh.value = hone_calloc(n, sizeof *fresh.value);
        if (!fresh.name.item || !fresh.value)
            rc = out_of_memory(err);
    }
    for (; !rc && fresh.name.n < n; fresh.name.n++) {
        config_value number = {false, 1, &v->item[2 * fresh.name.n + 1]};

        const char *name = v->item[2 * fresh.name.n].text;
        size_t i;

        for (i = 0; i < fresh.name.n && !rc; i++)
            if (!strcmp(fresh.name.item[i], name))
                rc = hone_error_set(err, HONE_EINVAL, "%s%s.%s: `%.60s` is given twice", where, key->section,
                                    key->key, name);
        if (!rc)
            rc = read_number(&fresh.value[fresh.name.n], NULL, key, &number, where, err);
        if (!rc && !(fresh.name.item[fresh.name.n] = hone_strdup(name)))
            rc = out_of_memory(err);
        if (rc)
            break; /* the name is not there: it does not count */
    }
    if (rc) {
        clear_patterns(&fresh);
        return rc;
    }
    clear_patterns(field);
    *field = fresh;
    return 0;
}

int config_assign(hone_config *c, const config_key *key, const config_value *v, const char *where,
                  const char *folder, hone_error *err)
{
    switch (key->kind) {
    case KIND_BOOL:
        return assign_bool(field_of(c, key), key, v, where, err);
    case KIND_INT:
    case KIND_INT64:
    case KIND_NUMBER:
        return assign_number(c, key, v, where, err);
    case KIND_PATTERNS:
        return assign_patterns(c, key, v, where, err);
    case KIND_NUMBERS:
        return assign_numbers(c, key, v, where, err);
    case KIND_CHOICE:
        return assign_choice(c, key, v, where, err);
    case KIND_TEXT:
    case KIND_PATH:
        return assign_text(c, key, v, where, folder, err);
    case KIND_TEXTS:
    case KIND_PATHS:
    case KIND_TARGETS:
        return assign_texts(c, key, v, where, folder, err);
    }
    return hone_error_set(err, HONE_EINTERNAL, "%s.%s: unknown kind", key->section, key->key);
}

void config_field_clear(hone_config *c, const config_key *key)
{
    if (key->kind == KIND_TEXT || key->kind == KIND_PATH)
        hone_free(*(char **)field_of(c, key));
    else if (key->kind == KIND_TEXTS || key->kind == KIND_PATHS || key->kind == KIND_TARGETS)
        clear_strings(field_of(c, key));
    else if (key->kind == KIND_PATTERNS)
        clear_patterns(field_of(c, key));
    else if (key->kind == KIND_NUMBERS)
        hone_free(((hone_numbers *)field_of(c, key))->item);
}

int config_notice(hone_config *c, hone_error *err, const char *format, ...)
{
    char line[1200], **list;
    va_list args;
    size_t i;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (i = 0; i < c->n_notice; i++)
        if (!strcmp(c->notice[i], line))
            return 0;
    list = hone_realloc_array(c->notice, c->n_notice + 1, sizeof *list);
    if (!list)
        return out_of_memory(err);
    c->notice = list;
    list[c->n_notice] = hone_strdup(line);
    if (!list[c->n_notice])
        return out_of_memory(err);
    c->n_notice++;
    return 0;
}
