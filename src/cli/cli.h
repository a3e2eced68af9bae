/* What the commands of the program share: the option table, messages, progress, JSON output and loading a model.
 *
 * Results go to stdout, everything else to stderr; no colour where stderr or stdout is no terminal. A command returns
 * the exit code: EXIT_SUCCESS, EXIT_FAILURE after one line "hone: <message>" on stderr, EXIT_USAGE for a wrong command
 * line. Only the public headers of the library are used here. */
#ifndef HONE_CLI_H
#define HONE_CLI_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "hone/hone.h"

#define EXIT_USAGE 2
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- options ------------------------------------------------------------------------------------------------- */

typedef enum option_kind {
    OPTION_FLAG,   /* value: bool */
    OPTION_TEXT,   /* value: const char *, borrowed from argv */
    OPTION_CHOICE, /* the same, one of the words in `choices` */
    OPTION_LIST,   /* value: text_list; the option may be repeated */
    OPTION_INT,    /* value: int64_t in [min, max] */
    OPTION_NUMBER  /* value: double in [min, max] */
} option_kind;

typedef struct text_list {
    const char **item;
    size_t n;
} text_list;

/* One option. The table of a command yields parsing, help and the messages about mistakes. */
typedef struct option {
    const char *name; /* "--max-new-tokens"; NULL ends a table */
    option_kind kind;
    void *value;          /* holds the default before parsing */
    const char *argument; /* "N": its name in the help; NULL for a flag */
    const char *help;     /* one or two sentences */
    const char *standard; /* the default, as the help shows it; NULL: none worth telling */
    const char *choices;  /* OPTION_CHOICE: "auto|f32|bf16" */
    double min, max;      /* OPTION_INT, OPTION_NUMBER */
    bool *given;          /* set to true when the option was given; may be NULL */
} option;

/* A command line: what help prints above the options, and how many plain arguments there are. */
typedef struct usage {
    const char *command;   /* "train" */
    const char *synopsis;  /* one or more lines, each the arguments after the command */
    const char *about;     /* a paragraph */
    const option *options; /* of the command itself; the common ones are added */
    int min_args, max_args;
} usage;

/* The options that every command takes. */
typedef struct common {
    int64_t threads;
    const char *isa;
    bool pin, quiet, no_color;
} common;

/* Options of several commands; the variable is what `value` of the kind points to. */
#define MODEL_OPTION(variable)                                                                               \
    {                                                                                                        \
        .name = "--model", .kind = OPTION_TEXT, .value = &(variable), .argument = "PATH",                    \
        .help = "GGUF file or Hugging Face directory."                                                       \
    }
#define SET_OPTION(variable)                                                                                 \
    {                                                                                                        \
        .name = "--set", .kind = OPTION_LIST, .value = &(variable), .argument = "SECTION.KEY=VALUE",         \
        .help = "Overrides a key of the file, as in --set training.max_steps=10. May be repeated."           \
    }
#define JSON_OPTION(variable)                                                                                \
    {                                                                                                        \
        .name = "--json", .kind = OPTION_FLAG, .value = &(variable), .help = "Prints one JSON document."     \
    }

typedef enum parse_result { PARSE_RUN, PARSE_HELP, PARSE_WRONG } parse_result;

/* Parses argv[1..argc) (argv[0] is the command). Plain arguments are stored in args[0..*n_args) and borrowed.
 * PARSE_HELP: help was printed on stdout; PARSE_WRONG: one line (and the option's help) on stderr. Sets up colours and
 * quietness from the common options. */
parse_result options_parse(const usage *u, common *c, int argc, char **argv, const char **args, int *n_args);
/* The exit code of a parse that is not PARSE_RUN. */
int parse_exit(parse_result r);
/* "hone: <command>: <message>", the synopsis, and EXIT_USAGE. */
int usage_error(const usage *u, const char *format, ...) HONE_PRINTF(2, 3);
void text_list_clear(text_list *l);
/* The entry of names[0..n) closest to `word`, or NULL when none is near. */
const char *nearest(const char *word, const char *const *names, size_t n);

/* ---- messages and progress (terminal.c) ---------------------------------------------------------------------- */

void terminal_setup(bool quiet, bool no_color);
bool stdout_is_terminal(void);
bool stderr_is_terminal(void);
bool stdout_color(void); /* a terminal, and colours are not switched off */
bool stderr_color(void);

/* "note: ..." on stderr unless --quiet. */
void note(const char *format, ...) HONE_PRINTF(1, 2);
/* "warning: ..." on stderr, even with --quiet. */
void warn(const char *format, ...) HONE_PRINTF(1, 2);
/* A plain line on stderr unless --quiet. */
void say(const char *format, ...) HONE_PRINTF(1, 2);
/* "hone: ..." on stderr; returns EXIT_FAILURE. */
int fail(const char *format, ...) HONE_PRINTF(1, 2);
int fail_with(const hone_error *err);
/* The line that is overwritten in place on a terminal; nothing elsewhere or with --quiet. NULL erases it. note, warn,
 * say and fail erase it first. */
void progress(const char *format, ...) HONE_PRINTF(1, 2);
bool progress_wanted(void);
/* The same for several lines, each with its newline and shorter than the terminal, which is `columns` wide. */
void progress_block(const char *text, int columns);
void progress_keep(void); /* the block stays where it is */

/* The same as a bar with rate and remaining time (bar.c). */
void progress_bar(const hone_progress *p);
void progress_rows(void *ud,
                   uint64_t rows); /* that became tokens; nobody knows how many there are. ud: nothing */
void bar_cells(char *out, int n,
               double share); /* n cells of which `share` are full, to an eighth; 3 n + 1 bytes */
const char *count_text(char out[32], uint64_t n); /* "41,000"; into out, returned */

/* A text of anyone as one line of at most `columns` cells (cells.c): wide characters take two, newlines are blanks, what
 * can not be seen or moves the cursor is U+FFFD, and "…" stands for what was cut. ascii: "?" and "..." instead. Freed with
 * free; NULL: out of memory. columns >= 3. */
char *shown_text(const char *text, int columns, bool ascii);

/* A size as "812.4 MiB", a duration as "3m12s"; into out, returned. */
const char *size_text(char out[32], uint64_t bytes);
const char *duration_text(char out[32], double seconds);

/* The number of the last SIGINT or SIGTERM since stop_signals_catch, or 0. once: a second one ends the program. */
void stop_signals_catch(bool once);
int stop_signal(void);
void stop_signal_clear(void);

/* ---- data_tokens.c -------------------------------------------------------------------------------------------- */

/* Makes the token cache of prepared rows (validation NULL: none) as the configuration's training would. Exit code. */
int data_make_tokens(const hone_config *c, const char *train, const char *validation);

/* ---- output (output.c) ---------------------------------------------------------------------------------------- */

/* Prints one JSON document and a newline on stdout, and takes `doc`. NULL doc: out of memory. Returns the exit code. */
int json_print(json_t *doc);
json_t *json_number(double x);                   /* null when x is not finite */
json_t *json_text(const char *text, size_t len); /* ill-formed UTF-8 becomes U+FFFD */
/* Text of anyone on stdout: control characters but newlines and tabs, and those that turn the direction of writing, as
 * \u...., so that a row can not write on the terminal of its reader. */
void print_text_safe(const char *text, size_t len);
/* Flushes stdout; a failed write is reported, once for the program. Returns the exit code, `code` when all went well. */
int output_finish(int code);

/* A file that appears whole or not at all: written aside, synced, renamed. */
typedef struct atomic_file {
    FILE *file;
    char *path, *temporary;
} atomic_file;
int atomic_open(atomic_file *f, const char *path); /* 0, or EXIT_FAILURE after a message */
int atomic_close(atomic_file *f, bool keep);

/* Writes a page whole, "-" = stdout, and says so. Exit code. */
int page_write(const char *path, const char *html, size_t len);
const char *now_text(char out[32]); /* "2025-01-31 12:00"; NULL: unknown */

/* The options of the commands that write a page. */
typedef struct page_options {
    const char *output; /* the default of the command before parsing */
    const char *language, *when;
    bool no_time;
} page_options;
#define PAGE_OPTIONS(p, file)                                                                                \
    {.name = "--output",                                                                                     \
     .kind = OPTION_TEXT,                                                                                    \
     .value = &(p).output,                                                                                   \
     .argument = "FILE.html",                                                                                \
     .standard = (file),                                                                                     \
     .help = "Where the page is written; `-` is standard output."},                                          \
        {.name = "-o",                                                                                       \
         .kind = OPTION_TEXT,                                                                                \
         .value = &(p).output,                                                                               \
         .argument = "FILE.html",                                                                            \
         .help = "The same."},                                                                               \
        {.name = "--lang",                                                                                   \
         .kind = OPTION_CHOICE,                                                                              \
         .value = &(p).language,                                                                             \
         .argument = "LANGUAGE",                                                                             \
         .choices = "en|zh",                                                                                 \
         .standard = "en",                                                                                   \
         .help = "Of the page."},                                                                            \
        {.name = "--time",                                                                                   \
         .kind = OPTION_TEXT,                                                                                \
         .value = &(p).when,                                                                                 \
         .argument = "TEXT",                                                                                 \
         .standard = "now",                                                                                  \
         .help = "What the page says of when it was made."},                                                 \
    {                                                                                                        \
        .name = "--no-time", .kind = OPTION_FLAG, .value = &(p).no_time,                                     \
        .help = "The page says nothing of it, so that pages of equal data are equal."                        \
    }
hone_language page_language(const page_options *p);
const char *page_time(const page_options *p, char now[32]); /* NULL: the page says nothing */

/* Reads a whole file, "-" = stdin; 0, or EXIT_FAILURE after a message. Freed with free. */
int read_file(char **out, size_t *len, const char *path);
/* Syntax of a JSON text; 0, or EXIT_FAILURE after a message with file, line and column. first_line: number of its first
 * line in `path`. */
int check_json(const char *text, size_t len, const char *path, int64_t first_line);

/* ---- models (engine.c) ---------------------------------------------------------------------------------------- */

/* A model ready to answer. Zero-initialise; engine_close frees whatever is there. */
typedef struct engine {
    hone_device *device;
    hone_tokenizer *tokenizer;
    hone_chat *chat; /* NULL: the model has no template and none was asked for */
    hone_model *model;
    hone_adapter *adapter;
    hone_session *session;
} engine;

int device_open(hone_device **out, const common *c, hone_error *err);
hone_precision precision_of(const char *text); /* one of the choices below */
#define PRECISIONS "auto|f32|bf16"
/* --precision of the commands that open a model; variable: const char *. */
#define PRECISION_OPTION(variable)                                                                           \
    {                                                                                                        \
        .name = "--precision", .kind = OPTION_CHOICE, .value = &(variable), .argument = "P",                 \
        .choices = PRECISIONS, .standard = "auto: bf16 where the machine has it, else f32",                  \
        .help = "Type of the activations."                                                                   \
    }

/* --precision and --quant together, as the library takes them. */
extern const char *const quant_name[HONE_QUANT_Q8_0 + 1]; /* by hone_quant */
hone_model_params model_params_of(const char *precision, const char *quant);
/* --quant of the same commands; variable: const char *. */
#define QUANT_OPTION(variable)                                                                               \
    {                                                                                                        \
        .name = "--quant", .kind = OPTION_CHOICE, .value = &(variable), .argument = "Q",                     \
        .choices = "auto|none|nf4|fp4|q8_0",                                                                 \
        .standard = "auto: as the base was when the adapter was trained, else none",                         \
        .help = "Quantises the linear layers of a 16- or 32-bit base while loading."                         \
    }

/* Warns when an adapter, which remembers the tokenizer and the template it was trained with, is beside others: those give
 * other prompts. chat NULL: the template is not compared. */
void adapter_compare(const hone_adapter *a, const hone_tokenizer *tokenizer, const hone_chat *chat,
                     const char *dir);

/* Opens everything. adapter NULL: base only. need_chat: a missing template is an error. Warns when the adapter was trained
 * with another template or tokenizer. 0, or EXIT_FAILURE after a message. */
int engine_open(engine *e, const common *c, const char *model, const char *adapter,
                const hone_model_params *open, int64_t context, bool need_chat);
void engine_close(engine *e);

/* Sampling options of generate and chat, for a table of options. */
typedef struct sampling_options {
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k, seed, max_new_tokens;
    struct {
        bool temperature, top_p, repetition_penalty, top_k, max_new_tokens;
    } given; /* on the command line */
} sampling_options;
sampling_options sampling_options_default(void);
/* What the command line did not give comes from the `inference` section of the configuration `config`, or, NULL, of
 * config.yaml beside the adapter (NULL: none), where there is one. 0, or EXIT_FAILURE after a message. */
int sampling_options_complete(sampling_options *s, const char *config, const char *adapter);
#define SAMPLING_OPTIONS(s)                                                                                  \
    {.name = "--temperature",                                                                                \
     .kind = OPTION_NUMBER,                                                                                  \
     .value = &(s).temperature,                                                                              \
     .argument = "T",                                                                                        \
     .max = 100,                                                                                             \
     .standard = "0.7",                                                                                      \
     .given = &(s).given.temperature,                                                                        \
     .help = "Divides the scores before sampling; 0 takes the best token every time (and switches the "      \
             "repetition "                                                                                   \
             "penalty off unless it is given)."},                                                            \
        {.name = "--top-k",                                                                                  \
         .kind = OPTION_INT,                                                                                 \
         .value = &(s).top_k,                                                                                \
         .argument = "N",                                                                                    \
         .max = 1e9,                                                                                         \
         .standard = "50",                                                                                   \
         .given = &(s).given.top_k,                                                                          \
         .help = "Samples from the N best tokens only; 0 = off."},                                           \
        {.name = "--top-p",                                                                                  \
         .kind = OPTION_NUMBER,                                                                              \
         .value = &(s).top_p,                                                                                \
         .argument = "P",                                                                                    \
         .max = 1,                                                                                           \
         .standard = "0.9",                                                                                  \
         .given = &(s).given.top_p,                                                                          \
         .help = "Samples from the smallest set of best tokens whose probability reaches P; 1 = off."},      \
        {.name = "--min-p",                                                                                  \
         .kind = OPTION_NUMBER,                                                                              \
         .value = &(s).min_p,                                                                                \
         .argument = "P",                                                                                    \
         .max = 1,                                                                                           \
         .standard = "0",                                                                                    \
         .help = "Drops tokens less probable than P times the best; 0 = off."},                              \
        {.name = "--repetition-penalty",                                                                     \
         .kind = OPTION_NUMBER,                                                                              \
         .value = &(s).repetition_penalty,                                                                   \
         .argument = "X",                                                                                    \
         .min = 0.01,                                                                                        \
         .max = 100,                                                                                         \
         .standard = "1.1",                                                                                  \
         .given = &(s).given.repetition_penalty,                                                             \
         .help = "Makes tokens that occurred already less likely; 1 = off."},                                \
        {.name = "--seed",                                                                                   \
         .kind = OPTION_INT,                                                                                 \
         .value = &(s).seed,                                                                                 \
         .argument = "N",                                                                                    \
         .max = 9e15,                                                                                        \
         .standard = "0",                                                                                    \
         .help = "Seed of the draws; the same seed gives the same answer."},                                 \
    {                                                                                                        \
        .name = "--max-new-tokens", .kind = OPTION_INT, .value = &(s).max_new_tokens, .argument = "N",       \
        .min = 1, .max = 1e9, .standard = "1024", .given = &(s).given.max_new_tokens,                        \
        .help = "Most tokens of an answer."                                                                  \
    }
hone_sampling sampling_of(const sampling_options *s);

/* ---- commands --------------------------------------------------------------------------------------------------- */

int command_train(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_chat(int argc, char **argv);
int command_tokenize(int argc, char **argv);
int command_data(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_export(int argc, char **argv);
int command_report(int argc, char **argv);
/* The page about the run in output_dir; fills config and settings of the options from it. Exit code. */
int train_report_write(const char *output_dir, const char *path, hone_train_report_options *o);

/* hone data report and hone data show: argv[0] is the word after `data`. */
int command_data_report(int argc, char **argv);
int command_data_show(int argc, char **argv);

/* The data of a configuration, ready to be prepared (data_pass.c). Zero-initialise; data_pass_close frees whatever is
 * there. `options` has no callbacks and no files; its scorer is there when the configuration asks for scores. */
typedef struct data_pass {
    hone_config *config;
    hone_choose_options choose;
    hone_prepare_options options;
    const char *const *paths; /* [n_paths] data.train_data_path */
    size_t n_paths;
    hone_device *device;
    hone_scorer scorer;
    char name[8][32]; /* [n_names] of its scores */
    const char *list[8];
    size_t n_names;
} data_pass;
/* 0, or the exit code after a message. Prints the notices of the configuration. */
int data_pass_open(data_pass *p, const common *c, const char *path, const text_list *set);
void data_pass_close(data_pass *p);
/* The model of a configuration as a scorer of name[0..n), which is borrowed. Also on failure, the caller closes both. */
int data_pass_scorer(hone_scorer *out, hone_device **device, const hone_config *config, const common *c,
                     const char *const *name, size_t n);
/* ---- problems of rows (problems.c) ---------------------------------------------------------------------------------- */

/* What a pass over rows found, by kind: invalid, contaminated and duplicate rows, rows left out by choosing, and the rules
 * of quality. */
typedef struct problems problems;

problems *problems_new(size_t most_examples,
                       bool text); /* text: examples show the place; NULL: out of memory */
void problems_free(problems *p);   /* NULL is fine */
/* Callbacks of hone_prepare_options; ud is the problems. */
void problems_row(void *ud, const hone_row_result *r);
void problems_finding(void *ud, const hone_finding *f);
/* Ends the collecting: the worst first. 0, or EXIT_FAILURE after a message. */
int problems_finish(problems *p);
void problems_print(const problems *p);          /* a table on stdout */
json_t *problems_json(const problems *p);        /* a list of kinds; NULL: out of memory */
uint64_t problems_clean(const problems *p);      /* rows that are used and have nothing worse than a note */
int problems_worst(const problems *p);           /* severity: 0 nothing, 1 note, 2 warning, 3 error */
uint64_t problems_validation(const problems *p); /* rows held out */
uint64_t problems_places(const problems *p); /* training rows, repeated ones counted as often as they stand */

int command_data_check(int argc, char **argv); /* argv[0] is the word after `data` */

/* Shared by the commands that read a configuration: loads the file, applies --set (NULL: none), checks, prints the
 * notices. 0, or EXIT_FAILURE. */
int config_open(hone_config **out, const char *path, const text_list *set, const char *precision);
void plan_print(FILE *f, const hone_plan *plan);
json_t *plan_json(const hone_plan *plan);

#endif
