#!/usr/bin/env python3
"""Choices for tests/unit/data/test_choose.c, made by the rules of docs/data.md in Python: which rows, how often, in which
order, so that every machine agrees with every other.

    python3 tests/golden/make_choose_golden.py > tests/golden/choose.txt

A line is a name and the places, ROW:COPY:STAGE, those of the validation behind `|`.
"""
import math
from fractions import Fraction

N = 48
MAXT, BALA, MIXW, SPLI, PLAC = (int.from_bytes(n, "big") << 32 for n in (b"maxt", b"bala", b"mixw", b"spli", b"plac"))


def philox(seed, stream, counter):
    """Philox 4x32-10 (Salmon et al. 2011)."""
    k = [seed & 0xFFFFFFFF, seed >> 32]
    c = [counter & 0xFFFFFFFF, counter >> 32, stream & 0xFFFFFFFF, stream >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def words(seed, stream):
    counter = 0
    while True:
        yield from philox(seed, stream, counter)
        counter += 1


def shuffled(items, seed, stream):
    items, source = list(items), words(seed, stream)
    for n in range(len(items), 1, -1):
        x = next(source)
        while x < 2**32 % n:
            x = next(source)
        i = x % n
        items[i], items[n - 1] = items[n - 1], items[i]
    return items


def row(i):
    return {
        "task": 1 if i % 12 < 7 else 2 if i % 12 < 10 else 3 if i % 12 < 11 else 0,
        "label": 0 if i % 5 == 0 else 1 + i * i % 3,
        "group": 0 if i % 4 == 3 else 1 + i // 5,
        "source": int(i >= 30),
        "length": i * 37 % 101,
        "turns": 1 + i % 3,
        "score": math.nan if i % 11 == 10 else i * 13 % 17 / 16,
    }


def apportion(weights, total):
    sum_ = sum(map(Fraction, weights))
    shares = [Fraction(w) * total / sum_ for w in weights]
    out = [math.floor(s) for s in shares]
    for k in sorted(range(len(shares)), key=lambda k: (out[k] - shares[k], k))[: total - sum(out)]:
        out[k] += 1
    return out


def choose(rows, seed=7, val_size=0, split_by="row", max_per_task=0, balance=None, method="down", temperature=1,
           weights=None, order="file", curriculum="length", stages=None):
    copies, held = [1] * len(rows), set()

    def members(key):
        out = {}
        for i, r in enumerate(rows):
            if copies[i] and r[key]:
                out.setdefault(r[key], []).append(i)
        return dict(sorted(out.items()))

    def give(list_, target, stream):
        if target == len(list_):
            return
        for at, i in enumerate(shuffled(list_, seed, stream)):
            copies[i] = target // len(list_) + (at < target % len(list_))

    if val_size:
        wanted = val_size if val_size >= 1 else math.ceil(val_size * len(rows))
        units, known = [], {}
        for i, r in enumerate(rows):
            g = r["group"] if split_by != "row" else 0
            if g in known and g:
                units[known[g]].append(i)
            else:
                known[g] = len(units)
                units.append([i])
        strata = {}
        for u, unit in enumerate(units):
            strata.setdefault(rows[unit[0]]["task"] if split_by == "task" else 0, []).append(u)
        numbers = range(max(strata) + 1)
        sizes = [sum(len(units[u]) for u in strata.get(k, [])) for k in numbers]
        for k, target in zip(numbers, apportion(sizes, wanted)):
            taken = 0
            for u in shuffled(strata.get(k, []), seed, SPLI | k):
                if taken + len(units[u]) <= target:
                    taken += len(units[u])
                    held.update(units[u])
        for i in held:
            copies[i] = 0
    if max_per_task:
        for k, list_ in members("task").items():
            give(list_, min(len(list_), max_per_task), MAXT | k - 1)
    if balance:
        classes = members(balance)
        sizes = [len(v) for v in classes.values()]
        targets = {"down": [min(sizes)] * len(sizes), "up": [max(sizes)] * len(sizes),
                   "temperature": apportion([s ** (1 / temperature) for s in sizes], sum(sizes))}[method]
        for (k, list_), target in zip(classes.items(), targets):
            give(list_, target, BALA | k - 1)
    if weights:
        paths = [[i for i, r in enumerate(rows) if r["source"] == s] for s in range(len(weights))]
        places = [sum(copies[i] for i in p) for p in paths]
        total = min(Fraction(n * sum(weights), w) for n, w in zip(places, weights) if w)
        for s, target in enumerate(apportion(weights, math.floor(total))):
            list_ = [i for i in paths[s] for _ in range(copies[i])]
            for i in shuffled(list_, seed, MIXW | s)[target:] if target < len(list_) else []:
                copies[i] -= 1
    places = sorted((copy, i) for i in range(len(rows)) for copy in range(copies[i]))
    places = [(i, copy, 0) for copy, i in places]
    if order == "shuffle":
        places = shuffled(places, seed, PLAC)
    elif order == "curriculum":
        places.sort(key=lambda p: math.inf if math.isnan(rows[p[0]][curriculum]) else rows[p[0]][curriculum])
    elif order == "staged":
        mixed, grouped, hard = apportion(stages, len(places))
        by_hardness = sorted(places, key=lambda p: -math.inf if math.isnan(rows[p[0]][curriculum])
                             else rows[p[0]][curriculum])
        last = by_hardness[len(places) - hard:]
        rest = shuffled([p for p in places if p not in last], seed, PLAC)
        middle = sorted(rest[mixed:], key=lambda p: rows[p[0]]["task"] or math.inf)
        places = [(i, c, s) for s, part in enumerate((rest[:mixed], middle, last)) for i, c, _ in part]
    return places, sorted(held)


def main():
    rows = [row(i) for i in range(N)]
    cases = {
        "shuffle": {"order": "shuffle"},
        "down": {"balance": "task"},
        "up": {"balance": "label", "method": "up", "order": "shuffle"},
        "temperature": {"balance": "task", "method": "temperature", "temperature": 2},
        "max_per_task": {"max_per_task": 5, "order": "shuffle"},
        "mix": {"weights": [1, 2]},
        "val_row": {"val_size": 0.2, "order": "curriculum", "curriculum": "length"},
        "val_group": {"val_size": 7, "split_by": "group", "order": "curriculum", "curriculum": "score"},
        "val_task": {"val_size": 0.25, "split_by": "task", "balance": "task", "method": "up", "order": "staged",
                     "curriculum": "turns", "stages": [Fraction(3, 10), Fraction(1, 2), Fraction(1, 5)]},
    }
    for name, options in cases.items():
        places, held = choose(rows, **options)
        print(name, *(f"{i}:{c}:{s}" for i, c, s in places), "|", *held)


main()
