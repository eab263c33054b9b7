"""Attention over the paged cache in plain torch: the CPU's backend, and what every other one is checked against.

What a token is given is the same bits whatever else is in the step, and in whatever steps its sequence was computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from ..spec import Attention, Decoder, LatentAttention
from ..spec import Group as Layers
from .backend import Destination, Layout, States, rows_of
from .cache import KVCache
from .reading import Read, Span, read_many, read_one
from .softmax import FEWEST_ROWS, KEYS_AT_ONCE, attention, padded_rows

AnyAttention = Attention | LatentAttention

QUERY_TILE = 256
"""The most queries that attend at once: what lies above the diagonal of a tile is computed for nothing."""


class ReferenceBackend:
    """Attention of a model over a KV cache on any device."""

    def __init__(self, spec: Decoder, cache: KVCache) -> None:
        self.cache = cache
        self._groups = spec.groups()

    @property
    def kv_bytes(self) -> int:
        """The memory that the KV cache takes, in bytes."""
        return self.cache.num_bytes

    def plan(self, layout: Layout) -> ReferencePass:
        """Lay out a step: what each sequence sees, in each group of layers."""
        return ReferencePass(self.cache, layout, self._groups)


class ReferencePass:
    """One step; see `Pass`."""

    def __init__(self, cache: KVCache, layout: Layout, groups: Sequence[Layers]) -> None:
        self.positions = layout.positions
        self._cache = cache
        each = zip(groups, layout.slot_mapping, layout.block_tables, strict=True)
        plans = [(group, _plan(cache, layout, slots, tables, group)) for group, slots, tables in each]
        self._plans = {layer: plan for group, plan in plans for layer in group.layers}
        self._rows = list(rows_of(layout))

    def attend(
        self,
        layer: int,
        attention: AnyAttention,
        q: Tensor,
        k: Tensor | None,
        v: Tensor | None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """See `Pass.attend`."""
        plan = self._plans[layer]
        if plan.begun is not None:
            self._cache.clear(layer, plan.begun)
        if k is not None:
            self._cache.write(layer, plan.slots, k, v)
        if len(plan.parts) == 1:
            return plan.parts[0].attend(self._cache, layer, attention, sinks, q)
        rows = q.split_with_sizes([part.rows for part in plan.parts])
        results = [
            part.attend(self._cache, layer, attention, sinks, own) for part, own in zip(plan.parts, rows, strict=True)
        ]
        return torch.cat(results) if results else q[..., : attention.value_dim]

    def destination(self, layer: int) -> Destination:
        """See `Pass.destination`."""
        return Destination(self._cache.layers[layer], self._plans[layer].slots)

    def recurrent(self, layer: int) -> States:
        """See `Pass.recurrent`."""
        return States(*self._cache.states[layer], self._rows)


@dataclass(frozen=True, slots=True)
class Decodes:
    """Sequences with one new token each, read at once."""

    rows: int
    read: Read
    mask: Tensor

    def attend(self, cache: KVCache, layer: int, a: AnyAttention, sinks: Tensor | None, q: Tensor) -> Tensor:
        """q [sequences, heads, key_dim] to [.., value_dim]; the heads of one KV head are its queries."""
        k, v = self.read(cache, layer)
        queries = q.view(self.rows, a.kv_heads, -1, a.key_dim)
        own_sinks = None if sinks is None else sinks.view(a.kv_heads, -1)
        found = attention(queries, k, v, self.mask, scale=a.scale, softcap=a.softcap, sinks=own_sinks)
        return found.reshape(self.rows, a.heads, -1)[..., : a.value_dim]


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

    def attend(self, cache: KVCache, layer: int, a: AnyAttention, sinks: Tensor | None, q: Tensor) -> Tensor:
        """q [tokens, heads, key_dim] to [.., value_dim]; KV heads are the batch, those that share one are its heads."""
        queries = q.view(self.rows, a.kv_heads, -1, a.key_dim).permute(1, 2, 0, 3)
        k, v = (side.transpose(0, 1) for side in self.read(cache, layer))
        own_sinks = None if sinks is None else sinks.view(a.kv_heads, -1, 1)
        found = q.new_empty(self.rows, a.kv_heads, queries.shape[1], a.value_dim)
        for tile in self.tiles:
            result = attention(
                queries[:, :, tile.first : tile.last],
                k[:, :, tile.start : tile.stop],
                v[:, :, tile.start : tile.stop],
                tile.mask[: padded_rows(tile.last - tile.first, a.key_dim)],
                scale=a.scale,
                softcap=a.softcap,
                sinks=own_sinks,
            )
            found[tile.first : tile.last] = result[..., : a.value_dim].permute(2, 0, 1, 3)
        return found.view(self.rows, a.heads, a.value_dim)


@dataclass(frozen=True, slots=True)
class Plan:
    """One step in one group of layers."""

    slots: Tensor
    """[tokens] where the keys and values go"""
    begun: Tensor | None
    """Slots of blocks that this step begins and does not fill."""
    parts: Sequence[Decodes | Prefill]


def _plan(cache: KVCache, layout: Layout, slots: Tensor, tables: Sequence[Tensor], layers: Layers) -> Plan:
    sequences = zip(layout.query_lens, layout.seq_lens, tables, strict=True)
    spans = [
        (new, Span(table, _first_seen(length - new, layers.window), length)) for new, length, table in sequences if new
    ]
    begun = [slot for new, span in spans for slot in _begun(new, span, cache.block_size)]
    token_bytes = cache.layers[layers.layers[0]][:1].nbytes
    parts = list(_parts(cache, spans, layers.window, token_bytes))
    return Plan(slots, torch.tensor(begun, device=cache.device) if begun else None, parts)


def _begun(new: int, span: Span, block_size: int) -> range:
    """The slots after a sequence's last token, if this step begins their block."""
    filled = span.stop % block_size
    if filled == 0 or new < filled:
        return range(0)
    end = (int(span.table[span.stop // block_size]) + 1) * block_size
    return range(end - block_size + filled, end)


def _parts(
    cache: KVCache, spans: Sequence[tuple[int, Span]], window: int | None, token_bytes: int
) -> Iterator[Decodes | Prefill]:
    """The sequences of a step in order: those that decode next to each other together, those that prefill alone."""
    mask = _mask(cache, spans, window)
    for decodes, group in groupby(spans, key=lambda sequence: sequence[0] == 1):
        if decodes:
            for some in read_many([span for _, span in group], cache.block_size, token_bytes):
                yield Decodes(len(some.spans), some.read, some.mask(cache.dtype).to(cache.device))
            continue
        for new, span in group:
            yield Prefill(new, read_one(span, cache.block_size), list(_tiles(new, span, window, mask)))


def _first_seen(position: int, window: int | None) -> int:
    return 0 if window is None else max(0, position - window + 1)


def _tiles(new: int, span: Span, window: int | None, mask: Tensor) -> Iterator[Tile]:
    diagonal = mask.shape[1] - mask.shape[0] - KEYS_AT_ONCE
    before = span.stop - new
    for first in range(0, new, QUERY_TILE):
        last = min(first + QUERY_TILE, new)
        position = before + first
        own = Span(span.table, _first_seen(position, window), before + last)
        columns = slice(diagonal + own.base - position, diagonal + own.base - position + own.length)
        start = own.base - span.base
        yield Tile(first, last, start, start + own.length, mask[:, columns])


def _mask(cache: KVCache, spans: Sequence[tuple[int, Span]], window: int | None) -> Tensor:
    """0 where a query sees a key, -inf where not: [queries, keys], of which every tile's mask is a slice.

    Column `diagonal + i` is the key of query i itself; keys that only make the number of them right follow the last.
    """
    prefills = [(new, span) for new, span in spans if new > 1]
    tile = max((min(new, QUERY_TILE) for new, _ in prefills), default=0) + FEWEST_ROWS
    diagonal = max((span.stop - span.base for _, span in prefills), default=0)
    query = torch.arange(tile)[:, None] + diagonal
    key = torch.arange(diagonal + tile + KEYS_AT_ONCE)[None, :]
    hidden = key > query
    if window is not None:
        hidden |= key <= query - window
    return torch.zeros(hidden.shape, dtype=cache.dtype).masked_fill_(hidden, -torch.inf).to(cache.device)
