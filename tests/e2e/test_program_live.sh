#!/usr/bin/env bash
# hone train --live in a pseudo-terminal: drawn in place, in ASCII where the locale asks for it; plain lines where it does not
# fit; a signal leaves a terminal whose state nobody touched.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"
command -v script >/dev/null || {
    echo "skipped: script(1) is missing"
    exit 77
}

for i in 1 2 3 4 5 6; do
    printf '{"instruction":"问题 %d","output":"四十二，谢谢你。"}\n' $i
done >train.jsonl
cat >c.yaml <<YAML
model: {name_or_path: $model, max_length: 256}
lora: {r: 4, lora_dropout: 0.0}
training: {output_dir: out, max_steps: 30, per_device_train_batch_size: 3, learning_rate: 1e-2, eval_steps: 10, precision: f32, report_to: none}
data: {train_data_path: train.jsonl, eval_data_path: train.jsonl}
YAML

# ROWS COLUMNS LOCALE CMD: what the terminal was sent is $out, the exit code $code
in_terminal() {
    local rows=$1 columns=$2 locale=$3
    shift 3
    checks=$((checks + 1))
    last="in a terminal of $columns by $rows: $*"
    LC_ALL=$locale script -qec "stty rows $rows cols $columns; exec $*" .typed </dev/null >/dev/null 2>&1
    code=$?
    out=$(tr -d '\0' <.typed)
}

in_terminal 30 100 C.UTF-8 "$hone" train c.yaml --live --report none
[ $code -eq 0 ] || wrong "should succeed"
has 'step 30/30'
has 'of peak  memory'
has '◆'
has '⠉'
has $'\033[J'
has '> 问题 2'
lacks $'\033[?'
[ "$(tail -c 200 .typed | grep -c $'\033')" -eq 0 ] || wrong "the last lines should be plain"

in_terminal 30 100 C "$hone" train c.yaml --live --report none
has 'step 30/30 [########################] 100 %'
has '|*'
has 'o'
lacks '◆'
lacks '│'

# every line is narrower than the terminal: counted in bytes of an ASCII locale
in_terminal 20 44 C "$hone" train c.yaml --live --report none
has '...'
lines=$(tr '\r' '\n' <.typed | sed -n '/^step 30\/30/,/^start to/p' | grep -v '^start' | awk 'length > 43')
same "" "$lines" "lines that are too wide and none"

in_terminal 10 100 C.UTF-8 "$hone" train c.yaml --live --report none
lacks '◆'
has 'step 30/30  epoch'
ok "$hone" train c.yaml --live --report none
err_has 'step 30/30  epoch'

# a signal: the run is saved, the exit code tells, the terminal still echoes and reads lines
in_terminal 30 100 C.UTF-8 "bash -c '\"$hone\" train c.yaml --live --set training.max_steps=100000 --set training.output_dir=stopped & pid=\$!; while [ ! -s stopped/metrics.jsonl ]; do sleep 0.1; done; kill -TERM \$pid; wait \$pid; echo code \$?; stty -a'"
has 'code 143'
has ' echo '
has ' icanon '
[ -s stopped/adapter_model.safetensors ] || wrong "the adapter should be saved"
finish
