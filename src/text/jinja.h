/* The inside of the template interpreter, shared by jinja_*.c; others use text/template.h.
 *
 * Stages: jinja_lex.c cuts the source into tokens (all whitespace control happens there), jinja_parse.c builds the
 * tree, jinja_eval.c walks it. Values live in jinja_value.c (containers, comparison, printing), jinja_string.c
 * (strings with origins), jinja_print.c (printing, JSON in and out), jinja_filter.c (filters and tests) and jinja_call.c
 * (methods and functions).
 *
 * Memory and errors: a parse or a rendering allocates from one arena and reports an error by jinja_fail, which
 * stores the message and jumps back to the entry point. There the arena is freed as a whole. So no function below
 * returns an error, none frees, and nothing outside the arena may be held across a call of any of them.
 *
 * Origins: a string knows for each byte whether the template or which message wrote it. Most strings are uniform
 * (`from` holds for all bytes); `origin` is an array only when they are mixed. Numbers and containers carry the
 * origin of the JSON they came from, which their printed form inherits. */
#ifndef HONE_TEXT_JINJA_H
#define HONE_TEXT_JINJA_H

#include <setjmp.h>

#include "base/base.h"
#include "text/template.h"

typedef struct jinja_arena {
    struct jinja_chunk *chunk;
    char *at, *end;
    size_t total, limit;
    hone_error *err; /* where jinja_fail writes */
    jmp_buf *home;   /* where it jumps */
    uint32_t line;   /* template line of what is being parsed or evaluated, for messages; 0 = none */
} jinja_arena;

/* Zeroed memory, 16-byte aligned. */
void *jinja_alloc(jinja_arena *a, size_t size);
void *jinja_alloc_array(jinja_arena *a, size_t n, size_t size);
void jinja_arena_free(jinja_arena *a);
/* Stores "template line N: message" and jumps to a->home. */
_Noreturn void jinja_fail(jinja_arena *a, int code, const char *format, ...) HONE_PRINTF(3, 4);

/* ---- values -------------------------------------------------------------------------------------------------- */

typedef struct jinja_str {
    const char *s; /* UTF-8, not NUL-terminated */
    size_t n;
    const uint32_t *origin; /* [n], or NULL: all bytes are `from` */
    uint32_t from;
    bool safe; /* made by |safe or |escape: `+` then escapes the other side, as Markup does */
} jinja_str;

typedef enum jinja_kind {
    J_MISSING, /* no value: an argument not given. Never visible to a template */
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_SEQ,
    J_DICT,
    J_NAMESPACE,
    J_MACRO,
    J_METHOD,
    J_FUNCTION,
    J_LOOP,
    J_SLICE /* only as a subscript */
} jinja_kind;

/* The Python type that a sequence stands for. Iterators can be walked once and are always true. */
typedef enum jinja_seq_type {
    SEQ_LIST,
    SEQ_TUPLE,
    SEQ_RANGE,
    SEQ_ITERATOR,
    SEQ_KEYS,
    SEQ_VALUES,
    SEQ_ITEMS
} jinja_seq_type;

typedef struct jinja_value {
    uint8_t kind;
    uint32_t origin; /* of numbers, None and containers */
    union {
        bool b;
        int64_t i;
        double f;
        const jinja_str *str;
        struct jinja_seq *seq;
        struct jinja_dict *dict; /* also the attributes of a namespace */
        const struct jinja_macro *macro;
        const struct jinja_method *method;
        struct jinja_loop *loop;
        const struct jinja_undefined *undef;
        const struct jinja_slice *slice;
        int id; /* of a function */
    };
} jinja_value;

typedef struct jinja_seq {
    jinja_value *item;
    size_t n, capacity;
    size_t next; /* of an iterator */
    jinja_seq_type type;
} jinja_seq;

typedef struct jinja_entry {
    jinja_value key, value;
} jinja_entry;

/* Keeps insertion order. */
typedef struct jinja_dict {
    jinja_entry *entry;
    size_t n, capacity;
    uint32_t *index; /* [n_index] 1 + entry, 0 = free; NULL while small */
    size_t n_index;  /* power of two */
} jinja_dict;

typedef struct jinja_macro {
    const struct jinja_node *def;
    struct jinja_scope *scope; /* where it was defined */
    bool is_caller;
} jinja_macro;

typedef struct jinja_method {
    jinja_value self;
    int id;
} jinja_method;

typedef struct jinja_slice {
    jinja_value start, stop, step; /* J_NONE where absent */
} jinja_slice;

typedef struct jinja_undefined {
    const char *name;  /* what was looked up */
    const char *owner; /* in what kind of object, NULL: a variable */
    bool unsafe;       /* exists in Python, but the sandbox hides it */
} jinja_undefined;

typedef struct jinja_loop {
    const jinja_value *item;
    size_t n, at, depth0;
    jinja_value last_changed; /* the tuple loop.changed saw, or J_MISSING */
    const struct jinja_node *node;
    struct jinja_scope *scope; /* outside the loop, for a recursive call */
} jinja_loop;

/* ---- the tree ------------------------------------------------------------------------------------------------- */

/* A name, unique within its template. */
typedef struct jinja_atom {
    const char *s;
    size_t n;
    struct jinja_atom *next;
    jinja_value global; /* the function of that name, or J_MISSING */
} jinja_atom;

typedef enum jinja_op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
} jinja_op;

typedef enum jinja_node_type {
    /* statements; lists by `next` */
    N_TEXT,       /* value */
    N_OUTPUT,     /* a */
    N_IF,         /* a ? body : other */
    N_FOR,        /* a = target, b = iterable, c = condition or NULL, body, other = else, flag = recursive */
    N_SET,        /* a = target, b */
    N_SET_BLOCK,  /* a = target, b = filter chain over E_BODY or NULL, body */
    N_MACRO,      /* name, args = E_PARAM list, body */
    N_CALL_BLOCK, /* a = call, b = its N_MACRO */
    N_FILTER,     /* a = filter chain over E_BODY, body */
    N_WITH,       /* args = N_SET list, body */
    N_GENERATION, /* body */
    N_BREAK,
    N_CONTINUE,
    /* expressions */
    E_CONST,   /* value */
    E_NAME,    /* name */
    E_NSREF,   /* name . value, only as a target */
    E_TUPLE,   /* args */
    E_LIST,    /* args */
    E_DICT,    /* args: key, value, key, value ... */
    E_COND,    /* a ? b : c (NULL: undefined) */
    E_OR,      /* a, b */
    E_AND,     /* a, b */
    E_NOT,     /* a */
    E_COMPARE, /* a, then args: E_OPERAND (op, a) */
    E_OPERAND,
    E_BINARY,  /* op, a, b */
    E_CONCAT,  /* args */
    E_NEG,     /* a */
    E_POS,     /* a */
    E_ATTR,    /* a . value (string) */
    E_ITEM,    /* a [ b ] */
    E_SLICE,   /* a : b : c */
    E_CALL,    /* a ( args, E_KEYWORD ... ) */
    E_FILTER,  /* a | id ( args ) ; value = its name */
    E_TEST,    /* a is id ( args ); value = its name */
    E_KEYWORD, /* value = a */
    E_STAR,    /* *a */
    E_STAR2,   /* **a */
    E_PARAM,   /* name = a or NULL */
    E_BODY     /* stands for the captured text of a filter or set block */
} jinja_node_type;

typedef struct jinja_node {
    uint8_t type, op;
    bool flag;
    uint32_t line;
    int id;
    const jinja_atom *name;
    struct jinja_node *next, *a, *b, *c, *args, *body, *other;
    jinja_value value;
} jinja_node;

struct hone_template {
    jinja_arena arena;
    jinja_node *root;
    jinja_atom *atoms;
};

/* ---- tokens --------------------------------------------------------------------------------------------------- */

typedef enum jinja_token_type {
    T_EOF,
    T_DATA,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VARIABLE_BEGIN,
    T_VARIABLE_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_OP
} jinja_token_type;

typedef struct jinja_token {
    jinja_token_type type;
    uint32_t line;
    const char *s; /* text: of strings the value; of operators the spelling */
    size_t n;
    int64_t i;
    double f;
} jinja_token;

/* Tokens of a source, ended by T_EOF. */
jinja_token *jinja_lex(jinja_arena *a, const char *source, size_t len);
jinja_node *jinja_parse(hone_template *t, const jinja_token *tokens);

/* ---- evaluation ----------------------------------------------------------------------------------------------- */

typedef struct jinja_binding {
    const jinja_atom *name;
    jinja_value value;
} jinja_binding;

typedef struct jinja_scope {
    struct jinja_scope *parent;
    jinja_binding *binding;
    size_t n, capacity;
} jinja_scope;

/* Growing text with origins. */
typedef struct jinja_out {
    char *s;
    uint32_t *origin;
    size_t n, capacity;
} jinja_out;

typedef struct jinja_run {
    jinja_arena arena; /* first: jinja_fail takes it */
    const hone_template *t;
    const hone_template_input *in;
    jinja_out *out;
    jinja_out top; /* the rendering itself; other outs are captures */
    uint64_t work, max_work;
    size_t max_output;
    int depth;
    hone_span *marked;
    size_t n_marked, capacity_marked;
} jinja_run;

#define FAIL(r, ...) jinja_fail(&(r)->arena, HONE_EINVAL, __VA_ARGS__)

/* Counts n units of work, fails with HONE_ELIMIT when the bound is passed. */
void jinja_work(jinja_run *r, uint64_t n);
void jinja_enter(jinja_run *r); /* one level deeper, HONE_ELIMIT at the bound; `r->depth--` leaves */

jinja_value jinja_eval(jinja_run *r, const jinja_node *e, jinja_scope *scope);
/* Calls a value; kwargs NULL = none. */
jinja_value jinja_call(jinja_run *r, jinja_value f, jinja_value *arg, size_t n, const jinja_dict *kwargs);
jinja_value jinja_call_macro(jinja_run *r, const jinja_macro *m, jinja_value *arg, size_t n,
                             const jinja_dict *kwargs);
jinja_value jinja_call_loop(jinja_run *r, jinja_loop *loop, jinja_value items);

/* Appends bytes of one origin. */
void jinja_out_bytes(jinja_run *r, jinja_out *o, const char *s, size_t n, uint32_t from);
void jinja_out_add(jinja_run *r, jinja_out *o, const jinja_str *s);
const jinja_str *jinja_out_take(jinja_run *r, const jinja_out *o);

/* jinja_value.c */
jinja_value jinja_none(void);
jinja_value jinja_bool(bool b);
jinja_value jinja_int(int64_t i);
jinja_value jinja_float(double f);
jinja_value jinja_of_str(const jinja_str *s);
jinja_value jinja_of_seq(jinja_seq *s);
jinja_value jinja_of_dict(jinja_dict *d);
jinja_value jinja_undefined_of(jinja_run *r, const char *name, const char *owner);
/* Fails with what Jinja2 says when an undefined value is used. */
_Noreturn void jinja_fail_undefined(jinja_run *r, jinja_value v);
const char *jinja_type_name(jinja_value v); /* as Python calls it */
bool jinja_truth(jinja_value v);
bool jinja_equal(jinja_run *r, jinja_value a, jinja_value b);
int jinja_order(jinja_run *r, jinja_value a, jinja_value b); /* -1, 0, 1; 2: one is NaN. Fails across types */
bool jinja_contains(jinja_run *r, jinja_value container, jinja_value item);
bool jinja_is_number(jinja_value v); /* bool, int, float */
double jinja_number(jinja_value v);
jinja_seq *jinja_seq_new(jinja_run *r, jinja_seq_type type, size_t capacity);
void jinja_seq_push(jinja_run *r, jinja_seq *s, jinja_value v);
jinja_dict *jinja_dict_new(jinja_run *r);
jinja_value *jinja_dict_get(jinja_run *r, const jinja_dict *d, jinja_value key); /* NULL if absent */
jinja_value *jinja_dict_find(const jinja_dict *d, const char *key); /* a string key, small dicts */
void jinja_dict_set(jinja_run *r, jinja_dict *d, jinja_value key, jinja_value value);
/* The items that iterating v visits, as an array; an iterator is thereby used up. Fails when v is not iterable. */
jinja_seq *jinja_iterate(jinja_run *r, jinja_value v);
int64_t jinja_length(jinja_run *r, jinja_value v); /* len(); fails as Python does */
jinja_value jinja_binary(jinja_run *r, jinja_op op, jinja_value a, jinja_value b);
jinja_value jinja_attribute(jinja_run *r, jinja_value v, const jinja_str *name); /* v.name */
jinja_value jinja_item(jinja_run *r, jinja_value v, jinja_value key);            /* v[key] */
/* The sequence sorted (stable) by the key of each item, keys[i] belongs to items[i]. */
void jinja_sort(jinja_run *r, jinja_value *items, jinja_value *keys, size_t n, bool reverse);

/* jinja_string.c */
const jinja_str *jinja_str_of(jinja_run *r, const char *s); /* template text; borrowed */
const jinja_str *jinja_str_new(jinja_run *r, const char *s, size_t n, uint32_t from);
const jinja_str *jinja_str_sub(jinja_run *r, const jinja_str *s, size_t begin, size_t end);
const jinja_str *jinja_str_join2(jinja_run *r, const jinja_str *a, const jinja_str *b);
const jinja_str *jinja_str_safe(jinja_run *r, const jinja_str *s, bool safe);
const jinja_str *jinja_str_repeat(jinja_run *r, const jinja_str *s, int64_t times);
const jinja_str *jinja_str_escape(jinja_run *r, const jinja_str *s); /* HTML; result is safe */
bool jinja_str_equal(const jinja_str *a, const jinja_str *b);
bool jinja_str_is(const jinja_str *s, const char *text);
uint32_t jinja_str_origin(const jinja_str *s, size_t i);
size_t jinja_str_chars(const jinja_str *s);
size_t jinja_str_byte(const jinja_str *s, size_t chars); /* byte position of a character index */
/* First occurrence of needle in [from, s->n), or SIZE_MAX. */
size_t jinja_str_find(jinja_run *r, const jinja_str *s, const jinja_str *needle, size_t from);
size_t jinja_str_rfind(jinja_run *r, const jinja_str *s, const jinja_str *needle, size_t end);
const jinja_str *jinja_str_slice(jinja_run *r, const jinja_str *s, const jinja_slice *slice);
enum jinja_side { SIDE_LEFT = 1, SIDE_RIGHT = 2, SIDE_BOTH = 3 };
const jinja_str *jinja_str_strip(jinja_run *r, const jinja_str *s, const jinja_str *chars, unsigned sides);
const jinja_str *jinja_str_replace(jinja_run *r, const jinja_str *s, const jinja_str *old,
                                   const jinja_str *new_, int64_t count);
jinja_seq *jinja_str_split(jinja_run *r, const jinja_str *s, const jinja_str *sep, int64_t max,
                           bool from_right);
jinja_seq *jinja_str_lines(jinja_run *r, const jinja_str *s, bool keep_ends);
jinja_seq *jinja_str_characters(jinja_run *r, const jinja_str *s);
enum jinja_case { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITALIZE, CASE_SWAP, CASE_JINJA_TITLE };
const jinja_str *jinja_str_case(jinja_run *r, const jinja_str *s, enum jinja_case how);
/* "%..." formatting. args: a tuple, a dict, or one value. */
const jinja_str *jinja_str_format(jinja_run *r, const jinja_str *format, jinja_value args);
/* str.format, with plain fields: {}, {0}, {name}, each with !s or !r. */
const jinja_str *jinja_str_braces(jinja_run *r, const jinja_str *format, const jinja_value *arg, size_t n,
                                  const jinja_dict *kwargs);
bool jinja_is_space(int32_t code_point);     /* str.isspace */
bool jinja_is_printable(int32_t code_point); /* str.isprintable */
/* Resolves slice bounds against a length as Python does; returns the number of items. */
size_t jinja_slice_resolve(jinja_run *r, const jinja_slice *slice, size_t n, int64_t *start, int64_t *step);

/* jinja_print.c */
const jinja_str *jinja_to_str(jinja_run *r, jinja_value v); /* Python str() */
const jinja_str *jinja_repr(jinja_run *r, jinja_value v);
size_t jinja_float_repr(char out[40], double f); /* shortest digits that read back as f */
const jinja_str *jinja_to_json(jinja_run *r, jinja_value v, jinja_value ensure_ascii, jinja_value indent,
                               jinja_value separators, jinja_value sort_keys);
jinja_value jinja_from_json(jinja_run *r, const json_t *j, uint32_t origin);

/* jinja_filter.c. Ids: >= 0 known, -1 unknown, -2 a name of Jinja2 that is not carried. */
int jinja_filter_find(const char *s, size_t n);
int jinja_test_find(const char *s, size_t n);
jinja_value jinja_filter_apply(jinja_run *r, int id, jinja_value v, jinja_value *arg, size_t n,
                               const jinja_dict *kwargs);
bool jinja_test_apply(jinja_run *r, int id, jinja_value v, jinja_value *arg, size_t n,
                      const jinja_dict *kwargs);

/* jinja_call.c */
jinja_value jinja_global_find(const char *s, size_t n);                               /* J_MISSING if none */
jinja_value jinja_method_find(jinja_run *r, jinja_value self, const jinja_str *name); /* J_MISSING if none */
jinja_value jinja_call_function(jinja_run *r, int id, jinja_value *arg, size_t n, const jinja_dict *kwargs);
jinja_value jinja_call_method(jinja_run *r, const jinja_method *m, jinja_value *arg, size_t n,
                              const jinja_dict *kwargs);
/* Orders positional and keyword arguments by the names in params ("a,b,c"); absent ones become J_MISSING.
 * Fails on too many, unknown or repeated ones, naming `what`. */
void jinja_bind(jinja_run *r, const char *what, const char *params, jinja_value *slot, size_t n_slot,
                const jinja_value *arg, size_t n, const jinja_dict *kwargs);
int64_t jinja_arg_int(jinja_run *r, const char *what, jinja_value v, int64_t fallback);
const jinja_str *jinja_arg_str(jinja_run *r, const char *what, jinja_value v);

#endif
