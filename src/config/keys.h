/* The table of configuration keys and what reads it; private to src/config. */
#ifndef HONE_CONFIG_KEYS_H
#define HONE_CONFIG_KEYS_H

#include "base/base.h"
#include "hone/config.h"

typedef enum config_kind {
    KIND_BOOL,     /* bool */
    KIND_INT,      /* int32_t */
    KIND_INT64,    /* int64_t */
    KIND_NUMBER,   /* double */
    KIND_CHOICE,   /* an enum or int32_t, from the key's list of names */
    KIND_TEXT,     /* char * */
    KIND_PATH,     /* char *, made absolute */
    KIND_TEXTS,    /* hone_strings; one text is a list of one */
    KIND_PATHS,    /* hone_strings, made absolute */
    KIND_NUMBERS,  /* hone_numbers, one number is a list of one */
    KIND_PATTERNS, /* hone_patterns; as a config_value a list of name, number, name, number, ... */
    KIND_TARGETS   /* lora.target_modules: hone_strings, and lora.target_is_list */
} config_kind;

enum config_flags {
    KEY_ABOVE_MIN = 1, /* min itself is not allowed */
    KEY_BELOW_MAX = 2, /* max itself is not allowed */
    KEY_STEPS = 4,     /* a share below 1, else a whole number */
    KEY_WORDS = 16,    /* of a path: `true`, `false` and `auto` are words, not paths */
    KEY_NO_EFFECT = 8  /* accepted because users' files have it; giving it makes a notice */
};

typedef struct config_choice {
    const char *name; /* NULL ends the list */
    int value;        /* the first name of a value is the one that is saved */
    bool alias;       /* an accepted name of another program: using it makes a notice */
} config_choice;

typedef struct config_key {
    const char *section, *key; /* key may be nested: "augmentation.enabled" */
    const char *aliases;       /* separated by spaces, or NULL */
    config_kind kind;
    size_t offset;        /* of the field in hone_config */
    const char *fallback; /* the default in YAML syntax; NULL: the field stays 0 / NULL / empty */
    const char *unset;    /* what that means, for the reference; NULL with a fallback */
    double min, max;      /* numbers only */
    unsigned flags;
    const char *zero; /* integers: a word that stands for 0 ("auto"), or NULL */
    const config_choice *choice;
    const char *help; /* sentences without a final newline */
} config_key;

extern const config_key config_keys[];
extern const size_t config_n_keys;

/* The key `name` of `section`; *alias tells whether it was found by an alias. NULL: unknown. */
const config_key *config_key_find(const char *section, const char *name, bool *alias);
/* Whether some key of the section is nested under `name`. */
bool config_key_is_group(const char *section, const char *name);
bool config_is_section(const char *name);
/* Writes a hint for an unknown name: "; did you mean `x`?", "; `x` belongs to section `y`", or "". `section` NULL:
 * the name stands where a section should. */
void config_suggest(char *out, size_t size, const char *section, const char *name);
#define CONFIG_TYPE_TEXT 400 /* bytes that hold the longest of them */
/* What a key accepts: "integer >= 1", "one of cosine, linear". */
void config_type_text(char *out, size_t size, const config_key *key);
/* Name under which a value of KIND_CHOICE is saved. */
const char *config_choice_name(const config_key *key, int value);

/* One scalar as it stands in the file. */
typedef struct config_scalar {
    const char *text; /* NUL-terminated */
    bool plain;       /* without quotes, so that it may be a number or a boolean */
} config_scalar;

typedef struct config_value {
    bool is_list;
    size_t n; /* 1 for a scalar */
    const config_scalar *item;
} config_value;

/* Sets one field. `where` starts every message ("run.yaml:3: "); relative paths are joined to `folder`, an absolute
 * path. On error the field is as it was. */
int config_assign(hone_config *c, const config_key *key, const config_value *value, const char *where,
                  const char *folder, hone_error *err);
void config_field_clear(hone_config *c, const config_key *key);
/* Adds a notice line unless it is there. */
int config_notice(hone_config *c, hone_error *err, const char *format, ...) HONE_PRINTF(3, 4);

/* The keys with given[i] != 0 (one number for every row of the table) as YAML. Allocated. */
int config_text_of(char **out, const hone_config *c, const size_t *given, hone_error *err);

/* Text to double and back, always with a point, whatever the program's locale. Format writes the shortest text that
 * reads back to the same bits. Only HONE_ENOMEM fails. */
int config_number_parse(double *out, const char *text, hone_error *err);
int config_number_format(char out[32], double value, hone_error *err);

#endif
