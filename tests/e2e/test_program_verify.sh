#!/usr/bin/env bash
# hone verify: a table and a document of the same checks, exit codes, and nothing written.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

for i in 1 2 3; do
    printf '{"instruction":"question %d","output":"The answer is forty-two, thank you."}\n' $i
done >train.jsonl
cat >c.yaml <<YAML
model:
  name_or_path: $model
training:
  output_dir: out
data:
  train_data_path: train.jsonl
YAML

ok "$hone" verify c.yaml --tokens 96
has "gradients"
has "lora_B.weight, all layers"
has "same bits"
has "against plain C"
has "bf16"
has "3 rows, "
lacks FAILED
[ ! -e out/adapter_config.json ] || wrong "nothing should be trained"
ok "$hone" verify c.yaml --tokens 96 --json --set training.finetuning_type=full
one_document
has '"group":"recomputation"'

same 3 "$(value rows)" "rows"
refused 2 "--rows" "$hone" verify c.yaml --rows 0
refused 1 "nowhere.yaml" "$hone" verify nowhere.yaml
finish
