#!/usr/bin/env python3
"""What the end-to-end tests need beside tests/golden/tiny_chat: the same model as a GGUF file, and a PEFT adapter.

    build/peers/bin/python tests/golden/make_tiny_chat_parts.py   writes tiny_chat.gguf and tiny_chat_adapter/
"""
import json
import os
import shutil

import gguf
import numpy
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "tiny_chat")


def permute(w, heads):
    """GGUF stores the q and k rows of a llama with the two halves of a head interleaved."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def make_gguf(path, model):
    c = model.config
    spec = json.load(open(os.path.join(MODEL, "tokenizer.json")))
    vocab = dict(spec["model"]["vocab"])
    special = {t["content"]: t["id"] for t in spec["added_tokens"]}
    vocab.update(special)
    tokens = sorted(vocab, key=vocab.get)
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("tiny chat")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_vocab_size(c.vocab_size)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens])
    w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in spec["model"]["merges"]])
    w.add_eos_token_id(special["<|im_end|>"])
    w.add_chat_template(open(os.path.join(MODEL, "chat_template.jinja")).read())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for name, value in model.state_dict().items():
        x = value.float().numpy()
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        if "q_proj" in name:
            x = permute(x, c.num_attention_heads)
        if "k_proj" in name:
            x = permute(x, c.num_key_value_heads)
        x = numpy.ascontiguousarray(x)
        name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if x.ndim == 2:  # bf16 as in the folder: the same numbers
            w.add_tensor(name, gguf.quantize(x, gguf.GGMLQuantizationType.BF16),
                         raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            w.add_tensor(name, x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    make_gguf(os.path.join(HERE, "tiny_chat.gguf"), model)
    out = os.path.join(HERE, "tiny_chat_adapter")
    shutil.rmtree(out, ignore_errors=True)
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, p in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.2)
    tuned.save_pretrained(out)
    os.remove(os.path.join(out, "README.md"))
    path = os.path.join(out, "adapter_config.json")
    text = open(path).read().replace(MODEL, "tiny_chat")
    open(path, "w").write(text)
    for name in os.listdir(out):
        os.chmod(os.path.join(out, name), 0o644)


main()
