#!/usr/bin/env bash
# tools/run_long.sh: what takes too long for every change. Each fuzz target of tests/fuzz (fuzz_NAME.c, libFuzzer) runs
# for HONE_FUZZ_SECONDS over its corpus tests/fuzz/corpus/NAME; then each tests/long/test_*.sh gets the release program.
# A crash leaves its input in build/fuzz/NAME/: add it to the corpus with the repair.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
seconds=${HONE_FUZZ_SECONDS:-600}

passed=0 failed=0 skipped=0
verdict() { # NAME EXIT-STATUS
    case $2 in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        failed=$((failed + 1))
        echo "-- $1 failed with $2"
        ;;
    esac
}

shopt -s nullglob
targets=(tests/fuzz/fuzz_*.c)
if [ ${#targets[@]} -gt 0 ]; then
    # The whole library once more, built by clang with the fuzzer's coverage counters.
    CC=clang cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=Debug -DHONE_SANITIZE=ON -DBUILD_TESTING=OFF \
        -DCMAKE_C_FLAGS="-O1 -g -fsanitize=fuzzer-no-link" >/dev/null &&
        cmake --build build/fuzz --parallel "${HONE_JOBS:-2}" --target hone_lib || exit 1
    for source in "${targets[@]}"; do
        name=$(basename "$source" .c)
        name=${name#fuzz_}
        work=build/fuzz/$name
        mkdir -p "$work/found"
        echo "== fuzz $name, $seconds s"
        # shellcheck disable=SC2046
        clang -std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined -Iinclude -Isrc -D_GNU_SOURCE "$source" \
            build/fuzz/libhone.a $(pkg-config --libs jansson yaml-0.1 libpcre2-8 libutf8proc zlib libzstd) -lcsv -lsnappy -lpthread -lm \
            -o "$work/fuzz" &&
            "$work/fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$work/" \
                -print_final_stats=1 "$work/found" $([ ! -d "tests/fuzz/corpus/$name" ] || echo "tests/fuzz/corpus/$name")
        verdict "fuzz $name" $?
    done
fi
soaks=(tests/long/test_*.sh)
if [ ${#soaks[@]} -gt 0 ]; then
    make --no-print-directory build || exit 1
    for file in "${soaks[@]}"; do
        echo "== $(basename "$file")"
        bash "$file" "$PWD/build/release/hone"
        verdict "$(basename "$file")" $?
    done
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
