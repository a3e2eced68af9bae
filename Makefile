# A thin front for CMake (CMakePresets.json) and the scripts in tools/. `make` alone prints the targets.
SHELL := /bin/bash
HONE_JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
export HONE_JOBS

BUILD = cmake --build --parallel $(HONE_JOBS) --preset
CTEST = ctest --output-on-failure --no-tests=error --parallel $(HONE_JOBS)

.PHONY: help
help:
	@echo "make build         build/release/hone, the program, and the library beside it"
	@echo "make demo          example 4.1 from nothing to a chat: fetch a model, train, compare (about 600 MB of files)"
	@echo "make test          checks, the whole test suite under ASan and UBSan, and the end-to-end tests on the release"
	@echo "make test-peers    live comparisons with transformers, PEFT and llama.cpp (installs 6 GB of Python packages)"
	@echo "make test-long     fuzzers and soak, ten minutes each (HONE_FUZZ_SECONDS=600)"
	@echo "make bench         the speed of a training step and the machine's measured peak"
	@echo "make install       into PREFIX=$(PREFIX) (DESTDIR works too)"
	@echo "make format        lay out the C sources with clang-format"
	@echo "make lint          warnings of clang as errors, clang-format, shellcheck"
	@echo "make clean         remove the build folders (the peers' environment and the models stay)"
	@echo
	@echo "HONE_JOBS=$(HONE_JOBS) is the number of parallel jobs. What is missing is installed with apt (root or sudo)."

.PHONY: build
build:
	@tools/setup.sh build
	@cmake --preset release >/dev/null
	@$(BUILD) release --target hone hone_lib

.PHONY: demo
demo: build
	@tools/setup.sh fetch
	@examples/4.1_vertical_domain_tcm/run_full_pipeline.sh

.PHONY: test
test: build
	@tools/check_layers.sh
	@tools/check_style.sh
	@cmake --preset dev >/dev/null
	@$(BUILD) dev
	@echo "== the release: end-to-end tests"
	@$(CTEST) --test-dir build/release --label-regex e2e
	@echo "== ASan and UBSan: every test"
	@$(CTEST) --test-dir build/dev

.PHONY: test-peers
test-peers: build
	@tools/setup-peers.sh
	@tools/setup.sh fetch
	@tools/get-model.sh smollm2-135m-instruct
	@tools/get-model.sh qwen2.5-coder-0.5b-instruct
	@tools/run_peers.sh build/release/hone

.PHONY: test-long
test-long:
	@tools/setup.sh build lint
	@tools/run_long.sh

.PHONY: bench
bench: build
	@build/release/hone bench step --shape smol
	@build/release/hone bench step --shape qwen

.PHONY: install
install: build
	@cmake --preset release -DCMAKE_INSTALL_PREFIX="$(abspath $(PREFIX))" >/dev/null
	@cmake --install build/release

.PHONY: format
format:
	@tools/setup.sh lint
	@find src include tests bench -name '*.[ch]' -print0 | xargs -0 clang-format -i

.PHONY: lint
lint:
	@tools/setup.sh build lint
	@tools/check_layers.sh
	@tools/check_style.sh --format
	@shellcheck -x -P SCRIPTDIR -S warning $$(git ls-files '*.sh') .ci/run
	@cmake --preset clang >/dev/null
	@$(BUILD) clang

.PHONY: clean
clean:
	@rm -rf build/release build/dev build/clang build/tsan build/fuzz
