#!/usr/bin/env python3
"""Freezes losses and the gradients of every tensor of the tiny models in tests/golden/gradients, as transformers computes
them when the whole model trains.

    build/peers/bin/python tests/golden/make_full_golden.py

Reads each family's checkpoint and batch (made by make_gradient_golden.py, which must be run first) and writes
full.safetensors beside them: the losses, and of each gradient a sketch: the sums of its values under 16 fixed patterns
of signs. The norm of the difference of two sketches, divided by 4, estimates the norm of the difference of the gradients,
so a few bytes a tensor show an error as surely as the gradient itself. Element i has in pattern k the sign
+1 when bit k of splitmix64(i) is 0, else -1.
"""

import os

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import make_gradient_golden as golden

PATTERNS = 16


def signs(n):
    """[PATTERNS, n] of +-1"""
    z = np.arange(n, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.stack([1.0 - 2.0 * ((z >> np.uint64(k)) & np.uint64(1)).astype(np.float64) for k in range(PATTERNS)])


def sketch(t):
    v = t.detach().reshape(-1).double().numpy()
    return torch.tensor(signs(v.size) @ v, dtype=torch.float32)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for family in golden.FAMILIES:
        folder = os.path.join(here, "gradients", family)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        batch = load_file(os.path.join(folder, "expected.safetensors"))
        ids, off, target = (batch[k].tolist() for k in ("ids", "off", "target"))
        loss, grads = golden.reference(model, ids, off, target)
        out = {"loss": loss}
        out.update({name: sketch(g) for name, g in grads.items()})
        path = os.path.join(folder, "full.safetensors")
        save_file(out, path, metadata={"format": "pt"})
        os.chmod(path, 0o644)
        print(f"{family}: {len(grads)} tensors, mean loss {loss.mean():.4f}, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
