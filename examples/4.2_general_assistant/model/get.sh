#!/usr/bin/env bash
# Which base model? Prints its path and remembers it in output/model.txt for the other steps.
#   MODEL=PATH model/get.sh     that GGUF file or Hugging Face directory
#   model/get.sh                Qwen2.5-Coder-0.5B-Instruct; when it cannot be fetched, SmolLM2-135M-Instruct
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../common.sh
. "$here/../common.sh"
get_model
