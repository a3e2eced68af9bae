#!/usr/bin/env python3
"""What the built-in quality rules find in real files, and what they find when real answers are spoilt on purpose. The
figures stand in docs/quality.md; run by hand.

  as they are  findings per rule: in good data most of these would be false alarms
  cut          every answer of 40 characters or more is cut at a random place: share that truncated or no_final_mark finds
  shuffled     every question gets the answer of another row: share that ignores_input finds
  looped       the last 4 to 20 characters of an answer are said six times more: share that repeated_phrase finds

usage: quality_calibration.py --hone build/release/hone FILE...      (alpaca format for all but the first table)
"""
import argparse
import collections
import json
import os
import random
import subprocess
import tempfile


def load(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f] if path.endswith("l") else json.load(f)


def run(driver, rows, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as f:
        for r in rows:
            f.write(json.dumps(r, ensure_ascii=False) + "\n")
        f.flush()
        out = subprocess.run([driver, *options, f.name], check=True, capture_output=True).stdout.decode()
    return [json.loads(line) for line in out.splitlines()[:-1]]


def spoil(driver, name, rows, *rules):
    options = [x for r in rules for x in ("--only", r)]
    hit = {f["row"] for f in run(driver, rows, *options)}
    print(f"  {name}: {len(hit)} of {len(rows)}, {100 * len(hit) / max(1, len(rows)):.1f} %")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hone", required=True)
    parser.add_argument("file", nargs="+")
    args = parser.parse_args()
    driver = os.path.join(os.path.dirname(os.path.abspath(args.hone)), "tests", "hone_quality_driver")
    for path in args.file:
        rows = load(path)
        found = collections.Counter(f["rule"] for f in run(driver, rows))
        print(f"{os.path.basename(path)}: {len(rows)} rows")
        print("  as they are:", ", ".join(f"{k} {v}" for k, v in found.most_common()) or "nothing")
        rows = [r for r in rows if isinstance(r.get("output"), str) and r["output"].strip()]
        if not rows:
            continue
        rng = random.Random(3)
        long = [r for r in rows if len(r["output"]) >= 40]
        spoil(driver, "cut", [dict(r, output=r["output"][:rng.randrange(20, len(r["output"]) - 2)]) for r in long],
              "truncated", "no_final_mark")
        answers = [r["output"] for r in rows]
        rng.shuffle(answers)
        spoil(driver, "shuffled", [dict(r, output=a) for r, a in zip(rows, answers)], "ignores_input")
        spoil(driver, "looped", [dict(r, output=r["output"] + r["output"][-rng.randrange(4, 21):] * 6) for r in long],
              "repeated_phrase")


main()
