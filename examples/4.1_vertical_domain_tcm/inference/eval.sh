#!/usr/bin/env bash
# Base against tuned on the held-out dialogues: token-weighted loss of all and of each. Writes output/eval/.
# Exit status 3: the aim (15 % below the base on average, below on every dialogue) was missed.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_model
need_adapter

mkdir -p "$out/eval"
"$HONE" eval --model "$model" --data "$here/data/eval.jsonl" --per-row "$out/eval/base.jsonl" --json >"$out/eval/base.json"
"$HONE" eval --model "$model" --adapter "$adapter" --data "$here/data/eval.jsonl" --per-row "$out/eval/tuned.jsonl" --json \
    >"$out/eval/tuned.json"

# {"row": 0, "loss_sum": 1.5, "tokens": 3} -> "row loss_sum tokens"
rows() { # FILE
    awk '{ gsub(/[{}"]/, ""); n = split($0, field, ","); delete v
           for (i = 1; i <= n; i++) { split(field[i], kv, ":"); gsub(/ /, "", kv[1]); v[kv[1]] = kv[2] + 0 }
           print v["row"], v["loss_sum"], v["tokens"] }' "$1"
}
titles() { grep -oE '【主诉】[^。]*。为了' "$here/data/eval.jsonl" | sed 's/【主诉】//; s/。为了//'; }
paste -d ' ' <(rows "$out/eval/base.jsonl") <(rows "$out/eval/tuned.jsonl") | paste - <(titles) |
    awk -F '\t' '{ split($1, n, " ")
        if (n[1] != n[4] || n[3] != n[6] || n[3] == 0) { print "rows of base and tuned differ" >"/dev/stderr"; exit 1 }
        printf "%d\t%d\t%.4f\t%.4f\t%.1f\t%s\n", n[1], n[3], n[2] / n[3], n[5] / n[6], 100 * (n[5] / n[2] - 1), $2
        base += n[2]; tuned += n[5]; tokens += n[3]; rows++; if (n[5] >= n[2]) worse++ }
        END { if (!rows) exit 1
        printf "all\t%d\t%.4f\t%.4f\t%.1f\t%s\n", tokens, base / tokens, tuned / tokens, 100 * (tuned / base - 1),
               (worse == 0 && tuned <= 0.85 * base ? "reached" : "missed") }' >"$out/eval/table.tsv"
printf '%-4s %7s %9s %9s %9s  %s\n' row tokens "base" "tuned" change "held-out dialogue"
awk -F '\t' '{ printf "%-4s %7d %9s %9s %8s%%  %s\n", $1, $2, $3, $4, $5, ($1 == "all" ? "(token-weighted)" : $6) }' "$out/eval/table.tsv"
if grep -q 'reached$' "$out/eval/table.tsv"; then
    echo "达到目标：验证损失平均比基座低 15% 以上，并且每段对话都更低。"
else
    echo "没有达到目标（平均低 15%，每段都更低）。"
    exit 3
fi
