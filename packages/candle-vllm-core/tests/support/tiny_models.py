"""Small random checkpoints with a tokenizer of their own, written as Hugging Face directories."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from candle_vllm_core import EngineConfig, InferenceEngine

EOS = "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tokenizer(path: Path) -> int:
    """Write a byte-level BPE tokenizer; the size of its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|im_start|>", EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the engine answers what the prompt asks"] * 3, trainer)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS, "chat_template": TEMPLATE}))
    return tokenizer.get_vocab_size()


def save_llama(path: Path, seed: int = 0) -> Path:
    """Write a two-layer Llama whose weights are wide enough that its answers differ."""
    path.mkdir(parents=True, exist_ok=True)
    vocab = save_tokenizer(path)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def open_engine(path: Path, **settings: object) -> InferenceEngine:
    """An engine of small blocks and chunks in fp32, so that short prompts fill several."""
    known = {"model_path": path, "device": "cpu", "dtype": "fp32", "block_size": 4, "prefill_chunk_size": 16}
    return InferenceEngine(EngineConfig(**known | settings))
