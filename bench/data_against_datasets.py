#!/usr/bin/env python3
"""The same 20,000 rows to packed tokens: hone against `datasets`, `datasketch` and `tokenizers`, in the same run.

    build/peers/bin/python bench/data_against_datasets.py --bench build/release/bench_data --model FOLDER --data FOLDER

The Python side reads JSON lines with `datasets`, computes MinHash signatures of character 5-grams (192 permutations, the
vectorised form, in two processes), finds candidates with MinHashLSH at 0.8 and verifies them by their exact Jaccard
similarity, looks at every row with ten plain checks in the same two processes (hone runs all its rules, more and finer
ones, and writes a ledger; the time of these checks is printed by itself), renders the model's template with transformers'
Jinja, tokenises with `tokenizers` (all cores), packs best-fit decreasing and saves an Arrow data set. Both load the tokenizer; the time of Python's imports is left out. MODEL is a folder with tokenizer.json.
Prints the ratio of the best of three runs each. Bar: 20.
"""
import argparse
import collections
import heapq
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import datasets
import transformers
from datasketch import MinHash, MinHashLSH

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--bench", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True, type=pathlib.Path)
parser.add_argument("--rows", type=int, default=20_000)
parser.add_argument("--runs", type=int, default=3)
args = parser.parse_args()
here = pathlib.Path(__file__).resolve().parent
datasets.disable_progress_bars()
PERMUTATIONS, LENGTH = 192, 2048
EMPTY = MinHash(num_perm=PERMUTATIONS)


def messages(row):
    if row.get("messages"):
        return [{"role": m["role"], "content": m["content"]} for m in row["messages"]]
    question = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
    return [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]


def shingles(text):
    text = " ".join(text.split())
    return {text[i : i + 5] for i in range(max(len(text) - 4, 1))}


PATTERNS = {
    "control": re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffd]"),
    "html": re.compile(r"</?[a-zA-Z][^<>]{0,80}>|&[a-z]+;"),
    "email": re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"),
    "phone": re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)"),
    "identity": re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)"),
    "refusal": re.compile(r"^(很抱歉|抱歉|对不起|我无法|作为一个|I'm sorry|As an AI)"),
    "disclaimer": re.compile(r"请咨询|建议(及时)?就医|遵医嘱|consult (a|your)"),
    "cut": re.compile(r"[，、；：,;:]\s*$"),
}
TRADITIONAL = set("個們這說對時會來國學後還過發經現開關點體從產應該間題問義務無為與於診療藥")


def check(row):
    """What is wrong with a row: ten checks that need no other row."""
    answer = messages(row)[-1]["content"]
    found = [name for name, pattern in PATTERNS.items() if pattern.search(answer)]
    grams = collections.Counter(answer[i : i + 8] for i in range(len(answer) - 7))
    if grams and sum(n for n in grams.values() if n > 1) > 0.3 * len(answer):
        found.append("repetition")
    hanzi = [c for c in answer if "\u4e00" <= c <= "\u9fff"]
    if len(hanzi) < 0.3 * len(answer) or any(c in TRADITIONAL for c in hanzi):
        found.append("script")
    return {"found": found}


def sign(row):
    turns = messages(row)
    m = EMPTY.copy()
    m.update_batch([s.encode() for s in shingles("\n".join(t["content"] for t in turns))])
    return {"conversation": json.dumps(turns, ensure_ascii=False), "signature": m.hashvalues}


def survivors(signed):
    lsh = MinHashLSH(threshold=0.8, num_perm=PERMUTATIONS, params=(24, 8))
    sets, kept = {}, []
    for i, (signature, text) in enumerate(zip(signed["signature"], signed["conversation"])):
        m = MinHash(hashvalues=signature, permutations=EMPTY.permutations, scheme=EMPTY.scheme)
        own = None
        for other in lsh.query(m):
            if own is None:
                own = shingles(text)
            sets[other] = sets.get(other) or shingles(signed["conversation"][other])
            if len(own & sets[other]) / len(own | sets[other]) >= 0.8:
                break
        else:
            kept.append(i)
            lsh.insert(i, m)
    return kept


def pack(lengths):
    """Best-fit decreasing: how many packs of LENGTH tokens."""
    room, packs = [], 0
    for n in sorted(lengths, reverse=True):
        if room and -room[0] >= n:
            heapq.heapreplace(room, room[0] + n)
        else:
            heapq.heappush(room, -(LENGTH - n))
            packs += 1
    return packs


def cpu():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def python_way(path, out):
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    data = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(out / "cache"))
    columns = data.column_names
    start = time.perf_counter()
    data.map(check, num_proc=2, remove_columns=columns, load_from_cache_file=False)
    checks = time.perf_counter() - start
    signed = data.map(sign, num_proc=2, remove_columns=columns, load_from_cache_file=False)
    signed.set_format("numpy", columns=["signature"], output_all_columns=True)
    signed = signed.select(survivors({"signature": signed["signature"][:], "conversation": signed["conversation"][:]}))
    signed.reset_format()

    def encode(batch):
        texts = [tokenizer.apply_chat_template(json.loads(c), tokenize=False) for c in batch["conversation"]]
        return {"input_ids": tokenizer(texts, add_special_tokens=False, truncation=True, max_length=LENGTH)["input_ids"]}

    tokens = signed.map(encode, batched=True, remove_columns=signed.column_names, load_from_cache_file=False)
    packs = pack([len(t) for t in tokens["input_ids"]])
    tokens.save_to_disk(str(out / "saved"))
    return len(tokens), packs, checks


def main():
    best = {"hone": 1e9, "python": 1e9}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = folder / "rows.jsonl"
        with open(rows, "wb") as out:
            subprocess.run([sys.executable, here / "make_million_rows.py", args.data / "medical_zh.jsonl",
                            args.data / "alpaca_zh_demo.json", "--rows", str(args.rows)], stdout=out, check=True)
        for run in range(args.runs):
            out = folder / f"hone{run}"
            (folder / "config.yaml").write_text(
                f"model:\n  name_or_path: {os.path.abspath(args.model)}\n  max_length: {LENGTH}\n"
                f"training:\n  output_dir: {out}\ndata:\n  train_data_path: rows.jsonl\n  overlong: truncate\n  cache: true\n")
            start, used = time.perf_counter(), cpu()
            result = json.loads(subprocess.run([args.bench, folder / "config.yaml", out, "2"], stdout=subprocess.PIPE,
                                               check=True).stdout)
            hone, hone_cpu = time.perf_counter() - start, cpu() - used
            out = folder / f"python{run}"
            out.mkdir()
            start, used = time.perf_counter(), cpu()
            kept, packs, checks = python_way(rows, out)
            python, python_cpu = time.perf_counter() - start, cpu() - used
            print(f"hone {hone:.2f} s ({hone_cpu:.2f} s CPU), {result['used']:,} rows kept, {result['packs']:,} packs; "
                  f"datasets + datasketch + tokenizers {python:.2f} s ({python_cpu:.2f} s CPU; checks {checks:.2f} s), {kept:,} rows kept, {packs:,} packs; "
                  f"load {os.getloadavg()[0]:.1f}")
            best = {"hone": min(best["hone"], hone), "python": min(best["python"], python)}
    ratio = best["python"] / best["hone"]
    print(f"best: {best['hone']:.2f} s against {best['python']:.2f} s: {ratio:.1f} times (bar: 20)")
    sys.exit(ratio < 20)


if __name__ == "__main__":
    main()
