"""Whole models with random weights that are made on the device, without a checkpoint; and who answers with them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tokenizers
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    ContinuousBatchingConfig,
    GenerationConfig,
    LlamaConfig,
    PretrainedConfig,
    Qwen3MoeConfig,
)

from bench.decode import Prompts
from bench.models import QWEN3_0_6B, small_config
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.quant.weight import DenseWeight, Weight

LLAMA_8B = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    max_position_embeddings=32768,
    tie_word_embeddings=False,
)
QWEN3_30B_A3B = Qwen3MoeConfig(
    vocab_size=151936,
    hidden_size=2048,
    intermediate_size=6144,
    moe_intermediate_size=768,
    num_hidden_layers=48,
    num_attention_heads=32,
    num_key_value_heads=4,
    head_dim=128,
    num_experts=128,
    num_experts_per_tok=8,
    norm_topk_prob=True,
    max_position_embeddings=40960,
    tie_word_embeddings=False,
)
MODELS: Mapping[str, PretrainedConfig] = {
    "Qwen3-0.6B": QWEN3_0_6B,
    "Llama-8B": LLAMA_8B,
    "Qwen3-30B-A3B": QWEN3_30B_A3B,
}
TINY: Mapping[str, PretrainedConfig] = {
    "tiny dense": small_config(layers=2, dim=128, length=512),
    "tiny MoE": Qwen3MoeConfig(
        vocab_size=512,
        hidden_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=8,
        num_experts_per_tok=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    ),
}

TOKENS_OF_A_STEP = 8192
"""The engine's default, and what `generate_batch` is given."""


class RandomSource:
    """Tensors that are drawn on a device when they are asked for: see `candle_vllm_core.weights.source.Source`."""

    def __init__(self, config: PretrainedConfig, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        self.path, self.model_id = path, "random"
        self.config: Mapping[str, Any] = as_stored(config)
        self._shapes = expected_shapes(decoder_spec(self.config))
        self._device, self._dtype = device, dtype

    def names(self) -> Set[str]:
        """See `Source.names`."""
        return self._shapes.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """See `Source.shape`."""
        return self._shapes[name]

    def tensor(self, name: str) -> Tensor:
        """See `Source.tensor`; weights of norms are ones."""
        empty = torch.empty(self._shapes[name], device=self._device, dtype=self._dtype)
        return empty.fill_(1) if empty.dim() == 1 else empty.normal_(0, 0.02)

    def weight(self, name: str) -> Weight:
        """See `Source.weight`."""
        return DenseWeight(self.tensor(name))

    def close(self) -> None:
        """See `Source.close`."""


def as_stored(config: PretrainedConfig) -> Mapping[str, Any]:
    """A config as a checkpoint's config.json has it."""
    architecture = type(config).__name__.removesuffix("Config") + "ForCausalLM"
    return {**config.to_dict(), "architectures": [architecture], "eos_token_id": 1}


class Engine:
    """The engine as programs use it, but for where its weights come from."""

    name = "candle-vllm"

    def __init__(self, config: PretrainedConfig, device: torch.device, batch: int, length: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name)
        (path / "config.json").write_text(json.dumps(as_stored(config)), encoding="utf-8")
        words = {f"t{i}": i for i in range(config.vocab_size)}
        tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0")).save(str(path / "tokenizer.json"))
        source = RandomSource(config, path, device, torch.bfloat16)
        settings = EngineConfig(
            model_path=path,
            device=str(device),
            dtype="bf16",
            max_batch_size=batch,
            max_sequence_length=length,
            enable_prefix_cache=False,
        )
        with patch("candle_vllm_core.runtime.runner.open_source", lambda _: source):
            self._engine = InferenceEngine(settings)

    def generate(self, prompts: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        params = GenerationParams(max_tokens=new_tokens, temperature=0, ignore_eos=True)
        return [list(answer.tokens) for answer in self._engine.generate_batch(prompts, params)]

    def close(self) -> None:
        """Give the memory back."""
        self._engine.close()
        self._folder.cleanup()


class Transformers:
    """`generate` of transformers with its defaults."""

    name = "transformers generate"

    def __init__(self, config: PretrainedConfig, device: torch.device, batch: int, length: int) -> None:
        with torch.device(device):
            self._model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()

    def generate(self, prompts: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        ids = torch.tensor(prompts, device=self._model.device)
        with torch.inference_mode():
            found = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        return [row[ids.shape[1] :] for row in found.tolist()]

    def close(self) -> None:
        """Give the memory back."""
        del self._model


class Continuous(Transformers):
    """`generate_batch` of transformers: its continuous batching over a paged cache, which has room for all."""

    name = "transformers generate_batch"

    def __init__(self, config: PretrainedConfig, device: torch.device, batch: int, length: int) -> None:
        super().__init__(config, device, batch, length)
        self._batching = ContinuousBatchingConfig()
        self._batching.num_blocks = batch * -(-length // self._batching.page_size) + 1
        self._batching.max_batch_tokens = max(batch, TOKENS_OF_A_STEP)

    def generate(self, prompts: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        found = self._model.generate_batch(
            inputs=[list(prompt) for prompt in prompts],
            generation_config=GenerationConfig(
                max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0
            ),
            continuous_batching_config=self._batching,
            persistent_manager=True,
        )
        return [list(answer.generated_tokens) for answer in found.values()]

    def close(self) -> None:
        """Give the memory back."""
        self._model.destroy_cached_continuous_batching_manager()
        super().close()


CONTENDERS = (Engine, Transformers, Continuous)
