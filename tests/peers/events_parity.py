#!/usr/bin/env python3
"""The event files of a run, read by TensorBoard itself: events_parity.py --hone build/release/hone

Trains the golden model for a few steps and compares every scalar that TensorBoard reads with metrics.jsonl (rounded to
f32, as event files hold them), and the text with config.yaml."""
import argparse
import glob
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

root = pathlib.Path(__file__).resolve().parents[2]


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hone", required=True)
    hone = parser.parse_args().hone
    with tempfile.TemporaryDirectory() as out:
        settings = {
            "model.name_or_path": root / "tests/golden/tiny_chat",
            "data.train_data_path": root / "examples/4.1_vertical_domain_tcm/data/train.jsonl",
            "data.overlong": "truncate", "data.val_size": 1, "model.max_length": 256,
            "training.output_dir": out, "training.max_steps": 6, "training.logging_steps": 1,
            "training.evaluation_strategy": "steps", "training.eval_steps": 2, "training.precision": "f32",
        }
        empty = pathlib.Path(out) / "empty.yaml"
        empty.write_text("training:\n  seed: 1\n")
        command = [hone, "train", str(empty)]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        subprocess.run(command, check=True, capture_output=True)
        lines = [json.loads(line) for line in open(f"{out}/metrics.jsonl")]
        (folder,) = glob.glob(f"{out}/runs/*")
        events = EventAccumulator(folder)
        events.Reload()
        wrong = compared = 0
        for tag in events.Tags()["scalars"]:
            group, name = tag.split("/")
            key = "eval_" + name if group == "eval" else name
            want = [(line["step"], f32(line[key])) for line in lines if key in line]
            have = [(e.step, e.value) for e in events.Scalars(tag)]
            compared += len(want)
            wrong += want != have
        text = events.Tensors("config")[0].tensor_proto.string_val[0].decode()
        config = open(f"{out}/config.yaml").read()
        wrong += "\n".join(line[4:] for line in text.splitlines()) != config.rstrip("\n")
        print(f"events: {len(events.Tags()['scalars'])} tags, {compared} values and the configuration, {wrong} differ")
        return wrong != 0 or compared == 0


if __name__ == "__main__":
    sys.exit(main())
