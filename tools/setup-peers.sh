#!/usr/bin/env bash
# tools/setup-peers.sh [DIR]: a Python environment with the programs that hone is measured against (build/peers).
# About 6 GB and ten minutes, since llama.cpp is built from source. Versions are pinned, so that a figure can be
# repeated; raise one only together with the row of docs/measurements.md that it changes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${1:-$root/build/peers}
pinned=(
    torch==2.15.0 transformers==5.23.0 peft==0.21.2 trl==1.16.0 datasets==5.2.0 accelerate==1.15.0
    tokenizers==0.23.3 safetensors==0.8.0 gguf==0.19.0 Jinja2==3.1.6 numpy==2.4.6 bitsandbytes==0.50.2
    openai==3.54.0 llama_cpp_python==0.3.36 sentencepiece==0.2.3 tiktoken==0.14.0
    tensorboard==2.21.0 opencc_python_reimplemented==0.1.7 zhon==2.1.1 python_stdnum==2.2 py3langid==0.4.0 ftfy==6.3.1
    datasketch==2.0.0
)

have=
if [ -x "$dir/bin/python" ]; then
    have=$("$dir/bin/python" -m pip --disable-pip-version-check list --format=freeze | tr 'A-Z-' 'a-z_')
fi
lacking=()
for p in "${pinned[@]}"; do
    grep -qxF "$(printf %s "$p" | tr 'A-Z-' 'a-z_')" <<<"$have" || lacking+=("$p")
done
if [ ${#lacking[@]} -eq 0 ]; then
    exit 0
fi
"$root/tools/setup.sh" build peers
[ -x "$dir/bin/python" ] || python3 -m venv "$dir"
echo "setup-peers: installing ${lacking[*]}" >&2
"$dir/bin/python" -m pip --disable-pip-version-check install --quiet "${lacking[@]}" >&2
