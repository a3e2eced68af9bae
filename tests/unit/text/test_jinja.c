/* The template interpreter: frozen renderings of Jinja2, origins, bounds, hostile templates, failing allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "text/template.h"

#define OTHER HONE_ORIGIN_OTHER

/* Parses and renders; returns the code. *r is cleared by the caller. */
static int render(const char *text, const hone_template_input *in, hone_rendering *r, hone_error *err)
{
    hone_template *t = NULL;
    int rc = hone_template_parse(&t, text, strlen(text), err);

    if (!rc)
        rc = hone_template_render(t, in, r, err);
    hone_template_free(t);
    return rc;
}

static void matches_jinja2(void **state)
{
    json_error_t problem;
    json_t *golden = json_load_file(HONE_TEST_DIR "/golden/template_golden.json", JSON_ALLOW_NUL, &problem);
    json_t *cases = json_object_get(golden, "cases"), *c, *want;
    hone_template_input in = {.kwargs = json_object_get(golden, "data"),
                              .now = json_integer_value(json_object_get(golden, "now"))};
    size_t i, bad = 0;

    (void)state;
    assert_non_null(golden);
    assert_true(json_array_size(cases) > 200);
    setenv("TZ", "UTC", 1);
    tzset();
    json_array_foreach(cases, i, c)
    {
        const char *text = json_string_value(json_object_get(c, "template"));
        hone_rendering r = {0};
        hone_error err = HONE_ERROR_INIT;
        int rc = render(text, &in, &r, &err);

        want = json_object_get(c, "text");
        if (want ? rc || r.len != json_string_length(want) || memcmp(r.text, json_string_value(want), r.len)
                 : !rc) {
            print_error("%s\n  want %s\n  got  %s %s\n", text, want ? json_string_value(want) : "a refusal",
                        rc ? "" : r.text, err.message);
            bad++;
        }
        hone_rendering_clear(&r);
    }
    assert_int_equal(bad, 0);
    json_decref(golden);
}

/* ---- origins --------------------------------------------------------------------------------------------------- */

static const char two_messages[] =
    "[{\"role\":\"user\",\"content\":\"  aXb \",\"n\":12,\"d\":{\"k\":[1,\"q\\\"\"]}},"
    "{\"role\":\"assistant\",\"content\":\"YES\",\"tool\":{\"name\":\"f\"}}]";

/* `want` has one character per byte of the output: '.' template, '1' and '2' the messages, '*' other. */
static void check_origins(const char *text, const char *output, const char *want)
{
    json_t *messages = json_loads(two_messages, 0, NULL), *tools = json_loads("[\"T\"]", 0, NULL);
    hone_template_input in = {.messages = messages, .n_messages = 2, .tools = tools};
    hone_rendering r = {0};
    hone_error err = HONE_ERROR_INIT;
    char got[256];
    size_t i;

    if (render(text, &in, &r, &err))
        fail_msg("%s: %s", text, err.message);
    assert_string_equal(r.text, output);
    for (i = 0; i < r.len; i++)
        got[i] = r.origin[i] == 0 ? '.' : r.origin[i] == OTHER ? '*' : (char)('0' + r.origin[i]);
    got[i] = 0;
    if (strcmp(got, want))
        fail_msg("%s\n  output  %s\n  origins %s\n  want    %s", text, output, got, want);
    hone_rendering_clear(&r);
    json_decref(messages);
    json_decref(tools);
}

static void bytes_keep_their_origin(void **state)
{
    (void)state;
    check_origins("<{{ messages[0].content }}>", "<  aXb >", ".111111.");
    check_origins("{% set c = messages[0].content|trim %}{{ '[' + c + ']' }}", "[aXb]", ".111.");
    check_origins("{{ messages[0].content.strip().split('X')|join('--') }}", "a--b", "1..1");
    check_origins("{{ messages[0].content.strip().replace('X', messages[1].content) }}", "aYESb", "12221");
    check_origins("{{ (messages[0].content ~ messages[1].content)[4:-1] }}", "b YE", "1122");
    check_origins("{{ (messages[1].content + '!')|lower|title }}", "Yes!", "222.");
    check_origins("{{ '%s=%d' % (messages[1].content, messages[0].n) }}", "YES=12", "222.11");
    check_origins("{{ ('a\n' + messages[1].content)|indent(1, true) }}", " a\n YES", "....222");
    check_origins("{{ messages[1].content * 2 }}", "YESYES", "222222");
    check_origins("{{ messages[0].d|tojson }}", "{\"k\": [1, \"q\\\"\"]}", "11111111111111111");
    check_origins("{{ {'x': messages[1].content}|tojson }}", "{\"x\": \"YES\"}", "......22222.");
    check_origins("{{ [messages[1].content] }}", "['YES']", ".22222.");
    check_origins("{{ tools|tojson }}{{ tools[0] }}", "[\"T\"]T", "******");
    check_origins("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(messages[1].content)|upper }}", "<YES>",
                  ".222.");
    check_origins("{% set x %}a{{ messages[1].content }}{% endset %}{{ x[::-1] }}", "SEYa", "222.");
    check_origins("{% filter lower %}A{{ messages[1].content }}{% endfilter %}", "ayes", ".222");
    check_origins("{% for c in messages[1].content %}{{ c }},{% endfor %}", "Y,E,S,", "2.2.2.");
    check_origins("{% for k, v in messages[1].tool.items() %}{{ k }}={{ v }}{% endfor %}", "name=f",
                  "2222.2");
    check_origins("{{ messages[0].n + 1 }} {{ messages[0].n }} {{ messages[1].content|length }}", "13 12 3",
                  "...11..");
    check_origins("{{ '<' + messages[1].content|e + '>' }}", "&lt;YES&gt;", "....222....");
    /* A role counts as the template's text, so that '<|' + role + '|>' can be a special token. */
    check_origins("{{ '<|' + messages[1].role + '|>' }}", "<|assistant|>", ".............");
}

static void a_role_that_is_no_word_stays_the_messages(void **state)
{
    json_t *messages = json_loads("[{\"role\":\"user|><|x\",\"content\":\"\"}]", 0, NULL);
    hone_template_input in = {.messages = messages, .n_messages = 1};
    hone_rendering r = {0};

    (void)state;
    assert_int_equal(render("{{ messages[0].role }}", &in, &r, NULL), 0);
    assert_int_equal(r.origin[0], 1);
    hone_rendering_clear(&r);
    json_decref(messages);
}

static void generation_blocks_are_reported(void **state)
{
    hone_template_input in = {0};
    hone_rendering r = {0};

    (void)state;
    assert_int_equal(
        render("ab{% generation %}cd{% endgeneration %}e{% generation %}f{% endgeneration %}", &in, &r, NULL),
        0);
    assert_string_equal(r.text, "abcdef");
    assert_int_equal(r.n_marked, 2);
    assert_int_equal(r.marked[0].begin, 2);
    assert_int_equal(r.marked[0].end, 4);
    assert_int_equal(r.marked[1].begin, 5);
    assert_int_equal(r.marked[1].end, 6);
    hone_rendering_clear(&r);
}

/* Null keys vanish; reasoning is found under its names. */
static void messages_are_prepared(void **state)
{
    json_t *messages = json_loads("[{\"role\":\"assistant\",\"content\":null,\"reasoning\":\"r\"}]", 0, NULL);
    hone_template_input in = {.messages = messages, .n_messages = 1};
    hone_rendering r = {0};

    (void)state;
    assert_int_equal(render("{{ messages[0].content is defined }} {{ messages[0].reasoning_content }} "
                            "{{ messages[0].thinking }} {{ messages[0]|list }}",
                            &in, &r, NULL),
                     0);
    assert_string_equal(r.text, "False r r ['thinking', 'role', 'reasoning', 'reasoning_content']");
    hone_rendering_clear(&r);
    json_decref(messages);
}

/* ---- errors and bounds --------------------------------------------------------------------------------------------- */

static void check_error(const char *text, int code, const char *part)
{
    hone_template_input in = {
        .max_work = 2000000, .max_memory = (size_t)64 << 20, .max_output = (size_t)8 << 20};
    hone_rendering r = {0};
    hone_error err = HONE_ERROR_INIT;
    double begin = hone_now();
    int rc = render(text, &in, &r, &err);

    if (rc != code || !strstr(err.message, part))
        fail_msg("%.200s\n  want %s with '%s'\n  got  %s: %s", text, hone_error_name(code), part,
                 hone_error_name(rc), err.message);
    assert_int_equal(err.code, rc);
    assert_null(r.text);
    assert_true(hone_now() - begin < 20); /* bounded, with room for a slow sanitizer build */
}

static void errors_name_line_and_cause(void **state)
{
    (void)state;
    check_error("a\nb\n{{ raise_exception('only user turns') }}", HONE_EINVAL,
                "template line 3: only user turns");
    check_error("a\n{{ x.y }}", HONE_EINVAL, "line 2: 'x' is undefined");
    check_error("\n\n{{ 'a' + 1 }}", HONE_EINVAL, "line 3: unsupported operand types for +: 'str' and 'int'");
    check_error("a\n{% nope %}", HONE_EFORMAT, "line 2: unknown tag 'nope'");
    check_error("{{ x|nope }}", HONE_EFORMAT, "line 1: no filter named 'nope'");
    check_error("{{ x is nope }}", HONE_EFORMAT, "no test named 'nope'");
    check_error("{% include 'x' %}", HONE_EUNSUPPORTED, "the tag 'include'");
    check_error("{% block x %}{% endblock %}", HONE_EUNSUPPORTED, "the tag 'block'");
    check_error("{{ x|urlencode }}", HONE_EUNSUPPORTED, "the filter 'urlencode'");
    check_error("{{ 'a'.encode() }}", HONE_EUNSUPPORTED, "the method 'encode' of str");
    check_error("{{ '{:>5}'.format(1) }}", HONE_EUNSUPPORTED, "format specifications");
    check_error("{{ joiner() }}", HONE_EUNSUPPORTED, "the function 'joiner'");
    check_error("{{ 9223372036854775807 + 1 }}", HONE_EUNSUPPORTED, "beyond 64 bits");
    check_error("{{ 99999999999999999999 }}", HONE_EFORMAT, "beyond 64 bits");
    check_error("{% if x %}\n\n", HONE_EFORMAT,
                "line 2: unexpected end of the template, expected 'elif' or 'else' or 'endif'");
    check_error("{{ x \n }", HONE_EFORMAT, "line 2: unexpected");
    check_error("{# never", HONE_EFORMAT, "missing end of comment");
    check_error("{{ 'a", HONE_EFORMAT, "closing quote");
    check_error("{{ '\\ud800' }}", HONE_EFORMAT, "surrogate");
    check_error("\xff", HONE_EFORMAT, "not UTF-8");
}

static char *repeated(const char *part, size_t n, const char *tail)
{
    hone_buf b = {0};

    while (n--)
        hone_buf_puts(&b, part);
    hone_buf_puts(&b, tail);
    return hone_buf_take(&b);
}

static void hostile_templates_are_bounded(void **state)
{
    static const char loops[] =
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    char *deep;

    (void)state;
    check_error(loops, HONE_ELIMIT, "too much work");
    check_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", HONE_ELIMIT, "levels deep");
    check_error("{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
                HONE_ELIMIT, "levels deep");
    check_error("{{ 'x' * 99999999999 }}", HONE_ELIMIT, "grows beyond");
    check_error("{{ '%99999999d' % 1 }}", HONE_ELIMIT, "too large");
    check_error("{{ [1] * 999999999 }}", HONE_ELIMIT, "");
    check_error("{{ 'ab'|center(99999999999) }}", HONE_ELIMIT, "grows beyond");
    check_error(
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        HONE_ELIMIT, "");
    check_error(
        "{% set ns = namespace(s=['x']) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        HONE_ELIMIT, "");
    check_error("{% set ns = namespace(s=[]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor "
                "%}{{ ns.s }}",
                HONE_ELIMIT, "levels deep");
    check_error("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", HONE_ELIMIT, "levels deep");
    check_error("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", HONE_ELIMIT, "levels deep");
    check_error("{{ ('a' * 8000000).replace('', 'b' * 100) }}", HONE_ELIMIT, "");
    deep = repeated("{% if 1 %}", 5000, "");
    check_error(deep, HONE_ELIMIT, "levels deep");
    hone_free(deep);
    deep = repeated("not ", 100000, "x }}");
    memcpy(deep, "{{  ", 4);
    check_error(deep, HONE_ELIMIT, "levels deep");
    hone_free(deep);
    deep = repeated("((((", 1000, "x }}");
    memcpy(deep, "{{ (", 4);
    check_error(deep, HONE_ELIMIT, "levels deep");
    hone_free(deep);
    deep = repeated("+ 1 ", 100000, "}}");
    memcpy(deep, "{{1 ", 4);
    check_error(deep, HONE_ELIMIT, "levels deep");
    hone_free(deep);
    deep = repeated("|list", 100000, "}}");
    memcpy(deep, "{{'a'", 5);
    check_error(deep, HONE_ELIMIT, "levels deep");
    hone_free(deep);
    deep = repeated("x", HONE_TEMPLATE_MAX_SOURCE + 1, "");
    check_error(deep, HONE_ELIMIT, "limit");
    hone_free(deep);
}

/* Every prefix of a template that uses everything: an error or a rendering, never worse. */
static void cut_templates_do_no_harm(void **state)
{
    static const char all[] = "{# c #}{%- macro f(a, b=[1, {'x': 2.5e3}], *c) -%}x{% endmacro %}{% for a, b "
                              "in d.items() if a is not none recursive "
                              "%}{{ loop.index ~ a|default('x', true)|tojson(indent=2) }}{% else %}{% raw "
                              "%}{{ {% endraw %}{% endfor %}{% set ns = "
                              "namespace(x=1) %}{% set ns.x = 'a\\u4e2d' 'b' if ns.x == 1 else -1 ** 2 %}{% "
                              "call(u) f(1, k=2) %}{% filter upper "
                              "%}q{% endfilter %}{% endcall %}{% with z = 1 %}{{ 'abc'[::-1][1:] }}{% "
                              "endwith %}{% generation %}{% endgeneration %}";
    hone_template_input in = {.max_work = 100000};
    char *cut;
    size_t i;

    (void)state;
    for (i = 0; i <= sizeof all - 1; i++) {
        hone_rendering r = {0};
        hone_error err = HONE_ERROR_INIT;

        cut = hone_strndup(all, i);
        if (render(cut, &in, &r, &err))
            assert_true(err.message[0] != 0);
        hone_rendering_clear(&r);
        hone_free(cut);
    }
}

/* ---- failing allocations ------------------------------------------------------------------------------------------ */

static size_t countdown;

static bool fail_at_zero(void *ud, size_t size)
{
    (void)ud;
    (void)size;
    return countdown == 0 || --countdown > 0;
}

static void any_failed_allocation_is_an_error(void **state)
{
    char *text =
        repeated("{% for m in messages %}{{ m.content|trim|tojson }}{{ 'x' * 3000 }}{% endfor %}", 20, "");
    json_t *messages = json_loads(two_messages, 0, NULL);
    hone_template_input in = {.messages = messages, .n_messages = 2};
    size_t n;
    int rc = HONE_ENOMEM;

    (void)state;
    for (n = 1; rc && n < 10000; n++) {
        hone_rendering r = {0};
        hone_error err = HONE_ERROR_INIT;

        countdown = n;
        hone_mem_hook(fail_at_zero, NULL);
        rc = render(text, &in, &r, &err);
        hone_mem_hook(NULL, NULL);
        if (rc)
            assert_int_equal(rc, HONE_ENOMEM);
        hone_rendering_clear(&r);
    }
    assert_int_equal(rc, 0);
    assert_true(n > 10);
    hone_free(text);
    json_decref(messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_jinja2),
        cmocka_unit_test(bytes_keep_their_origin),
        cmocka_unit_test(a_role_that_is_no_word_stays_the_messages),
        cmocka_unit_test(generation_blocks_are_reported),
        cmocka_unit_test(messages_are_prepared),
        cmocka_unit_test(errors_name_line_and_cause),
        cmocka_unit_test(hostile_templates_are_bounded),
        cmocka_unit_test(cut_templates_do_no_harm),
        cmocka_unit_test(any_failed_allocation_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
