#!/usr/bin/env bash
# output/report.html from what the other steps left in output/: rows and tokens of every task, loss curve, held-out loss
# of every task, answers side by side. What has not been run yet is left out.
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
    page_head "示例 4.2：通用助手" "本页的回答由小模型生成，仅供学习微调之用，内容会有错误。"
    if [ -s "$out/data.tsv" ]; then
        echo '<h2>数据</h2><table><tr><th>集合</th><th>任务</th><th class="n">行</th><th class="n">使用</th><th class="n">token</th><th class="n">受训练</th><th class="n">最长</th></tr>'
        html <"$out/data.tsv" | awk -F '\t' '{ printf "<tr><td>%s</td><td>%s</td>", ($1 == "train" ? "训练" : "验证"), $2
            for (i = 3; i <= 7; i++) printf "<td class=\"n\">%s</td>", $i
            print "</tr>" }'
        echo '</table>'
    fi
    page_training
    if [ -s "$out/eval/table.tsv" ]; then
        echo '<h2>验证损失：基座与微调后</h2><table><tr><th>任务</th><th class="n">行</th><th class="n">token</th><th class="n">基座</th><th class="n">微调后</th><th class="n">变化</th></tr>'
        html <"$out/eval/table.tsv" | awk -F '\t' '{
            name = $1 == "all" ? "全部（按 token 加权）" : $1 == "mean" ? "各任务的平均" : $1
            printf "<tr><td>%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%s%%</td></tr>\n", name, $2, $3, $4, $5, $6
            verdict = $7 }
            END { print "</table>"
            print verdict == "reached" ? "<p class=\"good\">达到目标：各任务平均低 10% 以上，至少十种更低。</p>" : "<p class=\"bad\">没有达到目标：各任务平均低 10%，至少十种更低。</p>" }'
    fi
    if [ -s "$out/answers/same.tsv" ]; then
        echo '<h2>与范例逐字相同的回答</h2><table><tr><th>任务</th><th class="n">共</th><th class="n">基座</th><th class="n">微调后</th></tr>'
        html <"$out/answers/same.tsv" | awk -F '\t' '{ printf "<tr><td>%s</td><td class=\"n\">%d</td><td class=\"n\">%d</td><td class=\"n\">%d</td></tr>\n", $1, $2, $3, $4 }'
        echo '</table><h2>回答对比（贪心解码，最多 200 个 token）</h2>'
        page_answers
    fi
    echo '</body></html>'
} >"$page"
mv "$page" "$out/report.html"
echo "$out/report.html"
