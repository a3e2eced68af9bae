#!/usr/bin/env bash
# output/report.html from what the other steps left in output/: data, loss curve, held-out losses, answers side by side.
# One file without scripts or outside parts; what has not been run yet is left out.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
# shellcheck source-path=SCRIPTDIR source=../../report.sh
. "$here/../report.sh"
need_model
mkdir -p "$out"
page=$out/report.html.tmp.$$
trap 'rm -f "$page"' EXIT

{
    page_head "示例 4.1：中医问诊助手" "本页内容由小模型生成，仅供学习微调之用，不是医疗建议，不能代替执业医师面诊。"
    if [ -s "$out/data.tsv" ]; then
        echo '<h2>数据</h2><table><tr><th>集合</th><th class="n">行</th><th class="n">轮数</th><th class="n">字数</th><th class="n">token</th><th class="n">受训练</th><th>主诉</th></tr>'
        html <"$out/data.tsv" | awk -F '\t' '{ printf "<tr><td>%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td>%s</td></tr>\n", ($1 == "train" ? "训练" : "验证"), $2, $3, $4, $5, $6, $7 }'
        echo '</table>'
    fi
    page_training
    if [ -s "$out/eval/table.tsv" ]; then
        echo '<h2>验证损失：基座与微调后</h2><table><tr><th>对话</th><th class="n">token</th><th class="n">基座</th><th class="n">微调后</th><th class="n">变化</th></tr>'
        html <"$out/eval/table.tsv" | awk -F '\t' '{
            name = $1 == "all" ? "全部（按 token 加权）" : $6
            if ($1 == "all") verdict = $6
            printf "<tr><td>%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s%%</td></tr>\n", name, $2, $3, $4, $5 }
            END { print "</table>"
            print verdict == "reached" ? "<p class=\"good\">达到目标：平均低 15% 以上，每段对话都更低。</p>" : "<p class=\"bad\">没有达到目标：平均低 15%，每段都更低。</p>" }'
    fi
    if [ -s "$out/answers/1.tuned" ]; then
        echo '<h2>回答对比（贪心解码，重复惩罚 1.1，最多 200 个 token）</h2>'
        page_answers
    fi
    echo '</body></html>'
} >"$page"
mv "$page" "$out/report.html"
echo "$out/report.html"
