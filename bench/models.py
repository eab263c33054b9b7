"""Random models to measure with, written under `bench/.cache` when they are first asked for."""

from pathlib import Path

import tokenizers
import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, Qwen3Config, Qwen3MoeConfig
from transformers.utils import logging as transformers_logging

CACHE = Path(__file__).parent / ".cache"

QWEN3_0_6B = Qwen3Config(
    vocab_size=151936,
    hidden_size=1024,
    intermediate_size=3072,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    tie_word_embeddings=True,
    max_position_embeddings=40960,
)


QWEN3_30B_A3B_2_LAYERS = Qwen3MoeConfig(
    vocab_size=151936,
    hidden_size=2048,
    intermediate_size=6144,
    moe_intermediate_size=768,
    num_experts=128,
    num_experts_per_tok=8,
    norm_topk_prob=True,
    num_hidden_layers=2,
    num_attention_heads=32,
    num_key_value_heads=4,
    head_dim=128,
    max_position_embeddings=40960,
)
"""Of 48 layers: the rest would be more of the same."""


def small_config(*, layers: int = 4, dim: int = 256, length: int = 32768, init: float = 0.02) -> Qwen3Config:
    """A small Qwen3 with 4 query heads to one head of keys; a wide `init` makes its answers differ from each other."""
    return Qwen3Config(
        vocab_size=2048,
        hidden_size=dim,
        intermediate_size=3 * dim,
        num_hidden_layers=layers,
        num_attention_heads=dim // 32,
        num_key_value_heads=max(dim // 128, 1),
        head_dim=32,
        tie_word_embeddings=True,
        max_position_embeddings=length,
        initializer_range=init,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=None,
    )


def random_model(name: str, config: PretrainedConfig) -> Path:
    """The directory of a random model in bf16, with a tokenizer whose tokens are the words t0, t1, ..."""
    path = CACHE / name
    if (path / "tokenizer.json").exists():
        return path
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(path)
    words = {f"t{i}": i for i in range(config.vocab_size)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(path / "tokenizer.json"))
    return path
