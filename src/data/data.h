/* Private to src/data: from bytes to rows, from rows to conversations, from conversations to tokens. */
#ifndef HONE_DATA_DATA_H
#define HONE_DATA_DATA_H

#include <jansson.h>

#include "base/base.h"
#include "hone/data.h"

#define ROW_LIMIT ((size_t)64 << 20) /* bytes of one row */

/* ---- source.c: one file as the JSON text of its rows, one row at a time ------------------------------------------ */

typedef struct row_source row_source;

/* A kind of file, known by its ending. A new kind is a new row of the table in source.c. */
typedef struct row_reader {
    const char *ending; /* ".jsonl" */
    /* Puts the next row's text into s->row and its line into s->row_line. 1, 0 at the end, or an error. */
    int (*next)(row_source *s, hone_error *err);
} row_reader;

struct row_source {
    const char *path; /* borrowed */
    const row_reader *reader;
    int fd;
    uint8_t *buffer;
    size_t at, end; /* unread bytes of buffer */
    uint64_t line; /* of buffer[at], 1-based */
    hone_buf row; /* text of the row; reused */
    uint64_t row_line; /* where it begins */
    bool known, array; /* whether the file is an array, once `known` */
    bool opened, done; /* of an array: behind its `[`, its `]` */
};

/* The reader for a path by its ending, or NULL. */
const row_reader *row_reader_find(const char *path);
/* ".json, .jsonl, ..." */
void row_reader_endings(char *out, size_t size);

int row_source_open(row_source *s, const char *path, hone_error *err);
int row_source_next(row_source *s, hone_error *err); /* as row_reader.next */
void row_source_close(row_source *s); /* a zeroed source is fine */

/* ---- paths.c --------------------------------------------------------------------------------------------------- */

/* Files, folders and globs as a list of files. The list and its items are freed by paths_clear. */
int paths_expand(char ***out, size_t *n_out, const char *const *paths, size_t n, hone_error *err);
void paths_clear(char **list, size_t n);

/* ---- convert.c: a row of any format as a conversation -------------------------------------------------------------- */

typedef struct conversation {
    hone_buf text; /* {"messages": [...], ...}; reused from row to row */
    uint8_t *trained; /* [n_messages] */
    size_t n_messages, capacity;
} conversation;

/* Converts one row. `file` and `line` start every message. */
int conversation_read(conversation *out, const json_t *row, const char *file, uint64_t line, hone_error *err);
void conversation_clear(conversation *c);

/* Writes a JSON value into a buffer. HONE_ENOMEM, or HONE_ELIMIT past the buffer's bound. */
int json_write(hone_buf *out, const json_t *value, hone_error *err);

/* ---- encode.c: a conversation as one or more sequences of tokens ----------------------------------------------------- */

typedef struct sequence {
    int32_t *id; /* [n] */
    uint8_t *mask; /* [n] */
    size_t n, n_trained, turns;
} sequence;

typedef enum row_fate {
    FATE_USED,
    FATE_TRUNCATED,
    FATE_SPLIT,
    FATE_OVERLONG, /* overlong: error; the caller decides what to say */
    FATE_DROPPED_OVERLONG, /* no sequence */
    FATE_DROPPED_UNTRAINED /* no sequence: what truncation left has no target */
} row_fate;

typedef struct encoded_row {
    row_fate fate;
    sequence *part;
    size_t n_parts;
    size_t length; /* tokens of the whole row */
    size_t tokens_cut, trained_cut, straddled;
} encoded_row;

/* Renders, tokenises, masks, checks, and applies the policy for long rows. Messages carry no place: the caller adds
 * it. Thread-safe. *out is zeroed first; cleared by encoded_row_clear, also after an error. */
int row_encode(encoded_row *out, const hone_chat *chat, const char *conversation, size_t len,
               const uint8_t *trained, size_t n_messages, int32_t max_length, hone_overlong overlong,
               hone_error *err);
void encoded_row_clear(encoded_row *r);

#endif
