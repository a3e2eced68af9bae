#!/usr/bin/env python3
"""A million rows for measuring preparation, from two small Chinese data sets: sentences of their answers put together anew.

    bench/make_million_rows.py MEDICAL.jsonl ALPACA.json [--rows 1000000] > rows.jsonl

A row is a question of one of the sets and one to three sentences drawn from all answers; every sixteenth row is a dialogue of two
exchanges in the messages format. 3 % of the rows repeat an earlier row as it is, 3 % with a character changed, so that
finding duplicates has work to do while more than 90 % of the rows survive it. The same arguments give the same bytes.
"""
import argparse
import json
import random
import re
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("medical")
parser.add_argument("alpaca")
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--seed", type=int, default=4)
args = parser.parse_args()

rows = [json.loads(line) for line in open(args.medical, encoding="utf-8")]
rows += json.load(open(args.alpaca, encoding="utf-8"))
rows = [r for r in rows if r["output"].strip()]
questions = [(r["instruction"] + ("\n" + r["input"] if r["input"] else ""))[:400] for r in rows]
pieces = {p.strip() for r in rows for p in re.split(r"(?<=[。！？；\n])", r["output"])}
sentences = sorted(p for p in pieces if 8 <= len(p) <= 80)
rng = random.Random(args.seed)


def pick(items):
    return items[int(rng.random() * len(items))]


def answer():
    return "".join(pick(sentences) for _ in range(1 + int(rng.random() * 3)))


def text(s):
    return json.dumps(s, ensure_ascii=False)


def fresh(i):
    if i % 16 == 15:
        turns = [f'{{"role": "{role}", "content": {text(s)}}}' for role, s in
                 (("user", pick(questions)), ("assistant", pick(sentences)), ("user", pick(questions)),
                  ("assistant", answer()))]
        return f'{{"messages": [{", ".join(turns)}]}}\n'
    return f'{{"instruction": {text(pick(questions))}, "input": "", "output": {text(answer())}}}\n'


recent = []
for i in range(args.rows):
    luck = rng.random()
    if luck < 0.06 and recent:
        line = pick(recent)
        if luck < 0.03:
            at = line.rfind("。")
            line = line[:at] + "！" + line[at + 1 :] if at > 0 else line
    else:
        line = fresh(i)
        if len(recent) < 5000:
            recent.append(line)
        else:
            recent[int(rng.random() * 5000)] = line
    sys.stdout.write(line)
