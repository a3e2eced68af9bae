"""Adapters to and from PEFT.

  out   an adapter saved by hone loads in PEFT: no missing and no unexpected key, nothing in its configuration lost,
        every tensor bit for bit, and the same loss to 1e-3
  in    an adapter saved by PEFT (list, all-linear, regular expression, rsLoRA, patterns, saved modules, trained biases;
        f32, bf16, f16) gives the same loss here
  grad  every gradient of it is PEFT's to 1e-4: factors, whole modules, biases
  no    variants that hone lacks are refused by name

usage: adapter_parity.py --hone build/release/hone"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings

from gradient_parity import drive, driver, golden

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

# name, LoraConfig, dtype of the file
ACCEPTED = [
    ("list", dict(target_modules=["q_proj", "v_proj"]), torch.float32),
    ("all-linear", dict(target_modules="all-linear"), torch.float32),
    ("expression", dict(target_modules=r".*\.(0\.self_attn\.[qko]_proj|1\.mlp\.(up|down)_proj)"), torch.float32),
    ("one layer", dict(target_modules=["layers.1.mlp.down_proj"]), torch.float32),
    ("rsLoRA", dict(target_modules=["k_proj", "gate_proj"], use_rslora=True), torch.float32),
    ("bf16", dict(target_modules=golden.TARGETS), torch.bfloat16),
    ("f16", dict(target_modules=golden.TARGETS), torch.float16),
    ("rank_pattern", dict(target_modules="all-linear", rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.up_proj": 6}), torch.float32),
    ("alpha_pattern", dict(target_modules="all-linear", alpha_pattern={"v_proj": 32, "0.mlp.down_proj": 3}), torch.float32),
    ("saved embedding", dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"]), torch.float32),
    ("saved head", dict(target_modules=["q_proj"], modules_to_save=["lm_head", "norm"]), torch.float32),
    ("saved module", dict(target_modules="all-linear", modules_to_save=["0.mlp.up_proj"]), torch.float32),
    ("bias all", dict(target_modules=["q_proj", "down_proj"], bias="all"), torch.float32),
    ("bias lora_only", dict(target_modules=["q_proj", "down_proj"], bias="lora_only"), torch.float32),
]
REFUSED = [
    ("use_dora", dict(use_dora=True)),
    ("lora_bias", dict(lora_bias=True)),
    ("layers_to_transform", dict(layers_to_transform=[0])),
    ("exclude_modules", dict(exclude_modules=["k_proj"])),
]


def randomise(peft, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.copy_(0.2 * torch.randn_like(p))


def peft_names(grads):
    """Names of parameters as PEFT saves them: a copy of a module stands for the module."""
    return {k.replace(".modules_to_save", ""): g for k, g in grads.items()}


def mean_loss(peft, batch):
    return golden.reference(peft, *batch)[0].mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hone", required=True)
    args = parser.parse_args()
    program = driver(args.hone)
    batch = golden.make_batch(31, golden.COMMON["vocab_size"])
    worst_in = worst_out = worst_grad = 0.0
    worst_key = ""
    failed = []

    for family in golden.FAMILIES:
        for name, settings, dtype in ACCEPTED:
            with tempfile.TemporaryDirectory() as folder:
                theirs, ours = os.path.join(folder, "theirs"), os.path.join(folder, "ours")
                golden.save_model(golden.make_model(family, 41), folder)
                peft = get_peft_model(
                    golden.make_model(family, 41), LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM", **settings)
                ).eval()
                randomise(peft, 42)
                peft.save_pretrained(theirs)
                if dtype != torch.float32:
                    path = os.path.join(theirs, "adapter_model.safetensors")
                    save_file({k: v.to(dtype) for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
                    peft = PeftModel.from_pretrained(golden.make_model(family, 41), theirs, is_trainable=True).eval()
                loss, grads = golden.reference(peft, *batch)
                want = loss.mean().item()
                got = drive(program, folder, theirs, batch, folder, "save=" + ours)
                for key, g in peft_names(grads).items():
                    error = torch.tensor(got["gradient"][key]).view_as(g) - g
                    ratio = (error.norm() / g.norm()).item()
                    if not ratio <= worst_grad:
                        worst_grad, worst_key = ratio, "%s of %s, %s" % (key, family, name)
                if set(got["gradient"]) != set(peft_names(grads)):
                    failed.append("%s, %s: trained here %s" % (family, name, set(got["gradient"]) ^ set(peft_names(grads))))
                worst_in = max(worst_in, abs(sum(got["loss"]) / len(got["loss"]) / want - 1))

                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    again = PeftModel.from_pretrained(golden.make_model(family, 41), ours, is_trainable=True).eval()
                for w in caught:
                    text = str(w.message)
                    if "missing" in text.lower() or ("nexpected" in text and "['hone']" not in text):
                        failed.append("%s, %s: PEFT says %s" % (family, name, text))
                worst_out = max(worst_out, abs(mean_loss(again, batch) / want - 1))
                a = load_file(os.path.join(theirs, "adapter_model.safetensors"))
                b = load_file(os.path.join(ours, "adapter_model.safetensors"))
                if a.keys() != b.keys() or any(not torch.equal(a[k].float(), b[k]) for k in a):
                    failed.append("%s, %s: tensors differ" % (family, name))
                with open(os.path.join(theirs, "adapter_config.json")) as f:
                    a = json.load(f)
                with open(os.path.join(ours, "adapter_config.json")) as f:
                    text = f.read()
                b = json.loads(text)
                if text != json.dumps(b, indent=2, sort_keys=True):
                    failed.append("%s, %s: adapter_config.json is not laid out as PEFT does" % (family, name))
                for d in (a, b):
                    d.pop("base_model_name_or_path")
                    if isinstance(d["target_modules"], list):
                        d["target_modules"].sort()
                if b.pop("hone", None) is None or a != b:
                    failed.append("%s, %s: settings differ: %s" % (family, name, {k for k in a if a[k] != b.get(k)}))

    for key, settings in REFUSED:
        with tempfile.TemporaryDirectory() as folder:
            golden.save_model(golden.make_model("llama", 41), folder)
            peft = get_peft_model(
                golden.make_model("llama", 41),
                LoraConfig(r=4, task_type="CAUSAL_LM", **{"target_modules": ["q_proj", "k_proj"], **settings}),
            )
            peft.save_pretrained(os.path.join(folder, "a"))
            with open(os.path.join(folder, "batch.json"), "w") as f:
                json.dump({}, f)
            p = subprocess.run(
                [program, folder, os.path.join(folder, "a"), os.path.join(folder, "batch.json")], capture_output=True, text=True
            )
            if p.returncode != 1 or '"%s"' % key not in p.stderr:
                failed.append("%s is not refused by name: %s" % (key, p.stderr))

    print("PEFT's adapters here: loss within %.2e; ours in PEFT: within %.2e" % (worst_in, worst_out))
    print("gradients: worst %.2e (%s)" % (worst_grad, worst_key))
    print("%d configurations of %d families, %d variants refused" % (len(ACCEPTED), len(golden.FAMILIES), len(REFUSED)))
    for line in failed:
        print("FAILED " + line)
    sys.exit(1 if failed or not (worst_in <= 1e-3 and worst_out <= 1e-3 and worst_grad <= 1e-4) else 0)


if __name__ == "__main__":
    main()
