"""Small random models of transformers, written as checkpoints, with every parameter random: norms and biases too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 0.01,
    "initializer_range": 0.2,
    "attn_implementation": "eager",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}
TUNED = {"mscale": 0.7, "mscale_all_dim": 0.4, "beta_fast": 4.0, "beta_slow": 0.5, "truncate": False}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5}
THETA = {"rope_type": "default", "rope_theta": 500.0}
SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]

LLAMA, MISTRAL = (LlamaConfig, LlamaForCausalLM), (MistralConfig, MistralForCausalLM)
QWEN2, QWEN3 = (Qwen2Config, Qwen2ForCausalLM), (Qwen3Config, Qwen3ForCausalLM)

MODELS: Mapping[str, tuple[tuple[type[Any], type[Any]], Mapping[str, Any]]] = {
    "llama": (LLAMA, {}),
    "llama, tied": (LLAMA, {"tie_word_embeddings": True}),
    "llama, biases": (LLAMA, {"attention_bias": True, "mlp_bias": True}),
    "llama, one KV head": (LLAMA, {"num_key_value_heads": 1}),
    "llama, as many KV heads": (LLAMA, {"num_key_value_heads": 6}),
    "llama, wide heads": (LLAMA, {"head_dim": 20}),
    "llama, llama3 rope": (LLAMA, {"rope_parameters": LLAMA3}),
    "llama, linear rope": (LLAMA, {"rope_parameters": LINEAR}),
    "llama, yarn rope": (LLAMA, {"rope_parameters": YARN}),
    "llama, yarn rope, tuned": (LLAMA, {"rope_parameters": YARN | TUNED}),
    "llama, yarn rope, half tuned": (LLAMA, {"rope_parameters": YARN | {"mscale": 0.7}}),
    "llama, yarn rope, given factor": (LLAMA, {"rope_parameters": YARN | {"attention_factor": 1.3}}),
    "mistral, window 7": (MISTRAL, {"sliding_window": 7}),
    "mistral": (MISTRAL, {"sliding_window": None, "rope_parameters": THETA}),
    "qwen2": (QWEN2, {}),
    "qwen2, tied": (QWEN2, {"tie_word_embeddings": True}),
    "qwen2, windows": (QWEN2, {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen3": (QWEN3, {"head_dim": 16}),
    "qwen3, tied": (QWEN3, {"head_dim": 16, "tie_word_embeddings": True, "rope_parameters": THETA}),
    "qwen3, windows": (QWEN3, {"use_sliding_window": True, "sliding_window": 5, "layer_types": SLIDING}),
}


def random_model(name: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """One of `MODELS`."""
    (config_class, model_class), settings = MODELS[name]
    torch.manual_seed(seed)
    model: PreTrainedModel = model_class(config_class(**SIZES | settings | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.3, 1.5).mul_(torch.randn_like(parameter).sign())
    return model


def save_model(path: Path, name: str, seed: int = 0, shard_size: str = "5GB", **changes: Any) -> PreTrainedModel:
    """Write one of `MODELS` as a checkpoint; the model that was written."""
    model = random_model(name, seed, **changes)
    model.save_pretrained(path, max_shard_size=shard_size)
    return model
