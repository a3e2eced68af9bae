/* The effective configuration as YAML. Every key is written, so that a run can be repeated with another version's
 * defaults; keys without effect are written only where they were changed, for they make a notice when read. Text that
 * might be taken for something else stands in double quotes. */
#include <ctype.h>
#include <string.h>

#include "config/keys.h"

/* Text that every YAML reader takes for text. */
static bool is_safe_plain(const char *s)
{
    static const char *const word[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
    size_t i;

    if (!isalpha((unsigned char)s[0]) && s[0] != '/')
        return false;
    for (i = 0; i < HONE_COUNT(word); i++)
        if (!strcasecmp(s, word[i]))
            return false;
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")] == 0;
}

static void put_text(hone_buf *b, const char *s)
{
    size_t len = strlen(s), i, step;

    if (is_safe_plain(s)) {
        hone_buf_puts(b, s);
        return;
    }
    hone_buf_putc(b, '"');
    for (i = 0; i < len; i += step) {
        int32_t cp;

        step = hone_utf8_get(s + i, len - i, &cp);
        if (cp == '"' || cp == '\\')
            hone_buf_printf(b, "\\%c", (int)cp);
        else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || cp == 0xfeff ||
                 cp == 0xfffe || cp == 0xffff)
            hone_buf_printf(b, "\\u%04X", cp < 0 ? 0xfffd : (unsigned)cp);
        else
            hone_buf_add(b, s + i, step);
    }
    hone_buf_putc(b, '"');
}

static void put_strings(hone_buf *b, const hone_strings *s, bool list)
{
    size_t i;

    if (!s->n) {
        hone_buf_puts(b, "null");
    } else if (!list) {
        put_text(b, s->item[0]);
    } else {
        for (i = 0; i < s->n; i++) {
            hone_buf_puts(b, i ? ", " : "[");
            put_text(b, s->item[i]);
        }
        hone_buf_putc(b, ']');
    }
}

static int put_numbers(hone_buf *b, const hone_numbers *list, hone_error *err)
{
    char number[32];
    size_t i;
    int rc = 0;

    if (!list->n)
        hone_buf_puts(b, "null");
    for (i = 0; !rc && i < list->n; i++) {
        rc = config_number_format(number, list->item[i], err);
        if (!rc)
            hone_buf_printf(b, "%s%s", i ? ", " : "[", number);
    }
    if (list->n)
        hone_buf_putc(b, ']');
    return rc;
}

static int put_patterns(hone_buf *b, const hone_patterns *p, hone_error *err)
{
    char number[32];
    size_t i;
    int rc = 0;

    if (!p->name.n)
        hone_buf_puts(b, "null");
    for (i = 0; !rc && i < p->name.n; i++) {
        rc = config_number_format(number, p->value[i], err);
        hone_buf_puts(b, i ? ", " : "{");
        put_text(b, p->name.item[i]);
        if (!rc)
            hone_buf_printf(b, ": %s", number);
    }
    if (p->name.n)
        hone_buf_putc(b, '}');
    return rc;
}

static int put_value(hone_buf *b, const hone_config *c, const config_key *key, hone_error *err)
{
    const void *field = (const char *)c + key->offset;
    char number[32];
    int64_t n;
    int rc;

    switch (key->kind) {
    case KIND_BOOL:
        hone_buf_puts(b, *(const bool *)field ? "true" : "false");
        break;
    case KIND_INT:
    case KIND_INT64:
        n = key->kind == KIND_INT ? *(const int32_t *)field : *(const int64_t *)field;
        if (!n && key->zero)
            hone_buf_puts(b, key->zero);
        else
            hone_buf_printf(b, "%lld", (long long)n);
        break;
    case KIND_NUMBER:
        rc = config_number_format(number, *(const double *)field, err);
        if (rc)
            return rc;
        hone_buf_puts(b, number);
        break;
    case KIND_CHOICE:
        hone_buf_puts(b, config_choice_name(key, *(const int32_t *)field));
        break;
    case KIND_TEXT:
    case KIND_PATH:
        if (*(char *const *)field)
            put_text(b, *(char *const *)field);
        else
            hone_buf_puts(b, "null");
        break;
    case KIND_TEXTS:
    case KIND_PATHS:
        put_strings(b, field, ((const hone_strings *)field)->n > 1);
        break;
    case KIND_NUMBERS:
        return put_numbers(b, field, err);
    case KIND_PATTERNS:
        return put_patterns(b, field, err);
    case KIND_TARGETS:
        put_strings(b, field,
                    field == &c->lora.target_modules ? c->lora.target_is_list
                                                     : c->lora.limits.exclude_is_list);
        break;
    }
    return 0;
}

/* Whether a key without effect holds its default; these are booleans. */
static bool is_untouched(const hone_config *c, const config_key *key)
{
    return key->flags & KEY_NO_EFFECT &&
           *((const bool *)((const char *)c + key->offset)) == (key->fallback[0] == 't');
}

static bool is_wanted(const char *section, const char *const *sections, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (!strcmp(section, sections[i]))
            return true;
    return !sections;
}

/* The stages as they are read: each line of their keys further in. */
static void put_stages(hone_buf *b, const hone_config *c)
{
    const char *line, *end;
    size_t i;

    if (c->n_stages)
        hone_buf_puts(b, "stages:\n");
    for (i = 0; i < c->n_stages; i++) {
        hone_buf_puts(b, "  - name: ");
        put_text(b, c->stage[i].name);
        hone_buf_putc(b, '\n');
        for (line = c->stage[i].text; (end = strchr(line, '\n')); line = end + 1)
            hone_buf_printf(b, "    %.*s\n", (int)(end - line), line);
    }
}

/* given NULL: all keys. */
static int put_keys(hone_buf *b, const hone_config *c, const char *const *sections, size_t n_sections,
                    const size_t *given, hone_error *err)
{
    const char *section = NULL;
    char group[64] = "";
    size_t i;
    int rc = 0;

    for (i = 0; !rc && i < config_n_keys; i++) {
        const config_key *k = &config_keys[i];
        const char *dot = strchr(k->key, '.');
        size_t n = dot ? (size_t)(dot - k->key) : 0;

        if ((given && !given[i]) || is_untouched(c, k) || !is_wanted(k->section, sections, n_sections))
            continue;
        if (!section || strcmp(section, k->section)) {
            hone_buf_printf(b, "%s:\n", k->section);
            section = k->section;
            group[0] = 0;
        }
        if (dot && (strncmp(group, k->key, n) || group[n])) {
            snprintf(group, sizeof group, "%.*s", (int)n, k->key);
            hone_buf_printf(b, "  %s:\n", group);
        }
        hone_buf_printf(b, "%s%s: ", dot ? "    " : "  ", dot ? dot + 1 : k->key);
        rc = put_value(b, c, k, err);
        hone_buf_putc(b, '\n');
    }
    if (!rc && b->failed)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for the configuration");
    return rc;
}

int hone_config_text(char **out, const hone_config *c, const char *const *sections, size_t n, hone_error *err)
{
    hone_buf b = {0};
    int rc = put_keys(&b, c, sections, n, NULL, err);

    *out = rc ? NULL : hone_buf_take(&b);
    hone_buf_clear(&b);
    return rc;
}

int config_text_of(char **out, const hone_config *c, const size_t *given, hone_error *err)
{
    hone_buf b = {0};
    int rc = put_keys(&b, c, NULL, 0, given, err);

    hone_buf_puts(&b, "");
    *out = rc ? NULL : hone_buf_take(&b);
    if (!rc && !*out)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for the configuration");
    hone_buf_clear(&b);
    return rc;
}

int hone_config_save(const hone_config *c, const char *path, hone_error *err)
{
    hone_buf b = {0};
    int rc = put_keys(&b, c, NULL, 0, NULL, err);

    put_stages(&b, c);
    if (!rc && b.failed)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for the configuration");
    if (!rc)
        rc = hone_file_write(path, b.data, b.len, err);
    hone_buf_clear(&b);
    return rc;
}
