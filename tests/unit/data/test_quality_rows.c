/* The built-in row rules: for each, texts in which it finds something, and texts close to them in which nothing is found by
 * any rule. The texts are of everyday kinds, none is from the data the rules were tuned on. */
#include "quality_test.h"

static void all_of(const quality_case *list, size_t n)
{
    hone_quality_options o = {.enabled = true};
    checked c;

    open_rules(&c, &o);
    check_cases(&c, list, n);
    close_rules(&c);
}

static void length(void **state)
{
    static const quality_case list[] = {
        {"empty_answer", "你好吗？", "", NULL},   {"empty_answer", "你好吗？", " \n\t", NULL},
        {"empty_question", "", "我很好。", NULL}, {"too_short", "介绍一下长城", "A", "1 characters"},
        {NULL, "选哪一个？", "A", NULL},          {NULL, "选哪一个？", "选 A", NULL},
        {NULL, "Is it raining?", "No.", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

static void repetition(void **state)
{
    static const quality_case list[] = {
        {"repeated_characters", "说说天气", "今天真热啊啊啊啊啊啊啊啊啊啊啊啊啊啊啊啊啊啊啊啊！", "`啊`"},
        {"repeated_phrase", "怎样入睡？",
         "睡前可以喝温牛奶，可以喝温牛奶，可以喝温牛奶，可以喝温牛奶，可以喝温牛奶", "×5"},
        {"repeated_phrase", "Describe the sea.",
         "The sea is blue and deep and the sea is blue and deep and the sea is blue and deep and the sea is "
         "blue and deep "
         "and the sea is blue.",
         NULL},
        {"repeated_sentences", "如何备考？",
         "制定计划很重要，要坚持下去。每天复习两小时。制定计划很重要，要坚持下去。做真题。制定计划很重要，要"
         "坚持下去。",
         "×3"},
        {"repeated_text", "介绍一下长城",
         "长城是中国古代的军事防御工程，全长两万多公里，东起山海关，西至嘉峪关。它见证了历史变迁，长城是中国"
         "古代的军事防御工程，"
         "全长两万多公里，东起山海关，西至嘉峪关，吸引着各地游客，长城是中国古代的军事防御工程，全长两万多公"
         "里。",
         NULL},
        {NULL, "写一段分隔线", "第一部分内容在上面。\n--------------------------------\n第二部分内容在下面。",
         NULL},
        {NULL, "乘法口诀", "一一得一，一二得二，一三得三，二二得四，二三得六，三三得九。", NULL},
        {NULL, "绕口令", "吃葡萄不吐葡萄皮，不吃葡萄倒吐葡萄皮。", NULL},
        {NULL, "Count to ten, please.", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.", NULL},
        {NULL, "哈哈", "哈哈哈哈，这个笑话真好笑！", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

static void unfinished(void **state)
{
    static const quality_case list[] = {
        {"truncated", "怎样煮粥？", "先把大米淘洗干净，加入适量清水，大火烧开后转小火慢煮，同时注意搅拌，",
         "…`"},
        {"truncated", "推荐三本书", "1. 《红楼梦》：清代长篇小说。\n2. 《西游记》：神魔小说。\n3.", "`3.`"},
        {"truncated", "列出要点", "要点如下：\n一、准时到场。\n二、", NULL},
        {"truncated", "写一段代码", "可以这样写：\n```python\ndef add(a, b):\n    return a", "fence"},
        {"truncated", "输出 JSON", "{\"name\": \"李雷\", \"age\": 12, \"hobby\": [\"足球\", \"音", "JSON"},
        {"truncated", "介绍茶", "常见的茶叶分为六大类（绿茶、红茶、乌龙茶", "open"},
        {"truncated", "他说了什么", "老师走进教室，看着大家说：“今天我们要学习一篇新的课文", "open"},
        {"truncated", "为什么天是蓝的", "阳光进入大气层后会被空气分子散射，蓝光的波长较短，更容易散射，因此",
         NULL},
        {"truncated", "Why is the sky blue?",
         "Sunlight is scattered by the molecules of the air, and blue light is "
         "scattered more strongly than the",
         NULL},
        {"truncated", "List the steps.",
         "There are three steps. First you boil the water, then you add the leaves,", NULL},
        {"truncated", "怎么做？", "步骤如下：", NULL},
        {"no_final_mark", "介绍黄山",
         "黄山位于安徽省南部，是著名的风景区。它以奇松、怪石、云海、温泉闻名天下。每年都有大量游客前来观赏日"
         "出和云海的壮丽景色并且在",
         NULL},
        {"no_final_mark", "Tell me about bees.",
         "Bees live in colonies with a single queen. Workers gather nectar and pollen from many flowers. In "
         "winter the whole "
         "colony stays close together and eats the honey that it has stored over",
         NULL},
        {NULL, "给这段话起个标题", "城市里的秋天", NULL},
        {NULL, "分类：这条评论是好评还是差评？", "好评", NULL},
        {NULL, "列出三种水果", "1. 苹果\n2. 香蕉\n3. 橙子", NULL},
        {NULL, "List fruit.", "- apple\n- banana\n- orange", NULL},
        {NULL, "17 加 25 等于多少？", "17 + 25 = 42", NULL},
        {NULL, "Python 怎么打印？", "```python\nprint(\"你好\")\n```", NULL},
        {NULL, "写一首四行小诗", "春风吹绿江南岸\n桃花笑对柳丝长\n一叶轻舟随水去\n满船明月伴歌扬", NULL},
        {NULL, "把它变成 JSON", "{\"城市\": \"北京\", \"温度\": 12}", NULL},
        {NULL, "网址是什么？", "请访问 https://www.python.org/downloads/", NULL},
        {NULL, "他说了什么？", "他说：“今天天气很好，我们去公园吧。”", NULL},
        {NULL, "Is this correct?", "Yes, it is (see the table above)", NULL},
        {NULL, "好不好？", "好的呀～", NULL},
        {NULL, "温度怎么样", "温度适中，湿度饱和", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

static void caution(void **state)
{
    static const quality_case list[] = {
        {"refusal", "帮我写一封请假信", "很抱歉，我无法帮您完成这个请求。", NULL},
        {"refusal", "头疼怎么缓解？", "作为一个人工智能助手，我不能提供任何建议，请联系相关人员。", NULL},
        {"refusal", "昨天的新闻", "对不起，我是AI，没有实时信息，无法回答这个问题。", NULL},
        {"refusal", "Write a limerick.", "I'm sorry, but I can't help with that request.", NULL},
        {"refusal", "What is the weather?", "As an AI language model, I do not have access to the weather.",
         NULL},
        {"disclaimers", "感冒了吃什么药？", "本回答仅供参考，具体用药请咨询医生，不能替代专业诊断。", NULL},
        {"disclaimers", "Which vitamins help?",
         "Please consult your doctor. This is not a substitute for professional advice.", NULL},
        {NULL, "怎么道歉？", "可以真诚地说：抱歉让您久等了，我马上处理，下次一定提前准备。", NULL},
        {NULL, "感冒了怎么办？",
         "普通感冒多由病毒引起，一般一周左右自愈。应多休息、多喝温水，发热时可物理降温，体温超过三十八度五可"
         "用退热药。若持续高热三天以上，"
         "请及时就医。",
         NULL},
        {NULL, "I have a cold.",
         "Rest, drink warm water, and sleep enough; a cold usually passes within a week. If the fever "
         "lasts longer than three days, please seek medical help.",
         NULL},
        {"refusal", "问", "对不起，这个问题我回答不了。", NULL},
        {"refusal", "问", "我没办法给出医疗建议，建议您去医院。", NULL},
        {"refusal", "问", "很遗憾，我不能讨论这个话题。", NULL},
        {"refusal", "问", "作为AI，我不具备诊断疾病的能力，请咨询专业医生。", NULL},
        {"refusal", "问", "不好意思，该内容可能涉及敏感信息，无法为您解答。", NULL},
        {"refusal", "问", "您的问题超出了我的能力范围，请咨询专业人士。", NULL},
        {"refusal", "问", "我只是一个语言模型，没有情感，也无法帮你做决定。", NULL},
        {"refusal", "问", "此问题我暂时无法回答，请换一个问题。", NULL},
        {"refusal", "问", "出于安全考虑，我不能提供相关信息。", NULL},
        {"refusal", "问", "根据相关规定，无法提供该内容。", NULL},
        {"refusal", "问", "我拒绝回答这个问题。", NULL},
        {"refusal", "问", "建议您咨询专业医生，我不能给您开药方。", NULL},
        {"refusal", "问", "我无法为您提供具体的投资建议。", NULL},
        {"refusal", "问", "Sorry, that is something I can't assist with.", NULL},
        {"refusal", "问", "I'm not able to provide medical advice. Please see a doctor.", NULL},
        {"refusal", "问", "Unfortunately, I cannot share this information.", NULL},
        {"refusal", "问", "I apologize, but I'm unable to answer that question.", NULL},
        {"refusal", "问", "As a large language model, I can't browse the internet.", NULL},
        {"refusal", "问", "I must decline to answer this.", NULL},
        {"refusal", "问", "It would not be appropriate for me to comment on this.", NULL},
        {"refusal", "问", "My apologies, but I won't be able to help with this.", NULL},
        {"refusal", "问", "I'm just an AI, so I don't have personal opinions on this.", NULL},
        {NULL, "怎么婉拒聚会？", "可以说：不好意思，那天我已经有安排了，下次一定参加。", NULL},
        {NULL, "这个药能和酒一起吃吗？",
         "不能。头孢类药物与酒精同服可能引起双硫仑样反应，轻则面红心悸，重则休克。", NULL},
        {NULL, "为什么企鹅不会飞？",
         "企鹅的翅膀已经退化成鳍状，骨骼密实，无法提供飞行所需的升力，但非常适合游泳。", NULL},
        {NULL, "能退货吗？", "抱歉，超过七天不能退货，但可以为您免费维修。", NULL},
        {NULL, "写一句道歉的话", "对不起，我不能按时赴约，让你久等了，改天请你吃饭。", NULL},
        {NULL, "机器人三定律？", "机器人不能伤害人类，或坐视人类受到伤害；必须服从命令；必须保护自己。",
         NULL},
        {NULL, "AI 有意识吗？", "目前主流观点认为，人工智能没有意识，它只是统计模型。", NULL},
        {NULL, "Can dogs eat chocolate?",
         "No. Dogs cannot eat chocolate because theobromine is toxic to them.", NULL},
        {NULL, "Why can't we see at night?",
         "We cannot see well at night because the cones need light; the rods are more sensitive but see no "
         "colour.",
         NULL},
        {NULL, "Write an apology.", "I'm sorry that I missed your birthday; I hope you had a lovely day.",
         NULL},
        {"disclaimers", "失眠怎么办？", "我不是医生，以上内容仅作参考，请务必咨询专业医师。", NULL},
        {"disclaimers", "失眠怎么办？",
         "失眠的原因很多。以上信息仅供参考，不构成医疗建议。如有不适，请及时到正规医院就诊。", NULL},
        {"disclaimers", "股票能买吗？",
         "投资有风险，入市需谨慎。以上内容不构成投资建议，请咨询专业的理财顾问。", NULL},
        {"disclaimers", "合同有效吗？", "建议您咨询律师，以获得专业的法律意见。", NULL},
        {"disclaimers", "孩子发烧", "每个人的情况不同，请遵医嘱用药，切勿自行服药。", NULL},
        {"disclaimers", "What about vitamin D?",
         "I am not a doctor. Always seek the advice of a qualified healthcare provider before making any "
         "decision.",
         NULL},
        {"disclaimers", "Is this legal?", "This is not legal advice. Please consult a lawyer.", NULL},
        {"disclaimers", "Should I invest?",
         "This is not financial advice, and you should speak to a financial advisor before investing.", NULL},
        {"disclaimers", "腰疼", "本平台不提供诊断服务，具体情况请以医院检查结果为准。", NULL},
        {NULL, "谁负责解释合同条款？", "一般由律师解释合同条款，双方也可以约定由仲裁机构解释。", NULL},
        {NULL, "医生的职责？", "医生负责诊断和治疗疾病，向患者解释病情，并在必要时建议转诊。", NULL},
        {NULL, "发烧三天怎么办？",
         "连续发烧三天应当去医院查血常规，同时多喝水、注意休息，体温超过三十八度五可服用退烧药。", NULL},
        {NULL, "How do I pick a lawyer?",
         "Ask friends for names, compare fees, and check the bar association's records before you sign "
         "anything.",
         NULL},
        {NULL, "Make it negative: I will win.", "I will not win.", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

static void relation(void **state)
{
    static const char *const case_text = "王女士，四十二岁，近两周每晚醒来三四次，心慌出汗，手心发热，口干舌"
                                         "燥，大便干结，舌红少苔，脉细数，请判断她的体质并给出饮食调理方案。";
    const quality_case list[] = {
        {"ignores_input", case_text,
         "量子计算机利用叠加态与纠缠态并行计算，谷歌公司已经展示过五十余个比特规模的芯片，未来有望加速密码破"
         "译、材料模拟等任务。",
         NULL},
        {"ignores_input",
         "Our museum opens at nine on weekdays; tickets cost twelve euros, children enter free, and guided "
         "tours start every half hour near the fountain. Summarise for visitors.",
         "Photosynthesis converts sunlight into chemical energy inside chloroplasts, releasing oxygen while "
         "building sugars "
         "from carbon dioxide drawn out of surrounding air by leaves.",
         NULL},
        {NULL, case_text,
         "从夜间易醒、心慌出汗、手心发热、口干便结以及舌红少苔、脉细数来看，多属阴虚体质。饮食上宜多吃百合、"
         "银耳、莲子，少吃辛辣。",
         NULL},
        {"wrong_language", "请介绍一下你最喜欢的季节，并说明理由是什么",
         "My favourite season is autumn because the leaves turn golden and the air is cool and clear.",
         "en, not zh"},
        {"wrong_language", "What are the main causes of inflation in a modern economy?",
         "通货膨胀的主要原因包括货币供应过多、需求过旺以及成本上升。", "zh, not en"},
        {NULL, "请把下面的句子翻译成英文：今天我很高兴见到你们", "I am very happy to meet you today.", NULL},
        {NULL, "Translate into Chinese: The weather is fine and the children are playing.",
         "天气很好，孩子们正在玩耍。", NULL},
        {NULL, "用 Python 写一个函数返回列表的和", "def total(values):\n    return sum(values)", NULL},
        {NULL, "推荐几个流行的编程框架给初学者", "React, Vue, Django, Flask, Spring", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

static void script_and_encoding(void **state)
{
    static const quality_case list[] = {
        {"mixed_script", "说说茶", "喝茶有助於消化，茶葉裡含有多种对人体有益的成分，适量饮用可以提神。",
         NULL},
        {NULL, "说说茶", "喝茶有助于消化，茶叶里含有多种对人体有益的成分，适量饮用可以提神。", NULL},
        {NULL, "說說茶", "喝茶有助於消化，茶葉裡含有多種對人體有益的成分，適量飲用可以提神。", NULL},
        {"broken_encoding", "说说茶", "喝茶有助于消\xef\xbf\xbd\xef\xbf\xbd，茶叶含有多种成分。", "U+FFFD"},
        {"broken_encoding", "Say hello.",
         "It\xc3\xa2\xe2\x82\xac\xe2\x84\xa2s a nice caf\xc3\x83\xc2\xa9 by the sea.", NULL},
        {"broken_encoding", "问好", "浣犲ソ锛屼粖澶╁ぉ姘斿緢濂斤紝鎴戜滑鍘诲叕鍥惂銆", NULL},
        {"broken_encoding", "问好", "锟斤拷锟斤拷，见到您很高兴。", NULL},
        {NULL, "Say hello in French.", "Bonjour ! Ça va bien, le café est très bon à Orléans, déjà prêt.",
         NULL},
        {"broken_encoding", "问好",
         "\xc3\x84\xc3\xa3\xc2\xba\xc3\x83\xc2\xa3\xc2\xac\xc3\x8a\xc3\x80\xc2\xbd\xc3\xa7", NULL},
        {"escape_remains", "说说茶", "喝茶有助于消化。\\n\\n茶叶很香。", NULL},
        {"escape_remains", "说说茶", "\\u559d\\u8336\\u6709\\u76ca", NULL},
        {NULL, "JSON 里怎么写换行？", "写成反斜杠加字母：第一行。\\n第二行。", NULL},
        {NULL, "什么是路径？", "例如 C:\\new\\table 就是一个路径。", NULL},
        {"starts_in_middle", "说说茶", "，因此喝茶有助于消化。", NULL},
        {"control_characters", "说说茶", "喝茶有助于消化。\x07茶叶很香。", "U+0007"},
        {"hidden_characters", "说说茶", "喝茶\xe2\x80\x8b有助于消化。", "U+200B"},
        {NULL, "加个表情", "祝你开心 \xe2\x9d\xa4\xef\xb8\x8f 👨\xe2\x80\x8d👩\xe2\x80\x8d👧！", NULL},
        {"html_remains", "说说茶", "<p>喝茶有助于消化。</p><br/>茶叶很香。", "`<p>`"},
        {"html_remains", "Tell me.", "Tea &amp; coffee are both popular&nbsp;drinks.", NULL},
        {NULL, "HTML 里怎么换行？", "用 <br> 标签换行，用 <p> 标签分段。", NULL},
        {NULL, "比较大小", "若 a < b 且 b > c，则不能确定 a 与 c 的大小 & 关系。", NULL},
        {NULL, "怎么写加粗？", "在文字两侧写上 `<b>` 和 `</b>` 即可。", NULL},
        {"template_remains", "你好", "你好！<|im_end|>\n<|im_start|>user\n再见", NULL},
        {"template_remains", "Hi", "Hello there.\nHuman: and what about tea?\nAssistant: It is fine.", NULL},
        {"placeholders", "写封信", "尊敬的[您的姓名]：\n感谢您的来信。", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

static void personal_data(void **state)
{
    static const quality_case list[] = {
        {"id_card", "核对", "患者身份证号为11010519491231002X，请核对。", "110…02X"},
        {NULL, "核对", "编号为110105194912310021，请核对。", NULL},   /* check character */
        {NULL, "核对", "流水号是99010519491231002X，已登记。", NULL}, /* no such region */
        {"mobile_phone", "联系方式", "请拨打13912345670联系张医生。", "139…670"},
        {"mobile_phone", "联系方式", "请拨打 +86 139-1234-5670 联系。", NULL},
        {NULL, "订单号", "订单号是139123456701234，请保留。", NULL},
        {"email", "邮箱", "请发送到 li.lei@hospital.org.cn 。", NULL},
        {NULL, "邮箱", "格式类似 name@example.com 这样。", NULL},
        {"bank_card", "卡号", "卡号 6222 0212 3456 7890 128 已绑定。", NULL},
        {NULL, "卡号", "编号 6222021234567890123 不是卡号。", NULL},
        {NULL, "圆周率", "圆周率约为3.14159265358979323846。", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

/* Places are bytes of the message, at borders of characters, and hold what was found. */
static void a_finding_tells_its_place(void **state)
{
    hone_quality_options o = {.enabled = true};
    const char *answer = "请拨打13912345670联系张医生。";
    const quality_finding *f;
    checked c;

    (void)state;
    open_rules(&c, &o);
    check_pair(&c, "电话？", answer);
    f = finding_of(&c, "mobile_phone");
    assert_non_null(f);
    assert_int_equal(f->message, 1);
    assert_int_equal(f->end - f->begin, 11);
    assert_memory_equal(answer + f->begin, "13912345670", 11);
    close_rules(&c);
}

/* Turns that are not trained are not answers; calls of tools without text are not empty answers. */
static void only_trained_answers_count(void **state)
{
    static const uint8_t none[2] = {0, 0};
    hone_quality_options o = {.enabled = true};
    hone_error err = HONE_ERROR_INIT;
    json_t *root = row_of("你好", "");
    quality_row row = {.root = root, .trained = none, .n_messages = 2};
    checked c;

    (void)state;
    open_rules(&c, &o);
    assert_int_equal(quality_check(c.q, c.s, &row, &c.found, c.digest, &err), 0);
    assert_int_equal(c.found.n, 0);
    check_row(&c, root, NULL, NULL, 0);
    assert_non_null(finding_of(&c, "empty_answer"));
    json_object_set_new(json_array_get(json_object_get(root, "messages"), 1), "tool_calls", json_array());
    check_row(&c, root, NULL, NULL, 0);
    assert_int_equal(c.found.n, 0);
    json_decref(root);
    close_rules(&c);
}

/* Plain text is looked at by the rules that need no question. */
static void plain_text(void **state)
{
    static const quality_case list[] = {
        {"broken_encoding", NULL, "一段文字\xef\xbf\xbd结束。", NULL},
        {"repeated_phrase", NULL, "好的没问题，好的没问题，好的没问题，好的没问题，好的没问题。", NULL},
        {NULL, NULL, "没有标点的一段文字，然后", NULL},
        {NULL, NULL, "一段普通的文字。", NULL},
    };

    (void)state;
    all_of(list, HONE_COUNT(list));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(length),
        cmocka_unit_test(repetition),
        cmocka_unit_test(unfinished),
        cmocka_unit_test(caution),
        cmocka_unit_test(relation),
        cmocka_unit_test(script_and_encoding),
        cmocka_unit_test(personal_data),
        cmocka_unit_test(a_finding_tells_its_place),
        cmocka_unit_test(only_trained_answers_count),
        cmocka_unit_test(plain_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
