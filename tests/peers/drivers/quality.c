/* What the quality rules find: hone_quality_driver [--rules F] [--set R.P=V] [--only RULE] [--label-pattern P]
 * [--label-words F] [--repeat N] FILE... prints one JSON line a finding and, at the end, the time of the rules alone. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "data/quality.h"

static int put(const quality *q, const quality_finding *f, uint64_t row, uint64_t other)
{
    quality_rule_info info = quality_rule(q, f->rule);
    json_t *v = json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:s}", "rule", info.name, "severity", info.severity,
                          "row", row == UINT64_MAX ? (json_int_t)-1 : (json_int_t)row, "message",
                          f->message == UINT32_MAX ? (json_int_t)-1 : (json_int_t)f->message, "begin",
                          (json_int_t)f->begin, "end", (json_int_t)f->end, "detail", f->detail);

    if (v && other != UINT64_MAX)
        json_object_set_new(v, "other", json_integer((json_int_t)other));
    if (!v || json_dumpf(v, stdout, JSON_COMPACT))
        return 1;
    putchar('\n');
    json_decref(v);
    return 0;
}

static int check_all(quality *q, const char *const *paths, size_t n, int repeat, double *seconds,
                     uint64_t *rows, hone_error *err)
{
    hone_rows_options options = {.keep_going = true};
    quality_findings found = {0};
    quality_scratch *scratch = NULL;
    hone_rows *r = NULL;
    hone_row row;
    char digest[64];
    size_t i;
    int rc = hone_rows_open(&r, paths, n, &options, err), k;

    if (!rc)
        rc = quality_scratch_new(&scratch, q, err);
    while (!rc && (rc = hone_rows_next(r, &row, err)) == 1) {
        json_t *root = row.refused ? NULL : json_loadb(row.conversation, row.len, 0, NULL);
        quality_row view = {.root = root,
                            .trained = row.trained,
                            .n_messages = row.n_messages,
                            .task = row.task,
                            .label = row.label,
                            .row = row.index};
        double start = hone_now();

        rc = 0;
        found.n = 0;
        for (k = 0; root && !rc && k < repeat; k++) {
            found.n = 0;
            rc = quality_check(q, scratch, &view, &found, digest, err);
        }
        *seconds += hone_now() - start;
        ++*rows;
        for (i = 0; !rc && i < found.n; i++)
            rc = put(q, &found.item[i], row.index, UINT64_MAX);
        if (root && !rc)
            rc = quality_observe(q, row.index, digest, err);
        json_decref(root);
    }
    hone_free(found.item);
    quality_scratch_free(scratch);
    hone_rows_close(r);
    return rc;
}

int main(int argc, char **argv)
{
    const char *rules[16], *set[64], *only[64], *path[64];
    hone_quality_options o = {.enabled = true, .rules = rules, .set = set, .only = only};
    const quality_corpus_finding *corpus;
    hone_error err = HONE_ERROR_INIT;
    quality *q = NULL;
    double seconds = 0;
    uint64_t rows = 0;
    size_t n = 0, n_corpus = 0, i;
    int rc, k, repeat = 1;

    for (k = 1; k < argc && n < 64; k++) {
        bool more = k + 1 < argc;

        if (!strcmp(argv[k], "--rules") && more && o.n_rules < 16)
            rules[o.n_rules++] = argv[++k];
        else if (!strcmp(argv[k], "--set") && more && o.n_set < 64)
            set[o.n_set++] = argv[++k];
        else if (!strcmp(argv[k], "--only") && more && o.n_only < 64)
            only[o.n_only++] = argv[++k];
        else if (!strcmp(argv[k], "--label-pattern") && more)
            o.label_pattern = argv[++k];
        else if (!strcmp(argv[k], "--label-words") && more)
            o.label_words = argv[++k];
        else if (!strcmp(argv[k], "--repeat") && more)
            repeat = (int)strtol(argv[++k], NULL, 10);
        else
            path[n++] = argv[k];
    }
    rc = quality_open(&q, &o, &err);
    if (!rc)
        rc = check_all(q, path, n, repeat, &seconds, &rows, &err);
    if (!rc)
        rc = quality_finish(q, &corpus, &n_corpus, &err);
    for (i = 0; !rc && i < n_corpus; i++)
        rc = put(q, &corpus[i].finding, corpus[i].row, corpus[i].other_row);
    if (!rc)
        printf("{\"rows\":%llu,\"seconds\":%.6f}\n", (unsigned long long)rows, seconds / repeat);
    else
        fprintf(stderr, "%s\n", err.message);
    quality_close(q);
    return rc != 0;
}
