/* hone tokenize: ids of a text; or a conversation as the model is trained on it, every token with its mask. */
#include <errno.h>
#include <string.h>

#include "cli.h"

static int encode(const hone_tokenizer *t, hone_tokens *tokens, const char *text, size_t len)
{
    hone_error err = HONE_ERROR_INIT;

    tokens->n = 0;
    return hone_tokenizer_encode(t, tokens, text, len, NULL, 0, 0, &err) ? fail_with(&err) : 0;
}

static void print_ids(const hone_tokens *tokens, const char *open, const char *between, const char *close)
{
    size_t i;

    fputs(open, stdout);
    for (i = 0; i < tokens->n; i++)
        printf("%s%d", i ? between : "", tokens->id[i]);
    fputs(close, stdout);
}

static int tokenize_text(const hone_tokenizer *t, bool json)
{
    hone_tokens tokens = {0};
    char *text;
    size_t len;
    int rc = read_file(&text, &len, "-");

    if (rc)
        return rc;
    rc = encode(t, &tokens, text, len);
    if (!rc)
        print_ids(&tokens, json ? "{\"ids\":[" : "", json ? "," : " ", json ? "]}\n" : "\n");
    hone_tokens_clear(&tokens);
    free(text);
    return rc;
}

/* A line ends at \n only; a last line without one counts when it is not empty. */
static int tokenize_lines(const hone_tokenizer *t)
{
    hone_tokens tokens = {0};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int rc = 0;

    while (!rc && (n = getline(&line, &capacity, stdin)) > 0) {
        size_t len = (size_t)n - (line[n - 1] == '\n');

        rc = encode(t, &tokens, line, len);
        if (!rc)
            print_ids(&tokens, "[", ",", "]\n");
        if (ferror(stdout))
            break; /* reported at the end of the program */
    }
    if (!rc && ferror(stdin))
        rc = fail("standard input: can not read: %s", strerror(errno));
    free(line);
    hone_tokens_clear(&tokens);
    return rc;
}

static json_t *encoding_json(const hone_tokenizer *t, const hone_encoding *e)
{
    json_t *ids = json_array(), *mask = json_array(), *pieces = json_array();
    size_t i;

    for (i = 0; i < e->tokens.n; i++) {
        size_t len;
        const char *piece = hone_tokenizer_piece(t, e->tokens.id[i], &len);

        json_array_append_new(ids, json_integer(e->tokens.id[i]));
        json_array_append_new(mask, json_integer(e->mask[i]));
        json_array_append_new(pieces, json_text(piece ? piece : "", piece ? len : 0));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "text", json_text(e->rendering.text, e->rendering.len), "ids",
                     ids, "mask", mask, "pieces", pieces);
}

/* The text with its trained spans: green and underlined in colour, between brackets without. */
static void print_text(const hone_encoding *e, bool color)
{
    const char *on = color ? "\033[32;4m" : "\xe2\x9f\xa6", *off = color ? "\033[0m" : "\xe2\x9f\xa7";
    size_t i, at = 0;

    for (i = 0; i < e->tokens.n; i++) {
        size_t end = e->tokens.end[i];
        bool begins = e->mask[i] && (i == 0 || !e->mask[i - 1]);
        bool ends = e->mask[i] && (i + 1 == e->tokens.n || !e->mask[i + 1]);

        if (begins) {
            size_t begin = e->tokens.begin[i];

            if (begin > at) {
                fwrite(e->rendering.text + at, 1, begin - at, stdout);
                at = begin;
            }
            fputs(on, stdout);
        }
        if (end > at) {
            fwrite(e->rendering.text + at, 1, end - at, stdout);
            at = end;
        }
        if (ends)
            fputs(off, stdout);
    }
    fwrite(e->rendering.text + at, 1, e->rendering.len - at, stdout);
    if (e->rendering.len && e->rendering.text[e->rendering.len - 1] != '\n')
        putchar('\n');
}

/* All ids, the trained ones in colour or brackets. */
static void print_mask(const hone_encoding *e, bool color)
{
    size_t i;

    for (i = 0; i < e->tokens.n; i++) {
        const char *on = color ? "\033[32;4m" : "[", *off = color ? "\033[0m" : "]";

        if (e->mask[i])
            printf("%s%d%s", on, e->tokens.id[i], off);
        else
            printf("%d", e->tokens.id[i]);
        putchar(i + 1 == e->tokens.n || i % 16 == 15 ? '\n' : ' ');
    }
    printf("%zu tokens, %zu trained", e->tokens.n, e->n_trained);
    if (e->straddled)
        printf(", %zu cross the border of a trained span", e->straddled);
    if (!e->eot_trained)
        printf("; an end-of-turn token is not trained");
    putchar('\n');
}

static int show_conversation(const hone_tokenizer *t, const hone_chat *chat, const char *text, size_t len,
                             const char *place, unsigned flags, bool json)
{
    hone_encoding e = {0};
    hone_error err = HONE_ERROR_INIT;
    int rc = 0;

    if (hone_chat_encode(chat, &e, text, len, flags, &err))
        return fail("%s: %s", place, err.message);
    if (json) {
        rc = json_print(encoding_json(t, &e));
    } else {
        print_text(&e, stdout_color());
        print_mask(&e, stdout_color());
    }
    hone_encoding_clear(&e);
    return rc;
}

/* One conversation in a .json file, one per line in a .jsonl file. */
static int show_file(const hone_tokenizer *t, const hone_chat *chat, const char *path, unsigned flags,
                     bool json)
{
    size_t name = strlen(path), len, at = 0;
    bool lines = name > 6 && strcmp(path + name - 6, ".jsonl") == 0;
    char *text;
    long long number = 1;
    int rc = read_file(&text, &len, path);

    if (rc)
        return rc;
    if (!lines) {
        rc = check_json(text, len, path, 1);
        if (!rc)
            rc = show_conversation(t, chat, text, len, path, flags, json);
        at = len;
    }
    for (; !rc && at < len; number++) {
        char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - (text + at)) : len - at;
        char place[4200];

        snprintf(place, sizeof place, "%s:%lld", path, number);
        if (strspn(text + at, " \t\r") < n) {
            rc = check_json(text + at, n, path, number);
            if (!rc)
                rc = show_conversation(t, chat, text + at, n, place, flags, json);
        }
        at += n + 1;
    }
    free(text);
    return rc;
}

static int run(const char *model, bool lines, const char *conversation, bool prompt, bool json)
{
    hone_tokenizer *t = NULL;
    hone_chat *chat = NULL;
    hone_error err = HONE_ERROR_INIT;
    int rc;

    if (hone_tokenizer_open(&t, model, &err) || (conversation && hone_chat_open(&chat, model, t, &err))) {
        rc = fail_with(&err);
        goto out;
    }
    if (chat && hone_chat_notice(chat))
        note("%s", hone_chat_notice(chat));
    if (conversation)
        rc = show_file(t, chat, conversation, prompt ? HONE_CHAT_GENERATION_PROMPT : 0, json);
    else if (lines)
        rc = tokenize_lines(t);
    else
        rc = tokenize_text(t, json);
out:
    hone_chat_close(chat);
    hone_tokenizer_close(t);
    return rc;
}

int command_tokenize(int argc, char **argv)
{
    common c = {0};
    const char *model = NULL, *conversation = NULL;
    bool lines = false, json = false, prompt = false;
    const option options[] = {
        {.name = "--model",
         .kind = OPTION_TEXT,
         .value = &model,
         .argument = "PATH",
         .help = "GGUF file or Hugging Face directory; tokenizer files alone are enough."},
        {.name = "--lines",
         .kind = OPTION_FLAG,
         .value = &lines,
         .help = "Prints one JSON array for every line of the input; lines end at \\n only."},
        {.name = "--chat",
         .kind = OPTION_TEXT,
         .value = &conversation,
         .argument = "FILE",
         .help =
             "Shows a conversation (JSON: a list of messages or an object with \"messages\") as the model is "
             "trained on "
             "it: trained tokens in colour, between brackets off a terminal. A .jsonl file has one a line."},
        {.name = "--generation-prompt",
         .kind = OPTION_FLAG,
         .value = &prompt,
         .help = "With --chat: the prompt for an answer to the conversation, with nothing trained."},
        {.name = "--json",
         .kind = OPTION_FLAG,
         .value = &json,
         .help = "Prints {\"ids\"}, or with --chat {\"text\",\"ids\",\"mask\",\"pieces\"}: one document, or "
                 "one a line for a "
                 ".jsonl file."},
        {0}};
    const usage u = {
        "tokenize",
        "--model PATH [--lines] [OPTIONS] < TEXT\n--model PATH --chat FILE [OPTIONS]",
        "Prints the token ids of the text on standard input. No BOS or EOS is added; texts of special tokens "
        "are recognised.",
        options,
        0,
        0};
    parse_result r;
    int n;

    r = options_parse(&u, &c, argc, argv, NULL, &n);
    if (r != PARSE_RUN)
        return parse_exit(r);
    if (!model)
        return usage_error(&u, "--model is missing");
    if (lines && conversation)
        return usage_error(&u, "--lines and --chat exclude each other");
    return run(model, lines, conversation, prompt, json);
}
