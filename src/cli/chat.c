/* hone chat: a conversation in the terminal, or, off a terminal, one message per line of stdin.
 *
 * Answers go to stdout, everything else to stderr, so that a piped session yields the answers alone. The history is a
 * JSON list of messages; the session keeps the keys and values of what it shares with the turn before. Ctrl-C ends an
 * answer (what was said of it stays in the history), at the prompt it clears the line; /quit, Ctrl-D or the end of the
 * input end the program. */
#include <errno.h>
#include <histedit.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

typedef struct chat_state {
    engine *e;
    const hone_adapter *adapter; /* the one that answers: e->adapter or NULL */
    const sampling_options *sampling;
    json_t *messages;
    EditLine *editor; /* NULL off a terminal */
    History *history;
    char *line; /* getline's, off a terminal */
    size_t capacity;
} chat_state;

static const char *prompt_text(EditLine *editor)
{
    (void)editor;
    return "> ";
}

static int editor_open(chat_state *s)
{
    HistEvent event;

    if (!isatty(STDIN_FILENO) || !stderr_is_terminal())
        return 0;
    s->editor = el_init("hone", stdin, stderr, stderr);
    s->history = history_init();
    if (!s->editor || !s->history)
        return fail("the line editor can not start");
    history(s->history, &event, H_SETSIZE, 1000);
    el_set(s->editor, EL_PROMPT, prompt_text);
    el_set(s->editor, EL_EDITOR, "emacs");
    el_set(s->editor, EL_SIGNAL, 0);
    el_set(s->editor, EL_HIST, history, s->history);
    return 0;
}

static void editor_close(chat_state *s)
{
    if (s->history)
        history_end(s->history);
    if (s->editor)
        el_end(s->editor);
    free(s->line);
}

/* The next line without its newline, or NULL at the end of the input. Borrowed until the next call. */
static char *next_line(chat_state *s)
{
    for (;;) {
        HistEvent event;
        const char *got;
        ssize_t n;
        int count = 0;

        errno = 0;
        if (!s->editor) {
            n = getline(&s->line, &s->capacity, stdin);
            if (n < 0) {
                if (stop_signal() && !feof(stdin)) {
                    stop_signal_clear();
                    clearerr(stdin);
                    continue;
                }
                return NULL;
            }
            s->line[strcspn(s->line, "\r\n")] = 0;
            return s->line;
        }
        got = el_gets(s->editor, &count);
        if (stop_signal()) { /* Ctrl-C at the prompt: a new, empty line */
            stop_signal_clear();
            putc('\n', stderr);
            el_reset(s->editor);
            continue;
        }
        if (!got || count <= 0)
            return NULL;
        free(s->line);
        s->line = strndup(got, strcspn(got, "\r\n"));
        if (!s->line)
            return NULL;
        if (s->line[0])
            history(s->history, &event, H_ENTER, s->line);
        return s->line;
    }
}

/* The system message, if the conversation has one. */
static json_t *system_message(const chat_state *s)
{
    json_t *first = json_array_get(s->messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));

    return role && strcmp(role, "system") == 0 ? first : NULL;
}

static int add_message(chat_state *s, const char *role, const char *text)
{
    json_t *m = json_pack("{s:s, s:o}", "role", role, "content", json_text(text, strlen(text)));

    return json_array_append_new(s->messages, m) ? fail("out of memory") : 0;
}

static void forget_turns(chat_state *s)
{
    size_t keep = system_message(s) ? 1 : 0;

    while (json_array_size(s->messages) > keep)
        json_array_remove(s->messages, json_array_size(s->messages) - 1);
}

static int set_system(chat_state *s, const char *text)
{
    if (system_message(s))
        json_array_remove(s->messages, 0);
    if (!*text)
        return 0;
    return json_array_insert_new(
               s->messages, 0,
               json_pack("{s:s, s:o}", "role", "system", "content", json_text(text, strlen(text))))
               ? fail("out of memory")
               : 0;
}

static bool on_text(void *ud, const char *text, size_t len)
{
    (void)ud;
    if (len) {
        fwrite(text, 1, len, stdout);
        fflush(stdout);
    }
    return !stop_signal() && !ferror(stdout);
}

static int ask(chat_state *s, hone_generation *g, hone_error *err)
{
    hone_sampling sampling = sampling_of(s->sampling);
    char *conversation = json_dumps(s->messages, JSON_COMPACT);
    int rc;

    if (!conversation)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    rc = hone_session_chat(s->e->session, s->adapter, conversation, strlen(conversation), &sampling,
                           (int32_t)s->sampling->max_new_tokens, on_text, NULL, g, err);
    free(conversation);
    return rc;
}

/* Answers the message. When the conversation no longer fits, its oldest exchanges go; an error that remains leaves the
 * history as it was before the message. */
static int answer(chat_state *s, const char *text)
{
    hone_generation g = {0};
    hone_error err = HONE_ERROR_INIT;
    size_t first = system_message(s) ? 1 : 0;
    int rc = add_message(s, "user", text);

    if (rc)
        return rc;
    stop_signal_clear();
    while ((rc = ask(s, &g, &err)) == HONE_ELIMIT && json_array_size(s->messages) > first + 2) {
        note("the conversation is full, its oldest exchange is dropped");
        json_array_remove(s->messages, first);
        json_array_remove(s->messages, first);
        memset(&err, 0, sizeof err);
    }
    if (rc) {
        json_array_remove(s->messages, json_array_size(s->messages) - 1);
        fail_with(&err);
        return EXIT_FAILURE;
    }
    putchar('\n');
    fflush(stdout);
    if (g.finish == HONE_FINISH_LENGTH)
        note("the answer was cut at %zu tokens", g.n);
    rc = add_message(s, "assistant", g.text);
    hone_generation_clear(&g);
    stop_signal_clear();
    return rc;
}

static void print_help(void)
{
    fputs("/clear         forget the conversation, keep the system message\n"
          "/system TEXT   set the system message and forget the conversation; without TEXT none\n"
          "/base, /tuned  answer without, with the adapter\n"
          "/quit          end (also Ctrl-D); Ctrl-C stops an answer\n",
          stderr);
}

static void switch_adapter(chat_state *s, bool tuned)
{
    if (tuned && !s->e->adapter) {
        fail("there is no adapter, start with --adapter DIR");
        return;
    }
    s->adapter = tuned ? s->e->adapter : NULL;
    note("the %s model answers", tuned ? "tuned" : "base");
}

/* A line that begins with '/'. Returns false to end the program. */
static bool obey(chat_state *s, char *line)
{
    static const char *const names[] = {"/help", "/clear", "/system", "/base", "/tuned", "/quit"};
    size_t n = strcspn(line, " ");
    char *rest = line + n + strspn(line + n, " ");
    const char *near;

    line[n] = 0;
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0)
        return false;
    if (strcmp(line, "/help") == 0) {
        print_help();
    } else if (strcmp(line, "/clear") == 0) {
        forget_turns(s);
        note("the conversation is forgotten");
    } else if (strcmp(line, "/system") == 0) {
        forget_turns(s);
        if (!set_system(s, rest))
            note(*rest ? "the system message is set, the conversation is forgotten"
                       : "there is no system message now, the conversation is forgotten");
    } else if (strcmp(line, "/base") == 0) {
        switch_adapter(s, false);
    } else if (strcmp(line, "/tuned") == 0) {
        switch_adapter(s, true);
    } else {
        near = nearest(line, names, COUNT(names));
        fail("unknown command %s, %s%s", line, near ? "did you mean " : "see ", near ? near : "/help");
    }
    return true;
}

/* On a terminal a mistake is told and the conversation goes on; in a pipe it ends the program. */
static int converse(chat_state *s)
{
    char *line;
    int rc = EXIT_SUCCESS;

    while ((line = next_line(s))) {
        if (!line[strspn(line, " \t")])
            continue;
        if (line[0] == '/') {
            if (!obey(s, line))
                break;
            continue;
        }
        rc = answer(s, line);
        if (rc && !s->editor)
            return rc;
        if (ferror(stdout))
            break;
    }
    return EXIT_SUCCESS;
}

static int run(const common *c, chat_state *s, const char *model, const char *adapter,
               const hone_model_params *open, int64_t context, const char *system, const char *notice)
{
    int rc = engine_open(s->e, c, model, adapter, open, context, true);

    if (rc)
        return rc;
    s->adapter = s->e->adapter;
    s->messages = json_array();
    rc = s->messages ? 0 : fail("out of memory");
    if (!rc && system)
        rc = set_system(s, system);
    if (!rc)
        rc = editor_open(s);
    if (rc)
        return rc;
    stop_signals_catch(false);
    if (notice)
        fprintf(stderr, "%s\n", notice);
    if (s->editor)
        say("%s model on %s, /help lists the commands", s->adapter ? "tuned" : "base",
            hone_device_name(s->e->device));
    return converse(s);
}

int command_chat(int argc, char **argv)
{
    common c = {0};
    const char *model = NULL, *adapter = NULL, *precision = "auto", *quant = "auto", *config = NULL,
               *system = NULL, *system_file = NULL, *notice = NULL;
    sampling_options sampling = sampling_options_default();
    int64_t context = 0;
    const option options[] = {MODEL_OPTION(model),
                              {.name = "--adapter",
                               .kind = OPTION_TEXT,
                               .value = &adapter,
                               .argument = "DIR",
                               .help = "PEFT adapter; /base and /tuned switch it off and on."},
                              {.name = "--system",
                               .kind = OPTION_TEXT,
                               .value = &system,
                               .argument = "TEXT",
                               .help = "System message."},
                              {.name = "--system-file",
                               .kind = OPTION_TEXT,
                               .value = &system_file,
                               .argument = "FILE",
                               .help = "Reads the system message from a file."},
                              {.name = "--notice",
                               .kind = OPTION_TEXT,
                               .value = &notice,
                               .argument = "TEXT",
                               .help = "A text shown at the start, on stderr, also with --quiet."},
                              PRECISION_OPTION(precision),
                              QUANT_OPTION(quant),
                              {.name = "--context",
                               .kind = OPTION_INT,
                               .value = &context,
                               .argument = "N",
                               .max = 1e7,
                               .standard = "the model's, at most 4096",
                               .help = "Most tokens of the conversation."},
                              {.name = "--config",
                               .kind = OPTION_TEXT,
                               .value = &config,
                               .argument = "FILE.yaml",
                               .help = "Takes the sampling settings below, where they are not given, from "
                                       "this file's inference section.",
                               .standard = "config.yaml beside the adapter, where there is one"},
                              SAMPLING_OPTIONS(sampling),
                              {0}};
    const usage u = {
        "chat",
        "--model PATH [--adapter DIR] [OPTIONS]",
        "Talks with a model: every line is a message, answers stream. Commands: /clear, /system TEXT, /base, "
        "/tuned, /help, /quit. Ctrl-C stops an answer. Input from a pipe works too: one message a line, "
        "answers on stdout.",
        options,
        0,
        0};
    engine e = {0};
    hone_model_params open;
    chat_state s = {.e = &e, .sampling = &sampling};
    char *text = NULL;
    size_t len;
    parse_result r;
    int n, rc = EXIT_SUCCESS;

    r = options_parse(&u, &c, argc, argv, NULL, &n);
    if (r != PARSE_RUN)
        return parse_exit(r);
    if (!model)
        return usage_error(&u, "--model is missing");
    if (system && system_file)
        return usage_error(&u, "--system and --system-file exclude each other");
    if (system_file) {
        rc = read_file(&text, &len, system_file);
        if (rc)
            return rc;
        while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
            text[--len] = 0;
        system = text;
    }
    open = model_params_of(precision, quant);
    rc = sampling_options_complete(&sampling, config, adapter);
    if (!rc)
        rc = run(&c, &s, model, adapter, &open, context, system, notice);
    editor_close(&s);
    json_decref(s.messages);
    engine_close(&e);
    free(text);
    return rc;
}
