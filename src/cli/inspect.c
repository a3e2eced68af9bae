/* hone inspect: the library makes one JSON document; here it becomes lines. Arrays of objects are tables. */
#include <string.h>

#include "cli.h"

static void print_scalar(json_t *v)
{
    if (json_is_string(v))
        fputs(json_string_value(v), stdout);
    else if (json_is_integer(v))
        printf("%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        printf("%.9g", json_real_value(v));
    else
        fputs(json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-", stdout);
}

static bool is_scalar(json_t *v)
{
    return !json_is_object(v) && !json_is_array(v);
}

/* An array of scalars on one line: a shape as 576 x 1536, anything else with commas. */
static void print_list(const char *key, json_t *list)
{
    const char *between = strcmp(key, "shape") == 0 ? " x " : ", ";
    size_t i, n = json_array_size(list);

    for (i = 0; i < n; i++) {
        if (i)
            fputs(between, stdout);
        print_scalar(json_array_get(list, i));
    }
}

/* The width of a table's first column. */
static int name_width(json_t *table)
{
    size_t i, widest = 0;

    for (i = 0; i < json_array_size(table); i++) {
        const char *name =
            json_string_value(json_object_iter_value(json_object_iter(json_array_get(table, i))));
        size_t n = name ? strlen(name) : 0;

        widest = n > widest ? n : widest;
    }
    return widest < 100 ? (int)widest : 100;
}

/* One object of an array: its values side by side; the first is the name. */
static void print_table_row(json_t *object, int indent, int width)
{
    const char *key;
    json_t *v;
    bool first = true;

    printf("%*s", indent, "");
    json_object_foreach(object, key, v)
    {
        if (first && json_is_string(v)) {
            printf("%-*s", width, json_string_value(v));
        } else {
            fputs("  ", stdout);
            if (is_scalar(v))
                print_scalar(v);
            else if (json_is_array(v))
                print_list(key, v);
        }
        first = false;
    }
    putchar('\n');
}

static void print_object(json_t *object, int indent)
{
    const char *key;
    json_t *v;
    size_t i;

    json_object_foreach(object, key, v)
    {
        printf("%*s%s:", indent, "", key);
        if (is_scalar(v)) {
            putchar(' ');
            print_scalar(v);
            putchar('\n');
        } else if (json_is_object(v)) {
            putchar('\n');
            print_object(v, indent + 2);
        } else if (json_is_object(json_array_get(v, 0))) {
            int width = name_width(v);

            printf(" %zu\n", json_array_size(v));
            for (i = 0; i < json_array_size(v); i++)
                print_table_row(json_array_get(v, i), indent + 2, width);
        } else {
            putchar(' ');
            print_list(key, v);
            putchar('\n');
        }
    }
}

int command_inspect(int argc, char **argv)
{
    common c = {0};
    bool json = false, tensors = false;
    const option options[] = {
        {.name = "--tensors",
         .kind = OPTION_FLAG,
         .value = &tensors,
         .help = "Lists every tensor with type, shape and bytes (the JSON document always does)."},
        JSON_OPTION(json),
        {0}};
    const usage u = {
        "inspect",
        "PATH [OPTIONS]",
        "Shows what is in a GGUF file, a Hugging Face directory, a safetensors file or a PEFT adapter: "
        "architecture, sizes, types, tensors.",
        options,
        1,
        1};
    hone_error err = HONE_ERROR_INIT;
    const char *path;
    char *text = NULL;
    json_t *doc;
    parse_result r;
    int n;

    r = options_parse(&u, &c, argc, argv, &path, &n);
    if (r != PARSE_RUN)
        return parse_exit(r);
    if (hone_inspect(&text, path, &err))
        return fail_with(&err);
    doc = json_loads(text, JSON_ALLOW_NUL, NULL);
    hone_free(text);
    if (json || !doc)
        return json_print(doc);
    if (!tensors && json_object_get(doc, "tensors"))
        json_object_set_new(doc, "tensors",
                            json_integer((json_int_t)json_array_size(json_object_get(doc, "tensors"))));
    print_object(doc, 0);
    json_decref(doc);
    return EXIT_SUCCESS;
}
