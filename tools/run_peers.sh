#!/usr/bin/env bash
# tools/run_peers.sh HONE [NAME...]: runs the live comparisons of tests/peers with the peers' Python environment.
#
# test_*.sh, test_*.py, check_*.py and *_parity.py are comparisons: each gets `--hone PATH`, prints its figure, and exits 0
# (agrees), 77 (cannot run here, reason printed) or otherwise (disagrees). With names, only those files run.
set -uo pipefail
hone=$(realpath "$1")
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
python=${HONE_PEERS:-build/peers}/bin/python
# Programs over the inner layers that some comparisons drive.
cmake --build "$(dirname "$hone")" --parallel "${HONE_JOBS:-2}" --target hone_drivers >/dev/null || exit 1

shopt -s nullglob
passed=0 failed=0 skipped=0
for file in tests/peers/{test_,check_}*.{sh,py} tests/peers/*_parity.py; do
    name=$(basename "$file")
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    echo "== $name"
    case $file in
    *.py) "$python" "$file" --hone "$hone" ;;
    *) PEERS_PYTHON=$python bash "$file" --hone "$hone" ;;
    esac
    rc=$?
    case $rc in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        failed=$((failed + 1))
        echo "-- $name failed with $rc"
        ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
