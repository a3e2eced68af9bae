#!/usr/bin/env python3
"""Writes tokenizer_odd.json: small tokenizers with one odd trait each, and what `tokenizers` makes of some lines.

usage: make_tokenizer_odd_golden.py OUT.json
The traits are those in which tests/peers/tokenizer_random_parity.py found hone to differ once.
"""
import json
import sys

from tokenizers import Tokenizer

BAR = "\u2581"


def added(i, text, **flags):
    return {"id": i, "content": text, **{k: False for k in ("single_word", "lstrip", "rstrip", "normalized", "special")}, **flags}


def tokenizer(model, tokens=(), normalizer=None, decoder=None, pre=None):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(tokens), "normalizer": normalizer, "pre_tokenizer": pre,
            "post_processor": None, "decoder": decoder, "model": model}


def bpe(words, merges, **more):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
            "byte_fallback": False, "ignore_merges": False, "vocab": {w: i for i, w in enumerate(words)}, "merges": merges, **more}


def unigram(pairs, **more):
    return {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": pairs, **more}


LETTERS = ["<unk>", "a", "b", " ", "ab", "aa", BAR, "<0x63>", "<0xC3>", "<0xA9>"]
MERGES = [["a", "b"], ["a", "a"]]
fuse = {"type": "Fuse"}
CASES = {
    "a character that is dropped separates nothing": (tokenizer(bpe(LETTERS, MERGES), decoder=fuse), ["acb", "ab\u4e2db", "cacaca", "\u00e9", "a\u00e9\u00e9b a"]),
    "nor does one that has not all its bytes": (tokenizer(bpe(LETTERS, MERGES, byte_fallback=True), decoder=fuse), ["acb", "a\u00e9b", "a\u00e8b", "a\u4e2dab"]),
    "one that is unknown does": (tokenizer(bpe(LETTERS, MERGES, unk_token="<unk>"), decoder=fuse), ["acb", "a\u00e9\u00e9b"]),
    "white space that a token took to its right": (tokenizer(bpe(LETTERS, MERGES), [added(10, "\n", lstrip=True, rstrip=True), added(11, "  ", rstrip=True)]),
                                                   ["a\n\nb", "a \n \n b", "\n\n\n", "a    b", "a     b", "a  \n  b"]),
    "tokens that take to one side": (tokenizer(bpe(LETTERS, MERGES), [added(2, "b", rstrip=True), added(3, " ", lstrip=True), added(10, "  ")]), ["ab   a", "a   b   b", "    "]),
    "a decoder without steps": (tokenizer(bpe(LETTERS, MERGES), decoder={"type": "Sequence", "decoders": []}), ["aba a"]),
    "no decoder": (tokenizer(bpe(LETTERS, MERGES)), ["aba a"]),
    "special tokens that are shown in another form": (tokenizer(bpe(LETTERS, MERGES), [added(10, "AA", normalized=True, special=True), added(11, "B", normalized=True, special=True),
                                                                                    added(12, "<b>", special=True), added(13, "<B>", normalized=True)],
                                                                 {"type": "Lowercase"}, fuse), ["aaab <b>", "AAB", "<B> a"]),
    "scores with more digits than a double": (tokenizer(unigram([["<unk>", 0.0], ["a", -9.790057394233713], ["aa", -12.559386857794541], ["aaa", -22.349444252028256], ["b", -1.9404478522899282], ["ab", -3.3856846511286998]]),
                                                        decoder=fuse), ["aaaaa", "aaaa", "aaaab", "baaaaaaa", "aaaaaaaaaa", "baabaaaabaaaaa"]),
    "scores in every spelling": (tokenizer(unigram([["<unk>", 0], ["a", -1], ["b", -1.5e0], ["ab", -2.5000000000000004], ["ba", -25E-1], ["bb", -0.30000000000000000000000000001e1],
                                                     ["aab", -350000000000000000000000e-23]]), decoder=fuse), ["abab", "baab", "bbb", "aabb", "aab"]),
}


def main():
    out = []
    for name, (root, lines) in CASES.items():
        text = json.dumps(root)
        tok = Tokenizer.from_str(text)
        done = []
        for x in lines:
            ids = tok.encode(x).ids
            done.append({"text": x, "ids": ids, "decoded": tok.decode(ids, skip_special_tokens=False), "skipped": tok.decode(ids, skip_special_tokens=True)})
        out.append({"name": name, "tokenizer": text, "lines": done})
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=True, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
