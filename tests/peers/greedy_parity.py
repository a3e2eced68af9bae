"""Greedy continuation against llama.cpp (llama-cpp-python), from one F32 GGUF file that both read.

The F32 file is made of the small real model with the gguf package (every tensor dequantised, all metadata kept). hone
answers ten prompts with --temperature 0 --precision f32; llama.cpp is then led along hone's ids, KV cache in F32, flash
attention off, and must choose each of them itself, save where its two candidates lie within 1e-3 of each other.

usage: greedy_parity.py --hone build/release/hone [--models models] [--cache build/peers-cache] [--tokens 64] [--prompts 0,3]
                        [--hone-option OPTION]... (passed on to hone generate, as --hone-option=--isa=ref)"""
import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile

try:
    import gguf
    import llama_cpp
    import numpy
except ImportError as e:
    print("skipped: %s" % e)
    sys.exit(77)

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MARGIN = 1e-3
PROMPTS = [
    "Why is the sky blue? Explain it to a child.",
    "Write a short story about a lighthouse keeper and a storm.",
    "List ten animals that live in the sea, one a line.",
    "What is the difference between a virus and a bacterium?",
    "Write a Python function that returns the n-th Fibonacci number, with comments.",
    "Describe how bread is made, step by step.",
    "Write a long letter to a friend about a train journey through the mountains.",
    "Give me arguments for and against working from home.",
    "请用中文写一个关于春天的故事, then explain it in English, sentence by sentence.",
    "Tell the history of the bicycle, decade by decade, in detail. 🚲",
]


def make_f32(source, target):
    """Rewrites a GGUF file with every tensor as F32 and the metadata as it is; does nothing when it is there."""
    if os.path.exists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    reader = gguf.GGUFReader(source)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target + ".part", arch)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type",
                                                "general.quantization_version"):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for t in reader.tensors:
        writer.add_tensor(t.name, gguf.dequantize(t.data, t.tensor_type).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.rename(target + ".part", target)


def hone_json(*command):
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode:
        raise SystemExit("%s\nfailed: %s" % (" ".join(command), p.stderr))
    return json.loads(p.stdout)


def follow(llama, prompt, answer):
    """Leads llama.cpp along the ids. Returns (positions that differ within the margin, first that differs beyond)."""
    close = 0
    llama.reset()
    llama.eval(prompt)
    for at, token in enumerate(answer):
        row = llama_cpp.llama_get_logits_ith(llama.ctx, -1)
        logits = numpy.ctypeslib.as_array(ctypes.cast(row, ctypes.POINTER(ctypes.c_float)), (llama.n_vocab(),))
        best = int(logits.argmax())
        if best != token:
            gap = float(logits[best] - logits[token])
            if gap > MARGIN:
                return close, "position %d: hone chose %d, llama.cpp %d, %.3g above" % (at, token, best, gap)
            close += 1
        llama.eval([token])
    return close, None


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--hone", default="build/release/hone")
    ap.add_argument("--models", default="models")
    ap.add_argument("--cache", default="build/peers-cache")
    ap.add_argument("--tokens", type=int, default=64)
    ap.add_argument("--prompts", help="numbers of the prompts to run, as in 0,3; default: all")
    ap.add_argument("--hone-option", action="append", default=[])
    a = ap.parse_args()
    source, target = os.path.join(a.models, MODEL), os.path.join(a.cache, "SmolLM2-135M-Instruct.F32.gguf")
    if not os.path.exists(source):
        print("skipped: %s is missing (tools/get-model.sh smollm2-135m-instruct %s)" % (source, a.models))
        sys.exit(77)
    make_f32(source, target)
    llama = llama_cpp.Llama(target, n_ctx=512, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
                            flash_attn=False, verbose=False)
    prompts = [PROMPTS[int(i)] for i in a.prompts.split(",")] if a.prompts else PROMPTS
    compared = close = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for prompt in prompts:
            path = os.path.join(folder, "prompt.json")
            with open(path, "w") as f:
                json.dump([{"role": "user", "content": prompt}], f)
            ids = hone_json(a.hone, "tokenize", "--model", target, "--chat", path, "--generation-prompt", "--json")["ids"]
            answer = hone_json(a.hone, "generate", "--model", target, "--messages", path, "--temperature", "0",
                               "--max-new-tokens", str(a.tokens), "--precision", "f32", "--json",
                               *a.hone_option)
            if answer["prompt_tokens"] != len(ids) or (len(answer["tokens"]) < a.tokens
                                                       and answer["finish_reason"] != "stop"):
                raise SystemExit("hone's answer to %r is not what its own ids say" % prompt)
            n, wrong = follow(llama, ids, answer["tokens"])
            compared += len(answer["tokens"])
            close += n
            failed += wrong is not None
            print("%3d tokens, %d within %g of the other choice, %s: %s"
                  % (len(answer["tokens"]), n, MARGIN, wrong or "same", prompt[:40]))
    print("greedy_parity: %d prompts, %d tokens, %d differ within %g, %d prompts differ beyond (llama-cpp-python %s)"
          % (len(prompts), compared, close, MARGIN, failed, llama_cpp.__version__))
    sys.exit(1 if failed else 0)


main()
