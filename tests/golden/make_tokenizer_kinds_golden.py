#!/usr/bin/env python3
"""Writes the rest of tests/golden/tokenizer/: small vocabularies over characters, of Unigram, SentencePiece and tiktoken, with
the ids that their own libraries (tokenizers 0.23.3, sentencepiece 0.2.3, tiktoken 0.14.0 when this was last run) give the
lines of lines.jsonl. The form of NAME.ids.jsonl is that of make_tokenizer_golden.py.

    llama.json      BPE with byte fallback, Metaspace `first`        legacy.json   the same with Prepend and Replace
    unigram.json    Unigram, Precompiled, Strip, Replace, Metaspace  folded.json   unknown tokens, NFKD, accents and case away
    spm_bpe.model, spm_unigram.model                                 spm.gguf      spm_bpe's pieces, scores and types
    cl100k.tiktoken

Run by hand with a Python that has those packages.
"""
import base64
import json
import os
import sys
import tempfile

import gguf
import sentencepiece
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import make_tokenizer_golden as other

sys.path.insert(0, os.path.join(other.HERE, "..", "peers"))
import tokenizer_kinds_parity as kinds  # noqa: E402

OUT, BAR = other.OUT, "\u2581"
RULES = [("fi", "\ufb01"), ("e\u0301", "\u00e9"), (" ", "\t"), (" ", "\u00a0"), (" ", "\u3000"), ("", "\x01"), ("", "\u200b"), ("(c)", "\u00a9")]


def train_spm(model, user=("<tool>",)):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "c.txt")
        open(path, "w", encoding="utf-8").writelines(x + "\n" for x in other.corpus() if x.strip())
        rules = os.path.join(folder, "rules.tsv")
        with open(rules, "w") as f:
            for to, of in RULES:
                f.write(" ".join(f"{ord(c):X}" for c in of) + "\t" + " ".join(f"{ord(c):X}" for c in to) + "\n")
        prefix = os.path.join(folder, "m")
        sentencepiece.SentencePieceTrainer.train(input=path, model_prefix=prefix, vocab_size=700, minloglevel=2, model_type=model,
                                                 byte_fallback=True, normalization_rule_tsv=rules, user_defined_symbols=list(user),
                                                 character_coverage=0.99, num_threads=1)
        return open(prefix + ".model", "rb").read()


def write_rows(name, rows):
    with open(os.path.join(OUT, name + ".ids.jsonl"), "w", encoding="utf-8") as f:
        for text, ids, special, decoded in rows:
            row = {"i": ids}
            if special != ids:
                row["s"] = special
            if decoded != text:
                row["d"] = decoded
            f.write(json.dumps(row, separators=(",", ":")) + "\n")


def save(name, tok, lines):
    path = os.path.join(OUT, name + ".json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    other.write_ids(name, Tokenizer.from_file(path), lines)


def special(tok):
    tok.add_special_tokens([AddedToken(x, normalized=False, special=True) for x in ("<|begin|>", "<|im_start|>", "<|im_end|>")])
    tok.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("\u4e2d\u533b", normalized=True), AddedToken("word", single_word=True)])
    tok.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", tok.token_to_id("<|begin|>"))])
    return tok


def main():
    lines = [json.loads(x) for x in open(os.path.join(OUT, "lines.jsonl"), encoding="utf-8")]
    words = pre_tokenizers.Metaspace(BAR, prepend_scheme="always")

    def bpe(**flags):
        tok = Tokenizer(models.BPE(unk_token="<unk>"))
        tok.pre_tokenizer = words
        tok.train_from_iterator(other.corpus(), trainers.BpeTrainer(vocab_size=800, special_tokens=["<unk>"] + kinds.BYTES, limit_alphabet=200,
                                                                    show_progress=False))
        model = json.loads(tok.to_str())["model"]
        return Tokenizer(models.BPE(model["vocab"], [tuple(m) for m in model["merges"]], unk_token="<unk>", fuse_unk=True, **flags))

    tok = bpe(byte_fallback=True)
    tok.pre_tokenizer = pre_tokenizers.Metaspace(BAR, prepend_scheme="first", split=False)
    tok.decoder = decoders.Sequence(kinds.LLAMA_DECODER)
    save("llama", special(tok), lines)
    tok.pre_tokenizer = None
    tok.normalizer = normalizers.Sequence([normalizers.Prepend(BAR), normalizers.Replace(" ", BAR)])
    save("legacy", special(tok), lines)
    tok = bpe()
    tok.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Nmt()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), words])
    tok.decoder = decoders.Metaspace(BAR, prepend_scheme="always")
    save("folded", special(tok), lines)

    blob = {x: train_spm(x) for x in ("bpe", "unigram")}
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer = words
    tok.train_from_iterator(other.corpus(), trainers.UnigramTrainer(vocab_size=700, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False))
    tok.normalizer = normalizers.Sequence([normalizers.Precompiled(kinds.charsmap_in(blob["bpe"])), normalizers.Strip(False, True),
                                           normalizers.Replace(Regex(" {2,}"), BAR)])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(BAR, prepend_scheme="first")
    tok.decoder = decoders.Metaspace(BAR, prepend_scheme="first")
    save("unigram", special(tok), lines)

    for name, data in blob.items():
        path = os.path.join(OUT, f"spm_{name}.model")
        open(path, "wb").write(data)
        spm = sentencepiece.SentencePieceProcessor(model_proto=data)
        rows = [(x, spm.encode(x), [spm.bos_id()] + spm.encode(x), spm.decode(spm.encode(x))) for x in lines]
        write_rows(f"spm_{name}.model", rows)
    # llama.cpp knows no table of characters: pieces under no normalisation but the blank in front
    spm = sentencepiece.SentencePieceProcessor(model_proto=kinds.with_identity(train_spm("bpe", ())))
    kinds.gguf_of(spm, os.path.join(OUT, "spm.gguf"))
    write_rows("spm.gguf", [(x, spm.encode(x), [spm.bos_id()] + spm.encode(x), spm.decode(spm.encode(x))) for x in lines])

    ranks = kinds.tiktoken_ranks(other.corpus(), 600)
    with open(os.path.join(OUT, "cl100k.tiktoken"), "wb") as f:
        for b, i in sorted(ranks.items(), key=lambda x: x[1]):
            f.write(base64.b64encode(b) + b" %d\n" % i)
    enc = tiktoken.Encoding("x", pat_str=kinds.tiktoken_patterns()["cl100k"], mergeable_ranks=ranks, special_tokens={})
    write_rows("cl100k.tiktoken", [(x, enc.encode_ordinary(x), enc.encode_ordinary(x), x) for x in lines])


main()
