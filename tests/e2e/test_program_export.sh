#!/usr/bin/env bash
# hone export merge: what it writes answers as the model with its adapter, from a folder and from a GGUF file, which has no
# tokenizer files of its own; nothing is written over.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

# shellcheck disable=SC2154,SC2086 # program_test.sh's variables; options are several words
greedy="--temperature 0 --max-new-tokens 16 --precision f32 --json"
tokens() { grep -o '"tokens":\[[^]]*\]' <<<"$out"; }
for i in 1 2 3 4; do
    echo "{\"instruction\":\"hello $i\",\"output\":\"what is it $i\"}"
done >rows.jsonl

for base in "$model" "$gguf"; do
    rm -rf merged
    ok "$hone" export merge --model "$base" --adapter "$adapter" --output merged --precision f32 --check rows.jsonl --json
    one_document
    before=$(grep -o '"before":{"loss":[0-9.e-]*' <<<"$out" | sed 's/.*://')
    exported=$(grep -o '"exported":{"loss":[0-9.e-]*' <<<"$out" | sed 's/.*://')
    same 1 "$(awk -v a="$before" -v b="$exported" 'BEGIN { d = a / b - 1; print (a > 0 && d < 1e-5 && d > -1e-5) }')" \
        "1 when the losses $before and $exported agree"
    ok "$hone" generate --model "$base" --adapter "$adapter" --prompt "hello" $greedy
    want=$(tokens)
    ok "$hone" generate --model merged --prompt "hello" $greedy
    same "$want" "$(tokens)" "tokens of $base with the adapter and merged"
    for file in config.json model.safetensors tokenizer.json tokenizer_config.json chat_template.jinja; do
        [ -s merged/$file ] || wrong "merged/$file should be there"
    done
    ok "$hone" tokenize --model "$base" --chat - --json <<<'[{"role":"user","content":"hello <|im_end|>"}]'
    want=$out
    ok "$hone" tokenize --model merged --chat - --json <<<'[{"role":"user","content":"hello <|im_end|>"}]'
    same "$want" "$out" "ids of a conversation"
done

refused 1 "merged holds a model already" "$hone" export merge --model "$model" --output merged
ok "$hone" export merge --model "$model" --output as_is
has "as_is is written"
ok "$hone" generate --model "$model" --prompt "hello" $greedy
want=$(tokens)
ok "$hone" generate --model as_is --prompt "hello" $greedy
same "$want" "$(tokens)" "tokens of the model and of its copy"

# A whole model trained from a GGUF file is a folder of its own, and so is each of its checkpoints.
cat >full.yaml <<END
model: {name_or_path: $gguf, max_length: 512}
training: {output_dir: full, finetuning_type: full, max_steps: 2, save_steps: 1, save_total_limit: 1, precision: f32, report_to: none, evaluation_strategy: "no"}
data: {train_data_path: rows.jsonl}
END
ok "$hone" train full.yaml --quiet
for dir in full full/checkpoint-2; do
    ok "$hone" generate --model $dir --prompt "hello" $greedy
done
[ ! -e full/checkpoint-1 ] || wrong "a checkpoint beyond save_total_limit should go, with its tokenizer files"

# A whole model trained from a GGUF file is a folder of its own, and so is each of its checkpoints.
cat >full.yaml <<END
model: {name_or_path: $gguf, max_length: 512}
training: {output_dir: full, finetuning_type: full, max_steps: 2, save_steps: 1, save_total_limit: 1, precision: f32,
  report_to: none, evaluation_strategy: "no"}
data: {train_data_path: rows.jsonl}
END
ok "$hone" train full.yaml --quiet
for dir in full full/checkpoint-2; do
    ok "$hone" generate --model $dir --prompt "hello" $greedy
done
[ ! -e full/checkpoint-1 ] || wrong "a checkpoint beyond save_total_limit should go, with its tokenizer files"

# An adapter remembers the template it was trained with.
ok "$hone" train full.yaml --quiet --set training.finetuning_type=lora --set training.output_dir=lora --set training.max_steps=1
cp -r "$model" other_template
sed -i 's/im_start/im_begin/g' other_template/chat_template.jinja
ok "$hone" export merge --model other_template --adapter lora --output warned
err_has "another chat template"

refused 2 "--output is missing" "$hone" export merge --model "$model"
refused 2 "did you mean 'merge'" "$hone" export merg
refused 1 "no_adapter" "$hone" export merge --model "$model" --adapter no_adapter --output other
[ ! -e other/config.json ] || wrong "a failed export should leave no model"

finish
