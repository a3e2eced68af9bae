#!/usr/bin/env bash
# The library and its unit tests on 64-bit ARM: built by Debian's cross compiler, run under qemu-user. Plain C kernels.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tools/setup.sh build aarch64
cmake --preset aarch64 >/dev/null
cmake --build --preset aarch64 --parallel "${HONE_JOBS:-2}"
ctest --test-dir build/aarch64 --label-regex unit --output-on-failure --no-tests=error --parallel "${HONE_JOBS:-2}"
