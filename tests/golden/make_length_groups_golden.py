#!/usr/bin/env python3
"""Freezes transformers' get_length_grouped_indices for rows that stand in order already (its permutation is replaced by
0, 1, 2, ...; hone has its own).

    build/peers/bin/python tests/golden/make_length_groups_golden.py

Writes tests/golden/length_groups.txt: two lines a case, "batch : lengths" and the order.
"""

import os
import random

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

torch.randperm = lambda n, generator=None: torch.arange(n)
random.seed(3)
lines = []
for n, batch, top in [(1, 4, 9), (7, 2, 3), (16, 2, 5), (40, 4, 30), (41, 4, 30), (100, 1, 12), (230, 1, 500), (650, 3, 64)]:
    lengths = [random.randint(1, top) for _ in range(n)]
    lines.append(f"{batch} : " + " ".join(map(str, lengths)))
    lines.append(" ".join(map(str, get_length_grouped_indices(lengths, batch))))
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "length_groups.txt"), "w") as f:
    f.write("\n".join(lines) + "\n")
