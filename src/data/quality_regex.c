/* Regular expressions of rules: PCRE2, compiled to machine code where the machine allows it, bounded in steps. Texts come
 * from the JSON parser and are valid UTF-8, so that PCRE2 need not look again. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "data/quality_impl.h"

#define STEP_LIMIT 200000u
#define STACK_START 32768
#define STACK_LIMIT ((size_t)1 << 20)
#define PATTERN_LIMIT 16384
#define GROUPS 16

struct regex {
    pcre2_code *code;
};

struct regex_work {
    pcre2_match_context *context;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
};

static void *take(PCRE2_SIZE n, void *ud)
{
    (void)ud;
    return hone_alloc(n);
}

static void give(void *p, void *ud)
{
    (void)ud;
    hone_free(p);
}

int regex_compile(regex **out, const char *pattern, bool ignore_case, uint32_t *groups, hone_error *err)
{
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    regex *r = context ? hone_calloc(1, sizeof *r) : NULL;
    PCRE2_SIZE at = 0;
    int code = 0, rc = 0;

    *out = NULL;
    if (r) {
        pcre2_set_max_pattern_length(context, PATTERN_LIMIT);
        r->code = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern),
                                PCRE2_UTF | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C |
                                    (ignore_case ? PCRE2_CASELESS : 0),
                                &code, &at, context);
    }
    if (!r || (!r->code && code == PCRE2_ERROR_HEAP_FAILED)) {
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    } else if (!r->code) {
        PCRE2_UCHAR text[160];

        pcre2_get_error_message(code, text, sizeof text);
        rc = hone_error_set(err, HONE_EINVAL, "the pattern `%.80s` is wrong at byte %zu: %s", pattern,
                            (size_t)at, (const char *)text);
    } else {
        pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it the interpreter matches */
        if (groups)
            pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, groups);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (rc)
        regex_free(r);
    else
        *out = r;
    return rc;
}

void regex_free(regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    hone_free(r);
}

int regex_work_new(regex_work **out, hone_error *err)
{
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    regex_work *w = general ? hone_calloc(1, sizeof *w) : NULL;

    *out = NULL;
    if (w) {
        w->context = pcre2_match_context_create(general);
        w->data = pcre2_match_data_create(GROUPS, general);
        w->stack = pcre2_jit_stack_create(STACK_START, STACK_LIMIT, general);
    }
    pcre2_general_context_free(general);
    if (!w || !w->context || !w->data) {
        regex_work_free(w);
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    pcre2_set_match_limit(w->context, STEP_LIMIT);
    pcre2_set_depth_limit(w->context, STEP_LIMIT);
    pcre2_set_heap_limit(w->context, (uint32_t)(STACK_LIMIT * 16 / 1024));
    if (w->stack)
        pcre2_jit_stack_assign(w->context, NULL, w->stack);
    *out = w;
    return 0;
}

void regex_work_free(regex_work *w)
{
    if (!w)
        return;
    pcre2_match_data_free(w->data);
    pcre2_match_context_free(w->context);
    if (w->stack)
        pcre2_jit_stack_free(w->stack);
    hone_free(w);
}

int regex_find(const regex *r, regex_work *w, const char *text, size_t len, size_t from, uint32_t group,
               size_t *begin, size_t *end)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->data);
    int n = pcre2_match(r->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, w->data, w->context);

    if (n == PCRE2_ERROR_NOMATCH)
        return 0;
    if (n < 0)
        return -1;
    if (!n) /* more groups than there is room for: the first ones are there */
        n = GROUPS;
    *begin = *end = at[0];
    if (group < (uint32_t)n && at[2 * group] != PCRE2_UNSET) {
        *begin = at[2 * group];
        *end = HONE_MAX(at[2 * group + 1], *begin); /* \K may put the end first */
    }
    return 1;
}
