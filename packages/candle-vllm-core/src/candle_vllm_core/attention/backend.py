"""The seam between a model and the hardware it runs on: a step as tensors, and who attends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ..spec import Attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One step of the scheduler as tensors: the tokens of all its sequences, one after the other.

    A slot is a place for one token in the KV cache: slot = block * block_size + offset in the block.
    """

    tokens: Tensor
    """[tokens] int64"""
    positions: Tensor
    """[tokens] int64, a token's place in its own sequence"""
    slot_mapping: Tensor
    """[tokens] int64, the slot that each token's keys and values are written to"""
    block_tables: Sequence[Tensor]
    """for each sequence [blocks] int64, its blocks in order, as many as `seq_lens` needs"""
    query_lens: Sequence[int]
    """for each sequence, how many of its tokens are in this step"""
    seq_lens: Sequence[int]
    """for each sequence, how many tokens it has in the cache when this step is done"""


class Pass(Protocol):
    """What one forward pass is given; nothing is global."""

    positions: Tensor
    """[tokens] int64"""

    def attend(self, layer: int, attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write k and v [tokens, kv_heads, head_dim] to the cache, attend with q [tokens, heads, head_dim].

        Returns [tokens, heads, head_dim]. Each token sees its own sequence up to itself, within the window.
        """
        ...


class AttentionBackend(Protocol):
    """Attention on one kind of device, over the KV cache that it was made with."""

    def plan(self, layout: Layout) -> Pass:
        """Host work, once per step."""
        ...
