/* The label of a row: its field, or what a regular expression's first group finds in the answer, or the first of a list of
 * words that the answer holds (of several that begin at one place, the longest). The answer is that of the last trained
 * turn. */
#include <string.h>

#include "data/quality_impl.h"

#define LABEL_BYTES 200

static int read_words(label_source *l, words *w, const char *path, hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    char *text = NULL, *p, *end;
    size_t len, line = 1;
    int rc = hone_file_read(&text, &len, path, (size_t)16 << 20, err);

    for (p = text; !rc && p < text + len; p = end + 1, line++) {
        bool first = true;

        end = memchr(p, '\n', (size_t)(text + len - p));
        end = end ? end : text + len;
        if (*p == '#')
            continue;
        while (!rc && p < end) {
            char *stop = p;

            while (stop < end && *stop != '\t' && *stop != ',' &&
                   memcmp(stop, "，", HONE_MIN((size_t)(end - stop), 3)))
                stop++;
            while (p < stop && *p == ' ')
                p++;
            if (stop > p) {
                char *last = stop;
                char *word;

                while (last > p && (last[-1] == ' ' || last[-1] == '\r'))
                    last--;
                word = hone_strndup(p, (size_t)(last - p));
                if (!word)
                    rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
                if (!rc && first && *word)
                    rc = texts_add(&l->label, word, strlen(word), err);
                if (!rc && *word) {
                    rc = words_add(w, l->set, (uint32_t)(l->label.n - 1), word, &inner);
                    if (rc)
                        rc = hone_error_set(err, rc, "%s:%zu: %s", path, line, inner.message);
                    first = false;
                }
                hone_free(word);
            }
            p = stop < end ? stop + (*stop == '\t' || *stop == ',' ? 1 : 3) : end;
        }
    }
    hone_free(text);
    if (!rc && !l->label.n)
        rc = hone_error_set(err, HONE_EFORMAT, "%s: no labels in this file", path);
    return rc;
}

int label_source_open(label_source *l, words *w, uint16_t set, const hone_quality_options *o, hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    uint32_t groups;
    int rc = 0;

    if (o->label_pattern) {
        rc = regex_compile(&l->pattern, o->label_pattern, false, &groups, &inner);
        if (!rc && !groups)
            rc = hone_error_set(&inner, HONE_EINVAL, "the pattern has no group, `(...)`, for the label");
        if (rc)
            return hone_error_set(err, rc, "data.label.pattern: %s", inner.message);
    }
    if (o->label_words) {
        l->set = set;
        rc = read_words(l, w, o->label_words, err);
    }
    return rc;
}

void label_source_close(label_source *l)
{
    regex_free(l->pattern);
    texts_clear(&l->label);
}

/* The answer whose label counts. */
static const json_t *answer_of(const quality_row *row)
{
    const json_t *list = json_object_get(row->root, "messages");
    size_t i;

    for (i = HONE_MIN(row->n_messages, json_array_size(list)); i-- > 0;)
        if (row->trained[i])
            return json_object_get(json_array_get(list, i), "content");
    return json_object_get(row->root, "text");
}

static const char *by_pattern(const quality *q, quality_scratch *s, const json_t *answer)
{
    size_t begin, end;
    const char *text = json_string_value(answer);

    if (regex_find(q->label.pattern, s->work, text, json_string_length(answer), 0, 1, &begin, &end) != 1)
        return NULL;
    while (begin < end && (text[begin] == ' ' || text[begin] == '\n'))
        begin++;
    while (end > begin && (text[end - 1] == ' ' || text[end - 1] == '\n'))
        end--;
    if (end == begin || end - begin > LABEL_BYTES)
        return NULL;
    s->label.len = 0;
    hone_buf_add(&s->label, text + begin, end - begin);
    s->failed |= s->label.failed;
    return s->label.failed ? NULL : s->label.data;
}

static const char *by_words(const quality *q, quality_scratch *s, const json_t *answer)
{
    hone_error ignored = HONE_ERROR_INIT;
    text_scan *scan = &s->label_scan;
    const word_hit *best = NULL;
    size_t i;

    if (text_scan_run(scan, q->table, json_string_value(answer), json_string_length(answer), &ignored) ||
        words_find(q->words, scan, &ignored)) {
        s->failed = true;
        return NULL;
    }
    for (i = 0; i < scan->n_hits; i++) {
        const word_hit *h = &scan->hit[i];

        if (h->set == q->label.set && (!best || (h->begin == best->begin && h->end > best->end)))
            best = h;
        else if (best && h->begin > best->begin)
            break;
    }
    return best ? q->label.label.item[best->word] : NULL;
}

const char *quality_label(const quality *q, quality_scratch *s, const quality_row *row)
{
    const json_t *answer;
    const char *label = NULL;

    if (row->label || (!q->label.pattern && !q->label.set))
        return row->label;
    answer = answer_of(row);
    if (!answer)
        return NULL;
    if (q->label.pattern)
        label = by_pattern(q, s, answer);
    if (!label && q->label.set)
        label = by_words(q, s, answer);
    return label;
}
