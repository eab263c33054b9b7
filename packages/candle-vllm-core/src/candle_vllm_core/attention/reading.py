"""Reading keys and values out of the cache: views where blocks lie side by side, copies into one buffer for others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .cache import KVCache
from .softmax import KEYS_AT_ONCE, padded

MOST_COPIED = 1 << 21
"""Bytes of one layer that are copied at once, if they are of several sequences: keeps them in the processor's cache."""
MOST_WASTED = 0.5
"""The share of keys that may be copied only to make sequences of one step equally long."""

KeysValues = tuple[Tensor, Tensor]
"""Each [sequences, kv_heads, tokens, head_dim]."""


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens from `start` up to `stop` of a sequence whose blocks are `table` [blocks]."""

    table: Tensor
    start: int
    stop: int

    @property
    def base(self) -> int:
        """Where reading begins: keys are summed in parts that a sequence's own positions say, not its window."""
        return self.start // KEYS_AT_ONCE * KEYS_AT_ONCE

    @property
    def length(self) -> int:
        """How many tokens are read, with those that are hidden."""
        return padded(self.stop - self.base)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """One sequence whose blocks lie side by side."""

    slot: int
    length: int

    def __call__(self, cache: KVCache, layer: int) -> KeysValues:
        """The keys and values as views."""
        return cache.slots(layer, self.slot, self.length)


@dataclass(frozen=True, slots=True)
class Scattered:
    """Sequences of one length whose blocks lie anywhere."""

    table: Tensor
    """[sequences * blocks]"""
    sequences: int
    skipped: int
    """Tokens before the first one, in its block."""
    length: int

    def __call__(self, cache: KVCache, layer: int) -> KeysValues:
        """The keys and values, which are there until the next are copied."""
        return cache.blocks(layer, self.table, self.sequences, self.skipped, self.length)


Read = Neighbours | Scattered


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences that are read at once."""

    spans: Sequence[Span]
    read: Read

    def mask(self, dtype: torch.dtype) -> Tensor:
        """[sequences, 1, 1, tokens]: 0 where the last token of a sequence sees a key, -inf where not."""
        first, last = (
            torch.tensor(ends)[:, None, None, None]
            for ends in zip(*((span.start - span.base, span.stop - span.base) for span in self.spans), strict=True)
        )
        key = torch.arange(self.read.length)
        return torch.zeros((), dtype=dtype).where((key >= first) & (key < last), -torch.inf)


def read_one(span: Span, block_size: int) -> Read:
    """How to read one sequence."""
    first, last = span.start // block_size, -(-span.stop // block_size)
    numbers = span.table[first:last].tolist()
    together = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if together and span.base == first * block_size and span.length <= len(numbers) * block_size:
        return Neighbours(numbers[0] * block_size, span.length)
    return _scattered([span], block_size)


def read_many(spans: Sequence[Span], block_size: int, token_bytes: int) -> list[Group]:
    """Few ways of reading all spans, in order; `token_bytes` are those of a token in one layer."""
    found: list[list[Span]] = []
    longest = wanted = 0
    for span in spans:
        longest, wanted = max(longest, span.length), wanted + span.length
        group = found[-1] if found else []
        copied = (len(group) + 1) * longest
        fits = copied * token_bytes <= MOST_COPIED and copied * (1 - MOST_WASTED) <= wanted
        if group and fits and _skipped(group[0], block_size) == _skipped(span, block_size):
            group.append(span)
        else:
            found.append([span])
            longest = wanted = span.length
    return [
        Group(group, _scattered(group, block_size) if len(group) > 1 else read_one(group[0], block_size))
        for group in found
    ]


def _skipped(span: Span, block_size: int) -> int:
    return span.base % block_size


def _scattered(spans: Sequence[Span], block_size: int) -> Scattered:
    skipped, length = _skipped(spans[0], block_size), max(span.length for span in spans)
    count = -(-(skipped + length) // block_size)
    tables = torch.cat([part for span in spans for part in _blocks(span, count, block_size)])
    return Scattered(tables, len(spans), skipped, length)


def _blocks(span: Span, count: int, block_size: int) -> list[Tensor]:
    """`count` blocks from the base on: where there are none any more, or not yet, others of the sequence stand in."""
    first, last = span.start // block_size, -(-span.stop // block_size)
    begin = span.base // block_size
    parts = [
        span.table[first : first + 1].expand(first - begin),
        span.table[first:last],
        span.table[last - 1 : last].expand(count - (last - begin)),
    ]
    return [part for part in parts if len(part)]
