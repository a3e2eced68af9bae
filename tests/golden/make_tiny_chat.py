"""Makes tests/golden/tiny_chat: a complete chat model of a few hundred kB with random weights (Hugging Face directory:
llama family, byte-level BPE of 600 tokens, ChatML template, end-of-turn id), for tests of the whole program.

usage: make_tiny_chat.py [OUT]      needs torch, transformers, tokenizers (tools/setup-peers.sh)"""
import os
import sys

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = ("{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
            "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
TEXT = ["The quick brown fox jumps over the lazy dog. What is the answer to this question? It is forty-two.",
        "system user assistant You are a helpful assistant. Thank you, please tell me more about it, step by step.",
        "你好，请问今天天气怎么样？今天天气很好，适合出门散步。谢谢你的回答，请再说一遍。",
        "中医 问诊 望闻问切 辨证 治则 方药 调护 复诊 安全提示 医生 患者 舌淡红 苔薄白 脉弦细"]


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "tiny_chat")
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(TEXT * 4, trainers.BpeTrainer(vocab_size=597, min_frequency=2, show_progress=False,
                                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.1,
        eos_token_id=fast.convert_tokens_to_ids("<|im_end|>"), bos_token_id=None,
        pad_token_id=fast.convert_tokens_to_ids("<|endoftext|>"))).to(torch.bfloat16)
    model.save_pretrained(out)
    fast.save_pretrained(out)


if __name__ == "__main__":
    main()
