/* Opening the rules, and one row through all of them.
 *
 * Every message that some rule looks at is scanned once; then each rule looks at the scan. Which rules look at which
 * messages:
 *   answer    trained turns of the assistant, and plain text where the rule's kind has a meaning for it
 *   question  turns of the user; system, tool likewise; all: every turn
 * Findings come in the order of the rules, then of the messages. */
#include <stdlib.h>
#include <string.h>

#include "data/quality_impl.h"

extern const char quality_builtin[];

const char *hone_quality_rules(void)
{
    return quality_builtin;
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static int open_words(quality *q, rule *r, const texts *list, uint16_t *set, hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    size_t i;
    int rc = 0;

    if (!list->n || r->kind->own_words)
        return 0;
    *set = q->n_sets++;
    for (i = 0; !rc && i < list->n; i++)
        rc = words_add(q->words, *set, (uint32_t)i, list->item[i], &inner);
    return rc ? rule_wrong(r, rc, err, "%s", inner.message) : 0;
}

/* The words of a file: one a line, `#` begins a comment line. */
static int read_words(rule *r, hone_error *err)
{
    char *text = NULL, *p, *end;
    size_t len;
    int rc;

    if (!r->p.file || r->kind->row != words_row)
        return 0;
    rc = hone_file_read(&text, &len, r->p.file, (size_t)16 << 20, err);
    for (p = text; !rc && p < text + len; p = end + 1) {
        size_t n;

        end = memchr(p, '\n', (size_t)(text + len - p));
        end = end ? end : text + len;
        for (n = (size_t)(end - p); n && (p[n - 1] == '\r' || p[n - 1] == ' ');)
            n--;
        if (n && *p != '#')
            rc = texts_add(&r->p.words, p, n, err);
    }
    hone_free(text);
    return rc;
}

static int open_rule(quality *q, rule *r, hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    size_t i;
    int rc = read_words(r, err);

    if (!rc)
        rc = open_words(q, r, &r->p.words, &r->set, err);
    if (!rc && r->p.patterns.n) {
        r->regex = hone_calloc(r->p.patterns.n, sizeof *r->regex);
        if (!r->regex)
            return hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    for (i = 0; !rc && i < r->p.patterns.n; i++) {
        rc = regex_compile(&r->regex[i], r->p.patterns.item[i], r->p.ignore_case, NULL, &inner);
        if (rc)
            rc = rule_wrong(r, rc, err, "%s", inner.message);
    }
    if (!rc && r->kind->open)
        rc = r->kind->open(q, r, err);
    return rc;
}

int quality_open(quality **out, const hone_quality_options *o, hone_error *err)
{
    quality *q = hone_calloc(1, sizeof *q);
    size_t i;
    int rc;

    *out = NULL;
    if (!q)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    q->n_sets = 1; /* 0: none */
    q->table = hone_alloc(0x10000);
    rc = q->table ? words_new(&q->words, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (!rc)
        rc = names_open(&q->names, err);
    if (!rc) {
        char_table_make(q->table);
        rc = rules_read(q, o, err);
    }
    for (i = 0; !rc && i < q->n_rules; i++) {
        rule *r = &q->rule[i];

        r->index = (uint32_t)i;
        if (!r->enabled)
            continue;
        q->corpus |= r->kind->corpus;
        rc = open_rule(q, r, err);
    }
    if (!rc)
        rc = label_source_open(&q->label, q->words, q->n_sets++, o, err);
    if (rc)
        quality_close(q);
    else
        *out = q;
    return rc;
}

void quality_close(quality *q)
{
    size_t i;

    if (!q)
        return;
    for (i = 0; i < q->n_rules; i++)
        rule_clear(&q->rule[i]);
    hone_free(q->rule);
    hone_free(q->table);
    words_free(q->words);
    label_source_close(&q->label);
    names_close(q->names);
    hone_free(q->seen);
    hone_free(q->found);
    hone_free(q);
}

size_t quality_n_rules(const quality *q)
{
    return q->n_rules;
}

quality_rule_info quality_rule(const quality *q, size_t i)
{
    const rule *r = &q->rule[i];

    return (quality_rule_info){
        .name = r->name,
        .title = {r->title[0], r->title[1]},
        .explain = {r->explain[0] ? r->explain[0] : "", r->explain[1] ? r->explain[1] : ""},
        .action = r->action,
        .severity = r->severity,
        .corpus = r->kind->corpus};
}

size_t quality_digest_size(const quality *q)
{
    (void)q;
    return sizeof(digest);
}

/* ---- scratch -------------------------------------------------------------------------------------------------------- */

int quality_scratch_new(quality_scratch **out, const quality *q, hone_error *err)
{
    quality_scratch *s = hone_calloc(1, sizeof *s);
    int rc;

    (void)q;
    *out = NULL;
    if (!s)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    rc = regex_work_new(&s->work, err);
    if (rc)
        quality_scratch_free(s);
    else
        *out = s;
    return rc;
}

void quality_scratch_free(quality_scratch *s)
{
    size_t i;

    if (!s)
        return;
    for (i = 0; i < HONE_COUNT(s->scan); i++)
        text_scan_clear(&s->scan[i]);
    regex_work_free(s->work);
    hone_free(s->slot);
    hone_buf_clear(&s->label);
    text_scan_clear(&s->label_scan);
    hone_free(s);
}

int scratch_table(quality_scratch *s, size_t n, hone_error *err)
{
    size_t want = s->n_slots ? s->n_slots : 1024;

    while (want < 2 * n)
        want *= 2;
    if (want > s->n_slots) {
        hone_free(s->slot);
        s->slot = hone_calloc(want, sizeof *s->slot);
        s->n_slots = s->slot ? want : 0;
        s->stamp = 0;
        if (!s->slot)
            return hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    if (++s->stamp == 0) {
        memset(s->slot, 0, s->n_slots * sizeof *s->slot);
        s->stamp = 1;
    }
    return 0;
}

/* ---- findings ------------------------------------------------------------------------------------------------------- */

/* Whether `pattern` stands in the text; a match that takes too many steps counts as none. */
static bool text_has(const check *c, const regex *pattern, const text_scan *s)
{
    size_t begin, end;

    return s && regex_find(pattern, c->s->work, s->text, s->len, 0, 0, &begin, &end) == 1;
}

static bool is_one_of(const texts *t, const char *name)
{
    size_t i;

    for (i = 0; name && i < t->n; i++)
        if (!strcmp(t->item[i], name))
            return true;
    return false;
}

static bool conditions_hold(check *c, const rule *r)
{
    const rule_when *w = &r->when;

    if (!w->any)
        return true;
    if (w->label.n && !c->label_known) {
        c->label = quality_label(c->q, c->s, c->row);
        c->label_known = true;
    }
    return !(w->task.n && !is_one_of(&w->task, c->row->task)) &&
           !(w->label.n && !is_one_of(&w->label, c->label)) &&
           !(w->question && !text_has(c, w->question, c->question)) &&
           !(w->not_question && text_has(c, w->not_question, c->question)) &&
           !(w->answer && !text_has(c, w->answer, c->text)) &&
           !(w->not_answer && text_has(c, w->not_answer, c->text));
}

void detail_format(char out[120], const char *format, va_list args)
{
    char text[800];
    size_t i, n = 0, len;
    int wanted = vsnprintf(text, sizeof text, format, args);

    len = HONE_MIN((size_t)HONE_MAX(wanted, 0), sizeof text - 1);
    for (i = 0; i < len;) {
        int32_t cp;
        size_t step = hone_utf8_get(text + i, len - i, &cp);

        if (n + step > 119)
            break;
        if (cp >= 0) {
            memcpy(out + n, text + i, step);
            n += step;
        }
        i += step;
    }
    out[n] = 0;
}

int check_found(check *c, rule *r, uint32_t begin, uint32_t end, const char *format, ...)
{
    quality_findings *out = c->out;
    quality_finding f = {.rule = r->index, .message = c->message};
    va_list args;

    if (!conditions_hold(c, r))
        return 0;
    if (begin < end && end <= c->text->n) {
        f.begin = c->text->at[begin];
        f.end = c->text->at[end];
    }
    va_start(args, format);
    detail_format(f.detail, format, args);
    va_end(args);
    out->item = hone_grow(out->item, &out->capacity, out->n + 1, sizeof *out->item);
    if (out->n == out->capacity)
        return hone_error_set(c->err, HONE_ENOMEM, "out of memory");
    out->item[out->n++] = f;
    return 0;
}

const char *check_quote(char out[100], const text_scan *s, uint32_t begin, uint32_t end)
{
    size_t n = 0;
    uint32_t i;

    out[n++] = '`';
    for (i = begin; i < end && i < s->n; i++) {
        size_t len = s->at[i + 1] - s->at[i];
        unsigned class = scan_class(s, i);

        if (n + len > 90) {
            memcpy(out + n, "…", 3);
            n += 3;
            break;
        }
        if (class == CHAR_NEWLINE || class == CHAR_CONTROL || class == CHAR_SPACE)
            out[n++] = ' ';
        else {
            memcpy(out + n, s->text + s->at[i], len);
            n += len;
        }
    }
    out[n++] = '`';
    out[n] = 0;
    return out;
}

/* ---- one row -------------------------------------------------------------------------------------------------------- */

enum role { ROLE_USER, ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_TOOL, ROLE_PLAIN };

static enum role role_of(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));

    if (!role || !strcmp(role, "user"))
        return ROLE_USER;
    if (!strcmp(role, "assistant"))
        return ROLE_ASSISTANT;
    return !strcmp(role, "system") || !strcmp(role, "developer") ? ROLE_SYSTEM : ROLE_TOOL;
}

static bool looks_at(const rule *r, enum role role, bool trained)
{
    switch (role) {
    case ROLE_PLAIN:
        return r->kind->plain && (r->on == ON_ALL || r->on == ON_ANSWER);
    case ROLE_ASSISTANT:
        return r->on == ON_ALL || (r->on == ON_ANSWER && trained);
    case ROLE_USER:
        return r->on == ON_ALL || r->on == ON_QUESTION;
    case ROLE_SYSTEM:
        return r->on == ON_ALL || r->on == ON_SYSTEM;
    case ROLE_TOOL:
        return r->on == ON_ALL || r->on == ON_TOOL;
    }
    return false;
}

static int scan_text(check *c, text_scan *scan, const json_t *text)
{
    int rc = text_scan_run(scan, c->q->table, text ? json_string_value(text) : "", json_string_length(text),
                           c->err);

    return rc ? rc : words_find(c->q->words, scan, c->err);
}

static int apply_rules(check *c, enum role role, bool trained, bool calls)
{
    const quality *q = c->q;
    size_t i;
    int rc = 0;

    for (i = 0; !rc && i < q->n_rules; i++) {
        rule *r = &q->rule[i];

        if (r->enabled && r->kind->row && looks_at(r, role, trained) && !(calls && !c->text->n))
            rc = r->kind->row(c, r);
    }
    return rc;
}

static int by_rule(const void *a, const void *b)
{
    const quality_finding *x = a, *y = b;

    if (x->rule != y->rule)
        return x->rule < y->rule ? -1 : 1;
    if (x->message != y->message)
        return x->message < y->message ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Two scans are in use, the last question's and the present text's. */
static int check_messages(check *c, digest_maker *maker)
{
    const json_t *list = json_object_get(c->row->root, "messages");
    size_t i, n = HONE_MIN(json_array_size(list), c->row->n_messages), at = 0;
    int rc = 0;

    for (i = 0; !rc && i < n; i++) {
        const json_t *m = json_array_get(list, i);
        enum role role = role_of(m);
        text_scan *scan = &c->s->scan[at];

        rc = scan_text(c, scan, json_object_get(m, "content"));
        if (rc)
            break;
        c->text = scan;
        c->message = (uint32_t)i;
        c->turns += role == ROLE_USER;
        rc = apply_rules(c, role, c->row->trained[i], json_object_get(m, "tool_calls") != NULL);
        if (!rc && maker)
            rc = digest_message(maker, c, (int)role, role == ROLE_ASSISTANT && c->row->trained[i]);
        if (role == ROLE_USER) {
            c->question = scan;
            at = 1 - at;
        }
    }
    return rc;
}

int quality_check(const quality *q, quality_scratch *s, const quality_row *row, quality_findings *out,
                  void *digest_out, hone_error *err)
{
    check c = {.q = q, .s = s, .row = row, .out = out, .err = err};
    digest_maker maker = {0};
    const json_t *text = json_object_get(row->root, "text");
    size_t before = out->n;
    int rc;

    if (digest_out)
        memset(digest_out, 0, sizeof(digest));
    if (text) {
        rc = scan_text(&c, &s->scan[0], text);
        c.text = &s->scan[0];
        if (!rc)
            rc = apply_rules(&c, ROLE_PLAIN, true, false);
        if (!rc && digest_out && q->corpus)
            rc = digest_message(&maker, &c, ROLE_PLAIN, true);
    } else {
        rc = check_messages(&c, digest_out && q->corpus ? &maker : NULL);
    }
    if (!rc && digest_out && q->corpus)
        rc = digest_finish(&maker, &c, digest_out);
    if (!rc && out->n - before > 1)
        qsort(out->item + before, out->n - before, sizeof *out->item, by_rule);
    if (!rc && s->failed)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for a label");
    return rc;
}
