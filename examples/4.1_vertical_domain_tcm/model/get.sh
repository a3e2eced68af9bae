#!/usr/bin/env bash
# Which base model? Prints its path and remembers it in output/model.txt for the other steps.
#   MODEL=PATH model/get.sh     that GGUF file or Hugging Face directory
#   model/get.sh                Qwen2.5-Coder-0.5B-Instruct; when it cannot be fetched, SmolLM2-135M-Instruct
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"

if [ -n "${MODEL:-}" ]; then
    [ -e "$MODEL" ] || die "MODEL=$MODEL 不存在"
    model=$(realpath "$MODEL")
elif model=$("$root/tools/get-model.sh" qwen2.5-coder-0.5b-instruct); then
    :
else
    say "┌──────────────────────────────────────────────────────────────────────────┐"
    say "│ 注意：取不到中文模型 Qwen2.5-Coder-0.5B，改用英文小模型 SmolLM2-135M。   │"
    say "│ 流程照常走完，但它几乎不懂中文：损失会下降，回答的内容不能看。           │"
    say "│ 也可以用 MODEL=路径 指定任何其他模型。                                   │"
    say "└──────────────────────────────────────────────────────────────────────────┘"
    model=$("$root/tools/get-model.sh" smollm2-135m-instruct) || die "两个模型都取不到，请用 MODEL=路径 指定一个"
fi
mkdir -p "$out"
echo "$model" >"$out/model.txt"
echo "$model"
