"""Learning the same thing: `hone train` and PEFT on the same rows in the same order from the same adapter.

Rows of medical_zh.jsonl drawn by a seed, the held-out ones not among the training ones. PEFT makes the adapter (r 8, all
linear layers) that both begin with; both run one epoch in f32 without dropout: AdamW, cosine with warm-up, clipping, loss
weighted by token. The Python side renders, tokenises and masks with transformers alone and trains with a plain loop, so
nothing of ours is in it. Prints both losses of the held-out rows before and after, and the largest difference of a step's
training loss. Bar: held-out loss within 0.5 %.

usage: learning_parity.py --hone build/release/hone --gguf MODEL.gguf [--rows 2000] [--eval 200] [--work FOLDER]
       [--only hone|peft]
A side that finished in FOLDER before is not run again, and one that was stopped goes on where it was: the whole takes hours
on a small machine, and need not be done at once."""
import argparse
import json
import math
import os
import random
import subprocess
import sys

STEP_ROWS, MICRO, RATE, WARMUP = 16, 4, 2e-4, 0.03
SAVED = 5  # steps between two states to go on from


def rows_of(path, n, held):
    with open(path, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    random.Random(7).shuffle(rows)
    train, rest = rows[:n], rows[n:]
    seen = {r["instruction"] + "\n" + r["input"] for r in train}
    return train, [r for r in rest if r["instruction"] + "\n" + r["input"] not in seen][:held]


def write(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def encode(tok, row):
    """ids, and labels with -100 before the answer and after its end-of-turn token."""
    question = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]
    prompt = tok.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    full = tok.apply_chat_template(turns, tokenize=False)
    assert full.startswith(prompt)
    body = full[: full.rindex("<|im_end|>") + len("<|im_end|>")]
    a = tok(prompt, add_special_tokens=False)["input_ids"]
    b = tok(body, add_special_tokens=False)["input_ids"]
    ids = tok(full, add_special_tokens=False)["input_ids"]
    assert ids[: len(a)] == a and ids[: len(b)] == b
    return ids, [-100] * len(a) + b[len(a) :] + [-100] * (len(ids) - len(b))


def padded(batch):
    import torch

    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([i + [0] * (width - len(i)) for i, _ in batch])
    mask = torch.tensor([[1] * len(i) + [0] * (width - len(i)) for i, _ in batch])
    labels = torch.tensor([t + [-100] * (width - len(t)) for _, t in batch])
    return ids, mask, labels


def loss_sum(model, batch):
    import torch.nn.functional as F

    ids, mask, labels = padded(batch)
    hidden = model.get_base_model().model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    want = labels[:, 1:]
    kept = want != -100
    logits = model.get_base_model().lm_head(hidden[kept])
    return F.cross_entropy(logits, want[kept], reduction="sum"), int(kept.sum())


def peft_side(base, adapter, work, out):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

    tok = AutoTokenizer.from_pretrained(base)
    data = {}
    for name in ("train", "held"):
        with open(os.path.join(work, name + ".jsonl"), encoding="utf-8") as f:
            data[name] = [encode(tok, json.loads(line)) for line in f]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True)

    def held_out():
        with torch.no_grad():
            parts = [loss_sum(model, data["held"][i : i + 8]) for i in range(0, len(data["held"]), 8)]
        return sum(s.item() for s, _ in parts) / sum(n for _, n in parts)

    steps = math.ceil(len(data["train"]) / STEP_ROWS)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    schedule = get_scheduler("cosine", optimizer, math.ceil(WARMUP * steps), steps)
    state = os.path.join(work, "peft_state.pt")
    if os.path.exists(state):
        s = torch.load(state)
        result = s["result"]
        optimizer.load_state_dict(s["optimizer"])
        schedule.load_state_dict(s["schedule"])
        with torch.no_grad():
            for p, value in zip(trained, s["values"]):
                p.copy_(value)
    else:
        result = {"before": held_out(), "loss": []}
    for step in range(len(result["loss"]), steps):
        window = data["train"][step * STEP_ROWS : (step + 1) * STEP_ROWS]
        n = sum(t != -100 for _, labels in window for t in labels[1:])
        total = 0.0
        for i in range(0, len(window), MICRO):
            s, _ = loss_sum(model, window[i : i + MICRO])
            (s / n).backward()
            total += s.item()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        result["loss"].append(total / n)
        print("peft %d/%d %.4f" % (step + 1, steps, total / n), flush=True)
        if (step + 1) % SAVED == 0:
            torch.save({"result": result, "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
                        "values": [p.detach() for p in trained]}, state + ".new")
            os.replace(state + ".new", state)
    result["after"] = held_out()
    with open(out, "w") as f:
        json.dump(result, f)


def hone_side(hone, base, adapter, work, out):
    n = sum(1 for _ in open(os.path.join(work, "train.jsonl"), encoding="utf-8"))
    config = {
        "model": {"name_or_path": base, "max_length": 8192},
        "lora": {"r": 8, "lora_alpha": 16, "lora_dropout": 0, "init_adapter": adapter},
        "training": {
            "output_dir": os.path.join(work, "hone"), "num_train_epochs": 1, "precision": "f32", "packing": False,
            "shuffle": False, "per_device_train_batch_size": MICRO, "gradient_accumulation_steps": STEP_ROWS // MICRO,
            "learning_rate": RATE, "lr_scheduler_type": "cosine", "warmup_ratio": WARMUP, "weight_decay": 0.01,
            "max_grad_norm": 1.0, "evaluation_strategy": "no", "save_steps": SAVED, "save_total_limit": 1, "report_to": "none",
        },
        "data": {"train_data_path": os.path.join(work, "train.jsonl")},
    }
    path = os.path.join(work, "hone.yaml")
    with open(path, "w") as f:
        json.dump(config, f)
    subprocess.run([hone, "train", path, "--resume"], check=True)
    with open(os.path.join(work, "hone", "metrics.jsonl")) as f:
        curve = [json.loads(line) for line in f]
    p = subprocess.run([hone, "eval", "--model", base, "--adapter", os.path.join(work, "hone"), "--data",
                        os.path.join(work, "held.jsonl"), "--precision", "f32", "--json"],
                       check=True, stdout=subprocess.PIPE)
    e = json.loads(p.stdout)
    assert len(curve) == math.ceil(n / STEP_ROWS)
    with open(out, "w") as f:
        json.dump({"before": e["base"]["loss"], "after": e["tuned"]["loss"], "loss": [c["loss"] for c in curve]}, f)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--hone", required=True)
    p.add_argument("--gguf", required=True)
    p.add_argument("--data", default="../shared/data/instruct/medical_zh.jsonl")
    p.add_argument("--rows", type=int, default=2000)
    p.add_argument("--eval", type=int, default=200)
    p.add_argument("--work", default="build/peers-cache/learning")
    p.add_argument("--only", choices=("hone", "peft"))
    a = p.parse_args()
    from hf_from_gguf import convert

    name = os.path.splitext(os.path.basename(a.gguf))[0]
    base = convert(a.gguf, os.path.join("build/peers-cache", name))
    work = os.path.join(a.work, "%s-%d" % (name, a.rows))
    adapter = os.path.join(work, "init")
    os.makedirs(work, exist_ok=True)
    train, held = rows_of(a.data, a.rows, a.eval)
    write(os.path.join(work, "train.jsonl"), train)
    write(os.path.join(work, "held.jsonl"), held)
    if not os.path.exists(os.path.join(adapter, "adapter_config.json")):
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(1)
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config).save_pretrained(adapter)
    sides = {"hone": lambda o: hone_side(os.path.abspath(a.hone), os.path.abspath(base), os.path.abspath(adapter), os.path.abspath(work), o),
             "peft": lambda o: peft_side(base, adapter, work, o)}
    got = {}
    for side, run in sides.items():
        out = os.path.join(work, side + ".json")
        if not os.path.exists(out):
            if a.only and side != a.only:
                continue
            run(out)
        with open(out) as f:
            got[side] = json.load(f)
    if len(got) < 2:
        return 0
    h, t = got["hone"], got["peft"]
    curve = max(abs(x / y - 1) for x, y in zip(h["loss"], t["loss"]))
    difference = abs(h["after"] / t["after"] - 1)
    print("%s, %d rows, %d steps, %d held out" % (name, a.rows, len(h["loss"]), len(held)))
    print("held-out loss before: hone %.5f, peft %.5f; after: hone %.5f, peft %.5f: %.3f %% apart" %
          (h["before"], t["before"], h["after"], t["after"], 100 * difference))
    print("training loss of a step: at most %.3f %% apart" % (100 * curve))
    return 0 if difference <= 0.005 and abs(h["before"] / t["before"] - 1) <= 1e-3 else 1


if __name__ == "__main__":
    sys.exit(main())
