"""Makes the golden files of the format and model layers: run by hand with the peers' environment, results committed.

    build/peers/bin/python tests/golden/make_format_golden.py

  tests/golden/models/NAME/        Hugging Face folders of tiny models (transformers' own writer)
  tests/golden/models/NAME.gguf    the same models in GGUF (gguf's own writer and quantisers)
  tests/golden/models/expected.json  what hone must read: numbers, rope frequencies, and a hash of every tensor's values
  tests/golden/configs.json        config.json variants, with what transformers makes of them
  tests/golden/dtypes.txt          blocks of every type with the values of gguf's decoder; values with their blocks
"""
import json
import os
import shutil
import sys

import gguf
import numpy as np
import torch
from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from tiny_models import FAMILIES, config_dict, make_model, save_folder, save_gguf  # noqa: E402

T = gguf.GGMLQuantizationType
OUT = os.path.join(HERE, "models")


def fnv(data):
    h = 0xcbf29ce484222325
    for b in data:
        h = ((h ^ b) * 0x100000001b3) & 0xffffffffffffffff
    return f"{h:016x}"


def hashes(values):
    return {name: fnv(np.ascontiguousarray(v, dtype="<f4").tobytes()) for name, v in values.items()}


def bits(array):
    """f32 values as hexadecimal words: exact, and independent of anyone's decimal conversion."""
    return np.ascontiguousarray(array, dtype="<f4").tobytes().hex()


def rope(config):
    full = config.rope_parameters.get("full_attention")
    if full:  # two kinds of layers, each with a dictionary of its own
        import copy
        flat, local = copy.deepcopy(config), copy.deepcopy(config)
        flat.rope_parameters, local.rope_parameters = full, config.rope_parameters["sliding_attention"]
        flat.layer_types = local.layer_types = None
        return dict(rope(flat), local_inv_freq=rope(local)["inv_freq"])
    e = (Phi3RotaryEmbedding if config.model_type == "phi3" else LlamaRotaryEmbedding)(config)
    return {"inv_freq": bits(e.inv_freq.numpy()), "rope_factor": float(e.attention_scaling)}


def context(config):
    """The positions that are computed: a longrope's long factors are not used."""
    if (config.rope_parameters or {}).get("rope_type") == "longrope":
        return config.rope_parameters["original_max_position_embeddings"]
    return config.max_position_embeddings


def numbers(config):
    heads = config.num_attention_heads
    window = getattr(config, "sliding_window", None) if config.model_type != "llama" else None
    types = getattr(config, "layer_types", None)
    if types and "sliding_attention" not in types:
        window = None
    eos = config.eos_token_id
    return dict(rope(config), n_layer=config.num_hidden_layers, width=config.hidden_size, n_head=heads,
                n_kv=config.num_key_value_heads, head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
                ffn=config.intermediate_size, vocab=config.vocab_size, context=context(config),
                norm_eps=config.rms_norm_eps, tied=bool(config.tie_word_embeddings), window=window or 0,
                local=[t == "sliding_attention" for t in types] if types and window else [],
                scale=(getattr(config, "query_pre_attn_scalar", None) or getattr(config, "head_dim", None)
                       or config.hidden_size // heads) ** -0.5,
                attention_softcap=getattr(config, "attn_logit_softcapping", None) or 0,
                final_softcap=getattr(config, "final_logit_softcapping", None) or 0,
                eos=eos if isinstance(eos, list) else [] if eos is None else [eos],
                bos=-1 if config.bos_token_id is None else config.bos_token_id)


# ---- models ------------------------------------------------------------------------------------------------------


def random_blocks(rng, qtype, rows, cols):
    """Random codes with scales of a trained model's size: gguf's Python package decodes K-quants, but has no encoder."""
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    data = rng.integers(0, 256, (rows, cols // block, size), dtype=np.uint8)
    scale = lambda low, high: rng.uniform(low, high, (rows, cols // block, 1)).astype(np.float16).view(np.uint8)
    if qtype == T.Q6_K:
        data[..., 208:210] = scale(1e-5, 4e-5)
    else:
        data[..., 0:2] = scale(1e-4, 2e-4)
        data[..., 2:4] = scale(1e-3, 2e-3)
    return data.reshape(rows, -1)


def make_models():
    expected = {}
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    for name in FAMILIES:
        dtype = torch.float16 if name == "mistral" else torch.bfloat16
        m = make_model(name, dtype=dtype, **({"num_hidden_layers": 1} if name != "llama3" else {}))
        save_folder(m, os.path.join(OUT, name), max_shard_size="40KB" if name == "llama3" else "10GB")
        less = 1 if "gemma" in name else 0  # norms are stored less 1 there
        values = {k: v.detach().float().numpy() + (less if k.endswith("norm.weight") else 0)
                  for k, v in m.state_dict().items()
                  if not (k == "lm_head.weight" and m.config.tie_word_embeddings)}
        expected[name] = dict(numbers(m.config), family=name.split("_")[0].replace("llama3", "llama")
                              .replace("mistral", "llama"), tensors=hashes(values))
    mixed = [T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.BF16, T.F16]

    def by_turns():
        turn = iter(range(1000))
        return lambda _: mixed[next(turn) % len(mixed)]

    for name in ("llama3", "llama_linear", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"):
        m = make_model(name, num_hidden_layers=1)
        path = os.path.join(OUT, name + ".gguf")
        values = save_gguf(m, path, type_of=by_turns())
        expected[name + ".gguf"] = dict(numbers(m.config), family="llama" if "llama" in name else name,
                                        tensors=hashes(values))
    # K-quants need rows of 256; yarn in GGUF.
    m = make_model("mistral", num_hidden_layers=1, hidden_size=256, intermediate_size=256, head_dim=64, vocab_size=64,
                   sliding_window=None)
    rng = np.random.default_rng(5)
    types = {n: t for n, t in zip([k for k, v in m.state_dict().items() if v.ndim == 2],
                                  [T.Q6_K, T.Q4_K, T.Q5_K, T.Q6_K, T.Q4_K, T.Q4_K, T.Q5_K, T.Q6_K, T.Q4_K])}
    stored = {n: random_blocks(rng, t, *m.state_dict()[n].shape) for n, t in types.items()}
    values = save_gguf(m, os.path.join(OUT, "kquant.gguf"), type_of=types.get, stored=stored)
    expected["kquant.gguf"] = dict(numbers(m.config), family="llama", tensors=hashes(values))
    # A split set: two parts at least.
    m = make_model("qwen2", num_hidden_layers=1)
    values = save_gguf(m, os.path.join(OUT, "split.gguf"), type_of=lambda _: T.Q8_0, split={"split_max_tensors": 6})
    parts = sorted(f for f in os.listdir(OUT) if f.startswith("split-"))
    expected[parts[0]] = dict(numbers(m.config), family="qwen2", tensors=hashes(values))
    expected[parts[-1]] = expected[parts[0]]
    with open(os.path.join(OUT, "expected.json"), "w") as f:
        json.dump(expected, f, indent=1)
        f.write("\n")


# ---- configurations ----------------------------------------------------------------------------------------------

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256,
         "num_hidden_layers": 3, "num_attention_heads": 8, "vocab_size": 1000, "hidden_act": "silu",
         "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2}
MISTRAL = dict(LLAMA, architectures=["MistralForCausalLM"], model_type="mistral", head_dim=64)
QWEN2 = dict(LLAMA, architectures=["Qwen2ForCausalLM"], model_type="qwen2", num_key_value_heads=2)
QWEN3 = dict(LLAMA, architectures=["Qwen3ForCausalLM"], model_type="qwen3", num_key_value_heads=4)
BARE = {k: v for k, v in LLAMA.items() if k not in ("num_attention_heads", "vocab_size", "hidden_act", "rms_norm_eps",
                                                    "max_position_embeddings", "architectures", "model_type")}
GEMMA2 = dict(BARE, architectures=["Gemma2ForCausalLM"], model_type="gemma2")
PHI3 = dict(LLAMA, architectures=["Phi3ForCausalLM"], model_type="phi3", rope_theta=10000.0, pad_token_id=0)
GEMMA3 = dict(BARE, architectures=["Gemma3ForCausalLM"], model_type="gemma3_text")
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}

CONFIGS = {
    "llama 2, no key-value heads, rope_scaling null": dict(LLAMA, rope_scaling=None, torch_dtype="float16"),
    "llama 3.1 as transformers 4 wrote it": dict(
        LLAMA, num_key_value_heads=2, rope_theta=500000.0, eos_token_id=[7, 8, 9], torch_dtype="bfloat16",
        max_position_embeddings=131072,
        rope_scaling={"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                      "original_max_position_embeddings": 8192, "rope_type": "llama3"}),
    "llama 3.2: head_dim given, tied, factor 32": dict(
        LLAMA, num_key_value_heads=8, head_dim=64, hidden_size=512, rope_theta=500000.0, tie_word_embeddings=True,
        max_position_embeddings=131072,
        rope_scaling={"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                      "original_max_position_embeddings": 8192, "rope_type": "llama3"}),
    "llama 3 as transformers 5 writes it": dict(
        LLAMA, num_key_value_heads=2, dtype="bfloat16",
        rope_parameters={"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "rope_theta": 500000.0,
                         "original_max_position_embeddings": 1024, "rope_type": "llama3"}),
    "rope_scaling replaces rope_parameters": dict(
        LLAMA, rope_scaling={"type": "linear", "factor": 2.0}, rope_theta=20000.0,
        rope_parameters={"rope_type": "default", "rope_theta": 999.0}),
    "linear by the old key": dict(LLAMA, rope_scaling={"type": "linear", "factor": 4.0}),
    "null head_dim and num_key_value_heads": dict(LLAMA, head_dim=None, num_key_value_heads=None),
    "original context at the top wins": dict(LLAMA, rope_scaling=YARN, original_max_position_embeddings=512),
    "yarn": dict(LLAMA, rope_scaling=YARN, rope_theta=1000000.0),
    "yarn, attention factor given": dict(LLAMA, rope_scaling=dict(YARN, attention_factor=1.25)),
    "yarn, mscale": dict(LLAMA, rope_scaling=dict(YARN, mscale=0.7, mscale_all_dim=1.3)),
    "yarn, betas": dict(LLAMA, rope_scaling=dict(YARN, beta_fast=16, beta_slow=2)),
    "yarn, not truncated": dict(LLAMA, rope_scaling=dict(YARN, truncate=False)),
    "yarn, original context from max_position_embeddings": dict(LLAMA, rope_scaling={"type": "yarn", "factor": 2.0}),
    "mistral, everything absent": dict({k: v for k, v in MISTRAL.items() if k not in ("rms_norm_eps", "head_dim",
                                                                                     "max_position_embeddings")}),
    "mistral, window null": dict(MISTRAL, sliding_window=None, num_key_value_heads=4),
    "mistral, window": dict(MISTRAL, sliding_window=100, rope_theta=1000000.0),
    "qwen2, window not used": dict(QWEN2, use_sliding_window=False, sliding_window=32768, max_window_layers=1),
    "qwen2, window of no layer": dict(QWEN2, use_sliding_window=True, sliding_window=64, max_window_layers=28),
    "qwen2, window of all layers": dict(QWEN2, use_sliding_window=True, sliding_window=64, max_window_layers=0),
    "qwen2, layer types of transformers 5": dict(QWEN2, use_sliding_window=False, sliding_window=None,
                                                 layer_types=["full_attention"] * 3),
    "qwen2, window from layer 2 on": dict(QWEN2, use_sliding_window=True, sliding_window=64, max_window_layers=2),
    "qwen3, head_dim absent": dict(QWEN3),
    "phi 3 mini 4k": dict(PHI3),
    "phi 3 mini 128k as transformers 4 wrote it": dict(
        PHI3, max_position_embeddings=131072, original_max_position_embeddings=4096, sliding_window=262144,
        rope_scaling={"type": "su", "original_max_position_embeddings": 4096, "short_factor": [1 + 0.01 * i for i in range(8)],
                      "long_factor": [1.0 + i for i in range(8)]}),
    "phi 4 mini: partial rotation": dict(
        PHI3, max_position_embeddings=131072, original_max_position_embeddings=4096, partial_rotary_factor=0.75,
        num_key_value_heads=2, tie_word_embeddings=True,
        rope_scaling={"type": "longrope", "original_max_position_embeddings": 4096, "short_factor": [1.0] * 6, "long_factor": [1.0 + i for i in range(6)]}),
    "dynamic": dict(LLAMA, rope_scaling={"type": "dynamic", "factor": 4.0}),
    "gemma 2 of 2B as transformers 4 wrote it": dict(
        GEMMA2, head_dim=256, hidden_size=2304, num_attention_heads=8, num_key_value_heads=4, intermediate_size=9216,
        num_hidden_layers=5, query_pre_attn_scalar=256, sliding_window=4096, attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0, rope_theta=10000.0, cache_implementation="hybrid"),
    "gemma 2, much absent": dict(GEMMA2),
    "gemma 2, caps null, layer types": dict(
        GEMMA2, attn_logit_softcapping=None, final_logit_softcapping=None, query_pre_attn_scalar=144,
        layer_types=["full_attention", "sliding_attention", "full_attention"]),
    "gemma 3 of 1B as transformers 4 wrote it": dict(
        GEMMA3, num_hidden_layers=13, num_attention_heads=4, num_key_value_heads=1, head_dim=256, rope_theta=1000000,
        rope_local_base_freq=10000, rope_scaling=None, sliding_window=512, sliding_window_pattern=6,
        query_pre_attn_scalar=256),
    "gemma 3 of 4B, text part, much absent": dict(
        GEMMA3, num_hidden_layers=7, sliding_window=1024, rope_scaling={"factor": 8.0, "rope_type": "linear"}),
    "gemma 3 as transformers 5 writes it": dict(
        GEMMA3, layer_types=["full_attention", "sliding_attention", "sliding_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 20000.0}}),
    "qwen3, attention bias": dict(QWEN3, head_dim=32, attention_bias=True),
}


def make_configs():
    out = []
    for name, config in CONFIGS.items():
        c = AutoConfig.for_model(**json.loads(json.dumps(config)))
        out.append({"name": name, "config": config, "expect": numbers(c)})
    with open(os.path.join(HERE, "configs.json"), "w") as f:
        json.dump(out, f, indent=1)
        f.write("\n")


# ---- types -------------------------------------------------------------------------------------------------------


def make_dtypes():
    rng = np.random.default_rng(3)
    lines = []
    for t in (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q4_K, T.Q5_K, T.Q6_K):
        block, size = gguf.GGML_QUANT_SIZES[t]
        n = 64 if block == 1 else 4 if block == 32 else 2
        raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
        scales = {T.Q6_K: [208], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q4_1: [0, 2], T.Q5_1: [0, 2]}.get(t, [0])
        if block > 1:
            for at in scales:  # any finite scale, subnormal and negative ones too
                raw[:, at:at + 2] = (rng.standard_normal((n, 1)) * 10.0 ** rng.integers(-6, 2, (n, 1))) \
                    .astype(np.float16).view(np.uint8)
        else:
            raw = (rng.standard_normal(n) * 10.0 ** rng.integers(-7, 4, n)).astype(np.float32)
            raw = gguf.quantize(raw, t).view(np.uint8).reshape(n, size)
        values = gguf.dequantize(raw.reshape(1, -1) if block > 1 else
                                 raw.reshape(1, -1).view(np.float16 if t == T.F16 else np.uint8), t)
        lines.append(f"decode {t.name} {raw.tobytes().hex()} {bits(values)}")
    x = rng.standard_normal((8, 64)).astype(np.float32)
    x[1] *= 1e-6
    x[2] *= 1000
    x[3] = np.round(x[3] * 4) / 4       # ties
    x[4] = 0
    x[5, ::2] = 0
    x[6] = np.abs(x[6])
    x[7] = -np.abs(x[7])
    for t in (T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1):
        q = gguf.quantize(x, t)
        lines.append(f"encode {t.name} {np.ascontiguousarray(q).tobytes().hex()} {bits(x)}")
    with open(os.path.join(HERE, "dtypes.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    make_models()
    make_configs()
    make_dtypes()
