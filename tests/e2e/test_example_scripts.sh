#!/usr/bin/env bash
# The scripts of example 4.1 around the program: do they refuse flawed data, compute the comparison rightly, say so when
# the aim is missed, and escape what a model writes? The program is played by a stand-in that keeps to the documents that
# hone's commands write, so this takes seconds; the run on a real model is `make demo`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/examples" "$tmp/tools"
cp -r "$root/examples/common.sh" "$root/examples/4.1_vertical_domain_tcm" "$tmp/examples/"
example=$tmp/examples/4.1_vertical_domain_tcm
rm -rf "$example/output"

cat >"$tmp/hone" <<'END'
#!/usr/bin/env bash
command=$1
shift
while [ $# -gt 0 ]; do
    case $1 in
    --per-row) rows=$2 ;;
    --adapter) tuned=1 ;;
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
    echo '{"base":{},"tuned":{}}'
    ;;
generate) for _ in $(seq "$lines"); do printf '%s\n' "first\\n${tuned:+tuned} <script>alert(1)</script> & \"end\""; done ;;
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
echo "pipeline, comparison, report and data checks behave"
