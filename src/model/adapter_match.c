/* Which modules a setting means: PEFT's rules, on the module paths of the Hugging Face spelling, whatever file the base
 * came from. Python's re.fullmatch becomes PCRE2 anchored at both ends, with a bound on its work. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "model/adapter_match.h"

#define MATCH_LIMIT 1000000

static int expression_new(hone_expression *e, const char *text, const char *where, const char *key,
                          uint32_t flags, hone_error *err)
{
    PCRE2_UCHAR why[200];
    PCRE2_SIZE at;
    int code;

    e->regex = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, flags | PCRE2_UTF, &code, &at, NULL);
    if (!e->regex) {
        pcre2_get_error_message(code, why, sizeof why);
        return hone_error_set(err, HONE_EINVAL, "%s: %s: \"%s\": %s at offset %zu", where, key, text,
                              (const char *)why, (size_t)at);
    }
    e->match = pcre2_match_data_create_from_pattern(e->regex, NULL);
    e->context = pcre2_match_context_create(NULL);
    if (!e->match || !e->context) {
        hone_expression_clear(e);
        return hone_error_set(err, HONE_ENOMEM, "%s: %s: out of memory", where, key);
    }
    pcre2_set_match_limit(e->context, MATCH_LIMIT);
    return 0;
}

int hone_expression_init(hone_expression *e, const char *text, bool whole, const char *where, const char *key,
                         hone_error *err)
{
    *e = (hone_expression){0};
    return expression_new(e, text, where, key, whole ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : 0, err);
}

int hone_expression_matches(const hone_expression *e, const char *path, const char *where, const char *key,
                            hone_error *err)
{
    int rc = pcre2_match(e->regex, (PCRE2_SPTR)path, PCRE2_ZERO_TERMINATED, 0, 0, e->match, e->context);

    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH)
        return rc >= 0;
    return hone_error_set(err, HONE_ELIMIT, "%s: %s: the regular expression takes too long on \"%s\"", where,
                          key, path);
}

void hone_expression_clear(hone_expression *e)
{
    pcre2_match_context_free(e->context);
    pcre2_match_data_free(e->match);
    pcre2_code_free(e->regex);
    *e = (hone_expression){0};
}

bool hone_path_ends_with(const char *path, const char *name)
{
    const size_t n = strlen(path), k = strlen(name);

    if (k > n || strcmp(path + n - k, name) != 0)
        return false;
    return k == n || path[n - k - 1] == '.';
}

bool hone_path_in(const char *path, const hone_strings *names)
{
    size_t i;

    for (i = 0; names && i < names->n; i++)
        if (hone_path_ends_with(path, names->item[i]))
            return true;
    return false;
}

/* ---- targets ------------------------------------------------------------------------------------------------------ */

/* What finds the number of a block: PEFT's re.match expressions, a pattern standing in them unbracketed. */
static int init_layers(hone_targets *t, const hone_target_limits *limits, const char *where, hone_error *err)
{
    const hone_strings *pattern = &limits->layers_pattern;
    const size_t n = pattern->n ? pattern->n : 1;
    hone_buf text = {0};
    int rc = 0;

    t->layers = &limits->layers;
    t->layer = hone_calloc(n, sizeof *t->layer);
    if (!t->layer)
        return hone_error_set(err, HONE_ENOMEM, "%s: layers_pattern: out of memory", where);
    while (t->n_layer < n && !rc) {
        text.len = 0;
        if (pattern->n)
            hone_buf_printf(&text, "\\A(?:(?:^|.*?\\.)%s\\.(?P<idx>\\d+)\\.)", pattern->item[t->n_layer]);
        else
            hone_buf_puts(&text, "\\A(?:.*?\\.[^.]*\\.(?P<idx>\\d+)\\.)");
        rc = text.failed ? hone_error_set(err, HONE_ENOMEM, "%s: layers_pattern: out of memory", where)
                         : hone_expression_init(&t->layer[t->n_layer], text.data, false, where,
                                                "layers_pattern", err);
        t->n_layer += rc == 0;
    }
    hone_buf_clear(&text);
    return rc;
}

static int init_names(hone_targets *t, const hone_strings *targets, bool is_list, const char *where,
                      hone_error *err)
{
    if (!targets || targets->n == 0 || (targets->n == 1 && !strcasecmp(targets->item[0], "all-linear")))
        return 0;
    if (is_list) {
        t->names = targets;
        return 0;
    }
    if (targets->n != 1)
        return hone_error_set(err, HONE_EINVAL, "%s: target_modules: one regular expression, not %zu", where,
                              targets->n);
    return hone_expression_init(&t->regex, targets->item[0], true, where, "target_modules", err);
}

int hone_targets_init(hone_targets *t, const hone_strings *targets, bool is_list,
                      const hone_target_limits *limits, const char *where, hone_error *err)
{
    int rc;

    *t = (hone_targets){0};
    rc = init_names(t, targets, is_list, where, err);
    if (rc || !limits)
        return rc;
    if (limits->layers.n && !t->names)
        rc = hone_error_set(err, HONE_EINVAL,
                            "%s: layers_to_transform needs a list of names in target_modules", where);
    else if (limits->layers_pattern.n && !limits->layers.n)
        rc = hone_error_set(err, HONE_EINVAL, "%s: layers_pattern needs layers_to_transform", where);
    else if (limits->layers.n)
        rc = init_layers(t, limits, where, err);
    if (!rc && limits->exclude_is_list)
        t->exclude = &limits->exclude;
    else if (!rc && limits->exclude.n)
        rc = hone_expression_init(&t->exclude_regex, limits->exclude.item[0], true, where, "exclude_modules",
                                  err);
    if (rc)
        hone_targets_clear(t);
    return rc;
}

void hone_targets_clear(hone_targets *t)
{
    hone_expression_clear(&t->regex);
    hone_expression_clear(&t->exclude_regex);
    while (t->n_layer)
        hone_expression_clear(&t->layer[--t->n_layer]);
    hone_free(t->layer);
    *t = (hone_targets){0};
}

/* 1: the path's block is one of the layers. The first pattern that matches decides. */
static int layer_matches(const hone_targets *t, const char *path, const char *where, hone_error *err)
{
    PCRE2_UCHAR digits[24];
    PCRE2_SIZE size = sizeof digits;
    size_t i, k;
    int rc = 0;

    for (i = 0; i < t->n_layer && !rc; i++)
        rc = hone_expression_matches(&t->layer[i], path, where, "layers_pattern", err);
    if (rc <= 0)
        return rc;
    if (pcre2_substring_copy_byname(t->layer[i - 1].match, (PCRE2_SPTR) "idx", digits, &size))
        return 0;
    for (k = 0; k < t->layers->n; k++)
        if (strtod((const char *)digits, NULL) == t->layers->item[k])
            return 1;
    return 0;
}

static bool is_one_of(const char *path, const hone_strings *names)
{
    size_t i;

    for (i = 0; i < names->n; i++)
        if (!strcmp(path, names->item[i]))
            return true;
    return false;
}

int hone_targets_match(const hone_targets *t, const char *path, const char *where, hone_error *err)
{
    int rc = t->exclude_regex.regex
                 ? hone_expression_matches(&t->exclude_regex, path, where, "exclude_modules", err)
                 : hone_path_in(path, t->exclude);

    if (rc)
        return rc < 0 ? rc : 0;
    if (t->regex.regex)
        return hone_expression_matches(&t->regex, path, where, "target_modules", err);
    if (!t->names || is_one_of(path, t->names)) /* a complete path is of any layer */
        return 1;
    if (!hone_path_in(path, t->names))
        return 0;
    return t->layers ? layer_matches(t, path, where, err) : 1;
}

/* ---- patterns ------------------------------------------------------------------------------------------------------ */

int hone_pattern_find(size_t *out, const hone_patterns *p, const char *path, const char *where,
                      const char *key, hone_error *err)
{
    hone_expression e;
    hone_buf text = {0};
    size_t i;
    int rc = 0;

    *out = p ? p->name.n : 0;
    for (i = 0; p && i < p->name.n && !rc; i++) {
        text.len = 0;
        hone_buf_printf(&text, "(.*\\.)?(%s)", p->name.item[i]);
        if (text.failed) {
            rc = hone_error_set(err, HONE_ENOMEM, "%s: %s: out of memory", where, key);
            break;
        }
        if ((rc = hone_expression_init(&e, text.data, true, where, key, err)) < 0)
            break;
        rc = hone_expression_matches(&e, path, where, key, err);
        if (rc > 0)
            *out = i;
        hone_expression_clear(&e);
    }
    hone_buf_clear(&text);
    return rc < 0 ? rc : 0;
}
