/* The option table at work. `--name value` and `--name=value` are the same; `--` ends the options; `-h` and `--help`
 * print the table. A mistake is answered with the nearest option, a bad value with that option's help. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

#define WIDTH 100 /* columns of the help */

static void common_table(option table[7], common *c)
{
    static const option end = {0};

    table[0] = (option){.name = "--threads",
                        .kind = OPTION_INT,
                        .value = &c->threads,
                        .argument = "N",
                        .max = 4096,
                        .standard = "0, all processors this process may use",
                        .help = "Threads that compute."};
    table[1] = (option){.name = "--pin",
                        .kind = OPTION_FLAG,
                        .value = &c->pin,
                        .help = "Binds each thread to one of the processors this process may use; not done "
                                "for more threads than processors."};
    table[2] = (option){.name = "--isa",
                        .kind = OPTION_CHOICE,
                        .value = &c->isa,
                        .argument = "NAME",
                        .choices = "auto|ref|avx2|avx512|avx512bf16",
                        .standard = "auto",
                        .help = "Instruction set of the kernels; ref is plain C."};
    table[3] = (option){.name = "--quiet",
                        .kind = OPTION_FLAG,
                        .value = &c->quiet,
                        .help = "No notes and no progress on stderr."};
    table[4] = (option){.name = "--no-color",
                        .kind = OPTION_FLAG,
                        .value = &c->no_color,
                        .help = "No colours, even on a terminal."};
    table[5] = end;
}

/* Edit distance with at most `limit` worth telling (Levenshtein, one row). */
static size_t distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b), i, j;

    if (n >= COUNT(row))
        return SIZE_MAX;
    for (j = 0; j <= n; j++)
        row[j] = j;
    for (i = 0; a[i]; i++) {
        size_t corner = row[0];

        row[0] = i + 1;
        for (j = 0; j < n; j++) {
            size_t keep = corner + (tolower((unsigned char)a[i]) != tolower((unsigned char)b[j]));
            size_t best = row[j] + 1 < row[j + 1] + 1 ? row[j] + 1 : row[j + 1] + 1;

            corner = row[j + 1];
            row[j + 1] = keep < best ? keep : best;
        }
    }
    return row[n];
}

const char *nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) / 3 + 2, i;

    for (i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);

        if (d < best_distance) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}

/* Prints text wrapped at WIDTH, every line indented. */
static void print_wrapped(FILE *f, const char *text, int indent)
{
    int column = 0;

    while (*text) {
        size_t n = strcspn(text, " ");

        if (column == 0) {
            fprintf(f, "%*s", indent, "");
            column = indent;
        } else if (column + 1 + (int)n > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
        } else {
            putc(' ', f);
            column++;
        }
        fwrite(text, 1, n, f);
        column += (int)n;
        text += n;
        while (*text == ' ')
            text++;
    }
    putc('\n', f);
}

static void print_option(FILE *f, const option *o)
{
    char text[800];

    fprintf(f, "  %s%s%s\n", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
    snprintf(text, sizeof text, "%s%s%s%s%s%s%s", o->help, o->choices ? " One of: " : "",
             o->choices ? o->choices : "", o->choices ? "." : "", o->standard ? " Default: " : "",
             o->standard ? o->standard : "", o->standard ? "." : "");
    print_wrapped(f, text, 6);
}

static void print_synopsis(FILE *f, const usage *u)
{
    const char *line = u->synopsis;
    bool first = true;

    while (*line) {
        size_t n = strcspn(line, "\n");

        fprintf(f, "%s hone %s%s%.*s\n", first ? "usage:" : "      ", u->command, n ? " " : "", (int)n, line);
        first = false;
        line += n + (line[n] == '\n');
    }
}

static void print_help(const usage *u, const option *shared)
{
    const option *o;

    print_synopsis(stdout, u);
    putchar('\n');
    print_wrapped(stdout, u->about, 0);
    printf("\nOptions\n");
    for (o = u->options; o && o->name; o++)
        print_option(stdout, o);
    printf("\nCommon options\n");
    for (o = shared; o->name; o++)
        print_option(stdout, o);
    printf("  -h, --help\n      This text.\n");
}

int usage_error(const usage *u, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "hone: %s: ", u->command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    putc('\n', stderr);
    print_synopsis(stderr, u);
    return EXIT_USAGE;
}

static parse_result bad_value(const usage *u, const option *o, const char *format, ...) HONE_PRINTF(3, 4);

static parse_result bad_value(const usage *u, const option *o, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "hone: %s: ", u->command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    putc('\n', stderr);
    print_option(stderr, o);
    return PARSE_WRONG;
}

static bool is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);

    while (*choices) {
        size_t m = strcspn(choices, "|");

        if (m == n && strncmp(choices, value, n) == 0)
            return true;
        choices += m + (choices[m] == '|');
    }
    return false;
}

static bool list_add(text_list *l, const char *value)
{
    const char **grown = realloc(l->item, (l->n + 1) * sizeof *grown);

    if (!grown)
        return false;
    l->item = grown;
    l->item[l->n++] = value;
    return true;
}

void text_list_clear(text_list *l)
{
    free(l->item);
    l->item = NULL;
    l->n = 0;
}

static parse_result store(const usage *u, const option *o, const char *value)
{
    char *end;
    double x;

    if (o->given)
        *o->given = true;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->value = true;
        return PARSE_RUN;
    case OPTION_CHOICE:
        if (!is_choice(o->choices, value))
            return bad_value(u, o, "%s: '%s' is none of %s", o->name, value, o->choices);
        /* fall through */
    case OPTION_TEXT:
        *(const char **)o->value = value;
        return PARSE_RUN;
    case OPTION_LIST:
        if (!list_add(o->value, value))
            return bad_value(u, o, "out of memory");
        return PARSE_RUN;
    case OPTION_INT:
    case OPTION_NUMBER:
        break;
    }
    x = strtod(value, &end);
    if (end == value || *end || !isfinite(x) || isspace((unsigned char)value[0]))
        return bad_value(u, o, "%s: '%s' is not a number", o->name, value);
    if (x < o->min || x > o->max)
        return bad_value(u, o, "%s: %s is outside %g to %g", o->name, value, o->min, o->max);
    if (o->kind == OPTION_NUMBER) {
        *(double *)o->value = x;
        return PARSE_RUN;
    }
    if (x != floor(x))
        return bad_value(u, o, "%s: '%s' is not a whole number", o->name, value);
    *(int64_t *)o->value = (int64_t)x;
    return PARSE_RUN;
}

static const option *find_option(const option *table, const char *name, size_t n)
{
    for (; table && table->name; table++)
        if (strlen(table->name) == n && strncmp(table->name, name, n) == 0)
            return table;
    return NULL;
}

static parse_result unknown_option(const usage *u, const option *shared, const char *word, size_t n)
{
    const char *names[64], *near;
    const option *o;
    char name[80];
    size_t count = 0;

    snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), word);
    for (o = u->options; o && o->name && count < COUNT(names); o++)
        names[count++] = o->name;
    for (o = shared; o->name && count < COUNT(names); o++)
        names[count++] = o->name;
    near = nearest(name, names, count);
    if (near)
        fprintf(stderr, "hone: %s: unknown option %s, did you mean %s?\n", u->command, name, near);
    else
        fprintf(stderr, "hone: %s: unknown option %s, see hone %s --help\n", u->command, name, u->command);
    return PARSE_WRONG;
}

/* One word that begins with "--"; *i moves over its value. */
static parse_result parse_option(const usage *u, const option *shared, int argc, char **argv, int *i)
{
    const char *word = argv[*i], *value = strchr(word, '=');
    size_t n = value ? (size_t)(value - word) : strlen(word);
    const option *o = find_option(u->options, word, n);

    if (!o)
        o = find_option(shared, word, n);
    if (!o)
        return unknown_option(u, shared, word, n);
    if (o->kind == OPTION_FLAG) {
        if (value)
            return bad_value(u, o, "%s takes no value", o->name);
    } else if (value) {
        value++;
    } else {
        if (*i + 1 >= argc)
            return bad_value(u, o, "%s needs a value", o->name);
        value = argv[++*i];
    }
    return store(u, o, value);
}

parse_result options_parse(const usage *u, common *c, int argc, char **argv, const char **args, int *n_args)
{
    option shared[7];
    bool plain = false;
    int i;

    common_table(shared, c);
    if (!c->isa)
        c->isa = "auto";
    *n_args = 0;
    for (i = 1; i < argc; i++) {
        parse_result r;

        /* `-` and `-.csv` are standard input */
        if (plain || argv[i][0] != '-' || !argv[i][1] || argv[i][1] == '.') {
            if (*n_args == u->max_args) {
                usage_error(u, "'%s' is one argument too many", argv[i]);
                return PARSE_WRONG;
            }
            args[(*n_args)++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            plain = true;
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(u, shared);
            return PARSE_HELP;
        }
        r = parse_option(u, shared, argc, argv, &i);
        if (r != PARSE_RUN)
            return r;
    }
    if (*n_args < u->min_args) {
        usage_error(u, "an argument is missing");
        return PARSE_WRONG;
    }
    terminal_setup(c->quiet, c->no_color);
    return PARSE_RUN;
}

int parse_exit(parse_result r)
{
    return r == PARSE_HELP ? EXIT_SUCCESS : EXIT_USAGE;
}
