#!/usr/bin/env bash
# Looks at the data before any training: is every dialogue complete, is the held-out set really held out, how long is
# each one in the model's own tokens and how many of them are trained. Writes output/data.tsv. Fails on a flaw.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_model

data=$here/data
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sections="【主诉】 【问诊】 【四诊合参】 【辨证】 病机 鉴别 【治则】 【方药】 【方解】 【煎服法】 【调护】 【复诊】 【安全提示】 不能代替执业医师面诊"
system=$(json_string <"$data/system.txt")
faults=0
: >"$work/data.tsv"
echo "模型：$model"
printf '%-6s %4s %6s %6s %8s %8s %6s  %s\n' set row turns chars tokens trained share "chief complaint"
for set in train eval; do
    "$HONE" tokenize --model "$model" --chat "$data/$set.jsonl" --json >"$work/$set.jsonl" # a document a line
    row=0
    while IFS= read -r line; do
        printf '%s' "$line" >"$work/row.json"
        for s in $sections; do
            if [[ $line != *"$s"* ]]; then
                say "$set.jsonl 第 $((row + 1)) 行：缺少 $s"
                faults=$((faults + 1))
            fi
        done
        if [[ $line != '{"messages": [{"role": "system", "content": '"$system"'}, '* ]]; then
            say "$set.jsonl 第 $((row + 1)) 行：系统提示与 data/system.txt 不同"
            faults=$((faults + 1))
        fi
        sed -n "$((row + 1))p" "$work/$set.jsonl" >"$work/tokens.json"
        tokens=$(grep -oE '"ids": *\[[^]]*\]' "$work/tokens.json" | grep -oE '[0-9]+' | wc -l)
        trained=$(grep -oE '"mask": *\[[^]]*\]' "$work/tokens.json" | grep -oE '\b1\b' | wc -l)
        turns=$(grep -o '"role": "assistant"' "$work/row.json" | wc -l)
        chars=$(grep -oE '"content": "[^"]*"' "$work/row.json" | sed 's/^"content": "//; s/"$//' | tr -d '\n' | LC_ALL=C.UTF-8 wc -m)
        title=$(grep -oE '【主诉】[^。]*' "$work/row.json" | head -n 1 | sed 's/【主诉】//')
        printf '%s\t%d\t%d\t%d\t%d\t%d\t%s\n' "$set" "$row" "$turns" "$chars" "$tokens" "$trained" "$title" >>"$work/data.tsv"
        printf '%-6s %4d %6d %6d %8d %8d %5d%%  %s\n' "$set" "$row" "$turns" "$chars" "$tokens" "$trained" \
            $((trained * 100 / tokens)) "$title"
        row=$((row + 1))
    done <"$data/$set.jsonl"
done
for set in train eval; do
    awk -F '\t' -v set=$set '$1 == set { n++; turns += $3; chars += $4; tokens += $5; trained += $6 }
        END { printf "%-6s %4d %6d %6d %8d %8d %5d%%  (sum)\n", set, n, turns, chars, tokens, trained, trained * 100 / tokens }' \
        "$work/data.tsv"
done
if grep -qxFf "$data/train.jsonl" "$data/eval.jsonl"; then
    say "eval.jsonl 与 train.jsonl 有相同的对话"
    faults=$((faults + 1))
fi
if [ -n "$(cut -f 7 "$work/data.tsv" | sort | uniq -d)" ]; then
    say "主诉重复：$(cut -f 7 "$work/data.tsv" | sort | uniq -d)"
    faults=$((faults + 1))
fi
[ "$faults" -eq 0 ] || die "数据有 $faults 处问题"
cp "$work/data.tsv" "$out/data.tsv"
echo "$model" >"$out/data.model"
echo "数据完整：每段对话都有全部 14 个要素，验证集与训练集不重复。"
