#!/usr/bin/env python3
"""Freezes steps of PyTorch's AdamW and SGD, transformers' Adafactor and bitsandbytes' 8-bit AdamW.

    build/peers/bin/python tests/golden/make_optimizer_golden.py

Writes tests/golden/optimizers.safetensors: for every case the tensors "w" [12, 20] and "b" [7] after each of 6 steps,
"<case>.<tensor>" [6, ...]. For the 8-bit AdamW one tensor [16, 256]: "adamw8" after 6 steps, written out here with exact
nearest codes, and one step of bitsandbytes from bitsandbytes' own states: "bnb.before", "bnb.m", "bnb.v" (codes), "bnb.m_max",
"bnb.v_max" after 5 steps, "bnb.after" after the sixth. (On a CPU its codes are one or two off near midpoints, up to five
near zero, so that its way and the exact one part slowly; from the same states the steps are the same.) And the dynamic
maps. Values and gradients are made by a formula that the test has too (make()), learning rates are those of a schedule that
falls. Steps are large, so that the rounding of the values is small beside them.
"""

import os

import bitsandbytes as bnb
import bitsandbytes.functional as F
import numpy as np
import torch
from safetensors.torch import save_file
from transformers.optimization import Adafactor

STEPS = 6
SHAPES = {"w": (12, 20), "b": (7,)}
LARGE = (16, 256)  # smaller tensors keep their moments in f32


def make(shape, t):
    """Values at t = 0, gradients of step t: over two decades, of both signs."""
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    v = np.sin(0.37 * i + 1.3 * t) * 10.0 ** ((i * 7 % 13) / 8 - 1)
    return torch.tensor(v.astype(np.float32)).reshape(shape)


def rate(t):
    return 0.2 / t


def run(make_optimizer, decay, shapes=SHAPES):
    params = {k: torch.nn.Parameter(make(s, 0)) for k, s in shapes.items()}
    groups = [{"params": [params["w"]], "weight_decay": decay}]
    if "b" in shapes:
        groups.append({"params": [params["b"]], "weight_decay": 0.0})
    optimizer = make_optimizer(groups)
    out = {k: [] for k in shapes}
    for t in range(1, STEPS + 1):
        for g in optimizer.param_groups:
            g["lr"] = rate(t)
        for k, p in params.items():
            p.grad = make(tuple(p.shape), t)
        optimizer.step()
        for k, p in params.items():
            out[k].append(p.detach().clone())
    return {k: torch.stack(v) for k, v in out.items()}


def exact_codes(m, v):
    """-> codes of the first moments [blocks, n], their largest magnitudes [blocks, 1], and the same of the second ones."""
    signed, unsigned = F.create_dynamic_map(True).numpy(), F.create_dynamic_map(False).numpy()

    def nearest(table, x, top):
        middle = ((table[1:] + table[:-1]) * np.float32(0.5)).astype(np.float32)
        return np.searchsorted(middle, x / np.maximum(top, np.float32(1e-38)), side="left")

    m_max, v_max = np.abs(m).max(1, keepdims=True), v.max(1, keepdims=True)
    # by magnitude, as hone has it: on a midpoint the code nearer to zero; the map has no -1
    code = np.minimum(nearest(signed[127:], np.abs(m), m_max), np.where(m < 0, 127, 128))
    return 127 + np.sign(m).astype(int) * code, m_max, nearest(unsigned, v, v_max), v_max


def exact_adamw8_step(p, g, m, v, t, lr, decay, b1=0.9, b2=0.999, eps=1e-8):
    """bitsandbytes' block-wise step (decay first) in f32 from moments restored. -> p, m, v, not rounded to codes yet"""
    f32 = np.float32
    root = np.sqrt(1 - b2**t)
    m = (f32(b1) * m + f32(1 - b1) * g).astype(f32)
    v = (f32(b2) * v + f32(1 - b2) * (g * g)).astype(f32)
    return p * f32(1 - lr * decay) - f32(lr * root / (1 - b1**t)) * (m / (np.sqrt(v) + f32(eps * root))), m, v


def exact_adamw8(decay):
    signed, unsigned = F.create_dynamic_map(True).numpy(), F.create_dynamic_map(False).numpy()
    p = make(LARGE, 0).numpy()
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t in range(1, STEPS + 1):
        p, m, v = exact_adamw8_step(p, make(LARGE, t).numpy(), m, v, t, rate(t), decay)
        mc, m_max, vc, v_max = exact_codes(m, v)
        m, v = signed[mc] * m_max, unsigned[vc] * v_max
    return torch.tensor(p)


def main():
    out = {"map_signed": F.create_dynamic_map(True), "map_unsigned": F.create_dynamic_map(False)}
    cases = {
        "adamw": (lambda g: torch.optim.AdamW(g, lr=1, betas=(0.9, 0.999), eps=1e-8), 0.1),
        "adamw_betas": (lambda g: torch.optim.AdamW(g, lr=1, betas=(0.8, 0.95), eps=1e-6), 0.0),
        "sgd": (lambda g: torch.optim.SGD(g, lr=1), 0.1),
        "sgd_momentum": (lambda g: torch.optim.SGD(g, lr=1, momentum=0.9), 0.1),
        "adafactor": (lambda g: Adafactor(g, lr=1, scale_parameter=False, relative_step=False), 0.1),
    }
    for name, (make_optimizer, decay) in cases.items():
        for k, v in run(make_optimizer, decay).items():
            out[f"{name}.{k}"] = v
    out["adamw8"] = exact_adamw8(0.1)
    p = torch.nn.Parameter(make(LARGE, 0))
    optimizer = bnb.optim.AdamW8bit([p], lr=1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
    for t in range(1, STEPS + 1):
        if t == STEPS:
            state = optimizer.state[p]
            out.update({"bnb.before": p.detach().clone(), "bnb.m": state["state1"].clone(), "bnb.v": state["state2"].clone(),
                        "bnb.m_max": state["absmax1"].clone(), "bnb.v_max": state["absmax2"].clone()})
        optimizer.param_groups[0]["lr"] = rate(t)
        p.grad = make(LARGE, t)
        optimizer.step()
    out["bnb.after"] = p.detach().clone()
    way = (out["bnb.after"] - make(LARGE, 0)).norm()
    print("exact against bitsandbytes: %.2e of the way" % ((out["adamw8"] - out["bnb.after"]).norm() / way))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "optimizers.safetensors")
    save_file(out, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)
    print(len(out), "tensors,", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
