"""What a decoder-only language model is, as frozen data. No torch here.

A model is a `Decoder`: sizes, and one `Layer` for each of its layers. A layer is an attention and a feed-forward
network; what a layer can be is a sum of types, so what cannot exist cannot be written. The KV cache, the loader and the
model read the same tuple.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """Root-mean-square normalisation with a learned weight (Zhang and Sennrich 2019)."""

    eps: float = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary positions (Su et al. 2021): the first `dim` dimensions of each head are rotated, the rest pass through."""

    theta: float
    dim: int
    scaling: tuple[tuple[str, float | str], ...] = ()
    """The checkpoint's own scaling table as sorted pairs; its `rope_type` says which formula. Empty: no scaling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Grouped-query attention (Ainslie et al. 2023): `heads` queries share `kv_heads` keys and values."""

    heads: int
    kv_heads: int
    head_dim: int
    rope: Rope
    scale: float
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: Norm | None = None
    """Normalises each head of q and k before the rotation."""
    window: int | None = None
    """A token sees itself and the `window - 1` tokens before it; None: all before it."""

    def kv_numbers_per_token(self) -> int:
        """How many numbers one token keeps in the KV cache of this layer."""
        return 2 * self.kv_heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """A gated feed-forward network (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    width: int
    bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One decoder layer: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    attention: Attention
    feed_forward: Dense


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A whole model."""

    vocab: int
    dim: int
    norm: Norm
    layers: tuple[Layer, ...]
    max_position: int
    """The longest sequence that the model was made for, in tokens."""
    tied: bool = False
    """Whether the head is the embedding's matrix."""

    def kv_numbers_per_token(self) -> int:
        """How many numbers one token keeps in the KV cache, all layers together."""
        return sum(layer.attention.kv_numbers_per_token() for layer in self.layers)


def as_pairs(table: Mapping[str, Any] | None) -> tuple[tuple[str, float | str], ...]:
    """A table of a checkpoint's config as hashable, sorted pairs, without its empty entries."""
    return tuple(sorted((key, value) for key, value in (table or {}).items() if value is not None))
