# Sourced by the report.sh of every example, after common.sh: the parts that their pages share. A page is one file of HTML
# without scripts or outside parts.
# shellcheck shell=bash disable=SC2154

page_head() { # TITLE WARNING; sets nothing, needs `model`
    cat <<'END'
<!DOCTYPE html>
<html lang="zh-CN"><head><meta charset="utf-8">
<style>
body { font: 15px/1.6 "Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; width: 100%; margin: 1em 0; }
th, td { border: 1px solid #ccc; padding: .4em .6em; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
.answers td { white-space: pre-wrap; width: 33%; }
.warning { background: #fff4e5; border-left: 4px solid #c1440e; padding: .6em 1em; }
.good { color: #1b7f3b; font-weight: bold; } .bad { color: #b00020; font-weight: bold; }
svg { width: 100%; max-width: 760px; } svg text { font-size: 12px; fill: #555; }
</style>
END
    printf '<title>%s</title></head><body>\n<h1>%s</h1>\n<p class="warning">%s</p>\n' "$1" "$1" "$2"
    printf '<p>基座模型：%s</p>\n' "$(basename "$model" | html)"
}

cell() { # FILE: its text as one table cell
    printf '<td>'
    html <"$1"
    printf '</td>'
}

curve() { # metrics.jsonl as an SVG: training loss as a line, held-out losses as dots
    awk "$awk_number"'
    { s = number("step"); l = number("loss"); e = number("eval_loss") }
    l != "" { x[++n] = s; y[n] = l; if (l > top) top = l; if (s > last) last = s }
    e != "" { ex[++m] = s; ey[m] = e; if (e > top) top = e; if (s > last) last = s }
    END {
        if (!n) exit
        w = 720; h = 260; left = 46; low = 26
        printf "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"loss\">", w, h
        for (i = 0; i <= 4; i++) {
            v = top * i / 4; py = h - low - (h - low - 12) * i / 4
            printf "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"4\" y=\"%.1f\">%.2f</text>", left, w, py, py, py + 4, v
        }
        printf "<polyline fill=\"none\" stroke=\"#2a6f97\" stroke-width=\"2\" points=\""
        for (i = 1; i <= n; i++) printf "%.1f,%.1f ", left + (w - left - 10) * x[i] / last, h - low - (h - low - 12) * y[i] / top
        printf "\"/>"
        for (i = 1; i <= m; i++) printf "<circle r=\"5\" fill=\"#c1440e\" cx=\"%.1f\" cy=\"%.1f\"><title>%.4f</title></circle>", left + (w - left - 10) * ex[i] / last, h - low - (h - low - 12) * ey[i] / top, ey[i]
        printf "<text x=\"%d\" y=\"%d\">1</text><text x=\"%d\" y=\"%d\">%d</text></svg>\n", left, h - 6, w - 30, h - 6, last
    }' "$1"
}

page_training() { # the section of the training run, when there was one
    [ -s "$adapter/metrics.jsonl" ] || return 0
    echo '<h2>训练</h2><p>蓝线：训练损失。红点：验证损失（不参与挑选适配器）。</p>'
    curve "$adapter/metrics.jsonl"
    awk "$awk_number"'
    number("loss") != "" { n = number("step"); tokens += number("tokens"); trained += number("trained_tokens"); seconds = number("seconds"); if (number("rss_bytes") > rss) rss = number("rss_bytes") }
    END { printf "<p>%d 次更新，计算 %d 个 token，其中受训练 %d 个；%.0f 秒；内存 %.2f GB。</p>\n", n, tokens, trained, seconds, rss / 1e9 }' "$adapter/metrics.jsonl"
}

page_answers() { # output/answers/N.{question,base,tuned,reference}, a table each
    local question one

    for question in $(find "$out/answers" -name '*.question' | sort -V); do
        one=${question%.question}
        echo '<table class="answers"><tr><th colspan="3">'
        html <"$question"
        echo '</th></tr><tr><th>基座</th><th>微调后</th><th>范例</th></tr><tr>'
        cell "$one.base"
        cell "$one.tuned"
        if [ -e "$one.reference" ]; then cell "$one.reference"; else echo '<td>（没有范例）</td>'; fi
        echo '</tr></table>'
    done
}
