#!/usr/bin/env bash
# Base against tuned on the held-out rows: loss of every task, weighted by tokens, and the mean of the tasks. Writes
# output/eval/. Exit status 3: the aim (mean of the tasks 10 % below the base, at least 10 of 12 tasks below) was missed.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_adapter
need_model

mkdir -p "$out/eval"
"$HONE" eval --model "$model" --adapter "$adapter" --data "$here/data/eval" --per-row "$out/eval/rows.jsonl" --json \
    >"$out/eval/result.json"

# A line {"row", "loss_sum", "tokens", "base_loss_sum"} for every row, in the order of the files. A long answer weighs as
# much as its tokens in "all", and no more than a short one's task in "mean".
cat "$here/data/eval/"*.jsonl | sed 's/.*"task": "\([^"]*\)".*/\1/' | paste "$out/eval/rows.jsonl" - | awk -F '\t' "$awk_number"'
    {
        n = number("tokens"); t = number("loss_sum"); b = number("base_loss_sum")
        if (n <= 0 || t <= 0 || b <= 0 || $2 == "") { print "eval: unexpected line " NR ": " $0 >"/dev/stderr"; bad = 1; exit 1 }
        if (!($2 in rows)) order[++k] = $2
        rows[$2]++; tokens[$2] += n; tuned[$2] += t; base[$2] += b
        all_rows++; all_tokens += n; all_tuned += t; all_base += b
    }
    END {
        if (bad || !k) exit 1
        for (i = 1; i <= k; i++) {
            x = order[i]; b = base[x] / tokens[x]; t = tuned[x] / tokens[x]
            printf "%s\t%d\t%d\t%.4f\t%.4f\t%.1f\t\n", x, rows[x], tokens[x], b, t, 100 * (t / b - 1)
            mean_base += b / k; mean_tuned += t / k; if (t < b) better++
        }
        printf "all\t%d\t%d\t%.4f\t%.4f\t%.1f\t\n", all_rows, all_tokens, all_base / all_tokens, all_tuned / all_tokens, 100 * (all_tuned / all_base - 1)
        printf "mean\t%d\t%d\t%.4f\t%.4f\t%.1f\t%s\n", all_rows, all_tokens, mean_base, mean_tuned, 100 * (mean_tuned / mean_base - 1),
               (mean_tuned <= 0.9 * mean_base && better * 12 >= 10 * k ? "reached" : "missed")
    }' >"$out/eval/table.tsv"
printf '%-15s %5s %7s %9s %9s %9s\n' task rows tokens "base" tuned change
awk -F '\t' '{ printf "%-15s %5d %7d %9s %9s %8s%%\n", ($1 == "all" ? "(all tokens)" : $1 == "mean" ? "(mean of tasks)" : $1), $2, $3, $4, $5, $6 }' "$out/eval/table.tsv"
if grep -q 'reached$' "$out/eval/table.tsv"; then
    echo "达到目标：各任务的平均损失比基座低 10% 以上，十二种任务至少十种更低。"
else
    echo "没有达到目标（各任务平均低 10%，十二种任务至少十种更低）。"
    exit 3
fi
