/* Every text of a report, in each language. A new text is a new line here; a report names it WORD_X. */
#ifndef HONE_REPORT_WORDS_H
#define HONE_REPORT_WORDS_H

#include "hone/report.h"

/* clang-format off */
#define REPORT_WORDS(X) \
    X(DATA_REPORT, "Data report", "数据报告") \
    X(MADE, "Made", "生成时间") \
    X(FOOT, "Made by hone. This page is complete in itself: it loads nothing and runs no script.", \
            "由 hone 生成。本页自成一体：不加载任何外部资源，不运行任何脚本。") \
    X(CONTENTS, "Contents", "目录") \
    X(ROWS_READ, "Rows read", "读入行数") \
    X(ROWS_USED, "Used", "采用") \
    X(ROWS_DROPPED, "Dropped", "剔除") \
    X(ROWS_DUPLICATE, "Duplicates", "重复") \
    X(ROWS_CONTAMINATED, "Repeat an evaluation row", "与评测集重复") \
    X(ROWS_FLAWED, "Rows with a finding", "有问题的行") \
    X(ROWS_HELD_OUT, "Held out", "留作验证") \
    X(ROWS_WRITTEN, "Written, with copies", "写出（含重复采样）") \
    X(FATE, "What became of every row", "每一行的去向") \
    X(FATE_LEAD, "Every row that was read has exactly one fate; the numbers add up to the rows read.", \
                 "读入的每一行恰有一个去向，各项之和等于读入行数。") \
    X(FATE_USED, "used", "采用") X(FATE_DROPPED, "dropped", "剔除") X(FATE_DUPLICATE, "duplicate", "重复") \
    X(FATE_CONTAMINATED, "repeats an evaluation row", "与评测行重复") \
    X(REASONS, "Why rows were dropped", "剔除原因") \
    X(REASON_INVALID, "can not be read", "无法读取") \
    X(REASON_OVERLONG, "too long", "过长") \
    X(REASON_UNTRAINED, "nothing left to train", "没有可训练的内容") \
    X(REASON_SCORE, "filtered by score", "按分数过滤") \
    X(REASON_BALANCED, "balancing", "为均衡而舍去") \
    X(REASON_MAX_PER_TASK, "above the maximum per task", "超出每类任务上限") \
    X(REASON_MIX, "above its share of the mix", "超出配比") \
    X(PROBLEMS, "Problems", "问题") \
    X(PROBLEMS_LEAD, "Worst first: by severity, then by the number of rows. Not every finding drops a row.", \
                     "按严重程度、再按行数排序。发现问题不一定剔除该行。") \
    X(NO_PROBLEMS, "No problem was found.", "没有发现问题。") \
    X(SEVERITY, "Severity", "级别") \
    X(PROBLEM, "Problem", "问题") \
    X(COL_ROWS, "#Rows", "#行数") \
    X(COL_SHARE, "#Share", "#占比") \
    X(COL_DROPPED, "#Dropped", "#剔除") \
    X(NOTE, "note", "提示") \
    X(WARNING, "warning", "警告") \
    X(ERROR, "error", "错误") \
    X(INVALID_TITLE, "can not be read", "无法读取的行") \
    X(CONTAMINATED_TITLE, "repeats a row of the evaluation data", "与评测数据重复") \
    X(DUPLICATE_TITLE, "repeats another row", "与其他行重复") \
    X(EXAMPLES, "Examples", "示例") \
    X(ALL_ROWS, "the rows as a whole", "整个数据集") \
    X(ROW, "row", "行号") \
    X(TOO_LONG_TO_SHOW, "This row is too long to show.", "该行过长，不予显示。") \
    X(SIMILARITY, "similarity", "相似度") \
    X(SHARE_FOUND, "share of its n-grams found", "命中的 n-gram 占比") \
    X(THIS_ROW, "Left out", "舍去的行") \
    X(KEPT_ROW, "Kept", "保留的行") \
    X(EVALUATION_ROW, "Evaluation row", "评测行") \
    X(LENGTHS, "Lengths and turns", "长度与轮数") \
    X(LENGTHS_LEAD, "All rows that could be read, and those that are used.", "所有读得出的行，以及其中采用的行。") \
    X(TOKENS, "Tokens of a row", "每行 token 数") \
    X(CHARACTERS, "Characters of a row", "每行字符数") \
    X(AXIS_TOKENS, "tokens", "token 数") \
    X(AXIS_CHARACTERS, "characters", "字符数") \
    X(AXIS_TURNS, "turns of the assistant", "助手轮数") \
    X(AXIS_ROWS, "rows", "行数") \
    X(TURNS, "Turns of a row", "每行轮数") \
    X(FITS, "Rows that fit into a length", "能放进给定长度的行") \
    X(FITS_SHARE, "share of rows", "占全部行") \
    X(MAX_LENGTH, "max_length", "max_length") \
    X(RAW, "raw", "原始") \
    X(PREPARED, "used", "采用") \
    X(TASKS, "Tasks and labels", "任务与标签") \
    X(TASKS_LEAD, "Rows of each, before and after.", "各自的行数，整理前后。") \
    X(TASKS_ONLY, "Tasks", "任务") \
    X(LABELS_ONLY, "Labels", "标签") \
    X(NONE, "(none)", "（无）") \
    X(OTHERS, "(others)", "（其他）") \
    X(SCORES, "Scores by the model", "模型打分") \
    X(SCORES_LEAD, "Of the rows that were still in when scores were computed, and of those that are used.", \
                   "打分时尚未剔除的行，以及其中采用的行。") \
    X(SCORE_PERPLEXITY, "Perplexity of the answer", "回答的困惑度") \
    X(SCORE_ALONE, "Perplexity of the answer without its question", "无问题时回答的困惑度") \
    X(SCORE_IFD, "Instruction-following difficulty (IFD)", "指令遵循难度（IFD）") \
    X(SCORE_UNSCORED, "Trained tokens beyond max_length", "超出 max_length 的训练 token") \
    X(SAMPLES, "Rows as they are trained", "训练时看到的样子") \
    X(SAMPLES_LEAD, "Used rows, spread evenly over the data, as the chat template writes them.", \
                    "在采用的行中均匀抽取，按对话模板展开。") \
    X(TRAINED_TEXT, "trained: has a loss", "训练：计入损失") \
    X(PROMPT_TEXT, "context of the row", "上下文：不计损失") \
    X(TEMPLATE_TEXT, "written by the template", "模板文字") \
    X(N_TOKENS, "tokens", "个 token") \
    X(N_TRAINED, "trained", "个计入损失") \
    X(BEFORE_AFTER, "Before and after", "整理前后") \
    X(FIGURE, "Figure", "指标") \
    X(COL_BEFORE, "#Before", "#整理前") \
    X(COL_AFTER, "#After", "#整理后") \
    X(COL_CHANGE, "#Change", "#变化") \
    X(F_ROWS, "Rows", "行") \
    X(F_TURNS, "Turns of the assistant", "助手轮数") \
    X(F_TOKENS, "Tokens", "token") \
    X(F_CHARACTERS, "Characters", "字符") \
    X(F_TRAINED, "Trained tokens", "计入损失的 token") \
    X(F_SHORTEST, "Shortest row", "最短的行") \
    X(F_MEDIAN, "Median length", "长度中位数") \
    X(F_P95, "95th percentile", "95 分位长度") \
    X(F_LONGEST, "Longest row", "最长的行") \
    X(F_OVER, "Rows over max_length", "超过 max_length 的行") \
    X(F_TASKS, "Tasks", "任务种类") \
    X(F_LABELS, "Labels", "标签种类") \
    X(SOURCES, "Where the data comes from", "数据来源") \
    X(FILE_NAME, "File", "文件") \
    X(PURPOSE, "Used as", "用途") \
    X(COL_SIZE, "#Size", "#大小") \
    X(TRAINING_DATA, "training", "训练") \
    X(EVALUATION_DATA, "evaluation", "评测") \
    X(SETTINGS, "Options used", "所用设置") \
    X(SETTINGS_ALL, "The configuration as it took effect", "实际生效的配置") \
    X(NO_TOKENS, "Lengths are characters and no mask is shown, since the model could not be opened:", \
                 "未能打开模型，长度以字符计，也不显示训练掩码：") \
    X(NOT_ENCODED, "Rows that the chat template can not write:", "对话模板无法展开的行：") \
    X(SYSTEM, "system", "系统") X(USER, "user", "用户") X(ASSISTANT, "assistant", "助手") X(TOOL, "tool", "工具") \
    X(TRAINING_REPORT, "Training report", "训练报告") \
    X(T_STEPS, "Steps", "步数") X(T_STOPPED, "stopped early", "中途停止") \
    X(T_LOSS, "Training loss", "训练损失") \
    X(T_EVAL, "Evaluation loss", "评测损失") X(T_PERPLEXITY, "perplexity", "困惑度") \
    X(T_ACCURACY, "Accuracy", "准确率") X(T_ACCURACY_OF, "of the next token", "下一个 token") \
    X(T_TIME, "Time", "用时") X(T_ESTIMATED, "estimated before", "开始前估计") \
    X(T_SPEED, "Tokens a second", "每秒 token") X(T_SHARE, "of the machine's peak", "机器峰值") X(T_SHARE_TITLE, "Share of the machine's peak", "占机器峰值")\
    X(T_LOSS_TITLE, "Loss", "损失") \
    X(T_MEMORY, "Peak memory", "内存峰值") X(T_PLANNED, "planned", "计划") \
    X(T_TOKENS_DONE, "Tokens", "token 数") X(T_TRAINED_DONE, "with a loss", "计入损失") \
    X(T_CURVES, "Curves", "曲线") \
    X(T_CURVES_LEAD, "Every step, and every evaluation of the rows held out.", "每一步，以及对留出行的每次评测。") \
    X(T_EACH, "each step", "每步") X(T_SMOOTH, "smoothed", "平滑") X(T_HELD_OUT, "evaluation", "评测") \
    X(T_SOURCES, "Loss of new and replayed rows, smoothed", "新数据行与回放行的损失（平滑）") \
    X(T_NEW, "new", "新") X(T_REPLAYED, "replayed", "回放") \
    X(T_AXIS_STEP, "step", "步") X(T_NATS, "nats a token", "每 token 奈特") \
    X(T_RATE, "Learning rate", "学习率") X(T_NORM, "Norm of the gradient", "梯度范数") \
    X(T_BY_TASK, "Loss by task", "各任务的损失") \
    X(T_BY_TASK_LEAD, "Of the evaluation rows: at the first evaluation, and at the one whose result was kept.", \
                      "评测行按任务分组：首次评测与所保留结果的评测。") \
    X(T_FIRST, "first", "首次") X(T_KEPT, "kept", "保留") X(T_STEP, "step", "步") \
    X(T_PLAN, "Memory, planned and measured", "内存：计划与实测") \
    X(T_PLAN_LEAD, "What the run said it would take before it took it, and the most that it held.", \
                   "运行前计划的各项，以及实际占用的最大值。") \
    X(T_MEASURED, "measured", "实测") X(T_PURPOSE, "Purpose", "用途") \
    X(T_ROWS, "Rows that stand out", "突出的行") \
    X(T_ROWS_LEAD, "The mean loss of a row when it was trained first and last. Rows that stay hard may be wrong or rare; a loss near 0 " \
                   "means that the row is known by heart.", \
                   "每行首次与末次训练时的平均损失。一直困难的行可能有误或罕见；损失接近 0 说明该行已被背下。") \
    X(T_HARDEST, "Hardest at the end", "末次损失最高") X(T_MEMORISED, "Easiest at the end (known by heart where near 0)", "末次损失最低（接近 0 即已背下）") \
    X(T_DROPPED, "Learnt most: largest drop", "下降最多") \
    X(T_PLACE, "Row", "行") X(T_COL_FIRST, "#First", "#首次") X(T_COL_LAST, "#Last", "#末次") X(T_EXCERPT, "Excerpt", "摘录") \
    X(T_SPREAD, "Losses of all rows", "所有行的损失") X(T_AXIS_LOSS, "loss", "损失") \
    X(T_SAMPLES, "Sample answers", "示例回答") \
    X(T_SAMPLES_LEAD, "The same questions at every evaluation, answered without chance.", "每次评测问同样的问题，不带随机性地作答。") \
    X(T_QUESTION, "Question", "问题") X(T_REFERENCE, "Reference", "参考答案") X(T_CUT, "cut at its most tokens", "达到长度上限") \
    X(T_RUN, "The run", "运行环境与配置") X(T_MODEL, "Model", "模型") X(T_METHOD, "Method", "方法") \
    X(T_VALUES, "trained values", "个训练参数") X(T_DEVICE, "Device", "设备") X(T_THREADS, "threads", "线程") \
    X(T_PEAK, "Peak measured at the start", "开始时测得的峰值") X(T_TRAIN_ROWS, "Training rows", "训练行") \
    X(T_EVAL_ROWS, "Evaluation rows", "评测行") X(T_RECOMPUTE, "Recomputation level", "重计算级别") \
    X(T_UNFINISHED, "This run has no run.json: it is still at work, or was killed. What is known so far is shown.", \
                    "没有 run.json：运行仍在进行，或已被强制结束。以下为目前已知内容。") \
    X(REST, "the rest", "其余部分")
/* clang-format on */

typedef enum report_word {
#define X(name, english, chinese) WORD_##name,
    REPORT_WORDS(X)
#undef X
        N_WORDS
} report_word;

const char *report_text(hone_language language, report_word word);

#endif
