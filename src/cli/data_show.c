/* hone data show: one row as it is trained. The pass of preparing tells its fate, a second reading its text; what is
 * trained is coloured, or stands in brackets where there are no colours. Rows are not trusted: what a terminal would act
 * upon is spelled out. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "cli.h"

#define WIDTH 100 /* columns of the list of tokens */
#define TRAINED "\033[1;32m"
#define QUIET "\033[2m"
#define END "\033[0m"

/* Which row: a number, or a file and a line. */
typedef struct wanted {
    uint64_t row;
    const char *file; /* NULL: by number */
    size_t file_len;
    uint64_t line;
} wanted;

/* What the pass said of it. */
typedef struct found {
    wanted want;
    bool met, used;
    uint64_t rows, row, line;
    json_t *doc; /* what --json prints, and the lines above the text */
    bool failed;
} found;

static int parse_wanted(wanted *w, const char *text)
{
    const char *colon = strrchr(text, ':'), *digits = colon ? colon + 1 : text;
    char *end;
    uintmax_t x = strtoumax(digits, &end, 10);

    if (*digits < '0' || *digits > '9' || *end)
        return EXIT_FAILURE;
    memset(w, 0, sizeof *w);
    if (colon) {
        w->file = text;
        w->file_len = (size_t)(colon - text);
        w->line = x;
    } else {
        w->row = x;
    }
    return 0;
}

static bool ends_with_path(const char *path, const char *end, size_t n)
{
    size_t len = strlen(path);

    return len >= n && !strncmp(path + len - n, end, n) && (len == n || path[len - n - 1] == '/');
}

static bool is_wanted(const wanted *w, const hone_ledger_entry *e)
{
    return w->file ? e->line == w->line && ends_with_path(e->file, w->file, w->file_len) : e->row == w->row;
}

/* ---- what the pass says -------------------------------------------------------------------------------------------- */

static void put(found *f, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value))
        f->failed = true;
}

static void put_text(found *f, json_t *object, const char *key, const char *text)
{
    if (text)
        put(f, object, key, json_text(text, strlen(text)));
}

static const char *fate_name(hone_fate fate)
{
    static const char *const name[] = {"used", "cut", "split", "dropped", "duplicate", "contaminated"};

    return name[fate];
}

static void put_fate(found *f, const hone_ledger_entry *e)
{
    put_text(f, f->doc, "file", e->file);
    put(f, f->doc, "line", json_integer((json_int_t)e->line));
    put(f, f->doc, "row", json_integer((json_int_t)e->row));
    put_text(f, f->doc, "fate", fate_name(e->fate));
    if (e->fate == HONE_FATE_DROPPED)
        put_text(f, f->doc, "reason", e->reason);
    put_text(f, f->doc, "detail", e->detail);
    if (e->other_file) {
        json_t *other = json_object();

        put_text(f, other, "file", e->other_file);
        put(f, other, "line", json_integer((json_int_t)e->other_line));
        put(f, other, "row", json_integer((json_int_t)e->other_row));
        put(f, f->doc, e->fate == HONE_FATE_DUPLICATE ? "of" : "by", other);
        put(f, f->doc, e->fate == HONE_FATE_DUPLICATE ? "similarity" : "share", json_number(e->similarity));
    }
}

static void put_findings(found *f, const hone_row_result *r)
{
    static const char *const level[] = {"note", "warning", "error"};
    json_t *list = json_array();
    size_t i;

    for (i = 0; i < r->n_findings; i++) {
        const hone_finding *x = &r->finding[i];
        json_t *entry = json_object();

        put_text(f, entry, "rule", x->rule);
        put_text(f, entry, "severity", level[x->severity < 2 ? 0 : x->severity > 2 ? 2 : 1]);
        put_text(f, entry, "title", x->title[0]);
        if (x->message != UINT32_MAX)
            put(f, entry, "message", json_integer(x->message));
        if (x->begin < x->end) {
            put(f, entry, "begin", json_integer(x->begin));
            put(f, entry, "end", json_integer(x->end));
        }
        if (x->detail && *x->detail)
            put_text(f, entry, "detail", x->detail);
        if (json_array_append_new(list, entry))
            f->failed = true;
    }
    put(f, f->doc, "findings", list);
}

static void on_row(void *ud, const hone_row_result *r)
{
    found *f = ud;
    size_t i;

    f->rows++;
    if (f->met || !is_wanted(&f->want, &r->entry))
        return;
    f->met = true;
    f->row = r->entry.row;
    f->used = r->conversation != NULL;
    put_fate(f, &r->entry);
    put_text(f, f->doc, "id", r->id);
    put_text(f, f->doc, "task", r->task);
    put_text(f, f->doc, "label", r->label);
    put_text(f, f->doc, "group", r->group);
    if (r->copies > 1)
        put(f, f->doc, "copies", json_integer(r->copies));
    if (r->stage)
        put(f, f->doc, "stage", json_integer(r->stage));
    if (r->validation)
        put(f, f->doc, "validation", json_true());
    put_findings(f, r);
    if (r->n_scores) {
        json_t *scores = json_object();

        for (i = 0; i < r->n_scores; i++)
            put(f, scores, r->score_name[i], json_number(r->score[i]));
        put(f, f->doc, "scores", scores);
    }
}

/* ---- the terminal ---------------------------------------------------------------------------------------------------- */

/* The text in runs of one kind: trained or not, of the row or of the template. */
static void print_text(const hone_row_picture *p, bool color)
{
    size_t token = 0, at = 0;

    while (at < p->len) {
        size_t end = at;
        int kind = -1;

        while (end < p->len) {
            size_t stop = p->len;
            int k = 0;

            while (token < p->n && p->end[token] <= end)
                token++;
            if (token < p->n && p->begin[token] <= end) {
                k = p->weight[token] > 0;
                stop = p->end[token];
            } else if (token < p->n) {
                stop = p->begin[token];
            }
            k = k ? 2 : p->quoted[end];
            if (kind >= 0 && k != kind)
                break;
            kind = k;
            if (kind == 2)
                end = stop;
            else
                end++;
        }
        if (kind == 2)
            fputs(color ? TRAINED : "⟦", stdout);
        else if (kind == 0 && color)
            fputs(QUIET, stdout);
        print_text_safe(p->text + at, end - at);
        if (color)
            fputs(END, stdout);
        else if (kind == 2)
            fputs("⟧", stdout);
        at = end;
    }
    if (p->len && p->text[p->len - 1] != '\n')
        putchar('\n');
}

/* A piece on one line: blanks as dots, bytes that are no whole character in hexadecimal. */
static void print_piece(const char *piece, size_t n)
{
    json_t *whole = json_stringn(piece, n);
    size_t i;

    for (i = 0; i < n; i++)
        if (!whole)
            printf("\\x%02x", (unsigned char)piece[i]);
        else if (piece[i] == ' ')
            fputs("·", stdout);
        else if (piece[i] == '\n')
            fputs("\\n", stdout);
        else if (piece[i] == '\t')
            fputs("\\t", stdout);
        else { /* up to the next of these */
            size_t end = i + strcspn(piece + i, " \n\t");

            end = end > i && end <= n ? end : i + 1;
            print_text_safe(piece + i, end - i);
            i = end - 1;
        }
    json_decref(whole);
}

static void print_tokens(const hone_row_picture *p, const hone_tokenizer *t, bool color)
{
    size_t i, n, column = 0;
    bool open = false;

    for (i = 0; i < p->n; i++) {
        const char *piece = hone_tokenizer_piece(t, p->id[i], &n);
        char id[48];
        size_t width = (size_t)snprintf(id, sizeof id, "%d:", p->id[i]) + (piece ? n : 0);
        bool trained = p->weight[i] > 0;

        if (column && column + 2 + width > WIDTH) {
            putchar('\n');
            column = 0;
        } else if (column) {
            fputs("  ", stdout);
        }
        column += 2 + width;
        if (trained && !open)
            fputs(color ? TRAINED : "⟦", stdout);
        fputs(id, stdout);
        print_piece(piece ? piece : "", piece ? n : 0);
        if (trained && p->weight[i] != 1)
            printf("×%g", (double)p->weight[i]);
        open = trained && i + 1 < p->n && p->weight[i + 1] > 0;
        if (trained && !open)
            fputs(color ? END : "⟧", stdout);
    }
    putchar('\n');
}

static void print_field(const char *name, const char *format, ...) HONE_PRINTF(2, 3);
static void print_field(const char *name, const char *format, ...)
{
    va_list args;

    printf("%-10s ", name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

static void print_string(const json_t *doc, const char *key)
{
    const json_t *x = json_object_get(doc, key);

    if (!json_is_string(x))
        return;
    print_field(key, "%s", "");
    print_text_safe(json_string_value(x), json_string_length(x));
    putchar('\n');
}

static void print_place(const char *name, const json_t *x)
{
    if (!x)
        return;
    print_field(name, "%s", "");
    print_text_safe(json_string_value(json_object_get(x, "file")),
                    json_string_length(json_object_get(x, "file")));
    printf(":%lld, row %lld\n", (long long)json_integer_value(json_object_get(x, "line")),
           (long long)json_integer_value(json_object_get(x, "row")));
}

static void print_head(const json_t *doc)
{
    static const char *const texts[] = {"fate", "reason", "detail", "id", "task", "label", "group"};
    static const char *const numbers[] = {"similarity", "share", "copies", "stage"};
    const json_t *list = json_object_get(doc, "findings"), *scores = json_object_get(doc, "scores"), *value;
    const char *name;
    size_t i;

    print_place("row", doc);
    for (i = 0; i < COUNT(texts); i++)
        print_string(doc, texts[i]);
    print_place("of", json_object_get(doc, "of"));
    print_place("by", json_object_get(doc, "by"));
    for (i = 0; i < COUNT(numbers); i++)
        if (json_object_get(doc, numbers[i]))
            print_field(numbers[i], "%.4g\n", json_number_value(json_object_get(doc, numbers[i])));
    for (i = 0; i < json_array_size(list); i++) {
        const json_t *f = json_array_get(list, i), *detail = json_object_get(f, "detail");

        print_field("finding", "%s %s", json_string_value(json_object_get(f, "severity")),
                    json_string_value(json_object_get(f, "rule")));
        if (json_object_get(f, "message"))
            printf(" (message %lld)", (long long)json_integer_value(json_object_get(f, "message")));
        if (detail) {
            fputs(": ", stdout);
            print_text_safe(json_string_value(detail), json_string_length(detail));
        }
        putchar('\n');
    }
    json_object_foreach((json_t *)scores, name, value)
    {
        if (json_is_number(value))
            print_field("score", "%s %.6g\n", name, json_number_value(value));
        else
            print_field("score", "%s none\n", name);
    }
}

static void on_progress(void *ud, const hone_progress *p)
{
    (void)ud;
    progress_bar(p);
}

/* ---- the row --------------------------------------------------------------------------------------------------------- */

/* Reads up to the row. 0 and *row, borrowed from *rows, which the caller closes. */
static int read_row(hone_rows **rows, hone_row *row, const data_pass *p, uint64_t number, hone_error *err)
{
    hone_rows_options options = p->options.rows;
    int rc;

    options.keep_going = true;
    rc = hone_rows_open(rows, p->paths, p->n_paths, &options, err);
    if (rc)
        return rc;
    while ((rc = hone_rows_next(*rows, row, err)) == 1)
        if (row->index == number)
            return 0;
    return rc < 0 ? rc : hone_error_set(err, HONE_EFORMAT, "row %llu is gone", (unsigned long long)number);
}

static int add_scores(found *f, const data_pass *p, const common *c, const hone_row *row)
{
    static const char *const name[] = {"perplexity", "perplexity_alone", "ifd", "unscored"};
    hone_error err = HONE_ERROR_INIT;
    hone_device *device = NULL;
    hone_scorer scorer = {0};
    double x[COUNT(name)];
    json_t *scores = json_object();
    size_t i;
    int rc = data_pass_scorer(&scorer, &device, p->config, c, name, COUNT(name));

    if (!rc && scorer.score(scorer.ud, &row->conversation, &row->len, 1, x, &err))
        rc = fail_with(&err);
    for (i = 0; !rc && i < COUNT(name); i++)
        put(f, scores, name[i], json_number(x[i]));
    put(f, f->doc, "scores", scores);
    hone_scorer_close(&scorer);
    hone_device_close(device);
    return rc;
}

static void put_picture(found *f, const hone_row_picture *p, const hone_tokenizer *t)
{
    json_t *ids = json_array(), *weights = json_array(), *pieces = json_array();
    size_t i, n;

    for (i = 0; i < p->n; i++) {
        const char *piece = hone_tokenizer_piece(t, p->id[i], &n);

        if (json_array_append_new(ids, json_integer(p->id[i])) ||
            json_array_append_new(weights, json_number((double)p->weight[i])) ||
            json_array_append_new(pieces, json_text(piece ? piece : "", piece ? n : 0)))
            f->failed = true;
    }
    put(f, f->doc, "tokens", json_integer((json_int_t)p->n));
    put(f, f->doc, "trained", json_integer((json_int_t)p->n_trained));
    put(f, f->doc, "text", json_text(p->text, p->len));
    put(f, f->doc, "ids", ids);
    put(f, f->doc, "weights", weights);
    put(f, f->doc, "pieces", pieces);
}

static void print_row(const found *f, const hone_row_picture *p, const hone_tokenizer *t, int32_t max_length,
                      bool color)
{
    print_head(f->doc);
    print_field("length", "%zu tokens, %zu trained, max_length %d%s\n\n", p->n, p->n_trained, max_length,
                p->n > (size_t)max_length ? ": too long" : "");
    print_text(p, color);
    putchar('\n');
    print_tokens(p, t, color);
}

typedef struct show_options {
    bool json, plain, scores;
} show_options;

/* The row that the pass found. */
static int show_row(found *f, data_pass *p, const common *c, const show_options *o)
{
    hone_row_picture picture = {0};
    hone_tokenizer *tokenizer = NULL;
    hone_chat *chat = NULL;
    hone_error err = HONE_ERROR_INIT;
    hone_rows *rows = NULL;
    hone_row row;
    int rc = 0;

    if (read_row(&rows, &row, p, f->row, &err) ||
        hone_tokenizer_open(&tokenizer, p->config->model.name_or_path, &err) ||
        hone_chat_open(&chat, p->config->model.name_or_path, tokenizer, &err) ||
        hone_row_picture_make(&picture, chat, &row, p->config->data.train_on_prompt, &err))
        rc = fail_with(&err);
    if (!rc && o->scores)
        rc = add_scores(f, p, c, &row);
    if (!rc && o->json)
        put_picture(f, &picture, tokenizer);
    if (!rc && f->failed)
        rc = fail("out of memory");
    if (!rc && o->json)
        rc = json_print(json_incref(f->doc));
    else if (!rc)
        print_row(f, &picture, tokenizer, p->config->model.max_length, stdout_color() && !o->plain);
    hone_row_picture_clear(&picture);
    hone_rows_close(rows);
    hone_chat_close(chat);
    hone_tokenizer_close(tokenizer);
    return rc;
}

static int show(data_pass *p, const common *c, const char *which, const show_options *o)
{
    found f = {.doc = json_object()};
    hone_error err = HONE_ERROR_INIT;
    hone_ledger_counts counts;
    int rc = 0;

    parse_wanted(&f.want, which);
    p->options.rows.keep_going = true;
    p->options.row = on_row;
    p->options.progress = progress_wanted() ? on_progress : NULL;
    p->options.ud = &f;
    if (hone_data_prepare(p->paths, p->n_paths, &p->options, &counts, &err))
        rc = fail_with(&err);
    progress(NULL);
    if (!rc && !f.met)
        rc = fail("there is no row %s among the %llu rows", which, (unsigned long long)f.rows);
    if (!rc && f.failed)
        rc = fail("out of memory");
    if (!rc && f.used)
        rc = show_row(&f, p, c, o);
    else if (!rc && o->json)
        rc = json_print(json_incref(f.doc));
    else if (!rc)
        print_head(f.doc);
    json_decref(f.doc);
    return rc;
}

int command_data_show(int argc, char **argv)
{
    common c = {0};
    text_list set = {0};
    show_options o = {0};
    const char *args[2];
    const option options[] = {
        {.name = "--plain",
         .kind = OPTION_FLAG,
         .value = &o.plain,
         .help = "What is trained stands in brackets instead of colours, as it does where there are none."},
        {.name = "--scores",
         .kind = OPTION_FLAG,
         .value = &o.scores,
         .help = "Scores the row by the model of the configuration: perplexity, perplexity_alone, ifd."},
        SET_OPTION(set),
        JSON_OPTION(o.json),
        {0}};
    const usage u = {
        "data show",
        "ROW CONFIG.yaml [OPTIONS]",
        "Prints one row as it is trained: its fate and what was found in it, the text that the template "
        "makes of it with what is trained in colour, and its tokens. ROW is its number as the ledger has "
        "it (from 0), or FILE:LINE.",
        options,
        2,
        2};
    data_pass p;
    wanted w;
    parse_result r;
    int n, rc;

    memset(&p, 0, sizeof p);
    r = options_parse(&u, &c, argc, argv, args, &n);
    if (r != PARSE_RUN)
        rc = parse_exit(r);
    else if (parse_wanted(&w, args[0]))
        rc = usage_error(&u, "'%s' is neither the number of a row nor FILE:LINE", args[0]);
    else {
        rc = data_pass_open(&p, &c, args[1], &set);
        if (!rc)
            rc = show(&p, &c, args[0], &o);
    }
    data_pass_close(&p);
    text_list_clear(&set);
    return rc;
}
