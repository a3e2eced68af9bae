#!/usr/bin/env bash
# Five rounds of filtering over data/raw/consultations.jsonl, a command each:
#   data/rounds.sh 1      readable: rows that can not be read, broken encoding, control characters, HTML
#   data/rounds.sh 2      said before: copies, and rows that repeat an evaluation row
#   data/rounds.sh 3      answers: refused, unfinished, looping, beside the question, too short or long, another language
#   data/rounds.sh 4      the domain: doses, labels, sections, format, conflicts, personal data
#   data/rounds.sh 5      the model's own scores, and balance of the labels
#   data/rounds.sh        all of them, then a table
# A round is `hone data prepare` with data/rounds/N.yaml; it reads the rows that the round before left and writes
# output/rounds/N/: train.jsonl, ledger.jsonl (the fate of every row), summary.json. Rules are in data/raw/rules.yaml.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone

titles=("" "可读：坏行、编码、控制字符、HTML" "重复：完全重复、近似重复、与评估集相同" "回答：拒答、截断、循环、答非所问、长短、语言"
    "领域：剂量、证型、格式、矛盾、个人信息" "模型打分与证型均衡")

# round N: one command
round() {
    local n=$1 from=$here/data/raw/consultations.jsonl
    local folder=$out/rounds/$n
    local model_key=()

    [ "$n" -eq 1 ] || from=$out/rounds/$((n - 1))/train.jsonl
    [ -s "$from" ] || die "没有 $from，请先运行 data/rounds.sh $((n - 1))"
    if [ "$n" -eq 5 ]; then
        need_model
        model_key=(--set "model.name_or_path=$model")
    fi
    mkdir -p "$folder"
    printf '\n== 第 %d 轮 %s\n' "$n" "${titles[n]}"
    "$HONE" data prepare "$here/data/rounds/$n.yaml" --output "$folder" --set "data.train_data_path=$from" \
        ${model_key[@]+"${model_key[@]}"} "${@:2}"
    echo "去向："
    fates "$n" | awk -F '\t' '{ printf "  %4d  %s\n", $2, $1 == "left" ? "留下" : $1 }'
}

# fates N: "reason<TAB>rows" for what the round left out, the commonest first; then "left" and what is left.
fates() {
    awk '/^\{"totals"/ { next }
         { reason = ""
           if (match($0, /"fate":"[a-z]*"/)) fate = substr($0, RSTART + 8, RLENGTH - 9)
           if (match($0, /"reason":"[^"]*"/)) reason = substr($0, RSTART + 10, RLENGTH - 11)
           if (fate == "used") left++
           else n[fate == "dropped" ? reason : fate]++ }
         END { for (r in n) printf "%s\t%d\n", r, n[r]; printf "left\t%d\n", left }' "$out/rounds/$1/ledger.jsonl" |
        sort -t "$(printf '\t')" -k 2,2nr -k 1,1 | awk -F '\t' '$1 == "left" { last = $0; next } { print } END { print last }'
}

table() {
    local n before after
    printf '\n%-6s %6s %6s %6s  %s\n' round in out left "left out by"
    for n in 1 2 3 4 5; do
        before=$(grep -vc '^{"totals"' "$out/rounds/$n/ledger.jsonl")
        after=$(fates "$n" | awk -F '\t' '$1 == "left" { print $2 }')
        printf '%-6d %6d %6d %6d  %s\n' "$n" "$before" $((before - after)) "$after" \
            "$(fates "$n" | awk -F '\t' '$1 != "left" { printf "%s%s %d", s, $1, $2; s = ", " }')"
    done
}

case ${1:-all} in
[1-5]) round "$@" ;;
all)
    for n in 1 2 3 4 5; do round "$n" "${@:2}"; done
    table
    ;;
table) table ;;
*) die "用法：data/rounds.sh [1|2|3|4|5|all|table] [hone data prepare 的选项]" ;;
esac
