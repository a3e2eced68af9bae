/* Private to src/data: from bytes to rows, from rows to conversations, from conversations to tokens. */
#ifndef HONE_DATA_DATA_H
#define HONE_DATA_DATA_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"
#include "hone/data.h"

#define ROW_LIMIT ((size_t)64 << 20) /* bytes of one row */

/* ---- stream.c: bytes of a file, unpacked ------------------------------------------------------------------------ */

typedef struct byte_stream byte_stream;

/* "-" is standard input as JSON; "-.csv.gz" is standard input read like a file of that ending. */
bool path_is_stdin(const char *path);
/* Bytes of a final ".gz" or ".zst", or 0. */
size_t path_packing(const char *path);
/* `path` is borrowed until the close. HONE_ENOENT, HONE_EIO. */
int byte_stream_open(byte_stream **out, const char *path, hone_error *err);
/* Up to `size` bytes into out; *n = 0 at the end. HONE_EIO, HONE_EFORMAT (damaged or cut packed data, with its byte). */
int byte_stream_read(byte_stream *s, uint8_t *out, size_t size, size_t *n, hone_error *err);
uint64_t byte_stream_offset(const byte_stream *s); /* bytes of the file read so far, as they are on disk */
void byte_stream_close(byte_stream *s);            /* NULL is fine */

/* ---- source.c: one file as the JSON text of its rows, one row at a time ------------------------------------------ */

typedef struct row_source row_source;

/* A kind of file, known by its ending. A new kind is a new row of the table in source.c. */
typedef struct row_reader {
    const char *ending;                          /* ".jsonl" */
    int (*open)(row_source *s, hone_error *err); /* prepares s->state; NULL: nothing to do */
    /* Puts the next row's text into s->row and its line into s->row_line. 1, 0 at the end, or an error that ends the
     * file. A row that is wrong while the next one can still be found is 1 with row_source_refuse. */
    int (*next)(row_source *s, hone_error *err);
    void (*close)(row_source *s); /* frees s->state; NULL: nothing to do */
    bool json;                    /* the text of its rows is the file's own */
    bool
        streams; /* reads s->buffer, so that packed files and standard input will do; else it opens s->path itself */
} row_reader;

struct row_source {
    const char *path; /* borrowed */
    const row_reader *reader;
    byte_stream *stream;
    uint8_t *buffer;
    size_t at, end;           /* unread bytes of buffer */
    uint64_t line;            /* of buffer[at], 1-based */
    hone_buf row;             /* text of the row; reused */
    uint64_t row_line;        /* where it begins */
    hone_error refusal;       /* why the row is no good; code 0: it may be */
    hone_text_rows text_rows; /* of .txt */
    bool known, array;        /* of .json: whether the file is an array, once `known` */
    bool opened, done;        /* of an array: behind its `[`, its `]` */
    void *state;              /* the reader's own */
};

/* The reader for a path by its ending (behind which .gz or .zst may stand), or NULL. */
const row_reader *row_reader_find(const char *path);
/* ".json, .jsonl, ..." */
void row_reader_endings(char *out, size_t size);

int row_source_open(row_source *s, const char *path, hone_text_rows text_rows, hone_error *err);
int row_source_next(row_source *s, hone_error *err); /* as row_reader.next */
void row_source_close(row_source *s);                /* a zeroed source is fine */

/* For the readers: makes at least one byte of buffer available unless the file is at its end (at == end then). */
int row_source_fill(row_source *s, hone_error *err);
/* Appends n bytes at `at` to the row and steps over them. HONE_ELIMIT past ROW_LIMIT. */
int row_source_take(row_source *s, size_t n, hone_error *err);
void row_source_refuse(row_source *s, int code, const char *format, ...) HONE_PRINTF(3, 4);

int read_text_next(row_source *s, hone_error *err);
int read_csv_open(row_source *s, hone_error *err);
int read_csv_next(row_source *s, hone_error *err);
void read_csv_close(row_source *s);
int read_parquet_open(row_source *s, hone_error *err);
int read_parquet_next(row_source *s, hone_error *err);
void read_parquet_close(row_source *s);

/* ---- json.c ---------------------------------------------------------------------------------------------------- */

typedef struct json_problem {
    int code;         /* HONE_EFORMAT, HONE_ELIMIT (more than 1,048,576 values), HONE_ENOMEM */
    uint64_t line;    /* of the text, 1-based */
    char reason[200]; /* for a person */
} json_problem;

/* Parses any JSON value of at most that many values, without repeated keys and NUL characters. *out is a new reference. */
int json_read(json_t **out, const char *text, size_t n, json_problem *problem);
/* Writes a JSON value into a buffer. HONE_ENOMEM, or HONE_ELIMIT past the buffer's bound. */
int json_write(hone_buf *out, const json_t *value, hone_error *err);
/* Appends n bytes as a JSON string; bytes that are no UTF-8 are left for the JSON parser to refuse. */
void json_put_text(hone_buf *out, const char *s, size_t n);

/* The same for text that may hold other bytes (a path): they become U+FFFD. */
void json_put_utf8(hone_buf *out, const char *s);
/* A figure with so many digits, the same in every locale; one that is not finite is null. */
void json_put_figure(hone_buf *out, double x, int digits);

/* ---- paths.c --------------------------------------------------------------------------------------------------- */

/* Files, folders and globs as a list of files. The list and its items are freed by paths_clear. */
int paths_expand(char ***out, size_t *n_out, const char *const *paths, size_t n, hone_error *err);
void paths_clear(char **list, size_t n);

/* ---- convert.c: a row of any format as a conversation -------------------------------------------------------------- */

typedef struct conversation {
    hone_buf text; /* {"messages": [...], ...} or {"text": ...}; reused from row to row */
    bool plain_text;
    uint8_t *trained; /* [n_messages] */
    float *weight;    /* [n_messages] 0 where not trained */
    size_t n_messages, capacity;
    bool fractional;
    hone_buf meta; /* holds what these point into; reused */
    const char *id, *task, *label, *group;
    float row_weight;
    json_t *root; /* what `text` was written from; NULL after an error */
    bool no_text; /* set before: `root` is wanted alone, `text` stays empty */
} conversation;

/* Converts one row. `file` and `line` start every message. */
int conversation_read(conversation *out, const json_t *row, const hone_rows_options *options,
                      const char *file, uint64_t line, hone_error *err);
void conversation_clear(conversation *c);

/* ---- rows.c: reading in two steps ------------------------------------------------------------------------------------- */

/* A row before it is looked at; zero-initialise, reused from row to row. */
typedef struct raw_row {
    hone_buf text;      /* JSON */
    hone_error refusal; /* why the row is no good; code 0: it may be */
    const char *file;   /* valid until hone_rows_close */
    bool json;          /* the file is JSON */
    uint32_t file_index;
    uint64_t line, index;
} raw_row;

/* The next row: 1, 0 at the end, or an error, as hone_rows_next. One thread at a time. */
int rows_next_raw(hone_rows *r, raw_row *out, hone_error *err);
/* Its conversation, or why the row is no good; on any thread, one `out` a thread. */
int rows_convert(conversation *out, const raw_row *raw, const hone_rows_options *options, hone_error *err);
void raw_row_clear(raw_row *r);
/* Bytes of the files read so far, and of all; 0 of what does not tell its size. */
void rows_progress(const hone_rows *r, uint64_t *done, uint64_t *total);
/* Index of the path, among those given to hone_rows_open, that a file came from. */
uint32_t rows_origin(const hone_rows *r, uint32_t file_index);

/* ---- encode.c: a conversation as one or more sequences of tokens ----------------------------------------------------- */

typedef struct sequence {
    int32_t *id;          /* [n] */
    uint8_t *mask;        /* [n] */
    hone_weight_run *run; /* [n_runs] as in hone_sequence */
    size_t n, n_trained, n_runs, turns;
} sequence;

typedef enum row_fate {
    FATE_USED,
    FATE_TRUNCATED,
    FATE_SPLIT,
    FATE_OVERLONG,         /* overlong: error; the caller decides what to say */
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

/* A row to encode: hone_row without its place. */
typedef struct row_text {
    const char *text; /* the conversation */
    size_t len;
    const float *weight; /* [n_messages] of an assistant turn's targets; 0: not trained */
    size_t n_messages;
    float row_weight; /* of targets outside these turns, > 0; in `weight` it is multiplied in */
    bool plain_text;
} row_text;

/* The same with its conversation parsed. */
typedef struct row_values {
    json_t *root;        /* the conversation, or {"text": ...}; borrowed, and left as it was */
    const float *weight; /* this and what follows as in row_text */
    size_t n_messages;
    float row_weight;
    bool plain_text;
} row_values;

/* Renders, tokenises, masks, checks, and applies the policy for long rows. Messages carry no place: the caller adds
 * it. Thread-safe. *out is zeroed first; cleared by encoded_row_clear, also after an error. */
int row_encode(encoded_row *out, const hone_chat *chat, const row_text *row,
               const hone_dataset_options *options, hone_error *err);
int row_encode_values(encoded_row *out, const hone_chat *chat, const row_values *row,
                      const hone_dataset_options *options, hone_error *err);
void encoded_row_clear(encoded_row *r);

/* ---- order.c ------------------------------------------------------------------------------------------------------- */

#define STREAM_SPLIT ((uint64_t)0x73706c69 << 32) /* "spli": which rows are held out */

/* Permutes item[0..n) by (seed, stream): Fisher-Yates on Philox words, the same on every machine. */
void data_shuffle(uint32_t *item, size_t n, uint64_t seed, uint64_t stream);

/* ---- threads.c ----------------------------------------------------------------------------------------------------- */

/* How many threads to use: `wanted`, or one per core when that is 0 or less. */
size_t data_threads(int32_t wanted);
/* Calls item(ud, i) for every i < n, each once, from up to `threads` threads; returns when all are done. */
void data_parallel(size_t threads, size_t n, void (*item)(void *ud, size_t i), void *ud);

#define DATA_MAX_THREADS 64

/* The same in two halves, so that the caller can do something else meanwhile: `begin` starts threads - 1 helpers, `finish`
 * joins in and waits for them. Not copied in between. */
typedef struct data_work {
    void (*item)(void *ud, size_t i);
    void *ud;
    size_t n, started;
    atomic_size_t next;
    pthread_t thread[DATA_MAX_THREADS];
} data_work;

void data_begin(data_work *w, size_t threads, size_t n, void (*item)(void *ud, size_t i), void *ud);
void data_finish(data_work *w);

#endif
