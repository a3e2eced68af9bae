#!/usr/bin/env python3
"""Speed of hone's tokenizer against the `tokenizers` library: one thread, Chinese and English, in paired runs.

usage: tokenizer_speed.py BENCH_TOKENIZER TOKENIZER... [--text FILE]... [--pairs N]
BENCH_TOKENIZER is the program built of bench_tokenizer.c; TOKENIZER a tokenizer.json. Each pair runs both once on the same
lines, the library by encode_batch_fast without parallelism; printed are both medians and the ratio of each pair.
"""
import argparse
import os
import statistics
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer  # noqa: E402  (the environment comes first)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--text", action="append", required=True)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    for path in args.tokenizers:
        tok = Tokenizer.from_file(path)
        for text in args.text:
            lines = open(text, encoding="utf-8").read().split("\n")
            size = os.path.getsize(text)
            ours, theirs, ratios = [], [], []
            for _ in range(args.pairs):
                start = time.perf_counter()
                n = sum(len(x.ids) for x in tok.encode_batch_fast(lines, add_special_tokens=False))
                theirs.append(size / (time.perf_counter() - start) / 1e6)
                out = subprocess.run([args.bench, path, text, "1"], check=True, capture_output=True, text=True).stdout.split()
                ours.append(float(out[0]))
                assert int(out[2]) == n, (out, n)
                ratios.append(ours[-1] / theirs[-1])
            print(f"{os.path.basename(os.path.dirname(path))} {os.path.basename(text)}: hone {statistics.median(ours):.1f} MB/s, tokenizers "
                  f"{statistics.median(theirs):.1f} MB/s, ratio {statistics.median(ratios):.1f} "
                  f"({min(ratios):.1f} .. {max(ratios):.1f})", flush=True)


main()
