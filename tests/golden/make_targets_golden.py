#!/usr/bin/env python3
"""Freezes which modules PEFT adapts under target_modules, exclude_modules, layers_to_transform and layers_pattern.

    build/peers/bin/python tests/golden/make_targets_golden.py

Writes tests/golden/targets.json: "paths", and cases of {settings, "adapted": one 0 or 1 a path, null where PEFT refuses the
settings}.
"""

import json
import os

from peft import LoraConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists

PATHS = [
    *(f"model.layers.{n}.{name}" for n in (0, 1, 10, 11) for name in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.qkv_proj", "mlp.down_proj", "mlp.experts.1.up_proj")),
    "layers.1.mlp.down_proj", "transformer.h.1.attn.q_proj", "model.layers.1", "model.embed_tokens", "lm_head", "q_proj",
    "model.q_proj", "model.layers.x.self_attn.q_proj", "a.layers.0.layers.1.q_proj",
]
NAMES = ["q_proj", "down_proj", "up_proj"]
CASES = [
    dict(target_modules=NAMES),
    dict(target_modules=["proj"]),
    dict(target_modules=["self_attn.q_proj", "1.mlp.down_proj", "lm_head"]),
    dict(target_modules=r".*\.1\.(self_attn|mlp)\..*"),
    dict(target_modules=r"q_proj"),
    dict(target_modules=NAMES, exclude_modules=["q_proj"]),
    dict(target_modules=NAMES, exclude_modules=["1.mlp.down_proj", "up_proj", "model.layers.0.self_attn.q_proj", "nothing"]),
    dict(target_modules=NAMES, exclude_modules=["proj", "layers.1"]),
    dict(target_modules=NAMES, exclude_modules=r".*layers\.1\..*"),
    dict(target_modules=NAMES, exclude_modules=r"layers\.1\."),
    dict(target_modules=r".*_proj", exclude_modules=["k_proj"]),
    dict(target_modules=r".*_proj", exclude_modules=r".*(qkv|up)_proj|lm_head"),
    dict(target_modules=NAMES, layers_to_transform=[1]),
    dict(target_modules=NAMES, layers_to_transform=1),
    dict(target_modules=NAMES, layers_to_transform=0),
    dict(target_modules=NAMES, layers_to_transform=[0, 11, 99]),
    dict(target_modules=NAMES, layers_to_transform=[]),
    dict(target_modules=NAMES + ["model.layers.10.self_attn.k_proj", "model.q_proj"], layers_to_transform=[1]),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern=["layers"]),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern="h"),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern=["experts"]),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern=["experts", "layers", "h"]),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern=["h", "layers"]),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern=["layer."]),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern=["layers|h"]),
    dict(target_modules=NAMES, layers_to_transform=[1], layers_pattern=["(layers|h)"]),
    dict(target_modules=NAMES, layers_to_transform=[1, 0], layers_pattern=[], exclude_modules=["0.self_attn.q_proj"]),
    dict(target_modules=r".*", layers_to_transform=[1]),
    dict(target_modules="all-linear", layers_to_transform=[1]),
    dict(target_modules=NAMES, layers_pattern=["layers"]),
]


def decide(settings):
    try:
        config = LoraConfig(**settings)
    except ValueError:
        return None
    found = [check_target_module_exists(config, path) for path in PATHS]
    return [0 if isinstance(f, _ExcludedModule) else int(bool(f)) for f in found]


def main():
    cases = [{**settings, "adapted": decide(settings)} for settings in CASES]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "targets.json")
    with open(path, "w") as f:
        json.dump({"paths": PATHS, "cases": cases}, f, separators=(",", ":"))
        f.write("\n")
    print(len(cases), "cases,", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
