"""Packs of the same sequences, against TRL's `pack_dataset(strategy="bfd")`.

Lengths of several shapes (uniform, short with a long tail, answers of real text when it is there). Bars: never more packs than
TRL, which packs every 1,000 rows on their own unless told otherwise; exactly as many when it is given all rows at once; every
sequence in one pack, none over the capacity.

usage: packing_parity.py --hone build/release/hone"""

import argparse
import json
import os
import random
import subprocess
import sys

from datasets import Dataset, disable_progress_bars
from trl import pack_dataset

REAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared/data/instruct/alpaca_zh_demo.json")


def ours(program, lengths, capacity):
    text = "".join("%d\n" % n for n in lengths)
    p = subprocess.run([program, str(capacity)], input=text, capture_output=True, text=True, check=True)
    packs = [int(line) for line in p.stdout.split()]
    assert len(packs) == len(lengths)
    room = {}
    for pack, n in zip(packs, lengths):
        room[pack] = room.get(pack, 0) + n
    assert sorted(room) == list(range(len(room))) and max(room.values()) <= capacity
    return len(room)


def theirs(lengths, capacity, **kwargs):
    data = Dataset.from_dict({"input_ids": [[i] * n for i, n in enumerate(lengths)]})
    packed = pack_dataset(data, capacity, strategy="bfd", map_kwargs=kwargs)
    assert sum(len(row) for row in packed["input_ids"]) == sum(lengths)
    return len(packed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hone", required=True)
    args = parser.parse_args()
    program = os.path.join(os.path.dirname(args.hone), "tests", "hone_packing_driver")
    if not os.path.exists(program):
        raise SystemExit("%s is not built: cmake --build %s --target hone_drivers" % (program, os.path.dirname(args.hone)))
    disable_progress_bars()
    g = random.Random(5)
    cases = {
        "uniform": ([g.randint(1, 1024) for _ in range(5000)], 1024),
        "short, long tail": ([min(2048, 1 + int(g.lognormvariate(4.5, 1))) for _ in range(20000)], 2048),
        "halves": ([g.choice((255, 256, 257, 512)) for _ in range(3000)], 512),
    }
    if os.path.exists(REAL):
        with open(REAL) as f:
            cases["alpaca_zh_demo, characters"] = ([min(512, max(1, len(r["output"]))) for r in json.load(f)] * 3, 512)
    failed = False
    for name, (lengths, capacity) in cases.items():
        count = ours(program, lengths, capacity)
        whole = theirs(lengths, capacity, batch_size=len(lengths))
        default = theirs(lengths, capacity)
        bound = -(-sum(lengths) // capacity)
        print(
            "%-28s %6d sequences: %5d packs; TRL %5d at once, %5d by 1,000 rows; no packing below %5d"
            % (name, len(lengths), count, whole, default, bound)
        )
        failed |= count != whole or count > default
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
