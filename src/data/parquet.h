/* Inside of the parquet reader: the footer as a tree of columns, a column as a stream of values with their levels.
 *
 * Written for the files that Arrow and `datasets` write, after the format's own description (parquet.thrift and the
 * encoding document of the Parquet project). Read: data pages of version 1 and 2; PLAIN, PLAIN_DICTIONARY,
 * RLE_DICTIONARY, and RLE for booleans; uncompressed, SNAPPY, GZIP and ZSTD pages; booleans, integers, floats and byte
 * arrays under any nesting of groups, lists and optional fields. The rest is refused by name. No length or count of the
 * file is believed: each is held against the bytes that are there before it is used. */
#ifndef HONE_DATA_PARQUET_H
#define HONE_DATA_PARQUET_H

#include "data/data.h"

#define PARQUET_DEPTH 32 /* of the schema, and of skipped thrift values */
#define PARQUET_COLUMNS 4096
#define PARQUET_PAGE ((size_t)256 << 20) /* bytes of an unpacked page */
#define PARQUET_HELD ((size_t)1 << 30)   /* bytes of all pages held at a time */

/* ---- parquet_thrift.c: thrift's compact protocol ------------------------------------------------------------------- */

typedef struct thrift {
    const uint8_t *at, *end;
    bool failed; /* sticks: the bytes are no thrift; values read then are 0 */
} thrift;

typedef enum thrift_type {
    THRIFT_STOP = 0,
    THRIFT_TRUE = 1,
    THRIFT_FALSE = 2,
    THRIFT_BYTE = 3,
    THRIFT_I16 = 4,
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_DOUBLE = 7,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_SET = 10,
    THRIFT_MAP = 11,
    THRIFT_STRUCT = 12
} thrift_type;

/* The next field of a struct: its type and number; *id holds the number of the field before (0 at the beginning).
 * THRIFT_STOP at the end, and after a failure. */
thrift_type thrift_field(thrift *t, int *id);
int64_t thrift_int(thrift *t); /* I16, I32, I64 */
/* The head of a list: the type of its elements and their number, which is at most the bytes left. */
size_t thrift_list(thrift *t, thrift_type *element);
/* *out points into the bytes. */
size_t thrift_binary(thrift *t, const uint8_t **out);
void thrift_skip(thrift *t, thrift_type type, int depth);

/* ---- parquet_footer.c ---------------------------------------------------------------------------------------------- */

typedef enum parquet_type {
    PARQUET_BOOLEAN = 0,
    PARQUET_INT32 = 1,
    PARQUET_INT64 = 2,
    PARQUET_INT96 = 3,
    PARQUET_FLOAT = 4,
    PARQUET_DOUBLE = 5,
    PARQUET_BYTE_ARRAY = 6,
    PARQUET_FIXED = 7
} parquet_type;

typedef enum parquet_repetition {
    PARQUET_REQUIRED = 0,
    PARQUET_OPTIONAL = 1,
    PARQUET_REPEATED = 2
} parquet_repetition;

typedef struct parquet_node {
    char *name;
    parquet_type type; /* of a leaf */
    parquet_repetition repetition;
    int converted;       /* ConvertedType, -1 = none */
    bool list;           /* annotated as a list, by the converted or the logical type */
    uint32_t n_children; /* 0: a leaf */
    uint32_t next; /* the node after this one and all below it: children of i are i + 1, next(i + 1), ... */
    uint32_t first_leaf, n_leaves; /* columns at or below this node */
    int max_def, max_rep;          /* levels of a value that is there */
} parquet_node;

typedef struct parquet_chunk {
    uint64_t begin, end; /* bytes of its pages in the file, inside the file */
    uint64_t n_values;   /* with levels; nulls count */
    int codec;
} parquet_chunk;

typedef struct parquet_group {
    uint64_t n_rows;
    parquet_chunk *chunk; /* [n_leaves] */
} parquet_group;

typedef struct parquet_file {
    const char *path; /* borrowed */
    hone_map map;
    parquet_node *node; /* node[0] is the row itself */
    uint32_t n_nodes, n_leaves;
    uint32_t *leaf; /* [n_leaves] node of a column */
    parquet_group *group;
    size_t n_groups;
} parquet_file;

/* Maps the file, reads and checks the footer. HONE_EFORMAT, HONE_EUNSUPPORTED (encrypted, a column type), HONE_ELIMIT. */
int parquet_open(parquet_file *f, const char *path, hone_error *err);
void parquet_close(parquet_file *f);

/* ---- parquet_page.c ------------------------------------------------------------------------------------------------ */

/* Runs of equal values and bit-packed values, mixed (the format's RLE encoding). */
typedef struct parquet_runs {
    const uint8_t *at, *end;
    int width;     /* bits of a value */
    uint64_t left; /* values left of the present run */
    bool packed;
    uint32_t value; /* of a run of equals */
    uint64_t bits;  /* bit-packed: read ahead, low bit first */
    int n_bits;
} parquet_runs;

typedef struct parquet_value {
    bool boolean;
    int64_t integer;
    double real;
    const uint8_t *bytes; /* points into the page or the dictionary, valid until the next value */
    uint32_t n;
} parquet_value;

/* A column of one row group. */
typedef struct parquet_column {
    const parquet_file *file;
    const parquet_node *node;
    const parquet_chunk *chunk;
    uint64_t at;                     /* next page in the file */
    uint64_t values_left;            /* of the chunk, behind the present page */
    uint32_t page_left;              /* values of the page not yet taken */
    uint64_t page_at;                /* where the present page begins, for messages */
    uint8_t *page, *dictionary_page; /* unpacked, or NULL where the file's own bytes serve */
    size_t page_capacity, dictionary_capacity;
    size_t *held;                        /* bytes of the unpacked pages of all columns */
    const uint8_t *value_at, *value_end; /* PLAIN */
    int encoding;                        /* of the values */
    int bit;                             /* next bit of a PLAIN boolean */
    parquet_runs rep_runs, def_runs, value_runs;
    const uint8_t *dictionary, *dictionary_end;
    uint32_t *entry; /* [n_entries] where the byte arrays of the dictionary begin */
    uint32_t n_entries;
    /* The levels of the next value, once `peeked`. */
    bool peeked;
    int rep, def;
} parquet_column;

int parquet_column_open(parquet_column *c, const parquet_file *f, const parquet_chunk *chunk,
                        const parquet_node *node, size_t *held, hone_error *err);
void parquet_column_close(parquet_column *c); /* a zeroed column is fine */
/* Makes rep and def those of the next value: 1, 0 at the end of the chunk, or an error. */
int parquet_column_peek(parquet_column *c, hone_error *err);
/* Takes the peeked value; *v is set when its def is the node's max_def. */
int parquet_column_take(parquet_column *c, parquet_value *v, hone_error *err);

#endif
