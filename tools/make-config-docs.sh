#!/bin/sh
# Writes the references that the program itself knows: docs/config.md from its table of keys, and the options in
# docs/cli.md from its help (what stands above the marker line there is kept).
# Usage: tools/make-config-docs.sh [PROGRAM [FOLDER]]      FOLDER: where to write instead of docs/
set -eu
program=$(realpath "${1:-build/release/hone}")
docs=$(dirname "$0")/../docs
out=${2:-$docs}
marker='<!-- From here on made by tools/make-config-docs.sh'

"$program" train --help-config >"$out/config.md.new"
sed "\,^$marker,q" "$docs/cli.md" >"$out/cli.md.new"
for command in train plan report verify eval generate chat tokenize inspect bench; do
    printf '\n## hone %s\n\n```\n' $command
    "$program" help $command | sed '/^Common options/,$d' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
    printf '```\n'
done >>"$out/cli.md.new"
for command in check prepare report show rules; do
    printf '\n## hone data %s\n\n```\n' $command
    "$program" data $command --help | sed '/^Common options/,$d' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
    printf '```\n'
done >>"$out/cli.md.new"
printf '\n## hone export merge\n\n```\n' >>"$out/cli.md.new"
"$program" export merge --help | sed '/^Common options/,$d' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' >>"$out/cli.md.new"
printf '```\n' >>"$out/cli.md.new"
{
    printf '\n## Options of every command\n\n```\n'
    "$program" help train | sed '1,/^Common options/d'
    printf '```\n'
} >>"$out/cli.md.new"
mv "$out/config.md.new" "$out/config.md"
mv "$out/cli.md.new" "$out/cli.md"
