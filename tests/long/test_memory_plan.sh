#!/usr/bin/env bash
# The memory plan against the peak that the system saw, twenty configurations; tests/e2e/test_program_memory.sh runs them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec bash tests/e2e/test_program_memory.sh "${1:-build/release/hone}" all
