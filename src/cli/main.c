/* The program: one table of commands. See cli.h for what they share. */
#include <locale.h>
#include <string.h>

#include "cli.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} commands[] = {
    {"train", command_train, "Fine-tunes a model as a YAML file says and writes an adapter"},
    {"plan", command_plan, "Shows what a training run will need of memory and steps, without running it"},
    {"report", command_report, "Makes one HTML page about a training run"},
    {"verify", command_verify, "Shows on your model and data that training computes what it should"},
    {"eval", command_eval, "Loss, perplexity and token accuracy of a model, with and without an adapter"},
    {"generate", command_generate, "Answers a prompt, a conversation, or every line of a file"},
    {"chat", command_chat, "Talks with a model in the terminal"},
    {"export", command_export, "Writes a model with its adapter merged in, for other programs"},
    {"tokenize", command_tokenize, "Shows the token ids of a text, or the training mask of a conversation"},
    {"data", command_data, "Finds duplicates and broken rows in data, and writes data without them"},
    {"inspect", command_inspect, "Shows what is in a checkpoint or an adapter"},
    {"bench", command_bench, "Measures a training step against the machine's peak"},
};

static void print_commands(FILE *f)
{
    size_t i;

    fprintf(f, "usage: hone COMMAND [ARGUMENTS]\n\nFine-tunes language models, evaluates them, and talks "
               "with them.\n\n"
               "Commands\n");
    for (i = 0; i < COUNT(commands); i++)
        fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].about);
    fprintf(f, "\n'hone COMMAND --help' lists the options of a command, 'hone train --help-config' the keys "
               "of the YAML "
               "file.\nExit code: 0 done, 1 failed, 2 wrong usage.\n");
}

static const struct command *find_command(const char *name)
{
    size_t i;

    for (i = 0; i < COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[COUNT(commands)], *near;
    size_t i;

    for (i = 0; i < COUNT(commands); i++)
        names[i] = commands[i].name;
    near = nearest(name, names, COUNT(names));
    if (near)
        fprintf(stderr, "hone: unknown command '%s', did you mean '%s'?\n", name, near);
    else
        fprintf(stderr, "hone: unknown command '%s', see 'hone help'\n", name);
    return EXIT_USAGE;
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct command *c;
    bool help;

    if (!name) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        puts("hone " HONE_VERSION);
        return EXIT_SUCCESS;
    }
    help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2)) {
        print_commands(stdout);
        return EXIT_SUCCESS;
    }
    if (help)
        name = argv[2];
    c = find_command(name);
    if (!c)
        return unknown_command(name);
    if (help) {
        char *words[] = {argv[2], (char[]){"--help"}, NULL};

        return c->run(2, words);
    }
    return c->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    /* Character types only: numbers keep their point. The line editor needs a UTF-8 locale to edit Chinese. */
    const char *locale = setlocale(LC_CTYPE, "");

    if (!locale || strcmp(locale, "C") == 0 || strcmp(locale, "POSIX") == 0)
        setlocale(LC_CTYPE, "C.UTF-8");
    return output_finish(run(argc, argv));
}
