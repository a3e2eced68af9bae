#!/usr/bin/env bash
# hone data check and prepare: findings, exit codes, what is written, and training on it.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

qa() { printf '{"question":"%s","answer":"%s"}\n' "$1" "$2"; }

{
    qa "What is the capital of France?" "Paris, of course."
    qa "What colour is the sky at noon?" "Blue."
} >good.jsonl
ok "$hone" data check good.jsonl
same "2 rows, 2 good" "$out" "rows without a problem"

{
    cat good.jsonl
    echo '{broken'
    qa "What is the capital of France?" "Paris, of course!"
    qa "Tell me please, how many legs has a spider?" "Eight it has."
} >bad.jsonl
qa "how many legs has a spider?" "8" >held.jsonl
run "$hone" data check bad.jsonl --against held.jsonl --ledger ledger.jsonl
last="hone data check bad.jsonl"
[ $code -eq 1 ] || wrong "problems should end with exit code 1"
has "5 rows, 2 good"
has "error    invalid                       1 row   20.00 %  can not be read"
has "bad.jsonl:3: broken JSON"
has "error    contaminated                  1 row "
has "bad.jsonl:5 repeats held.jsonl:1, 1.00"
has "error    duplicate                     1 row "
has "bad.jsonl:4 is like bad.jsonl:1, 0.96"
same 6 "$(wc -l <ledger.jsonl)" "a line for every row and the totals"
out=$(tail -n 1 ledger.jsonl)
has '{"totals":{"rows":5,"used":2,"cut":0,"split":0,"dropped":1,"duplicate":1,"contaminated":1}}'
run "$hone" data check bad.jsonl --exact-only --json --threads 1
has '{"rows":5,"used":4,"good":4,"problems":[{"rule":"invalid","severity":"error","title":"can not be read","rows":1,"share":0.'
has '"examples":[{"file":"bad.jsonl","line":3,"row":2,"detail":"'
lacks '"rule":"duplicate"'
# a row can not write on the terminal of its reader
qa 'How warm should the water be?' 'As warm as the hand, \u001b[31mnot hotter\u001b[0m.' >escape.jsonl
run "$hone" data check escape.jsonl
has '\u001b»[31mnot'
[ "$(grep -c $'\x1b' <<<"$out")" = 0 ] || wrong "control characters of a row reached the terminal"
run "$hone" data check - <bad.jsonl
has "5 rows, 3 good"
run "$hone" data check -.txt <good.jsonl
has "1 rows, 1 good"
gzip -k bad.jsonl
run "$hone" data check bad.jsonl.gz
has "5 rows, 3 good"
head -c 60 bad.jsonl.gz >cut.jsonl.gz
refused 1 "cut.jsonl.gz: byte 60: the gzip data is damaged: it ends too early" "$hone" data check cut.jsonl.gz
refused 1 "none.jsonl: no such file" "$hone" data check none.jsonl
refused 2 "an argument is missing" "$hone" data check
refused 2 "did you mean 'prepare'" "$hone" data prepar

cat >config.yaml <<END
model:
  name_or_path: $model
training:
  output_dir: out
data:
  train_data_path: bad.jsonl
  eval_data_path: held.jsonl
END
mkdir ready
refused 1 "bad.jsonl:3: broken JSON" "$hone" data prepare config.yaml --output ready
[ -z "$(ls ready)" ] || wrong "nothing should be written"
ok "$hone" data prepare config.yaml --output ready --set data.invalid=drop
has "5 rows, 2 used: 2 to train on"
err_has "ready/train.jsonl, ready/summary.json and ready/ledger.jsonl are written"
same 2 "$(wc -l <ready/train.jsonl)" "rows that are left"
same 6 "$(wc -l <ready/ledger.jsonl)" "lines of the ledger"
"$hone" data prepare config.yaml --output . --set data.invalid=drop --threads 1 >/dev/null 2>&1
for f in train.jsonl ledger.jsonl summary.json; do
    cmp -s $f ready/$f || wrong "another number of threads, another $f"
done
ok "$hone" data prepare config.yaml --set data.invalid=drop
cmp -s out/prepared/train.jsonl ready/train.jsonl || wrong "the standard folder should hold the same rows"
ok "$hone" data check ready/train.jsonl
ok "$hone" data check ready/train.jsonl --config config.yaml
ok "$hone" train config.yaml --set data.train_data_path=ready/train.jsonl --set training.max_steps=1 --quiet
out=$(cat out/ledger.jsonl)
has '"line":2,"fate":"used"}'
has '{"totals":{"rows":2,"used":2,'

# plain text, cut into pieces; and everything trained
printf 'One paragraph of plain text, long enough to be cut.\n\nShort.\n' >text.txt
ok "$hone" train config.yaml --set data.train_data_path=text.txt --set data.eval_data_path=null --set data.overlong=split \
    --set model.max_length=16 --set training.max_steps=1 --set training.load_best_model_at_end=false --quiet
out=$(cat out/ledger.jsonl)
has '"line":1,"fate":"split","parts":'
has '"line":3,"fate":"used"}'
for prompt in false true; do
    ok "$hone" plan config.yaml --set data.train_data_path=good.jsonl --set data.train_on_prompt=$prompt --json
    trained[${#trained[@]}]=$(grep -o '"trained_tokens_per_epoch":[0-9]*' <<<"$out" | cut -d: -f2)
done
[ "${trained[1]}" -gt "${trained[0]}" ] || wrong "train_on_prompt should train more tokens: ${trained[*]}"
sed 's/}$/,"x":1}/' good.jsonl | sed 's/{"question":"\([^"]*\)","answer":"\([^"]*\)"/{"messages":[{"role":"user","content":"\1"},{"role":"assistant","content":"\2","weight":0.5}]/' >weighted.jsonl
ok "$hone" train config.yaml --set data.train_data_path=weighted.jsonl --set data.eval_data_path=null --set training.max_steps=1 \
    --set training.load_best_model_at_end=false --quiet
# the tokens of prepared rows, made once, found by the training, and made anew when they are damaged
ok "$hone" data prepare config.yaml --output ready --set data.invalid=drop --tokens
err_has "ready/train.jsonl: 2 sequences, "
shard=$(ls out/cache/*/shard-00000.bin)
same 1 "$(wc -w <<<"$shard")" "shards"
sum=$(sha256sum "$shard")
train=("$hone" train config.yaml --set data.train_data_path=ready/train.jsonl --set data.eval_data_path=null --set data.cache=true
    --set training.max_steps=1 --set training.load_best_model_at_end=false)
ok "${train[@]}"
! grep -q "made anew" <<<"$err" || wrong "the cache should be found: $err"
same 1 "$(ls out/cache | wc -l)" "caches"
printf 'x' | dd of="$shard" bs=1 seek=300 conv=notrunc status=none
ok "${train[@]}"
err_has "shard-00000.bin: the sequences do not match their checksum"
same "$sum" "$(sha256sum "$shard")" "a shard that was made anew"
ok "${train[@]}" --set data.streaming=true --set training.packing_strategy=bfd
ok "$hone" plan config.yaml --set data.train_data_path=ready/train.jsonl --set data.eval_data_path=null --set data.cache=true \
    --set data.streaming=true --set training.max_steps=3 --set training.packing_strategy=bfd
has "data, prepared"
refused 1 "data.streaming needs training.max_steps" "$hone" train config.yaml --set data.cache=true --set data.streaming=true

finish
