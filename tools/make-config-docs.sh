#!/bin/sh
# Writes docs/config.md, the reference of all configuration keys, from the program's own table of keys.
# Usage: tools/make-config-docs.sh [PROGRAM]
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/release/hone}
"$program" train --help-config > docs/config.md.new
mv docs/config.md.new docs/config.md
