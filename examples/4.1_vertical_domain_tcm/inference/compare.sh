#!/usr/bin/env bash
# Answers of base and tuned side by side, greedy with a repetition penalty (small models loop without one): the questions
# of data/cases.txt, and every held-out dialogue up to the turn where the syndrome is to be named (there the doctor's own
# answer stands beside). Writes output/answers/ and output/report.html.
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
system=$(json_string <"$here/data/system.txt")
while IFS= read -r question; do
    [[ -n $question && $question != \#* ]] || continue
    n=$((n + 1))
    printf '%s\n' "$question" >"$answers/$n.question"
    printf '[{"role": "system", "content": %s}, {"role": "user", "content": %s}]\n' "$system" \
        "$(json_string <<<"$question")" >"$answers/$n.json"
done <"$here/data/cases.txt"
turn=', {"role": "assistant", "content": "【四诊合参】'
while IFS= read -r line; do
    before=${line%%"$turn"*}
    after=${line#*"$turn"}
    [ "$before" != "$line" ] || continue
    n=$((n + 1))
    printf '%s]\n' "${before#'{"messages": '}" >"$answers/$n.json"
    printf '【四诊合参】%s\n' "${after%%'"}'*}" >"$answers/$n.reference"
    {
        printf '（验证对话，前五条消息之后）\n'
        printf '%s\n' "${before##*'"content": "'}" | sed 's/"}$//'
    } >"$answers/$n.question"
done <"$here/data/eval.jsonl"

for i in $(seq "$n"); do cat "$answers/$i.json"; done >"$answers/all.jsonl"
options=(--repetition-penalty 1.1 --max-new-tokens 200)
answers base "${options[@]}"
answers tuned --adapter "$adapter" "${options[@]}"
"$here/inference/report.sh"
