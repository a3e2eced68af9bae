"""tests/golden/quantise.safetensors: what bitsandbytes 0.50 makes of matrices of bf16 and f32 values.

For each of nf4 (nested scales; more than 256 blocks, a last one that is short) and fp4 (plain scales): `.weight`, `.codes`,
`.absmax`, of nested ones `.nested_absmax` and `.offset`, and `.restored`, the first 1,024 values in f32.

usage: make_quantise_golden.py"""
import os

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import save_file


def main():
    out = {}
    for kind, nested, shape, dtype in (("nf4", True, (33, 498), torch.bfloat16), ("fp4", False, (12, 320), torch.float32)):
        g = torch.Generator().manual_seed(len(out))
        w = (torch.randn(shape, generator=g) * 0.04).to(dtype)
        codes, state = bnb.quantize_4bit(w, blocksize=64, quant_type=kind, compress_statistics=nested)
        state.dtype = torch.float32  # restored without rounding to 16 bits
        out[kind + ".weight"] = w
        out[kind + ".codes"] = codes.flatten()
        out[kind + ".absmax"] = state.absmax
        out[kind + ".restored"] = bnb.dequantize_4bit(codes, state).flatten()[:1024].clone()
        if nested:
            out[kind + ".nested_absmax"] = state.state2.absmax
            out[kind + ".offset"] = state.offset.reshape(1)
    save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "quantise.safetensors"))


if __name__ == "__main__":
    main()
