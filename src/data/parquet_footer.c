/* The footer of a parquet file: the schema as a tree laid flat in reading order, and where the pages of every column
 * of every row group lie. Field numbers are those of parquet.thrift. */
#include <string.h>

#include "data/parquet.h"

static int broken(const parquet_file *f, hone_error *err, const char *reason)
{
    return hone_error_set(err, HONE_EFORMAT, "%s: broken parquet footer: %s", f->path, reason);
}

static int out_of_memory(const parquet_file *f, hone_error *err)
{
    return hone_error_set(err, HONE_ENOMEM, "%s: out of memory", f->path);
}

/* ---- schema ------------------------------------------------------------------------------------------------------ */

static int read_node(parquet_file *f, parquet_node *n, thrift *t, hone_error *err)
{
    int64_t children = 0, type = -1, repetition = 0;
    const uint8_t *bytes;
    thrift_type field;
    int id = 0, inner;
    size_t len;

    n->converted = -1;
    while ((field = thrift_field(t, &id)) != THRIFT_STOP)
        if (id == 1 && field == THRIFT_I32) {
            type = thrift_int(t);
        } else if (id == 3 && field == THRIFT_I32) {
            repetition = thrift_int(t);
        } else if (id == 4 && field == THRIFT_BINARY && !n->name) {
            len = thrift_binary(t, &bytes);
            n->name = hone_strndup((const char *)bytes, len);
            if (!n->name)
                return out_of_memory(f, err);
            if (strlen(n->name) != len)
                return broken(f, err, "a column's name holds a NUL byte");
        } else if (id == 5 && field == THRIFT_I32) {
            children = thrift_int(t);
        } else if (id == 6 && field == THRIFT_I32) {
            n->converted = (int)thrift_int(t);
            n->list |= n->converted == 3;
        } else if (id == 10 && field == THRIFT_STRUCT) { /* LogicalType, a union: 3 is LIST */
            for (inner = 0; (field = thrift_field(t, &inner)) != THRIFT_STOP;) {
                n->list |= inner == 3;
                thrift_skip(t, field, 0);
            }
        } else {
            thrift_skip(t, field, 0);
        }
    if (t->failed)
        return broken(f, err, "the schema ends too early");
    if (!n->name)
        return broken(f, err, "a column without a name");
    if (children < 0 || children > PARQUET_COLUMNS || repetition < 0 || repetition > PARQUET_REPEATED ||
        type > PARQUET_FIXED || (!children && type < 0))
        return broken(f, err, "a column that is neither a value nor a group");
    n->n_children = (uint32_t)children;
    n->type = (parquet_type)type;
    n->repetition = (parquet_repetition)repetition;
    if (!children && (type == PARQUET_INT96 || type == PARQUET_FIXED))
        return hone_error_set(
            err, HONE_EUNSUPPORTED,
            "%s: column `%.60s`: type %s is not supported; supported: BOOLEAN, INT32, INT64, "
            "FLOAT, DOUBLE, BYTE_ARRAY",
            f->path, n->name, type == PARQUET_INT96 ? "INT96" : "FIXED_LEN_BYTE_ARRAY");
    return 0;
}

/* Sets levels, leaves and `next` of node i and of all below it. */
static int place_node(parquet_file *f, uint32_t i, int def, int rep, int depth, hone_error *err)
{
    parquet_node *n = &f->node[i];
    uint32_t child, at = i + 1;
    int rc;

    if (depth > PARQUET_DEPTH)
        return broken(f, err, "groups nested too deep");
    if (i) { /* the row itself has no levels */
        def += n->repetition != PARQUET_REQUIRED;
        rep += n->repetition == PARQUET_REPEATED;
    }
    n->max_def = def;
    n->max_rep = rep;
    n->first_leaf = f->n_leaves;
    if (!n->n_children)
        f->leaf[f->n_leaves++] = i;
    for (child = 0; child < n->n_children; child++) {
        if (at >= f->n_nodes)
            return broken(f, err, "a group with fewer columns than it says");
        rc = place_node(f, at, def, rep, depth + 1, err);
        if (rc)
            return rc;
        at = f->node[at].next;
    }
    n->next = at;
    n->n_leaves = f->n_leaves - n->first_leaf;
    return 0;
}

static int read_schema(parquet_file *f, thrift *t, hone_error *err)
{
    thrift_type element;
    size_t n = thrift_list(t, &element), i;
    int rc = 0;

    if (f->node || element != THRIFT_STRUCT || n < 2)
        return broken(f, err, "no schema");
    if (n > PARQUET_COLUMNS)
        return hone_error_set(err, HONE_ELIMIT, "%s: more than %d columns", f->path, PARQUET_COLUMNS);
    f->node = hone_calloc(n, sizeof *f->node);
    f->leaf = hone_calloc(n, sizeof *f->leaf);
    if (!f->node || !f->leaf)
        return out_of_memory(f, err);
    f->n_nodes = (uint32_t)n;
    for (i = 0; !rc && i < n; i++)
        rc = read_node(f, &f->node[i], t, err);
    if (!rc && !f->node[0].n_children)
        rc = broken(f, err, "a row without columns");
    if (!rc)
        rc = place_node(f, 0, 0, 0, 0, err);
    if (!rc && f->node[0].next != f->n_nodes)
        rc = broken(f, err, "columns outside the row");
    return rc;
}

/* ---- row groups ---------------------------------------------------------------------------------------------------- */

/* ColumnMetaData */
static int read_column(const parquet_file *f, parquet_chunk *c, thrift *t, uint32_t leaf, hone_error *err)
{
    int64_t size = -1, data = -1, dictionary = -1, values = -1, type = -1, codec = -1, begin;
    thrift_type field;
    int id = 0;

    while ((field = thrift_field(t, &id)) != THRIFT_STOP) {
        int64_t *out = id == 1 && field == THRIFT_I32    ? &type
                       : id == 4 && field == THRIFT_I32  ? &codec
                       : id == 5 && field == THRIFT_I64  ? &values
                       : id == 7 && field == THRIFT_I64  ? &size
                       : id == 9 && field == THRIFT_I64  ? &data
                       : id == 11 && field == THRIFT_I64 ? &dictionary
                                                         : NULL;

        if (out)
            *out = thrift_int(t);
        else
            thrift_skip(t, field, 0);
    }
    begin = dictionary > 0 && dictionary < data ? dictionary : data;
    if (t->failed || values < 0 || size < 0 || begin < 4 || (uint64_t)begin > f->map.size - 8 ||
        (uint64_t)size > f->map.size - 8 - (uint64_t)begin || type != (int64_t)f->node[f->leaf[leaf]].type)
        return broken(f, err, "a column chunk that does not lie in the file or is of another type");
    *c = (parquet_chunk){(uint64_t)begin, (uint64_t)(begin + size), (uint64_t)values, (int)codec};
    return 0;
}

static int read_group(const parquet_file *f, parquet_group *g, thrift *t, hone_error *err)
{
    thrift_type field, element;
    int64_t rows = -1;
    int id = 0, inner, rc = 0;
    bool read = false;
    size_t n, i;

    while (!rc && (field = thrift_field(t, &id)) != THRIFT_STOP)
        if (id == 1 && field == THRIFT_LIST && !g->chunk) {
            n = thrift_list(t, &element);
            if (n != f->n_leaves || element != THRIFT_STRUCT)
                return broken(f, err, "a row group with another number of columns");
            g->chunk = hone_calloc(n, sizeof *g->chunk);
            if (!g->chunk)
                return out_of_memory(f, err);
            for (i = 0; !rc && i < n; i++) {
                for (inner = 0, read = false; !rc && (field = thrift_field(t, &inner)) != THRIFT_STOP;)
                    if (inner == 1 && field == THRIFT_BINARY) {
                        return hone_error_set(err, HONE_EUNSUPPORTED, "%s: columns in other files", f->path);
                    } else if (inner == 3 && field == THRIFT_STRUCT) {
                        rc = read_column(f, &g->chunk[i], t, (uint32_t)i, err);
                        read = true;
                    } else {
                        thrift_skip(t, field, 0);
                    }
                if (!rc && !read)
                    rc = broken(f, err, "a column chunk without its description");
            }
        } else if (id == 3 && field == THRIFT_I64) {
            rows = thrift_int(t);
        } else {
            thrift_skip(t, field, 0);
        }
    if (!rc && (t->failed || !g->chunk || rows < 0))
        rc = broken(f, err, "a row group ends too early");
    g->n_rows = (uint64_t)rows;
    return rc;
}

static int read_groups(parquet_file *f, thrift *t, hone_error *err)
{
    thrift_type element;
    size_t n = thrift_list(t, &element), i;
    int rc = 0;

    if (f->group || (n && element != THRIFT_STRUCT) || !f->node)
        return broken(f, err, "row groups out of place");
    f->group = hone_calloc(n, sizeof *f->group);
    if (!f->group)
        return out_of_memory(f, err);
    f->n_groups = n;
    for (i = 0; !rc && i < n; i++)
        rc = read_group(f, &f->group[i], t, err);
    return rc;
}

static int read_footer(parquet_file *f, thrift *t, hone_error *err)
{
    thrift_type field;
    int id = 0, rc = 0;

    while (!rc && (field = thrift_field(t, &id)) != THRIFT_STOP)
        if (id == 2 && field == THRIFT_LIST)
            rc = read_schema(f, t, err);
        else if (id == 4 && field == THRIFT_LIST)
            rc = read_groups(f, t, err);
        else
            thrift_skip(t, field, 0);
    if (!rc && (t->failed || !f->node || !f->group))
        rc = broken(f, err, "it ends too early");
    return rc;
}

int parquet_open(parquet_file *f, const char *path, hone_error *err)
{
    const uint8_t *p;
    uint32_t len;
    thrift t = {0};
    int rc;

    *f = (parquet_file){.path = path};
    rc = hone_map_open(&f->map, path, err);
    if (rc)
        return rc;
    p = f->map.data;
    if (f->map.size < 12 || memcmp(p, "PAR1", 4) || memcmp(p + f->map.size - 4, "PAR1", 4)) {
        bool encrypted = f->map.size >= 4 && !memcmp(p + f->map.size - 4, "PARE", 4);

        rc = encrypted ? hone_error_set(err, HONE_EUNSUPPORTED,
                                        "%s: encrypted parquet files are not supported", path)
                       : hone_error_set(err, HONE_EFORMAT,
                                        "%s: not a parquet file, or cut short (no PAR1 at its ends)", path);
    } else {
        memcpy(&len, p + f->map.size - 8, 4);
        if (len > f->map.size - 12) {
            rc = broken(f, err, "it is longer than the file");
        } else {
            t.end = p + f->map.size - 8;
            t.at = t.end - len;
            rc = read_footer(f, &t, err);
        }
    }
    if (rc)
        parquet_close(f);
    return rc;
}

void parquet_close(parquet_file *f)
{
    size_t i;

    for (i = 0; f->node && i < f->n_nodes; i++)
        hone_free(f->node[i].name);
    for (i = 0; f->group && i < f->n_groups; i++)
        hone_free(f->group[i].chunk);
    hone_free(f->node);
    hone_free(f->leaf);
    hone_free(f->group);
    hone_map_close(&f->map);
    *f = (parquet_file){0};
}
