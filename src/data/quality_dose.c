/* Doses outside the range of a table: `黄芪 300 g`, `黄芪300克`, `黄芪三百克`, `300 g of astragalus`.
 *
 * The table has a row an item: its name (`item`; further names in `also`, separated by commas), `unit`, `min`, `max` (one
 * of the two may be missing). It is a file of rows in any format that data files have (docs/data.md), or YAML: a list of
 * such mappings.
 *
 * Where an item's name stands, the number behind it is its dose when only words that introduce a dose lie between
 * (`每日`, `各`, `用至`, marks), so that a dose is not taken from a neighbour; else the number right before it, when no
 * other name ends there. Units are those of mass, volume, international units and counted forms; a dose in a unit of
 * another sort than the table's is not judged. Of the old Chinese units one 两 is 30 g, one 钱 3 g (the rule for
 * prescriptions since 1979), one 斤 500 g. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "data/quality_impl.h"
#include "format/json.h"

#define TABLE_LIMIT 100000

typedef struct unit {
    const char *name;
    int sort; /* units of one sort can be converted */
    double factor;
} unit;

/* Longer names before their beginnings. */
static const unit units[] = {{"毫克", 0, 1e-3},      {"微克", 0, 1e-6},
                             {"千克", 0, 1e3},       {"公斤", 0, 1e3},
                             {"市斤", 0, 500},       {"克", 0, 1},
                             {"斤", 0, 500},         {"两", 0, 30},
                             {"钱", 0, 3},           {"milligrams", 0, 1e-3},
                             {"milligram", 0, 1e-3}, {"micrograms", 0, 1e-6},
                             {"microgram", 0, 1e-6}, {"grams", 0, 1},
                             {"gram", 0, 1},         {"mcg", 0, 1e-6},
                             {"mg", 0, 1e-3},        {"kg", 0, 1e3},
                             {"μg", 0, 1e-6},        {"µg", 0, 1e-6},
                             {"ug", 0, 1e-6},        {"g", 0, 1},
                             {"毫升", 1, 1},         {"升", 1, 1e3},
                             {"ml", 1, 1},           {"cc", 1, 1},
                             {"l", 1, 1e3},          {"万单位", 2, 1e4},
                             {"国际单位", 2, 1},     {"单位", 2, 1},
                             {"iu", 2, 1},           {"片", 3, 1},
                             {"粒", 4, 1},           {"枚", 5, 1},
                             {"丸", 6, 1},           {"滴", 7, 1},
                             {"条", 8, 1},           {"袋", 9, 1},
                             {"支", 10, 1},          {"tablets", 3, 1},
                             {"tablet", 3, 1},       {"capsules", 4, 1},
                             {"capsule", 4, 1},      {"drops", 7, 1},
                             {"包", 11, 1}};

/* What may stand between an item and its dose. */
static const char *const between[] = {
    "每日", "每天",  "每次", "一日", "一次", "日服",   "用量",  "剂量", "常用", "成人", "大量",
    "重用", "加至",  "用至", "增至", "可用", "不超过", "约",    "各",   "为",   "是",   "用",
    "取",   "加",    "至",   "可",   "量",   "日",     "次",    "服",   "煎",   "生",   "炙",
    "each", "daily", "dose", "of",   "is",   "at",     "about", "a",    "day"};

typedef struct dose_item {
    const unit *unit;
    double min, max; /* in the unit; NAN: none */
} dose_item;

typedef struct dose_table {
    dose_item *item;
    size_t n;
} dose_table;

static uint32_t lower(uint32_t c)
{
    if (c >= 0xff01 && c <= 0xff5e)
        c -= 0xfee0;
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* Characters of `word` when it stands at i, else 0. */
static uint32_t word_at(const text_scan *s, uint32_t i, const char *word)
{
    size_t len = strlen(word), k = 0;
    uint32_t n = 0;

    while (k < len) {
        int32_t cp;

        k += hone_utf8_get(word + k, len - k, &cp);
        if (i + n >= s->n || lower(s->cp[i + n]) != (uint32_t)cp)
            return 0;
        n++;
    }
    return n;
}

static bool is_latin(const text_scan *s, uint32_t i)
{
    return i < s->n && lower(s->cp[i]) >= 'a' && lower(s->cp[i]) <= 'z';
}

static const unit *unit_at(const text_scan *s, uint32_t i, uint32_t *n)
{
    size_t k;

    for (k = 0; k < HONE_COUNT(units); k++) {
        *n = word_at(s, i, units[k].name);
        if (*n && !((unsigned char)units[k].name[0] < 0x80 && is_latin(s, i + *n)))
            return &units[k];
    }
    return NULL;
}

/* Value of a Chinese digit, or of a power of ten as -10, -100, ...; INT32_MIN: none. */
static int32_t numeral(uint32_t c)
{
    static const struct {
        uint32_t c;
        int32_t value;
    } table[] = {{0x96f6, 0},   {0x3007, 0},    {0x4e00, 1},     {0x4e8c, 2},     {0x4e24, 2}, {0x4e09, 3},
                 {0x56db, 4},   {0x4e94, 5},    {0x516d, 6},     {0x4e03, 7},     {0x516b, 8}, {0x4e5d, 9},
                 {0x5341, -10}, {0x767e, -100}, {0x5343, -1000}, {0x4e07, -10000}};
    size_t i;

    for (i = 0; i < HONE_COUNT(table); i++)
        if (table[i].c == c)
            return table[i].value;
    return INT32_MIN;
}

/* A number at i: its value and length in characters; 0: none. */
static uint32_t number_at(const text_scan *s, uint32_t i, double *value)
{
    uint32_t begin = i;
    double scale = 1, total = 0, part = 0;
    int32_t digit = -1;

    *value = 0;
    if (scan_class(s, i) == CHAR_DIGIT) {
        for (; i < s->n && i - begin < 12; i++) {
            uint32_t c = lower(s->cp[i]);

            if (c >= '0' && c <= '9') {
                *value = scale < 1 ? *value + (c - '0') * scale : *value * 10 + (c - '0');
                scale /= scale < 1 ? 10 : 1;
            } else if (c == '.' && scale == 1 && i + 1 < s->n && scan_class(s, i + 1) == CHAR_DIGIT) {
                scale = 0.1;
            } else if (!(c == ',' && i + 3 < s->n && scan_class(s, i + 1) == CHAR_DIGIT &&
                         scan_class(s, i + 2) == CHAR_DIGIT && scan_class(s, i + 3) == CHAR_DIGIT)) {
                break;
            }
        }
        return i - begin;
    }
    if (s->cp[i] == 0x534a) { /* half */
        *value = 0.5;
        return 1;
    }
    for (; i < s->n && i - begin < 12; i++) {
        int32_t v = numeral(s->cp[i]);

        if (v == INT32_MIN || (s->cp[i] == 0x4e24 && i > begin)) /* behind a number that is a unit */
            break;
        if (v >= 0) {
            digit = digit >= 0 && v >= 0 ? digit * 10 + v : v;
            if (digit > 1000000)
                return 0;
        } else if (v == -10000) {
            total += (part + HONE_MAX(digit, 0)) * 10000;
            part = 0;
            digit = -1;
        } else {
            part += (digit < 0 ? 1 : digit) * -(double)v;
            digit = -1;
        }
    }
    if (i == begin)
        return 0;
    *value = total + part + HONE_MAX(digit, 0);
    return i - begin;
}

typedef struct dose {
    double low, high;
    const unit *unit;
    uint32_t begin, end;
} dose;

static uint32_t skip_blanks(const text_scan *s, uint32_t i)
{
    while (i < s->n && scan_class(s, i) == CHAR_SPACE)
        i++;
    return i;
}

/* A number or a range with a unit at i. */
static bool dose_at(const text_scan *s, uint32_t i, dose *d)
{
    uint32_t n = number_at(s, i, &d->low), at, skipped;
    static const char *const to[] = {"-", "~", "～", "—", "–", "至", "到", "to"};
    size_t k;

    if (!n)
        return false;
    d->begin = i;
    d->high = d->low;
    at = skip_blanks(s, i + n);
    d->unit = unit_at(s, at, &n);
    skipped = at + (d->unit ? n : 0);
    for (k = 0; k < HONE_COUNT(to); k++) {
        uint32_t step = word_at(s, skip_blanks(s, skipped), to[k]), next;
        const unit *second;
        double high;

        if (!step)
            continue;
        next = skip_blanks(s, skip_blanks(s, skipped) + step);
        n = next < s->n ? number_at(s, next, &high) : 0;
        if (!n)
            break;
        next = skip_blanks(s, next + n);
        second = unit_at(s, next, &n);
        if (!second || (d->unit && d->unit != second))
            break;
        d->unit = second;
        d->high = high;
        d->end = next + n;
        return true;
    }
    d->end = skipped;
    return d->unit != NULL;
}

/* The dose behind an item whose name ends at i. */
static bool dose_behind(const text_scan *s, uint32_t i, uint32_t within, dose *d)
{
    uint32_t limit = HONE_MIN(s->n, i + within), n;
    double ignored;

    while (i < limit) {
        uint32_t c = s->cp[i];
        size_t k;

        if (dose_at(s, i, d))
            return true;
        n = number_at(s, i, &ignored);
        for (k = 0; !n && k < HONE_COUNT(between); k++)
            n = word_at(s, i, between[k]);
        if (!n && (scan_class(s, i) == CHAR_SPACE || c == ':' || c == 0xff1a || c == '(' || c == 0xff08 ||
                   c == '[' || c == 0x3010 || c == ',' || c == 0xff0c || c == '=' || c == '|' || c == '*' ||
                   c == 0x2248 || c == '~'))
            n = 1;
        if (!n)
            return false;
        i += n;
    }
    return false;
}

/* The dose right before an item whose name begins at i: `300克黄芪`, `300 g of astragalus`. */
static bool dose_before(const text_scan *s, uint32_t i, dose *d)
{
    uint32_t end = i, begin;

    if (end > 3 && word_at(s, end - 3, "of ") && scan_class(s, end - 4) == CHAR_SPACE)
        end -= 4;
    if (end && s->cp[end - 1] == 0x7684) /* 的 */
        end--;
    while (end && scan_class(s, end - 1) == CHAR_SPACE)
        end--;
    for (begin = end; begin > 0 && end - begin < 16; begin--) {
        if (dose_at(s, begin - 1, d) && d->end == end) {
            dose longer;

            while (begin > 1 && dose_at(s, begin - 2, &longer) && longer.end == end) {
                *d = longer;
                begin--;
            }
            begin--;
            /* Behind another Han character or a blank the number belongs to the name before it. */
            return begin == 0 || scan_class(s, begin - 1) == CHAR_PUNCT ||
                   scan_class(s, begin - 1) == CHAR_NEWLINE || s->cp[begin - 1] == 0x7528 ||
                   s->cp[begin - 1] == 0x53d6 || s->cp[begin - 1] == 0x52a0 || s->cp[begin - 1] == 0x670d ||
                   s->cp[begin - 1] == 0x4ee5 || (end != i && is_latin(s, i));
        }
    }
    return false;
}

int dose_row(check *c, rule *r)
{
    const dose_table *t = r->state;
    const text_scan *s = c->text;
    uint32_t seen_to = 0;
    char quote[100];
    size_t k;
    int rc = 0;

    for (k = 0; !rc && t && k < s->n_hits; k++) {
        const word_hit *h = &s->hit[k];
        const dose_item *item;
        double factor;
        dose d;

        if (h->set != r->set || h->begin < seen_to)
            continue;
        while (k + 1 < s->n_hits && s->hit[k + 1].begin == h->begin) { /* the longest name that begins here */
            k++;
            if (s->hit[k].set == r->set)
                h = &s->hit[k];
        }
        seen_to = h->end;
        item = &t->item[h->word];
        if (!dose_behind(s, h->end, (uint32_t)r->p.within, &d) && !dose_before(s, h->begin, &d))
            continue;
        if (d.unit->sort != item->unit->sort)
            continue;
        factor = d.unit->factor / item->unit->factor;
        check_quote(quote, s, HONE_MIN(h->begin, d.begin), HONE_MAX(h->end, d.end));
        /* A hair of slack, for what conversion rounds. */
        if (d.high * factor > item->max * (1 + 1e-9))
            rc = check_found(c, r, HONE_MIN(h->begin, d.begin), HONE_MAX(h->end, d.end), "%s > %g %s", quote,
                             item->max, item->unit->name);
        else if (d.low * factor < item->min * (1 - 1e-9))
            rc = check_found(c, r, HONE_MIN(h->begin, d.begin), HONE_MAX(h->end, d.end), "%s < %g %s", quote,
                             item->min, item->unit->name);
    }
    return rc;
}

/* ---- the table ------------------------------------------------------------------------------------------------------ */

static const unit *unit_named(const char *name)
{
    size_t i;

    for (i = 0; i < HONE_COUNT(units); i++)
        if (!strcasecmp(units[i].name, name))
            return &units[i];
    return NULL;
}

/* A number, or text that is one; NAN: absent. */
static bool limit_of(const json_t *v, double *out)
{
    char *end;

    *out = NAN;
    if (!v || json_is_null(v))
        return true;
    if (json_is_number(v)) {
        *out = json_number_value(v);
        return *out >= 0;
    }
    if (!json_is_string(v))
        return false;
    if (!*json_string_value(v))
        return true;
    *out = strtod(json_string_value(v), &end);
    return !*end && *out >= 0 && isfinite(*out);
}

static int add_name(quality *q, rule *r, size_t item, const char *name, size_t n, const char *where,
                    hone_error *err)
{
    hone_error inner = HONE_ERROR_INIT;
    char text[256];
    int rc;

    while (n && *name == ' ')
        name++, n--;
    while (n && name[n - 1] == ' ')
        n--;
    if (n >= sizeof text)
        return hone_error_set(err, HONE_EFORMAT, "%s: a name of more than %zu bytes", where, sizeof text - 1);
    memcpy(text, name, n);
    text[n] = 0;
    rc = words_add(q->words, r->set, (uint32_t)item, text, &inner);
    return rc ? hone_error_set(err, rc, "%s: %s", where, inner.message) : 0;
}

static int add_item(quality *q, rule *r, const json_t *row, const char *where, hone_error *err)
{
    dose_table *t = r->state;
    const char *name = json_string_value(json_object_get(row, "item")),
               *unit_name = json_string_value(json_object_get(row, "unit")), *also;
    dose_item *grown, made = {0};
    json_t *more = json_object_get(row, "also");
    size_t i;
    int rc;

    if (!name || !*name || !unit_name)
        return hone_error_set(err, HONE_EFORMAT, "%s: a row of the table needs `item` and `unit`", where);
    made.unit = unit_named(unit_name);
    if (!made.unit)
        return hone_error_set(err, HONE_EINVAL, "%s: unknown unit `%.40s`", where, unit_name);
    if (!limit_of(json_object_get(row, "min"), &made.min) ||
        !limit_of(json_object_get(row, "max"), &made.max) || (isnan(made.min) && isnan(made.max)) ||
        made.min > made.max)
        return hone_error_set(err, HONE_EFORMAT, "%s: `min` and `max` of `%.40s` are no range", where, name);
    if (t->n == TABLE_LIMIT)
        return hone_error_set(err, HONE_ELIMIT, "%s: more than %d items", where, TABLE_LIMIT);
    grown = hone_realloc_array(t->item, t->n + 1, sizeof *grown);
    if (!grown)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    t->item = grown;
    t->item[t->n] = made;
    rc = add_name(q, r, t->n++, name, strlen(name), where, err);
    for (also = json_string_value(more); !rc && also && *also;) {
        size_t n = strcspn(also, ",;|");

        if (n)
            rc = add_name(q, r, t->n - 1, also, n, where, err);
        also += n + (also[n] != 0);
    }
    for (i = 0; !rc && i < json_array_size(more); i++) {
        const json_t *v = json_array_get(more, i);

        rc = json_is_string(v)
                 ? add_name(q, r, t->n - 1, json_string_value(v), json_string_length(v), where, err)
                 : hone_error_set(err, HONE_EFORMAT, "%s: `also` must be text", where);
    }
    return rc;
}

static int read_yaml_table(quality *q, rule *r, hone_error *err)
{
    hone_yaml *y;
    const json_t *list;
    char where[600];
    size_t i;
    int rc = hone_yaml_load(&y, r->p.file, err);

    if (rc)
        return rc;
    list = hone_yaml_root(y);
    if (!json_is_array(list))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: expected a list of items", r->p.file);
    for (i = 0; !rc && i < json_array_size(list); i++) {
        snprintf(where, sizeof where, "%.500s:%zu", r->p.file, hone_yaml_item_line(y, list, i));
        rc = add_item(q, r, json_array_get(list, i), where, err);
    }
    hone_yaml_free(y);
    return rc;
}

static int read_rows_table(quality *q, rule *r, hone_error *err)
{
    row_source s = {0};
    char where[600];
    int rc = row_source_open(&s, r->p.file, HONE_TEXT_LINE, err), more = rc;

    while (!rc && (more = row_source_next(&s, err)) == 1) {
        json_t *row;

        snprintf(where, sizeof where, "%.500s:%llu", r->p.file, (unsigned long long)s.row_line);
        if (s.refusal.code) {
            rc = hone_error_set(err, s.refusal.code, "%s", s.refusal.message);
            break;
        }
        row = NULL;
        rc = hone_json_parse(&row, s.row.data, s.row.len, r->p.file, err);
        if (!rc)
            rc = add_item(q, r, row, where, err);
        json_decref(row);
    }
    row_source_close(&s);
    return rc ? rc : HONE_MIN(more, 0);
}

int dose_open(quality *q, rule *r, hone_error *err)
{
    dose_table *t;
    size_t len = r->p.file ? strlen(r->p.file) : 0;

    if (!r->p.file) /* the rule waits for a table */
        return 0;
    r->state = t = hone_calloc(1, sizeof *t);
    if (!t)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    r->set = q->n_sets++;
    if ((len > 5 && !strcmp(r->p.file + len - 5, ".yaml")) ||
        (len > 4 && !strcmp(r->p.file + len - 4, ".yml")))
        return read_yaml_table(q, r, err);
    return read_rows_table(q, r, err);
}

void dose_close(rule *r)
{
    dose_table *t = r->state;

    if (t)
        hone_free(t->item);
    hone_free(t);
}
