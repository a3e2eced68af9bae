"""Full training, live against transformers.

  grad  losses and the gradient of every tensor of tiny random models of every family, f32: |error| / |gradient| <= 1e-4
  out   a model whose every value was changed here, saved as a directory: transformers opens it without a missing or
        unexpected key, and its losses are the ones measured here (1e-4)
  merge an adapter (LoRA, DoRA) merged into its base and saved: transformers' losses are those of the base with PEFT's
        adapter (1e-4)

usage: full_parity.py --hone build/release/hone [--seeds 2]"""
import argparse
import os
import sys
import tempfile

from gradient_parity import drive, driver, golden

import torch
from transformers import AutoModelForCausalLM


def opened(folder):
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    left = {k: v for k, v in info.items() if k in ("missing_keys", "unexpected_keys", "mismatched_keys") and v}
    assert not left, left
    return model.eval()


def distance(got, want):
    return ((torch.tensor(got) - want).abs() / want).max().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hone", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    program = driver(args.hone)
    failed = False
    for family in golden.FAMILIES:
        worst, worst_key, worst_loss, out, merged = 0.0, "", 0.0, 0.0, 0.0
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as folder:
                ours_folder, both = os.path.join(folder, "ours"), os.path.join(folder, "both")
                model = golden.make_model(family, 5000 + seed)
                golden.save_model(model, folder)
                lengths = [3 + (seed * 7 + k * 11) % 40 for k in range(3 + seed % 4)]
                batch = golden.make_batch(6000 + seed, golden.COMMON["vocab_size"], lengths)
                loss, grads = golden.reference(model, *batch)
                for options in (["isa=ref"], [], ["recompute=2"]):
                    ours = drive(program, folder, "full", batch, folder, *options)
                    assert set(ours["gradient"]) == set(grads), set(ours["gradient"]) ^ set(grads)
                    worst_loss = max(worst_loss, distance(ours["loss"], loss))
                    for key, want in grads.items():
                        error = torch.tensor(ours["gradient"][key]).view_as(want) - want
                        ratio = (error.norm() / want.norm()).item()
                        if not ratio <= worst:
                            worst, worst_key = ratio, key
                ours = drive(program, folder, "full", batch, folder, "add=0.003", "save=" + ours_folder)
                out = max(out, distance(ours["loss"], golden.reference(opened(ours_folder), *batch)[0]))
                peft = golden.make_adapter(model, 7000 + seed, targets="all-linear", use_dora=seed % 2 == 1)
                golden.save_adapter(peft, os.path.join(folder, "adapter"))
                want = golden.reference(peft, *batch)[0]
                drive(program, folder, os.path.join(folder, "adapter"), batch, folder, "merge=" + both)
                merged = max(merged, distance(golden.reference(opened(both), *batch)[0].tolist(), want))
        print("%-8s worst gradient %.2e (%s), worst loss %.2e, saved %.2e, merged %.2e" %
              (family, worst, worst_key, worst_loss, out, merged), flush=True)
        failed |= not (worst <= 1e-4 and worst_loss <= 1e-4 and out <= 1e-4 and merged <= 1e-4)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
