# Sourced by the scripts of every example: where things are, and what several steps need. Messages are in Chinese, as
# the examples are. The caller sets `here`, the folder of the example.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
# The texts are UTF-8 whatever the terminal's locale is; grep and awk must know.
[ "$(locale charmap 2>/dev/null)" = UTF-8 ] || export LC_ALL=C.UTF-8
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HONE=${HONE:-$root/build/release/hone}
out=${OUT:-$here/output} # everything that the steps write
adapter=$out/adapter

say() { echo "$*" >&2; }
die() {
    say "错误：$*"
    exit 1
}

need_hone() { [ -x "$HONE" ] || die "没有找到 $HONE，请先在项目根目录运行 make build"; }

# need_model: sets `model`. MODEL wins; else the one that model/get.sh chose before; else it chooses now.
need_model() {
    model=${MODEL:-}
    if [ -z "$model" ] && [ -s "$out/model.txt" ]; then
        model=$(cat "$out/model.txt")
    fi
    if [ -z "$model" ] || [ ! -e "$model" ]; then
        model=$("$here/model/get.sh")
    fi
}

need_adapter() { [ -s "$adapter/adapter_model.safetensors" ] || die "还没有适配器，请先运行 training/train.sh"; }

# json_string: stdin as one JSON string. A last newline is dropped.
json_string() {
    awk 'BEGIN { printf "\"" }
         NR > 1 { printf "\\n" }
         { gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); gsub(/\t/, "\\t"); gsub(/[\001-\037]/, " "); printf "%s", $0 }
         END { printf "\"" }'
}

# For awk programs over lines of JSON that hone wrote: number("loss") is that field of the line, "" when it is absent.
awk_number='function number(name) {
    return match($0, "\"" name "\": *[-+0-9.eE]+") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) + 0 : ""
}'

html() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }
