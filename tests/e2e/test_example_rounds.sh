#!/usr/bin/env bash
# Example 4.1's raw set against its key: every planted flaw must be found under its name, sound rows must raise no alarm,
# and the five rounds must leave the sound rows and nothing else. Scores are by a tiny model here: the round's own bounds
# are for a real one.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"
root=$(realpath "$golden/../..")
example=$root/examples/4.1_vertical_domain_tcm
raw=$example/data/raw

# ---- all rules at once, nothing dropped by them: findings against the key

cat >judge.yaml <<END
model:
  name_or_path: $model
training:
  output_dir: out
data:
  train_data_path: $raw/consultations.jsonl
  eval_data_path: $example/data/eval.jsonl
  invalid: drop
  label: {words: $raw/syndromes.txt}
  quality: {rules: $raw/rules.yaml}
END
mkdir judged
"$hone" data rules >rules.yaml || exit 1
# Rules whose action is to drop a row would hide it from the rules over all rows.
sed -nE '/^  [a-z_]+:$/ { s/[ :]//g; h }; /^    action: drop$/ { x; p; x }' rules.yaml >dropping
set=$(sed 's/.*/"&.action=report"/' dropping | paste -sd, -)
ok "$hone" data prepare judge.yaml --output judged --set "data.quality.set=[$set]" --json

# lines "row name" of what was found; row -1 is the set as a whole
awk '/^\{"row":/ {
         match($0, /"row":[0-9]+/); row = substr($0, RSTART + 6, RLENGTH - 6)
         match($0, /"fate":"[a-z]+"/); fate = substr($0, RSTART + 8, RLENGTH - 9)
         if (fate == "duplicate" || fate == "contaminated") print row, fate
         if (fate == "dropped" && match($0, /"reason":"[a-z_]+"/)) print row, substr($0, RSTART + 10, RLENGTH - 11)
         while (match($0, /"rule":"[a-z0-9_]+"/)) {
             print row, substr($0, RSTART + 8, RLENGTH - 9)
             $0 = substr($0, RSTART + RLENGTH)
         } }' judged/ledger.jsonl >found
grep -oE '"(label_skew|task_imbalance)"' judged/summary.json | tr -d '"' | sed 's/^/-1 /' >>found
sort -u -o found found

# names LIST < key.jsonl: lines "row name" of one of its lists
names() {
    awk -v list="$1" '{
        row = match($0, /"row": *[0-9]+/) ? substr($0, RSTART + 6, RLENGTH - 6) + 0 : -1
        if (!match($0, "\"" list "\": *\\[[^]]*\\]")) next
        n = split(substr($0, RSTART, RLENGTH), part, "\"")
        for (i = 4; i <= n; i += 2) print row, part[i] }' | sort -u
}
names flaws <"$raw/key.jsonl" >planted
names also <"$raw/key.jsonl" >also
rows=$(wc -l <"$raw/consultations.jsonl")
cut -d ' ' -f 1 planted | sort -u >flawed
last=key.jsonl
[ "$rows" -ge 60 ] && [ "$(wc -l <flawed)" -ge 40 ] || wrong "the key or the rows were not read"

comm -23 planted found >missed
comm -13 <(sort -u planted also) found >extra
awk 'NR == FNR { row[$1] = 1; next } !($1 in row)' flawed extra >false
while read -r row name; do wrong "row $row: $name is not found"; done <missed
sed 's/^/false alarm on a sound row: /' false
grep -vxF -f false extra | sed 's/^/beside the key, on a flawed row: /'
[ "$(wc -l <false)" -le 3 ] || wrong "more than three false alarms on sound rows"
echo "$rows rows, $(grep -cvx -- -1 flawed) flawed; $(wc -l <planted) planted flaws, $(wc -l <missed) missed;" \
    "$(wc -l <false) false alarms on sound rows, $(($(wc -l <extra) - $(wc -l <false))) findings beside the key on flawed ones"

# ---- the five rounds

export HONE=$hone OUT=$tmp/rounds-out MODEL=$model
for n in 1 2 3 4; do ok "$example/data/rounds.sh" $n --threads 1; done
ok "$example/data/rounds.sh" 5 --threads 1 --set "data.scores.filter=perplexity<1e30"
ok "$example/data/rounds.sh" table
printf '%s\n' "$out"
last="rounds 1 to 4"
grep -oE '"id": ?"tcm-[0-9]+"' "$OUT/rounds/4/train.jsonl" | grep -oE '[0-9]+' | sed 's/^0*\(.\)/\1/' | sort >left
seq 0 $((rows - 1)) | grep -vxF -f flawed | sort >sound
comm -13 sound left >kept
comm -23 sound left >lost
[ ! -s kept ] || wrong "flawed rows are kept: $(paste -sd ' ' kept)"
[ "$(wc -l <lost)" -le 3 ] || wrong "sound rows are lost: $(paste -sd ' ' lost)"
last="round 5"
share() { # of the commonest label, in percent of the rows that round N leaves
    awk '/"label": ?"肝郁脾虚"/ { n++ } END { print int(100 * n / NR) }' "$OUT/rounds/$1/train.jsonl"
}
[ "$(share 5)" -lt "$(share 4)" ] || wrong "the labels should be more even: $(share 4) % before, $(share 5) % after"
echo "the commonest label: $(share 4) % before round 5, $(share 5) % after"
finish
