/* What a row says of itself: its id, task, label and group, and its weight. These stand beside the conversation and are
 * never part of it, so that no template can print them. */
#include <string.h>

#include "data/convert.h"

#define MOST_WEIGHT 1000.0

/* A number as text: the fewest digits that read back as the same number. */
static int put_number(const converter *c, hone_buf *out, const json_t *number)
{
    char text[64];
    size_t n = 0, digits;
    bool same = false;

    for (digits = json_is_integer(number) ? 17 : 15; digits <= 17 && !same; digits++) {
        json_t *again;

        n = json_dumpb(number, text, sizeof text, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        again = n && n <= sizeof text ? json_loadb(text, n, JSON_DECODE_ANY, NULL) : NULL;
        if (!again)
            return convert_no_memory(c);
        same = json_equal(again, number);
        json_decref(again);
    }
    hone_buf_add(out, text, n);
    return 0;
}

/* Appends the value of the first of the names that has one, NUL-terminated, to the texts of the row; *at is where it begins,
 * SIZE_MAX where there is none. A list or an object under a known name is another program's business, under a name that the
 * user gave it is a mistake. */
static int read_text(const converter *c, size_t *at, const json_t *row, const char *given,
                     const char *const *known)
{
    const char *const named[] = {given, NULL};
    hone_buf *texts = &c->out->meta;
    int rc = 0;

    *at = SIZE_MAX;
    for (known = given ? named : known; *known && *at == SIZE_MAX; known++) {
        const json_t *v = convert_field(row, *known);
        size_t before = texts->len;

        if (!v || (json_is_string(v) && text_is_blank(json_string_value(v))))
            continue;
        if (json_is_string(v))
            hone_buf_add(texts, json_string_value(v), json_string_length(v));
        else if (json_is_boolean(v))
            hone_buf_puts(texts, json_is_true(v) ? "true" : "false");
        else if (json_is_number(v))
            rc = put_number(c, texts, v);
        else if (given)
            return convert_wrong_type(c, given, "text or a number", v);
        else
            continue;
        hone_buf_putc(texts, 0);
        if (rc || texts->failed)
            return rc ? rc : convert_no_memory(c);
        *at = before;
    }
    return 0;
}

/* Two known names may stand side by side when they agree. In a table the number is text. */
static int read_weight(const converter *c, const json_t *row)
{
    const char *const named[] = {c->fields ? c->fields->weight : NULL, NULL};
    static const char *const known[] = {"weight", "sample_weight", NULL};
    const char *const *name;
    bool seen = false;

    for (name = named[0] ? named : known; *name; name++) {
        json_t *v;
        double w;
        int rc = convert_json(c, &v, json_object_get(row, *name), *name);

        if (rc)
            return rc;
        if (!v)
            continue;
        if (!json_is_number(v)) {
            rc = convert_wrong_type(c, *name, "a number, the weight of the row", v);
            json_decref(v);
            return rc;
        }
        w = json_number_value(v);
        json_decref(v);
        if (!((float)w > 0 && w <= MOST_WEIGHT))
            return convert_refuse(c, HONE_ERANGE, *name,
                                  w == 0 ? "a row with the weight 0 trains nothing: leave it out"
                                         : "the weight of a row is a number above 0, up to 1000");
        if (seen && (float)w != c->out->row_weight)
            return convert_refuse(c, HONE_EFORMAT, *name, "disagrees with the other weight of this row");
        seen = true;
        c->out->row_weight = (float)w;
    }
    return 0;
}

int convert_meta(converter *c, const json_t *row)
{
    static const char *const id[] = {"id", NULL}, *const task[] = {"task", "task_type", "category", NULL},
                             *const label[] = {"label", NULL},
                             *const group[] = {"group", "group_id", "session_id", NULL};
    const hone_row_fields none = {0}, *f = c->fields ? c->fields : &none;
    conversation *v = c->out;
    size_t at[4], i;
    const char **text[] = {&v->id, &v->task, &v->label, &v->group};
    int rc = read_text(c, &at[0], row, f->id, id);

    if (!rc)
        rc = read_text(c, &at[1], row, f->task, task);
    if (!rc)
        rc = read_text(c, &at[2], row, f->label, label);
    if (!rc)
        rc = read_text(c, &at[3], row, f->group, group);
    if (!rc)
        rc = read_weight(c, row);
    for (i = 0; !rc && i < HONE_COUNT(at); i++)
        *text[i] = at[i] == SIZE_MAX ? NULL : v->meta.data + at[i];
    return rc;
}
