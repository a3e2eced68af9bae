#!/usr/bin/env bash
# hone data report and hone data show: a page that needs nothing else, the same for every run and number of threads, in both
# languages; rows of anyone can do nothing to it or to the terminal; one row with its fate, mask, ids and scores.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

qa() { printf '{"question":"%s","answer":"%s"%s}\n' "$1" "$2" "$3"; }

{
    qa "What is the capital of France?" "Paris, of course." ',"task":"geography"'
    qa "What colour is the sky at noon?" "Blue." ',"task":"colours","label":"<b>sky</b>"'
    echo '{broken'
    qa "What is the capital of France?" "Paris, of course!" ',"task":"geography"'
    qa "Tell me please, how many legs has a spider?" "Eight it has."
    qa "<script src=https://evil.example/x.js></script>" "<img src=x onerror=alert(1)>\\\\u202e\\\\u001b[31m"
    echo '{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello","loss_weight":0},{"role":"user","content":"and"},{"role":"assistant","content":"bye","loss_weight":0.5}]}'
} | sed 's/\\\\u/\\u/g' >rows.jsonl
qa "how many legs has a spider?" "8" >held.jsonl
cat >config.yaml <<END
model:
  name_or_path: $model
  max_length: 64
training:
  output_dir: out
data:
  train_data_path: rows.jsonl
  eval_data_path: held.jsonl
END

# The same bytes for every run and number of threads; nothing is trusted, nothing is loaded.
ok "$hone" data report config.yaml -o a.html --no-time --threads 1
[ -z "$out" ] || wrong "a report should print nothing"
ok "$hone" data report config.yaml --output b.html --no-time --threads 3
cmp -s a.html b.html || wrong "two reports of the same data should be the same"
ok "$hone" data report config.yaml --output c.html --time "on a fine day" --lang zh
ok "$hone" data report config.yaml -o - --no-time
same "$(sha256sum <a.html)" "$(sha256sum <.out)" "the page on standard output"
out=$(cat a.html)
has '<html lang=en>'
has "default-src 'none'"
has '<dt>Rows read</dt><dd>7'
has '<dt>Used</dt><dd>4'
has '<b>can not be read<'
has 'repeats another row'
has 'repeats a row of the evaluation data'
has '&lt;script src=https://evil.example/x.js&gt;'
has 'U+202E'
has 'U+001B'
has "$(sha256sum rows.jsonl | cut -d' ' -f1)"
has 'Paris, of course<mark>!</mark>'
has 'Paris, of course<mark>.</mark>'
has '<span class=tr>Blue.</span>'
has 'rows.jsonl:4'
has '@media screen and (prefers-color-scheme:dark)'
has '<span class=name>geography</span>'
has '<span class=name>&lt;b&gt;sky&lt;/b&gt;</span>'
has '<mark>'
lacks '<script'
lacks '<img'
lacks '<link'
lacks '<iframe'
lacks 'on a fine day'
lacks 'url('
lacks '@import'
[ "$(grep -oE '(src|href)="?[^ >]*' a.html | grep -vcE 'href="#|^src=(https://evil|x$)')" -eq 0 ] || wrong "the page should load nothing"
[ "$(grep -c '<section' a.html)" -eq "$(grep -c '</section>' a.html)" ] || wrong "sections should be closed"
[ "$(grep -o '<div' a.html | wc -l)" -eq "$(grep -o '</div>' a.html | wc -l)" ] || wrong "divisions should be closed"
[ "$(grep -o '<details' a.html | wc -l)" -eq "$(grep -o '</details>' a.html | wc -l)" ] || wrong "folds should be closed"
out=$(cat c.html)
has '<html lang=zh-CN>'
has '数据报告'
has '无法读取的行'
has 'on a fine day'
lacks 'can not be read'

# Without a model: characters, and a word about it.
ok "$hone" data report config.yaml -o d.html --no-time --set model.name_or_path=nowhere
out=$(cat d.html)
has 'Characters of a row'
has 'nowhere'
lacks '<span class=tr>'

# Rules of quality find rows and show the place; scores come from the model; copies count.
qa "What is this 中文 about?" "The mail is zhang.wei@qq.com for you, write to it." ',"task":"mail"' >found.jsonl
qa "Say something quite different then" "I only say the word word word word word word word word word word word word word word word." >>found.jsonl
ok "$hone" data report config.yaml -o e.html --no-time --set data.train_data_path=found.jsonl \
    --set data.scores.compute='[perplexity, ifd, unscored]'
out=$(cat e.html)
has '<mark>zhang.wei@qq.com</mark>'
has 'Instruction-following difficulty (IFD)'
has 'perplexity'
ok "$hone" data show found.jsonl:1 config.yaml --set data.train_data_path=found.jsonl
has "finding    "
has "email"

refused 1 "none.jsonl: no such file" "$hone" data report config.yaml --set data.train_data_path=none.jsonl
refused 2 "is none of en|zh" "$hone" data report config.yaml --lang fr
refused 2 "an argument is missing" "$hone" data report
mkdir keep
refused 1 "keep" "$hone" data report config.yaml -o keep

# One row.
ok "$hone" data show 1 config.yaml
has "rows.jsonl:2, row 1"
has "fate       used"
has "task       colours"
has "⟦Blue.<|im_end|>⟧"
has "528:<|im_end|>⟧"
ok "$hone" data show rows.jsonl:7 config.yaml
has "⟦bye<|im_end|>⟧"
lacks "⟦hello"
has "×0.5"
ok "$hone" data show 3 config.yaml
has "fate       duplicate"
has "of "
ok "$hone" data show 2 config.yaml
has "fate       dropped"
has "broken JSON"
ok "$hone" data show 4 config.yaml
has "fate       contaminated"
ok "$hone" data show 5 config.yaml
has '\u202e'
has '\u001b[31m'
! grep -q $'\033' .out || wrong "no escape may reach the terminal"
ok "$hone" data show 1 config.yaml --json --scores
one_document
same used "$(value fate)" "the fate"
has '"weights":[0.0,'
has '"ids":[527,'
has '"label":"<b>sky</b>"'
tokens=$(value tokens)
same "$tokens" "$(grep -o '"ids":\[[^]]*' <<<"$out" | tr ',' '\n' | wc -l)" "the number of ids"
has '"scores":{"perplexity":'
has '"ifd":'
ok "$hone" data show 2 config.yaml --json
one_document
refused 1 "there is no row 7 among the 7 rows" "$hone" data show 7 config.yaml
refused 1 "there is no row rows.jsonl:9" "$hone" data show rows.jsonl:9 config.yaml
refused 2 "neither the number of a row nor FILE:LINE" "$hone" data show first config.yaml
finish
