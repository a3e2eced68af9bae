#!/usr/bin/env python3
"""A million rows through preparing (read, all rules, near-duplicates, write) and on to token shards (render, tokenise, pack,
write), against the bars: three minutes on two cores, 2 GB.

    bench/data_prepare.py --bench build/release/bench_data --model MODEL.gguf --data FOLDER [--rows N] [--runs N]

FOLDER holds medical_zh.jsonl and alpaca_zh_demo.json. Of several runs the fastest counts; what else the machine did is
printed beside it (load, and the CPU seconds that the run itself took).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--bench", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True, type=pathlib.Path)
parser.add_argument("--rows", type=int, default=1_000_000)
parser.add_argument("--runs", type=int, default=2)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
here = pathlib.Path(__file__).resolve().parent
best = None
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    with open(folder / "rows.jsonl", "wb") as out:
        subprocess.run([sys.executable, here / "make_million_rows.py", args.data / "medical_zh.jsonl",
                        args.data / "alpaca_zh_demo.json", "--rows", str(args.rows)], stdout=out, check=True)
    size = (folder / "rows.jsonl").stat().st_size
    print(f"{args.rows:,} rows, {size / 1e6:.0f} MB")
    for run in range(args.runs):
        out = folder / f"run{run}"
        (folder / "config.yaml").write_text(
            f"model:\n  name_or_path: {os.path.abspath(args.model)}\ntraining:\n  output_dir: {out}\n"
            f"data:\n  train_data_path: rows.jsonl\n  overlong: drop\n  cache: true\n")
        load = os.getloadavg()[0]
        result = json.loads(subprocess.run(
            [args.bench, folder / "config.yaml", out, str(args.threads)], stdout=subprocess.PIPE, check=True).stdout)
        seconds = result["prepare_seconds"] + result["cache_seconds"]
        cpu = result["prepare_cpu"] + result["cache_cpu"]
        print(f"prepare {result['prepare_seconds']:.1f} s ({result['prepare_cpu']:.1f} s CPU), shards "
              f"{result['cache_seconds']:.1f} s ({result['cache_cpu']:.1f} s CPU), peak {result['peak_mib']:.0f} MiB; "
              f"{args.threads} threads, load {load:.1f} before")
        best = min(best or (1e9, 0, 0), (seconds, cpu, result["peak_mib"]))
survivors = result["used"] / result["rows"]
print(f"{result['used']:,} rows survive ({100 * survivors:.1f} %), {result['tokens']:,} tokens, {result['packs']:,} packs")
print(f"best: {best[0]:.1f} s, {args.rows / best[0]:,.0f} rows/s (bar: 180 s); {best[1]:.1f} s CPU; "
      f"peak {best[2]:.0f} MiB (bar: 2,048)")
sys.exit(not (best[0] <= 180 * args.rows / 1e6 and best[2] <= 2048 and survivors >= 0.9))
