#!/usr/bin/env bash
# The program in README.md compiles against an installed hone, as a user would do it, and runs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(dirname "$(realpath "$1")")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cmake --install "$build" --prefix "$tmp/usr" >/dev/null
"$tmp/usr/bin/hone" --version
awk '/^```/ { inside = $0 == "```c"; next } inside' "$root/README.md" >"$tmp/answer.c"
flags=(-Wall -Wextra -Werror)
if grep -qa __asan_init "$build/libhone.a"; then # no pipe: with pipefail an early end of grep would look like a failure
    flags+=(-fsanitize=address -fsanitize=undefined)
fi
pc=$(find "$tmp/usr" -name hone.pc)
read -ra hone < <(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --define-variable=prefix="$tmp/usr" --cflags --libs --static hone)
"${CC:-cc}" "${flags[@]}" "$tmp/answer.c" "${hone[@]}" -o "$tmp/answer"
rc=0
"$tmp/answer" "$tmp/absent.gguf" 2>"$tmp/err" || rc=$?
cat "$tmp/err"
[ $rc -eq 1 ]
grep -q absent.gguf "$tmp/err"
