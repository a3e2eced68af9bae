/* Inside of the conversion of rows: convert.c tells the format, convert_turn.c reads turns and tools, convert_meta.c
 * reads what a row says of itself. */
#ifndef HONE_DATA_CONVERT_H
#define HONE_DATA_CONVERT_H

#include "data/data.h"

typedef struct converter {
    conversation *out;
    json_t *root;                  /* the object being written */
    json_t *messages;              /* its list */
    bool call;                     /* the last message was given as a call alone */
    const hone_row_fields *fields; /* given names; NULL where there are none */
    const hone_row_roles *roles;   /* likewise */
    const char *file;
    uint64_t line;
    hone_error *err;
} converter;

/* The file's name of a field. */
#define NAME(c, field) ((c)->fields && (c)->fields->field ? (c)->fields->field : #field)

/* Errors with file, line and field; all return their code. */
int convert_refuse(const converter *c, int code, const char *field, const char *reason);
int convert_wrong_type(const converter *c, const char *field, const char *wanted, const json_t *found);
int convert_no_memory(const converter *c);

/* A field that counts as absent when it is null. */
json_t *convert_field(const json_t *object, const char *name);
bool text_is_blank(const char *s);
/* Value of a field that is JSON, or text that holds JSON. *out is a new reference, NULL for null and for blank text. */
int convert_json(const converter *c, json_t **out, json_t *v, const char *field);

/* Appends a message; `content` is taken (NULL = none). *out (may be NULL) is borrowed from the list. */
int convert_add(converter *c, json_t **out, const char *role, json_t *content, double weight);
/* The same with text; NULL text is a failed allocation. */
int convert_add_text(converter *c, const char *role, const char *text, double weight);

/* Appends every turn of a list, which must not be empty. */
int convert_turns(converter *c, json_t *list, const char *name);
/* Puts tools into the root: a list, or text that holds one; NULL and empty ones are none. */
int convert_tools(const converter *c, json_t *value, const char *field);

/* Reads id, task, label, group and the weight of the row into c->out. */
int convert_meta(converter *c, const json_t *row);

#endif
