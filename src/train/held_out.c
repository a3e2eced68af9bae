/* Tasks and questions of the evaluation rows: see held_out.h. A dataset holds tokens alone, so the files are read again;
 * they are those of the evaluation, and short. */
#include "train/held_out.h"

#include <string.h>

#include "format/json.h"
#include "format/json_quick.h"
#include "text/chat_json.h"

void hone_held_out_clear(hone_held_out *h)
{
    size_t i;

    for (i = 0; i < h->n_tasks; i++)
        hone_free(h->name[i]);
    for (i = 0; i < h->n_questions; i++) {
        hone_free(h->question[i].id);
        hone_free(h->question[i].prompt);
        hone_free(h->question[i].reference);
        hone_free(h->question[i].file);
    }
    hone_free(h->name);
    hone_free(h->task);
    hone_free(h->question);
    *h = (hone_held_out){0};
}

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

/* Index of a task, which is added when it is new; that of "" when there are too many. */
static int find_task(hone_held_out *h, const char *name, size_t *index)
{
    size_t i;

    for (i = 0; i < h->n_tasks; i++)
        if (!strcmp(h->name[i], name))
            break;
    *index = i;
    if (i < h->n_tasks)
        return 0;
    if (*name && h->n_tasks >= HONE_MOST_TASKS - 1)
        return find_task(h, "", index);
    h->name[i] = hone_strdup(name);
    if (!h->name[i])
        return HONE_ENOMEM;
    h->n_tasks++;
    return 0;
}

static void drop_tasks(hone_held_out *h)
{
    while (h->n_tasks)
        hone_free(h->name[--h->n_tasks]);
}

void hone_task_sums_begin(hone_task_sums *s, const hone_held_out *h)
{
    size_t i;

    memset(s, 0, sizeof *s);
    s->held_out = h;
    for (i = 0; i < h->n_tasks; i++)
        s->result[i].task = h->name[i];
}

void hone_task_sums_row(void *sums, const hone_eval_row *row)
{
    hone_task_sums *s = sums;
    size_t task;

    if (!s->held_out->n_tasks || s->next >= s->held_out->n_rows)
        return;
    task = s->held_out->task[s->next++];
    s->loss[task] += row->weighted;
    s->weight[task] += row->weight;
    s->result[task].tokens += row->tokens;
    s->result[task].rows++;
}

void hone_task_sums_end(hone_task_sums *s)
{
    size_t i;

    for (i = 0; i < s->held_out->n_tasks; i++)
        s->result[i].loss = s->weight[i] > 0 ? s->loss[i] / s->weight[i] : 0;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

/* A text as it is, anything else as JSON. Allocated. */
static char *text_of(const json_t *content)
{
    hone_buf b = {0};

    if (json_is_string(content))
        return hone_strndup(json_string_value(content), json_string_length(content));
    if (content)
        hone_json_write(&b, content);
    return content ? hone_buf_take(&b) : hone_strdup("");
}

static const char *role_of(const json_t *messages, size_t i)
{
    const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));

    return role ? role : "";
}

/* Adds the question that `root` asks last; what follows its last user message is the reference. A conversation that asks
 * nothing, or too much for the model, is passed over. */
static int add_question(hone_held_out *h, const hone_held_out_params *p, json_t *root, const char *file,
                        uint64_t line, hone_error *err)
{
    json_t *messages = json_object_get(root, "messages");
    size_t n = json_array_size(messages), end;
    hone_question q = {.line = line};
    hone_encoding e = {0};
    int rc;

    for (end = n; end > 0 && strcmp(role_of(messages, end - 1), "user");)
        end--;
    if (!end)
        return 0;
    q.prompt = text_of(json_object_get(json_array_get(messages, end - 1), "content"));
    if (end < n && !strcmp(role_of(messages, end), "assistant"))
        q.reference = text_of(json_object_get(json_array_get(messages, end), "content"));
    q.file = file ? hone_strdup(file) : NULL;
    while (json_array_size(messages) > end)
        json_array_remove(messages, end);
    rc = hone_chat_encode_json(p->chat, &e, root, HONE_CHAT_GENERATION_PROMPT, NULL);
    if (rc || e.tokens.n + 1 > (size_t)p->context || !q.prompt) {
        hone_free(q.prompt);
        hone_free(q.reference);
        hone_free(q.file);
        hone_encoding_clear(&e);
        return rc == HONE_ENOMEM ? hone_error_set(err, rc, "out of memory for a question") : 0;
    }
    q.id = e.tokens.id;
    q.n = e.tokens.n;
    e.tokens.id = NULL; /* ours now */
    hone_encoding_clear(&e);
    h->question[h->n_questions++] = q;
    h->longest = HONE_MAX(h->longest, (int32_t)q.n);
    return 0;
}

static int ask_row(hone_held_out *h, const hone_held_out_params *p, const hone_row *row, hone_error *err)
{
    json_t *root = NULL;
    int rc = hone_json_parse(&root, row->conversation, row->len, row->file, err);

    if (!rc)
        rc = add_question(h, p, root, row->file, row->line, err);
    json_decref(root);
    return rc;
}

static int ask_prompts(hone_held_out *h, const hone_held_out_params *p, size_t most, hone_error *err)
{
    const hone_strings *list = &p->c->training.sample_prompts;
    size_t i;
    int rc = 0;

    for (i = 0; !rc && i < list->n && h->n_questions < most; i++) {
        json_t *root = json_pack("{s:[{s:s, s:s}]}", "messages", "role", "user", "content", list->item[i]);

        rc = root ? add_question(h, p, root, NULL, 0, err)
                  : hone_error_set(err, HONE_EINVAL, "training.sample_prompts: a text that is no UTF-8");
        json_decref(root);
    }
    return rc;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool readable_again(const hone_strings *paths)
{
    size_t i;

    for (i = 0; i < paths->n; i++)
        if (paths->item[i][0] == '-')
            return false;
    return paths->n > 0;
}

static int open_rows(hone_rows **rows, const hone_config *c, const hone_strings *paths, hone_error *err)
{
    hone_dataset_options o;
    char *cache_dir = NULL;
    int rc = hone_dataset_options_from(&o, &cache_dir, c, err);

    if (!rc)
        rc = hone_rows_open(rows, (const char *const *)paths->item, paths->n, &o.rows, err);
    hone_free(cache_dir);
    return rc;
}

static int read_sample_rows(hone_held_out *h, const hone_held_out_params *p, size_t most, hone_error *err)
{
    hone_rows *rows = NULL;
    hone_row row;
    int rc = open_rows(&rows, p->c, &p->c->training.sample_data_path, err);

    if (rc)
        return rc;
    while (h->n_questions < most && (rc = hone_rows_next(rows, &row, err)) == 1)
        if ((rc = ask_row(h, p, &row, err)))
            break;
    hone_rows_close(rows);
    return HONE_MIN(rc, 0);
}

/* The evaluation rows: their tasks, and the first `most` questions. Parts of a split row follow one another. */
static int read_rows(hone_held_out *h, const hone_held_out_params *p, size_t most, hone_error *err)
{
    const hone_config *c = p->c;
    hone_rows *rows = NULL;
    hone_row row;
    size_t at = 0, task;
    bool named = false;
    int rc = open_rows(&rows, c,
                       c->data.eval_data_path.n ? &c->data.eval_data_path : &c->data.train_data_path, err);

    if (rc)
        return rc;
    while (at < p->n && (rc = hone_rows_next(rows, &row, err)) == 1) {
        if (hone_dataset_get(p->data, p->which[at]).row != row.index)
            continue;
        if (h->n_questions < most && (rc = ask_row(h, p, &row, err)))
            break;
        named |= row.task && *row.task;
        if ((rc = find_task(h, row.task ? row.task : "", &task))) {
            hone_error_set(err, rc, "out of memory for the tasks");
            break;
        }
        for (; at < p->n && hone_dataset_get(p->data, p->which[at]).row == row.index; at++)
            h->task[at] = (uint8_t)task;
    }
    if (!named || at < p->n)
        drop_tasks(h);
    hone_rows_close(rows);
    return HONE_MIN(rc, 0);
}

int hone_held_out_read(hone_held_out *out, const hone_held_out_params *p, hone_error *err)
{
    const hone_config *c = p->c;
    size_t most = p->questions ? (size_t)c->training.sample_count : 0;
    bool own = c->training.sample_prompts.n || c->training.sample_data_path.n;
    int rc = 0;

    *out = (hone_held_out){.n_rows = p->n};
    if (!p->n)
        return 0;
    out->task = hone_calloc(p->n, sizeof *out->task);
    out->name = hone_calloc(HONE_MOST_TASKS, sizeof *out->name);
    out->question = hone_calloc(HONE_MAX(most, 1), sizeof *out->question);
    if (!out->task || !out->name || !out->question)
        rc = hone_error_set(err, HONE_ENOMEM, "out of memory for %zu evaluation rows", p->n);
    if (!rc)
        rc = ask_prompts(out, p, most, err);
    if (!rc && c->training.sample_data_path.n && out->n_questions < most)
        rc = read_sample_rows(out, p, most, err);
    if (!rc && readable_again(c->data.eval_data_path.n ? &c->data.eval_data_path : &c->data.train_data_path))
        rc = read_rows(out, p, own ? 0 : most, err);
    if (!rc && most && own && out->n_questions < most && p->note && !out->n_questions)
        p->note(p->ud, "none of the sample questions fits the model: none is asked");
    if (rc)
        hone_held_out_clear(out);
    return rc;
}
