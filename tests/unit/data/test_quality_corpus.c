/* Rules about all rows, and labels. */
#include "data/data.h"
#include "quality_test.h"

static void add(checked *c, uint64_t row, const char *question, const char *answer, const char *task,
                const char *label)
{
    hone_error err = HONE_ERROR_INIT;
    json_t *root = row_of(question, answer);

    check_row(c, root, task, label, row);
    assert_int_equal(quality_observe(c->q, row, c->digest, &err), 0);
    json_decref(root);
}

static const quality_corpus_finding *finish(checked *c, size_t *n)
{
    const quality_corpus_finding *found;
    hone_error err = HONE_ERROR_INIT;

    assert_int_equal(quality_finish(c->q, &found, n, &err), 0);
    return found;
}

static void open_only(checked *c, const char *const *only, size_t n, const char *const *set, size_t n_set)
{
    hone_quality_options o = {.enabled = true, .only = only, .n_only = n, .set = set, .n_set = n_set};

    open_rules(c, &o);
}

static void conflicts(void **state)
{
    static const char *const only[] = {"conflicting_answers"};
    const quality_corpus_finding *found;
    checked c;
    size_t n;

    (void)state;
    open_only(&c, only, 1, NULL, 0);
    add(&c, 0, "黄芪的常用剂量是多少？", "成人每日九到三十克，水煎服。", NULL, NULL);
    add(&c, 1, "当归的常用剂量是多少？", "成人每日六到十二克，水煎服。", NULL, NULL);
    add(&c, 2, "黄芪的 常用剂量是多少", "成人每日九到三十克，水煎服。", NULL, NULL);    /* the same */
    add(&c, 3, "黄芪的常用剂量是多少？", "成人每日九到三十克，用水煎服。", NULL, NULL); /* nearly */
    add(&c, 4, "黄芪的常用剂量是多少？", "儿童禁用此物，孕妇慎重。", NULL, NULL);
    add(&c, 5, "好吗？", "好。", NULL, NULL); /* too short a question */
    add(&c, 6, "好吗？", "不行的。", NULL, NULL);
    add(&c, 9, "Is it Monday today?", "Yes.", NULL, NULL);
    add(&c, 12, "is it monday today", "No.", NULL, NULL);
    found = finish(&c, &n);
    assert_int_equal(n, 4);
    assert_true(found[0].row == 0 && found[0].other_row == 4);
    assert_true(found[1].row == 4 && found[1].other_row == 0);
    assert_true(found[2].row == 9 && found[2].other_row == 12);
    assert_true(found[3].row == 12 && found[3].other_row == 9);
    close_rules(&c);
}

/* The same last question after another conversation is another question. */
static void conflicts_know_the_history(void **state)
{
    static const char *const only[] = {"conflicting_answers"};
    hone_error err = HONE_ERROR_INIT;
    checked c;
    size_t n;
    int i;

    (void)state;
    open_only(&c, only, 1, NULL, 0);
    for (i = 0; i < 3; i++) {
        json_t *root =
            json_pack("{s:[{s:s,s:s},{s:s,s:s},{s:s,s:s},{s:s,s:s}]}", "messages", "role", "user", "content",
                      i == 1 ? "说说北京" : "说说上海", "role", "assistant", "content", "好的。", "role",
                      "user", "content", "那里有什么好吃的？", "role", "assistant", "content",
                      i == 0 ? "小笼包和生煎都很有名。" : "烤鸭、涮羊肉、炸酱面。");

        check_row(&c, root, NULL, NULL, (uint64_t)i);
        assert_int_equal(quality_observe(c.q, (uint64_t)i, c.digest, &err), 0);
        json_decref(root);
    }
    assert_true(finish(&c, &n)->row == 0);
    assert_int_equal(n, 2);
    close_rules(&c);
}

static void drift(void **state)
{
    static const char *const only[] = {"format_drift"};
    static const char *const form[] = {"1. 甲\n2. 乙\n3. 丙", "{\"a\": 1}",
                                       "- 甲\n- 乙",          "# 标题\n内容",
                                       "```\nx\n```",         "| a | b |\n|---|---|\n| 1 | 2 |"};
    static const char *const name[] = {"numbered list", "JSON", "bullets", "headings", "code", "table"};
    const quality_corpus_finding *found;
    checked c;
    size_t n, i;

    (void)state;
    open_only(&c, only, 1, NULL, 0);
    for (i = 0; i < 60; i++)
        add(&c, i, "问题",
            i % 2 ? "这是一段普通的回答，没有列表。" : "15.3平方米是卧室，\n20.5平方米是客厅。", "问答",
            NULL);
    for (i = 0; i < 6; i++)
        add(&c, 60 + i, "问题", form[i], "问答", NULL);
    for (i = 0; i < 30; i++) /* a task of lists, with one that is none */
        add(&c, 70 + i, "问题", i == 7 ? "甲、乙、丙。" : form[0], "列举", NULL);
    for (i = 0; i < 20; i++) /* no majority */
        add(&c, 100 + i, "问题", form[i % 2], "混合", NULL);
    for (i = 0; i < 5; i++) /* too few */
        add(&c, 120 + i, "问题", form[i != 0], "少数", NULL);
    found = finish(&c, &n);
    for (i = 0; i < n && n != 7; i++)
        print_message("%d %s\n", (int)found[i].row, found[i].finding.detail);
    assert_int_equal(n, 7);
    for (i = 0; i < 6; i++) {
        assert_int_equal(found[i].row, 60 + i);
        assert_int_equal(strncmp(found[i].finding.detail, name[i], strlen(name[i])), 0);
    }
    assert_int_equal(found[6].row, 77);
    assert_non_null(strstr(found[6].finding.detail, "numbered list in 96.7 % of 30, task 列举"));
    close_rules(&c);
}

static void skew_and_missing_labels(void **state)
{
    static const char *const only[] = {"label_skew", "missing_label", "task_imbalance"};
    const quality_corpus_finding *found;
    checked c;
    size_t n, i;

    (void)state;
    open_only(&c, only, 3, NULL, 0);
    for (i = 0; i < 100; i++)
        add(&c, i, "辨证", "答", i < 92 ? "辨证" : "用药",
            i == 50  ? NULL
            : i < 90 ? "脾气虚"
            : i < 95 ? "血虚"
                     : "阴虚");
    found = finish(&c, &n);
    assert_int_equal(n, 3);
    assert_int_equal(found[0].row, 50);
    assert_string_equal(quality_rule(c.q, found[0].finding.rule).name, "missing_label");
    assert_true(found[1].row == UINT64_MAX && found[2].row == UINT64_MAX);
    assert_string_equal(found[1].finding.detail, "`脾气虚`: 89 of 99, 89.9 %");
    assert_string_equal(found[2].finding.detail, "`辨证`: 92, `用药`: 8");
    close_rules(&c);
}

/* More labels than the table of names begins with: none is lost. */
static void many_labels(void **state)
{
    static const char *const only[] = {"label_skew"}, *const set[] = {"label_skew.share=0"};
    const quality_corpus_finding *found;
    char name[40], wanted[60];
    size_t n, i, seen = 0;
    checked c;

    (void)state;
    open_only(&c, only, 1, set, 1);
    for (i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "label %zu", i % 1000);
        add(&c, i, "问", "答", NULL, name);
    }
    found = finish(&c, &n);
    assert_int_equal(n, 1000);
    for (i = 0; i < n; i++) {
        snprintf(wanted, sizeof wanted, "`label %d`: 3 of 3000", 777);
        seen += !strncmp(found[i].finding.detail, wanted, strlen(wanted));
    }
    assert_int_equal(seen, 1);
    close_rules(&c);
}

/* Without labels in the data there are no findings about labels; nor in few rows. */
static void no_labels_no_findings(void **state)
{
    static const char *const only[] = {"label_skew", "missing_label", "task_imbalance"};
    checked c;
    size_t n, i;

    (void)state;
    open_only(&c, only, 3, NULL, 0);
    for (i = 0; i < 100; i++)
        add(&c, i, "问", "答", NULL, NULL);
    for (i = 0; i < 10; i++)
        add(&c, 100 + i, "问", "答", "一", "同");
    finish(&c, &n);
    assert_int_equal(n, 0);
    close_rules(&c);
}

static const char *label_of(checked *c, const char *answer, const char *field)
{
    static const uint8_t trained[] = {0, 1};
    static char kept[200];
    json_t *root = row_of("问", answer);
    quality_row row = {.root = root, .trained = trained, .n_messages = 2, .label = field};
    const char *label = quality_label(c->q, c->s, &row);

    snprintf(kept, sizeof kept, "%s", label ? label : "-");
    json_decref(root);
    return kept;
}

static void labels(void **state)
{
    static const char words[] = "# 证型\n气虚\t气不足，气弱\r\n脾气虚,脾气不足\n肝郁 , liver qi stagnation\n";
    char path[64];
    hone_error err = HONE_ERROR_INIT;
    hone_quality_options o = {.enabled = true, .label_pattern = "证型[：:]\\s*(\\S+)"};
    checked c;
    quality *q;

    (void)state;
    open_rules(&c, &o);
    assert_string_equal(label_of(&c, "证型：血虚\n方药：四物汤", NULL), "血虚");
    assert_string_equal(label_of(&c, "方药：四物汤", NULL), "-");
    assert_string_equal(label_of(&c, "证型：血虚", "阳虚"), "阳虚"); /* the field comes first */
    close_rules(&c);

    snprintf(path, sizeof path, "test_quality_corpus.%d.txt", (int)getpid());
    assert_int_equal(hone_file_write(path, words, strlen(words), &err), 0);
    o.label_words = path;
    open_rules(&c, &o);
    assert_string_equal(label_of(&c, "多属脾气虚证，兼有肝郁。", NULL),
                        "脾气虚"); /* the longest at the first place */
    assert_string_equal(label_of(&c, "先见肝郁，后见气虚。", NULL), "肝郁");
    assert_string_equal(label_of(&c, "气不足之象", NULL), "气虚");
    assert_string_equal(label_of(&c, "a case of Liver Qi Stagnation", NULL), "肝郁");
    assert_string_equal(label_of(&c, "证型：痰湿，兼气虚", NULL),
                        "痰湿，兼气虚"); /* the pattern comes before the words */
    assert_string_equal(label_of(&c, "没有写明", NULL), "-");
    close_rules(&c);
    unlink(path);

    o = (hone_quality_options){.enabled = true, .label_pattern = "证型"};
    assert_int_equal(quality_open(&q, &o, &err), HONE_EINVAL);
    assert_non_null(strstr(err.message, "data.label.pattern"));
    o = (hone_quality_options){.enabled = true, .label_words = "nowhere.txt"};
    assert_int_equal(quality_open(&q, &o, &err), HONE_ENOENT);
}

typedef struct parallel {
    quality *q;
    json_t *row[300];
    char block[300][64];
    size_t found[300];
    int failed[300];
} parallel;

/* Ten rows, on a scratch of its own. */
static void check_ten(void *ud, size_t i)
{
    static const uint8_t trained[] = {0, 1};
    static const char *const task[] = {"一", "二", "三"};
    parallel *p = ud;
    quality_findings found = {0};
    quality_scratch *s = NULL;
    hone_error err = HONE_ERROR_INIT;
    size_t k;

    for (k = 10 * i; k < 10 * i + 10; k++) {
        quality_row row = {
            .root = p->row[k], .trained = trained, .n_messages = 2, .task = task[k % 3], .row = k};

        found.n = 0;
        p->failed[k] = (!s && quality_scratch_new(&s, p->q, &err)) ||
                       quality_check(p->q, s, &row, &found, p->block[k], &err);
        p->found[k] = found.n;
    }
    quality_scratch_free(s);
    hone_free(found.item);
}

/* Rows may be checked by many threads; what is found does not depend on how many. */
static void threads_find_the_same(void **state)
{
    static const char *const answer[] = {
        "证型：气虚。好的，好的，好的，好的，好的，好的，好的，好的。", "证型：血虚。请拨打13912345670，或者",
        "证型：阴虚。I'm sorry, but I can't help with that.", "证型：痰湿。一切正常，可以放心。"};
    hone_quality_options o = {.enabled = true, .label_pattern = "证型：(..)"};
    const quality_corpus_finding *found;
    parallel *p[2];
    checked c[2];
    size_t k, i, n[2];

    (void)state;
    for (k = 0; k < 2; k++) {
        hone_error err = HONE_ERROR_INIT;

        open_rules(&c[k], &o);
        p[k] = hone_calloc(1, sizeof *p[k]);
        assert_non_null(p[k]);
        p[k]->q = c[k].q;
        for (i = 0; i < 300; i++)
            p[k]->row[i] = row_of(i % 7 ? "请辨证，并说明理由。" : "请为这位患者辨证。", answer[i % 4]);
        data_parallel(k ? 4 : 1, 30, check_ten, p[k]);
        for (i = 0; i < 300; i++) {
            assert_int_equal(p[k]->failed[i], 0);
            assert_int_equal(quality_observe(c[k].q, i, p[k]->block[i], &err), 0);
            json_decref(p[k]->row[i]);
        }
        found = finish(&c[k], &n[k]);
        assert_true(n[k] > 0 && found);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(p[0]->block, p[1]->block, sizeof p[0]->block);
    assert_memory_equal(p[0]->found, p[1]->found, sizeof p[0]->found);
    for (k = 0; k < 2; k++) {
        hone_free(p[k]);
        close_rules(&c[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conflicts),
        cmocka_unit_test(conflicts_know_the_history),
        cmocka_unit_test(drift),
        cmocka_unit_test(skew_and_missing_labels),
        cmocka_unit_test(threads_find_the_same),
        cmocka_unit_test(labels),
        cmocka_unit_test(many_labels),
        cmocka_unit_test(no_labels_no_findings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
