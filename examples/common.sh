# Sourced by the scripts of every example: where things are, and what several steps need. Messages are in Chinese, as
# the examples are. The caller sets `here`, the folder of the example.
# shellcheck shell=bash disable=SC2034,SC2154
set -euo pipefail
# The texts are UTF-8 whatever the terminal's locale is; grep and awk must know.
[ "$(locale charmap 2>/dev/null)" = UTF-8 ] || export LC_ALL=C.UTF-8
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HONE=${HONE:-$root/build/release/hone}
out=${OUT:-$here/output} # everything that the steps write
adapter=$out/adapter

say() { echo "$*" >&2; }
die() {
    say "错误：$*"
    exit 1
}

need_hone() { [ -x "$HONE" ] || die "没有找到 $HONE，请先在项目根目录运行 make build"; }

# get_model: all of model/get.sh. Prints the path of the base model and remembers it for the other steps: MODEL, or
# Qwen2.5-Coder-0.5B-Instruct, or SmolLM2-135M-Instruct when that cannot be fetched.
get_model() {
    if [ -n "${MODEL:-}" ]; then
        [ -e "$MODEL" ] || die "MODEL=$MODEL 不存在"
        model=$(realpath "$MODEL")
    elif model=$("$root/tools/get-model.sh" qwen2.5-coder-0.5b-instruct); then
        :
    else
        say "┌──────────────────────────────────────────────────────────────────────────┐"
        say "│ 注意：取不到中文模型 Qwen2.5-Coder-0.5B，改用英文小模型 SmolLM2-135M。   │"
        say "│ 流程照常走完，但它几乎不懂中文：损失会下降，回答的内容不能看。           │"
        say "│ 也可以用 MODEL=路径 指定任何其他模型。                                   │"
        say "└──────────────────────────────────────────────────────────────────────────┘"
        model=$("$root/tools/get-model.sh" smollm2-135m-instruct) || die "两个模型都取不到，请用 MODEL=路径 指定一个"
    fi
    mkdir -p "$out"
    echo "$model" >"$out/model.txt"
    echo "$model"
}

# need_model: sets `model`. MODEL wins; else the one that model/get.sh chose before; else it chooses now.
need_model() {
    model=${MODEL:-}
    if [ -z "$model" ] && [ -s "$out/model.txt" ]; then
        model=$(cat "$out/model.txt")
    fi
    if [ -z "$model" ] || [ ! -e "$model" ]; then
        model=$("$here/model/get.sh")
    fi
}

need_adapter() { [ -s "$adapter/adapter_model.safetensors" ] || die "还没有适配器，请先运行 training/train.sh"; }

# fit_length LONGEST CONFIG: another model's tokenizer may cut Chinese into more tokens than the configuration allows for.
# Then sets `more`, options for `hone train` that raise the length and keep the time in bounds with 30 updates.
fit_length() {
    local length

    length=$(awk '$1 == "max_length:" { print $2; exit }' "$2")
    more=()
    [ "$1" -gt "$length" ] || return 0
    length=$((($1 + 63) / 64 * 64))
    say "注意：这个模型的分词把最长的一行切成 $1 个 token，max_length 改为 $length，只更新 30 次"
    more=(--set "model.max_length=$length" --set training.max_steps=30)
}

# json_string: stdin as one JSON string. A last newline is dropped.
json_string() {
    awk 'BEGIN { printf "\"" }
         NR > 1 { printf "\\n" }
         { gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); gsub(/\t/, "\\t"); gsub(/[\001-\037]/, " "); printf "%s", $0 }
         END { printf "\"" }'
}

# json_text: a line holds what stands between the quotes of a JSON string; its text. \u escapes stay as they are: hone
# and the files of the examples write them for control characters alone.
json_text() {
    awk '{
        text = ""
        for (i = 1; i <= length($0); i++) {
            c = substr($0, i, 1)
            if (c == "\\") {
                c = substr($0, ++i, 1)
                if (c == "n") c = "\n"
                else if (c == "t") c = "\t"
                else if (c == "r") c = ""
                else if (c == "u") c = "\\u"
            }
            text = text c
        }
        print text
    }'
}

# answers NAME OPTION...: greedy answers to the conversations of $answers/all.jsonl, one a line, into $answers/1.NAME,
# $answers/2.NAME and so on. All at once, so that a model is opened once.
answers() {
    local name=$1 i=0 line

    shift
    say "$name: $(wc -l <"$answers/all.jsonl") 个问题"
    "$HONE" generate --model "$model" --prompts "$answers/all.jsonl" --temperature 0 --json "$@" >"$answers/$name.jsonl"
    while IFS= read -r line; do
        i=$((i + 1))
        line=${line#*'"text":"'}
        printf '%s\n' "${line%%'","tokens":['*}" | json_text >"$answers/$i.$name"
    done <"$answers/$name.jsonl"
}

# For awk programs over lines of JSON that hone wrote: number("loss") is that field of the line, "" when it is absent.
awk_number='function number(name) {
    return match($0, "\"" name "\": *[-+0-9.eE]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0 : ""
}'

html() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }

# pipeline: all five steps of an example, one after another. An aim that eval.sh misses does not end it.
pipeline() {
    local begin=$SECONDS missed=0

    need_hone
    printf '\n== 1/5 模型 model/get.sh\n'
    "$here/model/get.sh"
    printf '\n== 2/5 数据 data/prepare.sh\n'
    "$here/data/prepare.sh"
    printf '\n== 3/5 训练 training/train.sh\n'
    "$here/training/train.sh"
    printf '\n== 4/5 评估 inference/eval.sh\n'
    "$here/inference/eval.sh" || missed=$?
    [ "$missed" -eq 0 ] || [ "$missed" -eq 3 ] || exit "$missed"
    printf '\n== 5/5 回答对比 inference/compare.sh\n'
    "$here/inference/compare.sh"
    printf '\n用时 %d 分 %d 秒\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60))
    echo "报告：$out/report.html"
    echo "对话：$here/inference/chat.sh"
}
