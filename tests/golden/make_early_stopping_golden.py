#!/usr/bin/env python3
"""Freezes what transformers decides about courses of evaluations: which is the best, and after which training stops.

    build/peers/bin/python tests/golden/make_early_stopping_golden.py

Writes tests/golden/early_stopping.txt: a line a case, "greater patience threshold : value best counter stop ...", from the
EarlyStoppingCallback and the Trainer's _determine_best_metric, called as Trainer calls them (the callback first).
"""

import os
import random
from types import SimpleNamespace

from transformers import EarlyStoppingCallback, Trainer, TrainerControl, TrainerState

random.seed(5)
lines = []
for case in range(60):
    greater = case % 2 == 1
    patience = random.choice([1, 2, 3, 5])
    threshold = random.choice([0.0, 0.0, 0.01, 0.25])
    # few distinct values, so that ties and differences of exactly the threshold occur; now and then no number
    values = [random.choice([0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, random.random()]) for _ in range(12)]
    if case % 7 == 3:
        values[random.randrange(4)] = float("nan")
    args = SimpleNamespace(metric_for_best_model="eval_x", greater_is_better=greater, save_strategy="steps")
    state, control = TrainerState(), TrainerControl()
    callback = EarlyStoppingCallback(patience, threshold)
    trainer = SimpleNamespace(args=args, state=state)
    out = []
    for step, value in enumerate(values, 1):
        state.global_step = step
        callback.on_evaluate(args, state, control, {"eval_x": value})
        Trainer._determine_best_metric(trainer, {"eval_x": value}, None)
        out.append(f"{value!r} {state.best_global_step or -1} {callback.early_stopping_patience_counter} {int(control.should_training_stop)}")
        if control.should_training_stop:
            break
    lines.append(f"{int(greater)} {patience} {threshold!r} : " + "  ".join(out))

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "early_stopping.txt"), "w") as f:
    f.write("\n".join(lines) + "\n")
