#!/usr/bin/env python3
"""Token ids of hone for every kind of vocabulary that is trained here, against the libraries they belong to.

usage: tokenizer_kinds_parity.py --hone PROGRAM [--shared ../shared] [--lines N] [--only WORD]
Needs tokenizers, sentencepiece and tiktoken (without one of the latter two its kinds are left out). Compared on N mixed
lines (10,000) and 1,000 strings of random code points each:
  tokenizer.json  BPE over characters as Llama 2 (legacy and not), Gemma and InternLM have it, without byte fallback, over
                  bytes by normalizer; Unigram with the parts that the converters of T5, XLM-R and ALBERT write
  tokenizer.model SentencePiece BPE and Unigram under each normalisation rule, with and without byte fallback, against
                  `sentencepiece` itself; the same BPE vocabulary as a GGUF file
  .tiktoken       against `tiktoken`
Then single normalisers (by the bytes that are left) and pre-tokenizers (by the pieces), on random strings.
"""
import argparse
import base64
import json
import os
import random
import re
import sys
import tempfile

import tokenizer_lib
import tokenizer_parity as parity
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

try:
    import sentencepiece
except ImportError:
    sentencepiece = None
try:
    import tiktoken
except ImportError:
    tiktoken = None

BAR = "\u2581"
BYTES = [f"<0x{i:02X}>" for i in range(256)]
LLAMA_DECODER = [decoders.Replace(BAR, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]


def special(tok):
    tok.add_special_tokens([AddedToken(x, normalized=False, special=True) for x in ("<s>", "</s>")])
    tok.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("\u4e2d\u533b", normalized=True),
                    AddedToken("word", single_word=True, normalized=True), AddedToken("<r>", rstrip=True, lstrip=True, normalized=False)])
    begin = tok.token_to_id("<s>")
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    return tok


def train_bpe(text, train_pre, fallback=True, **flags):
    tok = Tokenizer(models.BPE(unk_token="<unk>"))
    tok.normalizer = normalizers.Replace(" ", BAR)
    tok.pre_tokenizer = train_pre
    tok.train_from_iterator(text, trainers.BpeTrainer(vocab_size=6000, special_tokens=["<unk>"] + (BYTES if fallback else []),
                                                      limit_alphabet=1500, show_progress=False))
    model = json.loads(tok.to_str())["model"]
    merges = [tuple(m) for m in model["merges"]]
    return Tokenizer(models.BPE(model["vocab"], merges, unk_token="<unk>", byte_fallback=fallback, **flags))


def json_kinds(text):
    words = pre_tokenizers.Metaspace(BAR, prepend_scheme="always")
    lines = pre_tokenizers.Split(Regex(r"[^\n]+"), "isolated")

    def llama_legacy():
        tok = train_bpe(text, words, fuse_unk=True)
        tok.normalizer = normalizers.Sequence([normalizers.Prepend(BAR), normalizers.Replace(" ", BAR)])
        tok.decoder = decoders.Sequence(LLAMA_DECODER)
        return special(tok)

    def llama(scheme, split):
        tok = train_bpe(text, words, fuse_unk=True)
        tok.pre_tokenizer = pre_tokenizers.Metaspace(BAR, prepend_scheme=scheme, split=split)
        tok.decoder = decoders.Sequence(LLAMA_DECODER)
        return special(tok)

    def gemma():
        tok = train_bpe(text, lines, fuse_unk=True)
        tok.normalizer = normalizers.Replace(" ", BAR)
        tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        tok.decoder = decoders.Sequence(LLAMA_DECODER[:3])
        return special(tok)

    def no_fallback(fuse, ignore):
        tok = train_bpe(text, words, False, fuse_unk=fuse, ignore_merges=ignore)
        tok.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"), words])
        tok.decoder = decoders.Metaspace(BAR, prepend_scheme="first")
        return special(tok)

    def byte_normalizer():
        tok = Tokenizer(models.BPE())
        tok.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.ByteLevel()])
        tok.train_from_iterator([x[:200] for x in text], trainers.BpeTrainer(
            vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        tok.decoder = decoders.ByteLevel()
        tok.pre_tokenizer = None
        return special(tok)

    def bytes_then_split():
        tok = Tokenizer(models.BPE(byte_fallback=True))
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Digits(True)])
        tok.train_from_iterator(text, trainers.BpeTrainer(vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                          show_progress=False))
        tok.decoder = decoders.ByteLevel()
        return special(tok)

    def unigram(normalizer, scheme, decoder=True, fallback=False):
        tok = Tokenizer(models.Unigram())
        tok.normalizer = normalizer
        tok.pre_tokenizer = pre_tokenizers.Metaspace(BAR, prepend_scheme="always")
        tok.train_from_iterator(text, trainers.UnigramTrainer(vocab_size=12000, unk_token="<unk>", special_tokens=["<unk>"] + (BYTES if fallback else []),
                                                              show_progress=False))
        root = json.loads(tok.to_str())
        root["model"]["byte_fallback"] = fallback
        root["added_tokens"] = []
        tok = Tokenizer.from_str(json.dumps(root))
        tok.pre_tokenizer = pre_tokenizers.Metaspace(BAR, prepend_scheme=scheme)
        if decoder:
            tok.decoder = decoders.Metaspace(BAR, prepend_scheme=scheme) if not fallback else decoders.Sequence(LLAMA_DECODER)
        return special(tok)

    yield "llama legacy", llama_legacy
    for scheme, split in (("first", False), ("always", True), ("never", False), ("first", True)):
        yield f"llama {scheme} {split}", lambda scheme=scheme, split=split: llama(scheme, split)
    yield "gemma", gemma
    yield "bpe unk fused", lambda: no_fallback(True, False)
    yield "bpe unk, ignore_merges", lambda: no_fallback(False, True)
    yield "bpe bytes by normalizer", byte_normalizer
    yield "bpe bytes then digits", bytes_then_split
    yield "unigram plain", lambda: unigram(None, "always")
    yield "unigram nfkc, bytes", lambda: unigram(normalizers.NFKC(), "first", True, True)
    yield "unigram albert", lambda: unigram(normalizers.Sequence(
        [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
         normalizers.Nmt(), normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), " ")]), "never", False)
    if sentencepiece:
        charsmap = charsmap_of("nmt_nfkc")
        yield "unigram xlm-r", lambda: unigram(normalizers.Sequence(
            [normalizers.Precompiled(charsmap), normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), BAR)]), "first")


def train_spm(text, folder, name, **args):
    path = os.path.join(folder, "corpus.txt")
    if not os.path.exists(path):
        open(path, "w", encoding="utf-8").writelines(x.replace("\n", " ").replace("\0", "") + "\n" for x in text)
    prefix = os.path.join(folder, name)
    sentencepiece.SentencePieceTrainer.train(input=path, model_prefix=prefix, vocab_size=8000, minloglevel=2, num_threads=1,
                                             max_sentence_length=100000, character_coverage=0.998, **args)
    return prefix + ".model"


def fields(b):
    """Number and value of each field of a protobuf message, with its place."""
    at = 0

    def varint():
        nonlocal at
        v = shift = 0
        while True:
            v |= (b[at] & 127) << shift
            shift += 7
            at += 1
            if not b[at - 1] & 128:
                return v

    while at < len(b):
        start = at
        key = varint()
        if key & 7 == 2:
            n = varint()
            at += n
            yield key >> 3, b[at - n:at], b[start:at]
        else:
            if key & 7 == 0:
                varint()
            else:
                at += 4 if key & 7 == 5 else 8
            yield key >> 3, None, b[start:at]


def charsmap_in(blob):
    spec = next(v for k, v, _ in fields(blob) if k == 3)
    return next(v for k, v, _ in fields(spec) if k == 2)


def with_identity(blob):
    """The model under no normalisation but the blank in front: a spec of remove_extra_whitespaces false."""
    return b"".join(raw for k, _, raw in fields(blob) if k != 3) + bytes([3 << 3 | 2, 2, 4 << 3, 0])


def charsmap_of(rule):
    with tempfile.TemporaryDirectory() as folder:
        open(os.path.join(folder, "c.txt"), "w").writelines("the quick brown fox jumps\n" * 30)
        sentencepiece.SentencePieceTrainer.train(input=os.path.join(folder, "c.txt"), model_prefix=os.path.join(folder, "m"), vocab_size=30,
                                                 minloglevel=2, normalization_rule_name=rule, model_type="bpe", hard_vocab_limit=False)
        return charsmap_in(open(os.path.join(folder, "m.model"), "rb").read())


def compare_ids(name, ours, encode, lines, **how):
    bad = 0
    for x in lines:
        want, got = encode(x), ours.encode(x, **{k: v(x) for k, v in how.items()})
        if want != got:
            bad += 1
            if bad < 4:
                print(f"   {x[:120]!r}\n     want {want[:40]}\n     got  {got[:40]}")
    parity.report("ids " + name, len(lines), bad)


def spm_kinds(lib, text, lines, folder, only):
    for model in ("bpe", "unigram"):
        for rule in ("identity", "nmt_nfkc", "nfkc_cf"):
            for fallback in (True, False):
                name = f"spm {model} {rule} {'bytes' if fallback else 'unk'}"
                if only not in name:
                    continue
                path = train_spm(text, folder, f"{model}_{rule}_{fallback}", model_type=model, normalization_rule_name=rule,
                                 byte_fallback=fallback, user_defined_symbols=["<sep>", "<u1>"],
                                 remove_extra_whitespaces=rule != "identity", split_digits=fallback)
                theirs = sentencepiece.SentencePieceProcessor(model_file=path)
                ours = tokenizer_lib.Tokenizer(lib, path)
                # control pieces are text to SentencePiece: as a message, they are text to hone too
                compare_ids(name, ours, theirs.encode, [x.replace("\0", "") for x in lines],
                            plain=lambda x: [(0, len(x.encode()))])
                ours.close()
                if model == "bpe" and rule == "identity" and fallback:
                    gguf_of(theirs, path + ".gguf")
                    ours = tokenizer_lib.Tokenizer(lib, path + ".gguf")
                    good = [x.replace("\0", "").replace("<sep>", "").replace("<u1>", "") for x in lines]
                    compare_ids("gguf llama", ours, theirs.encode, good, plain=lambda x: [(0, len(x.encode()))])
                    ours.close()


def gguf_of(spm, path):
    import gguf
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    n = spm.get_piece_size()
    w.add_token_list([spm.id_to_piece(i) for i in range(n)])
    w.add_token_scores([spm.get_score(i) for i in range(n)])
    w.add_token_types([2 if spm.is_unknown(i) else 3 if spm.is_control(i) else 6 if spm.is_byte(i) else 1 for i in range(n)])
    w.add_unk_token_id(spm.unk_id())
    w.add_bos_token_id(spm.bos_id())
    w.add_eos_token_id(spm.eos_id())
    w.add_add_space_prefix(True)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def tiktoken_patterns():
    from tiktoken_ext import openai_public
    source = open(openai_public.__file__, encoding="utf-8").read()
    return {"cl100k": re.search(r'"pat_str": r"""(.*?)"""', source[source.index("def cl100k_base"):]).group(1),
            "r50k": openai_public.r50k_pat_str, "o200k": parity.KNOWN["o200k"], "qwen": parity.KNOWN["qwen2"], "llama3": parity.KNOWN["llama3"]}


def tiktoken_ranks(text, size):
    """A trained vocabulary as {bytes: rank}."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.train_from_iterator(text, trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                      show_progress=False))
    plain = sorted([*range(33, 127), *range(161, 173), *range(174, 256)])
    byte_of = {chr(b): b for b in plain}
    byte_of.update({chr(256 + i): b for i, b in enumerate(x for x in range(256) if x not in plain)})
    return {bytes(byte_of[c] for c in s): i for s, i in tok.get_vocab().items()}


def tiktoken_kinds(lib, text, lines, folder, only):
    ranks, patterns = tiktoken_ranks(text, 4000), tiktoken_patterns()
    for name, pattern in patterns.items():
        if only not in "tiktoken " + name:
            continue
        path = os.path.join(folder, name + ".tiktoken")
        with open(path, "wb") as f:
            for b, i in sorted(ranks.items(), key=lambda x: x[1]):
                f.write(base64.b64encode(b) + b" %d\n" % i)
        theirs = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        ours = tokenizer_lib.Tokenizer(lib, path)
        compare_ids("tiktoken " + name, ours, (lambda x: theirs.encode_ordinary(parity.normalizers.NFC().normalize_str(x))) if name == "qwen"
                    else theirs.encode_ordinary, lines)
        ours.close()


def components(lib, folder, rounds):
    """Each normaliser by the bytes that it leaves, each pre-tokenizer by its pieces."""
    rng = random.Random(5)
    pool = list("aA\u0130\u00df\u01c5 \t\n\r.,!'$+<_-012  ") + [
        BAR, "\u00a0", "\u3000", "\u200b", "\u200d", "\ufeff", "\ufffd", "\u00e9", "e\u0301", "\u0301", "\u0323", "\uff21", "\uff9e", "\uff76",
        "\ufb01", "\u1e9b\u0323", "\u00b2", "\u2167", "\u2460", "\ufdfa", "\u3316", "\u1100\u1161\u11a8", "\ud55c", "\u0344", "\u2126", "\u4e2d", "\uff0c",
        "\u3002", "\u0660", "\U0001f600", "\U0001d400", "\u0085", "\u2028", "\u00ad", "\x01", "\x7f", "\x8f", "\u0f0b", "\u0e33"]

    def text(i):
        return parity.points(rng, rng.randrange(1, 30)) if i % 3 == 0 else "".join(rng.choice(pool) for _ in range(rng.randrange(0, 14)))

    steps = {
        "NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(), "Nmt": normalizers.Nmt(),
        "Lowercase": normalizers.Lowercase(), "StripAccents": normalizers.StripAccents(), "Strip": normalizers.Strip(True, True),
        "Strip left": normalizers.Strip(True, False), "Prepend": normalizers.Prepend("_x"), "Replace": normalizers.Replace("aA", "\u4e2d"),
        "Replace regex": normalizers.Replace(Regex(r"\s+"), " "), "Replace empty": normalizers.Replace(Regex(r"a*"), "-"),
        "ByteLevel": normalizers.ByteLevel(),
        "Sequence": normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Strip(False, True), normalizers.NFC()]),
    }
    if sentencepiece:
        steps["Precompiled"] = normalizers.Precompiled(charsmap_of("nmt_nfkc"))
        steps["Precompiled cf"] = normalizers.Precompiled(charsmap_of("nfkc_cf"))
    path = os.path.join(folder, "component.json")
    for name, step in steps.items():
        tok = Tokenizer(models.BPE({b: i for i, b in enumerate(BYTES)}, [], byte_fallback=True))
        tok.normalizer = step
        tok.save(path)
        ours = tokenizer_lib.Tokenizer(lib, path)
        compare_ids("normalizer " + name, ours, lambda x: tok.encode(x).ids, [text(i) for i in range(rounds)])
        ours.close()
    splits = {
        "Punctuation": pre_tokenizers.Punctuation(), "Whitespace": pre_tokenizers.Whitespace(), "WhitespaceSplit": pre_tokenizers.WhitespaceSplit(),
        "Digits": pre_tokenizers.Digits(False), "CharDelimiter": pre_tokenizers.CharDelimiterSplit("a"), "Bert": pre_tokenizers.BertPreTokenizer(),
        "Punctuation next": pre_tokenizers.Punctuation("merged_with_next"), "Metaspace": pre_tokenizers.Metaspace("_"),
        "Sequence": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("removed"), pre_tokenizers.Digits(True)]),
    }
    for name, step in splits.items():
        tok = Tokenizer(models.BPE({"<u>": 0, "_": 1, "a": 2, " ": 3}, [], unk_token="<u>", fuse_unk=True))
        tok.pre_tokenizer = step
        tok.save(path)
        ours = tokenizer_lib.Tokenizer(lib, path)
        compare_ids("pre-tokenizer " + name, ours, lambda x: tok.encode(x).ids, [text(i) for i in range(rounds)])
        ours.close()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hone", required=True)
    parser.add_argument("--shared", default=os.environ.get("HONE_SHARED", os.path.join(here, "..", "..", "..", "shared")))
    parser.add_argument("--lines", type=int, default=10000)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    if not os.path.isdir(os.path.join(args.shared, "data")):
        print("no", args.shared)
        sys.exit(77)
    lib = tokenizer_lib.load(os.path.dirname(args.hone))
    lines = parity.mixed_lines(args.shared, args.lines)
    strings = [parity.points(random.Random(i), 1 + i % 60) for i in range(1000)]
    text = [x for x in lines[:3000] if len(x) < 400]
    with tempfile.TemporaryDirectory() as folder:
        if not args.only or args.only == "component":
            components(lib, folder, 3000)
        for name, make in json_kinds(text):
            if args.only not in name:
                continue
            path = os.path.join(folder, "tokenizer.json")
            make().save(path)
            ours = tokenizer_lib.Tokenizer(lib, path)
            parity.compare(name, ours, Tokenizer.from_file(path), lines + strings, False)
            ours.close()
        if sentencepiece:
            spm_kinds(lib, text, lines + strings, folder, args.only)
        if tiktoken:
            tiktoken_kinds(lib, text, lines + strings, folder, args.only)
    sys.exit(parity.FAILED != 0)


if __name__ == "__main__":
    main()
