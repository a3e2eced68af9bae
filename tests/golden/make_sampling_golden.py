#!/usr/bin/env python3
"""Vectors for tests/unit/infer/test_sampling.c: what transformers' logits processors keep, and with which probability.

    build/peers/bin/python tests/golden/make_sampling_golden.py > tests/golden/sampling.txt

A case is four lines:
    case V temperature top_k top_p min_p repetition_penalty
    prompt ID...
    logits HEX...      (the bits of the f32)
    kept ID:PROB...    (ascending ids; greedy cases: the one id with 1)
"""
import struct

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


def case(logits, prompt, temperature, top_k, top_p, min_p, penalty):
    chain = LogitsProcessorList()
    if penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(penalty))
    if temperature:
        if temperature != 1:
            chain.append(TemperatureLogitsWarper(temperature))
        if top_k:
            chain.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            chain.append(TopPLogitsWarper(top_p))
        if min_p:
            chain.append(MinPLogitsWarper(min_p))
    scores = chain(torch.tensor([prompt]), logits.clone()[None])[0]
    if temperature:
        p = torch.softmax(scores, -1)
        kept = [(i, p[i].item()) for i in range(len(p)) if scores[i] != -float("inf")]
    else:
        kept = [(int(scores.argmax()), 1.0)]
    print("case", len(logits), temperature, top_k, top_p, min_p, penalty)
    print("prompt", *prompt)
    print("logits", *(struct.pack(">f", x).hex() for x in logits.tolist()))
    print("kept", *(f"{i}:{q:.9g}" for i, q in kept))


def main():
    torch.manual_seed(7)
    settings = [
        (1.0, 0, 1.0, 0.0, 1.0),
        (0.7, 0, 1.0, 0.0, 1.0),
        (1.0, 5, 1.0, 0.0, 1.0),
        (1.0, 1, 1.0, 0.0, 1.0),
        (1.0, 0, 0.9, 0.0, 1.0),
        (1.0, 0, 0.05, 0.0, 1.0),
        (1.0, 0, 1.0, 0.1, 1.0),
        (1.3, 0, 1.0, 0.02, 1.0),
        (0.7, 50, 0.9, 0.0, 1.1),
        (0.5, 20, 0.8, 0.05, 1.3),
        (2.0, 40, 0.95, 0.01, 0.8),
        (0.0, 50, 0.9, 0.0, 1.0),
        (0.0, 0, 1.0, 0.0, 1.5),
    ]
    for v in (1, 7, 97, 600):
        for t, k, p, m, r in settings:
            logits = torch.randn(v) * 3
            case(logits, torch.randint(0, v, (9,)).tolist(), t, k, p, m, r)
    ties = torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0, 0.0, -0.0, 2.0, -1.0, 3.0])
    case(ties, [1, 1, 8], 1.0, 2, 1.0, 0.0, 1.0)       # ties at the k-th value all stay
    case(ties, [1, 1, 8], 1.0, 5, 1.0, 0.0, 1.0)
    case(ties, [1, 1, 8], 1.0, 0, 0.5, 0.0, 1.0)       # ties at the border of the nucleus
    case(ties, [1, 1, 8], 1.0, 0, 0.0, 0.0, 1.0)       # at least one stays
    case(ties, [1, 1, 8], 1.0, 0, 1.0, 1.0, 1.0)       # only the most probable
    case(ties, [1, 1, 8], 0.0, 0, 1.0, 0.0, 1.0)       # argmax: the first
    case(ties, [1, 1, 8], 0.0, 0, 1.0, 0.0, 1.2)       # the penalty counts an id once
    case(torch.zeros(64), [3], 1.0, 10, 1.0, 0.0, 1.0)  # all equal: top_k keeps all


main()
