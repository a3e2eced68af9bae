/* hone generate: one answer, or one for every line of a file.
 *
 * The text of a single answer streams to stdout as it comes. For a file, every answer is one line: with --json its
 * document, else its text with \n, \r and \\ written for newline, carriage return and backslash. */
#include <errno.h>
#include <string.h>

#include "cli.h"

typedef struct request {
    const char *system; /* NULL: none */
    bool raw, json;
    const sampling_options *sampling;
} request;

static bool on_text(void *ud, const char *text, size_t len)
{
    const bool *print = ud;

    if (*print && len) {
        fwrite(text, 1, len, stdout);
        fflush(stdout);
    }
    return !stop_signal() && !ferror(stdout);
}

static const char *finish_name(hone_finish f)
{
    return f == HONE_FINISH_STOP ? "stop" : f == HONE_FINISH_LENGTH ? "length" : "cancelled";
}

static json_t *answer_json(const hone_generation *g)
{
    json_t *tokens = json_array();
    size_t i;

    for (i = 0; i < g->n; i++)
        json_array_append_new(tokens, json_integer(g->id[i]));
    return json_pack("{s:o, s:o, s:s, s:i, s:I, s:o}", "text", json_text(g->text, strlen(g->text)), "tokens",
                     tokens, "finish_reason", finish_name(g->finish), "prompt_tokens", (int)g->prompt_tokens,
                     "completion_tokens", (json_int_t)g->n, "seconds", json_number(g->seconds));
}

static void print_escaped(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\\n", stdout);
        else if (*text == '\r')
            fputs("\\r", stdout);
        else if (*text == '\\')
            fputs("\\\\", stdout);
        else
            putchar(*text);
    }
    putchar('\n');
}

/* A prompt as a conversation. NULL: no memory. */
static char *conversation_of(const char *prompt, size_t len, const char *system)
{
    json_t *messages = json_array();
    char *text;

    if (system)
        json_array_append_new(messages, json_pack("{s:s, s:o}", "role", "system", "content",
                                                  json_text(system, strlen(system))));
    json_array_append_new(messages,
                          json_pack("{s:s, s:o}", "role", "user", "content", json_text(prompt, len)));
    text = json_dumps(messages, JSON_COMPACT);
    json_decref(messages);
    return text;
}

static int answer_raw(engine *e, const request *q, const char *text, size_t len, bool stream,
                      hone_generation *g, hone_error *err)
{
    hone_sampling sampling = sampling_of(q->sampling);
    hone_tokens tokens = {0};
    int rc = hone_tokenizer_encode(e->tokenizer, &tokens, text, len, NULL, 0, HONE_ENCODE_SPECIAL, err);

    if (!rc)
        rc = hone_session_generate(e->session, e->adapter, tokens.id, tokens.n, &sampling,
                                   (int32_t)q->sampling->max_new_tokens, on_text, &stream, g, err);
    hone_tokens_clear(&tokens);
    return rc;
}

/* text: a conversation, or a prompt. place names it in messages; one_line: part of a file's answers. */
static int answer(engine *e, const request *q, const char *text, size_t len, bool is_conversation,
                  const char *place, bool one_line)
{
    hone_sampling sampling = sampling_of(q->sampling);
    hone_generation g = {0};
    hone_error err = HONE_ERROR_INIT;
    bool stream = !q->json && !one_line;
    char *conversation = NULL;
    int rc;

    if (q->raw && !is_conversation) {
        rc = answer_raw(e, q, text, len, stream, &g, &err);
    } else {
        if (!is_conversation) {
            conversation = conversation_of(text, len, q->system);
            if (!conversation)
                return fail("out of memory");
            text = conversation;
            len = strlen(text);
        }
        rc = hone_session_chat(e->session, e->adapter, text, len, &sampling,
                               (int32_t)q->sampling->max_new_tokens, on_text, &stream, &g, &err);
    }
    free(conversation);
    if (rc)
        return place ? fail("%s: %s", place, err.message) : fail_with(&err);
    if (q->json)
        rc = json_print(answer_json(&g));
    else if (one_line)
        print_escaped(g.text);
    else
        putchar('\n');
    if (!rc && !one_line && !q->json)
        say("%d prompt tokens in %.2f s, %zu tokens at %.1f tokens/s", (int)g.prompt_tokens, g.prompt_seconds,
            g.n, g.seconds > g.prompt_seconds ? (double)g.n / (g.seconds - g.prompt_seconds) : 0);
    hone_generation_clear(&g);
    fflush(stdout);
    if (!rc && stop_signal())
        rc = 128 + stop_signal();
    return rc;
}

static int answer_file(engine *e, const request *q, const char *path)
{
    size_t len;
    char *text;
    int rc = read_file(&text, &len, path);

    if (rc)
        return rc;
    rc = check_json(text, len, path, 1);
    if (!rc)
        rc = answer(e, q, text, len, true, strcmp(path, "-") ? path : "standard input", false);
    free(text);
    return rc;
}

static int answer_lines(engine *e, const request *q, const char *path)
{
    size_t name = strlen(path), len, at = 0;
    bool conversations = name > 6 && strcmp(path + name - 6, ".jsonl") == 0;
    long long number = 1;
    char *text;
    int rc = read_file(&text, &len, path);

    if (rc)
        return rc;
    if (len == 0)
        rc = fail("%s: the file is empty", path);
    for (; !rc && at < len; number++) {
        char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (text + at)) : len - at, used = n;
        char place[4200];

        progress("line %lld", number);
        snprintf(place, sizeof place, "%s:%lld", path, number);
        if (used && text[at + used - 1] == '\r')
            used--;
        if (used == 0)
            rc = fail("%s: the line is empty", place);
        if (!rc && conversations)
            rc = check_json(text + at, used, path, number);
        if (!rc)
            rc = answer(e, q, text + at, used, conversations, place, true);
        at += n + 1;
    }
    progress(NULL);
    free(text);
    return rc;
}

int command_generate(int argc, char **argv)
{
    common c = {0};
    const char *model = NULL, *adapter = NULL, *prompt = NULL, *messages = NULL, *prompts = NULL,
               *system = NULL;
    const char *precision = "auto", *quant = "auto", *config = NULL;
    sampling_options sampling = sampling_options_default();
    int64_t context = 0;
    bool raw = false, json = false;
    const option options[] = {
        MODEL_OPTION(model),
        {.name = "--adapter",
         .kind = OPTION_TEXT,
         .value = &adapter,
         .argument = "DIR",
         .help = "PEFT adapter."},
        {.name = "--prompt",
         .kind = OPTION_TEXT,
         .value = &prompt,
         .argument = "TEXT",
         .help = "A user's message."},
        {.name = "--messages",
         .kind = OPTION_TEXT,
         .value = &messages,
         .argument = "FILE.json",
         .help = "A conversation: a list of messages, or an object with \"messages\". - is standard input."},
        {.name = "--prompts",
         .kind = OPTION_TEXT,
         .value = &prompts,
         .argument = "FILE",
         .help = "One prompt a line, or in a .jsonl file one conversation a line. Prints one answer a line: "
                 "with --json one "
                 "document a line, else the text with newlines written as \\n."},
        {.name = "--system",
         .kind = OPTION_TEXT,
         .value = &system,
         .argument = "TEXT",
         .help = "System message before a prompt."},
        {.name = "--raw",
         .kind = OPTION_FLAG,
         .value = &raw,
         .help = "Continues the prompt as it is, without the chat template."},
        PRECISION_OPTION(precision),
        QUANT_OPTION(quant),
        {.name = "--context",
         .kind = OPTION_INT,
         .value = &context,
         .argument = "N",
         .max = 1e7,
         .standard = "the model's, at most 4096",
         .help = "Most tokens of prompt and answer together."},
        {.name = "--config",
         .kind = OPTION_TEXT,
         .value = &config,
         .argument = "FILE.yaml",
         .help = "Takes the sampling settings below, where they are not given, from this file's inference "
                 "section.",
         .standard = "config.yaml beside the adapter, where there is one"},
        SAMPLING_OPTIONS(sampling),
        {.name = "--json",
         .kind = OPTION_FLAG,
         .value = &json,
         .help =
             "Prints "
             "{\"text\",\"tokens\",\"finish_reason\",\"prompt_tokens\",\"completion_tokens\",\"seconds\"}."},
        {0}};
    const usage u = {
        "generate",
        "--model PATH [--adapter DIR] --prompt TEXT [OPTIONS]\n--model PATH [--adapter DIR] --messages "
        "FILE.json [OPTIONS]\n--model PATH [--adapter DIR] --prompts FILE [OPTIONS]",
        "Answers a prompt through the model's chat template, a whole conversation, or every line of a file.",
        options,
        0,
        0};
    request q = {NULL, false, false, &sampling};
    engine e = {0};
    hone_model_params open;
    parse_result r;
    int n, rc;

    r = options_parse(&u, &c, argc, argv, NULL, &n);
    if (r != PARSE_RUN)
        return parse_exit(r);
    if (!model)
        return usage_error(&u, "--model is missing");
    if (!!prompt + !!messages + !!prompts != 1)
        return usage_error(&u, "give one of --prompt, --messages and --prompts");
    if (raw && (messages || system))
        return usage_error(&u, "--raw goes with plain prompts only");
    q.system = system;
    q.raw = raw;
    q.json = json;
    open = model_params_of(precision, quant);
    rc = sampling_options_complete(&sampling, config, adapter);
    if (!rc)
        rc = engine_open(&e, &c, model, adapter, &open, context, !raw);
    if (!rc) {
        stop_signals_catch(true);
        if (prompt)
            rc = answer(&e, &q, prompt, strlen(prompt), false, NULL, false);
        else if (messages)
            rc = answer_file(&e, &q, messages);
        else
            rc = answer_lines(&e, &q, prompts);
    }
    engine_close(&e);
    return rc;
}
