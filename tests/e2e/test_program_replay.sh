#!/usr/bin/env bash
# Continual learning: an adapter goes on with new rows, and forgets less of the old ones when a share of them is replayed.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

for i in 1 2 3 4 5 6 7 8; do
    printf '{"instruction":"question %d","output":"The answer is forty-two, thank you."}\n' $i
done >old.jsonl
for i in 1 2 3 4 5 6; do
    printf '{"instruction":"task %d","output":"Please tell me more about yourself."}\n' $i
done >new.jsonl
cat >c.yaml <<YAML
model: {name_or_path: $model, max_length: 256}
lora: {r: 4, lora_alpha: 8, lora_dropout: 0.0}
training:
  output_dir: first
  num_train_epochs: 8
  per_device_train_batch_size: 2
  gradient_accumulation_steps: 1
  learning_rate: 1e-2
  precision: f32
  report_to: [csv]
  sample_count: 0
data: {train_data_path: old.jsonl}
YAML
later=(--set lora.init_adapter=first --set data.train_data_path=new.jsonl)
replay=(--set data.replay_data_path=old.jsonl --set data.replay_ratio=0.25)

# the loss of the old rows under an adapter
old_loss() {
    ok "$hone" eval --model "$model" --adapter "$1" --data old.jsonl --precision f32 --json
    grep -o '"tuned":{"loss":[^,]*' <<<"$out" | grep -o '[0-9.e-]*$'
}

ok "$hone" train c.yaml --quiet --report none
ok "$hone" train c.yaml "${later[@]}" --quiet --report none --set training.output_dir=without
ok "$hone" plan c.yaml "${later[@]}" "${replay[@]}"
has "rows: 8, 2 of them replayed   steps: 32 (4 an epoch)"
ok "$hone" train c.yaml "${later[@]}" "${replay[@]}" --set training.output_dir=with
err_has "replayed data: 8 rows read"
err_has "(new "
err_has "step 32/32"
before=$(old_loss first)
without=$(old_loss without)
with=$(old_loss with)
echo "loss of the old rows: $before, after new ones $without, with a quarter replayed $with"
awk "BEGIN{exit !($with < 0.5 * $without && $before < $with)}" ||
    wrong "replay should keep what was learnt: $before, $without, $with"

# who is told apart: every step's losses, every row, the page
same 32 "$(grep -c '"new_loss":[^,]*,"replay_loss":' with/metrics.jsonl)" "steps with both losses"
awk -F'[:,}]' '{ for (i = 1; i < NF; i++) v[$i] = $(i + 1)
        if (v["\"replay_loss\""] == "null") v["\"replay_loss\""] = v["\"new_loss\""]
        a = v["\"new_loss\""]; b = v["\"replay_loss\""]; l = v["\"loss\""]
        if (a != "null" && (l < (a < b ? a : b) - 1e-6 || l > (a < b ? b : a) + 1e-6)) exit 1 }' with/metrics.jsonl ||
    wrong "the loss of a step lies between those of its rows"
head -n 1 with/metrics.csv | grep -q ',new_loss,replay_loss$' || wrong "columns of the table"
same 1 "$(awk -F, '{ print NF }' with/metrics.csv | sort -u | wc -l)" "fields of every line"
same 8 "$(grep -c '"replay":true' with/rows.jsonl)" "old rows that were trained"
same 6 "$(grep -vc '"replay":true' with/rows.jsonl)" "new rows"
grep -q '"replay_rows": *8' with/run.json || wrong "run.json: $(cat with/run.json)"
out=$(cat with/report.html)
has "Loss of new and replayed rows"
has "(replayed)"
has "question 1 ▸ The answer is forty-two, thank you."
has "task 1 ▸ Please tell me more about yourself."
! grep -q new_loss without/metrics.jsonl || wrong "nothing was replayed there"

# whatever prepares the rows and packs them; the token caches are those of either file alone
ok "$hone" train c.yaml "${later[@]}" "${replay[@]}" --set training.output_dir=cached --set data.cache=true --quiet --report none --threads 1
cmp -s with/adapter_model.safetensors cached/adapter_model.safetensors || wrong "token caches should change nothing"
same 2 "$(find cached/cache -name manifest.json | wc -l)" "token caches"
ok "$hone" train c.yaml "${later[@]}" "${replay[@]}" --dry-run --set training.output_dir=dry --set training.packing_strategy=bfd
has "ready"
err_has "replayed data"

# rows held out are new ones; an old row that repeats one is told of
head -n 1 new.jsonl >repeat.jsonl
ok "$hone" train c.yaml "${later[@]}" --set data.replay_data_path=[old.jsonl,repeat.jsonl] --set data.eval_data_path=new.jsonl \
    --set training.output_dir=repeats --report none
err_has "1 rows have the very tokens of an evaluation row, the first is"
err_has "repeat.jsonl:1"
ok "$hone" train c.yaml "${later[@]}" "${replay[@]}" --set data.val_size=2 --set training.output_dir=held --quiet --report none
same 4 "$(grep -vc '"replay":true' held/rows.jsonl)" "new rows that are trained"
grep -q '"eval_rows": *2' held/run.json || wrong "two rows should be held out"

refused 1 "data.replay_ratio" "$hone" train c.yaml "${replay[@]}" --set data.replay_ratio=1
refused 1 "data.replay_ratio 0.01 of an epoch of 8 new rows is not one row" "$hone" train c.yaml "${replay[@]}" --set data.replay_ratio=0.01 --quiet
refused 1 "data.streaming needs no data.replay_data_path" "$hone" train c.yaml "${replay[@]}" --set data.streaming=true \
    --set data.cache=true --set training.max_steps=3
refused 1 "nowhere.jsonl" "$hone" train c.yaml --set data.replay_data_path=nowhere.jsonl --quiet
finish
