#!/usr/bin/env bash
# hone plan, train, eval on a tiny model: the loss falls, files are complete, a signal saves, mistakes stop before training.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

for i in 1 2 3 4 5 6; do
    printf '{"instruction":"question %d","input":"","output":"The answer is forty-two, thank you."}\n' $i
done >train.jsonl
printf '{"messages":[{"role":"user","content":"question 9"},{"role":"assistant","content":"The answer is forty-two, thank you."}]}\n' >eval.jsonl
cat >c.yaml <<YAML
model:
  name_or_path: $model
  max_length: 256
lora:
  r: 4
  lora_alpha: 8
  lora_dropout: 0.0
training:
  output_dir: out
  num_train_epochs: 10
  per_device_train_batch_size: 3
  gradient_accumulation_steps: 1
  learning_rate: 1e-2
  logging_steps: 5
  eval_steps: 10
  save_steps: 10
  precision: f32
  report_to: none
data:
  train_data_path: train.jsonl
  eval_data_path: eval.jsonl
YAML

ok "$hone" plan c.yaml
has "level 0"
has "chosen: level"
has "by rows of a micro-batch"
has "3 rows"
run "$hone" plan c.yaml --memory 0.001
same 1 "$code" "exit code of a plan that does not fit"
has "does not fit"
err_has "training.per_device_train_batch_size: 1 saves"
ok "$hone" plan c.yaml --json
one_document
same 20 "$(value steps)" "steps of the plan"
same 6 "$(value rows)" "rows of the plan"

ok "$hone" train c.yaml
has "adapter:"
has "hone chat --model"
has "memory: peak"
err_has "memory plan"
err_has "step 20/20"
for f in adapter_model.safetensors adapter_config.json metrics.jsonl config.yaml; do
    [ -s out/$f ] || wrong "out/$f should be there"
done
last="metrics.jsonl"
out=$(cat out/metrics.jsonl)
same 20 "$(grep -c '"loss":' out/metrics.jsonl)" "steps and lines with a loss"
has '"eval_loss":'
for key in step epoch learning_rate grad_norm tokens trained_tokens tokens_per_second seconds rss_bytes; do
    has "\"$key\":"
done
first=$(grep -o '"loss":[0-9.]*' out/metrics.jsonl | head -n 1 | cut -d: -f2)
lastloss=$(grep -o '"loss":[0-9.]*' out/metrics.jsonl | tail -n 1 | cut -d: -f2)
awk "BEGIN{exit !($lastloss < 0.5 * $first)}" || wrong "the loss should halve: $first to $lastloss"

# going on from a checkpoint gives the same losses of rows and the same answers as never stopping
cp -r out resumed
rm -r resumed/checkpoint-20 resumed/rows.jsonl
ok "$hone" train c.yaml --resume --set training.output_dir=resumed --quiet --report none
cmp -s out/rows.jsonl resumed/rows.jsonl || wrong "rows.jsonl should be that of the run that never stopped"
cmp -s out/samples.jsonl resumed/samples.jsonl || wrong "samples.jsonl should be that of the run that never stopped"

# what a person sees: losses by task and by row, sample answers
sed 's/$/ /; s/"output"/"task":"first","output"/' train.jsonl >tasks.jsonl
printf '{"instruction":"question 8","output":"The answer is forty-two, thank you.","task":"a, \\"b\\""}\n{"instruction":"q","output":"x"}\n' >eval_tasks.jsonl
ok "$hone" train c.yaml --set training.output_dir=seen --set data.eval_data_path=eval_tasks.jsonl --set training.eval_on_start=true \
    --set 'training.report_to=[csv]' --set data.train_data_path=tasks.jsonl
err_has "of peak"
err_has "if a step reaches 60 %"
err_has 'a, "b": loss'
err_has "sample 0: question 8"
out=$(cat seen/metrics.jsonl)
has '"eval_loss/a, \"b\"":'
has '"eval_loss/(none)":'
has '"peak_share":'
grep -q '^{"step":0,"eval_loss":' seen/metrics.jsonl || wrong "the base should be evaluated first"
head -n 1 seen/metrics.csv | grep -qF 'eval_tokens,"eval_loss/a, ""b""",eval_loss/(none)' || wrong "columns of tasks"
same 6 "$(wc -l <seen/samples.jsonl)" "three evaluations of two questions and lines"
grep -q '"step":20,"index":0,.*"reference":"The answer is forty-two, thank you.","answer":"The answer is forty-two, thank you."' seen/samples.jsonl ||
    wrong "the tuned answer: $(tail -n 2 seen/samples.jsonl)"
same 6 "$(wc -l <seen/rows.jsonl)" "trained rows and lines"
awk -F'[:,}]' '{ if (!($(NF-1) < 0.7 * $(NF-3))) exit 1 }' seen/rows.jsonl || wrong "every row's loss should fall: $(cat seen/rows.jsonl)"
# the page about it
for f in run.json report.html; do
    [ -s seen/$f ] || wrong "seen/$f should be there"
done
ok "$hone" report seen -o a.html --no-time
[ -z "$out" ] || wrong "a report should print nothing"
ok "$hone" report seen -o zh.html --lang zh --time "on a fine day" --rows 2
out=$(cat a.html)
has 'Training report'
has 'a, &quot;b&quot;'
has 'tasks.jsonl:6'
has 'question 3 ▸ The answer is forty-two, thank you.'
has 'Evaluation loss'
has 'step 20'
has 'Sample answers'
has "default-src 'none'"
lacks '<script'
lacks 'on a fine day'
[ "$(grep -c '<section' a.html)" -eq "$(grep -c '</section>' a.html)" ] || wrong "sections should be closed"
[ "$(grep -o '<div' a.html | wc -l)" -eq "$(grep -o '</div>' a.html | wc -l)" ] || wrong "divisions should be closed"
out=$(cat zh.html)
has '训练报告'
has 'on a fine day'
lacks 'Training report'
rm seen/run.json seen/rows.jsonl seen/samples.jsonl
ok "$hone" report seen -o - --no-time
has 'This run has no run.json'
echo '[1]' >>seen/metrics.jsonl
refused 1 "metrics.jsonl:24: no JSON object" "$hone" report seen -o b.html
refused 1 "nowhere" "$hone" report nowhere
ok "$hone" train c.yaml --set training.output_dir=plain --report none --quiet
[ ! -e plain/report.html ] || wrong "no page was asked for"

# everything but the training
ok "$hone" train c.yaml --dry-run --set training.output_dir=deep/dry --set data.cache=true
has "first micro-batch: 3 rows"
has "20 steps in about"
has "ready: nothing was written"
[ ! -e deep ] || wrong "nothing should be written"
ok "$hone" train c.yaml --dry-run --json --quiet --set training.output_dir=deep/dry
one_document
same 20 "$(value steps)" "steps"
refused 1 "is not a folder" "$hone" train c.yaml --dry-run --quiet --set training.output_dir=train.jsonl/x
refused 1 "train.jsonl" "$hone" train c.yaml --dry-run --quiet --set model.max_length=8
refused 1 "training.offload_dir" "$hone" train c.yaml --dry-run --quiet --set training.offload_optimizer=true \
    --set training.offload_dir=train.jsonl
ok "$hone" train c.yaml --dry-run --json --set training.offload_optimizer=true --set training.output_dir=deep/dry
[ "$(value file_bytes)" -gt 0 ] || wrong "the plan should count the file"
[ ! -e deep ] || wrong "nothing should be written"

ok "$hone" train c.yaml --set training.output_dir=own --set 'training.sample_prompts=[question 5, question 6]' --set training.sample_count=1
same "question 5" "$(grep -o '"prompt":"[^"]*' own/samples.jsonl | head -n 1 | cut -d'"' -f4)" "the question"
ok "$hone" train c.yaml --set training.output_dir=mute --set training.sample_count=0 --quiet
[ ! -e mute/samples.jsonl ] || wrong "no questions, no file"

# the saved configuration does the same run again
ok "$hone" train out/config.yaml --set training.output_dir=again --quiet
same "" "$err" "silence and --quiet"
cmp -s out/adapter_model.safetensors again/adapter_model.safetensors || wrong "the same run should give the same adapter"
ok "$hone" train c.yaml --set training.output_dir=one --threads 1 --json --quiet
one_document
has '"stopped":false'
cmp -s out/adapter_model.safetensors one/adapter_model.safetensors || wrong "one thread should give the same adapter"

ok "$hone" eval --model "$model" --adapter out --data eval.jsonl --precision f32 --per-row rows.jsonl --json
one_document
has '{"base":{"loss":'
has '"tuned":{"loss":'
base=$(value loss)
tuned=$(grep -o '"tuned":{"loss":[^,]*' <<<"$out" | grep -o '[0-9.]*$')
awk "BEGIN{exit !($tuned < 0.5 * $base)}" || wrong "the tuned loss should be below half of the base: $base, $tuned"
same 1 "$(wc -l <rows.jsonl)" "rows and lines"
grep -qE '^\{"row":0,"loss_sum":[0-9.e+-]+,"tokens":[0-9]+,"base_loss_sum":[0-9.e+-]+\}$' rows.jsonl || wrong "per-row line: $(cat rows.jsonl)"
ok "$hone" eval --model "$model" --data train.jsonl --data eval.jsonl --precision f32 --per-row rows.jsonl
has "base"
same 7 "$(wc -l <rows.jsonl)" "rows of two files and lines"
same "0 1 2 3 4 5 6" "$(grep -o '"row":[0-9]*' rows.jsonl | cut -d: -f2 | tr '\n' ' ' | sed 's/ $//')" "rows and their order"
ok "$hone" eval --model "$gguf" --data eval.jsonl --precision f32 --json
same "$base" "$(value loss)" "base loss of the folder and of the GGUF file"

ok "$hone" generate --model "$model" --adapter out --prompt "question 3" --temperature 0 --max-new-tokens 40 --quiet
same "The answer is forty-two, thank you." "$out" "the trained and the given answer"
run "$hone" chat --model "$model" --adapter out --temperature 0 --quiet < <(echo "question 5")
last=chat
same "The answer is forty-two, thank you." "$out" "the trained answer in a chat"
same "" "$err" "no warning: same template, same tokenizer"
mkdir other
cp "$model"/* other/
sed -i 's/im_start/im_end/' other/chat_template.jinja
run "$hone" chat --model other --adapter out --quiet < <(echo "question 5")
err_has "warning: out was trained with another chat template"

# a signal: saved, exit code 130
last="train, SIGINT"
"$hone" train c.yaml --set training.output_dir=stopped --set training.max_steps=100000 >.out 2>.err &
pid=$!
for _ in $(seq 200); do
    [ -s stopped/metrics.jsonl ] && break
    sleep 0.1
done
kill -INT $pid
wait $pid
code=$?
out=$(cat .out) err=$(tail -n 5 .err)
[ $code -eq 130 ] || wrong "should end with exit code 130"
has "stopped after"
[ -s stopped/adapter_model.safetensors ] && [ -s stopped/adapter_config.json ] || wrong "the adapter should be saved"
ok "$hone" generate --model "$model" --adapter stopped --prompt x --max-new-tokens 2 --quiet

# mistakes
refused 1 "nosuch.yaml" "$hone" train nosuch.yaml
sed 's/learning_rate/learning_rat/' c.yaml >k.yaml
refused 1 "learning_rate" "$hone" train k.yaml
grep -q 'k.yaml:13' <<<"$err" || wrong "the message should name file and line"
refused 1 'unknown key `rank`' "$hone" train c.yaml --set lora.rank=3
refused 1 "train.jsonl" "$hone" train c.yaml --set data.train_data_path=empty/train.jsonl
{ cat train.jsonl; echo '{"instruction": "x", "output": '; } >broken.jsonl
refused 1 "broken.jsonl:7" "$hone" train c.yaml --set data.train_data_path=broken.jsonl --set training.output_dir=none
[ ! -e none/adapter_model.safetensors ] || wrong "nothing should be written"
: >void.jsonl
refused 1 "void.jsonl" "$hone" train c.yaml --set data.train_data_path=void.jsonl --set training.output_dir=none
refused 1 "train.jsonl" "$hone" train c.yaml --set model.max_length=8 --set training.output_dir=none
refused 1 "broken.jsonl:7" "$hone" eval --model "$model" --data broken.jsonl --per-row none.jsonl
[ ! -e none.jsonl ] || wrong "nothing should be written"
refused 1 "rows.jsonl" "$hone" eval --model "$model" --data eval.jsonl --per-row nowhere/rows.jsonl
finish
