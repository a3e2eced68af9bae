#!/usr/bin/env bash
# Two hundred configurations drawn at random from every key, on the release and with ASan and UBSan.
# test_random_configs.sh HONE [SEED]
set -uo pipefail
hone=$(realpath -e "$1") || exit 1
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
cmake --preset dev >/dev/null && cmake --build --parallel "${HONE_JOBS:-2}" --preset dev --target hone >/dev/null || exit 1
rc=0
for program in "$hone" build/dev/hone; do
    echo "$program"
    bash tests/support/random_configs.sh "$program" 200 "${2:-1}" || rc=1
done
exit $rc
