/* Chat templates: Jinja text in, bytes with their origin out.
 *
 * A template is parsed once and rendered many times, from any thread. It is the dialect that model folders carry:
 * Jinja2 3.1 with trim_blocks, lstrip_blocks, loop controls and {% generation %}, autoescape off, the lenient
 * undefined, and the immutable sandbox. What is not supported is refused by name: at parse time, or, where Jinja2
 * itself would look only when the place is reached (inside an if), when it is reached. */
#ifndef HONE_TEXT_TEMPLATE_H
#define HONE_TEXT_TEMPLATE_H

#include <jansson.h>

#include "hone/chat.h"

typedef struct hone_template hone_template;

/* Bounds of one rendering. Templates come from untrusted folders. */
#define HONE_TEMPLATE_MAX_SOURCE ((size_t)4 << 20)   /* bytes of template text */
#define HONE_TEMPLATE_MAX_OUTPUT ((size_t)256 << 20) /* bytes rendered */
#define HONE_TEMPLATE_MAX_MEMORY ((size_t)1 << 30)   /* bytes of values alive during a rendering */
#define HONE_TEMPLATE_MAX_WORK ((uint64_t)1 << 29)   /* nodes evaluated, items visited, bytes / 16 moved */
#define HONE_TEMPLATE_MAX_DEPTH 400                  /* nested expressions, blocks and macro calls together */

/* What a template is rendered with. JSON is borrowed for the call. */
typedef struct hone_template_input {
    const json_t *vars;      /* object of strings: bos_token and the like; origin 0. NULL = none */
    const json_t *messages;  /* array of objects; byte origin 1 + index */
    size_t n_messages;       /* only the first n are shown */
    const json_t *tools;     /* NULL = none; origin HONE_ORIGIN_OTHER, as of the next two */
    const json_t *documents; /* NULL = none */
    const json_t *kwargs;    /* object of further variables; they win over vars. NULL = none */
    bool generation_prompt;
    int64_t now;       /* seconds since the epoch, what strftime_now shows in local time */
    uint64_t max_work; /* 0 = HONE_TEMPLATE_MAX_WORK; memory, output bounds likewise */
    size_t max_memory, max_output;
} hone_template_input;

/* Errors: HONE_EFORMAT with the line (syntax, an unknown filter, test or tag), HONE_EUNSUPPORTED (a construct of
 * Jinja2 that is not carried, by name), HONE_ELIMIT (source size or nesting), HONE_ENOMEM. */
int hone_template_parse(hone_template **out, const char *text, size_t len, hone_error *err);
void hone_template_free(hone_template *t); /* NULL is fine */

/* *out must be zero-initialised; filled on success only. Errors: HONE_EINVAL (raise_exception's text, undefined
 * access, types that do not go together), HONE_EUNSUPPORTED, HONE_ELIMIT, HONE_ENOMEM; all with the line. */
int hone_template_render(const hone_template *t, const hone_template_input *in, hone_rendering *out,
                         hone_error *err);

#endif
