/* What a row says of itself (id, task, label, group, weight), and the names of roles that a file has for itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hone/data.h"

static char path[100];

static void put(const char *ending, const char *text)
{
    hone_error err = HONE_ERROR_INIT;

    snprintf(path, sizeof path, "test_row_meta%s", ending);
    if (hone_file_write(path, text, strlen(text), &err))
        fail_msg("%s", err.message);
}

/* Every row as "id|task|label|group|weight conversation i*weight...\n"; the last result. */
static int read_rows(hone_buf *out, const hone_rows_options *o, hone_error *err)
{
    const char *paths[] = {path};
    hone_rows *r;
    hone_row row;
    size_t i;
    int rc = hone_rows_open(&r, paths, 1, o, err);

    if (rc)
        return rc;
    while ((rc = hone_rows_next(r, &row, err)) == 1) {
        hone_buf_printf(out, "%s|%s|%s|%s|%g ", row.id ? row.id : "-", row.task ? row.task : "-",
                        row.label ? row.label : "-", row.group ? row.group : "-", (double)row.row_weight);
        hone_buf_add(out, row.conversation, row.len);
        for (i = 0; i < row.n_messages; i++)
            if (row.weight[i] != 0)
                hone_buf_printf(out, " %zu*%g", i, (double)row.weight[i]);
        hone_buf_puts(out, row.fractional ? " fractional\n" : "\n");
    }
    hone_rows_close(r);
    return rc;
}

static void assert_rows(const char *ending, const char *text, const hone_rows_options *o, const char *want)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};

    put(ending, text);
    if (read_rows(&out, o, &err))
        fail_msg("%s", err.message);
    assert_string_equal(out.data, want);
    hone_buf_clear(&out);
    unlink(path);
}

static void assert_refused(const char *text, const hone_rows_options *o, int code, const char *reason)
{
    hone_error err = HONE_ERROR_INIT;
    hone_buf out = {0};
    int rc;

    put(".jsonl", text);
    rc = read_rows(&out, o, &err);
    if (rc != code || !strstr(err.message, reason))
        fail_msg("%s: %d %s\n  not %d %s", text, rc, err.message, code, reason);
    hone_buf_clear(&out);
    unlink(path);
}

#define QA "\"question\":\"q\",\"answer\":\"a\""
#define SAID                                                                                                 \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}]}"

static void known_names(void **state)
{
    (void)state;
    assert_rows(".jsonl",
                "{" QA ",\"id\":\"x\",\"task\":\"t\",\"label\":\"l\",\"group\":\"g\",\"weight\":2}\n"
                "{" QA ",\"category\":\"c\",\"group_id\":7,\"sample_weight\":0.5}\n"
                "{" QA ",\"task\":\" \",\"task_type\":\"t\",\"category\":\"c\",\"session_id\":\"s\"}\n"
                "{" QA ",\"id\":9007199254740993,\"label\":true}\n"
                "{" QA ",\"id\":0.1,\"label\":-1e300,\"group\":1.0}\n"
                "{" QA ",\"id\":null,\"label\":[\"a\",\"b\"],\"category\":{},\"weight\":1}\n",
                NULL,
                "x|t|l|g|2 " SAID " 1*2 fractional\n"
                "-|c|-|7|0.5 " SAID " 1*0.5 fractional\n"
                "-|t|-|s|1 " SAID " 1*1\n"
                "9007199254740993|-|true|-|1 " SAID " 1*1\n"
                "0.1|-|-1e300|1.0|1 " SAID " 1*1\n"
                "-|-|-|-|1 " SAID " 1*1\n");
    assert_rows(".csv", "id,question,answer,weight,label\n1,q,a,0.25,7\n2,q,a,,\n", NULL,
                "1|-|7|-|0.25 " SAID " 1*0.25 fractional\n2|-|-|-|1 " SAID " 1*1\n");
    assert_rows(".jsonl", "{\"text\":\"t\",\"id\":3,\"weight\":0.5}\n{\"text\":\"t\"}\n", NULL,
                "3|-|-|-|0.5 {\"text\":\"t\"} fractional\n-|-|-|-|1 {\"text\":\"t\"}\n");
}

/* The weights of turns and of the row are multiplied; what is not trained stays so. */
static void weights_of_turns_and_rows(void **state)
{
    (void)state;
    assert_rows(".jsonl",
                "{\"weight\":0.5,\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
                "{\"role\":\"assistant\",\"content\":\"a\",\"loss_weight\":2},"
                "{\"role\":\"assistant\",\"content\":\"b\",\"train\":false},"
                "{\"role\":\"assistant\",\"content\":\"c\"}]}\n",
                NULL,
                "-|-|-|-|0.5 {\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
                "{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
                "{\"role\":\"assistant\",\"content\":\"c\"}]} 1*1 3*0.5 fractional\n");
    assert_refused("{" QA ",\"weight\":0}\n", NULL, HONE_ERANGE,
                   ":1: field `weight`: a row with the weight 0 trains nothing");
    assert_refused("{" QA ",\"weight\":-1}\n", NULL, HONE_ERANGE, "a number above 0, up to 1000");
    assert_refused("{" QA ",\"weight\":1001}\n", NULL, HONE_ERANGE, "a number above 0, up to 1000");
    assert_refused("{" QA ",\"weight\":1e-60}\n", NULL, HONE_ERANGE, "a number above 0, up to 1000");
    assert_refused("{" QA ",\"weight\":true}\n", NULL, HONE_EFORMAT,
                   "field `weight`: expected a number, the weight of the row, found true");
    assert_refused("{" QA ",\"weight\":\"70 kg\"}\n", NULL, HONE_EFORMAT, "field `weight`: expected JSON");
    assert_refused("{" QA ",\"weight\":1,\"sample_weight\":2}\n", NULL, HONE_EFORMAT,
                   "field `sample_weight`: disagrees");
}

static void names_of_the_files(void **state)
{
    char id[] = "uid", task[] = "kind", label[] = "answer", group[] = "patient", weight[] = "w";
    hone_row_fields f = {.id = id, .task = task, .label = label, .group = group, .weight = weight};
    hone_rows_options o = {.fields = &f};

    (void)state;
    assert_rows(".jsonl",
                "{" QA
                ",\"uid\":\"u\",\"id\":\"x\",\"kind\":\"k\",\"task\":\"t\",\"label\":\"l\",\"patient\":5,"
                "\"w\":3,\"weight\":9}\n",
                &o, "u|k|a|5|3 " SAID " 1*3 fractional\n");
    assert_rows(".jsonl", "{" QA "}\n", &o, "-|-|a|-|1 " SAID " 1*1\n");
    assert_refused("{" QA ",\"kind\":[1]}\n", &o, HONE_EFORMAT,
                   "field `kind`: expected text or a number, found a list");
}

static void names_of_roles(void **state)
{
    char ask[] = "patient", reply[] = "bot", rules[] = "rules", result[] = "function_call", other[] = "gpt";
    char *user[] = {other, ask}, *assistant[] = {reply}, *system[] = {rules}, *tool[] = {result},
         *twice[] = {ask};
    hone_row_roles r = {{user, 2}, {assistant, 1}, {system, 1}, {tool, 1}},
                   bad = {.user = {user, 2}, .tool = {twice, 1}};
    const char *row =
        "{\"messages\":[{\"role\":\"rules\",\"content\":\"s\"},{\"role\":\"gpt\",\"content\":\"g\"},"
        "{\"role\":\"patient\",\"content\":\"q\"},{\"role\":\"bot\",\"content\":\"a\"},"
        "{\"role\":\"function_call\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n";

    (void)state;
    assert_rows(
        ".jsonl", row, &(hone_rows_options){.roles = &r},
        "-|-|-|-|1 "
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"g\"},"
        "{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"},"
        "{\"role\":\"tool\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"b\"}]} 3*1 5*1\n");
    assert_refused(row, NULL, HONE_EFORMAT, "unknown role `rules`");
    assert_refused(row, &(hone_rows_options){.roles = &bad}, HONE_EINVAL,
                   "data.roles.tool: `patient` is a name of user too");
}

static bool countdown(void *ud, size_t size)
{
    int *left = ud;

    (void)size;
    return (*left)-- > 0;
}

static void every_allocation_may_fail(void **state)
{
    const char *paths[] = {path};
    int n, left, rc = -1;

    (void)state;
    put(".jsonl", "{" QA ",\"id\":0.1,\"task\":\"t\",\"label\":true,\"group\":\"g\",\"weight\":\"2\"}\n");
    json_set_alloc_funcs(hone_alloc, hone_free);
    for (n = 0; rc; n++) {
        hone_error err = HONE_ERROR_INIT;
        hone_rows *r;
        hone_row row;

        left = n;
        hone_mem_hook(countdown, &left);
        rc = hone_rows_open(&r, paths, 1, NULL, &err);
        while (!rc && (rc = hone_rows_next(r, &row, &err)) == 1) {
            assert_string_equal(row.id, "0.1");
            assert_string_equal(row.group, "g");
            rc = 0;
            break;
        }
        hone_mem_hook(NULL, NULL);
        hone_rows_close(r);
        assert_true(rc == err.code && n < 10000);
    }
    assert_true(n > 30);
    json_set_alloc_funcs(malloc, free);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_names),
        cmocka_unit_test(weights_of_turns_and_rows),
        cmocka_unit_test(names_of_the_files),
        cmocka_unit_test(names_of_roles),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
