/* Which modules a setting means: names, regular expressions, and patterns with a number. */
#ifndef HONE_MODEL_ADAPTER_MATCH_H
#define HONE_MODEL_ADAPTER_MATCH_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/base.h"
#include "hone/config.h"

/* A regular expression with what it takes to run it. `where` and `key` start the messages. */
typedef struct hone_expression {
    pcre2_code *regex;
    pcre2_match_data *match;
    pcre2_match_context *context;
} hone_expression;

/* whole: it must match all of a path; else any part. HONE_EINVAL when malformed. A failed one is clear. */
int hone_expression_init(hone_expression *e, const char *text, bool whole, const char *where, const char *key,
                         hone_error *err);
int hone_expression_matches(const hone_expression *e, const char *path, const char *where, const char *key,
                            hone_error *err); /* 1, 0, or an error: HONE_ELIMIT */
void hone_expression_clear(hone_expression *e);

bool hone_path_ends_with(const char *path, const char *name);   /* is it, or ends with "." and it */
bool hone_path_in(const char *path, const hone_strings *names); /* ends with one of them; NULL: none */

/* PEFT's target_modules, exclude_modules, layers_to_transform and layers_pattern. Borrows names and numbers. */
typedef struct hone_targets {
    const hone_strings *names; /* a list; or NULL: all projections */
    hone_expression regex;     /* instead of a list */
    const hone_strings *exclude;
    hone_expression exclude_regex; /* instead of a list */
    const hone_numbers *layers;    /* NULL: all */
    hone_expression *layer;        /* [n_layer] each finds the number "idx" of a block in a path */
    size_t n_layer;
} hone_targets;

/* limits NULL: none. HONE_EINVAL: a malformed expression, or settings that do not go together. A failed one is clear. */
int hone_targets_init(hone_targets *t, const hone_strings *targets, bool is_list,
                      const hone_target_limits *limits, const char *where, hone_error *err);
int hone_targets_match(const hone_targets *t, const char *path, const char *where,
                       hone_error *err); /* 1, 0, error */
void hone_targets_clear(hone_targets *t);

/* Index of the first pattern that a path ends in a match of (PEFT: "(.*\\.)?(pattern)$"), or p->name.n. p may be NULL. */
int hone_pattern_find(size_t *out, const hone_patterns *p, const char *path, const char *where,
                      const char *key, hone_error *err);

#endif
