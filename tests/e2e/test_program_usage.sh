#!/usr/bin/env bash
# The command line: help, versions, mistakes and their exit codes.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

ok "$hone" --version
has "hone "
ok "$hone" help
has "usage: hone COMMAND"
ok "$hone" --help
commands=$out
for command in train plan verify eval generate chat tokenize inspect bench; do
    out=$commands
    has "  $command "
    ok "$hone" $command --help
    has "usage: hone $command"
    has "--threads N"
    first=$out
    ok "$hone" help $command
    same "$first" "$out" "the two ways to ask for the help of $command"
    ok "$hone" $command -h
done
for command in check prepare; do
    ok "$hone" data $command --help
    has "usage: hone data $command"
    has "--threads N"
done
ok "$hone" help data
has "usage: hone data check"
run "$hone" data
[ $code -eq 2 ] || wrong "data without a command: exit code 2"
run "$hone"
[ $code -eq 2 ] || wrong "without a command: exit code 2"

refused 2 "did you mean 'generate'" "$hone" genrate
refused 2 "unknown command 'zzzzzzzz'" "$hone" zzzzzzzz
refused 2 "did you mean --max-new-tokens?" "$hone" generate --max-new-token 5
refused 2 "unknown option --qqqqqqqqqq" "$hone" chat --qqqqqqqqqq
refused 2 "--top-p: 1.5 is outside 0 to 1" "$hone" generate --top-p 1.5
err_has "smallest set of best tokens"
refused 2 "'abc' is not a number" "$hone" generate --temperature abc
refused 2 "is not a whole number" "$hone" generate --top-k 1.5
refused 2 "--seed needs a value" "$hone" generate --seed
refused 2 "'f17' is none of auto|f32|bf16" "$hone" eval --precision f17
refused 2 "--json takes no value" "$hone" inspect --json=1 x
refused 2 "one argument too many" "$hone" inspect a b
refused 2 "an argument is missing" "$hone" inspect
refused 2 "--model is missing" "$hone" generate --prompt x
refused 2 "give one of --prompt" "$hone" generate --model "$model"
refused 2 "give one of --prompt" "$hone" generate --model "$model" --prompt a --messages b
refused 2 "--data is missing" "$hone" eval --model "$model"
refused 2 "--model is missing" "$hone" tokenize
refused 2 "--model is missing" "$hone" chat
refused 2 "configuration file is missing" "$hone" train
refused 2 "give either --model or --shape" "$hone" bench step
refused 2 "there is no bench 'stop'" "$hone" bench stop --shape smol
refused 2 "'avx3' is none of" "$hone" chat --isa avx3

# what cannot be written is an error
if [ -w /dev/full ]; then
    "$hone" help >/dev/full 2>.err
    code=$?
    err=$(cat .err)
    last="hone help > /dev/full"
    [ $code -eq 1 ] || wrong "a full disk should end with exit code 1"
    err_has "the output can not be written"
fi

# the references are the program's own
mkdir docs
ok sh "$golden/../../tools/make-config-docs.sh" "$hone" docs
for file in cli.md config.md; do
    cmp -s docs/$file "$golden/../../docs/$file" || wrong "docs/$file is out of date, run tools/make-config-docs.sh"
done
finish
