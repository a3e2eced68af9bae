#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: small vocabularies of each family of tokenizers, a file of lines, and the ids that the
`tokenizers` library (0.23.3 when this was last run) gives them. Two vocabularies are written as GGUF as well.

    lines.jsonl      the lines, one JSON string each
    NAME.json        a tokenizer.json
    NAME.ids.jsonl   per line {"i": ids, "s": ids with special tokens, "d": decoded text}, s and d only where they differ
                     from i and from the line
    NAME.gguf        (smollm, qwen2) the same vocabulary, its added tokens without flags; NAME.gguf.ids.jsonl

Run by hand with the peers' Python; the vocabularies are trained on the text below and on this project's own sources.
"""
import json
import os
import random
import unicodedata

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "tokenizer")
SPACES = r"\s+(?!\S)|\s+"
FOLDED = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CHINESE = """患者近三日咳嗽，痰黄，咽痛，舌红苔黄，脉浮数。辨证为风热犯肺，治以疏风清热、宣肺止咳，方用桑菊饮加减。
请问医生，我最近总是失眠多梦，白天没有精神，应该怎么调理？建议早睡早起，少喝浓茶，可用酸枣仁汤。
今天天气很好，我们去公园散步。北京大学的学生正在图书馆学习中医基础理论。"""
ENGLISH = """The quick brown fox jumps over the lazy dog. I've been there, you're right, it's what they'll do; we'd say so.
A byte-level vocabulary spells each byte as one printable character, and merges are applied by rank.
User: What is the capital of France? Assistant: The capital of France is Paris, with 2,102,650 people in 2023."""


def cl100k(digits):
    return FOLDED + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" + SPACES


def mixed(tail, digits):
    p = r"[^\r\n\p{L}\p{N}]?"
    return f"{p}{UPPER}*{LOWER}+{tail}|{p}{UPPER}+{LOWER}*{tail}|{digits}" + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + SPACES


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


LAST = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|"
            + SPACES)
# name: normaliser, pre-tokenizer steps, ignore_merges
FAMILIES = {
    "qwen2": (normalizers.NFC(), [split(cl100k(r"\p{N}")), LAST], False),
    "llama3": (None, [split(cl100k(r"\p{N}{1,3}")), LAST], True),
    "smollm": (None, [pre_tokenizers.Digits(individual_digits=True), GPT2], False),
    "gpt2": (None, [pre_tokenizers.ByteLevel(add_prefix_space=True)], False),
    "tekken": (None, [split(mixed("", r"\p{N}")), LAST], True),
    "o200k": (None, [split("(?:" + mixed(FOLDED + "?", r"\p{N}{1,3}") + ")"), LAST], False),  # no scanner claims this spelling
    "deepseek": (normalizers.Sequence([]), [split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(DEEPSEEK), LAST],
                 False),
    "odd": (normalizers.Sequence([normalizers.NFC()]),
            [pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.Digits(individual_digits=False),
             split(r"[,.;]+", "merged_with_previous"), split(r"\w+", "contiguous", True), LAST], False),
}


def corpus():
    text = (CHINESE + "\n" + ENGLISH + "\n") * 8
    for folder in ("src/base", "include/hone"):
        folder = os.path.join(HERE, "..", "..", folder)
        for name in sorted(os.listdir(folder))[:4]:
            text += open(os.path.join(folder, name), encoding="utf-8").read()[:6000]
    return text.split("\n")


def train(name):
    normalizer, steps, ignore = FAMILIES[name]
    tok = Tokenizer(models.BPE(ignore_merges=ignore))
    if normalizer is not None:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    tok.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()]) if name == "odd" else decoders.ByteLevel()
    alphabet = [c for c in pre_tokenizers.ByteLevel.alphabet() if name != "odd" or c not in "\u0101\u0102"]  # bytes 1 and 2 missing
    special = ["<unk>"] if name == "odd" else []
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, special_tokens=special,
                                                          show_progress=False))
    if name == "odd":
        tok.model.unk_token, tok.model.fuse_unk = "<unk>", True
    tok.add_special_tokens(["<|begin|>", "<|im_start|>", "<|im_end|>", "<|im_end|>x",
                            AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    tok.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("caf\u0065\u0301", normalized=True), AddedToken("\u4e2d\u533b"),
                    AddedToken("<r>", rstrip=True), AddedToken("word", single_word=True), AddedToken("words", single_word=False),
                    AddedToken("\n\n\n\n", normalized=False)])
    begin = tok.token_to_id("<|begin|>"), tok.token_to_id("<|im_end|>")
    template = processors.TemplateProcessing(single="<|begin|> $A <|im_end|>" if name == "llama3" else "<|begin|> $A",
                                             special_tokens=[("<|begin|>", begin[0]), ("<|im_end|>", begin[1])])
    if name in ("llama3", "tekken"):
        tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    elif name == "gpt2":
        tok.post_processor = processors.RobertaProcessing(("<|im_end|>", begin[1]), ("<|begin|>", begin[0]))
    return tok


def lines():
    rng, out = random.Random(7), []
    pieces = CHINESE.replace("\n", "").split("，") + ENGLISH.replace("\n", " ").split(", ")
    tokens = ["<|im_start|>", "<|im_end|>", "<|im_end|>x", "<|im_end", " <mask>", "  \t<mask> ", "<tool>", "cafe\u0301", "caf\u00e9", "\u4e2d\u533b",
              "<r>  \n", "word", "words", "wording", "sword", "a word.", "\n\n\n\n", "\n\n\n\n\n", "<r><mask>", "<r> <mask>"]
    blanks = [" ", "  ", "   ", "\t", "\r\n", "\n", "\n\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u200b", "\ufeff"]
    odd = "'sS't'REve\u017f''l\u01c5\u02b0\u0301\u0903\u0416\u0436\u00b2\u2167\u0661\u20ac\u2603\U0001f600\U0001f468\u200d\U0001f469\u0378\ue000\x00\x01\x02\x1f/\u1100\u1161\u11a8\u0344\u2126\u0958\U00011f02"
    out += ["", " ", "a", "\u4f60", "\x01", "I'VE i'll it'\u017f", "1 22 333 4444 55555 1,234.5", "x" * 300 + " " + "ab" * 150 + "\u4e2d" * 120, " " * 40 + "x" + "\n" * 9]
    for i in range(150):
        kind, text = i % 6, ""
        for _ in range(rng.randrange(1, 7)):
            text += {0: lambda: rng.choice(pieces) + rng.choice(blanks), 1: lambda: rng.choice(tokens) + rng.choice(["", " ", "a", "\u4f60"]),
                     2: lambda: "".join(rng.choice(odd) for _ in range(6)) + rng.choice(blanks), 3: lambda: rng.choice(blanks) * rng.randrange(1, 4),
                     4: lambda: unicodedata.normalize("NFD", "d\u00e9j\u00e0 \u1ea4\u00c5\u00f1 \ud55c\uad6d \u1e36\u0327 ") + rng.choice(pieces)[:9],
                     5: lambda: f"if (x{rng.randrange(9)} == {rng.randrange(99999)}) {{ return fooBar->HTTPServer[i]; }}" + rng.choice(blanks)}[kind]()
        out.append(text)
    return out


def write_gguf(name, tok, pre):
    path = os.path.join(OUT, name + ".gguf")
    w = gguf.GGUFWriter(path, "llama")
    size = tok.get_vocab_size()
    added = tok.get_added_tokens_decoder()
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list([added[i].content if i in added else tok.id_to_token(i) for i in range(size)])
    w.add_token_types([(gguf.TokenType.CONTROL if added[i].special else gguf.TokenType.USER_DEFINED) if i in added else gguf.TokenType.NORMAL
                       for i in range(size)])
    merges = json.loads(tok.to_str())["model"]["merges"]
    w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in merges])
    w.add_bos_token_id(tok.token_to_id("<|begin|>"))
    w.add_eos_token_id(tok.token_to_id("<|im_end|>"))
    w.add_eot_token_id(tok.token_to_id("<|im_start|>"))
    w.add_add_bos_token(True)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_ids(name, tok, text):
    with open(os.path.join(OUT, name + ".ids.jsonl"), "w", encoding="utf-8") as f:
        for x in text:
            row = {"i": tok.encode(x, add_special_tokens=False).ids}
            special, decoded = tok.encode(x).ids, tok.decode(row["i"], skip_special_tokens=False)
            if special != row["i"]:
                row["s"] = special
            if decoded != x:
                row["d"] = decoded
            f.write(json.dumps(row, separators=(",", ":")) + "\n")


def main():
    os.makedirs(OUT, exist_ok=True)
    text = lines()
    with open(os.path.join(OUT, "lines.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(x, ensure_ascii=True) + "\n" for x in text)
    for name in FAMILIES:
        tok = train(name)
        root = json.loads(tok.to_str())
        if name in ("gpt2", "smollm"):  # the older spelling
            root["model"]["merges"] = [" ".join(m) for m in root["model"]["merges"]]
        path = os.path.join(OUT, name + ".json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(root, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        tok = Tokenizer.from_file(path)
        write_ids(name, tok, text)
        if name in ("qwen2", "smollm"):
            write_gguf(name, tok, name)
            for token in root["added_tokens"]:  # a GGUF file knows no flag but special
                token.update(lstrip=False, rstrip=False, single_word=False, normalized=False)
            begin = tok.token_to_id("<|begin|>")
            tok = Tokenizer.from_str(json.dumps(root))
            tok.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])
            write_ids(name + ".gguf", tok, text)


if __name__ == "__main__":
    main()
