#!/usr/bin/env bash
# A run is killed (kill -9, now and then SIGTERM) at random moments and goes on with --resume until it is done: its adapter
# and its losses have the bits of a run that nobody touched. test_kill_and_resume.sh HONE [TIMES]
set -euo pipefail
hone=$(realpath "$1")
times=${2:-50}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for i in $(seq 40); do
    printf '{"instruction":"question %d","output":"answer %d: %s"}\n' "$i" "$i" "$(seq -s ' ' "$i")"
done >rows.jsonl
cat >config.yaml <<END
model: {name_or_path: $here/golden/tiny_chat, max_length: 512}
lora: {r: 4, lora_dropout: 0.1}
training:
  output_dir: whole
  max_steps: 60
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 2
  save_steps: 3
  eval_steps: 10
  precision: f32
data: {train_data_path: rows.jsonl, val_size: 4}
END
losses() { sed 's/,"tokens_per_second".*//' "$1/metrics.jsonl"; }
begin=$(date +%s%N)
"$hone" train config.yaml --quiet >/dev/null
whole=$((($(date +%s%N) - begin) / 1000000))
kills=0 wrong=0 runs=0
RANDOM=7
while [ "$kills" -lt "$times" ]; do
    runs=$((runs + 1))
    rm -rf part
    for attempt in $(seq 1000); do
        "$hone" train config.yaml --set training.output_dir=part --resume --quiet >/dev/null 2>log &
        pid=$!
        sleep "$(awk -v r=$RANDOM -v w="$whole" 'BEGIN { printf "%.3f", r / 32768 * w / 2500 }')"
        signal=KILL
        [ $((RANDOM % 5)) -ne 0 ] || signal=TERM
        if kill -"$signal" $pid 2>/dev/null; then
            kills=$((kills + 1))
        fi
        code=0
        wait $pid 2>/dev/null || code=$?
        case $code in
        0) break ;;
        137 | 143) ;;
        *)
            echo "attempt $attempt of run $runs ended with $code: $(cat log)"
            exit 1
            ;;
        esac
    done
    cmp -s whole/adapter_model.safetensors part/adapter_model.safetensors || {
        echo "run $runs: another adapter"
        wrong=$((wrong + 1))
    }
    diff <(losses whole) <(losses part) || wrong=$((wrong + 1))
done
echo "$kills kills in $runs runs: $wrong differences from the run that nobody touched"
[ "$wrong" -eq 0 ]
