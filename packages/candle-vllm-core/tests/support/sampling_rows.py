"""Requests as the sampler sees them, and what it draws for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from candle_vllm_core.runtime.sampling import Sampled, Sampler
from candle_vllm_core.types import GenerationParams

VOCAB = 40
EOS = 7
GREEDY = GenerationParams(temperature=0.0)


@dataclass
class Row:
    params: GenerationParams
    id: int = 0
    prompt: list[int] = field(default_factory=lambda: [1, 2, 3])
    generated: list[int] = field(default_factory=list)
    seed: int = 0
    allowed: Tensor | None = None
    bad_words: Sequence[Sequence[int]] = ()


def random_logits(rows: int = 1, vocab: int = VOCAB, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * scale


def sample(logits: Tensor, *rows: Row) -> Sampled:
    return Sampler(logits.shape[-1], frozenset([EOS])).sample(logits, rows)


def sample_one(logits: Tensor, params: GenerationParams, **row: Any) -> int:
    sampled = sample(logits[None], Row(params, **row))
    assert sampled.errors == [None]
    return sampled.tokens[0]


def words(*tokens: int, vocab: int = VOCAB) -> Tensor:
    """A mask that allows just these tokens."""
    bits = [sum(1 << token % 32 for token in tokens if token // 32 == word) for word in range(-(-vocab // 32))]
    return torch.tensor([word - (word >> 31 << 32) for word in bits], dtype=torch.int32)


def draws(logits: Tensor, params: GenerationParams, count: int) -> list[int]:
    """Tokens of many requests that differ in nothing but their seeds."""
    rows = [Row(params, id=seed, seed=seed) for seed in range(count)]
    sampled = sample(logits.expand(count, -1), *rows)
    assert sampled.errors == [None] * count
    return sampled.tokens
