#!/usr/bin/env bash
# random_configs.sh HONE COUNT [SEED]: COUNT configurations drawn by random_config.awk from seed SEED (1) on, on a tiny model.
# Each one runs, with everything promised in its folder, or is refused with exit code 1 and one line that names a key or a
# file, leaving nothing behind. No signal, no sanitizer's report, no hang. A dry run writes nothing and ends as the training
# does, a plan of what trains succeeds, and the configuration that a run saves is ready to be run again. What breaks this is
# shown with its seed and configuration.
set -uo pipefail
hone=$(realpath -e "$1") || exit 1
count=$2
first=${3:-1}
support=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
golden=$(realpath "$support/../golden")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
ran=0 refused=0 failures=0

# What the configurations find beside them.
mkdir -p base/folder
cp -r "$golden/tiny_chat" base/model
cp "$golden/tiny_chat.gguf" base/model.gguf
cp -r "$golden/tiny_chat_adapter" base/adapter
for i in 1 2 3 4 5 6; do
    printf '{"instruction":"question %d","input":"","output":"answer %d: %s","task":"t%d","weight":1}\n' $i $i "$(seq -s ' ' $i)" $((i % 2))
done >base/rows.jsonl
head -n 3 base/rows.jsonl >base/folder/part.jsonl
printf '{"messages":[{"role":"user","content":"question 9"},{"role":"assistant","content":"answer 9"}],"task":"t1"}\n' >base/eval.jsonl
printf 'First paragraph.\n\nSecond paragraph.\n' >base/rows.txt
printf '{"instruction":"x","output":\n' >base/broken.jsonl
: >base/empty.jsonl

"$hone" train --help-config >keys.md || exit 1
# Names, one of which a refusal has to hold: a key with its section, a key inside the file, or a path.
awk '/^## /{s=$2} /^- `/{split($0,t,"`"); print s "." t[2]; print s ": " t[2]; print "`" t[2] "`"; n=split(t[2],p,"."); print "`" p[n] "`"}' keys.md >names
printf '%s\n' c.yaml "$work/" >>names

wrong() {
    failures=$((failures + 1))
    [ $failures -le 10 ] || return
    echo "FAILED, seed $seed, hone $last: $1"
    printf '  exit code: %d\n  stderr: %.400s\n' "$code" "$(tail -n 4 err)"
    sed 's/^/  | /' run/c.yaml
}

# Runs hone with the arguments: $code, ./out and ./err.
try() {
    last="$*"
    timeout -k 5 60 "$hone" "$@" >out 2>err
    code=$?
    case $code in
    0 | 1) ;;
    124 | 137) wrong "it hangs" ;;
    *) wrong "no exit code of a training" ;;
    esac
    ! grep -qE 'Sanitizer|runtime error:' err || wrong "a sanitizer's report: $(grep -E -m 1 'Sanitizer|runtime error:' err)"
    [ -z "$(find run -name '*.partial' -o -name '*.tmp.*')" ] || wrong "parts of files are left"
    [ "$code" -eq 0 ] && return
    [ "$(grep -c '^hone: ' err)" -eq 1 ] || wrong "no one line 'hone: ...'"
    [ ! -s out ] || [ "$1" = plan ] || wrong "output beside a refusal"
    grep '^hone: ' err | grep -qFf names || wrong "the message names no key and no file"
}

# A run ended well: what it promises is in its folder, which its last lines name, and in those of its stages.
promised() {
    local dir file stage
    dir=$(sed -n 's|^adapter: ||p; s|^model: ||p' out | head -n 1)
    for stage in "$dir" "$dir"/stage-*/; do
        [ -d "$stage" ] && { [ "$stage" != "$dir" ] || ! grep -q '^stages:' run/c.yaml; } || continue
        for file in metrics.jsonl config.yaml report.html; do
            [ -s "$stage/$file" ] || wrong "$stage/$file is missing"
        done
    done
    [ -s "$dir/config.yaml" ] || wrong "config.yaml is missing"
    if grep -q '^adapter: ' out; then
        [ -s "$dir/adapter_model.safetensors" ] && [ -s "$dir/adapter_config.json" ] || wrong "the adapter is missing"
    else
        [ -s "$dir/config.json" ] && ls "$dir"/model*.safetensors >/dev/null 2>&1 || wrong "the model is missing"
    fi
    config=$dir/config.yaml
}

for seed in $(seq "$first" $((first + count - 1))); do
    rm -rf run
    cp -r base run
    awk -v seed="$seed" -f "$support/random_config.awk" keys.md >run/c.yaml
    try train run/c.yaml --dry-run
    dry=$code
    diff <(cd base && find . | sort) <(cd run && find . ! -name c.yaml | sort) >/dev/null || wrong "the dry run wrote something"
    try train run/c.yaml
    if [ "$code" -eq 0 ]; then
        ran=$((ran + 1))
        [ "$dry" -eq 0 ] || wrong "it trains, but the dry run refused"
        promised
        if [ $((seed % 3)) -eq 0 ]; then
            try plan run/c.yaml
            [ "$code" -eq 0 ] || wrong "it trains, but there is no plan"
            try train "$config" --dry-run
            [ "$code" -eq 0 ] || wrong "the saved configuration is refused"
        fi
    else
        refused=$((refused + 1))
        # only what the arithmetic does is not known before; the state before such a step is saved
        [ "$dry" -eq 0 ] || [ -z "$(find run -newer run/c.yaml -name '*.safetensors')" ] || wrong "a result of a refused run"
        [ "$dry" -ne 0 ] || grep -qE '^hone: .*step [0-9]+: the (loss|gradient)' err || wrong "the dry run was ready"
        if [ $((seed % 3)) -eq 0 ]; then
            try plan run/c.yaml
        fi
    fi
done
echo "$count configurations from seed $first on: $ran ran, $refused were refused, $failures failures"
[ "$failures" -eq 0 ] && [ "$ran" -gt 0 ] && [ "$refused" -gt 0 ]
