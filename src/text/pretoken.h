/* Pre-tokenisation: cuts a text into the pieces that the model encodes one by one.
 *
 * A pre-tokenizer is a list of steps; each cuts the pieces of the one before. A step finds its matches with a scanner (a
 * hand-written matcher of a known expression, over our own property tables), or with PCRE2 for any other expression,
 * and what it does with matches and the gaps between them is its behaviour. Steps run depth first, so that nothing is
 * stored between them. */
#ifndef HONE_TEXT_PRETOKEN_H
#define HONE_TEXT_PRETOKEN_H

#include "text/normal.h"

/* Matches at s[i], i < n: the end of the match, or i when there is none. The text is well-formed UTF-8 and i stands on
 * a character. */
typedef size_t (*hone_scan_fn)(const unsigned char *s, size_t n, size_t i);

typedef struct hone_scanner {
    const char *name;
    const char *pattern; /* as tokenizer.json spells it */
    hone_scan_fn scan;
} hone_scanner;

/* The scanner of an expression, by its pattern or by its name; NULL: unknown. */
const hone_scanner *hone_scanner_by_pattern(const char *pattern, size_t len);
const hone_scanner *hone_scanner_by_name(const char *name);

enum hone_behavior {
    HONE_SPLIT_ISOLATED,
    HONE_SPLIT_REMOVED,
    HONE_SPLIT_WITH_PREVIOUS,
    HONE_SPLIT_WITH_NEXT,
    HONE_SPLIT_CONTIGUOUS
};

enum hone_step_kind {
    HONE_STEP_SCAN,
    HONE_STEP_REGEX,
    HONE_STEP_STRING,
    /* these write a piece anew and cut nothing */
    HONE_STEP_PREFIX_SPACE,
    HONE_STEP_METASPACE,
    HONE_STEP_BYTE_LEVEL
};

enum hone_prepend { HONE_PREPEND_ALWAYS, HONE_PREPEND_FIRST, HONE_PREPEND_NEVER };

typedef struct hone_regex hone_regex;

typedef struct hone_step {
    enum hone_step_kind kind;
    enum hone_behavior behavior;
    bool invert;
    hone_scan_fn scan;
    hone_regex *regex;
    char *string; /* literal text to find; METASPACE: what a space becomes */
    size_t string_len;
    enum hone_prepend prepend;
} hone_step;

#define HONE_MAX_STEPS 16

typedef struct hone_pretoken {
    hone_step step[HONE_MAX_STEPS];
    size_t n_steps;
    hone_buf identity; /* what the steps are, in a fixed form: for hashing and messages */
} hone_pretoken;

void hone_pretoken_clear(hone_pretoken *p);

/* Append a step. Errors: HONE_EUNSUPPORTED, HONE_ELIMIT, HONE_ENOMEM. */
int hone_pretoken_add_pattern(hone_pretoken *p, const char *pattern, size_t len, enum hone_behavior behavior,
                              bool invert, hone_error *err);
int hone_pretoken_add_scanner(hone_pretoken *p, const char *name, enum hone_behavior behavior, bool invert,
                              hone_error *err);
int hone_pretoken_add_string(hone_pretoken *p, const char *s, size_t len, enum hone_behavior behavior,
                             bool invert, hone_error *err);
int hone_pretoken_add_prefix_space(hone_pretoken *p, hone_error *err);
/* Spaces become the replacement, and one is put in front of a piece that does not start with it: of each, or of the one
 * that starts the text. (The splitting of the library's Metaspace is a string step behind this one.) */
int hone_pretoken_add_metaspace(hone_pretoken *p, const char *replacement, size_t len,
                                enum hone_prepend prepend, hone_error *err);
/* Bytes become the characters that spell them. */
int hone_pretoken_add_byte_level(hone_pretoken *p, hone_error *err);

/* Takes one piece. Non-zero stops the run and is returned. */
typedef int (*hone_piece_fn)(void *ud, const hone_view *piece);

typedef struct hone_match {
    size_t begin, end;
    bool match;
} hone_match;

/* Memory for runs; zero-initialise, hone_pretoken_work_clear frees. One per thread or call. */
typedef struct hone_pretoken_work {
    void *match_data; /* PCRE2's */
    hone_match *list;
    size_t n, capacity;
    hone_aligned written[HONE_MAX_STEPS][2]; /* the piece that a step has written */
} hone_pretoken_work;

void hone_pretoken_work_clear(hone_pretoken_work *w);

/* Hands the pieces of a text to `piece`, in order. */
int hone_pretoken_run(const hone_pretoken *p, hone_pretoken_work *w, const hone_view *text,
                      hone_piece_fn piece, void *ud, hone_error *err);

/* ---- expressions without a scanner (pretoken_regex.c) ------------------------------------------------------------------- */

/* Compiles an expression of Oniguruma's Ruby syntax. What it has that PCRE2 lacks, or means otherwise, is refused. */
int hone_regex_open(hone_regex **out, const char *pattern, size_t len, hone_error *err);
void hone_regex_close(hone_regex *r);
/* Next match in s[0..n) at or after `from`: 1 and its range, 0 none, negative error. *match_data: of the work. */
int hone_regex_find(const hone_regex *r, void **match_data, const unsigned char *s, size_t n, size_t from,
                    size_t *begin, size_t *end, hone_error *err);
void hone_regex_free_match_data(void *match_data);

#endif
