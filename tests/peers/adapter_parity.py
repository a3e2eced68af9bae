"""Adapters to and from PEFT.

  out   an adapter saved by hone loads in PEFT: no missing and no unexpected key, nothing in its configuration lost,
        every tensor bit for bit, and the same loss to 1e-3
  in    an adapter saved by PEFT (list, all-linear, regular expression, rsLoRA, DoRA, patterns, saved modules, trained
        biases; f32, bf16, f16) gives the same loss here
  grad  every gradient of it is PEFT's to 1e-4: factors, magnitudes, whole modules, biases; of LoRA and DoRA with dropout
        too, PEFT's masks being replaced by those of hone
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
    ("DoRA", dict(target_modules="all-linear", use_dora=True), torch.float32),
    ("DoRA, bf16", dict(target_modules=["q_proj", "down_proj", "qkv_proj"], use_dora=True, use_rslora=True), torch.bfloat16),
    ("DoRA, bias", dict(target_modules=["k_proj", "o_proj"], use_dora=True, bias="all"), torch.float32),
    ("bias lora_only", dict(target_modules=["q_proj", "down_proj"], bias="lora_only"), torch.float32),
    ("excluded names", dict(target_modules="all-linear", exclude_modules=["q_proj", "model.layers.1.mlp.down_proj"]), torch.float32),
    ("excluded expression", dict(target_modules=["q_proj", "down_proj"], exclude_modules=r".*\.0\.mlp\..*"), torch.float32),
    ("layers", dict(target_modules=["k_proj", "model.layers.0.mlp.down_proj"], layers_to_transform=[1]), torch.float32),
    ("tokens", dict(target_modules="all-linear", trainable_token_indices=[9, 4, 90]), torch.float32),
    ("tokens, bf16", dict(target_modules=["q_proj"], trainable_token_indices=[3]), torch.bfloat16),
    ("tokens by name", dict(target_modules="all-linear", trainable_token_indices={"embed_tokens": [5, 2, 31]}), torch.float32),
    ("tokens of the head", dict(target_modules=["k_proj"], trainable_token_indices={"embed_tokens": [5, 2], "lm_head": [7, 5, 11]}), torch.float32),
    ("tokens of the head alone", dict(target_modules=["down_proj"], trainable_token_indices={"lm_head": [4, 9, 1, 60]}), torch.float32),
    ("layers of a name", dict(target_modules=["o_proj"], layers_to_transform=[0], layers_pattern=["h", "layers"]), torch.float32),
]
REFUSED = [
    ("lora_bias", dict(lora_bias=True)),
]


def fused(v):
    """A setting in the names of phi3, whose q, k, v and gate, up are one module each."""
    if isinstance(v, str):
        for old, new in (("[qko]_proj", "(qkv|o)_proj"), ("(up|down)", "(gate_up|down)")):
            v = v.replace(old, new)
        for old, new in (("q_proj", "qkv_proj"), ("k_proj", "qkv_proj"), ("v_proj", "qkv_proj"), ("up_proj", "gate_up_proj"), ("gate_proj", "gate_up_proj")):
            if v.endswith(old) and not v.endswith(new):
                return v[: -len(old)] + new
        return v
    if isinstance(v, list):
        return sorted({fused(x) for x in v})
    return {fused(k): x for k, x in v.items()} if isinstance(v, dict) else v


def peft_names(grads):
    """Names of parameters as PEFT saves them: a copy of a module stands for the module."""
    return {k.replace(".modules_to_save", "").replace("magnitude_vector.weight", "magnitude_vector"): g for k, g in grads.items()}


def philox(seed, stream, counter):
    """Philox 4x32-10 (Salmon et al. 2011) as base/rng.c lays its key and counter out."""
    low = 0xFFFFFFFF
    c = [counter & low, counter >> 32, stream & low, stream >> 32]
    k = [seed & low, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & low, (a >> 32) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


class Mask(torch.nn.Dropout):
    """Dropout with the mask of device/ops.h; `start` is the packed position of the document's first token."""

    start = 0

    def __init__(self, p, stream):
        super().__init__(p)
        self.stream = stream

    def forward(self, x):
        n, width = x.shape[-2:]
        calls = (width + 7) // 8
        words = [philox(0, self.stream, q) for q in range(Mask.start * calls, (Mask.start + n) * calls)]
        words = torch.tensor(words, dtype=torch.int64)
        draws = torch.stack((words & 0xFFFF, words >> 16), dim=-1).view(n, calls * 8)[:, :width]
        limit = round(self.p * 2**16)
        return x * (draws >= limit) / (1 - limit / 2**16)


ORDER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FUSED = {"qkv_proj": "q_proj", "gate_up_proj": "gate_proj"}


def with_dropout(program, family, p):
    """-> worst gradient of LoRA and DoRA with dropout"""
    worst = 0.0
    for dora in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            golden.save_model(golden.make_model(family, 51), folder)
            peft = golden.make_adapter(golden.make_model(family, 51), 52, use_dora=dora)
            golden.save_adapter(peft, os.path.join(folder, "adapter"))
            for name, module in peft.named_modules():
                if hasattr(module, "lora_dropout"):
                    parts = name.split(".")
                    index = ORDER.index(FUSED.get(parts[-1], parts[-1]))
                    layer = int(parts[parts.index("layers") + 1])
                    module.lora_dropout["default"] = Mask(p, layer * len(ORDER) + index)
            peft.train()
            ids, off, target = batch = golden.make_batch(53, golden.COMMON["vocab_size"], (9, 14))
            count = sum(t != golden.IGNORE for t in target)
            peft.zero_grad()
            for start, end in zip(off, off[1:]):
                Mask.start = start
                logits = peft(torch.tensor([ids[start:end]])).logits[0].float()
                loss = torch.nn.functional.cross_entropy(
                    logits, torch.tensor(target[start:end]), ignore_index=golden.IGNORE, reduction="sum"
                )
                (loss / count).backward()
            grads = {n.replace(".default", ""): q.grad for n, q in peft.named_parameters() if q.requires_grad}
            for options in (["isa=ref"], [], ["recompute=2"]):
                got = drive(program, folder, os.path.join(folder, "adapter"), batch, folder, "dropout=%r" % p, *options)
                for key, g in peft_names(grads).items():
                    error = torch.tensor(got["gradient"][key]).view_as(g) - g
                    worst = max(worst, (error.norm() / g.norm()).item())
    return worst


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

    count = 0
    for family in golden.FAMILIES:
        for name, settings, dtype in ACCEPTED:
            tokens = settings.get("trainable_token_indices")
            if isinstance(tokens, dict) and "lm_head" in tokens and golden.make_model(family, 41).config.tie_word_embeddings:
                continue  # there is no such table
            if family == "phi3":
                settings = {k: fused(v) for k, v in settings.items()}
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                theirs, ours = os.path.join(folder, "theirs"), os.path.join(folder, "ours")
                golden.save_model(golden.make_model(family, 41), folder)
                peft = get_peft_model(
                    golden.make_model(family, 41), LoraConfig(r=4, lora_alpha=12, task_type="CAUSAL_LM", **settings)
                ).eval()
                torch.manual_seed(42)
                golden.randomise(peft)
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
                    for key in ("target_modules", "exclude_modules"):
                        if isinstance(d[key], list):
                            d[key].sort()
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

    masked = max(with_dropout(program, family, 0.25) for family in golden.FAMILIES)
    print("PEFT's adapters here: loss within %.2e; ours in PEFT: within %.2e" % (worst_in, worst_out))
    print("gradients: worst %.2e (%s); with dropout %.2e" % (worst_grad, worst_key, masked))
    print("%d configurations and families, %d variants refused" % (count, len(REFUSED)))
    for line in failed:
        print("FAILED " + line)
    sys.exit(1 if failed or not (worst_in <= 1e-3 and worst_out <= 1e-3 and worst_grad <= 1e-4 and masked <= 1e-4) else 0)


if __name__ == "__main__":
    main()
