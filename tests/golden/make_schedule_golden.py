#!/usr/bin/env python3
"""Freezes the multipliers of transformers' learning-rate schedules.

    build/peers/bin/python tests/golden/make_schedule_golden.py

Writes tests/golden/schedules.json: cases of {"set": {key: value} of training, "warmup", "total", "factor": [total + 3
values]}, and the rates of PyTorch's ReduceLROnPlateau and of transformers' GreedyLR for courses of losses.
"""

import json
import os
import random

import torch
from transformers import get_scheduler

LR = 3e-4
# transformers' names, of keyword arguments too
KINDS = [
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("linear", {}),
    ("cosine", {}),
    ("cosine", dict(num_cycles=1.25)),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", dict(num_cycles=3)),
    ("polynomial", {}),
    ("polynomial", dict(power=2.5, lr_end=1e-5)),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", dict(timescale=7)),
    ("cosine_with_min_lr", dict(min_lr=2e-5)),
    ("cosine_with_min_lr", dict(min_lr_rate=0.2, num_cycles=0.75)),
    ("cosine_warmup_with_min_lr", dict(min_lr_rate=0.1)),
    ("cosine_warmup_with_min_lr", dict(min_lr=3e-5, warmup_lr_rate=0.3)),
    ("warmup_stable_decay", dict(num_decay_steps=8)),
    ("warmup_stable_decay", dict(num_decay_steps=9, num_stable_steps=4, min_lr_ratio=0.1, decay_type="linear", warmup_type="cosine")),
    ("warmup_stable_decay", dict(num_decay_steps=5, min_lr_ratio=0.05, decay_type="1-sqrt", warmup_type="1-sqrt")),
]
OURS = {"min_lr_ratio": "min_lr_rate"}


def factors(name, warmup, total, kwargs):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=LR)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=dict(kwargs))
    return [scheduler.lr_lambdas[0](s) for s in range(total + 3)]


def reacting(name, kwargs, losses):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=LR)
    scheduler = get_scheduler(name, optimizer, scheduler_specific_kwargs=dict(kwargs))
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def main():
    cases = []
    for name, kwargs in KINDS:
        for warmup, total in ((0, 20), (3, 20), (7, 31)):
            keys = {"lr_scheduler_type": name, "learning_rate": LR}
            keys.update({"lr_scheduler_kwargs." + OURS.get(k, k): v for k, v in kwargs.items()})
            cases.append({"set": keys, "warmup": warmup, "total": total, "factor": factors(name, warmup, total, kwargs)})
    losses = [3, 2, 1.9999, 2.1, 2.0, 1.7, 1.8, 1.8, 1.8, 1.75, 1.7, 1.699, 1.698, 1.6, 1.61, 1.62, 1.63, 1.64, 1.65, 1.66]
    plateaus = [("reduce_lr_on_plateau", k, losses) for k in (
        dict(patience=1), dict(patience=1, factor=0.5), dict(patience=0, factor=0.1, threshold=1e-2, cooldown=2),
        dict(patience=2, factor=0.3, min_lr=1e-5), dict(patience=1, threshold=0.02, threshold_mode="abs", eps=1e-4))]
    # falls, stays, rises, falls, each with noise
    rng = random.Random(7)
    course = [max(3 - 0.06 * i, 1.5) + max(0, i - 60) * 0.01 - max(0, i - 100) * 0.03 + rng.gauss(0, 0.01) for i in range(160)]
    course = [round(x, 4) for x in course]
    greedy = [("greedy", k, course) for k in (
        {}, dict(patience=2), dict(patience=2, min_lr=1e-5, max_lr=4e-4), dict(patience=0, min_lr=2e-4, cooldown=2, warmup=3),
        dict(patience=1, min_lr=1e-4, smooth=True, window_size=7, factor=0.8),
        dict(patience=1, min_lr=2.5e-4, smooth=True, window_size=300, reset_start=3, factor=0.7, cooldown=1),
        dict(patience=1, min_lr=2.5e-4, smooth=True, window_size=5, reset_start=2, factor=0.7),
        dict(patience=0, min_lr=1e-5, threshold=0.01, threshold_mode="rel", eps=1e-5, reset_start=0))]
    plateaus = [{"type": t, "kwargs": k, "losses": c, "lr": reacting(t, k, c)} for t, k, c in plateaus + greedy]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schedules.json")
    with open(path, "w") as f:
        json.dump({"lr": LR, "cases": cases, "plateau": plateaus}, f, separators=(",", ":"))
        f.write("\n")
    print(len(cases), "cases,", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
