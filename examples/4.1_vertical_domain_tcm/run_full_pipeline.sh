#!/usr/bin/env bash
# The whole example without a question asked: model, data, training, evaluation, answers, report. Each step also runs
# alone. MODEL=PATH uses another base model; OUT=DIR another folder for what is written.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$here/../common.sh"
need_hone
begin=$SECONDS

step() { printf '\n== %s\n' "$*"; }
step "1/5 模型 model/get.sh"
"$here/model/get.sh"
step "2/5 数据 data/prepare.sh"
"$here/data/prepare.sh"
step "3/5 训练 training/train.sh"
"$here/training/train.sh"
step "4/5 评估 inference/eval.sh"
missed=0
"$here/inference/eval.sh" || missed=$?
[ "$missed" -eq 0 ] || [ "$missed" -eq 3 ] || exit "$missed"
step "5/5 回答对比 inference/compare.sh"
"$here/inference/compare.sh"

printf '\n用时 %d 分 %d 秒\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60))
echo "报告：$out/report.html"
echo "对话：$here/inference/chat.sh"
echo "以上内容仅供学习，不是医疗建议，不能代替执业医师面诊。"
