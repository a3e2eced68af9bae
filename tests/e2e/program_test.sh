# shellcheck shell=bash disable=SC2034
# Sourced by the test_program_*.sh tests: runs the program, holds exit codes and messages to the contract.
#
#   ok CMD...                exit code 0; stdout in $out, stderr in $err
#   refused CODE TEXT CMD... exit code CODE, nothing on stdout, one line "hone: ..." on stderr that contains TEXT (notes
#                            aside; a wrong command line, code 2, may add the option's help)
#   has TEXT, lacks TEXT     about $out;  err_has TEXT about $err
hone=$(realpath -e "$1") || exit 1
golden=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../golden")
model=$golden/tiny_chat
gguf=$golden/tiny_chat.gguf
adapter=$golden/tiny_chat_adapter
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
failures=0
checks=0
out='' err='' code=0

run() {
    "$@" >"$tmp/.out" 2>"$tmp/.err"
    code=$?
    out=$(tr -d '\0' <"$tmp/.out")
    err=$(tr -d '\0' <"$tmp/.err")
}

wrong() {
    failures=$((failures + 1))
    [ $failures -le 10 ] || return
    echo "FAILED: $1"
    echo "  command: $last"
    echo "  exit code: $code"
    printf '  stdout: %.300s\n  stderr: %.300s\n' "$out" "$err"
}

ok() {
    last="$*"
    checks=$((checks + 1))
    run "$@"
    [ "$code" -eq 0 ] || wrong "should succeed"
}

refused() {
    local want=$1 text=$2 lines
    shift 2
    last="$*"
    checks=$((checks + 1))
    run "$@"
    [ "$code" -eq "$want" ] || wrong "should end with exit code $want"
    [ -z "$out" ] || wrong "should print nothing on stdout"
    lines=$(grep -c '^hone: ' <<<"$err")
    [ "$lines" -eq 1 ] || wrong "should print one line 'hone: ...'"
    if [ "$want" -eq 1 ] && grep -vqE '^(hone|note|warning): ' <<<"$err"; then
        wrong "should print nothing but its one line"
    fi
    grep '^hone: ' <<<"$err" | grep -qF -- "$text" || wrong "the message should contain: $text"
}

has() {
    checks=$((checks + 1))
    grep -qF -- "$1" <<<"$out" || wrong "stdout should contain: $1"
}

lacks() {
    checks=$((checks + 1))
    ! grep -qF -- "$1" <<<"$out" || wrong "stdout should not contain: $1"
}

err_has() {
    checks=$((checks + 1))
    grep -qF -- "$1" <<<"$err" || wrong "stderr should contain: $1"
}

same() {
    checks=$((checks + 1))
    [ "$1" = "$2" ] || wrong "$3 should be the same: '$1' and '$2'"
}

# The value of a scalar key in the JSON of $out.
value() {
    grep -o "\"$1\":[^,}]*" <<<"$out" | head -n 1 | cut -d: -f2 | tr -d '"'
}

one_document() {
    checks=$((checks + 1))
    [ "$(wc -l <"$tmp/.out")" -eq 1 ] && [ "${out:0:1}" = "{" ] && [ "${out: -1}" = "}" ] ||
        wrong "stdout should be one JSON document on one line"
}

finish() {
    echo "$checks checks, $failures failed"
    [ "$failures" -eq 0 ]
    exit $?
}
