/* Readers: every format, every refusal with its file, line and field, how files are found, and streaming. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/data.h"

#define DIR_NAME "test_rows.dir"

/* Writes a file into the test's own folder. */
static void put(const char *name, const char *text, size_t len)
{
    hone_error err = HONE_ERROR_INIT;
    char path[300];

    assert_int_equal(hone_mkdirs(DIR_NAME, &err), 0);
    snprintf(path, sizeof path, DIR_NAME "/%s", name);
    if (hone_file_write(path, text, len, &err))
        fail_msg("%s", err.message);
}

static void clean(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    char path[600];

    if (!dir)
        return;
    while ((e = readdir(dir)) != NULL) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (hone_path_is_dir(path))
            clean(path);
        else
            unlink(path);
    }
    closedir(dir);
    rmdir(folder);
}

static int tear_down(void **state)
{
    (void)state;
    clean(DIR_NAME);
    return 0;
}

/* Reads a file of the given text: all conversations, one per line, into a buffer; untrained turns behind each as
 * " -i". The result of the last call of hone_rows_next. */
static int read_text(hone_buf *out, const char *name, const char *text, hone_error *err)
{
    char path[300];
    const char *paths[1] = {path};
    hone_rows *r;
    hone_row row;
    int rc;
    size_t i;

    put(name, text, strlen(text));
    snprintf(path, sizeof path, DIR_NAME "/%s", name);
    rc = hone_rows_open(&r, paths, 1, NULL, err);
    if (rc)
        return rc;
    while ((rc = hone_rows_next(r, &row, err)) == 1) {
        hone_buf_add(out, row.conversation, row.len);
        for (i = 0; i < row.n_messages; i++)
            if (row.trained[i])
                hone_buf_printf(out, " +%zu", i);
        hone_buf_printf(out, " @%llu\n", (unsigned long long)row.line);
    }
    hone_rows_close(r);
    return rc;
}

static void assert_reads(const char *name, const char *text, const char *want)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};

    if (read_text(&out, name, text, &err))
        fail_msg("%s", err.message);
    assert_string_equal(out.data, want);
    hone_buf_clear(&out);
}

static void assert_refused(const char *name, const char *text, int code, const char *place,
                           const char *reason)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};
    char want[100];
    int rc = read_text(&out, name, text, &err);

    snprintf(want, sizeof want, DIR_NAME "/%s%s", name, place);
    if (rc != code || !strstr(err.message, want) || !strstr(err.message, reason))
        fail_msg("%s\n  gives %d `%s`\n  not %d `%s` `%s`", text, rc, err.message, code, want, reason);
    hone_buf_clear(&out);
}

static void alpaca_rows(void **state)
{
    (void)state;
    assert_reads(
        "a.json",
        "[\n  {\"instruction\": \"Q\", \"input\": \"\", \"output\": \"A\"},\n"
        "  {\"instruction\": \"Q\", \"input\": \"I\", \"output\": \"A\", \"system\": \"S\",\n"
        "   \"history\": [[\"q1\", \"a1\"], [\"q2\", \"a2\"]], \"id\": 7},\n"
        "{\"instruction\":\"\\u95ee\\n\\\"{[\",\"output\":\"\xe7\xad\x94\",\"input\":null,\"system\":\"\","
        "\"history\":[]}]\n",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Q\"},{\"role\":\"assistant\",\"content\":\"A\"}]} "
        "+1 @2\n"
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"q1\"},"
        "{\"role\":\"assistant\",\"content\":\"a1\"},{\"role\":\"user\",\"content\":\"q2\"},"
        "{\"role\":\"assistant\",\"content\":\"a2\"},{\"role\":\"user\",\"content\":\"Q\\nI\"},"
        "{\"role\":\"assistant\",\"content\":\"A\"}]} +2 +4 +6 @3\n"
        "{\"messages\":[{\"role\":\"user\",\"content\":\"\xe9\x97\xae\\n\\\"{[\"},"
        "{\"role\":\"assistant\",\"content\":\"\xe7\xad\x94\"}]} +1 @5\n");
}

static void sharegpt_rows(void **state)
{
    (void)state;
    assert_reads(
        "s.jsonl",
        "{\"conversations\":[{\"from\":\"human\",\"value\":\"h\"},{\"from\":\"gpt\",\"value\":\"g\"}],"
        "\"system\":\"S\",\"tools\":\"[]\"}\n"
        "\n"
        "{\"conversations\":[{\"from\":\"system\",\"value\":\"S\"},{\"from\":\"user\",\"value\":\"u\"},"
        "{\"from\":\"function_call\",\"value\":\"{\\\"name\\\":\\\"f\\\",\\\"arguments\\\":{\\\"x\\\":1.5}}"
        "\"},"
        "{\"from\":\"observation\",\"value\":\"{}\"},{\"from\":\"assistant\",\"value\":\"done\"}],"
        "\"tools\":\"[{\\\"name\\\":\\\"f\\\",\\\"parameters\\\":{}}]\"}\r\n",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"h\"},"
        "{\"role\":\"assistant\",\"content\":\"g\"}]} +2 @1\n"
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"u\"},"
        "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"type\":\"function\",\"function\":{"
        "\"name\":\"f\","
        "\"arguments\":{\"x\":1.5}}}]},{\"role\":\"tool\",\"content\":\"{}\"},"
        "{\"role\":\"assistant\",\"content\":\"done\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]} +2 +4 @3\n");
}

#define USER "{\"role\":\"user\",\"content\":\"u\"}"

static void message_rows(void **state)
{
    (void)state;
    assert_reads(
        "m.jsonl",
        /* content parts in both spellings, weights of every name */
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
        "\"text\",\"value\":\"b\"}],"
        "\"loss_weight\":0.0},{\"role\":\"assistant\",\"content\":\"x\",\"loss_weight\":0},"
        "{\"role\":\"user\",\"content\":\"\",\"train\":false},{\"role\":\"assistant\",\"content\":\"y\","
        "\"weight\":1},"
        "{\"role\":\"assistant\",\"content\":\"z\",\"loss\":false},{\"role\":\"assistant\",\"content\":\"w\","
        "\"train\":true}]}\n"
        /* calls in both shapes, text arguments, null content, reasoning, a tool result with its id, kwargs */
        "{\"messages\":[{\"role\":\"developer\",\"content\":\"d\"},{\"role\":\"user\",\"content\":\"u\"},"
        "{\"role\":\"assistant\",\"content\":null,\"thinking\":\"t\",\"tool_calls\":[{\"id\":\"c1\",\"type\":"
        "\"function\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"k\\\":[1,2]}\"}},{\"name\":\"g\"}]},"
        "{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"c1\",\"name\":\"f\"},"
        "{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"why\",\"tool_calls\":[]}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"chat_template_kwargs\":{"
        "\"enable_thinking\":false}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"ab\"},{\"role\":\"assistant\",\"content\":\"x\"},"
        "{\"role\":\"user\",\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"y\"},"
        "{\"role\":\"assistant\",\"content\":\"z\"},{\"role\":\"assistant\",\"content\":\"w\"}]} +3 +5 @1\n"
        "{\"messages\":[{\"role\":\"developer\",\"content\":\"d\"},{\"role\":\"user\",\"content\":\"u\"},"
        "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":"
        "\"f\","
        "\"arguments\":{\"k\":[1,2]}}},{\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":{}}}"
        "],"
        "\"reasoning_content\":\"t\"},{\"role\":\"tool\",\"content\":\"r\",\"name\":\"f\",\"tool_call_id\":"
        "\"c1\"},"
        "{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"why\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
        "\"chat_template_kwargs\":{\"enable_thinking\":false}} +2 +4 @2\n");
    /* every shape of contents and calls */
    assert_reads(
        "shapes.jsonl",
        "{\"messages\":[{\"role\":\"system\",\"content\":[],\"tools\":\"[{\\\"name\\\":\\\"f\\\"}]\"},"
        "{\"role\":\"user\",\"content\":[\"a\",{\"text\":\"b\"},{\"type\":\"text\",\"text\":\"c\",\"image\":"
        "null},"
        "{\"type\":\"input_text\",\"text\":\"d\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\",\"arguments\":\"{"
        "\\\"x\\\":1}\"}},"
        "{\"role\":\"function\",\"name\":\"f\",\"content\":\"r\"},"
        "{\"role\":\"ai\",\"content\":\"\",\"tool_calls\":\"[{\\\"name\\\":\\\"g\\\",\\\"parameters\\\":{}}]"
        "\"},"
        "{\"role\":\"tool\",\"content\":\"s\"},{\"role\":\"model\",\"content\":[{\"type\":\"output_text\","
        "\"text\":"
        "\"e\"}],\"function_call\":null}],\"tools\":[\"{\\\"name\\\":\\\"f\\\"}\"],"
        "\"chat_template_kwargs\":\"{\\\"k\\\":1}\"}\n"
        "{\"messages\":[" USER ",{\"role\":\"tool_call\",\"content\":\"{\\\"name\\\":\\\"f\\\"}\"},"
        "{\"role\":\"tool_call\",\"content\":{\"name\":\"g\"}},{\"role\":\"tool_response\",\"content\":\"1\"}"
        ","
        "{\"role\":\"tool_call\",\"content\":[{\"name\":\"h\"}],\"loss\":false},"
        "{\"role\":\"tool_call\",\"content\":{\"name\":\"i\"}}],\"functions\":[{\"name\":\"f\"}],"
        "\"system_prompt\":\"S\"}\n",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"\"},{\"role\":\"user\",\"content\":\"abcd\"},"
        "{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"arguments\":"
        "{\"x\":1}}}]},{\"role\":\"tool\",\"content\":\"r\",\"name\":\"f\"},{\"role\":\"assistant\","
        "\"content\":\"\","
        "\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":{}}}]},"
        "{\"role\":\"tool\",\"content\":\"s\"},{\"role\":\"assistant\",\"content\":\"e\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
        "\"chat_template_kwargs\":{\"k\":1}} +2 +4 +6 @1\n"
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"}," USER
        ",{\"role\":\"assistant\",\"content\":\"\","
        "\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{}}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":{}}}]},{\"role\":\"tool\","
        "\"content\":\"1\"},"
        "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"type\":\"function\",\"function\":{"
        "\"name\":\"h\","
        "\"arguments\":{}}}]},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"type\":"
        "\"function\","
        "\"function\":{\"name\":\"i\",\"arguments\":{}}}]}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]} +2 +5 @2\n");
    /* role and content under `conversations`; formats may change from row to row */
    assert_reads("mix.jsonl",
                 "\xef\xbb\xbf{\"conversations\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":"
                 "\"assistant\",\"content\":\"a\"}]}\r\n"
                 "  \r\n{\"instruction\":\"q\",\"output\":\"o\"}\r\n",
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":"
                 "\"a\"}]} +1 @1\n"
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
                 "\"o\"}]} +1 @3\n");
    /* a .json file of lines */
    assert_reads("lines.json", "\n{\"instruction\":\"q\",\"output\":\"o\"}\n",
                 "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
                 "\"o\"}]} +1 @2\n");
}

#define OK_ROW "{\"instruction\":\"q\",\"output\":\"o\"}\n"
#define TURNS(...) OK_ROW "{\"messages\":[" __VA_ARGS__ "]}\n"

static void wrong_rows_are_refused_with_line_and_field(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *place, *reason;
    } bad[] = {
        {OK_ROW "{\"instruction\":1,\"output\":\"o\"}", HONE_EFORMAT, ":2: field `instruction`",
         "found an integer"},
        {OK_ROW "\n{\"instruction\":\"q\"}", HONE_EFORMAT, ":3: field `output`", "found nothing"},
        {OK_ROW "{\"output\":\"q\"}", HONE_EFORMAT, ":2: field `instruction`", "found nothing"},
        {"{\"instruction\":\"q\",\"output\":\" \\n\"}", HONE_EFORMAT, ":1: field `output`",
         "answer is empty"},
        {"{\"instruction\":\"\",\"input\":\"\",\"output\":\"x\"}", HONE_EFORMAT, ":1: field `instruction`",
         "empty"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"input\":[]}", HONE_EFORMAT, ":1: field `input`",
         "a list"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"system\":false}", HONE_EFORMAT, ":1: field `system`",
         "false"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"history\":\"\"}", HONE_EFORMAT, ":1: field `history`",
         "text"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"history\":[[\"a\",\"b\"],[\"a\"]]}", HONE_EFORMAT,
         ":1: field `history[1]`", "two texts"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"history\":[[\"a\",\"\"]]}", HONE_EFORMAT,
         ":1: field `history[0]`", "empty"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"messages\":[" USER "]}", HONE_EFORMAT,
         ":1: field `messages`", "two formats"},
        {"{\"topic\":\"q\",\"reply\":\"x\"}", HONE_EFORMAT, ":1: ", "`topic`, `reply`"},
        {"{\"question\":\"q\",\"query\":\"r\",\"answer\":\"x\"}", HONE_EFORMAT, ":1: field `question`",
         "`query` could be meant as well"},
        {"{\"text\":\" \"}", HONE_EFORMAT, ":1: field `text`", "empty"},
        {"{\"prompt\":[],\"completion\":\"x\"}", HONE_EFORMAT, ":1: field `prompt`", "empty"},
        {"{}", HONE_EFORMAT, ":1: ", "it has none"},
        {"{\"messages\":{}}", HONE_EFORMAT, ":1: field `messages`", "an object"},
        {"{\"messages\":[]}", HONE_EFORMAT, ":1: field `messages`", "empty"},
        {TURNS("1"), HONE_EFORMAT, ":2: field `messages[0]`", "an integer"},
        {TURNS(USER), HONE_EFORMAT, ":2: field `messages`", "no turn of the assistant is trained"},
        {TURNS(USER ",{\"content\":\"a\"}"), HONE_EFORMAT, ":2: field `messages[1].role`", "found nothing"},
        {TURNS(USER ",{\"role\":\"bot\",\"content\":\"a\"}"), HONE_EFORMAT, ":2: field `messages[1].role`",
         "`bot`"},
        {TURNS("{\"role\":\"user\"}"), HONE_EFORMAT, ":2: field `messages[0].content`", "found nothing"},
        {TURNS("{\"role\":\"user\",\"content\":3.5}"), HONE_EFORMAT, ":2: field `messages[0].content`",
         "a number"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":\"\"}"), HONE_EFORMAT,
         ":2: field `messages[1].content`", "empty"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":\"a\",\"train\":0}"), HONE_EFORMAT,
         ":2: field `messages`", "no turn"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":-0.5}"), HONE_ERANGE,
         ":2: field `messages[1].weight`", "from 0 to 1000"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":\"1\"}"), HONE_EFORMAT,
         ":2: field `messages[1].weight`", "text"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":\"a\",\"weight\":1,\"train\":false}"), HONE_EFORMAT,
         ":2: field `messages[1].train`", "disagrees"},
        {TURNS("{\"role\":\"user\",\"content\":\"a\",\"train\":true}"), HONE_EUNSUPPORTED,
         ":2: field `messages[0].train`", "only turns of the assistant"},
        {TURNS("{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}"), HONE_EUNSUPPORTED,
         ":2: field `messages[0].content[0]`", "`image`"},
        {TURNS("{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}"), HONE_EFORMAT,
         ":2: field `messages[0].content[0]`", "no `text`"},
        {TURNS("{\"role\":\"user\",\"content\":[\"x\",{\"image\":\"y\"}]}"), HONE_EFORMAT,
         ":2: field `messages[0].content[1]`", "no `type`"},
        {TURNS("{\"role\":\"user\",\"content\":[null]}"), HONE_EFORMAT, ":2: field `messages[0].content[0]`",
         "found null"},
        {TURNS("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"u\"}}]}"),
         HONE_EUNSUPPORTED, ":2: field `messages[0].content[0]`", "`image_url`"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":[]}"), HONE_EFORMAT,
         ":2: field `messages[1].content`", "answer is empty"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":\"[\"}"), HONE_EFORMAT,
         ":2: field `messages[1].tool_calls`", "expected JSON"},
        {TURNS("{\"role\":\"user\",\"content\":\"x\",\"function_call\":{\"name\":\"f\"}}"), HONE_EFORMAT,
         ":2: field `messages[0].function_call`", "belong to a turn of the assistant"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"x\",\"tools\":[{\"name\":\"f\"}]}," USER
         ",{\"role\":\"assistant\",\"content\":\"a\"}],\"tools\":[{\"name\":\"g\"}]}",
         HONE_EFORMAT, ":1: field `tools`", "other tools in another place"},
        {TURNS("{\"role\":\"user\",\"content\":\"x\",\"tool_calls\":[1]}"), HONE_EFORMAT,
         ":2: field `messages[0].tool_calls`", "belong to a turn of the assistant"},
        {TURNS(USER ",{\"role\":\"assistant\",\"tool_calls\":[{\"name\":1}]}"), HONE_EFORMAT,
         ":2: field `messages[1]`", "a call"},
        {TURNS(USER ",{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\",\"arguments\":\"{\"}]}"),
         HONE_EFORMAT, ":2: field `messages[1]`", "expected JSON"},
        {TURNS(USER ",{\"role\":\"assistant\",\"tool_calls\":[{\"name\":\"f\",\"arguments\":[1]}]}"),
         HONE_EFORMAT, ":2: field `messages[1]`", "must be an object"},
        {TURNS(USER ",{\"from\":\"function_call\",\"value\":\"call f\"}"), HONE_EFORMAT,
         ":2: field `messages[1].value`", "expected JSON"},
        {TURNS(USER ",{\"from\":\"function_call\",\"value\":\"\"}"), HONE_EFORMAT,
         ":2: field `messages[1].value`", "call is empty"},
        {TURNS(USER ",{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":1}"), HONE_EFORMAT,
         ":2: field `messages[1]`", "reasoning"},
        {"{\"conversations\":[{\"from\":\"system\",\"value\":\"a\"},{\"from\":\"gpt\",\"value\":\"b\"}],"
         "\"system\":\"c\"}",
         HONE_EFORMAT, ":1: field `system`", "of their own"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"tools\":\"[\"}", HONE_EFORMAT, ":1: field `tools`",
         "expected JSON"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"tools\":{}}", HONE_EFORMAT, ":1: field `tools`",
         "a list"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"tools\":[1]}", HONE_EFORMAT, ":1: field `tools`",
         "functions"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"chat_template_kwargs\":1}", HONE_EFORMAT,
         ":1: field `chat_template_kwargs`", "an object"},
        {"{\"instruction\":\"q\",\"output\":\"x\",\"images\":[\"a.png\"]}", HONE_EUNSUPPORTED,
         ":1: field `images`", "only text"},
        {OK_ROW "[1]", HONE_EFORMAT, ":2: ", "must be an object"},
        {OK_ROW "{\"instruction\": q}", HONE_EFORMAT, ":2: broken JSON", "near 'q'"},
        {OK_ROW OK_ROW "{\"instruction\":\"q\",", HONE_EFORMAT, ":3: broken JSON", ""},
        {OK_ROW "{\"instruction\":\"q\",\"instruction\":\"p\",\"output\":\"o\"}", HONE_EFORMAT,
         ":2: broken JSON", "duplicate"},
        {OK_ROW "{\"instruction\":\"\xff\",\"output\":\"o\"}", HONE_EFORMAT, ":2: broken JSON", "0xff"},
        {OK_ROW "{\"instruction\":\"q\",\"output\":\"o\"} {}", HONE_EFORMAT, ":2: broken JSON",
         "end of file expected"},
        {"\xff\xfe{\"", HONE_EFORMAT, ":1: ", "UTF-16"},
        {"", HONE_EFORMAT, ": ", "no rows"},
        {" \n\n", HONE_EFORMAT, ": ", "no rows"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(bad); i++)
        assert_refused("bad.jsonl", bad[i].text, bad[i].code, bad[i].place, bad[i].reason);
}

static void broken_arrays_are_refused_with_their_line(void **state)
{
    static const struct {
        const char *text, *place, *reason;
    } bad[] = {
        {"[]", ": ", "no rows"},
        {"[\n\n", ":3: ", "ends inside the array"},
        {"[\n" OK_ROW, ":3: ", "ends inside the array"},
        {"[\n" OK_ROW OK_ROW "]", ":3: ", "`,` or `]`"},
        {"[\n" OK_ROW ",\n]", ":4: ", "a row must be an object"},
        {"[\n" OK_ROW ",\n7]", ":4: ", "a row must be an object"},
        {"[\n" OK_ROW ",\n{\"instruction\":\n\"q", ":4: ", "ends inside the row"},
        {"[\n" OK_ROW ",\n{\"instruction\":\n\"q,\n\"output\":\"x\"}]",
         ":5: ", "a line break inside a string"},
        {"[\n" OK_ROW ",\n{\"instruction\":\"q\",\n\"output\" \"x\"}]", ":5: broken JSON", "near"},
        {"[\n" OK_ROW "]\n\nx", ":5: ", "after the end"},
        {"[\n" OK_ROW ",\n{\"instruction\":\"q\",\n\"output\":[}}]", ":5: broken JSON", ""},
        {"[\n" OK_ROW ",{\n\n\"instruction\":\"q\"}]", ":3: field `output`", "nothing"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(bad); i++)
        assert_refused("bad.json", bad[i].text, HONE_EFORMAT, bad[i].place, bad[i].reason);
}

/* An array longer than the read buffer, cut at every place a buffer can end. */
static void long_arrays_stream(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    const char *paths[] = {DIR_NAME "/long.json"};
    hone_buf b = {0};
    hone_rows *r;
    hone_row row;
    size_t i, n = 3000;
    int rc;

    (void)state;
    hone_buf_putc(&b, '[');
    for (i = 0; i < n; i++) {
        size_t j;

        hone_buf_printf(&b, "%s\n{\"instruction\":\"q%zu \\\"\\\\\", \"output\":\n\"", i ? "," : "", i);
        for (j = 0; j < i % 97; j++)
            hone_buf_puts(&b, "\\\\}\xe4\xb8\xad");
        hone_buf_puts(&b, "x\"}");
    }
    hone_buf_puts(&b, "\n]\n");
    put("long.json", b.data, b.len);
    hone_buf_clear(&b);
    assert_int_equal(hone_rows_open(&r, paths, 1, NULL, &err), 0);
    for (i = 0; (rc = hone_rows_next(r, &row, &err)) == 1; i++) {
        char want[40];

        assert_int_equal(row.index, i);
        assert_int_equal(row.line, 2 + 2 * i);
        snprintf(want, sizeof want, "\"q%zu \\\"\\\\\"", i);
        assert_non_null(strstr(row.conversation, want));
    }
    assert_int_equal(rc, 0);
    assert_int_equal(i, n);
    hone_rows_close(r);
}

static void a_row_is_bounded(void **state)
{
    hone_error err = HONE_ERROR_INIT;
    size_t len = ((size_t)64 << 20) + 100;
    char *text = malloc(len);
    const char *paths[] = {DIR_NAME "/big.json"};
    hone_rows *r;
    hone_row row;

    (void)state;
    memset(text, ' ', len);
    memcpy(text, "[\n{", 3);
    put("big.json", text, len);
    assert_int_equal(hone_rows_open(&r, paths, 1, NULL, &err), 0);
    assert_int_equal(hone_rows_next(r, &row, &err), HONE_ELIMIT);
    assert_non_null(strstr(err.message, "big.json:2: this row is longer than 64 MiB"));
    assert_int_equal(hone_rows_next(r, &row, NULL), HONE_ELIMIT); /* a reader that failed stays failed */
    hone_rows_close(r);
    err = (hone_error)HONE_ERROR_INIT;
    memset(text, '[', len);
    memcpy(text, "{\"messages\":", 12);
    put("big.json", text, 1 << 20);
    assert_int_equal(hone_rows_open(&r, paths, 1, NULL, &err), 0);
    assert_int_equal(hone_rows_next(r, &row, &err), HONE_EFORMAT);
    assert_non_null(strstr(err.message, "big.json:1: broken JSON"));
    hone_rows_close(r);
    free(text);
}

static void assert_files(const char *const *paths, size_t n, const char *want)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};
    hone_rows *r;
    size_t i;

    if (hone_rows_open(&r, paths, n, NULL, &err))
        fail_msg("%s", err.message);
    for (i = 0; i < hone_rows_files(r); i++)
        hone_buf_printf(&out, "%s ", strrchr(hone_rows_file(r, i), '/') + 1);
    assert_string_equal(out.data, want);
    assert_null(hone_rows_file(r, i));
    hone_buf_clear(&out);
    hone_rows_close(r);
}

static void assert_no_files(const char *path, int code, const char *reason)
{
    hone_error err = HONE_ERROR_INIT;
    hone_rows *r;

    assert_int_equal(hone_rows_open(&r, &path, 1, NULL, &err), code);
    assert_null(r);
    if (!strstr(err.message, path) || !strstr(err.message, reason))
        fail_msg("%s", err.message);
}

static void files_folders_and_globs(void **state)
{
    static const char *const names[] = {"b.jsonl",  "B.json",       "a.JSONL",  "notes.txt",
                                        "notes.md", ".hidden.json", "x[1].json"};
    const char *folder[] = {DIR_NAME}, *glob[] = {DIR_NAME "/*.json*"}, *literal[] = {DIR_NAME "/x[1].json"};
    const char *list[] = {DIR_NAME "/b.jsonl", DIR_NAME "/a.JSONL", DIR_NAME "/b.jsonl"};
    hone_error err = HONE_ERROR_INIT;
    hone_rows *r;
    hone_row row;
    size_t i;

    (void)state;
    clean(DIR_NAME);
    for (i = 0; i < HONE_COUNT(names); i++)
        put(names[i], OK_ROW, strlen(OK_ROW));
    assert_int_equal(hone_mkdirs(DIR_NAME "/empty", &err), 0);
    assert_int_equal(hone_mkdirs(DIR_NAME "/folder.json", &err), 0);
    assert_files(folder, 1, "B.json a.JSONL b.jsonl x[1].json ");
    assert_files(glob, 1, "B.json b.jsonl x[1].json ");
    assert_files(literal, 1, "x[1].json ");
    assert_files(list, 3, "b.jsonl a.JSONL b.jsonl ");
    assert_no_files(DIR_NAME "/notes.md", HONE_EUNSUPPORTED, ".json, .jsonl, .ndjson");
    assert_no_files(DIR_NAME "/none.json", HONE_ENOENT, "no such file");
    assert_no_files(DIR_NAME "/*.csv", HONE_ENOENT, "no file matches");
    assert_no_files(DIR_NAME "/empty", HONE_ENOENT, "no file of rows");
    assert_int_equal(hone_rows_open(&r, folder, 0, NULL, &err), HONE_EINVAL);
    /* The index runs on over files, the file does not. */
    err = (hone_error)HONE_ERROR_INIT;
    assert_int_equal(hone_rows_open(&r, list, 2, NULL, &err), 0);
    assert_int_equal(hone_rows_next(r, &row, &err), 1);
    assert_true(row.index == 0 && row.file_index == 0 && row.line == 1);
    assert_int_equal(hone_rows_next(r, &row, &err), 1);
    assert_true(row.index == 1 && row.file_index == 1 && row.line == 1);
    assert_non_null(strstr(row.file, "a.JSONL"));
    assert_int_equal(hone_rows_next(r, &row, &err), 0);
    assert_int_equal(hone_rows_next(r, &row, &err), 0);
    hone_rows_close(r);
    hone_rows_close(NULL);
}

static bool countdown(void *ud, size_t size)
{
    int *left = ud;

    (void)size;
    return (*left)-- > 0;
}

static void *json_malloc(size_t size)
{
    return hone_alloc(size);
}

/* Every allocation fails once, jansson's own included: the reader says so and leaks nothing (the sanitizer watches).
 * jansson reports some of its failures as syntax errors, so any error will do. */
static void every_allocation_may_fail(void **state)
{
    const char *text = TURNS(
        USER
        ",{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}],\"reasoning\":\"r\","
        "\"tool_calls\":[{\"id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"}]}") "{\"instruction\":\"q\","
                                                                                "\"input\":\"i\","
                                                                                "\"output\":\"o\",\"system\":"
                                                                                "\"s\","
                                                                                "\"tools\":\"[{\\\"name\\\":"
                                                                                "\\\"f\\\"}]\"}\n";
    const char *paths[] = {DIR_NAME "/*.jsonl"};
    hone_rows *r;
    hone_row row;
    int n, left, rc = -1;

    (void)state;
    clean(DIR_NAME);
    put("oom.jsonl", text, strlen(text));
    json_set_alloc_funcs(json_malloc, hone_free);
    for (n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;
        int rows = 0;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = hone_rows_open(&r, paths, 1, NULL, &err);
        if (!rc)
            for (; (rc = hone_rows_next(r, &row, &err)) == 1; rows++)
                ;
        hone_mem_hook(NULL, NULL);
        hone_rows_close(r);
        assert_true(rc == err.code && (rc < 0 || rows == 3));
        assert_true(n < 10000);
    }
    assert_true(n > 50);
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpaca_rows),
        cmocka_unit_test(sharegpt_rows),
        cmocka_unit_test(message_rows),
        cmocka_unit_test(wrong_rows_are_refused_with_line_and_field),
        cmocka_unit_test(broken_arrays_are_refused_with_their_line),
        cmocka_unit_test(long_arrays_stream),
        cmocka_unit_test(a_row_is_bounded),
        cmocka_unit_test(files_folders_and_globs),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, tear_down);
}
