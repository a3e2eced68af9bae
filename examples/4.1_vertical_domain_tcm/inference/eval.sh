#!/usr/bin/env bash
# Base against tuned on the held-out dialogues: token-weighted loss of all and of each. Writes output/eval/.
# Exit status 3: the aim (15 % below the base on average, below on every dialogue) was missed.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_adapter
need_model

mkdir -p "$out/eval"
"$HONE" eval --model "$model" --adapter "$adapter" --data "$here/data/eval.jsonl" --max-length 8192 \
    --per-row "$out/eval/rows.jsonl" --json >"$out/eval/result.json"

# A line {"row", "loss_sum", "tokens", "base_loss_sum"} for every dialogue, in the order of the file.
titles() { grep -oE '【主诉】[^。]*。为了' "$here/data/eval.jsonl" | sed 's/【主诉】//; s/。为了//'; }
paste "$out/eval/rows.jsonl" <(titles) | awk -F '\t' "$awk_number"'
    {
        n = number("tokens"); t = number("loss_sum"); b = number("base_loss_sum")
        if (n <= 0 || t <= 0 || b <= 0) { print "eval: unexpected line " NR ": " $1 >"/dev/stderr"; bad = 1; exit 1 }
        printf "%d\t%d\t%.4f\t%.4f\t%.1f\t%s\n", number("row"), n, b / n, t / n, 100 * (t / b - 1), $2
        base += b; tuned += t; tokens += n; if (t >= b) worse++
    }
    END {
        if (bad || !tokens) exit 1
        printf "all\t%d\t%.4f\t%.4f\t%.1f\t%s\n", tokens, base / tokens, tuned / tokens, 100 * (tuned / base - 1),
               (worse == 0 && tuned <= 0.85 * base ? "reached" : "missed")
    }' >"$out/eval/table.tsv"
printf '%-4s %7s %9s %9s %9s  %s\n' row tokens "base" "tuned" change "held-out dialogue"
awk -F '\t' '{ printf "%-4s %7d %9s %9s %8s%%  %s\n", $1, $2, $3, $4, $5, ($1 == "all" ? "(token-weighted)" : $6) }' "$out/eval/table.tsv"
if grep -q 'reached$' "$out/eval/table.tsv"; then
    echo "达到目标：验证损失平均比基座低 15% 以上，并且每段对话都更低。"
else
    echo "没有达到目标（平均低 15%，每段都更低）。"
    exit 3
fi
