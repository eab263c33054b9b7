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

from ..spec import Attention, Decoder, Group, LatentAttention
from .backend import Layout, Rows, States
from .cache import KVCache
from .reading import Read, Span, reads
from .softmax import attention as written_out

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

    def __init__(self, cache: KVCache, layout: Layout, groups: Sequence[Group]) -> None:
        self.positions = layout.positions
        self._cache = cache
        each = zip(groups, layout.slot_mapping, layout.block_tables, strict=True)
        plans = [(group, slots, list(_parts(cache, layout, tables, group.window))) for group, slots, tables in each]
        self._plans = {layer: (slots, parts) for group, slots, parts in plans for layer in group.layers}
        self._rows = list(_rows(layout))

    def attend(
        self,
        layer: int,
        attention: AnyAttention,
        q: Tensor,
        k: Tensor,
        v: Tensor | None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """See `Pass.attend`."""
        slots, parts = self._plans[layer]
        self._cache.write(layer, slots, k, v)
        rows = q.split_with_sizes([part.rows for part in parts])
        results = [
            part.attend(self._cache, layer, attention, sinks, own) for part, own in zip(parts, rows, strict=True)
        ]
        return torch.cat(results) if len(results) > 1 else results[0] if results else q[..., : attention.value_dim]

    def recurrent(self, layer: int) -> States:
        """See `Pass.recurrent`."""
        return States(*self._cache.states[layer], self._rows)


@dataclass(frozen=True, slots=True)
class Decodes:
    """Sequences with one new token each."""

    rows: int
    reads: Sequence[Read]

    def attend(self, cache: KVCache, layer: int, attention: AnyAttention, sinks: Tensor | None, q: Tensor) -> Tensor:
        """q [sequences, heads, key_dim] to [.., value_dim]; the heads of one KV head are its queries."""
        a = attention
        queries = q.view(-1, 1, a.kv_heads, a.heads // a.kv_heads, a.key_dim).unbind(0)
        seen = chain.from_iterable(read(cache, layer) for read in self.reads)
        if _is_plain(a):
            results = [
                F.scaled_dot_product_attention(query, k, v, scale=a.scale)
                for query, (k, v) in zip(queries, seen, strict=True)
            ]
        else:
            results = [
                written_out(query[0].unsqueeze(2), k[0], v[0], scale=a.scale, softcap=a.softcap, sinks=sinks)
                for query, (k, v) in zip(queries, seen, strict=True)
            ]
        return torch.cat(results).view(self.rows, a.heads, a.value_dim)


@dataclass(frozen=True, slots=True)
class Tile:
    """The queries from `first` up to `last` of a sequence; they see keys from `start` up to `stop` as `mask` says."""

    first: int
    last: int
    start: int
    stop: int
    mask: Tensor

    def attend(self, a: AnyAttention, sinks: Tensor | None, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [kv_heads, group, tokens, key_dim] over k and v [kv_heads, 1, tokens, ..] of the whole sequence."""
        q = q[:, :, self.first : self.last]
        k, v = (side[:, :, self.start : self.stop] for side in (k, v))
        if _is_plain(a):
            k, v = (side.expand(-1, q.shape[1], -1, -1) for side in (k, v))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, scale=a.scale)
        return written_out(q, k[:, 0], v[:, 0], scale=a.scale, softcap=a.softcap, sinks=sinks, mask=self.mask)


@dataclass(frozen=True, slots=True)
class Prefill:
    """One sequence with several new tokens."""

    rows: int
    read: Read
    tiles: Sequence[Tile]

    def attend(self, cache: KVCache, layer: int, attention: AnyAttention, sinks: Tensor | None, q: Tensor) -> Tensor:
        """q [tokens, heads, key_dim] to [.., value_dim]; KV heads are the batch, those that share one are its heads."""
        a = attention
        queries = q.view(self.rows, a.kv_heads, -1, a.key_dim).permute(1, 2, 0, 3)
        ((k, v),) = self.read(cache, layer)
        k, v = k.transpose(0, 1), v.transpose(0, 1)
        results = [tile.attend(a, sinks, queries, k, v).permute(2, 0, 1, 3) for tile in self.tiles]
        return torch.cat(results).view(self.rows, a.heads, a.value_dim)


def _is_plain(attention: AnyAttention) -> bool:
    """Whether the library's function computes it, and fast: where values are narrower than keys it is the slower."""
    a = attention
    return a.softcap is None and not a.sinks and a.key_dim == a.value_dim


def _rows(layout: Layout) -> Iterator[Rows]:
    """Whose tokens are where, if sequences have recurrent states."""
    stop = 0
    lengths = zip(layout.query_lens, layout.seq_lens, strict=True)
    for slot, (new, length) in zip(layout.state_slots, lengths, strict=bool(layout.state_slots)):
        start, stop = stop, stop + new
        if new:
            yield Rows(slot, start, stop, new == length)


def _parts(cache: KVCache, layout: Layout, tables: Sequence[Tensor], window: int | None) -> Iterator[Decodes | Prefill]:
    """The sequences of a step in order: those that decode next to each other together, those that prefill alone."""
    sequences = zip(layout.query_lens, layout.seq_lens, tables, strict=True)
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
    return torch.zeros(hidden.shape, dtype=cache.dtype).masked_fill_(hidden, -torch.inf).to(cache.device)
