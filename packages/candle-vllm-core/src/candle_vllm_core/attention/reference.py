"""Attention over the paged cache in plain torch: the CPU's backend, and what every other one is checked against.

Each sequence attends by itself and over exactly its own tokens, so its result is the same whatever else is in the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from ..spec import Attention, Decoder
from .backend import Layout
from .cache import KVCache
from .reading import Read, Span, reads

QUERY_TILE = 256
"""The most queries that attend at once: what lies above the diagonal of a tile is computed for nothing."""


class ReferenceBackend:
    """Attention of a model over a KV cache on any device."""

    def __init__(self, spec: Decoder, cache: KVCache) -> None:
        self.cache = cache
        self._windows = tuple(dict.fromkeys(layer.attention.window for layer in spec.layers))

    @property
    def kv_bytes(self) -> int:
        """The memory that the KV cache takes, in bytes."""
        return self.cache.num_bytes

    def plan(self, layout: Layout) -> ReferencePass:
        """Lay out a step: what each sequence sees, in layers of each window."""
        return ReferencePass(self.cache, layout, self._windows)


class ReferencePass:
    """One step; see `Pass`."""

    def __init__(self, cache: KVCache, layout: Layout, windows: Sequence[int | None]) -> None:
        self.positions = layout.positions
        self._cache = cache
        self._slot_mapping = layout.slot_mapping
        self._parts = {window: list(_parts(cache, layout, window)) for window in windows}

    def attend(self, layer: int, attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Pass.attend`."""
        self._cache.write(layer, self._slot_mapping, k, v)
        parts = self._parts[attention.window]
        rows = q.split_with_sizes([part.rows for part in parts])
        results = [part.attend(self._cache, layer, attention, own) for part, own in zip(parts, rows, strict=True)]
        return torch.cat(results) if len(results) > 1 else results[0] if results else q


@dataclass(frozen=True, slots=True)
class Decodes:
    """Sequences with one new token each."""

    rows: int
    reads: Sequence[Read]

    def attend(self, cache: KVCache, layer: int, attention: Attention, q: Tensor) -> Tensor:
        """q [sequences, heads, head_dim] to the same; the heads of one KV head are its queries."""
        a = attention
        queries = q.view(-1, 1, a.kv_heads, a.heads // a.kv_heads, a.head_dim).unbind(0)
        seen = chain.from_iterable(read(cache, layer) for read in self.reads)
        results = [
            F.scaled_dot_product_attention(query, k, v, scale=a.scale)
            for query, (k, v) in zip(queries, seen, strict=True)
        ]
        return torch.cat(results).view(q.shape)


@dataclass(frozen=True, slots=True)
class Tile:
    """The queries from `first` up to `last` of a sequence; they see keys from `start` up to `stop` as `mask` says."""

    first: int
    last: int
    start: int
    stop: int
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Prefill:
    """One sequence with several new tokens."""

    rows: int
    read: Read
    tiles: Sequence[Tile]

    def attend(self, cache: KVCache, layer: int, attention: Attention, q: Tensor) -> Tensor:
        """q [tokens, heads, head_dim] to the same; KV heads are the batch, the heads that share one are its heads."""
        a = attention
        queries = q.view(self.rows, a.kv_heads, -1, a.head_dim).permute(1, 2, 0, 3)
        ((k, v),) = self.read(cache, layer)
        k, v = (side.transpose(0, 1).expand(-1, queries.shape[1], -1, -1) for side in (k, v))
        results = [
            F.scaled_dot_product_attention(
                queries[:, :, tile.first : tile.last],
                k[:, :, tile.start : tile.stop],
                v[:, :, tile.start : tile.stop],
                attn_mask=tile.mask,
                scale=a.scale,
            ).permute(2, 0, 1, 3)
            for tile in self.tiles
        ]
        return torch.cat(results).view(q.shape)


def _parts(cache: KVCache, layout: Layout, window: int | None) -> Iterator[Decodes | Prefill]:
    """The sequences of a step in order: those that decode next to each other together, those that prefill alone."""
    sequences = zip(layout.query_lens, layout.seq_lens, layout.block_tables, strict=True)
    spans = [(new, Span(table, _first_seen(length - new, window), length)) for new, length, table in sequences if new]
    mask = _mask(cache, spans, window)
    for decodes, group in groupby(spans, key=lambda sequence: sequence[0] == 1):
        members = list(group)
        found = reads([span for _, span in members], cache.block_size) if decodes else []
        if decodes:
            yield Decodes(len(members), found)
            continue
        for new, span in members:
            (read,) = reads([span], cache.block_size)
            yield Prefill(new, read, list(_tiles(new, span, window, mask)))


def _first_seen(position: int, window: int | None) -> int:
    return 0 if window is None else max(0, position - window + 1)


def _tiles(new: int, span: Span, window: int | None, mask: Tensor) -> Iterator[Tile]:
    diagonal = mask.shape[1] - mask.shape[0]
    before = span.stop - new
    for first in range(0, new, QUERY_TILE):
        last = min(first + QUERY_TILE, new)
        position = before + first
        start, stop = _first_seen(position, window), before + last
        columns = slice(diagonal + start - position, diagonal + stop - position)
        yield Tile(first, last, start - span.start, stop - span.start, mask[: last - first, columns])


def _mask(cache: KVCache, spans: Sequence[tuple[int, Span]], window: int | None) -> Tensor:
    """0 where a query sees a key, -inf where not: [queries, keys], of which every tile's mask is a slice.

    Column `diagonal + i` is the key of query i itself.
    """
    tile = max((min(new, QUERY_TILE) for new, _ in spans), default=0)
    diagonal = max((span.length for _, span in spans), default=0)
    query = torch.arange(tile)[:, None] + diagonal
    key = torch.arange(diagonal + tile)[None, :]
    hidden = key > query
    if window is not None:
        hidden |= key <= query - window
    like = cache.layers[0]
    return torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, -torch.inf).to(like.device)
