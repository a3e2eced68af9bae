"""What `hone export merge` makes of a GGUF file, read by transformers: ids and decoded texts against the vocabulary built of
the library's own parts (transformers' reader of GGUF files leaves SmolLM2's splitting of digits out), chat renderings and
logits (f32) against what transformers itself makes of the file.

usage: export_parity.py --hone build/release/hone [--lines 500] [MODEL.gguf...]      default: models/*.gguf"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_from_gguf import convert
from tokenizer_parity import from_gguf


def texts(path, n):
    with open(path, encoding="utf-8") as f:
        rows = [json.loads(line) for _, line in zip(range(n), f)]
    lines = [r[k] for r in rows for k in ("instruction", "output") if r.get(k)]
    chats = [[{"role": "user", "content": r["instruction"]}, {"role": "assistant", "content": r["output"]}] for r in rows]
    return lines + ["a<|im_end|>b", "  12 345\n\n\t x", "é e\u0301 \u200b", ""], chats


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--hone", required=True)
    p.add_argument("--data", default="../shared/data/instruct/medical_zh.jsonl")
    p.add_argument("--lines", type=int, default=500)
    p.add_argument("gguf", nargs="*")
    a = p.parse_args()
    a.gguf = a.gguf or sorted(glob.glob("models/*.gguf"))
    if not a.gguf:
        print("no GGUF file in models/: tools/get-model.sh fetches them")
        return 77
    lines, chats = texts(a.data, a.lines)
    failed = 0
    for gguf in a.gguf:
        name = os.path.splitext(os.path.basename(gguf))[0]
        want_dir = convert(gguf, os.path.join("build/peers-cache", name))
        work = tempfile.mkdtemp()
        out = os.path.join(work, "exported")
        subprocess.run([a.hone, "export", "merge", "--model", gguf, "--output", out, "--precision", "f32", "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)
        want, got = AutoTokenizer.from_pretrained(want_dir), AutoTokenizer.from_pretrained(out)
        parts = from_gguf(gguf)
        ids = [parts.encode(t).ids for t in lines]
        wrong = sum(i != got(t)["input_ids"] for i, t in zip(ids, lines))
        wrong_text = sum(parts.decode(i, skip_special_tokens=False) != got.decode(i) for i in ids)
        wrong_chat = sum(want.apply_chat_template(c, tokenize=False) != got.apply_chat_template(c, tokenize=False) for c in chats)
        special = (want.eos_token, want.bos_token) != (got.eos_token, got.bos_token)
        ids = torch.tensor([ids[0][:64]])
        with torch.no_grad():
            x = AutoModelForCausalLM.from_pretrained(want_dir, dtype=torch.float32)(input_ids=ids).logits
            y = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)(input_ids=ids).logits
        far = ((x - y).abs().max() / x.abs().max()).item()
        print("%s: %d texts, %d with other ids, %d decoded otherwise; %d chats, %d rendered otherwise; logits %.1e apart"
              % (name, len(lines), wrong, wrong_text, len(chats), wrong_chat, far))
        failed |= bool(wrong or wrong_text or wrong_chat or special or far > 1e-5)
        shutil.rmtree(work)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
