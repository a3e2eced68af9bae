#!/usr/bin/env python3
"""TRL and hone from start to saved adapter, one after the other: the same rows, steps of 16, LoRA r 8 on all linear layers,
every token trained, bf16 base. Prints seconds, tokens and peak memory of both, and ratios. With as many rows as the steps take
both compute the same tokens, whatever their order, which is checked; with more rows seconds are compared per token.

P bench/trl_against_hone.py --trl SCRIPT --model FOLDER --data FILE.json [--rows 200] [--steps 3] [--max-length 1024]
SCRIPT takes model, data, rows, steps, length and prints one JSON line with import_s, prepare_s, train_s, save_s, log, rss_mb."""
import argparse, json, os, subprocess, sys, tempfile, time

parser = argparse.ArgumentParser()
parser.add_argument("--hone", default="build/release/hone")
parser.add_argument("--trl", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--rows", type=int, default=200)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--max-length", type=int, default=1024)
args = parser.parse_args()


def timed(command):
    began = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr[-2000:]}")
    return time.time() - began, json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


config = """model: {name_or_path: %s, max_length: %d}
lora: {r: 8, lora_alpha: 16, lora_dropout: 0.05, target_modules: all-linear}
training: {output_dir: %s, max_steps: %d, per_device_train_batch_size: 4, gradient_accumulation_steps: 4, learning_rate: 2e-4,
  lr_scheduler_type: cosine, warmup_steps: 1, logging_steps: 1, precision: auto, packing: false, evaluation_strategy: "no",
  save_strategy: "no", report_to: none}
data: {train_data_path: %s, max_samples: %d, train_on_prompt: true, overlong: truncate}
"""
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "c.yaml")
    with open(path, "w") as f:
        model, data = (json.dumps(os.path.abspath(p)) for p in (args.model, args.data))
        f.write(config % (model, args.max_length, os.path.join(folder, "out"), args.steps, data, args.rows))
    seconds, hone = timed([args.hone, "train", path, "--json", "--quiet"])
peer_seconds, trl = timed([sys.executable, args.trl, args.model, args.data, str(args.rows), str(args.steps), str(args.max_length)])
tokens, peer_tokens = hone["tokens"], int([n for _, n in trl["log"] if n][-1])
print(f"{'':8}{'seconds':>10}{'tokens':>10}{'tokens/s':>10}{'peak MB':>10}")
print(f"{'hone':8}{seconds:10.1f}{tokens:10}{tokens / seconds:10.1f}{hone['peak_bytes'] / 1e6:10.0f}")
print(f"{'TRL':8}{peer_seconds:10.1f}{peer_tokens:10}{peer_tokens / peer_seconds:10.1f}{trl['rss_mb'] * 1.048576:10.0f}")
print(f"hone is {(peer_seconds / peer_tokens) / (seconds / tokens):.2f} times as fast per token and takes "
      f"{hone['peak_bytes'] / (trl['rss_mb'] * 2**20):.3f} of the memory")
if args.rows == 16 * args.steps and tokens != peer_tokens:
    sys.exit(f"the same rows are {tokens} tokens for hone and {peer_tokens} for TRL")
