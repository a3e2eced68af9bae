/* Any bytes as quality rules and a row: what stands before the first line `---` is a file of rules, the next line a
 * question, the rest its answer. Rules are refused with a message, or the row goes through all of them: what is found
 * lies within its message, and a second run finds the same. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/quality.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(quality *q, const char *question, size_t n_question, const char *answer,
                      size_t n_answer)
{
    static const uint8_t trained[] = {0, 1};
    json_t *asked = json_stringn(question, n_question), *answered = json_stringn(answer, n_answer);
    json_t *root = asked && answered ? json_pack("{s:[{s:s,s:O},{s:s,s:O}]}", "messages", "role", "user",
                                                 "content", asked, "role", "assistant", "content", answered)
                                     : NULL;
    quality_row row = {.root = root, .trained = trained, .n_messages = 2, .task = "t"};
    quality_findings found = {0};
    quality_scratch *s = NULL;
    char block[64] = {0};
    size_t first = 0, i, round, len[2] = {n_question, n_answer};

    for (round = 0; root && round < 2; round++) {
        hone_error err = HONE_ERROR_INIT;

        found.n = 0;
        if ((!s && quality_scratch_new(&s, q, &err)) || quality_check(q, s, &row, &found, block, &err))
            abort();
        for (i = 0; i < found.n; i++)
            if (found.item[i].message > 1 || found.item[i].begin > found.item[i].end ||
                found.item[i].end > len[found.item[i].message])
                abort();
        if (round && found.n != first)
            abort();
        first = found.n;
    }
    quality_scratch_free(s);
    hone_free(found.item);
    json_decref(root);
    json_decref(asked);
    json_decref(answered);
}

/* The built-in rules alone are opened once, and kept. */
static quality *builtin;

static void close_builtin(void)
{
    quality_close(builtin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *rest = memmem(text, size, "\n---\n", 5), *line;
    hone_quality_options o = {.enabled = true};
    hone_error err = HONE_ERROR_INIT;
    char path[100];
    const char *rules = path;
    quality *q = NULL;
    size_t n_rules = rest ? (size_t)(rest - text) + 1 : 0, left;
    int fd, rc;

    rest = rest ? rest + 5 : text;
    left = size - (size_t)(rest - text);
    snprintf(path, sizeof path, "/dev/shm/hone_fuzz_%ld.rules.yaml", (long)getpid());
    if (n_rules) {
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || write(fd, text, n_rules) != (ssize_t)n_rules)
            return 0;
        close(fd);
        o.rules = &rules;
        o.n_rules = 1;
    }
    if (!n_rules && builtin) {
        q = builtin;
        rc = 0;
    } else {
        rc = quality_open(&q, &o, &err);
    }
    if (!n_rules && !builtin) {
        builtin = q;
        atexit(close_builtin);
    }
    if (rc != err.code || (rc && !err.message[0]))
        abort();
    if (!rc) {
        line = memchr(rest, '\n', left);
        if (line)
            check_row(q, rest, (size_t)(line - rest), line + 1, left - (size_t)(line + 1 - rest));
        else
            check_row(q, "", 0, rest, left);
    }
    if (q != builtin)
        quality_close(q);
    if (n_rules)
        unlink(path);
    return 0;
}
