"""Makes a Hugging Face directory (f32 safetensors, tokenizer, chat template) from a GGUF file with transformers' own
GGUF reader, so that the peers load what hone maps.   usage: hf_from_gguf.py MODEL.gguf OUT_DIR"""
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(gguf, out):
    """Converts unless OUT is complete already; returns OUT."""
    if os.path.exists(os.path.join(out, "DONE")):
        return out
    folder, name = os.path.split(os.path.abspath(gguf))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32,
                                                 quantization_config=GgufConfig(dequantize=True))
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)
    open(os.path.join(out, "DONE"), "w").close()
    return out


if __name__ == "__main__":
    convert(sys.argv[1], sys.argv[2])
