"""Attention on a GPU by Triton's kernels, over any mix of prompts and answers in one step.

All that a step's kernels are told lies in tensors that are made once per step. Those of a step of answers can be
filled anew where they lie, so that a recorded CUDA graph can be played for the next one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..kernels import attention as kernel
from ..kernels import latent, parts
from ..kernels.cache import write
from ..kernels.tiles import tiles
from ..spec import Attention, Decoder, DeltaNet, LatentAttention
from .backend import Answers, Destination, Layout, Rows, States, recorded_rows, rows_of
from .cache import KVCache
from .work import Items, Sequences, cut, most_parts


class Shape(NamedTuple):
    """What layers have in common that do the same work."""

    kv_heads: int
    group: int
    value_dim: int
    is_latent: bool

    @classmethod
    def of(cls, a: Attention | LatentAttention) -> Shape:
        """The shape of a layer."""
        return cls(a.kv_heads, a.heads // a.kv_heads, a.value_dim, isinstance(a, LatentAttention))

    def tile(self, dtype: torch.dtype, *, single: bool) -> parts.Tile:
        """What a program takes at once."""
        if not self.is_latent:
            return kernel.tile_of(self.group, self.value_dim, dtype, single=single)
        tile = latent.tile_of(self.group, self.value_dim, dtype, single=single)
        open_to_choice = {"keys": tile.keys, "warps": tile.warps, "stages": tile.stages}
        key = f"{'answers' if single else 'prompts'}, {self.group} heads of {self.value_dim}, {dtype.itemsize} bytes"
        return tile._replace(**tiles("latent attention", key, open_to_choice))


class Kind(NamedTuple):
    """The sequences with one new token, or those with several, in the layers of one group and one shape."""

    group: int
    window: int | None
    shape: Shape
    single: bool
    tile: parts.Tile


class TritonBackend:
    """Attention of a model over a KV cache on a GPU."""

    def __init__(self, spec: Decoder, cache: KVCache) -> None:
        self.cache = cache
        self.groups = spec.groups()
        attentions = spec.attentions()
        self.shapes = {layer: Shape.of(a) for layer, a in enumerate(attentions) if not isinstance(a, DeltaNet)}
        """of the layers that keep tokens"""
        self._scratch = torch.empty(0, dtype=torch.float32, device=cache.device)

    @property
    def kv_bytes(self) -> int:
        """The memory that the KV cache takes, in bytes."""
        return self.cache.num_bytes

    def scratch(self, numbers: int) -> Tensor:
        """Room for so many numbers in float32, the same for all passes: they are computed one after the other.

        A pass that has less room than a later one asks for keeps its own.
        """
        if self._scratch.numel() < numbers:
            self._scratch = torch.empty(numbers, dtype=torch.float32, device=self.cache.device)
        return self._scratch[:numbers]

    def kinds(self, lens: Sequence[int]) -> list[Kind]:
        """What there is to do in a step whose sequences have so many new tokens."""
        return [
            Kind(index, group.window, shape, single, shape.tile(self.cache.dtype, single=single))
            for index, group in enumerate(self.groups)
            for shape in dict.fromkeys(self.shapes[layer] for layer in group.layers)
            for single in (True, False)
            if any((new == 1) == single for new in lens if new)
        ]

    def plan(self, layout: Layout, longest: int | None = None) -> TritonPass:
        """Lay out a step: what each program does, in each group of layers.

        With `longest`, every sequence has one new token, and the pass can be filled again for as many sequences of at
        most so many tokens (`TritonPass.refill`).
        """
        return TritonPass(self, layout, longest)

    def pass_bytes(self, sequences: Sequence[int], longest: int) -> int:
        """What all passes keep together that can be filled again, planned for so many sequences each, in this order."""
        found = scratch = 0
        for count in sequences:
            found += prod(_tables_shape(count, longest, self.cache.block_size)) * len(self.groups) * NUMBER
            found += count * PLACE if self.cache.states else 0
            for kind in self.kinds([1]):
                room = Room.of(kind, count, longest)
                found += room.numbers * NUMBER
                if (needed := prod(room.partials_shape(kind)) * (kind.shape.value_dim + 1)) > scratch:
                    found, scratch = found + needed * NUMBER, needed
        return found


NUMBER = 4
"""Bytes of an int32, and of a float32."""
PLACE = 8
"""Bytes of the place of a recurrent state, an int64."""


class Room(NamedTuple):
    """For how much work there is room."""

    items: int
    merges: int
    partials: int

    @classmethod
    def of(cls, kind: Kind, sequences: int, longest: int) -> Room:
        """For any step of so many answers of at most `longest` tokens."""
        items = sequences * most_parts(longest, kind.window)
        return cls(items, sequences, items)

    @property
    def numbers(self) -> int:
        """Those that say what to do."""
        return self.items * parts.ITEM + self.merges * parts.MERGE

    def partials_shape(self, kind: Kind) -> tuple[int, int, int]:
        """Rows of results that are to be merged, each of `value_dim` numbers and their sum."""
        return self.partials, kind.shape.kv_heads, kind.tile.queries * kind.shape.group


class Part:
    """The tensors of one kind of work; they are as large as the step needs, or as any step of `longest` tokens does."""

    def __init__(
        self, kind: Kind, layout: Layout, tables: Tensor, longest: int | None, scratch: Callable[[int], Tensor]
    ) -> None:
        self.kind, self._width = kind, tables.shape[1]
        found = self._cut(layout)
        room = Room(len(found.items), len(found.merges), found.num_partials)
        if longest is not None:
            room = Room.of(kind, len(layout.seq_lens), longest)
        shape, dim = room.partials_shape(kind), kind.shape.value_dim
        partial, sums = scratch(prod(shape) * (dim + 1)).split_with_sizes((prod(shape) * dim, prod(shape)))
        self._items = room.items * parts.ITEM
        self._numbers = torch.empty(room.numbers, dtype=torch.int32, device=tables.device)
        self.work = parts.Work(
            tables,
            self._numbers[: self._items].view(room.items, parts.ITEM),
            self._numbers[self._items :].view(room.merges, parts.MERGE),
            partial.view(*shape, dim),
            sums.view(shape),
        )
        self._put(found)

    def refill(self, layout: Layout) -> None:
        """Write the work of another step of as many sequences."""
        self._put(self._cut(layout))

    def _cut(self, layout: Layout) -> Items:
        new = np.array(layout.query_lens, dtype=np.int64)
        chosen = (new == 1) if self.kind.single else (new > 1)
        sequences = Sequences(
            table=np.flatnonzero(chosen) * self._width,
            token=(np.cumsum(new) - new)[chosen],
            new=new[chosen],
            length=np.array(layout.seq_lens, dtype=np.int64)[chosen],
        )
        return cut(sequences, self.kind.tile.queries, self.kind.window)

    def _put(self, found: Items) -> None:
        numbers = np.zeros(len(self._numbers), dtype=np.int32)
        numbers[: found.items.size] = found.items.ravel()
        numbers[self._items : self._items + found.merges.size] = found.merges.ravel()
        self._numbers.copy_(_sendable(numbers, self._numbers.device), non_blocking=True)


class TritonPass:
    """One step; see `Pass`.

    A sequence that has one new token and a length of 0 is nobody's: it is given zeros, and nothing is written where its
    slot is -1.
    """

    def __init__(self, backend: TritonBackend, layout: Layout, longest: int | None) -> None:
        self.positions = layout.positions
        self._cache, self._longest = backend.cache, longest
        self._most_programs = None if longest is None else _most_programs(backend.cache.device)
        self._sequences = len(layout.seq_lens)
        self._rows = list(rows_of(layout)) if longest is None else recorded_rows(self._sequences)
        self._places: Tensor | None = None
        if longest is not None and backend.cache.states:
            self._places = torch.empty(self._sequences, dtype=torch.int64, device=backend.cache.device)
        self._fill_places(layout)
        self._answers = None if self._places is None else Answers(self._places, None)
        if longest is None:
            self._answers = _answers(self._rows, backend.cache.device)
        self._slots = list(layout.slot_mapping)
        self._group = {layer: index for index, group in enumerate(backend.groups) for layer in group.layers}
        room = max(layout.seq_lens, default=0) if longest is None else longest
        shape = _tables_shape(self._sequences, room, self._cache.block_size)
        self._tables = [torch.zeros(shape, dtype=torch.int32, device=self._cache.device) for _ in backend.groups]
        self._fill_tables(layout)
        self._parts = [
            Part(kind, layout, self._tables[kind.group], longest, backend.scratch)
            for kind in backend.kinds(layout.query_lens)
        ]
        self._parts_of = {
            layer: [part for part in self._parts if part.kind[:1] + part.kind[2:3] == (self._group[layer], layer_shape)]
            for layer, layer_shape in backend.shapes.items()
        }

    def refill(self, layout: Layout) -> bool:
        """Write another step of answers into the same tensors; False if they do not take it, and are as they were."""
        longest = -1 if self._longest is None else self._longest
        alike = list(layout.query_lens) == [1] * self._sequences and max(layout.seq_lens, default=0) <= longest
        if not alike:
            return False
        self.positions.copy_(layout.positions)
        for mine, slots in zip(self._slots, layout.slot_mapping, strict=True):
            mine.copy_(slots)
        self._fill_tables(layout)
        for part in self._parts:
            part.refill(layout)
        self._fill_places(layout)
        return True

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
        cache, scales = self._cache.layers[layer], self._cache.scales.get(layer)
        if k is not None:
            write(cache, self._slots[self._group[layer]], k, v, scales=scales)
        out = torch.empty((*q.shape[:2], attention.value_dim), dtype=q.dtype, device=q.device)
        block_size, scale = self._cache.block_size, attention.scale
        for part in self._parts_of[layer]:
            work, tile = part.work, part.kind.tile
            if isinstance(attention, LatentAttention):
                latent.attend(
                    q,
                    cache,
                    work,
                    tile,
                    out,
                    block_size=block_size,
                    scale=scale,
                    scales=scales,
                    most_programs=self._most_programs,
                )
                continue
            kernel.attend(
                q,
                cache,
                work,
                tile,
                out,
                block_size=block_size,
                scale=scale,
                window=attention.window,
                softcap=attention.softcap,
                sinks=sinks,
                scales=scales,
                most_programs=self._most_programs,
            )
        return out

    def destination(self, layer: int) -> Destination:
        """See `Pass.destination`."""
        return Destination(self._cache.layers[layer], self._slots[self._group[layer]], self._cache.scales.get(layer))

    def recurrent(self, layer: int) -> States:
        """See `Pass.recurrent`."""
        return States(*self._cache.states[layer], self._rows, self._places, self._answers)

    def _fill_places(self, layout: Layout) -> None:
        if self._places is not None:
            slots = np.array(layout.state_slots, dtype=np.int64)
            self._places.copy_(_sendable(slots, self._places.device), non_blocking=True)

    def _fill_tables(self, layout: Layout) -> None:
        for tables, given in zip(self._tables, layout.block_tables, strict=True):
            lens = _sendable(np.array([len(table) for table in given], dtype=np.int64), tables.device)
            counts = lens.to(tables.device, non_blocking=True)
            filled = torch.arange(tables.shape[1], device=tables.device) < counts[:, None]
            if len(given):
                tables.masked_scatter_(filled, torch.cat(list(given)).to(tables))


def _tables_shape(sequences: int, longest: int, block_size: int) -> tuple[int, int]:
    return sequences, -(-longest // block_size)


PROGRAMS_OF_A_PROCESSOR = 12
"""Of a pass that has room for more than it does; 2, 3, 4 and 6, of which so many run at once, divide it."""


@functools.cache
def _most_programs(device: torch.device) -> int:
    if device.type != "cuda":
        return PROGRAMS_OF_A_PROCESSOR
    return PROGRAMS_OF_A_PROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count


def _answers(rows: Sequence[Rows], device: torch.device) -> Answers | None:
    found = [(row.slot, row.start) for row in rows if row.is_answer]
    if not found:
        return None
    places, tokens = _sendable(np.array(found, dtype=np.int64).T.copy(), device).to(device, non_blocking=True)
    return Answers(places, tokens)


def _sendable(numbers: NDArray[np.int32] | NDArray[np.int64], device: torch.device) -> Tensor:
    """Numbers that a GPU can fetch; from other memory a copy waits for all that it has to do."""
    host = torch.from_numpy(numbers)
    return host.pin_memory() if device.type == "cuda" else host
