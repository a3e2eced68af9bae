/* Private to src/data: named checks of rows. A check is a rule: a kind that this code knows, with parameters from YAML.
 * The rules that come with hone are YAML as well (share/quality.yaml, embedded); a person's own file adds rules and
 * changes parameters by name. Two sorts:
 *   row rules     look at one row alone; from many threads at a time
 *   corpus rules  need all rows (conflicting answers, drift of format, skew of labels, imbalance of tasks)
 * Every finding names its rule, the row, and where in which message; what follows from it is the rule's action. */
#ifndef HONE_DATA_QUALITY_H
#define HONE_DATA_QUALITY_H

#include <jansson.h>

#include "data/data.h"

typedef struct quality quality;

/* What follows from a finding. */
typedef enum quality_action {
    QUALITY_REPORT, /* it is counted and shown */
    QUALITY_DROP    /* the row is dropped; the reason is the rule's name */
} quality_action;

typedef struct quality_rule_info {
    const char *name;     /* "repetition"; [a-z0-9_]+ */
    const char *title[2]; /* for a person: English, Chinese */
    const char *explain
        [2]; /* what is found and why it harms, a sentence or two; "" when the rule's file says nothing */
    quality_action action;
    int severity; /* 1 note, 2 warning, 3 error */
    bool corpus;
} quality_rule_info;

/* One finding. Byte offsets are within the text of the message (or of the plain text). */
typedef struct quality_finding {
    uint32_t rule;       /* index for quality_rule */
    uint32_t message;    /* which turn; UINT32_MAX: the row as a whole */
    uint32_t begin, end; /* the place that shows it; equal: no place */
    char detail[120];    /* UTF-8, cut at a character: "`胃痛` 5 times, 62 % of the answer" */
} quality_finding;

typedef struct quality_findings { /* zero-initialise; freed with hone_free(item) */
    quality_finding *item;
    size_t n, capacity;
} quality_findings;

/* A row as the rules see it; all borrowed during the call. */
typedef struct quality_row {
    const json_t *root;     /* {"messages": [...]} or {"text": ...} */
    const uint8_t *trained; /* [n_messages] */
    size_t n_messages;
    const char *task, *label; /* NULL: none */
    uint64_t row;             /* 0-based over all files */
} quality_row;

/* HONE_EFORMAT with file and line of a rule that is wrong, HONE_ENOENT. */
int quality_open(quality **out, const hone_quality_options *options, hone_error *err);
void quality_close(quality *q); /* NULL is fine */
size_t quality_n_rules(const quality *q);
quality_rule_info quality_rule(const quality *q, size_t i);

/* Scratch memory of one thread. */
typedef struct quality_scratch quality_scratch;
int quality_scratch_new(quality_scratch **out, const quality *q, hone_error *err);
void quality_scratch_free(quality_scratch *s); /* NULL is fine */

/* Appends what the row rules find, in the order of the rules. Thread-safe, one scratch a thread. Also computes what the
 * corpus rules will want of this row (hashes, label, form of the answer) into *digest, a block of
 * quality_digest_size(q) bytes. HONE_ENOMEM. */
int quality_check(const quality *q, quality_scratch *s, const quality_row *row, quality_findings *out,
                  void *digest, hone_error *err);
size_t quality_digest_size(const quality *q);

/* Hands a row's digest to the corpus rules: one thread, in the order of the rows, each row that is still in at the time
 * (not dropped, no duplicate). */
int quality_observe(quality *q, uint64_t row, const void *digest, hone_error *err);

/* After all rows were observed: the corpus rules' findings, sorted by row, then rule. `row` of a finding about the corpus
 * as a whole is UINT64_MAX. Borrowed until the close. */
typedef struct quality_corpus_finding {
    uint64_t row, other_row; /* other_row: the row it conflicts with, or UINT64_MAX */
    quality_finding finding;
} quality_corpus_finding;
int quality_finish(quality *q, const quality_corpus_finding **out, size_t *n, hone_error *err);

/* The label of a row by the configured way (field, regular expression, word list); NULL: none. Borrowed from the scratch
 * or the row until its next call. */
const char *quality_label(const quality *q, quality_scratch *s, const quality_row *row);

#endif
