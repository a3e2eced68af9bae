#!/usr/bin/env python3
"""Freezes folders that transformers and bitsandbytes wrote quantised, with losses and gradients of an adapter on them.

    build/peers/bin/python tests/golden/make_bnb_golden.py

Writes tests/golden/gradients/<family>-<kind>/ as make_gradient_golden.py does: llama in NF4 with nested scales, phi3 in FP4
with plain ones, qwen2 in LLM.int8. The reference is the plain model in f32 with the values that bitsandbytes restores from
the file (not rounded to the 16 bits of the base); of LLM.int8 code SCB / 127, without the rounding of activations that its
kernels make. tests/peers/quant_parity.py imports this file.
"""
import os
import shutil
from unittest import mock

import bitsandbytes
import make_gradient_golden as golden
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

FROZEN = {"llama-nf4": dict(kind="nf4", nested=True), "phi3-fp4": dict(kind="fp4"), "qwen2-int8": dict(kind="int8")}


def quantise(plain, kind, nested=False, block=64, storage=torch.uint8, dtype=torch.bfloat16):
    """The folder of a model, opened quantised."""
    if kind == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=kind,
            bnb_4bit_use_double_quant=nested,
            bnb_4bit_quant_storage=storage,
            bnb_4bit_compute_dtype=dtype,
        )
    whole = bitsandbytes.functional.quantize_4bit

    def in_blocks(*args, **settings):
        return whole(*args, **{**settings, "blocksize": block})

    with mock.patch.object(bitsandbytes.functional, "quantize_4bit", in_blocks):
        return AutoModelForCausalLM.from_pretrained(plain, dtype=dtype, quantization_config=config, device_map="cpu")


def restore(model, folder):
    """Puts the values of a folder written so into a plain model. -> how many matrices were quantised"""
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    count = 0
    with torch.no_grad():
        for name, p in model.named_parameters():
            states = [k for k in tensors if k.startswith(name + ".quant_state.")]
            scales = name.removesuffix("weight") + "SCB"
            if states:
                parts = {k.removeprefix(name + "."): t for k, t in tensors.items() if k.startswith(name + ".")}
                state = bitsandbytes.functional.QuantState.from_dict(parts, torch.device("cpu"))
                state.dtype = torch.float32
                p.copy_(bitsandbytes.functional.dequantize_4bit(tensors[name].view(torch.uint8).view(-1, 1), state))
            elif scales in tensors:
                p.copy_(tensors[name].float() * (tensors[scales] / 127).unsqueeze(1))
            else:
                continue
            count += 1
    return count


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for k, (name, settings) in enumerate(FROZEN.items()):
        family = name.split("-")[0]
        folder = os.path.join(here, "gradients", name)
        shutil.rmtree(folder, ignore_errors=True)
        model = golden.make_model(family, 500 + k)
        golden.save_model(model, folder + ".plain")
        quantise(folder + ".plain", **settings).save_pretrained(folder)
        shutil.rmtree(folder + ".plain")
        assert restore(model, folder)
        peft = golden.make_adapter(model, 600 + k)
        golden.save_adapter(peft, os.path.join(folder, "adapter"))
        batch = golden.make_batch(700 + k, golden.COMMON["vocab_size"])
        loss, grads = golden.reference(peft, *batch)
        golden.save_expected(os.path.join(folder, "expected.safetensors"), batch, loss, grads)
        files = [os.path.join(d, f) for d, _, fs in os.walk(folder) for f in fs]
        for file in files:
            os.chmod(file, 0o644)
        print(f"{name}: mean loss {loss.mean():.4f}, {sum(os.path.getsize(f) for f in files)} bytes")


if __name__ == "__main__":
    main()
