/* The folder of a cache: its key, its manifest, and opening it.
 *
 * The key is a hash of everything the ids depend on, so that a cache is found by content: a file that was moved or
 * written anew with the same bytes finds it, a changed byte or option does not. Besides the hashes of tokenizer and
 * template it takes the ids of a probe conversation, which show what they leave out: the variables a template is given
 * (bos_token), and the date where a template writes it.
 *
 * Shards are written one by one, each whole or not at all; the manifest comes last. A folder without it is what a run
 * left that was ended early, and is made anew. */
#include "data/shard_cache.h"

#include <inttypes.h>
#include <string.h>

#include "text/chat_json.h"

#define MANIFEST "manifest.json"
#define MANIFEST_LIMIT ((size_t)64 << 20)

/* ---- the key ----------------------------------------------------------------------------------------------------- */

static int add_file(hone_buf *out, const char *path, hone_error *err)
{
    hone_map map;
    int rc;

    if (path_is_stdin(path))
        return hone_error_set(err, HONE_EINVAL,
                              "standard input can not be cached: give a file, or data.cache: false");
    if ((rc = hone_map_open(&map, path, err)))
        return rc;
    hone_buf_printf(out, "file %s %s %zu %016" PRIx64 "\n", row_reader_find(path)->ending,
                    path + strlen(path) - path_packing(path), map.size,
                    shard_hash_mapped(0, map.data, map.size));
    hone_map_close(&map);
    return 0;
}

static void add_text(hone_buf *out, const char *text)
{
    hone_buf_printf(out, " %zu:%s", text ? strlen(text) : 0, text ? text : "");
}

static void add_names(hone_buf *out, const hone_rows_options *o)
{
    static const hone_row_fields no_fields;
    static const hone_row_roles no_roles;
    const hone_row_fields *f = o->fields ? o->fields : &no_fields;
    const hone_row_roles *r = o->roles ? o->roles : &no_roles;
    const char *const name[] = {f->messages, f->instruction, f->input,  f->output, f->system,
                                f->history,  f->tools,       f->text,   f->id,     f->task,
                                f->label,    f->group,       f->weight, f->role,   f->content};
    const hone_strings *const list[] = {&r->user, &r->assistant, &r->system, &r->tool};
    size_t i, k;

    _Static_assert(sizeof *f == sizeof name && sizeof *r == HONE_COUNT(list) * sizeof *list[0],
                   "every name of a field and a role is part of the key");
    hone_buf_puts(out, "fields");
    for (i = 0; i < HONE_COUNT(name); i++)
        add_text(out, name[i]);
    for (i = 0; i < HONE_COUNT(list); i++) {
        hone_buf_printf(out, "\nroles %zu", list[i]->n);
        for (k = 0; k < list[i]->n; k++)
            add_text(out, list[i]->item[k]);
    }
    hone_buf_putc(out, '\n');
}

/* The ids and mask of a short dialogue, or that the template refuses it. */
static int add_probe(hone_buf *out, const hone_chat *chat, hone_error *err)
{
    json_t *dialogue = json_pack("{s:[{s:s, s:s}, {s:s, s:s}]}", "messages", "role", "user", "content", "a",
                                 "role", "assistant", "content", "b");
    hone_encoding e = {0};
    hone_error why = HONE_ERROR_INIT;
    uint64_t h = 1;
    int rc = dialogue ? hone_chat_encode_json(chat, &e, dialogue, 0, &why) : HONE_ENOMEM;

    if (!rc) {
        h = hone_xxh64_of(0, e.tokens.id, e.tokens.n * sizeof *e.tokens.id);
        h = hone_xxh64_of(h, e.mask, e.tokens.n);
    }
    hone_encoding_clear(&e);
    json_decref(dialogue);
    if (rc == HONE_ENOMEM)
        return hone_error_set(err, rc, "out of memory");
    hone_buf_printf(out, "probe %016" PRIx64 "\n", h);
    return 0;
}

int cache_key(uint64_t key[2], char *const *file, size_t n_files, const hone_chat *chat,
              const hone_dataset_options *o, hone_error *err)
{
    const hone_tokenizer *tok = hone_chat_tokenizer(chat);
    hone_buf text = {0};
    size_t i;
    int rc;

    hone_buf_printf(&text, "hone shards %d\ntokenizer %016" PRIx64 "\ntemplate %016" PRIx64 "\n",
                    SHARD_VERSION, tok ? hone_tokenizer_hash(tok) : 0, hone_chat_hash(chat));
    hone_buf_printf(&text, "max_length %" PRId32 "\noverlong %d\nmax_samples %" PRId64 "\ntext_rows %d\n",
                    o->max_length, (int)o->overlong, HONE_MAX(o->max_samples, 0), (int)o->rows.text_rows);
    hone_buf_printf(&text, "mask_history %d\ntrain_on_prompt %d\n", o->rows.mask_history, o->train_on_prompt);
    add_names(&text, &o->rows);
    rc = add_probe(&text, chat, err);
    for (i = 0; !rc && i < n_files; i++)
        rc = add_file(&text, file[i], err);
    if (!rc && text.failed)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    if (!rc) {
        key[0] = hone_xxh64_of(0, text.data, text.len);
        key[1] = hone_xxh64_of(1, text.data, text.len);
    }
    hone_buf_clear(&text);
    return rc;
}

char *cache_folder(const char *dir, const uint64_t key[2])
{
    char name[40];

    snprintf(name, sizeof name, "%016" PRIx64 "%016" PRIx64, key[0], key[1]);
    return hone_path_join(dir, name);
}

char *cache_shard_path(const char *folder, uint32_t index)
{
    char name[40];

    snprintf(name, sizeof name, "shard-%05" PRIu32 ".bin", index);
    return hone_path_join(folder, name);
}

/* ---- the manifest ------------------------------------------------------------------------------------------------ */

#define FIELD(name)                                                                                          \
    {                                                                                                        \
#name, offsetof(hone_dataset_report, name)                                                           \
    }
static const struct {
    const char *name;
    size_t offset;
} report_field[] = {
    FIELD(rows_read),
    FIELD(rows_used),
    FIELD(rows_dropped),
    FIELD(dropped_overlong),
    FIELD(dropped_untrained),
    FIELD(rows_truncated),
    FIELD(rows_split),
    FIELD(tokens_cut),
    FIELD(trained_cut),
    FIELD(sequences),
    FIELD(tokens),
    FIELD(trained),
    FIELD(turns),
    FIELD(straddled),
    FIELD(shortest),
    FIELD(median),
    FIELD(longest),
};

static void put_hex(hone_buf *out, const char *name, uint64_t value)
{
    hone_buf_printf(out, "\"%s\": \"%016" PRIx64 "\"", name, value);
}

/* The checksum is that of the text before its own line. */
static void put_checksum(hone_buf *out)
{
    uint64_t sum = hone_xxh64_of(0, out->data, out->len);

    put_hex(out, "checksum", sum);
    hone_buf_puts(out, "}\n");
}

int cache_commit(const char *folder, const uint64_t key[2], const cache_entry *entry, size_t n,
                 const hone_dataset_report *report, hone_error *err)
{
    char *path = hone_path_join(folder, MANIFEST);
    hone_buf b = {0};
    size_t i;
    int rc;

    hone_buf_printf(
        &b, "{\"format\": \"hone shards\", \"version\": %d, \"key\": \"%016" PRIx64 "%016" PRIx64 "\",\n",
        SHARD_VERSION, key[0], key[1]);
    hone_buf_puts(&b, "\"shards\": [");
    for (i = 0; i < n; i++) {
        hone_buf_puts(&b, i ? ",\n{" : "\n{");
        put_hex(&b, "checksum", entry[i].checksum);
        hone_buf_printf(&b, ", \"size\": %" PRIu64 ", \"rows\": %" PRIu64 ", \"sequences\": %" PRIu64 "}",
                        entry[i].size, entry[i].rows, entry[i].sequences);
    }
    hone_buf_puts(&b, "],\n\"report\": {");
    for (i = 0; i < HONE_COUNT(report_field); i++)
        hone_buf_printf(&b, "%s\"%s\": %" PRIu64, i ? ", " : "", report_field[i].name,
                        *(const uint64_t *)((const char *)report + report_field[i].offset));
    hone_buf_puts(&b, "},\n");
    if (!b.failed)
        put_checksum(&b);
    rc = path && !b.failed ? hone_file_write(path, b.data, b.len, err)
                           : hone_error_set(err, HONE_ENOMEM, "out of memory for the manifest of a cache");
    hone_buf_clear(&b);
    hone_free(path);
    return rc;
}

static bool get_number(uint64_t *out, const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);

    *out = json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : 0;
    return json_is_integer(v) && json_integer_value(v) >= 0;
}

/* "checksum": "<16 digits>" */
static bool has_hex(const json_t *object, const char *name, uint64_t value)
{
    const char *text = json_string_value(json_object_get(object, name));
    char want[20];

    snprintf(want, sizeof want, "%016" PRIx64, value);
    return text && !strcmp(text, want);
}

/* Reads the manifest and compares it with its checksum and the key. */
static int read_manifest(json_t **out, const char *path, const uint64_t key[2], hone_error *err)
{
    static const char last[] = "\"checksum\": \"0123456789abcdef\"}\n";
    char *text = NULL, want[40];
    const char *got;
    json_t *root = NULL;
    json_error_t e;
    size_t len;
    int rc = hone_file_read(&text, &len, path, MANIFEST_LIMIT, err);

    *out = NULL;
    if (rc)
        return rc;
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    snprintf(want, sizeof want, "%016" PRIx64 "%016" PRIx64, key[0], key[1]);
    got = json_string_value(json_object_get(root, "key"));
    if (!root && json_error_code(&e) == json_error_out_of_memory)
        rc = hone_error_set(err, HONE_ENOMEM, "%s: out of memory", path);
    else if (!root || len < sizeof last ||
             !has_hex(root, "checksum", hone_xxh64_of(0, text, len - (sizeof last - 1))))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: the manifest is damaged", path);
    else if (!got || strcmp(got, want))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: the manifest is of another cache", path);
    hone_free(text);
    if (rc)
        json_decref(root);
    else
        *out = root;
    return rc;
}

/* The next shard must be what the manifest says and go on where the one before it ended. */
static int open_shard(shard *out, const char *folder, uint32_t index, const json_t *entry,
                      const uint64_t key[2], const shard *before, size_t n_files, hone_error *err)
{
    char *path = cache_shard_path(folder, index);
    uint64_t size, rows, sequences, i;
    shard_header h;
    int rc = path ? shard_open(out, &h, path, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");

    if (rc == HONE_ENOENT) { /* the manifest names it, so the cache is damaged */
        rc = HONE_EFORMAT;
        if (err)
            err->code = rc;
    }
    if (!rc && (h.key[0] != key[0] || h.key[1] != key[1]))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: a shard of another cache", path);
    if (!rc && (!get_number(&size, entry, "size") || !get_number(&rows, entry, "rows") ||
                !get_number(&sequences, entry, "sequences") || size != h.size || rows != h.n[SHARD_ROWS] ||
                sequences != h.n[SHARD_SEQUENCES] || !has_hex(entry, "checksum", h.checksum) ||
                h.index != index || h.first_row != (before ? before->first_row + before->n[SHARD_ROWS] : 0) ||
                h.first_sequence != (before ? before->first_sequence + before->n[SHARD_SEQUENCES] : 0)))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: not the shard that the manifest names", path);
    for (i = 0; !rc && i < h.n[SHARD_ROWS]; i++)
        if (shard_rows(out)[i].file >= n_files)
            rc = hone_error_set(err, HONE_EFORMAT, "%s: a row of no input file", path);
    hone_free(path);
    return rc;
}

int cache_open(shard **out, size_t *n, hone_dataset_report *report, const char *folder, const uint64_t key[2],
               size_t n_files, hone_error *err)
{
    char *path = hone_path_join(folder, MANIFEST);
    json_t *root = NULL;
    const json_t *list, *numbers;
    shard *s = NULL;
    size_t i, count = 0;
    int rc = path ? read_manifest(&root, path, key, err) : hone_error_set(err, HONE_ENOMEM, "out of memory");

    *out = NULL;
    *n = 0;
    memset(report, 0, sizeof *report);
    list = json_object_get(root, "shards");
    numbers = json_object_get(root, "report");
    if (!rc && !json_array_size(list))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: the manifest names no shard", path);
    if (!rc && !(s = hone_calloc(json_array_size(list), sizeof *s)))
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; !rc && i < HONE_COUNT(report_field); i++)
        if (!get_number((uint64_t *)((char *)report + report_field[i].offset), numbers, report_field[i].name))
            rc = hone_error_set(err, HONE_EFORMAT, "%s: `report` lacks `%s`", path, report_field[i].name);
    for (; !rc && count < json_array_size(list); count++)
        rc = open_shard(&s[count], folder, (uint32_t)count, json_array_get(list, count), key,
                        count ? &s[count - 1] : NULL, n_files, err);
    if (!rc && (report->rows_read != s[count - 1].first_row + s[count - 1].n[SHARD_ROWS] ||
                report->sequences != s[count - 1].first_sequence + s[count - 1].n[SHARD_SEQUENCES]))
        rc = hone_error_set(err, HONE_EFORMAT, "%s: the counts are not those of the shards", path);
    if (rc) {
        while (s && count--)
            shard_close(&s[count]);
        hone_free(s);
    } else {
        *out = s;
        *n = count;
    }
    json_decref(root);
    hone_free(path);
    return rc;
}
