#!/usr/bin/env bash
# tools/check_style.sh [--format]: what a compiler does not say. Exits 1 with file:line for every finding.
#
# C: calls with no bound or with hidden state, allocation beside the hook, a library that prints, exits or reads the
# environment, files past 1,200 lines. Everywhere: tabs, blanks at line ends, work left open, paths of one machine.
# --format adds clang-format's opinion (its version decides details, so `make test` does not ask for it).
set -euo pipefail
shopt -s lastpipe # the count of findings lives in this shell, at the end of each pipe
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! all=$(git ls-files --cached --others --exclude-standard 2>/dev/null); then
    all=$(find . -path ./build -prune -o -path ./models -prune -o -path ./.git -prune -o -type f -print | sed 's,^\./,,')
fi
list() { # PATTERN [NOT]: names of the files that are there
    local f

    while read -r f; do
        [[ ! $f =~ $1 ]] || [[ -n ${2:-} && $f =~ $2 ]] || [ ! -f "$f" ] || echo "$f"
    done <<<"$all"
}
faults=0
report() { # REASON, findings on stdin
    local line

    while read -r line; do
        printf '%s    <- %s\n' "$line" "$1"
        faults=$((faults + 1))
    done
}
# Lines of comments are left out: they may name a call to say why it is not used.
code() { # REGEX FILES...
    local regex=$1

    shift
    [ $# -eq 0 ] || grep -nHE "$regex" "$@" | grep -vE '^[^:]+:[0-9]+:[[:space:]]*(/?\*|//)' || true
}
text() { # REGEX FILES...
    local regex=$1

    shift
    [ $# -eq 0 ] || grep -nHIE "$regex" "$@" || true
}

mapfile -t c < <(list '\.[ch]$')
mapfile -t library < <(list '^src/.*\.[ch]$' '^src/cli/')
mapfile -t above_base < <(list '^src/.*\.[ch]$' '^src/(base|cli)/')
mapfile -t plain < <(list '(\.(c|h|in|sh|py|md|txt|yaml|yml|cmake|json)|CMakeLists\.txt|\.ci/run)$' '^(tests/golden/|docs/config\.md)')
mapfile -t source < <(list '\.(c|h|sh|py|cmake|yaml)$')
mapfile -t tabless < <(list '(\.(c|h|sh|py|yaml|cmake)|CMakeLists\.txt)$')

call='(^|[^A-Za-z0-9_.>])'
code "${call}(strcpy|strcat|sprintf|vsprintf|atoi|atol|atof|strtok|rand|srand|alloca|gets)[[:space:]]*\\(" "${c[@]}" |
    report "banned call"
code "${call}(malloc|calloc|realloc|strdup|strndup|asprintf|vasprintf)[[:space:]]*\\(" "${above_base[@]}" |
    report "allocate through base/base.h"
code "${call}(exit|_exit|abort|getenv|secure_getenv|printf|vprintf|puts|putchar|perror)[[:space:]]*\\(" "${library[@]}" |
    report "the library never exits, prints or reads the environment"
code 'fprintf[[:space:]]*\([[:space:]]*(stderr|stdout)' "${library[@]}" | report "the library never prints"
text $'\t' "${tabless[@]}" | report "tab"
text '[[:blank:]]$' "${plain[@]}" | report "blank at the end of the line"
text '\b(TOD[O]|FIXM[E]|XX[X])\b' "${source[@]}" | report "work left open: file an issue"
text '(^|[^A-Za-z0-9_.])/(work|root|home/[a-z])/' "${plain[@]}" | report "path of one machine"
for f in "${c[@]}"; do
    n=$(wc -l <"$f")
    [ "$n" -le 1200 ] || echo "$f:$n: $n lines"
done | report "split files past 1,200 lines"
for f in $(list "^(tools|examples)/.*[.]sh$") .ci/run; do
    [ ! -f "$f" ] || [ -x "$f" ] || [ "$(head -c 2 "$f")" != '#!' ] || echo "$f:1:"
done | report "not executable"
if [ "${1:-}" = --format ]; then
    clang-format --dry-run "${c[@]}" 2>&1 | grep -E '^[^ ]+:[0-9]+:[0-9]+: ' | report "clang-format" || true
fi

if [ "$faults" -gt 0 ]; then
    echo "check_style: $faults findings"
    exit 1
fi
echo "check_style: ${#c[@]} C files and the rest of the tree are clean"
