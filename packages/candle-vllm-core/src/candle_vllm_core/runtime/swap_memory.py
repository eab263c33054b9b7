"""The host's memory for what preempted requests have in the cache, and the copies between the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..attention.cache import KVCache
from ..spec import Group
from .kv_memory import HostRoom
from .swap import Move, Pair


class SwapMemory:
    """The host's blocks and states; their memory is taken when something is moved first, for mostly nothing ever is."""

    def __init__(self, cache: KVCache, groups: Sequence[Group], room: HostRoom) -> None:
        """With so much room."""
        self._cache, self._groups, self._room = cache, groups, room
        self._copied: _Copied | None = None

    @torch.inference_mode()
    def move(self, moves: Sequence[Move]) -> None:
        """Copy blocks and states, in order, after what the device computes already and before what it is given next."""
        if self._copied is None:
            self._copied = self._made()
        for move in moves:
            for sides, pairs in zip(self._copied.groups, move.pairs, strict=True):
                _copy(sides, pairs, back=move.back)
            if move.state is not None:
                _copy(self._copied.states, [move.state], back=move.back)

    def _made(self) -> _Copied:
        states = [tensor for pair in self._cache.states.values() for tensor in pair]
        return _Copied(
            [[its for layer in group.layers for its in self._blocks(layer)] for group in self._groups],
            [(its, _pinned(its, self._room.states)) for its in states],
        )

    def _blocks(self, layer: int) -> list[tuple[Tensor, Tensor]]:
        """What the cache keeps of a layer, as [blocks, block_size, ...], and room for it."""
        scales = self._cache.scales.get(layer)
        kept = [self._cache.layers[layer], *([] if scales is None else [scales])]
        blocks = [slots.view(-1, self._cache.block_size, *slots.shape[1:]) for slots in kept]
        return [(its, _pinned(its, self._room.blocks)) for its in blocks]


class _Copied(NamedTuple):
    """Tensors of the cache, and as many rows of the host's as there is room for."""

    groups: list[list[tuple[Tensor, Tensor]]]
    """For each group of layers, by block."""
    states: list[tuple[Tensor, Tensor]]
    """By state."""


def _pinned(rows: Tensor, count: int) -> Tensor:
    """So many rows in the host's memory, where a GPU can fetch them."""
    return torch.empty((count, *rows.shape[1:]), dtype=rows.dtype, pin_memory=rows.is_cuda)


def _copy(sides: Sequence[tuple[Tensor, Tensor]], pairs: Sequence[Pair], *, back: bool) -> None:
    """One way or the other; the host does not wait for it."""
    for cache, host in sides:
        for place, other in pairs:
            target, source = (cache[place], host[other]) if back else (host[other], cache[place])
            target.copy_(source, non_blocking=True)
