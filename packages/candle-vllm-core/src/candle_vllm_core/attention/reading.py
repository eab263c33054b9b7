"""Reading keys and values out of the cache: views where blocks lie side by side, one copy for all the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .cache import KVCache

MOST_COPIED = 8192
"""The most tokens copied at once, if they are of several sequences: keeps the copies in the processor's cache."""

KeysValues = tuple[Tensor, Tensor]
"""Of one sequence, each [1, kv_heads, tokens, head_dim]."""


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens from `start` up to `stop` of a sequence whose blocks are `table` [blocks]."""

    table: Tensor
    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many tokens they are."""
        return self.stop - self.start


class Read(Protocol):
    """How to get the spans of some sequences."""

    def __call__(self, cache: KVCache, layer: int) -> Iterable[KeysValues]:
        """The keys and values of each sequence, in order."""
        ...


def reads(spans: Sequence[Span], block_size: int) -> list[Read]:
    """The fewest ways of reading all spans, in order."""
    found: list[Read] = []
    scattered = Scattered()
    for span in spans:
        first, last = span.start // block_size, -(-span.stop // block_size)
        blocks = span.table[first:last]
        numbers, skipped = blocks.tolist(), span.start - first * block_size
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            found.append(Neighbours(numbers[0] * block_size + skipped, span.length))
            scattered = Scattered()
            continue
        if not scattered.has_room(len(numbers) * block_size):
            scattered = Scattered()
        if scattered.is_empty:
            found.append(scattered)
        scattered.add(blocks, skipped, span.length, len(numbers) * block_size)
    return found


class Neighbours:
    """One sequence whose blocks lie side by side."""

    def __init__(self, slot: int, length: int) -> None:
        self._slot = slot
        self._length = length

    def __call__(self, cache: KVCache, layer: int) -> Iterable[KeysValues]:
        """See `Read`."""
        return (cache.slots(layer, self._slot, self._length),)


class Scattered:
    """Sequences whose blocks lie anywhere."""

    def __init__(self) -> None:
        self._tables: list[Tensor] = []
        self._sizes: list[int] = [0]  # to skip, to take, to skip, to take, ..., to skip
        self._tokens = 0
        self._table: Tensor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added yet."""
        return not self._tables

    def has_room(self, tokens: int) -> bool:
        """Whether so many more tokens may be copied together with what was added."""
        return self._tokens + tokens <= MOST_COPIED

    def add(self, blocks: Tensor, skipped: int, length: int, tokens: int) -> None:
        """Add a sequence's blocks of `tokens` slots, of which `length` are read after `skipped`."""
        self._tables.append(blocks)
        self._sizes[-1] += skipped
        self._sizes += [length, tokens - skipped - length]
        self._tokens += tokens

    def __call__(self, cache: KVCache, layer: int) -> Iterable[KeysValues]:
        """See `Read`."""
        if self._table is None:
            self._table = torch.cat(self._tables)
        return zip(
            *(side.split_with_sizes(self._sizes, 2)[1::2] for side in cache.blocks(layer, self._table)), strict=True
        )
