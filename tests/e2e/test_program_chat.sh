#!/usr/bin/env bash
# hone chat from a pipe: answers on stdout, one a message; commands; history.
. "$(dirname "${BASH_SOURCE[0]}")/program_test.sh"

chat() { # INPUT ARGS...: one line of input per line of INPUT
    local input=$1
    shift
    last="chat $* <<< $(tr '\n' ' ' <<<"$input")"
    checks=$((checks + 1))
    run "$hone" chat --model "$model" --temperature 0 --max-new-tokens 6 --precision f32 "$@" < <(printf '%s' "$input")
    [ $code -eq 0 ] || wrong "should succeed"
}

answer() { # the answer that a conversation has on its own
    "$hone" generate --model "$model" --temperature 0 --max-new-tokens 6 --precision f32 --quiet "$@"
}

hello=$(answer --prompt hello)
tuned=$(answer --prompt hello --adapter "$adapter")
system=$(answer --prompt hello --system "you are a helpful assistant")
[ "$hello" != "$tuned" ] || { last=generate; wrong "base and tuned should differ"; }

chat $'hello\n'
same "$hello" "$out" "the answer in a chat and alone"
chat $'hello' # no newline at the end
same "$hello" "$out" "the answer to a last line without newline"
chat $'hello\n/clear\nhello\n'
same "$hello"$'\n'"$hello" "$out" "answers before and after /clear"
err_has "forgotten"
chat $'hello\n/base\n/clear\nhello\n/tuned\n/clear\nhello\n/quit\nhello\n' --adapter "$adapter"
same "$tuned"$'\n'"$hello"$'\n'"$tuned" "$out" "answers of tuned, base, tuned"
err_has "the base model answers"
err_has "the tuned model answers"
chat $'/system you are a helpful assistant\nhello\n/system\nhello\n'
same "$system"$'\n'"$hello" "$out" "answers with and without system message"
chat $'hello\n' --system "you are a helpful assistant"
same "$system" "$out" "the answer with --system"
echo "you are a helpful assistant" >system.txt
chat $'hello\n' --system-file system.txt
same "$system" "$out" "the answer with --system-file"

# history: the second answer is that of the whole conversation
printf '[{"role":"user","content":"hello"},{"role":"assistant","content":"%s"},{"role":"user","content":"what is it"}]' \
    "$(sed 's/\\/\\\\/g; s/"/\\"/g' <<<"$hello" | sed ':a;N;$!ba;s/\n/\\n/g')" >two.json
second=$(answer --messages two.json)
chat $'hello\nwhat is it\n'
same "$hello"$'\n'"$second" "$out" "a second turn and the whole conversation"

chat $'\n  \n/help\n/cler\n/tuned\nhello\n'
same "$hello" "$out" "an answer after empty lines and wrong commands"
err_has "/system TEXT"
err_has "did you mean /clear"
err_has "there is no adapter"
chat '' --notice "This is no medical advice." --quiet
same "" "$out" "no message and no answer"
err_has "This is no medical advice."

# a conversation longer than the session: the oldest exchanges go
chat $'the quick brown fox\nthe lazy dog\nthe answer\nthis question\nthank you\n' --context 48
same 0 "$code" "exit code of a long conversation"
err_has "oldest exchange is dropped"

run "$hone" chat --model "$model" --context 8 < <(echo "the quick brown fox jumps over the lazy dog")
last="chat --context 8"
[ $code -eq 1 ] || wrong "a message that can not fit should be an error"
err_has "hone: the prompt has"

refused 1 "nosuch" "$hone" chat --model nosuch

# on a terminal: line editing, Ctrl-C at the prompt drops the line, Ctrl-C in an answer ends it, the program goes on
shown() { # TEXT: until the terminal shows it
    checks=$((checks + 1))
    for _ in $(seq 300); do
        grep -qF -- "$1" typescript 2>/dev/null && return
        sleep 0.1
    done
    out=$(cat -v typescript 2>&1) wrong "the terminal should show: $1"
}
if script -qec true /dev/null >/dev/null 2>&1; then # it needs a pseudo-terminal to give
    last="chat on a terminal"
    mkfifo keys
    script -qfec "$hone chat --model $model --temperature 0 --precision f32 --max-new-tokens 400 --context 512" typescript \
        <keys >/dev/null 2>&1 &
    pid=$!
    exec 3>keys
    shown "/help lists the commands"
    shown "> "
    printf 'never sent\003' >&3
    sleep 0.5
    printf '/hepl\n' >&3
    shown "did you mean /help"
    printf 'hello \344\275\240\345\245\275\n' >&3
    shown "hello 你好"
    sleep 0.3
    printf '\003' >&3
    sleep 0.5
    printf '/clear\n' >&3
    shown "the conversation is forgotten"
    printf '/quit\n' >&3
    wait $pid
    code=$?
    exec 3>&-
    [ $code -eq 0 ] || wrong "/quit should end with exit code 0"
fi
finish
