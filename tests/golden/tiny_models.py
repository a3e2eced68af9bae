"""Tiny random models of every family that hone supports, as transformers objects, folders and GGUF files.

    from tiny_models import FAMILIES, make_model, save_folder, save_gguf

make_model(name) is deterministic: the same name and seed give the same weights. Every switch of the architecture
table is on somewhere: grouped heads, biases, q/k norms, tied and untied heads, a sliding window, and each rope type
with frequencies on both sides of its scaling.
"""
import json
import os

import gguf
import numpy as np
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, \
    LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config, \
    Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=96, max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)

FAMILIES = {
    "llama3": (LlamaForCausalLM, LlamaConfig, dict(
        SIZES, rms_norm_eps=1e-5, eos_token_id=[2, 5],
        rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 64})),
    "llama_linear": (LlamaForCausalLM, LlamaConfig, dict(
        SIZES, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})),
    "mistral": (MistralForCausalLM, MistralConfig, dict(
        SIZES, sliding_window=7, head_dim=24,
        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                         "original_max_position_embeddings": 64})),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, dict(
        SIZES, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, dict(
        SIZES, head_dim=32, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, dict(
        SIZES, head_dim=32, query_pre_attn_scalar=32, sliding_window=7,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0})),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig, dict(
        SIZES, head_dim=32, query_pre_attn_scalar=32, sliding_window=7,
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})),
    "phi3": (Phi3ForCausalLM, Phi3Config, dict(
        SIZES, rms_norm_eps=1e-5, sliding_window=None, original_max_position_embeddings=64,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
                         "short_factor": [1.0, 1.1, 1.3, 1.7, 2.5, 3.5], "long_factor": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
                         "original_max_position_embeddings": 64})),
}


def make_model(family, seed=0, dtype=torch.float32, **changes):
    """A model of FAMILIES in eval mode. `changes` override configuration keys (num_hidden_layers=3, ...)."""
    cls, config_cls, keys = FAMILIES[family]
    config = config_cls(**dict(keys, **changes))
    config._attn_implementation = "eager"
    model = cls(config)
    order = ["llama3", "llama_linear", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"]
    generator = torch.Generator().manual_seed(seed + 1000 * order.index(family))
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("norm.weight") or "layernorm" in name:
                p.copy_((0 if "gemma" in family else 1) + 0.1 * noise)
            elif name.endswith(".bias"):
                p.copy_(0.1 * noise)
            else:
                p.copy_(noise * (0.5 / p.shape[-1] ** 0.5 if "embed" not in name else 0.5))
    return model.to(dtype).eval()


def save_folder(model, folder, max_shard_size="10GB"):
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


def permute(w, n_head):
    """Rows of q or k from rotate-half to ggml's interleaved order."""
    return w.reshape(n_head, 2, w.shape[0] // n_head // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.qkv_proj": "attn_qkv",
         "mlp.gate_up_proj": "ffn_up"}
GEMMA = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
         "post_feedforward_layernorm": "post_ffw_norm"}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(name, gemma=False):
    stem, suffix = name.rsplit(".", 1)
    if stem in TOP:
        return f"{TOP[stem]}.{suffix}"
    layer, rest = stem[len("model.layers."):].split(".", 1)
    return f"blk.{layer}.{dict(NAMES, **GEMMA)[rest] if gemma else NAMES[rest]}.{suffix}"


def rope_divisors(config):
    """The tensor rope_freqs.weight of a llama3 scaling, as the GGUF converter makes it."""
    r = config.rope_parameters
    d = config.hidden_size // config.num_attention_heads if not getattr(config, "head_dim", None) else config.head_dim
    inv = 1.0 / (r["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float32) / d))
    n0, low, high = r["original_max_position_embeddings"], r["low_freq_factor"], r["high_freq_factor"]
    out = []
    for f in inv:
        wavelength = 2 * np.pi / float(f)
        if wavelength < n0 / high:
            out.append(1)
        elif wavelength > n0 / low:
            out.append(r["factor"])
        else:
            s = (n0 / wavelength - low) / (high - low)
            out.append(1 / ((1 - s) / r["factor"] + s))
    return np.array(out, dtype=np.float32)


def save_gguf(model, path, type_of=lambda name: gguf.GGMLQuantizationType.F32, stored=None, extra=None, split=None):
    """Writes a GGUF file. type_of(HF name) chooses the type of a matrix; vectors are F32. stored[name], when given, is
    raw block data that is written as it is (with its rows permuted where the format asks for it). extra(writer) adds
    metadata. Returns {HF name: values as stored, f32, in HF row order}."""
    config = model.config
    arch = {"mistral": "llama", "gemma3_text": "gemma3"}.get(config.model_type, config.model_type)
    gemma = arch.startswith("gemma")
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    w = gguf.GGUFWriter(path, arch, **(split or {}))
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    d = getattr(config, "head_dim", None) or config.hidden_size // heads
    w.add_type("model")
    w.add_name("tiny " + config.model_type)
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    if d * heads != config.hidden_size:
        w.add_key_length(d)
        w.add_value_length(d)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    w.add_rope_freq_base(rope["rope_theta"])
    w.add_rope_dimension_count(int(d * rope.get("partial_rotary_factor", 1)))
    kind = rope["rope_type"]
    if kind == "longrope":
        n0 = rope["original_max_position_embeddings"]
        w.add_rope_scaling_orig_ctx_len(n0)
        w.add_rope_scaling_attn_factors((1 + np.log(config.max_position_embeddings / n0) / np.log(n0)) ** 0.5)
        for which in ("short", "long"):
            w.add_tensor(f"rope_factors_{which}.weight", np.array(rope[which + "_factor"], dtype=np.float32))
    if kind in ("linear", "yarn"):
        w.add_rope_scaling_type(gguf.RopeScalingType(kind))
        w.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if gemma:
        w.add_sliding_window(config.sliding_window)
        if config.attn_logit_softcapping:
            w.add_attn_logit_softcapping(config.attn_logit_softcapping)
        if config.final_logit_softcapping:
            w.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch == "llama":
        w.add_vocab_size(config.vocab_size)
    eos = config.eos_token_id
    w.add_eos_token_id(eos[0] if isinstance(eos, list) else eos)
    if isinstance(eos, list):
        w.add_eot_token_id(eos[1])
    w.add_bos_token_id(config.bos_token_id)
    if extra:
        extra(w)
    values = {}
    if kind == "llama3":
        w.add_tensor("rope_freqs.weight", rope_divisors(config))
    for name, t in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        data = t.detach().to(torch.float32).numpy()
        if gemma and name.endswith("norm.weight"):
            data = data + 1
        qtype = type_of(name) if data.ndim == 2 else gguf.GGMLQuantizationType.F32
        if stored and name in stored:
            data = stored[name]
        elif qtype != gguf.GGMLQuantizationType.F32:
            data = gguf.quantize(data, qtype)
        values[name] = gguf.dequantize(data, qtype).astype(np.float32).reshape(t.shape)
        if arch == "llama" and ".q_proj." in name:
            data = permute(data, heads)
        if arch == "llama" and ".k_proj." in name:
            data = permute(data, kv)
        w.add_tensor(gguf_name(name, gemma), np.ascontiguousarray(data), raw_dtype=qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return values


def config_dict(model):
    return json.loads(model.config.to_json_string())
