#!/usr/bin/env bash
# Looks at the data before any training, then prepares it: every file holds rows of its own task and enough of them, no
# two rows are alike, no held-out question stands near a training row. Writes output/data/ (the rows to train on, the fate
# of every row) and output/data.tsv (rows and tokens of every task). Fails on a flaw. Further arguments go to
# `hone data prepare`, for instance: data/prepare.sh --set data.mix.balance=none
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_model

data=$here/data
mkdir -p "$out/data"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0
for set in train eval; do
    least=$([ $set = train ] && echo 20 || echo 6)
    for file in "$data/$set/"*.jsonl; do
        task=$(basename "$file" .jsonl)
        rows=$(wc -l <"$file")
        own=$(grep -c "\"task\": \"$task\", \"id\": \"$task-" "$file" || true)
        if [ "$own" -ne "$rows" ] || [ "$rows" -lt "$least" ]; then
            say "$set/$task.jsonl：$rows 行，其中 $own 行属于这种任务，至少要有 $least 行"
            faults=$((faults + 1))
        fi
        [ $set = train ] || [ -e "$data/train/$task.jsonl" ] || die "验证集有 $task，训练集没有"
    done
done
sed 's/.*"id": "\([^"]*\)".*/\1/' "$data/"{train,eval}/*.jsonl | sort | uniq -d >"$work/ids"
if [ -s "$work/ids" ]; then
    say "编号重复：$(tr '\n' ' ' <"$work/ids")"
    faults=$((faults + 1))
fi
# The thresholds are those of the configuration: stricter than usual, since every row was written by hand. Duplicates and
# held-out rows end the run; what the quality rules only remark (notes, warnings) is for the reader to judge.
"$HONE" data check "$data/train" --config "$here/training/config.yaml" --against "$data/eval" --quiet || faults=$((faults + 1))
[ "$faults" -eq 0 ] || die "数据有 $faults 处问题"

"$HONE" data prepare "$here/training/config.yaml" --output "$out/data" --set "model.name_or_path=$model" --quiet "$@" \
    >"$out/data/prepare.txt"

# set, task, rows in the file, rows used (copies counted), then of the file's rows: tokens, trained tokens, longest row.
# The table adds shares of what is used: of rows, and of trained tokens.
for file in "$data/"{train,eval}/*.jsonl; do
    set=$(basename "$(dirname "$file")")
    rows=$(wc -l <"$file")
    used=$rows
    if [ "$set" = train ]; then
        used=$(grep -F "/$(basename "$file")\"" "$out/data/ledger.jsonl" | awk "$awk_number"'
            /"fate": *"used"/ { n += number("copies") == "" ? 1 : number("copies") } END { print n + 0 }')
    fi
    "$HONE" tokenize --model "$model" --chat "$file" --json >"$work/tokens.jsonl"
    grep -oE '"ids": *\[[0-9,]*\],"mask": *\[[01,]*\]' "$work/tokens.jsonl" |
        awk -F 'mask' -v set="$set" -v task="$(basename "$file" .jsonl)" -v rows="$rows" -v used="$used" '
        { n = gsub(/[0-9]+/, "&", $1); tokens += n; if (n > longest) longest = n; trained += gsub(/1/, "1", $2) }
        END { printf "%s\t%s\t%d\t%d\t%d\t%d\t%d\n", set, task, rows, used, tokens, trained, longest }'
done >"$out/data.tsv"
echo "模型：$model"
awk -F '\t' '
    $1 == "train" { order[++n] = $2; rows[$2] = $3; used[$2] = $4; tokens[$2] = $5; trained[$2] = $6
                    r += $3; u += $4; t += $5; sum += $6; w += $4 / $3 * $6; weighted[$2] = $4 / $3 * $6 }
    $1 == "eval" { held[$2] = $3; h += $3 }
    END {
        printf "%-15s %5s %5s %7s %8s %7s %7s %5s\n", "task", "rows", "used", "tokens", "trained", "% used", "% train", "eval"
        for (i = 1; i <= n; i++) {
            k = order[i]
            printf "%-15s %5d %5d %7d %8d %6.1f%% %6.1f%% %5d\n", k, rows[k], used[k], tokens[k], trained[k], 100 * used[k] / u, 100 * weighted[k] / w, held[k]
        }
        printf "%-15s %5d %5d %7d %8d %7s %7s %5d\n", "(sum)", r, u, t, sum, "", "", h
    }' "$out/data.tsv"
echo "$model" >"$out/data.model"
echo "数据完整：$(awk -F '\t' '$1 == "train"' "$out/data.tsv" | wc -l) 种任务，没有相似的行，验证题与训练集不相近。"
