#!/usr/bin/env bash
# hone generate: prompts, conversations, files of them; greedy is repeatable; formats and precisions agree.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

greedy="--temperature 0 --max-new-tokens 12 --precision f32"
ok "$hone" generate --model "$model" --prompt "hello" $greedy --json
one_document
for key in text tokens finish_reason prompt_tokens completion_tokens seconds; do
    has "\"$key\":"
done
tokens=$(grep -o '"tokens":\[[^]]*\]' <<<"$out")
same "$(value completion_tokens)" "$(tr ',' '\n' <<<"$tokens" | wc -l)" "completion_tokens and the number of tokens"
for variant in "--model $gguf" "--model $model --threads 1" "--model $model --isa ref"; do
    ok "$hone" generate $variant --prompt "hello" $greedy --json
    same "$tokens" "$(grep -o '"tokens":\[[^]]*\]' <<<"$out")" "greedy tokens with $variant"
done
ok "$hone" generate --model "$model" --adapter "$adapter" --prompt "hello" $greedy --json
[ "$tokens" != "$(grep -o '"tokens":\[[^]]*\]' <<<"$out")" ] || wrong "the adapter should change the answer"
ok "$hone" generate --model "$model" --prompt "hello" --max-new-tokens 12 --precision bf16 --json
one_document

echo '[{"role":"user","content":"hello"}]' >m.json
ok "$hone" generate --model "$model" --messages m.json $greedy --json
same "$tokens" "$(grep -o '"tokens":\[[^]]*\]' <<<"$out")" "tokens of a prompt and of its conversation"
ok "$hone" generate --model "$model" --messages - $greedy --json <m.json
same "$tokens" "$(grep -o '"tokens":\[[^]]*\]' <<<"$out")" "tokens of a conversation from standard input"
echo '{"messages":[{"role":"user","content":"hello"}]}' >o.json
ok "$hone" generate --model "$model" --messages o.json $greedy --json
same "$tokens" "$(grep -o '"tokens":\[[^]]*\]' <<<"$out")" "tokens of both spellings of a conversation"

ok "$hone" generate --model "$model" --prompt "hello" --seed 7 --temperature 1.5 --max-new-tokens 16
first=$out
ok "$hone" generate --model "$model" --prompt "hello" --seed 7 --temperature 1.5 --max-new-tokens 16
same "$first" "$out" "answers with one seed"
ok "$hone" generate --model "$model" --prompt "hello" --seed 8 --temperature 1.5 --max-new-tokens 16
[ "$first" != "$out" ] || wrong "another seed should give another answer"

printf 'hello\nwhat is it\n' >prompts.txt
ok "$hone" generate --model "$model" --prompts prompts.txt $greedy
same 2 "$(wc -l <.out)" "prompts and answers"
ok "$hone" generate --model "$model" --prompts prompts.txt $greedy --json
same 2 "$(wc -l <.out)" "prompts and documents"
same "$tokens" "$(head -n 1 .out | grep -o '"tokens":\[[^]]*\]')" "tokens of a prompt alone and in a file"
cat m.json o.json >conversations.jsonl
ok "$hone" generate --model "$model" --prompts conversations.jsonl $greedy --json
same "$tokens" "$(tail -n 1 .out | grep -o '"tokens":\[[^]]*\]')" "tokens of a conversation in a file"

ok "$hone" generate --model "$model" --raw --prompt "The quick brown" $greedy --json
ok "$hone" generate --model "$model" --prompt "x" --system "you are a helpful assistant" $greedy --quiet
same "" "$err" "silence and --quiet"

# settings of a configuration: by name, and beside the adapter; the command line wins
printf 'inference: {do_sample: false, repetition_penalty: 1.0, max_new_tokens: 5}\n' >i.yaml
ok "$hone" generate --model "$model" --prompt "hello" --temperature 0 --max-new-tokens 5 --json
five=$(grep -o '"tokens":\[[^]]*\]' <<<"$out")
ok "$hone" generate --model "$model" --prompt "hello" --config i.yaml --json
same "$five" "$(grep -o '"tokens":\[[^]]*\]' <<<"$out")" "tokens of a greedy configuration"
ok "$hone" generate --model "$model" --prompt "hello" --config i.yaml --max-new-tokens 3 --json
same 3 "$(value completion_tokens)" "tokens asked for"
cp -r "$adapter" a
cp i.yaml a/config.yaml
ok "$hone" generate --model "$model" --adapter a --prompt "hello" --json
same 5 "$(value completion_tokens)" "tokens of the configuration beside the adapter"
echo 'inference: {top_q: 1}' >i.yaml
refused 1 "i.yaml:1" "$hone" generate --model "$model" --prompt x --config i.yaml
cp i.yaml a/config.yaml
ok "$hone" generate --model "$model" --adapter a --prompt "hello" --max-new-tokens 2
err_has "its inference settings are not used"

refused 1 "empty" "$hone" generate --model "$model" --prompts /dev/null
printf 'one\n\ntwo\n' >gap.txt
last="generate --prompts gap.txt"
run "$hone" generate --model "$model" --prompts gap.txt $greedy
[ $code -eq 1 ] || wrong "an empty line should be an error"
err_has "gap.txt:2: the line is empty"
printf '[{"role":"user"\n' >bad.json
refused 1 "bad.json:" "$hone" generate --model "$model" --messages bad.json
printf '{"rows":1}' >bad.json
refused 1 "bad.json" "$hone" generate --model "$model" --messages bad.json
refused 1 "tokens" "$hone" generate --model "$model" --context 8 --prompt "the quick brown fox jumps over the lazy dog"
refused 1 "512" "$hone" generate --model "$model" --context 100000 --prompt x
refused 1 "nosuch" "$hone" generate --model nosuch --prompt x
refused 1 "nosuch" "$hone" generate --model "$model" --adapter nosuch --prompt x
finish
