#!/usr/bin/env bash
# The whole example without a question asked: model, data, training, evaluation, answers, report. Each step also runs
# alone. MODEL=PATH uses another base model; OUT=DIR another folder for what is written.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../common.sh
. "$here/../common.sh"
pipeline
echo "以上内容仅供学习，不是医疗建议，不能代替执业医师面诊。"
