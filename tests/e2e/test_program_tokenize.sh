#!/usr/bin/env bash
# hone tokenize: ids of a text, of lines, and the mask of conversations; a folder and a GGUF file agree.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

printf 'hello 你好 🚲 <|im_end|>\nnext' >text
ok "$hone" tokenize --model "$model" <text
plain=$out
ok "$hone" tokenize --model "$gguf" <text
same "$plain" "$out" "ids from the folder and from the GGUF file"
ok "$hone" tokenize --model "$model" --json <text
one_document
same "{\"ids\":[${plain// /,}]}" "$out" "ids in words and in JSON"
has ",528," # <|im_end|> as text of its own is recognised
ok "$hone" tokenize --model "$model/tokenizer.json" <text
same "$plain" "$out" "ids from tokenizer.json alone"

printf 'a\r\n\nlast' | "$hone" tokenize --model "$model" --lines >lines
last="tokenize --lines"
out=$(cat lines)
same 3 "$(wc -l <lines)" "lines in and out"
same "[]" "$(sed -n 2p lines)" "an empty line and no ids"
grep -qx '\[[0-9,]*\]' lines || wrong "every line is an array"
same 2 "$(sed -n 1p lines | tr , '\n' | wc -l)" "a and carriage return: ids"
printf '' | "$hone" tokenize --model "$model" --lines >lines
same 0 "$(wc -l <lines)" "no lines"

echo '[{"role":"user","content":"hi <|im_end|>"},{"role":"assistant","content":"good day"}]' >c.json
ok "$hone" tokenize --model "$model" --chat c.json --json
one_document
has '"text":"<|im_start|>user\nhi <|im_end|><|im_end|>\n<|im_start|>assistant\ngood day<|im_end|>\n"'
ids=$(grep -o '"ids":\[[^]]*' <<<"$out" | tr ',' '\n' | wc -l)
mask=$(grep -o '"mask":\[[^]]*' <<<"$out" | tr ',' '\n' | wc -l)
same "$ids" "$mask" "numbers of ids and of mask values"
same 2 "$(grep -o '"ids":\[[^]]*' <<<"$out" | tr '[,' '\n\n' | grep -cx 528)" \
    "end-of-turn ids of the template alone: the message's own text is none; their number"
has '"pieces":["<|im_start|>"'
ok "$hone" tokenize --model "$model" --chat c.json
has "⟦good day<|im_end|>⟧"
has " trained"
lacks $'\033'
ok "$hone" tokenize --model "$gguf" --chat c.json
has "⟦good day<|im_end|>⟧"
cat c.json c.json >two.jsonl
ok "$hone" tokenize --model "$model" --chat two.jsonl --json
same 2 "$(wc -l <.out)" "conversations and documents"
echo '[{"role":"user","content":"hi"}]' >q.json
ok "$hone" tokenize --model "$model" --chat q.json --generation-prompt --json
has 'assistant\n"'
lacks ',1,'

printf '[{"role":"user",\n "content":}]' >bad.json
refused 1 "bad.json:2:" "$hone" tokenize --model "$model" --chat bad.json
printf '%s\n{"x"\n' "$(cat c.json)" >bad.jsonl
last="tokenize --chat bad.jsonl"
run "$hone" tokenize --model "$model" --chat bad.jsonl --json
[ $code -eq 1 ] || wrong "exit code 1"
err_has "bad.jsonl:2:"
refused 1 "nosuch.json" "$hone" tokenize --model "$model" --chat nosuch.json
refused 1 "nosuch" "$hone" tokenize --model nosuch </dev/null
mkdir broken && cp "$model"/* broken/ && head -c 3000 "$model/tokenizer.json" >broken/tokenizer.json
refused 1 "tokenizer.json" "$hone" tokenize --model broken </dev/null
finish
