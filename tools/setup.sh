#!/usr/bin/env bash
# tools/setup.sh [build] [fetch] [lint] [peers] [aarch64]: installs what the named purposes need and this machine lacks.
#
# It looks for the tools and libraries themselves, so a machine that has them by any way is left alone and nothing is
# asked of a package registry. What is missing is installed with apt, as root or through sudo, without a question.
set -euo pipefail
[ $# -gt 0 ] || set -- build fetch

missing=()
need() { # PACKAGE TEST...
    local package=$1

    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
command_there() { command -v "$1"; }
library() { command -v pkg-config && pkg-config --exists "$1"; }
header() { printf '#include <stddef.h>\n#include <%s>\n' "$1" | "${CC:-cc}" -E -x c -; }
c_headers() { printf '#include <stdio.h>\n' | "${CC:-cc}" -E -x c -; }
pip_there() { python3 -m pip --version || /usr/bin/python3 -m pip --version; }
venv_there() { python3 -c 'import venv, ensurepip'; }
arm64_there() { dpkg-query -W -f='${Status}' "$1:arm64" | grep -q 'ok installed'; }
c_plus_plus() { command -v c++; }

for purpose in "$@"; do
    case $purpose in
    build)
        need gcc command_there "${CC:-cc}"
        need libc6-dev c_headers
        need cmake command_there cmake
        need ninja-build command_there ninja
        need pkg-config command_there pkg-config
        need libjansson-dev library jansson
        need libyaml-dev library yaml-0.1
        need libpcre2-dev library libpcre2-8
        need libutf8proc-dev library libutf8proc
        need libedit-dev library libedit
        need zlib1g-dev library zlib
        need libzstd-dev library libzstd
        need libcsv-dev header csv.h
        need libsnappy-dev header snappy-c.h
        need libcmocka-dev library cmocka
        ;;
    fetch)
        need python3-pip pip_there
        need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
        ;;
    lint)
        need clang command_there clang
        need clang-format command_there clang-format
        need shellcheck command_there shellcheck
        ;;
    aarch64)
        for package in jansson yaml pcre2 utf8proc edit csv snappy cmocka zstd; do
            need "lib$package-dev:arm64" arm64_there "lib$package-dev"
        done
        need zlib1g-dev:arm64 arm64_there zlib1g-dev
        need gcc-aarch64-linux-gnu command_there aarch64-linux-gnu-gcc
        need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdio.h
        need qemu-user command_there qemu-aarch64
        ;;
    peers)
        need python3-venv venv_there
        need g++ c_plus_plus
        ;;
    *)
        echo "setup: unknown purpose '$purpose' (build, fetch, lint, peers, aarch64)" >&2
        exit 2
        ;;
    esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

fail() {
    printf 'setup: %s\n       missing here (names of Debian packages): %s\n' "$1" "${missing[*]}" >&2
    exit 1
}
command -v apt-get >/dev/null || fail "no apt-get on this system: install these with its own package manager"
as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "not root and no sudo: ask an administrator to install these"
    as_root=(sudo -n)
    # With a terminal sudo may ask for its password; without one it must not wait for it.
    [ ! -t 0 ] || as_root=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
if [[ " ${missing[*]} " == *:arm64* ]] && ! dpkg --print-foreign-architectures | grep -qx arm64; then
    "${as_root[@]}" dpkg --add-architecture arm64
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null >&2
}
if ! apt install -y --no-install-recommends "${missing[@]}" 2>/dev/null; then
    # The package lists are absent or too old.
    apt update || fail "apt-get update failed"
    apt install -y --no-install-recommends "${missing[@]}" || fail "apt-get could not install them"
fi
