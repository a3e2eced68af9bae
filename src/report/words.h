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
