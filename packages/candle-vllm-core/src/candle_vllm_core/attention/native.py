"""Attention on a CPU in machine code of ours: bfloat16 keys and values are read where their blocks lie.

Nothing is copied and no mask is made, so what a step allocates does not grow with its sequences. What a token is given
is the same bits whatever else is in the step, in whatever steps its sequence was computed, with any number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..native import address
from ..native.structs import Places, Step
from ..spec import Attention, Decoder, DeltaNet, LatentAttention
from ..spec import Group as Layers
from .backend import BlockTables, Destination, Layout, States, rows_of
from .cache import KVCache

MOST_DIM = 640
"""Numbers of a key that there is room for."""
SPLIT = 512
"""Keys whose sums are begun from zero; those of an answer's splits have room of their own."""
ALONE = 1 << 14
"""So many keys and values, counted for each row of a sequence, are worth more than one thread."""
FIELDS = 6
"""Numbers of a sequence in the C code."""


def fits(spec: Decoder, cache: KVCache) -> bool:
    """Whether all layers of a model are what the C code computes."""
    kept = [a for a in spec.attentions() if not isinstance(a, DeltaNet)]
    return (
        cache.device.type == "cpu"
        and cache.dtype == torch.bfloat16
        and not cache.scales
        and all(a.key_dim % 2 == 0 and a.key_dim <= MOST_DIM for a in kept)
    )


class Scratch:
    """Memory for what is computed between two results, the same for all layers; it grows with the largest."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._places: dict[tuple[int, ...], Places] = {}

    def places(self, sizes: Sequence[int]) -> Places:
        """Places of so many bytes."""
        key = tuple(sizes)
        if key not in self._places:
            starts = [0, *accumulate(-(-size // 64) * 64 for size in sizes)]
            if starts[-1] > len(self._bytes):
                self._bytes, self._places = torch.empty(starts[-1], dtype=torch.uint8), {}
            base = self._bytes.data_ptr()
            self._places[key] = Places(*(base + start for start in starts[:-1]))
        return self._places[key]


class NativeBackend:
    """Attention of a model over a KV cache on a CPU, with the library of C functions."""

    def __init__(self, spec: Decoder, cache: KVCache, library: ctypes.CDLL) -> None:
        self.cache, self.library = cache, library
        self._groups = spec.groups()
        kept = [a for a in spec.attentions() if not isinstance(a, DeltaNet)]
        self._row = max((a.heads * (-(-a.value_dim // 16) * 16 + 16) for a in kept), default=0)
        self._room = torch.empty(0, dtype=torch.float32)
        self.scratch = Scratch()

    @property
    def kv_bytes(self) -> int:
        """The memory that the KV cache takes, in bytes."""
        return self.cache.num_bytes

    def plan(self, layout: Layout) -> NativePass:
        """Lay out a step: whose tokens and blocks are where, in each group of layers."""
        return NativePass(self, layout, self._groups)

    def room(self, splits: int) -> Tensor:
        """A place for the results of so many splits, the same for all layers; it grows with the longest."""
        if self._room.numel() < splits * self._row:
            self._room = torch.empty(splits * self._row, dtype=torch.float32)
        return self._room


@dataclass(frozen=True, slots=True)
class Plan:
    """One step in one group of layers."""

    slots: Tensor
    """[tokens] where the keys and values go"""
    sequences: NDArray[np.int64]
    """[sequences, FIELDS] as the C code takes them"""
    tables: Sequence[Tensor]
    """whose addresses are among the former"""
    room: Tensor
    step: Step
    """The same as C takes it, which keeps none of it alive."""


class NativePass:
    """One step; see `Pass`."""

    def __init__(self, backend: NativeBackend, layout: Layout, groups: Sequence[Layers]) -> None:
        self.positions = layout.positions
        self._cache, self._library, self._scratch = backend.cache, backend.library, backend.scratch
        each = zip(groups, layout.slot_mapping, layout.block_tables, strict=True)
        plans = [(group, _plan(backend, layout, slots, tables, group)) for group, slots, tables in each]
        self._plans = {layer: plan for group, plan in plans for layer in group.layers}
        self._rows = list(rows_of(layout))

    def attend(
        self,
        layer: int,
        attention: Attention | LatentAttention,
        q: Tensor,
        k: Tensor | None,
        v: Tensor | None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """See `Pass.attend`."""
        a, plan, cache = attention, self._plans[layer], self._cache.layers[layer]
        if k is not None:
            self._cache.write(layer, plan.slots, k, v)
        q = q.contiguous()
        sinks = None if sinks is None else sinks.to(q.dtype)
        found = q.new_empty(q.shape[0], a.heads, a.value_dim)
        sides = cache.unbind(1)
        self._library.native_attention(
            address(q),
            address(sides[0]),
            address(sides[-1]),
            address(found),
            address(sinks),
            plan.sequences.ctypes.data,
            address(plan.room),
            len(plan.sequences),
            a.heads,
            a.kv_heads,
            a.key_dim,
            a.value_dim,
            cache.stride(0),
            self._cache.block_size,
            a.window or 0,
            a.scale,
            a.softcap or 0,
            plan.step.attention_threads,
        )
        return found

    def inside(self, layer: int) -> tuple[Step, Tensor, Scratch]:
        """What a whole layer is computed with: the step, the layer's slots as in `KVCache.layers`, and room."""
        return self._plans[layer].step, self._cache.layers[layer], self._scratch

    def destination(self, layer: int) -> Destination:
        """See `Pass.destination`."""
        return Destination(self._cache.layers[layer], self._plans[layer].slots)

    def recurrent(self, layer: int) -> States:
        """See `Pass.recurrent`."""
        return States(*self._cache.states[layer], self._rows)


def _plan(backend: NativeBackend, layout: Layout, slots: Tensor, tables: Sequence[Tensor], layers: Layers) -> Plan:
    new = np.array(layout.query_lens, dtype=np.int64)
    length = np.array(layout.seq_lens, dtype=np.int64)
    sequences = np.zeros((len(new), FIELDS), dtype=np.int64)
    sequences[:, 0] = np.cumsum(new) - new
    sequences[:, 1], sequences[:, 2] = new, length
    sequences[:, 3] = _addresses(tables)
    seen = length if layers.window is None else np.minimum(length, new + layers.window)
    splits = int((seen[new == 1] // SPLIT + 2).sum())
    keys = int((seen * new).sum()) * _numbers(backend.cache, layers)
    threads = torch.get_num_threads() if keys > ALONE else 1
    sequences, room = sequences[new > 0], backend.room(splits)
    step = Step(
        slots=address(slots),
        sequences=sequences.ctypes.data,
        room=address(room),
        rows=len(slots),
        count=len(sequences),
        block_size=backend.cache.block_size,
        threads=torch.get_num_threads(),
        attention_threads=threads,
    )
    return Plan(slots, sequences, tables, room, step)


def _addresses(tables: Sequence[Tensor]) -> Sequence[int] | NDArray[np.int64]:
    """Where each sequence's blocks begin."""
    if not isinstance(tables, BlockTables):
        return [table.data_ptr() for table in tables]
    lengths = np.array(tables.lengths, dtype=np.int64)
    found: NDArray[np.int64] = tables.blocks.data_ptr() + tables.blocks.itemsize * (lengths.cumsum() - lengths)
    return found


def _numbers(cache: KVCache, layers: Layers) -> int:
    """What one token keeps in one layer."""
    return cache.layers[layers.layers[0]][0].numel()
