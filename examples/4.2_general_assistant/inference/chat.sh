#!/usr/bin/env bash
# Talk to the tuned assistant. /base and /tuned switch the adapter off and on, /clear forgets, /quit ends.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
need_hone
need_adapter
need_model

notice=$(
    echo "通用助手（教学示例）。回答由小模型生成，会有错误。"
    echo "可以这样开头："
    grep -v '^#' "$here/data/cases.txt" | sed 's/^/  · /'
    echo "命令：/base 换成基座，/tuned 换回微调后的模型，/system 设系统提示，/clear 重新开始，/quit 结束。"
)
exec "$HONE" chat --model "$model" --adapter "$adapter" --notice "$notice" "$@"
