#!/usr/bin/env python3
"""Token ids of hone against the `tokenizers` library: every difference is shown, one makes the exit status 1.

usage: tokenizer_parity.py BUILD [--shared ../shared] [--gguf FILE]... [--rounds N] [--lines N] [--write FILE] [--speed]
BUILD is a release build folder; the library is called through ctypes. What is compared:
  pieces    each known expression (a scanner in hone) and a number of others (PCRE2 in hone), all behaviours, with the
            library's Split on random strings over characters chosen for their properties, and on random code points
  nfc       normal form C on random strings of characters that combine
  qwen3, gemma3  the real tokenizers on a mixed file of N lines (10,000): Chinese, English, code, emoji, controls, random
            assigned code points, CRLF, runs of blanks, special tokens; with offsets' order, decode and the pieces' sum
  --gguf    the same lines for the vocabulary of a GGUF file, against a Tokenizer built from its tokens and merges
"""
import argparse
import ctypes
import gzip
import json
import os
import random
import sys
import tempfile
import time
import unicodedata

import tokenizer_lib
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

FAILED = 0

SPACES = r"\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACES
FOLDED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cl100k(digits):
    return FOLDED + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + SPACES


def mixed(tail, digits):
    prefix = r"[^\r\n\p{L}\p{N}]?"
    return (f"{prefix}{UPPER}*{LOWER}+{tail}|{prefix}{UPPER}+{LOWER}*{tail}|{digits}" + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|"
            + SPACES)


KNOWN = {
    "gpt2": GPT2, "llama3": cl100k(r"\p{N}{1,3}"), "qwen2": cl100k(r"\p{N}"),
    "qwen35": FOLDED + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|" + SPACES,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|" + SPACES,
    "tekken": mixed("", r"\p{N}"), "o200k": mixed(FOLDED + "?", r"\p{N}{1,3}"),
    "deepseek3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
                 r"|\s*[\r\n]+|" + SPACES,
    "cjk": "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", "numbers3": r"\p{N}{1,3}", "number": r"\p{N}", "numbers": r"\p{N}+",
}
# The known ones once more in a spelling that no scanner claims, and what else tokenizers in the world split with.
OTHERS = [f"(?:{p})" for p in KNOWN.values()] + [
    r"(?=(\d{3})+(?!\d))", r"\d(?=(?:\d{3})*(?!\d))", r"[0-9][0-9][0-9]", r"[^\n]+|[\n]+", r"\w+|[^\w\s]+", r"\S+|\s+", r"\W+",
    r"[\p{P}\$\+<=>\^~\|`]+", r" ?[^\s.,!?]+", r"(?<=\d)\p{L}", r"(?<!\p{L})\d+", r"^\s+|\s+$",
    r"\p{Lu}?\p{Ll}+", r"\P{L}+", r"[^\P{L}x]+", r"\p{^N}+", r"[\u4e00-\u9fff]+", r"a{,2}b|a{2,}", r"\p{Mn}+|\p{Mc}+|\p{Me}+", r"\p{Zs}",
    r"[\s\S]", r".", r"[\D]+", r"\p{Sc}|\p{Sm}|\p{Sk}|\p{So}", r"\p{Pd}|\p{Ps}|\p{Pe}|\p{Pi}|\p{Pf}|\p{Po}|\p{Pc}", r"\p{Nl}+|\p{No}",
]
BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
ALPHABET = list("aAsStTlLeErRdDvVmM" "''  \n\r\t..,//$_-") + [
    "\u017f", "\u01c5", "\u02b0", "\u4e2d", "\u9fa5", "\u9fa6", "\u3042", "\u30a2", "\u0301", "\u0903", "\u20dd", "1", "2", "\u00b2", "\u2167",
    "\u0661", "\u00a0", "\u3000", "\u0085", "\u2028", "\u200d", "\u200b", "\ufeff", "\u0000", "\u001f", "\u00ad", "\u00e9", "\u0416", "\u0436",
    "\u20ac", "\u2603", "\U0001f600", "\U0001d7d8", "\u0378", "\ue000", "\U0010ffff", "\U000e0001", "\u180e", "\U0001e4d0", "\U00011f02",
    "\U00016d40", "\U0001ccf0", "\U00016ea0", "\U00011de0", "\u1ace"]


def report(what, done, bad, note=""):
    global FAILED
    FAILED += bad
    print(f"{what:<28} {done:>9} compared  {bad:>5} differ  {note}", flush=True)


def points(rng, n):
    """Random code points: mostly assigned ones, from all planes."""
    out = []
    while len(out) < n:
        c = rng.choice((rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x1fc00),
                        rng.randrange(0x110000)))
        if not 0xd800 <= c <= 0xdfff and (unicodedata.category(chr(c)) != "Cn" or rng.random() < .05):
            out.append(chr(c))
    return "".join(out)


def check_pieces(lib, rounds):
    rng = random.Random(1)
    for pattern in list(KNOWN.values()) + OTHERS:
        done = bad = 0
        p, e, ways = pattern.encode(), tokenizer_lib.Error(), []
        for behavior, invert in [(0, False)] * 12 + [(b, i) for b in range(5) for i in (False, True)]:
            ours = lib.shim_open(p, ctypes.c_size_t(len(p)), behavior, invert, ctypes.byref(e))
            if not ours:
                print("  ", e.message.decode())
                bad += 1
                break
            ways.append((behavior, invert, ctypes.c_void_p(ours), pre_tokenizers.Split(Regex(pattern), BEHAVIORS[behavior], invert)))
        for r in range(0 if bad else rounds):
            behavior, invert, ours, theirs = ways[r % len(ways)]
            text = "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(1, 14))) if r % 4 else points(rng, rng.randrange(1, 20))
            want = theirs.pre_tokenize_str(text)
            data = text.encode()
            at = [0]
            for c in text:
                at.append(at[-1] + len(c.encode()))
            want = [(at[a], at[b]) for _, (a, b) in want]
            out, n = (ctypes.c_uint32 * (2 * len(data)))(), ctypes.c_size_t()
            if lib.shim_pieces(ours, data, ctypes.c_size_t(len(data)), out, ctypes.byref(n), ctypes.byref(e)):
                print("  ", e.message.decode())
                bad += 1
                break
            got = [(out[2 * i], out[2 * i + 1]) for i in range(n.value)]
            done += 1
            if got != want:
                bad += 1
                if bad < 4:
                    print(f"   {pattern!r} {BEHAVIORS[behavior]} invert={invert} {text!r}\n     want {want}\n     got  {got}")
        for way in ways:
            lib.shim_close(way[2])
        name = next((k for k, v in KNOWN.items() if v == pattern), "")
        report("pieces " + (name or "other"), done, bad, "" if name else pattern[:60])


def check_nfc(lib, rounds):
    rng, nfc, bad = random.Random(2), normalizers.NFC(), 0
    special = [c for c in range(0x20000) if unicodedata.combining(chr(c)) or unicodedata.decomposition(chr(c))[:1] not in ("", "<")]
    pool = list("aeoAEO \u1100\u1161\u11a8\uac00\uac01\u0301\u0323\u0302\u0327\u0344\u2126\u09c7\u09be\u09d7\u0dd9\u0dcf\u1b05\u1b35")
    for _ in range(rounds):
        text = "".join(rng.choice(pool) if rng.random() < .6 else chr(rng.choice(special)) for _ in range(rng.randrange(1, 12)))
        data = text.encode()
        out, n = ctypes.create_string_buffer(4 * len(data) + 16), ctypes.c_size_t()
        begin, end = (ctypes.c_uint32 * (4 * len(data)))(), (ctypes.c_uint32 * (4 * len(data)))()
        lib.shim_nfc(data, ctypes.c_size_t(len(data)), out, ctypes.byref(n), begin, end)
        got = out.raw[:n.value]
        ordered = all(begin[i] <= begin[i + 1] and end[i] <= end[i + 1] for i in range(n.value - 1))
        covers = n.value == 0 or (begin[0] == 0 and end[n.value - 1] == len(data))
        gaps = any(begin[i + 1] > end[i] for i in range(n.value - 1))
        if got != nfc.normalize_str(text).encode() or not ordered or not covers or gaps:
            bad += 1
            if bad < 4:
                print(f"   nfc {text!r}: {got!r}")
    report("nfc", rounds, bad)


def mixed_lines(shared, n):
    """Mixed text, n lines; every kind of line is there in equal parts."""
    rng = random.Random(3)
    chinese, english, code = [], [], []
    for name, into in (("medical_zh.jsonl", chinese), ("v1_sft_demo.jsonl", english), ("glaive_toolcall_zh_demo.json", code)):
        with open(os.path.join(shared, "data", "instruct", name), encoding="utf-8") as f:
            into += [x.strip()[:rng.randrange(20, 600)] for x in f if x.strip()]
    source = os.path.dirname(os.path.abspath(__file__))
    for folder in (source, os.path.join(source, "..", "..", "src", "text")):
        for name in sorted(os.listdir(folder)):
            if name.endswith((".py", ".c", ".h")) and not name.startswith("unicode_"):
                code += [x.rstrip("\n") for x in open(os.path.join(folder, name), encoding="utf-8")]
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "<|im_start", "im_end|>", "<s>", "</s>",
                "<|im_start|><|im_start|>", "<repo_name>", "<jupyter_text>"]
    emoji = [chr(c) for c in range(0x1f300, 0x1f6ff)] + ["\u200d", "\ufe0f", "\U0001f1e8\U0001f1f3", "\U0001f468\u200d\U0001f469\u200d\U0001f467"]
    blanks = [" ", "  ", "   ", "\t", "\r", "\u00a0", "\u3000", "\u2003", "\u0085", "\u200b", "\ufeff", "\u2028"]
    kinds = [
        lambda: rng.choice(chinese), lambda: rng.choice(english), lambda: rng.choice(code),
        lambda: "".join(rng.choice(emoji) for _ in range(rng.randrange(1, 12))),
        lambda: "".join(chr(rng.randrange(32)) if rng.random() < .5 else rng.choice("ab 1.") for _ in range(20)),
        lambda: points(rng, rng.randrange(1, 40)),
        lambda: rng.choice(english) + "\r\n" + "\r\n" * rng.randrange(3) + rng.choice(chinese),
        lambda: "".join(rng.choice(blanks) * rng.randrange(1, 9) + rng.choice(["", "x", "\u4e2d", "7", "!"]) for _ in range(6)),
        lambda: "\n" * rng.randrange(1, 5) + " " * rng.randrange(5) + rng.choice(code) + "\n" * rng.randrange(4) + "\t" * rng.randrange(3),
        lambda: "".join(rng.choice(specials) + rng.choice(["", " ", "a", "\n", "\u4f60\u597d"]) for _ in range(rng.randrange(1, 6))),
        lambda: unicodedata.normalize("NFD", rng.choice(english) + " d\u00e9j\u00e0 vu \u1ea4\u00c5\u00f1 \ud55c\uad6d\uc5b4 \u0958\u0344\u2126"),
        lambda: "".join(rng.choice("0123456789.,-+eE xX") for _ in range(rng.randrange(1, 30))) + " I've we'LL it'S they'RE 'tis \u2019s '\u017f",
    ]
    return [kinds[i % len(kinds)]() for i in range(n)]


def compare(name, ours, theirs, lines, speed):
    bad = trips = 0
    start = time.perf_counter()
    want = [theirs.encode(x, add_special_tokens=False).ids for x in lines]
    middle = time.perf_counter()
    got = [ours.encode(x) for x in lines]
    end = time.perf_counter()
    for x, a, b in zip(lines, got, want):
        if a != b:
            bad += 1
            if bad < 4:
                print(f"   {x[:200]!r}\n     want {b[:60]}\n     got  {a[:60]}")
            continue
        text = ours.decode(a)
        if text != theirs.decode(b, skip_special_tokens=False) or ours.decode(a, True) != theirs.decode(b, skip_special_tokens=True):
            trips += 1
        joined = b"".join(ours.piece(i) for i in a).decode("utf-8", "replace")
        # a stream has the blank in front that the whole text loses
        if theirs.decoder is not None and "\ufffd" not in text and joined != text and joined.removeprefix(" ") != text:
            trips += 1
        _, where = ours.encode(x, offsets=True)
        if any(p[0] > q[0] or p[1] > q[1] for p, q in zip(where, where[1:])) or text == x and x and where[-1][1] != len(x.encode()):
            trips += 1
            if trips < 4:
                print("   offsets", repr(x[:80]), where[-3:])
    report("ids " + name, len(lines), bad, f"{sum(map(len, want))} tokens")
    report("  decode, pieces, offsets", len(lines) - bad, trips)
    if speed:
        size = sum(len(x.encode()) for x in lines)
        print(f"   tokenizers {size / (middle - start) / 1e6:.1f} MB/s, hone (through ctypes) {size / (end - middle) / 1e6:.1f} MB/s")


def from_gguf(path):
    """The tokenizer that a GGUF vocabulary stands for, of the library's own parts."""
    import gguf
    fields = gguf.GGUFReader(path).fields
    tokens, merges = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.merges"].contents()
    types, pre = fields["tokenizer.ggml.token_type"].contents(), fields["tokenizer.ggml.pre"].contents()
    tok = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ", 1)) for m in merges],
                               ignore_merges=pre in ("llama-bpe", "tekken")))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if pre == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        known = {"qwen2": "qwen2", "llama-bpe": "llama3", "tekken": "tekken", "gpt-2": "gpt2", "gpt-4o": "o200k"}[pre]
        steps = [pre_tokenizers.Split(Regex(KNOWN[known]), "isolated"), byte_level]
    tok.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if pre == "qwen2":
        tok.normalizer = normalizers.NFC()
    tok.decoder = decoders.ByteLevel()
    for text, kind in zip(tokens, types):
        if kind in (2, 3, 4):
            (tok.add_tokens if kind == 4 else tok.add_special_tokens)([AddedToken(text, special=kind != 4, normalized=False)])
    return tok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("build", nargs="?")
    parser.add_argument("--hone", help="the program; its folder is the build folder")
    parser.add_argument("--shared", default=os.environ.get("HONE_SHARED", os.path.join(here, "..", "..", "..", "shared")))
    parser.add_argument("--gguf", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=4000)
    parser.add_argument("--lines", type=int, default=10000)
    parser.add_argument("--write", help="also write the mixed lines, one JSON string a line")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    lib = tokenizer_lib.load(args.build or os.path.dirname(args.hone))
    print("tokenizers", tokenizers.__version__)
    if args.rounds:
        check_pieces(lib, args.rounds)
        check_nfc(lib, 5 * args.rounds)
    lines = mixed_lines(args.shared, args.lines)
    if args.write:
        with open(args.write, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(x) + "\n" for x in lines)
    for real in ("qwen3", "gemma3"):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("tokenizer.json", "tokenizer_config.json"):
                with gzip.open(os.path.join(args.shared, "data", "tokenizers", real, name + ".gz")) as f:
                    open(os.path.join(folder, name), "wb").write(f.read())
            ours = tokenizer_lib.Tokenizer(lib, folder)
            theirs = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            compare(real, ours, theirs, lines, args.speed)
            compare(real + " random", ours, theirs, [points(random.Random(i), 1 + i % 60) for i in range(1000)], False)
            ours.close()
    for path in args.gguf:
        ours = tokenizer_lib.Tokenizer(lib, path)
        compare(os.path.basename(path)[:24], ours, from_gguf(path), lines, args.speed)
        ours.close()
    sys.exit(FAILED != 0)


if __name__ == "__main__":
    main()
