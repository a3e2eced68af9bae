#!/usr/bin/env bash
# Damaged checkpoints and full disks: one line with file and place, nothing half-written.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

for size in 0 3 20 100 5000 100000; do
    head -c $size "$gguf" >cut.gguf
    refused 1 "cut.gguf" "$hone" generate --model cut.gguf --prompt x
    refused 1 "cut.gguf" "$hone" inspect cut.gguf
done
mkdir m
for size in 0 7 50 100000; do
    cp "$model"/* m/
    head -c $size "$model/model.safetensors" >m/model.safetensors
    refused 1 "model.safetensors" "$hone" generate --model m --prompt x
done
cp "$model"/* m/
sed -i 's/"hidden_size": 64/"hidden_size": 32/' m/config.json
refused 1 "m" "$hone" generate --model m --prompt x
cp "$model"/* m/
sed -i 's/LlamaForCausalLM/MadeUpForCausalLM/; s/"model_type": "llama"/"model_type": "madeup"/' m/config.json
refused 1 "MadeUp" "$hone" generate --model m --prompt x
grep -q llama <<<"$err" || wrong "the message should list what is supported"
cp "$model"/* m/
head -c 100 "$model/config.json" >m/config.json
refused 1 "config.json" "$hone" generate --model m --prompt x
rm m/config.json
refused 1 "config.json" "$hone" generate --model m --prompt x
cp "$model"/* m/
echo "{% for x in %}" >m/chat_template.jinja
refused 1 "1" "$hone" generate --model m --prompt x
cp -r "$adapter" a
head -c 500 "$adapter/adapter_model.safetensors" >a/adapter_model.safetensors
refused 1 "adapter_model.safetensors" "$hone" generate --model "$model" --adapter a --prompt x
cp -r "$adapter"/* a/
sed -i 's/"r": 4/"r": 8/' a/adapter_config.json
refused 1 "a" "$hone" generate --model "$model" --adapter a --prompt x
cp -r "$adapter"/* a/
echo '{"peft_type":"IA3"}' >a/adapter_config.json
refused 1 "adapter_config.json" "$hone" generate --model "$model" --adapter a --prompt x
refused 1 "is a folder" "$hone" generate --model "$model" --messages m
refused 1 "nosuch" "$hone" inspect nosuch

# files that may not grow past 8 KiB: what was being written is removed, what was there before stays
printf '{"instruction":"q","output":"a"}\n' >t.jsonl
for i in $(seq 400); do printf '{"instruction":"question %d","output":"answer %d"}\n' $i $i; done >many.jsonl
echo before >rows.jsonl
(trap '' XFSZ && ulimit -f 8 && exec "$hone" eval --model "$model" --data many.jsonl --per-row rows.jsonl) >.out 2>.err
code=$? out=$(cat .out) err=$(cat .err) last="eval with files of at most 8 KiB"
[ $code -eq 1 ] || wrong "should end with exit code 1"
err_has "rows.jsonl"
same before "$(cat rows.jsonl)" "the old file and what is there"
cat >c.yaml <<YAML
model: {name_or_path: $model, max_length: 256}
training: {output_dir: out, max_steps: 2, logging_steps: 1, save_steps: 1, report_to: none}
data: {train_data_path: t.jsonl}
YAML
(trap '' XFSZ && ulimit -f 8 && exec "$hone" train c.yaml) >.out 2>.err
code=$? out=$(cat .out) err=$(cat .err) last="train with files of at most 8 KiB"
[ $code -eq 1 ] || wrong "should end with exit code 1"
same 1 "$(grep -c '^hone: ' .err)" "one line of error; lines"
err_has "adapter_model.safetensors"
[ ! -e out/adapter_model.safetensors ] || wrong "no half adapter should be left"
[ -z "$(find . -name '*.tmp*')" ] || wrong "no temporary file should be left: $(find . -name '*.tmp*')"
finish
