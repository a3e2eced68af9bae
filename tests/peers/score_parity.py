"""Scores of rows against transformers: perplexity of the answer, of the answer alone, and their quotient, in f32.

The tiny chat model (as it is, and with a tokenizer that puts a beginning-of-sequence token before a text), and SmolLM2
where its GGUF file is there. Each row is one sequence for transformers, each answer alone another one; the packed batches
of hone must give the same. Also: rows cut at max_length, batches of other sizes. Bar: 1e-4 relative.

Ids and masks come from `hone tokenize --chat` (tokenizer_parity, mask_parity prove them); what stands before an answer
alone comes from transformers' tokenizer.

usage: score_parity.py --hone build/release/hone [--models models] [--cache build/peers-cache] [--rows 8]
                       [--shared ../shared] [--write FILE: rows and scores of the tiny model, the golden of a test]"""
import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hf_from_gguf import convert
from real_parity import conversations, encode

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "..", "golden", "tiny_chat")
BAR = 1e-4


def talk(*turns, **switches):
    names = ["user", "assistant"]
    messages = [{"role": names[i % 2], "content": t} for i, t in enumerate(turns)]
    for i, weight in switches.get("weight", {}).items():
        messages[i]["loss_weight"] = weight
    return {"messages": messages}


ROWS = [
    talk("What is the answer?", "It is forty-two."),
    talk("你好\n今天", "今天天气很好，适合散步。"),
    talk("hi", "hello", "jump", "The quick brown fox jumps over the lazy dog."),
    talk("hi", "hello", "jump", "The quick brown fox jumps over the lazy dog.", weight={1: 0}),
    talk("8?", "8"),
    talk("more", "step by step " * 30),
    talk("Write a list", "- one\n- two\n- three"),
    talk("舌苔", "舌淡红，苔薄白，脉弦细。"),
]


def mean_loss(model, ids, mask):
    """Sum of the losses of the masked ids but the first, and their number."""
    target = torch.tensor([i if m else -100 for i, m in zip(ids, mask)][1:])
    if len(ids) < 2 or not (target != -100).any():
        return 0.0, 0
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    loss = torch.nn.functional.cross_entropy(logits[:-1], target, ignore_index=-100, reduction="sum")
    return loss.double().item(), int((target != -100).sum())


def expected(model, prefix, ids, mask, limit):
    """The definition of docs/report.md, one sequence at a time."""
    cut, unscored = ids[:limit], sum(mask[limit:])
    loss, n = mean_loss(model, cut, mask[:limit])
    alone, n_alone, i = 0.0, 0, 0
    while i < len(cut):
        end = i
        while end < len(cut) and mask[end] == mask[i]:
            end += 1
        if mask[i]:
            run = cut[i:min(end, i + limit - len(prefix))]
            s, k = mean_loss(model, prefix + run, [0] * len(prefix) + [1] * len(run))
            alone, n_alone = alone + s, n_alone + k
        i = end
    whole = math.exp(loss / n) if n else None
    alone = math.exp(alone / n_alone) if n_alone else None
    return {"perplexity": whole, "perplexity_alone": alone, "ifd": whole / alone if whole and alone else None,
            "unscored": float(unscored)}


def drive(hone, model, rows, folder, limit=0, batch=0):
    path = os.path.join(folder, "rows.jsonl")
    with open(path, "w") as f:
        f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
    program = os.path.join(os.path.dirname(hone), "tests", "hone_scores_driver")
    p = subprocess.run([program, model, path, str(limit), str(batch)], capture_output=True, text=True)
    if p.returncode:
        raise SystemExit("hone_scores_driver failed: %s" % p.stderr)
    return [json.loads(line) for line in p.stdout.splitlines()]


def worst(ours, truth):
    most = 0.0
    assert len(ours) == len(truth)
    for o, t in zip(ours, truth):
        for name in t:
            if o[name] is None or t[name] is None:
                assert o[name] == t[name], (name, o, t)
            else:
                most = max(most, abs(o[name] - t[name]) / max(abs(t[name]), 1e-12) if t[name] else abs(o[name]))
    return most


def compare(a, name, native, hf, rows, folder, limits, failures):
    model = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32).eval()
    tok = AutoTokenizer.from_pretrained(hf)
    bare = tok("x", add_special_tokens=False).input_ids
    whole = tok("x").input_ids
    prefix = whole[:len(whole) - len(bare)]
    assert whole[len(prefix):] == bare
    encoded = []
    for r in rows:
        plain = [{k: v for k, v in m.items() if k != "loss_weight"} for m in r["messages"]]
        ids, mask = encode(a.hone, native, {"messages": plain}, folder)
        encoded.append([ids, mask, r])
    for e in encoded:  # turns that are switched off: their run of the mask
        off, run, last = {}, 0, 0
        answers = [m for m in e[2]["messages"] if m["role"] == "assistant"]
        for i, m in enumerate(e[1]):
            run += m and not last
            last = m
            if m and answers[run - 1].get("loss_weight") == 0:
                off[i] = True
        e[1] = [0 if i in off else m for i, m in enumerate(e[1])]
    truth = None
    for limit, batch in limits:
        top = limit or model.config.max_position_embeddings
        truth = [expected(model, prefix, ids, mask, top) for ids, mask, _ in encoded]
        figure = worst(drive(a.hone, native, rows, folder, limit, batch), truth)
        ok = figure <= BAR
        print("  %-28s %2d rows, prefix %s, max_length %4d, batch %4d: largest relative error %.3g (bar %g)  %s" %
              (name, len(rows), prefix, top, batch or 2048, figure, BAR, "ok" if ok else "FAILED"), flush=True)
        if not ok:
            failures.append(name)
        if a.write and name == "tiny chat" and not limit:
            with open(a.write, "w") as f:
                for r, t in zip(rows, truth):
                    f.write(json.dumps({**r, "scores": t}, ensure_ascii=False) + "\n")
            print("  %s is written" % a.write)


def with_bos(folder):
    """The tiny model with a tokenizer that starts every text with <|endoftext|>."""
    out = os.path.join(folder, "bos")
    shutil.copytree(TINY, out)
    path = os.path.join(out, "tokenizer.json")
    t = json.load(open(path))
    bos = "<|endoftext|>"
    t["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": bos, "type_id": 0}},
                                                                    {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {bos: {"id": bos, "ids": [526], "tokens": [bos]}}}
    json.dump(t, open(path, "w"), ensure_ascii=False)
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--hone", required=True)
    p.add_argument("--models", default="models")
    p.add_argument("--cache", default="build/peers-cache")
    p.add_argument("--shared", default=os.environ.get("HONE_SHARED", "../shared"))
    p.add_argument("--rows", type=int, default=8)
    p.add_argument("--write")
    a = p.parse_args()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        compare(a, "tiny chat", TINY, TINY, ROWS, folder, [(0, 0), (0, 64), (40, 40)], failures)
        bos = with_bos(folder)
        compare(a, "tiny chat with BOS", bos, bos, ROWS, folder, [(0, 0), (40, 0)], failures)
        gguf = os.path.join(a.models, "SmolLM2-135M-Instruct.Q4_1.gguf")
        if not os.path.exists(gguf):
            print("  SmolLM2 skipped: fetch it with tools/get-model.sh")
        else:
            rows = list(ROWS)
            if os.path.exists(os.path.join(a.shared, "data/instruct/alpaca_zh_demo.json")):
                rows += [{"messages": m} for m in conversations(a.shared, a.rows)]
            compare(a, "SmolLM2-135M", gguf, convert(gguf, os.path.join(a.cache, "smollm2")), rows, folder,
                    [(0, 0), (0, 256), (128, 0)], failures)
    print("%d failed" % len(failures) if failures else "all within their bars")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
