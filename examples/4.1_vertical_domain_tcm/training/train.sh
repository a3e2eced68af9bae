#!/usr/bin/env bash
# Trains the adapter into output/adapter. Further arguments go to `hone train`, for instance:
#   training/train.sh --set training.learning_rate=2e-4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_model

# Another model's tokenizer may cut Chinese into more tokens than the configuration allows for. Then the length is
# raised, and 30 updates keep the time and the number of trained tokens in bounds.
[ "$(cat "$out/data.model" 2>/dev/null)" = "$model" ] || "$here/data/prepare.sh" >&2
longest=$(awk -F '\t' '$5 > n { n = $5 } END { print n + 0 }' "$out/data.tsv")
length=$(awk '$1 == "max_length:" { print $2; exit }' "$here/training/config.yaml")
more=()
if [ "$longest" -gt "$length" ]; then
    length=$(((longest + 63) / 64 * 64))
    say "注意：这个模型的分词把最长的对话切成 $longest 个 token，max_length 改为 $length，只更新 30 次"
    more=(--set "model.max_length=$length" --set training.max_steps=30)
fi
"$HONE" train "$here/training/config.yaml" --set "model.name_or_path=$model" --set "training.output_dir=$adapter" \
    ${more[@]+"${more[@]}"} "$@"
