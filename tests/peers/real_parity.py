"""The real models against transformers and PEFT: loss of every row in f32 and bf16, and a training curve.

  rows    per-row loss of `hone eval --precision f32` against transformers in f32: within 2e-4 relative;
          the same in bf16: token-weighted loss within 0.3 %, and no row further off (from the f32 truth) than 1.5 times
          PyTorch's own bf16 (the largest deviation of any row of theirs).
  curve   30 steps of `hone train` from an adapter that PEFT made, rows in file order, against a PEFT loop: every
          step's loss within 1e-3 relative.

Ids and masks come from `hone tokenize --chat` here; they have a proof of their own (tokenizer_parity, mask_parity).

usage: real_parity.py --hone build/release/hone [--models models] [--shared ../shared] [--cache build/peers-cache]
                      [--only smollm2|qwen] [--rows 12] [--steps 30] [--skip rows|bf16|curve]"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM
from peft import LoraConfig, PeftModel, get_peft_model

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hf_from_gguf import convert

MODELS = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "qwen": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"}


def run(*command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        raise SystemExit("%s\nfailed: %s" % (" ".join(command), p.stderr))
    return p.stdout


def encode(hone, model, conversation, folder):
    """ids and mask of one conversation, as hone trains it."""
    path = os.path.join(folder, "one.json")
    with open(path, "w") as f:
        json.dump(conversation, f, ensure_ascii=False)
    d = json.loads(run(hone, "tokenize", "--model", model, "--chat", path, "--json"))
    return d["ids"], d["mask"]


def losses(model, rows):
    """Sum of losses over the trained tokens of every row, and their number; one row at a time, no padding."""
    out = []
    model.eval()
    with torch.no_grad():
        for ids, mask in rows:
            logits = model(input_ids=torch.tensor([ids])).logits[0].float()
            target = torch.tensor([i if m else -100 for i, m in zip(ids, mask)][1:])
            loss = torch.nn.functional.cross_entropy(logits[:-1], target, ignore_index=-100, reduction="sum")
            out.append((loss.item(), int((target != -100).sum())))
    return out


def hone_rows(hone, model, data, precision, folder):
    path = os.path.join(folder, "rows.jsonl")
    run(hone, "eval", "--model", model, "--data", data, "--precision", precision, "--per-row", path, "--json")
    return [(r["loss_sum"], r["tokens"]) for r in map(json.loads, open(path))]


def check(name, figure, bar, failures):
    ok = figure <= bar
    print("  %-46s %.3g   (bar %.3g)  %s" % (name, figure, bar, "ok" if ok else "FAILED"), flush=True)
    if not ok:
        failures.append(name)


def conversations(shared, n):
    """n rows of the Chinese alpaca demo as messages, short enough for a quick run."""
    rows = json.load(open(os.path.join(shared, "data/instruct/alpaca_zh_demo.json")))
    rows = [r for r in rows if 20 < len(r["output"]) < 400][:n]
    return [[{"role": "user", "content": r["instruction"] + ("\n" + r["input"] if r["input"] else "")},
             {"role": "assistant", "content": r["output"]}] for r in rows]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--hone", required=True)
    p.add_argument("--models", default="models")
    p.add_argument("--shared", default=os.environ.get("HONE_SHARED", "../shared"))
    p.add_argument("--cache", default="build/peers-cache")
    p.add_argument("--only")
    p.add_argument("--rows", type=int, default=12)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--skip", action="append", default=[])
    a = p.parse_args()
    if not os.path.exists(os.path.join(a.shared, "data/instruct/alpaca_zh_demo.json")):
        print("skipped: no instruction data under %s" % a.shared)
        return 77
    torch.set_num_threads(os.cpu_count())
    failures = []
    for name, file in MODELS.items():
        if a.only and a.only != name:
            continue
        gguf = os.path.join(a.models, file)
        if not os.path.exists(gguf):
            print("skipped %s: fetch it with tools/get-model.sh" % name)
            continue
        hf = convert(gguf, os.path.join(a.cache, name))
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            talks = conversations(a.shared, a.rows)
            data = os.path.join(folder, "rows_in.jsonl")
            with open(data, "w") as f:
                for t in talks:
                    f.write(json.dumps({"messages": t}, ensure_ascii=False) + "\n")
            rows = [encode(a.hone, gguf, t, folder) for t in talks]
            model = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32)
            if "rows" not in a.skip:
                truth = losses(model, rows)
                ours = hone_rows(a.hone, gguf, data, "f32", folder)
                assert [t[1] for t in truth] == [o[1] for o in ours], "trained tokens differ"
                check("f32 rows, largest relative error", max(abs(o[0] - t[0]) / t[0] for o, t in zip(ours, truth)),
                      2e-4, failures)
                if "bf16" not in a.skip:
                    half = losses(AutoModelForCausalLM.from_pretrained(hf, dtype=torch.bfloat16), rows)
                    ours = hone_rows(a.hone, gguf, data, "bf16", folder)
                    total = sum(t[0] for t in truth)
                    check("bf16 token-weighted loss", abs(sum(o[0] for o in ours) - total) / total, 3e-3, failures)
                    theirs = max(abs(h[0] - t[0]) / t[0] for h, t in zip(half, truth))
                    check("bf16 worst row (bar: 1.5 x PyTorch's worst)",
                          max(abs(o[0] - t[0]) / t[0] for o, t in zip(ours, truth)), 1.5 * theirs, failures)
            if "curve" not in a.skip:
                curve(a, gguf, model, rows, data, folder, failures)
    print("%d failed" % len(failures) if failures else "all within their bars")
    return 1 if failures else 0


def curve(a, gguf, model, rows, data, folder, failures):
    """`steps` steps of two rows each, in file order, from one adapter with B not zero."""
    torch.manual_seed(7)
    peft = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear",
                                            task_type="CAUSAL_LM", init_lora_weights=True))
    with torch.no_grad():
        for n, q in peft.named_parameters():
            if "lora_B" in n:
                q.copy_(torch.randn_like(q) * 0.01)
    start = os.path.join(folder, "start")
    peft.save_pretrained(start)
    config = os.path.join(folder, "config.yaml")
    out = os.path.join(folder, "out")
    with open(config, "w") as f:
        f.write("model:\n  name_or_path: %s\nlora:\n  r: 8\n  lora_alpha: 16\n  lora_dropout: 0.0\n"
                "  init_adapter: %s\ntraining:\n  output_dir: %s\n  max_steps: %d\n  per_device_train_batch_size: 2\n"
                "  gradient_accumulation_steps: 1\n  learning_rate: 2.0e-4\n  lr_scheduler_type: cosine\n"
                "  warmup_ratio: 0.1\n  weight_decay: 0.01\n  shuffle: false\n  precision: f32\n  evaluation_strategy: no\n"
                "data:\n  train_data_path: %s\n" %
                (os.path.abspath(gguf), start, out, a.steps, data))
    run(a.hone, "train", config)
    ours = [json.loads(line) for line in open(os.path.join(out, "metrics.jsonl"))]
    ours = [m for m in ours if "loss" in m]
    params = [q for q in peft.parameters() if q.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=2e-4, weight_decay=0.01)
    warmup = math.ceil(a.steps * 0.1)
    worst = worst_norm = 0.0
    peft.train()
    for step in range(a.steps):
        lr = 2e-4 * (step / max(1, warmup) if step < warmup else
                     max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, a.steps - warmup)))))
        for group in optimiser.param_groups:
            group["lr"] = lr
        per_epoch = math.ceil(len(rows) / 2)
        batch = rows[2 * (step % per_epoch):][:2]
        n = sum(sum(m[1:]) for _, m in batch)
        total = 0.0
        for ids, mask in batch:
            logits = peft(input_ids=torch.tensor([ids])).logits[0].float()
            target = torch.tensor([i if m else -100 for i, m in zip(ids, mask)][1:])
            loss = torch.nn.functional.cross_entropy(logits[:-1], target, ignore_index=-100, reduction="sum") / n
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0).item()
        optimiser.step()
        optimiser.zero_grad()
        worst = max(worst, abs(ours[step]["loss"] - total) / total)
        worst_norm = max(worst_norm, abs(ours[step]["grad_norm"] - norm) / norm)
    assert len(ours) == a.steps, "hone logged %d steps" % len(ours)
    check("f32 curve of %d steps, largest relative error" % a.steps, worst, 1e-3, failures)
    print("  (gradient norm: largest relative error %.3g; last loss %.5f)" % (worst_norm, ours[-1]["loss"]))


if __name__ == "__main__":
    sys.exit(main())
