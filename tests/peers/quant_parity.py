"""Quantised bases, live against bitsandbytes on the CPU, and QLoRA steps against transformers + PEFT + bitsandbytes.

1. Matrices of three types and sizes that end inside a block: codes of NF4 and FP4 may differ from bitsandbytes' only where
   the value lies within an ulp of a midpoint (and between the two zeros of FP4); codes of nested scales by one where the
   scale lies that near a midpoint of the map; restored values then agree to 1e-6 of the block's scale.
2. One model of each family, quantised while loading by both sides in f32, with an adapter whose B is not zero: loss and
   every LoRA gradient, |error| / |gradient| at most 1e-4. Then the same base as transformers saves it, read by hone.
3. Folders that transformers and bitsandbytes wrote quantised (NF4, FP4, nested or not, other blocks, codes stored as another
   type, LLM.int8), read by hone, against the plain model with the values that bitsandbytes restores: the same bar.

usage: quant_parity.py --hone build/release/hone [--seeds 1]"""
import argparse
import os
import subprocess
import sys
import tempfile

import bitsandbytes.functional as bnb
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from gradient_parity import drive, driver, golden  # and the folder of the golden scripts
import make_bnb_golden


def midpoint_distance(scaled, table):
    """Distance of each value to the nearest midpoint of neighbours of a sorted table."""
    order = table.sort().values
    middle = (order[1:] + order[:-1]) / 2
    return (scaled.unsqueeze(-1) - middle).abs().min(-1).values


def unpack(codes, n):
    return torch.stack([codes >> 4, codes & 15], -1).flatten()[:n].int()


def codes(program, folder, seed):
    g = torch.Generator().manual_seed(seed)
    shapes = {"a": (96, 448), "b": (333, 640), "c": (67, 898), "d": (1, 2), "e": (515, 64)}
    failed = False
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        tensors = {k: (torch.randn(s, generator=g) * 0.05).to(dtype) for k, s in shapes.items()}
        tensors["a"][0, :64] = 0
        save_file(tensors, os.path.join(folder, "in.safetensors"))
        for kind in ("nf4", "fp4"):
            for nested in (True, False):
                out = os.path.join(folder, "out.safetensors")
                subprocess.run(
                    [program, os.path.join(folder, "in.safetensors"), out, kind, "nested" if nested else "plain"], check=True
                )
                ours = load_file(out)
                count = differ = scale_differ = 0
                worst = 0.0
                for name, w in tensors.items():
                    n = w.numel()
                    packed, state = bnb.quantize_4bit(w, blocksize=64, quant_type=kind, compress_statistics=nested)
                    theirs, mine = unpack(packed.flatten(), n), unpack(ours[name + ".codes"], n)
                    flat = torch.nn.functional.pad(w.float().flatten(), (0, -n % 64)).view(-1, 64)
                    absmax = flat.abs().max(1).values
                    scaled = (flat * (1 / absmax.clamp(min=1e-38)).unsqueeze(1)).flatten()[:n]
                    off = (theirs != mine) & (state.code[theirs] != state.code[mine])
                    count += n
                    differ += int(off.sum())
                    failed |= bool((midpoint_distance(scaled[off], state.code) > 1.2e-7).any())
                    if nested:
                        scale_off = state.absmax.int() - ours[name + ".absmax"].int()
                        scale_off[state.state2.absmax.repeat_interleave(256)[: scale_off.numel()] == 0] = 0  # times zero
                        scale_differ += int((scale_off != 0).sum())
                        failed |= bool(scale_off.abs().max() > 1)
                        offset = (state.offset - ours[name + ".offset"][0]).abs() / state.offset.abs().clamp(min=1e-30)
                        failed |= bool(offset > 2.4e-7)
                        same = (scale_off == 0).repeat_interleave(64)[:n] & ~off
                    else:
                        failed |= not torch.equal(state.absmax, ours[name + ".absmax"])
                        same = ~off
                    want = bnb.dequantize_4bit(packed, state).float().flatten()
                    if dtype != torch.float32:  # bitsandbytes rounds to the type of the base
                        ours[name + ".values"] = ours[name + ".values"].to(dtype).float()
                    limit = absmax.clamp(min=1e-30).repeat_interleave(64)[:n]
                    error = ((ours[name + ".values"] - want).abs() / limit)[same]
                    worst = max(worst, error.max().item())
                tolerance = {torch.float32: 1e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
                failed |= not worst <= tolerance
                print(
                    "%-9s %s %-6s %d codes, %d off a midpoint; %d scales off; worst value %.1e of its block's scale"
                    % (str(dtype)[6:], kind, "nested" if nested else "plain", count, differ, scale_differ, worst)
                )
    return failed


def exact_scales(a, code=None, absmax=None, out=None, blocksize=256, nested=False):
    """bitsandbytes' definition of nested scales (its CPU program may be a code off near midpoints), for the steps."""
    code = bnb.create_dynamic_map()
    top = torch.nn.functional.pad(a.flatten(), (0, -a.numel() % blocksize)).view(-1, blocksize).abs().max(1).values
    scaled = a.flatten() * (1 / top.clamp(min=1e-38)).repeat_interleave(blocksize)[: a.numel()]
    q = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2, out_int32=True).to(torch.uint8)
    return q, bnb.QuantState(absmax=top, code=code, blocksize=blocksize, dtype=a.dtype)


def compare(worst, program, model, folder, batch, reference, *options):
    """Brings into `worst` what hone makes of the model in a folder, and its adapter: gradient, its key, loss."""
    loss, grads = reference
    for more in (["isa=ref"], [], ["recompute=2"]):
        ours = drive(program, model, os.path.join(folder, "adapter"), batch, folder, *options, *more)
        assert set(ours["gradient"]) == set(grads)
        worst[2] = max(worst[2], ((torch.tensor(ours["loss"]) - loss).abs() / loss).max().item())
        for key, want in grads.items():
            ratio = ((torch.tensor(ours["gradient"][key]).view_as(want) - want).norm() / want.norm()).item()
            if not ratio <= worst[0]:
                worst[:2] = ratio, key


def step(program, family, seed, folder, kind, nested):
    """-> worst gradient, its key, worst loss; the same of the base as transformers saves it"""
    model = golden.make_model(family, 5000 + seed)
    golden.save_model(model, folder)
    golden.save_adapter(golden.make_adapter(model, 6000 + seed, r=4, alpha=8), os.path.join(folder, "adapter"))
    base = make_bnb_golden.quantise(folder, kind, nested, dtype=torch.float32)
    base.save_pretrained(os.path.join(folder, "stored"))
    peft = PeftModel.from_pretrained(base, os.path.join(folder, "adapter"), is_trainable=True).eval()
    assert "Linear4bit" in str(peft), "the base is not quantised"
    batch = golden.make_batch(7000 + seed, golden.COMMON["vocab_size"], [9, 33, 2, 21])
    reference = golden.reference(peft, *batch)
    loaded, stored = [0.0, "", 0.0], [0.0, "", 0.0]
    plain = [] if nested else ["scales=plain"]
    compare(loaded, program, folder, folder, batch, reference, "quant=" + kind, *plain)
    compare(stored, program, os.path.join(folder, "stored"), folder, batch, reference)
    return loaded, stored


STORED = {
    "NF4, nested": dict(kind="nf4", nested=True),
    "FP4, nested, blocks of 128": dict(kind="fp4", nested=True, block=128),
    "NF4, blocks of 32": dict(kind="nf4", block=32),
    "NF4, blocks of 4096, as bf16": dict(kind="nf4", block=4096, storage=torch.bfloat16),
    "NF4, nested, as f32": dict(kind="nf4", nested=True, storage=torch.float32),
    "LLM.int8": dict(kind="int8"),
}


def stored_step(program, family, folder, settings):
    """-> worst gradient, its key, worst loss of hone on a folder saved quantised in 16 bits"""
    stored, worst = os.path.join(folder, "stored"), [0.0, "", 0.0]
    model = golden.make_model(family, 8000)
    golden.save_model(model, folder)
    make_bnb_golden.quantise(folder, **settings).save_pretrained(stored)
    assert make_bnb_golden.restore(model, stored), "nothing is quantised"
    peft = golden.make_adapter(model, 8001, r=4, alpha=8)
    golden.save_adapter(peft, os.path.join(folder, "adapter"))
    batch = golden.make_batch(8002, golden.COMMON["vocab_size"], [9, 33, 2, 21])
    compare(worst, program, stored, folder, batch, golden.reference(peft, *batch))
    return worst


def report(family, what, gradient, key, loss):
    print("%-8s %-30s worst gradient %.2e (%s), worst loss %.2e" % (family, what, gradient, key, loss), flush=True)
    return not (gradient <= 1e-4 and loss <= 1e-4)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hone", required=True)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    gradients = driver(args.hone)
    quantise = os.path.join(os.path.dirname(gradients), "hone_quantise_driver")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        failed |= codes(quantise, folder, 1)
    bnb.quantize_blockwise = exact_scales
    for family in golden.FAMILIES:
        for seed in range(args.seeds):
            for kind, nested in (("nf4", True), ("fp4", False)):
                with tempfile.TemporaryDirectory() as folder:
                    results = step(gradients, family, seed, folder, kind, nested)
                for how, (gradient, key, loss) in zip(("loaded", "stored"), results):
                    failed |= report(family, "%s %s, %s" % (kind, "nested" if nested else "plain", how), gradient, key, loss)
        for name, settings in STORED.items():
            with tempfile.TemporaryDirectory() as folder:
                failed |= report(family, name, *stored_step(gradients, family, folder, settings))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
