#!/usr/bin/env python3
"""Random tokenizers: small vocabularies under parts that are put together at random, hone against `tokenizers`.

usage: tokenizer_random_parity.py --hone PROGRAM [--rounds N] [--seed S] [--lines N] [--keep FOLDER]
A few dozen small BPE and Unigram vocabularies are trained on mixed text. Each of N rounds (3,000) takes one and gives it a
random normalizer, pre-tokenizer, post-processor, decoder, added tokens and model flags; what both libraries open is compared
on random lines (ids with and without the post-processor, decode with and without special tokens). What hone refuses is counted
by its message; what `tokenizers` refuses and hone opens is counted too. A difference makes the exit status 1 and is printed
with its parts; --keep saves its tokenizer.json.
"""
import argparse
import collections
import json
import os
import random
import re
import sys
import tempfile

import tokenizer_lib
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

BAR = "\u2581"
BYTES = [f"<0x{i:02X}>" for i in range(256)]
WORDS = ("the quick brown Fox jumps over it's I'll we've DON'T naive na\u00efve caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m stra\u00dfe \u0130stanbul fi\ufb01 x\u00b2 "
         "\u4e2d\u533b \u6c14\u865a\u8bc1 \u4f60\u597d\u4e16\u754c \uff21\uff22\uff23 \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4 \u041f\u0440\u0438\u0432\u0435\u0442 12 345 6789 3.14 \u0663\u0664 \u2167 a1b2 foo_bar "
         "x=y+1; (hello) [world] {a:b} <s> </s> <tool> word words keyword --- ... !? \U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u0301\u0323 http://x.y/z?q=1").split(" ")
ODD = ["\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\x00", "\x01", "\x7f", "\u0085", "\u2028", "\t", "\n", "\r\n", "\n\n", "  ", "   ", BAR, BAR + BAR, "_", "##",
       "</w>", "\u00ad", "\u0378", "\ue000", "\U0010ffff", "\ufffd", "\u1100\u1161\u11a8", "\u2126", "\ufdfa", "<0x41>", "<0xE4>", "\u0120", "\u010a", "Ab", "aB", "'s", "'S", "a", "b"]
PATTERNS = [r"\s+", r"\p{N}", r"\p{N}{1,3}", r"\p{L}+", r"[^\s\p{L}\p{N}]+", r" ?\p{L}+", r"\s+(?!\S)|\s+", r"[\u4e00-\u9fff]+", r"\w+|[^\w\s]+", r"[A-Z]", r"\S+",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+", r"a", r"ab|b", r"(?=a)", r"\b", r"^\s+|\s+$",
            r"[^\n]+|\n+", r"."]
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def line(rng):
    kind, out = rng.randrange(6), []
    for _ in range(rng.randrange(0, 14)):
        out.append(rng.choice(ODD) if rng.random() < (0.5 if kind == 0 else 0.12) else rng.choice(WORDS))
        if rng.random() < 0.75:
            out.append(" ")
    if kind == 1:
        return "".join(out).replace(" ", "")
    if kind == 2:
        return "".join(rng.choice("aAbBsStT 12.,'\n" + BAR) for _ in range(rng.randrange(0, 25)))
    return "".join(out)


def pattern(rng, empty=True):
    """A pattern; with `empty` one that may match the empty text, which a Replace of the library repeats at a start."""
    regex = rng.choice([p for p in PATTERNS if empty or p not in ("(?=a)", r"\b")])
    return {"String": rng.choice([" ", BAR, "a", "ab", "\u4e2d", "\n", ".", "  "])} if rng.random() < 0.4 else {"Regex": regex}


def flip(rng, p=0.5):
    return rng.random() < p


def normalizer(rng, deep=0):
    kind = rng.choice(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel", "Strip", "Prepend", "Replace", "Replace"] + ["Sequence"] * (6 - 3 * deep))
    if kind == "ByteLevel" and flip(rng, 0.6):
        kind = "Replace"
    if kind == "Sequence":
        return {"type": kind, "normalizers": [normalizer(rng, deep + 1) for _ in range(rng.randrange(0, 4))]}
    if kind == "Strip":
        return {"type": kind, "strip_left": flip(rng), "strip_right": flip(rng)}
    if kind == "Prepend":
        return {"type": kind, "prepend": rng.choice([BAR, " ", "ab", "\u4e2d"])}
    if kind == "Replace":
        return {"type": kind, "pattern": rng.choice([{"String": " "}, pattern(rng, False)]), "content": rng.choice([BAR, " ", "", "ab", "-"])}
    return {"type": kind}


def pre_tokenizer(rng, deep=0):
    kind = rng.choice(["ByteLevel", "ByteLevel", "Metaspace", "Metaspace", "Split", "Split", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit",
                       "BertPreTokenizer", "CharDelimiterSplit"] + ["Sequence"] * (8 - 4 * deep))
    if kind == "Sequence":
        return {"type": kind, "pretokenizers": [pre_tokenizer(rng, deep + 1) for _ in range(rng.randrange(0, 4))]}
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": flip(rng), "trim_offsets": flip(rng), "use_regex": flip(rng)}
    if kind == "Metaspace":
        return {"type": kind, "replacement": rng.choice([BAR, BAR, BAR, "_", " "]), "prepend_scheme": rng.choice(["always", "first", "never"]), "split": flip(rng)}
    if kind == "Split":
        return {"type": kind, "pattern": pattern(rng), "behavior": rng.choice(BEHAVIORS), "invert": flip(rng, 0.3)}
    if kind == "Digits":
        return {"type": kind, "individual_digits": flip(rng)}
    if kind == "Punctuation":
        return {"type": kind, "behavior": rng.choice(BEHAVIORS)}
    if kind == "CharDelimiterSplit":
        return {"type": kind, "delimiter": rng.choice(["a", " ", BAR, "-"])}
    return {"type": kind}


def decoder(rng, deep=0):
    kind = rng.choice(["ByteLevel", "ByteFallback", "Fuse", "Replace", "Strip", "Metaspace"] + ["Sequence"] * (6 - 3 * deep))
    if kind == "Sequence":
        return {"type": kind, "decoders": [decoder(rng, deep + 1) for _ in range(rng.randrange(0, 5))]}
    if kind == "Replace":
        return {"type": kind, "pattern": rng.choice([{"String": BAR}, pattern(rng, False)]), "content": rng.choice([" ", "", "ab"])}
    if kind == "Strip":
        return {"type": kind, "content": rng.choice([" ", BAR, "a"]), "start": rng.randrange(3), "stop": rng.randrange(3)}
    if kind == "Metaspace":
        return {"type": kind, "replacement": rng.choice([BAR, BAR, "_"]), "prepend_scheme": rng.choice(["always", "first", "never"]), "split": flip(rng)}
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": flip(rng), "trim_offsets": flip(rng), "use_regex": flip(rng)}
    return {"type": kind}


def post_processor(rng, ids):
    def template():
        def half(a):
            return [{"SpecialToken": {"id": t, "type_id": 0}} for t in rng.choices(["<s>", "</s>"], k=rng.randrange(0, 3))] if a else []
        single = half(True) + [{"Sequence": {"id": "A", "type_id": 0}}] + half(flip(rng))
        pair = single + [{"Sequence": {"id": "B", "type_id": 1}}]
        return {"type": "TemplateProcessing", "single": single, "pair": pair,
                "special_tokens": {t: {"id": t, "ids": [ids[t]] + ([ids["</s>"]] if flip(rng, 0.1) else []), "tokens": [t] + []} for t in ("<s>", "</s>")}}
    byte_level = {"type": "ByteLevel", "add_prefix_space": flip(rng), "trim_offsets": flip(rng), "use_regex": flip(rng)}
    kind = rng.randrange(6)
    if kind == 0:
        return None
    if kind == 1:
        return byte_level
    if kind == 2:
        return {"type": rng.choice(["BertProcessing"]), "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]]}
    if kind == 3:
        return {"type": "RobertaProcessing", "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]], "trim_offsets": flip(rng), "add_prefix_space": flip(rng)}
    if kind == 4:
        return {"type": "Sequence", "processors": [rng.choice([byte_level, template()]) for _ in range(rng.randrange(0, 3))]}
    t = template()
    for k in t["special_tokens"].values():
        k["tokens"] = k["tokens"] * len(k["ids"])
    return t


def added_tokens(rng, vocab, at):
    out = [{"id": vocab.get(t, at + ("<s>" not in vocab) * i), "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} for i, t in enumerate(("<s>", "</s>"))]
    pool = ["<tool>", "\u4e2d\u533b", "word", "the", "  ", " x", "<", "A", "caf\u00e9", "cafe\u0301", "DON'T", "12", "\n", "\u2167", BAR, "<0x41>", "\U0001f600", "ing", "a b", "\ufb01"]
    pool += rng.sample(sorted(vocab), min(4, len(vocab)))
    for t in rng.sample(pool, rng.randrange(0, 7)):
        if t in ("<s>", "</s>") or any(x["content"] == t for x in out):
            continue
        out.append({"id": vocab.get(t, at + sum(x["content"] not in vocab for x in out)), "content": t, "single_word": flip(rng, 0.3), "lstrip": flip(rng, 0.3), "rstrip": flip(rng, 0.3),
                    "normalized": flip(rng), "special": flip(rng, 0.3)})
    return out


def bases(rng):
    """Trained models as the `model` of a tokenizer.json."""
    text = [" ".join(rng.choice(WORDS) for _ in range(12)) for _ in range(400)] + [line(rng) for _ in range(400)]
    pre = [None, pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Metaspace(), pre_tokenizers.Whitespace(),
           pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}"), "isolated"), pre_tokenizers.Metaspace(prepend_scheme="never", split=False)]
    norm = [None, normalizers.NFKC(), normalizers.Replace(" ", BAR), normalizers.Lowercase(), normalizers.ByteLevel(), normalizers.NFD()]
    for size in (300, 420, 700):
        for p in pre:
            tok = Tokenizer(models.BPE(unk_token="<unk>"))
            if p:
                tok.pre_tokenizer = p
            n = rng.choice(norm)
            if n:
                tok.normalizer = n
            special = rng.choice([["<unk>"], ["<unk>"] + BYTES, []])
            alphabet = pre_tokenizers.ByteLevel.alphabet() if isinstance(p, pre_tokenizers.ByteLevel) or flip(rng, 0.2) else []
            tok.train_from_iterator([x[:80] for x in text], trainers.BpeTrainer(vocab_size=size + 256 * bool(special[1:]) , special_tokens=special, initial_alphabet=alphabet,
                                                                              limit_alphabet=300, show_progress=False))
            yield json.loads(tok.to_str())["model"]
    for size in (250, 600):
        for p in pre[:5]:
            tok = Tokenizer(models.Unigram())
            if p:
                tok.pre_tokenizer = p
            n = rng.choice(norm)
            if n:
                tok.normalizer = n
            special = rng.choice([["<unk>"], ["<unk>"] + BYTES])
            try:
                tok.train_from_iterator(text, trainers.UnigramTrainer(vocab_size=size + 256 * (len(special) > 1), unk_token="<unk>", special_tokens=special, show_progress=False))
            except Exception:
                continue
            yield json.loads(tok.to_str())["model"]


def vary(rng, base):
    model = json.loads(json.dumps(base))
    if model["type"] == "BPE":
        vocab = model["vocab"]
        model.update(ignore_merges=flip(rng, 0.3), fuse_unk=flip(rng), byte_fallback=flip(rng), dropout=rng.choice([None, None, 0.0]))
        model["unk_token"] = rng.choice([None, "<unk>", "<unk>"]) if "<unk>" in vocab else None
        n = len(vocab)
        if flip(rng, 0.15):
            model["merges"] = [" ".join(m) for m in model["merges"]] if not any(" " in x for m in model["merges"] for x in m) else model["merges"]
        if flip(rng, 0.1):
            model[rng.choice(["continuing_subword_prefix", "end_of_word_suffix"])] = rng.choice(["##", "</w>", "@@"])
    else:
        vocab = {t: i for i, (t, _) in enumerate(model["vocab"])}
        model["byte_fallback"] = flip(rng) and "<0x00>" in vocab
        if flip(rng, 0.15):
            model["unk_id"] = None
        n = len(model["vocab"])
    added = added_tokens(rng, vocab, n)
    ids = {t["content"]: t["id"] for t in added}
    root = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer(rng) if flip(rng, 0.8) else None,
            "pre_tokenizer": pre_tokenizer(rng) if flip(rng, 0.9) else None, "post_processor": post_processor(rng, ids), "decoder": decoder(rng) if flip(rng, 0.9) else None,
            "model": model}
    return root


def degenerate(theirs, root):
    """Whether the normalizer leaves nothing of an added token, or two of them equal: the library then finds the empty text
    everywhere, or whichever comes first in the order of a hash table."""
    seen = set()
    for t in root["added_tokens"]:
        if not t["normalized"]:
            continue
        text = theirs.normalizer.normalize_str(t["content"]) if theirs.normalizer else t["content"]
        if not text or text in seen:
            return True
        seen.add(text)
    return False


def parts(root):
    m = {k: v for k, v in root["model"].items() if k not in ("vocab", "merges")}
    return "\n".join(f"     {k} {json.dumps(root[k], ensure_ascii=True)}" for k in ("normalizer", "pre_tokenizer", "post_processor", "decoder", "added_tokens")) + f"\n     model {m}"


def attempt(f):
    """The value, or a mark that the library failed; a panic of Rust is no Exception."""
    try:
        return f()
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        return ("failed", type(e).__name__)


def compare(ours, theirs, rng, lines, counts):
    """The first difference as (what, of, want, got), or None."""
    wrong = None
    for _ in range(lines):
        x = line(rng)
        for special in (False, True):
            want = attempt(lambda: theirs.encode(x, add_special_tokens=special).ids)
            got = attempt(lambda: ours.encode(x, int(special)))
            if isinstance(want, tuple):
                counts["theirs fail"] += 1
                continue
            if want != got:
                wrong = wrong or ("ids", x, want, got)
                continue
            counts["lines"] += 1
            for skip in (False, True):
                a = attempt(lambda: theirs.decode(want, skip_special_tokens=skip))
                b = attempt(lambda: ours.decode(want, skip))
                if a != b and not isinstance(a, tuple):
                    wrong = wrong or ("decode", want, a, b)
    return wrong


def one_round(lib, root, rng, lines, path):
    """What became of one tokenizer: counts, a refusal of hone, a refusal of tokenizers alone, a difference."""
    counts = collections.Counter()
    with open(path, "w", encoding="utf-8") as f:
        json.dump(root, f)
    theirs = attempt(lambda: Tokenizer.from_file(path))
    failed = isinstance(theirs, tuple)
    try:
        ours = tokenizer_lib.Tokenizer(lib, path)
    except ValueError as e:
        message = re.sub(r"'[^']*'", "'...'", re.sub(r"^.*?tokenizer\.json[:0-9]*", "", str(e)))[:110]
        return {"refused": ("both: " if failed else "hone: ") + message}
    wrong = None
    if failed:
        counts["opened by hone alone"] += 1
    elif degenerate(theirs, root):
        counts["degenerate"] += 1
    else:
        counts["compared"] += 1
        wrong = compare(ours, theirs, rng, lines, counts)
    ours.close()
    return {"counts": counts, "wrong": wrong}


def rounds(args, lib, all_models, folder):
    """Yields (i, root, result). They run in a child, since a panic of `tokenizers` may end its process."""
    i = 0
    while i < args.rounds:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with os.fdopen(write, "w") as out:
                for k in range(i, args.rounds):
                    rng = random.Random(f"{args.seed}/{k}")
                    print(json.dumps(one_round(lib, vary(rng, rng.choice(all_models)), rng, args.lines, os.path.join(folder, "tokenizer.json"))), file=out, flush=True)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as results:
            for result in results:
                rng = random.Random(f"{args.seed}/{i}")
                yield i, vary(rng, rng.choice(all_models)), json.loads(result)
                i += 1
        if os.waitpid(child, 0)[1]:
            yield i, None, {"counts": {"tokenizers aborted": 1}}
            i += 1


def main():
    here = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here.add_argument("--hone", required=True)
    here.add_argument("--rounds", type=int, default=3000)
    here.add_argument("--seed", type=int, default=1)
    here.add_argument("--lines", type=int, default=16)
    here.add_argument("--keep")
    args = here.parse_args()
    lib = tokenizer_lib.load(os.path.dirname(args.hone))
    refused, counts, bad = collections.Counter(), collections.Counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for i, root, result in rounds(args, lib, list(bases(random.Random(args.seed))), folder):
            counts.update(result.get("counts", {}))
            if "refused" in result:
                refused[result["refused"]] += 1
            wrong = result.get("wrong")
            if not wrong:
                continue
            bad += 1
            if bad <= 6:
                print(f"-- round {i}: {wrong[0]} of {wrong[1]!r}\n     want {wrong[2]!r}\n     got  {wrong[3]!r}\n{parts(root)}")
            if args.keep:
                os.makedirs(args.keep, exist_ok=True)
                with open(os.path.join(args.keep, f"{args.seed}_{i}.json"), "w", encoding="utf-8") as f:
                    json.dump({"what": wrong, "root": root}, f)
    for message, n in refused.most_common():
        print(f"   refused {n}: {message}")
    print(f"{args.rounds} tokenizers of seed {args.seed}: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()) + f"; {bad} tokenizers differ")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
