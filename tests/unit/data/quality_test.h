/* What the tests of quality rules share: a row from a question and an answer, through the rules. */
#ifndef HONE_QUALITY_TEST_H
#define HONE_QUALITY_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "data/quality.h"

typedef struct checked {
    quality *q;
    quality_scratch *s;
    quality_findings found;
    char digest[64];
} checked;

static inline void open_rules(checked *c, const hone_quality_options *o)
{
    hone_error err = HONE_ERROR_INIT;

    memset(c, 0, sizeof *c);
    if (quality_open(&c->q, o, &err) || quality_scratch_new(&c->s, c->q, &err))
        fail_msg("%s", err.message);
    assert_true(quality_digest_size(c->q) <= sizeof c->digest);
}

static inline void close_rules(checked *c)
{
    quality_scratch_free(c->s);
    quality_close(c->q);
    hone_free(c->found.item);
}

/* The conversation of one question and one answer; question NULL: plain text. */
static inline json_t *row_of(const char *question, const char *answer)
{
    json_t *root = question ? json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "messages", "role", "user", "content",
                                        question, "role", "assistant", "content", answer)
                            : json_pack("{s:s}", "text", answer);

    assert_non_null(root);
    return root;
}

/* Leaves the findings in c->found. */
static inline void check_row(checked *c, const json_t *root, const char *task, const char *label,
                             uint64_t row)
{
    static const uint8_t trained[64] = {0, 1, 0, 1, 0, 1, 0, 1};
    hone_error err = HONE_ERROR_INIT;
    quality_row view = {.root = root,
                        .trained = trained,
                        .n_messages = json_array_size(json_object_get(root, "messages")),
                        .task = task,
                        .label = label,
                        .row = row};

    c->found.n = 0;
    if (quality_check(c->q, c->s, &view, &c->found, c->digest, &err))
        fail_msg("%s", err.message);
}

static inline void check_pair(checked *c, const char *question, const char *answer)
{
    json_t *root = row_of(question, answer);

    check_row(c, root, NULL, NULL, 0);
    json_decref(root);
}

static inline const quality_finding *finding_of(const checked *c, const char *wanted)
{
    size_t i;

    for (i = 0; i < c->found.n; i++)
        if (!strcmp(quality_rule(c->q, c->found.item[i].rule).name, wanted))
            return &c->found.item[i];
    return NULL;
}

/* All that was found, for messages: "truncated, refusal". */
static inline const char *names_found(const checked *c, char out[400])
{
    size_t i, n = 0;

    out[0] = 0;
    for (i = 0; i < c->found.n && n < 300; i++)
        n += (size_t)snprintf(out + n, 400 - n, "%s%s (%s)", i ? ", " : "",
                              quality_rule(c->q, c->found.item[i].rule).name, c->found.item[i].detail);
    return out;
}

typedef struct quality_case {
    const char *rule; /* that must be found; NULL: nothing must be */
    const char *question, *answer;
    const char *detail; /* part of the detail, or NULL */
} quality_case;

static inline void check_cases(checked *c, const quality_case *list, size_t n)
{
    char text[400];
    size_t i;

    for (i = 0; i < n; i++) {
        const quality_finding *f;

        check_pair(c, list[i].question, list[i].answer);
        f = list[i].rule ? finding_of(c, list[i].rule) : NULL;
        if (list[i].rule && !f)
            fail_msg("case %zu: `%s` is not found in `%.80s` but %s", i, list[i].rule, list[i].answer,
                     names_found(c, text));
        if (!list[i].rule && c->found.n)
            fail_msg("case %zu: `%.80s` gives %s", i, list[i].answer, names_found(c, text));
        if (f && list[i].detail && !strstr(f->detail, list[i].detail))
            fail_msg("case %zu: `%s` is not in `%s`", i, list[i].detail, f->detail);
    }
}

#endif
