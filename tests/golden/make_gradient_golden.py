#!/usr/bin/env python3
"""Freezes losses and LoRA gradients of tiny random models, one of each family, as transformers + PEFT compute them.

    build/peers/bin/python tests/golden/make_gradient_golden.py [family ...]

Writes tests/golden/gradients/<family>/: the checkpoint (weights rounded to bf16, so that every reader has the same
numbers), the adapter as PEFT saves it (B not zero), and expected.safetensors with the packed batch, the loss of every
trained position and the gradient of every adapter tensor of (sum of losses) / (number of trained positions). Two families
have the same with DoRA, magnitudes moved off the rows' lengths: dora/ and dora.safetensors.
The reference runs each document of the packed batch alone, in f32, with the plain attention.
tests/peers/gradient_parity.py imports this file for the same comparison with other seeds.
"""

import copy
import os
import shutil
import sys
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Phi3Config,
    Phi3ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils import logging

logging.disable_progress_bar()

IGNORE = -100
DORA = ("llama", "phi3")  # the families whose DoRA is frozen
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"]
COMMON = dict(
    hidden_size=64,
    num_hidden_layers=2,
    vocab_size=96,
    max_position_embeddings=256,
    attn_implementation="eager",
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
# Each family with what is its own: grouped heads everywhere; the three bands of llama3's scaled frequencies; a window
# shorter than the documents; biases and a tied head; heads wider than C / H with their own norms.
FAMILIES = {
    "llama": (
        LlamaForCausalLM,
        LlamaConfig,
        dict(
            intermediate_size=72,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_theta=10000.0,
            rope_scaling=dict(
                rope_type="llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
            tie_word_embeddings=False,
        ),
    ),
    "mistral": (
        MistralForCausalLM,
        MistralConfig,
        dict(
            intermediate_size=80,
            num_attention_heads=4,
            num_key_value_heads=1,
            rope_theta=10000.0,
            sliding_window=6,
            tie_word_embeddings=False,
        ),
    ),
    "qwen2": (
        Qwen2ForCausalLM,
        Qwen2Config,
        dict(
            intermediate_size=72,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_theta=1000000.0,
            use_sliding_window=False,
            tie_word_embeddings=True,
        ),
    ),
    "qwen3": (
        Qwen3ForCausalLM,
        Qwen3Config,
        dict(
            intermediate_size=72,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=24,
            rope_theta=1000000.0,
            use_sliding_window=False,
            tie_word_embeddings=True,
        ),
    ),
    "gemma2": (
        Gemma2ForCausalLM,
        Gemma2Config,
        dict(
            num_hidden_layers=3,
            intermediate_size=72,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=24,
            query_pre_attn_scalar=20,
            sliding_window=6,
            attn_logit_softcapping=1.5,
            final_logit_softcapping=4.0,
        ),
    ),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        dict(
            num_hidden_layers=4,
            intermediate_size=72,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=24,
            query_pre_attn_scalar=28,
            sliding_window=6,
            layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1000000.0),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            ),
        ),
    ),
    "phi3": (
        Phi3ForCausalLM,
        Phi3Config,
        dict(
            intermediate_size=72,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=9,
            original_max_position_embeddings=64,
            rope_parameters=dict(
                rope_type="longrope",
                rope_theta=10000.0,
                partial_rotary_factor=0.75,
                short_factor=[1.0, 1.1, 1.3, 1.7, 2.5, 3.5],
                long_factor=[1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
                original_max_position_embeddings=64,
            ),
        ),
    ),
}


def make_model(family, seed, **changes):
    """A random model in f32 whose weights are bf16 values; norms off one and biases off zero, so that both count."""
    model_class, config_class, special = FAMILIES[family]
    torch.manual_seed(seed)
    model = model_class(config_class(**{**COMMON, **special, **changes})).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:  # Gemma's are stored less 1
                p.copy_((0 if family.startswith("gemma") else 1) + 0.2 * torch.randn_like(p))
            elif name.endswith("bias"):
                p.copy_(0.3 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (1.0 if "embed" in name or "lm_head" in name else 1.5) / p.shape[-1] ** 0.5)
            p.copy_(p.bfloat16().float())
    return model


def save_model(model, folder):
    """Of a copy: casting would round the rope frequencies of the model itself, which are a buffer, not a weight."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)


def randomise(peft):
    """B off zero, and DoRA's magnitudes off the rows' lengths: so that everything counts."""
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_B" in name:
                p.copy_(0.2 * torch.randn_like(p))
            elif "magnitude" in name:
                p.mul_(1 + 0.3 * torch.randn_like(p))


def make_adapter(model, seed, r=3, alpha=8, targets=TARGETS, **settings):
    torch.manual_seed(seed)
    peft = get_peft_model(
        model,
        LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM", **settings),
    ).eval()
    randomise(peft)
    return peft


def save_adapter(peft, folder):
    peft.peft_config["default"].base_model_name_or_path = None
    peft.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))


def make_batch(seed, vocab, lengths=(11, 1, 19, 2, 8)):
    """Documents packed one after the other; about a third of the positions are not trained. -> ids, off, target"""
    g = torch.Generator().manual_seed(seed)
    ids, off, target = [], [0], []
    for n in lengths:
        doc = torch.randint(0, vocab, (n,), generator=g).tolist()
        keep = (torch.rand(n, generator=g) > 0.33).tolist()
        ids += doc
        target += [doc[i + 1] if i + 1 < n and keep[i] else IGNORE for i in range(n)]
        off.append(len(ids))
    return ids, off, target


def reference(peft, ids, off, target, weight=None):
    """-> losses of the trained positions in order, {PEFT key: gradient of (sum of weight * loss) / (sum of weights)}"""
    losses = []
    weight = torch.tensor(weight if weight else [1.0] * len(ids))
    count = weight[torch.tensor(target) != IGNORE].sum()
    peft.zero_grad()
    for start, end in zip(off, off[1:]):
        want = torch.tensor(target[start:end])
        rows = want != IGNORE
        if not rows.any():
            continue
        logits = peft(torch.tensor([ids[start:end]])).logits[0].float()
        loss = torch.nn.functional.cross_entropy(logits[rows], want[rows], reduction="none")
        ((weight[start:end][rows] * loss).sum() / count).backward()
        losses.append(loss.detach())
    grads = {
        name.replace(".default", ""): p.grad.clone() for name, p in peft.named_parameters() if p.requires_grad
    }
    return torch.cat(losses), grads


def save_expected(path, batch, loss, grads):
    out = {k: torch.tensor(v, dtype=torch.int32) for k, v in zip(("ids", "off", "target"), batch)}
    save_file({**out, "loss": loss, **grads}, path, metadata={"format": "pt"})


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for k, family in enumerate(FAMILIES):
        if len(sys.argv) > 1 and family not in sys.argv[1:]:
            continue
        folder = os.path.join(here, "gradients", family)
        shutil.rmtree(folder, ignore_errors=True)
        model = make_model(family, 100 + k)
        save_model(model, folder)
        peft = make_adapter(model, 200 + k)
        save_adapter(peft, os.path.join(folder, "adapter"))
        ids, off, target = batch = make_batch(300 + k, COMMON["vocab_size"])
        loss, grads = reference(peft, *batch)
        save_expected(os.path.join(folder, "expected.safetensors"), batch, loss, grads)
        if family in DORA:
            peft = make_adapter(make_model(family, 100 + k), 200 + k, use_dora=True)
            save_adapter(peft, os.path.join(folder, "dora"))
            save_expected(os.path.join(folder, "dora.safetensors"), batch, *reference(peft, *batch))
        files = [os.path.join(d, f) for d, _, fs in os.walk(folder) for f in fs]
        for name in files:
            os.chmod(name, 0o644)
        size = sum(os.path.getsize(f) for f in files)
        print(f"{family}: {len(ids)} positions, {len(loss)} trained, mean loss {loss.mean():.4f}, {size} bytes")


if __name__ == "__main__":
    main()
