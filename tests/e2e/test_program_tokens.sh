#!/usr/bin/env bash
# Rows of the embedding that train beside an adapter: only they change, files, merging, going on, and what is refused.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

for i in 1 2 3 4 5 6; do
    printf '{"instruction":"question %d","output":"The answer is forty-two, thank you."}\n' $i
done >rows.jsonl
cat >c.yaml <<YAML
model: {name_or_path: $model, max_length: 256}
lora: {r: 2, lora_dropout: 0.0, target_modules: [q_proj], trainable_token_indices: [TOKENS]}
training: {output_dir: out, max_steps: 8, per_device_train_batch_size: 3, gradient_accumulation_steps: 1,
  learning_rate: 2e-2, precision: f32, report_to: none, save_steps: 4, sample_count: 0}
data: {train_data_path: rows.jsonl}
YAML
# the tokens of the answer
ids=$(printf "The answer is forty-two, thank you." | "$hone" tokenize --model "$model" --lines | tr -d "[] " | tr "," "\n" | sort -nu | tr "\n" ",")
sed -i "s/TOKENS/${ids%,}/" c.yaml
n=$(tr -cd , <<<"$ids" | wc -c)

loss() {
    ok "$hone" eval --model "$1" "${@:2}" --data rows.jsonl --precision f32 --json
    grep -o '"loss":[0-9.e-]*' <<<"$out" | tail -n 1 | cut -d: -f2
}

ok "$hone" train c.yaml --quiet --report none
out=$(head -c 2000 out/adapter_model.safetensors | tr -d '\0')
has '"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta":{'
grep -q '"trainable_token_indices": \[' out/adapter_config.json || wrong "the ids should be in adapter_config.json"
ok "$hone" train c.yaml --quiet --report none --set training.output_dir=plain --set lora.trainable_token_indices=~
base=$(loss "$model")
plain=$(loss "$model" --adapter plain)
tuned=$(loss "$model" --adapter out)
echo "loss: base $base, factors of q_proj alone $plain, with $n rows of the embedding $tuned"
awk "BEGIN{exit !($tuned < 0.8 * $plain && $plain < $base)}" || wrong "the rows should help: $base, $plain, $tuned"

# as one model
ok "$hone" export merge --model "$model" --adapter out --output merged --precision f32
merged=$(loss merged)
awk "BEGIN{d = $merged / $tuned - 1; exit !(d < 1e-5 && d > -1e-5)}" || wrong "merging should change nothing: $tuned, $merged"

# the checks of one's own model
ok "$hone" verify c.yaml
has "trainable_tokens_delta: slope"

# going on; a new run that starts from it
ok "$hone" train c.yaml --quiet --report none --set training.output_dir=part --set training.save_steps=3
rm -r part/checkpoint-8 part/checkpoint-6
ok "$hone" train c.yaml --quiet --report none --set training.output_dir=part --resume --threads 1
cmp -s out/adapter_model.safetensors part/adapter_model.safetensors || wrong "going on should give the bits of never stopping"
refused 1 "trained tensors" "$hone" train c.yaml --quiet --report none --set training.output_dir=part --resume \
    --set "lora.trainable_token_indices=[$(seq -s , 100 $((99 + n)))]"
ok "$hone" train c.yaml --quiet --report none --set lora.init_adapter=out --set training.output_dir=next
ok "$hone" generate --model "$model" --adapter next --prompt "question 3" --temperature 0 --max-new-tokens 40 --quiet
next=$(loss "$model" --adapter next)
awk "BEGIN{exit !($next < $tuned)}" || wrong "training on should lower the loss: $tuned, $next"

refused 1 "lora: trainable_token_indices: 99999 is no token of the" "$hone" train c.yaml --quiet --set lora.trainable_token_indices=[99999]
refused 1 "lora: trainable_token_indices: 7 stands twice" "$hone" train c.yaml --quiet --set lora.trainable_token_indices=[7,8,7]
refused 1 "lora.trainable_token_indices: 1.5 is no id" "$hone" train c.yaml --quiet --set lora.trainable_token_indices=[1.5]
refused 1 "lm_head is embed_tokens in this model" "$hone" train c.yaml --quiet --set lora.trainable_token_modules=lm_head
refused 1 "use one of them" "$hone" train c.yaml --quiet --set lora.modules_to_save=[embed_tokens]
refused 1 "lora.trainable_token_modules: \`q_proj\` is neither" "$hone" train c.yaml --quiet --set lora.trainable_token_modules=q_proj
sed 's/"trainable_token_indices": \[/"trainable_token_indices": [2.5,/' out/adapter_config.json >next/adapter_config.json
refused 1 'adapter_config.json: "trainable_token_indices" must be a whole number' "$hone" eval --model "$model" --adapter next --data rows.jsonl
finish
