/* Rules as data: the generic kinds, conditions, changes by name, and what is refused with its place. */
#include "data/quality_impl.h"
#include "quality_test.h"

static char folder[64];

static const char *put_file(const char *name, const char *text)
{
    static char path[8][160];
    static size_t turn;
    hone_error err = HONE_ERROR_INIT;

    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    assert_int_equal(hone_file_write(path[turn], text, strlen(text), &err), 0);
    return path[turn];
}

/* Opens the built-in rules with one file more; only the named rules are left. */
static void open_with(checked *c, const char *yaml, const char *const *only, size_t n)
{
    const char *rules[] = {put_file("rules.yaml", yaml)};
    hone_quality_options o = {.enabled = true, .rules = rules, .n_rules = 1, .only = only, .n_only = n};

    open_rules(c, &o);
}

static void generic_kinds(void **state)
{
    static const char yaml[] =
        "rules:\n"
        "  tablets: {kind: pattern, patterns: ['每日\\d+片', 'take \\d+ tablets'], times: 1}\n"
        "  twice: {kind: pattern, patterns: ['痛'], times: 2, except: ['痛快']}\n"
        "  starts: {kind: pattern, patterns: ['你好'], within: 4}\n"
        "  brief: {kind: pattern, patterns: ['谢谢'], max: 6}\n"
        "  banned: {kind: words, words: [偏方, 秘方, miracle cure]}\n"
        "  sections: {kind: require, patterns: ['辨证[:：]'], words: [方药]}\n"
        "  either: {kind: require, words: [请遵医嘱, 咨询医师], all: false}\n"
        "  size: {kind: length, unit: tokens, min: 3, max: 5}\n"
        "  digits: {kind: ratio, of: digits, high: 0.5, min: 4}\n"
        "  hedged: {kind: sentences, patterns: ['大概|也许'], share: 0.6}\n"
        "  wordy: {kind: ratio, of: answer, high: 3, min: 1}\n";
    static const struct {
        const char *rule, *question, *answer;
        bool found;
    } table[] = {
        {"tablets", "q", "每日3片", true},
        {"tablets", "q", "Take 12 tablets now", true}, /* case does not matter */
        {"tablets", "q", "每日三片", false},
        {"twice", "q", "头痛", false},
        {"twice", "q", "头痛，腹痛", true},
        {"twice", "q", "头痛，痛快", true}, /* only a match that holds the exception is left out */
        {"starts", "q", "  你好，世界", true},
        {"starts", "q", "一二三四五你好", false},
        {"brief", "q", "谢谢", true},
        {"brief", "q", "谢谢你今天来看我们", false},
        {"banned", "q", "这是祖传秘方", true},
        {"banned", "q", "A Miracle Cure for all", true},
        {"banned", "q", "miracle cured", false}, /* whole words */
        {"banned", "q", "科学饮食", false},
        {"sections", "q", "辨证：气虚\n方药：四君子汤", false},
        {"sections", "q", "辨证：气虚", true},
        {"sections", "q", "方药：四君子汤", true},
        {"either", "q", "请遵医嘱", false},
        {"either", "q", "多喝水", true},
        {"size", "q", "一二", true},
        {"size", "q", "one two three", false},
        {"size", "q", "一二三四五六", true},
        {"digits", "q", "1234 好", true},
        {"digits", "q", "12 你好吗", false},
        {"hedged", "q", "大概是这样。也许不是。好。", true},
        {"hedged", "q", "大概。这一句话里没有含糊的说法。", false},
        {"wordy", "一二三", "一二三四五六七八九十", true},
        {"wordy", "一二三", "一二三四五六七八九", false},
    };
    checked c;
    size_t i;

    (void)state;
    open_with(&c, yaml, NULL, 0);
    for (i = 0; i < HONE_COUNT(table); i++) {
        check_pair(&c, table[i].question, table[i].answer);
        if (table[i].found != (finding_of(&c, table[i].rule) != NULL))
            fail_msg("%s, `%s`: %s", table[i].rule, table[i].answer, table[i].found ? "not found" : "found");
    }
    close_rules(&c);
}

static void conditions(void **state)
{
    static const char yaml[] =
        "rules:\n"
        "  a: {kind: length, min: 100, when: {task: [诊断, qa]}}\n"
        "  b: {kind: length, min: 100, when: {label: 气虚}}\n"
        "  c: {kind: length, min: 100, when: {question: '为什么'}}\n"
        "  d: {kind: length, min: 100, when: {not_question: '为什么', not_answer: '因为'}}\n"
        "  e: {kind: length, min: 100, on: question}\n";
    static const char *const only[] = {"a", "b", "c", "d", "e"};
    checked c;
    char text[400];
    json_t *root = row_of("为什么？", "因为。");

    (void)state;
    open_with(&c, yaml, only, 5);
    check_row(&c, root, "qa", "血虚", 0);
    assert_string_equal(names_found(&c, text),
                        "a (3 characters < 100), c (3 characters < 100), e (4 characters < 100)");
    assert_int_equal(finding_of(&c, "e")->message, 0);
    check_row(&c, root, "chat", "气虚", 0);
    assert_null(finding_of(&c, "a"));
    assert_non_null(finding_of(&c, "b"));
    json_decref(root);
    check_pair(&c, "什么？", "因为。");
    assert_null(finding_of(&c, "d"));
    check_pair(&c, "什么？", "这样。");
    assert_non_null(finding_of(&c, "d"));
    close_rules(&c);
}

static void changes_by_name(void **state)
{
    static const char *const set[] = {"too_short.min=20", "too_short.action=drop", "refusal.enabled=false",
                                      "truncated.find=[fence]", "too_short.severity=error"};
    const char *rules[] = {
        put_file("change.yaml", "rules:\n  too_long: {max: 30}\n  too_short: {min: 10}\n")};
    hone_quality_options o = {
        .enabled = true, .rules = rules, .n_rules = 1, .set = set, .n_set = HONE_COUNT(set)};
    checked c;
    size_t i, found = 0;

    (void)state;
    open_rules(&c, &o);
    check_pair(&c, "问", "十个字以上二十个字以下的话。");
    assert_non_null(finding_of(&c, "too_short"));
    check_pair(&c, "问", "这一段话的长度要超过三十个字才会被认为太长，所以我在这里多写了一些内容。");
    assert_non_null(finding_of(&c, "too_long"));
    check_pair(&c, "问", "很抱歉，我无法帮您完成这个请求，请您谅解，");
    assert_int_equal(c.found.n, 0);
    for (i = 0; i < quality_n_rules(c.q); i++) {
        quality_rule_info info = quality_rule(c.q, i);

        assert_true(*info.name && *info.title[0] && *info.title[1] && info.severity >= 1 &&
                    info.severity <= 3);
        assert_true(*info.explain[0] && *info.explain[1]); /* of the built-in ones */
        if (strcmp(info.name, "too_short"))
            continue;
        found++;
        assert_int_equal(info.action, QUALITY_DROP);
        assert_int_equal(info.severity, 3);
    }
    assert_int_equal(found, 1);
    close_rules(&c);
}

/* docs/quality.md names every built-in rule, every kind and every parameter. */
static void the_page_is_complete(void **state)
{
    hone_quality_options o = {.enabled = true};
    hone_error err = HONE_ERROR_INIT;
    const rule_param *p;
    char *page, *kinds, name[80];
    checked c;
    size_t len, i;

    (void)state;
    assert_int_equal(hone_file_read(&page, &len, HONE_TEST_DIR "/../docs/quality.md", 1 << 20, &err), 0);
    kinds = strstr(page, "\n## Kinds");
    assert_non_null(kinds);
    open_rules(&c, &o);
    for (i = 0; i < quality_n_rules(c.q); i++) {
        snprintf(name, sizeof name, "`%s`", quality_rule(c.q, i).name);
        if (!strstr(page, name))
            fail_msg("rule %s", name);
    }
    close_rules(&c);
    for (i = 0; i < n_rule_kinds; i++) {
        const char *row;

        snprintf(name, sizeof name, "\n| `%s`", rule_kinds[i].name);
        row = strstr(kinds, name);
        if (!row && strstr(name, "label_missing"))
            row = strstr(kinds, "\n| `label_skew`");
        if (!row)
            fail_msg("kind %s", name);
        for (p = rule_kinds[i].param; p->name; p++) {
            const char *at;

            snprintf(name, sizeof name, "`%s`", p->name);
            at = strstr(row + 1, name);
            if (!at || at > strchr(row + 1, '\n'))
                fail_msg("parameter %s of %s", name, rule_kinds[i].name);
        }
    }
    hone_free(page);
}

static void wrong_rules_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *yaml;
        int code;
        const char *message;
    } table[] = {
        {"rules:\n  a:\n    kind: patern\n", HONE_EINVAL,
         "r.yaml:3: unknown kind `patern`; did you mean `pattern`?"},
        {"rules:\n  too_shrt:\n    min: 3\n", HONE_EINVAL, "r.yaml:2: there is no rule `too_shrt`"},
        {"rules:\n  too_shrt:\n    min: 3\n", HONE_EINVAL, "did you mean `too_short`?"},
        {"rules:\n  too_short:\n    mni: 3\n", HONE_EINVAL,
         "r.yaml:3: rule `too_short` (kind length) has no parameter `mni`"},
        {"rules:\n  too_short:\n    mni: 3\n", HONE_EINVAL, "did you mean `min`?"},
        {"rules:\n  too_short:\n    min: few\n", HONE_EFORMAT, "r.yaml:3: min: expected a whole number"},
        {"rules:\n  too_short:\n    min: -1\n", HONE_EINVAL, "r.yaml:3: min: -1 is outside"},
        {"rules:\n  too_short:\n    unit: charactres\n", HONE_EINVAL, "did you mean `characters`?"},
        {"rules:\n  too_short:\n    action: delete\n", HONE_EINVAL, "not one of report, drop"},
        {"rules:\n  too_short:\n    enabled: yes\n", HONE_EFORMAT,
         "r.yaml:3: enabled: expected true or false"},
        {"rules:\n  too_short:\n    kind: ratio\n", HONE_EINVAL,
         "r.yaml:3: rule `too_short` is of kind length"},
        {"rules:\n  too_short:\n    when:\n      taks: x\n", HONE_EINVAL,
         "r.yaml:4: unknown condition `taks`"},
        {"rules:\n  too_short:\n    when:\n      question: '('\n", HONE_EINVAL,
         "r.yaml:4: question: the pattern `(`"},
        {"rules:\n  conflicting_answers:\n    on: question\n", HONE_EINVAL, "they have no `on`"},
        {"rules:\n  a: {kind: pattern, patterns: ['x', '[']}\n", HONE_EINVAL,
         "r.yaml:2: rule `a`: the pattern `[`"},
        {"rules:\n  a: {kind: pattern, patterns: ['\\C']}\n", HONE_EINVAL, "rule `a`"},
        {"rules:\n  a: {kind: words, words: ['']}\n", HONE_EINVAL, "rule `a`: an empty word"},
        {"rules:\n  a: {kind: words, file: none.txt}\n", HONE_ENOENT, "none.txt"},
        {"rules:\n  A-b: {kind: words}\n", HONE_EINVAL, "the name of a rule"},
        {"rules:\n  a: 3\n", HONE_EFORMAT, "r.yaml:2: a: expected a mapping"},
        {"rule:\n  a: 3\n", HONE_EFORMAT, "r.yaml:1: expected one key, `rules:`"},
        {"- a\n", HONE_EFORMAT, "r.yaml:1: expected one key, `rules:`"},
        {"rules:\n  a: {kind: words\n", HONE_EFORMAT, "broken YAML"},
        {"rules:\n  a: {kind: words, title: {de: x}}\n", HONE_EFORMAT,
         "r.yaml:2: title: expected the keys en and zh"},
        {"rules:\n  dose_range:\n    table: none.csv\n", HONE_ENOENT, "none.csv"},
    };
    static const struct {
        const char *set, *message;
    } sets[] = {
        {"too_short", "expected rule.parameter=value"},
        {"to_short.min=3", "there is no rule `to_short`; did you mean `too_short`?"},
        {"too_short.mn=3", "did you mean `min`?"},
        {"too_short.min=[", "data.quality.set"},
        {"too_short.min=a=b", "data.quality.set: min: expected a whole number"},
    };
    const char *wrong_name[] = {"repeated_phase"};
    hone_quality_options o = {.enabled = true};
    const char *path;
    quality *q;
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(table); i++) {
        hone_error err = HONE_ERROR_INIT;

        path = put_file("r.yaml", table[i].yaml);
        o.rules = &path;
        o.n_rules = 1;
        assert_int_equal(quality_open(&q, &o, &err), table[i].code);
        assert_null(q);
        if (!strstr(err.message, table[i].message))
            fail_msg("`%s` is not in `%s`", table[i].message, err.message);
    }
    for (i = 0; i < HONE_COUNT(sets); i++) {
        hone_error err = HONE_ERROR_INIT;

        o = (hone_quality_options){.enabled = true, .set = &sets[i].set, .n_set = 1};
        assert_int_not_equal(quality_open(&q, &o, &err), 0);
        if (!strstr(err.message, sets[i].message))
            fail_msg("`%s` is not in `%s`", sets[i].message, err.message);
    }
    for (i = 0; i < 2; i++) {
        hone_error err = HONE_ERROR_INIT;

        o = (hone_quality_options){.enabled = true};
        *(i ? &o.only : &o.skip) = wrong_name;
        *(i ? &o.n_only : &o.n_skip) = 1;
        assert_int_equal(quality_open(&q, &o, &err), HONE_EINVAL);
        assert_non_null(strstr(err.message, "did you mean `repeated_phrase`?"));
    }
}

/* A pattern that would take exponential time is given up, and that is said at the end. */
static void a_slow_pattern_is_given_up(void **state)
{
    static const char *const only[] = {"slow"};
    const quality_corpus_finding *found;
    hone_error err = HONE_ERROR_INIT;
    checked c;
    size_t n;

    (void)state;
    open_with(&c, "rules:\n  slow: {kind: pattern, patterns: ['^(a|aa|aaa)+$']}\n", only, 1);
    check_pair(&c, "q", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac");
    assert_int_equal(c.found.n, 0);
    assert_int_equal(quality_finish(c.q, &found, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_true(found[0].row == UINT64_MAX);
    assert_non_null(strstr(found[0].finding.detail, "too many steps"));
    close_rules(&c);
}

static void words_of_a_file(void **state)
{
    static const char *const only[] = {"banned"};
    checked c;

    (void)state;
    put_file("words.txt", "# comment\n偏方\r\n\n  \nsnake oil\n");
    open_with(&c, "rules:\n  banned: {kind: words, file: words.txt}\n", only, 1);
    check_pair(&c, "q", "民间偏方不可信");
    assert_int_equal(c.found.n, 1);
    check_pair(&c, "q", "This is Snake Oil.");
    assert_int_equal(c.found.n, 1);
    check_pair(&c, "q", "# comment");
    assert_int_equal(c.found.n, 0);
    close_rules(&c);
}

static void doses(void **state)
{
    static const char table[] =
        "item,unit,min,max,also\n黄芪,g,9,30,北芪\n附子,g,3,15,\n细辛,克,1,3,\n生姜,片,2,5,\n"
        "aspirin,mg,50,1000,\n人参养荣丸,丸,1,2,\n麻黄,g,,9,\n";
    static const struct {
        const char *answer, *detail; /* NULL: nothing is found */
    } list[] = {
        {"方用黄芪 300 g，党参15g。", "`黄芪 300 g` > 30 g"},
        {"方用黄芪300克。", "> 30 g"},
        {"方用黄芪三百克。", "`黄芪三百克` > 30 g"},
        {"黄芪：３００克", "> 30 g"},
        {"黄芪用至一百二十克", "`黄芪用至一百二十克` > 30 g"},
        {"北芪0.5kg", "> 30 g"},
        {"黄芪 30g", NULL},
        {"黄芪三十克", NULL},
        {"黄芪一两", NULL},
        {"黄芪二两", "> 30 g"},
        {"黄芪三钱", NULL},
        {"黄芪二钱", "`黄芪二钱` < 9 g"},
        {"黄芪（15-60g）", "> 30 g"},
        {"黄芪10～30克", NULL},
        {"黄芪5至20克", "< 9 g"},
        {"细辛 5 g", "`细辛 5 g` > 3 克"},
        {"细辛3000mg", NULL},
        {"细辛 0.5克", "< 1 克"},
        {"用300克黄芪煎水", "`300克黄芪` > 30 g"},
        {"当归300g 黄芪15g", NULL}, /* the first dose is that of another name */
        {"黄芪、当归300g", NULL},
        {"附子每日 50 g，先煎", "> 15 g"},
        {"黄芪，每日3次，每次10克", NULL},
        {"黄芪与附子各60克", NULL}, /* 黄芪 is not next to it; 附子 is */
        {"生姜 8 片", "> 5 片"},
        {"生姜 8 g", NULL}, /* another sort of unit */
        {"人参养荣丸 3 丸", "> 2 丸"},
        {"Take aspirin 3 g daily.", "> 1000 mg"},
        {"Take 3 g of aspirin.", "> 1000 mg"},
        {"Take aspirin 300 mg.", NULL},
        {"麻黄 1 g", NULL},
        {"麻黄半斤", "> 9 g"},
        {"黄芪有补气之功，剂量要个体化", NULL},
    };
    static const char *const only[] = {"dose_range"};
    const char *set[] = {NULL};
    char text[200];
    hone_quality_options o = {.enabled = true, .set = set, .n_set = 1, .only = only, .n_only = 1};
    checked c;
    size_t i;
    char found[400];

    (void)state;
    snprintf(text, sizeof text, "dose_range.table=%s", put_file("doses.csv", table));
    set[0] = text;
    open_rules(&c, &o);
    for (i = 0; i < HONE_COUNT(list); i++) {
        check_pair(&c, "q", list[i].answer);
        if (i == 23) { /* the one that is next to it */
            assert_int_equal(c.found.n, 1);
            assert_non_null(strstr(c.found.item[0].detail, "> 15 g"));
            continue;
        }
        if ((list[i].detail != NULL) != (c.found.n == 1) ||
            (list[i].detail && !strstr(c.found.item[0].detail, list[i].detail)))
            fail_msg("`%s`: %s", list[i].answer, names_found(&c, found));
    }
    close_rules(&c);
}

static void dose_tables(void **state)
{
    static const struct {
        const char *name, *text, *message; /* NULL: good */
    } table[] = {
        {"d.yaml", "- {item: 黄芪, unit: g, min: 9, max: 30, also: [北芪, 绵芪]}\n", NULL},
        {"d.jsonl", "{\"item\": \"黄芪\", \"unit\": \"g\", \"max\": \"30\"}\n", NULL},
        {"d.yaml", "- {item: 黄芪, unit: g}\n", "d.yaml:1: `min` and `max`"},
        {"d.yaml", "- {item: a, unit: g, min: 1}\n- {item: b, unit: kilo, min: 1}\n",
         "d.yaml:2: unknown unit `kilo`"},
        {"d.csv", "item,unit,min,max\n黄芪,g,30,9\n", "d.csv:2: `min` and `max`"},
        {"d.csv", "name,unit\n黄芪,g\n", "needs `item` and `unit`"},
        {"d.yaml", "a: b\n", "expected a list of items"},
    };
    static const char *const only[] = {"dose_range"};
    char text[200];
    const char *set = text;
    hone_quality_options o = {.enabled = true, .set = &set, .n_set = 1, .only = only, .n_only = 1};
    quality *q;
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(table); i++) {
        hone_error err = HONE_ERROR_INIT;
        int rc;

        snprintf(text, sizeof text, "dose_range.table=%s", put_file(table[i].name, table[i].text));
        rc = quality_open(&q, &o, &err);
        if (table[i].message ? !rc || !strstr(err.message, table[i].message) : rc)
            fail_msg("%s: `%s`", table[i].text, err.message);
        quality_close(q);
    }
}

/* Texts put together at random from what rules look for: nothing is read or written out of place (sanitizers), places lie
 * within the text at borders of characters, and two runs find the same. */
static void random_texts(void **state)
{
    static const char *const piece[] = {"```",
                                        "`",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"",
                                        "\\",
                                        "“",
                                        "”",
                                        "（",
                                        "）",
                                        "的",
                                        "a",
                                        "The ",
                                        "1",
                                        "23",
                                        "@",
                                        ".",
                                        "。",
                                        "，",
                                        "\n",
                                        "&nbsp;",
                                        "<p>",
                                        "黄芪",
                                        "三",
                                        "百",
                                        "两",
                                        "克",
                                        " g",
                                        "-",
                                        "1. ",
                                        "# ",
                                        "| ",
                                        "抱歉，我无法",
                                        "以及",
                                        "\xef\xbf\xbd",
                                        "\xc3\x83\xc2\xa9",
                                        "\xe2\x80\x8b",
                                        "👩\xe2\x80\x8d👧",
                                        "11010519491231002X",
                                        "13912345670",
                                        "a@b.cn",
                                        "鑲濋儊",
                                        "說",
                                        "说",
                                        " of ",
                                        "～",
                                        "半",
                                        ",",
                                        "4111111111111111",
                                        "哈哈哈哈哈哈哈哈",
                                        "仅供参考",
                                        "{{x}}",
                                        "<|im_end|>"};
    static const char doses[] = "item,unit,min,max,also\n黄芪,g,9,30,芪\n两,g,1,2,\na,mg,1,2,克\n";
    char set[200];
    const char *const sets[] = {set, "ip_address.enabled=true", "wrong_script.enabled=true"};
    hone_quality_options o = {.enabled = true, .set = sets, .n_set = 3};
    hone_rng rng = hone_rng_make(7, 1);
    checked c;
    size_t i, k, round;

    (void)state;
    snprintf(set, sizeof set, "dose_range.table=%s", put_file("doses.csv", doses));
    open_rules(&c, &o);
    for (round = 0; round < 4000; round++) {
        hone_buf text[2] = {{0}, {0}};
        uint64_t before;

        for (k = 0; k < 2; k++) {
            hone_buf_puts(&text[k], "");
            for (i = hone_rng_below(&rng, 60); i-- > 0;)
                hone_buf_puts(&text[k], piece[hone_rng_below(&rng, HONE_COUNT(piece))]);
            hone_buf_putc(&text[k], ' ');
        }
        check_pair(&c, text[0].data, text[1].data);
        for (i = 0; i < c.found.n; i++) {
            const quality_finding *f = &c.found.item[i];

            assert_true(f->message < 2 && f->begin <= f->end && f->end <= text[f->message].len);
            assert_true((text[f->message].data[f->begin] & 0xc0) != 0x80);
            assert_true((text[f->message].data[f->end] & 0xc0) != 0x80);
            assert_true(memchr(f->detail, 0, sizeof f->detail) && (!i || f->rule >= f[-1].rule));
        }
        before = hone_hash64(c.found.n, c.digest, sizeof c.digest);
        check_pair(&c, text[0].data, text[1].data);
        assert_true(before == hone_hash64(c.found.n, c.digest, sizeof c.digest));
        hone_buf_clear(&text[0]);
        hone_buf_clear(&text[1]);
    }
    close_rules(&c);
}

/* A text far beyond the bound, of one phrase, of brackets, of lines: looked at up to the bound, in time that is linear. */
static void huge_texts(void **state)
{
    static const char *const unit[] = {"好的，", "（", "a\n", "``` \n", "1"};
    hone_quality_options o = {.enabled = true};
    checked c;
    size_t k;

    (void)state;
    open_rules(&c, &o);
    for (k = 0; k < HONE_COUNT(unit); k++) {
        hone_buf text = {0};
        double start = hone_now();

        while (text.len < (size_t)5 << 20)
            hone_buf_puts(&text, unit[k]);
        check_pair(&c, "问", text.data);
        assert_non_null(finding_of(&c, "too_long"));
        assert_true(hone_now() - start < 60);
        hone_buf_clear(&text);
    }
    close_rules(&c);
}

static bool fail_at(void *ud, size_t size)
{
    long *left = ud;

    (void)size;
    return (*left)-- != 0;
}

/* Opening and checking with the n-th allocation failing: an error, and nothing is lost. */
static void every_allocation_may_fail(void **state)
{
    const char *labels = put_file("labels.txt", "气虚,脾气虚\n血虚\n");
    const char *rules[] = {put_file(
        "small.yaml",
        "rules:\n  a: {kind: pattern, patterns: ['b+'], words: [b]}\n  b: {kind: words, words: [c]}\n")};
    static const char *const only[] = {"a",
                                       "b",
                                       "repeated_phrase",
                                       "repeated_sentences",
                                       "ignores_input",
                                       "wrong_language",
                                       "conflicting_answers",
                                       "label_skew"};
    hone_quality_options o = {.enabled = true,
                              .rules = rules,
                              .n_rules = 1,
                              .only = only,
                              .n_only = HONE_COUNT(only),
                              .label_words = labels};
    json_t *root = row_of(
        "这是一个比较长的问题，里面提到了许多具体的东西，例如苹果、香蕉和橙子，还有天气与交通情况。",
        "bbb c 气虚。说了又说，说了又说，说了又说，说了又说，说了又说，说了又说，一共说了很多很多遍的话语。");
    long n, step = 1;
    int rc = HONE_ENOMEM;

    (void)state;
    for (n = 0; rc && n < 100000; n += step) {
        static const uint8_t trained[] = {0, 1};
        quality_row row = {.root = root, .trained = trained, .n_messages = 2, .task = "t"};
        const quality_corpus_finding *corpus;
        quality_findings found = {0};
        hone_error err = HONE_ERROR_INIT;
        quality_scratch *s = NULL;
        quality *q = NULL;
        long left = n;
        char block[64];
        size_t n_corpus;

        hone_mem_hook(fail_at, &left);
        rc = quality_open(&q, &o, &err);
        if (!rc)
            rc = quality_scratch_new(&s, q, &err);
        if (!rc)
            rc = quality_check(q, s, &row, &found, block, &err);
        if (!rc)
            rc = quality_observe(q, 0, block, &err);
        if (!rc)
            rc = quality_finish(q, &corpus, &n_corpus, &err);
        hone_mem_hook(NULL, NULL);
        if (rc && rc != HONE_ENOMEM)
            fail_msg("allocation %ld: %s", n, err.message);
        quality_scratch_free(s);
        quality_close(q);
        hone_free(found.item);
        step = n < 300 ? 1 : 7; /* reading the built-in rules allocates thousands of small things */
    }
    assert_int_equal(rc, 0);
    json_decref(root);
}

static int make_folder(void **state)
{
    hone_error err = HONE_ERROR_INIT;

    (void)state;
    snprintf(folder, sizeof folder, "test_quality_rules.%d", (int)getpid());
    return hone_mkdirs(folder, &err);
}

static int remove_folder(void **state)
{
    static const char *const name[] = {"rules.yaml", "change.yaml", "r.yaml", "words.txt",  "doses.csv",
                                       "d.yaml",     "d.jsonl",     "d.csv",  "labels.txt", "small.yaml"};
    char path[160];
    size_t i;

    (void)state;
    for (i = 0; i < HONE_COUNT(name); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generic_kinds),
        cmocka_unit_test(conditions),
        cmocka_unit_test(changes_by_name),
        cmocka_unit_test(the_page_is_complete),
        cmocka_unit_test(wrong_rules_are_refused_with_their_place),
        cmocka_unit_test(a_slow_pattern_is_given_up),
        cmocka_unit_test(words_of_a_file),
        cmocka_unit_test(doses),
        cmocka_unit_test(dose_tables),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(huge_texts),
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
