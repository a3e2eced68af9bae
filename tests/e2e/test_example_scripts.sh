#!/usr/bin/env bash
# The scripts of the examples around the program: do they refuse flawed data, compute the comparison rightly, say so when
# the aim is missed, and escape what a model writes? The program is played by a stand-in that keeps to the documents that
# hone's commands write, so this takes seconds; the run on a real model is `make demo`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/examples" "$tmp/tools"
cp -r "$root/examples/"*.sh "$root/examples/"4.* "$tmp/examples/"
rm -rf "$tmp/examples/"*/output
example=$tmp/examples/4.1_vertical_domain_tcm

cat >"$tmp/hone" <<'END'
#!/usr/bin/env bash
command=$1
shift
while [ $# -gt 0 ]; do
    case $1 in
    --per-row) rows=$2 ;;
    --adapter) tuned=1 ;;
    --output) output=$2 ;;
    --data) data=$2 ;;
    --chat | --prompts) lines=$(wc -l <"$2") ;;
    --set) case $2 in training.output_dir=*) folder=${2#*=} ;; esac ;;
    esac
    shift
done
case $command in
tokenize)
    for _ in $(seq "$lines"); do
        echo '{"text":"\"mask\": [1,1]","ids":[11,2,3,4,5],"mask":[0,0,1,1,1],"pieces":["\"ids\": [7]","]"]}'
    done
    ;;
train)
    mkdir -p "$folder"
    echo weights >"$folder/adapter_model.safetensors"
    echo '{"step":1,"epoch":0.5,"loss":3.5,"tokens":500,"trained_tokens":300,"seconds":2.5,"rss_bytes":1500000000}
{"step":2,"epoch":1,"loss":2.5e0,"tokens":500,"trained_tokens":301,"seconds":5.0,"rss_bytes":2000000000}
{"step":2,"eval_loss":2.25,"eval_perplexity":9.5,"eval_accuracy":0.5,"eval_tokens":400}' >"$folder/metrics.jsonl"
    ;;
eval)
    echo '{"row":0,"loss_sum":100.0,"tokens":100,"base_loss_sum":200.0}
{"row":1,"loss_sum":150.0,"tokens":100,"base_loss_sum":300.0}
{"row":2,"loss_sum":1e2,"tokens":200,"base_loss_sum":300.0}
{"row":3,"loss_sum":'"$LAST"',"tokens":100,"base_loss_sum":200.0}' >"$rows"
    if [ -d "$data" ]; then # 4.2: all rows alike but for those of the first tasks, which got worse when WORSE says so
        cat "$data"/*.jsonl | awk -v worse="${WORSE:-0}" '{ printf "{\"row\":%d,\"loss_sum\":%s,\"tokens\":100,\"base_loss_sum\":200.0}\n", NR - 1, (NR <= worse * 6 ? "2.01e2" : "150.0") }' >"$rows"
    fi
    echo '{"base":{},"tuned":{}}'
    ;;
generate)
    for _ in $(seq "$lines"); do
        printf '%s\n' '{"text":"first\n'"${tuned:+tuned}"' <script>alert(1)</script> & \"end\"","tokens":[1],"finish_reason":"stop"}'
    done
    ;;
data)
    if [ -n "${output:-}" ]; then # prepare: all rows are used, those of code twice
        cat "$EXAMPLE/data/train/"*.jsonl >"$output/train.jsonl"
        for f in "$EXAMPLE/data/train/"*.jsonl; do
            copies=$([ "$(basename "$f")" = code.jsonl ] && echo ',"copies":2')
            sed 's|.*|{"row":0,"file":"'"$f"'","line":1,"fate":"used"'"$copies"'}|' "$f"
        done >"$output/ledger.jsonl"
    fi
    exit "${CHECK:-0}"
    ;;
esac
END
chmod +x "$tmp/hone"
echo weights >"$tmp/model.gguf"
export HONE=$tmp/hone MODEL=$tmp/model.gguf OUT=$tmp/out

wrong() {
    echo "FAIL: $*"
    exit 1
}

LAST=150 LC_ALL=C "$example/run_full_pipeline.sh" >"$tmp/log" 2>&1 || { cat "$tmp/log" && wrong "the pipeline"; }
grep -q "报告：$OUT/report.html" "$tmp/log" || wrong "no place of the report"
grep -q "inference/chat.sh" "$tmp/log" || wrong "no command for the chat"
[ "$(tail -n 1 "$OUT/eval/table.tsv")" = "$(printf 'all\t500\t2.0000\t1.0000\t-50.0\treached')" ] || wrong "$(cat "$OUT/eval/table.tsv")"
[ "$(cut -f 5,6 "$OUT/data.tsv" | sort -u)" = "$(printf '5\t3')" ] || wrong "tokens: $(cat "$OUT/data.tsv")"
grep -q '2 次更新，计算 1000 个 token，其中受训练 601 个；5 秒；内存 2.00 GB' "$OUT/report.html" || wrong "metrics in the report"
grep -q 'tuned &lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;end&quot;' "$OUT/report.html" || wrong "answers in the report"
! grep -q '<script' "$OUT/report.html" || wrong "an answer became markup"
[ "$(find "$OUT/answers" -name '*.tuned' | wc -l)" -ge 4 ] || wrong "too few answers"

rc=0
LAST=201 "$example/inference/eval.sh" >"$tmp/log" 2>&1 || rc=$?
[ $rc -eq 3 ] || wrong "one dialogue got worse, exit $rc"
LAST=150 "$example/inference/eval.sh" >/dev/null 2>&1 || wrong "the same again"

data=$root/examples/4.1_vertical_domain_tcm/data
flawed() { # MESSAGE FILE COMMAND...: the command makes the flawed file from the right one
    local message=$1 file=$2

    shift 2
    cp "$data/"*.jsonl "$example/data/"
    "$@" <"$data/$file" >"$example/data/$file"
    ! "$example/data/prepare.sh" >"$tmp/log" 2>&1 || wrong "not noticed: $message"
    grep -q "$message" "$tmp/log" || wrong "another reason than $message: $(cat "$tmp/log")"
}
flawed "train.jsonl 第 2 行：缺少 【复诊】" train.jsonl sed '2s/【复诊】//'
flawed "eval.jsonl 第 1 行：系统提示" eval.jsonl sed '1s/教学助手/助手/'
flawed "相同的对话" eval.jsonl cat - "$data/train.jsonl"

# Example 4.2
example=$tmp/examples/4.2_general_assistant
data=$root/examples/4.2_general_assistant/data
export EXAMPLE=$example OUT=$tmp/out2
LC_ALL=C "$example/run_full_pipeline.sh" >"$tmp/log" 2>&1 || { cat "$tmp/log" && wrong "the pipeline of 4.2"; }
grep -q "报告：$OUT/report.html" "$tmp/log" || wrong "no place of the report"
! grep -q '<script' "$OUT/report.html" || wrong "an answer became markup"
[ "$(awk -F '\t' '$1 == "train" && $2 == "code" { print $3 * 2 - $4, $5, $6, $7 }' "$OUT/data.tsv")" = "0 250 150 5" ] || wrong "$(cat "$OUT/data.tsv")"
[ "$(wc -l <"$OUT/data.tsv")" -eq 24 ] || wrong "$(cat "$OUT/data.tsv")"
[ "$(tail -n 1 "$OUT/eval/table.tsv")" = "$(printf 'mean\t72\t7200\t2.0000\t1.5000\t-25.0\treached')" ] || wrong "$(cat "$OUT/eval/table.tsv")"
grep -q "^qa$(printf '\t6\t600\t2.0000\t1.5000\t-25.0')" "$OUT/eval/table.tsv" || wrong "$(cat "$OUT/eval/table.tsv")"
[ "$(cat "$OUT/answers/1.tuned")" = "$(printf 'first\ntuned <script>alert(1)</script> & "end"')" ] || wrong "$(cat "$OUT/answers/1.tuned")"
reference() { # ID: the answer of the held-out row
    cat "$OUT/answers/$(grep -lx "$1" "$OUT/answers/"*.question | sed 's/.*\///; s/\.question//').reference"
}
[ "$(reference json_output-e02)" = '{"seasons": ["春", "夏", "秋", "冬"]}' ] || wrong "$(reference json_output-e02)"
[ "$(reference extraction-e06)" = "$(printf 'Person: Mara Lindt\nCompany: Bluefin Robotics')" ] || wrong "$(reference extraction-e06)"
[ "$(head -n 3 "$OUT/answers/"*.question | grep -c '^系统：')" -ge 3 ] || wrong "system prompts are not shown"
WORSE=2 "$example/inference/eval.sh" >/dev/null 2>&1 || wrong "two worse tasks are allowed"
rc=0
WORSE=3 "$example/inference/eval.sh" >/dev/null 2>&1 || rc=$?
[ $rc -eq 3 ] || wrong "three tasks got worse, exit $rc"

flawed2() { # MESSAGE FILE COMMAND...
    local message=$1 file=$2

    shift 2
    "$@" <"$data/$file" >"$example/data/$file"
    ! "$example/data/prepare.sh" >"$tmp/log" 2>&1 || wrong "not noticed: $message"
    grep -q "$message" "$tmp/log" || wrong "another reason than $message: $(cat "$tmp/log")"
    cp "$data/$file" "$example/data/$file"
}
flawed2 "train/qa.jsonl：80 行，其中 79 行" train/qa.jsonl sed '2s/"task": "qa"/"task": "code"/'
flawed2 "train/role.jsonl：19 行" train/role.jsonl head -n 19
flawed2 "eval/role.jsonl：5 行" eval/role.jsonl head -n 5
flawed2 "编号重复：qa-001" train/qa.jsonl sed '2s/qa-002/qa-001/'
CHECK=1 flawed2 "数据有 1 处问题" train/qa.jsonl cat
echo "pipelines, comparisons, reports and data checks behave"
