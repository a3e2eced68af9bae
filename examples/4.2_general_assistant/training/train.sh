#!/usr/bin/env bash
# Trains the adapter into output/adapter on the rows that data/prepare.sh wrote. Further arguments go to `hone train`:
#   training/train.sh --set training.learning_rate=1e-4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_model

[ "$(cat "$out/data.model" 2>/dev/null)" = "$model" ] || "$here/data/prepare.sh" >&2
fit_length "$(cut -f 7 "$out/data.tsv" | sort -n | tail -n 1)" "$here/training/config.yaml"
"$HONE" train "$here/training/config.yaml" --set "model.name_or_path=$model" --set "training.output_dir=$adapter" \
    --set "data.train_data_path=$out/data/train.jsonl" ${more[@]+"${more[@]}"} "$@"
