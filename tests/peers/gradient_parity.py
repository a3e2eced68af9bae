"""Losses and every LoRA gradient of tiny random models, live against transformers + PEFT.

One model of each family (grouped heads, biases, rope scaling, q/k norms, a sliding window; B not zero, several packed
documents, masked targets), f32, other seeds than the frozen vectors; then the same batch with a weight on every target
(sum of weight * loss / sum of weights). Bar: each tensor's |error| / |gradient| at most 1e-4. Two figures a family.

usage: gradient_parity.py --hone build/release/hone [--seeds 3]"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import make_gradient_golden as golden

import torch


def driver(hone):
    path = os.path.join(os.path.dirname(hone), "tests", "hone_gradients_driver")
    if not os.path.exists(path):
        raise SystemExit("%s is not built: cmake --build %s --target hone_drivers" % (path, os.path.dirname(hone)))
    return path


def drive(program, model, adapter, batch, folder, *options):
    path = os.path.join(folder, "batch.json")
    with open(path, "w") as f:
        json.dump(dict(zip(("ids", "off", "target", "weight"), batch)), f)
    p = subprocess.run([program, model, adapter, path, *options], capture_output=True, text=True)
    if p.returncode:
        raise SystemExit("%s failed: %s" % (program, p.stderr))
    return json.loads(p.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hone", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    program = driver(args.hone)
    failed = False
    for family in golden.FAMILIES:
        worst = {False: [0.0, "", 0.0], True: [0.0, "", 0.0]}  # weighted: gradient, its key, loss
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as folder:
                model = golden.make_model(family, 1000 + seed)
                golden.save_model(model, folder)
                peft = golden.make_adapter(model, 2000 + seed, r=2 + seed % 7, alpha=5 + seed)
                golden.save_adapter(peft, os.path.join(folder, "adapter"))
                lengths = [3 + (seed * 7 + k * 11) % 40 for k in range(3 + seed % 4)]
                batch = golden.make_batch(3000 + seed, golden.COMMON["vocab_size"], lengths)
                weight = (3 * torch.rand(len(batch[0]), generator=torch.Generator().manual_seed(4000 + seed))).tolist()
                for weighted, given in ((False, batch), (True, batch + (weight,))):
                    loss, grads = golden.reference(peft, *given)
                    for options in (["isa=ref"], [], ["recompute=2"]):
                        ours = drive(program, folder, os.path.join(folder, "adapter"), given, folder, *options)
                        assert set(ours["gradient"]) == set(grads)
                        got = torch.tensor(ours["loss"])
                        w = worst[weighted]
                        w[2] = max(w[2], ((got - loss).abs() / loss).max().item())
                        for key, want in grads.items():
                            error = torch.tensor(ours["gradient"][key]).view_as(want) - want
                            ratio = (error.norm() / want.norm()).item()
                            if not ratio <= w[0]:
                                w[:2] = ratio, key
        for weighted, (gradient, key, loss) in worst.items():
            print(
                "%-8s %-9s worst gradient %.2e (%s), worst loss %.2e"
                % (family, "weighted" if weighted else "", gradient, key, loss)
            )
            failed |= not (gradient <= 1e-4 and loss <= 1e-4)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
