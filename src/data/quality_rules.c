/* From YAML to rules. A file is a mapping `rules:` of names to rules; a rule is a mapping of parameters. The first time a
 * name stands in any file it needs its `kind`; later files (and `rule.parameter=value` texts) change parameters of the
 * rule of that name. Whatever is not known (a rule, a parameter, a kind, a choice) is an error with its file and line and
 * the nearest known name. */
#include <math.h>
#include <string.h>

#include "data/quality_impl.h"

extern const char quality_builtin[];

#define BUILTIN_NAME "built-in rules"
#define P(field) offsetof(rule_params, field)
#define END                                                                                                  \
    {                                                                                                        \
        0                                                                                                    \
    }
#define UNLIMITED 1e15

static const char *const find_unfinished[] = {"fence", "json",        "bracket", "quote", "list",
                                              "comma", "conjunction", "no_mark", NULL};
static const char *const find_encoding[] = {"replacement", "latin1", "gbk", "private",
                                            "control",     "hidden", NULL};
static const char *const find_personal[] = {"id_card", "mobile", "email", "bank_card", "ip", NULL};
static const char *const length_units[] = {"characters", "tokens", "bytes", NULL};
static const char *const ratio_of[] = {"punctuation", "digits", "letters", "han",    "latin",
                                       "symbols",     "spaces", "code",    "answer", NULL};
static const char *const parts[] = {"sentence", "clause", NULL};
static const char *const languages[] = {"question", "zh",         "en",          "ja", "ko", "ru",
                                        "fr",       "de",         "es",          "pt", "it", "ar",
                                        "th",       "simplified", "traditional", NULL};

static const rule_param pattern_params[] = {
    {"patterns", PARAM_TEXTS, P(patterns), 0, 0, 0, NULL},
    {"words", PARAM_TEXTS, P(words), 0, 0, 0, NULL},   /* only where one of these stands */
    {"except", PARAM_TEXTS, P(except), 0, 0, 0, NULL}, /* not a match that is one of these */
    {"code", PARAM_BOOL, P(code), 1, 0, 0, NULL},      /* matches inside of code count */
    {"ignore_case", PARAM_BOOL, P(ignore_case), 1, 0, 0, NULL},
    {"times", PARAM_INTEGER, P(times), 1, 1, UNLIMITED, NULL},
    {"within", PARAM_INTEGER, P(within), 0, 0, UNLIMITED, NULL},
    {"max", PARAM_INTEGER, P(max), 0, 0, UNLIMITED, NULL},
    END};
static const rule_param words_params[] = {{"words", PARAM_TEXTS, P(words), 0, 0, 0, NULL},
                                          {"file", PARAM_FILE, P(file), 0, 0, 0, NULL},
                                          {"times", PARAM_INTEGER, P(times), 1, 1, UNLIMITED, NULL},
                                          {"within", PARAM_INTEGER, P(within), 0, 0, UNLIMITED, NULL},
                                          {"max", PARAM_INTEGER, P(max), 0, 0, UNLIMITED, NULL},
                                          END};
static const rule_param require_params[] = {{"patterns", PARAM_TEXTS, P(patterns), 0, 0, 0, NULL},
                                            {"words", PARAM_TEXTS, P(words), 0, 0, 0, NULL},
                                            {"all", PARAM_BOOL, P(all), 1, 0, 0, NULL},
                                            {"ignore_case", PARAM_BOOL, P(ignore_case), 1, 0, 0, NULL},
                                            END};
static const rule_param length_params[] = {{"min", PARAM_INTEGER, P(min), 0, 0, UNLIMITED, NULL},
                                           {"max", PARAM_INTEGER, P(max), 0, 0, UNLIMITED, NULL},
                                           {"unit", PARAM_CHOICE, P(choice), 0, 0, 0, length_units},
                                           END};
static const rule_param ratio_params[] = {{"of", PARAM_CHOICE, P(choice), 0, 0, 0, ratio_of},
                                          {"low", PARAM_NUMBER, P(low), 0, 0, UNLIMITED, NULL},
                                          {"high", PARAM_NUMBER, P(high), UNLIMITED, 0, UNLIMITED, NULL},
                                          {"min", PARAM_INTEGER, P(min), 20, 0, UNLIMITED, NULL},
                                          END};
static const rule_param sentences_params[] = {{"patterns", PARAM_TEXTS, P(patterns), 0, 0, 0, NULL},
                                              {"words", PARAM_TEXTS, P(words), 0, 0, 0, NULL},
                                              {"ignore_case", PARAM_BOOL, P(ignore_case), 1, 0, 0, NULL},
                                              {"by", PARAM_CHOICE, P(choice), 0, 0, 0, parts},
                                              {"share", PARAM_NUMBER, P(share), 0.5, 0, 1, NULL},
                                              {"times", PARAM_INTEGER, P(times), 1, 1, UNLIMITED, NULL},
                                              END};
static const rule_param run_params[] = {{"times", PARAM_INTEGER, P(times), 20, 2, UNLIMITED, NULL},
                                        {"except", PARAM_TEXTS, P(except), 0, 0, 0, NULL},
                                        END};
static const rule_param loop_params[] = {{"times", PARAM_INTEGER, P(times), 4, 2, UNLIMITED, NULL},
                                         {"min", PARAM_INTEGER, P(min), 12, 4, UNLIMITED, NULL},
                                         END};
static const rule_param repetition_params[] = {{"share", PARAM_NUMBER, P(share), 0.3, 0, 1, NULL},
                                               {"passage", PARAM_INTEGER, P(passage), 10, 4, UNLIMITED, NULL},
                                               {"min", PARAM_INTEGER, P(min), 40, 1, UNLIMITED, NULL},
                                               END};
static const rule_param repeated_sentences_params[] = {
    {"times", PARAM_INTEGER, P(times), 3, 2, UNLIMITED, NULL},
    {"share", PARAM_NUMBER, P(share), 0.3, 0, 1, NULL},
    {"min", PARAM_INTEGER, P(min), 6, 1, UNLIMITED, NULL},
    END};
static const rule_param unfinished_params[] = {
    {"find", PARAM_FLAGS, P(find), 127, 0, 0, find_unfinished},
    {"words", PARAM_TEXTS, P(words), 0, 0, 0, NULL}, /* that end no sentence */
    {"min", PARAM_INTEGER, P(min), 20, 0, UNLIMITED, NULL},
    END};
static const rule_param ignores_params[] = {
    {"question", PARAM_INTEGER, P(question), 20, 1, UNLIMITED, NULL},
    {"answer", PARAM_INTEGER, P(answer), 20, 1, UNLIMITED, NULL},
    {"share", PARAM_NUMBER, P(share), 0, 0, 1, NULL},
    {"words", PARAM_TEXTS, P(words), 0, 0, 0, NULL}, /* that say nothing */
    END};
static const rule_param language_params[] = {{"expect", PARAM_CHOICE, P(choice), 0, 0, 0, languages},
                                             {"min", PARAM_INTEGER, P(min), 10, 1, UNLIMITED, NULL},
                                             {"share", PARAM_NUMBER, P(share), 0.7, 0, 1, NULL},
                                             END};
static const rule_param mixed_params[] = {{"min", PARAM_INTEGER, P(min), 3, 1, UNLIMITED, NULL},
                                          {"share", PARAM_NUMBER, P(share), 0.05, 0, 1, NULL},
                                          END};
static const rule_param encoding_params[] = {{"find", PARAM_FLAGS, P(find), 7, 0, 0, find_encoding},
                                             {"times", PARAM_INTEGER, P(times), 1, 1, UNLIMITED, NULL},
                                             {"except", PARAM_TEXTS, P(except), 0, 0, 0, NULL},
                                             END};
static const rule_param personal_params[] = {{"find", PARAM_FLAGS, P(find), 15, 0, 0, find_personal},
                                             {"except", PARAM_TEXTS, P(except), 0, 0, 0, NULL},
                                             END};
static const rule_param dose_params[] = {{"table", PARAM_FILE, P(file), 0, 0, 0, NULL},
                                         {"within", PARAM_INTEGER, P(within), 12, 1, 100, NULL},
                                         END};
static const rule_param conflict_params[] = {{"share", PARAM_NUMBER, P(share), 0.25, 0, 1, NULL},
                                             {"question", PARAM_INTEGER, P(question), 4, 1, UNLIMITED, NULL},
                                             END};
static const rule_param drift_params[] = {{"share", PARAM_NUMBER, P(share), 0.9, 0.5, 1, NULL},
                                          {"min", PARAM_INTEGER, P(min), 20, 2, UNLIMITED, NULL},
                                          END};
static const rule_param label_skew_params[] = {{"share", PARAM_NUMBER, P(share), 0.5, 0, 1, NULL},
                                               {"min", PARAM_INTEGER, P(min), 20, 1, UNLIMITED, NULL},
                                               END};
static const rule_param label_missing_params[] = {{"share", PARAM_NUMBER, P(share), 0.5, 0, 1, NULL},
                                                  {"min", PARAM_INTEGER, P(min), 20, 1, UNLIMITED, NULL},
                                                  END};
static const rule_param imbalance_params[] = {{"times", PARAM_INTEGER, P(times), 10, 2, UNLIMITED, NULL},
                                              {"min", PARAM_INTEGER, P(min), 20, 1, UNLIMITED, NULL},
                                              END};

const rule_kind rule_kinds[] = {
    {.name = "pattern", .param = pattern_params, .plain = true, .row = pattern_row},
    {.name = "words", .param = words_params, .plain = true, .row = words_row},
    {.name = "require", .param = require_params, .plain = true, .row = require_row},
    {.name = "length", .param = length_params, .plain = true, .row = length_row},
    {.name = "ratio", .param = ratio_params, .plain = true, .row = ratio_row},
    {.name = "sentences", .param = sentences_params, .plain = true, .row = sentences_row},
    {.name = "run", .param = run_params, .plain = true, .row = run_row},
    {.name = "loop", .param = loop_params, .plain = true, .row = loop_row},
    {.name = "repetition", .param = repetition_params, .plain = true, .row = repetition_row},
    {.name = "repeated_sentences",
     .param = repeated_sentences_params,
     .plain = true,
     .row = repeated_sentences_row},
    {.name = "unfinished", .param = unfinished_params, .row = unfinished_row},
    {.name = "ignores_input",
     .param = ignores_params,
     .own_words = true,
     .open = ignores_open,
     .close = ignores_close,
     .row = ignores_row},
    {.name = "language", .param = language_params, .plain = true, .open = language_open, .row = language_row},
    {.name = "mixed_script", .param = mixed_params, .plain = true, .row = mixed_script_row},
    {.name = "encoding", .param = encoding_params, .on = ON_ALL, .plain = true, .row = encoding_row},
    {.name = "personal", .param = personal_params, .on = ON_ALL, .plain = true, .row = personal_row},
    {.name = "dose",
     .param = dose_params,
     .plain = true,
     .open = dose_open,
     .close = dose_close,
     .row = dose_row},
    {.name = "conflict", .param = conflict_params, .corpus = true, .finish = conflict_finish},
    {.name = "drift", .param = drift_params, .corpus = true, .finish = drift_finish},
    {.name = "label_skew", .param = label_skew_params, .corpus = true, .finish = label_skew_finish},
    {.name = "label_missing", .param = label_missing_params, .corpus = true, .finish = label_missing_finish},
    {.name = "task_imbalance", .param = imbalance_params, .corpus = true, .finish = task_imbalance_finish},
};
const size_t n_rule_kinds = HONE_COUNT(rule_kinds);

static const char *const common[] = {"kind",     "title", "explain", "enabled", "action",
                                     "severity", "on",    "when",    NULL};
static const char *const actions[] = {"report", "drop", NULL};
static const char *const severities[] = {"note", "warning", "error", NULL};
static const char *const places[] = {"answer", "question", "system", "tool", "all", NULL};
static const char *const conditions[] = {"task",   "label",      "question", "not_question",
                                         "answer", "not_answer", NULL};

/* ---- names ---------------------------------------------------------------------------------------------------------- */

/* Edits between two names of up to 63 bytes: letters put in, left out, changed, or neighbours swapped. */
static size_t distance(const char *a, const char *b)
{
    size_t row[3][64], n = strlen(b), i, j;

    if (strlen(a) > 63 || n > 63)
        return SIZE_MAX;
    for (j = 0; j <= n; j++)
        row[0][j] = j;
    for (i = 1; a[i - 1]; i++) {
        const size_t *up = row[(i - 1) % 3], *before = row[(i + 1) % 3]; /* rows i - 1 and i - 2 */
        size_t *now = row[i % 3];

        now[0] = i;
        for (j = 1; j <= n; j++) {
            now[j] = HONE_MIN(up[j - 1] + (a[i - 1] != b[j - 1]), HONE_MIN(up[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = HONE_MIN(now[j], before[j - 2] + 1);
        }
    }
    return row[(i - 1) % 3][n];
}

typedef struct nearest {
    const char *wanted, *best;
    size_t distance;
} nearest;

static void consider(nearest *n, const char *name)
{
    size_t d = distance(n->wanted, name);

    if (d < n->distance) {
        n->distance = d;
        n->best = name;
    }
}

/* "; did you mean `x`?" or "". */
static const char *hint(char out[120], const nearest *n)
{
    out[0] = 0;
    if (n->best && n->distance <= HONE_MAX(strlen(n->wanted) / 3, (size_t)2))
        snprintf(out, 120, "; did you mean `%s`?", n->best);
    return out;
}

static nearest nearest_of(const char *wanted, const char *const *names)
{
    nearest n = {wanted, NULL, SIZE_MAX};

    for (; *names; names++)
        consider(&n, *names);
    return n;
}

void texts_clear(texts *t)
{
    size_t i;

    for (i = 0; i < t->n; i++)
        hone_free(t->item[i]);
    hone_free(t->item);
    *t = (texts){0};
}

int texts_add(texts *t, const char *text, size_t len, hone_error *err)
{
    char *copy = hone_strndup(text, len), **grown = t->item;

    if (copy && !(t->n & (t->n - 1))) { /* room doubles at every power of two */
        grown = hone_realloc_array(t->item, t->n ? 2 * t->n : 1, sizeof *grown);
        if (grown)
            t->item = grown;
    }
    if (!copy || !grown) {
        hone_free(copy);
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    }
    t->item[t->n++] = copy;
    return 0;
}

/* ---- values --------------------------------------------------------------------------------------------------------- */

typedef struct reader {
    quality *q;
    const hone_yaml *yaml;
    const char *name;   /* of the file, or "data.quality.set" */
    const char *folder; /* that relative paths are joined to */
    bool lines;
    char where[600];
    hone_error *err;
} reader;

static void look_at(reader *r, size_t line)
{
    if (r->lines && line)
        snprintf(r->where, sizeof r->where, "%.500s:%zu", r->name, line);
    else
        snprintf(r->where, sizeof r->where, "%.500s", r->name);
}

static int out_of_memory(hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "out of memory");
}

static int wrong(reader *r, const char *what, const char *expected)
{
    return hone_error_set(r->err, HONE_EFORMAT, "%s: %s: expected %s", r->where, what, expected);
}

static void list_names(char *out, size_t size, const char *const *names)
{
    size_t n = 0;

    out[0] = 0;
    for (; *names && n + 20 < size; names++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "", *names);
}

static int read_choice(reader *r, int *out, const char *what, const json_t *v, const char *const *names)
{
    const char *text = json_string_value(v);
    char all[300], near[120];
    nearest n;
    int i;

    for (i = 0; text && names[i]; i++)
        if (!strcmp(names[i], text)) {
            *out = i;
            return 0;
        }
    list_names(all, sizeof all, names);
    if (!text)
        return hone_error_set(r->err, HONE_EFORMAT, "%s: %s: expected one of %s", r->where, what, all);
    n = nearest_of(text, names);
    return hone_error_set(r->err, HONE_EINVAL, "%s: %s: `%.60s` is not one of %s%s", r->where, what, text,
                          all, hint(near, &n));
}

/* Text or a list of texts (numbers count as their text). */
static int read_texts(reader *r, texts *out, const char *what, const json_t *v)
{
    texts made = {0};
    size_t i, n = json_is_array(v) ? json_array_size(v) : 1;
    int rc = 0;

    for (i = 0; !rc && i < n; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        char number[32];

        if (json_is_array(v) && r->lines)
            look_at(r, hone_yaml_item_line(r->yaml, v, i));
        if (json_is_string(item)) {
            rc = texts_add(&made, json_string_value(item), json_string_length(item), r->err);
        } else if (json_is_integer(item)) {
            snprintf(number, sizeof number, "%lld", (long long)json_integer_value(item));
            rc = texts_add(&made, number, strlen(number), r->err);
        } else if (!(json_is_null(item) && n == 1 && !json_is_array(v))) {
            rc = wrong(r, what, "a text or a list of texts");
        }
    }
    if (rc) {
        texts_clear(&made);
        return rc;
    }
    texts_clear(out);
    *out = made;
    return 0;
}

static int read_flags(reader *r, unsigned *out, const rule_param *p, const json_t *v)
{
    unsigned bits = 0;
    size_t i, n = json_is_array(v) ? json_array_size(v) : 1;
    int rc = 0, bit;

    for (i = 0; !rc && i < n; i++) {
        rc = read_choice(r, &bit, p->name, json_is_array(v) ? json_array_get(v, i) : v, p->names);
        if (!rc)
            bits |= 1u << bit;
    }
    if (!rc)
        *out = bits;
    return rc;
}

static int read_number(reader *r, void *field, const rule_param *p, const json_t *v)
{
    double value = json_number_value(v);

    if (!json_is_number(v) || (p->type == PARAM_INTEGER && (!json_is_integer(v) && value != floor(value))))
        return wrong(r, p->name, p->type == PARAM_INTEGER ? "a whole number" : "a number");
    if (!(value >= p->low && value <= p->high))
        return hone_error_set(r->err, HONE_EINVAL, "%s: %s: %g is outside %g to %g", r->where, p->name, value,
                              p->low, p->high);
    if (p->type == PARAM_INTEGER)
        *(int64_t *)field = (int64_t)value;
    else
        *(double *)field = value;
    return 0;
}

static int read_path(reader *r, char **out, const char *what, const json_t *v)
{
    char *path = NULL;

    if (!json_is_string(v) && !json_is_null(v))
        return wrong(r, what, "a path");
    if (json_is_string(v)) {
        path = hone_path_join(r->folder, json_string_value(v));
        if (!path)
            return out_of_memory(r->err);
    }
    hone_free(*out);
    *out = path;
    return 0;
}

static int read_param(reader *r, rule_params *params, const rule_param *p, const json_t *v)
{
    void *field = (char *)params + p->offset;

    switch (p->type) {
    case PARAM_INTEGER:
    case PARAM_NUMBER:
        return read_number(r, field, p, v);
    case PARAM_BOOL:
        if (!json_is_boolean(v))
            return wrong(r, p->name, "true or false");
        *(bool *)field = json_is_true(v);
        return 0;
    case PARAM_TEXTS:
        return read_texts(r, field, p->name, v);
    case PARAM_FILE:
        return read_path(r, field, p->name, v);
    case PARAM_CHOICE:
        return read_choice(r, field, p->name, v, p->names);
    case PARAM_FLAGS:
        return read_flags(r, field, p, v);
    }
    return 0;
}

static void params_default(rule_params *params, const rule_kind *kind)
{
    const rule_param *p;

    for (p = kind->param; p->name; p++) {
        void *field = (char *)params + p->offset;

        if (p->type == PARAM_INTEGER)
            *(int64_t *)field = (int64_t)p->fallback;
        else if (p->type == PARAM_NUMBER)
            *(double *)field = p->fallback;
        else if (p->type == PARAM_BOOL)
            *(bool *)field = p->fallback != 0;
        else if (p->type == PARAM_FLAGS)
            *(unsigned *)field = (unsigned)p->fallback;
    }
}

/* A text in English and Chinese: {en: ..., zh: ...}, or one text for both. */
static int read_both(reader *r, char *out[2], const char *what, const json_t *v)
{
    static const char *const language[] = {"en", "zh"};
    const char *text[2] = {json_string_value(v), json_string_value(v)}, *key;
    json_t *value;
    size_t i;

    if (!json_is_string(v) && !json_is_object(v))
        return wrong(r, what, "a text, or {en: ..., zh: ...}");
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        if (strcmp(key, "en") && strcmp(key, "zh"))
            return wrong(r, what, "the keys en and zh");
        if (!json_is_string(value))
            return wrong(r, what, "texts");
    }
    for (i = 0; json_is_object(v) && i < 2; i++) {
        text[i] = json_string_value(json_object_get(v, language[i]));
        if (!text[i])
            text[i] = json_string_value(json_object_get(v, language[1 - i]));
    }
    for (i = 0; i < 2; i++) {
        char *copy = hone_strdup(text[i] ? text[i] : "");

        if (!copy)
            return out_of_memory(r->err);
        hone_free(out[i]);
        out[i] = copy;
    }
    return 0;
}

static void when_clear(rule_when *w)
{
    texts_clear(&w->task);
    texts_clear(&w->label);
    regex_free(w->question);
    regex_free(w->not_question);
    regex_free(w->answer);
    regex_free(w->not_answer);
    *w = (rule_when){0};
}

static int read_condition(reader *r, rule_when *w, const char *key, const json_t *v)
{
    regex **pattern[] = {&w->question, &w->not_question, &w->answer, &w->not_answer};
    char near[120];
    nearest n;
    size_t i;
    int rc;

    if (!strcmp(key, "task"))
        return read_texts(r, &w->task, key, v);
    if (!strcmp(key, "label"))
        return read_texts(r, &w->label, key, v);
    for (i = 0; i < HONE_COUNT(pattern); i++)
        if (!strcmp(key, conditions[i + 2])) {
            hone_error inner = HONE_ERROR_INIT;

            if (!json_is_string(v))
                return wrong(r, key, "a regular expression");
            rc = regex_compile(pattern[i], json_string_value(v), true, NULL, &inner);
            return rc ? hone_error_set(r->err, rc, "%s: %s: %s", r->where, key, inner.message) : 0;
        }
    n = nearest_of(key, conditions);
    return hone_error_set(r->err, HONE_EINVAL, "%s: unknown condition `%.60s`%s", r->where, key,
                          hint(near, &n));
}

static int read_when(reader *r, rule *it, const json_t *v)
{
    rule_when w = {0};
    const char *key;
    json_t *value;
    int rc = 0;

    if (!json_is_object(v) && !json_is_null(v))
        return wrong(r, "when", "conditions such as {task: ..., question: ...}");
    json_object_foreach((json_t *)(uintptr_t)v, key, value)
    {
        look_at(r, hone_yaml_key_line(r->yaml, v, key));
        rc = read_condition(r, &w, key, value);
        w.any = true;
        if (rc)
            break;
    }
    if (rc) {
        when_clear(&w);
        return rc;
    }
    when_clear(&it->when);
    it->when = w;
    return 0;
}

/* ---- rules ---------------------------------------------------------------------------------------------------------- */

static int read_kind(reader *r, rule *it, const json_t *v)
{
    const char *text = json_string_value(v);
    nearest n = {text, NULL, SIZE_MAX};
    char near[120];
    size_t i;

    if (!text)
        return wrong(r, "kind", "the name of a kind");
    for (i = 0; i < n_rule_kinds; i++)
        if (!strcmp(rule_kinds[i].name, text)) {
            if (it->kind && it->kind != &rule_kinds[i])
                return hone_error_set(r->err, HONE_EINVAL,
                                      "%s: rule `%s` is of kind %s; give the new one another name", r->where,
                                      it->name, it->kind->name);
            if (!it->kind) {
                it->kind = &rule_kinds[i];
                it->on = it->kind->on;
                params_default(&it->p, it->kind);
            }
            return 0;
        }
    for (i = 0; i < n_rule_kinds; i++)
        consider(&n, rule_kinds[i].name);
    return hone_error_set(r->err, HONE_EINVAL, "%s: unknown kind `%.60s`%s", r->where, text, hint(near, &n));
}

static int read_member(reader *r, rule *it, const char *key, const json_t *v)
{
    const rule_param *p;
    nearest n;
    char near[120];
    int choice = 0, rc;
    size_t i;

    if (!strcmp(key, "kind"))
        return read_kind(r, it, v);
    if (!strcmp(key, "title"))
        return read_both(r, it->title, key, v);
    if (!strcmp(key, "explain"))
        return read_both(r, it->explain, key, v);
    if (!strcmp(key, "enabled")) {
        if (!json_is_boolean(v))
            return wrong(r, key, "true or false");
        it->enabled = json_is_true(v);
        return 0;
    }
    if (!strcmp(key, "action")) {
        rc = read_choice(r, &choice, key, v, actions);
        if (!rc)
            it->action = choice ? QUALITY_DROP : QUALITY_REPORT;
        return rc;
    }
    if (!strcmp(key, "severity")) {
        rc = read_choice(r, &choice, key, v, severities);
        if (!rc)
            it->severity = choice + 1;
        return rc;
    }
    if (!strcmp(key, "on")) {
        if (it->kind->corpus)
            return hone_error_set(r->err, HONE_EINVAL,
                                  "%s: rules of kind %s look at all rows: they have no `on`", r->where,
                                  it->kind->name);
        return read_choice(r, &it->on, key, v, places);
    }
    if (!strcmp(key, "when")) {
        if (it->kind->corpus)
            return hone_error_set(r->err, HONE_EINVAL,
                                  "%s: rules of kind %s look at all rows: they have no `when`", r->where,
                                  it->kind->name);
        return read_when(r, it, v);
    }
    for (p = it->kind->param; p->name; p++)
        if (!strcmp(p->name, key))
            return read_param(r, &it->p, p, v);
    n = (nearest){key, NULL, SIZE_MAX};
    for (p = it->kind->param; p->name; p++)
        consider(&n, p->name);
    for (i = 0; common[i]; i++)
        consider(&n, common[i]);
    return hone_error_set(r->err, HONE_EINVAL, "%s: rule `%s` (kind %s) has no parameter `%.60s`%s", r->where,
                          it->name, it->kind->name, key, hint(near, &n));
}

static rule *find_rule(const quality *q, const char *name)
{
    size_t i;

    for (i = 0; i < q->n_rules; i++)
        if (!strcmp(q->rule[i].name, name))
            return &q->rule[i];
    return NULL;
}

static int add_rule(reader *r, rule **out, const char *name)
{
    quality *q = r->q;
    rule *grown;

    if (!*name || strlen(name) > 60 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
        return hone_error_set(r->err, HONE_EINVAL,
                              "%s: the name of a rule has up to 60 of a-z, 0-9 and _, not `%.80s`", r->where,
                              name);
    if (q->n_rules == 1000)
        return hone_error_set(r->err, HONE_ELIMIT, "%s: more than 1000 rules", r->where);
    grown = hone_realloc_array(q->rule, q->n_rules + 1, sizeof *grown);
    if (!grown)
        return out_of_memory(r->err);
    q->rule = grown;
    *out = &q->rule[q->n_rules];
    memset(*out, 0, sizeof **out);
    (*out)->enabled = true;
    (*out)->severity = 2;
    q->n_rules++;
    (*out)->name = hone_strdup(name);
    (*out)->where = hone_strdup(r->where);
    return (*out)->name && (*out)->where ? 0 : out_of_memory(r->err);
}

static int read_rule(reader *r, const char *name, const json_t *v)
{
    rule *it = find_rule(r->q, name);
    bool is_new = !it;
    const char *key;
    json_t *value;
    int rc = 0;

    if (!json_is_object(v))
        return wrong(r, name, "a mapping of parameters");
    if (is_new && !json_object_get(v, "kind")) {
        nearest n = {name, NULL, SIZE_MAX};
        char near[120];
        size_t i;

        for (i = 0; i < r->q->n_rules; i++)
            consider(&n, r->q->rule[i].name);
        return hone_error_set(r->err, HONE_EINVAL,
                              "%s: there is no rule `%.60s` to change, and without `kind` it is no "
                              "new one%s",
                              r->where, name, hint(near, &n));
    }
    if (is_new)
        rc = add_rule(r, &it, name);
    if (!rc && json_object_get(v, "kind")) {
        look_at(r, hone_yaml_key_line(r->yaml, v, "kind"));
        rc = read_kind(r, it, json_object_get(v, "kind"));
    }
    if (!rc)
        json_object_foreach((json_t *)(uintptr_t)v, key, value)
        {
            look_at(r, hone_yaml_key_line(r->yaml, v, key));
            rc = read_member(r, it, key, value);
            if (rc)
                break;
        }
    if (!rc && is_new && !it->title[0]) {
        it->title[0] = hone_strdup(name);
        it->title[1] = hone_strdup(name);
        rc = it->title[0] && it->title[1] ? 0 : out_of_memory(r->err);
    }
    return rc;
}

static int read_root(reader *r)
{
    const json_t *root = hone_yaml_root(r->yaml), *rules = json_object_get(root, "rules");
    const char *key;
    json_t *value;
    int rc;

    look_at(r, 1);
    if (!json_is_object(root) || !rules || json_object_size(root) != 1)
        return hone_error_set(r->err, HONE_EFORMAT, "%s: expected one key, `rules:`, and rules under it",
                              r->where);
    if (!json_is_object(rules))
        return wrong(r, "rules", "names of rules with their parameters");
    json_object_foreach((json_t *)(uintptr_t)rules, key, value)
    {
        look_at(r, hone_yaml_key_line(r->yaml, rules, key));
        rc = read_rule(r, key, value);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_file(quality *q, const char *path, hone_error *err)
{
    reader r = {.q = q, .name = path ? path : BUILTIN_NAME, .lines = true, .err = err};
    hone_yaml *yaml;
    char *folder = path ? hone_path_dir(path) : hone_strdup(".");
    int rc;

    if (!folder)
        return out_of_memory(err);
    rc = path ? hone_yaml_load(&yaml, path, err)
              : hone_yaml_parse(&yaml, quality_builtin, strlen(quality_builtin), BUILTIN_NAME, err);
    r.folder = folder;
    if (!rc) {
        r.yaml = yaml;
        rc = read_root(&r);
        hone_yaml_free(yaml);
    }
    hone_free(folder);
    return rc;
}

/* "rule.parameter=value" */
static int apply_set(quality *q, const char *text, hone_error *err)
{
    reader r = {.q = q, .name = "data.quality.set", .folder = ".", .err = err};
    const char *equals = strchr(text, '='), *dot = strchr(text, '.');
    char name[64], key[64], near[120];
    hone_yaml *yaml;
    rule *it;
    int rc;

    look_at(&r, 0);
    if (!equals || !dot || dot > equals || (size_t)(dot - text) >= sizeof name ||
        (size_t)(equals - dot) > sizeof key)
        return hone_error_set(err, HONE_EINVAL, "%s: `%.100s`: expected rule.parameter=value", r.where, text);
    snprintf(name, sizeof name, "%.*s", (int)(dot - text), text);
    snprintf(key, sizeof key, "%.*s", (int)(equals - dot - 1), dot + 1);
    it = find_rule(q, name);
    if (!it) {
        nearest n = {name, NULL, SIZE_MAX};
        size_t i;

        for (i = 0; i < q->n_rules; i++)
            consider(&n, q->rule[i].name);
        return hone_error_set(err, HONE_EINVAL, "%s: `%.100s`: there is no rule `%s`%s", r.where, text, name,
                              hint(near, &n));
    }
    rc = hone_yaml_parse(&yaml, equals + 1, strlen(equals + 1), r.name, err);
    if (rc)
        return rc;
    r.yaml = yaml;
    rc = read_member(&r, it, key, hone_yaml_root(yaml));
    hone_yaml_free(yaml);
    return rc;
}

static int choose(quality *q, const char *const *list, size_t n, bool only, hone_error *err)
{
    char near[120];
    size_t i, j;

    for (i = 0; i < n; i++)
        if (!find_rule(q, list[i])) {
            nearest best = {list[i], NULL, SIZE_MAX};

            for (j = 0; j < q->n_rules; j++)
                consider(&best, q->rule[j].name);
            return hone_error_set(err, HONE_EINVAL, "data.quality.%s: there is no rule `%.60s`%s",
                                  only ? "only" : "skip", list[i], hint(near, &best));
        }
    for (i = 0; n && i < q->n_rules; i++) {
        bool named = false;

        for (j = 0; j < n; j++)
            named |= !strcmp(list[j], q->rule[i].name);
        if (only)
            q->rule[i].enabled = named;
        else if (named)
            q->rule[i].enabled = false;
    }
    return 0;
}

int rules_read(quality *q, const hone_quality_options *o, hone_error *err)
{
    size_t i;
    int rc = read_file(q, NULL, err);

    for (i = 0; !rc && i < o->n_rules; i++)
        rc = read_file(q, o->rules[i], err);
    for (i = 0; !rc && i < o->n_set; i++)
        rc = apply_set(q, o->set[i], err);
    if (!rc)
        rc = choose(q, o->only, o->n_only, true, err);
    if (!rc)
        rc = choose(q, o->skip, o->n_skip, false, err);
    return rc;
}

void rule_clear(rule *r)
{
    size_t i;

    for (i = 0; r->regex && i < r->p.patterns.n; i++)
        regex_free(r->regex[i]);
    hone_free(r->regex);
    if (r->kind && r->kind->close)
        r->kind->close(r);
    else
        hone_free(r->state);
    for (i = 0; i < 2; i++) {
        hone_free(r->title[i]);
        hone_free(r->explain[i]);
    }
    texts_clear(&r->p.words);
    texts_clear(&r->p.patterns);
    texts_clear(&r->p.except);
    hone_free(r->p.file);
    when_clear(&r->when);
    hone_free(r->name);
    hone_free(r->where);
}

int rule_wrong(const rule *r, int code, hone_error *err, const char *format, ...)
{
    char text[400];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return hone_error_set(err, code, "%s: rule `%s`: %s", r->where, r->name, text);
}
