/* Scores of conversations by a model, as JSON lines: what the live comparison with transformers reads.
 *
 *   hone_scores_driver MODEL ROWS.jsonl [MAX_LENGTH [BATCH_TOKENS]]
 *
 * ROWS.jsonl: a conversation a line. Prints {name: score or null} a line, in f32. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "hone/hone.h"

static void note(void *ud, const char *line)
{
    (void)ud;
    fprintf(stderr, "note: %s\n", line);
}

/* Lines of text as pointers into it; the list has room for one a byte. */
static size_t cut_lines(char *text, const char **line, size_t *len)
{
    size_t n = 0;
    char *p = text, *end;

    for (; *p; p = end + (*end != 0)) {
        end = p + strcspn(p, "\n");
        line[n] = p;
        len[n++] = (size_t)(end - p);
    }
    return n;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"perplexity", "perplexity_alone", "ifd", "unscored"};
    hone_device_params dp = hone_device_default();
    hone_scorer_params p = {
        .open.precision = HONE_PRECISION_F32, .name = names, .n = HONE_COUNT(names), .note = note};
    hone_scorer s = {0};
    hone_device *dev = NULL;
    hone_error err = HONE_ERROR_INIT;
    const char **line = NULL;
    size_t *len = NULL, size, n = 0, i, k;
    double *out = NULL;
    char *text = NULL;
    int rc;

    if (argc < 3) {
        fprintf(stderr, "usage: hone_scores_driver MODEL ROWS.jsonl [MAX_LENGTH [BATCH_TOKENS]]\n");
        return 2;
    }
    p.model = argv[1];
    p.max_length = argc > 3 ? (int32_t)strtol(argv[3], NULL, 10) : 0;
    p.batch_tokens = argc > 4 ? (int32_t)strtol(argv[4], NULL, 10) : 0;
    rc = hone_file_read(&text, &size, argv[2], (size_t)1 << 30, &err);
    if (!rc) {
        line = calloc(size + 1, sizeof *line);
        len = calloc(size + 1, sizeof *len);
        if (!line || !len)
            return 1;
        n = cut_lines(text, line, len);
        out = calloc(n + 1, HONE_COUNT(names) * sizeof *out);
        if (!out)
            return 1;
    }
    if (!rc)
        rc = hone_device_open(&dev, &dp, &err);
    if (!rc)
        rc = hone_scorer_open(&s, dev, &p, &err);
    if (!rc)
        rc = s.score(s.ud, line, len, n, out, &err);
    for (i = 0; !rc && i < n; i++)
        for (k = 0; k < s.n; k++) {
            double x = out[i * s.n + k];

            printf("%s\"%s\": ", k ? ", " : "{", s.name[k]);
            if (isnan(x))
                printf("null");
            else
                printf("%.9g", x);
            if (k + 1 == s.n)
                printf("}\n");
        }
    if (rc)
        fprintf(stderr, "%s\n", err.message);
    hone_scorer_close(&s);
    hone_device_close(dev);
    free(line);
    free(len);
    free(out);
    hone_free(text);
    return rc ? 1 : 0;
}
