/* What is wrong with rows, for a person and for a program: kinds of problems, the worst first, each with its number of rows
 * and a few examples that show the place in the text.
 *
 *   error    duplicate              120 rows   1.4 %  nearly the same as another row
 *              train.jsonl:4 is like train.jsonl:1, 0.96
 *   warning  repetition              17 rows   0.2 %  repeated text
 *              train.jsonl:9 turn 2  …我们«可以可以可以可以»说…  `可以` 4 times */
#include <string.h>

#include "cli.h"

#define BEFORE 12 /* characters of an excerpt before its place, and behind it */
#define PLACE 40  /* most characters of the place */

typedef struct kind {
    char *name, *title;
    int severity;
    uint64_t rows, last; /* last: row it was counted for, + 1 */
    json_t *example;     /* array */
} kind;

struct problems {
    kind *kind;
    size_t n, capacity, most;
    bool text, failed;
    uint64_t rows, clean, validation, places;
};

/* Kinds that are not rules. All are errors that a person should act on, but for what choosing leaves out on purpose. */
static const struct {
    const char *name, *title;
    int severity;
} fates[] = {
    {"invalid", "can not be read", 3},
    {"contaminated", "repeats an evaluation row", 3},
    {"duplicate", "the same or nearly the same as another row", 3},
    {"score", "left out by a score", 1},
    {"balanced", "left out to balance", 1},
    {"max_per_task", "over the maximum of its task", 1},
    {"mix", "over the share of its path", 1},
};

problems *problems_new(size_t most_examples, bool text)
{
    problems *p = calloc(1, sizeof *p);

    if (p) {
        p->most = most_examples;
        p->text = text;
    }
    return p;
}

void problems_free(problems *p)
{
    size_t i;

    for (i = 0; p && i < p->n; i++) {
        free(p->kind[i].name);
        free(p->kind[i].title);
        json_decref(p->kind[i].example);
    }
    if (p)
        free(p->kind);
    free(p);
}

static kind *kind_of(problems *p, const char *name, const char *title, int severity)
{
    kind *k;
    size_t i;

    for (i = 0; i < p->n; i++)
        if (!strcmp(p->kind[i].name, name))
            return &p->kind[i];
    if (p->n == p->capacity) {
        size_t capacity = 2 * p->capacity + 16;

        k = realloc(p->kind, capacity * sizeof *k);
        if (!k) {
            p->failed = true;
            return NULL;
        }
        p->kind = k;
        p->capacity = capacity;
    }
    k = &p->kind[p->n];
    *k = (kind){strdup(name), strdup(title ? title : ""), severity, 0, 0, json_array()};
    p->n++;
    p->failed |= !k->name || !k->title || !k->example;
    return p->failed ? NULL : k;
}

/* Counts a row once for a kind; whether an example of it is wanted. */
static bool count(problems *p, kind *k, uint64_t row)
{
    if (k->last == row + 1)
        return false;
    k->last = row + 1;
    k->rows++;
    return json_array_size(k->example) < p->most;
}

static json_t *place_json(const char *file, uint64_t line, uint64_t row)
{
    return json_pack("{s:o, s:I, s:I}", "file", json_text(file, strlen(file)), "line", (json_int_t)line,
                     "row", (json_int_t)row);
}

static void keep(problems *p, kind *k, json_t *example)
{
    if (!example || json_array_append_new(k->example, example))
        p->failed = true;
}

/* ---- excerpts -------------------------------------------------------------------------------------------------------- */

static bool inside_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t back(const char *s, size_t at, size_t characters)
{
    while (at && characters) {
        at--;
        while (at && inside_character(s[at]))
            at--;
        characters--;
    }
    return at;
}

static size_t forward(const char *s, size_t n, size_t at, size_t characters)
{
    while (at < n && characters) {
        at++;
        while (at < n && inside_character(s[at]))
            at++;
        characters--;
    }
    return at;
}

/* The text of the message that a finding is about, or NULL. */
static const char *message_text(const json_t *root, uint32_t message, size_t *n)
{
    const json_t *list = json_object_get(root, "messages");
    const json_t *text =
        list ? json_object_get(json_array_get(list, message), "content") : json_object_get(root, "text");

    *n = json_string_length(text);
    return json_string_value(text);
}

/* "…before«place»behind…" of a finding; NULL when it has no place. */
static json_t *excerpt(const char *s, size_t n, const hone_finding *f)
{
    size_t begin = f->begin, end = f->end, from, cut, to, i;
    char out[1024];
    int len;

    if (!s || begin >= end || end > n)
        return NULL;
    from = back(s, begin, BEFORE);
    cut = forward(s, end, begin, PLACE);
    to = forward(s, n, end, BEFORE);
    len = snprintf(out, sizeof out, "%s%.*s«%.*s%s»%.*s%s", from ? "…" : "", (int)(begin - from), s + from,
                   (int)(cut - begin), s + begin, cut < end ? "…" : "", (int)(to - end), s + end,
                   to < n ? "…" : "");
    for (i = 0; i < (size_t)len; i++)
        if (out[i] == '\n' || out[i] == '\r' || out[i] == '\t')
            out[i] = ' ';
    return json_text(out, (size_t)len);
}

/* ---- collecting ------------------------------------------------------------------------------------------------------ */

static void add_fate(problems *p, const hone_ledger_entry *e)
{
    const char *name = e->fate == HONE_FATE_DROPPED        ? e->reason
                       : e->fate == HONE_FATE_CONTAMINATED ? "contaminated"
                       : e->fate == HONE_FATE_DUPLICATE    ? "duplicate"
                                                           : NULL;
    kind *k = NULL;
    json_t *x;
    size_t i;

    for (i = 0; name && i < COUNT(fates); i++)
        if (!strcmp(fates[i].name, name))
            k = kind_of(p, name, fates[i].title, fates[i].severity);
    if (!k || !count(p, k, e->row))
        return;
    x = place_json(e->file, e->line, e->row);
    if (e->fate != HONE_FATE_DROPPED) {
        bool duplicate = e->fate == HONE_FATE_DUPLICATE;

        json_object_set_new(x, duplicate ? "of" : "by",
                            place_json(e->other_file, e->other_line, e->other_row));
        json_object_set_new(x, duplicate ? "similarity" : "share", json_number(e->similarity));
    } else if (e->detail) {
        json_object_set_new(x, "detail", json_text(e->detail, strlen(e->detail)));
    }
    keep(p, k, x);
}

static void add_example(problems *p, kind *k, const hone_row_result *r, const hone_finding *f)
{
    json_t *x = place_json(r->entry.file, r->entry.line, r->entry.row);
    json_t *root = p->text && r->conversation ? json_loadb(r->conversation, r->len, 0, NULL) : NULL;
    size_t n;
    const char *s = root ? message_text(root, f->message, &n) : NULL;
    json_t *shown = s ? excerpt(s, n, f) : NULL;

    if (f->message != UINT32_MAX && root && json_object_get(root, "messages"))
        json_object_set_new(x, "turn", json_integer((json_int_t)f->message + 1));
    if (shown)
        json_object_set_new(x, "excerpt", shown);
    if (f->detail && *f->detail)
        json_object_set_new(x, "detail", json_text(f->detail, strlen(f->detail)));
    json_decref(root);
    keep(p, k, x);
}

void problems_row(void *ud, const hone_row_result *r)
{
    problems *p = ud;
    bool clean = r->entry.fate == HONE_FATE_USED;
    size_t i;

    add_fate(p, &r->entry);
    for (i = 0; i < r->n_findings; i++) {
        const hone_finding *f = &r->finding[i];
        kind *k = kind_of(p, f->rule, f->title[0], f->severity);

        clean &= f->severity < 2;
        if (k && count(p, k, r->entry.row))
            add_example(p, k, r, f);
    }
    p->rows++;
    p->clean += clean;
    p->validation += r->validation;
    p->places += r->validation ? 0 : r->copies;
}

void problems_finding(void *ud, const hone_finding *f)
{
    problems *p = ud;
    kind *k = kind_of(p, f->rule, f->title[0], f->severity);

    if (k && json_array_size(k->example) < p->most)
        keep(p, k, json_pack("{s:o}", "detail", json_text(f->detail, strlen(f->detail))));
}

static int worst_first(const void *a, const void *b)
{
    const kind *x = a, *y = b;

    if (x->severity != y->severity)
        return y->severity - x->severity;
    if (x->rows != y->rows)
        return x->rows > y->rows ? -1 : 1;
    return strcmp(x->name, y->name);
}

int problems_finish(problems *p)
{
    if (p->failed)
        return fail("out of memory");
    if (p->n)
        qsort(p->kind, p->n, sizeof *p->kind, worst_first);
    return 0;
}

uint64_t problems_clean(const problems *p)
{
    return p->clean;
}

uint64_t problems_validation(const problems *p)
{
    return p->validation;
}

uint64_t problems_places(const problems *p)
{
    return p->places;
}

int problems_worst(const problems *p)
{
    return p->n ? p->kind[0].severity : 0;
}

/* ---- showing --------------------------------------------------------------------------------------------------------- */

static const char *const level[] = {"", "note", "warning", "error"};
static const char *const color[] = {"", "\033[36m", "\033[33m", "\033[31m"};

static const char *text_of(const json_t *x, const char *key)
{
    return json_string_value(json_object_get(x, key));
}

static long long number_of(const json_t *x, const char *key)
{
    return (long long)json_integer_value(json_object_get(x, key));
}

/* With the place in bold instead of its marks, where the terminal can. */
static void print_excerpt(const char *text)
{
    const char *begin = strstr(text, "«"), *end = begin ? strstr(begin, "»") : NULL;
    const size_t mark = strlen("«");

    fputs("  ", stdout);
    if (!end || !stdout_color()) {
        print_text_safe(text, strlen(text));
        return;
    }
    print_text_safe(text, (size_t)(begin - text));
    fputs("\033[1;4m", stdout);
    print_text_safe(begin + mark, (size_t)(end - begin) - mark);
    fputs("\033[0m", stdout);
    print_text_safe(end + mark, strlen(end + mark));
}

static void print_example(const kind *k, const json_t *x)
{
    const json_t *other = json_object_get(x, "of") ? json_object_get(x, "of") : json_object_get(x, "by");
    const char *file = text_of(x, "file"), *shown = text_of(x, "excerpt"), *detail = text_of(x, "detail");

    fputs("           ", stdout);
    if (!strcmp(k->name, "invalid")) {
        print_text_safe(detail, strlen(detail)); /* it names its place */
        putchar('\n');
        return;
    }
    if (file)
        printf("%s:%lld", file, number_of(x, "line"));
    if (json_object_get(x, "turn"))
        printf(" turn %lld", number_of(x, "turn"));
    if (other)
        printf(" %s %s:%lld, %.2f", json_object_get(x, "of") ? "is like" : "repeats", text_of(other, "file"),
               number_of(other, "line"),
               json_real_value(json_object_get(x, json_object_get(x, "of") ? "similarity" : "share")));
    if (shown)
        print_excerpt(shown);
    if (detail) {
        fputs(file ? "  " : "", stdout);
        print_text_safe(detail, strlen(detail));
    }
    putchar('\n');
}

static double share_of(const problems *p, const kind *k)
{
    return p->rows ? (double)k->rows / (double)p->rows : 0;
}

static void print_kind(const problems *p, const kind *k)
{
    bool colored = stdout_color();
    char rows[48] = "", number[32];
    size_t i;

    if (k->rows)
        snprintf(rows, sizeof rows, "%s %s %6.2f %%", count_text(number, k->rows),
                 k->rows == 1 ? "row " : "rows", 100 * share_of(p, k));
    printf("%s%-8s%s %-22s %22s  %s\n", colored ? color[k->severity] : "", level[k->severity],
           colored ? "\033[0m" : "", k->name, rows, k->title);
    for (i = 0; i < json_array_size(k->example); i++)
        print_example(k, json_array_get(k->example, i));
}

void problems_print(const problems *p)
{
    size_t i;

    for (i = 0; i < p->n; i++)
        print_kind(p, &p->kind[i]);
}

json_t *problems_json(const problems *p)
{
    json_t *list = json_array();
    size_t i;

    for (i = 0; i < p->n; i++) {
        const kind *k = &p->kind[i];

        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:I, s:o, s:O}", "rule", k->name, "severity",
                                        level[k->severity], "title", k->title, "rows", (json_int_t)k->rows,
                                        "share", json_number(share_of(p, k)), "examples", k->example));
    }
    return list;
}
