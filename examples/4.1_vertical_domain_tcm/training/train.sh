#!/usr/bin/env bash
# Trains the adapter into output/adapter. Further arguments go to `hone train`, for instance:
#   training/train.sh --set training.learning_rate=2e-4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_model

[ "$(cat "$out/data.model" 2>/dev/null)" = "$model" ] || "$here/data/prepare.sh" >&2
longest=$(awk -F '\t' '$5 > n { n = $5 } END { print n + 0 }' "$out/data.tsv")
fit_length "$longest" "$here/training/config.yaml"
"$HONE" train "$here/training/config.yaml" --set "model.name_or_path=$model" --set "training.output_dir=$adapter" \
    ${more[@]+"${more[@]}"} "$@"
