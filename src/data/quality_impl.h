/* The parts of the quality rules; private to src/data/quality*.c.
 *
 *   quality_rules.c   YAML to rules: the table of kinds and their parameters, names and lines in messages
 *   quality.c         opening, one row through all rules
 *   quality_scan.c    one pass over a text: characters with their classes, tokens, lines
 *   quality_words.c   all words of all rules, found together
 *   quality_regex.c   bounded regular expressions
 *   quality_*.c       what the kinds look for
 *   quality_corpus.c  kinds that need all rows
 *
 * A text is decoded once; every rule then works on arrays of characters and tokens. Nothing is allocated for a row once
 * the arrays of a thread have grown to the longest text. */
#ifndef HONE_DATA_QUALITY_IMPL_H
#define HONE_DATA_QUALITY_IMPL_H

#include "data/data.h"
#include "data/quality.h"
#include "format/yaml.h"

/* Longer texts are looked at up to here, so that memory stays bounded (about 21 bytes for a byte of text, each thread). */
#define SCAN_LIMIT ((size_t)4 << 20)

/* ---- characters ----------------------------------------------------------------------------------------------------- */

typedef enum char_class {
    CHAR_HAN,
    CHAR_LATIN,
    CHAR_DIGIT, /* ASCII and full-width */
    CHAR_KANA,
    CHAR_HANGUL,
    CHAR_CYRILLIC,
    CHAR_GREEK,
    CHAR_ARABIC,
    CHAR_HEBREW,
    CHAR_THAI,
    CHAR_INDIC,
    CHAR_LETTER, /* of another script */
    CHAR_CODE,   /* any visible character inside a code fence or `code` */
    CHAR_MARK,
    CHAR_PUNCT,
    CHAR_SYMBOL,
    CHAR_SPACE,
    CHAR_NEWLINE,
    CHAR_CONTROL,
    CHAR_HIDDEN, /* zero width, direction, tags: what changes a text unseen */
    CHAR_REPLACEMENT,
    CHAR_PRIVATE, /* private use, unassigned, surrogates */
    N_CHAR_CLASSES
} char_class;

#define CHAR_CLASS 31u
#define CHAR_SIMPLIFIED 32u  /* in simplified Chinese only */
#define CHAR_TRADITIONAL 64u /* in traditional Chinese only */
#define CHAR_MISREAD 128u    /* appears when UTF-8 is read as GBK */

#define HAN_FIRST 0x4e00u
#define HAN_WORDS 328 /* of 64 characters: U+4E00..U+9FFF */
extern const uint64_t han_simplified[HAN_WORDS], han_traditional[HAN_WORDS], han_misread[HAN_WORDS];

/* Fills classes of U+0000..U+FFFF. */
void char_table_make(uint8_t table[0x10000]);

static inline unsigned char_class_of(const uint8_t *table, uint32_t c)
{
    if (c < 0x10000)
        return table[c];
    return c >= 0x20000 && c < 0x33480   ? CHAR_HAN
           : c >= 0xe0000                ? CHAR_HIDDEN /* tags, variation selectors; private planes */
           : c >= 0x1f000 && c < 0x20000 ? CHAR_SYMBOL
                                         : CHAR_LETTER;
}

/* Letters of words that are written with blanks between them. */
static inline bool class_is_word(unsigned class)
{
    return class == CHAR_LATIN || class == CHAR_DIGIT || (class >= CHAR_CYRILLIC && class <= CHAR_LETTER);
}

/* ---- a text, scanned ------------------------------------------------------------------------------------------------ */

typedef struct word_hit {
    uint16_t set;
    uint32_t word;       /* number within the set */
    uint32_t begin, end; /* characters */
} word_hit;

/* A passage of tokens [begin, begin + n) that stood `distance` tokens before already. */
typedef struct text_repeat {
    uint32_t begin, n, distance;
} text_repeat;

typedef struct text_scan {
    const char *text;
    size_t len; /* bytes, at most SCAN_LIMIT */
    bool cut;   /* there is more */
    uint32_t n; /* characters */
    uint32_t *cp;
    uint32_t *at;   /* [n + 1] byte of a character */
    uint8_t *class; /* [n] char_class and flags */
    uint32_t count[N_CHAR_CLASSES];
    uint32_t ascii[128];
    uint32_t simplified, traditional, misread;
    /* A token is a Han character, a kana, a word or a number; punctuation and code are none. */
    uint32_t *token;    /* [n_tokens] what it is; below 2^31: one character */
    uint32_t *token_at; /* [n_tokens + 1] its first character */
    uint32_t n_tokens;
    uint32_t *line; /* [n_lines + 1] first character of a line */
    uint32_t n_lines;
    bool open_fence; /* a code fence is not closed */
    uint32_t n_fences;
    uint32_t first, last; /* characters without blanks around: [first, last) */
    word_hit *hit;
    size_t n_hits, hit_capacity;
    bool repeats_known;
    text_repeat *repeat;
    size_t n_repeats, repeat_capacity;
    size_t capacity; /* of the arrays by character */
} text_scan;

/* HONE_ENOMEM. */
int text_scan_run(text_scan *s, const uint8_t *table, const char *text, size_t len, hone_error *err);
void text_scan_clear(text_scan *s);
static inline unsigned scan_class(const text_scan *s, size_t i)
{
    return s->class[i] & CHAR_CLASS;
}
uint32_t token_of_word(const char *word); /* the token of a word of Latin letters */
/* End (exclusive) of the sentence that begins at character i, its marks and quotes included. */
uint32_t scan_sentence_end(const text_scan *s, uint32_t i);

/* ---- words ---------------------------------------------------------------------------------------------------------- */

/* Words of many sets in one tree, found in one pass. Latin letters match without case and only as whole words. */
typedef struct words words;
int words_new(words **out, hone_error *err);
void words_free(words *w);
/* Adds a word (UTF-8, 1..64 characters) as number `word` of `set`. HONE_EINVAL (empty, too long), HONE_ENOMEM. */
int words_add(words *w, uint16_t set, uint32_t word, const char *text, hone_error *err);
/* Finds all words of all sets, in the order of their ends' begins. */
int words_find(const words *w, text_scan *s, hone_error *err);

/* ---- regular expressions -------------------------------------------------------------------------------------------- */

typedef struct regex regex;
typedef struct regex_work regex_work; /* of one thread */
/* PCRE2 over UTF-8, ^ and $ match at lines. HONE_EINVAL with the place in the pattern; `groups` (may be NULL): how many. */
int regex_compile(regex **out, const char *pattern, bool ignore_case, uint32_t *groups, hone_error *err);
void regex_free(regex *r);
int regex_work_new(regex_work **out, hone_error *err);
void regex_work_free(regex_work *w);
/* 1 and the bytes of `group` (0: all of it; a group that took no part: begin == end), 0 no match, -1 too many steps. */
int regex_find(const regex *r, regex_work *w, const char *text, size_t len, size_t from, uint32_t group,
               size_t *begin, size_t *end);

/* ---- rules ---------------------------------------------------------------------------------------------------------- */

typedef struct texts {
    char **item;
    size_t n;
} texts;

/* Which messages a rule looks at. */
enum rule_on { ON_ANSWER, ON_QUESTION, ON_SYSTEM, ON_TOOL, ON_ALL };

/* All parameters of all kinds; a kind's table says which it has, and their defaults. */
typedef struct rule_params {
    int64_t min, max, times, passage, within, question, answer;
    double share, low, high;
    bool all, ignore_case, code;
    int choice;    /* of the kind's own list */
    unsigned find; /* bits of the kind's own list */
    texts words, patterns, except;
    char *file; /* relative ones are joined to the folder of the rule's file */
} rule_params;

typedef struct rule_when {
    texts task, label;
    regex *question, *not_question, *answer, *not_answer;
    bool any;
} rule_when;

typedef struct rule_kind rule_kind;
typedef struct rule rule;
typedef struct check check;

struct rule {
    char *name, *title[2], *explain[2];
    const rule_kind *kind;
    bool enabled;
    quality_action action;
    int severity;
    int on; /* enum rule_on */
    rule_params p;
    rule_when when;
    char *where; /* "file:line" for messages */
    /* made at the opening */
    uint32_t index;
    uint16_t set, except_set; /* of its words; 0: none */
    regex **regex;            /* [p.patterns.n] */
    void *state;              /* the kind's own */
    _Atomic uint64_t gave_up; /* matches that took too many steps */
};

typedef enum param_type {
    PARAM_INTEGER,
    PARAM_NUMBER,
    PARAM_BOOL,
    PARAM_TEXTS, /* one text is a list of one */
    PARAM_FILE,
    PARAM_CHOICE, /* int */
    PARAM_FLAGS   /* unsigned: bits, bit i for the i-th name */
} param_type;

typedef struct rule_param {
    const char *name;
    param_type type;
    size_t offset; /* in rule_params */
    double fallback, low, high;
    const char *const *names; /* of CHOICE and FLAGS, NULL ends it */
} rule_param;

struct rule_kind {
    const char *name;
    const rule_param *param; /* name NULL ends it */
    int on;                  /* default */
    bool corpus;
    bool plain;                                          /* looks at plain text rows too */
    bool own_words;                                      /* its words are not looked for in the texts */
    int (*open)(quality *q, rule *r, hone_error *err);   /* NULL: nothing to make */
    void (*close)(rule *r);                              /* NULL: hone_free(state) */
    int (*row)(check *c, rule *r);                       /* looks at c->text */
    int (*finish)(quality *q, rule *r, hone_error *err); /* of corpus kinds */
};

extern const rule_kind rule_kinds[];
extern const size_t n_rule_kinds;

/* ---- labels (label.c) ----------------------------------------------------------------------------------------------- */

typedef struct label_source {
    regex *pattern;
    texts label;  /* names, by number */
    uint16_t set; /* their words; 0: none */
} label_source;

int label_source_open(label_source *l, words *w, uint16_t set, const hone_quality_options *o,
                      hone_error *err);
void label_source_close(label_source *l);

/* ---- the whole ------------------------------------------------------------------------------------------------------ */

/* What corpus rules keep of a row. */
typedef struct digest {
    uint64_t context; /* of everything before the last answer, by its tokens; 0: nothing */
    uint64_t answer;
    uint16_t sketch
        [16]; /* smallest hash of the answer's pairs of tokens in each of 16 classes; UINT16_MAX: none */
    uint32_t task, label; /* hashes of names; 0: none */
    uint32_t tokens;      /* of the answer */
    uint16_t asked;       /* tokens of what came before it, at most UINT16_MAX */
    uint8_t form;         /* enum text_form */
    bool answered;
} digest;

typedef struct observed {
    uint64_t row;
    digest d;
} observed;

struct quality {
    rule *rule; /* [n_rules] in the order of the files */
    size_t n_rules;
    bool corpus; /* some corpus rule is enabled */
    uint8_t *table;
    words *words;
    uint16_t n_sets; /* next free */
    label_source label;
    struct name_table *names; /* of tasks and labels, met so far; locked */
    observed *seen;
    size_t n_seen, seen_capacity;
    quality_corpus_finding *found;
    size_t n_found, found_capacity;
    bool finished;
};

struct quality_scratch {
    text_scan scan[2]; /* the last question and the present text */
    regex_work *work;
    uint64_t *slot; /* a hash table that is emptied by a new stamp: stamp << 32 | value */
    size_t n_slots; /* a power of two */
    uint32_t stamp;
    hone_buf label;
    text_scan label_scan;
    bool failed;         /* memory ran out for a label: the next check says so */
    uint32_t known[256]; /* hashes of names that the rules have kept already, by their low bits */
};

/* One text under the rules. */
struct check {
    const quality *q;
    quality_scratch *s;
    const quality_row *row;
    quality_findings *out;
    hone_error *err;
    text_scan *text;
    const text_scan *question; /* the user's message before this answer; NULL: none */
    uint32_t message;
    uint32_t turns;     /* of the user so far */
    int first_language; /* of the first question, as quality_language.c numbers them; 0: not known */
    const char *label;
    bool label_known;
};

/* Adds a finding about characters [begin, end) of c->text; the detail is cut at a character. Applies r->when first. */
int check_found(check *c, rule *r, uint32_t begin, uint32_t end, const char *format, ...) HONE_PRINTF(5, 6);
/* What a finding says: characters that were cut by a precision, and what is too long, are left out. */
void detail_format(char out[120], const char *format, va_list args);
/* A finding about all rows (row UINT64_MAX) or one row. */
int corpus_found(quality *q, const rule *r, uint64_t row, uint64_t other, hone_error *err, const char *format,
                 ...) HONE_PRINTF(6, 7);
/* Writes up to `most` characters of a text in backquotes, blanks and controls as single blanks. */
const char *check_quote(char out[100], const text_scan *s, uint32_t begin, uint32_t end);
/* Empties the hash table and makes room for n values at half load. Returns HONE_ENOMEM. */
int scratch_table(quality_scratch *s, size_t n, hone_error *err);

/* quality_rules.c */
int rules_read(quality *q, const hone_quality_options *o, hone_error *err);
void rule_clear(rule *r);
int rule_wrong(const rule *r, int code, hone_error *err, const char *format, ...) HONE_PRINTF(4, 5);
void texts_clear(texts *t);
int texts_add(texts *t, const char *text, size_t len, hone_error *err);

/* quality_digest.c: a digest is made as the messages of a row pass. */
enum text_form {
    FORM_NONE,
    FORM_SHORT,
    FORM_PROSE,
    FORM_NUMBERED,
    FORM_BULLETS,
    FORM_HEADINGS,
    FORM_TABLE,
    FORM_CODE,
    FORM_JSON,
    FORM_CALL,
    N_FORMS
};
typedef struct digest_maker {
    uint64_t context; /* of the messages so far */
    uint32_t asked;
    digest d; /* as of the last answer */
} digest_maker;
/* `answer`: a trained turn of the assistant, or plain text. */
int digest_message(digest_maker *m, check *c, int role, bool answer);
int digest_finish(digest_maker *m, check *c, digest *out);
/* Share of equal entries of two sketches: an estimate of the Jaccard similarity of the answers' pairs of tokens. */
double digest_similarity(const digest *a, const digest *b);
int names_open(struct name_table **out, hone_error *err);
void names_close(struct name_table *t);
/* The name of a hash that some digest holds. */
const char *names_get(struct name_table *t, uint32_t hash);

/* quality_corpus.c */
int conflict_finish(quality *q, rule *r, hone_error *err);
int drift_finish(quality *q, rule *r, hone_error *err);
int label_skew_finish(quality *q, rule *r, hone_error *err);
int label_missing_finish(quality *q, rule *r, hone_error *err);
int task_imbalance_finish(quality *q, rule *r, hone_error *err);

/* What the kinds look for. */
int pattern_row(check *c, rule *r);
int words_row(check *c, rule *r);
int require_row(check *c, rule *r);
int length_row(check *c, rule *r);
int ratio_row(check *c, rule *r);
int sentences_row(check *c, rule *r);
int run_row(check *c, rule *r);
int loop_row(check *c, rule *r);
int repetition_row(check *c, rule *r);
int repeated_sentences_row(check *c, rule *r);
int unfinished_row(check *c, rule *r);
int ignores_open(quality *q, rule *r, hone_error *err);
void ignores_close(rule *r);
int ignores_row(check *c, rule *r);
int language_open(quality *q, rule *r, hone_error *err);
int language_row(check *c, rule *r);
int mixed_script_row(check *c, rule *r);
int encoding_row(check *c, rule *r);
int personal_row(check *c, rule *r);
int dose_open(quality *q, rule *r, hone_error *err);
void dose_close(rule *r);
int dose_row(check *c, rule *r);

#endif
