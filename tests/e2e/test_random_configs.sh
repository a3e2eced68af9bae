#!/usr/bin/env bash
# Twelve configurations drawn at random from every key run or are refused with a reason; tests/long has two hundred.
exec bash "$(dirname "${BASH_SOURCE[0]}")/../support/random_configs.sh" "$1" 12 21
