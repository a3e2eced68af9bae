#!/usr/bin/env bash
# The disk fills while a run writes: the run ends with a message that names a file, leaves nothing half-written, and goes on
# from its newest checkpoint when there is room again, to the bits of a run that nothing stopped.
# test_full_disk.sh HONE
set -euo pipefail
hone=$(realpath "$1")
golden=$(cd "$(dirname "${BASH_SOURCE[0]}")/../golden" && pwd)
if [ "${HONE_OWN_MOUNTS:-}" != 1 ]; then # a file system of our own needs a mount namespace of our own
    if ! unshare -rm true 2>/dev/null; then
        echo "skipped: no mount namespace can be made here"
        exit 77
    fi
    HONE_OWN_MOUNTS=1 exec unshare -rm bash "$0" "$hone"
fi
work=$(mktemp -d)
trap 'umount "$work/small" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
mkdir small
for i in $(seq 40); do
    printf '{"instruction":"question %d","output":"answer %d: %s"}\n' "$i" "$i" "$(seq -s ' ' "$i")"
done >rows.jsonl
cat >config.yaml <<END
model: {name_or_path: $golden/tiny_chat, max_length: 512}
lora: {r: 4, lora_dropout: 0.1}
training:
  output_dir: whole
  max_steps: 12
  per_device_train_batch_size: 2
  save_steps: 2
  eval_steps: 4
  precision: f32
  report_to: [tensorboard, csv]
data: {train_data_path: rows.jsonl, val_size: 4}
END
losses() { sed 's/,"tokens_per_second".*//' "$1/metrics.jsonl"; }
"$hone" train config.yaml --quiet >/dev/null
full=$(($(du -sk whole | cut -f1)))
stopped=0
for percent in 3 8 15 25 37 50 62 74 86 95; do
    size=$((full * percent / 100))
    mount -t tmpfs -o "size=${size}k" none small
    code=0
    "$hone" train config.yaml --set training.output_dir=small/run --quiet >/dev/null 2>log || code=$?
    if [ "$code" -ne 1 ] || ! grep -q '^hone: .*small/run.*No space left on device' log; then
        echo "FAILED: $size KiB: exit code $code, message: $(cat log)"
        exit 1
    fi
    if find small -name '*.partial' -o -name '*.tmp.*' | grep -q .; then
        echo "FAILED: $size KiB: left half-written: $(find small -name '*.partial*' -o -name '*.tmp.*' | tr '\n' ' ')"
        exit 1
    fi
    mount -o "remount,size=$((full * 3))k" small
    "$hone" train config.yaml --set training.output_dir=small/run --resume --quiet >/dev/null
    if ! cmp whole/adapter_model.safetensors small/run/adapter_model.safetensors || ! diff <(losses whole) <(losses small/run); then
        echo "FAILED: $size KiB: not the bits of a run that nothing stopped"
        exit 1
    fi
    umount small
    stopped=$((stopped + 1))
done
echo "$stopped runs stopped by a full disk went on to the same bits"
