/* Which modules a setting means: PEFT's rules, on the module paths of the Hugging Face spelling, whatever file the base
 * came from. Python's re.fullmatch becomes PCRE2 anchored at both ends, with a bound on its work. */
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

int hone_targets_init(hone_targets *t, const hone_strings *targets, bool is_list, const char *where,
                      hone_error *err)
{
    *t = (hone_targets){0};
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

int hone_targets_match(const hone_targets *t, const char *path, const char *where, hone_error *err)
{
    if (t->regex.regex)
        return hone_expression_matches(&t->regex, path, where, "target_modules", err);
    return !t->names || hone_path_in(path, t->names);
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
