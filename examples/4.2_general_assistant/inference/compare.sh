#!/usr/bin/env bash
# Answers of base and tuned side by side to held-out rows, greedy: the first two of every task (CASES=N: the first N), and
# all of the three tasks whose answers can be compared with the reference letter by letter; how many of those agree is
# counted. Writes output/answers/ and output/report.html.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_adapter
need_model

answers=$out/answers
rm -rf "$answers"
mkdir -p "$answers"
n=0
turn=', {"role": "assistant", "content": "'
for file in "$here/data/eval/"*.jsonl; do
    task=$(basename "$file" .jsonl)
    case $task in classification | extraction | json_output) cases=1000 ;; *) cases=${CASES:-2} ;; esac
    while IFS= read -r line; do
        n=$((n + 1))
        before=${line%"$turn"*}
        after=${line##*"$turn"}
        id=${line##*'"id": "'}
        printf '%s]\n' "${before#'{"messages": '}" >>"$answers/all.jsonl"
        printf '%s\n' "${after%'"}], "task": '*}" | json_text >"$answers/$n.reference"
        printf '%s\n' "$task" >"$answers/$n.task"
        {
            printf '%s\n' "${id%'"}'}"
            printf '%s\n' "${before#'{"messages": ['}" | sed 's/{"role": "system", "content": "/系统：/g
                s/{"role": "user", "content": "/用户：/g; s/{"role": "assistant", "content": "/助手：/g
                s/\([^\\]\)"}, /\1\\n/g; s/"}$//' | json_text
        } >"$answers/$n.question"
    done < <(head -n "$cases" "$file")
done

options=(--max-new-tokens 200)
answers base "${options[@]}"
answers tuned --adapter "$adapter" "${options[@]}"
for i in $(seq "$n"); do
    same=$(for which in base tuned; do cmp -s "$answers/$i.$which" "$answers/$i.reference" && echo 1 || echo 0; done)
    printf '%s\t%s\n' "$(cat "$answers/$i.task")" "$(tr '\n' '\t' <<<"$same")"
done | awk -F '\t' '$1 ~ /^(classification|extraction|json_output)$/ { rows[$1]++; base[$1] += $2; tuned[$1] += $3 }
    END { for (t in rows) printf "%s\t%d\t%d\t%d\n", t, rows[t], base[t], tuned[t] }' | sort >"$answers/same.tsv"
echo "与范例逐字相同的回答（基座，微调后，共）："
awk -F '\t' '{ printf "%-15s %3d %3d %3d\n", $1, $3, $4, $2 }' "$answers/same.tsv"
"$here/inference/report.sh"
