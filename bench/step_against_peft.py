"""One training step, hone against PyTorch (with PEFT for LoRA), pairs in turn on the same machine; prints every pair and the median ratio.

usage: step_against_peft.py --hone build/release/hone [--shape smol] [--tokens 512] [--precision bf16] [--r 8] [--pairs 5]
                            [--mode lora|full]
                            [--peer ../shared/peers/peft_step.py] [--python build/peers/bin/python]
The peer script prints one JSON line with tok_s_median and peak_rss_mb."""
import argparse
import json
import statistics
import subprocess
import sys


def last_json(command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        raise SystemExit("%s failed:\n%s" % (" ".join(command), p.stderr[-2000:]))
    text = p.stdout.strip()
    return json.loads(text if text.startswith("{") and text.count("\n{") == 0 else text.splitlines()[-1])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--hone", required=True)
    p.add_argument("--shape", default="smol")
    p.add_argument("--tokens", default="512")
    p.add_argument("--precision", default="bf16")
    p.add_argument("--r", default="8")
    p.add_argument("--mode", default="lora", choices=("lora", "full"))
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--peer", default="../shared/peers/peft_step.py")
    p.add_argument("--python", default="build/peers/bin/python")
    a = p.parse_args()
    ours = [a.hone, "bench", "step", "--shape", a.shape, "--tokens", a.tokens, "--r", a.r, "--precision", a.precision,
            "--mode", a.mode, "--json"]
    theirs = [a.python, a.peer, "shape:" + a.shape, "--dtype", a.precision, "--seq", a.tokens, "--r", a.r,
              "--mode", a.mode]
    ratios, memory = [], []
    print("pair  hone tok/s  peft tok/s  ratio  hone MB  peft MB  share of the peak")
    for k in range(a.pairs):
        h, t = last_json(ours), last_json(theirs)
        ratios.append(h["tokens_per_second"] / t["tok_s_median"])
        memory.append(h["peak_bytes"] / 1e6)
        print("%4d  %10.1f  %10.1f  %5.2f  %7.0f  %7d  %.3f of %.0f GFLOP/s" %
              (k + 1, h["tokens_per_second"], t["tok_s_median"], ratios[-1], memory[-1], t["peak_rss_mb"],
               h["roofline_share"], h["machine_peak_gflops"]), flush=True)
    print("median ratio %.2f (min %.2f, max %.2f), hone's peak memory %.0f MB" %
          (statistics.median(ratios), min(ratios), max(ratios), max(memory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
